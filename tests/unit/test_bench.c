/* test_bench.c -- lists of options, statistics and files of `erne bench`. What statistics
 * must be is in data/bench_stats.txt, made by tests/oracle/make_bench_stats.py. */
#include "tests/support/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "runtime/cli/bench.h"
#include "runtime/cli/bench_compare.h"
#include "runtime/cli/bench_list.h"
#include "runtime/cli/bench_record.h"
#include "runtime/cli/bench_stats.h"

/* ------------------------------------------------------------------ lists */

static int parse(struct bench_ints *ints, const char *text, struct erne_error *err)
{
    const struct cli_list list = { &text, 1 };

    *ints = (struct bench_ints){ 0 };
    return bench_ints_parse(ints, &list, "-x", 1, 1000, 77, err);
}

static void expect_ints(const char *text, size_t n, const int *wanted)
{
    struct bench_ints ints;
    struct erne_error err;

    assert_int_equal(parse(&ints, text, &err), ERNE_OK);
    assert_int_equal(ints.n, n);
    assert_memory_equal(ints.data, wanted, n * sizeof(*wanted));
    bench_ints_deinit(&ints);
}

static void test_lists(void **state)
{
    (void)state;
    expect_ints("5", 1, (int[]){ 5 });
    expect_ints("5,1,5", 2, (int[]){ 5, 1 });
    expect_ints("4,1-5,5", 5, (int[]){ 4, 1, 2, 3, 5 });
    expect_ints("1-4", 4, (int[]){ 1, 2, 3, 4 });
    expect_ints("1-6+2", 3, (int[]){ 1, 3, 5 });
    expect_ints("64-512*2,7", 5, (int[]){ 64, 128, 256, 512, 7 });
    expect_ints("9-9", 1, (int[]){ 9 });
}

static void test_bad_lists(void **state)
{
    static const char *const bad[] = {
        "",      ",",     "1,",     "x",     "-1",  "4-2",  "1-",
        "1-2-3", "1-4+0", "1-4*1",  "1-4+",  "1 ",  " 1",   "0",
        "1001",  "1.5",   "1-2000", "0-4*2", "1/2", "1,,2", "1000000000000"
    };
    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(bad); i++) {
        struct bench_ints ints;
        struct erne_error err = { 0 };

        assert_int_equal(parse(&ints, bad[i], &err), ERNE_EINVAL);
        assert_non_null(strstr(err.text, "option -x"));
        bench_ints_deinit(&ints);
    }
}

static void test_list_fallback(void **state)
{
    const struct cli_list none = { 0 };
    const char *pairs_text = "512,128";
    const struct cli_list pairs_list = { &pairs_text, 1 };
    struct bench_ints ints = { 0 }, pairs = { 0 };
    struct erne_error err;

    (void)state;
    assert_int_equal(bench_ints_parse(&ints, &none, "-x", 1, 1000, 77, &err), ERNE_OK);
    assert_int_equal(ints.n, 1);
    assert_int_equal(ints.data[0], 77);
    assert_int_equal(bench_pairs_parse(&pairs, &pairs_list, "-pg", ',', 1000, &err),
                     ERNE_OK);
    assert_int_equal(pairs.n, 2);
    assert_int_equal(pairs.data[1], 128);
    bench_ints_deinit(&pairs);
    pairs_text = "64x48,8x9,64x48";
    assert_int_equal(bench_pairs_parse(&pairs, &pairs_list, "-i", 'x', 1000, &err),
                     ERNE_OK);
    assert_int_equal(pairs.n, 4);
    assert_int_equal(pairs.data[3], 9);
    pairs_text = "64x48,";
    assert_int_equal(bench_pairs_parse(&pairs, &pairs_list, "-i", 'x', 1000, &err),
                     ERNE_EINVAL);
    pairs_text = "512,0";
    assert_int_equal(bench_pairs_parse(&pairs, &pairs_list, "-pg", ',', 1000, &err),
                     ERNE_EINVAL);
    bench_ints_deinit(&ints);
    bench_ints_deinit(&pairs);
}

static bool has_equals(const char *item)
{
    return strchr(item, '=') != NULL;
}

static void test_words(void **state)
{
    const char *items[] = { "cpu,vulkan,cpu", "opencl,vulkan" };
    const struct cli_list list = { items, 2 };
    struct bench_words words = { 0 };
    struct erne_error err;

    (void)state;
    assert_int_equal(bench_words_parse(&words, &list, "--backend", has_equals, &err),
                     ERNE_OK);
    assert_int_equal(words.n, 3);
    assert_string_equal(words.data[1], "vulkan");
    assert_string_equal(words.data[2], "opencl");
    bench_words_deinit(&words);
    items[0] = "prefill=vulkan,decode=cpu";
    assert_int_equal(bench_words_parse(&words, &list, "--backend", has_equals, &err),
                     ERNE_OK);
    assert_int_equal(words.n, 3);
    assert_string_equal(words.data[0], "prefill=vulkan,decode=cpu");
    assert_string_equal(words.data[1], "opencl");
    bench_words_deinit(&words);
    items[0] = "cpu,";
    assert_int_equal(bench_words_parse(&words, &list, "--backend", has_equals, &err),
                     ERNE_EINVAL);
    bench_words_deinit(&words);
}

/* -------------------------------------------------------------- statistics */

enum { MOST = 64 };

static void read_numbers(FILE *file, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(fscanf(file, "%lf", &x[i]), 1);
}

static void near(double x, double wanted)
{
    assert_true(fabs(x - wanted) <= 1e-9 * fabs(wanted) + 1e-12);
}

static void check_one(FILE *file)
{
    double x[MOST], wanted[7];
    struct bench_summary s;
    size_t n;

    assert_int_equal(fscanf(file, "%zu", &n), 1);
    assert_true(n <= MOST);
    read_numbers(file, x, n);
    read_numbers(file, wanted, 7);
    s = bench_summarise(x, n);
    near(s.mean, wanted[0]);
    near(s.stddev, wanted[1]);
    near(s.median, wanted[2]);
    near(s.low, wanted[3]);
    near(s.high, wanted[4]);
    near(s.coverage, wanted[5]);
    near(bench_quantile(x, n, 0.95), wanted[6]);
}

static void check_two(FILE *file)
{
    double x[MOST], y[MOST], scratch[MOST * MOST], wanted[4];
    struct bench_change c;
    size_t n, m;

    assert_int_equal(fscanf(file, "%zu", &n), 1);
    assert_true(n <= MOST);
    read_numbers(file, x, n);
    assert_int_equal(fscanf(file, "%zu", &m), 1);
    assert_true(m <= MOST);
    read_numbers(file, y, m);
    read_numbers(file, wanted, 4);
    c = bench_compare(x, n, y, m, scratch);
    near(c.shift, wanted[0]);
    near(c.low, wanted[1]);
    near(c.high, wanted[2]);
    near(c.coverage, wanted[3]);
}

static void test_statistics(void **state)
{
    FILE *file = fopen(ERNE_TEST_DATA "/bench_stats.txt", "r");
    char kind[8];
    int n = 0;

    (void)state;
    assert_non_null(file);
    for (; fscanf(file, "%7s", kind) == 1; n++) {
        if (strcmp(kind, "one") == 0)
            check_one(file);
        else
            check_two(file);
    }
    fclose(file);
    assert_int_equal(n, 15);
}

static void test_one_sample(void **state)
{
    double x = 5;
    const struct bench_summary s = bench_summarise(&x, 1);

    (void)state;
    near(s.mean, 5);
    near(s.median, 5);
    near(s.low, 5);
    near(s.high, 5);
    assert_true(s.stddev == 0 && s.coverage == 0);
}

/* Beyond the exact distribution: as many false alarms as 95 % promise, and no more. */
static void test_many_samples(void **state)
{
    static double scratch[40 * 40];
    uint64_t seed = 3;
    int n_false = 0;

    (void)state;
    for (int trial = 0; trial < 400; trial++) {
        double x[40], y[40];
        struct bench_change c;

        for (int i = 0; i < 40; i++) {
            x[i] = exp(0.02 * (double)unit_random_normal(&seed));
            y[i] = exp(0.02 * (double)unit_random_normal(&seed));
        }
        c = bench_compare(x, 40, y, 40, scratch);
        n_false += c.low > 0 || c.high < 0;
    }
    assert_in_range(n_false, 8, 36);
}

/* ------------------------------------------------------------------ files */

static double samples[] = { 1e9, 2e9 };

static struct bench_record make_record(void)
{
    struct bench_record r = { .build_commit = "a \"b\", c",
                              .cpu_info = "it's\ta\\cpu",
                              .model_filename = "m.erne",
                              .n_prompt = 512,
                              .type_k = "f16",
                              .type_v = "f16",
                              .test = "pp512",
                              .samples_ns = samples,
                              .n_samples = 2 };
    double scratch[2];

    bench_record_summarise(&r, scratch);
    return r;
}

static char *written(enum bench_format format, size_t n)
{
    const struct bench_record records[] = { make_record(), make_record() };
    struct cli_text text = { 0 };
    struct erne_error err;

    assert_int_equal(bench_write(&text, format, &bench_record_layout, records, n, &err),
                     ERNE_OK);
    return text.data;
}

static void check_object(const json_t *o)
{
    assert_string_equal(json_string_value(json_object_get(o, "build_commit")),
                        "a \"b\", c");
    assert_string_equal(json_string_value(json_object_get(o, "cpu_info")),
                        "it's\ta\\cpu");
    assert_int_equal(json_integer_value(json_object_get(o, "n_prompt")), 512);
    assert_true(json_is_null(json_object_get(o, "gpu_info")));
    near(json_number_value(json_object_get(o, "avg_ns")), 1.5e9);
    near(json_number_value(json_object_get(o, "avg_ts")), 384);
    near(json_number_value(json_object_get(o, "stddev_ts")), 256 / sqrt(2.0));
    near(json_number_value(json_array_get(json_object_get(o, "samples_ns"), 1)), 2e9);
    near(json_number_value(json_array_get(json_object_get(o, "samples_ts"), 0)), 512);
}

static void test_json(void **state)
{
    char *text = written(BENCH_JSON, 2);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    (void)state;
    assert_non_null(root);
    assert_int_equal(json_array_size(root), 2);
    check_object(json_array_get(root, 0));
    check_object(json_array_get(root, 1));
    json_decref(root);
    free(text);
}

static void test_jsonl(void **state)
{
    char *text = written(BENCH_JSONL, 2), *second = strchr(text, '\n') + 1;

    (void)state;
    second[-1] = '\0';
    for (int i = 0; i < 2; i++) {
        json_t *root = json_loads(i ? second : text, JSON_REJECT_DUPLICATES, NULL);

        assert_non_null(root);
        check_object(root);
        json_decref(root);
    }
    free(text);
}

/* Fields of one line, quotes undone; each ends in 0. */
static size_t split_csv(char *line, char **fields, size_t cap)
{
    size_t n = 0;

    for (char *from = line; n < cap;) {
        char *to = from;
        bool quoted = *from == '"';

        fields[n++] = to;
        for (from += quoted; *from && (quoted || *from != ','); from++) {
            if (quoted && *from == '"' && *++from != '"') {
                quoted = false;
                if (*from != ',')
                    break;
                from--;
                continue;
            }
            *to++ = *from;
        }
        if (!*from) {
            *to = '\0';
            break;
        }
        from++;
        *to = '\0';
    }
    return n;
}

static void test_csv(void **state)
{
    char *text = written(BENCH_CSV, 1), *values = strchr(text, '\n') + 1;
    char *names[MOST], *fields[MOST];
    size_t n;

    (void)state;
    values[-1] = '\0';
    values[strlen(values) - 1] = '\0';
    n = split_csv(text, names, MOST);
    assert_int_equal(n, bench_record_layout.n_fields + 1);
    assert_int_equal(split_csv(values, fields, MOST), n);
    assert_string_equal(names[n - 1], "samples_ns");
    assert_string_equal(fields[n - 1], "1000000000 2000000000");
    for (size_t i = 0; i + 1 < n; i++) {
        assert_string_equal(names[i], bench_record_layout.fields[i].name);
        if (strcmp(names[i], "build_commit") == 0)
            assert_string_equal(fields[i], "a \"b\", c");
        if (strcmp(names[i], "n_prompt") == 0)
            assert_string_equal(fields[i], "512");
        if (strcmp(names[i], "gpu_info") == 0)
            assert_string_equal(fields[i], "");
        if (strcmp(names[i], "avg_ts") == 0)
            assert_string_equal(fields[i], "384");
    }
    free(text);
}

static void test_sql(void **state)
{
    char *text = written(BENCH_SQL, 2);

    (void)state;
    assert_non_null(strstr(text, "CREATE TABLE IF NOT EXISTS erne_bench (\n"));
    assert_non_null(strstr(text, "  n_prompt INTEGER,\n"));
    assert_non_null(strstr(text, "('a \"b\", c', 'it''s\ta\\cpu', NULL,"));
    assert_non_null(strstr(strstr(text, "INSERT INTO") + 1, "INSERT INTO"));
    free(text);
}

static void test_md(void **state)
{
    char *text = written(BENCH_MD, 2);

    (void)state;
    assert_non_null(strstr(text, " test |"));
    assert_non_null(strstr(text, " 384.00 ± 181.02 |"));
    assert_null(strstr(text, "n_batch")); /* does not vary */
    assert_non_null(strstr(text, "256.00 .. 512.00"));
    free(text);
}

/* A result without samples has no numbers in it. */
static void test_no_figures(void **state)
{
    struct bench_record r = make_record();
    struct cli_text text = { 0 };
    struct erne_error err;
    json_t *root;

    (void)state;
    r.n_samples = 0;
    r.error = "it failed";
    bench_record_summarise(&r, NULL);
    assert_int_equal(bench_write(&text, BENCH_JSONL, &bench_record_layout, &r, 1, &err),
                     ERNE_OK);
    root = json_loads(text.data, 0, NULL);
    assert_true(json_is_null(json_object_get(root, "avg_ts")));
    assert_int_equal(json_array_size(json_object_get(root, "samples_ns")), 0);
    json_decref(root);
    text.n = 0;
    assert_int_equal(bench_write(&text, BENCH_MD, &bench_record_layout, &r, 1, &err),
                     ERNE_OK);
    assert_non_null(strstr(text.data, "it failed"));
    free(text.data);
}

/* ---------------------------------------------------------------- compare */

/* A result of five samples, each times `factor`, on a machine whose own work took
 * `machine` ns. */
static char *result_of(const char *test, double factor, double machine)
{
    static const double noise[] = { 1.00, 1.01, 0.995, 1.004, 1.02 };
    double times[5], scratch[5];
    struct bench_record r = make_record();
    struct cli_text text = { 0 };
    struct erne_error err;

    for (int i = 0; i < 5; i++)
        times[i] = 1e9 * factor * noise[i];
    r.test = test;
    r.backends = "cpu";
    r.model_type = "w4";
    r.samples_ns = times;
    r.n_samples = 5;
    r.machine_ns = machine;
    bench_record_summarise(&r, scratch);
    assert_int_equal(bench_write(&text, BENCH_JSONL, &bench_record_layout, &r, 1, &err),
                     ERNE_OK);
    return text.data;
}

static int read_results(struct bench_results *results, const char *text,
                        struct erne_error *err)
{
    *results = (struct bench_results){ 0 };
    return bench_results_read(results, text, strlen(text), "a.json", err);
}

/* What is said of a change of times by `factor` while the machine changed its own. */
static void expect_verdict(double factor, double machine, enum bench_verdict wanted)
{
    char *one = result_of("pp512", 1, 1e6), *two = result_of("pp512", factor, machine);
    struct bench_results a, b;
    struct bench_difference d;
    struct erne_error err;
    double scratch[25];

    assert_int_equal(read_results(&a, one, &err), ERNE_OK);
    assert_int_equal(read_results(&b, two, &err), ERNE_OK);
    d = bench_differ(&a.records[0], &b.records[0], scratch);
    assert_int_equal(d.verdict, wanted);
    assert_true(d.low <= d.speed && d.speed <= d.high);
    assert_true(fabs(d.speed - (1 / factor - 1)) < 0.02);
    bench_results_deinit(&a);
    bench_results_deinit(&b);
    free(one);
    free(two);
}

static void test_verdicts(void **state)
{
    (void)state;
    expect_verdict(1, 1e6, BENCH_SAME);
    expect_verdict(1.002, 1e6, BENCH_SAME);
    expect_verdict(1.1, 1e6, BENCH_SLOWER);
    expect_verdict(0.9, 1e6, BENCH_FASTER);
    expect_verdict(1.1, 1.12e6, BENCH_SAME); /* the machine was that much slower */
    expect_verdict(1.3, 1.12e6, BENCH_SLOWER);
    expect_verdict(1.1, 0.9e6, BENCH_SLOWER); /* a faster one is no excuse */
    expect_verdict(0.9, 0.85e6, BENCH_SAME);
    expect_verdict(1.1, NAN, BENCH_SLOWER); /* not known */
}

static void test_compare_text(void **state)
{
    char *one = result_of("pp512", 1, 1e6), *two = result_of("pp512", 1.1, 1e6);
    char *other = result_of("tg128", 1, 1e6);
    struct cli_text text = { 0 }, both = { 0 };
    struct bench_results a, b;
    struct erne_error err;

    (void)state;
    assert_int_equal(cli_text_append(&both, two, strlen(two), &err), ERNE_OK);
    assert_int_equal(cli_text_append(&both, other, strlen(other), &err), ERNE_OK);
    assert_int_equal(read_results(&a, one, &err), ERNE_OK);
    assert_int_equal(read_results(&b, both.data, &err), ERNE_OK);
    assert_int_equal(b.n, 2);
    assert_int_equal(bench_compare_write(&text, &a, &b, &err), ERNE_OK);
    assert_non_null(strstr(text.data, "w4, pp512 on cpu, 0 threads: slower by 9."));
    assert_non_null(
        strstr(text.data, "tg128 on cpu, 0 threads: only in the second file"));
    bench_results_deinit(&a);
    bench_results_deinit(&b);
    free(text.data);
    free(both.data);
    free(one);
    free(two);
    free(other);
}

/* A test that ended early is compared as far as it got, and that is said. */
static void test_compare_error(void **state)
{
    char *one = result_of("pp512", 1, 1e6);
    struct cli_text text = { 0 };
    struct bench_results a, b, none = { 0 };
    struct erne_error err;

    (void)state;
    assert_int_equal(read_results(&a, one, &err), ERNE_OK);
    assert_int_equal(read_results(&b, one, &err), ERNE_OK);
    b.records[0].error = "vulkan:0: lost";
    assert_int_equal(bench_compare_write(&text, &a, &b, &err), ERNE_OK);
    assert_non_null(strstr(text.data, "not distinguishable"));
    assert_non_null(strstr(text.data, "; the second one ended early: vulkan:0: lost\n"));
    assert_null(strstr(text.data, "the first one"));
    text.n = 0;
    b.records[0].n_samples = 0;
    b.records[0].n_threads = a.records[0].n_threads = 1;
    assert_int_equal(bench_compare_write(&text, &b, &a, &err), ERNE_OK);
    assert_non_null(strstr(text.data, "1 thread: no figures in the first file; the first "
                                      "one ended early: vulkan:0: lost\n"));
    text.n = 0;
    assert_int_equal(bench_compare_write(&text, &none, &b, &err), ERNE_OK);
    assert_non_null(strstr(text.data, "only in the second file; the second one ended "));
    bench_results_deinit(&a);
    bench_results_deinit(&b);
    free(text.data);
    free(one);
}

/* Samples of several runs count together; too few of them say nothing. */
static void test_joined_samples(void **state)
{
    char *one = result_of("pp512", 1, 1e6);
    struct cli_text twice = { 0 };
    struct bench_results a, b;
    struct bench_difference d;
    struct erne_error err;
    double scratch[64];

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(cli_text_append(&twice, one, strlen(one), &err), ERNE_OK);
    assert_int_equal(read_results(&a, twice.data, &err), ERNE_OK);
    assert_int_equal(read_results(&b, one, &err), ERNE_OK);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.records[0].n_samples, 10);
    b.records[0].n_samples = 1;
    d = bench_differ(&a.records[0], &b.records[0], scratch);
    assert_int_equal(d.verdict, BENCH_TOO_FEW);
    bench_results_deinit(&a);
    bench_results_deinit(&b);
    free(twice.data);
    free(one);
}

static void test_bad_results(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "3",
        "[3]",
        "{}",
        "{\"test\": \"a\"}",
        "{\"test\": 1}",
        "{\"test\":\"a\",\"backends\":\"b\",\"model_type\":\"c\",\"type_k\":\"d\","
        "\"type_v\":\"e\",\"samples_ns\":[1,0]}",
        "{\"test\":\"a\",\"backends\":\"b\",\"model_type\":\"c\",\"type_k\":\"d\","
        "\"type_v\":\"e\",\"n_prompt\":\"x\"}",
    };
    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(bad); i++) {
        struct bench_results results;
        struct erne_error err = { 0 };

        assert_int_equal(read_results(&results, bad[i], &err), ERNE_EFORMAT);
        assert_non_null(strstr(err.text, "a.json"));
        bench_results_deinit(&results);
    }
}

/* ------------------------------------------------------------------ guard */

static void expect_judgement(const struct bench_guard *g, const struct bench_guard *whole,
                             const char *wanted)
{
    char text[160];

    bench_guard_judge(g, whole, text, sizeof(text));
    assert_non_null(strstr(text, wanted));
    assert_int_equal(*wanted == '\0', *text == '\0');
}

static void test_guard(void **state)
{
    const struct bench_guard quiet = { .elapsed_ns = 1000000000,
                                       .busy_ns = 2020000000,
                                       .own_ns = 2000000000,
                                       .n_times = 5,
                                       .n_cpus = 4,
                                       .mhz_low = 3000,
                                       .mhz_high = 3100 };
    struct bench_guard g = quiet;

    (void)state;
    expect_judgement(&quiet, &quiet, "");
    g.busy_ns += 500000000;
    expect_judgement(&g, &quiet, "other processes used 0.52 CPUs");
    near(bench_guard_others(&g), 0.52);
    g = quiet;
    g.stolen_ns = 200000000;
    expect_judgement(&g, &quiet, "other virtual machines took 0.20 CPUs");
    g = quiet;
    g.mhz_low = 2000;
    expect_judgement(&g, &quiet, "between 2000 and 3100 MHz");
    g = quiet;
    g.n_throttled = 1;
    expect_judgement(&g, &quiet, "heat");
}

/* Ticks of 10 ms say nothing of a millisecond, nor of hundreds of samples that are not
 * longer; the whole run speaks for them. */
static void test_guard_ticks(void **state)
{
    const struct bench_guard all = {
        .elapsed_ns = 1000000000, .busy_ns = 300000000, .n_times = 3, .n_cpus = 2
    };
    struct bench_guard g = {
        .elapsed_ns = 1000000, .busy_ns = 30000000, .n_times = 1, .n_cpus = 2
    };

    (void)state;
    expect_judgement(&g, &g, "");
    assert_true(isnan(bench_guard_others(&g)) && isnan(bench_guard_stolen(&g)));
    expect_judgement(&g, &all, "other processes used 0.30 CPUs");
    g.elapsed_ns *= 900;
    g.busy_ns *= 900;
    g.n_times = 900;
    assert_true(isnan(bench_guard_others(&g)));
    g.n_times = 9; /* as much is known now; more than all CPUs is none the less not */
    near(bench_guard_others(&g), 2);
}

static void test_guard_sums(void **state)
{
    const struct pf_usage a = { .time_ns = 1000, .busy_ns = 100, .mhz = 2000, .load = 2 };
    const struct pf_usage b = {
        .time_ns = 3000, .busy_ns = 900, .own_ns = 50, .mhz = 1000, .load = 1
    };
    struct bench_guard g = { 0 };

    (void)state;
    bench_guard_add(&g, &a, &b);
    bench_guard_add(&g, &a, &a);
    assert_int_equal(g.elapsed_ns, 2000);
    assert_int_equal(g.busy_ns, 800);
    assert_int_equal(g.own_ns, 50);
    assert_true(g.mhz_low == 1500 && g.mhz_high == 2000 && g.load == 2);
}

static void test_probe(void **state)
{
    struct bench_probe p = { 0 };
    struct erne_error err;

    (void)state;
    assert_int_equal(bench_probe_init(&p, &err), ERNE_OK);
    assert_true(bench_probe_ns(&p) > 0);
    bench_probe_deinit(&p);
}

static void test_picture(void **state)
{
    struct erne_media *media = NULL;
    struct erne_media_info info;
    struct erne_error err;
    const int st = bench_picture(&media, 301, 77, &err);

    (void)state;
    if (st == ERNE_EUNSUPPORTED) /* a build without PNG */
        skip();
    assert_int_equal(st, ERNE_OK);
    info = erne_media_info(media);
    assert_int_equal(info.width, 301);
    assert_int_equal(info.height, 77);
    erne_media_close(&media);
    assert_int_equal(bench_picture(&media, 20000, 1, &err), ERNE_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_words),        cmocka_unit_test(test_list_fallback),
        cmocka_unit_test(test_statistics),   cmocka_unit_test(test_one_sample),
        cmocka_unit_test(test_json),         cmocka_unit_test(test_many_samples),
        cmocka_unit_test(test_jsonl),        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_sql),          cmocka_unit_test(test_md),
        cmocka_unit_test(test_no_figures),   cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_compare_error),
        cmocka_unit_test(test_compare_text), cmocka_unit_test(test_joined_samples),
        cmocka_unit_test(test_bad_results),  cmocka_unit_test(test_guard),
        cmocka_unit_test(test_guard_sums),   cmocka_unit_test(test_probe),
        cmocka_unit_test(test_picture),      cmocka_unit_test(test_guard_ticks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
