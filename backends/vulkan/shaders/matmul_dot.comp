/* matmul_dot.comp -- matmul.comp for devices that multiply four bytes by four bytes and
 * add them up at once, for weights of 8, 4 and 2 bits.
 *
 * Inputs become integers of 15 bits, 32 of them with one step, as they are brought to
 * shared memory: 128 high + low, of a byte each, so that what is lost is a 32768th of the
 * largest of the 32, and a product takes two instructions for four inputs of a row.
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_spirv_intrinsics : require
#include "backends/vulkan/shaders/matmul_tiles.glsl"

/* GL_EXT_integer_dot_product by its SPIR-V: OpSDot, PackedVectorFormat4x8Bit. */
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"],
                  capabilities = [6018, 6019], id = 4450)
int dot_bytes(uint a, uint b, spirv_literal int format);

const uint QUADS = 256;             /* four inputs of a token, of a piece */
const uint CHUNKS = 1024 / CHUNK;   /* and those with a common step */
const uint PER_CHUNK = CHUNK / 4u;
const float STEPS = 127.0 * 128.0;
/* What the codes of symmetric schemes are above their numbers. */
const float ZERO = ASYM != 0          ? 0.0
                   : CODEC == CODEC_W4 ? 8.0
                   : CODEC == CODEC_W2 ? 1.5
                                       : 0.0;

/* Token by token for each quad and chunk. */
shared uint highs[QUADS], lows[QUADS];
shared float tops[QUADS], steps[CHUNKS];
shared float totals[CHUNKS]; /* sums of integers: with them, codes of nothing give 0 */

/* Quad `at` of those from input k0 on. */
vec4 quad_of(const Job job, uint k0, uint at)
{
    const uint t = at % TOKENS, i = k0 + at / TOKENS * 4u;
    const uint from = x_rows.at + row_of(job, t) * x_rows.stride;
    vec4 quad = vec4(0.0);

    for (uint e = 0u; e < 4u; e++)
        if (i + e < k)
            quad[e] = x[from + i + e];
    return quad;
}

/* Inputs k0 .. k0 + STAGE - 1 of all tokens. */
void stage(const Job job, uint k0)
{
    const uint first = gl_LocalInvocationIndex;
    const uint n = gl_WorkGroupSize.x * gl_WorkGroupSize.y;

    for (uint at = first; at < QUADS; at += n) {
        const vec4 quad = quad_of(job, k0, at), size = abs(quad);

        tops[at] = max(max(size.x, size.y), max(size.z, size.w));
    }
    barrier();
    for (uint c = first; c < CHUNKS; c += n) {
        float top = 0.0;

        for (uint q = 0u; q < PER_CHUNK; q++)
            top = max(top, tops[(c / TOKENS * PER_CHUNK + q) * TOKENS + c % TOKENS]);
        steps[c] = top / STEPS;
    }
    barrier();
    for (uint at = first; at < QUADS; at += n) {
        const float unit = steps[at / TOKENS / PER_CHUNK * TOKENS + at % TOKENS];
        const float inverse = unit > 0.0 ? 1.0 / unit : 0.0;
        const vec4 quad = quad_of(job, k0, at) * inverse;
        const ivec4 v = ivec4(clamp(round(quad), -STEPS, STEPS));
        const ivec4 high = (v + 64) >> 7;
        const uvec4 h = uvec4(high) & 0xffu, l = uvec4(v - (high << 7)) & 0xffu;

        highs[at] = h.x | h.y << 8 | h.z << 16 | h.w << 24;
        lows[at] = l.x | l.y << 8 | l.z << 16 | l.w << 24;
        tops[at] = float(v.x + v.y + v.z + v.w);
    }
    barrier();
    for (uint c = first; c < CHUNKS; c += n) {
        float total = 0.0;

        for (uint q = 0u; q < PER_CHUNK; q++)
            total += tops[(c / TOKENS * PER_CHUNK + q) * TOKENS + c % TOKENS];
        totals[c] = total;
    }
}

/* Inputs 4 f .. 4 f + 3 of the cells of four rows, a byte each. */
uvec4 bytes_of(uvec4 cell, uint f)
{
    return CODEC == CODEC_W8   ? cell
           : CODEC == CODEC_W4 ? cell >> 4u * f & uvec4(0x0f0f0f0fu)
                               : cell >> 2u * f & uvec4(0x03030303u);
}

void main()
{
    const uint lane = gl_LocalInvocationID.x, team = gl_LocalInvocationID.y;
    const uint n_teams = gl_WorkGroupSize.y, tile = tile_of(team);
    vec4 acc[TOKENS];
    Job job;

    if (!find_job(job))
        return;
    for (uint t = 0u; t < TOKENS; t++)
        acc[t] = vec4(0.0);
    for (uint k0 = 0u; k0 < k; k0 += STAGE) {
        if (k0 > 0u)
            barrier();
        stage(job, k0);
        barrier();
        const uint n_chunks = min(STAGE, n_lines * CELL - k0) / CHUNK;

        for (uint c = SPLIT != 0u ? team : 0u; c < n_chunks;
             c += SPLIT != 0u ? n_teams : 1u) {
            const uint line = tile * n_lines + (k0 + c * CHUNK) / CELL;
            const uint g = (tile * n_groups + (k0 + c * CHUNK) / group) * 16u + lane;
            const vec4 scale = factors(scales[job.scales_at + g]);
            vec4 minimum = vec4(0.0);
            ivec4 high[TOKENS], low[TOKENS];

            if (ASYM != 0u)
                minimum = factors(minima[job.minima_at + g]);
            for (uint t = 0u; t < TOKENS; t++)
                high[t] = low[t] = ivec4(0);
            for (uint l = 0u; l < CHUNK / CELL; l++) {
                const uvec4 cell = codes[job.codes_at + (line + l) * 16u + lane];

                for (uint f = 0u; f < CELL / 4u; f++) {
                    const uvec4 w = bytes_of(cell, f);
                    const uint at = (c * PER_CHUNK + l * (CELL / 4u) + f) * TOKENS;

                    for (uint t = 0u; t < TOKENS; t++)
                        for (uint r = 0u; r < 4u; r++) {
                            high[t][r] += dot_bytes(w[r], highs[at + t], 0);
                            low[t][r] += dot_bytes(w[r], lows[at + t], 0);
                        }
                }
            }
            for (uint t = 0u; t < TOKENS; t++) {
                const float total = totals[c * TOKENS + t];
                const vec4 product = vec4(high[t] * 128 + low[t]);

                acc[t] += ((product - ZERO * total) * scale + minimum * total) *
                          steps[c * TOKENS + t];
            }
        }
    }
    for (uint t = 0u; t < TOKENS; t++)
        for (uint r = 0u; r < 4u; r++)
            sums[(team * TOKENS + t) * 64u + lane * 4u + r] = acc[t][r];
    barrier();
    write_outputs(job);
}
