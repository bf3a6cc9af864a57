/* test_profile.c -- device profiles: those that are built in, what is refused and where,
 * and the one that is probed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "platforms/platform.h"
#include "runtime/profile.h"
#include "tests/support/alloc_fail.h"

#define CPU    "cpu: {name: c, threads: 4}\n"
#define MEMORY "memory: {total: 8 GiB, for_models: 6.5 GiB, bandwidth: 17.1 GB/s}\n"
#define RUN    "run: {scheme: w4-g32a, kv_type: f16, context: 8192, batch: 256}\n"
#define LARGE  "test_profile.yaml"
#define HEAD   "erne_profile: 1\nname: d-1.5\ntitle: t\nsource: s\n"

static void every_built_in_one_is_read(void **state)
{
    size_t n = 0;

    (void)state;
    for (const struct erne_profile_text *t = erne_profile_texts; t->name; t++, n++) {
        struct erne_profile p;
        struct erne_error err = { 0 };

        if (erne_profile_load(&p, t->name, &err) < 0)
            fail_msg("%s: %s", t->name, err.text);
        assert_string_equal(p.name, t->name); /* the file is called as it is */
        assert_true(p.model_bytes < p.memory_bytes);
        assert_true(p.memory_rate >= 1e9 && p.memory_rate < 1e12);
        assert_true(strlen(p.source) > 40);
    }
    assert_true(n >= 9);
}

static void values_get_their_units(void **state)
{
    static const char text[] = HEAD CPU MEMORY RUN "disk: {read: 90 MB/s}\n"
                                                   "gpu: {name: g, api: opencl}\n";
    struct erne_profile p;

    (void)state;
    assert_int_equal(erne_profile_read(&p, text, sizeof(text) - 1, "t", NULL), 0);
    assert_string_equal(p.name, "d-1.5");
    assert_int_equal(p.threads, 4);
    assert_int_equal(p.memory_bytes, 8ULL << 30);
    assert_int_equal(p.model_bytes, 13ULL << 29);
    assert_true(p.memory_rate > 17.09e9 && p.memory_rate < 17.11e9);
    assert_true(p.disk_rate > 89.9e6 && p.disk_rate < 90.1e6);
    assert_string_equal(p.gpu_api, "opencl");
    assert_string_equal(p.scheme, "w4-g32a");
    assert_string_equal(p.kv_type, "f16");
    assert_int_equal(p.n_ctx, 8192);
    assert_int_equal(p.n_batch, 256);
}

static void the_most_is_taken(void **state)
{
    static const char text[] =
        HEAD "cpu: {name: c, threads: 4096}\n" MEMORY
             "run: {scheme: w8, kv_type: f16, context: 16777215, batch: 8192}\n";
    struct erne_profile p;

    (void)state;
    assert_int_equal(erne_profile_read(&p, text, sizeof(text) - 1, "t", NULL), 0);
    assert_int_equal(p.threads, 4096);
    assert_int_equal(p.n_ctx, 16777215);
    assert_int_equal(p.n_batch, 8192);
}

static void what_is_wrong_is_told_by_line_and_column(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { HEAD CPU MEMORY RUN "colour: red\n",
          "t, line 8, column 1: colour is no key of a device profile" },
        { HEAD "cpu:\n  name: c\n  thread: 4\n" MEMORY RUN,
          "t, line 7, column 3: cpu.thread is no key" },
        { HEAD "cpu:\n  name: c\n  threads: four\n" MEMORY RUN,
          "t, line 7, column 12: cpu.threads: \"four\" is not a number from 1" },
        { HEAD "cpu: {name: c, threads: 0}\n" MEMORY RUN,
          "\"0\" is not a number from 1 to 4096" },
        { HEAD "cpu:\n  name: c\n  threads: 4097\n" MEMORY RUN,
          "t, line 7, column 12: cpu.threads: \"4097\" is not a number from 1 to 4096" },
        { HEAD CPU MEMORY "run:\n  batch: 8193\n",
          "t, line 8, column 10: run.batch: \"8193\" is not a number from 1 to 8192" },
        { HEAD CPU MEMORY "run:\n  context: 16777216\n",
          "column 12: run.context: \"16777216\" is not a number from 1 to 16777215" },
        { HEAD CPU MEMORY "run:\n  batch: 99999999999999999999\n",
          "is not a number from 1 to 8192" },
        { HEAD CPU "memory: {total: 8, for_models: 1 GiB}\n" RUN,
          "t, line 6, column 17: memory.total: \"8\" is not a size such as 8 GiB" },
        { HEAD CPU "memory: {total: 8 GiB, for_models: 9 GiB}\n" RUN,
          "t, line 6, column 36: memory.for_models is more than memory.total" },
        { HEAD CPU "memory: {total: 1 GiB, for_models: 1 GiB, bandwidth: 3 GB}\n" RUN,
          "memory.bandwidth: \"3 GB\" is not a speed" },
        { HEAD CPU "memory: {total: 1 GiB, for_models: 1 GiB, bandwidth: .5 GB/s}\n" RUN,
          "is not a speed" },
        { HEAD CPU MEMORY "run: {scheme: w9, kv_type: f16, context: 1, batch: 1}\n",
          "run.scheme: \"w9\" is not a scheme" },
        { HEAD CPU MEMORY "run: {scheme: w8, kv_type: q3, context: 1, batch: 1}\n",
          "run.kv_type: \"q3\" is not a type of keys" },
        { HEAD CPU MEMORY RUN "gpu: {api: cuda}\n", "gpu.api: \"cuda\" is not vulkan" },
        { HEAD CPU MEMORY, "t, line 1, column 1: run.scheme is missing" },
        { "# one\n\n" HEAD CPU MEMORY, "t, line 3, column 1: run.scheme is missing" },
        { HEAD CPU "memory:\n  total: 8 GiB\n" RUN,
          "t, line 6, column 1: memory.for_models is missing" },
        { HEAD CPU MEMORY RUN "---\nname: b\n",
          "t, line 9, column 1: a second document begins" },
        { HEAD CPU MEMORY RUN "...\n}\n", "t, line 9, column 1: " },
        { HEAD CPU MEMORY RUN "name: again\n",
          "t, line 8, column 1: name is there twice" },
        { HEAD CPU MEMORY RUN CPU, "t, line 8, column 7: cpu.name is there twice" },
        { HEAD "cpu: fast\n" MEMORY RUN, "t, line 5, column 1: cpu is no key" },
        { HEAD CPU MEMORY RUN "title: [a]\n", "a text is expected here" },
        { HEAD CPU MEMORY RUN "disk: {read: {a: 1 GB/s}}\n", "a text is expected here" },
        { HEAD CPU MEMORY RUN "[a]: b\n", "a key is not plain text" },
        { "erne_profile: 2\n", "t, line 1, column 15: erne_profile: \"2\" is not 1" },
        { "name: A\n", "\"A\" is not a name of small letters" },
        { "name: ''\n", "is not a name" },
        { "title: ''\n", "title: \"\" is not there" },
        { "- a\n", "t, line 1, column 1: a device profile is a mapping" },
        { "", "a device profile is a mapping" },
        { "a: [b\n", "t, line 2, column 1: " },
        { "a:\n\t- b\n", "t, line 2, column 1: " },
        { "name: \xff\n", "t, line 1, column 7: " },
        { "title: \xc3\xa9\nname: \xc3\xa9\xff\n", "t, line 2, column 8: " },
        { "name: a\n\x01", "t, line 2, column 1: " },
        { "name: \"a\\0b\"\n", "name has a zero byte" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct erne_profile p;
        struct erne_error err = { 0 };
        const int st =
            erne_profile_read(&p, cases[i].text, strlen(cases[i].text), "t", &err);

        if (st != ERNE_EFORMAT || !strstr(err.text, cases[i].message))
            fail_msg("case %zu: %d, %s", i, st, err.text);
    }
}

static void devices_are_found_by_name_or_path(void **state)
{
    struct erne_profile p;
    struct erne_error err = { 0 };

    (void)state;
    assert_int_equal(erne_profile_load(&p, "toaster", &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "device toaster: neither a file"));
    assert_non_null(strstr(err.text, "raspberry-pi-5-8gb"));
    assert_int_equal(erne_profile_load(&p, "nowhere.yaml", &err), ERNE_EIO);
    assert_non_null(strstr(err.text, "nowhere.yaml"));
}

static void large_texts_are_refused(void **state)
{
    const size_t n = 64 << 10;
    char *text = malloc(n + 2);
    struct erne_profile p;
    struct erne_error err = { 0 };
    struct pf_file *file;

    (void)state;
    memset(text, '#', n + 2);
    text[n - 10] = '\n';
    assert_int_equal(erne_profile_read(&p, text, n + 1, "t", &err), ERNE_EFORMAT);
    assert_string_equal(err.text,
                        "t, line 2, column 10: here it gets larger than 64 KiB");
    assert_int_equal(pf_file_open(&file, LARGE, PF_WRITE_NEW), 0);
    assert_int_equal(pf_file_write_at(file, text, n + 2, 0), 0);
    pf_file_close(&file);
    assert_int_equal(erne_profile_load(&p, LARGE, &err), ERNE_EFORMAT);
    assert_string_equal(err.text,
                        LARGE ", line 2, column 10: here it gets larger than 64 KiB");
    pf_path_remove(LARGE);
    free(text);
}

/* ------------------------------------------------------------------ probe */

struct text {
    char data[4096];
    size_t n;
};

static int append(void *user, const char *bytes, size_t n)
{
    struct text *text = user;

    assert_true(text->n + n < sizeof(text->data));
    memcpy(text->data + text->n, bytes, n);
    text->n += n;
    return 0;
}

static int refuse(void *user, const char *bytes, size_t n)
{
    (void)user;
    (void)bytes;
    (void)n;
    return ERNE_EIO;
}

static void the_probed_profile_is_one(void **state)
{
    struct text text = { .n = 0 };
    struct erne_profile p;
    struct erne_error err = { 0 };

    (void)state;
    assert_int_equal(erne_device_probe(append, &text, &err), 0);
    if (erne_profile_read(&p, text.data, text.n, "probe", &err) < 0)
        fail_msg("%s\n%.*s", err.text, (int)text.n, text.data);
    assert_int_equal(p.threads, pf_cpu_count());
    assert_int_equal(p.memory_bytes >> 20, pf_memory_total() >> 20);
    assert_true(p.memory_rate > 1e8);
    assert_int_equal(erne_device_probe(refuse, NULL, &err), ERNE_EIO);
    assert_int_equal(erne_device_probe(NULL, NULL, &err), ERNE_EINVAL);
}

static void the_probe_needs_no_memory(void **state)
{
    (void)state;
    /* Only the speed is missing when there is no memory to measure it with. The first
     * allocations stand for all: each turn measures anew. */
    for (size_t n = 1; n <= 2; n++) {
        struct text text = { .n = 0 };
        struct erne_profile p;
        struct erne_error err = { 0 };

        alloc_fail_at(n);
        assert_int_equal(erne_device_probe(append, &text, &err), 0);
        alloc_fail_hit();
        assert_int_equal(erne_profile_read(&p, text.data, text.n, "probe", &err), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_built_in_one_is_read),
        cmocka_unit_test(values_get_their_units),
        cmocka_unit_test(the_most_is_taken),
        cmocka_unit_test(what_is_wrong_is_told_by_line_and_column),
        cmocka_unit_test(devices_are_found_by_name_or_path),
        cmocka_unit_test(large_texts_are_refused),
        cmocka_unit_test(the_probed_profile_is_one),
        cmocka_unit_test(the_probe_needs_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
