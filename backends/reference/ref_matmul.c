/* ref_matmul.c -- dst = act(x W^T + bias) + residual, W stored in any tile64 scheme.
 *
 * The meaning of every scheme: the weight is what tile64_decode_row says, the activation
 * is the f32 it is given. SWIGLU (Shazeer 2020, arXiv 2002.05202): rows of W alternate,
 * 16 gates then 16 ups, and dst = silu(gate) * up with silu(g) = g / (1 + exp(-g)).
 */
#include <math.h>

#include "backends/reference/ref_backend.h"
#include "quantize/tile64.h"

/* a, b: [k] */
static double dot(const float *a, const float *b, int64_t k)
{
    double sum = 0;

    for (int64_t i = 0; i < k; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Row n of W as floats: [K] */
static const float *decode(float *dst, const struct erne_tensor *w, int64_t n)
{
    tile64_decode_row(dst, w->scheme, &w->planes, erne_tensor_codes(w),
                      erne_tensor_scales(w), erne_tensor_minima(w), n, w->dim[1]);
    return dst;
}

static double bias_of(const struct erne_node *node, int64_t n)
{
    const struct erne_tensor *bias = node->src[ERNE_SRC_BIAS];

    return bias ? (double)((const float *)bias->data)[n] : 0;
}

/* x W^T + bias of token t and row n of W, whose floats are w: [K] */
static double linear(const struct erne_node *node, const float *w, int64_t t, int64_t n)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];

    return dot(ref_row(x, t), w, x->dim[1]) + bias_of(node, n);
}

static void store(const struct erne_node *node, int64_t t, int64_t n, double value)
{
    const struct erne_tensor *residual = node->src[ERNE_SRC_RESIDUAL];

    if (residual)
        value += (double)ref_row(residual, t)[n];
    ref_row(node->dst, t)[n] = (float)value;
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

/* The acts that work on each element. GELU (Hendrycks, Gimpel 2016, arXiv 1606.08415) is
 * x Phi(x); by erfc, since 1 + erf cancels far below zero. */
static double activate(enum erne_act act, double x)
{
    static const double root_half = 0.70710678118654752, root_2_pi = 0.79788456080286536;

    switch (act) {
    case ERNE_ACT_GELU_ERF: return 0.5 * x * erfc(-x * root_half);
    case ERNE_ACT_GELU_TANH:
        return x / (1 + exp(-2 * root_2_pi * (x + 0.044715 * x * x * x)));
    case ERNE_ACT_GELU_QUICK: return x / (1 + exp(-1.702 * x));
    default: return x;
    }
}

/* x: [T, K], w: tile64 [N, K], bias: [N], residual, dst: [T, N'] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const int64_t n_tok = erne_tensor_rows(node->dst, step), k = w->dim[1];
    const bool swiglu = node->params.matmul.act == ERNE_ACT_SWIGLU;
    float *row = ref_scratch(be);

    for (int64_t n = 0; n < node->dst->dim[1]; n++) {
        const int64_t run_start = n / ERNE_SWIGLU_RUN * (2 * ERNE_SWIGLU_RUN);
        const int64_t gate = run_start + n % ERNE_SWIGLU_RUN, up = gate + ERNE_SWIGLU_RUN;
        const float *w_first = decode(row, w, swiglu ? gate : n);
        const float *w_up = swiglu ? decode(row + k, w, up) : NULL;

        for (int64_t t = 0; t < n_tok; t++)
            store(node, t, n,
                  swiglu
                      ? silu(linear(node, w_first, t, gate)) * linear(node, w_up, t, up)
                      : activate(node->params.matmul.act, linear(node, w_first, t, n)));
    }
    return 0;
}

/* Two rows of W as floats: gate and up. */
static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    (void)be;
    return 2 * (size_t)node->src[ERNE_SRC_W]->dim[1] * sizeof(float);
}

const struct erne_op_impl erne_ref_matmul = { .name = "plain",
                                              .scratch = scratch,
                                              .run = run };
