/* cpu.h -- what the files of the CPU backend share: the backend itself, its team of
 * threads, and its implementations of the operators.
 *
 * cpu_backend.c runs a list of nodes in one OpenMP region. Every thread of the team calls
 * each node's run; the implementation divides the work by cpu_share or cpu_thread, in
 * such a way that the order of every sum is the same for any number of threads, and may
 * use cpu_barrier between its phases. All threads must reach every barrier.
 */
#ifndef ERNE_CPU_H
#define ERNE_CPU_H

#include "backends/cpu/cpu_kernels.h"
#include "platforms/platform.h"
#include "runtime/arena.h"
#include "runtime/backend.h"

struct cpu_backend {
    struct erne_backend base;
    struct cpu_kernels kernels;
    enum cpu_isa isa;
    int n_threads;
    uint8_t *scratch; /* one block, used by one node at a time */
    size_t scratch_bytes;
    atomic_int n_arrived; /* threads waiting at the barrier */
    atomic_uint round;    /* barriers passed */
    char apart[64];       /* those who wait must not slow down those who work */
    atomic_llong n_taken; /* units of work since the last barrier */
};

static inline struct cpu_backend *cpu_of(struct erne_backend *be)
{
    return (struct cpu_backend *)be;
}

/* The calling thread's place in the team; 0 of 1 outside of one. */
int cpu_thread(void);
int cpu_team(void);
void cpu_barrier(struct cpu_backend *cpu);

/* The part of [0, n) that belongs to the calling thread: contiguous, sizes differ by at
 * most one. */
struct cpu_range {
    int64_t first, end;
};
struct cpu_range cpu_share(int64_t n);

/* The next unit of work since the last barrier, from 0 on, for whoever comes first: a
 * thread that is held up does less. For phases whose units do not touch each other's
 * results and take long enough, many thousands of cycles, to be asked for. */
int64_t cpu_take(struct cpu_backend *cpu);

/* Row `row` of an f32 activation. */
static inline float *cpu_row(const struct erne_tensor *t, int64_t row)
{
    return (float *)t->data + row * t->stride;
}

static inline int64_t cpu_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t cpu_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Implementations, by the file that has them. */
extern const struct erne_op_impl cpu_embed, cpu_rms_norm, cpu_layer_norm, cpu_rope,
    cpu_kv_append, cpu_gather_rows, cpu_scatter_rows;        /* cpu_rows.c */
extern const struct erne_op_impl cpu_moe_route, cpu_moe_ffn; /* cpu_moe.c */
extern const struct erne_op_impl cpu_attention;              /* cpu_attention.c */
extern const struct erne_op_impl cpu_segment_bf16;           /* cpu_segment_bf16.c */
extern const struct erne_op_impl cpu_segment_f32;            /* cpu_segment_f32.c */
extern const struct erne_op_impl cpu_matmul_float, cpu_matmul_int; /* cpu_matmul.c */
extern const struct erne_op_impl cpu_matmul_onednn;                /* cpu_onednn.c */

/* --- cpu_matmul.c, for cpu_onednn.c and cpu_moe.c as well */

/* Bytes of acc [CPU_CHUNK, 64] for every thread. */
size_t cpu_acc_bytes(const struct cpu_backend *cpu);

/* Tile `tile` of a matmul's weights, and how many there are. */
struct cpu_tile cpu_tile_of(const struct cpu_backend *cpu, const struct erne_tensor *w,
                            int64_t tile);
int64_t cpu_n_tiles(const struct erne_node *node);

/* Bias, activation and residual for acc [n, 64], sums of tokens t .. t + n with the
 * tile's rows; writes dst. */
void cpu_finish_tile(const struct cpu_backend *cpu, const struct erne_node *node,
                     int64_t tile, int64_t t, int64_t n, float *acc);

/* The own f32 product of tokens first .. end with this thread's tiles. */
void cpu_float_rows(struct cpu_backend *cpu, const struct erne_node *node, int64_t first,
                    int64_t end);

/* Inputs a scale of quantised activations: a block never crosses a weight group. */
static inline int cpu_block_of(struct erne_scheme scheme)
{
    return scheme.group == 32 ? 32 : 64;
}

/* Takes the memory for n_tok rows of inputs of w from the arena (or counts its bytes). */
struct cpu_activations cpu_push_activations(struct erne_arena *arena,
                                            const struct erne_tensor *w, int block,
                                            int64_t n_tok);

/* list [n] = first, first + 1, ..: the tokens of a chunk, for tile_int. */
void cpu_count_from(int32_t *list, int64_t first, int64_t n);

/* The backend's slot of that name. */
int cpu_limits(struct erne_backend *be, struct erne_limits *limits);

/* "oneDNN 2.6.3", or NULL in a build without it. */
const char *cpu_onednn_version(char buf[32]);

#endif
