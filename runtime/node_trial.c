/* node_trial.c -- copies a node, makes up data for it, runs it. See node_trial.h. */
#include "runtime/node_trial.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------- copy */

/* The copy of a tensor: itself if it is a weight. Inputs that are the same columns of the
 * same memory become one. */
struct copies {
    const struct erne_tensor *from[ERNE_MAX_SRC + 1];
    struct erne_tensor *to[ERNE_MAX_SRC + 1];
    int n;
};

static const struct erne_tensor *root_of(const struct erne_tensor *t)
{
    return t->parent ? t->parent : t;
}

static bool is_same_place(const struct erne_tensor *a, const struct erne_tensor *b)
{
    return root_of(a) == root_of(b) && a->parent_offset == b->parent_offset &&
           erne_tensor_cols(a) == erne_tensor_cols(b);
}

static struct erne_tensor *find_copy(const struct copies *c, const struct erne_tensor *t)
{
    for (int i = 0; i < c->n; i++)
        if (is_same_place(c->from[i], t))
            return c->to[i];
    return NULL;
}

/* A view keeps the distance of its rows, but owns them. */
static struct erne_tensor *copy_tensor(struct erne_graph *g, struct copies *c,
                                       struct erne_tensor *t, enum erne_mem mem)
{
    struct erne_tensor *copy;

    if (!t || t->mem == ERNE_MEM_WEIGHT || t->type == ERNE_TYPE_BANK)
        return t;
    copy = find_copy(c, t);
    if (copy)
        return copy;
    copy = &g->tensors[g->n_tensors++];
    *copy = *t;
    copy->mem = mem;
    copy->parent = NULL;
    copy->parent_offset = 0;
    copy->state = NULL;
    copy->data = NULL;
    copy->n_bytes = (size_t)(t->dim[0] * t->stride) * (t->type == ERNE_TYPE_F16 ? 2 : 4);
    c->from[c->n] = t;
    c->to[c->n++] = copy;
    return copy;
}

static void copy_node(struct erne_graph *g, const struct erne_node *like)
{
    struct erne_node *node = &g->nodes[g->n_nodes++];
    struct copies c = { .n = 0 };

    *node = (struct erne_node){ .op = like->op, .params = like->params };
    for (int i = 0; i < ERNE_MAX_SRC; i++)
        node->src[i] = copy_tensor(g, &c, like->src[i], ERNE_MEM_INPUT);
    node->dst = copy_tensor(g, &c, like->dst, ERNE_MEM_OUTPUT);
    node->dst->mem = ERNE_MEM_OUTPUT; /* in place, it is the copy of an input */
}

int erne_node_trial_init(struct erne_node_trial *t, const struct erne_node *like,
                         struct erne_backend *be, const struct erne_step *step,
                         struct erne_error *err)
{
    struct erne_backend *const only[] = { be, NULL };
    int st;

    *t = (struct erne_node_trial){ .step = *step };
    if (erne_graph_init(&t->graph, 1, ERNE_MAX_SRC + 1) < 0)
        return erne_fail(err, ERNE_ENOMEM, "no memory for a trial of %s",
                         erne_op_name(like->op));
    copy_node(&t->graph, like);
    st = erne_plan_init(&t->plan, &t->graph, only, NULL, NULL, err);
    if (st < 0)
        erne_graph_deinit(&t->graph);
    return st;
}

void erne_node_trial_deinit(struct erne_node_trial *t)
{
    erne_plan_deinit(&t->plan);
    erne_graph_deinit(&t->graph);
}

const struct erne_node *erne_node_trial_node(const struct erne_node_trial *t)
{
    return &t->graph.nodes[0];
}

/* ------------------------------------------------------------------- data */

/* splitmix64. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* About normal: the sum of four uniform numbers, mean 0 and variance 1. */
static float next_normal(uint64_t *state)
{
    const uint64_t bits = next_random(state);
    float sum = 0;

    for (int i = 0; i < 4; i++)
        sum += (float)(bits >> 16 * i & 0xffff) * 0x1p-16f - 0.5f;
    return sum * 1.7320508f;
}

static void fill_floats(struct erne_tensor *t, uint64_t *state)
{
    const size_t n = t->n_bytes / (t->type == ERNE_TYPE_F16 ? 2 : 4);

    for (size_t i = 0; i < n; i++) {
        const float x = next_normal(state);

        if (t->type == ERNE_TYPE_F16)
            ((uint16_t *)t->data)[i] = erne_f16_from_f32(x);
        else
            ((float *)t->data)[i] = x;
    }
}

/* first, first + 1 ... by rows; columns of a row are equal. below: 0 is no limit. */
static void fill_count(struct erne_tensor *t, int64_t first, int64_t below)
{
    const int64_t n_cols = erne_tensor_cols(t);
    int32_t *data = t->data;

    for (int64_t i = 0; i < t->dim[0] * n_cols; i++) {
        const int64_t x = first + i / n_cols;

        data[i] = (int32_t)(below > 0 ? x % below : x);
    }
}

/* In [0, below). */
static void fill_any(struct erne_tensor *t, uint64_t *state, int64_t below)
{
    int32_t *data = t->data;

    for (int64_t i = 0; i < t->dim[0] * erne_tensor_cols(t); i++)
        data[i] = (int32_t)(next_random(state) % (uint64_t)below);
}

/* All rows are one segment. */
static void fill_bounds(struct erne_tensor *t)
{
    int32_t *data = t->data;

    for (int64_t i = 0; i < t->dim[0]; i++) {
        data[2 * i] = 0;
        data[2 * i + 1] = (int32_t)t->dim[0];
    }
}

/* n_used experts a token, each with the same weight. */
static void fill_routing(struct erne_tensor *t, uint64_t *state, int n_used)
{
    const int64_t n_experts = t->dim[1];
    float *data = t->data;

    memset(data, 0, t->n_bytes);
    for (int64_t row = 0; row < t->dim[0]; row++)
        for (int left = n_used; left > 0;) {
            float *w = &data[row * t->stride +
                             (int64_t)(next_random(state) % (uint64_t)n_experts)];

            if (*w > 0)
                continue;
            *w = 1.0f / (float)n_used;
            left--;
        }
}

/* Inputs of whole numbers, by operator. i: which input. */
typedef void (*fill_fn)(const struct erne_node *node, int i, int32_t n_past,
                        uint64_t *state);

/* Positions of the tokens, and slots of caches whose pages are in order. */
static void fill_positions(const struct erne_node *node, int i, int32_t n_past,
                           uint64_t *state)
{
    (void)state;
    fill_count(node->src[i], n_past, 0);
}

static void fill_embed(const struct erne_node *node, int i, int32_t n_past,
                       uint64_t *state)
{
    (void)n_past;
    fill_any(node->src[i], state, node->src[ERNE_SRC_W]->dim[0]);
}

static void fill_attention(const struct erne_node *node, int i, int32_t n_past,
                           uint64_t *state)
{
    fill_positions(node, i, i == ERNE_SRC_TABLE ? 0 : n_past, state);
}

/* Row 0, the first bank: there for any number of tokens. */
static void fill_zeros(const struct erne_node *node, int i, int32_t n_past,
                       uint64_t *state)
{
    (void)n_past;
    (void)state;
    fill_count(node->src[i], 0, 1);
}

static void fill_scatter(const struct erne_node *node, int i, int32_t n_past,
                         uint64_t *state)
{
    (void)n_past;
    (void)state;
    fill_count(node->src[i], 0, node->src[ERNE_SRC_FROM]->dim[0]);
}

static void fill_segments(const struct erne_node *node, int i, int32_t n_past,
                          uint64_t *state)
{
    (void)n_past;
    (void)state;
    fill_bounds(node->src[i]);
}

static const fill_fn index_fills[ERNE_OP_COUNT] = {
    [ERNE_OP_EMBED] = fill_embed,
    [ERNE_OP_ROPE] = fill_positions,
    [ERNE_OP_KV_APPEND] = fill_positions,
    [ERNE_OP_ATTENTION] = fill_attention,
    [ERNE_OP_SEGMENT_ATTENTION] = fill_segments,
    [ERNE_OP_GATHER_ROWS] = fill_zeros,
    [ERNE_OP_SCATTER_ROWS] = fill_scatter,
    [ERNE_OP_MOE_ROUTE] = fill_zeros,
};

void erne_node_trial_fill(struct erne_node_trial *t, uint64_t seed)
{
    const struct erne_node *node = erne_node_trial_node(t);

    memset(node->dst->data, 0, node->dst->n_bytes);
    for (int i = 0; i < ERNE_MAX_SRC; i++) {
        const fill_fn fill_indices = index_fills[node->op];
        struct erne_tensor *x = node->src[i];
        uint64_t state = seed + (uint64_t)i;

        if (!x || x->mem == ERNE_MEM_WEIGHT || x->type == ERNE_TYPE_BANK)
            continue;
        assert(x->type != ERNE_TYPE_I32 || fill_indices);
        if (x->type == ERNE_TYPE_I32)
            fill_indices(node, i, t->step.n_past, &state);
        else if (node->op == ERNE_OP_MOE_FFN && i == ERNE_SRC_WEIGHTS)
            fill_routing(x, &state, node->params.moe_ffn.n_used);
        else
            fill_floats(x, &state);
    }
}

/* -------------------------------------------------------------------- run */

int erne_node_trial_run(struct erne_node_trial *t, struct erne_error *err)
{
    return erne_plan_run(&t->plan, &t->step, err);
}

int erne_node_trial_repeat(struct erne_node_trial *t, uint64_t n)
{
    struct erne_backend *be = t->plan.order[0]->backend;

    for (uint64_t i = 0; i < n; i++)
        ERNE_TRY(be->fns->run(be, t->plan.order, 1, &t->step));
    return 0;
}

static double element(const struct erne_tensor *t, int64_t row, int64_t col)
{
    const int64_t i = row * t->stride + col;

    return (double)(t->type == ERNE_TYPE_F16
                        ? erne_f32_from_f16(((const uint16_t *)t->data)[i])
                        : ((const float *)t->data)[i]);
}

double erne_node_trial_error(const struct erne_node_trial *a,
                             const struct erne_node_trial *b)
{
    const struct erne_tensor *x = erne_node_trial_node(a)->dst;
    const struct erne_tensor *y = erne_node_trial_node(b)->dst;
    const int64_t n_a = erne_tensor_rows(x, &a->step),
                  n_b = erne_tensor_rows(y, &b->step);
    double squares = 0, wanted = 0;

    for (int64_t row = 0; row < n_a && row < n_b; row++)
        for (int64_t col = 0; col < erne_tensor_cols(x); col++) {
            const double want = element(y, row, col);
            const double off = element(x, row, col) - want;

            squares += off * off;
            wanted += want * want;
        }
    if (!isfinite(squares) || !isfinite(wanted))
        return HUGE_VAL;
    if (squares <= 0)
        return 0;
    return wanted > 0 ? sqrt(squares / wanted) : HUGE_VAL;
}
