/* conf_bench.c -- times the cases that are marked for it.
 *
 * All implementations of a case run in turns, so that what the machine does meanwhile
 * falls on all of them alike. A sample is as many runs as take a millisecond; the median
 * over the samples is reported, and the distance of the quartiles as its spread.
 */
#include <stdlib.h>

#include "platforms/platform.h"
#include "runtime/sort.h"
#include "tests/conformance/conf_run.h"

enum { SAMPLES_MIN = 5, SAMPLES = 21, IMPLS_MAX = 32 };
static const double sample_ns = 1e6, enough_ns = 5e8;

struct candidate {
    struct conf_row *row;
    struct erne_node node; /* prepared */
    uint64_t n_inner;      /* runs a sample */
    double ns[SAMPLES];    /* a run */
    int n_samples;         /* fewer for those that take long */
    double total_ns;
};

struct bench {
    struct op_trial *t;
    const char *case_name;
    struct candidate candidates[IMPLS_MAX];
    int n_candidates, n_failed;
};

/* Takes the implementation in if it accepts the case and computes it right. */
static void enrol(struct conf_run *run, struct conf_row *row, void *user)
{
    struct bench *b = user;
    struct candidate *c = &b->candidates[b->n_candidates];
    const struct conf_place at = { row, b->case_name, run->opts.seed };

    if (b->n_candidates == IMPLS_MAX)
        return;
    if (!conf_check(run, &at, b->t)) {
        b->n_failed++;
        return;
    }
    op_trial_restore(b->t);
    if (conf_prepare(b->t, row, row->lane->be[0]) < 0)
        return;
    if (conf_upload(b->t) < 0) {
        conf_release(b->t);
        b->n_failed++;
        return;
    }
    *c = (struct candidate){ .row = row, .node = b->t->node, .n_inner = 1 };
    row->n_cases++;
    b->n_candidates++;
}

static double time_runs(struct op_trial *t, const struct candidate *c)
{
    const uint64_t start = pf_time_ns();

    t->node = c->node;
    for (uint64_t i = 0; i < c->n_inner; i++)
        conf_run_node(t);
    return (double)(pf_time_ns() - start) / (double)c->n_inner;
}

static void take_sample(struct op_trial *t, struct candidate *c)
{
    if (c->n_samples >= SAMPLES_MIN && c->total_ns > enough_ns)
        return;
    c->ns[c->n_samples] = time_runs(t, c);
    c->total_ns += c->ns[c->n_samples++] * (double)c->n_inner;
}

static void measure(struct bench *b)
{
    for (int i = 0; i < b->n_candidates; i++) {
        struct candidate *c = &b->candidates[i];

        while (time_runs(b->t, c) * (double)c->n_inner < sample_ns)
            c->n_inner *= 2;
    }
    for (int s = 0; s < SAMPLES; s++)
        for (int i = 0; i < b->n_candidates; i++)
            take_sample(b->t, &b->candidates[i]);
}

static struct conf_timing timing_of(const struct bench *b, struct candidate *c,
                                    struct op_work work)
{
    const double *ns = c->ns;
    const int n = c->n_samples;

    erne_sort_doubles(c->ns, (size_t)n);
    return (struct conf_timing){
        .row = c->row,
        .case_name = b->case_name,
        .median_ns = ns[n / 2],
        .spread = (ns[3 * n / 4] - ns[n / 4]) / ns[n / 2],
        .work = work,
    };
}

/* Answers how many implementations computed the case wrongly. */
static int bench_case(struct conf_run *run, enum erne_op op, size_t i,
                      void (*visit)(void *user, const struct conf_timing *), void *user)
{
    const struct op_case_table *table = conf_table(op);
    char name[OP_CASE_NAME_MAX];
    struct op_trial t;
    struct bench b = { .t = &t, .case_name = name };

    table->describe(i, name);
    op_trial_init(&t, table, op, i, OP_FILL_NORMAL, run->opts.seed);
    conf_reference(run, &t);
    conf_each_impl(run, op, name, enrol, &b);
    op_trial_restore(&t);
    measure(&b);
    for (int c = 0; c < b.n_candidates; c++) {
        const struct conf_timing timing =
            timing_of(&b, &b.candidates[c], table->work(&t));

        visit(user, &timing);
        t.node = b.candidates[c].node;
        conf_release(&t);
    }
    op_trial_deinit(&t);
    return b.n_failed;
}

int conf_bench(struct conf_run *run,
               void (*visit)(void *user, const struct conf_timing *), void *user)
{
    int n_failed = 0;

    for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++)
        for (size_t i = 0; conf_wants_op(run, op) && i < conf_table(op)->count(); i++) {
            char name[OP_CASE_NAME_MAX];

            conf_table(op)->describe(i, name);
            if (conf_table(op)->is_bench(i) && conf_has_impl(run, op, name))
                n_failed += bench_case(run, op, i, visit, user);
        }
    return n_failed;
}
