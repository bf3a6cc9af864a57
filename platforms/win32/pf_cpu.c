/* pf_cpu.c (Windows) -- how many cores this process may use, and what they are called. */
#include "platforms/platform.h"

#include <stdlib.h>
#include <windows.h>

/* Physical cores whose threads meet the mask of those this process may run on. */
static int count_cores(const SYSTEM_LOGICAL_PROCESSOR_INFORMATION *infos, DWORD n_infos,
                       DWORD_PTR allowed)
{
    int n = 0;

    for (DWORD i = 0; i < n_infos; i++)
        if (infos[i].Relationship == RelationProcessorCore &&
            (infos[i].ProcessorMask & allowed))
            n++;
    return n;
}

int pf_cpu_count(void)
{
    SYSTEM_LOGICAL_PROCESSOR_INFORMATION *infos = NULL;
    DWORD_PTR allowed = 0, system = 0;
    DWORD n_bytes = 0;
    int n = 0;

    GetLogicalProcessorInformation(NULL, &n_bytes); /* fails, and tells the size */
    if (n_bytes > 0)
        infos = malloc(n_bytes);
    if (infos && GetProcessAffinityMask(GetCurrentProcess(), &allowed, &system) &&
        GetLogicalProcessorInformation(infos, &n_bytes))
        n = count_cores(infos, n_bytes / (DWORD)sizeof(*infos), allowed);
    free(infos);
    return n > 0 ? n : 1;
}

void pf_cpu_name(char *buf, size_t cap)
{
    DWORD n_bytes = (DWORD)cap;

    if (cap == 0)
        return;
    if (RegGetValueA(HKEY_LOCAL_MACHINE,
                     "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0",
                     "ProcessorNameString", RRF_RT_REG_SZ, NULL, buf,
                     &n_bytes) != ERROR_SUCCESS)
        snprintf(buf, cap, "unknown CPU");
}

bool pf_cpu_has_arm_dot(void)
{
#ifdef PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
    return IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE) != 0;
#else
    return false;
#endif
}

bool pf_cpu_has_arm_i8mm(void)
{
#ifdef PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE
    return IsProcessorFeaturePresent(PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE) != 0;
#else
    return false;
#endif
}
