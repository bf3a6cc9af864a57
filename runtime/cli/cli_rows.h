/* cli_rows.h -- evaluates a sequence and hands its logits over in steps of bounded size:
 * what `logits` and `eval` share. */
#ifndef ERNE_CLI_ROWS_H
#define ERNE_CLI_ROWS_H

#include "runtime/cli/cli_model.h"

enum { CLI_ROWS_STEP = 128 }; /* rows a step when -b does not say */

struct cli_rows {
    struct erne_session *session;
    size_t n_vocab, n_step;
    float *logits; /* [n_step, n_vocab] */
    /* rows: [n, n_vocab], the logits after tokens first .. first + n - 1 */
    int (*visit)(const struct cli_rows *r, const float *rows, size_t first, size_t n,
                 struct erne_error *err);
    void *user; /* for visit */
};

/* The caller sets visit and user. */
int cli_rows_init(struct cli_rows *rows, const struct cli_model *model, int n_batch,
                  struct erne_error *err);
void cli_rows_deinit(struct cli_rows *rows);

/* Evaluates ids [n] behind the context and visits the rows from `from` on. */
int cli_rows_eval(struct cli_rows *rows, const int32_t *ids, size_t n, size_t from,
                  struct erne_error *err);

#endif
