/* cli_newfile.c -- complete files or none; the .npy header. */
#include "runtime/cli/cli_newfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/cli_io.h"

int cli_newfile_create(struct cli_newfile *f, const char *path, struct erne_error *err)
{
    static const char suffix[] = ".part";
    const size_t n = strlen(path);
    struct pf_file *file = NULL;
    char *part;
    int st;

    /* It will be replaced, which must not happen to /dev/null. */
    if (pf_path_exists(path) && !pf_path_is_file(path))
        return cli_fail(err, ERNE_EINVAL, "%s: a %s, not a file", path,
                        pf_path_is_dir(path) ? "folder" : "device or pipe");
    part = malloc(n + sizeof(suffix));
    if (!part)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for a file name");
    memcpy(part, path, n);
    memcpy(part + n, suffix, sizeof(suffix));
    st = pf_file_open(&file, part, PF_WRITE_NEW);
    if (st < 0) {
        cli_fail(err, st, "%s: %s", part, pf_last_error());
        free(part); /* not ours to remove: another program may be writing it */
        return st;
    }
    *f = (struct cli_newfile){ .file = file, .path = path, .part = part };
    return ERNE_OK;
}

int cli_newfile_check(const struct cli_args *args, const char *path,
                      struct erne_error *err)
{
    const char *const inputs[] = { args->operands[0],  args->operands[1], args->model,
                                   args->prompt_file, args->tokens_file, args->base };

    for (size_t i = 0; i < sizeof(inputs) / sizeof(*inputs); i++)
        if (inputs[i] && pf_path_is_same(inputs[i], path))
            return cli_fail(err, ERNE_EINVAL, "%s: is read, and would be replaced", path);
    return ERNE_OK;
}

int cli_newfile_wait(struct cli_newfile *f, const char *path, const char *option,
                     struct erne_error *err)
{
    enum { STEP_MS = 50, LIMIT_MS = 10000, MOST_GONE = 3 };
    struct erne_error why = { 0 };
    char part[CLI_MAX_PATH + sizeof(".part")];
    int st = cli_newfile_create(f, path, &why);

    snprintf(part, sizeof(part), "%s.part", path);
    /* Where it is not there after a failure it has just been given its name, and is to be
     * had, unless that happens again and again: then it cannot be made at all. */
    for (int ms = 0, n_gone = 0; st < 0 && ms < LIMIT_MS && n_gone < MOST_GONE;) {
        if (pf_path_exists(part)) {
            pf_sleep_us(STEP_MS * 1000);
            ms += STEP_MS;
            n_gone = 0;
        } else {
            n_gone++;
        }
        st = cli_newfile_create(f, path, &why);
    }
    return st < 0 ? cli_fail(err, st, "option %s: %s", option, why.text) : st;
}

int cli_newfile_try(const char *path, const char *option, struct erne_error *err)
{
    struct cli_newfile f = { 0 };
    struct erne_error why = { 0 };
    int st = cli_newfile_create(&f, path, &why);

    cli_newfile_close(&f);
    return st < 0 ? cli_fail(err, st, "option %s: %s", option, why.text) : st;
}

int cli_newfile_append(struct cli_newfile *f, const void *data, size_t n_bytes,
                       struct erne_error *err)
{
    int st = pf_file_write_at(f->file, data, n_bytes, f->n_bytes);

    if (st < 0)
        return cli_fail(err, st, "%s: %s", f->part, pf_last_error());
    f->n_bytes += n_bytes;
    return ERNE_OK;
}

int cli_newfile_commit(struct cli_newfile *f, struct erne_error *err)
{
    int st = pf_file_sync(f->file);

    if (st == ERNE_OK) /* while it is ours: nobody else may write into it */
        st = pf_path_rename(f->part, f->path);
    if (st < 0)
        return cli_fail(err, st, "%s: %s", f->path, pf_last_error());
    pf_file_close(&f->file);
    free(f->part);
    f->part = NULL;
    return ERNE_OK;
}

void cli_newfile_close(struct cli_newfile *f)
{
    if (f->part)
        pf_path_remove(f->part);
    pf_file_close(&f->file);
    free(f->part);
    f->part = NULL;
}

/* numpy.lib.format 1.0: magic, version, length of the rest (u16), a Python dictionary
 * padded with blanks so that the data starts at a multiple of 64. */
int cli_npy_header(struct cli_newfile *f, size_t n_rows, size_t n_cols,
                   struct erne_error *err)
{
    enum { FIXED = 10, TOTAL = 128 };
    char header[TOTAL + 1];

    memset(header, ' ', TOTAL);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = TOTAL - FIXED;
    header[9] = 0;
    header[FIXED +
           snprintf(header + FIXED, TOTAL - FIXED,
                    "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                    n_rows, n_cols)] = ' ';
    header[TOTAL - 1] = '\n';
    return cli_newfile_append(f, header, TOTAL, err);
}
