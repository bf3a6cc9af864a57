/* cpu_segment.h -- attention of the rows of a segment to each other, in one number format
 * or another: cpu_segment.c cuts a node into runs of queries, a form lays keys and values
 * out for its kernel and attends.
 */
#ifndef ERNE_CPU_SEGMENT_H
#define ERNE_CPU_SEGMENT_H

#include "backends/cpu/cpu.h"

enum { CPU_SEGMENT_ROWS = 64 }; /* queries a unit of work */

/* How a node looks to all units. */
struct cpu_segment_shape {
    int64_t n_rows, n_heads;
    int64_t n_tiles;    /* of ERNE_TILE_ROWS keys and values, a head */
    int64_t d, d_pad;   /* head_dim, and rounded up to what kernels take */
    int64_t head_bytes; /* of the keys of a head, or of its values */
    int64_t n_at_once;  /* heads that are laid out together */
};

/* What a thread works in. */
struct cpu_segment_lane {
    void *q;                  /* [CPU_SEGMENT_ROWS, d_pad] in the form's format */
    float *out;               /* [CPU_SEGMENT_ROWS, d_pad] */
    struct cpu_softmax *rows; /* [CPU_SEGMENT_ROWS] */
};

/* A run of queries of one head that see the same rows. */
struct cpu_segment_run {
    int64_t head, row, n; /* queries */
    int64_t first, end;   /* what they see */
    const void *k, *v;    /* of the head, as pack left them */
};

struct cpu_segment_form {
    int64_t number_bytes; /* in keys, values and queries */
    /* Lays out keys and values row .. row + 64 of a head; buf: two rows. */
    void (*pack)(const struct cpu_backend *cpu, void *k, void *v,
                 const struct erne_node *node, const struct cpu_segment_shape *s,
                 int64_t row, int64_t head, void *buf);
    /* Begins the lane's rows and takes in all that the run sees. */
    void (*attend)(const struct cpu_backend *cpu, const struct erne_node *node,
                   const struct cpu_segment_shape *s, const struct cpu_segment_run *r,
                   const struct cpu_segment_lane *lane);
};

int cpu_segment_run(struct erne_backend *be, const struct erne_node *node,
                    const struct erne_step *step, const struct cpu_segment_form *form);
size_t cpu_segment_scratch(struct erne_backend *be, const struct erne_node *node,
                           const struct cpu_segment_form *form);

#endif
