/* model_check.h -- a few tokens of no meaning, behind a picture where the model takes
 * some, and the logits behind them: whether a model as a whole is computed as it should
 * be. */
#ifndef ERNE_MODEL_CHECK_H
#define ERNE_MODEL_CHECK_H

#include "runtime/ask.h"
#include "runtime/model_file.h"

/* All but the last are evaluated together, then that one alone, so that both of a
 * session's plans take part. Each of the two leaves a row of logits. */
enum { ERNE_GOLDEN_TOKENS = 6, ERNE_GOLDEN_ROWS = 2 };
/* Tokens of the picture, down and across. */
enum { ERNE_GOLDEN_H = 2, ERNE_GOLDEN_W = 3 };
enum { ERNE_GOLDEN_MOST = ERNE_GOLDEN_H * ERNE_GOLDEN_W + ERNE_GOLDEN_TOKENS };

/* The same for every model of a vocabulary's size; without logits. */
struct erne_golden erne_golden_make(const struct erne_model_desc *desc,
                                    int32_t tokens[ERNE_GOLDEN_MOST]);
/* Evaluates golden's tokens. logits: [n_rows, n_vocab] */
int erne_golden_run(struct erne_engine *engine, const struct erne_golden *golden,
                    float *logits, struct erne_error *err);

/* The same on the reference, by an engine for once. Takes over *file, on failure too.
 * ask: whether to give up, which ends in ECANCELLED; may be NULL. */
int erne_golden_run_file(struct erne_model_file *file, const struct erne_golden *golden,
                         const struct erne_ask *ask, float *logits,
                         struct erne_error *err);

/* How far n_rows of logits [n_vocab] are off, as a part of the deviation of `want` from
 * its mean; the worst of the rows. Infinite for NaN. */
double erne_golden_error(const float *got, const float *want, size_t n_rows,
                         size_t n_vocab);

#endif
