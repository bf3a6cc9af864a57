/* moe_group.comp -- lays out the work of moe_ffn: which tokens each expert has.
 *
 * A token's turn at an expert is a slot; the slots of an expert follow each other, and
 * blocks of up to `block` of them are what matmul.comp takes. One workgroup does it all:
 * it reads the weights three times, and writes, one after the other, n_blocks blocks
 * (expert, first slot, slots; the last ones may have none), the token of each slot, the
 * turns of each token (n_used slots and weights, NONE where there are fewer), and the
 * slot of each token at each expert.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "backends/vulkan/shaders/common.glsl"

layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer Weights { uint weights[]; };
layout(std430, binding = 1) buffer Plan { uint plan[]; };
layout(push_constant) uniform Push {
    Rows w_rows;
    uint plan_at, n_tok, n_experts, n_used, n_blocks, block;
};

const uint NONE = 0xffffffffu;
const uint MOST = 512; /* experts */

shared uint firsts[MOST], blocks[MOST], counts[MOST];

/* Not zero: any bit but the sign. */
bool is_used(uint t, uint e)
{
    return (weights[w_rows.at + t * w_rows.stride + e] & 0x7fffffffu) != 0u;
}

void main()
{
    const uint lane = gl_LocalInvocationID.x, n = gl_WorkGroupSize.x;
    const uint order_at = plan_at + 3u * n_blocks;
    const uint turns_at = order_at + n_tok * n_used;
    const uint slots_at = turns_at + 2u * n_tok * n_used;

    for (uint e = lane; e < n_experts; e += n) {
        counts[e] = 0u;
        for (uint t = 0u; t < n_tok; t++)
            counts[e] += is_used(t, e) ? 1u : 0u;
    }
    barrier();
    if (lane == 0u) {
        uint slot = 0u, b = 0u;

        for (uint e = 0u; e < n_experts; e++) {
            firsts[e] = slot;
            blocks[e] = b;
            slot += counts[e];
            b += (counts[e] + block - 1u) / block;
        }
        for (; b < n_blocks; b++) {
            plan[plan_at + 3u * b] = 0u;
            plan[plan_at + 3u * b + 1u] = 0u;
            plan[plan_at + 3u * b + 2u] = 0u;
        }
    }
    barrier();
    for (uint e = lane; e < n_experts; e += n) {
        uint slot = firsts[e];

        for (uint t = 0u; t < n_tok; t++)
            if (is_used(t, e)) {
                plan[order_at + slot] = t;
                plan[slots_at + t * n_experts + e] = slot;
                slot++;
            }
        for (uint b = 0u; b * block < counts[e]; b++) {
            const uint at = plan_at + 3u * (blocks[e] + b);

            plan[at] = e;
            plan[at + 1u] = firsts[e] + b * block;
            plan[at + 2u] = min(block, counts[e] - b * block);
        }
    }
    memoryBarrierBuffer();
    barrier();
    for (uint t = lane; t < n_tok; t += n) {
        uint at = turns_at + 2u * t * n_used;
        const uint end = at + 2u * n_used;

        for (uint e = 0u; e < n_experts && at < end; e++)
            if (is_used(t, e)) {
                plan[at] = plan[slots_at + t * n_experts + e];
                plan[at + 1u] = weights[w_rows.at + t * w_rows.stride + e];
                at += 2u;
            }
        for (; at < end; at += 2u)
            plan[at] = NONE;
    }
}
