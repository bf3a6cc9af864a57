/* bench_table.c -- records as a Markdown table, its columns as llama-bench has them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/cli/bench_record.h"

/* A column; `varies` NULL: always shown, else where that field is not the same in all
 * records. */
struct column {
    const char *title;
    int width; /* negative: to the left */
    void (*fill)(char *cell, const struct bench_record *r);
    bool (*differ)(const struct bench_record *a, const struct bench_record *b);
};

/* ------------------------------------------------------------------ cells */

static void fill_model(char *cell, const struct bench_record *r)
{
    snprintf(cell, BENCH_CELL_MAX, "%s", r->model_type ? r->model_type : "");
}

static void fill_size(char *cell, const struct bench_record *r)
{
    const double size = (double)r->model_size;

    snprintf(cell, BENCH_CELL_MAX, size < 0x1p30 ? "%.2f MiB" : "%.2f GiB",
             size < 0x1p30 ? size / 0x1p20 : size / 0x1p30);
}

static void fill_params(char *cell, const struct bench_record *r)
{
    const double n = (double)r->model_n_params;

    snprintf(cell, BENCH_CELL_MAX, n < 1e9 ? "%.2f M" : "%.2f B",
             n < 1e9 ? n / 1e6 : n / 1e9);
}

static void fill_backend(char *cell, const struct bench_record *r)
{
    snprintf(cell, BENCH_CELL_MAX, "%s", r->backends ? r->backends : "");
}

static void fill_threads(char *cell, const struct bench_record *r)
{
    snprintf(cell, BENCH_CELL_MAX, "%" PRId64, r->n_threads);
}

static void fill_batch(char *cell, const struct bench_record *r)
{
    snprintf(cell, BENCH_CELL_MAX, "%" PRId64, r->n_batch);
}

static bool differ_batch(const struct bench_record *a, const struct bench_record *b)
{
    return a->n_batch != b->n_batch;
}

static void fill_ubatch(char *cell, const struct bench_record *r)
{
    snprintf(cell, BENCH_CELL_MAX, "%" PRId64, r->n_ubatch);
}

static bool differ_ubatch(const struct bench_record *a, const struct bench_record *b)
{
    return a->n_ubatch != b->n_ubatch;
}

static void fill_type_k(char *cell, const struct bench_record *r)
{
    snprintf(cell, BENCH_CELL_MAX, "%s", r->type_k);
}

static bool differ_type_k(const struct bench_record *a, const struct bench_record *b)
{
    return strcmp(a->type_k, b->type_k) != 0;
}

static void fill_type_v(char *cell, const struct bench_record *r)
{
    snprintf(cell, BENCH_CELL_MAX, "%s", r->type_v);
}

static bool differ_type_v(const struct bench_record *a, const struct bench_record *b)
{
    return strcmp(a->type_v, b->type_v) != 0;
}

static void fill_test(char *cell, const struct bench_record *r)
{
    snprintf(cell, BENCH_CELL_MAX, "%s", r->test ? r->test : "");
}

static void fill_mean(char *cell, const struct bench_record *r)
{
    if (isfinite(r->avg_ts))
        snprintf(cell, BENCH_CELL_MAX, "%.2f ± %.2f", r->avg_ts, r->stddev_ts);
    else
        snprintf(cell, BENCH_CELL_MAX, "-");
}

static void fill_median(char *cell, const struct bench_record *r)
{
    if (isfinite(r->median_ts))
        snprintf(cell, BENCH_CELL_MAX, "%.2f", r->median_ts);
    else
        snprintf(cell, BENCH_CELL_MAX, "-");
}

static void fill_interval(char *cell, const struct bench_record *r)
{
    if (isfinite(r->low_ts))
        snprintf(cell, BENCH_CELL_MAX, "%.2f .. %.2f", r->low_ts, r->high_ts);
    else
        snprintf(cell, BENCH_CELL_MAX, "-");
}

static const struct column columns[] = {
    { "model", -26, fill_model, NULL },
    { "size", 10, fill_size, NULL },
    { "params", 10, fill_params, NULL },
    { "backend", -10, fill_backend, NULL },
    { "threads", 7, fill_threads, NULL },
    { "n_batch", 7, fill_batch, differ_batch },
    { "n_ubatch", 8, fill_ubatch, differ_ubatch },
    { "type_k", 6, fill_type_k, differ_type_k },
    { "type_v", 6, fill_type_v, differ_type_v },
    { "test", 15, fill_test, NULL },
    { "t/s", 20, fill_mean, NULL },
    { "median", 9, fill_median, NULL },
    { "interval", 20, fill_interval, NULL },
};

/* ------------------------------------------------------------------ table */

static bool is_shown(const struct column *c, const struct bench_record *records, size_t n)
{
    if (!c->differ)
        return true;
    for (size_t i = 1; i < n; i++)
        if (c->differ(&records[0], &records[i]))
            return true;
    return false;
}

static void fill_cell(char *cell, const void *rows, size_t row, size_t column)
{
    columns[column].fill(cell, (const struct bench_record *)rows + row);
}

/* A line about one test; the model is named where there are several. */
static int put_remark(struct cli_text *text, const struct bench_record *records, size_t n,
                      size_t i, struct erne_error *err)
{
    const struct bench_record *r = &records[i];
    bool several = false;
    int st;

    for (size_t k = 1; k < n; k++)
        several |= strcmp(records[k].model_filename, records[0].model_filename) != 0;
    st = bench_printf(text, err, "%s%s%s on %s: ", several ? r->model_filename : "",
                      several ? ", " : "", r->test, r->backends);
    if (st == ERNE_OK && r->error && r->n_samples > 0)
        st = bench_printf(text, err, "only %zu sample%s: ", r->n_samples,
                          r->n_samples == 1 ? "" : "s");
    else if (st == ERNE_OK)
        st = bench_printf(text, err, r->error ? "no figures: " : "disturbed: ");
    return st == ERNE_OK
               ? bench_printf(text, err, "%s\n", r->error ? r->error : r->disturbed)
               : st;
}

/* How experts were chosen, once a model. */
static int put_experts(struct cli_text *text, const struct bench_record *records,
                       size_t i, struct erne_error *err)
{
    const struct bench_record *r = &records[i];

    for (size_t k = 0; k < i; k++)
        if (strcmp(records[k].model_filename, r->model_filename) == 0)
            return ERNE_OK;
    if (r->n_loads == 0)
        return ERNE_OK;
    return bench_printf(text, err,
                        "experts of %s: %" PRId64 " of %" PRId64
                        " a token; the busiest takes up to %.0f %% of the tokens (even: "
                        "%.0f %%), %.0f %% are taken at all, entropy %.3f of 1\n",
                        r->model_filename, r->n_experts_used, r->n_experts,
                        100 * r->experts_busiest,
                        100.0 * (double)r->n_experts_used / (double)r->n_experts,
                        100 * r->experts_seen, r->experts_entropy);
}

/* Several tests, and the same is said of all. */
static bool is_all_disturbed(const struct bench_record *records, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!records[i].disturbed ||
            strcmp(records[i].disturbed, records[0].disturbed) != 0)
            return false;
    return n > 1;
}

/* Below the table: what was built, how sure the intervals are, what failed. */
static int put_notes(struct cli_text *text, const struct bench_record *records, size_t n,
                     struct erne_error *err)
{
    int st = ERNE_OK;

    if (n > 0)
        st = bench_printf(text, err, "\nbuild: %s\n", records[0].build_commit);
    for (size_t i = 0; st == ERNE_OK && i < n; i++)
        st = put_experts(text, records, i, err);
    if (st == ERNE_OK && is_all_disturbed(records, n))
        st = bench_printf(text, err, "all tests: disturbed: %s\n", records[0].disturbed);
    else
        for (size_t i = 0; st == ERNE_OK && i < n; i++)
            if (records[i].disturbed && !records[i].error)
                st = put_remark(text, records, n, i, err);
    for (size_t i = 0; st == ERNE_OK && i < n; i++)
        if (records[i].error)
            st = put_remark(text, records, n, i, err);
    for (size_t i = 0; st == ERNE_OK && i < n; i++)
        if (isfinite(records[i].interval))
            return bench_printf(text, err,
                                "interval: holds the median with %.1f %% certainty\n",
                                100 * records[i].interval);
    return st;
}

int bench_write_md(struct cli_text *text, const void *rows, size_t n,
                   struct erne_error *err)
{
    const struct bench_record *records = rows;
    struct bench_md table = {
        .n_columns = ERNE_ARRAY_LEN(columns), .rows = rows, .n_rows = n, .fill = fill_cell
    };
    int st;

    for (size_t c = 0; c < ERNE_ARRAY_LEN(columns); c++)
        table.columns[c] = (struct bench_md_column){
            columns[c].title, is_shown(&columns[c], records, n) ? columns[c].width : 0
        };
    st = bench_md_put(text, &table, err);
    return st == ERNE_OK ? put_notes(text, records, n, err) : st;
}
