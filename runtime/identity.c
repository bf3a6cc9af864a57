/* identity.c -- see identity.h. */
#include "runtime/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "platforms/platform.h"

enum { HEADER_BYTES = 256, MAX_PATH_BYTES = 1024 };

struct wanted {
    int device;
    char *text;
    bool found;
};

static const char *text_or(const char *text, const char *other)
{
    return text ? text : other;
}

static int take_device(void *user, const struct erne_device_info *info)
{
    struct wanted *w = user;
    int n;

    if (info->index != w->device)
        return 0;
    n = snprintf(w->text, ERNE_IDENTITY_MAX, "%s %s, %s %s", info->backend, info->name,
                 text_or(info->uuid, ""),
                 text_or(info->driver, text_or(info->detail, "")));
    w->found = n > 0 && n < ERNE_IDENTITY_MAX;
    return 1;
}

bool erne_device_identity(char text[ERNE_IDENTITY_MAX],
                          const struct erne_backend_fns *fns, int device)
{
    struct wanted w = { .device = device, .text = text };

    text[0] = '\0';
    if (fns->devices)
        fns->devices(take_device, &w);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ') /* it is to be one line */
            *c = ' ';
    return w.found;
}

/* The bytes of a file's header: they hold hashes of all else. */
uint64_t erne_model_hash(const struct erne_model_file *file)
{
    const size_t n = file->map.n_bytes < HEADER_BYTES ? file->map.n_bytes : HEADER_BYTES;

    return XXH3_64bits(file->map.data, n);
}

static uint64_t program_hash(void)
{
    char path[MAX_PATH_BYTES];
    struct pf_file *file;
    struct pf_map map;
    uint64_t hash = 0;

    if (pf_program_path(path, sizeof(path)) < 0 || pf_file_open(&file, path, PF_READ) < 0)
        return 0;
    if (pf_map_file(&map, file) == 0) {
        hash = XXH3_64bits(map.data, map.n_bytes);
        pf_map_close(&map);
    }
    pf_file_close(&file);
    return hash;
}

void erne_build_identity(char text[ERNE_IDENTITY_MAX])
{
    snprintf(text, ERNE_IDENTITY_MAX, "%s %s %016" PRIx64, erne_version(),
             erne_build_info(), program_hash());
}
