/* rotate.glsl -- erne_kv_rotate of rows of D numbers that lie side by side in shared
 * memory, ROW_FLOATS numbers in all. */
shared float rows[ROW_FLOATS];

/* factor: what a rotation is multiplied by in the end. */
void rotate_rows(float factor)
{
    const uint n = gl_WorkGroupSize.x, lane = gl_LocalInvocationID.x;
    const uint run = D & (~D + 1u); /* the largest power of two that divides it */

    barrier();
    for (uint n_half = 1u; n_half < run; n_half *= 2u) {
        for (uint p = lane; p < ROW_FLOATS / 2u; p += n) {
            const uint j = p / n_half * 2u * n_half + p % n_half;
            const float a = rows[j], b = rows[j + n_half];

            rows[j] = a + b;
            rows[j + n_half] = a - b;
        }
        barrier();
    }
    for (uint i = lane; i < ROW_FLOATS; i += n)
        rows[i] *= factor;
    barrier();
}
