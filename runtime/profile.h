/* profile.h -- what a target device has, and how models are to run on it.
 *
 * A profile is a small YAML file (docs/DEVICES.md is its schema). Those of
 * platforms/devices are built in and found by name; any other is found by its path.
 */
#ifndef ERNE_PROFILE_H
#define ERNE_PROFILE_H

#include <stdint.h>

#include "runtime/dtype.h"
#include "runtime/error.h"

struct erne_profile {
    char name[48];     /* "raspberry-pi-5-8gb" */
    char title[96];    /* for people */
    char source[1024]; /* where the figures are from */
    char cpu_name[96];
    int32_t threads;
    uint64_t memory_bytes, model_bytes; /* of the device, and what a model may take */
    double memory_rate, disk_rate;      /* bytes a second; 0: unknown */
    char gpu_name[96], gpu_api[16];     /* may be empty */
    char scheme[ERNE_SCHEME_NAME_MAX];
    char kv_type[8];
    int32_t n_ctx, n_batch;
};

/* Reads YAML text. `where` names it in messages, which have line and column. */
int erne_profile_read(struct erne_profile *profile, const char *text, size_t n_bytes,
                      const char *where, struct erne_error *err);
/* A built-in profile by its name, or a file: whatever has a "/" in it or ends in ".yaml".
 * EINVAL lists the names when it is neither. */
int erne_profile_load(struct erne_profile *profile, const char *name_or_path,
                      struct erne_error *err);

/* The built-in texts, ended by a NULL name: made from platforms/devices by
 * cmake/profiles.cmake. */
struct erne_profile_text {
    const char *name;
    const unsigned char *text;
    const size_t *n_bytes;
};

extern const struct erne_profile_text erne_profile_texts[];

#endif
