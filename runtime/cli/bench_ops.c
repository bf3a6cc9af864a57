/* bench_ops.c -- the rows of erne bench ops, and their table. */
#include "runtime/cli/bench_ops.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct bench_field fields[] = {
#define X(KIND, name) { #name, BENCH_##KIND, offsetof(struct bench_op_record, name) },
    BENCH_OP_FIELD_LIST(X)
#undef X
};

double bench_percent(double x, double most)
{
    return most > 0 ? 100 * x / most : NAN;
}

static bool is_same_phase(const struct bench_op_record *a,
                          const struct bench_op_record *b)
{
    return strcmp(a->phase, b->phase) == 0 && strcmp(a->backend, b->backend) == 0 &&
           a->n_threads == b->n_threads && a->model_filename == b->model_filename;
}

static double time_of(const struct bench_op_record *r)
{
    return isfinite(r->median_us) ? r->median_us * (double)r->n_uses : 0;
}

void bench_op_shares(struct bench_op_record *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double all = 0;

        for (size_t k = 0; k < n; k++)
            if (is_same_phase(&rows[k], &rows[i]))
                all += time_of(&rows[k]);
        rows[i].share = all > 0 ? bench_percent(time_of(&rows[i]), all) : NAN;
    }
}

/* ------------------------------------------------------------------ table */

/* A number, or a dash where there is none. */
static void put_number(char *cell, const char *unit, double x)
{
    if (isfinite(x))
        snprintf(cell, BENCH_CELL_MAX, "%.*f%s", x < 10 ? 2 : x < 100 ? 1 : 0, x, unit);
    else
        snprintf(cell, BENCH_CELL_MAX, "-");
}

enum column {
    OP,
    SHAPE,
    USES,
    BACKEND,
    IMPL,
    TIME,
    READ,
    READ_PART,
    GOPS,
    PEAK_PART,
    ERROR,
    SHARE,
    N_COLUMNS
};

static const struct bench_md_column columns[N_COLUMNS] = {
    [OP] = { "op", -13 },     [SHAPE] = { "shape", -36 },
    [USES] = { "n", 3 },      [BACKEND] = { "backend", -9 },
    [IMPL] = { "by", -14 },   [TIME] = { "us", 8 },
    [READ] = { "GB/s", 6 },   [READ_PART] = { "of read", 7 },
    [GOPS] = { "GOP/s", 6 },  [PEAK_PART] = { "of peak", 7 },
    [ERROR] = { "error", 8 }, [SHARE] = { "share", 6 },
};

static void fill_cell(char *cell, const void *rows, size_t row, size_t column)
{
    const struct bench_op_record *r = (const struct bench_op_record *)rows + row;

    switch ((enum column)column) {
    case OP: snprintf(cell, BENCH_CELL_MAX, "%s", r->op); break;
    case SHAPE: snprintf(cell, BENCH_CELL_MAX, "%s", r->shape); break;
    case USES: snprintf(cell, BENCH_CELL_MAX, "%" PRId64, r->n_uses); break;
    case BACKEND: snprintf(cell, BENCH_CELL_MAX, "%s", r->backend); break;
    case IMPL:
        snprintf(cell, BENCH_CELL_MAX, "%s", r->impl ? r->impl : "(declined)");
        break;
    case TIME: put_number(cell, "", r->median_us); break;
    case READ: put_number(cell, "", r->gb_s); break;
    case READ_PART: put_number(cell, " %", r->read_percent); break;
    case GOPS: put_number(cell, "", r->gop_s); break;
    case PEAK_PART: put_number(cell, " %", r->peak_percent); break;
    case ERROR:
        if (isnan(r->error))
            snprintf(cell, BENCH_CELL_MAX, "-");
        else
            snprintf(cell, BENCH_CELL_MAX, "%.1e", r->error);
        break;
    default: put_number(cell, " %", r->share);
    }
}

/* rows: [n] of a phase */
static int put_phase(struct cli_text *text, const struct bench_op_record *rows, size_t n,
                     struct erne_error *err)
{
    struct bench_md table = {
        .n_columns = N_COLUMNS, .rows = rows, .n_rows = n, .fill = fill_cell
    };
    int st = bench_printf(text, err, "\n%s of %s\n\n", rows[0].phase, rows[0].model_type);

    memcpy(table.columns, columns, sizeof(columns));
    return st == ERNE_OK ? bench_md_put(text, &table, err) : st;
}

static int write_md(struct cli_text *text, const void *data, size_t n,
                    struct erne_error *err)
{
    const struct bench_op_record *rows = data;
    int st = ERNE_OK;

    if (n > 0)
        st = bench_printf(text, err,
                          "%s, %s: reads %.1f GB/s; peaks %.0f GOP/s in f32, %.0f in "
                          "bf16, %.0f in int8\n",
                          rows[0].model_type, rows[0].cpu_info, rows[0].read_gb_s,
                          rows[0].f32_gop_s, rows[0].bf16_gop_s, rows[0].i8_gop_s);
    if (st == ERNE_OK && n > 0 && rows[0].disturbed)
        st = bench_printf(text, err, "disturbed: %s\n", rows[0].disturbed);
    for (size_t i = 0, n_rows; st == ERNE_OK && i < n; i += n_rows) {
        for (n_rows = 1; i + n_rows < n; n_rows++)
            if (strcmp(rows[i].phase, rows[i + n_rows].phase) != 0)
                break;
        st = put_phase(text, &rows[i], n_rows, err);
    }
    return st == ERNE_OK
               ? bench_printf(text, err,
                              "\nof read: above 100 %% the data was in a cache. "
                              "error: relative, from the reference\n")
               : st;
}

const struct bench_layout bench_op_layout = {
    .name = "erne_bench_ops",
    .fields = fields,
    .n_fields = ERNE_ARRAY_LEN(fields),
    .row_bytes = sizeof(struct bench_op_record),
    .write_md = write_md,
};
