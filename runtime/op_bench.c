/* op_bench.c -- times the operators of a model, each alone, on several engines in turns.
 *
 * The graphs are those of a session: one token (decode), a batch (prefill), and a picture
 * (vision). Nodes that do the same work at the same shape count once. Each becomes a
 * trial (node_trial.h) on every engine's own backend; what it computes is compared with
 * the reference first.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "platforms/platform.h"
#include "runtime/models/model.h"
#include "runtime/models/vision.h"
#include "runtime/node_trial.h"
#include "runtime/rope.h"
#include "runtime/sort.h"

enum {
    SAMPLES = 15,
    SAMPLES_MIN = 3,
    SHAPE_MAX = 160,
    REFERENCE_ROWS = 4,
    PICTURE_SIDE = 8 /* in blocks of patches that are merged */
};

static const double sample_ns = 1e6; /* a sample is as many runs as take this long */

struct erne_op_bench_opts erne_op_bench_opts_default(void)
{
    return (struct erne_op_bench_opts){
        .struct_size = sizeof(struct erne_op_bench_opts),
        .n_prefill = 512,
        .n_past = 512,
        .kv_type = "f16",
        .seconds = 0.05,
    };
}

/* The graphs of one engine. */
struct lane {
    struct erne_engine *engine;
    struct erne_kvcache kv;
    struct erne_graph graph; /* of the current phase */
};

/* A trial on one engine. */
struct racer {
    struct erne_node_trial trial;
    bool takes_part;
    double error;
    uint64_t n_inner; /* runs a sample */
    double ns[SAMPLES];
    int n_samples;
};

struct op_bench {
    const struct erne_op_bench_opts *opts;
    struct lane *lanes;   /* [n_lanes] */
    struct racer *racers; /* the same number */
    size_t n_lanes;
    struct erne_backend *reference;
    float *freqs;          /* of the vision tower, or NULL */
    struct erne_step step; /* of the current phase */
    int (*visit)(void *user, const struct erne_op_timing *timing);
    void *user;
    struct erne_error *err;
};

/* --------------------------------------------------------------- same work */

static bool is_like(const struct erne_tensor *a, const struct erne_tensor *b,
                    const struct erne_step *step)
{
    if (!a || !b)
        return a == b;
    return a->type == b->type &&
           erne_tensor_rows(a, step) == erne_tensor_rows(b, step) &&
           memcmp(a->dim, b->dim, sizeof(a->dim)) == 0 &&
           erne_scheme_equal(a->scheme, b->scheme);
}

static bool is_same_work(const struct erne_node *a, const struct erne_node *b,
                         const struct erne_step *step)
{
    if (a->op != b->op || !erne_op_params_equal(a->op, &a->params, &b->params))
        return false;
    for (int i = 0; i < ERNE_MAX_SRC; i++)
        if (!is_like(a->src[i], b->src[i], step))
            return false;
    return is_like(a->dst, b->dst, step);
}

/* How often the graph has the work of node i; 0 where an earlier node has it. */
static int count_uses(const struct erne_graph *g, size_t i, const struct erne_step *step)
{
    int n = 0;

    for (size_t k = 0; k < g->n_nodes; k++) {
        if (!is_same_work(&g->nodes[k], &g->nodes[i], step))
            continue;
        if (k < i)
            return 0;
        n++;
    }
    return n;
}

/* ------------------------------------------------------------ work and shape */

static size_t describe(char *text, size_t n, const struct erne_tensor *t,
                       const struct erne_step *step)
{
    char scheme[ERNE_SCHEME_NAME_MAX];
    const struct erne_tensor *w = t->type == ERNE_TYPE_BANK ? t->bank : t;

    if (w->type == ERNE_TYPE_WEIGHT && w->scheme.layout == ERNE_LAYOUT_TILE64) {
        erne_scheme_name(w->scheme, scheme);
        n += (size_t)snprintf(text + n, SHAPE_MAX - n, "%s ", scheme);
    }
    for (int i = 0; i < t->n_dims && n < SHAPE_MAX; i++)
        n += (size_t)snprintf(text + n, SHAPE_MAX - n, "%s%lld", i ? ", " : "[",
                              (long long)(i ? t->dim[i] : erne_tensor_rows(t, step)));
    if (n < SHAPE_MAX)
        n += (size_t)snprintf(text + n, SHAPE_MAX - n, "]");
    return n;
}

/* The inputs that matter: activations, weights, caches; no indices, no vectors. */
static void describe_node(char text[SHAPE_MAX], const struct erne_node *node,
                          const struct erne_step *step)
{
    size_t n = 0;

    text[0] = '\0';
    for (int i = 0; i < ERNE_MAX_SRC; i++) {
        const struct erne_tensor *t = node->src[i];

        if (!t || t->type == ERNE_TYPE_I32 || t->n_dims < 2 ||
            (t->type == ERNE_TYPE_WEIGHT && t->dim[0] == 1) || n >= SHAPE_MAX)
            continue;
        if (n > 0)
            n += (size_t)snprintf(text + n, SHAPE_MAX - n, " x ");
        if (n < SHAPE_MAX)
            n = describe(text, n, t, step);
    }
}

static double rows_bytes(const struct erne_tensor *t, const struct erne_step *step)
{
    return (double)erne_tensor_rows(t, step) * (double)erne_tensor_cols(t) *
           (double)erne_type_bytes(t->type);
}

/* Of a cache [pages, heads, positions, row length]: what n positions take. */
static double cache_bytes(const struct erne_tensor *cache, double n)
{
    return n * (double)(cache->dim[1] * cache->dim[3]) *
           (double)erne_type_bytes(cache->type);
}

/* Experts that tokens use, when each takes n_used at random. */
static double experts_used(const struct erne_tensor *bank, double n_tok, double n_used)
{
    const double n = (double)bank->dim[0];

    return n * (1 - pow(1 - n_used / n, n_tok));
}

/* Bytes of one input that are read. */
static double input_bytes(const struct erne_node *node, int i, const struct erne_step *s)
{
    const struct erne_tensor *t = node->src[i];
    const double n_rows = (double)erne_tensor_rows(node->src[ERNE_SRC_X], s);

    if (t->type == ERNE_TYPE_BANK)
        return experts_used(t, n_rows, node->params.moe_ffn.n_used) *
               (double)t->bank->planes.total_bytes;
    if (node->op == ERNE_OP_EMBED && i == ERNE_SRC_W)
        return n_rows * (double)t->planes.total_bytes / (double)t->dim[0];
    if (node->op == ERNE_OP_GATHER_ROWS && i == ERNE_SRC_X)
        return rows_bytes(node->dst, s);
    if (t->mem == ERNE_MEM_STATE && node->op == ERNE_OP_ATTENTION) /* up to the token */
        return cache_bytes(t, (double)(s->n_past + s->n_tok));
    if (t->mem == ERNE_MEM_STATE) /* kv_append: only written */
        return 0;
    return t->type == ERNE_TYPE_WEIGHT ? (double)t->planes.total_bytes : rows_bytes(t, s);
}

static double node_bytes(const struct erne_node *node, const struct erne_step *step)
{
    double n = node->dst->mem == ERNE_MEM_STATE ? cache_bytes(node->dst, step->n_tok)
                                                : rows_bytes(node->dst, step);

    for (int i = 0; i < ERNE_MAX_SRC; i++)
        if (node->src[i])
            n += input_bytes(node, i, step);
    return n;
}

/* Of matrix products and attention; the others are a matter of bytes. */
static double node_ops(const struct erne_node *node, const struct erne_step *step)
{
    const double n_rows = (double)erne_tensor_rows(node->src[ERNE_SRC_X], step);

    if (node->op == ERNE_OP_MATMUL) {
        const struct erne_tensor *w = node->src[ERNE_SRC_W];

        return 2 * n_rows * (double)w->dim[0] * (double)w->dim[1];
    }
    if (node->op == ERNE_OP_MOE_FFN) {
        const struct erne_tensor *gate_up = node->src[ERNE_SRC_GATE_UP];
        const struct erne_tensor *down = node->src[ERNE_SRC_DOWN];

        return 2 * n_rows * node->params.moe_ffn.n_used *
               ((double)(gate_up->dim[1] * gate_up->dim[2]) +
                (double)(down->dim[1] * down->dim[2]));
    }
    if (node->op == ERNE_OP_ATTENTION) /* the last see what is before them, too */
        return 4 * n_rows * (step->n_past + step->n_tok - (n_rows - 1) / 2) *
               node->params.attention.n_heads * node->params.attention.head_dim;
    return 0;
}

/* The weight that is multiplied by, or NULL. */
static const struct erne_tensor *weight_of(const struct erne_node *node)
{
    if (node->op == ERNE_OP_MATMUL)
        return node->src[ERNE_SRC_W];
    return node->op == ERNE_OP_MOE_FFN ? node->src[ERNE_SRC_GATE_UP]->bank : NULL;
}

static bool is_int(const struct erne_node *node)
{
    const struct erne_tensor *w = weight_of(node);

    return w && erne_codec_is_int(w->scheme.codec);
}

static bool is_bf16(const struct erne_node *node)
{
    const struct erne_tensor *w = weight_of(node);

    return w && w->scheme.codec == ERNE_CODEC_BF16;
}

/* ----------------------------------------------------------------- a race */

static double run_ns(struct racer *r, int *st)
{
    const uint64_t start = pf_time_ns();

    *st = erne_node_trial_repeat(&r->trial, r->n_inner);
    return (double)(pf_time_ns() - start) / (double)r->n_inner;
}

/* Finds how many runs make a sample; what disturbs one try disturbs few others. */
static int calibrate(struct racer *r)
{
    int st = 0;

    for (r->n_inner = 1; st == 0; r->n_inner *= 2) {
        double best = run_ns(r, &st);

        for (int i = 0; st == 0 && i < 2; i++)
            best = fmin(best, run_ns(r, &st));
        if (best * (double)r->n_inner >= sample_ns)
            break;
    }
    return st;
}

static int race(struct op_bench *b)
{
    double spent = 0;
    int st = 0;

    for (size_t i = 0; st == 0 && i < b->n_lanes; i++)
        if (b->racers[i].takes_part)
            st = calibrate(&b->racers[i]);
    for (int s = 0; s < SAMPLES; s++) {
        if (s >= SAMPLES_MIN && spent > b->opts->seconds * 1e9 * (double)b->n_lanes)
            break;
        for (size_t i = 0; st == 0 && i < b->n_lanes; i++) {
            struct racer *r = &b->racers[i];

            if (!r->takes_part)
                continue;
            r->ns[r->n_samples] = run_ns(r, &st);
            spent += r->ns[r->n_samples++] * (double)r->n_inner;
        }
    }
    return st < 0 ? erne_fail(b->err, st, "%s", erne_status_text(st)) : 0;
}

/* What the racers compute is compared with the reference; a few rows will do. */
static int judge(struct op_bench *b, const struct erne_node *node,
                 const struct erne_step *step)
{
    struct erne_node_trial want;
    struct erne_step few = *step;
    int st;

    if (node->dst->rows_of != ERNE_ROWS_FIXED && few.n_tok > REFERENCE_ROWS)
        few.n_tok = REFERENCE_ROWS;
    ERNE_TRY(erne_node_trial_init(&want, node, b->reference, step, b->err));
    erne_node_trial_fill(&want, 1);
    want.step = few;
    st = erne_node_trial_run(&want);
    for (size_t i = 0; st == 0 && i < b->n_lanes; i++) {
        struct racer *r = &b->racers[i];

        if (!r->takes_part)
            continue;
        erne_node_trial_fill(&r->trial, 1);
        st = erne_node_trial_run(&r->trial);
        r->error = erne_node_trial_error(&r->trial, &want);
    }
    if (st < 0)
        erne_fail(b->err, st, "%s: %s", erne_op_name(node->op), erne_status_text(st));
    erne_node_trial_deinit(&want);
    return st;
}

static int tell(struct op_bench *b, const struct erne_node *node,
                const struct erne_step *step, const char *phase, int n_uses)
{
    char shape[SHAPE_MAX];
    struct erne_op_timing t = {
        .phase = phase,
        .op = erne_op_name(node->op),
        .shape = shape,
        .n_uses = n_uses,
        .n_bytes = node_bytes(node, step),
        .n_ops = node_ops(node, step),
        .is_int = is_int(node),
        .is_bf16 = is_bf16(node),
    };
    int st = 0;

    describe_node(shape, node, step);
    for (size_t i = 0; st == 0 && i < b->n_lanes; i++) {
        struct racer *r = &b->racers[i];
        const int n = r->n_samples;

        t.engine = i;
        t.impl = NULL;
        if (r->takes_part) {
            t.impl = r->trial.node.impl->name;
            t.error = r->error;
        }
        if (n > 0) {
            erne_sort_doubles(r->ns, (size_t)n);
            t.median_ns = r->ns[n / 2];
            t.low_ns = r->ns[n / 4];
            t.high_ns = r->ns[(3 * n) / 4];
        }
        st = b->visit(b->user, &t);
    }
    return st;
}

/* Node i of every lane's graph is the same node. */
static int enter(struct op_bench *b, size_t i, enum erne_phase_kind kind,
                 const struct erne_step *step)
{
    for (size_t l = 0; l < b->n_lanes; l++) {
        struct lane *lane = &b->lanes[l];
        struct racer *r = &b->racers[l];
        int st;

        *r = (struct racer){ .takes_part = false };
        st = erne_node_trial_init(&r->trial, &lane->graph.nodes[i],
                                  lane->engine->backends[kind][0], step, b->err);
        if (st < 0 && st != ERNE_EUNSUPPORTED)
            return st;
        r->takes_part = st == 0;
    }
    return 0;
}

static int bench_node(struct op_bench *b, size_t i, enum erne_phase_kind kind, int n_uses)
{
    static const char *const names[] = {
#define X(NAME, name) #name,
        ERNE_PHASE_LIST(X)
#undef X
    };
    const struct erne_node *node = &b->lanes[0].graph.nodes[i];
    const struct erne_step step = b->step;
    int st = enter(b, i, kind, &step);

    if (st == 0)
        st = judge(b, node, &step);
    if (st == 0 && !b->opts->check_only)
        st = race(b);
    if (st == 0)
        st = tell(b, node, &step, names[kind], n_uses);
    for (size_t l = 0; l < b->n_lanes; l++)
        if (b->racers[l].takes_part)
            erne_node_trial_deinit(&b->racers[l].trial);
    return st;
}

/* ------------------------------------------------------------------ phases */

static int build_text(struct op_bench *b, struct lane *lane, int32_t n_tok)
{
    const struct erne_model_inputs in = { .file = &lane->engine->file,
                                          .inv_freq = lane->engine->inv_freq,
                                          .kv = &lane->kv,
                                          .max_tokens = n_tok };
    struct erne_model_io io;

    b->step =
        (struct erne_step){ .n_tok = n_tok, .n_out = 1, .n_past = b->opts->n_past };
    return erne_model_build(&lane->graph, &io, &in, b->err);
}

static int build_picture(struct op_bench *b, struct lane *lane)
{
    const int32_t side = PICTURE_SIDE * lane->engine->file.desc.vision.merge;
    const struct erne_vision_inputs in = { .file = &lane->engine->file,
                                           .freqs = b->freqs,
                                           .n_rows = side,
                                           .n_cols = side,
                                           .n_frames = 1 };
    struct erne_vision_io io;

    ERNE_TRY(erne_vision_build(&lane->graph, &io, &in, b->err));
    b->step = (struct erne_step){ .n_tok = (int32_t)io.patches->dim[0],
                                  .n_out = (int32_t)io.features->dim[0] };
    return 0;
}

static int build_lane(struct op_bench *b, struct lane *lane, enum erne_phase_kind kind)
{
    if (kind == ERNE_PHASE_VISION)
        return build_picture(b, lane);
    return build_text(b, lane, kind == ERNE_PHASE_DECODE ? 1 : b->opts->n_prefill);
}

static int bench_phase(struct op_bench *b, enum erne_phase_kind kind)
{
    size_t n_built = 0;
    int st = 0;

    while (st == 0 && n_built < b->n_lanes) {
        st = build_lane(b, &b->lanes[n_built], kind);
        n_built += st == 0;
    }
    for (size_t i = 0; st == 0 && i < b->lanes[0].graph.n_nodes; i++) {
        const int n_uses = count_uses(&b->lanes[0].graph, i, &b->step);

        if (n_uses > 0)
            st = bench_node(b, i, kind, n_uses);
    }
    for (size_t l = 0; l < n_built; l++)
        erne_graph_deinit(&b->lanes[l].graph);
    return st;
}

static int open_lanes(struct op_bench *b, struct erne_engine *const *engines)
{
    const int32_t n_ctx = b->opts->n_past + b->opts->n_prefill;
    const struct erne_backend_opts opts = { .n_threads = 1 };
    enum erne_type type = ERNE_TYPE_F16;

    b->lanes = calloc(b->n_lanes, sizeof(*b->lanes));
    b->racers = calloc(b->n_lanes, sizeof(*b->racers));
    if (!b->lanes || !b->racers)
        return erne_fail(b->err, ERNE_ENOMEM, "no memory for %zu engines", b->n_lanes);
    if (!b->opts->kv_type || erne_kv_type_parse(&type, b->opts->kv_type) < 0)
        return erne_fail(b->err, ERNE_EINVAL, "KV type %s: f16, f32, q8 or q4 is known",
                         b->opts->kv_type ? b->opts->kv_type : "(none)");
    for (size_t i = 0; i < b->n_lanes; i++) {
        b->lanes[i].engine = engines[i];
        ERNE_TRY(erne_kvcache_init(&b->lanes[i].kv, &engines[i]->file.desc, n_ctx, type,
                                   b->err));
    }
    if (engines[0]->file.desc.vision.n_layers > 0) {
        b->freqs = erne_rope_vision_freqs(&engines[0]->file.desc.vision);
        if (!b->freqs)
            return erne_fail(b->err, ERNE_ENOMEM, "no memory for the vision tower");
    }
    return erne_backend_find("reference")->open(&b->reference, &opts, b->err);
}

static void close_lanes(struct op_bench *b)
{
    for (size_t i = 0; b->lanes && i < b->n_lanes; i++)
        erne_kvcache_deinit(&b->lanes[i].kv);
    if (b->reference)
        b->reference->fns->close(b->reference);
    free(b->freqs);
    free(b->lanes);
    free(b->racers);
}

static int check_opts(struct erne_engine *const *engines, size_t n_engines,
                      const struct erne_op_bench_opts *opts, struct erne_error *err)
{
    if (!engines || n_engines == 0)
        return erne_fail(err, ERNE_EINVAL, "erne_op_bench: no engines");
    if (opts->struct_size != sizeof(*opts))
        return erne_fail(err, ERNE_EINVAL, "erne_op_bench: options of another version");
    if (opts->n_prefill < 2 || opts->n_past < 0 ||
        opts->n_past > engines[0]->file.desc.n_ctx_train - opts->n_prefill)
        return erne_fail(
            err, ERNE_EINVAL, "%d tokens behind %d: the model has %d positions",
            opts->n_prefill, opts->n_past, engines[0]->file.desc.n_ctx_train);
    for (size_t i = 1; i < n_engines; i++)
        if (engines[i]->file.n_tensors != engines[0]->file.n_tensors)
            return erne_fail(err, ERNE_EINVAL, "the engines have different models");
    return 0;
}

int erne_op_bench(struct erne_engine *const *engines, size_t n_engines,
                  const struct erne_op_bench_opts *opts,
                  int (*visit)(void *user, const struct erne_op_timing *timing),
                  void *user, struct erne_error *err)
{
    const struct erne_op_bench_opts defaults = erne_op_bench_opts_default();
    struct op_bench b = { .opts = opts ? opts : &defaults,
                          .n_lanes = n_engines,
                          .visit = visit,
                          .user = user,
                          .err = err };
    int st;

    ERNE_TRY(check_opts(engines, n_engines, b.opts, err));
    st = open_lanes(&b, engines);
    if (st == 0)
        st = bench_phase(&b, ERNE_PHASE_DECODE);
    if (st == 0)
        st = bench_phase(&b, ERNE_PHASE_PREFILL);
    if (st == 0 && b.freqs)
        st = bench_phase(&b, ERNE_PHASE_VISION);
    close_lanes(&b);
    return st;
}

int erne_engine_limits(struct erne_engine *engine, struct erne_limits *limits,
                       struct erne_error *err)
{
    struct erne_backend *be = engine->backends[ERNE_PHASE_DECODE][0];
    struct erne_limits found = { 0 };
    int st = 0;

    pf_mutex_lock(engine->run_lock);
    if (be->fns->limits)
        st = be->fns->limits(be, &found);
    pf_mutex_unlock(engine->run_lock);
    if (st < 0)
        return erne_fail(err, st, "%s: limits: %s", be->fns->name, erne_status_text(st));
    *limits = found;
    return 0;
}
