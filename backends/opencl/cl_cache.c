/* cl_cache.c -- see cl_cache.h. A file is a header and the driver's bytes; the name is a
 * hash of the key, the header has it again, with the size and a hash of the bytes. */
#include "backends/opencl/cl_cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { PATH_MAX_BYTES = 4096, BINARY_MAX = 1 << 28 };

struct header {
    char magic[8];
    uint64_t key, n_bytes, hash;
};
static const char magic[8] = "erne-cl1";

static void add_text(XXH3_state_t *state, const char *text)
{
    XXH3_64bits_update(state, text, strlen(text) + 1);
}

/* 0: no memory. */
static uint64_t hash_of(const struct cl_cache_key *key)
{
    XXH3_state_t *state = XXH3_createState();
    uint64_t hash;

    if (!state)
        return 0;
    XXH3_64bits_reset(state);
    add_text(state, key->dev->name);
    add_text(state, key->dev->driver);
    add_text(state, key->dev->version);
    add_text(state, erne_version());
    add_text(state, key->options);
    for (size_t i = 0; i < key->n_parts; i++)
        add_text(state, key->parts[i]);
    hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

static bool path_of(const struct cl_cache_key *key, uint64_t hash, const char *suffix,
                    char path[PATH_MAX_BYTES])
{
    const int n = snprintf(path, PATH_MAX_BYTES, "%s/opencl-%016" PRIx64 "%s", key->dir,
                           hash, suffix);

    return n > 0 && n < PATH_MAX_BYTES;
}

/* The bytes behind the header, if they are all there and right. */
static void *read_binary(struct pf_file *file, uint64_t key, size_t *n_bytes)
{
    struct header head;
    uint64_t size;
    void *binary;

    if (pf_file_size(file, &size) < 0 || size < sizeof(head) ||
        pf_file_read_at(file, &head, sizeof(head), 0) < 0)
        return NULL;
    if (memcmp(head.magic, magic, sizeof(magic)) != 0 || head.key != key ||
        head.n_bytes == 0 || head.n_bytes > BINARY_MAX ||
        head.n_bytes != size - sizeof(head))
        return NULL;
    binary = malloc((size_t)head.n_bytes);
    if (!binary)
        return NULL;
    if (pf_file_read_at(file, binary, (size_t)head.n_bytes, sizeof(head)) < 0 ||
        XXH3_64bits(binary, (size_t)head.n_bytes) != head.hash) {
        free(binary);
        return NULL;
    }
    *n_bytes = (size_t)head.n_bytes;
    return binary;
}

void *cl_cache_load(const struct cl_cache_key *key, size_t *n_bytes)
{
    const uint64_t hash = key->dir ? hash_of(key) : 0;
    char path[PATH_MAX_BYTES];
    struct pf_file *file;
    void *binary;

    if (hash == 0 || !path_of(key, hash, ".bin", path) ||
        pf_file_open(&file, path, PF_READ) < 0)
        return NULL;
    binary = read_binary(file, hash, n_bytes);
    pf_file_close(&file);
    return binary;
}

void cl_cache_store(const struct cl_cache_key *key, const void *binary, size_t n_bytes)
{
    const uint64_t hash = key->dir ? hash_of(key) : 0;
    struct header head = { .key = hash,
                           .n_bytes = n_bytes,
                           .hash = XXH3_64bits(binary, n_bytes) };
    char path[PATH_MAX_BYTES], part[PATH_MAX_BYTES], suffix[32];
    struct pf_file *file;
    int st;

    memcpy(head.magic, magic, sizeof(magic));
    snprintf(suffix, sizeof(suffix), ".%016" PRIx64, pf_random_seed());
    if (hash == 0 || !path_of(key, hash, ".bin", path) ||
        !path_of(key, hash, suffix, part) || pf_file_open(&file, part, PF_WRITE_NEW) < 0)
        return;
    st = pf_file_write_at(file, &head, sizeof(head), 0);
    if (st == 0)
        st = pf_file_write_at(file, binary, n_bytes, sizeof(head));
    pf_file_close(&file);
    if (st < 0 || pf_path_rename(part, path) < 0)
        pf_path_remove(part);
}
