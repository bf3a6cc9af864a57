/* convert_judged.c -- makes a file whose manifest tells what rounding changed: the
 * tensors go into a file beside it first, which is judged, and are copied from there. */
#include <math.h>
#include <stdlib.h>

#include "converters/calibrate.h"
#include "converters/work_folder.h"
#include "runtime/watch.h"

/* -------------------------------------------------------------- description */

static void sum_errors(struct erne_judged_desc *d, const struct convert_plan *plan,
                       const struct convert_stats *stats)
{
    struct convert_loss sums[2][ERNE_ROLE_COUNT] = { 0 };

    for (size_t i = 0; i < plan->n; i++) {
        const struct erne_tensor_spec *spec = &plan->tensors[i].layout->spec;

        convert_loss_add(&sums[spec->expert >= 0][spec->role], &stats->losses[i]);
    }
    for (int of_experts = 0; of_experts <= 1; of_experts++)
        for (int role = 0; role < ERNE_ROLE_COUNT; role++)
            d->errors[of_experts][role] =
                convert_narrow(convert_error(sums[of_experts][role]));
}

static int describe(struct convert_plan *plan, const struct erne_convert_opts *opts,
                    const struct convert_stats *stats, const struct judge_score *score,
                    struct erne_error *err)
{
    struct erne_judged_desc *d = &plan->src->desc.judged;

    if (isnan(score->kld) || isnan(score->nll) || isnan(score->nll_base))
        return erne_fail(err, ERNE_EFORMAT,
                         "the model computes numbers that are not finite");
    d->n_tokens = (int32_t)score->n_tokens;
    d->bits = (float)(8.0 * (double)plan->data_bytes / (double)plan->n_params);
    d->kld = convert_narrow(score->kld);
    d->same_top = (float)score->same_top;
    d->perplexity = convert_narrow(exp(score->nll));
    d->perplexity_exact = convert_narrow(exp(score->nll_base));
    sum_errors(d, plan, stats);
    plan->src->desc.n_calibrated = (int32_t)calibration_n_tokens(plan->calibration);
    return convert_plan_describe(plan, opts, err);
}

/* ------------------------------------------------------------------- copy */

static int judge_file(struct judge_score *score, const struct convert_plan *plan,
                      const char *path, struct erne_error *err)
{
    const struct judge *judge = calibration_judge(plan->calibration);
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_engine *engine;
    int st;

    opts.n_threads = plan->n_threads;
    ERNE_TRY(pulse_tell(plan->pulse, 0, 1, "judging", err));
    ERNE_TRY(erne_engine_open(&engine, path, &opts, err));
    erne_engine_set_ask(engine, pulse_ask(plan->pulse));
    st = judge_score(score, judge, engine, judge->n_chunks, err);
    erne_engine_close(&engine);
    return st;
}

static int copy_tensors(const struct convert_plan *plan, struct erne_model_writer *writer,
                        const struct erne_model_file *mf, struct erne_error *err)
{
    for (size_t i = 0; i < mf->n_tensors; i++) {
        const struct erne_file_tensor *t = &mf->tensors[i];

        ERNE_TRY(pulse_tell(plan->pulse, i, mf->n_tensors, plan->records[i].name, err));
        ERNE_TRY(erne_writer_write(writer, i, 0, erne_model_file_data(t),
                                   (size_t)t->n_bytes, err));
        ERNE_TRY(erne_writer_tensor_done(writer, i, t->xxh3, &t->report, err));
    }
    return pulse_tell(plan->pulse, mf->n_tensors, mf->n_tensors,
                      plan->records[plan->n - 1].name, err);
}

/* The tensors of the file at `from` with the plan's manifest. What is unfinished does not
 * stay: the next conversion has to begin again anyway. */
static int copy_file(const struct convert_plan *plan, const char *from, const char *to,
                     struct erne_error *err)
{
    const struct erne_writer_plan wp = convert_writer_plan(plan);
    struct erne_model_writer *writer;
    struct erne_model_file mf;
    size_t n_resumed;
    int st;

    ERNE_TRY(erne_model_file_open(&mf, from, err));
    st = erne_writer_open(&writer, to, &wp, &n_resumed, err);
    if (st == 0) {
        st = copy_tensors(plan, writer, &mf, err);
        if (st == 0)
            st = convert_golden_write(plan, writer, err);
        if (st == 0) {
            st = erne_writer_finish(&writer, err);
        } else {
            erne_writer_abandon(&writer);
            convert_drop_part(to);
        }
    }
    erne_model_file_close(&mf);
    return st;
}

static int write_judged(struct convert_plan *plan, const struct erne_convert_opts *opts,
                        const char *path, struct convert_stats *stats,
                        struct erne_error *err)
{
    struct judge_score score;

    ERNE_TRY(convert_write_aside(plan, path, stats, err));
    ERNE_TRY(judge_file(&score, plan, path, err));
    ERNE_TRY(describe(plan, opts, stats, &score, err));
    return copy_file(plan, path, opts->dst, err);
}

int convert_write_judged(struct convert_plan *plan, const struct erne_convert_opts *opts,
                         struct convert_stats *stats, struct erne_error *err)
{
    char *path = work_folder_path(opts->dst, "judged");
    int st;

    if (!path)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    st = write_judged(plan, opts, path, stats, err);
    convert_drop(path);
    free(path);
    return st;
}
