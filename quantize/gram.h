/* gram.h -- the sum of x^T x over many rows x: how a layer's inputs vary together. */
#ifndef ERNE_GRAM_H
#define ERNE_GRAM_H

#include <stdint.h>

/* A share of the rows of h, so that threads can divide the work: row i belongs to thread
 * i % n_threads. */
struct gram_share {
    int64_t thread, n_threads;
};

/* h: [k, k], its upper triangle += that of x^T x; x: n_rows rows of k floats, ldx apart.
 * The bits do not depend on the number of threads. */
void gram_add(float *h, int64_t k, const float *x, int64_t ldx, int64_t n_rows,
              struct gram_share share);

#endif
