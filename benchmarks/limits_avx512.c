/* limits_avx512.c -- int8 dot products on registers alone, for limits.c. */
#include <stdint.h>

int64_t limits_dots(int64_t turns);

#ifdef __AVX512VNNI__
#include <immintrin.h>

/* Twenty-four sums, as a matrix product holds them. */
int64_t limits_dots(int64_t turns)
{
    __m512i sum[24], x = _mm512_set1_epi8(3);
    for (int i = 0; i < 24; i++)
        sum[i] = _mm512_setzero_si512();
    for (int64_t t = 0; t < turns; t++) {
#pragma GCC unroll 24
        for (int i = 0; i < 24; i++)
            sum[i] = _mm512_dpbusd_epi32(sum[i], x, x);
    }
    for (int i = 1; i < 24; i++)
        sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    return _mm512_reduce_add_epi32(sum[0]);
}
#else
int64_t limits_dots(int64_t turns)
{
    (void)turns;
    return -1;
}
#endif
