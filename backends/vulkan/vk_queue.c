/* vk_queue.c -- command buffers: recorded once, submitted each step. See vk_queue.h. */
#include "backends/vulkan/vk_queue.h"

#include <stdlib.h>
#include <string.h>

enum { SETS_A_POOL = 128 };
enum { STAGING_MOST = 64 << 20, STAGING_LEAST = 1 << 16 };

/* ------------------------------------------------------------ life cycle */

static int create_commands(struct vk_queue *q, struct vk_device *dev,
                           VkCommandBuffer *out)
{
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = q->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };

    VK_TRY(dev, AllocateCommandBuffers, dev->device, &info, out);
    return 0;
}

int vk_queue_init(struct vk_queue *q, struct vk_device *dev)
{
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = dev->queue_family,
    };
    const VkFenceCreateInfo fence = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };

    *q = (struct vk_queue){ 0 };
    VK_TRY(dev, CreateCommandPool, dev->device, &pool, NULL, &q->pool);
    VK_TRY(dev, CreateFence, dev->device, &fence, NULL, &q->fence);
    return create_commands(q, dev, &q->copies);
}

static void free_pools(struct vk_recording *r, struct vk_device *dev)
{
    for (size_t i = 0; i < r->n_pools && !dev->is_hung; i++)
        dev->fn.DestroyDescriptorPool(dev->device, r->pools[i], NULL);
    r->n_pools = 0;
    r->n_left = 0;
}

void vk_queue_deinit(struct vk_queue *q, struct vk_device *dev)
{
    for (int i = 0; i < VK_MAX_RECORDINGS; i++) {
        free_pools(&q->recordings[i], dev);
        free(q->recordings[i].pools);
    }
    vk_buffer_destroy(&q->staging, dev);
    if (!dev->is_hung && dev->device) {
        if (q->fence)
            dev->fn.DestroyFence(dev->device, q->fence, NULL);
        if (q->pool)
            dev->fn.DestroyCommandPool(dev->device, q->pool, NULL);
    }
    *q = (struct vk_queue){ 0 };
}

/* --------------------------------------------------------------- recording */

void vk_queue_drop(struct vk_queue *q, struct vk_device *dev, struct vk_recording *r)
{
    if (q->current == r) {
        VkResult result; /* fails only where the next begin fails, too */

        VK_DO(result, &dev->fn, ResetCommandBuffer, r->commands, 0);
        (void)result;
        q->current = NULL;
    }
    free_pools(r, dev);
    r->nodes = NULL;
}

void vk_queue_settle(struct vk_queue *q, struct vk_device *dev)
{
    const uint64_t least_ns = 5000000000u; /* however short the limit */
    const uint64_t ns = dev->time_limit_ns > least_ns ? dev->time_limit_ns : least_ns;
    VkResult result;

    if (!dev->is_hung || dev->is_given_up)
        return;
    VK_DO(result, &dev->fn, WaitForFences, dev->device, 1, &q->fence, VK_TRUE, ns);
    if (result != VK_SUCCESS) {
        dev->is_given_up = true;
        return;
    }
    dev->is_hung = false;
    (void)dev->fn.DeviceWaitIdle(dev->device);
}

void vk_queue_forget(struct vk_queue *q, struct vk_device *dev)
{
    vk_queue_settle(q, dev);
    for (int i = 0; i < VK_MAX_RECORDINGS; i++)
        vk_queue_drop(q, dev, &q->recordings[i]);
}

static bool is_of(const struct vk_recording *r, struct erne_node *const *nodes,
                  size_t n_nodes, const struct erne_step *step)
{
    return r->nodes == nodes && r->n_nodes == n_nodes && r->n_tok == step->n_tok &&
           r->n_out == step->n_out;
}

static int begin_commands(struct vk_device *dev, VkCommandBuffer commands, bool once)
{
    const VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = once ? VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT : 0u,
    };

    VK_TRY(dev, BeginCommandBuffer, commands, &info);
    return 0;
}

int vk_queue_begin(struct vk_queue *q, struct vk_device *dev,
                   struct erne_node *const *nodes, size_t n_nodes,
                   const struct erne_step *step, struct vk_recording **out, bool *is_new)
{
    struct vk_recording *oldest = &q->recordings[0], *r;

    *is_new = false;
    for (int i = 0; i < VK_MAX_RECORDINGS; i++) {
        r = &q->recordings[i];
        if (is_of(r, nodes, n_nodes, step)) {
            r->last_used = ++q->clock;
            *out = r;
            return 0;
        }
        if (!r->nodes ? oldest->nodes != NULL
                      : oldest->nodes && r->last_used < oldest->last_used)
            oldest = r;
    }
    r = oldest;
    vk_queue_drop(q, dev, r);
    if (!r->commands)
        ERNE_TRY(create_commands(q, dev, &r->commands));
    ERNE_TRY(begin_commands(dev, r->commands, false));
    r->nodes = nodes;
    r->n_nodes = n_nodes;
    r->n_tok = step->n_tok;
    r->n_out = step->n_out;
    r->last_used = ++q->clock;
    q->current = r;
    q->n_regions = 0;
    *out = r;
    *is_new = true;
    return 0;
}

static int add_pool(struct vk_recording *r, struct vk_device *dev)
{
    const VkDescriptorPoolSize size = { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                        SETS_A_POOL * VK_MAX_BINDINGS };
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = SETS_A_POOL,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };

    if (r->n_pools == r->cap_pools) {
        const size_t cap = r->cap_pools ? 2 * r->cap_pools : 4;
        VkDescriptorPool *pools = realloc(r->pools, cap * sizeof(VkDescriptorPool));

        if (!pools)
            return ERNE_ENOMEM;
        r->pools = pools;
        r->cap_pools = cap;
    }
    VK_TRY(dev, CreateDescriptorPool, dev->device, &info, NULL, &r->pools[r->n_pools]);
    r->n_pools++;
    r->n_left = SETS_A_POOL;
    return 0;
}

static int make_set(struct vk_recording *r, struct vk_device *dev,
                    const struct vk_pipelines *p, const struct vk_dispatch *d,
                    VkDescriptorSet *out)
{
    VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorSetCount = 1,
        .pSetLayouts = &p->set_layout,
    };
    VkDescriptorBufferInfo buffer[VK_MAX_BINDINGS];
    VkWriteDescriptorSet write[VK_MAX_BINDINGS];

    if (r->n_left == 0)
        ERNE_TRY(add_pool(r, dev));
    info.descriptorPool = r->pools[r->n_pools - 1];
    VK_TRY(dev, AllocateDescriptorSets, dev->device, &info, out);
    r->n_left--;
    for (uint32_t i = 0; i < VK_MAX_BINDINGS; i++) {
        const struct vk_view *view = &d->binding[i].view;

        /* What a shader names must be there, even where it is not read. */
        if (!view->buffer)
            view = &d->binding[0].view;
        buffer[i] = (VkDescriptorBufferInfo){ view->buffer, view->offset, view->n_bytes };
        write[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = *out,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &buffer[i],
        };
    }
    dev->fn.UpdateDescriptorSets(dev->device, VK_MAX_BINDINGS, write, 0, NULL);
    return 0;
}

/* ---------------------------------------------------------------- barriers */

/* Rows that are equally far apart may lie between each other, as q and k do in one
 * matrix; others are taken for what they span. */
static bool overlap(const struct vk_region *a, const struct vk_region *b)
{
    const size_t a_span = (a->n_rows - 1) * a->stride + a->n_bytes;
    const size_t b_span = (b->n_rows - 1) * b->stride + b->n_bytes;
    const struct vk_region *low = a->first <= b->first ? a : b;
    const struct vk_region *high = low == a ? b : a;
    size_t apart;

    if (a->is_scratch != b->is_scratch || a->first >= b->first + b_span ||
        b->first >= a->first + a_span)
        return false;
    if (a->stride != b->stride || a->stride == 0)
        return true;
    apart = (high->first - low->first) % a->stride;
    return apart < low->n_bytes || apart + high->n_bytes > a->stride;
}

static void barrier(const struct vk_device *dev, VkCommandBuffer commands,
                    VkPipelineStageFlags from, VkAccessFlags written,
                    VkPipelineStageFlags to, VkAccessFlags wanted)
{
    const VkMemoryBarrier memory = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                     .srcAccessMask = written,
                                     .dstAccessMask = wanted };

    dev->fn.CmdPipelineBarrier(commands, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

static bool must_wait(const struct vk_queue *q, const struct vk_dispatch *d)
{
    for (int b = 0; b < VK_MAX_BINDINGS; b++) {
        const struct vk_region *mine = &d->binding[b].region;

        for (int i = 0; mine->n_rows > 0 && i < q->n_regions; i++)
            if ((mine->is_written || q->regions[i].is_written) &&
                overlap(mine, &q->regions[i]))
                return true;
    }
    return q->n_regions + VK_MAX_BINDINGS > VK_MAX_REGIONS;
}

/* A barrier where the dispatch needs what an earlier one does, and only there. */
static void separate(struct vk_queue *q, const struct vk_device *dev,
                     const struct vk_dispatch *d)
{
    if (must_wait(q, d)) {
        barrier(dev, q->current->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
        q->n_regions = 0;
    }
    for (int b = 0; b < VK_MAX_BINDINGS; b++)
        if (d->binding[b].region.n_rows > 0)
            q->regions[q->n_regions++] = d->binding[b].region;
}

int vk_queue_dispatch(struct vk_queue *q, struct vk_device *dev, struct vk_pipelines *p,
                      const struct vk_dispatch *d)
{
    const VkCommandBuffer commands = q->current->commands;
    VkDescriptorSet set;
    VkPipeline pipeline;

    ERNE_TRY(vk_pipelines_get(p, dev, &d->key, &pipeline));
    ERNE_TRY(make_set(q->current, dev, p, d, &set));
    separate(q, dev, d);
    dev->fn.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    dev->fn.CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, p->layout, 0,
                                  1, &set, 0, NULL);
    dev->fn.CmdPushConstants(commands, p->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                             sizeof(d->push), d->push);
    dev->fn.CmdDispatch(commands, d->n_groups[0], d->n_groups[1], d->n_groups[2]);
    return 0;
}

int vk_queue_end(struct vk_queue *q, struct vk_device *dev)
{
    const VkCommandBuffer commands = q->current->commands;

    barrier(dev, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
            VK_ACCESS_SHADER_WRITE_BIT,
            VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT |
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
    VK_TRY(dev, EndCommandBuffer, commands);
    q->current = NULL;
    return 0;
}

/* -------------------------------------------------------------- submitting */

static int end_copies(struct vk_queue *q, struct vk_device *dev)
{
    barrier(dev, q->copies, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT |
                VK_PIPELINE_STAGE_HOST_BIT,
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                VK_ACCESS_HOST_READ_BIT);
    VK_TRY(dev, EndCommandBuffer, q->copies);
    return 0;
}

static int wait(struct vk_queue *q, struct vk_device *dev)
{
    VK_TRY(dev, WaitForFences, dev->device, 1, &q->fence, VK_TRUE, dev->time_limit_ns);
    VK_TRY(dev, ResetFences, dev->device, 1, &q->fence);
    return 0;
}

/* The copies that wait, then the recording, either of which may be none. */
static int submit(struct vk_queue *q, struct vk_device *dev, const struct vk_recording *r)
{
    VkCommandBuffer commands[2];
    VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                          .pCommandBuffers = commands };

    if (q->has_copies) {
        ERNE_TRY(end_copies(q, dev));
        commands[info.commandBufferCount++] = q->copies;
    }
    if (r)
        commands[info.commandBufferCount++] = r->commands;
    VK_TRY(dev, QueueSubmit, dev->queue, 1, &info, q->fence);
    if (wait(q, dev) == 0)
        return 0;
    /* It may still run: whatever the reason, nothing can be tried again. */
    dev->is_lost = true;
    if (!dev->is_hung)
        (void)dev->fn.DeviceWaitIdle(dev->device);
    return ERNE_EDEVICE;
}

int vk_queue_submit(struct vk_queue *q, struct vk_device *dev,
                    const struct vk_recording *r)
{
    const bool has_copies = q->has_copies;
    int st = 0;

    if (has_copies || r)
        st = submit(q, dev, r);
    q->has_copies = false;
    q->n_staged = 0;
    if (st == 0 || !has_copies)
        return st;
    /* What should have been copied is not there, and nobody knows any more what it was:
     * the device would compute with whatever there is instead. */
    dev->is_lost = true;
    return ERNE_EDEVICE;
}

/* ----------------------------------------------------------------- copies */

/* As large as the device gives, up to what a long upload makes use of. */
static int need_staging(struct vk_queue *q, struct vk_device *dev)
{
    VkDeviceSize n_bytes = dev->max_alloc < STAGING_MOST ? dev->max_alloc : STAGING_MOST;
    const struct vk_fault *fault = dev->fn.fault;
    int st = q->staging.buffer ? 0 : ERNE_ENOMEM;

    if (fault && fault->max_staging > 0 && fault->max_staging < n_bytes)
        n_bytes = fault->max_staging;
    while (st == ERNE_ENOMEM && n_bytes >= STAGING_LEAST) {
        st = vk_buffer_create(&q->staging, dev, n_bytes, true);
        n_bytes /= 2;
    }
    return st;
}

static int begin_copies(struct vk_queue *q, struct vk_device *dev)
{
    if (q->has_copies)
        return 0;
    ERNE_TRY(begin_commands(dev, q->copies, true));
    q->has_copies = true;
    return 0;
}

int vk_queue_write(struct vk_queue *q, struct vk_device *dev, VkBuffer dst,
                   VkDeviceSize offset, const void *src, size_t n_bytes)
{
    const uint8_t *from = src;

    ERNE_TRY(need_staging(q, dev));
    while (n_bytes > 0) {
        VkDeviceSize left = q->staging.n_bytes - q->n_staged;
        VkBufferCopy copy = { .srcOffset = q->n_staged, .dstOffset = offset };

        if (left == 0) {
            ERNE_TRY(vk_queue_submit(q, dev, NULL));
            continue;
        }
        copy.size = n_bytes < left ? n_bytes : left;
        ERNE_TRY(begin_copies(q, dev));
        memcpy(q->staging.mapped + q->n_staged, from, (size_t)copy.size);
        dev->fn.CmdCopyBuffer(q->copies, q->staging.buffer, dst, 1, &copy);
        q->n_staged += copy.size;
        from += copy.size;
        offset += copy.size;
        n_bytes -= (size_t)copy.size;
    }
    return 0;
}

int vk_queue_read(struct vk_queue *q, struct vk_device *dev, void *dst, VkBuffer src,
                  VkDeviceSize offset, size_t n_bytes)
{
    uint8_t *to = dst;

    ERNE_TRY(need_staging(q, dev));
    ERNE_TRY(vk_queue_submit(q, dev, NULL)); /* whatever is still to be written */
    while (n_bytes > 0) {
        VkBufferCopy copy = { .srcOffset = offset, .size = q->staging.n_bytes };

        if (copy.size > n_bytes)
            copy.size = n_bytes;
        ERNE_TRY(begin_copies(q, dev));
        dev->fn.CmdCopyBuffer(q->copies, src, q->staging.buffer, 1, &copy);
        ERNE_TRY(vk_queue_submit(q, dev, NULL));
        memcpy(to, q->staging.mapped, (size_t)copy.size);
        to += copy.size;
        offset += copy.size;
        n_bytes -= (size_t)copy.size;
    }
    return 0;
}
