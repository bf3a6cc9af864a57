/* vk_cache.c -- compiled pipelines in a file, so that the next start compiles nothing.
 *
 * One file for a device, its driver and this build's shaders; the name tells them apart.
 * It begins with a head whose hash covers all the rest, so that a file cut short or mixed
 * up is as good as none. It is written beside its place and renamed into it: readers and
 * other writers see a whole file, the old or the new.
 */
#include "backends/vulkan/vk_cache.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_FILE_BYTES = 256 * 1024 * 1024 };

/* Then n_keys hashes of 8 bytes, then what the driver gave. */
struct head {
    char magic[8];
    uint64_t hash; /* XXH3 of all that follows */
    uint64_t n_keys, n_bytes;
};

static const char magic[8] = { 'e', 'r', 'n', 'e', 'v', 'k', '0', '1' };

uint64_t vk_cache_hash(const struct vk_pipeline_key *key)
{
    return XXH3_64bits(key, sizeof(*key));
}

/* Of all that decides whether a compiled pipeline is the one we would get. */
static uint64_t identity(const struct vk_device *dev)
{
    uint64_t parts[VK_SHADER_COUNT + 4];
    size_t n_bytes;

    for (int i = 0; i < VK_SHADER_COUNT; i++) {
        const void *code = vk_shader_code((enum vk_shader)i, &n_bytes);

        parts[i] = XXH3_64bits(code, n_bytes);
    }
    parts[VK_SHADER_COUNT] = XXH3_64bits(dev->id.deviceUUID, VK_UUID_SIZE);
    parts[VK_SHADER_COUNT + 1] = XXH3_64bits(dev->id.driverUUID, VK_UUID_SIZE);
    parts[VK_SHADER_COUNT + 2] = XXH3_64bits(dev->props.pipelineCacheUUID, VK_UUID_SIZE);
    parts[VK_SHADER_COUNT + 3] =
        (uint64_t)dev->props.driverVersion << 32 | dev->props.deviceID;
    return XXH3_64bits(parts, sizeof(parts));
}

static char *path_of(const struct vk_device *dev, const char *cache_dir)
{
    const size_t cap = strlen(cache_dir) + 64;
    char *path = malloc(cap);

    if (path)
        snprintf(path, cap, "%s/vulkan-%016llx.cache", cache_dir,
                 (unsigned long long)identity(dev));
    return path;
}

/* The whole file, checked; NULL if there is none that is right. */
static uint8_t *read_file(const char *path, struct head *head)
{
    struct pf_file *file = NULL;
    uint8_t *data = NULL;
    uint64_t n_bytes = 0;

    if (pf_file_open(&file, path, PF_READ) < 0)
        return NULL;
    if (pf_file_size(file, &n_bytes) == 0 && n_bytes >= sizeof(*head) &&
        n_bytes <= MAX_FILE_BYTES)
        data = malloc((size_t)n_bytes);
    if (data && pf_file_read_at(file, data, (size_t)n_bytes, 0) == 0) {
        const uint64_t rest = n_bytes - sizeof(*head);

        memcpy(head, data, sizeof(*head));
        if (memcmp(head->magic, magic, sizeof(magic)) == 0 && head->n_keys <= rest / 8 &&
            head->n_bytes == rest - head->n_keys * 8 &&
            head->hash == XXH3_64bits(data + 16, (size_t)n_bytes - 16)) {
            pf_file_close(&file);
            return data;
        }
    }
    free(data);
    pf_file_close(&file);
    return NULL;
}

void *vk_cache_load(struct vk_pipelines *p, const struct vk_device *dev,
                    const char *cache_dir, size_t *n_bytes)
{
    struct head head;
    uint8_t *data;

    *n_bytes = 0;
    if (!cache_dir)
        return NULL;
    p->path = path_of(dev, cache_dir);
    data = p->path ? read_file(p->path, &head) : NULL;
    if (!data)
        return NULL;
    p->known = malloc((size_t)head.n_keys * 8 + 1);
    if (!p->known) {
        free(data);
        return NULL;
    }
    memcpy(p->known, data + sizeof(head), (size_t)head.n_keys * 8);
    p->n_known = (size_t)head.n_keys;
    *n_bytes = (size_t)head.n_bytes;
    memmove(data, data + sizeof(head) + head.n_keys * 8, *n_bytes);
    return data;
}

/* ----------------------------------------------------------------- saving */

/* Beside its place, then into it. */
static int write_file(const char *path, const void *data, size_t n_bytes)
{
    const size_t cap = strlen(path) + 32;
    struct pf_file *file = NULL;
    char *part = malloc(cap);
    int st;

    if (!part)
        return ERNE_ENOMEM;
    snprintf(part, cap, "%s.%016llx", path, (unsigned long long)pf_random_seed());
    st = pf_file_open(&file, part, PF_WRITE_NEW);
    if (st == 0)
        st = pf_file_write_at(file, data, n_bytes, 0);
    if (st == 0)
        st = pf_file_sync(file);
    pf_file_close(&file);
    if (st == 0)
        st = pf_path_rename(part, path);
    if (st < 0)
        pf_path_remove(part);
    free(part);
    return st;
}

/* Hashes of the pipelines in use, and those known before that were not needed. */
static size_t list_keys(const struct vk_pipelines *p, uint64_t *keys)
{
    size_t n = p->n_known;

    if (n > 0)
        memcpy(keys, p->known, n * sizeof(*keys));
    for (size_t i = 0; i < p->n; i++) {
        const uint64_t hash = vk_cache_hash(&p->all[i].key);
        bool is_new = true;

        for (size_t k = 0; k < p->n_known; k++)
            is_new = is_new && keys[k] != hash;
        if (is_new)
            keys[n++] = hash;
    }
    return n;
}

static int save(struct vk_pipelines *p, struct vk_device *dev)
{
    const size_t keys_cap = (p->n_known + p->n) * sizeof(uint64_t);
    struct head head = { .n_keys = 0 };
    size_t n_bytes = 0;
    uint64_t *keys;
    uint8_t *data;
    int st;

    VK_TRY(dev, GetPipelineCacheData, dev->device, p->cache, &n_bytes, NULL);
    data = malloc(sizeof(head) + keys_cap + n_bytes);
    keys = malloc(keys_cap + 1);
    st = data && keys ? 0 : ERNE_ENOMEM;
    if (st == 0) {
        const size_t n_keys = list_keys(p, keys), at = sizeof(head) + n_keys * 8;
        VkResult result;

        VK_DO(result, &dev->fn, GetPipelineCacheData, dev->device, p->cache, &n_bytes,
              data + at);
        st = result == VK_SUCCESS ? 0 : ERNE_EFAIL;
        memcpy(head.magic, magic, sizeof(magic));
        head.n_keys = n_keys;
        head.n_bytes = n_bytes;
        memcpy(data, &head, sizeof(head));
        memcpy(data + sizeof(head), keys, n_keys * 8);
        head.hash = XXH3_64bits(data + 16, at + n_bytes - 16);
        memcpy(data, &head, sizeof(head));
        if (st == 0)
            st = write_file(p->path, data, at + n_bytes);
    }
    free(keys);
    free(data);
    return st;
}

void vk_cache_save(struct vk_pipelines *p, struct vk_device *dev)
{
    if (!p->path || !p->cache || dev->is_lost || p->n_compiled == p->n_saved)
        return;
    /* Whatever goes wrong, the pipelines are there; do not try again each plan. */
    (void)save(p, dev);
    p->n_saved = p->n_compiled;
}
