/* limits_avx512.c -- int8 dot products on registers alone, for limits.c. */
#include <stdint.h>

int64_t limits_dots(int64_t turns);

#ifdef __AVX512VNNI__
#include <immintrin.h>

/* Twelve sums that differ, named one by one: gcc keeps arrays of registers in memory, and
 * computes equal sums once. */
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

int64_t limits_dots(int64_t turns)
{
    const __m512i x = _mm512_set1_epi8(3);
    __m512i all = _mm512_setzero_si512();
#define X(i) __m512i sum##i = _mm512_set1_epi32(i);
    EACH(X)
#undef X
    for (int64_t t = 0; t < 2 * turns; t++) {
#define X(i) sum##i = _mm512_dpbusd_epi32(sum##i, x, x);
        EACH(X)
#undef X
    }
#define X(i) all = _mm512_add_epi32(all, sum##i);
    EACH(X)
#undef X
    return _mm512_reduce_add_epi32(all);
}
#else
int64_t limits_dots(int64_t turns)
{
    (void)turns;
    return -1;
}
#endif
