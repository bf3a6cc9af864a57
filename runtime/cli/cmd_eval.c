/* cmd_eval.c -- erne eval: perplexity of a text, and divergence from a base model.
 *
 * Counts as llama-perplexity does (tools/perplexity/perplexity.cpp): the text is cut into
 * chunks of n_ctx tokens, each evaluated on its own with bos in place of its first token
 * if the model wants one; the second half of a chunk is scored. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli_io.h"
#include "runtime/cli/cli_newfile.h"
#include "runtime/cli/cli_rows.h"
#include "runtime/cli/eval_base.h"
#include "runtime/cli/eval_score.h"

enum { DEFAULT_N_CTX = 512, MIN_N_CTX = 4 };

struct eval {
    struct cli_model model;
    struct eval_text text;
    size_t chunk; /* the one being evaluated */
    struct eval_score score;
    struct eval_base base;    /* open when comparing */
    struct cli_newfile saved; /* open when saving */
    const struct cli_args *args;
};

/* ------------------------------------------------------------------- text */

/* How many of n chunks --chunks leaves. */
static int limit_chunks(size_t *n, const struct eval *e, struct erne_error *err)
{
    if (e->args->n_chunks == 0)
        return cli_fail(err, ERNE_EINVAL, "option --chunks: at least one is needed");
    if (e->args->n_chunks > 0 && *n > (size_t)e->args->n_chunks)
        *n = (size_t)e->args->n_chunks;
    return ERNE_OK;
}

/* Takes the tokens of ids. */
static int cut(struct eval_text *text, const struct eval *e, size_t n_ctx,
               struct cli_ids *ids, struct erne_error *err)
{
    const int32_t bos = e->model.info->bos;
    size_t n_chunks = ids->n / n_ctx;
    int st;

    if (n_ctx < MIN_N_CTX)
        return cli_fail(err, ERNE_EINVAL, "option -c: chunks of %zu tokens, at least %d",
                        n_ctx, MIN_N_CTX);
    if (n_chunks == 0)
        return cli_fail(err, ERNE_EINVAL, "%s: %zu tokens, a chunk needs %zu",
                        e->args->prompt_file, ids->n, n_ctx);
    st = limit_chunks(&n_chunks, e, err);
    if (st < 0)
        return st;
    for (size_t i = 0; bos >= 0 && i < n_chunks; i++)
        ids->data[i * n_ctx] = bos;
    *text = (struct eval_text){ ids->data, n_ctx, n_chunks };
    ids->data = NULL;
    return ERNE_OK;
}

/* The text of -f in chunks of n_ctx tokens. */
static int read_text(struct eval_text *text, const struct eval *e, size_t n_ctx,
                     struct erne_error *err)
{
    struct cli_text file = { 0 };
    struct cli_ids ids = { 0 };
    int st = cli_text_read(&file, e->args->prompt_file, err);

    if (st == ERNE_OK && file.n > 0 && file.data[file.n - 1] == '\n')
        file.n--; /* as llama.cpp's -f does */
    if (st == ERNE_OK)
        st = cli_ids_from_text(&ids, &e->model, file.data, file.n, false, err);
    if (st == ERNE_OK)
        st = cut(text, e, n_ctx, &ids, err);
    free(ids.data);
    free(file.data);
    return st;
}

/* The base brings its text along. What is said about that text by -f and -c must agree:
 * figures of another text would look like any others. */
static int open_base(struct eval *e, struct erne_error *err)
{
    const struct cli_args *args = e->args;
    struct eval_text own = { 0 };
    int st = eval_base_open(&e->base, &e->text, args->base,
                            (size_t)e->model.info->n_vocab, err);

    if (st == ERNE_OK && args->session.n_ctx &&
        (size_t)args->session.n_ctx != e->text.n_ctx)
        st = cli_fail(err, ERNE_EINVAL, "option -c: %s has chunks of %zu tokens",
                      args->base, e->text.n_ctx);
    if (st == ERNE_OK)
        st = limit_chunks(&e->text.n_chunks, e, err);
    if (st == ERNE_OK && args->prompt_file)
        st = read_text(&own, e, e->text.n_ctx, err);
    if (st == ERNE_OK && own.tokens &&
        (own.n_chunks < e->text.n_chunks ||
         memcmp(own.tokens, e->text.tokens,
                e->text.n_chunks * e->text.n_ctx * sizeof(*own.tokens)) != 0))
        st = cli_fail(err, ERNE_EINVAL, "%s: not the text that %s was made from",
                      args->prompt_file, args->base);
    free(own.tokens);
    return st;
}

/* ---------------------------------------------------------------- scoring */

/* rows: [n, n_vocab], after tokens first .. of the current chunk. */
static int score_rows(const struct cli_rows *r, const float *rows, size_t first, size_t n,
                      struct erne_error *err)
{
    struct eval *e = r->user;
    const int32_t *ids = e->text.tokens + e->chunk * e->text.n_ctx;
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < n; i++) {
        const float *row = rows + i * r->n_vocab;
        const int32_t next = ids[first + i + 1];

        if (e->base.file) {
            st = eval_base_next(&e->base, err);
            if (st == ERNE_OK)
                eval_score_compare(&e->score, row, e->base.row, r->n_vocab, next);
        } else {
            eval_score_add(&e->score, row, r->n_vocab, next);
        }
        if (st == ERNE_OK && e->saved.file)
            st = cli_newfile_append(&e->saved, row, r->n_vocab * sizeof(*row), err);
    }
    return st;
}

static int print_running(const struct eval *e, struct erne_error *err)
{
    char line[64];
    int n = snprintf(line, sizeof(line), "[%zu]%.4f,", e->chunk + 1,
                     exp(eval_mean_value(&e->score.nll)));

    return cli_put(line, (size_t)n, err);
}

/* The last token of a chunk predicts nothing that is scored, so it is left out. */
static int score_chunks(struct eval *e, struct erne_error *err)
{
    struct cli_rows rows = { .visit = score_rows, .user = e };
    int st = cli_rows_init(&rows, &e->model, e->args->session.n_batch, err);

    for (; st == ERNE_OK && e->chunk < e->text.n_chunks; e->chunk++) {
        st = erne_session_rewind(e->model.session, 0, err);
        if (st == ERNE_OK)
            st = cli_rows_eval(&rows, e->text.tokens + e->chunk * e->text.n_ctx,
                               e->text.n_ctx - 1, eval_text_first(&e->text), err);
        if (st == ERNE_OK)
            st = print_running(e, err);
    }
    if (e->chunk > 0)
        putchar('\n');
    cli_rows_deinit(&rows);
    return st;
}

/* ---------------------------------------------------------------- command */

/* "perplexity" reads a text, and may keep its logits; "kld" compares with kept ones. */
static int check_args(const struct cli_args *args, bool *compare, struct erne_error *err)
{
    const char *kind = args->n_operands > 0 ? args->operands[0] : "(nothing)";

    *compare = strcmp(kind, "kld") == 0 && args->base;
    if (strcmp(kind, "perplexity") != 0 && strcmp(kind, "kld") != 0)
        return cli_fail(err, ERNE_EINVAL, "erne eval measures perplexity or kld, not %s",
                        kind);
    if (args->base && !*compare)
        return cli_fail(err, ERNE_EINVAL, "option --base is for erne eval kld");
    if (strcmp(kind, "kld") == 0 && !args->base == !args->save_base)
        return cli_fail(
            err, ERNE_EINVAL,
            "erne eval kld needs either --save-base FILE with -f TEXT, for the "
            "model to compare with, or --base FILE");
    if (!*compare && !args->prompt_file)
        return cli_fail(err, ERNE_EINVAL, "a text is needed: -f FILE");
    return ERNE_OK;
}

static int prepare(struct eval *e, bool compare, struct erne_error *err)
{
    struct erne_session_opts opts = e->args->session;
    const size_t n_vocab = (size_t)e->model.info->n_vocab;
    const size_t n_ctx = opts.n_ctx ? (size_t)opts.n_ctx : DEFAULT_N_CTX;
    int st = compare ? open_base(e, err) : read_text(&e->text, e, n_ctx, err);

    if (st < 0)
        return st;
    opts.n_ctx = (int)e->text.n_ctx;
    if (!opts.n_batch)
        opts.n_batch = CLI_ROWS_STEP;
    st = cli_model_start(&e->model, &opts, err);
    if (st == ERNE_OK)
        st = eval_score_init(
            &e->score, compare ? e->text.n_chunks * eval_text_n_scored(&e->text) : 0,
            err);
    if (st == ERNE_OK && e->args->save_base)
        st = cli_newfile_check(e->args, e->args->save_base, err);
    if (st == ERNE_OK && e->args->save_base)
        st = eval_base_create(&e->saved, e->args->save_base, &e->text, n_vocab, err);
    if (st == ERNE_OK)
        fprintf(stderr, "%zu chunks of %zu tokens, %zu scored in each\n",
                e->text.n_chunks, e->text.n_ctx, eval_text_n_scored(&e->text));
    return st;
}

int cmd_eval(struct cli_args *args, struct erne_error *err)
{
    struct eval e = { .args = args };
    bool compare = false;
    int st = check_args(args, &compare, err);

    args->engine.use_tuned = false; /* figures must not depend on what was measured */
    if (st == ERNE_OK)
        st = cli_model_open(&e.model, args, 1, err);
    if (st == ERNE_OK)
        st = prepare(&e, compare, err);
    cli_interrupt_begin(e.model.session);
    if (st == ERNE_OK)
        st = score_chunks(&e, err);
    cli_interrupt_end();
    if (st == ERNE_OK && e.saved.file)
        st = cli_newfile_commit(&e.saved, err);
    if (st == ERNE_OK && compare)
        eval_score_print_kld(&e.score);
    else if (st == ERNE_OK)
        eval_score_print_perplexity(&e.score);
    if (st == ERNE_OK)
        cli_model_print_experts(&e.model);
    cli_newfile_close(&e.saved);
    eval_base_close(&e.base);
    eval_score_deinit(&e.score);
    free(e.text.tokens);
    cli_model_close(&e.model);
    return st;
}
