/* test_footprint.c -- the memory that is foretold for a model is what a session then
 * takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "platforms/platform.h"
#include "runtime/footprint.h"
#include "runtime/op.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/tiny_model.h"

#define MODEL "test_footprint.erne"

enum { N_CTX = 512, N_BATCH = 128 };

/* What sanitizers note and an emulator translates is memory, too. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    defined(ERNE_TEST_EMULATED)
enum { HAS_MORE = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { HAS_MORE = 1 };
#else
enum { HAS_MORE = 0 };
#endif
#else
enum { HAS_MORE = 0 };
#endif

/* Some 12 MiB of weights and 16 of keys and values. */
static struct erne_model_desc large_desc(void)
{
    struct erne_model_desc desc = tiny_model_desc();

    desc.n_layers = 8;
    desc.n_embd = 256;
    desc.n_heads = 4;
    desc.n_kv_heads = 4;
    desc.head_dim = 128;
    desc.n_ff = 1024;
    desc.n_vocab = 4096;
    desc.n_ctx_train = N_CTX;
    return desc;
}

static int foretell(struct erne_footprint *f, struct erne_error *err)
{
    struct erne_model_file file;
    struct erne_writer_tensor *tensors;
    int st = erne_model_file_open(&file, MODEL, err);

    if (st < 0)
        return st;
    tensors = calloc(file.n_tensors, sizeof(*tensors));
    if (!tensors) {
        erne_model_file_close(&file);
        return ERNE_ENOMEM;
    }
    for (size_t i = 0; i < file.n_tensors; i++) {
        memcpy(tensors[i].name, file.tensors[i].name, sizeof(tensors[i].name));
        tensors[i].scheme = file.tensors[i].scheme;
        tensors[i].n = file.tensors[i].n;
        tensors[i].k = file.tensors[i].k;
    }
    const struct erne_footprint_of of = { .desc = &file.desc,
                                          .tensors = tensors,
                                          .n_tensors = file.n_tensors,
                                          .n_threads = 1,
                                          .n_batch = N_BATCH,
                                          .kv_type = "f32" };

    st = erne_footprint(f, &of, err);
    free(tensors);
    erne_model_file_close(&file);
    return st;
}

/* Fills a context; answers how much memory that took. */
static uint64_t measure(void)
{
    struct erne_engine_opts eo = erne_engine_opts_default();
    struct erne_session_opts so = erne_session_opts_default();
    struct erne_error err = { 0 };
    struct erne_engine *e;
    struct erne_session *s;
    int32_t tokens[N_CTX];
    const uint64_t before = pf_memory_peak();

    for (int i = 0; i < N_CTX; i++)
        tokens[i] = i * 7 % 4096;
    eo.n_threads = 1;
    so.n_ctx = N_CTX;
    so.n_batch = N_BATCH;
    so.kv_type = "f32";
    assert_int_equal(erne_engine_open(&e, MODEL, &eo, &err), 0);
    assert_int_equal(erne_session_create(&s, e, &so, &err), 0);
    if (erne_session_eval(s, tokens, N_CTX - 1, NULL, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(erne_session_eval(s, tokens, 1, NULL, &err), 0);
    erne_session_destroy(&s);
    erne_engine_close(&e);
    return pf_memory_peak() - before;
}

static void memory_is_what_was_foretold(void **state)
{
    const double bound = HAS_MORE ? 0.35 : 0.05;
    const struct erne_model_desc desc = large_desc();
    struct erne_footprint f;
    struct erne_error err = { 0 };
    double told, seen;

    (void)state;
    if (pf_memory_peak() == 0)
        skip();
    assert_int_equal(tiny_model_write(MODEL, &desc, "w8", 3, &err), 0);
    seen = (double)measure(); /* before the file was mapped, be it for its first page */
    assert_int_equal(foretell(&f, &err), 0);
    told = (double)(f.weights + f.step + erne_footprint_kv(&f, N_CTX));
    print_message("foretold %.2f MiB, seen %.2f\n", told / 0x1p20, seen / 0x1p20);
    assert_true(seen > told * (1 - bound) && seen < told * (1 + bound));
}

static void parts_are_what_they_are_called(void **state)
{
    const struct erne_model_desc desc = large_desc();
    struct erne_footprint f;

    (void)state;
    assert_int_equal(foretell(&f, NULL), 0);
    assert_int_equal(f.experts, 0);
    assert_int_equal(f.read_a_token, f.weights); /* tied: logits read the embedding */
    assert_int_equal(f.picture, 0);
    assert_true(f.kv_a_page >= 2ULL * 4 * ERNE_KV_PAGE * 8 * 4 * 128);
    assert_int_equal(erne_footprint_kv(&f, ERNE_KV_PAGE + 1), 2 * f.kv_a_page);
    assert_true(f.weights > 8ULL * (3 * 256 * 1024 + 256 * 1536 + 256 * 512));
    (void)desc;
}

static void every_allocation_may_fail(void **state)
{
    struct erne_footprint f;
    struct erne_error err = { 0 };
    int st;

    (void)state;
    for (size_t n = 1; alloc_fail_at(n), st = foretell(&f, &err), alloc_fail_hit(); n++)
        assert_int_equal(st, ERNE_ENOMEM);
    assert_int_equal(st, 0);
    pf_path_remove(MODEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_what_was_foretold),
        cmocka_unit_test(parts_are_what_they_are_called),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
