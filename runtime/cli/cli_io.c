/* cli_io.c -- text in, results and messages out. */
#include "runtime/cli/cli_io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"

int(cli_fail)(struct erne_error *err, int status, const char *fmt, ...)
{
    va_list args;

    err->status = status;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    return status;
}

/* ------------------------------------------------------------------- text */

/* Makes room for n more bytes and a 0. */
static int reserve(struct cli_text *text, size_t n, struct erne_error *err)
{
    size_t cap = text->cap ? text->cap : 256;
    char *data;

    if (n >= SIZE_MAX / 4 - text->n)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %zu bytes of text", n);
    while (cap < text->n + n + 1)
        cap *= 2;
    if (cap == text->cap)
        return ERNE_OK;
    data = realloc(text->data, cap);
    if (!data)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %zu bytes of text", cap);
    text->data = data;
    text->cap = cap;
    return ERNE_OK;
}

int cli_text_append(struct cli_text *text, const char *bytes, size_t n,
                    struct erne_error *err)
{
    int st = reserve(text, n, err);

    if (st < 0)
        return st;
    if (n > 0)
        memcpy(text->data + text->n, bytes, n);
    text->n += n;
    text->data[text->n] = '\0';
    return ERNE_OK;
}

static int read_stdin(struct cli_text *text, struct erne_error *err)
{
    char block[4096];
    size_t n;

    while ((n = fread(block, 1, sizeof(block), stdin)) > 0) {
        int st = cli_text_append(text, block, n, err);

        if (st < 0)
            return st;
    }
    if (ferror(stdin))
        return cli_fail(err, ERNE_EIO, "cannot read standard input: %s", strerror(errno));
    return cli_text_append(text, "", 0, err);
}

int cli_text_read(struct cli_text *text, const char *path, struct erne_error *err)
{
    struct pf_file *file = NULL;
    uint64_t n_bytes = 0;
    int st;

    if (strcmp(path, "-") == 0)
        return read_stdin(text, err);
    if (pf_path_exists(path) && !pf_path_is_file(path) && !pf_path_is_dir(path))
        return cli_fail(err, ERNE_EIO, "%s: not a file (- reads standard input)", path);
    st = pf_file_open(&file, path, PF_READ);
    if (st == ERNE_OK)
        st = pf_file_size(file, &n_bytes);
    if (st < 0) {
        cli_fail(err, st, "%s: %s", path, pf_last_error());
        goto done;
    }
    st = n_bytes < SIZE_MAX ? reserve(text, (size_t)n_bytes, err)
                            : cli_fail(err, ERNE_ENOMEM, "%s: too large", path);
    if (st < 0)
        goto done;
    st = pf_file_read_at(file, text->data + text->n, (size_t)n_bytes, 0);
    if (st < 0) {
        cli_fail(err, st, "%s: %s", path, pf_last_error());
        goto done;
    }
    text->n += (size_t)n_bytes;
    text->data[text->n] = '\0';
done:
    pf_file_close(&file);
    return st;
}

int cli_text_argument(struct cli_text *text, const char *argument, struct erne_error *err)
{
    return strcmp(argument, "-") == 0
               ? read_stdin(text, err)
               : cli_text_append(text, argument, strlen(argument), err);
}

int cli_text_check(const struct cli_text *text, const char *name, struct erne_error *err)
{
    const size_t n = text->data ? strlen(text->data) : 0;

    if (n < text->n)
        return cli_fail(err, ERNE_EINVAL, "%s: not a text: byte %zu is 0", name, n);
    return ERNE_OK;
}

int cli_text_read_line(struct cli_text *text, bool *more, struct erne_error *err)
{
    int c, st = cli_text_append(text, "", 0, err);

    while (st == ERNE_OK && (c = getchar()) != EOF && c != '\n') {
        const char byte = (char)c;

        st = cli_text_append(text, &byte, 1, err);
    }
    if (st == ERNE_OK && ferror(stdin))
        st = cli_fail(err, ERNE_EIO, "cannot read standard input: %s", strerror(errno));
    *more = st == ERNE_OK && !feof(stdin);
    if (text->n > 0 && text->data[text->n - 1] == '\r')
        text->data[--text->n] = '\0';
    return st;
}

/* ----------------------------------------------------------------- output */

int cli_put(const char *text, size_t n_bytes, struct erne_error *err)
{
    if (fwrite(text, 1, n_bytes, stdout) != n_bytes || fflush(stdout) != 0 ||
        ferror(stdout))
        return cli_fail(err, ERNE_EIO, "cannot write to standard output: %s",
                        strerror(errno));
    return ERNE_OK;
}

int cli_write(void *user, const char *text, size_t n_bytes)
{
    return cli_put(text, n_bytes, user);
}

void cli_log(void *user, enum erne_log_level level, const char *line)
{
    const bool *verbose = user;

    if (level == ERNE_LOG_DEBUG && !*verbose)
        return;
    fprintf(stderr, "%s%s\n",
            level == ERNE_LOG_ERROR  ? "erne: "
            : level == ERNE_LOG_WARN ? "erne: warning: "
                                     : "",
            line);
}

void cli_progress_clear(void)
{
    if (pf_is_terminal(stderr))
        fputs("\r\033[K", stderr);
}

int cli_progress(void *user, uint64_t done, uint64_t total, const char *what)
{
    const double percent = total > 0 ? 100.0 * (double)done / (double)total : 100.0;

    (void)user;
    if (pf_is_terminal(stderr))
        /* \033[K clears the rest of a longer line that stood here before. */
        fprintf(stderr, "\r%5.1f %% %s\033[K%s", percent, what ? what : "",
                done >= total ? "\n" : "");
    return cli_interrupted() ? ERNE_ECANCELLED : 0;
}
