/* kv_prefetch.inc.c -- how attention asks for the next page, in f32 and in bf16. */

/* Asks for part i of what will be needed soon: the processor's own guesses end where a
 * page does, and a page is over in microseconds. Parts are small and spread over all that
 * is computed meanwhile, since a core has only so many requests to memory open; and they
 * go to the second cache, whose requests are more and do not hold up the loads. */
static inline void prefetch(const uint8_t *next, int64_t i, int64_t part_bytes)
{
    const uint8_t *p = next + i * part_bytes;
    for (int64_t j = 0; j < part_bytes; j += 64)
        ERNE_PREFETCH_L2(p + j);
}
