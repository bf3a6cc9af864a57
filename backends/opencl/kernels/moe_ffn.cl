/* moe_ffn.cl -- the experts that tokens were routed to, weighted and summed, without the
 * host looking at the routes.
 *
 *     moe_sort      one work-group: counts each expert's tokens and lists them ("slots",
 *                   by expert, then token), and cuts the lists into blocks of TOKENS
 *     moe_gate_up   a work-group a block and a tile: hidden [slots, n_ff]
 *     moe_down      the same with the hidden values: out [slots, n_out]
 *     moe_combine   dst = residual + what the token's slots gave, in order of experts
 *
 * The grid has as many blocks as there could be; those that are not leave at once.
 * Experts stored in different schemes, or buffers, are different classes: one launch
 * each.
 */
#define BLOCK_INTS 4  /* expert, first slot, slots, - */
#define EXPERT_INTS 4 /* class, where its codes, scales and minima begin */

inline bool is_used(float weight)
{
    return weight < 0.0f || weight > 0.0f;
}

/* weights [T, n_experts]. start [n_experts + 1], token [n_slots], slot_of [T, n_experts],
 * blocks [n_blocks][BLOCK_INTS]. A token with more experts than it may have would run
 * over n_slots: what is too much is left out. */
__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
moe_sort(__global const float *weights, uint weights_at, int weights_stride,
         __global int *start, uint start_at, __global int *token, uint token_at,
         __global int *slot_of, uint slot_of_at, __global int *blocks, uint blocks_at,
         int n_tok, int n_experts, int n_slots, int n_blocks)
{
    const int lane = get_local_id(0);

    start += start_at;
    blocks += blocks_at;
    for (int e = lane; e < n_experts; e += LANES) {
        int n = 0;

        for (int t = 0; t < n_tok; t++)
            n += is_used(weights[weights_at + (uint)(t * weights_stride + e)]);
        start[e + 1] = n;
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (lane == 0) {
        int n = 0, b = 0;

        start[0] = 0;
        for (int e = 0; e < n_experts; e++) {
            const int end = min(n + start[e + 1], n_slots);

            for (; n < end && b < n_blocks; b++) {
                blocks[b * BLOCK_INTS] = e;
                blocks[b * BLOCK_INTS + 1] = n;
                blocks[b * BLOCK_INTS + 2] = min(TOKENS, end - n);
                n += min(TOKENS, end - n);
            }
            n = end;
            start[e + 1] = n;
        }
        for (; b < n_blocks; b++)
            blocks[b * BLOCK_INTS] = -1;
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    for (int e = lane; e < n_experts; e += LANES) {
        int n = start[e];

        for (int t = 0; t < n_tok; t++) {
            const bool used =
                is_used(weights[weights_at + (uint)(t * weights_stride + e)]) &&
                n < start[e + 1];

            slot_of[slot_of_at + (uint)(t * n_experts + e)] = used ? n : -1;
            if (used)
                token[token_at + (uint)n++] = t;
        }
    }
}

/* Where tile `tile` of an expert begins for this lane. */
inline struct tile tile_of(__global const uint *codes, __global const ushort *scales,
                           __global const ushort *minima, __global const int *expert,
                           int tile, int k_pad, int group)
{
    const uint lane = get_local_id(0) * WIDTH;
    const uint at = (uint)(tile * (group == 0 ? 1 : k_pad / group) * TILE) + lane;
    struct tile t;

    t.codes = codes + (uint)expert[1] + (uint)tile * (uint)(k_pad / CELL * TILE) + lane;
    t.scales = scales + (uint)expert[2] + at;
    t.minima = minima + (uint)expert[3] + at;
    return t;
}

/* x [T, K] -> hidden [slots, n_ff] */
__kernel __attribute__((reqd_work_group_size(TILE / WIDTH, SLICES, 1))) void
moe_gate_up(__global const float *x, uint x_at, int x_stride, __global const uint *codes,
            __global const ushort *scales, __global const ushort *minima,
            __global const int *experts, __global const int *token, uint token_at,
            __global const int *blocks, uint blocks_at, __global float *hidden,
            uint hidden_at, int n_ff, int k, int k_pad, int group, int wanted)
{
    __local float room[SLICES * TOKENS * TILE];
    __global const int *block = blocks + blocks_at + get_group_id(0) * BLOCK_INTS;
    __global const int *expert = experts + max(block[0], 0) * EXPERT_INTS;
    const int lane = get_local_id(0), slice = get_local_id(1);
    fvec sums[TOKENS];
    uint rows[TOKENS];

    if (block[0] < 0 || expert[0] != wanted)
        return;
    const int first = block[1], n = block[2], tile = get_group_id(1);
    const struct tile t = tile_of(codes, scales, minima, expert, tile, k_pad, group);

    for (int i = 0; i < TOKENS; i++) {
        sums[i] = (fvec)0.0f;
        rows[i] = x_at + (uint)token[token_at + (uint)(first + min(i, n - 1))] *
                             (uint)x_stride;
    }
    multiply(sums, &t, x, rows, k, group, slice);
    share(sums, room, lane, slice);
    for (int i = slice * (TILE / WIDTH) + lane; i < n * TILE / 2 / WIDTH;
         i += SLICES * TILE / WIDTH) {
        const int row = i / (TILE / 2 / WIDTH), from = i % (TILE / 2 / WIDTH) * WIDTH;
        const int column = tile * TILE / 2 + from, gate = from / 16 * 32 + from % 16;

        if (column < n_ff)
            store_some(swiglu(collect(room, row, gate), collect(room, row, gate + 16)),
                       hidden + hidden_at + (uint)((first + row) * n_ff + column),
                       n_ff - column);
    }
}

/* hidden [slots, n_ff] -> out [slots, n_out] */
__kernel __attribute__((reqd_work_group_size(TILE / WIDTH, SLICES, 1))) void
moe_down(__global const float *hidden, uint hidden_at, __global const uint *codes,
         __global const ushort *scales, __global const ushort *minima,
         __global const int *experts, __global const int *blocks, uint blocks_at,
         __global float *out, uint out_at, int n_out, int n_ff, int k_pad, int group,
         int wanted)
{
    __local float room[SLICES * TOKENS * TILE];
    __global const int *block = blocks + blocks_at + get_group_id(0) * BLOCK_INTS;
    __global const int *expert = experts + max(block[0], 0) * EXPERT_INTS;
    const int lane = get_local_id(0), slice = get_local_id(1);
    fvec sums[TOKENS];
    uint rows[TOKENS];

    if (block[0] < 0 || expert[0] != wanted)
        return;
    const int first = block[1], n = block[2], tile = get_group_id(1);
    const struct tile t = tile_of(codes, scales, minima, expert, tile, k_pad, group);

    for (int i = 0; i < TOKENS; i++) {
        sums[i] = (fvec)0.0f;
        rows[i] = hidden_at + (uint)((first + min(i, n - 1)) * n_ff);
    }
    multiply(sums, &t, hidden, rows, n_ff, group, slice);
    share(sums, room, lane, slice);
    for (int i = slice * (TILE / WIDTH) + lane; i < n * TILE / WIDTH;
         i += SLICES * TILE / WIDTH) {
        const int row = i / (TILE / WIDTH), from = i % (TILE / WIDTH) * WIDTH;
        const int column = tile * TILE + from;

        if (column < n_out)
            store_some(collect(room, row, from),
                       out + out_at + (uint)((first + row) * n_out + column),
                       n_out - column);
    }
}

/* A work-item a number of dst. */
__kernel void moe_combine(__global const float *weights, uint weights_at,
                          int weights_stride, __global const int *slot_of,
                          uint slot_of_at, __global const float *out, uint out_at,
                          __global const float *residual, uint residual_at,
                          int residual_stride, __global float *dst, uint dst_at,
                          int dst_stride, int n_out, int n_experts, int has_residual)
{
    const int column = get_global_id(0);
    const uint t = get_global_id(1);
    float sum;

    if (column >= n_out)
        return;
    sum = has_residual ? residual[residual_at + t * (uint)residual_stride + (uint)column]
                       : 0.0f;
    for (int e = 0; e < n_experts; e++) {
        const int slot = slot_of[slot_of_at + t * (uint)n_experts + (uint)e];

        if (slot >= 0)
            sum += weights[weights_at + t * (uint)weights_stride + (uint)e] *
                   out[out_at + (uint)(slot * n_out + column)];
    }
    dst[dst_at + t * (uint)dst_stride + (uint)column] = sum;
}
