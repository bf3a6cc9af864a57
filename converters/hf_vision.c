/* hf_vision.c -- the vision tower in config.json, limits of pictures in
 * preprocessor_config.json, and the special tokens around media. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "converters/hf_config.h"

/* ------------------------------------------------------------ config.json */

/* What the released models have, for files that do not say. */
static const struct erne_vision_desc ernie_defaults = {
    .patch = 14,
    .merge = 2,
    .temporal = 2,
    .eps = 1e-6f,
    .rope_theta = 10000.0f,
    .min_pixels = 56 * 56,
    .max_pixels = 28 * 28 * 6177,
    .video_min_pixels = 299 * 28 * 28,
    .video_max_pixels = 1196 * 28 * 28,
    .mean = { 0.48145466f, 0.4578275f, 0.40821073f },
    .std = { 0.26862954f, 0.26130258f, 0.27577711f },
    .image_token = -1,
    .video_token = -1,
    .image_start = -1,
    .image_end = -1,
    .video_start = -1,
    .video_end = -1,
}, paddleocr_defaults = {
    .patch = 14,
    .merge = 2,
    .temporal = 1,
    .eps = 1e-6f,
    .rope_theta = 10000.0f,
    .min_pixels = 147384,
    .max_pixels = 2822400,
    .mean = { 0.5f, 0.5f, 0.5f },
    .std = { 0.5f, 0.5f, 0.5f },
    .image_token = -1,
    .video_token = -1,
    .image_start = -1,
    .image_end = -1,
    .video_start = -1,
    .video_end = -1,
};

struct erne_vision_desc hf_vision_defaults(enum erne_arch arch)
{
    return arch == ERNE_ARCH_ERNIE45_VL ? ernie_defaults : paddleocr_defaults;
}

struct key {
    const char *name;
    int32_t *value;
};

static int read_keys(const struct json_file *file, const json_t *obj,
                     const struct key *keys, size_t n, struct erne_error *err)
{
    for (size_t i = 0; i < n; i++)
        ERNE_TRY(json_get_int(file, obj, keys[i].name, keys[i].value, err));
    return ERNE_OK;
}

static int read_float(const struct json_file *file, const json_t *obj, const char *key,
                      float *value, struct erne_error *err)
{
    double number = (double)*value;

    ERNE_TRY(json_get_number(file, obj, key, &number, err));
    *value = (float)number;
    return ERNE_OK;
}

/* The activation and three channels are what the graphs are written for. */
static int refuse_variants(const struct json_file *config, const json_t *vision,
                           const char *act, struct erne_error *err)
{
    static const char *const channel_keys[] = { "in_channels", "num_channels",
                                                "in_chans" };
    static const char *const outer[] = { "spatial_conv_size", "temporal_conv_size",
                                         "use_temporal_conv" };
    static const char *const inner[] = { "patch_size",          "spatial_merge_size",
                                         "temporal_merge_size", "mlp_ratio",
                                         "rms_norm_eps",        "layer_norm_eps" };
    const char *found = act;

    ERNE_TRY(json_refuse_nulls(config, NULL, outer, ERNE_ARRAY_LEN(outer), err));
    ERNE_TRY(json_refuse_nulls(config, vision, inner, ERNE_ARRAY_LEN(inner), err));
    ERNE_TRY(json_get_text(config, vision, "hidden_act", &found, err));
    if (strcmp(found, act) != 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: vision_config: hidden_act \"%s\"; only %s is supported",
                         config->path, found, act);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(channel_keys); i++) {
        int32_t n = 3;

        ERNE_TRY(json_get_int(config, vision, channel_keys[i], &n, err));
        if (n != 3)
            return erne_fail(err, ERNE_EUNSUPPORTED,
                             "%s: vision_config: %s = %" PRId32 "; only 3 is supported",
                             config->path, channel_keys[i], n);
    }
    return ERNE_OK;
}

/* DFNRope tower and resampler. Released files have some of it at top level. */
static int read_ernie(struct erne_vision_desc *v, const struct json_file *config,
                      const json_t *vision, struct erne_error *err)
{
    const struct key outer[] = {
        { "spatial_conv_size", &v->merge },
        { "temporal_conv_size", &v->temporal },
        { "im_patch_id", &v->image_token },
        { "image_start_token_id", &v->image_start },
        { "image_end_token_id", &v->image_end },
        { "video_start_token_id", &v->video_start },
        { "video_end_token_id", &v->video_end },
        { "image_token_id", &v->image_token },
        { "video_token_id", &v->video_token },
    };
    const struct key inner[] = {
        { "depth", &v->n_layers },           { "hidden_size", &v->n_embd },
        { "embed_dim", &v->n_embd },         { "num_heads", &v->n_heads },
        { "intermediate_size", &v->n_ff },   { "patch_size", &v->patch },
        { "spatial_merge_size", &v->merge }, { "temporal_merge_size", &v->temporal },
    };
    bool is_temporal = true;
    double mlp_ratio = 4;

    *v = ernie_defaults;
    ERNE_TRY(read_keys(config, NULL, outer, ERNE_ARRAY_LEN(outer), err));
    ERNE_TRY(read_keys(config, vision, inner, ERNE_ARRAY_LEN(inner), err));
    ERNE_TRY(json_get_bool(config, NULL, "use_temporal_conv", &is_temporal, err));
    ERNE_TRY(json_get_number(config, vision, "mlp_ratio", &mlp_ratio, err));
    ERNE_TRY(read_float(config, vision, "rms_norm_eps", &v->eps, err));
    if (v->n_ff == 0 && mlp_ratio > 0 && mlp_ratio <= 64)
        v->n_ff = (int32_t)lround(mlp_ratio * v->n_embd);
    if (!is_temporal)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: use_temporal_conv = false is not supported", config->path);
    return refuse_variants(config, vision, "quick_gelu", err);
}

static int read_paddleocr(struct erne_vision_desc *v, const struct json_file *config,
                          const json_t *vision, struct erne_error *err)
{
    int32_t image_size = 0;
    const struct key outer[] = {
        { "image_token_id", &v->image_token },
        { "vision_start_token_id", &v->image_start },
        { "vision_end_token_id", &v->image_end },
    };
    const struct key inner[] = {
        { "num_hidden_layers", &v->n_layers },
        { "hidden_size", &v->n_embd },
        { "num_attention_heads", &v->n_heads },
        { "intermediate_size", &v->n_ff },
        { "patch_size", &v->patch },
        { "image_size", &image_size },
        { "spatial_merge_size", &v->merge },
    };

    *v = paddleocr_defaults;
    ERNE_TRY(read_keys(config, NULL, outer, ERNE_ARRAY_LEN(outer), err));
    ERNE_TRY(read_keys(config, vision, inner, ERNE_ARRAY_LEN(inner), err));
    ERNE_TRY(read_float(config, vision, "layer_norm_eps", &v->eps, err));
    if (image_size < 1 || v->patch < 1 || image_size / v->patch < 1)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: vision_config: image_size is missing or smaller than a "
                         "patch",
                         config->path);
    v->n_side = image_size / v->patch;
    return refuse_variants(config, vision, "gelu_pytorch_tanh", err);
}

static int check_sizes(const struct erne_vision_desc *v, enum erne_arch arch,
                       const struct json_file *config, struct erne_error *err)
{
    const bool is_ernie = arch == ERNE_ARCH_ERNIE45_VL;

    ERNE_TRY(hf_check_size(
        config, is_ernie ? "vision_config: depth" : "vision_config: num_hidden_layers",
        v->n_layers, err));
    ERNE_TRY(hf_check_size(config, "vision_config: hidden_size", v->n_embd, err));
    ERNE_TRY(hf_check_size(config,
                           is_ernie ? "vision_config: num_heads"
                                    : "vision_config: num_attention_heads",
                           v->n_heads, err));
    return hf_check_size(config, "vision_config: intermediate_size", v->n_ff, err);
}

int hf_vision_read(struct erne_model_desc *desc, const struct json_file *config,
                   struct erne_error *err)
{
    struct erne_vision_desc *v = &desc->vision;
    const json_t *vision = NULL, *rope = NULL;

    ERNE_TRY(json_get_object(config, NULL, "vision_config", &vision, err));
    if (!vision)
        return erne_fail(err, ERNE_EFORMAT, "%s: no vision_config", config->path);
    ERNE_TRY(desc->arch == ERNE_ARCH_ERNIE45_VL ? read_ernie(v, config, vision, err)
                                                : read_paddleocr(v, config, vision, err));
    ERNE_TRY(json_get_object(config, vision, "rope_parameters", &rope, err));
    if (rope)
        ERNE_TRY(read_float(config, rope, "rope_theta", &v->rope_theta, err));
    return check_sizes(v, desc->arch, config, err);
}

/* ----------------------------------------------- preprocessor_config.json */

static int read_triple(const struct json_file *file, const json_t *obj, const char *key,
                       float triple[3], struct erne_error *err)
{
    const json_t *list = json_object_get(obj, key);

    if (!list || json_is_null(list))
        return ERNE_OK;
    if (json_array_size(list) != 3)
        return erne_fail(err, ERNE_EFORMAT, "%s: %s: expected 3 numbers", file->path,
                         key);
    for (size_t i = 0; i < 3; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return erne_fail(err, ERNE_EFORMAT, "%s: %s: expected 3 numbers", file->path,
                             key);
        triple[i] = (float)json_number_value(json_array_get(list, i));
    }
    return ERNE_OK;
}

static int read_limits(const struct json_file *file, const json_t *obj, int32_t *min,
                       int32_t *max, struct erne_error *err)
{
    const struct key keys[] = { { "shortest_edge", min },
                                { "longest_edge", max },
                                { "min_pixels", min },
                                { "max_pixels", max } };
    const json_t *size = json_object_get(obj, "size");

    if (json_is_object(size))
        ERNE_TRY(read_keys(file, size, keys, ERNE_ARRAY_LEN(keys), err));
    return read_keys(file, obj, keys + 2, 2, err);
}

static int read_image_processor(struct erne_vision_desc *v, const struct json_file *file,
                                const json_t *obj, struct erne_error *err)
{
    int32_t patch = v->patch, merge = v->merge;
    const struct key keys[] = { { "patch_size", &patch }, { "merge_size", &merge } };

    ERNE_TRY(read_keys(file, obj, keys, ERNE_ARRAY_LEN(keys), err));
    if (patch != v->patch || merge != v->merge)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: patches of %" PRId32 " merged by %" PRId32
                         "; config.json has %" PRId32 " and %" PRId32,
                         file->path, patch, merge, v->patch, v->merge);
    ERNE_TRY(read_triple(file, obj, "image_mean", v->mean, err));
    ERNE_TRY(read_triple(file, obj, "image_std", v->std, err));
    return read_limits(file, obj, &v->min_pixels, &v->max_pixels, err);
}

int hf_preprocessor_read(struct erne_vision_desc *vision, const struct json_file *file,
                         struct erne_error *err)
{
    const json_t *image = json_object_get(file->root, "image_processor");
    const json_t *video = json_object_get(file->root, "video_processor");

    ERNE_TRY(read_image_processor(vision, file,
                                  json_is_object(image) ? image : file->root, err));
    if (!json_is_object(video) || vision->temporal == 1)
        return ERNE_OK;
    return read_limits(file, video, &vision->video_min_pixels, &vision->video_max_pixels,
                       err);
}

/* --------------------------------------------------------- special tokens */

/* -1 when there is none. */
static int32_t find_token(const struct erne_vocab *vocab, const char *name)
{
    const size_t n = strlen(name);

    for (uint32_t id = 0; id < vocab->n_tokens; id++)
        if (vocab->tokens[id].n_bytes == n &&
            memcmp(vocab->tokens[id].text, name, n) == 0)
            return (int32_t)id;
    return -1;
}

int hf_vision_tokens(struct source *src, const char *dir, const struct source_opts *opts,
                     struct erne_error *err)
{
    struct erne_vision_desc *v = &src->desc.vision;
    const struct {
        const char *name;
        int32_t *id;
        bool is_video;
    } tokens[] = {
        { "<|IMAGE_PLACEHOLDER|>", &v->image_token, false },
        { "<|IMAGE_START|>", &v->image_start, false },
        { "<|IMAGE_END|>", &v->image_end, false },
        { "<|VIDEO_PLACEHOLDER|>", &v->video_token, true },
        { "<|VIDEO_START|>", &v->video_start, true },
        { "<|VIDEO_END|>", &v->video_end, true },
    };

    if (v->n_layers == 0)
        return ERNE_OK;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(tokens); i++) {
        const int32_t said = *tokens[i].id;
        const int32_t id = tokens[i].is_video && v->temporal == 1
                               ? -1
                               : find_token(&src->vocab, tokens[i].name);

        if (said >= 0 && id >= 0 && id != said && i == 0)
            return erne_fail(err, ERNE_EFORMAT,
                             "%s: config.json says that images are token %" PRId32
                             ", but %s is %" PRId32 " in the vocabulary",
                             dir, said, tokens[i].name, id);
        if (said >= 0 && id >= 0 && id != said)
            source_note(opts, ERNE_LOG_WARN,
                        "%s is token %" PRId32 ", not %" PRId32 " as config.json says",
                        tokens[i].name, id, said);
        if (id >= 0 || tokens[i].is_video)
            *tokens[i].id = id;
    }
    if (v->image_token < 0 && src->is_outline) /* sizes do not depend on it */
        v->image_token = 0;
    if (v->image_token < 0)
        return erne_fail(err, ERNE_EFORMAT, "%s: no token %s", dir, tokens[0].name);
    if (v->temporal > 1 && v->video_token < 0)
        v->video_token = v->image_token; /* released models have one for both */
    return ERNE_OK;
}
