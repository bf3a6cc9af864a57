/* vk_ops.h -- the backend's struct, and how an operator's `run` puts a dispatch together.
 *
 * vk_op_* fill a struct vk_dispatch step by step: bindings in the order of the shader's,
 * push constants in the order of its block, each helper appending what it is named for.
 * The first failure is kept, so that a run reads as a list and ends in vk_op_dispatch.
 */
#ifndef ERNE_VK_OPS_H
#define ERNE_VK_OPS_H

#include "backends/vulkan/vk_queue.h"
#include "runtime/kv_row.h"

struct vk_backend {
    struct erne_backend base;
    struct vk_device dev;
    struct vk_memory mem;
    struct vk_pipelines pipelines;
    struct vk_queue queue;
    uint32_t lanes;  /* of a workgroup that takes a row; a power of two */
    uint32_t narrow; /* of a subgroup that takes a tile; 0: core Vulkan 1.1 only */
    bool by_bytes;   /* products of integer weights are of bytes */
    erne_log_fn log;
    void *log_user;
    size_t n_logged; /* pipelines that the log knows of */
};

static inline struct vk_backend *vk_of(struct erne_backend *be)
{
    return (struct vk_backend *)be;
}

#define X(NAME, name, least, most) extern const struct erne_op_impl vk_##name;
ERNE_OP_LIST(X)
#undef X

/* A dispatch in the making. */
struct vk_op {
    struct vk_backend *vk;
    struct vk_dispatch d;
    uint32_t n_bindings, n_push;
    int status;
};

enum vk_access { VK_READ, VK_WRITE };

struct vk_op vk_op_begin(struct erne_backend *be, const struct vk_pipeline_key *key);

/* Rows first .. first + n - 1 of an activation; pushes their place and stride. NULL: an
 * empty binding, and zeros. */
void vk_op_rows(struct vk_op *op, const struct erne_tensor *t, int64_t first, int64_t n,
                enum vk_access access);
/* A whole tensor that is dense: a vector, indices, a cache; pushes its place. */
void vk_op_dense(struct vk_op *op, const struct erne_tensor *t, enum vk_access access);
/* Bytes of a mapped weight, whose place in words of word_bytes is pushed. */
void vk_op_weight(struct vk_op *op, const void *host, uint64_t n_bytes,
                  uint32_t word_bytes);
/* Bytes of the scratch block, from a multiple of 256 on; pushes nothing. */
void vk_op_scratch(struct vk_op *op, uint64_t offset, uint64_t n_bytes,
                   enum vk_access access);
/* Rows in the scratch block, `stride` floats apart; pushes their place and stride. */
void vk_op_scratch_rows(struct vk_op *op, uint64_t offset, int64_t n, int64_t stride,
                        enum vk_access access);
/* A buffer that no dispatch writes; pushes nothing. */
void vk_op_buffer(struct vk_op *op, const struct vk_buffer *buffer);
void vk_op_skip(struct vk_op *op); /* a binding that is not used */
/* The dispatch before had the same inputs and outputs, and writes other parts of them. */
void vk_op_beside(struct vk_op *op);
void vk_op_push(struct vk_op *op, uint32_t value);
void vk_op_push_float(struct vk_op *op, float value);
int vk_op_dispatch(struct vk_op *op, int64_t x, int64_t y, int64_t z);

/* For `prepare`: the pipeline is there, or compiled now. */
int vk_need(struct erne_backend *be, const struct vk_pipeline_key *key);
/* Every input and output that is no weight fits a binding, and a row of the first input
 * may have a workgroup. */
bool vk_fits(struct erne_backend *be, const struct erne_node *node);
/* For `release`: recordings that have the node are void. */
void vk_release(struct erne_backend *be, struct erne_node *node);

/* ---- rows of the KV cache; the numbers are kv_row.glsl's */

enum vk_kv { VK_KV_F16, VK_KV_F32, VK_KV_ROWS, VK_KV_Q8, VK_KV_Q4 };

/* Whether rows of d numbers are whole units of what shaders read and write: of codes two
 * bytes, else words. */
bool vk_kv_takes(enum erne_type type, int64_t d);
/* What q4 rows are multiplied by in a rotation, as erne_kv_rotate does. */
float vk_kv_turn(int64_t d);

/* ---- vk_matmul.c, also for vk_moe.c */

/* Planes of a weight from a tile on, as many tiles as a binding holds. */
struct vk_piece {
    int64_t first_tile, n_tiles;
    const uint8_t *codes, *scales, *minima; /* of first_tile; NULL: none */
    uint64_t codes_bytes, scales_bytes;     /* of n_tiles; minima are as many */
};

struct vk_piece vk_piece_of(const struct vk_backend *vk, const struct erne_tensor *w,
                            int64_t first_tile);
/* Whether rows of k inputs, stride apart, are whole groups of four where they lie. */
bool vk_matmul_aligned(const void *x, int64_t stride, int64_t k);
/* The pipeline of a product by w for n_tok tokens at most; how many it takes at once. */
struct vk_pipeline_key vk_matmul_key(struct erne_backend *be, const struct erne_tensor *w,
                                     int64_t n_tok, bool experts, bool aligned);
uint32_t vk_matmul_at_once(int64_t n_tok);
/* What matmul.comp is told of w: from its inputs to its rows. Bindings 0 to 6 are set. */
void vk_matmul_push(struct vk_op *op, const struct erne_tensor *w,
                    const struct vk_piece *p, int64_t n_tok);
/* Workgroups for a piece. */
int64_t vk_matmul_groups(const struct vk_pipeline_key *key, const struct vk_piece *p);

#endif
