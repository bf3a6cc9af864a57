/* manifest.c -- a model description as YAML text. Reading it back is manifest_read.c. */
#include "runtime/manifest_fields.h"

#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <yaml.h>

#define AT(member) offsetof(struct erne_model_desc, member)
#define ERROR_OF(of_experts, ROLE) AT(judged.errors[of_experts][ERNE_ROLE_##ROLE])

/* In the order of the text; what lies in one mapping stands together. */
const struct manifest_field manifest_fields[] = {
    { "erne_manifest", VERSION, true, 0 },
    { "architecture", ARCH, true, AT(arch) },
    { "model.layers", INT, true, AT(n_layers) },
    { "model.hidden_size", INT, true, AT(n_embd) },
    { "model.heads", INT, true, AT(n_heads) },
    { "model.kv_heads", INT, true, AT(n_kv_heads) },
    { "model.head_dim", INT, true, AT(head_dim) },
    { "model.ffn_size", INT, true, AT(n_ff) },
    { "model.vocab_size", INT, true, AT(n_vocab) },
    { "model.context", INT, true, AT(n_ctx_train) },
    { "model.rms_eps", FLOAT, true, AT(rms_eps) },
    { "model.rope_theta", FLOAT, true, AT(rope_theta) },
    { "model.tied_embeddings", BOOL, true, AT(tied) },
    { "model.bias", BOOL, true, AT(use_bias) },
    { "model.rope_time_pairs", INT, false, AT(rope_sections[0]) },
    { "model.rope_height_pairs", INT, false, AT(rope_sections[1]) },
    { "model.rope_width_pairs", INT, false, AT(rope_sections[2]) },
    { "model.mtp_blocks", INT, false, AT(n_mtp) },
    { "moe.experts", INT, false, AT(moe.n_experts) },
    { "moe.experts_used", INT, false, AT(moe.n_used) },
    { "moe.ffn_size", INT, false, AT(moe.n_ff) },
    { "moe.vision_ffn_size", INT, false, AT(moe.n_ff_vision) },
    { "moe.shared_ffn_size", INT, false, AT(moe.n_ff_shared) },
    { "moe.first_layer", INT, false, AT(moe.first) },
    { "moe.last_layer", INT, false, AT(moe.last) },
    { "moe.interval", INT, false, AT(moe.interval) },
    { "moe.layers", TEXT, false, AT(moe.layers) },
    { "moe.norm_min", FLOAT, false, AT(moe.norm_min) },
    { "vision.layers", INT, false, AT(vision.n_layers) },
    { "vision.hidden_size", INT, false, AT(vision.n_embd) },
    { "vision.heads", INT, false, AT(vision.n_heads) },
    { "vision.ffn_size", INT, false, AT(vision.n_ff) },
    { "vision.patch", INT, false, AT(vision.patch) },
    { "vision.merge", INT, false, AT(vision.merge) },
    { "vision.temporal_merge", INT, false, AT(vision.temporal) },
    { "vision.position_side", INT, false, AT(vision.n_side) },
    { "vision.eps", FLOAT, false, AT(vision.eps) },
    { "vision.rope_theta", FLOAT, false, AT(vision.rope_theta) },
    { "vision.min_pixels", INT, false, AT(vision.min_pixels) },
    { "vision.max_pixels", INT, false, AT(vision.max_pixels) },
    { "vision.video_min_pixels", INT, false, AT(vision.video_min_pixels) },
    { "vision.video_max_pixels", INT, false, AT(vision.video_max_pixels) },
    { "vision.mean.r", FLOAT, false, AT(vision.mean[0]) },
    { "vision.mean.g", FLOAT, false, AT(vision.mean[1]) },
    { "vision.mean.b", FLOAT, false, AT(vision.mean[2]) },
    { "vision.std.r", FLOAT, false, AT(vision.std[0]) },
    { "vision.std.g", FLOAT, false, AT(vision.std[1]) },
    { "vision.std.b", FLOAT, false, AT(vision.std[2]) },
    { "vision.tokens.image", INT, false, AT(vision.image_token) },
    { "vision.tokens.video", INT, false, AT(vision.video_token) },
    { "vision.tokens.image_start", INT, false, AT(vision.image_start) },
    { "vision.tokens.image_end", INT, false, AT(vision.image_end) },
    { "vision.tokens.video_start", INT, false, AT(vision.video_start) },
    { "vision.tokens.video_end", INT, false, AT(vision.video_end) },
    { "device.name", TEXT, false, AT(device.name) },
    { "device.kv_type", TEXT, false, AT(device.kv_type) },
    { "device.context", INT, false, AT(device.n_ctx) },
    { "device.batch", INT, false, AT(device.n_batch) },
    { "device.ram_mib", INT, false, AT(device.ram_mib) },
    { "stop_tokens", STOPS, false, AT(stop) },
    { "chat.template", TEXT, false, AT(chat.template_name) },
    { "chat.begin", TEXT, false, AT(chat.begin) },
    { "chat.system.prefix", TEXT, false, AT(chat.system.prefix) },
    { "chat.system.suffix", TEXT, false, AT(chat.system.suffix) },
    { "chat.user.prefix", TEXT, false, AT(chat.user.prefix) },
    { "chat.user.suffix", TEXT, false, AT(chat.user.suffix) },
    { "chat.assistant.prefix", TEXT, false, AT(chat.assistant.prefix) },
    { "chat.assistant.suffix", TEXT, false, AT(chat.assistant.suffix) },
    { "chat.generation", TEXT, false, AT(chat.generation) },
    { "chat.default_system", TEXT, false, AT(chat.default_system) },
    { "chat.picture.before", TEXT, false, AT(chat.picture.before) },
    { "chat.picture.after", TEXT, false, AT(chat.picture.after) },
    { "chat.video.before", TEXT, false, AT(chat.video.before) },
    { "chat.video.after", TEXT, false, AT(chat.video.after) },
    { "chat.media_first", BOOL, false, AT(chat.media_first) },
    { "chat.thinking.default", BOOL, false, AT(chat.thinking.by_default) },
    { "chat.thinking.on", TEXT, false, AT(chat.thinking.on) },
    { "chat.thinking.off", TEXT, false, AT(chat.thinking.off) },
    { "chat.thinking.begin", TEXT, false, AT(chat.thinking.begin) },
    { "chat.thinking.end", TEXT, false, AT(chat.thinking.end) },
    { "chat.thinking.answer_begin", TEXT, false, AT(chat.thinking.answer_begin) },
    { "chat.thinking.answer_end", TEXT, false, AT(chat.thinking.answer_end) },
    { "chat.thinking.past_before", TEXT, false, AT(chat.thinking.past_before) },
    { "chat.thinking.past_after", TEXT, false, AT(chat.thinking.past_after) },
    { "provenance.name", TEXT, false, AT(name) },
    { "provenance.license", TEXT, false, AT(license) },
    { "provenance.source", TEXT, false, AT(source) },
    { "provenance.source_format", TEXT, false, AT(source_format) },
    { "quantization.scheme", TEXT, false, AT(scheme) },
    { "quantization.calibration", TEXT, false, AT(calibration) },
    { "quantization.calibration_tokens", INT, false, AT(n_calibrated) },
    { "quantization.judged.tokens", INT, false, AT(judged.n_tokens) },
    { "quantization.judged.bits_per_weight", FLOAT, false, AT(judged.bits) },
    { "quantization.judged.kl_divergence", FLOAT, false, AT(judged.kld) },
    { "quantization.judged.same_top_token", FLOAT, false, AT(judged.same_top) },
    { "quantization.judged.perplexity", FLOAT, false, AT(judged.perplexity) },
    { "quantization.judged.exact_perplexity", FLOAT, false, AT(judged.perplexity_exact) },
    { "quantization.judged.errors.embed", FLOAT, false, ERROR_OF(0, EMBED) },
    { "quantization.judged.errors.qkv", FLOAT, false, ERROR_OF(0, QKV) },
    { "quantization.judged.errors.attn_out", FLOAT, false, ERROR_OF(0, ATTN_OUT) },
    { "quantization.judged.errors.gate_up", FLOAT, false, ERROR_OF(0, GATE_UP) },
    { "quantization.judged.errors.down", FLOAT, false, ERROR_OF(0, DOWN) },
    { "quantization.judged.errors.experts_gate_up", FLOAT, false, ERROR_OF(1, GATE_UP) },
    { "quantization.judged.errors.experts_down", FLOAT, false, ERROR_OF(1, DOWN) },
    { "quantization.judged.errors.lm_head", FLOAT, false, ERROR_OF(0, LM_HEAD) },
    { "quantization.judged.errors.vision", FLOAT, false, ERROR_OF(0, VISION) },
    { "quantization.judged.errors.mtp", FLOAT, false, ERROR_OF(0, MTP) },
};

const int manifest_n_fields = (int)ERNE_ARRAY_LEN(manifest_fields);
_Static_assert(ERNE_ARRAY_LEN(manifest_fields) <= MANIFEST_MAX_FIELDS, "grow it");

bool manifest_is_chat(const struct manifest_field *f)
{
    return strncmp(f->place, "chat.", 5) == 0;
}

void manifest_swap_point(char *number, char from, char to)
{
    char *point = strchr(number, from);

    if (point)
        *point = to;
}

double manifest_tidy(float x)
{
    char buf[32];

    snprintf(buf, sizeof(buf), "%.6g", (double)x);
    return strtof(buf, NULL) == x ? strtod(buf, NULL) : (double)x;
}

bool manifest_has(const struct erne_model_desc *desc, const struct manifest_field *f)
{
    if (manifest_is_chat(f) && !desc->chat.present)
        return false;
    if (strncmp(f->place, "moe.", 4) == 0 && desc->moe.n_experts == 0)
        return false;
    if (strncmp(f->place, "vision.", 7) == 0 && desc->vision.n_layers == 0)
        return false;
    if (f->offset >= AT(rope_sections) && f->offset <= AT(rope_sections[2]) &&
        desc->rope_sections[0] == 0)
        return false;
    if (strncmp(f->place, "device.", 7) == 0 && !desc->device.name)
        return false;
    if (f->offset == AT(device.ram_mib) && desc->device.ram_mib == 0)
        return false;
    if (strncmp(f->place, "quantization.judged.", 20) == 0 && desc->judged.n_tokens == 0)
        return false;
    if (f->offset >= AT(judged.errors) && f->offset < AT(judged) + sizeof(desc->judged) &&
        *(const float *)(const void *)((const char *)desc + f->offset) <= 0.0f)
        return false;
    if (f->offset == AT(n_calibrated) && desc->n_calibrated == 0)
        return false;
    if (f->offset == AT(n_mtp) && desc->n_mtp == 0)
        return false;
    if (f->offset == AT(chat.media_first) && !desc->chat.media_first)
        return false;
    if (f->offset == AT(chat.thinking.by_default) && !desc->chat.thinking.end)
        return false;
    return f->type != TEXT ||
           *(char *const *)((const char *)desc + f->offset) != NULL;
}

struct output {
    yaml_emitter_t emitter;
    char *text;
    size_t n_bytes, cap;
    const struct erne_model_desc *desc;
    int status; /* of the first failure; nothing is written after it */
};

/* Called by libyaml; 0 stops it. */
static int append(void *user, unsigned char *data, size_t n)
{
    struct output *out = user;

    if (n >= out->cap - out->n_bytes) {
        const size_t cap = 2 * (out->cap + n);
        char *text = realloc(out->text, cap);

        if (!text)
            return 0;
        out->text = text;
        out->cap = cap;
    }
    memcpy(out->text + out->n_bytes, data, n);
    out->n_bytes += n;
    out->text[out->n_bytes] = '\0';
    return 1;
}

/* made: whether the event could be created. The emitter frees the event. */
static void emit(struct output *out, yaml_event_t *event, int made)
{
    if (out->status < 0) {
        if (made)
            yaml_event_delete(event);
    } else if (!made || !yaml_emitter_emit(&out->emitter, event)) {
        out->status = ERNE_ENOMEM;
    }
}

static void emit_scalar(struct output *out, const char *text, size_t n,
                        yaml_scalar_style_t style)
{
    yaml_event_t event;
    int made = n <= INT_MAX &&
               yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
                                            (int)n, 1, 1, style);

    emit(out, &event, made);
}

static void emit_mapping(struct output *out, bool start)
{
    yaml_event_t event;
    int made = start ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                                           YAML_BLOCK_MAPPING_STYLE)
                     : yaml_mapping_end_event_initialize(&event);

    emit(out, &event, made);
}

static void emit_int(struct output *out, int32_t value)
{
    char buf[16];
    const int n = snprintf(buf, sizeof(buf), "%d", (int)value);

    emit_scalar(out, buf, (size_t)n, YAML_PLAIN_SCALAR_STYLE);
}

static void emit_stops(struct output *out)
{
    yaml_event_t event;
    int made = yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                                    YAML_FLOW_SEQUENCE_STYLE);

    emit(out, &event, made);
    for (int i = 0; i < out->desc->n_stop; i++)
        emit_int(out, out->desc->stop[i]);
    made = yaml_sequence_end_event_initialize(&event);
    emit(out, &event, made);
}

static void emit_value(struct output *out, const struct manifest_field *f)
{
    const void *member = (const char *)out->desc + f->offset;
    char buf[64];
    const char *text = buf;

    switch (f->type) {
    case VERSION: emit_int(out, MANIFEST_VERSION); return;
    case INT: emit_int(out, *(const int32_t *)member); return;
    case STOPS: emit_stops(out); return;
    case TEXT:
        text = *(char *const *)member;
        emit_scalar(out, text, strlen(text), YAML_DOUBLE_QUOTED_SCALAR_STYLE);
        return;
    case ARCH: text = erne_arch_name(out->desc->arch); break;
    case FLOAT:
        snprintf(buf, sizeof(buf), "%.9g", manifest_tidy(*(const float *)member));
        manifest_swap_point(buf, localeconv()->decimal_point[0], '.');
        break;
    case BOOL: text = *(const bool *)member ? "true" : "false"; break;
    }
    emit_scalar(out, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
}

/* Fields first .. end have the same key as `first` at `depth`: [first, result). */
static int key_end(int first, int end, size_t depth, size_t n_key)
{
    const char *place = manifest_fields[first].place;
    int i = first + 1;

    if (place[depth + n_key] == '.')
        while (i < end &&
               strncmp(manifest_fields[i].place, place, depth + n_key + 1) == 0)
            i++;
    return i;
}

/* Fields [first, end), whose places share their first `depth` bytes, as one mapping. */
static void emit_fields(struct output *out, int first, int end, size_t depth)
{
    emit_mapping(out, true);
    while (first < end) {
        const char *key = manifest_fields[first].place + depth;
        const size_t n_key = strcspn(key, ".");
        const int next = key_end(first, end, depth, n_key);
        bool present = false;

        for (int i = first; i < next; i++)
            present = present || manifest_has(out->desc, &manifest_fields[i]);
        if (present) {
            emit_scalar(out, key, n_key, YAML_PLAIN_SCALAR_STYLE);
            if (key[n_key] == '.')
                emit_fields(out, first, next, depth + n_key + 1);
            else
                emit_value(out, &manifest_fields[first]);
        }
        first = next;
    }
    emit_mapping(out, false);
}

static void emit_document(struct output *out)
{
    yaml_event_t event;
    int made = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);

    emit(out, &event, made);
    made = yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1);
    emit(out, &event, made);
    emit_fields(out, 0, manifest_n_fields, 0);
    made = yaml_document_end_event_initialize(&event, 1);
    emit(out, &event, made);
    made = yaml_stream_end_event_initialize(&event);
    emit(out, &event, made);
}

static bool is_utf8(const char *text)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    utf8proc_int32_t c;

    while (*at != '\0') {
        const utf8proc_ssize_t n = utf8proc_iterate(at, -1, &c);

        if (n < 0)
            return false;
        at += n;
    }
    return true;
}

static int check_texts(const struct erne_model_desc *desc, struct erne_error *err)
{
    for (int i = 0; i < manifest_n_fields; i++) {
        const char *member = (const char *)desc + manifest_fields[i].offset;

        if (manifest_fields[i].type == TEXT &&
            manifest_has(desc, &manifest_fields[i]) &&
            !is_utf8(*(char *const *)(const void *)member))
            return erne_fail(err, ERNE_EINVAL, "%s is not UTF-8",
                             manifest_fields[i].place);
    }
    return ERNE_OK;
}

int erne_manifest_write(char **text, size_t *n_bytes, const struct erne_model_desc *desc,
                        struct erne_error *err)
{
    struct output out = { .desc = desc };

    ERNE_TRY(erne_model_desc_check(desc, err));
    ERNE_TRY(check_texts(desc, err));
    if (!yaml_emitter_initialize(&out.emitter))
        return erne_fail(err, ERNE_ENOMEM, "out of memory for the manifest");
    yaml_emitter_set_output(&out.emitter, append, &out);
    yaml_emitter_set_unicode(&out.emitter, 1);
    yaml_emitter_set_width(&out.emitter, -1);
    emit_document(&out);
    yaml_emitter_delete(&out.emitter);
    if (out.status == ERNE_OK && out.n_bytes > MANIFEST_MAX_BYTES)
        out.status = ERNE_EINVAL;
    if (out.status < 0) {
        free(out.text);
        return erne_fail(err, out.status,
                         out.status == ERNE_EINVAL ? "the manifest is larger than 1 MiB"
                                                   : "out of memory for the manifest");
    }
    *text = out.text;
    *n_bytes = out.n_bytes;
    return ERNE_OK;
}
