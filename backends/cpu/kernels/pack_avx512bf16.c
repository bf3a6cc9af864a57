/* pack_avx512bf16.c -- lays a page of keys and values out for attend_avx512bf16.c: in
 * bf16, keys in pairs of their numbers and values in pairs of rows.
 */
#include <string.h>

#include "backends/cpu/cpu_kernels.h"

#ifdef __AVX512BF16__
#include <immintrin.h>

#include "backends/cpu/kernels/vec_avx512.inc.c"

#include "backends/cpu/kernels/kv_load.inc.c"

/* Thirty-two f16 as bf16. Ties go away from zero, and what f16 holds below its normal
 * numbers is zero, as it would be to the multiplier; there are no special numbers. Half
 * the cost of a way over f32. */
static inline __m512i bf16_of_f16(__m512i half)
{
    const __m512i sign = _mm512_set1_epi16(INT16_MIN);
    __m512i size = _mm512_andnot_si512(sign, half);
    size = _mm512_srli_epi16(_mm512_add_epi16(size, _mm512_set1_epi16(4)), 3);
    const __mmask32 normal = _mm512_test_epi16_mask(size, _mm512_set1_epi16(31 << 7));
    size = _mm512_maskz_add_epi16(normal, size, _mm512_set1_epi16((127 - 15) << 7));
    return _mm512_ternarylogic_epi32(size, half, sign, 0xf8); /* size | (half & sign) */
}

/* Four pairs each of rows 0, 4, 8 and 12. */
static inline __m512i load_4x4(const uint8_t *p, int64_t row_bytes)
{
#define PAIRS(i) _mm_loadu_si128((const __m128i *)(const void *)(p + (i)*row_bytes))
    __m512i x = _mm512_castsi128_si512(PAIRS(0));
    x = _mm512_inserti32x4(x, PAIRS(4), 1);
    x = _mm512_inserti32x4(x, PAIRS(8), 2);
    return _mm512_inserti32x4(x, PAIRS(12), 3);
#undef PAIRS
}

static inline void put(uint16_t *dst, __m512i x, bool is_f16)
{
    _mm512_storeu_si512(dst, is_f16 ? bf16_of_f16(x) : x);
}

/* Four pairs of sixteen rows of bf16, or of f16 to be rounded; dst [4, 64, 2] from some
 * row on. Half of the transposition is in the loads: units for shuffles are few. */
static inline void transpose(uint16_t *dst, const uint8_t *rows, int64_t row_bytes,
                             bool is_f16)
{
    enum { STEP = 2 * ERNE_TILE_ROWS };
    const __m512i a = load_4x4(rows, row_bytes);
    const __m512i b = load_4x4(rows + row_bytes, row_bytes);
    const __m512i c = load_4x4(rows + 2 * row_bytes, row_bytes);
    const __m512i d = load_4x4(rows + 3 * row_bytes, row_bytes);
    const __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    const __m512i ab2 = _mm512_unpackhi_epi32(a, b), cd2 = _mm512_unpackhi_epi32(c, d);
    put(dst, _mm512_unpacklo_epi64(ab, cd), is_f16);
    put(dst + STEP, _mm512_unpackhi_epi64(ab, cd), is_f16);
    put(dst + 2 * STEP, _mm512_unpacklo_epi64(ab2, cd2), is_f16);
    put(dst + 3 * STEP, _mm512_unpackhi_epi64(ab2, cd2), is_f16);
}

static void keys_f16(uint16_t *dst, const struct cpu_kv_page *kv, int n)
{
    for (int i = 0; i < n; i += 16)
        for (int64_t c = 0; c < kv->d; c += 8)
            transpose(dst + (c / 2 * ERNE_TILE_ROWS + i) * 2,
                      kv->k + i * kv->row_bytes + 2 * c, kv->row_bytes, true);
}

/* Codes times their scales, sixteen rows and numbers at a time. */
#define KEYS_FUNCTION(TYPE)                                                        \
    static void keys_##TYPE(uint16_t *dst, const struct cpu_kv_page *kv, int n)    \
    {                                                                              \
        enum { STEP = VL * sizeof(uint16_t) };                                     \
        uint8_t block[16 * STEP];                                                  \
        for (int i = 0; i < n; i += 16)                                            \
            for (int64_t c = 0; c < kv->d; c += VL) {                              \
                uint16_t *to = dst + (c / 2 * ERNE_TILE_ROWS + i) * 2;             \
                for (int r = 0; r < 16; r++) {                                     \
                    const uint8_t *row = kv->k + (i + r) * kv->row_bytes;          \
                    const vf x = v_mul(kv_load_##TYPE(row, c, kv->d),              \
                                       v_set1(kv->k_scale[i + r]));                \
                    _mm256_storeu_si256((__m256i *)(void *)(block + r * STEP),     \
                                        (__m256i)_mm512_cvtneps_pbh(x));           \
                }                                                                  \
                transpose(to, block, STEP, false);                                 \
                transpose(to + 8 * ERNE_TILE_ROWS, block + STEP / 2, STEP, false); \
            }                                                                      \
    }
KEYS_FUNCTION(q8)
KEYS_FUNCTION(q4)

/* For each pair of rows, numbers of the one between those of the other. The row behind
 * the last is taken for zeros. */
#define VALUES_FUNCTION(TYPE, SCALE)                                                  \
    static void values_##TYPE(uint16_t *dst, const struct cpu_kv_page *kv, int n)     \
    {                                                                                 \
        static const uint8_t order[2 * VL] = {                                        \
            0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,             \
            8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31              \
        };                                                                            \
        const __m512i merge = _mm512_cvtepu8_epi16(                                   \
            _mm256_loadu_si256((const __m256i *)(const void *)order));                \
        for (int i = 0; i < n; i += 2) {                                              \
            const uint8_t *row = kv->v + i * kv->row_bytes;                           \
            for (int64_t c = 0; c < kv->d; c += VL, dst += 2 * VL) {                  \
                const vf x = SCALE(kv_load_##TYPE(row, c, kv->d), i);                 \
                const vf y =                                                          \
                    i + 1 < n                                                         \
                        ? SCALE(kv_load_##TYPE(row + kv->row_bytes, c, kv->d), i + 1) \
                        : v_set1(0.0f);                                               \
                const __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(y, x);             \
                _mm512_storeu_si512(dst, _mm512_permutexvar_epi16(merge, pairs));     \
            }                                                                         \
        }                                                                             \
    }
#define NO_SCALE(x, i) x
#define V_SCALE(x, i)  v_mul(x, v_set1(kv->v_scale[i]))
VALUES_FUNCTION(f16, NO_SCALE)
VALUES_FUNCTION(q8, V_SCALE)
VALUES_FUNCTION(q4, V_SCALE)

#define PACK_FUNCTION(TYPE)                                                         \
    static void pack_##TYPE(uint16_t *k, uint16_t *v, const struct cpu_kv_page *kv, \
                            int n)                                                  \
    {                                                                               \
        keys_##TYPE(k, kv, n);                                                      \
        values_##TYPE(v, kv, n);                                                    \
    }
PACK_FUNCTION(f16)
PACK_FUNCTION(q8)
PACK_FUNCTION(q4)

void cpu_kernels_init_pack_bf16(struct cpu_kernels *k)
{
    k->pack_bf16[ERNE_TYPE_F16] = pack_f16;
    k->pack_bf16[ERNE_TYPE_Q8] = pack_q8;
    k->pack_bf16[ERNE_TYPE_Q4] = pack_q4;
}
#else
void cpu_kernels_init_pack_bf16(struct cpu_kernels *k)
{
    (void)k;
}
#endif
