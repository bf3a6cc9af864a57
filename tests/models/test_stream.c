/* test_stream.c -- experts that stream from the file: with memory for a part of them the
 * logits are, bit for bit, those of a run with all in memory, for any number of threads.
 * usage: test_stream CASE_DIR WORK_DIR
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "tests/models/golden.h"

enum { N_SINGLE = 3 }; /* tokens at the end that come one by one */
enum { CHUNK = 7 };    /* where only last tokens' logits are asked for */

static const uint64_t plenty = (uint64_t)1 << 40;

static struct erne_engine *engine_open(const struct golden *g, int n_threads,
                                       uint64_t ram_bytes)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *engine = NULL;
    struct erne_error err = { 0 };
    char path[GOLDEN_MAX_PATH];

    golden_path(path, g, "w4");
    opts.n_threads = n_threads;
    opts.ram_bytes = ram_bytes;
    if (erne_engine_open(&engine, path, &opts, &err) < 0)
        fail_msg("%s", err.text);
    return engine;
}

static struct erne_session *session_open(const struct golden *g,
                                         struct erne_engine *engine)
{
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *session = NULL;

    opts.n_ctx = GOLDEN_MAX_TOKENS;
    opts.n_batch = 16;
    assert_int_equal(erne_session_create(&session, engine, &opts, NULL), 0);
    golden_add_media(g, session);
    return session;
}

/* logits: [n_tokens, n_vocab] */
static void eval(const struct golden *g, struct erne_session *session, float *logits)
{
    struct erne_error err = { 0 };
    size_t done = g->n_tokens - N_SINGLE;
    int st = erne_session_eval(session, g->tokens, done, logits, &err);

    for (; st == 0 && done < g->n_tokens; done++)
        st = erne_session_eval(session, g->tokens + done, 1, logits + done * g->n_vocab,
                               &err);
    if (st < 0)
        fail_msg("%s", err.text);
}

/* Only those of the last token of each chunk, for which the last layer needs few experts;
 * the other rows are left as they are. */
static void eval_last(const struct golden *g, struct erne_session *session, float *logits)
{
    golden_last_rows(g, session, CHUNK, logits);
}

/* Leaves memory for one of `part` experts, as something else takes the rest. */
static void squeeze(struct erne_engine *engine, uint64_t part)
{
    const struct erne_expert_stats stats = erne_engine_expert_stats(engine);

    assert_true(stats.n_bytes > 0);
    assert_true(stats.capacity > stats.n_bytes);
    assert_int_equal(
        erne_engine_claim(engine, stats.capacity - stats.n_bytes / part, NULL), 0);
    assert_int_equal(erne_engine_expert_stats(engine).capacity, stats.n_bytes / part);
}

/* part 0: without a limit; last: as eval_last */
static void run(const struct golden *g, int n_threads, uint64_t part, bool last,
                float *logits)
{
    struct erne_engine *engine = engine_open(g, n_threads, part ? plenty : 0);
    struct erne_session *session = session_open(g, engine);
    struct erne_expert_stats stats;

    if (part > 0)
        squeeze(engine, part);
    (last ? eval_last : eval)(g, session, logits);
    stats = erne_engine_expert_stats(engine);
    print_message("1 of %d experts, %d threads: %llu of %llu found, %llu bytes read\n",
                  (int)part, n_threads, (unsigned long long)stats.n_hits,
                  (unsigned long long)stats.n_used, (unsigned long long)stats.bytes_read);
    assert_int_equal(stats.n_used > 0, part > 0);
    assert_int_equal(stats.bytes_read > 0, part > 0);
    if (part == 1) /* each is read once */
        assert_true(stats.bytes_read <= stats.n_bytes);
    if (part > 1)
        assert_true(stats.n_hits < stats.n_used);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

static void check_same_bits(const struct golden *g, bool last)
{
    const size_t n_bytes = g->n_tokens * g->n_vocab * sizeof(float);
    float *want = calloc(1, n_bytes), *got = malloc(n_bytes);

    assert_non_null(want);
    assert_non_null(got);
    run(g, 1, 0, last, want);
    for (int n_threads = 1; n_threads <= 2; n_threads++)
        for (uint64_t part = 1; part <= 3; part++) {
            memset(got, 0, n_bytes);
            run(g, n_threads, part, last, got);
            assert_memory_equal(got, want, n_bytes);
        }
    free(want);
    free(got);
}

static void test_same_bits(void **state)
{
    check_same_bits(*state, false);
}

static void test_last_rows(void **state)
{
    check_same_bits(*state, true);
}

/* What is taken comes back, and too little is refused with figures. */
static void test_claims(void **state)
{
    struct erne_engine *engine = engine_open(*state, 1, plenty);
    const uint64_t before = erne_engine_expert_stats(engine).capacity;
    struct erne_session *session = session_open(*state, engine);
    struct erne_error err = { 0 };

    assert_true(erne_engine_expert_stats(engine).capacity < before);
    erne_session_destroy(&session);
    assert_int_equal(erne_engine_expert_stats(engine).capacity, before);
    assert_int_equal(erne_engine_claim(engine, before, &err), ERNE_ENOMEM);
    assert_non_null(strstr(err.text, "MiB for those that a token uses"));
    assert_int_equal(erne_engine_expert_stats(engine).capacity, before);
    erne_engine_close(&engine);
}

static void test_too_little(void **state)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *engine = NULL;
    struct erne_error err = { 0 };
    char path[GOLDEN_MAX_PATH];

    golden_path(path, *state, "w4");
    opts.ram_bytes = 4096;
    assert_int_equal(erne_engine_open(&engine, path, &opts, &err), ERNE_ENOMEM);
    assert_non_null(strstr(err.text, path));
    assert_null(engine);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s CASE_DIR WORK_DIR\n", argv[0]);
        return 2;
    }
    struct golden g = { .dir = argv[1], .work_dir = argv[2] };
    golden_read(&g);
    golden_convert(&g, "w4");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_same_bits, &g),
        cmocka_unit_test_prestate(test_last_rows, &g),
        cmocka_unit_test_prestate(test_claims, &g),
        cmocka_unit_test_prestate(test_too_little, &g),
    };
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_deinit(&g);
    return n_failed;
}
