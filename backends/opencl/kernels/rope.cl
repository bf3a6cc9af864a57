/* rope.cl -- turns pairs of each head, in place; a work-item a pair of one token. The
 * angle is rounded to f32 after each step, by definition: nothing may be contracted. */
#pragma OPENCL FP_CONTRACT OFF

__kernel void rope(__global float *x, uint x_at, int x_stride,
                   __global const int *position, uint position_at,
                   __global const float *inv_freq, uint inv_freq_at, int n_axes,
                   int n_pairs, int d, int neox)
{
    const int pair = get_global_id(0), half_d = d / 2;
    const uint token = get_global_id(1);
    const int head = pair / half_d, j = pair % half_d;
    float angle = 0, a, b, c, s;
    uint first;

    if (pair >= n_pairs)
        return;
    for (int axis = 0; axis < n_axes; axis++)
        angle += (float)position[position_at + token * (uint)n_axes + (uint)axis] *
                 inv_freq[inv_freq_at + (uint)(axis * half_d + j)];
    first = x_at + token * (uint)x_stride + (uint)(head * d + (neox ? j : 2 * j));
    c = cos(angle);
    s = sin(angle);
    a = x[first];
    b = x[first + (uint)(neox ? half_d : 1)];
    x[first] = a * c - b * s;
    x[first + (uint)(neox ? half_d : 1)] = b * c + a * s;
}
