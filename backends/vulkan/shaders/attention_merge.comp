/* attention_merge.comp -- puts the parts of a head together that the splits of
 * attention.comp left: columns, maximum, sum. A workgroup takes a head of a token. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"

layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer Parts { float parts[]; };
layout(std430, binding = 1) writeonly buffer Dst { float dst[]; };
layout(push_constant) uniform Push {
    uint parts_at;
    Rows dst_rows;
    uint n_heads, d, n_splits;
};

void main()
{
    const uint part_floats = (d + 2u + 3u) / 4u * 4u;
    const uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y;
    const uint from = parts_at + (row * n_heads + head) * n_splits * part_floats;
    const uint to = dst_rows.at + row * dst_rows.stride + head * d;
    float top = parts[from + d], total = 0.0;

    for (uint s = 1u; s < n_splits; s++)
        top = max(top, parts[from + s * part_floats + d]);
    for (uint s = 0u; s < n_splits; s++)
        total += parts[from + s * part_floats + d + 1u] *
                 exp_f32(parts[from + s * part_floats + d] - top);
    for (uint c = gl_LocalInvocationID.x; c < d; c += gl_WorkGroupSize.x) {
        float sum = 0.0;

        for (uint s = 0u; s < n_splits; s++) {
            const uint part = from + s * part_floats;

            if (parts[part + d + 1u] > 0.0)
                sum += parts[part + c] * exp_f32(parts[part + d] - top);
        }
        dst[to + c] = sum / total;
    }
}
