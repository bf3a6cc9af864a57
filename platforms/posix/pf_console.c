/* pf_console.c (POSIX) -- terminals, Ctrl-C and requests to end. */
#include "platforms/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

bool pf_is_terminal(FILE *stream)
{
    return isatty(fileno(stream)) == 1;
}

/* nohup, or a program that wants this one to outlive it. Of SIGINT it means nothing: it
 * is how shells start what is to run in the background. */
static bool is_to_be_ignored(int number)
{
    struct sigaction now;

    return number != SIGINT && sigaction(number, NULL, &now) == 0 &&
           now.sa_handler == SIG_IGN;
}

void pf_on_interrupt(void (*fn)(int signal))
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { 0 };

    /* Restarted calls: an answer half written to stdout must not end in EINTR. */
    action.sa_handler = fn ? fn : SIG_DFL;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (!is_to_be_ignored(numbers[i]))
            sigaction(numbers[i], &action, NULL);
}

/* A stream that was closed leaves its number to the next file that is opened: messages
 * would end up in a model, and a model would be read as what the user typed. Opened the
 * wrong way round, so that using the stream fails as it would have. */
static void occupy(int fd)
{
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
        (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

void pf_console_init(void)
{
    occupy(STDIN_FILENO);
    occupy(STDOUT_FILENO);
    occupy(STDERR_FILENO);
    /* POSIX terminals carry whatever bytes they are given. A reader that went away, or a
     * file that may not grow, shall be a failed write, not the end of the program. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}
