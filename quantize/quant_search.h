/* quant_search.h -- the scale (and minimum) that loses least when a group of weights is
 * rounded to a few bits. The values are those that the file holds: f16. */
#ifndef QUANT_SEARCH_H
#define QUANT_SEARCH_H

#include "runtime/dtype.h"

/* How a group is stored: code = (x - shift) / scale + zero, rounded and clamped. */
struct quant_fit {
    uint16_t scale, minimum; /* f16 bits, as stored */
    float inverse;           /* 1 / scale; 0 for scale 0 */
    float shift;             /* the stored minimum; 0 for symmetric schemes */
    float zero;              /* the codec's zero point; 0 for asymmetric schemes */
    float lo, hi;            /* least and greatest code */
};

/* x: [n]; weight: [n], how much the square of each one's error counts, or NULL: all the
 * same. EINVAL when x has a NaN or an infinity, or needs a scale or minimum beyond the
 * range of f16. The same input gives the same fit on every machine. */
int quant_search(struct quant_fit *fit, struct erne_scheme scheme, const float *x,
                 const float *weight, int64_t n);

/* The code of x: an integer in lo .. hi. Adding and subtracting 1.5 * 2^23 rounds to the
 * nearest even integer, without a library call, in vector registers too. */
static inline float quant_round(const struct quant_fit *fit, float x)
{
    float c = (x - fit->shift) * fit->inverse + fit->zero;

    c = c < fit->lo ? fit->lo : c;
    c = c > fit->hi ? fit->hi : c;
    return c + 12582912.0f - 12582912.0f;
}

#endif
