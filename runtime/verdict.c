/* verdict.c -- see verdict.h. A verdict is a small text file: the key, then a line that
 * begins with "refused:" and names operators. Its name is a hash of the key. */
#include "runtime/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_PATH_BYTES = 1280, MAX_BYTES = 2048 };

struct wanted {
    int device;
    struct erne_verdict_key *key;
    const struct erne_model_file *file;
    bool found;
};

/* The bytes of a file's header: they hold hashes of all else. */
static uint64_t model_hash(const struct erne_model_file *file)
{
    const size_t n_bytes = file->map.n_bytes < 256 ? file->map.n_bytes : 256;

    return XXH3_64bits(file->map.data, n_bytes);
}

static int take_device(void *user, const struct erne_device_info *info)
{
    struct wanted *w = user;
    const size_t cap = sizeof(w->key->text);
    int n;

    if (info->index != w->device || (!info->uuid && !info->driver))
        return 0;
    n = snprintf(w->key->text, cap,
                 "erne verify 1\ndevice: %s %s %s\ndriver: %s\nbuild: %s %s\n"
                 "model: %016" PRIx64 "\n",
                 info->backend, info->name, info->uuid ? info->uuid : "",
                 info->driver ? info->driver : "", erne_version(), erne_build_info(),
                 model_hash(w->file));
    w->found = n > 0 && (size_t)n < cap;
    return 1;
}

bool erne_verdict_key_init(struct erne_verdict_key *key,
                           const struct erne_backend_fns *fns, int device,
                           const struct erne_model_file *file)
{
    struct wanted w = { .device = device, .key = key, .file = file };

    if (fns->devices)
        fns->devices(take_device, &w);
    return w.found;
}

static bool path_of(char path[MAX_PATH_BYTES], const char *dir,
                    const struct erne_verdict_key *key)
{
    const uint64_t hash = XXH3_64bits(key->text, strlen(key->text));
    const int n =
        snprintf(path, MAX_PATH_BYTES, "%s/verify-%016" PRIx64 ".txt", dir, hash);

    return n > 0 && n < MAX_PATH_BYTES - (int)sizeof(".part");
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

int erne_verdict_save(const char *dir, const struct erne_verdict_key *key,
                      uint32_t refused, struct erne_error *err)
{
    char path[MAX_PATH_BYTES], part[MAX_PATH_BYTES + 8], text[MAX_BYTES];
    size_t n = (size_t)snprintf(text, sizeof(text), "%srefused:", key->text);
    int st;

    for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++)
        if (refused >> op & 1)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " %s", erne_op_name(op));
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\n");
    if (!path_of(path, dir, key))
        return erne_fail(err, ERNE_EINVAL, "%s: the name is too long", dir);
    snprintf(part, sizeof(part), "%s.part", path);
    st = pf_dir_create(dir);
    if (st == 0)
        st = write_all(part, text, n);
    if (st == 0)
        st = pf_path_rename(part, path);
    return st < 0 ? erne_fail(err, st, "%s: %s", path, pf_last_error()) : 0;
}

/* The whole of a small file as text; its length, or -1. */
static int read_all(const char *path, char text[MAX_BYTES])
{
    struct pf_file *file;
    uint64_t n_bytes = 0;
    int st;

    if (pf_file_open(&file, path, PF_READ) < 0)
        return -1;
    st = pf_file_size(file, &n_bytes);
    if (st == 0 && n_bytes >= MAX_BYTES)
        st = ERNE_EFORMAT;
    if (st == 0)
        st = pf_file_read_at(file, text, (size_t)n_bytes, 0);
    pf_file_close(&file);
    if (st < 0)
        return -1;
    text[n_bytes] = '\0';
    return (int)n_bytes;
}

bool erne_verdict_load(const char *dir, const struct erne_verdict_key *key,
                       uint32_t *refused)
{
    static const char label[] = "refused:";
    const size_t n_key = strlen(key->text);
    char path[MAX_PATH_BYTES], text[MAX_BYTES];
    const char *at = text + n_key + strlen(label);
    int n_text;

    if (!path_of(path, dir, key))
        return false;
    n_text = read_all(path, text);
    if (n_text < 0 || (size_t)n_text <= n_key + strlen(label) ||
        memcmp(text, key->text, n_key) != 0 ||
        memcmp(text + n_key, label, strlen(label)) != 0)
        return false;
    *refused = 0;
    while (*at == ' ') {
        const size_t n = strcspn(++at, " \n");
        enum erne_op op = 0;

        while (op < ERNE_OP_COUNT &&
               (strlen(erne_op_name(op)) != n || memcmp(at, erne_op_name(op), n) != 0))
            op++;
        if (op == ERNE_OP_COUNT)
            return false;
        *refused |= UINT32_C(1) << op;
        at += n;
    }
    return *at == '\n';
}
