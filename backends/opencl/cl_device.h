/* cl_device.h -- the loader, one device of it with its queue, and what was found out
 * about it. Nothing here depends on a vendor's name: only on features and limits. */
#ifndef ERNE_CL_DEVICE_H
#define ERNE_CL_DEVICE_H

#include <stdint.h>

#include "backends/opencl/cl_fns.h"
#include "platforms/platform.h"
#include "runtime/backend.h"

enum { CL_NAME_BYTES = 128 };

struct cl_device {
    struct pf_lib *loader;
    struct cl_fns fn;
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue; /* in order */
    char name[CL_NAME_BYTES], driver[CL_NAME_BYTES], version[CL_NAME_BYTES];

    size_t max_alloc;   /* what one buffer may have, as the driver says */
    size_t local_bytes; /* local memory of a work-group */
    size_t max_group;   /* work-items of a work-group */
    size_t host_align;  /* of host memory that is used in place; a power of two */
    int n_units;        /* compute units */
    int vector;         /* floats that one work-item had best keep side by side */
    bool is_cpu;        /* a processor, which may take long for a step */
    bool on_host;       /* the processor itself, or one that shares its memory */
    uint64_t time_limit_ns;
    bool is_lost;     /* once true, nothing more is asked of it */
    bool is_hung;     /* lost while it still works: what it uses must stay */
    bool is_given_up; /* has been waited for since, in vain */
};

/* Opens device number opts->device of those that cl_device_visit counts. EUNSUPPORTED
 * with the reason, ENOMEM, EDEVICE. */
int cl_device_open(struct cl_device *dev, const struct erne_backend_opts *opts,
                   struct erne_error *err);
void cl_device_close(struct cl_device *dev);

/* Calls visit for each device that could be opened; none is no error, unless no platform
 * could be asked for any. */
int cl_device_visit(int (*visit)(void *user, const struct erne_device_info *info),
                    void *user);

/* An OpenCL result as a status; remembers that the device is lost. */
int cl_device_status(struct cl_device *dev, cl_int result);

/* Gives an object back, if there is one, and if nothing works with it for ever. */
#define CL_RELEASE(dev, name, object)                \
    do {                                             \
        if ((object) && !(dev)->is_hung)             \
            (dev)->fn.api.clRelease##name((object)); \
    } while (0)

/* Calls through the device's table and forward a failure as a status. */
#define CL_TRY(dev, name, ...)                                \
    do {                                                      \
        cl_int cl_try_result_;                                \
        CL_DO(cl_try_result_, &(dev)->fn, name, __VA_ARGS__); \
        if (cl_try_result_ != CL_SUCCESS)                     \
            return cl_device_status((dev), cl_try_result_);   \
    } while (0)
#define CL_TRY_MAKE(handle, dev, name, ...)                               \
    do {                                                                  \
        cl_int cl_try_result_;                                            \
        CL_MAKE((handle), cl_try_result_, &(dev)->fn, name, __VA_ARGS__); \
        if (cl_try_result_ != CL_SUCCESS)                                 \
            return cl_device_status((dev), cl_try_result_);               \
    } while (0)

#endif
