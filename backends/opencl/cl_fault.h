/* cl_fault.h -- a test's hand at the driver's door: passed as erne_backend_opts.hook.
 *
 * Every OpenCL call of the backend goes through struct cl_fns, and each that can fail is
 * first offered to the hook, which may let it pass or answer in the driver's place. Ways
 * of working that this machine would not show can be asked for, too.
 */
#ifndef ERNE_CL_FAULT_H
#define ERNE_CL_FAULT_H

#include <stdbool.h>
#include <stddef.h>

struct cl_fns;

struct cl_fault {
    /* call: enum cl_call of cl_fns.h. CL_SUCCESS lets it through; anything else is its
     * result. May be NULL. */
    int (*answer)(void *user, int call);
    /* May put its own functions into the table. May be NULL. */
    void (*wrap)(void *user, struct cl_fns *fns);
    void *user;
    const char *level;   /* instead of erne_backend_opts.isa; NULL: that */
    const char *loader;  /* instead of the system's; NULL: the system's */
    bool no_host_memory; /* as if the device could not use host memory */
    bool hang;           /* as if no command ended in time */
    bool impatient;      /* for what hangs no longer is waited than the time limit */
    size_t max_alloc;    /* the most that a buffer may have; 0: what the device says */
};

#endif
