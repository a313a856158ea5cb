/* Segments one picture by words and prints what it found:
 *
 *     cc segment_picture.c $(pkg-config --cflags --libs edge_seg) && ./a.out ../pictures/coffee.jpg "cup, table, spoon"
 */
#include <edge_seg.h>
#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "expected a picture, and words separated by commas\n");
        return 2;
    }
    EdgeSegModel *model = NULL;
    EdgeSegWords *words = NULL;
    EdgeSegFound *found = NULL;
    int code = 2;
    if (edge_seg_model_open(NULL, &model) == EDGE_SEG_STATUS_OK && edge_seg_words_new(model, argv[2], &words) == EDGE_SEG_STATUS_OK &&
        edge_seg_find_file(model, argv[1], words, &found) == EDGE_SEG_STATUS_OK) {
        for (size_t i = 0; i < edge_seg_found_count(found); i++) {
            EdgeSegClass one = {.struct_size = sizeof one};
            edge_seg_found_class(found, i, &one);
            printf("%s %.2f, %.1f %% of the picture\n", edge_seg_found_name(found, i), one.score, 100 * one.share);
        }
        code = 0;
    } else {
        fprintf(stderr, "%s\n", edge_seg_last_error());
    }
    edge_seg_found_free(found);
    edge_seg_words_free(words);
    edge_seg_model_free(model);
    return code;
}
