/* kv_row.h -- rows of a KV cache: one head's keys (or values) at one position.
 *
 * f32 and f16 rows are their d numbers. q8 and q4 rows are integer codes with one scale,
 * and a cache of theirs counts bytes: codes, then the scale as f16.
 *
 *     q8   [d] int8            number = scale * code
 *     q4   [d / 2] bytes       number = scale * (code - 7.5); byte j holds the codes of
 *                              numbers j (low bits) and j + d / 2
 *
 * What q4 holds is the row after erne_kv_rotate, which spreads a large number over many:
 * sixteen steps are too few for a row of which one number dwarfs the others. The rotation
 * keeps dot products, so scores can be computed from rotated queries, and is its own
 * inverse, so results can be rotated back.
 */
#ifndef ERNE_KV_ROW_H
#define ERNE_KV_ROW_H

#include "runtime/tensor.h"

enum { ERNE_KV_SCALE_BYTES = 2, ERNE_KV_MAX_Q4 = 1024 /* numbers of a q4 row */ };

static inline bool erne_kv_is_quantised(enum erne_type type)
{
    return type == ERNE_TYPE_Q8 || type == ERNE_TYPE_Q4;
}

/* Elements (of the type's size) of a row of d numbers. */
int64_t erne_kv_row_len(enum erne_type type, int64_t d);
/* d of a cache [pages, heads, positions, row length]. */
int64_t erne_kv_head_dim(const struct erne_tensor *cache);

/* Rotates x [d] in place: a Walsh-Hadamard transform of runs as long as the largest power
 * of two that divides d. */
void erne_kv_rotate(float *x, int64_t d);

/* Writes a q8 or q4 row of x [d]. */
void erne_kv_encode(enum erne_type type, uint8_t *row, const float *x, int64_t d);
/* The numbers that a q8 or q4 row holds, for q4 the rotated ones. */
void erne_kv_decode(enum erne_type type, float *x, const uint8_t *row, int64_t d);

#endif
