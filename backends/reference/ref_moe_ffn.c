/* ref_moe_ffn.c -- the experts that a token was routed to, weighted and summed.
 *
 * An expert is a SwiGLU network as in ref_matmul.c; sums are doubles from the input to
 * the end, without rounding in between.
 */
#include <math.h>

#include "backends/reference/ref_backend.h"
#include "quantize/tile64.h"
#include "runtime/expert_cache.h"

/* Room for one row of a weight and the hidden values of one token. */
struct room {
    float *row;     /* [max(K, n_ff)] */
    double *hidden; /* [n_ff] */
};

static const float *decode(const struct room *room, const struct erne_tensor *w,
                           int64_t n)
{
    tile64_decode_row(room->row, w->scheme, &w->planes, erne_tensor_codes(w),
                      erne_tensor_scales(w), erne_tensor_minima(w), n, w->dim[1]);
    return room->row;
}

/* x [K] times row n of w. */
static double project(const struct room *room, const struct erne_tensor *w, int64_t n,
                      const float *x)
{
    const float *row = decode(room, w, n);
    double sum = 0;

    for (int64_t i = 0; i < w->dim[1]; i++)
        sum += (double)x[i] * (double)row[i];
    return sum;
}

/* hidden [n_ff] = silu(gate x) * up x */
static void swiglu(const struct room *room, const struct erne_tensor *w, const float *x,
                   int64_t n_ff)
{
    for (int64_t j = 0; j < n_ff; j++) {
        const int64_t run_start = j / ERNE_SWIGLU_RUN * (2 * ERNE_SWIGLU_RUN);
        const int64_t n = run_start + j % ERNE_SWIGLU_RUN;
        const double gate = project(room, w, n, x);

        room->hidden[j] =
            gate / (1 + exp(-gate)) * project(room, w, n + ERNE_SWIGLU_RUN, x);
    }
}

/* dst [K'] += weight * down hidden */
static void add_down(const struct room *room, const struct erne_tensor *w, double weight,
                     double *dst)
{
    for (int64_t n = 0; n < w->dim[0]; n++) {
        const float *row = decode(room, w, n);
        double sum = 0;

        for (int64_t j = 0; j < w->dim[1]; j++)
            sum += room->hidden[j] * (double)row[j];
        dst[n] += weight * sum;
    }
}

static int64_t max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Hidden values, sums and a row of the wider weight, of one token. */
static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    const struct erne_tensor *down = node->src[ERNE_SRC_DOWN];
    const int64_t k = node->src[ERNE_SRC_X]->dim[1];

    (void)be;
    return (size_t)(down->dim[1] + down->dim[2]) * sizeof(double) +
           (size_t)max(k, down->dim[2]) * sizeof(float);
}

/* x: [T, K], weights: [T, E], gate_up, down: banks, residual, dst: [T, K'] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct erne_tensor *weights = node->src[ERNE_SRC_WEIGHTS];
    const struct erne_tensor *up = node->src[ERNE_SRC_GATE_UP];
    const struct erne_tensor *down = node->src[ERNE_SRC_DOWN];
    const struct erne_tensor *residual = node->src[ERNE_SRC_FFN_RESIDUAL];
    const int64_t n_tok = erne_tensor_rows(x, step);
    const int64_t n_out = down->dim[1], n_ff = down->dim[2];
    double *sums = ref_scratch(be);
    const struct room room = { (float *)(void *)(sums + n_out + n_ff), sums + n_out };

    for (int64_t t = 0; t < n_tok; t++) {
        for (int64_t n = 0; n < n_out; n++)
            sums[n] = residual ? (double)ref_row(residual, t)[n] : 0;
        for (int64_t e = 0; e < up->dim[0]; e++) {
            const float weight = ref_row(weights, t)[e];

            if (!(weight < 0 || weight > 0))
                continue;
            if (be->experts)
                erne_expert_cache_fetch_one(be->experts, &up->bank[e]);
            swiglu(&room, &up->bank[e], ref_row(x, t), n_ff);
            add_down(&room, &down->bank[e], (double)weight, sums);
        }
        for (int64_t n = 0; n < n_out; n++)
            ref_row(node->dst, t)[n] = (float)sums[n];
    }
    return 0;
}

const struct erne_op_impl erne_ref_moe_ffn = { .name = "plain",
                                               .scratch = scratch,
                                               .run = run };
