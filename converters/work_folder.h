/* work_folder.h -- DST.work, a folder beside a result for files that only its making
 * needs. A lock file in it says whose it is, and is held as long as it is used: what a
 * conversion that was killed left is taken over, what is not erne's is never touched. */
#ifndef ERNE_WORK_FOLDER_H
#define ERNE_WORK_FOLDER_H

#include "platforms/platform.h"
#include "runtime/error.h"

struct work_folder {
    char *path;
    struct pf_file *lock; /* NULL: it is not ours */
};

/* EINVAL: what is there by that name was not left by a conversion. */
int work_folder_check(const char *dst, struct erne_error *err);
/* EIO: another conversion uses it. work_folder_close is to be called after a failure,
 * too. */
int work_folder_open(struct work_folder *work, const char *dst, struct erne_error *err);
/* Removes it with what is in it, if it was opened. */
void work_folder_close(struct work_folder *work);

/* DST.work/NAME. free() it; NULL: no memory. */
char *work_folder_path(const char *dst, const char *name);

#endif
