/* cli_rows.c -- logits of long sequences with memory for a few rows. */
#include "runtime/cli/cli_rows.h"

#include <stdlib.h>

#include "runtime/cli/cli_io.h"

int cli_rows_init(struct cli_rows *rows, const struct cli_model *model, int n_batch,
                  struct erne_error *err)
{
    rows->session = model->session;
    rows->n_vocab = (size_t)model->info->n_vocab;
    rows->n_step = n_batch > 0 ? (size_t)n_batch : CLI_ROWS_STEP;
    rows->logits = rows->n_step <= SIZE_MAX / sizeof(float) / rows->n_vocab
                       ? malloc(rows->n_step * rows->n_vocab * sizeof(float))
                       : NULL;
    if (!rows->logits)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %zu rows of logits",
                        rows->n_step);
    return ERNE_OK;
}

void cli_rows_deinit(struct cli_rows *rows)
{
    free(rows->logits);
    rows->logits = NULL;
}

int cli_rows_eval(struct cli_rows *rows, const int32_t *ids, size_t n, size_t from,
                  struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t at = 0, step; st == ERNE_OK && at < n; at += step) {
        const bool wanted = at >= from;
        const size_t left = (wanted ? n : from) - at;

        step = left < rows->n_step ? left : rows->n_step;
        st = erne_session_eval(rows->session, ids + at, step,
                               wanted ? rows->logits : NULL, err);
        if (st == ERNE_OK && wanted)
            st = rows->visit(rows, rows->logits, at, step, err);
    }
    return st;
}
