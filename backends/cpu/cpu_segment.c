/* cpu_segment.c -- attention of the rows of a segment to each other, with the kernels of
 * causal attention: pages are runs of ERNE_KV_PAGE rows from where a segment begins.
 * cpu_segment_bf16.c is asked before.
 *
 * Keys and values of a few heads are first laid out one after the other, then a unit of
 * work is one head and up to UNIT_ROWS rows of queries. Neither depends on the number of
 * threads.
 */
#include "backends/cpu/cpu.h"

#include <float.h>
#include <string.h>

enum { UNIT_ROWS = 64, PACKED_BYTES = 16 << 20 };

/* How a node looks to all units. */
struct shape {
    int64_t n_rows, n_heads;
    int64_t d, d_pad;  /* head_dim, and rounded up to what kernels take */
    int64_t n_at_once; /* heads that are laid out together */
};

/* What a thread works in. */
struct lane {
    float *q, *out;           /* [UNIT_ROWS, d_pad] */
    struct cpu_softmax *rows; /* [UNIT_ROWS] */
};

/* A run of queries of one head that see the same rows. */
struct run {
    int64_t head, row, n; /* queries */
    int64_t first, end;   /* what they see */
    const float *k, *v;   /* [n_rows, d_pad] of the head */
};

static struct shape shape_of(const struct erne_node *node, int64_t n_rows)
{
    struct shape s = { .n_rows = n_rows,
                       .n_heads = node->params.segment_attention.n_heads,
                       .d = node->params.segment_attention.head_dim };

    s.d_pad = (s.d + CPU_HEAD_STEP - 1) / CPU_HEAD_STEP * CPU_HEAD_STEP;
    s.n_at_once = PACKED_BYTES / (int64_t)sizeof(float) / (2 * s.n_rows * s.d_pad);
    s.n_at_once = cpu_max(1, cpu_min(s.n_at_once, s.n_heads));
    return s;
}

/* --------------------------------------------------------------- layout */

/* A head's part of a row, padded with zeros and times a factor. */
static void copy_row(float *dst, const struct erne_tensor *x, const struct shape *s,
                     int64_t row, int64_t head, float factor)
{
    const float *src = cpu_row(x, row) + head * s->d;

    for (int64_t c = 0; c < s->d; c++)
        dst[c] = src[c] * factor;
    for (int64_t c = s->d; c < s->d_pad; c++)
        dst[c] = 0.0f;
}

/* This thread's share of the keys and values of n_heads heads from `first` on:
 * [n_heads, K and V, n_rows, d_pad]. */
static void pack(float *packed, const struct erne_node *node, const struct shape *s,
                 int64_t first, int64_t n_heads)
{
    const struct cpu_range share = cpu_share(n_heads * s->n_rows);

    for (int64_t i = share.first; i < share.end; i++) {
        const int64_t head = i / s->n_rows, row = i % s->n_rows;
        float *k = packed + (2 * head * s->n_rows + row) * s->d_pad;

        copy_row(k, node->src[ERNE_SRC_K], s, row, first + head, 1.0f);
        copy_row(k + s->n_rows * s->d_pad, node->src[ERNE_SRC_V], s, row, first + head,
                 1.0f);
    }
}

/* -------------------------------------------------------------- attention */

int64_t cpu_same_segment(const int32_t *bounds, int64_t row, int64_t end)
{
    int64_t n = 1;

    while (row + n < end && bounds[2 * (row + n)] == bounds[2 * row] &&
           bounds[2 * (row + n) + 1] == bounds[2 * row + 1])
        n++;
    return n;
}

void cpu_softmax_end(float *dst, const struct cpu_softmax *s, int64_t d)
{
    const float inv = 1.0f / s->total;

    for (int64_t c = 0; c < d; c++)
        dst[c] = s->out[c] * inv;
}

static void run_queries(const struct cpu_backend *cpu, const struct erne_node *node,
                        const struct shape *s, const struct run *r,
                        const struct lane *lane)
{
    const int64_t row_bytes = s->d_pad * (int64_t)sizeof(float);

    memset(lane->out, 0, (size_t)(r->n * row_bytes));
    for (int64_t i = 0; i < r->n; i++) {
        copy_row(lane->q + i * s->d_pad, node->src[ERNE_SRC_X], s, r->row + i, r->head,
                 node->params.segment_attention.scale);
        lane->rows[i] =
            (struct cpu_softmax){ .max = -FLT_MAX, .out = lane->out + i * s->d_pad };
    }
    for (int64_t at = r->first; at < r->end; at += ERNE_KV_PAGE) {
        const struct cpu_kv_page kv = { .k = (const uint8_t *)(r->k + at * s->d_pad),
                                        .v = (const uint8_t *)(r->v + at * s->d_pad),
                                        .next_k = (const uint8_t *)r->k,
                                        .next_v = (const uint8_t *)r->v,
                                        .row_bytes = row_bytes,
                                        .d = s->d_pad };

        for (int64_t i = 0; i < r->n; i++)
            lane->rows[i].n = (int)cpu_min(ERNE_KV_PAGE, r->end - at);
        cpu->kernels.attend[ERNE_TYPE_F32](lane->rows, lane->q, r->n, &kv);
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
    const size_t n_bytes = UNIT_ROWS * (size_t)s->d_pad * sizeof(float);

    return (struct lane){
        .q = erne_arena_push(arena, n_bytes, 64),
        .out = erne_arena_push(arena, n_bytes, 64),
        .rows = erne_arena_push(arena, UNIT_ROWS * sizeof(struct cpu_softmax), 64),
    };
}

/* The scratch: packed keys and values, then a lane for every thread. With fewer rows more
 * heads fit at once: up to what PACKED_BYTES holds. A tile's worth of slack, because the
 * kernels look at whole fours of keys. */
static float *push_packed(struct erne_arena *arena, const struct erne_node *node)
{
    const struct shape s = shape_of(node, node->dst->dim[0]);
    const size_t slack = 4 * (size_t)s.d_pad * sizeof(float);
    const size_t n_bytes = (size_t)(s.n_at_once * 2 * s.n_rows * s.d_pad) * sizeof(float);

    return erne_arena_push(arena,
                           slack + (n_bytes > PACKED_BYTES ? n_bytes : PACKED_BYTES), 64);
}

/* q, k, v, dst: [P, H * d], bounds: i32 [P, 2] */
static int segment_attention_run(struct erne_backend *be, const struct erne_node *node,
                                 const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct shape s = shape_of(node, erne_tensor_rows(node->dst, step));
    const int64_t n_chunks = (s.n_rows + UNIT_ROWS - 1) / UNIT_ROWS;
    struct erne_arena arena = { cpu->scratch, 0, cpu->scratch_bytes };
    float *packed = push_packed(&arena, node);
    struct lane lane = push_lane(&arena, &s); /* the first thread's */

    for (int i = 0; i < cpu_thread(); i++)
        lane = push_lane(&arena, &s);
    for (int64_t first = 0; first < s.n_heads; first += s.n_at_once) {
        const int64_t n_heads = cpu_min(s.n_at_once, s.n_heads - first);
        const struct cpu_range units = cpu_share(n_heads * n_chunks);

        pack(packed, node, &s, first, n_heads);
        cpu_barrier(cpu);
        for (int64_t i = units.first; i < units.end; i++) {
            const int64_t head = i / n_chunks, row = i % n_chunks * UNIT_ROWS;
            const float *k = packed + 2 * head * s.n_rows * s.d_pad;
            const struct run r = {
                .head = first + head, .row = row, .k = k, .v = k + s.n_rows * s.d_pad
            };

            run_unit(cpu, node, &s, r, cpu_min(row + UNIT_ROWS, s.n_rows), &lane);
        }
        if (first + s.n_at_once < s.n_heads)
            cpu_barrier(cpu); /* the rows are in use until here */
    }
    return ERNE_OK;
}

static size_t segment_attention_scratch(struct erne_backend *be,
                                        const struct erne_node *node)
{
    const struct shape s = shape_of(node, node->dst->dim[0]);
    struct erne_arena arena = { NULL, 0, 0 };

    push_packed(&arena, node);
    for (int i = 0; i < cpu_of(be)->n_threads; i++)
        push_lane(&arena, &s);
    return arena.used;
}

const struct erne_op_impl cpu_segment_attention = { .name = "pages",
                                                    .scratch = segment_attention_scratch,
                                                    .run = segment_attention_run };
