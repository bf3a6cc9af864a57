/* bench.h -- the inside of `erne bench`: which tests are taken, and what runs them.
 *
 * A benchmark is a cross product: models x backends x threads x batches x KV types give
 * lanes, each with a session of its own; prompts, generations and depths give the tests
 * that every lane takes. Repeats are interleaved: each round takes every test once, so
 * that what the machine does meanwhile falls on all of them alike.
 */
#ifndef ERNE_BENCH_H
#define ERNE_BENCH_H

#include "runtime/cli/bench_list.h"
#include "runtime/cli/bench_record.h"
#include "runtime/cli/cli_model.h"

/* What the options asked for. */
struct bench_lists {
    struct bench_words models, backends, type_k, type_v;
    struct bench_ints n_threads, n_batch, n_ubatch;
    struct bench_ints n_prompt, n_gen, n_depth, pairs;
};

/* An open model on a backend, and the tokens that tests evaluate: those of a real text,
 * since random tokens do not choose experts as texts do. */
struct bench_engine {
    const char *path, *backend;
    int n_threads;
    struct cli_model model; /* without a session */
    struct cli_ids trace;
    char type[64];
};

struct bench_lane {
    struct bench_engine *engine;
    int n_batch, n_ubatch;
    const char *type_k, *type_v;
    struct erne_session *session; /* holds the beginning of the trace */
};

struct bench_case {
    struct bench_lane *lane;
    int n_prompt, n_gen, n_depth;
    char name[64];
    char time[32];
    double *samples_ns; /* [n_samples], in the order they were taken */
    size_t n_samples;
};

struct bench {
    struct cli_args *args;
    struct bench_lists lists;
    struct cli_text text; /* what is evaluated */
    struct bench_engine *engines;
    size_t n_engines;
    struct bench_lane *lanes;
    size_t n_lanes;
    struct bench_case *cases;
    size_t n_cases;
    char *devices; /* names of what is no CPU, or empty */
    char cpu[128], build[256];
};

/* ------------------------------------------------------------ bench_grid.c */

/* Reads the options and lays out engines, lanes and cases; nothing is opened. EINVAL. */
int bench_grid_init(struct bench *b, struct erne_error *err);
void bench_grid_deinit(struct bench *b);

/* ------------------------------------------------------------- bench_run.c */

/* Opens what the cases need, and takes all samples. */
int bench_open(struct bench *b, struct erne_error *err);
int bench_run(struct bench *b, struct erne_error *err);
void bench_close(struct bench *b);

/* Evaluates what a case is about once: n_prompt tokens in calls of n_batch, then n_gen
 * tokens one by one, behind n_depth tokens. Only the former are timed. */
int bench_run_once(struct bench_case *c, double *ns, struct erne_error *err);

#endif
