/* round.h -- sizes and offsets, rounded up to a multiple of something. */
#ifndef ERNE_ROUND_H
#define ERNE_ROUND_H

#include <stdint.h>

/* Of elements. */
static inline int64_t erne_round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Of bytes: where the next thing of that alignment may start at or after offset. */
static inline uint64_t erne_align_up(uint64_t offset, uint64_t align)
{
    return (offset + align - 1) / align * align;
}

#endif
