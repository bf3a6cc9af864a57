/* verify.h -- the inside of erne_device_verify, for tests. */
#ifndef ERNE_VERIFY_H
#define ERNE_VERIFY_H

#include "runtime/engine.h"

/* erne_device_verify with another list of backends and a hook, as erne_engine_open_on. */
int erne_verify_on(const char *path, const struct erne_verify_opts *opts,
                   const struct erne_backend_fns *const *list, void *hook,
                   int (*visit)(void *user, const struct erne_check *check), void *user,
                   struct erne_error *err);

#endif
