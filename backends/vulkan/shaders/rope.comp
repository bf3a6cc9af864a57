/* rope.comp -- turns pairs of each head by an f32 angle, in place. An invocation takes a
 * pair. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"

layout(local_size_x_id = 0) in;
layout(std430, binding = 0) buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer Position { int position[]; };
layout(std430, binding = 2) readonly buffer Freq { float inv_freq[]; };
layout(push_constant) uniform Push {
    Rows x_rows;
    uint position_at, freq_at, n_axes, n_pairs, d, is_neox;
};

/* cos and sin of any f32 below 2^17 or so: the quarter turns are taken off in four parts,
 * whose products are exact, then polynomials (Cephes) on what is left. */
vec2 cos_sin(float angle)
{
    const float n = round(angle * 0.636619772);
    precise float r = angle - n * 1.5625;
    r = r - n * 0.0081787109375;
    r = r - n * 0.00011730194091796875;
    r = r - n * 3.139164786504813e-7;
    const float z = r * r;
    const float s =
        r + r * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
    const float c =
        1.0 - 0.5 * z +
        z * z * (4.166664568298827e-2 +
                 z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
    const uint quarter = uint(int(n)) & 3u;
    const vec2 turned = (quarter & 1u) != 0u ? vec2(s, c) : vec2(c, s);

    return vec2(quarter == 1u || quarter == 2u ? -turned.x : turned.x,
                quarter >= 2u ? -turned.y : turned.y);
}

void main()
{
    const uint pair = gl_GlobalInvocationID.x, row = gl_GlobalInvocationID.y;

    if (pair >= n_pairs)
        return;
    const uint j = pair % (d / 2u), head = pair / (d / 2u) * d;
    const uint base = x_rows.at + row * x_rows.stride + head;
    const uint first = base + (is_neox != 0u ? j : 2u * j);
    const uint second = first + (is_neox != 0u ? d / 2u : 1u);
    precise float angle = 0.0;

    for (uint a = 0u; a < n_axes; a++) {
        precise float part = float(position[position_at + row * n_axes + a]) *
                             inv_freq[freq_at + a * (d / 2u) + j];
        angle = angle + part;
    }
    const vec2 turn = cos_sin(angle);
    const float left = x[first], right = x[second];

    x[first] = left * turn.x - right * turn.y;
    x[second] = right * turn.x + left * turn.y;
}
