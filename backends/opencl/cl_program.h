/* cl_program.h -- OpenCL C sources, built for the device when a node needs them.
 *
 * A program is a source (kernels/<op>.cl behind the parts it shares with others) and a
 * value for each of a fixed set of build options. Built ones are kept for the backend's
 * life, and as binaries in the cache folder for the next one (cl_cache.h).
 */
#ifndef ERNE_CL_PROGRAM_H
#define ERNE_CL_PROGRAM_H

#include "backends/opencl/cl_device.h"

/* X(name): kernels/<name>.cl */
#define CL_PART_LIST(X) \
    X(common)           \
    X(tile64)           \
    X(kv_row)           \
    X(attend)
#define CL_SOURCE_LIST(X) \
    X(embed)              \
    X(rms_norm)           \
    X(layer_norm)         \
    X(matmul)             \
    X(rope)               \
    X(kv_append)          \
    X(attention)          \
    X(segment_attention)  \
    X(gather_rows)        \
    X(scatter_rows)       \
    X(moe_route)          \
    X(moe_group)          \
    X(moe_ffn)            \
    X(moe_sum)

enum cl_source {
#define X(name) CL_SOURCE_##name,
    CL_SOURCE_LIST(X)
#undef X
        CL_SOURCE_COUNT
};

/* Build options: X(NAME, name), -D NAME=value. Those that a source does not look at stay
 * 0. What they mean is said where they are used, in kernels/. */
#define CL_OPTION_LIST(X) \
    X(CODEC, codec)       \
    X(ASYM, asym)         \
    X(WIDTH, width)       \
    X(TOKENS, tokens)     \
    X(SLICES, slices)     \
    X(CACHE, cache)       \
    X(COLUMNS, columns)

struct cl_options {
#define X(NAME, name) int name;
    CL_OPTION_LIST(X)
#undef X
};

struct cl_program_entry;
struct cl_kernel_entry;

struct cl_programs {
    struct cl_program_entry *programs;
    struct cl_kernel_entry *kernels;
    size_t n_programs, n_kernels;
    size_t n_compiled, n_cached; /* since the backend was opened */
    size_t n_told;               /* their sum when cl_programs_tell last spoke */
    uint64_t spent_ns;           /* on both */
    char *cache_dir;             /* NULL: none */
    erne_log_fn log;
    void *log_user;
};

/* cache_dir may be NULL. ENOMEM. */
int cl_programs_init(struct cl_programs *p, const struct erne_backend_opts *opts);
void cl_programs_deinit(struct cl_programs *p, struct cl_device *dev);

/* Logs what was built since the last time, and in how long. */
void cl_programs_tell(struct cl_programs *p);

/* The kernel of that name, built if it must be, for work-groups of n_items. It belongs to
 * p. EUNSUPPORTED: the compiler refused (logged), or has no room for such groups. */
int cl_programs_kernel(struct cl_programs *p, struct cl_device *dev,
                       enum cl_source source, const struct cl_options *options,
                       const char *name, size_t n_items, cl_kernel *kernel);

#endif
