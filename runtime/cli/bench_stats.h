/* bench_stats.h -- what repeated measurements say, and whether two of them differ. */
#ifndef ERNE_BENCH_STATS_H
#define ERNE_BENCH_STATS_H

#include <stddef.h>

struct bench_summary {
    double mean, stddev; /* of the sample, n - 1; 0 for one measurement */
    double median;
    double low, high; /* an interval for the median, without assumptions */
    double coverage;  /* how sure it is: 0.95 or more from six measurements on */
};

/* x: [n], n >= 1; sorted afterwards. The interval is made of two of the measurements, as
 * near to the middle as 95 % allow; of the outermost ones where these do not reach it
 * (coverage says what they reach). */
struct bench_summary bench_summarise(double *x, size_t n);

/* The p-quantile (0..1) of sorted x, linear between neighbours. */
double bench_quantile(const double *x, size_t n, double p);

void bench_sort(double *x, size_t n);

/* How much longer b takes than a: 0.1 is a tenth longer. */
struct bench_change {
    double shift;     /* the median of all pairs' differences (Hodges and Lehmann) */
    double low, high; /* its interval, from the exact distribution of Mann and Whitney */
    double coverage;  /* 0.95 or more; less where the samples are too few for that */
};

/* a: [n_a], b: [n_b] times, at least one each; they are compared by ratio. differences:
 * [n_a * n_b] is scratch. */
struct bench_change bench_compare(const double *a, size_t n_a, const double *b,
                                  size_t n_b, double *differences);

#endif
