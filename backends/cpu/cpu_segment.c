/* cpu_segment.c -- see cpu_segment.h.
 *
 * Keys and values of a few heads are first laid out, in tiles of 64 rows whatever
 * segments they belong to; then a unit of work is one head and up to CPU_SEGMENT_ROWS
 * rows of queries. Neither depends on the number of threads.
 */
#include "backends/cpu/cpu_segment.h"

#include "runtime/round.h"

enum { PACKED_BYTES = 16 << 20 };

static struct cpu_segment_shape shape_of(const struct erne_node *node, int64_t n_rows,
                                         const struct cpu_segment_form *form)
{
    struct cpu_segment_shape s = {
        .n_rows = n_rows,
        .n_heads = node->params.segment_attention.n_heads,
        .n_tiles = (n_rows + ERNE_TILE_ROWS - 1) / ERNE_TILE_ROWS,
        .d = node->params.segment_attention.head_dim,
    };

    s.d_pad = erne_round_up(s.d, CPU_HEAD_STEP);
    s.head_bytes = s.n_tiles * ERNE_TILE_ROWS * s.d_pad * form->number_bytes;
    s.n_at_once = cpu_max(1, cpu_min(PACKED_BYTES / (2 * s.head_bytes), s.n_heads));
    return s;
}

/* ----------------------------------------------------------------- layout */

/* Where keys of the head lie, of those laid out together; its values are behind them. */
static uint8_t *keys_of(uint8_t *packed, const struct cpu_segment_shape *s, int64_t head)
{
    return packed + 2 * head * s->head_bytes;
}

/* This thread's share of n_heads heads from `first` on. All heads of a tile come one
 * after the other, as they lie in memory. */
static void pack(const struct cpu_backend *cpu, uint8_t *packed,
                 const struct erne_node *node, const struct cpu_segment_shape *s,
                 const struct cpu_segment_form *form, int64_t first, int64_t n_heads,
                 void *buf)
{
    const struct cpu_range share = cpu_share(n_heads * s->n_tiles);

    for (int64_t i = share.first; i < share.end; i++) {
        const int64_t head = i % n_heads, row = i / n_heads * ERNE_TILE_ROWS;
        uint8_t *k = keys_of(packed, s, head) + row * s->d_pad * form->number_bytes;

        form->pack(cpu, k, k + s->head_bytes, node, s, row, first + head, buf);
    }
}

/* -------------------------------------------------------------- attention */

/* Of the queries row .. end, how many see the same rows as the first. */
static int64_t same_segment(const int32_t *bounds, int64_t row, int64_t end)
{
    int64_t n = 1;

    while (row + n < end && bounds[2 * (row + n)] == bounds[2 * row] &&
           bounds[2 * (row + n) + 1] == bounds[2 * row + 1])
        n++;
    return n;
}

static void write_row(float *dst, const struct cpu_softmax *s, int64_t d)
{
    const float inv = 1.0f / s->total;

    for (int64_t c = 0; c < d; c++)
        dst[c] = s->out[c] * inv;
}

/* Queries row .. end of a head, cut where segments begin. */
static void run_unit(const struct cpu_backend *cpu, const struct erne_node *node,
                     const struct cpu_segment_shape *s,
                     const struct cpu_segment_form *form, struct cpu_segment_run r,
                     int64_t end, const struct cpu_segment_lane *lane)
{
    const int32_t *bounds = node->src[ERNE_SRC_BOUNDS]->data;

    for (; r.row < end; r.row += r.n) {
        r.first = bounds[2 * r.row];
        r.end = bounds[2 * r.row + 1];
        r.n = same_segment(bounds, r.row, end);
        form->attend(cpu, node, s, &r, lane);
        for (int64_t i = 0; i < r.n; i++)
            write_row(cpu_row(node->dst, r.row + i) + r.head * s->d, &lane->rows[i],
                      s->d);
    }
}

/* ------------------------------------------------------------ entry points */

static struct cpu_segment_lane push_lane(struct erne_arena *arena,
                                         const struct cpu_segment_shape *s,
                                         const struct cpu_segment_form *form)
{
    const size_t n = CPU_SEGMENT_ROWS * (size_t)s->d_pad;

    return (struct cpu_segment_lane){
        .q = erne_arena_push(arena, n * (size_t)form->number_bytes, 64),
        .out = erne_arena_push(arena, n * sizeof(float), 64),
        .rows = erne_arena_push(arena, CPU_SEGMENT_ROWS * sizeof(struct cpu_softmax), 64),
    };
}

/* The scratch: packed keys and values, then a lane for every thread. With fewer rows more
 * heads fit at once: up to what PACKED_BYTES holds. A few rows of slack, because kernels
 * look at whole fours of keys. */
static uint8_t *push_packed(struct erne_arena *arena, const struct erne_node *node,
                            const struct cpu_segment_form *form)
{
    const struct cpu_segment_shape s = shape_of(node, node->dst->dim[0], form);
    const int64_t slack = 4 * s.d_pad * form->number_bytes;
    const int64_t n_bytes = s.n_at_once * 2 * s.head_bytes;

    return erne_arena_push(arena, (size_t)(slack + cpu_max(n_bytes, PACKED_BYTES)), 64);
}

/* q, k, v, dst: [P, H * d], bounds: i32 [P, 2] */
int cpu_segment_run(struct erne_backend *be, const struct erne_node *node,
                    const struct erne_step *step, const struct cpu_segment_form *form)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct cpu_segment_shape s =
        shape_of(node, erne_tensor_rows(node->dst, step), form);
    const int64_t n_chunks = (s.n_rows + CPU_SEGMENT_ROWS - 1) / CPU_SEGMENT_ROWS;
    struct erne_arena arena = { cpu->scratch, 0, cpu->scratch_bytes };
    uint8_t *packed = push_packed(&arena, node, form);
    struct cpu_segment_lane lane = push_lane(&arena, &s, form); /* the first thread's */

    for (int i = 0; i < cpu_thread(); i++)
        lane = push_lane(&arena, &s, form);
    for (int64_t first = 0; first < s.n_heads; first += s.n_at_once) {
        const int64_t n_heads = cpu_min(s.n_at_once, s.n_heads - first);

        pack(cpu, packed, node, &s, form, first, n_heads, lane.q);
        cpu_barrier(cpu);
        for (int64_t i; (i = cpu_take(cpu)) < n_heads * n_chunks;) {
            const int64_t head = i / n_chunks, row = i % n_chunks * CPU_SEGMENT_ROWS;
            const uint8_t *k = keys_of(packed, &s, head);
            const struct cpu_segment_run r = {
                .head = first + head, .row = row, .k = k, .v = k + s.head_bytes
            };

            run_unit(cpu, node, &s, form, r, cpu_min(row + CPU_SEGMENT_ROWS, s.n_rows),
                     &lane);
        }
        if (first + s.n_at_once < s.n_heads)
            cpu_barrier(cpu); /* the rows are in use until here */
    }
    return ERNE_OK;
}

size_t cpu_segment_scratch(struct erne_backend *be, const struct erne_node *node,
                           const struct cpu_segment_form *form)
{
    const struct cpu_segment_shape s = shape_of(node, node->dst->dim[0], form);
    struct erne_arena arena = { NULL, 0, 0 };

    push_packed(&arena, node, form);
    for (int i = 0; i < cpu_of(be)->n_threads; i++)
        push_lane(&arena, &s, form);
    return arena.used;
}
