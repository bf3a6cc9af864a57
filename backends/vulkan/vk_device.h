/* vk_device.h -- the loader, one device of it with its queue, and what was found out
 * about it. Nothing here depends on a vendor's name: only on features and limits. */
#ifndef ERNE_VK_DEVICE_H
#define ERNE_VK_DEVICE_H

#include <stdint.h>

#include "backends/vulkan/vk_fns.h"
#include "platforms/platform.h"
#include "runtime/backend.h"

struct vk_device {
    struct pf_lib *loader;
    struct vk_fns fn;
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;
    VkPhysicalDeviceProperties props;
    VkPhysicalDeviceIDProperties id;
    VkPhysicalDeviceMemoryProperties memory;

    VkDeviceSize max_alloc;    /* what one allocation may have, as the driver says */
    VkDeviceSize max_binding;  /* what a shader may see of a buffer at once */
    uint32_t max_shared;       /* bytes that the invocations of a workgroup share */
    uint32_t max_groups;       /* workgroups of a dispatch, along any of its axes */
    VkDeviceSize bind_align;   /* of a binding's first byte; a power of two */
    VkDeviceSize import_align; /* of host memory; 0: cannot use it */
    uint32_t subgroup;         /* invocations that run together */
    uint32_t narrow;           /* 8 or 16: subgroups that shaders can have; 0: neither */
    bool has_dot;              /* products of four bytes by four */
    bool fast_dot;             /* faster than one by one, as the driver says */
    bool tells_hits;           /* which pipelines its cache had */
    bool on_host;              /* the processor itself, or one that shares its memory */
    bool is_cpu;               /* compiled for the processor */
    bool staged;               /* device memory is out of the host's sight */
    uint64_t time_limit_ns;
    bool is_lost;     /* once true, nothing more is asked of it */
    bool is_hung;     /* lost while it still works: what it uses must stay */
    bool is_given_up; /* has been waited for since, in vain */
};

/* Opens device number `index` of those that vk_device_visit counts. EUNSUPPORTED with
 * the reason, ENOMEM, EDEVICE. */
int vk_device_open(struct vk_device *dev, const struct erne_backend_opts *opts,
                   struct erne_error *err);
void vk_device_close(struct vk_device *dev);

/* Calls visit for each device that could be opened; none is no error. */
int vk_device_visit(int (*visit)(void *user, const struct erne_device_info *info),
                    void *user);

/* A Vulkan result as a status; remembers that the device is lost. */
int vk_device_status(struct vk_device *dev, VkResult result);

/* A memory type out of the bits of `allowed` that has the properties wanted; -1: none. */
int vk_device_memory_type(const struct vk_device *dev, uint32_t allowed,
                          VkMemoryPropertyFlags wanted);

/* Calls through the device's table and forwards a failure as a status. */
#define VK_TRY(dev, name, ...)                                \
    do {                                                      \
        VkResult vk_try_result_;                              \
        VK_DO(vk_try_result_, &(dev)->fn, name, __VA_ARGS__); \
        ERNE_TRY(vk_device_status((dev), vk_try_result_));    \
    } while (0)

#endif
