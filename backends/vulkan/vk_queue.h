/* vk_queue.h -- recording dispatches, replaying them, and copies to and from the device.
 *
 * A list of nodes with the same numbers of rows gives the same commands every step, since
 * all else that changes is data. So it is recorded once and submitted again.
 */
#ifndef ERNE_VK_QUEUE_H
#define ERNE_VK_QUEUE_H

#include "backends/vulkan/vk_memory.h"
#include "backends/vulkan/vk_pipeline.h"

/* What a dispatch reads or writes: rows of n_bytes, `stride` bytes apart. */
struct vk_region {
    uintptr_t first; /* host address; of scratch: offset in it */
    size_t n_bytes, stride, n_rows;
    bool is_scratch, is_written;
};

struct vk_binding {
    struct vk_view view;     /* buffer NULL: the shader does not read this binding */
    struct vk_region region; /* n_rows 0: weights and the like, written by no dispatch */
};

/* One dispatch, filled by vk_ops.h's helpers. */
struct vk_dispatch {
    struct vk_pipeline_key key;
    struct vk_binding binding[VK_MAX_BINDINGS];
    uint32_t push[VK_MAX_PUSH];
    uint32_t n_groups[3];
};

enum { VK_MAX_RECORDINGS = 16, VK_MAX_REGIONS = 64 };

struct vk_recording {
    struct erne_node *const *nodes; /* NULL: unused */
    size_t n_nodes;
    int32_t n_tok, n_out;
    VkCommandBuffer commands;
    VkDescriptorPool *pools; /* [n_pools] */
    size_t n_pools, cap_pools;
    uint32_t n_left;    /* sets that the last pool still has */
    uint64_t last_used; /* by vk_queue.clock */
};

struct vk_queue {
    VkCommandPool pool;
    VkCommandBuffer copies;
    VkFence fence;
    struct vk_recording recordings[VK_MAX_RECORDINGS];
    struct vk_recording *current; /* being recorded */
    uint64_t clock;
    struct vk_region regions[VK_MAX_REGIONS]; /* touched since the last barrier */
    int n_regions;
    struct vk_buffer staging;
    VkDeviceSize n_staged; /* bytes of it that wait in `copies` for the next submit */
    bool has_copies;
};

int vk_queue_init(struct vk_queue *q, struct vk_device *dev);
void vk_queue_deinit(struct vk_queue *q, struct vk_device *dev);

/* The recording of these nodes at these sizes, or a new one that *is_new says must be
 * filled by vk_queue_dispatch and ended by vk_queue_end. */
int vk_queue_begin(struct vk_queue *q, struct vk_device *dev,
                   struct erne_node *const *nodes, size_t n_nodes,
                   const struct erne_step *step, struct vk_recording **out, bool *is_new);
int vk_queue_dispatch(struct vk_queue *q, struct vk_device *dev, struct vk_pipelines *p,
                      const struct vk_dispatch *d);
int vk_queue_end(struct vk_queue *q, struct vk_device *dev);
/* Gives the recording being made up. */
void vk_queue_drop(struct vk_queue *q, struct vk_device *dev, struct vk_recording *r);
/* A hung device gets its time once more, as nothing that it uses can be freed before: a
 * processor's threads would read what is not there. Only once. */
void vk_queue_settle(struct vk_queue *q, struct vk_device *dev);
/* All recordings are void: memory or nodes they speak of are going. */
void vk_queue_forget(struct vk_queue *q, struct vk_device *dev);

/* Copies that wait, then the recording (NULL: none), and waits for the end. */
int vk_queue_submit(struct vk_queue *q, struct vk_device *dev,
                    const struct vk_recording *r);

/* Between the host and a buffer that it does not see, through the staging buffer. Writes
 * may wait for the next submit; reads are there on return. */
int vk_queue_write(struct vk_queue *q, struct vk_device *dev, VkBuffer dst,
                   VkDeviceSize offset, const void *src, size_t n_bytes);
int vk_queue_read(struct vk_queue *q, struct vk_device *dev, void *dst, VkBuffer src,
                  VkDeviceSize offset, size_t n_bytes);

#endif
