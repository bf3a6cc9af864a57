/* engine.c -- opens a model file and the backends that will run it. */
#include "runtime/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/footprint.h"
#include "runtime/models/model.h"
#include "runtime/positions.h"
#include "runtime/rope.h"
#include "runtime/tok.h"
#include "runtime/tuned.h"
#include "runtime/verdict.h"
#include "runtime/watch.h"

struct erne_engine_opts erne_engine_opts_default(void)
{
    return (struct erne_engine_opts){
        .struct_size = sizeof(struct erne_engine_opts),
        .backend = "auto",
        .isa = "auto",
        .use_tuned = true,
        .fallback = true,
    };
}

/* With what backends are opened. */
struct opening {
    const struct erne_engine_opts *opts;
    const struct erne_backend_fns *const *list;
    void *hook;
    struct erne_error *err;
    const char *cache_dir;  /* is there; NULL: none */
    uint64_t program_bytes; /* that the process takes before the model */
};

static bool is_device(const struct erne_backend_fns *fns)
{
    return fns->map != NULL;
}

static void log_line(const struct opening *o, enum erne_log_level level, const char *line)
{
    if (o->opts->log)
        o->opts->log(o->opts->log_user, level, line);
}

/* Does without what verification found wrong, and says so. */
static void apply_verdict(struct erne_opened *opened, const struct erne_engine *e,
                          const struct opening *o)
{
    struct erne_verdict_key key;
    char ops[160], line[256];
    int st;

    if (!o->cache_dir ||
        !erne_verdict_key_init(&key, opened->be->fns, opened->device, "auto", &e->file))
        return;
    st = erne_verdict_load(o->cache_dir, &key, &opened->be->refused);
    if (st < 0)
        opened->be->refused = erne_refused_all(); /* it may have failed */
    if (st == 0 || (st > 0 && !erne_refused_any(&opened->be->refused)))
        return;
    erne_verdict_text(&opened->be->refused, ops, sizeof(ops));
    snprintf(line, sizeof(line), "%s:%d %s%s", opened->be->fns->name, opened->device,
             st < 0 ? "is not used, as its verification did not end or what was found "
                      "cannot be read: verify it again"
                    : "failed verification, others compute: ",
             st < 0 ? "" : ops);
    log_line(o, ERNE_LOG_WARN, line);
}

/* The backend on that device, opened once for all phases, behind those of the phase. */
static int open_for(struct erne_engine *e, enum erne_phase_kind kind,
                    struct erne_choice choice, const struct opening *o)
{
    const struct erne_engine_opts *opts = o->opts;
    const struct erne_backend_opts be_opts = {
        .isa = opts->isa && !is_device(choice.fns) ? opts->isa : "auto",
        .n_threads = opts->n_threads > 0 ? opts->n_threads : pf_cpu_count(),
        .device = choice.device,
        .cache_dir = is_device(choice.fns) ? o->cache_dir : NULL,
        .time_limit_ms = opts->time_limit_ms,
        .hook = o->hook,
        .log = opts->log,
        .log_user = opts->log_user,
    };
    struct erne_opened *opened = e->opened;
    int n = 0;

    while (opened < e->opened + e->n_opened &&
           (opened->be->fns != choice.fns || opened->device != choice.device))
        opened++;
    if (opened == e->opened + ERNE_MAX_BACKENDS)
        return erne_fail(o->err, ERNE_EFAIL, "more than %d backends", ERNE_MAX_BACKENDS);
    if (opened == e->opened + e->n_opened) {
        ERNE_TRY(choice.fns->open(&opened->be, &be_opts, o->err));
        opened->be->experts = e->experts;
        opened->device = choice.device;
        e->n_opened++;
        if (is_device(choice.fns))
            apply_verdict(opened, e, o);
    }
    while (e->backends[kind][n])
        n++;
    e->backends[kind][n] = opened->be;
    return 0;
}

/* What was chosen for a phase first. Behind a device, and for "auto", come all that work
 * in host memory; behind one of these the last of the list, which takes everything. */
static int open_phase(struct erne_engine *e, enum erne_phase_kind kind,
                      struct erne_choice choice, const struct opening *o)
{
    const bool all = !choice.fns || is_device(choice.fns);

    if (choice.fns)
        ERNE_TRY(open_for(e, kind, choice, o));
    for (size_t i = 0; o->list[i]; i++) {
        const struct erne_choice next = { .fns = o->list[i] };
        const bool is_last = o->list[i + 1] == NULL;

        if (next.fns != choice.fns && !is_device(next.fns) && (all || is_last))
            ERNE_TRY(open_for(e, kind, next, o));
    }
    return 0;
}

/* The cache folder, if a device wants one; without it things only take longer. */
static const char *make_cache_dir(const struct erne_placement *placement,
                                  const struct opening *o)
{
    const char *dir = o->opts->cache_dir;
    char line[512];
    bool wanted = false;

    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        wanted |= placement->of[kind].fns && is_device(placement->of[kind].fns);
    if (!wanted || !dir)
        return NULL;
    if (pf_dir_create(dir) == 0)
        return dir;
    snprintf(line, sizeof(line), "%s: %s: nothing is cached", dir, pf_last_error());
    log_line(o, ERNE_LOG_WARN, line);
    return NULL;
}

/* Whether a device that phases were placed on was found to compute wrongly since, or may
 * have been. */
static bool has_failed(const struct erne_tuned *tuned, const struct erne_engine *e,
                       const struct opening *o)
{
    struct erne_verdict_key key;
    struct erne_refused refused = { 0 };
    bool has = false;

    for (int kind = 0; kind < ERNE_PHASE_COUNT && !has; kind++) {
        const struct erne_choice c = tuned->of[kind];

        if (is_device(c.fns) &&
            erne_verdict_key_init(&key, c.fns, c.device, "auto", &e->file))
            has = erne_verdict_load(o->opts->cache_dir, &key, &refused) < 0 ||
                  erne_refused_any(&refused);
    }
    return has;
}

/* What erne_tune kept for this engine; false, and says why, where it does not hold. */
static bool load_tuned(struct erne_tuned *tuned, const struct erne_engine *e,
                       const struct opening *o)
{
    const struct erne_tuned_key key = erne_tuned_key_of(o->opts, &e->file);
    char why_not[ERNE_TUNED_WHY], line[ERNE_TUNED_WHY + 64];
    bool holds = erne_tuned_load(tuned, o->opts->cache_dir, o->list, &key, why_not);

    if (holds && has_failed(tuned, e, o)) {
        holds = false;
        snprintf(why_not, sizeof(why_not), "a device of it failed verification");
    }
    snprintf(line, sizeof(line), "the placement that was kept is ignored: %s", why_not);
    if (!holds && why_not[0])
        log_line(o, ERNE_LOG_DEBUG, line);
    return holds;
}

/* Puts phases that are left to "auto" where erne_tune found them fastest. Answers which
 * these are: bits 1 << kind. */
static unsigned take_tuned(struct erne_engine *e, struct erne_tuned *tuned,
                           struct erne_placement *placement, const struct opening *o)
{
    unsigned free_phases = 0;

    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        free_phases |= placement->of[kind].fns ? 0u : 1u << kind;
    if (!o->opts->use_tuned || !o->opts->cache_dir || free_phases == 0 ||
        !load_tuned(tuned, e, o))
        return 0;
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        if (free_phases >> kind & 1 && is_device(tuned->of[kind].fns))
            placement->of[kind] = tuned->of[kind];
    e->is_placed = true;
    return free_phases;
}

static int open_backends(struct erne_engine *e, const struct opening *opening)
{
    struct opening o = *opening;
    struct erne_placement placement;
    struct erne_tuned tuned;
    unsigned tuned_phases;

    ERNE_TRY(
        erne_placement_parse(&placement, o.opts->backend, o.opts->device, o.list, o.err));
    tuned_phases = take_tuned(e, &tuned, &placement, &o);
    o.cache_dir = make_cache_dir(&placement, &o);
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        const enum erne_phase_kind phase = (enum erne_phase_kind)kind;
        int st = open_phase(e, phase, placement.of[kind], &o);

        if (st < 0 && tuned_phases >> kind & 1 && placement.of[kind].fns &&
            !e->backends[kind][0]) { /* nobody's wish */
            log_line(&o, ERNE_LOG_WARN, o.err ? o.err->text : erne_status_text(st));
            st = open_phase(e, phase, (struct erne_choice){ 0 }, &o);
            tuned_phases &= ~(1u << kind);
        }
        ERNE_TRY(st);
    }
    if (e->is_placed)
        erne_tuned_text(&tuned, tuned_phases, e->placement, sizeof(e->placement));
    if (e->placement[0])
        log_line(&o, ERNE_LOG_INFO, e->placement);
    return 0;
}

/* The backend that a phase asks first: "vulkan", "vulkan:1". */
static void name_backend(const struct erne_engine *e, int kind, char *name, size_t cap)
{
    const struct erne_backend *be = e->backends[kind][0];
    int device = 0;

    for (int i = 0; i < e->n_opened; i++)
        if (e->opened[i].be == be)
            device = e->opened[i].device;
    snprintf(name, cap, device > 0 ? "%s:%d" : "%s", be->fns->name, device);
}

/* One name where all phases that the model has agree. */
static void name_backends(struct erne_engine *e)
{
    static const char *const phases[] = {
#define X(NAME, name) #name,
        ERNE_PHASE_LIST(X)
#undef X
    };
    const int first = e->info.has_vision ? 0 : ERNE_PHASE_PREFILL;
    char names[ERNE_PHASE_COUNT][24];
    bool alike = true;
    size_t n = 0;

    for (int kind = first; kind < ERNE_PHASE_COUNT; kind++) {
        name_backend(e, kind, names[kind], sizeof(names[kind]));
        alike = alike && strcmp(names[kind], names[first]) == 0;
    }
    if (alike)
        snprintf(e->backend, sizeof(e->backend), "%s", names[first]);
    for (int kind = first; !alike && kind < ERNE_PHASE_COUNT; kind++)
        n += (size_t)snprintf(e->backend + n, sizeof(e->backend) - n, "%s%s=%s",
                              n > 0 ? "," : "", phases[kind], names[kind]);
}

static void fill_info(struct erne_engine *e)
{
    const struct erne_model_desc *desc = &e->file.desc;

    e->info = (struct erne_model_info){
        .arch = erne_arch_name(desc->arch),
        .name = desc->name ? desc->name : "",
        .scheme = desc->scheme ? desc->scheme : "",
        .n_layers = desc->n_layers,
        .n_embd = desc->n_embd,
        .n_heads = desc->n_heads,
        .n_kv_heads = desc->n_kv_heads,
        .head_dim = desc->head_dim,
        .n_ff = desc->n_ff,
        .n_vocab = desc->n_vocab,
        .n_ctx_train = desc->n_ctx_train,
        .n_params = erne_model_n_params(desc),
        .bos = -1,
        .has_chat = desc->chat.present && e->tokenizer,
        .has_mtp = desc->n_mtp > 0,
        .has_vision = desc->vision.n_layers > 0,
        .has_video = desc->vision.n_layers > 0 && desc->vision.temporal > 1,
        .has_thinking = desc->chat.present && e->tokenizer && desc->chat.thinking.end,
    };
    if (e->tokenizer && erne_tokenizer_adds_bos(e->tokenizer))
        e->info.bos = erne_tokenizer_bos(e->tokenizer);
    for (size_t i = 0; i < e->file.n_tensors; i++)
        e->info.n_bytes += e->file.tensors[i].n_bytes;
}

static int check_hashes(const struct erne_engine *e, struct erne_error *err)
{
    for (size_t i = 0; i < e->file.n_tensors; i++)
        ERNE_TRY(erne_model_file_check(&e->file.tensors[i], err));
    return 0;
}

/* Only where memory is limited: by the caller, else by the device of the file. */
static int open_experts(struct erne_engine *e, const struct opening *o)
{
    const uint64_t limit = o->opts->ram_bytes > 0
                               ? o->opts->ram_bytes
                               : (uint64_t)e->file.desc.device.ram_mib << 20;
    const uint64_t tables = e->tokenizer ? e->tokenizer->table_bytes : 0;

    if (limit == 0 || !e->file.file)
        return 0;
    return erne_expert_cache_open(&e->experts, &e->file, limit,
                                  o->program_bytes + ERNE_GROWTH_BYTES + tables, o->err);
}

/* What follows once the file is open; its errors do not name the file. */
static int open_rest(struct erne_engine *e, const struct opening *o)
{
    struct erne_error *err = o->err;

    if (o->opts->check_hashes)
        ERNE_TRY(check_hashes(e, err));
    ERNE_TRY(erne_model_check_tensors(&e->file, err));
    if (e->file.tokenizer_bytes > 0)
        ERNE_TRY(erne_tokenizer_open(&e->tokenizer, e->file.tokenizer,
                                     e->file.tokenizer_bytes, err));
    e->inv_freq = erne_rope_text_freqs(&e->file.desc);
    if (!e->inv_freq)
        return erne_fail(err, ERNE_ENOMEM, "no memory for RoPE frequencies");
    if (pf_mutex_create(&e->run_lock) < 0)
        return erne_fail(err, ERNE_ENOMEM, "no memory for a lock");
    ERNE_TRY(open_experts(e, o));
    ERNE_TRY(open_backends(e, o));
    fill_info(e);
    name_backends(e);
    return 0;
}

static int check_opts(const struct erne_engine_opts *opts, struct erne_error *err)
{
    if (opts->struct_size != sizeof(*opts))
        return erne_fail(err, ERNE_EINVAL,
                         "erne_engine_open: options of another version");
    if (opts->n_threads < 0 || opts->n_threads > ERNE_THREADS_MAX)
        return erne_fail(err, ERNE_EINVAL, "%d threads: 0 (one a core) to %d",
                         opts->n_threads, ERNE_THREADS_MAX);
    if (opts->time_limit_ms < 0)
        return erne_fail(err, ERNE_EINVAL, "a time limit of %d ms: 0 or more",
                         opts->time_limit_ms);
    return 0;
}

int erne_engine_open_on(struct erne_engine **out, const char *path,
                        const struct erne_engine_opts *opts,
                        const struct erne_backend_fns *const *list, void *hook,
                        struct erne_error *err)
{
    const struct opening o = { .opts = opts,
                               .list = list,
                               .hook = hook,
                               .err = err,
                               .program_bytes = pf_memory_now() };
    struct erne_engine *e;
    int st;

    ERNE_TRY(check_opts(opts, err));
    e = calloc(1, sizeof(*e));
    if (!e)
        return erne_fail(err, ERNE_ENOMEM, "no memory for an engine");
    e->fallback = opts->fallback;
    e->log = opts->log;
    e->log_user = opts->log_user;
    st = erne_model_file_open(&e->file, path, err);
    if (st < 0)
        goto fail;
    st = open_rest(e, &o);
    if (st < 0) {
        erne_fail_context(err, st, "%s", path);
        goto fail;
    }
    *out = e;
    return 0;
fail:
    erne_engine_close(&e);
    return st;
}

int erne_engine_open(struct erne_engine **out, const char *path,
                     const struct erne_engine_opts *opts, struct erne_error *err)
{
    const struct erne_engine_opts defaults = erne_engine_opts_default();

    if (!out || !path)
        return erne_fail(err, ERNE_EINVAL, "erne_engine_open: out and path are needed");
    return erne_engine_open_on(out, path, opts ? opts : &defaults, erne_backends, NULL,
                               err);
}

int erne_engine_open_file(struct erne_engine **out, struct erne_model_file *file,
                          const struct erne_engine_opts *opts, struct erne_error *err)
{
    const struct opening o = { .opts = opts, .list = erne_backends, .err = err };
    struct erne_engine *e = calloc(1, sizeof(*e));
    int st;

    if (!e) {
        erne_model_file_close(file);
        return erne_fail(err, ERNE_ENOMEM, "no memory for an engine");
    }
    e->file = *file;
    *file = (struct erne_model_file){ 0 };
    st = open_rest(e, &o);
    if (st < 0)
        erne_engine_close(&e);
    else
        *out = e;
    return st;
}

void erne_engine_close(struct erne_engine **engine)
{
    struct erne_engine *e = engine ? *engine : NULL;

    if (!e)
        return;
    if (erne_engine_keeps_memory(e))
        e->file.map.data = NULL; /* stays mapped */
    for (int i = 0; i < e->n_opened; i++)
        e->opened[i].be->fns->close(e->opened[i].be);
    erne_expert_cache_close(&e->experts);
    pf_mutex_destroy(&e->run_lock);
    erne_tokenizer_close(&e->tokenizer);
    erne_model_file_close(&e->file);
    free(e->inv_freq);
    free(e);
    *engine = NULL;
}

/* ------------------------------------------------------------ lost devices */

static struct erne_opened *opened_of(struct erne_engine *e, const struct erne_backend *be)
{
    for (int i = 0; i < e->n_opened; i++)
        if (e->opened[i].be == be)
            return &e->opened[i];
    return NULL;
}

static int fail_lost(const struct erne_opened *o, struct erne_error *err)
{
    return erne_fail(err, ERNE_EDEVICE, "%s:%d: %s", o->be->fns->name, o->device,
                     erne_status_text(ERNE_EDEVICE));
}

/* Whether be is a device that was not known to be lost; it is from now on. st: what it
 * failed with. */
static bool lose(struct erne_engine *e, const struct erne_backend *be, int st)
{
    struct erne_opened *o = be && erne_backend_is_device(be) ? opened_of(e, be) : NULL;
    char line[128];

    if (!o || o->is_lost)
        return false;
    o->is_lost = true;
    snprintf(line, sizeof(line), "%s:%d %s%s%s", be->fns->name, o->device,
             st == ERNE_EDEVICE ? "was lost, or did not answer in time" : "failed: ",
             st == ERNE_EDEVICE ? "" : erne_status_text(st),
             e->fallback ? ": going on without it" : "");
    if (e->log)
        e->log(e->log_user, ERNE_LOG_WARN, line);
    return true;
}

/* What is left for a phase; EDEVICE where nothing may be missing. */
static int pick_backends(struct erne_engine *e, enum erne_phase_kind kind,
                         struct erne_backend *left[ERNE_MAX_BACKENDS + 1],
                         struct erne_error *err)
{
    int n = 0;

    for (int i = 0; e->backends[kind][i]; i++) {
        const struct erne_opened *o = opened_of(e, e->backends[kind][i]);

        if (!o->is_lost)
            left[n++] = e->backends[kind][i];
        else if (!e->fallback)
            return fail_lost(o, err);
    }
    left[n] = NULL;
    return 0;
}

int erne_engine_plan(struct erne_engine *engine, struct erne_plan *plan,
                     enum erne_phase_kind kind, struct erne_graph *graph,
                     struct erne_error *err)
{
    struct erne_backend *backends[ERNE_MAX_BACKENDS + 1];
    int st;

    pf_mutex_lock(engine->run_lock);
    do {
        st = pick_backends(engine, kind, backends, err);
        if (st == 0)
            st =
                erne_plan_init(plan, graph, backends, engine->log, engine->log_user, err);
    } while (st == ERNE_EDEVICE && lose(engine, plan->failed, st) && engine->fallback);
    pf_mutex_unlock(engine->run_lock);
    return st;
}

/* A device of the plan that was lost in the meantime, or NULL. */
static const struct erne_opened *find_lost(struct erne_engine *e,
                                           const struct erne_plan *plan)
{
    for (size_t i = 0; i < plan->route.n_legs; i++)
        if (plan->route.legs[i].be) {
            const struct erne_opened *o = opened_of(e, plan->route.legs[i].be);

            if (o->is_lost)
                return o;
        }
    return NULL;
}

bool erne_engine_keeps_memory(const struct erne_engine *engine)
{
    bool keeps = false;

    for (int i = 0; i < engine->n_opened; i++)
        keeps = keeps || engine->opened[i].be->keeps_memory;
    return keeps;
}

/* What is to be made of a failed run. Where sessions may go on without a device, none is
 * asked again that has no memory left, or cannot do what it had taken. */
static int judge(struct erne_engine *e, const struct erne_plan *plan, int st,
                 struct erne_error *err)
{
    if (st == ERNE_ECANCELLED || (st != ERNE_EDEVICE && !e->fallback))
        return st;
    if (lose(e, plan->failed, st))
        st = fail_lost(opened_of(e, plan->failed), err);
    return st;
}

int erne_engine_run(struct erne_engine *engine, struct erne_plan *plan,
                    const struct erne_step *step, struct erne_error *err)
{
    const struct erne_opened *lost;
    int st;

    pf_mutex_lock(engine->run_lock);
    lost = find_lost(engine, plan);
    plan->ask = engine->ask;
    st = lost ? fail_lost(lost, err) : erne_plan_run(plan, step, err);
    if (st < 0 && !lost)
        st = judge(engine, plan, st, err);
    pf_mutex_unlock(engine->run_lock);
    return st;
}

int erne_engine_claim(struct erne_engine *engine, uint64_t n_bytes,
                      struct erne_error *err)
{
    int st;

    if (!engine->experts)
        return 0;
    pf_mutex_lock(engine->run_lock);
    st = erne_expert_cache_claim(engine->experts, n_bytes, err);
    pf_mutex_unlock(engine->run_lock);
    return st;
}

void erne_engine_unclaim(struct erne_engine *engine, uint64_t n_bytes)
{
    if (!engine->experts)
        return;
    pf_mutex_lock(engine->run_lock);
    erne_expert_cache_unclaim(engine->experts, n_bytes);
    pf_mutex_unlock(engine->run_lock);
}

struct erne_expert_stats erne_engine_expert_stats(const struct erne_engine *engine)
{
    struct erne_expert_stats stats = { 0 };

    if (!engine->experts)
        return stats;
    pf_mutex_lock(engine->run_lock);
    stats = erne_expert_cache_stats(engine->experts);
    pf_mutex_unlock(engine->run_lock);
    return stats;
}

void erne_engine_set_ask(struct erne_engine *engine, struct erne_ask ask)
{
    engine->ask = ask;
}

struct erne_file_tensor *erne_engine_tensors(struct erne_engine *engine, size_t *n)
{
    *n = engine->file.n_tensors;
    return engine->file.tensors;
}

bool erne_engine_may_fall_back(const struct erne_engine *engine)
{
    for (int i = 0; engine->fallback && i < engine->n_opened; i++)
        if (erne_backend_is_device(engine->opened[i].be))
            return true;
    return false;
}

const struct erne_model_info *erne_engine_info(const struct erne_engine *engine)
{
    return &engine->info;
}

const char *erne_engine_placement(const struct erne_engine *engine)
{
    return engine->is_placed ? engine->placement : NULL;
}

const char *erne_engine_backend(const struct erne_engine *engine)
{
    return engine->backend;
}

bool erne_engine_is_stop(const struct erne_engine *engine, int32_t token)
{
    const struct erne_model_desc *desc = &engine->file.desc;

    for (int i = 0; i < desc->n_stop; i++)
        if (desc->stop[i] == token)
            return true;
    return false;
}

bool erne_engine_is_placeholder(const struct erne_engine *engine, int32_t token)
{
    return erne_is_placeholder(&engine->file.desc.vision, token);
}

void erne_engine_device_memory(const struct erne_engine *engine,
                               struct erne_device_memory *memory)
{
    *memory = (struct erne_device_memory){ 0 };
    pf_mutex_lock(engine->run_lock);
    for (int i = 0; i < engine->n_opened; i++) {
        const struct erne_backend *be = engine->opened[i].be;
        const struct erne_memory_use *use =
            be->fns->memory_use ? be->fns->memory_use(be) : NULL;

        memory->own_bytes += use ? use->most_own : 0;
        memory->shared_bytes += use ? use->most_shared : 0;
    }
    pf_mutex_unlock(engine->run_lock);
}
