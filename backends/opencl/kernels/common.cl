/* common.cl -- what all kernels share; cl_program.c puts it before every source.
 *
 * OpenCL C 1.2 without extensions. Work-groups have LANES work-items unless a kernel says
 * otherwise. A buffer parameter `x` is followed by `x_at`, where in it the tensor begins
 * (in elements), and activations by `x_stride`, elements from row to row.
 *
 * Build option WIDTH: how many numbers a work-item keeps side by side, 1, 2, 4, 8 or 16:
 * rows of weights, or columns of keys and values. GPUs want few, as neighbouring
 * work-items run side by side; processors want what their vectors hold.
 */
#define LANES 64

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)

#if WIDTH == 1
#define VEC(type) type
#define VLOAD(at, p) ((p)[at])
#define VSTORE(v, at, p) ((p)[at] = (v))
#else
#define VEC(type) CAT(type, WIDTH)
#define VLOAD(at, p) CAT(vload, WIDTH)(at, p)
#define VSTORE(v, at, p) CAT(vstore, WIDTH)(v, at, p)
#endif
#define fvec VEC(float)
#define uvec VEC(uint)
#define as_fvec CAT(as_, fvec)
#define as_uvec CAT(as_, uvec)
#define to_uvec CAT(convert_, uvec)

/* IEEE halves from their bits. Not by vload_half, which some drivers do one by one; and
 * right where denormals are flushed, as small scales are denormal halves. */
inline fvec half_to_float(uvec h)
{
    const uvec bits = (h & 0x7fffu) << 13, sign = (h & 0x8000u) << 16;
    const fvec normal = as_fvec(bits + (112u << 23));
    const fvec denormal = as_fvec(bits | (113u << 23)) - 0x1p-14f;

    return as_fvec(as_uvec(select(normal, denormal, bits < (1u << 23))) | sign);
}

/* The sum over the work-group of what each work-item has. room: [LANES] */
inline float sum_lanes(float mine, __local float *room)
{
    const int lane = get_local_id(0);
    float sum;

    room[lane] = mine;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int n = LANES / 2; n > 0; n /= 2) {
        if (lane < n)
            room[lane] += room[lane + n];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    sum = room[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
}
