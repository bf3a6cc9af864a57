/* graph.h -- a list of operator nodes in execution order, and the builders that append
 * to it. Built once a phase (prefill, decode), not once a step: shapes are those of the
 * largest step. A model family (runtime/models) calls the builders; the planner
 * (plan.h) then places the nodes and their memory.
 *
 * Builders return the tensor they produce, or NULL after a failure; the first failure is
 * kept in graph->err, and every later call returns NULL too, so that a model may be
 * written down without a check a line. Passing NULL on is allowed.
 */
#ifndef ERNE_GRAPH_H
#define ERNE_GRAPH_H

#include "runtime/op.h"

struct erne_graph {
    struct erne_tensor *tensors; /* [cap_tensors]: addresses stay valid */
    size_t n_tensors, cap_tensors;
    struct erne_node *nodes;
    size_t n_nodes, cap_nodes;
    struct erne_error err;
};

/* ENOMEM. The capacity is fixed: a model knows how many nodes a layer takes. */
int erne_graph_init(struct erne_graph *g, size_t cap_nodes, size_t cap_tensors);
void erne_graph_deinit(struct erne_graph *g);

/* A tensor that is not a node's result. dim: outermost first. */
struct erne_tensor *erne_graph_input(struct erne_graph *g, const char *name,
                                     enum erne_type type, enum erne_rows_of rows_of,
                                     int n_dims, const int64_t *dim);
struct erne_tensor *erne_graph_state(struct erne_graph *g, const char *name,
                                     enum erne_type type, int n_dims, const int64_t *dim);
/* A stored matrix [n, k], or a vector of ERNE_ROWS_F32 [1, k]; data: its first plane,
 * which must outlive the graph. */
struct erne_tensor *erne_graph_weight(struct erne_graph *g, const char *name,
                                      struct erne_scheme scheme, int64_t n, int64_t k,
                                      const void *data);
/* The n weights of equal shape that were added last, one after the other, as a bank. */
struct erne_tensor *erne_graph_bank(struct erne_graph *g, const char *name,
                                    struct erne_tensor *first, int64_t n);
/* n_cols columns of x from column first on. */
struct erne_tensor *erne_graph_view(struct erne_graph *g, struct erne_tensor *x,
                                    const char *name, int64_t first, int64_t n_cols);
/* Marks a result as read by the session after the step. */
void erne_graph_output(struct erne_graph *g, struct erne_tensor *x);

/* One builder an operator; what the inputs mean is in op.h. Names are for messages and
 * for --verbose: "layers.3.qkv". */
struct erne_tensor *erne_graph_embed(struct erne_graph *g, const char *name,
                                     struct erne_tensor *tokens, struct erne_tensor *w);
struct erne_tensor *erne_graph_rms_norm(struct erne_graph *g, const char *name,
                                        struct erne_tensor *x, struct erne_tensor *w,
                                        float eps);
struct erne_tensor *erne_graph_layer_norm(struct erne_graph *g, const char *name,
                                          struct erne_tensor *x, struct erne_tensor *w,
                                          struct erne_tensor *bias, float eps);
struct erne_tensor *erne_graph_matmul(struct erne_graph *g, const char *name,
                                      struct erne_tensor *x, struct erne_tensor *w,
                                      struct erne_tensor *bias,
                                      struct erne_tensor *residual);
/* With an activation on each element, that is any but SWIGLU. */
struct erne_tensor *erne_graph_matmul_act(struct erne_graph *g, const char *name,
                                          struct erne_tensor *x, struct erne_tensor *w,
                                          struct erne_tensor *bias, enum erne_act act,
                                          struct erne_tensor *residual);
struct erne_tensor *erne_graph_matmul_swiglu(struct erne_graph *g, const char *name,
                                             struct erne_tensor *x, struct erne_tensor *w,
                                             struct erne_tensor *bias, int64_t n_ff);
struct erne_tensor *erne_graph_rope(struct erne_graph *g, const char *name,
                                    struct erne_tensor *x, struct erne_tensor *position,
                                    struct erne_tensor *inv_freq,
                                    enum erne_rope_kind kind, int n_heads, int head_dim);
struct erne_tensor *erne_graph_kv_append(struct erne_graph *g, const char *name,
                                         struct erne_tensor *x, struct erne_tensor *cache,
                                         struct erne_tensor *slot);

struct erne_attention_inputs {
    struct erne_tensor *q, *k, *v, *table, *position;
};
struct erne_attention_heads {
    int32_t n_heads, n_kv_heads, head_dim;
    float scale; /* of q . k, usually head_dim^-0.5 */
    bool rounds; /* may be computed in bf16 */
};
struct erne_tensor *erne_graph_attention(struct erne_graph *g, const char *name,
                                         const struct erne_attention_inputs *in,
                                         const struct erne_attention_heads *heads);
/* q, k, v: [P, n_heads * head_dim]; bounds: I32 [P, 2]. As many KV heads as heads. */
struct erne_tensor *erne_graph_segment_attention(struct erne_graph *g, const char *name,
                                                 struct erne_tensor *q,
                                                 struct erne_tensor *k,
                                                 struct erne_tensor *v,
                                                 struct erne_tensor *bounds,
                                                 const struct erne_attention_heads *h);
struct erne_tensor *erne_graph_gather_rows(struct erne_graph *g, const char *name,
                                           struct erne_tensor *x,
                                           struct erne_tensor *rows);
struct erne_route {
    int32_t n_banks, n_used;
    float norm_min;
};
struct erne_tensor *erne_graph_moe_route(struct erne_graph *g, const char *name,
                                         struct erne_tensor *logits,
                                         struct erne_tensor *bias,
                                         struct erne_tensor *kind,
                                         const struct erne_route *route);

struct erne_experts {
    struct erne_tensor *weights, *gate_up, *down;
    int32_t n_used;
};
struct erne_tensor *erne_graph_moe_ffn(struct erne_graph *g, const char *name,
                                       struct erne_tensor *x,
                                       const struct erne_experts *experts,
                                       struct erne_tensor *residual);
struct erne_tensor *erne_graph_scatter_rows(struct erne_graph *g, const char *name,
                                            struct erne_tensor *x, struct erne_tensor *y,
                                            struct erne_tensor *rows);

#endif
