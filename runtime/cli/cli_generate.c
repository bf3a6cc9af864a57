/* cli_generate.c -- prompt in, streamed text out. */
#include "runtime/cli/cli_generate.h"

#include <stdio.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/cli_stop.h"

/* ----------------------------------------------------------------- prompt */

/* A cancellation that came too late for what it was meant for must not hit this. */
static int eval(struct cli_generator *g, const int32_t *ids, size_t n,
                struct erne_error *err)
{
    int st = erne_session_eval(g->model->session, ids, n, NULL, err);

    if (st == ERNE_ECANCELLED && !cli_interrupted())
        st = erne_session_eval(g->model->session, ids, n, NULL, err);
    for (size_t i = 0; st == ERNE_OK && i < n; i++)
        st = cli_ids_append(&g->context, ids[i], err);
    return st;
}

/* How many tokens at the start need no evaluation. The last one always does: the logits
 * after it are wanted. */
static size_t common_prefix(const struct cli_ids *a, const struct cli_ids *prompt)
{
    size_t n = 0;

    while (n < a->n && n + 1 < prompt->n && a->data[n] == prompt->data[n])
        n++;
    return n;
}

/* Cuts the context to what the prompt begins with, and not inside a picture; then adds
 * the media behind that. */
static int keep_prefix(struct cli_generator *g, const struct cli_ids *prompt,
                       const struct cli_media *media, struct erne_error *err)
{
    const uint64_t start = pf_time_ns();
    size_t n_keep = common_prefix(&g->context, prompt), n_done = 0, left = 0;
    int st = cli_media_count(media, g->model, prompt->data, n_keep, &n_done, &left, err);

    if (left > 0)
        n_keep = n_done = 0;
    if (st == ERNE_OK)
        st = erne_session_rewind(g->model->session, (int)n_keep, err);
    if (st < 0)
        return st;
    g->context.n = n_keep;
    st = cli_media_add(media, n_done, g->model, err);
    g->stats = (struct cli_stats){
        .n_reused = n_keep,
        .n_media = media->n - n_done,
        .vision_seconds = (double)(pf_time_ns() - start) * 1e-9,
    };
    return st;
}

void cli_forget(struct cli_generator *g)
{
    g->context.n = 0;
}

int cli_prefill(struct cli_generator *g, const struct cli_ids *prompt,
                const struct cli_media *media, struct erne_error *err)
{
    enum { SHOWN = 512 };
    const size_t n_ctx = (size_t)erne_session_n_ctx(g->model->session);
    const size_t n_batch = (size_t)erne_session_n_batch(g->model->session);
    /* Whole steps, about as many tokens as progress is to be shown after. */
    const size_t most = n_batch * ((n_batch + SHOWN - 1) / n_batch);
    uint64_t start;
    size_t n_keep, at;
    int st;

    if (prompt->n == 0)
        return cli_fail(err, ERNE_EINVAL, "the prompt is empty");
    if (prompt->n >= n_ctx)
        return cli_fail(err, ERNE_ECONTEXT,
                        "context length exceeded: the prompt has %zu tokens, the context "
                        "holds %zu and an answer needs room too",
                        prompt->n, n_ctx);
    st = keep_prefix(g, prompt, media, err);
    if (st < 0)
        return st;
    start = pf_time_ns();
    n_keep = at = g->context.n;
    for (; st == ERNE_OK && at < prompt->n;) {
        const size_t left = prompt->n - at, n = left < most ? left : most;

        st = eval(g, prompt->data + at, n, err);
        at += n;
        if (prompt->n - n_keep > most)
            cli_progress(NULL, at - n_keep, prompt->n - n_keep, "prompt");
    }
    g->stats.n_prompt = prompt->n - n_keep;
    g->stats.prompt_seconds = (double)(pf_time_ns() - start) * 1e-9;
    return st;
}

/* ----------------------------------------------------------------- answer */

/* One answer as it is made. */
struct stream {
    struct erne_reply reply;
    struct cli_stop stop;
    bool stopped;   /* by a stop string */
    bool hide, dim; /* the reasoning: on a terminal it is dim */
    bool in_reasoning;
    struct cli_text *answer;
};

static int put_text(const char *text, struct erne_error *err)
{
    return cli_put(text, strlen(text), err);
}

/* Marks: those of llama.cpp. */
static int put_reasoning(struct stream *s, const char *text, size_t n,
                         struct erne_error *err)
{
    int st = ERNE_OK;

    if (n == 0 || s->hide)
        return ERNE_OK;
    if (!s->in_reasoning)
        st = put_text(s->dim ? "\033[2m[Start thinking]\n" : "[Start thinking]\n", err);
    s->in_reasoning = true;
    return st == ERNE_OK ? cli_put(text, n, err) : st;
}

static int end_reasoning(struct stream *s, struct erne_error *err)
{
    if (!s->in_reasoning)
        return ERNE_OK;
    s->in_reasoning = false;
    return put_text(s->dim ? "\n[End thinking]\033[0m\n\n" : "\n[End thinking]\n\n", err);
}

/* Prints and keeps what the stop strings let through. */
static int emit(struct stream *s, struct erne_error *err)
{
    int st = cli_text_append(s->answer, s->stop.text, s->stop.n_ready, err);

    if (st == ERNE_OK && s->stop.n_ready > 0)
        st = cli_put(s->stop.text, s->stop.n_ready, err);
    return st;
}

/* Text of the answer, in pieces that the stop strings can take. */
static int add_answer(struct stream *s, const char *text, size_t n,
                      struct erne_error *err)
{
    int st = n > 0 ? end_reasoning(s, err) : ERNE_OK;

    while (st == ERNE_OK && n > 0 && !s->stopped) {
        const size_t n_piece = n < CLI_PIECE_MAX ? n : CLI_PIECE_MAX;

        s->stopped = cli_stop_feed(&s->stop, text, n_piece);
        st = emit(s, err);
        text += n_piece;
        n -= n_piece;
    }
    return st;
}

static int add_token(struct stream *s, const struct cli_model *model, int32_t token,
                     struct erne_error *err)
{
    char text[2 * CLI_PIECE_MAX];
    size_t n_reasoning = 0, n_answer = 0;
    int st = erne_reply_add(&s->reply, model->engine, token, text, sizeof(text),
                            &n_reasoning, &n_answer, err);

    if (st == ERNE_OK)
        st = put_reasoning(s, text, n_reasoning, err);
    return st == ERNE_OK ? add_answer(s, text + n_reasoning, n_answer, err) : st;
}

/* What the end of the answer releases: half a character, and half a tag or stop string.
 */
static int finish(struct stream *s, const struct cli_model *model, struct erne_error *err)
{
    char text[2 * CLI_PIECE_MAX];
    size_t n_reasoning = 0, n_answer = 0;
    int st = erne_reply_end(&s->reply, model->engine, text, sizeof(text), &n_reasoning,
                            &n_answer);

    if (st < 0)
        return cli_fail(err, st, "the text ends in the middle of a character");
    st = put_reasoning(s, text, n_reasoning, err);
    if (st == ERNE_OK)
        st = add_answer(s, text + n_reasoning, n_answer, err);
    if (st == ERNE_OK && !s->stopped) {
        cli_stop_finish(&s->stop);
        st = emit(s, err);
    }
    return st == ERNE_OK ? end_reasoning(s, err) : st;
}

static int generate(struct cli_generator *g, struct stream *s, struct erne_error *err)
{
    struct cli_model *model = g->model;
    const int n_predict = g->args->n_predict;
    int32_t token = 0;

    while (n_predict < 0 || g->stats.n_generated < (size_t)n_predict) {
        int st = cli_interrupted() ? cli_fail(err, ERNE_ECANCELLED, "interrupted")
                                   : erne_session_sample(model->session, &token, err);

        if (st < 0 || erne_engine_is_stop(model->engine, token))
            return st;
        g->stats.n_generated++;
        st = add_token(s, model, token, err);
        if (st < 0 || s->stopped)
            return st;
        st = eval(g, &token, 1, err);
        if (st < 0)
            return st;
    }
    return ERNE_OK;
}

int cli_answer(struct cli_generator *g, struct cli_text *answer, struct erne_error *err)
{
    const uint64_t start = pf_time_ns();
    struct stream s = { .answer = answer,
                        .hide = g->args->reasoning == CLI_REASONING_HIDE,
                        .dim = pf_is_terminal(stdout) };
    struct erne_error end_err = { 0 };
    int end, st = cli_stop_init(&s.stop, &g->args->stops, err);

    if (st < 0)
        return st;
    if (g->is_chat)
        erne_reply_init(&s.reply, g->model->engine, g->args->thinking);
    st = generate(g, &s, err);
    end = s.stopped || st == ERNE_EIO ? ERNE_OK : finish(&s, g->model, &end_err);
    if (st == ERNE_OK && end < 0) {
        *err = end_err;
        st = end;
    }
    g->stats.generate_seconds = (double)(pf_time_ns() - start) * 1e-9;
    cli_stop_deinit(&s.stop);
    return st;
}

/* ------------------------------------------------------------------ stats */

static double rate(size_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

void cli_stats_print(const struct cli_generator *g)
{
    const struct cli_stats *s = &g->stats;
    const struct erne_draft_stats draft = erne_session_draft_stats(g->model->session);

    fprintf(stderr, "[ Prompt: %.1f t/s | Generation: %.1f t/s ]\n",
            rate(s->n_prompt, s->prompt_seconds),
            rate(s->n_generated, s->generate_seconds));
    if (s->n_media > 0)
        fprintf(stderr, "  %zu picture%s or video%s in %.2f s\n", s->n_media,
                s->n_media > 1 ? "s" : "", s->n_media > 1 ? "s" : "", s->vision_seconds);
    fprintf(stderr, "  %zu prompt tokens in %.2f s", s->n_prompt, s->prompt_seconds);
    if (s->n_reused > 0)
        fprintf(stderr, " (%zu more kept from before)", s->n_reused);
    fprintf(stderr, ", %zu generated in %.2f s, model loaded in %.2f s\n", s->n_generated,
            s->generate_seconds, g->model->load_seconds);
    if (draft.n_drafted > 0)
        fprintf(stderr, "  %.0f %% of %llu guesses ahead were right\n",
                100.0 * (double)draft.n_accepted / (double)draft.n_drafted,
                (unsigned long long)draft.n_drafted);
    cli_model_print_experts(g->model);
}
