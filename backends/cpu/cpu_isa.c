/* cpu_isa.c -- which instructions this machine runs, and which of them the user allows.
 * The levels themselves are listed in cpu_kernels.h, their flags in cmake/isa.cmake. */
#include "backends/cpu/cpu_kernels.h"

#include <string.h>
#if defined(__x86_64__) && defined(ERNE_CPU_HAS)
#include <cpuid.h>
#endif

#include "platforms/platform.h"

/* Asked of the processor: clang 14 does not know the name. The system saves the registers
 * if it does so for AVX2. */
bool cpu_isa_has_avx_vnni(void)
{
#if defined(__x86_64__) && defined(ERNE_CPU_HAS)
    unsigned eax, ebx, ecx, edx;
    return ERNE_CPU_HAS("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
           (eax >> 4 & 1) != 0;
#else
    return false;
#endif
}

/* ERNE_CPU_HAS also asks whether the operating system saves the registers. F16C is not
 * asked for: every processor with AVX2 has it. */
enum cpu_isa cpu_isa_detect(void)
{
#if defined(__x86_64__) && defined(ERNE_CPU_HAS)
    if (!ERNE_CPU_HAS("avx2") || !ERNE_CPU_HAS("fma"))
        return CPU_ISA_C;
    if (!ERNE_CPU_HAS("avx512f") || !ERNE_CPU_HAS("avx512bw") ||
        !ERNE_CPU_HAS("avx512dq") || !ERNE_CPU_HAS("avx512vl") ||
        !ERNE_CPU_HAS("avx512vnni"))
        return cpu_isa_has_avx_vnni() ? CPU_ISA_AVXVNNI : CPU_ISA_AVX2;
    return CPU_ISA_AVX512;
#elif defined(__aarch64__)
    if (!pf_cpu_has_arm_dot())
        return CPU_ISA_C;
    return pf_cpu_has_arm_i8mm() ? CPU_ISA_I8MM : CPU_ISA_NEON;
#else
    return CPU_ISA_C;
#endif
}

bool cpu_isa_has_bf16(void)
{
#if defined(__x86_64__) && defined(ERNE_CPU_HAS)
    return cpu_isa_detect() == CPU_ISA_AVX512 && ERNE_CPU_HAS("avx512bf16");
#else
    return false;
#endif
}

const char *cpu_isa_name(enum cpu_isa isa)
{
    static const char *const names[CPU_ISA_COUNT] = {
#define X(NAME, name) #name,
        CPU_ISA_LIST(X)
#undef X
    };
    return names[isa];
}

int cpu_isa_parse(enum cpu_isa *isa, const char *name, struct erne_error *err)
{
    enum cpu_isa best = cpu_isa_detect();
    if (name == NULL || strcmp(name, "auto") == 0) {
        *isa = best;
        return ERNE_OK;
    }
    int level = 0;
    while (level < CPU_ISA_COUNT && strcmp(name, cpu_isa_name((enum cpu_isa)level)) != 0)
        level++;
    if (level == CPU_ISA_COUNT)
#define X(NAME, name) ", " #name
        return erne_fail(err, ERNE_EINVAL,
                         "instruction set \"%s\": must be one of auto" CPU_ISA_LIST(X),
                         name);
#undef X
    if (level > (int)best)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "instruction set \"%s\": this machine has \"%s\" at most", name,
                         cpu_isa_name(best));
    *isa = (enum cpu_isa)level;
    return ERNE_OK;
}
