/* ref_layer_norm.c -- layer norm (Ba, Kiros, Hinton 2016, arXiv 1607.06450):
 * dst = (x - mean(x)) / sqrt(var(x) + eps) * w + bias, the variance that of all of x. */
#include <math.h>

#include "backends/reference/ref_backend.h"

/* x, w, bias, dst: [k] */
static void norm_row(float *dst, const float *x, const float *w, const float *bias,
                     int64_t k, double eps)
{
    double mean = 0, var = 0, factor;

    for (int64_t i = 0; i < k; i++)
        mean += (double)x[i];
    mean /= (double)k;
    for (int64_t i = 0; i < k; i++)
        var += ((double)x[i] - mean) * ((double)x[i] - mean);
    factor = 1.0 / sqrt(var / (double)k + eps);
    for (int64_t i = 0; i < k; i++)
        dst[i] =
            (float)(((double)x[i] - mean) * factor * (double)w[i] + (double)bias[i]);
}

/* x: [T, K], w, bias: [K], dst: [T, K] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const int64_t n_rows = erne_tensor_rows(x, step);

    (void)be;
    for (int64_t t = 0; t < n_rows; t++)
        norm_row(ref_row(node->dst, t), ref_row(x, t), node->src[ERNE_SRC_W]->data,
                 node->src[ERNE_SRC_NORM_BIAS]->data, x->dim[1],
                 (double)node->params.layer_norm.eps);
    return 0;
}

const struct erne_op_impl erne_ref_layer_norm = { .name = "plain", .run = run };
