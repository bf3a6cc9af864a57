/* convert.c -- erne_convert: checks the request, makes the plan, shows it, runs it. */
#include "converters/convert.h"

#include <stdlib.h>
#include <string.h>

#include "converters/calibrate.h"
#include "converters/json_file.h"

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
    folder = path_folder(opts->dst);
    if (!folder)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    has_folder = pf_path_is_dir(folder);
    if (!has_folder)
        erne_fail(err, ERNE_EINVAL, "%s: there is no folder %s", opts->dst, folder);
    free(folder);
    return has_folder ? ERNE_OK : ERNE_EINVAL;
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
    return opts->dry_run ? ERNE_OK : check_destination(opts, err);
}

static int write_file(const struct convert_plan *plan,
                      const struct erne_convert_opts *opts, struct erne_error *err)
{
    const struct erne_writer_plan wp = convert_writer_plan(plan);
    struct convert_stats stats = { 0 };
    struct erne_model_writer *writer;
    size_t n_resumed;
    int st;

    ERNE_TRY(erne_writer_open(&writer, opts->dst, &wp, &n_resumed, err));
    st = convert_run(plan, writer, opts, &stats, err);
    if (st == ERNE_OK)
        st = convert_golden_write(plan, writer, err);
    if (st < 0) {
        erne_writer_abandon(&writer);
        return st;
    }
    ERNE_TRY(erne_writer_finish(&writer, err));
    return convert_report_result(plan, &stats, opts, err);
}

int erne_convert(const struct erne_convert_opts *opts, struct erne_error *err)
{
    struct convert_plan plan;
    int st;

    ERNE_TRY(check_opts(opts, err));
    ERNE_TRY(convert_plan_init(&plan, opts, err));
    st = convert_report_plan(&plan, opts, err);
    if (st == 0 && !opts->dry_run && opts->calibrate)
        st = calibration_make(&plan.calibration, &plan, opts, err);
    if (st == 0 && !opts->dry_run)
        st = convert_device_check(&plan.device, err);
    if (st == 0 && !opts->dry_run)
        st = write_file(&plan, opts, err);
    calibration_free(&plan.calibration);
    convert_plan_deinit(&plan);
    return st;
}
