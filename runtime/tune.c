/* tune.c -- erne_tune: on which device each phase of a model is fastest.
 *
 * Devices are listed, verified (verify.h) and measured (tune_race.c); what was found is
 * kept (tuned.h) for erne_engine_open, and told. The CPU is the yardstick: another device
 * has to be faster beyond noise.
 */
#include "runtime/tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/sort.h"
#include "runtime/tuned.h"
#include "runtime/verify.h"

enum { least_samples = 3 };
static const double least_gain = 1.05; /* below it, nothing is won by copying */
static const double op_seconds = 0.02;

static const char *const phase_names[] = {
#define X(NAME, name) #name,
    ERNE_PHASE_LIST(X)
#undef X
};

struct erne_tune_opts erne_tune_opts_default(void)
{
    return (struct erne_tune_opts){ .struct_size = sizeof(struct erne_tune_opts),
                                    .engine = erne_engine_opts_default(),
                                    .n_repeats = 5,
                                    .seconds = 60 };
}

uint64_t erne_tune_ms(const struct erne_tune *t)
{
    return (pf_time_ns() - t->start_ns) / 1000000;
}

bool erne_tune_is_late(const struct erne_tune *t)
{
    return (double)erne_tune_ms(t) > t->opts->seconds * 1e3;
}

int erne_tune_progress(const struct erne_tune *t, const char *what, const char *name)
{
    const uint64_t total = (uint64_t)(t->opts->seconds * 1e3) + 1, ms = erne_tune_ms(t);
    const uint64_t done = ms < total ? ms : total - 1; /* what is left is not known */
    char text[96];

    snprintf(text, sizeof(text), "%s (%s)", what, name);
    if (t->opts->progress &&
        t->opts->progress(t->opts->progress_user, done, total, text) != 0)
        return erne_fail(t->err, ERNE_ECANCELLED, "cancelled");
    return 0;
}

/* ----------------------------------------------------------------- devices */

static bool is_reference(const struct erne_backend_fns *fns)
{
    return strcmp(fns->name, "reference") == 0;
}

/* Whether opts ask for the device: by its backend's name, or its own. */
static bool is_wanted(const struct erne_tune_opts *opts, const char *backend,
                      const char *name)
{
    for (size_t i = 0; i < opts->n_devices; i++)
        if (strcmp(opts->devices[i], backend) == 0 || strcmp(opts->devices[i], name) == 0)
            return true;
    return opts->n_devices == 0;
}

static int add_lane(void *user, const struct erne_device_info *info)
{
    struct erne_tune *t = user;
    struct erne_tune_lane *lane = &t->lanes[t->n_lanes];
    size_t i = 0;

    while (strcmp(t->list[i]->name, info->backend) != 0)
        i++;
    lane->choice = (struct erne_choice){ t->list[i], info->index };
    if (!t->list[i]->map)
        snprintf(lane->name, sizeof(lane->name), "%s", info->backend);
    else
        snprintf(lane->name, sizeof(lane->name), "%s:%d", info->backend, info->index);
    if (t->list[i]->map && !is_wanted(t->opts, info->backend, lane->name))
        return 0;
    t->has_hardware |= t->list[i]->map && !info->is_software;
    return ++t->n_lanes == ERNE_TUNE_LANES; /* more are not looked at */
}

/* What a user named must be there. */
static int check_names(const struct erne_tune *t)
{
    struct erne_placement p;

    for (size_t k = 0; k < t->opts->n_devices; k++) {
        const char *name = t->opts->devices[k];
        bool found = false;

        ERNE_TRY(erne_placement_parse(&p, name, NULL, t->list, t->err));
        for (int i = 0; i < t->n_lanes; i++)
            found |= strcmp(name, t->lanes[i].name) == 0 ||
                     strcmp(name, t->lanes[i].choice.fns->name) == 0;
        if (!found)
            return erne_fail(t->err, ERNE_EUNSUPPORTED, "%s: there is no such device",
                             name);
    }
    return 0;
}

/* The first backend for host memory, and all devices. */
static int list_lanes(struct erne_tune *t)
{
    const struct erne_backend_fns *host = NULL;

    for (size_t i = 0; t->list[i]; i++)
        if (!t->list[i]->map && (!host || is_reference(host)))
            host = t->list[i];
    if (!host)
        return erne_fail(t->err, ERNE_EUNSUPPORTED, "no backend for the host");
    host->devices(add_lane, t);
    for (size_t i = 0; t->list[i]; i++)
        if (t->list[i]->map && t->n_lanes < ERNE_TUNE_LANES &&
            t->list[i]->devices(add_lane, t) < 0)
            return erne_fail(t->err, ERNE_EFAIL, "%s: cannot list devices",
                             t->list[i]->name);
    return check_names(t);
}

/* ------------------------------------------------------------ verification */

static int stop_late(void *user, const struct erne_check *check)
{
    const struct erne_tune *t = user;

    return erne_tune_progress(t, "verifying", check->op) < 0 || erne_tune_is_late(t);
}

/* Devices that compute wrongly take no part, nor those of which that is not known. */
static int verify_lane(struct erne_tune *t, struct erne_tune_lane *lane)
{
    struct erne_verify_opts opts = erne_verify_opts_default();
    struct erne_error why = { 0 };

    ERNE_TRY(erne_tune_progress(t, "verifying", lane->name));
    opts.engine = t->opts->engine;
    opts.engine.backend = "auto";
    opts.engine.device = lane->name;
    opts.engine.use_tuned = false;
    opts.use_kept = true;
    opts.n_rounds = 1; /* as the benchmark's gate */
    lane->status = erne_verify_on(t->path, &opts, t->list, t->hook, stop_late, t, &why);
    if (lane->status == 0)
        return 0;
    if (lane->status == ERNE_ECANCELLED && !erne_tune_is_late(t))
        return erne_fail(t->err, ERNE_ECANCELLED, "cancelled");
    lane->is_unknown = lane->status == ERNE_ECANCELLED;
    if (lane->is_unknown)
        snprintf(lane->why, sizeof(lane->why),
                 "avoided: %.0f s were too short to verify it", t->opts->seconds);
    else
        snprintf(lane->why, sizeof(lane->why), "avoided: %.*s", ERNE_TUNE_WHY - 16,
                 why.text);
    return 0;
}

/* ---------------------------------------------------------------- deciding */

struct quartiles {
    double low, median, high;
};

static struct quartiles quartiles_of(const struct erne_tune_times *times)
{
    struct erne_tune_times sorted = *times;
    const int n = sorted.n;

    if (n == 0)
        return (struct quartiles){ 0 };
    erne_sort_doubles(sorted.ns, (size_t)n);
    return (struct quartiles){ sorted.ns[n / 4], sorted.ns[n / 2], sorted.ns[3 * n / 4] };
}

/* Whether a lane was measured as often as the host, and at least a few times: one that
 * was left behind early may have been so by a moment in which the machine was busy. */
static bool is_comparable(const struct erne_tune_times *times,
                          const struct erne_tune_times *host)
{
    return times->n >= host->n && times->n >= least_samples;
}

/* The fastest lane; the host's if no other is clearly faster. */
static int choose(const struct erne_tune *t, enum erne_phase_kind kind)
{
    const struct quartiles host = quartiles_of(&t->lanes[0].times[kind]);
    double best = host.median;
    int chosen = 0;

    for (int i = 1; i < t->n_lanes; i++) {
        const struct quartiles q = quartiles_of(&t->lanes[i].times[kind]);

        if (t->lanes[i].status == 0 && q.median > 0 && q.median < best &&
            is_comparable(&t->lanes[i].times[kind], &t->lanes[0].times[kind]) &&
            q.median * least_gain < host.median && q.high < host.low) {
            best = q.median;
            chosen = i;
        }
    }
    return chosen;
}

/* "88.0 t/s" of a token, "12.1 ms" of a picture. */
static void put_speed(char *text, size_t cap, enum erne_phase_kind kind, double ns,
                      bool unit)
{
    if (kind == ERNE_PHASE_VISION)
        snprintf(text, cap, "%.4g%s", ns * 1e-6, unit ? " ms" : "");
    else
        snprintf(text, cap, "%.4g%s", 1e9 / ns, unit ? " t/s" : "");
}

/* "decode on cpu: 88.0 t/s, vulkan:0 9.1, opencl:0 avoided" */
static void put_reason(char text[ERNE_TUNED_WHY], const struct erne_tune *t,
                       enum erne_phase_kind kind, int chosen)
{
    char speed[32];
    size_t n;

    put_speed(speed, sizeof(speed), kind,
              quartiles_of(&t->lanes[chosen].times[kind]).median, true);
    n = (size_t)snprintf(text, ERNE_TUNED_WHY, "%s on %s: %s", phase_names[kind],
                         t->lanes[chosen].name, speed);
    for (int i = 0; i < t->n_lanes && n < ERNE_TUNED_WHY; i++) {
        const struct erne_tune_lane *lane = &t->lanes[i];

        if (i == chosen)
            continue;
        put_speed(speed, sizeof(speed), kind, quartiles_of(&lane->times[kind]).median,
                  false);
        n += (size_t)snprintf(text + n, ERNE_TUNED_WHY - n, ", %s %s", lane->name,
                              lane->is_unknown           ? "not verified"
                              : lane->status < 0         ? "avoided"
                              : lane->times[kind].n == 0 ? "not measured"
                                                         : speed);
    }
}

/* Whether all is known about a lane: what it takes for each phase, or why it takes no
 * part; not if the time was too short for that. */
static bool is_known(const struct erne_tune *t, const struct erne_tune_lane *lane)
{
    for (int kind = 0; lane->status == 0 && kind < ERNE_PHASE_COUNT; kind++)
        if (erne_tune_has(t, (enum erne_phase_kind)kind) && lane->times[kind].n == 0)
            return false;
    return !lane->is_unknown;
}

static void decide(const struct erne_tune *t, struct erne_tuned *tuned)
{
    *tuned = (struct erne_tuned){ .n_samples = t->opts->n_repeats };
    for (int i = 0; i < t->n_lanes; i++)
        if (is_known(t, &t->lanes[i]))
            tuned->devices[tuned->n_devices++] = t->lanes[i].choice;
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        const int chosen = choose(t, (enum erne_phase_kind)kind);
        const int n_samples = t->lanes[0].times[kind].n;

        tuned->of[kind] = t->lanes[chosen].choice;
        if (!erne_tune_has(t, (enum erne_phase_kind)kind))
            continue;
        put_reason(tuned->why[kind], t, (enum erne_phase_kind)kind, chosen);
        if (n_samples < tuned->n_samples)
            tuned->n_samples = n_samples;
    }
    snprintf(tuned->disturbed, sizeof(tuned->disturbed), "%s", t->outcome.disturbed);
}

/* ----------------------------------------------------------------- telling */

/* Why the lane is not the chosen one of the phase, or why it is. */
static void explain(char text[ERNE_TUNE_WHY], const struct erne_tune *t, int i,
                    enum erne_phase_kind kind, int chosen)
{
    const struct erne_tune_lane *lane = &t->lanes[i];
    const double mine = quartiles_of(&lane->times[kind]).median;
    const double best = quartiles_of(&t->lanes[chosen].times[kind]).median;

    if (lane->status < 0)
        snprintf(text, ERNE_TUNE_WHY, "%s", lane->why);
    else if (lane->times[kind].n == 0)
        snprintf(text, ERNE_TUNE_WHY, "not measured: no time was left");
    else if (i == chosen)
        snprintf(text, ERNE_TUNE_WHY, "chosen");
    else if (mine >= best)
        snprintf(text, ERNE_TUNE_WHY, "avoided: %.3g times slower", mine / best);
    else
        snprintf(text, ERNE_TUNE_WHY, "not faster than %s beyond noise",
                 t->lanes[chosen].name);
}

static int tell_phase(const struct erne_tune *t, enum erne_phase_kind kind)
{
    const int chosen = choose(t, kind);

    for (int i = 0; i < t->n_lanes; i++) {
        const struct quartiles q = quartiles_of(&t->lanes[i].times[kind]);
        char why[ERNE_TUNE_WHY];
        const struct erne_phase_timing timing = { .phase = phase_names[kind],
                                                  .device = t->lanes[i].name,
                                                  .n_samples = t->lanes[i].times[kind].n,
                                                  .median_ns = q.median,
                                                  .low_ns = q.low,
                                                  .high_ns = q.high,
                                                  .is_chosen = i == chosen,
                                                  .why = why };

        explain(why, t, i, kind, chosen);
        if (t->opts->phase(t->opts->user, &timing) != 0)
            return erne_fail(t->err, ERNE_ECANCELLED, "cancelled");
    }
    return 0;
}

static int tell_phases(const struct erne_tune *t)
{
    for (int kind = 0; t->opts->phase && kind < ERNE_PHASE_COUNT; kind++)
        if (erne_tune_has(t, (enum erne_phase_kind)kind))
            ERNE_TRY(tell_phase(t, (enum erne_phase_kind)kind));
    return 0;
}

/* --------------------------------------------------------------- operators */

/* What erne_op_bench tells, by the names of the lanes it was given. */
struct op_teller {
    const struct erne_tune *t;
    const char *names[ERNE_TUNE_LANES];
};

enum { NO_TIME = 1, GIVEN_UP = 2 };

static int tell_op(void *user, const struct erne_op_timing *timing)
{
    const struct op_teller *teller = user;
    const struct erne_tune *t = teller->t;

    if (t->opts->op(t->opts->user, teller->names[timing->engine], timing) != 0 ||
        erne_tune_progress(t, timing->op, teller->names[timing->engine]) < 0)
        return GIVEN_UP;
    return erne_tune_is_late(t) ? NO_TIME : 0;
}

static int measure_ops(struct erne_tune *t)
{
    struct erne_op_bench_opts opts = erne_op_bench_opts_default();
    struct erne_engine *engines[ERNE_TUNE_LANES];
    struct op_teller teller = { .t = t };
    size_t n = 0;
    int st;

    if (t->opts->only_phases || !t->opts->op || erne_tune_is_late(t))
        return 0;
    for (int i = 0; i < t->n_lanes; i++)
        if (t->lanes[i].status == 0) {
            teller.names[n] = t->lanes[i].name;
            engines[n++] = t->lanes[i].engine;
        }
    opts.n_prefill = opts.n_past = t->n_prompt;
    opts.seconds = op_seconds;
    st = erne_op_bench(engines, n, &opts, tell_op, &teller, t->err);
    return st == GIVEN_UP  ? erne_fail(t->err, ERNE_ECANCELLED, "cancelled")
           : st == NO_TIME ? 0
                           : st;
}

/* -------------------------------------------------------------------- tune */

static int check_opts(const struct erne_tune_opts *opts, struct erne_error *err)
{
    if (opts->struct_size != sizeof(*opts))
        return erne_fail(err, ERNE_EINVAL, "erne_tune: options of another version");
    if (opts->n_repeats < 1 || opts->n_repeats > ERNE_TUNE_SAMPLES)
        return erne_fail(err, ERNE_EINVAL, "%d samples: 1 to %d are possible",
                         opts->n_repeats, ERNE_TUNE_SAMPLES);
    if (!(opts->seconds >= 0 && opts->seconds < 1e9))
        return erne_fail(err, ERNE_EINVAL, "%g seconds are no time", opts->seconds);
    return 0;
}

/* A device that was looked at for what is kept, but not now, though it may be there. */
static bool find_missing(const struct erne_tune *t, const struct erne_tuned *kept,
                         struct erne_choice *missing)
{
    for (int i = 0; i < kept->n_devices; i++) {
        const struct erne_choice c = kept->devices[i];
        bool is_seen = t->opts->n_devices == 0; /* all there is were asked for */

        for (int k = 0; k < t->n_lanes; k++)
            if (t->lanes[k].choice.fns == c.fns && t->lanes[k].choice.device == c.device)
                is_seen = is_known(t, &t->lanes[k]);
        if (!is_seen) {
            *missing = c;
            return true;
        }
    }
    return false;
}

/* Whether what is kept places nothing on a device that fails now. */
static bool still_works(const struct erne_tune *t, const struct erne_tuned *kept)
{
    for (int i = 0; i < t->n_lanes; i++)
        for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
            if (t->lanes[i].status < 0 && !t->lanes[i].is_unknown &&
                kept->of[kind].fns == t->lanes[i].choice.fns &&
                kept->of[kind].device == t->lanes[i].choice.device)
                return false;
    return true;
}

/* Keeps the placement, unless what is kept was measured better. */
static int keep(struct erne_tune *t, const struct erne_tuned *tuned,
                struct erne_error *err)
{
    const struct erne_engine_opts *opts = &t->opts->engine;
    const struct erne_tuned_key key = erne_tuned_key_of(opts, &t->lanes[0].engine->file);
    struct erne_tune_outcome *outcome = &t->outcome;
    const size_t cap = sizeof(outcome->not_kept);
    char why_not[ERNE_TUNED_WHY];
    struct erne_choice missing;
    struct erne_tuned kept;

    if (!opts->cache_dir)
        return 0;
    if (!t->opts->replace &&
        erne_tuned_load(&kept, opts->cache_dir, t->list, &key, why_not) &&
        still_works(t, &kept)) {
        if (find_missing(t, &kept, &missing))
            snprintf(outcome->not_kept, cap, "it knows %s:%d, too", missing.fns->name,
                     missing.device);
        else
            erne_tuned_is_better(&kept, tuned, outcome->not_kept, cap);
    }
    if (outcome->not_kept[0])
        return 0;
    ERNE_TRY(erne_tuned_save(opts->cache_dir, tuned, &key, err));
    outcome->is_kept = true;
    return 0;
}

/* Keeps that the host computes everything. */
static int keep_host(struct erne_tune *t, const char *why)
{
    struct erne_tuned tuned = { .n_devices = 0 };
    struct erne_model_file file;
    struct erne_tuned_key key;
    int st;

    ERNE_TRY(erne_model_file_open(&file, t->path, t->err));
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        tuned.of[kind] = t->lanes[0].choice;
        snprintf(tuned.why[kind], sizeof(tuned.why[kind]), "%s%s%s",
                 *why ? phase_names[kind] : "", *why ? " on the CPU: " : "", why);
    }
    key = erne_tuned_key_of(&t->opts->engine, &file);
    st = erne_tuned_save(t->opts->engine.cache_dir, &tuned, &key, t->err);
    erne_model_file_close(&file);
    return st;
}

/* What cannot be kept is told all the same. */
static int measure_and_keep(struct erne_tune *t)
{
    struct erne_tuned tuned;
    struct erne_error why = { 0 };
    int st;

    for (int i = 1; i < t->n_lanes; i++)
        ERNE_TRY(verify_lane(t, &t->lanes[i]));
    ERNE_TRY(erne_tune_race(t));
    decide(t, &tuned);
    st = keep(t, &tuned, &why);
    ERNE_TRY(tell_phases(t));
    ERNE_TRY(measure_ops(t));
    t->outcome.is_told = true;
    return st < 0 ? erne_fail(t->err, st, "the placement could not be kept: %s", why.text)
                  : 0;
}

static int tune(struct erne_tune *t)
{
    ERNE_TRY(list_lanes(t));
    if (!t->opts->at_start)
        return measure_and_keep(t);
    ERNE_TRY(
        keep_host(t, t->has_hardware ? "measuring it was not finished (erne tune)" : ""));
    return t->has_hardware ? measure_and_keep(t) : 0;
}

int erne_tune_on(const char *path, const struct erne_tune_opts *opts,
                 const struct erne_backend_fns *const *list, void *hook,
                 struct erne_error *err)
{
    struct erne_tune *t;
    int st;

    ERNE_TRY(check_opts(opts, err));
    if (opts->at_start && !opts->engine.cache_dir)
        return erne_fail(err, ERNE_EINVAL, "erne_tune: nowhere to keep a placement");
    t = calloc(1, sizeof(*t));
    if (!t)
        return erne_fail(err, ERNE_ENOMEM, "no memory to tune");
    t->opts = opts;
    t->path = path;
    t->list = list;
    t->hook = hook;
    t->start_ns = pf_time_ns();
    t->err = err;
    st = tune(t);
    if (opts->outcome)
        *opts->outcome = t->outcome;
    erne_tune_race_end(t);
    free(t);
    return st;
}

int erne_tune(const char *path, const struct erne_tune_opts *opts, struct erne_error *err)
{
    const struct erne_tune_opts defaults = erne_tune_opts_default();

    if (!path)
        return erne_fail(err, ERNE_EINVAL, "erne_tune: path is needed");
    return erne_tune_on(path, opts ? opts : &defaults, erne_backends, NULL, err);
}
