/* slow_build.c -- makes two builds of the program for tests of `erne bench --compare`:
 * one as it is, and one that is slower by a known part (SLOW_PERCENT). The linker sends
 * each evaluation through here (--wrap), which then waits as long as the evaluation took
 * times that part.
 *
 * Both read the processor time of the process instead of a clock, so that what else runs
 * on the machine cannot decide the test: with one thread it is the time it computed.
 */
#define _POSIX_C_SOURCE 200809L

#include <time.h>

#include "runtime/include/erne.h"

uint64_t __wrap_pf_time_ns(void);
int __real_erne_session_eval(struct erne_session *session, const int32_t *tokens,
                             size_t n, float *logits, struct erne_error *err);
int __wrap_erne_session_eval(struct erne_session *session, const int32_t *tokens,
                             size_t n, float *logits, struct erne_error *err);

uint64_t __wrap_pf_time_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int __wrap_erne_session_eval(struct erne_session *session, const int32_t *tokens,
                             size_t n, float *logits, struct erne_error *err)
{
    const uint64_t start = __wrap_pf_time_ns();
    const int st = __real_erne_session_eval(session, tokens, n, logits, err);
    const uint64_t end = __wrap_pf_time_ns();

    while ((__wrap_pf_time_ns() - end) * 100 < (end - start) * SLOW_PERCENT)
        continue;
    return st;
}
