/* test_model_file.c -- the .erne container is read, and refused when it is damaged.
 * Golden bytes follow docs/FORMAT.md. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/model_format.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/reseal.h"
#include "tests/support/sample_file.h"

#define FILE_A "test_model_file_a.erne"
#define FILE_B "test_model_file_b.erne"

static void check_ok(int st, const struct erne_error *err)
{
    if (st < 0)
        fail_msg("status %d: %s", st, err->text);
}

static struct sample_golden g;

static int setup(void **state)
{
    struct erne_error err = { 0 };

    (void)state;
    check_ok(sample_golden_init(&g, FILE_A, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sample_golden_deinit(&g);
    pf_path_remove(FILE_A);
    pf_path_remove(FILE_B);
    return 0;
}

static int open_bytes(const uint8_t *data, size_t n, struct erne_error *err)
{
    struct erne_model_file mf;
    int st;

    err->text[0] = '\0';
    st = erne_model_file_open_bytes(&mf, data, n, err);
    if (st == ERNE_OK)
        erne_model_file_close(&mf);
    return st;
}

/* ---------------------------------------------------------------- reading */

static void check_report(const struct erne_tensor_report *a, struct erne_tensor_report b)
{
    assert_int_equal(a->is_known, b.is_known);
    assert_float_equal(a->error, b.error, 0);
    assert_int_equal(a->n_tokens, b.n_tokens);
}

static void test_open(void **state)
{
    const struct erne_file_tensor *t;
    struct erne_model_file mf;
    struct erne_error err;

    (void)state;
    check_ok(erne_model_file_open(&mf, FILE_A, &err), &err);
    assert_int_equal(mf.version, 1);
    assert_int_equal(mf.n_tensors, SAMPLE_N_TENSORS);
    assert_int_equal(mf.desc.n_ff, 48);
    assert_string_equal(mf.desc.name, "sample");
    assert_int_equal(mf.tokenizer_bytes, sizeof(g.sample.tokenizer));
    assert_memory_equal(mf.tokenizer, g.sample.tokenizer, sizeof(g.sample.tokenizer));
    assert_int_equal(mf.manifest_bytes, g.sample.plan.manifest_bytes);
    assert_memory_equal(mf.manifest, g.sample.manifest, mf.manifest_bytes);
    for (size_t i = 0; i < SAMPLE_N_TENSORS; i++) {
        t = &mf.tensors[i];
        assert_string_equal(t->name, g.sample.tensors[i].name);
        assert_true(erne_scheme_equal(t->scheme, g.sample.tensors[i].scheme));
        assert_int_equal(t->n, g.sample.tensors[i].n);
        assert_int_equal(t->k, g.sample.tensors[i].k);
        check_report(&t->report, sample_report(i));
        assert_int_equal(t->offset % (t->n_bytes >= 65536 ? 4096 : 256), 0);
        assert_ptr_equal(erne_model_file_find(&mf, t->name), t);
        check_ok(erne_model_file_check(t, &err), &err);
    }
    assert_null(erne_model_file_find(&mf, "alph"));
    assert_null(erne_model_file_find(&mf, ""));
    assert_null(erne_model_file_find(&mf, "zz"));
    check_ok(erne_model_file_check_padding(&mf, &err), &err);
    assert_int_equal(mf.golden.n_tokens, SAMPLE_N_TOKENS);
    assert_int_equal(mf.golden.n_rows, SAMPLE_N_ROWS);
    assert_memory_equal(mf.golden.tokens, g.sample.tokens, sizeof(g.sample.tokens));
    for (size_t i = 0; i < 2 * 70; i++)
        assert_float_equal(mf.golden.logits[i], sample_logit(i), 0);
    erne_model_file_close(&mf);
    erne_model_file_close(&mf); /* closing twice is harmless */
}

static void test_open_other_files(void **state)
{
    struct erne_model_file mf;
    struct erne_error err;

    (void)state;
    assert_int_equal(erne_model_file_open(&mf, "no_such_file.erne", &err), ERNE_EIO);
    assert_non_null(strstr(err.text, "no_such_file.erne"));
    assert_int_equal(sample_store(FILE_B, g.bytes, 0), ERNE_OK);
    assert_int_equal(erne_model_file_open(&mf, FILE_B, &err), ERNE_EFORMAT);
    assert_string_equal(err.text, FILE_B ": not an erne model file");
    assert_int_equal(sample_store(FILE_B, g.bytes, g.n_bytes - 1), ERNE_OK);
    assert_int_equal(erne_model_file_open(&mf, FILE_B, &err), ERNE_EFORMAT);
    assert_non_null(strstr(err.text, FILE_B ": truncated or incomplete"));
    assert_int_equal(open_bytes(NULL, 0, &err), ERNE_EFORMAT);
    assert_int_equal(open_bytes((const uint8_t *)"GGUF....", 8, &err), ERNE_EFORMAT);
    assert_non_null(strstr(err.text, "not an erne model file"));
}

static uint64_t u64_at(size_t offset)
{
    uint64_t x = 0;

    for (size_t i = 8; i-- > 0;)
        x = x << 8 | g.bytes[offset + i];
    return x;
}

static uint32_t u32_at(size_t offset)
{
    return (uint32_t)(u64_at(offset) & UINT32_MAX);
}

/* Where docs/FORMAT.md says that things are. */
static void test_golden_bytes(void **state)
{
    const size_t manifest_bytes = g.sample.plan.manifest_bytes;
    const uint64_t tokenizer = (256 + manifest_bytes + 63) / 64 * 64;
    const uint64_t table = (tokenizer + 37 + 127) / 128 * 128;
    const uint64_t data = (table + 6 * 128 + 4095) / 4096 * 4096;
    const size_t record = (size_t)table + 3 * 128; /* "alpha", w8 [1100, 33] */
    const size_t trailer = g.n_bytes - 32;
    const size_t logits = (trailer - (64 + 3 * 4 + 2 * 70 * 4)) / 64 * 64;

    (void)state;
    assert_memory_equal(g.bytes,
                        "\x89"
                        "ERNE\r\n\x1a",
                        8);
    assert_int_equal(u32_at(8), 1);
    assert_int_equal(u32_at(12), 6);
    assert_int_equal(u64_at(16), g.n_bytes);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(u64_at(32 + 32 * i), i + 1);
    assert_int_equal(u64_at(32 + 8), 256);
    assert_int_equal(u64_at(32 + 16), manifest_bytes);
    assert_true(u64_at(32 + 24) == XXH3_64bits(g.bytes + 256, manifest_bytes));
    assert_int_equal(u64_at(64 + 8), tokenizer);
    assert_int_equal(u64_at(64 + 16), 37);
    assert_int_equal(u64_at(96 + 8), table);
    assert_int_equal(u64_at(96 + 16), 6 * 128);
    assert_true(u64_at(96 + 24) == XXH3_64bits(g.bytes + table, 6 * 128));
    assert_int_equal(u64_at(128 + 8), data);
    assert_int_equal(u64_at(128 + 16), logits - data);
    assert_int_equal(u64_at(128 + 24), 0);
    assert_int_equal(u64_at(160 + 8), logits);
    assert_int_equal(u64_at(160 + 16), 64 + 3 * 4 + 2 * 70 * 4);
    assert_true(u64_at(160 + 24) == XXH3_64bits(g.bytes + logits, u64_at(160 + 16)));
    assert_int_equal(u32_at(logits), 1);
    assert_int_equal(u32_at(logits + 4), 3);
    assert_int_equal(u32_at(logits + 8), 2);
    assert_int_equal(u32_at(logits + 12), 70);
    assert_int_equal(u32_at(logits + 64 + 4), 12);          /* the second token */
    assert_int_equal(u32_at(logits + 64 + 12), 0xc2480000); /* -50 */
    assert_true(u64_at(248) == XXH3_64bits(g.bytes, 248));

    assert_string_equal((const char *)g.bytes + record, "alpha");
    assert_int_equal(g.bytes[record + 64], 3);         /* codec w8 */
    assert_int_equal(g.bytes[record + 65], 1);         /* tile64 */
    assert_int_equal(g.bytes[record + 66], 0);         /* symmetric */
    assert_int_equal(g.bytes[record + 67], 1);         /* has a report */
    assert_int_equal(u64_at(record + 68) & 0xffff, 0); /* a scale a row */
    assert_int_equal(u64_at(record + 72), 1100);
    assert_int_equal(u64_at(record + 80), 33);
    assert_int_equal(u64_at(record + 88) % 4096, 0);
    assert_int_equal(u64_at(record + 96), 1152 * 64 + 1152 * 2);
    assert_true(u64_at(record + 104) ==
                XXH3_64bits(g.bytes + u64_at(record + 88), u64_at(record + 96)));
    assert_int_equal(u32_at(record + 112), 0x3e000000); /* an error of 0.125 */
    assert_int_equal(u32_at(record + 116), 300);        /* tokens */
    assert_int_equal(u64_at(table + 112), 0);           /* "embed" has none */
    assert_true(u64_at(record + 120) == XXH3_64bits(g.bytes + record, 120));

    assert_memory_equal(g.bytes + trailer, "ERNE-END", 8);
    assert_int_equal(u64_at(trailer + 8), g.n_bytes);
    assert_true(u64_at(trailer + 16) == u64_at(248));
    assert_true(u64_at(trailer + 24) == XXH3_64bits(g.bytes + trailer, 24));
}

/* Files that tests/oracle/make_fuzz_erne.py made from docs/FORMAT.md, but for the hashes.
 */
static void test_other_writer(void **state)
{
    static const struct {
        const char *seed;
        size_t n_tensors;
    } seeds[] = {
        { "empty", 0 }, { "vectors", 2 }, { "w2", 2 },
        { "w4", 1 },    { "w8", 1 },      { "golden", 1 }, { "report", 2 },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(seeds); i++) {
        struct erne_model_file mf;
        struct erne_error err;
        char path[1024];
        size_t n;

        snprintf(path, sizeof(path), "%s/%s", ERNE_TEST_SEEDS, seeds[i].seed);
        uint8_t *data = sample_load(path, &n);

        assert_non_null(data);
        reseal(data, n);
        check_ok(erne_model_file_open_bytes(&mf, data, n, &err), &err);
        assert_int_equal(mf.n_tensors, seeds[i].n_tensors);
        check_ok(erne_model_file_check_padding(&mf, &err), &err);
        if (strcmp(seeds[i].seed, "report") == 0) {
            check_report(&mf.tensors[0].report,
                         (struct erne_tensor_report){ true, 0.0625f, 17 });
            check_report(&mf.tensors[1].report, (struct erne_tensor_report){ 0 });
        }
        assert_int_equal(mf.golden.n_tokens, strcmp(seeds[i].seed, "golden") ? 0 : 2);
        erne_model_file_close(&mf);
        free(data);
    }
}

/* ----------------------------------------------------------------- damage */

static size_t data_offset(void)
{
    return (size_t)u64_at(128 + 8);
}

/* A changed byte before the data or in the trailer is always seen, but for the padding
 * between sections, which carries no meaning and is left to `erne verify`. */
static void test_every_byte_damaged(void **state)
{
    uint8_t *copy = malloc(g.n_bytes);
    struct erne_error err;

    (void)state;
    memcpy(copy, g.bytes, g.n_bytes);
    for (size_t at = 0; at < g.n_bytes; at++) {
        bool is_padding = at >= 256;

        if (at == data_offset())
            at = (size_t)u64_at(160 + 8);
        for (size_t s = 0; s < 5; s++)
            is_padding =
                is_padding && (at < u64_at(32 + 32 * s + 8) ||
                               at >= u64_at(32 + 32 * s + 8) + u64_at(32 + 32 * s + 16));
        is_padding = is_padding && at < g.n_bytes - 32;
        copy[at] ^= (uint8_t)(1u << at % 8);
        if (open_bytes(copy, g.n_bytes, &err) != (is_padding ? ERNE_OK : ERNE_EFORMAT))
            fail_msg("byte %zu: %s", at, err.text);
        copy[at] = g.bytes[at];
    }
    free(copy);
}

static void check_truncated(size_t n)
{
    struct erne_error err;

    assert_true(n < g.n_bytes);
    assert_int_equal(open_bytes(g.bytes, n, &err), ERNE_EFORMAT);
    if (n >= 8)
        assert_non_null(strstr(err.text, "truncated or incomplete"));
}

static void test_truncated(void **state)
{
    uint64_t rng = 5;

    (void)state;
    for (size_t n = 0; n < 300; n++)
        check_truncated(n);
    for (size_t n = 1; n <= 40; n++)
        check_truncated(g.n_bytes - n);
    for (size_t s = 0; s < 5; s++)
        for (size_t d = 0; d < 3; d++) {
            check_truncated((size_t)u64_at(32 + 32 * s + 8) + d - 1);
            check_truncated((size_t)(u64_at(40 + 32 * s) + u64_at(48 + 32 * s)) + d - 2);
        }
    for (int i = 0; i < 300; i++)
        check_truncated((size_t)(unit_random(&rng) % g.n_bytes));
}

static void test_bytes_after_the_end(void **state)
{
    uint8_t *copy = calloc(1, g.n_bytes + 1);
    struct erne_error err;

    (void)state;
    memcpy(copy, g.bytes, g.n_bytes);
    assert_int_equal(open_bytes(copy, g.n_bytes + 1, &err), ERNE_EFORMAT);
    assert_non_null(strstr(err.text, "after the end"));
    free(copy);
}

/* ------------------------------------------- consistent hashes, hostile content */

static void test_hostile_header(void **state)
{
    static const struct {
        size_t offset;
        uint64_t value;
        const char *expected;
        int status;
    } cases[] = {
        { 8, 2 | (uint64_t)6 << 32, "format version 2", ERNE_EUNSUPPORTED },
        { 8, 1 | (uint64_t)7 << 32, "size of its tensors", ERNE_EFORMAT },
        { 8, 1 | (uint64_t)0xffffffff << 32, "size of its tensors", ERNE_EFORMAT },
        { 16, UINT64_MAX, "truncated", ERNE_EFORMAT },
        { 16, 0, "after the end", ERNE_EFORMAT },
        { 32, 2, "section 2 is unknown", ERNE_EFORMAT },
        { 32, 1 | (uint64_t)1 << 32, "section 1 is unknown", ERNE_EFORMAT },
        { 40, UINT64_MAX, "section manifest is outside", ERNE_EFORMAT },
        { 40, 255, "section manifest is outside", ERNE_EFORMAT },
        { 48, UINT64_MAX, "section manifest is outside", ERNE_EFORMAT },
        { 48, UINT64_MAX - 255, "section manifest is outside", ERNE_EFORMAT },
        { 72, 300, "section tokenizer is outside", ERNE_EFORMAT },
        { 112, 128, "size of its tensors", ERNE_EFORMAT },
        { 144, 1 << 20, "section data is outside", ERNE_EFORMAT },
        { 144, 4096, "tensor embed is outside the data", ERNE_EFORMAT },
    };
    uint8_t *copy = malloc(g.n_bytes);
    struct erne_error err;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        memcpy(copy, g.bytes, g.n_bytes);
        memcpy(copy + cases[i].offset, &cases[i].value, 8);
        reseal(copy, g.n_bytes);
        const int st = open_bytes(copy, g.n_bytes, &err);

        if (st != cases[i].status || !strstr(err.text, cases[i].expected))
            fail_msg("case %zu: %d %s, not %s", i, st, err.text, cases[i].expected);
    }
    free(copy);
}

/* Eight bytes of record 3 ("alpha") at once, or of another where the case says so. */
static void test_hostile_record(void **state)
{
    static const struct {
        size_t record, offset;
        uint64_t value;
        const char *expected;
    } cases[] = {
        { 3, 0, 0, "never written" },                /* empty name */
        { 3, 0, 0x61006168706c61, "never written" }, /* "alpha\0a" */
        { 3, 0, 0x0a6168706c61, "never written" },   /* a newline */
        { 3, 0, 0x6174657a, "zeta occurs twice" },
        { 3, 64, 99, "unknown scheme" },
        { 3, 64, 3 | 2 << 8, "unknown scheme" },
        { 3, 64, 3 | 1 << 8 | 2 << 16, "unknown scheme" },
        { 3, 64, 3 | 1 << 8 | 2 << 24, "alpha has a report of an unknown kind" },
        { 3, 64, 3 | 1 << 8, "alpha has numbers but no report" },
        { 0, 112, 1, "embed has numbers but no report" },
        { 0, 112, (uint64_t)1 << 32, "embed has numbers but no report" },
        { 0, 112, 0x7fc00000, "embed has numbers but no report" },
        { 3, 112, 0x7fc00000, "alpha: its error is nan, not" },
        { 3, 112, 0x7f800000, "alpha: its error is inf, not" },
        { 3, 112, 0xbf800000, "alpha: its error is -1, not" },
        { 3, 64, 3 | 1 << 8 | 1 << 24 | (uint64_t)16 << 32, "unknown scheme" },
        { 3, 64, 3 | 1 << 8 | 1 << 24 | (uint64_t)1 << 48, "unknown scheme" },
        { 3, 64, 4 | 1 << 8 | 1 << 24, "its shape needs" },
        { 3, 64, 3 | 1 << 8 | 1 << 16 | 1 << 24, "its shape needs" },
        { 3, 64, 3 | 1 << 8 | 1 << 24 | (uint64_t)32 << 32, "its shape needs" },
        { 3, 72, 0, "unknown scheme or shape" },
        { 3, 72, UINT64_MAX, "unknown scheme or shape" },
        { 3, 72, (uint64_t)1 << 62, "unknown scheme or shape" },
        { 3, 72, INT32_MAX, "its shape needs" },
        { 3, 80, 0, "unknown scheme or shape" },
        { 3, 80, 65, "its shape needs" },
        { 3, 88, UINT64_MAX - 4095, "outside the data" },
        { 3, 88, 0, "outside the data" },
        { 3, 88, 4096, "outside the data" },
        { 3, 96, UINT64_MAX, "its shape needs" },
        { 4, 88, 0, "outside the data" },
    };
    const size_t table = (size_t)u64_at(96 + 8);
    uint8_t *copy = malloc(g.n_bytes);
    struct erne_error err;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        memcpy(copy, g.bytes, g.n_bytes);
        memcpy(copy + table + cases[i].record * 128 + cases[i].offset, &cases[i].value,
               8);
        reseal(copy, g.n_bytes);
        const int st = open_bytes(copy, g.n_bytes, &err);

        if (st != ERNE_EFORMAT || !strstr(err.text, cases[i].expected))
            fail_msg("case %zu: %d %s, not %s", i, st, err.text, cases[i].expected);
    }
    free(copy);
}

/* Four bytes of golden logits at once. */
static void test_hostile_golden(void **state)
{
    static const struct {
        size_t offset;
        uint32_t value;
        const char *expected; /* NULL: opens, and has none */
    } cases[] = {
        { 0, 3, NULL },
        { 4, 0, "do not fit" },
        { 4, 4, "do not fit" },
        { 4, UINT32_MAX, "do not fit" },
        { 8, 0, "do not fit" },
        { 8, 4, "do not fit" },
        { 8, UINT32_MAX, "do not fit" },
        { 12, 69, "do not fit" },
        { 12, UINT32_MAX, "do not fit" },
        { 64, 70, "token 70 is not in the vocabulary" },
        { 72, UINT32_MAX, "token -1 is not in the vocabulary" },
    };
    static const uint32_t pictures[][2] = { { 1, 1 },
                                            { UINT32_MAX, 1 },
                                            { 0, UINT32_MAX } };
    const size_t at = (size_t)u64_at(160 + 8);
    uint8_t *copy = malloc(g.n_bytes);
    struct erne_error err;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        const char *expected = cases[i].expected;

        memcpy(copy, g.bytes, g.n_bytes);
        memcpy(copy + at + cases[i].offset, &cases[i].value, 4);
        reseal(copy, g.n_bytes);
        const int st = open_bytes(copy, g.n_bytes, &err);

        if (st != (expected ? ERNE_EFORMAT : ERNE_OK) ||
            (expected && !strstr(err.text, expected)))
            fail_msg("case %zu: %d %s, not %s", i, st, err.text, expected);
    }
    for (size_t i = 0; i < ERNE_ARRAY_LEN(pictures); i++) { /* of which no token is */
        memcpy(copy, g.bytes, g.n_bytes);
        memcpy(copy + at, &(uint32_t){ 2 }, 4);
        memcpy(copy + at + 16, pictures[i], sizeof(pictures[i]));
        reseal(copy, g.n_bytes);
        assert_int_equal(open_bytes(copy, g.n_bytes, &err), ERNE_EFORMAT);
        assert_non_null(strstr(err.text, "0 tokens stand for a picture"));
    }
    free(copy);
}

/* Its section: cut off, moved off its alignment, gone. */
static void test_hostile_golden_section(void **state)
{
    static const struct {
        uint64_t number, offset, n_bytes; /* the latter two are added */
        const char *expected;
    } cases[] = {
        { 5, 0, (uint64_t)-1, "do not fit" },
        { 5, 0, (uint64_t)-573, "cut off" },
        { 5, 4, (uint64_t)-4, "not aligned" },
        { 5, 1 << 20, 0, "section golden is outside" },
        { 0, 0, 0, "section 0 is unknown" },
        { 6, 0, 0, "section 6 is unknown" },
    };
    uint8_t *copy = malloc(g.n_bytes);
    struct erne_error err;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        const uint64_t section[] = { cases[i].number, u64_at(168) + cases[i].offset,
                                     u64_at(176) + cases[i].n_bytes };

        memcpy(copy, g.bytes, g.n_bytes);
        memcpy(copy + 160, section, sizeof(section));
        reseal(copy, g.n_bytes);
        assert_int_equal(open_bytes(copy, g.n_bytes, &err), ERNE_EFORMAT);
        if (!strstr(err.text, cases[i].expected))
            fail_msg("case %zu: %s, not %s", i, err.text, cases[i].expected);
    }
    memcpy(copy, g.bytes, g.n_bytes);
    memset(copy + 160, 0, 32); /* a file as they were before */
    reseal(copy, g.n_bytes);
    check_ok(open_bytes(copy, g.n_bytes, &err), &err);
    free(copy);
}

/* A name without an end, a tensor off its alignment, one moved onto its neighbour. */
static void test_hostile_places(void **state)
{
    const size_t table = (size_t)u64_at(96 + 8);
    uint8_t *copy = malloc(g.n_bytes);
    struct erne_error err;
    uint64_t offset;

    (void)state;
    memcpy(copy, g.bytes, g.n_bytes);
    memset(copy + table, 'x', 64);
    reseal(copy, g.n_bytes);
    assert_int_equal(open_bytes(copy, g.n_bytes, &err), ERNE_EFORMAT);

    for (int64_t by = -256; by <= 256; by += 64) {
        memcpy(copy, g.bytes, g.n_bytes);
        offset = u64_at(table + 128 + 88) + (uint64_t)by; /* "norm": 132 bytes in 256 */
        memcpy(copy + table + 128 + 88, &offset, 8);
        reseal(copy, g.n_bytes);
        assert_int_equal(open_bytes(copy, g.n_bytes, &err), by ? ERNE_EFORMAT : ERNE_OK);
    }
    free(copy);
}

/* -------------------------------------------------------------- allocation */

static void test_allocation_failures(void **state)
{
    struct erne_model_file mf;
    struct erne_error err;
    int st;

    (void)state;
    for (size_t n = 1;
         alloc_fail_at(n), st = erne_model_file_open(&mf, FILE_A, &err), alloc_fail_hit();
         n++)
        assert_int_equal(st, ERNE_ENOMEM);
    check_ok(st, &err);
    erne_model_file_close(&mf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_open_other_files),
        cmocka_unit_test(test_golden_bytes),
        cmocka_unit_test(test_other_writer),
        cmocka_unit_test(test_every_byte_damaged),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bytes_after_the_end),
        cmocka_unit_test(test_hostile_header),
        cmocka_unit_test(test_hostile_record),
        cmocka_unit_test(test_hostile_golden),
        cmocka_unit_test(test_hostile_golden_section),
        cmocka_unit_test(test_hostile_places),
        cmocka_unit_test(test_allocation_failures),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
