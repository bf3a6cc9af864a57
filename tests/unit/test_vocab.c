/* test_vocab.c -- vocabularies from tokenizer.model, tokenizer.json and names of
 * pre-tokenisers: what is read, what is refused and how, and failing allocations. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/source.h"
#include "converters/vocab.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/tok_files.h"

/* ---------------------------------------------------------- sentencepiece */

static void test_spm_model(void **state)
{
    struct erne_vocab vocab = { 0 };

    (void)state;
    assert_int_equal(tok_vocab_load(&vocab, "spm_ernie.model", NULL), 0);
    assert_int_equal(vocab.kind, ERNE_VOCAB_SPM);
    assert_int_equal(vocab.n_tokens, 2553);
    assert_int_equal(vocab.unk, 0);
    assert_int_equal(vocab.bos, 1);
    assert_int_equal(vocab.eos, 2);
    assert_false(vocab.add_space_prefix || vocab.remove_extra_spaces || vocab.add_bos);
    assert_int_equal(vocab.tokens[0].type, ERNE_TOKEN_UNKNOWN);
    assert_int_equal(vocab.tokens[3].type, ERNE_TOKEN_CONTROL);
    assert_int_equal(vocab.tokens[12].type, ERNE_TOKEN_BYTE);
    assert_string_equal(vocab.tokens[275].text, "\xe2\x96\x81the");
    assert_true(vocab.tokens[275].score == -7.0f);
    erne_vocab_deinit(&vocab);
    assert_int_equal(tok_vocab_load(&vocab, "spm_rules.model", NULL), 0);
    assert_true(vocab.add_space_prefix && vocab.remove_extra_spaces);
    assert_true(vocab.charsmap_bytes > 0);
    erne_vocab_deinit(&vocab);
}

/* Fields behind a message override those in it. */
static void test_spm_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        int status;
        const char *text;
    } cases[] = {
        { "\x12\x02\x18\x01", 4, ERNE_EUNSUPPORTED, "unigram" },
        { "\x12\x02\x18\x04", 4, ERNE_EUNSUPPORTED, "char" },
        { "\x12\x02\x18\x7f", 4, ERNE_EUNSUPPORTED, "model_type ?" },
        { "\x12\x03\xc0\x01\x01", 5, ERNE_EUNSUPPORTED, "treat_whitespace_as_suffix" },
        { "\x1a\x02\x28\x00", 4, ERNE_EUNSUPPORTED, "escape_whitespaces" },
        { "\x2a\x03\x12\x01x", 5, ERNE_EUNSUPPORTED, "denormalizer_spec" },
        { "\x0a\x03\x0a\x01", 4, ERNE_EFORMAT, "malformed" },
        { "\x0a\x02\x18\x09", 4, ERNE_EFORMAT, "piece 2553" },
        { "\x0b", 1, ERNE_EFORMAT, "malformed" },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, ERNE_EFORMAT, "malformed" },
    };
    size_t n;
    char *model = tok_text_load("spm_ernie.model", &n);

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_vocab vocab = { 0 };
        struct erne_error err = { 0 };
        uint8_t *data = test_malloc(n + cases[i].n);

        memcpy(data, model, n);
        memcpy(data + n, cases[i].bytes, cases[i].n);
        assert_int_equal(vocab_from_spm_model(&vocab, data, n + cases[i].n, &err),
                         cases[i].status);
        if (!strstr(err.text, cases[i].text))
            fail_msg("\"%s\" lacks \"%s\"", err.text, cases[i].text);
        erne_vocab_deinit(&vocab);
        test_free(data);
    }
    free(model);
}

static void test_spm_truncated(void **state)
{
    size_t n;
    char *model = tok_text_load("spm_rules.model", &n);
    int n_read = 0;

    (void)state;
    for (size_t cut = 0; cut < n; cut++) {
        struct erne_vocab vocab = { 0 };
        uint8_t *exact = test_malloc(cut + 1);

        memcpy(exact, model, cut);
        n_read += vocab_from_spm_model(&vocab, exact, cut, NULL) == 0;
        erne_vocab_deinit(&vocab);
        test_free(exact);
    }
    /* The trainer's part is last but for the normaliser's: without it nothing is BPE. */
    assert_true(n_read < 10);
    free(model);
}

/* ------------------------------------------------------------------- JSON */

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}," \
              "\"merges\":[\"a b\"]}"
#define ESCAPE(steps) "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" steps \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"}," \
    "\"content\":\"\xe2\x96\x81\"}]}"
#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"}"
#define NORMALIZED(text, more) \
    "\"added_tokens\":[{\"id\":0,\"content\":\"" text "\",\"normalized\":true" more "}]"
#define BYTE_LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"

static void test_json_refused(void **state)
{
    static const struct {
        const char *json, *text;
        int status;
    } cases[] = {
        { "{", "tokenizer.json:1", ERNE_EFORMAT },
        { "[]", "not a JSON object", ERNE_EFORMAT },
        { "{}", "no model", ERNE_EFORMAT },
        { "{\"model\":{\"type\":\"Unigram\"}}", "Unigram", ERNE_EUNSUPPORTED },
        { "{\"model\":{\"vocab\":{\"a\":-1}}}", "token \"a\" has id -1", ERNE_EFORMAT },
        { "{\"model\":{\"vocab\":{\"a\":9999999}}}", "id 9999999", ERNE_EFORMAT },
        { "{\"model\":{\"vocab\":{\"a\":0,\"b\":0}}}", "two tokens", ERNE_EFORMAT },
        { "{\"model\":{\"vocab\":{\"a\":0}}}", "no merges", ERNE_EFORMAT },
        { "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a c\"]}}", "merge 0",
          ERNE_EFORMAT },
        { "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "merge 0",
          ERNE_EFORMAT },
        { "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{}}}", "</w>",
          ERNE_EUNSUPPORTED },
        { "{\"model\":{\"dropout\":0.1,\"vocab\":{}}}", "dropout", ERNE_EUNSUPPORTED },
        { "{" MODEL "}", "neither byte-level", ERNE_EUNSUPPORTED },
        { "{" MODEL ",\"normalizer\":{\"type\":\"Lowercase\"}}", "Lowercase",
          ERNE_EUNSUPPORTED },
        { "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Whitespace\"}}", "Whitespace",
          ERNE_EUNSUPPORTED },
        { "{" MODEL ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}", "add_prefix_space",
          ERNE_EUNSUPPORTED },
        { "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Removed\","
          "\"pattern\":{\"Regex\":\"x\"}}}", "Removed", ERNE_EUNSUPPORTED },
        { "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"split\":false,"
          "\"prepend_scheme\":\"first\"}}", "first", ERNE_EUNSUPPORTED },
        { "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
          "\"pattern\":{\"Regex\":\"a*\"}}}", "\"a*\" can match nothing",
          ERNE_EUNSUPPORTED },
        { "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
          "{\"type\":\"ByteLevel\",\"add_prefix_space\":false},{\"type\":\"Digits\"}]}}",
          "behind ByteLevel \"Digits\"", ERNE_EUNSUPPORTED },
        { "{" MODEL "," ESCAPE(PREPEND "," PREPEND ",") "}", "Prepend behind",
          ERNE_EUNSUPPORTED },
        { "{" MODEL "," ESCAPE("") ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":"
          "\"Removed\",\"invert\":true,\"pattern\":{\"String\":\" \"}}}",
          "Split by a string", ERNE_EUNSUPPORTED },
        { "{" MODEL "," ESCAPE(PREPEND ",") "," NORMALIZED("x", "") "}",
          "added token \"x\"", ERNE_EUNSUPPORTED },
        { "{" MODEL "," ESCAPE("") "," NORMALIZED("x y", "") "}", "added token \"x y\"",
          ERNE_EUNSUPPORTED },
        { "{" MODEL "," ESCAPE("") "," NORMALIZED("x", ",\"lstrip\":true") "}",
          "added token \"x\"", ERNE_EUNSUPPORTED },
        { "{" MODEL "," BYTE_LEVEL ",\"normalizer\":{\"type\":\"NFC\"},"
          NORMALIZED("x", "") "}", "added token \"x\"", ERNE_EUNSUPPORTED },
        { "{\"model\":{\"ignore_merges\":true,\"vocab\":{\"a\":0},\"merges\":[]},"
          ESCAPE("") "}", "ignore_merges", ERNE_EUNSUPPORTED },
        { "{\"model\":{\"byte_fallback\":true,\"vocab\":{\"<0x0A>\":0},\"merges\":[]},"
          ESCAPE("") "}", "1 byte tokens", ERNE_EUNSUPPORTED },
        { "{\"model\":{\"byte_fallback\":true,\"vocab\":{\"<0x0A>\":0},\"merges\":[]},"
          NORMALIZED("<0x0A>", "") "}", "is a byte token", ERNE_EUNSUPPORTED },
        { "{" MODEL "," BYTE_LEVEL ",\"added_tokens\":[{\"id\":3}]}", "no content",
          ERNE_EFORMAT },
        { "{" MODEL "," BYTE_LEVEL ",\"added_tokens\":[{\"content\":\"x\"}]}",
          "has id -1", ERNE_EFORMAT },
        { "{" MODEL "," BYTE_LEVEL ",\"added_tokens\":[{\"content\":\"x\",\"id\":3,"
          "\"single_word\":true}]}", "single_word", ERNE_EUNSUPPORTED },
        { "{" MODEL "," BYTE_LEVEL ",\"post_processor\":{\"type\":\"BertProcessing\"}}",
          "BertProcessing", ERNE_EUNSUPPORTED },
        { "{" MODEL "," BYTE_LEVEL ",\"post_processor\":{\"type\":"
          "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\"}},"
          "{\"SpecialToken\":{\"id\":\"b\"}},{\"Sequence\":{}}]}}",
          "second token behind \"a\"", ERNE_EUNSUPPORTED },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_vocab vocab = { 0 };
        struct erne_error err = { 0 };
        int status = vocab_from_tokenizer_json(&vocab, cases[i].json,
                                               strlen(cases[i].json), &err);

        if (status != cases[i].status || !strstr(err.text, cases[i].text))
            fail_msg("%s: %d, \"%s\"", cases[i].json, status, err.text);
        erne_vocab_deinit(&vocab);
    }
}

static void test_json_read(void **state)
{
    static const char json[] =
        "{" MODEL "," BYTE_LEVEL ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":"
        "[{\"type\":\"NFC\"}]},\"added_tokens\":[{\"id\":5,\"content\":\"<s>\","
        "\"special\":true,\"rstrip\":true},{\"id\":6,\"content\":\"  \"}],"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":"
        "[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}},"
        "{\"SpecialToken\":{\"id\":\"a\"}}]}}";
    struct erne_vocab vocab = { 0 };

    (void)state;
    assert_int_equal(vocab_from_tokenizer_json(&vocab, json, strlen(json), NULL), 0);
    assert_int_equal(vocab.kind, ERNE_VOCAB_BPE);
    assert_int_equal(vocab.n_tokens, 7);
    assert_int_equal(vocab.n_merges, 1);
    assert_true(vocab.merges[0] == 1);
    assert_int_equal(vocab.n_patterns, 1);
    assert_null(strstr(vocab.patterns[0], "\\s"));
    assert_non_null(strstr(vocab.patterns[0], "(?!\\P{White_Space})"));
    assert_true(vocab.nfc && vocab.add_bos);
    assert_int_equal(vocab.bos, 5);
    assert_int_equal(vocab.eos, -1); /* the token behind the text is left out */
    assert_int_equal(vocab.tokens[3].n_bytes, 0);
    assert_int_equal(vocab.tokens[5].type, ERNE_TOKEN_CONTROL);
    assert_int_equal(vocab.tokens[5].flags, ERNE_TOKEN_RSTRIP);
    assert_int_equal(vocab.tokens[6].type, ERNE_TOKEN_USER);
    erne_vocab_deinit(&vocab);
}

/* What only some files ask for. */
static void test_json_options(void **state)
{
    static const char prefix[] =
        "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"split\":false}}";
    static const char both[] =
        "{" MODEL "," ESCAPE(PREPEND ",") ",\"pre_tokenizer\":{\"type\":\"Metaspace\","
        "\"split\":false,\"prepend_scheme\":\"never\"}}";
    static const char fused[] =
        "{\"model\":{\"fuse_unk\":true,\"vocab\":{\"a\":0},\"merges\":[]}," ESCAPE("")
        "," NORMALIZED("x", "") "}";
    struct erne_vocab vocab = { 0 };

    (void)state;
    assert_int_equal(vocab_from_tokenizer_json(&vocab, prefix, strlen(prefix), NULL), 0);
    assert_true(vocab.add_space_prefix && vocab.space_prefix_once && vocab.unknown_apart);
    erne_vocab_deinit(&vocab);
    assert_int_equal(vocab_from_tokenizer_json(&vocab, both, strlen(both), NULL), 0);
    assert_true(vocab.add_space_prefix && !vocab.space_prefix_once);
    erne_vocab_deinit(&vocab);
    assert_int_equal(vocab_from_tokenizer_json(&vocab, fused, strlen(fused), NULL), 0);
    assert_false(vocab.add_space_prefix || vocab.unknown_apart);
    erne_vocab_deinit(&vocab);
}

static void test_added(void **state)
{
    static const char added[] = "{\"<|IMAGE_START|>\": 2555, \"w\xc3\xb6rd\": 2553}";
    static const char config[] =
        "{\"bos_token\":\"<|begin_of_sentence|>\",\"eos_token\":{\"content\":\"</s>\"},"
        "\"pad_token\":\"<unk>\",\"additional_special_tokens\":[\"w\xc3\xb6rd\"],"
        "\"add_bos_token\":true,\"added_tokens_decoder\":{\"11\":{\"content\":"
        "\"</think>\",\"special\":false}}}";
    struct erne_vocab vocab = { 0 };

    (void)state;
    assert_int_equal(tok_vocab_load(&vocab, "spm_ernie.model", NULL), 0);
    assert_int_equal(vocab_add_tokens_json(&vocab, added, strlen(added), NULL), 0);
    assert_int_equal(vocab.n_tokens, 2556);
    assert_int_equal(vocab.tokens[2553].type, ERNE_TOKEN_USER);
    assert_int_equal(vocab.tokens[2554].type, ERNE_TOKEN_UNUSED);
    assert_int_equal(vocab.tokens[2555].type, ERNE_TOKEN_CONTROL);
    assert_int_equal(vocab_add_tokens_json(&vocab, config, strlen(config), NULL), 0);
    assert_int_equal(vocab.bos, 3);
    assert_int_equal(vocab.eos, 2);
    assert_true(vocab.add_bos);
    assert_int_equal(vocab.tokens[0].type, ERNE_TOKEN_UNKNOWN);
    assert_int_equal(vocab.tokens[11].type, ERNE_TOKEN_USER);
    assert_int_equal(vocab.tokens[2553].type, ERNE_TOKEN_CONTROL);
    assert_int_equal(vocab_add_tokens_json(&vocab, "{\"x\":900000}", 12, NULL),
                     ERNE_EFORMAT);
    erne_vocab_deinit(&vocab);
}

/* -------------------------------------------------------- pre-tokenisers */

static void test_pre_tokenizers(void **state)
{
    static const struct {
        const char *name;
        uint32_t n_patterns;
        bool ignore_merges;
    } known[] = { { "default", 4, false },    { "gpt-2", 1, false },
                  { "olmo", 1, false },       { "smollm", 2, false },
                  { "llama-bpe", 1, true },   { "qwen2", 1, false },
                  { "minerva-7b", 2, false } };
    static const char *const unknown[] = { "",        " ",           "gpt",
                                           "smollm ", "gpt-2 phi-2", "-bpe" };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(known); i++) {
        struct erne_vocab vocab = { 0 };

        assert_int_equal(vocab_set_pre_tokenizer(&vocab, known[i].name, NULL), 0);
        assert_int_equal(vocab.n_patterns, known[i].n_patterns);
        assert_int_equal(vocab.ignore_merges, known[i].ignore_merges);
        erne_vocab_deinit(&vocab);
    }
    for (size_t i = 0; i < ERNE_ARRAY_LEN(unknown); i++) {
        struct erne_vocab vocab = { 0 };
        struct erne_error err = { 0 };

        assert_int_equal(vocab_set_pre_tokenizer(&vocab, unknown[i], &err),
                         ERNE_EUNSUPPORTED);
        assert_non_null(strstr(err.text, unknown[i]));
    }
}

/* ------------------------------------------------------------- patterns */

static int open_with_pattern(const char *pattern, struct tok_file *file,
                             struct erne_error *err)
{
    struct erne_vocab vocab = { 0 };
    int status;

    assert_int_equal(tok_vocab_load(&vocab, "bpe_json.json", NULL), 0);
    free(vocab.patterns[0]);
    vocab.patterns[0] = source_copy_text(pattern, strlen(pattern));
    vocab.n_patterns = 1;
    free(vocab.patterns[1]);
    vocab.patterns[1] = NULL;
    status = erne_vocab_write(&file->section, &file->n_bytes, &vocab, err);
    erne_vocab_deinit(&vocab);
    if (status < 0)
        return status;
    return erne_tokenizer_open(&file->tok, file->section, file->n_bytes, err);
}

/* Patterns of released models (GPT-4o, DeepSeek-V3) stay; what Oniguruma reads otherwise
 * than PCRE2 does, or might, is named. */
static void test_dialect(void **state)
{
    static const char *const same[] = {
        ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"
         "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|"
         " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
        "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+",
        ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
         "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"),
        "[\xe4\xb8\x80-\xe9\xbe\xa5]+", "a{2,}|.|(b)(?=c)(?<!d)\\.",
    };
    static const struct {
        const char *regex, *named;
    } other[] = {
        { "a\\h", "\"\\h\" at byte 1" },        { "\\H", "\"\\H\"" },
        { "a\\K", "\"\\K\"" },                  { "\\X", "\"\\X\"" },
        { "\\R", "\"\\R\"" },                   { "[\\v]", "\"\\v\"" },
        { "\\N", "\"\\N\"" },                   { "\\w+", "\"\\w\"" },
        { "a\\b", "\"\\b\"" },                  { "(a)\\1", "\"\\1\"" },
        { "\\p{Han}", "\"\\p{Han}\"" },         { "\\pL", "\"\\p\"" },
        { "[[:alpha:]]", "\"[\" at byte 1" },     { "[^(\\s|[.,])]", "\"[\" at byte 6" },
        { "[a&&b]", "\"&&\"" },                   { "[]a]", "\"[\"" },
        { "^a", "\"^\"" },                        { "a$", "\"$\"" },
        { "a{2}?", "\"{\"" },                     { "a{2}+", "\"{\"" },
        { "a{,2}", "\"{\"" },                     { "(?i:a)", "\"(?i\"" },
        { "(?>a)", "\"(?>\"" },                   { "(*UCP)a", "\"(*U\"" },
        { "a\\", "\"\\\" at byte 1" },          { "a|b*", "can match nothing" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(same); i++) {
        struct erne_vocab vocab = { 0 };
        struct tok_file file = { 0 };
        struct erne_error err = { 0 };

        if (vocab_add_pattern(&vocab, same[i], &err) < 0)
            fail_msg("%s: %s", same[i], err.text);
        assert_int_equal(open_with_pattern(vocab.patterns[0], &file, NULL), 0);
        tok_file_close(&file);
        erne_vocab_deinit(&vocab);
    }
    for (size_t i = 0; i < ERNE_ARRAY_LEN(other); i++) {
        struct erne_vocab vocab = { 0 };
        struct erne_error err = { 0 };

        assert_int_equal(vocab_add_pattern(&vocab, other[i].regex, &err),
                         ERNE_EUNSUPPORTED);
        if (!strstr(err.text, other[i].named))
            fail_msg("%s: \"%s\" lacks %s", other[i].regex, err.text, other[i].named);
    }
}

/* A pattern that never ends is stopped; one that is none is refused. */
static void test_patterns(void **state)
{
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";
    struct erne_text t = { text, strlen(text), NULL, 0 };
    struct tok_file file = { 0 };
    struct erne_error err = { 0 };
    int32_t ids[128];
    size_t n;

    (void)state;
    assert_int_equal(open_with_pattern("(", &file, &err), ERNE_EFORMAT);
    assert_non_null(strstr(err.text, "pattern 0"));
    assert_int_equal(open_with_pattern("(a+)+b\\1?(a|aa)+$", &file, &err), 0);
    assert_int_equal(erne_tokenizer_encode(file.tok, &t, ids, 128, &n, &err),
                     ERNE_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "pattern 0"));
    tok_file_close(&file);
    /* Nothing matches, or only nothing: the text is one word. */
    assert_int_equal(open_with_pattern("b*", &file, &err), 0);
    assert_int_equal(erne_tokenizer_encode(file.tok, &t, ids, 128, &n, &err), 0);
    tok_file_close(&file);
}

/* ----------------------------------------------------- failing allocations */

static int whole_way(const char *name, const char *text, size_t n_bytes)
{
    struct erne_vocab vocab = { 0 };
    struct erne_tokenizer *tok = NULL;
    struct erne_text sample = { "The e\xcc\x81 <s>12 \xff", 14, NULL, 0 };
    uint8_t *section = NULL;
    int32_t ids[64];
    size_t n;
    int status = strstr(name, ".json")
                     ? vocab_from_tokenizer_json(&vocab, text, n_bytes, NULL)
                     : vocab_from_spm_model(&vocab, (const uint8_t *)text, n_bytes, NULL);

    vocab.nfc = vocab.kind == ERNE_VOCAB_BPE;
    if (status == 0)
        status = erne_vocab_write(&section, &n, &vocab, NULL);
    if (status == 0)
        status = erne_tokenizer_open(&tok, section, n, NULL);
    if (status == 0)
        status = erne_tokenizer_encode(tok, &sample, ids, 64, &n, NULL);
    erne_tokenizer_close(&tok);
    erne_vocab_deinit(&vocab);
    free(section);
    return status;
}

/* The tokens' texts are many allocations and all alike: one in 61 of them fails, and each
 * of those before and behind them. */
static void test_no_memory(void **state)
{
    static const char *const names[] = { "spm_rules.model", "spm_json.json",
                                         "bpe_json.json" };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++) {
        size_t n_bytes, n_all;
        char *text = tok_text_load(names[i], &n_bytes);

        alloc_count_reset();
        assert_int_equal(whole_way(names[i], text, n_bytes), 0);
        n_all = alloc_count();
        assert_true(n_all > 200);
        for (size_t n = 1; n <= n_all; n += n < 20 || n + 40 > n_all ? 1 : 61) {
            int status;

            alloc_fail_at(n);
            status = whole_way(names[i], text, n_bytes);
            assert_true(alloc_fail_hit());
            assert_int_equal(status, ERNE_ENOMEM);
        }
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spm_model),      cmocka_unit_test(test_spm_refused),
        cmocka_unit_test(test_spm_truncated),  cmocka_unit_test(test_json_refused),
        cmocka_unit_test(test_json_options),   cmocka_unit_test(test_dialect),
        cmocka_unit_test(test_json_read),      cmocka_unit_test(test_added),
        cmocka_unit_test(test_pre_tokenizers), cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
