/* cpu_attention.c -- causal attention over the paged cache.
 *
 * A unit of work is one KV head, some tokens, and a run of pages: all query heads of
 * these tokens go through a page together. A batch of tokens has units enough, each with
 * all pages; for few tokens the pages are divided, too, into runs of SPLIT_PAGES, and
 * what each run found is merged afterwards. Units do not depend on the number of threads.
 *
 * Where the node may round, the processor multiplies pairs of bf16 and there are queries
 * enough to pay for it, a unit first lays each page out in bf16.
 */
#include "backends/cpu/cpu.h"
#include "runtime/kv_row.h"
#include "runtime/round.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Of a unit of a batch: rows of queries aimed at. Up to FEW_TOKENS, pages are divided. */
enum { UNIT_ROWS = 64, FEW_TOKENS = 4, SPLIT_PAGES = 8 };
/* From how many queries a page on it pays to lay it out: it costs as much as four. */
enum { BF16_MIN_ROWS = 8 };

static const float LOG2_E = 1.44269504f;

/* How a node and a step look to all units. */
struct shape {
    int64_t n_kv_heads, group; /* query heads a KV head */
    int64_t d, d_pad;          /* head_dim, and rounded up to what kernels take */
    int64_t n_tok;
    int64_t unit_tok, n_chunks; /* tokens a unit, units that makes */
    int64_t unit_rows;          /* queries of a unit there is room for */
    int64_t n_splits;           /* runs of pages */
    enum erne_type type;
    int64_t row_bytes; /* of a row of the cache */
    bool direct;       /* a kernel takes the rows as they are */
    bool bf16;         /* computed in bf16 */
    const int32_t *table, *position;
};

/* What a thread works in. */
struct lane {
    float *k, *v;             /* [ERNE_KV_PAGE, d_pad]: pages that no kernel takes */
    float *k_scale, *v_scale; /* [ERNE_KV_PAGE]: of those that one takes */
    uint16_t *k16, *v16;      /* a page in bf16 */
    float *q;                 /* [rows, d_pad]: queries times the scale */
    uint16_t *q16;            /* the same in bf16 */
    struct cpu_softmax *rows; /* [rows] */
    float *out;               /* [rows, d_pad] */
};

struct unit {
    int64_t kv_head;
    int64_t t, n_tok;   /* the tokens */
    int64_t first, end; /* the pages */
    int64_t then;       /* where what is wanted after them begins, as start_of says */
};

static int64_t last_page(const struct shape *s, int64_t t, int64_t n_tok)
{
    int32_t last = 0;

    for (int64_t i = t; i < t + n_tok; i++)
        last = s->position[i] > last ? s->position[i] : last;
    return last / ERNE_KV_PAGE;
}

static struct shape shape_of(const struct cpu_backend *cpu, const struct erne_node *node,
                             int64_t n_tok)
{
    const int64_t n_heads = node->params.attention.n_heads;
    struct shape s = { .n_kv_heads = node->params.attention.n_kv_heads,
                       .d = node->params.attention.head_dim,
                       .n_tok = n_tok,
                       .type = node->src[ERNE_SRC_K]->type,
                       .table = node->src[ERNE_SRC_TABLE]->data,
                       .position = node->src[ERNE_SRC_QPOS]->data };

    s.group = n_heads / s.n_kv_heads;
    s.d_pad = erne_round_up(s.d, CPU_HEAD_STEP);
    s.direct = s.d % (s.type == ERNE_TYPE_Q4 ? 2 * CPU_HEAD_STEP : CPU_HEAD_STEP) == 0;
    s.row_bytes = erne_kv_row_len(s.type, s.d) * (int64_t)erne_type_bytes(s.type);
    s.unit_tok = n_tok <= FEW_TOKENS ? 1 : cpu_max(1, UNIT_ROWS / s.group);
    s.n_chunks = (n_tok + s.unit_tok - 1) / s.unit_tok;
    s.n_splits = 1;
    s.unit_rows = s.unit_tok * s.group;
    s.bf16 = node->params.attention.rounds && s.direct &&
             cpu->kernels.pack_bf16[s.type] != NULL &&
             (n_tok > FEW_TOKENS || s.group >= BF16_MIN_ROWS);
    if (s.bf16)
        s.unit_rows = erne_round_up(s.unit_rows, CPU_BF16_ROWS);
    return s;
}

/* ----------------------------------------------------------------- a unit */

/* n rows in f32, padded with zeros to d_pad. */
static void widen(const struct cpu_backend *cpu, float *dst, const struct shape *s,
                  const uint8_t *rows, int64_t n)
{
    for (int64_t i = 0; i < n; i++, dst += s->d_pad, rows += s->row_bytes) {
        if (erne_kv_is_quantised(s->type))
            erne_kv_decode(s->type, dst, rows, s->d);
        else if (s->type == ERNE_TYPE_F16)
            cpu->kernels.f32_from_f16(dst, (const uint16_t *)(const void *)rows, s->d);
        else
            memcpy(dst, rows, (size_t)s->row_bytes);
        memset(dst + s->d, 0, (size_t)(s->d_pad - s->d) * sizeof *dst);
    }
}

/* The scales of n rows of codes; zeros after them. */
static const float *load_scales(const struct cpu_backend *cpu, float *dst,
                                const struct shape *s, const uint8_t *rows, int64_t n)
{
    uint16_t half[ERNE_KV_PAGE] = { 0 };

    for (int64_t i = 0; i < n; i++)
        memcpy(&half[i], rows + (i + 1) * s->row_bytes - ERNE_KV_SCALE_BYTES,
               sizeof half[i]);
    cpu->kernels.f32_from_f16(dst, half, ERNE_KV_PAGE);
    return dst;
}

/* Where a KV head's rows of a page begin, in bytes. */
static int64_t start_of(const struct shape *s, int64_t kv_head, int64_t page)
{
    return (s->table[page] * s->n_kv_heads + kv_head) * ERNE_KV_PAGE * s->row_bytes;
}

/* The end of attend_page for n_rows rows. */
static void attend_bf16(const struct cpu_backend *cpu, const struct shape *s,
                        const struct lane *lane, const struct cpu_kv_page *page,
                        int64_t n_rows, int64_t n)
{
    const struct cpu_bf16_keys kv = { .k = lane->k16,
                                      .v = lane->v16,
                                      .next_k = page->next_k,
                                      .next_v = page->next_v,
                                      .next_bytes = page->next_bytes,
                                      .d = s->d_pad,
                                      .end = (int)n };

    cpu->kernels.pack_bf16[s->type](lane->k16, lane->v16, page, (int)n);
    cpu->kernels.attend_bf16(lane->rows, lane->q16, erne_round_up(n_rows, CPU_BF16_ROWS),
                             &kv);
}

/* Takes n positions of a page into the softmaxes of a unit's rows. */
static void attend_page(const struct cpu_backend *cpu, const struct erne_node *node,
                        const struct shape *s, const struct lane *lane,
                        const struct unit *u, int64_t page, int64_t n)
{
    const uint8_t *keys = node->src[ERNE_SRC_K]->data;
    const uint8_t *values = node->src[ERNE_SRC_V]->data;
    const int64_t at = start_of(s, u->kv_head, page);
    const int64_t next = page + 1 < u->end ? start_of(s, u->kv_head, page + 1) : u->then;
    const uint8_t *k = keys + at, *v = values + at;
    struct cpu_kv_page kv = {
        .k = k,
        .v = v,
        .next_k = keys + next,
        .next_v = values + next,
        .next_bytes = ERNE_KV_PAGE * s->row_bytes,
        .row_bytes = s->row_bytes,
        .d = s->d_pad,
    };

    if (!s->direct) {
        widen(cpu, lane->k, s, k, n);
        widen(cpu, lane->v, s, v, n);
        kv.k = (const uint8_t *)lane->k;
        kv.v = (const uint8_t *)lane->v;
        kv.row_bytes = s->d_pad * (int64_t)sizeof(float);
    } else if (erne_kv_is_quantised(s->type)) {
        kv.k_scale = load_scales(cpu, lane->k_scale, s, k, n);
        kv.v_scale = load_scales(cpu, lane->v_scale, s, v, n);
    }
    if (s->bf16)
        attend_bf16(cpu, s, lane, &kv, u->n_tok * s->group, n);
    else
        cpu->kernels.attend[s->direct ? s->type : ERNE_TYPE_F32](
            lane->rows, lane->q, u->n_tok * s->group, &kv);
}

/* Query i of a unit as kernels take it. Scaled while it is rounded where that is all:
 * what this file writes in narrow vectors, kernels would have to wait for. src: [d] */
static void take_query(const struct cpu_backend *cpu, const struct shape *s,
                       const struct lane *lane, int64_t i, const float *src, float scale)
{
    float *q = lane->q + i * s->d_pad;
    uint16_t *q16 = s->bf16 ? lane->q16 + i * s->d_pad : NULL;

    if (s->bf16 && s->type != ERNE_TYPE_Q4) {
        cpu->kernels.bf16_from_f32(q16, src, scale, s->d); /* d == d_pad */
        return;
    }
    memset(q + s->d, 0, (size_t)(s->d_pad - s->d) * sizeof *q);
    for (int64_t c = 0; c < s->d; c++)
        q[c] = src[c] * scale;
    if (s->type == ERNE_TYPE_Q4)
        erne_kv_rotate(q, s->d);
    if (s->bf16)
        cpu->kernels.bf16_from_f32(q16, q, 1.0f, s->d_pad);
}

/* For bf16, rows up to whole groups of the kernel's see nothing. */
static void begin_rows(const struct cpu_backend *cpu, const struct erne_node *node,
                       const struct shape *s, const struct lane *lane,
                       const struct unit *u)
{
    const float scale = node->params.attention.scale * (s->bf16 ? LOG2_E : 1.0f);
    const int64_t n = u->n_tok * s->group;

    for (int64_t i = 0; i < n; i++) {
        const float *q = cpu_row(node->src[ERNE_SRC_X], u->t + i / s->group) +
                         (u->kv_head * s->group + i % s->group) * s->d;
        float *out = lane->out + i * s->d_pad;

        memset(out, 0, (size_t)s->d_pad * sizeof *out);
        take_query(cpu, s, lane, i, q, scale);
        lane->rows[i] = (struct cpu_softmax){ .max = -FLT_MAX, .out = out };
    }
    for (int64_t i = n; s->bf16 && i < erne_round_up(n, CPU_BF16_ROWS); i++) {
        float *out = lane->out + i * s->d_pad;

        memset(out, 0, (size_t)s->d_pad * sizeof *out);
        memset(lane->q16 + i * s->d_pad, 0, (size_t)s->d_pad * sizeof *lane->q16);
        lane->rows[i] = (struct cpu_softmax){ .max = -FLT_MAX, .out = out };
    }
}

static void run_unit(const struct cpu_backend *cpu, const struct erne_node *node,
                     const struct shape *s, const struct lane *lane, const struct unit *u)
{
    begin_rows(cpu, node, s, lane, u);
    for (int64_t page = u->first; page < u->end; page++) {
        int64_t most = 0;

        for (int64_t i = 0; i < u->n_tok * s->group; i++) {
            const int64_t seen =
                s->position[u->t + i / s->group] + 1 - page * ERNE_KV_PAGE;

            lane->rows[i].n = (int)cpu_max(0, cpu_min(seen, ERNE_KV_PAGE));
            most = cpu_max(most, lane->rows[i].n);
        }
        attend_page(cpu, node, s, lane, u, page, most);
    }
}

/* ------------------------------------------------------------- whole rows */

/* What softmaxes count the powers of. */
static float power(const struct shape *s, float x)
{
    return s->bf16 ? exp2f(x) : expf(x);
}

/* A query head's result from what n_parts runs of pages found; parts[i * step] is its
 * row in run i. dst: [d] */
static void merge(float *dst, const struct shape *s, const struct cpu_softmax *parts,
                  int64_t n_parts, int64_t step)
{
    float max = -FLT_MAX, total = 0.0f;

    for (int64_t i = 0; i < n_parts; i++)
        max = fmaxf(max, parts[i * step].max);
    for (int64_t i = 0; i < n_parts; i++)
        total += parts[i * step].total * power(s, parts[i * step].max - max);
    for (int64_t i = 0; i < n_parts; i++) {
        const struct cpu_softmax *part = &parts[i * step];
        const float weight = power(s, part->max - max) / total;

        for (int64_t c = 0; c < s->d; c++)
            dst[c] = (i == 0 ? 0.0f : dst[c]) + weight * part->out[c];
    }
    if (s->type == ERNE_TYPE_Q4)
        erne_kv_rotate(dst, s->d);
}

static float *dst_of(const struct erne_node *node, const struct shape *s, int64_t t,
                     int64_t head)
{
    return cpu_row(node->dst, t) + head * s->d;
}

/* Every unit is done with its rows. */
static void run_batch(struct cpu_backend *cpu, const struct erne_node *node,
                      const struct shape *s, const struct lane *lane)
{
    const int64_t n_units = s->n_chunks * s->n_kv_heads;

    /* The last tokens first, since they see the most pages. */
    for (int64_t i; (i = n_units - 1 - cpu_take(cpu)) >= 0;) {
        struct unit u = { .kv_head = i % s->n_kv_heads,
                          .t = i / s->n_kv_heads * s->unit_tok };

        u.n_tok = cpu_min(s->unit_tok, s->n_tok - u.t);
        u.end = last_page(s, u.t, u.n_tok) + 1;
        u.then = start_of(s, u.kv_head, 0);
        run_unit(cpu, node, s, lane, &u);
        for (int64_t r = 0; r < u.n_tok * s->group; r++)
            merge(
                dst_of(node, s, u.t + r / s->group, u.kv_head * s->group + r % s->group),
                s, &lane->rows[r], 1, 0);
    }
}

/* Unit i of run_few: one token and a run of pages. */
static struct unit split_of(const struct shape *s, int64_t i)
{
    const int64_t t = i / s->n_splits / s->n_kv_heads;
    const int64_t first = i % s->n_splits * SPLIT_PAGES;

    return (struct unit){ .kv_head = i / s->n_splits % s->n_kv_heads,
                          .t = t,
                          .n_tok = 1,
                          .first = first,
                          .end = cpu_min(first + SPLIT_PAGES, last_page(s, t, 1) + 1) };
}

/* Every token's units: rows [n_tok, n_kv_heads, n_splits, unit_rows] and
 * out [the same, d_pad] are the team's. */
static void run_few(struct cpu_backend *cpu, const struct erne_node *node,
                    const struct shape *s, struct lane lane, struct cpu_softmax *rows,
                    float *out)
{
    const int64_t n_units = s->n_tok * s->n_kv_heads * s->n_splits;
    const struct cpu_range heads = cpu_share(s->n_tok * s->n_kv_heads * s->group);

    for (int64_t i = cpu_thread(); i < n_units; i += cpu_team()) {
        const struct unit next = split_of(s, cpu_min(i + cpu_team(), n_units - 1));
        struct unit u = split_of(s, i);

        u.then = start_of(s, next.kv_head, next.first);
        lane.rows = rows + i * s->unit_rows;
        lane.out = out + i * s->unit_rows * s->d_pad;
        run_unit(cpu, node, s, &lane, &u);
    }
    cpu_barrier(cpu);
    for (int64_t i = heads.first; i < heads.end; i++) {
        const int64_t kv = i / s->group; /* of all tokens */

        merge(dst_of(node, s, kv / s->n_kv_heads,
                     kv % s->n_kv_heads * s->group + i % s->group),
              s, rows + kv * s->n_splits * s->unit_rows + i % s->group, s->n_splits,
              s->unit_rows);
    }
}

/* ----------------------------------------------------------- entry points */

/* Takes the memory of n rows of a unit, or counts it. */
static void push_rows(struct erne_arena *arena, const struct shape *s, int64_t n,
                      struct cpu_softmax **rows, float **out)
{
    *rows = erne_arena_push(arena, (size_t)n * sizeof **rows, 64);
    *out = erne_arena_push(arena, (size_t)(n * s->d_pad) * sizeof(float), 64);
}

static struct lane push_lane(struct erne_arena *arena, const struct shape *s)
{
    const size_t n_q = (size_t)(s->unit_rows * s->d_pad);
    const size_t page = ERNE_KV_PAGE * (size_t)s->d_pad * sizeof(float);
    struct lane lane = { .k = NULL };

    if (!s->direct) {
        lane.k = erne_arena_push(arena, page, 64);
        lane.v = erne_arena_push(arena, page, 64);
    }
    lane.k_scale = erne_arena_push(arena, ERNE_KV_PAGE * sizeof(float), 64);
    lane.v_scale = erne_arena_push(arena, ERNE_KV_PAGE * sizeof(float), 64);
    lane.q = erne_arena_push(arena, n_q * sizeof *lane.q, 64);
    if (s->bf16) {
        lane.q16 = erne_arena_push(arena, n_q * sizeof *lane.q16, 64);
        lane.k16 = erne_arena_push(arena, page / 2, 64);
        lane.v16 = erne_arena_push(arena, page / 2, 64);
    }
    push_rows(arena, s, s->unit_rows, &lane.rows, &lane.out);
    return lane;
}

/* q, dst: [T, H * d], caches: [P, H_kv, ERNE_KV_PAGE, row] */
static int attention_run(struct erne_backend *be, const struct erne_node *node,
                         const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    struct erne_arena arena = { cpu->scratch, 0, cpu->scratch_bytes };
    struct shape s = shape_of(cpu, node, erne_tensor_rows(node->dst, step));
    struct lane lane = push_lane(&arena, &s); /* the first thread's */
    struct cpu_softmax *rows;
    float *out;

    for (int i = 0; i < cpu_thread(); i++)
        lane = push_lane(&arena, &s);
    if (s.n_tok > FEW_TOKENS) {
        run_batch(cpu, node, &s, &lane);
        return ERNE_OK;
    }
    for (int i = cpu_thread() + 1; i < cpu_team(); i++)
        push_lane(&arena, &s);
    s.n_splits = last_page(&s, 0, s.n_tok) / SPLIT_PAGES + 1;
    push_rows(&arena, &s, s.n_tok * s.n_kv_heads * s.n_splits * s.unit_rows, &rows, &out);
    run_few(cpu, node, &s, lane, rows, out);
    return ERNE_OK;
}

static size_t bytes_for(const struct cpu_backend *cpu, const struct erne_node *node,
                        int64_t n_tok)
{
    const struct shape s = shape_of(cpu, node, n_tok);
    const int64_t n_splits = node->src[ERNE_SRC_K]->dim[0] / SPLIT_PAGES + 1;
    struct erne_arena arena = { NULL, 0, 0 };
    struct cpu_softmax *rows;
    float *out;

    for (int i = 0; i < cpu->n_threads; i++)
        push_lane(&arena, &s);
    if (n_tok <= FEW_TOKENS)
        push_rows(&arena, &s, n_tok * s.n_kv_heads * n_splits * s.unit_rows, &rows, &out);
    return arena.used;
}

/* A plan's steps may have any number of tokens up to its own. */
static size_t attention_scratch(struct erne_backend *be, const struct erne_node *node)
{
    const int64_t n_tok = node->dst->dim[0];
    const size_t few = bytes_for(cpu_of(be), node, cpu_min(n_tok, FEW_TOKENS));
    const size_t all = bytes_for(cpu_of(be), node, n_tok);

    return few > all ? few : all;
}

const struct erne_op_impl cpu_attention = { .name = "paged",
                                            .quantised_kv = true,
                                            .scratch = attention_scratch,
                                            .run = attention_run };
