/* scatter_rows.cl -- x[t] = y[rows[t]] where rows[t] is not negative; a work-item a
 * number. */
__kernel void scatter_rows(__global float *x, uint x_at, int x_stride,
                           __global const float *y, uint y_at, int y_stride,
                           __global const int *rows, uint rows_at, int k)
{
    const int i = get_global_id(0);
    const uint t = get_global_id(1);
    const int from = rows[rows_at + t];

    if (i < k && from >= 0)
        x[x_at + t * (uint)x_stride + (uint)i] =
            y[y_at + (uint)from * (uint)y_stride + (uint)i];
}
