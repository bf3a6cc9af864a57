/* cli_interrupt.c -- Ctrl-C and requests to end. The one place of the program with state
 * of its own: a signal handler is given nothing but the number of the signal. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "platforms/platform.h"
#include "runtime/cli/cli_io.h"

enum { SIGNALLED = 128 }; /* and the signal's number: as shells have it */

static volatile sig_atomic_t busy, interrupted, ended; /* ended: the signal; or 0 */
static _Atomic(struct erne_session *) running;

static void on_interrupt(int signal)
{
    struct erne_session *session = atomic_load(&running);

    if (!busy)
        _Exit(SIGNALLED + signal);
    if (signal != SIGINT)
        ended = signal;
    interrupted = 1;
    if (session)
        erne_session_cancel(session);
}

void cli_interrupt_init(void)
{
    pf_on_interrupt(on_interrupt);
}

void cli_interrupt_begin(struct erne_session *session)
{
    atomic_store(&running, session);
    interrupted = 0;
    busy = 1;
    pf_on_interrupt(on_interrupt);
}

void cli_interrupt_session(struct erne_session *session)
{
    atomic_store(&running, session);
}

void cli_interrupt_end(void)
{
    busy = 0;
    atomic_store(&running, NULL);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

bool cli_ended(void)
{
    return ended != 0;
}

int cli_exit_code(int status)
{
    return status == ERNE_ECANCELLED && ended ? SIGNALLED + ended
                                              : erne_status_exit_code(status);
}
