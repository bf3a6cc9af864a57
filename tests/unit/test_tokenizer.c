/* test_tokenizer.c -- encoding and decoding against golden samples of sentencepiece and
 * tokenizers (tests/oracle/compare_tokenizers.py), and what must hold for any text. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/source.h"
#include "platforms/platform.h"
#include "tests/support/tok_files.h"

enum { CAP = 1 << 16 };

static const char *const spm_names[] = { "spm_ernie.model", "spm_json.json",
                                         "spm_rules.model" };

/* ----------------------------------------------------------------- golden */

/* In place; "-" is the empty text. */
static size_t from_hex(char *hex)
{
    size_t n = 0;
    char two[3] = "", *end;

    for (; hex[2 * n] != '\0'; n++) {
        memcpy(two, hex + 2 * n, 2);
        hex[n] = (char)strtol(two, &end, 16);
        if (end != two + 2)
            break;
    }
    return n;
}

/* A line "mode hex id id ...". */
static void check_line(const struct erne_tokenizer *tok, char *line, const char *name)
{
    int32_t *ids = test_malloc(CAP * sizeof(*ids));
    char *hex = line + 2, *rest = strchr(hex, ' ');
    size_t n_bytes, n, i = 0;

    assert_non_null(rest);
    *rest++ = '\0';
    n_bytes = from_hex(hex);
    n = tok_ids(tok, hex, n_bytes, line[0] == 's', ids, CAP);
    for (char *end; *rest != '\0'; rest = end, i++) {
        long want = strtol(rest, &end, 10);

        if (end == rest)
            break;
        if (i >= n || ids[i] != want)
            fail_msg("%s: \"%.*s\": id %zu is %d, not %ld", name, (int)n_bytes, hex, i,
                     i < n ? ids[i] : -1, want);
    }
    assert_int_equal(i, n);
    test_free(ids);
}

static void check_golden(const char *vocab, const char *sample)
{
    struct tok_file file = tok_file_open(vocab);
    size_t n, n_lines = 0;
    char *text = tok_text_load(sample, &n), *line = text, *end;

    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (line[0] == '#')
            continue;
        check_line(file.tok, line, sample);
        n_lines++;
    }
    assert_true(n_lines >= 250);
    free(text);
    tok_file_close(&file);
}

static void test_golden(void **state)
{
    (void)state;
    check_golden("spm_ernie.model", "spm_ernie.txt");
    check_golden("spm_json.json", "spm_json.txt");
    check_golden("spm_rules.model", "spm_rules.txt");
    check_golden("bpe_json.json", "bpe_json.txt");
    check_golden("metaspace.json", "metaspace.txt");
    check_golden("removed.json", "removed.txt");
    check_golden("unknown.json", "unknown.txt");
    check_golden("fused.json", "fused.txt");
}

/* ------------------------------------------------------------- properties */

/* Characters of every length; some of them with spaces, digits and marks among them. */
static size_t random_text(uint64_t *seed, char *text, size_t n_chars, uint32_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < n_chars; i++) {
        uint32_t c = (uint32_t)(unit_random(seed) % max);

        if (unit_random(seed) % 2)
            c %= 0x80;
        if (c >= 0xD800 && c < 0xE000)
            c = 0x2581;
        if (c < 0x80) {
            text[n++] = (char)c;
            continue;
        }
        if (c < 0x800) {
            text[n++] = (char)(0xC0 | c >> 6);
        } else {
            if (c < 0x10000) {
                text[n++] = (char)(0xE0 | c >> 12);
            } else {
                text[n++] = (char)(0xF0 | c >> 18);
                text[n++] = (char)(0x80 | (c >> 12 & 0x3F));
            }
            text[n++] = (char)(0x80 | (c >> 6 & 0x3F));
        }
        text[n++] = (char)(0x80 | (c & 0x3F));
    }
    return n;
}

static void check_round_trip(const char *name, uint32_t max)
{
    struct tok_file file = tok_file_open(name);
    char text[1024], back[4096];
    int32_t ids[2048];
    uint64_t seed = 7;

    for (int i = 0; i < 600; i++) {
        size_t n_bytes = random_text(&seed, text, 1 + (size_t)i % 200, max), n, n_back;

        n = tok_ids(file.tok, text, n_bytes, false, ids, 2048);
        n_back = tok_decode(file.tok, ids, n, back, sizeof(back));
        /* U+2581 and the space are the same to SentencePiece. */
        for (size_t k = 0; max > 0x2581 && k + 3 <= n_bytes; k++)
            if (memcmp(text + k, "\xe2\x96\x81", 3) == 0) {
                text[k] = ' ';
                memmove(text + k + 1, text + k + 3, n_bytes - k - 3);
                n_bytes -= 2;
            }
        assert_int_equal(n_back, n_bytes);
        assert_memory_equal(back, text, n_bytes);
    }
    tok_file_close(&file);
}

static void test_round_trip(void **state)
{
    (void)state;
    check_round_trip("spm_ernie.model", 0x110000);
    check_round_trip("spm_json.json", 0x110000);
}

/* SmolLM2's vocabulary lacks some control characters: every other byte comes back. */
static void test_round_trip_bytes(void **state)
{
    struct tok_file file = tok_file_open("bpe_json.json");
    int n_missing = 0;

    (void)state;
    for (int b = 0; b < 0x100; b++) {
        const char text[3] = { 'x', (char)b, 'y' };
        char back[16];
        int32_t ids[8];
        size_t n = tok_ids(file.tok, text, 3, false, ids, 8);

        n = tok_decode(file.tok, ids, n, back, sizeof(back));
        if (n == 2)
            n_missing++;
        else if (b < 0x80)
            assert_memory_equal(back, text, 3);
        else
            assert_string_equal(back, "x\xEF\xBF\xBDy");
    }
    assert_int_equal(n_missing, 21);
    tok_file_close(&file);
}

static void test_random_bytes(void **state)
{
    static const char *const names[] = { "spm_ernie.model", "spm_json.json",
                                         "spm_rules.model", "bpe_json.json" };
    char text[512];
    int32_t ids[4096];
    uint64_t seed = 11;

    (void)state;
    for (size_t v = 0; v < ERNE_ARRAY_LEN(names); v++) {
        struct tok_file file = tok_file_open(names[v]);

        for (int i = 0; i < 500; i++) {
            size_t n_bytes = unit_random(&seed) % sizeof(text), n;

            for (size_t k = 0; k < n_bytes; k++)
                text[k] = (char)(unit_random(&seed) >> 32);
            n = tok_ids(file.tok, text, n_bytes, i % 2, ids, 4096);
            for (size_t k = 0; k < n; k++)
                assert_in_range(ids[k], 0, erne_tokenizer_n_tokens(file.tok) - 1);
        }
        tok_file_close(&file);
    }
}

/* ---------------------------------------------------------- special tokens */

static void test_special(void **state)
{
    static const char text[] = "a<|end_of_sentence|></s>b";
    struct tok_file file = tok_file_open("spm_ernie.model");
    struct erne_text_span span = { 1, 22 };
    struct erne_text with_span = { text, strlen(text), &span, 1 };
    int32_t end = erne_tokenizer_find(file.tok, "<|end_of_sentence|>");
    int32_t eos = erne_tokenizer_find(file.tok, "</s>"), ids[64];
    size_t n;

    (void)state;
    assert_int_equal(end, 4);
    assert_int_equal(eos, 2);
    assert_int_equal(erne_tokenizer_find(file.tok, "<|no such token|>"), -1);
    n = tok_ids(file.tok, text, strlen(text), true, ids, 64);
    assert_int_equal(n, 4);
    assert_int_equal(ids[1], end);
    assert_int_equal(ids[2], eos);
    n = tok_ids(file.tok, text, strlen(text), false, ids, 64);
    for (size_t i = 0; i < n; i++)
        assert_true(ids[i] != end && ids[i] != eos);
    /* The span covers the first and a byte of the second: neither is special. */
    assert_int_equal(erne_tokenizer_encode(file.tok, &with_span, ids, 64, &n, NULL), 0);
    for (size_t i = 0; i < n; i++)
        assert_true(ids[i] != end && ids[i] != eos);
    span.end = 20;
    assert_int_equal(erne_tokenizer_encode(file.tok, &with_span, ids, 64, &n, NULL), 0);
    assert_int_equal(ids[n - 2], eos);
    tok_file_close(&file);
}

/* A token at the end of the other, one inside the other, and ones that strip. */
static void test_special_choice(void **state)
{
    struct erne_vocab vocab = { 0 };
    struct tok_file file;
    int32_t ids[16];
    size_t n;

    (void)state;
    assert_int_equal(tok_vocab_load(&vocab, "bpe_json.json", NULL), 0);
    for (uint32_t i = 0; i < 4; i++) {
        static const char *const texts[] = { "<a", "<a>b", "b>", "<L>" };

        free(vocab.tokens[i].text);
        vocab.tokens[i].text = source_copy_text(texts[i], strlen(texts[i]));
        vocab.tokens[i].n_bytes = (uint32_t)strlen(texts[i]);
        vocab.tokens[i].type = ERNE_TOKEN_CONTROL;
    }
    vocab.tokens[3].flags = ERNE_TOKEN_LSTRIP | ERNE_TOKEN_RSTRIP;
    file = tok_file_from(&vocab);
    n = tok_ids(file.tok, "<a>b><ab>", 9, true, ids, 16);
    assert_int_equal(n, 4);      /* <a>b, ">", <a, b> */
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[2], 0);
    assert_int_equal(ids[3], 2);
    n = tok_ids(file.tok, "x \xe3\x80\x80\n<L>\t \xc2\xa0y", 14, true, ids, 16);
    assert_int_equal(n, 3);
    assert_int_equal(ids[1], 3);
    tok_file_close(&file);
}

static void test_cap(void **state)
{
    struct tok_file file = tok_file_open("spm_ernie.model");
    struct erne_text text = { "Hello world", 11, NULL, 0 };
    struct erne_error err = { 0 };
    int32_t ids[32];
    size_t n = 0;

    (void)state;
    assert_int_equal(erne_tokenizer_encode(file.tok, &text, NULL, 0, &n, &err),
                     ERNE_EINVAL);
    assert_true(n > 2);
    assert_non_null(strstr(err.text, "room for 0"));
    assert_int_equal(erne_tokenizer_encode(file.tok, &text, ids, n, &n, &err), 0);
    tok_file_close(&file);
}

/* ------------------------------------------------------------------ output */

static void feed(const struct erne_tokenizer *tok, struct erne_detok *state,
                 const char *token, const char *want)
{
    char buf[64];
    size_t n;

    assert_int_equal(erne_tokenizer_stream(tok, state, erne_tokenizer_find(tok, token),
                                           buf, sizeof(buf), &n, NULL), 0);
    assert_string_equal(buf, want);
    assert_int_equal(n, strlen(want));
}

static void test_stream(void **state)
{
    struct tok_file file = tok_file_open("spm_ernie.model");
    struct erne_detok d = { 0 };
    char buf[8];
    size_t n;

    (void)state;
    feed(file.tok, &d, "<0xF0>", "");
    feed(file.tok, &d, "<0x9F>", "");
    feed(file.tok, &d, "<0xA6>", "");
    feed(file.tok, &d, "</s>", "");
    feed(file.tok, &d, "<0x85>", "\xF0\x9F\xA6\x85");
    feed(file.tok, &d, "<0xE2>", "");
    feed(file.tok, &d, "<0x82>", "");
    feed(file.tok, &d, "\xe2\x96\x81the", "\xEF\xBF\xBD the");   /* cut short */
    feed(file.tok, &d, "<0x80>", "\xEF\xBF\xBD");
    feed(file.tok, &d, "<0xED>", "");
    feed(file.tok, &d, "<0xA0>", "\xEF\xBF\xBD\xEF\xBF\xBD");    /* a surrogate */
    d.show_special = true;
    feed(file.tok, &d, "</s>", "</s>");
    feed(file.tok, &d, "<0xC3>", "");
    assert_int_equal(erne_detokenize_end(&d, buf, 3, &n), ERNE_EINVAL);
    assert_int_equal(erne_detokenize_end(&d, buf, sizeof(buf), &n), 0);
    assert_string_equal(buf, "\xEF\xBF\xBD");
    assert_int_equal(erne_detokenize_end(&d, buf, 1, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(erne_tokenizer_stream(file.tok, &d, 2553, buf, 8, &n, NULL),
                     ERNE_EINVAL);
    assert_int_equal(erne_tokenizer_stream(file.tok, &d, -1, buf, 8, &n, NULL),
                     ERNE_EINVAL);
    assert_int_equal(erne_tokenizer_stream(file.tok, &d, 1000, buf, 1, &n, NULL),
                     ERNE_EINVAL);
    tok_file_close(&file);
}

/* A model with a dummy prefix: one space at the start is dropped, no other. */
static void test_stream_prefix(void **state)
{
    struct erne_vocab vocab = { 0 };
    struct tok_file file;
    struct erne_detok d = { 0 };

    (void)state;
    assert_int_equal(tok_vocab_load(&vocab, "spm_ernie.model", NULL), 0);
    vocab.add_space_prefix = true;
    file = tok_file_from(&vocab);
    feed(file.tok, &d, "<s>", "");
    feed(file.tok, &d, "\xe2\x96\x81the", "the");
    feed(file.tok, &d, "\xe2\x96\x81the", " the");
    tok_file_close(&file);
}

/* ------------------------------------------------------------------- speed */

/* Texts on which a quadratic step somewhere would take minutes. */
static void test_long(void **state)
{
    enum { N = 1 << 19 };
    static const char *const units[] = { "a", " ", "\xcc\x81\xcc\xa3", "1", "ab ", "<",
                                         "\n", "\xe2\x96\x81", "\x80" };
    static const char *const names[] = { "spm_ernie.model", "bpe_json.json" };
    char *text = test_malloc(N);
    int32_t *ids = test_malloc(sizeof(*ids) * N);
    uint64_t start = pf_time_ns();

    (void)state;
    for (size_t v = 0; v < ERNE_ARRAY_LEN(names); v++) {
        struct erne_vocab vocab = { 0 };
        struct tok_file file;

        assert_int_equal(tok_vocab_load(&vocab, names[v], NULL), 0);
        vocab.nfc = vocab.kind == ERNE_VOCAB_BPE;
        file = tok_file_from(&vocab);
        for (size_t u = 0; u < ERNE_ARRAY_LEN(units); u++) {
            size_t unit = strlen(units[u]), n = N / 4 / unit * unit;

            for (size_t i = 0; i < n; i++)
                text[i] = units[u][i % unit];
            assert_true(tok_ids(file.tok, text, n, true, ids, N) > 0);
        }
        tok_file_close(&file);
    }
    assert_true(pf_time_ns() - start < UINT64_C(60000000000));
    test_free(text);
    test_free(ids);
}

/* ----------------------------------------------------------------- section */

/* Opens a damaged copy; whatever opens must work. */
static void try_section(const uint8_t *section, size_t n_bytes)
{
    struct erne_tokenizer *tok = NULL;
    struct erne_error err = { 0 };
    struct erne_text text = { "Hello <s> 12 \xf0\x9f\xa6\x85", 18, NULL, 0 };
    int32_t ids[64];
    size_t n;

    if (erne_tokenizer_open(&tok, section, n_bytes, &err) < 0) {
        assert_true(err.status == ERNE_EFORMAT);
        assert_true(strlen(err.text) > 0);
        return;
    }
    (void)erne_tokenizer_encode(tok, &text, ids, 64, &n, &err);
    erne_tokenizer_close(&tok);
}

static void test_damaged(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (size_t v = 0; v < ERNE_ARRAY_LEN(spm_names) + 1; v++) {
        struct tok_file file = tok_file_open(v < ERNE_ARRAY_LEN(spm_names)
                                                 ? spm_names[v]
                                                 : "bpe_json.json");
        uint8_t *copy = test_malloc(file.n_bytes);
        struct erne_tokenizer *tok;

        for (size_t n = 0; n < file.n_bytes; n += 1 + n / 8) {
            uint8_t *exact = test_malloc(n + 1);

            memcpy(exact, file.section, n);
            assert_int_equal(erne_tokenizer_open(&tok, exact, n, NULL), ERNE_EFORMAT);
            test_free(exact);
        }
        for (size_t i = 0; i < 200; i++) {
            size_t at = unit_random(&seed) % (i % 2 ? 64 : file.n_bytes);

            memcpy(copy, file.section, file.n_bytes);
            copy[at] ^= (uint8_t)(1u << unit_random(&seed) % 8);
            try_section(copy, file.n_bytes);
        }
        test_free(copy);
        tok_file_close(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),          cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_round_trip_bytes), cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_special),         cmocka_unit_test(test_special_choice),
        cmocka_unit_test(test_cap),             cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_prefix),   cmocka_unit_test(test_long),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
