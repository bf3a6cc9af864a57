/* tuned.h -- the placement that erne_tune found best for a model, kept in the cache
 * folder. It holds for one way to compute on the host, and for the build and the devices
 * it places phases on, as they were. */
#ifndef ERNE_TUNED_H
#define ERNE_TUNED_H

#include "runtime/model_file.h"
#include "runtime/placement.h"

enum { ERNE_TUNED_WHY = 240, ERNE_TUNED_DEVICES = 16 };

/* What a placement is kept for: a model, and how the host computes. */
struct erne_tuned_key {
    char text[160];
};

struct erne_tuned_key erne_tuned_key_of(const struct erne_engine_opts *opts,
                                        const struct erne_model_file *file);

struct erne_tuned {
    struct erne_choice of[ERNE_PHASE_COUNT];
    /* "decode on cpu: 88.0 t/s, vulkan:0 9.1"; empty: the model has no such phase. */
    char why[ERNE_PHASE_COUNT][ERNE_TUNED_WHY];
    struct erne_choice devices[ERNE_TUNED_DEVICES]; /* [n_devices]: looked at */
    int n_devices;
    int n_samples;       /* of each phase; 0: nothing was measured */
    char disturbed[160]; /* what the machine was busy with meanwhile, or "" */
};

int erne_tuned_save(const char *dir, const struct erne_tuned *tuned,
                    const struct erne_tuned_key *key, struct erne_error *err);

/* list: the backends there are. False: nothing is kept for the key, or it does not hold
 * here; why_not says so then, and is empty if there is nothing. */
bool erne_tuned_load(struct erne_tuned *tuned, const char *dir,
                     const struct erne_backend_fns *const *list,
                     const struct erne_tuned_key *key, char why_not[ERNE_TUNED_WHY]);

/* Whether `kept` was measured better than `found`: undisturbed, or else more often. Says
 * why ([cap]). Which devices were looked at is not compared. */
bool erne_tuned_is_better(const struct erne_tuned *kept, const struct erne_tuned *found,
                          char *why, size_t cap);

/* "decode on cpu: ...; prefill on cpu: ..." of the phases that `wanted` (bits 1 << kind)
 * names, and what disturbed the measurement; cut where text ([cap]) ends. */
void erne_tuned_text(const struct erne_tuned *tuned, unsigned wanted, char *text,
                     size_t cap);

#endif
