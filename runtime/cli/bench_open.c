/* bench_open.c -- opens the models, texts and sessions of a benchmark. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/bench.h"

extern const unsigned char bench_text[]; /* cmake/embed.cmake */
extern const size_t bench_text_bytes;

/* ------------------------------------------------------------------- open */

/* The text's tokens, again and again until there are n of them. */
static int make_trace(struct bench_engine *e, const struct bench *b, size_t n,
                      struct erne_error *err)
{
    int st = cli_ids_from_text(&e->trace, &e->model, b->text.data, b->text.n, false, err);
    const size_t n_text = e->trace.n;

    e->n_text_tokens = n_text;
    if (st == ERNE_OK && n_text < 2)
        return cli_fail(err, ERNE_EINVAL,
                        "option -f: %s: too few tokens to evaluate: %zu",
                        b->args->prompt_file, n_text);
    for (size_t i = 0; st == ERNE_OK && e->trace.n < n; i++)
        st = cli_ids_append(&e->trace, e->trace.data[1 + i % (n_text - 1)], err);
    return st;
}

struct erne_engine_opts bench_engine_opts(const struct bench_engine *e,
                                          const struct bench *b)
{
    struct erne_engine_opts opts = b->args->engine;

    opts.backend = e->backend;
    opts.device = e->device;
    opts.use_tuned = b->args->tune != CLI_TUNE_OFF;
    opts.fallback = false; /* or another backend's figures would stand under its name */
    opts.n_threads = e->n_threads;
    opts.log = b->is_quiet ? NULL : cli_log;
    opts.log_user = &b->args->verbose;
    return opts;
}

int bench_open_engine(struct bench_engine *e, const struct bench *b, size_t n_tokens,
                      struct erne_error *err)
{
    const struct erne_engine_opts opts = bench_engine_opts(e, b);
    int st;

    st = erne_engine_open(&e->model.engine, e->path, &opts, err);
    if (st < 0)
        return st;
    e->model.info = erne_engine_info(e->model.engine);
    snprintf(e->type, sizeof(e->type), "%s %s", e->model.info->arch,
             e->model.info->scheme);
    return make_trace(e, b, n_tokens, err);
}

static int n_tokens_of(const struct bench_case *c)
{
    return c->kind == BENCH_VISION ? c->n_image : c->n_depth + c->n_prompt + c->n_gen;
}

int bench_most_tokens(const struct bench *b, const struct bench_lane *lane)
{
    int most = 1;

    for (size_t i = 0; i < b->n_cases; i++) {
        const struct bench_case *c = &b->cases[i];

        if ((!lane || c->lane == lane) && c->skipped == ERNE_OK && n_tokens_of(c) > most)
            most = n_tokens_of(c);
    }
    return most;
}

int bench_open_lane(struct bench_lane *lane, const struct bench *b,
                    struct erne_error *err)
{
    struct erne_session_opts opts = erne_session_opts_default();

    if (strcmp(lane->type_k, lane->type_v) != 0)
        return cli_fail(err, ERNE_EINVAL,
                        "keys in %s and values in %s: they must be kept alike",
                        lane->type_k, lane->type_v);
    opts.kv_type = lane->type_k;
    opts.n_ctx = bench_most_tokens(b, lane);
    opts.n_batch = lane->n_ubatch;
    opts.n_draft = 0;
    return erne_session_create(&lane->session, lane->engine->model.engine, &opts, err);
}

bool bench_is_host(const char *backend)
{
    return strcmp(backend, "cpu") == 0 || strcmp(backend, "reference") == 0;
}

static int note_device(void *user, const struct erne_device_info *info)
{
    struct bench *b = user;
    char line[192];
    struct erne_error err;
    struct cli_text text = { b->devices, b->devices ? strlen(b->devices) : 0, 0 };
    int st;

    if (bench_is_host(info->backend))
        return ERNE_OK;
    text.cap = text.n ? text.n + 1 : 0;
    snprintf(line, sizeof(line), "%s%s", text.n ? ", " : "", info->name);
    st = cli_text_append(&text, line, strlen(line), &err);
    b->devices = text.data;
    return st;
}

/* A driver that no case runs on is not even loaded: that takes time, and it may crash. */
static int note_devices(struct bench *b, struct erne_error *err)
{
    for (size_t i = 0; i < b->n_engines; i++)
        if (b->engines[i].device || !bench_is_host(b->engines[i].backend))
            return erne_devices(note_device, b, err);
    return ERNE_OK;
}

static int read_text(struct bench *b, struct erne_error *err)
{
    if (b->args->prompt_file)
        return cli_text_read(&b->text, b->args->prompt_file, err);
    return cli_text_append(&b->text, (const char *)bench_text, bench_text_bytes, err);
}

int bench_open_engines(struct bench *b, struct erne_error *err)
{
    const size_t n_tokens = (size_t)bench_most_tokens(b, NULL);
    int st = b->text.data ? ERNE_OK : read_text(b, err);

    pf_cpu_name(b->cpu, sizeof(b->cpu));
    snprintf(b->build, sizeof(b->build), "%s (%s)", erne_version(), erne_build_info());
    for (size_t i = 0; st == ERNE_OK && i < b->n_engines; i++)
        st = bench_open_engine(&b->engines[i], b, n_tokens, err);
    return st;
}

/* A case that asks for what the model cannot do is no reason not to take the others. */
static int prepare(struct bench_case *c, const struct bench *b, struct erne_error *err)
{
    const int n_most = c->lane->engine->model.info->n_ctx_train;
    struct erne_error why = { 0 };
    int st = bench_case_prepare(c, b, &why);

    if (st == ERNE_OK && n_tokens_of(c) > n_most)
        st = cli_fail(&why, ERNE_EINVAL,
                      "a context of %d tokens: the model has %d positions",
                      n_tokens_of(c), n_most);
    if (st != ERNE_OK && st != ERNE_EUNSUPPORTED && st != ERNE_EINVAL)
        return cli_fail(err, st, "%s", why.text);
    c->skipped = st;
    if (st == ERNE_OK) /* whatever was tried on the way */
        return ERNE_OK;
    snprintf(c->why, sizeof(c->why), "%.*s", (int)sizeof(c->why) - 1, why.text);
    return ERNE_OK;
}

static int prepare_all(struct bench *b, struct erne_error *err)
{
    size_t n_left = 0;
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < b->n_cases; i++) {
        st = prepare(&b->cases[i], b, err);
        n_left += b->cases[i].skipped == ERNE_OK;
    }
    if (st == ERNE_OK && n_left == 0)
        return cli_fail(err, b->cases[0].skipped, "%s: %s",
                        b->cases[0].lane->engine->path, b->cases[0].why);
    return st;
}

static bool is_needed(const struct bench_lane *lane, const struct bench *b)
{
    for (size_t i = 0; i < b->n_cases; i++)
        if (b->cases[i].lane == lane && b->cases[i].skipped == ERNE_OK)
            return true;
    return false;
}

int bench_open(struct bench *b, struct erne_error *err)
{
    int st = read_text(b, err);

    if (st == ERNE_OK && !b->args->bench.no_warmup)
        bench_measure_memory(b);
    if (st == ERNE_OK)
        st = bench_open_engines(b, err);
    if (st == ERNE_OK)
        st = bench_probe_init(&b->probe, err);
    if (st == ERNE_OK)
        st = note_devices(b, err);
    if (st == ERNE_OK)
        st = prepare_all(b, err);
    for (size_t i = 0; st == ERNE_OK && i < b->n_lanes; i++)
        if (is_needed(&b->lanes[i], b))
            st = bench_open_lane(&b->lanes[i], b, err);
    return st;
}

void bench_close(struct bench *b)
{
    for (size_t i = 0; i < b->n_lanes; i++)
        erne_session_destroy(&b->lanes[i].session);
    for (size_t i = 0; i < b->n_engines; i++) {
        cli_model_close(&b->engines[i].model);
        free(b->engines[i].trace.data);
        free(b->engines[i].experts.loads);
    }
    bench_probe_deinit(&b->probe);
    free(b->text.data);
    free(b->devices);
}
