/* bench_record.c -- the fields of a result, and the statistics among them. */
#include "runtime/cli/bench_record.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/cli/bench_stats.h"

static const struct bench_field fields[] = {
#define X(KIND, name) { #name, BENCH_##KIND, offsetof(struct bench_record, name) },
    BENCH_FIELD_LIST(X)
#undef X
};

const struct bench_layout bench_record_layout = {
    .name = "erne_bench",
    .fields = fields,
    .n_fields = ERNE_ARRAY_LEN(fields),
    .row_bytes = sizeof(struct bench_record),
    .has_samples = true,
    .write_md = bench_write_md,
};

double bench_record_ts(const struct bench_record *r, double ns)
{
    const int64_t n = r->n_prompt + r->n_gen;

    return ns > 0 ? 1e9 * (double)(n > 0 ? n : r->n_image) / ns : NAN;
}

void bench_record_summarise(struct bench_record *r, double *scratch)
{
    struct bench_summary s;

    r->avg_ns = r->stddev_ns = r->avg_ts = r->stddev_ts = NAN;
    r->median_ts = r->low_ts = r->high_ts = r->interval = NAN;
    if (r->n_samples == 0)
        return;
    memcpy(scratch, r->samples_ns, r->n_samples * sizeof(*scratch));
    s = bench_summarise(scratch, r->n_samples);
    r->avg_ns = s.mean;
    r->stddev_ns = s.stddev;
    for (size_t i = 0; i < r->n_samples; i++)
        scratch[i] = bench_record_ts(r, r->samples_ns[i]);
    s = bench_summarise(scratch, r->n_samples);
    r->avg_ts = s.mean;
    r->stddev_ts = s.stddev;
    r->median_ts = s.median;
    r->low_ts = s.low;
    r->high_ts = s.high;
    r->interval = s.coverage;
}

int bench_printf(struct cli_text *text, struct erne_error *err, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(line))
        return cli_fail(err, ERNE_EFAIL, "a line of the report is too long");
    return cli_text_append(text, line, (size_t)n, err);
}
