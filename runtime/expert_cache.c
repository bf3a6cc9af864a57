/* expert_cache.c -- see expert_cache.h.
 *
 * An expert's matrices lie together in the file: a block. Blocks in memory are a list in
 * the order of their last use.
 */
#include "runtime/expert_cache.h"

#include <stdlib.h>

#include "runtime/model_desc.h"

/* Number 0 of the blocks is the list's head: next is the least recently used. */
struct block {
    size_t offset, n_bytes; /* in the file */
    size_t held_bytes;      /* by the pages that it touches */
    uint32_t prev, next;    /* in the list, if it is there */
    bool is_there;          /* in memory */
};

struct erne_expert_cache {
    const struct erne_model_file *file;
    struct block *blocks; /* [n_blocks], by offset; the first is the head */
    uint32_t n_blocks;
    uint64_t ram_bytes;
    uint64_t other_bytes; /* of ram_bytes, what is not for experts */
    uint64_t least_bytes; /* that experts need */
    uint64_t all_bytes;   /* of all blocks */
    uint64_t used_bytes;  /* by blocks that are there */
    bool is_sparse;       /* see begin_sparse */
    struct erne_expert_stats stats;
};

static uint64_t capacity(const struct erne_expert_cache *c)
{
    return c->other_bytes < c->ram_bytes ? c->ram_bytes - c->other_bytes : 0;
}

/* ------------------------------------------------------------------- open */

struct collector {
    struct erne_expert_cache *cache;
    int32_t layer, expert; /* of the last block */
};

static int add_tensor(void *user, const struct erne_tensor_spec *spec)
{
    struct collector *to = user;
    struct erne_expert_cache *c = to->cache;
    const struct erne_file_tensor *t = erne_model_file_find(c->file, spec->name);
    struct block *last = &c->blocks[c->n_blocks - 1];

    if (!t || spec->expert < 0)
        return 0;
    if (to->layer == spec->layer && to->expert == spec->expert &&
        t->offset >= last->offset + last->n_bytes) {
        last->n_bytes = (size_t)(t->offset + t->n_bytes) - last->offset;
    } else {
        last = &c->blocks[c->n_blocks++];
        last->offset = (size_t)t->offset;
        last->n_bytes = (size_t)t->n_bytes;
        to->layer = spec->layer;
        to->expert = spec->expert;
    }
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct block *x = a, *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int fail_small(const struct erne_expert_cache *c, uint64_t more,
                      struct erne_error *err)
{
    return erne_fail(
        err, ERNE_ENOMEM,
        "%.1f MiB of memory are too few: %.1f MiB are needed beside experts, "
        "and %.1f MiB for those that a token uses",
        (double)c->ram_bytes / 0x1p20, (double)(c->other_bytes + more) / 0x1p20,
        (double)c->least_bytes / 0x1p20);
}

/* From now on experts come when they are asked for, and nothing with them. What the
 * system still has of them came in large pieces, which it would show as a whole. Not
 * before something must leave: where all experts fit, a warm file is not read again. */
static void begin_sparse(struct erne_expert_cache *c)
{
    const struct block *first = &c->blocks[1], *last = &c->blocks[c->n_blocks - 1];

    c->is_sparse = true;
    for (uint32_t b = 1; b < c->n_blocks; b++)
        pf_map_sparse(&c->file->map, c->blocks[b].offset, c->blocks[b].n_bytes,
                      b % 2 != 0);
    pf_map_forget(&c->file->map, c->file->file, first->offset,
                  last->offset + last->n_bytes - first->offset);
}

/* What the file holds that running it does not touch. */
static uint64_t idle_bytes(const struct erne_model_file *file)
{
    const struct erne_golden *golden = &file->golden;

    return golden->tokens ? (uint64_t)golden->n_rows * (uint64_t)file->desc.n_vocab *
                                sizeof(*golden->logits)
                          : 0;
}

/* Memory comes in pages: those that the blocks touch, and all others of the file. */
static void measure(struct erne_expert_cache *c)
{
    const struct erne_moe_desc *moe = &c->file->desc.moe;
    const size_t page = pf_page_size();
    uint64_t most_bytes = 0; /* of a block */

    c->other_bytes = c->file->map.n_bytes - idle_bytes(c->file);
    for (uint32_t b = 1; b < c->n_blocks; b++) {
        struct block *block = &c->blocks[b];
        const size_t begin = block->offset / page;
        const size_t end = (block->offset + block->n_bytes + page - 1) / page;

        c->other_bytes -= block->n_bytes;
        block->held_bytes = (end - begin) * page;
        c->all_bytes += block->held_bytes;
        if (block->held_bytes > most_bytes)
            most_bytes = block->held_bytes;
    }
    c->least_bytes = most_bytes * (uint64_t)(moe->n_used > 2 ? moe->n_used : 2);
}

static int collect(struct erne_expert_cache *c, uint64_t program_bytes,
                   struct erne_error *err)
{
    struct collector to = { .cache = c, .layer = -1, .expert = -1 };

    c->blocks = calloc(c->file->n_tensors + 1, sizeof(*c->blocks));
    if (!c->blocks)
        return erne_fail(err, ERNE_ENOMEM, "out of memory for a list of experts");
    c->n_blocks = 1;
    ERNE_TRY(erne_model_tensors(&c->file->desc, add_tensor, &to));
    qsort(c->blocks + 1, c->n_blocks - 1, sizeof(*c->blocks), by_offset);
    measure(c);
    return erne_expert_cache_claim(c, program_bytes, err);
}

int erne_expert_cache_open(struct erne_expert_cache **out,
                           const struct erne_model_file *file, uint64_t ram_bytes,
                           uint64_t program_bytes, struct erne_error *err)
{
    struct erne_expert_cache *c = calloc(1, sizeof(*c));
    int st;

    if (!c)
        return erne_fail(err, ERNE_ENOMEM, "out of memory for a list of experts");
    c->file = file;
    c->ram_bytes = ram_bytes;
    st = collect(c, program_bytes, err);
    if (st < 0)
        erne_expert_cache_close(&c);
    else
        *out = c;
    return st;
}

void erne_expert_cache_close(struct erne_expert_cache **cache)
{
    if (!*cache)
        return;
    free((*cache)->blocks);
    free(*cache);
    *cache = NULL;
}

/* ------------------------------------------------------- who may stay there */

static void unlink_block(struct erne_expert_cache *c, uint32_t b)
{
    struct block *blocks = c->blocks;

    blocks[blocks[b].prev].next = blocks[b].next;
    blocks[blocks[b].next].prev = blocks[b].prev;
}

/* Behind all others: the most recently used. */
static void append_block(struct erne_expert_cache *c, uint32_t b)
{
    struct block *blocks = c->blocks;

    blocks[b].prev = blocks[0].prev;
    blocks[b].next = 0;
    blocks[blocks[0].prev].next = b;
    blocks[0].prev = b;
}

/* Makes room for n_bytes, at the cost of who was used least recently. */
static void make_room(struct erne_expert_cache *c, uint64_t n_bytes)
{
    if (!c->is_sparse && c->all_bytes > capacity(c))
        begin_sparse(c);
    while (c->used_bytes + n_bytes > capacity(c) && c->blocks[0].next != 0) {
        const uint32_t b = c->blocks[0].next;
        struct block *block = &c->blocks[b];

        unlink_block(c, b);
        block->is_there = false;
        c->used_bytes -= block->held_bytes;
        pf_map_forget(&c->file->map, c->file->file, block->offset, block->n_bytes);
    }
}

int erne_expert_cache_claim(struct erne_expert_cache *c, uint64_t n_bytes,
                            struct erne_error *err)
{
    if (c->other_bytes + n_bytes + c->least_bytes > c->ram_bytes)
        return fail_small(c, n_bytes, err);
    c->other_bytes += n_bytes;
    make_room(c, 0);
    return 0;
}

void erne_expert_cache_unclaim(struct erne_expert_cache *c, uint64_t n_bytes)
{
    c->other_bytes -= n_bytes;
}

/* ------------------------------------------------------------------ fetch */

/* The block that holds the expert's matrix; 0: none. */
static uint32_t find_block(const struct erne_expert_cache *c,
                           const struct erne_tensor *expert)
{
    const size_t offset = (size_t)((const uint8_t *)expert->data - c->file->map.data);
    uint32_t lo = 1, hi = c->n_blocks;

    while (lo < hi) { /* the first block behind offset */
        const uint32_t mid = lo + (hi - lo) / 2;

        if (c->blocks[mid].offset <= offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo - 1;
}

int64_t erne_expert_cache_batch(const struct erne_expert_cache *c,
                                const struct erne_tensor *bank, const int32_t *start,
                                int64_t first)
{
    const uint64_t most = capacity(c) / 2;
    uint64_t n_bytes = 0;
    int64_t e = first;

    for (; e < bank->dim[0]; e++) {
        if (start[e + 1] == start[e])
            continue;
        n_bytes += c->blocks[find_block(c, &bank->bank[e])].held_bytes;
        if (n_bytes > most && e > first)
            break;
    }
    return e;
}

static void fetch_block(struct erne_expert_cache *c, uint32_t b)
{
    struct block *block = &c->blocks[b];

    c->stats.n_used++;
    if (block->is_there) {
        c->stats.n_hits++;
        unlink_block(c, b);
    } else {
        make_room(c, block->held_bytes);
        block->is_there = true;
        c->used_bytes += block->held_bytes;
        c->stats.bytes_read += block->n_bytes;
        pf_map_ahead(&c->file->map, block->offset, block->n_bytes);
    }
    append_block(c, b);
}

void erne_expert_cache_fetch_one(struct erne_expert_cache *c,
                                 const struct erne_tensor *expert)
{
    const uint32_t b = find_block(c, expert);

    if (b != 0)
        fetch_block(c, b);
}

void erne_expert_cache_fetch(struct erne_expert_cache *c, const struct erne_tensor *bank,
                             const int32_t *start, int64_t first, int64_t end)
{
    for (int64_t e = first; e < end; e++)
        if (start[e + 1] > start[e])
            erne_expert_cache_fetch_one(c, &bank->bank[e]);
}

struct erne_expert_stats erne_expert_cache_stats(const struct erne_expert_cache *c)
{
    struct erne_expert_stats stats = c->stats;

    stats.ram_bytes = c->ram_bytes;
    stats.capacity = capacity(c);
    stats.n_bytes = c->all_bytes;
    return stats;
}
