/* bench_html.c -- erne bench --html: the page of report.html with the results in it. */
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench.h"
#include "runtime/cli/cli_newfile.h"

extern const unsigned char bench_report[]; /* report.html, by cmake/embed.cmake */
extern const size_t bench_report_bytes;

static int put_json(struct cli_text *text, const char *name,
                    const struct bench_layout *layout, const void *rows, size_t n,
                    struct erne_error *err)
{
    int st = bench_printf(text, err, "\"%s\": ", name);

    return st == ERNE_OK ? bench_write(text, BENCH_JSON, layout, rows, n, err) : st;
}

/* { "tests": [...], "ops": [...] } */
static int put_data(struct cli_text *text, const struct bench_record *records, size_t n,
                    const struct bench_op_rows *ops, struct erne_error *err)
{
    int st = bench_printf(text, err, "{");

    if (st == ERNE_OK)
        st = put_json(text, "tests", &bench_record_layout, records, n, err);
    if (st == ERNE_OK)
        st = bench_printf(text, err, ", ");
    if (st == ERNE_OK)
        st = put_json(text, "ops", &bench_op_layout, ops->rows, ops->n, err);
    return st == ERNE_OK ? bench_printf(text, err, "}") : st;
}

int bench_html_text(struct cli_text *text, const struct bench_record *records, size_t n,
                    const struct bench_op_rows *ops, struct erne_error *err)
{
    static const char mark[] = "@DATA@";
    const char *page = (const char *)bench_report, *at = strstr(page, mark);
    int st;

    if (!at)
        return cli_fail(err, ERNE_EFAIL, "the page has no place for results");
    st = cli_text_append(text, page, (size_t)(at - page), err);
    if (st == ERNE_OK)
        st = put_data(text, records, n, ops, err);
    at += strlen(mark);
    return st == ERNE_OK ? cli_text_append(text, at, strlen(at), err) : st;
}

int bench_html_try(const char *path, struct erne_error *err)
{
    if (strcmp(path, "-") == 0)
        return cli_fail(err, ERNE_EINVAL,
                        "option --html: the page goes to a file, not to '-'");
    return cli_newfile_try(path, "--html", err);
}

int bench_html_write(const char *path, const struct bench_record *records, size_t n,
                     const struct bench_op_rows *ops, struct erne_error *err)
{
    struct cli_newfile file = { 0 };
    struct cli_text text = { 0 };
    int st = bench_html_text(&text, records, n, ops, err);

    if (st == ERNE_OK)
        st = cli_newfile_create(&file, path, err);
    if (st == ERNE_OK)
        st = cli_newfile_append(&file, text.data, text.n, err);
    if (st == ERNE_OK)
        st = cli_newfile_commit(&file, err);
    cli_newfile_close(&file);
    free(text.data);
    return st;
}
