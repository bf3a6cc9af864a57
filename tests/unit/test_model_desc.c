/* test_model_desc.c -- model descriptions: what is accepted, and which tensors follow. */
#include "tests/support/unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/model_desc.h"

static struct erne_model_desc small_desc(void)
{
    return (struct erne_model_desc){
        .arch = ERNE_ARCH_ERNIE45,
        .n_layers = 2,
        .n_embd = 24,
        .n_heads = 4,
        .n_kv_heads = 2,
        .head_dim = 8,
        .n_ff = 50,
        .n_vocab = 100,
        .n_ctx_train = 64,
        .rms_eps = 1e-5f,
        .rope_theta = 1e4f,
        .tied = true,
        .stop = { 2, 99 },
        .n_stop = 2,
    };
}

static void test_arch(void **state)
{
    enum erne_arch arch;

    (void)state;
    assert_int_equal(erne_arch_parse(&arch, "llama"), ERNE_OK);
    assert_int_equal(arch, ERNE_ARCH_LLAMA);
    assert_string_equal(erne_arch_name(ERNE_ARCH_ERNIE45), "ernie4_5");
    assert_int_equal(erne_arch_parse(&arch, "gpt"), ERNE_EUNSUPPORTED);
}

/* Sets one int32 field of a good description and expects the check to name it. */
#define REFUSED(field, value, expected)                                     \
    do {                                                                    \
        desc = small_desc();                                                \
        desc.field = (value);                                               \
        assert_int_equal(erne_model_desc_check(&desc, &err), ERNE_EFORMAT); \
        assert_non_null(strstr(err.text, (expected)));                      \
    } while (0)

static void test_check(void **state)
{
    struct erne_model_desc desc = small_desc();
    struct erne_error err;

    (void)state;
    assert_int_equal(erne_model_desc_check(&desc, &err), ERNE_OK);
    REFUSED(n_layers, 0, "layers");
    REFUSED(n_layers, 4097, "layers");
    REFUSED(n_embd, -1, "hidden_size");
    REFUSED(n_heads, 1 << 24, "heads");
    REFUSED(n_kv_heads, 0, "kv_heads");
    REFUSED(n_kv_heads, 3, "multiple");
    REFUSED(head_dim, 7, "head_dim");
    REFUSED(head_dim, 258, "head_dim");
    REFUSED(n_heads, (1 << 24) - 2, "wide");
    REFUSED(n_ff, 0, "ffn_size");
    REFUSED(n_vocab, 0, "vocab_size");
    REFUSED(n_ctx_train, 0, "context");
    REFUSED(n_stop, ERNE_MAX_STOP + 1, "stop");
    REFUSED(stop[1], 100, "stop token 100");
    REFUSED(stop[0], -1, "stop token -1");
    REFUSED(rms_eps, NAN, "rms_eps");
    REFUSED(rms_eps, 1.0f, "rms_eps");
    REFUSED(rms_eps, 0.0f, "rms_eps");
    REFUSED(rope_theta, INFINITY, "rope_theta");
    REFUSED(rope_theta, 0.0f, "rope_theta");
    REFUSED(chat.present, true, "chat");
    desc = small_desc();
    desc.arch = ERNE_ARCH_COUNT;
    assert_int_equal(erne_model_desc_check(&desc, &err), ERNE_EUNSUPPORTED);
}

static void test_layers_with_experts(void **state)
{
    static const char *const refused[] = { "ed", "edde", "ede ", "" };
    struct erne_model_desc desc = small_desc();
    struct erne_error err;
    char letters[8] = "ede";

    (void)state;
    desc.arch = ERNE_ARCH_ERNIE45_MOE;
    desc.n_layers = 3;
    desc.moe = (struct erne_moe_desc){ .n_experts = 4,
                                       .n_used = 2,
                                       .n_ff = 8,
                                       .last = 2,
                                       .interval = 1,
                                       .layers = letters };
    assert_int_equal(erne_model_desc_check(&desc, &err), ERNE_OK);
    assert_true(erne_layer_is_moe(&desc, 0) && erne_layer_is_moe(&desc, 2));
    assert_false(erne_layer_is_moe(&desc, 1));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(refused); i++) {
        strcpy(letters, refused[i]);
        assert_int_equal(erne_model_desc_check(&desc, &err), ERNE_EFORMAT);
        assert_non_null(strstr(err.text, "moe.layers is not 3 letters"));
    }
}

/* Appends "name n k role;" to the text. */
struct listing {
    char text[4096];
    size_t n, stop_after, n_seen;
};

static int list_spec(void *user, const struct erne_tensor_spec *spec)
{
    struct listing *list = user;

    list->n += (size_t)snprintf(list->text + list->n, sizeof(list->text) - list->n,
                                "%s %d %d %d;", spec->name, (int)spec->n, (int)spec->k,
                                (int)spec->layer);
    return ++list->n_seen == list->stop_after ? 17 : 0;
}

static void test_tensors(void **state)
{
    struct erne_model_desc desc = small_desc();
    struct listing list = { 0 };

    (void)state;
    assert_int_equal(erne_model_tensors(&desc, list_spec, &list), 0);
    assert_string_equal(list.text, "embed 100 24 -1;"
                                   "layers.0.attn_norm 1 24 0;layers.0.qkv 64 24 0;"
                                   "layers.0.attn_out 24 32 0;layers.0.ffn_norm 1 24 0;"
                                   "layers.0.gate_up 128 24 0;layers.0.down 24 50 0;"
                                   "layers.1.attn_norm 1 24 1;layers.1.qkv 64 24 1;"
                                   "layers.1.attn_out 24 32 1;layers.1.ffn_norm 1 24 1;"
                                   "layers.1.gate_up 128 24 1;layers.1.down 24 50 1;"
                                   "norm 1 24 -1;");
}

static void test_tensors_bias_untied(void **state)
{
    struct erne_model_desc desc = small_desc();
    struct listing list = { 0 };

    (void)state;
    desc.n_layers = 1;
    desc.use_bias = true;
    desc.tied = false;
    assert_int_equal(erne_model_tensors(&desc, list_spec, &list), 0);
    assert_string_equal(list.text,
                        "embed 100 24 -1;layers.0.attn_norm 1 24 0;layers.0.qkv 64 24 0;"
                        "layers.0.qkv.bias 1 64 0;layers.0.attn_out 24 32 0;"
                        "layers.0.attn_out.bias 1 24 0;layers.0.ffn_norm 1 24 0;"
                        "layers.0.gate_up 128 24 0;layers.0.gate_up.bias 1 128 0;"
                        "layers.0.down 24 50 0;layers.0.down.bias 1 24 0;"
                        "norm 1 24 -1;lm_head 100 24 -1;");
}

/* The visitor's answer ends the walk wherever it comes. */
static void test_tensors_stop(void **state)
{
    struct erne_model_desc desc = small_desc();

    (void)state;
    desc.use_bias = true;
    desc.tied = false;
    for (size_t n = 1; n <= 23; n++) {
        struct listing list = { .stop_after = n };

        assert_int_equal(erne_model_tensors(&desc, list_spec, &list), 17);
        assert_int_equal(list.n_seen, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arch),         cmocka_unit_test(test_check),
        cmocka_unit_test(test_layers_with_experts),
        cmocka_unit_test(test_tensors),      cmocka_unit_test(test_tensors_bias_untied),
        cmocka_unit_test(test_tensors_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
