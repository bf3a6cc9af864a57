/* level_neon.c -- every portable kernel, built for NEON and ARMv8.2's dot products. */
#define CPU_KERNELS_INIT cpu_kernels_init_neon
#include "backends/cpu/kernels/common.inc.c"

#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

#include "backends/cpu/kernels/vec_neon.inc.c"

#include "backends/cpu/kernels/level.inc.c"
#else
CPU_KERNELS_INIT_EMPTY
#endif
