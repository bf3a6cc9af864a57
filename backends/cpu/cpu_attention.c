/* cpu_attention.c -- causal attention over the paged cache.
 *
 * A unit of work is one KV head and up to TOKENS tokens: each page of keys and values is
 * widened to f32 once and serves all their query heads. Units do not depend on the number
 * of threads, and a thread takes every n-th, because later tokens see more pages.
 */
#include "backends/cpu/cpu.h"

#include <float.h>
#include <string.h>

enum { TOKENS = 8 };

struct unit {
    int64_t kv_head;
    int64_t t, n_tok;          /* the tokens */
    float *k, *v;              /* [ERNE_KV_PAGE, d] each: a page in f32 */
    float *q;                  /* [n_tok, heads, d]: queries times the scale */
    struct cpu_softmax *heads; /* [n_tok, heads] */
};

/* How a node looks to a unit. */
struct shape {
    int64_t d, group; /* head_dim, query heads a KV head */
    const int32_t *table, *position;
};

static struct shape shape_of(const struct erne_node *node)
{
    return (struct shape){
        .d = node->params.attention.head_dim,
        .group = node->params.attention.n_heads / node->params.attention.n_kv_heads,
        .table = node->src[ERNE_SRC_TABLE]->data,
        .position = node->src[ERNE_SRC_QPOS]->data,
    };
}

/* The first n positions of a page's KV head in f32: where they are, or widened to dst. */
static const float *load_page(const struct cpu_backend *cpu,
                              const struct erne_tensor *cache, float *dst, int64_t page,
                              int64_t kv_head, int64_t n)
{
    const int64_t d = cache->dim[3];
    const int64_t at = (page * cache->dim[1] + kv_head) * ERNE_KV_PAGE * d;
    if (cache->type == ERNE_TYPE_F32)
        return (const float *)cache->data + at;
    cpu->kernels.f32_from_f16(dst, (const uint16_t *)cache->data + at, n * d);
    return dst;
}

static void begin_heads(const struct erne_node *node, const struct shape *s,
                        const struct unit *u)
{
    const int64_t first = u->kv_head * s->group * s->d, width = s->group * s->d;
    for (int64_t i = 0; i < u->n_tok; i++) {
        const float *q = cpu_row(node->src[ERNE_SRC_X], u->t + i) + first;
        float *out = cpu_row(node->dst, u->t + i) + first;
        memset(out, 0, (size_t)width * sizeof *out);
        for (int64_t j = 0; j < width; j++)
            u->q[i * width + j] = q[j] * node->params.attention.scale;
        for (int64_t h = 0; h < s->group; h++)
            u->heads[i * s->group + h] =
                (struct cpu_softmax){ .max = -FLT_MAX, .out = out + h * s->d };
    }
}

static void end_heads(const struct shape *s, const struct unit *u)
{
    for (int64_t i = 0; i < u->n_tok * s->group; i++) {
        const float inv = 1.0f / u->heads[i].total;
        for (int64_t j = 0; j < s->d; j++)
            u->heads[i].out[j] *= inv;
    }
}

/* How many positions of page index p the unit's token i sees. */
static int visible(const struct shape *s, const struct unit *u, int64_t i, int64_t p)
{
    const int64_t n = s->position[u->t + i] + 1 - p * ERNE_KV_PAGE;
    return (int)cpu_max(0, cpu_min(n, ERNE_KV_PAGE));
}

static void run_unit(const struct cpu_backend *cpu, const struct erne_node *node,
                     const struct unit *u)
{
    const struct shape s = shape_of(node);
    int64_t last = 0;
    for (int64_t i = 0; i < u->n_tok; i++)
        last = cpu_max(last, s.position[u->t + i]);
    begin_heads(node, &s, u);
    for (int64_t p = 0; p <= last / ERNE_KV_PAGE; p++) {
        const int64_t page = s.table[p],
                      n = cpu_min(last + 1 - p * ERNE_KV_PAGE, ERNE_KV_PAGE);
        struct cpu_kv_page kv = {
            .k = load_page(cpu, node->src[ERNE_SRC_K], u->k, page, u->kv_head, n),
            .v = load_page(cpu, node->src[ERNE_SRC_V], u->v, page, u->kv_head, n),
            .d = (int)s.d,
        };
        for (int64_t i = 0; i < u->n_tok * s.group; i++) {
            kv.n = visible(&s, u, i / s.group, p);
            if (kv.n > 0)
                cpu->kernels.attend(&u->heads[i], u->q + i * s.d, &kv);
        }
    }
    end_heads(&s, u);
}

/* Scratch of one thread: k, v, q, heads. */
static size_t thread_bytes(const struct erne_node *node)
{
    const struct shape s = shape_of(node);
    const size_t heads = TOKENS * (size_t)s.group;
    const size_t n_floats = (2 * ERNE_KV_PAGE + heads) * (size_t)s.d;
    const size_t n = heads * sizeof(struct cpu_softmax) + n_floats * sizeof(float);
    return (n + 63) / 64 * 64;
}

/* q, dst: [T, H * d], caches: [P, H_kv, ERNE_KV_PAGE, d] */
static int attention_run(struct erne_backend *be, const struct erne_node *node,
                         const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    const int64_t d = node->params.attention.head_dim;
    const int64_t n_heads = node->params.attention.n_kv_heads;
    const int64_t n_tok = erne_tensor_rows(node->dst, step);
    const int64_t n_units = (n_tok + TOKENS - 1) / TOKENS * n_heads;
    struct unit u;
    u.heads = (void *)(cpu->scratch + (size_t)cpu_thread() * thread_bytes(node));
    u.k = (float *)(u.heads + TOKENS * (node->params.attention.n_heads / n_heads));
    u.v = u.k + ERNE_KV_PAGE * d;
    u.q = u.v + ERNE_KV_PAGE * d;
    for (int64_t i = cpu_thread(); i < n_units; i += cpu_team()) {
        u.kv_head = i % n_heads;
        u.t = i / n_heads * TOKENS;
        u.n_tok = cpu_min(TOKENS, n_tok - u.t);
        run_unit(cpu, node, &u);
    }
    return ERNE_OK;
}

static size_t attention_scratch(struct erne_backend *be, const struct erne_node *node)
{
    return (size_t)cpu_of(be)->n_threads * thread_bytes(node);
}

const struct erne_op_impl cpu_attention = { .name = "paged",
                                            .scratch = attention_scratch,
                                            .run = attention_run };
