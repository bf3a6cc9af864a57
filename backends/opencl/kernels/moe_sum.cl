/* moe_sum.cl -- dst = residual + what the token's slots gave, in order of experts; a
 * work-item a number of dst. */
__kernel void moe_sum(__global const float *weights, uint weights_at,
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
