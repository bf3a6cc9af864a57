/* check_attention.c -- cases of attention: ratios of heads, sizes of heads, depths around
 * the pages' borders, decode steps and chunks of a prefill, pages in shuffled order.
 * Positions that a token may not see hold NaN where the step does not write them.
 *
 * Bound. A score s = scale q.k of f32 sums is off by e = 1e-6 scale sum |q||k|, and its
 * exponential by 1e-5 more (range reduction, online rescaling). Each weight is then off
 * by exp(2e) - 1 of itself, and the result by that part of sum w |v|. Where e is large
 * (adversarial sizes) only the range of v is left. Codes are what they stand for; those
 * of q4 are multiplied in a rotated space, where only the lengths of rows are known.
 * Where the node may round, u = 2^-8 is added for each factor, and keys below the normal
 * numbers of f16 may be zero.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kv_row.h"
#include "tests/conformance/op_case.h"

enum { BENCH = 1, ROUNDS = 2 };

static const struct {
    int32_t n_tok, n_past, n_heads, n_kv_heads, d;
    int64_t gap;
    unsigned is;
} shapes[] = {
    { 1, 0, 1, 1, 16, 0, 0 },
    { 1, 63, 2, 2, 32, 0, 0 },
    { 1, 64, 4, 2, 64, 0, 0 },
    { 1, 300, 8, 1, 80, 0, 0 },
    { 1, 300, 6, 2, 128, 256, 0 },
    { 2, 0, 3, 1, 20, 3, 0 },
    { 3, 62, 8, 1, 16, 0, 0 },
    { 5, 60, 2, 1, 64, 0, 0 },
    { 8, 0, 3, 3, 32, 0, 0 },
    { 16, 48, 4, 2, 16, 5, 0 },
    { 17, 100, 3, 1, 80, 0, 0 },
    { 33, 31, 2, 1, 128, 0, 0 },
    { 64, 0, 2, 2, 16, 0, 0 },
    { 64, 64, 1, 1, 32, 0, 0 },
    { 100, 30, 2, 1, 16, 0, 0 },
    { 1, 511, 5, 1, 256, 0, 0 },
    { 2, 510, 14, 2, 48, 0, 0 },
    { 4, 1022, 4, 1, 32, 7, 0 },
    { 5, 126, 6, 2, 96, 0, 0 },
    { 70, 0, 1, 1, 192, 0, 0 },
    { 9, 511, 8, 1, 40, 0, 0 },
    { 1, 4095, 16, 2, 128, 512, BENCH },
    { 128, 0, 16, 2, 128, 512, BENCH },
    { 1, 511, 16, 2, 128, 512, BENCH },
    /* whole and ragged groups of queries, first and last tokens of pages, sizes of heads
     * that a kernel takes in other pieces, too few queries, a size that it does not take
     */
    { 1, 0, 8, 1, 16, 0, ROUNDS },
    { 1, 63, 16, 2, 32, 0, ROUNDS },
    { 1, 640, 9, 1, 80, 0, ROUNDS },
    { 3, 62, 11, 1, 64, 3, ROUNDS },
    { 2, 190, 16, 1, 96, 0, ROUNDS },
    { 17, 100, 3, 1, 80, 0, ROUNDS },
    { 9, 511, 8, 2, 48, 0, ROUNDS },
    { 64, 64, 1, 1, 32, 0, ROUNDS },
    { 70, 0, 5, 1, 192, 5, ROUNDS },
    { 6, 126, 6, 2, 112, 0, ROUNDS },
    { 1, 100, 3, 1, 64, 0, ROUNDS },
    { 7, 30, 8, 1, 40, 0, ROUNDS },
    { 65, 63, 4, 1, 256, 0, ROUNDS },
    { 2, 150, 8, 1, 128, 0, ROUNDS },
    { 12, 60, 8, 1, 128, 0, ROUNDS },
    { 1, 1023, 16, 2, 128, 512, BENCH | ROUNDS },
    { 128, 0, 16, 2, 128, 512, BENCH | ROUNDS },
};

static const enum erne_type types[] = { ERNE_TYPE_F16, ERNE_TYPE_F32, ERNE_TYPE_Q8,
                                        ERNE_TYPE_Q4 };
static const char *const type_names[] = { "f16", "f32", "q8", "q4" };

static const double BF16_UNIT = 0x1p-8; /* roundings to it, generously */
enum { SPARE_PAGES = 2, PAGES_MAX = 72, D_MAX = 256 };

/* Case i is a shape with a type of the cache. */
static size_t count(void)
{
    return ERNE_ARRAY_LEN(shapes) * ERNE_ARRAY_LEN(types);
}

static size_t shape_of(size_t i)
{
    return i % ERNE_ARRAY_LEN(shapes);
}

static enum erne_type type_of(size_t i)
{
    return types[i / ERNE_ARRAY_LEN(shapes)];
}

static void describe(size_t i, char name[OP_CASE_NAME_MAX])
{
    const size_t s = shape_of(i);

    snprintf(name, OP_CASE_NAME_MAX, "%s T%d past%d H%d/%d d%d%s%s",
             type_names[i / ERNE_ARRAY_LEN(shapes)], shapes[s].n_tok, shapes[s].n_past,
             shapes[s].n_heads, shapes[s].n_kv_heads, shapes[s].d,
             shapes[s].is & ROUNDS ? " rounds" : "", shapes[s].gap ? " view" : "");
}

static bool is_bench(size_t i)
{
    return (shapes[shape_of(i)].is & BENCH) != 0;
}

/* Where the row of [position, head] begins in a cache. */
static uint8_t *cache_row(const struct op_trial *t, const struct erne_tensor *cache,
                          int64_t position, int64_t head)
{
    const int32_t *table = t->node.src[ERNE_SRC_TABLE]->data;
    const int64_t page = table[position / ERNE_KV_PAGE];
    const int64_t row =
        (page * cache->dim[1] + head) * ERNE_KV_PAGE + position % ERNE_KV_PAGE;

    return (uint8_t *)cache->data +
           (size_t)(row * cache->dim[3]) * erne_type_bytes(cache->type);
}

/* The numbers that a row stands for. */
static void load_row(float x[D_MAX], const struct op_trial *t,
                     const struct erne_tensor *cache, int64_t position, int64_t head)
{
    const int64_t d = erne_kv_head_dim(cache);
    const uint8_t *row = cache_row(t, cache, position, head);

    if (erne_kv_is_quantised(cache->type))
        erne_kv_decode(cache->type, x, row, d);
    if (cache->type == ERNE_TYPE_Q4)
        erne_kv_rotate(x, d);
    if (cache->type == ERNE_TYPE_F32)
        memcpy(x, row, (size_t)d * sizeof(*x));
    for (int64_t c = 0; c < d && cache->type == ERNE_TYPE_F16; c++)
        x[c] = erne_f32_from_f16(((const uint16_t *)(const void *)row)[c]);
}

static void store_row(struct op_trial *t, struct erne_tensor *cache, int64_t position,
                      int64_t head, const float x[D_MAX])
{
    const int64_t d = erne_kv_head_dim(cache);
    uint8_t *row = cache_row(t, cache, position, head);

    if (erne_kv_is_quantised(cache->type))
        erne_kv_encode(cache->type, row, x, d);
    if (cache->type == ERNE_TYPE_F32)
        memcpy(row, x, (size_t)d * sizeof(*x));
    for (int64_t c = 0; c < d && cache->type == ERNE_TYPE_F16; c++)
        ((uint16_t *)(void *)row)[c] = erne_f16_from_f32(x[c]);
}

/* Positions 0 .. n - 1 of a cache; f16 (also as a scale) holds magnitudes of 1e-7 to 1e4
 * of a fill. */
static void fill_cache(struct op_trial *t, struct erne_tensor *cache, int64_t n)
{
    const float scale = t->fill == OP_FILL_LARGE      ? 1e-12f
                        : t->fill == OP_FILL_DENORMAL ? 1e34f
                                                      : 1.0f;
    const int64_t d = erne_kv_head_dim(cache);
    float x[D_MAX];

    for (int64_t p = 0; p < n; p++)
        for (int64_t h = 0; h < cache->dim[1]; h++) {
            for (int64_t c = 0; c < d; c++)
                x[c] = scale * op_value(t, t->fill, c, d);
            store_row(t, cache, p, h, x);
        }
}

static void build(struct op_trial *t, size_t i)
{
    const size_t s = shape_of(i);
    const int32_t total = shapes[s].n_past + shapes[s].n_tok, d = shapes[s].d;
    const int32_t pages = (total + ERNE_KV_PAGE - 1) / ERNE_KV_PAGE + SPARE_PAGES;
    struct erne_tensor **src = t->node.src;

    t->step = (struct erne_step){ .n_tok = shapes[s].n_tok, .n_past = shapes[s].n_past };
    t->node.params.attention.n_heads = shapes[s].n_heads;
    t->node.params.attention.n_kv_heads = shapes[s].n_kv_heads;
    t->node.params.attention.head_dim = d;
    t->node.params.attention.scale = 1.0f / sqrtf((float)d);
    t->node.params.attention.rounds = (shapes[s].is & ROUNDS) != 0;
    src[ERNE_SRC_X] =
        op_add_rows(t, "q", ERNE_ROWS_TOKENS, shapes[s].n_heads * d, shapes[s].gap);
    src[ERNE_SRC_K] = op_add_cache(t, "k", type_of(i), pages, shapes[s].n_kv_heads,
                                   erne_kv_row_len(type_of(i), d));
    src[ERNE_SRC_V] = op_add_cache(t, "v", type_of(i), pages, shapes[s].n_kv_heads,
                                   erne_kv_row_len(type_of(i), d));
    src[ERNE_SRC_TABLE] = op_add_indices(t, "table", ERNE_ROWS_FIXED, pages);
    src[ERNE_SRC_QPOS] = op_add_indices(t, "position", ERNE_ROWS_TOKENS, 0);
    op_shuffle(t, src[ERNE_SRC_TABLE]->data, pages);
    op_fill_rows(t, src[ERNE_SRC_X], t->fill == OP_FILL_LARGE ? 1e-12f : 1.0f);
    fill_cache(t, src[ERNE_SRC_K], total);
    fill_cache(t, src[ERNE_SRC_V], total);
    for (int32_t n = 0; n < shapes[s].n_tok; n++)
        ((int32_t *)src[ERNE_SRC_QPOS]->data)[n] = shapes[s].n_past + n;
    op_add_dst(t, 0, shapes[s].gap);
}

static double norm(const float *x, int64_t d)
{
    double sum = 0;

    for (int64_t c = 0; c < d; c++)
        sum += (double)x[c] * (double)x[c];
    return sqrt(sum);
}

/* Weights of positions 0 .. n - 1, into w: [n]; answers the largest sum |q||k| scale, or
 * for rotated rows what bounds it. */
static double weights_of(const struct op_trial *t, const float *q, int64_t head,
                         double *w, int64_t n)
{
    const struct erne_tensor *k = t->node.src[ERNE_SRC_K];
    const int64_t d = erne_kv_head_dim(k);
    double most = 0, max = -(double)INFINITY, sum = 0;
    float row[D_MAX];

    for (int64_t p = 0; p < n; p++) {
        double score = 0, size = 0;

        load_row(row, t, k, p, head);
        for (int64_t c = 0; c < d; c++) {
            const double term = (double)q[c] * (double)row[c];

            score += term;
            size += fabs(term);
        }
        if (k->type == ERNE_TYPE_Q4)
            size = norm(q, d) * norm(row, d);
        w[p] = score * (double)t->node.params.attention.scale;
        most = fmax(most, size * (double)t->node.params.attention.scale);
        max = fmax(max, w[p]);
    }
    for (int64_t p = 0; p < n; p++)
        sum += w[p] = exp(w[p] - max);
    for (int64_t p = 0; p < n; p++)
        w[p] /= sum;
    return most;
}

/* By how much a score of q may be off, as the exponent of a factor of a weight; `most` as
 * weights_of answers it. */
static double error_of(const struct op_trial *t, const float *q, double most)
{
    static const double least_f16 = 6.2e-5;
    const int64_t d = t->node.params.attention.head_dim;
    double e = 1e-5 + 1e-6 * most, sum = 0;

    if (!t->node.params.attention.rounds)
        return e;
    e += 4e-3 * BF16_UNIT + (2 * BF16_UNIT + BF16_UNIT * BF16_UNIT) * most;
    for (int64_t c = 0; c < d; c++)
        sum += fabs((double)q[c]);
    return e + least_f16 * sum * (double)t->node.params.attention.scale;
}

/* bound: [d] of one query head that sees n positions. Answers the sum of the natural
 * sizes' squares. */
static double bound_head(const struct op_trial *t, double *bound, const float *q,
                         int64_t head, int64_t n)
{
    static const double flushed = 1e-30; /* weights that f32 rounds to zero */
    const double u = t->node.params.attention.rounds ? BF16_UNIT : 0;
    const struct erne_tensor *v = t->node.src[ERNE_SRC_V];
    const int64_t d = erne_kv_head_dim(v);
    double w[PAGES_MAX * ERNE_KV_PAGE], mean[D_MAX] = { 0 }, max[D_MAX] = { 0 };
    double energy[D_MAX] = { 0 }, energy_of_all = 0;
    const double e = error_of(t, q, weights_of(t, q, head, w, n));
    float row[D_MAX];

    for (int64_t p = 0; p < n; p++) {
        double length;

        load_row(row, t, v, p, head);
        length = norm(row, d);
        for (int64_t c = 0; c < d; c++) {
            const double size = v->type == ERNE_TYPE_Q4 ? length : fabs((double)row[c]);

            mean[c] += w[p] * size;
            energy[c] += w[p] * size * w[p] * size;
            max[c] = fmax(max[c], size);
        }
    }
    for (int64_t c = 0; c < d; c++) {
        bound[c] = mean[c] * (exp(2 * e) * (1 + u) * (1 + u) - 1);
        if (u > 0 && t->fill == OP_FILL_NORMAL)
            bound[c] = fmin(bound[c], 0.07 * sqrt(energy[c]) + 1e-5 * mean[c]);
        bound[c] += flushed * max[c] * (double)n;
        bound[c] = fmin(bound[c], 2 * max[c]) + (double)FLT_MIN;
        energy_of_all += energy[c];
    }
    return energy_of_all;
}

static void bound(struct op_trial *t)
{
    enum { RMS_SAMPLE = 64 }; /* fewer elements have no meaningful mean */
    const int64_t d = t->node.params.attention.head_dim;
    const int64_t n_heads = t->node.params.attention.n_heads;
    const int64_t n = t->step.n_tok * n_heads * d;
    double energy = 0;
    const int64_t group = n_heads / t->node.params.attention.n_kv_heads;

    for (int64_t r = 0; r < t->step.n_tok; r++)
        for (int64_t h = 0; h < n_heads; h++)
            energy += bound_head(t, t->bound + (r * n_heads + h) * d,
                                 op_row(t->node.src[ERNE_SRC_X], r) + h * d, h / group,
                                 t->step.n_past + r + 1);
    if (t->node.params.attention.rounds && t->fill == OP_FILL_NORMAL && n >= RMS_SAMPLE)
        t->rms_limit = 0.01 * sqrt(energy / (double)n);
}

static struct op_work work(const struct op_trial *t)
{
    const struct erne_tensor *k = t->node.src[ERNE_SRC_K];
    const double total = t->step.n_past + t->step.n_tok;
    const double seen = t->step.n_past + 0.5 * (t->step.n_tok + 1.0);
    const double row = (double)(k->dim[1] * k->dim[3]);
    const double q = t->step.n_tok * (double)t->node.dst->dim[1];

    return (struct op_work){
        .n_bytes = 2 * total * row * (double)erne_type_bytes(k->type) + 8 * q,
        .n_ops = 4 * seen * q,
    };
}

const struct op_case_table erne_check_attention = {
    .count = count,
    .describe = describe,
    .is_bench = is_bench,
    .build = build,
    .bound = bound,
    .work = work,
};
