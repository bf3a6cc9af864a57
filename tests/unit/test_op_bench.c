/* test_op_bench.c -- operators of a model, alone: each is compared with the reference,
 * and a device that computes wrongly, or declines, shows (tests/support/shadow.h). */
#include "tests/support/unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/engine.h"
#include "tests/support/shadow.h"
#include "tests/support/tiny_model.h"

static const char path[] = "test_op_bench.erne";
static const char moe_path[] = "test_op_bench.moe.erne";

static int setup(void **state)
{
    const struct erne_model_desc desc = tiny_model_desc();

    (void)state;
    return tiny_model_write(path, &desc, "w4-g32", 5, NULL) < 0 ||
           tiny_model_convert(moe_path, ERNE_TEST_GOLDEN "/moe", "w8", NULL) < 0;
}

static struct erne_engine *open_on(const char *backend, struct shadow_config *config)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *engine = NULL;
    struct erne_error err;

    opts.backend = backend;
    if (config)
        assert_int_equal(
            erne_engine_open_on(&engine, path, &opts, shadow_backends, config, &err), 0);
    else
        assert_int_equal(erne_engine_open(&engine, path, &opts, &err), 0);
    return engine;
}

/* What was told, by operator. */
struct seen {
    int n, n_decode, n_declined, n_by_engine[2];
    double worst, worst_matmul;
    double ns;
};

static int visit(void *user, const struct erne_op_timing *t)
{
    struct seen *seen = user;

    seen->n++;
    seen->n_decode += strcmp(t->phase, "decode") == 0;
    seen->n_declined += t->impl == NULL;
    seen->n_by_engine[t->engine]++;
    seen->ns += t->median_ns;
    assert_true(t->n_uses > 0 && t->n_bytes > 0 && strlen(t->shape) > 0);
    if (!t->impl)
        return 0;
    assert_true(t->low_ns <= t->median_ns && t->median_ns <= t->high_ns);
    if (strcmp(t->op, "matmul") == 0) {
        assert_true(t->n_ops > 0 && t->is_int == (strstr(t->shape, "w4") != NULL));
        seen->worst_matmul = fmax(seen->worst_matmul, t->error);
    }
    seen->worst = fmax(seen->worst, t->error);
    return 0;
}

static struct erne_op_bench_opts quick(void)
{
    struct erne_op_bench_opts opts = erne_op_bench_opts_default();

    opts.n_prefill = 6;
    opts.n_past = 9;
    opts.seconds = 0;
    return opts;
}

static struct seen measure(struct erne_engine *const *engines, size_t n,
                           const struct erne_op_bench_opts *opts)
{
    struct seen seen = { 0 };
    struct erne_error err = { 0 };

    if (erne_op_bench(engines, n, opts, visit, &seen, &err) != 0)
        fail_msg("%s", err.text);
    return seen;
}

/* The reference differs from itself by nothing; the CPU by what rounding costs. */
static void test_right(void **state)
{
    struct erne_engine *engines[] = { open_on("auto", NULL), open_on("reference", NULL) };
    const struct erne_op_bench_opts opts = quick();
    const struct seen both = measure(engines, 2, &opts);
    const struct seen alone = measure(engines + 1, 1, &opts);

    (void)state;
    /* A prompt's last layer computes some for one row. */
    assert_true(both.n_decode > 0 && both.n_decode * 2 < both.n);
    assert_int_equal(alone.n * 2, both.n);
    assert_int_equal(both.n_by_engine[0], both.n_by_engine[1]);
    assert_int_equal(both.n_declined, 0);
    assert_true(both.worst < 0.05 && both.ns > 0);
    assert_true(alone.worst == 0);
    erne_engine_close(&engines[0]);
    erne_engine_close(&engines[1]);
}

/* Caches of every type hold numbers, and are compared as such: codes of the CPU may be
 * rounded to their neighbours. */
static void test_kv_types(void **state)
{
    static const char *const types[] = { "f32", "f16", "q8", "q4" };
    struct erne_engine *engines[] = { open_on("auto", NULL), open_on("reference", NULL) };
    struct erne_op_bench_opts opts = quick();

    (void)state;
    opts.check_only = true;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(types); i++) {
        opts.kv_type = types[i];
        assert_true(measure(engines, 1, &opts).worst < 0.05);
        assert_true(measure(engines + 1, 1, &opts).worst == 0);
    }
    erne_engine_close(&engines[0]);
    erne_engine_close(&engines[1]);
}

/* The work of a prefill step's operators, for all its tokens and for its last. */
struct work {
    int n_attention, n_moe, n_gather;
    const struct erne_model_desc *desc;
    const struct erne_op_bench_opts *opts;
    double row_bytes;    /* of a cache, a position and head */
    double moe_bytes[2]; /* for one token, for all */
};

static void check_attention(const struct work *w, const struct erne_op_timing *t, int n)
{
    const struct erne_model_desc *d = w->desc;
    const int n_seen = w->opts->n_past + w->opts->n_prefill;
    const double cache = 2.0 * n_seen * d->n_kv_heads * w->row_bytes;
    const double rows = 8.0 * n * d->n_heads * d->head_dim; /* queries and results */
    double n_scores = 0;

    for (int i = 0; i < n; i++)
        n_scores += n_seen - i;
    assert_true(t->n_ops == 4 * n_scores * d->n_heads * d->head_dim);
    assert_true(t->n_bytes >= cache + rows);
    assert_true(t->n_bytes < cache + rows + 4 * n + 64); /* positions and pages */
}

static int weigh(void *user, const struct erne_op_timing *t)
{
    struct work *w = user;
    const struct erne_moe_desc *moe = &w->desc->moe;
    int n = 0;

    if (strcmp(t->phase, "prefill") != 0 || sscanf(t->shape, "[%d,", &n) != 1)
        return 0;
    assert_true(n == 1 || n == w->opts->n_prefill);
    if (strcmp(t->op, "attention") == 0) {
        w->n_attention++;
        check_attention(w, t, n);
    } else if (strcmp(t->op, "moe_ffn") == 0) {
        const double n_codes = 3.0 * w->desc->n_embd * moe->n_ff * moe->n_used;

        w->n_moe++;
        w->moe_bytes[n > 1] = t->n_bytes;
        assert_true(t->n_ops >= 2 * n * n_codes);
    } else if (strcmp(t->op, "gather_rows") == 0) {
        w->n_gather++;
        assert_true(t->n_bytes < 2 * 4.0 * w->desc->n_heads * w->desc->head_dim + 64);
    }
    return 0;
}

static void test_work(void **state)
{
    static const struct {
        const char *name;
        int bytes, scale; /* of a number, and of a row beside it */
    } types[] = { { "f32", 4, 0 }, { "f16", 2, 0 }, { "q8", 1, 2 } };
    struct erne_op_bench_opts opts = quick();
    struct erne_engine_opts eo = erne_engine_opts_default();
    struct erne_engine *engine = NULL;
    struct erne_error err;

    (void)state;
    opts.check_only = true;
    eo.backend = "reference";
    assert_int_equal(erne_engine_open(&engine, moe_path, &eo, &err), 0);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(types); i++) {
        struct work work = { .desc = &engine->file.desc, .opts = &opts };

        opts.kv_type = types[i].name;
        work.row_bytes = work.desc->head_dim * types[i].bytes + types[i].scale;
        if (erne_op_bench(&engine, 1, &opts, weigh, &work, &err) != 0)
            fail_msg("%s", err.text);
        /* Of all rows and of the last; queries and the residual stream. */
        assert_int_equal(work.n_attention, 2);
        assert_int_equal(work.n_moe, 2);
        assert_true(work.moe_bytes[1] > 2 * work.moe_bytes[0]);
        assert_int_equal(work.n_gather, 2);
    }
    erne_engine_close(&engine);
}

static void test_wrong(void **state)
{
    struct shadow_config config = { .wrong_ops = 1u << ERNE_OP_MATMUL };
    struct erne_engine *engine = open_on("shadow", &config);
    struct erne_op_bench_opts opts = quick();
    struct seen seen;

    (void)state;
    opts.check_only = true;
    seen = measure(&engine, 1, &opts);
    assert_true(seen.worst_matmul > 0.1);
    assert_true(seen.ns == 0); /* nothing was timed */
    assert_int_equal(config.n_ranges, 0);
    assert_string_equal(config.breach, "");
    erne_engine_close(&engine);
}

static void test_declined(void **state)
{
    struct shadow_config config = { .declined_ops = 1u << ERNE_OP_ATTENTION };
    struct erne_engine *engine = open_on("shadow", &config);
    const struct erne_op_bench_opts opts = quick();
    const struct seen seen = measure(&engine, 1, &opts);

    (void)state;
    assert_int_equal(seen.n_declined, 3); /* of decode, and of many rows and of one */
    assert_true(seen.worst == 0);         /* it computes by the reference */
    assert_int_equal(config.n_nodes, 0);
    erne_engine_close(&engine);
}

/* A device that dies ends it, with its status and nothing left behind. */
static void test_lost(void **state)
{
    for (uint64_t at = 1; at < 40; at += 6) {
        struct shadow_config config = { .fail_call = SHADOW_RUN,
                                        .fail_at = at,
                                        .fail_status = ERNE_EDEVICE };
        struct erne_engine *engine = open_on("shadow", &config);
        const struct erne_op_bench_opts opts = quick();
        struct seen seen = { 0 };
        struct erne_error err;

        assert_int_equal(erne_op_bench(&engine, 1, &opts, visit, &seen, &err),
                         ERNE_EDEVICE);
        erne_engine_close(&engine);
        assert_int_equal(config.n_ranges, 0);
        assert_int_equal(config.n_nodes, 0);
    }
    (void)state;
}

static int stop(void *user, const struct erne_op_timing *t)
{
    (void)t;
    ++*(int *)user;
    return 42;
}

static void test_bad_calls(void **state)
{
    struct erne_engine *engine = open_on("reference", NULL);
    struct erne_op_bench_opts opts = quick();
    struct erne_error err;
    int n = 0;

    (void)state;
    assert_int_equal(erne_op_bench(&engine, 1, &opts, stop, &n, &err), 42);
    assert_int_equal(n, 1);
    assert_int_equal(erne_op_bench(&engine, 0, &opts, stop, &n, &err), ERNE_EINVAL);
    opts.n_past = 1 << 30;
    assert_int_equal(erne_op_bench(&engine, 1, &opts, stop, &n, &err), ERNE_EINVAL);
    opts = quick();
    opts.kv_type = "q9";
    assert_int_equal(erne_op_bench(&engine, 1, &opts, stop, &n, &err), ERNE_EINVAL);
    opts.struct_size = 1;
    assert_int_equal(erne_op_bench(&engine, 1, &opts, stop, &n, &err), ERNE_EINVAL);
    erne_engine_close(&engine);
}

static void test_limits(void **state)
{
    struct erne_engine *engine = open_on("auto", NULL);
    struct erne_limits limits;
    struct erne_error err;

    (void)state;
    assert_int_equal(erne_engine_limits(engine, &limits, &err), 0);
    assert_true(limits.read_bytes >= 0 && limits.f32_ops >= 0 && limits.i8_ops >= 0);
    assert_true(limits.bf16_ops == 0 || limits.bf16_ops > limits.f32_ops / 2);
#ifdef ERNE_HAVE_CPU
    assert_true(limits.read_bytes > 1e8 && limits.f32_ops > 1e7 && limits.i8_ops > 1e7);
#endif
    erne_engine_close(&engine);
    engine = open_on("reference", NULL);
    assert_int_equal(erne_engine_limits(engine, &limits, &err), 0);
    assert_true(limits.read_bytes == 0); /* not known */
    erne_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),     cmocka_unit_test(test_kv_types),
        cmocka_unit_test(test_work),      cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_declined),  cmocka_unit_test(test_lost),
        cmocka_unit_test(test_bad_calls), cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
