/* pf_process.c (POSIX) -- work in a copy of the process. */
#include "platforms/platform.h"
#include "runtime/include/erne.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__
#include <signal.h>
#include <sys/prctl.h>
#endif

/* The copy: ends with the one it was made from, and flushes nothing that it inherited. */
static _Noreturn void work(void (*fn)(void *arg, void *out), void *arg, void *out,
                           size_t n_bytes, int to)
{
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    fn(arg, out);
    _exit(write(to, out, n_bytes) == (ssize_t)n_bytes ? 0 : 1);
}

int pf_process_copy(void (*fn)(void *arg, void *out), void *arg, void *out,
                    size_t n_bytes)
{
    int ends[2], status = 0;
    ssize_t n;
    pid_t child;

    if (pipe(ends) < 0)
        return ERNE_EFAIL;
    child = fork();
    if (child == 0)
        work(fn, arg, out, n_bytes, ends[1]);
    close(ends[1]);
    do
        n = child > 0 ? read(ends[0], out, n_bytes) : 0;
    while (n < 0 && errno == EINTR);
    close(ends[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return n == (ssize_t)n_bytes ? ERNE_OK : ERNE_EFAIL;
}
