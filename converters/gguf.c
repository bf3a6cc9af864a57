/* gguf.c -- reads GGUF files: tensors under their canonical names, shapes and constants
 * from the metadata. The vocabulary is in gguf_vocab.c, the file's structure in
 * gguf_meta.c, names in gguf_names.c.
 *
 * Pairs are interleaved for ernie4_5 and llama (GGUF stores the rows of q and k of llama
 * models permuted to that), halves for paddleocr: nothing is to be permuted here.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/gguf.h"
#include "converters/gguf_vocab.h"
#include "converters/hf_config.h"
#include "converters/names.h"

enum { KEY_MAX = 128 };

/* --------------------------------------------------------------- metadata */

/* GGUF's names of the architectures. */
static const struct {
    const char *name;
    enum erne_arch arch;
} archs[] = {
    { "ernie4_5", ERNE_ARCH_ERNIE45 },
    { "ernie4_5-moe", ERNE_ARCH_ERNIE45_MOE },
    { "paddleocr", ERNE_ARCH_PADDLEOCR_VL },
    { "llama", ERNE_ARCH_LLAMA },
};

static const char *gguf_arch(const struct source *src)
{
    size_t i = 0;

    while (archs[i].arch != src->desc.arch)
        i++;
    return archs[i].name;
}

/* "llama" + "block_count" = "llama.block_count" */
static const char *arch_key(const struct source *src, const char *name, char key[KEY_MAX])
{
    snprintf(key, KEY_MAX, "%s.%s", gguf_arch(src), name);
    return key;
}

static int find_architecture(struct source *src, const struct gguf_meta *meta,
                             struct erne_error *err)
{
    struct gguf_text name = { "", 0 };

    ERNE_TRY(gguf_get_text(meta, "general.architecture", &name, err));
    if (name.n_bytes == 0)
        return erne_fail(err, ERNE_EFORMAT, "%s: no general.architecture", meta->path);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(archs); i++)
        if (gguf_text_is(name, archs[i].name)) {
            src->desc.arch = archs[i].arch;
            return ERNE_OK;
        }
    return erne_fail(err, ERNE_EUNSUPPORTED,
                     "%s: architecture %.*s; ernie4_5, ernie4_5-moe, paddleocr and llama "
                     "are converted",
                     meta->path, gguf_text_shown(name), name.text);
}

static int check_architecture(struct source *src, const struct gguf_meta *meta,
                              struct erne_error *err)
{
    int32_t n_files = 1;

    ERNE_TRY(find_architecture(src, meta, err));
    ERNE_TRY(gguf_get_int(meta, "split.count", &n_files, err));
    if (n_files > 1)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: one of %" PRId32 " parts; merge them first", meta->path,
                         n_files);
    return ERNE_OK;
}

static int read_sizes(struct source *src, const struct gguf_meta *meta,
                      struct erne_error *err)
{
    struct erne_model_desc *desc = &src->desc;
    const struct {
        const char *key;
        int32_t *value;
    } sizes[] = {
        { "embedding_length", &desc->n_embd },
        { "block_count", &desc->n_layers },
        { "attention.head_count", &desc->n_heads },
        { "feed_forward_length", &desc->n_ff },
        { "context_length", &desc->n_ctx_train },
    };
    int32_t value_length;
    char key[KEY_MAX];

    for (size_t i = 0; i < ERNE_ARRAY_LEN(sizes); i++)
        ERNE_TRY(
            gguf_get_size(meta, arch_key(src, sizes[i].key, key), sizes[i].value, err));
    desc->n_kv_heads = desc->n_heads;
    desc->head_dim = desc->n_embd / desc->n_heads;
    ERNE_TRY(gguf_get_int(meta, arch_key(src, "attention.head_count_kv", key),
                          &desc->n_kv_heads, err));
    ERNE_TRY(gguf_get_int(meta, arch_key(src, "attention.key_length", key),
                          &desc->head_dim, err));
    value_length = desc->head_dim;
    ERNE_TRY(gguf_get_int(meta, arch_key(src, "attention.value_length", key),
                          &value_length, err));
    if (value_length != desc->head_dim)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: keys of %" PRId32 " and values of %" PRId32 " a head",
                         meta->path, desc->head_dim, value_length);
    return ERNE_OK;
}

/* Keys that change the mathematics, with the value at which they do not. */
static int refuse_variants(const struct source *src, const struct gguf_meta *meta,
                           struct erne_error *err)
{
    const struct {
        const char *key;
        double neutral;
    } keys[] = {
        { "rope.dimension_count", src->desc.head_dim },
        { "rope.scaling.factor", 1 },
        { "rope.scale_linear", 1 },
        { "expert_count", src->desc.moe.n_experts },
        { "attention.sliding_window", 0 },
        { "attention.scale", 0 },
        { "attention.clamp_kqv", 0 },
        { "attention.max_alibi_bias", 0 },
        { "attention.logit_softcapping", 0 },
        { "final_logit_softcapping", 0 },
        { "logit_scale", 0 },
        { "residual_scale", 0 },
        { "embedding_scale", 0 },
    };
    struct gguf_text scaling = { "none", 4 };
    bool causal = true;
    char key[KEY_MAX];

    for (size_t i = 0; i < ERNE_ARRAY_LEN(keys); i++) {
        double value = keys[i].neutral;

        ERNE_TRY(gguf_get_number(meta, arch_key(src, keys[i].key, key), &value, err));
        if (value < keys[i].neutral || value > keys[i].neutral)
            return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s = %g; only %g is supported",
                             meta->path, key, value, keys[i].neutral);
    }
    ERNE_TRY(gguf_get_text(meta, arch_key(src, "rope.scaling.type", key), &scaling, err));
    if (!gguf_text_is(scaling, "none"))
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s \"%.*s\" is not supported",
                         meta->path, key, gguf_text_shown(scaling), scaling.text);
    ERNE_TRY(gguf_get_bool(meta, arch_key(src, "attention.causal", key), &causal, err));
    if (!causal)
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: attention is not causal",
                         meta->path);
    return ERNE_OK;
}

static int read_constants(struct source *src, const struct gguf_meta *meta,
                          struct erne_error *err)
{
    double eps = 0, theta = 10000; /* GGUF's default */
    char key[KEY_MAX];

    ERNE_TRY(gguf_get_number(meta, arch_key(src, "rope.freq_base", key), &theta, err));
    if (!(theta > 0 && theta < 1e30))
        return erne_fail(err, ERNE_EFORMAT, "%s: %s is %g", meta->path, key, theta);
    arch_key(src, "attention.layer_norm_rms_epsilon", key);
    ERNE_TRY(gguf_get_number(meta, key, &eps, err));
    if (!(eps > 0 && eps < 1))
        return erne_fail(err, ERNE_EFORMAT, "%s: %s is missing or not in (0, 1)",
                         meta->path, key);
    src->desc.rope_theta = (float)theta;
    src->desc.rms_eps = (float)eps;
    return ERNE_OK;
}

/* A text for people; absent leaves NULL. */
static int read_text(const struct gguf_meta *meta, const char *key, char **value,
                     struct erne_error *err)
{
    struct gguf_text text = { NULL, 0 };

    ERNE_TRY(gguf_get_text(meta, key, &text, err));
    if (!text.text)
        return ERNE_OK;
    *value = source_copy_text(text.text, text.n_bytes);
    return *value ? ERNE_OK
                  : erne_fail(err, ERNE_ENOMEM, "%s: out of memory", meta->path);
}

static int read_texts(struct source *src, const struct gguf_meta *meta,
                      struct erne_error *err)
{
    char format[64];

    snprintf(format, sizeof(format), "gguf %s", gguf_arch(src));
    src->desc.source_format = source_copy_text(format, strlen(format));
    if (!src->desc.source_format)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", meta->path);
    ERNE_TRY(read_text(meta, "general.name", &src->desc.name, err));
    ERNE_TRY(read_text(meta, "general.license", &src->desc.license, err));
    return read_text(meta, "tokenizer.chat_template", &src->jinja, err);
}

/* ---------------------------------------------------------------- tensors */

/* The matrix of each expert of a stack. */
static int add_slices(struct source *src, const struct gguf_meta *meta,
                      const struct source_tensor *all, uint64_t n_slices,
                      struct erne_error *err)
{
    struct source_tensor t = *all;

    if (!tensor_slice_name(t.name, all->name, 0, 0))
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s: 3 dimensions", meta->path,
                         all->stored);
    if (src->desc.moe.n_experts < 1 || n_slices != (uint64_t)src->desc.moe.n_experts)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %s holds %" PRIu64 " experts, not %" PRId32, meta->path,
                         all->stored, n_slices, src->desc.moe.n_experts);
    for (uint64_t i = 0; i < n_slices; i++) {
        tensor_slice_name(t.name, all->name, (int64_t)i, src->desc.moe.n_experts);
        t.offset = all->offset + i * all->n_bytes;
        ERNE_TRY(source_add_tensor(src, &t, err));
    }
    return ERNE_OK;
}

/* Rows and columns of a matrix, of each slice of a stack, of the kernel of a convolution
 * as a matrix; vectors have one column. False where they are out of range. */
static bool read_shape(struct source_tensor *t, const struct gguf_record *record)
{
    const uint64_t *dim = record->dim;
    uint64_t n = dim[1], k = dim[0];

    for (int i = 0; i < GGUF_MAX_DIMS; i++)
        if (dim[i] < 1 || dim[i] > INT32_MAX)
            return false;
    if (record->n_dims == 1) {
        n = dim[0];
        k = 1;
    } else if (record->n_dims == 4) {
        n = dim[3];
        k = dim[0] * dim[1] > INT32_MAX ? UINT64_MAX : dim[0] * dim[1] * dim[2];
    }
    if (k > INT32_MAX)
        return false;
    t->n = (int64_t)n;
    t->k = (int64_t)k;
    return true;
}

static int add_record(struct source *src, const struct gguf_meta *meta,
                      const struct gguf_record *record, struct erne_error *err)
{
    struct source_tensor t = { .file = src->n_files - 1 };
    uint64_t n_blocks;

    snprintf(t.stored, sizeof(t.stored), "%.*s", gguf_text_shown(record->name),
             record->name.text);
    if (strncmp(t.stored, "rope_", 5) == 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: %s: scaled rotation frequencies are not supported",
                         meta->path, t.stored);
    gguf_canonical_name(t.name, t.stored);
    t.type = block_type_by_gguf_id(record->type);
    if (!t.type)
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s: type %s (%" PRIu32 ")",
                         meta->path, t.stored, block_type_gguf_name(record->type),
                         record->type);
    if (!read_shape(&t, record) || record->offset % meta->alignment != 0 ||
        record->offset > meta->n_bytes - meta->data_start)
        return erne_fail(
            err, ERNE_EFORMAT, "%s: %s: shape [%" PRIu64 ", %" PRIu64 "] at %" PRIu64,
            meta->path, t.stored, record->dim[1], record->dim[0], record->offset);
    n_blocks = (uint64_t)t.n * ((uint64_t)t.k / t.type->n_elems);
    t.n_bytes = n_blocks < UINT64_MAX / BLOCK_MAX_BYTES ? n_blocks * t.type->n_bytes : 0;
    t.offset = meta->data_start + record->offset;
    return record->n_dims == 3 ? add_slices(src, meta, &t, record->dim[2], err)
                               : source_add_tensor(src, &t, err);
}

int gguf_add_tensors(struct source *src, const struct gguf_meta *meta,
                     struct erne_error *err)
{
    for (size_t i = 0; i < meta->n_records; i++)
        ERNE_TRY(add_record(src, meta, &meta->records[i], err));
    return ERNE_OK;
}

/* Rows of the embedding are the vocabulary; a bias on q means biases everywhere. */
static void read_shapes_of_tensors(struct source *src)
{
    for (size_t i = 0; i < src->n_tensors; i++) {
        const struct source_tensor *t = &src->tensors[i];

        if (strcmp(t->name, "model.embed_tokens.weight") == 0)
            src->desc.n_vocab = (int32_t)t->n;
        if (strcmp(t->name, "model.layers.0.self_attn.q_proj.bias") == 0)
            src->desc.use_bias = true;
    }
}

/* Pairs of a head that turn by time, height and width; a fourth number is 0. */
static int read_sections(struct source *src, const struct gguf_meta *meta,
                         struct erne_error *err)
{
    const struct gguf_pair *pair;
    char key[KEY_MAX];

    ERNE_TRY(gguf_get_array(meta, arch_key(src, "rope.dimension_sections", key), GGUF_I32,
                            &pair, err));
    if (!pair || pair->n < ERNE_ROPE_AXES)
        return erne_fail(err, ERNE_EFORMAT, "%s: %s: expected 3 or 4 integers",
                         meta->path, key);
    for (uint64_t i = 0; i < ERNE_ROPE_AXES; i++)
        src->desc.rope_sections[i] = (int32_t)gguf_array_u32(meta, pair, i);
    return ERNE_OK;
}

static int read_all(struct source *src, const struct gguf_meta *meta,
                    struct erne_error *err)
{
    const enum erne_arch *arch = &src->desc.arch;

    ERNE_TRY(check_architecture(src, meta, err));
    ERNE_TRY(read_sizes(src, meta, err));
    if (*arch == ERNE_ARCH_ERNIE45_MOE)
        ERNE_TRY(gguf_moe_read(src, meta, gguf_arch(src), err));
    if (*arch == ERNE_ARCH_PADDLEOCR_VL)
        ERNE_TRY(read_sections(src, meta, err));
    ERNE_TRY(refuse_variants(src, meta, err));
    ERNE_TRY(read_constants(src, meta, err));
    ERNE_TRY(read_texts(src, meta, err));
    ERNE_TRY(gguf_add_tensors(src, meta, err));
    read_shapes_of_tensors(src);
    if (*arch == ERNE_ARCH_ERNIE45_MOE)
        ERNE_TRY(gguf_moe_find_layers(src, meta, err));
    return gguf_vocab_read(src, meta, err);
}

int gguf_read(struct source *src, const char *path, const struct source_opts *opts,
              struct erne_error *err)
{
    struct gguf_meta meta = { 0 };
    struct pf_map map;
    int st;

    src->format = "gguf";
    src->says_tied = src->is_silent = true; /* a head that is there is compared */
    ERNE_TRY(source_add_file(src, path, err));
    st = pf_map_file(&map, src->files[0].file);
    if (st < 0)
        return erne_fail(err, st, "%s: %s", path, pf_last_error());
    st = gguf_meta_parse(&meta, map.data, map.n_bytes, path, err);
    if (st == 0)
        st = read_all(src, &meta, err);
    gguf_meta_deinit(&meta);
    pf_map_close(&map);
    if (st < 0 || src->desc.arch != ERNE_ARCH_PADDLEOCR_VL)
        return st;
    ERNE_TRY(gguf_mmproj_read(src, path, opts, err));
    return hf_vision_tokens(src, path, opts, err);
}
