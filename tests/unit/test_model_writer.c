/* test_model_writer.c -- the .erne container is written, by any number of threads, and
 * resumed after a kill, always to the same bytes. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/sample_file.h"

#define FILE_A "test_model_writer_a.erne"
#define FILE_B "test_model_writer_b.erne"
#define FILE_C "test_model_writer_c.erne"

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
    pf_path_remove(FILE_A ".part");
    pf_path_remove(FILE_B ".part");
    check_ok(sample_golden_init(&g, FILE_A, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sample_golden_deinit(&g);
    pf_path_remove(FILE_A);
    pf_path_remove(FILE_B);
    pf_path_remove(FILE_C);
    return 0;
}

static uint64_t u64_at(size_t offset)
{
    uint64_t x = 0;

    for (size_t i = 8; i-- > 0;)
        x = x << 8 | g.bytes[offset + i];
    return x;
}

static void check_is_golden(const char *path)
{
    size_t n;
    uint8_t *data = sample_load(path, &n);

    assert_non_null(data);
    assert_int_equal(n, g.n_bytes);
    assert_memory_equal(data, g.bytes, n);
    free(data);
}

/* What is written can be read for the logits that are to come. */
static void test_open_part(void **state)
{
    struct erne_model_writer *w;
    struct erne_model_file mf;
    struct erne_error err;
    size_t n_resumed;

    (void)state;
    check_ok(erne_writer_open(&w, FILE_B, &g.sample.plan, &n_resumed, &err), &err);
    assert_int_equal(erne_writer_open_part(w, &mf, &err), ERNE_EFORMAT);
    assert_non_null(strstr(err.text, "never written"));
    for (size_t i = 0; i < SAMPLE_N_TENSORS; i++)
        check_ok(sample_write_tensor(&g.sample, w, i, &err), &err);
    check_ok(erne_writer_open_part(w, &mf, &err), &err);
    assert_null(mf.golden.tokens);
    assert_int_equal(mf.n_tensors, SAMPLE_N_TENSORS);
    for (size_t i = 0; i < SAMPLE_N_TENSORS; i++)
        check_ok(erne_model_file_check(&mf.tensors[i], &err), &err);
    erne_model_file_close(&mf);
    assert_int_equal(erne_model_file_open(&mf, FILE_B ".part", &err), ERNE_EFORMAT);
    assert_int_equal(erne_writer_finish(&w, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "golden logits were not written"));
    pf_path_remove(FILE_B ".part");
}

static void test_layout(void **state)
{
    uint64_t file_bytes, offsets[SAMPLE_N_TENSORS];
    struct erne_model_file mf;
    struct erne_error err;

    (void)state;
    check_ok(erne_writer_layout(&g.sample.plan, &file_bytes, offsets, &err), &err);
    assert_int_equal(file_bytes, g.n_bytes);
    check_ok(erne_model_file_open(&mf, FILE_A, &err), &err);
    for (size_t i = 0; i < SAMPLE_N_TENSORS; i++)
        assert_int_equal(mf.tensors[i].offset, offsets[i]);
    erne_model_file_close(&mf);
    check_ok(erne_writer_layout(&g.sample.plan, &file_bytes, NULL, &err), &err);
}

static struct erne_model_writer *open_writer_at(const char *path, uint64_t sync_bytes,
                                                size_t *n_resumed)
{
    struct erne_writer_plan plan = g.sample.plan;
    struct erne_model_writer *w;
    struct erne_error err;

    plan.sync_bytes = sync_bytes;
    check_ok(erne_writer_open(&w, path, &plan, n_resumed, &err), &err);
    return w;
}

static struct erne_model_writer *open_writer(uint64_t sync_bytes, size_t *n_resumed)
{
    return open_writer_at(FILE_B, sync_bytes, n_resumed);
}

/* What a kill leaves behind: the bytes of FILE_B.part at this moment. Resumes from a copy
 * and expects n_done tensors to be kept and the finished file to be the golden one. */
static void check_resume_from_here(size_t n_done)
{
    size_t n_bytes, n_resumed;
    uint8_t *part = sample_load(FILE_B ".part", &n_bytes);
    struct erne_model_writer *w;
    struct erne_model_file mf;
    struct erne_error err;

    assert_non_null(part);
    assert_int_equal(erne_model_file_open(&mf, FILE_B ".part", &err), ERNE_EFORMAT);
    assert_int_equal(sample_store(FILE_C ".part", part, n_bytes), ERNE_OK);
    free(part);
    w = open_writer_at(FILE_C, 0, &n_resumed); /* few syncs: they are slow */
    check_ok(sample_complete(&g.sample, &w, &err), &err);
    assert_int_equal(n_resumed, n_done);
    check_is_golden(FILE_C);
    assert_false(pf_path_exists(FILE_C ".part"));
}

/* Tensors in another order, a kill after each; first with a sync a tensor, so that each
 * that is done is kept, then with syncs so rare that none is. */
static void test_resume_after_kill(void **state)
{
    static const size_t order[SAMPLE_N_TENSORS] = { 3, 0, 5, 1, 4, 2 };
    struct erne_model_writer *w;
    struct erne_error err;
    size_t n_resumed;

    (void)state;
    for (int rare = 0; rare <= 1; rare++) {
        w = open_writer(rare ? (uint64_t)1 << 40 : 1, &n_resumed);
        assert_int_equal(n_resumed, 0);
        check_resume_from_here(0);
        for (size_t i = 0; i < SAMPLE_N_TENSORS; i++) {
            check_ok(erne_writer_write(w, order[i], 0, "half a tensor", 13, &err), &err);
            check_resume_from_here(rare ? 0 : i);
            check_ok(sample_write_tensor(&g.sample, w, order[i], &err), &err);
            check_resume_from_here(rare ? 0 : i + 1);
        }
        erne_writer_abandon(&w);
        assert_null(w);
        pf_path_remove(FILE_B ".part");
    }
}

/* abandon keeps what is done even when no sync was due. */
static void test_abandon(void **state)
{
    struct erne_model_writer *w = NULL;
    struct erne_error err;
    size_t n_resumed;

    (void)state;
    erne_writer_abandon(NULL);
    erne_writer_abandon(&w);
    for (size_t i = 0; i < SAMPLE_N_TENSORS; i++) {
        w = open_writer(0, &n_resumed);
        assert_int_equal(n_resumed, i);
        assert_false(erne_writer_is_done(w, i));
        check_ok(sample_write_tensor(&g.sample, w, i, &err), &err);
        assert_true(erne_writer_is_done(w, i));
        erne_writer_abandon(&w);
    }
    w = open_writer(0, &n_resumed);
    assert_int_equal(n_resumed, SAMPLE_N_TENSORS);
    check_ok(sample_complete(&g.sample, &w, &err), &err);
    check_is_golden(FILE_B);
}

/* A finished file that was only not renamed yet, one whose header was finished but not
 * its end, one cut short, and one with damaged records. */
static void test_resume_late_and_damaged(void **state)
{
    uint8_t *copy = malloc(g.n_bytes);
    struct erne_model_writer *w;
    size_t n_resumed;

    (void)state;
    assert_int_equal(sample_store(FILE_B ".part", g.bytes, g.n_bytes), ERNE_OK);
    w = open_writer(1, &n_resumed);
    assert_int_equal(n_resumed, SAMPLE_N_TENSORS);
    erne_writer_abandon(&w);
    memcpy(copy, g.bytes, g.n_bytes);
    memset(copy + g.n_bytes - 32, 0, 32);
    assert_int_equal(sample_store(FILE_B ".part", copy, g.n_bytes), ERNE_OK);
    check_resume_from_here(SAMPLE_N_TENSORS);
    assert_int_equal(sample_store(FILE_B ".part", g.bytes, g.n_bytes - 1000), ERNE_OK);
    check_resume_from_here(SAMPLE_N_TENSORS - 1);
    assert_int_equal(sample_store(FILE_B ".part", g.bytes, 300), ERNE_OK);
    check_resume_from_here(0);
    assert_int_equal(sample_store(FILE_B ".part", g.bytes, 0), ERNE_OK);
    w = open_writer(1, &n_resumed);
    assert_int_equal(n_resumed, 0);
    erne_writer_abandon(&w);
    copy[u64_at(96 + 8) + 2 * 128 + 105] ^= 1; /* the hash of record 2 */
    assert_int_equal(sample_store(FILE_B ".part", copy, g.n_bytes), ERNE_OK);
    check_resume_from_here(SAMPLE_N_TENSORS - 1);
    pf_path_remove(FILE_B ".part");
    free(copy);
}

static void test_other_plan_starts_anew(void **state)
{
    struct erne_writer_plan plan = g.sample.plan;
    struct erne_writer_tensor tensors[SAMPLE_N_TENSORS];
    struct erne_model_writer *w;
    struct erne_error err;
    size_t n_resumed;

    (void)state;
    memcpy(tensors, g.sample.tensors, sizeof(tensors));
    tensors[1].k--; /* the same offsets and sizes elsewhere */
    plan.tensors = tensors;
    w = open_writer(1, &n_resumed);
    check_ok(sample_write_tensor(&g.sample, w, 0, &err), &err);
    erne_writer_abandon(&w);
    check_ok(erne_writer_open(&w, FILE_B, &plan, &n_resumed, &err), &err);
    assert_int_equal(n_resumed, 0);
    erne_writer_abandon(&w);
    w = open_writer(1, &n_resumed);
    assert_int_equal(n_resumed, 0);
    check_ok(sample_complete(&g.sample, &w, &err), &err);
    check_is_golden(FILE_B);
}

static void test_writer_refuses(void **state)
{
    struct erne_writer_plan plan = g.sample.plan;
    struct erne_writer_tensor tensors[SAMPLE_N_TENSORS];
    struct erne_model_writer *w;
    struct erne_error err;
    uint64_t file_bytes;
    size_t n_resumed;

    (void)state;
    memcpy(tensors, g.sample.tensors, sizeof(tensors));
    plan.tensors = tensors;
    strcpy(tensors[1].name, "zeta");
    assert_int_equal(erne_writer_layout(&plan, &file_bytes, NULL, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "zeta"));
    memset(tensors[1].name, 'a', sizeof(tensors[1].name));
    assert_int_equal(erne_writer_layout(&plan, &file_bytes, NULL, &err), ERNE_EINVAL);
    strcpy(tensors[1].name, "with space");
    assert_int_equal(erne_writer_layout(&plan, &file_bytes, NULL, &err), ERNE_EINVAL);
    strcpy(tensors[1].name, "norm");
    tensors[1].n = 0;
    assert_int_equal(erne_writer_layout(&plan, &file_bytes, NULL, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "norm"));
    assert_int_equal(
        erne_writer_open(&w, "no_such_dir/x.erne", &g.sample.plan, &n_resumed, &err),
        ERNE_EIO);
    assert_non_null(strstr(err.text, "no_such_dir/x.erne.part"));

    w = open_writer(1, &n_resumed);
    assert_int_equal(erne_writer_write(w, 1, 0, g.bytes, 133, &err), ERNE_EINVAL);
    assert_int_equal(erne_writer_write(w, 1, 133, g.bytes, 0, &err), ERNE_EINVAL);
    assert_int_equal(erne_writer_write(w, 1, UINT64_MAX, g.bytes, 2, &err), ERNE_EINVAL);
    assert_int_equal(erne_writer_write(w, 1, 132, g.bytes, 0, &err), ERNE_OK);
    assert_int_equal(erne_writer_finish(&w, &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "embed"));
    assert_null(w);
    pf_path_remove(FILE_B ".part");
}

/* ------------------------------------------------------ threads, allocation */

struct worker {
    struct erne_model_writer *w;
    size_t first;
    int status;
};

static void write_every_second(void *arg)
{
    struct worker *worker = arg;

    for (size_t i = worker->first; i < SAMPLE_N_TENSORS && worker->status == ERNE_OK;
         i += 2)
        worker->status = sample_write_tensor(&g.sample, worker->w, i, NULL);
}

static void test_threads(void **state)
{
    struct worker workers[2];
    struct pf_thread *threads[2];
    struct erne_error err;
    size_t n_resumed;
    struct erne_model_writer *w = open_writer(30000, &n_resumed);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        workers[i] = (struct worker){ .w = w, .first = i };
        assert_int_equal(pf_thread_create(&threads[i], write_every_second, &workers[i]),
                         0);
    }
    for (size_t i = 0; i < 2; i++) {
        pf_thread_join(&threads[i]);
        assert_int_equal(workers[i].status, ERNE_OK);
    }
    check_ok(sample_complete(&g.sample, &w, &err), &err);
    check_is_golden(FILE_B);
}

static void test_allocation_failures(void **state)
{
    struct erne_error err;
    int st;

    (void)state;
    for (size_t n = 1;
         alloc_fail_at(n), st = sample_write(&g.sample, FILE_B, &err), alloc_fail_hit();
         n++)
        assert_int_equal(st, ERNE_ENOMEM);
    check_ok(st, &err);
    check_is_golden(FILE_B);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_part),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_resume_after_kill),
        cmocka_unit_test(test_abandon),
        cmocka_unit_test(test_resume_late_and_damaged),
        cmocka_unit_test(test_other_plan_starts_anew),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_allocation_failures),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
