/* A GPU that is not there: one library that stands for NVIDIA's driver, runtime, compiler, cuBLAS and cuDNN, as far as edge-seg asks them.
 *
 * DOUBLE_DRIVER     the driver's CUDA version, as 13000
 * DOUBLE_INIT       what cuInit answers
 * DOUBLE_CONTEXT    what making a context answers
 * DOUBLE_MEMORY     bytes of memory; beyond them allocations answer CUDA_ERROR_OUT_OF_MEMORY
 * DOUBLE_LOSE       after this many launches every call answers CUDA_ERROR_LAUNCH_FAILED
 * DOUBLE_EXCLUSIVE  a file: as long as one process holds it, contexts of others answer CUDA_ERROR_DEVICE_UNAVAILABLE
 * DOUBLE_COMPILER   what nvrtcCompileProgram answers
 * DOUBLE_LOG        a file that gets the counts of what was done, as the process ends
 *
 * Its memory is the processor's. Of kernels it computes those of masks.cu alone, from the source that a GPU would get; the others, and
 * cuBLAS's and cuDNN's, leave what memory held before: numbers of its own, the same in every run and of either width of float. */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <string>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

#include "gpu_as_loops.h"
#include MASKS

#define SAYS extern "C" __attribute__((visibility("default")))

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, NOT_FOUND = 500, LAUNCH_FAILED = 719, DEVICE_UNAVAILABLE = 46 };

static long number(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? atol(value) : otherwise;
}

static std::mutex guard;
static std::map<uintptr_t, size_t> blocks;
static size_t in_use, most_in_use;
static long uploads, uploaded, downloads, downloaded, launches, masks, matrices;

static struct Report {
    ~Report() {
        const char *path = getenv("DOUBLE_LOG");
        FILE *file = path && most_in_use ? fopen(path, "w") : nullptr;
        if (!file) return;
        fprintf(file,
            "{\"uploads\":%ld,\"uploaded_bytes\":%ld,\"downloads\":%ld,\"downloaded_bytes\":%ld,\"launches\":%ld,\"masks\":%ld,"
            "\"matrices\":%ld,\"most_bytes\":%zu}\n",
            uploads, uploaded, downloads, downloaded, launches, masks, matrices, most_in_use);
        fclose(file);
    }
} report;

static int state() { return launches >= number("DOUBLE_LOSE", 1L << 60) ? LAUNCH_FAILED : SUCCESS; }

// The driver.

SAYS int cuInit(unsigned) { return (int)number("DOUBLE_INIT", SUCCESS); }
SAYS int cuDriverGetVersion(int *version) { return *version = (int)number("DOUBLE_DRIVER", 13000), SUCCESS; }
SAYS int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, SUCCESS; }
SAYS int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
SAYS int cuDeviceGetAttribute(int *value, int attribute, int) {
    // The compute capability's two numbers; of the others it is asked whether, and says yes.
    return *value = attribute == 75 ? 8 : attribute == 76 ? 7 : 1, SUCCESS;
}
SAYS int cuDeviceGetName(char *name, int length, int) { return snprintf(name, length, "double"), SUCCESS; }
SAYS int cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = number("DOUBLE_MEMORY", 1L << 33), SUCCESS; }

SAYS int cuDevicePrimaryCtxRetain(void **context, int) {
    if (long answer = number("DOUBLE_CONTEXT", SUCCESS)) return (int)answer;
    if (const char *path = getenv("DOUBLE_EXCLUSIVE")) {
        static int held = -1;
        if (held < 0) held = open(path, O_CREAT | O_RDWR, 0600);
        if (flock(held, LOCK_EX | LOCK_NB)) return DEVICE_UNAVAILABLE;
    }
    return *context = (void *)0x10, SUCCESS;
}
SAYS int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
static thread_local void *current;
SAYS int cuCtxSetCurrent(void *context) { return current = context, SUCCESS; }
SAYS int cuCtxGetCurrent(void **context) { return *context = current, SUCCESS; }
SAYS int cuCtxSynchronize() { return state(); }
SAYS int cuStreamCreate(void **stream, unsigned) { return *stream = malloc(1), SUCCESS; }
SAYS int cuStreamDestroy_v2(void *stream) { return free(stream), SUCCESS; }
SAYS int cuStreamSynchronize(void *) { return state(); }
SAYS int cuStreamWaitEvent(void *, void *, unsigned) { return state(); }
SAYS int cuEventCreate(void **event, unsigned) { return *event = malloc(1), SUCCESS; }
SAYS int cuEventDestroy_v2(void *event) { return free(event), SUCCESS; }
SAYS int cuEventRecord(void *, void *) { return state(); }
SAYS int cuEventSynchronize(void *) { return state(); }
SAYS int cuEventQuery(void *) { return state(); }

SAYS int cuMemAlloc_v2(uintptr_t *block, size_t bytes) {
    std::lock_guard<std::mutex> lock(guard);
    if (state()) return state();
    if (in_use + bytes > (size_t)number("DOUBLE_MEMORY", 1L << 33)) return OUT_OF_MEMORY;
    uint16_t *memory = (uint16_t *)aligned_alloc(256, (bytes + 511) & ~(size_t)255);
    // Half a float each, of exponents that neither width takes for an infinity.
    uint32_t seed = (uint32_t)bytes;
    for (size_t i = 0; i < bytes / 2; i++) {
        seed = seed * 1664525 + 1013904223;
        memory[i] = (uint16_t)((seed >> 16 & 0x8000) | 0x3800 | (seed >> 20 & 0x3ff));
    }
    *block = (uintptr_t)memory;
    blocks[*block] = bytes;
    in_use += bytes;
    if (in_use > most_in_use) most_in_use = in_use;
    return SUCCESS;
}
SAYS int cuMemFree_v2(uintptr_t block) {
    std::lock_guard<std::mutex> lock(guard);
    auto found = blocks.find(block);
    if (found == blocks.end()) return 1;
    in_use -= found->second;
    blocks.erase(found);
    free((void *)block);
    return SUCCESS;
}
SAYS int cuMemAllocAsync(uintptr_t *block, size_t bytes, void *) { return cuMemAlloc_v2(block, bytes); }
SAYS int cuMemFreeAsync(uintptr_t block, void *) { return cuMemFree_v2(block); }
SAYS int cuMemGetInfo_v2(size_t *available, size_t *total) {
    *total = number("DOUBLE_MEMORY", 1L << 33);
    return *available = *total - in_use, SUCCESS;
}
SAYS int cuMemsetD8Async(uintptr_t to, unsigned char value, size_t bytes, void *) {
    return memset((void *)to, value, bytes), state();
}

/* Every copy lies inside one block. */
static bool inside(uintptr_t at, size_t bytes) {
    auto next = blocks.upper_bound(at);
    return next != blocks.begin() && (--next, at + bytes <= next->first + next->second);
}
static int copy(uintptr_t to, uintptr_t from, size_t bytes, bool check_to, bool check_from) {
    std::lock_guard<std::mutex> lock(guard);
    if (bytes && ((check_to && !inside(to, bytes)) || (check_from && !inside(from, bytes)))) return 1;
    memcpy((void *)to, (void *)from, bytes);
    if (!check_from) uploads++, uploaded += bytes;
    if (!check_to) downloads++, downloaded += bytes;
    return state();
}
SAYS int cuMemcpyHtoDAsync_v2(uintptr_t to, const void *from, size_t bytes, void *) { return copy(to, (uintptr_t)from, bytes, true, false); }
SAYS int cuMemcpyDtoHAsync_v2(void *to, uintptr_t from, size_t bytes, void *) { return copy((uintptr_t)to, from, bytes, false, true); }
SAYS int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, void *) { return copy(to, from, bytes, true, true); }

SAYS int cuModuleLoad(void **module, const char *path) { return *module = malloc(1), access(path, R_OK) ? NOT_FOUND : SUCCESS; }
SAYS int cuModuleLoadData(void **module, const void *) { return *module = malloc(1), SUCCESS; }
SAYS int cuModuleUnload(void *module) { return free(module), SUCCESS; }
SAYS int cuModuleGetFunction(void **function, void *, const char *name) {
    static std::map<std::string, int> names;
    std::lock_guard<std::mutex> lock(guard);
    return *function = (void *)names.emplace(name, 0).first->first.c_str(), SUCCESS;
}
SAYS int cuFuncSetAttribute(void *, int, int) { return SUCCESS; }
SAYS int cuFuncGetAttribute(int *value, int, void *) { return *value = 1024, SUCCESS; }
SAYS int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int, size_t) { return *blocks = 1, SUCCESS; }

SAYS int cuLaunchKernel(const char *name, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z, unsigned,
    void *, void **arguments, void **) {
    if (grid_x * (uint64_t)grid_y * grid_z == 0 || x * y * z == 0 || x * y * z > 1024) return 1;
    {
        std::lock_guard<std::mutex> lock(guard);
        launches++;
    }
    Shape grid{grid_x, grid_y, grid_z}, block{x, y, z};
    if (!strcmp(name, "best_logits")) masks++, launch(best_logits, grid, block, arguments);
    if (!strcmp(name, "paint_labels")) masks++, launch(paint_labels, grid, block, arguments);
    return state();
}

SAYS int cuGetErrorName(int error, const char **text) {
    static const std::map<int, const char *> names = {{1, "CUDA_ERROR_INVALID_VALUE"}, {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {DEVICE_UNAVAILABLE, "CUDA_ERROR_DEVICE_UNAVAILABLE"}, {100, "CUDA_ERROR_NO_DEVICE"}, {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
    auto found = names.find(error);
    return *text = found == names.end() ? "CUDA_ERROR_UNKNOWN" : found->second, SUCCESS;
}
SAYS int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

// The runtime.

SAYS int cudaRuntimeGetVersion(int *version) { return *version = 13000, SUCCESS; }
/* The fields that are read, where the header of CUDA 12 and 13 has them. */
SAYS int cudaGetDeviceProperties(char *properties, int) {
    auto set = [&](size_t at, auto value) { memcpy(properties + at, &value, sizeof value); };
    memset(properties, 0, 512);
    strcpy(properties, "double");
    set(288, (size_t)number("DOUBLE_MEMORY", 1L << 33));
    set(296, (size_t)49152), set(308, 32), set(320, 1024);
    set(360, 8), set(364, 7);
    set(384, 16), set(388, 16);
    return SUCCESS;
}
SAYS int cudaGetDeviceProperties_v2(char *properties, int device) { return cudaGetDeviceProperties(properties, device); }
SAYS const char *cudaGetErrorName(int) { return "cudaErrorUnknown"; }
SAYS const char *cudaGetErrorString(int) { return "unknown"; }

// The compiler.

SAYS int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, SUCCESS; }
SAYS int nvrtcCreateProgram(void **program, const char *, const char *, int, const char *const *, const char *const *) {
    return *program = malloc(1), SUCCESS;
}
SAYS int nvrtcDestroyProgram(void **program) { return free(*program), SUCCESS; }
SAYS int nvrtcCompileProgram(void *, int, const char *const *) { return (int)number("DOUBLE_COMPILER", SUCCESS); }
SAYS int nvrtcGetProgramLogSize(void *, size_t *bytes) { return *bytes = 7, SUCCESS; }
SAYS int nvrtcGetProgramLog(void *, char *log) { return strcpy(log, "double"), SUCCESS; }
SAYS int nvrtcGetCUBINSize(void *, size_t *bytes) { return *bytes = 6, SUCCESS; }
SAYS int nvrtcGetCUBIN(void *, char *cubin) { return memcpy(cubin, "double", 6), SUCCESS; }
SAYS const char *nvrtcGetErrorString(int) { return "NVRTC_ERROR_COMPILATION"; }

// cuBLAS and cuDNN.

SAYS int cublasCreate_v2(void **handle) { return *handle = malloc(1), SUCCESS; }
SAYS int cublasDestroy_v2(void *handle) { return free(handle), SUCCESS; }
SAYS int cublasSetStream_v2(void *, void *) { return SUCCESS; }
SAYS size_t cublasGetCudartVersion() { return 13000; }
static int matrix() {
    std::lock_guard<std::mutex> lock(guard);
    return matrices++, state() ? 13 : SUCCESS; // 13: CUBLAS_STATUS_EXECUTION_FAILED
}
SAYS int cublasSgemmStridedBatched(...) { return matrix(); }
SAYS int cublasGemmStridedBatchedEx(...) { return matrix(); }
SAYS int cudnnCreate(void **handle) { return *handle = malloc(1), SUCCESS; }
SAYS int cudnnDestroy(void *handle) { return free(handle), SUCCESS; }
SAYS int cudnnSetStream(void *, void *) { return SUCCESS; }
SAYS size_t cudnnGetVersion() { return 91200; }
#define DESCRIPTOR(kind) \
    SAYS int cudnnCreate##kind##Descriptor(void **descriptor) { return *descriptor = malloc(1), SUCCESS; } \
    SAYS int cudnnDestroy##kind##Descriptor(void *descriptor) { return free(descriptor), SUCCESS; }
DESCRIPTOR(Convolution)
DESCRIPTOR(Tensor)
DESCRIPTOR(Filter)
SAYS int cudnnSetConvolutionNdDescriptor(...) { return SUCCESS; }
SAYS int cudnnSetConvolutionGroupCount(...) { return SUCCESS; }
SAYS int cudnnSetConvolutionMathType(...) { return SUCCESS; }
SAYS int cudnnSetTensorNdDescriptor(...) { return SUCCESS; }
SAYS int cudnnSetFilterNdDescriptor(...) { return SUCCESS; }
SAYS int cudnnGetConvolutionForwardWorkspaceSize(void *, void *, void *, void *, void *, int, size_t *bytes) { return *bytes = 0, SUCCESS; }
SAYS int cudnnConvolutionForward(...) { return matrix(); }
