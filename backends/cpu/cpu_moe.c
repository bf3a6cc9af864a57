/* cpu_moe.c -- mixtures of experts: the choice of experts, and their SwiGLU networks.
 *
 * A slot is a token at an expert; slots are sorted by expert, so that an expert's weights
 * are read once a step, for all its tokens. The team then goes through three phases: gate
 * and up tiles of all experts into hidden rows [slots, n_ff]; hidden rows to int8; down
 * tiles, experts in ascending order, so that a token's sum has the same order for any
 * number of threads and whatever other tokens are in the step. Where memory is limited
 * this is done for a few experts after the other, while the next come from the disk.
 */
#include "backends/cpu/cpu.h"

#include <string.h>

#include "runtime/expert_cache.h"
#include "runtime/route.h"

/* ----------------------------------------------------------------- route */

/* logits: [T, B * E], bias: [B * E], kind: i32 [T], dst: [T, B * E] */
static int route_run(struct erne_backend *be, const struct erne_node *node,
                     const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct erne_tensor *bias = node->src[ERNE_SRC_ROUTE_BIAS];
    const struct erne_tensor *kind = node->src[ERNE_SRC_KIND];
    const struct cpu_range rows = cpu_share(erne_tensor_rows(x, step));
    double *p = (double *)(void *)cpu_of(be)->scratch + cpu_thread() * x->dim[1];
    struct erne_router router = {
        .n_experts = (int32_t)(x->dim[1] / node->params.moe_route.n_banks),
        .n_used = node->params.moe_route.n_used,
        .norm_min = node->params.moe_route.norm_min,
    };
    for (int64_t t = rows.first; t < rows.end; t++) {
        const int32_t bank = kind != NULL ? ((const int32_t *)kind->data)[t] : 0;
        const int64_t first = (int64_t)bank * router.n_experts;
        router.bias = bias != NULL ? (const float *)bias->data + first : NULL;
        memset(cpu_row(node->dst, t), 0, (size_t)x->dim[1] * sizeof(float));
        erne_route_token(&router, cpu_row(x, t) + first, cpu_row(node->dst, t) + first,
                         p);
    }
    return ERNE_OK;
}

/* The probabilities of one token for every thread. */
static size_t route_scratch(struct erne_backend *be, const struct erne_node *node)
{
    return (size_t)cpu_of(be)->n_threads * (size_t)node->dst->dim[1] * sizeof(double);
}

/* ------------------------------------------------------------- the slots */

/* A node's operands, and where its intermediate results are in the scratch. */
struct moe {
    struct cpu_backend *cpu;
    const struct erne_node *node;
    const struct erne_tensor *up, *down; /* banks */
    int64_t n_tok, n_experts, n_ff;
    int64_t first, end; /* experts of this batch */
    bool is_int;
    float *acc;     /* [CPU_CHUNK, 64] of this thread */
    int32_t *start; /* [n_experts + 1]: slots start[e] .. start[e + 1] are expert e's */
    int32_t *token; /* [slots] */
    float *hidden;  /* [slots, n_ff] */
    float *rows;    /* [slots, K]: inputs by slot; float weights */
    struct cpu_activations tokens, mid; /* inputs by token, hidden by slot */
};

static const struct erne_tensor *first_of(const struct erne_tensor *bank)
{
    return &bank->bank[0];
}

/* The smallest block that suits all experts of a bank. */
static int block_of(const struct erne_tensor *bank)
{
    int block = 64;
    for (int64_t e = 0; e < bank->dim[0]; e++)
        block = (int)cpu_min(block, cpu_block_of(bank->bank[e].scheme));
    return block;
}

/* Lays a step of up to dst->dim[0] tokens out in the arena, or counts its bytes. */
static struct moe lay_out(struct cpu_backend *cpu, const struct erne_node *node,
                          struct erne_arena *arena)
{
    const int64_t n_tok = node->dst->dim[0];
    const int64_t n_slots = n_tok * node->params.moe_ffn.n_used;
    struct moe m = { .cpu = cpu,
                     .node = node,
                     .up = node->src[ERNE_SRC_GATE_UP],
                     .down = node->src[ERNE_SRC_DOWN] };
    m.n_experts = m.up->dim[0];
    m.n_ff = m.down->dim[2];
    m.is_int = erne_codec_is_int(first_of(m.up)->scheme.codec);
    m.start = erne_arena_push(arena, (size_t)(m.n_experts + 1) * sizeof *m.start, 64);
    m.token = erne_arena_push(arena, (size_t)n_slots * sizeof *m.token, 64);
    m.hidden = erne_arena_push(arena, (size_t)(n_slots * m.n_ff) * sizeof(float), 64);
    if (m.is_int) {
        m.tokens = cpu_push_activations(arena, first_of(m.up), block_of(m.up), n_tok);
        m.mid = cpu_push_activations(arena, first_of(m.down), block_of(m.down), n_slots);
    } else {
        m.rows =
            erne_arena_push(arena, (size_t)(n_slots * m.up->dim[2]) * sizeof(float), 64);
    }
    return m;
}

/* Fills start and token. False if a token has more experts than it may have. */
static bool sort_slots(const struct moe *m)
{
    const struct erne_tensor *weights = m->node->src[ERNE_SRC_WEIGHTS];
    const int64_t n_slots = m->n_tok * m->node->params.moe_ffn.n_used;
    int32_t n = 0;
    for (int64_t e = 0; e < m->n_experts; e++) {
        m->start[e] = n;
        for (int64_t t = 0; t < m->n_tok; t++) {
            const float weight = cpu_row(weights, t)[e];
            if (!(weight < 0.0f || weight > 0.0f))
                continue;
            if (n == n_slots)
                return false;
            m->token[n++] = (int32_t)t;
        }
    }
    m->start[m->n_experts] = n;
    return true;
}

/* Inputs by slot for float weights. A single token needs no copies: all its slots share
 * its row. */
static void gather(const struct moe *m)
{
    const struct erne_tensor *x = m->node->src[ERNE_SRC_X];
    const struct cpu_range slots = cpu_share(m->start[m->n_experts]);
    for (int64_t s = slots.first; s < slots.end; s++)
        memcpy(m->rows + s * x->dim[1], cpu_row(x, m->token[s]),
               (size_t)x->dim[1] * sizeof(float));
}

/* ------------------------------------------------------------ the phases */

/* What a tile is multiplied by, for integer weights and for others. */
struct inputs {
    const struct cpu_activations *x;
    const int32_t *from; /* rows of x */
    const float *rows;   /* [n, K] */
};

/* acc [n, 64] = n inputs times the tile of w: those that `from` lists, or rows. */
static void multiply(const struct moe *m, const struct erne_tensor *w, int64_t tile,
                     const struct inputs *in, int64_t n)
{
    const struct cpu_tile weights = cpu_tile_of(m->cpu, w, tile);
    const int64_t k = w->dim[1];
    if (m->is_int) {
        m->cpu->kernels.tile_int[w->scheme.codec](m->acc, &weights, in->x, in->from, n);
        return;
    }
    memset(m->acc, 0, (size_t)n * ERNE_TILE_ROWS * sizeof(float));
    m->cpu->kernels.tile_float[w->scheme.codec](m->acc, &weights, in->rows, k, n, k);
}

/* Inputs of slots s and on, which float weights take from their rows. */
static struct inputs inputs_from(const struct moe *m, int64_t s)
{
    const struct erne_tensor *x = m->node->src[ERNE_SRC_X];
    struct inputs in = { .x = &m->tokens, .from = m->token + s };
    if (!m->is_int)
        in.rows = m->n_tok == 1 ? cpu_row(x, 0) : m->rows + s * x->dim[1];
    return in;
}

/* Hidden values of one expert's slots from one tile of its gate and up rows. */
static void gate_up_tile(const struct moe *m, int64_t expert, int64_t tile)
{
    const int64_t end = m->start[expert + 1], width = ERNE_TILE_ROWS / 2;
    const int64_t n_cols = cpu_min(width, m->n_ff - tile * width);
    for (int64_t s = m->start[expert]; s < end && n_cols > 0; s += CPU_CHUNK) {
        const int64_t n = cpu_min(CPU_CHUNK, end - s);
        const struct inputs in = inputs_from(m, s);
        multiply(m, &m->up->bank[expert], tile, &in, n);
        for (int64_t i = 0; i < n; i++) {
            const struct cpu_epilogue e = {
                .act = ERNE_ACT_SWIGLU,
                .dst = m->hidden + (s + i) * m->n_ff + tile * width,
                .n = (int)n_cols,
                .n_rows = ERNE_TILE_ROWS,
            };
            m->cpu->kernels.finish(&e, m->acc + i * ERNE_TILE_ROWS);
        }
    }
}

/* This thread's part of all experts' gate and up tiles. A tile costs as much as its
 * tokens, and reading it as much as a few of them. */
static void gate_up(const struct moe *m)
{
    enum { READING = 4 };
    const int64_t n_tiles = first_of(m->up)->planes.n_pad / ERNE_TILE_ROWS;
    int64_t total = 0, at = 0;
    for (int64_t e = m->first; e < m->end; e++) {
        const int64_t n = m->start[e + 1] - m->start[e];
        total += n > 0 ? n_tiles * (n + READING) : 0;
    }
    const struct cpu_range mine = cpu_share(total);
    for (int64_t e = m->first; e < m->end; e++) {
        const int64_t n = m->start[e + 1] - m->start[e], cost = n + READING;
        for (int64_t tile = 0; n > 0 && tile < n_tiles; tile++, at += cost) {
            if (at >= mine.first && at < mine.end)
                gate_up_tile(m, e, tile);
        }
    }
}

static void quantise_hidden(const struct moe *m)
{
    const int64_t first = m->start[m->first];
    const struct cpu_range slots = cpu_share(m->start[m->end] - first);
    for (int64_t s = first + slots.first; s < first + slots.end; s++)
        m->cpu->kernels.quantise(&m->mid, s, m->hidden + s * m->n_ff);
}

/* Columns col .. col + n_cols of dst as they are without experts. */
static void begin_columns(const struct moe *m, int64_t col, int64_t n_cols)
{
    const struct erne_tensor *residual = m->node->src[ERNE_SRC_FFN_RESIDUAL];
    for (int64_t t = 0; t < m->n_tok; t++) {
        float *dst = cpu_row(m->node->dst, t) + col;
        if (residual != NULL)
            memcpy(dst, cpu_row(residual, t) + col, (size_t)n_cols * sizeof *dst);
        else
            memset(dst, 0, (size_t)n_cols * sizeof *dst);
    }
}

/* Adds n slots of an expert to one tile of columns. */
static void down_tile(const struct moe *m, int64_t expert, int64_t tile, int64_t s,
                      int64_t n)
{
    const struct erne_tensor *weights = m->node->src[ERNE_SRC_WEIGHTS];
    const int64_t col = tile * ERNE_TILE_ROWS;
    const int64_t n_cols = cpu_min(ERNE_TILE_ROWS, m->down->dim[1] - col);
    int32_t from[CPU_CHUNK];
    const struct inputs in = { &m->mid, from, m->hidden + s * m->n_ff };
    cpu_count_from(from, s, n);
    multiply(m, &m->down->bank[expert], tile, &in, n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t t = m->token[s + i];
        m->cpu->kernels.add_scaled(cpu_row(m->node->dst, t) + col,
                                   m->acc + i * ERNE_TILE_ROWS,
                                   cpu_row(weights, t)[expert], n_cols);
    }
}

/* This thread's columns of dst, from one expert after the other: its hidden values stay
 * in the cache for all tiles, and its weights are read as they lie in the file. */
static void down(const struct moe *m)
{
    const int64_t n_tiles = first_of(m->down)->planes.n_pad / ERNE_TILE_ROWS;
    const struct cpu_range tiles = cpu_share(n_tiles);
    const int64_t col = tiles.first * ERNE_TILE_ROWS;
    const int64_t end = cpu_min(tiles.end * ERNE_TILE_ROWS, m->down->dim[1]);
    if (col >= end)
        return;
    if (m->first == 0)
        begin_columns(m, col, end - col);
    for (int64_t e = m->first; e < m->end; e++) {
        for (int64_t s = m->start[e]; s < m->start[e + 1]; s += CPU_CHUNK) {
            const int64_t n = cpu_min(CPU_CHUNK, m->start[e + 1] - s);
            for (int64_t tile = tiles.first; tile < tiles.end; tile++)
                down_tile(m, e, tile, s, n);
        }
    }
}

/* -------------------------------------------------------------- the node */

/* Sets the end of the batch behind m->first, and lets the system read its experts. */
static void fetch(struct moe *m)
{
    struct erne_expert_cache *experts = m->cpu->base.experts;
    m->end = m->n_experts;
    if (experts == NULL)
        return;
    m->end = erne_expert_cache_batch(experts, m->up, m->start, m->first);
    if (cpu_thread() == 0)
        erne_expert_cache_fetch(experts, m->up, m->start, m->first, m->end);
}

/* All phases for the experts of a batch. */
static void compute(const struct moe *m)
{
    gate_up(m);
    cpu_barrier(m->cpu);
    if (m->is_int) {
        quantise_hidden(m);
        cpu_barrier(m->cpu);
    }
    down(m);
}

/* x: [T, K], weights: [T, E], gate_up, down: banks, residual, dst: [T, K'] */
static int ffn_run(struct erne_backend *be, const struct erne_node *node,
                   const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    struct erne_arena arena = { cpu->scratch, cpu_acc_bytes(cpu), cpu->scratch_bytes };
    struct moe m = lay_out(cpu, node, &arena);
    m.acc = (float *)(void *)(cpu->scratch + cpu_acc_bytes(cpu) / (size_t)cpu->n_threads *
                                                 (size_t)cpu_thread());
    m.n_tok = erne_tensor_rows(node->dst, step);
    const struct cpu_range rows = cpu_share(m.n_tok);
    if (cpu_thread() == 0 && !sort_slots(&m))
        m.start[m.n_experts] = -1; /* seen by all behind the barrier */
    for (int64_t t = rows.first; m.is_int && t < rows.end; t++)
        cpu->kernels.quantise(&m.tokens, t, cpu_row(node->src[ERNE_SRC_X], t));
    cpu_barrier(cpu);
    if (m.start[m.n_experts] < 0)
        return ERNE_EINVAL;
    if (m.n_tok > 1 && !m.is_int) {
        gather(&m);
        cpu_barrier(cpu);
    }
    fetch(&m);
    while (m.end < m.n_experts) {
        struct moe next = m;
        next.first = m.end;
        fetch(&next);
        compute(&m);
        cpu_barrier(cpu);
        m = next;
    }
    compute(&m);
    return ERNE_OK;
}

static size_t ffn_scratch(struct erne_backend *be, const struct erne_node *node)
{
    struct erne_arena arena = { NULL, cpu_acc_bytes(cpu_of(be)), 0 };
    lay_out(cpu_of(be), node, &arena);
    return arena.used;
}

/* All experts of both banks take the same kind of activations. */
static int ffn_prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct erne_tensor *up = node->src[ERNE_SRC_GATE_UP];
    const struct erne_tensor *down = node->src[ERNE_SRC_DOWN];
    const struct erne_tensor *a = first_of(up), *b = first_of(down);
    const bool is_int = erne_codec_is_int(a->scheme.codec);
    (void)be;
    for (int64_t e = 0; e < up->dim[0]; e++) {
        if (erne_codec_is_int(up->bank[e].scheme.codec) != is_int ||
            erne_codec_is_int(down->bank[e].scheme.codec) != is_int ||
            up->bank[e].planes.k_pad != a->planes.k_pad ||
            down->bank[e].planes.k_pad != b->planes.k_pad)
            return ERNE_EUNSUPPORTED;
    }
    return ERNE_OK;
}

const struct erne_op_impl cpu_moe_route = { .name = "rows",
                                            .scratch = route_scratch,
                                            .run = route_run };
const struct erne_op_impl cpu_moe_ffn = {
    .name = "slots", .prepare = ffn_prepare, .scratch = ffn_scratch, .run = ffn_run
};
