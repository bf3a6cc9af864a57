/* fuzz_profile.c -- any text as a device profile. */
#include <stdlib.h>
#include <string.h>

#include "runtime/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct erne_profile p;
    struct erne_error err;

    if (erne_profile_read(&p, (const char *)data, n_bytes, "profile", &err) < 0)
        return 0;
    /* What was accepted has what the converter relies on. */
    if (p.threads < 1 || p.n_ctx < 1 || p.n_batch < 1 || p.model_bytes < 1 ||
        p.model_bytes > p.memory_bytes || p.name[0] == '\0' ||
        memchr(p.source, '\0', sizeof(p.source)) == NULL)
        abort();
    return 0;
}
