/* pf_path.c (POSIX) -- names of files: folders, renaming, and the error text. */
#include "platforms/platform.h"

#include "platforms/pf_names.h"
#include "runtime/include/erne.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool pf_path_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

bool pf_path_is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool pf_path_is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool pf_path_is_same(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

int pf_path_rename(const char *from, const char *to)
{
    return rename(from, to) < 0 ? ERNE_EIO : 0;
}

int pf_path_remove(const char *path)
{
    return unlink(path) < 0 ? ERNE_EIO : 0;
}

int pf_dir_create(const char *path)
{
    char *folder = strdup(path);
    int status = folder ? 0 : ERNE_ENOMEM;

    for (char *at = folder; status == 0 && *at; at++)
        if (at[1] == '/' || at[1] == '\0') {
            const char end = at[1];

            at[1] = '\0';
            if (mkdir(folder, 0777) < 0 && !pf_path_is_dir(folder))
                status = ERNE_EIO;
            at[1] = end;
        }
    free(folder);
    return status;
}

int pf_dir_remove(const char *path)
{
    return rmdir(path) < 0 ? ERNE_EIO : 0;
}

int pf_dir_list(const char *path, char ***names, size_t *n_names)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    struct pf_names found = { 0 };
    int status = 0;

    if (!dir)
        return ERNE_EIO;
    while (status == 0 && (errno = 0, entry = readdir(dir)) != NULL)
        status = pf_names_add(&found, strdup(entry->d_name));
    if (status == 0 && errno != 0)
        status = ERNE_EIO;
    closedir(dir);
    if (status < 0)
        pf_dir_free(found.list, found.n);
    else
        pf_names_finish(&found, names, n_names);
    return status;
}

const char *pf_last_error(void)
{
    return strerror(errno);
}
