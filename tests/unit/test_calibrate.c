/* test_calibrate.c -- conversions that read a text first: they end soon when they are to,
 * leave nothing behind, and touch no file that is not theirs. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/convert.h"
#include "converters/work_folder.h"
#include "platforms/platform.h"
#include "tests/support/checkpoint.h"

static const char *const dir = ERNE_TEST_DIR;
static const char *const dst = ERNE_TEST_DIR "/out.erne";
static const char *const work = ERNE_TEST_DIR "/out.erne.work";
static const char *const text = ERNE_TEST_DIR "/prose.txt";

static struct erne_convert_opts options(void)
{
    struct erne_convert_opts opts = erne_convert_opts_default();

    opts.src = ERNE_TEST_GOLDEN "/hub";
    opts.dst = dst;
    opts.scheme = "w4";
    opts.calibrate = text;
    opts.chat_template = "none";
    opts.n_threads = 1;
    return opts;
}

static void write_text(void)
{
    char prose[2000] = "";

    for (size_t i = 0, n; (n = strlen(prose)) + 40 < sizeof(prose); i++)
        snprintf(prose + n, sizeof(prose) - n, "It is a truth, the %zuth of many. ",
                 i * i);
    checkpoint_put(dir, "prose.txt", prose);
}

/* The files that a conversion could have left, of which there must be none. */
static void assert_nothing_left(void)
{
    char **names;
    size_t n, n_left = 0;

    assert_int_equal(pf_dir_list(dir, &names, &n), 0);
    for (size_t i = 0; i < n; i++)
        n_left += strncmp(names[i], "out.erne", 8) == 0;
    pf_dir_free(names, n);
    assert_int_equal(n_left, 0);
}

static void refuse(const struct erne_convert_opts *opts, int status, const char *says)
{
    struct erne_error err = { 0 };

    assert_int_equal(erne_convert(opts, &err), status);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

/* ---------------------------------------------------------------- cancelling */

/* A phase begins where the total of the work changes. */
struct phases {
    uint64_t total;
    int n, cancel_at;
};

static int see_phase(void *user, uint64_t done, uint64_t total, const char *what)
{
    struct phases *p = user;

    assert_non_null(what);
    assert_true(done <= total);
    if (total != p->total)
        p->n++;
    p->total = total;
    return p->n == p->cancel_at;
}

/* Cancels it where a phase begins; past the last one it comes to its end. */
static void cancel(struct erne_convert_opts opts, int phase, int n_phases)
{
    const bool is_cancelled = phase <= n_phases;
    struct phases phases = { .cancel_at = phase };
    struct erne_error err;

    opts.progress = see_phase;
    opts.progress_user = &phases;
    assert_int_equal(erne_convert(&opts, &err), is_cancelled ? ERNE_ECANCELLED : 0);
    assert_int_equal(phases.n, is_cancelled ? phase : n_phases);
    if (!is_cancelled)
        pf_path_remove(dst);
    assert_nothing_left();
}

static void test_a_cancelled_conversion_leaves_nothing(void **state)
{
    /* The exact copy, the text, the tensors, their judgement, the copy, golden logits. */
    enum { PLAIN_PHASES = 6 };
    /* Six candidates more, and trials behind the fourth of them. */
    enum { TRIALS = 2 + 4 + 1, BUDGET_PHASES = PLAIN_PHASES + 7 };
    struct erne_convert_opts opts = options();

    (void)state;
    write_text();
    for (int i = 1; i <= PLAIN_PHASES + 1; i++)
        cancel(opts, i, PLAIN_PHASES);
    opts.scheme = NULL;
    opts.target_bpw = "3.5";
    for (int i = TRIALS - 1; i <= TRIALS + 1; i++)
        cancel(opts, i, BUDGET_PHASES);
}

struct calls {
    int n, answer;
};

static int count(void *user, uint64_t done, uint64_t total, const char *what)
{
    struct calls *calls = user;

    assert_int_equal(done, 3);
    assert_int_equal(total, 7);
    assert_string_equal(what, "this");
    calls->n++;
    return calls->answer;
}

/* Inside of a step it asks again after a while, not at each occasion. */
static void test_pulse(void **state)
{
    struct calls calls = { 0 };
    struct erne_convert_opts opts = { .progress = count, .progress_user = &calls };
    struct pulse pulse = { .opts = &opts };
    const struct erne_ask ask = pulse_ask(&pulse);
    struct erne_error err;

    (void)state;
    assert_false(erne_gives_up(&ask)); /* nothing was begun */
    assert_int_equal(pulse_tell(&pulse, 3, 7, "this", &err), 0);
    assert_int_equal(calls.n, 1);
    assert_false(erne_gives_up(&ask));
    pulse.told_ns -= 1000000000;
    assert_false(erne_gives_up(&ask));
    assert_int_equal(calls.n, 2);
    calls.answer = 1;
    pulse.told_ns -= 1000000000;
    assert_true(erne_gives_up(&ask));
    assert_int_equal(pulse_tell(&pulse, 3, 7, "this", &err), ERNE_ECANCELLED);
    opts.progress = NULL;
    assert_int_equal(pulse_tell(&pulse, 0, 0, "nobody asks", &err), 0);
}

/* --------------------------------------------------------------- work folder */

static void put_in_work(const char *name, const char *content)
{
    assert_int_equal(pf_dir_create(work), 0);
    checkpoint_put(work, name, content);
}

/* What was there before is there afterwards, and named. */
static void test_what_is_not_ours_stays(void **state)
{
    struct erne_convert_opts opts = options();
    const char *const in_work = ERNE_TEST_DIR "/out.erne.work/exact";

    (void)state;
    write_text();
    checkpoint_put(dir, "out.erne.work", "mine");
    refuse(&opts, ERNE_EINVAL, "out.erne.work: a conversion needs a folder of that name");
    assert_true(pf_path_is_file(work));
    checkpoint_put(dir, "out.erne.work", NULL);
    put_in_work("notes.txt", "mine");
    refuse(&opts, ERNE_EINVAL, "out.erne.work: notes.txt was not left by a conversion");
    checkpoint_put(work, "notes.txt", NULL);
    put_in_work("exact", "mine"); /* without a lock */
    refuse(&opts, ERNE_EINVAL, "out.erne.work: exact was not left by a conversion");
    assert_true(pf_path_is_file(in_work));
    checkpoint_put(work, "exact", NULL);
    assert_int_equal(pf_dir_remove(work), 0);
}

/* A conversion that was killed is no obstacle; one that runs is. */
static void test_leftovers_and_neighbours(void **state)
{
    struct erne_convert_opts opts = options();
    struct work_folder other;
    struct erne_error err;

    (void)state;
    write_text();
    put_in_work("lock", "");
    put_in_work("trial.part", "left behind");
    if (erne_convert(&opts, &err) < 0)
        fail_msg("%s", err.text);
    pf_path_remove(dst);
    assert_nothing_left();
    assert_int_equal(pf_dir_create(work), 0); /* killed before it had a lock */
    assert_int_equal(work_folder_open(&other, dst, &err), 0);
    put_in_work("exact", "of the other");
    refuse(&opts, ERNE_EIO, "is another conversion to ");
    assert_true(pf_path_exists(ERNE_TEST_DIR "/out.erne.work/exact"));
    work_folder_close(&other);
    assert_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cancelled_conversion_leaves_nothing),
        cmocka_unit_test(test_pulse),
        cmocka_unit_test(test_what_is_not_ours_stays),
        cmocka_unit_test(test_leftovers_and_neighbours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
