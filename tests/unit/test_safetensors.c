/* test_safetensors.c -- checkpoints in folders: what is read from them, and by which name
 * everything that cannot be read is refused. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/source.h"
#include "tests/support/checkpoint.h"

static const char *const dir = ERNE_TEST_DIR;
static const char *const tokenizer = ERNE_TEST_GOLDEN "/tiny/tokenizer.model";

/* The last lines a reader said, for tests that expect one. */
struct lines {
    char text[2048];
};

static void keep_line(void *user, enum erne_log_level level, const char *line)
{
    struct lines *lines = user;
    const size_t n = strlen(lines->text);

    (void)level;
    snprintf(lines->text + n, sizeof(lines->text) - n, "%s\n", line);
}

static struct source *open_logged(const char *path, struct lines *lines)
{
    const struct source_opts opts = { .log = lines ? keep_line : NULL,
                                      .log_user = lines };
    struct source *src = NULL;
    struct erne_error err = { 0 };

    if (source_open(&src, path, &opts, &err) < 0)
        fail_msg("%s", err.text);
    return src;
}

static void refuse(const char *path, int status, const char *text)
{
    const struct source_opts opts = { 0 };
    struct source *src = NULL;
    struct erne_error err = { 0 };

    assert_int_equal(source_open(&src, path, &opts, &err), status);
    assert_null(src);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void write(struct checkpoint cp)
{
    cp.dir = dir;
    cp.tokenizer = tokenizer;
    assert_int_equal(checkpoint_write(&cp), 0);
}

/* ---------------------------------------------------------------- reading */

static void check_values(const struct source *src, const char *dtype)
{
    float row[CHECKPOINT_HEADS * CHECKPOINT_HEAD_DIM];
    struct erne_error err;

    for (size_t i = 0; i < src->n_tensors; i++) {
        const struct source_tensor *t = &src->tensors[i];

        assert_true((size_t)t->k <= ERNE_ARRAY_LEN(row));
        for (int64_t r = 0; r < t->n; r++) {
            assert_int_equal(source_read_rows(src, t, r, 1, row, &err), 0);
            for (int64_t c = 0; c < t->k; c++) {
                const float want =
                    checkpoint_value(t->name, dtype, (uint64_t)(r * t->k + c));

                assert_memory_equal(&row[c], &want, sizeof(want));
            }
        }
    }
}

static void test_all_types_and_any_number_of_shards(void **state)
{
    static const char *const dtypes[] = { "F32", "F16", "BF16" };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(dtypes); i++)
        for (int n_shards = 1; n_shards <= 3; n_shards += 2) {
            write((struct checkpoint){ .dtype = dtypes[i], .n_shards = n_shards });
            struct source *src = open_logged(dir, NULL);

            assert_int_equal(src->n_files, n_shards);
            assert_int_equal(src->n_tensors, 2 + 9 * CHECKPOINT_LAYERS);
            check_values(src, dtypes[i]);
            source_close(&src);
        }
}

static void test_a_file_is_read_with_its_folder(void **state)
{
    char path[512];

    (void)state;
    write((struct checkpoint){ 0 });
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    struct source *src = open_logged(path, NULL);

    assert_int_equal(src->desc.n_ff, CHECKPOINT_FF);
    source_close(&src);
}

static void test_shapes_and_constants(void **state)
{
    (void)state;
    write((struct checkpoint){ 0 });
    assert_int_equal(
        checkpoint_put(dir, "generation_config.json", "{\"eos_token_id\": [2, 7]}"), 0);
    struct source *src = open_logged(dir, NULL);
    const struct erne_model_desc *d = &src->desc;

    assert_int_equal(d->arch, ERNE_ARCH_ERNIE45);
    assert_int_equal(d->n_layers, CHECKPOINT_LAYERS);
    assert_int_equal(d->n_embd, CHECKPOINT_EMBD);
    assert_int_equal(d->n_heads, CHECKPOINT_HEADS);
    assert_int_equal(d->n_kv_heads, CHECKPOINT_KV_HEADS);
    assert_int_equal(d->head_dim, CHECKPOINT_HEAD_DIM);
    assert_int_equal(d->n_vocab, CHECKPOINT_VOCAB);
    assert_int_equal(d->n_ctx_train, 512);
    assert_true(d->rope_theta > 499999 && d->rope_theta < 500001);
    assert_true(d->tied);
    assert_false(d->use_bias);
    assert_true(d->n_stop >= 2);
    assert_int_equal(d->stop[0], 2);
    assert_int_equal(d->stop[1], 7);
    source_close(&src);
}

static void test_rope_theta_in_either_place(void **state)
{
    static const char *const configs[] = {
        ", \"rope_theta\": 1234.0",
        ", \"rope_parameters\": {\"rope_theta\": 1234, \"rope_type\": \"default\"}",
        ", \"rope_scaling\": {\"rope_theta\": 1234.0, \"type\": \"default\"}",
        ", \"rope_theta\": 1234.0, \"rope_scaling\": null",
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(configs); i++) {
        write((struct checkpoint){ .config = configs[i] });
        struct source *src = open_logged(dir, NULL);

        assert_true(src->desc.rope_theta > 1233 && src->desc.rope_theta < 1235);
        source_close(&src);
    }
}

static void test_skipped_by_name(void **state)
{
    static const char *const names[] = {
        "model.mtp_block.0.mlp.up_proj.weight",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++) {
        struct lines lines = { "" };

        write((struct checkpoint){ .added = names[i] });
        struct source *src = open_logged(dir, &lines);

        assert_null(source_find(src, names[i]));
        assert_non_null(strstr(lines.text, names[i]));
        source_close(&src);
    }
}

/* ------------------------------------------------------------ tied logits */

static const char *const config_base = ", \"rope_theta\": 10000.0";

/* Rewrites config.json of what write() left with another value of the flag. */
static void set_tied_flag(const char *from, const char *to)
{
    char path[512], text[2048] = "", out[2048];
    FILE *file;

    snprintf(path, sizeof(path), "%s/config.json", dir);
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    fclose(file);
    const char *at = strstr(text, from);

    assert_non_null(at);
    snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(checkpoint_put(dir, "config.json", out), 0);
}

static void test_the_file_decides_about_tied_logits(void **state)
{
    struct lines lines = { "" };

    (void)state;
    write((struct checkpoint){ .untied = true, .config = config_base });
    struct source *src = open_logged(dir, NULL);
    assert_false(src->desc.tied);
    source_close(&src);

    /* a head of its own, though the flag says tied */
    set_tied_flag("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    src = open_logged(dir, &lines);
    assert_false(src->desc.tied);
    assert_non_null(source_find(src, "lm_head.weight"));
    assert_non_null(strstr(lines.text, "lm_head.weight differs"));
    source_close(&src);

    /* no head, though the flag says untied */
    lines.text[0] = '\0';
    write((struct checkpoint){ 0 });
    set_tied_flag("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    src = open_logged(dir, &lines);
    assert_true(src->desc.tied);
    assert_non_null(strstr(lines.text, "there is no lm_head.weight"));
    source_close(&src);
}

/* --------------------------------------------------------------- refusals */

static void test_configurations_are_refused_by_name(void **state)
{
    static const struct {
        const char *config;
        int status;
        const char *text;
    } cases[] = {
        { ", \"rope_theta\": -1", ERNE_EFORMAT, "rope_theta" },
        { ", \"rope_theta\": \"x\"", ERNE_EFORMAT, "rope_theta" },
        { ", \"rope_theta\": 1e4, \"rope_scaling\": {\"type\": \"yarn\"}",
          ERNE_EUNSUPPORTED, "yarn" },
        { ", \"rope_theta\": 1e4, \"rope_parameters\": {\"rope_type\": \"linear\"}",
          ERNE_EUNSUPPORTED, "linear" },
        { ", \"rope_theta\": 1e4, \"compression_ratio\": 2.0", ERNE_EUNSUPPORTED,
          "compression_ratio" },
        { ", \"rope_theta\": 1e4, \"quantization_config\": {}", ERNE_EUNSUPPORTED,
          "quantization_config" },
        { ", \"rope_theta\": 1e4, \"head_dim\": 64", ERNE_EFORMAT, "head_dim" },
        { ", \"rope_theta\": 1e4,", ERNE_EFORMAT, "config.json" },
        { ", \"rope_theta\": 1e4, \"eos_token_id\": 5000", ERNE_EFORMAT, "5000" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        write((struct checkpoint){ .config = cases[i].config });
        refuse(dir, cases[i].status, cases[i].text);
    }
}

static void test_other_architectures_are_refused(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *says;
    } cases[] = {
        { "{\"model_type\": \"ernie4_5_moe\"}", ERNE_EFORMAT, "hidden_size" },
        { "{\"architectures\": [\"Ernie4_5_VLMoeForConditionalGeneration\"]}",
          ERNE_EFORMAT, "hidden_size" },
        { "{\"model_type\": \"ernie4_5_xl\"}", ERNE_EUNSUPPORTED, "ernie4_5_xl" },
        { "{\"model_type\": \"llama\"}", ERNE_EUNSUPPORTED, "llama" },
        { "{}", ERNE_EFORMAT, "model_type" },
        { "[]", ERNE_EFORMAT, "JSON object" },
        { "{\"model_type\": \"ernie4_5\"}", ERNE_EFORMAT, "hidden_size" },
        { "{\"model_type\": \"ernie4_5\", \"hidden_size\": 1e3}", ERNE_EFORMAT,
          "hidden_size" },
        { "{\"model_type\": \"ernie4_5\", \"model_type\": \"x\"}", ERNE_EFORMAT,
          "duplicate" },
        { "{\"model_type\": \"ernie4_5\", \"hidden_act\": \"gelu\"}", ERNE_EUNSUPPORTED,
          "gelu" },
        { "{\"model_type\": \"ernie4_5\", \"hidden_size\": null}", ERNE_EFORMAT,
          "hidden_size" },
        { "{\"model_type\": \"ernie4_5\", \"rms_norm_eps\": null}", ERNE_EFORMAT,
          "rms_norm_eps: expected a value" },
        { "{\"model_type\": \"ernie4_5\", \"tie_word_embeddings\": null}", ERNE_EFORMAT,
          "tie_word_embeddings: expected a value" },
    };

    (void)state;
    write((struct checkpoint){ 0 });
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        assert_int_equal(checkpoint_put(dir, "config.json", cases[i].text), 0);
        refuse(dir, cases[i].status, cases[i].says);
    }
    checkpoint_put(dir, "config.json", NULL);
    refuse(dir, ERNE_EFORMAT, "config.json");
}

static void test_missing_files_are_named(void **state)
{
    (void)state;
    write((struct checkpoint){ .n_shards = 3 });
    checkpoint_put(dir, "model-00002-of-00003.safetensors", NULL);
    refuse(dir, ERNE_EIO, "model-00002-of-00003.safetensors");
    checkpoint_put(dir, "model.safetensors.index.json", NULL);
    refuse(dir, ERNE_EFORMAT, "model.safetensors");
    write((struct checkpoint){ 0 });
    checkpoint_put(dir, "tokenizer.model", NULL);
    refuse(dir, ERNE_EFORMAT, "tokenizer");
    refuse(ERNE_TEST_DIR "/nowhere", ERNE_EIO, "nowhere");
    refuse(ERNE_TEST_DIR "/config.json", ERNE_EUNSUPPORTED, "config.json");
}

static void test_indexes_that_disagree_are_refused(void **state)
{
    static const struct {
        const char *index, *says;
    } cases[] = {
        { "{}", "weight_map" },
        { "{\"weight_map\": {\"a\": 3}}", "a" },
        { "{\"weight_map\": {\"a\": \"../model.safetensors\"}}", "not a file name" },
        { "{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "not a file name" },
        { "{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}",
          "nothing of it" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        write((struct checkpoint){ .n_shards = 2 });
        assert_int_equal(
            checkpoint_put(dir, "model.safetensors.index.json", cases[i].index), 0);
        refuse(dir, ERNE_EFORMAT, cases[i].says);
    }
}

/* ------------------------------------------------------- malformed headers */

/* model.safetensors: this header (its length as given, or its own) and n_data bytes. */
static void put_header(const char *header, uint64_t length, size_t n_data)
{
    FILE *file = fopen(ERNE_TEST_DIR "/model.safetensors", "wb");
    const uint64_t n = length != 0 ? length : strlen(header);

    assert_non_null(file);
    fwrite(&n, sizeof(n), 1, file);
    fputs(header, file);
    for (size_t i = 0; i < n_data; i++)
        fputc(0, file);
    assert_int_equal(fclose(file), 0);
}

/* ChatML, as a string in JSON. */
#define JSON_CHAT                                                             \
    "{{'<|im_start|>' + role + '\\n' + content + '<|im_end|>\\n'}}{% if a %}" \
    "{{'<|im_start|>assistant\\n'}}{% endif %}"

#define TENSOR(dtype, shape, offsets) \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

/* Of the files that can hold a chat template, the most particular one counts. */
static void test_chat_templates_are_found(void **state)
{
    static const struct {
        const char *file, *text, *layout;
    } files[] = {
        { "tokenizer_config.json", "{\"chat_template\": \"nothing known\"}", NULL },
        { "chat_template.json", "{\"chat_template\": \"" JSON_CHAT "\"}", "chatml" },
        { "chat_template.jinja",
          "<|begin_of_sentence|>{%if 1%}User: {{content}}\n{%else%}Assistant: {{content}}"
          "<|end_of_sentence|>{%if 1%}{{content}}\n{%if 1%}Assistant: {%endif%}",
          "ernie" },
    };

    (void)state;
    write((struct checkpoint){ 0 });
    for (size_t i = 0; i < ERNE_ARRAY_LEN(files); i++) {
        const struct source_opts opts = { 0 };
        struct source *src = NULL;
        struct erne_error err;

        assert_int_equal(checkpoint_put(dir, files[i].file, files[i].text), 0);
        if (source_open(&src, dir, &opts, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(src->desc.chat.present, files[i].layout != NULL);
        if (files[i].layout)
            assert_string_equal(src->desc.chat.template_name, files[i].layout);
        source_close(&src);
    }
    assert_int_equal(checkpoint_put(dir, "chat_template.jinja", NULL), 0);
    assert_int_equal(checkpoint_put(dir, "chat_template.json", "[]"), 0);
    refuse(dir, ERNE_EFORMAT, "chat_template.json");
    assert_int_equal(checkpoint_put(dir, "chat_template.json", NULL), 0);
}

static void test_malformed_headers_are_refused(void **state)
{
    static const struct {
        const char *header;
        uint64_t length;
        size_t n_data;
        int status;
        const char *says;
    } cases[] = {
        { "{}", 0, 0, ERNE_EFORMAT, "no tensors" },
        { "{}", 3, 0, ERNE_EFORMAT, "header of 3 bytes" },
        { "{}", UINT64_MAX, 0, ERNE_EFORMAT, "header of" },
        { "{", 0, 0, ERNE_EFORMAT, "model.safetensors:1" },
        { "[]", 0, 0, ERNE_EFORMAT, "JSON object" },
        { "{\"a\":1,\"a\":1}", 0, 0, ERNE_EFORMAT, "duplicate" },
        { "{\"a\":1}", 0, 0, ERNE_EFORMAT, "a: data_offsets" },
        { TENSOR("7", "[4]", "[0,16]"), 0, 16, ERNE_EFORMAT, "t: no dtype" },
        { TENSOR("\"F64\"", "[2]", "[0,16]"), 0, 16, ERNE_EUNSUPPORTED, "t: type F64" },
        { TENSOR("\"I32\"", "[4]", "[0,16]"), 0, 16, ERNE_EUNSUPPORTED, "t: type I32" },
        { TENSOR("\"Q8_0\"", "[32]", "[0,34]"), 0, 34, ERNE_EUNSUPPORTED, "Q8_0" },
        { TENSOR("\"F32\"", "4", "[0,16]"), 0, 16, ERNE_EFORMAT, "no shape" },
        { TENSOR("\"F32\"", "[1,2,2]", "[0,16]"), 0, 16, ERNE_EUNSUPPORTED,
          "3 dimensions" },
        { TENSOR("\"F32\"", "[0]", "[0,0]"), 0, 16, ERNE_EFORMAT, "dimension 0" },
        { TENSOR("\"F32\"", "[4,-1]", "[0,16]"), 0, 16, ERNE_EFORMAT, "dimension 1" },
        { TENSOR("\"F32\"", "[2147483647,2147483647]", "[0,16]"), 0, 16, ERNE_EFORMAT,
          "do not hold" },
        { TENSOR("\"F32\"", "[4]", "[0]"), 0, 16, ERNE_EFORMAT, "data_offsets" },
        { TENSOR("\"F32\"", "[4]", "[0,1.5]"), 0, 16, ERNE_EFORMAT, "data_offsets" },
        { TENSOR("\"F32\"", "[4]", "[-4,12]"), 0, 16, ERNE_EFORMAT, "data_offsets" },
        { TENSOR("\"F32\"", "[4]", "[16,0]"), 0, 16, ERNE_EFORMAT, "data_offsets" },
        { TENSOR("\"F32\"", "[4]", "[4,20]"), 0, 16, ERNE_EFORMAT, "not inside" },
        { TENSOR("\"F32\"", "[4]", "[0,12]"), 0, 16, ERNE_EFORMAT, "do not hold" },
        { "{\"l.rotary_emb.inv_freq\":{\"data_offsets\":[0,20]}}", 0, 16, ERNE_EFORMAT,
          "not inside" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[12,28]}}",
          0, 28, ERNE_EFORMAT, "overlap" },
        { TENSOR("\"F32\"", "[4]", "[0,16]"), 0, 20, ERNE_EFORMAT,
          "4 bytes behind the last tensor" },
    };

    (void)state;
    write((struct checkpoint){ 0 });
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        put_header(cases[i].header, cases[i].length, cases[i].n_data);
        refuse(dir, cases[i].status, cases[i].says);
    }
    assert_int_equal(checkpoint_put(dir, "model.safetensors", "short"), 0);
    refuse(dir, ERNE_EFORMAT, "too short");
}

/* No prefix of a valid file is taken for a whole one. */
static void test_truncated_files_are_refused(void **state)
{
    const char *path = ERNE_TEST_DIR "/model.safetensors";
    struct pf_file *file;
    uint64_t size;

    (void)state;
    write((struct checkpoint){ 0 });
    assert_int_equal(pf_file_open(&file, path, PF_WRITE_EXISTING), 0);
    assert_int_equal(pf_file_size(file, &size), 0);
    for (uint64_t n = size - 1; n > 0; n = n > 4000 ? n - 997 : n - 1) {
        const struct source_opts opts = { 0 };
        struct source *src = NULL;

        assert_int_equal(pf_file_resize(file, n), 0);
        assert_int_equal(source_open(&src, dir, &opts, NULL), ERNE_EFORMAT);
    }
    pf_file_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_types_and_any_number_of_shards),
        cmocka_unit_test(test_a_file_is_read_with_its_folder),
        cmocka_unit_test(test_shapes_and_constants),
        cmocka_unit_test(test_rope_theta_in_either_place),
        cmocka_unit_test(test_skipped_by_name),
        cmocka_unit_test(test_the_file_decides_about_tied_logits),
        cmocka_unit_test(test_configurations_are_refused_by_name),
        cmocka_unit_test(test_other_architectures_are_refused),
        cmocka_unit_test(test_missing_files_are_named),
        cmocka_unit_test(test_indexes_that_disagree_are_refused),
        cmocka_unit_test(test_chat_templates_are_found),
        cmocka_unit_test(test_malformed_headers_are_refused),
        cmocka_unit_test(test_truncated_files_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
