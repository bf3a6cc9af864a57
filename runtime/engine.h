/* engine.h -- the inside of struct erne_engine: a mapped model and the open backends.
 * Shared by sessions, and not written after erne_engine_open but for what is lost. */
#ifndef ERNE_ENGINE_H
#define ERNE_ENGINE_H

#include "runtime/backend.h"
#include "runtime/expert_cache.h"
#include "runtime/model_file.h"
#include "runtime/placement.h"
#include "runtime/plan.h"
#include "runtime/tokenizer.h"

/* A backend on one of its devices. */
struct erne_opened {
    struct erne_backend *be;
    int device;
    bool is_lost; /* under run_lock */
};

struct erne_engine {
    struct erne_model_file file;
    struct erne_tokenizer *tokenizer;
    struct pf_mutex *run_lock; /* sessions take turns, a step at a time: they share the
                                  backends' threads and scratch */
    struct erne_opened opened[ERNE_MAX_BACKENDS];
    int n_opened;
    /* What each phase may use, best first, then NULL. */
    struct erne_backend *backends[ERNE_PHASE_COUNT][ERNE_MAX_BACKENDS + 1];
    struct erne_expert_cache *experts; /* NULL: all stay in memory. Under run_lock */
    bool is_placed;      /* by what erne_tune kept ... */
    char placement[1024]; /* ... and why */
    char backend[96];     /* of each phase */
    struct erne_model_info info;
    float *inv_freq; /* of the language model's RoPE: erne_rope_text_freqs */
    bool fallback;    /* go on without a device that was lost */
    bool keep_layers; /* of sessions: what each layer gives can be read; for tests */
    struct erne_ask ask; /* erne_engine_set_ask */
    erne_log_fn log;
    void *log_user;
};

/* erne_engine_open with another list of backends (it ends with NULL), and something for
 * struct erne_backend_opts' hook: for tests. */
int erne_engine_open_on(struct erne_engine **out, const char *path,
                        const struct erne_engine_opts *opts,
                        const struct erne_backend_fns *const *list, void *hook,
                        struct erne_error *err);

/* An engine over a file that is open already. It may be one that is not there yet, of
 * which only is known what it would hold: good for planning, not for running. Takes over
 * *file, on failure too. */
int erne_engine_open_file(struct erne_engine **out, struct erne_model_file *file,
                          const struct erne_engine_opts *opts, struct erne_error *err);

/* erne_plan_init and erne_plan_run on the engine's backends, one at a time. A device that
 * is lost meanwhile is not used again: the plan is then made without it, or EDEVICE if
 * the engine has no fallback; a run ends with EDEVICE, also of any other plan that uses
 * the device. */
int erne_engine_plan(struct erne_engine *engine, struct erne_plan *plan,
                     enum erne_phase_kind kind, struct erne_graph *graph,
                     struct erne_error *err);
int erne_engine_run(struct erne_engine *engine, struct erne_plan *plan,
                    const struct erne_step *step, struct erne_error *err);

/* Takes memory out of opts.ram_bytes for a session, and gives it back. ENOMEM: so much is
 * not left. */
int erne_engine_claim(struct erne_engine *engine, uint64_t n_bytes,
                      struct erne_error *err);
void erne_engine_unclaim(struct erne_engine *engine, uint64_t n_bytes);

/* Whether a lost device does not let go of memory that it was given. */
bool erne_engine_keeps_memory(const struct erne_engine *engine);
/* Whether a device may be lost, and sessions are to go on then. */
bool erne_engine_may_fall_back(const struct erne_engine *engine);

#endif
