/* cmd_bench.c -- erne bench: how fast models, backends and settings are here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench.h"
#include "runtime/cli/bench_compare.h"
#include "runtime/cli/bench_stats.h"
#include "runtime/cli/bench_suite.h"

static void fill_record(struct bench_record *r, const struct bench *b,
                        const struct bench_case *c)
{
    const struct bench_lane *lane = c->lane;
    const struct bench_engine *e = lane->engine;
    struct erne_device_memory memory;

    erne_engine_device_memory(e->model.engine, &memory);
    *r = (struct bench_record){
        .build_commit = b->build,
        .cpu_info = b->cpu,
        .gpu_info = b->devices ? b->devices : "",
        .backends = erne_engine_backend(e->model.engine),
        .model_filename = e->path,
        .model_type = e->type,
        .model_size = (int64_t)e->model.info->n_bytes,
        .model_n_params = (int64_t)e->model.info->n_params,
        .n_batch = lane->n_batch,
        .n_ubatch = lane->n_ubatch,
        .n_threads = e->n_threads,
        .type_k = lane->type_k,
        .type_v = lane->type_v,
        .test = c->name,
        .n_prompt = c->n_prompt,
        .n_gen = c->n_gen,
        .n_depth = c->n_depth,
        .test_time = c->time,
        .n_image = c->n_image,
        .samples_ns = c->samples.data,
        .n_samples = c->samples.n,
        .peak_memory = c->peak_bytes > 0 ? (double)c->peak_bytes : NAN,
        .device_memory = (int64_t)memory.own_bytes,
        .shared_memory = (int64_t)memory.shared_bytes,
        .disturbed = c->disturbed[0] ? c->disturbed : NULL,
        .error = c->why[0] ? c->why : NULL,
    };
}

/* A quantile in milliseconds; NAN without numbers. Sorts them. */
static double quantile_ms(const struct bench_series *s, double p)
{
    bench_sort(s->data, s->n);
    return s->n > 0 ? bench_quantile(s->data, s->n, p) * 1e-6 : NAN;
}

static void fill_latency(struct bench_record *r, const struct bench_case *c)
{
    r->ttft_p50 = quantile_ms(&c->first, 0.50);
    r->ttft_p95 = quantile_ms(&c->first, 0.95);
    r->ttft_p99 = quantile_ms(&c->first, 0.99);
    r->itl_p50 = quantile_ms(&c->tokens, 0.50);
    r->itl_p95 = quantile_ms(&c->tokens, 0.95);
    r->itl_p99 = quantile_ms(&c->tokens, 0.99);
#define X(name) r->name##_ms = quantile_ms(&c->stages[BENCH_STAGE_##name], 0.50);
    BENCH_STAGE_LIST(X)
#undef X
    r->machine_ns = quantile_ms(&c->machine, 0.50) * 1e6;
}

static double known(double x)
{
    return x > 0 ? x : NAN;
}

static void fill_guard(struct bench_record *r, const struct bench_guard *g)
{
    const int64_t n_tokens =
        r->n_prompt + r->n_gen > 0 ? r->n_prompt + r->n_gen : r->n_image;

    r->joules_token = known(g->joules / ((double)n_tokens * (double)r->n_samples));
    r->others_cpu = bench_guard_others(g);
    r->stolen_cpu = bench_guard_stolen(g);
    r->load = g->load;
    r->mhz_low = known(g->mhz_low);
    r->mhz_high = known(g->mhz_high);
}

static int write_to(FILE *stream, int format, const struct bench_layout *layout,
                    const void *rows, size_t n, struct erne_error *err)
{
    struct cli_text text = { 0 };
    int st = bench_write(&text, (enum bench_format)format, layout, rows, n, err);

    if (st == ERNE_OK && stream == stdout)
        st = cli_put(text.data ? text.data : "", text.n, err);
    else if (st == ERNE_OK && text.data)
        fputs(text.data, stderr);
    free(text.data);
    return st;
}

int bench_print(const struct cli_args *args, const struct bench_layout *layout,
                const void *rows, size_t n, struct erne_error *err)
{
    int st = write_to(stdout, args->bench.format, layout, rows, n, err);

    if (st == ERNE_OK)
        st = write_to(stderr, args->bench.err_format, layout, rows, n, err);
    return st;
}

/* With the operators, which the roofline is made of; those that there are, should a
 * device be lost. */
static int report_page(struct bench *b, const struct bench_record *records,
                       struct erne_error *err)
{
    struct bench_op_rows ops = { 0 };
    int measured = bench_ops_measure(b, &ops, err), st = measured;

    if (measured == ERNE_OK || measured == ERNE_EDEVICE)
        st = bench_html_write(b->args->bench.html, records, b->n_cases, &ops, err);
    bench_op_rows_deinit(&ops);
    return st < 0 ? st : measured;
}

static void fill_all(struct bench_record *records, double *scratch, struct bench *b)
{
    for (size_t i = 0; i < b->n_cases; i++) {
        struct bench_case *c = &b->cases[i];

        bench_guard_judge(&c->guard, &b->guard, c->disturbed, sizeof(c->disturbed));
        fill_record(&records[i], b, c);
        fill_latency(&records[i], c);
        fill_guard(&records[i], &c->guard);
        bench_experts_fill(&records[i], b);
        bench_record_summarise(&records[i], scratch);
    }
}

/* is_partial: what there is of figures is printed only. */
static int report(struct bench *b, bool is_partial, struct erne_error *err)
{
    const struct cli_bench *o = &b->args->bench;
    struct bench_record *records = calloc(b->n_cases, sizeof(*records));
    double *scratch = calloc((size_t)o->n_repeats, sizeof(*scratch));
    struct erne_error why;
    int st = ERNE_ENOMEM, kept = ERNE_OK;

    if (!records || !scratch) {
        cli_fail(err, st, "out of memory for %zu results", b->n_cases);
        goto done;
    }
    fill_all(records, scratch, b);
    if (b->args->verbose)
        bench_experts_tell(b);
    st = bench_print(b->args, &bench_record_layout, records, b->n_cases, err);
    if (st == ERNE_OK && o->results && !is_partial)
        kept = bench_keep(o->results, records, b->n_cases, &why);
    if (st == ERNE_OK && o->html && !is_partial)
        st = report_page(b, records, err);
    if (st == ERNE_OK && kept < 0) /* no reason not to write the page */
        st = cli_fail(err, kept, "%s", why.text);
done:
    free(records);
    free(scratch);
    return st;
}

static int compare(const struct cli_args *args, struct erne_error *err)
{
    static const char *const used[] = { "--compare", NULL };
    int st = cli_args_only(args, CLI_BENCH, used, "bench --compare", err);

    if (st < 0)
        return st;
    if (args->n_operands != 2)
        return cli_fail(err, ERNE_EINVAL, "--compare needs two files, got %zu",
                        args->n_operands);
    return bench_compare_files(args->operands[0], args->operands[1], err);
}

/* After everything else was told: the first engine that failed. */
static int tell_failed(const struct bench *b, struct erne_error *err)
{
    for (size_t i = 0; i < b->n_engines; i++) {
        const struct bench_engine *e = &b->engines[i];

        if (e->status != ERNE_OK)
            return cli_fail(err, e->status, "%s on %s: no %sfigures: %s", e->path,
                            e->device ? e->device : erne_engine_backend(e->model.engine),
                            e->status == ERNE_EVERIFY ? "" : "more ", e->why);
    }
    return ERNE_OK;
}

static bool has_samples(const struct bench *b)
{
    for (size_t i = 0; i < b->n_cases; i++)
        if (b->cases[i].samples.n > 0)
            return true;
    return false;
}

/* Said before all the work: that the files could not be written after it. */
static int try_files(const struct cli_bench *o, struct erne_error *err)
{
    int st = o->results ? bench_keep_try(o->results, err) : ERNE_OK;

    return st == ERNE_OK && o->html ? bench_html_try(o->html, err) : st;
}

static int run_tests(struct bench *b, struct erne_error *err)
{
    int st = try_files(&b->args->bench, err), told;
    struct erne_error why;

    if (st == ERNE_OK)
        st = bench_open(b, err);
    if (st < 0)
        return st;
    st = bench_run(b, err);
    if (st < 0 && (st != ERNE_ECANCELLED || !has_samples(b)))
        return st;
    told = report(b, st < 0, st < 0 ? &why : err);
    if (st == ERNE_OK)
        st = told;
    return st == ERNE_OK ? tell_failed(b, err) : st;
}

/* Each option of the suite alone, so that what is wrong with it is said with its line. */
static int check_suite(struct bench_suite *suite, const char *path,
                       const struct cli_command *command, struct erne_error *err)
{
    int st = ERNE_OK;

    for (int i = 0; st == ERNE_OK && i < suite->n; i++) {
        char *words[] = { suite->words[i], NULL };
        struct bench_lists lists = { 0 };
        struct cli_args one = { 0 };
        struct erne_error why;

        st = cli_args_parse(&one, command, 1, words, &why);
        if (st == ERNE_OK)
            st = bench_lists_parse(&lists, &one, &why);
        if (st < 0)
            cli_fail(err, st, "%s: line %zu: %s", path, suite->lines[i], why.text);
        bench_lists_deinit(&lists);
        cli_args_deinit(&one);
    }
    return st;
}

/* Options of the suite's file, where the command line gave none. */
static int take_suite(struct cli_args *args, struct bench_suite *suite,
                      struct erne_error *err)
{
    static const struct cli_command command = { .name = "bench", .bit = CLI_BENCH };
    const char *path = args->bench.suite;
    struct cli_text text = { 0 };
    struct cli_args more = { 0 };
    int st = cli_text_read(&text, path, err);

    if (st == ERNE_OK)
        st = bench_suite_read(suite, text.data, text.n, path, err);
    free(text.data);
    if (st == ERNE_OK)
        st = check_suite(suite, path, &command, err);
    if (st < 0)
        return st;
    st = cli_args_parse(&more, &command, suite->n, suite->words, err);
    if (st == ERNE_OK)
        st = cli_args_fill(args, &more, &command, err);
    cli_args_deinit(&more);
    return st;
}

/* "erne bench ops MODEL": the first operand is no model. */
static bool take_ops(struct cli_args *args)
{
    if (args->n_operands == 0 || strcmp(args->operands[0], "ops") != 0)
        return false;
    args->operands[0] = args->operands[1];
    args->n_operands--;
    return true;
}

int cmd_bench(struct cli_args *args, struct erne_error *err)
{
    const bool ops = take_ops(args);
    struct bench_suite suite = { .n = 0 };
    struct bench b = { .args = args };
    int st;

    if (args->bench.compare)
        return compare(args, err);
    st = args->bench.suite ? take_suite(args, &suite, err) : ERNE_OK;
    if (st == ERNE_OK && ops)
        st = bench_ops_check(args, err);
    cli_set_cache_dir(args);
    if (st == ERNE_OK)
        st = bench_grid_init(&b, err);
    if (st == ERNE_OK)
        st = ops ? bench_ops(&b, err) : run_tests(&b, err);
    bench_close(&b);
    bench_grid_deinit(&b);
    bench_suite_deinit(&suite);
    return st;
}
