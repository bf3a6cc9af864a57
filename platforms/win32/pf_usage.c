/* pf_usage.c (Windows) -- what the machine is busy with. Clocks and energy are not to be
 * had without a driver. */
#include "platforms/platform.h"

#include <windows.h>

/* Units of 100 ns. */
static uint64_t nanoseconds(const FILETIME *t)
{
    return (((uint64_t)t->dwHighDateTime << 32) | t->dwLowDateTime) * 100;
}

void pf_usage_read(struct pf_usage *usage, const char *root)
{
    FILETIME idle, kernel, user, created, ended;
    SYSTEM_INFO info;

    (void)root;
    GetSystemInfo(&info);
    *usage = (struct pf_usage){ .time_ns = pf_time_ns(),
                                .n_cpus = (int)info.dwNumberOfProcessors };
    if (GetSystemTimes(&idle, &kernel, &user)) /* the kernel's time has the idle in it */
        usage->busy_ns = nanoseconds(&kernel) + nanoseconds(&user) - nanoseconds(&idle);
    if (GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user))
        usage->own_ns = nanoseconds(&kernel) + nanoseconds(&user);
}
