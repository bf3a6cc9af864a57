/* vision.c -- the vision towers, and what makes tokens of their patches.
 *
 * One pre-norm tower for both families: full attention inside a frame, RoPE by row and
 * column. ERNIE-VL follows it by the resampler, which merges blocks of patches and then
 * frames; PaddleOCR-VL adds learned positions before it and follows it by a projector.
 * Source: transformers models/ernie4_5_vl_moe/modular_ernie4_5_vl_moe.py,
 * models/paddleocr_vl/modular_paddleocr_vl.py.
 */
#include "runtime/models/vision.h"

#include <math.h>
#include <stdio.h>

#include "runtime/models/model.h"

enum { NODES_A_LAYER = 9, TENSORS_A_LAYER = 30, NODES_AROUND = 16, TENSORS_AROUND = 48 };

/* Of the layer norms behind the tower, which the configuration does not mention. */
static const float resampler_eps = 1e-6f, projector_eps = 1e-5f;

struct tower {
    struct erne_graph *g;
    const struct erne_model_file *file;
    const struct erne_vision_desc *desc;
    const struct erne_vision_io *io;
    struct erne_tensor *freqs;
    bool keep_layers;
};

/* The name of a result or weight: prefix and name, as in runtime/model_spec.c. */
struct label {
    char text[ERNE_NAME_MAX];
};

static struct label label(const char *prefix, const char *what)
{
    struct label l;

    snprintf(l.text, sizeof(l.text), "%.40s%.22s", prefix, what);
    return l;
}

static struct erne_tensor *weight(const struct tower *t, const char *prefix,
                                  const char *what)
{
    return erne_model_weight(t->g, t->file, "%s%s", prefix, what);
}

static struct erne_tensor *bias(const struct tower *t, const char *prefix,
                                const char *what)
{
    return erne_model_weight(t->g, t->file, "%s%s.bias", prefix, what);
}

static struct erne_tensor *linear(const struct tower *t, const char *prefix,
                                  const char *what, struct erne_tensor *x,
                                  enum erne_act act, struct erne_tensor *residual)
{
    return erne_graph_matmul_act(t->g, label(prefix, what).text, x,
                                 weight(t, prefix, what), bias(t, prefix, what), act,
                                 residual);
}

static struct erne_tensor *layer_norm(const struct tower *t, const char *prefix,
                                      const char *what, struct erne_tensor *x, float eps)
{
    return erne_graph_layer_norm(t->g, label(prefix, what).text, x,
                                 weight(t, prefix, what), bias(t, prefix, what), eps);
}

/* Whether a product with that weight rounds what it multiplies by to bf16 or less: then
 * so may what follows. */
static bool rounds_inputs(const struct tower *t, const char *prefix, const char *what)
{
    const struct erne_file_tensor *w =
        erne_model_file_find(t->file, label(prefix, what).text);

    return w && w->scheme.codec != ERNE_CODEC_F32 && w->scheme.codec != ERNE_CODEC_F16;
}

/* x: [P, n_embd] -> x + attention(norm(x)) */
static struct erne_tensor *attention_block(const struct tower *t, const char *prefix,
                                           struct erne_tensor *x)
{
    const int32_t n_embd = t->desc->n_embd, n_heads = t->desc->n_heads;
    const int32_t head_dim = n_embd / n_heads;
    const struct erne_attention_heads heads = { n_heads, n_heads, head_dim,
                                                1.0f / sqrtf((float)head_dim),
                                                rounds_inputs(t, prefix, "qkv") };
    struct erne_tensor *qkv, *q, *k, *v, *out;

    qkv = linear(t, prefix, "qkv", layer_norm(t, prefix, "norm1", x, t->desc->eps),
                 ERNE_ACT_NONE, NULL);
    q = erne_graph_view(t->g, qkv, label(prefix, "q").text, 0, n_embd);
    k = erne_graph_view(t->g, qkv, label(prefix, "k").text, n_embd, n_embd);
    v = erne_graph_view(t->g, qkv, label(prefix, "v").text, 2 * (int64_t)n_embd, n_embd);
    q = erne_graph_rope(t->g, "rope_q", q, t->io->place, t->freqs, ERNE_ROPE_NEOX,
                        n_heads, head_dim);
    k = erne_graph_rope(t->g, "rope_k", k, t->io->place, t->freqs, ERNE_ROPE_NEOX,
                        n_heads, head_dim);
    out = erne_graph_segment_attention(t->g, label(prefix, "attention").text, q, k, v,
                                       t->io->bounds, &heads);
    return linear(t, prefix, "attn_out", out, ERNE_ACT_NONE, x);
}

/* x: [P, n_embd] -> x + fc2(act(fc1(norm(x)))) */
static struct erne_tensor *ffn_block(const struct tower *t, const char *prefix,
                                     enum erne_act act, struct erne_tensor *x)
{
    struct erne_tensor *hidden;

    hidden = linear(t, prefix, "fc1", layer_norm(t, prefix, "norm2", x, t->desc->eps),
                    act, NULL);
    return linear(t, prefix, "fc2", hidden, ERNE_ACT_NONE, x);
}

static struct erne_tensor *build_tower(const struct tower *t, enum erne_act act)
{
    struct erne_tensor *x;
    char prefix[32];

    x = linear(t, "vision.", "patch", t->io->patches, ERNE_ACT_NONE, t->io->positions);
    for (int32_t layer = 0; layer < t->desc->n_layers; layer++) {
        snprintf(prefix, sizeof(prefix), "vision.blocks.%d.", (int)layer);
        x = attention_block(t, prefix, x);
        x = ffn_block(t, prefix, act, x);
        if (t->keep_layers)
            erne_graph_output(t->g, x);
    }
    return layer_norm(t, "vision.", "norm", x, t->desc->eps);
}

/* Rows side by side, then two linear layers around a GELU and a norm. */
static struct erne_tensor *merge(const struct tower *t, const char *prefix,
                                 struct erne_tensor *x, struct erne_tensor *rows)
{
    x = erne_graph_gather_rows(t->g, label(prefix, "gather").text, x, rows);
    x = linear(t, prefix, "fc1", x, ERNE_ACT_GELU_ERF, NULL);
    x = linear(t, prefix, "fc2", x, ERNE_ACT_NONE, NULL);
    return layer_norm(t, prefix, "norm", x, resampler_eps);
}

static struct erne_tensor *build_ernie(const struct tower *t)
{
    struct erne_tensor *x = build_tower(t, ERNE_ACT_GELU_QUICK);

    x = merge(t, "resampler.spatial.", x, t->io->blocks);
    if (t->io->frames)
        x = merge(t, "resampler.temporal.", x, t->io->frames);
    x = linear(t, "resampler.", "out", x, ERNE_ACT_NONE, NULL);
    return erne_graph_rms_norm(t->g, "resampler.norm", x, weight(t, "resampler.", "norm"),
                               t->file->desc.rms_eps);
}

static struct erne_tensor *build_paddleocr(const struct tower *t)
{
    struct erne_tensor *x = build_tower(t, ERNE_ACT_GELU_TANH);

    x = layer_norm(t, "projector.", "norm", x, projector_eps);
    x = erne_graph_gather_rows(t->g, "projector.gather", x, t->io->blocks);
    x = linear(t, "projector.", "fc1", x, ERNE_ACT_GELU_ERF, NULL);
    return linear(t, "projector.", "fc2", x, ERNE_ACT_NONE, NULL);
}

static struct erne_tensor *input(struct erne_graph *g, const char *name,
                                 enum erne_type type, int64_t n_rows, int64_t n_cols)
{
    const int64_t dim[] = { n_rows, n_cols };

    return erne_graph_input(g, name, type, ERNE_ROWS_FIXED, 2, dim);
}

static void add_inputs(struct erne_graph *g, struct erne_vision_io *io,
                       const struct erne_vision_inputs *in)
{
    const struct erne_vision_desc *desc = &in->file->desc.vision;
    const int64_t n_merge = (int64_t)desc->merge * desc->merge;
    const int64_t n_frame = (int64_t)in->n_rows * in->n_cols;
    const int64_t n_patches = n_frame * in->n_frames;

    *io = (struct erne_vision_io){ 0 };
    io->patches = input(g, "patches", ERNE_TYPE_F32, n_patches,
                        3 * (int64_t)desc->patch * desc->patch);
    if (desc->n_side > 0)
        io->positions =
            input(g, "patch_positions", ERNE_TYPE_F32, n_patches, desc->n_embd);
    io->place = input(g, "patch_place", ERNE_TYPE_I32, n_patches, 2);
    io->bounds = input(g, "frame_bounds", ERNE_TYPE_I32, n_patches, 2);
    io->blocks = input(g, "blocks", ERNE_TYPE_I32, n_patches / n_merge, n_merge);
    if (desc->temporal > 1)
        io->frames =
            input(g, "merged_frames", ERNE_TYPE_I32, n_frame / n_merge, desc->temporal);
}

int erne_vision_build(struct erne_graph *g, struct erne_vision_io *io,
                      const struct erne_vision_inputs *in, struct erne_error *err)
{
    const struct erne_model_desc *desc = &in->file->desc;
    const struct erne_vision_desc *vision = &desc->vision;
    const size_t n_layers = (size_t)vision->n_layers;
    struct tower t = {
        .g = g, .file = in->file, .desc = vision, .io = io, .keep_layers = in->keep_layers
    };
    int st;

    st = erne_graph_init(g, NODES_A_LAYER * n_layers + NODES_AROUND,
                         TENSORS_A_LAYER * n_layers + TENSORS_AROUND);
    if (st < 0)
        return erne_fail(err, st, "no memory for the graph of %zu vision layers",
                         n_layers);
    add_inputs(g, io, in);
    t.freqs = erne_graph_weight(g, "patch_freqs", ERNE_ROWS_F32, 2,
                                vision->n_embd / vision->n_heads / 2, in->freqs);
    io->features =
        desc->arch == ERNE_ARCH_ERNIE45_VL ? build_ernie(&t) : build_paddleocr(&t);
    erne_graph_output(g, io->features);
    if (g->err.status < 0) {
        if (err)
            *err = g->err;
        st = g->err.status;
        erne_graph_deinit(g);
        return st;
    }
    return 0;
}
