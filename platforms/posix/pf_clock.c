/* pf_clock.c (POSIX) -- monotonic time, and a seed that differs between runs. */
#include "platforms/platform.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

uint64_t pf_time_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void pf_sleep_us(uint64_t us)
{
    struct timespec left = { .tv_sec = (time_t)(us / 1000000),
                             .tv_nsec = (long)(us % 1000000) * 1000 };

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

uint64_t pf_random_seed(void)
{
    uint64_t seed;

    /* The clock will do: this is no key, and the call fails only on ancient kernels. */
    return getentropy(&seed, sizeof(seed)) == 0 ? seed : pf_time_ns();
}
