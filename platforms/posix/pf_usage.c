/* pf_usage.c (POSIX) -- what the machine is busy with, from Linux's /proc and /sys:
 * proc(5), Documentation/power/powercap, Documentation/hwmon/sysfs-interface. */
#include "platforms/compiler.h"
#include "platforms/platform.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_CAP = 512, LINE_CAP = 256, MAX_CPUS = 4096 };

/* The first line of a file whose path is made as by printf; false if there is none. */
static bool read_line(char *line, const char *fmt, ...) ERNE_PRINTF(2, 3);

static bool read_line(char *line, const char *fmt, ...)
{
    char path[PATH_CAP];
    va_list args;
    FILE *file;
    bool done;

    va_start(args, fmt);
    vsnprintf(path, sizeof(path), fmt, args);
    va_end(args);
    file = fopen(path, "r");
    if (!file)
        return false;
    done = fgets(line, LINE_CAP, file) != NULL;
    fclose(file);
    return done;
}

/* "cpu  user nice system idle iowait irq softirq steal ..." in ticks; the times of guests
 * are within those of user and nice. */
static void read_stat(struct pf_usage *u, const char *root)
{
    const uint64_t tick_ns = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t t[8] = { 0 };
    char line[LINE_CAP], *at = line;

    if (!read_line(line, "%s/proc/stat", root) || strncmp(line, "cpu ", 4) != 0)
        return;
    at += 4;
    for (int i = 0; i < 8; i++)
        t[i] = strtoull(at, &at, 10);
    u->busy_ns = (t[0] + t[1] + t[2] + t[5] + t[6]) * tick_ns;
    u->stolen_ns = t[7] * tick_ns;
}

/* Mean clock and all slow-downs. cpufreq's unit is kHz. */
static void read_clocks(struct pf_usage *u, const char *root)
{
    static const char cpu[] = "%s/sys/devices/system/cpu/cpu%d/%s";
    char line[LINE_CAP];
    double mhz = 0;
    int n = 0;

    for (int i = 0; i < u->n_cpus && i < MAX_CPUS; i++) {
        if (read_line(line, cpu, root, i, "cpufreq/scaling_cur_freq")) {
            mhz += strtod(line, NULL) / 1000;
            n++;
        }
        if (read_line(line, cpu, root, i, "thermal_throttle/core_throttle_count"))
            u->n_throttled += strtoull(line, NULL, 10);
    }
    u->mhz = n > 0 ? mhz / n : 0;
}

/* RAPL: intel-rapl:0 is a package (also of AMD's), intel-rapl:0:0 a part of it. */
static void read_packages(struct pf_usage *u, const char *root)
{
    static const char zone[] = "%s/sys/class/powercap/intel-rapl:%d/%s";
    char energy[LINE_CAP], range[LINE_CAP];

    for (int i = 0; i < PF_MAX_PACKAGES; i++) {
        if (!read_line(energy, zone, root, i, "energy_uj") ||
            !read_line(range, zone, root, i, "max_energy_range_uj"))
            return;
        u->energy_uj[i] = strtoull(energy, NULL, 10);
        u->range_uj[i] = strtoull(range, NULL, 10);
        u->n_packages = i + 1;
    }
}

/* Sensors: a counter of energy if one has it, else the power of all. */
static void read_sensor(struct pf_usage *u, const char *root, const char *name)
{
    static const char file[] = "%s/sys/class/hwmon/%s/%s";
    char line[LINE_CAP];

    if (u->n_packages < PF_MAX_PACKAGES &&
        read_line(line, file, root, name, "energy1_input")) {
        u->energy_uj[u->n_packages] = strtoull(line, NULL, 10);
        u->range_uj[u->n_packages++] = 0;
    } else if (read_line(line, file, root, name, "power1_input")) {
        u->watts += strtod(line, NULL) * 1e-6;
    }
}

static void read_sensors(struct pf_usage *u, const char *root)
{
    char **names = NULL, path[PATH_CAP];
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/sys/class/hwmon", root);
    if (pf_dir_list(path, &names, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        read_sensor(u, root, names[i]);
    pf_dir_free(names, n);
}

void pf_usage_read(struct pf_usage *usage, const char *root)
{
    struct timespec own = { 0 };
    char line[LINE_CAP];

    if (!root)
        root = "";
    *usage = (struct pf_usage){ .time_ns = pf_time_ns(),
                                .n_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN) };
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) == 0)
        usage->own_ns = (uint64_t)own.tv_sec * 1000000000u + (uint64_t)own.tv_nsec;
    read_stat(usage, root);
    if (read_line(line, "%s/proc/loadavg", root))
        usage->load = strtod(line, NULL);
    read_clocks(usage, root);
    read_packages(usage, root);
    if (usage->n_packages == 0)
        read_sensors(usage, root);
}
