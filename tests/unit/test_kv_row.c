/* test_kv_row.c -- rows of a KV cache as codes: sizes, how far off they are, numbers that
 * are none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/kv_row.h"

enum { D_MAX = 256 };

static const enum erne_type types[] = { ERNE_TYPE_Q8, ERNE_TYPE_Q4 };

/* Numbers of both signs and many sizes. */
static void fill(float *x, int64_t d)
{
    for (int64_t i = 0; i < d; i++)
        x[i] = sinf((float)(7 * i + 1)) * (float)(1 + i % 5);
}

static void rows_have_codes_and_a_scale(void **state)
{
    struct erne_tensor cache = { .type = ERNE_TYPE_Q8, .dim = { 1, 1, 64, 130 } };

    (void)state;
    assert_int_equal(erne_kv_row_len(ERNE_TYPE_F16, 128), 128);
    assert_int_equal(erne_kv_row_len(ERNE_TYPE_Q8, 128), 130);
    assert_int_equal(erne_kv_row_len(ERNE_TYPE_Q4, 128), 66);
    assert_int_equal(erne_kv_head_dim(&cache), 128);
    cache.type = ERNE_TYPE_Q4;
    cache.dim[3] = 66;
    assert_int_equal(erne_kv_head_dim(&cache), 128);
}

static void rotating_twice_changes_nothing(void **state)
{
    static const int64_t sizes[] = { 2, 20, 64, 80, 128, 192 };
    float x[D_MAX], want[D_MAX];

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        fill(x, sizes[s]);
        fill(want, sizes[s]);
        erne_kv_rotate(x, sizes[s]);
        assert_true(fabsf(x[0] - want[0]) > 1e-3f);
        erne_kv_rotate(x, sizes[s]);
        for (int64_t i = 0; i < sizes[s]; i++)
            assert_float_equal(x[i], want[i], 1e-5);
    }
}

/* Half a step of the largest number at most, and of the scale's own rounding. */
static void codes_are_near(void **state)
{
    static const float steps[] = { 127.0f, 7.5f };
    float x[D_MAX], want[D_MAX];
    uint8_t row[D_MAX + ERNE_KV_SCALE_BYTES];

    (void)state;
    for (int k = 0; k < 2; k++) {
        float top = 0;

        fill(want, 96);
        erne_kv_encode(types[k], row, want, 96);
        erne_kv_decode(types[k], x, row, 96);
        if (types[k] == ERNE_TYPE_Q4)
            erne_kv_rotate(want, 96);
        for (int i = 0; i < 96; i++)
            top = fmaxf(top, fabsf(want[i]));
        for (int i = 0; i < 96; i++)
            assert_true(fabsf(x[i] - want[i]) <= top * (0.51f / steps[k] + 1e-3f));
    }
}

/* An outlier of q4 takes little from its neighbours, thanks to the rotation: without it,
 * one step would be 2.7 and these numbers of at most 1 all become +-1.3. */
static void an_outlier_leaves_the_others(void **state)
{
    float x[128], back[128], square = 0;
    uint8_t row[66];

    (void)state;
    for (int i = 0; i < 128; i++)
        x[i] = sinf((float)(7 * i + 1));
    x[5] = 20.0f;
    erne_kv_encode(ERNE_TYPE_Q4, row, x, 128);
    erne_kv_decode(ERNE_TYPE_Q4, back, row, 128);
    erne_kv_rotate(back, 128);
    for (int i = 0; i < 128; i++)
        square += (back[i] - x[i]) * (back[i] - x[i]);
    assert_true(sqrtf(square / 128) < 0.25f);
}

static void any_number_is_stored(void **state)
{
    float x[32] = { 0 }, back[32];
    uint8_t row[34];

    (void)state;
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 32; i++)
            x[i] = 0.0f;
        erne_kv_encode(types[k], row, x, 32);
        erne_kv_decode(types[k], back, row, 32);
        for (int i = 0; i < 32; i++)
            assert_true(back[i] == 0.0f);
        x[1] = INFINITY;
        x[2] = NAN;
        x[3] = 3e38f;
        erne_kv_encode(types[k], row, x, 32);
        erne_kv_decode(types[k], back, row, 32);
        for (int i = 0; i < 32; i++)
            assert_true(isfinite(back[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_codes_and_a_scale),
        cmocka_unit_test(rotating_twice_changes_nothing),
        cmocka_unit_test(codes_are_near),
        cmocka_unit_test(an_outlier_leaves_the_others),
        cmocka_unit_test(any_number_is_stored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
