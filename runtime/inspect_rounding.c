/* inspect_rounding.c -- what the tensors of a file say of their rounding, in a few lines:
 * see inspect.h. */
#include "runtime/inspect.h"

#include <inttypes.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ parts */

struct search {
    const struct erne_model_file *mf;
    struct inspect_part *parts;
};

/* Ends at the first that is not there, so that a manifest cannot name millions. */
static int note_part(void *user, const struct erne_tensor_spec *spec)
{
    const struct search *s = user;
    const struct erne_file_tensor *t = erne_model_file_find(s->mf, spec->name);

    if (!t)
        return 1;
    s->parts[t - s->mf->tensors] =
        (struct inspect_part){ true, spec->role, spec->layer, spec->expert };
    return 0;
}

int inspect_parts(struct inspect_part **out, const struct erne_model_file *mf)
{
    struct search s = { mf, calloc(mf->n_tensors + 1, sizeof(*s.parts)) };

    if (!s.parts)
        return ERNE_ENOMEM;
    erne_model_tensors(&mf->desc, note_part, &s);
    *out = s.parts;
    return ERNE_OK;
}

bool inspect_has_tokens(const struct erne_model_file *mf, const struct inspect_part *part,
                        const struct erne_file_tensor *t)
{
    return mf->desc.calibration && t->report.is_known && part->is_known &&
           part->expert >= 0;
}

/* ----------------------------------------------------------------- errors */

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* The line of one kind, if any of it was rounded. errors: room for all tensors. */
static void print_kind(struct inspection *out, const struct erne_model_file *mf,
                       const struct inspect_part *parts, struct inspect_part kind,
                       float *errors)
{
    const bool is_expert = kind.expert >= 0;
    const char *worst = NULL;
    float most = 0.0f;
    size_t n = 0;

    for (size_t i = 0; i < mf->n_tensors; i++) {
        const float error = mf->tensors[i].report.error;

        if (!parts[i].is_known || parts[i].role != kind.role ||
            (parts[i].expert >= 0) != is_expert || error <= 0.0f)
            continue;
        errors[n++] = error;
        if (error > most) {
            most = error;
            worst = mf->tensors[i].name;
        }
    }
    if (!worst)
        return;
    qsort(errors, n, sizeof(*errors), compare_floats);
    inspect_print(out, "%-9s%-14s %8zu %9.3f %% %9.3f %%  %s\n",
                  is_expert ? "experts'" : "", erne_role_label(kind.role), n,
                  100 * (double)errors[n / 2], 100 * (double)most, worst);
}

static int print_errors(struct inspection *out, const struct erne_model_file *mf,
                        const struct inspect_part *parts)
{
    size_t n_known = 0, n_lossy = 0;
    float *errors;

    for (size_t i = 0; i < mf->n_tensors; i++) {
        n_known += mf->tensors[i].report.is_known;
        n_lossy += mf->tensors[i].report.error > 0.0f;
    }
    if (n_known == 0)
        return ERNE_OK;
    if (n_lossy == 0) {
        inspect_print(out, "\nno tensor was rounded\n");
        return ERNE_OK;
    }
    errors = malloc(n_lossy * sizeof(*errors));
    if (!errors)
        return ERNE_ENOMEM;
    inspect_print(out, "\n%-23s %8s %11s %11s  %s\n", "relative error of", "tensors",
                  "median", "worst", "(root mean square)");
    for (int role = 0; role < ERNE_ROLE_COUNT; role++)
        for (int32_t expert = -1; expert <= 0; expert++)
            print_kind(
                out, mf, parts,
                (struct inspect_part){ true, (enum erne_tensor_role)role, 0, expert },
                errors);
    free(errors);
    return ERNE_OK;
}

/* --------------------------------------------------------------- coverage */

/* Longer lists of what was missed are for the list of all tensors. */
enum { MISSED_LAYERS = 8 };

/* What one expert was given. */
struct given {
    int32_t layer, expert;
    uint32_t n_tokens;
};

static int compare_given(const void *a, const void *b)
{
    const uint32_t x = ((const struct given *)a)->n_tokens;
    const uint32_t y = ((const struct given *)b)->n_tokens;

    return (x > y) - (x < y);
}

static size_t collect_given(struct given *given, const struct erne_model_file *mf,
                            const struct inspect_part *parts)
{
    size_t n = 0;

    for (size_t i = 0; i < mf->n_tensors; i++)
        if (parts[i].role == ERNE_ROLE_GATE_UP &&
            inspect_has_tokens(mf, &parts[i], &mf->tensors[i]))
            given[n++] = (struct given){ parts[i].layer, parts[i].expert,
                                         mf->tensors[i].report.n_tokens };
    return n;
}

/* The experts of one layer ([n]) that no token went to, runs of them as "8-15". */
static void print_missed_layer(struct inspection *out, const struct given *given,
                               size_t n)
{
    inspect_print(out, "  layer %" PRId32 ": none went to expert", given[0].layer);
    for (size_t i = 0, end; i < n; i = end + 1) {
        for (end = i; end < n && given[end].n_tokens == 0;)
            end++;
        if (end > i)
            inspect_print(out, " %" PRId32, given[i].expert);
        if (end > i + 1)
            inspect_print(out, "-%" PRId32, given[end - 1].expert);
    }
    inspect_print(out, "\n");
}

static void print_missed(struct inspection *out, const struct given *given, size_t n)
{
    size_t n_layers = 0;

    for (size_t first = 0, end; first < n; first = end) {
        size_t n_missed = 0;

        for (end = first; end < n && given[end].layer == given[first].layer; end++)
            n_missed += given[end].n_tokens == 0;
        if (n_missed > 0 && n_layers++ < MISSED_LAYERS)
            print_missed_layer(out, given + first, end - first);
    }
    if (n_layers > MISSED_LAYERS)
        inspect_print(out, "  and %zu layers more have such experts\n",
                      n_layers - MISSED_LAYERS);
}

static int print_coverage(struct inspection *out, const struct erne_model_file *mf,
                          const struct inspect_part *parts)
{
    struct given *given = calloc(mf->n_tensors + 1, sizeof(*given));
    size_t n, n_missed = 0;

    if (!given)
        return ERNE_ENOMEM;
    n = collect_given(given, mf, parts);
    if (n > 0) {
        qsort(given, n, sizeof(*given), compare_given);
        while (n_missed < n && given[n_missed].n_tokens == 0)
            n_missed++;
        inspect_print(out,
                      "\nthe calibration (%" PRId32 " tokens) reached %zu of %zu experts;"
                      " tokens each: least %" PRIu32 ", median %" PRIu32 ", most %" PRIu32
                      "\n",
                      mf->desc.n_calibrated, n - n_missed, n, given[0].n_tokens,
                      given[n / 2].n_tokens, given[n - 1].n_tokens);
    }
    if (n_missed > 0)
        print_missed(out, given, collect_given(given, mf, parts)); /* in order again */
    free(given);
    return ERNE_OK;
}

int inspect_rounding(struct inspection *out, const struct erne_model_file *mf,
                     const struct inspect_part *parts)
{
    ERNE_TRY(print_errors(out, mf, parts));
    return print_coverage(out, mf, parts);
}
