/* check_layer_norm.c -- cases of layer_norm.
 *
 * Bound. f32 sums of K terms in lanes of 8 or 16 are off by e = 1e-7 + K / 8 roundings of
 * 6e-8 of sum |x|; so is the mean, by e mean|x|, and each x - mean by that and by its own
 * rounding. The root is off by 4e-6 of itself and by what the mean's error adds to the
 * variance. Where all of x is the same, the deviations are nothing but rounding, which
 * 1 / sqrt(eps) amplifies; the bound says so. Denormals may be flushed.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "tests/conformance/op_case.h"

static const struct {
    int32_t n_tok;
    int64_t k, gap;
    bool bench;
} cases[] = {
    { 1, 1, 0, false },      { 1, 2, 0, false },    { 2, 7, 0, false },
    { 3, 16, 0, false },     { 5, 33, 3, false },   { 8, 64, 0, false },
    { 16, 100, 5, false },   { 17, 255, 0, false }, { 33, 48, 0, false },
    { 64, 32, 1, false },    { 3, 1152, 0, false }, { 2, 5120, 0, false },
    { 1024, 1280, 0, true },
};

static size_t count(void)
{
    return ERNE_ARRAY_LEN(cases);
}

static void describe(size_t i, char name[OP_CASE_NAME_MAX])
{
    snprintf(name, OP_CASE_NAME_MAX, "T%d K%" PRId64 "%s", cases[i].n_tok, cases[i].k,
             cases[i].gap ? " view" : "");
}

static bool is_bench(size_t i)
{
    return cases[i].bench;
}

static void build(struct op_trial *t, size_t i)
{
    t->step.n_tok = cases[i].n_tok;
    t->node.params.layer_norm.eps = 1e-6f;
    t->node.src[ERNE_SRC_X] =
        op_add_rows(t, "x", ERNE_ROWS_TOKENS, cases[i].k, cases[i].gap);
    t->node.src[ERNE_SRC_W] = op_add_vector(t, "w", cases[i].k);
    t->node.src[ERNE_SRC_NORM_BIAS] = op_add_vector(t, "bias", cases[i].k);
    /* Squares of large numbers must fit f32. */
    op_fill_rows(t, t->node.src[ERNE_SRC_X], t->fill == OP_FILL_LARGE ? 1e-3f : 1.0f);
    op_add_dst(t, 0, cases[i].gap);
}

static void bound_row(const struct op_trial *t, const float *x, int64_t row)
{
    const float *w = t->node.src[ERNE_SRC_W]->data;
    const float *bias = t->node.src[ERNE_SRC_NORM_BIAS]->data;
    const int64_t k = t->node.dst->dim[1];
    const double eps = (double)t->node.params.layer_norm.eps;
    double mean = 0, size = 0, var = 0, off, inv;

    for (int64_t c = 0; c < k; c++) {
        mean += (double)x[c] / (double)k;
        size += fabs((double)x[c]) / (double)k;
    }
    for (int64_t c = 0; c < k; c++)
        var += ((double)x[c] - mean) * ((double)x[c] - mean) / (double)k;
    off = size * (1e-7 + 6e-8 * (double)k / 8) + (double)FLT_MIN;
    inv = 1 / sqrt(var + eps);
    for (int64_t c = 0; c < k; c++) {
        const double diff = fabs((double)x[c] - mean);
        const double step = off + 1.2e-7 * (fabs((double)x[c]) + diff);

        t->bound[row * k + c] =
            fabs((double)w[c]) * inv * (step + diff * (4e-6 + off * off * inv * inv)) +
            2e-7 * (fabs(op_want(t, row, c)) + fabs((double)bias[c])) +
            (double)FLT_MIN * (1 + fabs((double)w[c]) * inv);
    }
}

static void bound(struct op_trial *t)
{
    for (int64_t r = 0; r < t->step.n_tok; r++)
        bound_row(t, op_row(t->node.src[ERNE_SRC_X], r), r);
}

static struct op_work work(const struct op_trial *t)
{
    const double n = t->step.n_tok * (double)t->node.dst->dim[1];

    return (struct op_work){ .n_bytes = 8 * n, .n_ops = 7 * n };
}

const struct op_case_table erne_check_layer_norm = {
    .count = count,
    .describe = describe,
    .is_bench = is_bench,
    .build = build,
    .bound = bound,
    .work = work,
};
