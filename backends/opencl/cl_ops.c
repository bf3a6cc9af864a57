/* cl_ops.c -- the operators of one kernel each: rows looked up, normalised, turned,
 * moved. node->state is the kernel, which belongs to the backend's programs. */
#include "backends/opencl/cl_ops.h"
#include "backends/opencl/cl_queue.h"

#include <math.h>

int cl_plain_kernel(struct cl_backend *cl, enum cl_source source, const char *name,
                    cl_kernel *kernel)
{
    const struct cl_options options = { .width = 1 };

    return cl_programs_kernel(&cl->programs, &cl->dev, source, &options, name, CL_LANES,
                              kernel);
}

static int prepare_plain(struct erne_backend *be, struct erne_node *node,
                         enum cl_source source, const char *name)
{
    cl_kernel kernel;

    ERNE_TRY(cl_plain_kernel(cl_of(be), source, name, &kernel));
    node->state = kernel;
    return 0;
}

static struct cl_launch begin(struct erne_backend *be, const struct erne_node *node)
{
    return cl_launch_begin(cl_of(be), node->state);
}

/* A work-group a row. */
static int launch_rows(struct cl_launch *l, int64_t n_rows)
{
    const struct cl_grid grid = { { (size_t)n_rows, 1 }, { CL_LANES, 1 } };

    return n_rows > 0 ? cl_launch(l, &grid) : l->st;
}

/* A work-item an element, n of them in each of n_rows rows. */
static int launch_elements(struct cl_launch *l, int64_t n, int64_t n_rows)
{
    const struct cl_grid grid = { { cl_ceil_div(n, CL_LANES), (size_t)n_rows },
                                  { CL_LANES, 1 } };

    return n > 0 && n_rows > 0 ? cl_launch(l, &grid) : l->st;
}

/* -------------------------------------------------------------- embed */

static int embed_prepare(struct erne_backend *be, struct erne_node *node)
{
    struct cl_backend *cl = cl_of(be);
    const struct erne_scheme scheme = node->src[ERNE_SRC_W]->scheme;
    const struct cl_options options = {
        .width = 1, .codec = scheme.codec, .asym = scheme.asym, .tokens = 1, .slices = 1
    };
    cl_kernel kernel;

    ERNE_TRY(cl_programs_kernel(&cl->programs, &cl->dev, CL_SOURCE_embed, &options,
                                "embed", CL_LANES, &kernel));
    node->state = kernel;
    return 0;
}

/* tokens: i32 [T], w: tile64 [V, K], dst: [T, K] */
static int embed_run(struct erne_backend *be, const struct erne_node *node,
                     const struct erne_step *step)
{
    const struct erne_tensor *tokens = node->src[ERNE_SRC_X], *w = node->src[ERNE_SRC_W];
    const int64_t n_tiles = w->planes.n_pad / ERNE_TILE_ROWS, k = w->dim[1];
    struct cl_tiles tiles;

    for (int64_t tile = 0; tile < n_tiles; tile += tiles.n) {
        struct cl_launch l = begin(be, node);

        ERNE_TRY(cl_tiles_find(cl_of(be), w, tile, &tiles));
        cl_arg_tensor(&l, tokens);
        cl_arg_place(&l, &tiles.codes, 4);
        cl_arg_place(&l, &tiles.scales, 2);
        cl_arg_place(&l, &tiles.minima, 2);
        cl_arg_rows(&l, node->dst);
        cl_arg_int(&l, k);
        cl_arg_int(&l, w->planes.k_pad);
        cl_arg_int(&l, w->scheme.group);
        cl_arg_int(&l, tile * ERNE_TILE_ROWS);
        cl_arg_int(&l, (tile + tiles.n) * ERNE_TILE_ROWS);
        ERNE_TRY(launch_elements(
            &l, (int64_t)cl_ceil_div(k, erne_codec_cell_inputs(w->scheme.codec)),
            erne_tensor_rows(tokens, step)));
    }
    return 0;
}

const struct erne_op_impl cl_embed = { .name = "cells",
                                       .prepare = embed_prepare,
                                       .run = embed_run };

/* -------------------------------------------------------------- norms */

static int rms_norm_prepare(struct erne_backend *be, struct erne_node *node)
{
    return prepare_plain(be, node, CL_SOURCE_rms_norm, "rms_norm");
}

/* x: [T, K], w: [K], dst: [T, K] */
static int rms_norm_run(struct erne_backend *be, const struct erne_node *node,
                        const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    struct cl_launch l = begin(be, node);

    cl_arg_rows(&l, x);
    cl_arg_tensor(&l, node->src[ERNE_SRC_W]);
    cl_arg_rows(&l, node->dst);
    cl_arg_int(&l, x->dim[1]);
    cl_arg_float(&l, node->params.rms_norm.eps);
    return launch_rows(&l, erne_tensor_rows(x, step));
}

const struct erne_op_impl cl_rms_norm = { .name = "rows",
                                          .prepare = rms_norm_prepare,
                                          .run = rms_norm_run };

static int layer_norm_prepare(struct erne_backend *be, struct erne_node *node)
{
    return prepare_plain(be, node, CL_SOURCE_layer_norm, "layer_norm");
}

/* x: [T, K], w, bias: [K], dst: [T, K] */
static int layer_norm_run(struct erne_backend *be, const struct erne_node *node,
                          const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    struct cl_launch l = begin(be, node);

    cl_arg_rows(&l, x);
    cl_arg_tensor(&l, node->src[ERNE_SRC_W]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_NORM_BIAS]);
    cl_arg_rows(&l, node->dst);
    cl_arg_int(&l, x->dim[1]);
    cl_arg_float(&l, node->params.layer_norm.eps);
    return launch_rows(&l, erne_tensor_rows(x, step));
}

const struct erne_op_impl cl_layer_norm = { .name = "rows",
                                            .prepare = layer_norm_prepare,
                                            .run = layer_norm_run };

/* --------------------------------------------------------------- rope */

static int rope_prepare(struct erne_backend *be, struct erne_node *node)
{
    return prepare_plain(be, node, CL_SOURCE_rope, "rope");
}

/* x: [T, H * d], position: i32 [T, A], inv_freq: [A, d / 2] */
static int rope_run(struct erne_backend *be, const struct erne_node *node,
                    const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const int64_t d = node->params.rope.head_dim;
    const int64_t n_pairs = node->params.rope.n_heads * d / 2;
    struct cl_launch l = begin(be, node);

    cl_arg_rows(&l, x);
    cl_arg_tensor(&l, node->src[ERNE_SRC_POSITION]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_INV_FREQ]);
    cl_arg_int(&l, node->src[ERNE_SRC_POSITION]->dim[1]);
    cl_arg_int(&l, n_pairs);
    cl_arg_int(&l, d);
    cl_arg_int(&l, node->params.rope.kind == ERNE_ROPE_NEOX);
    return launch_elements(&l, n_pairs, erne_tensor_rows(x, step));
}

const struct erne_op_impl cl_rope = { .name = "pairs",
                                      .prepare = rope_prepare,
                                      .run = rope_run };

/* ---------------------------------------------------------- kv_append */

int cl_kv_cache(enum erne_type type)
{
    enum { KV_F32, KV_F16, KV_Q8, KV_Q4 }; /* as kv_row.cl has them */

    switch (type) {
    case ERNE_TYPE_F16: return KV_F16;
    case ERNE_TYPE_Q8: return KV_Q8;
    case ERNE_TYPE_Q4: return KV_Q4;
    default: return KV_F32;
    }
}

float cl_kv_factor(int64_t d)
{
    return 1.0f / sqrtf((float)(d & -d));
}

static int kv_append_prepare(struct erne_backend *be, struct erne_node *node)
{
    struct cl_backend *cl = cl_of(be);
    const enum erne_type type = node->src[ERNE_SRC_CACHE]->type;
    const struct cl_options options = { .width = 1, .cache = cl_kv_cache(type) };
    const bool is_codes = erne_kv_is_quantised(type);
    cl_kernel kernel;

    if (is_codes && erne_kv_head_dim(node->src[ERNE_SRC_CACHE]) > ERNE_KV_MAX_Q4)
        return ERNE_EUNSUPPORTED;
    ERNE_TRY(cl_programs_kernel(&cl->programs, &cl->dev, CL_SOURCE_kv_append, &options,
                                is_codes ? "kv_encode" : "kv_append", CL_LANES, &kernel));
    node->state = kernel;
    return 0;
}

/* A work-group a head of a token. */
static int launch_encode(struct cl_launch *l, const struct erne_tensor *cache,
                         int64_t n_tok)
{
    const struct cl_grid grid = { { (size_t)cache->dim[1], (size_t)n_tok },
                                  { CL_LANES, 1 } };
    const int64_t d = erne_kv_head_dim(cache);

    cl_arg_float(l, cl_kv_factor(d));
    cl_arg_local(l, (size_t)d * sizeof(float));
    return n_tok > 0 ? cl_launch(l, &grid) : l->st;
}

/* x: [T, H_kv * d], slot: i32 [T], cache: [P, H_kv, ERNE_KV_PAGE, row of d] */
static int kv_append_run(struct erne_backend *be, const struct erne_node *node,
                         const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct erne_tensor *cache = node->src[ERNE_SRC_CACHE];
    const int64_t d = erne_kv_head_dim(cache), n = erne_tensor_rows(x, step);
    struct cl_launch l = begin(be, node);

    cl_arg_rows(&l, x);
    cl_arg_tensor(&l, cache);
    cl_arg_tensor(&l, node->src[ERNE_SRC_SLOT]);
    cl_arg_int(&l, cache->dim[1]);
    cl_arg_int(&l, d);
    if (erne_kv_is_quantised(cache->type))
        return launch_encode(&l, cache, n);
    return launch_elements(&l, cache->dim[1] * d, n);
}

const struct erne_op_impl cl_kv_append = { .name = "elements",
                                           .quantised_kv = true,
                                           .prepare = kv_append_prepare,
                                           .run = kv_append_run };

/* --------------------------------------------------- gather and scatter */

static int gather_rows_prepare(struct erne_backend *be, struct erne_node *node)
{
    return prepare_plain(be, node, CL_SOURCE_gather_rows, "gather_rows");
}

/* x: [T, K], rows: i32 [O, m], dst: [O, m * K] */
static int gather_rows_run(struct erne_backend *be, const struct erne_node *node,
                           const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X], *rows = node->src[ERNE_SRC_ROWS];
    struct cl_launch l = begin(be, node);

    cl_arg_rows(&l, x);
    cl_arg_tensor(&l, rows);
    cl_arg_rows(&l, node->dst);
    cl_arg_int(&l, rows->dim[1]);
    cl_arg_int(&l, x->dim[1]);
    return launch_elements(&l, rows->dim[1] * x->dim[1], erne_tensor_rows(rows, step));
}

const struct erne_op_impl cl_gather_rows = { .name = "elements",
                                             .prepare = gather_rows_prepare,
                                             .run = gather_rows_run };

static int scatter_rows_prepare(struct erne_backend *be, struct erne_node *node)
{
    return prepare_plain(be, node, CL_SOURCE_scatter_rows, "scatter_rows");
}

/* x: [T, K] in place, y: [F, K], rows: i32 [T] */
static int scatter_rows_run(struct erne_backend *be, const struct erne_node *node,
                            const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    struct cl_launch l = begin(be, node);

    cl_arg_rows(&l, x);
    cl_arg_rows(&l, node->src[ERNE_SRC_FROM]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_FROM_ROWS]);
    cl_arg_int(&l, x->dim[1]);
    return launch_elements(&l, x->dim[1], erne_tensor_rows(x, step));
}

const struct erne_op_impl cl_scatter_rows = { .name = "elements",
                                              .prepare = scatter_rows_prepare,
                                              .run = scatter_rows_run };
