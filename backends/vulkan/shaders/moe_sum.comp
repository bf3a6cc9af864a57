/* moe_sum.comp -- dst[t] = residual[t] + the sum over the token's turns of weight times
 * what the expert gave. A workgroup takes a token. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"

layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer Plan { uint plan[]; };
layout(std430, binding = 1) readonly buffer Given { float given[]; };
layout(std430, binding = 2) readonly buffer Residual { float residual[]; };
layout(std430, binding = 3) writeonly buffer Dst { float dst[]; };
layout(push_constant) uniform Push {
    uint turns_at;
    Rows given_rows, residual_rows, dst_rows;
    uint n_used, n_cols, has_residual;
};

const uint NONE = 0xffffffffu;

void main()
{
    const uint t = gl_WorkGroupID.x;

    for (uint c = gl_LocalInvocationID.x; c < n_cols; c += gl_WorkGroupSize.x) {
        float sum = 0.0;

        for (uint i = 0u; i < n_used; i++) {
            const uint at = turns_at + 2u * (t * n_used + i);

            if (plan[at] != NONE)
                sum += uintBitsToFloat(plan[at + 1u]) *
                       given[given_rows.at + plan[at] * given_rows.stride + c];
        }
        if (has_residual != 0u)
            sum += residual[residual_rows.at + t * residual_rows.stride + c];
        dst[dst_rows.at + t * dst_rows.stride + c] = sum;
    }
}
