/* cl_backend.c -- OpenCL as a backend: opening, running a list of nodes, the lists of
 * implementations. What the operators do is in cl_ops.c, cl_matmul.c, cl_attention.c and
 * cl_moe.c, and in kernels/. */
#include "backends/opencl/cl_ops.h"

#include <stdio.h>
#include <stdlib.h>

#include "backends/opencl/cl_queue.h"

extern const struct erne_backend_fns erne_backend_opencl;

/* ----------------------------------------------------------- life cycle */

static void cl_close(struct erne_backend *be)
{
    struct cl_backend *cl = cl_of(be);

    if (!cl)
        return;
    cl_queue_settle(&cl->dev);
    cl_memory_deinit(&cl->memory, &cl->dev);
    cl_programs_deinit(&cl->programs, &cl->dev);
    cl_device_close(&cl->dev);
    free(cl);
}

/* Who computes, for people: one line when an engine opens. */
static void log_opening(const struct cl_backend *cl, const struct erne_backend_opts *opts)
{
    char line[512];

    if (!opts->log)
        return;
    snprintf(line, sizeof(line), "opencl: %s, %s, driver %s, %s memory, %d side by side",
             cl->dev.name, cl->dev.version, cl->dev.driver,
             cl->dev.on_host ? "shared" : "own", cl->dev.vector);
    opts->log(opts->log_user, ERNE_LOG_INFO, line);
}

static int cl_open(struct erne_backend **out, const struct erne_backend_opts *opts,
                   struct erne_error *err)
{
    struct cl_backend *cl = calloc(1, sizeof(*cl));
    int st;

    if (!cl)
        return erne_fail(err, ERNE_ENOMEM, "no memory for the OpenCL backend");
    cl->base.fns = &erne_backend_opencl;
    st = cl_device_open(&cl->dev, opts, err);
    if (st < 0) {
        free(cl);
        return st;
    }
    cl_memory_init(&cl->memory, &cl->dev);
    st = cl_programs_init(&cl->programs, opts);
    if (st < 0) {
        cl_close(&cl->base);
        return erne_fail(err, st, "no memory for the OpenCL backend");
    }
    log_opening(cl, opts);
    *out = &cl->base;
    return 0;
}

/* -------------------------------------------------------------- a step */

static int record(struct erne_backend *be, struct erne_node *const *nodes, size_t n_nodes,
                  const struct erne_step *step)
{
    for (size_t i = 0; i < n_nodes; i++) {
        if (step->cancel && atomic_load(step->cancel) != 0)
            return ERNE_ECANCELLED;
        ERNE_TRY(nodes[i]->impl->run(be, nodes[i], step));
    }
    return 0;
}

static int wait_for_all(struct cl_device *dev)
{
    cl_event event;

    CL_TRY(dev, EnqueueMarkerWithWaitList, dev->queue, 0, NULL, &event);
    return cl_queue_wait(dev, event);
}

static int cl_run(struct erne_backend *be, struct erne_node *const *nodes, size_t n_nodes,
                  const struct erne_step *step)
{
    struct cl_device *dev = &cl_of(be)->dev;
    int st;

    if (dev->is_lost)
        return ERNE_EDEVICE;
    st = record(be, nodes, n_nodes, step);
    if (st == 0)
        st = wait_for_all(dev);
    if (st < 0)
        cl_queue_drain(dev);
    return st;
}

/* -------------------------------------------------------------- memory */

/* Called at the end of planning, when all programs are there. */
static int cl_reserve_scratch(struct erne_backend *be, size_t n_bytes)
{
    cl_programs_tell(&cl_of(be)->programs);
    return cl_memory_reserve_scratch(&cl_of(be)->memory, &cl_of(be)->dev, n_bytes);
}

static int cl_map(struct erne_backend *be, const struct erne_range *range)
{
    struct cl_device *dev = &cl_of(be)->dev;
    int st;

    if (dev->is_lost)
        return ERNE_EDEVICE;
    st = cl_memory_map(&cl_of(be)->memory, dev, range);
    be->keeps_memory = dev->is_given_up;
    return st;
}

static void cl_unmap(struct erne_backend *be, const void *base)
{
    struct cl_device *dev = &cl_of(be)->dev;

    cl_queue_settle(dev);
    be->keeps_memory = dev->is_given_up; /* copies are from and to the host's memory */
    cl_memory_unmap(&cl_of(be)->memory, dev, base);
}

static int cl_upload(struct erne_backend *be, const void *host, size_t n_bytes)
{
    if (cl_of(be)->dev.is_lost)
        return ERNE_EDEVICE;
    return cl_memory_upload(&cl_of(be)->memory, &cl_of(be)->dev, host, n_bytes);
}

static int cl_download(struct erne_backend *be, void *host, size_t n_bytes)
{
    if (cl_of(be)->dev.is_lost)
        return ERNE_EDEVICE;
    return cl_memory_download(&cl_of(be)->memory, &cl_of(be)->dev, host, n_bytes);
}

static const struct erne_memory_use *cl_memory_use(const struct erne_backend *be)
{
    return &((const struct cl_backend *)be)->memory.use;
}

/* --------------------------------------------------------------- tables */

#define X(NAME, name, least, most) \
    static const struct erne_op_impl *const impls_##name[] = { &cl_##name, NULL };
ERNE_OP_LIST(X)
#undef X

/* Tests try both; users get what suits the device. See WIDTH in kernels/common.cl. */
static const char *const levels[] = { "scalar", "vector", NULL };

const struct erne_backend_fns erne_backend_opencl = {
    .name = "opencl",
    .open = cl_open,
    .close = cl_close,
    .devices = cl_device_visit,
    .run = cl_run,
    .reserve_scratch = cl_reserve_scratch,
    .map = cl_map,
    .unmap = cl_unmap,
    .upload = cl_upload,
    .download = cl_download,
    .memory_use = cl_memory_use,
    .levels = levels,
    .ops = {
#define X(NAME, name, least, most) [ERNE_OP_##NAME] = impls_##name,
        ERNE_OP_LIST(X)
#undef X
    },
};
