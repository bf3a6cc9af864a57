/* profile_probe.c -- erne_device_profiles and erne_device_probe: the profiles that are
 * built in, and one of the machine this runs on. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/backend.h"
#include "runtime/profile.h"

int erne_device_profiles(int (*visit)(void *user, const char *name, const char *title),
                         void *user, struct erne_error *err)
{
    for (const struct erne_profile_text *t = erne_profile_texts; t->name; t++) {
        struct erne_profile profile;
        int st;

        ERNE_TRY(erne_profile_read(&profile, (const char *)t->text, *t->n_bytes, t->name,
                                   err));
        st = visit(user, profile.name, profile.title);
        if (st != 0)
            return st;
    }
    return 0;
}

/* -------------------------------------------------------------- bandwidth */

/* Much more than caches hold; read a few times, of which the fastest counts. */
enum { READ_BYTES = 512 << 20, MIN_SHARE = 1 << 20, N_READS = 3 };

struct reader {
    struct pf_thread *thread;
    const uint64_t *data;
    size_t n;
    uint64_t sum; /* so that the loop has a purpose */
};

/* Eight sums, so that no addition waits for the one before. */
static void read_all(void *arg)
{
    struct reader *r = arg;
    uint64_t sums[8] = { 0 };

    for (size_t i = 0; i + 8 <= r->n; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += r->data[i + j];
    for (size_t j = 0; j < 8; j++)
        r->sum += sums[j];
}

/* One reading by all threads: nanoseconds, 0 when a thread could not be started. */
static uint64_t time_read(struct reader *readers, int n)
{
    const uint64_t start = pf_time_ns();
    bool all = true;

    for (int i = 0; i < n; i++)
        if (pf_thread_create(&readers[i].thread, read_all, &readers[i]) < 0) {
            readers[i].thread = NULL;
            all = false;
        }
    for (int i = 0; i < n; i++)
        if (readers[i].thread)
            pf_thread_join(&readers[i].thread);
    return all ? pf_time_ns() - start : 0;
}

/* Bytes a second that n threads read together; 0 when it cannot be measured. */
static double measure_rate(int n)
{
    const size_t share =
        READ_BYTES / (size_t)n > MIN_SHARE ? READ_BYTES / (size_t)n : (size_t)MIN_SHARE;
    const size_t n_bytes = share * (size_t)n;
    struct reader *readers = calloc((size_t)n, sizeof(*readers));
    uint8_t *data = pf_pages_alloc(n_bytes);
    uint64_t best = 0;

    if (data)
        pf_pages_large(data, n_bytes);
    for (int i = 0; readers && data && i < n; i++) {
        memset(data + (size_t)i * share, i + 1, share);
        readers[i].data = (const uint64_t *)(void *)(data + (size_t)i * share);
        readers[i].n = share / sizeof(uint64_t);
    }
    for (int i = 0; readers && data && i < N_READS; i++) {
        const uint64_t ns = time_read(readers, n);

        if (ns > 0 && (best == 0 || ns < best))
            best = ns;
    }
    pf_pages_free(data, n_bytes);
    free(readers);
    return best > 0 ? (double)n_bytes / ((double)best * 1e-9) : 0;
}

/* ---------------------------------------------------------------- writing */

struct probe {
    erne_write_fn write;
    void *user;
    int status;
    char gpu[96], api[16];
};

static void put(struct probe *p, const char *fmt, ...) ERNE_PRINTF(2, 3);

static void put(struct probe *p, const char *fmt, ...)
{
    char text[512];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (p->status == 0 && n > 0 && p->write(p->user, text, (size_t)n) != 0)
        p->status = ERNE_EIO;
}

/* What drivers call things, as it may stand between double quotes. */
static void tidy(char *out, size_t cap, const char *name)
{
    size_t n = 0;

    for (; *name && n + 1 < cap; name++)
        if (*name >= ' ' && *name != '"' && *name != '\\')
            out[n++] = *name;
    out[n] = '\0';
}

static int find_gpu(void *user, const struct erne_device_info *info)
{
    struct probe *p = user;

    if (p->gpu[0] == '\0' &&
        (strcmp(info->backend, "vulkan") == 0 || strcmp(info->backend, "opencl") == 0)) {
        tidy(p->gpu, sizeof(p->gpu), info->name);
        snprintf(p->api, sizeof(p->api), "%s", info->backend);
    }
    return 0;
}

/* Powers of two of positions that memory for models has a sensible part left for. */
static int pick_context(uint64_t model_bytes)
{
    int n = 4096;

    while (n < 32768 && model_bytes >> 20 > (uint64_t)n)
        n *= 2;
    return n;
}

static void put_profile(struct probe *p)
{
    const uint64_t total = pf_memory_total() >> 20;
    const int n_threads = pf_cpu_count();
    const double rate = measure_rate(n_threads);
    char raw[96], cpu[96];

    pf_cpu_name(raw, sizeof(raw));
    tidy(cpu, sizeof(cpu), raw);
    put(p, "# Written by erne devices --probe; docs/DEVICES.md explains every line.\n"
           "erne_profile: 1\nname: this-machine\n");
    put(p, "title: \"%s\"\n", cpu);
    put(p, "source: probed; the bandwidth is the fastest of %d readings of 512 MiB\n",
        N_READS);
    put(p, "cpu:\n  name: \"%s\"\n  threads: %d\n", cpu, n_threads);
    put(p,
        "memory:\n  total: %" PRIu64 " MiB\n  for_models: %" PRIu64 " MiB"
        "  # three quarters\n",
        total, total / 4 * 3);
    if (rate > 0)
        put(p, "  bandwidth: %llu.%llu GB/s\n", (unsigned long long)(rate / 1e9),
            (unsigned long long)(rate / 1e8) % 10);
    put(p, "# disk:\n#   read: 3 GB/s  # what experts stream at when memory is short\n");
    if (p->gpu[0])
        put(p, "gpu:\n  name: \"%s\"\n  api: %s\n", p->gpu, p->api);
    put(p, "run:\n  scheme: w4-g32a\n  kv_type: f16\n  context: %d\n  batch: 512\n",
        pick_context(total / 4 * 3 << 20));
}

int erne_device_probe(erne_write_fn write, void *user, struct erne_error *err)
{
    struct probe p = { .write = write, .user = user };

    if (!write)
        return erne_fail(err, ERNE_EINVAL, "erne_device_probe: where to is needed");
    if (pf_memory_total() >> 20 == 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "the system does not say how much memory there is");
    ERNE_TRY(erne_devices(find_gpu, &p, err));
    put_profile(&p);
    return p.status < 0 ? erne_fail(err, p.status, "the profile could not be written out")
                        : ERNE_OK;
}
