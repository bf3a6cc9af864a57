/* model_check.c -- see model_check.h. */
#include "runtime/model_check.h"

#include <math.h>
#include <string.h>

void erne_golden_tokens(const struct erne_model_desc *desc,
                        int32_t tokens[ERNE_GOLDEN_TOKENS])
{
    const int64_t n_vocab = desc->n_vocab;

    for (int64_t i = 0; i < ERNE_GOLDEN_TOKENS; i++)
        tokens[i] = (int32_t)((n_vocab / 8 + i * 7919) % n_vocab);
}

int erne_golden_run(struct erne_engine *engine, float *logits, struct erne_error *err)
{
    const size_t n_vocab = (size_t)engine->file.desc.n_vocab;
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *s = NULL;
    int32_t tokens[ERNE_GOLDEN_TOKENS];
    int st;

    erne_golden_tokens(&engine->file.desc, tokens);
    opts.n_ctx = engine->file.desc.n_ctx_train < 64 ? engine->file.desc.n_ctx_train : 64;
    opts.n_batch = ERNE_GOLDEN_TOKENS;
    opts.n_draft = 0;
    if (opts.n_ctx < ERNE_GOLDEN_TOKENS)
        return erne_fail(err, ERNE_EUNSUPPORTED, "a context of %d tokens is too short",
                         opts.n_ctx);
    ERNE_TRY(erne_session_create(&s, engine, &opts, err));
    for (int row = 0, at = 0, n = ERNE_GOLDEN_TOKENS - 1; row < ERNE_GOLDEN_ROWS;
         row++, at += n, n = 1) {
        st = erne_session_eval(s, tokens + at, (size_t)n, NULL, err);
        if (st < 0)
            break;
        memcpy(logits + (size_t)row * n_vocab, erne_session_logits(s),
               n_vocab * sizeof(*logits));
    }
    erne_session_destroy(&s);
    return st;
}

double erne_golden_error(const float *got, const float *want, size_t n_vocab)
{
    double worst = 0;

    for (int row = 0; row < ERNE_GOLDEN_ROWS; row++, got += n_vocab, want += n_vocab) {
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
