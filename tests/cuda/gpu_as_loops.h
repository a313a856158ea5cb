/* What a C++ compiler needs in front of masks.cu: the grid's blocks and threads as loops, one after the other. */
#include <math.h>

struct Shape {
    unsigned x, y, z;
};

static thread_local Shape blockIdx, blockDim, threadIdx;

#define __device__ static
#define __global__
static float __fmul_rn(float a, float b) { return a * b; }
static float __fadd_rn(float a, float b) { return a + b; }

template <typename Work> static void for_each_thread(Shape grid, Shape block, Work work) {
    blockDim = block;
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++)
                for (threadIdx.z = 0; threadIdx.z < block.z; threadIdx.z++)
                    for (threadIdx.y = 0; threadIdx.y < block.y; threadIdx.y++)
                        for (threadIdx.x = 0; threadIdx.x < block.x; threadIdx.x++) work();
}

/* Calls a kernel as a driver does: each argument stands behind a pointer, in the order of the kernel's own. */
template <typename... Arguments, size_t... At>
static void call(void (*kernel)(Arguments...), Shape grid, Shape block, void **arguments, std::index_sequence<At...>) {
    for_each_thread(grid, block, [&] { kernel(*(Arguments *)arguments[At]...); });
}
template <typename... Arguments> static void launch(void (*kernel)(Arguments...), Shape grid, Shape block, void **arguments) {
    call(kernel, grid, block, arguments, std::index_sequence_for<Arguments...>());
}
