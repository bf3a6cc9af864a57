/* cpu_segment_f32.c -- attention inside segments in f32, with the kernels of causal
 * attention: pages are runs of ERNE_KV_PAGE rows from where a segment begins.
 * cpu_segment_bf16.c is asked before.
 */
#include "backends/cpu/cpu_segment.h"

#include <float.h>
#include <string.h>

/* A head's part of a row, padded with zeros and times a factor. */
static void copy_row(float *dst, const struct erne_tensor *x,
                     const struct cpu_segment_shape *s, int64_t row, int64_t head,
                     float factor)
{
    const float *src = cpu_row(x, row) + head * s->d;

    for (int64_t c = 0; c < s->d; c++)
        dst[c] = src[c] * factor;
    for (int64_t c = s->d; c < s->d_pad; c++)
        dst[c] = 0.0f;
}

/* k, v: [64, d_pad] */
static void pack(const struct cpu_backend *cpu, void *k, void *v,
                 const struct erne_node *node, const struct cpu_segment_shape *s,
                 int64_t row, int64_t head, void *buf)
{
    const int64_t n = cpu_min(ERNE_TILE_ROWS, s->n_rows - row);

    (void)cpu;
    (void)buf;
    for (int64_t i = 0, at = 0; i < n; i++, at += s->d_pad) {
        copy_row((float *)k + at, node->src[ERNE_SRC_K], s, row + i, head, 1.0f);
        copy_row((float *)v + at, node->src[ERNE_SRC_V], s, row + i, head, 1.0f);
    }
}

static void attend(const struct cpu_backend *cpu, const struct erne_node *node,
                   const struct cpu_segment_shape *s, const struct cpu_segment_run *r,
                   const struct cpu_segment_lane *lane)
{
    const int64_t row_bytes = s->d_pad * (int64_t)sizeof(float);

    memset(lane->out, 0, (size_t)(r->n * row_bytes));
    for (int64_t i = 0; i < r->n; i++) {
        copy_row((float *)lane->q + i * s->d_pad, node->src[ERNE_SRC_X], s, r->row + i,
                 r->head, node->params.segment_attention.scale);
        lane->rows[i] =
            (struct cpu_softmax){ .max = -FLT_MAX, .out = lane->out + i * s->d_pad };
    }
    for (int64_t at = r->first; at < r->end; at += ERNE_KV_PAGE) {
        const struct cpu_kv_page kv = { .k = (const uint8_t *)r->k + at * row_bytes,
                                        .v = (const uint8_t *)r->v + at * row_bytes,
                                        .next_k = r->k,
                                        .next_v = r->v,
                                        .row_bytes = row_bytes,
                                        .d = s->d_pad };

        for (int64_t i = 0; i < r->n; i++)
            lane->rows[i].n = (int)cpu_min(ERNE_KV_PAGE, r->end - at);
        cpu->kernels.attend[ERNE_TYPE_F32](lane->rows, lane->q, r->n, &kv);
    }
}

static const struct cpu_segment_form form = { .number_bytes = sizeof(float),
                                              .pack = pack,
                                              .attend = attend };

static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    return cpu_segment_run(be, node, step, &form);
}

static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    return cpu_segment_scratch(be, node, &form);
}

const struct erne_op_impl cpu_segment_f32 = { .name = "pages",
                                              .scratch = scratch,
                                              .run = run };
