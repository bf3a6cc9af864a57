/* test_layers.c -- what each layer of a model gives, against the layers of transformers:
 * the decoder's and the vision tower's, on every backend and CPU level, f32 weights.
 * Logits alone could hide an error that later layers make small.
 * usage: test_layers CASE_DIR WORK_DIR
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"
#include "tests/models/golden.h"

static const double max_rel = 1e-4;

/* The case and one machine that runs it. */
struct run {
    const struct golden *golden;
    const char *backend, *isa;
    struct erne_engine *engine;
    struct erne_session *session;
};

/* False when this build lacks the backend. */
static bool run_open(struct run *r)
{
    char path[GOLDEN_MAX_PATH];
    struct erne_error err = { 0 };
    struct erne_engine_opts eo = erne_engine_opts_default();
    struct erne_session_opts so = erne_session_opts_default();

    golden_path(path, r->golden, "f32");
    eo.backend = r->backend;
    eo.isa = r->isa;
    eo.n_threads = 2;
    if (erne_engine_open(&r->engine, path, &eo, &err) == ERNE_EUNSUPPORTED)
        return false;
    assert_non_null(r->engine);
    r->engine->keep_layers = true;
    so.kv_type = "f32";
    r->session = golden_session(r->engine, so);
    return true;
}

static void run_close(struct run *r)
{
    erne_session_destroy(&r->session);
    erne_engine_close(&r->engine);
}

/* The outputs of a graph's layers come before all others. */
static const struct erne_tensor *output_of(const struct erne_graph *g, size_t layer)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct erne_tensor *t = g->nodes[i].dst;

        if (t->mem == ERNE_MEM_OUTPUT && layer-- == 0)
            return t;
    }
    fail_msg("the graph has fewer outputs");
    return NULL;
}

/* Rows [n_rows, n] of a layer against `want`, as part of the range of these. */
static void check_rows(const struct run *r, const struct erne_tensor *got,
                       const float *want, size_t n_rows, const char *what)
{
    const size_t n = (size_t)got->dim[1];
    const float *rows = got->data;
    float low = want[0], high = want[0];
    double worst = 0;

    assert_true((size_t)got->dim[0] >= n_rows);
    for (size_t i = 0; i < n_rows * n; i++) {
        const double diff =
            fabs((double)rows[i / n * (size_t)got->stride + i % n] - (double)want[i]);

        low = fminf(low, want[i]);
        high = fmaxf(high, want[i]);
        if (!(diff <= worst))
            worst = diff;
    }
    print_message("%s %s %s %s: %.3g of the range\n", r->backend, r->isa, what, got->name,
                  worst / (double)(high - low));
    assert_true(high > low);
    assert_true(worst <= max_rel * (double)(high - low));
}

/* Layers of the tower for one picture after the other; patches [n_layers, P, n] of all.
 */
static void check_tower(struct run *r)
{
    const struct golden *g = r->golden;
    const size_t n_layers = (size_t)r->engine->file.desc.vision.n_layers;
    const size_t n_embd = (size_t)r->engine->file.desc.vision.n_embd;
    size_t n_floats = 0, first = 0;
    float *want = golden_npy(g, "vision.npy", &n_floats);
    struct erne_error err = { 0 };

    for (size_t m = 0; m < g->n_media; m++) {
        assert_int_equal(erne_session_add_media(r->session, g->media[m], &err), 0);
        if (!want || erne_media_info(g->media[m]).is_video)
            continue;

        const struct erne_graph *graph = &r->session->media.encoder.graph;
        const size_t n_rows = (size_t)output_of(graph, 0)->dim[0];

        for (size_t layer = 0; layer < n_layers; layer++)
            check_rows(r, output_of(graph, layer),
                       want + (layer * (n_floats / n_layers)) + first * n_embd, n_rows,
                       "tower");
        first += n_rows;
    }
    assert_int_equal(first * n_embd * n_layers, n_floats);
    free(want);
}

static void check_decoder(struct run *r)
{
    const struct golden *g = r->golden;
    const size_t n_layers = (size_t)r->engine->file.desc.n_layers;
    size_t n_floats = 0;
    float *want = golden_npy(g, "layers.npy", &n_floats);
    struct erne_error err = { 0 };

    assert_non_null(want);
    assert_int_equal(n_floats % (n_layers * g->n_tokens), 0);
    assert_int_equal(erne_session_eval(r->session, g->tokens, g->n_tokens, NULL, &err),
                     0);
    for (size_t layer = 0; layer < n_layers; layer++)
        check_rows(r, output_of(&r->session->prefill.graph, layer),
                   want + layer * (n_floats / n_layers), g->n_tokens, "decoder");
    free(want);
}

static void test_layers(void **state)
{
    static const char *const machines[][2] = {
        { "reference", "auto" }, { "cpu", "c" }, { "cpu", "avx2" }, { "cpu", "avx512" }
    };

    golden_convert(*state, "f32");
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        struct run r = { .golden = *state,
                         .backend = machines[i][0],
                         .isa = machines[i][1] };

        if (!run_open(&r))
            continue;
        check_tower(&r);
        check_decoder(&r);
        run_close(&r);
    }
}

int main(int argc, char **argv)
{
    struct golden g;
    if (!golden_begin(&g, argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_layers, &g),
    };
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_deinit(&g);
    return n_failed;
}
