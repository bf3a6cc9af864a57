/* ref_attention.c -- causal attention with grouped query heads over the paged KV cache.
 *
 *     dst[t, h] = sum_i softmax_i(scale * q[t, h] . k[i, g]) * v[i, g],  g = h / (H /
 * H_kv)
 *
 * over positions i = 0 .. position[t]. Position i lives in page table[i / ERNE_KV_PAGE],
 * at place i % ERNE_KV_PAGE. (Vaswani et al. 2017, 1706.03762; Ainslie et al. 2023,
 * 2305.13245; paging as in Kwon et al. 2023, 2309.06180.)
 */
#include <math.h>
#include <string.h>

#include "backends/reference/ref_backend.h"
#include "runtime/kv_row.h"

/* One head of one cache as the token at hand sees it. */
struct head_view {
    const struct erne_tensor *cache; /* [P, H_kv, ERNE_KV_PAGE, row] */
    const int32_t *table;            /* [P] */
    int64_t head;
};

/* A position's row: x [d]. */
static void load(float *x, const struct head_view *v, int64_t position)
{
    const struct erne_tensor *cache = v->cache;
    const int64_t d = erne_kv_head_dim(cache);
    const int64_t page = v->table[position / ERNE_KV_PAGE];
    const int64_t place = position % ERNE_KV_PAGE;
    const int64_t at =
        ((page * cache->dim[1] + v->head) * ERNE_KV_PAGE + place) * cache->dim[3];

    if (erne_kv_is_quantised(cache->type))
        erne_kv_decode(cache->type, x, (const uint8_t *)cache->data + at, d);
    if (cache->type == ERNE_TYPE_Q4)
        erne_kv_rotate(x, d);
    for (int64_t c = 0; c < d && cache->type == ERNE_TYPE_F16; c++)
        x[c] = erne_f32_from_f16(((const uint16_t *)cache->data)[at + c]);
    if (cache->type == ERNE_TYPE_F32)
        memcpy(x, (const float *)cache->data + at, (size_t)d * sizeof(*x));
}

/* weights: [n], n >= 1; from scores to a distribution. */
static void softmax(double *weights, int64_t n)
{
    double max = weights[0], sum = 0;

    for (int64_t i = 1; i < n; i++)
        max = fmax(max, weights[i]);
    for (int64_t i = 0; i < n; i++)
        sum += weights[i] = exp(weights[i] - max);
    for (int64_t i = 0; i < n; i++)
        weights[i] /= sum;
}

/* What a head is computed in. */
struct work {
    double *weights; /* room for n positions */
    double *sums;    /* [d] */
    float *row;      /* [d] */
};

/* dst, q: [d] */
static void attend(float *dst, const float *q, const struct head_view *k,
                   const struct head_view *v, const struct work *w, int64_t n,
                   double scale)
{
    const int64_t d = erne_kv_head_dim(k->cache);

    for (int64_t i = 0; i < n; i++) {
        double dot = 0;

        load(w->row, k, i);
        for (int64_t c = 0; c < d; c++)
            dot += (double)q[c] * (double)w->row[c];
        w->weights[i] = scale * dot;
    }
    softmax(w->weights, n);
    for (int64_t c = 0; c < d; c++)
        w->sums[c] = 0;
    for (int64_t i = 0; i < n; i++) {
        load(w->row, v, i);
        for (int64_t c = 0; c < d; c++)
            w->sums[c] += w->weights[i] * (double)w->row[c];
    }
    for (int64_t c = 0; c < d; c++)
        dst[c] = (float)w->sums[c];
}

static int64_t n_positions(const struct erne_node *node)
{
    return node->src[ERNE_SRC_K]->dim[0] * ERNE_KV_PAGE;
}

/* q: [T, H * d], k, v: caches, table: i32 [P], position: i32 [T], dst: [T, H * d] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct erne_tensor *q = node->src[ERNE_SRC_X];
    const int32_t *table = node->src[ERNE_SRC_TABLE]->data;
    const int32_t *position = node->src[ERNE_SRC_QPOS]->data;
    const int64_t n_heads = node->params.attention.n_heads;
    const int64_t group = n_heads / node->params.attention.n_kv_heads;
    const int64_t d = node->params.attention.head_dim;
    const int64_t n_tok = erne_tensor_rows(q, step);
    double *weights = ref_scratch(be), *sums = weights + n_positions(node);
    const struct work work = { weights, sums, (float *)(void *)(sums + d) };

    for (int64_t t = 0; t < n_tok; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            const struct head_view k = { node->src[ERNE_SRC_K], table, h / group };
            const struct head_view v = { node->src[ERNE_SRC_V], table, h / group };

            attend(ref_row(node->dst, t) + h * d, ref_row(q, t) + h * d, &k, &v, &work,
                   position[t] + 1, (double)node->params.attention.scale);
        }
    return 0;
}

/* One weight a position that the cache can hold, sums, and a row. */
static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    const size_t d = (size_t)node->params.attention.head_dim;

    (void)be;
    return ((size_t)n_positions(node) + d) * sizeof(double) + d * sizeof(float);
}

const struct erne_op_impl erne_ref_attention = {
    .name = "plain", .quantised_kv = true, .scratch = scratch, .run = run
};
