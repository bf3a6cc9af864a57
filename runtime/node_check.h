/* node_check.h -- one node of a model, computed by a backend and by the reference on the
 * same fresh data: what `erne verify --device` is made of. */
#ifndef ERNE_NODE_CHECK_H
#define ERNE_NODE_CHECK_H

#include "runtime/plan.h"

/* Tells nodes apart by what a backend may look at beside their parameters
 * (erne_op_params_equal): operator, and shape, type and scheme of what it uses. */
uint64_t erne_node_key(const struct erne_node *node);
/* "T67 [1024] x [3072, 1024] w4-g32 + bias": for people. */
enum { ERNE_NODE_TEXT_MAX = 128 };
void erne_node_text(const struct erne_node *node, const struct erne_step *step,
                    char text[ERNE_NODE_TEXT_MAX]);

/* What may be off, as a part of the result's root mean square. */
double erne_node_limit(const struct erne_node *node);

struct erne_node_task {
    struct erne_backend *be, *reference;
    const struct erne_step *step;
    int n_rounds;
    uint64_t seed;
};

/* Computes a copy of the node n_rounds times on both, behind any number of tokens.
 * *error: the worst of erne_node_trial_error. EUNSUPPORTED: the backend declines it. */
int erne_node_check(const struct erne_node *node, const struct erne_node_task *task,
                    double *error, struct erne_error *err);

#endif
