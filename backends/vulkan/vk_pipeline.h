/* vk_pipeline.h -- shaders and what the driver made of them.
 *
 * All shaders share one layout: VK_MAX_BINDINGS storage buffers and VK_MAX_PUSH words of
 * push constants, of which each uses what it declares. A pipeline is a shader with values
 * of its specialisation constants.
 */
#ifndef ERNE_VK_PIPELINE_H
#define ERNE_VK_PIPELINE_H

#include "backends/vulkan/vk_device.h"

/* Every file shaders/<name>.comp; the build embeds them from this list. Gathering and
 * scattering are move_rows, segment_attention is attention;
 * <name>_lanes is for narrow subgroups, <name>_dot for products of bytes. */
#define VK_SHADER_LIST(X) \
    X(attention)          \
    X(attention_lanes)    \
    X(attention_merge)    \
    X(embed)              \
    X(kv_append)          \
    X(kv_encode)          \
    X(layer_norm)         \
    X(matmul)             \
    X(matmul_dot)         \
    X(matmul_lanes)       \
    X(moe_group)          \
    X(moe_route)          \
    X(moe_sum)            \
    X(move_rows)          \
    X(rms_norm)           \
    X(rope)

enum vk_shader {
#define X(name) VK_SHADER_##name,
    VK_SHADER_LIST(X)
#undef X
        VK_SHADER_COUNT
};

enum { VK_MAX_BINDINGS = 8, VK_MAX_PUSH = 32, VK_MAX_SPEC = 8 };

struct vk_pipeline_key {
    enum vk_shader shader;
    uint32_t spec[VK_MAX_SPEC]; /* of constant_id 0, 1, ...; unused ones are 0 */
};

struct vk_pipeline {
    struct vk_pipeline_key key;
    VkPipeline handle;
};

struct vk_pipelines {
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipelineCache cache;
    struct vk_pipeline *all;
    size_t n, cap;
    char *path;      /* of the cache file; NULL: none */
    uint64_t *known; /* hashes of the keys that the file had */
    size_t n_known;
    size_t n_compiled; /* pipelines that the file did not have */
    size_t n_hits;     /* that the driver says it had compiled, in the file */
    size_t n_saved;    /* n_compiled when it was written last */
    uint64_t spent_ns; /* on making all */
};

int vk_pipelines_init(struct vk_pipelines *p, struct vk_device *dev,
                      const char *cache_dir);
void vk_pipelines_deinit(struct vk_pipelines *p, struct vk_device *dev);

/* Made at the first call with a key. EUNSUPPORTED if the driver cannot compile it. */
int vk_pipelines_get(struct vk_pipelines *p, struct vk_device *dev,
                     const struct vk_pipeline_key *key, VkPipeline *out);

/* The blob of a shader. */
const void *vk_shader_code(enum vk_shader shader, size_t *n_bytes);

#endif
