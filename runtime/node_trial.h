/* node_trial.h -- one node of a model's graph, alone on one backend, with data of its
 * own: for verifying devices and timing operators at the shapes that a model has.
 *
 * Weights are those of the node. What else it uses gets memory side by side as in a
 * plan's arena, at places that depend on the node only, and is filled with what depends
 * on a seed only: trials of the same node on different backends compute the same.
 */
#ifndef ERNE_NODE_TRIAL_H
#define ERNE_NODE_TRIAL_H

#include "runtime/plan.h"

enum { ERNE_TRIAL_TENSORS = ERNE_MAX_SRC + 1 };

struct erne_node_trial {
    struct erne_node node;                        /* the copy, offered and taken */
    struct erne_tensor views[ERNE_TRIAL_TENSORS]; /* of its sources and its result */
    struct erne_tensor roots[ERNE_TRIAL_TENSORS]; /* what they are views of, if of any */
    const struct erne_tensor *of[ERNE_TRIAL_TENSORS]; /* the original of each root */
    int n_roots;
    uint8_t *memory; /* [n_bytes]: all roots but weights */
    size_t n_bytes;
    float *row; /* one of the result */
    struct erne_mappings maps;
    struct erne_step step; /* may be changed between runs; not to more rows */
};

/* like: a node of a graph that was built, placed or not. step: how many rows it has, and
 * the tokens that are in the context. EUNSUPPORTED: the backend declines the node. The
 * trial must not be moved; after a failure it needs no deinit. */
int erne_node_trial_init(struct erne_node_trial *t, const struct erne_node *like,
                         struct erne_backend *be, const struct erne_step *step,
                         struct erne_error *err);
void erne_node_trial_deinit(struct erne_node_trial *t);

/* Fills all memory. */
void erne_node_trial_fill(struct erne_node_trial *t, uint64_t seed);
/* Computes it from what the memory holds, and brings the result there. */
int erne_node_trial_run(struct erne_node_trial *t);
/* The same n times on data that the backend has already; results may stay there. */
int erne_node_trial_repeat(struct erne_node_trial *t, uint64_t n);

/* How far the result is from the one that is wanted, as a part of the latter's root mean
 * square: the root mean square of the differences, or a tenth of the worst single one if
 * that is more. Infinite for what is no number, and where memory beside the result was
 * changed. Compares the rows that both have; what was got becomes what is wanted. */
double erne_node_trial_error(struct erne_node_trial *got,
                             const struct erne_node_trial *want);

#endif
