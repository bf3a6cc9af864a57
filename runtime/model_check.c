/* model_check.c -- see model_check.h. */
#include "runtime/model_check.h"

#include <math.h>
#include <string.h>

#include "runtime/engine.h"
#include "runtime/media/media.h"
#include "runtime/positions.h"
#include "runtime/session.h"

/* The next token that stands for no part of a picture. */
static int32_t plain_token(const struct erne_model_desc *desc, int64_t token)
{
    while (erne_is_placeholder(&desc->vision, (int32_t)token))
        token = (token + 1) % desc->n_vocab;
    return (int32_t)token;
}

struct erne_golden erne_golden_make(const struct erne_model_desc *desc,
                                    int32_t tokens[ERNE_GOLDEN_MOST])
{
    const int64_t n_vocab = desc->n_vocab;
    struct erne_golden golden = { .tokens = tokens, .n_rows = ERNE_GOLDEN_ROWS };

    if (desc->vision.n_layers > 0) {
        golden.picture_h = ERNE_GOLDEN_H;
        golden.picture_w = ERNE_GOLDEN_W;
    }
    for (int i = 0; i < golden.picture_h * golden.picture_w; i++)
        tokens[golden.n_tokens++] = desc->vision.image_token;
    for (int64_t i = 0; i < ERNE_GOLDEN_TOKENS; i++)
        tokens[golden.n_tokens++] = plain_token(desc, (n_vocab / 8 + i * 7919) % n_vocab);
    return golden;
}

static int add_picture(struct erne_session *s, const struct erne_golden *golden,
                       struct erne_error *err)
{
    const struct erne_vision_desc *v = &s->engine->file.desc.vision;
    const int block = v->patch * v->merge;
    struct erne_media *picture;
    int st;

    ERNE_TRY(media_open_noise(&picture, golden->picture_w * block,
                              golden->picture_h * block, err));
    st = erne_session_add_media(s, picture, err);
    erne_media_close(&picture);
    return st;
}

static int eval(struct erne_session *s, const struct erne_golden *golden, float *logits,
                struct erne_error *err)
{
    const size_t n_vocab = (size_t)s->engine->file.desc.n_vocab;

    if (golden->picture_h > 0)
        ERNE_TRY(add_picture(s, golden, err));
    for (int row = 0, at = 0, n = golden->n_tokens - golden->n_rows + 1;
         row < golden->n_rows; row++, at += n, n = 1) {
        ERNE_TRY(erne_session_eval(s, golden->tokens + at, (size_t)n, NULL, err));
        memcpy(logits + (size_t)row * n_vocab, erne_session_logits(s),
               n_vocab * sizeof(*logits));
    }
    return 0;
}

int erne_golden_run(struct erne_engine *engine, const struct erne_golden *golden,
                    float *logits, struct erne_error *err)
{
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *s = NULL;
    int st = 0;

    opts.n_ctx = engine->file.desc.n_ctx_train < 64 ? engine->file.desc.n_ctx_train : 64;
    opts.n_batch = golden->n_tokens;
    opts.n_draft = 0;
    opts.kv_type = "f16"; /* whatever the file is made for */
    if (opts.n_ctx < golden->n_tokens)
        return erne_fail(err, ERNE_EUNSUPPORTED, "a context of %d tokens is too short",
                         opts.n_ctx);
    ERNE_TRY(erne_session_create(&s, engine, &opts, err));
    st = eval(s, golden, logits, err);
    erne_session_destroy(&s);
    return st;
}

/* On one thread, though the reference gives the same bits for any number. */
int erne_golden_run_file(struct erne_model_file *file, const struct erne_golden *golden,
                         const struct erne_ask *ask, float *logits,
                         struct erne_error *err)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *engine = NULL;
    int st;

    opts.backend = "reference";
    opts.n_threads = 1;
    ERNE_TRY(erne_engine_open_file(&engine, file, &opts, err));
    if (ask)
        erne_engine_set_ask(engine, *ask);
    st = erne_golden_run(engine, golden, logits, err);
    erne_engine_close(&engine);
    return st;
}

double erne_golden_error(const float *got, const float *want, size_t n_rows,
                         size_t n_vocab)
{
    double worst = 0;

    for (size_t row = 0; row < n_rows; row++, got += n_vocab, want += n_vocab) {
        double mean = 0, diff2 = 0, want2 = 0, part;

        for (size_t i = 0; i < n_vocab; i++)
            mean += (double)want[i] / (double)n_vocab;
        for (size_t i = 0; i < n_vocab; i++) {
            const double d = (double)got[i] - (double)want[i];
            const double w = (double)want[i] - mean;

            diff2 += d * d;
            want2 += w * w;
        }
        part = sqrt(diff2 / (want2 + 1e-30));
        if (!(part <= worst))
            worst = isnan(part) ? (double)INFINITY : part;
    }
    return worst;
}
