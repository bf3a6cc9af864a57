/* rms_norm.comp -- dst = x / sqrt(mean(x^2) + eps) * w. A workgroup takes a row. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"
#include "backends/vulkan/shaders/sum.glsl"

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer W { float w[]; };
layout(std430, binding = 2) writeonly buffer Dst { float dst[]; };
layout(push_constant) uniform Push {
    Rows x_rows;
    uint w_at;
    Rows dst_rows;
    uint k;
    float eps;
};

void main()
{
    const uint from = x_rows.at + gl_WorkGroupID.x * x_rows.stride;
    const uint to = dst_rows.at + gl_WorkGroupID.x * dst_rows.stride;
    float square = 0.0;

    for (uint i = gl_LocalInvocationID.x; i < k; i += gl_WorkGroupSize.x)
        square += x[from + i] * x[from + i];
    const float factor = 1.0 / sqrt(sum_of_all(square) / float(k) + eps);

    for (uint i = gl_LocalInvocationID.x; i < k; i += gl_WorkGroupSize.x)
        dst[to + i] = x[from + i] * factor * w[w_at + i];
}
