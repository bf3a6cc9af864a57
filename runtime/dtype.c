/* dtype.c -- names and sizes of number formats, and the 16-bit float conversions.
 * What the stored codes mean is in quantize/tile64.c. */
#include "runtime/dtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/compiler.h"
#include "runtime/include/erne.h"
#include "runtime/round.h"

static const struct {
    const char *name;
    int bits, zero2;
} codecs[ERNE_CODEC_COUNT] = {
#define X(NAME, name, bits, zero2) { #name, (bits), (zero2) },
    ERNE_CODEC_LIST(X)
#undef X
};

bool erne_codec_is_int(uint8_t codec)
{
    return codec < ERNE_CODEC_COUNT && codecs[codec].bits <= 8;
}

int erne_codec_bits(uint8_t codec)
{
    return codecs[codec].bits;
}

int erne_codec_zero2(uint8_t codec)
{
    return codecs[codec].zero2;
}

int erne_codec_cell_inputs(uint8_t codec)
{
    return 32 / codecs[codec].bits;
}

/* ---------------------------------------------------------------- schemes */

static bool group_is_valid(long group)
{
    return group == 0 || group == 32 || group == 64 || group == 128;
}

bool erne_scheme_is_valid(struct erne_scheme scheme)
{
    if (scheme.codec >= ERNE_CODEC_COUNT || scheme.asym > 1)
        return false;
    if (erne_codec_is_int(scheme.codec))
        return scheme.layout == ERNE_LAYOUT_TILE64 && group_is_valid(scheme.group);
    return (scheme.layout == ERNE_LAYOUT_TILE64 || scheme.layout == ERNE_LAYOUT_ROWS) &&
           scheme.asym == 0 && scheme.group == 0;
}

bool erne_scheme_equal(struct erne_scheme a, struct erne_scheme b)
{
    return a.codec == b.codec && a.layout == b.layout && a.asym == b.asym &&
           a.group == b.group;
}

/* What a codec's name alone stands for. Two bits have too few levels to waste one side
 * of a group, hence the minimum; 32 inputs a scale keep w4 and w2 useful without
 * calibration. */
static struct erne_scheme default_scheme(uint8_t codec)
{
    struct erne_scheme scheme = { codec, ERNE_LAYOUT_TILE64, 0, 0 };

    if (codec == ERNE_CODEC_W4 || codec == ERNE_CODEC_W2)
        scheme.group = 32;
    scheme.asym = codec == ERNE_CODEC_W2;
    return scheme;
}

int erne_scheme_parse(struct erne_scheme *out, const char *text)
{
    const size_t n_name = strcspn(text, "-a");
    struct erne_scheme scheme;
    uint8_t codec = 0;

    while (codec < ERNE_CODEC_COUNT && (strlen(codecs[codec].name) != n_name ||
                                        strncmp(codecs[codec].name, text, n_name) != 0))
        codec++;
    if (codec == ERNE_CODEC_COUNT)
        return ERNE_EINVAL;
    scheme = default_scheme(codec);
    text += n_name;
    if (strncmp(text, "-g", 2) == 0) {
        char *end;
        long group = text[2] >= '0' && text[2] <= '9' ? strtol(text + 2, &end, 10) : -1;

        if (!group_is_valid(group))
            return ERNE_EINVAL;
        scheme.group = (uint16_t)group;
        scheme.asym = 0;
        text = end;
    }
    if (*text == 'a') {
        scheme.asym = 1;
        text++;
    }
    if (*text != '\0' || !erne_scheme_is_valid(scheme))
        return ERNE_EINVAL;
    *out = scheme;
    return ERNE_OK;
}

void erne_scheme_name(struct erne_scheme scheme, char name[ERNE_SCHEME_NAME_MAX])
{
    const char *codec = codecs[scheme.codec].name;
    const char *asym = scheme.asym ? "a" : "";

    /* The group is left out where the codec's name alone says "the whole row". */
    if (scheme.group == default_scheme(scheme.codec).group && scheme.group == 0)
        snprintf(name, ERNE_SCHEME_NAME_MAX, "%s%s", codec, asym);
    else
        snprintf(name, ERNE_SCHEME_NAME_MAX, "%s-g%u%s", codec, scheme.group, asym);
}

/* ------------------------------------------------------------------ sizes */

int erne_planes_init(struct erne_planes *out, struct erne_scheme scheme, int64_t n,
                     int64_t k)
{
    enum { PLANE_ALIGN = 256 };
    const int64_t max_elements = (int64_t)1 << 56; /* no sum below can overflow */
    struct erne_planes p = { .n_pad = n, .k_pad = k, .n_groups = 1 };

    if (n < 1 || n > INT32_MAX || k < 1 || k > INT32_MAX || !erne_scheme_is_valid(scheme))
        return ERNE_EINVAL;
    if (scheme.layout == ERNE_LAYOUT_TILE64) {
        p.n_pad = erne_round_up(n, ERNE_TILE_ROWS);
        p.k_pad = erne_round_up(k, scheme.group > 64 ? scheme.group : 64);
    }
    if (scheme.group != 0)
        p.n_groups = p.k_pad / scheme.group;
    if (p.n_pad > max_elements / p.k_pad)
        return ERNE_EINVAL;
    p.codes_bytes =
        (uint64_t)(p.n_pad * p.k_pad) * (uint64_t)erne_codec_bits(scheme.codec) / 8;
    p.total_bytes = p.codes_bytes;
    if (erne_codec_is_int(scheme.codec)) {
        p.scales_bytes = (uint64_t)p.n_pad * (uint64_t)p.n_groups * sizeof(uint16_t);
        p.scales_offset = erne_align_up(p.total_bytes, PLANE_ALIGN);
        p.total_bytes = p.scales_offset + p.scales_bytes;
    }
    if (scheme.asym) {
        p.minima_bytes = p.scales_bytes;
        p.minima_offset = erne_align_up(p.total_bytes, PLANE_ALIGN);
        p.total_bytes = p.minima_offset + p.minima_bytes;
    }
    *out = p;
    return ERNE_OK;
}

/* ---------------------------------------------------------- 16-bit floats */

static uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

uint16_t erne_f16_from_f32(float x)
{
    const uint32_t sign = bits_of(x) >> 16 & 0x8000;
    uint32_t mag = bits_of(x) & 0x7fffffff;

    if (mag > 0x7f800000) /* NaN: keep it quiet, keep the upper payload */
        return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
    if (mag >= 0x47800000) /* 2^16 and more, infinity */
        return (uint16_t)(sign | 0x7c00);
    /* Below 2^-14 the result is a multiple of 2^-24, which is the ulp of 0.5: the
     * addition does the rounding. */
    if (mag < 0x38800000)
        return (uint16_t)(sign | (bits_of(float_of(mag) + 0.5f) - bits_of(0.5f)));
    mag += 0xfff + (mag >> 13 & 1);
    return (uint16_t)(sign | (mag - (112u << 23)) >> 13);
}

float erne_f32_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t exponent = h >> 10 & 0x1f, mantissa = h & 0x3ff;

    if (exponent == 0)
        return float_of(sign | bits_of((float)mantissa * 0x1p-24f));
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | mantissa << 13);
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t erne_bf16_from_f32(float x)
{
    const uint32_t bits = bits_of(x);

    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float erne_f32_from_bf16(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}
