/* moe_ffn.cl -- the products of the experts that tokens were routed to, without the host
 * looking at the routes: a work-group a block of an expert's slots (kernels/moe_group.cl)
 * and a tile of its weights. Twice a step: x [T, K] -> hidden [slots, n_ff] with SwiGLU,
 * then hidden -> [slots, n_out], which kernels/moe_sum.cl adds up.
 *
 * The grid has as many blocks as there could be; those that are not leave at once.
 * Experts stored in different schemes, or buffers, are different classes: one launch
 * each.
 */
#define BLOCK_INTS 4  /* expert, first slot, slots, - */
#define EXPERT_INTS 4 /* class, where its codes, scales and minima begin */

/* x: rows by token if by_token, else by slot. swiglu: rows of the weights alternate, 16
 * gates then 16 ups, and dst [slots, n] is silu(gate) * up. */
__kernel __attribute__((reqd_work_group_size(TILE / WIDTH, SLICES, 1))) void
moe_ffn(__global const float *x, uint x_at, int x_stride, __global const uint *codes,
        __global const ushort *scales, __global const ushort *minima,
        __global const int *experts, __global const int *token, uint token_at,
        __global const int *blocks, uint blocks_at, __global float *dst, uint dst_at,
        int n, int k, int k_pad, int group, int wanted, int by_token, int is_swiglu)
{
    __local float room[SLICES * TOKENS * TILE];
    __global const int *block = blocks + blocks_at + get_group_id(0) * BLOCK_INTS;
    __global const int *expert = experts + max(block[0], 0) * EXPERT_INTS;
    const int lane = get_local_id(0), slice = get_local_id(1), tile = get_group_id(1);
    const int width = is_swiglu ? TILE / 2 : TILE; /* columns that a tile gives */
    fvec sums[TOKENS];
    uint rows[TOKENS];

    if (block[0] < 0 || expert[0] != wanted)
        return;
    const int first = block[1], n_slots = block[2];
    const struct tile t =
        tile_at(codes + (uint)expert[1], scales + (uint)expert[2],
                minima + (uint)expert[3], tile, k_pad, group);

    for (int i = 0; i < TOKENS; i++) {
        const int slot = first + min(i, n_slots - 1);

        rows[i] = (uint)(by_token ? token[token_at + (uint)slot] : slot);
        rows[i] = x_at + rows[i] * (uint)x_stride;
    }
    multiply(sums, &t, x, rows, k, group, slice);
    share(sums, room, lane, slice);
    for (int i = first_result(); i < n_slots * width; i += RESULT_STEP) {
        const int row = i / width, from = i % width;
        const int column = tile * width + from;
        const int gate = from / 16 * 32 + from % 16;

        if (column < n)
            store_some(is_swiglu ? swiglu(collect(room, row, gate),
                                          collect(room, row, gate + 16))
                                 : collect(room, row, from),
                       dst + dst_at + (uint)((first + row) * n + column), n - column);
    }
}
