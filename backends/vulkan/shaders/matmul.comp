/* matmul.comp -- dst = act(x W^T + bias) + residual for W in any tile64 scheme, and the
 * products of experts (moe_ffn).
 *
 * 16 invocations, a team, take a tile of 64 rows of W for TOKENS tokens: four rows and
 * all tokens each, so that a line of weights is one contiguous load of 256 bytes and a
 * weight is decoded once for all tokens. Inputs are brought to shared memory in pieces of
 * 4 KiB, where padding becomes zero. The teams of a workgroup take neighbouring tiles, or
 * (SPLIT) shares of the inputs of one tile.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/matmul.glsl"

layout(local_size_x = 16, local_size_y_id = 2) in;
layout(constant_id = 3) const uint SPLIT = 0;

const uint STAGE = 1024 / TOKENS; /* inputs a piece */

shared float staged[1024];
shared float sums[gl_WorkGroupSize.y * TOKENS * 64];

/* Inputs k0 .. k0 + STAGE - 1 of all tokens, token by token for each input. */
void stage(const Job job, uint k0)
{
    const uint n = gl_WorkGroupSize.x * gl_WorkGroupSize.y;

    for (uint t = 0u; t < TOKENS; t++) {
        const uint from = x_rows.at + row_of(job, t) * x_rows.stride + k0;

        for (uint i = gl_LocalInvocationIndex; i < STAGE; i += n)
            staged[i * TOKENS + t] = k0 + i < k ? x[from + i] : 0.0;
    }
}

void main()
{
    const uint lane = gl_LocalInvocationID.x, team = gl_LocalInvocationID.y;
    const uint n_teams = gl_WorkGroupSize.y;
    const uint tile = SPLIT != 0u
                          ? gl_WorkGroupID.x
                          : min(gl_WorkGroupID.x * n_teams + team, n_tiles - 1u);
    vec4 acc[TOKENS];
    Job job;

    if (!find_job(job))
        return;
    for (uint t = 0u; t < TOKENS; t++)
        acc[t] = vec4(0.0);
    for (uint k0 = 0u; k0 < k; k0 += STAGE) {
        if (k0 > 0u)
            barrier();
        stage(job, k0);
        barrier();
        const uint n_chunks = min(STAGE, n_lines * CELL - k0) / CHUNK;

        for (uint c = SPLIT != 0u ? team : 0u; c < n_chunks;
             c += SPLIT != 0u ? n_teams : 1u) {
            const uint line = (k0 + c * CHUNK) / CELL;
            vec4 scale = vec4(1.0), minimum = vec4(0.0);

            if (HAS_SCALES) {
                const uint g = (tile * n_groups + (k0 + c * CHUNK) / group) * 16u + lane;

                scale = factors(scales[job.scales_at + g]);
                if (ASYM != 0u)
                    minimum = factors(minima[job.minima_at + g]);
            }
            for (uint l = 0u; l < CHUNK / CELL; l++) {
                const uvec4 cell =
                    codes[job.codes_at + (tile * n_lines + line + l) * 16u + lane];
                const uint at = (c * CHUNK + l * CELL) * TOKENS;

                for (uint i = 0u; i < CELL; i++) {
                    vec4 w = codes_of(cell, i);

                    if (HAS_SCALES)
                        w = ASYM != 0u ? w * scale + minimum : w * scale;
                    for (uint t = 0u; t < TOKENS; t++)
                        acc[t] += w * staged[at + i * TOKENS + t];
                }
            }
        }
    }
    for (uint t = 0u; t < TOKENS; t++)
        for (uint r = 0u; r < 4u; r++)
            sums[(team * TOKENS + t) * 64u + lane * 4u + r] = acc[t][r];
    barrier();

    /* Outputs of the workgroup's tiles, neighbours to neighbours. */
    const uint width = act == ACT_SWIGLU ? 32u : 64u;
    const uint n_outputs = (SPLIT != 0u ? 1u : n_teams) * TOKENS * width;

    for (uint i = gl_LocalInvocationIndex; i < n_outputs; i += 16u * n_teams) {
        const uint t = i / width % TOKENS, of = i / width / TOKENS, c = i % width;
        const uint out_tile = SPLIT != 0u ? tile : gl_WorkGroupID.x * n_teams + of;
        const uint r = act == ACT_SWIGLU ? c / 16u * 32u + c % 16u : c;
        const uint at = (of * TOKENS + t) * 64u + r;
        float value = 0.0, up = 0.0;

        if (out_tile >= n_tiles)
            continue;
        for (uint s = 0u; s < (SPLIT != 0u ? n_teams : 1u); s++) {
            value += sums[at + s * TOKENS * 64u];
            if (act == ACT_SWIGLU)
                up += sums[at + s * TOKENS * 64u + 16u];
        }
        finish(job, out_tile, r, t, value, up);
    }
}
