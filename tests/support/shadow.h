/* shadow.h -- a backend that stands in for a device with memory of its own.
 *
 * It keeps a copy of every range that is mapped, computes on the copies by the
 * reference's operators, and spoils on the host what it wrote on its own side: whoever
 * reads it there without a download gets NaN. So what comes out right was copied when it
 * had to be. It is opened with a struct shadow_config as the hook of struct
 * erne_backend_opts, by which a test tells it what to decline and where to fail, and
 * learns what was asked of it.
 */
#ifndef ERNE_SHADOW_H
#define ERNE_SHADOW_H

#include "runtime/backend.h"

/* Calls that can fail; each is counted. */
enum shadow_call {
    SHADOW_PREPARE,
    SHADOW_SCRATCH,
    SHADOW_MAP,
    SHADOW_UPLOAD,
    SHADOW_DOWNLOAD,
    SHADOW_RUN,
    SHADOW_CALL_COUNT
};

struct shadow_config {
    uint32_t declined_ops; /* bit 1 << op: never taken */
    int declines_one_in;   /* of all nodes, at random; 0: none */
    uint64_t rng;
    size_t max_bytes; /* more than this is ENOMEM; 0: no limit */
    /* The call of this kind with this number (from 1 on) fails so; ever after too, if
     * that is EDEVICE. */
    enum shadow_call fail_call;
    uint64_t fail_at;
    int fail_status;
    uint32_t wrong_ops; /* bit 1 << op: computed wrongly */
    bool wrong_f32_only; /* of attention or kv_append: only with a KV cache of f32 */
    uint64_t slowness;  /* waits so many times as long as each run took */
    bool refuses_open;

    uint64_t n_calls[SHADOW_CALL_COUNT];
    uint64_t n_bytes_up, n_bytes_down;
    size_t n_ranges, n_bytes; /* mapped now */
    int n_open;               /* backends; nodes that are prepared and not released */
    int n_nodes;
    bool is_lost;
    char breach[128]; /* the first breach of the contract; empty: none */
};

/* Devices "shadow:0" and "shadow:1". Opened without a hook, the first is slow, and the
 * second computes matrix products wrongly. */
extern const struct erne_backend_fns erne_backend_shadow;
/* The shadow and the reference, as a list of backends. */
extern const struct erne_backend_fns *const shadow_backends[];

#endif
