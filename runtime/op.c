/* op.c -- the operator front end: names, shape rules and every precondition.
 *
 * The one place that looks at shapes and types, so that no backend does it again. Each
 * operator of op_list.h has one rule here: a function that checks the inputs and the
 * parameters and says what dst looks like. op.h describes the operators. Values that only
 * a step knows (token ids, positions, page numbers) are the session's to check.
 */
#include "runtime/op.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kv_row.h"

/* What a rule looks at. */
struct op_call {
    enum erne_op op;
    struct erne_tensor *const *src;
    const union erne_op_params *params;
    int64_t n_out; /* N' asked for; matmul with SWIGLU only */
    struct erne_error *err;
};

enum { OP_NEW_DST = -1 };            /* dst is not one of the inputs */
enum { OP_DST_ROLE = ERNE_MAX_SRC }; /* names dst where an input's index is wanted */

struct op_rule {
    /* Checks src and params, then fills n_dims, dim, type and rows_of of dst. */
    int (*apply)(const struct op_call *c, struct erne_tensor *dst);
    int in_place;                    /* index of the input that dst is, or OP_NEW_DST */
    const char *roles[ERNE_MAX_SRC]; /* of the inputs, for messages */
};

static const struct op_rule *rule_of(enum erne_op op);

bool erne_op_params_equal(enum erne_op op, const union erne_op_params *a,
                          const union erne_op_params *b)
{
#define SAME(member) (a->member == b->member)
    switch (op) {
    case ERNE_OP_RMS_NORM:
        return SAME(rms_norm.eps);
    case ERNE_OP_LAYER_NORM:
        return SAME(layer_norm.eps);
    case ERNE_OP_MATMUL:
        return SAME(matmul.act);
    case ERNE_OP_ROPE:
        return SAME(rope.kind) && SAME(rope.n_heads) && SAME(rope.head_dim);
    case ERNE_OP_ATTENTION:
        return SAME(attention.n_heads) && SAME(attention.n_kv_heads) &&
               SAME(attention.head_dim) && SAME(attention.scale) &&
               SAME(attention.rounds);
    case ERNE_OP_SEGMENT_ATTENTION:
        return SAME(segment_attention.n_heads) && SAME(segment_attention.head_dim) &&
               SAME(segment_attention.scale) && SAME(segment_attention.rounds);
    case ERNE_OP_MOE_ROUTE:
        return SAME(moe_route.n_banks) && SAME(moe_route.n_used) &&
               SAME(moe_route.norm_min);
    case ERNE_OP_MOE_FFN:
        return SAME(moe_ffn.n_used);
    case ERNE_OP_EMBED: /* these have none */
    case ERNE_OP_KV_APPEND:
    case ERNE_OP_GATHER_ROWS:
    case ERNE_OP_SCATTER_ROWS:
    case ERNE_OP_COUNT:
        break;
    }
#undef SAME
    return true;
}

/* -------------------------------------------------------------- messages */

enum { DIMS_TEXT_MAX = 4 * 21 + 3 };

/* "[64, 1024]" */
static const char *dims_text(char buf[DIMS_TEXT_MAX], const struct erne_tensor *t)
{
    int n_dims = t->n_dims < 0 || t->n_dims > ERNE_MAX_DIMS ? 0 : t->n_dims;
    size_t used = 0;

    buf[used++] = '[';
    for (int i = 0; i < n_dims; i++)
        used += (size_t)snprintf(buf + used, DIMS_TEXT_MAX - used, "%s%" PRId64,
                                 i ? ", " : "", t->dim[i]);
    snprintf(buf + used, DIMS_TEXT_MAX - used, "]");
    return buf;
}

/* "matmul: w 'layers.3.qkv' [64, 96] must ..." */
static int ERNE_PRINTF(4, 5) refuse(const struct op_call *c, int role,
                                    const struct erne_tensor *t, const char *fmt, ...)
{
    char rule[256], dims[DIMS_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(rule, sizeof(rule), fmt, args);
    va_end(args);
    return erne_fail(c->err, ERNE_EINVAL, "%s: %s '%.*s' %s must %s", erne_op_name(c->op),
                     role == OP_DST_ROLE ? "dst" : rule_of(c->op)->roles[role],
                     ERNE_NAME_MAX - 1, t->name, dims_text(dims, t), rule);
}

/* -------------------------------------------- what several rules ask for */

/* Dimensions in range and rows that do not overlap; all byte sizes fit int64_t. */
static int check_storage(const struct op_call *c, int role, const struct erne_tensor *t)
{
    int64_t cols = 1;

    if (t->n_dims < 1 || t->n_dims > ERNE_MAX_DIMS)
        return refuse(c, role, t, "have 1 to %d dimensions", ERNE_MAX_DIMS);
    for (int i = 0; i < ERNE_MAX_DIMS; i++) {
        if (t->dim[i] < 1 || t->dim[i] > INT32_MAX || (i >= t->n_dims && t->dim[i] != 1))
            return refuse(c, role, t, "have dimensions of 1 to 2^31 - 1");
        if (i > 0 && cols > INT64_MAX / t->dim[i])
            return refuse(c, role, t, "have fewer elements");
        if (i > 0)
            cols *= t->dim[i];
    }
    if (t->type == ERNE_TYPE_WEIGHT || t->type == ERNE_TYPE_BANK)
        return 0;
    if (t->stride < cols)
        return refuse(c, role, t, "have a stride of at least its row, not %" PRId64,
                      t->stride);
    if (t->stride > INT64_MAX / 4 / t->dim[0])
        return refuse(c, role, t, "have fewer elements");
    return 0;
}

/* f32 [rows, cols]; cols 0: any. */
static int need_activation(const struct op_call *c, int i, int64_t cols)
{
    const struct erne_tensor *t = c->src[i];

    if (t->type != ERNE_TYPE_F32 || t->n_dims != 2)
        return refuse(c, i, t, "be f32 [rows, columns]");
    if (cols != 0 && t->dim[1] != cols)
        return refuse(c, i, t, "have %" PRId64 " columns", cols);
    return 0;
}

/* i32 [n], dense; n 0: any. */
static int need_indices(const struct op_call *c, int i, int64_t n)
{
    const struct erne_tensor *t = c->src[i];

    if (t->type != ERNE_TYPE_I32 || t->n_dims != 1 || t->stride != 1)
        return refuse(c, i, t, "be i32 [n], one after the other");
    if (n != 0 && t->dim[0] != n)
        return refuse(c, i, t, "have %" PRId64 " elements", n);
    return 0;
}

/* i32 [n, m] or, with m = 1, [n]; dense. n 0: any. */
static int need_index_rows(const struct op_call *c, int i, int64_t n)
{
    const struct erne_tensor *t = c->src[i];

    if (t->n_dims == 1)
        return need_indices(c, i, n);
    if (t->type != ERNE_TYPE_I32 || t->n_dims != 2 || t->stride != t->dim[1])
        return refuse(c, i, t, "be i32 [n] or [n, m], one after the other");
    if (n != 0 && t->dim[0] != n)
        return refuse(c, i, t, "have %" PRId64 " rows", n);
    return 0;
}

/* n floats one after the other: f32 [n] or [1, n], or a weight [1, n] of f32 rows. */
static int need_vector(const struct op_call *c, int i, int64_t n)
{
    const struct erne_tensor *t = c->src[i];
    bool f32 = t->type == ERNE_TYPE_F32;

    if (t->type == ERNE_TYPE_WEIGHT)
        f32 = t->scheme.codec == ERNE_CODEC_F32 && t->scheme.layout == ERNE_LAYOUT_ROWS;
    else if (t->n_dims == 1 && t->stride != 1)
        f32 = false;
    if (!f32 || t->rows_of != ERNE_ROWS_FIXED || t->n_dims > 2)
        return refuse(c, i, t, "be f32 [n] or [1, n], one after the other");
    if (t->dim[0] * t->dim[1] != n || (t->n_dims == 2 && t->dim[0] != 1))
        return refuse(c, i, t, "have %" PRId64 " elements in one row", n);
    return 0;
}

/* f32 [n_rows, n], one after the other; a vector if n_rows is 1. */
static int need_table(const struct op_call *c, int i, int64_t n_rows, int64_t n)
{
    const struct erne_tensor *t = c->src[i];
    const bool weight = t->type == ERNE_TYPE_WEIGHT &&
                        t->scheme.codec == ERNE_CODEC_F32 &&
                        t->scheme.layout == ERNE_LAYOUT_ROWS;

    if (n_rows == 1)
        return need_vector(c, i, n);
    if ((!weight && t->type != ERNE_TYPE_F32) || t->rows_of != ERNE_ROWS_FIXED ||
        t->n_dims != 2 || t->stride != t->dim[1])
        return refuse(c, i, t, "be f32 [n, m], one after the other");
    if (t->dim[0] != n_rows || t->dim[1] != n)
        return refuse(c, i, t, "be [%" PRId64 ", %" PRId64 "]", n_rows, n);
    return 0;
}

/* A tile64 weight [N, k]; k 0: any. */
static int need_weight(const struct op_call *c, int i, int64_t k)
{
    const struct erne_tensor *t = c->src[i];
    struct erne_planes planes;

    if (t->type != ERNE_TYPE_WEIGHT || t->scheme.layout != ERNE_LAYOUT_TILE64 ||
        t->n_dims != 2 || t->rows_of != ERNE_ROWS_FIXED)
        return refuse(c, i, t, "be a tile64 weight [out, in]");
    if (k != 0 && t->dim[1] != k)
        return refuse(c, i, t, "have %" PRId64 " inputs", k);
    if (erne_planes_init(&planes, t->scheme, t->dim[0], t->dim[1]) < 0)
        return refuse(c, i, t, "have a valid scheme");
    if (memcmp(&planes, &t->planes, sizeof(planes)) != 0)
        return refuse(c, i, t, "have the planes of its scheme and shape");
    return 0;
}

/* A bank of n_experts tile64 weights [N, k]; n_experts, k 0: any. */
static int need_bank(const struct op_call *c, int i, int64_t n_experts, int64_t k)
{
    const struct erne_tensor *t = c->src[i];
    struct erne_planes planes;

    if (t->type != ERNE_TYPE_BANK || t->n_dims != 3 || t->bank == NULL)
        return refuse(c, i, t, "be a bank of weights [experts, out, in]");
    if ((n_experts != 0 && t->dim[0] != n_experts) || (k != 0 && t->dim[2] != k))
        return refuse(c, i, t, "have %" PRId64 " experts of %" PRId64 " inputs",
                      n_experts, k);
    for (int64_t e = 0; e < t->dim[0]; e++) {
        const struct erne_tensor *w = &t->bank[e];

        if (w->type != ERNE_TYPE_WEIGHT || w->scheme.layout != ERNE_LAYOUT_TILE64 ||
            w->n_dims != 2 || w->dim[0] != t->dim[1] || w->dim[1] != t->dim[2] ||
            erne_planes_init(&planes, w->scheme, w->dim[0], w->dim[1]) < 0 ||
            memcmp(&planes, &w->planes, sizeof(planes)) != 0)
            return refuse(c, i, t,
                          "have tile64 weights of its shape; %" PRId64 " is another", e);
    }
    return 0;
}

/* [P, H_kv, ERNE_KV_PAGE, row of d], dense; n_kv_heads and head_dim 0: any. */
static int need_cache(const struct op_call *c, int i, int64_t n_kv_heads,
                      int64_t head_dim)
{
    const struct erne_tensor *t = c->src[i];
    const bool quantised = erne_kv_is_quantised(t->type);
    const int64_t d = erne_kv_head_dim(t);

    if ((t->type != ERNE_TYPE_F16 && t->type != ERNE_TYPE_F32 && !quantised) ||
        t->n_dims != 4 || t->dim[2] != ERNE_KV_PAGE || t->rows_of != ERNE_ROWS_FIXED ||
        t->stride != erne_tensor_cols(t))
        return refuse(c, i, t, "be f16 or f32 [pages, heads, %d, head_dim], dense",
                      ERNE_KV_PAGE);
    if (d < 1 || (t->type == ERNE_TYPE_Q4 && d > ERNE_KV_MAX_Q4))
        return refuse(c, i, t, "have rows of 1 to %d numbers", ERNE_KV_MAX_Q4);
    if ((n_kv_heads != 0 && t->dim[1] != n_kv_heads) || (head_dim != 0 && d != head_dim))
        return refuse(c, i, t, "have %" PRId64 " heads of %" PRId64, n_kv_heads,
                      head_dim);
    return 0;
}

/* Input i has as many rows as x, now and in every step. */
static int need_rows_of_x(const struct op_call *c, int i)
{
    const struct erne_tensor *x = c->src[ERNE_SRC_X], *t = c->src[i];

    if (t->rows_of != x->rows_of || t->dim[0] != x->dim[0])
        return refuse(c, i, t, "count the same rows as '%.*s'", ERNE_NAME_MAX - 1,
                      x->name);
    return 0;
}

/* dst is f32 [rows of `like`, cols]. */
static int give_rows(struct erne_tensor *dst, const struct erne_tensor *like,
                     int64_t cols)
{
    dst->type = ERNE_TYPE_F32;
    dst->rows_of = like->rows_of;
    dst->n_dims = 2;
    dst->dim[0] = like->dim[0];
    dst->dim[1] = cols;
    dst->dim[2] = dst->dim[3] = 1;
    return 0;
}

/* dst looks as `like` does. */
static int give_same(struct erne_tensor *dst, const struct erne_tensor *like)
{
    dst->type = like->type;
    dst->rows_of = like->rows_of;
    dst->n_dims = like->n_dims;
    memcpy(dst->dim, like->dim, sizeof(dst->dim));
    return 0;
}

/* ------------------------------------------------- one rule an operator */

static int apply_embed(const struct op_call *c, struct erne_tensor *dst)
{
    ERNE_TRY(need_indices(c, ERNE_SRC_X, 0));
    ERNE_TRY(need_weight(c, ERNE_SRC_W, 0));
    return give_rows(dst, c->src[ERNE_SRC_X], c->src[ERNE_SRC_W]->dim[1]);
}

static const struct op_rule rule_embed = { apply_embed, OP_NEW_DST, { "tokens", "w" } };

static int need_eps(const struct op_call *c, float eps)
{
    if (!(eps > 0 && eps < INFINITY))
        return erne_fail(c->err, ERNE_EINVAL, "%s: eps must be above 0, is %g",
                         erne_op_name(c->op), (double)eps);
    return 0;
}

static int apply_rms_norm(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *x = c->src[ERNE_SRC_X];

    ERNE_TRY(need_activation(c, ERNE_SRC_X, 0));
    ERNE_TRY(need_vector(c, ERNE_SRC_W, x->dim[1]));
    ERNE_TRY(need_eps(c, c->params->rms_norm.eps));
    return give_rows(dst, x, x->dim[1]);
}

static const struct op_rule rule_rms_norm = { apply_rms_norm, OP_NEW_DST, { "x", "w" } };

static int apply_layer_norm(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *x = c->src[ERNE_SRC_X];

    ERNE_TRY(need_activation(c, ERNE_SRC_X, 0));
    ERNE_TRY(need_vector(c, ERNE_SRC_W, x->dim[1]));
    ERNE_TRY(need_vector(c, ERNE_SRC_NORM_BIAS, x->dim[1]));
    ERNE_TRY(need_eps(c, c->params->layer_norm.eps));
    return give_rows(dst, x, x->dim[1]);
}

static const struct op_rule rule_layer_norm = { apply_layer_norm,
                                                OP_NEW_DST,
                                                { "x", "w", "bias" } };

static int apply_matmul(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *x = c->src[ERNE_SRC_X], *w = c->src[ERNE_SRC_W];
    int64_t n_out;

    ERNE_TRY(need_activation(c, ERNE_SRC_X, 0));
    ERNE_TRY(need_weight(c, ERNE_SRC_W, x->dim[1]));
    n_out = w->dim[0];
    if (c->params->matmul.act == ERNE_ACT_SWIGLU) {
        if (w->dim[0] % (2 * ERNE_SWIGLU_RUN) != 0)
            return refuse(c, ERNE_SRC_W, w, "have gate and up rows in runs of %d",
                          ERNE_SWIGLU_RUN);
        n_out = c->n_out;
        if (n_out < 1 || n_out > w->dim[0] / 2)
            return erne_fail(c->err, ERNE_EINVAL,
                             "matmul: swiglu of %" PRId64 " rows gives 1 to %" PRId64
                             " outputs, not %" PRId64,
                             w->dim[0], w->dim[0] / 2, n_out);
    } else if ((unsigned)c->params->matmul.act >= ERNE_ACT_COUNT) {
        return erne_fail(c->err, ERNE_EINVAL, "matmul: unknown activation %d",
                         (int)c->params->matmul.act);
    }
    if (c->src[ERNE_SRC_BIAS])
        ERNE_TRY(need_vector(c, ERNE_SRC_BIAS, w->dim[0]));
    if (c->src[ERNE_SRC_RESIDUAL]) {
        ERNE_TRY(need_activation(c, ERNE_SRC_RESIDUAL, n_out));
        ERNE_TRY(need_rows_of_x(c, ERNE_SRC_RESIDUAL));
    }
    return give_rows(dst, x, n_out);
}

static const struct op_rule rule_matmul = { apply_matmul,
                                            OP_NEW_DST,
                                            { "x", "w", "bias", "residual" } };

static int apply_rope(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *x = c->src[ERNE_SRC_X];
    int64_t n_heads = c->params->rope.n_heads, head_dim = c->params->rope.head_dim;

    if (c->params->rope.kind != ERNE_ROPE_INTERLEAVED &&
        c->params->rope.kind != ERNE_ROPE_NEOX)
        return erne_fail(c->err, ERNE_EINVAL, "rope: unknown kind %d",
                         (int)c->params->rope.kind);
    if (n_heads < 1 || head_dim < 2 || head_dim % 2 != 0)
        return erne_fail(c->err, ERNE_EINVAL,
                         "rope: %" PRId64 " heads of %" PRId64
                         "; there must be a head, and its size be even",
                         n_heads, head_dim);
    ERNE_TRY(need_activation(c, ERNE_SRC_X, n_heads * head_dim));
    ERNE_TRY(need_index_rows(c, ERNE_SRC_POSITION, 0));
    ERNE_TRY(need_rows_of_x(c, ERNE_SRC_POSITION));
    ERNE_TRY(need_table(c, ERNE_SRC_INV_FREQ, c->src[ERNE_SRC_POSITION]->dim[1],
                        head_dim / 2));
    return give_same(dst, x);
}

static const struct op_rule rule_rope = { apply_rope,
                                          ERNE_SRC_X,
                                          { "x", "position", "inv_freq" } };

static int apply_kv_append(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *cache = c->src[ERNE_SRC_CACHE];

    ERNE_TRY(need_cache(c, ERNE_SRC_CACHE, 0, 0));
    ERNE_TRY(need_activation(c, ERNE_SRC_X, cache->dim[1] * erne_kv_head_dim(cache)));
    ERNE_TRY(need_indices(c, ERNE_SRC_SLOT, 0));
    ERNE_TRY(need_rows_of_x(c, ERNE_SRC_SLOT));
    return give_same(dst, cache);
}

static const struct op_rule rule_kv_append = { apply_kv_append,
                                               ERNE_SRC_CACHE,
                                               { "x", "cache", "slot" } };

static int need_scale(const struct op_call *c, float scale)
{
    if (!(scale > 0 && scale < INFINITY))
        return erne_fail(c->err, ERNE_EINVAL, "%s: scale must be above 0, is %g",
                         erne_op_name(c->op), (double)scale);
    return 0;
}

static int apply_attention(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *q = c->src[ERNE_SRC_X], *k = c->src[ERNE_SRC_K];
    int64_t n_heads = c->params->attention.n_heads;
    int64_t n_kv_heads = c->params->attention.n_kv_heads;
    int64_t head_dim = c->params->attention.head_dim;

    if (n_heads < 1 || n_kv_heads < 1 || head_dim < 1 || n_heads % n_kv_heads != 0)
        return erne_fail(c->err, ERNE_EINVAL,
                         "attention: %" PRId64 " heads of %" PRId64 " on %" PRId64
                         " KV heads; heads must be a multiple of KV heads",
                         n_heads, head_dim, n_kv_heads);
    ERNE_TRY(need_scale(c, c->params->attention.scale));
    ERNE_TRY(need_activation(c, ERNE_SRC_X, n_heads * head_dim));
    ERNE_TRY(need_cache(c, ERNE_SRC_K, n_kv_heads, head_dim));
    ERNE_TRY(need_cache(c, ERNE_SRC_V, n_kv_heads, head_dim));
    if (c->src[ERNE_SRC_V]->type != k->type || c->src[ERNE_SRC_V]->dim[0] != k->dim[0])
        return refuse(c, ERNE_SRC_V, c->src[ERNE_SRC_V], "have the type and pages of k");
    ERNE_TRY(need_indices(c, ERNE_SRC_TABLE, k->dim[0]));
    if (c->src[ERNE_SRC_TABLE]->rows_of != ERNE_ROWS_FIXED)
        return refuse(c, ERNE_SRC_TABLE, c->src[ERNE_SRC_TABLE], "have fixed rows");
    ERNE_TRY(need_indices(c, ERNE_SRC_QPOS, 0));
    ERNE_TRY(need_rows_of_x(c, ERNE_SRC_QPOS));
    return give_rows(dst, q, q->dim[1]);
}

static const struct op_rule rule_attention = { apply_attention,
                                               OP_NEW_DST,
                                               { "q", "k", "v", "table", "position" } };

static int apply_segment_attention(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *q = c->src[ERNE_SRC_X], *bounds = c->src[ERNE_SRC_BOUNDS];
    const int64_t n_heads = c->params->segment_attention.n_heads;
    const int64_t head_dim = c->params->segment_attention.head_dim;

    if (n_heads < 1 || head_dim < 1)
        return erne_fail(c->err, ERNE_EINVAL,
                         "segment_attention: %" PRId64 " heads of %" PRId64, n_heads,
                         head_dim);
    ERNE_TRY(need_scale(c, c->params->segment_attention.scale));
    for (int i = ERNE_SRC_X; i <= ERNE_SRC_V; i++) {
        ERNE_TRY(need_activation(c, i, n_heads * head_dim));
        ERNE_TRY(need_rows_of_x(c, i));
    }
    ERNE_TRY(need_index_rows(c, ERNE_SRC_BOUNDS, 0));
    ERNE_TRY(need_rows_of_x(c, ERNE_SRC_BOUNDS));
    if (bounds->dim[1] != 2)
        return refuse(c, ERNE_SRC_BOUNDS, bounds, "be first and end of segments");
    return give_rows(dst, q, q->dim[1]);
}

static const struct op_rule rule_segment_attention = { apply_segment_attention,
                                                       OP_NEW_DST,
                                                       { "q", "k", "v", "bounds" } };

static int apply_gather_rows(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *rows = c->src[ERNE_SRC_ROWS];

    ERNE_TRY(need_activation(c, ERNE_SRC_X, 0));
    ERNE_TRY(need_index_rows(c, ERNE_SRC_ROWS, 0));
    return give_rows(dst, rows, rows->dim[1] * c->src[ERNE_SRC_X]->dim[1]);
}

static const struct op_rule rule_gather_rows = { apply_gather_rows,
                                                 OP_NEW_DST,
                                                 { "x", "rows" } };

static int apply_scatter_rows(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *x = c->src[ERNE_SRC_X];

    ERNE_TRY(need_activation(c, ERNE_SRC_X, 0));
    ERNE_TRY(need_activation(c, ERNE_SRC_FROM, x->dim[1]));
    ERNE_TRY(need_indices(c, ERNE_SRC_FROM_ROWS, 0));
    ERNE_TRY(need_rows_of_x(c, ERNE_SRC_FROM_ROWS));
    return give_same(dst, x);
}

static const struct op_rule rule_scatter_rows = { apply_scatter_rows,
                                                  ERNE_SRC_X,
                                                  { "x", "y", "rows" } };

static int apply_moe_route(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *x = c->src[ERNE_SRC_X];
    const int64_t n_banks = c->params->moe_route.n_banks;
    const int64_t n_used = c->params->moe_route.n_used;
    const float norm_min = c->params->moe_route.norm_min;

    ERNE_TRY(need_activation(c, ERNE_SRC_X, 0));
    if (n_banks < 1 || x->dim[1] % n_banks != 0 || n_used < 1 ||
        n_used > x->dim[1] / n_banks)
        return erne_fail(c->err, ERNE_EINVAL,
                         "moe_route: %" PRId64 " of %" PRId64 " experts in %" PRId64
                         " banks",
                         n_used, x->dim[1], n_banks);
    if (!(norm_min >= 0 && norm_min < 1))
        return erne_fail(c->err, ERNE_EINVAL, "moe_route: norm_min %g is not in 0 .. 1",
                         (double)norm_min);
    if (c->src[ERNE_SRC_ROUTE_BIAS])
        ERNE_TRY(need_vector(c, ERNE_SRC_ROUTE_BIAS, x->dim[1]));
    if (c->src[ERNE_SRC_KIND]) {
        ERNE_TRY(need_indices(c, ERNE_SRC_KIND, 0));
        ERNE_TRY(need_rows_of_x(c, ERNE_SRC_KIND));
    }
    return give_rows(dst, x, x->dim[1]);
}

static const struct op_rule rule_moe_route = { apply_moe_route,
                                               OP_NEW_DST,
                                               { "logits", "bias", "kind" } };

static int apply_moe_ffn(const struct op_call *c, struct erne_tensor *dst)
{
    const struct erne_tensor *x = c->src[ERNE_SRC_X], *up = c->src[ERNE_SRC_GATE_UP];
    const struct erne_tensor *down = c->src[ERNE_SRC_DOWN];
    const int64_t n_used = c->params->moe_ffn.n_used;

    ERNE_TRY(need_activation(c, ERNE_SRC_X, 0));
    ERNE_TRY(need_bank(c, ERNE_SRC_GATE_UP, 0, x->dim[1]));
    ERNE_TRY(need_bank(c, ERNE_SRC_DOWN, up->dim[0], 0));
    if (up->dim[1] % (2 * ERNE_SWIGLU_RUN) != 0 || down->dim[2] > up->dim[1] / 2)
        return refuse(c, ERNE_SRC_GATE_UP, up,
                      "have gate and up rows in runs of %d, enough for down's %" PRId64
                      " inputs",
                      ERNE_SWIGLU_RUN, down->dim[2]);
    ERNE_TRY(need_activation(c, ERNE_SRC_WEIGHTS, up->dim[0]));
    ERNE_TRY(need_rows_of_x(c, ERNE_SRC_WEIGHTS));
    if (n_used < 1 || n_used > up->dim[0])
        return erne_fail(c->err, ERNE_EINVAL,
                         "moe_ffn: %" PRId64 " of %" PRId64 " experts a token", n_used,
                         up->dim[0]);
    if (c->src[ERNE_SRC_FFN_RESIDUAL]) {
        ERNE_TRY(need_activation(c, ERNE_SRC_FFN_RESIDUAL, down->dim[1]));
        ERNE_TRY(need_rows_of_x(c, ERNE_SRC_FFN_RESIDUAL));
    }
    return give_rows(dst, x, down->dim[1]);
}

static const struct op_rule rule_moe_ffn = {
    apply_moe_ffn, OP_NEW_DST, { "x", "weights", "gate_up", "down", "residual" }
};

/* ---------------------------------------------------------------- tables */

static const struct {
    const char *name;
    int least, most; /* inputs */
    const struct op_rule *rule;
} ops[ERNE_OP_COUNT] = {
#define X(NAME, name, least, most) \
    [ERNE_OP_##NAME] = { #name, least, most, &rule_##name },
    ERNE_OP_LIST(X)
#undef X
};

static const struct op_rule *rule_of(enum erne_op op)
{
    return ops[op].rule;
}

const char *erne_op_name(enum erne_op op)
{
    return (unsigned)op < ERNE_OP_COUNT ? ops[op].name : "unknown operator";
}

/* Everything but dst: the number of inputs, each one's storage, then the rule. */
static int check_inputs(const struct op_call *c, struct erne_tensor *dst)
{
    if ((unsigned)c->op >= ERNE_OP_COUNT)
        return erne_fail(c->err, ERNE_EINVAL, "unknown operator %d", (int)c->op);
    for (int i = 0; i < ERNE_MAX_SRC; i++) {
        if (c->src[i] == NULL && i < ops[c->op].least)
            return erne_fail(c->err, ERNE_EINVAL, "%s: %s is missing", ops[c->op].name,
                             rule_of(c->op)->roles[i]);
        if (c->src[i] != NULL && i >= ops[c->op].most)
            return erne_fail(c->err, ERNE_EINVAL, "%s: takes %d inputs at most",
                             ops[c->op].name, ops[c->op].most);
        if (c->src[i] != NULL)
            ERNE_TRY(check_storage(c, i, c->src[i]));
    }
    return rule_of(c->op)->apply(c, dst);
}

int erne_op_shape(enum erne_op op, struct erne_tensor *const src[ERNE_MAX_SRC],
                  const union erne_op_params *params, int64_t n_out,
                  struct erne_tensor *dst, struct erne_error *err)
{
    const struct op_call c = { op, src, params, n_out, err };
    struct erne_tensor shape = { .n_dims = 0 };

    ERNE_TRY(check_inputs(&c, &shape));
    give_same(dst, &shape);
    dst->stride = erne_tensor_cols(dst);
    return 0;
}

/* ------------------------------------------------------------------- dst */

static const struct erne_tensor *owner_of(const struct erne_tensor *t)
{
    return t->parent ? t->parent : t;
}

static bool is_same_place(const struct erne_tensor *a, const struct erne_tensor *b)
{
    return owner_of(a) == owner_of(b) && a->stride == b->stride &&
           (a->parent ? a->parent_offset : 0) == (b->parent ? b->parent_offset : 0);
}

/* dst is the input it must be, or shares memory with none. */
static int check_place(const struct op_call *c, const struct erne_tensor *dst)
{
    int in_place = rule_of(c->op)->in_place;

    if (in_place != OP_NEW_DST && !is_same_place(dst, c->src[in_place]))
        return refuse(c, OP_DST_ROLE, dst, "be %s, in place",
                      rule_of(c->op)->roles[in_place]);
    for (int i = 0; i < ERNE_MAX_SRC && in_place == OP_NEW_DST; i++)
        if (c->src[i] && owner_of(c->src[i]) == owner_of(dst))
            return refuse(c, OP_DST_ROLE, dst, "not share memory with %s",
                          rule_of(c->op)->roles[i]);
    return 0;
}

int erne_op_check(const struct erne_node *node, struct erne_error *err)
{
    const struct erne_tensor *dst = node->dst;
    const struct op_call c = { node->op, node->src, &node->params, dst ? dst->dim[1] : 0,
                               err };
    struct erne_tensor want = { .n_dims = 0 };
    char dims[DIMS_TEXT_MAX];

    ERNE_TRY(check_inputs(&c, &want));
    if (dst == NULL)
        return erne_fail(err, ERNE_EINVAL, "%s: dst is missing", erne_op_name(node->op));
    ERNE_TRY(check_storage(&c, OP_DST_ROLE, dst));
    if (dst->n_dims != want.n_dims || memcmp(dst->dim, want.dim, sizeof(want.dim)) != 0)
        return refuse(&c, OP_DST_ROLE, dst, "be %s", dims_text(dims, &want));
    if (dst->type != want.type || dst->rows_of != want.rows_of)
        return refuse(&c, OP_DST_ROLE, dst, "have the type and the rows of its input");
    return check_place(&c, dst);
}
