/* vk_memory.c -- ranges of host memory and the buffers that stand for them. */
#include "backends/vulkan/vk_memory.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/round.h"

enum { ROUND = 256, PART_ROUND = 1 << 14, LEAST_PART = 1 << 20, LEAST_TRIED = 32 << 20 };

static const VkBufferUsageFlags usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_DST_BIT;
static const VkMemoryPropertyFlags host_seen =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

/* ---------------------------------------------------------------- buffers */

static int create_handle(struct vk_buffer *b, struct vk_device *dev, const void *next)
{
    const VkBufferCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                      .pNext = next,
                                      .size = b->n_bytes,
                                      .usage = usage,
                                      .sharingMode = VK_SHARING_MODE_EXCLUSIVE };

    VK_TRY(dev, CreateBuffer, dev->device, &info, NULL, &b->buffer);
    return 0;
}

/* Memory of a type, with what `next` says about it, bound to the buffer. */
static int bind_memory(struct vk_buffer *b, struct vk_device *dev, VkDeviceSize n_bytes,
                       int type, const void *next)
{
    const VkMemoryAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                        .pNext = next,
                                        .allocationSize = n_bytes,
                                        .memoryTypeIndex = (uint32_t)type };

    if (type < 0)
        return ERNE_EUNSUPPORTED;
    VK_TRY(dev, AllocateMemory, dev->device, &info, NULL, &b->memory);
    VK_TRY(dev, BindBufferMemory, dev->device, b->buffer, b->memory, 0);
    return 0;
}

static int fill_own(struct vk_buffer *b, struct vk_device *dev, bool host)
{
    VkMemoryRequirements need;
    void *mapped = NULL;
    int type;

    ERNE_TRY(create_handle(b, dev, NULL));
    dev->fn.GetBufferMemoryRequirements(dev->device, b->buffer, &need);
    if (host) {
        type = vk_device_memory_type(dev, need.memoryTypeBits,
                                     host_seen | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
        if (type < 0)
            type = vk_device_memory_type(dev, need.memoryTypeBits, host_seen);
    } else {
        type = vk_device_memory_type(dev, need.memoryTypeBits,
                                     VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    }
    ERNE_TRY(bind_memory(b, dev, need.size, type, NULL));
    if (!host)
        return 0;
    VK_TRY(dev, MapMemory, dev->device, b->memory, 0, VK_WHOLE_SIZE, 0, &mapped);
    b->mapped = mapped;
    return 0;
}

int vk_buffer_create(struct vk_buffer *out, struct vk_device *dev, VkDeviceSize n_bytes,
                     bool host)
{
    struct vk_buffer b = { .n_bytes = erne_align_up(n_bytes ? n_bytes : 1, ROUND) };
    int st;

    if (b.n_bytes > dev->max_alloc)
        return ERNE_EUNSUPPORTED;
    st = fill_own(&b, dev, host);
    if (st < 0)
        vk_buffer_destroy(&b, dev);
    else
        *out = b;
    return st;
}

void vk_buffer_destroy(struct vk_buffer *b, struct vk_device *dev)
{
    if (!dev->is_hung) {
        if (b->mapped)
            dev->fn.UnmapMemory(dev->device, b->memory);
        if (b->buffer)
            dev->fn.DestroyBuffer(dev->device, b->buffer, NULL);
        if (b->memory)
            dev->fn.FreeMemory(dev->device, b->memory, NULL);
    }
    *b = (struct vk_buffer){ 0 };
}

/* ----------------------------------------------------------- host memory */

/* The pages around the range become the buffer's memory. */
static int import_pages(struct vk_range *r, struct vk_device *dev)
{
    const VkExternalMemoryHandleTypeFlagBits handle =
        VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
    const VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
        .handleTypes = handle,
    };
    VkMemoryHostPointerPropertiesEXT props = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT
    };
    VkImportMemoryHostPointerInfoEXT import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .handleType = handle,
    };
    VkMemoryRequirements need;

    r->offset = (uintptr_t)r->base % dev->import_align;
    r->buffer.n_bytes = erne_align_up(r->offset + r->n_bytes, dev->import_align);
    /* Weights are only read, which the interface cannot say. */
    memcpy(&import.pHostPointer, &(const void *){ r->base - r->offset }, sizeof(void *));
    VK_TRY(dev, GetMemoryHostPointerPropertiesEXT, dev->device, handle,
           import.pHostPointer, &props);
    ERNE_TRY(create_handle(&r->buffer, dev, &external));
    dev->fn.GetBufferMemoryRequirements(dev->device, r->buffer.buffer, &need);
    if (need.size > r->buffer.n_bytes)
        return ERNE_EUNSUPPORTED;
    return bind_memory(
        &r->buffer, dev, r->buffer.n_bytes,
        vk_device_memory_type(dev, need.memoryTypeBits & props.memoryTypeBits, host_seen),
        &import);
}

static int fill_range(struct vk_range *r, struct vk_device *dev)
{
    int st;

    if (dev->import_align > 0) {
        st = import_pages(r, dev);
        if (st == 0) {
            r->is_shared = true;
            return 0;
        }
        vk_buffer_destroy(&r->buffer, dev);
        r->offset = 0;
        /* Some drivers take no pages of files: a copy does. */
        if (dev->is_lost)
            return st;
    }
    return vk_buffer_create(&r->buffer, dev, r->n_bytes, !dev->staged);
}

/* ----------------------------------------------------------------- ranges */

/* The number of ranges that start at or before the address. */
static size_t n_before(const struct vk_memory *mem, const uint8_t *host)
{
    size_t low = 0, high = mem->n_ranges;

    while (low < high) {
        const size_t middle = (low + high) / 2;

        if (mem->ranges[middle].base <= host)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct vk_range *vk_memory_range(const struct vk_memory *mem, const void *host,
                                 size_t n_bytes)
{
    const uint8_t *at = host;
    const size_t n = n_before(mem, at);
    struct vk_range *r = n > 0 ? &mem->ranges[n - 1] : NULL;

    if (!r || (size_t)(at - r->base) + n_bytes > r->n_bytes)
        return NULL;
    return r;
}

size_t vk_memory_room(const struct vk_memory *mem, const void *host)
{
    const struct vk_range *r = vk_memory_range(mem, host, 1);

    return r ? r->n_bytes - (size_t)((const uint8_t *)host - r->base) : 0;
}

const struct vk_range *vk_memory_parts(const struct vk_memory *mem, const void *base,
                                       size_t *n)
{
    const size_t end = n_before(mem, base);
    const struct vk_range *first = end > 0 ? &mem->ranges[end - 1] : NULL;

    *n = 0;
    if (!first || first->base != base || first->whole != base)
        return NULL;
    while (end - 1 + *n < mem->n_ranges && first[*n].whole == base)
        ++*n;
    return first;
}

static int grow(struct vk_memory *mem)
{
    const size_t cap = mem->cap_ranges ? 2 * mem->cap_ranges : 64;
    struct vk_range *ranges;

    if (mem->n_ranges < mem->cap_ranges)
        return 0;
    ranges = realloc(mem->ranges, cap * sizeof(*ranges));
    if (!ranges)
        return ERNE_ENOMEM;
    mem->ranges = ranges;
    mem->cap_ranges = cap;
    return 0;
}

/* With a buffer of its own. */
static int add_range(struct vk_memory *mem, struct vk_device *dev,
                     const struct vk_range *range)
{
    struct vk_range r = *range;
    const size_t at = n_before(mem, r.base);

    ERNE_TRY(grow(mem));
    ERNE_TRY(fill_range(&r, dev));
    memmove(mem->ranges + at + 1, mem->ranges + at,
            (mem->n_ranges - at) * sizeof(*mem->ranges));
    mem->ranges[at] = r;
    mem->n_ranges++;
    erne_memory_use_take(&mem->use, r.n_bytes, r.is_shared);
    return 0;
}

static void remove_parts(struct vk_memory *mem, struct vk_device *dev, const void *base)
{
    size_t n, first;
    const struct vk_range *parts = vk_memory_parts(mem, base, &n);

    if (n == 0)
        return;
    first = (size_t)(parts - mem->ranges);
    for (size_t i = first; i < first + n; i++) {
        erne_memory_use_give(&mem->use, mem->ranges[i].n_bytes, mem->ranges[i].is_shared);
        vk_buffer_destroy(&mem->ranges[i].buffer, dev);
    }
    mem->n_ranges -= n;
    memmove(mem->ranges + first, mem->ranges + first + n,
            (mem->n_ranges - first) * sizeof(*mem->ranges));
}

/* In parts of at most `largest` bytes: one, if it can be. */
static int add_parts(struct vk_memory *mem, struct vk_device *dev,
                     const struct erne_range *src, size_t largest)
{
    const size_t most = largest & ~(size_t)(PART_ROUND - 1);
    size_t first = 0;

    for (;;) {
        const size_t left = src->n_bytes - first;
        const struct vk_range part = { .base = (const uint8_t *)src->base + first,
                                       .whole = src->base,
                                       .n_bytes = left <= largest ? left : most,
                                       .n_users = 1 };
        const int st = add_range(mem, dev, &part);

        if (st < 0) {
            remove_parts(mem, dev, src->base);
            return st;
        }
        if (part.n_bytes == left)
            return 0;
        first += most - most / 4;
    }
}

/* What the driver says of the largest allocation is only where trying begins. Where even
 * small ones fail, it is not their size that is wrong. */
int vk_memory_map(struct vk_memory *mem, struct vk_device *dev,
                  const struct erne_range *src, bool *is_new)
{
    const bool may_split = src->mem == ERNE_MEM_WEIGHT;
    size_t n;
    const struct vk_range *parts = vk_memory_parts(mem, src->base, &n);

    *is_new = n == 0;
    if (n > 0) {
        mem->ranges[parts - mem->ranges].n_users++;
        return 0;
    }
    if (mem->largest == 0)
        mem->largest = dev->max_alloc < SIZE_MAX ? (size_t)dev->max_alloc : SIZE_MAX;
    if (src->n_bytes > mem->largest && (!may_split || mem->largest < LEAST_PART))
        return ERNE_EUNSUPPORTED; /* what is written must not be there twice */
    for (size_t largest = mem->largest;;) {
        const size_t tried = src->n_bytes < largest ? src->n_bytes : largest;
        const int st = add_parts(mem, dev, src, largest);

        if (st == 0)
            mem->largest = largest;
        if (st != ERNE_ENOMEM || !may_split || tried / 2 < LEAST_TRIED)
            return st;
        largest = tried / 2;
    }
}

bool vk_memory_unmap(struct vk_memory *mem, struct vk_device *dev, const void *base)
{
    size_t n;
    const struct vk_range *parts = vk_memory_parts(mem, base, &n);

    if (n == 0 || --mem->ranges[parts - mem->ranges].n_users > 0)
        return false;
    remove_parts(mem, dev, base);
    return true;
}

int vk_memory_find(const struct vk_memory *mem, const struct vk_device *dev,
                   const void *host, size_t n_bytes, struct vk_view *out)
{
    const struct vk_range *r = vk_memory_range(mem, host, n_bytes);
    VkDeviceSize at;

    if (!r)
        return ERNE_EINVAL;
    at = r->offset + (VkDeviceSize)((const uint8_t *)host - r->base);
    out->buffer = r->buffer.buffer;
    out->offset = at & ~(dev->bind_align - 1);
    out->skip = (uint32_t)(at - out->offset);
    out->n_bytes = erne_align_up(out->skip + n_bytes, 4);
    return out->n_bytes <= dev->max_binding ? 0 : ERNE_EINVAL;
}

void vk_memory_deinit(struct vk_memory *mem, struct vk_device *dev)
{
    for (size_t i = 0; i < mem->n_ranges; i++)
        vk_buffer_destroy(&mem->ranges[i].buffer, dev);
    free(mem->ranges);
    vk_buffer_destroy(&mem->scratch, dev);
    *mem = (struct vk_memory){ 0 };
}
