/* cpu_rows.c -- operators that handle one row at a time: embed, norms, rope, kv_append,
 * gather_rows, scatter_rows. Each thread takes a share of the rows. */
#include "backends/cpu/cpu.h"
#include "runtime/kv_row.h"

#include <math.h>
#include <string.h>

#include "quantize/tile64.h"

/* tokens: i32 [T], w: tile64 [V, K], dst: [T, K] */
static int embed_run(struct erne_backend *be, const struct erne_node *node,
                     const struct erne_step *step)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const int32_t *tokens = node->src[ERNE_SRC_X]->data;
    const struct cpu_range rows = cpu_share(erne_tensor_rows(node->dst, step));
    (void)be;
    for (int64_t t = rows.first; t < rows.end; t++)
        tile64_decode_row(cpu_row(node->dst, t), w->scheme, &w->planes,
                          erne_tensor_codes(w), erne_tensor_scales(w),
                          erne_tensor_minima(w), tokens[t], w->dim[1]);
    return ERNE_OK;
}

/* x, dst: [T, K], w: [K] */
static int rms_norm_run(struct erne_backend *be, const struct erne_node *node,
                        const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct cpu_range rows = cpu_share(erne_tensor_rows(x, step));
    for (int64_t t = rows.first; t < rows.end; t++)
        cpu_of(be)->kernels.rms_norm(cpu_row(node->dst, t), cpu_row(x, t),
                                     node->src[ERNE_SRC_W]->data, x->dim[1],
                                     node->params.rms_norm.eps);
    return ERNE_OK;
}

/* x, dst: [T, K], w, bias: [K] */
static int layer_norm_run(struct erne_backend *be, const struct erne_node *node,
                          const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct cpu_layer_norm norm = { .w = node->src[ERNE_SRC_W]->data,
                                         .bias = node->src[ERNE_SRC_NORM_BIAS]->data,
                                         .eps = node->params.layer_norm.eps };
    const struct cpu_range rows = cpu_share(erne_tensor_rows(x, step));
    for (int64_t t = rows.first; t < rows.end; t++)
        cpu_of(be)->kernels.layer_norm(cpu_row(node->dst, t), cpu_row(x, t), &norm,
                                       x->dim[1]);
    return ERNE_OK;
}

/* Rotates one pair by the angle with this cosine and sine. */
static inline void rotate(float *a, float *b, float c, float s)
{
    const float x = *a, y = *b;
    *a = x * c - y * s;
    *b = y * c + x * s;
}

/* head: [d], cosines and sines: [d / 2] */
static void rotate_head(float *head, const float *c, const float *s,
                        enum erne_rope_kind kind, int64_t d)
{
    if (kind == ERNE_ROPE_NEOX) {
        for (int64_t j = 0; j < d / 2; j++)
            rotate(&head[j], &head[j + d / 2], c[j], s[j]);
    } else {
        for (int64_t j = 0; j < d / 2; j++)
            rotate(&head[2 * j], &head[2 * j + 1], c[j], s[j]);
    }
}

/* Cosines and sines [d / 2] at position [A]; inv_freq: [A, d / 2]. */
static void turn(float *c, float *s, const float *inv_freq, const int32_t *position,
                 int64_t n_axes, int64_t n_pairs)
{
    for (int64_t j = 0; j < n_pairs; j++) {
        float angle = 0;
        for (int64_t a = 0; a < n_axes; a++)
            angle += (float)position[a] * inv_freq[a * n_pairs + j];
        c[j] = cosf(angle);
        s[j] = sinf(angle);
    }
}

/* x: [T, H * d], position: i32 [T, A], inv_freq: [A, d / 2]; x in place. Work is divided
 * by heads, so that a single token occupies the team too; a thread computes a token's
 * cosines and sines once. */
static int rope_run(struct erne_backend *be, const struct erne_node *node,
                    const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const int32_t *position = node->src[ERNE_SRC_POSITION]->data;
    const float *inv_freq = node->src[ERNE_SRC_INV_FREQ]->data;
    const int64_t n_heads = node->params.rope.n_heads, d = node->params.rope.head_dim;
    const struct cpu_range units = cpu_share(erne_tensor_rows(x, step) * n_heads);
    const int64_t n_axes = node->src[ERNE_SRC_POSITION]->dim[1];
    float *c = (float *)(void *)cpu_of(be)->scratch + cpu_thread() * d;
    float *s = c + d / 2;
    for (int64_t u = units.first; u < units.end; u++) {
        const int64_t t = u / n_heads, head = u % n_heads;
        if (u == units.first || head == 0)
            turn(c, s, inv_freq, position + t * n_axes, n_axes, d / 2);
        rotate_head(cpu_row(x, t) + head * d, c, s, node->params.rope.kind, d);
    }
    return ERNE_OK;
}

/* Cosines and sines [d] for every thread. */
static size_t rope_scratch(struct erne_backend *be, const struct erne_node *node)
{
    return (size_t)cpu_of(be)->n_threads * (size_t)node->params.rope.head_dim *
           sizeof(float);
}

/* x: [T, H_kv * d], cache: [P, H_kv, ERNE_KV_PAGE, row], slot: i32 [T] */
static int kv_append_run(struct erne_backend *be, const struct erne_node *node,
                         const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct erne_tensor *cache = node->src[ERNE_SRC_CACHE];
    const int32_t *slot = node->src[ERNE_SRC_SLOT]->data;
    const int64_t n_heads = cache->dim[1], d = erne_kv_head_dim(cache);
    const struct cpu_range units = cpu_share(erne_tensor_rows(x, step) * n_heads);
    for (int64_t u = units.first; u < units.end; u++) {
        const int64_t t = u / n_heads, head = u % n_heads;
        const int64_t page = slot[t] / ERNE_KV_PAGE, place = slot[t] % ERNE_KV_PAGE;
        const int64_t at =
            ((page * n_heads + head) * ERNE_KV_PAGE + place) * cache->dim[3];
        const float *src = cpu_row(x, t) + head * d;
        if (erne_kv_is_quantised(cache->type))
            erne_kv_encode(cache->type, (uint8_t *)cache->data + at, src, d);
        else if (cache->type == ERNE_TYPE_F16)
            cpu_of(be)->kernels.f16_from_f32((uint16_t *)cache->data + at, src, d);
        else
            memcpy((float *)cache->data + at, src, (size_t)d * sizeof(float));
    }
    return ERNE_OK;
}

/* x: [T, K], rows: i32 [O, m], dst: [O, m * K] */
static int gather_rows_run(struct erne_backend *be, const struct erne_node *node,
                           const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const int32_t *rows = node->src[ERNE_SRC_ROWS]->data;
    const int64_t m = node->src[ERNE_SRC_ROWS]->dim[1], k = x->dim[1];
    const struct cpu_range share = cpu_share(erne_tensor_rows(node->dst, step) * m);
    (void)be;
    for (int64_t i = share.first; i < share.end; i++)
        memcpy(cpu_row(node->dst, i / m) + i % m * k, cpu_row(x, rows[i]),
               (size_t)k * sizeof(float));
    return ERNE_OK;
}

/* x: [T, K] in place, y: [F, K], rows: i32 [T] */
static int scatter_rows_run(struct erne_backend *be, const struct erne_node *node,
                            const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X], *y = node->src[ERNE_SRC_FROM];
    const int32_t *rows = node->src[ERNE_SRC_FROM_ROWS]->data;
    const struct cpu_range share = cpu_share(erne_tensor_rows(x, step));
    (void)be;
    for (int64_t t = share.first; t < share.end; t++)
        if (rows[t] >= 0)
            memcpy(cpu_row(x, t), cpu_row(y, rows[t]), (size_t)x->dim[1] * sizeof(float));
    return ERNE_OK;
}

const struct erne_op_impl cpu_embed = { .name = "rows", .run = embed_run };
const struct erne_op_impl cpu_rms_norm = { .name = "rows", .run = rms_norm_run };
const struct erne_op_impl cpu_layer_norm = { .name = "rows", .run = layer_norm_run };
const struct erne_op_impl cpu_rope = { .name = "rows",
                                       .scratch = rope_scratch,
                                       .run = rope_run };
const struct erne_op_impl cpu_kv_append = { .name = "rows",
                                            .quantised_kv = true,
                                            .run = kv_append_run };
const struct erne_op_impl cpu_gather_rows = { .name = "rows", .run = gather_rows_run };
const struct erne_op_impl cpu_scatter_rows = { .name = "rows", .run = scatter_rows_run };
