/* bench_write.c -- records as md, csv, json, jsonl and sql. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench_record.h"

/* A field's value in each kind of quotes. */
struct style {
    const char *none; /* for a value that is not there */
    int (*put_text)(struct cli_text *text, const char *value, struct erne_error *err);
};

/* What is written: rows of a layout. */
struct rows {
    const struct bench_layout *layout;
    const char *data;
    size_t n;
};

static const char *row(const struct rows *rows, size_t i)
{
    return rows->data + i * rows->layout->row_bytes;
}

/* Of a layout that has samples. */
static const struct bench_record *record(const struct rows *rows, size_t i)
{
    return (const struct bench_record *)(const void *)row(rows, i);
}

/* ----------------------------------------------------------------- quotes */

/* Doubles `quote` inside. */
static int put_quoted(struct cli_text *text, const char *value, char quote,
                      struct erne_error *err)
{
    int st = cli_text_append(text, &quote, 1, err);

    for (; st == ERNE_OK && *value; value++) {
        st = cli_text_append(text, value, 1, err);
        if (st == ERNE_OK && *value == quote)
            st = cli_text_append(text, value, 1, err);
    }
    return st == ERNE_OK ? cli_text_append(text, &quote, 1, err) : st;
}

static int put_csv_text(struct cli_text *text, const char *value, struct erne_error *err)
{
    return put_quoted(text, value, '"', err);
}

static int put_sql_text(struct cli_text *text, const char *value, struct erne_error *err)
{
    return put_quoted(text, value, '\'', err);
}

int bench_put_json_text(struct cli_text *text, const char *value, struct erne_error *err)
{
    int st = cli_text_append(text, "\"", 1, err);

    for (; st == ERNE_OK && *value; value++) {
        const unsigned char c = (unsigned char)*value;

        if (c < 0x20 || c == '<') /* which could end a script in a page */
            st = bench_printf(text, err, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            st = bench_printf(text, err, "\\%c", c);
        else
            st = cli_text_append(text, value, 1, err);
    }
    return st == ERNE_OK ? cli_text_append(text, "\"", 1, err) : st;
}

/* The shortest text that reads back as x: who rounds it again, as the page does, gets
   what the table shows. */
static int put_real(struct cli_text *text, double x, struct erne_error *err)
{
    char digits[32];

    for (int n = 10; n <= 17; n++) {
        snprintf(digits, sizeof(digits), "%.*g", n, x);
        if (strtod(digits, NULL) == x)
            break;
    }
    return bench_printf(text, err, "%s", digits);
}

static int put_value(struct cli_text *text, const char *row, const struct bench_field *f,
                     const struct style *style, struct erne_error *err)
{
    const void *at = row + f->offset;
    const char *value;
    double x;

    switch (f->kind) {
    case BENCH_INT: return bench_printf(text, err, "%" PRId64, *(const int64_t *)at);
    case BENCH_REAL:
        x = *(const double *)at;
        return isfinite(x) ? put_real(text, x, err)
                           : bench_printf(text, err, "%s", style->none);
    default:
        value = *(const char *const *)at;
        return value ? style->put_text(text, value, err)
                     : bench_printf(text, err, "%s", style->none);
    }
}

/* ------------------------------------------------------------- csv and sql */

static int put_names(struct cli_text *text, const struct bench_layout *layout,
                     const char *between, struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < layout->n_fields; i++)
        st = bench_printf(text, err, "%s%s", i ? between : "", layout->fields[i].name);
    if (st == ERNE_OK && layout->has_samples)
        st = bench_printf(text, err, "%ssamples_ns", between);
    return st;
}

/* Times as a text, with `space` between them. */
static int put_samples(struct cli_text *text, const struct bench_record *r, bool speed,
                       const char *space, struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < r->n_samples; i++) {
        const double ns = r->samples_ns[i];

        if (i)
            st = bench_printf(text, err, "%s", space);
        if (st == ERNE_OK)
            st = put_real(text, speed ? bench_record_ts(r, ns) : ns, err);
    }
    return st;
}

/* One cell with all of them. */
static int put_sample_cell(struct cli_text *text, const struct bench_record *r,
                           const char *between, const struct style *style,
                           struct erne_error *err)
{
    struct cli_text cell = { 0 };
    int st = put_samples(&cell, r, false, " ", err);

    if (st == ERNE_OK)
        st = bench_printf(text, err, "%s", between);
    if (st == ERNE_OK)
        st = style->put_text(text, cell.data ? cell.data : "", err);
    free(cell.data);
    return st;
}

static int put_values(struct cli_text *text, const struct rows *rows, size_t k,
                      const char *between, const struct style *style,
                      struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < rows->layout->n_fields; i++) {
        if (i > 0)
            st = bench_printf(text, err, "%s", between);
        if (st == ERNE_OK)
            st = put_value(text, row(rows, k), &rows->layout->fields[i], style, err);
    }
    if (st == ERNE_OK && rows->layout->has_samples)
        st = put_sample_cell(text, record(rows, k), between, style, err);
    return st;
}

static int write_csv(struct cli_text *text, const struct rows *rows,
                     struct erne_error *err)
{
    static const struct style style = { "", put_csv_text };
    int st = put_names(text, rows->layout, ",", err);

    for (size_t i = 0; st == ERNE_OK && i < rows->n; i++) {
        st = bench_printf(text, err, "\n");
        if (st == ERNE_OK)
            st = put_values(text, rows, i, ",", &style, err);
    }
    return st == ERNE_OK ? bench_printf(text, err, "\n") : st;
}

static int put_sql_table(struct cli_text *text, const struct bench_layout *layout,
                         struct erne_error *err)
{
    static const char *const types[] = { "TEXT", "INTEGER", "REAL" };
    int st = bench_printf(text, err, "CREATE TABLE IF NOT EXISTS %s (\n", layout->name);

    for (size_t i = 0; st == ERNE_OK && i < layout->n_fields; i++)
        st = bench_printf(text, err, "  %s %s%s\n", layout->fields[i].name,
                          types[layout->fields[i].kind],
                          i + 1 < layout->n_fields || layout->has_samples ? "," : "");
    if (st == ERNE_OK && layout->has_samples)
        st = bench_printf(text, err, "  samples_ns TEXT\n");
    return st == ERNE_OK ? bench_printf(text, err, ");\n") : st;
}

static int write_sql(struct cli_text *text, const struct rows *rows,
                     struct erne_error *err)
{
    static const struct style style = { "NULL", put_sql_text };
    int st = put_sql_table(text, rows->layout, err);

    for (size_t i = 0; st == ERNE_OK && i < rows->n; i++) {
        st = bench_printf(text, err, "INSERT INTO %s (", rows->layout->name);
        if (st == ERNE_OK)
            st = put_names(text, rows->layout, ", ", err);
        if (st == ERNE_OK)
            st = bench_printf(text, err, ") VALUES (");
        if (st == ERNE_OK)
            st = put_values(text, rows, i, ", ", &style, err);
        if (st == ERNE_OK)
            st = bench_printf(text, err, ");\n");
    }
    return st;
}

/* ------------------------------------------------------------------- json */

static int put_loads(struct cli_text *text, const struct bench_record *r,
                     struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < r->n_loads; i++) {
        const struct erne_expert_load *l = &r->experts[i];

        st = bench_printf(text, err,
                          "%s{\"layer\": %d, \"bank\": %d, \"n_tokens\": %" PRIu64
                          ", \"n_seen\": %d, \"busiest\": %.10g, \"entropy\": %.10g}",
                          i ? ", " : "", l->layer, l->bank, l->n_tokens, l->n_seen,
                          l->busiest, l->entropy);
    }
    return st;
}

/* What is no single value. between: what separates two members. */
static int put_lists(struct cli_text *text, const struct bench_record *r,
                     const char *between, struct erne_error *err)
{
    int st = bench_printf(text, err, "%s\"samples_ns\": [", between);

    if (st == ERNE_OK)
        st = put_samples(text, r, false, ", ", err);
    if (st == ERNE_OK)
        st = bench_printf(text, err, "]%s\"samples_ts\": [", between);
    if (st == ERNE_OK)
        st = put_samples(text, r, true, ", ", err);
    if (st == ERNE_OK)
        st = bench_printf(text, err, "]%s\"expert_load\": [", between);
    if (st == ERNE_OK)
        st = put_loads(text, r, err);
    return st == ERNE_OK ? bench_printf(text, err, "]") : st;
}

/* between: what separates two members. */
static int put_object(struct cli_text *text, const struct rows *rows, size_t k,
                      const char *between, struct erne_error *err)
{
    static const struct style style = { "null", bench_put_json_text };
    const struct bench_layout *layout = rows->layout;
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < layout->n_fields; i++) {
        st = bench_printf(text, err, "%s\"%s\": ", i ? between : "",
                          layout->fields[i].name);
        if (st == ERNE_OK)
            st = put_value(text, row(rows, k), &layout->fields[i], &style, err);
    }
    if (st == ERNE_OK && layout->has_samples)
        st = put_lists(text, record(rows, k), between, err);
    return st;
}

static int write_json(struct cli_text *text, const struct rows *rows,
                      struct erne_error *err)
{
    int st = bench_printf(text, err, "[\n");

    for (size_t i = 0; st == ERNE_OK && i < rows->n; i++) {
        st = bench_printf(text, err, "  {\n    ");
        if (st == ERNE_OK)
            st = put_object(text, rows, i, ",\n    ", err);
        if (st == ERNE_OK)
            st = bench_printf(text, err, "\n  }%s\n", i + 1 < rows->n ? "," : "");
    }
    return st == ERNE_OK ? bench_printf(text, err, "]\n") : st;
}

static int write_jsonl(struct cli_text *text, const struct rows *rows,
                       struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < rows->n; i++) {
        st = bench_printf(text, err, "{");
        if (st == ERNE_OK)
            st = put_object(text, rows, i, ", ", err);
        if (st == ERNE_OK)
            st = bench_printf(text, err, "}\n");
    }
    return st;
}

int bench_write(struct cli_text *text, enum bench_format format,
                const struct bench_layout *layout, const void *data, size_t n,
                struct erne_error *err)
{
    const struct rows rows = { layout, data, n };

    switch (format) {
    case BENCH_MD: return layout->write_md(text, data, n, err);
    case BENCH_CSV: return write_csv(text, &rows, err);
    case BENCH_JSON: return write_json(text, &rows, err);
    case BENCH_JSONL: return write_jsonl(text, &rows, err);
    case BENCH_SQL: return write_sql(text, &rows, err);
    default: return ERNE_OK;
    }
}
