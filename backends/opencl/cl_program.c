/* cl_program.c -- see cl_program.h. */
#include "backends/opencl/cl_program.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_cache.h"

/* The sources, as cmake/embed.cmake left them. */
#define X(name) extern const unsigned char cl_src_##name[];
CL_PART_LIST(X)
CL_SOURCE_LIST(X)
#undef X

enum { MAX_PARTS = 4, OPTIONS_BYTES = 256 };

struct cl_program_entry {
    enum cl_source source;
    struct cl_options options;
    cl_program program;
};

struct cl_kernel_entry {
    size_t program; /* index */
    const char *name;
    cl_kernel kernel;
};

/* What a program is built from: parts come before the source itself. */
struct recipe {
    const char *name;
    const char *parts[MAX_PARTS];
    size_t n_parts;
    char options[OPTIONS_BYTES];
};

static void say(const struct cl_programs *p, enum erne_log_level level, const char *fmt,
                ...) ERNE_PRINTF(3, 4);

static void say(const struct cl_programs *p, enum erne_log_level level, const char *fmt,
                ...)
{
    char line[512];
    va_list args;

    if (!p->log)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    erne_text_one_line(line);
    p->log(p->log_user, level, line);
}

int cl_programs_init(struct cl_programs *p, const struct erne_backend_opts *opts)
{
    *p = (struct cl_programs){ .log = opts->log, .log_user = opts->log_user };
    if (opts->cache_dir) {
        const size_t n_bytes = strlen(opts->cache_dir) + 1;

        p->cache_dir = malloc(n_bytes);
        if (!p->cache_dir)
            return ERNE_ENOMEM;
        memcpy(p->cache_dir, opts->cache_dir, n_bytes);
    }
    return 0;
}

void cl_programs_deinit(struct cl_programs *p, struct cl_device *dev)
{
    for (size_t i = 0; i < p->n_kernels; i++)
        CL_RELEASE(dev, Kernel, p->kernels[i].kernel);
    for (size_t i = 0; i < p->n_programs; i++)
        CL_RELEASE(dev, Program, p->programs[i].program);
    free(p->kernels);
    free(p->programs);
    free(p->cache_dir);
}

void cl_programs_tell(struct cl_programs *p)
{
    if (p->n_compiled + p->n_cached == p->n_told)
        return;
    p->n_told = p->n_compiled + p->n_cached;
    say(p, ERNE_LOG_DEBUG, "opencl: %zu programs compiled, %zu from the cache, in %.2f s",
        p->n_compiled, p->n_cached, (double)p->spent_ns * 1e-9);
}

/* ------------------------------------------------------------------- recipe */

static void add_part(struct recipe *r, const unsigned char *text)
{
    r->parts[r->n_parts++] = (const char *)text;
}

static void write_recipe(struct recipe *r, enum cl_source source,
                         const struct cl_options *options)
{
    static const struct {
        const char *name;
        const unsigned char *text;
    } sources[] = {
#define X(name) { #name, cl_src_##name },
        CL_SOURCE_LIST(X)
#undef X
    };
    static const char format[] = "-cl-std=CL1.2"
#define X(NAME, name) " -D " #NAME "=%d"
        CL_OPTION_LIST(X)
#undef X
        ;

    *r = (struct recipe){ .name = sources[source].name };
    add_part(r, cl_src_common);
    if (source == CL_SOURCE_matmul || source == CL_SOURCE_moe_ffn ||
        source == CL_SOURCE_embed)
        add_part(r, cl_src_tile64);
    if (source == CL_SOURCE_attention || source == CL_SOURCE_segment_attention ||
        source == CL_SOURCE_kv_append)
        add_part(r, cl_src_kv_row);
    if (source == CL_SOURCE_attention || source == CL_SOURCE_segment_attention)
        add_part(r, cl_src_attend);
    add_part(r, sources[source].text);
    snprintf(r->options, sizeof(r->options),
             format
#define X(NAME, name) , options->name
                 CL_OPTION_LIST(X)
#undef X
    );
}

/* ----------------------------------------------------------------- building */

static void show_build_log(const struct cl_programs *p, struct cl_device *dev,
                           cl_program program, const struct recipe *r)
{
    char text[4096] = "";
    cl_int result;

    CL_DO(result, &dev->fn, GetProgramBuildInfo, program, dev->id, CL_PROGRAM_BUILD_LOG,
          sizeof(text) - 1, text, NULL);
    say(p, ERNE_LOG_WARN, "opencl: cannot build %s (%s): %s", r->name, r->options,
        result == CL_SUCCESS ? text : "no build log");
}

/* Builds what was created; releases it on failure. */
static int build(const struct cl_programs *p, struct cl_device *dev, cl_program *program,
                 const struct recipe *r)
{
    cl_int result;

    CL_DO(result, &dev->fn, BuildProgram, *program, 1, &dev->id, r->options, NULL, NULL);
    if (result == CL_SUCCESS)
        return 0;
    show_build_log(p, dev, *program, r);
    dev->fn.api.clReleaseProgram(*program);
    *program = NULL;
    if (result == CL_OUT_OF_HOST_MEMORY || result == CL_OUT_OF_RESOURCES)
        return ERNE_ENOMEM;
    return ERNE_EUNSUPPORTED; /* the compiler's own trouble: another backend's turn */
}

/* EUNSUPPORTED: there is none, or the driver does not like it any more. */
static int build_from_cache(struct cl_programs *p, struct cl_device *dev,
                            const struct cl_cache_key *key, const struct recipe *r,
                            cl_program *program)
{
    size_t n_bytes;
    void *binary = cl_cache_load(key, &n_bytes);
    const unsigned char *bytes = binary;
    cl_int result, state = CL_SUCCESS;

    if (!binary)
        return ERNE_EUNSUPPORTED;
    CL_MAKE(*program, result, &dev->fn, CreateProgramWithBinary, dev->context, 1,
            &dev->id, &n_bytes, &bytes, &state);
    free(binary);
    if (result == CL_SUCCESS && state != CL_SUCCESS) {
        dev->fn.api.clReleaseProgram(*program);
        result = state;
    }
    if (result == CL_INVALID_VALUE)
        return ERNE_EUNSUPPORTED;
    ERNE_TRY(cl_device_status(dev, result));
    return build(p, dev, program, r);
}

/* What the driver made of a program, into the cache. */
static void keep(const struct cl_cache_key *key, struct cl_device *dev,
                 cl_program program)
{
    size_t n_bytes = 0;
    unsigned char *binary;
    cl_int result;

    if (!key->dir)
        return;
    CL_DO(result, &dev->fn, GetProgramInfo, program, CL_PROGRAM_BINARY_SIZES,
          sizeof(n_bytes), &n_bytes, NULL);
    if (result != CL_SUCCESS || n_bytes == 0)
        return;
    binary = malloc(n_bytes);
    if (!binary)
        return;
    CL_DO(result, &dev->fn, GetProgramInfo, program, CL_PROGRAM_BINARIES, sizeof(binary),
          &binary, NULL);
    if (result == CL_SUCCESS)
        cl_cache_store(key, binary, n_bytes);
    free(binary);
}

static int make_program(struct cl_programs *p, struct cl_device *dev,
                        const struct recipe *r, cl_program *program)
{
    const struct cl_cache_key key = { p->cache_dir, dev, r->options, r->parts,
                                      r->n_parts };
    const uint64_t start = pf_time_ns();
    const char **parts = (const char **)(uintptr_t)r->parts;
    int st = build_from_cache(p, dev, &key, r, program);

    if (st == 0) {
        p->n_cached++;
        p->spent_ns += pf_time_ns() - start;
    }
    if (st != ERNE_EUNSUPPORTED)
        return st;
    CL_TRY_MAKE(*program, dev, CreateProgramWithSource, dev->context, (cl_uint)r->n_parts,
                parts, NULL);
    ERNE_TRY(build(p, dev, program, r));
    p->n_compiled++;
    p->spent_ns += pf_time_ns() - start;
    say(p, ERNE_LOG_DEBUG, "opencl: built %s (%s) in %.0f ms", r->name, r->options,
        (double)(pf_time_ns() - start) * 1e-6);
    keep(&key, dev, *program);
    return 0;
}

/* ---------------------------------------------------------------- the lists */

/* Index of the program, which is made if it must be. */
static int find_program(struct cl_programs *p, struct cl_device *dev,
                        enum cl_source source, const struct cl_options *options,
                        size_t *index)
{
    struct cl_program_entry *programs;
    struct recipe recipe;
    cl_program program;

    for (*index = 0; *index < p->n_programs; ++*index)
        if (p->programs[*index].source == source &&
            memcmp(&p->programs[*index].options, options, sizeof(*options)) == 0)
            return 0;
    programs = realloc(p->programs, (p->n_programs + 1) * sizeof(*programs));
    if (!programs)
        return ERNE_ENOMEM;
    p->programs = programs;
    write_recipe(&recipe, source, options);
    ERNE_TRY(make_program(p, dev, &recipe, &program));
    p->programs[p->n_programs++] = (struct cl_program_entry){ source, *options, program };
    return 0;
}

static int find_kernel(struct cl_programs *p, struct cl_device *dev, size_t program,
                       const char *name, cl_kernel *kernel)
{
    struct cl_kernel_entry *kernels;

    for (size_t i = 0; i < p->n_kernels; i++)
        if (p->kernels[i].program == program && strcmp(p->kernels[i].name, name) == 0) {
            *kernel = p->kernels[i].kernel;
            return 0;
        }
    kernels = realloc(p->kernels, (p->n_kernels + 1) * sizeof(*kernels));
    if (!kernels)
        return ERNE_ENOMEM;
    p->kernels = kernels;
    CL_TRY_MAKE(*kernel, dev, CreateKernel, p->programs[program].program, name);
    p->kernels[p->n_kernels++] = (struct cl_kernel_entry){ program, name, *kernel };
    return 0;
}

int cl_programs_kernel(struct cl_programs *p, struct cl_device *dev,
                       enum cl_source source, const struct cl_options *options,
                       const char *name, size_t n_items, cl_kernel *kernel)
{
    size_t program, most = 0;

    ERNE_TRY(find_program(p, dev, source, options, &program));
    ERNE_TRY(find_kernel(p, dev, program, name, kernel));
    CL_TRY(dev, GetKernelWorkGroupInfo, *kernel, dev->id, CL_KERNEL_WORK_GROUP_SIZE,
           sizeof(most), &most, NULL);
    return n_items <= most ? 0 : ERNE_EUNSUPPORTED;
}
