/* encoder.c -- see encoder.h. */
#include "runtime/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/media/media.h"
#include "runtime/rope.h"

int erne_encoder_init(struct erne_encoder *enc, struct erne_engine *engine,
                      struct erne_error *err)
{
    *enc = (struct erne_encoder){ .engine = engine };
    enc->freqs = erne_rope_vision_freqs(&engine->file.desc.vision);
    if (!enc->freqs)
        return erne_fail(err, ERNE_ENOMEM, "no memory for the vision tower");
    return 0;
}

void erne_encoder_reset(struct erne_encoder *enc)
{
    if (enc->claimed > 0)
        erne_engine_unclaim(enc->engine, enc->claimed);
    enc->claimed = 0;
    erne_plan_deinit(&enc->plan);
    erne_graph_deinit(&enc->graph);
    enc->n_frames = 0;
}

void erne_encoder_deinit(struct erne_encoder *enc)
{
    erne_encoder_reset(enc);
    free(enc->freqs);
    *enc = (struct erne_encoder){ 0 };
}

/* ------------------------------------------------------------------- sizes */

static struct media_spec spec_of(const struct erne_model_desc *desc)
{
    const struct erne_vision_desc *v = &desc->vision;
    struct media_spec spec = {
        .patch = v->patch,
        .merge = v->merge,
        .temporal = v->temporal,
        .min_pixels = v->min_pixels,
        .max_pixels = v->max_pixels,
        .video_min_pixels = v->video_min_pixels,
        .video_max_pixels = v->video_max_pixels,
        .enlarge_small = desc->arch == ERNE_ARCH_PADDLEOCR_VL,
    };

    memcpy(spec.mean, v->mean, sizeof(spec.mean));
    memcpy(spec.std, v->std, sizeof(spec.std));
    return spec;
}

static int grid_of(const struct erne_model_desc *desc, const struct erne_media *media,
                   struct media_grid *grid, struct erne_error *err)
{
    const struct media_spec spec = spec_of(desc);

    if (desc->vision.n_layers == 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "the model takes neither pictures nor videos");
    if (media_is_video(media) && desc->vision.temporal == 1)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "the model takes pictures, but no videos");
    return media_grid(media, &spec, grid, err);
}

/* Frames that one run of the graph takes. A picture is one that stands for all that a
 * token merges. */
static int32_t frames_a_run(const struct erne_vision_desc *v,
                            const struct erne_media *media)
{
    return media_is_video(media) ? v->temporal : 1;
}

int erne_encoder_span(const struct erne_model_desc *desc, const struct erne_media *media,
                      struct erne_span *span, struct erne_error *err)
{
    const struct erne_vision_desc *v = &desc->vision;
    struct media_grid grid = { 0 };

    ERNE_TRY(grid_of(desc, media, &grid, err));
    span->t = grid.t / frames_a_run(v, media);
    span->h = grid.gh / v->merge;
    span->w = grid.gw / v->merge;
    return 0;
}

/* ---------------------------------------------------- inputs of a frame's size */

/* Row and column of patch i of a frame, blocks of merge x merge one after the other. */
static void place_of(int32_t place[2], int32_t i, int32_t n_cols, int32_t merge)
{
    const int32_t block = i / (merge * merge), inside = i % (merge * merge);

    place[0] = block / (n_cols / merge) * merge + inside / merge;
    place[1] = block % (n_cols / merge) * merge + inside % merge;
}

static void fill_places(const struct erne_encoder *enc, int32_t merge)
{
    const int32_t n_frame = enc->n_rows * enc->n_cols;
    int32_t *place = enc->io.place->data, *bounds = enc->io.bounds->data;

    for (int32_t i = 0; i < n_frame * enc->n_frames; i++) {
        place_of(place + 2 * (size_t)i, i % n_frame, enc->n_cols, merge);
        bounds[2 * (size_t)i] = i / n_frame * n_frame;
        bounds[2 * (size_t)i + 1] = (i / n_frame + 1) * n_frame;
    }
}

/* Which patches are a block, and which blocks a token: the same place in each of the
 * frames, and the one of a picture as often as needed. */
static void fill_merges(const struct erne_encoder *enc, int32_t temporal)
{
    const int64_t n_in_block = enc->io.blocks->dim[0] * enc->io.blocks->dim[1];
    const int32_t n_blocks = (int32_t)enc->io.blocks->dim[0] / enc->n_frames;
    int32_t *blocks = enc->io.blocks->data;

    for (int64_t i = 0; i < n_in_block; i++)
        blocks[i] = (int32_t)i;
    for (int32_t i = 0; enc->io.frames && i < n_blocks; i++)
        for (int32_t f = 0; f < temporal; f++)
            ((int32_t *)enc->io.frames->data)[i * temporal + f] =
                f % enc->n_frames * n_blocks + i;
}

/* Where `at` of n_out places lies among n_in, by half-pixel centres; *part is how far it
 * is from the lower towards the upper. As torch's interpolate(mode="bilinear",
 * align_corners=False), which computes in f32. */
static void source_of(int32_t at, int32_t n_out, int32_t n_in, int32_t *low,
                      int32_t *high, float *part)
{
    const float scale = (float)n_in / (float)n_out;
    const float centre = fmaxf(scale * ((float)at + 0.5f) - 0.5f, 0.0f);

    *low = (int32_t)centre;
    if (*low > n_in - 1)
        *low = n_in - 1;
    *high = *low < n_in - 1 ? *low + 1 : *low;
    *part = centre - (float)*low;
}

/* The learned positions of a square grid, resampled to the frame's. */
static void fill_positions(const struct erne_encoder *enc)
{
    const struct erne_model_file *file = &enc->engine->file;
    const struct erne_vision_desc *v = &file->desc.vision;
    const float *table =
        erne_model_file_data(erne_model_file_find(file, "vision.positions"));
    const size_t n = (size_t)v->n_embd, side = (size_t)v->n_side;
    float *dst = enc->io.positions->data;

    for (int32_t i = 0; i < enc->n_rows * enc->n_cols; i++, dst += n) {
        int32_t place[2], y0, y1, x0, x1;
        float dy, dx;

        place_of(place, i, enc->n_cols, v->merge);
        source_of(place[0], enc->n_rows, v->n_side, &y0, &y1, &dy);
        source_of(place[1], enc->n_cols, v->n_side, &x0, &x1, &dx);
        for (size_t c = 0; c < n; c++) {
            const float *a = table + (size_t)y0 * side * n + c;
            const float *b = table + (size_t)y1 * side * n + c;

            dst[c] = (1 - dy) * ((1 - dx) * a[(size_t)x0 * n] + dx * a[(size_t)x1 * n]) +
                     dy * ((1 - dx) * b[(size_t)x0 * n] + dx * b[(size_t)x1 * n]);
        }
    }
}

/* Takes the plan's memory out of what the engine may use. */
static int claim(struct erne_encoder *enc, struct erne_error *err)
{
    const uint64_t n_bytes = enc->plan.step.cap + enc->plan.scratch_bytes;

    ERNE_TRY(erne_engine_claim(enc->engine, n_bytes, err));
    enc->claimed = n_bytes;
    return 0;
}

int erne_encoder_place(struct erne_encoder *enc, int32_t n_rows, int32_t n_cols,
                       int32_t n_frames, struct erne_error *err)
{
    const struct erne_vision_inputs in = { .file = &enc->engine->file,
                                           .freqs = enc->freqs,
                                           .n_rows = n_rows,
                                           .n_cols = n_cols,
                                           .n_frames = n_frames,
                                           .keep_layers = enc->engine->keep_layers };
    int st;

    erne_encoder_reset(enc);
    ERNE_TRY(erne_vision_build(&enc->graph, &enc->io, &in, err));
    st = erne_engine_plan(enc->engine, &enc->plan, ERNE_PHASE_VISION, &enc->graph, err);
    if (st == 0)
        st = claim(enc, err);
    if (st < 0) {
        erne_encoder_reset(enc);
        return st;
    }
    enc->n_rows = n_rows;
    enc->n_cols = n_cols;
    enc->n_frames = n_frames;
    return 0;
}

void erne_encoder_fill(struct erne_encoder *enc)
{
    const struct erne_vision_desc *v = &enc->engine->file.desc.vision;

    fill_places(enc, v->merge);
    fill_merges(enc, v->temporal);
    if (enc->io.positions)
        fill_positions(enc);
}

/* A graph for frames of the grid's size: inputs are not shared with other tensors and
 * stay as they are. */
static int build(struct erne_encoder *enc, const struct media_grid *grid,
                 int32_t n_frames, struct erne_error *err)
{
    if (enc->n_rows == grid->gh && enc->n_cols == grid->gw && enc->n_frames == n_frames)
        return 0;
    ERNE_TRY(erne_encoder_place(enc, grid->gh, grid->gw, n_frames, err));
    erne_encoder_fill(enc);
    return 0;
}

/* ---------------------------------------------------------------- encoding */

/* One run: frames `first` and on. */
static int encode_frames(struct erne_encoder *enc, const struct erne_media *media,
                         const struct media_grid *grid, int32_t first, float *dst,
                         const atomic_int *cancel, struct erne_error *err)
{
    const struct media_spec spec = spec_of(&enc->engine->file.desc);
    const struct erne_tensor *patches = enc->io.patches, *features = enc->io.features;
    const int64_t n_frame = patches->dim[0] / enc->n_frames;
    const struct erne_step step = { .n_tok = (int32_t)patches->dim[0],
                                    .n_out = (int32_t)features->dim[0],
                                    .cancel = cancel };

    for (int32_t i = 0; i < enc->n_frames; i++)
        ERNE_TRY(media_patches(media, &spec, grid, first + i,
                               (float *)patches->data + i * n_frame * patches->stride,
                               err));
    ERNE_TRY(erne_engine_run(enc->engine, &enc->plan, &step, err));
    memcpy(dst, features->data, features->n_bytes);
    return 0;
}

int erne_encoder_encode(struct erne_encoder *enc, const struct erne_media *media,
                        float *dst, const atomic_int *cancel, struct erne_error *err)
{
    const struct erne_model_desc *desc = &enc->engine->file.desc;
    const int32_t n_frames = frames_a_run(&desc->vision, media);
    struct media_grid grid = { 0 };

    ERNE_TRY(grid_of(desc, media, &grid, err));
    ERNE_TRY(build(enc, &grid, n_frames, err));
    for (int32_t first = 0; first < grid.t; first += n_frames) {
        ERNE_TRY(encode_frames(enc, media, &grid, first, dst, cancel, err));
        dst += enc->io.features->dim[0] * enc->io.features->dim[1];
    }
    return 0;
}

/* ------------------------------------------------------------ public calls */

int erne_media_n_tokens(const struct erne_engine *engine, const struct erne_media *media,
                        int *n_tokens, struct erne_error *err)
{
    struct media_grid grid = { 0 };

    if (!media)
        return erne_fail(err, ERNE_EINVAL, "erne_media_n_tokens: no media");
    ERNE_TRY(grid_of(&engine->file.desc, media, &grid, err));
    *n_tokens = grid.n_tokens;
    return 0;
}
