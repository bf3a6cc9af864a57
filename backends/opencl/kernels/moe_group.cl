/* moe_group.cl -- which tokens each expert has: lists of slots, by expert, then token,
 * cut into blocks of at most n_in_block for kernels/moe_ffn.cl. One work-group. */
#define BLOCK_INTS 4 /* expert, first slot, slots, - */

inline bool is_used(float weight)
{
    return weight < 0.0f || weight > 0.0f;
}

/* weights [T, n_experts]. start [n_experts + 1], token [n_slots], slot_of [T, n_experts],
 * blocks [n_blocks][BLOCK_INTS]. A token with more experts than it may have would run
 * over n_slots: what is too much is left out. */
__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
moe_group(__global const float *weights, uint weights_at, int weights_stride,
          __global int *start, uint start_at, __global int *token, uint token_at,
          __global int *slot_of, uint slot_of_at, __global int *blocks, uint blocks_at,
          int n_tok, int n_experts, int n_slots, int n_blocks,
          int n_in_block)
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
                blocks[b * BLOCK_INTS + 2] = min(n_in_block, end - n);
                n += min(n_in_block, end - n);
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
