/* convert.c -- erne_convert: checks the request, makes the plan, shows it, runs it. */
#include "converters/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/allot.h"
#include "converters/budget.h"
#include "converters/calibrate.h"
#include "converters/json_file.h"
#include "converters/work_folder.h"

struct erne_convert_opts erne_convert_opts_default(void)
{
    return (struct erne_convert_opts){ .struct_size = sizeof(struct erne_convert_opts) };
}

/* Whether dst may be written. Everything that can be known beforehand is said before
 * hours of work, not after. */
static int check_destination(const struct erne_convert_opts *opts, struct erne_error *err)
{
    char *folder;
    bool has_folder;

    if (strcmp(opts->src, opts->dst) == 0)
        return erne_fail(err, ERNE_EINVAL, "%s: source and destination are one file",
                         opts->dst);
    if (pf_path_is_dir(opts->dst))
        return erne_fail(err, ERNE_EINVAL, "%s is a folder", opts->dst);
    if (pf_path_exists(opts->dst) && !pf_path_is_file(opts->dst))
        return erne_fail(err, ERNE_EINVAL, "%s: a device or pipe, not a file", opts->dst);
    if (pf_path_exists(opts->dst) && !opts->overwrite)
        return erne_fail(err, ERNE_EINVAL, "%s exists already", opts->dst);
    if (opts->calibrate)
        ERNE_TRY(work_folder_check(opts->dst, err));
    folder = path_folder(opts->dst);
    if (!folder)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    has_folder = pf_path_is_dir(folder);
    if (!has_folder)
        erne_fail(err, ERNE_EINVAL, "%s: there is no folder %s", opts->dst, folder);
    free(folder);
    return has_folder ? ERNE_OK : ERNE_EINVAL;
}

static int check_target(const struct erne_convert_opts *opts, struct erne_error *err)
{
    struct budget_target target;

    ERNE_TRY(budget_parse(&target, opts->target_bpw, err));
    if (!opts->calibrate)
        return erne_fail(err, ERNE_EINVAL,
                         "a budget of bits needs a text to measure with: --calibrate");
    if (opts->scheme)
        return erne_fail(err, ERNE_EINVAL,
                         "a budget of bits chooses the schemes: without --scheme");
    if (opts->dry_run)
        return erne_fail(err, ERNE_EINVAL,
                         "what a budget of bits leads to has to be measured: without "
                         "--dry-run");
    return ERNE_OK;
}

static int check_opts(const struct erne_convert_opts *opts, struct erne_error *err)
{
    if (!opts || opts->struct_size != sizeof(*opts))
        return erne_fail(err, ERNE_EINVAL,
                         "options: start from erne_convert_opts_default");
    if (!opts->src || (!opts->dst && !opts->dry_run))
        return erne_fail(err, ERNE_EINVAL, "options: src and dst are needed");
    if (opts->n_threads < 0 || opts->n_threads > 1024)
        return erne_fail(err, ERNE_EINVAL, "options: %d threads: 0 (one a core) to 1024",
                         opts->n_threads);
    if (opts->target_bpw)
        ERNE_TRY(check_target(opts, err));
    return opts->dry_run ? ERNE_OK : check_destination(opts, err);
}

void convert_drop_part(const char *path)
{
    const size_t n = strlen(path) + sizeof(".part");
    char *part = malloc(n);

    if (part) {
        snprintf(part, n, "%s.part", path);
        pf_path_remove(part);
    }
    free(part);
}

void convert_drop(const char *path)
{
    pf_path_remove(path);
    convert_drop_part(path);
}

int convert_write_aside(const struct convert_plan *plan, const char *path,
                        struct convert_stats *stats, struct erne_error *err)
{
    struct erne_writer_plan wp = convert_writer_plan(plan);
    struct erne_model_writer *writer;
    size_t n_resumed;
    int st;

    convert_drop(path); /* what is resumed has no losses */
    wp.golden = (struct erne_golden){ 0 };
    ERNE_TRY(erne_writer_open(&writer, path, &wp, &n_resumed, err));
    st = convert_run(plan, writer, stats, err);
    if (st == 0)
        return erne_writer_finish(&writer, err);
    erne_writer_abandon(&writer);
    return st;
}

static int write_plainly(const struct convert_plan *plan,
                         const struct erne_convert_opts *opts,
                         struct convert_stats *stats, struct erne_error *err)
{
    const struct erne_writer_plan wp = convert_writer_plan(plan);
    struct erne_model_writer *writer;
    size_t n_resumed;
    int st;

    ERNE_TRY(erne_writer_open(&writer, opts->dst, &wp, &n_resumed, err));
    st = convert_run(plan, writer, stats, err);
    if (st == ERNE_OK)
        st = convert_golden_write(plan, writer, err);
    if (st == ERNE_OK)
        return erne_writer_finish(&writer, err);
    erne_writer_abandon(&writer);
    return st;
}

static int write_file(struct convert_plan *plan, const struct erne_convert_opts *opts,
                      struct erne_error *err)
{
    struct convert_stats stats;
    int st;

    ERNE_TRY(convert_stats_init(&stats, plan, err));
    st = plan->calibration ? convert_write_judged(plan, opts, &stats, err)
                           : write_plainly(plan, opts, &stats, err);
    if (st == 0)
        st = convert_report_result(plan, &stats, opts, err);
    convert_stats_deinit(&stats);
    return st;
}

/* What takes hours comes after what can be refused before. */
static int convert(struct convert_plan *plan, const struct erne_convert_opts *opts,
                   struct erne_error *err)
{
    if (opts->target_bpw)
        ERNE_TRY(allot_check(plan, opts, err));
    else
        ERNE_TRY(convert_device_check(&plan->device, err));
    if (opts->calibrate)
        ERNE_TRY(calibration_make(&plan->calibration, plan, opts, err));
    if (opts->target_bpw) {
        ERNE_TRY(allot_schemes(plan, opts, err));
        ERNE_TRY(convert_report_plan(plan, opts, err));
        ERNE_TRY(convert_device_check(&plan->device, err));
    }
    return write_file(plan, opts, err);
}

static bool rounds_any(const struct convert_plan *plan)
{
    for (size_t i = 0; i < plan->n; i++)
        if (plan->tensors[i].how == CONVERT_ROUND)
            return true;
    return false;
}

/* What is read must be of use, and must not be replaced. */
static int check_inputs(const struct convert_plan *plan,
                        const struct erne_convert_opts *opts, struct erne_error *err)
{
    if (opts->calibrate && !opts->target_bpw && !rounds_any(plan))
        return erne_fail(err, ERNE_EINVAL,
                         "nothing is rounded, so there is nothing to calibrate: give a "
                         "scheme of fewer bits than the checkpoint has (--scheme)");
    if (opts->dry_run)
        return ERNE_OK;
    if (source_has_file(plan->src, opts->dst))
        return erne_fail(err, ERNE_EINVAL, "%s: source and destination are one file",
                         opts->dst);
    if (opts->calibrate && pf_path_is_same(opts->calibrate, opts->dst))
        return erne_fail(err, ERNE_EINVAL, "%s: the calibration text would be replaced",
                         opts->dst);
    return ERNE_OK;
}

int erne_convert(const struct erne_convert_opts *opts, struct erne_error *err)
{
    struct pulse pulse = { .opts = opts };
    struct convert_plan plan;
    int st;

    ERNE_TRY(check_opts(opts, err));
    ERNE_TRY(convert_plan_init(&plan, opts, err));
    plan.pulse = &pulse;
    st = check_inputs(&plan, opts, err);
    if (st == 0 && !opts->target_bpw)
        st = convert_report_plan(&plan, opts, err);
    if (st == 0 && !opts->dry_run)
        st = convert(&plan, opts, err);
    calibration_free(&plan.calibration);
    convert_plan_deinit(&plan);
    return st;
}
