/* test_manifest.c -- manifests: what is written, that it comes back, and what is refused.
 */
#include "tests/support/unit.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/model_desc.h"
#include "tests/support/alloc_fail.h"

/* Strings are literals: the result is not for erne_model_desc_deinit. */
static struct erne_model_desc full_desc(void)
{
    return (struct erne_model_desc){
        .arch = ERNE_ARCH_LLAMA,
        .n_layers = 3,
        .n_embd = 24,
        .n_heads = 6,
        .n_kv_heads = 2,
        .head_dim = 8,
        .n_ff = 40,
        .n_vocab = 1000,
        .n_ctx_train = 512,
        .rms_eps = 1e-5f,
        .rope_theta = 500000.0f,
        .tied = true,
        .stop = { 2, 7, 999 },
        .n_stop = 3,
        .chat = { .present = true,
                  .template_name = "test",
                  .begin = "<s>",
                  .system = { "", "\n" },
                  .user = { "User: ", "\n" },
                  .assistant = { "Assistant: ", "</s>" },
                  .generation = "Assistant: ",
                  .default_system = "be \"brief\": yes # no\n\ttab",
                  .picture = { "Picture %d:<|begin|>", "<|end|>" },
                  .video = { "Video %d:", "" },
                  .media_first = true,
                  .thinking = { .on = "<think>\n",
                                .off = "<think>\n\n</think>\n\n",
                                .by_default = true,
                                .begin = "<think>",
                                .end = "</think>",
                                .answer_begin = "<response>",
                                .answer_end = "</response>",
                                .past_before = "<think>\n",
                                .past_after = "\n</think>\n" } },
        .name = "Modell \xc3\xa4 \xf0\x9f\xa6\x85",
        .license = "null",
        .source = "12",
        .source_format = "- a\n- b\n  ",
        .scheme = "w4-g32",
        .calibration = "notes.txt (hash 0)",
        .n_calibrated = 16384,
        .judged = { .n_tokens = 2040,
                    .bits = 4.25f,
                    .kld = 0.03125f,
                    .same_top = 0.9f,
                    .perplexity = 28.1f,
                    .perplexity_exact = 27.4f,
                    .errors = { { [ERNE_ROLE_QKV] = 0.08159f, [ERNE_ROLE_MTP] = 0.5f },
                                { [ERNE_ROLE_DOWN] = 1.25f } } },
    };
}

static void check_text(const char *a, const char *b)
{
    if (!a || !b)
        assert_true(a == b);
    else
        assert_string_equal(a, b);
}

static void check_judged(const struct erne_judged_desc *a,
                         const struct erne_judged_desc *b)
{
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_true(a->bits == b->bits && a->kld == b->kld && a->same_top == b->same_top);
    assert_true(a->perplexity == b->perplexity &&
                a->perplexity_exact == b->perplexity_exact);
    assert_memory_equal(a->errors, b->errors, sizeof(a->errors));
}

static void check_chat(const struct erne_chat_desc *a, const struct erne_chat_desc *b)
{
    const struct erne_chat_thinking *t = &a->thinking, *u = &b->thinking;

    assert_int_equal(a->present, b->present);
    check_text(a->template_name, b->template_name);
    check_text(a->begin, b->begin);
    check_text(a->system.prefix, b->system.prefix);
    check_text(a->system.suffix, b->system.suffix);
    check_text(a->user.prefix, b->user.prefix);
    check_text(a->user.suffix, b->user.suffix);
    check_text(a->assistant.prefix, b->assistant.prefix);
    check_text(a->assistant.suffix, b->assistant.suffix);
    check_text(a->generation, b->generation);
    check_text(a->default_system, b->default_system);
    check_text(a->picture.before, b->picture.before);
    check_text(a->picture.after, b->picture.after);
    check_text(a->video.before, b->video.before);
    check_text(a->video.after, b->video.after);
    assert_int_equal(a->media_first, b->media_first);
    assert_int_equal(t->by_default, u->by_default);
    check_text(t->on, u->on);
    check_text(t->off, u->off);
    check_text(t->begin, u->begin);
    check_text(t->end, u->end);
    check_text(t->answer_begin, u->answer_begin);
    check_text(t->answer_end, u->answer_end);
    check_text(t->past_before, u->past_before);
    check_text(t->past_after, u->past_after);
}

static void check_equal(const struct erne_model_desc *a, const struct erne_model_desc *b)
{
    assert_int_equal(a->arch, b->arch);
    assert_int_equal(a->n_layers, b->n_layers);
    assert_int_equal(a->n_embd, b->n_embd);
    assert_int_equal(a->n_heads, b->n_heads);
    assert_int_equal(a->n_kv_heads, b->n_kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->n_ff, b->n_ff);
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_int_equal(a->n_ctx_train, b->n_ctx_train);
    assert_true(a->rms_eps == b->rms_eps && a->rope_theta == b->rope_theta);
    assert_int_equal(a->tied, b->tied);
    assert_int_equal(a->use_bias, b->use_bias);
    assert_int_equal(a->n_stop, b->n_stop);
    assert_memory_equal(a->stop, b->stop, sizeof(a->stop));
    check_chat(&a->chat, &b->chat);
    check_text(a->name, b->name);
    check_text(a->license, b->license);
    check_text(a->source, b->source);
    check_text(a->source_format, b->source_format);
    check_text(a->scheme, b->scheme);
    check_text(a->calibration, b->calibration);
    assert_int_equal(a->n_calibrated, b->n_calibrated);
    check_judged(&a->judged, &b->judged);
}

static void check_round_trip(const struct erne_model_desc *desc)
{
    struct erne_model_desc back;
    struct erne_error err;
    size_t n_bytes;
    char *text;

    assert_int_equal(erne_manifest_write(&text, &n_bytes, desc, &err), ERNE_OK);
    assert_int_equal(strlen(text), n_bytes);
    if (erne_manifest_read(&back, text, n_bytes, &err) < 0)
        fail_msg("%s\n%s", err.text, text);
    check_equal(desc, &back);
    erne_model_desc_deinit(&back);
    free(text);
}

static void test_round_trip(void **state)
{
    struct erne_model_desc desc = full_desc();

    (void)state;
    check_round_trip(&desc);
    desc.chat = (struct erne_chat_desc){ 0 };
    desc.name = desc.license = desc.source = NULL;
    desc.n_stop = 0;
    memset(desc.stop, 0, sizeof(desc.stop));
    desc.use_bias = true;
    desc.tied = false;
    check_round_trip(&desc);
    desc.rms_eps = 1.00000012e-6f;
    desc.rope_theta = 123456.789f;
    check_round_trip(&desc);
}

/* Every character of the first plane and some of each other survives in a text. */
static void test_every_character(void **state)
{
    struct erne_model_desc desc = full_desc();
    char text[64 * 4 + 1];

    (void)state;
    desc.chat.default_system = text;
    for (uint32_t c = 1; c < 0x110000; c += c < 0x10000 ? 1 : 977) {
        char *at = text;

        if (c >= 0xd800 && c < 0xe000)
            continue;
        if (c < 0x80) {
            *at++ = (char)c;
        } else if (c < 0x800) {
            *at++ = (char)(0xc0 | c >> 6);
            *at++ = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            *at++ = (char)(0xe0 | c >> 12);
            *at++ = (char)(0x80 | (c >> 6 & 63));
            *at++ = (char)(0x80 | (c & 63));
        } else {
            *at++ = (char)(0xf0 | c >> 18);
            *at++ = (char)(0x80 | (c >> 12 & 63));
            *at++ = (char)(0x80 | (c >> 6 & 63));
            *at++ = (char)(0x80 | (c & 63));
        }
        *at = '\0';
        if (c < 0x500 || c % 257 == 0 || (c >= 0x2000 && c < 0x2100) || c >= 0xfe00)
            check_round_trip(&desc);
    }
}

static void test_layout(void **state)
{
    struct erne_model_desc desc = full_desc();
    struct erne_error err;
    size_t n_bytes;
    char *text;

    (void)state;
    assert_int_equal(erne_manifest_write(&text, &n_bytes, &desc, &err), ERNE_OK);
    assert_memory_equal(
        text, "erne_manifest: 1\narchitecture: llama\nmodel:\n  layers: 3\n", 54);
    assert_non_null(strstr(text, "\n  rms_eps: 1e-05\n  rope_theta: 500000\n"));
    assert_non_null(
        strstr(text, "\nstop_tokens: [2, 7, 999]\nchat:\n  template: \"test\"\n"));
    assert_non_null(
        strstr(text, "\n  user:\n    prefix: \"User: \"\n    suffix: \"\\n\"\n"));
    free(text);
}

static void test_write_refuses(void **state)
{
    struct erne_model_desc desc = full_desc();
    struct erne_error err;
    size_t n_bytes;
    char *text, *large;

    (void)state;
    desc.name = "\xff";
    assert_int_equal(erne_manifest_write(&text, &n_bytes, &desc, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "provenance.name"));
    desc = full_desc();
    desc.n_heads = 5;
    assert_int_equal(erne_manifest_write(&text, &n_bytes, &desc, &err), ERNE_EFORMAT);
    desc = full_desc();
    large = malloc((1 << 20) + 1);
    memset(large, 'a', 1 << 20);
    large[1 << 20] = '\0';
    desc.license = large;
    assert_int_equal(erne_manifest_write(&text, &n_bytes, &desc, &err), ERNE_EINVAL);
    free(large);
}

/* ---------------------------------------------------------------- reading */

#define HEAD "erne_manifest: 1\narchitecture: ernie4_5\n"
#define MODEL                                                                           \
    "model: {layers: 1, hidden_size: 8, heads: 2, kv_heads: 1, head_dim: 4, ffn_size: " \
    "8,\n vocab_size: 10, context: 16, rms_eps: 1.0e-5, rope_theta: 1e4,\n "            \
    "tied_embeddings: true, bias: false}\n"

/* A chat that more can be added to. */
#define CHAT                                                                    \
    "chat:\n  begin: ''\n  generation: ''\n  system: {prefix: '', suffix: ''}\n" \
    "  user: {prefix: '', suffix: ''}\n  assistant: {prefix: '', suffix: ''}\n"
#define FORTY "0123456789abcdef0123456789abcdef01234567"

static int read_text(const char *text, struct erne_error *err)
{
    struct erne_model_desc desc;
    const int st = erne_manifest_read(&desc, text, strlen(text), err);

    if (st == ERNE_OK)
        erne_model_desc_deinit(&desc);
    return st;
}

static void test_read_accepts(void **state)
{
    static const char *const texts[] = {
        HEAD MODEL,
        MODEL HEAD,
        HEAD MODEL "stop_tokens: []\n",
        HEAD MODEL "stop_tokens: 5\n",
        HEAD MODEL "provenance: {name: null, license: ~, source: }\n",
        HEAD MODEL "future: {list: [1, {a: [b, c]}, [[x]]], a.b: 1, 'model[': 3}\n",
        HEAD MODEL "future: [{a: 1}, {a: 1}]\nother: {a: 1}\n",
        HEAD MODEL "chat.begin: not in the mapping\n",
        HEAD MODEL "quantization: {judged: {errors: \"norm w8 0.1\\n\", tokens: 1}}\n",
        HEAD MODEL CHAT,
        HEAD MODEL CHAT "  thinking: {default: true, on: a, end: b}\n",
        HEAD MODEL CHAT "  thinking: {default: true}\n  media_first: false\n",
    };
    struct erne_error err;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(texts); i++)
        if (read_text(texts[i], &err) < 0)
            fail_msg("%s\n%s", err.text, texts[i]);
}

static void test_read_refuses(void **state)
{
    static const struct {
        const char *text, *expected;
        int status;
    } cases[] = {
        { "", "empty", ERNE_EFORMAT },
        { "a\n", "not a mapping", ERNE_EFORMAT },
        { HEAD, "model.layers is missing", ERNE_EFORMAT },
        { MODEL, "erne_manifest is missing", ERNE_EFORMAT },
        { "erne_manifest: 2\n", "line 1, column 16: this manifest needs",
          ERNE_EUNSUPPORTED },
        { "erne_manifest: one\n", "no version", ERNE_EFORMAT },
        { "architecture: gpt5\n", "\"gpt5\"", ERNE_EUNSUPPORTED },
        { HEAD MODEL "bad: [\n", "line ", ERNE_EFORMAT },
        { HEAD MODEL "---\na: b\n", "document", ERNE_EFORMAT },
        { HEAD MODEL "a: &x 1\nb: *x\n", "line 7, column 4: aliases", ERNE_EFORMAT },
        { HEAD MODEL "architecture: llama\n", "line 6: a key occurs twice",
          ERNE_EFORMAT },
        { HEAD MODEL "x: {y: {z: 1, z: 2}}\n", "occurs twice", ERNE_EFORMAT },
        { HEAD MODEL "model: {}\n", "occurs twice", ERNE_EFORMAT },
        { HEAD MODEL "? [a]\n: b\n", "a key is not plain text", ERNE_EFORMAT },
        { HEAD MODEL "x: [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]\n", "deeply", ERNE_EFORMAT },
        { HEAD "model: {layers: 1.5}\n", "line 3, column 17: not a 32-bit",
          ERNE_EFORMAT },
        { HEAD "model: {layers: 99999999999}\n", "not a 32-bit", ERNE_EFORMAT },
        { HEAD "model: {rms_eps: nan}\n", "not a finite number", ERNE_EFORMAT },
        { HEAD "model: {rms_eps: 1e99}\n", "not a finite number", ERNE_EFORMAT },
        { HEAD "model: {rms_eps: 0x10}\n", "not a finite number", ERNE_EFORMAT },
        { HEAD "model: {bias: yes}\n", "neither true nor false", ERNE_EFORMAT },
        { HEAD MODEL "stop_tokens: [a]\n", "a stop token", ERNE_EFORMAT },
        { HEAD MODEL "stop_tokens: [1,2,3,4,5,6,7,8,9]\n", "too many", ERNE_EFORMAT },
        { HEAD MODEL "stop_tokens: [10]\n", "stop token 10 is outside", ERNE_EFORMAT },
        { HEAD MODEL "chat: {begin: a}\n", "chat description lacks", ERNE_EFORMAT },
        { HEAD MODEL CHAT "  picture: {before: a}\n", "chat description lacks",
          ERNE_EFORMAT },
        { HEAD MODEL CHAT "  thinking: {on: a}\n", "chat.thinking lacks", ERNE_EFORMAT },
        { HEAD MODEL CHAT "  thinking: {on: a, end: b}\n", "chat.thinking lacks",
          ERNE_EFORMAT },
        { HEAD MODEL CHAT "  thinking: {on: a, off: b, end: c, answer_end: d}\n",
          "chat.thinking lacks", ERNE_EFORMAT },
        { HEAD MODEL CHAT "  thinking: {on: a, off: b, end: c, past_after: d}\n",
          "chat.thinking lacks", ERNE_EFORMAT },
        { HEAD MODEL CHAT "  thinking: {on: a, off: b, end: ''}\n",
          "chat.thinking.end has 0 bytes", ERNE_EFORMAT },
        { HEAD MODEL CHAT "  thinking: {on: a, off: b, end: c, begin: " FORTY FORTY "}\n",
          "chat.thinking.begin has 80 bytes", ERNE_EFORMAT },
        { HEAD MODEL "quantization: {judged: {tokens: -1}}\n",
          "quantization.judged.tokens is -1", ERNE_EFORMAT },
        { HEAD MODEL "quantization: {calibration_tokens: -1}\n",
          "quantization.calibration_tokens is -1", ERNE_EFORMAT },
        { HEAD MODEL "quantization: {judged: {tokens: many}}\n", "not a 32-bit",
          ERNE_EFORMAT },
        { HEAD MODEL "quantization: {judged: {same_top_token: 1.01}}\n",
          "quantization.judged.same_top_token is 1.01, not in 0 .. 1", ERNE_EFORMAT },
        { HEAD MODEL "quantization: {judged: {perplexity: -1}}\n",
          "judged.perplexity is -1, not a number from 0 on", ERNE_EFORMAT },
        { HEAD MODEL "quantization: {judged: {errors: {qkv: -0.5}}}\n",
          "judged.errors is -0.5", ERNE_EFORMAT },
        { HEAD MODEL "quantization: {judged: {errors: {qkv: inf}}}\n",
          "not a finite number", ERNE_EFORMAT },
        { HEAD MODEL "provenance: {name: \"a\\0b\"}\n", "zero byte", ERNE_EFORMAT },
        { HEAD MODEL "x: \"\xff\"\n", "line", ERNE_EFORMAT },
    };
    struct erne_error err;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        const int st = read_text(cases[i].text, &err);

        if (st != cases[i].status || !strstr(err.text, cases[i].expected))
            fail_msg("status %d \"%s\", not \"%s\":\n%s", st, st < 0 ? err.text : "",
                     cases[i].expected, cases[i].text);
    }
}

static void test_read_too_large(void **state)
{
    const size_t n = (1 << 20) + 1;
    char *text = malloc(n);
    struct erne_model_desc desc;
    struct erne_error err;

    (void)state;
    memset(text, '\n', n);
    memcpy(text, HEAD MODEL, strlen(HEAD MODEL));
    assert_int_equal(erne_manifest_read(&desc, text, n - 1, &err), ERNE_OK);
    erne_model_desc_deinit(&desc);
    assert_int_equal(erne_manifest_read(&desc, text, n, &err), ERNE_EFORMAT);
    free(text);
}

/* A host program's decimal comma must not reach the file. */
static void test_locale(void **state)
{
    static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8" };
    struct erne_model_desc desc = full_desc();
    bool found = false;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(names) && !found; i++)
        found = setlocale(LC_NUMERIC, names[i]) != NULL;
    if (!found)
        skip();
    desc.rms_eps = 1.25e-6f;
    desc.rope_theta = 1234.5f;
    check_round_trip(&desc);
    setlocale(LC_NUMERIC, "C");
}

static void test_allocation_failures(void **state)
{
    struct erne_model_desc desc = full_desc(), back;
    struct erne_error err;
    size_t n_bytes = 0;
    char *text = NULL;
    int st;

    (void)state;
    for (size_t n = 1; alloc_fail_at(n),
                st = erne_manifest_write(&text, &n_bytes, &desc, &err), alloc_fail_hit();
         n++)
        assert_int_equal(st, ERNE_ENOMEM);
    assert_int_equal(st, ERNE_OK);
    for (size_t n = 1; alloc_fail_at(n),
                st = erne_manifest_read(&back, text, n_bytes, &err), alloc_fail_hit();
         n++)
        assert_int_equal(st, ERNE_ENOMEM);
    assert_int_equal(st, ERNE_OK);
    erne_model_desc_deinit(&back);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_write_refuses),
        cmocka_unit_test(test_read_accepts),
        cmocka_unit_test(test_read_refuses),
        cmocka_unit_test(test_read_too_large),
        cmocka_unit_test(test_locale),
        cmocka_unit_test(test_allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
