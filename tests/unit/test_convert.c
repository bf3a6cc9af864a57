/* test_convert.c -- conversions as a whole: every weight where it belongs, the same bytes
 * whatever the threads and interruptions, everything that is refused. */
#include "tests/support/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/convert.h"
#include "platforms/platform.h"
#include "quantize/tile64.h"
#include "runtime/engine.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/checkpoint.h"
#include "tests/support/gguf_file.h"

static const char *const dir = ERNE_TEST_DIR;
static const char *const dst = ERNE_TEST_DIR "/out.erne";
static const char *const part = ERNE_TEST_DIR "/out.erne.part";
static const char *const gguf = ERNE_TEST_DIR "/model.gguf";

struct report {
    char text[8192];
};

static int keep_report(void *user, const char *text, size_t n_bytes)
{
    struct report *report = user;
    const size_t n = strlen(report->text);

    snprintf(report->text + n, sizeof(report->text) - n, "%.*s", (int)n_bytes, text);
    return 0;
}

static struct erne_convert_opts options(const char *src, const char *scheme)
{
    struct erne_convert_opts opts = erne_convert_opts_default();

    opts.src = src;
    opts.dst = dst;
    opts.scheme = scheme;
    opts.n_threads = 2;
    opts.overwrite = true;
    return opts;
}

static void convert(const struct erne_convert_opts *opts)
{
    struct erne_error err = { 0 };

    if (erne_convert(opts, &err) < 0)
        fail_msg("%s", err.text);
}

static void refuse(const struct erne_convert_opts *opts, int status, const char *says)
{
    struct erne_error err = { 0 };

    assert_int_equal(erne_convert(opts, &err), status);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static void write_checkpoint(struct checkpoint cp)
{
    cp.dir = dir;
    cp.tokenizer = ERNE_TEST_GOLDEN "/tiny/tokenizer.model";
    assert_int_equal(checkpoint_write(&cp), 0);
}

/* The whole file; freed by the caller. */
static uint8_t *load(const char *path, size_t *n_bytes)
{
    struct pf_file *file;
    uint64_t size;
    uint8_t *data;

    assert_int_equal(pf_file_open(&file, path, PF_READ), 0);
    assert_int_equal(pf_file_size(file, &size), 0);
    data = malloc((size_t)size);
    assert_non_null(data);
    assert_int_equal(pf_file_read_at(file, data, (size_t)size, 0), 0);
    pf_file_close(&file);
    *n_bytes = (size_t)size;
    return data;
}

static void assert_file_is(const uint8_t *want, size_t n_want)
{
    size_t n;
    uint8_t *got = load(dst, &n);

    assert_int_equal(n, n_want);
    assert_memory_equal(got, want, n);
    free(got);
}

/* ----------------------------------------------------------------- values */

static struct erne_model_file open_dst(void)
{
    struct erne_model_file mf;
    struct erne_error err = { 0 };

    if (erne_model_file_open(&mf, dst, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < mf.n_tensors; i++)
        assert_int_equal(erne_model_file_check(&mf.tensors[i], &err), 0);
    return mf;
}

/* Row `row` of a tensor as f32 [k]. */
static void decode(const struct erne_model_file *mf, const char *name, int64_t row,
                   float *dst_row)
{
    const struct erne_file_tensor *t = erne_model_file_find(mf, name);

    if (!t)
        fail_msg("no tensor %s", name);
    const uint8_t *data = erne_model_file_data(t);

    tile64_decode_row(dst_row, t->scheme, &t->planes, data,
                      (const uint16_t *)(const void *)(data + t->planes.scales_offset),
                      (const uint16_t *)(const void *)(data + t->planes.minima_offset),
                      row, t->k);
}

/* Row `row` of the output is row `src_row` of tensor `src`. */
static void check_row(const struct erne_model_file *mf, const char *name, int64_t row,
                      const char *src, int64_t src_row)
{
    float got[CHECKPOINT_HEADS * CHECKPOINT_HEAD_DIM];
    const int64_t k = erne_model_file_find(mf, name)->k;

    decode(mf, name, row, got);
    for (int64_t i = 0; i < k; i++) {
        const float want = checkpoint_value(src, "BF16", (uint64_t)(src_row * k + i));

        assert_memory_equal(&got[i], &want, sizeof(want));
    }
}

static void check_qkv(const struct erne_model_file *mf)
{
    const int64_t q = CHECKPOINT_HEADS * CHECKPOINT_HEAD_DIM;
    const int64_t kv = CHECKPOINT_KV_HEADS * CHECKPOINT_HEAD_DIM;

    for (int64_t i = 0; i < q; i++)
        check_row(mf, "layers.1.qkv", i, "model.layers.1.self_attn.q_proj.weight", i);
    for (int64_t i = 0; i < kv; i++) {
        check_row(mf, "layers.1.qkv", q + i, "model.layers.1.self_attn.k_proj.weight", i);
        check_row(mf, "layers.1.qkv", q + kv + i,
                  "model.layers.1.self_attn.v_proj.weight", i);
    }
}

/* Runs of 16 gate rows and 16 up rows; 88 rows leave half a run of zeros. */
static void check_gate_up(const struct erne_model_file *mf)
{
    const struct erne_file_tensor *t = erne_model_file_find(mf, "layers.0.gate_up");
    float row[CHECKPOINT_EMBD];

    assert_int_equal(t->n, 2 * 96);
    for (int64_t i = 0; i < 96; i++) {
        const int64_t gate = i / 16 * 32 + i % 16;

        if (i < CHECKPOINT_FF) {
            check_row(mf, t->name, gate, "model.layers.0.mlp.gate_proj.weight", i);
            check_row(mf, t->name, gate + 16, "model.layers.0.mlp.up_proj.weight", i);
            continue;
        }
        for (int up = 0; up < 2; up++) {
            decode(mf, t->name, gate + 16 * up, row);
            for (int c = 0; c < CHECKPOINT_EMBD; c++)
                assert_true(fabsf(row[c]) <= 0);
        }
    }
}

static void check_biases(const struct erne_model_file *mf)
{
    float got[2 * 96];
    const float first = checkpoint_value("model.layers.0.mlp.gate_proj.bias", "BF16", 0);
    const float second = checkpoint_value("model.layers.0.mlp.up_proj.bias", "BF16", 0);
    const float third = checkpoint_value("model.layers.0.mlp.gate_proj.bias", "BF16", 16);
    const float key = checkpoint_value("model.layers.1.self_attn.k_proj.bias", "BF16", 3);

    decode(mf, "layers.0.gate_up.bias", 0, got);
    assert_memory_equal(&got[0], &first, sizeof(first));
    assert_memory_equal(&got[16], &second, sizeof(second));
    assert_memory_equal(&got[32], &third, sizeof(third));
    assert_true(fabsf(got[191]) <= 0);
    decode(mf, "layers.1.qkv.bias", 0, got);
    assert_memory_equal(&got[CHECKPOINT_HEADS * CHECKPOINT_HEAD_DIM + 3], &key,
                        sizeof(key));
}

static void test_every_weight_is_where_it_belongs(void **state)
{
    static const char *const schemes[] = { NULL, "source", "bf16", "f32" };

    (void)state;
    write_checkpoint(
        (struct checkpoint){ .dtype = "BF16", .untied = true, .biases = true });
    for (size_t i = 0; i < ERNE_ARRAY_LEN(schemes); i++) {
        const struct erne_convert_opts opts = options(dir, schemes[i]);

        convert(&opts);
        struct erne_model_file mf = open_dst();

        for (int64_t row = 0; row < CHECKPOINT_VOCAB; row++) {
            check_row(&mf, "embed", row, "model.embed_tokens.weight", row);
            check_row(&mf, "lm_head", row, "lm_head.weight", row);
        }
        check_row(&mf, "norm", 0, "model.norm.weight", 0);
        check_row(&mf, "layers.1.ffn_norm", 0,
                  "model.layers.1.post_attention_layernorm.weight", 0);
        for (int64_t row = 0; row < CHECKPOINT_EMBD; row++) {
            check_row(&mf, "layers.0.attn_out", row,
                      "model.layers.0.self_attn.o_proj.weight", row);
            check_row(&mf, "layers.1.down", row, "model.layers.1.mlp.down_proj.weight",
                      row);
        }
        check_qkv(&mf);
        check_gate_up(&mf);
        check_biases(&mf);
        erne_model_file_close(&mf);
    }
}

static const char *scheme_of(const struct erne_model_file *mf, const char *name)
{
    static char text[ERNE_SCHEME_NAME_MAX];

    erne_scheme_name(erne_model_file_find(mf, name)->scheme, text);
    return text;
}

/* All rows of all tensors of dst as floats, in order; freed by the caller. */
static float *decode_all(size_t *n)
{
    struct erne_model_file mf = open_dst();
    float *all;

    *n = 0;
    for (size_t i = 0; i < mf.n_tensors; i++)
        *n += (size_t)(mf.tensors[i].n * mf.tensors[i].k);
    all = malloc(*n * sizeof(*all));
    assert_non_null(all);
    *n = 0;
    for (size_t i = 0; i < mf.n_tensors; i++)
        for (int64_t row = 0; row < mf.tensors[i].n; row++) {
            decode(&mf, mf.tensors[i].name, row, all + *n);
            *n += (size_t)mf.tensors[i].k;
        }
    erne_model_file_close(&mf);
    return all;
}

/* Blocks of a GGUF file: taken over as codes they mean what they mean as floats. */
static void test_quantised_checkpoints_are_taken_over_exactly(void **state)
{
    enum { F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8 };
    static const struct gguf_file_types types = { .embed = Q8_0,
                                                  .q = Q4_0,
                                                  .k = Q8_0,
                                                  .v = Q5_0,
                                                  .attn_out = Q4_1,
                                                  .gate = Q5_1,
                                                  .up = Q5_1,
                                                  .down = Q4_0 };
    struct gguf_file *f = malloc(sizeof(*f));
    struct erne_convert_opts opts = options(gguf, "source");
    struct erne_model_file mf;
    size_t n_exact, n_f32;

    (void)state;
    assert_non_null(f);
    gguf_file_model(f, "ernie4_5", &types);
    assert_int_equal(gguf_file_write(f, gguf), 0);
    convert(&opts);
    mf = open_dst();
    assert_string_equal(scheme_of(&mf, "embed"), "w8-g32");
    assert_string_equal(scheme_of(&mf, "layers.0.qkv"), "w8-g32");
    assert_string_equal(scheme_of(&mf, "layers.0.attn_out"), "w4-g32a");
    assert_string_equal(scheme_of(&mf, "layers.0.gate_up"), "w8-g32a");
    assert_string_equal(scheme_of(&mf, "layers.0.down"), "w4-g32");
    erne_model_file_close(&mf);
    float *exact = decode_all(&n_exact);

    opts.scheme = "f32";
    convert(&opts);
    float *f32 = decode_all(&n_f32);

    assert_int_equal(n_exact, n_f32);
    for (size_t i = 0; i < n_f32; i++)
        assert_true(exact[i] >= f32[i] && exact[i] <= f32[i]);
    free(exact);
    free(f32);
    free(f);
}

static void test_mixed_types_that_only_f32_holds(void **state)
{
    static const struct gguf_file_types types = {
        .gate = 1, .up = 30, .q = 2, .k = 3, .v = 2
    };
    struct gguf_file *f = malloc(sizeof(*f));
    const struct erne_convert_opts opts = options(gguf, "source");
    struct erne_model_file mf;

    (void)state;
    assert_non_null(f);
    gguf_file_model(f, "llama", &types);
    assert_int_equal(gguf_file_write(f, gguf), 0);
    convert(&opts);
    mf = open_dst();
    assert_string_equal(scheme_of(&mf, "layers.0.qkv"), "f32");
    assert_string_equal(scheme_of(&mf, "layers.0.gate_up"), "f32");
    erne_model_file_close(&mf);
    free(f);
}

static void test_rules_choose_schemes(void **state)
{
    static const char *const rules[] = { "^layers\\.0\\.=w8", "down|norm=w4-g64a",
                                         "embed=source" };
    struct erne_convert_opts opts = options(dir, "w4");
    struct erne_model_file mf;

    (void)state;
    write_checkpoint((struct checkpoint){ .dtype = "F16" });
    opts.rules = rules;
    opts.n_rules = ERNE_ARRAY_LEN(rules);
    convert(&opts);
    mf = open_dst();
    assert_string_equal(scheme_of(&mf, "embed"), "f16");
    assert_string_equal(scheme_of(&mf, "layers.0.down"), "w8");
    assert_string_equal(scheme_of(&mf, "layers.1.down"), "w4-g64a");
    assert_string_equal(scheme_of(&mf, "layers.1.qkv"), "w4-g32");
    assert_string_equal(scheme_of(&mf, "layers.1.ffn_norm"), "f32");
    erne_model_file_close(&mf);
}

/* --------------------------------------------------- threads, interruptions */

static void test_bytes_do_not_depend_on_threads(void **state)
{
    static const char *const schemes[] = { "source", "w8", "w4-g64a", "w2" };

    (void)state;
    write_checkpoint((struct checkpoint){ .untied = true });
    for (size_t i = 0; i < ERNE_ARRAY_LEN(schemes); i++) {
        struct erne_convert_opts opts = options(dir, schemes[i]);
        size_t n;

        opts.n_threads = 1;
        convert(&opts);
        uint8_t *want = load(dst, &n);

        for (opts.n_threads = 2; opts.n_threads <= 5; opts.n_threads += 3) {
            convert(&opts);
            assert_file_is(want, n);
        }
        free(want);
    }
}

/* What the reference computes now from the finished file is what it says. */
static void test_golden_logits(void **state)
{
    static const char *const words[] = { NULL, "auto", "on", "off" };

    (void)state;
    write_checkpoint((struct checkpoint){ .biases = true });
    for (size_t i = 0; i < ERNE_ARRAY_LEN(words); i++) {
        struct erne_engine_opts eo = erne_engine_opts_default();
        struct erne_convert_opts opts = options(dir, "w4");
        struct erne_engine *engine = NULL;
        struct erne_error err = { 0 };
        const struct erne_golden *golden;
        float got[ERNE_GOLDEN_ROWS * CHECKPOINT_VOCAB];

        opts.golden = words[i];
        convert(&opts);
        eo.backend = "reference";
        assert_int_equal(erne_engine_open(&engine, dst, &eo, &err), 0);
        golden = &engine->file.golden;
        assert_int_equal(golden->n_rows, i == 3 ? 0 : ERNE_GOLDEN_ROWS);
        if (golden->n_rows > 0) {
            assert_int_equal(erne_golden_run(engine, golden, got, &err), 0);
            assert_memory_equal(got, golden->logits, sizeof(got));
        }
        erne_engine_close(&engine);
    }
}

/* Weights larger than the memory that may be used: auto leaves them out. */
static void test_golden_logits_follow_the_memory(void **state)
{
    static const struct {
        const char *word;
        uint64_t data_bytes;
        int n_ctx, status;
        bool has_golden;
    } cases[] = {
        { NULL, 1000, 64, 0, true },        { NULL, 1001, 64, 0, false },
        { "on", 1001, 64, 0, true },        { "off", 10, 64, 0, false },
        { "auto", 10, 5, 0, false },        { "on", 10, 5, ERNE_EUNSUPPORTED, false },
        { "auto", 10, 6, 0, true },         { "often", 10, 64, ERNE_EINVAL, false },
        { "", 10, 64, ERNE_EINVAL, false },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        const struct erne_convert_opts opts = { .golden = cases[i].word };
        struct source src = { .desc = { .n_ctx_train = cases[i].n_ctx, .n_vocab = 70 } };
        struct convert_plan plan = { .src = &src,
                                     .max_ram = 1000,
                                     .data_bytes = cases[i].data_bytes };

        assert_int_equal(convert_golden_plan(&plan, &opts, NULL), cases[i].status);
        assert_int_equal(plan.has_golden, cases[i].has_golden);
    }
}

/* When some tensors are done for certain: none of them has half of all bytes. */
static int cancel_halfway(void *user, uint64_t done, uint64_t total, const char *what)
{
    (void)user;
    assert_true(done <= total);
    assert_non_null(what);
    return done > total / 2;
}

/* Errors of tensors that were there already are in the file, but not in the sums. */
static void test_a_cancelled_conversion_goes_on(void **state)
{
    struct erne_convert_opts opts = options(dir, "w4");
    struct erne_error err;
    struct report report = { "" };
    const char *error;
    size_t n;

    (void)state;
    write_checkpoint((struct checkpoint){ 0 });
    convert(&opts);
    uint8_t *want = load(dst, &n);

    pf_path_remove(dst);
    opts.n_threads = 1; /* so that the others begin when those are done */
    opts.progress = cancel_halfway;
    assert_int_equal(erne_convert(&opts, &err), ERNE_ECANCELLED);
    assert_false(pf_path_exists(dst));
    assert_true(pf_path_exists(part));
    opts.progress = NULL;
    opts.report = keep_report;
    opts.report_user = &report;
    convert(&opts);
    assert_non_null(strstr(report.text, "tensors were there already"));
    error = strstr(report.text, "relative error"); /* unless all was done */
    if (error)
        assert_non_null(strstr(error, "(root mean square, of what was made now)"));
    assert_false(pf_path_exists(part));
    assert_file_is(want, n);
    free(want);
}

static int count_to_the_end(void *user, uint64_t done, uint64_t total, const char *what)
{
    uint64_t *last = user;

    assert_non_null(what);
    assert_true(done >= *last);
    *last = done == total ? total : done;
    return 0;
}

static void test_progress_ends_at_the_total(void **state)
{
    struct erne_convert_opts opts = options(dir, "w4");
    uint64_t last = 0;

    (void)state;
    write_checkpoint((struct checkpoint){ .biases = true });
    opts.golden = "off"; /* which have a progress of their own */
    opts.progress = count_to_the_end;
    opts.progress_user = &last;
    convert(&opts);
    struct erne_model_file mf = open_dst();
    uint64_t total = 0;

    for (size_t i = 0; i < mf.n_tensors; i++)
        total += mf.tensors[i].n_bytes;
    assert_true(last == total);
    erne_model_file_close(&mf);
}

static const char shard[] = ERNE_TEST_DIR "/model.safetensors";

/* Sets the last weight of the checkpoint, the end of lm_head. */
static void set_last_weight(float x)
{
    struct pf_file *file;
    uint64_t size;

    assert_int_equal(pf_file_open(&file, shard, PF_WRITE_EXISTING), 0);
    assert_int_equal(pf_file_size(file, &size), 0);
    assert_int_equal(pf_file_write_at(file, &x, sizeof(x), size - sizeof(x)), 0);
    pf_file_close(&file);
}

static uint64_t changed(const char *path)
{
    struct pf_file *file;
    uint64_t ns;

    assert_int_equal(pf_file_open(&file, path, PF_READ), 0);
    assert_int_equal(pf_file_changed(file, &ns), 0);
    pf_file_close(&file);
    return ns;
}

/* A failure at the last tensor leaves all others in the .part file. They are of what the
 * checkpoint was then: once it has been mended, nothing of them is taken up. */
static void test_a_mended_checkpoint_is_not_resumed(void **state)
{
    struct erne_convert_opts opts = options(dir, "w8");
    struct report report = { "" };
    size_t n;

    (void)state;
    write_checkpoint((struct checkpoint){ .untied = true });
    set_last_weight(0.25f);
    convert(&opts);
    uint8_t *want = load(dst, &n);

    pf_path_remove(dst);
    opts.n_threads = 1;
    set_last_weight(NAN);
    refuse(&opts, ERNE_EFORMAT, "lm_head");
    set_last_weight(INFINITY);
    refuse(&opts, ERNE_EFORMAT, "not finite");
    assert_true(pf_path_exists(part));
    while (changed(shard) <= changed(part)) /* clocks of files tick slowly */
        set_last_weight(0.25f);
    opts.report = keep_report;
    opts.report_user = &report;
    convert(&opts);
    assert_null(strstr(report.text, "already"));
    assert_file_is(want, n);
    free(want);
}

/* The rest of another checkpoint of the same shapes is not taken up. */
static void test_only_the_same_checkpoint_is_resumed(void **state)
{
    struct erne_convert_opts opts = options(dir, "w8");
    struct report report = { "" };
    size_t n;

    (void)state;
    write_checkpoint((struct checkpoint){ .untied = true, .dtype = "F32" });
    opts.n_threads = 1;
    set_last_weight(NAN);
    refuse(&opts, ERNE_EFORMAT, "lm_head");
    write_checkpoint((struct checkpoint){ .untied = true, .dtype = "BF16" });
    opts.report = keep_report;
    opts.report_user = &report;
    convert(&opts);
    assert_null(strstr(report.text, "already"));
    uint8_t *want = load(dst, &n);

    convert(&opts);
    assert_file_is(want, n);
    free(want);
}

/* ----------------------------------------------------------- plan, report */

static void test_a_dry_run_writes_nothing(void **state)
{
    struct erne_convert_opts opts = options(dir, "w4");
    struct report report = { "" };

    (void)state;
    write_checkpoint((struct checkpoint){ .dtype = "BF16" });
    pf_path_remove(dst);
    opts.dry_run = true;
    opts.report = keep_report;
    opts.report_user = &report;
    convert(&opts);
    assert_false(pf_path_exists(dst));
    assert_false(pf_path_exists(part));
    assert_non_null(strstr(report.text, "embedding"));
    assert_non_null(strstr(report.text, "BF16"));
    assert_non_null(strstr(report.text, "w4-g32"));
    assert_non_null(strstr(report.text, "MiB of memory"));
}

static void test_the_report_tells_what_rounding_cost(void **state)
{
    struct erne_convert_opts opts = options(dir, "w8");
    struct report report = { "" };

    (void)state;
    write_checkpoint((struct checkpoint){ 0 });
    opts.report = keep_report;
    opts.report_user = &report;
    convert(&opts);
    const char *line = strstr(report.text, "relative error");

    assert_non_null(line);
    /* values uniform in [-1, 1] in steps of 1 / 127 / sqrt(12), against 1 / sqrt(3) */
    const double percent = strtod(line + strlen("relative error"), NULL);

    assert_true(percent > 0.3 && percent < 0.5);
}

static int refuse_text(void *user, const char *text, size_t n_bytes)
{
    (void)user;
    (void)text;
    (void)n_bytes;
    return -1;
}

/* --------------------------------------------------------------- refusals */

static void test_bad_requests_are_refused(void **state)
{
    static const char *const rules[][1] = { { "layers" }, { "[=w4" }, { "x=w5" } };
    struct erne_convert_opts opts = options(dir, "w4"), bad;

    (void)state;
    write_checkpoint((struct checkpoint){ 0 });
    convert(&opts);
    bad = opts;
    bad.scheme = "w4-g48";
    refuse(&bad, ERNE_EINVAL, "w4-g48");
    bad.rules = NULL;
    bad.scheme = "w4";
    bad.n_rules = 1;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(rules); i++) {
        bad.rules = rules[i];
        refuse(&bad, ERNE_EINVAL, rules[i][0]);
    }
    bad = opts;
    bad.overwrite = false;
    refuse(&bad, ERNE_EINVAL, "exists already");
    bad = opts;
    bad.dst = opts.src;
    refuse(&bad, ERNE_EINVAL, "one file");
    bad.dst = ERNE_TEST_DIR "/nowhere/out.erne";
    refuse(&bad, ERNE_EINVAL, "nowhere");
    bad = opts;
    bad.n_threads = -1;
    refuse(&bad, ERNE_EINVAL, "-1 threads");
    bad = opts;
    bad.src = NULL;
    refuse(&bad, ERNE_EINVAL, "src");
    bad = opts;
    bad.struct_size = 0;
    refuse(&bad, ERNE_EINVAL, "erne_convert_opts_default");
    bad = opts;
    bad.max_ram = 4096;
    refuse(&bad, ERNE_EINVAL, "memory");
    bad = opts;
    bad.chat_template = "no-such-template";
    refuse(&bad, ERNE_EINVAL, "no-such-template");
    bad = opts;
    bad.report = refuse_text;
    refuse(&bad, ERNE_EIO, "plan");
}

static void test_tensors_are_refused_by_name(void **state)
{
    static const char *const o_proj = "model.layers.1.self_attn.o_proj.weight";
    struct erne_convert_opts opts = options(dir, "w4");

    (void)state;
    write_checkpoint((struct checkpoint){ .left_out = o_proj });
    refuse(&opts, ERNE_EFORMAT, o_proj);
    write_checkpoint((struct checkpoint){ .misshapen = o_proj });
    refuse(&opts, ERNE_EFORMAT, "has the shape [40, 97], not [40, 96]");
    write_checkpoint((struct checkpoint){ .added = "model.layers.0.mlp.gate.weight" });
    refuse(&opts, ERNE_EUNSUPPORTED, "model.layers.0.mlp.gate.weight");
    write_checkpoint((struct checkpoint){ .added = "a\\n\\u001b[1m\\u00e9\\u007f" });
    refuse(&opts, ERNE_EUNSUPPORTED, "the tensor a??[1m\u00e9? is not");
    write_checkpoint((struct checkpoint){
        .biases = true, .left_out = "model.layers.0.mlp.up_proj.bias" });
    refuse(&opts, ERNE_EFORMAT, "model.layers.0.mlp.up_proj.bias");
    write_checkpoint((struct checkpoint){
        .biases = true, .misshapen = "model.layers.0.mlp.up_proj.bias" });
    refuse(&opts, ERNE_EFORMAT, "model.layers.0.mlp.up_proj.bias has 89 elements");
}

/* Matrices, norms and biases, made of several tensors or one: the text has the file, the
 * tensor and the row of the checkpoint. */
static void test_weights_that_are_no_numbers_are_refused(void **state)
{
    static const struct {
        const char *tensor, *says;
    } cases[] = {
        { "model.embed_tokens.weight",
          "00001-of-00002.safetensors: model.embed_tokens.weight: a weight in row 129" },
        { "model.layers.0.self_attn.v_proj.weight",
          "model.layers.0.self_attn.v_proj.weight: a weight in row 31" },
        { "model.layers.1.mlp.up_proj.weight",
          "model.layers.1.mlp.up_proj.weight: a weight in row 87" },
        { "model.layers.1.mlp.up_proj.bias",
          "model.layers.1.mlp.up_proj.bias: weight 87" },
        { "model.norm.weight",
          "00002-of-00002.safetensors: model.norm.weight: weight 39 is not" },
    };
    static const char *const schemes[] = { "source", "f16", "w4" };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++)
        for (size_t j = 0; j < ERNE_ARRAY_LEN(schemes); j++) {
            const struct erne_convert_opts opts = options(dir, schemes[j]);

            write_checkpoint((struct checkpoint){
                .biases = true, .n_shards = 2, .nan_in = cases[i].tensor });
            refuse(&opts, ERNE_EFORMAT, cases[i].says);
        }
}

/* Every allocation fails once; nothing leaks, and the message says why. */
static void fail_every_allocation(const char *src)
{
    struct erne_convert_opts opts = options(src, "w4");
    int st;

    opts.n_threads = 1;
    for (size_t n = 1;; n++) {
        struct erne_error err = { 0 };

        alloc_fail_at(n);
        st = erne_convert(&opts, &err);
        if (!alloc_fail_hit())
            break;
        assert_int_equal(st, ERNE_ENOMEM);
        assert_true(err.text[0] != '\0');
        pf_path_remove(part);
    }
    assert_int_equal(st, 0);
}

static void test_allocation_failures(void **state)
{
    struct gguf_file *f = malloc(sizeof(*f));

    (void)state;
    assert_non_null(f);
    write_checkpoint((struct checkpoint){ .n_shards = 2, .untied = true });
    fail_every_allocation(dir);
    gguf_file_model(f, "llama", NULL);
    assert_int_equal(gguf_file_write(f, gguf), 0);
    fail_every_allocation(gguf);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_weight_is_where_it_belongs),
        cmocka_unit_test(test_quantised_checkpoints_are_taken_over_exactly),
        cmocka_unit_test(test_mixed_types_that_only_f32_holds),
        cmocka_unit_test(test_rules_choose_schemes),
        cmocka_unit_test(test_bytes_do_not_depend_on_threads),
        cmocka_unit_test(test_golden_logits),
        cmocka_unit_test(test_golden_logits_follow_the_memory),
        cmocka_unit_test(test_a_cancelled_conversion_goes_on),
        cmocka_unit_test(test_progress_ends_at_the_total),
        cmocka_unit_test(test_a_mended_checkpoint_is_not_resumed),
        cmocka_unit_test(test_only_the_same_checkpoint_is_resumed),
        cmocka_unit_test(test_a_dry_run_writes_nothing),
        cmocka_unit_test(test_the_report_tells_what_rounding_cost),
        cmocka_unit_test(test_bad_requests_are_refused),
        cmocka_unit_test(test_tensors_are_refused_by_name),
        cmocka_unit_test(test_weights_that_are_no_numbers_are_refused),
        cmocka_unit_test(test_allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
