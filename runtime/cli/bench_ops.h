/* bench_ops.h -- erne bench ops: what each operator of a model costs on each backend, and
 * how near it comes to what the machine can do. */
#ifndef ERNE_BENCH_OPS_H
#define ERNE_BENCH_OPS_H

#include "runtime/cli/bench_record.h"

/* Every field once, as BENCH_FIELD_LIST. */
#define BENCH_OP_FIELD_LIST(X)                                              \
    X(TEXT, build_commit)                                                   \
    X(TEXT, cpu_info)                                                       \
    X(TEXT, model_filename)                                                 \
    X(TEXT, model_type)                                                     \
    X(TEXT, phase)                                                          \
    X(TEXT, op)                                                             \
    X(TEXT, shape)                                                          \
    X(INT, n_uses) /* in a step of the phase */                             \
    X(TEXT, backend)                                                        \
    X(INT, n_threads)                                                       \
    X(TEXT, impl) /* whose code ran; none: the backend declines it */       \
    X(REAL, median_us)                                                      \
    X(REAL, low_us) /* the quartiles */                                     \
    X(REAL, high_us)                                                        \
    X(REAL, gb_s)                                                           \
    X(REAL, gop_s)                                                          \
    X(REAL, read_percent) /* of the speed of reading, if not in cache */    \
    X(REAL, peak_percent) /* of the arithmetic's peak */                    \
    X(REAL, error)        /* from the reference, relative */                \
    X(REAL, share)        /* percent of the phase's time on this backend */ \
    X(REAL, read_gb_s)    /* what the machine can do: struct erne_limits */ \
    X(REAL, f32_gop_s)                                                      \
    X(REAL, i8_gop_s)                                                       \
    X(REAL, bf16_gop_s)                                                     \
    X(TEXT, disturbed) /* why the figures should not be trusted */

struct bench_op_record {
#define X(KIND, name) BENCH_TYPE_##KIND name;
    BENCH_OP_FIELD_LIST(X)
#undef X
};

extern const struct bench_layout bench_op_layout;

/* A percentage of what is possible; NAN where that is not known. */
double bench_percent(double x, double most);

/* Rows that own their texts. */
struct bench_op_rows {
    struct bench_op_record *rows; /* [n] */
    char **texts;                 /* [2 n]: shape and impl of each */
    size_t n;
    char disturbed[160]; /* of all of them, or empty */
};

/* Fills in each row's share of its phase's time on its backend. */
void bench_op_shares(struct bench_op_record *rows, size_t n);

#endif
