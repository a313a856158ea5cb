/* A camera that is not there: preloaded, it answers a program's Video4Linux calls on one path from a script of its own.
 *
 * DOUBLE_DEVICE   the path that it stands for
 * DOUBLE_OFFERS   formats and sizes: "YUYV:64x48,320x240 MJPG:64x48"
 * DOUBLE_FRAMES   a file of frames of DOUBLE_BYTES each (the last may be shorter), sent round and round
 * DOUBLE_LINE     bytesperline to answer; 0 lets it out
 * DOUBLE_FPS      frames a second
 * DOUBLE_UNPLUG   after this many frames the device answers ENODEV, and its path is gone for DOUBLE_GONE_MS
 * DOUBLE_BROKEN   this many frames at first carry the driver's error flag
 * DOUBLE_PLANES   set if it speaks the multi-planar calls alone
 * DOUBLE_STALL    after this many frames nothing comes any more
 *
 * The structures are the kernel's own (linux/videodev2.h), the answers those that its documentation asks of drivers. Buffers lie in an
 * anonymous file, so that mmap works on the descriptor as it does on a device's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUFFERS = 4, SLOT = 1 << 20 };

static int camera = -1, streaming, queued[BUFFERS];
static unsigned count, next_queue, serial;
static long sent, frames_before;
static double started, gone_until;
static struct v4l2_pix_format format;

static long number(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? atol(value) : otherwise;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int is_camera(const char *path) {
    const char *device = getenv("DOUBLE_DEVICE");
    return device && path && strcmp(path, device) == 0;
}

static int fail(int error) {
    errno = error;
    return -1;
}

static int open_camera(void) {
    if (now() < gone_until) return fail(ENOENT);
    camera = memfd_create("camera", 0);
    streaming = 0;
    frames_before += sent;
    sent = 0;
    return camera;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (is_camera(path)) return open_camera();
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (is_camera(path)) return open_camera();
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    return real(path, flags, mode);
}

/* The n-th format's code, and its sizes' text. */
static unsigned offer(unsigned n, const char **sizes) {
    static char text[512];
    snprintf(text, sizeof text, "%s", getenv("DOUBLE_OFFERS") ? getenv("DOUBLE_OFFERS") : "");
    char *rest = text, *word;
    while ((word = strsep(&rest, " "))) {
        if (n-- == 0 && strlen(word) > 5) {
            if (sizes) *sizes = word + 5;
            return v4l2_fourcc(word[0], word[1], word[2], word[3]);
        }
    }
    return 0;
}

static int size_of(unsigned code, unsigned n, unsigned *width, unsigned *height) {
    const char *sizes = NULL;
    for (unsigned i = 0, found; (found = offer(i, &sizes)); i++) {
        if (found != code) continue;
        while (sizes && n--) {
            sizes = strchr(sizes, ',');
            if (sizes) sizes++;
        }
        return sizes && sscanf(sizes, "%ux%u", width, height) == 2;
    }
    return 0;
}

static int set_format(struct v4l2_format *wanted) {
    struct v4l2_pix_format *pix = &wanted->fmt.pix;
    unsigned width, height, best = 0;
    if (!size_of(pix->pixelformat, 0, &width, &height)) pix->pixelformat = offer(0, NULL);
    for (unsigned n = 0; size_of(pix->pixelformat, n, &width, &height); n++) {
        unsigned same = width == pix->width && height == pix->height;
        if (n == 0 || same) best = n;
    }
    size_of(pix->pixelformat, best, &pix->width, &pix->height);
    pix->bytesperline = number("DOUBLE_LINE", 0);
    pix->sizeimage = SLOT;
    pix->field = V4L2_FIELD_NONE;
    pix->colorspace = V4L2_COLORSPACE_SRGB;
    format = *pix;
    return 0;
}

static int is_due(void) {
    long stall = number("DOUBLE_STALL", -1);
    if (!streaming || (stall >= 0 && sent >= stall)) return 0;
    return now() >= started + (sent + 1) / (double)number("DOUBLE_FPS", 30);
}

static int unplugged(void) {
    long unplug = number("DOUBLE_UNPLUG", -1);
    if (unplug < 0 || sent < unplug) return 0;
    if (gone_until < now()) gone_until = now() + number("DOUBLE_GONE_MS", 500) / 1e3;
    return 1;
}

static int dequeue(struct v4l2_buffer *buffer) {
    while (!is_due()) usleep(1000);
    unsigned index = next_queue;
    if (!queued[index]) return fail(EINVAL);
    int file = open(getenv("DOUBLE_FRAMES"), O_RDONLY);
    static char bytes[SLOT];
    long size = number("DOUBLE_BYTES", 0);
    struct stat status;
    if (file < 0 || fstat(file, &status) || size <= 0) return fail(EIO);
    long frames = (status.st_size + size - 1) / size;
    ssize_t got = pread(file, bytes, size, ((frames_before + sent) % frames) * size);
    close(file);
    pwrite(camera, bytes, got, (off_t)index * SLOT);
    queued[index] = 0;
    next_queue = (index + 1) % count;
    int broken = frames_before + sent < number("DOUBLE_BROKEN", 0);
    sent++;
    buffer->index = index;
    buffer->bytesused = got;
    buffer->length = SLOT;
    buffer->sequence = serial++;
    buffer->flags = V4L2_BUF_FLAG_MAPPED | (broken ? V4L2_BUF_FLAG_ERROR : 0);
    return 0;
}

int ioctl(int descriptor, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (descriptor != camera || camera < 0) {
        int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
        return real(descriptor, request, argument);
    }
    if (unplugged()) return fail(ENODEV);
    switch (request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *capability = argument;
        memset(capability, 0, sizeof *capability);
        strcpy((char *)capability->driver, "double");
        unsigned capture = getenv("DOUBLE_PLANES") ? V4L2_CAP_VIDEO_CAPTURE_MPLANE : V4L2_CAP_VIDEO_CAPTURE;
        capability->device_caps = capture | V4L2_CAP_STREAMING;
        capability->capabilities = capability->device_caps | V4L2_CAP_DEVICE_CAPS;
        return 0;
    }
    case VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *described = argument;
        described->pixelformat = offer(described->index, NULL);
        return described->pixelformat ? 0 : fail(EINVAL);
    }
    case VIDIOC_ENUM_FRAMESIZES: {
        struct v4l2_frmsizeenum *size = argument;
        size->type = V4L2_FRMSIZE_TYPE_DISCRETE;
        return size_of(size->pixel_format, size->index, &size->discrete.width, &size->discrete.height) ? 0 : fail(EINVAL);
    }
    case VIDIOC_S_FMT:
        return set_format(argument);
    case VIDIOC_G_FMT:
        ((struct v4l2_format *)argument)->fmt.pix = format;
        return 0;
    case VIDIOC_S_PARM: {
        struct v4l2_fract *apart = &((struct v4l2_streamparm *)argument)->parm.capture.timeperframe;
        apart->numerator = 1;
        apart->denominator = number("DOUBLE_FPS", 30);
        return 0;
    }
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *wanted = argument;
        if (wanted->count > BUFFERS) wanted->count = BUFFERS;
        count = wanted->count;
        return ftruncate(camera, (off_t)count * SLOT);
    }
    case VIDIOC_QUERYBUF: {
        struct v4l2_buffer *buffer = argument;
        buffer->length = SLOT;
        buffer->m.offset = buffer->index * SLOT;
        buffer->flags = queued[buffer->index] ? V4L2_BUF_FLAG_QUEUED : 0;
        if (buffer->index == next_queue && queued[buffer->index] && is_due()) buffer->flags = V4L2_BUF_FLAG_DONE;
        return 0;
    }
    case VIDIOC_QBUF:
        queued[((struct v4l2_buffer *)argument)->index] = 1;
        return 0;
    case VIDIOC_DQBUF:
        return dequeue(argument);
    case VIDIOC_STREAMON:
        streaming = 1;
        started = now();
        return 0;
    case VIDIOC_STREAMOFF:
        streaming = 0;
        memset(queued, 0, sizeof queued);
        next_queue = 0;
        return 0;
    default:
        return fail(ENOTTY);
    }
}
