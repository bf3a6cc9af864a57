/* test_session.c -- engines and sessions on a small random model: the same logits however
 * a context was reached, clean failure, no memory taken a token. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "platforms/platform.h"
#include "runtime/include/erne.h"
#include "runtime/watch.h"
#include "tests/support/tiny_model.h"

#define MODEL "test_session.erne"
enum { N_TOKENS = 150 };

static int32_t tokens[N_TOKENS];
static int n_vocab;

static int write_model(void **state)
{
    const struct erne_model_desc desc = tiny_model_desc();
    struct erne_error err;

    (void)state;
    n_vocab = desc.n_vocab;
    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = (i * 37 + 11) % n_vocab;
    pf_path_remove(MODEL);
    if (tiny_model_write(MODEL, &desc, "f32", 7, &err) == 0)
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int remove_model(void **state)
{
    (void)state;
    return pf_path_remove(MODEL);
}

static struct erne_engine *open_engine(const char *backend, int n_threads)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *e = NULL;
    struct erne_error err = { 0 };

    opts.backend = backend;
    opts.n_threads = n_threads;
    if (erne_engine_open(&e, MODEL, &opts, &err) < 0)
        fail_msg("%s", err.text);
    return e;
}

static struct erne_session *open_session(struct erne_engine *e, int n_ctx, int n_batch)
{
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *s = NULL;
    struct erne_error err = { 0 };

    opts.n_ctx = n_ctx;
    opts.n_batch = n_batch;
    opts.kv_type = "f32";
    if (erne_session_create(&s, e, &opts, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

/* Logits of the first N_TOKENS tokens in batches of n_batch: [N_TOKENS, n_vocab]. */
static float *all_logits(struct erne_engine *e, int n_batch)
{
    float *logits = calloc((size_t)(N_TOKENS * n_vocab), sizeof(float));
    struct erne_session *s = open_session(e, 256, n_batch);
    struct erne_error err;

    assert_non_null(logits);
    assert_int_equal(erne_session_eval(s, tokens, N_TOKENS, logits, &err), 0);
    assert_memory_equal(erne_session_logits(s), logits + (N_TOKENS - 1) * n_vocab,
                        (size_t)n_vocab * sizeof(float));
    erne_session_destroy(&s);
    return logits;
}

static float largest_difference(const float *a, const float *b)
{
    float most = 0.0f;

    for (int i = 0; i < N_TOKENS * n_vocab; i++) {
        const float d = a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];

        most = d > most ? d : most;
    }
    return most;
}

static void chunks_do_not_matter(void **state)
{
    static const int batches[] = { 1, 7, 64, 150 };
    struct erne_engine *e = open_engine("auto", 1);
    float *whole = all_logits(e, 256);

    (void)state;
    for (size_t i = 0; i < sizeof(batches) / sizeof(*batches); i++) {
        float *part = all_logits(e, batches[i]);

        assert_true(largest_difference(whole, part) < 1e-4f);
        free(part);
    }
    free(whole);
    erne_engine_close(&e);
}

static void backends_agree(void **state)
{
    struct erne_engine *ref = open_engine("reference", 1), *e = open_engine("auto", 2);
    float *a = all_logits(ref, 64), *b = all_logits(e, 64);

    (void)state;
    assert_true(largest_difference(a, b) < 1e-4f);
    free(a);
    free(b);
    erne_engine_close(&ref);
    erne_engine_close(&e);
}

static void threads_do_not_matter(void **state)
{
    struct erne_engine *one = open_engine("auto", 1), *three = open_engine("auto", 3);

    (void)state;
    for (int n_batch = 1; n_batch <= 150; n_batch += 149) {
        float *a = all_logits(one, n_batch), *b = all_logits(three, n_batch);

        assert_memory_equal(a, b, (size_t)(N_TOKENS * n_vocab) * sizeof(float));
        free(a);
        free(b);
    }
    erne_engine_close(&one);
    erne_engine_close(&three);
}

static void rewind_equals_fresh(void **state)
{
    struct erne_engine *e = open_engine("auto", 1);
    struct erne_session *s = open_session(e, 256, 32);
    float *fresh = all_logits(e, 32);
    struct erne_error err;

    (void)state;
    assert_int_equal(erne_session_eval(s, tokens, 96, NULL, &err), 0);
    assert_int_equal(erne_session_eval(s, tokens, 96, NULL, &err), 0);
    assert_int_equal(erne_session_rewind(s, 64, &err), 0);
    assert_null(erne_session_logits(s));
    assert_int_equal(erne_session_n_past(s), 64);
    assert_int_equal(erne_session_eval(s, tokens + 64, N_TOKENS - 64, NULL, &err), 0);
    for (int i = 0; i < n_vocab; i++)
        assert_float_equal(erne_session_logits(s)[i], fresh[(N_TOKENS - 1) * n_vocab + i],
                           1e-4);
    assert_int_equal(erne_session_rewind(s, N_TOKENS + 1, &err), ERNE_EINVAL);
    free(fresh);
    erne_session_destroy(&s);
    erne_engine_close(&e);
}

static void failure_leaves_the_context(void **state)
{
    struct erne_engine *e = open_engine("auto", 1);
    struct erne_session *s = open_session(e, 100, 32);
    const int32_t bad[] = { 1, 2, n_vocab };
    struct erne_error err;

    (void)state;
    assert_int_equal(erne_session_eval(s, tokens, 60, NULL, &err), 0);
    assert_int_equal(erne_session_eval(s, tokens, 41, NULL, &err), ERNE_ECONTEXT);
    assert_non_null(strstr(err.text, "context length exceeded"));
    assert_int_equal(erne_session_eval(s, bad, 3, NULL, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "token 2"));
    assert_int_equal(erne_session_eval(s, tokens, 0, NULL, &err), ERNE_EINVAL);
    erne_session_cancel(s);
    assert_int_equal(erne_session_eval(s, tokens, 10, NULL, &err), ERNE_ECANCELLED);
    assert_int_equal(erne_session_n_past(s), 60);
    assert_int_equal(erne_session_eval(s, tokens, 40, NULL, &err), 0);
    assert_int_equal(erne_session_n_past(s), 100);
    erne_session_destroy(&s);
    erne_engine_close(&e);
}

static bool give_up_at_the_end(void *user)
{
    int *n_left = user;

    return --*n_left == 0;
}

/* Asked before every operator, an engine stops at the first yes; nothing of it stays, and
 * with no more of it the results are those of engines that nobody stopped. */
static void an_engine_asks(void **state)
{
    struct erne_engine *e = open_engine("auto", 2);
    struct erne_session *s = open_session(e, 100, 32);
    struct erne_error err;
    float *want = malloc((size_t)n_vocab * sizeof(*want));
    int n_left = INT_MAX, n_asked;

    (void)state;
    assert_non_null(want);
    assert_int_equal(erne_session_eval(s, tokens, 40, NULL, &err), 0);
    memcpy(want, erne_session_logits(s), (size_t)n_vocab * sizeof(*want));
    assert_int_equal(erne_session_rewind(s, 0, &err), 0);
    erne_engine_set_ask(e, (struct erne_ask){ give_up_at_the_end, &n_left });
    assert_int_equal(erne_session_eval(s, tokens, 40, NULL, &err), 0);
    assert_memory_equal(erne_session_logits(s), want, (size_t)n_vocab * sizeof(*want));
    n_asked = INT_MAX - n_left;
    assert_true(n_asked > 10);
    for (int at = 1; at <= n_asked; at += n_asked / 5) {
        assert_int_equal(erne_session_rewind(s, 0, &err), 0);
        n_left = at;
        assert_int_equal(erne_session_eval(s, tokens, 40, NULL, &err), ERNE_ECANCELLED);
        assert_int_equal(n_left, 0); /* not asked again */
        assert_int_equal(erne_session_n_past(s), 0);
    }
    free(want);
    erne_session_destroy(&s);
    erne_engine_close(&e);
}

static void options_are_checked(void **state)
{
    struct erne_engine *e = open_engine("auto", 1), *none = NULL;
    struct erne_engine_opts eo = erne_engine_opts_default();
    struct erne_session_opts so = erne_session_opts_default();
    struct erne_session *s = NULL;
    struct erne_error err;
    int32_t id;

    (void)state;
    eo.backend = "abacus";
    assert_int_equal(erne_engine_open(&none, MODEL, &eo, &err), ERNE_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "abacus"));
    eo = erne_engine_opts_default();
    assert_int_equal(erne_engine_open(&none, "no such.erne", &eo, &err), ERNE_EIO);
    assert_non_null(strstr(err.text, "no such.erne"));
    eo.n_threads = -1;
    assert_int_equal(erne_engine_open(&none, MODEL, &eo, &err), ERNE_EINVAL);
    eo.n_threads = 5000;
    assert_int_equal(erne_engine_open(&none, MODEL, &eo, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "5000 threads"));
    so.kv_type = "q3";
    assert_int_equal(erne_session_create(&s, e, &so, &err), ERNE_EINVAL);
    so = erne_session_opts_default();
    so.n_ctx = 513;
    assert_int_equal(erne_session_create(&s, e, &so, &err), ERNE_EINVAL);
    so.n_ctx = 0;
    so.n_batch = -1;
    assert_int_equal(erne_session_create(&s, e, &so, &err), ERNE_EINVAL);
    so = erne_session_opts_default();
    so.sampling.top_p = 2.0f;
    assert_int_equal(erne_session_create(&s, e, &so, &err), ERNE_EINVAL);
    s = open_session(e, 64, 8);
    assert_int_equal(erne_session_sample(s, &id, &err), ERNE_EINVAL);
    erne_session_destroy(&s);
    erne_engine_close(&e);
    erne_engine_close(&e);
    erne_session_destroy(NULL);
}

struct user {
    struct erne_engine *engine;
    float last[128];
};

static void evaluate(void *arg)
{
    struct user *u = arg;
    struct erne_session *s = open_session(u->engine, 256, 16);

    for (int i = 0; i < N_TOKENS; i += 10)
        if (erne_session_eval(s, tokens + i, 10, NULL, NULL) < 0)
            return;
    memcpy(u->last, erne_session_logits(s), (size_t)n_vocab * sizeof(float));
    erne_session_destroy(&s);
}

static void sessions_share_an_engine(void **state)
{
    struct erne_engine *e = open_engine("auto", 2);
    struct user a = { .engine = e }, b = { .engine = e };
    struct pf_thread *ta, *tb;

    (void)state;
    assert_int_equal(pf_thread_create(&ta, evaluate, &a), 0);
    assert_int_equal(pf_thread_create(&tb, evaluate, &b), 0);
    pf_thread_join(&ta);
    pf_thread_join(&tb);
    assert_memory_equal(a.last, b.last, (size_t)n_vocab * sizeof(float));
    assert_true(a.last[0] != 0.0f);
    erne_engine_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_do_not_matter),
        cmocka_unit_test(backends_agree),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(rewind_equals_fresh),
        cmocka_unit_test(failure_leaves_the_context),
        cmocka_unit_test(an_engine_asks),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(sessions_share_an_engine),
    };

    return cmocka_run_group_tests(tests, write_model, remove_model);
}
