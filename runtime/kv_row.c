/* kv_row.c -- see kv_row.h. Every backend stores rows by these functions, so that they
 * hold the same bits everywhere. */
#include "runtime/kv_row.h"

#include <math.h>
#include <string.h>

int64_t erne_kv_row_len(enum erne_type type, int64_t d)
{
    if (type == ERNE_TYPE_Q8)
        return d + ERNE_KV_SCALE_BYTES;
    return type == ERNE_TYPE_Q4 ? d / 2 + ERNE_KV_SCALE_BYTES : d;
}

int64_t erne_kv_head_dim(const struct erne_tensor *cache)
{
    const int64_t codes = cache->dim[3] - ERNE_KV_SCALE_BYTES;

    if (cache->type == ERNE_TYPE_Q8)
        return codes;
    return cache->type == ERNE_TYPE_Q4 ? 2 * codes : cache->dim[3];
}

void erne_kv_rotate(float *x, int64_t d)
{
    const int64_t run = d & -d;
    const float factor = 1.0f / sqrtf((float)run);

    for (int64_t half = 1; half < run; half *= 2)
        for (int64_t i = 0; i < d; i += 2 * half)
            for (int64_t j = i; j < i + half; j++) {
                const float a = x[j], b = x[j + half];

                x[j] = a + b;
                x[j + half] = a - b;
            }
    for (int64_t i = 0; i < d; i++)
        x[i] *= factor;
}

/* The largest magnitude / steps as f16 can hold it, and what numbers are to be multiplied
 * by to become codes. */
static uint16_t scale_of(const float *x, int64_t d, float steps, float *inverse)
{
    float top = 0.0f, scale;
    uint16_t half;

    for (int64_t i = 0; i < d; i++)
        top = fmaxf(top, fabsf(x[i]));
    half = erne_f16_from_f32(fminf(top / steps, 65504.0f));
    scale = erne_f32_from_f16(half);
    *inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    return half;
}

/* Also of a number that is none. */
static int code_of(float x, float least, float most)
{
    return (int)rintf(fmaxf(fminf(x, most), least));
}

static void encode_q4(uint8_t *row, const float *x, int64_t d)
{
    float rotated[ERNE_KV_MAX_Q4], inverse;
    uint16_t scale;

    memcpy(rotated, x, (size_t)d * sizeof(*x));
    erne_kv_rotate(rotated, d);
    scale = scale_of(rotated, d, 7.5f, &inverse);
    for (int64_t i = 0; i < d / 2; i++) {
        const int low = code_of(rotated[i] * inverse + 7.5f, 0.0f, 15.0f);
        const int high = code_of(rotated[i + d / 2] * inverse + 7.5f, 0.0f, 15.0f);

        row[i] = (uint8_t)(low | high << 4);
    }
    memcpy(row + d / 2, &scale, sizeof(scale));
}

void erne_kv_encode(enum erne_type type, uint8_t *row, const float *x, int64_t d)
{
    float inverse;
    uint16_t scale;

    if (type == ERNE_TYPE_Q4) {
        encode_q4(row, x, d);
        return;
    }
    scale = scale_of(x, d, 127.0f, &inverse);
    for (int64_t i = 0; i < d; i++)
        row[i] = (uint8_t)code_of(x[i] * inverse, -127.0f, 127.0f);
    memcpy(row + d, &scale, sizeof(scale));
}

void erne_kv_decode(enum erne_type type, float *x, const uint8_t *row, int64_t d)
{
    const int64_t n_codes = type == ERNE_TYPE_Q4 ? d / 2 : d;
    uint16_t half;
    float scale;

    memcpy(&half, row + n_codes, sizeof(half));
    scale = erne_f32_from_f16(half);
    for (int64_t i = 0; i < n_codes; i++) {
        if (type == ERNE_TYPE_Q8) {
            x[i] = scale * (float)(int8_t)row[i];
        } else {
            x[i] = scale * ((float)(row[i] & 15) - 7.5f);
            x[i + d / 2] = scale * ((float)(row[i] >> 4) - 7.5f);
        }
    }
}
