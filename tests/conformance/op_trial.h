/* op_trial.h -- the runner's side of a trial: building, comparing, taking apart.
 * What the case tables see of it is in op_case.h. */
#ifndef ERNE_OP_TRIAL_H
#define ERNE_OP_TRIAL_H

#include "tests/conformance/op_case.h"

/* How a result compares with the reference. */
struct op_verdict {
    bool ok;
    double worst;   /* largest difference, as a part of what is allowed */
    char text[256]; /* what is wrong; the worst element */
};

/* The calling program stops when a table builds a node that erne_op_check refuses. */
void op_trial_init(struct op_trial *t, const struct op_case_table *table, enum erne_op op,
                   size_t i, enum op_fill fill, uint64_t seed);
void op_trial_deinit(struct op_trial *t);

/* Puts all memory back to what it was before the first run. */
void op_trial_restore(struct op_trial *t);
/* Takes what is in dst now as the truth, and asks the table for its bound. */
void op_trial_set_reference(struct op_trial *t, const struct op_case_table *table);

/* Guards, gaps, inputs and values, after a run. */
struct op_verdict op_trial_compare(struct op_trial *t);

/* What of a tensor's memory a device is to know: aligned as in a plan, and with guards
 * where a run may not fault on them, so that what is written there shows. The size is 0
 * where there is none: a bank is its weights. */
struct erne_range op_trial_range(const struct op_trial *t, int i);

/* The memory of dst with its guards, for comparing runs bit by bit. */
const struct op_buffer *op_trial_dst_buffer(const struct op_trial *t);

const char *op_fill_name(enum op_fill fill);

#endif
