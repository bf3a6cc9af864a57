/* gguf_moe.c -- mixtures of experts in GGUF files (ernie4_5-moe). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "converters/gguf.h"

enum { KEY_MAX = 128, GATING_SOFTMAX = 1 };

static const char *arch_key(const char *arch, const char *name, char key[KEY_MAX])
{
    snprintf(key, KEY_MAX, "%s.%s", arch, name);
    return key;
}

/* Other ways to choose experts and to weigh them. */
static int refuse_variants(const struct gguf_meta *meta, const char *arch,
                           struct erne_error *err)
{
    static const struct {
        const char *name;
        double neutral;
    } numbers[] = { { "expert_gating_func", GATING_SOFTMAX },
                    { "expert_weights_scale", 1 },
                    { "expert_group_count", 1 },
                    { "expert_group_used_count", 1 } };
    bool norm = true;
    char key[KEY_MAX];

    for (size_t i = 0; i < ERNE_ARRAY_LEN(numbers); i++) {
        double value = numbers[i].neutral;

        ERNE_TRY(
            gguf_get_number(meta, arch_key(arch, numbers[i].name, key), &value, err));
        if (value < numbers[i].neutral || value > numbers[i].neutral)
            return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s = %g; only %g is supported",
                             meta->path, key, value, numbers[i].neutral);
    }
    ERNE_TRY(gguf_get_bool(meta, arch_key(arch, "expert_weights_norm", key), &norm, err));
    return norm ? ERNE_OK
                : erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s = false is not supported",
                            meta->path, key);
}

int gguf_moe_read(struct source *src, const struct gguf_meta *meta, const char *arch,
                  struct erne_error *err)
{
    struct erne_moe_desc *moe = &src->desc.moe;
    const struct {
        const char *name;
        int32_t *value;
    } sizes[] = { { "expert_count", &moe->n_experts },
                  { "expert_used_count", &moe->n_used },
                  { "expert_feed_forward_length", &moe->n_ff },
                  { "interleave_moe_layer_step", &moe->interval } };
    char key[KEY_MAX];

    moe->interval = 1;
    moe->norm_min = 1e-12f;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(sizes); i++)
        ERNE_TRY(
            gguf_get_size(meta, arch_key(arch, sizes[i].name, key), sizes[i].value, err));
    return refuse_variants(meta, arch, err);
}

int gguf_moe_find_layers(struct source *src, const struct gguf_meta *meta,
                         struct erne_error *err)
{
    struct erne_moe_desc *moe = &src->desc.moe;
    bool found = false;

    for (size_t i = 0; i < src->n_tensors; i++) {
        const struct source_tensor *t = &src->tensors[i];
        int layer, n = 0;

        if (sscanf(t->name, "model.layers.%6d.mlp.%n", &layer, &n) != 1 || n == 0)
            continue;
        if (strcmp(t->name + n, "shared_experts.gate_proj.weight") == 0)
            moe->n_ff_shared = (int32_t)t->n; /* llama.cpp's key for it is not reliable */
        if (strcmp(t->name + n, "gate.weight") != 0)
            continue;
        if (!found || layer < moe->first)
            moe->first = layer;
        if (!found || layer > moe->last)
            moe->last = layer;
        found = true;
    }
    return found ? ERNE_OK
                 : erne_fail(err, ERNE_EFORMAT,
                             "%s: no layer has a router (ffn_gate_inp)", meta->path);
}
