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
#include "backends/vulkan/shaders/attention.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 1) readonly buffer K { uint k_words[]; };
layout(std430, binding = 2) readonly buffer V { uint v_words[]; };

shared float queries[QUERIES * D];
shared float scores[QUERIES * 64];
shared float factors[QUERIES], tops[QUERIES], totals[QUERIES];
shared int firsts[QUERIES], ends[QUERIES];

vec2 columns(uint word)
{
    return HALVES == 2u ? unpackHalf2x16(word) : vec2(uintBitsToFloat(word), 0.0);
}

/* Loads the queries, and which positions each sees. */
void load(uint kv_head)
{
    for (uint i = gl_LocalInvocationID.x; i < QUERIES * D; i += gl_WorkGroupSize.x)
        queries[i] = q[query_of(i / D, kv_head).at + i % D] * scale;
    for (uint i = gl_LocalInvocationID.x; i < QUERIES; i += gl_WorkGroupSize.x) {
        const Query query = query_of(i, kv_head);

        firsts[i] = query.first;
        ends[i] = query.end;
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
        const uint to = part_of(i, kv_head);
        const float divide = n_splits > 1u ? 1.0 : 1.0 / totals[i];

        if (n_splits > 1u && lane == 0u) {
            dst[to + D] = tops[i];
            dst[to + D + 1u] = totals[i];
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
