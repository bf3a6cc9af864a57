/* cl_fns.h -- every OpenCL function that the backend calls, once.
 *
 * The ICD loader is opened at run time (no link dependency), so each is a pointer. All
 * of them can fail and have a number, for cl_fault.h, but those that release something.
 */
#ifndef ERNE_CL_FNS_H
#define ERNE_CL_FNS_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <CL/cl_icd.h>

#include "backends/opencl/cl_fault.h"

#define CL_RELEASE_FNS(X)  \
    X(ReleaseContext)      \
    X(ReleaseCommandQueue) \
    X(ReleaseMemObject)    \
    X(ReleaseProgram)      \
    X(ReleaseKernel)       \
    X(ReleaseEvent)
#define CL_STATUS_CALLS(X)       \
    X(GetPlatformIDs)            \
    X(GetPlatformInfo)           \
    X(GetDeviceIDs)              \
    X(GetDeviceInfo)             \
    X(BuildProgram)              \
    X(GetProgramInfo)            \
    X(GetProgramBuildInfo)       \
    X(GetKernelWorkGroupInfo)    \
    X(SetKernelArg)              \
    X(EnqueueNDRangeKernel)      \
    X(EnqueueReadBuffer)         \
    X(EnqueueWriteBuffer)        \
    X(EnqueueMarkerWithWaitList) \
    X(Flush)                     \
    X(GetEventInfo)              \
    X(WaitForEvents)
/* Their last argument is where they leave the status. */
#define CL_HANDLE_CALLS(X)     \
    X(CreateContext)           \
    X(CreateCommandQueue)      \
    X(CreateBuffer)            \
    X(CreateProgramWithSource) \
    X(CreateProgramWithBinary) \
    X(CreateKernel)

#define CL_ALL_CALLS(X) \
    CL_STATUS_CALLS(X)  \
    CL_HANDLE_CALLS(X)

enum cl_call {
#define X(name) CL_CALL_##name,
    CL_ALL_CALLS(X)
#undef X
        CL_CALL_COUNT
};

struct cl_fns {
    /* The functions above are filled in. This table has all of OpenCL; its members are
     * the only pointer types that old and new headers have under one name. */
    cl_icd_dispatch api;
    const struct cl_fault *fault; /* NULL but in tests */
};

/* What the hook answers in place of a call. */
static inline cl_int cl_fault_answer(const struct cl_fns *fn, enum cl_call call)
{
    if (!fn->fault || !fn->fault->answer)
        return CL_SUCCESS;
    return (cl_int)fn->fault->answer(fn->fault->user, (int)call);
}

/* The only ways to make a call that can fail: CL_DO(result, fn, Flush, queue) and, with
 * the status as last argument, CL_MAKE(handle, result, fn, CreateKernel, program, name).
 */
#define CL_DO(result, fn, name, ...)                      \
    do {                                                  \
        (result) = cl_fault_answer((fn), CL_CALL_##name); \
        if ((result) == CL_SUCCESS)                       \
            (result) = (fn)->api.cl##name(__VA_ARGS__);   \
    } while (0)
#define CL_MAKE(handle, result, fn, name, ...)                     \
    do {                                                           \
        (handle) = NULL;                                           \
        (result) = cl_fault_answer((fn), CL_CALL_##name);          \
        if ((result) == CL_SUCCESS)                                \
            (handle) = (fn)->api.cl##name(__VA_ARGS__, &(result)); \
    } while (0)

#endif
