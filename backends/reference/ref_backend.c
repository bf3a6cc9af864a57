/* ref_backend.c -- the reference as a backend: the last of the list, takes every node. */
#include "backends/reference/ref_backend.h"

#include <stdlib.h>

#include "platforms/platform.h"

struct ref_backend {
    struct erne_backend base;
    void *scratch;
    size_t scratch_bytes;
};

static int ref_open(struct erne_backend **out, const struct erne_backend_opts *opts,
                    struct erne_error *err)
{
    struct ref_backend *ref = calloc(1, sizeof(*ref));

    (void)opts; /* one thread, one instruction set */
    if (!ref)
        return erne_fail(err, ERNE_ENOMEM, "no memory for the reference backend");
    ref->base.fns = &erne_backend_reference;
    *out = &ref->base;
    return 0;
}

static void ref_close(struct erne_backend *be)
{
    struct ref_backend *ref = (struct ref_backend *)be;

    if (ref)
        free(ref->scratch);
    free(ref);
}

static int ref_devices(int (*visit)(void *user, const struct erne_device_info *info),
                       void *user)
{
    const struct erne_device_info info = {
        .backend = "reference",
        .name = "plain C",
        .detail = "one thread, sums in double; for comparison, slow",
        .memory_bytes = pf_memory_total(),
        .shares_memory = true,
    };

    return visit(user, &info);
}

static int ref_run(struct erne_backend *be, struct erne_node *const *nodes,
                   size_t n_nodes, const struct erne_step *step)
{
    for (size_t i = 0; i < n_nodes; i++) {
        if (step->cancel && atomic_load(step->cancel) != 0)
            return ERNE_ECANCELLED;
        ERNE_TRY(nodes[i]->impl->run(be, nodes[i], step));
    }
    return 0;
}

/* Several plans share a backend, so the block only grows. */
static int ref_reserve_scratch(struct erne_backend *be, size_t n_bytes)
{
    struct ref_backend *ref = (struct ref_backend *)be;
    void *scratch;

    if (n_bytes <= ref->scratch_bytes)
        return 0;
    scratch = malloc(n_bytes);
    if (!scratch)
        return ERNE_ENOMEM;
    free(ref->scratch);
    ref->scratch = scratch;
    ref->scratch_bytes = n_bytes;
    return 0;
}

void *ref_scratch(struct erne_backend *be)
{
    return ((struct ref_backend *)be)->scratch;
}

#define X(NAME, name, least, most) \
    static const struct erne_op_impl *const impls_##name[] = { &erne_ref_##name, NULL };
ERNE_OP_LIST(X)
#undef X

const struct erne_backend_fns erne_backend_reference = {
    .name = "reference",
    .open = ref_open,
    .close = ref_close,
    .devices = ref_devices,
    .run = ref_run,
    .reserve_scratch = ref_reserve_scratch,
    .ops = {
#define X(NAME, name, least, most) [ERNE_OP_##NAME] = impls_##name,
        ERNE_OP_LIST(X)
#undef X
    },
};
