/* hf_moe.c -- mixtures of experts in config.json. Released files of models with vision
 * have pairs, text first, where text models have numbers; transformers writes one number
 * for both, and the layers as a list. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "converters/hf_config.h"

static const json_t *member(const struct hf_object *text, const char *key)
{
    const json_t *value = json_object_get(text->obj ? text->obj : text->file->root, key);

    return json_is_null(value) ? NULL : value;
}

/* A number, or a list of one or two; a single one stands for both. Absent and null leave
 * the values alone. */
static int read_pair(const struct hf_object *text, const char *key, int32_t pair[2],
                     struct erne_error *err)
{
    const json_t *value = member(text, key);
    const size_t n = json_array_size(value);

    if (!value)
        return ERNE_OK;
    for (size_t i = 0; i < 2; i++) {
        const json_t *item =
            json_is_array(value) ? json_array_get(value, i < n ? i : 0) : value;

        if (n > 2 || !json_is_integer(item) || json_integer_value(item) < INT32_MIN ||
            json_integer_value(item) > INT32_MAX)
            return erne_fail(err, ERNE_EFORMAT,
                             "%s: %s: expected an integer, or one or two in a list",
                             text->file->path, key);
        pair[i] = (int32_t)json_integer_value(item);
    }
    return ERNE_OK;
}

/* ----------------------------------------------------------------- layers */

/* Whether first, last and interval can say which layers have experts; sets them. */
static bool find_pattern(struct erne_moe_desc *moe, const char *layers)
{
    const char *first = strchr(layers, 'e');
    const char *second = first ? strchr(first + 1, 'e') : NULL;

    if (!first)
        return false;
    moe->first = (int32_t)(first - layers);
    moe->last = (int32_t)(strrchr(layers, 'e') - layers);
    moe->interval = second ? (int32_t)(second - first) : 1;
    for (int32_t i = moe->first; i <= moe->last; i++)
        if ((layers[i] == 'e') != ((i + 1) % moe->interval == 0))
            return false;
    return true;
}

/* transformers: "dense" or "sparse" for each layer. */
static int read_layer_types(struct erne_model_desc *desc, const struct hf_object *text,
                            const json_t *types, struct erne_error *err)
{
    struct erne_moe_desc *moe = &desc->moe;
    const size_t n = (size_t)desc->n_layers;

    if (json_array_size(types) != n)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: mlp_layer_types: expected a list of %" PRId32 " texts",
                         text->file->path, desc->n_layers);
    moe->layers = calloc(n + 1, 1);
    if (!moe->layers)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", text->file->path);
    for (size_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(types, i));

        if (!type || (strcmp(type, "dense") != 0 && strcmp(type, "sparse") != 0))
            return erne_fail(err, ERNE_EUNSUPPORTED,
                             "%s: mlp_layer_types: layer %zu is neither \"dense\" nor "
                             "\"sparse\"",
                             text->file->path, i);
        moe->layers[i] = strcmp(type, "sparse") == 0 ? 'e' : 'd';
    }
    if (find_pattern(moe, moe->layers)) {
        free(moe->layers);
        moe->layers = NULL;
        return ERNE_OK;
    }
    moe->first = 0;
    moe->last = desc->n_layers - 1;
    moe->interval = 1;
    return ERNE_OK;
}

/* Released files: a range for each bank, the end -1 or beyond the last layer. */
static int read_layer_range(struct erne_model_desc *desc, const struct hf_object *text,
                            struct erne_error *err)
{
    struct erne_moe_desc *moe = &desc->moe;
    int32_t start[2] = { 0, 0 }, end[2] = { -1, -1 };

    moe->interval = 1;
    ERNE_TRY(read_pair(text, "moe_layer_start_index", start, err));
    ERNE_TRY(read_pair(text, "moe_layer_end_index", end, err));
    ERNE_TRY(
        json_get_int(text->file, text->obj, "moe_layer_interval", &moe->interval, err));
    for (int i = 0; i < 2; i++)
        if (end[i] < 0 || end[i] >= desc->n_layers)
            end[i] = desc->n_layers - 1;
    if (start[0] != start[1] || end[0] != end[1])
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: layers with experts for one kind of token only "
                         "(moe_layer_start_index, moe_layer_end_index)",
                         text->file->path);
    moe->first = start[0];
    moe->last = end[0];
    if (moe->first > moe->last && desc->n_layers < INT32_MAX) { /* all are dense */
        moe->first = moe->last = 0;
        moe->interval = desc->n_layers + 1;
    }
    return ERNE_OK;
}

/* --------------------------------------------------------------- variants */

/* Other ways to choose experts and to weigh them. */
static int refuse_variants(const struct hf_object *text, struct erne_error *err)
{
    static const struct hf_number numbers[] = { { "routed_scaling_factor", 1 },
                                                { "moe_routed_scaling_factor", 1 },
                                                { "n_group", 1 },
                                                { "topk_group", 1 } };
    static const char *const given[] = { "moe_norm_min", "moe_norm_gate_logits",
                                         "moe_layer_interval" };
    const struct json_file *file = text->file;
    const char *act = "softmax";
    bool norm = true;

    ERNE_TRY(json_refuse_nulls(file, text->obj, given, ERNE_ARRAY_LEN(given), err));
    ERNE_TRY(json_get_text(file, text->obj, "moe_gate_act", &act, err));
    if (strcmp(act, "softmax") != 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: moe_gate_act \"%s\"; only softmax is supported", file->path,
                         act);
    ERNE_TRY(json_get_bool(file, text->obj, "moe_norm_gate_logits", &norm, err));
    if (!norm)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: moe_norm_gate_logits = false is not supported", file->path);
    return hf_refuse_numbers(text, numbers, ERNE_ARRAY_LEN(numbers), err);
}

int hf_moe_read(struct erne_model_desc *desc, const struct hf_object *text,
                struct erne_error *err)
{
    const bool is_vl = desc->arch == ERNE_ARCH_ERNIE45_VL;
    struct erne_moe_desc *moe = &desc->moe;
    int32_t n_experts[2] = { 0, 0 }, n_ff[2] = { 0, 0 }, n_shared = 0;
    double norm_min = 1e-12;
    const json_t *types = member(text, "mlp_layer_types");

    ERNE_TRY(refuse_variants(text, err));
    ERNE_TRY(read_pair(text, "moe_num_experts", n_experts, err));
    ERNE_TRY(read_pair(text, "moe_intermediate_size", n_ff, err));
    ERNE_TRY(json_get_int(text->file, text->obj, "moe_k", &moe->n_used, err));
    ERNE_TRY(
        json_get_int(text->file, text->obj, "moe_num_shared_experts", &n_shared, err));
    ERNE_TRY(json_get_number(text->file, text->obj, "moe_norm_min", &norm_min, err));
    ERNE_TRY(hf_check_size(text->file, "moe_num_experts", n_experts[0], err));
    ERNE_TRY(hf_check_size(text->file, "moe_intermediate_size",
                           n_ff[0] < n_ff[1] ? n_ff[0] : n_ff[1], err));
    ERNE_TRY(hf_check_size(text->file, "moe_k", moe->n_used, err));
    if (n_experts[0] != n_experts[1])
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: moe_num_experts: %" PRId32 " experts for text and %" PRId32
                         " for vision; only as many of each are supported",
                         text->file->path, n_experts[0], n_experts[1]);
    if (n_shared < 0 || (int64_t)n_shared * n_ff[0] > INT32_MAX)
        return erne_fail(err, ERNE_EFORMAT, "%s: moe_num_shared_experts is %" PRId32,
                         text->file->path, n_shared);
    moe->n_experts = n_experts[0];
    moe->n_ff = n_ff[0];
    moe->n_ff_vision = is_vl ? n_ff[1] : 0;
    moe->n_ff_shared = n_shared * n_ff[0];
    moe->norm_min = (float)norm_min;
    return types ? read_layer_types(desc, text, types, err)
                 : read_layer_range(desc, text, err);
}
