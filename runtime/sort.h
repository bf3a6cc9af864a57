/* sort.h -- the order of measured values. */
#ifndef ERNE_SORT_H
#define ERNE_SORT_H

#include <stdlib.h>

static inline int erne_compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* x: [n], becomes ascending; the median is x[n / 2] then. */
static inline void erne_sort_doubles(double *x, size_t n)
{
    qsort(x, n, sizeof(*x), erne_compare_doubles);
}

#endif
