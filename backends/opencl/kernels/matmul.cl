/* matmul.cl -- dst = act(x W^T + bias) + residual, W in any scheme of tile64.
 *
 * A work-group takes one tile of W and TOKENS rows of x. Every code is read once by a
 * group, from memory if no other group of the same tile just did.
 */

/* enum erne_act */
#define ACT_SWIGLU 1
#define ACT_GELU_ERF 2
#define ACT_GELU_TANH 3
#define ACT_GELU_QUICK 4

#define SWIGLU_RUN 16 /* gate rows, then as many up rows */

inline fvec activate(fvec x, int act)
{
    switch (act) {
    case ACT_GELU_ERF: return 0.5f * x * erfc(x * -0.70710678f);
    case ACT_GELU_TANH:
        return x / (1.0f + exp(-1.59576912f * (x + 0.044715f * x * x * x)));
    case ACT_GELU_QUICK: return x / (1.0f + exp(-1.702f * x));
    default: return x;
    }
}

/* tile_first: tile 0 of the buffers is that tile of W. n_out: columns of dst. */
__kernel __attribute__((reqd_work_group_size(TILE / WIDTH, SLICES, 1))) void
matmul(__global const float *x, uint x_at, int x_stride, __global const uint *codes,
       uint codes_at, __global const ushort *scales, uint scales_at,
       __global const ushort *minima, uint minima_at, __global const float *bias,
       uint bias_at, __global const float *residual, uint residual_at,
       int residual_stride, __global float *dst, uint dst_at, int dst_stride, int n_tok,
       int n_out, int k, int k_pad, int group, int tile_first, int act, int has_bias,
       int has_residual)
{
    __local float room[SLICES * TOKENS * TILE];
    const int lane = get_local_id(0), slice = get_local_id(1);
    const int token = get_group_id(0) * TOKENS, tile = get_group_id(1);
    const int width = act == ACT_SWIGLU ? TILE / 2 : TILE; /* columns that a tile gives */
    const int n = min(TOKENS, n_tok - token);
    struct tile t;
    fvec sums[TOKENS];
    uint rows[TOKENS];

    t = tile_at(codes + codes_at, scales + scales_at, minima + minima_at, tile, k_pad,
                group);
    for (int i = 0; i < TOKENS; i++)
        rows[i] = x_at + (uint)(token + min(i, n - 1)) * (uint)x_stride;
    multiply(sums, &t, x, rows, k, group, slice);
    share(sums, room, lane, slice);
    for (int i = first_result(); i < n * width; i += RESULT_STEP) {
        const int row = i / width, from = i % width;
        const int column = (tile_first + tile) * width + from;
        const int first = act == ACT_SWIGLU
                              ? from / SWIGLU_RUN * 2 * SWIGLU_RUN + from % SWIGLU_RUN
                              : from;
        const int left = n_out - column, at = (tile_first + tile) * TILE + first;
        fvec y = collect(room, row, first);

        if (left <= 0)
            continue;
        if (has_bias)
            y += load_some(bias + bias_at + (uint)at, left);
        if (act == ACT_SWIGLU) {
            fvec up = collect(room, row, first + SWIGLU_RUN);

            if (has_bias)
                up += load_some(bias + bias_at + (uint)(at + SWIGLU_RUN), left);
            y = swiglu(y, up);
        } else {
            y = activate(y, act);
        }
        if (has_residual)
            y += load_some(
                residual + residual_at + (uint)((token + row) * residual_stride + column),
                left);
        store_some(y, dst + dst_at + (uint)((token + row) * dst_stride + column), left);
    }
}
