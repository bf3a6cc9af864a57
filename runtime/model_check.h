/* model_check.h -- a few tokens of no meaning, and the logits behind them: whether a
 * model as a whole is computed as it should be. */
#ifndef ERNE_MODEL_CHECK_H
#define ERNE_MODEL_CHECK_H

#include "runtime/engine.h"

/* Tokens that are evaluated: all but the last together, then that one alone, so that both
 * of a session's plans take part. Each of the two leaves a row of logits. */
enum { ERNE_GOLDEN_TOKENS = 6, ERNE_GOLDEN_ROWS = 2 };

/* The same for every model of a vocabulary's size. */
void erne_golden_tokens(const struct erne_model_desc *desc,
                        int32_t tokens[ERNE_GOLDEN_TOKENS]);
/* logits: [ERNE_GOLDEN_ROWS, n_vocab] */
int erne_golden_run(struct erne_engine *engine, float *logits, struct erne_error *err);

/* How far rows of logits [n_vocab] are off, as a part of the deviation of `want` from its
 * mean; the worst of the rows. Infinite for NaN. */
double erne_golden_error(const float *got, const float *want, size_t n_vocab);

#endif
