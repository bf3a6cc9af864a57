/* bench_sample.c -- runs one test once, and notes how long it took.
 *
 * What is counted, as llama-bench counts: the evaluation of tokens. Not counted are
 * loading, tokenising, sampling, and the tokens that lie before the test (its depth).
 * A prompt of n tokens is evaluated in calls of at most n_batch, each in steps of at most
 * n_ubatch, and only the last token of a call gets logits; generating n tokens is n calls
 * of one token, each with logits. Unlike llama-bench the tokens are those of a text.
 * Only a whole request (BENCH_WHOLE) counts everything, and says what each part took.
 */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/cli/bench.h"

void bench_note(struct bench_series *s, double x)
{
    if (s->n < s->cap)
        s->data[s->n++] = x;
}

/* Nanoseconds since *from, which becomes now. */
static double lap(uint64_t *from)
{
    const uint64_t now = pf_time_ns();
    const double ns = (double)(now - *from);

    *from = now;
    return ns;
}

/* ----------------------------------------------------------------- tokens */

/* Tokens first .. first + n - 1 of the trace, which the session holds up to `first`. */
static int eval_tokens(const struct bench_lane *lane, int first, int n, int n_batch,
                       struct erne_error *err)
{
    const int32_t *ids = lane->engine->trace.data;
    int st = ERNE_OK;

    for (int done = 0, take; st == ERNE_OK && done < n; done += take) {
        take = n - done < n_batch ? n - done : n_batch;
        st =
            erne_session_eval(lane->session, ids + first + done, (size_t)take, NULL, err);
    }
    return st;
}

/* The session holds the first n tokens of the trace; most of them it may hold already. */
static int hold(const struct bench_lane *lane, int n, struct erne_error *err)
{
    const int n_past = erne_session_n_past(lane->session);

    if (n_past > n)
        return erne_session_rewind(lane->session, n, err);
    return eval_tokens(lane, n_past, n - n_past, lane->n_batch, err);
}

/* As hold, but something is evaluated in any case: it wakes threads, clocks and caches
 * after another lane computed. */
static int settle(const struct bench_lane *lane, int n, struct erne_error *err)
{
    int st = hold(lane, n > 0 ? n - 1 : 0, err);

    if (st == ERNE_OK)
        st = hold(lane, n > 0 ? n : 1, err);
    return st == ERNE_OK ? hold(lane, n, err) : st;
}

static int run_tokens(struct bench_case *c, struct erne_error *err)
{
    uint64_t start, at;
    int st = settle(c->lane, c->n_depth, err);

    if (st < 0)
        return st;
    start = at = pf_time_ns();
    st = eval_tokens(c->lane, c->n_depth, c->n_prompt, c->lane->n_batch, err);
    if (c->n_prompt > 0 && c->n_gen > 0)
        bench_note(&c->first, lap(&at));
    for (int i = 0; st == ERNE_OK && i < c->n_gen; i++) {
        st = eval_tokens(c->lane, c->n_depth + c->n_prompt + i, 1, 1, err);
        bench_note(&c->tokens, lap(&at));
    }
    if (st == ERNE_OK)
        bench_note(&c->samples, (double)(pf_time_ns() - start));
    return st;
}

/* ----------------------------------------------------------------- vision */

/* The tower alone; its features are dropped. */
static int run_vision(struct bench_case *c, struct erne_error *err)
{
    uint64_t start;
    int st = settle(c->lane, 0, err);

    if (st < 0)
        return st;
    start = pf_time_ns();
    st = erne_session_add_media(c->lane->session, c->media, err);
    if (st == ERNE_OK)
        bench_note(&c->samples, (double)(pf_time_ns() - start));
    return st == ERNE_OK ? erne_session_rewind(c->lane->session, 0, err) : st;
}

/* ------------------------------------------------------------------ whole */

/* The prompt of a whole request: a chat with the text, and the picture if there is one;
 * the plain text for a model that cannot chat. */
static int make_prompt(struct cli_ids *ids, const struct bench_case *c,
                       const struct bench *b, struct erne_error *err)
{
    const struct cli_model *model = &c->lane->engine->model;
    struct cli_text text = { 0 };
    struct erne_part parts[2] = { { .media = c->media } };
    const struct erne_message message = { .role = "user",
                                          .parts = c->media ? parts : parts + 1,
                                          .n_parts = c->media ? 2 : 1 };
    int st = cli_text_append(&text, b->text.data, c->n_text, err);

    parts[1].text = text.data;
    if (st == ERNE_OK)
        st = model->info->has_chat
                 ? cli_ids_from_chat(ids, model, &message, 1, -1, err)
                 : cli_ids_from_text(ids, model, text.data, text.n, false, err);
    free(text.data);
    return st;
}

/* When a request began, and what its answer took; the first token is a stage of its own,
 * so that all stages add up to the request. */
struct request {
    uint64_t start;
    double sample_ns, decode_ns;
};

/* Takes tokens until there are n_gen; each is sampled, and all but the last evaluated. */
static int generate(struct bench_case *c, struct request *r, struct erne_error *err)
{
    struct erne_session *session = c->lane->session;
    uint64_t at = pf_time_ns();
    int32_t token;
    int st = ERNE_OK;

    for (int i = 1; st == ERNE_OK && i <= c->n_gen; i++) {
        double sampled, decoded;

        st = erne_session_sample(session, &token, err);
        sampled = lap(&at);
        r->sample_ns += i > 1 ? sampled : 0;
        if (i == 1) {
            bench_note(&c->stages[BENCH_STAGE_first_token], sampled);
            bench_note(&c->first, (double)(at - r->start));
        }
        if (st < 0 || i == c->n_gen)
            break;
        st = erne_session_eval(session, &token, 1, NULL, err);
        decoded = lap(&at);
        r->decode_ns += decoded;
        bench_note(&c->tokens, sampled + decoded);
    }
    return st;
}

static int run_whole(struct bench_case *c, const struct bench *b, struct erne_error *err)
{
    struct erne_session *session = c->lane->session;
    struct request r = { 0 };
    struct cli_ids ids = { 0 };
    uint64_t at;
    int st = settle(c->lane, 0, err);

    if (st < 0)
        return st;
    r.start = at = pf_time_ns();
    st = make_prompt(&ids, c, b, err);
    bench_note(&c->stages[BENCH_STAGE_tokenise], lap(&at));
    if (st == ERNE_OK && c->media) {
        st = erne_session_add_media(session, c->media, err);
        bench_note(&c->stages[BENCH_STAGE_vision], lap(&at));
    }
    if (st == ERNE_OK)
        st = erne_session_eval(session, ids.data, ids.n, NULL, err);
    bench_note(&c->stages[BENCH_STAGE_prefill], lap(&at));
    if (st == ERNE_OK)
        st = generate(c, &r, err);
    if (st == ERNE_OK) {
        bench_note(&c->samples, (double)(pf_time_ns() - r.start));
        bench_note(&c->stages[BENCH_STAGE_sample], r.sample_ns);
        bench_note(&c->stages[BENCH_STAGE_decode], r.decode_ns);
    }
    free(ids.data);
    return st == ERNE_OK ? erne_session_rewind(session, 0, err) : st;
}

/* -------------------------------------------------------------- any of them */

/* How many bytes of the text make about n_prompt tokens; n_prompt becomes how many they
 * are, laid out as a chat. */
static int fit_text(struct bench_case *c, const struct bench *b, struct erne_error *err)
{
    struct cli_ids ids = { 0 };
    const double share = (double)c->n_prompt / (double)c->lane->engine->n_text_tokens;
    int st;

    c->n_text = share < 1 ? (size_t)(share * (double)b->text.n) : b->text.n;
    st = make_prompt(&ids, c, b, err);
    c->n_prompt = (int)ids.n;
    free(ids.data);
    return st;
}

int bench_case_prepare(struct bench_case *c, const struct bench *b,
                       struct erne_error *err)
{
    const struct bench_engine *e = c->lane->engine;
    int st = ERNE_OK;

    if (c->width > 0 && !e->model.info->has_vision)
        return cli_fail(err, ERNE_EUNSUPPORTED, "the model takes no pictures");
    if (c->width > 0)
        st = bench_picture(&c->media, c->width, c->height, err);
    if (st == ERNE_OK && c->media)
        st = erne_media_n_tokens(e->model.engine, c->media, &c->n_image, err);
    return st == ERNE_OK && c->kind == BENCH_WHOLE ? fit_text(c, b, err) : st;
}

static int run(struct bench_case *c, const struct bench *b, struct erne_error *err)
{
    switch (c->kind) {
    case BENCH_VISION: return run_vision(c, err);
    case BENCH_WHOLE: return run_whole(c, b, err);
    default: return run_tokens(c, err);
    }
}

int bench_case_warm_up(struct bench_case *c, const struct bench *b,
                       struct erne_error *err)
{
    struct bench_case once = *c;

    once.samples.cap = once.first.cap = once.tokens.cap = 0;
    for (int i = 0; i < BENCH_N_STAGES; i++)
        once.stages[i].cap = 0;
    once.n_gen = c->n_gen > 0;
    return run(&once, b, err);
}

int bench_case_run(struct bench_case *c, const struct bench *b, struct erne_error *err)
{
    struct pf_usage before, after;
    int st;

    pf_usage_read(&before, NULL);
    st = run(c, b, err);
    pf_usage_read(&after, NULL);
    bench_guard_add(&c->guard, &before, &after);
    return st;
}
