/* matmul.glsl -- what both forms of a product share: buffers, constants, which tokens a
 * workgroup has, and what becomes of a sum. They declare the constants SPLIT and up. */
#include "backends/vulkan/shaders/common.glsl"
#include "backends/vulkan/shaders/weights.glsl"

layout(constant_id = 4) const uint TOKENS = 1;
layout(constant_id = 5) const uint EXPERTS = 0;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer Codes { uvec4 codes[]; };
layout(std430, binding = 2) readonly buffer Scales { uvec2 scales[]; };
layout(std430, binding = 3) readonly buffer Minima { uvec2 minima[]; };
/* Of experts: four words an expert, in place of the bias. */
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
/* Of experts: the work that moe_group.comp laid out, in place of the residual. */
layout(std430, binding = 5) readonly buffer Residual { float residual[]; };
layout(std430, binding = 6) writeonly buffer Dst { float dst[]; };
layout(push_constant) uniform Push {
    Rows x_rows;
    uint codes_at, scales_at, minima_at, bias_at;
    Rows residual_rows, dst_rows;
    uint n_tok, k, n_lines, group, n_groups;
    uint first_tile, n_tiles, n_rows, n_out;
    uint act, has_bias, has_residual;
    uint piece, blocks_at, order_at; /* experts; order_at NONE: rows are slots */
};

const uint NONE = 0xffffffffu;
const uint CHUNK = 32; /* inputs that share scales in every scheme */

/* What a workgroup works on. */
struct Job {
    uint first, n; /* tokens, or slots of an expert */
    uint codes_at, scales_at, minima_at;
};

/* False: nothing to do. */
bool find_job(out Job job)
{
    job.codes_at = codes_at;
    job.scales_at = scales_at;
    job.minima_at = minima_at;
    job.first = gl_WorkGroupID.y * TOKENS;
    job.n = min(TOKENS, n_tok - job.first);
    if (EXPERTS != 0u) {
        const uint at = blocks_at + 3u * gl_WorkGroupID.y;
        const uint entry = bias_at + 4u * floatBitsToUint(residual[at]);

        job.first = floatBitsToUint(residual[at + 1u]);
        job.n = floatBitsToUint(residual[at + 2u]);
        if (job.n == 0u || floatBitsToUint(bias[entry]) != piece)
            return false;
        job.codes_at += floatBitsToUint(bias[entry + 1u]);
        job.scales_at += floatBitsToUint(bias[entry + 2u]);
        job.minima_at += floatBitsToUint(bias[entry + 3u]);
    }
    return true;
}

uint row_of(const Job job, uint t)
{
    const uint slot = job.first + min(t, job.n - 1u);

    if (EXPERTS != 0u && order_at != NONE)
        return floatBitsToUint(residual[order_at + slot]);
    return slot;
}

/* The place of an output of a tile: row r < 64 of tile `tile` of this piece; of SWIGLU,
 * r is a gate's. */
uint output_of(uint tile, uint r)
{
    return act == ACT_SWIGLU ? (first_tile + tile) * 32u + r / 32u * 16u + r % 16u
                             : (first_tile + tile) * 64u + r;
}

/* Output n of token t is done: its sum, and for SWIGLU that of the row 16 below it. */
void finish(const Job job, uint tile, uint r, uint t, float value, float up)
{
    const uint row = (first_tile + tile) * 64u + r, n = output_of(tile, r);

    if (t >= job.n || n >= n_out)
        return;
    if (EXPERTS == 0u && has_bias != 0u) {
        value += bias[bias_at + row];
        if (act == ACT_SWIGLU)
            up += bias[bias_at + row + 16u];
    }
    value = act == ACT_SWIGLU ? value * logistic(value) * up : activate(act, value);
    if (EXPERTS == 0u && has_residual != 0u)
        value +=
            residual[residual_rows.at + (job.first + t) * residual_rows.stride + n];
    dst[dst_rows.at + (job.first + t) * dst_rows.stride + n] = value;
}
