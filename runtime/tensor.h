/* tensor.h -- a named array in a graph: shape, storage, place. Owns nothing.
 *
 * Activations are f32 rows [rows, cols]; the number of rows that a step really uses is
 * the step's, the tensor carries the most it can be. A view is a range of columns of
 * another activation. Weights are stored as their scheme says, [N = out, K = in].
 */
#ifndef ERNE_TENSOR_H
#define ERNE_TENSOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/dtype.h"

/* Who provides the memory, and for how long. */
enum erne_mem {
    ERNE_MEM_WEIGHT, /* the mapped model file */
    ERNE_MEM_STEP,   /* planned into the step arena; dead after its last reader */
    ERNE_MEM_STATE,  /* lives as long as the session (KV cache) */
    ERNE_MEM_INPUT,  /* written by the session before a step */
    ERNE_MEM_OUTPUT  /* read by the session after a step */
};

enum erne_type {
    ERNE_TYPE_F32,
    ERNE_TYPE_F16,
    ERNE_TYPE_Q8, /* KV caches only: bytes, see kv_row.h */
    ERNE_TYPE_Q4,
    ERNE_TYPE_I32,
    ERNE_TYPE_WEIGHT,
    ERNE_TYPE_BANK /* weights of equal shape, one an expert */
};
/* Those of a KV cache come first. */
enum { ERNE_KV_TYPES = ERNE_TYPE_Q4 + 1 };

/* What the first dimension of a tensor counts. */
enum erne_rows_of {
    ERNE_ROWS_FIXED,  /* dim[0], always */
    ERNE_ROWS_TOKENS, /* step->n_tok of at most dim[0] */
    ERNE_ROWS_OUTPUTS /* step->n_out of at most dim[0] */
};

enum { ERNE_MAX_DIMS = 4, ERNE_NAME_MAX = 64 };

struct erne_backend;

/* State tensors that outlive a step, whose rows are pages. */
struct erne_store {
    const int32_t *pages; /* [*n_pages]: those in use; the others hold nothing */
    const int32_t *n_pages;
    bool is_mapped; /* a device knows it: its pages must not be given back */
};

/* Where a state tensor was written last. */
struct erne_state {
    struct erne_store *store;
    struct erne_backend *at; /* a device; NULL: the host */
    bool on_host;            /* the host has the same */
};

struct erne_tensor {
    char name[ERNE_NAME_MAX];
    enum erne_mem mem;
    enum erne_type type;
    enum erne_rows_of rows_of;
    int n_dims;
    int64_t dim[ERNE_MAX_DIMS]; /* outermost first; unused ones are 1 */
    int64_t stride;             /* elements from row to row; >= product of dim[1..] */

    struct erne_scheme scheme; /* ERNE_TYPE_WEIGHT only: dim = { N, K } */
    struct erne_planes planes;

    const struct erne_tensor *bank; /* ERNE_TYPE_BANK: dim[0] weights [dim[1], dim[2]] */

    struct erne_tensor *parent; /* views: the tensor that owns the memory */
    int64_t parent_offset;      /* elements from the start of a parent's row */

    struct erne_state *state; /* ERNE_MEM_STATE: the session's note on it; NULL: it is
                                 on the host */

    size_t n_bytes; /* of dim[0] rows; 0 for views */
    void *data;     /* host address, set by the planner; weights: codes */
};

/* One step of a session: how many rows the dynamic tensors have, and when to give up. */
struct erne_step {
    int32_t n_tok;            /* tokens in this step */
    int32_t n_out;            /* rows of logits wanted */
    int32_t n_past;           /* tokens in the context before it */
    const atomic_int *cancel; /* non-zero: return ERNE_ECANCELLED; may be NULL */
};

static inline int64_t erne_tensor_rows(const struct erne_tensor *t,
                                       const struct erne_step *step)
{
    switch (t->rows_of) {
    case ERNE_ROWS_TOKENS: return step->n_tok;
    case ERNE_ROWS_OUTPUTS: return step->n_out;
    default: return t->dim[0];
    }
}

static inline size_t erne_type_bytes(enum erne_type type)
{
    if (type == ERNE_TYPE_Q8 || type == ERNE_TYPE_Q4)
        return 1;
    return type == ERNE_TYPE_F16 ? 2 : 4;
}

/* The tensor that owns the memory. */
static inline struct erne_tensor *erne_tensor_root(struct erne_tensor *t)
{
    return t->parent ? t->parent : t;
}

/* Elements of one row: the product of all but the first dimension. */
static inline int64_t erne_tensor_cols(const struct erne_tensor *t)
{
    return t->dim[1] * t->dim[2] * t->dim[3];
}

/* Weights on the host: where each plane starts. NULL for planes the scheme lacks. */
static inline const void *erne_tensor_codes(const struct erne_tensor *t)
{
    return t->data;
}

static inline const uint16_t *erne_tensor_scales(const struct erne_tensor *t)
{
    return t->planes.scales_bytes == 0
               ? NULL
               : (const uint16_t *)((const uint8_t *)t->data + t->planes.scales_offset);
}

static inline const uint16_t *erne_tensor_minima(const struct erne_tensor *t)
{
    return t->planes.minima_bytes == 0
               ? NULL
               : (const uint16_t *)((const uint8_t *)t->data + t->planes.minima_offset);
}

#endif
