/* Segments what a GStreamer pipeline gives, frame by frame, through an appsink:
 *
 *     cc gstreamer_appsink.c $(pkg-config --cflags --libs edge_seg gstreamer-app-1.0) -o appsink
 *     ./appsink "v4l2src ! video/x-raw,width=640,height=480" "person, dog"
 *     ./appsink "videotestsrc num-buffers=20" "sky, stripes"
 *
 * The newest frame is taken and older ones are dropped, so that the masks are of now.
 */
#include <edge_seg.h>
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* One frame: GStreamer's lines may be padded, which the stride tells. */
static EdgeSegStatus segment(const EdgeSegModel *model, const EdgeSegWords *words, GstSample *sample, EdgeSegFound **found) {
    GstCaps *caps = gst_sample_get_caps(sample);
    const GstStructure *shape = gst_caps_get_structure(caps, 0);
    gint width = 0, height = 0;
    gst_structure_get_int(shape, "width", &width);
    gst_structure_get_int(shape, "height", &height);
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    GstMapInfo map;
    if (!gst_buffer_map(buffer, &map, GST_MAP_READ)) {
        return EDGE_SEG_STATUS_OTHER;
    }
    /* RGB in GStreamer has lines of whole multiples of four bytes. */
    EdgeSegImage image = {.struct_size = sizeof image,
                          .format = EDGE_SEG_RGB,
                          .width = (uint32_t)width,
                          .height = (uint32_t)height,
                          .stride_bytes = ((size_t)width * 3 + 3) / 4 * 4,
                          .data = map.data,
                          .data_bytes = map.size};
    EdgeSegStatus status = edge_seg_find(model, &image, words, found);
    gst_buffer_unmap(buffer, &map);
    return status;
}

/* Says what broke the pipeline, such as a camera that is not there; false if nothing has. */
static bool broken(GstBus *bus) {
    GstMessage *message = gst_bus_pop_filtered(bus, GST_MESSAGE_ERROR);
    if (!message) {
        return false;
    }
    GError *error = NULL;
    gchar *details = NULL;
    gst_message_parse_error(message, &error, &details);
    /* Which file or device it was stands in the details alone. */
    fprintf(stderr, "%s: %s\n%s\n", GST_OBJECT_NAME(GST_MESSAGE_SRC(message)), error->message, details ? details : "");
    g_error_free(error);
    g_free(details);
    gst_message_unref(message);
    return true;
}

int main(int argc, char **argv) {
    gst_init(&argc, &argv);
    if (argc != 3) {
        fprintf(stderr, "expected a pipeline without its sink, and words separated by commas\n");
        return 2;
    }
    EdgeSegModel *model = NULL;
    EdgeSegWords *words = NULL;
    if (edge_seg_model_open(NULL, &model) != EDGE_SEG_STATUS_OK || edge_seg_words_new(model, argv[2], &words) != EDGE_SEG_STATUS_OK) {
        fprintf(stderr, "%s\n", edge_seg_last_error());
        return 2;
    }
    gchar *described = g_strdup_printf("%s ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink max-buffers=1 drop=%s sync=false",
                                       argv[1], getenv("EVERY_FRAME") ? "false" : "true");
    GError *error = NULL;
    GstElement *pipeline = gst_parse_launch(described, &error);
    g_free(described);
    if (!pipeline || error) {
        fprintf(stderr, "%s\n", error ? error->message : "no pipeline");
        return 2;
    }
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    GstBus *bus = gst_element_get_bus(pipeline);
    int code = 0;
    if (gst_element_set_state(pipeline, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE) {
        if (!broken(bus)) {
            fprintf(stderr, "the pipeline does not start\n");
        }
        code = 2;
    }
    unsigned long number = 0;
    while (code == 0) {
        /* NULL at the end of the stream, after an error, and where no frame has come yet. */
        GstSample *sample = gst_app_sink_try_pull_sample(GST_APP_SINK(sink), 100 * GST_MSECOND);
        if (!sample) {
            if (broken(bus)) {
                code = 2;
            } else if (gst_app_sink_is_eos(GST_APP_SINK(sink))) {
                break;
            }
            continue;
        }
        EdgeSegFound *found = NULL;
        EdgeSegStatus status = segment(model, words, sample, &found);
        gst_sample_unref(sample);
        if (status != EDGE_SEG_STATUS_OK) {
            fprintf(stderr, "%s\n", edge_seg_last_error());
            code = 2;
            break;
        }
        printf("frame %lu:", number++);
        for (size_t i = 0; i < edge_seg_found_count(found); i++) {
            EdgeSegClass one = {.struct_size = sizeof one};
            edge_seg_found_class(found, i, &one);
            printf(" %s %.1f %%", edge_seg_found_name(found, i), 100 * one.share);
        }
        printf("\n");
        edge_seg_found_free(found);
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(sink);
    gst_object_unref(pipeline);
    edge_seg_words_free(words);
    edge_seg_model_free(model);
    return code;
}
