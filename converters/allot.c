/* allot.c -- candidates, trials, and the choice. See allot.h. */
#include "converters/allot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/budget.h"
#include "converters/calibrate.h"
#include "converters/work_folder.h"
#include "runtime/watch.h"

/* From the smallest on. */
static const char *const candidates[] = {
    "w2-g64a", "w2-g32a", "w4-g64", "w4-g64a", "w4-g32a", "w8",
};
enum { N_CANDIDATES = 6 };
enum { TRIAL = 3, TRIAL_CHUNKS = 1 }; /* the candidate that the model runs with */
_Static_assert(ERNE_ARRAY_LEN(candidates) == N_CANDIDATES, "count them");
_Static_assert((int)N_CANDIDATES <= (int)BUDGET_MAX_CHOICES, "grow it");

enum group { GROUP_TEXT, GROUP_VISION, GROUP_COUNT };

/* Tensors that get the same scheme. */
struct unit {
    enum group group;
    size_t first; /* of its tensors */
    uint64_t n_weights;
    struct budget_unit budget; /* bytes from the start; losses when all are measured */
    struct convert_loss loss[N_CANDIDATES];
    double kld; /* of the trial; 0: not measured, or the text has no use for the unit */
};

struct allotment {
    struct convert_plan *plan;
    const struct erne_convert_opts *opts;
    struct budget_target target;
    struct unit *units;
    size_t n;
    size_t *unit_of;             /* [plan->n] tensors; SIZE_MAX: fixed */
    struct erne_scheme *schemes; /* [plan->n] */
    char *path;                  /* of the candidates' file */
};

/* ------------------------------------------------------------------- units */

/* Of the tower or what is between it and the language model, norms and biases too. */
static bool is_tower(const struct convert_tensor *t)
{
    static const char *const parts[] = { "vision.", "resampler.", "projector." };
    bool is_part = false;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(parts); i++)
        is_part |= strncmp(t->layout->spec.name, parts[i], strlen(parts[i])) == 0;
    return is_part;
}

static enum group group_of(const struct allotment *a, const struct convert_tensor *t)
{
    const int32_t expert = t->layout->spec.expert;
    const bool is_vision = expert >= 0 && expert >= a->plan->src->desc.moe.n_experts;

    return is_tower(t) || is_vision ? GROUP_VISION : GROUP_TEXT;
}

/* Without the rows that pad gate and up. */
static uint64_t weights_of(const struct convert_tensor *t)
{
    const struct erne_tensor_spec *s = &t->layout->spec;
    const int64_t n = s->role == ERNE_ROLE_GATE_UP ? 2 * s->n_ff : s->n;

    return (uint64_t)n * (uint64_t)s->k;
}

static bool is_same_unit(const struct allotment *a, const struct convert_tensor *x,
                         const struct convert_tensor *y)
{
    const struct erne_tensor_spec *s = &x->layout->spec, *t = &y->layout->spec;

    return s->layer >= 0 && s->layer == t->layer && s->role == t->role &&
           (s->expert >= 0) == (t->expert >= 0) && group_of(a, x) == group_of(a, y);
}

/* What a tensor adds to its unit in each candidate scheme. */
static int add_bytes(struct unit *u, const struct convert_tensor *t,
                     struct erne_error *err)
{
    const struct erne_tensor_spec *spec = &t->layout->spec;

    for (int c = 0; c < N_CANDIDATES; c++) {
        struct erne_scheme scheme;
        struct erne_planes planes;

        ERNE_TRY(erne_scheme_parse(&scheme, candidates[c]));
        if (erne_planes_init(&planes, scheme, spec->n, spec->k) < 0)
            return erne_fail(err, ERNE_EFORMAT, "%s: cannot be stored", spec->name);
        u->budget.bytes[c] += planes.total_bytes;
    }
    return ERNE_OK;
}

/* Fills units, unit_of and schemes. */
static int find_units(struct allotment *a, struct erne_error *err)
{
    for (size_t i = 0; i < a->plan->n; i++) {
        const struct convert_tensor *t = &a->plan->tensors[i];
        size_t u = a->n;

        a->schemes[i] = t->scheme;
        a->unit_of[i] = SIZE_MAX;
        if (t->is_fixed || (is_tower(t) && a->target.vision == 0.0))
            continue;
        while (u > 0 && !is_same_unit(a, &a->plan->tensors[a->units[u - 1].first], t))
            u--;
        if (u == 0) {
            a->units[a->n] = (struct unit){ .group = group_of(a, t), .first = i };
            u = ++a->n;
        }
        a->unit_of[i] = u - 1;
        a->units[u - 1].n_weights += weights_of(t);
        ERNE_TRY(add_bytes(&a->units[u - 1], t, err));
    }
    return ERNE_OK;
}

/* ------------------------------------------------------------------ trials */

/* Lends the exact model the unit's tensors of a rounded one, or gives its own back. */
static void lend(const struct allotment *a, size_t unit, struct erne_file_tensor *to,
                 const struct erne_file_tensor *from)
{
    for (size_t i = 0; i < a->plan->n; i++)
        if (a->unit_of[i] == unit)
            to[i] = from[i];
}

/* How far predictions move when one unit is rounded as in the file `rounded`. */
static int run_trial(struct allotment *a, size_t unit,
                     const struct erne_file_tensor *rounded, struct erne_error *err)
{
    const struct judge *judge = calibration_judge(a->plan->calibration);
    struct erne_engine *engine = calibration_engine(a->plan->calibration);
    const size_t n_chunks =
        judge->n_chunks < TRIAL_CHUNKS ? judge->n_chunks : TRIAL_CHUNKS;
    size_t n;
    struct erne_file_tensor *tensors = erne_engine_tensors(engine, &n);
    struct erne_file_tensor *own = malloc(n * sizeof(*own));
    struct judge_score score = { 0 };
    int st;

    if (!own)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    memcpy(own, tensors, n * sizeof(*own));
    lend(a, unit, tensors, rounded);
    st = judge_score(&score, judge, engine, n_chunks, err);
    lend(a, unit, tensors, own);
    free(own);
    a->units[unit].kld = score.kld > 0 ? score.kld : 0;
    return st;
}

/* All units that a text reaches. */
static int run_trials(struct allotment *a, struct erne_error *err)
{
    struct erne_model_file rounded;
    int st;

    ERNE_TRY(erne_model_file_open(&rounded, a->path, err));
    st = ERNE_OK;
    for (size_t u = 0; u < a->n && st == 0; u++) {
        if (a->units[u].group != GROUP_TEXT)
            continue;
        st = pulse_tell(a->plan->pulse, u, a->n, a->plan->records[a->units[u].first].name,
                        err);
        if (st == 0)
            st = run_trial(a, u, rounded.tensors, err);
    }
    erne_model_file_close(&rounded);
    return st;
}

static void add_losses(struct allotment *a, const struct convert_stats *stats,
                       int candidate)
{
    for (size_t i = 0; i < a->plan->n; i++)
        if (a->unit_of[i] != SIZE_MAX)
            convert_loss_add(&a->units[a->unit_of[i]].loss[candidate], &stats->losses[i]);
}

/* The plan with all units in one scheme. */
static int assign_candidate(struct allotment *a, int candidate, struct erne_error *err)
{
    struct erne_scheme scheme;

    ERNE_TRY(erne_scheme_parse(&scheme, candidates[candidate]));
    for (size_t i = 0; i < a->plan->n; i++)
        if (a->unit_of[i] != SIZE_MAX)
            a->schemes[i] = scheme;
    return convert_plan_assign(a->plan, a->opts, a->schemes, err);
}

/* What a sample of each unit costs; where that is the candidate of a trial, how much it
 * matters. */
static int try_candidate(struct allotment *a, int candidate, struct erne_error *err)
{
    struct convert_stats stats;
    int st;

    ERNE_TRY(assign_candidate(a, candidate, err));
    ERNE_TRY(convert_stats_init(&stats, a->plan, err));
    st = convert_run(a->plan, NULL, &stats, err);
    if (st == 0)
        add_losses(a, &stats, candidate);
    if (st == 0 && candidate == TRIAL) {
        st = convert_write_aside(a->plan, a->path, &stats, err);
        if (st == 0)
            st = run_trials(a, err);
        convert_drop(a->path);
    }
    convert_stats_deinit(&stats);
    return st;
}

/* ------------------------------------------------------------------ choice */

static double relative_error(const struct unit *u, int candidate)
{
    const struct convert_loss *loss = &u->loss[candidate];

    return loss->ref2 > 0 ? loss->err2 / loss->ref2 : 0;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* What a weight costs a relative error of one, as the median over the units that were
 * measured; scratch [a->n]. 1 where nothing was. */
static double common_price(const struct allotment *a, double *scratch)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++) {
        const struct unit *u = &a->units[i];
        const double error = relative_error(u, TRIAL) * (double)u->n_weights;

        if (u->kld > 0 && error > 0)
            scratch[n++] = u->kld / error;
    }
    if (n == 0)
        return 1.0;
    qsort(scratch, n, sizeof(*scratch), compare_doubles);
    return scratch[n / 2];
}

/* For whoever wants to know why. */
static void log_unit(const struct allotment *a, const struct unit *u, int choice)
{
    char line[256];

    snprintf(line, sizeof(line), "%s -> %s: %s alone costs %.3g, this %.3g of that",
             a->plan->tensors[u->first].layout->spec.name, candidates[choice],
             candidates[TRIAL], u->kld,
             u->loss[TRIAL].cost > 0 ? u->loss[choice].cost / u->loss[TRIAL].cost : 0.0);
    if (a->opts->log)
        a->opts->log(a->opts->log_user, ERNE_LOG_DEBUG, line);
}

/* Divergences add up, and each grows as the square of the errors. */
static double foretell(const struct unit *u, int candidate, double price)
{
    if (u->kld > 0 && u->loss[TRIAL].cost > 0)
        return u->kld * u->loss[candidate].cost / u->loss[TRIAL].cost;
    return price * relative_error(u, candidate) * (double)u->n_weights;
}

/* Bytes and weights of what a group has beside its units. */
static uint64_t fixed_bytes(const struct allotment *a, enum group group,
                            uint64_t *weights)
{
    uint64_t bytes = 0;

    *weights = 0;
    for (size_t i = 0; i < a->plan->n; i++) {
        const struct convert_tensor *t = &a->plan->tensors[i];
        const bool is_outside = is_tower(t) && a->target.vision == 0.0;

        if (group_of(a, t) != group || is_outside)
            continue;
        *weights += weights_of(t);
        if (a->unit_of[i] == SIZE_MAX)
            bytes += t->planes.total_bytes;
    }
    return bytes;
}

static double bits_of(const struct allotment *a, enum group group)
{
    return group == GROUP_VISION && a->target.vision > 0.0 ? a->target.vision
                                                           : a->target.text;
}

/* Bytes for all units of a group. EINVAL: fewer than they take at least, or more than
 * they can have. */
static int find_room(const struct allotment *a, enum group group, uint64_t *room,
                     struct erne_error *err)
{
    const char *what = group == GROUP_VISION ? " for vision" : "";
    const double bits = bits_of(a, group);
    uint64_t n_weights, fixed = fixed_bytes(a, group, &n_weights);
    const uint64_t budget = (uint64_t)(bits / 8.0 * (double)n_weights);
    uint64_t least = fixed, most = fixed;
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++)
        if (a->units[i].group == group) {
            least += budget_least(&a->units[i].budget, N_CANDIDATES);
            most += budget_most(&a->units[i].budget, N_CANDIDATES);
            n++;
        }
    *room = budget > fixed ? budget - fixed : 0;
    if (least > budget)
        return erne_fail(
            err, ERNE_EINVAL, "%g bits a weight are too few%s: it takes %.2f%s", bits,
            what, 8.0 * (double)least / (double)n_weights, n == 0 ? " by the rules" : "");
    if (n > 0 && most < budget)
        return erne_fail(err, ERNE_EINVAL,
                         "%g bits a weight are too many%s: it takes %.2f at most, with "
                         "%s throughout",
                         bits, what, 8.0 * (double)most / (double)n_weights,
                         candidates[N_CANDIDATES - 1]);
    return ERNE_OK;
}

static int choose_group(struct allotment *a, enum group group, struct budget_unit *units,
                        uint8_t *choice, struct erne_error *err)
{
    double *scratch = calloc(a->n + 1, sizeof(*scratch)), price;
    uint64_t room;
    size_t n = 0;

    if (!scratch)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    price = common_price(a, scratch);
    free(scratch);
    for (size_t i = 0; i < a->n; i++) {
        if (a->units[i].group != group)
            continue;
        for (int c = 0; c < N_CANDIDATES; c++)
            a->units[i].budget.loss[c] = foretell(&a->units[i], c, price);
        units[n++] = a->units[i].budget;
    }
    ERNE_TRY(find_room(a, group, &room, err));
    return budget_choose(choice, units, n, N_CANDIDATES, room);
}

static int choose_all(struct allotment *a, struct erne_error *err)
{
    struct budget_unit *units = calloc(a->n + 1, sizeof(*units));
    uint8_t *choice = calloc(a->n + 1, sizeof(*choice));
    int st = units && choice ? ERNE_OK : erne_fail(err, ERNE_ENOMEM, "out of memory");

    for (int g = 0; g < GROUP_COUNT && st == 0; g++) {
        size_t n = 0;

        st = choose_group(a, (enum group)g, units, choice, err);
        for (size_t u = 0; u < a->n && st == 0; u++) {
            if ((int)a->units[u].group != g)
                continue;
            log_unit(a, &a->units[u], choice[n]);
            for (size_t i = 0; i < a->plan->n; i++)
                if (a->unit_of[i] == u)
                    st = erne_scheme_parse(&a->schemes[i], candidates[choice[n]]);
            n++;
        }
    }
    free(units);
    free(choice);
    return st < 0 ? st : convert_plan_assign(a->plan, a->opts, a->schemes, err);
}

/* --------------------------------------------------------------- the whole */

/* What follows from shapes alone. */
static int prepare(struct allotment *a, struct erne_error *err)
{
    const size_t n = a->plan->n;

    ERNE_TRY(budget_parse(&a->target, a->opts->target_bpw, err));
    a->units = calloc(n + 1, sizeof(*a->units));
    a->unit_of = calloc(n + 1, sizeof(*a->unit_of));
    a->schemes = calloc(n + 1, sizeof(*a->schemes));
    a->path = work_folder_path(a->opts->dst, "trial");
    if (!a->units || !a->unit_of || !a->schemes || !a->path)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    return find_units(a, err);
}

static void release(struct allotment *a)
{
    free(a->units);
    free(a->unit_of);
    free(a->schemes);
    free(a->path);
}

/* Whether there is anything that a budget for vision could be for. */
static int check_vision(const struct allotment *a, struct erne_error *err)
{
    uint64_t n_weights;

    fixed_bytes(a, GROUP_VISION, &n_weights);
    if (a->target.vision == 0.0 || n_weights > 0)
        return ERNE_OK;
    return erne_fail(err, ERNE_EINVAL, "\"%s\": the model has no vision",
                     a->opts->target_bpw);
}

int allot_check(struct convert_plan *plan, const struct erne_convert_opts *opts,
                struct erne_error *err)
{
    struct allotment a = { .plan = plan, .opts = opts };
    uint64_t room;
    int st = prepare(&a, err);

    if (st == 0)
        st = check_vision(&a, err);
    for (int g = 0; g < GROUP_COUNT && st == 0; g++)
        st = find_room(&a, (enum group)g, &room, err);
    if (st == 0 && a.n == 0)
        st = erne_fail(err, ERNE_EINVAL,
                       "a budget of bits has nothing left to choose: rules fix all");
    release(&a);
    return st;
}

int allot_schemes(struct convert_plan *plan, const struct erne_convert_opts *opts,
                  struct erne_error *err)
{
    struct allotment a = { .plan = plan, .opts = opts };
    int st = prepare(&a, err);

    for (int c = 0; c < N_CANDIDATES && st == 0; c++)
        st = try_candidate(&a, c, err);
    if (st == 0)
        st = choose_all(&a, err);
    release(&a);
    return st;
}
