/* node_fill.h -- fresh data for a node that is computed alone: random numbers, and
 * indices as they occur in a step. */
#ifndef ERNE_NODE_FILL_H
#define ERNE_NODE_FILL_H

#include "runtime/op.h"

/* Fills all memory of the node's tensors but the weights. *rng moves on. */
void erne_node_fill(const struct erne_node *node, const struct erne_step *step,
                    uint64_t *rng);

#endif
