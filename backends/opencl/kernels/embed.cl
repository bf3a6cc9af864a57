/* embed.cl -- dst[t] = W[tokens[t]]; a work-item a cell of one token's row. Built with
 * WIDTH 1. Rows row_first .. row_end - 1 of W are in the buffers; other tokens' turn
 * comes with theirs. Exact: there is one rounding, in the sum with a minimum. */
__kernel void embed(__global const int *tokens, uint tokens_at,
                    __global const uint *codes, uint codes_at,
                    __global const ushort *scales, uint scales_at,
                    __global const ushort *minima, uint minima_at, __global float *dst,
                    uint dst_at, int dst_stride, int k, int k_pad, int group,
                    int row_first, int row_end)
{
    const int first = get_global_id(0) * CELL;
    const uint token = get_global_id(1);
    const int row = tokens[tokens_at + token] - row_first;
    const int n_groups = group == 0 ? 1 : k_pad / group;
    const int tile = row / TILE, lane = row % TILE;
    __global float *to = dst + dst_at + token * (uint)dst_stride + (uint)first;
    uint cell;

    if (row < 0 || row >= row_end - row_first || first >= k)
        return;
    cell = codes[codes_at + (uint)tile * (uint)(k_pad / CELL * TILE) +
                 (uint)(first / CELL * TILE + lane)];
#ifdef IS_INT
    const uint at =
        (uint)((tile * n_groups + (group == 0 ? 0 : first / group)) * TILE + lane);
    const float scale = half_to_float(scales[scales_at + at]);
#if CODEC == CODEC_W8
    cell ^= 0x80808080u;
#endif
    for (int i = 0; i < CELL && first + i < k; i++) {
        const int at_bit = i % 4 * 8 + i / 4 * BITS;
        const float code = (float)(cell >> at_bit & ((1 << BITS) - 1));

#if ASYM
        to[i] = scale * (CODEC == CODEC_W8 ? code - 128.0f : code) +
                half_to_float(minima[minima_at + at]);
#else
        to[i] = scale * (code - ZERO);
#endif
    }
#else
    float w[CELL];

    decode(w, cell, 0);
    for (int i = 0; i < CELL && first + i < k; i++)
        to[i] = w[i];
#endif
}
