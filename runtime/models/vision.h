/* vision.h -- the graph of a vision tower with what follows it: patches go in, rows in
 * the width of the language model come out. */
#ifndef ERNE_VISION_H
#define ERNE_VISION_H

#include "runtime/graph.h"
#include "runtime/model_file.h"

/* Frames of n_rows x n_cols patches, n_frames of them at a time: as many as become one
 * token, or one that stands for all of these. */
struct erne_vision_inputs {
    const struct erne_model_file *file;
    const float *freqs; /* of the tower's RoPE: [2, head_dim / 2] */
    int32_t n_rows, n_cols, n_frames;
    bool keep_layers; /* what each layer gives is an output, too: for tests */
};

/* What the encoder fills before it runs the graph and reads after it.
 * P = n_frames * n_rows * n_cols, M = merge, C = n_rows * n_cols / M^2 tokens.
 * Patches are in blocks of M x M: blocks as text is read, and so the patches inside. */
struct erne_vision_io {
    struct erne_tensor *patches;   /* f32 [P, 3 * patch * patch] */
    struct erne_tensor *positions; /* f32 [P, vision n_embd]: learned ones, resampled to
                                      the frame; NULL: the model has none */
    struct erne_tensor *place;     /* I32 [P, 2]: row and column of a patch */
    struct erne_tensor *bounds;    /* I32 [P, 2]: first and end patch of its frame */
    struct erne_tensor *blocks;    /* I32 [P / M^2, M^2]: patches of a block */
    struct erne_tensor *frames;    /* I32 [C, temporal]: blocks that become one token;
                                      NULL: the model merges no frames */
    struct erne_tensor *features;  /* f32 [C, n_embd] */
};

/* Builds into an uninitialised g. On failure g needs no deinit. */
int erne_vision_build(struct erne_graph *g, struct erne_vision_io *io,
                      const struct erne_vision_inputs *in, struct erne_error *err);

#endif
