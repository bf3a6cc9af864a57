/* test_layouts.c -- the models of tests/models/layouts: whatever layout their weights
 * come in, the same tensors are written; what is refused is named.
 * tests/oracle/make_layouts.py says what they are. */
#include "tests/support/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "quantize/tile64.h"
#include "runtime/model_file.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/checkpoint.h"
#include "tests/support/lay_out.h"

static const char *const dir = ERNE_TEST_DIR;
static const char *const first_dst = ERNE_TEST_DIR "/first.erne";
static const char *const other_dst = ERNE_TEST_DIR "/other.erne";

/* ------------------------------------------------------------ conversions */

static struct erne_convert_opts options(const char *src, const char *dst)
{
    struct erne_convert_opts opts = erne_convert_opts_default();

    opts.src = src;
    opts.dst = dst;
    opts.scheme = "f32";
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

static struct erne_model_file open_file(const char *path)
{
    struct erne_model_file mf;
    struct erne_error err = { 0 };

    if (erne_model_file_open(&mf, path, &err) < 0)
        fail_msg("%s", err.text);
    return mf;
}

static void compare(const char *what)
{
    struct erne_model_file a = open_file(first_dst), b = open_file(other_dst);

    assert_int_equal(a.n_tensors, b.n_tensors);
    for (size_t i = 0; i < a.n_tensors; i++) {
        const struct erne_file_tensor *x = &a.tensors[i], *y = &b.tensors[i];

        assert_string_equal(x->name, y->name);
        if (!erne_scheme_equal(x->scheme, y->scheme) || x->n != y->n || x->k != y->k ||
            memcmp(erne_model_file_data(x), erne_model_file_data(y),
                   x->planes.total_bytes) != 0)
            fail_msg("%s: %s differs", what, x->name);
    }
    erne_model_file_close(&a);
    erne_model_file_close(&b);
}

/* ------------------------------------------------------------------ tests */

static void test_every_layout_gives_the_same_tensors(void **state)
{
    static const struct {
        const char *model, *layouts[5];
    } cases[] = {
        { "moe", { "memory", "paddle", "paddle-split", "gguf" } },
        { "moe-untied", { "paddle", "gguf" } },
        { "vl", { "memory", "paddle", "paddle-split" } },
        { "paddleocr", { "memory", "paddle", "gguf" } },
        { "moe-square", { "memory", "paddle" } },
        { "vl-square", { "memory", "paddle" } },
    };
    static const char *const schemes[] = { "f32", "w4" };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++)
        for (size_t s = 0; s < ERNE_ARRAY_LEN(schemes); s++) {
            struct erne_convert_opts opts = options(dir, first_dst);

            opts.scheme = schemes[s];
            lay_out(cases[i].model, "pt");
            convert(&opts);
            for (int l = 0; cases[i].layouts[l]; l++) {
                opts.src = lay_out(cases[i].model, cases[i].layouts[l]);
                opts.dst = other_dst;
                convert(&opts);
                compare(cases[i].layouts[l]);
            }
        }
}

static void test_layers_without_a_pattern(void **state)
{
    const struct erne_convert_opts opts = options(lay_out("vl-square", "pt"), first_dst);

    (void)state;
    convert(&opts);
    struct erne_model_file mf = open_file(first_dst);

    assert_string_equal(mf.desc.moe.layers, "ede");
    erne_model_file_close(&mf);
}

/* With the smallest memory, transposed matrices are read in other blocks. */
static void test_memory_makes_no_difference(void **state)
{
    struct erne_convert_opts opts = options(dir, first_dst);
    struct erne_error err = { 0 };

    (void)state;
    lay_out("vl", "paddle");
    convert(&opts);
    opts.dst = other_dst;
    opts.n_threads = 1;
    opts.max_ram = 1;
    refuse(&opts, ERNE_EINVAL, "a thread needs");
    while (erne_convert(&opts, &err) == ERNE_EINVAL)
        opts.max_ram += 64 * 1024;
    assert_int_equal(err.status, ERNE_EINVAL); /* that of the last refusal */
    compare("little memory");
}

static void test_the_prediction_block_is_kept_on_demand(void **state)
{
    struct erne_convert_opts opts = options(dir, first_dst);

    (void)state;
    opts.with_mtp = true;
    lay_out("moe-untied", "pt");
    convert(&opts);
    lay_out("moe-untied", "paddle");
    opts.dst = other_dst;
    convert(&opts);
    compare("mtp");
    struct erne_model_file mf = open_file(first_dst);

    assert_int_equal(erne_model_file_find(&mf, "mtp.proj")->k, 96);
    erne_model_file_close(&mf);
    lay_out("moe", "pt");
    refuse(&opts, ERNE_EFORMAT, "model.mtp_emb_norm.0.weight");
}

/* Routers and norms keep f32, vision gets 8 bits; a rule decides otherwise. */
static void test_schemes_by_role(void **state)
{
    static const char *const rules[] = { "^vision[.]patch$=w4", "router=w2" };
    struct erne_convert_opts opts = options(dir, first_dst);

    (void)state;
    opts.scheme = "w4-g64a";
    opts.rules = rules;
    opts.n_rules = ERNE_ARRAY_LEN(rules);
    lay_out("vl", "pt");
    convert(&opts);
    struct erne_model_file mf = open_file(first_dst);
    const struct {
        const char *tensor, *scheme;
    } want[] = {
        { "vision.patch", "w4-g32" },      { "vision.blocks.0.fc1", "w8-g64" },
        { "resampler.out", "w8-g64" },     { "layers.1.router", "f32" },
        { "layers.1.router.bias", "f32" }, { "layers.1.experts.5.down", "w4-g64a" }
    };

    for (size_t i = 0; i < ERNE_ARRAY_LEN(want); i++) {
        char name[ERNE_SCHEME_NAME_MAX];

        erne_scheme_name(erne_model_file_find(&mf, want[i].tensor)->scheme, name);
        assert_string_equal(name, want[i].scheme);
    }
    erne_model_file_close(&mf);
}

static void test_configurations_are_refused_by_name(void **state)
{
    static const struct {
        const char *model, *layout, *from, *to;
        int status;
        const char *says;
    } cases[] = {
        { "moe", "pt", "\"moe_k\": 2", "\"moe_gate_act\": \"sigmoid\"", ERNE_EUNSUPPORTED,
          "sigmoid" },
        { "moe", "pt", "\"moe_k\": 2", "\"moe_norm_gate_logits\": false",
          ERNE_EUNSUPPORTED, "moe_norm_gate_logits" },
        { "moe", "pt", "\"moe_k\": 2", "\"moe_k\": 2, \"routed_scaling_factor\": 2.5",
          ERNE_EUNSUPPORTED, "routed_scaling_factor" },
        { "moe", "pt", "\"moe_k\": 2", "\"moe_k\": 6", ERNE_EFORMAT,
          "config.json: moe_k is 6, not in 1 .. 5" },
        { "moe", "pt", "\"rms_norm_eps\": ", "\"rms_norm_eps\": 2, \"x\": ", ERNE_EFORMAT,
          "config.json: rms_norm_eps is 2, not between 0 and 1" },
        { "moe", "pt", "\"num_key_value_heads\": ",
          "\"num_key_value_heads\": -1, \"x\": ", ERNE_EFORMAT,
          "config.json: num_key_value_heads is -1, not in 1" },
        { "moe", "pt", "\"num_key_value_heads\": ",
          "\"num_key_value_heads\": 17, \"x\": ", ERNE_EFORMAT,
          "config.json: num_key_value_heads is 17, of which" },
        { "vl", "pt", "\"num_heads\": 2", "\"num_heads\": 3", ERNE_EFORMAT,
          "config.json: vision_config: num_heads is 3, of 8" },
        { "paddleocr", "pt", "\"layer_norm_eps\": ", "\"layer_norm_eps\": 0, \"x\": ",
          ERNE_EFORMAT, "config.json: vision_config: layer_norm_eps is 0, not" },
        { "paddleocr", "pt", "\"image_size\": 42", "\"image_size\": 42000", ERNE_EFORMAT,
          "config.json: vision_config: image_size / patch_size is 3000, not in 0" },
        { "vl", "pt", "\"text_config\": {", "\"text_config\": [], \"x\": {", ERNE_EFORMAT,
          "config.json: text_config: expected an object" },
        { "vl", "pt", "\"vision_config\": {", "\"vision_config\": \"x\", \"x\": {",
          ERNE_EFORMAT, "config.json: vision_config: expected an object" },
        { "vl", "pt", "\"text_config\": {", "\"text_config\": null, \"x\": {",
          ERNE_EFORMAT, "config.json: hidden_size is missing" },
        { "moe", "pt", "\"moe_k\": 2", "\"moe_k\": 0", ERNE_EFORMAT, "moe_k" },
        { "moe", "pt", "\"moe_num_experts\": 5", "\"moe_num_experts\": [5, 4]",
          ERNE_EUNSUPPORTED, "5 experts for text and 4" },
        { "moe", "pt", "\"moe_num_experts\": 5", "\"moe_num_experts\": \"5\"",
          ERNE_EFORMAT, "moe_num_experts" },
        { "moe", "pt", "\"moe_num_experts\": 5", "\"moe_num_experts\": 6", ERNE_EFORMAT,
          "gate.weight has the shape [5, 48], not [6, 48]" },
        { "moe", "memory", "\"moe_num_experts\": 5", "\"moe_num_experts\": 6",
          ERNE_EFORMAT, "holds 5 experts, not 6" },
        { "moe", "paddle", "\"moe_intermediate_size\": 24",
          "\"moe_intermediate_size\": 20", ERNE_EFORMAT,
          "shared_experts.up_gate_proj.weight has the shape [48, 96], not [48, 80]" },
        { "moe", "pt", "\"moe_num_shared_experts\": 2", "\"moe_num_shared_experts\": 0",
          ERNE_EUNSUPPORTED, "shared_experts" },
        { "moe", "pt", "\"moe_layer_start_index\": 1",
          "\"moe_layer_start_index\": [1, 0]", ERNE_EUNSUPPORTED,
          "moe_layer_start_index" },
        { "moe", "pt", "\"moe_layer_start_index\": 1", "\"moe_layer_start_index\": 0",
          ERNE_EFORMAT, "there is no tensor model.layers.0.mlp.gate.weight" },
        { "moe", "pt", "\"moe_layer_start_index\": 1", "\"moe_layer_start_index\": 2",
          ERNE_EFORMAT, "there is no tensor model.layers.1.mlp.gate_proj.weight" },
        { "moe", "pt", "\"moe_norm_min\": 1e-12", "\"moe_norm_min\": null", ERNE_EFORMAT,
          "moe_norm_min: expected a value" },
        { "vl", "pt", "\"patch_size\": 14", "\"patch_size\": null", ERNE_EFORMAT,
          "patch_size: expected a value" },
        { "vl", "pt", "\"quick_gelu\"", "\"gelu\"", ERNE_EUNSUPPORTED, "quick_gelu" },
        { "vl", "pt", "\"image_token_id\": 90", "\"image_token_id\": 89", ERNE_EFORMAT,
          "<|IMAGE_PLACEHOLDER|> is 90" },
        { "vl", "pt", "\"in_channels\": 3", "\"in_channels\": 1", ERNE_EUNSUPPORTED,
          "in_channels" },
        { "vl", "pt", "\"sparse\"", "\"dense\"", ERNE_EFORMAT,
          "there is no tensor model.layers.1.mlp.gate_proj.weight" },
        { "vl", "pt", "\"sparse\"", "\"thick\"", ERNE_EUNSUPPORTED, "mlp_layer_types" },
        { "vl", "pt", "\"depth\": 1", "\"depth\": 2", ERNE_EFORMAT,
          "vision_model.blocks.1.norm1.weight" },
        { "vl", "pt", "\"depth\": 1", "\"depth\": 0", ERNE_EFORMAT, "depth is missing" },
        { "paddleocr", "pt", "\"num_attention_heads\": 2", "\"x\": 2", ERNE_EFORMAT,
          "num_attention_heads is missing" },
        { "vl", "pt", "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"",
          ERNE_EUNSUPPORTED, "yarn" },
        { "paddleocr", "pt", "\"gelu_pytorch_tanh\"", "\"gelu\"", ERNE_EUNSUPPORTED,
          "gelu_pytorch_tanh" },
        { "paddleocr", "pt", "\"image_size\": 42", "\"image_size\": 56", ERNE_EFORMAT,
          "position_embedding.weight has the shape [9, 24], not [16, 24]" },
        { "paddleocr", "pt", "mrope_section", "x", ERNE_EFORMAT, "mrope_section" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        const struct erne_convert_opts opts =
            options(lay_out(cases[i].model, cases[i].layout), first_dst);

        lay_out_edit("config.json", cases[i].from, cases[i].to);
        refuse(&opts, cases[i].status, cases[i].says);
    }
}

static void test_limits_of_pictures(void **state)
{
    struct erne_convert_opts opts = options(dir, first_dst);

    (void)state;
    lay_out("vl", "pt");
    lay_out_edit("preprocessor_config.json", "\"patch_size\": 14", "\"patch_size\": 16");
    refuse(&opts, ERNE_EFORMAT, "patches of 16");
    lay_out("vl", "pt");
    lay_out_edit("preprocessor_config.json", "0.25,", "");
    refuse(&opts, ERNE_EFORMAT, "image_std");
    checkpoint_put(dir, "preprocessor_config.json", NULL);
    convert(&opts);
    struct erne_model_file mf = open_file(first_dst);

    char text[4096];

    snprintf(text, sizeof(text), "%.*s", (int)mf.manifest_bytes, mf.manifest);
    assert_non_null(strstr(text, "max_pixels: 4842768"));
    erne_model_file_close(&mf);
}

/* The vision tower of a GGUF model is a second file. */
static void test_the_second_gguf_file(void **state)
{
    struct erne_convert_opts opts = options(lay_out("paddleocr", "gguf"), first_dst);

    (void)state;
    convert(&opts);
    assert_int_equal(
        pf_path_rename(ERNE_TEST_DIR "/mmproj.gguf", ERNE_TEST_DIR "/x.gguf"), 0);
    refuse(&opts, ERNE_EFORMAT, "--mmproj");
    opts.mmproj = ERNE_TEST_DIR "/x.gguf";
    opts.dst = other_dst;
    convert(&opts);
    compare("--mmproj");
    opts.mmproj = ERNE_TEST_DIR "/model.gguf";
    refuse(&opts, ERNE_EUNSUPPORTED, "no vision tower");
    opts.mmproj = NULL;
    checkpoint_put(dir, "a-mmproj.gguf", "");
    checkpoint_put(dir, "b-mmproj.gguf", "");
    refuse(&opts, ERNE_EINVAL, "a-mmproj.gguf or b-mmproj.gguf");
    checkpoint_put(dir, "a-mmproj.gguf", NULL);
    checkpoint_put(dir, "b-mmproj.gguf", NULL);
    remove(ERNE_TEST_DIR "/x.gguf");
}

/* As in transformers, whose classes have the released models' 500000. */
static void test_a_config_without_rope_theta(void **state)
{
    struct erne_convert_opts opts = options(lay_out("moe-square", "pt"), first_dst);

    (void)state;
    convert(&opts);
    lay_out_edit("config.json", "\"rope_theta\": 500000.0,", "");
    opts.dst = other_dst;
    convert(&opts);
    compare("no rope_theta");
    lay_out_edit("config.json", "\"rope_type\"", "\"rope_theta\": 0, \"rope_type\"");
    refuse(&opts, ERNE_EFORMAT, "rope_theta is not positive");
}

/* Paddle's quantised experts; the values are those that the script computes. */
static void test_quantised_experts(void **state)
{
    static const struct {
        const char *layout, *reference, *config;
    } cases[] = {
        { "wint2", "pt-wint2",
          "{\"quantization_config\": {\"moe_quant_type\": \"w4w2\"}," },
        { "fp8", "pt-fp8",
          "{\"quantization_config\": {\"quantization\": \"tensor_wise_fp8\"}," },
    };
    struct erne_convert_opts opts = options(dir, first_dst);

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        lay_out("quantised", cases[i].reference);
        opts.dst = first_dst;
        convert(&opts);
        lay_out("quantised", cases[i].layout);
        lay_out_edit("config.json", "{", cases[i].config);
        opts.dst = other_dst;
        convert(&opts);
        compare(cases[i].layout);
    }
}

static void test_quantised_files_are_refused_with_the_reason(void **state)
{
    static const struct {
        const char *from, *to; /* in the file: of one length */
        int status;
        const char *says;
    } cases[] = {
        { "quant_weight\":{\"dtype\":\"U8\"", "quant_weight\":{\"dtype\":\"I8\"",
          ERNE_EUNSUPPORTED, "whether they have a sign" },
        { "code_scale", "code_scald", ERNE_EUNSUPPORTED, "what they stand for" },
        { "\"shape\":[32,256]", "\"shape\":[64,128]", ERNE_EFORMAT,
          "has the shape [64, 128], not [32, 256]" },
        { "up_gate_proj.quant_weight", "up_gate_proj.quant_weighs", ERNE_EUNSUPPORTED,
          "type U8" },
        { "up_gate_proj.code_zp", "up_gate_proj.code_z_", ERNE_EFORMAT, "is missing" },
    };
    static const char *const types[][2] = { { "w4a8", "4-bit halves" },
                                            { "block_wise_fp8", "layout of its scales" },
                                            { "wint4", "load time" },
                                            { "fp6", "\"fp6\"" } };
    const struct erne_convert_opts opts = options(dir, first_dst);

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        lay_out("quantised", "wint2");
        lay_out_patch("model.safetensors", cases[i].from, cases[i].to);
        refuse(&opts, cases[i].status, cases[i].says);
    }
    for (size_t i = 0; i < ERNE_ARRAY_LEN(types); i++) {
        char config[128];

        lay_out("quantised", "wint2");
        snprintf(config, sizeof(config),
                 "{\"quantization_config\": {\"moe_quant_type\": \"%s\"},", types[i][0]);
        lay_out_edit("config.json", "{", config);
        refuse(&opts, ERNE_EUNSUPPORTED, types[i][1]);
    }
}

/* ---------------------------------------------------- configurations alone */

#define COMMON                                                                        \
    "\"vocab_size\": 103424, \"rope_theta\": 500000, \"moe_gate_act\": \"softmax\", " \
    "\"max_position_embeddings\": 131072, \"torch_dtype\": \"bfloat16\", "
#define SMALL                                                                         \
    "\"hidden_size\": 2560, \"num_hidden_layers\": 28, \"num_attention_heads\": 20, " \
    "\"num_key_value_heads\": 4, \"intermediate_size\": 12288, \"moe_k\": 6, "        \
    "\"moe_num_shared_experts\": 2, \"head_dim\": null, "
#define LARGE                                                                         \
    "\"hidden_size\": 8192, \"num_hidden_layers\": 54, \"num_attention_heads\": 64, " \
    "\"num_key_value_heads\": 8, \"intermediate_size\": 28672, \"moe_k\": 8, "        \
    "\"tie_word_embeddings\": false, "
#define TOWER                                                                   \
    "\"im_patch_id\": 100295, \"freq_allocation\": 20, \"vision_config\": {"    \
    "\"depth\": 32, \"embed_dim\": 1280, \"num_heads\": 16, \"mlp_ratio\": 4, " \
    "\"patch_size\": 14, \"hidden_act\": \"quick_gelu\"}"

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

/* The released models, whose weights are counted elsewhere: in transformers, on its meta
 * device. */
static void test_sizes_from_a_configuration_alone(void **state)
{
    static const struct {
        const char *config, *says;
    } cases[] = {
        { "{" COMMON SMALL "\"model_type\": \"ernie4_5_moe\", \"moe_num_experts\": 64, "
          "\"moe_intermediate_size\": 1536, \"moe_layer_start_index\": 1, "
          "\"moe_layer_end_index\": -1}",
          "21825.4 M weights" },
        { "{" COMMON LARGE "\"model_type\": \"ernie4_5_moe\", \"moe_num_experts\": 64, "
          "\"moe_intermediate_size\": 3584, \"moe_layer_start_index\": 3, "
          "\"moe_layer_end_index\": 53}",
          "299484.2 M weights" },
        { "{" COMMON SMALL TOWER ", \"model_type\": \"ernie4_5_moe_vl\", "
          "\"moe_num_experts\": [64, 64], \"moe_intermediate_size\": [1536, 512], "
          "\"moe_layer_start_index\": [1, 1], \"moe_layer_end_index\": [29, 28]}",
          "29399.3 M weights" },
        { "{" COMMON LARGE TOWER ", \"model_type\": \"ernie4_5_moe_vl\", "
          "\"moe_num_experts\": [64, 64], \"moe_intermediate_size\": [3584, 1536], "
          "\"moe_layer_start_index\": 3, \"moe_layer_end_index\": null}",
          "423526.3 M weights" },
    };
    struct report report;

    (void)state;
    lay_out("none", "none");
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_convert_opts opts = options(dir, NULL);

        report.text[0] = '\0';
        opts.scheme = "source";
        opts.dry_run = true;
        opts.report = keep_report;
        opts.report_user = &report;
        assert_int_equal(checkpoint_put(dir, "config.json", cases[i].config), 0);
        convert(&opts);
        if (!strstr(report.text, cases[i].says) ||
            !strstr(report.text, "no weights are there") ||
            !strstr(report.text, "BF16         -> bf16"))
            fail_msg("%s", report.text);
        opts.dry_run = false;
        opts.dst = first_dst;
        refuse(&opts, ERNE_EFORMAT, "tokenizer");
    }
}

/* ----------------------------------------------------------------- adapters */

static float value_of(const struct erne_file_tensor *t, int64_t row, int64_t col)
{
    float values[128];
    const uint8_t *data = erne_model_file_data(t);

    assert_true(t->k <= (int64_t)ERNE_ARRAY_LEN(values));
    if (t->scheme.layout == ERNE_LAYOUT_ROWS) {
        memcpy(values, data + (size_t)(row * t->k) * sizeof(float),
               (size_t)t->k * sizeof(float));
        return values[col];
    }
    tile64_decode_row(values, t->scheme, &t->planes, data,
                      (const uint16_t *)(const void *)(data + t->planes.scales_offset),
                      (const uint16_t *)(const void *)(data + t->planes.minima_offset),
                      row, t->k);
    return values[col];
}

/* Both files hold the same values, but for roundings to bf16 that fall on either side. */
static void compare_values(void)
{
    struct erne_model_file a = open_file(first_dst), b = open_file(other_dst);
    size_t n = 0, n_other = 0;

    assert_int_equal(a.n_tensors, b.n_tensors);
    for (size_t i = 0; i < a.n_tensors; i++) {
        const struct erne_file_tensor *x = &a.tensors[i], *y = &b.tensors[i];

        assert_true(erne_scheme_equal(x->scheme, y->scheme));
        for (int64_t row = 0; row < x->n; row++)
            for (int64_t col = 0; col < x->k; col++, n++) {
                const float u = value_of(x, row, col), v = value_of(y, row, col);

                if (fabsf(u - v) > fabsf(v) / 128 + 1e-6f)
                    fail_msg("%s: %g for %g", x->name, (double)u, (double)v);
                n_other += u < v || u > v;
            }
    }
    assert_true(n_other < n / 1000);
    erne_model_file_close(&a);
    erne_model_file_close(&b);
}

#define MOE ERNE_TEST_LAYOUTS "/moe/"

static void test_adapters_are_merged(void **state)
{
    static const char *const none[] = { "pt", "paddle", "memory" };
    static const char *const adapters[] = { MOE "lora-peft", MOE "lora-paddle:1.0" };
    struct erne_convert_opts opts = options(dir, other_dst);

    (void)state;
    opts.scheme = "source";
    lay_out("moe", "merged");
    convert(&opts);
    opts.dst = first_dst;
    opts.loras = adapters;
    opts.n_loras = 1;
    lay_out("moe", "pt");
    convert(&opts);
    compare_values();
    /* whichever the adapter's kind, whichever the base's layout */
    opts.dst = other_dst;
    for (size_t a = 0; a < 2; a++)
        for (size_t i = 0; i < ERNE_ARRAY_LEN(none); i++) {
            opts.loras = &adapters[a];
            lay_out("moe", none[i]);
            convert(&opts);
            compare(none[i]);
        }
}

static void test_adapters_add_up(void **state)
{
    static const char *const one[] = { MOE "lora-peft" };
    static const char *const parts[] = { MOE "lora-peft:0.25", MOE "lora-paddle:0.75" };
    static const char *const nothing[] = { MOE "lora-peft:0" };
    struct erne_convert_opts opts = options(dir, first_dst);

    (void)state;
    lay_out("moe", "pt");
    opts.scheme = "bf16";
    opts.loras = one;
    opts.n_loras = 1;
    convert(&opts);
    opts.dst = other_dst;
    opts.loras = parts;
    opts.n_loras = 2;
    convert(&opts);
    compare_values();
    opts.loras = nothing;
    opts.n_loras = 1;
    convert(&opts);
    opts.dst = first_dst;
    opts.n_loras = 0;
    convert(&opts);
    compare("factor 0");
}

/* An adapter in a folder of its own, whose settings can be edited. */
static const char *const edited_dir = ERNE_TEST_DIR "/adapter";

static void copy_adapter(const char *config_from, const char *config_to)
{
    static const char *const names[] = { "adapter/adapter_config.json",
                                         "adapter/adapter_model.safetensors" };

    for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++)
        lay_out_copy("moe/lora-peft", strchr(names[i], '/') + 1, names[i]);
    lay_out_edit(names[0], config_from, config_to);
}

static void test_adapters_are_refused_by_name(void **state)
{
    static const struct {
        const char *model, *from, *to;
        int status;
        const char *says;
    } cases[] = {
        { "moe", "\"use_dora\": false", "\"use_dora\": true", ERNE_EUNSUPPORTED,
          "use_dora" },
        { "moe", "\"rank_pattern\": {}", "\"rank_pattern\": {\"q\": 1}",
          ERNE_EUNSUPPORTED, "rank_pattern" },
        { "moe", "\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"",
          ERNE_EUNSUPPORTED, "pissa" },
        { "moe", "\"LORA\"", "\"IA3\"", ERNE_EUNSUPPORTED, "IA3" },
        { "moe", "\"none\"", "\"all\"", ERNE_EUNSUPPORTED, "bias" },
        { "moe", "\"r\": 4", "\"r\": 0", ERNE_EFORMAT, "r or lora_alpha" },
        { "moe", "{", "", ERNE_EFORMAT, "adapter_config.json" },
        { "vl", "", "", ERNE_EFORMAT, "are for a matrix [48, 48]" },
        { "moe-untied", "", "", ERNE_EUNSUPPORTED, "the model has no matrix" },
    };
    struct erne_convert_opts opts = options(dir, first_dst);
    const char *missing = MOE "lora-none";

    (void)state;
    opts.loras = &edited_dir;
    opts.n_loras = 1;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        lay_out(cases[i].model, "pt");
        copy_adapter(cases[i].from, cases[i].to);
        refuse(&opts, cases[i].status, cases[i].says);
    }
    opts.loras = &missing;
    refuse(&opts, ERNE_EIO, "lora-none");
    missing = MOE "pt";
    refuse(&opts, ERNE_EFORMAT, "neither adapter_config.json nor lora_config.json");
}

static void test_gguf_experts_are_refused_by_name(void **state)
{
    static const struct {
        const char *from, *to; /* of one length */
        int status;
        const char *says;
    } cases[] = {
        { "expert_used_count", "expert_used_cound", ERNE_EFORMAT, "expert_used_count" },
        { "ffn_gate_inp", "ffn_gate_inq", ERNE_EFORMAT, "no layer has a router" },
        { "ffn_up_exps", "ffn_up_expz", ERNE_EUNSUPPORTED, "ffn_up_expz" },
        { "interleave_moe_layer_step", "expert_shared_feed_forwar", ERNE_OK, "" },
        { "ernie4_5-moe", "ernie4_5-mof", ERNE_EUNSUPPORTED, "ernie4_5-mof" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        const struct erne_convert_opts opts = options(lay_out("moe", "gguf"), first_dst);

        lay_out_patch("model.gguf", cases[i].from, cases[i].to);
        if (cases[i].status == ERNE_OK)
            convert(&opts); /* without the key, every layer may have experts */
        else
            refuse(&opts, cases[i].status, cases[i].says);
    }
}

/* Every allocation fails once; nothing leaks, and the message says why. */
static void test_allocation_failures(void **state)
{
    static const char *const cases[][2] = { { "vl", "memory" },
                                            { "paddleocr", "gguf" },
                                            { "moe", "paddle" } };
    static const char *const adapters[] = { MOE "lora-peft", MOE "lora-paddle" };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_convert_opts opts =
            options(lay_out(cases[i][0], cases[i][1]), first_dst);
        int st = ERNE_ENOMEM;

        opts.dry_run = true;
        opts.loras = adapters;
        opts.n_loras = strcmp(cases[i][0], "moe") == 0 ? 2 : 0;
        for (size_t n = 1; st != 0; n++) {
            struct erne_error err = { 0 };

            alloc_fail_at(n);
            st = erne_convert(&opts, &err);
            if (!alloc_fail_hit())
                break;
            assert_int_equal(st, ERNE_ENOMEM);
            assert_true(err.text[0] != '\0');
        }
        assert_int_equal(st, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_layout_gives_the_same_tensors),
        cmocka_unit_test(test_layers_without_a_pattern),
        cmocka_unit_test(test_memory_makes_no_difference),
        cmocka_unit_test(test_the_prediction_block_is_kept_on_demand),
        cmocka_unit_test(test_schemes_by_role),
        cmocka_unit_test(test_configurations_are_refused_by_name),
        cmocka_unit_test(test_limits_of_pictures),
        cmocka_unit_test(test_the_second_gguf_file),
        cmocka_unit_test(test_gguf_experts_are_refused_by_name),
        cmocka_unit_test(test_a_config_without_rope_theta),
        cmocka_unit_test(test_quantised_experts),
        cmocka_unit_test(test_quantised_files_are_refused_with_the_reason),
        cmocka_unit_test(test_sizes_from_a_configuration_alone),
        cmocka_unit_test(test_adapters_are_merged),
        cmocka_unit_test(test_adapters_add_up),
        cmocka_unit_test(test_adapters_are_refused_by_name),
        cmocka_unit_test(test_allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
