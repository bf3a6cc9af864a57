/* hf_config.c -- config.json of a Hugging Face model folder: architecture, shapes and
 * constants of the language model. Experts are in hf_moe.c, the vision tower in
 * hf_vision.c. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "converters/hf_config.h"
#include "converters/paddle_quant.h"

int hf_check_size(const struct json_file *file, const char *key, int32_t value,
                  struct erne_error *err)
{
    if (value >= 1)
        return ERNE_OK;
    return erne_fail(err, ERNE_EFORMAT, "%s: %s is missing or not positive", file->path,
                     key);
}

/* Members that must be there, and where they go. */
static int read_sizes(struct erne_model_desc *desc, const struct hf_object *text,
                      struct erne_error *err)
{
    const struct {
        const char *key;
        int32_t *value;
    } sizes[] = {
        { "hidden_size", &desc->n_embd },
        { "num_hidden_layers", &desc->n_layers },
        { "num_attention_heads", &desc->n_heads },
        { "intermediate_size", &desc->n_ff },
        { "vocab_size", &desc->n_vocab },
        { "max_position_embeddings", &desc->n_ctx_train },
    };
    const struct json_file *file = text->file;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(sizes); i++) {
        ERNE_TRY(json_get_int(file, text->obj, sizes[i].key, sizes[i].value, err));
        ERNE_TRY(hf_check_size(file, sizes[i].key, *sizes[i].value, err));
    }
    ERNE_TRY(
        json_get_int(file, text->obj, "num_key_value_heads", &desc->n_kv_heads, err));
    ERNE_TRY(json_get_int(file, text->obj, "head_dim", &desc->head_dim, err));
    if (desc->n_kv_heads == 0)
        desc->n_kv_heads = desc->n_heads;
    if (desc->head_dim == 0)
        desc->head_dim = desc->n_embd / desc->n_heads;
    return ERNE_OK;
}

/* ------------------------------------------------------------------- rope */

/* Pairs of a head by axis. transformers gives ERNIE's as height, width, time (its model
 * code splits the frequencies so), PaddleOCR-VL's as time, height, width. */
static int read_sections(struct erne_model_desc *desc, const struct json_file *file,
                         const json_t *list, struct erne_error *err)
{
    const bool is_ernie = desc->arch == ERNE_ARCH_ERNIE45_VL;

    if (!json_is_array(list) || json_array_size(list) != ERNE_ROPE_AXES)
        return erne_fail(err, ERNE_EFORMAT, "%s: mrope_section: expected 3 integers",
                         file->path);
    for (size_t i = 0; i < ERNE_ROPE_AXES; i++) {
        const json_t *n = json_array_get(list, i);

        if (!json_is_integer(n) || json_integer_value(n) < 0 ||
            json_integer_value(n) > desc->head_dim)
            return erne_fail(err, ERNE_EFORMAT,
                             "%s: mrope_section: item %zu is not in 0 .. %" PRId32,
                             file->path, i, desc->head_dim);
        desc->rope_sections[is_ernie ? (i + 1) % 3 : i] = (int32_t)json_integer_value(n);
    }
    return ERNE_OK;
}

/* The released ERNIE models say how many pairs turn by time; height and width share the
 * others. */
static int read_freq_allocation(struct erne_model_desc *desc,
                                const struct hf_object *text, struct erne_error *err)
{
    int32_t n_time = 20;
    bool is_3d = true;

    ERNE_TRY(json_get_bool(text->file, text->obj, "rope_3d", &is_3d, err));
    ERNE_TRY(json_get_int(text->file, text->obj, "freq_allocation", &n_time, err));
    if (!is_3d)
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: rope_3d = false is not supported",
                         text->file->path);
    if (n_time < 1 || n_time >= desc->head_dim / 2)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: freq_allocation is %" PRId32 ", not in 1 .. %" PRId32,
                         text->file->path, n_time, desc->head_dim / 2 - 1);
    desc->rope_sections[0] = n_time;
    desc->rope_sections[1] = desc->rope_sections[2] = (desc->head_dim / 2 - n_time) / 2;
    return ERNE_OK;
}

static bool is_known_rope(const char *type, bool is_vl)
{
    return strcmp(type, "default") == 0 || (is_vl && strcmp(type, "mrope") == 0);
}

/* transformers 5 writes rope_parameters, older ones rope_theta and rope_scaling. */
static int read_rope(struct erne_model_desc *desc, const struct hf_object *text,
                     struct erne_error *err)
{
    static const char *const objects[] = { "rope_parameters", "rope_scaling" };
    const bool is_vl = desc->vision.n_layers != 0;
    const struct json_file *file = text->file;
    const json_t *sections = NULL;
    double theta = 500000; /* what transformers' classes have, of all kinds */

    ERNE_TRY(json_get_number(file, text->obj, "rope_theta", &theta, err));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(objects); i++) {
        const json_t *rope = NULL;
        const char *type = "default";

        ERNE_TRY(json_get_object(file, text->obj, objects[i], &rope, err));
        if (!rope)
            continue;
        ERNE_TRY(json_get_number(file, rope, "rope_theta", &theta, err));
        ERNE_TRY(json_get_text(file, rope, "type", &type, err));
        ERNE_TRY(json_get_text(file, rope, "rope_type", &type, err));
        if (!is_known_rope(type, is_vl))
            return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s: rope type \"%s\"",
                             file->path, objects[i], type);
        if (json_object_get(rope, "mrope_section"))
            sections = json_object_get(rope, "mrope_section");
    }
    if (!(theta > 0 && theta < 1e30))
        return erne_fail(err, ERNE_EFORMAT, "%s: rope_theta is not positive", file->path);
    desc->rope_theta = (float)theta;
    if (!is_vl)
        return ERNE_OK;
    if (sections)
        return read_sections(desc, file, sections, err);
    if (desc->arch == ERNE_ARCH_ERNIE45_VL)
        return read_freq_allocation(desc, text, err);
    return erne_fail(err, ERNE_EFORMAT, "%s: rope_scaling has no mrope_section",
                     file->path);
}

/* --------------------------------------------------------------- variants */

int hf_refuse_numbers(const struct hf_object *text, const struct hf_number *numbers,
                      size_t n, struct erne_error *err)
{
    for (size_t i = 0; i < n; i++) {
        double value = numbers[i].value;

        ERNE_TRY(json_get_number(text->file, text->obj, numbers[i].key, &value, err));
        if (value < numbers[i].value || value > numbers[i].value)
            return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s = %g; only %g is supported",
                             text->file->path, numbers[i].key, value, numbers[i].value);
    }
    return ERNE_OK;
}

/* Other models of the same classes, and configurations that no class accepts. */
static int refuse_variants(const struct hf_object *text, struct erne_error *err)
{
    static const struct hf_number numbers[] = { { "compression_ratio", 1 },
                                                { "scale_qk_coeff", 1 } };
    static const char *const given[] = { "rms_norm_eps", "tie_word_embeddings",
                                         "freq_allocation", "rope_3d" };
    const struct json_file *file = text->file;
    const char *act = "silu";

    ERNE_TRY(json_refuse_nulls(file, text->obj, given, ERNE_ARRAY_LEN(given), err));
    ERNE_TRY(hf_refuse_numbers(text, numbers, ERNE_ARRAY_LEN(numbers), err));
    ERNE_TRY(json_get_text(file, text->obj, "hidden_act", &act, err));
    if (strcmp(act, "silu") != 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: hidden_act \"%s\"; only silu is supported", file->path,
                         act);
    return ERNE_OK;
}

/* Of quantised releases, some kinds of Paddle's are read. */
static int check_quantised(const struct json_file *config, struct erne_error *err)
{
    static const char *const key = "quantization_config";
    const json_t *quant = NULL;
    const char *type = NULL;

    ERNE_TRY(json_get_object(config, NULL, key, &quant, err));
    if (!quant)
        return ERNE_OK;
    ERNE_TRY(json_get_text(config, quant, "quantization", &type, err));
    ERNE_TRY(json_get_text(config, quant, "moe_quant_type", &type, err));
    if (type)
        return paddle_quant_check(type, config->path, err);
    return erne_fail(err, ERNE_EUNSUPPORTED,
                     "%s: the weights are quantised already (%s); take the unquantised "
                     "checkpoint",
                     config->path, key);
}

/* ----------------------------------------------------------- architecture */

/* model_type where it is given, else the first architecture. */
static int read_architecture(enum erne_arch *arch, const struct json_file *config,
                             struct erne_error *err)
{
    static const struct {
        const char *name;
        enum erne_arch arch;
    } known[] = {
        { "ernie4_5", ERNE_ARCH_ERNIE45 },
        { "Ernie4_5ForCausalLM", ERNE_ARCH_ERNIE45 },
        { "Ernie4_5_ForCausalLM", ERNE_ARCH_ERNIE45 },
        { "ernie4_5_moe", ERNE_ARCH_ERNIE45_MOE },
        { "Ernie4_5_MoeForCausalLM", ERNE_ARCH_ERNIE45_MOE },
        { "ernie4_5_moe_vl", ERNE_ARCH_ERNIE45_VL },
        { "ernie4_5_vl_moe", ERNE_ARCH_ERNIE45_VL },
        { "Ernie4_5_VLMoeForConditionalGeneration", ERNE_ARCH_ERNIE45_VL },
        { "paddleocr_vl", ERNE_ARCH_PADDLEOCR_VL },
        { "PaddleOCRVLForConditionalGeneration", ERNE_ARCH_PADDLEOCR_VL },
    };
    const json_t *classes = json_object_get(config->root, "architectures");
    const char *name = json_string_value(json_array_get(classes, 0));

    ERNE_TRY(json_get_text(config, NULL, "model_type", &name, err));
    if (!name)
        return erne_fail(err, ERNE_EFORMAT, "%s: neither model_type nor architectures",
                         config->path);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(known); i++)
        if (strcmp(name, known[i].name) == 0) {
            *arch = known[i].arch;
            return ERNE_OK;
        }
    return erne_fail(err, ERNE_EUNSUPPORTED,
                     "%s: %s is not a model of the ERNIE 4.5 "
                     "family",
                     config->path, name);
}

/* What config.json calls what a description has; the second key is PaddleOCR-VL's. */
static const struct {
    const char *field, *key, *ocr_key;
} key_names[] = {
    { "layers", "num_hidden_layers", NULL },
    { "heads", "num_attention_heads", NULL },
    { "kv_heads", "num_key_value_heads", NULL },
    { "ffn_size", "intermediate_size", NULL },
    { "context", "max_position_embeddings", NULL },
    { "rms_eps", "rms_norm_eps", NULL },
    { "moe.experts", "moe_num_experts", NULL },
    { "moe.experts_used", "moe_k", NULL },
    { "moe.first_layer", "moe_layer_start_index", NULL },
    { "moe.interval", "moe_layer_interval", NULL },
    { "moe.norm_min", "moe_norm_min", NULL },
    { "vision.heads", "vision_config: num_heads", "vision_config: num_attention_heads" },
    { "vision.patch", "vision_config: patch_size", NULL },
    { "vision.merge", "spatial_merge_size or spatial_conv_size", NULL },
    { "vision.temporal_merge", "temporal_merge_size or temporal_conv_size", NULL },
    { "vision.position_side", "vision_config: image_size / patch_size", NULL },
    { "vision.eps", "vision_config: rms_norm_eps", "vision_config: layer_norm_eps" },
};

void hf_name_key(enum erne_arch arch, struct erne_error *err)
{
    const size_t n = strcspn(err->text, " ");
    struct erne_error named = *err;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(key_names); i++) {
        const bool is_ocr = arch == ERNE_ARCH_PADDLEOCR_VL && key_names[i].ocr_key;

        if (strlen(key_names[i].field) == n &&
            memcmp(key_names[i].field, err->text, n) == 0)
            snprintf(named.text, sizeof(named.text), "config.json: %s%.*s",
                     is_ocr ? key_names[i].ocr_key : key_names[i].key,
                     (int)(sizeof(named.text) - n), err->text + n);
    }
    *err = named;
}

void hf_add_stops(struct source *src, const json_t *ids)
{
    if (json_is_integer(ids))
        source_add_stop(src, json_integer_value(ids));
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (json_is_integer(json_array_get(ids, i)))
            source_add_stop(src, json_integer_value(json_array_get(ids, i)));
}

/* Without weights, the type that the configuration names. */
static int read_dtype(struct source *src, const struct hf_object *text,
                      struct erne_error *err)
{
    static const char *const keys[] = { "torch_dtype", "dtype" };
    static const struct {
        const char *name, *type;
    } types[] = { { "bfloat16", "BF16" }, { "float16", "F16" }, { "float32", "F32" } };
    const char *name = "bfloat16";

    for (size_t i = 0; i < ERNE_ARRAY_LEN(keys); i++) {
        ERNE_TRY(json_get_text(text->file, NULL, keys[i], &name, err));
        ERNE_TRY(json_get_text(text->file, text->obj, keys[i], &name, err));
    }
    for (size_t i = 0; i < ERNE_ARRAY_LEN(types); i++)
        if (strcmp(name, types[i].name) == 0) {
            source_make_outline(src, block_type_by_name(types[i].type));
            return ERNE_OK;
        }
    return erne_fail(err, ERNE_EUNSUPPORTED, "%s: weights of type %s", text->file->path,
                     name);
}

/* What is not in text_config may still be at top level. */
static int read_tied(struct source *src, const struct hf_object *text,
                     struct erne_error *err)
{
    static const char *const key = "tie_word_embeddings";

    src->says_tied = true; /* the default of the configuration classes */
    ERNE_TRY(json_get_bool(text->file, NULL, key, &src->says_tied, err));
    return json_get_bool(text->file, text->obj, key, &src->says_tied, err);
}

int hf_config_read(struct source *src, const struct json_file *config,
                   struct erne_error *err)
{
    struct hf_object text = { .file = config };
    struct erne_model_desc *desc = &src->desc;
    double eps = 1e-5;

    ERNE_TRY(json_get_object(config, NULL, "text_config", &text.obj, err));
    ERNE_TRY(read_architecture(&desc->arch, config, err));
    ERNE_TRY(refuse_variants(&text, err));
    ERNE_TRY(check_quantised(config, err));
    ERNE_TRY(read_sizes(desc, &text, err));
    if (desc->arch == ERNE_ARCH_ERNIE45_MOE || desc->arch == ERNE_ARCH_ERNIE45_VL)
        ERNE_TRY(hf_moe_read(desc, &text, err));
    if (desc->arch == ERNE_ARCH_ERNIE45_VL || desc->arch == ERNE_ARCH_PADDLEOCR_VL)
        ERNE_TRY(hf_vision_read(desc, config, err));
    ERNE_TRY(read_rope(desc, &text, err));
    ERNE_TRY(json_get_number(config, text.obj, "rms_norm_eps", &eps, err));
    desc->rms_eps = (float)eps;
    ERNE_TRY(json_get_bool(config, text.obj, "use_bias", &desc->use_bias, err));
    ERNE_TRY(read_tied(src, &text, err));
    if (src->is_outline) {
        ERNE_TRY(read_dtype(src, &text, err));
        desc->tied = src->says_tied;
    }
    hf_add_stops(src, json_object_get(config->root, "eos_token_id"));
    hf_add_stops(src, json_object_get(text.obj, "eos_token_id"));
    return ERNE_OK;
}
