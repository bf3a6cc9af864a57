/* vk_fault.h -- a test's hand at the driver's door: passed as erne_backend_opts.hook.
 *
 * Every Vulkan call of the backend goes through struct vk_fns, and each that can fail is
 * first offered to the hook, which may let it pass or answer in the driver's place. Ways
 * of working that this machine would not show can be asked for, too.
 */
#ifndef ERNE_VK_FAULT_H
#define ERNE_VK_FAULT_H

#include <stdbool.h>
#include <stddef.h>

struct vk_fault {
    /* call: enum vk_call (vk_fns.h). VK_SUCCESS lets it through; anything else is its
     * result. May be NULL. */
    int (*answer)(void *user, int call);
    void *user;
    const char *level;   /* instead of erne_backend_opts.isa; NULL: that */
    const char *loader;  /* instead of the system's; NULL: the system's */
    bool no_host_import; /* as if the device could not use host memory */
    bool staged;         /* as if the host could not see device memory */
    /* The most that an allocation, a binding, a workgroup's shared memory and an axis of
     * a dispatch may have; 0: what the device says. */
    size_t max_alloc, max_binding, max_shared, max_groups;
    size_t max_staging; /* bytes that wait to be copied; 0: as it suits */
};

#endif
