/* convert_golden.c -- golden logits: what the reference computes from the weights as they
 * were written, of models that look at pictures with one, so that any machine can tell
 * whether its devices compute the same.
 *
 * The file is mapped for it. Unless somebody insists this is done only where the weights
 * fit into the memory that a conversion may use; tens of gigabytes would take the
 * reference long, too.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "converters/convert.h"

int convert_golden_plan(struct convert_plan *plan, const struct erne_convert_opts *opts,
                        struct erne_error *err)
{
    const char *word = opts->golden ? opts->golden : "auto";
    const bool is_on = strcmp(word, "on") == 0;
    const bool fits = plan->data_bytes <= plan->max_ram;
    const struct erne_golden golden =
        erne_golden_make(&plan->src->desc, plan->golden_tokens);
    const bool has_room = plan->src->desc.n_ctx_train >= golden.n_tokens;

    if (!is_on && strcmp(word, "auto") != 0 && strcmp(word, "off") != 0)
        return erne_fail(err, ERNE_EINVAL, "golden logits: '%s' is not auto, on or off",
                         word);
    if (is_on && !has_room)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "golden logits: a context of %d tokens is too short",
                         plan->src->desc.n_ctx_train);
    plan->has_golden = is_on || (strcmp(word, "auto") == 0 && fits && has_room);
    plan->golden = golden;
    return ERNE_OK;
}

static int check_finite(const float *logits, size_t n, struct erne_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(logits[i]))
            return erne_fail(err, ERNE_EFORMAT,
                             "golden logits: the model computes numbers that are not "
                             "finite (--golden off converts it nevertheless)");
    return ERNE_OK;
}

int convert_golden_write(const struct convert_plan *plan,
                         struct erne_model_writer *writer, struct erne_error *err)
{
    const struct erne_golden golden = convert_writer_plan(plan).golden;
    const struct erne_ask ask = pulse_ask(plan->pulse);
    const size_t n = (size_t)golden.n_rows * (size_t)plan->src->desc.n_vocab;
    static const char *const what = "golden logits";
    struct erne_model_file file;
    float *logits;
    int st;

    if (!plan->has_golden)
        return ERNE_OK;
    logits = malloc(n * sizeof(*logits));
    if (!logits)
        return erne_fail(err, ERNE_ENOMEM, "no memory for golden logits");
    st = pulse_tell(plan->pulse, 0, 1, what, err);
    if (st == ERNE_OK)
        st = erne_writer_open_part(writer, &file, err);
    if (st == ERNE_OK)
        st = erne_golden_run_file(&file, &golden, &ask, logits, err);
    if (st == ERNE_OK)
        st = check_finite(logits, n, err);
    if (st == ERNE_OK)
        st = erne_writer_golden(writer, logits, err);
    if (st == ERNE_OK)
        st = pulse_tell(plan->pulse, 1, 1, what, err);
    free(logits);
    return st;
}
