/* pf_cpu.c (POSIX) -- how many cores this process may use, and what they are called.
 * Reads Linux's /proc and /sys; where those are missing the answers are coarser. */
#include "platforms/platform.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

/* The first line of a file of the kernel's, without its end; "" if there is none. */
static void read_line(const char *path, char *line, size_t cap)
{
    FILE *file = fopen(path, "r");

    if (!file || !fgets(line, (int)cap, file))
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (file)
        fclose(file);
}

/* The lowest-numbered thread of the core that `cpu` is a thread of; `cpu` if unknown. */
static unsigned long first_sibling(unsigned long cpu)
{
    char path[96], line[64], *end;
    unsigned long first;

    snprintf(path, sizeof(path),
             "/sys/devices/system/cpu/cpu%lu/topology/thread_siblings_list", cpu);
    read_line(path, line, sizeof(line));
    first = strtoul(line, &end, 10); /* "0-1" or "0,4" */
    return end != line && first < CPU_SETSIZE ? first : cpu;
}

static long read_number(const char *path)
{
    char line[64];

    read_line(path, line, sizeof(line));
    return strtol(line, NULL, 10);
}

/* Whole cores that the container's time quota is worth, rounded up; at most n. */
static int quota_cores(int n)
{
    char line[64], *end;
    long quota, period;

    read_line("/sys/fs/cgroup/cpu.max", line, sizeof(line));
    quota = strtol(line, &end, 10); /* "200000 100000", or "max 100000" */
    period = strtol(end, NULL, 10);
    if (line[0] == '\0') { /* cgroups of version 1; -1: no quota */
        quota = read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
        period = read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    }
    if (quota <= 0 || period <= 0 || (quota - 1) / period + 1 >= n)
        return n;
    return (int)((quota - 1) / period + 1);
}

int pf_cpu_count(void)
{
    cpu_set_t allowed, cores;

    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0) {
        long n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than the set holds */

        return n > 0 ? quota_cores((int)n) : 1;
    }
    for (unsigned long cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            CPU_SET(first_sibling(cpu), &cores);
    return quota_cores(CPU_COUNT(&cores));
}

/* x86 names the processor in cpuinfo; ARM has only numbers there. */
static int name_from_cpuinfo(char *name, size_t cap)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    int found = 0;

    if (!file)
        return 0;
    while (!found && fgets(line, sizeof(line), file)) {
        const char *value = strchr(line, ':');

        if (value && strncmp(line, "model name", strlen("model name")) == 0) {
            value += 1 + strspn(value + 1, " ");
            snprintf(name, cap, "%.*s", (int)strcspn(value, "\n"), value);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

void pf_cpu_name(char *buf, size_t cap)
{
    if (cap == 0 || name_from_cpuinfo(buf, cap))
        return;
    read_line("/proc/device-tree/model", buf, cap); /* "Raspberry Pi 5 Model B" */
    if (buf[0] == '\0')
        snprintf(buf, cap, "unknown CPU");
}

bool pf_cpu_has_arm_dot(void)
{
#if defined(__aarch64__) && defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
    return true; /* all of Apple's 64-bit desktop processors */
#else
    return false;
#endif
}

bool pf_cpu_has_arm_i8mm(void)
{
#if defined(__aarch64__) && defined(__linux__)
    return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
    int has = 0; /* the second generation of Apple's has */
    size_t n_bytes = sizeof(has);
    return sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &n_bytes, NULL, 0) == 0 && has;
#else
    return false;
#endif
}
