/* media.h -- pictures and videos on their way into a model: what the public functions
 * opened (erne.h), cut into the patches that a vision tower reads. The values are those
 * of transformers' image processors on Pillow; docs/MODELS.md says where videos differ.
 * Nothing here knows a model: struct media_spec says what it wants. */
#ifndef ERNE_MEDIA_H
#define ERNE_MEDIA_H

#include "runtime/media/media_decode.h"

/* How a model wants its pictures; from the checkpoint's preprocessor configuration. */
struct media_spec {
    int patch;             /* pixels a side: 14 */
    int merge;             /* patches a side that become one token: 2 */
    int temporal;          /* frames of a video that become one token: 2; else 1 */
    int64_t min_pixels, max_pixels;
    int64_t video_min_pixels, video_max_pixels;
    float mean[3], std[3]; /* of values 0 to 1 */
    bool enlarge_small;    /* PaddleOCR-VL: first make each side a block at least */
};

/* What a picture or video becomes. */
struct media_grid {
    int t;        /* frames, counting those repeated to fill up the last `temporal` */
    int gh, gw;   /* patches down and across, multiples of merge */
    int n_tokens; /* t * gh * gw / (merge * merge * temporal); pictures: temporal is 1 */
};

bool media_is_video(const struct erne_media *media);

/* A picture of noise, always the same for a size, which is cut as it is, whatever the
 * limits: sides are multiples of patch * merge. For checks; it shows nothing. */
int media_open_noise(struct erne_media **out, int width, int height,
                     struct erne_error *err);

/* The frames of a folder are pictures that somebody chose: they are not enlarged as those
 * of a video file are, but have the least size of pictures.
 * Fails: EINVAL when one side is more than 200 times the other, or the spec makes no
 * sense. */
int media_grid(const struct erne_media *media, const struct media_spec *spec,
               struct media_grid *out, struct erne_error *err);

/* Resizes a frame (0 for a picture) and writes its patches, dst: [gh*gw, 3*patch*patch].
 * A row holds [channel][y][x]. The order of rows is by blocks of merge x merge patches:
 * blocks as text is read, and so the patches inside a block.
 * Fails: EFORMAT (a frame of a folder that turns out to be damaged), ENOMEM. */
int media_patches(const struct erne_media *media, const struct media_spec *spec,
                  const struct media_grid *grid, int frame, float *dst,
                  struct erne_error *err);

/* ---------------------------------------------------------------- the parts */

/* The size to which a picture is resized: both sides multiples of patch * merge, the
 * pixels within the limits, the shape nearly kept. */
int media_smart_resize(const struct media_spec *spec, bool video, int *width, int *height,
                       struct erne_error *err);

/* Bicubic with antialiasing, bit for bit Pillow's Image.resize(..., BICUBIC) of RGB.
 * out is allocated. */
int media_resize(struct media_image *out, const struct media_image *src, int width,
                 int height, struct erne_error *err);

/* Cuts a picture that has the grid's size; dst and order as in media_patches. */
void media_cut(float *dst, const struct media_image *image,
               const struct media_spec *spec);

#endif
