/* pf_memory.c (POSIX) -- pages from the system, and how many there are. */
#include "platforms/platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *pf_pages_alloc(size_t n_bytes)
{
    void *pages = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return pages == MAP_FAILED ? NULL : pages;
}

void pf_pages_free(void *pages, size_t n_bytes)
{
    if (pages)
        munmap(pages, n_bytes);
}

void pf_pages_large(void *pages, size_t n_bytes)
{
#ifdef MADV_HUGEPAGE
    madvise(pages, n_bytes, MADV_HUGEPAGE);
#else
    (void)pages, (void)n_bytes;
#endif
}

void pf_pages_discard(void *pages, size_t n_bytes)
{
    /* Pages that the range covers only in part keep what they hold. */
    size_t page = pf_page_size();
    size_t lead = (page - (uintptr_t)pages % page) % page;

    if (n_bytes < lead + page)
        return;
    madvise((uint8_t *)pages + lead, (n_bytes - lead) / page * page, MADV_DONTNEED);
}

size_t pf_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t pf_memory_total(void)
{
    long n_pages = sysconf(_SC_PHYS_PAGES);

    return n_pages > 0 ? (uint64_t)n_pages * pf_page_size() : 0;
}

/* A line of /proc/self/status, in KiB there. Not getrusage, whose peak starts with what
 * the parent held before exec. */
static uint64_t status_bytes(const char *name)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[128];
    uint64_t kib = 0;

    if (!status)
        return 0;
    while (kib == 0 && fgets(line, sizeof(line), status))
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtoull(line + strlen(name), NULL, 10);
    fclose(status);
    return kib * 1024;
}

uint64_t pf_memory_now(void)
{
    return status_bytes("VmRSS:");
}

uint64_t pf_memory_peak(void)
{
    return status_bytes("VmHWM:");
}
