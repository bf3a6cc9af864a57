/* test_gguf.c -- GGUF files: the head, the models and vocabularies read from them, and
 * what is refused by name. Block types are in test_block_types.c. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/gguf_meta.h"
#include "converters/source.h"
#include "tests/support/gguf_file.h"

static const char *const path = ERNE_TEST_DIR "/model.gguf";

enum { Q2_K = 10, F32 = 0, F16 = 1, U32 = 4, TEXT = 8, ARRAY = 9 };

static struct source *open_model(const struct gguf_file *f)
{
    const struct source_opts opts = { 0 };
    struct source *src = NULL;
    struct erne_error err = { 0 };

    assert_int_equal(gguf_file_write(f, path), 0);
    if (source_open(&src, path, &opts, &err) < 0)
        fail_msg("%s", err.text);
    return src;
}

static void refuse(const struct gguf_file *f, int status, const char *text)
{
    const struct source_opts opts = { 0 };
    struct source *src = NULL;
    struct erne_error err = { 0 };

    assert_int_equal(gguf_file_write(f, path), 0);
    assert_int_equal(source_open(&src, path, &opts, &err), status);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static struct gguf_file *new_model(const char *arch)
{
    struct gguf_file *f = malloc(sizeof(*f));

    assert_non_null(f);
    gguf_file_model(f, arch, NULL);
    return f;
}

/* ----------------------------------------------------------------- models */

static void test_a_model_is_read(void **state)
{
    struct gguf_file *f = new_model("llama");
    float row[GGUF_FILE_EMBD];

    (void)state;
    struct source *src = open_model(f);
    const struct erne_model_desc *d = &src->desc;

    assert_int_equal(d->arch, ERNE_ARCH_LLAMA);
    assert_int_equal(d->n_embd, GGUF_FILE_EMBD);
    assert_int_equal(d->n_kv_heads, GGUF_FILE_HEADS);
    assert_int_equal(d->head_dim, GGUF_FILE_EMBD / GGUF_FILE_HEADS);
    assert_int_equal(d->n_vocab, GGUF_FILE_VOCAB);
    assert_true(d->rope_theta > 9999 && d->rope_theta < 10001);
    assert_true(d->tied);
    assert_string_equal(d->name, "Tiny");
    const struct source_tensor *t =
        source_find(src, "model.layers.0.self_attn.q_proj.weight");

    assert_non_null(t);
    assert_int_equal(source_read_rows(src, t, 3, 1, row, NULL), 0);
    for (size_t i = 0; i < GGUF_FILE_EMBD; i++) {
        const size_t at = 2 * (3 * GGUF_FILE_EMBD + i);
        const float want = erne_f32_from_f16(
            (uint16_t)(gguf_file_byte(at) | gguf_file_byte(at + 1) << 8));

        assert_memory_equal(&row[i], &want, sizeof(want));
    }
    source_close(&src);
    free(f);
}

static void test_version_2_and_ernie(void **state)
{
    struct gguf_file *f = new_model("ernie4_5");

    (void)state;
    f->version = 2;
    struct source *src = open_model(f);

    assert_int_equal(src->desc.arch, ERNE_ARCH_ERNIE45);
    source_close(&src);
    free(f);
}

static void test_a_head_equal_to_the_embedding_is_left_out(void **state)
{
    struct gguf_file *f = new_model("llama");

    (void)state;
    gguf_file_tensor(f, "output.weight", F16, GGUF_FILE_VOCAB, GGUF_FILE_EMBD,
                     GGUF_FILE_VOCAB * GGUF_FILE_EMBD * 2);
    struct source *src = open_model(f);

    assert_true(src->desc.tied);
    assert_null(source_find(src, "lm_head.weight"));
    source_close(&src);
    f->data[f->n_data - 1] ^= 1;
    src = open_model(f);
    assert_false(src->desc.tied);
    assert_non_null(source_find(src, "lm_head.weight"));
    source_close(&src);
    free(f);
}

/* ----------------------------------------------------------- vocabularies */

static void test_sentencepiece_vocabulary(void **state)
{
    struct gguf_file *f = new_model("llama");

    (void)state;
    gguf_file_u32(f, "tokenizer.ggml.bos_token_id", 1);
    gguf_file_u32(f, "tokenizer.ggml.unknown_token_id", UINT32_MAX);
    gguf_file_bool(f, "tokenizer.ggml.add_bos_token", 0);
    struct source *src = open_model(f);
    const struct erne_vocab *v = &src->vocab;

    assert_int_equal(v->kind, ERNE_VOCAB_SPM);
    assert_int_equal(v->n_tokens, GGUF_FILE_VOCAB);
    assert_string_equal(v->tokens[6].text, "ab");
    assert_int_equal(v->tokens[7].type, ERNE_TOKEN_CONTROL);
    assert_int_equal(v->bos, 1);
    assert_int_equal(v->eos, 2);
    assert_int_equal(v->unk, -1);
    assert_false(v->add_bos);
    assert_true(v->add_space_prefix);
    assert_int_equal(src->desc.n_stop, 2); /* </s> and <|im_end|> */
    assert_int_equal(src->desc.stop[0], 2);
    assert_int_equal(src->desc.stop[1], 7);
    source_close(&src);
    free(f);
}

/* A model whose vocabulary is put together by the test: all before it is as always. */
static struct gguf_file *new_bpe_model(const char *const *merges, uint64_t n_merges,
                                       const char *pre)
{
    static const char *const tokens[] = { "a", "b", "\xc4\xa0", "ab",
                                          ("\xc4\xa0"
                                           "ab") };
    struct gguf_file *whole = new_model("llama"), *f = malloc(sizeof(*f));

    assert_non_null(f);
    memcpy(f, whole, sizeof(*f));
    f->n_pairs = f->n_pair_bytes = 0;
    gguf_file_text(f, "general.architecture", "llama");
    gguf_file_u32(f, "llama.embedding_length", GGUF_FILE_EMBD);
    gguf_file_u32(f, "llama.block_count", 1);
    gguf_file_u32(f, "llama.attention.head_count", GGUF_FILE_HEADS);
    gguf_file_u32(f, "llama.feed_forward_length", GGUF_FILE_FF);
    gguf_file_u32(f, "llama.context_length", 256);
    gguf_file_f32(f, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_file_text(f, "tokenizer.ggml.model", "gpt2");
    gguf_file_text(f, "tokenizer.ggml.pre", pre);
    gguf_file_array(f, "tokenizer.ggml.tokens", TEXT, ERNE_ARRAY_LEN(tokens));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(tokens); i++)
        gguf_file_raw_text(f, tokens[i]);
    gguf_file_array(f, "tokenizer.ggml.merges", TEXT, n_merges);
    for (uint64_t i = 0; i < n_merges; i++)
        gguf_file_raw_text(f, merges[i]);
    free(whole);
    return f;
}

static void test_bpe_vocabulary(void **state)
{
    static const char *const merges[] = { "a b", "\xc4\xa0 ab" };
    static const char *const bad[] = { "a c", "ab", "a ", "" };
    struct gguf_file *f = new_bpe_model(merges, 2, "smollm");

    (void)state;
    gguf_file_u32(f, "tokenizer.ggml.unknown_token_id", 0);
    struct source *src = open_model(f);

    assert_int_equal(src->vocab.kind, ERNE_VOCAB_BPE);
    assert_int_equal(src->vocab.n_merges, 2);
    assert_true(src->vocab.merges[0] == 1);
    assert_true(src->vocab.merges[1] == ((uint64_t)2 << 32 | 3));
    assert_int_equal(src->vocab.bos, -1);
    assert_int_equal(src->vocab.unk, -1); /* unknown bytes are left out */
    source_close(&src);
    free(f);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(bad); i++) {
        f = new_bpe_model(&bad[i], 1, "smollm");
        refuse(f, ERNE_EFORMAT, "merge 0");
        free(f);
    }
    f = new_bpe_model(merges, 2, "no-such-pre");
    refuse(f, ERNE_EUNSUPPORTED, "no-such-pre");
    free(f);
}

/* --------------------------------------------------------------- refusals */

static void test_settings_that_change_results_are_refused(void **state)
{
    static const struct {
        const char *key;
        float value;
        int status;
    } cases[] = {
        { "llama.rope.dimension_count", 16, ERNE_EUNSUPPORTED },
        { "llama.rope.scaling.factor", 2, ERNE_EUNSUPPORTED },
        { "llama.rope.scale_linear", 2, ERNE_EUNSUPPORTED },
        { "llama.expert_count", 8, ERNE_EUNSUPPORTED },
        { "llama.attention.sliding_window", 128, ERNE_EUNSUPPORTED },
        { "llama.attention.scale", 0.5f, ERNE_EUNSUPPORTED },
        { "llama.logit_scale", 2, ERNE_EUNSUPPORTED },
        { "llama.embedding_scale", 2, ERNE_EUNSUPPORTED },
        { "llama.final_logit_softcapping", 30, ERNE_EUNSUPPORTED },
        { "llama.rope.freq_base", -1, ERNE_EFORMAT },
        { "llama.attention.key_length", 32, ERNE_EFORMAT }, /* not an integer */
        { "general.alignment", 3, ERNE_EFORMAT },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct gguf_file *f = new_model("llama");

        gguf_file_f32(f, cases[i].key, cases[i].value);
        refuse(f, cases[i].status, cases[i].key);
        free(f);
    }
}

static void test_neutral_settings_are_taken(void **state)
{
    struct gguf_file *f = new_model("llama");

    (void)state;
    gguf_file_u32(f, "llama.rope.dimension_count", GGUF_FILE_EMBD / GGUF_FILE_HEADS);
    gguf_file_f32(f, "llama.rope.scaling.factor", 1);
    gguf_file_text(f, "llama.rope.scaling.type", "none");
    gguf_file_u32(f, "llama.expert_count", 0);
    struct source *src = open_model(f);

    source_close(&src);
    free(f);
}

static void test_texts_that_change_results_are_refused(void **state)
{
    static const struct {
        const char *key, *value, *says;
    } cases[] = {
        { "llama.rope.scaling.type", "yarn", "yarn" },
        { "llama.embedding_length", "64", "twice" },
        { "tokenizer.ggml.eos_token_id", "2", "expected a number" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct gguf_file *f = new_model("llama");

        gguf_file_text(f, cases[i].key, cases[i].value);
        refuse(f, i == 0 ? ERNE_EUNSUPPORTED : ERNE_EFORMAT, cases[i].says);
        free(f);
    }
}

static void test_architectures_and_parts(void **state)
{
    struct gguf_file *f = new_model("ernie4_5-vl");

    (void)state;
    refuse(f, ERNE_EUNSUPPORTED, "ernie4_5-vl");
    gguf_file_model(f, "llama", NULL);
    gguf_file_u32(f, "split.count", 2);
    refuse(f, ERNE_EUNSUPPORTED, "2 parts");
    free(f);
}

static void test_tensors_are_refused_by_name(void **state)
{
    static const struct {
        const char *name;
        uint32_t type;
        int64_t n, k;
        size_t n_bytes;
        int status;
        const char *says;
    } cases[] = {
        { "rope_freqs.weight", F32, 0, 16, 64, ERNE_EUNSUPPORTED, "rope_freqs.weight" },
        { "blk.0.x.weight", Q2_K, 1, 256, 84, ERNE_EUNSUPPORTED, "Q2_K" },
        { "blk.0.x.weight", 4, 1, 256, 84, ERNE_EUNSUPPORTED, "(4)" },
        { "blk.0.x.weight", 12, 1, 128, 72, ERNE_EFORMAT, "whole blocks" },
        { "blk.0.x.weight", F32, 1, 16, 32, ERNE_EFORMAT, "beyond the end" },
        { "blk.0.x.weight", F32, 1, (int64_t)1 << 40, 32, ERNE_EFORMAT, "shape" },
        { "blk.0.x.weight", F32, INT32_MAX, INT32_MAX, 32, ERNE_EFORMAT, "hold" },
        { "blk.0.x.weight", F32, 1, 0, 32, ERNE_EFORMAT, "shape" },
        { "blk.0.attn_q.weight", F32, 1, 8, 32, ERNE_EFORMAT, "twice" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct gguf_file *f = new_model("llama");

        gguf_file_tensor(f, cases[i].name, cases[i].type, cases[i].n, cases[i].k,
                         cases[i].n_bytes);
        refuse(f, cases[i].status, cases[i].says);
        free(f);
    }
}

/* ---------------------------------------------------------- damaged heads */

static void test_damaged_heads(void **state)
{
    struct gguf_file *f = new_model("llama");
    const uint64_t huge = UINT64_MAX;

    (void)state;
    f->magic = 0x46554746;
    refuse(f, ERNE_EFORMAT, "not a GGUF file");
    f->magic = 0;
    f->version = 1;
    refuse(f, ERNE_EUNSUPPORTED, "version 1");
    f->version = 0x03000000;
    refuse(f, ERNE_EUNSUPPORTED, "big-endian");
    f->version = 3;
    f->n_pairs = huge;
    refuse(f, ERNE_EFORMAT, "metadata pairs");
    gguf_file_model(f, "llama", NULL);
    f->n_records = huge / 2;
    refuse(f, ERNE_EFORMAT, "tensors");
    gguf_file_model(f, "llama", NULL);
    gguf_file_array(f, "x", TEXT, huge);
    refuse(f, ERNE_EFORMAT, "metadata pair");
    gguf_file_model(f, "llama", NULL);
    gguf_file_array(f, "x", U32, huge / 4 + 2);
    refuse(f, ERNE_EFORMAT, "metadata pair");
    gguf_file_model(f, "llama", NULL);
    gguf_file_array(f, "x", 77, 0);
    refuse(f, ERNE_EFORMAT, "metadata pair");
    free(f);
}

static void test_nesting_is_bounded(void **state)
{
    struct gguf_file *f = new_model("llama");
    const uint32_t type = ARRAY;
    const uint64_t one = 1;

    (void)state;
    gguf_file_array(f, "x", ARRAY, 1);
    for (int i = 0; i < 1000; i++) {
        gguf_file_raw(f, &type, sizeof(type));
        gguf_file_raw(f, &one, sizeof(one));
    }
    refuse(f, ERNE_EFORMAT, "metadata pair");
    free(f);
}

static void test_truncated_files_are_refused(void **state)
{
    struct gguf_file *f = new_model("llama");
    struct pf_file *file;
    uint64_t size;

    (void)state;
    assert_int_equal(gguf_file_write(f, path), 0);
    assert_int_equal(pf_file_open(&file, path, PF_WRITE_EXISTING), 0);
    assert_int_equal(pf_file_size(file, &size), 0);
    for (uint64_t n = size - 1; n > 0; n = n > 8000 ? n - 997 : n - 1) {
        const struct source_opts opts = { 0 };
        struct source *src = NULL;

        assert_int_equal(pf_file_resize(file, n), 0);
        assert_int_equal(source_open(&src, path, &opts, NULL), ERNE_EFORMAT);
    }
    pf_file_close(&file);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_model_is_read),
        cmocka_unit_test(test_version_2_and_ernie),
        cmocka_unit_test(test_a_head_equal_to_the_embedding_is_left_out),
        cmocka_unit_test(test_sentencepiece_vocabulary),
        cmocka_unit_test(test_bpe_vocabulary),
        cmocka_unit_test(test_settings_that_change_results_are_refused),
        cmocka_unit_test(test_neutral_settings_are_taken),
        cmocka_unit_test(test_texts_that_change_results_are_refused),
        cmocka_unit_test(test_architectures_and_parts),
        cmocka_unit_test(test_tensors_are_refused_by_name),
        cmocka_unit_test(test_damaged_heads),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_truncated_files_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
