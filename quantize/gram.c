/* gram.c -- sums of outer products, eight rows of inputs at a time. See gram.h. */
#include "quantize/gram.h"

#include "platforms/compiler.h"

enum { ROWS = 8 };

/* h [n] += the sum of c[t] * x[t][..]; x: ROWS rows of n floats. */
ERNE_CLONES static void add_rows(float *restrict h, const float c[ROWS],
                                 const float *restrict x, int64_t ldx, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        const float *p = x + j;
        const float a =
            c[0] * p[0] + c[1] * p[ldx] + (c[2] * p[2 * ldx] + c[3] * p[3 * ldx]);
        const float b = c[4] * p[4 * ldx] + c[5] * p[5 * ldx] +
                        (c[6] * p[6 * ldx] + c[7] * p[7 * ldx]);

        h[j] += a + b;
    }
}

static void add_row(float *restrict h, float c, const float *restrict x, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        h[j] += c * x[j];
}

void gram_add(float *h, int64_t k, const float *x, int64_t ldx, int64_t n_rows,
              struct gram_share share)
{
    int64_t t = 0;

    for (; t + ROWS <= n_rows; t += ROWS, x += ROWS * ldx)
        for (int64_t i = share.thread; i < k; i += share.n_threads) {
            float c[ROWS];

            for (int r = 0; r < ROWS; r++)
                c[r] = x[r * ldx + i];
            add_rows(h + i * k + i, c, x + i, ldx, k - i);
        }
    for (; t < n_rows; t++, x += ldx)
        for (int64_t i = share.thread; i < k; i += share.n_threads)
            add_row(h + i * k + i, x[i], x + i, k - i);
}
