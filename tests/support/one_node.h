/* one_node.h -- the whole life of a backend of a device for one small node, driver calls
 * of every kind: for tests that let each of these calls fail. */
#ifndef ERNE_TEST_ONE_NODE_H
#define ERNE_TEST_ONE_NODE_H

#include "runtime/backend.h"

/* Opens the backend, computes an rms_norm twice, checks the results and closes. `look`
 * sees the backend before it closes; may be NULL. A failure has a text. */
int one_node_live(const struct erne_backend_fns *fns,
                  const struct erne_backend_opts *opts,
                  void (*look)(struct erne_backend *be, void *user), void *user);

#endif
