/* test_cpu_backend.c -- the CPU backend around its operators: which instruction set it
 * takes, what it says of the machine, and how it stops. What the operators compute is
 * tested in tests/conformance and test_cpu_matmul.c. */
#include <string.h>

#include "backends/cpu/cpu.h"
#include "tests/support/unit.h"

static const struct erne_backend_fns *cpu_fns(void)
{
    const struct erne_backend_fns *fns = erne_backend_find("cpu");
    assert_non_null(fns);
    return fns;
}

static void test_isa_names(void **state)
{
    enum cpu_isa isa = CPU_ISA_COUNT;
    struct erne_error err = { 0 };
    (void)state;
    assert_int_equal(cpu_isa_parse(&isa, NULL, &err), ERNE_OK);
    assert_int_equal(isa, cpu_isa_detect());
    assert_int_equal(cpu_isa_parse(&isa, "auto", &err), ERNE_OK);
    assert_int_equal(isa, cpu_isa_detect());
    assert_int_equal(cpu_isa_parse(&isa, "c", &err), ERNE_OK);
    assert_int_equal(isa, CPU_ISA_C);
    assert_int_equal(cpu_isa_parse(&isa, "avx1024", &err), ERNE_EINVAL);
    assert_non_null(strstr(err.text, "avx1024"));
}

/* Every level up to the machine's is accepted, every level above it refused. */
static void test_isa_above_machine(void **state)
{
    (void)state;
    for (int level = 0; level < CPU_ISA_COUNT; level++) {
        enum cpu_isa isa = CPU_ISA_COUNT;
        struct erne_error err = { 0 };
        const char *name = cpu_isa_name((enum cpu_isa)level);
        int st = cpu_isa_parse(&isa, name, &err);
        if (level <= (int)cpu_isa_detect()) {
            assert_int_equal(st, ERNE_OK);
            assert_int_equal(isa, level);
        } else {
            assert_int_equal(st, ERNE_EUNSUPPORTED);
            assert_non_null(strstr(err.text, name));
        }
    }
}

/* The build really made each level: a file that was given no flags compiles to nothing,
 * and only this would tell. */
static void test_levels_differ(void **state)
{
    struct cpu_kernels kernels[CPU_ISA_COUNT];
    (void)state;
    for (int level = 0; level < CPU_ISA_COUNT; level++)
        cpu_kernels_init(&kernels[level], (enum cpu_isa)level);
#if defined(__x86_64__) || defined(__aarch64__)
#if defined(__x86_64__)
    const int last = CPU_ISA_COUNT - 1;
#else
    const int last = CPU_ISA_I8MM;
#endif
    for (int level = 1; level <= last; level++) {
        assert_true(kernels[level].quantise != kernels[level - 1].quantise);
        assert_true(kernels[level].attend[0] != kernels[level - 1].attend[0]);
    }
#endif
    for (int codec = 0; codec < ERNE_CODEC_COUNT; codec++) {
        if (erne_codec_is_int((uint8_t)codec))
            assert_non_null(kernels[0].tile_int[codec]);
        else
            assert_non_null(kernels[0].tile_float[codec]);
    }
}

static void test_open_refuses(void **state)
{
    struct erne_backend *be = NULL;
    struct erne_error err = { 0 };
    const struct erne_backend_opts opts = { .isa = "sse9", .n_threads = 1 };
    (void)state;
    assert_int_equal(cpu_fns()->open(&be, &opts, &err), ERNE_EINVAL);
    assert_null(be);
    cpu_fns()->close(NULL);
}

static int count_device(void *user, const struct erne_device_info *info)
{
    assert_string_equal(info->backend, "cpu");
    assert_true(strlen(info->name) > 0);
    assert_non_null(strstr(info->detail, cpu_isa_name(cpu_isa_detect())));
    ++*(int *)user;
    return 0;
}

static void test_devices(void **state)
{
    int n = 0;
    (void)state;
    assert_int_equal(cpu_fns()->devices(count_device, &n), ERNE_OK);
    assert_int_equal(n, 1);
}

/* ---------------------------------------------------------------- run */

/* What the nodes of the next test do to the run, and what each saw of it. */
struct trace {
    atomic_int *cancel;    /* set by the first node */
    int status;            /* answered by the first node's thread 0 */
    atomic_int n_calls[2]; /* threads that came to each node */
};

static int act_run(struct erne_backend *be, const struct erne_node *node,
                   const struct erne_step *step)
{
    struct trace *trace = node->state;
    const bool is_first = node->op == ERNE_OP_EMBED;
    (void)be;
    (void)step;
    atomic_fetch_add(&trace->n_calls[is_first ? 0 : 1], 1);
    if (!is_first || cpu_thread() != 0)
        return ERNE_OK;
    if (trace->cancel != NULL)
        atomic_store(trace->cancel, 1);
    return trace->status;
}

static const struct erne_op_impl act = { .name = "act", .run = act_run };

/* Runs two nodes, the first of which cancels or fails; answers the backend's status. */
static int run_two(struct trace *trace, int n_threads, const atomic_int *cancel)
{
    const struct erne_backend_opts opts = { .n_threads = n_threads };
    struct erne_node first = { .op = ERNE_OP_EMBED, .impl = &act, .state = trace };
    struct erne_node second = { .op = ERNE_OP_ROPE, .impl = &act, .state = trace };
    struct erne_node *const nodes[] = { &first, &second };
    const struct erne_step step = { .n_tok = 1, .cancel = cancel };
    struct erne_backend *be = NULL;
    assert_int_equal(cpu_fns()->open(&be, &opts, NULL), ERNE_OK);
    int st = cpu_fns()->run(be, nodes, 2, &step);
    cpu_fns()->close(be);
    return st;
}

static void test_whole_team_runs(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        struct trace trace = { 0 };
        assert_int_equal(run_two(&trace, n, NULL), ERNE_OK);
        assert_int_equal(trace.n_calls[0], n);
        assert_int_equal(trace.n_calls[1], n);
    }
}

static void test_cancel_between_nodes(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        atomic_int cancel = 0;
        struct trace trace = { .cancel = &cancel };
        assert_int_equal(run_two(&trace, n, &cancel), ERNE_ECANCELLED);
        assert_int_equal(trace.n_calls[0], n);
        assert_int_equal(trace.n_calls[1], 0);
        trace.cancel = NULL; /* still set: nothing starts */
        assert_int_equal(run_two(&trace, n, &cancel), ERNE_ECANCELLED);
        assert_int_equal(trace.n_calls[0], n);
    }
}

/* One thread's failure ends the run for all of them, at the same node. */
static void test_failure_of_one_thread(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        struct trace trace = { .status = ERNE_EDEVICE };
        assert_int_equal(run_two(&trace, n, NULL), ERNE_EDEVICE);
        assert_int_equal(trace.n_calls[0], n);
        assert_int_equal(trace.n_calls[1], 0);
    }
}

static void test_scratch_only_grows(void **state)
{
    const struct erne_backend_opts opts = { .n_threads = 1 };
    struct erne_backend *be = NULL;
    (void)state;
    assert_int_equal(cpu_fns()->open(&be, &opts, NULL), ERNE_OK);
    assert_int_equal(cpu_fns()->reserve_scratch(be, 0), ERNE_OK);
    assert_int_equal(cpu_fns()->reserve_scratch(be, 1 << 20), ERNE_OK);
    uint8_t *scratch = cpu_of(be)->scratch;
    scratch[(1 << 20) - 1] = 1;
    assert_int_equal(cpu_fns()->reserve_scratch(be, 100), ERNE_OK);
    assert_ptr_equal(cpu_of(be)->scratch, scratch);
    assert_int_equal(cpu_fns()->reserve_scratch(be, SIZE_MAX / 2), ERNE_ENOMEM);
    assert_ptr_equal(cpu_of(be)->scratch, scratch);
    cpu_fns()->close(be);
}

static void count_warnings(void *user, enum erne_log_level level, const char *text)
{
    int *n = user;
    if (level == ERNE_LOG_WARN && strstr(text, "processors") != NULL)
        (*n)++;
}

/* More threads than processors are the caller's choice, and told. */
static void test_too_many_threads_are_told(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct erne_backend *be = NULL;
        struct erne_error err = { 0 };
        int n = 0;
        const struct erne_backend_opts opts = { .n_threads = pf_cpu_count() + more,
                                                .log = count_warnings,
                                                .log_user = &n };
        assert_int_equal(cpu_fns()->open(&be, &opts, &err), ERNE_OK);
        assert_int_equal(n, more);
        cpu_fns()->close(be);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_isa_names),
        cmocka_unit_test(test_isa_above_machine),
        cmocka_unit_test(test_levels_differ),
        cmocka_unit_test(test_open_refuses),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_too_many_threads_are_told),
        cmocka_unit_test(test_whole_team_runs),
        cmocka_unit_test(test_cancel_between_nodes),
        cmocka_unit_test(test_failure_of_one_thread),
        cmocka_unit_test(test_scratch_only_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
