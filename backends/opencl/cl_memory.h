/* cl_memory.h -- the host memory that the device knows, and where it keeps it.
 *
 * Tensors have host addresses. A mapped range is one buffer that uses the host's memory
 * in place where both share it, else a copy; a kernel is given the buffer and an offset.
 * A weight that is larger than a buffer may be becomes several buffers that overlap by
 * more than a tile, so that every tile is whole in one of them.
 */
#ifndef ERNE_CL_MEMORY_H
#define ERNE_CL_MEMORY_H

#include "backends/opencl/cl_device.h"

struct cl_range;

struct cl_memory {
    struct cl_range *ranges; /* sorted by base */
    size_t n_ranges, cap_ranges;
    size_t largest;      /* a buffer may have that many bytes, as far as was tried */
    unsigned generation; /* changes when ranges do */
    cl_mem scratch;
    size_t scratch_bytes;
    struct erne_memory_use use;
};

/* Where the device has a host address. */
struct cl_place {
    cl_mem mem;
    size_t offset;  /* bytes from the start of mem */
    size_t n_bytes; /* from there to the end of mem */
};

void cl_memory_init(struct cl_memory *memory, const struct cl_device *dev);
void cl_memory_deinit(struct cl_memory *memory, struct cl_device *dev);

int cl_memory_map(struct cl_memory *memory, struct cl_device *dev,
                  const struct erne_range *src);
void cl_memory_unmap(struct cl_memory *memory, struct cl_device *dev, const void *base);
int cl_memory_upload(struct cl_memory *memory, struct cl_device *dev, const void *host,
                     size_t n_bytes);
int cl_memory_download(struct cl_memory *memory, struct cl_device *dev, void *host,
                       size_t n_bytes);
int cl_memory_reserve_scratch(struct cl_memory *memory, struct cl_device *dev,
                              size_t n_bytes);

/* The buffer in which most follows host. EFAIL: least bytes from there on are in none. */
int cl_memory_find(const struct cl_memory *memory, const void *host, size_t least,
                   struct cl_place *place);

#endif
