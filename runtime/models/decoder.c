/* decoder.c -- the language model of the whole family: ERNIE 4.5 0.3B, its mixtures of
 * experts 21B and 300B, those of the VL models with a bank for text and one for vision,
 * PaddleOCR-VL, and `llama` files of the dense graph.
 *
 * Pre-norm blocks with plain residuals, GQA attention, SwiGLU, no norm on q or k; RoPE of
 * interleaved pairs, in PaddleOCR-VL of halves. Features of pictures replace the
 * embeddings of placeholders. Source: transformers models/ernie4_5/modular_ernie4_5.py,
 * ernie4_5_moe, ernie4_5_vl_moe and paddleocr_vl likewise. head_dim x heads need not be
 * the embedding's width.
 */
#include "runtime/models/model.h"

#include <math.h>
#include <stdio.h>

#include "runtime/rope.h"

struct decoder {
    struct erne_graph *g;
    const struct erne_model_inputs *in;
    const struct erne_model_desc *desc;
    const struct erne_model_io *io;
    struct erne_tensor *inv_freq;
    enum erne_rope_kind rope;
};

/* What a builder needs to name a result "layers.3.qkv". */
struct label {
    char text[ERNE_NAME_MAX];
};

static struct label in_layer(int layer, const char *what)
{
    struct label l;

    snprintf(l.text, sizeof(l.text), "layers.%d.%s", layer, what);
    return l;
}

/* The keys (v = false) or values of a layer: [n_pages, n_kv_heads, ERNE_KV_PAGE, d]. */
static struct erne_tensor *cache_tensor(const struct decoder *d, int layer, bool v)
{
    const struct erne_kvcache *kv = d->in->kv;
    const int64_t dim[] = { kv->n_pages, d->desc->n_kv_heads, ERNE_KV_PAGE,
                            d->desc->head_dim };
    struct erne_tensor *t;

    t = erne_graph_state(d->g, in_layer(layer, v ? "v_cache" : "k_cache").text, kv->type,
                         4, dim);
    if (t)
        t->data = erne_kvcache_layer(kv, layer, v);
    return t;
}

/* x: [T, n_embd] -> x + attention(norm(x)): [T, n_embd] */
static struct erne_tensor *attention_block(const struct decoder *d, int layer,
                                           struct erne_tensor *x)
{
    const struct erne_model_file *file = d->in->file;
    const struct erne_model_desc *desc = d->desc;
    const int64_t q_cols = (int64_t)desc->n_heads * desc->head_dim;
    const int64_t kv_cols = (int64_t)desc->n_kv_heads * desc->head_dim;
    const struct erne_attention_heads heads = { desc->n_heads, desc->n_kv_heads,
                                                desc->head_dim,
                                                1.0f / sqrtf((float)desc->head_dim) };
    struct erne_graph *g = d->g;
    struct erne_attention_inputs in;
    struct erne_tensor *norm, *qkv, *q, *k, *v, *out;

    norm = erne_graph_rms_norm(g, in_layer(layer, "attn_norm").text, x,
                               erne_model_weight(g, file, "layers.%d.attn_norm", layer),
                               desc->rms_eps);
    qkv =
        erne_graph_matmul(g, in_layer(layer, "qkv").text, norm,
                          erne_model_weight(g, file, "layers.%d.qkv", layer),
                          erne_model_weight(g, file, "layers.%d.qkv.bias", layer), NULL);
    q = erne_graph_view(g, qkv, in_layer(layer, "q").text, 0, q_cols);
    k = erne_graph_view(g, qkv, in_layer(layer, "k").text, q_cols, kv_cols);
    v = erne_graph_view(g, qkv, in_layer(layer, "v").text, q_cols + kv_cols, kv_cols);
    q = erne_graph_rope(g, "rope_q", q, d->io->rope_position, d->inv_freq, d->rope,
                        desc->n_heads, desc->head_dim);
    k = erne_graph_rope(g, "rope_k", k, d->io->rope_position, d->inv_freq, d->rope,
                        desc->n_kv_heads, desc->head_dim);
    in.q = q;
    in.k = erne_graph_kv_append(g, "append_k", k, cache_tensor(d, layer, false),
                                d->io->slot);
    in.v =
        erne_graph_kv_append(g, "append_v", v, cache_tensor(d, layer, true), d->io->slot);
    in.table = d->io->table;
    in.position = d->io->position;
    out = erne_graph_attention(g, in_layer(layer, "attention").text, &in, &heads);
    return erne_graph_matmul(g, in_layer(layer, "attn_out").text, out,
                             erne_model_weight(g, file, "layers.%d.attn_out", layer),
                             erne_model_weight(g, file, "layers.%d.attn_out.bias", layer),
                             x);
}

/* One matrix of every expert of a bank: "layers.3.experts.0.gate_up" and on. */
static struct erne_tensor *expert_bank(const struct decoder *d, int layer, int bank,
                                       const char *what)
{
    const int n_experts = d->desc->moe.n_experts;
    struct erne_tensor *first = NULL;

    for (int e = 0; e < n_experts; e++) {
        struct erne_tensor *w =
            erne_model_weight(d->g, d->in->file, "layers.%d.experts.%d.%s", layer,
                              bank * n_experts + e, what);

        if (e == 0)
            first = w;
    }
    return erne_graph_bank(d->g, in_layer(layer, what).text, first, n_experts);
}

/* x + down(silu(gate) * up)(norm), of a dense layer ("gate_up", "down") or of the part of
 * a mixture that every token takes ("shared.gate_up", "shared.down"). */
static struct erne_tensor *swiglu_block(const struct decoder *d, int layer,
                                        const char *prefix, int32_t n_ff,
                                        struct erne_tensor *norm, struct erne_tensor *x)
{
    const struct erne_model_file *file = d->in->file;
    struct erne_graph *g = d->g;
    struct erne_tensor *hidden;

    hidden = erne_graph_matmul_swiglu(
        g, in_layer(layer, "gate_up").text, norm,
        erne_model_weight(g, file, "layers.%d.%sgate_up", layer, prefix),
        erne_model_weight(g, file, "layers.%d.%sgate_up.bias", layer, prefix), n_ff);
    return erne_graph_matmul(
        g, in_layer(layer, "down").text, hidden,
        erne_model_weight(g, file, "layers.%d.%sdown", layer, prefix),
        erne_model_weight(g, file, "layers.%d.%sdown.bias", layer, prefix), x);
}

/* norm: [T, n_embd] -> weights of the experts of all banks: [T, banks * n_experts] */
static struct erne_tensor *route_block(const struct decoder *d, int layer,
                                       struct erne_tensor *norm)
{
    const struct erne_moe_desc *moe = &d->desc->moe;
    const struct erne_route route = { erne_moe_n_banks(d->desc), moe->n_used,
                                      moe->norm_min };
    const struct erne_model_file *file = d->in->file;
    struct erne_tensor *logits;

    logits = erne_graph_matmul(d->g, in_layer(layer, "router").text, norm,
                               erne_model_weight(d->g, file, "layers.%d.router", layer),
                               NULL, NULL);
    return erne_graph_moe_route(
        d->g, in_layer(layer, "route").text, logits,
        erne_model_weight(d->g, file, "layers.%d.router.bias", layer), d->io->kind,
        &route);
}

/* x + shared(norm) + the experts that the router chooses for each token. A token has
 * weights in the bank of its kind only, so that the others add nothing to it. */
static struct erne_tensor *experts_block(const struct decoder *d, int layer,
                                         struct erne_tensor *norm, struct erne_tensor *x)
{
    const struct erne_moe_desc *moe = &d->desc->moe;
    const int n_banks = erne_moe_n_banks(d->desc);
    struct erne_tensor *weights = route_block(d, layer, norm);

    if (moe->n_ff_shared > 0)
        x = swiglu_block(d, layer, "shared.", moe->n_ff_shared, norm, x);
    for (int bank = 0; bank < n_banks; bank++) {
        const struct erne_experts experts = {
            .weights = erne_graph_view(d->g, weights, in_layer(layer, "weights").text,
                                       (int64_t)bank * moe->n_experts, moe->n_experts),
            .gate_up = expert_bank(d, layer, bank, "gate_up"),
            .down = expert_bank(d, layer, bank, "down"),
            .n_used = moe->n_used,
        };

        x = erne_graph_moe_ffn(d->g, in_layer(layer, "experts").text, norm, &experts, x);
    }
    return x;
}

/* x: [T, n_embd] -> x + ffn(norm(x)): [T, n_embd] */
static struct erne_tensor *ffn_block(const struct decoder *d, int layer,
                                     struct erne_tensor *x)
{
    const struct erne_model_file *file = d->in->file;
    struct erne_tensor *norm;

    norm = erne_graph_rms_norm(d->g, in_layer(layer, "ffn_norm").text, x,
                               erne_model_weight(d->g, file, "layers.%d.ffn_norm", layer),
                               d->desc->rms_eps);
    if (erne_layer_is_moe(d->desc, layer))
        return experts_block(d, layer, norm, x);
    return swiglu_block(d, layer, "", d->desc->n_ff, norm, x);
}

void erne_build_decoder(struct erne_graph *g, struct erne_model_io *io,
                        const struct erne_model_inputs *in)
{
    const struct erne_model_file *file = in->file;
    const struct erne_model_desc *desc = &file->desc;
    struct decoder d = { .g = g, .in = in, .desc = desc, .io = io };
    struct erne_tensor *embed, *lm_head, *x;

    d.rope =
        desc->arch == ERNE_ARCH_PADDLEOCR_VL ? ERNE_ROPE_NEOX : ERNE_ROPE_INTERLEAVED;
    embed = erne_model_weight(g, file, "embed");
    lm_head = desc->tied ? embed : erne_model_weight(g, file, "lm_head");
    d.inv_freq = erne_graph_weight(g, "inv_freq", ERNE_ROWS_F32, erne_rope_n_axes(desc),
                                   desc->head_dim / 2, in->inv_freq);
    x = erne_graph_embed(g, "embed", io->tokens, embed);
    if (io->features)
        x = erne_graph_scatter_rows(g, "features", x, io->features, io->feature_rows);
    for (int layer = 0; layer < desc->n_layers; layer++) {
        x = attention_block(&d, layer, x);
        x = ffn_block(&d, layer, x);
    }
    x = erne_graph_gather_rows(g, "last_rows", x, io->out_rows);
    x = erne_graph_rms_norm(g, "norm", x, erne_model_weight(g, file, "norm"),
                            desc->rms_eps);
    io->logits = erne_graph_matmul(g, "logits", x, lm_head,
                                   erne_model_weight(g, file, "lm_head.bias"), NULL);
    erne_graph_output(g, io->logits);
}
