/* tune.h -- the inside of erne_tune: the devices that compete, and how each phase of a
 * model is measured on them. */
#ifndef ERNE_TUNE_H
#define ERNE_TUNE_H

#include "runtime/session.h"

enum { ERNE_TUNE_LANES = 16, ERNE_TUNE_SAMPLES = 99, ERNE_TUNE_WHY = 160 };

/* Nanoseconds of a token or a picture, in the order they were taken. */
struct erne_tune_times {
    double ns[ERNE_TUNE_SAMPLES];
    int n;
};

/* A device that competes. */
struct erne_tune_lane {
    struct erne_choice choice;
    char name[48];
    int status;              /* 0, or why it no longer takes part ... */
    char why[ERNE_TUNE_WHY]; /* ... in words */
    bool is_unknown;         /* no time was left to verify it */
    struct erne_engine *engine;
    struct erne_session *session;
    struct erne_encoder encoder; /* placed, if the model sees */
    struct erne_tune_times times[ERNE_PHASE_COUNT];
};

struct erne_tune {
    const struct erne_tune_opts *opts;
    const char *path;
    const struct erne_backend_fns *const *list;
    void *hook;
    uint64_t start_ns;
    struct erne_tune_lane lanes[ERNE_TUNE_LANES]; /* [n_lanes]; the first is the host */
    int n_lanes;
    bool has_hardware; /* a device that is no software */
    int32_t *tokens;   /* [n_prompt + n_answer] */
    int32_t n_prompt, n_answer;
    struct erne_tune_outcome outcome;
    struct erne_error *err;
};

/* erne_tune with another list of backends and a hook, as erne_engine_open_on. */
int erne_tune_on(const char *path, const struct erne_tune_opts *opts,
                 const struct erne_backend_fns *const *list, void *hook,
                 struct erne_error *err);

/* Milliseconds since the beginning; and whether nothing new is to be begun. */
uint64_t erne_tune_ms(const struct erne_tune *t);
bool erne_tune_is_late(const struct erne_tune *t);
/* Tells what is done now. ECANCELLED. */
int erne_tune_progress(const struct erne_tune *t, const char *what, const char *name);

/* ------------------------------------------------------------ tune_race.c */

/* Opens the model on the lanes that are left and measures all phases on them in turns;
 * rounds that the machine disturbed are taken again, and noted in outcome. What goes
 * wrong on a device ends its part only. ECANCELLED, ENOMEM; what goes wrong on the host.
 */
int erne_tune_race(struct erne_tune *t);
void erne_tune_race_end(struct erne_tune *t);

/* Whether the model has the phase. */
bool erne_tune_has(const struct erne_tune *t, enum erne_phase_kind kind);

#endif
