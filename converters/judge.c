/* judge.c -- reads tokens with one model after the other and compares. See judge.h. */
#include "converters/judge.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { STEP = 128 }; /* tokens whose logits are in memory */

/* Called with the logits after tokens at .. at + n of all chunks: rows [n, n_vocab]. */
struct reader {
    const struct judge *judge;
    int (*see)(struct reader *r, const float *rows, size_t at, size_t n);
    struct judge_score score;
};

static int read_chunk(struct reader *r, struct erne_session *session, size_t first,
                      struct erne_error *err)
{
    const struct judge *j = r->judge;

    ERNE_TRY(erne_session_rewind(session, 0, err));
    for (size_t at = 0, n; at + 1 < j->chunk; at += n) {
        n = j->chunk - 1 - at < STEP ? j->chunk - 1 - at : STEP;
        ERNE_TRY(erne_session_eval(session, j->tokens + first + at, n, j->rows, err));
        const int st = r->see(r, j->rows, first + at, n);

        if (st < 0)
            return erne_fail(err, st, "%s: %s", j->path, pf_last_error());
    }
    return ERNE_OK;
}

static int read_chunks(struct reader *r, struct erne_engine *engine, size_t n_chunks,
                       struct erne_error *err)
{
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *session;
    int st;

    opts.n_ctx = (int)r->judge->chunk;
    opts.n_batch = STEP;
    opts.kv_type = "f32";
    opts.n_draft = 0;
    ERNE_TRY(erne_session_create(&session, engine, &opts, err));
    st = ERNE_OK;
    for (size_t i = 0; i < n_chunks && st == 0; i++)
        st = read_chunk(r, session, i * r->judge->chunk, err);
    erne_session_destroy(&session);
    return st;
}

static int keep_rows(struct reader *r, const float *rows, size_t at, size_t n)
{
    const size_t row_bytes = r->judge->n_vocab * sizeof(*rows);

    return pf_file_write_at(r->judge->file, rows, n * row_bytes, at * row_bytes);
}

static int compare_rows(struct reader *r, const float *rows, size_t at, size_t n)
{
    const struct judge *j = r->judge;
    const float *base = (const float *)(const void *)j->map.data + at * j->n_vocab;
    struct judge_score *s = &r->score;

    for (size_t i = 0; i < n; i++) {
        struct erne_divergence d;

        erne_logits_compare(&d, rows + i * j->n_vocab, base + i * j->n_vocab, j->n_vocab,
                            j->tokens[at + i + 1]);
        s->kld += d.kld;
        s->same_top += d.same_top ? 1.0 : 0.0;
        s->nll += d.nll;
        s->nll_base += d.nll_base;
        s->n_tokens++;
    }
    return ERNE_OK;
}

int judge_init(struct judge *judge, struct erne_engine *exact, const int32_t *tokens,
               size_t n_chunks, size_t chunk, const char *path, struct erne_error *err)
{
    const size_t n_vocab = (size_t)erne_engine_info(exact)->n_vocab;
    struct reader r = { .judge = judge, .see = keep_rows };
    int st;

    *judge = (struct judge){
        .tokens = tokens, .chunk = chunk, .n_chunks = n_chunks, .n_vocab = n_vocab
    };
    judge->rows = malloc(STEP * n_vocab * sizeof(*judge->rows));
    judge->path = malloc(strlen(path) + 1);
    if (!judge->rows || !judge->path)
        return erne_fail(err, ERNE_ENOMEM, "no memory for logits");
    memcpy(judge->path, path, strlen(path) + 1);
    st = pf_file_open(&judge->file, path, PF_WRITE_NEW);
    if (st < 0)
        return erne_fail(err, st, "%s: %s", path, pf_last_error());
    ERNE_TRY(read_chunks(&r, exact, n_chunks, err));
    st = pf_map_file(&judge->map, judge->file);
    return st < 0 ? erne_fail(err, st, "%s: %s", path, pf_last_error()) : ERNE_OK;
}

void judge_deinit(struct judge *judge)
{
    const bool is_there = judge->file != NULL;

    pf_map_close(&judge->map);
    pf_file_close(&judge->file);
    if (is_there)
        pf_path_remove(judge->path);
    free(judge->path);
    free(judge->rows);
    *judge = (struct judge){ 0 };
}

int judge_score(struct judge_score *score, const struct judge *judge,
                struct erne_engine *engine, size_t n_chunks, struct erne_error *err)
{
    struct reader r = { .judge = judge, .see = compare_rows };

    assert(n_chunks >= 1 && n_chunks <= judge->n_chunks);
    ERNE_TRY(read_chunks(&r, engine, n_chunks, err));
    const double n = (double)r.score.n_tokens;

    *score = (struct judge_score){ r.score.kld / n, r.score.same_top / n, r.score.nll / n,
                                   r.score.nll_base / n, r.score.n_tokens };
    return ERNE_OK;
}
