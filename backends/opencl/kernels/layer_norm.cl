/* layer_norm.cl -- dst = (x - mean) / sqrt(var + eps) * w + bias; a work-group a row. */
__kernel void layer_norm(__global const float *x, uint x_at, int x_stride,
                         __global const float *w, uint w_at, __global const float *bias,
                         uint bias_at, __global float *dst, uint dst_at, int dst_stride,
                         int k, float eps)
{
    __local float room[LANES];
    const int lane = get_local_id(0);
    __global const float *row = x + x_at + get_group_id(0) * (uint)x_stride;
    __global float *to = dst + dst_at + get_group_id(0) * (uint)dst_stride;
    float mean, sum = 0, scale;

    for (int i = lane; i < k; i += LANES)
        sum += row[i];
    mean = sum_lanes(sum, room) / (float)k;
    sum = 0;
    for (int i = lane; i < k; i += LANES)
        sum += (row[i] - mean) * (row[i] - mean);
    scale = 1.0f / sqrt(sum_lanes(sum, room) / (float)k + eps);
    for (int i = lane; i < k; i += LANES)
        to[i] = (row[i] - mean) * scale * w[w_at + (uint)i] + bias[bias_at + (uint)i];
}
