/* test_vulkan.c -- the Vulkan backend's own ways: memory shared, copied and staged, the
 * file of compiled pipelines, and every call to the driver failing in turn. What the
 * operators compute is the conformance tests' business. Skips without a device.
 */
#include "tests/support/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vk_ops.h"
#include "runtime/engine.h"
#include "tests/support/one_node.h"
#include "tests/support/tiny_model.h"

extern const struct erne_backend_fns erne_backend_vulkan, erne_backend_reference;

#define MODEL "test_vulkan.erne"
enum { SKIPPED = 77, N_TOKENS = 12, EVERY_CALL = -1 };

/* ------------------------------------------------- failing the n-th call */

struct injector {
    struct vk_fault fault;
    int n_seen, fail_at; /* fail_at: the call that fails; 0: none */
    int kind;            /* enum vk_call that counts; EVERY_CALL */
    int code;            /* the VkResult */
};

static int answer(void *user, int call)
{
    struct injector *in = user;

    if (in->kind != EVERY_CALL && in->kind != call)
        return VK_SUCCESS;
    return ++in->n_seen == in->fail_at ? in->code : VK_SUCCESS;
}

static struct injector injector(int kind, int fail_at, int code)
{
    return (struct injector){ .kind = kind, .fail_at = fail_at, .code = code };
}

static void arm(struct injector *in)
{
    in->fault.answer = answer;
    in->fault.user = in;
}

static void count_compiled(struct erne_backend *be, void *user)
{
    if (user)
        *(size_t *)user = vk_of(be)->pipelines.n_compiled;
}

/* A whole life of the backend; n_compiled may be NULL. */
static int live(void *fault, const char *cache_dir, int device, size_t *n_compiled)
{
    const struct erne_backend_opts opts = {
        .n_threads = 1, .cache_dir = cache_dir, .device = device, .hook = fault
    };

    return one_node_live(&erne_backend_vulkan, &opts, count_compiled, n_compiled);
}

/* ------------------------------------------------------------------- tests */

static void test_memory(void **state)
{
    struct vk_fault copies = { .no_host_import = true };
    struct vk_fault staged = { .no_host_import = true, .staged = true };

    (void)state;
    assert_int_equal(live(NULL, NULL, 0, NULL), 0);
    assert_int_equal(live(&copies, NULL, 0, NULL), 0);
    assert_int_equal(live(&staged, NULL, 0, NULL), 0);
}

static void test_absent(void **state)
{
    struct vk_fault nothing = { .loader = "liberne-no-such-loader.so" };
    struct injector driver =
        injector(VK_CALL_CreateInstance, 1, VK_ERROR_INCOMPATIBLE_DRIVER);

    (void)state;
    arm(&driver);
    assert_int_equal(live(&nothing, NULL, 0, NULL), ERNE_EUNSUPPORTED);
    assert_int_equal(live(&driver.fault, NULL, 0, NULL), ERNE_EUNSUPPORTED);
    assert_int_equal(live(NULL, NULL, 99, NULL), ERNE_EUNSUPPORTED);
}

/* Every call in turn, out of memory and lost, in each way of using memory. */
static void test_every_call(void **state)
{
    static const int codes[] = { VK_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_DEVICE_LOST };

    (void)state;
    for (int mode = 0; mode < 3; mode++)
        for (size_t c = 0; c < ERNE_ARRAY_LEN(codes); c++) {
            int n_failed = 0, n = 1;

            for (bool reached = true; reached; n++) {
                struct injector in = injector(EVERY_CALL, n, codes[c]);
                int st;

                arm(&in);
                in.fault.no_host_import = mode > 0;
                in.fault.staged = mode > 1;
                st = live(&in.fault, NULL, 0, NULL);
                reached = in.n_seen >= n;
                n_failed += st < 0;
                if (st < 0 && st != ERNE_ENOMEM && st != ERNE_EDEVICE)
                    assert_int_equal(st, ERNE_EUNSUPPORTED);
            }
            /* Some failures are got over: of the cache, or of host memory. */
            assert_true(n > 20 && n_failed > n / 2);
        }
}

static void test_hang(void **state)
{
    struct injector in = injector(VK_CALL_WaitForFences, 1, VK_TIMEOUT);

    (void)state;
    arm(&in);
    assert_int_equal(live(&in.fault, NULL, 0, NULL), ERNE_EDEVICE);
}

/* The backend's cache file in the current folder, read or (data) written. */
static size_t cache_file(uint8_t *data, size_t cap, size_t n_write)
{
    char **names;
    size_t n_names, n = 0;

    assert_int_equal(pf_dir_list(".", &names, &n_names), 0);
    for (size_t i = 0; i < n_names; i++) {
        struct pf_file *file;
        uint64_t n_bytes;

        if (strncmp(names[i], "vulkan-", 7) != 0)
            continue;
        assert_true(strcmp(names[i] + strlen(names[i]) - 6, ".cache") == 0);
        assert_int_equal(pf_file_open(&file, names[i], n_write ? PF_WRITE_NEW : PF_READ),
                         0);
        if (n_write) {
            assert_int_equal(pf_file_write_at(file, data, n_write, 0), 0);
        } else {
            assert_int_equal(pf_file_size(file, &n_bytes), 0);
            assert_true(n_bytes <= cap);
            assert_int_equal(pf_file_read_at(file, data, (size_t)n_bytes, 0), 0);
            n = (size_t)n_bytes;
        }
        pf_file_close(&file);
        if (!cap)
            pf_path_remove(names[i]);
    }
    pf_dir_free(names, n_names);
    return n;
}

/* The second start compiles nothing; a file that is cut or changed is as good as none. */
static void test_cache(void **state)
{
    enum { CAP = 1 << 22 };
    uint8_t *data = malloc(CAP), byte = 0;
    size_t n, n_compiled;

    (void)state;
    assert_non_null(data);
    assert_int_equal(live(NULL, ".", 0, &n_compiled), 0);
    assert_int_equal(n_compiled, 1);
    assert_int_equal(live(NULL, ".", 0, &n_compiled), 0);
    assert_int_equal(n_compiled, 0);
    n = cache_file(data, CAP, 0);
    assert_true(n > 32);
    for (size_t cut = 1; cut < n; cut += n / 7) {
        cache_file(data, CAP, cut);
        assert_int_equal(live(NULL, ".", 0, &n_compiled), 0);
        assert_int_equal(n_compiled, 1);
        data[cut] ^= 4;
        cache_file(data, CAP, n);
        assert_int_equal(live(NULL, ".", 0, &n_compiled), 0);
        assert_int_equal(n_compiled, 1);
        data[cut] ^= 4;
    }
    cache_file(&byte, 0, 1);
    free(data);
}

/* ------------------------------------------------------------- a whole model */

/* Counts the planner's lines about nodes that the device does not take. */
static void count_declined(void *user, enum erne_log_level level, const char *line)
{
    (void)level;
    *(int *)user += strstr(line, " declined by ") != NULL;
}

/* Logits of the last token after a prompt and after three more. */
static void converse(const struct erne_backend_fns *first, void *hook, int n_ctx,
                     float *logits, int n_vocab, int *n_declined)
{
    const struct erne_backend_fns *const list[] = { first, &erne_backend_reference,
                                                    NULL };
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_session_opts session_opts = erne_session_opts_default();
    struct erne_engine *e = NULL;
    struct erne_session *s = NULL;
    struct erne_error err = { 0 };
    int32_t tokens[N_TOKENS];

    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = (i * 37 + 11) % n_vocab;
    *n_declined = 0;
    opts.backend = first->name;
    opts.log = count_declined;
    opts.log_user = n_declined;
    session_opts.n_ctx = n_ctx;
    session_opts.n_batch = 8;
    if (erne_engine_open_on(&e, MODEL, &opts, list, hook, &err) < 0)
        fail_msg("%s", err.text);
    if (erne_session_create(&s, e, &session_opts, &err) < 0)
        fail_msg("%s", err.text);
    for (int i = 0; i < 4; i++) {
        const int n = i == 0 ? N_TOKENS - 3 : 1;

        if (erne_session_eval(s, tokens + (i == 0 ? 0 : N_TOKENS - 4 + i), (size_t)n,
                              NULL, &err) < 0)
            fail_msg("%s", err.text);
        memcpy(logits + i * n_vocab, erne_session_logits(s),
               (size_t)n_vocab * sizeof(float));
    }
    erne_session_destroy(&s);
    erne_engine_close(&e);
}

/* Logits of a conversation: those of the reference, and those of whom it is tried on. */
struct talk {
    float *want, *got;
    size_t n;
};

static void begin_talk(struct talk *t, const struct erne_model_desc *desc,
                       const char *scheme)
{
    struct erne_error err;
    int n_declined;

    t->n = 4 * (size_t)desc->n_vocab;
    t->want = calloc(t->n, sizeof(float));
    t->got = calloc(t->n, sizeof(float));
    assert_non_null(t->want);
    assert_non_null(t->got);
    if (tiny_model_write(MODEL, desc, scheme, 7, &err) < 0)
        fail_msg("%s", err.text);
    converse(&erne_backend_reference, NULL, 64, t->want, desc->n_vocab, &n_declined);
}

/* what, i: which of the tries */
static void check_talk(const struct talk *t, const char *what, size_t i)
{
    for (size_t j = 0; j < t->n; j++)
        if (!(fabs((double)t->got[j] - (double)t->want[j]) <= 1e-3))
            fail_msg("%s %zu, logit %zu: %g, want %g", what, i, j, (double)t->got[j],
                     (double)t->want[j]);
}

static void end_talk(struct talk *t)
{
    free(t->want);
    free(t->got);
    pf_path_remove(MODEL);
}

/* Lost, hung, out of memory or unable to compile: the session goes on without. */
static void test_model_goes_on(void **state)
{
    static const struct {
        int kind, fail_at, code;
    } faults[] = {
        { EVERY_CALL, 0, VK_SUCCESS },
        { VK_CALL_QueueSubmit, 1, VK_ERROR_DEVICE_LOST },
        { VK_CALL_QueueSubmit, 3, VK_ERROR_DEVICE_LOST },
        { VK_CALL_WaitForFences, 2, VK_TIMEOUT },
        { VK_CALL_CreateComputePipelines, 2, VK_ERROR_UNKNOWN },
        { VK_CALL_AllocateMemory, 3, VK_ERROR_OUT_OF_DEVICE_MEMORY },
        { VK_CALL_CreateComputePipelines, 3, VK_ERROR_OUT_OF_DEVICE_MEMORY },
        { VK_CALL_QueueSubmit, 2, VK_ERROR_OUT_OF_DEVICE_MEMORY },
        { VK_CALL_CreateDescriptorPool, 1, VK_ERROR_OUT_OF_DEVICE_MEMORY },
        { VK_CALL_AllocateDescriptorSets, 20, VK_ERROR_OUT_OF_POOL_MEMORY },
    };
    const struct erne_model_desc desc = tiny_model_desc();
    struct talk talk;
    int n_declined;

    (void)state;
    begin_talk(&talk, &desc, "w8");
    for (size_t i = 0; i < ERNE_ARRAY_LEN(faults); i++) {
        struct injector in = injector(faults[i].kind, faults[i].fail_at, faults[i].code);

        arm(&in);
        converse(&erne_backend_vulkan, &in.fault, 64, talk.got, desc.n_vocab,
                 &n_declined);
        check_talk(&talk, "fault", i);
    }
    end_talk(&talk);
}

/* Every wait from the n-th on is in vain, whatever the driver does meanwhile. */
static int answer_late(void *user, int call)
{
    struct injector *in = user;

    if (call != VK_CALL_WaitForFences)
        return VK_SUCCESS;
    return ++in->n_seen >= in->fail_at ? VK_TIMEOUT : VK_SUCCESS;
}

/* A step that takes longer than anyone waits: the session goes on while the driver may
 * still work in memory of the host's, which is left to it. */
static void test_late(void **state)
{
    static const bool copies[] = { false, true };
    struct erne_model_desc desc = tiny_model_desc();
    struct talk talk;
    int n_declined;

    (void)state;
    desc.n_vocab = 40000; /* so that it does */
    begin_talk(&talk, &desc, "f32");
    for (size_t i = 0; i < ERNE_ARRAY_LEN(copies); i++)
        for (int at = 1; at <= 3; at += 2) {
            struct injector in = { .fault = { .answer = answer_late,
                                              .no_host_import = copies[i] },
                                   .fail_at = at };

            in.fault.user = &in;
            ERNE_LEAKS_BEGIN(); /* what the driver still works with */
            converse(&erne_backend_vulkan, &in.fault, 64, talk.got, desc.n_vocab,
                     &n_declined);
            ERNE_LEAKS_END();
            assert_int_equal(in.n_seen, at + 1); /* the device got its time once more */
            check_talk(&talk, "way", i);
        }
    end_talk(&talk);
}

/* A table of tokens of some megabytes and a KV cache of four, where an allocation may
 * have two and a binding one: the device computes all the same, from several of both. */
static void test_small_limits(void **state)
{
    enum { N_CTX = 15000 };
    struct vk_fault ways[] = { { 0 },
                               { .no_host_import = true },
                               { .no_host_import = true, .staged = true } };
    struct erne_model_desc desc = tiny_model_desc();
    struct talk talk;
    int n_declined;

    (void)state;
    desc.n_ctx_train = N_CTX;
    desc.n_vocab = 20000;
    begin_talk(&talk, &desc, "f32");
    for (size_t i = 0; i < ERNE_ARRAY_LEN(ways); i++) {
        ways[i].max_alloc = 2 << 20;
        ways[i].max_binding = 1 << 20;
        ways[i].max_groups = 32; /* of tiles of the table there are ten times as many */
        converse(&erne_backend_vulkan, &ways[i], N_CTX, talk.got, desc.n_vocab,
                 &n_declined);
        assert_int_equal(n_declined, 0);
        check_talk(&talk, "way", i);
    }
    end_talk(&talk);
}

/* Rows of a batch are more than a dispatch may have workgroups. */
static void test_few_groups(void **state)
{
    const struct erne_model_desc desc = tiny_model_desc();
    struct talk talk;

    (void)state;
    begin_talk(&talk, &desc, "w8");
    for (size_t n = 7; n <= 8; n++) {
        struct vk_fault fault = { .max_groups = n };
        int n_declined;

        converse(&erne_backend_vulkan, &fault, 64, talk.got, desc.n_vocab, &n_declined);
        assert_int_equal(n_declined > 0, n < 8);
        check_talk(&talk, "groups", n);
    }
    end_talk(&talk);
}

/* What prepare says of attention with heads of d columns. */
static int prepare_heads(struct erne_backend *be, int32_t d)
{
    struct erne_tensor rows = { .type = ERNE_TYPE_F32, .dim = { 3, d }, .stride = d };
    struct erne_tensor bounds = { .type = ERNE_TYPE_I32, .dim = { 3, 2 }, .stride = 2 };
    struct erne_node node = {
        .op = ERNE_OP_SEGMENT_ATTENTION,
        .params.segment_attention = { .n_heads = 1, .head_dim = d, .scale = 1 },
        .dst = &rows,
    };

    node.src[ERNE_SRC_X] = node.src[ERNE_SRC_K] = node.src[ERNE_SRC_V] = &rows;
    node.src[ERNE_SRC_BOUNDS] = &bounds;
    return vk_segment_attention.prepare(be, &node);
}

/* Heads are larger than what a workgroup may share, or shaders need more than it may. */
static void test_small_shared(void **state)
{
    struct vk_fault few = { .max_shared = 16384 }, too_few = { .max_shared = 16383 };
    struct erne_backend_opts opts = { .n_threads = 1, .hook = &few };
    struct erne_backend *be;

    (void)state;
    assert_int_equal(erne_backend_vulkan.open(&be, &opts, NULL), 0);
    assert_int_equal(prepare_heads(be, 16384 / 4 - 69), 0);
    assert_int_equal(prepare_heads(be, 16384 / 4 - 68), ERNE_EUNSUPPORTED);
    erne_backend_vulkan.close(be);
    opts.hook = &too_few;
    assert_int_equal(erne_backend_vulkan.open(&be, &opts, NULL), ERNE_EUNSUPPORTED);
}

/* Weights wait in a small staging buffer until it is full: those that a failed submission
 * takes along are not taken for there. */
static void test_lost_copies(void **state)
{
    struct erne_model_desc desc = tiny_model_desc();
    struct talk talk;
    int n_declined;
    bool reached = true;

    (void)state;
    desc.n_vocab = 3000;
    desc.tied = false;
    begin_talk(&talk, &desc, "f32");
    for (int at = 1; reached; at++) {
        struct injector in =
            injector(VK_CALL_QueueSubmit, at, VK_ERROR_OUT_OF_DEVICE_MEMORY);

        arm(&in);
        in.fault.no_host_import = in.fault.staged = true;
        in.fault.max_staging = 1 << 18;
        converse(&erne_backend_vulkan, &in.fault, 64, talk.got, desc.n_vocab,
                 &n_declined);
        reached = in.n_seen >= at;
        check_talk(&talk, "submission", (size_t)at);
    }
    end_talk(&talk);
}

static int count_device(void *user, const struct erne_device_info *info)
{
    (void)info;
    ++*(int *)user;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_absent),
        cmocka_unit_test(test_every_call),  cmocka_unit_test(test_hang),
        cmocka_unit_test(test_cache),       cmocka_unit_test(test_model_goes_on),
        cmocka_unit_test(test_late),        cmocka_unit_test(test_small_limits),
        cmocka_unit_test(test_few_groups),  cmocka_unit_test(test_small_shared),
        cmocka_unit_test(test_lost_copies),
    };
    int n = 0;

    erne_backend_vulkan.devices(count_device, &n);
    if (n == 0)
        return SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
