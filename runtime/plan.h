/* plan.h -- from a graph to something that runs: who takes each node, and where its
 * memory is.
 *
 * For every node the planner asks the implementations of the preferred backend, best
 * first, then those of the next backend, until one accepts and has memory for the node's
 * weights. Step tensors share one arena
 * by lifetime: a tensor's bytes are free again after its last reader. All sizes are known
 * before anything is allocated.
 */
#ifndef ERNE_PLAN_H
#define ERNE_PLAN_H

#include "runtime/arena.h"
#include "runtime/ask.h"
#include "runtime/backend.h"
#include "runtime/graph.h"
#include "runtime/mapping.h"
#include "runtime/transfer.h"
#include "runtime/watch.h"

struct erne_plan {
    struct erne_graph *graph;
    struct erne_node **order; /* [graph->n_nodes] in execution order */
    struct erne_arena step;   /* inputs, outputs and step tensors */
    size_t scratch_bytes;     /* that the backends were asked for */
    struct erne_mappings maps;
    struct erne_itinerary route;
    struct erne_backend *failed; /* after a failure: whose it was, if a backend's */
    struct erne_ask ask;            /* before every node, which run one by one then */
    const struct erne_watch *watch; /* NULL: nobody; else nodes run one by one */
    const struct erne_tensor *idle; /* then: a result that nobody reads, whose node is
                                       seen and does not run; or NULL */
};

/* backends: opened, best first, ends with NULL; a device without room for a step is left
 * out. Logs one line a node at ERNE_LOG_DEBUG: who took it, who declined. The graph must
 * outlive the plan. After a failure the plan needs no deinit; only `failed` counts. */
int erne_plan_init(struct erne_plan *plan, struct erne_graph *graph,
                   struct erne_backend *const *backends, erne_log_fn log, void *log_user,
                   struct erne_error *err);
void erne_plan_deinit(struct erne_plan *plan);

/* Asks one backend's implementations of a node, best first. 0: taken; 1: all declined.
 * And the way back; allowed for a node that nobody has. */
int erne_node_offer(struct erne_backend *be, struct erne_node *node);
void erne_node_withdraw(struct erne_node *node);

/* Runs all nodes. No allocation. ECANCELLED, EDEVICE, or what an operator returned. */
int erne_plan_run(struct erne_plan *plan, const struct erne_step *step,
                  struct erne_error *err);

#endif
