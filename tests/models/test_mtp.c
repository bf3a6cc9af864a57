/* test_mtp.c -- speculative decoding: the block for multi-token prediction against one
 * made of transformers' parts, and answers that are those without guessing, whatever is
 * guessed.
 * usage: test_mtp CASE_DIR WORK_DIR
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"
#include "tests/models/golden.h"

enum { N_GENERATED = 90 };

static const char *const schemes[] = { "f32", "source", "w8", "w4" };

/* How an answer is made. */
struct setup {
    const char *scheme, *isa;
    int n_draft, n_batch, n_ctx;
    float temperature;
    uint64_t seed;
};

static struct erne_engine *engine_open(const struct golden *g, const struct setup *setup)
{
    char path[GOLDEN_MAX_PATH];
    struct erne_error err = { 0 };
    struct erne_engine *engine = NULL;
    struct erne_engine_opts opts = erne_engine_opts_default();

    golden_path(path, g, setup->scheme);
    opts.n_threads = 2;
    opts.isa = setup->isa;
    if (erne_engine_open(&engine, path, &opts, &err) == ERNE_EUNSUPPORTED)
        return NULL;
    assert_non_null(engine);
    assert_true(erne_engine_info(engine)->has_mtp);
    return engine;
}

static struct erne_session *session_create(struct erne_engine *engine,
                                           const struct setup *setup)
{
    struct erne_session_opts opts = erne_session_opts_default();

    opts.n_ctx = setup->n_ctx;
    opts.n_batch = setup->n_batch;
    opts.n_draft = setup->n_draft;
    opts.kv_type = "f32";
    opts.sampling.temperature = setup->temperature;
    opts.sampling.seed = setup->seed;
    return golden_session(engine, opts);
}

static void test_convert(void **state)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        golden_convert(*state, schemes[i]);
}

/* Token by token: the block has said what follows token t when token t is evaluated. */
static void test_block(void **state)
{
    const struct golden *g = *state;
    const struct setup setup = { .scheme = "f32", .isa = "auto", .n_draft = 1 };
    struct erne_engine *engine = engine_open(g, &setup);
    struct erne_session *session = session_create(engine, &setup);
    struct erne_error err = { 0 };
    size_t n_floats = 0;
    float *want = golden_npy(g, "mtp.npy", &n_floats);
    double worst = 0;

    assert_non_null(want);
    assert_int_equal(n_floats, (g->n_tokens - 1) * g->n_vocab);
    assert_int_equal(erne_session_eval(session, g->tokens, 3, NULL, &err), 0);
    for (size_t t = 3; t < g->n_tokens; t++) {
        const uint64_t n_drafted = erne_session_draft_stats(session).n_drafted;

        assert_int_equal(erne_session_eval(session, &g->tokens[t], 1, NULL, &err), 0);
        if (erne_session_draft_stats(session).n_drafted == n_drafted)
            continue; /* the token was guessed: no step */
        for (size_t i = 0; i < g->n_vocab; i++) {
            const float *got = session->draft.few.io.logits->data;
            const double error = fabs((double)(got[i] - want[(t - 1) * g->n_vocab + i]));

            assert_true(isfinite(error));
            if (error > worst) /* fmax crashes gcc 12 for ARM here */
                worst = error;
        }
    }
    print_message("guesses: %.3g of the range\n", worst / g->range);
    assert_true(worst <= 1e-4 * g->range);
    free(want);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

/* Prompt and answer, with the logits behind each of its tokens; some of it is taken back
 * and made again in between. */
static struct erne_draft_stats generate(const struct golden *g, const struct setup *setup,
                                        int32_t *ids, float *logits)
{
    struct erne_engine *engine = engine_open(g, setup);
    struct erne_session *session = session_create(engine, setup);
    struct erne_draft_stats stats;
    struct erne_error err = { 0 };

    assert_int_equal(erne_session_eval(session, g->tokens, g->n_tokens, NULL, &err), 0);
    for (int i = 0; i < N_GENERATED; i++) {
        if (i == 40) {
            const int n_keep = erne_session_n_past(session) - 7;

            assert_int_equal(n_keep, (int)g->n_tokens + 40 - 7);
            assert_int_equal(erne_session_rewind(session, n_keep, &err), 0);
            assert_int_equal(erne_session_eval(session, ids + 33, 7, NULL, &err), 0);
        }
        assert_int_equal(erne_session_sample(session, &ids[i], &err), 0);
        assert_int_equal(
            erne_session_eval(session, &ids[i], 1, logits + (size_t)i * g->n_vocab, &err),
            0);
        assert_memory_equal(erne_session_logits(session), logits + (size_t)i * g->n_vocab,
                            g->n_vocab * sizeof(float));
        assert_int_equal(erne_session_n_past(session), (int)g->n_tokens + i + 1);
    }
    stats = erne_session_draft_stats(session);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
    return stats;
}

/* Whether guessing changes anything, and how often it was right. */
static void check_same(const struct golden *g, struct setup *setup)
{
    const size_t n = N_GENERATED * g->n_vocab;
    float *plain = malloc(n * sizeof(float)), *guessed = malloc(n * sizeof(float));
    int32_t plain_ids[N_GENERATED], ids[N_GENERATED];
    struct erne_draft_stats stats;

    assert_non_null(plain);
    assert_non_null(guessed);
    setup->n_draft = 0;
    stats = generate(g, setup, plain_ids, plain);
    assert_int_equal(stats.n_drafted, 0);
    setup->n_draft = 1;
    stats = generate(g, setup, ids, guessed);
    print_message("%s %s, temperature %g: %d of %d guesses right\n", setup->scheme,
                  setup->isa, (double)setup->temperature, (int)stats.n_accepted,
                  (int)stats.n_drafted);
    assert_memory_equal(ids, plain_ids, sizeof ids);
    assert_memory_equal(guessed, plain, n * sizeof(float));
    assert_true(stats.n_accepted > 0);
    assert_true(setup->temperature == 0 || stats.n_accepted < stats.n_drafted);
    free(plain);
    free(guessed);
}

static void test_lossless(void **state)
{
    static const char *const levels[] = { "c", "avx2", "avxvnni", "avx512" };

    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++) {
            struct setup setup = { .scheme = schemes[i], .isa = levels[k] };
            struct erne_engine *engine = engine_open(*state, &setup);

            if (!engine)
                continue;
            erne_engine_close(&engine);
            check_same(*state, &setup);
            setup.temperature = 0.3f;
            setup.seed = 5;
            setup.n_batch = 7;
            check_same(*state, &setup);
        }
}

/* The block catches up with prompts of any number of steps. */
static void test_batches(void **state)
{
    static const int batches[] = { 1, 2, 30, 64 };

    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        struct setup setup = { .scheme = "f32",
                               .isa = "auto",
                               .n_batch = batches[i],
                               .temperature = 1.0f,
                               .seed = 11 };

        check_same(*state, &setup);
    }
}

/* Where the context ends there is no room for a guess, but for every token. */
static void test_full_context(void **state)
{
    const struct golden *g = *state;
    const struct setup setup = {
        .scheme = "f32", .isa = "auto", .n_draft = 1, .n_ctx = (int)g->n_tokens + 5
    };
    struct erne_engine *engine = engine_open(g, &setup);
    struct erne_session *session = session_create(engine, &setup);
    struct erne_error err = { 0 };
    int32_t id = 0;

    assert_int_equal(erne_session_eval(session, g->tokens, g->n_tokens, NULL, &err), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(erne_session_sample(session, &id, &err), 0);
        assert_int_equal(erne_session_eval(session, &id, 1, NULL, &err), 0);
    }
    assert_int_equal(erne_session_eval(session, &id, 1, NULL, &err), ERNE_ECONTEXT);
    assert_int_equal(erne_session_n_past(session), (int)g->n_tokens + 5);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

/* A cancelled eval computes nothing, though its token was guessed and evaluated ahead;
 * asked again, it gives what it would have. */
static void test_cancelled_guess(void **state)
{
    const struct golden *g = *state;
    const struct setup setup = { .scheme = "f32", .isa = "auto", .n_draft = 1 };
    struct erne_engine *engine = engine_open(g, &setup);
    struct erne_session *session = session_create(engine, &setup);
    struct erne_error err = { 0 };
    const size_t n_bytes = g->n_vocab * sizeof(float);
    float *ahead = malloc(n_bytes);
    int32_t id = -1;
    int n_past;

    assert_non_null(ahead);
    assert_int_equal(erne_session_eval(session, g->tokens, g->n_tokens, NULL, &err), 0);
    for (int i = 0; i < N_GENERATED; i++) {
        assert_int_equal(erne_session_sample(session, &id, &err), 0);
        if (id == session->draft.token)
            break;
        assert_int_equal(erne_session_eval(session, &id, 1, NULL, &err), 0);
    }
    assert_int_equal(id, session->draft.token);
    memcpy(ahead, session->draft.ahead, n_bytes);
    n_past = erne_session_n_past(session);
    erne_session_cancel(session);
    assert_int_equal(erne_session_eval(session, &id, 1, NULL, &err), ERNE_ECANCELLED);
    assert_int_equal(erne_session_n_past(session), n_past);
    assert_int_equal(erne_session_eval(session, &id, 1, NULL, &err), 0);
    assert_int_equal(erne_session_n_past(session), n_past + 1);
    assert_memory_equal(erne_session_logits(session), ahead, n_bytes);
    free(ahead);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

static void test_options(void **state)
{
    const struct setup setup = { .scheme = "f32", .isa = "auto" };
    struct erne_engine *engine = engine_open(*state, &setup);
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *session = NULL;
    struct erne_error err = { 0 };

    opts.n_draft = 2;
    assert_int_equal(erne_session_create(&session, engine, &opts, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "2 tokens"));
    erne_engine_close(&engine);
}

int main(int argc, char **argv)
{
    struct golden g;
    if (!golden_begin(&g, argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_convert, &g),
        cmocka_unit_test_prestate(test_block, &g),
        cmocka_unit_test_prestate(test_lossless, &g),
        cmocka_unit_test_prestate(test_batches, &g),
        cmocka_unit_test_prestate(test_full_context, &g),
        cmocka_unit_test_prestate(test_cancelled_guess, &g),
        cmocka_unit_test_prestate(test_options, &g),
    };
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_deinit(&g);
    return n_failed;
}
