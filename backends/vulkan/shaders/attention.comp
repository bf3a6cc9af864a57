/* attention.comp -- softmax attention, one pass: over the paged cache (SOURCE 0: f16, 1:
 * f32), where a token sees the positions up to its own, or over rows (SOURCE 2), where it
 * sees its segment.
 *
 * A workgroup takes QUERIES queries that read the same KV head: heads of a group, and
 * neighbouring tokens. It goes through positions 64 at a time: scores (an invocation a
 * position), their running maximum, then the weighted sum of values (an invocation some
 * columns). With several splits each takes every n-th 64 positions and leaves its part to
 * attention_merge.comp.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SOURCE = 0;
layout(constant_id = 2) const uint D = 64; /* of a head */
layout(constant_id = 3) const uint QUERIES = 1;

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { uint k_words[]; };
layout(std430, binding = 2) readonly buffer V { uint v_words[]; };
layout(std430, binding = 3) readonly buffer Table { uint table[]; };
layout(std430, binding = 4) readonly buffer Bounds { int bounds[]; };
layout(std430, binding = 5) writeonly buffer Dst { float dst[]; };
layout(push_constant) uniform Push {
    Rows q_rows, k_rows, v_rows;
    uint table_at, bounds_at;
    Rows dst_rows;
    uint n_tok, n_kv_heads, n_group; /* query heads that share a KV head */
    float scale;
    uint n_splits;
};

const uint PAGE = 64;                    /* ERNE_KV_PAGE */
const uint HALVES = SOURCE == 0 ? 2 : 1; /* columns of a word */
const uint WORDS = D / HALVES;
const float NEVER = -3.0e38;

shared float queries[QUERIES * D];
shared float scores[QUERIES * 64];
shared float factors[QUERIES], tops[QUERIES], totals[QUERIES];
shared int firsts[QUERIES], ends[QUERIES];

vec2 columns(uint word)
{
    return HALVES == 2u ? unpackHalf2x16(word) : vec2(uintBitsToFloat(word), 0.0);
}

/* Where position p of a KV head begins. */
uint place_of(uint p, uint head, const Rows rows)
{
    if (SOURCE == 2u)
        return rows.at + p * rows.stride + head * D;
    return rows.at +
           ((table[table_at + p / PAGE] * n_kv_heads + head) * PAGE + p % PAGE) * WORDS;
}

uint n_queries()
{
    return min(QUERIES, n_tok * n_group - gl_WorkGroupID.x * QUERIES);
}

/* Loads the queries, and which positions each sees. */
void load(uint kv_head)
{
    for (uint i = gl_LocalInvocationID.x; i < QUERIES * D; i += gl_WorkGroupSize.x) {
        const uint query =
            gl_WorkGroupID.x * QUERIES + min(i / D, n_queries() - 1u);
        const uint head = kv_head * n_group + query % n_group;

        queries[i] =
            q[q_rows.at + query / n_group * q_rows.stride + head * D + i % D] * scale;
    }
    for (uint i = gl_LocalInvocationID.x; i < QUERIES; i += gl_WorkGroupSize.x) {
        const uint token =
            (gl_WorkGroupID.x * QUERIES + min(i, n_queries() - 1u)) / n_group;

        firsts[i] = SOURCE == 2u ? bounds[bounds_at + 2u * token] : 0;
        ends[i] = SOURCE == 2u ? bounds[bounds_at + 2u * token + 1u]
                               : bounds[bounds_at + token] + 1;
        tops[i] = NEVER;
        totals[i] = 0.0;
    }
    barrier();
}

/* Scores of the 64 positions from p0 on. */
void score(uint p0, uint end, uint kv_head)
{
    for (uint j = gl_LocalInvocationID.x; j < 64u; j += gl_WorkGroupSize.x) {
        const uint from = place_of(min(p0 + j, end - 1u), kv_head, k_rows);
        float s[QUERIES];

        for (uint i = 0u; i < QUERIES; i++)
            s[i] = 0.0;
        for (uint w = 0u; w < WORDS; w++) {
            const vec2 key = columns(k_words[from + w]);

            for (uint i = 0u; i < QUERIES; i++) {
                s[i] += key.x * queries[i * D + w * HALVES];
                if (HALVES == 2u)
                    s[i] += key.y * queries[i * D + w * HALVES + 1u];
            }
        }
        for (uint i = 0u; i < QUERIES; i++) {
            const bool seen = int(p0 + j) >= firsts[i] && int(p0 + j) < ends[i];

            scores[i * 64u + j] = seen ? s[i] : NEVER;
        }
    }
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < QUERIES; i += gl_WorkGroupSize.x) {
        float top = tops[i];

        for (uint j = 0u; j < 64u; j++)
            top = max(top, scores[i * 64u + j]);
        factors[i] = exp_f32(tops[i] - top);
        tops[i] = top;
    }
    barrier();
    for (uint j = gl_LocalInvocationID.x; j < 64u; j += gl_WorkGroupSize.x)
        for (uint i = 0u; i < QUERIES; i++) {
            const float s = scores[i * 64u + j];

            scores[i * 64u + j] = s > NEVER ? exp_f32(s - tops[i]) : 0.0;
        }
    barrier();
}

void main()
{
    const uint lane = gl_LocalInvocationID.x, kv_head = gl_WorkGroupID.y;
    const uint OWN = (WORDS + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    vec2 acc[QUERIES * ((WORDS + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x)];
    int first = 0x7fffffff, end = 0;

    load(kv_head);
    for (uint i = 0u; i < QUERIES; i++) {
        first = min(first, firsts[i]);
        end = max(end, ends[i]);
    }
    for (uint i = 0u; i < QUERIES * OWN; i++)
        acc[i] = vec2(0.0);
    for (uint p0 = (uint(first) / 64u + gl_WorkGroupID.z) * 64u; p0 < uint(end);
         p0 += 64u * n_splits) {
        const uint n = min(64u, uint(end) - p0);

        score(p0, uint(end), kv_head);
        for (uint i = lane; i < QUERIES; i += gl_WorkGroupSize.x) {
            float total = totals[i] * factors[i];

            for (uint j = 0u; j < 64u; j++)
                total += scores[i * 64u + j];
            totals[i] = total;
        }
        for (uint i = 0u; i < QUERIES * OWN; i++)
            acc[i] *= factors[i / OWN];
        for (uint j = 0u; j < n; j++) {
            const uint from = place_of(p0 + j, kv_head, v_rows);

            for (uint o = 0u; o < OWN; o++) {
                const uint w = lane + o * gl_WorkGroupSize.x;
                const vec2 value =
                    w < WORDS ? columns(v_words[from + min(w, WORDS - 1u)]) : vec2(0.0);

                for (uint i = 0u; i < QUERIES; i++)
                    acc[i * OWN + o] += scores[i * 64u + j] * value;
            }
        }
        barrier();
    }
    for (uint i = 0u; i < n_queries(); i++) {
        const uint query = gl_WorkGroupID.x * QUERIES + i;
        const uint head = kv_head * n_group + query % n_group;
        uint to = dst_rows.at + query / n_group * dst_rows.stride + head * D;
        float divide = 1.0 / totals[i];

        /* A part: its columns, then its maximum and its sum. */
        if (n_splits > 1u) {
            to = (query / n_group * n_kv_heads * n_group + head) * n_splits;
            to = dst_rows.at + (to + gl_WorkGroupID.z) * (D + 2u);
            divide = 1.0;
            if (lane == 0u) {
                dst[to + D] = tops[i];
                dst[to + D + 1u] = totals[i];
            }
        }
        for (uint o = 0u; o < OWN; o++) {
            const uint w = lane + o * gl_WorkGroupSize.x;

            if (w < WORDS) {
                dst[to + w * HALVES] = acc[i * OWN + o].x * divide;
                if (HALVES == 2u)
                    dst[to + w * HALVES + 1u] = acc[i * OWN + o].y * divide;
            }
        }
    }
}
