/* bench_run.c -- takes all samples, round by round. What fails ends the figures of one
 * engine, Ctrl-C those of all; what was measured before stays. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "platforms/platform.h"
#include "runtime/cli/bench.h"

enum { PAUSE_US = 100000 };

static void report_progress(const struct bench *b, const struct bench_case *c, int round)
{
    if (!b->args->bench.progress)
        return;
    fprintf(stderr, "erne bench: %s, %s on %s: ", c->lane->engine->path, c->name,
            erne_engine_backend(c->lane->engine->model.engine));
    if (round < 0)
        fprintf(stderr, "warm-up\n");
    else
        fprintf(stderr, "run %d of %d\n", round + 1, b->args->bench.n_repeats);
}

static int interrupted(struct erne_error *err)
{
    return cli_interrupted() ? cli_fail(err, ERNE_ECANCELLED, "interrupted") : ERNE_OK;
}

/* How something on an engine ended, to which `why` belongs. */
static int conclude(struct bench_engine *e, int st, const struct erne_error *why,
                    struct erne_error *err)
{
    if (st == ERNE_ECANCELLED || cli_interrupted())
        return interrupted(err);
    if (st < 0) {
        e->status = st;
        snprintf(e->why, sizeof(e->why), "%.*s", (int)sizeof(e->why) - 1, why->text);
    }
    return ERNE_OK;
}

static bool is_run(const struct bench_case *c)
{
    return c->skipped == ERNE_OK && c->lane->engine->status == ERNE_OK;
}

static int count_experts(struct bench *b, struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < b->n_lanes; i++) {
        struct bench_lane *lane = &b->lanes[i];
        struct erne_error why = { 0 };

        if (!lane->session || lane->engine->status != ERNE_OK)
            continue;
        cli_interrupt_session(lane->session);
        st = bench_experts_measure(lane, b, &why);
        st = conclude(lane->engine, st, &why, err);
    }
    return st;
}

static int warm_up(struct bench *b, struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < b->n_cases; i++) {
        struct bench_case *c = &b->cases[i];
        struct erne_error why = { 0 };

        if (!is_run(c))
            continue;
        report_progress(b, c, -1);
        cli_interrupt_session(c->lane->session);
        st = bench_case_warm_up(c, b, &why);
        st = conclude(c->lane->engine, st, &why, err);
    }
    return st;
}

static void note_time(struct bench_case *c)
{
    const time_t now = time(NULL);
    const struct tm *utc = gmtime(&now);

    if (c->samples.n == 0 && utc)
        strftime(c->time, sizeof(c->time), "%Y-%m-%dT%H:%M:%SZ", utc);
}

/* In short pieces, so that Ctrl-C ends it. */
static int pause(const struct bench *b, struct erne_error *err)
{
    const int n = b->args->bench.delay * (1000000 / PAUSE_US);

    for (int i = 0; i < n && !cli_interrupted(); i++)
        pf_sleep_us(PAUSE_US);
    return interrupted(err);
}

static int take_sample(struct bench_case *c, struct bench *b, int round,
                       struct erne_error *err)
{
    struct erne_error why = { 0 };
    int st = pause(b, err);

    if (st < 0)
        return st;
    note_time(c);
    report_progress(b, c, round);
    bench_note(&c->machine, bench_probe_ns(&b->probe));
    cli_interrupt_session(c->lane->session);
    st = bench_case_run(c, b, &why);
    return conclude(c->lane->engine, st, &why, err);
}

static int run_round(struct bench *b, int round, struct erne_error *err)
{
    struct pf_usage before, after;
    int st = ERNE_OK;

    pf_usage_read(&before, NULL);
    for (size_t i = 0; st == ERNE_OK && i < b->n_cases; i++)
        if (is_run(&b->cases[i]))
            st = take_sample(&b->cases[i], b, round, err);
    pf_usage_read(&after, NULL);
    bench_guard_add(&b->guard, &before, &after);
    return st;
}

/* Why cases have fewer samples than they should. */
static void explain(struct bench *b)
{
    for (size_t i = 0; i < b->n_cases; i++) {
        struct bench_case *c = &b->cases[i];
        const struct bench_engine *e = c->lane->engine;

        if (c->skipped == ERNE_OK && c->samples.n < (size_t)b->args->bench.n_repeats)
            snprintf(c->why, sizeof(c->why), "%s",
                     e->status != ERNE_OK ? e->why : "interrupted");
    }
}

int bench_run(struct bench *b, struct erne_error *err)
{
    int st = ERNE_OK;

    cli_interrupt_begin(NULL);
    if (!b->args->bench.no_check)
        st = bench_gate(b, err);
    if (st == ERNE_OK)
        st = count_experts(b, err);
    if (st == ERNE_OK && !b->args->bench.no_warmup)
        st = warm_up(b, err);
    for (int round = 0; st == ERNE_OK && round < b->args->bench.n_repeats; round++)
        st = run_round(b, round, err);
    cli_interrupt_end();
    explain(b);
    return st;
}
