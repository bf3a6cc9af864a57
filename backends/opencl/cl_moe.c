/* cl_moe.c -- routing, and the experts that tokens were routed to.
 *
 * The host knows neither routes nor counts: kernels/moe_group.cl lists them on the
 * device, and the grids have room for the most that there can be.
 */
#include "backends/opencl/cl_ops.h"

#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_queue.h"

/* ---------------------------------------------------------------- routing */

static int route_prepare(struct erne_backend *be, struct erne_node *node)
{
    struct cl_backend *cl = cl_of(be);
    cl_kernel kernel;

    if ((size_t)node->dst->dim[1] * 2 * sizeof(float) + 4096 > cl->dev.local_bytes)
        return ERNE_EUNSUPPORTED;
    ERNE_TRY(cl_plain_kernel(cl, CL_SOURCE_moe_route, "moe_route", &kernel));
    node->state = kernel;
    return 0;
}

/* logits: [T, B * E], bias: [B * E], kind: i32 [T], dst: [T, B * E] */
static int route_run(struct erne_backend *be, const struct erne_node *node,
                     const struct erne_step *step)
{
    const int64_t n_columns = node->dst->dim[1];
    const int64_t n_experts = n_columns / node->params.moe_route.n_banks;
    const int64_t n_tok = erne_tensor_rows(node->dst, step);
    const struct cl_grid grid = { { (size_t)n_tok, 1 }, { CL_LANES, 1 } };
    struct cl_launch l = cl_launch_begin(cl_of(be), node->state);

    if (n_tok == 0)
        return 0;
    cl_arg_rows(&l, node->src[ERNE_SRC_X]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_ROUTE_BIAS]);
    cl_arg_tensor(&l, node->src[ERNE_SRC_KIND]);
    cl_arg_rows(&l, node->dst);
    cl_arg_int(&l, n_columns);
    cl_arg_int(&l, n_experts);
    cl_arg_int(&l, node->params.moe_route.n_used);
    cl_arg_float(&l, node->params.moe_route.norm_min);
    cl_arg_int(&l, node->src[ERNE_SRC_ROUTE_BIAS] != NULL);
    cl_arg_int(&l, node->src[ERNE_SRC_KIND] != NULL);
    cl_arg_local(&l, (size_t)n_experts * 2 * sizeof(float));
    return cl_launch(&l, &grid);
}

const struct erne_op_impl cl_moe_route = { .name = "tokens",
                                           .prepare = route_prepare,
                                           .run = route_run };

/* -------------------------------------------------------------- the banks */

/* Experts that one launch can serve: of one scheme, in the same buffers. */
struct expert_class {
    struct erne_scheme scheme;
    int64_t k_pad;
    cl_mem codes, scales, minima;
};

/* EXPERT_INTS of kernels/moe_ffn.cl. */
struct expert_entry {
    cl_int class;
    cl_uint codes, scales, minima; /* where they begin: in 4, 2 and 2 bytes */
};

/* A bank as the device sees it. */
struct bank {
    const struct erne_tensor *experts; /* [n] */
    int64_t n;
    struct expert_class *classes; /* [n_classes] of room for n */
    int n_classes;
    struct expert_entry *table; /* [n] */
    cl_mem device_table;
    unsigned generation; /* of the memory when the table was made; 0: never */
};

static void release_bank(struct cl_backend *cl, struct bank *bank)
{
    cl_queue_settle(&cl->dev);
    CL_RELEASE(&cl->dev, MemObject, bank->device_table);
    free(bank->classes);
    free(bank->table);
}

static int make_bank(struct cl_backend *cl, struct bank *bank,
                     const struct erne_tensor *t)
{
    *bank = (struct bank){ .experts = t->bank, .n = t->dim[0] };
    bank->classes = calloc((size_t)bank->n, sizeof(*bank->classes));
    bank->table = calloc((size_t)bank->n, sizeof(*bank->table));
    if (!bank->classes || !bank->table)
        return ERNE_ENOMEM;
    CL_TRY_MAKE(bank->device_table, &cl->dev, CreateBuffer, cl->dev.context,
                CL_MEM_READ_ONLY, (size_t)bank->n * sizeof(*bank->table), NULL);
    return 0;
}

static int class_of(struct bank *bank, const struct expert_class *wanted)
{
    for (int i = 0; i < bank->n_classes; i++) {
        const struct expert_class *c = &bank->classes[i];

        if (erne_scheme_equal(c->scheme, wanted->scheme) && c->codes == wanted->codes &&
            c->scales == wanted->scales && c->minima == wanted->minima)
            return i;
    }
    bank->classes[bank->n_classes] = *wanted;
    return bank->n_classes++;
}

static int place_expert(const struct cl_backend *cl, struct bank *bank, int64_t e)
{
    const struct erne_tensor *w = &bank->experts[e];
    struct cl_tiles tiles;
    struct expert_class class;

    ERNE_TRY(cl_tiles_find(cl, w, 0, &tiles));
    if (tiles.n < w->planes.n_pad / ERNE_TILE_ROWS)
        return ERNE_EFAIL; /* an expert is smaller than the overlap of buffers */
    class = (struct expert_class){ w->scheme, w->planes.k_pad, tiles.codes.mem,
                                   tiles.scales.mem, tiles.minima.mem };
    bank->table[e] =
        (struct expert_entry){ class_of(bank, &class), (cl_uint)(tiles.codes.offset / 4),
                               (cl_uint)(tiles.scales.offset / 2),
                               (cl_uint)(tiles.minima.offset / 2) };
    return 0;
}

/* Makes the table anew when the weights may be elsewhere. */
static int refresh_bank(struct cl_backend *cl, struct bank *bank)
{
    struct cl_device *dev = &cl->dev;
    cl_event event;

    if (bank->generation == cl->memory.generation)
        return 0;
    bank->n_classes = 0;
    for (int64_t e = 0; e < bank->n; e++)
        ERNE_TRY(place_expert(cl, bank, e));
    CL_TRY(dev, EnqueueWriteBuffer, dev->queue, bank->device_table, CL_FALSE, 0,
           (size_t)bank->n * sizeof(*bank->table), bank->table, 0, NULL, &event);
    ERNE_TRY(cl_queue_wait(dev, event));
    bank->generation = cl->memory.generation;
    return 0;
}

/* --------------------------------------------------------------- the node */

/* The product with weights of one codec. */
struct product {
    struct cl_options options;
    cl_kernel kernel;
};

enum { CODECS = 2 * ERNE_CODEC_COUNT }; /* by codec, then asym */

struct ffn_state {
    struct bank up, down;
    cl_kernel group, sum;
    struct product products[2][CODECS]; /* few and many tokens an expert */
};

static int index_of(struct erne_scheme scheme)
{
    return scheme.codec * 2 + scheme.asym;
}

static int find_product(struct cl_backend *cl, struct product *p,
                        struct erne_scheme scheme, bool many)
{
    if (p->kernel)
        return 0;
    p->options = cl_tile_options(cl, scheme, many);
    return cl_programs_kernel(
        &cl->programs, &cl->dev, CL_SOURCE_moe_ffn, &p->options, "moe_ffn",
        cl_tile_lanes(&p->options) * (size_t)p->options.slices, &p->kernel);
}

static int find_products(struct cl_backend *cl, struct ffn_state *state,
                         const struct bank *bank)
{
    for (int many = 0; many <= 1; many++)
        for (int64_t e = 0; e < bank->n; e++) {
            const struct erne_scheme scheme = bank->experts[e].scheme;

            ERNE_TRY(
                find_product(cl, &state->products[many][index_of(scheme)], scheme, many));
        }
    return 0;
}

static int find_kernels(struct cl_backend *cl, struct ffn_state *state)
{
    ERNE_TRY(cl_plain_kernel(cl, CL_SOURCE_moe_group, "moe_group", &state->group));
    ERNE_TRY(cl_plain_kernel(cl, CL_SOURCE_moe_sum, "moe_sum", &state->sum));
    ERNE_TRY(find_products(cl, state, &state->up));
    return find_products(cl, state, &state->down);
}

static void ffn_release(struct erne_backend *be, struct erne_node *node)
{
    struct ffn_state *state = node->state;

    if (!state)
        return;
    release_bank(cl_of(be), &state->up);
    release_bank(cl_of(be), &state->down);
    free(state);
    node->state = NULL;
}

static int ffn_prepare(struct erne_backend *be, struct erne_node *node)
{
    struct cl_backend *cl = cl_of(be);
    struct ffn_state *state = calloc(1, sizeof(*state));
    int st;

    if (!state)
        return ERNE_ENOMEM;
    node->state = state;
    st = make_bank(cl, &state->up, node->src[ERNE_SRC_GATE_UP]);
    if (st == 0)
        st = make_bank(cl, &state->down, node->src[ERNE_SRC_DOWN]);
    if (st == 0)
        st = find_kernels(cl, state);
    if (st < 0)
        ffn_release(be, node);
    return st;
}

/* --------------------------------------------------------------- the step */

/* Where intermediate results are in the scratch, in bytes. */
struct layout {
    size_t start, token, slot_of, blocks, hidden, out, n_bytes;
    int64_t n_slots, n_blocks;
};

static size_t take(struct layout *l, int64_t n)
{
    const size_t at = l->n_bytes;

    l->n_bytes = (at + (size_t)n * 4 + 255) & ~(size_t)255;
    return at;
}

/* For a step of n_tok tokens, multiplied `tokens` at a time. */
static struct layout lay_out(const struct erne_node *node, int64_t n_tok, int64_t tokens)
{
    enum { BLOCK_INTS = 4 };
    const struct erne_tensor *down = node->src[ERNE_SRC_DOWN];
    const int64_t n_experts = down->dim[0];
    struct layout l = { .n_slots = n_tok * node->params.moe_ffn.n_used };

    /* Every expert's list may end in a block that is not full. */
    l.n_blocks = cl_min(l.n_slots, l.n_slots / tokens + cl_min(n_experts, l.n_slots));
    l.start = take(&l, n_experts + 1);
    l.token = take(&l, l.n_slots);
    l.slot_of = take(&l, n_tok * n_experts);
    l.blocks = take(&l, l.n_blocks * BLOCK_INTS);
    l.hidden = take(&l, l.n_slots * down->dim[2]);
    l.out = take(&l, l.n_slots * down->dim[1]);
    return l;
}

static size_t ffn_scratch(struct erne_backend *be, const struct erne_node *node)
{
    (void)be;
    return lay_out(node, node->dst->dim[0], 1).n_bytes;
}

/* What the kernels of one step share. */
struct moe {
    struct cl_backend *cl;
    const struct erne_node *node;
    struct ffn_state *state;
    struct layout at;
    int64_t n_tok, n_experts, n_ff, n_out;
    bool many;
};

static const struct product *product_for(const struct moe *m, struct erne_scheme scheme)
{
    return &m->state->products[m->many][index_of(scheme)];
}

/* Rows of x that a work-group multiplies with: the same for all schemes. */
static int block_tokens(const struct moe *m)
{
    return product_for(m, m->state->up.experts[0].scheme)->options.tokens;
}

static int group_slots(const struct moe *m)
{
    const struct cl_grid grid = { { 1, 1 }, { CL_LANES, 1 } };
    struct cl_launch l = cl_launch_begin(m->cl, m->state->group);

    cl_arg_rows(&l, m->node->src[ERNE_SRC_WEIGHTS]);
    cl_arg_scratch(&l, m->at.start);
    cl_arg_scratch(&l, m->at.token);
    cl_arg_scratch(&l, m->at.slot_of);
    cl_arg_scratch(&l, m->at.blocks);
    cl_arg_int(&l, m->n_tok);
    cl_arg_int(&l, m->n_experts);
    cl_arg_int(&l, m->at.n_slots);
    cl_arg_int(&l, m->at.n_blocks);
    cl_arg_int(&l, block_tokens(m));
    return cl_launch(&l, &grid);
}

/* Experts of one class: from the tokens to hidden values, or (is_down) on from there. */
static int multiply(const struct moe *m, const struct bank *bank, int class, bool is_down)
{
    const struct expert_class *c = &bank->classes[class];
    const struct erne_tensor *w = &bank->experts[0];
    const struct product *p = product_for(m, c->scheme);
    const struct cl_grid grid = {
        { (size_t)m->at.n_blocks, (size_t)(w->planes.n_pad / ERNE_TILE_ROWS) },
        { cl_tile_lanes(&p->options), (size_t)p->options.slices }
    };
    struct cl_launch l = cl_launch_begin(m->cl, p->kernel);

    if (is_down) {
        cl_arg_scratch(&l, m->at.hidden);
        cl_arg_int(&l, m->n_ff);
    } else {
        cl_arg_rows(&l, m->node->src[ERNE_SRC_X]);
    }
    cl_arg_mem(&l, c->codes);
    cl_arg_mem(&l, c->scales);
    cl_arg_mem(&l, c->minima);
    cl_arg_mem(&l, bank->device_table);
    cl_arg_scratch(&l, m->at.token);
    cl_arg_scratch(&l, m->at.blocks);
    cl_arg_scratch(&l, is_down ? m->at.out : m->at.hidden);
    cl_arg_int(&l, is_down ? m->n_out : m->n_ff);
    cl_arg_int(&l, w->dim[1]);
    cl_arg_int(&l, c->k_pad);
    cl_arg_int(&l, c->scheme.group);
    cl_arg_int(&l, class);
    cl_arg_int(&l, !is_down);
    cl_arg_int(&l, !is_down);
    return cl_launch(&l, &grid);
}

static int sum_slots(const struct moe *m)
{
    const struct erne_tensor *residual = m->node->src[ERNE_SRC_FFN_RESIDUAL];
    const struct cl_grid grid = { { cl_ceil_div(m->n_out, CL_LANES), (size_t)m->n_tok },
                                  { CL_LANES, 1 } };
    struct cl_launch l = cl_launch_begin(m->cl, m->state->sum);

    cl_arg_rows(&l, m->node->src[ERNE_SRC_WEIGHTS]);
    cl_arg_scratch(&l, m->at.slot_of);
    cl_arg_scratch(&l, m->at.out);
    cl_arg_rows(&l, residual);
    cl_arg_rows(&l, m->node->dst);
    cl_arg_int(&l, m->n_out);
    cl_arg_int(&l, m->n_experts);
    cl_arg_int(&l, residual != NULL);
    return cl_launch(&l, &grid);
}

/* x: [T, K], weights: [T, E], gate_up, down: banks, residual, dst: [T, K'] */
static int ffn_run(struct erne_backend *be, const struct erne_node *node,
                   const struct erne_step *step)
{
    const struct erne_tensor *bank = node->src[ERNE_SRC_DOWN];
    struct moe m = { .cl = cl_of(be),
                     .node = node,
                     .state = node->state,
                     .n_tok = erne_tensor_rows(node->dst, step),
                     .n_experts = bank->dim[0],
                     .n_ff = bank->dim[2],
                     .n_out = bank->dim[1] };

    if (m.n_tok == 0)
        return 0;
    /* Two tokens an expert, on average: reading its weights once is worth it. */
    m.many = m.n_tok * node->params.moe_ffn.n_used >= 2 * m.n_experts;
    m.at = lay_out(node, m.n_tok, block_tokens(&m));
    ERNE_TRY(refresh_bank(m.cl, &m.state->up));
    ERNE_TRY(refresh_bank(m.cl, &m.state->down));
    ERNE_TRY(group_slots(&m));
    for (int i = 0; i < m.state->up.n_classes; i++)
        ERNE_TRY(multiply(&m, &m.state->up, i, false));
    for (int i = 0; i < m.state->down.n_classes; i++)
        ERNE_TRY(multiply(&m, &m.state->down, i, true));
    return sum_slots(&m);
}

const struct erne_op_impl cl_moe_ffn = { .name = "slots",
                                         .prepare = ffn_prepare,
                                         .scratch = ffn_scratch,
                                         .run = ffn_run,
                                         .release = ffn_release };
