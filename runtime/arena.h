/* arena.h -- memory with one lifetime: model, session, step.
 *
 * Sizes are computed first, then everything lives in one block; an arena never grows and
 * its pieces are never freed one by one. Two passes of the same code serve both: with
 * base == NULL a push only counts, so that `used` afterwards is the size to allocate.
 */
#ifndef ERNE_ARENA_H
#define ERNE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct erne_arena {
    uint8_t *base;
    size_t used, cap;
};

/* Takes a block of n_bytes pages-backed zeroed memory. ENOMEM. */
int erne_arena_init(struct erne_arena *arena, size_t cap);
void erne_arena_deinit(struct erne_arena *arena);
/* The same, but the memory stays, since someone else works with it for good. */
void erne_arena_leave(struct erne_arena *arena);
/* n_bytes at a multiple of align (a power of two); NULL when full, or while counting. */
void *erne_arena_push(struct erne_arena *arena, size_t n_bytes, size_t align);

#endif
