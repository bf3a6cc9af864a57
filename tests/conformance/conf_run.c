/* conf_run.c -- the loops of the conformance test. See conf_run.h.
 *
 * One implementation passes a trial when it gives the reference's numbers within the
 * table's bound, leaves everything else in memory alone, and gives the same bits with 1,
 * 2 and 3 threads, or on a device when it is run again.
 */
#include "tests/conformance/conf_run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct op_case_table *const tables[ERNE_OP_COUNT] = {
#define X(NAME, name, least, most) [ERNE_OP_##NAME] = &erne_check_##name,
    ERNE_OP_LIST(X)
#undef X
};

const struct op_case_table *conf_table(enum erne_op op)
{
    return tables[op];
}

bool conf_wants_op(const struct conf_run *run, enum erne_op op)
{
    return !run->opts.op || strcmp(run->opts.op, erne_op_name(op)) == 0;
}

/* ----------------------------------------------------------------- lanes */

static bool is_device(const struct erne_backend_fns *fns)
{
    return fns->map != NULL;
}

/* One instance of the lane's backend; 1: not on this machine. */
static int open_instance(struct conf_lane *lane, const struct erne_backend_opts *opts)
{
    struct erne_error err = { 0 };
    const int st = lane->fns->open(&lane->be[lane->n_be], opts, &err);

    if (st == ERNE_EUNSUPPORTED)
        return 1;
    if (st < 0) {
        fprintf(stderr, "erne-check: %s: %s\n", lane->name, err.text);
        return st;
    }
    lane->n_threads[lane->n_be++] = opts->n_threads;
    return 0;
}

static int open_lane(struct conf_run *run, const struct erne_backend_fns *fns,
                     const char *level, int device, bool bench)
{
    struct conf_lane *lane = &run->lanes[run->n_lanes];
    const int n_be = bench || is_device(fns) ? 1 : CONF_THREADS;

    if (run->n_lanes == CONF_LANES_MAX)
        return 0;
    *lane = (struct conf_lane){ .fns = fns };
    if (is_device(fns))
        snprintf(lane->name, sizeof(lane->name), "%s:%d.%s", fns->name, device, level);
    else
        snprintf(lane->name, sizeof(lane->name), "%s.%s", fns->name, level);
    for (int i = 0; i < n_be; i++) {
        const struct erne_backend_opts opts = {
            .isa = level,
            .n_threads = bench ? run->opts.n_threads : i + 1,
            .device = device,
            .hook = run->opts.hook,
        };
        const int st = open_instance(lane, &opts);

        if (st != 0)
            return st < 0 ? st : 0;
    }
    run->n_lanes++;
    return 0;
}

static int count_device(void *user, const struct erne_device_info *info)
{
    (void)info;
    ++*(int *)user;
    return 0;
}

/* Whether the options ask for this device of a backend. */
static bool wants_device(const struct conf_run *run, const struct erne_backend_fns *fns,
                         int device)
{
    char name[64];

    snprintf(name, sizeof(name), "%s:%d", fns->name, device);
    return !run->opts.backend || strcmp(run->opts.backend, fns->name) == 0 ||
           strcmp(run->opts.backend, name) == 0;
}

static int open_lanes(struct conf_run *run, const struct erne_backend_fns *fns,
                      bool bench)
{
    static const char *const one_level[] = { "auto", NULL };
    const char *const *levels = fns->levels ? fns->levels : one_level;
    int n_devices = 0;

    if (fns->devices)
        ERNE_TRY(fns->devices(count_device, &n_devices));
    for (int d = 0; d < n_devices; d++)
        for (size_t i = 0; levels[i]; i++)
            if (wants_device(run, fns, d))
                ERNE_TRY(open_lane(run, fns, levels[i], d, bench));
    return 0;
}

int conf_open(struct conf_run *run, const struct erne_backend_fns *const *backends,
              const struct conf_options *opts, bool bench)
{
    const struct erne_backend_fns *reference = erne_backend_find("reference");
    const struct erne_backend_opts reference_opts = { .isa = "auto", .n_threads = 1 };

    *run = (struct conf_run){ .opts = *opts };
    if (!reference)
        return ERNE_EFAIL;
    ERNE_TRY(reference->open(&run->reference, &reference_opts, NULL));
    for (size_t b = 0; backends[b]; b++)
        if (backends[b] != reference)
            ERNE_TRY(open_lanes(run, backends[b], bench));
    return 0;
}

void conf_close(struct conf_run *run)
{
    for (int i = 0; i < run->n_lanes; i++)
        for (int b = 0; b < run->lanes[i].n_be; b++)
            run->lanes[i].fns->close(run->lanes[i].be[b]);
    if (run->reference)
        run->reference->fns->close(run->reference);
}

/* -------------------------------------------------------------- one node */

static void unmap_first(struct op_trial *t, int n)
{
    struct erne_backend *be = t->node.backend;

    for (int i = 0; i < n; i++) {
        const struct erne_range range = op_trial_range(t, i);

        if (range.n_bytes > 0)
            be->fns->unmap(be, range.base);
    }
}

static int map_all(struct op_trial *t)
{
    struct erne_backend *be = t->node.backend;

    for (int i = 0; i < t->n_tensors; i++) {
        const struct erne_range range = op_trial_range(t, i);
        const int st = range.n_bytes > 0 ? be->fns->map(be, &range) : 0;

        if (st < 0) {
            unmap_first(t, i);
            return st;
        }
    }
    return 0;
}

/* All but the weights, which came with their mapping. */
static int copy_all(struct op_trial *t, bool up)
{
    struct erne_backend *be = t->node.backend;

    for (int i = 0; is_device(be->fns) && i < t->n_tensors; i++) {
        const struct erne_range range = op_trial_range(t, i);
        uint8_t *base = (uint8_t *)(uintptr_t)range.base; /* the trial's own memory */

        if (range.n_bytes > 0 && range.mem != ERNE_MEM_WEIGHT)
            ERNE_TRY(up ? be->fns->upload(be, base, range.n_bytes)
                        : be->fns->download(be, base, range.n_bytes));
    }
    return 0;
}

int conf_upload(struct op_trial *t)
{
    return copy_all(t, true);
}

int conf_download(struct op_trial *t)
{
    return copy_all(t, false);
}

static void release_state(struct op_trial *t)
{
    if (t->node.impl->release)
        t->node.impl->release(t->node.backend, &t->node);
    t->node.state = NULL;
}

int conf_prepare(struct op_trial *t, const struct conf_row *row, struct erne_backend *be)
{
    struct erne_node *node = &t->node;
    int st;

    node->state = NULL;
    node->backend = be;
    node->impl = row->impl;
    st = erne_op_impl_prepare(row->impl, be, node);
    if (st < 0)
        return st;
    if (row->impl->scratch)
        st = be->fns->reserve_scratch(be, row->impl->scratch(be, node));
    if (st == 0 && is_device(be->fns))
        st = map_all(t);
    if (st < 0)
        release_state(t);
    return st;
}

int conf_run_node(struct op_trial *t)
{
    struct erne_node *const nodes[] = { &t->node };

    return t->node.backend->fns->run(t->node.backend, nodes, 1, &t->step);
}

void conf_release(struct op_trial *t)
{
    release_state(t);
    if (is_device(t->node.backend->fns))
        unmap_first(t, t->n_tensors);
}

void conf_reference(struct conf_run *run, struct op_trial *t)
{
    const struct conf_row row = { .impl = run->reference->fns->ops[t->node.op][0] };

    if (conf_prepare(t, &row, run->reference) < 0 || conf_run_node(t) < 0)
        abort();
    conf_release(t);
    op_trial_set_reference(t, tables[t->node.op]);
}

/* ------------------------------------------------------------- one trial */

static void report_failure(const struct conf_run *run, const struct conf_place *at,
                           const struct op_trial *t, int n_threads, const char *text)
{
    if (run->opts.out)
        fprintf(run->opts.out,
                "FAIL %s/%s/%s/%s: %s input, trial seed %" PRIu64 ", %d threads: %s\n",
                erne_op_name(at->row->op), at->row->lane->name, at->row->impl->name,
                at->case_name, op_fill_name(t->fill), at->seed, n_threads, text);
}

static void note_worst(const struct conf_place *at, const struct op_trial *t,
                       const struct op_verdict *v)
{
    struct conf_row *row = at->row;

    if (v->worst <= row->worst)
        return;
    row->worst = v->worst;
    snprintf(row->worst_text, sizeof(row->worst_text), "%s: %s input: %s", at->case_name,
             op_fill_name(t->fill), v->text);
}

/* One run of a prepared node, checked against the bound (the first of a trial) or against
 * the bits of the first. */
static int check_run(const struct conf_run *run, const struct conf_place *at,
                     struct op_trial *t, int which, bool again, uint8_t *first)
{
    const struct op_buffer *dst = op_trial_dst_buffer(t);
    struct op_verdict v = { .ok = true };
    int st;

    op_trial_restore(t);
    st = conf_upload(t);
    if (st == 0)
        st = conf_run_node(t);
    if (st == 0)
        st = conf_download(t);
    if (st < 0) {
        report_failure(run, at, t, at->row->lane->n_threads[which], erne_status_text(st));
        return st;
    }
    if (which == 0 && !again) {
        v = op_trial_compare(t);
        note_worst(at, t, &v);
        memcpy(first, dst->block, dst->block_bytes);
    } else if (memcmp(first, dst->block, dst->block_bytes) != 0) {
        v = (struct op_verdict){ .ok = false };
        snprintf(v.text, sizeof(v.text), "not the bits of %s",
                 again ? "the first run" : "1 thread");
    }
    if (!v.ok)
        report_failure(run, at, t, at->row->lane->n_threads[which], v.text);
    return v.ok ? 0 : ERNE_EFAIL;
}

/* With one number of threads; a device may replay what it recorded, so it runs twice.
 * 1: declined. */
static int check_threads(const struct conf_run *run, const struct conf_place *at,
                         struct op_trial *t, int which, uint8_t *first)
{
    int st = conf_prepare(t, at->row, at->row->lane->be[which]);

    if (st == ERNE_EUNSUPPORTED)
        return 1;
    if (st < 0) {
        report_failure(run, at, t, at->row->lane->n_threads[which], erne_status_text(st));
        return st;
    }
    st = check_run(run, at, t, which, false, first);
    if (st == 0 && is_device(at->row->lane->fns))
        st = check_run(run, at, t, which, true, first);
    conf_release(t);
    return st;
}

bool conf_check(struct conf_run *run, const struct conf_place *at, struct op_trial *t)
{
    uint8_t *first = malloc(op_trial_dst_buffer(t)->block_bytes);
    int st = first ? 0 : ERNE_ENOMEM;

    for (int i = 0; st == 0 && i < at->row->lane->n_be; i++)
        st = check_threads(run, at, t, i, first);
    free(first);
    if (st == 1)
        return true;
    at->row->n_trials++;
    at->row->n_failed += st < 0;
    return st == 0;
}

/* ----------------------------------------------------------------- loops */

static struct conf_row *row_of(struct conf_run *run, enum erne_op op,
                               const struct conf_lane *lane,
                               const struct erne_op_impl *impl)
{
    for (int i = 0; i < run->n_rows; i++)
        if (run->rows[i].op == op && run->rows[i].lane == lane &&
            run->rows[i].impl == impl)
            return &run->rows[i];
    if (run->n_rows == CONF_ROWS_MAX)
        abort();
    run->rows[run->n_rows] = (struct conf_row){ .op = op, .lane = lane, .impl = impl };
    return &run->rows[run->n_rows++];
}

void conf_each_impl(struct conf_run *run, enum erne_op op, const char *case_name,
                    void (*visit)(struct conf_run *run, struct conf_row *row, void *user),
                    void *user)
{
    for (int i = 0; i < run->n_lanes; i++) {
        const struct conf_lane *lane = &run->lanes[i];
        const struct erne_op_impl *const *impl = lane->fns->ops[op];

        for (; impl && *impl; impl++) {
            char label[CONF_LABEL_MAX];

            snprintf(label, sizeof(label), "%s/%s/%s/%s", erne_op_name(op), lane->name,
                     (*impl)->name, case_name);
            if (!run->opts.filter || strstr(label, run->opts.filter))
                visit(run, row_of(run, op, lane, *impl), user);
        }
    }
}

static void count_one(struct conf_run *run, struct conf_row *row, void *user)
{
    (void)run;
    (void)row;
    ++*(int *)user;
}

bool conf_has_impl(struct conf_run *run, enum erne_op op, const char *case_name)
{
    int n = 0;

    conf_each_impl(run, op, case_name, count_one, &n);
    return n > 0;
}

/* Whether the implementation takes the case, into its row. */
static void ask_one(struct conf_run *run, struct conf_row *row, void *user)
{
    struct op_trial *t = user;

    (void)run;
    if (conf_prepare(t, row, row->lane->be[0]) == 0) {
        row->n_cases++;
        conf_release(t);
    } else {
        row->n_declined++;
    }
}

struct check_call {
    struct op_trial *t;
    const char *case_name;
    uint64_t seed;
};

static void check_one(struct conf_run *run, struct conf_row *row, void *user)
{
    struct check_call *call = user;
    const struct conf_place at = { row, call->case_name, call->seed };

    conf_check(run, &at, call->t);
}

/* The same numbers for the same seed, operator, case and trial, whatever else runs. */
static uint64_t trial_seed(const struct conf_run *run, enum erne_op op, size_t i, int n)
{
    return run->opts.seed ^ ((uint64_t)op << 56) ^ ((uint64_t)i << 24) ^
           ((uint64_t)n << 8);
}

/* Trial n of a case: even ones have normal numbers, odd ones an adversarial fill. */
static void test_trial(struct conf_run *run, enum erne_op op, size_t i, int n,
                       const char *case_name)
{
    struct check_call call = { .case_name = case_name,
                               .seed = trial_seed(run, op, i, n) };
    struct op_trial dice = { .rng = call.seed }, t;
    const uint64_t pick = 1 + op_random(&dice) % (OP_FILL_COUNT - 1);

    op_trial_init(&t, tables[op], op, i, n % 2 ? (enum op_fill)pick : OP_FILL_NORMAL,
                  call.seed);
    if (n == 0)
        conf_each_impl(run, op, case_name, ask_one, &t);
    if (run->opts.rounds > 0) {
        conf_reference(run, &t);
        call.t = &t;
        conf_each_impl(run, op, case_name, check_one, &call);
    }
    op_trial_deinit(&t);
}

/* A round is two trials; without rounds, the case is only offered. */
static void test_case(struct conf_run *run, enum erne_op op, size_t i)
{
    char name[OP_CASE_NAME_MAX];

    tables[op]->describe(i, name);
    if (!conf_has_impl(run, op, name))
        return;
    for (int n = 0; n == 0 || n < 2 * run->opts.rounds; n++)
        test_trial(run, op, i, n, name);
}

int conf_test(struct conf_run *run)
{
    int n_failed = 0;

    for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++)
        for (size_t i = 0; conf_wants_op(run, op) && i < tables[op]->count(); i++)
            if (!tables[op]->is_bench(i))
                test_case(run, op, i);
    for (int i = 0; i < run->n_rows; i++)
        n_failed += run->rows[i].n_failed;
    return n_failed;
}

void conf_list(struct conf_run *run)
{
    run->opts.rounds = 0;
    conf_test(run);
}
