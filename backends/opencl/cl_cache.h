/* cl_cache.h -- compiled programs as files: one a program, device, driver and build. */
#ifndef ERNE_CL_CACHE_H
#define ERNE_CL_CACHE_H

#include "backends/opencl/cl_device.h"

/* What a binary was made from. */
struct cl_cache_key {
    const char *dir;
    const struct cl_device *dev;
    const char *options;
    const char *const *parts; /* [n_parts] of the source */
    size_t n_parts;
};

/* The binary, to be freed; NULL where there is none, or one that is damaged or meant for
 * something else. */
void *cl_cache_load(const struct cl_cache_key *key, size_t *n_bytes);
/* Writes under a name of its own, then renames: readers see all of it or nothing, and of
 * several writers the last wins. Failures cost only the next start's time. */
void cl_cache_store(const struct cl_cache_key *key, const void *binary, size_t n_bytes);

#endif
