/* test_inspect.c -- what erne_file_inspect says of a file, and that erne_file_verify sees
 * every changed byte. */
#include "tests/support/unit.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/inspect.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/sample_file.h"

#define FILE_A "test_inspect_a.erne"
#define FILE_B "test_inspect_b.erne"

static struct sample_file sample;
static struct erne_model_file mf; /* of FILE_A */

static int setup(void **state)
{
    struct erne_error err;

    (void)state;
    pf_path_remove(FILE_A ".part");
    return sample_init(&sample, &err) < 0 || sample_write(&sample, FILE_A, &err) < 0 ||
                   erne_model_file_open(&mf, FILE_A, &err) < 0
               ? -1
               : 0;
}

static int teardown(void **state)
{
    (void)state;
    erne_model_file_close(&mf);
    sample_deinit(&sample);
    pf_path_remove(FILE_A);
    pf_path_remove(FILE_B);
    return 0;
}

/* A report in memory; calls above `limit` are answered with `answer`. */
struct capture {
    char text[16384];
    size_t n_bytes, n_calls, limit;
    int answer;
};

static int capture_write(void *user, const char *text, size_t n_bytes)
{
    struct capture *c = user;

    if (++c->n_calls > c->limit)
        return c->answer;
    assert_true(n_bytes < sizeof(c->text) - c->n_bytes);
    memcpy(c->text + c->n_bytes, text, n_bytes);
    c->n_bytes += n_bytes;
    c->text[c->n_bytes] = '\0';
    return 0;
}

static void inspect(struct capture *c, enum erne_inspect_form form)
{
    struct erne_error err;

    *c = (struct capture){ .limit = SIZE_MAX };
    if (erne_file_inspect(FILE_A, form, capture_write, c, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_text(void **state)
{
    static const char *const reports[SAMPLE_N_TENSORS] = {
        "         -        -", "         -        -", "     exact        -",
        "  12.500 %        -", "  25.000 %        -", "  37.500 %        -",
    };
    struct capture c;
    char line[128];

    (void)state;
    inspect(&c, ERNE_INSPECT_TENSORS);
    assert_non_null(strstr(c.text, FILE_A "\nformat 1, "));
    assert_non_null(strstr(c.text, "\narchitecture: ernie4_5\n"));
    assert_non_null(strstr(c.text, "\nstop_tokens: [2]\n"));
    for (size_t i = 0; i < mf.n_tensors; i++) {
        snprintf(line, sizeof(line), " %016" PRIx64 " %s\n", mf.tensors[i].xxh3,
                 reports[i]);
        assert_non_null(strstr(c.text, line));
        assert_non_null(strstr(c.text, mf.tensors[i].name));
    }
    assert_non_null(strstr(c.text, "\nzeta        w4-g32a    tile64  [65, 40] "));
    assert_non_null(strstr(c.text, "\nnorm        f32        rows    [33] "));
}

/* Without the list: all but its lines. */
static void test_text_is_short(void **state)
{
    struct capture with, without;
    size_t n;

    (void)state;
    inspect(&with, ERNE_INSPECT_TENSORS);
    inspect(&without, ERNE_INSPECT_TEXT);
    n = without.n_bytes;
    assert_true(n < with.n_bytes);
    assert_memory_equal(with.text, without.text, n);
    assert_memory_equal(with.text + n, "\ntensor ", strlen("\ntensor "));
    assert_null(strstr(without.text, "\nzeta"));
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_int_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void check_json_tensor(const json_t *t, const struct erne_file_tensor *expected)
{
    const json_t *shape = json_object_get(t, "shape");
    const size_t n_dims = json_array_size(shape);
    char name[ERNE_SCHEME_NAME_MAX], xxh3[17];

    erne_scheme_name(expected->scheme, name);
    snprintf(xxh3, sizeof(xxh3), "%016" PRIx64, expected->xxh3);
    assert_string_equal(text_of(t, "name"), expected->name);
    assert_string_equal(text_of(t, "scheme"), name);
    assert_string_equal(text_of(t, "xxh3"), xxh3);
    assert_int_equal(int_of(t, "offset"), expected->offset);
    assert_int_equal(int_of(t, "bytes"), expected->n_bytes);
    assert_true(json_is_null(json_object_get(t, "calibration_tokens")));
    if (expected->report.is_known)
        assert_float_equal(json_real_value(json_object_get(t, "relative_error")),
                           expected->report.error, 0);
    else
        assert_true(json_is_null(json_object_get(t, "relative_error")));
    assert_int_equal(n_dims, expected->scheme.layout == ERNE_LAYOUT_ROWS ? 1 : 2);
    assert_int_equal(json_integer_value(json_array_get(shape, n_dims - 1)), expected->k);
    if (n_dims == 2)
        assert_int_equal(json_integer_value(json_array_get(shape, 0)), expected->n);
}

static void test_json(void **state)
{
    const json_t *manifest, *tensors;
    struct capture c;
    json_error_t error;
    json_t *root;

    (void)state;
    inspect(&c, ERNE_INSPECT_JSON);
    root = json_loads(c.text, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    assert_string_equal(text_of(root, "file"), FILE_A);
    assert_int_equal(int_of(root, "version"), 1);
    assert_int_equal(int_of(root, "bytes"), mf.map.n_bytes);
    manifest = json_object_get(root, "manifest");
    assert_string_equal(text_of(manifest, "architecture"), "ernie4_5");
    assert_int_equal(int_of(json_object_get(manifest, "model"), "ffn_size"), 48);
    assert_string_equal(text_of(json_object_get(manifest, "provenance"), "name"),
                        "sample");
    assert_int_equal(
        json_integer_value(json_array_get(json_object_get(manifest, "stop_tokens"), 0)),
        2);
    assert_true(json_is_true(
        json_object_get(json_object_get(manifest, "model"), "tied_embeddings")));
    assert_non_null(strstr(c.text, "\"rms_eps\": 1e-5,"));
    assert_null(json_object_get(manifest, "chat"));
    tensors = json_object_get(root, "tensors");
    assert_int_equal(json_array_size(tensors), mf.n_tensors);
    for (size_t i = 0; i < mf.n_tensors; i++)
        check_json_tensor(json_array_get(tensors, i), &mf.tensors[i]);
    json_decref(root);
}

/* ---------------------------------------------------------------- rounding */

enum { BIG_LAYERS = 10, BIG_EXPERTS = 4, BIG_TENSORS = BIG_LAYERS * (BIG_EXPERTS + 1) };

/* Ten layers: q, k, v with errors of 1 to 10 %, then experts with errors of 20 to 59 %.
 * No token went to experts 0, 1 and 3 of the first, and to expert 2 of the others. */
static void fill_big(struct erne_file_tensor *tensors, struct inspect_part *parts)
{
    uint32_t n_experts = 0;

    for (int32_t i = 0; i < BIG_TENSORS; i++) {
        const int32_t layer = i / (BIG_EXPERTS + 1), expert = i % (BIG_EXPERTS + 1) - 1;
        struct erne_tensor_report *report = &tensors[i].report;

        parts[i] =
            (struct inspect_part){ true, expert < 0 ? ERNE_ROLE_QKV : ERNE_ROLE_GATE_UP,
                                   layer, expert };
        snprintf(tensors[i].name, sizeof(tensors[i].name), "tensor.%d", (int)i);
        report->is_known = true;
        report->error = 0.01f * (float)(layer + 1);
        if (expert < 0)
            continue;
        report->error = 0.2f + 0.01f * (float)n_experts;
        report->n_tokens = (layer == 0) == (expert == 2) ? 500 : 0;
        n_experts++;
    }
}

static void test_rounding(void **state)
{
    static const char expected[] =
        "\nrelative error of        tensors      median       worst  (root mean square)\n"
        "         q, k, v              10     6.000 %    10.000 %  tensor.45\n"
        "experts' gate, up             40    40.000 %    59.000 %  tensor.49\n"
        "\nthe calibration (7 tokens) reached 28 of 40 experts; tokens each: least 0, "
        "median 500, most 500\n"
        "  layer 0: none went to expert 0-1 3\n"
        "  layer 1: none went to expert 2\n  layer 2: none went to expert 2\n"
        "  layer 3: none went to expert 2\n  layer 4: none went to expert 2\n"
        "  layer 5: none went to expert 2\n  layer 6: none went to expert 2\n"
        "  layer 7: none went to expert 2\n  and 2 layers more have such experts\n";
    static struct erne_file_tensor tensors[BIG_TENSORS];
    static struct inspect_part parts[BIG_TENSORS];
    struct erne_model_file big = { .tensors = tensors, .n_tensors = BIG_TENSORS };
    struct capture c = { .limit = SIZE_MAX };
    struct inspection out = { .write = capture_write, .user = &c };

    (void)state;
    fill_big(tensors, parts);
    big.desc.calibration = "text";
    big.desc.n_calibrated = 7;
    assert_int_equal(inspect_rounding(&out, &big, parts), ERNE_OK);
    assert_string_equal(c.text, expected);

    c = (struct capture){ .limit = SIZE_MAX };
    big.desc.calibration = NULL; /* nobody counted */
    assert_int_equal(inspect_rounding(&out, &big, parts), ERNE_OK);
    assert_string_equal(strstr(c.text, "tensor.49"), "tensor.49\n");

    c = (struct capture){ .limit = SIZE_MAX };
    memset(tensors, 0, sizeof(tensors)); /* a file of before */
    assert_int_equal(inspect_rounding(&out, &big, parts), ERNE_OK);
    assert_int_equal(c.n_calls, 0);
}

/* What the receiver answers ends the report, whenever it comes. */
static void test_write_fails(void **state)
{
    struct capture all, c;
    struct erne_error err;

    (void)state;
    for (enum erne_inspect_form form = 0; form <= ERNE_INSPECT_TENSORS; form++) {
        inspect(&all, form);
        for (size_t limit = 0; limit < all.n_calls; limit += 1 + limit / 4) {
            c = (struct capture){ .limit = limit, .answer = ERNE_ECANCELLED };
            assert_int_equal(erne_file_inspect(FILE_A, form, capture_write, &c, &err),
                             ERNE_ECANCELLED);
            assert_int_equal(c.n_calls, limit + 1);
            c = (struct capture){ .limit = limit, .answer = 1 };
            assert_int_equal(erne_file_inspect(FILE_A, form, capture_write, &c, &err),
                             ERNE_EIO);
        }
    }
    assert_int_equal(
        erne_file_inspect("no_such_file", ERNE_INSPECT_JSON, capture_write, &c, &err),
        ERNE_EIO);
}

/* ----------------------------------------------------------------- verify */

struct progress {
    uint64_t done, total;
    size_t n_calls, cancel_at;
};

static int on_progress(void *user, uint64_t done, uint64_t total, const char *what)
{
    struct progress *p = user;

    assert_non_null(what);
    assert_true(done >= p->done && done <= total);
    p->done = done;
    p->total = total;
    return ++p->n_calls == p->cancel_at;
}

static void test_verify(void **state)
{
    struct progress p = { 0 };
    struct erne_error err;
    uint64_t total = 0;

    (void)state;
    for (size_t i = 0; i < mf.n_tensors; i++)
        total += mf.tensors[i].n_bytes;
    assert_int_equal(erne_file_verify(FILE_A, NULL, NULL, &err), ERNE_OK);
    assert_int_equal(erne_file_verify(FILE_A, on_progress, &p, &err), ERNE_OK);
    assert_int_equal(p.total, total);
    assert_int_equal(p.done, total);
    for (size_t at = 1; at <= p.n_calls; at++) {
        struct progress q = { .cancel_at = at };

        assert_int_equal(erne_file_verify(FILE_A, on_progress, &q, &err),
                         ERNE_ECANCELLED);
    }
}

/* The tensor that has the byte; NULL for padding. */
static const struct erne_file_tensor *tensor_at(uint64_t offset)
{
    for (size_t i = 0; i < mf.n_tensors; i++)
        if (offset >= mf.tensors[i].offset &&
            offset - mf.tensors[i].offset < mf.tensors[i].n_bytes)
            return &mf.tensors[i];
    return NULL;
}

/* Random bytes, and the first and last of each tensor and those beside them. */
static void test_verify_damaged(void **state)
{
    size_t n_bytes;
    uint8_t *data = sample_load(FILE_A, &n_bytes);
    struct erne_error err;
    uint64_t rng = 6;

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < 200 + 4 * mf.n_tensors; i++) {
        uint64_t at = unit_random(&rng) % n_bytes;
        const struct erne_file_tensor *t;

        if (i >= 200) {
            t = &mf.tensors[(i - 200) / 4];
            at = i % 2 ? t->offset - 1 + i % 4 / 2 : t->offset + t->n_bytes - i % 4 / 2;
        }
        t = tensor_at(at);
        data[at] ^= 0x10;
        assert_int_equal(sample_store(FILE_B, data, n_bytes), ERNE_OK);
        assert_int_equal(erne_file_verify(FILE_B, NULL, NULL, &err),
                         t ? ERNE_EVERIFY : ERNE_EFORMAT);
        if (t)
            assert_non_null(strstr(err.text, t->name));
        data[at] ^= 0x10;
    }
    free(data);
}

/* The first of two damaged tensors is named. */
static void test_verify_first(void **state)
{
    size_t n_bytes;
    uint8_t *data = sample_load(FILE_A, &n_bytes);
    struct erne_error err;

    (void)state;
    assert_non_null(data);
    data[mf.tensors[4].offset] ^= 1;
    data[mf.tensors[2].offset + 5] ^= 1;
    assert_int_equal(sample_store(FILE_B, data, n_bytes), ERNE_OK);
    assert_int_equal(erne_file_verify(FILE_B, NULL, NULL, &err), ERNE_EVERIFY);
    assert_non_null(strstr(err.text, FILE_B ": tensor zeta is damaged"));
    free(data);
}

/* ------------------------------------------------------ allocation failures */

/* jansson allocates inside its own library, so it is sent through the counter by hand. */
static void *count_malloc(size_t n_bytes)
{
    return malloc(n_bytes);
}

static void test_allocation_failures(void **state)
{
    struct capture c;
    struct erne_error err;
    json_malloc_t system_malloc;
    json_free_t system_free;
    int st;

    (void)state;
    json_get_alloc_funcs(&system_malloc, &system_free);
    json_set_alloc_funcs(count_malloc, free);
    for (enum erne_inspect_form form = 0; form <= ERNE_INSPECT_TENSORS; form++) {
        for (size_t n = 1; c = (struct capture){ .limit = SIZE_MAX }, alloc_fail_at(n),
                    st = erne_file_inspect(FILE_A, form, capture_write, &c, &err),
                    alloc_fail_hit();
             n++)
            /* A file name that could not be copied is null, and the report goes on. */
            assert_true(st == ERNE_ENOMEM ||
                        (st == ERNE_OK && strstr(c.text, "\"file\": null")));
        assert_int_equal(st, ERNE_OK);
    }
    json_set_alloc_funcs(system_malloc, system_free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_text_is_short),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_write_fails),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_verify_damaged),
        cmocka_unit_test(test_verify_first),
        cmocka_unit_test(test_allocation_failures),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
