/* test_bench_results.c -- files of results: what was written is read back, also from a
 * table that was edited by hand, and results are kept in a file a machine. */
#include "tests/support/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platforms/platform.h"
#include "runtime/cli/bench.h"
#include "runtime/cli/bench_compare.h"
#include "runtime/cli/cli_newfile.h"
#include "tests/support/alloc_fail.h"

static const double times[] = { 1e9, 1.25e9, 1.125e9, 987654321.5, 1e9 };

/* factor: of all times */
static void write_record(struct cli_text *text, enum bench_format format,
                         const char *test, double factor)
{
    double samples[5], scratch[5];
    struct bench_record r = { .build_commit = "a \"b\", c",
                              .cpu_info = "two\nlines",
                              .backends = "cpu",
                              .model_filename = "m.erne",
                              .model_type = "llama w4",
                              .model_n_params = 1234567890123,
                              .type_k = "f16",
                              .type_v = "f16",
                              .test = test,
                              .n_prompt = 512,
                              .samples_ns = samples,
                              .n_samples = 5,
                              .machine_ns = 2e6 * factor,
                              .experts_busiest = NAN };
    struct erne_error err;

    for (int i = 0; i < 5; i++)
        samples[i] = factor * times[i];
    bench_record_summarise(&r, scratch);
    assert_int_equal(bench_write(text, format, &bench_record_layout, &r, 1, &err), 0);
}

static int read_text(struct bench_results *results, const char *text,
                     struct erne_error *err)
{
    *results = (struct bench_results){ 0 };
    return bench_results_read(results, text, strlen(text), "a.csv", err);
}

static void test_formats(void **state)
{
    static const enum bench_format formats[] = { BENCH_CSV, BENCH_JSON, BENCH_JSONL };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(formats); i++) {
        struct cli_text text = { 0 };
        struct bench_results results;
        const struct bench_record *r;
        struct erne_error err = { 0 };

        write_record(&text, formats[i], "pp512", 1);
        if (read_text(&results, text.data, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(results.n, 1);
        r = &results.records[0];
        assert_string_equal(r->build_commit, "a \"b\", c");
        assert_string_equal(r->cpu_info, "two\nlines");
        assert_null(r->disturbed);
        assert_int_equal(r->n_prompt, 512);
        assert_true(r->model_n_params == 1234567890123);
        assert_true(r->machine_ns == 2e6);
        assert_true(isnan(r->experts_busiest));
        assert_int_equal(r->n_samples, 5);
        for (int k = 0; k < 5; k++)
            assert_true(fabs(r->samples_ns[k] / times[k] - 1) < 1e-9);
        bench_results_deinit(&results);
        free(text.data);
    }
}

/* What is behind the line of titles. */
static const char *rows_of(const struct cli_text *table)
{
    return strchr(table->data, '\n') + 1;
}

/* Of a table to which newer results were appended, these count; of JSON, all. */
static void test_newest(void **state)
{
    struct cli_text old = { 0 }, new = { 0 };
    struct bench_results results;
    struct erne_error err;

    (void)state;
    write_record(&old, BENCH_CSV, "pp512", 1);
    write_record(&new, BENCH_CSV, "pp512", 2);
    assert_int_equal(cli_text_append(&old, rows_of(&new), strlen(rows_of(&new)), &err),
                     0);
    assert_int_equal(read_text(&results, old.data, &err), 0);
    assert_int_equal(results.n, 1);
    assert_int_equal(results.records[0].n_samples, 5);
    assert_true(results.records[0].samples_ns[0] == 2e9);
    bench_results_deinit(&results);

    old.n = 0;
    write_record(&old, BENCH_JSONL, "pp512", 1);
    write_record(&old, BENCH_JSONL, "pp512", 2);
    assert_int_equal(read_text(&results, old.data, &err), 0);
    assert_int_equal(results.records[0].n_samples, 10);
    assert_true(results.records[0].machine_ns == 3e6); /* of both */
    bench_results_deinit(&results);
    free(old.data);
    free(new.data);
}

/* Titles may come in any order, others are skipped, lines may end as on Windows. */
static void test_edited(void **state)
{
    struct bench_results results;
    struct erne_error err = { 0 };

    (void)state;
    if (read_text(&results,
                  "mine,type_v,type_k,samples_ns,model_type,backends,test,n_gen\r\n"
                  "7,\"f16\",\"f16\",\"1e6 2000000\",\"w\",\"cpu\",\"tg8\",8\r\n"
                  ",\"f16\",\"f16\",\"\",\"w\",\"cpu\",\"tg9\",9",
                  &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(results.n, 2);
    assert_int_equal(results.records[0].n_samples, 2);
    assert_true(results.records[0].samples_ns[1] == 2e6);
    assert_int_equal(results.records[1].n_gen, 9);
    assert_int_equal(results.records[1].n_samples, 0);
    bench_results_deinit(&results);
}

static void test_bad_tables(void **state)
{
#define TITLES "test,backends,model_type,type_k,type_v,n_gen,samples_ns\n"
#define TEXTS  "\"t\",\"b\",\"m\",\"k\",\"v\","
    static const struct {
        const char *text, *why;
    } bad[] = {
        { TITLES, "no results" },
        { TITLES TEXTS "1\n", "line 2: fewer values than titles" },
        { TITLES TEXTS "1,\"2\",3\n", "line 2: more values than titles" },
        { TITLES TEXTS "1x,\"2\"\n", "line 2: no number: 1x" },
        { TITLES TEXTS "1.5,\"2\"\n", "\"n_gen\" has the wrong type" },
        { TITLES TEXTS "\"1\",\"2\"\n", "\"n_gen\" has the wrong type" },
        { TITLES TEXTS "1,\"2 x\"\n", "no number: 2 x" },
        { TITLES TEXTS "1,\"-2\"\n", "sample 0 is no time" },
        { TITLES TEXTS "1,\"2\n", "a quote has no end" },
        { TITLES TEXTS "1,\"2\"3\n", "no comma behind 2" },
        { TITLES "\"t\",3,\"m\",\"k\",\"v\",1,\"2\"\n", "\"backends\"" },
        { TITLES ",,,,,0,\n", "no test, backend" },
        { "samples_ns\n\n", "no test, backend" },
        { "test,n_gen\n" TEXTS "1\n", "not JSON" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(bad); i++) {
        struct bench_results results;
        struct erne_error err = { 0 };

        assert_int_equal(read_text(&results, bad[i].text, &err), ERNE_EFORMAT);
        if (!strstr(err.text, bad[i].why) || !strstr(err.text, "a.csv"))
            fail_msg("%s: %s", bad[i].why, err.text);
        bench_results_deinit(&results);
    }
}

static void test_no_memory(void **state)
{
    struct cli_text text = { 0 };
    struct bench_results results;
    struct erne_error err;
    int st;

    (void)state;
    write_record(&text, BENCH_CSV, "pp512", 1);
    for (size_t n = 1;
         alloc_fail_at(n), st = read_text(&results, text.data, &err), alloc_fail_hit();
         n++) {
        assert_int_equal(st, ERNE_ENOMEM);
        bench_results_deinit(&results);
    }
    assert_int_equal(st, 0);
    bench_results_deinit(&results);
    free(text.data);
}

/* ------------------------------------------------------------------- kept */

static void test_names(void **state)
{
    char name[64], small[8];

    (void)state;
    bench_machine_name(name, sizeof(name), "AMD EPYC (tm)  9B14", 2);
    assert_string_equal(name, "amd-epyc-tm-9b14-2cpu");
    bench_machine_name(name, sizeof(name), "", 4);
    assert_string_equal(name, "4cpu");
    bench_machine_name(name, sizeof(name), "../../x", 1);
    assert_string_equal(name, "x-1cpu");
    bench_machine_name(small, sizeof(small), "Cortex-A76", 1);
    assert_true(strlen(small) < sizeof(small));
}

static void keep(const char *test, double seconds, int status)
{
    const double samples[] = { seconds * 1e9 };
    const struct bench_record r = { .build_commit = "1",
                                    .cpu_info = "Test",
                                    .backends = "cpu",
                                    .model_type = "m",
                                    .type_k = "f16",
                                    .type_v = "f16",
                                    .test = test,
                                    .samples_ns = samples,
                                    .n_samples = 1 };
    struct erne_error err = { 0 };

    assert_int_equal(bench_keep(".", &r, 1, &err), status);
    assert_true(status == 0 || strstr(err.text, "cpu.csv: its columns"));
}

static void test_keep(void **state)
{
    char machine[64], path[80];
    struct cli_text text = { 0 };
    struct bench_results results = { 0 };
    struct erne_error err;
    FILE *file;

    (void)state;
    bench_machine_name(machine, sizeof(machine), "Test", pf_cpu_count());
    snprintf(path, sizeof(path), "./%s.csv", machine);
    pf_path_remove(path);
    keep("pp512", 1, 0);
    keep("tg128", 2, 0);
    keep("pp512", 3, 0);
    assert_int_equal(cli_text_read(&text, path, &err), 0);
    assert_int_equal(bench_results_read(&results, text.data, text.n, path, &err), 0);
    assert_int_equal(results.n, 2);
    assert_true(results.records[0].samples_ns[0] == 3e9);
    bench_results_deinit(&results);
    free(text.data);

    file = fopen(path, "w");
    assert_non_null(file);
    fputs("other,columns\n", file);
    fclose(file);
    keep("pp512", 1, ERNE_EFORMAT);
    pf_path_remove(path);
}

/* A file that cannot get its name leaves nothing behind. */
static void test_no_rename(void **state)
{
    static const char path[] = "no-rename", part[] = "no-rename.part";
    struct cli_newfile file = { 0 };
    struct erne_error err = { 0 };

    (void)state;
    rmdir(path);
    assert_int_equal(cli_newfile_create(&file, path, &err), 0);
    assert_int_equal(cli_newfile_append(&file, "x", 1, &err), 0);
    assert_int_equal(pf_dir_create(path), 0); /* meanwhile */
    assert_int_equal(cli_newfile_commit(&file, &err), ERNE_EIO);
    assert_non_null(strstr(err.text, path));
    cli_newfile_close(&file);
    assert_false(pf_path_exists(part));
    assert_int_equal(cli_newfile_try(path, "--x", &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "option --x: no-rename: a folder"));
    rmdir(path);
    assert_int_equal(cli_newfile_try(path, "--x", &err), 0);
    assert_false(pf_path_exists(path) || pf_path_exists(part));
}

/* Rows that are not complete do not take the place of those that are. */
static void test_keep_complete(void **state)
{
    const double samples[] = { 1e9 };
    struct bench_record rows[2] = { { .build_commit = "1",
                                      .cpu_info = "Other",
                                      .backends = "cpu",
                                      .model_type = "m",
                                      .type_k = "f16",
                                      .type_v = "f16",
                                      .test = "pp512",
                                      .samples_ns = samples,
                                      .n_samples = 1 } };
    struct cli_text text = { 0 };
    struct erne_error err;
    char machine[64], path[80];

    (void)state;
    rows[1] = rows[0];
    rows[1].test = "tg128";
    rows[1].error = "device lost";
    bench_machine_name(machine, sizeof(machine), "Other", pf_cpu_count());
    snprintf(path, sizeof(path), "./%s.csv", machine);
    pf_path_remove(path);
    assert_int_equal(bench_keep(".", rows, 2, &err), 0);
    assert_int_equal(cli_text_read(&text, path, &err), 0);
    assert_non_null(strstr(text.data, "pp512"));
    assert_null(strstr(text.data, "tg128"));
    pf_path_remove(path);
    free(text.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),   cmocka_unit_test(test_newest),
        cmocka_unit_test(test_edited),    cmocka_unit_test(test_bad_tables),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_names),
        cmocka_unit_test(test_keep),      cmocka_unit_test(test_keep_complete),
        cmocka_unit_test(test_no_rename),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
