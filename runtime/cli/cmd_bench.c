/* cmd_bench.c -- erne bench: how fast models, backends and settings are here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/cli/bench.h"

static void fill_record(struct bench_record *r, const struct bench *b,
                        const struct bench_case *c)
{
    const struct bench_lane *lane = c->lane;
    const struct bench_engine *e = lane->engine;

    *r = (struct bench_record){
        .build_commit = b->build,
        .cpu_info = b->cpu,
        .gpu_info = b->devices ? b->devices : "",
        .backends = e->backend,
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
        .samples_ns = c->samples_ns,
        .n_samples = c->n_samples,
    };
}

static int write_to(FILE *stream, int format, const struct bench_record *records,
                    size_t n, struct erne_error *err)
{
    struct cli_text text = { 0 };
    int st = bench_write(&text, (enum bench_format)format, records, n, err);

    if (st == ERNE_OK && stream == stdout)
        st = cli_put(text.data ? text.data : "", text.n, err);
    else if (st == ERNE_OK && text.data)
        fputs(text.data, stderr);
    free(text.data);
    return st;
}

static int report(const struct bench *b, struct erne_error *err)
{
    const struct cli_bench *o = &b->args->bench;
    struct bench_record *records = calloc(b->n_cases, sizeof(*records));
    double *scratch = calloc((size_t)o->n_repeats, sizeof(*scratch));
    int st = ERNE_ENOMEM;

    if (!records || !scratch) {
        cli_fail(err, st, "out of memory for %zu results", b->n_cases);
        goto done;
    }
    for (size_t i = 0; i < b->n_cases; i++) {
        fill_record(&records[i], b, &b->cases[i]);
        bench_record_summarise(&records[i], scratch);
    }
    st = write_to(stdout, o->format, records, b->n_cases, err);
    if (st == ERNE_OK)
        st = write_to(stderr, o->err_format, records, b->n_cases, err);
done:
    free(records);
    free(scratch);
    return st;
}

int cmd_bench(struct cli_args *args, struct erne_error *err)
{
    struct bench b = { .args = args };
    int st = bench_grid_init(&b, err);

    if (st == ERNE_OK)
        st = bench_open(&b, err);
    if (st == ERNE_OK)
        st = bench_run(&b, err);
    if (st == ERNE_OK)
        st = report(&b, err);
    bench_close(&b);
    bench_grid_deinit(&b);
    return st;
}
