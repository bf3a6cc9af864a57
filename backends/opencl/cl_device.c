/* cl_device.c -- opens the loader, a context and a queue of one device. See cl_device.h.
 *
 * OpenCL 1.2 is all that is asked for. What a device can do beyond that is looked at
 * once, here, and kept as plain facts in struct cl_device.
 */
#include "backends/opencl/cl_device.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

enum { MAX_PLATFORMS = 16, MAX_DEVICES = 32 };
/* What the kernels count on: work-items of a group, and bytes that they share. */
enum { LEAST_GROUP = 64, LEAST_LOCAL = 16384 };
enum { TIME_LIMIT_MS = 60 * 1000, TIME_LIMIT_CPU_MS = 1800 * 1000 };

/* As the systems call it; the first that is there. */
static const char *const loader_names[] = { "libOpenCL.so.1", "OpenCL.dll",
                                            "libOpenCL.so" };

/* ---------------------------------------------------------------- results */

int cl_device_status(struct cl_device *dev, cl_int result)
{
    switch (result) {
    case CL_SUCCESS: return 0;
    case CL_OUT_OF_HOST_MEMORY:
    case CL_OUT_OF_RESOURCES:
    case CL_INVALID_BUFFER_SIZE:
    case CL_MEM_OBJECT_ALLOCATION_FAILURE: return ERNE_ENOMEM;
    case CL_DEVICE_NOT_FOUND:
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_COMPILER_NOT_AVAILABLE:
    case CL_INVALID_BINARY:
    case CL_BUILD_PROGRAM_FAILURE: return ERNE_EUNSUPPORTED;
    default: break;
    }
    dev->is_lost = true;
    return ERNE_EDEVICE;
}

/* ----------------------------------------------------------------- loader */

/* False if the loader lacks a function. */
static bool load_symbols(struct cl_device *dev)
{
#define X(f)                                                            \
    *(void **)&dev->fn.api.cl##f = pf_lib_symbol(dev->loader, "cl" #f); \
    if (!dev->fn.api.cl##f)                                             \
        return false;
    CL_RELEASE_FNS(X)
    CL_ALL_CALLS(X)
#undef X
    return true;
}

static int open_loader(struct cl_device *dev, struct erne_error *err)
{
    const char *wanted = dev->fn.fault ? dev->fn.fault->loader : NULL;
    int st = ERNE_EIO;

    if (wanted)
        st = pf_lib_open(&dev->loader, wanted);
    for (size_t i = 0; !wanted && st < 0 && i < ERNE_ARRAY_LEN(loader_names); i++)
        st = pf_lib_open(&dev->loader, loader_names[i]);
    if (st == ERNE_ENOMEM)
        return erne_fail(err, st, "no memory for the OpenCL loader");
    if (st < 0)
        return erne_fail(err, ERNE_EUNSUPPORTED, "no OpenCL loader (%s)",
                         wanted ? wanted : loader_names[0]);
    if (!load_symbols(dev))
        return erne_fail(err, ERNE_EUNSUPPORTED, "the OpenCL loader is older than 1.2");
    if (dev->fn.fault && dev->fn.fault->wrap)
        dev->fn.fault->wrap(dev->fn.fault->user, &dev->fn);
    return 0;
}

/* ------------------------------------------------------------------ facts */

static int get_text(struct cl_device *dev, cl_device_info what, char text[CL_NAME_BYTES])
{
    char longer[1024] = "";

    CL_TRY(dev, GetDeviceInfo, dev->id, what, sizeof(longer), longer, NULL);
    snprintf(text, CL_NAME_BYTES, "%.*s", CL_NAME_BYTES - 1, longer);
    erne_text_one_line(text);
    return 0;
}

#define GET(dev, what, variable) \
    CL_TRY((dev), GetDeviceInfo, (dev)->id, (what), sizeof(variable), &(variable), NULL)

/* Why a device cannot be used; NULL if it can. */
static int find_fault(struct cl_device *dev, const char **why)
{
    cl_bool available = CL_FALSE, compiler = CL_FALSE, little = CL_FALSE;
    cl_ulong local = 0;

    *why = NULL;
    GET(dev, CL_DEVICE_AVAILABLE, available);
    GET(dev, CL_DEVICE_COMPILER_AVAILABLE, compiler);
    GET(dev, CL_DEVICE_ENDIAN_LITTLE, little);
    GET(dev, CL_DEVICE_LOCAL_MEM_SIZE, local);
    GET(dev, CL_DEVICE_MAX_WORK_GROUP_SIZE, dev->max_group);
    ERNE_TRY(get_text(dev, CL_DEVICE_VERSION, dev->version));
    dev->local_bytes = (size_t)local;
    if (!available)
        *why = "is not available";
    else if (!compiler)
        *why = "has no compiler";
    else if (!little)
        *why = "is not little-endian";
    else if (strncmp(dev->version, "OpenCL 1.0", 10) == 0 ||
             strncmp(dev->version, "OpenCL 1.1", 10) == 0)
        *why = "is older than OpenCL 1.2";
    else if (dev->max_group < LEAST_GROUP || dev->local_bytes < LEAST_LOCAL)
        *why = "has too small work-groups";
    return 0;
}

static int find_facts(struct cl_device *dev, const struct erne_backend_opts *opts)
{
    const struct cl_fault *fault = dev->fn.fault;
    cl_bool unified = CL_FALSE;
    cl_uint align_bits = 0, vector = 1, n_units = 1;
    cl_ulong max_alloc = 0;
    cl_device_type type = 0;
    const char *level = fault && fault->level ? fault->level : opts->isa;
    int limit_ms = opts->time_limit_ms;

    ERNE_TRY(get_text(dev, CL_DEVICE_NAME, dev->name));
    ERNE_TRY(get_text(dev, CL_DRIVER_VERSION, dev->driver));
    GET(dev, CL_DEVICE_HOST_UNIFIED_MEMORY, unified);
    GET(dev, CL_DEVICE_MEM_BASE_ADDR_ALIGN, align_bits);
    GET(dev, CL_DEVICE_MAX_MEM_ALLOC_SIZE, max_alloc);
    GET(dev, CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT, vector);
    GET(dev, CL_DEVICE_MAX_COMPUTE_UNITS, n_units);
    GET(dev, CL_DEVICE_TYPE, type);
    dev->n_units = (int)n_units;
    dev->on_host = unified && !(fault && fault->no_host_memory);
    dev->host_align = align_bits >= 8 ? align_bits / 8 : 1;
    dev->max_alloc = max_alloc < SIZE_MAX ? (size_t)max_alloc : SIZE_MAX;
    if (fault && fault->max_alloc > 0 && fault->max_alloc < dev->max_alloc)
        dev->max_alloc = fault->max_alloc;
    dev->vector = vector >= 16 ? 16 : vector >= 8 ? 8 : 1;
    if (level && strcmp(level, "scalar") == 0)
        dev->vector = 1;
    if (limit_ms <= 0)
        limit_ms = type & CL_DEVICE_TYPE_CPU ? TIME_LIMIT_CPU_MS : TIME_LIMIT_MS;
    dev->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    dev->time_limit_ns = (uint64_t)limit_ms * 1000000u;
    return 0;
}

/* ---------------------------------------------------------------- devices */

/* All devices of all platforms: first those made for computing, then processors. */
struct device_list {
    cl_platform_id platform[MAX_DEVICES];
    cl_device_id id[MAX_DEVICES];
    size_t n;
    int failed; /* what the last platform that could not be asked answered; or 0 */
};

/* What cannot be asked is done without, and that is told: the others may work. */
static void skip(struct cl_device *dev, const struct erne_backend_opts *opts,
                 const char *what, int number, int st)
{
    char line[128];

    dev->is_lost = false; /* what is opened is another one */
    snprintf(line, sizeof(line), "OpenCL %s %d is left out: %s", what, number,
             erne_status_text(st));
    if (opts->log)
        opts->log(opts->log_user, ERNE_LOG_WARN, line);
}

static int add_devices(struct cl_device *dev, struct device_list *list,
                       cl_platform_id platform, cl_device_type type)
{
    const size_t room = MAX_DEVICES - list->n;
    cl_uint n = 0;
    cl_int result;

    if (room == 0)
        return 0;
    CL_DO(result, &dev->fn, GetDeviceIDs, platform, type, (cl_uint)room,
          list->id + list->n, &n);
    if (result == CL_DEVICE_NOT_FOUND)
        return 0;
    ERNE_TRY(cl_device_status(dev, result));
    for (size_t end = list->n + (n < room ? n : room); list->n < end; list->n++)
        list->platform[list->n] = platform;
    return 0;
}

static int list_devices(struct cl_device *dev, struct device_list *list,
                        const struct erne_backend_opts *opts)
{
    enum { PLATFORM_NOT_FOUND_KHR = -1001 };
    static const cl_device_type types[] = {
        CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR, CL_DEVICE_TYPE_CPU
    };
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint n = 0;
    cl_int result;

    list->n = 0;
    list->failed = 0;
    CL_DO(result, &dev->fn, GetPlatformIDs, MAX_PLATFORMS, platforms, &n);
    if (result == PLATFORM_NOT_FOUND_KHR)
        return 0;
    ERNE_TRY(cl_device_status(dev, result));
    for (size_t t = 0; t < ERNE_ARRAY_LEN(types); t++)
        for (cl_uint i = 0; i < n && i < MAX_PLATFORMS; i++) {
            const int st = add_devices(dev, list, platforms[i], types[t]);

            if (st < 0) {
                list->failed = st;
                skip(dev, opts, "platform", (int)i, st);
            }
        }
    return 0;
}

static void set_device(struct cl_device *dev, const struct device_list *list, size_t i)
{
    dev->platform = list->platform[i];
    dev->id = list->id[i];
}

/* Device number opts->device of those that can be used. One that cannot be asked keeps
 * its number, so that those behind it keep theirs. */
static int choose(struct cl_device *dev, const struct erne_backend_opts *opts,
                  struct erne_error *err)
{
    struct device_list list;
    const char *why = NULL, *last_why = NULL;
    int n = 0, st = list_devices(dev, &list, opts);

    if (st < 0)
        return erne_fail(err, st, "cannot list OpenCL devices: %s", erne_status_text(st));
    for (size_t i = 0; i < list.n; i++) {
        set_device(dev, &list, i);
        st = find_fault(dev, &why);
        if (st < 0 && n == opts->device)
            return erne_fail(err, st, "cannot ask OpenCL device %d: %s", n,
                             erne_status_text(st));
        if (st < 0)
            skip(dev, opts, "device", n++, st);
        else if (why)
            last_why = why;
        else if (n++ == opts->device)
            return 0;
    }
    if (n == 0 && list.failed < 0)
        return erne_fail(err, list.failed, "cannot list OpenCL devices: %s",
                         erne_status_text(list.failed));
    if (n == 0 && last_why)
        return erne_fail(err, ERNE_EUNSUPPORTED, "the OpenCL device %s", last_why);
    if (n == 0)
        return erne_fail(err, ERNE_EUNSUPPORTED, "no OpenCL device");
    return erne_fail(err, ERNE_EUNSUPPORTED, "no OpenCL device %d: there %s %d",
                     opts->device, n == 1 ? "is" : "are", n);
}

static int make_queue(struct cl_device *dev)
{
    const cl_context_properties props[] = { CL_CONTEXT_PLATFORM,
                                            (cl_context_properties)dev->platform, 0 };

    CL_TRY_MAKE(dev->context, dev, CreateContext, props, 1, &dev->id, NULL, NULL);
    CL_TRY_MAKE(dev->queue, dev, CreateCommandQueue, dev->context, dev->id, 0);
    return 0;
}

int cl_device_open(struct cl_device *dev, const struct erne_backend_opts *opts,
                   struct erne_error *err)
{
    int st;

    *dev = (struct cl_device){ .fn.fault = opts->hook };
    st = open_loader(dev, err);
    if (st == 0)
        st = choose(dev, opts, err);
    if (st == 0) {
        st = find_facts(dev, opts);
        if (st == 0)
            st = make_queue(dev);
        if (st < 0)
            erne_fail(err, st, "cannot open OpenCL device %d (%s): %s", opts->device,
                      dev->name, erne_status_text(st));
    }
    if (st < 0)
        cl_device_close(dev);
    return st;
}

void cl_device_close(struct cl_device *dev)
{
    CL_RELEASE(dev, CommandQueue, dev->queue);
    CL_RELEASE(dev, Context, dev->context);
    if (dev->is_hung)
        pf_lib_keep(&dev->loader); /* the driver still works */
    else
        pf_lib_close(&dev->loader);
}

/* ------------------------------------------------------------------- list */

/* Of an extension; a hash of its names and number where the driver lacks that. */
static void get_uuid(struct cl_device *dev, int index,
                     char text[2 * CL_UUID_SIZE_KHR + 1])
{
    cl_uchar uuid[CL_UUID_SIZE_KHR];
    char names[4 * CL_NAME_BYTES], platform[CL_NAME_BYTES] = "";
    cl_int result;

    CL_DO(result, &dev->fn, GetDeviceInfo, dev->id, CL_DEVICE_UUID_KHR, sizeof(uuid),
          uuid, NULL);
    for (int i = 0; result == CL_SUCCESS && i < CL_UUID_SIZE_KHR; i++)
        snprintf(text + 2 * i, 3, "%02x", (unsigned)uuid[i]);
    if (result == CL_SUCCESS)
        return;
    CL_DO(result, &dev->fn, GetPlatformInfo, dev->platform, CL_PLATFORM_NAME,
          sizeof(platform) - 1, platform, NULL);
    snprintf(names, sizeof(names), "%s\n%s\n%s\n%d", platform, dev->name, dev->driver,
             index);
    snprintf(text, 2 * CL_UUID_SIZE_KHR + 1, "%016" PRIx64,
             (uint64_t)XXH3_64bits(names, strlen(names)));
}

static int find_memory(struct cl_device *dev, cl_ulong *n_bytes)
{
    GET(dev, CL_DEVICE_GLOBAL_MEM_SIZE, *n_bytes);
    return 0;
}

static int show(struct cl_device *dev, int index, const struct erne_backend_opts *opts,
                int (*visit)(void *user, const struct erne_device_info *info), void *user)
{
    char uuid[2 * CL_UUID_SIZE_KHR + 1];
    cl_ulong memory = 0;
    int st = find_facts(dev, opts);

    if (st == 0)
        st = find_memory(dev, &memory);
    if (st < 0) {
        skip(dev, opts, "device", index, st);
        return 0;
    }
    get_uuid(dev, index, uuid);
    const struct erne_device_info info = { .backend = "opencl",
                                           .index = index,
                                           .name = dev->name,
                                           .driver = dev->driver,
                                           .uuid = uuid,
                                           .detail = dev->version,
                                           .memory_bytes = memory,
                                           .shares_memory = dev->on_host,
                                           .is_software = dev->is_cpu };
    return visit(user, &info);
}

/* In the numbers of `choose`. */
static int show_all(struct cl_device *dev,
                    int (*visit)(void *user, const struct erne_device_info *info),
                    void *user)
{
    const struct erne_backend_opts opts = { .isa = "auto" }; /* nobody to tell */
    struct device_list list;
    const char *why;
    int st = 0, index = 0;

    ERNE_TRY(list_devices(dev, &list, &opts));
    for (size_t i = 0; st == 0 && i < list.n; i++) {
        int asked;

        set_device(dev, &list, i);
        asked = find_fault(dev, &why);
        if (asked < 0)
            skip(dev, &opts, "device", index++, asked);
        else if (!why)
            st = show(dev, index++, &opts, visit, user);
    }
    return index == 0 ? list.failed : st;
}

int cl_device_visit(int (*visit)(void *user, const struct erne_device_info *info),
                    void *user)
{
    struct cl_device dev = { 0 };
    int st = open_loader(&dev, NULL);

    /* No loader is no device. */
    st = st == ERNE_EUNSUPPORTED ? 0 : st < 0 ? st : show_all(&dev, visit, user);
    cl_device_close(&dev);
    return st;
}
