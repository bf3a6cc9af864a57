/* test_opencl.c -- the OpenCL backend's own ways: memory shared and copied, weights in
 * several buffers, the files of compiled programs, and calls to the driver that fail.
 * What the operators compute is the conformance tests' business. Skips without a device.
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_ops.h"
#include "runtime/engine.h"
#include "tests/support/one_node.h"
#include "tests/support/tiny_model.h"

extern const struct erne_backend_fns erne_backend_opencl, erne_backend_reference;

#define MODEL "test_opencl.erne"
#define CACHE "test_opencl.cache"
enum { N_TOKENS = 12, N_VOCAB = 20000, N_CTX = 15000, SKIPPED = 77 };

static const struct erne_backend_fns *const backends[] = { &erne_backend_opencl,
                                                           &erne_backend_reference,
                                                           NULL };

/* -------------------------------------------- what the driver is asked for */

/* Driver objects that were made and not released: the test's own, as OpenCL's functions
 * take nothing that could lead there. */
static struct cl_fns driver;
static int n_live;

#define COUNT_RELEASE(name, type)                       \
    static cl_int CL_API_CALL count_##name(type object) \
    {                                                   \
        n_live--;                                       \
        return driver.api.cl##name(object);             \
    }
COUNT_RELEASE(ReleaseContext, cl_context)
COUNT_RELEASE(ReleaseCommandQueue, cl_command_queue)
COUNT_RELEASE(ReleaseMemObject, cl_mem)
COUNT_RELEASE(ReleaseProgram, cl_program)
COUNT_RELEASE(ReleaseKernel, cl_kernel)

static cl_context CL_API_CALL
count_context(const cl_context_properties *props, cl_uint n, const cl_device_id *devices,
              void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *),
              void *user, cl_int *status)
{
    n_live++;
    return driver.api.clCreateContext(props, n, devices, notify, user, status);
}

static cl_command_queue CL_API_CALL count_queue(cl_context context, cl_device_id device,
                                                cl_command_queue_properties props,
                                                cl_int *status)
{
    n_live++;
    return driver.api.clCreateCommandQueue(context, device, props, status);
}

static cl_mem CL_API_CALL count_buffer(cl_context context, cl_mem_flags flags,
                                       size_t n_bytes, void *host, cl_int *status)
{
    n_live++;
    return driver.api.clCreateBuffer(context, flags, n_bytes, host, status);
}

static cl_program CL_API_CALL count_source(cl_context context, cl_uint n,
                                           const char **text, const size_t *n_bytes,
                                           cl_int *status)
{
    n_live++;
    return driver.api.clCreateProgramWithSource(context, n, text, n_bytes, status);
}

static cl_program CL_API_CALL count_binary(cl_context context, cl_uint n,
                                           const cl_device_id *devices,
                                           const size_t *n_bytes,
                                           const unsigned char **binaries, cl_int *states,
                                           cl_int *status)
{
    const cl_program program = driver.api.clCreateProgramWithBinary(
        context, n, devices, n_bytes, binaries, states, status);

    n_live += program != NULL;
    return program;
}

static cl_kernel CL_API_CALL count_kernel(cl_program program, const char *name,
                                          cl_int *status)
{
    n_live++;
    return driver.api.clCreateKernel(program, name, status);
}

static void wrap(void *user, struct cl_fns *fns)
{
    (void)user;
    driver = *fns;
    fns->api.clReleaseContext = count_ReleaseContext;
    fns->api.clReleaseCommandQueue = count_ReleaseCommandQueue;
    fns->api.clReleaseMemObject = count_ReleaseMemObject;
    fns->api.clReleaseProgram = count_ReleaseProgram;
    fns->api.clReleaseKernel = count_ReleaseKernel;
    fns->api.clCreateContext = count_context;
    fns->api.clCreateCommandQueue = count_queue;
    fns->api.clCreateBuffer = count_buffer;
    fns->api.clCreateProgramWithSource = count_source;
    fns->api.clCreateProgramWithBinary = count_binary;
    fns->api.clCreateKernel = count_kernel;
}

/* Counts calls, and lets call number fail_at of one kind fail. */
enum { EVERY_CALL = -1 };
struct injector {
    struct cl_fault fault;
    int kind, fail_at, code; /* fail_at 0: none; kind: enum cl_call or EVERY_CALL */
    bool hit;
    int n_all;
    int n_calls[CL_CALL_COUNT];
};

static int answer(void *user, int call)
{
    struct injector *in = user;

    in->n_all++;
    in->n_calls[call]++;
    if ((in->kind == EVERY_CALL ? in->n_all : in->n_calls[call]) != in->fail_at ||
        (in->kind != EVERY_CALL && in->kind != call))
        return CL_SUCCESS;
    in->hit = true;
    return in->code;
}

static void arm(struct injector *in)
{
    in->fault.answer = answer;
    in->fault.wrap = wrap;
    in->fault.user = in;
}

/* ------------------------------------------------------------- the model */

struct result {
    int st;
    float last[N_VOCAB];
    int32_t id;
    char text[512];   /* of the error */
    char warned[512]; /* all warnings */
};

static void keep_warning(void *user, enum erne_log_level level, const char *line)
{
    struct result *r = user;

    if (level <= ERNE_LOG_WARN)
        strncat(r->warned, line, sizeof(r->warned) - 1 - strlen(r->warned));
}

static int eval(struct erne_session *session, struct result *r, struct erne_error *err)
{
    int32_t tokens[N_TOKENS];

    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = 3 + 7 * i;
    ERNE_TRY(erne_session_eval(session, tokens, N_TOKENS, NULL, err));
    ERNE_TRY(erne_session_sample(session, &r->id, err));
    ERNE_TRY(erne_session_eval(session, &r->id, 1, NULL, err));
    memcpy(r->last, erne_session_logits(session), sizeof(r->last));
    return 0;
}

/* A prompt and a token behind it. */
static void run(struct result *r, const struct erne_engine_opts *opts,
                struct cl_fault *fault)
{
    struct erne_session_opts so = erne_session_opts_default();
    struct erne_engine *engine = NULL;
    struct erne_session *session = NULL;
    struct erne_error err = { 0 };

    *r = (struct result){ 0 };
    so.n_ctx = N_CTX;
    so.n_batch = 8;
    so.sampling.temperature = 0;
    struct erne_engine_opts eo = *opts;
    eo.log = keep_warning;
    eo.log_user = r;
    r->st = erne_engine_open_on(&engine, MODEL, &eo, backends, fault, &err);
    if (r->st == 0)
        r->st = erne_session_create(&session, engine, &so, &err);
    if (r->st == 0)
        r->st = eval(session, r, &err);
    snprintf(r->text, sizeof(r->text), "%s", err.text);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

static struct erne_engine_opts options(const char *backend)
{
    struct erne_engine_opts opts = erne_engine_opts_default();

    opts.backend = backend;
    opts.fallback = false;
    return opts;
}

static void assert_same(const struct result *a, const struct result *b)
{
    assert_int_equal(a->st, 0);
    assert_int_equal(b->st, 0);
    assert_int_equal(a->id, b->id);
    assert_memory_equal(a->last, b->last, sizeof(a->last));
}

/* What a device gives that works; the other tests compare with it. */
static struct result usual;

static void test_usual(void **state)
{
    const struct erne_engine_opts opts = options("opencl");
    struct injector in = { 0 };

    (void)state;
    arm(&in);
    n_live = 0;
    run(&usual, &opts, &in.fault);
    assert_string_equal(usual.text, "");
    assert_int_equal(usual.st, 0);
    assert_int_equal(n_live, 0);
    assert_true(in.n_calls[CL_CALL_EnqueueNDRangeKernel] > 0);
}

static void test_own_memory(void **state)
{
    const struct erne_engine_opts opts = options("opencl");
    const struct cl_fault fault = { .no_host_memory = true };
    static struct result r;

    (void)state;
    run(&r, &opts, (struct cl_fault *)&fault);
    assert_same(&r, &usual);
}

/* The table of tokens and the logits' weights are 5 MB: three buffers. Keys and values of
 * both layers are 4 MB, and each 1. */
static void test_small_buffers(void **state)
{
    const struct erne_engine_opts opts = options("opencl");
    struct injector in = { .fault = { .max_alloc = 2 << 20 } };
    static struct result r;

    (void)state;
    arm(&in);
    n_live = 0;
    run(&r, &opts, &in.fault);
    assert_same(&r, &usual);
    assert_int_equal(n_live, 0);
}

/* ------------------------------------------------------------- the cache */

static void spoil_cache(uint64_t n_bytes)
{
    char **names;
    size_t n;

    assert_int_equal(pf_dir_list(CACHE, &names, &n), 0);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        char path[512];
        struct pf_file *file;

        snprintf(path, sizeof(path), "%s/%s", CACHE, names[i]);
        if (pf_file_open(&file, path, PF_WRITE_EXISTING) < 0)
            continue;
        assert_int_equal(pf_file_resize(file, n_bytes), 0);
        pf_file_close(&file);
    }
    pf_dir_free(names, n);
}

static void clear_cache(void)
{
    char **names;
    size_t n;

    if (pf_dir_list(CACHE, &names, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", CACHE, names[i]);
        pf_path_remove(path);
    }
    pf_dir_free(names, n);
}

/* The second start compiles nothing, a damaged file is made anew. */
static void test_cache(void **state)
{
    static const uint64_t sizes[] = { 0, 17, 100 };
    struct erne_engine_opts opts = options("opencl");
    struct injector first = { 0 }, second = { 0 };
    static struct result r;

    (void)state;
    opts.cache_dir = CACHE;
    clear_cache();
    arm(&first);
    run(&r, &opts, &first.fault);
    assert_same(&r, &usual);
    assert_true(first.n_calls[CL_CALL_CreateProgramWithSource] > 0);
    arm(&second);
    run(&r, &opts, &second.fault);
    assert_same(&r, &usual);
    assert_int_equal(second.n_calls[CL_CALL_CreateProgramWithSource], 0);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(sizes); i++) {
        struct injector in = { 0 };

        spoil_cache(sizes[i]);
        arm(&in);
        run(&r, &opts, &in.fault);
        assert_same(&r, &usual);
        assert_int_equal(in.n_calls[CL_CALL_CreateProgramWithSource],
                         first.n_calls[CL_CALL_CreateProgramWithSource]);
    }
}

/* --------------------------------------------------------------- failures */

static void test_no_loader(void **state)
{
    const struct erne_engine_opts opts = options("opencl");
    struct cl_fault fault = { .loader = "libno-such-loader.so" };
    static struct result r;

    (void)state;
    run(&r, &opts, &fault);
    assert_int_equal(r.st, ERNE_EUNSUPPORTED);
    assert_non_null(strstr(r.text, "libno-such-loader.so"));
}

static void test_no_device(void **state)
{
    const struct erne_engine_opts opts = options("opencl:9");
    struct injector in = { .kind = CL_CALL_GetPlatformIDs, .fail_at = 1, .code = -1001 };
    static struct result r;

    (void)state;
    run(&r, &opts, NULL);
    assert_int_equal(r.st, ERNE_EUNSUPPORTED);
    arm(&in);
    struct erne_engine_opts first = options("opencl");
    run(&r, &first, &in.fault);
    assert_int_equal(r.st, ERNE_EUNSUPPORTED);
    assert_non_null(strstr(r.text, "no OpenCL device"));
}

/* Stand for a platform and a device that answer no question. */
static char broken_platform, broken_device;

static cl_int CL_API_CALL list_platforms(cl_uint room, cl_platform_id *ids, cl_uint *n)
{
    const cl_int result = driver.api.clGetPlatformIDs(room - 1, ids + 1, n);

    ids[0] = (cl_platform_id)(void *)&broken_platform;
    ++*n;
    return result;
}

static cl_int CL_API_CALL list_ids(cl_platform_id platform, cl_device_type type,
                                   cl_uint room, cl_device_id *ids, cl_uint *n)
{
    cl_int result;

    if (platform == (cl_platform_id)(void *)&broken_platform)
        return CL_INVALID_PLATFORM;
    result = driver.api.clGetDeviceIDs(platform, type, room - 1, ids + 1, n);
    ids[0] = (cl_device_id)(void *)&broken_device;
    if (result == CL_SUCCESS)
        ++*n;
    return result;
}

static cl_int CL_API_CALL ask_device(cl_device_id id, cl_device_info what, size_t n_bytes,
                                     void *value, size_t *n)
{
    if (id == (cl_device_id)(void *)&broken_device)
        return CL_INVALID_DEVICE;
    return driver.api.clGetDeviceInfo(id, what, n_bytes, value, n);
}

static void wrap_broken(void *user, struct cl_fns *fns)
{
    (void)user;
    driver = *fns;
    fns->api.clGetPlatformIDs = list_platforms;
    fns->api.clGetDeviceIDs = list_ids;
    fns->api.clGetDeviceInfo = ask_device;
}

/* A driver or a device that is out of order leaves the others as usable as they were,
 * under their numbers. */
static void test_broken_neighbours(void **state)
{
    struct cl_fault fault = { .wrap = wrap_broken };
    struct erne_engine_opts opts = options("opencl:1");
    static struct result r;

    (void)state;
    run(&r, &opts, &fault);
    assert_int_equal(r.st, 0);
    assert_int_equal(r.id, usual.id);
    assert_non_null(strstr(r.warned, "OpenCL platform 0 is left out"));
    assert_non_null(strstr(r.warned, "OpenCL device 0 is left out"));
    opts.backend = "opencl:0";
    run(&r, &opts, &fault);
    assert_int_equal(r.st, ERNE_EDEVICE);
    assert_non_null(strstr(r.text, "cannot ask OpenCL device 0"));
}

static void test_hang(void **state)
{
    struct erne_engine_opts opts = options("opencl");
    struct injector in = { .fault = { .hang = true } };
    static struct result r;

    (void)state;
    opts.time_limit_ms = 30;
    arm(&in);
    n_live = 0;
    run(&r, &opts, &in.fault);
    assert_int_equal(r.st, ERNE_EDEVICE);
    assert_int_equal(n_live, 0);
}

/* ---- a device that goes on working after it was given up */

/* All kernels wait for it. Like the driver's functions, the test's own. */
static cl_event gate;
static cl_context gate_context;
static cl_command_queue gate_queue;

static cl_context CL_API_CALL
keep_context(const cl_context_properties *props, cl_uint n, const cl_device_id *devices,
             void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *),
             void *user, cl_int *status)
{
    gate_context = driver.api.clCreateContext(props, n, devices, notify, user, status);
    return gate_context;
}

static cl_event(CL_API_CALL *make_gate)(cl_context context, cl_int *status);

static cl_int CL_API_CALL launch_late(cl_command_queue queue, cl_kernel kernel,
                                      cl_uint n_dims, const size_t *first,
                                      const size_t *global, const size_t *local,
                                      cl_uint n_wait, const cl_event *wait,
                                      cl_event *event)
{
    cl_int status;

    (void)n_wait;
    (void)wait;
    if (!gate)
        gate = make_gate(gate_context, &status);
    gate_queue = queue;
    return driver.api.clEnqueueNDRangeKernel(queue, kernel, n_dims, first, global, local,
                                             1, &gate, event);
}

static void wrap_late(void *user, struct cl_fns *fns)
{
    (void)user;
    driver = *fns;
    fns->api.clCreateContext = keep_context;
    fns->api.clEnqueueNDRangeKernel = launch_late;
}

/* The device works in the host's memory, and begins when everything that it was given
 * would long be someone else's, were it not left to it. */
static void test_late(void **state)
{
    static const bool fallbacks[] = { true, false };
    struct cl_fault fault = { .impatient = true, .wrap = wrap_late };
    struct pf_lib *lib;
    cl_int(CL_API_CALL * open_gate)(cl_event event, cl_int state_of);
    cl_int(CL_API_CALL * finish)(cl_command_queue queue);
    static struct result r;

    (void)state;
    assert_int_equal(pf_lib_open(&lib, "libOpenCL.so.1"), 0);
    *(void **)&make_gate = pf_lib_symbol(lib, "clCreateUserEvent");
    *(void **)&open_gate = pf_lib_symbol(lib, "clSetUserEventStatus");
    *(void **)&finish = pf_lib_symbol(lib, "clFinish");
    for (size_t i = 0; i < ERNE_ARRAY_LEN(fallbacks); i++) {
        struct erne_engine_opts opts = options("opencl");

        opts.fallback = fallbacks[i];
        opts.time_limit_ms = 30;
        gate = NULL;
        run(&r, &opts, &fault);
        assert_non_null(gate);
        assert_int_equal(r.st, fallbacks[i] ? 0 : ERNE_EDEVICE);
        if (fallbacks[i])
            assert_int_equal(r.id, usual.id);
        assert_int_equal(open_gate(gate, CL_COMPLETE), CL_SUCCESS);
        assert_int_equal(finish(gate_queue), CL_SUCCESS);
    }
    pf_lib_keep(&lib);
}

/* The reference takes what cannot be built, and a warning has the compiler's words. */
static void test_build_failure(void **state)
{
    static const int codes[] = { CL_BUILD_PROGRAM_FAILURE, CL_LINK_PROGRAM_FAILURE,
                                 CL_INVALID_BUILD_OPTIONS };
    const struct erne_engine_opts opts = options("opencl");
    static struct result r;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(codes); i++) {
        struct injector in = { .kind = CL_CALL_BuildProgram,
                               .fail_at = 1,
                               .code = codes[i] };

        arm(&in);
        n_live = 0;
        run(&r, &opts, &in.fault);
        assert_int_equal(r.st, 0);
        assert_int_equal(r.id, usual.id);
        assert_non_null(strstr(r.warned, "cannot build"));
        assert_int_equal(n_live, 0);
    }
}

/* A session goes on without a device that is lost in the middle. */
static void test_fallback(void **state)
{
    struct erne_engine_opts opts = options("opencl");
    struct injector in = { .kind = CL_CALL_EnqueueNDRangeKernel,
                           .fail_at = 7,
                           .code = CL_INVALID_COMMAND_QUEUE };
    static struct result r;

    (void)state;
    opts.fallback = true;
    arm(&in);
    n_live = 0;
    run(&r, &opts, &in.fault);
    assert_true(in.hit);
    assert_int_equal(r.st, 0);
    assert_int_equal(r.id, usual.id);
    assert_int_equal(n_live, 0);
}

/* Each kind of call, at its first times and at growing distances. Whatever happens, a
 * failure has a text, and nothing of the driver's is left. */
static void test_every_call(void **state)
{
    static const int codes[] = { CL_OUT_OF_HOST_MEMORY, CL_INVALID_COMMAND_QUEUE,
                                 CL_OUT_OF_RESOURCES, CL_DEVICE_NOT_AVAILABLE };
    struct erne_engine_opts opts = options("opencl");
    static struct result r;
    int n_runs = 0;

    (void)state;
    opts.cache_dir = CACHE;
    for (int kind = 0; kind < CL_CALL_COUNT; kind++) {
        bool hit = true;

        for (int at = 1; hit; at += 1 + at / 2) {
            struct injector in = { .kind = kind, .fail_at = at, .code = codes[at % 4] };

            arm(&in);
            n_live = 0;
            run(&r, &opts, &in.fault);
            hit = in.hit;
            n_runs++;
            assert_int_equal(n_live, 0);
            if (r.st < 0)
                assert_true(r.text[0] != '\0');
            else
                assert_int_equal(r.id, usual.id);
        }
    }
    print_message("%d runs\n", n_runs);
}

/* Literally every call of one node's life, in both ways of using memory. Nothing is left
 * of it whether it fails or gets over it. */
static void test_every_call_of_a_node(void **state)
{
    static const int codes[] = { CL_OUT_OF_HOST_MEMORY, CL_DEVICE_NOT_AVAILABLE,
                                 CL_INVALID_COMMAND_QUEUE };
    struct erne_backend_opts opts = { .isa = "auto", .n_threads = 1, .cache_dir = CACHE };

    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        bool hit = true;
        int n_failed = 0, n = 1;

        for (; hit; n++) {
            struct injector in = { .kind = EVERY_CALL,
                                   .fail_at = n,
                                   .code = codes[(n + mode) % 3] };
            int st;

            arm(&in);
            in.fault.no_host_memory = mode > 0;
            opts.hook = &in.fault;
            n_live = 0;
            st = one_node_live(&erne_backend_opencl, &opts, NULL, NULL);
            hit = in.hit;
            n_failed += st < 0;
            assert_int_equal(n_live, 0);
            if (!hit)
                assert_int_equal(st, 0);
            else if (st < 0 && st != ERNE_ENOMEM && st != ERNE_EDEVICE)
                assert_int_equal(st, ERNE_EUNSUPPORTED);
        }
        assert_true(n > 20 && n_failed > n / 2);
    }
}

/* A device is known by its driver's identity or by a hash, the same each time. */
struct identity {
    int n;
    char text[2][64];
};

static int note_identity(void *user, const struct erne_device_info *info)
{
    struct identity *seen = user;

    assert_non_null(info->uuid);
    if (seen->n < 2)
        snprintf(seen->text[seen->n], sizeof(seen->text[0]), "%s", info->uuid);
    seen->n++;
    return 0;
}

static void test_identity(void **state)
{
    struct identity first = { 0 }, second = { 0 };

    (void)state;
    assert_int_equal(erne_backend_opencl.devices(note_identity, &first), 0);
    assert_int_equal(erne_backend_opencl.devices(note_identity, &second), 0);
    assert_true(strlen(first.text[0]) >= 16);
    assert_memory_equal(&first, &second, sizeof(first));
    assert_string_not_equal(first.text[0], first.text[1]);
}

static int count_device(void *user, const struct erne_device_info *info)
{
    (void)user;
    (void)info;
    return 1;
}

int main(void)
{
    struct erne_model_desc desc = tiny_model_desc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual),
        cmocka_unit_test(test_own_memory),
        cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_no_loader),
        cmocka_unit_test(test_no_device),
        cmocka_unit_test(test_broken_neighbours),
        cmocka_unit_test(test_hang),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_build_failure),
        cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_every_call),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_every_call_of_a_node),
    };

    if (erne_backend_opencl.devices(count_device, NULL) != 1)
        return SKIPPED;
    desc.n_vocab = N_VOCAB;
    desc.n_ctx_train = N_CTX;
    if (tiny_model_write(MODEL, &desc, "f32", 5, NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
