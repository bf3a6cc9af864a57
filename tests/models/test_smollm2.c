/* test_smollm2.c -- a real model on a device of a GPU backend: SmolLM2-135M in the 4 bits
 * that its GGUF has (models/fetch_smollm2.sh).
 *
 * Logits of a prompt are those of the reference, greedy tokens those of the CPU backend,
 * which rounds its inputs. The device starts twice, with an empty cache folder and with
 * what the first start left there: both are timed, and the second compiles nothing.
 * usage: test_smollm2 GGUF WORK_DIR BACKEND; 77: no such file or no such device.
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

#include "platforms/platform.h"
#include "runtime/include/erne.h"

enum { SKIPPED = 77, N_GREEDY = 6, MAX_PROMPT = 16, MAX_PATH = 1024 };

static const char prompt[] = "The capital of France is";

struct test {
    const char *gguf, *backend;
    char path[MAX_PATH], cache_dir[MAX_PATH];
    size_t n_declined; /* nodes that the device left to others */
    int n_compiled;    /* as the backend told last; -1: it told nothing */
};

/* What an engine makes of the prompt. */
struct answer {
    size_t n_prompt, n_vocab;
    float *logits; /* [n_prompt, n_vocab] */
    int32_t ids[N_GREEDY];
    double start_s; /* from nothing to the first token */
};

static void read_line(void *user, enum erne_log_level level, const char *line)
{
    struct test *t = user;

    if (level <= ERNE_LOG_WARN)
        print_message("%s\n", line);
    t->n_declined += strstr(line, " declined by ") != NULL;
    if (sscanf(line, "vulkan: %d new pipelines", &t->n_compiled) == 1 ||
        sscanf(line, "opencl: %d programs compiled", &t->n_compiled) == 1)
        print_message("%s\n", line);
}

static struct erne_engine *engine_open(struct test *t, const char *backend)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *engine = NULL;
    struct erne_error err = { 0 };

    t->n_declined = 0;
    t->n_compiled = -1;
    opts.backend = backend;
    opts.n_threads = 1;
    opts.fallback = false;
    opts.cache_dir = t->cache_dir;
    opts.log = read_line;
    opts.log_user = t;
    if (erne_engine_open(&engine, t->path, &opts, &err) < 0)
        fail_msg("open %s on %s: %s", t->path, backend, err.text);
    return engine;
}

static struct erne_session *session_create(struct erne_engine *engine)
{
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *session = NULL;
    struct erne_error err = { 0 };

    opts.n_ctx = 64;
    opts.kv_type = "f32";
    opts.sampling.temperature = 0;
    if (erne_session_create(&session, engine, &opts, &err) < 0)
        fail_msg("session: %s", err.text);
    return session;
}

/* n_greedy: tokens that follow the prompt. */
static struct answer answer(struct test *t, const char *backend, size_t n_greedy)
{
    const uint64_t start = pf_time_ns();
    struct erne_engine *engine = engine_open(t, backend);
    struct erne_session *session = session_create(engine);
    struct answer a = { .n_vocab = (size_t)erne_engine_info(engine)->n_vocab };
    struct erne_error err = { 0 };
    int32_t ids[MAX_PROMPT];

    assert_int_equal(erne_tokenize(engine, prompt, strlen(prompt), false, ids, MAX_PROMPT,
                                   &a.n_prompt, &err),
                     0);
    a.logits = calloc(a.n_prompt * a.n_vocab, sizeof(float));
    assert_non_null(a.logits);
    if (erne_session_eval(session, ids, a.n_prompt, a.logits, &err) < 0)
        fail_msg("%s: %s", backend, err.text);
    for (size_t i = 0; i < n_greedy; i++) {
        assert_int_equal(erne_session_sample(session, &a.ids[i], &err), 0);
        if (i == 0)
            a.start_s = (double)(pf_time_ns() - start) * 1e-9;
        assert_int_equal(erne_session_eval(session, &a.ids[i], 1, NULL, &err), 0);
    }
    erne_session_destroy(&session);
    erne_engine_close(&engine);
    return a;
}

/* The largest difference, as a part of the range of `want`. */
static double worst_difference(const struct answer *got, const struct answer *want)
{
    double worst = 0, low = (double)want->logits[0], high = low;

    for (size_t i = 0; i < want->n_prompt * want->n_vocab; i++) {
        const double w = (double)want->logits[i];
        const double diff = fabs((double)got->logits[i] - w);

        low = fmin(low, w);
        high = fmax(high, w);
        if (!(diff <= worst))
            worst = diff;
    }
    return worst / (high - low);
}

static void empty_folder(const char *dir)
{
    char path[2 * MAX_PATH], **names = NULL;
    size_t n = 0;

    assert_int_equal(pf_dir_create(dir), 0);
    assert_int_equal(pf_dir_list(dir, &names, &n), 0);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        pf_path_remove(path);
    }
    pf_dir_free(names, n);
}

static void convert(const struct test *t)
{
    struct erne_convert_opts opts = erne_convert_opts_default();
    struct erne_error err = { 0 };

    opts.src = t->gguf;
    opts.dst = t->path;
    opts.golden = "off";
    opts.overwrite = true;
    opts.n_threads = 1;
    if (erne_convert(&opts, &err) < 0)
        fail_msg("convert %s: %s", t->gguf, err.text);
}

static void test_same_tokens(void **state)
{
    static const char *const starts[] = { "first", "second" };
    struct test *t = *state;

    convert(t);
    empty_folder(t->cache_dir);
    struct answer want = answer(t, "reference", 0), cpu = answer(t, "cpu", N_GREEDY);

    print_message("cpu: logits off by %.2g of the range\n",
                  worst_difference(&cpu, &want));
    for (int i = 0; i < 2; i++) {
        struct answer got = answer(t, t->backend, N_GREEDY);
        const double rel = worst_difference(&got, &want);

        print_message("%s, %s start: %.2f s, logits off by %.2g of the range\n",
                      t->backend, starts[i], got.start_s, rel);
        assert_true(rel <= 1e-4);
        assert_memory_equal(got.ids, cpu.ids, sizeof cpu.ids);
        assert_int_equal(t->n_declined, 0);
        if (i == 0)
            assert_true(t->n_compiled > 0);
        else
            assert_int_equal(t->n_compiled, 0);
        free(got.logits);
    }
    free(want.logits);
    free(cpu.logits);
}

static int is_backend(void *user, const struct erne_device_info *info)
{
    return strcmp(info->backend, user) == 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s GGUF WORK_DIR BACKEND\n", argv[0]);
        return 2;
    }
    struct test t = { .gguf = argv[1], .backend = argv[3] };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_same_tokens, &t),
    };
    FILE *file = fopen(t.gguf, "rb");

    if (!file) {
        printf("skipped: no %s; models/fetch_smollm2.sh gets it\n", t.gguf);
        return SKIPPED;
    }
    fclose(file);
    if (erne_devices(is_backend, argv[3], NULL) != 1) {
        printf("skipped: no device of %s\n", t.backend);
        return SKIPPED;
    }
    snprintf(t.path, sizeof t.path, "%s/smollm2.erne", argv[2]);
    snprintf(t.cache_dir, sizeof t.cache_dir, "%s/smollm2.cache", argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
