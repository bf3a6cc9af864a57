/* pulse.c -- see pulse.h. */
#include "converters/pulse.h"

#include "platforms/platform.h"

enum { REST_MS = 100 };

int pulse_tell(struct pulse *p, uint64_t done, uint64_t total, const char *what,
               struct erne_error *err)
{
    const struct erne_convert_opts *opts = p->opts;

    p->done = done;
    p->total = total;
    p->what = what;
    p->told_ns = pf_time_ns();
    if (opts->progress && opts->progress(opts->progress_user, done, total, what))
        return erne_fail(err, ERNE_ECANCELLED, "cancelled");
    return ERNE_OK;
}

bool pulse_is_due(const struct pulse *p)
{
    return pf_time_ns() - p->told_ns >= (uint64_t)REST_MS * 1000000;
}

static bool gives_up(void *user)
{
    struct pulse *p = user;

    return p->what && pulse_is_due(p) &&
           pulse_tell(p, p->done, p->total, p->what, NULL) < 0;
}

struct erne_ask pulse_ask(struct pulse *pulse)
{
    return (struct erne_ask){ gives_up, pulse };
}
