/* cmd_tune.c -- erne tune: where each phase of a model is fastest here, and why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench.h"
#include "runtime/cli/bench_list.h"
#include "runtime/cli/bench_record.h"
#include "runtime/cli/cli_io.h"
#include "runtime/cli/cli_model.h"

extern const unsigned char bench_text[]; /* cmake/embed.cmake */

/* Tables are printed as they come; JSON is collected. */
struct teller {
    const char *model;
    bool json;
    bool has_head; /* the table of phases */
    struct cli_text phases, ops;
    char last_phase[16]; /* of the table of operators */
    struct bench_watch watch;
    struct erne_tune_outcome outcome;
    struct erne_error err;
};

/* ------------------------------------------------------------------ tables */

static void put_speed(char *text, size_t cap, const struct erne_phase_timing *t)
{
    if (t->n_samples == 0)
        snprintf(text, cap, "-");
    else if (strcmp(t->phase, "vision") == 0)
        snprintf(text, cap, "%.4g ms", t->median_ns * 1e-6);
    else
        snprintf(text, cap, "%.4g t/s", 1e9 / t->median_ns);
}

static void print_phase(struct teller *teller, const struct erne_phase_timing *t)
{
    char speed[32], spread[32] = "-";

    if (!teller->has_head)
        printf("%-8s %-12s %14s %9s %8s\n", "phase", "device", "median", "spread",
               "samples");
    teller->has_head = true;
    put_speed(speed, sizeof(speed), t);
    if (t->n_samples > 1)
        snprintf(spread, sizeof(spread), "%.3g %%",
                 100 * (t->high_ns - t->low_ns) / t->median_ns);
    printf("%-8s %-12s %14s %9s %8d  %s\n", t->phase, t->device, speed, spread,
           t->n_samples, t->why);
    fflush(stdout);
}

static void print_op(struct teller *teller, const char *device,
                     const struct erne_op_timing *t)
{
    if (strcmp(teller->last_phase, t->phase) != 0) {
        snprintf(teller->last_phase, sizeof(teller->last_phase), "%s", t->phase);
        printf("\n%-8s %-18s %-50s %5s %-12s %10s %9s  %s\n", "phase", "operator",
               "shapes", "uses", "device", "us", "error", "by");
    }
    printf("%-8s %-18s %-50s %5d %-12s ", t->phase, t->op, t->shape, t->n_uses, device);
    if (t->impl)
        printf("%10.4g %9.1e  %s\n", t->median_ns * 1e-3, t->error, t->impl);
    else
        printf("%10s %9s  left to the CPU\n", "-", "-");
    fflush(stdout);
}

/* -------------------------------------------------------------------- json */

/* "name": "text", */
static int put_member(struct cli_text *text, const char *name, const char *value,
                      struct erne_error *err)
{
    int st = bench_printf(text, err, "\"%s\": ", name);

    if (st == ERNE_OK)
        st = value ? bench_put_json_text(text, value, err)
                   : bench_printf(text, err, "null");
    return st == ERNE_OK ? bench_printf(text, err, ", ") : st;
}

static int add_phase(struct teller *teller, const struct erne_phase_timing *t)
{
    struct cli_text *text = &teller->phases;
    struct erne_error *err = &teller->err;
    int st = bench_printf(text, err, "%s\n    { ", text->n ? "," : "");

    if (st == ERNE_OK)
        st = put_member(text, "phase", t->phase, err);
    if (st == ERNE_OK)
        st = put_member(text, "device", t->device, err);
    if (st == ERNE_OK)
        st = put_member(text, "why", t->why, err);
    if (st == ERNE_OK)
        st = bench_printf(text, err, "\"chosen\": %s, \"n_samples\": %d",
                          t->is_chosen ? "true" : "false", t->n_samples);
    if (st == ERNE_OK && t->n_samples > 0)
        st = bench_printf(text, err,
                          ", \"median_ns\": %.10g, \"low_ns\": %.10g, "
                          "\"high_ns\": %.10g, \"per_second\": %.10g",
                          t->median_ns, t->low_ns, t->high_ns, 1e9 / t->median_ns);
    return st == ERNE_OK ? bench_printf(text, err, " }") : st;
}

static int add_op(struct teller *teller, const char *device,
                  const struct erne_op_timing *t)
{
    struct cli_text *text = &teller->ops;
    struct erne_error *err = &teller->err;
    int st = bench_printf(text, err, "%s\n    { ", text->n ? "," : "");

    if (st == ERNE_OK)
        st = put_member(text, "phase", t->phase, err);
    if (st == ERNE_OK)
        st = put_member(text, "op", t->op, err);
    if (st == ERNE_OK)
        st = put_member(text, "shape", t->shape, err);
    if (st == ERNE_OK)
        st = put_member(text, "device", device, err);
    if (st == ERNE_OK)
        st = put_member(text, "impl", t->impl, err);
    if (st == ERNE_OK)
        st = bench_printf(text, err, "\"n_uses\": %d", t->n_uses);
    if (st == ERNE_OK && t->impl)
        st = bench_printf(text, err,
                          ", \"median_ns\": %.10g, \"low_ns\": %.10g, "
                          "\"high_ns\": %.10g",
                          t->median_ns, t->low_ns, t->high_ns);
    return st == ERNE_OK ? bench_printf(text, err, " }") : st;
}

/* A member that is an array of what was collected. */
static int put_array(struct cli_text *text, const char *name,
                     const struct cli_text *items, struct erne_error *err)
{
    int st = bench_printf(text, err, "\n  \"%s\": [", name);

    if (st == ERNE_OK && items->n > 0)
        st = cli_text_append(text, items->data, items->n, err);
    return st == ERNE_OK ? bench_printf(text, err, "%s]", items->n > 0 ? "\n  " : "")
                         : st;
}

static int write_json(const struct teller *teller, const char *dir,
                      struct erne_error *err)
{
    const struct erne_tune_outcome *o = &teller->outcome;
    struct cli_text text = { 0 };
    int st = bench_printf(&text, err, "{ ");

    if (st == ERNE_OK)
        st = put_member(&text, "model", teller->model, err);
    if (st == ERNE_OK)
        st = put_member(&text, "kept_in", o->is_kept ? dir : NULL, err);
    if (st == ERNE_OK)
        st = put_member(&text, "not_kept", o->not_kept[0] ? o->not_kept : NULL, err);
    if (st == ERNE_OK)
        st = put_member(&text, "disturbed", o->disturbed[0] ? o->disturbed : NULL, err);
    if (st == ERNE_OK)
        st = bench_printf(&text, err, "\"n_again\": %d,", o->n_again);
    if (st == ERNE_OK)
        st = put_array(&text, "phases", &teller->phases, err);
    if (st == ERNE_OK)
        st = bench_printf(&text, err, ",");
    if (st == ERNE_OK)
        st = put_array(&text, "operators", &teller->ops, err);
    if (st == ERNE_OK)
        st = bench_printf(&text, err, "\n}\n");
    if (st == ERNE_OK)
        st = cli_put(text.data, text.n, err);
    free(text.data);
    return st;
}

/* -------------------------------------------------------------------- tune */

static int tell_phase(void *user, const struct erne_phase_timing *timing)
{
    struct teller *teller = user;

    cli_progress_clear();
    if (teller->json)
        return add_phase(teller, timing);
    print_phase(teller, timing);
    return 0;
}

static int tell_op(void *user, const char *device, const struct erne_op_timing *timing)
{
    struct teller *teller = user;

    cli_progress_clear();
    if (teller->json)
        return add_op(teller, device, timing);
    print_op(teller, device, timing);
    return 0;
}

static struct erne_tune_opts choose(struct cli_args *args, struct teller *teller,
                                    const struct bench_words *devices)
{
    struct erne_tune_opts opts = erne_tune_opts_default();

    opts.engine = args->engine;
    opts.replace = args->replace;
    opts.watch = bench_watch_round;
    opts.watch_user = &teller->watch;
    opts.outcome = &teller->outcome;
    opts.engine.log = args->verbose ? cli_log : NULL;
    opts.engine.log_user = &args->verbose;
    opts.devices = (const char *const *)devices->data;
    opts.n_devices = devices->n;
    opts.text = (const char *)bench_text;
    opts.n_repeats = args->bench.n_repeats;
    opts.seconds = (double)args->seconds;
    opts.only_phases = args->only_phases;
    opts.phase = tell_phase;
    opts.op = tell_op;
    opts.user = teller;
    opts.progress = cli_progress;
    return opts;
}

/* Whether the tables are kept. */
static void print_outcome(const struct erne_engine_opts *engine, const char *path,
                          const struct erne_tune_outcome *o)
{
    const int n_threads = engine->n_threads > 0 ? engine->n_threads : pf_cpu_count();

    if (o->n_again > 0)
        printf("\nrounds of samples that were disturbed and taken again: %d\n",
               o->n_again);
    if (o->is_kept)
        printf("\nerne run, chat and bench place %s so from now on, with %d thread%s; "
               "--backend and --device come first\n",
               path, n_threads, n_threads == 1 ? "" : "s");
    if (o->not_kept[0])
        printf("\nwhat was kept before stays: %s (--force replaces it)\n", o->not_kept);
    if (!engine->cache_dir)
        printf("\nnothing is kept: there is no folder for it (--cache-dir DIR)\n");
}

static int tell_outcome(const struct cli_args *args, const struct teller *teller,
                        struct erne_error *err)
{
    const struct erne_tune_outcome *o = &teller->outcome;
    char line[256];
    int st = ERNE_OK;

    if (args->json)
        st = write_json(teller, args->engine.cache_dir, err);
    else
        print_outcome(&args->engine, teller->model, o);
    fflush(stdout);
    snprintf(line, sizeof(line),
             "the machine was busy: %s; tune it again when it is quiet", o->disturbed);
    if (o->disturbed[0])
        cli_log((void *)&args->verbose, ERNE_LOG_WARN, line);
    return st;
}

static int tune(struct cli_args *args, const char *path,
                const struct bench_words *devices, struct erne_error *err)
{
    struct teller teller = { .model = path, .json = args->json };
    struct erne_tune_opts opts;
    int st;

    cli_set_cache_dir(args);
    opts = choose(args, &teller, devices);
    cli_interrupt_begin(NULL);
    st = erne_tune(path, &opts, err);
    cli_interrupt_end();
    cli_progress_clear();
    if (teller.err.status < 0) { /* says more than that it was given up */
        *err = teller.err;
        st = err->status;
    }
    if (teller.outcome.is_told) {
        const int told = tell_outcome(args, &teller, st == ERNE_OK ? err : NULL);

        st = st == ERNE_OK ? told : st;
    }
    free(teller.phases.data);
    free(teller.ops.data);
    return st;
}

int cmd_tune(struct cli_args *args, struct erne_error *err)
{
    struct bench_words devices = { 0 };
    const char *path = NULL;
    int st = cli_model_path(&path, args, 0, err);

    if (st == ERNE_OK && args->devices.n > 0)
        st = bench_words_parse(&devices, &args->devices, "--backend", NULL, err);
    if (st == ERNE_OK)
        st = tune(args, path, &devices, err);
    bench_words_deinit(&devices);
    return st;
}
