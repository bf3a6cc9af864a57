/* verify.c -- erne_device_verify: whether a device computes right what a model will ask
 * of it.
 *
 * The graphs of the model are built as a session builds them. Of each, every node that
 * differs from the others in a way that a backend may see is computed alone, with the
 * model's own weights (node_check.h). Then the model as a whole computes a few tokens.
 * What was found is kept for erne_engine_open.
 */
#include "runtime/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kvcache.h"
#include "runtime/model_check.h"
#include "runtime/models/model.h"
#include "runtime/models/vision.h"
#include "runtime/node_check.h"
#include "runtime/rope.h"
#include "runtime/verdict.h"

enum { N_CTX = 512, N_BATCH = 512, N_PREFILL = 67, N_OUT = 2, VISION_SIDE = 4 };

/* A graph and the step that its nodes are tried with. */
struct stage {
    const char *name;
    enum erne_phase_kind kind;
    bool only_state; /* the nodes that keep or read keys and values, no others */
    struct erne_graph graph;
    struct erne_step step;
};

/* A node that stands for n of its kind. */
struct sort {
    uint64_t key;
    const struct erne_node *node;
    int n;
};

struct verify {
    const char *path;
    struct erne_engine *e;
    const struct erne_verify_opts *opts;
    struct erne_backend *reference;
    struct erne_kvcache kv;
    float *freqs; /* of the vision tower, or NULL */
    int (*visit)(void *user, const struct erne_check *check);
    void *user;
    struct erne_error *err;
    int n_checks, n_failed;
    struct erne_refused refused;
    const char *lost_at; /* what the device was asked when it was lost, or NULL */
};

struct erne_verify_opts erne_verify_opts_default(void)
{
    return (struct erne_verify_opts){ .struct_size = sizeof(struct erne_verify_opts),
                                      .engine = erne_engine_opts_default(),
                                      .n_rounds = 3 };
}

static int tell(struct verify *v, const struct erne_check *check)
{
    v->n_checks++;
    v->n_failed += check->status == ERNE_EVERIFY || check->status == ERNE_EDEVICE;
    return v->visit(v->user, check) == 0
               ? 0
               : erne_fail(v->err, ERNE_ECANCELLED, "cancelled");
}

/* The device was lost, or did not answer in time: that is told, and it is tried with
 * nothing more. Nobody knows what it would have done with the rest. */
static int lose(struct verify *v, struct erne_check *check)
{
    check->status = ERNE_EDEVICE;
    v->lost_at = check->op;
    v->refused = erne_refused_all();
    ERNE_TRY(tell(v, check));
    return ERNE_EDEVICE;
}

/* ------------------------------------------------------------------- nodes */

static bool has_state(const struct erne_node *node)
{
    bool has = node->dst->state != NULL;

    for (int i = 0; i < ERNE_MAX_SRC; i++)
        has = has || (node->src[i] && node->src[i]->state);
    return has;
}

static bool is_of_sort(const struct erne_node *node, uint64_t key,
                       const struct sort *sort)
{
    return sort->key == key &&
           erne_op_params_equal(node->op, &node->params, &sort->node->params);
}

/* The kinds of nodes of a graph ([g->n_nodes]); answers how many. */
static size_t sort_nodes(const struct stage *stage, struct sort *sorts)
{
    const struct erne_graph *g = &stage->graph;
    size_t n = 0;

    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct erne_node *node = &g->nodes[i];
        const uint64_t key = erne_node_key(node);
        size_t at = 0;

        if (stage->only_state && !has_state(node))
            continue;
        while (at < n && !is_of_sort(node, key, &sorts[at]))
            at++;
        if (at == n)
            sorts[n++] = (struct sort){ key, node, 0 };
        sorts[at].n++;
    }
    return n;
}

static int check_sort(struct verify *v, const struct stage *stage,
                      const struct sort *sort)
{
    const struct erne_node_task trial = {
        .be = v->e->backends[stage->kind][0],
        .reference = v->reference,
        .step = &stage->step,
        .n_rounds = v->opts->n_rounds,
        .seed = v->opts->seed ^ sort->key,
    };
    char text[ERNE_NODE_TEXT_MAX];
    struct erne_check check = { .phase = stage->name,
                                .op = erne_op_name(sort->node->op),
                                .shape = text,
                                .n_nodes = sort->n,
                                .limit = erne_node_limit(sort->node) };
    int st = erne_node_check(sort->node, &trial, &check.error, v->err);

    erne_node_text(sort->node, &stage->step, text);
    if (st == ERNE_EDEVICE)
        return lose(v, &check);
    if (st == 0 && !(check.error <= check.limit))
        st = ERNE_EVERIFY;
    if (st < 0 && st != ERNE_EVERIFY && st != ERNE_EUNSUPPORTED)
        return st;
    check.status = st;
    if (st == ERNE_EVERIFY)
        erne_refused_add(&v->refused, sort->node);
    return tell(v, &check);
}

static int check_graph(struct verify *v, const struct stage *stage)
{
    struct sort *sorts = calloc(stage->graph.n_nodes + 1, sizeof(*sorts));
    size_t n;
    int st = 0;

    if (!sorts)
        return erne_fail(v->err, ERNE_ENOMEM, "no memory for %zu nodes",
                         stage->graph.n_nodes);
    n = sort_nodes(stage, sorts);
    for (size_t i = 0; st == 0 && i < n; i++)
        st = check_sort(v, stage, &sorts[i]);
    free(sorts);
    return st;
}

/* ------------------------------------------------------------------ graphs */

static int check_text(struct verify *v, struct stage *stage, int32_t max_tokens, bool mtp)
{
    const struct erne_model_inputs in = { .file = &v->e->file,
                                          .inv_freq = v->e->inv_freq,
                                          .kv = &v->kv,
                                          .max_tokens = max_tokens,
                                          .mtp = mtp };
    struct erne_model_io io;
    int st;

    if (max_tokens < stage->step.n_tok)
        stage->step.n_tok = max_tokens;
    if (stage->step.n_tok < stage->step.n_out)
        stage->step.n_out = stage->step.n_tok;
    ERNE_TRY(erne_model_build(&stage->graph, &io, &in, v->err));
    st = check_graph(v, stage);
    erne_graph_deinit(&stage->graph);
    return st;
}

/* A frame, and as many as become one token. */
static int check_vision(struct verify *v, int32_t n_frames)
{
    const struct erne_vision_desc *desc = &v->e->file.desc.vision;
    const struct erne_vision_inputs in = { .file = &v->e->file,
                                           .freqs = v->freqs,
                                           .n_rows = VISION_SIDE * desc->merge,
                                           .n_cols = VISION_SIDE * desc->merge,
                                           .n_frames = n_frames };
    struct stage stage = { .name = n_frames > 1 ? "video" : "vision",
                           .kind = ERNE_PHASE_VISION };
    struct erne_vision_io io;
    int st;

    ERNE_TRY(erne_vision_build(&stage.graph, &io, &in, v->err));
    stage.step.n_tok = (int32_t)io.patches->dim[0];
    stage.step.n_out = (int32_t)io.features->dim[0];
    st = check_graph(v, &stage);
    erne_graph_deinit(&stage.graph);
    return st;
}

/* The steps of text with a KV cache of one type. only_state: what follows from the type,
 * as the rest was seen with another. */
static int check_steps(struct verify *v, enum erne_type type, bool only_state)
{
    const struct erne_model_desc *desc = &v->e->file.desc;
    const int32_t n_ctx = desc->n_ctx_train < N_CTX ? desc->n_ctx_train : N_CTX;
    const int32_t n_batch = desc->device.n_batch > 0 ? desc->device.n_batch : N_BATCH;
    struct stage decode = { "decode", ERNE_PHASE_DECODE, only_state,
                            .step = { .n_tok = 1, .n_out = 1 } };
    struct stage both = { "guessed", ERNE_PHASE_DECODE, only_state,
                          .step = { .n_tok = 2, .n_out = 2 } };
    struct stage guess = { "guess", ERNE_PHASE_DECODE, only_state,
                           .step = { .n_tok = 2, .n_out = 1 } };
    struct stage prefill = { "prefill", ERNE_PHASE_PREFILL, only_state,
                             .step = { .n_tok = N_PREFILL, .n_out = N_OUT } };

    erne_kvcache_deinit(&v->kv);
    ERNE_TRY(erne_kvcache_init(&v->kv, desc, n_ctx, type, v->err));
    ERNE_TRY(check_text(v, &decode, 1, false));
    ERNE_TRY(check_text(v, &prefill, n_batch < n_ctx ? n_batch : n_ctx, false));
    if (desc->n_mtp == 0)
        return 0;
    ERNE_TRY(check_text(v, &both, 2, false));
    return check_text(v, &guess, 2, true);
}

static int check_all(struct verify *v)
{
    static const enum erne_type others[] = { ERNE_TYPE_F32, ERNE_TYPE_Q8, ERNE_TYPE_Q4 };
    const struct erne_model_desc *desc = &v->e->file.desc;

    ERNE_TRY(check_steps(v, ERNE_TYPE_F16, false));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(others); i++)
        ERNE_TRY(check_steps(v, others[i], true));
    if (desc->vision.n_layers == 0)
        return 0;
    ERNE_TRY(check_vision(v, 1));
    return desc->vision.temporal > 1 ? check_vision(v, desc->vision.temporal) : 0;
}

/* ------------------------------------------------------------------- model */

/* What the logits of golden's tokens should be: as the file has them, else computed into
 * room. */
static int want_logits(struct verify *v, const struct erne_golden *golden, float *room,
                       const float **want)
{
    struct erne_model_file file;

    *want = golden->logits ? golden->logits : room;
    if (golden->logits)
        return 0;
    ERNE_TRY(erne_model_file_open(&file, v->path, v->err));
    return erne_golden_run_file(&file, golden, NULL, room, v->err);
}

/* Activations that are rounded, as backends may do where weights are codes, add up over
 * the layers (9 % of SmolLM2 in 4 bits), and may send a token to other experts. What is
 * computed wrongly is off by about 1. */
static double model_limit(const struct erne_model_file *file)
{
    for (size_t i = 0; i < file->n_tensors; i++)
        if (erne_codec_is_int(file->tensors[i].scheme.codec))
            return 0.2;
    return file->desc.moe.n_experts > 0 ? 0.2 : 0.06;
}

static const char *model_shape(const struct erne_golden *golden)
{
    if (golden->logits)
        return golden->picture_h > 0 ? "golden logits of the file, a picture"
                                     : "golden logits of the file";
    return golden->picture_h > 0 ? "logits of a picture and a few tokens"
                                 : "logits of a few tokens";
}

/* Whether the logits are right once others compute what is refused already. */
static bool is_explained(struct verify *v, const struct erne_golden *golden, float *got,
                         const float *want, double limit)
{
    const size_t n_vocab = (size_t)v->e->file.desc.n_vocab;

    if (!erne_refused_any(&v->refused))
        return false;
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        v->e->backends[kind][0]->refused = v->refused;
    return erne_golden_run(v->e, golden, got, NULL) == 0 &&
           erne_golden_error(got, want, (size_t)golden->n_rows, n_vocab) <= limit;
}

/* A model that is wrong for another reason than its operators is refused as a whole. */
static int judge_model(struct verify *v, const struct erne_golden *golden, float *got,
                       const float *want, struct erne_check *check)
{
    const size_t n_vocab = (size_t)v->e->file.desc.n_vocab;
    const int st = erne_golden_run(v->e, golden, got, v->err);

    if (st == ERNE_EDEVICE)
        return lose(v, check);
    ERNE_TRY(st);
    check->error = erne_golden_error(got, want, (size_t)golden->n_rows, n_vocab);
    check->status = check->error <= check->limit ? 0 : ERNE_EVERIFY;
    if (check->status < 0 && !is_explained(v, golden, got, want, check->limit))
        v->refused = erne_refused_all();
    return tell(v, check);
}

static int check_model(struct verify *v)
{
    const struct erne_model_file *file = &v->e->file;
    const struct erne_model_desc *desc = &file->desc;
    int32_t tokens[ERNE_GOLDEN_MOST];
    const struct erne_golden golden =
        file->golden.tokens ? file->golden : erne_golden_make(desc, tokens);
    const size_t n_floats = (size_t)golden.n_rows * (size_t)desc->n_vocab;
    struct erne_check check = { .phase = "whole",
                                .op = "model",
                                .shape = model_shape(&golden),
                                .n_nodes = 1,
                                .limit = model_limit(file) };
    float *got = calloc(2 * n_floats, sizeof(*got));
    const float *want = NULL;
    int st = got ? 0 : erne_fail(v->err, ERNE_ENOMEM, "no memory for logits");

    if (st == 0)
        st = want_logits(v, &golden, got + n_floats, &want);
    if (st == 0)
        st = judge_model(v, &golden, got, want, &check);
    free(got);
    return st;
}

/* ----------------------------------------------------------------- verdict */

static const char *isa_of(const struct verify *v, const struct erne_opened *o)
{
    const char *isa = v->opts->engine.isa;

    return isa && !erne_backend_is_device(o->be) ? isa : "auto";
}

/* What all phases begin with, and what to keep about it under which key; NULL: they begin
 * with several, or nothing can be kept. */
static const struct erne_opened *find_kept(const struct verify *v,
                                           struct erne_verdict_key *key)
{
    const struct erne_backend *be = v->e->backends[0][0];

    for (int kind = 1; kind < ERNE_PHASE_COUNT; kind++)
        if (v->e->backends[kind][0] != be)
            return NULL;
    for (int i = 0; v->opts->engine.cache_dir && i < v->e->n_opened; i++) {
        const struct erne_opened *o = &v->e->opened[i];

        if (o->be == be &&
            erne_verdict_key_init(key, be->fns, o->device, isa_of(v, o), &v->e->file))
            return o;
    }
    return NULL;
}

/* In words what is computed wrongly. */
static int fail_wrong(const struct verify *v, const char *how)
{
    const struct erne_refused all = erne_refused_all();
    const char *name = v->e->backends[0][0]->fns->name;
    char ops[160];

    if (v->lost_at)
        return erne_fail(v->err, ERNE_EVERIFY,
                         "%s was lost, or over the time limit, at %s (%s)", name,
                         v->lost_at, how);
    erne_verdict_text(&v->refused, ops, sizeof(ops));
    return erne_fail(v->err, ERNE_EVERIFY, "%s computes %s wrongly (%s)", name,
                     v->refused.ops == all.ops ? "the model as a whole" : ops, how);
}

/* All checks, while no device is used: a driver may end the process. Where they come to
 * no end, what was known before holds again. The loss of the device is an end. */
static int check_guarded(struct verify *v, const struct erne_verdict_key *key)
{
    const char *dir = v->opts->engine.cache_dir;
    struct erne_refused before;
    const int known = key ? erne_verdict_load(dir, key, &before) : 0;
    int st;

    if (key)
        erne_verdict_begin(dir, key); /* in vain: so is saving, which is told */
    st = check_all(v);
    if (st == 0)
        st = check_model(v);
    if (st == 0 || v->lost_at)
        return 0;
    if (key && known > 0)
        erne_verdict_save(dir, key, &before, NULL);
    else if (key && known == 0)
        erne_verdict_remove(dir, key);
    return st;
}

static int verify_anew(struct verify *v)
{
    const struct erne_model_desc *desc = &v->e->file.desc;
    struct erne_verdict_key key;
    const bool is_kept = find_kept(v, &key); /* a device that is lost has no key */
    char how[64];

    for (int i = 0; i < v->e->n_opened; i++)
        v->e->opened[i].be->refused = (struct erne_refused){ 0 }; /* found before */
    if (desc->vision.n_layers > 0) {
        v->freqs = erne_rope_vision_freqs(&desc->vision);
        if (!v->freqs)
            return erne_fail(v->err, ERNE_ENOMEM, "no memory for the vision tower");
    }
    ERNE_TRY(check_guarded(v, is_kept ? &key : NULL));
    if (is_kept) {
        const char *dir = v->opts->engine.cache_dir;
        const bool is_needed = !v->opts->use_kept; /* else it only saves time */
        const int st =
            erne_verdict_save(dir, &key, &v->refused, is_needed ? v->err : NULL);

        if (st < 0 && is_needed)
            return st;
    }
    snprintf(how, sizeof(how), "%d of %d checks failed", v->n_failed, v->n_checks);
    return v->n_failed > 0 ? fail_wrong(v, how) : 0;
}

/* Whether nothing has to be computed: the verdict is in v->refused. */
static bool is_known(struct verify *v)
{
    struct erne_verdict_key key;

    if (!v->opts->use_kept)
        return false;
    if (strcmp(v->e->backends[0][0]->fns->name, "reference") == 0)
        return true;
    return find_kept(v, &key) &&
           erne_verdict_load(v->opts->engine.cache_dir, &key, &v->refused) > 0;
}

static int verify(struct verify *v)
{
    if (is_known(v))
        return erne_refused_any(&v->refused) ? fail_wrong(v, "found before") : 0;
    return verify_anew(v);
}

int erne_verify_on(const char *path, const struct erne_verify_opts *opts,
                   const struct erne_backend_fns *const *list, void *hook,
                   int (*visit)(void *user, const struct erne_check *check), void *user,
                   struct erne_error *err)
{
    const struct erne_backend_fns *reference = erne_backend_find("reference");
    const struct erne_backend_opts be_opts = { .isa = "auto", .n_threads = 1 };
    struct erne_engine_opts asked = opts->engine;
    struct verify v = {
        .path = path, .opts = opts, .visit = visit, .user = user, .err = err
    };
    int st;

    if (opts->struct_size != sizeof(*opts) || opts->n_rounds < 1)
        return erne_fail(err, ERNE_EINVAL,
                         "verification: start from erne_verify_opts_default");
    ERNE_TRY(reference->open(&v.reference, &be_opts, err));
    asked.fallback = false; /* what the CPU does instead is not the question */
    st = erne_engine_open_on(&v.e, path, &asked, list, hook, err);
    if (st == 0)
        st = verify(&v);
    erne_kvcache_deinit(&v.kv);
    free(v.freqs);
    erne_engine_close(&v.e);
    reference->close(v.reference);
    return st;
}

int erne_device_verify(const char *path, const struct erne_verify_opts *opts,
                       int (*visit)(void *user, const struct erne_check *check),
                       void *user, struct erne_error *err)
{
    const struct erne_verify_opts defaults = erne_verify_opts_default();

    if (!path || !visit)
        return erne_fail(err, ERNE_EINVAL,
                         "erne_device_verify: path and visit are "
                         "needed");
    return erne_verify_on(path, opts ? opts : &defaults, erne_backends, NULL, visit, user,
                          err);
}
