/* session.c -- one conversation: its context, KV cache, plans and sampler.
 *
 * Two plans are made at creation, one for a single token (decode) and one for up to
 * n_batch tokens (prefill), so that a step only fills inputs and runs; some models want
 * more (session.h). All but what media take is allocated in erne_session_create.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"

enum { DEFAULT_N_CTX = 4096, DEFAULT_N_BATCH = 512 };
enum { FEW_TOKENS = 2 }; /* a token and a guess: still the work of decoding */

struct erne_session_opts erne_session_opts_default(void)
{
    return (struct erne_session_opts){
        .struct_size = sizeof(struct erne_session_opts),
        .n_draft = 1,
        .sampling = erne_sampling_default(),
    };
}

/* ---------------------------------------------------------------- life cycle */

/* What was asked for, else what the file was made for, else f16. */
static int pick_kv_type(enum erne_type *out, const struct erne_model_desc *desc,
                        const char *asked, struct erne_error *err)
{
    const char *name = asked                  ? asked
                       : desc->device.kv_type ? desc->device.kv_type
                                              : "f16";

    if (erne_kv_type_parse(out, name) < 0)
        return erne_fail(err, ERNE_EINVAL, "KV type %s: f16, f32, q8 or q4 is known",
                         name);
    return 0;
}

static int pick_n_ctx(int32_t *out, const struct erne_model_desc *desc, int asked,
                      struct erne_error *err)
{
    if (asked < 0 || asked > desc->n_ctx_train)
        return erne_fail(err, ERNE_EINVAL,
                         "context of %d tokens: the model has 1 to %d positions", asked,
                         desc->n_ctx_train);
    *out = asked != 0 ? asked : desc->device.n_ctx;
    if (*out == 0)
        *out = desc->n_ctx_train < DEFAULT_N_CTX ? desc->n_ctx_train : DEFAULT_N_CTX;
    return 0;
}

static int32_t pick_n_batch(const struct erne_model_desc *desc, int asked)
{
    if (asked != 0)
        return asked;
    return desc->device.n_batch > 0 ? desc->device.n_batch : DEFAULT_N_BATCH;
}

int erne_phase_init(struct erne_phase *phase, const struct erne_session *s,
                    int32_t max_tokens, bool mtp, struct erne_error *err)
{
    const struct erne_engine *e = s->engine;
    const struct erne_model_inputs in = {
        .file = &e->file,
        .inv_freq = e->inv_freq,
        .kv = &s->kv,
        .max_tokens = max_tokens,
        .mtp = mtp,
        .keep_layers = e->keep_layers,
    };

    ERNE_TRY(erne_model_build(&phase->graph, &phase->io, &in, err));
    phase->max_tokens = max_tokens;
    return erne_engine_plan(s->engine, &phase->plan,
                            max_tokens > FEW_TOKENS ? ERNE_PHASE_PREFILL
                                                    : ERNE_PHASE_DECODE,
                            &phase->graph, err);
}

void erne_phase_deinit(struct erne_phase *phase)
{
    erne_plan_deinit(&phase->plan);
    erne_graph_deinit(&phase->graph);
}

/* Rows of the logits that stand for a token: padded vocabularies have more rows than
 * tokens, and a row without a token must never be drawn. */
static int32_t n_known(const struct erne_engine *e)
{
    const uint32_t n_rows = (uint32_t)e->file.desc.n_vocab;
    const uint32_t n_tokens =
        e->tokenizer ? erne_tokenizer_n_tokens(e->tokenizer) : n_rows;

    return (int32_t)(n_tokens < n_rows ? n_tokens : n_rows);
}

/* The plans of a session; that of a picture is made when there is one. */
static int plan_all(struct erne_session *s, struct erne_error *err)
{
    ERNE_TRY(erne_phase_init(&s->decode, s, 1, false, err));
    if (s->n_batch > 1)
        ERNE_TRY(erne_phase_init(&s->prefill, s, s->n_batch, false, err));
    return erne_session_draft_plan(s, err);
}

static void unplan_all(struct erne_session *s)
{
    erne_phase_deinit(&s->prefill);
    erne_phase_deinit(&s->decode);
    erne_session_draft_unplan(s);
    erne_encoder_reset(&s->media.encoder);
    s->last_logits = NULL;
}

/* Whether the KV cache has no memory any more, because a device does not let go of it.
 * Once there are no plans. */
static bool leave_cache(struct erne_session *s)
{
    if (s->kv.store.is_mapped && erne_engine_keeps_memory(s->engine))
        erne_kvcache_leave(&s->kv);
    return !s->kv.memory;
}

/* Activations of a phase, of whose logits only n_out rows are ever asked for. */
static uint64_t phase_bytes(const struct erne_phase *phase,
                            const struct erne_model_desc *desc, int32_t n_out)
{
    const int32_t idle = phase->max_tokens - n_out;

    return phase->max_tokens == 0
               ? 0
               : phase->plan.step.cap -
                     (uint64_t)idle * sizeof(float) * (uint64_t)desc->n_vocab;
}

uint64_t erne_session_step_bytes(const struct erne_session *s)
{
    const struct erne_model_desc *desc = &s->engine->file.desc;
    const struct erne_phase *phases[] = { &s->decode, &s->prefill, &s->draft.both,
                                          &s->draft.few, &s->draft.many };
    uint64_t n_bytes = 0, scratch = 0;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(phases); i++) {
        const struct erne_phase *phase = phases[i];

        n_bytes += phase_bytes(phase, desc, phase == &s->draft.both ? 2 : 1);
        if (phase->plan.scratch_bytes > scratch)
            scratch = phase->plan.scratch_bytes;
    }
    return n_bytes + scratch;
}

/* Takes its memory out of what the engine may use. */
static int claim(struct erne_session *s, struct erne_error *err)
{
    const uint64_t n_bytes = s->kv.memory_bytes + erne_session_step_bytes(s);

    ERNE_TRY(erne_engine_claim(s->engine, n_bytes, err));
    s->claimed = n_bytes;
    return 0;
}

static int init_all(struct erne_session *s, const struct erne_session_opts *opts,
                    struct erne_error *err)
{
    const struct erne_model_desc *desc = &s->engine->file.desc;
    int32_t n_ctx = 0, n_batch = pick_n_batch(desc, opts->n_batch);
    enum erne_type kv_type = ERNE_TYPE_F16;

    ERNE_TRY(pick_kv_type(&kv_type, desc, opts->kv_type, err));
    ERNE_TRY(pick_n_ctx(&n_ctx, desc, opts->n_ctx, err));
    if (n_batch < 1 || n_batch > ERNE_BATCH_MAX)
        return erne_fail(err, ERNE_EINVAL, "batch of %d tokens: 1 to %d is possible",
                         n_batch, ERNE_BATCH_MAX);
    s->n_batch = n_batch < n_ctx ? n_batch : n_ctx;
    ERNE_TRY(erne_sampler_init(&s->sampler, &opts->sampling, n_known(s->engine), err));
    s->tokens = calloc((size_t)n_ctx, sizeof(*s->tokens));
    if (!s->tokens)
        return erne_fail(err, ERNE_ENOMEM, "no memory for %d tokens", n_ctx);
    ERNE_TRY(erne_kvcache_init(&s->kv, desc, n_ctx, kv_type, err));
    ERNE_TRY(erne_session_media_init(s, opts->vision_rule, n_ctx, err));
    ERNE_TRY(erne_session_draft_init(s, opts->n_draft, err));
    ERNE_TRY(plan_all(s, err));
    return claim(s, err);
}

int erne_session_create(struct erne_session **out, struct erne_engine *engine,
                        const struct erne_session_opts *opts, struct erne_error *err)
{
    const struct erne_session_opts defaults = erne_session_opts_default();
    struct erne_session *s;
    int st;

    if (!out || !engine)
        return erne_fail(err, ERNE_EINVAL,
                         "erne_session_create: out and engine are needed");
    if (!opts)
        opts = &defaults;
    if (opts->struct_size != sizeof(*opts))
        return erne_fail(err, ERNE_EINVAL,
                         "erne_session_create: options of another version");
    s = calloc(1, sizeof(*s));
    if (!s)
        return erne_fail(err, ERNE_ENOMEM, "no memory for a session");
    s->engine = engine;
    atomic_init(&s->cancel, 0);
    st = init_all(s, opts, err);
    if (st < 0) {
        erne_session_destroy(&s);
        return st;
    }
    *out = s;
    return 0;
}

void erne_session_destroy(struct erne_session **session)
{
    struct erne_session *s = session ? *session : NULL;

    if (!s)
        return;
    unplan_all(s);
    leave_cache(s);
    erne_engine_unclaim(s->engine, s->claimed);
    erne_kvcache_deinit(&s->kv);
    erne_sampler_deinit(&s->sampler);
    erne_session_media_deinit(s);
    erne_session_draft_deinit(s);
    free(s->tokens);
    free(s);
    *session = NULL;
}

/* --------------------------------------------------------------------- steps */

/* Which rows of a step get logits: the last n_out. */
static void fill_outputs(const struct erne_model_io *io, const struct erne_step *step)
{
    int32_t *out_rows = io->out_rows->data;
    int32_t *out_position = io->out_position->data;
    const int32_t first = step->n_tok - step->n_out;

    for (int32_t o = 0; o < step->n_out; o++) {
        out_rows[o] = first + o;
        out_position[o] = step->n_past + first + o;
    }
    if (io->out_kind)
        memcpy(io->out_kind->data, (const int32_t *)io->kind->data + first,
               (size_t)step->n_out * sizeof(int32_t));
}

static void fill_inputs(const struct erne_session *s, const struct erne_phase *phase,
                        const int32_t *tokens, const struct erne_step *step)
{
    const struct erne_kvcache *kv = &s->kv;
    int32_t *position = phase->io.position->data;
    int32_t *slot = phase->io.slot->data;

    memcpy(phase->io.tokens->data, tokens, (size_t)step->n_tok * sizeof(*tokens));
    memcpy(phase->io.table->data, kv->table, (size_t)kv->n_pages * sizeof(*kv->table));
    for (int32_t t = 0; t < step->n_tok; t++) {
        position[t] = step->n_past + t;
        slot[t] = erne_kvcache_slot(kv, step->n_past + t);
    }
    erne_session_media_fill(s, &phase->io, step);
    fill_outputs(&phase->io, step);
}

int erne_phase_run(struct erne_session *s, struct erne_phase *phase,
                   const int32_t *tokens, const struct erne_step *step,
                   struct erne_error *err)
{
    fill_inputs(s, phase, tokens, step);
    return erne_engine_run(s->engine, &phase->plan, step, err);
}

/* Evaluates n tokens at position n_past. logits: [n, n_vocab] or NULL. */
static int run_step(struct erne_session *s, const int32_t *tokens, int32_t n,
                    int32_t n_past, float *logits, struct erne_error *err)
{
    struct erne_phase *phase = n == 1 ? &s->decode : &s->prefill;
    const size_t n_vocab = (size_t)s->engine->file.desc.n_vocab;
    /* Who watches is to see all rows of the last layer, too, but reads no logits. */
    const bool watched = !logits && phase->plan.watch;
    const struct erne_step step = { .n_tok = n,
                                    .n_out = logits || watched ? n : 1,
                                    .n_past = n_past,
                                    .cancel = &s->cancel };
    const float *rows = phase->io.logits->data;

    phase->plan.idle = watched ? phase->io.logits : NULL;
    ERNE_TRY(erne_phase_run(s, phase, tokens, &step, err));
    if (logits)
        memcpy(logits, rows, (size_t)n * n_vocab * sizeof(*logits));
    s->last_logits = watched ? NULL : rows + (size_t)(step.n_out - 1) * n_vocab;
    return erne_session_draft_step(s, phase, n_past, n, err);
}

/* Evaluates n tokens of the context behind n_past, in steps of at most n_batch. */
static int run_steps(struct erne_session *s, int32_t n_past, int32_t n, float *logits,
                     struct erne_error *err)
{
    const size_t n_vocab = (size_t)s->engine->file.desc.n_vocab;

    for (int32_t done = 0, take; done < n; done += take) {
        take = n - done < s->n_batch ? n - done : s->n_batch;
        ERNE_TRY(run_step(s, s->tokens + n_past + done, take, n_past + done,
                          logits ? logits + (size_t)done * n_vocab : NULL, err));
    }
    return 0;
}

/* The same, for a single token together with a guess of the next where that is wanted. */
static int run_tokens(struct erne_session *s, int32_t n, float *logits,
                      struct erne_error *err)
{
    const size_t n_vocab = (size_t)s->engine->file.desc.n_vocab;

    if (n > 1 || !erne_session_draft_wants(s))
        return run_steps(s, s->kv.n_past - n, n, logits, err);
    ERNE_TRY(erne_session_draft_eval(s, err));
    if (logits)
        memcpy(logits, s->last_logits, n_vocab * sizeof(*logits));
    return 0;
}

/* Plans without the device that was lost, and evaluates the first n_past tokens of the
 * context again, whose keys and values went with it. */
static int renew(struct erne_session *s, int32_t n_past, struct erne_error *err)
{
    s->is_stale = true;
    unplan_all(s);
    if (leave_cache(s))
        ERNE_TRY(erne_kvcache_take(&s->kv, err));
    erne_kvcache_forget_devices(&s->kv);
    ERNE_TRY(plan_all(s, err));
    ERNE_TRY(run_steps(s, 0, n_past, NULL, err));
    s->is_stale = false;
    return 0;
}

/* As run_tokens; goes on when a device is lost, at most until none is left. */
static int run_or_renew(struct erne_session *s, int32_t n, float *logits,
                        struct erne_error *err)
{
    const int32_t n_all = s->kv.n_past;
    int st = s->is_stale ? ERNE_EDEVICE : run_tokens(s, n, logits, err);

    for (int i = 0; i < ERNE_MAX_BACKENDS; i++) {
        if (st != ERNE_EDEVICE || !s->engine->fallback)
            break;
        erne_kvcache_truncate(&s->kv, n_all); /* without a guess */
        st = renew(s, n_all - n, err);
        if (st == 0)
            st = run_steps(s, n_all - n, n, logits, err);
        if (st == 0 && err)
            *err = (struct erne_error){ 0 };
    }
    return st;
}

static int check_tokens(const struct erne_session *s, const int32_t *tokens, size_t n,
                        struct erne_error *err)
{
    const int32_t n_vocab = s->engine->file.desc.n_vocab;

    if (n == 0 || !tokens)
        return erne_fail(err, ERNE_EINVAL, "no tokens to evaluate");
    if (n > INT32_MAX)
        return erne_fail(err, ERNE_ECONTEXT, "context length exceeded: %zu tokens", n);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= n_vocab)
            return erne_fail(err, ERNE_EINVAL,
                             "token %zu is %d, outside the vocabulary of %d", i,
                             tokens[i], n_vocab);
    return 0;
}

int erne_session_eval(struct erne_session *session, const int32_t *tokens, size_t n,
                      float *logits, struct erne_error *err)
{
    struct erne_session *s = session;
    const size_t n_vocab = (size_t)s->engine->file.desc.n_vocab;
    const struct erne_positions at = s->media.at;
    int32_t n_past;
    int st;

    ERNE_TRY(check_tokens(s, tokens, n, err));
    if (n == 1 && atomic_load(&s->cancel) == 0 && erne_session_draft_take(s, tokens[0])) {
        if (logits)
            memcpy(logits, s->last_logits, n_vocab * sizeof(*logits));
        return 0;
    }
    erne_session_draft_drop(s);
    n_past = s->kv.n_past;
    ERNE_TRY(erne_kvcache_grow(&s->kv, (int32_t)n, err));
    memcpy(s->tokens + n_past, tokens, n * sizeof(*tokens));
    st = erne_session_media_place(s, n_past, tokens, n, err);
    if (st == 0)
        st = run_or_renew(s, (int32_t)n, logits, err);
    if (st == 0)
        return 0;
    erne_kvcache_truncate(&s->kv, n_past);
    erne_session_draft_cut(s, n_past);
    s->media.at = at;
    s->last_logits = NULL;
    if (st == ERNE_ECANCELLED)
        atomic_store(&s->cancel, 0);
    return st;
}

const float *erne_session_logits(const struct erne_session *session)
{
    return session->last_logits;
}

int erne_session_sample(struct erne_session *session, int32_t *token,
                        struct erne_error *err)
{
    if (!session->last_logits)
        return erne_fail(err, ERNE_EINVAL, "no logits to sample from: evaluate first");
    return erne_sampler_pick(&session->sampler, session->last_logits, session->tokens,
                             (size_t)erne_session_n_past(session), token, err);
}

int erne_session_set_sampling(struct erne_session *session,
                              const struct erne_sampling *sampling,
                              struct erne_error *err)
{
    return erne_sampler_set(&session->sampler, sampling, err);
}

const struct erne_graph *erne_session_watch(struct erne_session *session,
                                            const struct erne_watch *watch)
{
    struct erne_phase *phase =
        session->prefill.max_tokens > 0 ? &session->prefill : &session->decode;

    phase->plan.watch = watch;
    return &phase->graph;
}

int erne_session_n_past(const struct erne_session *session)
{
    return session->kv.n_past - (session->draft.token >= 0);
}

int erne_session_n_ctx(const struct erne_session *session)
{
    return session->kv.n_ctx;
}

int erne_session_n_batch(const struct erne_session *session)
{
    return session->n_batch;
}

int erne_session_rewind(struct erne_session *session, int n_keep, struct erne_error *err)
{
    const int n_past = erne_session_n_past(session);

    if (n_keep < 0 || n_keep > n_past)
        return erne_fail(err, ERNE_EINVAL, "cannot keep %d tokens of %d", n_keep, n_past);
    ERNE_TRY(erne_session_media_check_cut(session, n_keep, err));
    erne_kvcache_truncate(&session->kv, n_keep);
    erne_session_draft_cut(session, n_keep);
    erne_session_media_cut(session, n_keep);
    session->last_logits = NULL;
    return 0;
}

void erne_session_cancel(struct erne_session *session)
{
    atomic_store(&session->cancel, 1);
}
