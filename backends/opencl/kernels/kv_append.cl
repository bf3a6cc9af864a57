/* kv_append.cl -- rows of new tokens into their slots of a paged cache
 * [P, n_heads, KV_PAGE, row]. Codes have the bits that runtime/kv_row.c makes. */
#define KV_PAGE 64

#if CACHE < KV_Q8

/* A work-item an element. */
__kernel void kv_append(__global const float *x, uint x_at, int x_stride,
#if CACHE == KV_F16
                        __global half *cache,
#else
                        __global float *cache,
#endif
                        uint cache_at, __global const int *slot, uint slot_at,
                        int n_heads, int d)
{
    const int i = get_global_id(0);
    const uint token = get_global_id(1);
    size_t page, place, to;
    float value;

    if (i >= n_heads * d)
        return;
    page = (size_t)(slot[slot_at + token] / KV_PAGE);
    place = (size_t)(slot[slot_at + token] % KV_PAGE);
    to = cache_at + ((page * n_heads + i / d) * KV_PAGE + place) * d + i % d;
    value = x[x_at + token * (uint)x_stride + (uint)i];
#if CACHE == KV_F16
    vstore_half_rte(value, to, cache);
#else
    cache[to] = value;
#endif
}

#else

/* No device but a processor promises divisions to the last bit, or to leave products and
 * sums apart; so divisions are of integers. */
#pragma OPENCL FP_CONTRACT OFF

#if CACHE == KV_Q4
#define LEAST 0.0f
#define MOST 15.0f
#define MIDDLE 7.5f
#else
#define LEAST -127.0f
#define MOST 127.0f
#define MIDDLE 0.0f
#endif

/* top / by * 2^up to the nearest float; 0 where that is far below a half. */
inline float quotient(float top, uint by, uint up)
{
    const uint bits = as_uint(top), exponent = bits >> 23;
    const uint m = ((bits & 0x7fffffu) | 0x800000u) << 8;
    /* The last bit is whether there is more behind the others. */
    const uint q = m / by * 2 + (m % by > 0), drop = 8 - clz(q);
    const uint kept = (q + (1u << (drop - 1)) - 1 + (q >> drop & 1)) >> drop;

    if (exponent < 64)
        return 0.0f;
    return as_float(((exponent + drop + up - 9) << 23) + (kept - 0x800000u));
}

/* 1 / h to the nearest float for a half h > 0. */
inline float inverse_of(uint h)
{
    const uint up = h < 0x400u ? clz(h) - 21 : 0;
    const uint exponent = h < 0x400u ? 1 - up : h >> 10; /* may wrap */
    const uint m = h < 0x400u ? h << up : (h & 0x3ffu) | 0x400u;
    /* 2^34 / m in two steps, which has 24 bits. */
    const uint first = 0x80000000u / m, rest = 0x80000000u % m * 8;
    const uint q = first * 8 + rest / m, left = rest % m * 2;
    const uint more = left > m || (left == m && q % 2 == 1);

    return as_float(((141 - exponent) << 23) + (q - 0x800000u) + more);
}

inline int code_of(float x, float inverse)
{
    const float scaled = x * inverse;

    return convert_int_rte(fmax(fmin(scaled + MIDDLE, MOST), LEAST));
}

/* A work-group a head of a token. room: [d] */
__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
kv_encode(__global const float *x, uint x_at, int x_stride, __global uchar *cache,
          uint cache_at, __global const int *slot, uint slot_at, int n_heads, int d,
          float factor, __local float *room)
{
    __local float tops[LANES];
    const int lane = get_local_id(0), head = get_group_id(0);
    const uint token = get_group_id(1);
    const size_t page = (size_t)(slot[slot_at + token] / KV_PAGE);
    const size_t place = (size_t)(slot[slot_at + token] % KV_PAGE);
    __global uchar *row =
        cache + cache_at +
        ((page * n_heads + head) * KV_PAGE + place) * (size_t)KV_STEP(d);
    float top = 0.0f, inverse = 0.0f;
    ushort scale;

    for (int i = lane; i < d; i += LANES)
        room[i] = x[x_at + token * (uint)x_stride + (uint)(head * d + i)];
#if CACHE == KV_Q4
    rotate_rows(room, d, d, factor);
#endif
    for (int i = lane; i < d; i += LANES)
        top = fmax(top, fabs(room[i]));
    tops[lane] = top;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 0; i < LANES; i++)
        top = fmax(top, tops[i]);
#if CACHE == KV_Q4
    top = quotient(top, 15, 1);
#else
    top = quotient(top, 127, 0);
#endif
    scale = float_to_half(fmin(top, 65504.0f));
    if (scale > 0)
        inverse = inverse_of(scale);
    for (int i = lane; i < KV_CODES(d); i += LANES)
#if CACHE == KV_Q4
        row[i] = (uchar)(code_of(room[i], inverse) |
                         code_of(room[i + d / 2], inverse) << 4);
#else
        row[i] = (uchar)code_of(room[i], inverse);
#endif
    if (lane < 2)
        row[KV_CODES(d) + lane] = (uchar)(scale >> 8 * lane);
}

#endif
