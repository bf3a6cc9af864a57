/* arena.c -- see arena.h. Memory comes from the system in whole pages, zeroed. */
#include "runtime/arena.h"

#include "platforms/platform.h"
#include "runtime/include/erne.h"

int erne_arena_init(struct erne_arena *arena, size_t cap)
{
    *arena = (struct erne_arena){ .cap = cap };
    if (cap == 0)
        return 0;
    arena->base = pf_pages_alloc(cap);
    return arena->base ? 0 : ERNE_ENOMEM;
}

void erne_arena_deinit(struct erne_arena *arena)
{
    if (arena->base)
        pf_pages_free(arena->base, arena->cap);
    *arena = (struct erne_arena){ 0 };
}

void erne_arena_leave(struct erne_arena *arena)
{
    *arena = (struct erne_arena){ 0 };
}

void *erne_arena_push(struct erne_arena *arena, size_t n_bytes, size_t align)
{
    size_t start = (arena->used + align - 1) & ~(align - 1);

    if (start < arena->used || n_bytes > SIZE_MAX - start)
        return NULL;
    if (arena->base && start + n_bytes > arena->cap)
        return NULL;
    arena->used = start + n_bytes;
    return arena->base ? arena->base + start : NULL;
}
