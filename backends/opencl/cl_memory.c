/* cl_memory.c -- see cl_memory.h. */
#include "backends/opencl/cl_memory.h"

#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_queue.h"

enum { LEAST_PIECE = 1 << 20, CHUNK_BYTES = 16 << 20 };

struct piece {
    cl_mem mem;
    size_t first, n_bytes; /* of the range */
};

struct cl_range {
    const uint8_t *base;
    size_t n_bytes;
    int n_users;
    bool is_shared; /* the host's memory itself */
    struct piece *pieces;
    size_t n_pieces;
};

void cl_memory_init(struct cl_memory *memory, const struct cl_device *dev)
{
    *memory = (struct cl_memory){ .largest = dev->max_alloc };
}

/* ------------------------------------------------------------------ lookup */

/* Index of the last range that begins at or before host; n_ranges if none does. */
static size_t index_of(const struct cl_memory *memory, const void *host)
{
    size_t low = 0, high = memory->n_ranges;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if ((uintptr_t)memory->ranges[middle].base <= (uintptr_t)host)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : memory->n_ranges;
}

int cl_memory_find(const struct cl_memory *memory, const void *host, size_t least,
                   struct cl_place *place)
{
    const size_t i = index_of(memory, host);
    const struct cl_range *range = memory->ranges + i;
    struct cl_place best = { 0 };
    size_t at;

    if (i == memory->n_ranges)
        return ERNE_EFAIL;
    at = (size_t)((const uint8_t *)host - range->base);
    for (size_t p = 0; p < range->n_pieces; p++) {
        const struct piece *piece = &range->pieces[p];

        if (at >= piece->first && at < piece->first + piece->n_bytes &&
            piece->first + piece->n_bytes - at > best.n_bytes)
            best = (struct cl_place){ piece->mem, at - piece->first,
                                      piece->first + piece->n_bytes - at };
    }
    if (!best.mem || best.n_bytes < least)
        return ERNE_EFAIL;
    *place = best;
    return 0;
}

/* --------------------------------------------------------------- transfers */

int cl_memory_upload(struct cl_memory *memory, struct cl_device *dev, const void *host,
                     size_t n_bytes)
{
    struct cl_place place;
    cl_event event;

    ERNE_TRY(cl_memory_find(memory, host, n_bytes, &place));
    CL_TRY(dev, EnqueueWriteBuffer, dev->queue, place.mem, CL_FALSE, place.offset,
           n_bytes, host, 0, NULL, &event);
    return cl_queue_wait(dev, event);
}

int cl_memory_download(struct cl_memory *memory, struct cl_device *dev, void *host,
                       size_t n_bytes)
{
    struct cl_place place;
    cl_event event;

    ERNE_TRY(cl_memory_find(memory, host, n_bytes, &place));
    CL_TRY(dev, EnqueueReadBuffer, dev->queue, place.mem, CL_FALSE, place.offset, n_bytes,
           host, 0, NULL, &event);
    return cl_queue_wait(dev, event);
}

static int fill_piece(struct cl_device *dev, const struct piece *piece,
                      const uint8_t *src)
{
    for (size_t at = 0; at < piece->n_bytes; at += CHUNK_BYTES) {
        const size_t left = piece->n_bytes - at;
        cl_event event;

        CL_TRY(dev, EnqueueWriteBuffer, dev->queue, piece->mem, CL_FALSE, at,
               left < CHUNK_BYTES ? left : CHUNK_BYTES, src + at, 0, NULL, &event);
        ERNE_TRY(cl_queue_wait(dev, event));
    }
    return 0;
}

/* ----------------------------------------------------------------- mapping */

static void release_range(struct cl_range *range, struct cl_device *dev)
{
    for (size_t i = 0; i < range->n_pieces; i++)
        CL_RELEASE(dev, MemObject, range->pieces[i].mem);
    free(range->pieces);
}

static bool can_share(const struct cl_device *dev, const struct erne_range *range)
{
    return dev->on_host && (uintptr_t)range->base % dev->host_align == 0;
}

/* Makes the buffer of a piece and, for a weight on a device with memory of its own,
 * fills it. */
static int make_piece(struct piece *piece, struct cl_device *dev,
                      const struct erne_range *range)
{
    const bool is_weight = range->mem == ERNE_MEM_WEIGHT;
    const uint8_t *host = (const uint8_t *)range->base + piece->first;
    const bool shared = can_share(dev, range);
    cl_mem_flags flags = is_weight ? CL_MEM_READ_ONLY : CL_MEM_READ_WRITE;
    int st;

    if (shared)
        flags |= CL_MEM_USE_HOST_PTR;
    /* The interface wants the address of memory to write, which READ_ONLY rules out. */
    CL_TRY_MAKE(piece->mem, dev, CreateBuffer, dev->context, flags, piece->n_bytes,
                shared ? (void *)(uintptr_t)host : NULL);
    if (shared || !is_weight)
        return 0;
    st = fill_piece(dev, piece, host);
    if (st < 0) {
        cl_queue_settle(dev);
        CL_RELEASE(dev, MemObject, piece->mem);
        piece->mem = NULL;
    }
    return st;
}

/* Cuts a range into pieces of at most memory->largest bytes. */
static int make_pieces(struct cl_range *range, const struct cl_memory *memory,
                       struct cl_device *dev, const struct erne_range *src)
{
    const size_t largest = memory->largest & ~(size_t)4095, overlap = largest / 4;
    size_t first = 0;

    range->n_pieces = 0;
    if (src->n_bytes > memory->largest &&
        (src->mem != ERNE_MEM_WEIGHT || largest < LEAST_PIECE))
        return ERNE_ENOMEM; /* what is written must not be there twice */
    range->pieces = calloc(
        src->n_bytes > memory->largest ? src->n_bytes / (largest - overlap) + 2 : 1,
        sizeof(*range->pieces));
    if (!range->pieces)
        return ERNE_ENOMEM;
    for (;;) {
        const size_t left = src->n_bytes - first;
        struct piece *piece = &range->pieces[range->n_pieces];

        piece->first = first;
        piece->n_bytes = left <= memory->largest ? left : largest;
        ERNE_TRY(make_piece(piece, dev, src));
        range->n_pieces++;
        if (piece->n_bytes == left)
            return 0;
        first += largest - overlap;
    }
}

/* What the driver says of the largest buffer is only where trying begins. */
static int make_range(struct cl_range *range, struct cl_memory *memory,
                      struct cl_device *dev, const struct erne_range *src)
{
    for (;;) {
        const size_t tried =
            src->n_bytes < memory->largest ? src->n_bytes : memory->largest;
        const int st = make_pieces(range, memory, dev, src);

        if (st == 0)
            return 0;
        release_range(range, dev);
        if (st != ERNE_ENOMEM || src->mem != ERNE_MEM_WEIGHT ||
            tried / 2 < 4 * LEAST_PIECE)
            return st;
        memory->largest = tried / 2;
    }
}

/* Of all pieces, which may overlap. */
static size_t held_bytes(const struct cl_range *range)
{
    size_t n = 0;

    for (size_t i = 0; i < range->n_pieces; i++)
        n += range->pieces[i].n_bytes;
    return n;
}

static int add_range(struct cl_memory *memory, const struct cl_range *range)
{
    size_t at = index_of(memory, range->base);

    erne_memory_use_take(&memory->use, held_bytes(range), range->is_shared);

    at = at == memory->n_ranges ? 0 : at + 1;
    memmove(memory->ranges + at + 1, memory->ranges + at,
            (memory->n_ranges - at) * sizeof(*range));
    memory->ranges[at] = *range;
    memory->n_ranges++;
    memory->generation++;
    return 0;
}

static int make_room(struct cl_memory *memory)
{
    const size_t cap = memory->cap_ranges ? 2 * memory->cap_ranges : 64;
    struct cl_range *ranges;

    if (memory->n_ranges < memory->cap_ranges)
        return 0;
    ranges = realloc(memory->ranges, cap * sizeof(*ranges));
    if (!ranges)
        return ERNE_ENOMEM;
    memory->ranges = ranges;
    memory->cap_ranges = cap;
    return 0;
}

int cl_memory_map(struct cl_memory *memory, struct cl_device *dev,
                  const struct erne_range *src)
{
    const size_t i = index_of(memory, src->base);
    struct cl_range range = { .base = src->base,
                              .n_bytes = src->n_bytes,
                              .n_users = 1,
                              .is_shared = can_share(dev, src) };

    if (i < memory->n_ranges && memory->ranges[i].base == range.base) {
        memory->ranges[i].n_users++;
        return 0;
    }
    ERNE_TRY(make_room(memory));
    ERNE_TRY(make_range(&range, memory, dev, src));
    return add_range(memory, &range);
}

void cl_memory_unmap(struct cl_memory *memory, struct cl_device *dev, const void *base)
{
    const size_t i = index_of(memory, base);

    if (i == memory->n_ranges || memory->ranges[i].base != base ||
        --memory->ranges[i].n_users > 0)
        return;
    erne_memory_use_give(&memory->use, held_bytes(&memory->ranges[i]),
                         memory->ranges[i].is_shared);
    release_range(&memory->ranges[i], dev);
    memmove(memory->ranges + i, memory->ranges + i + 1,
            (memory->n_ranges - i - 1) * sizeof(*memory->ranges));
    memory->n_ranges--;
    memory->generation++;
}

/* ----------------------------------------------------------------- scratch */

/* Several plans share a backend, so the block only grows. */
int cl_memory_reserve_scratch(struct cl_memory *memory, struct cl_device *dev,
                              size_t n_bytes)
{
    cl_mem scratch;

    if (n_bytes <= memory->scratch_bytes)
        return 0;
    CL_TRY_MAKE(scratch, dev, CreateBuffer, dev->context, CL_MEM_READ_WRITE, n_bytes,
                NULL);
    erne_memory_use_take(&memory->use, n_bytes, false);
    erne_memory_use_give(&memory->use, memory->scratch_bytes, false);
    CL_RELEASE(dev, MemObject, memory->scratch);
    memory->scratch = scratch;
    memory->scratch_bytes = n_bytes;
    return 0;
}

void cl_memory_deinit(struct cl_memory *memory, struct cl_device *dev)
{
    for (size_t i = 0; i < memory->n_ranges; i++)
        release_range(&memory->ranges[i], dev);
    free(memory->ranges);
    CL_RELEASE(dev, MemObject, memory->scratch);
}
