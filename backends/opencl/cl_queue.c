/* cl_queue.c -- see cl_queue.h. The queue is in order: no events tie kernels together. */
#include "backends/opencl/cl_queue.h"

/* ------------------------------------------------------------------ waiting */

/* Polls, because OpenCL has no wait that ends by itself. The pauses leave the cores to
 * drivers that compute on them, and are short beside a step. */
static int poll_event(struct cl_device *dev, cl_event event)
{
    enum { PAUSE_US = 20 };
    const uint64_t start = pf_time_ns();
    const bool hang = dev->fn.fault && dev->fn.fault->hang;

    for (;;) {
        cl_int state = CL_QUEUED;

        CL_TRY(dev, GetEventInfo, event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(state),
               &state, NULL);
        if (state < 0)
            return cl_device_status(dev, state);
        if (state == CL_COMPLETE && !hang)
            break;
        if (pf_time_ns() - start > dev->time_limit_ns) {
            dev->is_lost = dev->is_hung = true;
            return ERNE_EDEVICE;
        }
        pf_sleep_us(PAUSE_US);
    }
    /* Returns at once; only this makes results visible. */
    CL_TRY(dev, WaitForEvents, 1, &event);
    return 0;
}

/* Whether all that was started ends, however short the limit. Straight to the driver:
 * what failed may well have been a test's doing. */
static bool ends(const struct cl_device *dev)
{
    enum { PAUSE_US = 200 };
    const uint64_t least_ns = dev->fn.fault && dev->fn.fault->impatient ? 0 : 5000000000u;
    const uint64_t ns = dev->time_limit_ns > least_ns ? dev->time_limit_ns : least_ns;
    const uint64_t start = pf_time_ns();
    cl_int state = CL_QUEUED;
    cl_event event;

    if (dev->fn.api.clEnqueueMarkerWithWaitList(dev->queue, 0, NULL, &event) !=
        CL_SUCCESS)
        return true; /* the driver gave up all of it */
    dev->fn.api.clFlush(dev->queue);
    while (dev->fn.api.clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS,
                                      sizeof(state), &state, NULL) == CL_SUCCESS &&
           state > CL_COMPLETE && pf_time_ns() - start <= ns)
        pf_sleep_us(PAUSE_US);
    dev->fn.api.clReleaseEvent(event);
    return state <= CL_COMPLETE;
}

void cl_queue_drain(struct cl_device *dev)
{
    if (!dev->is_hung && !ends(dev))
        dev->is_lost = dev->is_hung = dev->is_given_up = true;
}

void cl_queue_settle(struct cl_device *dev)
{
    if (!dev->is_hung || dev->is_given_up)
        return;
    if (ends(dev))
        dev->is_hung = false;
    else
        dev->is_given_up = true;
}

int cl_queue_wait(struct cl_device *dev, cl_event event)
{
    cl_int result;
    int st;

    CL_DO(result, &dev->fn, Flush, dev->queue);
    st = cl_device_status(dev, result);
    if (st == 0)
        st = poll_event(dev, event);
    if (st < 0)
        cl_queue_drain(dev);
    dev->fn.api.clReleaseEvent(event);
    return st;
}

/* ---------------------------------------------------------------- arguments */

static void set_arg(struct cl_launch *l, size_t n_bytes, const void *value)
{
    cl_int result;

    if (l->st < 0)
        return;
    CL_DO(result, &l->cl->dev.fn, SetKernelArg, l->kernel, l->n_args++, n_bytes, value);
    l->st = cl_device_status(&l->cl->dev, result);
}

void cl_arg_int(struct cl_launch *l, int64_t value)
{
    const cl_int small = (cl_int)value;

    set_arg(l, sizeof(small), &small);
}

void cl_arg_float(struct cl_launch *l, float value)
{
    set_arg(l, sizeof(value), &value);
}

void cl_arg_mem(struct cl_launch *l, cl_mem mem)
{
    set_arg(l, sizeof(cl_mem), &mem);
}

void cl_arg_local(struct cl_launch *l, size_t n_bytes)
{
    set_arg(l, n_bytes, NULL);
}

void cl_arg_place(struct cl_launch *l, const struct cl_place *place, size_t size)
{
    cl_arg_mem(l, place->mem);
    cl_arg_int(l, (int64_t)(cl_uint)(place->offset / size));
}

void cl_arg_tensor(struct cl_launch *l, const struct erne_tensor *t)
{
    const size_t size = t ? erne_type_bytes(t->type) : 4;
    struct cl_place place = { 0 };

    if (t && l->st == 0)
        l->st = cl_memory_find(&l->cl->memory, t->data, size, &place);
    cl_arg_place(l, &place, size);
}

void cl_arg_rows(struct cl_launch *l, const struct erne_tensor *t)
{
    cl_arg_tensor(l, t);
    cl_arg_int(l, t ? t->stride : 0);
}

void cl_arg_scratch(struct cl_launch *l, size_t offset)
{
    const struct cl_place place = { .mem = l->cl->memory.scratch, .offset = offset };

    cl_arg_place(l, &place, 4);
}

int cl_launch(struct cl_launch *l, const struct cl_grid *grid)
{
    const size_t global[2] = { grid->groups[0] * grid->items[0],
                               grid->groups[1] * grid->items[1] };

    ERNE_TRY(l->st);
    CL_TRY(&l->cl->dev, EnqueueNDRangeKernel, l->cl->dev.queue, l->kernel, 2, NULL,
           global, grid->items, 0, NULL, NULL);
    return 0;
}
