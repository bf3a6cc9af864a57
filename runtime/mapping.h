/* mapping.h -- the host memory that a plan has made known to devices: weights, the step
 * arena, the session's state. Backends count, so that plans need not know of each other.
 */
#ifndef ERNE_MAPPING_H
#define ERNE_MAPPING_H

#include "runtime/backend.h"

struct erne_mapped {
    struct erne_backend *be;
    const void *base;
};

struct erne_mappings {
    struct erne_mapped *items;
    size_t n, cap;
};

/* Nothing happens for a backend that works on host memory. On failure nothing is mapped
 * that was not before. ENOMEM, EUNSUPPORTED: another backend may do; EDEVICE. */
int erne_mappings_add(struct erne_mappings *m, struct erne_backend *be,
                      const struct erne_range *range);
/* The weights and the state that a placed node uses. */
int erne_mappings_add_node(struct erne_mappings *m, const struct erne_node *node);
/* True: a device keeps what was mapped (erne_backend.keeps_memory). */
bool erne_mappings_deinit(struct erne_mappings *m);

#endif
