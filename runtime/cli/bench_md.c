/* bench_md.c -- tables in Markdown, whose columns are as wide as their widest cell. */
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench_record.h"

/* Bytes that continue a character take no column of a terminal. */
static int n_columns(const char *cell)
{
    int n = 0;

    for (; *cell; cell++)
        n += ((unsigned char)*cell & 0xc0) != 0x80;
    return n;
}

static void widen(struct bench_md *t)
{
    char cell[BENCH_CELL_MAX];

    for (size_t c = 0; c < t->n_columns; c++)
        for (size_t row = 0; t->columns[c].width != 0 && row < t->n_rows; row++) {
            int n;

            t->fill(cell, t->rows, row, c);
            n = n_columns(cell);
            if (n > abs(t->columns[c].width))
                t->columns[c].width = t->columns[c].width < 0 ? -n : n;
        }
}

static int put_cell(struct cli_text *text, const char *cell, int width,
                    struct erne_error *err)
{
    const int pad = abs(width) - n_columns(cell);

    return width < 0 ? bench_printf(text, err, " %s%*s |", cell, pad > 0 ? pad : 0, "")
                     : bench_printf(text, err, " %*s%s |", pad > 0 ? pad : 0, "", cell);
}

static int put_rule(struct cli_text *text, int width, struct erne_error *err)
{
    char dashes[BENCH_CELL_MAX];

    memset(dashes, '-', sizeof(dashes));
    return bench_printf(text, err, " %.*s%c |", abs(width) - 1, dashes,
                        width < 0 ? '-' : ':');
}

enum line { TITLES, RULE, VALUES };

static int put_line(struct cli_text *text, const struct bench_md *t, enum line line,
                    size_t row, struct erne_error *err)
{
    char cell[BENCH_CELL_MAX];
    int st = bench_printf(text, err, "|");

    for (size_t c = 0; st == ERNE_OK && c < t->n_columns; c++) {
        const struct bench_md_column *column = &t->columns[c];

        if (column->width == 0)
            continue;
        if (line == VALUES)
            t->fill(cell, t->rows, row, c);
        st = line == RULE ? put_rule(text, column->width, err)
                          : put_cell(text, line == TITLES ? column->title : cell,
                                     column->width, err);
    }
    return st == ERNE_OK ? bench_printf(text, err, "\n") : st;
}

int bench_md_put(struct cli_text *text, struct bench_md *t, struct erne_error *err)
{
    int st;

    widen(t);
    st = put_line(text, t, TITLES, 0, err);
    if (st == ERNE_OK)
        st = put_line(text, t, RULE, 0, err);
    for (size_t i = 0; st == ERNE_OK && i < t->n_rows; i++)
        st = put_line(text, t, VALUES, i, err);
    return st;
}
