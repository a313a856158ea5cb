// The header from C++: a model in a unique_ptr, a lambda as the frames' callback.
//
//     interface_cpp PICTURE
#include <edge_seg.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

void check(EdgeSegStatus status) {
    if (status != EDGE_SEG_STATUS_OK) throw std::runtime_error(edge_seg_last_error());
}

template <auto F> struct Freed {
    template <typename T> void operator()(T *thing) const { F(thing); }
};
using Model = std::unique_ptr<EdgeSegModel, Freed<edge_seg_model_free>>;
using Words = std::unique_ptr<EdgeSegWords, Freed<edge_seg_words_free>>;
using Found = std::unique_ptr<EdgeSegFound, Freed<edge_seg_found_free>>;
using Live = std::unique_ptr<EdgeSegLive, Freed<edge_seg_live_free>>;

int run(const char *path) {
    EdgeSegModelOptions options{};
    options.struct_size = sizeof options;
    options.size_px = 64;
    EdgeSegModel *opened = nullptr;
    check(edge_seg_model_open(&options, &opened));
    Model model(opened);
    EdgeSegWords *encoded = nullptr;
    check(edge_seg_words_new(model.get(), "cat, wall", &encoded));
    Words words(encoded);
    EdgeSegFound *made = nullptr;
    check(edge_seg_find_file(model.get(), path, words.get(), &made));
    Found found(made);
    for (size_t index = 0; index < edge_seg_found_count(found.get()); index++) {
        EdgeSegClass one{};
        one.struct_size = sizeof one;
        check(edge_seg_found_class(found.get(), index, &one));
        std::printf("%s %.2f %.1f %%\n", edge_seg_found_name(found.get(), index), one.score, 100 * one.share);
    }
    try {
        check(edge_seg_find_file(model.get(), "/no/such/picture.jpg", words.get(), &made));
        return 1;
    } catch (const std::runtime_error &error) {
        if (std::string(error.what()).find("/no/such/picture.jpg") == std::string::npos) return 1;
    }
    std::vector<uint64_t> seen;
    EdgeSegLiveOptions video{};
    video.struct_size = sizeof video;
    video.source = "test:?size=64x48&fps=1000&frames=5";
    video.pace = EDGE_SEG_PACE_EVERY;
    video.user = &seen;
    video.show = [](void *user, const EdgeSegFrame *frame) {
        static_cast<std::vector<uint64_t> *>(user)->push_back(frame->sequence);
        return true;
    };
    EdgeSegLive *started = nullptr;
    check(edge_seg_live_start(model.get(), words.get(), &video, &started));
    Live live(started);
    check(edge_seg_live_wait(live.get()));
    return seen == std::vector<uint64_t>{0, 1, 2, 3, 4} ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    const int code = run(argv[1]);
    std::puts(code == 0 ? "the C++ face holds" : "the C++ face does not hold");
    return code;
}
