/* cl_queue.h -- giving a kernel its arguments, starting it, and waiting with a limit. */
#ifndef ERNE_CL_QUEUE_H
#define ERNE_CL_QUEUE_H

#include "backends/opencl/cl_ops.h"

/* Waits for event and everything before it in the queue, and releases it. EDEVICE: it
 * failed, or took longer than the time limit. */
int cl_queue_wait(struct cl_device *dev, cl_event event);

/* After a failure: lets what was started end, since it works on memory that the caller
 * may give back. What does not end makes the device one that hangs. */
void cl_queue_drain(struct cl_device *dev);
/* Before what a device that hangs works with is given back: waits for it once more, once.
 * Afterwards it is not hung, or given up. */
void cl_queue_settle(struct cl_device *dev);

/* One start of a kernel: arguments in the order of its parameters, then cl_launch. The
 * first failure is kept, so that only cl_launch need be looked at. */
struct cl_launch {
    struct cl_backend *cl;
    cl_kernel kernel;
    cl_uint n_args;
    int st;
};

static inline struct cl_launch cl_launch_begin(struct cl_backend *cl, cl_kernel kernel)
{
    return (struct cl_launch){ .cl = cl, .kernel = kernel };
}

void cl_arg_int(struct cl_launch *l, int64_t value);
void cl_arg_float(struct cl_launch *l, float value);
void cl_arg_mem(struct cl_launch *l, cl_mem mem);
void cl_arg_local(struct cl_launch *l, size_t n_bytes);
/* A buffer and where in it, two parameters: (global T *x, uint x_at), x_at counting units
 * of `size` bytes. */
void cl_arg_place(struct cl_launch *l, const struct cl_place *place, size_t size);
/* The same of a tensor (units: its elements); NULL: no buffer. */
void cl_arg_tensor(struct cl_launch *l, const struct erne_tensor *t);
/* The same of an activation, with its stride as a third parameter; NULL: none, 0, 0. */
void cl_arg_rows(struct cl_launch *l, const struct erne_tensor *t);
/* The same of the scratch block, from byte `offset` on. */
void cl_arg_scratch(struct cl_launch *l, size_t offset);

/* Work-groups in two dimensions, work-items of a group in two. Records: what is before it
 * in the queue has ended when it begins. */
struct cl_grid {
    size_t groups[2], items[2];
};
int cl_launch(struct cl_launch *l, const struct cl_grid *grid);

#endif
