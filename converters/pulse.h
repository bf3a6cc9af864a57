/* pulse.h -- tells the caller of a conversion how far it is, and hears whether to go on.
 */
#ifndef ERNE_PULSE_H
#define ERNE_PULSE_H

#include "runtime/ask.h"
#include "runtime/error.h"

/* One a conversion, in the thread of the caller. */
struct pulse {
    const struct erne_convert_opts *opts;
    uint64_t done, total, told_ns; /* what was told last, and when */
    const char *what;
};

/* Tells a step of the work. ECANCELLED: the caller wants no more. */
int pulse_tell(struct pulse *pulse, uint64_t done, uint64_t total, const char *what,
               struct erne_error *err);
/* Whether that was a while ago. */
bool pulse_is_due(const struct pulse *pulse);
/* For work inside of a step: tells it again, a few times a second. */
struct erne_ask pulse_ask(struct pulse *pulse);

#endif
