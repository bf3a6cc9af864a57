/* bench_compare.c -- erne bench --compare: what changed between two files of results.
 *
 * The difference of two tests is the median ratio of all pairs of their samples, with an
 * interval from the exact rank distribution: no assumption about the noise. Two runs were
 * taken at different times, and machines drift: each sample came with a fixed piece of
 * work of the machine's own, and as much as that became slower or faster explains a
 * difference away.
 */
#include "runtime/cli/bench_compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const double least_change = 0.01;

/* --------------------------------------------------------------- comparing */

/* The part of a logarithmic change that is left when `machine` may explain some. */
static double unexplained(double change, double machine)
{
    if (change > 0)
        return fmax(change - fmax(machine, 0), 0);
    return fmin(change - fmin(machine, 0), 0);
}

struct bench_difference bench_differ(const struct bench_record *a,
                                     const struct bench_record *b, double *scratch)
{
    const struct bench_change c =
        bench_compare(a->samples_ns, a->n_samples, b->samples_ns, b->n_samples, scratch);
    const bool known = a->machine_ns > 0 && b->machine_ns > 0;
    const double machine = known ? log(a->machine_ns / b->machine_ns) : 0;
    struct bench_difference d = { .speed = 1 / (1 + c.shift) - 1,
                                  .low = 1 / (1 + c.high) - 1,
                                  .high = 1 / (1 + c.low) - 1,
                                  .machine = expm1(machine) };
    const double least = log1p(least_change);

    if (c.coverage < 0.95)
        d.verdict = BENCH_TOO_FEW;
    else if (d.low > 0 && unexplained(log1p(d.low), machine) > 0 &&
             unexplained(log1p(d.speed), machine) > least)
        d.verdict = BENCH_FASTER;
    else if (d.high < 0 && unexplained(log1p(d.high), machine) < 0 &&
             unexplained(log1p(d.speed), machine) < -least)
        d.verdict = BENCH_SLOWER;
    else
        d.verdict = BENCH_SAME;
    return d;
}

static int put_difference(struct cli_text *text, const struct bench_difference *d,
                          const struct bench_record *a, const struct bench_record *b,
                          struct erne_error *err)
{
    const double low = 100 * fmin(fabs(d->low), fabs(d->high));
    const double high = 100 * fmax(fabs(d->low), fabs(d->high));

    switch (d->verdict) {
    case BENCH_TOO_FEW:
        return bench_printf(text, err, "%zu and %zu samples are too few to tell",
                            a->n_samples, b->n_samples);
    case BENCH_SAME:
        return bench_printf(text, err,
                            "not distinguishable (%+.1f %%, 95 %% CI %+.1f .. %+.1f)",
                            100 * d->speed, 100 * d->low, 100 * d->high);
    default:
        return bench_printf(text, err, "%s by %.1f %% (95 %% CI %.1f .. %.1f)",
                            d->verdict == BENCH_SLOWER ? "slower" : "faster",
                            100 * fabs(d->speed), low, high);
    }
}

static int put_notes(struct cli_text *text, const struct bench_difference *d,
                     const struct bench_record *a, const struct bench_record *b,
                     struct erne_error *err)
{
    int st = ERNE_OK;

    if (fabs(d->machine) > 0.02)
        st = bench_printf(text, err, "; the machine itself was %.1f %% %s",
                          100 * fabs(d->machine), d->machine < 0 ? "slower" : "faster");
    if (st == ERNE_OK && (a->disturbed || b->disturbed))
        st = bench_printf(text, err, "; %s disturbed",
                          a->disturbed && b->disturbed ? "both were"
                          : a->disturbed               ? "the first was"
                                                       : "the second was");
    return st;
}

/* What kept a test from all its samples: the speed may have changed until then. */
static int put_error(struct cli_text *text, const struct bench_record *r,
                     const char *which, struct erne_error *err)
{
    return r && r->error ? bench_printf(text, err, "; the %s one ended early: %s", which,
                                        r->error)
                         : ERNE_OK;
}

static int put_comparison(struct cli_text *text, const struct bench_record *a,
                          const struct bench_record *b, struct erne_error *err)
{
    double *scratch = NULL;
    struct bench_difference d;
    int st;

    if (a->n_samples == 0 || b->n_samples == 0)
        return bench_printf(text, err, "no figures in %s",
                            a->n_samples > 0   ? "the second file"
                            : b->n_samples > 0 ? "the first file"
                                               : "both files");
    scratch = calloc(a->n_samples * b->n_samples, sizeof(*scratch));
    if (!scratch)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for a comparison");
    d = bench_differ(a, b, scratch);
    st = put_difference(text, &d, a, b, err);
    if (st == ERNE_OK)
        st = put_notes(text, &d, a, b, err);
    free(scratch);
    return st;
}

/* b NULL: the other file has no such test. which: the file that a is of */
static int put_pair(struct cli_text *text, const struct bench_record *a,
                    const struct bench_record *b, const char *which,
                    struct erne_error *err)
{
    int st = bench_printf(text, err, "%s, %s on %s, %" PRId64 " thread%s: ",
                          a->model_type, a->test, a->backends, a->n_threads,
                          a->n_threads == 1 ? "" : "s");

    if (st == ERNE_OK)
        st = b ? put_comparison(text, a, b, err)
               : bench_printf(text, err, "only in the %s file", which);
    if (st == ERNE_OK)
        st = put_error(text, a, which, err);
    if (st == ERNE_OK)
        st = put_error(text, b, "second", err);
    return st == ERNE_OK ? bench_printf(text, err, "\n") : st;
}

int bench_compare_write(struct cli_text *text, const struct bench_results *a,
                        const struct bench_results *b, struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < a->n; i++)
        st = put_pair(text, &a->records[i], bench_results_find(b, &a->records[i]),
                      "first", err);
    for (size_t i = 0; st == ERNE_OK && i < b->n; i++)
        if (!bench_results_find(a, &b->records[i]))
            st = put_pair(text, &b->records[i], NULL, "second", err);
    return st;
}

static int read_file(struct bench_results *results, const char *path,
                     struct erne_error *err)
{
    struct cli_text text = { 0 };
    int st = cli_text_read(&text, path, err);

    if (st == ERNE_OK)
        st = bench_results_read(results, text.data, text.n, path, err);
    free(text.data);
    return st;
}

int bench_compare_files(const char *path_a, const char *path_b, struct erne_error *err)
{
    struct bench_results a = { 0 }, b = { 0 };
    struct cli_text text = { 0 };
    int st = read_file(&a, path_a, err);

    if (st == ERNE_OK)
        st = read_file(&b, path_b, err);
    if (st == ERNE_OK)
        st = bench_compare_write(&text, &a, &b, err);
    if (st == ERNE_OK)
        st = cli_put(text.data, text.n, err);
    free(text.data);
    bench_results_deinit(&a);
    bench_results_deinit(&b);
    return st;
}
