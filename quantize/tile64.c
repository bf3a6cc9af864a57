/* tile64.c -- where each code of a matrix lies in the file, and what it stands for.
 *
 * The elements of a row block (64 rows) are cut into cells: as many neighbouring inputs
 * of one row as fit 4 bytes. The 64 cells of the same inputs lie side by side, a line of
 * 256 bytes; lines follow each other in order of inputs. Rounding is in quant_search.c;
 * drawings are in docs/FORMAT.md.
 */
#include "quantize/tile64.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "quantize/quant_search.h"
#include "runtime/include/erne.h"

enum { CELL_BYTES = 4, LINE_BYTES = ERNE_TILE_ROWS * CELL_BYTES };

void tile64_block_bytes(const struct erne_planes *planes, size_t *codes, size_t *scales,
                        size_t *minima)
{
    const uint64_t n_pad = (uint64_t)planes->n_pad;

    *codes = (size_t)(planes->codes_bytes / n_pad * ERNE_TILE_ROWS);
    *scales = (size_t)(planes->scales_bytes / n_pad * ERNE_TILE_ROWS);
    *minima = (size_t)(planes->minima_bytes / n_pad * ERNE_TILE_ROWS);
}

/* --------------------------------------------------------- codes of a row */

/* Where a row of a block has its cell `cell`; codes: start of the block. */
static size_t cell_offset(int64_t cell, int row)
{
    return (size_t)cell * LINE_BYTES + (size_t)row * CELL_BYTES;
}

/* The one place that knows where an integer code lies inside its cell: input i (of
 * 32 / bits) is in byte i % 4, the lowest bits first. */
static int unpack_code(const uint8_t *cell, int bits, int64_t i)
{
    const uint8_t byte = cell[i % CELL_BYTES];

    if (bits == 8)
        return (int8_t)byte;
    return byte >> (i / CELL_BYTES * bits) & ((1 << bits) - 1);
}

static void pack_code(uint8_t *cell, int bits, int64_t i, int code)
{
    const int mask = (1 << bits) - 1;

    cell[i % CELL_BYTES] |= (uint8_t)((code & mask) << (i / CELL_BYTES * bits));
}

/* codes: [k]; dst: the block, zeroed. */
static void pack_row(uint8_t *dst, uint8_t codec, int row, const int8_t *codes, int64_t k)
{
    const int cell_inputs = erne_codec_cell_inputs(codec);
    const int bits = erne_codec_bits(codec);

    for (int64_t i = 0; i < k; i++)
        pack_code(dst + cell_offset(i / cell_inputs, row), bits, i % cell_inputs,
                  codes[i]);
}

/* ----------------------------------------------------------- float codecs */

static float load_float(const uint8_t *p, uint8_t codec)
{
    uint16_t half;
    float x;

    if (codec == ERNE_CODEC_F32) {
        memcpy(&x, p, sizeof(x));
        return x;
    }
    memcpy(&half, p, sizeof(half));
    return codec == ERNE_CODEC_F16 ? erne_f32_from_f16(half) : erne_f32_from_bf16(half);
}

/* Rounds x to the codec; EINVAL when that is not a finite number. */
static int store_float(uint8_t *p, uint8_t codec, float x)
{
    uint16_t half;

    if (codec == ERNE_CODEC_F32) {
        memcpy(p, &x, sizeof(x));
    } else {
        half = codec == ERNE_CODEC_F16 ? erne_f16_from_f32(x) : erne_bf16_from_f32(x);
        memcpy(p, &half, sizeof(half));
    }
    return isfinite(load_float(p, codec)) ? ERNE_OK : ERNE_EINVAL;
}

/* Bytes from the start of a block to element i of a row of floats. */
static size_t float_offset(struct erne_scheme scheme, int row, int64_t i, int64_t k)
{
    const int cell_inputs = erne_codec_cell_inputs(scheme.codec);
    const size_t size = (size_t)(CELL_BYTES / cell_inputs);

    if (scheme.layout == ERNE_LAYOUT_ROWS)
        return (size_t)(row * k + i) * size;
    return cell_offset(i / cell_inputs, row) + (size_t)(i % cell_inputs) * size;
}

static int encode_floats(uint8_t *dst, struct erne_scheme scheme, const float *src,
                         int n_rows, int64_t k)
{
    int st = ERNE_OK;

    for (int row = 0; row < n_rows; row++)
        for (int64_t i = 0; i < k; i++)
            if (store_float(dst + float_offset(scheme, row, i, k), scheme.codec,
                            src[row * k + i]) < 0)
                st = ERNE_EINVAL;
    return st;
}

/* --------------------------------------------------------------- encoding */

static void clear_block(const struct tile64_block *dst, struct erne_scheme scheme,
                        const struct erne_planes *planes)
{
    size_t codes, scales, minima;

    tile64_block_bytes(planes, &codes, &scales, &minima);
    if (scheme.layout == ERNE_LAYOUT_TILE64)
        memset(dst->codes, 0, codes);
    if (scales != 0)
        memset(dst->scales, 0, scales);
    if (minima != 0)
        memset(dst->minima, 0, minima);
}

/* Inputs of row `row` that share a scale, [first, first + n) of k. */
static int encode_group(const struct tile64_block *dst, struct erne_scheme scheme,
                        const float *src, int row, int64_t group_index, int64_t first,
                        int64_t n)
{
    const int cell_inputs = erne_codec_cell_inputs(scheme.codec);
    const int bits = erne_codec_bits(scheme.codec);
    const size_t at = (size_t)group_index * ERNE_TILE_ROWS + (size_t)row;
    struct quant_fit fit;

    if (quant_search(&fit, scheme, src + first, NULL, n) < 0)
        return ERNE_EINVAL;
    dst->scales[at] = fit.scale;
    if (scheme.asym)
        dst->minima[at] = fit.minimum;
    for (int64_t i = first; i < first + n; i++)
        pack_code(dst->codes + cell_offset(i / cell_inputs, row), bits, i % cell_inputs,
                  (int)quant_round(&fit, src[i]));
    return ERNE_OK;
}

int tile64_encode(const struct tile64_block *dst, struct erne_scheme scheme,
                  const struct erne_planes *planes, const float *src, int n_rows,
                  int64_t k)
{
    const int64_t group = scheme.group != 0 ? scheme.group : k;

    assert(n_rows >= 1 && n_rows <= ERNE_TILE_ROWS);
    clear_block(dst, scheme, planes);
    if (!erne_codec_is_int(scheme.codec))
        return encode_floats(dst->codes, scheme, src, n_rows, k);
    for (int row = 0; row < n_rows; row++)
        for (int64_t first = 0; first < k; first += group) {
            const int64_t n = k - first < group ? k - first : group;

            if (encode_group(dst, scheme, src + row * k, row, first / group, first, n) <
                0)
                return ERNE_EINVAL;
        }
    return ERNE_OK;
}

void tile64_pack(const struct tile64_block *dst, struct erne_scheme scheme,
                 const struct erne_planes *planes, const int8_t *codes,
                 const uint16_t *scales, const uint16_t *minima, int n_rows, int64_t k)
{
    const int64_t n_groups =
        scheme.group != 0 ? (k + scheme.group - 1) / scheme.group : 1;

    assert(n_rows >= 1 && n_rows <= ERNE_TILE_ROWS && erne_codec_is_int(scheme.codec));
    clear_block(dst, scheme, planes);
    for (int row = 0; row < n_rows; row++) {
        pack_row(dst->codes, scheme.codec, row, codes + row * k, k);
        for (int64_t g = 0; g < n_groups; g++) {
            const size_t at = (size_t)g * ERNE_TILE_ROWS + (size_t)row;

            dst->scales[at] = scales[row * n_groups + g];
            if (scheme.asym)
                dst->minima[at] = minima[row * n_groups + g];
        }
    }
}

/* --------------------------------------------------------------- decoding */

/* A row block of a matrix in the file. */
struct stored_block {
    const uint8_t *codes;
    const uint16_t *scales, *minima;
};

static void decode_ints(float *dst, struct erne_scheme scheme,
                        const struct stored_block *block, int row, int64_t k)
{
    const int64_t group = scheme.group != 0 ? scheme.group : k;
    const int cell_inputs = erne_codec_cell_inputs(scheme.codec);
    const int bits = erne_codec_bits(scheme.codec);
    const float zero = 0.5f * (float)erne_codec_zero2(scheme.codec);

    assert(!scheme.asym || block->minima);
    for (int64_t first = 0; first < k; first += group) {
        const size_t at = (size_t)(first / group) * ERNE_TILE_ROWS + (size_t)row;
        const float scale = erne_f32_from_f16(block->scales[at]);
        const float minimum = scheme.asym ? erne_f32_from_f16(block->minima[at]) : 0.0f;

        for (int64_t i = first; i < k && i < first + group; i++) {
            const int code = unpack_code(block->codes + cell_offset(i / cell_inputs, row),
                                         bits, i % cell_inputs);

            dst[i] = scheme.asym ? scale * (float)code + minimum
                                 : scale * ((float)code - zero);
        }
    }
}

void tile64_decode_row(float *dst, struct erne_scheme scheme,
                       const struct erne_planes *planes, const void *codes,
                       const uint16_t *scales, const uint16_t *minima, int64_t row,
                       int64_t k)
{
    const int64_t block = row / ERNE_TILE_ROWS;
    const int row_in_block = (int)(row % ERNE_TILE_ROWS);
    size_t codes_bytes, scales_bytes, minima_bytes;
    struct stored_block at;

    tile64_block_bytes(planes, &codes_bytes, &scales_bytes, &minima_bytes);
    at.codes = (const uint8_t *)codes + (size_t)block * codes_bytes;
    if (!erne_codec_is_int(scheme.codec)) {
        for (int64_t i = 0; i < k; i++)
            dst[i] = load_float(at.codes + float_offset(scheme, row_in_block, i, k),
                                scheme.codec);
        return;
    }
    at.scales = scales + (size_t)block * (scales_bytes / sizeof(*scales));
    at.minima =
        scheme.asym ? minima + (size_t)block * (minima_bytes / sizeof(*minima)) : NULL;
    decode_ints(dst, scheme, &at, row_in_block, k);
}
