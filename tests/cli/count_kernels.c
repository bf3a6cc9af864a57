/* count_kernels.c -- matrix products of fixed shapes, one a scheme, for counting what the
 * CPU's kernels execute. Run in callgrind with --dump-before=count_mark: each call of
 * that function ends a part, whose name and number of products are printed:
 *
 *     start 1             what is not counted
 *     matmul1-w4 8        [1, 512] times [256, 512], eight times
 *     matmul32-w4 1       [32, 512]
 *
 * usage: count_kernels LEVEL    an instruction set, "avx2"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "quantize/tile64.h"
#include "runtime/graph.h"
#include "runtime/plan.h"

enum { N = 256, K = 512 };

void count_mark(const char *name, int n);

/* Called by an address that the compiler does not know, so that it stays a call. */
static void (*volatile mark)(const char *name, int n) = count_mark;

void count_mark(const char *name, int n)
{
    printf("%s %d\n", name, n);
}

static int stop(const char *what, const struct erne_error *err)
{
    fprintf(stderr, "count_kernels: %s: %s\n", what, err->text);
    return 1;
}

/* Codes that come from a counter, scales of 1. */
static int make_weight(struct erne_tensor *w, const char *scheme)
{
    size_t codes, scales, minima;

    *w = (struct erne_tensor){ .name = "w",
                               .mem = ERNE_MEM_WEIGHT,
                               .type = ERNE_TYPE_WEIGHT,
                               .n_dims = 2,
                               .dim = { N, K, 1, 1 },
                               .stride = K };
    ERNE_TRY(erne_scheme_parse(&w->scheme, scheme));
    w->scheme.layout = ERNE_LAYOUT_TILE64;
    ERNE_TRY(erne_planes_init(&w->planes, w->scheme, N, K));
    tile64_block_bytes(&w->planes, &codes, &scales, &minima);
    w->n_bytes = w->planes.total_bytes;
    w->data = pf_pages_alloc(w->n_bytes);
    if (!w->data)
        return ERNE_ENOMEM;
    for (size_t i = 0; i < (size_t)w->planes.n_pad / 64 * codes; i++)
        ((uint8_t *)w->data)[i] = (uint8_t)(i * 37 >> 3);
    for (size_t at = w->planes.scales_offset; scales && at + 1 < w->n_bytes; at += 2)
        memcpy((uint8_t *)w->data + at, &(const uint16_t){ 0x3c00 }, 2);
    return 0;
}

/* A product of n_tok rows, n times behind one that is not counted. */
static int count(struct erne_backend *be, const char *scheme, int n_tok, int n,
                 struct erne_error *err)
{
    struct erne_backend *const only[] = { be, NULL };
    const struct erne_step step = { .n_tok = n_tok, .n_out = 1 };
    struct erne_graph g;
    struct erne_plan plan;
    struct erne_tensor w, *x, *y;
    char name[48];
    int st;

    if (make_weight(&w, scheme) < 0 || erne_graph_init(&g, 2, 4) < 0)
        return erne_fail(err, ERNE_ENOMEM, "no weight");
    x = erne_graph_input(&g, "x", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, 2,
                         (int64_t[]){ n_tok, K });
    y = erne_graph_matmul(&g, "y", x, &w, NULL, NULL);
    erne_graph_output(&g, y);
    ERNE_TRY(erne_plan_init(&plan, &g, only, NULL, NULL, err));
    for (int i = 0; i < n_tok * K; i++)
        ((float *)x->data)[i] = (float)(i % 61 - 30) * 0.03f;
    st = erne_plan_run(&plan, &step, err);
    snprintf(name, sizeof(name), "matmul%d-%s", n_tok, scheme);
    mark("start", 1);
    for (int i = 0; st == 0 && i < n; i++)
        st = erne_plan_run(&plan, &step, err);
    mark(name, n);
    erne_plan_deinit(&plan);
    erne_graph_deinit(&g);
    pf_pages_free(w.data, w.n_bytes);
    return st;
}

int main(int argc, char **argv)
{
    static const char *const schemes[] = { "w8", "w8-g32", "w4", "w4-g32a", "w2", "f16" };
    const struct erne_backend_opts opts = { .isa = argc > 1 ? argv[1] : "auto",
                                            .n_threads = 1 };
    const struct erne_backend_fns *cpu = erne_backend_find("cpu");
    struct erne_backend *be = NULL;
    struct erne_error err = { .text = "not in this build" };

    if (!cpu || cpu->open(&be, &opts, &err) < 0)
        return stop("the CPU's backend", &err);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(schemes); i++)
        if (count(be, schemes[i], 1, 8, &err) < 0 ||
            count(be, schemes[i], 32, 1, &err) < 0)
            return stop(schemes[i], &err);
    cpu->close(be);
    return 0;
}
