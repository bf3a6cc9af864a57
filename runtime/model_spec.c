/* model_spec.c -- the tensors that an architecture needs: names, shapes and order.
 *
 * What they are used for is in runtime/models. Biases follow transformers: with use_bias
 * all linear layers of the blocks have one, but no expert; the logits of text models
 * with experts do, those of others never; the vision towers always have them. The
 * tensors of an expert follow each other, text experts before vision experts, so that
 * what is used together lies together.
 */
#include <stdarg.h>
#include <stdio.h>

#include "runtime/model_desc.h"
#include "runtime/op.h"
#include "runtime/round.h"

struct walk {
    int (*visit)(void *user, const struct erne_tensor_spec *spec);
    void *user;
    const struct erne_model_desc *desc;
    char prefix[ERNE_SPEC_NAME_MAX]; /* "layers.3." */
    int32_t layer;                   /* -1 outside layers */
    int32_t expert;                  /* -1 outside experts */
    bool bias;                       /* whether linear layers have one */
    int answer;                      /* the first that is not 0; nothing follows it */
};

bool erne_layer_is_moe(const struct erne_model_desc *desc, int32_t layer)
{
    const struct erne_moe_desc *moe = &desc->moe;

    if (moe->layers)
        return moe->n_experts > 0 && moe->layers[layer] == 'e';
    return moe->n_experts > 0 && layer >= moe->first && layer <= moe->last &&
           (layer + 1) % moe->interval == 0;
}

int32_t erne_moe_n_banks(const struct erne_model_desc *desc)
{
    return desc->moe.n_ff_vision > 0 ? 2 : 1;
}

static void set_prefix(struct walk *w, const char *fmt, ...) ERNE_PRINTF(2, 3);

static void set_prefix(struct walk *w, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(w->prefix, sizeof(w->prefix), fmt, args);
    va_end(args);
}

static void visit_spec(struct walk *w, const char *what, struct erne_tensor_spec spec)
{
    if (w->answer != 0)
        return;
    spec.layer = w->layer;
    spec.expert = w->expert;
    snprintf(spec.name, sizeof(spec.name), "%.40s%s", w->prefix, what);
    w->answer = w->visit(w->user, &spec);
}

static void visit_one(struct walk *w, const char *what, enum erne_tensor_role role,
                      int64_t n, int64_t k)
{
    visit_spec(w, what, (struct erne_tensor_spec){ .role = role, .n = n, .k = k });
}

/* n_ff: that of its weight, see struct erne_tensor_spec. */
static void visit_bias(struct walk *w, const char *what, int64_t n, int64_t n_ff)
{
    char name[ERNE_SPEC_NAME_MAX];

    snprintf(name, sizeof(name), "%.56s.bias", what);
    visit_spec(w, name,
               (struct erne_tensor_spec){
                   .role = ERNE_ROLE_BIAS, .n = 1, .k = n, .n_ff = n_ff });
}

/* A linear layer [n, k] and its bias [n]. */
static void visit_linear(struct walk *w, const char *what, enum erne_tensor_role role,
                         int64_t n, int64_t k)
{
    visit_one(w, what, role, n, k);
    if (w->bias)
        visit_bias(w, what, n, 0);
}

/* SwiGLU of width n_ff: rows of gate and up alternate, each run padded. */
static void visit_swiglu(struct walk *w, const char *gate_up, const char *down,
                         int64_t n_ff)
{
    const int64_t n_gate = erne_round_up(n_ff, ERNE_SWIGLU_RUN);

    visit_spec(w, gate_up,
               (struct erne_tensor_spec){ .role = ERNE_ROLE_GATE_UP,
                                          .n = 2 * n_gate,
                                          .k = w->desc->n_embd,
                                          .n_ff = n_ff });
    if (w->bias)
        visit_bias(w, gate_up, 2 * n_gate, n_ff);
    visit_linear(w, down, ERNE_ROLE_DOWN, w->desc->n_embd, n_ff);
}

static void visit_attention(struct walk *w)
{
    const struct erne_model_desc *desc = w->desc;
    const int64_t n_embd = desc->n_embd, head_dim = desc->head_dim;
    const int64_t n_qkv = (desc->n_heads + 2 * (int64_t)desc->n_kv_heads) * head_dim;

    visit_one(w, "attn_norm", ERNE_ROLE_NORM, 1, n_embd);
    visit_linear(w, "qkv", ERNE_ROLE_QKV, n_qkv, n_embd);
    visit_linear(w, "attn_out", ERNE_ROLE_ATTN_OUT, n_embd, desc->n_heads * head_dim);
    visit_one(w, "ffn_norm", ERNE_ROLE_NORM, 1, n_embd);
}

static void visit_experts(struct walk *w)
{
    const struct erne_moe_desc *moe = &w->desc->moe;
    const int32_t n_banks = erne_moe_n_banks(w->desc);
    const int32_t n_total = n_banks * moe->n_experts;

    visit_one(w, "router", ERNE_ROLE_ROUTER, n_total, w->desc->n_embd);
    visit_one(w, "router.bias", ERNE_ROLE_BIAS, 1, n_total);
    if (moe->n_ff_shared > 0)
        visit_swiglu(w, "shared.gate_up", "shared.down", moe->n_ff_shared);
    w->bias = false;
    for (w->expert = 0; w->expert < n_total; w->expert++) {
        const bool is_vision = w->expert >= moe->n_experts;

        set_prefix(w, "layers.%d.experts.%d.", (int)w->layer, (int)w->expert);
        visit_swiglu(w, "gate_up", "down", is_vision ? moe->n_ff_vision : moe->n_ff);
    }
    w->expert = -1;
    w->bias = w->desc->use_bias;
}

static void visit_layers(struct walk *w)
{
    w->bias = w->desc->use_bias;
    for (w->layer = 0; w->answer == 0 && w->layer < w->desc->n_layers; w->layer++) {
        set_prefix(w, "layers.%d.", (int)w->layer);
        visit_attention(w);
        if (erne_layer_is_moe(w->desc, w->layer))
            visit_experts(w);
        else
            visit_swiglu(w, "gate_up", "down", w->desc->n_ff);
    }
    w->layer = -1;
    set_prefix(w, "%s", "");
}

/* A dense block that guesses one token further; it shares norm and logits. */
static void visit_mtp(struct walk *w)
{
    const int64_t n_embd = w->desc->n_embd;

    if (w->desc->n_mtp == 0)
        return;
    set_prefix(w, "mtp.");
    visit_one(w, "embed_norm", ERNE_ROLE_NORM, 1, n_embd);
    visit_one(w, "hidden_norm", ERNE_ROLE_NORM, 1, n_embd);
    w->bias = w->desc->use_bias;
    visit_linear(w, "proj", ERNE_ROLE_MTP, n_embd, 2 * n_embd);
    visit_attention(w);
    visit_swiglu(w, "gate_up", "down", w->desc->n_ff);
    set_prefix(w, "%s", "");
}

/* ----------------------------------------------------------------- vision */

static void visit_layer_norm(struct walk *w, const char *what, int64_t k)
{
    visit_one(w, what, ERNE_ROLE_NORM, 1, k);
    visit_bias(w, what, k, 0);
}

static void visit_vision_block(struct walk *w)
{
    const struct erne_vision_desc *v = &w->desc->vision;

    visit_layer_norm(w, "norm1", v->n_embd);
    visit_linear(w, "qkv", ERNE_ROLE_VISION, 3 * (int64_t)v->n_embd, v->n_embd);
    visit_linear(w, "attn_out", ERNE_ROLE_VISION, v->n_embd, v->n_embd);
    visit_layer_norm(w, "norm2", v->n_embd);
    visit_linear(w, "fc1", ERNE_ROLE_VISION, v->n_ff, v->n_embd);
    visit_linear(w, "fc2", ERNE_ROLE_VISION, v->n_embd, v->n_ff);
}

/* Two linear layers around a GELU, then a norm: spatial and temporal merge. */
static void visit_merge(struct walk *w, const char *prefix, int64_t n_in, int64_t n_out)
{
    set_prefix(w, "%s", prefix);
    visit_linear(w, "fc1", ERNE_ROLE_VISION, n_out, n_in);
    visit_linear(w, "fc2", ERNE_ROLE_VISION, n_out, n_out);
    visit_layer_norm(w, "norm", n_out);
}

/* ERNIE: spatial merge, temporal merge, then to the width of the language model. */
static void visit_resampler(struct walk *w)
{
    const struct erne_vision_desc *v = &w->desc->vision;
    const int64_t n_merged = (int64_t)v->n_embd * v->merge * v->merge;

    visit_merge(w, "resampler.spatial.", n_merged, n_merged);
    if (v->temporal > 1)
        visit_merge(w, "resampler.temporal.", v->temporal * n_merged, n_merged);
    set_prefix(w, "resampler.");
    visit_linear(w, "out", ERNE_ROLE_VISION, w->desc->n_embd, n_merged);
    visit_one(w, "norm", ERNE_ROLE_NORM, 1, w->desc->n_embd);
}

/* PaddleOCR-VL: a norm a patch, then two linear layers around a GELU. */
static void visit_projector(struct walk *w)
{
    const struct erne_vision_desc *v = &w->desc->vision;
    const int64_t n_merged = (int64_t)v->n_embd * v->merge * v->merge;

    set_prefix(w, "projector.");
    visit_layer_norm(w, "norm", v->n_embd);
    visit_linear(w, "fc1", ERNE_ROLE_VISION, n_merged, n_merged);
    visit_linear(w, "fc2", ERNE_ROLE_VISION, w->desc->n_embd, n_merged);
}

static void visit_vision(struct walk *w)
{
    const struct erne_vision_desc *v = &w->desc->vision;
    const bool is_ernie = w->desc->arch == ERNE_ARCH_ERNIE45_VL;

    if (v->n_layers == 0)
        return;
    set_prefix(w, "vision.");
    w->bias = !is_ernie;
    visit_linear(w, "patch", ERNE_ROLE_VISION, v->n_embd,
                 3 * (int64_t)v->patch * v->patch);
    if (v->n_side > 0)
        visit_one(w, "positions", ERNE_ROLE_POSITIONS, (int64_t)v->n_side * v->n_side,
                  v->n_embd);
    w->bias = true;
    for (int32_t i = 0; w->answer == 0 && i < v->n_layers; i++) {
        set_prefix(w, "vision.blocks.%d.", (int)i);
        visit_vision_block(w);
    }
    set_prefix(w, "vision.");
    visit_layer_norm(w, "norm", v->n_embd);
    if (is_ernie)
        visit_resampler(w);
    else
        visit_projector(w);
    set_prefix(w, "%s", "");
}

int erne_model_tensors(const struct erne_model_desc *desc,
                       int (*visit)(void *user, const struct erne_tensor_spec *spec),
                       void *user)
{
    struct walk w = {
        .visit = visit, .user = user, .desc = desc, .layer = -1, .expert = -1
    };

    visit_one(&w, "embed", ERNE_ROLE_EMBED, desc->n_vocab, desc->n_embd);
    visit_layers(&w);
    visit_one(&w, "norm", ERNE_ROLE_NORM, 1, desc->n_embd);
    if (!desc->tied)
        visit_one(&w, "lm_head", ERNE_ROLE_LM_HEAD, desc->n_vocab, desc->n_embd);
    if (desc->use_bias && desc->arch == ERNE_ARCH_ERNIE45_MOE) /* as in transformers */
        visit_bias(&w, "lm_head", desc->n_vocab, 0);
    visit_mtp(&w);
    visit_vision(&w);
    return w.answer;
}

static const char *const role_labels[ERNE_ROLE_COUNT] = {
    [ERNE_ROLE_EMBED] = "embedding",  [ERNE_ROLE_NORM] = "norms",
    [ERNE_ROLE_QKV] = "q, k, v",      [ERNE_ROLE_ATTN_OUT] = "attention out",
    [ERNE_ROLE_GATE_UP] = "gate, up", [ERNE_ROLE_DOWN] = "down",
    [ERNE_ROLE_LM_HEAD] = "logits",   [ERNE_ROLE_ROUTER] = "routers",
    [ERNE_ROLE_VISION] = "vision",    [ERNE_ROLE_POSITIONS] = "positions",
    [ERNE_ROLE_MTP] = "mtp",          [ERNE_ROLE_BIAS] = "biases",
};

const char *erne_role_label(enum erne_tensor_role role)
{
    return role_labels[role];
}

static int count_one(void *user, const struct erne_tensor_spec *spec)
{
    uint64_t *n = user;
    const bool is_bias = spec->role == ERNE_ROLE_BIAS;
    const int64_t padded = is_bias ? spec->k : spec->n;
    const int64_t n_rows = spec->n_ff > 0 ? 2 * spec->n_ff : padded;

    *n += (uint64_t)(n_rows * (is_bias ? 1 : spec->k));
    return 0;
}

uint64_t erne_model_n_params(const struct erne_model_desc *desc)
{
    uint64_t n = 0;

    erne_model_tensors(desc, count_one, &n);
    return n;
}
