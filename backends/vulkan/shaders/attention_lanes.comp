/* attention_lanes.comp -- attention.comp for devices with narrow subgroups, 8 or 16
 * invocations: without shared memory and without a barrier, but to rotate q4.
 *
 * A subgroup, which is a workgroup, takes QUERIES queries that read the same KV head, and
 * goes through positions LANES at a time: scores (a position each lane), then the
 * weighted sum of values (eight columns each lane). Queries and weights are handed to all
 * lanes out of the register they lie in. Eight columns of a row, an octet, are loaded at
 * once: D must be a multiple of 8, of 16 for q4, and rows of floats and halves must begin
 * at multiples of 16 bytes.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "backends/vulkan/shaders/attention.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 8;

layout(std430, binding = 0) readonly buffer Q4 { vec4 q_quads[]; };
layout(std430, binding = 1) readonly buffer K { uvec4 k_quads[]; };
layout(std430, binding = 1) readonly buffer KWords { uint k_words[]; };
layout(std430, binding = 2) readonly buffer V { uvec4 v_quads[]; };
layout(std430, binding = 2) readonly buffer VWords { uint v_words[]; };
layout(std430, binding = 5) writeonly buffer Dst4 { vec4 dst_quads[]; };

const uint OCTETS = D / 8;
const uint BLOCKS = (OCTETS + LANES - 1) / LANES; /* octets of a row that a lane has */

mat2x4 halves(uvec4 q)
{
    return mat2x4(unpackHalf2x16(q.x), unpackHalf2x16(q.y), unpackHalf2x16(q.z),
                  unpackHalf2x16(q.w));
}

/* ---- octets of codes: eight bytes, of q4 the low or the high bits of them */

/* The byte at which octet o of the row at `from` begins. */
uint octet_at(uint from, uint o)
{
    return from + 8u * (SOURCE == KV_Q4 ? o % (OCTETS / 2u) : o);
}

/* The word behind the two that byte `at` and the next seven may reach into; where they do
 * not, the second. */
uint third_word(uint at)
{
    return at / 4u + 1u + at / 2u % 2u;
}

/* Octet o out of three words, before the scale. */
mat2x4 codes(uvec3 words, uint at, uint o)
{
    const uvec2 all = at % 4u == 0u ? words.xy : words.xy >> 16 | words.yz << 16;

    if (SOURCE == KV_Q8)
        return mat2x4(vec4(ivec4(all.x << 24, all.x << 16, all.x << 8, all.x) >> 24),
                      vec4(ivec4(all.y << 24, all.y << 16, all.y << 8, all.y) >> 24));
    const uvec4 shifts = uvec4(0u, 8u, 16u, 24u) + (o < OCTETS / 2u ? 0u : 4u);

    return mat2x4(vec4(uvec4(all.x) >> shifts & 15u) - 7.5,
                  vec4(uvec4(all.y) >> shifts & 15u) - 7.5);
}

/* Columns 8 o .. 8 o + 7 of the row that begins at `from`. */
mat2x4 key_octet(uint from, uint o)
{
    if (IS_CODES) {
        const uint at = octet_at(from, o);

        return codes(uvec3(k_words[at / 4u], k_words[at / 4u + 1u],
                           k_words[third_word(at)]), at, o);
    }
    if (SOURCE == KV_F16)
        return halves(k_quads[from / 4u + o]);
    return mat2x4(uintBitsToFloat(k_quads[from / 4u + 2u * o]),
                  uintBitsToFloat(k_quads[from / 4u + 2u * o + 1u]));
}

mat2x4 value_octet(uint from, uint o)
{
    if (IS_CODES) {
        const uint at = octet_at(from, o);

        return codes(uvec3(v_words[at / 4u], v_words[at / 4u + 1u],
                           v_words[third_word(at)]), at, o);
    }
    if (SOURCE == KV_F16)
        return halves(v_quads[from / 4u + o]);
    return mat2x4(uintBitsToFloat(v_quads[from / 4u + 2u * o]),
                  uintBitsToFloat(v_quads[from / 4u + 2u * o + 1u]));
}

float top_of_all(float x)
{
    [[unroll]] for (uint n = LANES / 2u; n > 0u; n /= 2u)
        x = max(x, subgroupShuffleXor(x, n));
    return x;
}

float sum_of_all(float x)
{
    [[unroll]] for (uint n = LANES / 2u; n > 0u; n /= 2u)
        x += subgroupShuffleXor(x, n);
    return x;
}

/* Columns of all queries, where they are rotated. */
const uint ROW_FLOATS = SOURCE == KV_Q4 ? QUERIES * D : 1;
#include "backends/vulkan/shaders/rotate.glsl"

void put_octet(uint query, uint o, mat2x4 x)
{
    [[unroll]] for (uint e = 0u; e < 8u; e++)
        rows[query * D + 8u * o + e] = x[e / 4u][e % 4u];
}

mat2x4 get_octet(uint query, uint o)
{
    mat2x4 x;

    [[unroll]] for (uint e = 0u; e < 8u; e++)
        x[e / 4u][e % 4u] = rows[query * D + 8u * o + e];
    return x;
}

void main()
{
    const uint lane = gl_SubgroupInvocationID, kv_head = gl_WorkGroupID.y;
    mat2x4 own[QUERIES * BLOCKS], acc[QUERIES * BLOCKS];
    float top[QUERIES], total[QUERIES];
    int first[QUERIES], end[QUERIES], all_first = 0x7fffffff, all_end = 0;

    [[unroll]] for (uint i = 0u; i < QUERIES; i++) {
        const Query query = query_of(i, kv_head);

        first[i] = query.first;
        end[i] = query.end;
        all_first = min(all_first, first[i]);
        all_end = max(all_end, end[i]);
        top[i] = NEVER;
        total[i] = 0.0;
        [[unroll]] for (uint b = 0u; b < BLOCKS; b++) {
            const uint o = min(b * LANES + lane, OCTETS - 1u);

            acc[i * BLOCKS + b] = mat2x4(0.0);
            own[i * BLOCKS + b] = mat2x4(q_quads[query.at / 4u + 2u * o],
                                         q_quads[query.at / 4u + 2u * o + 1u]) * scale;
        }
    }
    if (SOURCE == KV_Q4) {
        [[unroll]] for (uint r = 0u; r < QUERIES * BLOCKS; r++)
            put_octet(r / BLOCKS, min(r % BLOCKS * LANES + lane, OCTETS - 1u), own[r]);
        rotate_rows(turn);
        [[unroll]] for (uint r = 0u; r < QUERIES * BLOCKS; r++)
            own[r] =
                get_octet(r / BLOCKS, min(r % BLOCKS * LANES + lane, OCTETS - 1u));
    }
    for (uint p0 = (uint(all_first) / LANES + gl_WorkGroupID.z) * LANES;
         p0 < uint(all_end); p0 += LANES * n_splits) {
        const uint n = min(LANES, uint(all_end) - p0);
        const uint key_at = place_of(p0, kv_head, k_rows) +
                            min(lane, n - 1u) * row_step(k_rows);
        const uint value_at = place_of(p0, kv_head, v_rows);
        const uint own_value_at = value_at + min(lane, n - 1u) * row_step(v_rows);
        float key_scale = 1.0, value_scale = 1.0;
        float s[QUERIES];

        if (IS_CODES) {
            key_scale =
                scale_in(k_words[scale_word(SOURCE, D, key_at)], SOURCE, D, key_at);
            value_scale = scale_in(v_words[scale_word(SOURCE, D, own_value_at)], SOURCE,
                                   D, own_value_at);
        }
        [[unroll]] for (uint i = 0u; i < QUERIES; i++)
            s[i] = 0.0;
        [[unroll]] for (uint b = 0u; b < BLOCKS; b++) {
            for (uint o = b * LANES; o < min((b + 1u) * LANES, OCTETS); o++) {
                const mat2x4 key = key_octet(key_at, o);

                [[unroll]] for (uint e = 0u; e < 8u; e++)
                    [[unroll]] for (uint i = 0u; i < QUERIES; i++)
                        s[i] += key[e / 4u][e % 4u] *
                                subgroupShuffle(own[i * BLOCKS + b][e / 4u][e % 4u],
                                                o - b * LANES);
            }
        }
        [[unroll]] for (uint i = 0u; i < QUERIES; i++) {
            const int p = int(p0 + lane);
            const bool seen = p >= first[i] && p < end[i];
            const float before = top[i];

            s[i] *= key_scale;
            top[i] = max(before, top_of_all(seen ? s[i] : NEVER));
            s[i] = seen ? exp_f32(s[i] - top[i]) : 0.0;
            const float factor = exp_f32(before - top[i]);
            total[i] = total[i] * factor + s[i];
            s[i] *= value_scale;
            [[unroll]] for (uint b = 0u; b < BLOCKS; b++)
                acc[i * BLOCKS + b] *= factor;
        }
        for (uint j = 0u; j < n; j++) {
            [[unroll]] for (uint b = 0u; b < BLOCKS; b++) {
                const uint o = min(b * LANES + lane, OCTETS - 1u);
                const mat2x4 value = value_octet(value_at + j * row_step(v_rows), o);

                [[unroll]] for (uint i = 0u; i < QUERIES; i++)
                    acc[i * BLOCKS + b] += subgroupShuffle(s[i], j) * value;
            }
        }
    }
    if (SOURCE == KV_Q4) {
        [[unroll]] for (uint r = 0u; r < QUERIES * BLOCKS; r++)
            put_octet(r / BLOCKS, min(r % BLOCKS * LANES + lane, OCTETS - 1u), acc[r]);
        rotate_rows(turn);
        [[unroll]] for (uint r = 0u; r < QUERIES * BLOCKS; r++)
            acc[r] =
                get_octet(r / BLOCKS, min(r % BLOCKS * LANES + lane, OCTETS - 1u));
    }
    [[unroll]] for (uint i = 0u; i < QUERIES; i++)
        total[i] = sum_of_all(total[i]);
    [[unroll]] for (uint i = 0u; i < QUERIES; i++) {
        const float divide = n_splits > 1u ? 1.0 : 1.0 / total[i];
        const uint to = part_of(i, kv_head) / 4u;

        [[unroll]] for (uint b = 0u; b < BLOCKS; b++) {
            const uint o = b * LANES + lane;

            if (i < n_queries() && o < OCTETS) {
                dst_quads[to + 2u * o] = acc[i * BLOCKS + b][0] * divide;
                dst_quads[to + 2u * o + 1u] = acc[i * BLOCKS + b][1] * divide;
            }
        }
        if (i < n_queries() && n_splits > 1u && lane == 0u)
            dst_quads[to + D / 4u] = vec4(top[i], total[i], 0.0, 0.0);
    }
}
