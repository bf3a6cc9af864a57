/* cpu_kernels.c -- fills the kernel table: plain C first, then each level that the
 * processor has overwrites what it does better. */
#include "backends/cpu/cpu_kernels.h"

void cpu_kernels_init(struct cpu_kernels *k, enum cpu_isa isa)
{
    cpu_kernels_init_c(k);
#if defined(__aarch64__)
    if (isa >= CPU_ISA_NEON)
        cpu_kernels_init_neon(k);
    if (isa >= CPU_ISA_I8MM)
        cpu_kernels_init_i8mm(k);
#endif
    if (isa >= CPU_ISA_AVX2)
        cpu_kernels_init_avx2(k);
    if (isa >= CPU_ISA_AVXVNNI && cpu_isa_has_avx_vnni())
        cpu_kernels_init_avxvnni(k);
    else if (isa >= CPU_ISA_AVXVNNI)
        cpu_kernels_init_avx512ymm(k);
    if (isa >= CPU_ISA_AVX512)
        cpu_kernels_init_avx512(k);
    if (isa >= CPU_ISA_AVX512 && cpu_isa_has_bf16()) {
        cpu_kernels_init_avx512bf16(k);
        cpu_kernels_init_attend_bf16(k);
        cpu_kernels_init_pack_bf16(k);
    }
}
