/* conf_run.h -- runs case tables on backends: the conformance test and the benchmark. */
#ifndef ERNE_CONF_RUN_H
#define ERNE_CONF_RUN_H

#include <stdio.h>

#include "tests/conformance/op_trial.h"

struct conf_options {
    const char *op;      /* only this operator; NULL: all */
    const char *backend; /* only this one, "vulkan", or its device, "vulkan:1"; or NULL */
    const char *filter;  /* only where this is part of "op/lane/impl/case"; or NULL */
    int rounds;          /* of new random data a case */
    uint64_t seed;
    int n_threads; /* of the benchmark; the test takes 1, 2 and 3 */
    FILE *out;     /* lines for people; NULL: none */
    void *hook;    /* of struct erne_backend_opts */
};

enum { CONF_THREADS = 3, CONF_LANES_MAX = 32, CONF_ROWS_MAX = 512 };
enum { CONF_LABEL_MAX = 192, CONF_WORST_MAX = 384 };

/* A backend at one of its levels: on the CPU opened once for each number of threads, else
 * on one of its devices. */
struct conf_lane {
    char name[64]; /* "cpu.avx2", "vulkan:0.auto" */
    const struct erne_backend_fns *fns;
    struct erne_backend *be[CONF_THREADS];
    int n_threads[CONF_THREADS];
    int n_be;
};

/* What happened to one implementation of one operator on one lane. */
struct conf_row {
    enum erne_op op;
    const struct conf_lane *lane;
    const struct erne_op_impl *impl;
    int n_cases, n_declined, n_trials, n_failed;
    double worst; /* largest error as a part of what is allowed, and where */
    char worst_text[CONF_WORST_MAX];
};

struct conf_run {
    struct conf_options opts;
    struct erne_backend *reference;
    struct conf_lane lanes[CONF_LANES_MAX];
    int n_lanes;
    struct conf_row rows[CONF_ROWS_MAX];
    int n_rows;
};

/* Opens every backend of the list but "reference" (which is the truth) at every level it
 * accepts, on every device it has; on the CPU one instance with n_threads for a
 * benchmark, else CONF_THREADS of them. */
int conf_open(struct conf_run *run, const struct erne_backend_fns *const *backends,
              const struct conf_options *opts, bool bench);
void conf_close(struct conf_run *run);

/* Checks everything that the options select. The number of failed trials. */
int conf_test(struct conf_run *run);
/* Only asks who takes which case. */
void conf_list(struct conf_run *run);

/* One line of the benchmark. */
struct conf_timing {
    const struct conf_row *row;
    const char *case_name;
    double median_ns, spread; /* (upper - lower quartile) / median */
    struct op_work work;
};

/* Times the cases that are marked so, all implementations of a case in turns, after a
 * check of each. Returns the number that failed it. */
int conf_bench(struct conf_run *run,
               void (*visit)(void *user, const struct conf_timing *), void *user);

/* ------------------------------------------- between conf_run and conf_bench */

const struct op_case_table *conf_table(enum erne_op op);
bool conf_wants_op(const struct conf_run *run, enum erne_op op);
/* The reference of trial; then the trial is ready for conf_check. */
void conf_reference(struct conf_run *run, struct op_trial *t);

/* Where a case is tried. */
struct conf_place {
    struct conf_row *row;
    const char *case_name;
    uint64_t seed;
};

/* Calls visit for each implementation that the options select for a case. */
void conf_each_impl(struct conf_run *run, enum erne_op op, const char *case_name,
                    void (*visit)(struct conf_run *run, struct conf_row *row, void *user),
                    void *user);
bool conf_has_impl(struct conf_run *run, enum erne_op op, const char *case_name);
/* Runs one implementation with each number of threads, on a device twice. False when it
 * failed; counts in the row. */
bool conf_check(struct conf_run *run, const struct conf_place *at, struct op_trial *t);

/* A node placed on an implementation, its memory known to the device; EUNSUPPORTED: it
 * declines. */
int conf_prepare(struct op_trial *t, const struct conf_row *row, struct erne_backend *be);
/* On a device: what is in the trial's memory goes there, and comes back. */
int conf_upload(struct op_trial *t);
int conf_download(struct op_trial *t);
int conf_run_node(struct op_trial *t);
void conf_release(struct op_trial *t);

#endif
