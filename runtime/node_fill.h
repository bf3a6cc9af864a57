/* node_fill.h -- fresh data for a node that is computed alone: random numbers, and
 * indices as they occur in a step. */
#ifndef ERNE_NODE_FILL_H
#define ERNE_NODE_FILL_H

#include "runtime/op.h"

/* Fills all memory of the node's tensors but the weights, for tokens that come behind
 * step->n_past others. *rng moves on. */
void erne_node_fill(const struct erne_node *node, const struct erne_step *step,
                    uint64_t *rng);

/* A number of tokens that n_tok more may come behind, in the caches that the node has. */
int32_t erne_node_any_past(const struct erne_node *node, int32_t n_tok, uint64_t *rng);

#endif
