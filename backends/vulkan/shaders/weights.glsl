/* weights.glsl -- reading tile64 (docs/FORMAT.md): a cell of 4 bytes holds the codes of
 * neighbouring inputs of one row. Four rows side by side are one uvec4, 16 of these a
 * line. */
layout(constant_id = 0) const uint CODEC = 0; /* enum erne_codec (runtime/dtype.h) */
layout(constant_id = 1) const uint ASYM = 0;

const uint CODEC_F32 = 0, CODEC_BF16 = 1, CODEC_F16 = 2, CODEC_W8 = 3, CODEC_W4 = 4;
const uint CODEC_W2 = 5;
const bool HAS_SCALES = CODEC >= CODEC_W8;
/* Inputs of a cell. */
const uint CELL = CODEC == CODEC_F32   ? 1
                  : CODEC == CODEC_W8 ? 4
                  : CODEC == CODEC_W4 ? 8
                  : CODEC == CODEC_W2 ? 16
                                      : 2;

vec4 halves_to_floats(uvec4 h)
{
    return vec4(half_to_float(h.x), half_to_float(h.y), half_to_float(h.z),
                half_to_float(h.w));
}

/* The scales, or minima, of four rows: two words of two halves. */
vec4 factors(uvec2 words)
{
    return halves_to_floats(
        uvec4(words.x & 0xffffu, words.x >> 16, words.y & 0xffffu, words.y >> 16));
}

/* Input i of the cells of four rows, before scale and minimum. */
vec4 codes_of(uvec4 cell, uint i)
{
    if (CODEC == CODEC_F32)
        return uintBitsToFloat(cell);
    if (CODEC == CODEC_BF16)
        return uintBitsToFloat(i == 0u ? cell << 16 : cell & uvec4(0xffff0000u));
    if (CODEC == CODEC_F16)
        return halves_to_floats(i == 0u ? cell & uvec4(0xffffu) : cell >> 16);
    if (CODEC == CODEC_W8)
        return vec4(ivec4(cell << (24u - 8u * i)) >> 24);
    if (CODEC == CODEC_W4) {
        const uint at = (i & 3u) * 8u + (i >> 2) * 4u;

        /* Bits flipped by 8 and read with their sign are the code less 8. */
        if (ASYM == 0u)
            return vec4(ivec4((cell ^ uvec4(0x88888888u)) << (28u - at)) >> 28);
        return vec4(cell >> at & uvec4(15u));
    }
    const uint at = (i & 3u) * 8u + (i >> 2) * 2u;

    return vec4(cell >> at & uvec4(3u)) - (ASYM == 0u ? 1.5 : 0.0);
}
