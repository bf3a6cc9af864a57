/* test_tune.c -- erne_tune puts phases where they are fastest, avoids what is slow, wrong
 * or breaks, and engines follow what it keeps (how that is kept: test_tuned.c).
 *
 * Devices are the stand-ins of tests/support/shadow.h; the host is the reference, made
 * slow where a device is to be faster.
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/reference/ref_backend.h"
#include "platforms/platform.h"
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
static const struct erne_backend_fns *const with_slow_host[] = {
    &host, &erne_backend_shadow, &erne_backend_reference, NULL
};
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
    const struct erne_refused refused = { .ops = 1 };
    struct erne_verdict_key key;
    struct erne_model_file file;
    struct erne_error err = { 0 };
    struct log log;

    (void)state;
    open_engine("auto", NULL, with_slow_host, &config, names, &log);
    assert_string_equal(names[ERNE_PHASE_DECODE], "shadow");
    assert_int_equal(erne_model_file_open(&file, VL_MODEL, &err), 0);
    assert_true(erne_verdict_key_init(&key, &erne_backend_shadow, 1, "auto", &file));
    assert_int_equal(erne_verdict_save(CACHE, &key, &refused, &err), 0);
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
    int n, n_begun, late_at; /* the round that all time is over in; 0: never */
};

static void watch_busy(void *user, char *text, size_t cap)
{
    struct busy *busy = user;

    if (!text) {
        if (++busy->n_begun == busy->late_at)
            pf_sleep_us(UINT64_C(3600000000));
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

/* Where no time is left for the replacement, a disturbed round is better than none. */
static void disturbed_is_kept(void **state)
{
    for (int rounds = 1; rounds < 4; rounds += 2) { /* the repeat: quiet, or disturbed */
        struct busy busy = { .rounds = (unsigned)rounds, .late_at = 2 };
        struct erne_tune_outcome outcome;
        struct seen seen = { 0 };
        struct erne_tune_opts opts = options(&seen);

        (void)state;
        clear_cache();
        opts.n_repeats = 2;
        opts.seconds = 1800;
        assert_int_equal(tune_busy(&busy, &opts, &outcome), 0);
        assert_int_equal(find_row(&seen, "prefill", "shadow:0")->n_samples, 1);
        assert_int_equal(find_row(&seen, "decode", "shadow:0")->n_samples, 1);
        assert_non_null(strstr(find_row(&seen, "decode", "shadow:0")->why, "slower"));
        assert_int_equal(find_row(&seen, "decode", "reference")->n_samples, 1);
        assert_int_equal(outcome.n_again, 0);
        assert_string_equal(outcome.disturbed, "others were busy");
        assert_true(outcome.is_kept);
    }
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
    assert_non_null(
        strstr(find_row(&seen, "decode", "shadow:0")->why, "too short to verify"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_is_chosen),      cmocka_unit_test(pinned_stays),
        cmocka_unit_test(gone_is_ignored),     cmocka_unit_test(wrong_is_ignored),
        cmocka_unit_test(doubles_are_avoided), cmocka_unit_test(lost_is_avoided),
        cmocka_unit_test(time_is_limited),     cmocka_unit_test(first_start),
        cmocka_unit_test(cancelled),           cmocka_unit_test(bad_options),
        cmocka_unit_test(no_memory),           cmocka_unit_test(disturbed),
        cmocka_unit_test(better_stays),        cmocka_unit_test(not_kept),
        cmocka_unit_test(disturbed_is_kept),
    };

    return cmocka_run_group_tests_name("tune", tests, setup, teardown);
}
