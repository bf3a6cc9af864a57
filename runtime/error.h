/* error.h -- how functions inside the library report and forward failure.
 * The status codes themselves are in include/erne.h, the texts in error.c. */
#ifndef ERNE_ERROR_H
#define ERNE_ERROR_H

#include "platforms/compiler.h"
#include "runtime/include/erne.h"

/* Fills err (which may be NULL) and returns status, so that one line reports and leaves:
 *     return erne_fail(err, ERNE_EFORMAT, "%s: %u tensors", path, n);
 */
int erne_fail(struct erne_error *err, int status, const char *fmt, ...) ERNE_PRINTF(3, 4);

/* Puts "prefix: " before the text of an error that comes from below; returns status. */
int erne_fail_context(struct erne_error *err, int status, const char *fmt, ...)
    ERNE_PRINTF(3, 4);

#ifdef __clang_analyzer__
/* clang-tidy sees one file at a time; this tells it what the two return. */
#define erne_fail(err, status, ...) \
    ((void)(erne_fail)(err, status, __VA_ARGS__), (status))
#define erne_fail_context(err, status, ...) \
    ((void)(erne_fail_context)(err, status, __VA_ARGS__), (status))
#endif

/* Makes "?" of every control character, as messages are one line of text. */
void erne_text_one_line(char *text);

/* Forwards a failure to the caller. For functions that hold nothing to release. */
#define ERNE_TRY(call)             \
    do {                           \
        int erne_try_st_ = (call); \
        if (erne_try_st_ < 0)      \
            return erne_try_st_;   \
    } while (0)

#endif
