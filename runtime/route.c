/* route.c -- see route.h. */
#include "runtime/route.h"

#include <math.h>
#include <stdbool.h>

/* p = softmax(logits) */
static void softmax(double *p, const float *logits, int32_t n)
{
    double max = -INFINITY, sum = 0;

    for (int32_t e = 0; e < n; e++)
        if ((double)logits[e] > max) /* fmax crashes gcc 12 for ARM here */
            max = (double)logits[e];
    for (int32_t e = 0; e < n; e++)
        sum += p[e] = exp((double)logits[e] - max);
    for (int32_t e = 0; e < n; e++)
        p[e] /= sum;
}

/* The expert not taken yet with the largest p + bias. */
static int32_t best_of(const struct erne_router *r, const double *p, const float *taken)
{
    int32_t best = -1;
    double most = 0;

    for (int32_t e = 0; e < r->n_experts; e++) {
        const double key = p[e] + (r->bias ? (double)r->bias[e] : 0);

        if (taken[e] > 0 || (best >= 0 && !(key > most)))
            continue;
        best = e;
        most = key;
    }
    return best;
}

void erne_route_token(const struct erne_router *r, const float *logits, float *weights,
                      double *p)
{
    double sum = 0;

    softmax(p, logits, r->n_experts);
    for (int32_t e = 0; e < r->n_experts; e++)
        weights[e] = 0;
    for (int32_t i = 0; i < r->n_used; i++) {
        const int32_t e = best_of(r, p, weights);

        weights[e] = 1;
        sum += p[e];
    }
    sum = fmax(sum, (double)r->norm_min);
    for (int32_t e = 0; e < r->n_experts; e++)
        if (weights[e] > 0)
            weights[e] = (float)(p[e] / sum);
}
