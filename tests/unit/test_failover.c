/* test_failover.c -- a device is lost at every call that it can be lost at: the session
 * goes on, with the very logits of a run without a device, and nothing leaks.
 *
 * The device is the stand-in of tests/support/shadow.h, which computes as the reference
 * does. Pictures and guesses are in tests/models/test_devices.c.
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/engine.h"
#include "tests/support/shadow.h"
#include "tests/support/tiny_model.h"

#define MODEL "test_failover.erne"
enum { N_TOKENS = 24, MAX_VOCAB = 1024 };

static const size_t pieces[] = { 9, 1, 1, 5, 1, 7 };

struct fixture {
    int n_vocab;
    int32_t tokens[N_TOKENS];
    float *want; /* [N_TOKENS, n_vocab] */
    int n_warnings, n_of_memory;
};

static void count_warnings(void *user, enum erne_log_level level, const char *line)
{
    if (level == ERNE_LOG_WARN && strstr(line, "shadow:"))
        ((struct fixture *)user)->n_warnings++;
    if (level == ERNE_LOG_WARN && strstr(line, "shadow has no memory"))
        ((struct fixture *)user)->n_of_memory++;
}

static struct erne_engine *engine_open(struct fixture *f, const char *backend,
                                       bool fallback, struct shadow_config *config)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *e = NULL;
    struct erne_error err = { 0 };

    opts.backend = backend;
    opts.fallback = fallback;
    opts.log = count_warnings;
    opts.log_user = f;
    f->n_warnings = f->n_of_memory = 0;
    if (erne_engine_open_on(&e, MODEL, &opts, shadow_backends, config, &err) < 0)
        fail_msg("%s", err.text);
    return e;
}

static int session_create(struct erne_session **s, struct erne_engine *e)
{
    struct erne_session_opts opts = erne_session_opts_default();

    opts.n_ctx = 64;
    opts.n_batch = 8;
    return erne_session_create(s, e, &opts, NULL);
}

/* All tokens in pieces, into logits [N_TOKENS, n_vocab]; the status of the first call
 * that fails. */
static int eval_all(const struct fixture *f, struct erne_session *s, float *logits)
{
    struct erne_error err = { 0 };
    size_t at = 0;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(pieces); at += pieces[i++]) {
        const int st = erne_session_eval(s, f->tokens + at, pieces[i],
                                         logits + at * (size_t)f->n_vocab, &err);

        if (st < 0) {
            assert_int_equal(erne_session_n_past(s), at);
            assert_int_equal(err.status, st);
            return st;
        }
        assert_int_equal(err.status, 0);
        assert_memory_equal(erne_session_logits(s),
                            logits + (at + pieces[i] - 1) * (size_t)f->n_vocab,
                            (size_t)f->n_vocab * sizeof(float));
    }
    return 0;
}

static void check_closed(const struct shadow_config *config)
{
    assert_int_equal(config->n_open, 0);
    assert_int_equal(config->n_ranges, 0);
    assert_int_equal(config->n_nodes, 0);
    assert_string_equal(config->breach, "");
}

/* A whole conversation; the status of the session or of the first call that failed. */
static int converse(struct fixture *f, const char *backend, bool fallback,
                    struct shadow_config *config, float *logits)
{
    struct erne_engine *e = engine_open(f, backend, fallback, config);
    struct erne_session *s = NULL;
    int st = session_create(&s, e);

    if (st == 0)
        st = eval_all(f, s, logits);
    erne_session_destroy(&s);
    erne_engine_close(&e);
    check_closed(config);
    return st;
}

static float *logits_new(const struct fixture *f)
{
    float *logits = calloc((size_t)(N_TOKENS * f->n_vocab), sizeof(float));

    assert_non_null(logits);
    return logits;
}

static int setup(void **state)
{
    static struct fixture f;
    const struct erne_model_desc desc = tiny_model_desc();
    struct shadow_config config = { 0 };
    struct erne_error err;

    f.n_vocab = desc.n_vocab;
    for (int i = 0; i < N_TOKENS; i++)
        f.tokens[i] = (i * 37 + 11) % desc.n_vocab;
    pf_path_remove(MODEL);
    if (tiny_model_write(MODEL, &desc, "w8", 7, &err) < 0)
        return -1;
    f.want = logits_new(&f);
    *state = &f;
    return converse(&f, "reference", true, &config, f.want);
}

static int teardown(void **state)
{
    free(((struct fixture *)*state)->want);
    return pf_path_remove(MODEL);
}

/* ----------------------------------------------------------------- tests */

static const enum shadow_call calls[] = { SHADOW_PREPARE, SHADOW_SCRATCH,  SHADOW_MAP,
                                          SHADOW_UPLOAD,  SHADOW_DOWNLOAD, SHADOW_RUN };

/* Calls of each kind that a conversation makes when all goes well. */
static void count_calls(struct fixture *f, const char *backend,
                        uint64_t n[SHADOW_CALL_COUNT])
{
    struct shadow_config config = { 0 };
    float *logits = logits_new(f);

    assert_int_equal(converse(f, backend, true, &config, logits), 0);
    assert_int_equal(f->n_warnings, 0);
    memcpy(n, config.n_calls, sizeof(config.n_calls));
    free(logits);
}

static void lost_anywhere(void **state)
{
    static const char *const backends[] = { "shadow", "prefill=shadow", "decode=shadow:1",
                                            "prefill=shadow,decode=shadow:1" };
    struct fixture *f = *state;
    float *logits = logits_new(f);

    for (size_t b = 0; b < ERNE_ARRAY_LEN(backends); b++) {
        uint64_t n_calls[SHADOW_CALL_COUNT];

        count_calls(f, backends[b], n_calls);
        for (size_t c = 0; c < ERNE_ARRAY_LEN(calls); c++)
            for (uint64_t n = 1; n <= n_calls[calls[c]]; n++) {
                struct shadow_config config = { .fail_call = calls[c],
                                                .fail_at = n,
                                                .fail_status = ERNE_EDEVICE };

                memset(logits, 0, (size_t)(N_TOKENS * f->n_vocab) * sizeof(float));
                assert_int_equal(converse(f, backends[b], true, &config, logits), 0);
                assert_true(config.is_lost);
                assert_in_range(f->n_warnings, 1, 2);
                assert_memory_equal(logits, f->want,
                                    (size_t)(N_TOKENS * f->n_vocab) * sizeof(float));
            }
    }
    free(logits);
}

/* Without a fallback the caller hears of it, every time. */
static void lost_for_good(void **state)
{
    struct fixture *f = *state;
    struct shadow_config config = { .fail_call = SHADOW_RUN,
                                    .fail_at = 3,
                                    .fail_status = ERNE_EDEVICE };
    struct erne_engine *e = engine_open(f, "shadow", false, &config);
    struct erne_session *s = NULL, *other = NULL;
    struct erne_error err = { 0 };
    float *logits = logits_new(f);

    assert_int_equal(session_create(&s, e), 0);
    assert_int_equal(eval_all(f, s, logits), ERNE_EDEVICE);
    assert_int_equal(erne_session_eval(s, f->tokens, 1, NULL, &err), ERNE_EDEVICE);
    assert_string_equal(err.text, "shadow:0: device lost");
    assert_int_equal(session_create(&other, e), ERNE_EDEVICE);
    assert_int_equal(f->n_warnings, 1);
    erne_session_destroy(&s);
    erne_engine_close(&e);
    check_closed(&config);
    free(logits);
}

/* One session loses the device, the other finds out later; new ones do without. */
static void lost_for_all(void **state)
{
    struct fixture *f = *state;
    struct shadow_config config = { 0 };
    struct erne_engine *e = engine_open(f, "shadow", true, &config);
    struct erne_session *a = NULL, *b = NULL, *c = NULL;
    const size_t n_bytes = (size_t)(N_TOKENS * f->n_vocab) * sizeof(float);
    float *logits = logits_new(f);
    uint64_t n_runs;

    assert_int_equal(session_create(&a, e), 0);
    assert_int_equal(session_create(&b, e), 0);
    assert_int_equal(erne_session_eval(b, f->tokens, 9, logits, NULL), 0);
    assert_int_equal(erne_session_rewind(b, 3, NULL), 0);
    assert_int_equal(erne_session_rewind(b, 0, NULL), 0);
    config.fail_call = SHADOW_RUN;
    config.fail_at = config.n_calls[SHADOW_RUN] + 2;
    config.fail_status = ERNE_EDEVICE;
    assert_int_equal(eval_all(f, a, logits), 0);
    assert_memory_equal(logits, f->want, n_bytes);
    n_runs = config.n_calls[SHADOW_RUN];
    memset(logits, 0, n_bytes);
    assert_int_equal(eval_all(f, b, logits), 0);
    assert_memory_equal(logits, f->want, n_bytes);
    assert_int_equal(session_create(&c, e), 0);
    assert_int_equal(eval_all(f, c, logits), 0);
    assert_int_equal(config.n_calls[SHADOW_RUN], n_runs);
    assert_int_equal(f->n_warnings, 1);
    erne_session_destroy(&a);
    erne_session_destroy(&b);
    erne_session_destroy(&c);
    erne_engine_close(&e);
    check_closed(&config);
    free(logits);
}

/* Calls to copy that one more token costs. */
static uint64_t copies_of_a_token(const struct fixture *f, struct erne_session *s,
                                  const struct shadow_config *config)
{
    const uint64_t before =
        config->n_calls[SHADOW_UPLOAD] + config->n_calls[SHADOW_DOWNLOAD];

    assert_int_equal(erne_session_eval(s, f->tokens, 1, NULL, NULL), 0);
    return config->n_calls[SHADOW_UPLOAD] + config->n_calls[SHADOW_DOWNLOAD] - before;
}

/* Keys and values follow who computes, once: the first token after a prompt that another
 * backend had pays for them, those behind it do not. */
static void state_moves_once(void **state)
{
    static const char *const backends[] = { "prefill=shadow,decode=reference",
                                            "prefill=reference,decode=shadow",
                                            "prefill=shadow,decode=shadow:1", "shadow" };
    struct fixture *f = *state;

    for (size_t b = 0; b < ERNE_ARRAY_LEN(backends); b++) {
        struct shadow_config config = { 0 };
        struct erne_engine *e = engine_open(f, backends[b], true, &config);
        struct erne_session *s = NULL;
        uint64_t first, second;

        assert_int_equal(session_create(&s, e), 0);
        assert_int_equal(erne_session_eval(s, f->tokens, 8, NULL, NULL), 0);
        first = copies_of_a_token(f, s, &config);
        second = copies_of_a_token(f, s, &config);
        if (strcmp(backends[b], "shadow") == 0)
            assert_int_equal(first, second);
        else
            assert_true(first > second);
        if (b == 0)
            assert_int_equal(second, 0);
        assert_int_equal(copies_of_a_token(f, s, &config), second);
        erne_session_destroy(&s);
        erne_engine_close(&e);
        check_closed(&config);
    }
}

/* Memory that a device lacks is no loss: what does not fit is computed elsewhere. */
static void too_little_memory(void **state)
{
    struct fixture *f = *state;
    float *logits = logits_new(f);
    size_t n_all, n_runs = 0;
    struct shadow_config config = { 0 };
    struct erne_engine *e = engine_open(f, "shadow", true, &config);
    struct erne_session *s = NULL;

    assert_int_equal(session_create(&s, e), 0);
    n_all = config.n_bytes;
    erne_session_destroy(&s);
    erne_engine_close(&e);
    for (size_t part = 0; part <= 16; part++) {
        config = (struct shadow_config){ .max_bytes = 1 + n_all * part / 16 };
        assert_int_equal(converse(f, "shadow", true, &config, logits), 0);
        assert_int_equal(f->n_of_memory > 0, part < 16); /* and it is said */
        assert_memory_equal(logits, f->want,
                            (size_t)(N_TOKENS * f->n_vocab) * sizeof(float));
        n_runs = config.n_calls[SHADOW_RUN];
    }
    assert_true(n_runs > 0);
    free(logits);
}

/* An allocation that fails at any call: the session goes on, and the host computes a
 * node, or all, in the device's place. */
static void no_memory_anywhere(void **state)
{
    struct fixture *f = *state;
    float *logits = logits_new(f);
    uint64_t n_calls[SHADOW_CALL_COUNT];

    count_calls(f, "shadow", n_calls);
    for (size_t c = 0; c < ERNE_ARRAY_LEN(calls); c++)
        for (uint64_t n = 1; n <= n_calls[calls[c]]; n++) {
            struct shadow_config config = { .fail_call = calls[c],
                                            .fail_at = n,
                                            .fail_status = ERNE_ENOMEM };

            memset(logits, 0, (size_t)(N_TOKENS * f->n_vocab) * sizeof(float));
            assert_int_equal(converse(f, "shadow", true, &config, logits), 0);
            assert_in_range(f->n_warnings, 0, 1);
            assert_memory_equal(logits, f->want,
                                (size_t)(N_TOKENS * f->n_vocab) * sizeof(float));
        }
    free(logits);
}

/* Without a fallback a failed allocation while a step runs is the caller's to hear; the
 * context stays as it was, and the next try works. */
static void failed_allocation(void **state)
{
    struct fixture *f = *state;
    static const enum shadow_call during[] = { SHADOW_UPLOAD, SHADOW_RUN,
                                               SHADOW_DOWNLOAD };
    float *logits = logits_new(f);

    for (size_t c = 0; c < ERNE_ARRAY_LEN(during); c++) {
        struct shadow_config config = { 0 };
        struct erne_engine *e = engine_open(f, "prefill=shadow", false, &config);
        struct erne_session *s = NULL;

        assert_int_equal(session_create(&s, e), 0);
        config.fail_call = during[c];
        config.fail_at = config.n_calls[during[c]] + 3;
        config.fail_status = ERNE_ENOMEM;
        assert_int_equal(eval_all(f, s, logits), ERNE_ENOMEM);
        assert_int_equal(erne_session_rewind(s, 0, NULL), 0);
        assert_int_equal(eval_all(f, s, logits), 0);
        assert_memory_equal(logits, f->want,
                            (size_t)(N_TOKENS * f->n_vocab) * sizeof(float));
        erne_session_destroy(&s);
        erne_engine_close(&e);
        check_closed(&config);
    }
    free(logits);
}

/* Cancelled while the context is evaluated again: the next call begins that anew. */
static void cancelled_while_renewing(void **state)
{
    struct fixture *f = *state;
    struct shadow_config config = { 0 };
    struct erne_engine *e = engine_open(f, "shadow", true, &config);
    struct erne_session *s = NULL;
    const size_t n_vocab = (size_t)f->n_vocab;
    float *logits = logits_new(f);

    assert_int_equal(session_create(&s, e), 0);
    assert_int_equal(erne_session_eval(s, f->tokens, 9, logits, NULL), 0);
    config.fail_call = SHADOW_UPLOAD; /* before the step looks whether to stop */
    config.fail_at = config.n_calls[SHADOW_UPLOAD] + 1;
    config.fail_status = ERNE_EDEVICE;
    erne_session_cancel(s);
    assert_int_equal(erne_session_eval(s, f->tokens + 9, 1, NULL, NULL), ERNE_ECANCELLED);
    assert_int_equal(erne_session_n_past(s), 9);
    for (size_t t = 9; t < N_TOKENS; t++)
        assert_int_equal(
            erne_session_eval(s, f->tokens + t, 1, logits + t * n_vocab, NULL), 0);
    assert_memory_equal(logits, f->want, N_TOKENS * n_vocab * sizeof(float));
    erne_session_destroy(&s);
    erne_engine_close(&e);
    check_closed(&config);
    free(logits);
}

static void no_such_device(void **state)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *e = NULL;
    struct erne_error err = { 0 };

    (void)state;
    opts.device = "shadow:2";
    assert_int_equal(erne_engine_open_on(&e, MODEL, &opts, shadow_backends, NULL, &err),
                     ERNE_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "there is no device 2"));
    opts.device = NULL;
    opts.time_limit_ms = -1;
    assert_int_equal(erne_engine_open_on(&e, MODEL, &opts, shadow_backends, NULL, &err),
                     ERNE_EINVAL);
}

/* What computes is named as it is asked for. */
static void backends_are_named(void **state)
{
    static const char *const names[][2] = {
        { "auto", "reference" },
        { "shadow:0", "shadow" },
        { "shadow:1", "shadow:1" },
        { "prefill=shadow:1", "prefill=shadow:1,decode=reference" },
        { "vision=shadow", "reference" }, /* the model has no such phase */
        { "prefill=shadow,decode=shadow:0", "shadow" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++) {
        struct shadow_config config = { 0 };
        struct erne_engine *e = engine_open(f, names[i][0], true, &config);

        assert_string_equal(erne_engine_backend(e), names[i][1]);
        erne_engine_close(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_anywhere),      cmocka_unit_test(lost_for_good),
        cmocka_unit_test(lost_for_all),       cmocka_unit_test(too_little_memory),
        cmocka_unit_test(no_memory_anywhere), cmocka_unit_test(state_moves_once),
        cmocka_unit_test(failed_allocation),  cmocka_unit_test(cancelled_while_renewing),
        cmocka_unit_test(no_such_device),     cmocka_unit_test(backends_are_named),
    };

    return cmocka_run_group_tests_name("failover", tests, setup, teardown);
}
