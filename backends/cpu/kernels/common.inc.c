/* common.inc.c -- what every level_<isa>.c needs before its vectors. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "backends/cpu/cpu_kernels.h"
#include "platforms/compiler.h"

/* For a compiler that cannot build this level: the slots stay as they are. */
#define CPU_KERNELS_INIT_EMPTY                   \
    void CPU_KERNELS_INIT(struct cpu_kernels *k) \
    {                                            \
        (void)k;                                 \
    }
