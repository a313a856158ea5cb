#ifndef EDGE_SEG_H
#define EDGE_SEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Open-vocabulary segmentation: words in, masks out.
 *
 * Errors. Functions that can fail return an EdgeSegStatus; what was expected, what was found and where is in edge_seg_last_error(), for
 * each thread its own, until that thread calls the next function that can fail. Nothing is thrown and no panic crosses: a fault inside
 * the library is EDGE_SEG_STATUS_PANICKED. A callback must not throw either, nor leave by longjmp.
 *
 * Memory. What edge_seg_..._open, _new, _find, _find_file, _encode and _start give is freed by the function of its name with _free, once,
 * in any order: a thing that is still needed inside stays. Where they fail, *out is NULL, whatever it was before. Freeing NULL does
 * nothing. Pointers that other functions return belong to the thing that they were asked of. Text is UTF-8 and ends with a zero.
 *
 * Threads. A model, and what was found or encoded, may be used by several threads at once. Words may be read by several; the functions
 * edge_seg_words_set_... want them alone, before others use them. A thing is freed when nobody uses it any more. A process that was
 * forked after a model was opened must not use it: threads do not come along.
 *
 * Versions. Structures that a program fills begin with struct_size, which the program sets to sizeof the structure as it was compiled;
 * what a newer library has added to the end counts as zero then. What is left at zero has its default.
 *
 * Standards. C99 and newer, C++11 and newer, also with -Wall -Wextra -pedantic. C89 and C++98 take it where they are not asked to be
 * pedantic, of compilers that have <stdint.h> and <stdbool.h> for them.
 */


/**
 * The source decides: cameras and network streams lose frames that nobody is ready for, everything else waits.
 */
#define EDGE_SEG_PACE_AUTO 0

/**
 * The newest frame is taken, the others are lost and counted.
 */
#define EDGE_SEG_PACE_LIVE 1

/**
 * Every frame is segmented.
 */
#define EDGE_SEG_PACE_EVERY 2

/**
 * Red, green, blue, one byte each.
 */
#define EDGE_SEG_RGB 0

/**
 * Blue, green, red, as OpenCV has it.
 */
#define EDGE_SEG_BGR 1

/**
 * Red, green, blue, and one that is left out.
 */
#define EDGE_SEG_RGBA 2

/**
 * Blue, green, red, and one that is left out.
 */
#define EDGE_SEG_BGRA 3

/**
 * One byte of brightness.
 */
#define EDGE_SEG_GREY 4

/**
 * What became of a call.
 */
typedef enum EdgeSegStatus {
    /**
     * Done.
     */
    EDGE_SEG_STATUS_OK = 0,
    /**
     * An argument is missing, out of range, or does not fit another.
     */
    EDGE_SEG_STATUS_ARGUMENT = 1,
    /**
     * A file cannot be read.
     */
    EDGE_SEG_STATUS_IO = 2,
    /**
     * A bundle cannot be used.
     */
    EDGE_SEG_STATUS_BUNDLE = 3,
    /**
     * A bundle or a key is not trusted here.
     */
    EDGE_SEG_STATUS_REFUSED = 4,
    /**
     * A picture cannot be used.
     */
    EDGE_SEG_STATUS_PICTURE = 5,
    /**
     * Words cannot be used.
     */
    EDGE_SEG_STATUS_WORDS = 6,
    /**
     * An encoder cannot be loaded or run.
     */
    EDGE_SEG_STATUS_ENCODER = 7,
    /**
     * A GPU cannot be used, or failed.
     */
    EDGE_SEG_STATUS_DEVICE = 8,
    /**
     * A source of frames does not work.
     */
    EDGE_SEG_STATUS_SOURCE = 9,
    /**
     * A buffer is too small; the message says how much is needed.
     */
    EDGE_SEG_STATUS_BUFFER = 10,
    /**
     * A callback said that it failed.
     */
    EDGE_SEG_STATUS_CALLBACK = 11,
    /**
     * A fault inside the library, which is to be reported.
     */
    EDGE_SEG_STATUS_PANICKED = 12,
    /**
     * Anything else.
     */
    EDGE_SEG_STATUS_OTHER = 13,
} EdgeSegStatus;

/**
 * A picture's embeddings.
 */
typedef struct EdgeSegEncoded EdgeSegEncoded;

/**
 * The masks and scores of a picture.
 */
typedef struct EdgeSegFound EdgeSegFound;

/**
 * Video that is being segmented.
 */
typedef struct EdgeSegLive EdgeSegLive;

/**
 * A loaded model.
 */
typedef struct EdgeSegModel EdgeSegModel;

/**
 * Words to look for.
 */
typedef struct EdgeSegWords EdgeSegWords;

/**
 * A picture in memory. It is read during the call and not kept.
 */
typedef struct EdgeSegImage {
    /**
     * sizeof(EdgeSegImage).
     */
    uint32_t struct_size;
    /**
     * EDGE_SEG_RGB and so on.
     */
    uint32_t format;
    /**
     * Pixels of a line.
     */
    uint32_t width;
    /**
     * Lines.
     */
    uint32_t height;
    /**
     * From the start of a line to that of the next; 0 if lines follow each other.
     */
    size_t stride_bytes;
    /**
     * The first line.
     */
    const uint8_t *data;
    /**
     * Bytes there are; the last line may end with its pixels.
     */
    size_t data_bytes;
} EdgeSegImage;

/**
 * Fills in the next picture: 1 if there is one, 0 at the end, below 0 if it failed. `image` comes with its struct_size set, which the
 * program leaves or sets to its own sizeof(EdgeSegImage); with 0, or what can be no release's, the session ends with an error. What
 * `image` points to must stay until the next call. It is called on a thread of the library's, one call at a time, and must not call
 * edge_seg_live_free. Whoever ends the session waits until it has returned, so it should not wait for pictures without end.
 */
typedef int32_t (*EdgeSegRead)(void *user, struct EdgeSegImage *image);

/**
 * A frame of video with its masks.
 */
typedef struct EdgeSegFrame {
    /**
     * sizeof(EdgeSegFrame), as the library has it.
     */
    uint32_t struct_size;
    /**
     * 1 if the masks come from this frame's own embeddings, 0 if they were carried to it.
     */
    uint32_t key;
    /**
     * The frame's number in its source.
     */
    uint64_t sequence;
    /**
     * Its time since the source started, in nanoseconds.
     */
    uint64_t timestamp_ns;
    /**
     * From its arrival to its masks, in nanoseconds.
     */
    uint64_t latency_ns;
    /**
     * Frames lost so far because a newer one came first.
     */
    uint64_t dropped;
    /**
     * Its masks, for edge_seg_found_...; not to be freed.
     */
    const struct EdgeSegFound *found;
    /**
     * Its pixels.
     */
    struct EdgeSegImage image;
} EdgeSegFrame;

/**
 * Takes a frame with its masks, which are there during the call alone. False ends the session. It is called on a thread of the
 * library's, one call at a time. It may call what else there is, also edge_seg_live_set_words, but for edge_seg_live_stop, _wait, which
 * refuse it, and _free.
 */
typedef bool (*EdgeSegShow)(void *user, const struct EdgeSegFrame *frame);

/**
 * How video is read and segmented.
 */
typedef struct EdgeSegLiveOptions {
    /**
     * sizeof(EdgeSegLiveOptions).
     */
    uint32_t struct_size;
    /**
     * EDGE_SEG_PACE_AUTO and so on.
     */
    uint32_t pace;
    /**
     * The encoder runs on every so many frames, and masks are carried to those between; 0 is as 1.
     */
    uint32_t every;
    /**
     * Or in this share of the time, above 0 and up to 1; 0 leaves it to `every`.
     */
    float share;
    /**
     * What is to be read, as `edge-seg run --source` takes it; NULL if `read` is given.
     */
    const char *source;
    /**
     * Reads pictures of the program's own, in place of `source`.
     */
    EdgeSegRead read;
    /**
     * Takes the frames.
     */
    EdgeSegShow show;
    /**
     * Is handed to both.
     */
    void *user;
} EdgeSegLiveOptions;

/**
 * How a model is opened. All zero but the size: the model that the library carries.
 */
typedef struct EdgeSegModelOptions {
    /**
     * sizeof(EdgeSegModelOptions).
     */
    uint32_t struct_size;
    /**
     * Side of the prepared input in pixels; the model's own if 0.
     */
    uint32_t size_px;
    /**
     * Threads; as many as the processor has if 0.
     */
    uint32_t threads;
    /**
     * 1 moves the borders of masks to the picture's edges.
     */
    uint32_t refine;
    /**
     * A bundle's file; the model that the library carries if NULL.
     */
    const char *bundle;
    /**
     * A bundle in memory, instead of its file. It is copied.
     */
    const uint8_t *bundle_data;
    /**
     * Its bytes.
     */
    size_t bundle_bytes;
    /**
     * A file of a public key, or a folder of them: the bundle must be signed by one. Nothing is asked if NULL.
     */
    const char *keys;
} EdgeSegModelOptions;

/**
 * What was found of one word.
 */
typedef struct EdgeSegClass {
    /**
     * sizeof(EdgeSegClass).
     */
    uint32_t struct_size;
    /**
     * Its label: 1 for the first word.
     */
    uint32_t label;
    /**
     * The score of its best patch, in 0..1.
     */
    float score;
    /**
     * Whether it has pixels, and so a box.
     */
    uint32_t has_box;
    /**
     * Pixels of its mask.
     */
    uint64_t pixels;
    /**
     * Their share of the picture, in 0..1.
     */
    double share;
    /**
     * The smallest box around its mask in pixels: left, top, width, height.
     */
    uint32_t box_px[4];
} EdgeSegClass;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * What went wrong in this thread's last call that could fail; empty if nothing did. It stays until the next such call.
 */
const char *edge_seg_last_error(void);

/**
 * The library's version, as "0.1.0".
 */
const char *edge_seg_version(void);

/**
 * Starts to read and segment video. `words` may be freed afterwards, and so may the model.
 */
enum EdgeSegStatus edge_seg_live_start(const struct EdgeSegModel *model,
                                       const struct EdgeSegWords *words,
                                       const struct EdgeSegLiveOptions *options_given,
                                       struct EdgeSegLive **out);

/**
 * Looks for other words from the next frame on; frames go on with the old ones while these are encoded.
 */
enum EdgeSegStatus edge_seg_live_set_words(const struct EdgeSegLive *live, const struct EdgeSegWords *words);

/**
 * Waits until the source has ended or a callback has ended the session. What went wrong meanwhile is this call's, once.
 */
enum EdgeSegStatus edge_seg_live_wait(const struct EdgeSegLive *live);

/**
 * Ends the session and waits for its threads and callbacks; none runs afterwards. What went wrong meanwhile is this call's, once.
 */
enum EdgeSegStatus edge_seg_live_stop(const struct EdgeSegLive *live);

/**
 * Ends the session as edge_seg_live_stop does, and frees it.
 */
void edge_seg_live_free(struct EdgeSegLive *live);

/**
 * Loads a model. `options` may be NULL.
 */
enum EdgeSegStatus edge_seg_model_open(const struct EdgeSegModelOptions *options_given, struct EdgeSegModel **out);

/**
 * Frees a model.
 */
void edge_seg_model_free(struct EdgeSegModel *model);

/**
 * The model's name, such as "mini"; NULL for NULL.
 */
const char *edge_seg_model_name(const struct EdgeSegModel *model);

/**
 * Numbers of an embedding; 0 for NULL.
 */
size_t edge_seg_model_dim(const struct EdgeSegModel *model);

/**
 * Words to look for, separated by commas: "cat, red car: sports car, -wall". Other words for the same thing follow colons, words
 * for what is to be left out behind a minus.
 */
enum EdgeSegStatus edge_seg_words_new(const struct EdgeSegModel *model, const char *list, struct EdgeSegWords **out);

/**
 * Frees words.
 */
void edge_seg_words_free(struct EdgeSegWords *words);

/**
 * How many words there are, without those to be left out; 0 for NULL.
 */
size_t edge_seg_words_count(const struct EdgeSegWords *words);

/**
 * The name of the word at `index`, counted from 0, whose label is index + 1; NULL if there is none.
 */
const char *edge_seg_words_name(const struct EdgeSegWords *words, size_t index);

/**
 * Sets what a word must score, in 0..1, in place of the common threshold.
 */
enum EdgeSegStatus edge_seg_words_set_threshold(struct EdgeSegWords *words, const char *name, float threshold);

/**
 * Lets a word keep its label and get no pixels.
 */
enum EdgeSegStatus edge_seg_words_set_off(struct EdgeSegWords *words, const char *name);

/**
 * Sets the common threshold in 0..1; below 0 there is none, and every pixel that nothing else decides gets a word.
 */
enum EdgeSegStatus edge_seg_words_set_background(struct EdgeSegWords *words, float threshold);

/**
 * Segments a picture into the caller's buffers.
 *
 * `labels` gets the label of every pixel, line by line: 0 for the background, k for the k-th word. It needs width × height of them.
 * `scores` gets each class's score in 0..1; it may be NULL, and needs edge_seg_words_count() otherwise.
 */
enum EdgeSegStatus edge_seg_segment(const struct EdgeSegModel *model,
                                    const struct EdgeSegImage *image,
                                    const struct EdgeSegWords *words,
                                    uint16_t *labels,
                                    size_t labels_len,
                                    float *scores,
                                    size_t scores_len);

/**
 * Segments a picture, for what edge_seg_found_... tells of it.
 */
enum EdgeSegStatus edge_seg_find(const struct EdgeSegModel *model,
                                 const struct EdgeSegImage *image,
                                 const struct EdgeSegWords *words,
                                 struct EdgeSegFound **out);

/**
 * As edge_seg_find, of a picture's file, which is turned upright.
 */
enum EdgeSegStatus edge_seg_find_file(const struct EdgeSegModel *model,
                                      const char *path,
                                      const struct EdgeSegWords *words,
                                      struct EdgeSegFound **out);

/**
 * Frees what was found.
 */
void edge_seg_found_free(struct EdgeSegFound *found);

/**
 * Width of the masks in pixels; 0 for NULL.
 */
uint32_t edge_seg_found_width(const struct EdgeSegFound *found);

/**
 * Height of the masks in pixels; 0 for NULL.
 */
uint32_t edge_seg_found_height(const struct EdgeSegFound *found);

/**
 * The label of every pixel, line by line, width × height of them; NULL for NULL.
 */
const uint16_t *edge_seg_found_labels(const struct EdgeSegFound *found);

/**
 * How many words were looked for; 0 for NULL.
 */
size_t edge_seg_found_count(const struct EdgeSegFound *found);

/**
 * The name of the word at `index`, counted from 0; NULL if there is none.
 */
const char *edge_seg_found_name(const struct EdgeSegFound *found, size_t index);

/**
 * What was found of the word at `index`, counted from 0. `out->struct_size` is set by the caller.
 */
enum EdgeSegStatus edge_seg_found_class(const struct EdgeSegFound *found, size_t index, struct EdgeSegClass *out);

/**
 * The mask of the word at `index`, counted from 0: 255 for its pixels, 0 elsewhere. Needs width × height bytes.
 */
enum EdgeSegStatus edge_seg_found_mask(const struct EdgeSegFound *found, size_t index, uint8_t *mask, size_t mask_len);

/**
 * The mask of the word at `index` as the compressed run lengths of COCO's tools, a text that ends with a zero. `needed` gets the bytes
 * that it takes with its zero, also where the buffer is too small; `text` may be NULL to ask for them alone.
 */
enum EdgeSegStatus edge_seg_found_rle(const struct EdgeSegFound *found, size_t index, char *text, size_t text_len, size_t *needed_len);

/**
 * Embeds a picture's patches, for several lists of words, search or clustering.
 */
enum EdgeSegStatus edge_seg_encode(const struct EdgeSegModel *model, const struct EdgeSegImage *image, struct EdgeSegEncoded **out);

/**
 * Frees embeddings.
 */
void edge_seg_encoded_free(struct EdgeSegEncoded *encoded);

/**
 * Rows and columns of patches, and numbers of an embedding.
 */
enum EdgeSegStatus edge_seg_encoded_shape(const struct EdgeSegEncoded *encoded, size_t *rows, size_t *columns, size_t *dim);

/**
 * The patches' embeddings, row by row: rows × columns × dim numbers, each embedding of unit norm; NULL for NULL.
 */
const float *edge_seg_encoded_patches(const struct EdgeSegEncoded *encoded);

/**
 * The picture's embedding: dim numbers, of unit norm; NULL for NULL.
 */
const float *edge_seg_encoded_picture(const struct EdgeSegEncoded *encoded);

/**
 * The pixels that a patch shows any of: left, top, width, height. False for a patch that is not there.
 */
bool edge_seg_encoded_patch_box(const struct EdgeSegEncoded *encoded, size_t row, size_t column, uint32_t (*box_px)[4]);

/**
 * Finds words in a picture that is encoded already.
 */
enum EdgeSegStatus edge_seg_encoded_find(const struct EdgeSegEncoded *encoded, const struct EdgeSegWords *words, struct EdgeSegFound **out);

/**
 * Embeds a text as it is into the caller's buffer: edge_seg_model_dim() numbers, of unit norm.
 */
enum EdgeSegStatus edge_seg_embed_text(const struct EdgeSegModel *model, const char *text, float *embedding, size_t embedding_len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EDGE_SEG_H */
