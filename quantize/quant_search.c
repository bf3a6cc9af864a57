/* quant_search.c -- rounding a group of weights with the least squared error.
 *
 * Candidates map the extreme of the group to a little more or less than the extreme code;
 * the best of them is improved by least squares. All are judged with their scale and
 * minimum as f16, so that what is chosen is best for the bits that are stored, also where
 * f16 is coarse (below 2^-14).
 */
#include "quantize/quant_search.h"

#include <float.h>
#include <math.h>

#include "platforms/compiler.h"
#include "runtime/include/erne.h"

struct search {
    struct erne_scheme scheme;
    const float *x, *weight; /* [n]; weight may be NULL */
    int64_t n;
    struct quant_fit best;
    double best_err;
};

enum { LANES = 8, CHUNK = 128 };

/* Weights of a chunk: times one changes no bit, so that both cases are one loop. */
#define ONES_8  1, 1, 1, 1, 1, 1, 1, 1
#define ONES_32 ONES_8, ONES_8, ONES_8, ONES_8
static const float ones[CHUNK] = { ONES_32, ONES_32, ONES_32, ONES_32 };

/* x minus what its code stands for. */
static inline float residue(const struct quant_fit *fit, float scale, float x)
{
    return x - fit->shift - scale * (quant_round(fit, x) - fit->zero);
}

/* Squared error of x: [n], n <= CHUNK, so that float sums stay exact enough; weight: [n].
 * Eight independent sums keep vector registers busy, in an order of additions that does
 * not depend on the compiler. */
ERNE_CLONES static double chunk_error(const struct quant_fit *in, const float *x,
                                      const float *weight, int64_t n)
{
    const struct quant_fit fit = *in; /* a copy that the stores below cannot alias */
    const float scale = erne_f32_from_f16(fit.scale);
    float sum[LANES] = { 0 };
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            const float d = residue(&fit, scale, x[i + l]);

            sum[l] += weight[i + l] * (d * d);
        }
    for (int l = 0; i < n; i++, l++) {
        const float d = residue(&fit, scale, x[i]);

        sum[l] += weight[i] * (d * d);
    }
    return (double)(((sum[0] + sum[4]) + (sum[1] + sum[5])) +
                    ((sum[2] + sum[6]) + (sum[3] + sum[7])));
}

/* f16 bits of x; a scale that would vanish becomes the smallest that does not. */
static uint16_t round_scale(float x)
{
    const uint16_t h = erne_f16_from_f32(x);

    return (h & 0x7fff) == 0 && x != 0.0f ? (uint16_t)(h | 1) : h;
}

/* Judges a scale and a minimum; keeps them if they are the best so far. */
static void try_fit(struct search *s, double scale, double minimum)
{
    struct quant_fit fit = s->best;
    double err = 0.0;
    float rounded;

    fit.scale = round_scale((float)scale);
    fit.minimum = s->scheme.asym ? erne_f16_from_f32((float)minimum) : 0;
    rounded = erne_f32_from_f16(fit.scale);
    fit.shift = erne_f32_from_f16(fit.minimum);
    if (!isfinite(rounded) || !isfinite(fit.shift))
        return;
    fit.inverse = rounded != 0.0f ? 1.0f / rounded : 0.0f;
    for (int64_t i = 0; i < s->n; i += CHUNK)
        err += chunk_error(&fit, s->x + i, s->weight ? s->weight + i : ones,
                           s->n - i < CHUNK ? s->n - i : CHUNK);
    if (err < s->best_err) {
        s->best = fit;
        s->best_err = err;
    }
}

/* Tries the scale and minimum that are best for the codes of the best fit so far:
 * weighted least squares of x against u = code - zero. */
static void refine(struct search *s)
{
    double n = 0.0, u = 0.0, uu = 0.0, x = 0.0, xu = 0.0, det, scale;

    for (int64_t i = 0; i < s->n; i++) {
        const double h = s->weight ? (double)s->weight[i] : 1.0;
        const double xi = h * (double)s->x[i];
        const double ui = (double)(quant_round(&s->best, s->x[i]) - s->best.zero);

        n += h;
        u += h * ui;
        uu += h * ui * ui;
        x += xi;
        xu += xi * ui;
    }
    det = s->scheme.asym ? n * uu - u * u : uu;
    if (det <= 0.0)
        return;
    scale = s->scheme.asym ? (n * xu - x * u) / det : xu / det;
    try_fit(s, scale, s->scheme.asym ? (x - scale * u) / n : 0.0);
}

/* Tenths of a code by which candidates shrink and stretch the range of codes. With 255
 * levels there is nothing to gain. */
static const struct {
    int least, most;
} steps[ERNE_CODEC_COUNT] = {
    [ERNE_CODEC_W8] = { 0, 0 },
    [ERNE_CODEC_W4] = { -9, 12 },
    [ERNE_CODEC_W2] = { -9, 24 },
};

/* Tries to map the range lo .. hi of the group to a little less and a little more than
 * the codes there are: more clips the tails, which pays in long groups and with few
 * levels. What is clipped of an asymmetric group is the upper end, both, or the lower.
 * EINVAL when f16 cannot hold the scale that clips nothing. */
static int search_range(struct search *s, float lo, float hi)
{
    const double n_codes = (double)(s->best.hi - s->best.lo);
    const double below = (double)(s->best.zero - s->best.lo);
    const double extreme = (double)(-lo > hi ? lo : hi);
    const double range = s->scheme.asym ? (double)hi - (double)lo : fabs(extreme);
    const double span = s->scheme.asym ? n_codes : below;
    /* Symmetric, and more codes below zero than above: the extreme goes there. */
    const double sign =
        !s->scheme.asym && n_codes < 2 * below && extreme > 0 ? -1.0 : 1.0;

    if (!isfinite(erne_f32_from_f16(erne_f16_from_f32((float)(range / span)))))
        return ERNE_EINVAL;
    for (int i = steps[s->scheme.codec].least; i <= steps[s->scheme.codec].most; i++) {
        const double scale = sign * range / (span + 0.1 * i);
        const double clipped = range - scale * n_codes;

        for (int half = 0; half <= (s->scheme.asym ? 2 : 0); half++)
            try_fit(s, scale,
                    (double)lo + 0.5 * half * clipped - scale * (double)s->best.lo);
    }
    return ERNE_OK;
}

/* x: [n]; finite values only. */
static int find_range(const float *x, int64_t n, float *lo, float *hi)
{
    *lo = *hi = x[0];
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return ERNE_EINVAL;
        *lo = x[i] < *lo ? x[i] : *lo;
        *hi = x[i] > *hi ? x[i] : *hi;
    }
    return ERNE_OK;
}

/* w8 stops at -127, so that kernels may negate a code. */
static void set_codes(struct quant_fit *fit, struct erne_scheme scheme)
{
    const int bits = erne_codec_bits(scheme.codec);

    fit->lo = bits == 8 ? -127.0f : 0.0f;
    fit->hi = bits == 8 ? 127.0f : (float)((1 << bits) - 1);
    fit->zero = scheme.asym ? 0.0f : 0.5f * (float)erne_codec_zero2(scheme.codec);
}

int quant_search(struct quant_fit *fit, struct erne_scheme scheme, const float *x,
                 const float *weight, int64_t n)
{
    struct search s = {
        .scheme = scheme, .x = x, .weight = weight, .n = n, .best_err = DBL_MAX
    };
    float lo, hi;

    set_codes(&s.best, scheme);
    if (find_range(x, n, &lo, &hi) < 0 || search_range(&s, lo, hi) < 0)
        return ERNE_EINVAL;
    if (!(s.best_err < DBL_MAX))
        return ERNE_EINVAL;
    refine(&s);
    refine(&s);
    *fit = s.best;
    return ERNE_OK;
}
