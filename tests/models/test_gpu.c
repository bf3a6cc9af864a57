/* test_gpu.c -- whole models on a real device of a GPU backend.
 *
 * Runs one golden checkpoint as test_logits.c does: against the logits of transformers
 * while weights are floats, and in quantised schemes against the reference backend, which
 * rounds no more than these do. Greedy tokens are those of the CPU backend, and all nodes
 * are the devices'. BACKEND may be a placement, "prefill=vulkan,decode=opencl:1"; LEVEL
 * is one of those of a backend's kernels.
 * usage: test_gpu CASE_DIR WORK_DIR BACKEND [TEST [LEVEL]]; 77: no such device here.
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

#include "backends/opencl/cl_fault.h"
#include "backends/vulkan/vk_fault.h"
#include "runtime/engine.h"
#include "tests/models/golden.h"

enum { N_GREEDY = 6, SKIPPED = 77 };

struct test {
    struct golden golden;
    const char *backend, *kv_type, *level; /* level NULL: the best */
    struct vk_fault vulkan;                /* with the level */
    struct cl_fault opencl;
    size_t n_elsewhere; /* nodes that the device declined */
};

/* Counts the planner's lines about nodes that another backend takes. */
static void count_line(void *user, enum erne_log_level level, const char *line)
{
    struct test *t = user;

    if (level <= ERNE_LOG_WARN)
        print_message("%s\n", line);
    t->n_elsewhere += strstr(line, " declined by ") != NULL;
}

static struct erne_engine *engine_open(struct test *t, const char *scheme,
                                       const char *backend)
{
    char path[GOLDEN_MAX_PATH];
    struct erne_error err = { 0 };
    struct erne_engine *engine = NULL;
    struct erne_engine_opts opts = erne_engine_opts_default();
    const bool is_vulkan = strcmp(backend, "vulkan") == 0;
    void *hook = is_vulkan ? (void *)&t->vulkan : (void *)&t->opencl;

    golden_path(path, &t->golden, scheme);
    opts.backend = backend;
    opts.n_threads = 1;
    opts.fallback = false;
    opts.log = count_line;
    opts.log_user = t;
    if (erne_engine_open_on(&engine, path, &opts, erne_backends, t->level ? hook : NULL,
                            &err) != 0)
        fail_msg("open %s on %s: %s", path, backend, err.text);
    return engine;
}

static struct erne_session *session_create(struct erne_engine *engine,
                                           const char *kv_type)
{
    struct erne_session_opts opts = erne_session_opts_default();

    opts.kv_type = kv_type;
    opts.sampling.temperature = 0;
    return golden_session(engine, opts);
}

/* Logits of the whole prompt [n_tokens, n_vocab], evaluated `chunk` tokens at a time (0:
 * all at once), and the greedy tokens behind it. */
static float *run(struct test *t, const char *scheme, const char *backend, size_t chunk,
                  int32_t *ids)
{
    const struct golden *g = &t->golden;
    struct erne_engine *engine = engine_open(t, scheme, backend);
    struct erne_session *session = session_create(engine, t->kv_type);
    float *logits = calloc(g->n_tokens * g->n_vocab, sizeof(float));
    struct erne_error err = { 0 };

    assert_non_null(logits);
    golden_add_media(g, session);
    for (size_t i = 0, n; i < g->n_tokens; i += n) {
        n = chunk > 0 && chunk < g->n_tokens - i ? chunk : g->n_tokens - i;
        if (erne_session_eval(session, g->tokens + i, n, logits + i * g->n_vocab, &err))
            fail_msg("eval at %zu: %s", i, err.text);
    }
    for (size_t i = 0; i < N_GREEDY; i++) {
        assert_int_equal(erne_session_sample(session, &ids[i], &err), 0);
        assert_int_equal(erne_session_eval(session, &ids[i], 1, NULL, &err), 0);
    }
    erne_session_destroy(&session);
    erne_engine_close(&engine);
    return logits;
}

static double worst_difference(const struct golden *g, const float *a, const float *b)
{
    double worst = 0;

    for (size_t i = 0; i < g->n_tokens * g->n_vocab; i++) {
        const double diff = fabs((double)a[i] - (double)b[i]);

        if (!(diff <= worst))
            worst = diff;
    }
    return worst / g->range;
}

/* Where only the last token's logits are asked for, the last layer computes one row. */
static void check_last_rows(struct test *t, const char *scheme, const float *want,
                            double max_rel)
{
    const struct golden *g = &t->golden;
    const size_t n_bytes = g->n_tokens * g->n_vocab * sizeof(float);
    struct erne_engine *engine = engine_open(t, scheme, t->backend);
    struct erne_session *session = session_create(engine, t->kv_type);
    float *logits = malloc(n_bytes);

    assert_non_null(logits);
    memcpy(logits, want, n_bytes);
    golden_add_media(g, session);
    golden_last_rows(g, session, 7, logits);
    assert_memory_not_equal(logits, want, n_bytes);
    assert_true(worst_difference(g, logits, want) <= max_rel);
    free(logits);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

/* Whole and in pieces, against `want`; greedy tokens against `ids`. */
static void check(struct test *t, const char *scheme, const float *want,
                  const int32_t *ids, double max_rel)
{
    static const size_t chunks[] = { 0, 1, 7 };

    for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
        int32_t got[N_GREEDY];
        t->n_elsewhere = 0;
        float *logits = run(t, scheme, t->backend, chunks[c], got);
        const double rel = worst_difference(&t->golden, logits, want);

        print_message("%s %s kv %s chunk %zu: %.3g of the range\n", scheme, t->backend,
                      t->kv_type, chunks[c], rel);
        assert_true(rel <= max_rel);
        assert_memory_equal(got, ids, sizeof got);
        assert_int_equal(t->n_elsewhere, 0);
        free(logits);
    }
    check_last_rows(t, scheme, want, max_rel);
}

static void check_scheme(struct test *t, const char *scheme, bool is_float,
                         double max_rel)
{
    int32_t ids[N_GREEDY];

    t->kv_type = "f32";
    golden_convert(&t->golden, scheme);
    float *want = run(t, scheme, "reference", 0, ids);
    check(t, scheme, is_float ? t->golden.logits : want, ids, max_rel);
    free(want);
}

static void test_f32(void **state)
{
    check_scheme(*state, "f32", true, 1e-4);
}

/* Inputs may have been rounded to 15 bits. */
static double quantised_limit(const struct test *t)
{
    return t->level && strcmp(t->level, "dot") == 0 ? 1e-3 : 1e-4;
}

static void test_w4(void **state)
{
    check_scheme(*state, "w4-g64a", false, quantised_limit(*state));
}

static void test_w8(void **state)
{
    check_scheme(*state, "w8", false, quantised_limit(*state));
}

static void test_w2(void **state)
{
    check_scheme(*state, "w2-g32a", false, quantised_limit(*state));
}

/* A number on the border of two codes may fall to either, as sums are not the reference's
 * to the last bit: so the bounds are a part of what a code's step is of a row. */
static void test_kv_codes(void **state)
{
    static const struct {
        const char *kv_type;
        double max_rel;
    } types[] = { { "q8", 2e-3 }, { "q4", 3e-2 } };
    struct test *t = *state;

    golden_convert(&t->golden, "f32");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        int32_t ids[N_GREEDY];

        t->kv_type = types[i].kv_type;
        float *want = run(t, "f32", "reference", 0, ids);
        check(t, "f32", want, ids, types[i].max_rel);
        free(want);
    }
}

/* A device that BACKEND names. */
struct wanted {
    const char *name; /* "opencl:1", not 0-terminated */
    size_t n;
};

static int find_device(void *user, const struct erne_device_info *info)
{
    const struct wanted *w = user;
    char name[64];
    size_t n = strlen(info->backend);

    snprintf(name, sizeof name, "%s:%d", info->backend, info->index);
    if (n != w->n)
        n = strlen(name);
    return n == w->n && memcmp(name, w->name, n) == 0;
}

/* Whether this machine has all of them. */
static bool has_devices(const char *backend)
{
    for (const char *at = backend; *at; at += *at == ',') {
        const size_t n = strcspn(at, ",");
        const char *equals = memchr(at, '=', n);
        struct wanted w = { equals ? equals + 1 : at, 0 };

        w.n = (size_t)(at + n - w.name);
        if (erne_devices(find_device, &w, NULL) != 1)
            return false;
        at += n;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 6) {
        fprintf(stderr, "usage: %s CASE_DIR WORK_DIR BACKEND [TEST [LEVEL]]\n", argv[0]);
        return 2;
    }
    struct test t = { .golden = { .dir = argv[1], .work_dir = argv[2] },
                      .backend = argv[3],
                      .level = argc > 5 ? argv[5] : NULL };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_f32, &t),
        cmocka_unit_test_prestate(test_w4, &t),
        cmocka_unit_test_prestate(test_w8, &t),
        cmocka_unit_test_prestate(test_w2, &t),
        cmocka_unit_test_prestate(test_kv_codes, &t),
    };

    t.vulkan.level = t.opencl.level = t.level;
    if (!has_devices(t.backend))
        return SKIPPED;
    if (argc > 4)
        cmocka_set_test_filter(argv[4]);
    golden_read(&t.golden);
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_deinit(&t.golden);
    return n_failed;
}
