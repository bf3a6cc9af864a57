/* layout.c -- finds the parts of every output tensor; see layout.h. */
#include "converters/layout.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/op.h"

/* -------------------------------------------------------------- the table */

/* An output tensor, as runtime/model_spec.c names it, and its parts in a checkpoint under
 * their canonical names (names.h). A # stands for a number, the same on both sides.
 * fused: one matrix with the rows of all parts, which takes their place where it exists.
 * Biases are named like their weights, with "bias" for "weight". */
struct row {
    const char *name;
    const char *parts[LAYOUT_MAX_PARTS];
    const char *fused;
};

#define LAYER "model.layers.#."
#define MTP   "model.mtp_block.0."
#define ATTENTION(to, from)                                                 \
    { to "attn_norm", { from "input_layernorm.weight" }, NULL },            \
        { to "qkv",                                                         \
          { from "self_attn.q_proj.weight", from "self_attn.k_proj.weight", \
            from "self_attn.v_proj.weight" },                               \
          from "self_attn.qkv_proj.weight" },                               \
        { to "attn_out", { from "self_attn.o_proj.weight" }, NULL },        \
    {                                                                       \
        to "ffn_norm", { from "post_attention_layernorm.weight" }, NULL     \
    }
#define SWIGLU(to, from)                                                     \
    { to "gate_up",                                                          \
      { from "gate_proj.weight", from "up_proj.weight" },                    \
      from "up_gate_proj.weight" }, /* despite its name, gate comes first */ \
    {                                                                        \
        to "down", { from "down_proj.weight" }, NULL                         \
    }

/* clang-format off */
static const struct row text_rows[] = {
    { "embed", { "model.embed_tokens.weight" }, NULL },
    { "norm", { "model.norm.weight" }, NULL },
    { "lm_head", { "lm_head.weight" }, NULL },
    ATTENTION("layers.#.", LAYER),
    SWIGLU("layers.#.", LAYER "mlp."),
    SWIGLU("layers.#.shared.", LAYER "mlp.shared_experts."),
    SWIGLU("layers.#.experts.#.", LAYER "mlp.experts.#."),
    { "layers.#.router", { LAYER "mlp.gate.weight", LAYER "mlp.gate.weight_1" }, NULL },
    { "layers.#.router.bias",
      { LAYER "mlp.moe_statics.e_score_correction_bias",
        LAYER "mlp.moe_statics.e_score_correction_bias_1" },
      LAYER "mlp.moe_statics.e_score_correction_bias" },
    { "mtp.embed_norm", { "model.mtp_emb_norm.0.weight" }, NULL },
    { "mtp.hidden_norm", { "model.mtp_hidden_norm.0.weight" }, NULL },
    { "mtp.proj", { "model.mtp_linear_proj.0.weight" }, NULL },
    ATTENTION("mtp.", MTP),
    SWIGLU("mtp.", MTP "mlp."),
};

#define RESAMPLER "model.resampler_model."
static const struct row ernie_vision_rows[] = {
    { "vision.patch", { "vision_model.patch_embed.proj.weight" }, NULL },
    { "vision.blocks.#.norm1", { "vision_model.blocks.#.norm1.weight" }, NULL },
    { "vision.blocks.#.qkv", { "vision_model.blocks.#.attn.qkv.weight" }, NULL },
    { "vision.blocks.#.attn_out", { "vision_model.blocks.#.attn.proj.weight" }, NULL },
    { "vision.blocks.#.norm2", { "vision_model.blocks.#.norm2.weight" }, NULL },
    { "vision.blocks.#.fc1", { "vision_model.blocks.#.mlp.fc1.weight" }, NULL },
    { "vision.blocks.#.fc2", { "vision_model.blocks.#.mlp.fc2.weight" }, NULL },
    { "vision.norm", { "vision_model.ln.weight" }, NULL },
    { "resampler.spatial.fc1", { RESAMPLER "spatial_linear.0.weight" }, NULL },
    { "resampler.spatial.fc2", { RESAMPLER "spatial_linear.2.weight" }, NULL },
    { "resampler.spatial.norm", { RESAMPLER "spatial_linear.3.weight" }, NULL },
    { "resampler.temporal.fc1", { RESAMPLER "temporal_linear.0.weight" }, NULL },
    { "resampler.temporal.fc2", { RESAMPLER "temporal_linear.2.weight" }, NULL },
    { "resampler.temporal.norm", { RESAMPLER "temporal_linear.3.weight" }, NULL },
    { "resampler.out", { RESAMPLER "mlp.weight" }, NULL },
    { "resampler.norm", { RESAMPLER "after_norm.weight" }, NULL },
};

#define TOWER "visual.vision_model."
#define BLOCK TOWER "encoder.layers.#."
static const struct row paddleocr_vision_rows[] = {
    { "vision.patch", { TOWER "embeddings.patch_embedding.weight" }, NULL },
    { "vision.positions", { TOWER "embeddings.position_embedding.weight" }, NULL },
    { "vision.blocks.#.norm1", { BLOCK "layer_norm1.weight" }, NULL },
    { "vision.blocks.#.qkv",
      { BLOCK "self_attn.q_proj.weight", BLOCK "self_attn.k_proj.weight",
        BLOCK "self_attn.v_proj.weight" },
      NULL },
    { "vision.blocks.#.attn_out", { BLOCK "self_attn.out_proj.weight" }, NULL },
    { "vision.blocks.#.norm2", { BLOCK "layer_norm2.weight" }, NULL },
    { "vision.blocks.#.fc1", { BLOCK "mlp.fc1.weight" }, NULL },
    { "vision.blocks.#.fc2", { BLOCK "mlp.fc2.weight" }, NULL },
    { "vision.norm", { TOWER "post_layernorm.weight" }, NULL },
    { "projector.norm", { "mlp_AR.pre_norm.weight" }, NULL },
    { "projector.fc1", { "mlp_AR.linear_1.weight" }, NULL },
    { "projector.fc2", { "mlp_AR.linear_2.weight" }, NULL },
};
/* clang-format on */

/* ------------------------------------------------------------------ names */

enum { MAX_NUMBERS = 2 };

struct numbers {
    int32_t item[MAX_NUMBERS];
    int n;
};

/* Whether `name`, n bytes of it, has the form of `pattern`. */
static bool match_name(const char *pattern, const char *name, size_t n,
                       struct numbers *numbers)
{
    const char *end = name + n;

    numbers->n = 0;
    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '#') {
            if (name == end || *name++ != *pattern)
                return false;
            continue;
        }
        char *after;
        const long value = strtol(name, &after, 10);

        if (after == name || numbers->n == MAX_NUMBERS)
            return false;
        numbers->item[numbers->n++] = (int32_t)value;
        name = after;
    }
    return name == end;
}

/* The pattern with its numbers, and "bias" at its end where it is one. */
static void fill_name(char name[SOURCE_NAME_MAX], const char *pattern,
                      const struct numbers *numbers, bool is_bias)
{
    static const char weight[] = "weight";
    size_t n = 0;
    int i = 0;

    for (const char *p = pattern; *p != '\0' && n + 16 < SOURCE_NAME_MAX; p++) {
        if (*p == '#')
            n += (size_t)snprintf(name + n, 16, "%" PRId32, numbers->item[i++]);
        else
            name[n++] = *p;
    }
    name[n] = '\0';
    if (is_bias && n > sizeof(weight) &&
        strcmp(name + n - (sizeof(weight) - 1), weight) == 0)
        strcpy(name + n - (sizeof(weight) - 1), "bias");
}

/* Where a tensor of the spec comes from. */
struct origin {
    const struct row *row;
    struct numbers numbers;
    bool is_bias; /* the row is that of its weight */
};

static bool find_in(struct origin *o, const struct row *rows, size_t n_rows,
                    const char *name, size_t n)
{
    for (size_t i = 0; i < n_rows; i++)
        if (match_name(rows[i].name, name, n, &o->numbers)) {
            o->row = &rows[i];
            return true;
        }
    return false;
}

static struct origin find_origin(enum erne_arch arch, const char *name)
{
    const bool is_ernie = arch == ERNE_ARCH_ERNIE45_VL;
    const struct row *vision = is_ernie ? ernie_vision_rows : paddleocr_vision_rows;
    const size_t n_vision = is_ernie ? ERNE_ARRAY_LEN(ernie_vision_rows)
                                     : ERNE_ARRAY_LEN(paddleocr_vision_rows);
    const size_t n = strlen(name), n_suffix = strlen(".bias");
    struct origin o = { 0 };

    if (find_in(&o, text_rows, ERNE_ARRAY_LEN(text_rows), name, n) ||
        find_in(&o, vision, n_vision, name, n))
        return o;
    o.is_bias = true;
    if (!find_in(&o, text_rows, ERNE_ARRAY_LEN(text_rows), name, n - n_suffix))
        find_in(&o, vision, n_vision, name, n - n_suffix);
    assert(o.row); /* the spec's names and the table belong to one version */
    return o;
}

/* ---------------------------------------------------------------- finding */

struct builder {
    const struct source *src;
    struct layout_list *list;
    size_t cap;
    bool *used;      /* [src->n_tensors] */
    bool *lora_used; /* [src->n_loras] */
    /* Matrices, routers aside, whose shape tells how they are stored. */
    size_t n_as_is, n_transposed;
    struct erne_error *err;
};

static bool is_router_bias(const struct layout *layout)
{
    return layout->spec.role == ERNE_ROLE_BIAS && strstr(layout->spec.name, ".router.");
}

/* Zero where a checkpoint has none: without the router's, experts are chosen by
 * probability alone; not every converter keeps that of the logits. */
static bool may_be_absent(const struct layout *layout)
{
    return is_router_bias(layout) || strcmp(layout->spec.name, "lm_head.bias") == 0;
}

/* Parts that a tensor has in this model: a router has one a bank. */
static int count_parts(const struct builder *b, const struct layout *layout,
                       const struct row *row)
{
    int n = 0;

    if (layout->spec.role == ERNE_ROLE_ROUTER || is_router_bias(layout))
        return erne_moe_n_banks(&b->src->desc);
    while (n < LAYOUT_MAX_PARTS && row->parts[n])
        n++;
    return n;
}

/* Rows that part i of a tensor must have. */
static int64_t part_rows(const struct erne_model_desc *desc, const struct layout *layout,
                         int i)
{
    if (layout->interleaved)
        return layout->spec.n_ff;
    if (layout->n_parts == 3 && strncmp(layout->spec.name, "vision.", 7) != 0)
        return (int64_t)desc->head_dim * (i == 0 ? desc->n_heads : desc->n_kv_heads);
    return layout->n / layout->n_parts;
}

static int fail_shape(const struct builder *b, const struct layout *layout,
                      const struct source_tensor *t, int64_t rows)
{
    const char *path = b->src->files[t->file].path;
    const bool swap = b->src->has_paddle_names && layout->spec.role != ERNE_ROLE_EMBED;

    if (layout->k == 1)
        return erne_fail(b->err, ERNE_EFORMAT,
                         "%s: %s has %" PRId64 " elements, not %" PRId64, path, t->stored,
                         t->n * t->k, rows);
    return erne_fail(
        b->err, ERNE_EFORMAT,
        "%s: %s has the shape [%" PRId64 ", %" PRId64 "], not [%" PRId64 ", %" PRId64 "]",
        path, t->stored, t->n, t->k, swap ? layout->k : rows, swap ? rows : layout->k);
}

/* The kernel of a convolution is stored alike everywhere, and is no example for the
 * linear layers. */
static bool is_convolution(const struct builder *b, const struct layout *layout)
{
    return b->src->desc.arch == ERNE_ARCH_PADDLEOCR_VL &&
           strcmp(layout->spec.name, "vision.patch") == 0;
}

/* Files of models with vision have routers as [in, out] whatever the linear layers are;
 * under the names of transformers' memory they are as those. */
static bool is_vision_router(const struct builder *b, const struct layout *layout,
                             const struct source_tensor *t)
{
    return layout->spec.role == ERNE_ROLE_ROUTER &&
           b->src->desc.arch == ERNE_ARCH_ERNIE45_VL && !strstr(t->stored, "_moe.gate.");
}

/* How the matrix of `rows` rows is stored; counts what its shape tells. */
static int settle_shape(struct builder *b, const struct layout *layout,
                        struct layout_part *part, int64_t rows)
{
    const struct source_tensor *t = part->t;
    const enum erne_tensor_role role = layout->spec.role;
    const bool may_transpose = b->src->may_transpose && layout->k > 1 &&
                               role != ERNE_ROLE_EMBED && role != ERNE_ROLE_POSITIONS &&
                               !is_convolution(b, layout);
    const bool fits = layout->k == 1 ? t->n * t->k == rows && t->type->n_elems == 1
                                     : t->n == rows && t->k == layout->k;

    part->is_square = may_transpose && fits && rows == layout->k;
    part->transposed = may_transpose && !fits && t->n == layout->k && t->k == rows;
    if (!fits && !part->transposed)
        return fail_shape(b, layout, t, rows);
    if (may_transpose && !part->is_square && role != ERNE_ROLE_ROUTER) {
        b->n_as_is += !part->transposed;
        b->n_transposed += part->transposed;
    }
    if (part->is_square && is_vision_router(b, layout, t)) {
        part->is_square = false;
        part->transposed = true;
    }
    return ERNE_OK;
}

static const struct source_tensor *use(struct builder *b, const char *name)
{
    const struct source_tensor *t = source_find(b->src, name);

    if (t)
        b->used[t - b->src->tensors] = true;
    return t;
}

/* The matrix `name` ("X.weight") of `rows` rows, if it is there as codes with scales. */
static int take_quant(struct builder *b, const struct layout *layout,
                      struct layout_part *part, const char *name, int64_t rows)
{
    struct paddle_quant *quant = &part->quant;
    const char *dot = strrchr(name, '.');
    char full[2 * SOURCE_NAME_MAX];

    if (layout->k == 1 || !dot)
        return ERNE_OK;
    for (size_t i = 0; i < PADDLE_QUANT_NAMES; i++) {
        const struct source_tensor **member =
            (const struct source_tensor **)(void *)((char *)quant +
                                                    paddle_quant_names[i].offset);

        snprintf(full, sizeof(full), "%.*s%s", (int)(dot + 1 - name), name,
                 paddle_quant_names[i].suffix);
        *member = i == 0 || part->t ? use(b, full) : NULL;
        part->t = quant->codes;
    }
    if (!part->t)
        return ERNE_OK;
    part->transposed = true;
    return paddle_quant_settle(quant, b->src, rows, layout->k, b->err);
}

/* One matrix has the rows of all parts: each is a range of it. */
static int take_fused(struct builder *b, struct layout *layout, const char *name)
{
    struct layout_part whole = { .t = use(b, name) };
    int64_t total = 0;

    for (int i = 0; i < layout->n_parts; i++)
        total += part_rows(&b->src->desc, layout, i);
    ERNE_TRY(whole.t ? settle_shape(b, layout, &whole, total)
                     : take_quant(b, layout, &whole, name, total));
    total = 0;
    for (int i = 0; i < layout->n_parts; i++) {
        whole.first = total;
        whole.n = part_rows(&b->src->desc, layout, i);
        layout->parts[i] = whole;
        total += whole.n;
    }
    return ERNE_OK;
}

static int take_part(struct builder *b, struct layout *layout, int i, const char *name)
{
    struct layout_part *part = &layout->parts[i];
    const struct source *src = b->src;

    part->n = part_rows(&src->desc, layout, i);
    if (src->is_outline) {
        part->t = layout->spec.role == ERNE_ROLE_ROUTER || is_router_bias(layout)
                      ? &src->outline_f32
                      : &src->outline_matrix;
        return ERNE_OK;
    }
    part->t = use(b, name);
    if (part->t)
        return settle_shape(b, layout, part, part->n);
    ERNE_TRY(take_quant(b, layout, part, name, part->n));
    if (part->t)
        return ERNE_OK;
    if (may_be_absent(layout))
        return ERNE_OK;
    return erne_fail(b->err, ERNE_EFORMAT, "%s: there is no tensor %s",
                     src->files[0].path, name);
}

/* Finds the adapters of a matrix [rows, k], which has the part's rows from `first` on. */
static int take_loras(struct builder *b, struct layout_lora *loras, const char *name,
                      int64_t rows, int64_t k)
{
    loras->items = lora_find(b->src, name, &loras->n);
    for (size_t i = 0; i < loras->n; i++) {
        const struct source_lora *lora = &loras->items[i];

        b->lora_used[lora - b->src->loras] = true;
        if (lora->n != rows || lora->k != k)
            return erne_fail(b->err, ERNE_EFORMAT,
                             "%s: %s and its lora_B are for a matrix [%" PRId64
                             ", %" PRId64 "], %s is [%" PRId64 ", %" PRId64 "]",
                             lora->from->files[lora->a->file].path, lora->a->stored,
                             lora->n, lora->k, name, rows, k);
    }
    return ERNE_OK;
}

/* Adapters name matrices of their base, split or fused; ours may have them otherwise. */
static int take_all_loras(struct builder *b, struct layout *layout,
                          const struct origin *o)
{
    char name[SOURCE_NAME_MAX];
    int64_t total = 0;

    if (b->src->n_loras == 0 || layout->k == 1)
        return ERNE_OK;
    for (int i = 0; i < layout->n_parts; i++) {
        struct layout_part *part = &layout->parts[i];

        fill_name(name, o->row->parts[i], &o->numbers, false);
        ERNE_TRY(take_loras(b, &part->loras[0], name, part->n, layout->k));
        part->loras[1].first = total;
        total += part->n;
    }
    if (!o->row->fused)
        return ERNE_OK;
    fill_name(name, o->row->fused, &o->numbers, false);
    for (int i = 0; i < layout->n_parts; i++)
        ERNE_TRY(take_loras(b, &layout->parts[i].loras[1], name, total, layout->k));
    return ERNE_OK;
}

/* As it is, or quantised. */
static bool has_fused(const struct source *src, const struct layout *layout,
                      const char *name)
{
    const struct source_tensor *t = source_find(src, name);
    char codes[2 * SOURCE_NAME_MAX];

    if (t) /* a correction bias of all banks has the name of that of the first */
        return !is_router_bias(layout) || t->n * t->k == layout->n;
    snprintf(codes, sizeof(codes), "%.*squant_weight",
             (int)(strrchr(name, '.') + 1 - name), name);
    return layout->k > 1 && source_find(src, codes);
}

static int take_parts(struct builder *b, struct layout *layout, const struct origin *o)
{
    char name[SOURCE_NAME_MAX];

    layout->n_parts = count_parts(b, layout, o->row);
    layout->interleaved = layout->spec.n_ff > 0;
    if (o->row->fused) {
        fill_name(name, o->row->fused, &o->numbers, o->is_bias);
        if (has_fused(b->src, layout, name))
            return take_fused(b, layout, name);
    }
    for (int i = 0; i < layout->n_parts; i++) {
        fill_name(name, o->row->parts[i], &o->numbers, o->is_bias);
        ERNE_TRY(take_part(b, layout, i, name));
    }
    return ERNE_OK;
}

/* ------------------------------------------------------------------ exact */

static bool is_symmetric_blocks(struct erne_scheme s)
{
    return erne_codec_is_int(s.codec) && s.group == BLOCK_CODES && !s.asym;
}

static struct erne_scheme exact_for_all(const struct layout *layout)
{
    const struct source_tensor *t = layout->parts[0].t;
    struct erne_scheme exact = t ? t->type->exact : ERNE_TILE_F32;

    for (int i = 1; i < layout->n_parts; i++) {
        t = layout->parts[i].t;
        const struct erne_scheme part = t ? t->type->exact : ERNE_TILE_F32;

        if (erne_scheme_equal(exact, part))
            continue;
        if (is_symmetric_blocks(exact) && is_symmetric_blocks(part))
            exact =
                (struct erne_scheme){ ERNE_CODEC_W8, ERNE_LAYOUT_TILE64, 0, BLOCK_CODES };
        else
            exact = ERNE_TILE_F32;
    }
    return exact;
}

/* ------------------------------------------------------------------- list */

static int add_layout(void *user, const struct erne_tensor_spec *spec)
{
    const bool is_vector = spec->role == ERNE_ROLE_BIAS || spec->role == ERNE_ROLE_NORM;
    struct builder *b = user;
    struct layout *layout;

    if (b->list->n == b->cap) {
        const size_t cap = b->cap != 0 ? 2 * b->cap : 64;
        struct layout *items = realloc(b->list->items, cap * sizeof(*items));

        if (!items)
            return erne_fail(b->err, ERNE_ENOMEM, "out of memory");
        b->list->items = items;
        b->cap = cap;
    }
    layout = &b->list->items[b->list->n];
    *layout = (struct layout){ .spec = *spec,
                               .n = is_vector ? spec->k : spec->n,
                               .k = is_vector ? 1 : spec->k };
    const struct origin o = find_origin(b->src->desc.arch, spec->name);

    ERNE_TRY(take_parts(b, layout, &o));
    ERNE_TRY(take_all_loras(b, layout, &o));
    layout->exact = exact_for_all(layout);
    if (layout_is_merged(layout) && erne_codec_is_int(layout->exact.codec))
        layout->exact = ERNE_TILE_F32;
    b->list->n++;
    return ERNE_OK;
}

/* Square matrices are stored as the others are. */
static int settle_squares(struct builder *b)
{
    const bool mixed = b->n_as_is != 0 && b->n_transposed != 0;
    const bool transposed = b->n_as_is + b->n_transposed != 0 ? b->n_transposed != 0
                                                              : b->src->has_paddle_names;

    for (size_t i = 0; i < b->list->n; i++)
        for (int p = 0; p < b->list->items[i].n_parts; p++) {
            struct layout_part *part = &b->list->items[i].parts[p];

            if (!part->is_square)
                continue;
            if (mixed)
                return erne_fail(b->err, ERNE_EUNSUPPORTED,
                                 "%s: %s is square: as some matrices of the checkpoint "
                                 "are stored as [out, in] and some as [in, out], it "
                                 "could be either",
                                 b->src->files[part->t->file].path, part->t->stored);
            part->transposed = transposed;
        }
    return ERNE_OK;
}

static int refuse_unused(const struct builder *b)
{
    for (size_t i = 0; i < b->src->n_tensors; i++)
        if (!b->used[i])
            return erne_fail(b->err, ERNE_EUNSUPPORTED,
                             "%s: the tensor %s is not part of a %s model as it is known",
                             b->src->files[b->src->tensors[i].file].path,
                             b->src->tensors[i].stored,
                             erne_arch_name(b->src->desc.arch));
    for (size_t i = 0; i < b->src->n_loras; i++) {
        const struct source_lora *lora = &b->src->loras[i];

        if (!b->lora_used[i])
            return erne_fail(
                b->err, ERNE_EUNSUPPORTED, "%s: %s: the model has no matrix %s",
                lora->from->files[lora->a->file].path, lora->a->stored, lora->name);
    }
    return ERNE_OK;
}

int layout_list_init(struct layout_list *list, const struct source *src,
                     struct erne_error *err)
{
    struct builder b = { .src = src, .list = list, .err = err };
    int st;

    *list = (struct layout_list){ 0 };
    b.used = calloc(src->n_tensors + 1, sizeof(*b.used));
    b.lora_used = calloc(src->n_loras + 1, sizeof(*b.lora_used));
    if (!b.used || !b.lora_used) {
        free(b.used);
        free(b.lora_used);
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    }
    st = erne_model_tensors(&src->desc, add_layout, &b);
    if (st == 0)
        st = refuse_unused(&b);
    if (st == 0)
        st = settle_squares(&b);
    free(b.used);
    free(b.lora_used);
    if (st < 0)
        layout_list_deinit(list);
    return st;
}

void layout_list_deinit(struct layout_list *list)
{
    free(list->items);
    *list = (struct layout_list){ 0 };
}
