/* op_list.h -- every operator, once.
 *
 * X(NAME, name, least inputs, most inputs). The enum, the shape rules (runtime/op.c), the
 * references (backends/reference/ref_<name>.c), the case tables of the tests
 * (tests/conformance/check_<name>.c) and the backends' tables are all declared from this
 * list, so that an operator without one of them does not link. Inputs and parameters of
 * each are described in runtime/op.h.
 */
#ifndef ERNE_OP_LIST_H
#define ERNE_OP_LIST_H

#define ERNE_OP_LIST(X)                           \
    X(EMBED, embed, 2, 2)                         \
    X(RMS_NORM, rms_norm, 2, 2)                   \
    X(LAYER_NORM, layer_norm, 3, 3)               \
    X(MATMUL, matmul, 2, 4)                       \
    X(ROPE, rope, 3, 3)                           \
    X(KV_APPEND, kv_append, 3, 3)                 \
    X(ATTENTION, attention, 5, 5)                 \
    X(SEGMENT_ATTENTION, segment_attention, 4, 4) \
    X(GATHER_ROWS, gather_rows, 2, 2)             \
    X(SCATTER_ROWS, scatter_rows, 3, 3)           \
    X(MOE_ROUTE, moe_route, 1, 3)                 \
    X(MOE_FFN, moe_ffn, 4, 5)

enum erne_op {
#define X(NAME, name, least, most) ERNE_OP_##NAME,
    ERNE_OP_LIST(X)
#undef X
    ERNE_OP_COUNT
};

#endif
