/* media_open.c -- struct erne_media: a picture, decoded when it is opened, or the frames
 * of a video, decoded when they are wanted, since decoded they would fill the memory.
 * They are files of a folder, whose bytes are kept, or come from one (media_video.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/media/media.h"
#include "runtime/media/media_video.h"

/* No camera writes such files; a wrong path may name one. */
#define MAX_FILE_BYTES  ((uint64_t)256 << 20)
#define MAX_VIDEO_BYTES ((uint64_t)2 << 30)
enum { MAX_FRAMES = 4096 };

struct frame {
    char *name;
    uint8_t *data;
    size_t n_bytes;
};

struct erne_media {
    bool is_video;
    bool is_exact;            /* a picture that is not resized */
    struct media_image image; /* a video's: its first frame */
    int n_frames;             /* of a video */
    struct frame *frames;     /* [n_frames], of a folder; else NULL */
    struct media_video *film;
};

/* ------------------------------------------------------------------ files */

static int read_file(struct frame *frame, const char *path, uint64_t max_bytes,
                     struct erne_error *err)
{
    struct pf_file *file = NULL;
    uint64_t n_bytes = 0;
    int st = pf_file_open(&file, path, PF_READ);

    if (st == ERNE_OK)
        st = pf_file_size(file, &n_bytes);
    if (st < 0) {
        pf_file_close(&file);
        return erne_fail(err, st, "%s: %s", path, pf_last_error());
    }
    if (n_bytes > max_bytes) {
        pf_file_close(&file);
        return erne_fail(err, ERNE_EFORMAT, "%s: %llu bytes, at most %llu", path,
                         (unsigned long long)n_bytes, (unsigned long long)max_bytes);
    }
    frame->data = malloc((size_t)n_bytes + 1);
    if (!frame->data)
        st = erne_fail(err, ERNE_ENOMEM, "%s: no memory to read it", path);
    else if ((st = pf_file_read_at(file, frame->data, (size_t)n_bytes, 0)) < 0)
        st = erne_fail(err, st, "%s: %s", path, pf_last_error());
    frame->n_bytes = (size_t)n_bytes;
    pf_file_close(&file);
    return st;
}

static struct media_input input_of(const struct frame *frame)
{
    const struct media_input in = { frame->data, frame->n_bytes, MEDIA_MAX_PIXELS };

    return in;
}

static struct erne_media *create(struct erne_error *err)
{
    struct erne_media *media = calloc(1, sizeof(*media));

    if (!media)
        erne_fail(err, ERNE_ENOMEM, "no memory for media");
    return media;
}

void erne_media_close(struct erne_media **media)
{
    struct erne_media *m = *media;

    if (!m)
        return;
    for (int i = 0; m->frames && i < m->n_frames; i++) {
        free(m->frames[i].name);
        free(m->frames[i].data);
    }
    free(m->frames);
    media_video_close(&m->film);
    media_image_deinit(&m->image);
    free(m);
    *media = NULL;
}

/* --------------------------------------------------------------- pictures */

int erne_media_image_from_memory(struct erne_media **out, const void *data,
                                 size_t n_bytes, struct erne_error *err)
{
    const struct media_input in = { data, n_bytes, MEDIA_MAX_PIXELS };
    struct erne_media *media = create(err);
    int st;

    if (!media)
        return ERNE_ENOMEM;
    st = media_decode(&media->image, &in, err);
    if (st < 0) {
        erne_media_close(&media);
        return st;
    }
    *out = media;
    return ERNE_OK;
}

int erne_media_open_image(struct erne_media **out, const char *path,
                          struct erne_error *err)
{
    struct frame file = { 0 };
    int st = read_file(&file, path, MAX_FILE_BYTES, err);

    if (st == ERNE_OK) {
        st = erne_media_image_from_memory(out, file.data, file.n_bytes, err);
        if (st < 0)
            st = erne_fail_context(err, st, "%s", path);
    }
    free(file.data);
    return st;
}

int media_open_noise(struct erne_media **out, int width, int height,
                     struct erne_error *err)
{
    const struct media_input limits = { .max_pixels = MEDIA_MAX_PIXELS };
    struct erne_media *media = create(err);
    uint32_t seed = 1;
    int st;

    if (!media)
        return ERNE_ENOMEM;
    st = media_image_init(&media->image, width, height, &limits, err);
    if (st < 0) {
        erne_media_close(&media);
        return st;
    }
    for (int64_t i = 0; i < (int64_t)width * height * 3; i++) {
        seed = seed * 1664525 + 1013904223; /* Press et al., Numerical Recipes, 7.1 */
        media->image.rgb[i] = (uint8_t)(seed >> 24);
    }
    media->is_exact = true;
    *out = media;
    return ERNE_OK;
}

/* ----------------------------------------------------------------- frames */

static int add_frame(struct erne_media *media, const char *dir, const char *name,
                     uint64_t max_bytes, struct erne_error *err)
{
    struct frame *frame = &media->frames[media->n_frames];
    const size_t n_path = strlen(dir) + strlen(name) + 2;
    struct media_input in;
    int st;

    frame->name = malloc(n_path);
    if (!frame->name)
        return erne_fail(err, ERNE_ENOMEM, "%s: no memory for its frames", dir);
    snprintf(frame->name, n_path, "%s/%s", dir, name);
    if (pf_path_is_dir(frame->name)) {
        free(frame->name);
        frame->name = NULL;
        return ERNE_OK;
    }
    media->n_frames++; /* from here on erne_media_close releases it */
    ERNE_TRY(read_file(frame, frame->name, max_bytes, err));
    in = input_of(frame);
    st = media_recognise(&in, err);
    return st < 0 ? erne_fail_context(err, st, "%s", frame->name) : ERNE_OK;
}

static int decode_frame(const struct frame *frame, struct media_image *out,
                        struct erne_error *err)
{
    const struct media_input in = input_of(frame);
    const int st = media_decode(out, &in, err);

    return st < 0 ? erne_fail_context(err, st, "%s", frame->name) : ERNE_OK;
}

static int read_frames(struct erne_media *media, const char *dir, char *const *names,
                       size_t n_names, struct erne_error *err)
{
    uint64_t n_bytes = 0;

    if (n_names > MAX_FRAMES)
        return erne_fail(err, ERNE_EINVAL, "%s: %zu files, at most %d frames", dir,
                         n_names, MAX_FRAMES);
    media->is_video = true;
    media->frames = calloc(n_names + 1, sizeof(*media->frames));
    if (!media->frames)
        return erne_fail(err, ERNE_ENOMEM, "%s: no memory for its frames", dir);
    for (size_t i = 0; i < n_names; i++) {
        const uint64_t left = MAX_VIDEO_BYTES - n_bytes;

        if (names[i][0] == '.')
            continue;
        ERNE_TRY(add_frame(media, dir, names[i],
                           left < MAX_FILE_BYTES ? left : MAX_FILE_BYTES, err));
        if (media->n_frames > 0)
            n_bytes += media->frames[media->n_frames - 1].n_bytes;
    }
    if (media->n_frames == 0)
        return erne_fail(err, ERNE_EFORMAT, "%s: no frames in this folder", dir);
    return decode_frame(&media->frames[0], &media->image, err);
}

int erne_media_open_frames(struct erne_media **out, const char *dir,
                           struct erne_error *err)
{
    struct erne_media *media;
    char **names = NULL;
    size_t n_names = 0;
    int st = pf_dir_list(dir, &names, &n_names);

    if (st < 0)
        return erne_fail(err, st, "%s: %s", dir, pf_last_error());
    media = create(err);
    st = media ? read_frames(media, dir, names, n_names, err) : ERNE_ENOMEM;
    pf_dir_free(names, n_names);
    if (st < 0) {
        erne_media_close(&media);
        return st;
    }
    *out = media;
    return ERNE_OK;
}

/* ------------------------------------------------------------ video files */

int erne_media_open_video(struct erne_media **out, const char *path,
                          struct erne_error *err)
{
    struct erne_media *media = create(err);
    int st;

    if (!media)
        return ERNE_ENOMEM;
    media->is_video = true;
    st = media_video_open(&media->film, path, err);
    if (st == ERNE_OK) {
        media->n_frames = media_video_n_samples(media->film);
        st = media_video_frame(media->film, 0, &media->image, err);
    }
    if (st < 0) {
        erne_media_close(&media);
        return st;
    }
    *out = media;
    return ERNE_OK;
}

/* ------------------------------------------------------------ inside erne */

struct erne_media_info erne_media_info(const struct erne_media *media)
{
    const struct erne_media_info info = {
        .is_video = media->is_video,
        .width = media->image.width,
        .height = media->image.height,
        .n_frames = media->is_video ? media->n_frames : 1,
    };

    return info;
}

bool media_is_video(const struct erne_media *media)
{
    return media->is_video;
}

int media_grid(const struct erne_media *media, const struct media_spec *spec,
               struct media_grid *out, struct erne_error *err)
{
    const bool video = media->is_video;
    struct media_spec limits = *spec;
    int width = media->image.width, height = media->image.height;
    int64_t n;
    struct media_grid grid = { .t = 1 };

    if (media->frames)
        limits.video_min_pixels = limits.min_pixels;
    if (!media->is_exact)
        ERNE_TRY(media_smart_resize(&limits, video, &width, &height, err));
    grid.gh = height / spec->patch;
    grid.gw = width / spec->patch;
    if (video)
        grid.t = (media->n_frames + spec->temporal - 1) / spec->temporal * spec->temporal;
    n = (int64_t)grid.gh * grid.gw / ((int64_t)spec->merge * spec->merge) *
        (video ? grid.t / spec->temporal : 1);
    if (n > INT32_MAX)
        return erne_fail(err, ERNE_EINVAL, "a video of %lld tokens", (long long)n);
    grid.n_tokens = (int)n;
    *out = grid;
    return ERNE_OK;
}

int media_patches(const struct erne_media *media, const struct media_spec *spec,
                  const struct media_grid *grid, int frame, float *dst,
                  struct erne_error *err)
{
    const int last = media->is_video ? media->n_frames - 1 : 0;
    const int index = frame < last ? frame : last;
    struct media_image decoded = { 0 }, resized = { 0 };
    const struct media_image *src = &media->image;
    int st = ERNE_OK;

    if (index > 0) {
        st = media->film ? media_video_frame(media->film, index, &decoded, err)
                         : decode_frame(&media->frames[index], &decoded, err);
        src = &decoded;
    }
    if (st == ERNE_OK)
        st = media_resize(&resized, src, grid->gw * spec->patch, grid->gh * spec->patch,
                          err);
    if (st == ERNE_OK)
        media_cut(dst, &resized, spec);
    media_image_deinit(&decoded);
    media_image_deinit(&resized);
    return st;
}
