/* gather_rows.cl -- dst[o] = x[rows[o][0]] .. x[rows[o][m - 1]]; a work-item a number. */
__kernel void gather_rows(__global const float *x, uint x_at, int x_stride,
                          __global const int *rows, uint rows_at, __global float *dst,
                          uint dst_at, int dst_stride, int m, int k)
{
    const int i = get_global_id(0);
    const uint o = get_global_id(1);
    uint from;

    if (i >= m * k)
        return;
    from = (uint)rows[rows_at + o * (uint)m + (uint)(i / k)];
    dst[dst_at + o * (uint)dst_stride + (uint)i] =
        x[x_at + from * (uint)x_stride + (uint)(i % k)];
}
