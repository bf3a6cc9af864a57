/* ref_segment_attention.c -- attention of all rows of a segment to each other:
 *
 *     dst[i, h] = sum_j softmax_j(scale * q[i, h] . k[j, h]) * v[j, h]
 *
 * over the rows j = bounds[i][0] .. bounds[i][1] - 1. (Vaswani et al. 2017, 1706.03762)
 */
#include <math.h>

#include "backends/reference/ref_backend.h"

/* What one head of a row sees. */
struct view {
    const struct erne_tensor *k, *v; /* [P, H * d] */
    int64_t first, n;                /* rows */
    int64_t column, d;
    double scale;
};

static double dot(const float *a, const float *b, int64_t d)
{
    double sum = 0;

    for (int64_t c = 0; c < d; c++)
        sum += (double)a[c] * (double)b[c];
    return sum;
}

/* weights: [n] of n = view->n, summing to 1. */
static void weigh(double *weights, const float *q, const struct view *view)
{
    double max = -(double)INFINITY, sum = 0;

    for (int64_t j = 0; j < view->n; j++) {
        const float *k = ref_row(view->k, view->first + j) + view->column;

        weights[j] = view->scale * dot(q, k, view->d);
        max = fmax(max, weights[j]);
    }
    for (int64_t j = 0; j < view->n; j++)
        sum += weights[j] = exp(weights[j] - max);
    for (int64_t j = 0; j < view->n; j++)
        weights[j] /= sum;
}

/* dst, q: [d] of one head */
static void attend(float *dst, const float *q, const struct view *view, double *weights)
{
    weigh(weights, q, view);
    for (int64_t c = 0; c < view->d; c++) {
        double sum = 0;

        for (int64_t j = 0; j < view->n; j++)
            sum += weights[j] *
                   (double)ref_row(view->v, view->first + j)[view->column + c];
        dst[c] = (float)sum;
    }
}

/* q, k, v, dst: [P, H * d], bounds: i32 [P, 2] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct erne_tensor *q = node->src[ERNE_SRC_X];
    const int32_t *bounds = node->src[ERNE_SRC_BOUNDS]->data;
    const int64_t n_rows = erne_tensor_rows(q, step);
    const int64_t d = node->params.segment_attention.head_dim;

    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t column = 0; column < q->dim[1]; column += d) {
            const struct view view = { .k = node->src[ERNE_SRC_K],
                                       .v = node->src[ERNE_SRC_V],
                                       .first = bounds[2 * i],
                                       .n = bounds[2 * i + 1] - bounds[2 * i],
                                       .column = column,
                                       .d = d,
                                       .scale =
                                           (double)node->params.segment_attention.scale };

            attend(ref_row(node->dst, i) + column, ref_row(q, i) + column, &view,
                   ref_scratch(be));
        }
    return 0;
}

/* One weight a row. */
static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    (void)be;
    return (size_t)node->src[ERNE_SRC_X]->dim[0] * sizeof(double);
}

const struct erne_op_impl erne_ref_segment_attention = { .name = "plain",
                                                         .scratch = scratch,
                                                         .run = run };
