/* cpu_segment_bf16.c -- attention inside segments in bf16, where the node may round and
 * the processor multiplies pairs of bf16.
 */
#include "backends/cpu/cpu_segment.h"

#include <float.h>
#include <string.h>

#include "runtime/round.h"

/* A head's part of a row times the scale in bf16, padded with zeros; rows past the last
 * are zeros. */
static void round_row(const struct cpu_backend *cpu, uint16_t *dst,
                      const struct erne_tensor *x, const struct cpu_segment_shape *s,
                      int64_t row, int64_t head, float scale)
{
    const int64_t n = row < s->n_rows ? s->d : 0;

    if (n > 0)
        cpu->kernels.bf16_from_f32(dst, cpu_row(x, row) + head * s->d, scale, n);
    memset(dst + n, 0, (size_t)(s->d_pad - n) * sizeof *dst);
}

/* dst [d_pad / 2, 64, 2] */
static void pack_keys(const struct cpu_backend *cpu, uint16_t *dst,
                      const struct erne_node *node, const struct cpu_segment_shape *s,
                      int64_t row, int64_t head, uint16_t *buf)
{
    for (int64_t i = 0; i < ERNE_TILE_ROWS; i++) {
        round_row(cpu, buf, node->src[ERNE_SRC_K], s, row + i, head, 1.0f);
        for (int64_t c = 0; c < s->d_pad; c += 2)
            memcpy(dst + (c / 2 * ERNE_TILE_ROWS + i) * 2, buf + c, 2 * sizeof *buf);
    }
}

/* dst [32, d_pad, 2] */
static void pack_values(const struct cpu_backend *cpu, uint16_t *dst,
                        const struct erne_node *node, const struct cpu_segment_shape *s,
                        int64_t row, int64_t head, uint16_t *buf)
{
    uint16_t *next = buf + s->d_pad;

    for (int64_t i = 0; i < ERNE_TILE_ROWS; i += 2, dst += 2 * s->d_pad) {
        round_row(cpu, buf, node->src[ERNE_SRC_V], s, row + i, head, 1.0f);
        round_row(cpu, next, node->src[ERNE_SRC_V], s, row + i + 1, head, 1.0f);
        for (int64_t c = 0; c < s->d_pad; c++) {
            dst[2 * c] = buf[c];
            dst[2 * c + 1] = next[c];
        }
    }
}

static void pack(const struct cpu_backend *cpu, void *k, void *v,
                 const struct erne_node *node, const struct cpu_segment_shape *s,
                 int64_t row, int64_t head, void *buf)
{
    pack_keys(cpu, k, node, s, row, head, buf);
    pack_values(cpu, v, node, s, row, head, buf);
}

/* Queries of a run, scaled, the last one repeated up to whole groups of the kernel's;
 * answers how many that makes. */
static int64_t begin_rows(const struct cpu_backend *cpu, const struct erne_node *node,
                          const struct cpu_segment_shape *s,
                          const struct cpu_segment_run *r,
                          const struct cpu_segment_lane *lane)
{
    const float log2_e = 1.44269504f;
    const float scale = node->params.segment_attention.scale * log2_e;
    const int64_t n = erne_round_up(r->n, CPU_BF16_ROWS);

    memset(lane->out, 0, (size_t)(n * s->d_pad) * sizeof *lane->out);
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = r->row + cpu_min(i, r->n - 1);

        round_row(cpu, (uint16_t *)lane->q + i * s->d_pad, node->src[ERNE_SRC_X], s, row,
                  r->head, scale);
        lane->rows[i] =
            (struct cpu_softmax){ .max = -FLT_MAX, .out = lane->out + i * s->d_pad };
    }
    return n;
}

static void attend(const struct cpu_backend *cpu, const struct erne_node *node,
                   const struct cpu_segment_shape *s, const struct cpu_segment_run *r,
                   const struct cpu_segment_lane *lane)
{
    const int64_t n = begin_rows(cpu, node, s, r, lane);

    for (int64_t at = r->first / CPU_BF16_KEYS * CPU_BF16_KEYS; at < r->end;
         at += CPU_BF16_KEYS) {
        const struct cpu_bf16_keys kv = {
            .k = (const uint16_t *)r->k + at * s->d_pad,
            .v = (const uint16_t *)r->v + at * s->d_pad,
            .next_k = r->k,
            .next_v = r->v,
            .d = s->d_pad,
            .first = (int)cpu_max(0, r->first - at),
            .end = (int)cpu_min(CPU_BF16_KEYS, r->end - at),
        };

        for (int64_t i = 0; i < n; i++)
            lane->rows[i].n = kv.end;
        cpu->kernels.attend_bf16(lane->rows, lane->q, n, &kv);
    }
}

static const struct cpu_segment_form form = { .number_bytes = sizeof(uint16_t),
                                              .pack = pack,
                                              .attend = attend };

static int prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct cpu_backend *cpu = cpu_of(be);

    return node->params.segment_attention.rounds && cpu->kernels.attend_bf16 != NULL
               ? ERNE_OK
               : ERNE_EUNSUPPORTED;
}

static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    return cpu_segment_run(be, node, step, &form);
}

static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    return cpu_segment_scratch(be, node, &form);
}

const struct erne_op_impl cpu_segment_bf16 = {
    .name = "bf16", .prepare = prepare, .scratch = scratch, .run = run
};
