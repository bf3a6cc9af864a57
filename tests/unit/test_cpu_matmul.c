/* test_cpu_matmul.c -- the CPU backend's matrix products against the reference: every
 * scheme on every instruction set of this machine, with the sizes and outliers that
 * tests/conformance does not have; and bit for bit the same for any number of threads
 * and, with integer weights, any number of tokens computed together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/cpu_kernels.h"
#include "platforms/platform.h"
#include "quantize/tile64.h"
#include "runtime/graph.h"
#include "runtime/plan.h"
#include "tests/support/unit.h"

struct matmul_case {
    const char *scheme;
    int n_tok;
    int n, k;
    int n_ff; /* > 0: swiglu */
    bool has_bias, has_residual;
    float outlier;  /* one input in 50 is this times larger */
    double max_err; /* relative RMS */
    bool one_sided; /* inputs as they come out of a GELU */
};

/* Normal numbers; with an outlier, one in 50 is that many times larger. */
static float *random_floats(size_t n, uint64_t seed, float outlier)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = unit_random_normal(&seed);
        if (outlier > 0 && seed % 50 == 0)
            x[i] *= outlier;
    }
    return x;
}

/* A weight [n, k] in the scheme, encoded from noise. */
static struct erne_tensor make_weight(const struct matmul_case *c)
{
    struct erne_tensor w = { .name = "w",
                             .mem = ERNE_MEM_WEIGHT,
                             .type = ERNE_TYPE_WEIGHT,
                             .n_dims = 2,
                             .dim = { c->n, c->k, 1, 1 },
                             .stride = c->k };
    size_t codes, scales, minima;
    assert_int_equal(erne_scheme_parse(&w.scheme, c->scheme), 0);
    w.scheme.layout = ERNE_LAYOUT_TILE64;
    assert_int_equal(erne_planes_init(&w.planes, w.scheme, c->n, c->k), 0);
    tile64_block_bytes(&w.planes, &codes, &scales, &minima);
    w.data = pf_pages_alloc(w.planes.total_bytes);
    assert_non_null(w.data);
    for (int64_t i = 0; i < w.planes.n_pad / 64; i++) {
        int rows = c->n - (int)i * 64 < 64 ? c->n - (int)i * 64 : 64;
        float *src = random_floats((size_t)rows * (size_t)c->k, (uint64_t)i + 7, 0);
        uint8_t *base = w.data;
        struct tile64_block block = {
            .codes = base + (size_t)i * codes,
            .scales = scales
                          ? (void *)(base + w.planes.scales_offset + (size_t)i * scales)
                          : NULL,
            .minima = minima
                          ? (void *)(base + w.planes.minima_offset + (size_t)i * minima)
                          : NULL,
        };
        assert_int_equal(tile64_encode(&block, w.scheme, &w.planes, src, rows, c->k), 0);
        free(src);
    }
    w.n_bytes = w.planes.total_bytes;
    return w;
}

static struct erne_tensor make_vector(float *data, int n)
{
    return (struct erne_tensor){ .name = "bias",
                                 .mem = ERNE_MEM_WEIGHT,
                                 .type = ERNE_TYPE_WEIGHT,
                                 .scheme = ERNE_ROWS_F32,
                                 .n_dims = 1,
                                 .dim = { n, 1, 1, 1 },
                                 .stride = 1,
                                 .data = data,
                                 .n_bytes = (size_t)n * sizeof *data };
}

/* Runs the case on a backend; dst [n_tok, N'] is malloc'ed. */
static float *run_case(const struct matmul_case *c, struct erne_tensor *w,
                       const char *backend, const char *isa, int n_threads)
{
    const struct erne_backend_opts opts = { .isa = isa, .n_threads = n_threads };
    struct erne_backend *be[2] = { NULL, NULL };
    struct erne_graph g;
    struct erne_plan plan;
    struct erne_error err = { 0 };
    const int n_out = c->n_ff > 0 ? c->n_ff : c->n;
    float *bias_data = random_floats((size_t)c->n, 3, 0);
    struct erne_tensor bias = make_vector(bias_data, c->n);
    const struct erne_step step = { .n_tok = c->n_tok, .n_out = 1 };

    int st = erne_backend_find(backend)->open(&be[0], &opts, &err);
    if (st < 0)
        fail_msg("%s", err.text);
    assert_int_equal(erne_graph_init(&g, 4, 8), 0);
    struct erne_tensor *x = erne_graph_input(&g, "x", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, 2,
                                             (int64_t[]){ c->n_tok, c->k });
    struct erne_tensor *res = erne_graph_input(&g, "res", ERNE_TYPE_F32, ERNE_ROWS_TOKENS,
                                               2, (int64_t[]){ c->n_tok, n_out });
    struct erne_tensor *dst =
        c->n_ff > 0
            ? erne_graph_matmul_swiglu(&g, "y", x, w, c->has_bias ? &bias : NULL, c->n_ff)
            : erne_graph_matmul(&g, "y", x, w, c->has_bias ? &bias : NULL,
                                c->has_residual ? res : NULL);
    if (dst == NULL)
        fail_msg("%s", g.err.text);
    erne_graph_output(&g, dst);
    st = erne_plan_init(&plan, &g, be, NULL, NULL, &err);
    if (st < 0)
        fail_msg("%s", err.text);
    float *x_data = random_floats((size_t)(c->n_tok * c->k), 11, c->outlier);
    for (int i = 0; c->one_sided && i < c->n_tok * c->k; i++)
        x_data[i] = fmaxf(x_data[i], -0.2f);
    float *res_data = random_floats((size_t)(c->n_tok * n_out), 13, 0);
    memcpy(x->data, x_data, (size_t)(c->n_tok * c->k) * sizeof(float));
    memcpy(res->data, res_data, (size_t)(c->n_tok * n_out) * sizeof(float));
    assert_int_equal(erne_plan_run(&plan, &step, &err), 0);
    float *y = malloc((size_t)(c->n_tok * n_out) * sizeof *y);
    assert_non_null(y);
    memcpy(y, dst->data, (size_t)(c->n_tok * n_out) * sizeof *y);
    erne_plan_deinit(&plan);
    erne_graph_deinit(&g);
    be[0]->fns->close(be[0]);
    free(x_data);
    free(res_data);
    free(bias_data);
    return y;
}

static double relative_rms(const float *a, const float *b, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(error / size);
}

static const struct matmul_case cases[] = {
    { "f32", 1, 64, 64, 0, false, false, 0, 1e-6, false },
    { "f32", 7, 100, 33, 0, true, true, 0, 1e-6, false },
    { "f32", 130, 192, 128, 0, true, true, 0, 1e-6, false },
    { "bf16", 1, 64, 64, 0, false, false, 0, 1e-6, false },
    { "bf16", 61, 130, 35, 0, true, true, 0, 1e-6, false },
    /* oneDNN, where it is fast, rounds activations to bf16 */
    { "bf16", 100, 130, 128, 0, true, false, 0, 4e-3, false },
    { "f16", 13, 130, 35, 0, true, true, 0, 1e-6, false },
    { "f32", 9, 192, 50, 90, true, false, 0, 1e-6, false },
    { "w8", 1, 64, 64, 0, false, false, 0, 1e-2, false },
    { "w8", 50, 130, 100, 0, true, true, 0, 1e-2, false },
    { "w8-g32", 7, 130, 100, 0, false, false, 0, 1e-2, false },
    { "w8-g64a", 7, 130, 200, 0, false, false, 0, 1e-2, false },
    { "w4-g32", 1, 64, 256, 0, false, false, 0, 1e-2, false },
    { "w4-g32", 9, 130, 256, 0, true, true, 0, 1e-2, false },
    { "w4-g64a", 51, 130, 200, 0, false, false, 0, 1e-2, false },
    { "w4-g128", 7, 130, 200, 0, false, false, 0, 1e-2, false },
    { "w4-g128a", 7, 192, 200, 90, true, false, 0, 1e-2, false },
    { "w2-g32", 7, 130, 200, 0, false, false, 0, 1e-2, false },
    { "w2-g64a", 1, 130, 200, 0, false, false, 0, 1e-2, false },
    { "w4-g64", 17, 128, 512, 0, false, false, 30, 1e-2, false },
    { "w4-g32", 17, 128, 512, 64, false, false, 50, 1e-2, false },
    { "w8", 17, 128, 512, 0, false, false, 50, 1e-2, false },
    { "w8", 17, 128, 512, 0, false, false, 0, 7e-3, true },
    { "w8-g32", 400, 64, 96, 0, true, false, 0, 7e-3, true },
    { "w8-g64a", 7, 130, 200, 0, false, false, 0, 7e-3, true },
    { "w8-g128", 5, 64, 200, 0, false, false, 40, 1e-2, true },
};

static void check_level(const struct matmul_case *c, struct erne_tensor *w,
                        const float *want, const char *isa)
{
    const size_t n_cols = (size_t)(c->n_ff > 0 ? c->n_ff : c->n);
    const size_t n = (size_t)c->n_tok * n_cols;
    struct matmul_case one_token = *c;
    one_token.n_tok = 1;
    float *got = run_case(c, w, "cpu", isa, 1), *team = run_case(c, w, "cpu", isa, 3);
    float *alone = run_case(&one_token, w, "cpu", isa, 2);
    double err = relative_rms(got, want, n);
    print_message("%-8s T %3d N %3d K %3d %-6s %.2e\n", c->scheme, c->n_tok, c->n, c->k,
                  isa, err);
    if (!(err <= c->max_err))
        fail_msg("%s on %s: error %g", c->scheme, isa, err);
    assert_memory_equal(got, team, n * sizeof *got);
    if (erne_codec_is_int(w->scheme.codec))
        assert_memory_equal(got, alone, n_cols * sizeof *got);
    free(got);
    free(team);
    free(alone);
}

static void test_against_reference(void **state)
{
    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_tensor w = make_weight(&cases[i]);
        float *want = run_case(&cases[i], &w, "reference", NULL, 1);
        for (int level = 0; level <= (int)cpu_isa_detect(); level++)
            check_level(&cases[i], &w, want, cpu_isa_name((enum cpu_isa)level));
        free(want);
        pf_pages_free(w.data, w.planes.total_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_against_reference) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
