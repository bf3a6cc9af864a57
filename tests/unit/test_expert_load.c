/* test_expert_load.c -- what is counted of a mixture's routers, and of the memory that
 * devices hold: on the reference, and on a device with memory of its own
 * (tests/support/shadow.h), where both say the same. */
#include "tests/support/unit.h"

#include <math.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/engine.h"
#include "runtime/session.h"
#include "tests/support/shadow.h"
#include "tests/support/tiny_model.h"

#define MOE_MODEL "test_expert_load.moe.erne"
#define VL_MODEL  "test_expert_load.vl.erne"

enum { N_TOKENS = 37, MAX_LOADS = 32 };

static int setup(void **state)
{
    (void)state;
    return tiny_model_convert(MOE_MODEL, ERNE_TEST_GOLDEN "/moe", "w8", NULL) < 0 ||
           tiny_model_convert(VL_MODEL, ERNE_TEST_GOLDEN "/vl", "w8", NULL) < 0;
}

static int teardown(void **state)
{
    (void)state;
    pf_path_remove(MOE_MODEL);
    return pf_path_remove(VL_MODEL);
}

static struct erne_engine *open_on(const char *path, const char *backend,
                                   struct shadow_config *config)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *engine = NULL;
    struct erne_error err = { 0 };

    opts.backend = backend;
    if (erne_engine_open_on(&engine, path, &opts, shadow_backends, config, &err) < 0)
        fail_msg("%s", err.text);
    return engine;
}

struct loads {
    struct erne_expert_load items[MAX_LOADS];
    int n;
};

static int keep(void *user, const struct erne_expert_load *load)
{
    struct loads *loads = user;

    assert_true(loads->n < MAX_LOADS);
    loads->items[loads->n++] = *load;
    return 0;
}

/* Whether memory is as new where a phase leaves logits, if no device does. */
static bool has_no_logits(const struct erne_phase *phase)
{
    const struct erne_tensor *t = phase->max_tokens > 0 ? phase->io.logits : NULL;
    size_t n = 0;

    for (size_t i = 0; t && i < t->n_bytes; i++)
        n += ((const uint8_t *)t->data)[i] != 0;
    return n == 0;
}

/* Of n different tokens, in steps of n_batch. */
static struct loads measure(struct erne_engine *engine, size_t n, int n_batch)
{
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *session = NULL;
    struct erne_error err = { 0 };
    struct loads loads = { .n = 0 };
    int32_t tokens[N_TOKENS];

    for (int32_t i = 0; i < N_TOKENS; i++)
        tokens[i] = 10 + i;
    opts.n_ctx = 2 * N_TOKENS;
    opts.n_batch = n_batch;
    opts.kv_type = "f32";
    if (erne_session_create(&session, engine, &opts, &err) < 0 ||
        erne_session_expert_load(session, tokens, n, keep, &loads, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(erne_session_n_past(session), n);
    assert_null(erne_session_logits(session));
    assert_true(erne_backend_is_device(engine->backends[ERNE_PHASE_PREFILL][0]) ||
                (has_no_logits(&session->prefill) && has_no_logits(&session->decode)));
    /* Nobody watches any more. */
    assert_int_equal(erne_session_eval(session, tokens, 1, NULL, &err), 0);
    assert_non_null(erne_session_logits(session));
    erne_session_destroy(&session);
    return loads;
}

/* One token takes n_used experts, all of them alike. */
static void one_token(void **state)
{
    struct erne_engine *engine = open_on(MOE_MODEL, "reference", NULL);
    const struct loads loads = measure(engine, 1, 8);
    const struct erne_moe_desc *moe = &engine->file.desc.moe;

    (void)state;
    assert_int_equal(loads.n, moe->last - moe->first + 1);
    for (int i = 0; i < loads.n; i++) {
        const struct erne_expert_load *l = &loads.items[i];

        assert_int_equal(l->layer, moe->first + i);
        assert_int_equal(l->bank, 0);
        assert_int_equal(l->n_tokens, 1);
        assert_int_equal(l->n_used, moe->n_used);
        assert_int_equal(l->n_experts, moe->n_experts);
        assert_int_equal(l->n_seen, moe->n_used);
        assert_true(l->busiest == 1);
        assert_true(fabs(l->entropy - log(moe->n_used) / log(moe->n_experts)) < 1e-12);
    }
    erne_engine_close(&engine);
}

/* More tokens, in whatever steps: single ones run by another plan. */
static void steps_do_not_matter(void **state)
{
    static const int batches[] = { 1, 4, 64 }; /* 37 = 9 * 4 + 1 */
    struct erne_engine *engine = open_on(MOE_MODEL, "reference", NULL);
    const struct loads whole = measure(engine, N_TOKENS, 128);

    (void)state;
    for (size_t b = 0; b < ERNE_ARRAY_LEN(batches); b++) {
        const struct loads part = measure(engine, N_TOKENS, batches[b]);

        assert_memory_equal(&part, &whole, sizeof(whole));
    }
    for (int i = 0; i < whole.n; i++) {
        const struct erne_expert_load *l = &whole.items[i];
        const double even = (double)l->n_used / l->n_experts;

        assert_int_equal(l->n_tokens, N_TOKENS);
        assert_in_range(l->n_seen, l->n_used, l->n_experts);
        assert_true(l->busiest >= even && l->busiest <= 1);
        assert_true(l->entropy > 0 && l->entropy <= 1);
        assert_true((l->n_seen < l->n_experts) <= (l->entropy < 1));
    }
    erne_engine_close(&engine);
}

/* What the host sees of a device's memory is not what the router chose. */
static void on_a_device(void **state)
{
    struct shadow_config config = { 0 };
    struct erne_engine *engine = open_on(MOE_MODEL, "reference", NULL);
    const struct loads wanted = measure(engine, N_TOKENS, 8);
    struct loads got;
    struct erne_device_memory memory;

    (void)state;
    erne_engine_device_memory(engine, &memory);
    assert_int_equal(memory.own_bytes + memory.shared_bytes, 0);
    erne_engine_close(&engine);
    engine = open_on(MOE_MODEL, "shadow", &config);
    got = measure(engine, N_TOKENS, 8);
    assert_memory_equal(&got, &wanted, sizeof(got));
    /* All weights were there, and nothing is left. */
    erne_engine_device_memory(engine, &memory);
    assert_int_equal(config.n_bytes, 0);
    assert_true(memory.own_bytes > engine->info.n_bytes);
    assert_int_equal(memory.shared_bytes, 0);
    erne_engine_close(&engine);
    assert_string_equal(config.breach, "");
}

/* Experts of pictures get none of a text's tokens. */
static void banks(void **state)
{
    struct erne_engine *engine = open_on(VL_MODEL, "reference", NULL);
    const struct loads loads = measure(engine, N_TOKENS, 64);

    (void)state;
    assert_true(loads.n > 0);
    for (int i = 0; i < loads.n; i++)
        assert_int_equal(loads.items[i].bank, 0);
    erne_engine_close(&engine);
}

static int stop(void *user, const struct erne_expert_load *load)
{
    (void)user;
    (void)load;
    return 7;
}

static void bad_calls(void **state)
{
    struct shadow_config config = { 0 };
    struct erne_engine *engine = open_on(MOE_MODEL, "shadow", &config);
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *session = NULL;
    struct erne_error err;
    const int32_t token = 3, none = -1;

    (void)state;
    opts.n_ctx = 16;
    opts.n_batch = 4;
    assert_int_equal(erne_session_create(&session, engine, &opts, &err), 0);
    assert_int_equal(erne_session_expert_load(session, &token, 1, stop, NULL, &err), 7);
    assert_int_equal(erne_session_expert_load(session, &none, 1, stop, NULL, &err),
                     ERNE_EINVAL);
    config.fail_call = SHADOW_DOWNLOAD;
    config.fail_at = config.n_calls[SHADOW_DOWNLOAD] + 1;
    config.fail_status = ERNE_EFAIL;
    assert_int_equal(erne_session_expert_load(session, &token, 1, stop, NULL, &err),
                     ERNE_EFAIL);
    assert_non_null(strstr(err.text, "what experts take"));
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_token),   cmocka_unit_test(steps_do_not_matter),
        cmocka_unit_test(on_a_device), cmocka_unit_test(banks),
        cmocka_unit_test(bad_calls),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
