/* gptq.c -- factors of the inputs, and rounding against them. See gptq.h.
 *
 * Rows are independent of each other, so a tile's 64 rows lie side by side and every loop
 * over them is a vector's. No sum depends on the machine or on the number of threads.
 */
#include "quantize/gptq.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "platforms/compiler.h"
#include "quantize/quant_search.h"
#include "runtime/arena.h"
#include "runtime/error.h"

/* ----------------------------------------------------------------- factor */

/* Sum of a[i] * b[i], eight sums at a time in an order that no compiler changes. */
ERNE_CLONES static double dot(const double *a, const double *b, int64_t n)
{
    double sum[8] = { 0 };
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            sum[l] += a[i + l] * b[i + l];
    for (int l = 0; i < n; i++, l++)
        sum[l] += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) +
           ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* r: [k, k], the upper triangle of H, becomes R of H = R R^T, from the last column on. */
static int decompose(double *r, int64_t k, const struct erne_ask *ask)
{
    for (int64_t c = k - 1; c >= 0; c--) {
        double *row_c = r + c * k;
        const int64_t n = k - 1 - c;
        const double d = row_c[c] - dot(row_c + c + 1, row_c + c + 1, n);

        if (erne_gives_up(ask))
            return ERNE_ECANCELLED;
        if (!(d > 0.0) || !isfinite(d))
            return ERNE_EINVAL;
        row_c[c] = sqrt(d);
        for (int64_t i = 0; i < c; i++) {
            double *row_i = r + i * k;

            row_i[c] = (row_i[c] - dot(row_i + c + 1, row_c + c + 1, n)) / row_c[c];
        }
    }
    return ERNE_OK;
}

int gptq_factor(float *factor, const float *h, int64_t n_few, double *work, int64_t k,
                const struct erne_ask *ask)
{
    const double unknown = n_few > 0 ? (double)k / 3.0 / (double)n_few : 0.0;
    double mean = 0.0, damp;

    for (int64_t i = 0; i < k; i++)
        mean += (double)h[i * k + i] / (double)k;
    if (!isfinite(mean))
        return ERNE_EINVAL;
    damp = mean > 0.0 ? (0.1 + unknown) * mean : 1.0;
    for (int64_t i = 0; i < k; i++) {
        for (int64_t j = i; j < k; j++)
            work[i * k + j] = (double)h[i * k + j];
        work[i * k + i] += damp;
    }
    ERNE_TRY(decompose(work, k, ask));
    for (int64_t c = 0; c < k; c++) {
        const double d = work[c * k + c];

        for (int64_t j = 0; j < c; j++)
            factor[c * k + j] = (float)(work[j * k + c] / d);
        factor[c * k + c] = (float)(d * d);
        memset(factor + c * k + c + 1, 0, (size_t)(k - 1 - c) * sizeof(*factor));
    }
    return ERNE_OK;
}

/* --------------------------------------------------------------- encoding */

/* Column by column, the rows of a tile side by side: 64 floats a column. */
struct gptq {
    const struct gptq_call *call;
    int n_rows;
    int64_t k, group, n_groups;
    float *errors;             /* [k][64]: weight minus what is stored */
    float *columns;            /* [group][64]: weights, corrected */
    float *row;                /* [group]: of one row */
    float *weights;            /* [k]: D */
    struct quant_fit *fits;    /* [64] */
    int8_t *codes;             /* [64, k] */
    uint16_t *scales, *minima; /* [64, n_groups] */
};

static void lay_out(struct gptq *g, struct erne_arena *a, struct erne_scheme scheme,
                    int64_t k)
{
    g->k = k;
    g->group = scheme.group != 0 && scheme.group < k ? scheme.group : k;
    g->n_groups = (k + g->group - 1) / g->group;
    const size_t n_scales = (size_t)(ERNE_TILE_ROWS * g->n_groups);

    g->errors = erne_arena_push(a, (size_t)(k * ERNE_TILE_ROWS) * sizeof(float), 64);
    g->columns =
        erne_arena_push(a, (size_t)(g->group * ERNE_TILE_ROWS) * sizeof(float), 64);
    g->row = erne_arena_push(a, (size_t)g->group * sizeof(float), 64);
    g->weights = erne_arena_push(a, (size_t)k * sizeof(float), 64);
    g->fits = erne_arena_push(a, ERNE_TILE_ROWS * sizeof(*g->fits), 64);
    g->codes = erne_arena_push(a, (size_t)(k * ERNE_TILE_ROWS), 64);
    g->scales = erne_arena_push(a, n_scales * sizeof(uint16_t), 64);
    g->minima = erne_arena_push(a, n_scales * sizeof(uint16_t), 64);
}

size_t gptq_work_bytes(struct erne_scheme scheme, int64_t k)
{
    struct erne_arena counting = { 0 };
    struct gptq g;

    lay_out(&g, &counting, scheme, k);
    return counting.used;
}

/* column [64] += what columns first .. end left over for column c. */
ERNE_CLONES static void correct(const struct gptq *g, float *column, int64_t c,
                                int64_t first, int64_t end)
{
    const float *u = g->call->factor + c * g->k;

    for (int64_t j = first; j < end; j++) {
        const float *e = g->errors + j * ERNE_TILE_ROWS;
        const float x = u[j];

        for (int r = 0; r < ERNE_TILE_ROWS; r++)
            column[r] += x * e[r];
    }
}

/* Scales and minima for columns first .. first + n, corrected as far as they can be. */
static int fit_group(struct gptq *g, int64_t first, int64_t n)
{
    for (int r = 0; r < g->n_rows; r++) {
        const int64_t at = r * g->n_groups + first / g->group;

        for (int64_t c = 0; c < n; c++)
            g->row[c] = g->columns[c * ERNE_TILE_ROWS + r];
        ERNE_TRY(
            quant_search(&g->fits[r], g->call->scheme, g->row, g->weights + first, n));
        g->scales[at] = g->fits[r].scale;
        g->minima[at] = g->fits[r].minimum;
    }
    return ERNE_OK;
}

/* Rounds column c, corrected: [64]; w: the weights themselves, row r at w + r * k. */
static void round_column(struct gptq *g, const float *column, const float *w, int64_t c)
{
    float *errors = g->errors + c * ERNE_TILE_ROWS;
    double cost = 0.0;

    for (int r = 0; r < g->n_rows; r++) {
        const struct quant_fit *fit = &g->fits[r];
        const float code = quant_round(fit, column[r]);
        const float stored =
            erne_f32_from_f16(fit->scale) * (code - fit->zero) + fit->shift;
        const double residue = (double)(column[r] - stored);

        g->codes[r * g->k + c] = (int8_t)code;
        errors[r] = w[r * g->k + c] - stored;
        cost += residue * residue;
    }
    if (g->call->cost)
        *g->call->cost += (double)g->weights[c] * cost;
}

static int encode_group(struct gptq *g, const float *src, int64_t first, int64_t n)
{
    for (int64_t c = 0; c < n; c++) {
        float *column = g->columns + c * ERNE_TILE_ROWS;

        for (int r = 0; r < g->n_rows; r++)
            column[r] = src[r * g->k + first + c];
        correct(g, column, first + c, 0, first);
    }
    ERNE_TRY(fit_group(g, first, n));
    for (int64_t c = 0; c < n; c++) {
        float *column = g->columns + c * ERNE_TILE_ROWS;

        correct(g, column, first + c, first, first + c);
        round_column(g, column, src, first + c);
    }
    return ERNE_OK;
}

int gptq_encode(const struct tile64_block *dst, const struct gptq_call *call,
                const float *src, int n_rows, int64_t k)
{
    struct erne_arena arena = { call->work, 0, gptq_work_bytes(call->scheme, k) };
    struct gptq g = { .call = call, .n_rows = n_rows };

    assert(n_rows >= 1 && n_rows <= ERNE_TILE_ROWS);
    assert(erne_codec_is_int(call->scheme.codec));
    lay_out(&g, &arena, call->scheme, k);
    /* Rows that do not exist make no errors. */
    memset(g.errors, 0, (size_t)(k * ERNE_TILE_ROWS) * sizeof(float));
    memset(g.columns, 0, (size_t)(g.group * ERNE_TILE_ROWS) * sizeof(float));
    for (int64_t c = 0; c < k; c++)
        g.weights[c] = call->factor[c * k + c];
    for (int64_t first = 0; first < k; first += g.group)
        ERNE_TRY(encode_group(&g, src, first, k - first < g.group ? k - first : g.group));
    tile64_pack(dst, call->scheme, call->planes, g.codes, g.scales, g.minima, n_rows, k);
    return ERNE_OK;
}
