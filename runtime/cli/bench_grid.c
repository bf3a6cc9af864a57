/* bench_grid.c -- from options to the list of cases. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/bench.h"

enum { MAX_TOKENS = 1 << 24, MAX_CASES = 4096 };

/* ---------------------------------------------------------------- options */

/* Both as -m and as operands. */
static int list_models(struct bench_lists *l, const struct cli_args *args,
                       struct erne_error *err)
{
    struct cli_list all = args->bench.models;
    const char *items[CLI_MAX_OPERANDS];

    if (args->n_operands > 0 && all.n > 0)
        return cli_fail(err, ERNE_EINVAL,
                        "'%s' is one argument too many: the model was given by -m",
                        args->operands[0]);
    if (all.n == 0) {
        memcpy(items, args->operands, sizeof(items));
        all = (struct cli_list){ items, args->n_operands };
    }
    if (all.n == 0)
        return cli_fail(err, ERNE_EINVAL, "a model file is needed");
    return bench_words_parse(&l->models, &all, "-m", "", err);
}

static int list_settings(struct bench_lists *l, const struct cli_args *args,
                         struct erne_error *err)
{
    const struct cli_bench *o = &args->bench;
    int st = list_models(l, args, err);

    if (st == ERNE_OK)
        st = bench_words_parse(&l->backends, &o->backends, "--backend", "auto", err);
    if (st == ERNE_OK)
        st = bench_ints_parse(&l->n_threads, &o->n_threads, "-t", 1, 4096, pf_cpu_count(),
                              err);
    if (st == ERNE_OK)
        st = bench_ints_parse(&l->n_batch, &o->n_batch, "-b", 1, 1 << 20, 2048, err);
    if (st == ERNE_OK)
        st = bench_ints_parse(&l->n_ubatch, &o->n_ubatch, "-ub", 1, 8192, 512, err);
    if (st == ERNE_OK)
        st = bench_words_parse(&l->type_k, &o->type_k, "-ctk", "f16", err);
    if (st == ERNE_OK && o->type_v.n > 0) /* else as the keys */
        st = bench_words_parse(&l->type_v, &o->type_v, "-ctv", "", err);
    return st;
}

/* As llama-bench: 512 and 128 unless -p, -n or -pg say something else. */
static int list_tests(struct bench_lists *l, const struct cli_args *args,
                      struct erne_error *err)
{
    const struct cli_bench *o = &args->bench;
    int st = bench_ints_parse(&l->n_prompt, &o->n_prompt, "-p", 0, MAX_TOKENS, 512, err);

    if (st == ERNE_OK)
        st = bench_ints_parse(&l->n_gen, &o->n_gen, "-n", 0, MAX_TOKENS, 128, err);
    if (st == ERNE_OK)
        st = bench_ints_parse(&l->n_depth, &o->n_depth, "-d", 0, MAX_TOKENS, 0, err);
    if (st == ERNE_OK)
        st = bench_pairs_parse(&l->pairs, &o->pairs, "-pg", ',', MAX_TOKENS, err);
    return st;
}

/* ------------------------------------------------------------------ cases */

static void name_case(struct bench_case *c)
{
    size_t n = 0;

    if (c->n_prompt > 0)
        n = (size_t)snprintf(c->name, sizeof(c->name), "pp%d%s", c->n_prompt,
                             c->n_gen > 0 ? "+" : "");
    if (c->n_gen > 0)
        n += (size_t)snprintf(c->name + n, sizeof(c->name) - n, "tg%d", c->n_gen);
    if (c->n_depth > 0)
        snprintf(c->name + n, sizeof(c->name) - n, " @ d%d", c->n_depth);
}

static void add_case(struct bench *b, struct bench_lane *lane, int n_prompt, int n_gen,
                     int n_depth)
{
    struct bench_case *c = &b->cases[b->n_cases];

    if (n_prompt + n_gen == 0)
        return;
    *c = (struct bench_case){
        .lane = lane, .n_prompt = n_prompt, .n_gen = n_gen, .n_depth = n_depth
    };
    name_case(c);
    b->n_cases++;
}

/* The tests of one lane, in llama-bench's order. */
static void add_lane_cases(struct bench *b, struct bench_lane *lane)
{
    const struct bench_lists *l = &b->lists;

    for (size_t d = 0; d < l->n_depth.n; d++) {
        for (size_t i = 0; i < l->n_prompt.n; i++)
            add_case(b, lane, l->n_prompt.data[i], 0, l->n_depth.data[d]);
        for (size_t i = 0; i < l->n_gen.n; i++)
            add_case(b, lane, 0, l->n_gen.data[i], l->n_depth.data[d]);
        for (size_t i = 0; i + 1 < l->pairs.n; i += 2)
            add_case(b, lane, l->pairs.data[i], l->pairs.data[i + 1], l->n_depth.data[d]);
    }
}

static void add_lane(struct bench *b, struct bench_engine *engine,
                     const struct bench_lane *settings)
{
    struct bench_lane *lane = &b->lanes[b->n_lanes++];

    *lane = *settings;
    lane->engine = engine;
    add_lane_cases(b, lane);
}

static void add_lanes(struct bench *b, struct bench_engine *engine)
{
    const struct bench_lists *l = &b->lists;
    struct bench_lane s = { 0 };

    for (size_t i = 0; i < l->n_batch.n; i++)
        for (size_t j = 0; j < l->n_ubatch.n; j++)
            for (size_t k = 0; k < l->type_k.n; k++)
                for (size_t v = 0; v < (l->type_v.n ? l->type_v.n : 1); v++) {
                    s.n_batch = l->n_batch.data[i];
                    s.n_ubatch = l->n_ubatch.data[j];
                    s.type_k = l->type_k.data[k];
                    s.type_v = l->type_v.n ? l->type_v.data[v] : s.type_k;
                    add_lane(b, engine, &s);
                }
}

static void add_engines(struct bench *b)
{
    const struct bench_lists *l = &b->lists;

    for (size_t m = 0; m < l->models.n; m++)
        for (size_t i = 0; i < l->backends.n; i++)
            for (size_t t = 0; t < l->n_threads.n; t++) {
                struct bench_engine *engine = &b->engines[b->n_engines++];

                engine->path = l->models.data[m];
                engine->backend = l->backends.data[i];
                engine->n_threads = l->n_threads.data[t];
                add_lanes(b, engine);
            }
}

/* Room for all engines, lanes and cases, which point at one another. */
static int reserve(struct bench *b, struct erne_error *err)
{
    const struct bench_lists *l = &b->lists;
    const double n_engines =
        (double)l->models.n * (double)l->backends.n * (double)l->n_threads.n;
    const double n_lanes = n_engines * (double)l->n_batch.n * (double)l->n_ubatch.n *
                           (double)l->type_k.n * (double)(l->type_v.n ? l->type_v.n : 1);
    const double n_cases =
        n_lanes * (double)l->n_depth.n *
        ((double)l->n_prompt.n + (double)l->n_gen.n + (double)l->pairs.n / 2);

    if (n_cases > (double)MAX_CASES)
        return cli_fail(err, ERNE_EINVAL, "%.0f tests in all: more than %d", n_cases,
                        MAX_CASES);
    b->engines = calloc((size_t)n_engines, sizeof(*b->engines));
    b->lanes = calloc((size_t)n_lanes, sizeof(*b->lanes));
    b->cases = calloc((size_t)n_cases, sizeof(*b->cases));
    if (!b->engines || !b->lanes || !b->cases)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %.0f tests", n_cases);
    return ERNE_OK;
}

static int reserve_samples(struct bench *b, struct erne_error *err)
{
    const size_t n = (size_t)b->args->bench.n_repeats;

    for (size_t i = 0; i < b->n_cases; i++) {
        b->cases[i].samples_ns = calloc(n, sizeof(double));
        if (!b->cases[i].samples_ns)
            return cli_fail(err, ERNE_ENOMEM, "out of memory for %zu repeats", n);
    }
    return ERNE_OK;
}

int bench_grid_init(struct bench *b, struct erne_error *err)
{
    int st = list_settings(&b->lists, b->args, err);

    if (st == ERNE_OK)
        st = list_tests(&b->lists, b->args, err);
    if (st == ERNE_OK)
        st = reserve(b, err);
    if (st < 0)
        return st;
    add_engines(b);
    if (b->n_cases == 0)
        return cli_fail(err, ERNE_EINVAL, "no test is left: -p 0, -n 0 and no -pg");
    return reserve_samples(b, err);
}

void bench_grid_deinit(struct bench *b)
{
    struct bench_lists *l = &b->lists;

    for (size_t i = 0; i < b->n_cases; i++)
        free(b->cases[i].samples_ns);
    free(b->engines);
    free(b->lanes);
    free(b->cases);
    bench_words_deinit(&l->models);
    bench_words_deinit(&l->backends);
    bench_words_deinit(&l->type_k);
    bench_words_deinit(&l->type_v);
    bench_ints_deinit(&l->n_threads);
    bench_ints_deinit(&l->n_batch);
    bench_ints_deinit(&l->n_ubatch);
    bench_ints_deinit(&l->n_prompt);
    bench_ints_deinit(&l->n_gen);
    bench_ints_deinit(&l->n_depth);
    bench_ints_deinit(&l->pairs);
}
