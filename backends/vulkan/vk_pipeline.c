/* vk_pipeline.c -- makes pipelines of the embedded shaders, each once. */
#include "backends/vulkan/vk_pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vk_cache.h"

/* The build makes these of shaders/<name>.comp (cmake/embed.cmake), aligned for words. */
#define X(name)                                 \
    extern const unsigned char vk_spv_##name[]; \
    extern const size_t vk_spv_##name##_bytes;
VK_SHADER_LIST(X)
#undef X

const void *vk_shader_code(enum vk_shader shader, size_t *n_bytes)
{
    static const struct {
        const unsigned char *code;
        const size_t *n_bytes;
    } blobs[VK_SHADER_COUNT] = {
#define X(name) { vk_spv_##name, &vk_spv_##name##_bytes },
        VK_SHADER_LIST(X)
#undef X
    };

    *n_bytes = *blobs[shader].n_bytes;
    return blobs[shader].code;
}

static int create_layouts(struct vk_pipelines *p, struct vk_device *dev)
{
    VkDescriptorSetLayoutBinding binding[VK_MAX_BINDINGS];
    const VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = VK_MAX_BINDINGS,
        .pBindings = binding,
    };
    const VkPushConstantRange push = { .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                       .size = VK_MAX_PUSH * sizeof(uint32_t) };
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &p->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &push,
    };

    for (uint32_t i = 0; i < VK_MAX_BINDINGS; i++)
        binding[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    VK_TRY(dev, CreateDescriptorSetLayout, dev->device, &set, NULL, &p->set_layout);
    VK_TRY(dev, CreatePipelineLayout, dev->device, &layout, NULL, &p->layout);
    return 0;
}

/* A driver that does not like its own old data gets an empty cache. */
static int create_cache(struct vk_pipelines *p, struct vk_device *dev,
                        const char *cache_dir)
{
    VkPipelineCacheCreateInfo info = { .sType =
                                           VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO };
    size_t n_bytes = 0;
    void *data = vk_cache_load(p, dev, cache_dir, &n_bytes);
    VkResult result;

    info.initialDataSize = n_bytes;
    info.pInitialData = data;
    VK_DO(result, &dev->fn, CreatePipelineCache, dev->device, &info, NULL, &p->cache);
    free(data);
    if (result == VK_SUCCESS)
        return 0;
    p->cache = VK_NULL_HANDLE;
    return vk_device_status(dev, result);
}

int vk_pipelines_init(struct vk_pipelines *p, struct vk_device *dev,
                      const char *cache_dir)
{
    *p = (struct vk_pipelines){ 0 };
    ERNE_TRY(create_layouts(p, dev));
    return create_cache(p, dev, cache_dir);
}

void vk_pipelines_deinit(struct vk_pipelines *p, struct vk_device *dev)
{
    const struct vk_fns *fn = &dev->fn;

    for (size_t i = 0; i < p->n && !dev->is_hung; i++)
        fn->DestroyPipeline(dev->device, p->all[i].handle, NULL);
    if (!dev->is_hung && dev->device) {
        if (p->cache)
            fn->DestroyPipelineCache(dev->device, p->cache, NULL);
        if (p->layout)
            fn->DestroyPipelineLayout(dev->device, p->layout, NULL);
        if (p->set_layout)
            fn->DestroyDescriptorSetLayout(dev->device, p->set_layout, NULL);
    }
    free(p->all);
    free(p->known);
    free(p->path);
    *p = (struct vk_pipelines){ 0 };
}

/* ----------------------------------------------------------------- making */

/* Invocations that must be one subgroup; 0: the shader does not care. */
static uint32_t required_subgroup(const struct vk_pipeline_key *key)
{
    switch (key->shader) {
    case VK_SHADER_attention_lanes: return key->spec[0];
    case VK_SHADER_matmul_lanes: return key->spec[2];
    default: return 0;
    }
}

static VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT subgroup_of(uint32_t n)
{
    return (VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT){
        VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = n,
    };
}

/* Whether the driver says that it found the pipeline in the cache. */
static bool is_hit(VkPipelineCreationFeedbackEXT told)
{
    const VkPipelineCreationFeedbackFlagsEXT both =
        VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT_EXT |
        VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT_EXT;

    return (told.flags & both) == both;
}

static int compile(struct vk_pipelines *p, struct vk_device *dev,
                   const struct vk_pipeline_key *key, VkPipeline *out)
{
    VkPipelineCreationFeedbackEXT whole = { 0 }, stage = { 0 };
    const VkPipelineCreationFeedbackCreateInfoEXT feedback = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO_EXT,
        .pPipelineCreationFeedback = &whole,
        .pipelineStageCreationFeedbackCount = 1,
        .pPipelineStageCreationFeedbacks = &stage,
    };
    VkSpecializationMapEntry entry[VK_MAX_SPEC];
    const VkSpecializationInfo spec = { .mapEntryCount = VK_MAX_SPEC,
                                        .pMapEntries = entry,
                                        .dataSize = sizeof(key->spec),
                                        .pData = key->spec };
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size =
        subgroup_of(required_subgroup(key));
    VkShaderModuleCreateInfo code = { .sType =
                                          VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .pNext = dev->tells_hits ? &feedback : NULL,
        .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                   .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                   .pName = "main",
                   .pSpecializationInfo = &spec },
        .layout = p->layout,
    };
    VkResult result;

    for (uint32_t i = 0; i < VK_MAX_SPEC; i++)
        entry[i] = (VkSpecializationMapEntry){ i, i * (uint32_t)sizeof(uint32_t),
                                               sizeof(uint32_t) };
    if (size.requiredSubgroupSize > 0) {
        info.stage.pNext = &size;
        info.stage.flags =
            VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT;
    }
    code.pCode = vk_shader_code(key->shader, &code.codeSize);
    VK_TRY(dev, CreateShaderModule, dev->device, &code, NULL, &info.stage.module);
    VK_DO(result, &dev->fn, CreateComputePipelines, dev->device, p->cache, 1, &info, NULL,
          out);
    dev->fn.DestroyShaderModule(dev->device, info.stage.module, NULL);
    p->n_hits += is_hit(whole);
    if (result == VK_SUCCESS || result == VK_ERROR_OUT_OF_HOST_MEMORY ||
        result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_DEVICE_LOST)
        return vk_device_status(dev, result);
    return ERNE_EUNSUPPORTED; /* the compiler's own trouble: another backend's turn */
}

static bool is_known(const struct vk_pipelines *p, const struct vk_pipeline_key *key)
{
    const uint64_t hash = vk_cache_hash(key);

    for (size_t i = 0; i < p->n_known; i++)
        if (p->known[i] == hash)
            return true;
    return false;
}

static int grow(struct vk_pipelines *p)
{
    const size_t cap = p->cap ? 2 * p->cap : 32;
    struct vk_pipeline *all;

    if (p->n < p->cap)
        return 0;
    all = realloc(p->all, cap * sizeof(*all));
    if (!all)
        return ERNE_ENOMEM;
    p->all = all;
    p->cap = cap;
    return 0;
}

int vk_pipelines_get(struct vk_pipelines *p, struct vk_device *dev,
                     const struct vk_pipeline_key *key, VkPipeline *out)
{
    VkPipeline handle = VK_NULL_HANDLE;

    for (size_t i = 0; i < p->n; i++)
        if (memcmp(&p->all[i].key, key, sizeof(*key)) == 0) {
            *out = p->all[i].handle;
            return 0;
        }
    ERNE_TRY(grow(p));
    const uint64_t start = pf_time_ns();

    ERNE_TRY(compile(p, dev, key, &handle));
    p->spent_ns += pf_time_ns() - start;
    p->all[p->n++] = (struct vk_pipeline){ *key, handle };
    p->n_compiled += !is_known(p, key);
    *out = handle;
    return 0;
}
