/* level_i8mm.c -- every portable kernel, built for NEON with the dot products and the
 * matrix products of bytes that ARMv8.6 has, and some before it. */
#define CPU_KERNELS_INIT cpu_kernels_init_i8mm
#include "backends/cpu/kernels/common.inc.c"

#if defined(__aarch64__) && defined(__ARM_FEATURE_MATMUL_INT8)
#include <arm_neon.h>

#include "backends/cpu/kernels/vec_neon.inc.c"

#include "backends/cpu/kernels/level.inc.c"
#else
CPU_KERNELS_INIT_EMPTY
#endif
