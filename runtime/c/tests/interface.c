/* The interface from C: what it gives, what it refuses, and that nothing is lost. Run under the address sanitizer or valgrind.
 *
 *     interface PICTURE BUNDLE FOLDER
 */
#define _POSIX_C_SOURCE 200809L
#include <edge_seg.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(condition)                                                                                        \
    do {                                                                                                        \
        if (!(condition)) {                                                                                     \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, edge_seg_last_error());        \
            exit(1);                                                                                            \
        }                                                                                                       \
    } while (0)
#define FAILS(call, expected_status, expected_text)                                                             \
    do {                                                                                                        \
        EdgeSegStatus status_ = (call);                                                                         \
        CHECK(status_ == (expected_status));                                                                    \
        CHECK(strstr(edge_seg_last_error(), (expected_text)) != NULL);                                          \
    } while (0)

enum { WIDTH = 96, HEIGHT = 64 };

/* Stripes of blue, green and red. */
static uint8_t pixels[3 * WIDTH * HEIGHT];

static EdgeSegImage picture(void) {
    EdgeSegImage image = {sizeof image, EDGE_SEG_RGB, WIDTH, HEIGHT, 0, pixels, sizeof pixels};
    return image;
}

static void pictures(const EdgeSegModel *model, const EdgeSegWords *words) {
    uint16_t labels[WIDTH * HEIGHT], other[WIDTH * HEIGHT];
    float scores[2] = {-1, -1};
    EdgeSegImage image = picture();
    CHECK(edge_seg_segment(model, &image, words, labels, WIDTH * HEIGHT, scores, 2) == EDGE_SEG_STATUS_OK);
    CHECK(edge_seg_last_error()[0] == 0);
    for (int i = 0; i < 2; i++) CHECK(scores[i] >= 0 && scores[i] <= 1);
    for (int i = 0; i < WIDTH * HEIGHT; i++) CHECK(labels[i] <= 2);

    /* The same picture in other orders and strides has the same labels. */
    static const struct { uint32_t format; int bytes; int order[3]; } formats[] = {
        {EDGE_SEG_BGR, 3, {2, 1, 0}}, {EDGE_SEG_RGBA, 4, {0, 1, 2}}, {EDGE_SEG_BGRA, 4, {2, 1, 0}}, {EDGE_SEG_RGB, 3, {0, 1, 2}}};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        size_t stride = formats[f].bytes * WIDTH + 7, bytes = stride * (HEIGHT - 1) + formats[f].bytes * WIDTH;
        /* Of its own and without a byte too many, so that the sanitizer sees what is read beyond. */
        uint8_t *data = malloc(bytes);
        CHECK(data != NULL);
        for (size_t y = 0; y < HEIGHT; y++)
            for (size_t x = 0; x < WIDTH; x++)
                for (int c = 0; c < 3; c++) data[y * stride + x * formats[f].bytes + c] = pixels[3 * (y * WIDTH + x) + formats[f].order[c]];
        EdgeSegImage held = {sizeof held, formats[f].format, WIDTH, HEIGHT, stride, data, bytes};
        CHECK(edge_seg_segment(model, &held, words, other, WIDTH * HEIGHT, NULL, 0) == EDGE_SEG_STATUS_OK);
        CHECK(memcmp(labels, other, sizeof labels) == 0);
        held.data_bytes--;
        FAILS(edge_seg_segment(model, &held, words, other, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_PICTURE, "bytes, found");
        free(data);
    }

    FAILS(edge_seg_segment(model, &image, words, labels, WIDTH * HEIGHT - 1, NULL, 0), EDGE_SEG_STATUS_BUFFER, "labels: expected room for 6144");
    FAILS(edge_seg_segment(model, &image, words, labels, WIDTH * HEIGHT, scores, 1), EDGE_SEG_STATUS_BUFFER, "scores");
    FAILS(edge_seg_segment(model, &image, words, NULL, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_ARGUMENT, "labels");
    FAILS(edge_seg_segment(NULL, &image, words, labels, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_ARGUMENT, "model: expected a pointer");
    FAILS(edge_seg_segment(model, NULL, words, labels, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_ARGUMENT, "image");
    FAILS(edge_seg_segment(model, &image, NULL, labels, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_ARGUMENT, "words");
    image.struct_size = 0;
    FAILS(edge_seg_segment(model, &image, words, labels, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_ARGUMENT, "struct_size");
    image = picture();
    image.format = 77;
    FAILS(edge_seg_segment(model, &image, words, labels, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_ARGUMENT, "format");
    image = picture();
    image.height = 0;
    FAILS(edge_seg_segment(model, &image, words, labels, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_PICTURE, "sides of 1");
    image = picture();
    image.data = NULL;
    FAILS(edge_seg_segment(model, &image, words, labels, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_ARGUMENT, "data");
}

static void finding(const EdgeSegModel *model, const EdgeSegWords *words, const char *path) {
    EdgeSegFound *found = NULL;
    CHECK(edge_seg_find_file(model, path, words, &found) == EDGE_SEG_STATUS_OK);
    uint32_t width = edge_seg_found_width(found), height = edge_seg_found_height(found);
    size_t all = (size_t)width * height;
    const uint16_t *labels = edge_seg_found_labels(found);
    CHECK(edge_seg_found_count(found) == 2);
    CHECK(strcmp(edge_seg_found_name(found, 0), "cat") == 0 && edge_seg_found_name(found, 2) == NULL);
    for (size_t index = 0; index < 2; index++) {
        EdgeSegClass class = {.struct_size = sizeof class};
        CHECK(edge_seg_found_class(found, index, &class) == EDGE_SEG_STATUS_OK);
        uint64_t pixels_of = 0;
        for (size_t i = 0; i < all; i++) pixels_of += labels[i] == index + 1;
        CHECK(class.label == index + 1 && class.pixels == pixels_of && class.has_box == (pixels_of > 0));
        uint8_t *mask = malloc(all);
        CHECK(edge_seg_found_mask(found, index, mask, all) == EDGE_SEG_STATUS_OK);
        for (size_t i = 0; i < all; i++) CHECK(mask[i] == (labels[i] == index + 1 ? 255 : 0));
        FAILS(edge_seg_found_mask(found, index, mask, all - 1), EDGE_SEG_STATUS_BUFFER, "mask");
        free(mask);
        size_t needed = 0;
        CHECK(edge_seg_found_rle(found, index, NULL, 0, &needed) == EDGE_SEG_STATUS_OK && needed > 1);
        char *text = malloc(needed);
        CHECK(edge_seg_found_rle(found, index, text, needed, NULL) == EDGE_SEG_STATUS_OK && strlen(text) == needed - 1);
        FAILS(edge_seg_found_rle(found, index, text, needed - 1, NULL), EDGE_SEG_STATUS_BUFFER, "text");
        free(text);
    }
    EdgeSegClass class = {.struct_size = sizeof class};
    CHECK(edge_seg_found_class(found, 0, &class) == EDGE_SEG_STATUS_OK && class.pixels > 1000 && class.score > 0.5f);
    FAILS(edge_seg_found_class(found, 2, &class), EDGE_SEG_STATUS_ARGUMENT, "index: expected below 2, found 2");
    class.struct_size = 3;
    FAILS(edge_seg_found_class(found, 0, &class), EDGE_SEG_STATUS_ARGUMENT, "struct_size");
    edge_seg_found_free(found);
    found = (EdgeSegFound *)1;
    FAILS(edge_seg_find_file(model, "/no/such/picture.jpg", words, &found), EDGE_SEG_STATUS_IO, "/no/such/picture.jpg");
    CHECK(found == NULL);
    FAILS(edge_seg_find_file(model, "\xff", words, &found), EDGE_SEG_STATUS_ARGUMENT, "UTF-8");
}

static void encoding(const EdgeSegModel *model, const EdgeSegWords *words) {
    EdgeSegImage image = picture();
    EdgeSegEncoded *encoded = NULL;
    CHECK(edge_seg_encode(model, &image, &encoded) == EDGE_SEG_STATUS_OK);
    size_t rows, columns, dim;
    CHECK(edge_seg_encoded_shape(encoded, &rows, &columns, &dim) == EDGE_SEG_STATUS_OK && dim == edge_seg_model_dim(model));
    const float *patches = edge_seg_encoded_patches(encoded), *whole = edge_seg_encoded_picture(encoded);
    for (size_t patch = 0; patch <= rows * columns; patch++) {
        const float *row = patch < rows * columns ? patches + patch * dim : whole;
        double norm = 0;
        for (size_t i = 0; i < dim; i++) norm += (double)row[i] * row[i];
        CHECK(norm > 0.999 && norm < 1.001);
    }
    uint32_t box[4];
    CHECK(edge_seg_encoded_patch_box(encoded, 0, 0, &box) && box[0] == 0 && box[1] == 0 && box[2] > 0 && box[3] > 0);
    CHECK(!edge_seg_encoded_patch_box(encoded, rows, 0, &box) && !edge_seg_encoded_patch_box(NULL, 0, 0, &box));
    EdgeSegFound *later = NULL, *at_once = NULL;
    CHECK(edge_seg_encoded_find(encoded, words, &later) == EDGE_SEG_STATUS_OK);
    CHECK(edge_seg_find(model, &image, words, &at_once) == EDGE_SEG_STATUS_OK);
    CHECK(memcmp(edge_seg_found_labels(later), edge_seg_found_labels(at_once), 2 * WIDTH * HEIGHT) == 0);
    edge_seg_found_free(later);
    edge_seg_found_free(at_once);
    edge_seg_encoded_free(encoded);
    float *text = malloc(dim * sizeof *text);
    CHECK(edge_seg_embed_text(model, "the ear of a cat", text, dim) == EDGE_SEG_STATUS_OK);
    FAILS(edge_seg_embed_text(model, "cat", text, dim - 1), EDGE_SEG_STATUS_BUFFER, "embedding");
    FAILS(edge_seg_embed_text(model, NULL, text, dim), EDGE_SEG_STATUS_ARGUMENT, "text");
    free(text);
}

struct shared {
    const EdgeSegModel *model;
    const EdgeSegWords *words;
};

static void *on_a_thread(void *argument) {
    const struct shared *shared = argument;
    uint16_t labels[WIDTH * HEIGHT];
    EdgeSegImage image = picture();
    for (int i = 0; i < 5; i++)
        CHECK(edge_seg_segment(shared->model, &image, shared->words, labels, WIDTH * HEIGHT, NULL, 0) == EDGE_SEG_STATUS_OK);
    /* Each thread has its own message. */
    FAILS(edge_seg_segment(shared->model, NULL, shared->words, labels, WIDTH * HEIGHT, NULL, 0), EDGE_SEG_STATUS_ARGUMENT, "image");
    return NULL;
}

struct video {
    int read, shown, last_count, stop_after, fail_at;
};

static int32_t read_picture(void *user, EdgeSegImage *image) {
    struct video *video = user;
    CHECK(image->struct_size == sizeof *image);
    if (video->fail_at && video->read >= video->fail_at) return -5;
    if (!video->fail_at && video->read >= 4) return 0;
    video->read++;
    *image = picture();
    return 1;
}

static bool show(void *user, const EdgeSegFrame *frame) {
    struct video *video = user;
    CHECK(frame->struct_size == sizeof *frame && frame->sequence == (uint64_t)video->shown && frame->key == 1);
    CHECK(edge_seg_found_width(frame->found) == frame->image.width && frame->image.format == EDGE_SEG_RGB);
    CHECK(frame->image.data_bytes == 3 * (size_t)frame->image.width * frame->image.height);
    video->last_count = (int)edge_seg_found_count(frame->found);
    __atomic_add_fetch(&video->shown, 1, __ATOMIC_RELEASE);
    return video->stop_after == 0 || video->shown < video->stop_after;
}

/* A program's own structure, of a newer release perhaps, in place of what the library gave. */
struct sized {
    uint32_t size;
    uint64_t later;
    int read;
};

static int32_t read_of_a_size(void *user, EdgeSegImage *image) {
    struct sized *sized = user;
    struct { EdgeSegImage known; uint64_t later; } newer = {picture(), sized->later};
    if (sized->read++ == 2) return 0;
    newer.known.struct_size = sized->size;
    memcpy(image, &newer, sized->size == sizeof newer ? sizeof newer : sizeof *image);
    return 1;
}

static bool goes_on_with(void *user, const EdgeSegFrame *frame) {
    (void)user;
    return frame->image.width == WIDTH;
}

/* What a callback says of a structure's size is held to what there is. */
static void sizes_from_a_callback(const EdgeSegModel *model, const EdgeSegWords *words) {
    static const struct { uint32_t size; uint64_t later; const char *said; } sizes[] = {
        {sizeof(EdgeSegImage), 0, NULL},
        {sizeof(EdgeSegImage) + 8, 0, NULL},
        {sizeof(EdgeSegImage) + 8, 1, "too old"},
        {0, 0, "struct_size"},
        {sizeof(EdgeSegImage) - 8, 0, "struct_size"},
        {4096, 0, "struct_size"},
        {65536, 0, "struct_size"},
        {UINT32_MAX, 0, "struct_size"}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct sized sized = {sizes[i].size, sizes[i].later, 0};
        EdgeSegLiveOptions options = {
            .struct_size = sizeof options, .pace = EDGE_SEG_PACE_EVERY, .show = goes_on_with, .read = read_of_a_size, .user = &sized};
        EdgeSegLive *live = NULL;
        CHECK(edge_seg_live_start(model, words, &options, &live) == EDGE_SEG_STATUS_OK);
        if (sizes[i].said == NULL)
            CHECK(edge_seg_live_wait(live) == EDGE_SEG_STATUS_OK && sized.read == 3);
        else
            FAILS(edge_seg_live_wait(live), EDGE_SEG_STATUS_SOURCE, sizes[i].said);
        edge_seg_live_free(live);
    }
}

/* Whatever a call gives is NULL where it fails, so that it may be freed. */
static void gives_nothing(const EdgeSegModel *model, const EdgeSegWords *words) {
    void *odd = &pixels;
    EdgeSegImage image = picture();
    EdgeSegModel *opened = odd;
    EdgeSegModelOptions wrong = {.struct_size = 1};
    FAILS(edge_seg_model_open(&wrong, &opened), EDGE_SEG_STATUS_ARGUMENT, "struct_size");
    CHECK(opened == NULL);
    EdgeSegWords *made = odd;
    FAILS(edge_seg_words_new(model, NULL, &made), EDGE_SEG_STATUS_ARGUMENT, "list");
    CHECK(made == NULL);
    made = odd;
    FAILS(edge_seg_words_new(NULL, "cat", &made), EDGE_SEG_STATUS_ARGUMENT, "model");
    CHECK(made == NULL);
    made = odd;
    FAILS(edge_seg_words_new(model, "do\xe2\x80\x8bg", &made), EDGE_SEG_STATUS_WORDS, "can be seen");
    CHECK(made == NULL);
    EdgeSegFound *found = odd;
    FAILS(edge_seg_find(NULL, &image, words, &found), EDGE_SEG_STATUS_ARGUMENT, "model");
    CHECK(found == NULL);
    found = odd;
    FAILS(edge_seg_find_file(model, NULL, words, &found), EDGE_SEG_STATUS_ARGUMENT, "path");
    CHECK(found == NULL);
    found = odd;
    FAILS(edge_seg_encoded_find(NULL, words, &found), EDGE_SEG_STATUS_ARGUMENT, "encoded");
    CHECK(found == NULL);
    EdgeSegEncoded *encoded = odd;
    FAILS(edge_seg_encode(model, NULL, &encoded), EDGE_SEG_STATUS_ARGUMENT, "image");
    CHECK(encoded == NULL);
    EdgeSegLive *live = odd;
    FAILS(edge_seg_live_start(model, words, NULL, &live), EDGE_SEG_STATUS_ARGUMENT, "options");
    CHECK(live == NULL);
}

/* Callbacks that call the library themselves. */
struct inside {
    pthread_mutex_t lock;
    pthread_cond_t there;
    EdgeSegLive *live;
    const EdgeSegModel *model;
    const EdgeSegWords *words, *others;
    int read, shown, changed;
};

static EdgeSegLive *live_of(struct inside *inside) {
    pthread_mutex_lock(&inside->lock);
    while (inside->live == NULL) pthread_cond_wait(&inside->there, &inside->lock);
    pthread_mutex_unlock(&inside->lock);
    return inside->live;
}

static int32_t read_and_call(void *user, EdgeSegImage *image) {
    struct inside *inside = user;
    EdgeSegLive *live = live_of(inside);
    FAILS(edge_seg_live_wait(live), EDGE_SEG_STATUS_ARGUMENT, "outside of its callbacks");
    FAILS(edge_seg_live_stop(live), EDGE_SEG_STATUS_ARGUMENT, "outside of its callbacks");
    *image = picture();
    return inside->read++ < 12;
}

static bool show_and_call(void *user, const EdgeSegFrame *frame) {
    struct inside *inside = user;
    EdgeSegLive *live = live_of(inside);
    FAILS(edge_seg_live_stop(live), EDGE_SEG_STATUS_ARGUMENT, "outside of its callbacks");
    FAILS(edge_seg_live_wait(live), EDGE_SEG_STATUS_ARGUMENT, "outside of its callbacks");
    EdgeSegFound *again = NULL;
    CHECK(edge_seg_find(inside->model, &frame->image, inside->words, &again) == EDGE_SEG_STATUS_OK);
    CHECK(edge_seg_found_width(again) == frame->image.width && edge_seg_found_count(again) == 2);
    edge_seg_found_free(again);
    CHECK(edge_seg_live_set_words(live, inside->others) == EDGE_SEG_STATUS_OK);
    inside->changed += edge_seg_found_count(frame->found) == 1;
    inside->shown++;
    return true;
}

static void calls_from_callbacks(const EdgeSegModel *model, const EdgeSegWords *words) {
    EdgeSegWords *others = NULL;
    CHECK(edge_seg_words_new(model, "dog", &others) == EDGE_SEG_STATUS_OK);
    struct inside inside = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, model, words, others, 0, 0, 0};
    EdgeSegLiveOptions options = {
        .struct_size = sizeof options, .pace = EDGE_SEG_PACE_EVERY, .show = show_and_call, .read = read_and_call, .user = &inside};
    EdgeSegLive *live = NULL;
    CHECK(edge_seg_live_start(model, words, &options, &live) == EDGE_SEG_STATUS_OK);
    pthread_mutex_lock(&inside.lock);
    inside.live = live;
    pthread_cond_broadcast(&inside.there);
    pthread_mutex_unlock(&inside.lock);
    CHECK(edge_seg_live_wait(live) == EDGE_SEG_STATUS_OK);
    CHECK(inside.shown == 12 && inside.changed > 0);
    edge_seg_live_free(live);
    edge_seg_words_free(others);
}

static void *wait_for(void *live) {
    CHECK(edge_seg_live_wait(live) == EDGE_SEG_STATUS_OK);
    return NULL;
}

/* Whoever stops a session that another thread waits for waits as well: no callback runs afterwards. */
static void stops_while_another_waits(const EdgeSegModel *model, const EdgeSegWords *words) {
    struct video video = {0};
    EdgeSegLiveOptions options = {
        .struct_size = sizeof options, .pace = EDGE_SEG_PACE_EVERY, .show = show, .source = "test:?size=64x48&fps=1000", .user = &video};
    EdgeSegLive *live = NULL;
    pthread_t waiting;
    CHECK(edge_seg_live_start(model, words, &options, &live) == EDGE_SEG_STATUS_OK);
    CHECK(pthread_create(&waiting, NULL, wait_for, live) == 0);
    while (__atomic_load_n(&video.shown, __ATOMIC_ACQUIRE) < 3) nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK(edge_seg_live_stop(live) == EDGE_SEG_STATUS_OK);
    int shown = __atomic_load_n(&video.shown, __ATOMIC_ACQUIRE);
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    CHECK(__atomic_load_n(&video.shown, __ATOMIC_ACQUIRE) == shown);
    CHECK(pthread_join(waiting, NULL) == 0);
    edge_seg_live_free(live);
}

/* A read that takes longer than a named source's may. */
struct slow {
    int reading, read;
};

static int32_t read_slowly(void *user, EdgeSegImage *image) {
    struct slow *slow = user;
    *image = picture();
    if (slow->read++ == 0) return 1;
    __atomic_store_n(&slow->reading, 1, __ATOMIC_RELEASE);
    nanosleep(&(struct timespec){3, 0}, NULL);
    __atomic_store_n(&slow->reading, 2, __ATOMIC_RELEASE);
    return 1;
}

static bool goes_on(void *user, const EdgeSegFrame *frame) {
    (void)user;
    return frame != NULL;
}

/* What the callback writes to may be gone once the session has ended. */
static void waits_for_a_read(const EdgeSegModel *model, const EdgeSegWords *words) {
    for (int free_alone = 0; free_alone < 2; free_alone++) {
        struct slow slow = {0, 0};
        EdgeSegLiveOptions options = {
            .struct_size = sizeof options, .pace = EDGE_SEG_PACE_EVERY, .show = goes_on, .read = read_slowly, .user = &slow};
        EdgeSegLive *live = NULL;
        CHECK(edge_seg_live_start(model, words, &options, &live) == EDGE_SEG_STATUS_OK);
        while (__atomic_load_n(&slow.reading, __ATOMIC_ACQUIRE) == 0) nanosleep(&(struct timespec){0, 1000000}, NULL);
        if (!free_alone) CHECK(edge_seg_live_stop(live) == EDGE_SEG_STATUS_OK);
        edge_seg_live_free(live);
        CHECK(__atomic_load_n(&slow.reading, __ATOMIC_ACQUIRE) == 2 && slow.read == 2);
    }
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One look at all pixels tells of all words, however many are asked for. */
static void tells_of_many_words(const EdgeSegModel *model, const EdgeSegWords *words) {
    enum { WIDE = 2048, HIGH = 1536 };
    uint8_t *grey = calloc(WIDE, HIGH);
    CHECK(grey != NULL);
    EdgeSegImage image = {sizeof image, EDGE_SEG_GREY, WIDE, HIGH, 0, grey, (size_t)WIDE * HIGH};
    double first = 1e9, later = 1e9;
    /* The best of three: a busy machine makes some calls longer, none shorter. */
    for (int round = 0; round < 3; round++) {
        EdgeSegFound *found = NULL;
        EdgeSegClass class = {.struct_size = sizeof class};
        CHECK(edge_seg_find(model, &image, words, &found) == EDGE_SEG_STATUS_OK);
        for (size_t index = 0; index < 2; index++) {
            double start = seconds(), *best = index == 0 ? &first : &later;
            CHECK(edge_seg_found_class(found, index, &class) == EDGE_SEG_STATUS_OK);
            double took = seconds() - start;
            if (took < *best) *best = took;
        }
        edge_seg_found_free(found);
    }
    CHECK(later < first / 4);
    free(grey);
}

/* What is asked of nothing, and answered into nothing. */
static void nothing(const EdgeSegModel *model, const EdgeSegWords *words) {
    EdgeSegImage image = picture();
    EdgeSegClass class = {.struct_size = sizeof class};
    EdgeSegFound *found = NULL;
    EdgeSegEncoded *encoded = NULL;
    size_t number;
    FAILS(edge_seg_found_class(NULL, 0, &class), EDGE_SEG_STATUS_ARGUMENT, "found");
    FAILS(edge_seg_found_mask(NULL, 0, (uint8_t *)&class, sizeof class), EDGE_SEG_STATUS_ARGUMENT, "found");
    FAILS(edge_seg_found_rle(NULL, 0, NULL, 0, NULL), EDGE_SEG_STATUS_ARGUMENT, "found");
    FAILS(edge_seg_find(model, &image, words, NULL), EDGE_SEG_STATUS_ARGUMENT, "out");
    FAILS(edge_seg_find_file(model, NULL, words, &found), EDGE_SEG_STATUS_ARGUMENT, "path");
    FAILS(edge_seg_encode(model, NULL, &encoded), EDGE_SEG_STATUS_ARGUMENT, "image");
    FAILS(edge_seg_encoded_shape(NULL, &number, &number, &number), EDGE_SEG_STATUS_ARGUMENT, "encoded");
    FAILS(edge_seg_encoded_find(NULL, words, &found), EDGE_SEG_STATUS_ARGUMENT, "encoded");
    FAILS(edge_seg_words_new(NULL, "cat", NULL), EDGE_SEG_STATUS_ARGUMENT, "out");
    FAILS(edge_seg_live_stop(NULL), EDGE_SEG_STATUS_ARGUMENT, "live");
    FAILS(edge_seg_live_set_words(NULL, words), EDGE_SEG_STATUS_ARGUMENT, "live");
    FAILS(edge_seg_live_start(model, words, NULL, (EdgeSegLive **)&found), EDGE_SEG_STATUS_ARGUMENT, "options");
    CHECK(edge_seg_found_height(NULL) == 0 && edge_seg_found_count(NULL) == 0 && edge_seg_found_name(NULL, 0) == NULL);
    CHECK(edge_seg_encoded_picture(NULL) == NULL && edge_seg_words_name(NULL, 0) == NULL);

    CHECK(edge_seg_encode(model, &image, &encoded) == EDGE_SEG_STATUS_OK);
    FAILS(edge_seg_encoded_shape(encoded, &number, NULL, &number), EDGE_SEG_STATUS_ARGUMENT, "columns");
    CHECK(!edge_seg_encoded_patch_box(encoded, 0, 0, NULL));
    CHECK(edge_seg_encoded_find(encoded, words, &found) == EDGE_SEG_STATUS_OK);
    FAILS(edge_seg_found_class(found, 0, NULL), EDGE_SEG_STATUS_ARGUMENT, "out");
    /* A newer program's structure: what this library does not know stays as it was. */
    struct { EdgeSegClass known; uint64_t later; } newer = {{.struct_size = sizeof newer}, 77};
    CHECK(edge_seg_found_class(found, 1, &newer.known) == EDGE_SEG_STATUS_OK && newer.known.label == 2 && newer.later == 77);
    CHECK(newer.known.struct_size == sizeof class);
    edge_seg_found_free(found);
    edge_seg_encoded_free(encoded);
}

static void videos(const EdgeSegModel *model, const EdgeSegWords *words) {
    struct video video = {0};
    EdgeSegLive *live = NULL;
    EdgeSegLiveOptions options = {.struct_size = sizeof options, .pace = EDGE_SEG_PACE_EVERY, .show = show, .read = read_picture, .user = &video};
    CHECK(edge_seg_live_start(model, words, &options, &live) == EDGE_SEG_STATUS_OK);
    CHECK(edge_seg_live_wait(live) == EDGE_SEG_STATUS_OK && video.shown == 4 && video.last_count == 2);
    CHECK(edge_seg_live_wait(live) == EDGE_SEG_STATUS_OK);
    edge_seg_live_free(live);

    video = (struct video){.fail_at = 2};
    CHECK(edge_seg_live_start(model, words, &options, &live) == EDGE_SEG_STATUS_OK);
    FAILS(edge_seg_live_wait(live), EDGE_SEG_STATUS_CALLBACK, "callback's -5");
    CHECK(video.shown == 2);
    edge_seg_live_free(live);

    /* A source by its name, ended by its callback; then one without end, by stop and by free. */
    video = (struct video){.stop_after = 3};
    options.read = NULL;
    options.source = "test:?size=64x48&fps=1000";
    CHECK(edge_seg_live_start(model, words, &options, &live) == EDGE_SEG_STATUS_OK);
    CHECK(edge_seg_live_wait(live) == EDGE_SEG_STATUS_OK && video.shown == 3);
    edge_seg_live_free(live);
    for (int free_alone = 0; free_alone < 2; free_alone++) {
        video = (struct video){0};
        CHECK(edge_seg_live_start(model, words, &options, &live) == EDGE_SEG_STATUS_OK);
        EdgeSegWords *one = NULL;
        CHECK(edge_seg_words_new(model, "dog, -wall", &one) == EDGE_SEG_STATUS_OK);
        CHECK(edge_seg_live_set_words(live, one) == EDGE_SEG_STATUS_OK);
        edge_seg_words_free(one);
        if (!free_alone) {
            CHECK(edge_seg_live_stop(live) == EDGE_SEG_STATUS_OK);
            int shown = video.shown;
            CHECK(edge_seg_live_stop(live) == EDGE_SEG_STATUS_OK && video.shown == shown);
        }
        edge_seg_live_free(live);
    }

    options.show = NULL;
    FAILS(edge_seg_live_start(model, words, &options, &live), EDGE_SEG_STATUS_ARGUMENT, "options.show");
    CHECK(live == NULL);
    options.show = show;
    options.source = NULL;
    FAILS(edge_seg_live_start(model, words, &options, &live), EDGE_SEG_STATUS_ARGUMENT, "source or read");
    options.source = "nonsense:?";
    FAILS(edge_seg_live_start(model, words, &options, &live), EDGE_SEG_STATUS_SOURCE, "nonsense");
    options.source = "test:?size=64x48";
    options.share = 2;
    FAILS(edge_seg_live_start(model, words, &options, &live), EDGE_SEG_STATUS_ARGUMENT, "keys");
}

static void models(const char *bundle, const char *folder) {
    EdgeSegModel *model = NULL;
    EdgeSegModelOptions options = {.struct_size = sizeof options, .size_px = 64, .threads = 1, .bundle = bundle};
    CHECK(edge_seg_model_open(&options, &model) == EDGE_SEG_STATUS_OK && strcmp(edge_seg_model_name(model), "mini") == 0);
    edge_seg_model_free(model);
    options.keys = folder;
    FAILS(edge_seg_model_open(&options, &model), EDGE_SEG_STATUS_REFUSED, "*.pub");
    CHECK(model == NULL);
    options.bundle = NULL;
    FAILS(edge_seg_model_open(&options, &model), EDGE_SEG_STATUS_ARGUMENT, "no signature");
    options.keys = NULL;
    options.bundle = "/no/such/bundle.esb";
    FAILS(edge_seg_model_open(&options, &model), EDGE_SEG_STATUS_IO, "/no/such/bundle.esb");
    options.bundle_data = (const uint8_t *)"nonsense";
    options.bundle_bytes = 8;
    FAILS(edge_seg_model_open(&options, &model), EDGE_SEG_STATUS_ARGUMENT, "both");
    options.bundle = NULL;
    FAILS(edge_seg_model_open(&options, &model), EDGE_SEG_STATUS_BUNDLE, "memory");
    options.bundle_data = NULL;
    FAILS(edge_seg_model_open(&options, &model), EDGE_SEG_STATUS_ARGUMENT, "8 bytes of a bundle");
    options.bundle_bytes = 0;
    options.refine = 7;
    FAILS(edge_seg_model_open(&options, &model), EDGE_SEG_STATUS_ARGUMENT, "0 or 1");
    FAILS(edge_seg_model_open(NULL, NULL), EDGE_SEG_STATUS_ARGUMENT, "out");
    options = (EdgeSegModelOptions){.struct_size = sizeof options, .size_px = 1};
    FAILS(edge_seg_model_open(&options, &model), EDGE_SEG_STATUS_ARGUMENT, "size_px");

    /* A program that was compiled against a newer header, with nothing set in what this library does not know. */
    struct { EdgeSegModelOptions known; uint64_t later; } newer = {{.struct_size = sizeof newer, .size_px = 64}, 0};
    CHECK(edge_seg_model_open(&newer.known, &model) == EDGE_SEG_STATUS_OK);
    edge_seg_model_free(model);
    newer.later = 1;
    FAILS(edge_seg_model_open(&newer.known, &model), EDGE_SEG_STATUS_ARGUMENT, "too old");
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i % 3 == i / 3 % WIDTH * 3 / WIDTH ? 200 : 30);
    CHECK(strcmp(edge_seg_version(), "0.1.0") == 0);
    models(argv[2], argv[3]);

    EdgeSegModel *model = NULL;
    EdgeSegModelOptions options = {.struct_size = sizeof options, .size_px = 64};
    CHECK(edge_seg_model_open(&options, &model) == EDGE_SEG_STATUS_OK);
    EdgeSegWords *words = NULL, *none = (EdgeSegWords *)1;
    CHECK(edge_seg_words_new(model, "cat, wall: background wall, -floor", &words) == EDGE_SEG_STATUS_OK);
    CHECK(edge_seg_words_count(words) == 2 && strcmp(edge_seg_words_name(words, 1), "wall") == 0 && edge_seg_words_name(words, 2) == NULL);
    FAILS(edge_seg_words_new(model, "", &none), EDGE_SEG_STATUS_WORDS, "one word or more");
    CHECK(none == NULL);
    FAILS(edge_seg_words_set_threshold(words, "dog", 0.5f), EDGE_SEG_STATUS_WORDS, "one of cat, wall");
    FAILS(edge_seg_words_set_threshold(words, "cat", 1.5f), EDGE_SEG_STATUS_ARGUMENT, "0 to 1");
    FAILS(edge_seg_words_set_off(words, NULL), EDGE_SEG_STATUS_ARGUMENT, "name");
    FAILS(edge_seg_words_set_background(words, 2), EDGE_SEG_STATUS_ARGUMENT, "0 to 1");
    CHECK(edge_seg_words_set_threshold(words, "wall", 0.25f) == EDGE_SEG_STATUS_OK);
    CHECK(edge_seg_words_set_background(words, 0.25f) == EDGE_SEG_STATUS_OK);

    pictures(model, words);
    finding(model, words, argv[1]);
    encoding(model, words);
    videos(model, words);
    sizes_from_a_callback(model, words);
    gives_nothing(model, words);
    calls_from_callbacks(model, words);
    stops_while_another_waits(model, words);
    waits_for_a_read(model, words);
    tells_of_many_words(model, words);
    nothing(model, words);

    struct shared shared = {model, words};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, on_a_thread, &shared) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);

    /* What is free for nothing, and what outlives what it was made of. */
    EdgeSegEncoded *encoded = NULL;
    EdgeSegFound *found = NULL;
    EdgeSegImage image = picture();
    CHECK(edge_seg_encode(model, &image, &encoded) == EDGE_SEG_STATUS_OK);
    edge_seg_model_free(model);
    CHECK(edge_seg_encoded_find(encoded, words, &found) == EDGE_SEG_STATUS_OK);
    edge_seg_words_free(words);
    edge_seg_encoded_free(encoded);
    CHECK(edge_seg_found_width(found) == WIDTH);
    edge_seg_found_free(found);
    CHECK(edge_seg_model_open(&options, &model) == EDGE_SEG_STATUS_OK && edge_seg_words_new(model, "cat", &words) == EDGE_SEG_STATUS_OK);
    struct video video = {0};
    EdgeSegLiveOptions reading = {.struct_size = sizeof reading, .pace = EDGE_SEG_PACE_EVERY, .show = show, .read = read_picture, .user = &video};
    EdgeSegLive *live = NULL;
    CHECK(edge_seg_live_start(model, words, &reading, &live) == EDGE_SEG_STATUS_OK);
    edge_seg_words_free(words);
    edge_seg_model_free(model);
    CHECK(edge_seg_live_wait(live) == EDGE_SEG_STATUS_OK && video.shown == 4);
    edge_seg_live_free(live);
    edge_seg_model_free(NULL), edge_seg_words_free(NULL), edge_seg_found_free(NULL), edge_seg_encoded_free(NULL), edge_seg_live_free(NULL);
    CHECK(edge_seg_model_name(NULL) == NULL && edge_seg_model_dim(NULL) == 0 && edge_seg_words_count(NULL) == 0);
    CHECK(edge_seg_found_labels(NULL) == NULL && edge_seg_encoded_patches(NULL) == NULL);
    puts("the C interface holds");
    return 0;
}
