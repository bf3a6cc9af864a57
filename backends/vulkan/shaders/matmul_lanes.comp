/* matmul_lanes.comp -- the products of matmul.comp for devices with narrow subgroups, of
 * 8 or 16 invocations. Inputs do not pass through shared memory; nothing waits for them.
 *
 * A subgroup, which is a workgroup, takes a tile of 64 rows of W for TOKENS tokens. A
 * lane has 64 / LANES rows and the sums of all tokens. Inputs come side by side, four to
 * each lane, and every one is handed to all lanes out of the register it lies in, by a
 * shuffle whose lane is a constant. Weights are decoded once for all tokens; scales are
 * applied to the sums of CHUNK inputs, not to each weight.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "backends/vulkan/shaders/matmul.glsl"

layout(local_size_x_id = 2) in;
layout(constant_id = 2) const uint LANES = 8;
layout(constant_id = 3) const uint ALIGNED = 1; /* rows of x, and k, are of whole vec4 */

layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 2) readonly buffer Scales4 { uvec4 scales4[]; };
layout(std430, binding = 3) readonly buffer Minima4 { uvec4 minima4[]; };

const uint CELLS = 16 / LANES;         /* times four rows that a lane has */
const uint STEP = CELL < 4 ? 4 : CELL; /* inputs of an unrolled piece of code */
const uint WIDE = 4 * LANES;           /* inputs in the registers of a subgroup */

shared float sums[TOKENS * 64]; /* unrolled code is compiled slowly: the end is a loop */

/* Inputs at .. at + 3 of a token whose row begins at `from`; beyond k they are zero. */
vec4 inputs(uint from, uint at)
{
    vec4 v = vec4(0.0);

    if (ALIGNED != 0u)
        return at < k ? x4[(from + at) / 4u] : v;
    [[unroll]] for (uint i = 0u; i < 4u; i++)
        if (at + i < k)
            v[i] = x[from + at + i];
    return v;
}

/* The scales, or minima, of a lane's rows: `at` counts those of four rows. */
uvec4 scales_from(uint at)
{
    return CELLS == 2u ? scales4[at / 2u] : uvec4(scales[at], 0u, 0u);
}

uvec4 minima_from(uint at)
{
    return CELLS == 2u ? minima4[at / 2u] : uvec4(minima[at], 0u, 0u);
}

void main()
{
    const uint lane = gl_SubgroupInvocationID, tile = gl_WorkGroupID.x;
    vec4 acc[CELLS * TOKENS];
    uint from[TOKENS];
    Job job;

    if (!find_job(job))
        return;
    [[unroll]] for (uint t = 0u; t < TOKENS; t++) {
        from[t] = x_rows.at + row_of(job, t) * x_rows.stride;
        [[unroll]] for (uint v = 0u; v < CELLS; v++)
            acc[t * CELLS + v] = vec4(0.0);
    }
    for (uint k0 = 0u; k0 < n_lines * CELL; k0 += WIDE) {
        vec4 own[TOKENS];

        [[unroll]] for (uint t = 0u; t < TOKENS; t++)
            own[t] = inputs(from[t], k0 + 4u * lane);
        [[unroll]] for (uint c = 0u; c < WIDE / CHUNK; c++) {
            const uint g = (tile * n_groups + (k0 + c * CHUNK) / group) * 16u;
            vec4 part[CELLS * TOKENS];
            float total[TOKENS];

            [[unroll]] for (uint t = 0u; t < TOKENS; t++) {
                total[t] = 0.0;
                [[unroll]] for (uint v = 0u; v < CELLS; v++)
                    part[t * CELLS + v] = vec4(0.0);
            }
            for (uint n = c * CHUNK; n < c * CHUNK + CHUNK; n += STEP) {
                [[unroll]] for (uint i = 0u; i < STEP; i += CELL) {
                    [[unroll]] for (uint v = 0u; v < CELLS; v++) {
                        const uint cell_at = (tile * n_lines + (k0 + n + i) / CELL) * 16u;
                        const uvec4 cell =
                            codes[job.codes_at + cell_at + lane * CELLS + v];

                        [[unroll]] for (uint j = 0u; j < CELL; j++) {
                            const vec4 w = codes_of(cell, j);

                            [[unroll]] for (uint t = 0u; t < TOKENS; t++) {
                                const float in_all = subgroupShuffle(
                                    own[t][(i + j) % 4u], n / 4u + (i + j) / 4u);

                                part[t * CELLS + v] += w * in_all;
                                if (ASYM != 0u && v == 0u)
                                    total[t] += in_all;
                            }
                        }
                    }
                }
            }
            uvec4 scale_words = uvec4(0u), minimum_words = uvec4(0u);

            if (HAS_SCALES)
                scale_words = scales_from(job.scales_at + g + lane * CELLS);
            if (ASYM != 0u)
                minimum_words = minima_from(job.minima_at + g + lane * CELLS);
            [[unroll]] for (uint v = 0u; v < CELLS; v++) {
                const vec4 scale = factors(v == 0u ? scale_words.xy : scale_words.zw);
                const vec4 minimum =
                    factors(v == 0u ? minimum_words.xy : minimum_words.zw);

                [[unroll]] for (uint t = 0u; t < TOKENS; t++) {
                    if (HAS_SCALES)
                        acc[t * CELLS + v] += part[t * CELLS + v] * scale;
                    else
                        acc[t * CELLS + v] += part[t * CELLS + v];
                    if (ASYM != 0u)
                        acc[t * CELLS + v] += minimum * total[t];
                }
            }
        }
    }
    [[unroll]] for (uint t = 0u; t < TOKENS; t++)
        [[unroll]] for (uint v = 0u; v < CELLS; v++)
            [[unroll]] for (uint i = 0u; i < 4u; i++)
                sums[t * 64u + (lane * CELLS + v) * 4u + i] = acc[t * CELLS + v][i];
    subgroupBarrier();

    const uint width = act == ACT_SWIGLU ? 32u : 64u;

    for (uint i = lane; i < job.n * width; i += LANES) {
        const uint t = i / width, c = i % width;
        const uint r = act == ACT_SWIGLU ? c / 16u * 32u + c % 16u : c;
        const float up = act == ACT_SWIGLU ? sums[t * 64u + r + 16u] : 0.0;

        finish(job, tile, r, t, sums[t * 64u + r], up);
    }
}
