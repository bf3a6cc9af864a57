/* sum.glsl -- sums over a workgroup of a power of two invocations, in an order that does
 * not depend on the device. */
layout(local_size_x_id = 0) in;
shared float sum_parts[gl_WorkGroupSize.x];

float sum_of_all(float mine)
{
    const uint lane = gl_LocalInvocationID.x;

    barrier(); /* the sum before was read by all */
    sum_parts[lane] = mine;
    for (uint n = gl_WorkGroupSize.x / 2u; n > 0u; n /= 2u) {
        barrier();
        if (lane < n)
            sum_parts[lane] += sum_parts[lane + n];
    }
    barrier();
    return sum_parts[0];
}
