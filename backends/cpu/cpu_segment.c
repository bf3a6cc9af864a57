/* cpu_segment.c -- attention of the rows of a segment to each other, as two products on
 * tiles with a running softmax between them (Dao et al. 2022, arXiv 2205.14135).
 *
 * Keys (transposed) and values of a few heads are first laid out as f32 tiles, 64 rows
 * each wherever segments begin; then a unit of work is one head and up to CPU_CHUNK rows
 * of queries. Neither tiles nor units depend on the number of threads.
 */
#include "backends/cpu/cpu.h"

#include <float.h>
#include <string.h>

enum { TILE = ERNE_TILE_ROWS, PACKED_BYTES = 16 << 20 };

/* How a node looks to all units. Tile j holds rows 64 j and on. */
struct shape {
    int64_t n_rows, n_heads, d;
    int64_t n_tiles, n_parts;   /* tiles of rows; parts of 64 columns of a head */
    int64_t k_floats, v_floats; /* of a tile: [d, 64] and [n_parts, 64, 64] */
    int64_t n_at_once;          /* heads that are laid out together */
};

/* What a thread works in: scores [CPU_CHUNK, 64], sums [n_parts, CPU_CHUNK, 64], and the
 * state of each row's softmax. */
struct lane {
    float *scores, *sums;
    struct cpu_softmax rows[CPU_CHUNK];
};

/* A run of queries of one head that see the same rows. */
struct run {
    int64_t head, row, n; /* queries */
    int64_t first, end;   /* what they see */
    const float *packed;  /* tiles of the head */
};

static struct shape shape_of(const struct erne_node *node, int64_t n_rows)
{
    const int64_t n_heads = node->params.segment_attention.n_heads;
    const int64_t d = node->params.segment_attention.head_dim;
    struct shape s = { .n_rows = n_rows, .n_heads = n_heads, .d = d };

    s.n_tiles = (n_rows + TILE - 1) / TILE;
    s.n_parts = (d + TILE - 1) / TILE;
    s.k_floats = d * TILE;
    s.v_floats = s.n_parts * TILE * TILE;
    s.n_at_once =
        PACKED_BYTES / (int64_t)sizeof(float) / (s.n_tiles * (s.k_floats + s.v_floats));
    s.n_at_once = cpu_max(1, cpu_min(s.n_at_once, n_heads));
    return s;
}

static int64_t head_floats(const struct shape *s)
{
    return s->n_tiles * (s->k_floats + s->v_floats);
}

/* --------------------------------------------------------------- layout */

/* Rows 64 tile .. of a head's keys, transposed: [d, 64]; zeros past the last. */
static void pack_keys(float *dst, const struct erne_tensor *k, const struct shape *s,
                      int64_t head, int64_t tile)
{
    const int64_t n = cpu_min(TILE, s->n_rows - tile * TILE);

    if (n < TILE)
        memset(dst, 0, (size_t)s->k_floats * sizeof *dst);
    for (int64_t j = 0; j < n; j++) {
        const float *row = cpu_row(k, tile * TILE + j) + head * s->d;
        for (int64_t c = 0; c < s->d; c++)
            dst[c * TILE + j] = row[c];
    }
}

/* The same rows of its values: [n_parts, 64, 64], padded with zeros. */
static void pack_values(float *dst, const struct erne_tensor *v, const struct shape *s,
                        int64_t head, int64_t tile)
{
    const int64_t n = cpu_min(TILE, s->n_rows - tile * TILE);

    memset(dst, 0, (size_t)s->v_floats * sizeof *dst);
    for (int64_t j = 0; j < n; j++) {
        const float *row = cpu_row(v, tile * TILE + j) + head * s->d;
        for (int64_t p = 0; p < s->n_parts; p++)
            memcpy(dst + (p * TILE + j) * TILE, row + p * TILE,
                   (size_t)cpu_min(TILE, s->d - p * TILE) * sizeof *dst);
    }
}

/* This thread's share of the tiles of n_heads heads from `first` on. */
static void pack(float *packed, const struct erne_node *node, const struct shape *s,
                 int64_t first, int64_t n_heads)
{
    const struct cpu_range share = cpu_share(n_heads * s->n_tiles);

    for (int64_t i = share.first; i < share.end; i++) {
        const int64_t head = i / s->n_tiles, tile = i % s->n_tiles;
        float *keys = packed + head * head_floats(s) + tile * s->k_floats;
        float *values = packed + head * head_floats(s) + s->n_tiles * s->k_floats +
                        tile * s->v_floats;

        pack_keys(keys, node->src[ERNE_SRC_K], s, first + head, tile);
        pack_values(values, node->src[ERNE_SRC_V], s, first + head, tile);
    }
}

/* -------------------------------------------------------------- attention */

static void scale_sums(const struct lane *lane, const struct shape *s, int64_t i,
                       float factor)
{
    for (int64_t p = 0; p < s->n_parts; p++) {
        float *sums = lane->sums + (p * CPU_CHUNK + i) * TILE;
        for (int64_t c = 0; c < TILE; c++)
            sums[c] *= factor;
    }
}

/* Takes one tile of rows into the softmax of the run's queries. */
static void attend_tile(const struct cpu_backend *cpu, const struct erne_node *node,
                        const struct shape *s, const struct run *r, int64_t tile,
                        struct lane *lane)
{
    const struct erne_tensor *q = node->src[ERNE_SRC_X];
    const float *keys = r->packed + tile * s->k_floats;
    const float *values = r->packed + s->n_tiles * s->k_floats + tile * s->v_floats;
    const struct cpu_tile k = { .codes = (const uint8_t *)keys };
    const int first = (int)cpu_max(0, r->first - tile * TILE);
    const int end = (int)cpu_min(TILE, r->end - tile * TILE);

    memset(lane->scores, 0, (size_t)(r->n * TILE) * sizeof *lane->scores);
    cpu->kernels.tile_float[ERNE_CODEC_F32](
        lane->scores, &k, cpu_row(q, r->row) + r->head * s->d, q->stride, r->n, s->d);
    for (int64_t i = 0; i < r->n; i++) {
        const float keep = cpu->kernels.softmax_tile(&lane->rows[i],
                                                     lane->scores + i * TILE, first, end);
        if (keep != 1.0f)
            scale_sums(lane, s, i, keep);
    }
    for (int64_t p = 0; p < s->n_parts; p++) {
        const struct cpu_tile v = { .codes =
                                        (const uint8_t *)(values + p * TILE * TILE) };
        cpu->kernels.tile_float[ERNE_CODEC_F32](lane->sums + p * CPU_CHUNK * TILE, &v,
                                                lane->scores, TILE, r->n, TILE);
    }
}

static void run_queries(const struct cpu_backend *cpu, const struct erne_node *node,
                        const struct shape *s, const struct run *r, struct lane *lane)
{
    memset(lane->sums, 0, (size_t)(s->n_parts * CPU_CHUNK * TILE) * sizeof *lane->sums);
    for (int64_t i = 0; i < r->n; i++)
        lane->rows[i] =
            (struct cpu_softmax){ .max = -FLT_MAX,
                                  .scale = node->params.segment_attention.scale };
    for (int64_t tile = r->first / TILE; tile * TILE < r->end; tile++)
        attend_tile(cpu, node, s, r, tile, lane);
    for (int64_t i = 0; i < r->n; i++) {
        float *dst = cpu_row(node->dst, r->row + i) + r->head * s->d;
        const float inv = 1.0f / lane->rows[i].total;
        for (int64_t c = 0; c < s->d; c++)
            dst[c] = lane->sums[(c / TILE * CPU_CHUNK + i) * TILE + c % TILE] * inv;
    }
}

/* Queries row .. end of a head, cut where segments begin. */
static void run_unit(const struct cpu_backend *cpu, const struct erne_node *node,
                     const struct shape *s, struct run r, int64_t end, struct lane *lane)
{
    const int32_t *bounds = node->src[ERNE_SRC_BOUNDS]->data;

    for (; r.row < end; r.row += r.n) {
        r.first = bounds[2 * r.row];
        r.end = bounds[2 * r.row + 1];
        r.n = 1;
        while (r.row + r.n < end && bounds[2 * (r.row + r.n)] == r.first &&
               bounds[2 * (r.row + r.n) + 1] == r.end)
            r.n++;
        run_queries(cpu, node, s, &r, lane);
    }
}

/* ------------------------------------------------------------ entry points */

static size_t lane_bytes(const struct shape *s)
{
    return (size_t)((1 + s->n_parts) * CPU_CHUNK * TILE) * sizeof(float);
}

/* q, k, v, dst: [P, H * d], bounds: i32 [P, 2] */
static int segment_attention_run(struct erne_backend *be, const struct erne_node *node,
                                 const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct shape s = shape_of(node, erne_tensor_rows(node->dst, step));
    const int64_t n_chunks = (s.n_rows + CPU_CHUNK - 1) / CPU_CHUNK;
    float *packed =
        (float *)(void *)(cpu->scratch + (size_t)cpu->n_threads * lane_bytes(&s));
    struct lane lane;

    lane.scores = (float *)(void *)(cpu->scratch + (size_t)cpu_thread() * lane_bytes(&s));
    lane.sums = lane.scores + CPU_CHUNK * TILE;
    for (int64_t first = 0; first < s.n_heads; first += s.n_at_once) {
        const int64_t n_heads = cpu_min(s.n_at_once, s.n_heads - first);
        const struct cpu_range units = cpu_share(n_heads * n_chunks);

        pack(packed, node, &s, first, n_heads);
        cpu_barrier(cpu);
        for (int64_t i = units.first; i < units.end; i++) {
            const int64_t head = i / n_chunks, row = i % n_chunks * CPU_CHUNK;
            const struct run r = { .head = first + head,
                                   .row = row,
                                   .packed = packed + head * head_floats(&s) };

            run_unit(cpu, node, &s, r, cpu_min(row + CPU_CHUNK, s.n_rows), &lane);
        }
        if (first + s.n_at_once < s.n_heads)
            cpu_barrier(cpu); /* the tiles are in use until here */
    }
    return ERNE_OK;
}

static size_t segment_attention_scratch(struct erne_backend *be,
                                        const struct erne_node *node)
{
    const struct shape s = shape_of(node, node->dst->dim[0]);
    const size_t packed = (size_t)(s.n_at_once * head_floats(&s)) * sizeof(float);

    /* With fewer rows more heads fit at once: up to what PACKED_BYTES holds. */
    return (size_t)cpu_of(be)->n_threads * lane_bytes(&s) +
           (packed > PACKED_BYTES ? packed : PACKED_BYTES);
}

const struct erne_op_impl cpu_segment_attention = { .name = "tiles",
                                                    .scratch = segment_attention_scratch,
                                                    .run = segment_attention_run };
