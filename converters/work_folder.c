/* work_folder.c -- see work_folder.h. */
#include "converters/work_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/json_file.h"

/* All that is ever in it. */
static const char *const names[] = { "exact",  "exact.part",  "factors", "logits",
                                     "judged", "judged.part", "trial",   "trial.part" };
static const char lock_name[] = "lock";

static char *folder_of(const char *dst)
{
    const size_t n = strlen(dst) + sizeof(".work");
    char *path = malloc(n);

    if (path)
        snprintf(path, n, "%s.work", dst);
    return path;
}

char *work_folder_path(const char *dst, const char *name)
{
    char *folder = folder_of(dst), *path = folder ? path_join(folder, name) : NULL;

    free(folder);
    return path;
}

static bool is_ours(const char *name)
{
    bool is_one = strcmp(name, lock_name) == 0;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++)
        is_one |= strcmp(name, names[i]) == 0;
    return is_one;
}

/* All names are ours, with a lock among them; an empty folder may be of a conversion that
 * was killed before it had one. */
static int check_names(const char *folder, char *const *found, size_t n,
                       struct erne_error *err)
{
    const char *alien = n > 0 ? found[0] : NULL;

    for (size_t i = 0; i < n; i++)
        if (strcmp(found[i], lock_name) == 0)
            alien = NULL;
    for (size_t i = 0; i < n; i++)
        if (!is_ours(found[i]))
            alien = found[i];
    if (!alien)
        return ERNE_OK;
    return erne_fail(err, ERNE_EINVAL,
                     "%s: %s was not left by a conversion, which needs a folder of that "
                     "name: move it away",
                     folder, alien);
}

static int check_folder(const char *folder, struct erne_error *err)
{
    char **found;
    size_t n;
    int st;

    if (!pf_path_exists(folder))
        return ERNE_OK;
    if (!pf_path_is_dir(folder))
        return erne_fail(err, ERNE_EINVAL,
                         "%s: a conversion needs a folder of that name: move it away",
                         folder);
    if (pf_dir_list(folder, &found, &n) < 0)
        return erne_fail(err, ERNE_EIO, "%s: %s", folder, pf_last_error());
    st = check_names(folder, found, n, err);
    pf_dir_free(found, n);
    return st;
}

int work_folder_check(const char *dst, struct erne_error *err)
{
    char *folder = folder_of(dst);
    int st;

    if (!folder)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    st = check_folder(folder, err);
    free(folder);
    return st;
}

int work_folder_open(struct work_folder *work, const char *dst, struct erne_error *err)
{
    char *lock = work_folder_path(dst, lock_name);
    int st;

    *work = (struct work_folder){ .path = folder_of(dst) };
    if (!lock || !work->path) {
        free(lock);
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    }
    st = pf_dir_create(work->path);
    if (st < 0)
        erne_fail(err, st, "%s: %s", work->path, pf_last_error());
    if (st == 0 && (st = pf_file_open(&work->lock, lock, PF_WRITE_NEW)) < 0)
        erne_fail(err, st, "%s: %s; is another conversion to %s running?", lock,
                  pf_last_error(), dst);
    free(lock);
    return st;
}

static void remove_file(const struct work_folder *work, const char *name)
{
    char *path = path_join(work->path, name);

    if (path)
        pf_path_remove(path);
    free(path);
}

void work_folder_close(struct work_folder *work)
{
    if (work->lock) {
        for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++)
            remove_file(work, names[i]);
        remove_file(work, lock_name); /* while it is ours */
        pf_file_close(&work->lock);
        pf_dir_remove(work->path);
    }
    free(work->path);
    *work = (struct work_folder){ 0 };
}
