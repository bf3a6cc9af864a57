/* common.glsl -- what the shaders share: how push constants name rows, and functions that
 * the driver's own are not exact enough for.
 *
 * Core Vulkan 1.1 promises little: exp to 3 + 2 |x| units, sin and cos to 2^-11, halves
 * that may lose their denormals. What the results depend on is therefore written out.
 */

/* Rows of an array: its first element, and elements from row to row. */
struct Rows {
    uint at, stride;
};

/* exp(x) to about one unit in the last place. Beyond f32's range: 0, infinity. */
float exp_f32(float x)
{
    precise float n = round(x * 1.44269504);
    precise float r = (x - n * 0.693359375) - n * -2.12194440e-4;
    float p = 1.9875691500e-4;
    int e = int(clamp(n, -127.0, 128.0));

    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    p = (p * r) * r + r + 1.0;
    /* Two factors, as one power of two has no room for 2^128. */
    p *= intBitsToFloat(((e >> 1) + 127) << 23);
    p *= intBitsToFloat((e - (e >> 1) + 127) << 23);
    return x < -87.5 ? 0.0 : x > 88.8 ? uintBitsToFloat(0x7f800000u) : p;
}

/* 1 / (1 + exp(-x)) without overflow. */
float logistic(float x)
{
    const float e = exp_f32(-abs(x));

    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

/* The value of an IEEE half in the low bits of h, denormals included. */
float half_to_float(uint h)
{
    const uint sign = (h & 0x8000u) << 16, size = h & 0x7fffu;
    const float small = float(size) * 5.9604644775390625e-8; /* 2^-24 */
    const uint bits = size >= 0x7c00u  ? (size << 13) | 0x7f800000u
                      : size >= 0x400u ? (size << 13) + 0x38000000u
                                       : floatBitsToUint(small);

    return uintBitsToFloat(bits | sign);
}

/* The half nearest to the float with these bits, ties to even; what is too large becomes
 * infinite. On bits alone, so that every device gives the same. */
uint float_to_half(uint f)
{
    const uint sign = f >> 16 & 0x8000u, size = f & 0x7fffffffu;
    const int shift = 126 - int(size >> 23); /* of a denormal's mantissa to halves */
    uint h;

    if (size >= 0x7f800000u) {
        h = size > 0x7f800000u ? 0x7e00u | (size >> 13 & 0x3ffu) : 0x7c00u;
    } else if (size >= 0x38800000u) {
        h = min((size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13, 0x7c00u);
    } else if (shift <= 24) {
        const uint m = (size & 0x7fffffu) | 0x800000u, cut = uint(shift);

        h = (m + (1u << (cut - 1u)) - 1u + (m >> cut & 1u)) >> cut;
    } else {
        h = 0u;
    }
    return h | sign;
}

/* ---- activations; the numbers are enum erne_act's (runtime/op.h) */

const uint ACT_SWIGLU = 1, ACT_GELU_ERF = 2, ACT_GELU_TANH = 3, ACT_GELU_QUICK = 4;

/* erfc(x) for x >= 0 to 1.2e-7 of itself: a Chebyshev fit of its logarithm (Press et al.,
 * Numerical Recipes, 6.2). */
float erfc_f32(float x)
{
    const float t = 1.0 / (1.0 + 0.5 * x);
    float p = 0.17087277;

    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    return t * exp_f32(-x * x - 1.26551223 + t * p);
}

float activate(uint act, float x)
{
    if (act == ACT_GELU_ERF) {
        const float tail = 0.5 * erfc_f32(min(abs(x) * 0.70710678, 12.0));

        return x * (x < 0.0 ? tail : 1.0 - tail);
    }
    if (act == ACT_GELU_TANH) {
        const float y = clamp(x, -30.0, 30.0);

        return x * logistic(1.59576912 * (y + 0.044715 * y * y * y));
    }
    if (act == ACT_GELU_QUICK)
        return x * logistic(1.702 * x);
    return x;
}
