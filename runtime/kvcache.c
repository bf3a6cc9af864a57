/* kvcache.c -- takes and frees the pages of a session's KV cache. See kvcache.h. */
#include "runtime/kvcache.h"

#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/kv_row.h"
#include "runtime/model_desc.h"

static const struct {
    const char *name;
    enum erne_type type;
} types[] = { { "f16", ERNE_TYPE_F16 },
              { "f32", ERNE_TYPE_F32 },
              { "q8", ERNE_TYPE_Q8 },
              { "q4", ERNE_TYPE_Q4 } };

const char *erne_kv_type_name(enum erne_type type)
{
    for (size_t i = 0; i < ERNE_ARRAY_LEN(types); i++)
        if (types[i].type == type)
            return types[i].name;
    return "";
}

int erne_kv_type_parse(enum erne_type *out, const char *name)
{
    for (size_t i = 0; i < ERNE_ARRAY_LEN(types); i++)
        if (strcmp(name, types[i].name) == 0) {
            *out = types[i].type;
            return 0;
        }
    return ERNE_EINVAL;
}

static int fail_memory(const struct erne_kvcache *kv, struct erne_error *err)
{
    return erne_fail(err, ERNE_ENOMEM,
                     "no memory for a KV cache of %d positions "
                     "(%zu MiB)",
                     kv->n_ctx, kv->memory_bytes >> 20);
}

int erne_kvcache_init(struct erne_kvcache *kv, const struct erne_model_desc *desc,
                      int32_t n_ctx, enum erne_type type, struct erne_error *err)
{
    const size_t row_bytes =
        (size_t)erne_kv_row_len(type, desc->head_dim) * erne_type_bytes(type);

    *kv = (struct erne_kvcache){ .type = type, .n_layers = desc->n_layers + desc->n_mtp };
    kv->n_pages = (n_ctx + ERNE_KV_PAGE - 1) / ERNE_KV_PAGE;
    kv->n_ctx = n_ctx;
    kv->page_bytes = ERNE_KV_PAGE * (size_t)desc->n_kv_heads * row_bytes;
    /* Each is mapped by itself, and no two may share a page then. */
    kv->half_bytes = kv->page_bytes * (size_t)kv->n_pages + pf_page_size() - 1;
    kv->half_bytes -= kv->half_bytes % pf_page_size();
    kv->memory_bytes = kv->half_bytes * 2 * (size_t)kv->n_layers;
    kv->memory = pf_pages_alloc(kv->memory_bytes);
    kv->table = calloc((size_t)kv->n_pages, sizeof(*kv->table));
    kv->free_pages = calloc((size_t)kv->n_pages, sizeof(*kv->free_pages));
    kv->states = calloc(2 * (size_t)kv->n_layers, sizeof(*kv->states));
    if (!kv->memory || !kv->table || !kv->free_pages || !kv->states) {
        const int st = fail_memory(kv, err);

        erne_kvcache_deinit(kv);
        return st;
    }
    /* Deep attention reads megabytes of it a layer: with small pages a quarter of the
     * time goes into finding them. */
    pf_pages_large(kv->memory, kv->memory_bytes);
    while (kv->n_free < kv->n_pages) {
        kv->free_pages[kv->n_free] = kv->n_pages - 1 - kv->n_free;
        kv->n_free++;
    }
    erne_kvcache_forget_devices(kv);
    return 0;
}

void erne_kvcache_deinit(struct erne_kvcache *kv)
{
    if (kv->memory)
        pf_pages_free(kv->memory, kv->memory_bytes);
    free(kv->table);
    free(kv->free_pages);
    free(kv->states);
    *kv = (struct erne_kvcache){ 0 };
}

void erne_kvcache_leave(struct erne_kvcache *kv)
{
    kv->memory = NULL;
}

int erne_kvcache_take(struct erne_kvcache *kv, struct erne_error *err)
{
    kv->memory = pf_pages_alloc(kv->memory_bytes);
    return kv->memory ? 0 : fail_memory(kv, err);
}

void erne_kvcache_forget_devices(struct erne_kvcache *kv)
{
    kv->store = (struct erne_store){ .pages = kv->table, .n_pages = &kv->n_used };
    for (int i = 0; i < 2 * kv->n_layers; i++)
        kv->states[i] = (struct erne_state){ .store = &kv->store, .on_host = true };
}

void *erne_kvcache_layer(const struct erne_kvcache *kv, int layer, bool v)
{
    return kv->memory + kv->half_bytes * ((size_t)layer * 2 + (v ? 1 : 0));
}

struct erne_state *erne_kvcache_state(const struct erne_kvcache *kv, int layer, bool v)
{
    return &kv->states[layer * 2 + (v ? 1 : 0)];
}

static int32_t pages_for(int32_t n_positions)
{
    return (n_positions + ERNE_KV_PAGE - 1) / ERNE_KV_PAGE;
}

int erne_kvcache_grow(struct erne_kvcache *kv, int32_t n, struct erne_error *err)
{
    if (n > kv->n_ctx - kv->n_past)
        return erne_fail(err, ERNE_ECONTEXT,
                         "context length exceeded: %d tokens in the context and %d new "
                         "ones do not fit in %d positions",
                         kv->n_past, n, kv->n_ctx);
    kv->n_past += n;
    while (kv->n_used < pages_for(kv->n_past))
        kv->table[kv->n_used++] = kv->free_pages[--kv->n_free];
    return 0;
}

/* Gives a page's memory in every layer back to the system, as far as it covers whole
 * system pages; what it shares with a neighbour stays, and so does what a device may have
 * pinned: it would go on with the old memory. */
static void discard_page(struct erne_kvcache *kv, int32_t page)
{
    const size_t system_page = pf_page_size();

    if (kv->store.is_mapped)
        return;
    for (int layer = 0; layer < kv->n_layers; layer++)
        for (int v = 0; v < 2; v++) {
            uint8_t *base = erne_kvcache_layer(kv, layer, v != 0);
            size_t begin = (size_t)(base - kv->memory) + kv->page_bytes * (size_t)page;
            size_t end = begin + kv->page_bytes;

            begin = (begin + system_page - 1) / system_page * system_page;
            end = end / system_page * system_page;
            if (begin < end)
                pf_pages_discard(kv->memory + begin, end - begin);
        }
}

void erne_kvcache_truncate(struct erne_kvcache *kv, int32_t n_keep)
{
    kv->n_past = n_keep;
    while (kv->n_used > pages_for(n_keep)) {
        int32_t page = kv->table[--kv->n_used];

        discard_page(kv, page);
        kv->free_pages[kv->n_free++] = page;
    }
}

int32_t erne_kvcache_slot(const struct erne_kvcache *kv, int32_t position)
{
    return kv->table[position / ERNE_KV_PAGE] * ERNE_KV_PAGE + position % ERNE_KV_PAGE;
}
