/* kvcache.h -- the KV cache of a session: pages of ERNE_KV_PAGE positions, and the table
 * that says which page holds which positions.
 *
 * Keys and values of all layers share one page numbering: page p of the table is page p
 * of every layer's K and V state, [n_pages, n_kv_heads, ERNE_KV_PAGE, row]. Memory
 * is reserved once and touched as the context grows; freeing a page returns its number to
 * the pool and, for runs of whole system pages, its memory to the system.
 */
#ifndef ERNE_KVCACHE_H
#define ERNE_KVCACHE_H

#include "runtime/op.h"

struct erne_kvcache {
    int32_t n_ctx; /* positions it may hold */
    int32_t n_pages;
    int32_t n_past;      /* positions in use */
    int32_t n_used;      /* pages in use: table[0 .. n_used) */
    int32_t *table;      /* [n_pages] */
    int32_t *free_pages; /* stack of the other page numbers */
    int32_t n_free;
    int32_t n_layers;
    enum erne_type type; /* F32, F16, Q8 or Q4 */
    size_t page_bytes;   /* of one layer's K (or V) */
    size_t half_bytes;   /* n_pages of these, in whole pages of the system */
    uint8_t *memory;     /* [n_layers][K, V][half_bytes] */
    size_t memory_bytes;
    struct erne_store store;   /* the same, for devices that have a copy */
    struct erne_state *states; /* [n_layers][K, V] */
};

struct erne_model_desc;

/* "f16", "f32", "q8" or "q4"; EINVAL leaves *out as it was. */
int erne_kv_type_parse(enum erne_type *out, const char *name);
/* The name of one of these. */
const char *erne_kv_type_name(enum erne_type type);

/* kv must stay where it is until its deinit. */
int erne_kvcache_init(struct erne_kvcache *kv, const struct erne_model_desc *desc,
                      int32_t n_ctx, enum erne_type type, struct erne_error *err);
void erne_kvcache_deinit(struct erne_kvcache *kv);
/* Leaves its memory to a device that works with it for good. */
void erne_kvcache_leave(struct erne_kvcache *kv);
/* Takes other memory instead of what it left, undefined contents. ENOMEM. */
int erne_kvcache_take(struct erne_kvcache *kv, struct erne_error *err);

/* First byte of a layer's keys (v = false) or values, and where these are up to date. */
void *erne_kvcache_layer(const struct erne_kvcache *kv, int layer, bool v);
struct erne_state *erne_kvcache_state(const struct erne_kvcache *kv, int layer, bool v);

/* Takes pages for n more positions and advances n_past. ECONTEXT leaves all as it was. */
int erne_kvcache_grow(struct erne_kvcache *kv, int32_t n, struct erne_error *err);
/* Forgets positions >= n_keep and frees the pages that hold none of the others. */
void erne_kvcache_truncate(struct erne_kvcache *kv, int32_t n_keep);
/* After a device was lost: what it had of the cache is gone, and nothing is mapped. */
void erne_kvcache_forget_devices(struct erne_kvcache *kv);
/* Where a position is stored: page number * ERNE_KV_PAGE + place in the page. */
int32_t erne_kvcache_slot(const struct erne_kvcache *kv, int32_t position);

#endif
