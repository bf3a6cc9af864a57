/* cli_model.c -- opens what a command line asks for, and tokenises. */
#include "runtime/cli/cli_model.h"

#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/bench.h"
#include "runtime/cli/cli_io.h"

/* ------------------------------------------------------------------ model */

int cli_model_path(const char **path, const struct cli_args *args, size_t i,
                   struct erne_error *err)
{
    const size_t n_wanted = args->model ? i : i + 1;

    if (args->n_operands > n_wanted)
        return cli_fail(err, ERNE_EINVAL, "'%s' is one argument too many%s",
                        args->operands[n_wanted],
                        args->model ? ": the model was given by -m" : "");
    if (args->n_operands < n_wanted)
        return cli_fail(err, ERNE_EINVAL, "a model file is needed");
    *path = args->model ? args->model : args->operands[i];
    if (**path == '\0')
        return cli_fail(err, ERNE_EINVAL, "a model file is needed, its name is empty");
    return ERNE_OK;
}

void cli_set_cache_dir(struct cli_args *args)
{
    const size_t cap = sizeof(args->cache_dir);
    size_t n;

    if (args->engine.cache_dir || pf_cache_dir(args->cache_dir, cap) < 0)
        return;
    n = strlen(args->cache_dir);
    if ((size_t)snprintf(args->cache_dir + n, cap - n, "/erne") < cap - n)
        args->engine.cache_dir = args->cache_dir;
}

/* --------------------------------------------------------- the first start */

enum { START_SECONDS = 10 };

/* Of limited memory, what must be left when drivers are loaded to look for devices: they
 * stay loaded, and take 70 MiB where they compute on the CPU, others a multiple. */
enum { DRIVER_BYTES = 256 << 20 };

/* The first call means that there is something to measure. */
static int say_once(void *user, uint64_t done, uint64_t total, const char *what)
{
    bool *said = user;

    if (!*said)
        fprintf(stderr,
                "finding out which device is fastest, once for this model and at most "
                "about %d s (--tune off: not)\n",
                START_SECONDS);
    *said = true;
    return cli_progress(NULL, done, total, what);
}

static bool is_auto(const struct cli_args *args)
{
    const char *backend = args->engine.backend;

    return !args->engine.device && (!backend || strcmp(backend, "auto") == 0);
}

/* Experts that do not all fit stay with the CPU anyway. */
static bool has_room(const struct erne_engine *engine)
{
    const struct erne_expert_stats stats = erne_engine_expert_stats(engine);

    return stats.ram_bytes == 0 || stats.capacity >= stats.n_bytes + DRIVER_BYTES;
}

/* Measures a model that is new here, where there is a choice, and opens it again: also
 * where memory is limited, of which drivers that were loaded to look for devices leave
 * less. That this does not work is no reason not to run. */
static int tune_at_start(struct cli_model *model, const struct cli_args *args,
                         const char *path, struct erne_error *err)
{
    struct erne_tune_opts opts = erne_tune_opts_default();
    struct bench_watch watch = { 0 };
    struct erne_error why;
    bool said = false;
    int st;

    if (!args->engine.use_tuned || !args->engine.cache_dir || !is_auto(args) ||
        erne_engine_placement(model->engine) || !has_room(model->engine))
        return ERNE_OK;
    opts.engine = args->engine;
    opts.engine.log = NULL;
    opts.at_start = opts.only_phases = true;
    opts.seconds = START_SECONDS;
    opts.progress = say_once;
    opts.progress_user = &said;
    opts.watch = bench_watch_round;
    opts.watch_user = &watch;
    st = erne_tune(path, &opts, &why);
    cli_progress_clear();
    if (st == ERNE_ECANCELLED)
        return cli_fail(err, st, "%s", why.text);
    if (st < 0)
        cli_log((void *)&args->verbose, ERNE_LOG_DEBUG, why.text);
    if (!said && erne_engine_expert_stats(model->engine).ram_bytes == 0)
        return ERNE_OK;
    erne_engine_close(&model->engine);
    return erne_engine_open(&model->engine, path, &args->engine, err);
}

int cli_model_open(struct cli_model *model, struct cli_args *args, size_t operand,
                   struct erne_error *err)
{
    const uint64_t start = pf_time_ns();
    const char *path = NULL;
    int st;

    st = cli_model_path(&path, args, operand, err);
    if (st < 0)
        return st;
    cli_set_cache_dir(args);
    args->engine.fallback = !args->no_fallback;
    args->engine.log = cli_log;
    args->engine.log_user = &args->verbose;
    if (args->tune == CLI_TUNE_OFF)
        args->engine.use_tuned = false;
    st = erne_engine_open(&model->engine, path, &args->engine, err);
    if (st == ERNE_OK)
        st = tune_at_start(model, args, path, err);
    if (st < 0)
        return st;
    model->info = erne_engine_info(model->engine);
    model->load_seconds = (double)(pf_time_ns() - start) * 1e-9;
    return ERNE_OK;
}

int cli_model_start(struct cli_model *model, const struct erne_session_opts *opts,
                    struct erne_error *err)
{
    const uint64_t start = pf_time_ns();
    int st = erne_session_create(&model->session, model->engine, opts, err);

    model->load_seconds += (double)(pf_time_ns() - start) * 1e-9;
    return st;
}

void cli_model_print_experts(const struct cli_model *model)
{
    const struct erne_expert_stats e = erne_engine_expert_stats(model->engine);

    if (e.n_used == 0)
        return;
    fprintf(stderr,
            "  %.1f %% of experts found in memory, %.1f MiB read; %.1f of %.1f MiB of "
            "experts stay there\n",
            100.0 * (double)e.n_hits / (double)e.n_used, (double)e.bytes_read / 0x1p20,
            (double)(e.capacity < e.n_bytes ? e.capacity : e.n_bytes) / 0x1p20,
            (double)e.n_bytes / 0x1p20);
}

void cli_model_close(struct cli_model *model)
{
    erne_session_destroy(&model->session);
    erne_engine_close(&model->engine);
}

/* -------------------------------------------------------------------- ids */

static int reserve(struct cli_ids *ids, size_t cap, struct erne_error *err)
{
    int32_t *data;

    if (cap <= ids->cap)
        return ERNE_OK;
    data =
        cap < SIZE_MAX / sizeof(*data) ? realloc(ids->data, cap * sizeof(*data)) : NULL;
    if (!data)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %zu tokens", cap);
    ids->data = data;
    ids->cap = cap;
    return ERNE_OK;
}

int cli_ids_append(struct cli_ids *ids, int32_t id, struct erne_error *err)
{
    int st = ids->n < ids->cap ? ERNE_OK : reserve(ids, 2 * ids->cap + 64, err);

    if (st == ERNE_OK)
        ids->data[ids->n++] = id;
    return st;
}

int cli_ids_from_text(struct cli_ids *ids, const struct cli_model *model,
                      const char *text, size_t n_bytes, bool parse_special,
                      struct erne_error *err)
{
    const int32_t bos = model->info->bos;
    size_t cap = n_bytes / 2 + 16, n = 0;
    int st;

    ids->n = 0;
    do { /* place 0 is kept for bos; a guess that was too small is made once */
        st = reserve(ids, cap + 1, err);
        if (st < 0)
            return st;
        st = erne_tokenize(model->engine, text, n_bytes, parse_special, ids->data + 1,
                           cap, &n, err);
    } while (st == ERNE_EINVAL && n > cap && (cap = n));
    if (st < 0)
        return st;
    if (bos >= 0 && (n == 0 || ids->data[1] != bos)) {
        ids->data[0] = bos;
        ids->n = n + 1;
        return ERNE_OK;
    }
    for (size_t i = 0; i < n; i++)
        ids->data[i] = ids->data[i + 1];
    ids->n = n;
    return ERNE_OK;
}

int cli_ids_from_chat(struct cli_ids *ids, const struct cli_model *model,
                      const struct erne_message *messages, size_t n_messages,
                      int thinking, struct erne_error *err)
{
    struct erne_chat_opts opts = erne_chat_opts_default();
    size_t cap = ids->cap, n = 0;
    int st;

    opts.thinking = thinking;
    ids->n = 0;
    do {
        st = reserve(ids, cap, err);
        if (st < 0)
            return st;
        st = erne_chat_tokenize(model->engine, messages, n_messages, &opts, ids->data,
                                cap, &n, err);
    } while (st == ERNE_EINVAL && n > cap && (cap = n));
    if (st == ERNE_OK)
        ids->n = n;
    return st;
}

int cli_thinking_check(const struct cli_model *model, int thinking,
                       struct erne_error *err)
{
    struct erne_chat_opts opts = erne_chat_opts_default();
    size_t n = 0;
    int st;

    opts.thinking = thinking;
    st = erne_chat_tokenize(model->engine, NULL, 0, &opts, NULL, 0, &n, err);
    /* Without room for ids, the best that can come is their number. */
    return st == ERNE_EINVAL && n > 0 ? ERNE_OK : st;
}
