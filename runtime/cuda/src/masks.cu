// Scores and masks on a GPU. `score::score` and the scalar kernels' `upsample_argmax` are the reference.
//
// No header is included and nothing here is C++ alone, so that any NVRTC takes it, and a C++ compiler with a few definitions in front.

struct Tap {
    unsigned lo, hi;
    float weight;
};

// An IEEE half as a float: its exponent and mantissa moved into a float's places and scaled by the difference of the biases; what no
// number of that format can be, infinite or none, keeps its kind.
__device__ float widened(unsigned short half) {
    unsigned magnitude = half & 0x7fffu;
    union {
        unsigned bits;
        float value;
    } wide, sign;
    wide.bits = magnitude << 13;
    wide.value *= 5.192296858534828e33f; // 2^112
    if (magnitude >= 0x7c00u) wide.bits = 0x7f800000u | magnitude << 13;
    sign.bits = wide.bits | (unsigned)(half & 0x8000u) << 16;
    return sign.value;
}

// For one patch and one span of words the best word's `scale · cosine + bias`; not a number where the patch has no direction.
//
// patches [rows, stride_cols, dim], floats or halves of any norm; words [words, dim], unit-norm; ends [spans], where each span ends;
// out [spans, keep_rows · keep_cols]. One thread for each span in x and each patch in y.
extern "C" __global__ void best_logits(const void *patches, int halves, const float *words, const unsigned *ends, float *out, int spans,
    int keep_rows, int keep_cols, int stride_cols, int dim, float scale, float bias) {
    int span = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    int patch = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (span >= spans || patch >= keep_rows * keep_cols) return;
    unsigned long long at = ((unsigned long long)(patch / keep_cols) * stride_cols + patch % keep_cols) * dim;
    float square = 0.0f, best = 0.0f;
    for (unsigned word = span ? ends[span - 1] : 0, first = word; word < ends[span]; word++) {
        float product = 0.0f;
        square = 0.0f;
        for (int d = 0; d < dim; d++) {
            float x = halves ? widened(((const unsigned short *)patches)[at + d]) : ((const float *)patches)[at + d];
            product += x * words[(unsigned long long)word * dim + d];
            square += x * x;
        }
        if (word == first || product > best) best = product;
    }
    // Zero by zero, and infinity by infinity, are not numbers.
    out[(unsigned long long)span * keep_rows * keep_cols + patch] = best / sqrtf(square) * scale + bias;
}

// What lies between two values. Each product is rounded by itself, as the processor does.
__device__ float blend(float lo, float hi, float weight) { return __fadd_rn(__fmul_rn(lo, 1.0f - weight), __fmul_rn(hi, weight)); }

// For every pixel the plane with the largest interpolated value, the first one on a tie; 0 where none is finite.
//
// planes [classes, rows, cols]; row_taps [height]; column_taps [width]; labels [height, width]. One thread for each pixel.
extern "C" __global__ void paint_labels(const float *planes, const Tap *row_taps, const Tap *column_taps, unsigned short *labels, int classes,
    int rows, int cols, int width, int height) {
    int x = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    int y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= width || y >= height) return;
    Tap row = row_taps[y], column = column_taps[x];
    unsigned label = 0;
    float best = 0.0f;
    int found = 0;
    for (int class_ = 0; class_ < classes; class_++) {
        const float *lo = planes + ((unsigned long long)class_ * rows + row.lo) * cols;
        const float *hi = planes + ((unsigned long long)class_ * rows + row.hi) * cols;
        float value = blend(blend(lo[column.lo], hi[column.lo], row.weight), blend(lo[column.hi], hi[column.hi], row.weight), column.weight);
        // Neither infinite nor no number at all.
        if (value - value == 0.0f && (!found || value > best)) {
            best = value;
            label = (unsigned)class_;
            found = 1;
        }
    }
    labels[(unsigned long long)y * width + x] = (unsigned short)label;
}
