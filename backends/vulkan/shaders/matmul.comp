/* matmul.comp -- dst = act(x W^T + bias) + residual for W in any tile64 scheme, and the
 * products of experts (moe_ffn).
 *
 * 16 invocations, a team, take a tile of 64 rows of W for TOKENS tokens: four rows and
 * all tokens each, so that a line of weights is one contiguous load of 256 bytes and a
 * weight is decoded once for all tokens. Inputs are brought to shared memory in pieces of
 * 4 KiB, where padding becomes zero. Teams: matmul_tiles.glsl.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/matmul_tiles.glsl"

shared float staged[1024];

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
    const uint tile = tile_of(team);
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
    write_outputs(job);
}
