/* pf_user.c (POSIX) -- what belongs to the user: the one place that reads the
 * environment, as the XDG Base Directory Specification wants it. */
#include "platforms/platform.h"

#include "runtime/include/erne.h"

#include <stdlib.h>
#include <unistd.h>

int pf_cache_dir(char *buf, size_t cap)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;

    if (cache && cache[0] == '/') /* others are to be ignored, says the specification */
        n = snprintf(buf, cap, "%s", cache);
    else if (home && home[0] == '/')
        n = snprintf(buf, cap, "%s/.cache", home);
    return n > 0 && (size_t)n < cap ? ERNE_OK : ERNE_EFAIL;
}

int pf_program_path(char *buf, size_t cap)
{
    const ssize_t n = readlink("/proc/self/exe", buf, cap);

    if (n <= 0 || (size_t)n >= cap)
        return ERNE_EFAIL;
    buf[n] = '\0';
    return ERNE_OK;
}
