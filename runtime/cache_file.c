/* cache_file.c -- see cache_file.h. */
#include "runtime/cache_file.h"

#include <inttypes.h>
#include <stdio.h>

#include "platforms/platform.h"

enum { MAX_PATH_BYTES = 1280 };

static bool path_of(char path[MAX_PATH_BYTES], const char *dir, const char *name)
{
    const int n = snprintf(path, MAX_PATH_BYTES, "%s/%s", dir, name);

    return n > 0 && n < MAX_PATH_BYTES;
}

static int write_all(const char *path, const char *text, size_t n_bytes)
{
    struct pf_file *file;
    int st;

    ERNE_TRY(pf_file_open(&file, path, PF_WRITE_NEW));
    st = pf_file_write_at(file, text, n_bytes, 0);
    pf_file_close(&file);
    return st;
}

int erne_cache_save(const char *dir, const char *name, const char *text, size_t n_bytes,
                    struct erne_error *err)
{
    char path[MAX_PATH_BYTES], part[MAX_PATH_BYTES + 24];
    int st;

    if (!path_of(path, dir, name))
        return erne_fail(err, ERNE_EINVAL, "%s: the name is too long", dir);
    /* Of its own, since others may be writing the same. */
    snprintf(part, sizeof(part), "%s.%016" PRIx64, path, pf_random_seed());
    st = pf_dir_create(dir);
    if (st == 0)
        st = write_all(part, text, n_bytes);
    if (st == 0)
        st = pf_path_rename(part, path);
    if (st == 0)
        return 0;
    erne_fail(err, st, "%s: %s", path, pf_last_error());
    pf_path_remove(part);
    return st;
}

void erne_cache_remove(const char *dir, const char *name)
{
    char path[MAX_PATH_BYTES];

    if (path_of(path, dir, name))
        pf_path_remove(path);
}

bool erne_cache_has(const char *dir, const char *name)
{
    char path[MAX_PATH_BYTES];

    return path_of(path, dir, name) && pf_path_exists(path);
}

int erne_cache_load(const char *dir, const char *name, char *text, size_t cap)
{
    char path[MAX_PATH_BYTES];
    struct pf_file *file;
    uint64_t n_bytes = 0;
    int st;

    if (!path_of(path, dir, name) || pf_file_open(&file, path, PF_READ) < 0)
        return -1;
    st = pf_file_size(file, &n_bytes);
    if (st == 0 && n_bytes >= cap)
        st = ERNE_EFORMAT;
    if (st == 0)
        st = pf_file_read_at(file, text, (size_t)n_bytes, 0);
    pf_file_close(&file);
    if (st < 0)
        return -1;
    text[n_bytes] = '\0';
    return (int)n_bytes;
}
