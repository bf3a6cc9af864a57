/* level_avxvnni.c -- every portable kernel, built for AVX2, FMA, F16C and AVX-VNNI: the
 * dot products of AVX-512 on processors without it (laptops since Alder Lake). */
#define CPU_KERNELS_INIT cpu_kernels_init_avxvnni
#include "backends/cpu/kernels/common.inc.c"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && defined(__AVXVNNI__)
#include <immintrin.h>

#include "backends/cpu/kernels/vec_avx2.inc.c"

#include "backends/cpu/kernels/level.inc.c"
#else
CPU_KERNELS_INIT_EMPTY
#endif
