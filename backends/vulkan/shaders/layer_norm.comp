/* layer_norm.comp -- dst = (x - mean) / sqrt(var + eps) * w + bias. A workgroup takes a
 * row; the variance is summed from the differences, which do not cancel. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"
#include "backends/vulkan/shaders/sum.glsl"

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer W { float w[]; };
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
layout(std430, binding = 3) writeonly buffer Dst { float dst[]; };
layout(push_constant) uniform Push {
    Rows x_rows;
    uint w_at, bias_at;
    Rows dst_rows;
    uint k;
    float eps;
};

void main()
{
    const uint from = x_rows.at + gl_WorkGroupID.x * x_rows.stride;
    const uint to = dst_rows.at + gl_WorkGroupID.x * dst_rows.stride;
    float sum = 0.0, square = 0.0;

    for (uint i = gl_LocalInvocationID.x; i < k; i += gl_WorkGroupSize.x)
        sum += x[from + i];
    const float mean = sum_of_all(sum) / float(k);

    for (uint i = gl_LocalInvocationID.x; i < k; i += gl_WorkGroupSize.x)
        square += (x[from + i] - mean) * (x[from + i] - mean);
    const float factor = 1.0 / sqrt(sum_of_all(square) / float(k) + eps);

    for (uint i = gl_LocalInvocationID.x; i < k; i += gl_WorkGroupSize.x)
        dst[to + i] = (x[from + i] - mean) * factor * w[w_at + i] + bias[bias_at + i];
}
