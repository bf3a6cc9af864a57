/* vk_device.c -- opens the loader, an instance and a device. See vk_device.h.
 *
 * Core 1.1 is all that is asked for. What a device can do beyond that is looked at once,
 * here, and kept as plain facts in struct vk_device.
 */
#include "backends/vulkan/vk_device.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEVICES = 16, MAX_EXTENSIONS = 512, MAX_FAMILIES = 16 };
/* What the shaders count on (shaders/common.glsl): buffers of one dispatch, and of a
 * workgroup invocations and shared bytes. Those of attention may need more of the last,
 * and look (vk_attention.c). */
enum { LEAST_BUFFERS = 8, LEAST_INVOCATIONS = 128, LEAST_SHARED = 16384 };

/* Whatever the system is, it has one of these. */
static const char *const loader_names[] = { "libvulkan.so.1", "vulkan-1.dll",
                                            "libvulkan.1.dylib" };

/* ---------------------------------------------------------------- results */

int vk_device_status(struct vk_device *dev, VkResult result)
{
    switch (result) {
    case VK_SUCCESS:
    case VK_INCOMPLETE: return 0;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_MEMORY_MAP_FAILED:
    case VK_ERROR_OUT_OF_POOL_MEMORY: return ERNE_ENOMEM;
    case VK_ERROR_INVALID_EXTERNAL_HANDLE:
    case VK_ERROR_INITIALIZATION_FAILED:
    case VK_ERROR_LAYER_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_INCOMPATIBLE_DRIVER: return ERNE_EUNSUPPORTED;
    case VK_TIMEOUT: dev->is_hung = true; break;
    default: break;
    }
    dev->is_lost = true;
    return ERNE_EDEVICE;
}

/* ---------------------------------------------------- loader and instance */

/* A function of the instance (NULL: of none yet); false if the loader lacks it. */
static bool load_symbols(struct vk_device *dev)
{
    struct vk_fns *fn = &dev->fn;

#define X(name)                                                                  \
    fn->name = (PFN_vk##name)fn->GetInstanceProcAddr(dev->instance, "vk" #name); \
    if (!fn->name)                                                               \
        return false;
    VK_INSTANCE_FNS(X)
    VK_INSTANCE_CALLS(X)
#undef X
    return true;
}

static bool load_device_symbols(struct vk_device *dev)
{
    struct vk_fns *fn = &dev->fn;

#define X(name)                                                              \
    fn->name = (PFN_vk##name)fn->GetDeviceProcAddr(dev->device, "vk" #name); \
    if (!fn->name)                                                           \
        return false;
    VK_DEVICE_FNS(X)
    VK_DEVICE_CALLS(X)
#undef X
#define X(name) fn->name = (PFN_vk##name)fn->GetDeviceProcAddr(dev->device, "vk" #name);
    VK_EXTENSION_CALLS(X)
#undef X
    return true;
}

static int open_loader(struct vk_device *dev, struct erne_error *err)
{
    const struct vk_fault *fault = dev->fn.fault;
    void *entry;

    if (fault && fault->loader) {
        if (pf_lib_open(&dev->loader, fault->loader) < 0)
            dev->loader = NULL;
    } else {
        for (size_t i = 0; !dev->loader && i < ERNE_ARRAY_LEN(loader_names); i++)
            if (pf_lib_open(&dev->loader, loader_names[i]) < 0)
                dev->loader = NULL;
    }
    if (!dev->loader)
        return erne_fail(err, ERNE_EUNSUPPORTED, "vulkan: no loader on this machine");
    entry = pf_lib_symbol(dev->loader, "vkGetInstanceProcAddr");
    memcpy(&dev->fn.GetInstanceProcAddr, &entry, sizeof(entry));
    if (!entry)
        return erne_fail(err, ERNE_EUNSUPPORTED, "vulkan: the loader has no entry point");
    return 0;
}

static int open_instance(struct vk_device *dev, struct erne_error *err)
{
    static const VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .pApplicationName = "erne",
                                           .apiVersion = VK_API_VERSION_1_1 };
    static const VkInstanceCreateInfo info = { .sType =
                                                   VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                               .pApplicationInfo = &app };
    VkResult result;

    ERNE_TRY(open_loader(dev, err));
    dev->fn.CreateInstance =
        (PFN_vkCreateInstance)dev->fn.GetInstanceProcAddr(NULL, "vkCreateInstance");
    if (!dev->fn.CreateInstance)
        return erne_fail(err, ERNE_EUNSUPPORTED, "vulkan: the loader has no instances");
    ERNE_LEAKS_BEGIN();
    VK_DO(result, &dev->fn, CreateInstance, &info, NULL, &dev->instance);
    ERNE_LEAKS_END();
    if (result != VK_SUCCESS) {
        dev->instance = VK_NULL_HANDLE;
        return erne_fail(
            err, result == VK_ERROR_OUT_OF_HOST_MEMORY ? ERNE_ENOMEM : ERNE_EUNSUPPORTED,
            "vulkan: no driver answers (%d)", (int)result);
    }
    if (!load_symbols(dev)) {
        /* Without its functions the instance cannot even be destroyed. */
        return erne_fail(err, ERNE_EUNSUPPORTED, "vulkan: the loader is older than 1.1");
    }
    return 0;
}

/* ------------------------------------------------------------------ facts */

/* The first queue family that computes; one that does nothing else is as good. */
static bool find_family(struct vk_device *dev)
{
    VkQueueFamilyProperties family[MAX_FAMILIES];
    uint32_t n = MAX_FAMILIES;

    dev->fn.GetPhysicalDeviceQueueFamilyProperties(dev->physical, &n, family);
    for (dev->queue_family = 0; dev->queue_family < n; dev->queue_family++)
        if (family[dev->queue_family].queueFlags & VK_QUEUE_COMPUTE_BIT)
            return true;
    return false;
}

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return b < a ? b : a;
}

static void read_limits(struct vk_device *dev, VkDeviceSize max_alloc)
{
    const VkPhysicalDeviceLimits *limits = &dev->props.limits;
    const uint32_t *groups = limits->maxComputeWorkGroupCount;
    const struct vk_fault *fault = dev->fn.fault;

    dev->max_alloc = max_alloc;
    dev->max_binding = limits->maxStorageBufferRange;
    dev->max_shared = limits->maxComputeSharedMemorySize;
    dev->max_groups = (uint32_t)least_of(least_of(groups[0], groups[1]), groups[2]);
    if (fault && fault->max_alloc > 0)
        dev->max_alloc = least_of(dev->max_alloc, fault->max_alloc);
    if (fault && fault->max_binding > 0)
        dev->max_binding = least_of(dev->max_binding, fault->max_binding);
    if (fault && fault->max_shared > 0)
        dev->max_shared = (uint32_t)least_of(dev->max_shared, fault->max_shared);
    if (fault && fault->max_groups > 0)
        dev->max_groups = (uint32_t)least_of(dev->max_groups, fault->max_groups);
}

static void read_facts(struct vk_device *dev)
{
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES
    };
    VkPhysicalDeviceMaintenance3Properties alloc = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
        .pNext = &subgroup
    };
    VkPhysicalDeviceProperties2 props = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &alloc
    };

    dev->id = (VkPhysicalDeviceIDProperties){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES
    };
    subgroup.pNext = &dev->id;
    dev->fn.GetPhysicalDeviceProperties2(dev->physical, &props);
    dev->fn.GetPhysicalDeviceMemoryProperties(dev->physical, &dev->memory);
    dev->props = props.properties;
    dev->id.pNext = NULL;
    dev->subgroup = subgroup.subgroupSize;
    read_limits(dev, alloc.maxMemoryAllocationSize);
    dev->bind_align = dev->props.limits.minStorageBufferOffsetAlignment;
    dev->is_cpu = dev->props.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    dev->on_host =
        dev->is_cpu || dev->props.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
}

/* Whether the shaders can run on the device at all. */
static bool is_usable(struct vk_device *dev)
{
    const VkPhysicalDeviceLimits *limits = &dev->props.limits;

    return dev->props.apiVersion >= VK_API_VERSION_1_1 && find_family(dev) &&
           limits->maxPerStageDescriptorStorageBuffers >= LEAST_BUFFERS &&
           limits->maxComputeWorkGroupInvocations >= LEAST_INVOCATIONS &&
           dev->max_shared >= LEAST_SHARED;
}

static int list_devices(struct vk_device *dev, VkPhysicalDevice list[MAX_DEVICES],
                        uint32_t *n)
{
    VkResult result;

    *n = MAX_DEVICES;
    ERNE_LEAKS_BEGIN();
    VK_DO(result, &dev->fn, EnumeratePhysicalDevices, dev->instance, n, list);
    ERNE_LEAKS_END();
    return vk_device_status(dev, result);
}

/* The usable device with that number among the usable. */
static int pick_device(struct vk_device *dev, int index, struct erne_error *err)
{
    VkPhysicalDevice list[MAX_DEVICES] = { 0 };
    uint32_t n = 0;
    int st = list_devices(dev, list, &n), n_usable = 0;

    if (st < 0)
        return erne_fail(err, st, "vulkan: cannot list devices");
    for (uint32_t i = 0; i < n; i++) {
        dev->physical = list[i];
        read_facts(dev);
        if (is_usable(dev) && n_usable++ == index)
            return 0;
    }
    if (n_usable == 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "vulkan: no device on this machine has Vulkan 1.1 compute");
    return erne_fail(err, ERNE_EUNSUPPORTED, "no Vulkan device %d: there %s %d", index,
                     n_usable == 1 ? "is" : "are", n_usable);
}

static int has_extension(struct vk_device *dev, const char *name, bool *has)
{
    VkExtensionProperties list[MAX_EXTENSIONS];
    uint32_t n = MAX_EXTENSIONS;

    *has = false;
    VK_TRY(dev, EnumerateDeviceExtensionProperties, dev->physical, NULL, &n, list);
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(list[i].extensionName, name) == 0)
            *has = true;
    return 0;
}

/* Host memory is used in place where it is the device's own, never across a bus. */
static int find_import(struct vk_device *dev)
{
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT
    };
    VkPhysicalDeviceProperties2 props = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &host
    };
    bool has;

    dev->import_align = 0;
    ERNE_TRY(has_extension(dev, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME, &has));
    if (dev->fn.fault && dev->fn.fault->no_host_import)
        has = false;
    if (!has || !dev->on_host)
        return 0;
    dev->fn.GetPhysicalDeviceProperties2(dev->physical, &props);
    dev->import_align = host.minImportedHostPointerAlignment;
    return 0;
}

/* Fills in chains of properties and features; false if the device lacks the extension
 * that they are of. */
static int ask(struct vk_device *dev, const char *extension, void *properties,
               void *features, bool *has)
{
    VkPhysicalDeviceProperties2 props = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = properties
    };
    VkPhysicalDeviceFeatures2 all = { .sType =
                                          VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                      .pNext = features };

    ERNE_TRY(has_extension(dev, extension, has));
    if (!*has)
        return 0;
    dev->fn.GetPhysicalDeviceProperties2(dev->physical, &props);
    dev->fn.GetPhysicalDeviceFeatures2(dev->physical, &all);
    return 0;
}

/* Subgroups of 8 or 16 that are what the device has anyway, and that can be relied on:
 * of a size that is asked for, full, and able to shuffle. */
static int find_narrow(struct vk_device *dev)
{
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT
    };
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &size
    };
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT has_size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT
    };
    bool has;

    dev->narrow = 0;
    ERNE_TRY(ask(dev, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, &subgroup, &has_size,
                 &has));
    if (!has || !has_size.subgroupSizeControl || !has_size.computeFullSubgroups ||
        !(size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) ||
        !(subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) ||
        !(subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT))
        return 0;
    for (uint32_t n = 8; n <= 16; n *= 2)
        if (n <= dev->subgroup && dev->subgroup <= 16 && size.minSubgroupSize <= n &&
            n <= size.maxSubgroupSize)
            dev->narrow = n;
    return 0;
}

/* Products of four signed bytes by four, summed. */
static int find_dot(struct vk_device *dev)
{
    VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR dot = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR
    };
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR has_dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR
    };
    bool has;

    ERNE_TRY(
        ask(dev, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME, &dot, &has_dot, &has));
    dev->has_dot = has && has_dot.shaderIntegerDotProduct;
    dev->fast_dot = dev->has_dot && dot.integerDotProduct4x8BitPackedSignedAccelerated;
    return 0;
}

/* ------------------------------------------------------------ life cycle */

static int create_device(struct vk_device *dev)
{
    static const float priority = 1.0f;
    const char *extensions[4];
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
        .shaderIntegerDotProduct = VK_TRUE
    };
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT subgroups = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = VK_TRUE,
    };
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = dev->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkDeviceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                .queueCreateInfoCount = 1,
                                .pQueueCreateInfos = &queue,
                                .ppEnabledExtensionNames = extensions };
    VkResult result;

    ERNE_TRY(find_import(dev));
    ERNE_TRY(find_narrow(dev));
    ERNE_TRY(find_dot(dev));
    ERNE_TRY(has_extension(dev, VK_EXT_PIPELINE_CREATION_FEEDBACK_EXTENSION_NAME,
                           &dev->tells_hits));
    if (dev->tells_hits)
        extensions[info.enabledExtensionCount++] =
            VK_EXT_PIPELINE_CREATION_FEEDBACK_EXTENSION_NAME;
    if (dev->import_align > 0)
        extensions[info.enabledExtensionCount++] =
            VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
    if (dev->narrow > 0) {
        extensions[info.enabledExtensionCount++] =
            VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
        info.pNext = &subgroups;
    }
    if (dev->has_dot) {
        extensions[info.enabledExtensionCount++] =
            VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
        dot.pNext = (void *)(uintptr_t)info.pNext;
        info.pNext = &dot;
    }
    VK_DO(result, &dev->fn, CreateDevice, dev->physical, &info, NULL, &dev->device);
    if (result != VK_SUCCESS) {
        dev->device = VK_NULL_HANDLE;
        return vk_device_status(dev, result);
    }
    if (!load_device_symbols(dev))
        return ERNE_EUNSUPPORTED;
    if (!dev->fn.GetMemoryHostPointerPropertiesEXT)
        dev->import_align = 0;
    dev->fn.GetDeviceQueue(dev->device, dev->queue_family, 0, &dev->queue);
    return 0;
}

int vk_device_memory_type(const struct vk_device *dev, uint32_t allowed,
                          VkMemoryPropertyFlags wanted)
{
    for (uint32_t i = 0; i < dev->memory.memoryTypeCount; i++)
        if ((allowed >> i & 1) &&
            (dev->memory.memoryTypes[i].propertyFlags & wanted) == wanted)
            return (int)i;
    return -1;
}

static void find_staging(struct vk_device *dev)
{
    const VkMemoryPropertyFlags seen = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                       VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                       VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

    /* A discrete card may show a window of its memory; reads through it are slow. */
    dev->staged = !dev->on_host || vk_device_memory_type(dev, UINT32_MAX, seen) < 0 ||
                  (dev->fn.fault && dev->fn.fault->staged);
}

int vk_device_open(struct vk_device *dev, const struct erne_backend_opts *opts,
                   struct erne_error *err)
{
    enum { LIMIT_MS = 60 * 1000, LIMIT_CPU_MS = 1800 * 1000 };
    int st;

    *dev = (struct vk_device){ .fn.fault = opts->hook };
    st = open_instance(dev, err);
    if (st == 0)
        st = pick_device(dev, opts->device, err);
    if (st < 0)
        goto fail;
    st = create_device(dev);
    if (st < 0) {
        erne_fail(err, st, "vulkan: %s: cannot be opened: %s", dev->props.deviceName,
                  erne_status_text(st));
        goto fail;
    }
    find_staging(dev);
    dev->time_limit_ns = 1000 * 1000 *
                         (uint64_t)(opts->time_limit_ms > 0 ? opts->time_limit_ms
                                    : dev->is_cpu           ? LIMIT_CPU_MS
                                                            : LIMIT_MS);
    return 0;
fail:
    vk_device_close(dev);
    return st;
}

void vk_device_close(struct vk_device *dev)
{
    if (dev->is_hung) {
        pf_lib_keep(&dev->loader); /* the driver still works with all of it */
        return;
    }
    if (dev->device && dev->fn.DestroyDevice)
        dev->fn.DestroyDevice(dev->device, NULL);
    if (dev->instance && dev->fn.DestroyInstance)
        dev->fn.DestroyInstance(dev->instance, NULL);
    pf_lib_keep(&dev->loader); /* threads of drivers may outlive their devices */
    *dev = (struct vk_device){ 0 };
}

/* ---------------------------------------------------------------- listing */

enum { UUID_TEXT = 2 * VK_UUID_SIZE + 1 };

static int visit_one(struct vk_device *dev, int index,
                     int (*visit)(void *user, const struct erne_device_info *info),
                     void *user)
{
    const uint32_t v = dev->props.apiVersion, w = dev->props.driverVersion;
    char detail[96], driver[48], uuid[UUID_TEXT];
    struct erne_device_info info = { .backend = "vulkan",
                                     .index = index,
                                     .name = dev->props.deviceName,
                                     .driver = driver,
                                     .uuid = uuid,
                                     .detail = detail,
                                     .shares_memory = dev->import_align > 0,
                                     .is_software = dev->is_cpu };

    /* How the number is made up differs between drivers; this is Vulkan's own way. */
    snprintf(driver, sizeof(driver), "%u.%u.%u of %04x", VK_API_VERSION_MAJOR(w),
             VK_API_VERSION_MINOR(w), VK_API_VERSION_PATCH(w), dev->props.vendorID);
    snprintf(detail, sizeof(detail), "Vulkan %u.%u, subgroups of %u%s%s",
             VK_API_VERSION_MAJOR(v), VK_API_VERSION_MINOR(v), dev->subgroup,
             dev->narrow > 0 ? ", lanes kernels" : "",
             dev->fast_dot ? ", byte products" : "");
    for (size_t i = 0; i < VK_UUID_SIZE; i++)
        snprintf(uuid + 2 * i, 3, "%02x", dev->id.deviceUUID[i]);
    for (uint32_t i = 0; i < dev->memory.memoryHeapCount; i++)
        if (dev->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            info.memory_bytes += dev->memory.memoryHeaps[i].size;
    return visit(user, &info);
}

int vk_device_visit(int (*visit)(void *user, const struct erne_device_info *info),
                    void *user)
{
    struct vk_device dev = { 0 };
    VkPhysicalDevice list[MAX_DEVICES] = { 0 };
    uint32_t n = 0;
    int st = 0, index = 0;

    if (open_instance(&dev, NULL) == 0 && list_devices(&dev, list, &n) == 0)
        for (uint32_t i = 0; i < n && st == 0; i++) {
            dev.physical = list[i];
            read_facts(&dev);
            if (is_usable(&dev) && find_import(&dev) == 0 && find_narrow(&dev) == 0 &&
                find_dot(&dev) == 0)
                st = visit_one(&dev, index++, visit, user);
        }
    vk_device_close(&dev);
    return st;
}
