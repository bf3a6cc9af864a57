/* cli_io.h -- how subcommands read text, write results and report. Results go to stdout,
 * everything else to stderr. */
#ifndef ERNE_CLI_IO_H
#define ERNE_CLI_IO_H

#include "platforms/compiler.h"
#include "runtime/include/erne.h"

/* Fills err and returns status, in one line. */
int cli_fail(struct erne_error *err, int status, const char *fmt, ...) ERNE_PRINTF(3, 4);
#ifdef __clang_analyzer__
/* As in runtime/error.h: what clang-tidy cannot see from another file. */
#define cli_fail(err, status, ...) ((void)(cli_fail)(err, status, __VA_ARGS__), (status))
#endif

/* Bytes that grow; zero it to start, free(data) at the end. Always 0-terminated once
 * something was appended. */
struct cli_text {
    char *data;
    size_t n, cap;
};

int cli_text_append(struct cli_text *text, const char *bytes, size_t n,
                    struct erne_error *err);
/* The whole file, or all of standard input when path is "-". */
int cli_text_read(struct cli_text *text, const char *path, struct erne_error *err);
/* What an option's TEXT stands for: itself, or standard input when it is "-". */
int cli_text_argument(struct cli_text *text, const char *argument,
                      struct erne_error *err);
/* A message of a chat ends at its first 0 byte: EINVAL if there is one. */
int cli_text_check(const struct cli_text *text, const char *name, struct erne_error *err);
/* One line of standard input without its end; *more is false at the end of input. */
int cli_text_read_line(struct cli_text *text, bool *more, struct erne_error *err);

/* Writes to stdout and flushes; EIO when the reader is gone or the disk is full. */
int cli_put(const char *text, size_t n_bytes, struct erne_error *err);
/* The same for an erne_write_fn; user is a struct erne_error. */
int cli_write(void *user, const char *text, size_t n_bytes);

/* An erne_log_fn; user is a bool: whether to print debug lines too. */
void cli_log(void *user, enum erne_log_level level, const char *line);
/* An erne_progress_fn: one line on stderr if that is a terminal; Ctrl-C cancels. */
int cli_progress(void *user, uint64_t done, uint64_t total, const char *what);
/* Of work that may end at any time: takes its line away. */
void cli_progress_clear(void);

/* Ctrl-C, SIGTERM and SIGHUP. Outside begin and end they end the program with exit code
 * 130, 143 or 129; between them they set a flag, and cancel the evaluation that runs in
 * session (which may be NULL). */
void cli_interrupt_init(void);
void cli_interrupt_begin(struct erne_session *session);
/* Between them: evaluations go on in another session, or in none. */
void cli_interrupt_session(struct erne_session *session);
void cli_interrupt_end(void);
bool cli_interrupted(void);
/* Not by Ctrl-C: the program is to end, whatever else an interruption would mean. */
bool cli_ended(void);
/* For main: that of the signal, where one cancelled the command. */
int cli_exit_code(int status);

#endif
