/* node_trial.h -- one node of a model's graph, alone on one backend, with data of its
 * own: for timing operators and comparing backends at the shapes that a model has.
 *
 * Weights are those of the node; activations, indices and caches are copies that are
 * filled with numbers which depend on a seed only, so that trials of the same node on
 * different backends compute the same.
 */
#ifndef ERNE_NODE_TRIAL_H
#define ERNE_NODE_TRIAL_H

#include "runtime/plan.h"

struct erne_node_trial {
    struct erne_graph graph; /* the copy, and what it reads and writes */
    struct erne_plan plan;
    struct erne_step step;
};

/* like: a node of a graph that was built, placed or not; it must outlive the trial. step:
 * how many rows it has, and the tokens that are in the context. EUNSUPPORTED: the backend
 * declines the node. The trial must not be moved. */
int erne_node_trial_init(struct erne_node_trial *t, const struct erne_node *like,
                         struct erne_backend *be, const struct erne_step *step,
                         struct erne_error *err);
void erne_node_trial_deinit(struct erne_node_trial *t);

const struct erne_node *erne_node_trial_node(const struct erne_node_trial *t);

/* Fills all inputs. */
void erne_node_trial_fill(struct erne_node_trial *t, uint64_t seed);
/* Runs it with whatever its inputs hold, and brings results to the host. */
int erne_node_trial_run(struct erne_node_trial *t, struct erne_error *err);
/* The same n times on data that the backend has already; results may stay there. */
int erne_node_trial_repeat(struct erne_node_trial *t, uint64_t n);

/* Root mean square of the difference between results over that of b's; infinite where one
 * is not finite. Rows of the smaller step count. */
double erne_node_trial_error(const struct erne_node_trial *a,
                             const struct erne_node_trial *b);

#endif
