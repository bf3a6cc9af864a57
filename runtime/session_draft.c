/* session_draft.c -- speculative decoding by multi-token prediction: when one token is to
 * be evaluated, the model's extra block guesses the next, and both are evaluated in one
 * step. If the caller comes with the guess next, that step is saved; if not, it is as if
 * it had never been. Tokens are always chosen from the model's own logits, so that
 * answers, greedy or not, are those without guessing.
 *
 * The block attends to keys and values of its own, one layer behind the model's. What it
 * stores for token t comes from the hidden state of t and from token t + 1, and is made
 * once both are known.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rope.h"
#include "runtime/session.h"

int erne_session_draft_init(struct erne_session *s, int n_draft, struct erne_error *err)
{
    struct erne_session_draft *d = &s->draft;
    const struct erne_model_desc *desc = &s->engine->file.desc;

    d->token = -1;
    if (n_draft < 0 || n_draft > 1)
        return erne_fail(err, ERNE_EINVAL, "%d tokens drafted at a time: 0 or 1",
                         n_draft);
    if (n_draft == 0 || desc->n_mtp == 0)
        return 0;
    if (erne_rope_n_axes(desc) != 1)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "multi-token prediction with pictures is not known");
    d->hidden =
        malloc((size_t)(s->n_batch + 2) * (size_t)desc->n_embd * sizeof(*d->hidden));
    if (!d->hidden)
        return erne_fail(err, ERNE_ENOMEM, "no memory for hidden states");
    d->on = true;
    return 0;
}

int erne_session_draft_plan(struct erne_session *s, struct erne_error *err)
{
    struct erne_session_draft *d = &s->draft;

    if (!d->on)
        return 0;
    ERNE_TRY(erne_phase_init(&d->both, s, 2, false, err));
    ERNE_TRY(erne_phase_init(&d->few, s, 2, true, err));
    return erne_phase_init(&d->many, s, s->n_batch + 1, true, err);
}

void erne_session_draft_unplan(struct erne_session *s)
{
    struct erne_session_draft *d = &s->draft;

    erne_phase_deinit(&d->both);
    erne_phase_deinit(&d->few);
    erne_phase_deinit(&d->many);
    d->token = -1;
    d->n_done = d->n_hidden = 0;
}

void erne_session_draft_deinit(struct erne_session *s)
{
    struct erne_session_draft *d = &s->draft;

    erne_session_draft_unplan(s);
    free(d->hidden);
    *d = (struct erne_session_draft){ .token = -1 };
}

/* ----------------------------------------------------------- hidden states */

static size_t n_embd_of(const struct erne_session *s)
{
    return (size_t)s->engine->file.desc.n_embd;
}

/* Keeps those of n tokens behind the others. */
static void keep_hidden(struct erne_session *s, const struct erne_phase *phase, int32_t n)
{
    struct erne_session_draft *d = &s->draft;
    const size_t n_embd = n_embd_of(s);

    memcpy(d->hidden + (size_t)d->n_hidden * n_embd, phase->io.hidden->data,
           (size_t)n * n_embd * sizeof(*d->hidden));
    d->n_hidden += n;
}

void erne_session_draft_cut(struct erne_session *s, int32_t n_keep)
{
    struct erne_session_draft *d = &s->draft;
    const size_t n_embd = n_embd_of(s);

    d->token = -1;
    if (!d->on)
        return;
    if (d->n_done >= n_keep) {
        /* The next token of the last one may be another now, and its hidden state is
         * gone: zeros stand for it, which makes one guess worse. */
        d->n_done = n_keep > 0 ? n_keep - 1 : 0;
        d->n_hidden = n_keep > 0;
        memset(d->hidden, 0, n_embd * sizeof(*d->hidden));
    }
    d->n_hidden = n_keep - d->n_done;
}

/* ---------------------------------------------------------------- the block */

/* Token i of the step is that behind token n_done + i of the context. */
static void fill_block(const struct erne_session *s, const struct erne_phase *phase,
                       int32_t n)
{
    const struct erne_session_draft *d = &s->draft;
    const struct erne_kvcache *kv = &s->kv;
    const struct erne_model_io *io = &phase->io;

    memcpy(io->tokens->data, s->tokens + d->n_done + 1, (size_t)n * sizeof(*s->tokens));
    memcpy(io->hidden->data, d->hidden, (size_t)n * n_embd_of(s) * sizeof(*d->hidden));
    memcpy(io->table->data, kv->table, (size_t)kv->n_pages * sizeof(*kv->table));
    for (int32_t i = 0; i < n; i++) {
        const int32_t position = d->n_done + i;

        ((int32_t *)io->position->data)[i] = position;
        ((int32_t *)io->rope_position->data)[i] = position;
        ((int32_t *)io->slot->data)[i] = erne_kvcache_slot(kv, position);
        ((int32_t *)io->same_rows->data)[i] = i;
    }
    ((int32_t *)io->out_rows->data)[0] = n - 1;
}

/* Makes up for all tokens of the context of n_tokens but the last. *logits: what may
 * follow behind the context, [n_vocab]; NULL when nothing was to be done. */
static int catch_up(struct erne_session *s, int32_t n_tokens, const float **logits,
                    struct erne_error *err)
{
    struct erne_session_draft *d = &s->draft;
    const int32_t n = n_tokens - 1 - d->n_done;
    struct erne_phase *phase = n <= d->few.max_tokens ? &d->few : &d->many;
    const struct erne_step step = {
        .n_tok = n, .n_out = 1, .n_past = d->n_done, .cancel = &s->cancel
    };

    *logits = NULL;
    if (n <= 0)
        return 0;
    fill_block(s, phase, n);
    ERNE_TRY(erne_engine_run(s->engine, &phase->plan, &step, err));
    d->n_done += n;
    d->n_hidden -= n;
    memmove(d->hidden, d->hidden + (size_t)n * n_embd_of(s),
            (size_t)d->n_hidden * n_embd_of(s) * sizeof(*d->hidden));
    *logits = phase->io.logits->data;
    return 0;
}

int erne_session_draft_step(struct erne_session *s, const struct erne_phase *phase,
                            int32_t n_past, int32_t n_tok, struct erne_error *err)
{
    const float *logits;

    if (!s->draft.on)
        return 0;
    keep_hidden(s, phase, n_tok);
    return catch_up(s, n_past + n_tok, &logits, err);
}

/* ----------------------------------------------------------------- guessing */

bool erne_session_draft_wants(const struct erne_session *s)
{
    return s->draft.on && s->kv.n_past > 1 && s->kv.n_past < s->kv.n_ctx;
}

static int32_t likeliest(const float *logits, int32_t n)
{
    int32_t best = 0;

    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

int erne_session_draft_eval(struct erne_session *s, struct erne_error *err)
{
    struct erne_session_draft *d = &s->draft;
    const int32_t n_past = s->kv.n_past - 1;
    const size_t n_vocab = (size_t)s->engine->file.desc.n_vocab;
    const struct erne_step step = {
        .n_tok = 2, .n_out = 2, .n_past = n_past, .cancel = &s->cancel
    };
    const float *logits, *rows = d->both.io.logits->data;
    int32_t tokens[2] = { s->tokens[n_past] };

    ERNE_TRY(catch_up(s, n_past + 1, &logits, err));
    assert(logits); /* the newest token was not made up for yet */
    tokens[1] = likeliest(logits, s->sampler.n_vocab);
    ERNE_TRY(erne_kvcache_grow(&s->kv, 1, err));
    ERNE_TRY(erne_phase_run(s, &d->both, tokens, &step, err));
    keep_hidden(s, &d->both, 2);
    d->token = tokens[1];
    d->ahead = rows + n_vocab;
    d->stats.n_drafted++;
    s->last_logits = rows;
    return 0;
}

bool erne_session_draft_take(struct erne_session *s, int32_t token)
{
    struct erne_session_draft *d = &s->draft;

    if (d->token < 0 || d->token != token)
        return false;
    s->tokens[s->kv.n_past - 1] = token;
    s->last_logits = d->ahead;
    d->token = -1;
    d->stats.n_accepted++;
    return true;
}

void erne_session_draft_drop(struct erne_session *s)
{
    if (s->draft.token < 0)
        return;
    erne_kvcache_truncate(&s->kv, s->kv.n_past - 1);
    erne_session_draft_cut(s, s->kv.n_past);
}

struct erne_draft_stats erne_session_draft_stats(const struct erne_session *session)
{
    return session->draft.stats;
}
