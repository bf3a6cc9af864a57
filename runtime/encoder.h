/* encoder.h -- from media to rows that stand in for the embeddings of placeholders: the
 * pixels of a frame (runtime/media), then vision tower and resampler (runtime/models).
 *
 * The graph is built for the size of a frame and kept for the next medium of that size.
 * Frames of a video never see each other, so that memory is that of one step: a frame, or
 * as many as are merged into one.
 */
#ifndef ERNE_ENCODER_H
#define ERNE_ENCODER_H

#include "runtime/engine.h"
#include "runtime/models/vision.h"
#include "runtime/plan.h"
#include "runtime/positions.h"

struct erne_encoder {
    struct erne_engine *engine;
    float *freqs; /* of the tower's RoPE: [2, head_dim / 2] */
    /* The graph that is placed, for frames of n_rows x n_cols patches, n_frames of them
     * at a time; n_frames 0: none is. */
    int32_t n_rows, n_cols, n_frames;
    uint64_t claimed; /* bytes, of the engine */
    struct erne_graph graph;
    struct erne_vision_io io;
    struct erne_plan plan;
};

/* The engine must outlive the encoder. */
int erne_encoder_init(struct erne_encoder *enc, struct erne_engine *engine,
                      struct erne_error *err);
void erne_encoder_deinit(struct erne_encoder *enc);
/* Without the graph that is placed, which may be on a device that was lost. */
void erne_encoder_reset(struct erne_encoder *enc);

/* Builds and places the graph for frames of n_rows x n_cols patches, n_frames at a time;
 * its inputs are left to erne_encoder_encode. */
int erne_encoder_place(struct erne_encoder *enc, int32_t n_rows, int32_t n_cols,
                       int32_t n_frames, struct erne_error *err);
/* Fills all inputs of the graph but the pixels. */
void erne_encoder_fill(struct erne_encoder *enc);

/* The grid of tokens that a medium becomes. EUNSUPPORTED: a model without a tower, a
 * video for one that takes pictures only. EINVAL: as media_grid. */
int erne_encoder_span(const struct erne_model_desc *desc,
                      const struct erne_media *media, struct erne_span *span,
                      struct erne_error *err);

/* dst: [tokens of the span, n_embd]. ECANCELLED when *cancel is set, ENOMEM; what the
 * decoders of pictures and the backends fail with. */
int erne_encoder_encode(struct erne_encoder *enc, const struct erne_media *media,
                        float *dst, const atomic_int *cancel, struct erne_error *err);

#endif
