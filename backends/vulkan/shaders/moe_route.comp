/* moe_route.comp -- the experts of each token and their weights, as runtime/route.h says,
 * in numbers of 48 bits: the choice must not turn on somebody's exponential. A workgroup
 * takes a token, an invocation one expert or more; an expert is chosen if fewer than
 * n_used are better.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"
#include "backends/vulkan/shaders/double.glsl"

layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, binding = 1) readonly buffer Bias { float bias[]; };
layout(std430, binding = 2) readonly buffer Kind { uint kind[]; };
layout(std430, binding = 3) writeonly buffer Dst { uint dst[]; };
layout(push_constant) uniform Push {
    Rows x_rows;
    uint bias_at, kind_at;
    Rows dst_rows;
    uint n_experts, n_banks, n_used;
    float norm_min;
    uint has_bias, has_kind;
};

const uint MOST = 512; /* experts of a bank */

/* Of each expert p = m * 2^n, then p + bias; `chosen` by how many are better. */
shared float m_hi[MOST], m_lo[MOST], key_hi[MOST], key_lo[MOST];
shared int n_of[MOST];
shared uint is_chosen[MOST];

/* m * 2^n as a pair: zero where f32 cannot hold both halves. */
Pair value_of(uint e)
{
    const float power = power_of_two(n_of[e] < -100 ? -200 : n_of[e]);

    return Pair(m_hi[e] * power, m_lo[e] * power);
}

/* m in 1 .. 2. */
void keep(uint e, Pair m, int n)
{
    while (m.hi != 0.0 && (m.hi < 1.0 || (m.hi == 1.0 && m.lo < 0.0))) {
        m = Pair(m.hi * 2.0, m.lo * 2.0);
        n--;
    }
    m_hi[e] = m.hi;
    m_lo[e] = m.lo;
    n_of[e] = m.hi == 0.0 ? -100000 : n;
}

/* p of all experts, up to the sum: exp(logit - the largest). */
void exponentials(uint from)
{
    float top = logits[from];

    for (uint e = 1u; e < n_experts; e++)
        top = max(top, logits[from + e]);
    for (uint e = gl_LocalInvocationID.x; e < n_experts; e += gl_WorkGroupSize.x) {
        const Pair y = pair_sum(logits[from + e], -top);
        int n;
        Pair m = pair_exp(y, n);

        /* Below that a double is zero. */
        keep(e, y.hi < -745.13 ? Pair(0.0, 0.0) : m, n);
    }
    barrier();
}

/* Divides by the sum, and makes the keys of the choice. */
void normalise(uint first)
{
    Pair sum = Pair(0.0, 0.0);

    for (uint e = 0u; e < n_experts; e++)
        sum = pair_add(sum, value_of(e));
    barrier();
    for (uint e = gl_LocalInvocationID.x; e < n_experts; e += gl_WorkGroupSize.x) {
        const float b = has_bias != 0u ? bias[bias_at + first + e] : 0.0;

        keep(e, pair_div(Pair(m_hi[e], m_lo[e]), sum), n_of[e]);
        const Pair key = pair_add(value_of(e), Pair(b, 0.0));

        key_hi[e] = key.hi;
        key_lo[e] = key.lo;
    }
    barrier();
}

bool is_better(uint a, uint b)
{
    const Pair ka = Pair(key_hi[a], key_lo[a]), kb = Pair(key_hi[b], key_lo[b]);

    if (has_bias != 0u) {
        if (pair_less(kb, ka) || pair_less(ka, kb))
            return pair_less(kb, ka);
    } else if (n_of[a] != n_of[b]) {
        return n_of[a] > n_of[b];
    } else if (m_hi[a] != m_hi[b] || m_lo[a] != m_lo[b]) {
        return pair_less(Pair(m_hi[b], m_lo[b]), Pair(m_hi[a], m_lo[a]));
    }
    return a < b;
}

void choose()
{
    for (uint e = gl_LocalInvocationID.x; e < n_experts; e += gl_WorkGroupSize.x) {
        uint n_better = 0u;

        for (uint other = 0u; other < n_experts; other++)
            n_better += other != e && is_better(other, e) ? 1u : 0u;
        is_chosen[e] = n_better < n_used ? 1u : 0u;
    }
    barrier();
}

/* The bits of the float nearest to q * 2^n, q > 0. */
uint rounded(Pair q, int n)
{
    int exponent = int(floatBitsToUint(q.hi) >> 23) + n;
    uint m = (floatBitsToUint(q.hi) & 0x7fffffu) | 0x800000u, cut;

    if (exponent >= 1)
        return min(uint(exponent), 255u) << 23 | (m & 0x7fffffu);
    /* A denormal: what is cut off decides, and the low half where it is just a half. */
    cut = uint(1 - exponent);
    if (cut > 24u)
        return 0u;
    const uint rest = m & ((1u << cut) - 1u), tie = 1u << (cut - 1u);

    m >>= cut;
    if (rest > tie || (rest == tie && (q.lo > 0.0 || (q.lo == 0.0 && (m & 1u) != 0u))))
        m++;
    return m;
}

void main()
{
    const uint row = gl_WorkGroupID.x;
    const uint bank = has_kind != 0u ? kind[kind_at + row] : 0u;
    const uint first = bank * n_experts, to = dst_rows.at + row * dst_rows.stride;
    Pair sum = Pair(0.0, 0.0);

    exponentials(x_rows.at + row * x_rows.stride + first);
    normalise(first);
    choose();
    for (uint e = 0u; e < n_experts; e++)
        if (is_chosen[e] != 0u)
            sum = pair_add(sum, value_of(e));
    if (pair_less(sum, Pair(norm_min, 0.0)))
        sum = Pair(norm_min, 0.0);
    for (uint i = gl_LocalInvocationID.x; i < n_banks * n_experts;
         i += gl_WorkGroupSize.x) {
        const uint e = i - first;
        uint bits = 0u;

        if (e < n_experts && is_chosen[e] != 0u && m_hi[e] > 0.0)
            bits = rounded(pair_div(Pair(m_hi[e], m_lo[e]), sum), n_of[e]);
        dst[to + i] = bits;
    }
}
