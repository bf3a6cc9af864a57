/* test_kvcache.c -- pages are taken, found and freed again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/kvcache.h"
#include "runtime/model_desc.h"

static const struct erne_model_desc desc = { .n_layers = 2,
                                             .n_kv_heads = 2,
                                             .head_dim = 16 };

static void grows_by_pages(void **state)
{
    struct erne_kvcache kv;
    struct erne_error err;

    (void)state;
    assert_int_equal(erne_kvcache_init(&kv, &desc, 200, ERNE_TYPE_F16, &err), 0);
    assert_int_equal(kv.n_pages, 4);
    assert_int_equal(kv.page_bytes, 2 * 64 * 2 * 16);
    assert_int_equal(erne_kvcache_grow(&kv, 64, &err), 0);
    assert_int_equal(kv.n_used, 1);
    assert_int_equal(erne_kvcache_grow(&kv, 1, &err), 0);
    assert_int_equal(kv.n_used, 2);
    assert_int_equal(kv.n_free, 2);
    erne_kvcache_deinit(&kv);
    assert_int_equal(erne_kvcache_init(&kv, &desc, 200, ERNE_TYPE_Q4, &err), 0);
    assert_int_equal(kv.page_bytes, 64 * 2 * (16 / 2 + 2));
    erne_kvcache_deinit(&kv);
}

static void says_both_sizes_on_overflow(void **state)
{
    struct erne_kvcache kv;
    struct erne_error err;

    (void)state;
    assert_int_equal(erne_kvcache_init(&kv, &desc, 100, ERNE_TYPE_F32, &err), 0);
    assert_int_equal(erne_kvcache_grow(&kv, 90, &err), 0);
    assert_int_equal(erne_kvcache_grow(&kv, 11, &err), ERNE_ECONTEXT);
    assert_non_null(strstr(err.text, "90"));
    assert_non_null(strstr(err.text, "11"));
    assert_non_null(strstr(err.text, "100"));
    assert_int_equal(kv.n_past, 90);
    assert_int_equal(erne_kvcache_grow(&kv, 10, &err), 0);
    erne_kvcache_deinit(&kv);
}

/* Every slot of a full cache is a different place, whatever happened before. */
static void slots_are_distinct_after_reuse(void **state)
{
    struct erne_kvcache kv;
    struct erne_error err;
    uint8_t seen[5 * ERNE_KV_PAGE] = { 0 };

    (void)state;
    assert_int_equal(erne_kvcache_init(&kv, &desc, 300, ERNE_TYPE_F16, &err), 0);
    assert_int_equal(erne_kvcache_grow(&kv, 300, &err), 0);
    erne_kvcache_truncate(&kv, 70);
    assert_int_equal(kv.n_used, 2);
    assert_int_equal(erne_kvcache_grow(&kv, 100, &err), 0);
    erne_kvcache_truncate(&kv, 0);
    assert_int_equal(kv.n_free, kv.n_pages);
    assert_int_equal(erne_kvcache_grow(&kv, 300, &err), 0);
    for (int32_t p = 0; p < 300; p++) {
        const int32_t slot = erne_kvcache_slot(&kv, p);

        assert_in_range(slot, 0, 5 * ERNE_KV_PAGE - 1);
        assert_int_equal(seen[slot]++, 0);
    }
    erne_kvcache_deinit(&kv);
}

/* A freed page's memory goes back; the pages that stay keep their bytes. */
static void truncate_keeps_other_pages(void **state)
{
    struct erne_kvcache kv;
    struct erne_error err;
    uint8_t *keys;
    size_t kept, freed;

    (void)state;
    assert_int_equal(erne_kvcache_init(&kv, &desc, 256, ERNE_TYPE_F32, &err), 0);
    assert_int_equal(erne_kvcache_grow(&kv, 256, &err), 0);
    memset(kv.memory, 0x5a, kv.memory_bytes);
    kept = (size_t)kv.table[0] * kv.page_bytes;
    freed = (size_t)kv.table[3] * kv.page_bytes;
    erne_kvcache_truncate(&kv, 192);
    for (int layer = 0; layer < 2; layer++) {
        keys = erne_kvcache_layer(&kv, layer, true);
        for (size_t i = 0; i < kv.page_bytes; i++)
            assert_int_equal(keys[kept + i], 0x5a);
    }
    keys = erne_kvcache_layer(&kv, 0, false);
    assert_int_equal(keys[freed + kv.page_bytes / 2], 0);
    erne_kvcache_deinit(&kv);
}

static void layers_do_not_overlap(void **state)
{
    struct erne_kvcache kv;
    struct erne_error err;
    const uint8_t *end;

    (void)state;
    assert_int_equal(erne_kvcache_init(&kv, &desc, 64, ERNE_TYPE_F16, &err), 0);
    assert_ptr_equal(erne_kvcache_layer(&kv, 0, false), kv.memory);
    end = (const uint8_t *)erne_kvcache_layer(&kv, 1, true) + kv.page_bytes;
    assert_ptr_equal(end, kv.memory + kv.memory_bytes);
    erne_kvcache_deinit(&kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_by_pages),
        cmocka_unit_test(says_both_sizes_on_overflow),
        cmocka_unit_test(slots_are_distinct_after_reuse),
        cmocka_unit_test(truncate_keeps_other_pages),
        cmocka_unit_test(layers_do_not_overlap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
