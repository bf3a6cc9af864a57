/* bench_compare.h -- what changed between two files of results. */
#ifndef ERNE_BENCH_COMPARE_H
#define ERNE_BENCH_COMPARE_H

#include "runtime/cli/bench_record.h"
#include "runtime/cli/bench_stats.h"

/* Results that were read back. In JSON, samples of the same test that were found several
 * times are joined; of csv, to which later results were appended, the last row counts. */
struct bench_results {
    struct bench_record *records; /* [n], with samples_ns */
    size_t n;
    void *json; /* what their texts live in */
};

/* text: [n_bytes] and 0-terminated, what -o json, jsonl or csv wrote, JSON also several
 * times in a row. path is for messages. EFORMAT. Zero results to start. */
int bench_results_read(struct bench_results *results, const char *text, size_t n_bytes,
                       const char *path, struct erne_error *err);
void bench_results_deinit(struct bench_results *results);
/* The record for the same test, or NULL. */
struct bench_record *bench_results_find(const struct bench_results *results,
                                        const struct bench_record *like);

enum bench_verdict {
    BENCH_TOO_FEW, /* samples, for an interval of 95 % */
    BENCH_SAME,    /* not distinguishable */
    BENCH_SLOWER,
    BENCH_FASTER
};

/* Speeds as ratios minus 1: -0.1 is a tenth slower. */
struct bench_difference {
    enum bench_verdict verdict;
    double speed, low, high;
    double machine; /* how much faster the machine itself was, see bench_probe_ns */
};

/* b against a, both with samples. What the machine's own speed explains is no difference,
 * nor is less than one percent. scratch: [n_a * n_b] */
struct bench_difference bench_differ(const struct bench_record *a,
                                     const struct bench_record *b, double *scratch);

/* A line for each test that both have, and for those that only one has. */
int bench_compare_write(struct cli_text *text, const struct bench_results *a,
                        const struct bench_results *b, struct erne_error *err);

/* erne bench --compare A B */
int bench_compare_files(const char *path_a, const char *path_b, struct erne_error *err);

#endif
