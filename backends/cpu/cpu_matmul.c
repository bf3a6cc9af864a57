/* cpu_matmul.c -- matrix products by own kernels: f32 activations with float weights, and
 * int8 activations with w8, w4 and w2.
 *
 * The tokens are taken in chunks, and for each chunk a thread goes through its share of
 * the weights' tiles (64 rows of W), so that a single token is one streaming pass over
 * the file. cpu_onednn.c takes large float products before this file is asked.
 */
#include "backends/cpu/cpu.h"

#include <string.h>

/* --------------------------------------------------- tiles and their end */

int64_t cpu_n_tiles(const struct erne_node *node)
{
    return node->src[ERNE_SRC_W]->planes.n_pad / ERNE_TILE_ROWS;
}

struct cpu_tile cpu_tile_of(const struct cpu_backend *cpu, const struct erne_tensor *w,
                            int64_t tile)
{
    const struct erne_planes *planes = &w->planes;
    const uint16_t *scales = erne_tensor_scales(w), *minima = erne_tensor_minima(w);
    const int64_t at = tile * planes->n_groups * ERNE_TILE_ROWS;
    const int64_t bytes =
        planes->k_pad * ERNE_TILE_ROWS * erne_codec_bits(w->scheme.codec) / 8;
    const float zero =
        w->scheme.asym ? 0.0f : 0.5f * (float)erne_codec_zero2(w->scheme.codec);
    const uint8_t *codes = (const uint8_t *)erne_tensor_codes(w) + tile * bytes;
    return (struct cpu_tile){
        .codes = codes,
        .scales = scales != NULL ? scales + at : NULL,
        .minima = minima != NULL ? minima + at : NULL,
        .group = w->scheme.group != 0 ? w->scheme.group : planes->k_pad,
        .zero = w->scheme.codec == ERNE_CODEC_W8 ? cpu->kernels.w8_zero : zero,
        .next = (tile + 1) * ERNE_TILE_ROWS < planes->n_pad ? codes + bytes : NULL,
    };
}

void cpu_finish_tile(const struct cpu_backend *cpu, const struct erne_node *node,
                     int64_t tile, int64_t t, int64_t n, float *acc)
{
    const struct erne_tensor *bias = node->src[ERNE_SRC_BIAS];
    const struct erne_tensor *residual = node->src[ERNE_SRC_RESIDUAL];
    const enum erne_act act = node->params.matmul.act;
    const int64_t width = act == ERNE_ACT_SWIGLU ? ERNE_TILE_ROWS / 2 : ERNE_TILE_ROWS;
    const int64_t col = tile * width, row = tile * ERNE_TILE_ROWS;
    const int64_t n_cols = cpu_min(width, node->dst->dim[1] - col);
    if (n_cols <= 0)
        return;
    for (int64_t i = t; i < t + n; i++, acc += ERNE_TILE_ROWS) {
        const struct cpu_epilogue e = {
            .act = act,
            .bias = bias != NULL ? (const float *)bias->data + row : NULL,
            .residual = residual != NULL ? cpu_row(residual, i) + col : NULL,
            .dst = cpu_row(node->dst, i) + col,
            .n = (int)n_cols,
            .n_rows = (int)cpu_min(ERNE_TILE_ROWS, node->src[ERNE_SRC_W]->dim[0] - row),
        };
        cpu->kernels.finish(&e, acc);
    }
}

enum { ACC_BYTES = CPU_CHUNK * ERNE_TILE_ROWS * (int)sizeof(float) };

size_t cpu_acc_bytes(const struct cpu_backend *cpu)
{
    return (size_t)cpu->n_threads * ACC_BYTES;
}

/* ----------------------------------------------------------------- float */

void cpu_float_rows(struct cpu_backend *cpu, const struct erne_node *node, int64_t first,
                    int64_t end)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X], *w = node->src[ERNE_SRC_W];
    const struct cpu_range tiles = cpu_share(cpu_n_tiles(node));
    float *acc = (float *)(void *)(cpu->scratch + (size_t)cpu_thread() * ACC_BYTES);
    for (int64_t t = first; t < end; t += CPU_CHUNK) {
        const int64_t n = cpu_min(CPU_CHUNK, end - t);
        for (int64_t tile = tiles.first; tile < tiles.end; tile++) {
            const struct cpu_tile weights = cpu_tile_of(cpu, w, tile);
            memset(acc, 0, (size_t)n * ERNE_TILE_ROWS * sizeof *acc);
            cpu->kernels.tile_float[w->scheme.codec](acc, &weights, cpu_row(x, t),
                                                     x->stride, n, w->dim[1]);
            cpu_finish_tile(cpu, node, tile, t, n, acc);
        }
    }
}

/* x: [T, K], W: tile64 f32, bf16 or f16 [N, K], dst: [T, N'] */
static int float_run(struct erne_backend *be, const struct erne_node *node,
                     const struct erne_step *step)
{
    cpu_float_rows(cpu_of(be), node, 0, erne_tensor_rows(node->dst, step));
    return ERNE_OK;
}

static int float_prepare(struct erne_backend *be, struct erne_node *node)
{
    (void)be;
    return erne_codec_is_int(node->src[ERNE_SRC_W]->scheme.codec) ? ERNE_EUNSUPPORTED
                                                                  : ERNE_OK;
}

static size_t float_scratch(struct erne_backend *be, const struct erne_node *node)
{
    (void)node;
    return cpu_acc_bytes(cpu_of(be));
}

/* --------------------------------------------------------------- integer */

enum { MANY_TOKENS = 8 }; /* at which a product takes longer than its weights' reading */

/* Room for n tokens such that a block's inputs take an odd number of cache lines: were it
 * a power of two, all blocks of a token would compete for the same few places of a
 * cache. */
static int64_t token_stride(int64_t n, int block)
{
    const int64_t line = 64, n_lines = (n * block + line - 1) / line;
    return (n_lines | 1) * line / block;
}

struct cpu_activations cpu_push_activations(struct erne_arena *arena,
                                            const struct erne_tensor *w, int block,
                                            int64_t n_tok)
{
    struct cpu_activations x = { .k = w->dim[1],
                                 .k_pad = w->planes.k_pad,
                                 .n_blocks = w->planes.k_pad / block,
                                 .n_tok = token_stride(n_tok, block),
                                 .block = block };
    const size_t n = (size_t)(x.n_tok * x.n_blocks), bytes = n * (size_t)block;
    x.codes = erne_arena_push(arena, bytes, 64);
    x.scale = erne_arena_push(arena, n * sizeof *x.scale, 64);
    x.sum = erne_arena_push(arena, n * sizeof *x.sum, 64);
    x.n_high = erne_arena_push(arena, n, 64);
    x.high_at = erne_arena_push(arena, bytes / 4, 64);
    x.high = erne_arena_push(arena, bytes, 64);
    x.error = erne_arena_push(arena, n * sizeof *x.error, 64);
    x.has_high = erne_arena_push(arena, (size_t)n_tok * sizeof *x.has_high, 64);
    x.has_shift = erne_arena_push(arena, (size_t)n_tok * sizeof *x.has_shift, 64);
    return x;
}

/* Where a node's quantised activations are in the scratch (or, counting, their bytes). */
static struct cpu_activations push_activations(struct erne_arena *arena,
                                               const struct erne_node *node)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const int block = cpu_block_of(w->scheme);
    struct cpu_activations x = cpu_push_activations(arena, w, block, node->dst->dim[0]);
    if (w->scheme.codec == ERNE_CODEC_W8)
        x.shift = erne_arena_push(arena, (size_t)(x.n_tok * x.n_blocks), 64);
    return x;
}

void cpu_count_from(int32_t *list, int64_t first, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        list[i] = (int32_t)(first + i);
}

/* One tile with up to CPU_CHUNK quantised tokens from t on. */
static void int_tile(struct cpu_backend *cpu, const struct erne_node *node,
                     const struct cpu_activations *x, const struct cpu_tile *weights,
                     int64_t tile, struct cpu_range tokens)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const int64_t t = tokens.first, n = tokens.end - t;
    float *acc = (float *)(void *)(cpu->scratch + (size_t)cpu_thread() * ACC_BYTES);
    int32_t from[CPU_CHUNK];
    cpu_count_from(from, t, n);
    cpu->kernels.tile_int[w->scheme.codec](acc, weights, x, from, n);
    cpu_finish_tile(cpu, node, tile, t, n, acc);
}

/* Tokens a unit of work, of n_tok: chunks of like size, of whole groups of kernels. */
static int64_t chunk_of(int64_t n_tok)
{
    enum { GROUP = 12 };
    const int64_t n_chunks = (n_tok + CPU_CHUNK - 1) / CPU_CHUNK;
    return ((n_tok + n_chunks - 1) / n_chunks + GROUP - 1) / GROUP * GROUP;
}

/* x: [T, K], W: tile64 w8, w4 or w2 [N, K], dst: [T, N'] */
static int int_run(struct erne_backend *be, const struct erne_node *node,
                   const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const int64_t n_tok = erne_tensor_rows(node->dst, step), n_tiles = cpu_n_tiles(node);
    const int64_t chunk = chunk_of(n_tok), n_chunks = (n_tok + chunk - 1) / chunk;
    const struct cpu_range rows = cpu_share(n_tok), tiles = cpu_share(n_tiles);
    struct erne_arena arena = { cpu->scratch, cpu_acc_bytes(cpu), cpu->scratch_bytes };
    const struct cpu_activations x = push_activations(&arena, node);
    for (int64_t t = rows.first; t < rows.end; t++)
        cpu->kernels.quantise(&x, t, cpu_row(node->src[ERNE_SRC_X], t));
    cpu_barrier(cpu);
    /* A few tokens are a stream over the weights, and a stream is best left whole. */
    for (int64_t i = tiles.first; n_tok < MANY_TOKENS && i < tiles.end; i++) {
        const struct cpu_tile weights = cpu_tile_of(cpu, w, i);
        int_tile(cpu, node, &x, &weights, i, (struct cpu_range){ 0, n_tok });
    }
    if (n_tok < MANY_TOKENS)
        return ERNE_OK;
    for (int64_t u = cpu_take(cpu), next; u < n_chunks * n_tiles; u = next) {
        struct cpu_tile weights = cpu_tile_of(cpu, w, u % n_tiles);
        const int64_t t = u / n_tiles * chunk;
        next = cpu_take(cpu); /* so early to know what to fetch */
        weights.next = cpu_tile_of(cpu, w, next % n_tiles).codes;
        int_tile(cpu, node, &x, &weights, u % n_tiles,
                 (struct cpu_range){ t, cpu_min(t + chunk, n_tok) });
    }
    return ERNE_OK;
}

static int int_prepare(struct erne_backend *be, struct erne_node *node)
{
    (void)be;
    return erne_codec_is_int(node->src[ERNE_SRC_W]->scheme.codec) ? ERNE_OK
                                                                  : ERNE_EUNSUPPORTED;
}

static size_t int_scratch(struct erne_backend *be, const struct erne_node *node)
{
    struct erne_arena arena = { NULL, cpu_acc_bytes(cpu_of(be)), 0 };
    push_activations(&arena, node);
    return arena.used;
}

const struct erne_op_impl cpu_matmul_float = {
    .name = "tiles", .prepare = float_prepare, .scratch = float_scratch, .run = float_run
};
const struct erne_op_impl cpu_matmul_int = {
    .name = "tiles_int8", .prepare = int_prepare, .scratch = int_scratch, .run = int_run
};
