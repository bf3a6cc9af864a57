/* cmd_bench_ops.c -- erne bench ops: opens the model on each backend, and turns timings
 * into rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench.h"

/* Timings become rows; texts that live during a visit only are copied. */
struct collector {
    struct bench *b;
    const struct bench_engine **engines; /* [n_engines]: those that are compared */
    struct erne_limits *limits;          /* of each */
    size_t n_engines;
    struct bench_op_rows *rows;
    struct bench_guard guard;
    struct pf_usage seen; /* what the guard was last told */
    struct erne_error *err;
};

/* Often enough to see the clock change, not so often that ticks are too coarse. */
static const uint64_t look_ns = 100000000;

static const char *keep(struct bench_op_rows *rows, size_t i, const char *text)
{
    if (!text)
        return NULL;
    rows->texts[i] = malloc(strlen(text) + 1);
    return rows->texts[i] ? strcpy(rows->texts[i], text) : NULL;
}

static int grow(struct bench_op_rows *r, struct erne_error *err)
{
    struct bench_op_record *rows = realloc(r->rows, (r->n + 1) * sizeof(*rows));
    char **texts;

    if (rows)
        r->rows = rows;
    texts = rows ? realloc(r->texts, 2 * (r->n + 1) * sizeof(*texts)) : NULL;
    if (!texts)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for operators");
    r->texts = texts;
    texts[2 * r->n] = texts[2 * r->n + 1] = NULL;
    return ERNE_OK;
}

/* The limit of the arithmetic that the operator is done in. */
static double peak_of(const struct bench_op_record *r, const struct erne_op_timing *t)
{
    if (t->is_bf16 && r->bf16_gop_s > 0)
        return r->bf16_gop_s;
    return t->is_int ? r->i8_gop_s : r->f32_gop_s;
}

static void fill_row(struct bench_op_record *r, const struct collector *c,
                     const struct erne_op_timing *t)
{
    const struct bench_engine *e = c->engines[t->engine];
    const struct erne_limits *l = &c->limits[t->engine];
    const double us = t->impl ? t->median_ns * 1e-3 : NAN;

    *r = (struct bench_op_record){
        .build_commit = c->b->build,
        .cpu_info = c->b->cpu,
        .model_filename = e->path,
        .model_type = e->type,
        .phase = t->phase,
        .op = t->op,
        .n_uses = t->n_uses,
        .backend = erne_engine_backend(e->model.engine),
        .n_threads = e->n_threads,
        .median_us = us,
        .low_us = t->impl ? t->low_ns * 1e-3 : NAN,
        .high_us = t->impl ? t->high_ns * 1e-3 : NAN,
        .gb_s = t->n_bytes / us * 1e-3,
        .gop_s = t->n_ops > 0 ? t->n_ops / us * 1e-3 : NAN,
        .error = t->impl ? t->error : NAN,
        .read_gb_s = l->read_bytes * 1e-9,
        .f32_gop_s = l->f32_ops * 1e-9,
        .i8_gop_s = l->i8_ops * 1e-9,
        .bf16_gop_s = l->bf16_ops * 1e-9,
    };
    r->read_percent = bench_percent(r->gb_s, r->read_gb_s);
    r->peak_percent = bench_percent(r->gop_s, peak_of(r, t));
}

static void look(struct collector *c, uint64_t least_ns)
{
    struct pf_usage now;

    if (pf_time_ns() - c->seen.time_ns < least_ns)
        return;
    pf_usage_read(&now, NULL);
    bench_guard_add(&c->guard, &c->seen, &now);
    c->seen = now;
}

static int collect(void *user, const struct erne_op_timing *timing)
{
    struct collector *c = user;
    struct bench_op_rows *rows = c->rows;
    struct bench_op_record *r;
    int st;

    if (cli_interrupted())
        return cli_fail(c->err, ERNE_ECANCELLED, "interrupted");
    look(c, look_ns);
    st = grow(rows, c->err);
    if (st < 0)
        return st;
    r = &rows->rows[rows->n];
    fill_row(r, c, timing);
    r->shape = keep(rows, 2 * rows->n, timing->shape);
    r->impl = keep(rows, 2 * rows->n + 1, timing->impl);
    rows->n++;
    if (!r->shape || !r->impl != !timing->impl)
        return cli_fail(c->err, ERNE_ENOMEM, "out of memory for operators");
    if (c->b->args->bench.progress)
        fprintf(stderr, "erne bench: %s %s %s on %s\n", r->phase, r->op, r->shape,
                r->backend);
    return ERNE_OK;
}

void bench_op_rows_deinit(struct bench_op_rows *rows)
{
    for (size_t i = 0; i < 2 * rows->n; i++)
        free(rows->texts[i]);
    free(rows->texts);
    free(rows->rows);
    *rows = (struct bench_op_rows){ 0 };
}

/* The first prompt and depth of the options; else as much as the model has room for. */
static struct erne_op_bench_opts choose(const struct bench *b, int n_ctx_train)
{
    const struct bench_lists *l = &b->lists;
    struct erne_op_bench_opts opts = erne_op_bench_opts_default();

    if (opts.n_prefill > n_ctx_train / 2)
        opts.n_prefill = opts.n_past = n_ctx_train / 2;
    if (b->args->bench.n_prompt.n > 0 && l->n_prompt.data[0] > 1) /* of a suite: any */
        opts.n_prefill = l->n_prompt.data[0];
    if (b->args->bench.n_depth.n > 0)
        opts.n_past = l->n_depth.data[0];
    opts.kv_type = l->type_k.data[0];
    return opts;
}

/* One model on its backends. */
static int measure(struct collector *c)
{
    const struct erne_op_bench_opts opts =
        choose(c->b, c->engines[0]->model.info->n_ctx_train);
    struct erne_engine **engines = calloc(c->n_engines, sizeof(struct erne_engine *));
    int st = ERNE_OK;

    c->limits = calloc(c->n_engines, sizeof(*c->limits));
    if (!engines || !c->limits)
        st =
            cli_fail(c->err, ERNE_ENOMEM, "out of memory for %zu backends", c->n_engines);
    for (size_t i = 0; st == ERNE_OK && i < c->n_engines; i++) {
        engines[i] = c->engines[i]->model.engine;
        st = erne_engine_limits(engines[i], &c->limits[i], c->err);
    }
    if (st == ERNE_OK)
        st = erne_op_bench(engines, c->n_engines, &opts, collect, c, c->err);
    free(engines);
    free(c->limits);
    return st;
}

/* Those of a model, which are neighbours, that may give figures. */
static void choose_engines(struct collector *c, size_t model)
{
    const size_t n = c->b->n_engines / c->b->lists.models.n;

    c->n_engines = 0;
    for (size_t i = model * n; i < (model + 1) * n; i++)
        if (c->b->engines[i].status == ERNE_OK)
            c->engines[c->n_engines++] = &c->b->engines[i];
}

int bench_ops_measure(struct bench *b, struct bench_op_rows *rows, struct erne_error *err)
{
    struct collector c = { .b = b, .rows = rows, .err = err };
    int st = ERNE_OK;

    c.engines = calloc(b->n_engines, sizeof(struct bench_engine *));
    if (!c.engines)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for operators");
    cli_interrupt_begin(NULL);
    pf_usage_read(&c.seen, NULL);
    for (size_t m = 0; st == ERNE_OK && m < b->lists.models.n; m++) {
        choose_engines(&c, m);
        st = c.n_engines > 0 ? measure(&c) : ERNE_OK;
    }
    look(&c, 0);
    cli_interrupt_end();
    free(c.engines);
    bench_guard_judge(&c.guard, &c.guard, rows->disturbed, sizeof(rows->disturbed));
    for (size_t i = 0; i < rows->n; i++)
        rows->rows[i].disturbed = rows->disturbed[0] ? rows->disturbed : NULL;
    bench_op_shares(rows->rows, rows->n);
    return st;
}

int bench_ops_check(const struct cli_args *args, struct erne_error *err)
{
    static const char *const used[] = {
        "-m",          "-p",         "-d",    "-ctk",  "-t",
        "--backend",   "-dev",       "-o",    "-oe",   "--html",
        "--suite",     "--progress", "--ram", "--isa", "--time-limit",
        "--cache-dir", "--tune",     "-v",    NULL
    };

    return cli_args_only(args, CLI_BENCH, used, "bench ops", err);
}

/* Lists of which one value only is used. */
static int check_lists(const struct bench *b, struct erne_error *err)
{
    const struct bench_lists *l = &b->lists;
    const char *several = l->n_prompt.n > 1  ? "-p"
                          : l->n_depth.n > 1 ? "-d"
                          : l->type_k.n > 1  ? "-ctk"
                                             : NULL;

    if (several)
        return cli_fail(err, ERNE_EINVAL, "option %s: bench ops takes one value, no list",
                        several);
    if (l->n_prompt.data[0] < 2)
        return cli_fail(err, ERNE_EINVAL,
                        "option -p: bench ops takes a batch of 2 tokens or more, not %d",
                        l->n_prompt.data[0]);
    return ERNE_OK;
}

/* Prints what there is, also when a device was lost or Ctrl-C came. */
static int print(struct bench *b, const struct bench_op_rows *rows, int measured,
                 struct erne_error *err)
{
    int st = ERNE_OK;

    if (b->args->bench.html && measured != ERNE_ECANCELLED)
        st = bench_html_write(b->args->bench.html, NULL, 0, rows, err);
    return st == ERNE_OK
               ? bench_print(b->args, &bench_op_layout, rows->rows, rows->n, err)
               : st;
}

int bench_ops(struct bench *b, struct erne_error *err)
{
    struct bench_op_rows rows = { 0 };
    struct erne_error why;
    int st = check_lists(b, err);

    if (st == ERNE_OK && b->args->bench.html)
        st = bench_html_try(b->args->bench.html, err);
    if (st == ERNE_OK)
        st = bench_open_engines(b, err);
    if (st < 0)
        return st;
    st = bench_ops_measure(b, &rows, err);
    if (st == ERNE_OK)
        st = print(b, &rows, st, err);
    else if (rows.n > 0)
        print(b, &rows, st, &why);
    bench_op_rows_deinit(&rows);
    return st;
}
