/* attention.comp -- softmax attention, one pass: over the paged cache, where a token sees
 * the positions up to its own, or over rows (SOURCE is KV_ROWS), where it sees its
 * segment.
 *
 * A workgroup takes QUERIES queries that read the same KV head: heads of a group, and
 * neighbouring tokens. It goes through positions 64 at a time: scores (an invocation a
 * position), their running maximum, then the weighted sum of values (an invocation some
 * columns). With several splits each takes every n-th 64 positions and leaves its part to
 * attention_merge.comp. Rows of codes are multiplied as codes; of q4 they are rotated, so
 * queries are rotated before, and results afterwards.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/attention.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 1) readonly buffer K { uint k_words[]; };
layout(std430, binding = 2) readonly buffer V { uint v_words[]; };

const uint OWN = (UNITS + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;

/* Rows are queries, and at the end sums. */
const uint ROW_FLOATS = QUERIES * D;
#include "backends/vulkan/shaders/rotate.glsl"

shared float scores[QUERIES * 64];
shared float factors[QUERIES], tops[QUERIES], totals[QUERIES];
shared int firsts[QUERIES], ends[QUERIES];

vec2 acc[QUERIES * OWN]; /* sums of an invocation's columns */

/* The word that unit u of the row at `from` is in. */
uint word_of(uint from, uint u)
{
    return SOURCE == KV_Q8 ? from / 4u + (from % 4u + 2u * u) / 4u
           : SOURCE == KV_Q4 ? from / 4u + (from % 4u + u) / 4u
                             : from + u;
}

/* Its columns out of that word; of codes, before the scale. */
vec2 columns(uint word, uint from, uint u)
{
    if (SOURCE == KV_Q8) {
        const int pair = int(word >> (from + 2u * u) % 4u * 8u);

        return vec2(pair << 24 >> 24, pair << 16 >> 24);
    }
    if (SOURCE == KV_Q4) {
        const uint pair = word >> (from + u) % 4u * 8u;

        return vec2(pair & 15u, pair >> 4 & 15u) - 7.5;
    }
    return HALVES == 2u ? unpackHalf2x16(word) : vec2(uintBitsToFloat(word), 0.0);
}

/* Which columns those are. */
uint column_of(uint u, uint half_of)
{
    return SOURCE == KV_Q4 ? u + half_of * (D / 2u) : u * HALVES + half_of;
}

/* Loads the queries, and which positions each sees. */
void load(uint kv_head)
{
    for (uint i = gl_LocalInvocationID.x; i < QUERIES * D; i += gl_WorkGroupSize.x)
        rows[i] = q[query_of(i / D, kv_head).at + i % D] * scale;
    for (uint i = gl_LocalInvocationID.x; i < QUERIES; i += gl_WorkGroupSize.x) {
        const Query query = query_of(i, kv_head);

        firsts[i] = query.first;
        ends[i] = query.end;
        tops[i] = NEVER;
        totals[i] = 0.0;
    }
    if (SOURCE == KV_Q4)
        rotate_rows(turn);
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
        for (uint u = 0u; u < UNITS; u++) {
            const vec2 key = columns(k_words[word_of(from, u)], from, u);

            for (uint i = 0u; i < QUERIES; i++) {
                s[i] += key.x * rows[i * D + column_of(u, 0u)];
                if (HALVES == 2u)
                    s[i] += key.y * rows[i * D + column_of(u, 1u)];
            }
        }
        if (IS_CODES) {
            const uint word = k_words[scale_word(SOURCE, D, from)];

            for (uint i = 0u; i < QUERIES; i++)
                s[i] *= scale_in(word, SOURCE, D, from);
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

/* Rotates the sums of all invocations. */
void rotate_sums()
{
    for (uint i = 0u; i < QUERIES * OWN; i++) {
        const uint u = gl_LocalInvocationID.x + i % OWN * gl_WorkGroupSize.x;

        if (u < UNITS)
            for (uint e = 0u; e < HALVES; e++)
                rows[i / OWN * D + column_of(u, e)] = acc[i][e];
    }
    rotate_rows(turn);
    for (uint i = 0u; i < QUERIES * OWN; i++) {
        const uint u =
            min(gl_LocalInvocationID.x + i % OWN * gl_WorkGroupSize.x, UNITS - 1u);

        for (uint e = 0u; e < HALVES; e++)
            acc[i][e] = rows[i / OWN * D + column_of(u, e)];
    }
}

void main()
{
    const uint lane = gl_LocalInvocationID.x, kv_head = gl_WorkGroupID.y;
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
            float factor = 1.0;

            if (IS_CODES)
                factor =
                    scale_in(v_words[scale_word(SOURCE, D, from)], SOURCE, D, from);
            for (uint o = 0u; o < OWN; o++) {
                const uint u = min(lane + o * gl_WorkGroupSize.x, UNITS - 1u);
                vec2 value = columns(v_words[word_of(from, u)], from, u);

                if (IS_CODES)
                    value *= factor;
                for (uint i = 0u; i < QUERIES; i++)
                    acc[i * OWN + o] += scores[i * 64u + j] * value;
            }
        }
        barrier();
    }
    if (SOURCE == KV_Q4)
        rotate_sums();
    for (uint i = 0u; i < n_queries(); i++) {
        const uint to = part_of(i, kv_head);
        const float divide = n_splits > 1u ? 1.0 : 1.0 / totals[i];

        if (n_splits > 1u && lane == 0u) {
            dst[to + D] = tops[i];
            dst[to + D + 1u] = totals[i];
        }
        for (uint o = 0u; o < OWN; o++) {
            const uint u = lane + o * gl_WorkGroupSize.x;

            if (u < UNITS) {
                dst[to + column_of(u, 0u)] = acc[i * OWN + o].x * divide;
                if (HALVES == 2u)
                    dst[to + column_of(u, 1u)] = acc[i * OWN + o].y * divide;
            }
        }
    }
}
