/* level_avx512ymm.c -- level avxvnni for processors that have its dot products in
 * AVX-512 only: the same code in eight lanes, another encoding of one instruction. So it
 * runs, and is tested, on servers too. */
#define CPU_KERNELS_INIT cpu_kernels_init_avx512ymm
#include "backends/cpu/kernels/common.inc.c"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && \
    defined(__AVX512VL__) && defined(__AVX512VNNI__)
#include <immintrin.h>

#include "backends/cpu/kernels/vec_avx2.inc.c"

#include "backends/cpu/kernels/level.inc.c"
#else
CPU_KERNELS_INIT_EMPTY
#endif
