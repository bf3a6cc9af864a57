/* convert_report.c -- the texts of a conversion: its plan before, its summary after. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "converters/calibrate.h"

static const double mib = 1024.0 * 1024.0;

int convert_emit(const struct erne_convert_opts *opts, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    int n;

    if (!opts->report)
        return ERNE_OK;
    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (n < 0)
        return ERNE_EFAIL;
    if ((size_t)n >= sizeof(text))
        n = (int)sizeof(text) - 1;
    return opts->report(opts->report_user, text, (size_t)n) == 0 ? ERNE_OK : ERNE_EIO;
}

/* ------------------------------------------------------------------- plan */

static const char *type_name(const struct layout_part *part)
{
    return part->t ? part->t->type->name : "none";
}

/* "Q4_0+Q6_K": the types of a tensor's parts, each once. */
static void type_names(const struct layout *layout, char *text, size_t cap)
{
    text[0] = '\0';
    for (int i = 0; i < layout->n_parts; i++) {
        const char *type = type_name(&layout->parts[i]);
        bool known = false;

        for (int j = 0; j < i; j++)
            known = known || type_name(&layout->parts[j]) == type;
        if (!known) {
            const size_t n = strlen(text);

            snprintf(text + n, cap - n, "%s%s", i > 0 ? "+" : "", type);
        }
    }
}

static bool has_type(const struct layout *layout, const char *type)
{
    for (int i = 0; i < layout->n_parts; i++)
        if (type_name(&layout->parts[i]) == type)
            return true;
    return false;
}

/* Whether all types of a are among those of b. */
static bool has_types(const struct layout *a, const struct layout *b)
{
    for (int i = 0; i < a->n_parts; i++)
        if (!has_type(b, type_name(&a->parts[i])))
            return false;
    return true;
}

/* Tensors that make one line of the plan. */
static bool same_line(const struct convert_tensor *a, const struct convert_tensor *b)
{
    return a->layout->spec.role == b->layout->spec.role && a->how == b->how &&
           erne_scheme_equal(a->scheme, b->scheme) && has_types(a->layout, b->layout) &&
           has_types(b->layout, a->layout);
}

static int emit_line(const struct convert_plan *plan, size_t i,
                     const struct erne_convert_opts *opts)
{
    const struct convert_tensor *t = &plan->tensors[i];
    uint64_t bytes_from = 0, bytes_to = 0;
    char from[64], to[ERNE_SCHEME_NAME_MAX];
    size_t count = 0;

    for (size_t j = i; j < plan->n; j++) {
        if (!same_line(t, &plan->tensors[j]))
            continue;
        count++;
        bytes_to += plan->tensors[j].planes.total_bytes;
        for (int p = 0; p < plan->tensors[j].layout->n_parts; p++)
            bytes_from += layout_part_bytes(plan->tensors[j].layout,
                                            &plan->tensors[j].layout->parts[p]);
    }
    type_names(t->layout, from, sizeof(from));
    erne_scheme_name(t->scheme, to);
    return convert_emit(opts, "  %-14s %5zu  %-12s -> %-8s %-7s %9.1f -> %9.1f MiB\n",
                        erne_role_label(t->layout->spec.role), count, from, to,
                        t->how == CONVERT_ROUND ? "rounded" : "exact",
                        (double)bytes_from / mib, (double)bytes_to / mib);
}

int convert_report_plan(const struct convert_plan *plan,
                        const struct erne_convert_opts *opts, struct erne_error *err)
{
    const struct erne_model_desc *d = &plan->src->desc;
    const double bits = 8 * (double)plan->data_bytes / (double)plan->n_params;
    int st = convert_emit(
        opts,
        "%s, %s: %d layers, %d wide, %d + %d heads of %d, ff %d, vocabulary %d, "
        "%s logits, %.1f M weights\n",
        d->source, d->source_format, d->n_layers, d->n_embd, d->n_heads, d->n_kv_heads,
        d->head_dim, d->n_ff, d->n_vocab, d->tied ? "tied" : "untied",
        (double)plan->n_params / 1e6);

    if (st == 0 && plan->src->is_outline)
        st = convert_emit(
            opts,
            "  no weights are there: sizes follow from config.json alone, with "
            "matrices in %s%s\n",
            plan->src->outline_matrix.type->name,
            plan->tokenizer_bytes == 0 ? "; without a tokenizer" : "");
    for (size_t i = 0; i < plan->n && st == 0; i++) {
        bool shown = false;

        for (size_t j = 0; j < i && !shown; j++)
            shown = same_line(&plan->tensors[i], &plan->tensors[j]);
        if (!shown)
            st = emit_line(plan, i, opts);
    }
    if (st == 0)
        st = convert_emit(
            opts,
            "  file %.1f MiB, %.2f bits a weight; converting takes %d thread%s and "
            "%.1f MiB of memory\n",
            (double)plan->file_bytes / mib, bits, plan->n_threads,
            plan->n_threads == 1 ? "" : "s",
            (double)plan->worker_bytes * plan->n_threads / mib);
    if (st == 0 && plan->has_golden)
        st = convert_emit(opts, "  golden logits of %d tokens%s for erne verify\n",
                          plan->golden.n_tokens,
                          plan->golden.picture_h > 0 ? ", a picture among them," : "");
    if (st == 0 && plan->device.is_given)
        st = convert_device_report(&plan->device, opts);
    return st < 0 ? erne_fail(err, st, "the plan could not be written out") : st;
}

/* ---------------------------------------------------------------- summary */

/* A line for each layer with experts that no token went to. */
static int report_missed(const struct convert_plan *plan,
                         const struct erne_convert_opts *opts)
{
    int32_t layer = -1;

    for (size_t i = 0; i < plan->n; i++) {
        const struct erne_tensor_spec *spec = &plan->tensors[i].layout->spec;

        if (calibration_given(plan->calibration, i) != 0)
            continue;
        if (spec->layer != layer)
            ERNE_TRY(convert_emit(opts, "%s  layer %d: none went to expert",
                                  layer >= 0 ? "\n" : "", (int)spec->layer));
        layer = spec->layer;
        ERNE_TRY(convert_emit(opts, " %d", (int)spec->expert));
    }
    return convert_emit(opts, "\n");
}

/* For whoever wants to know: how many tokens went to each expert, a line a layer. */
static void log_given(const struct convert_plan *plan,
                      const struct erne_convert_opts *opts)
{
    char line[8192] = "";
    size_t n = 0;
    int32_t layer = -1;

    for (size_t i = 0; i < plan->n && opts->log; i++) {
        const int64_t given = calibration_given(plan->calibration, i);
        const int32_t of = plan->tensors[i].layout->spec.layer;

        if (given < 0)
            continue;
        if (of != layer) {
            if (n > 0)
                opts->log(opts->log_user, ERNE_LOG_DEBUG, line);
            n = (size_t)snprintf(line, sizeof(line), "layer %d: tokens by expert",
                                 (int)of);
            layer = of;
        }
        if (n + 24 < sizeof(line))
            n += (size_t)snprintf(line + n, sizeof(line) - n, " %" PRId64, given);
    }
    if (n > 0)
        opts->log(opts->log_user, ERNE_LOG_DEBUG, line);
}

/* What the text did, and which experts it left out. */
static int report_calibration(const struct convert_plan *plan,
                              const struct erne_convert_opts *opts)
{
    const struct calibration_reach reach = calibration_reach(plan->calibration);

    log_given(plan, opts);
    ERNE_TRY(convert_emit(opts, "  calibrated on %" PRId64 " tokens",
                          calibration_n_tokens(plan->calibration)));
    if (reach.n_experts > 0)
        ERNE_TRY(convert_emit(opts,
                              ", which went to %" PRId64 " of %" PRId64
                              " experts (median %" PRId64 " tokens)",
                              reach.n_reached, reach.n_experts, reach.median));
    ERNE_TRY(convert_emit(opts, "\n"));
    return reach.n_reached < reach.n_experts ? report_missed(plan, opts) : ERNE_OK;
}

/* What was rounded of a role, if anything was. */
static int report_role(const struct convert_plan *plan, const struct convert_stats *stats,
                       enum erne_tensor_role role, const struct erne_convert_opts *opts)
{
    struct convert_loss sum = { 0 };

    for (size_t i = 0; i < plan->n; i++)
        if (plan->tensors[i].layout->spec.role == role)
            convert_loss_add(&sum, &stats->losses[i]);
    if (sum.ref2 <= 0)
        return ERNE_OK;
    return convert_emit(opts, "  %-14s relative error %.3f %% (root mean square%s)\n",
                        erne_role_label(role), 100 * convert_error(sum),
                        stats->n_resumed > 0 ? ", of what was made now" : "");
}

int convert_report_result(const struct convert_plan *plan,
                          const struct convert_stats *stats,
                          const struct erne_convert_opts *opts, struct erne_error *err)
{
    const double seconds = (double)stats->ns * 1e-9;
    int st = convert_emit(opts, "wrote %s: %.1f MiB in %.1f s", opts->dst,
                          (double)plan->file_bytes / mib, seconds);

    if (st == 0 && stats->n_resumed != 0)
        st = convert_emit(opts, ", %zu of %zu tensors were there already",
                          stats->n_resumed, plan->n);
    if (st == 0)
        st = convert_emit(opts, "\n");
    if (st == 0 && plan->calibration)
        st = report_calibration(plan, opts);
    for (int role = 0; role < CONVERT_N_ROLES && st == 0; role++)
        st = report_role(plan, stats, (enum erne_tensor_role)role, opts);
    return st < 0 ? erne_fail(err, st, "the summary could not be written out") : st;
}
