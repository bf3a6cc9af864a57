/* embed.comp -- dst[t] = row tokens[t] of a tile64 weight, bit for bit what the format
 * says. A workgroup takes a token; a weight larger than a binding comes in pieces of
 * whole tiles, and tokens of other pieces are left alone. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"
#include "backends/vulkan/shaders/weights.glsl"

layout(local_size_x_id = 2) in;
layout(std430, binding = 0) readonly buffer Tokens { int tokens[]; };
layout(std430, binding = 1) readonly buffer Codes { uint codes[]; };
layout(std430, binding = 2) readonly buffer Scales { uint scales[]; };
layout(std430, binding = 3) readonly buffer Minima { uint minima[]; };
layout(std430, binding = 4) writeonly buffer Dst { uint dst[]; };
layout(push_constant) uniform Push {
    uint tokens_at, codes_at, scales_at, minima_at;
    Rows dst_rows;
    uint first_tile, n_tiles, k, n_cells, group, n_groups;
};

float factor(uint word, uint row)
{
    return half_to_float(row % 2u == 0u ? word & 0xffffu : word >> 16);
}

void main()
{
    const uint token = uint(tokens[tokens_at + gl_WorkGroupID.x]);
    const uint tile = token / 64u - first_tile, row = token % 64u;
    const uint to = dst_rows.at + gl_WorkGroupID.x * dst_rows.stride;

    if (tile >= n_tiles)
        return;
    for (uint c = gl_LocalInvocationID.x; c * CELL < k; c += gl_WorkGroupSize.x) {
        const uint cell = codes[codes_at + (tile * n_cells + c) * 64u + row];
        float scale = 1.0, minimum = 0.0;

        if (HAS_SCALES) {
            const uint g = ((tile * n_groups + c * CELL / group) * 64u + row) / 2u;

            scale = factor(scales[scales_at + g], row);
            if (ASYM != 0u)
                minimum = factor(minima[minima_at + g], row);
        }
        for (uint i = 0u; i < CELL && c * CELL + i < k; i++) {
            float value = codes_of(uvec4(cell), i).x;

            if (HAS_SCALES)
                value = value * scale;
            if (ASYM != 0u)
                value = value + minimum;
            /* The bits: a float may pass through units that flush its denormals. */
            dst[to + c * CELL + i] =
                CODEC == CODEC_F32 ? cell : floatBitsToUint(value);
        }
    }
}
