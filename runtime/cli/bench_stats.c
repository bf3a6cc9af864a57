/* bench_stats.c -- medians and intervals that hold whatever the noise looks like. */
#include "runtime/cli/bench_stats.h"

#include <math.h>
#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void bench_sort(double *x, size_t n)
{
    qsort(x, n, sizeof(*x), compare_doubles);
}

double bench_quantile(const double *x, size_t n, double p)
{
    const double at = p * (double)(n - 1);
    const size_t i = (size_t)at;

    return i + 1 < n ? x[i] + (at - (double)i) * (x[i + 1] - x[i]) : x[n - 1];
}

/* How many outer measurements on either side an interval for the median can do without.
 * The number of measurements below the median is binomial (n, 1/2), so the interval from
 * the k-th to the k-th from the end misses it with probability 2 P(X < k). */
static size_t outer(size_t n, double *coverage)
{
    double p = exp2(-(double)n), below = p; /* P(X = 0), P(X < 1) */
    size_t k = 1;

    while (2 * k < n) {
        p *= (double)(n - k + 1) / (double)k; /* P(X = k) */
        if (2 * (below + p) > 0.05)
            break;
        below += p;
        k++;
    }
    *coverage = n > 1 ? 1 - 2 * below : 0;
    return k - 1;
}

struct bench_summary bench_summarise(double *x, size_t n)
{
    struct bench_summary s = { 0 };
    double sum = 0, squares = 0;
    size_t k;

    for (size_t i = 0; i < n; i++)
        sum += x[i];
    s.mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - s.mean) * (x[i] - s.mean);
    s.stddev = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
    bench_sort(x, n);
    s.median = bench_quantile(x, n, 0.5);
    k = outer(n, &s.coverage);
    s.low = x[k];
    s.high = x[n - 1 - k];
    return s;
}

/* -------------------------------------------------------------- two samples */

enum { EXACT_MAX = 24 }; /* samples a side; beyond, the normal distribution will do */

/* p[i][u] is P(U = u), where U counts the pairs in which the first of two samples is the
 * larger; i is the size of the first, that of the second grows while this is filled. The
 * largest of all i + j values is of the first with probability i / (i + j), and beats the
 * j of the second then. */
struct u_table {
    double p[EXACT_MAX + 1][EXACT_MAX * EXACT_MAX + 1];
};

static void fill_u_table(struct u_table *t, size_t n, size_t m)
{
    const size_t most = n * m;

    for (size_t i = 0; i <= n; i++)
        for (size_t u = 0; u <= most; u++)
            t->p[i][u] = u == 0; /* m is 0 */
    for (size_t j = 1; j <= m; j++)
        for (size_t i = 1; i <= n; i++) {
            const double last_a = (double)i / (double)(i + j);

            for (size_t u = 0; u <= most; u++)
                t->p[i][u] = (1 - last_a) * t->p[i][u] +
                             (u >= j ? last_a * t->p[i - 1][u - j] : 0);
        }
}

/* How many differences may be cut off at either end so that 95 % are left; none where
 * there are too few. */
static size_t cut_exact(size_t n, size_t m, double *coverage)
{
    struct u_table *t = malloc(sizeof(*t));
    double missed; /* on one side: P(U <= cut) */
    size_t cut = 0;

    *coverage = 0;
    if (!t)
        return 0;
    fill_u_table(t, n, m);
    missed = t->p[n][0];
    while (2 * (cut + 1) < n * m && missed + t->p[n][cut + 1] <= 0.025)
        missed += t->p[n][++cut];
    *coverage = 1 - 2 * missed;
    free(t);
    return cut;
}

static size_t cut_normal(size_t n, size_t m, double *coverage)
{
    const double pairs = (double)n * (double)m;
    const double cut =
        pairs / 2 - 0.5 - 1.959964 * sqrt(pairs * (double)(n + m + 1) / 12);

    *coverage = cut >= 0 ? 0.95 : 0;
    return cut >= 0 ? (size_t)cut : 0;
}

struct bench_change bench_compare(const double *a, size_t n_a, const double *b,
                                  size_t n_b, double *differences)
{
    struct bench_change c = { 0 };
    const size_t n = n_a * n_b;
    size_t cut;

    for (size_t i = 0; i < n_a; i++)
        for (size_t j = 0; j < n_b; j++)
            differences[i * n_b + j] = log(b[j] / a[i]);
    bench_sort(differences, n);
    cut = n_a <= EXACT_MAX && n_b <= EXACT_MAX ? cut_exact(n_a, n_b, &c.coverage)
                                               : cut_normal(n_a, n_b, &c.coverage);
    c.shift = expm1(bench_quantile(differences, n, 0.5));
    c.low = expm1(differences[cut]);
    c.high = expm1(differences[n - 1 - cut]);
    return c;
}
