/* peak_avx512bf16.c -- the most that a core can multiply in bf16, whose instructions are
 * an extension of AVX-512 that not all have. Only oneDNN computes with them; this is what
 * it is measured by. See peak.inc.c. */
#include "backends/cpu/cpu_kernels.h"

#ifdef __AVX512BF16__
#include <immintrin.h>

enum { CHAINS = 12, LANES = 16 };
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

static float peak_bf16(int64_t n)
{
    const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.01f), _mm512_set1_ps(0.02f));
    __m512 sum = _mm512_setzero_ps();
#define X(i) __m512 c##i = _mm512_set1_ps((float)i);
    EACH(X)
#undef X
    for (int64_t k = 0; k < n; k++) {
#define X(i) c##i = _mm512_dpbf16_ps(c##i, x, x);
        EACH(X)
#undef X
    }
#define X(i) sum = _mm512_add_ps(sum, c##i);
    EACH(X)
#undef X
    return _mm512_reduce_add_ps(sum);
}

void cpu_kernels_init_avx512bf16(struct cpu_kernels *k)
{
    k->peak_bf16 = peak_bf16;
    k->peak_bf16_ops = 4 * LANES * CHAINS; /* pairs are multiplied and added */
}
#else
void cpu_kernels_init_avx512bf16(struct cpu_kernels *k)
{
    (void)k;
}
#endif
