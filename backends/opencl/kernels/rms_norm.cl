/* rms_norm.cl -- dst = x / sqrt(mean(x^2) + eps) * w; a work-group a row. */
__kernel void rms_norm(__global const float *x, uint x_at, int x_stride,
                       __global const float *w, uint w_at, __global float *dst,
                       uint dst_at, int dst_stride, int k, float eps)
{
    __local float room[LANES];
    const uint row = get_group_id(0);
    const int lane = get_local_id(0);
    __global const float *src = x + x_at + row * (uint)x_stride;
    __global float *out = dst + dst_at + row * (uint)dst_stride;
    float sum = 0, factor;

    for (int i = lane; i < k; i += LANES)
        sum += src[i] * src[i];
    factor = 1.0f / sqrt(sum_lanes(sum, room) / (float)k + eps);
    for (int i = lane; i < k; i += LANES)
        out[i] = src[i] * factor * w[w_at + (uint)i];
}
