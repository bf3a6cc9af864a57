/* test_tune.c -- erne_tune puts phases where they are fastest, avoids what is slow, wrong
 * or breaks, and what it keeps counts only where it was found.
 *
 * Devices are the stand-ins of tests/support/shadow.h; the host is the reference, made
 * slow where a device is to be faster.
 */
#include "tests/support/unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "backends/reference/ref_backend.h"
#include "platforms/platform.h"
#include "runtime/cache_file.h"
#include "runtime/identity.h"
#include "runtime/tune.h"
#include "runtime/tuned.h"
#include "runtime/verdict.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/shadow.h"
#include "tests/support/tiny_model.h"

#define MODEL    "test_tune.erne"
#define VL_MODEL "test_tune_vl.erne"
#define CACHE    "test_tune.cache"

enum { MAX_ROWS = 16 };

/* ------------------------------------------------------------------- time */

/* Time is made up, so that who is faster does not depend on the machine: each look at the
 * clock takes 40 ms, and sleeping takes as long as was asked for. */
static uint64_t now_ns;

uint64_t __wrap_pf_time_ns(void);
void __wrap_pf_sleep_us(uint64_t us);

uint64_t __wrap_pf_time_ns(void)
{
    return now_ns += 40000000;
}

void __wrap_pf_sleep_us(uint64_t us)
{
    now_ns += 1000 * us;
}

/* ------------------------------------------------------------------- host */

static int slow_run(struct erne_backend *be, struct erne_node *const *nodes, size_t n,
                    const struct erne_step *step)
{
    pf_sleep_us(500000);
    return erne_backend_reference.run(be, nodes, n, step);
}

static int slow_open(struct erne_backend **out, const struct erne_backend_opts *opts,
                     struct erne_error *err);
static int slow_devices(int (*visit)(void *user, const struct erne_device_info *info),
                        void *user)
{
    const struct erne_device_info info = { .backend = "host", .name = "slow host" };

    return visit(user, &info);
}

static struct erne_backend_fns host;
static const struct erne_backend_fns *const with_slow_host[] = { &host,
                                                                 &erne_backend_shadow,
                                                                 &erne_backend_reference,
                                                                 NULL };
static const struct erne_backend_fns *const host_only[] = { &host,
                                                            &erne_backend_reference,
                                                            NULL };

static int slow_open(struct erne_backend **out, const struct erne_backend_opts *opts,
                     struct erne_error *err)
{
    ERNE_TRY(erne_backend_reference.open(out, opts, err));
    (*out)->fns = &host;
    return 0;
}

static int setup(void **state)
{
    struct erne_model_desc desc = tiny_model_desc();
    struct erne_error err = { 0 };
    int st;

    (void)state;
    host = erne_backend_reference;
    host.name = "host";
    host.open = slow_open;
    host.run = slow_run;
    host.devices = slow_devices;
    pf_path_remove(MODEL);
    st = tiny_model_write(MODEL, &desc, "w8", 7, &err);
    if (st == 0)
        st = tiny_model_convert(VL_MODEL, ERNE_TEST_GOLDEN "/vl", "w4", &err);
    if (st < 0)
        fprintf(stderr, "%s\n", err.text);
    return st;
}

static int teardown(void **state)
{
    (void)state;
    pf_path_remove(MODEL);
    return pf_path_remove(VL_MODEL);
}

/* -------------------------------------------------------------------- rows */

struct row {
    char phase[16], device[16], why[160];
    int n_samples;
    double median_ns;
    bool is_chosen;
};

struct seen {
    struct row rows[MAX_ROWS];
    int n, n_ops, n_vision_ops, n_op_devices[2];
    int n_progress, cancel_at; /* 0: never */
};

static int note_phase(void *user, const struct erne_phase_timing *t)
{
    struct seen *seen = user;
    struct row *row = &seen->rows[seen->n++];

    assert_true(seen->n <= MAX_ROWS);
    snprintf(row->phase, sizeof(row->phase), "%s", t->phase);
    snprintf(row->device, sizeof(row->device), "%s", t->device);
    snprintf(row->why, sizeof(row->why), "%s", t->why);
    row->n_samples = t->n_samples;
    row->median_ns = t->median_ns;
    row->is_chosen = t->is_chosen;
    assert_true(t->low_ns <= t->median_ns && t->median_ns <= t->high_ns);
    return 0;
}

static int note_op(void *user, const char *device, const struct erne_op_timing *t)
{
    struct seen *seen = user;

    seen->n_ops++;
    seen->n_vision_ops += strcmp(t->phase, "vision") == 0;
    seen->n_op_devices[0] += strcmp(device, "shadow:0") == 0;
    seen->n_op_devices[1] += strcmp(device, "shadow:1") == 0;
    assert_true(!t->impl || t->median_ns > 0);
    return 0;
}

static int note_progress(void *user, uint64_t done, uint64_t total, const char *what)
{
    struct seen *seen = user;

    assert_true(done <= total && strlen(what) > 0);
    return ++seen->n_progress == seen->cancel_at;
}

static struct erne_tune_opts options(struct seen *seen)
{
    struct erne_tune_opts opts = erne_tune_opts_default();

    opts.engine.cache_dir = CACHE;
    opts.only_phases = true;
    opts.n_repeats = 3;
    opts.seconds = 1e6;
    opts.phase = note_phase;
    opts.op = note_op;
    opts.user = seen;
    opts.progress = note_progress;
    opts.progress_user = seen;
    return opts;
}

static const struct row *find_row(const struct seen *seen, const char *phase,
                                  const char *device)
{
    for (int i = 0; i < seen->n; i++)
        if (strcmp(seen->rows[i].phase, phase) == 0 &&
            strcmp(seen->rows[i].device, device) == 0)
            return &seen->rows[i];
    fail_msg("no row of %s on %s", phase, device);
    return NULL;
}

static void clear_cache(void)
{
    char **names = NULL, path[512];
    size_t n = 0;

    if (pf_dir_list(CACHE, &names, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof(path), CACHE "/%s", names[i]);
        pf_path_remove(path);
    }
    pf_dir_free(names, n);
}

/* ----------------------------------------------------------------- placing */

struct log {
    char info[1024], debug[256], warn[256];
};

static void keep_line(void *user, enum erne_log_level level, const char *line)
{
    struct log *log = user;

    if (level == ERNE_LOG_INFO && strstr(line, " on "))
        snprintf(log->info, sizeof(log->info), "%s", line);
    if (level == ERNE_LOG_DEBUG && strstr(line, "ignored"))
        snprintf(log->debug, sizeof(log->debug), "%s", line);
    if (level == ERNE_LOG_WARN)
        snprintf(log->warn, sizeof(log->warn), "%s", line);
}

/* The name of who computes each phase first, of an engine opened so. */
static void open_engine(const char *backend, const char *device,
                        const struct erne_backend_fns *const *list,
                        struct shadow_config *config, const char *names[ERNE_PHASE_COUNT],
                        struct log *log)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *e = NULL;
    struct erne_error err = { 0 };

    *log = (struct log){ .info = "" };
    opts.backend = backend;
    opts.device = device;
    opts.cache_dir = CACHE;
    opts.log = keep_line;
    opts.log_user = log;
    if (erne_engine_open_on(&e, VL_MODEL, &opts, list, config, &err) < 0)
        fail_msg("%s", err.text);
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        names[kind] = e->backends[kind][0]->fns->name;
    assert_non_null(strstr(erne_engine_backend(e), names[ERNE_PHASE_DECODE]));
    assert_true(!erne_engine_placement(e) ||
                strcmp(erne_engine_placement(e), log->info) == 0);
    erne_engine_close(&e);
}

/* ----------------------------------------------------------------- tests */

/* The fast device is chosen, kept and used where nobody said otherwise. */
static void fast_is_chosen(void **state)
{
    struct shadow_config config = { 0 };
    struct seen seen = { 0 };
    struct erne_tune_opts opts = options(&seen);
    struct erne_error err = { 0 };
    const char *const one[] = { "shadow:1" };
    const char *names[ERNE_PHASE_COUNT];
    struct log log;

    (void)state;
    clear_cache();
    opts.devices = one;
    opts.n_devices = 1;
    opts.only_phases = false;
    if (erne_tune_on(VL_MODEL, &opts, with_slow_host, &config, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(config.n_open + config.n_nodes + (int)config.n_ranges, 0);
    assert_string_equal(config.breach, "");
    assert_int_equal(seen.n, 2 * ERNE_PHASE_COUNT);
    assert_true(seen.n_ops > 0 && seen.n_op_devices[1] * 2 == seen.n_ops);
    assert_int_equal(seen.n_op_devices[0], 0); /* nobody asked for it */
    assert_true(seen.n_vision_ops > 0 && seen.n_vision_ops < seen.n_ops);
    for (int i = 0; i < seen.n; i++) {
        assert_int_equal(seen.rows[i].is_chosen,
                         strcmp(seen.rows[i].device, "shadow:1") == 0);
        assert_true(seen.rows[i].n_samples > 0);
    }
    open_engine("auto", NULL, with_slow_host, &config, names, &log);
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        assert_string_equal(names[kind], "shadow");
    assert_non_null(strstr(log.info, "decode on shadow:1: "));
    assert_non_null(strstr(log.info, "t/s, host "));
    assert_non_null(strstr(log.info, "vision on shadow:1: "));
}

/* What the user says comes first: of all phases, of one, of the device. */
static void pinned_stays(void **state)
{
    struct shadow_config config = { 0 };
    const char *names[ERNE_PHASE_COUNT];
    struct log log;

    (void)state;
    open_engine("host", NULL, with_slow_host, &config, names, &log);
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        assert_string_equal(names[kind], "host");
    assert_string_equal(log.info, "");
    open_engine("auto", "host", with_slow_host, &config, names, &log);
    assert_string_equal(names[ERNE_PHASE_DECODE], "host");
    open_engine("decode=host", NULL, with_slow_host, &config, names, &log);
    assert_string_equal(names[ERNE_PHASE_DECODE], "host");
    assert_string_equal(names[ERNE_PHASE_PREFILL], "shadow");
    assert_null(strstr(log.info, "decode"));
    assert_non_null(strstr(log.info, "prefill"));
}

/* A device that is gone is ignored; one that does not open is done without. */
static void gone_is_ignored(void **state)
{
    struct shadow_config config = { 0 };
    const char *names[ERNE_PHASE_COUNT];
    struct log log;

    (void)state;
    open_engine("auto", NULL, host_only, &config, names, &log);
    assert_string_equal(names[ERNE_PHASE_DECODE], "host");
    assert_string_equal(log.info, "");
    assert_non_null(strstr(log.debug, "the build lacks"));
    config.refuses_open = true;
    open_engine("auto", NULL, with_slow_host, &config, names, &log);
    assert_string_equal(names[ERNE_PHASE_DECODE], "host");
    assert_non_null(strstr(log.warn, "shadow"));
    assert_string_equal(log.info, ""); /* nothing is on the shadow */
}

/* Nor is a device used that was found wrong since. */
static void wrong_is_ignored(void **state)
{
    static const char *const one[] = { "shadow:1" };
    struct erne_tune_outcome outcome;
    struct seen seen = { 0 };
    struct erne_tune_opts opts = options(&seen);
    struct shadow_config config = { 0 };
    const char *names[ERNE_PHASE_COUNT];
    struct erne_verdict_key key;
    struct erne_model_file file;
    struct erne_error err = { 0 };
    struct log log;

    (void)state;
    open_engine("auto", NULL, with_slow_host, &config, names, &log);
    assert_string_equal(names[ERNE_PHASE_DECODE], "shadow");
    assert_int_equal(erne_model_file_open(&file, VL_MODEL, &err), 0);
    assert_true(erne_verdict_key_init(&key, &erne_backend_shadow, 1, "auto", &file));
    assert_int_equal(erne_verdict_save(CACHE, &key, 1, &err), 0);
    erne_model_file_close(&file);
    open_engine("auto", NULL, with_slow_host, &config, names, &log);
    assert_string_equal(names[ERNE_PHASE_DECODE], "host");
    assert_string_equal(log.info, "");
    assert_non_null(strstr(log.debug, "ignored: a device of it failed verification"));
    /* Nor does it stay, though it is of more samples. */
    opts.devices = one;
    opts.n_devices = 1;
    opts.n_repeats = 1;
    opts.outcome = &outcome;
    assert_int_equal(erne_tune_on(VL_MODEL, &opts, with_slow_host, &config, &err), 0);
    assert_true(outcome.is_kept);
    assert_non_null(strstr(find_row(&seen, "decode", "shadow:1")->why, "found before"));
}

/* The stand-ins without a hook: one is slow, one is wrong. */
static void doubles_are_avoided(void **state)
{
    struct seen seen = { 0 };
    struct erne_tune_opts opts = options(&seen);
    struct erne_error err = { 0 };
    const char *names[ERNE_PHASE_COUNT];
    struct log log;

    (void)state;
    clear_cache();
    if (erne_tune_on(VL_MODEL, &opts, shadow_backends, NULL, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(seen.n, 3 * ERNE_PHASE_COUNT);
    for (int i = 0; i < seen.n; i++) {
        const struct row *row = &seen.rows[i];

        assert_int_equal(row->is_chosen, strcmp(row->device, "reference") == 0);
        if (strcmp(row->device, "shadow:0") == 0)
            assert_non_null(strstr(row->why, "times slower"));
        if (strcmp(row->device, "shadow:1") != 0)
            continue;
        assert_int_equal(row->n_samples, 0);
        assert_non_null(strstr(row->why, "avoided: shadow computes matmul wrongly"));
    }
    open_engine("auto", NULL, shadow_backends, NULL, names, &log);
    assert_string_equal(names[ERNE_PHASE_DECODE], "reference");
    assert_non_null(strstr(log.info, "shadow:1 avoided"));
    /* The verdict is known from now on. */
    seen = (struct seen){ 0 };
    assert_int_equal(erne_tune_on(VL_MODEL, &opts, shadow_backends, NULL, &err), 0);
    assert_non_null(strstr(find_row(&seen, "decode", "shadow:1")->why, "found before"));
}

/* A device that dies at any time takes no part, and leaves nothing behind. */
static void lost_is_avoided(void **state)
{
    const char *const one[] = { "shadow:0" };

    (void)state;
    for (uint64_t at = 1; at < 20000; at = at * 4 + 1) {
        struct shadow_config config = { .fail_call = SHADOW_RUN,
                                        .fail_at = at,
                                        .fail_status = ERNE_EDEVICE };
        struct seen seen = { 0 };
        struct erne_tune_opts opts = options(&seen);
        struct erne_error err = { 0 };

        clear_cache();
        opts.devices = one;
        opts.n_devices = 1;
        if (erne_tune_on(MODEL, &opts, with_slow_host, &config, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(config.n_open + config.n_nodes + (int)config.n_ranges, 0);
        if (!config.is_lost)
            break;
        assert_true(find_row(&seen, "decode", "host")->is_chosen);
        assert_non_null(strstr(find_row(&seen, "decode", "shadow:0")->why, "avoided: "));
        assert_non_null(strstr(find_row(&seen, "prefill", "shadow:0")->why, "lost"));
    }
}

/* ------------------------------------------------------------------ rounds */

/* A machine that others are busy with in some rounds, a bit each. */
struct busy {
    unsigned rounds;
    int n, n_begun;
};

static void watch_busy(void *user, char *text, size_t cap)
{
    struct busy *busy = user;

    if (!text) {
        busy->n_begun++;
        return;
    }
    snprintf(text, cap, "%s", busy->rounds >> busy->n & 1 ? "others were busy" : "");
    busy->n++;
    assert_int_equal(busy->n, busy->n_begun);
}

static int tune_busy(struct busy *busy, struct erne_tune_opts *opts,
                     struct erne_tune_outcome *outcome)
{
    struct erne_error err = { 0 };
    int st;

    *outcome = (struct erne_tune_outcome){ .n_again = -1 };
    opts->watch = watch_busy;
    opts->watch_user = busy;
    opts->outcome = outcome;
    st = erne_tune_on(MODEL, opts, shadow_backends, NULL, &err);
    if (st < 0)
        print_message("%s\n", err.text);
    return st;
}

/* Disturbed rounds are taken again; if that does not help, it is said and kept. */
static void disturbed(void **state)
{
    struct busy some = { .rounds = 0x5 }, all = { .rounds = ~0u }, none = { 0 };
    struct erne_tune_outcome outcome;
    struct seen seen = { 0 };
    struct erne_tune_opts opts = options(&seen);
    struct erne_engine_opts eo = erne_engine_opts_default();
    struct erne_engine *e = NULL;

    (void)state;
    clear_cache();
    opts.n_repeats = 2;
    assert_int_equal(tune_busy(&all, &opts, &outcome), 0);
    assert_int_equal(all.n, 2 * opts.n_repeats);
    assert_int_equal(outcome.n_again, opts.n_repeats);
    assert_string_equal(outcome.disturbed, "others were busy");
    assert_true(outcome.is_kept && outcome.is_told);
    assert_int_equal(find_row(&seen, "decode", "reference")->n_samples, opts.n_repeats);
    eo.cache_dir = CACHE;
    assert_int_equal(erne_engine_open_on(&e, MODEL, &eo, shadow_backends, NULL, NULL), 0);
    assert_non_null(
        strstr(erne_engine_placement(e), "measured on a busy machine: others were busy"));
    erne_engine_close(&e);

    seen = (struct seen){ 0 };
    assert_int_equal(tune_busy(&some, &opts, &outcome), 0);
    assert_int_equal(some.n, opts.n_repeats + 2);
    assert_int_equal(outcome.n_again, 2);
    assert_string_equal(outcome.disturbed, "");
    assert_true(outcome.is_kept); /* instead of the disturbed one, but not the reverse */
    assert_int_equal(find_row(&seen, "decode", "reference")->n_samples, opts.n_repeats);
    seen = (struct seen){ 0 };
    all.n = all.n_begun = 0;
    assert_int_equal(tune_busy(&all, &opts, &outcome), 0);
    assert_false(outcome.is_kept);
    assert_string_equal(outcome.not_kept, "it was measured undisturbed");
    opts.seconds = 0; /* no time to repeat anything */
    opts.replace = true;
    seen = (struct seen){ 0 };
    none.rounds = 1;
    assert_int_equal(tune_busy(&none, &opts, &outcome), 0);
    assert_int_equal(outcome.n_again, 0);
    assert_string_equal(outcome.disturbed, "others were busy");
    assert_true(outcome.is_kept);
}

/* Whether a placement is used with that many threads. */
static bool is_placed_with(int n_threads)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *e = NULL;
    bool placed;

    opts.cache_dir = CACHE;
    opts.n_threads = n_threads;
    assert_int_equal(erne_engine_open_on(&e, MODEL, &opts, shadow_backends, NULL, NULL),
                     0);
    placed = erne_engine_placement(e) != NULL;
    erne_engine_close(&e);
    return placed;
}

/* A placement stays where one of fewer devices or samples was found; --force replaces. */
static void better_stays(void **state)
{
    static const char *const one[] = { "shadow:0" };
    struct erne_tune_outcome outcome;
    struct seen seen = { 0 };
    struct erne_tune_opts opts = options(&seen);
    struct busy quiet = { 0 };

    (void)state;
    clear_cache();
    opts.n_repeats = 2;
    assert_int_equal(tune_busy(&quiet, &opts, &outcome), 0);
    assert_true(outcome.is_kept);
    opts.n_repeats = 1;
    seen = (struct seen){ 0 };
    assert_int_equal(tune_busy(&quiet, &opts, &outcome), 0);
    assert_false(outcome.is_kept);
    assert_string_equal(outcome.not_kept, "it is of 2 samples, not of 1");
    opts.n_repeats = 2;
    opts.devices = one;
    opts.n_devices = 1;
    seen = (struct seen){ 0 };
    assert_int_equal(tune_busy(&quiet, &opts, &outcome), 0);
    assert_false(outcome.is_kept);
    assert_string_equal(outcome.not_kept, "it knows shadow:1, too");
    opts.engine.n_threads = 77; /* another placement */
    seen = (struct seen){ 0 };
    assert_int_equal(tune_busy(&quiet, &opts, &outcome), 0);
    assert_true(outcome.is_kept);
    assert_true(is_placed_with(77) && !is_placed_with(78));
    opts.engine.n_threads = 0;
    opts.replace = true;
    seen = (struct seen){ 0 };
    assert_int_equal(tune_busy(&quiet, &opts, &outcome), 0);
    assert_true(outcome.is_kept);
}

/* Where nothing can be kept all is told first; that there is no folder is no error. */
static void not_kept(void **state)
{
    struct erne_tune_outcome outcome;
    struct seen seen = { 0 };
    struct erne_tune_opts opts = options(&seen);
    struct erne_error err = { 0 };

    (void)state;
    opts.outcome = &outcome;
    opts.n_repeats = 1;
    opts.only_phases = false;
    opts.engine.cache_dir = "/dev/null/none";
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err), ERNE_EIO);
    assert_non_null(strstr(err.text, "could not be kept: /dev/null/none"));
    assert_true(outcome.is_told && !outcome.is_kept);
    assert_non_null(strstr(find_row(&seen, "decode", "shadow:0")->why, "slower"));
    assert_non_null(strstr(find_row(&seen, "decode", "shadow:1")->why, "wrongly"));
    assert_true(seen.n_ops > 0);
    opts.engine.cache_dir = NULL;
    opts.only_phases = true;
    seen = (struct seen){ 0 };
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err), 0);
    assert_true(outcome.is_told && !outcome.is_kept);
    assert_string_equal(outcome.not_kept, "");
}

static void time_is_limited(void **state)
{
    struct erne_tune_outcome outcome;
    struct seen seen = { 0 };
    struct erne_tune_opts opts = options(&seen);
    struct erne_error err = { 0 };

    (void)state;
    clear_cache();
    opts.outcome = &outcome;
    opts.seconds = 0;
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err), 0);
    assert_non_null(strstr(find_row(&seen, "decode", "shadow:0")->why,
                           "too short to verify"));
    assert_true(find_row(&seen, "decode", "reference")->is_chosen);
    /* What was not looked at for lack of time does not replace what was. */
    assert_true(outcome.is_kept);
    opts.seconds = 1e6;
    seen = (struct seen){ 0 };
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err), 0);
    assert_true(outcome.is_kept);
    opts.seconds = 0;
    seen = (struct seen){ 0 };
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err), 0);
    assert_false(outcome.is_kept);
    assert_string_equal(outcome.not_kept, "it knows shadow:0, too");
}

/* At a first start the host is kept before anything is tried; without a device nothing
 * is measured. */
static void first_start(void **state)
{
    struct seen seen = { .cancel_at = 3 };
    struct erne_tune_opts opts = options(&seen);
    struct erne_error err = { 0 };
    const char *names[ERNE_PHASE_COUNT];
    struct log log;

    (void)state;
    clear_cache();
    opts.at_start = true;
    assert_int_equal(erne_tune_on(VL_MODEL, &opts, shadow_backends, NULL, &err),
                     ERNE_ECANCELLED);
    open_engine("auto", NULL, shadow_backends, NULL, names, &log);
    assert_non_null(strstr(log.info, "decode on the CPU: measuring it was not finished"));
    clear_cache();
    seen = (struct seen){ 0 };
    assert_int_equal(erne_tune_on(VL_MODEL, &opts, host_only, NULL, &err), 0);
    assert_int_equal(seen.n + seen.n_progress, 0);
    open_engine("auto", NULL, host_only, NULL, names, &log);
    assert_string_equal(log.info, "");
    opts.engine.cache_dir = NULL;
    assert_int_equal(erne_tune_on(VL_MODEL, &opts, host_only, NULL, &err), ERNE_EINVAL);
}

static void cancelled(void **state)
{
    (void)state;
    for (int at = 1; at < 200; at += at < 4 ? 1 : 60) {
        struct seen seen = { .cancel_at = at };
        struct erne_tune_opts opts = options(&seen);
        struct erne_error err = { 0 };
        int st;

        clear_cache();
        opts.n_repeats = 1;
        st = erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err);
        if (seen.n_progress < at)
            break;
        assert_int_equal(st, ERNE_ECANCELLED);
        assert_int_equal(seen.n, 0);
    }
}

static void bad_options(void **state)
{
    static const char *const unknown[] = { "toaster" }, *const absent[] = { "shadow:2" };
    struct seen seen = { 0 };
    struct erne_tune_opts opts = options(&seen);
    struct erne_error err = { 0 };

    (void)state;
    opts.n_devices = 1;
    opts.devices = unknown;
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err),
                     ERNE_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "toaster"));
    opts.devices = absent;
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err),
                     ERNE_EUNSUPPORTED);
    opts = options(&seen);
    opts.n_repeats = 0;
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err),
                     ERNE_EINVAL);
    opts = options(&seen);
    opts.struct_size = 1;
    assert_int_equal(erne_tune_on(MODEL, &opts, shadow_backends, NULL, &err),
                     ERNE_EINVAL);
    opts = options(&seen);
    assert_int_equal(erne_tune_on("none.erne", &opts, shadow_backends, NULL, &err),
                     ERNE_EIO);
}

static void no_memory(void **state)
{
    const char *const one[] = { "shadow:0" };
    bool hit = true;

    (void)state;
    for (size_t n = 1; hit; n += 1 + 2 * n / 3) {
        struct shadow_config config = { 0 };
        struct seen seen = { 0 };
        struct erne_tune_opts opts = options(&seen);
        struct erne_error err = { 0 };
        int st;

        clear_cache();
        opts.devices = one;
        opts.n_devices = 1;
        opts.n_repeats = 1;
        alloc_fail_at(n);
        st = erne_tune_on(MODEL, &opts, with_slow_host, &config, &err);
        hit = alloc_fail_hit();
        assert_true(st == 0 || (hit && st == ERNE_ENOMEM));
        assert_int_equal(config.n_open + config.n_nodes + (int)config.n_ranges, 0);
    }
}

/* ------------------------------------------------------------------ store */

static void make_tuned(struct erne_tuned *tuned)
{
    *tuned = (struct erne_tuned){ .n_devices = 2, .n_samples = 5 };
    tuned->devices[0] = (struct erne_choice){ &erne_backend_shadow, 0 };
    tuned->devices[1] = (struct erne_choice){ &erne_backend_reference, 0 };
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        tuned->of[kind] = tuned->devices[kind == ERNE_PHASE_DECODE];
        snprintf(tuned->why[kind], sizeof(tuned->why[kind]), "because %d", kind);
    }
}

/* Of a model of no bytes, for a host of that many threads. */
static struct erne_tuned_key key_of(int n_threads)
{
    const struct erne_model_file file = { 0 };
    struct erne_engine_opts opts = erne_engine_opts_default();

    opts.n_threads = n_threads;
    return erne_tuned_key_of(&opts, &file);
}

/* The file that is kept. */
static int read_kept(char text[4096], char name[64])
{
    const struct erne_tuned_key key = key_of(2);

    snprintf(name, 64, "tune-%016" PRIx64 ".txt",
             XXH3_64bits(key.text, strlen(key.text)));
    return erne_cache_load(CACHE, name, text, 4096);
}

static bool load(struct erne_tuned *tuned, char why_not[ERNE_TUNED_WHY])
{
    const struct erne_tuned_key key = key_of(2);

    return erne_tuned_load(tuned, CACHE, shadow_backends, &key, why_not);
}

static void kept_comes_back(void **state)
{
    const struct erne_tuned_key key = key_of(2), other = key_of(3);
    struct erne_tuned tuned, back = { .n_devices = 0 };
    struct erne_error err = { 0 };
    char why_not[ERNE_TUNED_WHY], text[128];

    (void)state;
    clear_cache();
    assert_false(load(&back, why_not));
    assert_string_equal(why_not, "");
    make_tuned(&tuned);
    snprintf(tuned.disturbed, sizeof(tuned.disturbed), "others were busy");
    assert_int_equal(erne_tuned_save(CACHE, &tuned, &key, &err), 0);
    assert_false(erne_tuned_load(&back, CACHE, shadow_backends, &other, why_not));
    assert_string_equal(why_not, "");
    assert_true(load(&back, why_not));
    assert_int_equal(back.n_samples, 5);
    assert_string_equal(back.disturbed, "others were busy");
    assert_int_equal(back.n_devices, tuned.n_devices);
    for (int i = 0; i < tuned.n_devices; i++)
        assert_ptr_equal(back.devices[i].fns, tuned.devices[i].fns);
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        assert_ptr_equal(back.of[kind].fns, tuned.of[kind].fns);
        assert_string_equal(back.why[kind], tuned.why[kind]);
    }
    erne_tuned_text(&back, 1u << ERNE_PHASE_DECODE | 1u << ERNE_PHASE_VISION, text,
                    sizeof(text));
    assert_string_equal(
        text, "because 2; because 0; measured on a busy machine: others were busy");
    erne_tuned_text(&back, 0, text, sizeof(text));
    assert_string_equal(text, "");
    erne_tuned_text(&back, ~0u, text, 12); /* is cut */
    assert_string_equal(text, "because 2; ");
    assert_int_equal(erne_tuned_save("/dev/null/none", &tuned, &key, &err), ERNE_EIO);
}

/* What else than the model a placement is kept for: each has a file of its own. */
static void keys_differ(void **state)
{
    const struct erne_model_file file = { 0 };
    struct erne_engine_opts opts = erne_engine_opts_default(), all;
    struct erne_tuned_key keys[4];

    (void)state;
    keys[0] = erne_tuned_key_of(&opts, &file);
    opts.n_threads = 77;
    keys[1] = erne_tuned_key_of(&opts, &file);
    opts.isa = "c";
    keys[2] = erne_tuned_key_of(&opts, &file);
    opts.ram_bytes = 1 << 30;
    keys[3] = erne_tuned_key_of(&opts, &file);
    for (int i = 0; i < 3; i++)
        assert_string_not_equal(keys[i].text, keys[i + 1].text);
    all = erne_engine_opts_default();
    all.n_threads = pf_cpu_count(); /* what 0 stands for */
    keys[1] = erne_tuned_key_of(&all, &file);
    assert_string_equal(keys[0].text, keys[1].text);
}

/* A quiet machine comes first, then the number of samples. */
static void better_measured(void **state)
{
    static const struct {
        int kept_samples, found_samples;
        bool kept_disturbed, found_disturbed;
        const char *why;
    } cases[] = {
        { 5, 5, false, false, "" },
        { 5, 7, false, false, "" },
        { 7, 5, false, false, "it is of 7 samples, not of 5" },
        { 5, 7, false, true, "it was measured undisturbed" },
        { 7, 5, true, false, "" },
        { 7, 5, true, true, "it is of 7 samples" },
        { 0, 1, false, true, "" }, /* a first start that was not finished */
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_tuned kept, found;
        char why[64];

        make_tuned(&kept);
        make_tuned(&found);
        kept.n_samples = cases[i].kept_samples;
        found.n_samples = cases[i].found_samples;
        snprintf(kept.disturbed, sizeof(kept.disturbed), "%s",
                 cases[i].kept_disturbed ? "x" : "");
        snprintf(found.disturbed, sizeof(found.disturbed), "%s",
                 cases[i].found_disturbed ? "x" : "");
        assert_int_equal(erne_tuned_is_better(&kept, &found, why, sizeof(why)),
                         *cases[i].why != '\0');
        assert_non_null(strstr(why, cases[i].why));
    }
}

/* Cut anywhere, or with any byte changed, it is not believed. */
static void damaged(void **state)
{
    struct erne_tuned back = { .n_devices = 77 };
    struct erne_error err = { 0 };
    char text[4096], name[64], why_not[ERNE_TUNED_WHY];
    const int n = read_kept(text, name);

    (void)state;
    assert_true(n > 100);
    for (int i = 0; i < n; i++) {
        assert_int_equal(erne_cache_save(CACHE, name, text, (size_t)i, &err), 0);
        assert_false(load(&back, why_not));
        assert_string_equal(why_not, "it is damaged");
        text[i] ^= 4;
        assert_int_equal(erne_cache_save(CACHE, name, text, (size_t)n, &err), 0);
        assert_false(load(&back, why_not));
        text[i] ^= 4;
    }
    assert_int_equal(back.n_devices, 77);
    assert_int_equal(erne_cache_save(CACHE, name, text, (size_t)n, &err), 0);
    assert_true(load(&back, why_not));
}

/* Writes text with a right hash at its end, and tries to load it. */
static bool load_sealed(const char *text, size_t n, const char *name,
                        char why_not[ERNE_TUNED_WHY])
{
    struct erne_tuned back = { .n_devices = 0 };
    struct erne_error err = { 0 };
    char sealed[8192];

    memcpy(sealed, text, n);
    n += (size_t)snprintf(sealed + n, sizeof(sealed) - n, "end: %016" PRIx64 "\n",
                          XXH3_64bits(sealed, n));
    assert_int_equal(erne_cache_save(CACHE, name, sealed, n, &err), 0);
    return load(&back, why_not);
}

/* What was whole, but is of something else. */
static void stale(void **state)
{
    static const struct {
        const char *from, *to, *why;
    } changes[] = {
        { "erne tune 2", "erne tune 1", "another model" },
        { "host: 2", "host: 3", "another model" },
        { "samples: ", "samples: x", "how it was measured" },
        { "samples: 5", "samples: 55555", "how it was measured" },
        { "disturbed:", "disturbed", "how it was measured" },
        { "build: ", "build: 0.0.1 ", "another build" },
        { "shadow 1", "shadow 2", "shadow:0 is another device or has another driver" },
        { "shadow-0", "shadow-9", "shadow:0 is another device or has another driver" },
        { "shadow:0", "shadow:7", "shadow:0 was not looked at" },
        { "shadow:0", "vulkan:0", "the build lacks" },
        { "decode: ", "decode; ", "does not say" },
        { "vision: shadow:", "vision: shadow:x", "does not say" },
    };
    char text[4096], name[64], changed[4200], why_not[ERNE_TUNED_WHY];
    const int n = read_kept(text, name);

    (void)state;
    assert_true(n > 22);
    text[n - 22] = '\0'; /* without its hash */
    assert_true(load_sealed(text, strlen(text), name, why_not));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(changes); i++) {
        const char *at = strstr(text, changes[i].from);

        assert_non_null(at);
        snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text,
                 changes[i].to, at + strlen(changes[i].from));
        assert_false(load_sealed(changed, strlen(changed), name, why_not));
        assert_non_null(strstr(why_not, changes[i].why));
    }
    for (size_t cut = 0; cut < strlen(text); cut++)
        assert_false(load_sealed(text, cut, name, why_not));
}

/* Whatever stands there, nothing breaks. */
static void mangled(void **state)
{
    char text[4096], name[64], why_not[ERNE_TUNED_WHY];
    const int n = read_kept(text, name);
    uint64_t rng = 5;

    (void)state;
    assert_true(n >= 22);
    for (int i = 0; i < 300; i++) {
        char other[4096];
        const size_t n_other = (size_t)(n - 22);

        memcpy(other, text, n_other);
        for (int k = 0; k < 3; k++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            other[(rng >> 33) % n_other] = (char)(rng >> 20);
        }
        load_sealed(other, n_other, name, why_not);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_is_chosen),   cmocka_unit_test(pinned_stays),
        cmocka_unit_test(gone_is_ignored),  cmocka_unit_test(wrong_is_ignored),
        cmocka_unit_test(doubles_are_avoided),
        cmocka_unit_test(lost_is_avoided),  cmocka_unit_test(time_is_limited),
        cmocka_unit_test(first_start),      cmocka_unit_test(cancelled),
        cmocka_unit_test(bad_options),      cmocka_unit_test(no_memory),
        cmocka_unit_test(disturbed),        cmocka_unit_test(better_stays),
        cmocka_unit_test(not_kept),         cmocka_unit_test(kept_comes_back),
        cmocka_unit_test(keys_differ),      cmocka_unit_test(better_measured),
        cmocka_unit_test(damaged),          cmocka_unit_test(stale),
        cmocka_unit_test(mangled),
    };

    return cmocka_run_group_tests_name("tune", tests, setup, teardown);
}
