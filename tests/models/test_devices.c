/* test_devices.c -- whole models on a device with memory of its own.
 *
 * Each golden checkpoint runs through a stand-in that keeps copies
 * (tests/support/shadow.h) and computes by the reference: logits must be the bits of the
 * reference alone, whatever part of the work the device takes, and however often the KV
 * cache changes sides. usage: test_devices CASE_DIR WORK_DIR
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "tests/models/golden.h"
#include "tests/support/shadow.h"

static const char scheme[] = "w4-g64a";

/* Tokens of one call after the other, over and over: batches and single tokens. */
static const size_t pieces[] = { 7, 1, 1, 3, 1 };

/* How a model is run. */
struct setup {
    const char *backend;
    uint32_t declined_ops;
    int declines_one_in;
    uint64_t seed;
    enum shadow_call fail_call;
    uint64_t fail_at; /* the device is lost at this call; 0: never */
};

enum { N_LOSSES = 4 };

static struct erne_engine *engine_open(const struct golden *g, const char *backend,
                                       struct shadow_config *config)
{
    char path[GOLDEN_MAX_PATH];
    struct erne_error err = { 0 };
    struct erne_engine *engine = NULL;
    struct erne_engine_opts opts = erne_engine_opts_default();
    golden_path(path, g, scheme);
    opts.backend = backend;
    if (erne_engine_open_on(&engine, path, &opts, shadow_backends, config, &err) != 0)
        fail_msg("%s: %s", backend, err.text);
    return engine;
}

static struct erne_session *session_create(struct erne_engine *engine)
{
    struct erne_session_opts opts = erne_session_opts_default();
    opts.n_batch = 32;
    return golden_session(engine, opts);
}

/* The whole case, in pieces; with a rewind on the way where no media forbid it. */
static void eval(struct erne_session *session, const struct golden *g, float *logits)
{
    struct erne_error err = { 0 };
    bool went_back = g->n_media > 0;
    golden_add_media(g, session);
    for (size_t i = 0, p = 0, n; i < g->n_tokens; i += n) {
        n = pieces[p++ % (sizeof pieces / sizeof pieces[0])];
        if (n > g->n_tokens - i)
            n = g->n_tokens - i;
        if (erne_session_eval(session, g->tokens + i, n, logits + i * g->n_vocab, &err))
            fail_msg("eval at %zu: %s", i, err.text);
        if (!went_back && i + n > g->n_tokens / 2) {
            went_back = true;
            assert_int_equal(erne_session_rewind(session, 5, &err), 0);
            i = 5;
            n = 0;
        }
    }
}

/* Logits of the case [n_tokens, n_vocab]; config tells afterwards what happened. */
static float *run(const struct golden *g, const struct setup *setup,
                  struct shadow_config *config)
{
    *config = (struct shadow_config){ .declined_ops = setup->declined_ops,
                                      .declines_one_in = setup->declines_one_in,
                                      .rng = setup->seed,
                                      .fail_call = setup->fail_call,
                                      .fail_at = setup->fail_at,
                                      .fail_status = ERNE_EDEVICE };
    struct erne_engine *engine = engine_open(g, setup->backend, config);
    struct erne_session *session = session_create(engine);
    float *logits = calloc(g->n_tokens * g->n_vocab, sizeof(float));
    assert_non_null(logits);
    eval(session, g, logits);
    erne_session_destroy(&session);
    assert_int_equal(config->n_ranges, 0);
    assert_int_equal(config->n_nodes, 0);
    erne_engine_close(&engine);
    assert_int_equal(config->n_open, 0);
    assert_string_equal(config->breach, "");
    return logits;
}

static void check(const struct golden *g, const float *want, const struct setup *setup)
{
    struct shadow_config config;
    float *logits = run(g, setup, &config);
    print_message("%s, declines %x, one in %d: %llu runs, %llu KiB up, %llu KiB down\n",
                  setup->backend, setup->declined_ops, setup->declines_one_in,
                  (unsigned long long)config.n_calls[SHADOW_RUN],
                  (unsigned long long)config.n_bytes_up >> 10,
                  (unsigned long long)config.n_bytes_down >> 10);
    assert_memory_equal(logits, want, g->n_tokens * g->n_vocab * sizeof(float));
    assert_true(config.n_calls[SHADOW_RUN] > 0);
    free(logits);
}

/* ----------------------------------------------------------------- tests */

/* The others use the file that this one writes, and the logits of the reference. */
static float *reference;

static void test_reference(void **state)
{
    const struct golden *g = *state;
    const struct setup setup = { .backend = "reference" };
    struct shadow_config config;
    golden_convert(g, scheme);
    reference = run(g, &setup, &config);
    assert_int_equal(config.n_calls[SHADOW_PREPARE], 0);
}

static void test_whole(void **state)
{
    check(*state, reference, &(struct setup){ .backend = "shadow" });
    check(*state, reference, &(struct setup){ .backend = "shadow:1" });
}

/* Prefill and decode on different sides: the KV cache goes back and forth. */
static void test_phases(void **state)
{
    const struct golden *g = *state;
    check(g, reference, &(struct setup){ .backend = "prefill=shadow" });
    check(g, reference, &(struct setup){ .backend = "decode=shadow,vision=reference" });
    check(g, reference, &(struct setup){ .backend = "prefill=shadow:0,decode=shadow:1" });
    if (g->n_media > 0)
        check(g, reference, &(struct setup){ .backend = "vision=shadow" });
}

/* Operators on one side and the other inside one step. */
static void test_declined(void **state)
{
    static const uint32_t ops[] = {
        1u << ERNE_OP_ATTENTION,
        1u << ERNE_OP_KV_APPEND,
        1u << ERNE_OP_ROPE | 1u << ERNE_OP_EMBED,
        ~(1u << ERNE_OP_MATMUL | 1u << ERNE_OP_MOE_FFN),
    };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        check(*state, reference,
              &(struct setup){ .backend = "shadow", .declined_ops = ops[i] });
    for (uint64_t seed = 1; seed <= 4; seed++)
        check(*state, reference,
              &(struct setup){ .backend = seed % 2 ? "shadow"
                                                   : "prefill=shadow:1,"
                                                     "decode=shadow",
                               .declines_one_in = 1 + (int)seed,
                               .seed = seed });
}

/* A device that is lost at some call: media and guesses go on, too, as if it had never
 * been there. */
static void test_lost(void **state)
{
    static const enum shadow_call calls[] = { SHADOW_RUN, SHADOW_DOWNLOAD, SHADOW_UPLOAD,
                                              SHADOW_MAP };
    const struct golden *g = *state;
    const struct setup setup = { .backend = "shadow" };
    struct shadow_config config;
    uint64_t n_calls[SHADOW_CALL_COUNT];
    free(run(g, &setup, &config));
    memcpy(n_calls, config.n_calls, sizeof n_calls);
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++)
        for (uint64_t n = 1; n <= N_LOSSES; n++) {
            const struct setup lossy = { .backend = "shadow",
                                         .fail_call = calls[c],
                                         .fail_at =
                                             1 + (n_calls[calls[c]] - 1) * n / N_LOSSES };
            float *logits = run(g, &lossy, &config);
            assert_true(config.is_lost);
            assert_memory_equal(logits, reference,
                                g->n_tokens * g->n_vocab * sizeof(float));
            free(logits);
        }
}

int main(int argc, char **argv)
{
    struct golden g;
    if (!golden_begin(&g, argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_reference, &g),
        cmocka_unit_test_prestate(test_whole, &g),
        cmocka_unit_test_prestate(test_phases, &g),
        cmocka_unit_test_prestate(test_declined, &g),
        cmocka_unit_test_prestate(test_lost, &g),
    };
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(reference);
    golden_deinit(&g);
    return n_failed;
}
