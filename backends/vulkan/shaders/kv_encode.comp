/* kv_encode.comp -- stores rows as q8 or q4 codes in their cache slots, the bits that
 * runtime/kv_row.c makes. A workgroup takes a head of a token.
 *
 * No GPU promises divisions to the last bit, so that the scale and what numbers are
 * multiplied by are divided in integers. A row begins and ends inside words that it may
 * share with its neighbours; of these it changes its own bytes only.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"
#include "backends/vulkan/shaders/kv_row.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = 3; /* KV_Q8, KV_Q4 */
layout(constant_id = 2) const uint D = 64;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer Slots { uint slots[]; };
layout(std430, binding = 2) buffer Cache { uint cache[]; };
layout(push_constant) uniform Push {
    Rows x_rows;
    uint slots_at, cache_at, n_heads;
    float turn; /* KV_Q4: what a rotation is multiplied by in the end */
};

const uint ROW_FLOATS = D;
#include "backends/vulkan/shaders/rotate.glsl"

shared float tops[gl_WorkGroupSize.x];

/* The largest magnitude of the row, past numbers that are none. */
float top_of_row()
{
    float top = 0.0;

    for (uint i = gl_LocalInvocationID.x; i < D; i += gl_WorkGroupSize.x)
        top = abs(rows[i]) > top ? abs(rows[i]) : top;
    tops[gl_LocalInvocationID.x] = top;
    barrier();
    for (uint i = 0u; i < gl_WorkGroupSize.x; i++)
        top = max(top, tops[i]);
    return top;
}

/* The bits of top / by * 2^up to the nearest float; 0 where that is far below a half. */
uint quotient(float top, uint by, uint up)
{
    const uint bits = floatBitsToUint(top), exponent = bits >> 23;
    const uint m = ((bits & 0x7fffffu) | 0x800000u) << 8;
    const uint q = m / by, rest = m % by;
    const uint drop = uint(findMSB(q)) - 23u, half_unit = 1u << (drop - 1u);
    const uint kept = q >> drop, cut = q & ((1u << drop) - 1u);
    const bool is_above = cut > half_unit || (cut == half_unit && rest > 0u);
    const bool is_tie = cut == half_unit && rest == 0u;
    const uint more = is_above || (is_tie && kept % 2u == 1u) ? 1u : 0u;

    if (exponent < 64u)
        return 0u;
    return ((exponent + drop + up - 8u) << 23) + (kept - 0x800000u) + more;
}

/* 1 / h to the nearest float for a half h > 0. */
float inverse_of(uint h)
{
    uint exponent = h >> 10, m = (h & 0x3ffu) | 0x400u;

    if (exponent == 0u) {
        const uint up = 10u - uint(findMSB(h));

        m = h << up;
        exponent = 1u - up; /* may wrap */
    }
    /* 2^34 / m in two steps, which has 24 bits. */
    const uint first = 0x80000000u / m, rest = 0x80000000u % m * 8u;
    const uint q = first * 8u + rest / m, left = rest % m * 2u;
    const uint more = left > m || (left == m && q % 2u == 1u) ? 1u : 0u;

    return uintBitsToFloat(((141u - exponent) << 23) + (q - 0x800000u) + more);
}

/* The bits of number i's code. */
uint code_of(uint i, float inverse)
{
    const float least = TYPE == KV_Q4 ? 0.0 : -127.0;
    const float most = TYPE == KV_Q4 ? 15.0 : 127.0;
    precise float scaled = rows[i] * inverse;
    precise float y = scaled + (TYPE == KV_Q4 ? 7.5 : 0.0);

    return uint(int(roundEven(y < most ? max(y, least) : most))) & 0xffu;
}

/* Bytes 2 u and 2 u + 1 of the row. */
uint unit_of(uint u, uint scale, float inverse)
{
    if (2u * u >= code_bytes(TYPE, D))
        return scale;
    if (TYPE == KV_Q4)
        return code_of(2u * u, inverse) | code_of(2u * u + D / 2u, inverse) << 4 |
               code_of(2u * u + 1u, inverse) << 8 |
               code_of(2u * u + 1u + D / 2u, inverse) << 12;
    return code_of(2u * u, inverse) | code_of(2u * u + 1u, inverse) << 8;
}

void main()
{
    const uint head = gl_WorkGroupID.y, slot = slots[slots_at + gl_WorkGroupID.x];
    const uint from = x_rows.at + gl_WorkGroupID.x * x_rows.stride + head * D;
    const uint n_bytes = row_bytes(TYPE, D);
    const uint at = cache_at * 4u +
                    ((slot / PAGE * n_heads + head) * PAGE + slot % PAGE) * n_bytes;

    for (uint i = gl_LocalInvocationID.x; i < D; i += gl_WorkGroupSize.x)
        rows[i] = x[from + i];
    barrier();
    if (TYPE == KV_Q4)
        rotate_rows(turn);
    const float top = top_of_row();
    const uint bits = TYPE == KV_Q4 ? quotient(top, 15u, 1u) : quotient(top, 127u, 0u);
    const uint scale = min(float_to_half(bits), 0x7bffu);
    const float inverse = scale > 0u ? inverse_of(scale) : 0.0;

    for (uint w = at / 4u + gl_LocalInvocationID.x; w <= (at + n_bytes - 1u) / 4u;
         w += gl_WorkGroupSize.x) {
        const bool has_low = 4u * w >= at, has_high = 4u * w + 2u < at + n_bytes;
        uint word = 0u;

        if (has_low)
            word = unit_of((4u * w - at) / 2u, scale, inverse);
        if (has_high)
            word |= unit_of((4u * w + 2u - at) / 2u, scale, inverse) << 16;
        if (has_low && has_high) {
            cache[w] = word;
        } else {
            atomicAnd(cache[w], has_low ? 0xffff0000u : 0x0000ffffu);
            atomicOr(cache[w], word);
        }
    }
}
