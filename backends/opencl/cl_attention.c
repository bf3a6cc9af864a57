/* cl_attention.c -- attention over the paged cache, and of segments to themselves. */
#include "backends/opencl/cl_ops.h"

#include <stdlib.h>

#include "backends/opencl/cl_queue.h"

/* QUERIES of kernels/attend.cl; splits of positions, and the tokens up to which a step
 * leaves so few work-groups that they pay. */
enum { QUERIES = 8, MAX_SPLITS = 16, SPLIT_TOKENS = 8, PAGES_PER_SPLIT = 2 };

struct attention_state {
    cl_kernel attend, merge; /* merge: NULL where positions are never split */
};

/* Columns that a lane takes at once: they divide d. On a device without vectors two, so
 * that 64 lanes have work for d = 128. */
static int width_for(const struct cl_device *dev, int64_t d)
{
    int width = dev->vector > 1 ? dev->vector : d > 128 ? 4 : 2;

    while (d % width != 0)
        width /= 2;
    return width;
}

static size_t room_bytes(int64_t d)
{
    return (size_t)(QUERIES * d) * sizeof(float);
}

/* Both rooms, scores, and what is kept for rows and lanes. */
static bool fits(const struct cl_device *dev, int64_t d)
{
    const size_t rest = (QUERIES + 1) * (CL_LANES + 1) * sizeof(float);

    return 2 * room_bytes(d) + rest + 256 <= dev->local_bytes;
}

static int find_kernel(struct cl_backend *cl, enum cl_source source, int64_t d,
                       enum erne_type type, const char *name, cl_kernel *kernel)
{
    const int64_t run = type == ERNE_TYPE_Q4 ? d / 2 : d; /* that codes lie in a row */
    const struct cl_options options = { .width = width_for(&cl->dev, run),
                                        .cache = cl_kv_cache(type) };

    if (!fits(&cl->dev, d))
        return ERNE_EUNSUPPORTED;
    return cl_programs_kernel(&cl->programs, &cl->dev, source, &options, name, CL_LANES,
                              kernel);
}

/* -------------------------------------------------------- the paged cache */

static int prepare(struct erne_backend *be, struct erne_node *node)
{
    struct cl_backend *cl = cl_of(be);
    const int64_t d = node->params.attention.head_dim;
    const enum erne_type type = node->src[ERNE_SRC_K]->type;
    struct attention_state *state;
    cl_kernel attend, merge;

    ERNE_TRY(find_kernel(cl, CL_SOURCE_attention, d, type, "attention", &attend));
    ERNE_TRY(find_kernel(cl, CL_SOURCE_attention, d, type, "attention_merge", &merge));
    state = calloc(1, sizeof(*state));
    if (!state)
        return ERNE_ENOMEM;
    *state = (struct attention_state){ attend, merge };
    node->state = state;
    return 0;
}

static void release(struct erne_backend *be, struct erne_node *node)
{
    (void)be;
    free(node->state);
}

/* As many splits as keep all compute units busy, of no fewer than a few pages. */
static int64_t splits_for(const struct cl_backend *cl, const struct erne_step *step,
                          int64_t n_tok, int64_t n_groups)
{
    enum { GROUPS_PER_UNIT = 4 };
    const int64_t n_pages = (step->n_past + step->n_tok) / ERNE_KV_PAGE + 1;
    const int64_t wanted = GROUPS_PER_UNIT * cl->dev.n_units / n_groups;
    const int64_t most = cl_min(n_pages / PAGES_PER_SPLIT, MAX_SPLITS);

    if (n_tok > SPLIT_TOKENS || most < 2 || wanted < 2)
        return 1;
    return cl_min(wanted, most);
}

static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    const int64_t n_tok = cl_min(node->dst->dim[0], SPLIT_TOKENS);

    (void)be;
    return (size_t)(MAX_SPLITS * n_tok * node->params.attention.n_heads *
                    (node->params.attention.head_dim + 2)) *
           sizeof(float);
}

static int merge(struct cl_backend *cl, const struct erne_node *node, int64_t n_tok,
                 int64_t n_splits)
{
    const struct attention_state *state = node->state;
    const int64_t n_heads = node->params.attention.n_heads;
    const struct cl_grid grid = { { (size_t)n_heads, (size_t)n_tok }, { CL_LANES, 1 } };
    struct cl_launch l = cl_launch_begin(cl, state->merge);

    cl_arg_scratch(&l, 0);
    cl_arg_rows(&l, node->dst);
    cl_arg_int(&l, n_tok);
    cl_arg_int(&l, n_heads);
    cl_arg_int(&l, node->params.attention.head_dim);
    cl_arg_int(&l, n_splits);
    return cl_launch(&l, &grid);
}

/* q: [T, H * d], k, v: caches, table: i32 [P], position: i32 [T], dst: [T, H * d] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    struct cl_backend *cl = cl_of(be);
    const struct attention_state *state = node->state;
    const int64_t n_heads = node->params.attention.n_heads;
    const int64_t n_kv_heads = node->params.attention.n_kv_heads;
    const int64_t d = node->params.attention.head_dim;
    const int64_t n_tok = erne_tensor_rows(node->dst, step);
    const size_t n_blocks = cl_ceil_div(n_tok * (n_heads / n_kv_heads), QUERIES);
    const int64_t n_splits = splits_for(cl, step, n_tok, (int64_t)n_blocks * n_kv_heads);
    const struct cl_grid grid = { { n_blocks, (size_t)(n_kv_heads * n_splits) },
                                  { CL_LANES, 1 } };
    struct cl_launch l = cl_launch_begin(cl, state->attend);

    if (n_tok == 0)
        return 0;
    cl_arg_rows(&l, node->src[ERNE_SRC_X]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_K]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_V]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_TABLE]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_QPOS]);
    cl_arg_rows(&l, node->dst);
    cl_arg_scratch(&l, 0);
    cl_arg_int(&l, n_tok);
    cl_arg_int(&l, n_heads);
    cl_arg_int(&l, n_kv_heads);
    cl_arg_int(&l, d);
    cl_arg_float(&l, node->params.attention.scale);
    cl_arg_int(&l, n_splits);
    cl_arg_float(&l, cl_kv_factor(d));
    cl_arg_local(&l, room_bytes(d));
    cl_arg_local(&l, room_bytes(d));
    ERNE_TRY(cl_launch(&l, &grid));
    return n_splits > 1 ? merge(cl, node, n_tok, n_splits) : 0;
}

const struct erne_op_impl cl_attention = { .name = "pages",
                                           .quantised_kv = true,
                                           .prepare = prepare,
                                           .scratch = scratch,
                                           .run = run,
                                           .release = release };

/* --------------------------------------------------------------- segments */

static int segment_prepare(struct erne_backend *be, struct erne_node *node)
{
    cl_kernel kernel;

    ERNE_TRY(find_kernel(cl_of(be), CL_SOURCE_segment_attention,
                         node->params.segment_attention.head_dim, ERNE_TYPE_F32,
                         "segment_attention", &kernel));
    node->state = kernel;
    return 0;
}

/* q, k, v, dst: [P, H * d], bounds: i32 [P, 2] */
static int segment_run(struct erne_backend *be, const struct erne_node *node,
                       const struct erne_step *step)
{
    const int64_t d = node->params.segment_attention.head_dim;
    const int64_t n_rows = erne_tensor_rows(node->dst, step);
    const struct cl_grid grid = { { cl_ceil_div(n_rows, QUERIES),
                                    (size_t)node->params.segment_attention.n_heads },
                                  { CL_LANES, 1 } };
    struct cl_launch l = cl_launch_begin(cl_of(be), node->state);

    if (n_rows == 0)
        return 0;
    cl_arg_rows(&l, node->src[ERNE_SRC_X]);
    cl_arg_rows(&l, node->src[ERNE_SRC_K]);
    cl_arg_rows(&l, node->src[ERNE_SRC_V]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_BOUNDS]);
    cl_arg_rows(&l, node->dst);
    cl_arg_int(&l, n_rows);
    cl_arg_int(&l, d);
    cl_arg_float(&l, node->params.segment_attention.scale);
    cl_arg_local(&l, room_bytes(d));
    cl_arg_local(&l, room_bytes(d));
    return cl_launch(&l, &grid);
}

const struct erne_op_impl cl_segment_attention = { .name = "blocks",
                                                   .prepare = segment_prepare,
                                                   .run = segment_run };
