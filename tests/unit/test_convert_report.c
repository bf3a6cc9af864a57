/* test_convert_report.c -- what a file says of its own rounding: the error of every
 * tensor, found again from the weights, and how often a text went to each expert. */
#include "tests/support/unit.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "quantize/tile64.h"
#include "runtime/model_file.h"
#include "tests/support/checkpoint.h"

static const char *const dir = ERNE_TEST_DIR;
static const char *const exact_path = ERNE_TEST_DIR "/exact.erne";
static const char *const rounded_path = ERNE_TEST_DIR "/rounded.erne";

enum { MAX_K = 256 };

static struct erne_model_file convert(struct erne_convert_opts opts)
{
    struct erne_model_file mf = { 0 };
    struct erne_error err = { 0 };

    opts.n_threads = 2;
    opts.overwrite = true;
    opts.golden = "off";
    if (erne_convert(&opts, &err) < 0 || erne_model_file_open(&mf, opts.dst, &err) < 0)
        fail_msg("%s", err.text);
    return mf;
}

static struct erne_convert_opts options(const char *src, const char *dst,
                                        const char *scheme)
{
    struct erne_convert_opts opts = erne_convert_opts_default();

    opts.src = src;
    opts.dst = dst;
    opts.scheme = scheme;
    return opts;
}

static void decode(float *dst, const struct erne_file_tensor *t, int64_t row)
{
    const uint8_t *data = erne_model_file_data(t);

    assert_true(t->k <= MAX_K);
    tile64_decode_row(dst, t->scheme, &t->planes, data,
                      (const uint16_t *)(const void *)(data + t->planes.scales_offset),
                      (const uint16_t *)(const void *)(data + t->planes.minima_offset),
                      row, t->k);
}

/* As docs/FORMAT.md has it. */
static double error_of(const struct erne_file_tensor *exact,
                       const struct erne_file_tensor *rounded)
{
    double errors = 0, weights = 0;

    for (int64_t row = 0; row < exact->n; row++) {
        float a[MAX_K], b[MAX_K];

        decode(a, exact, row);
        decode(b, rounded, row);
        for (int64_t i = 0; i < exact->k; i++) {
            errors += pow((double)b[i] - (double)a[i], 2);
            weights += pow((double)a[i], 2);
        }
    }
    return weights > 0 ? sqrt(errors / weights) : 0;
}

/* Each tensor says what is found; answers how many lost something. */
static size_t check_errors(const struct erne_model_file *exact,
                           const struct erne_model_file *rounded)
{
    size_t n_lossy = 0;

    assert_int_equal(exact->n_tensors, rounded->n_tensors);
    for (size_t i = 0; i < exact->n_tensors; i++) {
        const struct erne_file_tensor *t = &rounded->tensors[i];
        const double want = error_of(&exact->tensors[i], t);

        assert_true(t->report.is_known);
        if (fabs((double)t->report.error - want) > 1e-6 * want)
            fail_msg("%s says %.9g, lost %.9g", t->name, (double)t->report.error, want);
        n_lossy += want > 0;
    }
    return n_lossy;
}

static void test_errors_are_those_of_the_weights(void **state)
{
    static const struct {
        const char *scheme;
        size_t n_lossy; /* embed, lm_head, four matrices of two layers */
    } cases[] = {
        { "w8", 10 }, { "w4", 10 }, { "w2", 10 }, { "f16", 10 }, { "source", 0 },
    };

    (void)state;
    assert_int_equal(checkpoint_write(&(struct checkpoint){
                         .dir = dir,
                         .tokenizer = ERNE_TEST_GOLDEN "/tiny/tokenizer.model",
                         .untied = true,
                         .biases = true,
                     }),
                     0);
    struct erne_model_file exact = convert(options(dir, exact_path, "f32"));

    assert_int_equal(check_errors(&exact, &exact), 0);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_model_file rounded =
            convert(options(dir, rounded_path, cases[i].scheme));

        assert_int_equal(check_errors(&exact, &rounded), cases[i].n_lossy);
        for (size_t t = 0; t < rounded.n_tensors; t++)
            assert_int_equal(rounded.tensors[t].report.n_tokens, 0);
        erne_model_file_close(&rounded);
    }
    erne_model_file_close(&exact);
}

/* ------------------------------------------------------------- calibrated */

/* The first n bytes of a novel. */
static void write_text(const char *path, size_t n)
{
    char text[4096];
    struct pf_file *file;

    assert_true(n <= sizeof(text));
    assert_int_equal(
        pf_file_open(&file, ERNE_TEST_GOLDEN "/../../data/northanger.txt", PF_READ), 0);
    assert_int_equal(pf_file_read_at(file, text, n, 0), 0);
    pf_file_close(&file);
    assert_int_equal(pf_file_open(&file, path, PF_WRITE_NEW), 0);
    assert_int_equal(pf_file_write_at(file, text, n, 0), 0);
    pf_file_close(&file);
}

struct kept {
    char text[32768];
};

static int keep(void *user, const char *text, size_t n_bytes)
{
    struct kept *kept = user;
    const size_t n = strlen(kept->text);

    assert_true(n + n_bytes < sizeof(kept->text));
    memcpy(kept->text + n, text, n_bytes);
    return 0;
}

/* Both matrices of an expert have its tokens; answers how many there are. */
static uint32_t tokens_of(const struct erne_model_file *mf, int layer, int expert)
{
    static const char *const matrices[] = { "gate_up", "down" };
    uint32_t n[2];

    for (int i = 0; i < 2; i++) {
        char name[ERNE_SPEC_NAME_MAX];

        snprintf(name, sizeof(name), "layers.%d.experts.%d.%s", layer, expert,
                 matrices[i]);
        n[i] = erne_model_file_find(mf, name)->report.n_tokens;
    }
    assert_int_equal(n[0], n[1]);
    return n[0];
}

/* Every token of the text goes to two of six experts of each layer that has some. */
static void check_tokens(const struct erne_model_file *mf, int64_t n_tokens)
{
    assert_int_equal(mf->desc.n_calibrated, n_tokens);
    for (int layer = 1; layer < mf->desc.n_layers; layer++) {
        int64_t sum = 0;

        for (int expert = 0; expert < mf->desc.moe.n_experts; expert++)
            sum += tokens_of(mf, layer, expert);
        assert_int_equal(sum, n_tokens * mf->desc.moe.n_used);
    }
    assert_int_equal(erne_model_file_find(mf, "layers.1.qkv")->report.n_tokens, 0);
}

/* The manifest has the errors by kind: of several matrices between theirs. */
static void check_kinds(const struct erne_model_file *mf)
{
    const float(*errors)[ERNE_ROLE_COUNT] = mf->desc.judged.errors;
    const float down = errors[1][ERNE_ROLE_DOWN];
    float least = 1.0f, most = 0.0f;

    assert_float_equal(errors[0][ERNE_ROLE_EMBED],
                       erne_model_file_find(mf, "embed")->report.error, 1e-8f);
    for (size_t i = 0; i < mf->n_tensors; i++) {
        const struct erne_file_tensor *t = &mf->tensors[i];

        if (strstr(t->name, ".experts.") && strstr(t->name, ".down")) {
            least = fminf(least, t->report.error);
            most = fmaxf(most, t->report.error);
        }
    }
    assert_true(least < down && down < most);
    assert_float_equal(errors[1][ERNE_ROLE_QKV] + errors[0][ERNE_ROLE_NORM], 0, 0);
}

/* Numbers are numbers. */
static void check_json(const struct erne_model_file *mf, const char *text)
{
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error), *tensors;

    assert_non_null(root);
    tensors = json_object_get(root, "tensors");
    assert_int_equal(json_array_size(tensors), mf->n_tensors);
    for (size_t i = 0; i < mf->n_tensors; i++) {
        const struct erne_file_tensor *t = &mf->tensors[i];
        const json_t *o = json_array_get(tensors, i);
        const json_t *e = json_object_get(o, "relative_error");
        const json_t *n = json_object_get(o, "calibration_tokens");

        assert_true(json_is_real(e));
        assert_float_equal(json_real_value(e), t->report.error, 1e-8);
        if (!strstr(t->name, ".experts."))
            assert_true(json_is_null(n));
        else
            assert_int_equal(json_integer_value(n), t->report.n_tokens);
    }
    json_decref(root);
}

static void check_inspect(const struct erne_model_file *mf)
{
    struct kept text = { "" }, json = { "" };
    const struct erne_file_tensor *worst = NULL;
    char line[128];

    for (size_t i = 0; i < mf->n_tensors; i++) {
        const struct erne_file_tensor *t = &mf->tensors[i];

        if (strstr(t->name, ".experts.") && strstr(t->name, ".gate_up") &&
            (!worst || t->report.error > worst->report.error))
            worst = t;
    }
    assert_int_equal(
        erne_file_inspect(rounded_path, ERNE_INSPECT_TEXT, keep, &text, NULL), 0);
    snprintf(line, sizeof(line), "%9.3f %%  %s\n", 100 * (double)worst->report.error,
             worst->name);
    assert_non_null(strstr(text.text, line));
    snprintf(line, sizeof(line), "(%d tokens) reached 12 of 12 experts",
             (int)mf->desc.n_calibrated);
    assert_non_null(strstr(text.text, line));
    assert_int_equal(
        erne_file_inspect(rounded_path, ERNE_INSPECT_JSON, keep, &json, NULL), 0);
    check_json(mf, json.text);
}

static void test_calibrated_experts(void **state)
{
    static const char *const text = ERNE_TEST_DIR "/prose.txt";
    const char *const src = ERNE_TEST_GOLDEN "/moe";
    struct erne_convert_opts opts = options(src, rounded_path, "w4");
    struct erne_model_file exact, rounded;
    struct kept said = { "" };
    const char *line;

    (void)state;
    write_text(text, 3000);
    exact = convert(options(src, exact_path, "f32"));
    opts.calibrate = text;
    opts.report = keep;
    opts.report_user = &said;
    rounded = convert(opts);
    line = strstr(said.text, "calibrated on ");
    assert_non_null(line);
    check_tokens(&rounded, strtol(line + strlen("calibrated on "), NULL, 10));
    assert_true(check_errors(&exact, &rounded) > 2 * 2 * 6);
    check_kinds(&rounded);
    check_inspect(&rounded);
    erne_model_file_close(&exact);
    erne_model_file_close(&rounded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_those_of_the_weights),
        cmocka_unit_test(test_calibrated_experts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
