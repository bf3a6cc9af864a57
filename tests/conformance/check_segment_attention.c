/* check_segment_attention.c -- cases of segment_attention: sizes of heads, segments that
 * begin and end inside tiles, one row to many. The bound is that of check_attention.c.
 *
 * Where the node allows rounding, q, k, v and the weights of v may be off by 2^-8 of
 * themselves: a score by 2^-7 sum |q||k| and its weight by that much as a factor. For
 * normal inputs roundings are independent and leave about 0.3 % of the natural size of a
 * sum, sqrt(sum w^2 v^2): 1 % of it bounds the root of their mean square, 7 % each.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "tests/conformance/op_case.h"

enum { SEGMENTS_MAX = 4 };

static const struct {
    int32_t n_heads, d;
    int64_t gap;
    int32_t segment[SEGMENTS_MAX]; /* rows of each */
    bool bench, rounds;
} shapes[] = {
    { 1, 2, 0, { 1 }, false, false },
    { 1, 16, 0, { 1, 1, 2, 3 }, false, false },
    { 2, 72, 0, { 16 }, false, false },
    { 2, 80, 7, { 36, 36 }, false, false },
    { 3, 20, 0, { 63, 2, 64 }, false, false },
    { 1, 64, 0, { 64, 64 }, false, false },
    { 1, 96, 5, { 65, 1 }, false, false },
    { 2, 128, 0, { 130 }, false, false },
    { 1, 130, 0, { 47, 50 }, false, false },
    { 1, 256, 0, { 30 }, false, false },
    { 2, 16, 0, { 200, 56 }, false, false },
    { 1, 2, 0, { 1 }, false, true },
    { 1, 16, 0, { 1, 1, 2, 3 }, false, true },
    { 2, 80, 7, { 36, 36 }, false, true },
    { 3, 20, 0, { 63, 2, 64 }, false, true },
    { 2, 128, 3, { 130 }, false, true },
    { 1, 130, 0, { 47, 50 }, false, true },
    { 1, 72, 0, { 255, 5, 303, 17 }, false, true },
    { 16, 80, 0, { 1024 }, true, false },
    { 16, 80, 0, { 1024 }, true, true },
    { 16, 72, 0, { 1024 }, true, true },
};

static size_t count(void)
{
    return ERNE_ARRAY_LEN(shapes);
}

static int32_t n_rows_of(size_t i)
{
    int32_t n = 0;

    for (int s = 0; s < SEGMENTS_MAX; s++)
        n += shapes[i].segment[s];
    return n;
}

static void describe(size_t i, char name[OP_CASE_NAME_MAX])
{
    snprintf(name, OP_CASE_NAME_MAX, "P%d+%d H%d d%d%s%s", shapes[i].segment[0],
             n_rows_of(i) - shapes[i].segment[0], shapes[i].n_heads, shapes[i].d,
             shapes[i].rounds ? " rounds" : "", shapes[i].gap ? " view" : "");
}

static bool is_bench(size_t i)
{
    return shapes[i].bench;
}

static void build(struct op_trial *t, size_t i)
{
    static const char *const names[] = { "q", "k", "v" };
    const int64_t n_cols = (int64_t)shapes[i].n_heads * shapes[i].d;
    struct erne_tensor **src = t->node.src;
    int32_t row = 0, *bounds;

    t->step.n_tok = n_rows_of(i);
    t->node.params.segment_attention.n_heads = shapes[i].n_heads;
    t->node.params.segment_attention.head_dim = shapes[i].d;
    t->node.params.segment_attention.scale = 1.0f / sqrtf((float)shapes[i].d);
    t->node.params.segment_attention.rounds = shapes[i].rounds;
    for (int k = 0; k < 3; k++) {
        src[k] = op_add_rows(t, names[k], ERNE_ROWS_TOKENS, n_cols, shapes[i].gap);
        op_fill_rows(t, src[k], t->fill == OP_FILL_LARGE ? 1e-12f : 1.0f);
    }
    src[ERNE_SRC_BOUNDS] = op_add_index_rows(t, "bounds", ERNE_ROWS_TOKENS, 0, 2);
    bounds = src[ERNE_SRC_BOUNDS]->data;
    for (int s = 0; s < SEGMENTS_MAX; s++) {
        for (int32_t r = 0; r < shapes[i].segment[s]; r++) {
            bounds[2 * (row + r)] = row;
            bounds[2 * (row + r) + 1] = row + shapes[i].segment[s];
        }
        row += shapes[i].segment[s];
    }
    op_add_dst(t, 0, shapes[i].gap);
}

/* Weights of the rows that row r sees, into w; answers the largest sum |q||k| scale. */
static double weights_of(const struct op_trial *t, int64_t r, int64_t head, double *w)
{
    const struct erne_tensor *k = t->node.src[ERNE_SRC_K];
    const int32_t *bounds = (int32_t *)t->node.src[ERNE_SRC_BOUNDS]->data + 2 * r;
    const int64_t d = t->node.params.segment_attention.head_dim;
    const double scale = (double)t->node.params.segment_attention.scale;
    const float *q = op_row(t->node.src[ERNE_SRC_X], r) + head * d;
    double most = 0, max = -(double)INFINITY, sum = 0;

    for (int32_t j = bounds[0]; j < bounds[1]; j++) {
        double score = 0, size = 0;

        for (int64_t c = 0; c < d; c++) {
            const double term = (double)q[c] * (double)op_row(k, j)[head * d + c];

            score += term;
            size += fabs(term);
        }
        w[j] = score * scale;
        most = fmax(most, size * scale);
        max = fmax(max, w[j]);
    }
    for (int32_t j = bounds[0]; j < bounds[1]; j++)
        sum += w[j] = exp(w[j] - max);
    for (int32_t j = bounds[0]; j < bounds[1]; j++)
        w[j] /= sum;
    return most;
}

/* bound: [d] of one head of row r. Answers the sum of the natural sizes' squares. */
static double bound_head(const struct op_trial *t, double *bound, int64_t r, int64_t head)
{
    static const double flushed = 1e-30; /* weights that f32 rounds to zero */
    const struct erne_tensor *v = t->node.src[ERNE_SRC_V];
    const int32_t *bounds = (int32_t *)t->node.src[ERNE_SRC_BOUNDS]->data + 2 * r;
    const int64_t d = t->node.params.segment_attention.head_dim;
    const double u = t->node.params.segment_attention.rounds ? 0x1p-8 : 0;
    double w[1024], energy_of_all = 0;
    const double most = weights_of(t, r, head, w);
    const double e = 1e-5 + 4e-3 * u + (1e-6 + 2 * u + u * u) * most;

    for (int64_t c = 0; c < d; c++) {
        double mean = 0, max = 0, energy = 0;

        for (int32_t j = bounds[0]; j < bounds[1]; j++) {
            const double size = fabs((double)op_row(v, j)[head * d + c]);

            mean += w[j] * size;
            energy += w[j] * size * w[j] * size;
            max = fmax(max, size);
        }
        bound[c] = mean * (exp(2 * e) * (1 + u) * (1 + u) - 1);
        if (u > 0 && t->fill == OP_FILL_NORMAL)
            bound[c] = fmin(bound[c], 0.07 * sqrt(energy) + 1e-5 * mean);
        bound[c] += flushed * max * t->step.n_tok;
        bound[c] = fmin(bound[c], 2 * max) + (double)FLT_MIN;
        energy_of_all += energy;
    }
    return energy_of_all;
}

static void bound(struct op_trial *t)
{
    enum { RMS_SAMPLE = 64 }; /* fewer elements have no meaningful mean */
    const int64_t d = t->node.params.segment_attention.head_dim;
    const int64_t n_heads = t->node.params.segment_attention.n_heads;
    const int64_t n = t->step.n_tok * n_heads * d;
    double energy = 0;

    for (int64_t r = 0; r < t->step.n_tok; r++)
        for (int64_t h = 0; h < n_heads; h++)
            energy += bound_head(t, t->bound + (r * n_heads + h) * d, r, h);
    if (t->node.params.segment_attention.rounds && t->fill == OP_FILL_NORMAL &&
        n >= RMS_SAMPLE)
        t->rms_limit = 0.01 * sqrt(energy / (double)n);
}

static struct op_work work(const struct op_trial *t)
{
    const int32_t *bounds = t->node.src[ERNE_SRC_BOUNDS]->data;
    const double n_cols = (double)t->node.dst->dim[1];
    double seen = 0;

    for (int64_t r = 0; r < t->step.n_tok; r++)
        seen += bounds[2 * r + 1] - bounds[2 * r];
    return (struct op_work){ .n_bytes = 16 * t->step.n_tok * n_cols,
                             .n_ops = 4 * seen * n_cols };
}

const struct op_case_table erne_check_segment_attention = {
    .count = count,
    .describe = describe,
    .is_bench = is_bench,
    .build = build,
    .bound = bound,
    .work = work,
};
