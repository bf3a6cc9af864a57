/* cl_ops.h -- what the files of the OpenCL backend share: the backend itself, and its
 * implementations of the operators.
 *
 * cl_backend.c calls the run of each node, which resolves addresses (cl_memory.h) and
 * starts kernels (cl_queue.h) on one in-order queue, and waits once, at the end. Kernels
 * are built when a node is prepared (cl_program.h).
 */
#ifndef ERNE_CL_OPS_H
#define ERNE_CL_OPS_H

#include "backends/opencl/cl_device.h"
#include "backends/opencl/cl_memory.h"
#include "backends/opencl/cl_program.h"
#include "runtime/kv_row.h"

struct cl_backend {
    struct erne_backend base;
    struct cl_device dev;
    struct cl_memory memory;
    struct cl_programs programs;
};

static inline struct cl_backend *cl_of(struct erne_backend *be)
{
    return (struct cl_backend *)be;
}

static inline int64_t cl_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline size_t cl_ceil_div(int64_t a, int64_t b)
{
    return (size_t)((a + b - 1) / b);
}

/* Work-items of a group where a kernel does not say otherwise: LANES of common.cl. */
enum { CL_LANES = 64 };

/* A kernel that takes no options but WIDTH 1. */
int cl_plain_kernel(struct cl_backend *cl, enum cl_source source, const char *name,
                    cl_kernel *kernel);

/* --- cl_ops.c, for cl_attention.c as well: rows of the KV cache */

/* CACHE of kernels/kv_row.cl. */
int cl_kv_cache(enum erne_type type);
/* What q4 rows are multiplied by in a rotation, as erne_kv_rotate does. */
float cl_kv_factor(int64_t d);

/* --- cl_matmul.c, for cl_moe.c and cl_ops.c as well */

/* How tile64.cl is to multiply: few tokens or many. */
struct cl_options cl_tile_options(const struct cl_backend *cl, struct erne_scheme scheme,
                                  bool many);
/* Work-items of a group with these options: lanes, slices. */
static inline size_t cl_tile_lanes(const struct cl_options *o)
{
    return (size_t)(ERNE_TILE_ROWS / o->width);
}

/* Tiles of a weight that lie in the same buffers. */
struct cl_tiles {
    struct cl_place codes, scales, minima;
    int64_t n;
};
/* Those from number `first` on. EFAIL: not mapped. */
int cl_tiles_find(const struct cl_backend *cl, const struct erne_tensor *w, int64_t first,
                  struct cl_tiles *tiles);

/* Implementations, by the file that has them. */
extern const struct erne_op_impl cl_embed, cl_rms_norm, cl_layer_norm, cl_rope,
    cl_kv_append, cl_gather_rows, cl_scatter_rows;                   /* cl_ops.c */
extern const struct erne_op_impl cl_matmul;                          /* cl_matmul.c */
extern const struct erne_op_impl cl_attention, cl_segment_attention; /* cl_attention.c */
extern const struct erne_op_impl cl_moe_route, cl_moe_ffn;           /* cl_moe.c */

#endif
