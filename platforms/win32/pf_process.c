/* pf_process.c (Windows) -- a process cannot be copied. */
#include "platforms/platform.h"
#include "runtime/include/erne.h"

int pf_process_copy(void (*fn)(void *arg, void *out), void *arg, void *out,
                    size_t n_bytes)
{
    (void)fn;
    (void)arg;
    (void)out;
    (void)n_bytes;
    return ERNE_EUNSUPPORTED;
}
