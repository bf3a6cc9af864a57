/* op_case.h -- the case tables of operators, and what they build their cases from.
 *
 * Each operator has one table, erne_check_<name> in check_<name>.c. The runner builds
 * each case, computes it with the reference, then with every implementation of every
 * backend, and compares under the bound that the table gives. The same tables drive the
 * benchmark.
 */
#ifndef ERNE_OP_CASE_H
#define ERNE_OP_CASE_H

#include "platforms/compiler.h"
#include "runtime/backend.h"

/* What activations look like. All but the first are adversarial. */
#define OP_FILL_LIST(X)   \
    X(NORMAL, normal)     \
    X(ZERO, zero)         \
    X(DENORMAL, denormal) \
    X(LARGE, large)       \
    X(OUTLIER, outlier)   \
    X(EQUAL, equal)       \
    X(ALTERNATE, alternate)

enum op_fill {
#define X(NAME, name) OP_FILL_##NAME,
    OP_FILL_LIST(X)
#undef X
        OP_FILL_COUNT
};

/* The experts of two banks are tensors too. */
enum { OP_EXPERTS_MAX = 64, OP_CASE_NAME_MAX = 64 };
enum { OP_TENSORS_MAX = ERNE_MAX_SRC + 1 + 2 * OP_EXPERTS_MAX };

/* The memory of one tensor between two guards. `before` is what every run starts from. */
struct op_buffer {
    uint8_t *block, *before; /* [guard + n_bytes + guard] */
    uint8_t *start;          /* in the block, behind the guard; aligned as in a plan */
    uint8_t *data;           /* there, or as a view's 4 bytes behind */
    size_t n_bytes, block_bytes;
};

/* One case with its data: a node that is ready to run. */
struct op_trial {
    struct erne_node node;
    struct erne_step step;
    struct erne_tensor tensors[OP_TENSORS_MAX];
    struct op_buffer buffers[OP_TENSORS_MAX]; /* of the tensor with the same index */
    int n_tensors;
    enum op_fill fill;
    uint64_t rng;

    uint8_t *want;    /* the block of dst as the reference left it */
    double *bound;    /* [rows of dst, columns]: how far off each element may be */
    double rms_limit; /* of the differences together; INFINITY: no limit */
};

struct op_work {
    double n_bytes; /* that must be read or written at least once */
    double n_ops;   /* additions and multiplications */
};

struct op_case_table {
    size_t (*count)(void);
    /* Writes a short name of case i, "T3 N64 K128 w4-g32". */
    void (*describe)(size_t i, char name[OP_CASE_NAME_MAX]);
    /* True for a case that is only timed: a shape of a real model. */
    bool (*is_bench)(size_t i);
    /* Fills t->step and t->node with the functions below. */
    void (*build)(struct op_trial *t, size_t i);
    /* Fills t->bound and t->rms_limit; inputs are as before the run. NULL: all bits of
     * dst must be those of the reference. */
    void (*bound)(struct op_trial *t);
    struct op_work (*work)(const struct op_trial *t);
};

#define X(NAME, name, least, most) extern const struct op_case_table erne_check_##name;
ERNE_OP_LIST(X)
#undef X

/* --------------------------------------------- what `build` is written with */

/* Each adds a tensor to the trial; memory outside of what is filled is NaN or an absurd
 * index, so that using it shows. Out of memory ends the program. */

/* f32 [rows of the step, cols] with room for more rows; gap > 0: a view, whose rows are
 * gap floats apart and not aligned. */
struct erne_tensor *op_add_rows(struct op_trial *t, const char *name,
                                enum erne_rows_of rows_of, int64_t cols, int64_t gap);
/* i32 [rows of the step, or n if FIXED] */
struct erne_tensor *op_add_indices(struct op_trial *t, const char *name,
                                   enum erne_rows_of rows_of, int64_t n);
/* i32 [rows of the step, or n if FIXED; m] */
struct erne_tensor *op_add_index_rows(struct op_trial *t, const char *name,
                                      enum erne_rows_of rows_of, int64_t n, int64_t m);
/* f32 [n] of normal numbers. */
struct erne_tensor *op_add_vector(struct op_trial *t, const char *name, int64_t n);
/* tile64 [n, k]: random numbers or codes, or what the trial's fill does to them. */
struct erne_tensor *op_add_weight(struct op_trial *t, struct erne_scheme scheme,
                                  int64_t n, int64_t k);
/* A bank of n_experts such weights, in one scheme and the other by turns. */
struct erne_tensor *op_add_bank(struct op_trial *t, struct erne_scheme scheme,
                                struct erne_scheme other, int64_t n_experts, int64_t n,
                                int64_t k);
/* [pages, heads, ERNE_KV_PAGE, d]; d: elements of a row (runtime/kv_row.h) */
struct erne_tensor *op_add_cache(struct op_trial *t, const char *name,
                                 enum erne_type type, int64_t pages, int64_t heads,
                                 int64_t d);
/* dst as erne_op_shape says; call last. */
void op_add_dst(struct op_trial *t, int64_t n_out, int64_t gap);

/* Fills the rows in use by the trial's fill, times scale. */
void op_fill_rows(struct op_trial *t, struct erne_tensor *x, float scale);
/* One number of the trial's fill at a column of a row of n. */
float op_value(struct op_trial *t, enum op_fill fill, int64_t column, int64_t n);
/* 0 .. n - 1 in random order. */
void op_shuffle(struct op_trial *t, int32_t *values, int32_t n);
uint64_t op_random(struct op_trial *t);

/* ------------------------------------------------ and `bound` and `describe` */

/* Element [row, column] of what the reference computed. */
double op_want(const struct op_trial *t, int64_t row, int64_t column);

/* Row `row` of an activation. */
static inline const float *op_row(const struct erne_tensor *t, int64_t row)
{
    return (const float *)t->data + row * t->stride;
}

/* All tile64 schemes there are; returns their number. */
enum { OP_SCHEMES_MAX = 64 };
size_t op_schemes(struct erne_scheme schemes[OP_SCHEMES_MAX]);

#endif
