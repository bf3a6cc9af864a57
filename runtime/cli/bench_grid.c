/* bench_grid.c -- from options to the list of cases. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/bench.h"

enum { MAX_TOKENS = 1 << 24, MAX_CASES = 4096, MAX_TIMES = 1 << 20 };

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
    return bench_words_parse(&l->models, &all, "-m", pf_path_exists, err);
}

/* A placement such as "prefill=vulkan,decode=cpu" is one value, whatever its commas. */
static bool is_placement(const char *item)
{
    return strchr(item, '=') != NULL;
}

/* The values of an option, or the one that stands for none. */
static int list_words(struct bench_words *words, const struct cli_list *list,
                      const char *option, const char *fallback, struct erne_error *err)
{
    const struct cli_list one = { &fallback, 1 };

    return bench_words_parse(words, list->n > 0 ? list : &one, option, is_placement, err);
}

static int list_settings(struct bench_lists *l, const struct cli_args *args,
                         struct erne_error *err)
{
    const struct cli_bench *o = &args->bench;
    int st = list_words(&l->backends, &o->backends, "--backend", "auto", err);

    l->is_auto = o->backends.n == 0;
    if (st == ERNE_OK && o->devices.n > 0)
        st = list_words(&l->devices, &o->devices, "-dev", "", err);
    if (st == ERNE_OK)
        st = bench_ints_parse(&l->n_threads, &o->n_threads, "-t", 1, ERNE_THREADS_MAX,
                              pf_cpu_count(), err);
    if (st == ERNE_OK)
        st = bench_ints_parse(&l->n_batch, &o->n_batch, "-b", 1, 1 << 20, 2048, err);
    if (st == ERNE_OK)
        st = bench_ints_parse(&l->n_ubatch, &o->n_ubatch, "-ub", 1, ERNE_BATCH_MAX, 512,
                              err);
    if (st == ERNE_OK)
        st = list_words(&l->type_k, &o->type_k, "-ctk", "f16", err);
    if (st == ERNE_OK && o->type_v.n > 0) /* else as the keys */
        st = list_words(&l->type_v, &o->type_v, "-ctv", "", err);
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
    if (st == ERNE_OK)
        st = bench_pairs_parse(&l->whole, &o->whole, "--e2e", ',', MAX_TOKENS, err);
    if (st == ERNE_OK)
        st = bench_pairs_parse(&l->images, &o->images, "--image-size", 'x', 1 << 14, err);
    return st;
}

int bench_lists_parse(struct bench_lists *l, const struct cli_args *args,
                      struct erne_error *err)
{
    int st = list_settings(l, args, err);

    return st == ERNE_OK ? list_tests(l, args, err) : st;
}

void bench_lists_deinit(struct bench_lists *l)
{
    bench_words_deinit(&l->models);
    bench_words_deinit(&l->backends);
    bench_words_deinit(&l->devices);
    bench_words_deinit(&l->type_k);
    bench_words_deinit(&l->type_v);
    bench_ints_deinit(&l->n_threads);
    bench_ints_deinit(&l->n_batch);
    bench_ints_deinit(&l->n_ubatch);
    bench_ints_deinit(&l->n_prompt);
    bench_ints_deinit(&l->n_gen);
    bench_ints_deinit(&l->n_depth);
    bench_ints_deinit(&l->pairs);
    bench_ints_deinit(&l->whole);
    bench_ints_deinit(&l->images);
}

/* ------------------------------------------------------------------ cases */

static void name_case(struct bench_case *c)
{
    char size[24] = "";
    size_t n = 0;

    if (c->width > 0)
        snprintf(size, sizeof(size), " %dx%d", c->width, c->height);
    if (c->kind == BENCH_VISION)
        snprintf(c->name, sizeof(c->name), "vision%s", size);
    if (c->kind == BENCH_WHOLE)
        snprintf(c->name, sizeof(c->name), "e2e%d+%d%s", c->n_prompt, c->n_gen, size);
    if (c->kind != BENCH_TOKENS)
        return;

    if (c->n_prompt > 0)
        n = (size_t)snprintf(c->name, sizeof(c->name), "pp%d%s", c->n_prompt,
                             c->n_gen > 0 ? "+" : "");
    if (c->n_gen > 0)
        n += (size_t)snprintf(c->name + n, sizeof(c->name) - n, "tg%d", c->n_gen);
    if (c->n_depth > 0)
        snprintf(c->name + n, sizeof(c->name) - n, " @ d%d", c->n_depth);
}

static void add_case(struct bench *b, const struct bench_case *model)
{
    struct bench_case *c = &b->cases[b->n_cases];

    if (model->n_prompt + model->n_gen + model->width == 0)
        return;
    *c = *model;
    name_case(c);
    b->n_cases++;
}

/* Tests of tokens of one lane, in llama-bench's order. */
static void add_token_cases(struct bench *b, struct bench_lane *lane)
{
    const struct bench_lists *l = &b->lists;
    struct bench_case c = { .lane = lane };

    for (size_t d = 0; d < l->n_depth.n; d++) {
        c.n_depth = l->n_depth.data[d];
        c.n_gen = 0;
        for (size_t i = 0; i < l->n_prompt.n; i++) {
            c.n_prompt = l->n_prompt.data[i];
            add_case(b, &c);
        }
        c.n_prompt = 0;
        for (size_t i = 0; i < l->n_gen.n; i++) {
            c.n_gen = l->n_gen.data[i];
            add_case(b, &c);
        }
        for (size_t i = 0; i + 1 < l->pairs.n; i += 2) {
            c.n_prompt = l->pairs.data[i];
            c.n_gen = l->pairs.data[i + 1];
            add_case(b, &c);
        }
    }
}

/* Pictures alone, then whole requests, with each picture if there are any. */
static void add_other_cases(struct bench *b, struct bench_lane *lane)
{
    const struct bench_lists *l = &b->lists;
    struct bench_case c = { .lane = lane, .kind = BENCH_VISION };

    for (size_t i = 0; i + 1 < l->images.n; i += 2) {
        c.width = l->images.data[i];
        c.height = l->images.data[i + 1];
        add_case(b, &c);
    }
    c = (struct bench_case){ .lane = lane, .kind = BENCH_WHOLE };
    for (size_t i = 0; i + 1 < l->whole.n; i += 2) {
        size_t k = 0;

        c.n_prompt = l->whole.data[i];
        c.n_gen = l->whole.data[i + 1];
        do {
            if (k + 1 < l->images.n) {
                c.width = l->images.data[k];
                c.height = l->images.data[k + 1];
            }
            add_case(b, &c);
            k += 2;
        } while (k + 1 < l->images.n);
    }
}

static void add_lane(struct bench *b, struct bench_engine *engine,
                     const struct bench_lane *settings)
{
    struct bench_lane *lane = &b->lanes[b->n_lanes++];

    *lane = *settings;
    lane->engine = engine;
    add_token_cases(b, lane);
    add_other_cases(b, lane);
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

/* Backends and devices side by side; "auto" alone, where neither is named. */
static size_t n_backends(const struct bench_lists *l)
{
    return l->devices.n > 0 && l->is_auto ? 0 : l->backends.n;
}

static size_t n_computers(const struct bench_lists *l)
{
    return n_backends(l) + l->devices.n;
}

static void add_engines(struct bench *b)
{
    const struct bench_lists *l = &b->lists;

    for (size_t m = 0; m < l->models.n; m++)
        for (size_t i = 0; i < n_computers(l); i++)
            for (size_t t = 0; t < l->n_threads.n; t++) {
                struct bench_engine *engine = &b->engines[b->n_engines++];
                const bool device = i >= n_backends(l);

                engine->path = l->models.data[m];
                engine->backend = device ? "auto" : l->backends.data[i];
                engine->device = device ? l->devices.data[i - n_backends(l)] : NULL;
                engine->n_threads = l->n_threads.data[t];
                add_lanes(b, engine);
            }
}

/* Room for all engines, lanes and cases, which point at one another. */
static int reserve(struct bench *b, struct erne_error *err)
{
    const struct bench_lists *l = &b->lists;
    const double n_engines =
        (double)l->models.n * (double)n_computers(l) * (double)l->n_threads.n;
    const double n_lanes = n_engines * (double)l->n_batch.n * (double)l->n_ubatch.n *
                           (double)l->type_k.n * (double)(l->type_v.n ? l->type_v.n : 1);
    const double n_images = (double)l->images.n / 2, n_whole = (double)l->whole.n / 2;
    const double n_tests =
        (double)l->n_depth.n *
            ((double)l->n_prompt.n + (double)l->n_gen.n + (double)l->pairs.n / 2) +
        n_images + n_whole * (n_images > 0 ? n_images : 1);
    const double n_cases = n_lanes * n_tests;

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

static int reserve_series(struct bench_series *s, size_t cap, struct erne_error *err)
{
    s->data = calloc(cap ? cap : 1, sizeof(*s->data));
    if (!s->data)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %zu times", cap);
    s->cap = cap;
    return ERNE_OK;
}

static int reserve_case(struct bench_case *c, size_t n_repeats, struct erne_error *err)
{
    const size_t n_tokens = n_repeats * (size_t)c->n_gen;
    int st = reserve_series(&c->samples, n_repeats, err);

    if (st == ERNE_OK)
        st = reserve_series(&c->machine, n_repeats, err);
    if (st == ERNE_OK)
        st = reserve_series(&c->first, n_repeats, err);
    if (st == ERNE_OK)
        st = reserve_series(&c->tokens, n_tokens < MAX_TIMES ? n_tokens : MAX_TIMES, err);
    for (int i = 0; st == ERNE_OK && i < BENCH_N_STAGES; i++)
        st = reserve_series(&c->stages[i], c->kind == BENCH_WHOLE ? n_repeats : 0, err);
    return st;
}

static void free_case(struct bench_case *c)
{
    erne_media_close(&c->media);
    free(c->samples.data);
    free(c->machine.data);
    free(c->first.data);
    free(c->tokens.data);
    for (int i = 0; i < BENCH_N_STAGES; i++)
        free(c->stages[i].data);
}

int bench_grid_init(struct bench *b, struct erne_error *err)
{
    int st = list_models(&b->lists, b->args, err);

    if (st == ERNE_OK)
        st = bench_lists_parse(&b->lists, b->args, err);
    if (st == ERNE_OK)
        st = reserve(b, err);
    if (st < 0)
        return st;
    add_engines(b);
    if (b->n_cases == 0)
        return cli_fail(err, ERNE_EINVAL, "no test is left: -p 0, -n 0 and no -pg");
    for (size_t i = 0; st == ERNE_OK && i < b->n_cases; i++)
        st = reserve_case(&b->cases[i], (size_t)b->args->bench.n_repeats, err);
    return st;
}

void bench_grid_deinit(struct bench *b)
{
    for (size_t i = 0; i < b->n_cases; i++)
        free_case(&b->cases[i]);
    free(b->engines);
    free(b->lanes);
    free(b->cases);
    bench_lists_deinit(&b->lists);
}
