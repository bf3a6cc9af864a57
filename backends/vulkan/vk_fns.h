/* vk_fns.h -- every Vulkan function that the backend calls, once.
 *
 * The loader is opened at run time (no link dependency), so each is a pointer. X(name):
 * functions without a result, or whose result is no VkResult; those that can fail come in
 * lists of their own and get a number, for vk_fault.h.
 */
#ifndef ERNE_VK_FNS_H
#define ERNE_VK_FNS_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "backends/vulkan/vk_fault.h"

#define VK_GLOBAL_CALLS(X) X(CreateInstance)

#define VK_INSTANCE_FNS(X)                    \
    X(DestroyInstance)                        \
    X(GetPhysicalDeviceFeatures2)             \
    X(GetPhysicalDeviceProperties2)           \
    X(GetPhysicalDeviceMemoryProperties)      \
    X(GetPhysicalDeviceQueueFamilyProperties) \
    X(GetDeviceProcAddr)
#define VK_INSTANCE_CALLS(X)              \
    X(EnumeratePhysicalDevices)           \
    X(EnumerateDeviceExtensionProperties) \
    X(CreateDevice)

#define VK_DEVICE_FNS(X)           \
    X(DestroyDevice)               \
    X(GetDeviceQueue)              \
    X(FreeMemory)                  \
    X(UnmapMemory)                 \
    X(DestroyBuffer)               \
    X(GetBufferMemoryRequirements) \
    X(DestroyShaderModule)         \
    X(DestroyPipeline)             \
    X(DestroyPipelineLayout)       \
    X(DestroyPipelineCache)        \
    X(DestroyDescriptorSetLayout)  \
    X(DestroyDescriptorPool)       \
    X(UpdateDescriptorSets)        \
    X(DestroyCommandPool)          \
    X(DestroyFence)                \
    X(CmdBindPipeline)             \
    X(CmdBindDescriptorSets)       \
    X(CmdPushConstants)            \
    X(CmdDispatch)                 \
    X(CmdPipelineBarrier)          \
    X(CmdCopyBuffer)
#define VK_DEVICE_CALLS(X)       \
    X(AllocateMemory)            \
    X(MapMemory)                 \
    X(CreateBuffer)              \
    X(BindBufferMemory)          \
    X(CreateShaderModule)        \
    X(CreateDescriptorSetLayout) \
    X(CreatePipelineLayout)      \
    X(CreatePipelineCache)       \
    X(GetPipelineCacheData)      \
    X(CreateComputePipelines)    \
    X(CreateDescriptorPool)      \
    X(AllocateDescriptorSets)    \
    X(CreateCommandPool)         \
    X(AllocateCommandBuffers)    \
    X(BeginCommandBuffer)        \
    X(EndCommandBuffer)          \
    X(ResetCommandBuffer)        \
    X(CreateFence)               \
    X(ResetFences)               \
    X(WaitForFences)             \
    X(QueueSubmit)               \
    X(DeviceWaitIdle)

/* Of extensions: NULL where the device lacks them. */
#define VK_EXTENSION_CALLS(X) X(GetMemoryHostPointerPropertiesEXT)

#define VK_ALL_CALLS(X)  \
    VK_GLOBAL_CALLS(X)   \
    VK_INSTANCE_CALLS(X) \
    VK_DEVICE_CALLS(X)   \
    VK_EXTENSION_CALLS(X)

enum vk_call {
#define X(name) VK_CALL_##name,
    VK_ALL_CALLS(X)
#undef X
        VK_CALL_COUNT
};

struct vk_fns {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define X(name) PFN_vk##name name;
    VK_INSTANCE_FNS(X)
    VK_DEVICE_FNS(X)
    VK_ALL_CALLS(X)
#undef X
    const struct vk_fault *fault; /* NULL but in tests */
};

/* What the hook answers in place of a call. */
static inline VkResult vk_fault_answer(const struct vk_fns *fn, enum vk_call call)
{
    if (!fn->fault || !fn->fault->answer)
        return VK_SUCCESS;
    return (VkResult)fn->fault->answer(fn->fault->user, (int)call);
}

/* The only way to make a call that can fail: VK_DO(result, fn, CreateFence, device, ...).
 */
#define VK_DO(result, fn, name, ...)                      \
    do {                                                  \
        (result) = vk_fault_answer((fn), VK_CALL_##name); \
        if ((result) == VK_SUCCESS)                       \
            (result) = (fn)->name(__VA_ARGS__);           \
    } while (0)

#endif
