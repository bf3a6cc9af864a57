/* kv_row.cl -- q8 and q4 rows of a KV cache (runtime/kv_row.h): codes, then the scale.
 * Before kv_append.cl and attend.cl.
 *
 * Build option CACHE: KV_F32 .. KV_Q4. A row of d numbers is KV_STEP(d) elements.
 */
#define KV_F32 0
#define KV_F16 1
#define KV_Q8 2
#define KV_Q4 3

#if CACHE == KV_Q8
#define KV_STEP(d) ((d) + 2)
#define KV_CODES(d) (d)
#elif CACHE == KV_Q4
#define KV_STEP(d) ((d) / 2 + 2)
#define KV_CODES(d) ((d) / 2)
#else
#define KV_STEP(d) (d)
#endif

#if CACHE >= KV_Q8
typedef uchar kv_type;
#elif CACHE == KV_F16
typedef ushort kv_type;
#else
typedef float kv_type;
#endif

/* A half from its bits, denormals included. */
inline float half_of(uint h)
{
    const uint bits = (h & 0x7fffu) << 13;

    return bits < (1u << 23) ? as_float(bits | (113u << 23)) - 0x1p-14f
                             : as_float(bits + (112u << 23));
}

/* The bits of the half nearest to x >= 0, ties to even, for halves with and without an
 * exponent. vstore_half would need an address of its own. */
inline ushort float_to_half(float x)
{
    const uint bits = as_uint(x);
    const uint drop = bits < (113u << 23) ? 126 - (bits >> 23) : 13;
    const uint m = bits < (113u << 23) ? (bits & 0x7fffffu) | 0x800000u
                                       : bits - (112u << 23);

    if (drop > 24)
        return 0;
    return (ushort)((m + (1u << (drop - 1)) - 1 + (m >> drop & 1)) >> drop);
}

/* Rotates rows of d numbers that lie side by side, n numbers in all; `factor` is
 * multiplied by in the end. */
inline void rotate_rows(__local float *rows, int n, int d, float factor)
{
    const int lane = get_local_id(0), run = d & -d;

    barrier(CLK_LOCAL_MEM_FENCE);
    for (int size = 1; size < run; size *= 2) {
        for (int p = lane; p < n / 2; p += LANES) {
            const int j = p / size * 2 * size + p % size;
            const float a = rows[j], b = rows[j + size];

            rows[j] = a + b;
            rows[j + size] = a - b;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int i = lane; i < n; i += LANES)
        rows[i] *= factor;
    barrier(CLK_LOCAL_MEM_FENCE);
}
