/* backend.c -- the backends of this build, from backend_list.h. The list is the only
 * place of the core that knows their names. */
#include "runtime/backend.h"

#include <string.h>

#include "runtime/backend_list.h"
#include "runtime/kv_row.h"

#define X(name) extern const struct erne_backend_fns erne_backend_##name;
ERNE_BACKEND_LIST(X)
#undef X

const struct erne_backend_fns *const erne_backends[] = {
#define X(name) &erne_backend_##name,
    ERNE_BACKEND_LIST(X)
#undef X
        NULL,
};

const struct erne_backend_fns *erne_backend_find(const char *name)
{
    for (size_t i = 0; erne_backends[i]; i++)
        if (strcmp(erne_backends[i]->name, name) == 0)
            return erne_backends[i];
    return NULL;
}

int erne_op_impl_prepare(const struct erne_op_impl *impl, struct erne_backend *be,
                         struct erne_node *node)
{
    for (int i = 0; i < ERNE_MAX_SRC && !impl->quantised_kv; i++)
        if (node->src[i] && erne_kv_is_quantised(node->src[i]->type))
            return ERNE_EUNSUPPORTED;
    return impl->prepare ? impl->prepare(be, node) : 0;
}

int erne_devices(int (*visit)(void *user, const struct erne_device_info *info),
                 void *user, struct erne_error *err)
{
    for (size_t i = 0; erne_backends[i]; i++) {
        int st = erne_backends[i]->devices(visit, user);

        if (st < 0)
            return erne_fail(err, st, "%s: cannot list devices: %s",
                             erne_backends[i]->name, erne_status_text(st));
        if (st > 0)
            return st;
    }
    return 0;
}
