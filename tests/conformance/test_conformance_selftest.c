/* test_conformance_selftest.c -- the conformance test must find what it is there to find:
 * a backend that is right passes, and backends with one planted fault each do not.
 *
 * The doubles implement gather_rows by their own loops; each fault is one of those that
 * real kernels had somewhere: a wrong tail, a row too many, a result that depends on the
 * number of threads, a scribbled-on input, an ignored stride, a NaN, a failure.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/conformance/conf_run.h"
#include "tests/support/shadow.h"

struct double_backend {
    struct erne_backend base;
    int n_threads;
};

/* dst [O, K] = x[rows]: a right one, for the faulty ones to start from. */
static int gather(const struct erne_node *node, const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X], *dst = node->dst;
    const int32_t *rows = node->src[ERNE_SRC_ROWS]->data;
    const int64_t m = node->src[ERNE_SRC_ROWS]->dim[1], k = x->dim[1];

    for (int64_t i = 0; i < step->n_out * m; i++)
        memcpy((float *)dst->data + i / m * dst->stride + i % m * k, op_row(x, rows[i]),
               (size_t)k * sizeof(float));
    return 0;
}

/* Element `column` of row `row` of dst. */
static float *at(const struct erne_node *node, int64_t row, int64_t column)
{
    return (float *)node->dst->data + row * node->dst->stride + column;
}

/* Another number, however large or small it is. */
static void spoil(float *x)
{
    *x = *x == 0.0f ? 1.0f : -*x;
}

static int run_right(struct erne_backend *be, const struct erne_node *node,
                     const struct erne_step *step)
{
    (void)be;
    return gather(node, step);
}

static int run_wrong_last(struct erne_backend *be, const struct erne_node *node,
                          const struct erne_step *step)
{
    (void)be;
    gather(node, step);
    spoil(at(node, step->n_out - 1, node->dst->dim[1] - 1));
    return 0;
}

static int run_missing_last(struct erne_backend *be, const struct erne_node *node,
                            const struct erne_step *step)
{
    float *last = at(node, step->n_out - 1, node->dst->dim[1] - 1);
    const float before = *last;

    (void)be;
    gather(node, step);
    *last = before;
    return 0;
}

static int run_nan(struct erne_backend *be, const struct erne_node *node,
                   const struct erne_step *step)
{
    (void)be;
    gather(node, step);
    *at(node, 0, 0) = NAN;
    return 0;
}

static int run_past_row(struct erne_backend *be, const struct erne_node *node,
                        const struct erne_step *step)
{
    (void)be;
    gather(node, step);
    *at(node, step->n_out - 1, node->dst->dim[1]) = 0.0f;
    return 0;
}

static int run_before_start(struct erne_backend *be, const struct erne_node *node,
                            const struct erne_step *step)
{
    (void)be;
    gather(node, step);
    *at(node, 0, -1) = 0.0f;
    return 0;
}

static int run_by_threads(struct erne_backend *be, const struct erne_node *node,
                          const struct erne_step *step)
{
    float *x = at(node, 0, 0);

    gather(node, step);
    if (((struct double_backend *)be)->n_threads == 3)
        *x = nextafterf(*x, INFINITY);
    return 0;
}

static int run_scribble(struct erne_backend *be, const struct erne_node *node,
                        const struct erne_step *step)
{
    (void)be;
    gather(node, step);
    spoil((float *)node->src[ERNE_SRC_X]->data);
    return 0;
}

static int run_failing(struct erne_backend *be, const struct erne_node *node,
                       const struct erne_step *step)
{
    (void)be;
    gather(node, step);
    return ERNE_EDEVICE;
}

static int prepare_never(struct erne_backend *be, struct erne_node *node)
{
    (void)be;
    (void)node;
    return ERNE_EUNSUPPORTED;
}

/* --------------------------------------------------------------- backend */

static int run_nodes(struct erne_backend *be, struct erne_node *const *nodes,
                     size_t n_nodes, const struct erne_step *step)
{
    for (size_t i = 0; i < n_nodes; i++)
        ERNE_TRY(nodes[i]->impl->run(be, nodes[i], step));
    return 0;
}

static int reserve(struct erne_backend *be, size_t n_bytes)
{
    (void)be;
    (void)n_bytes;
    return 0;
}

static void close_double(struct erne_backend *be)
{
    free(be);
}

static int open_double(struct erne_backend **out, const struct erne_backend_opts *opts,
                       struct erne_error *err)
{
    struct double_backend *d = calloc(1, sizeof(*d));

    if (!d)
        return erne_fail(err, ERNE_ENOMEM, "no memory");
    d->n_threads = opts->n_threads;
    *out = &d->base;
    return 0;
}

static int one_device(int (*visit)(void *user, const struct erne_device_info *info),
                      void *user)
{
    return visit(user, &(struct erne_device_info){ .backend = "double" });
}

/* Runs the conformance test on a backend that has this one implementation. */
static int failures_of(const struct erne_op_impl *impl, int *n_trials)
{
    const struct erne_op_impl *const impls[] = { impl, NULL };
    const struct erne_backend_fns fns = {
        .name = "double",
        .open = open_double,
        .close = close_double,
        .devices = one_device,
        .run = run_nodes,
        .reserve_scratch = reserve,
        .ops = { [ERNE_OP_GATHER_ROWS] = impls },
    };
    const struct erne_backend_fns *const backends[] = { &fns, NULL };
    const struct conf_options opts = { .rounds = 1, .seed = 1 };
    struct conf_run *run = calloc(1, sizeof(*run));
    int n_failed;

    assert_non_null(run);
    assert_int_equal(conf_open(run, backends, &opts, false), 0);
    assert_int_equal(run->n_lanes, 1);
    for (int b = 0; b < run->lanes[0].n_be; b++)
        run->lanes[0].be[b]->fns = &fns; /* open cannot know which double it is */
    n_failed = conf_test(run);
    *n_trials = 0;
    for (int i = 0; i < run->n_rows; i++)
        *n_trials += run->rows[i].n_trials;
    conf_close(run);
    free(run);
    return n_failed;
}

/* ----------------------------------------------------------------- tests */

static void test_right_passes(void **state)
{
    const struct erne_op_impl impl = { .name = "right", .run = run_right };
    int n_trials;

    (void)state;
    assert_int_equal(failures_of(&impl, &n_trials), 0);
    assert_true(n_trials > 0);
}

static void test_declining_is_no_failure(void **state)
{
    const struct erne_op_impl impl = { .name = "never", .prepare = prepare_never };
    int n_trials;

    (void)state;
    assert_int_equal(failures_of(&impl, &n_trials), 0);
    assert_int_equal(n_trials, 0);
}

/* Faults that show in every trial. */
static void test_faults_are_found(void **state)
{
    static const struct erne_op_impl faulty[] = {
        { .name = "wrong last element", .run = run_wrong_last },
        { .name = "last element left out", .run = run_missing_last },
        { .name = "NaN", .run = run_nan },
        { .name = "write past the row", .run = run_past_row },
        { .name = "write before the start", .run = run_before_start },
        { .name = "depends on threads", .run = run_by_threads },
        { .name = "changes its input", .run = run_scribble },
        { .name = "fails", .run = run_failing },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(faulty); i++) {
        int n_trials;
        const int n_failed = failures_of(&faulty[i], &n_trials);

        if (n_trials == 0 || n_failed != n_trials)
            fail_msg("%s: %d of %d trials failed", faulty[i].name, n_failed, n_trials);
    }
}

/* Trials of an operator on a device with memory of its own, and how many failed. */
static int device_failures(const char *op, struct shadow_config *config, int *n_trials)
{
    const struct conf_options opts = {
        .op = op, .backend = "shadow:1", .rounds = 1, .seed = 1, .hook = config
    };
    struct conf_run *run = calloc(1, sizeof(*run));
    int n_failed;

    assert_non_null(run);
    assert_int_equal(conf_open(run, shadow_backends, &opts, false), 0);
    assert_int_equal(run->n_lanes, 1);
    n_failed = conf_test(run);
    assert_int_equal(run->n_rows, 1);
    *n_trials = run->rows[0].n_trials;
    conf_close(run);
    free(run);
    assert_int_equal(config->n_ranges, 0);
    assert_int_equal(config->n_nodes, 0);
    assert_string_equal(config->breach, "");
    return n_failed;
}

/* What a device computes comes back, and what it computes wrongly shows. */
static void test_device(void **state)
{
    static const struct {
        const char *name;
        enum erne_op op;
    } ops[] = { { "rope", ERNE_OP_ROPE },
                { "kv_append", ERNE_OP_KV_APPEND },
                { "moe_route", ERNE_OP_MOE_ROUTE } };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(ops); i++) {
        struct shadow_config right = { 0 }, wrong = { .wrong_ops = 1u << ops[i].op };
        int n_trials, n_failed;

        assert_int_equal(device_failures(ops[i].name, &right, &n_trials), 0);
        assert_true(n_trials > 0);
        n_failed = device_failures(ops[i].name, &wrong, &n_trials);
        assert_int_equal(n_failed, n_trials);
    }
}

/* A bank of experts, none of them with memory beside the others. */
static void test_device_experts(void **state)
{
    struct shadow_config config = { 0 };
    int n_trials;

    (void)state;
    assert_int_equal(device_failures("moe_ffn", &config, &n_trials), 0);
    assert_true(n_trials > 0);
}

/* A case that the device has no memory for fails: the cases are small. */
static void test_device_full(void **state)
{
    struct shadow_config config = { .max_bytes = 1 };
    int n_trials;
    const int n_failed = device_failures("rope", &config, &n_trials);

    (void)state;
    assert_true(n_trials > 0);
    assert_int_equal(n_failed, n_trials);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_passes),
        cmocka_unit_test(test_declining_is_no_failure),
        cmocka_unit_test(test_faults_are_found),
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_device_experts),
        cmocka_unit_test(test_device_full),
    };

    return cmocka_run_group_tests_name("conformance", tests, NULL, NULL);
}
