/* test_op.c -- the operator front end: every rule of op.c accepts what it should and
 * refuses what it should, with a text that names the operator, the tensor and the rule.
 */
#include "runtime/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { T = 5, K = 96, N = 160, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 24, PAGES = 3 };

/* A valid node of one operator with room for its tensors. Tests spoil one field. */
struct fixture {
    struct erne_tensor t[ERNE_MAX_SRC + 1]; /* the inputs in order, then dst */
    struct erne_node node;
};

enum { DST = ERNE_MAX_SRC };

static void set_dims(struct erne_tensor *t, int n_dims, const int64_t *dim)
{
    t->n_dims = n_dims;
    for (int i = 0; i < ERNE_MAX_DIMS; i++)
        t->dim[i] = i < n_dims ? dim[i] : 1;
    t->stride = erne_tensor_cols(t);
}

static void add(struct fixture *f, int i, const char *name, enum erne_type type,
                enum erne_rows_of rows_of, int64_t rows, int64_t cols)
{
    struct erne_tensor *t = &f->t[i];

    *t = (struct erne_tensor){ .type = type, .rows_of = rows_of };
    snprintf(t->name, sizeof(t->name), "%s", name);
    set_dims(t, cols == 0 ? 1 : 2, (const int64_t[]){ rows, cols });
    f->node.src[i] = t;
}

static void add_weight(struct fixture *f, int i, const char *name, const char *scheme,
                       int64_t n, int64_t k)
{
    struct erne_tensor *t = &f->t[i];

    add(f, i, name, ERNE_TYPE_WEIGHT, ERNE_ROWS_FIXED, n, k);
    assert_int_equal(erne_scheme_parse(&t->scheme, scheme), 0);
    assert_int_equal(erne_planes_init(&t->planes, t->scheme, n, k), 0);
}

static void add_cache(struct fixture *f, int i, const char *name, enum erne_type type)
{
    add(f, i, name, type, ERNE_ROWS_FIXED, 1, 1);
    set_dims(&f->t[i], 4, (const int64_t[]){ PAGES, KV_HEADS, ERNE_KV_PAGE, HEAD_DIM });
}

static int shape(struct fixture *f, int64_t n_out, struct erne_error *err)
{
    return erne_op_shape(f->node.op, f->node.src, &f->node.params, n_out, &f->t[DST],
                         err);
}

/* Gives the node the dst that erne_op_shape says; the whole must then pass. */
static void finish(struct fixture *f, int64_t n_out)
{
    struct erne_error err = { 0 };

    snprintf(f->t[DST].name, sizeof(f->t[DST].name), "result");
    if (shape(f, n_out, &err) != 0)
        fail_msg("%s", err.text);
    if (f->node.dst == NULL)
        f->node.dst = &f->t[DST];
    if (erne_op_check(&f->node, &err) != 0)
        fail_msg("%s", err.text);
}

static void expect_refused(const struct fixture *f, const char *text)
{
    struct erne_error err = { 0 };

    assert_int_equal(erne_op_check(&f->node, &err), ERNE_EINVAL);
    assert_int_equal(err.status, ERNE_EINVAL);
    if (strstr(err.text, text) == NULL ||
        strstr(err.text, erne_op_name(f->node.op)) == NULL)
        fail_msg("text is \"%s\", wanted \"%s\" in it", err.text, text);
    assert_int_equal(erne_op_check(&f->node, NULL), ERNE_EINVAL);
}

static void expect_dst(const struct fixture *f, enum erne_rows_of rows_of, int64_t rows,
                       int64_t cols)
{
    const struct erne_tensor *dst = &f->t[DST];

    assert_int_equal(dst->type, ERNE_TYPE_F32);
    assert_int_equal(dst->rows_of, rows_of);
    assert_int_equal(dst->n_dims, 2);
    assert_int_equal(dst->dim[0], rows);
    assert_int_equal(dst->dim[1], cols);
    assert_int_equal(dst->stride, cols);
}

/* ------------------------------------------------------ one valid node an operator */

static struct fixture *make(struct fixture *f, enum erne_op op)
{
    *f = (struct fixture){ .node.op = op };
    return f;
}

static void make_embed(struct fixture *f)
{
    make(f, ERNE_OP_EMBED);
    add(f, 0, "ids", ERNE_TYPE_I32, ERNE_ROWS_TOKENS, T, 0);
    add_weight(f, 1, "table", "w8", N, K);
    finish(f, 0);
}

static void make_rms_norm(struct fixture *f)
{
    make(f, ERNE_OP_RMS_NORM);
    add(f, 0, "h", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, K);
    add(f, 1, "gain", ERNE_TYPE_F32, ERNE_ROWS_FIXED, K, 0);
    f->node.params.rms_norm.eps = 1e-5f;
    finish(f, 0);
}

static void make_matmul(struct fixture *f)
{
    make(f, ERNE_OP_MATMUL);
    add(f, ERNE_SRC_X, "h", ERNE_TYPE_F32, ERNE_ROWS_OUTPUTS, T, K);
    add_weight(f, ERNE_SRC_W, "down", "w4-g32", N, K);
    add(f, ERNE_SRC_BIAS, "b", ERNE_TYPE_F32, ERNE_ROWS_FIXED, N, 0);
    add(f, ERNE_SRC_RESIDUAL, "skip", ERNE_TYPE_F32, ERNE_ROWS_OUTPUTS, T, N);
    finish(f, 0);
}

static void make_swiglu(struct fixture *f, int64_t n_ff)
{
    make(f, ERNE_OP_MATMUL);
    add(f, ERNE_SRC_X, "h", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, K);
    add_weight(f, ERNE_SRC_W, "gate_up", "bf16", N, K);
    f->node.params.matmul.act = ERNE_ACT_SWIGLU;
    finish(f, n_ff);
}

static void make_rope(struct fixture *f)
{
    make(f, ERNE_OP_ROPE);
    add(f, 0, "q", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, HEADS * HEAD_DIM);
    add(f, ERNE_SRC_POSITION, "pos", ERNE_TYPE_I32, ERNE_ROWS_TOKENS, T, 0);
    add(f, ERNE_SRC_INV_FREQ, "freq", ERNE_TYPE_F32, ERNE_ROWS_FIXED, HEAD_DIM / 2, 0);
    f->node.params.rope.n_heads = HEADS;
    f->node.params.rope.head_dim = HEAD_DIM;
    f->node.dst = &f->t[0];
    finish(f, 0);
}

static void make_kv_append(struct fixture *f)
{
    make(f, ERNE_OP_KV_APPEND);
    add(f, 0, "k", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, KV_HEADS * HEAD_DIM);
    add_cache(f, ERNE_SRC_CACHE, "k_cache", ERNE_TYPE_F16);
    add(f, ERNE_SRC_SLOT, "slot", ERNE_TYPE_I32, ERNE_ROWS_TOKENS, T, 0);
    f->node.dst = &f->t[ERNE_SRC_CACHE];
    finish(f, 0);
}

static void make_attention(struct fixture *f)
{
    make(f, ERNE_OP_ATTENTION);
    add(f, 0, "q", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, HEADS * HEAD_DIM);
    add_cache(f, ERNE_SRC_K, "k_cache", ERNE_TYPE_F16);
    add_cache(f, ERNE_SRC_V, "v_cache", ERNE_TYPE_F16);
    add(f, ERNE_SRC_TABLE, "pages", ERNE_TYPE_I32, ERNE_ROWS_FIXED, PAGES, 0);
    add(f, ERNE_SRC_QPOS, "pos", ERNE_TYPE_I32, ERNE_ROWS_TOKENS, T, 0);
    f->node.params.attention.n_heads = HEADS;
    f->node.params.attention.n_kv_heads = KV_HEADS;
    f->node.params.attention.head_dim = HEAD_DIM;
    f->node.params.attention.scale = 0.2f;
    finish(f, 0);
}

static void make_gather_rows(struct fixture *f)
{
    make(f, ERNE_OP_GATHER_ROWS);
    add(f, 0, "h", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, K);
    add(f, 1, "last", ERNE_TYPE_I32, ERNE_ROWS_OUTPUTS, 2, 0);
    finish(f, 0);
}

static void make_layer_norm(struct fixture *f)
{
    make(f, ERNE_OP_LAYER_NORM);
    add(f, 0, "h", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, K);
    add(f, 1, "gain", ERNE_TYPE_F32, ERNE_ROWS_FIXED, K, 0);
    add(f, ERNE_SRC_NORM_BIAS, "shift", ERNE_TYPE_F32, ERNE_ROWS_FIXED, K, 0);
    f->node.params.layer_norm.eps = 1e-6f;
    finish(f, 0);
}

static void make_segment_attention(struct fixture *f)
{
    static const char *const names[] = { "q", "k", "v" };

    make(f, ERNE_OP_SEGMENT_ATTENTION);
    for (int i = 0; i < 3; i++)
        add(f, i, names[i], ERNE_TYPE_F32, ERNE_ROWS_FIXED, T, HEADS * HEAD_DIM);
    add(f, ERNE_SRC_BOUNDS, "frames", ERNE_TYPE_I32, ERNE_ROWS_FIXED, T, 2);
    f->node.params.segment_attention.n_heads = HEADS;
    f->node.params.segment_attention.head_dim = HEAD_DIM;
    f->node.params.segment_attention.scale = 0.2f;
    finish(f, 0);
}

static void make_scatter_rows(struct fixture *f)
{
    make(f, ERNE_OP_SCATTER_ROWS);
    add(f, 0, "h", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, K);
    add(f, ERNE_SRC_FROM, "features", ERNE_TYPE_F32, ERNE_ROWS_FIXED, 9, K);
    add(f, ERNE_SRC_FROM_ROWS, "which", ERNE_TYPE_I32, ERNE_ROWS_TOKENS, T, 0);
    f->node.dst = &f->t[0];
    finish(f, 0);
}

enum { EXPERTS = 6, USED = 2 };

static void make_moe_route(struct fixture *f)
{
    make(f, ERNE_OP_MOE_ROUTE);
    add(f, 0, "scores", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, 2 * EXPERTS);
    add(f, ERNE_SRC_ROUTE_BIAS, "b", ERNE_TYPE_F32, ERNE_ROWS_FIXED, 2 * EXPERTS, 0);
    add(f, ERNE_SRC_KIND, "bank", ERNE_TYPE_I32, ERNE_ROWS_TOKENS, T, 0);
    f->node.params.moe_route.n_banks = 2;
    f->node.params.moe_route.n_used = USED;
    f->node.params.moe_route.norm_min = 1e-12f;
    finish(f, 0);
}

/* experts: [EXPERTS] for the tensors of a bank. */
static void add_bank(struct fixture *f, int i, const char *name,
                     struct erne_tensor *experts, int64_t n, int64_t k)
{
    struct fixture one;

    add_weight(&one, 0, "expert", "w4-g32", n, k);
    for (int e = 0; e < EXPERTS; e++)
        experts[e] = one.t[0];
    add(f, i, name, ERNE_TYPE_BANK, ERNE_ROWS_FIXED, EXPERTS, 1);
    set_dims(&f->t[i], 3, (const int64_t[]){ EXPERTS, n, k });
    f->t[i].bank = experts;
}

static void make_moe_ffn(struct fixture *f, struct erne_tensor experts[2 * EXPERTS])
{
    make(f, ERNE_OP_MOE_FFN);
    add(f, 0, "h", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, K);
    add(f, ERNE_SRC_WEIGHTS, "shares", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, EXPERTS);
    add_bank(f, ERNE_SRC_GATE_UP, "ups", experts, N, K);
    add_bank(f, ERNE_SRC_DOWN, "downs", experts + EXPERTS, K, 70);
    add(f, ERNE_SRC_FFN_RESIDUAL, "skip", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, T, K);
    f->node.params.moe_ffn.n_used = USED;
    finish(f, 0);
}

/* ---------------------------------------------------------------- tests */

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(erne_op_name(ERNE_OP_MATMUL), "matmul");
    assert_string_equal(erne_op_name(ERNE_OP_GATHER_ROWS), "gather_rows");
    assert_string_equal(erne_op_name(ERNE_OP_COUNT), "unknown operator");
}

/* Faults that every operator refuses in the same way, on its first input. */
static void test_storage(void **state)
{
    static void (*const makers[])(struct fixture *) = {
        make_embed,        make_rms_norm,   make_matmul,
        make_rope,         make_kv_append,  make_attention,
        make_gather_rows,  make_layer_norm, make_segment_attention,
        make_scatter_rows, make_moe_route,
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(makers); i++) {
        struct fixture f;

        makers[i](&f);
        f.t[0].n_dims = 0;
        expect_refused(&f, "must have 1 to 4 dimensions");
        makers[i](&f);
        f.t[0].dim[0] = 0;
        expect_refused(&f, "must have dimensions of 1 to 2^31 - 1");
        makers[i](&f);
        f.t[0].dim[0] = (int64_t)INT32_MAX + 1;
        expect_refused(&f, "must have dimensions of 1 to 2^31 - 1");
        makers[i](&f);
        f.t[0].dim[1] = f.t[0].dim[2] = f.t[0].dim[3] = INT32_MAX;
        f.t[0].n_dims = 4;
        expect_refused(&f, "must have fewer elements");
        makers[i](&f);
        f.t[0].stride = INT64_MAX / 4;
        expect_refused(&f, "must have fewer elements");
        makers[i](&f);
        f.t[0].stride = 0;
        expect_refused(&f, "must have a stride of at least its row");
        makers[i](&f);
        f.t[0].dim[3] = 2;
        expect_refused(&f, "must have dimensions");
        makers[i](&f);
        f.node.src[0] = NULL;
        expect_refused(&f, "is missing");
        makers[i](&f);
        f.node.src[ERNE_MAX_SRC - 1] = &f.t[0];
        expect_refused(&f, "inputs at most");
        makers[i](&f);
        f.node.dst = NULL;
        expect_refused(&f, "dst is missing");
    }
}

static void test_unknown_op(void **state)
{
    struct fixture f;

    (void)state;
    make_embed(&f);
    f.node.op = ERNE_OP_COUNT;
    expect_refused(&f, "unknown operator");
}

static void test_dst(void **state)
{
    struct fixture f;
    struct erne_tensor wide = { .dim = { T, 400, 1, 1 } };

    (void)state;
    make_matmul(&f);
    f.t[DST].dim[1]++;
    f.t[DST].stride++;
    expect_refused(&f, "dst 'result' [5, 161] must be [5, 160]");
    make_matmul(&f);
    f.t[DST].type = ERNE_TYPE_F16;
    expect_refused(&f, "dst 'result' [5, 160] must have the type");
    make_matmul(&f);
    f.t[DST].rows_of = ERNE_ROWS_TOKENS;
    expect_refused(&f, "must have the type and the rows");
    make_matmul(&f);
    f.t[DST].stride--;
    expect_refused(&f, "must have a stride");
    make_matmul(&f);
    f.t[DST].parent = &f.t[ERNE_SRC_RESIDUAL];
    expect_refused(&f, "must not share memory with residual");

    /* In place: the tensor itself, or another view of the same columns. */
    make_rope(&f);
    f.node.dst = &f.t[DST];
    expect_refused(&f, "must be x, in place");
    f.t[0].parent = f.t[DST].parent = &wide;
    f.t[0].parent_offset = f.t[DST].parent_offset = 96;
    f.t[0].stride = f.t[DST].stride = 400;
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    f.t[DST].parent_offset = 0;
    expect_refused(&f, "must be x, in place");
    make_kv_append(&f);
    f.node.dst = &f.t[DST];
    expect_refused(&f, "must be cache, in place");
}

static void test_embed(void **state)
{
    struct fixture f;

    (void)state;
    make_embed(&f);
    expect_dst(&f, ERNE_ROWS_TOKENS, T, K);
    f.t[0].type = ERNE_TYPE_F32;
    expect_refused(&f, "tokens 'ids' [5] must be i32 [n]");
    make_embed(&f);
    f.t[0].stride = 2;
    expect_refused(&f, "one after the other");
    make_embed(&f);
    f.t[1].scheme.layout = ERNE_LAYOUT_ROWS;
    expect_refused(&f, "w 'table' [160, 96] must be a tile64 weight");
    make_embed(&f);
    f.t[1].type = ERNE_TYPE_F32;
    expect_refused(&f, "must be a tile64 weight");
    make_embed(&f);
    f.t[1].scheme.group = 33;
    expect_refused(&f, "must have a valid scheme");
    make_embed(&f);
    f.t[1].planes.scales_offset = 0;
    expect_refused(&f, "must have the planes of its scheme");
}

static void test_rms_norm(void **state)
{
    static const float bad_eps[] = { 0.0f, -1e-5f, INFINITY, NAN };
    struct fixture f;

    (void)state;
    make_rms_norm(&f);
    expect_dst(&f, ERNE_ROWS_TOKENS, T, K);
    /* The three ways to store a vector. */
    add(&f, 1, "gain", ERNE_TYPE_F32, ERNE_ROWS_FIXED, 1, K);
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    f.t[1].type = ERNE_TYPE_WEIGHT;
    f.t[1].scheme = ERNE_ROWS_F32;
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    f.t[1].scheme = ERNE_TILE_F32;
    expect_refused(&f, "w 'gain' [1, 96] must be f32");
    make_rms_norm(&f);
    f.t[1].type = ERNE_TYPE_F16;
    expect_refused(&f, "must be f32 [n] or [1, n]");
    make_rms_norm(&f);
    f.t[1].stride = 2;
    expect_refused(&f, "one after the other");
    make_rms_norm(&f);
    f.t[1].rows_of = ERNE_ROWS_TOKENS;
    expect_refused(&f, "must be f32 [n]");
    make_rms_norm(&f);
    f.t[1].dim[0]--;
    expect_refused(&f, "must have 96 elements");
    make_rms_norm(&f);
    add(&f, 1, "gain", ERNE_TYPE_F32, ERNE_ROWS_FIXED, K / 2, 2);
    expect_refused(&f, "must have 96 elements in one row");
    make_rms_norm(&f);
    f.t[0].type = ERNE_TYPE_F16;
    expect_refused(&f, "x 'h' [5, 96] must be f32 [rows, columns]");
    for (size_t i = 0; i < ERNE_ARRAY_LEN(bad_eps); i++) {
        make_rms_norm(&f);
        f.node.params.rms_norm.eps = bad_eps[i];
        expect_refused(&f, "eps must be above 0");
    }
}

static void test_matmul(void **state)
{
    struct fixture f;

    (void)state;
    make_matmul(&f);
    expect_dst(&f, ERNE_ROWS_OUTPUTS, T, N);
    f.node.src[ERNE_SRC_BIAS] = NULL;
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    f.node.src[ERNE_SRC_RESIDUAL] = NULL;
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    f.t[ERNE_SRC_X].stride += 7;
    assert_int_equal(erne_op_check(&f.node, NULL), 0);

    make_matmul(&f);
    f.t[ERNE_SRC_X].dim[1] = f.t[ERNE_SRC_X].stride = K + 1;
    expect_refused(&f, "w 'down' [160, 96] must have 97 inputs");
    make_matmul(&f);
    f.t[ERNE_SRC_BIAS].dim[0]--;
    expect_refused(&f, "bias 'b' [159] must have 160 elements");
    make_matmul(&f);
    f.t[ERNE_SRC_RESIDUAL].dim[1]--;
    expect_refused(&f, "residual 'skip' [5, 159] must have 160 columns");
    make_matmul(&f);
    f.t[ERNE_SRC_RESIDUAL].dim[0]++;
    expect_refused(&f, "must count the same rows as 'h'");
    make_matmul(&f);
    f.t[ERNE_SRC_RESIDUAL].rows_of = ERNE_ROWS_TOKENS;
    expect_refused(&f, "must count the same rows as 'h'");
    make_matmul(&f);
    f.node.params.matmul.act = (enum erne_act)9;
    expect_refused(&f, "unknown activation 9");
}

static void test_swiglu(void **state)
{
    struct erne_error err;
    struct fixture f;

    (void)state;
    make_swiglu(&f, N / 2);
    expect_dst(&f, ERNE_ROWS_TOKENS, T, N / 2);
    make_swiglu(&f, N / 2 - 13);
    expect_dst(&f, ERNE_ROWS_TOKENS, T, N / 2 - 13);
    assert_int_equal(shape(&f, N / 2 + 1, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "swiglu of 160 rows gives 1 to 80 outputs, not 81"));
    assert_int_equal(shape(&f, 0, &err), ERNE_EINVAL);
    add_weight(&f, ERNE_SRC_W, "gate_up", "bf16", N - 16, K);
    expect_refused(&f, "must have gate and up rows in runs of 16");
}

static void test_rope(void **state)
{
    struct fixture f;

    (void)state;
    make_rope(&f);
    f.node.params.rope.kind = ERNE_ROPE_NEOX;
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    f.node.params.rope.kind = (enum erne_rope_kind)5;
    expect_refused(&f, "unknown kind 5");
    make_rope(&f);
    f.node.params.rope.head_dim = 23;
    expect_refused(&f, "its size be even");
    make_rope(&f);
    f.node.params.rope.n_heads = 0;
    expect_refused(&f, "there must be a head");
    make_rope(&f);
    f.node.params.rope.n_heads = f.node.params.rope.head_dim = 0x7ffffffe;
    expect_refused(&f, "must have 4611686009837453316 columns");
    make_rope(&f);
    f.t[ERNE_SRC_POSITION].dim[0]--;
    expect_refused(&f, "position 'pos' [4] must count the same rows");
    make_rope(&f);
    f.t[ERNE_SRC_POSITION].type = ERNE_TYPE_F32;
    expect_refused(&f, "must be i32");
    make_rope(&f);
    f.t[ERNE_SRC_INV_FREQ].dim[0]++;
    expect_refused(&f, "inv_freq 'freq' [13] must have 12 elements");
}

/* Several axes: a row of positions a token, and a row of frequencies an axis. */
static void test_rope_axes(void **state)
{
    struct fixture f;

    (void)state;
    make_rope(&f);
    add(&f, ERNE_SRC_POSITION, "pos", ERNE_TYPE_I32, ERNE_ROWS_TOKENS, T, 3);
    expect_refused(&f, "inv_freq 'freq' [12] must be f32 [n, m]");
    add(&f, ERNE_SRC_INV_FREQ, "freq", ERNE_TYPE_F32, ERNE_ROWS_FIXED, 3, HEAD_DIM / 2);
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    f.t[ERNE_SRC_INV_FREQ].dim[0] = 2;
    expect_refused(&f, "must be [3, 12]");
    f.t[ERNE_SRC_INV_FREQ].dim[0] = 3;
    f.t[ERNE_SRC_POSITION].stride++;
    expect_refused(&f, "position 'pos' [5, 3] must be i32 [n] or [n, m]");
}

static void test_layer_norm(void **state)
{
    struct fixture f;

    (void)state;
    make_layer_norm(&f);
    expect_dst(&f, ERNE_ROWS_TOKENS, T, K);
    f.t[ERNE_SRC_NORM_BIAS].dim[0]--;
    expect_refused(&f, "bias 'shift' [95] must have 96 elements");
    make_layer_norm(&f);
    f.node.src[ERNE_SRC_NORM_BIAS] = NULL;
    expect_refused(&f, "bias is missing");
    make_layer_norm(&f);
    f.node.params.layer_norm.eps = 0;
    expect_refused(&f, "eps must be above 0");
}

static void test_acts(void **state)
{
    struct fixture f;

    (void)state;
    for (enum erne_act act = ERNE_ACT_GELU_ERF; act < ERNE_ACT_COUNT; act++) {
        make_matmul(&f);
        f.node.params.matmul.act = act;
        assert_int_equal(erne_op_check(&f.node, NULL), 0);
        expect_dst(&f, ERNE_ROWS_OUTPUTS, T, N);
    }
}

static void test_segment_attention(void **state)
{
    struct fixture f;

    (void)state;
    make_segment_attention(&f);
    expect_dst(&f, ERNE_ROWS_FIXED, T, HEADS * HEAD_DIM);
    f.t[ERNE_SRC_K].dim[1]--;
    expect_refused(&f, "k 'k' [5, 95] must have 96 columns");
    make_segment_attention(&f);
    f.t[ERNE_SRC_V].dim[0]--;
    expect_refused(&f, "v 'v' [4, 96] must count the same rows as 'q'");
    make_segment_attention(&f);
    add(&f, ERNE_SRC_BOUNDS, "frames", ERNE_TYPE_I32, ERNE_ROWS_FIXED, T, 3);
    expect_refused(&f, "bounds 'frames' [5, 3] must be first and end");
    make_segment_attention(&f);
    f.node.params.segment_attention.scale = -1;
    expect_refused(&f, "scale must be above 0");
    make_segment_attention(&f);
    f.node.params.segment_attention.n_heads = 0;
    expect_refused(&f, "0 heads of 24");
}

static void test_moves(void **state)
{
    struct fixture f;

    (void)state;
    make_gather_rows(&f);
    f.node.dst = NULL;
    add(&f, 1, "blocks", ERNE_TYPE_I32, ERNE_ROWS_OUTPUTS, 2, 4);
    finish(&f, 0);
    expect_dst(&f, ERNE_ROWS_OUTPUTS, 2, 4 * K);
    make_scatter_rows(&f);
    f.t[ERNE_SRC_FROM].dim[1]--;
    expect_refused(&f, "y 'features' [9, 95] must have 96 columns");
    make_scatter_rows(&f);
    f.t[ERNE_SRC_FROM_ROWS].dim[0]--;
    expect_refused(&f, "rows 'which' [4] must count the same rows as 'h'");
    make_scatter_rows(&f);
    f.node.dst = &f.t[DST];
    expect_refused(&f, "must be x, in place");
}

static void test_moe_route(void **state)
{
    struct fixture f;

    (void)state;
    make_moe_route(&f);
    expect_dst(&f, ERNE_ROWS_TOKENS, T, 2 * EXPERTS);
    f.node.src[ERNE_SRC_ROUTE_BIAS] = f.node.src[ERNE_SRC_KIND] = NULL;
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    make_moe_route(&f);
    f.node.params.moe_route.n_banks = 5;
    expect_refused(&f, "2 of 12 experts in 5 banks");
    make_moe_route(&f);
    f.node.params.moe_route.n_used = EXPERTS + 1;
    expect_refused(&f, "7 of 12 experts in 2 banks");
    make_moe_route(&f);
    f.node.params.moe_route.norm_min = NAN;
    expect_refused(&f, "norm_min");
    make_moe_route(&f);
    f.t[ERNE_SRC_ROUTE_BIAS].dim[0]--;
    expect_refused(&f, "bias 'b' [11] must have 12 elements");
    make_moe_route(&f);
    f.t[ERNE_SRC_KIND].rows_of = ERNE_ROWS_FIXED;
    expect_refused(&f, "kind 'bank' [5] must count the same rows");
}

static void test_moe_ffn(void **state)
{
    struct erne_tensor experts[2 * EXPERTS];
    struct fixture f;

    (void)state;
    make_moe_ffn(&f, experts);
    expect_dst(&f, ERNE_ROWS_TOKENS, T, K);
    f.t[ERNE_SRC_WEIGHTS].dim[1]++;
    f.t[ERNE_SRC_WEIGHTS].stride++;
    expect_refused(&f, "weights 'shares' [5, 7] must have 6 columns");
    make_moe_ffn(&f, experts);
    experts[4].dim[0]--;
    expect_refused(&f,
                   "gate_up 'ups' [6, 160, 96] must have tile64 weights of its shape; 4");
    make_moe_ffn(&f, experts);
    f.t[ERNE_SRC_DOWN].dim[0]--;
    expect_refused(&f, "down 'downs' [5, 96, 70] must have 6 experts");
    make_moe_ffn(&f, experts);
    add_bank(&f, ERNE_SRC_DOWN, "downs", experts + EXPERTS, K, N / 2 + 1);
    expect_refused(&f, "enough for down's 81 inputs");
    make_moe_ffn(&f, experts);
    f.node.params.moe_ffn.n_used = EXPERTS + 1;
    expect_refused(&f, "7 of 6 experts");
    make_moe_ffn(&f, experts);
    f.t[ERNE_SRC_GATE_UP].bank = NULL;
    expect_refused(&f, "must be a bank of weights");
}

static void test_kv_append(void **state)
{
    struct fixture f;

    (void)state;
    make_kv_append(&f);
    f.t[ERNE_SRC_CACHE].type = ERNE_TYPE_F32;
    assert_int_equal(erne_op_check(&f.node, NULL), 0);
    f.t[ERNE_SRC_CACHE].type = ERNE_TYPE_I32;
    expect_refused(&f, "cache 'k_cache' [3, 2, 64, 24] must be f16 or f32");
    make_kv_append(&f);
    f.t[ERNE_SRC_CACHE].dim[2] = 32;
    expect_refused(&f, "must be f16 or f32 [pages, heads, 64, head_dim]");
    make_kv_append(&f);
    f.t[ERNE_SRC_CACHE].stride++;
    expect_refused(&f, "dense");
    make_kv_append(&f);
    f.t[0].dim[1]--;
    expect_refused(&f, "x 'k' [5, 47] must have 48 columns");
    make_kv_append(&f);
    f.t[ERNE_SRC_SLOT].rows_of = ERNE_ROWS_FIXED;
    expect_refused(&f, "slot 'slot' [5] must count the same rows");
}

static void test_attention(void **state)
{
    struct fixture f;

    (void)state;
    make_attention(&f);
    expect_dst(&f, ERNE_ROWS_TOKENS, T, HEADS * HEAD_DIM);
    f.node.params.attention.n_heads = 3;
    expect_refused(&f, "heads must be a multiple of KV heads");
    make_attention(&f);
    f.node.params.attention.n_kv_heads = 0;
    expect_refused(&f, "heads must be a multiple of KV heads");
    make_attention(&f);
    f.node.params.attention.scale = NAN;
    expect_refused(&f, "scale must be above 0");
    make_attention(&f);
    f.t[0].dim[1]--;
    expect_refused(&f, "q 'q' [5, 95] must have 96 columns");
    make_attention(&f);
    f.t[ERNE_SRC_K].dim[1]++;
    f.t[ERNE_SRC_K].stride = erne_tensor_cols(&f.t[ERNE_SRC_K]);
    expect_refused(&f, "k 'k_cache' [3, 3, 64, 24] must have 2 heads of 24");
    make_attention(&f);
    f.t[ERNE_SRC_V].type = ERNE_TYPE_F32;
    expect_refused(&f, "v 'v_cache' [3, 2, 64, 24] must have the type and pages of k");
    make_attention(&f);
    f.t[ERNE_SRC_V].dim[0]++;
    expect_refused(&f, "must have the type and pages of k");
    make_attention(&f);
    f.t[ERNE_SRC_TABLE].dim[0]--;
    expect_refused(&f, "table 'pages' [2] must have 3 elements");
    make_attention(&f);
    f.t[ERNE_SRC_TABLE].rows_of = ERNE_ROWS_TOKENS;
    expect_refused(&f, "must have fixed rows");
    make_attention(&f);
    f.t[ERNE_SRC_QPOS].dim[0]++;
    expect_refused(&f, "position 'pos' [6] must count the same rows");
}

static void test_gather_rows(void **state)
{
    struct fixture f;

    (void)state;
    make_gather_rows(&f);
    expect_dst(&f, ERNE_ROWS_OUTPUTS, 2, K);
    f.t[1].type = ERNE_TYPE_F32;
    expect_refused(&f, "rows 'last' [2] must be i32");
    make_gather_rows(&f);
    f.t[0].type = ERNE_TYPE_I32;
    expect_refused(&f, "x 'h' [5, 96] must be f32");
}

/* What an operator does not use of its parameters' memory says nothing. */
static void test_params_equal(void **state)
{
    union erne_op_params a, b;

    (void)state;
    for (int op = 0; op < ERNE_OP_COUNT; op++) {
        memset(&a, 1, sizeof(a)); /* a bool may be 1 */
        b = a;
        assert_true(erne_op_params_equal((enum erne_op)op, &a, &b));
    }
    memset(&a, 0x55, sizeof(a));
    memset(&b, 0xaa, sizeof(b));
    assert_true(erne_op_params_equal(ERNE_OP_EMBED, &a, &b));
    assert_false(erne_op_params_equal(ERNE_OP_MOE_FFN, &a, &b));
    a.moe_ffn.n_used = b.moe_ffn.n_used = 2;
    assert_true(erne_op_params_equal(ERNE_OP_MOE_FFN, &a, &b));
    memset(&a, 0x11, sizeof(a));
    memset(&b, 0x22, sizeof(b));
    a.attention.n_heads = b.attention.n_heads = 4;
    a.attention.n_kv_heads = b.attention.n_kv_heads = 2;
    a.attention.head_dim = b.attention.head_dim = 8;
    a.attention.scale = b.attention.scale = 0.5f;
    a.attention.rounds = b.attention.rounds = true;
    assert_true(erne_op_params_equal(ERNE_OP_ATTENTION, &a, &b));
    b.attention.rounds = false;
    assert_false(erne_op_params_equal(ERNE_OP_ATTENTION, &a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_storage),
        cmocka_unit_test(test_params_equal),
        cmocka_unit_test(test_unknown_op), cmocka_unit_test(test_dst),
        cmocka_unit_test(test_embed),      cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_matmul),     cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_rope),       cmocka_unit_test(test_kv_append),
        cmocka_unit_test(test_attention),  cmocka_unit_test(test_gather_rows),
        cmocka_unit_test(test_rope_axes),  cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_acts),       cmocka_unit_test(test_segment_attention),
        cmocka_unit_test(test_moves),      cmocka_unit_test(test_moe_route),
        cmocka_unit_test(test_moe_ffn),
    };

    return cmocka_run_group_tests_name("op", tests, NULL, NULL);
}
