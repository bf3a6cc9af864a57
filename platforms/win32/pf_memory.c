/* pf_memory.c (Windows) -- pages from the system, and how many there are. */
#include "platforms/platform.h"

#include <windows.h>
/* After windows.h, whose types it uses. */
#include <psapi.h>

void *pf_pages_alloc(size_t n_bytes)
{
    return VirtualAlloc(NULL, n_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void pf_pages_free(void *pages, size_t n_bytes)
{
    (void)n_bytes;
    if (pages)
        VirtualFree(pages, 0, MEM_RELEASE);
}

/* Large pages want a privilege there that few users have. */
void pf_pages_large(void *pages, size_t n_bytes)
{
    (void)pages, (void)n_bytes;
}

void pf_pages_discard(void *pages, size_t n_bytes)
{
    /* Pages that the range covers only in part keep what they hold. */
    size_t page = pf_page_size();
    size_t lead = (page - (uintptr_t)pages % page) % page;
    uint8_t *first = (uint8_t *)pages + lead;

    if (n_bytes < lead + page)
        return;
    n_bytes = (n_bytes - lead) / page * page;
    /* Committing again what was decommitted gives zeroed pages. */
    if (VirtualFree(first, n_bytes, MEM_DECOMMIT))
        VirtualAlloc(first, n_bytes, MEM_COMMIT, PAGE_READWRITE);
}

size_t pf_page_size(void)
{
    SYSTEM_INFO info;

    GetSystemInfo(&info);
    return info.dwPageSize;
}

uint64_t pf_memory_total(void)
{
    MEMORYSTATUSEX memory = { .dwLength = sizeof(memory) };

    return GlobalMemoryStatusEx(&memory) ? memory.ullTotalPhys : 0;
}

/* All zeros where the system does not say. */
static PROCESS_MEMORY_COUNTERS memory_counters(void)
{
    PROCESS_MEMORY_COUNTERS counters = { .cb = sizeof(counters) };

    if (!GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof(counters)))
        return (PROCESS_MEMORY_COUNTERS){ 0 };
    return counters;
}

uint64_t pf_memory_now(void)
{
    return memory_counters().WorkingSetSize;
}

uint64_t pf_memory_peak(void)
{
    return memory_counters().PeakWorkingSetSize;
}
