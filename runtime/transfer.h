/* transfer.h -- what has to be copied between host and devices so that every node finds
 * its inputs where it runs.
 *
 * The nodes of a plan are cut into legs: runs of nodes on one backend. What moves before
 * each leg is known when the plan is made, but for state (the KV cache), which other
 * plans write, too: it is looked after when the leg is run.
 */
#ifndef ERNE_TRANSFER_H
#define ERNE_TRANSFER_H

#include "runtime/backend.h"
#include "runtime/graph.h"

/* The rows in use of a tensor, to a device or from it. */
struct erne_transfer {
    struct erne_tensor *tensor; /* no view */
    struct erne_backend *be;
    bool up;
};

struct erne_leg {
    struct erne_backend *be; /* NULL: the session, which reads the outputs */
    size_t first, n_nodes;
    size_t first_transfer, n_transfers; /* before it */
};

struct erne_itinerary {
    struct erne_leg *legs;
    size_t n_legs;
    struct erne_transfer *transfers;
    size_t n_transfers, cap_transfers;
};

/* From a graph whose nodes are all placed. ENOMEM: it is empty. */
int erne_itinerary_init(struct erne_itinerary *it, const struct erne_graph *g);
void erne_itinerary_deinit(struct erne_itinerary *it);

/* Copies what a leg needs; order: the plan's nodes. On failure *failed is the backend
 * that could not. */
int erne_leg_bring(const struct erne_itinerary *it, const struct erne_leg *leg,
                   struct erne_node *const *order, const struct erne_step *step,
                   struct erne_backend **failed);

#endif
