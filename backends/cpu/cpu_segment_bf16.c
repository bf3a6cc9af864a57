/* cpu_segment_bf16.c -- attention of the rows of a segment to each other in bf16, where
 * the node may round and the processor multiplies pairs of bf16.
 *
 * Keys and values of a few heads are first rounded and laid out as the kernel reads them,
 * in tiles of 64 rows whatever segments they belong to; then a unit of work is one head
 * and up to UNIT_ROWS rows of queries. Neither depends on the number of threads.
 */
#include "backends/cpu/cpu.h"

#include <float.h>
#include <string.h>

enum { UNIT_ROWS = 64, PACKED_BYTES = 16 << 20 };

/* How a node looks to all units. */
struct shape {
    int64_t n_rows, n_heads;
    int64_t n_tiles;   /* of ERNE_TILE_ROWS keys and values, a head */
    int64_t d, d_pad;  /* head_dim, and rounded up to what kernels take */
    int64_t head_len;  /* bf16 numbers of the keys of a head, or of its values */
    int64_t n_at_once; /* heads that are laid out together */
};

/* What a thread works in. */
struct lane {
    uint16_t *q;              /* [UNIT_ROWS, d_pad] */
    float *out;               /* [UNIT_ROWS, d_pad] */
    struct cpu_softmax *rows; /* [UNIT_ROWS] */
};

/* A run of queries of one head that see the same rows. */
struct run {
    int64_t head, row, n;  /* queries */
    int64_t first, end;    /* what they see */
    const uint16_t *k, *v; /* of the head */
};

static struct shape shape_of(const struct erne_node *node, int64_t n_rows)
{
    struct shape s = { .n_rows = n_rows,
                       .n_heads = node->params.segment_attention.n_heads,
                       .n_tiles = (n_rows + ERNE_TILE_ROWS - 1) / ERNE_TILE_ROWS,
                       .d = node->params.segment_attention.head_dim };

    s.d_pad = (s.d + CPU_HEAD_STEP - 1) / CPU_HEAD_STEP * CPU_HEAD_STEP;
    s.head_len = s.n_tiles * ERNE_TILE_ROWS * s.d_pad;
    s.n_at_once = PACKED_BYTES / (int64_t)sizeof(uint16_t) / (2 * s.head_len);
    s.n_at_once = cpu_max(1, cpu_min(s.n_at_once, s.n_heads));
    return s;
}

/* --------------------------------------------------------------- layout */

/* A head's part of a row times the scale in bf16, padded with zeros; rows past the last
 * are zeros. */
static void round_row(const struct cpu_backend *cpu, uint16_t *dst,
                      const struct erne_tensor *x, const struct shape *s, int64_t row,
                      int64_t head, float scale)
{
    const int64_t n = row < s->n_rows ? s->d : 0;

    if (n > 0)
        cpu->kernels.bf16_from_f32(dst, cpu_row(x, row) + head * s->d, scale, n);
    memset(dst + n, 0, (size_t)(s->d_pad - n) * sizeof *dst);
}

/* Keys row .. row + 64 of a head: dst [d_pad / 2, 64, 2] */
static void pack_keys(const struct cpu_backend *cpu, uint16_t *dst,
                      const struct erne_node *node, const struct shape *s, int64_t row,
                      int64_t head, uint16_t *buf)
{
    for (int64_t i = 0; i < ERNE_TILE_ROWS; i++) {
        round_row(cpu, buf, node->src[ERNE_SRC_K], s, row + i, head, 1.0f);
        for (int64_t c = 0; c < s->d_pad; c += 2)
            memcpy(dst + (c / 2 * ERNE_TILE_ROWS + i) * 2, buf + c, 2 * sizeof *buf);
    }
}

/* Values row .. row + 64 of a head: dst [32, d_pad, 2] */
static void pack_values(const struct cpu_backend *cpu, uint16_t *dst,
                        const struct erne_node *node, const struct shape *s, int64_t row,
                        int64_t head, uint16_t *buf)
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

/* This thread's share of n_heads heads from `first` on:
 * [n_heads, K and V, tiles of 64 rows]. */
static void pack(const struct cpu_backend *cpu, uint16_t *packed,
                 const struct erne_node *node, const struct shape *s, int64_t first,
                 int64_t n_heads, uint16_t *buf)
{
    const struct cpu_range share = cpu_share(n_heads * s->n_tiles);

    for (int64_t i = share.first; i < share.end; i++) {
        const int64_t head = i % n_heads, row = i / n_heads * ERNE_TILE_ROWS;
        uint16_t *k = packed + 2 * head * s->head_len + row * s->d_pad;

        pack_keys(cpu, k, node, s, row, first + head, buf);
        pack_values(cpu, k + s->head_len, node, s, row, first + head, buf);
    }
}

/* -------------------------------------------------------------- attention */

/* Queries of a run, scaled, the last one repeated up to whole groups of the kernel's;
 * answers how many that makes. */
static int64_t begin_rows(const struct cpu_backend *cpu, const struct erne_node *node,
                          const struct shape *s, const struct run *r,
                          const struct lane *lane)
{
    const float log2_e = 1.44269504f;
    const float scale = node->params.segment_attention.scale * log2_e;
    const int64_t n = (r->n + CPU_BF16_ROWS - 1) / CPU_BF16_ROWS * CPU_BF16_ROWS;

    memset(lane->out, 0, (size_t)(n * s->d_pad) * sizeof *lane->out);
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = r->row + cpu_min(i, r->n - 1);

        round_row(cpu, lane->q + i * s->d_pad, node->src[ERNE_SRC_X], s, row, r->head,
                  scale);
        lane->rows[i] =
            (struct cpu_softmax){ .max = -FLT_MAX, .out = lane->out + i * s->d_pad };
    }
    return n;
}

static void run_queries(const struct cpu_backend *cpu, const struct erne_node *node,
                        const struct shape *s, const struct run *r,
                        const struct lane *lane)
{
    const int64_t n = begin_rows(cpu, node, s, r, lane);

    for (int64_t at = r->first / CPU_BF16_KEYS * CPU_BF16_KEYS; at < r->end;
         at += CPU_BF16_KEYS) {
        const struct cpu_bf16_keys kv = {
            .k = r->k + at * s->d_pad,
            .v = r->v + at * s->d_pad,
            .next_k = (const uint8_t *)r->k,
            .next_v = (const uint8_t *)r->v,
            .d = s->d_pad,
            .first = (int)cpu_max(0, r->first - at),
            .end = (int)cpu_min(CPU_BF16_KEYS, r->end - at),
        };

        for (int64_t i = 0; i < n; i++)
            lane->rows[i].n = kv.end;
        cpu->kernels.attend_bf16(lane->rows, lane->q, n, &kv);
    }
    for (int64_t i = 0; i < r->n; i++)
        cpu_softmax_end(cpu_row(node->dst, r->row + i) + r->head * s->d, &lane->rows[i],
                        s->d);
}

/* Queries row .. end of a head, cut where segments begin. */
static void run_unit(const struct cpu_backend *cpu, const struct erne_node *node,
                     const struct shape *s, struct run r, int64_t end,
                     const struct lane *lane)
{
    const int32_t *bounds = node->src[ERNE_SRC_BOUNDS]->data;

    for (; r.row < end; r.row += r.n) {
        r.first = bounds[2 * r.row];
        r.end = bounds[2 * r.row + 1];
        r.n = cpu_same_segment(bounds, r.row, end);
        run_queries(cpu, node, s, &r, lane);
    }
}

/* ------------------------------------------------------------ entry points */

static struct lane push_lane(struct erne_arena *arena, const struct shape *s)
{
    const size_t n = UNIT_ROWS * (size_t)s->d_pad;

    return (struct lane){
        .q = erne_arena_push(arena, n * sizeof(uint16_t), 64),
        .out = erne_arena_push(arena, n * sizeof(float), 64),
        .rows = erne_arena_push(arena, UNIT_ROWS * sizeof(struct cpu_softmax), 64),
    };
}

/* The scratch: packed keys and values, then a lane for every thread. With fewer rows more
 * heads fit at once: up to what PACKED_BYTES holds. */
static uint16_t *push_packed(struct erne_arena *arena, const struct erne_node *node)
{
    const struct shape s = shape_of(node, node->dst->dim[0]);
    const size_t n_bytes = (size_t)(s.n_at_once * 2 * s.head_len) * sizeof(uint16_t);

    return erne_arena_push(arena, n_bytes > PACKED_BYTES ? n_bytes : PACKED_BYTES, 64);
}

static int bf16_prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct cpu_backend *cpu = cpu_of(be);

    return node->params.segment_attention.rounds && cpu->kernels.attend_bf16 != NULL
               ? ERNE_OK
               : ERNE_EUNSUPPORTED;
}

/* q, k, v, dst: [P, H * d], bounds: i32 [P, 2] */
static int bf16_run(struct erne_backend *be, const struct erne_node *node,
                    const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct shape s = shape_of(node, erne_tensor_rows(node->dst, step));
    const int64_t n_chunks = (s.n_rows + UNIT_ROWS - 1) / UNIT_ROWS;
    struct erne_arena arena = { cpu->scratch, 0, cpu->scratch_bytes };
    uint16_t *packed = push_packed(&arena, node);
    struct lane lane = push_lane(&arena, &s); /* the first thread's */

    for (int i = 0; i < cpu_thread(); i++)
        lane = push_lane(&arena, &s);
    for (int64_t first = 0; first < s.n_heads; first += s.n_at_once) {
        const int64_t n_heads = cpu_min(s.n_at_once, s.n_heads - first);

        pack(cpu, packed, node, &s, first, n_heads, lane.q);
        cpu_barrier(cpu);
        for (int64_t i; (i = cpu_take(cpu)) < n_heads * n_chunks;) {
            const int64_t head = i / n_chunks, row = i % n_chunks * UNIT_ROWS;
            const uint16_t *k = packed + 2 * head * s.head_len;
            const struct run r = {
                .head = first + head, .row = row, .k = k, .v = k + s.head_len
            };

            run_unit(cpu, node, &s, r, cpu_min(row + UNIT_ROWS, s.n_rows), &lane);
        }
        if (first + s.n_at_once < s.n_heads)
            cpu_barrier(cpu); /* the rows are in use until here */
    }
    return ERNE_OK;
}

static size_t bf16_scratch(struct erne_backend *be, const struct erne_node *node)
{
    const struct shape s = shape_of(node, node->dst->dim[0]);
    struct erne_arena arena = { NULL, 0, 0 };

    push_packed(&arena, node);
    for (int i = 0; i < cpu_of(be)->n_threads; i++)
        push_lane(&arena, &s);
    return arena.used;
}

const struct erne_op_impl cpu_segment_bf16 = {
    .name = "bf16", .prepare = bf16_prepare, .scratch = bf16_scratch, .run = bf16_run
};
