/* bench_suite.h -- options of erne bench from a YAML file, so that many people can run
 * the same tests. */
#ifndef ERNE_BENCH_SUITE_H
#define ERNE_BENCH_SUITE_H

#include "runtime/cli/cli_io.h"

enum { BENCH_SUITE_MAX = 128 };

/* A command line made of the file: "--n-prompt=512", "--progress" ... and a NULL. */
struct bench_suite {
    char *words[BENCH_SUITE_MAX + 1];
    size_t lines[BENCH_SUITE_MAX]; /* where each stands */
    int n;
};

/* The file is one mapping of options without their dashes to a value, or to a list of
 * values: "n-prompt: [512, 1024]"; "name" and "about" are for people. EFORMAT says line
 * and column, also of an option that is there twice, a list that is empty or of an option
 * of one value, and a second document. Zero it to start; deinit in any
 * case. */
int bench_suite_read(struct bench_suite *suite, const char *text, size_t n_bytes,
                     const char *path, struct erne_error *err);
void bench_suite_deinit(struct bench_suite *suite);

#endif
