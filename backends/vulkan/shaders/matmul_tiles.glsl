/* matmul_tiles.glsl -- what matmul.comp and matmul_dot.comp share: 16 invocations, a
 * team, have a tile; the teams of a workgroup take neighbouring tiles, or (SPLIT) shares
 * of the inputs of one tile. */
#include "backends/vulkan/shaders/matmul.glsl"

layout(local_size_x = 16, local_size_y_id = 2) in;
layout(constant_id = 3) const uint SPLIT = 0;

const uint STAGE = 1024 / TOKENS; /* inputs a piece */

shared float sums[gl_WorkGroupSize.y * TOKENS * 64];

/* The tile of a team. */
uint tile_of(uint team)
{
    return SPLIT != 0u ? gl_WorkGroupID.x
                       : min(gl_WorkGroupID.x * gl_WorkGroupSize.y + team, n_tiles - 1u);
}

/* Once sums has those of all teams: outputs of the workgroup's tiles, neighbours to
 * neighbours. */
void write_outputs(const Job job)
{
    const uint n_teams = gl_WorkGroupSize.y;
    const uint width = act == ACT_SWIGLU ? 32u : 64u;
    const uint n_outputs = (SPLIT != 0u ? 1u : n_teams) * TOKENS * width;

    for (uint i = gl_LocalInvocationIndex; i < n_outputs; i += 16u * n_teams) {
        const uint t = i / width % TOKENS, of = i / width / TOKENS, c = i % width;
        const uint out_tile =
            SPLIT != 0u ? gl_WorkGroupID.x : gl_WorkGroupID.x * n_teams + of;
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
