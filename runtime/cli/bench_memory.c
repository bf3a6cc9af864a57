/* bench_memory.c -- the most memory that a process holds which opens one model on one
 * backend and runs one test. A benchmark holds those of all its tests, texts and drivers
 * at once, so each test runs once more, in a copy of the process that ends with it. */
#include <stdio.h>
#include <string.h>

#include "runtime/cli/bench.h"

/* Tokens that are generated: the memory of more is little, their time is not. */
enum { MOST_GENERATED = 32 };

struct one_test {
    struct bench *b;
    struct bench_case *test;
};

/* In the copy: nothing is freed, since all of it ends. out: a uint64_t */
static void run_alone(void *arg, void *out)
{
    const struct one_test *one = arg;
    struct bench_case *c = one->test;
    struct bench_lane *lane = c->lane;
    const size_t n_tokens = (size_t)bench_most_tokens(one->b, lane);
    struct erne_error err;
    int st;

    one->b->is_quiet = true;
    c->n_gen = c->n_gen < MOST_GENERATED ? c->n_gen : MOST_GENERATED;
    st = bench_open_engine(lane->engine, one->b, n_tokens, &err);
    if (st == ERNE_OK)
        st = bench_case_prepare(c, one->b, &err);
    if (st == ERNE_OK)
        st = bench_open_lane(lane, one->b, &err);
    if (st == ERNE_OK)
        st = bench_case_run(c, one->b, &err);
    *(uint64_t *)out = st == ERNE_OK ? pf_memory_peak() : 0;
}

/* A driver compiles kernels once and keeps them: what its compiler holds then is not the
 * test's. */
static bool compiles(const struct bench_engine *e)
{
    return e->device || (strcmp(e->backend, "auto") != 0 && !bench_is_host(e->backend));
}

/* 0: not known. */
static uint64_t peak_of(struct one_test *one)
{
    uint64_t peak = 0;

    return pf_process_copy(run_alone, one, &peak, sizeof(peak)) == ERNE_OK ? peak : 0;
}

void bench_measure_memory(struct bench *b)
{
    for (size_t i = 0; i < b->n_cases; i++) {
        struct one_test one = { b, &b->cases[i] };

        if (b->args->bench.progress)
            fprintf(stderr, "erne bench: %s, %s: memory\n", one.test->lane->engine->path,
                    one.test->name);
        b->cases[i].peak_bytes = peak_of(&one);
        if (compiles(one.test->lane->engine)) /* its second time counts */
            b->cases[i].peak_bytes = peak_of(&one);
    }
}
