/* kv_append.comp -- stores rows in their cache slots; f16 caches take two columns a word.
 * A workgroup takes a row. Codes are kv_encode.comp's. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint IS_F16 = 0;
layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) readonly buffer Slots { uint slots[]; };
layout(std430, binding = 2) writeonly buffer Cache { uint cache[]; };
layout(push_constant) uniform Push {
    Rows x_rows;
    uint slots_at, cache_at, n_heads, d;
};

const uint PAGE = 64; /* ERNE_KV_PAGE */

void main()
{
    const uint slot = slots[slots_at + gl_WorkGroupID.x];
    const uint from = x_rows.at + gl_WorkGroupID.x * x_rows.stride;
    const uint n_cols = IS_F16 != 0u ? d / 2u : d; /* words of a head */

    for (uint i = gl_LocalInvocationID.x; i < n_heads * n_cols; i += gl_WorkGroupSize.x) {
        const uint head = i / n_cols;
        const uint row = (slot / PAGE * n_heads + head) * PAGE + slot % PAGE;
        uint word;

        if (IS_F16 != 0u)
            word = float_to_half(x[from + 2u * i]) |
                   float_to_half(x[from + 2u * i + 1u]) << 16;
        else
            word = x[from + i];
        cache[cache_at + row * n_cols + i % n_cols] = word;
    }
}
