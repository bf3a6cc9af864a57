/* vk_backend.c -- Vulkan as a backend: opening, memory, running a list of nodes, the
 * lists of implementations. Operators are in vk_ops.c, vk_matmul.c, vk_attention.c and
 * vk_moe.c; the device's side in vk_device.c, vk_memory.c, vk_pipeline.c, vk_queue.c. */
#include "backends/vulkan/vk_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vk_cache.h"

extern const struct erne_backend_fns erne_backend_vulkan;

/* ------------------------------------------------------------ life cycle */

static void log_line(const struct vk_backend *vk, enum erne_log_level level,
                     const char *text)
{
    if (vk->log)
        vk->log(vk->log_user, level, text);
}

static void vk_close(struct erne_backend *be)
{
    struct vk_backend *vk = vk_of(be);

    if (!vk)
        return;
    vk_queue_settle(&vk->queue, &vk->dev);
    vk_cache_save(&vk->pipelines, &vk->dev);
    vk_queue_deinit(&vk->queue, &vk->dev);
    vk_pipelines_deinit(&vk->pipelines, &vk->dev);
    vk_memory_deinit(&vk->mem, &vk->dev);
    vk_device_close(&vk->dev);
    free(vk);
}

/* Tests try all; users get the subgroups that their device has, and products of bytes
 * where it says that these are fast. */
static const char *const levels[] = { "core", "subgroups", "dot", NULL };

static bool is_level(const struct erne_backend_opts *opts, const char *level)
{
    const struct vk_fault *fault = opts->hook;
    const char *asked = fault && fault->level ? fault->level : opts->isa;

    return asked && strcmp(asked, level) == 0;
}

static int vk_open(struct erne_backend **out, const struct erne_backend_opts *opts,
                   struct erne_error *err)
{
    enum { LANES = 128, LANES_ON_CPU = 16 };
    struct vk_backend *vk = calloc(1, sizeof(*vk));
    char line[320];
    int st;

    if (!vk)
        return erne_fail(err, ERNE_ENOMEM, "no memory for the Vulkan backend");
    vk->base.fns = &erne_backend_vulkan;
    vk->log = opts->log;
    vk->log_user = opts->log_user;
    st = vk_device_open(&vk->dev, opts, err);
    if (st < 0) {
        free(vk);
        return st;
    }
    st = is_level(opts, levels[2]) && !vk->dev.has_dot ? ERNE_EUNSUPPORTED : 0;
    if (st == 0)
        st = vk_pipelines_init(&vk->pipelines, &vk->dev, opts->cache_dir);
    if (st == 0)
        st = vk_queue_init(&vk->queue, &vk->dev);
    if (st < 0) {
        erne_fail(err, st, "vulkan: %s: %s", vk->dev.props.deviceName,
                  erne_status_text(st));
        vk_close(&vk->base);
        return st;
    }
    vk->lanes = vk->dev.is_cpu ? LANES_ON_CPU : LANES;
    vk->narrow = is_level(opts, levels[0]) ? 0 : vk->dev.narrow;
    vk->by_bytes =
        vk->dev.has_dot &&
        (is_level(opts, levels[2]) ||
         (!is_level(opts, levels[0]) && !is_level(opts, levels[1]) && vk->dev.fast_dot));
    snprintf(line, sizeof(line), "vulkan: %s, %s", vk->dev.props.deviceName,
             vk->dev.import_align > 0 ? "works in the host's memory" : "works on copies");
    log_line(vk, ERNE_LOG_INFO, line);
    *out = &vk->base;
    return 0;
}

/* ---------------------------------------------------------------- memory */

/* Where the host's bytes are on the device: *at from the start of *out, which is NULL
 * where they are the host's own and there is nothing to copy. */
static int find_bytes(const struct vk_backend *vk, const void *host, size_t n_bytes,
                      const struct vk_range **out, size_t *at)
{
    const struct vk_range *r = vk_memory_range(&vk->mem, host, n_bytes);

    if (!r)
        return ERNE_EINVAL;
    if (vk->dev.is_lost)
        return ERNE_EDEVICE;
    *out = r->is_shared ? NULL : r;
    *at = (size_t)((const uint8_t *)host - r->base);
    return 0;
}

static int vk_upload(struct erne_backend *be, const void *host, size_t n_bytes)
{
    struct vk_backend *vk = vk_of(be);
    const struct vk_range *r;
    size_t at;

    ERNE_TRY(find_bytes(vk, host, n_bytes, &r, &at));
    if (!r)
        return 0;
    if (r->buffer.mapped) {
        memcpy(r->buffer.mapped + at, host, n_bytes);
        return 0;
    }
    return vk_queue_write(&vk->queue, &vk->dev, r->buffer.buffer, at, host, n_bytes);
}

static int vk_download(struct erne_backend *be, void *host, size_t n_bytes)
{
    struct vk_backend *vk = vk_of(be);
    const struct vk_range *r;
    size_t at;

    ERNE_TRY(find_bytes(vk, host, n_bytes, &r, &at));
    if (!r)
        return 0;
    if (r->buffer.mapped) {
        memcpy(host, r->buffer.mapped + at, n_bytes);
        return 0;
    }
    return vk_queue_read(&vk->queue, &vk->dev, host, r->buffer.buffer, at, n_bytes);
}

static void vk_unmap(struct erne_backend *be, const void *base)
{
    struct vk_backend *vk = vk_of(be);

    vk_queue_settle(&vk->queue, &vk->dev);
    be->keeps_memory = vk->dev.is_given_up && vk->dev.import_align > 0;
    /* Recordings may speak of the range, and copies wait to be made into it. */
    if (vk->queue.has_copies && !vk->dev.is_lost)
        (void)vk_queue_submit(&vk->queue, &vk->dev, NULL);
    if (vk_memory_unmap(&vk->mem, &vk->dev, base))
        vk_queue_forget(&vk->queue, &vk->dev);
}

static int vk_map(struct erne_backend *be, const struct erne_range *range)
{
    struct vk_backend *vk = vk_of(be);
    const struct vk_range *parts;
    bool is_new;
    size_t n;
    int st = 0;

    if (vk->dev.is_lost)
        return ERNE_EDEVICE;
    ERNE_TRY(vk_memory_map(&vk->mem, &vk->dev, range, &is_new));
    if (range->mem != ERNE_MEM_WEIGHT || !is_new)
        return 0;
    parts = vk_memory_parts(&vk->mem, range->base, &n);
    for (size_t i = 0; st == 0 && i < n; i++)
        st = vk_upload(be, parts[i].base, parts[i].n_bytes);
    if (st < 0)
        vk_unmap(be, range->base);
    return st;
}

static const struct erne_memory_use *vk_memory_use(const struct erne_backend *be)
{
    return &((const struct vk_backend *)be)->mem.use;
}

/* What was compiled since the last time. A file that knows a pipeline need not hold what
 * the driver makes of it: that only the driver can tell. */
static void log_pipelines(struct vk_backend *vk)
{
    const struct vk_pipelines *p = &vk->pipelines;
    char line[128], hits[48] = "";

    if (vk->dev.tells_hits)
        snprintf(hits, sizeof(hits), " (compiled there: %zu)", p->n_hits);
    snprintf(line, sizeof(line),
             "vulkan: %zu new pipelines, %zu known from the cache%s, in %.2f s",
             p->n_compiled, p->n - p->n_compiled, hits, (double)p->spent_ns * 1e-9);
    log_line(vk, ERNE_LOG_DEBUG, line);
    vk->n_logged = p->n;
}

/* Several plans share the block, so it only grows. The end of planning is also when what
 * was compiled for the plan is worth keeping. */
static int vk_reserve_scratch(struct erne_backend *be, size_t n_bytes)
{
    struct vk_backend *vk = vk_of(be);
    struct vk_buffer scratch;

    if (vk->dev.is_lost)
        return ERNE_EDEVICE;
    if (vk->pipelines.n != vk->n_logged) {
        log_pipelines(vk);
        vk_cache_save(&vk->pipelines, &vk->dev);
    }
    if (n_bytes <= vk->mem.scratch.n_bytes)
        return 0;
    ERNE_TRY(vk_buffer_create(&scratch, &vk->dev, n_bytes, false));
    erne_memory_use_take(&vk->mem.use, scratch.n_bytes, false);
    erne_memory_use_give(&vk->mem.use, vk->mem.scratch.n_bytes, false);
    vk_queue_forget(&vk->queue, &vk->dev);
    vk_buffer_destroy(&vk->mem.scratch, &vk->dev);
    vk->mem.scratch = scratch;
    return 0;
}

/* -------------------------------------------------------------------- run */

static int record(struct vk_backend *vk, struct erne_node *const *nodes, size_t n_nodes,
                  const struct erne_step *step)
{
    for (size_t i = 0; i < n_nodes; i++)
        ERNE_TRY(nodes[i]->impl->run(&vk->base, nodes[i], step));
    return vk_queue_end(&vk->queue, &vk->dev);
}

static int vk_run(struct erne_backend *be, struct erne_node *const *nodes, size_t n_nodes,
                  const struct erne_step *step)
{
    struct vk_backend *vk = vk_of(be);
    struct vk_recording *recording;
    bool is_new;
    int st;

    if (vk->dev.is_lost)
        return ERNE_EDEVICE;
    if (step->cancel && atomic_load(step->cancel) != 0)
        return ERNE_ECANCELLED;
    ERNE_TRY(
        vk_queue_begin(&vk->queue, &vk->dev, nodes, n_nodes, step, &recording, &is_new));
    if (is_new) {
        st = record(vk, nodes, n_nodes, step);
        if (st < 0) {
            vk_queue_drop(&vk->queue, &vk->dev, recording);
            return st;
        }
    }
    return vk_queue_submit(&vk->queue, &vk->dev, recording);
}

/* --------------------------------------------------------------- tables */

#define X(NAME, name, least, most) \
    static const struct erne_op_impl *const impls_##name[] = { &vk_##name, NULL };
ERNE_OP_LIST(X)
#undef X

const struct erne_backend_fns erne_backend_vulkan = {
    .name = "vulkan",
    .open = vk_open,
    .close = vk_close,
    .devices = vk_device_visit,
    .run = vk_run,
    .reserve_scratch = vk_reserve_scratch,
    .map = vk_map,
    .unmap = vk_unmap,
    .upload = vk_upload,
    .download = vk_download,
    .memory_use = vk_memory_use,
    .levels = levels,
    .ops = {
#define X(NAME, name, least, most) [ERNE_OP_##NAME] = impls_##name,
        ERNE_OP_LIST(X)
#undef X
    },
};
