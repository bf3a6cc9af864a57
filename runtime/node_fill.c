/* node_fill.c -- see node_fill.h. */
#include "runtime/node_fill.h"

#include <string.h>

#include "runtime/kv_row.h"

enum { MAX_ROW = 1024 }; /* numbers of a row of a cache */

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t roll(uint64_t *rng)
{
    uint64_t z = *rng += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* 0 .. n - 1 */
static int32_t below(uint64_t *rng, int64_t n)
{
    return (int32_t)(roll(rng) % (uint64_t)n);
}

/* In (0, 1]. */
static float uniform(uint64_t *rng)
{
    return (float)((roll(rng) >> 40) + 1) * 0x1p-24f;
}

/* Mean 0, variance 1, at most 3.5 in magnitude: the sum of four uniform ones. */
static float normal(uint64_t *rng)
{
    const float sum = uniform(rng) + uniform(rng) + uniform(rng) + uniform(rng);

    return (sum - 2) * 1.7320508f;
}

static void fill_floats(const struct erne_tensor *t, uint64_t *rng)
{
    const size_t n = t->n_bytes / erne_type_bytes(t->type);

    for (size_t i = 0; i < n; i++) {
        if (t->type == ERNE_TYPE_F16)
            ((uint16_t *)t->data)[i] = erne_f16_from_f32(normal(rng));
        else
            ((float *)t->data)[i] = normal(rng);
    }
}

/* Rows of a quantised cache, as kv_append writes them. */
static void fill_codes(const struct erne_tensor *t, uint64_t *rng)
{
    const int64_t d = erne_kv_head_dim(t);
    const size_t len = (size_t)t->dim[3], n_rows = t->n_bytes / len;
    float x[MAX_ROW] = { 0 };

    for (size_t r = 0; r < n_rows; r++) {
        for (int64_t i = 0; i < d; i++)
            x[i] = normal(rng);
        erne_kv_encode(t->type, (uint8_t *)t->data + r * len, x, d);
    }
}

/* All rows of an index tensor, below n. */
static void fill_below(const struct erne_tensor *t, int64_t n, uint64_t *rng)
{
    for (size_t i = 0; i < t->n_bytes / sizeof(int32_t); i++)
        ((int32_t *)t->data)[i] = below(rng, n);
}

/* 0 .. n - 1 in random order. */
static void shuffle(int32_t *values, int32_t n, uint64_t *rng)
{
    for (int32_t i = 0; i < n; i++) {
        const int32_t j = below(rng, i + 1);

        values[i] = values[j];
        values[j] = i;
    }
}

/* --------------------------------------------------- indices, by operator */

static void fill_embed(const struct erne_node *node, const struct erne_step *step,
                       uint64_t *rng)
{
    (void)step;
    fill_below(node->src[ERNE_SRC_X], node->src[ERNE_SRC_W]->dim[0], rng);
}

static void fill_rope(const struct erne_node *node, const struct erne_step *step,
                      uint64_t *rng)
{
    (void)step;
    fill_below(node->src[ERNE_SRC_POSITION], 4096, rng);
}

/* first, first + 1 ... */
static void fill_run(const struct erne_tensor *t, int32_t first, int32_t n)
{
    memset(t->data, 0, t->n_bytes);
    for (int32_t i = 0; i < n; i++)
        ((int32_t *)t->data)[i] = first + i;
}

static void fill_kv_append(const struct erne_node *node, const struct erne_step *step,
                           uint64_t *rng)
{
    (void)rng;
    fill_run(node->src[ERNE_SRC_SLOT], step->n_past, step->n_tok);
}

static void fill_attention(const struct erne_node *node, const struct erne_step *step,
                           uint64_t *rng)
{
    const struct erne_tensor *table = node->src[ERNE_SRC_TABLE];
    const int32_t n = (int32_t)erne_tensor_rows(node->src[ERNE_SRC_QPOS], step);

    shuffle(table->data, (int32_t)table->dim[0], rng);
    /* Of outputs the last n rows of a step. */
    fill_run(node->src[ERNE_SRC_QPOS], step->n_past + step->n_tok - n, n);
}

/* Two segments. */
static void fill_segments(const struct erne_node *node, const struct erne_step *step,
                          uint64_t *rng)
{
    const struct erne_tensor *bounds = node->src[ERNE_SRC_BOUNDS];
    const int32_t n = (int32_t)erne_tensor_rows(bounds, step);
    const int32_t cut = n > 1 ? 1 + below(rng, n - 1) : n;

    for (int32_t i = 0; i < n; i++) {
        ((int32_t *)bounds->data)[2 * i] = i < cut ? 0 : cut;
        ((int32_t *)bounds->data)[2 * i + 1] = i < cut ? cut : n;
    }
}

static void fill_gather(const struct erne_node *node, const struct erne_step *step,
                        uint64_t *rng)
{
    fill_below(node->src[ERNE_SRC_ROWS], erne_tensor_rows(node->src[ERNE_SRC_X], step),
               rng);
}

/* Some rows stay as they are: -1. */
static void fill_scatter(const struct erne_node *node, const struct erne_step *step,
                         uint64_t *rng)
{
    const struct erne_tensor *rows = node->src[ERNE_SRC_FROM_ROWS];
    const int64_t n = erne_tensor_rows(node->src[ERNE_SRC_FROM], step);

    for (size_t i = 0; i < rows->n_bytes / sizeof(int32_t); i++)
        ((int32_t *)rows->data)[i] = below(rng, n + 1) - 1;
}

static void fill_route(const struct erne_node *node, const struct erne_step *step,
                       uint64_t *rng)
{
    (void)step;
    if (node->src[ERNE_SRC_KIND])
        fill_below(node->src[ERNE_SRC_KIND], node->params.moe_route.n_banks, rng);
}

/* A token has a weight for n_used of the experts; the last of several for one fewer. */
static void fill_moe(const struct erne_node *node, const struct erne_step *step,
                     uint64_t *rng)
{
    const struct erne_tensor *weights = node->src[ERNE_SRC_WEIGHTS];
    const int32_t n_used = node->params.moe_ffn.n_used;
    const int64_t n_rows = erne_tensor_rows(weights, step);

    for (int64_t t = 0; t < n_rows; t++) {
        float *row = (float *)weights->data + t * weights->stride;
        int32_t left = n_used - (t > 0 && t == n_rows - 1);

        memset(row, 0, (size_t)weights->dim[1] * sizeof(*row));
        while (left > 0) {
            float *w = &row[below(rng, weights->dim[1])];

            left -= *w == 0;
            *w = uniform(rng) / (float)n_used;
        }
    }
}

static void (*const fillers[ERNE_OP_COUNT])(const struct erne_node *node,
                                            const struct erne_step *step,
                                            uint64_t *rng) = {
    [ERNE_OP_EMBED] = fill_embed,
    [ERNE_OP_ROPE] = fill_rope,
    [ERNE_OP_KV_APPEND] = fill_kv_append,
    [ERNE_OP_ATTENTION] = fill_attention,
    [ERNE_OP_SEGMENT_ATTENTION] = fill_segments,
    [ERNE_OP_GATHER_ROWS] = fill_gather,
    [ERNE_OP_SCATTER_ROWS] = fill_scatter,
    [ERNE_OP_MOE_ROUTE] = fill_route,
    [ERNE_OP_MOE_FFN] = fill_moe,
};

void erne_node_fill(const struct erne_node *node, const struct erne_step *step,
                    uint64_t *rng)
{
    for (int i = 0; i <= ERNE_MAX_SRC; i++) {
        struct erne_tensor *t = i < ERNE_MAX_SRC ? node->src[i] : node->dst;
        struct erne_tensor *root = t ? erne_tensor_root(t) : NULL;

        if (!root || root->mem == ERNE_MEM_WEIGHT)
            continue;
        if (erne_kv_is_quantised(root->type))
            fill_codes(root, rng);
        else if (root->type == ERNE_TYPE_F32 || root->type == ERNE_TYPE_F16)
            fill_floats(root, rng);
    }
    if (fillers[node->op])
        fillers[node->op](node, step, rng);
}

int32_t erne_node_any_past(const struct erne_node *node, int32_t n_tok, uint64_t *rng)
{
    const struct erne_tensor *cache = NULL;

    if (node->op == ERNE_OP_KV_APPEND)
        cache = node->dst;
    if (node->op == ERNE_OP_ATTENTION)
        cache = node->src[ERNE_SRC_K];
    return cache ? below(rng, cache->dim[0] * ERNE_KV_PAGE - n_tok + 1) : 0;
}
