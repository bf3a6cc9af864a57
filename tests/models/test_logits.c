/* test_logits.c -- whole models against the logits that transformers computes for them.
 *
 * Runs one golden checkpoint (tests/models/golden, made by tests/oracle/make_*.py)
 * through the public interface: convert, open, evaluate; on every backend and CPU level,
 * however the prompt is cut into calls, and for several thread counts.
 * usage: test_logits CASE_DIR WORK_DIR
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

#include "runtime/sort.h"
#include "tests/models/golden.h"

enum { N_GREEDY = 4 };

/* How a model is run. */
struct setup {
    const char *scheme, *backend, *isa, *kv_type;
    int n_threads;
    size_t chunk; /* tokens an eval; 0: all at once */
};

static const struct setup machines[] = {
    { .backend = "reference", .isa = "auto" },
    { .backend = "cpu", .isa = "c" },
    { .backend = "cpu", .isa = "avx2" },
    { .backend = "cpu", .isa = "avxvnni" },
    { .backend = "cpu", .isa = "avx512" },
};
/* What each case is converted to: floats first. */
static const char *const schemes[] = { "f32", "source", "w8", "w4", "w4-g64a", "w2" };

enum {
    N_MACHINES = sizeof machines / sizeof machines[0],
    N_SCHEMES = sizeof schemes / sizeof schemes[0],
    FIRST_QUANTISED = 2
};

/* --------------------------------------------------------------- running */

/* NULL when this build lacks the backend. */
static struct erne_engine *engine_open(const struct golden *g, const struct setup *setup)
{
    char path[GOLDEN_MAX_PATH];
    struct erne_error err = { 0 };
    struct erne_engine *engine = NULL;
    struct erne_engine_opts opts = erne_engine_opts_default();
    golden_path(path, g, setup->scheme);
    opts.backend = setup->backend;
    opts.isa = setup->isa;
    opts.n_threads = setup->n_threads ? setup->n_threads : 1;
    const int status = erne_engine_open(&engine, path, &opts, &err);
    if (status == ERNE_EUNSUPPORTED)
        return NULL;
    if (status != 0)
        fail_msg("open %s on %s: %s", path, setup->backend, err.text);
    assert_int_equal(erne_engine_info(engine)->n_vocab, g->n_vocab);
    return engine;
}

static struct erne_session *session_create(struct erne_engine *engine,
                                           const struct setup *setup)
{
    struct erne_session_opts opts = erne_session_opts_default();
    opts.kv_type = setup->kv_type ? setup->kv_type : "f32";
    opts.sampling.temperature = 0;
    return golden_session(engine, opts);
}

/* Evaluates tokens first .. n_tokens in pieces of `chunk` into logits [n_tokens,
 * n_vocab], whose rows before `first` stay as they are. */
static void eval_from(struct erne_session *session, const struct golden *g, size_t first,
                      size_t chunk, float *logits)
{
    struct erne_error err = { 0 };
    for (size_t i = first, n; i < g->n_tokens; i += n) {
        n = g->n_tokens - i;
        if (chunk > 0 && n > chunk)
            n = chunk;
        float *dst = logits + i * g->n_vocab;
        if (erne_session_eval(session, g->tokens + i, n, dst, &err) != 0)
            fail_msg("eval at %zu: %s", i, err.text);
    }
    const float *last = logits + (g->n_tokens - 1) * g->n_vocab;
    assert_memory_equal(erne_session_logits(session), last, g->n_vocab * sizeof(float));
}

static float *logits_alloc(const struct golden *g)
{
    float *logits = calloc(g->n_tokens * g->n_vocab, sizeof(float));
    assert_non_null(logits);
    return logits;
}

/* Logits of the whole case [n_tokens, n_vocab]; NULL when the backend is not built. */
static float *run(const struct golden *g, const struct setup *setup)
{
    struct erne_engine *engine = engine_open(g, setup);
    if (!engine)
        return NULL;
    struct erne_session *session = session_create(engine, setup);
    float *logits = logits_alloc(g);
    golden_add_media(g, session);
    eval_from(session, g, 0, setup->chunk, logits);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
    return logits;
}

/* Fails unless every logit is within max_rel * range of `want`; NaN fails too. */
static void check_close(const struct golden *g, const struct setup *setup,
                        const float *logits, const float *want, double max_rel)
{
    const size_t n = g->n_tokens * g->n_vocab;
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const double diff = fabs((double)logits[i] - want[i]);
        if (!(diff <= worst)) {
            worst = diff;
            at = i;
        }
    }
    const double rel = worst / g->range;
    print_message("%s %s %s kv %s chunk %zu: %.3g of the range\n", setup->scheme,
                  setup->backend, setup->isa, setup->kv_type ? setup->kv_type : "f32",
                  setup->chunk, rel);
    if (!(rel <= max_rel))
        fail_msg("position %zu, token %zu: %.8g, expected %.8g (%.3g of the range, %.3g "
                 "allowed)",
                 at / g->n_vocab, at % g->n_vocab, (double)logits[at], (double)want[at],
                 rel, max_rel);
}

/* Every machine and way to cut the prompt, against the golden logits. */
static void check_scheme(const struct golden *g, const char *scheme, double max_rel)
{
    static const size_t chunks[] = { 0, 1, 7, 64 };
    for (size_t m = 0; m < N_MACHINES; m++) {
        for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
            struct setup setup = machines[m];
            setup.scheme = scheme;
            setup.chunk = chunks[c];
            float *logits = run(g, &setup);
            if (!logits)
                continue;
            check_close(g, &setup, logits, g->logits, max_rel);
            free(logits);
        }
    }
}

/* ----------------------------------------------------------------- tests */

/* The others use the files that this one writes. */
static void test_convert(void **state)
{
    for (size_t i = 0; i < N_SCHEMES; i++)
        golden_convert(*state, schemes[i]);
}

static void test_f32_weights(void **state)
{
    check_scheme(*state, "f32", 1e-4);
}

/* bf16 matrix products may round activations to bf16 as well. */
static void test_source_weights(void **state)
{
    check_scheme(*state, "source", 1e-2);
}

static void test_f16_cache(void **state)
{
    const struct golden *g = *state;
    const struct setup setup = { "f32", "reference", "auto", "f16", 1, 0 };
    float *logits = run(g, &setup);
    assert_non_null(logits);
    check_close(g, &setup, logits, g->logits, 2e-3);
    free(logits);
}

/* Where only the last token's logits are asked for, the last layer computes one row. */
static void test_last_rows(void **state)
{
    static const size_t chunks[] = { 0, 7 };
    const struct golden *g = *state;
    const size_t n_bytes = g->n_tokens * g->n_vocab * sizeof(float);
    for (size_t m = 0; m < N_MACHINES; m++) {
        struct setup setup = machines[m];
        setup.scheme = "f32";
        struct erne_engine *engine = engine_open(g, &setup);
        for (size_t c = 0; engine && c < sizeof chunks / sizeof chunks[0]; c++) {
            struct erne_session *session = session_create(engine, &setup);
            float *logits = logits_alloc(g);
            setup.chunk = chunks[c];
            memcpy(logits, g->logits, n_bytes);
            golden_add_media(g, session);
            golden_last_rows(g, session, setup.chunk, logits);
            check_close(g, &setup, logits, g->logits, 1e-4);
            assert_memory_not_equal(logits, g->logits, n_bytes);
            free(logits);
            erne_session_destroy(&session);
        }
        erne_engine_close(&engine);
    }
}

/* What is evaluated again after a rewind gives what it gave before. With media that means
 * from the beginning: what was in the middle of them cannot be gone back to. */
static void test_rewind(void **state)
{
    const struct golden *g = *state;
    const struct setup setup = { "f32", "auto", "auto", "f32", 2, 0 };
    struct erne_error err = { 0 };
    struct erne_engine *engine = engine_open(g, &setup);
    assert_non_null(engine);
    struct erne_session *session = session_create(engine, &setup);
    float *logits = logits_alloc(g);
    const size_t kept[] = { g->n_tokens / 2, 1, 0 };
    golden_add_media(g, session);
    eval_from(session, g, 0, 0, logits);
    for (size_t i = g->n_media > 0 ? 2 : 0; i < sizeof kept / sizeof kept[0]; i++) {
        assert_int_equal(erne_session_rewind(session, (int)kept[i], &err), 0);
        assert_int_equal(erne_session_n_past(session), kept[i]);
        golden_add_media(g, session);
        eval_from(session, g, kept[i], 5, logits);
        check_close(g, &setup, logits, g->logits, 1e-4);
    }
    free(logits);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

/* The prompt, then N_GREEDY tokens; the logits after each go to rows [N_GREEDY, n_vocab].
 */
static bool generate(const struct golden *g, const struct setup *setup, float *rows,
                     int32_t *ids)
{
    struct erne_error err = { 0 };
    struct erne_engine *engine = engine_open(g, setup);
    if (!engine)
        return false;
    struct erne_session *session = session_create(engine, setup);
    golden_add_media(g, session);
    assert_int_equal(erne_session_eval(session, g->tokens, g->n_tokens, NULL, &err), 0);
    for (size_t i = 0; i < N_GREEDY; i++) {
        memcpy(rows + i * g->n_vocab, erne_session_logits(session),
               g->n_vocab * sizeof(float));
        assert_int_equal(erne_session_sample(session, &ids[i], &err), 0);
        assert_int_equal(erne_session_eval(session, &ids[i], 1, NULL, &err), 0);
    }
    erne_session_destroy(&session);
    erne_engine_close(&engine);
    return true;
}

/* Logits are the same bits, hence greedy tokens the same, for any number of threads. */
static void test_threads(void **state)
{
    const struct golden *g = *state;
    float *one = calloc(N_GREEDY * g->n_vocab, sizeof(float));
    float *more = calloc(N_GREEDY * g->n_vocab, sizeof(float));
    int32_t one_ids[N_GREEDY], more_ids[N_GREEDY];
    assert_non_null(one);
    assert_non_null(more);
    for (size_t s = 0; s < N_SCHEMES; s++) {
        struct setup setup = { schemes[s], "auto", "auto", "f16", 1, 0 };
        assert_true(generate(g, &setup, one, one_ids));
        for (setup.n_threads = 2; setup.n_threads <= 3; setup.n_threads++) {
            assert_true(generate(g, &setup, more, more_ids));
            assert_memory_equal(one, more, N_GREEDY * g->n_vocab * sizeof(float));
            assert_memory_equal(one_ids, more_ids, sizeof one_ids);
        }
    }
    free(one);
    free(more);
}

/* Square of the difference of a row, and of `want` around its mean. */
static void row_power(const struct golden *g, const float *got, const float *want,
                      double *diff, double *power)
{
    double mean = 0;

    *diff = *power = 0;
    for (size_t i = 0; i < g->n_vocab; i++)
        mean += want[i] / (double)g->n_vocab;
    for (size_t i = 0; i < g->n_vocab; i++) {
        *diff += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        *power += (want[i] - mean) * (want[i] - mean);
    }
}

/* Root mean square of the difference, relative to that of `want` around its row mean. Of
 * a mixture of experts the median over the rows: a rounding may send a token to another
 * expert, and that row then differs as a whole; rows that see it differ a little, so that
 * bounds are twice as wide. */
static double relative_rms(const struct golden *g, const float *x, const float *want)
{
    double rows[GOLDEN_MAX_TOKENS], diff = 0, power = 0;
    for (size_t r = 0; r < g->n_tokens; r++) {
        double row_diff, row_want;
        row_power(g, x + r * g->n_vocab, want + r * g->n_vocab, &row_diff, &row_want);
        rows[r] = sqrt(row_diff / row_want);
        diff += row_diff;
        power += row_want;
    }
    if (!g->is_moe)
        return sqrt(diff / power);
    erne_sort_doubles(rows, g->n_tokens);
    return rows[g->n_tokens / 2];
}

/* Codes keep 7 bits of a head's largest key or value, or four bits after a rotation. */
static void test_quantised_cache(void **state)
{
    static const struct {
        const char *type;
        double bound;
    } types[] = { { "q8", 3e-2 }, { "q4", 0.4 } };
    const struct golden *g = *state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const struct setup setup = { "f32", "auto", "auto", types[i].type, 2, 5 };
        float *logits = run(g, &setup);
        assert_non_null(logits);
        const double relative = relative_rms(g, logits, g->logits);
        print_message("%s: relative RMS %.3g\n", types[i].type, relative);
        assert_true(relative <= types[i].bound);
        free(logits);
    }
}

/* The CPU quantises activations, the reference does not: a model of a few layers may
 * differ by a few times the 1 % that an operator may. */
static void test_quantised_weights(void **state)
{
    const struct golden *g = *state;
    for (size_t s = FIRST_QUANTISED; s < N_SCHEMES; s++) {
        struct setup setup = machines[0];
        setup.scheme = schemes[s];
        float *want = run(g, &setup);
        assert_non_null(want);
        for (size_t m = 1; m < N_MACHINES; m++) {
            setup = machines[m];
            setup.scheme = schemes[s];
            float *logits = run(g, &setup);
            if (!logits)
                continue;
            const double rms = relative_rms(g, logits, want);
            print_message("%s %s: relative RMS %.3g\n", setup.scheme, setup.isa, rms);
            assert_true(rms <= (g->is_moe ? 0.06 : 0.03));
            free(logits);
        }
        free(want);
    }
}

/* Fewer bits may cost accuracy, but not more than their number explains. */
static void test_quantisation_error(void **state)
{
    static const struct {
        const char *scheme;
        double max_rms;
    } bounds[] = { { "w8", 0.03 }, { "w4", 0.5 } };
    const struct golden *g = *state;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        struct setup setup = machines[0];
        setup.scheme = bounds[i].scheme;
        float *logits = run(g, &setup);
        assert_non_null(logits);
        const double rms = relative_rms(g, logits, g->logits);
        print_message("%s: relative RMS to f32 %.3g\n", setup.scheme, rms);
        assert_true(rms <= (g->is_moe ? 2 : 1) * bounds[i].max_rms);
        free(logits);
    }
}

int main(int argc, char **argv)
{
    struct golden g;
    if (!golden_begin(&g, argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_convert, &g),
        cmocka_unit_test_prestate(test_f32_weights, &g),
        cmocka_unit_test_prestate(test_source_weights, &g),
        cmocka_unit_test_prestate(test_f16_cache, &g),
        cmocka_unit_test_prestate(test_quantised_cache, &g),
        cmocka_unit_test_prestate(test_last_rows, &g),
        cmocka_unit_test_prestate(test_rewind, &g),
        cmocka_unit_test_prestate(test_threads, &g),
        cmocka_unit_test_prestate(test_quantised_weights, &g),
        cmocka_unit_test_prestate(test_quantisation_error, &g),
    };
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_deinit(&g);
    return n_failed;
}
