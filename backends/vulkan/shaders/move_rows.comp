/* move_rows.comp -- gather_rows and scatter_rows: item j of a list of row numbers is a
 * row of x that goes to row j / n_side of dst, place j % n_side of it; a negative number
 * moves nothing. Bits are copied as they are. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"

layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) readonly buffer List { int list[]; };
layout(std430, binding = 2) writeonly buffer Dst { uint dst[]; };
layout(push_constant) uniform Push {
    Rows x_rows;
    uint list_at;
    Rows dst_rows;
    uint k, n_side;
};

void main()
{
    const uint item = gl_WorkGroupID.x;
    const int row = list[list_at + item];

    if (row < 0)
        return;
    const uint from = x_rows.at + uint(row) * x_rows.stride;
    const uint to = dst_rows.at + item / n_side * dst_rows.stride + item % n_side * k;

    for (uint i = gl_LocalInvocationID.x; i < k; i += gl_WorkGroupSize.x)
        dst[to + i] = x[from + i];
}
