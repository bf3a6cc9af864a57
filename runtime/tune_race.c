/* tune_race.c -- measures the phases of a model on all devices in turns, so that what the
 * machine does meanwhile falls on all of them alike. See tune.h.
 *
 * A sample is as many runs as take a while, after one run that is not timed. A device
 * that turns out far slower than another takes no more samples of that phase.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/tune.h"

enum { N_PROMPT = 128, N_ANSWER = 64, MAX_BATCH = 512, PICTURE_SIDE = 8 };

static const double sample_ns = 30e6;
static const double far_slower = 4; /* times the median of another */

bool erne_tune_has(const struct erne_tune *t, enum erne_phase_kind kind)
{
    return kind != ERNE_PHASE_VISION ||
           t->lanes[0].engine->file.desc.vision.n_layers > 0;
}

/* ------------------------------------------------------------------ tokens */

/* The beginning of the text, again and again if it is short. Answers how many there are
 * of it; 0: none can be had. */
static size_t read_text(struct erne_tune *t, struct erne_engine *engine)
{
    const size_t n_wanted = (size_t)t->n_prompt + (size_t)t->n_answer;
    size_t n_bytes = strlen(t->opts->text), n = 0;
    int32_t *ids;

    if (n_bytes > 8 * n_wanted)
        n_bytes = 8 * n_wanted;
    ids = calloc(n_bytes + 1, sizeof(*ids));
    if (!ids || erne_tokenize(engine, t->opts->text, n_bytes, false, ids, n_bytes + 1, &n,
                              NULL) < 0)
        n = 0;
    for (size_t i = 0; n > 0 && i < n_wanted; i++)
        t->tokens[i] = ids[i % n];
    free(ids);
    return n;
}

static int make_tokens(struct erne_tune *t, struct erne_engine *engine)
{
    const struct erne_model_desc *desc = &engine->file.desc;
    const int32_t room = desc->n_ctx_train;

    t->n_prompt = room > N_PROMPT + N_ANSWER ? N_PROMPT : room / 2;
    t->n_answer = room - t->n_prompt < N_ANSWER ? room - t->n_prompt : N_ANSWER;
    t->tokens = calloc((size_t)t->n_prompt + (size_t)t->n_answer, sizeof(*t->tokens));
    if (!t->tokens)
        return erne_fail(t->err, ERNE_ENOMEM, "no memory for tokens");
    if (t->opts->text && engine->tokenizer && read_text(t, engine) > 0)
        return 0;
    for (int64_t i = 0; i < t->n_prompt + t->n_answer; i++) {
        int64_t id = (desc->n_vocab / 8 + i * 7919) % desc->n_vocab;

        while (erne_engine_is_placeholder(engine, (int32_t)id))
            id = (id + 1) % desc->n_vocab;
        t->tokens[i] = (int32_t)id;
    }
    return 0;
}

/* ------------------------------------------------------------------- lanes */

static int place_picture(struct erne_tune_lane *lane, struct erne_error *err)
{
    const struct erne_vision_desc *v = &lane->engine->file.desc.vision;
    const int32_t side = PICTURE_SIDE * v->merge;
    float *pixels;

    ERNE_TRY(erne_encoder_init(&lane->encoder, lane->engine, err));
    ERNE_TRY(erne_encoder_place(&lane->encoder, side, side, 1, err));
    erne_encoder_fill(&lane->encoder);
    pixels = lane->encoder.io.patches->data;
    for (size_t i = 0; i < lane->encoder.io.patches->n_bytes / sizeof(*pixels); i++)
        pixels[i] = (float)(i * 2654435761u >> 8 & 0xff) / 128 - 1;
    return 0;
}

static int open_lane(struct erne_tune *t, struct erne_tune_lane *lane,
                     struct erne_error *err)
{
    struct erne_engine_opts eo = t->opts->engine;
    struct erne_session_opts so = erne_session_opts_default();

    eo.backend = "auto";
    eo.device = lane->name;
    eo.use_tuned = false;
    eo.fallback = false; /* or the CPU would be measured under its name */
    ERNE_TRY(
        erne_engine_open_on(&lane->engine, t->path, &eo, t->list, t->hook, err));
    if (!t->tokens)
        ERNE_TRY(make_tokens(t, lane->engine));
    so.n_ctx = t->n_prompt + t->n_answer;
    so.n_batch = t->n_prompt < MAX_BATCH ? t->n_prompt : MAX_BATCH;
    so.n_draft = 0;
    ERNE_TRY(erne_session_create(&lane->session, lane->engine, &so, err));
    return erne_tune_has(t, ERNE_PHASE_VISION) ? place_picture(lane, err) : 0;
}

static void close_lane(struct erne_tune_lane *lane)
{
    if (lane->encoder.engine)
        erne_encoder_deinit(&lane->encoder);
    erne_session_destroy(&lane->session);
    erne_engine_close(&lane->engine);
}

void erne_tune_race_end(struct erne_tune *t)
{
    for (int i = 0; i < t->n_lanes; i++)
        close_lane(&t->lanes[i]);
    free(t->tokens);
}

/* What went wrong ends the lane's part; on the host, which all else falls back to, and
 * where the user gave up, it ends everything. */
static int drop(struct erne_tune *t, struct erne_tune_lane *lane, int st,
                const struct erne_error *why)
{
    lane->status = st;
    snprintf(lane->why, sizeof(lane->why), "avoided: %.*s", ERNE_TUNE_WHY - 16,
             why->text);
    if (lane != &t->lanes[0] && st != ERNE_ECANCELLED) {
        close_lane(lane);
        return 0;
    }
    return erne_fail(t->err, st, "%s", why->text);
}

/* -------------------------------------------------------------------- runs */

static int run_prompt(struct erne_tune_lane *lane, const struct erne_tune *t,
                      struct erne_error *err)
{
    ERNE_TRY(erne_session_rewind(lane->session, 0, err));
    return erne_session_eval(lane->session, t->tokens, (size_t)t->n_prompt, NULL, err);
}

/* The next token behind the prompt, or the first one again. */
static int run_token(struct erne_tune_lane *lane, const struct erne_tune *t,
                     struct erne_error *err)
{
    int n_past = erne_session_n_past(lane->session);

    if (n_past == t->n_prompt + t->n_answer) {
        ERNE_TRY(erne_session_rewind(lane->session, t->n_prompt, err));
        n_past = t->n_prompt;
    }
    return erne_session_eval(lane->session, &t->tokens[n_past], 1, NULL, err);
}

static int run_picture(struct erne_tune_lane *lane, const struct erne_tune *t,
                       struct erne_error *err)
{
    const struct erne_step step = {
        .n_tok = (int32_t)lane->encoder.io.patches->dim[0],
        .n_out = (int32_t)lane->encoder.io.features->dim[0],
    };

    (void)t;
    return erne_engine_run(lane->engine, &lane->encoder.plan, &step, err);
}

static int run(struct erne_tune_lane *lane, const struct erne_tune *t,
               enum erne_phase_kind kind, struct erne_error *err)
{
    static int (*const runs[ERNE_PHASE_COUNT])(struct erne_tune_lane *lane,
                                               const struct erne_tune *t,
                                               struct erne_error *err) = {
        [ERNE_PHASE_VISION] = run_picture,
        [ERNE_PHASE_PREFILL] = run_prompt,
        [ERNE_PHASE_DECODE] = run_token,
    };

    return runs[kind](lane, t, err);
}

static int take_sample(struct erne_tune_lane *lane, const struct erne_tune *t,
                       enum erne_phase_kind kind, struct erne_error *err)
{
    struct erne_tune_times *times = &lane->times[kind];
    const int n_tokens = kind == ERNE_PHASE_PREFILL ? t->n_prompt : 1;
    double spent = 0;
    uint64_t n = 0;

    if (times->n == 0)
        ERNE_TRY(run(lane, t, kind, err));
    while (spent < sample_ns) {
        const uint64_t start = pf_time_ns();

        ERNE_TRY(run(lane, t, kind, err));
        spent += (double)(pf_time_ns() - start);
        n++;
    }
    times->ns[times->n++] = spent / ((double)n * n_tokens);
    return 0;
}

/* ------------------------------------------------------------------ rounds */

static double best_of(const struct erne_tune_times *times)
{
    double best = times->ns[0];

    for (int i = 1; i < times->n; i++)
        if (times->ns[i] < best)
            best = times->ns[i];
    return best;
}

/* Whether more samples could not change anything. */
static bool is_beaten(const struct erne_tune *t, int lane, enum erne_phase_kind kind)
{
    const struct erne_tune_times *mine = &t->lanes[lane].times[kind];

    for (int i = 0; mine->n > 0 && lane > 0 && i < t->n_lanes; i++) {
        const struct erne_tune_times *other = &t->lanes[i].times[kind];

        if (other->n > 0 && best_of(mine) > far_slower * best_of(other))
            return true;
    }
    return false;
}

static int measure(struct erne_tune *t, int i, enum erne_phase_kind kind)
{
    static const char *const names[] = {
#define X(NAME, name) #name,
        ERNE_PHASE_LIST(X)
#undef X
    };
    struct erne_tune_lane *lane = &t->lanes[i];
    struct erne_error why = { 0 };
    int st;

    if (lane->status < 0 || is_beaten(t, i, kind) ||
        (erne_tune_is_late(t) && (i > 0 || lane->times[kind].n > 0)))
        return 0;
    ERNE_TRY(erne_tune_progress(t, names[kind], lane->name));
    st = take_sample(lane, t, kind, &why);
    return st < 0 ? drop(t, lane, st, &why) : 0;
}

/* Decoding comes behind the prompt. */
static int run_round(struct erne_tune *t)
{
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        for (int i = 0; erne_tune_has(t, (enum erne_phase_kind)kind) && i < t->n_lanes;
             i++)
            ERNE_TRY(measure(t, i, (enum erne_phase_kind)kind));
    return 0;
}

/* What a round adds to the samples of each phase, which is one at most. */
struct round {
    struct {
        int n_before;
        double ns; /* 0: none */
    } of[ERNE_TUNE_LANES][ERNE_PHASE_COUNT];
};

static struct round begin_round(const struct erne_tune *t)
{
    struct round round = { 0 };

    for (int i = 0; i < t->n_lanes; i++)
        for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
            round.of[i][kind].n_before = t->lanes[i].times[kind].n;
    return round;
}

/* Takes the round's samples away; put_back undoes it. */
static void set_aside(struct erne_tune *t, struct round *round)
{
    for (int i = 0; i < t->n_lanes; i++)
        for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
            struct erne_tune_times *times = &t->lanes[i].times[kind];
            const int n = round->of[i][kind].n_before;

            if (times->n > n)
                round->of[i][kind].ns = times->ns[n];
            times->n = n;
        }
}

/* In the place of what was measured since: samples of different rounds do not mix. */
static void put_back(struct erne_tune *t, const struct round *round)
{
    for (int i = 0; i < t->n_lanes; i++)
        for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
            struct erne_tune_times *times = &t->lanes[i].times[kind];

            times->n = round->of[i][kind].n_before;
            if (round->of[i][kind].ns > 0)
                times->ns[times->n++] = round->of[i][kind].ns;
        }
}

/* Whether time ran out before all that was set aside was measured again. */
static bool is_cut_short(const struct erne_tune *t, const struct round *aside)
{
    for (int i = 0; i < t->n_lanes && erne_tune_is_late(t); i++)
        for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
            if (aside->of[i][kind].ns > 0 && t->lanes[i].status == 0 &&
                t->lanes[i].times[kind].n == aside->of[i][kind].n_before)
                return true;
    return false;
}

/* What the machine was busy with while a round was taken does not count, unless it is so
 * all the time, or no time is left to take the round again as a whole. */
static int run_rounds(struct erne_tune *t)
{
    const struct erne_tune_opts *opts = t->opts;
    struct erne_tune_outcome *outcome = &t->outcome;
    char disturbed[sizeof(outcome->disturbed)] = "", before[sizeof(disturbed)] = "";
    struct round aside = { 0 };

    for (int n = 0; n < opts->n_repeats;) {
        struct round round = begin_round(t);

        if (opts->watch)
            opts->watch(opts->watch_user, NULL, 0);
        ERNE_TRY(run_round(t));
        if (opts->watch)
            opts->watch(opts->watch_user, disturbed, sizeof(disturbed));
        if (disturbed[0] && outcome->n_again < opts->n_repeats && !erne_tune_is_late(t)) {
            set_aside(t, &round);
            aside = round;
            memcpy(before, disturbed, sizeof(before));
            outcome->n_again++;
            continue;
        }
        if (before[0] && is_cut_short(t, &aside)) {
            put_back(t, &aside);
            memcpy(disturbed, before, sizeof(disturbed));
            outcome->n_again--;
        }
        before[0] = '\0';
        if (disturbed[0])
            snprintf(outcome->disturbed, sizeof(outcome->disturbed), "%s", disturbed);
        n++;
    }
    return 0;
}

int erne_tune_race(struct erne_tune *t)
{
    for (int i = 0; i < t->n_lanes; i++) {
        struct erne_tune_lane *lane = &t->lanes[i];
        struct erne_error why = { 0 };
        int st;

        if (lane->status < 0)
            continue;
        ERNE_TRY(erne_tune_progress(t, "opening", lane->name));
        st = open_lane(t, lane, &why);
        if (st < 0)
            ERNE_TRY(drop(t, lane, st, &why));
    }
    return run_rounds(t);
}
