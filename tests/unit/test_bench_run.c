/* test_bench_run.c -- what is left of a benchmark when a device is lost or Ctrl-C comes
 * in the middle of it: what was measured before. Evaluations are stand-ins. */
#include "tests/support/unit.h"

#include <signal.h>
#include <string.h>

#include "runtime/cli/bench.h"

int __wrap_erne_session_eval(struct erne_session *session, const int32_t *tokens,
                             size_t n, float *logits, struct erne_error *err);
int __wrap_erne_session_rewind(struct erne_session *session, int32_t n_past,
                               struct erne_error *err);
int __wrap_erne_session_n_past(const struct erne_session *session);

enum { N_LANES = 2, N_REPEATS = 3 };

/* Each lane has tokens of its own, by which an evaluation is told apart. */
static int32_t traces[N_LANES][8];
static int n_evals[N_LANES], n_past;
/* The lane, at which of its evaluations something happens: a status, or a signal. */
static struct {
    int lane, eval, status, signal;
} plan;

int __wrap_erne_session_eval(struct erne_session *session, const int32_t *tokens,
                             size_t n, float *logits, struct erne_error *err)
{
    const int lane = tokens >= traces[1];

    (void)session;
    (void)logits;
    n_past += (int)n;
    if (lane != plan.lane || ++n_evals[lane] < plan.eval)
        return ERNE_OK;
    if (plan.signal)
        raise(plan.signal);
    return plan.status ? cli_fail(err, plan.status, "it went away") : ERNE_OK;
}

int __wrap_erne_session_rewind(struct erne_session *session, int32_t n,
                               struct erne_error *err)
{
    (void)session;
    (void)err;
    n_past = n;
    return ERNE_OK;
}

int __wrap_erne_session_n_past(const struct erne_session *session)
{
    (void)session;
    return n_past;
}

/* The gate is of no interest here. */
int bench_gate(struct bench *b, struct erne_error *err)
{
    (void)b;
    (void)err;
    return ERNE_OK;
}

/* A benchmark of one test a lane, each lane with an engine of its own. */
struct fixture {
    struct cli_args args;
    struct bench_engine engines[N_LANES];
    struct bench_lane lanes[N_LANES];
    struct bench_case cases[N_LANES];
    double times[N_LANES][N_REPEATS];
    struct bench b;
};

static void init(struct fixture *f)
{
    *f = (struct fixture){ .args = {
                               .bench = { .n_repeats = N_REPEATS, .no_check = true } } };
    for (int i = 0; i < N_LANES; i++) {
        f->engines[i].trace = (struct cli_ids){ traces[i], 8, 8 };
        f->lanes[i] = (struct bench_lane){ .engine = &f->engines[i], .n_batch = 8 };
        f->cases[i] = (struct bench_case){ .lane = &f->lanes[i],
                                           .n_prompt = 2,
                                           .samples = { f->times[i], 0, N_REPEATS } };
    }
    f->b = (struct bench){ .args = &f->args,
                           .engines = f->engines,
                           .n_engines = N_LANES,
                           .lanes = f->lanes,
                           .n_lanes = N_LANES,
                           .cases = f->cases,
                           .n_cases = N_LANES };
    memset(n_evals, 0, sizeof(n_evals));
}

/* A lost device takes its own figures with it, from the moment on that it is lost. */
static void lost_device(void **state)
{
    struct fixture f;
    struct erne_error err = { 0 };
    int n_all;

    (void)state;
    init(&f);
    plan.lane = 1;
    plan.eval = 1000;
    plan.status = ERNE_EDEVICE;
    assert_int_equal(bench_run(&f.b, &err), ERNE_OK);
    assert_int_equal(f.cases[1].samples.n, N_REPEATS);
    assert_string_equal(f.cases[1].why, "");
    n_all = n_evals[1];
    for (int at = 1; at <= n_all; at++) {
        init(&f);
        plan.eval = at;
        assert_int_equal(bench_run(&f.b, &err), ERNE_OK);
        assert_int_equal(n_evals[1], at); /* not tried again */
        assert_int_equal(f.cases[0].samples.n, N_REPEATS);
        assert_true(f.cases[1].samples.n < N_REPEATS);
        assert_int_equal(f.engines[0].status, ERNE_OK);
        assert_int_equal(f.engines[1].status, ERNE_EDEVICE);
        assert_string_equal(f.cases[0].why, "");
        assert_string_equal(f.cases[1].why, "it went away");
    }
    assert_int_equal(f.cases[1].samples.n, N_REPEATS - 1);
}

/* Ctrl-C ends everything, and no engine is to blame. */
static void interrupt(void **state)
{
    struct fixture f;
    struct erne_error err = { 0 };

    (void)state;
    init(&f);
    f.args.bench.no_warmup = true;
    plan.lane = 1;
    plan.status = 0;
    plan.eval = 4; /* in the second sample */
    plan.signal = SIGINT;
    assert_int_equal(bench_run(&f.b, &err), ERNE_ECANCELLED);
    assert_int_equal(f.cases[0].samples.n, 2);
    assert_int_equal(f.engines[1].status, ERNE_OK);
    assert_string_equal(f.cases[0].why, "interrupted");
    assert_string_equal(f.cases[1].why, "interrupted");
}

/* What does not fit the model is not run. */
static void skipped(void **state)
{
    struct fixture f;
    struct erne_error err = { 0 };

    (void)state;
    init(&f);
    plan.lane = 0;
    plan.eval = 1000;
    plan.signal = 0;
    f.cases[0].skipped = ERNE_EUNSUPPORTED;
    strcpy(f.cases[0].why, "no pictures");
    assert_int_equal(bench_run(&f.b, &err), ERNE_OK);
    assert_int_equal(n_evals[0], 0);
    assert_string_equal(f.cases[0].why, "no pictures");
    assert_int_equal(f.cases[1].samples.n, N_REPEATS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_device),
        cmocka_unit_test(interrupt),
        cmocka_unit_test(skipped),
    };

    return cmocka_run_group_tests_name("bench_run", tests, NULL, NULL);
}
