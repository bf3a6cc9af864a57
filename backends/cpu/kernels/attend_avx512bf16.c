/* attend_avx512bf16.c -- queries over keys and values in bf16, with a running softmax and
 * sums in f32. What only processors with AVX512_BF16 can do at twice the speed of f32;
 * everything else that attends is attention.inc.c.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "backends/cpu/cpu_kernels.h"
#include "platforms/compiler.h"

#ifdef __AVX512BF16__
#include <immintrin.h>

#include "backends/cpu/kernels/kv_prefetch.inc.c"

/* Queries at a time, and numbers a vector. Registers are named one by one: gcc 12 keeps
 * arrays of them on the stack. */
enum { N_ROWS = CPU_BF16_ROWS, VL = 16 };
#define EACH_ROW(X) X(0) X(1) X(2) X(3)

/* Two neighbours of bf16 in all lanes. */
static inline __m512bh pair_at(const uint16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

static inline __m512bh load_pairs(const uint16_t *p)
{
    return (__m512bh)_mm512_loadu_si512(p);
}

/* p [N_ROWS, CPU_BF16_KEYS] = q [N_ROWS, d] times the keys of the tiles that are seen. */
static void scores(float *p, const uint16_t *q, const struct cpu_bf16_keys *kv)
{
    const int64_t d = kv->d, part = 2 * kv->next_bytes / d;
    for (int i = kv->first / ERNE_TILE_ROWS * ERNE_TILE_ROWS; i < kv->end;
         i += ERNE_TILE_ROWS) {
        const uint16_t *k = kv->k + i * d;
#define X(m) __m512 a##m = _mm512_setzero_ps(), b##m = a##m, c##m = a##m, d##m = a##m;
        EACH_ROW(X)
#undef X
        for (int64_t c = 0; c < d; c += 2, k += 2 * ERNE_TILE_ROWS) {
            prefetch(kv->next_k, c / 2, part);
            const __m512bh wa = load_pairs(k), wb = load_pairs(k + 2 * VL);
            const __m512bh wc = load_pairs(k + 4 * VL), wd = load_pairs(k + 6 * VL);
#define X(m)                                       \
    {                                              \
        const __m512bh x = pair_at(q + (m)*d + c); \
        a##m = _mm512_dpbf16_ps(a##m, wa, x);      \
        b##m = _mm512_dpbf16_ps(b##m, wb, x);      \
        c##m = _mm512_dpbf16_ps(c##m, wc, x);      \
        d##m = _mm512_dpbf16_ps(d##m, wd, x);      \
    }
            EACH_ROW(X)
#undef X
        }
#define X(m)                                                    \
    _mm512_storeu_ps(p + (m)*CPU_BF16_KEYS + i, a##m);          \
    _mm512_storeu_ps(p + (m)*CPU_BF16_KEYS + i + VL, b##m);     \
    _mm512_storeu_ps(p + (m)*CPU_BF16_KEYS + i + 2 * VL, c##m); \
    _mm512_storeu_ps(p + (m)*CPU_BF16_KEYS + i + 3 * VL, d##m);
        EACH_ROW(X)
#undef X
    }
}

/* 2^x to 4e-5 of itself, which bf16 rounds to 4e-3; x <= 0. */
static inline __m512 exp2_of(__m512 x)
{
    const __m512 r = _mm512_reduce_ps(x, 0); /* what is left of the nearest integer */
    __m512 y = _mm512_set1_ps(9.6181291e-3f);
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(5.5504109e-2f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(2.4022651e-1f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(6.9314718e-1f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, _mm512_sub_ps(x, r));
}

/* The lanes of a vector from key i on that lie in first .. end. */
static inline __mmask16 seen_from(int first, int end, int i)
{
    const int low = first - i, high = end - i;
    const unsigned from = low <= 0 ? 0xffffU : low < VL ? 0xffffU << low : 0;
    const unsigned until = high >= VL ? 0xffffU : high > 0 ? ~(0xffffU << high) : 0;
    return (__mmask16)(from & until);
}

/* Takes a row's scores into its softmax; w [CPU_BF16_KEYS] becomes the weights. */
static inline void softmax(struct cpu_softmax *s, uint16_t *w, const float *p,
                           const struct cpu_bf16_keys *kv)
{
    const int begin = kv->first / ERNE_TILE_ROWS * ERNE_TILE_ROWS;
    const int first = kv->first, end = s->n;
    const __m512 none = _mm512_set1_ps(-FLT_MAX);
    __m512 top = _mm512_set1_ps(s->max), total = _mm512_setzero_ps();
    for (int i = begin; i < kv->end; i += VL)
        top = _mm512_max_ps(top,
                            _mm512_mask_loadu_ps(none, seen_from(first, end, i), p + i));
    const float max = _mm512_reduce_max_ps(top);
    top = _mm512_set1_ps(max);
    for (int i = begin; i < kv->end; i += 2 * VL) {
        const __m512 a =
            _mm512_maskz_mov_ps(seen_from(first, end, i),
                                exp2_of(_mm512_sub_ps(_mm512_loadu_ps(p + i), top)));
        const __m512 b =
            _mm512_maskz_mov_ps(seen_from(first, end, i + VL),
                                exp2_of(_mm512_sub_ps(_mm512_loadu_ps(p + i + VL), top)));
        total = _mm512_add_ps(total, _mm512_add_ps(a, b));
        _mm512_storeu_si512(w + i, (__m512i)_mm512_cvtne2ps_pbh(b, a));
    }
    s->keep = exp2f(s->max - max);
    s->total = s->total * s->keep + _mm512_reduce_add_ps(total);
    s->max = max;
}

/* For row m and vector i of what is summed up. */
#define LOAD(m, i)                                                         \
    __m512 a##m##i = _mm512_mul_ps(_mm512_loadu_ps(s[m].out + c + (i)*VL), \
                                   _mm512_set1_ps(s[m].keep));
#define ADD(m, i) \
    a##m##i = _mm512_dpbf16_ps(a##m##i, load_pairs(v + 2 * VL * (i)), x##m);
#define STORE(m, i)  _mm512_storeu_ps(s[m].out + c + (i)*VL, a##m##i);
#define ROWS(F, i)   F(0, i) F(1, i) F(2, i) F(3, i)
#define VECTORS_1(F) ROWS(F, 0)
#define VECTORS_4(F) ROWS(F, 0) ROWS(F, 1) ROWS(F, 2) ROWS(F, 3)
#define VECTORS_5(F) VECTORS_4(F) ROWS(F, 4)

/* So many vectors from column c on of N_ROWS rows: out = out * keep + w v */
#define VALUES_FUNCTION(NAME, VECTORS)                                               \
    static void NAME(const struct cpu_softmax *s, const uint16_t *w,                 \
                     const struct cpu_bf16_keys *kv, int64_t c)                      \
    {                                                                                \
        const uint16_t *v = kv->v + kv->first / 2 * 2 * kv->d + 2 * c;               \
        const int64_t n_parts = kv->d / (4 * VL) * (ERNE_KV_PAGE / 2);               \
        const int64_t part = n_parts > 0 ? kv->next_bytes / n_parts : 0;             \
        int64_t at = c / (4 * VL) * (ERNE_KV_PAGE / 2);                              \
        VECTORS(LOAD)                                                                \
        for (int i = kv->first / 2 * 2; i < kv->end; i += 2, v += 2 * kv->d) {       \
            prefetch(kv->next_v, at++, part);                                        \
            const __m512bh x0 = pair_at(w + i), x1 = pair_at(w + CPU_BF16_KEYS + i); \
            const __m512bh x2 = pair_at(w + 2 * CPU_BF16_KEYS + i);                  \
            const __m512bh x3 = pair_at(w + 3 * CPU_BF16_KEYS + i);                  \
            VECTORS(ADD)                                                             \
        }                                                                            \
        VECTORS(STORE)                                                               \
    }
VALUES_FUNCTION(values_1, VECTORS_1)
VALUES_FUNCTION(values_4, VECTORS_4)
VALUES_FUNCTION(values_5, VECTORS_5)

static void values(const struct cpu_softmax *s, const uint16_t *w,
                   const struct cpu_bf16_keys *kv)
{
    int64_t c = 0;
    if (kv->d % (4 * VL) == VL && kv->d > VL) { /* heads of 80: twenty sums */
        values_5(s, w, kv, c);
        c = 5 * VL;
    }
    for (; c + 4 * VL <= kv->d; c += 4 * VL)
        values_4(s, w, kv, c);
    for (; c < kv->d; c += VL)
        values_1(s, w, kv, c);
}

static void attend_bf16(struct cpu_softmax *s, const uint16_t *q, int64_t n,
                        const struct cpu_bf16_keys *kv)
{
    float p[N_ROWS * CPU_BF16_KEYS];
    uint16_t w[N_ROWS * CPU_BF16_KEYS];
    struct cpu_bf16_keys part = *kv; /* of what comes next, each group's */
    part.next_bytes /= n / N_ROWS;
    for (int64_t i = 0; i < n; i += N_ROWS, s += N_ROWS, q += N_ROWS * kv->d) {
        scores(p, q, &part);
        for (int m = 0; m < N_ROWS; m++)
            softmax(&s[m], w + m * CPU_BF16_KEYS, p + m * CPU_BF16_KEYS, kv);
        values(s, w, &part);
        part.next_k += part.next_bytes;
        part.next_v += part.next_bytes;
    }
}

static void bf16_from_f32(uint16_t *dst, const float *src, float scale, int64_t n)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(src + i), _mm512_set1_ps(scale));
        _mm256_storeu_si256((__m256i *)(void *)(dst + i), (__m256i)_mm512_cvtneps_pbh(x));
    }
    for (; i < n; i++)
        dst[i] = erne_bf16_from_f32(scale * src[i]);
}

void cpu_kernels_init_attend_bf16(struct cpu_kernels *k)
{
    k->attend_bf16 = attend_bf16;
    k->bf16_from_f32 = bf16_from_f32;
}
#else
void cpu_kernels_init_attend_bf16(struct cpu_kernels *k)
{
    (void)k;
}
#endif
