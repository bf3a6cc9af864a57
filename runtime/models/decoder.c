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

#include "runtime/kv_row.h"
#include "runtime/rope.h"

struct decoder {
    struct erne_graph *g;
    const struct erne_model_inputs *in;
    const struct erne_model_desc *desc;
    const struct erne_model_io *io;
    struct erne_tensor *inv_freq;
    enum erne_rope_kind rope;
    bool every_row; /* of the last layer something else is read than logits */
};

/* A block: what its weights' names begin with, and its place in the KV cache. */
struct block {
    char prefix[24]; /* "layers.3." */
    int layer;
};

static struct block block_of(int layer)
{
    struct block b = { .layer = layer };

    snprintf(b.prefix, sizeof(b.prefix), "layers.%d.", layer);
    return b;
}

/* What a builder needs to name a result "layers.3.qkv". */
struct label {
    char text[ERNE_NAME_MAX];
};

static struct label in_block(const struct block *b, const char *what)
{
    struct label l;

    snprintf(l.text, sizeof(l.text), "%s%s", b->prefix, what);
    return l;
}

static struct erne_tensor *weight(const struct decoder *d, const struct block *b,
                                  const char *what)
{
    return erne_model_weight(d->g, d->in->file, "%s%s", b->prefix, what);
}

/* The keys (v = false) or values of a block: [n_pages, n_kv_heads, ERNE_KV_PAGE, row]. */
static struct erne_tensor *cache_tensor(const struct decoder *d, const struct block *b,
                                        bool v)
{
    const struct erne_kvcache *kv = d->in->kv;
    const int64_t dim[] = { kv->n_pages, d->desc->n_kv_heads, ERNE_KV_PAGE,
                            erne_kv_row_len(kv->type, d->desc->head_dim) };
    struct erne_tensor *t;

    t = erne_graph_state(d->g, in_block(b, v ? "v_cache" : "k_cache").text, kv->type, 4,
                         dim);
    if (t) {
        t->data = erne_kvcache_layer(kv, b->layer, v);
        t->state = erne_kvcache_state(kv, b->layer, v);
    }
    return t;
}

/* Of the last layer keys and values are kept for every token, and all else is computed
 * for the rows whose logits are wanted: of a prompt, one. */
static bool is_narrow(const struct decoder *d, const struct block *b)
{
    return b->layer == d->desc->n_layers - 1 && !d->every_row;
}

/* x: [T, n_embd] -> x + attention(norm(x)): [T, n_embd], or [O, n_embd] */
static struct erne_tensor *attention_block(const struct decoder *d, const struct block *b,
                                           struct erne_tensor *x)
{
    const struct erne_model_desc *desc = d->desc;
    const int64_t q_cols = (int64_t)desc->n_heads * desc->head_dim;
    const int64_t kv_cols = (int64_t)desc->n_kv_heads * desc->head_dim;
    struct erne_tensor *w_qkv = weight(d, b, "qkv");
    const struct erne_attention_heads heads = {
        .n_heads = desc->n_heads,
        .n_kv_heads = desc->n_kv_heads,
        .head_dim = desc->head_dim,
        .scale = 1.0f / sqrtf((float)desc->head_dim),
        /* What comes out of a product of codes has lost more than bf16 will take. */
        .rounds = w_qkv && erne_codec_is_int(w_qkv->scheme.codec),
    };
    struct erne_graph *g = d->g;
    struct erne_attention_inputs in;
    struct erne_tensor *norm, *qkv, *q, *k, *v, *out;

    norm = erne_graph_rms_norm(g, in_block(b, "attn_norm").text, x,
                               weight(d, b, "attn_norm"), desc->rms_eps);
    qkv = erne_graph_matmul(g, in_block(b, "qkv").text, norm, w_qkv,
                            weight(d, b, "qkv.bias"), NULL);
    q = erne_graph_view(g, qkv, in_block(b, "q").text, 0, q_cols);
    k = erne_graph_view(g, qkv, in_block(b, "k").text, q_cols, kv_cols);
    v = erne_graph_view(g, qkv, in_block(b, "v").text, q_cols + kv_cols, kv_cols);
    q = erne_graph_rope(g, "rope_q", q, d->io->rope_position, d->inv_freq, d->rope,
                        desc->n_heads, desc->head_dim);
    k = erne_graph_rope(g, "rope_k", k, d->io->rope_position, d->inv_freq, d->rope,
                        desc->n_kv_heads, desc->head_dim);
    in.position = d->io->position;
    if (is_narrow(d, b)) {
        q = erne_graph_gather_rows(g, "last_q", q, d->io->out_rows);
        x = erne_graph_gather_rows(g, "last_rows", x, d->io->out_rows);
        in.position = d->io->out_position;
    }
    in.k = erne_graph_kv_append(g, "append_k", k, cache_tensor(d, b, false), d->io->slot);
    in.v = erne_graph_kv_append(g, "append_v", v, cache_tensor(d, b, true), d->io->slot);
    in.q = q;
    in.table = d->io->table;
    out = erne_graph_attention(g, in_block(b, "attention").text, &in, &heads);
    return erne_graph_matmul(g, in_block(b, "attn_out").text, out,
                             weight(d, b, "attn_out"), weight(d, b, "attn_out.bias"), x);
}

/* One matrix of every expert of a bank: "layers.3.experts.0.gate_up" and on. */
static struct erne_tensor *expert_bank(const struct decoder *d, const struct block *b,
                                       int bank, const char *what)
{
    const int n_experts = d->desc->moe.n_experts;
    struct erne_tensor *first = NULL;

    for (int e = 0; e < n_experts; e++) {
        struct erne_tensor *w = erne_model_weight(d->g, d->in->file, "%sexperts.%d.%s",
                                                  b->prefix, bank * n_experts + e, what);

        if (e == 0)
            first = w;
    }
    return erne_graph_bank(d->g, in_block(b, what).text, first, n_experts);
}

/* x + down(silu(gate) * up)(norm), of a dense layer or of the part of a mixture that
 * every token takes. */
static struct erne_tensor *swiglu_block(const struct decoder *d, const struct block *b,
                                        int32_t n_ff, struct erne_tensor *norm,
                                        struct erne_tensor *x)
{
    struct erne_tensor *hidden;

    hidden = erne_graph_matmul_swiglu(d->g, in_block(b, "gate_up").text, norm,
                                      weight(d, b, "gate_up"),
                                      weight(d, b, "gate_up.bias"), n_ff);
    return erne_graph_matmul(d->g, in_block(b, "down").text, hidden, weight(d, b, "down"),
                             weight(d, b, "down.bias"), x);
}

/* norm: [T, n_embd] -> weights of the experts of all banks: [T, banks * n_experts] */
static struct erne_tensor *route_block(const struct decoder *d, const struct block *b,
                                       struct erne_tensor *norm)
{
    const struct erne_moe_desc *moe = &d->desc->moe;
    const struct erne_route route = { erne_moe_n_banks(d->desc), moe->n_used,
                                      moe->norm_min };
    struct erne_tensor *logits;

    logits = erne_graph_matmul(d->g, in_block(b, "router").text, norm,
                               weight(d, b, "router"), NULL, NULL);
    return erne_graph_moe_route(d->g, in_block(b, "route").text, logits,
                                weight(d, b, "router.bias"),
                                is_narrow(d, b) ? d->io->out_kind : d->io->kind, &route);
}

/* x + shared(norm) + the experts that the router chooses for each token. A token has
 * weights in the bank of its kind only, so that the others add nothing to it. */
static struct erne_tensor *experts_block(const struct decoder *d, const struct block *b,
                                         struct erne_tensor *norm, struct erne_tensor *x)
{
    const struct erne_moe_desc *moe = &d->desc->moe;
    const int n_banks = erne_moe_n_banks(d->desc);
    struct erne_tensor *weights = route_block(d, b, norm);
    struct block shared = *b;

    snprintf(shared.prefix, sizeof(shared.prefix), "layers.%d.shared.", b->layer);
    if (moe->n_ff_shared > 0)
        x = swiglu_block(d, &shared, moe->n_ff_shared, norm, x);
    for (int bank = 0; bank < n_banks; bank++) {
        const struct erne_experts experts = {
            .weights = erne_graph_view(d->g, weights, in_block(b, "weights").text,
                                       (int64_t)bank * moe->n_experts, moe->n_experts),
            .gate_up = expert_bank(d, b, bank, "gate_up"),
            .down = expert_bank(d, b, bank, "down"),
            .n_used = moe->n_used,
        };

        x = erne_graph_moe_ffn(d->g, in_block(b, "experts").text, norm, &experts, x);
    }
    return x;
}

/* x: [T, n_embd] -> x + ffn(norm(x)): [T, n_embd] */
static struct erne_tensor *ffn_block(const struct decoder *d, const struct block *b,
                                     struct erne_tensor *x)
{
    struct erne_tensor *norm;

    norm = erne_graph_rms_norm(d->g, in_block(b, "ffn_norm").text, x,
                               weight(d, b, "ffn_norm"), d->desc->rms_eps);
    if (b->layer < d->desc->n_layers && erne_layer_is_moe(d->desc, b->layer))
        return experts_block(d, b, norm, x);
    return swiglu_block(d, b, d->desc->n_ff, norm, x);
}

/* x: [T, n_embd], or [O, n_embd] after a narrow layer -> logits: [O, n_vocab] */
static struct erne_tensor *logits_of(const struct decoder *d, struct erne_tensor *x)
{
    const struct erne_model_file *file = d->in->file;
    struct erne_graph *g = d->g;

    if (d->every_row)
        x = erne_graph_gather_rows(g, "last_rows", x, d->io->out_rows);
    x = erne_graph_rms_norm(g, "norm", x, erne_model_weight(g, file, "norm"),
                            d->desc->rms_eps);
    x = erne_graph_matmul(g, "logits", x,
                          erne_model_weight(g, file, d->desc->tied ? "embed" : "lm_head"),
                          erne_model_weight(g, file, "lm_head.bias"), NULL);
    erne_graph_output(g, x);
    return x;
}

static struct decoder decoder_of(struct erne_graph *g, struct erne_model_io *io,
                                 const struct erne_model_inputs *in)
{
    const struct erne_model_desc *desc = &in->file->desc;
    struct decoder d = { .g = g,
                         .in = in,
                         .desc = desc,
                         .io = io,
                         .every_row = in->keep_layers || desc->n_mtp > 0 };

    d.rope =
        desc->arch == ERNE_ARCH_PADDLEOCR_VL ? ERNE_ROPE_NEOX : ERNE_ROPE_INTERLEAVED;
    d.inv_freq = erne_graph_weight(g, "inv_freq", ERNE_ROWS_F32, erne_rope_n_axes(desc),
                                   desc->head_dim / 2, in->inv_freq);
    return d;
}

void erne_build_decoder(struct erne_graph *g, struct erne_model_io *io,
                        const struct erne_model_inputs *in)
{
    const struct decoder d = decoder_of(g, io, in);
    struct erne_tensor *x;

    x = erne_graph_embed(g, "embed", io->tokens, erne_model_weight(g, in->file, "embed"));
    if (io->features)
        x = erne_graph_scatter_rows(g, "features", x, io->features, io->feature_rows);
    for (int layer = 0; layer < d.desc->n_layers; layer++) {
        const struct block b = block_of(layer);

        x = attention_block(&d, &b, x);
        x = ffn_block(&d, &b, x);
        if (in->keep_layers)
            erne_graph_output(g, x);
    }
    if (d.desc->n_mtp > 0) {
        io->hidden = x;
        erne_graph_output(g, x);
    }
    io->logits = logits_of(&d, x);
}

/* Multi-token prediction: from the last hidden state of token t and the embedding of
 * token t + 1 to the logits of token t + 2. Source: PaddlePaddle/ERNIE
 * ernie/modeling_moe.py; norm and logits are the model's own, the block is dense. */
void erne_build_mtp(struct erne_graph *g, struct erne_model_io *io,
                    const struct erne_model_inputs *in)
{
    const struct decoder d = decoder_of(g, io, in);
    const struct block b = { .prefix = "mtp.", .layer = d.desc->n_layers };
    const int64_t n_embd = d.desc->n_embd;
    struct erne_tensor *embed, *hidden, *x;

    embed =
        erne_graph_embed(g, "embed", io->tokens, erne_model_weight(g, in->file, "embed"));
    embed = erne_graph_rms_norm(g, "mtp.embed_norm", embed, weight(&d, &b, "embed_norm"),
                                d.desc->rms_eps);
    hidden = erne_graph_rms_norm(g, "mtp.hidden_norm", io->hidden,
                                 weight(&d, &b, "hidden_norm"), d.desc->rms_eps);
    /* Side by side: both are scattered into the columns of one input. */
    erne_graph_scatter_rows(g, "mtp.left",
                            erne_graph_view(g, io->pair, "left", 0, n_embd), embed,
                            io->same_rows);
    erne_graph_scatter_rows(g, "mtp.right",
                            erne_graph_view(g, io->pair, "right", n_embd, n_embd), hidden,
                            io->same_rows);
    x = erne_graph_matmul(g, "mtp.proj", io->pair, weight(&d, &b, "proj"),
                          weight(&d, &b, "proj.bias"), NULL);
    x = attention_block(&d, &b, x);
    x = ffn_block(&d, &b, x);
    io->logits = logits_of(&d, x);
}
