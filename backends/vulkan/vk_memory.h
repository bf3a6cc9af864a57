/* vk_memory.h -- which device memory stands for which host memory.
 *
 * Tensors keep their host addresses; a kernel finds its buffers by them. A range that was
 * mapped is the host's own memory where the device can work there, else a copy.
 */
#ifndef ERNE_VK_MEMORY_H
#define ERNE_VK_MEMORY_H

#include "backends/vulkan/vk_device.h"

/* A buffer with memory of its own. */
struct vk_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceSize n_bytes;
    uint8_t *mapped; /* NULL: out of the host's sight */
};

/* What was mapped, or a part of it: weights for which one allocation is too small lie in
 * several, each overlapping the next by a quarter, so that any tile is whole in one. */
struct vk_range {
    const uint8_t *base;
    const uint8_t *whole; /* where the mapping begins */
    size_t n_bytes;
    unsigned n_users; /* of the mapping; in its first part */
    struct vk_buffer buffer;
    VkDeviceSize offset; /* of base in the buffer */
    bool is_shared;      /* the host's memory itself */
};

/* What a binding needs: bytes of a buffer, and which of them is the first wanted. */
struct vk_view {
    VkBuffer buffer;
    VkDeviceSize offset, n_bytes; /* offset: as aligned as the device wants it */
    uint32_t skip;                /* bytes from offset to what was asked for */
};

struct vk_memory {
    struct vk_range *ranges; /* [n_ranges] by address */
    size_t n_ranges, cap_ranges;
    size_t largest; /* that an allocation got, as far as was tried; 0: not tried */
    struct vk_buffer scratch;
    struct erne_memory_use use;
};

void vk_memory_deinit(struct vk_memory *mem, struct vk_device *dev);

/* EUNSUPPORTED for more than one allocation may have and no weight, ENOMEM. *is_new: it
 * was not mapped before. Nothing is uploaded. */
int vk_memory_map(struct vk_memory *mem, struct vk_device *dev,
                  const struct erne_range *range, bool *is_new);
/* The parts of a mapping ([*n]). */
const struct vk_range *vk_memory_parts(const struct vk_memory *mem, const void *base,
                                       size_t *n);
/* True if that was the last user, and what was recorded with the range is void. */
bool vk_memory_unmap(struct vk_memory *mem, struct vk_device *dev, const void *base);

/* The range that has these bytes; NULL: nobody mapped them. */
struct vk_range *vk_memory_range(const struct vk_memory *mem, const void *host,
                                 size_t n_bytes);
/* How many bytes from host on lie together. */
size_t vk_memory_room(const struct vk_memory *mem, const void *host);
/* The same as a view of at most max_binding bytes; EINVAL if there is none. */
int vk_memory_find(const struct vk_memory *mem, const struct vk_device *dev,
                   const void *host, size_t n_bytes, struct vk_view *out);

/* Bytes on the device, in the host's sight if `host` is set. */
int vk_buffer_create(struct vk_buffer *out, struct vk_device *dev, VkDeviceSize n_bytes,
                     bool host);
void vk_buffer_destroy(struct vk_buffer *buffer, struct vk_device *dev);

#endif
