/* model_desc.c -- architecture names, and what every model description must satisfy.
 * Its way into a file and back is manifest.c; the tensors it implies, model_spec.c. */
#include "runtime/model_desc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const arch_names[ERNE_ARCH_COUNT] = {
#define X(NAME, name) #name,
    ERNE_ARCH_LIST(X)
#undef X
};

const char *erne_arch_name(enum erne_arch arch)
{
    return arch_names[arch];
}

int erne_arch_parse(enum erne_arch *out, const char *name)
{
    for (size_t i = 0; i < ERNE_ARRAY_LEN(arch_names); i++)
        if (strcmp(arch_names[i], name) == 0) {
            *out = (enum erne_arch)i;
            return ERNE_OK;
        }
    return ERNE_EUNSUPPORTED;
}

void erne_model_desc_deinit(struct erne_model_desc *desc)
{
    erne_chat_desc_deinit(&desc->chat);
    free(desc->moe.layers);
    free(desc->name);
    free(desc->license);
    free(desc->source);
    free(desc->source_format);
    free(desc->calibration);
    free(desc->scheme);
    free(desc->device.name);
    free(desc->device.kv_type);
    memset(desc, 0, sizeof(*desc));
}

/* ------------------------------------------------------------------ check */

/* Layers end here: a manifest of a few bytes cannot ask for gigabytes of graph. */
enum { MAX_LAYERS = 4096, MAX_HEAD_DIM = 256, MAX_EXPERTS = 4096 };

/* Errors begin with the field as a manifest has it, for readers that know it by another
 * name. */
static int check_range(struct erne_error *err, const char *field, int32_t value,
                       int32_t least, int32_t most)
{
    if (value >= least && value <= most)
        return ERNE_OK;
    return erne_fail(err, ERNE_EFORMAT, "%s is %d, not in %d .. %d", field, (int)value,
                     (int)least, (int)most);
}

static int check_sizes(const struct erne_model_desc *desc, struct erne_error *err)
{
    const struct {
        const char *field;
        int32_t value;
    } sizes[] = {
        { "hidden_size", desc->n_embd },  { "heads", desc->n_heads },
        { "kv_heads", desc->n_kv_heads }, { "head_dim", desc->head_dim },
        { "ffn_size", desc->n_ff },       { "vocab_size", desc->n_vocab },
        { "context", desc->n_ctx_train },
    };

    ERNE_TRY(check_range(err, "layers", desc->n_layers, 1, MAX_LAYERS));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(sizes); i++)
        ERNE_TRY(check_range(err, sizes[i].field, sizes[i].value, 1, ERNE_SIZE_MAX));
    if (desc->head_dim > MAX_HEAD_DIM || desc->head_dim % 2 != 0)
        return erne_fail(err, ERNE_EFORMAT, "head_dim is %d, not an even number up to %d",
                         (int)desc->head_dim, MAX_HEAD_DIM);
    if (desc->n_heads % desc->n_kv_heads != 0)
        return erne_fail(err, ERNE_EFORMAT,
                         "kv_heads is %d, of which %d heads are no multiple",
                         (int)desc->n_kv_heads, (int)desc->n_heads);
    if ((int64_t)desc->n_heads * desc->head_dim > ERNE_SIZE_MAX)
        return erne_fail(err, ERNE_EFORMAT, "heads is %d, of %d: more than %d wide",
                         (int)desc->n_heads, (int)desc->head_dim, ERNE_SIZE_MAX);
    return ERNE_OK;
}

static int check_moe(const struct erne_model_desc *desc, struct erne_error *err)
{
    const struct erne_moe_desc *moe = &desc->moe;

    if (moe->n_experts == 0)
        return ERNE_OK;
    ERNE_TRY(check_range(err, "moe.experts", moe->n_experts, 1, MAX_EXPERTS));
    ERNE_TRY(check_range(err, "moe.experts_used", moe->n_used, 1, moe->n_experts));
    ERNE_TRY(check_range(err, "moe.ffn_size", moe->n_ff, 1, ERNE_SIZE_MAX));
    ERNE_TRY(check_range(err, "moe.vision_ffn_size", moe->n_ff_vision, 0, ERNE_SIZE_MAX));
    ERNE_TRY(check_range(err, "moe.shared_ffn_size", moe->n_ff_shared, 0, ERNE_SIZE_MAX));
    ERNE_TRY(check_range(err, "moe.first_layer", moe->first, 0, desc->n_layers - 1));
    ERNE_TRY(
        check_range(err, "moe.last_layer", moe->last, moe->first, desc->n_layers - 1));
    ERNE_TRY(check_range(err, "moe.interval", moe->interval, 1, MAX_LAYERS));
    if (moe->layers && (strlen(moe->layers) != (size_t)desc->n_layers ||
                        strspn(moe->layers, "ed") != (size_t)desc->n_layers))
        return erne_fail(err, ERNE_EFORMAT, "moe.layers is not %d letters, e or d",
                         (int)desc->n_layers);
    if (!(moe->norm_min >= 0.0f && moe->norm_min < 1.0f))
        return erne_fail(err, ERNE_EFORMAT, "moe.norm_min is %g, not in 0 .. 1",
                         (double)moe->norm_min);
    return ERNE_OK;
}

static int check_vision_tokens(const struct erne_model_desc *desc, struct erne_error *err)
{
    const struct erne_vision_desc *v = &desc->vision;
    const struct {
        const char *field;
        int32_t id, least;
    } tokens[] = {
        { "vision.tokens.image", v->image_token, 0 },
        { "vision.tokens.video", v->video_token, v->temporal > 1 ? 0 : -1 },
        { "vision.tokens.image_start", v->image_start, -1 },
        { "vision.tokens.image_end", v->image_end, -1 },
        { "vision.tokens.video_start", v->video_start, -1 },
        { "vision.tokens.video_end", v->video_end, -1 },
    };

    for (size_t i = 0; i < ERNE_ARRAY_LEN(tokens); i++)
        ERNE_TRY(check_range(err, tokens[i].field, tokens[i].id, tokens[i].least,
                             desc->n_vocab - 1));
    return ERNE_OK;
}

static int check_pixels(const struct erne_vision_desc *v, struct erne_error *err)
{
    ERNE_TRY(check_range(err, "vision.min_pixels", v->min_pixels, 1, INT32_MAX));
    ERNE_TRY(
        check_range(err, "vision.max_pixels", v->max_pixels, v->min_pixels, INT32_MAX));
    if (v->temporal > 1) {
        ERNE_TRY(check_range(err, "vision.video_min_pixels", v->video_min_pixels, 1,
                             INT32_MAX));
        ERNE_TRY(check_range(err, "vision.video_max_pixels", v->video_max_pixels,
                             v->video_min_pixels, INT32_MAX));
    }
    for (int c = 0; c < 3; c++)
        if (!isfinite(v->mean[c]) || !(v->std[c] > 0.0f && isfinite(v->std[c])))
            return erne_fail(err, ERNE_EFORMAT,
                             "vision.mean %g and vision.std %g do not normalise",
                             (double)v->mean[c], (double)v->std[c]);
    return ERNE_OK;
}

static int check_vision(const struct erne_model_desc *desc, struct erne_error *err)
{
    const struct erne_vision_desc *v = &desc->vision;

    if (v->n_layers == 0)
        return ERNE_OK;
    ERNE_TRY(check_range(err, "vision.layers", v->n_layers, 1, MAX_LAYERS));
    ERNE_TRY(check_range(err, "vision.hidden_size", v->n_embd, 1, ERNE_SIZE_MAX));
    ERNE_TRY(check_range(err, "vision.heads", v->n_heads, 1, v->n_embd));
    ERNE_TRY(check_range(err, "vision.ffn_size", v->n_ff, 1, ERNE_SIZE_MAX));
    ERNE_TRY(check_range(err, "vision.patch", v->patch, 1, 256));
    ERNE_TRY(check_range(err, "vision.merge", v->merge, 1, 16));
    ERNE_TRY(check_range(err, "vision.temporal_merge", v->temporal, 1, 2));
    ERNE_TRY(check_range(err, "vision.position_side", v->n_side, 0, 1024));
    if (v->n_embd % v->n_heads != 0 || v->n_embd / v->n_heads % 4 != 0 ||
        v->n_embd / v->n_heads > MAX_HEAD_DIM)
        return erne_fail(err, ERNE_EFORMAT,
                         "vision.heads is %d, of %d: a head is a multiple of 4 wide, %d "
                         "at most",
                         (int)v->n_heads, (int)v->n_embd, MAX_HEAD_DIM);
    if (!(v->eps > 0.0f && v->eps < 1.0f))
        return erne_fail(err, ERNE_EFORMAT, "vision.eps is %g, not between 0 and 1",
                         (double)v->eps);
    if (!(v->rope_theta > 0.0f && isfinite(v->rope_theta)))
        return erne_fail(err, ERNE_EFORMAT, "vision.rope_theta is %g, not positive",
                         (double)v->rope_theta);
    ERNE_TRY(check_pixels(v, err));
    return check_vision_tokens(desc, err);
}

static int check_rope_sections(const struct erne_model_desc *desc, struct erne_error *err)
{
    const int32_t *s = desc->rope_sections;
    int64_t n_pairs = 0;

    for (int i = 0; i < ERNE_ROPE_AXES; i++) {
        ERNE_TRY(check_range(err, "rope section", s[i], 0, MAX_HEAD_DIM));
        n_pairs += s[i];
    }
    if (n_pairs != 0 && n_pairs != desc->head_dim / 2)
        return erne_fail(err, ERNE_EFORMAT, "rope sections %d, %d, %d are no %d pairs",
                         (int)s[0], (int)s[1], (int)s[2], (int)desc->head_dim / 2);
    if (desc->arch == ERNE_ARCH_ERNIE45_VL && n_pairs != 0 && s[1] != s[2])
        return erne_fail(err, ERNE_EFORMAT,
                         "rope sections: %d pairs of height alternate with %d of width",
                         (int)s[1], (int)s[2]);
    return ERNE_OK;
}

/* What belongs to an architecture, and what does not. */
static int check_parts(const struct erne_model_desc *desc, struct erne_error *err)
{
    const enum erne_arch arch = desc->arch;
    const bool is_vl = arch == ERNE_ARCH_ERNIE45_VL;
    const bool may_moe = is_vl || arch == ERNE_ARCH_ERNIE45_MOE;
    const bool has_vision = desc->vision.n_layers != 0;

    if ((desc->moe.n_experts != 0) != may_moe || (desc->moe.n_ff_vision != 0) != is_vl ||
        has_vision != (is_vl || arch == ERNE_ARCH_PADDLEOCR_VL))
        return erne_fail(err, ERNE_EFORMAT,
                         "experts or a vision tower are missing, or do not belong to %s",
                         erne_arch_name(arch));
    if (has_vision != (desc->rope_sections[0] != 0))
        return erne_fail(err, ERNE_EFORMAT, "rope sections do not fit %s",
                         erne_arch_name(arch));
    ERNE_TRY(check_range(err, "mtp_blocks", desc->n_mtp, 0, 1));
    return ERNE_OK;
}

static int check_stop(const struct erne_model_desc *desc, struct erne_error *err)
{
    if (desc->n_stop < 0 || desc->n_stop > ERNE_MAX_STOP)
        return erne_fail(err, ERNE_EFORMAT, "%d stop tokens, not 0 .. %d", desc->n_stop,
                         ERNE_MAX_STOP);
    for (int i = 0; i < desc->n_stop; i++)
        if (desc->stop[i] < 0 || desc->stop[i] >= desc->n_vocab)
            return erne_fail(err, ERNE_EFORMAT,
                             "stop token %d is outside the vocabulary of %d",
                             (int)desc->stop[i], (int)desc->n_vocab);
    return ERNE_OK;
}

static int check_device(const struct erne_model_desc *desc, struct erne_error *err)
{
    const struct erne_device_desc *d = &desc->device;

    if (d->n_ctx < 0 || d->n_ctx > desc->n_ctx_train)
        return erne_fail(err, ERNE_EFORMAT,
                         "device.context is %d, the model has %d positions", d->n_ctx,
                         desc->n_ctx_train);
    if (d->n_batch < 0 || d->n_batch > ERNE_BATCH_MAX)
        return erne_fail(err, ERNE_EFORMAT, "device.batch is %d, not in 0 .. %d",
                         d->n_batch, ERNE_BATCH_MAX);
    return ERNE_OK;
}

/* Not below 0; is_share: nor above 1. */
static int check_measure(struct erne_error *err, const char *field, float value,
                         bool is_share)
{
    if (value >= 0.0f && isfinite(value) && !(is_share && value > 1.0f))
        return ERNE_OK;
    return erne_fail(err, ERNE_EFORMAT, "quantization.%s is %g, not %s", field,
                     (double)value, is_share ? "in 0 .. 1" : "a number from 0 on");
}

static int check_judged(const struct erne_model_desc *desc, struct erne_error *err)
{
    const struct erne_judged_desc *d = &desc->judged;

    ERNE_TRY(check_range(err, "quantization.calibration_tokens", desc->n_calibrated, 0,
                         INT32_MAX));
    ERNE_TRY(check_range(err, "quantization.judged.tokens", d->n_tokens, 0, INT32_MAX));
    ERNE_TRY(check_measure(err, "judged.bits_per_weight", d->bits, false));
    ERNE_TRY(check_measure(err, "judged.same_top_token", d->same_top, true));
    ERNE_TRY(check_measure(err, "judged.perplexity", d->perplexity, false));
    ERNE_TRY(check_measure(err, "judged.exact_perplexity", d->perplexity_exact, false));
    for (int role = 0; role < ERNE_ROLE_COUNT; role++)
        for (int of_experts = 0; of_experts <= 1; of_experts++)
            ERNE_TRY(check_measure(err, "judged.errors", d->errors[of_experts][role],
                                   false));
    return ERNE_OK;
}

int erne_model_desc_check(const struct erne_model_desc *desc, struct erne_error *err)
{
    if ((int)desc->arch < 0 || desc->arch >= ERNE_ARCH_COUNT)
        return erne_fail(err, ERNE_EUNSUPPORTED, "architecture %d is unknown",
                         (int)desc->arch);
    ERNE_TRY(check_sizes(desc, err));
    ERNE_TRY(check_parts(desc, err));
    ERNE_TRY(check_moe(desc, err));
    ERNE_TRY(check_vision(desc, err));
    ERNE_TRY(check_rope_sections(desc, err));
    ERNE_TRY(check_stop(desc, err));
    ERNE_TRY(check_device(desc, err));
    ERNE_TRY(check_judged(desc, err));
    if (!(desc->rms_eps > 0.0f && desc->rms_eps < 1.0f))
        return erne_fail(err, ERNE_EFORMAT, "rms_eps is %g, not between 0 and 1",
                         (double)desc->rms_eps);
    if (!(desc->rope_theta > 0.0f && isfinite(desc->rope_theta)))
        return erne_fail(err, ERNE_EFORMAT, "rope_theta is %g, not positive",
                         (double)desc->rope_theta);
    return erne_chat_desc_check(&desc->chat, err);
}
