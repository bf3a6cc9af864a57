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
