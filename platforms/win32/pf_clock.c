/* pf_clock.c (Windows) -- monotonic time, and a seed that differs between runs. */
#include "platforms/platform.h"

#include <windows.h>
/* After windows.h, whose types it uses. */
#include <bcrypt.h>

uint64_t pf_time_ns(void)
{
    LARGE_INTEGER ticks, per_second;
    uint64_t t, hz;

    QueryPerformanceFrequency(&per_second);
    QueryPerformanceCounter(&ticks);
    t = (uint64_t)ticks.QuadPart;
    hz = (uint64_t)per_second.QuadPart;
    /* Seconds apart from the rest: ticks times 10^9 would overflow within days. */
    return t / hz * 1000000000u + t % hz * 1000000000u / hz;
}

void pf_sleep_us(uint64_t us)
{
    Sleep((DWORD)((us + 999) / 1000));
}

uint64_t pf_random_seed(void)
{
    uint64_t seed;

    if (BCryptGenRandom(NULL, (PUCHAR)&seed, sizeof(seed),
                        BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0)
        return seed;
    return pf_time_ns();
}
