/* error.c -- the texts and exit codes of statuses, and filling struct erne_error. */
#include "runtime/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int status, exit_code;
    const char *text;
} statuses[] = {
#define X(NAME, value, code, text) { (value), (code), (text) },
    ERNE_STATUS_LIST(X)
#undef X
};

const char *erne_status_text(int status)
{
    for (size_t i = 0; i < ERNE_ARRAY_LEN(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].text;
    return "unknown status";
}

int erne_status_exit_code(int status)
{
    for (size_t i = 0; i < ERNE_ARRAY_LEN(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].exit_code;
    return 1;
}

/* Names from files may hold line ends and the escape sequences of terminals. */
void erne_text_one_line(char *text)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

int(erne_fail)(struct erne_error *err, int status, const char *fmt, ...)
{
    if (err) {
        va_list args;

        err->status = status;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
        erne_text_one_line(err->text);
    }
    return status;
}

int(erne_fail_context)(struct erne_error *err, int status, const char *fmt, ...)
{
    if (err) {
        char below[sizeof(err->text)];
        va_list args;
        int n;

        memcpy(below, err->text, sizeof(below));
        err->status = status;
        va_start(args, fmt);
        n = vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
        if (n >= 0 && (size_t)n < sizeof(err->text))
            snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", below);
        erne_text_one_line(err->text);
    }
    return status;
}
