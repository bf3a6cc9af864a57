/* test_verify.c -- a device that computes one operator wrongly is found, named, and not
 * asked for it again; one that is right passes.
 *
 * The device is the stand-in of tests/support/shadow.h. Models are a random text model
 * and the golden checkpoint of a VL mixture of experts, which together have every
 * operator.
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cache_file.h"
#include "runtime/node_check.h"
#include "runtime/verdict.h"
#include "runtime/verify.h"
#include "tests/support/reseal.h"
#include "tests/support/sample_file.h"
#include "tests/support/shadow.h"
#include "tests/support/tiny_model.h"

#define MODEL     "test_verify.erne"
#define VL_MODEL  "test_verify_vl.erne"
#define BAD_MODEL "test_verify_bad.erne"
#define CACHE     "test_verify.cache"

/* What visit was told. */
struct seen {
    int n, n_wrong, n_declined, n_lost;
    int n_codes;             /* of these, whose caches are of codes */
    uint32_t ops, wrong_ops; /* bit 1 << op */
    bool whole, wrong_whole; /* the model as a whole */
    bool golden;             /* compared with what the file says */
    bool picture;            /* of which a picture is part */
    unsigned kv_types;       /* of caches: bit 1 << place in kv_names */
};

static const char *const kv_names[] = { " f16", " f32", " q8", " q4" };

static int note(void *user, const struct erne_check *c)
{
    struct seen *seen = user;

    seen->n++;
    seen->n_wrong += c->status == ERNE_EVERIFY;
    seen->n_declined += c->status == ERNE_EUNSUPPORTED;
    seen->n_lost += c->status == ERNE_EDEVICE;
    seen->n_codes += c->status == ERNE_EUNSUPPORTED &&
                     (strstr(c->shape, " q8") || strstr(c->shape, " q4"));
    for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++)
        if (strcmp(c->op, erne_op_name(op)) == 0) {
            seen->ops |= UINT32_C(1) << op;
            if (c->status == ERNE_EVERIFY)
                seen->wrong_ops |= UINT32_C(1) << op;
        }
    if (strcmp(c->op, "model") == 0) {
        seen->whole = true;
        seen->wrong_whole = c->status == ERNE_EVERIFY;
        seen->golden = strstr(c->shape, "of the file") != NULL;
        seen->picture = strstr(c->shape, "a picture") != NULL;
    }
    for (size_t i = 0; i < ERNE_ARRAY_LEN(kv_names); i++)
        if (strcmp(c->op, "attention") == 0 && strstr(c->shape, kv_names[i]))
            seen->kv_types |= 1u << i;
    assert_true(strlen(c->shape) > 0);
    assert_true(c->n_nodes > 0);
    if (c->status == 0)
        assert_true(c->error <= c->limit);
    return 0;
}

static int verify(const char *model, struct shadow_config *config, struct seen *seen,
                  struct erne_error *err)
{
    struct erne_verify_opts opts = erne_verify_opts_default();
    int st;

    *seen = (struct seen){ 0 };
    opts.engine.device = "shadow:1";
    opts.engine.cache_dir = CACHE;
    opts.n_rounds = 2;
    st = erne_verify_on(model, &opts, shadow_backends, config, note, seen, err);
    assert_int_equal(config->n_open, 0);
    assert_int_equal(config->n_nodes, 0);
    assert_int_equal(config->n_ranges, 0);
    assert_string_equal(config->breach, "");
    return st;
}

static int setup(void **state)
{
    struct erne_model_desc desc = tiny_model_desc();
    struct erne_error err = { 0 };
    int st;

    (void)state;
    pf_path_remove(MODEL);
    st = tiny_model_write(MODEL, &desc, "w8", 7, &err);
    if (st == 0)
        st = tiny_model_convert(VL_MODEL, ERNE_TEST_GOLDEN "/vl", "w4", &err);
    if (st < 0)
        fprintf(stderr, "%s\n", err.text);
    return st;
}

static int teardown(void **state)
{
    (void)state;
    pf_path_remove(MODEL);
    return pf_path_remove(VL_MODEL);
}

/* ----------------------------------------------------------------- tests */

/* Nodes that ask for the same are one check, whatever is in the bytes that they leave
 * unused: of their union of parameters, and between the members of a scheme. */
static void same_work_is_one_check(void **state)
{
    struct erne_tensor sides[2];
    struct erne_node nodes[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        memset(&sides[i], 0, sizeof(sides[i]));
        memset(&sides[i].scheme, i * 255, sizeof(sides[i].scheme));
        sides[i].scheme.codec = ERNE_CODEC_W8;
        sides[i].scheme.layout = ERNE_LAYOUT_TILE64;
        sides[i].scheme.asym = 0;
        sides[i].scheme.group = 64;
        sides[i].type = ERNE_TYPE_BANK;
        sides[i].dim[0] = 1;
        sides[i].bank = &sides[i];
        nodes[i] = (struct erne_node){ .op = ERNE_OP_MATMUL, .dst = &sides[i] };
        memset(&nodes[i].params, i * 255, sizeof(nodes[i].params));
        nodes[i].params.matmul.act = ERNE_ACT_NONE;
    }
    assert_true(erne_node_key(&nodes[0]) == erne_node_key(&nodes[1]));
    sides[1].scheme.group = 32;
    assert_true(erne_node_key(&nodes[0]) != erne_node_key(&nodes[1]));
}

/* What a device has no memory for is the CPU's, and no reason to end. */
static void small_passes(void **state)
{
    struct shadow_config config = { .max_bytes = 1 };
    struct seen seen;
    struct erne_error err = { 0 };

    (void)state;
    if (verify(MODEL, &config, &seen, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(seen.whole);
    assert_int_equal(seen.n_declined, seen.n - 1);
}

static void right_passes(void **state)
{
    struct shadow_config config = { 0 };
    struct seen text, vl;
    struct erne_error err = { 0 };

    (void)state;
    if (verify(MODEL, &config, &text, &err) < 0)
        fail_msg("%s", err.text);
    config = (struct shadow_config){ 0 };
    if (verify(VL_MODEL, &config, &vl, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(text.n > 10);
    assert_true(text.whole && vl.whole);
    assert_int_equal(text.kv_types, 0xf); /* whatever a session will ask for */
    assert_int_equal(vl.kv_types, 0xf);
    assert_true(vl.golden && !text.golden); /* a converter made the former only */
    assert_true(vl.picture && !text.picture);
    assert_int_equal(text.n_declined, text.n_codes); /* these it does not take */
    assert_int_equal(vl.n_declined, vl.n_codes);
    assert_int_equal(text.ops | vl.ops, (1u << ERNE_OP_COUNT) - 1);
}

struct warnings {
    int n;
    int n_refused; /* nodes that the planner did not offer */
    char text[256];
};

static void keep_warning(void *user, enum erne_log_level level, const char *line)
{
    struct warnings *w = user;

    w->n_refused += strstr(line, "declined by shadow: failed verification") != NULL;
    if (level != ERNE_LOG_WARN)
        return;
    w->n++;
    snprintf(w->text, sizeof(w->text), "%s", line);
}

/* Runs a few tokens on the device; true: the logits are those of the reference. */
static bool run_with_kv(const char *model, struct shadow_config *config,
                        const char *kv_type, struct warnings *warnings)
{
    static const int32_t tokens[] = { 3, 1, 4, 1, 5, 9, 2, 6 };
    const char *const backends[] = { "reference", "shadow:1" };
    struct erne_error err = { 0 };
    float *logits[2] = { NULL, NULL };
    size_t n_bytes = 0;
    bool same;

    for (int i = 0; i < 2; i++) {
        struct erne_engine_opts opts = erne_engine_opts_default();
        struct erne_session_opts session_opts = erne_session_opts_default();
        struct erne_engine *e = NULL;
        struct erne_session *s = NULL;

        session_opts.kv_type = kv_type;
        opts.backend = backends[i];
        opts.cache_dir = CACHE;
        opts.log = keep_warning;
        opts.log_user = warnings;
        if (erne_engine_open_on(&e, model, &opts, shadow_backends, config, &err) < 0 ||
            erne_session_create(&s, e, &session_opts, &err) < 0 ||
            erne_session_eval(s, tokens, 7, NULL, &err) < 0 ||
            erne_session_eval(s, tokens + 7, 1, NULL, &err) < 0)
            fail_msg("%s", err.text);
        n_bytes = (size_t)erne_engine_info(e)->n_vocab * sizeof(float);
        logits[i] = malloc(n_bytes);
        assert_non_null(logits[i]);
        memcpy(logits[i], erne_session_logits(s), n_bytes);
        erne_session_destroy(&s);
        erne_engine_close(&e);
    }
    same = memcmp(logits[0], logits[1], n_bytes) == 0;
    free(logits[0]);
    free(logits[1]);
    return same;
}

static bool run_is_right(const char *model, struct shadow_config *config,
                         struct warnings *warnings)
{
    return run_with_kv(model, config, NULL, warnings);
}

/* Each operator in turn: the check fails, names it and no other, and those of the tower
 * show in golden logits; from then on the others take it, which is said; after a
 * verification that passes all is as before. */
static void wrong_is_routed_around(void **state)
{
    (void)state;
    for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++) {
        struct shadow_config config = { .wrong_ops = 1u << op };
        struct warnings warnings = { 0 };
        struct seen seen;
        struct erne_error err = { 0 };

        assert_int_equal(verify(VL_MODEL, &config, &seen, &err), ERNE_EVERIFY);
        assert_int_equal(erne_status_exit_code(ERNE_EVERIFY), 7);
        assert_non_null(strstr(err.text, "checks failed"));
        assert_non_null(strstr(err.text, erne_op_name(op)));
        assert_int_equal(seen.wrong_ops, 1u << op);
        assert_true(seen.n_wrong > 0);
        if (op == ERNE_OP_SEGMENT_ATTENTION || op == ERNE_OP_LAYER_NORM)
            assert_true(seen.wrong_whole); /* only pictures need them */
        assert_true(run_is_right(VL_MODEL, &config, &warnings));
        assert_int_equal(warnings.n, 1);
        assert_non_null(strstr(warnings.text, erne_op_name(op)));
    }
}

/* What is wrong with one type of KV cache stays the device's with the others. */
static void wrong_with_one_cache(void **state)
{
    static const enum erne_op ops[] = { ERNE_OP_ATTENTION, ERNE_OP_KV_APPEND };
    static const char *const texts[] = { "attention with f32", "kv_append with f32" };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(ops); i++) {
        struct shadow_config config = { .wrong_ops = 1u << ops[i],
                                        .wrong_f32_only = true };
        struct warnings f16 = { 0 }, f32 = { 0 };
        struct seen seen;
        struct erne_error err = { 0 };

        assert_int_equal(verify(MODEL, &config, &seen, &err), ERNE_EVERIFY);
        assert_non_null(strstr(err.text, texts[i]));
        assert_false(seen.wrong_whole); /* its cache is of f16 */
        assert_true(run_with_kv(MODEL, &config, "f16", &f16));
        assert_true(run_with_kv(MODEL, &config, "f32", &f32));
        assert_non_null(strstr(f16.text, texts[i]));
        assert_int_equal(f16.n_refused, 0);
        assert_true(f32.n_refused > 0);
        config = (struct shadow_config){ 0 };
        assert_int_equal(verify(MODEL, &config, &seen, &err), 0); /* all as before */
    }
}

static void verdict_is_for_one_model(void **state)
{
    struct shadow_config wrong = { .wrong_ops = 1u << ERNE_OP_MATMUL }, right = { 0 };
    struct warnings warnings = { 0 };
    struct seen seen;
    struct erne_error err = { 0 };

    (void)state;
    assert_int_equal(verify(VL_MODEL, &wrong, &seen, &err), ERNE_EVERIFY);
    assert_true(run_is_right(MODEL, &right, &warnings));
    assert_int_equal(warnings.n, 0); /* it passed in right_passes */
    assert_int_equal(verify(VL_MODEL, &right, &seen, &err), 0);
    right.n_calls[SHADOW_RUN] = 0;
    assert_true(run_is_right(VL_MODEL, &right, &warnings));
    assert_int_equal(warnings.n, 0);
    assert_true(right.n_calls[SHADOW_RUN] > 0);
}

/* A copy of the VL model whose golden logits no device gives. */
static void write_bad_model(void)
{
    struct erne_model_file file;
    struct erne_error err = { 0 };
    uint8_t *data;
    size_t n_bytes, at;

    assert_int_equal(erne_model_file_open(&file, VL_MODEL, &err), 0);
    assert_non_null(file.golden.logits);
    at = (size_t)((const uint8_t *)file.golden.logits - file.map.data);
    erne_model_file_close(&file);
    data = sample_load(VL_MODEL, &n_bytes);
    assert_non_null(data);
    for (size_t i = 0; i < 64; i++)
        data[at + 4 * i + 3] ^= 0x80; /* the sign of a logit */
    reseal(data, n_bytes);
    assert_int_equal(sample_store(BAD_MODEL, data, n_bytes), 0);
    free(data);
}

/* Nothing is computed on the device, with the KV cache that golden logits have. */
static void expect_all_refused(const char *model)
{
    struct shadow_config config = { 0 };
    struct warnings warnings = { 0 };

    assert_true(run_with_kv(model, &config, "f16", &warnings));
    assert_int_equal(warnings.n, 1);
    assert_true(warnings.n_refused > 0);
    assert_int_equal(config.n_calls[SHADOW_RUN], 0);
}

/* Every operator is right, but not what they give together. */
static void golden_logits_decide(void **state)
{
    struct shadow_config config = { 0 };
    struct erne_error err = { 0 };
    struct seen seen;

    (void)state;
    write_bad_model();
    assert_int_equal(verify(BAD_MODEL, &config, &seen, &err), ERNE_EVERIFY);
    assert_true(seen.golden && seen.wrong_whole);
    assert_int_equal(seen.n_wrong, 1);
    expect_all_refused(BAD_MODEL);
    pf_path_remove(BAD_MODEL);
}

/* So they do where an operator is wrong, too, which does not explain them. */
static void golden_logits_decide_too(void **state)
{
    struct shadow_config config = { .wrong_ops = 1u << ERNE_OP_ATTENTION,
                                    .wrong_f32_only = true };
    struct erne_error err = { 0 };
    struct seen seen;

    (void)state;
    write_bad_model();
    assert_int_equal(verify(BAD_MODEL, &config, &seen, &err), ERNE_EVERIFY);
    assert_int_equal(seen.wrong_ops, 1u << ERNE_OP_ATTENTION);
    assert_true(seen.wrong_whole);
    expect_all_refused(BAD_MODEL);
    pf_path_remove(BAD_MODEL);
}

static void declined_is_no_failure(void **state)
{
    struct shadow_config config = { .declined_ops = 1u << ERNE_OP_ATTENTION };
    struct seen seen;
    struct erne_error err = { 0 };

    (void)state;
    assert_int_equal(verify(MODEL, &config, &seen, &err), 0);
    assert_true(seen.n_declined > 0);
}

/* A device that is lost in any check has failed it, and is not asked for anything more,
 * whatever was found before. */
static void lost_is_refused(void **state)
{
    static const enum shadow_call calls[] = { SHADOW_RUN, SHADOW_MAP, SHADOW_DOWNLOAD };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(calls); i++) {
        struct shadow_config right = { 0 };
        struct seen seen;
        struct erne_error err = { 0 };

        assert_int_equal(verify(MODEL, &right, &seen, &err), 0);
        for (uint64_t at = 1; at <= right.n_calls[calls[i]]; at = at * 16 + 1) {
            struct shadow_config config = { .fail_call = calls[i],
                                            .fail_at = at,
                                            .fail_status = ERNE_EDEVICE };

            assert_int_equal(verify(MODEL, &config, &seen, &err), ERNE_EVERIFY);
            assert_int_equal(seen.n_lost, 1);
            assert_int_equal(seen.n_wrong, 0);
            assert_non_null(strstr(err.text, "shadow was lost, or over the time limit"));
            expect_all_refused(MODEL);
        }
    }
}

/* The model as a whole is a check like the others. */
static void lost_at_the_end(void **state)
{
    struct shadow_config config = { 0 };
    struct seen seen;
    struct erne_error err = { 0 };
    uint64_t last;

    (void)state;
    assert_int_equal(verify(MODEL, &config, &seen, &err), 0);
    last = config.n_calls[SHADOW_RUN];
    config = (struct shadow_config){ .fail_call = SHADOW_RUN,
                                     .fail_at = last,
                                     .fail_status = ERNE_EDEVICE };
    assert_int_equal(verify(MODEL, &config, &seen, &err), ERNE_EVERIFY);
    assert_true(seen.whole);
    assert_non_null(strstr(err.text, "at model"));
    expect_all_refused(MODEL);
}

static int look_and_stop(void *user, const struct erne_check *check)
{
    (void)user;
    (void)check;
    expect_all_refused(MODEL);
    return 1;
}

/* While a device is verified nobody uses it, in case that the process ends there; when
 * that is given up, what was known before holds again. */
static void unfinished_is_refused(void **state)
{
    struct erne_verify_opts opts = erne_verify_opts_default();
    struct erne_error err = { 0 };
    struct seen seen;

    (void)state;
    opts.engine.device = "shadow:1";
    opts.engine.cache_dir = CACHE;
    for (int wrong = 1; wrong >= 0; wrong--) {
        struct shadow_config config = { .wrong_ops = wrong ? 1u << ERNE_OP_ROPE : 0 };
        struct shadow_config other = { 0 };
        struct warnings warnings = { 0 };

        verify(MODEL, &config, &seen, &err);
        assert_int_equal(erne_verify_on(MODEL, &opts, shadow_backends, &other,
                                        look_and_stop, NULL, &err),
                         ERNE_ECANCELLED);
        other = (struct shadow_config){ 0 };
        assert_true(run_is_right(MODEL, &other, &warnings));
        assert_int_equal(warnings.n, wrong);
        assert_true(other.n_calls[SHADOW_RUN] > 0);
    }
}

/* A verdict that cannot be read any more may have been a refusal. */
static void damage_is_told(void **state)
{
    struct shadow_config config = { 0 };
    struct warnings warnings = { 0 };
    struct seen seen;
    struct erne_error err = { 0 };
    char **names = NULL;
    size_t n_names = 0;

    (void)state;
    assert_int_equal(verify(MODEL, &config, &seen, &err), 0);
    assert_int_equal(pf_dir_list(CACHE, &names, &n_names), 0);
    for (size_t n = 0; n < n_names; n++)
        assert_int_equal(erne_cache_save(CACHE, names[n], "x", 1, &err), 0);
    pf_dir_free(names, n_names);
    expect_all_refused(MODEL);
    assert_true(run_is_right(MODEL, &config, &warnings));
    assert_int_equal(warnings.n, 1);
    assert_non_null(strstr(warnings.text, "verify it again"));
    warnings = (struct warnings){ 0 };
    assert_int_equal(verify(MODEL, &config, &seen, &err), 0);
    assert_true(run_is_right(MODEL, &config, &warnings));
    assert_int_equal(warnings.n, 0);
}

/* Whatever stands in the file of a verdict is the verdict or none. */
static void damaged_verdicts(void **state)
{
    static const char *const tails[] = {
        "",        "refused",           "refused:",      "refused: ", "refused: what\n",
        "other\n", "refused: rope/q\n", "refused: /q4\n"
    };
    struct erne_model_file file = { 0 };
    struct erne_verdict_key key = { 0 };
    struct erne_error err = { 0 };
    const struct erne_refused saved = { .ops = 6, .with_kv = { 0, 4, 0, 1 } };
    struct erne_refused refused = { 0 };
    char **names = NULL;
    size_t n_names = 0;

    (void)state;
    assert_false(erne_verdict_key_init(&key, &erne_backend_shadow, 9, "auto", &file));
    assert_true(erne_verdict_key_init(&key, &erne_backend_shadow, 0, "auto", &file));
    assert_int_equal(erne_verdict_load(CACHE, &key, &refused), 0);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(tails); i++) {
        struct erne_verdict_key other = key;
        char path[512], text[2048];
        struct pf_file *f = NULL;

        snprintf(other.text + strlen(other.text), 64, "trial: %zu\n", i);
        assert_int_equal(erne_verdict_save(CACHE, &other, &saved, &err), 0);
        assert_int_equal(erne_verdict_load(CACHE, &other, &refused), 1);
        assert_memory_equal(&refused, &saved, sizeof(saved));
        assert_int_equal(pf_dir_list(CACHE, &names, &n_names), 0);
        for (size_t n = 0; n < n_names; n++) {
            snprintf(path, sizeof(path), CACHE "/%s", names[n]);
            snprintf(text, sizeof(text), "%s%s", other.text, tails[i]);
            assert_int_equal(pf_file_open(&f, path, PF_WRITE_NEW), 0);
            assert_int_equal(pf_file_write_at(f, text, strlen(text), 0), 0);
            pf_file_close(&f);
        }
        pf_dir_free(names, n_names);
        assert_int_equal(erne_verdict_load(CACHE, &other, &refused), ERNE_EFORMAT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_work_is_one_check),
        cmocka_unit_test(small_passes),
        cmocka_unit_test(right_passes),
        cmocka_unit_test(wrong_is_routed_around),
        cmocka_unit_test(wrong_with_one_cache),
        cmocka_unit_test(verdict_is_for_one_model),
        cmocka_unit_test(golden_logits_decide),
        cmocka_unit_test(golden_logits_decide_too),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(declined_is_no_failure),
        cmocka_unit_test(lost_is_refused),
        cmocka_unit_test(lost_at_the_end),
        cmocka_unit_test(unfinished_is_refused),
        cmocka_unit_test(damaged_verdicts),
    };

    return cmocka_run_group_tests_name("verify", tests, setup, teardown);
}
