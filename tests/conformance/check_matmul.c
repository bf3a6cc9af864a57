/* check_matmul.c -- cases of matmul: every scheme, every epilogue, ragged sizes.
 *
 * Bounds, for y = sum_k x_k w_k with the weights as stored:
 *
 * Float schemes: |error| <= 1e-5 sum |x||w|, that is f32 sums of a few thousand terms in
 * any order. With bf16 weights an implementation may also round x to bf16, as the
 * processors' bf16 instructions want: 2^-8 |x| an input at most, and for normal inputs a
 * variance of at most (2^-7 x)^2 / 12; bounds follow as for integers below.
 *
 * Integer schemes: an implementation may round x to int8 by group of inputs (the weights'
 * group; the whole row for per-row schemes), with step s = max |x| / 127. What is rounded
 * away is at most s / 2 an input, so |error| <= sum_k s/2 |w_k|: the bound for
 * adversarial inputs, whose roundings may all point one way. For normal inputs they do
 * not: they are independent with variance s^2 / 12, and seven standard deviations bound
 * each element. Above that, the RMS error over all elements must be below 1 % of the RMS
 * of the sums' natural size, sqrt(sum x^2 w^2), or below what int8 costs these very
 * inputs where that is more: a short row may have an unlucky maximum. SWIGLU has the
 * errors of two such sums, but half of its gates are closed: its size is the product of
 * both; that of GELU is the sum's. With minima, codes and minima may be summed apart: f32
 * then rounds |w| + 2 |minimum|. The bound is the scheme's, not the implementation's:
 * none is trusted to say how it works.
 *
 * An implementation may flush denormals to zero: 2 FLT_MIN sum (|x| + |w| + 1) more.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quantize/tile64.h"
#include "tests/conformance/op_case.h"

enum { BIAS = 1, RESIDUAL = 2 };

enum {
    NONE = ERNE_ACT_NONE,
    ERF = ERNE_ACT_GELU_ERF,
    TANH = ERNE_ACT_GELU_TANH,
    QUICK = ERNE_ACT_GELU_QUICK
};

/* n_ff > 0: SWIGLU; N then is as many rows as n_ff takes. */
static const struct {
    int32_t n_tok;
    int64_t n, k, n_ff, gap;
    int extra;
    bool bench;
    int act;
} shapes[] = {
    { 1, 1, 1, 0, 0, 0, false, NONE },
    { 1, 64, 64, 0, 0, 0, false, NONE },
    { 1, 200, 160, 0, 0, BIAS | RESIDUAL, false, NONE },
    { 2, 65, 33, 0, 0, 0, false, NONE },
    { 2, 64, 1, 0, 0, 0, false, NONE },
    { 3, 64, 128, 0, 0, BIAS, false, NONE },
    { 5, 48, 100, 0, 3, RESIDUAL, false, NONE },
    { 8, 192, 64, 0, 0, BIAS | RESIDUAL, false, NONE },
    { 16, 64, 256, 0, 0, 0, false, NONE },
    { 17, 70, 96, 0, 7, 0, false, NONE },
    { 33, 40, 200, 0, 0, 0, false, NONE },
    { 64, 70, 64, 0, 5, RESIDUAL, false, NONE },
    { 100, 33, 40, 0, 0, BIAS, false, NONE },
    { 7, 64, 1120, 0, 0, 0, false, NONE },
    { 65, 64, 64, 0, 0, BIAS | RESIDUAL, false, NONE },
    { 1, 0, 96, 32, 0, 0, false, NONE },
    { 1, 0, 64, 7, 0, BIAS, false, NONE },
    { 3, 0, 100, 20, 3, 0, false, NONE },
    { 17, 0, 128, 50, 0, 0, false, NONE },
    { 33, 0, 65, 33, 0, BIAS | RESIDUAL, false, NONE },
    { 2, 66, 48, 0, 0, BIAS, false, ERF },
    { 17, 130, 100, 0, 3, BIAS | RESIDUAL, false, ERF },
    { 1, 64, 33, 0, 0, 0, false, TANH },
    { 33, 70, 128, 0, 0, BIAS, false, TANH },
    { 3, 100, 64, 0, 5, BIAS, false, QUICK },
    { 70, 64, 160, 0, 0, 0, false, QUICK },
    { 1, 2560, 1024, 0, 0, 0, true, NONE },
    { 1, 0, 1024, 3072, 0, 0, true, NONE },
    { 1, 1024, 3072, 0, 0, RESIDUAL, true, NONE },
    { 16, 2560, 1024, 0, 0, 0, true, NONE },
    { 256, 2560, 1024, 0, 0, 0, true, NONE },
    { 256, 0, 1024, 3072, 0, 0, true, NONE },
    { 1024, 5120, 1280, 0, 0, BIAS, true, QUICK },
};

/* Case i is a shape in a scheme. */
static size_t count(void)
{
    struct erne_scheme schemes[OP_SCHEMES_MAX];

    return ERNE_ARRAY_LEN(shapes) * op_schemes(schemes);
}

static size_t shape_of(size_t i)
{
    return i % ERNE_ARRAY_LEN(shapes);
}

static struct erne_scheme scheme_of(size_t i)
{
    struct erne_scheme schemes[OP_SCHEMES_MAX];

    op_schemes(schemes);
    return schemes[i / ERNE_ARRAY_LEN(shapes)];
}

static int64_t n_rows_of(size_t s)
{
    const int64_t n_runs = (shapes[s].n_ff + ERNE_SWIGLU_RUN - 1) / ERNE_SWIGLU_RUN;

    return shapes[s].n_ff ? 2 * ERNE_SWIGLU_RUN * n_runs : shapes[s].n;
}

static const char *const acts[ERNE_ACT_COUNT] = {
    [ERNE_ACT_NONE] = "",
    [ERNE_ACT_GELU_ERF] = " gelu",
    [ERNE_ACT_GELU_TANH] = " gelu_tanh",
    [ERNE_ACT_GELU_QUICK] = " gelu_quick",
};

static void describe(size_t i, char name[OP_CASE_NAME_MAX])
{
    const size_t s = shape_of(i);
    char scheme[ERNE_SCHEME_NAME_MAX], n[32];

    erne_scheme_name(scheme_of(i), scheme);
    snprintf(n, sizeof(n), shapes[s].n_ff ? "swiglu%" PRId64 : "N%" PRId64,
             shapes[s].n_ff ? shapes[s].n_ff : shapes[s].n);
    snprintf(name, OP_CASE_NAME_MAX, "%s T%d %s K%" PRId64 "%s%s%s%s", scheme,
             shapes[s].n_tok, n, shapes[s].k, acts[shapes[s].act],
             shapes[s].extra & BIAS ? " bias" : "",
             shapes[s].extra & RESIDUAL ? " residual" : "", shapes[s].gap ? " view" : "");
}

static bool is_bench(size_t i)
{
    return shapes[shape_of(i)].bench;
}

static void build(struct op_trial *t, size_t i)
{
    const size_t s = shape_of(i);
    const int64_t n = n_rows_of(s), n_ff = shapes[s].n_ff;
    struct erne_tensor **src = t->node.src;

    t->step.n_tok = shapes[s].n_tok;
    t->node.params.matmul.act = n_ff ? ERNE_ACT_SWIGLU : (enum erne_act)shapes[s].act;
    src[ERNE_SRC_X] = op_add_rows(t, "x", ERNE_ROWS_TOKENS, shapes[s].k, shapes[s].gap);
    src[ERNE_SRC_W] = op_add_weight(t, scheme_of(i), n, shapes[s].k);
    /* The product of two large sums would not fit f32. */
    op_fill_rows(t, src[ERNE_SRC_X], n_ff && t->fill == OP_FILL_LARGE ? 1e-3f : 1.0f);
    if (shapes[s].extra & BIAS)
        src[ERNE_SRC_BIAS] = op_add_vector(t, "bias", n);
    if (shapes[s].extra & RESIDUAL) {
        src[ERNE_SRC_RESIDUAL] =
            op_add_rows(t, "residual", ERNE_ROWS_TOKENS, n_ff ? n_ff : n, shapes[s].gap);
        op_fill_rows(t, src[ERNE_SRC_RESIDUAL], 1.0f);
    }
    op_add_dst(t, n_ff, shapes[s].gap);
}

/* ---------------------------------------------------------------- bounds */

/* One sum of the product and how far off it may be. */
struct sum {
    double value; /* sum x w + bias */
    double bound;
    double energy; /* sum x^2 w^2 */
    double noise;  /* the variance that rounding x to int8 costs */
};

/* A row of W as floats, and what bounds need of it. */
struct row {
    int64_t n;
    float *w;       /* [K] */
    double *abs;    /* [n_groups]: sums of |w| */
    double *square; /* [n_groups]: sums of w^2 */
    double *minima; /* [n_groups]: their magnitudes; 0 for schemes without */
};

/* What bound() walks over columns and tokens with. */
struct walk {
    struct op_trial *t;
    int64_t group, n_groups;
    bool is_int, is_bf16;
    double *step;       /* [n_tok, n_groups]: s = max |x| / 127 */
    struct row rows[2]; /* the row, or gate and up */
};

static void find_steps(struct walk *walk)
{
    const struct erne_tensor *x = walk->t->node.src[ERNE_SRC_X];

    for (int64_t token = 0; token < walk->t->step.n_tok; token++)
        for (int64_t i = 0; i < x->dim[1]; i++) {
            double *s = &walk->step[token * walk->n_groups + i / walk->group];

            *s = fmax(*s, fabs((double)op_row(x, token)[i]) / 127);
        }
}

/* |minimum| of row n and group g; see quantize/tile64.c for the order. */
static double minimum_of(const struct erne_tensor *w, int64_t n, int64_t g)
{
    const uint16_t *minima = erne_tensor_minima(w);
    const int64_t at = (n / ERNE_TILE_ROWS * w->planes.n_groups + g) * ERNE_TILE_ROWS +
                       n % ERNE_TILE_ROWS;

    return minima ? fabs((double)erne_f32_from_f16(minima[at])) : 0;
}

static void load_row(const struct walk *walk, struct row *row, int64_t n)
{
    const struct erne_tensor *w = walk->t->node.src[ERNE_SRC_W];

    row->n = n;
    tile64_decode_row(row->w, w->scheme, &w->planes, erne_tensor_codes(w),
                      erne_tensor_scales(w), erne_tensor_minima(w), n, w->dim[1]);
    for (int64_t g = 0; g < walk->n_groups; g++) {
        row->abs[g] = row->square[g] = 0;
        row->minima[g] = minimum_of(w, n, g);
    }
    for (int64_t i = 0; i < w->dim[1]; i++) {
        const double wi = (double)row->w[i];

        row->abs[i / walk->group] += fabs(wi);
        row->square[i / walk->group] += wi * wi;
    }
}

/* What rounding x to int8 may cost: the sum over inputs of s / 2 |w|, or, where the
 * roundings are independent, seven times the root of the sum of s^2 / 12 w^2. */
static void add_rounding(const struct walk *walk, struct sum *sum, const struct row *row,
                         int64_t token)
{
    const double *step = walk->step + token * walk->n_groups;
    double worst = 0;

    for (int64_t g = 0; g < walk->n_groups; g++) {
        worst += step[g] / 2 * row->abs[g];
        sum->noise += step[g] * step[g] / 12 * row->square[g];
    }
    sum->bound +=
        walk->t->fill == OP_FILL_NORMAL ? fmin(worst, 7 * sqrt(sum->noise)) : worst;
}

/* What rounding x to bf16 may cost, where size is at least the sum of |x||w|. */
static void add_bf16_rounding(const struct walk *walk, struct sum *sum, double size)
{
    const double worst = 0x1p-8 * size;

    sum->noise += 0x1p-14 / 12 * sum->energy;
    sum->bound +=
        walk->t->fill == OP_FILL_NORMAL ? fmin(worst, 7 * sqrt(sum->noise)) : worst;
}

static struct sum sum_of(const struct walk *walk, const struct row *row, int64_t token)
{
    const struct erne_tensor *bias = walk->t->node.src[ERNE_SRC_BIAS];
    const struct erne_tensor *x = walk->t->node.src[ERNE_SRC_X];
    const double b = bias ? (double)((const float *)bias->data)[row->n] : 0;
    struct sum sum = { .value = b };
    double size = fabs(b), flushed = 1;

    for (int64_t i = 0; i < x->dim[1]; i++) {
        const double xi = (double)op_row(x, token)[i], wi = (double)row->w[i];

        sum.value += xi * wi;
        sum.energy += xi * wi * (xi * wi);
        size += fabs(xi * wi) + 2 * fabs(xi) * row->minima[i / walk->group];
        flushed += fabs(xi) + fabs(wi) + 1;
    }
    sum.bound = 1e-5 * size + 2 * (double)FLT_MIN * flushed;
    if (walk->is_int)
        add_rounding(walk, &sum, row, token);
    if (walk->is_bf16)
        add_bf16_rounding(walk, &sum, size);
    return sum;
}

/* silu(g) up with |silu'| <= 1.1; f32 rounds the logistic function and the products. */
static struct sum swiglu_of(const struct sum *gate, const struct sum *up)
{
    const double g = gate->value, logistic = 1 / (1 + exp(-g)), silu = g * logistic;
    const double slope = logistic * (1 + g - silu);
    const double up_most = fabs(up->value) + up->bound;

    return (struct sum){
        .value = silu * up->value,
        .bound = 1.1 * gate->bound * up_most + fabs(silu) * up->bound +
                 1e-6 * fabs(g * up->value) + (double)FLT_MIN * (1 + up_most),
        .energy = gate->energy * up->energy,
        .noise =
            slope * slope * up->value * up->value * gate->noise + silu * silu * up->noise,
    };
}

/* The forms of GELU have slopes of at most 1.13, and f32 rounds their parts. Far below
 * zero, where they vanish, a product by an exponential that is clamped is left. */
static struct sum gelu_of(const struct sum *x)
{
    return (struct sum){
        .value = x->value, /* at most that */
        .bound = 1.13 * x->bound + 1e-6 * fabs(x->value) + (double)FLT_MIN,
        .energy = x->energy,
        .noise = 1.13 * 1.13 * x->noise,
    };
}

/* Bounds of column n of dst; adds the column's energy and noise to total. */
static void bound_column(struct walk *walk, int64_t n, struct sum *total)
{
    struct op_trial *t = walk->t;
    const bool swiglu = t->node.params.matmul.act == ERNE_ACT_SWIGLU;
    const int64_t gate =
        n / ERNE_SWIGLU_RUN * (2 * ERNE_SWIGLU_RUN) + n % ERNE_SWIGLU_RUN;

    load_row(walk, &walk->rows[0], swiglu ? gate : n);
    if (swiglu)
        load_row(walk, &walk->rows[1], gate + ERNE_SWIGLU_RUN);
    for (int64_t token = 0; token < t->step.n_tok; token++) {
        struct sum sum = sum_of(walk, &walk->rows[0], token);

        if (swiglu) {
            const struct sum up = sum_of(walk, &walk->rows[1], token);

            sum = swiglu_of(&sum, &up);
        } else if (t->node.params.matmul.act != ERNE_ACT_NONE) {
            sum = gelu_of(&sum);
        }
        total->energy += sum.energy;
        total->noise += sum.noise;
        /* The last addition and rounding, residual included. */
        t->bound[token * t->node.dst->dim[1] + n] =
            sum.bound + 2e-7 * (fabs(op_want(t, token, n)) + fabs(sum.value));
    }
}

/* 1 % of the size, or the noise with four standard deviations of its estimate from as
 * many roundings as there are. */
static double rms_limit_of(const struct walk *walk, const struct sum *total)
{
    const struct erne_node *node = &walk->t->node;
    const double n = walk->t->step.n_tok * (double)node->dst->dim[1];
    const double n_x = walk->t->step.n_tok * (double)node->src[ERNE_SRC_X]->dim[1];
    const double slack = 1 + 4 / sqrt(2 * fmin(n, n_x));

    return fmax(0.01 * sqrt(total->energy / n), slack * sqrt(total->noise / n));
}

static void *zeroed(int64_t n, size_t size)
{
    void *p = calloc((size_t)n, size);

    if (!p)
        abort();
    return p;
}

static void bound(struct op_trial *t)
{
    enum { RMS_SAMPLE = 64 }; /* fewer elements have no meaningful mean */
    const struct erne_tensor *w = t->node.src[ERNE_SRC_W];
    const int64_t k = w->dim[1], n_elements = t->step.n_tok * t->node.dst->dim[1];
    struct walk walk = { .t = t, .group = w->scheme.group ? w->scheme.group : k };
    struct sum total = { .value = 0 };

    walk.is_int = erne_codec_is_int(w->scheme.codec);
    walk.is_bf16 = w->scheme.codec == ERNE_CODEC_BF16;
    walk.n_groups = (k + walk.group - 1) / walk.group;
    walk.step = zeroed(t->step.n_tok * walk.n_groups, sizeof(double));
    for (int i = 0; i < 2; i++)
        walk.rows[i] = (struct row){ .w = zeroed(k, sizeof(float)),
                                     .abs = zeroed(walk.n_groups, sizeof(double)),
                                     .square = zeroed(walk.n_groups, sizeof(double)),
                                     .minima = zeroed(walk.n_groups, sizeof(double)) };
    find_steps(&walk);
    for (int64_t n = 0; n < t->node.dst->dim[1]; n++)
        bound_column(&walk, n, &total);
    const bool rounds = walk.is_int || walk.is_bf16;
    if (rounds && t->fill == OP_FILL_NORMAL && n_elements >= RMS_SAMPLE)
        t->rms_limit = rms_limit_of(&walk, &total);
    for (int i = 0; i < 2; i++) {
        free(walk.rows[i].w);
        free(walk.rows[i].abs);
        free(walk.rows[i].square);
        free(walk.rows[i].minima);
    }
    free(walk.step);
}

static struct op_work work(const struct op_trial *t)
{
    const struct erne_tensor *w = t->node.src[ERNE_SRC_W];
    const double n_tok = t->step.n_tok;

    return (struct op_work){
        .n_bytes = (double)w->planes.total_bytes +
                   4 * n_tok * (double)(w->dim[1] + t->node.dst->dim[1]),
        .n_ops = 2 * n_tok * (double)w->dim[0] * (double)w->dim[1],
    };
}

const struct op_case_table erne_check_matmul = {
    .count = count,
    .describe = describe,
    .is_bench = is_bench,
    .build = build,
    .bound = bound,
    .work = work,
};
