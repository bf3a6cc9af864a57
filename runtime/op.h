/* op.h -- operators: their inputs, parameters and shape rules.
 *
 * The front end (op.c) is the one place that checks shapes and preconditions; a backend
 * that is handed a node may rely on them. T = tokens of the step, all activations f32.
 *
 *  embed        tokens I32 [T], table W [V, K]                     -> [T, K]
 *               row lookup in a tile64 weight of any scheme.
 *  rms_norm     x [T, K], weight f32 rows [K]                      -> [T, K]
 *               x * rsqrt(mean(x^2) + eps) * weight
 *  layer_norm   x [T, K], weight, bias f32 rows [K]                -> [T, K]
 *               (x - mean(x)) * rsqrt(var(x) + eps) * weight + bias
 *  matmul       x [T, K], W [N, K], bias f32 rows [N] or NULL, residual [T, N'] or NULL
 *               act(x W^T + bias) + residual                       -> [T, N']
 *               act NONE: N' = N. act SWIGLU: rows of W and bias alternate in runs of 16,
 *               16 gates then 16 ups, N % 32 == 0; N' = dst->dim[1] <= N / 2 and
 *               dst = silu(gate) * up. The other acts work on each element: GELU_ERF
 *               x Phi(x), its approximations GELU_TANH and GELU_QUICK
 *               x / (1 + exp(-1.702 x)). Codes of integer schemes mean what dtype.h says;
 *               a backend may quantise x to int8 per token and group (see error bounds
 *               in tests/conformance/check_matmul.c).
 *  rope         x [T, H * d], position I32 [T, A] or [T], inv_freq f32 [A, d / 2]
 *               rotates pairs of each head, (x[2j], x[2j+1]) interleaved or
 *               (x[j], x[j+d/2]) neox, by the angle sum over axes a of
 *               (f32)position[t][a] * inv_freq[a][j], in f32 from axis 0 on. What pair
 *               turns by what is data: zeros in inv_freq.         -> x in place
 *  kv_append    x [T, H_kv * d], cache (f16, f32, q8 or q4) [P, H_kv, ERNE_KV_PAGE, row],
 *               slot I32 [T]                                       -> cache
 *               row t goes to page slot / ERNE_KV_PAGE, place slot % ERNE_KV_PAGE. What a
 *               row is, kv_row.h says: the d numbers, or their codes and scale.
 *  attention    q [T, H * d], k cache, v cache, page table I32 [P], position I32 [T]
 *               causal GQA over the cache: the token at position p sees positions 0..p;
 *               position i lives in page table[i / ERNE_KV_PAGE]. Query head h reads KV
 *               head h / (H / H_kv). softmax in f32 or better.     -> [T, H * d]
 *  segment_attention  q, k, v [P, H * d], bounds I32 [P, 2]
 *               row i sees the rows bounds[i][0] .. bounds[i][1] - 1, a segment that all
 *               its rows have in common. softmax in f32 or better. -> [P, H * d]
 *  gather_rows  x [T, K], rows I32 [O, m] or [O]                   -> [O, m * K]
 *               m rows of x side by side.
 *  scatter_rows x [T, K], y [F, K], rows I32 [T]                   -> x in place
 *               row t becomes row rows[t] of y, or stays as it is if rows[t] < 0.
 *  moe_route    logits [T, B * E], bias f32 rows [B * E] or NULL, kind I32 [T] or NULL
 *               the experts of each token, chosen inside bank kind[t] (0 without kind) of
 *               E = B * E / n_banks: p = softmax(logits of the bank); the n_used experts
 *               with the largest p + bias, of equals the first; their weights are p over
 *               max(the sum of those p, norm_min), all others 0.  -> [T, B * E]
 *               Every backend computes the choice by runtime/route.h, so that it cannot
 *               depend on the last bits of an exponential.
 *  moe_ffn      x [T, K], weights [T, E], gate_up bank [E, N, K],
 *               down bank [E, K', n_ff], residual [T, K'] or NULL
 *               residual + sum over experts e with weights[t][e] != 0, at most n_used of
 *               them, of weights[t][e] * down_e(silu(gate_e x) * up_e x); the rows of
 *               gate_up_e as for matmul's SWIGLU.                 -> [T, K']
 *               An expert that no token uses is not read.
 *
 * A vector ("f32 rows [K]") is K floats one after the other: a tensor [K] or [1, K], or a
 * weight [1, K] of ERNE_ROWS_F32. Integers and caches are dense; activations may be
 * views.
 * An operator in place has dst == x (rope, scatter_rows) or dst == cache (kv_append), or
 * a view of the same columns; any other dst shares memory with no input.
 */
#ifndef ERNE_OP_H
#define ERNE_OP_H

#include "runtime/error.h"
#include "runtime/op_list.h"
#include "runtime/tensor.h"

enum { ERNE_MAX_SRC = 6, ERNE_KV_PAGE = 64 };

enum erne_act {
    ERNE_ACT_NONE,
    ERNE_ACT_SWIGLU,
    ERNE_ACT_GELU_ERF,
    ERNE_ACT_GELU_TANH,
    ERNE_ACT_GELU_QUICK,
    ERNE_ACT_COUNT
};
enum erne_rope_kind { ERNE_ROPE_INTERLEAVED, ERNE_ROPE_NEOX };
enum { ERNE_SWIGLU_RUN = 16 };   /* gate rows, then as many up rows */

union erne_op_params {
    struct { float eps; } rms_norm;
    struct { float eps; } layer_norm;
    struct { enum erne_act act; } matmul;
    struct { enum erne_rope_kind kind; int32_t n_heads, head_dim; } rope;
    /* rounds: q, k, v and the weights of v may be rounded to bf16 */
    struct { int32_t n_heads, n_kv_heads, head_dim; float scale; bool rounds; } attention;
    struct { int32_t n_heads, head_dim; float scale; bool rounds; } segment_attention;
    struct { int32_t n_banks, n_used; float norm_min; } moe_route;
    struct { int32_t n_used; } moe_ffn;
};

struct erne_backend;
struct erne_op_impl;

struct erne_node {
    enum erne_op op;
    struct erne_tensor *src[ERNE_MAX_SRC];   /* NULL for an input that is left out */
    struct erne_tensor *dst;
    union erne_op_params params;

    struct erne_backend *backend;            /* set by the planner */
    const struct erne_op_impl *impl;
    void *state;                             /* the implementation's, from prepare */
};

/* The indices of inputs, so that no backend counts them by hand. */
enum { ERNE_SRC_X = 0, ERNE_SRC_W = 1, ERNE_SRC_BIAS = 2, ERNE_SRC_RESIDUAL = 3 };
enum { ERNE_SRC_NORM_BIAS = 2 };                                       /* layer_norm */
enum { ERNE_SRC_POSITION = 1, ERNE_SRC_INV_FREQ = 2 };                     /* rope */
enum { ERNE_SRC_ROWS = 1 };                                         /* gather_rows */
enum { ERNE_SRC_FROM = 1, ERNE_SRC_FROM_ROWS = 2 };                /* scatter_rows */
enum { ERNE_SRC_ROUTE_BIAS = 1, ERNE_SRC_KIND = 2 };                 /* moe_route */
enum { ERNE_SRC_WEIGHTS = 1, ERNE_SRC_GATE_UP = 2, ERNE_SRC_DOWN = 3,
       ERNE_SRC_FFN_RESIDUAL = 4 };                                    /* moe_ffn */
enum { ERNE_SRC_CACHE = 1, ERNE_SRC_SLOT = 2 };                            /* kv_append */
enum { ERNE_SRC_K = 1, ERNE_SRC_V = 2, ERNE_SRC_TABLE = 3, ERNE_SRC_QPOS = 4 };

enum { ERNE_SRC_BOUNDS = 3 };              /* segment_attention, with ERNE_SRC_K and _V */

const char *erne_op_name(enum erne_op op);

/* Whether two nodes of an operator have the same parameters: of a union the bytes that an
 * operator does not use may be anything. */
bool erne_op_params_equal(enum erne_op op, const union erne_op_params *a,
                          const union erne_op_params *b);

/* Checks inputs and parameters of a node and the shape of its dst (which the graph
 * builder fills through erne_op_shape first). EINVAL with a text that names the operator,
 * the tensor and the rule. */
int erne_op_check(const struct erne_node *node, struct erne_error *err);

/* The shape, type and rows_of that dst must have, from the inputs. n_out is N' of matmul
 * with SWIGLU, else ignored. In-place operators give that of src. */
int erne_op_shape(enum erne_op op, struct erne_tensor *const src[ERNE_MAX_SRC],
                  const union erne_op_params *params, int64_t n_out,
                  struct erne_tensor *dst, struct erne_error *err);

#endif
