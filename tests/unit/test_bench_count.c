/* test_bench_count.c -- what erne bench counts. The calls that it makes of a session are
 * replaced (--wrap), so that it can be seen what lies between the two readings of the
 * clock: the same as in llama-bench. */
#include "tests/support/unit.h"

#include <string.h>

#include "runtime/cli/bench.h"

enum { TRACE = 4096, MAX_EVENTS = 8192 };

/* What happened, in order: n > 0 tokens were evaluated, or the clock was read (CLOCK),
 * or something else that must not be timed. */
enum { CLOCK = 0, REWIND = -1, SAMPLE = -2 };

static struct {
    int events[MAX_EVENTS];
    size_t n;
    int n_past;
    bool wrong; /* logits were asked for, or tokens were not those of the trace */
} seen;

static int32_t trace[TRACE];

static void happen(int event)
{
    assert_true(seen.n < MAX_EVENTS);
    seen.events[seen.n++] = event;
}

int __wrap_erne_session_eval(struct erne_session *session, const int32_t *tokens,
                             size_t n, float *logits, struct erne_error *err);
int __wrap_erne_session_rewind(struct erne_session *session, int n_keep,
                               struct erne_error *err);
int __wrap_erne_session_n_past(const struct erne_session *session);
int __wrap_erne_session_sample(struct erne_session *session, int32_t *token,
                               struct erne_error *err);
uint64_t __wrap_pf_time_ns(void);

int __wrap_erne_session_eval(struct erne_session *session, const int32_t *tokens,
                             size_t n, float *logits, struct erne_error *err)
{
    (void)session;
    (void)err;
    seen.wrong |= logits != NULL || memcmp(tokens, trace + seen.n_past, n * 4) != 0;
    seen.n_past += (int)n;
    happen((int)n);
    return ERNE_OK;
}

int __wrap_erne_session_rewind(struct erne_session *session, int n_keep,
                               struct erne_error *err)
{
    (void)session;
    (void)err;
    assert_true(n_keep <= seen.n_past);
    seen.n_past = n_keep;
    happen(REWIND);
    return ERNE_OK;
}

int __wrap_erne_session_n_past(const struct erne_session *session)
{
    (void)session;
    return seen.n_past;
}

int __wrap_erne_session_sample(struct erne_session *session, int32_t *token,
                               struct erne_error *err)
{
    (void)session;
    (void)err;
    *token = 0;
    happen(SAMPLE);
    return ERNE_OK;
}

/* Every reading is a microsecond later than the last. */
uint64_t __wrap_pf_time_ns(void)
{
    happen(CLOCK);
    return 1000 * (uint64_t)seen.n;
}

/* Runs a test; answers the events from the reading that starts the time to the last one
 * that a sample can have ended with. The first and the last reading are the guard's. */
static const int *run(struct bench_case *c, size_t *n)
{
    static double times[64];
    struct bench_engine engine = { .trace = { trace, TRACE, TRACE } };
    struct bench_lane lane = { .engine = &engine, .n_batch = 200, .n_ubatch = 64 };
    struct bench b = { .n_cases = 1, .cases = c };
    struct erne_error err;
    size_t first = 1;

    c->lane = &lane;
    c->samples = (struct bench_series){ times, 0, 1 };
    seen.n = 0;
    seen.wrong = false;
    assert_int_equal(bench_case_run(c, &b, &err), ERNE_OK);
    assert_int_equal(c->samples.n, 1);
    assert_false(seen.wrong);
    assert_int_equal(seen.events[0], CLOCK);
    while (seen.events[first] != CLOCK)
        first++;
    *n = seen.n - 1 - first;
    return seen.events + first;
}

/* The evaluations among the events are these; nothing but the clock is between them. */
static void expect(const int *events, size_t n, const int *wanted, size_t n_wanted)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        assert_true(events[i] >= 0);
        if (events[i] == CLOCK)
            continue;
        assert_true(k < n_wanted);
        assert_int_equal(events[i], wanted[k++]);
    }
    assert_int_equal(k, n_wanted);
}

/* A prompt: calls of at most n_batch tokens, all of them and no more. */
static void test_prompt(void **state)
{
    struct bench_case c = { .n_prompt = 512 };
    size_t n;
    const int *events = run(&c, &n);

    (void)state;
    expect(events, n, (int[]){ 200, 200, 112 }, 3);
    assert_int_equal(seen.n_past, 512);
}

/* An answer: a call for each token, none sampled. */
static void test_generation(void **state)
{
    struct bench_case c = { .n_gen = 5 };
    size_t n;
    const int *events = run(&c, &n);

    (void)state;
    expect(events, n, (int[]){ 1, 1, 1, 1, 1 }, 5);
}

/* What lies before the test is evaluated, but not timed. */
static void test_depth(void **state)
{
    struct bench_case c = { .n_prompt = 3, .n_gen = 2, .n_depth = 1000 };
    size_t n;
    const int *events = run(&c, &n);

    (void)state;
    expect(events, n, (int[]){ 3, 1, 1 }, 3);
    assert_int_equal(seen.n_past, 1005);
}

/* The second sample starts from the same context as the first. */
static void test_repeats(void **state)
{
    struct bench_case c = { .n_gen = 2, .n_depth = 50 };

    (void)state;
    for (int i = 0; i < 3; i++) {
        size_t n;
        const int *events = run(&c, &n);

        expect(events, n, (int[]){ 1, 1 }, 2);
        assert_int_equal(seen.n_past, 52);
    }
}

/* The speed is that of the tokens that were timed. */
static void test_speed(void **state)
{
    const struct bench_record r = { .n_prompt = 512, .n_gen = 128, .n_depth = 4096 };

    (void)state;
    assert_true(bench_record_ts(&r, 1e9) == 640);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt), cmocka_unit_test(test_generation),
        cmocka_unit_test(test_depth),  cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_speed),
    };

    for (int32_t i = 0; i < TRACE; i++)
        trace[i] = i;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
