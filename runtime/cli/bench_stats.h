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

#endif
