/* cli_newfile.h -- a file that is written as PATH.part and appears under its name only
 * when it is complete. */
#ifndef ERNE_CLI_NEWFILE_H
#define ERNE_CLI_NEWFILE_H

#include "runtime/cli/cli_args.h"
#include "runtime/include/erne.h"

struct cli_newfile {
    struct pf_file *file;
    const char *path;
    char *part;
    uint64_t n_bytes;
};

int cli_newfile_create(struct cli_newfile *f, const char *path, struct erne_error *err);
/* EINVAL where a file that the command reads would be replaced: the model, a text, .. */
int cli_newfile_check(const struct cli_args *args, const char *path,
                      struct erne_error *err);
/* The same, after another program that writes the file now; 10 s at most. */
int cli_newfile_wait(struct cli_newfile *f, const char *path, const char *option,
                     struct erne_error *err);
/* Whether create would do: said of an option before the work whose results go there. */
int cli_newfile_try(const char *path, const char *option, struct erne_error *err);
int cli_newfile_append(struct cli_newfile *f, const void *data, size_t n_bytes,
                       struct erne_error *err);
/* Gives the file its name. */
int cli_newfile_commit(struct cli_newfile *f, struct erne_error *err);
/* Always last; removes what was not committed. f may be all zero. */
void cli_newfile_close(struct cli_newfile *f);

/* The header of a .npy file (format 1.0) of little-endian float32 [n_rows, n_cols]. */
int cli_npy_header(struct cli_newfile *f, size_t n_rows, size_t n_cols,
                   struct erne_error *err);

#endif
