/* The kernels of masks.cu as a program: numbers in on stdin, numbers out on stdout, sizes as arguments.
 *
 *   widen                                                     every half as a float
 *   logits SPANS ROWS COLS STRIDE DIM HALVES SCALE BIAS       patches, words, ends -> logits
 *   paint CLASSES ROWS COLS WIDTH HEIGHT                      planes, row taps, column taps -> labels */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "gpu_as_loops.h"
#include MASKS

template <typename T> static std::vector<T> read(size_t count) {
    std::vector<T> values(count);
    if (fread(values.data(), sizeof(T), count, stdin) != count) exit(3);
    return values;
}
template <typename T> static void write(const std::vector<T> &values) { fwrite(values.data(), sizeof(T), values.size(), stdout); }

int main(int count, char **given) {
    auto number = [&](int at) { return at < count ? atoi(given[at]) : (exit(2), 0); };
    if (!strcmp(given[1], "widen")) {
        std::vector<float> found;
        for (unsigned half = 0; half < 65536; half++) found.push_back(widened((unsigned short)half));
        write(found);
    } else if (!strcmp(given[1], "logits")) {
        int spans = number(2), rows = number(3), cols = number(4), stride = number(5), dim = number(6), halves = number(7);
        float scale = (float)atof(given[8]), bias = (float)atof(given[9]);
        auto patches = read<char>((size_t)rows * stride * dim * (halves ? 2 : 4));
        auto ends = read<unsigned>(spans);
        auto words = read<float>((size_t)ends.back() * dim);
        std::vector<float> out((size_t)spans * rows * cols, 7);
        // A grid that does not fit, so that threads lie beyond its edge.
        Shape grid{(unsigned)spans / 32 + 1, (unsigned)(rows * cols) / 4 + 1, 1};
        for_each_thread(grid, Shape{32, 4, 1}, [&] {
            best_logits(patches.data(), halves, words.data(), ends.data(), out.data(), spans, rows, cols, stride, dim, scale, bias);
        });
        write(out);
    } else {
        int classes = number(2), rows = number(3), cols = number(4), width = number(5), height = number(6);
        auto planes = read<float>((size_t)classes * rows * cols);
        auto row_taps = read<Tap>(height), column_taps = read<Tap>(width);
        std::vector<unsigned short> labels((size_t)width * height, 9);
        for_each_thread(Shape{(unsigned)width / 32 + 1, (unsigned)height / 8 + 1, 1}, Shape{32, 8, 1}, [&] {
            paint_labels(planes.data(), row_taps.data(), column_taps.data(), labels.data(), classes, rows, cols, width, height);
        });
        write(labels);
    }
}
