/* placement.h -- which backend, on which device, a user wants for each phase of a model.
 * What a name means is said in include/erne.h. */
#ifndef ERNE_PLACEMENT_H
#define ERNE_PLACEMENT_H

#include "runtime/backend.h"

/* X(NAME, name): the graphs of a model, by the work they do. */
#define ERNE_PHASE_LIST(X) \
    X(VISION, vision)      \
    X(PREFILL, prefill)    \
    X(DECODE, decode)

enum erne_phase_kind {
#define X(NAME, name) ERNE_PHASE_##NAME,
    ERNE_PHASE_LIST(X)
#undef X
        ERNE_PHASE_COUNT
};

/* fns NULL: "auto". */
struct erne_choice {
    const struct erne_backend_fns *fns;
    int device;
};

struct erne_placement {
    struct erne_choice of[ERNE_PHASE_COUNT];
};

/* backend, device: as in struct erne_engine_opts; list: the backends there are, ends with
 * NULL. EUNSUPPORTED: a backend that is not in it; EINVAL: no such text. */
int erne_placement_parse(struct erne_placement *p, const char *backend,
                         const char *device, const struct erne_backend_fns *const *list,
                         struct erne_error *err);

#endif
