/* calibrate.c -- runs a text through the exact model and keeps what rounding needs.
 *
 * The work: an exact .erne in a folder beside the result (work_folder.h); passes over the
 * text, each for as many inputs as the memory allows; a factor an input, in a file of
 * factors that is mapped afterwards.
 */
#include "converters/calibrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/calibrate_sums.h"
#include "converters/json_file.h"
#include "converters/work_folder.h"
#include "quantize/gptq.h"
#include "runtime/watch.h"

enum { CHUNK = 512, MAX_CHUNKS = 32, MIN_TOKENS = 256 };
enum { JUDGE_CHUNKS = 4, JUDGE_SHARE = 4 }; /* at most, and of n chunks one: held out */

struct calibration {
    struct pulse *pulse;
    struct work_folder work;
    char *exact_path, *factors_path;
    struct erne_engine *engine;
    struct erne_session *session;
    struct pf_file *file; /* of factors */
    struct pf_map map;
    int32_t *tokens; /* [n_tokens], and behind them those that the judge is given */
    size_t n_tokens, chunk, n_held_out; /* chunks */
    struct sums sums;
    struct judge judge;
    uint64_t max_bytes; /* for sums at a time */
};

/* ------------------------------------------------------------------- text */

/* The last chunks are for judging what the others led to; a single one is for both. */
static void divide_text(struct calibration *c, size_t n_chunks)
{
    c->n_held_out = n_chunks / JUDGE_SHARE;
    if (c->n_held_out > JUDGE_CHUNKS)
        c->n_held_out = JUDGE_CHUNKS;
    if (c->n_held_out == 0 && n_chunks > 1)
        c->n_held_out = 1;
    n_chunks -= c->n_held_out;
    c->n_tokens = (n_chunks < MAX_CHUNKS ? n_chunks : MAX_CHUNKS) * c->chunk;
}

/* What is not UTF-8 may be more tokens than bytes: a guess that was too small is made
 * once. */
static int encode(struct calibration *c, const struct erne_tokenizer *tokenizer,
                  const char *text, size_t n_bytes, size_t *n, struct erne_error *err)
{
    const struct erne_text_span all = { 0, n_bytes };
    const struct erne_text whole = { text, n_bytes, &all, 1 };
    size_t cap = n_bytes / 2 + 16;
    int st;

    *n = 0;
    do {
        free(c->tokens);
        c->tokens = malloc(cap * sizeof(*c->tokens));
        if (!c->tokens)
            return erne_fail(err, ERNE_ENOMEM, "no memory for %zu tokens", cap);
        st = erne_tokenizer_encode(tokenizer, &whole, c->tokens, cap, n, err);
    } while (st == ERNE_EINVAL && *n > cap && (cap = *n));
    return st;
}

/* The text, before there is a model. */
static int read_tokens(struct calibration *c, const struct convert_plan *plan,
                       const char *path, struct erne_error *err)
{
    const size_t n_ctx = (size_t)plan->src->desc.n_ctx_train;
    struct erne_tokenizer *tokenizer = NULL;
    struct erne_error why = { 0 };
    char *text = NULL;
    size_t n_bytes, n = 0;
    int st;

    ERNE_TRY(text_file_load(&text, &n_bytes, path, err));
    st = erne_tokenizer_open(&tokenizer, plan->tokenizer, plan->tokenizer_bytes, &why);
    if (st == 0)
        st = encode(c, tokenizer, text, n_bytes, &n, &why);
    erne_tokenizer_close(&tokenizer);
    free(text);
    if (st < 0)
        return erne_fail(err, st, "%s: %s", path, why.text);
    if (n < MIN_TOKENS)
        return erne_fail(err, ERNE_EINVAL, "%s: %zu tokens are too few to calibrate: %d",
                         path, n, MIN_TOKENS);
    c->chunk = n_ctx < CHUNK ? n_ctx : CHUNK;
    if (n < c->chunk)
        c->chunk = n;
    divide_text(c, n / c->chunk);
    return ERNE_OK;
}

/* ------------------------------------------------------------------ model */

/* The checkpoint without loss, as a model that runs. */
static int open_exact(struct calibration *c, const struct erne_convert_opts *opts,
                      struct erne_error *err)
{
    struct erne_engine_opts eo = erne_engine_opts_default();
    struct erne_session_opts so = erne_session_opts_default();
    struct erne_convert_opts exact = *opts;

    c->exact_path = work_folder_path(opts->dst, "exact");
    c->factors_path = work_folder_path(opts->dst, "factors");
    if (!c->exact_path || !c->factors_path)
        return erne_fail(err, ERNE_ENOMEM, "no memory to calibrate");
    exact.dst = c->exact_path;
    exact.scheme = "source";
    exact.n_rules = 0;
    exact.calibrate = NULL;
    exact.golden = "off";
    exact.target_bpw = NULL;
    exact.overwrite = true;
    exact.report = NULL;
    exact.log = NULL; /* what there is to say was said when the plan was made */
    ERNE_TRY(erne_convert(&exact, err));
    eo.n_threads = opts->n_threads;
    ERNE_TRY(erne_engine_open(&c->engine, c->exact_path, &eo, err));
    erne_engine_set_ask(c->engine, pulse_ask(c->pulse));
    so.n_ctx = so.n_batch = (int)c->chunk;
    so.kv_type = "f32";
    so.n_draft = 0;
    return erne_session_create(&c->session, c->engine, &so, err);
}

/* ----------------------------------------------------------------- passes */

/* Reads the text once. */
static int run_text(struct calibration *c, size_t first_input, struct erne_error *err)
{
    const uint64_t n_chunks = c->n_tokens / c->chunk;
    int st = ERNE_OK;

    for (uint64_t i = 0; i < n_chunks && st == 0; i++) {
        st = pulse_tell(c->pulse, first_input * n_chunks + i, (c->sums.n + 1) * n_chunks,
                        "calibrating", err);
        if (st == 0)
            st = erne_session_rewind(c->session, 0, err);
        if (st == 0)
            st = erne_session_eval(c->session, c->tokens + i * c->chunk, c->chunk, NULL,
                                   err);
    }
    return st;
}

/* Sums of inputs first .. end become factors in the file. */
static int write_factors(struct calibration *c, size_t first, size_t end,
                         struct erne_error *err)
{
    const struct erne_ask ask = pulse_ask(c->pulse);

    for (size_t i = first; i < end; i++) {
        struct sums_input *input = &c->sums.inputs[i];
        const size_t n = (size_t)(input->k * input->k);
        double *work = malloc(n * sizeof(*work));
        float *factor = malloc(n * sizeof(*factor));
        int st = ERNE_ENOMEM;

        if (work && factor)
            st = gptq_factor(factor, input->sum, input->n_few, work, input->k, &ask);
        free(work);
        free(input->sum);
        input->sum = NULL;
        if (st == 0)
            st = pf_file_write_at(c->file, factor, n * sizeof(*factor),
                                  input->offset * sizeof(*factor));
        free(factor);
        input->is_done = st == 0;
        if (st == ERNE_EINVAL) /* this layer is rounded without */
            continue;
        if (st < 0)
            return erne_fail(err, st, "%s: %s", c->factors_path, erne_status_text(st));
    }
    return ERNE_OK;
}

/* As many inputs from `first` on as the memory holds, at least one. */
static int begin_pass(struct calibration *c, size_t first, size_t *end,
                      struct erne_error *err)
{
    uint64_t left = c->max_bytes;

    for (*end = first; *end < c->sums.n; ++*end) {
        struct sums_input *input = &c->sums.inputs[*end];
        const size_t n_bytes = (size_t)(input->k * input->k) * sizeof(float);

        if (n_bytes > left && *end > first)
            break;
        left -= n_bytes < left ? n_bytes : left;
        input->sum = calloc(1, n_bytes);
        if (!input->sum)
            return erne_fail(err, ERNE_ENOMEM, "no memory to calibrate");
    }
    c->sums.counts = first == 0;
    return ERNE_OK;
}

static int run_passes(struct calibration *c, struct erne_error *err)
{
    size_t first = 0, end;

    do {
        ERNE_TRY(begin_pass(c, first, &end, err));
        ERNE_TRY(run_text(c, first, err));
        ERNE_TRY(write_factors(c, first, end, err));
        first = end;
    } while (first < c->sums.n);
    return ERNE_OK;
}

/* --------------------------------------------------------------- the whole */

/* Half as long chunks: twice as many places of the text. */
static int make_judge(struct calibration *c, const struct erne_convert_opts *opts,
                      struct erne_error *err)
{
    const bool is_apart = c->n_held_out > 0;
    const int32_t *tokens = c->tokens + (is_apart ? c->n_tokens : 0);
    char *path = work_folder_path(opts->dst, "logits");
    int st;

    if (!path)
        return erne_fail(err, ERNE_ENOMEM, "no memory to calibrate");
    st = judge_init(&c->judge, c->engine, tokens, 2 * (is_apart ? c->n_held_out : 1),
                    c->chunk / 2, path, err);
    free(path);
    return st;
}

static void close_model(struct calibration *c)
{
    erne_session_destroy(&c->session);
    erne_engine_close(&c->engine);
    if (c->exact_path)
        convert_drop(c->exact_path);
}

static int make(struct calibration *c, const struct convert_plan *plan,
                const struct erne_convert_opts *opts, struct erne_error *err)
{
    const struct erne_watch watch = { sums_see, &c->sums };
    int st;

    ERNE_TRY(read_tokens(c, plan, opts->calibrate, err));
    ERNE_TRY(work_folder_open(&c->work, opts->dst, err));
    ERNE_TRY(open_exact(c, opts, err));
    ERNE_TRY(sums_init(&c->sums, plan, erne_session_watch(c->session, &watch),
                       plan->n_threads, err));
    st = pf_file_open(&c->file, c->factors_path, PF_WRITE_NEW);
    if (st < 0)
        return erne_fail(err, st, "%s: %s", c->factors_path, pf_last_error());
    ERNE_TRY(run_passes(c, err));
    erne_session_destroy(&c->session);
    st = pf_map_file(&c->map, c->file);
    if (st < 0)
        return erne_fail(err, st, "%s: %s", c->factors_path, pf_last_error());
    return make_judge(c, opts, err);
}

int calibration_make(struct calibration **out, const struct convert_plan *plan,
                     const struct erne_convert_opts *opts, struct erne_error *err)
{
    struct calibration *c = calloc(1, sizeof(*c));
    int st;

    if (!c)
        return erne_fail(err, ERNE_ENOMEM, "no memory to calibrate");
    c->pulse = plan->pulse;
    c->max_bytes = plan->max_ram / 2;
    st = make(c, plan, opts, err);
    if (st < 0)
        calibration_free(&c);
    else
        *out = c;
    return st;
}

void calibration_free(struct calibration **calibration)
{
    struct calibration *c = *calibration;

    if (!c)
        return;
    judge_deinit(&c->judge);
    close_model(c);
    pf_map_close(&c->map);
    pf_file_close(&c->file);
    if (c->factors_path)
        pf_path_remove(c->factors_path);
    work_folder_close(&c->work);
    sums_deinit(&c->sums);
    free(c->tokens);
    free(c->exact_path);
    free(c->factors_path);
    free(c);
    *calibration = NULL;
}

const float *calibration_factor(const struct calibration *c, size_t tensor)
{
    const int64_t input = c->sums.input_of_tensor[tensor];

    if (input < 0 || !c->sums.inputs[input].is_done)
        return NULL;
    return (const float *)(const void *)c->map.data + c->sums.inputs[input].offset;
}

struct erne_engine *calibration_engine(const struct calibration *c)
{
    return c->engine;
}

const struct judge *calibration_judge(const struct calibration *c)
{
    return &c->judge;
}

int64_t calibration_n_tokens(const struct calibration *c)
{
    return (int64_t)c->n_tokens;
}

static int compare_counts(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int64_t calibration_given(const struct calibration *c, size_t tensor)
{
    const struct erne_tensor_spec *spec = &c->sums.plan->tensors[tensor].layout->spec;

    if (spec->expert < 0 || spec->role != ERNE_ROLE_GATE_UP)
        return -1;
    return calibration_reached(c, tensor);
}

int64_t calibration_reached(const struct calibration *c, size_t tensor)
{
    return c->sums.seen[tensor];
}

struct calibration_reach calibration_reach(const struct calibration *c)
{
    struct calibration_reach reach = { 0 };
    const struct convert_plan *plan = c->sums.plan;
    int64_t *counts = calloc(plan->n + 1, sizeof(*counts));

    if (!counts)
        return reach;
    for (size_t i = 0; i < plan->n; i++)
        if (calibration_given(c, i) >= 0)
            counts[reach.n_experts++] = calibration_given(c, i);
    qsort(counts, (size_t)reach.n_experts, sizeof(*counts), compare_counts);
    for (int64_t i = 0; i < reach.n_experts; i++)
        reach.n_reached += counts[i] > 0;
    reach.median = counts[reach.n_experts / 2];
    free(counts);
    return reach;
}
