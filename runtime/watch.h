/* watch.h -- lets somebody see what a session's operators are given, and stop them: for
 * calibrating. Nodes run one by one then, which costs speed and changes no result. */
#ifndef ERNE_WATCH_H
#define ERNE_WATCH_H

#include "runtime/ask.h"
#include "runtime/graph.h"
#include "runtime/model_file.h"

/* Sees every node before it runs, its inputs filled, of which those on a device with
 * memory of its own are not those of the host. */
struct erne_watch {
    void (*see)(void *user, const struct erne_node *node, const struct erne_step *step);
    void *user;
};

/* Lets it see the steps of more than one token, or all in a session for single ones;
 * answers their graph. watch is kept, and must live as long as the session is used. Where
 * no logits of all tokens are asked for, these steps give none: all tokens go through the
 * last layer, and their logits would take more memory than the rest. */
const struct erne_graph *erne_session_watch(struct erne_session *session,
                                            const struct erne_watch *watch);

/* Whatever the engine's sessions compute from now on asks before every node, in the
 * thread of who called, and ends with ECANCELLED on a yes. */
void erne_engine_set_ask(struct erne_engine *engine, struct erne_ask ask);

/* The records of an engine's tensors, in file order. Those of another file of the same
 * model may take their places, and back: sessions created meanwhile compute with them. */
struct erne_file_tensor *erne_engine_tensors(struct erne_engine *engine, size_t *n);

#endif
