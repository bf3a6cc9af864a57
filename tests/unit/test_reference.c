/* test_reference.c -- the oracle is checked too: the reference backend against results of
 * torch and transformers (tests/unit/data/op_golden.txt, tests/oracle/make_op_golden.py).
 * Every other backend is compared with the reference, in tests/conformance. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quantize/tile64.h"
#include "runtime/backend.h"

enum { GOLDEN_MAX = 64 };

struct array {
    char name[48];
    size_t n;
    float *v;
};

/* What the group's set-up provides. */
struct context {
    struct array golden[GOLDEN_MAX];
    size_t n_golden;
    struct erne_backend *be;
};

/* ----------------------------------------------------------- golden data */

static int load_golden(struct context *c, const char *path)
{
    FILE *f = fopen(path, "r");
    struct array *a = c->golden;

    if (!f)
        return -1;
    while (c->n_golden < GOLDEN_MAX && fscanf(f, "%47s %zu", a->name, &a->n) == 2) {
        a->v = calloc(a->n, sizeof(float));
        for (size_t i = 0; a->v && i < a->n; i++)
            if (fscanf(f, "%f", &a->v[i]) != 1)
                a->n = 0;
        c->n_golden++;
        a++;
    }
    fclose(f);
    return 0;
}

static struct array *golden(struct context *c, const char *name, size_t n)
{
    for (size_t i = 0; i < c->n_golden; i++)
        if (strcmp(c->golden[i].name, name) == 0) {
            assert_int_equal(c->golden[i].n, n);
            return &c->golden[i];
        }
    fail_msg("no golden array %s", name);
    return NULL;
}

static void expect_close(const struct array *want, const float *got, double max_err)
{
    for (size_t i = 0; i < want->n; i++)
        if (!(fabs((double)got[i] - (double)want->v[i]) <=
              max_err * (1 + fabs((double)want->v[i]))))
            fail_msg("%s[%zu]: %.9g, want %.9g", want->name, i, (double)got[i],
                     (double)want->v[i]);
}

/* ----------------------------------------------------------------- nodes */

static struct erne_tensor tensor(const char *name, enum erne_type type, int64_t rows,
                                 int64_t cols, void *data)
{
    struct erne_tensor t = { .type = type, .n_dims = cols ? 2 : 1, .data = data };

    snprintf(t.name, sizeof(t.name), "%s", name);
    t.dim[0] = rows;
    t.dim[1] = cols ? cols : 1;
    t.dim[2] = t.dim[3] = 1;
    t.stride = t.dim[1];
    return t;
}

static struct erne_tensor f32(const char *name, int64_t rows, int64_t cols, float *data)
{
    return tensor(name, ERNE_TYPE_F32, rows, cols, data);
}

static struct erne_tensor i32(const char *name, int64_t n, int32_t *data)
{
    return tensor(name, ERNE_TYPE_I32, n, 0, data);
}

static struct erne_tensor cache(const char *name, enum erne_type type, int64_t pages,
                                int64_t heads, int64_t d)
{
    struct erne_tensor t = tensor(name, type, pages, heads, NULL);

    t.n_dims = 4;
    t.dim[2] = ERNE_KV_PAGE;
    t.dim[3] = d;
    t.stride = erne_tensor_cols(&t);
    t.data = calloc((size_t)(pages * t.stride), type == ERNE_TYPE_F16 ? 2 : 4);
    assert_non_null(t.data);
    return t;
}

/* Packs rows [n, k] as a tile64 weight; free() its data. */
static struct erne_tensor weight(const char *scheme, int64_t n, int64_t k,
                                 const float *rows)
{
    struct erne_tensor t = tensor("w", ERNE_TYPE_WEIGHT, n, k, NULL);
    size_t codes, scales, minima;

    assert_int_equal(erne_scheme_parse(&t.scheme, scheme), 0);
    assert_int_equal(erne_planes_init(&t.planes, t.scheme, n, k), 0);
    t.data = calloc(1, (size_t)t.planes.total_bytes);
    assert_non_null(t.data);
    tile64_block_bytes(&t.planes, &codes, &scales, &minima);
    for (int64_t first = 0; first < n; first += ERNE_TILE_ROWS) {
        const size_t block = (size_t)(first / ERNE_TILE_ROWS);
        const struct tile64_block dst = { .codes = (uint8_t *)t.data + block * codes };
        const int64_t left = n - first;

        assert_int_equal(
            tile64_encode(&dst, t.scheme, &t.planes, rows + first * k,
                          (int)(left < ERNE_TILE_ROWS ? left : ERNE_TILE_ROWS), k),
            0);
    }
    return t;
}

static void run(struct context *c, struct erne_node *node)
{
    const struct erne_op_impl *impl = c->be->fns->ops[node->op][0];
    const struct erne_step step = { .n_tok = 0 };
    struct erne_node *const nodes[] = { node };
    struct erne_error err = { 0 };

    if (erne_op_check(node, &err) < 0)
        fail_msg("%s", err.text);
    node->backend = c->be;
    node->impl = impl;
    if (impl->scratch)
        assert_int_equal(c->be->fns->reserve_scratch(c->be, impl->scratch(c->be, node)),
                         0);
    assert_int_equal(c->be->fns->run(c->be, nodes, 1, &step), 0);
}

/* ----------------------------------------------------------------- tests */

static void test_rms_norm(void **state)
{
    struct context *c = *state;
    float got[30];
    struct erne_tensor x = f32("x", 3, 10, golden(c, "rms_norm.x", 30)->v);
    struct erne_tensor w = f32("w", 1, 10, golden(c, "rms_norm.w", 10)->v);
    struct erne_tensor dst = f32("dst", 3, 10, got);
    struct erne_node node = { .op = ERNE_OP_RMS_NORM,
                              .src = { &x, &w },
                              .dst = &dst,
                              .params.rms_norm.eps = 1e-5f };

    run(c, &node);
    expect_close(golden(c, "rms_norm.dst", 30), got, 1e-6);
}

static void check_rope(struct context *c, const char *prefix, enum erne_rope_kind kind)
{
    char name[48];
    float got[128];
    int32_t pos[4];
    struct erne_tensor x = f32("x", 4, 32, got), position = i32("position", 4, pos);
    struct erne_tensor freq;
    struct erne_node node = { .op = ERNE_OP_ROPE,
                              .src = { &x, &position, &freq },
                              .dst = &x,
                              .params.rope = { kind, 2, 16 } };

    snprintf(name, sizeof(name), "%s.x", prefix);
    memcpy(got, golden(c, name, 128)->v, sizeof(got));
    snprintf(name, sizeof(name), "%s.position", prefix);
    for (int i = 0; i < 4; i++)
        pos[i] = (int32_t)golden(c, name, 4)->v[i];
    snprintf(name, sizeof(name), "%s.inv_freq", prefix);
    freq = f32("inv_freq", 1, 8, golden(c, name, 8)->v);
    run(c, &node);
    snprintf(name, sizeof(name), "%s.dst", prefix);
    expect_close(golden(c, name, 128), got, 1e-6);
}

static void test_rope(void **state)
{
    check_rope(*state, "rope_interleaved", ERNE_ROPE_INTERLEAVED);
    check_rope(*state, "rope_neox", ERNE_ROPE_NEOX);
}

/* Position 0 turns nothing; at position 1 the two kinds differ; and position t on three
 * axes whose frequencies share out the pairs is position t on one. */
static void test_rope_probes(void **state)
{
    struct context *c = *state;
    const float *golden_x = golden(c, "rope_neox.x", 128)->v;
    float *one = golden(c, "rope_neox.inv_freq", 8)->v, three[3][8] = { { 0 } };
    float got[3][32];
    int32_t pos[3] = { 0 };
    struct erne_tensor x = f32("x", 1, 32, got[0]);
    struct erne_tensor position = tensor("position", ERNE_TYPE_I32, 1, 1, pos);
    struct erne_tensor freq = f32("inv_freq", 1, 8, one);
    struct erne_node node = { .op = ERNE_OP_ROPE,
                              .src = { &x, &position, &freq },
                              .dst = &x,
                              .params.rope = { ERNE_ROPE_INTERLEAVED, 2, 16 } };

    for (int i = 0; i < 3; i++)
        memcpy(got[i], golden_x, sizeof(got[i]));
    run(c, &node);
    assert_memory_equal(got[0], golden_x, sizeof(got[0]));
    pos[0] = pos[1] = pos[2] = 1;
    run(c, &node);
    x.data = got[1];
    node.params.rope.kind = ERNE_ROPE_NEOX;
    run(c, &node);
    assert_memory_not_equal(got[0], got[1], sizeof(got[0]));
    for (int j = 0; j < 8; j++)
        three[j % 3][j] = one[j];
    x.data = got[2];
    position = tensor("position", ERNE_TYPE_I32, 1, 3, pos);
    freq = f32("inv_freq", 3, 8, three[0]);
    run(c, &node);
    assert_memory_equal(got[2], got[1], sizeof(got[1]));
}

static void test_layer_norm(void **state)
{
    struct context *c = *state;
    float got[30];
    struct erne_tensor x = f32("x", 3, 10, golden(c, "layer_norm.x", 30)->v);
    struct erne_tensor w = f32("w", 1, 10, golden(c, "layer_norm.w", 10)->v);
    struct erne_tensor bias = f32("bias", 1, 10, golden(c, "layer_norm.bias", 10)->v);
    struct erne_tensor dst = f32("dst", 3, 10, got);
    struct erne_node node = { .op = ERNE_OP_LAYER_NORM,
                              .src = { &x, &w, &bias },
                              .dst = &dst,
                              .params.layer_norm.eps = 1e-6f };

    run(c, &node);
    expect_close(golden(c, "layer_norm.dst", 30), got, 2e-6); /* torch rounds to f32 */
}

static void test_acts(void **state)
{
    static const struct {
        const char *name;
        enum erne_act act;
    } acts[] = { { "act.erf", ERNE_ACT_GELU_ERF },
                 { "act.tanh", ERNE_ACT_GELU_TANH },
                 { "act.quick", ERNE_ACT_GELU_QUICK } };
    static const float identity = 1.0f;
    struct context *c = *state;
    float got[25];
    struct erne_tensor x = f32("x", 25, 1, golden(c, "act.x", 25)->v);
    struct erne_tensor w = weight("f32", 1, 1, &identity), dst = f32("dst", 25, 1, got);
    struct erne_node node = { .op = ERNE_OP_MATMUL, .src = { &x, &w }, .dst = &dst };

    for (size_t i = 0; i < ERNE_ARRAY_LEN(acts); i++) {
        node.params.matmul.act = acts[i].act;
        run(c, &node);
        expect_close(golden(c, acts[i].name, 25), got, 1e-6);
    }
    free(w.data);
}

static void test_segment_attention(void **state)
{
    static int32_t ends[] = { 0, 3, 0, 3, 0, 3, 3, 4, 4, 9, 4, 9, 4, 9, 4, 9, 4, 9 };
    struct context *c = *state;
    float got[108];
    struct erne_tensor q = f32("q", 9, 12, golden(c, "segment_attention.q", 108)->v);
    struct erne_tensor k = f32("k", 9, 12, golden(c, "segment_attention.k", 108)->v);
    struct erne_tensor v = f32("v", 9, 12, golden(c, "segment_attention.v", 108)->v);
    struct erne_tensor bounds = tensor("bounds", ERNE_TYPE_I32, 9, 2, ends);
    struct erne_tensor dst = f32("dst", 9, 12, got);
    struct erne_node node = { .op = ERNE_OP_SEGMENT_ATTENTION,
                              .src = { &q, &k, &v, &bounds },
                              .dst = &dst };

    node.params.segment_attention.n_heads = 2;
    node.params.segment_attention.head_dim = 6;
    node.params.segment_attention.scale = 0.408248290f;
    run(c, &node);
    expect_close(golden(c, "segment_attention.dst", 108), got, 1e-6);
}

/* The golden bias makes all choose expert 5, and is no part of its weight. */
static void test_moe_route(void **state)
{
    struct context *c = *state;
    float got[48];
    struct erne_tensor x = f32("logits", 6, 8, golden(c, "moe_route.logits", 48)->v);
    struct erne_tensor bias = f32("bias", 1, 8, golden(c, "moe_route.bias", 8)->v);
    struct erne_tensor dst = f32("dst", 6, 8, got);
    struct erne_node node = { .op = ERNE_OP_MOE_ROUTE,
                              .src = { &x, &bias },
                              .dst = &dst };

    node.params.moe_route.n_banks = 1;
    node.params.moe_route.n_used = 3;
    node.params.moe_route.norm_min = 1e-12f;
    run(c, &node);
    expect_close(golden(c, "moe_route.dst", 48), got, 1e-6);
    for (int t = 0; t < 6; t++)
        assert_true(got[8 * t + 5] > 0 && got[8 * t + 5] < 1);
}

enum { PAST = 70, TOKENS = 4, TOTAL = PAST + TOKENS, HEADS = 6, KV_HEADS = 2, DIM = 4 };
enum { PAGES = 3, KV_COLS = KV_HEADS * DIM, Q_COLS = HEADS * DIM };

/* Positions 0.. go to page 2, then to page 0. */
static const int32_t page_table[PAGES] = { 2, 0, 1 };

static void append(struct context *c, struct erne_tensor *dst, const char *name)
{
    int32_t slots[TOTAL];
    struct erne_tensor x = f32("x", TOTAL, KV_COLS, golden(c, name, TOTAL * KV_COLS)->v);
    struct erne_tensor slot = i32("slot", TOTAL, slots);
    struct erne_node node = { .op = ERNE_OP_KV_APPEND,
                              .src = { &x, dst, &slot },
                              .dst = dst };

    for (int i = 0; i < TOTAL; i++)
        slots[i] = page_table[i / ERNE_KV_PAGE] * ERNE_KV_PAGE + i % ERNE_KV_PAGE;
    run(c, &node);
}

/* kv_append fills the cache that attention reads, so one golden result checks both. */
static void check_attention(struct context *c, enum erne_type type, double max_err)
{
    float got[TOKENS * Q_COLS];
    int32_t pages[PAGES], pos[TOKENS];
    struct erne_tensor k = cache("k", type, PAGES, KV_HEADS, DIM);
    struct erne_tensor v = cache("v", type, PAGES, KV_HEADS, DIM);
    struct erne_tensor q =
        f32("q", TOKENS, Q_COLS, golden(c, "attention.q", TOKENS * Q_COLS)->v);
    struct erne_tensor table = i32("table", PAGES, pages);
    struct erne_tensor position = i32("position", TOKENS, pos);
    struct erne_tensor dst = f32("dst", TOKENS, Q_COLS, got);
    struct erne_node node = { .op = ERNE_OP_ATTENTION,
                              .src = { &q, &k, &v, &table, &position },
                              .dst = &dst,
                              .params.attention = { .n_heads = HEADS,
                                                    .n_kv_heads = KV_HEADS,
                                                    .head_dim = DIM,
                                                    .scale = 0.5f } };

    memcpy(pages, page_table, sizeof(pages));
    for (int i = 0; i < TOKENS; i++)
        pos[i] = PAST + i;
    append(c, &k, "attention.k");
    append(c, &v, "attention.v");
    run(c, &node);
    expect_close(golden(c, "attention.dst", TOKENS * Q_COLS), got, max_err);
    free(k.data);
    free(v.data);
}

static void test_attention(void **state)
{
    check_attention(*state, ERNE_TYPE_F32, 1e-6);
    check_attention(*state, ERNE_TYPE_F16, 2e-3); /* f16 has 11 bits */
}

static void test_matmul(void **state)
{
    struct context *c = *state;
    float got[21];
    struct erne_tensor x = f32("x", 3, 12, golden(c, "matmul.x", 36)->v);
    struct erne_tensor w = weight("f32", 7, 12, golden(c, "matmul.w", 84)->v);
    struct erne_tensor bias = f32("bias", 1, 7, golden(c, "matmul.bias", 7)->v);
    struct erne_tensor residual =
        f32("residual", 3, 7, golden(c, "matmul.residual", 21)->v);
    struct erne_tensor dst = f32("dst", 3, 7, got);
    struct erne_node node = { .op = ERNE_OP_MATMUL,
                              .src = { &x, &w, &bias, &residual },
                              .dst = &dst };

    run(c, &node);
    expect_close(golden(c, "matmul.dst", 21), got, 1e-6);
    free(w.data);
}

enum { N_FF = 20, FF_K = 12, FF_ROWS = 64 };

/* The stored order of op.h: 16 gates, 16 ups, and so on; what is left over is zero. */
static void interleave(float *dst, const float *gate, const float *up)
{
    memset(dst, 0, FF_ROWS * FF_K * sizeof(float));
    for (int n = 0; n < N_FF; n++) {
        float *to = dst + (n / 16 * 32 + n % 16) * FF_K;

        memcpy(to, gate + n * FF_K, FF_K * sizeof(float));
        memcpy(to + 16 * FF_K, up + n * FF_K, FF_K * sizeof(float));
    }
}

static void test_swiglu(void **state)
{
    struct context *c = *state;
    float rows[FF_ROWS * FF_K], got[3 * N_FF];
    struct erne_tensor x = f32("x", 3, FF_K, golden(c, "swiglu.x", 3 * FF_K)->v), w;
    struct erne_tensor dst = f32("dst", 3, N_FF, got);
    struct erne_node node = { .op = ERNE_OP_MATMUL,
                              .src = { &x, &w },
                              .dst = &dst,
                              .params.matmul.act = ERNE_ACT_SWIGLU };

    interleave(rows, golden(c, "swiglu.gate", N_FF * FF_K)->v,
               golden(c, "swiglu.up", N_FF * FF_K)->v);
    w = weight("f32", FF_ROWS, FF_K, rows);
    run(c, &node);
    expect_close(golden(c, "swiglu.dst", 3 * N_FF), got, 1e-6);
    free(w.data);
}

static void test_embed(void **state)
{
    struct context *c = *state;
    float got[36];
    int32_t ids[] = { 6, 0, 6 };
    struct erne_tensor w = weight("f32", 7, 12, golden(c, "matmul.w", 84)->v);
    struct erne_tensor tokens = i32("tokens", 3, ids), dst = f32("dst", 3, 12, got);
    struct erne_node node = { .op = ERNE_OP_EMBED, .src = { &tokens, &w }, .dst = &dst };

    run(c, &node);
    expect_close(golden(c, "embed.dst", 36), got, 0);
    free(w.data);
}

static void test_gather_rows(void **state)
{
    struct context *c = *state;
    float got[24];
    int32_t which[] = { 2, 0 };
    struct erne_tensor x = f32("x", 3, 12, golden(c, "matmul.x", 36)->v);
    struct erne_tensor rows = i32("rows", 2, which), dst = f32("dst", 2, 12, got);
    struct erne_node node = { .op = ERNE_OP_GATHER_ROWS,
                              .src = { &x, &rows },
                              .dst = &dst };

    run(c, &node);
    expect_close(golden(c, "gather_rows.dst", 24), got, 0);
}

static void test_cancel(void **state)
{
    struct context *c = *state;
    atomic_int cancel = 1;
    const struct erne_step step = { .cancel = &cancel };
    struct erne_node node = { .impl = NULL }; /* must not be looked at */
    struct erne_node *const nodes[] = { &node };

    assert_int_equal(c->be->fns->run(c->be, nodes, 1, &step), ERNE_ECANCELLED);
}

static int count_device(void *user, const struct erne_device_info *info)
{
    assert_string_equal(info->backend, "reference");
    ++*(int *)user;
    return 0;
}

static void test_devices(void **state)
{
    struct context *c = *state;
    int n = 0;

    assert_int_equal(c->be->fns->devices(count_device, &n), 0);
    assert_int_equal(n, 1);
}

/* ------------------------------------------------------------------ main */

static int set_up(void **state)
{
    struct context *c = calloc(1, sizeof(*c));
    const struct erne_backend_fns *fns = erne_backend_find("reference");
    const struct erne_backend_opts opts = { .n_threads = 1 };

    *state = c;
    if (!c || !fns || load_golden(c, ERNE_TEST_DATA "/op_golden.txt") < 0)
        return -1;
    return fns->open(&c->be, &opts, NULL);
}

static int tear_down(void **state)
{
    struct context *c = *state;

    for (size_t i = 0; i < c->n_golden; i++)
        free(c->golden[i].v);
    if (c->be)
        c->be->fns->close(c->be);
    free(c);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rms_norm),    cmocka_unit_test(test_rope),
        cmocka_unit_test(test_attention),   cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_swiglu),      cmocka_unit_test(test_embed),
        cmocka_unit_test(test_gather_rows), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_devices),     cmocka_unit_test(test_rope_probes),
        cmocka_unit_test(test_layer_norm),  cmocka_unit_test(test_acts),
        cmocka_unit_test(test_moe_route),   cmocka_unit_test(test_segment_attention),
    };

    return cmocka_run_group_tests_name("reference", tests, set_up, tear_down);
}
