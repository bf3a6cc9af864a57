/* graph.c -- appends nodes and tensors to a graph. Shapes come from op.c, which also
 * checks them; nothing here knows what an operator computes. */
#include "runtime/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int erne_graph_init(struct erne_graph *g, size_t cap_nodes, size_t cap_tensors)
{
    *g = (struct erne_graph){ .cap_nodes = cap_nodes, .cap_tensors = cap_tensors };
    g->nodes = calloc(cap_nodes, sizeof(*g->nodes));
    g->tensors = calloc(cap_tensors, sizeof(*g->tensors));
    if (!g->nodes || !g->tensors) {
        erne_graph_deinit(g);
        return ERNE_ENOMEM;
    }
    return 0;
}

void erne_graph_deinit(struct erne_graph *g)
{
    free(g->nodes);
    free(g->tensors);
    *g = (struct erne_graph){ 0 };
}

static struct erne_tensor *tensor_new(struct erne_graph *g, const char *name)
{
    struct erne_tensor *t;

    if (g->err.status < 0)
        return NULL;
    if (g->n_tensors == g->cap_tensors) {
        erne_fail(&g->err, ERNE_EFAIL, "%s: graph holds only %zu tensors", name,
                  g->cap_tensors);
        return NULL;
    }
    t = &g->tensors[g->n_tensors++];
    snprintf(t->name, sizeof(t->name), "%s", name);
    for (int i = 0; i < ERNE_MAX_DIMS; i++)
        t->dim[i] = 1;
    return t;
}

/* Fills stride and n_bytes of a tensor whose type and dims are set. */
static void set_size(struct erne_tensor *t)
{
    t->stride = erne_tensor_cols(t);
    t->n_bytes = (size_t)(t->dim[0] * t->stride) * erne_type_bytes(t->type);
}

static struct erne_tensor *array_new(struct erne_graph *g, const char *name,
                                     enum erne_type type, int n_dims, const int64_t *dim)
{
    struct erne_tensor *t = tensor_new(g, name);

    if (!t)
        return NULL;
    t->type = type;
    t->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++)
        t->dim[i] = dim[i];
    set_size(t);
    return t;
}

struct erne_tensor *erne_graph_input(struct erne_graph *g, const char *name,
                                     enum erne_type type, enum erne_rows_of rows_of,
                                     int n_dims, const int64_t *dim)
{
    struct erne_tensor *t = array_new(g, name, type, n_dims, dim);

    if (t) {
        t->mem = ERNE_MEM_INPUT;
        t->rows_of = rows_of;
    }
    return t;
}

struct erne_tensor *erne_graph_state(struct erne_graph *g, const char *name,
                                     enum erne_type type, int n_dims, const int64_t *dim)
{
    struct erne_tensor *t = array_new(g, name, type, n_dims, dim);

    if (t)
        t->mem = ERNE_MEM_STATE;
    return t;
}

struct erne_tensor *erne_graph_weight(struct erne_graph *g, const char *name,
                                      struct erne_scheme scheme, int64_t n, int64_t k,
                                      const void *data)
{
    struct erne_tensor *t = tensor_new(g, name);

    if (!t)
        return NULL;
    t->mem = ERNE_MEM_WEIGHT;
    t->type = ERNE_TYPE_WEIGHT;
    t->scheme = scheme;
    t->n_dims = 2;
    t->dim[0] = n;
    t->dim[1] = k;
    t->stride = k;
    if (erne_planes_init(&t->planes, scheme, n, k) < 0) {
        erne_fail(&g->err, ERNE_EINVAL, "%s: no such weight shape or scheme", name);
        return NULL;
    }
    t->n_bytes = t->planes.total_bytes;
    /* Weights are never written through; the field is shared with activations. */
    t->data = (void *)(uintptr_t)data;
    return t;
}

struct erne_tensor *erne_graph_bank(struct erne_graph *g, const char *name,
                                    struct erne_tensor *first, int64_t n)
{
    const size_t left = first ? g->n_tensors - (size_t)(first - g->tensors) : 0;
    struct erne_tensor *t = first ? tensor_new(g, name) : NULL;

    if (!t)
        return NULL;
    if (n < 1 || (size_t)n > left) {
        erne_fail(&g->err, ERNE_EINVAL, "%s: a bank of %lld weights after %s", name,
                  (long long)n, first->name);
        return NULL;
    }
    t->mem = ERNE_MEM_WEIGHT;
    t->type = ERNE_TYPE_BANK;
    t->n_dims = 3;
    t->dim[0] = n;
    t->dim[1] = first->dim[0];
    t->dim[2] = first->dim[1];
    t->stride = t->dim[1] * t->dim[2];
    t->bank = first;
    return t;
}

struct erne_tensor *erne_graph_view(struct erne_graph *g, struct erne_tensor *x,
                                    const char *name, int64_t first, int64_t n_cols)
{
    struct erne_tensor *t = x ? tensor_new(g, name) : NULL;

    if (!t)
        return NULL;
    if (first < 0 || n_cols <= 0 || first > erne_tensor_cols(x) - n_cols) {
        erne_fail(&g->err, ERNE_EINVAL, "%s: columns %lld + %lld are outside %s", name,
                  (long long)first, (long long)n_cols, x->name);
        return NULL;
    }
    t->mem = x->mem;
    t->type = x->type;
    t->rows_of = x->rows_of;
    t->n_dims = 2;
    t->dim[0] = x->dim[0];
    t->dim[1] = n_cols;
    t->stride = x->stride;
    t->parent = x->parent ? x->parent : x;
    t->parent_offset = x->parent_offset + first;
    return t;
}

void erne_graph_output(struct erne_graph *g, struct erne_tensor *x)
{
    (void)g;
    if (x)
        x->mem = ERNE_MEM_OUTPUT;
}

/* Appends a node whose sources and parameters are set in *proto. dst == NULL: a new step
 * tensor of the operator's shape; else the tensor that it changes in place. */
static struct erne_tensor *append(struct erne_graph *g, const char *name,
                                  const struct erne_node *proto, int64_t n_out,
                                  struct erne_tensor *dst)
{
    struct erne_node *node;

    if (g->err.status < 0)
        return NULL;
    if (g->n_nodes == g->cap_nodes) {
        erne_fail(&g->err, ERNE_EFAIL, "%s: graph holds only %zu nodes", name,
                  g->cap_nodes);
        return NULL;
    }
    node = &g->nodes[g->n_nodes];
    *node = *proto;
    if (!dst) {
        dst = tensor_new(g, name);
        if (!dst)
            return NULL;
        if (erne_op_shape(node->op, node->src, &node->params, n_out, dst, &g->err) < 0)
            goto fail;
        dst->mem = ERNE_MEM_STEP;
        set_size(dst);
    }
    node->dst = dst;
    if (erne_op_check(node, &g->err) < 0)
        goto fail;
    g->n_nodes++;
    return dst;
fail:
    erne_fail_context(&g->err, g->err.status, "%s", name);
    return NULL;
}

struct erne_tensor *erne_graph_embed(struct erne_graph *g, const char *name,
                                     struct erne_tensor *tokens, struct erne_tensor *w)
{
    const struct erne_node node = { .op = ERNE_OP_EMBED, .src = { tokens, w } };

    return append(g, name, &node, 0, NULL);
}

struct erne_tensor *erne_graph_rms_norm(struct erne_graph *g, const char *name,
                                        struct erne_tensor *x, struct erne_tensor *w,
                                        float eps)
{
    const struct erne_node node = { .op = ERNE_OP_RMS_NORM,
                                    .src = { x, w },
                                    .params.rms_norm.eps = eps };

    return append(g, name, &node, 0, NULL);
}

struct erne_tensor *erne_graph_layer_norm(struct erne_graph *g, const char *name,
                                          struct erne_tensor *x, struct erne_tensor *w,
                                          struct erne_tensor *bias, float eps)
{
    const struct erne_node node = { .op = ERNE_OP_LAYER_NORM,
                                    .src = { x, w, bias },
                                    .params.layer_norm.eps = eps };

    return append(g, name, &node, 0, NULL);
}

struct erne_tensor *erne_graph_matmul(struct erne_graph *g, const char *name,
                                      struct erne_tensor *x, struct erne_tensor *w,
                                      struct erne_tensor *bias,
                                      struct erne_tensor *residual)
{
    return erne_graph_matmul_act(g, name, x, w, bias, ERNE_ACT_NONE, residual);
}

struct erne_tensor *erne_graph_matmul_act(struct erne_graph *g, const char *name,
                                          struct erne_tensor *x, struct erne_tensor *w,
                                          struct erne_tensor *bias, enum erne_act act,
                                          struct erne_tensor *residual)
{
    const struct erne_node node = { .op = ERNE_OP_MATMUL,
                                    .src = { x, w, bias, residual },
                                    .params.matmul.act = act };

    return append(g, name, &node, 0, NULL);
}

struct erne_tensor *erne_graph_matmul_swiglu(struct erne_graph *g, const char *name,
                                             struct erne_tensor *x, struct erne_tensor *w,
                                             struct erne_tensor *bias, int64_t n_ff)
{
    const struct erne_node node = { .op = ERNE_OP_MATMUL,
                                    .src = { x, w, bias },
                                    .params.matmul.act = ERNE_ACT_SWIGLU };

    return append(g, name, &node, n_ff, NULL);
}

struct erne_tensor *erne_graph_rope(struct erne_graph *g, const char *name,
                                    struct erne_tensor *x, struct erne_tensor *position,
                                    struct erne_tensor *inv_freq,
                                    enum erne_rope_kind kind, int n_heads, int head_dim)
{
    const struct erne_node node = { .op = ERNE_OP_ROPE,
                                    .src = { x, position, inv_freq },
                                    .params.rope = { kind, n_heads, head_dim } };

    return append(g, name, &node, 0, x);
}

struct erne_tensor *erne_graph_kv_append(struct erne_graph *g, const char *name,
                                         struct erne_tensor *x, struct erne_tensor *cache,
                                         struct erne_tensor *slot)
{
    const struct erne_node node = { .op = ERNE_OP_KV_APPEND, .src = { x, cache, slot } };

    return append(g, name, &node, 0, cache);
}

struct erne_tensor *erne_graph_attention(struct erne_graph *g, const char *name,
                                         const struct erne_attention_inputs *in,
                                         const struct erne_attention_heads *heads)
{
    struct erne_node node = { .op = ERNE_OP_ATTENTION,
                              .src = { in->q, in->k, in->v, in->table, in->position } };

    node.params.attention.n_heads = heads->n_heads;
    node.params.attention.n_kv_heads = heads->n_kv_heads;
    node.params.attention.head_dim = heads->head_dim;
    node.params.attention.scale = heads->scale;
    node.params.attention.rounds = heads->rounds;
    return append(g, name, &node, 0, NULL);
}

struct erne_tensor *erne_graph_segment_attention(struct erne_graph *g, const char *name,
                                                 struct erne_tensor *q,
                                                 struct erne_tensor *k,
                                                 struct erne_tensor *v,
                                                 struct erne_tensor *bounds,
                                                 const struct erne_attention_heads *heads)
{
    struct erne_node node = { .op = ERNE_OP_SEGMENT_ATTENTION,
                              .src = { q, k, v, bounds } };

    node.params.segment_attention.n_heads = heads->n_heads;
    node.params.segment_attention.head_dim = heads->head_dim;
    node.params.segment_attention.scale = heads->scale;
    node.params.segment_attention.rounds = heads->rounds;
    return append(g, name, &node, 0, NULL);
}

struct erne_tensor *erne_graph_gather_rows(struct erne_graph *g, const char *name,
                                           struct erne_tensor *x,
                                           struct erne_tensor *rows)
{
    const struct erne_node node = { .op = ERNE_OP_GATHER_ROWS, .src = { x, rows } };

    return append(g, name, &node, 0, NULL);
}

struct erne_tensor *erne_graph_scatter_rows(struct erne_graph *g, const char *name,
                                            struct erne_tensor *x, struct erne_tensor *y,
                                            struct erne_tensor *rows)
{
    const struct erne_node node = { .op = ERNE_OP_SCATTER_ROWS, .src = { x, y, rows } };

    return append(g, name, &node, 0, x);
}

struct erne_tensor *erne_graph_moe_route(struct erne_graph *g, const char *name,
                                         struct erne_tensor *logits,
                                         struct erne_tensor *bias,
                                         struct erne_tensor *kind,
                                         const struct erne_route *route)
{
    struct erne_node node = { .op = ERNE_OP_MOE_ROUTE, .src = { logits, bias, kind } };

    node.params.moe_route.n_banks = route->n_banks;
    node.params.moe_route.n_used = route->n_used;
    node.params.moe_route.norm_min = route->norm_min;
    return append(g, name, &node, 0, NULL);
}

struct erne_tensor *erne_graph_moe_ffn(struct erne_graph *g, const char *name,
                                       struct erne_tensor *x,
                                       const struct erne_experts *experts,
                                       struct erne_tensor *residual)
{
    const struct erne_node node = { .op = ERNE_OP_MOE_FFN,
                                    .src = { x, experts->weights, experts->gate_up,
                                             experts->down, residual },
                                    .params.moe_ffn.n_used = experts->n_used };

    return append(g, name, &node, 0, NULL);
}
