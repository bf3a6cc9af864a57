/* one_node.c -- see one_node.h. */
#include "tests/support/one_node.h"

#include "tests/support/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_ROWS = 5, K = 48 };

/* rms_norm of a [N_ROWS, K] in memory of its own. */
struct work {
    float x[N_ROWS * K], w[K], dst[N_ROWS * K];
    struct erne_tensor tensor[3];
    struct erne_node node;
};

static struct erne_tensor rows(const char *name, enum erne_mem mem, int64_t n,
                               float *data)
{
    struct erne_tensor t = { .mem = mem,
                             .type = ERNE_TYPE_F32,
                             .n_dims = 2,
                             .dim = { n, K, 1, 1 },
                             .stride = K,
                             .n_bytes = (size_t)(n * K) * sizeof(float),
                             .data = data };

    snprintf(t.name, sizeof(t.name), "%s", name);
    return t;
}

static void work_init(struct work *work)
{
    *work = (struct work){ .node.op = ERNE_OP_RMS_NORM };
    for (int i = 0; i < N_ROWS * K; i++)
        work->x[i] = (float)(i % 17) - 7.5f;
    for (int i = 0; i < K; i++)
        work->w[i] = 1.0f + (float)i / (float)K;
    work->tensor[0] = rows("x", ERNE_MEM_INPUT, N_ROWS, work->x);
    work->tensor[1] = rows("w", ERNE_MEM_WEIGHT, 1, work->w);
    work->tensor[2] = rows("dst", ERNE_MEM_OUTPUT, N_ROWS, work->dst);
    work->node.params.rms_norm.eps = 1e-5f;
    work->node.src[ERNE_SRC_X] = &work->tensor[0];
    work->node.src[ERNE_SRC_W] = &work->tensor[1];
    work->node.dst = &work->tensor[2];
    assert_int_equal(erne_op_check(&work->node, NULL), 0);
}

static bool is_right(const struct work *work)
{
    for (int r = 0; r < N_ROWS; r++) {
        const float *x = work->x + r * K;
        double sum = 0;

        for (int i = 0; i < K; i++)
            sum += (double)x[i] * (double)x[i];
        for (int i = 0; i < K; i++) {
            const double want =
                (double)x[i] / sqrt(sum / (double)K + 1e-5) * (double)work->w[i];

            if (!(fabs((double)work->dst[r * K + i] - want) <= 1e-5 * fabs(want)))
                return false;
        }
    }
    return true;
}

/* Maps [0, n) of the tensors; n tells how far it came. */
static int map_all(struct erne_backend *be, const struct work *work, int *n)
{
    for (*n = 0; *n < 3; ++*n) {
        const struct erne_tensor *t = &work->tensor[*n];
        const struct erne_range range = { t->data, t->n_bytes, t->mem };

        ERNE_TRY(be->fns->map(be, &range));
    }
    return be->fns->upload(be, work->x, sizeof(work->x));
}

/* Runs the node twice, so that the second step is a replay. */
static int run_twice(struct erne_backend *be, struct work *work)
{
    struct erne_node *const nodes[] = { &work->node };
    const struct erne_step step = { .n_tok = N_ROWS, .n_out = 1 };

    for (int i = 0; i < 2; i++) {
        ERNE_TRY(be->fns->run(be, nodes, 1, &step));
        ERNE_TRY(be->fns->download(be, work->dst, sizeof(work->dst)));
        assert_true(is_right(work));
        memset(work->dst, 0, sizeof(work->dst));
        ERNE_TRY(be->fns->upload(be, work->x, sizeof(work->x)));
    }
    return 0;
}

static int use(struct erne_backend *be)
{
    const struct erne_op_impl *impl = be->fns->ops[ERNE_OP_RMS_NORM][0];
    struct work *work = malloc(sizeof(*work));
    int n_mapped = 0, st;

    assert_non_null(work);
    work_init(work);
    work->node.backend = be;
    work->node.impl = impl;
    st = impl->prepare(be, &work->node);
    if (st == 0) {
        st = map_all(be, work, &n_mapped);
        if (st == 0)
            st = be->fns->reserve_scratch(be, 4096);
        if (st == 0)
            st = run_twice(be, work);
        if (impl->release)
            impl->release(be, &work->node);
    }
    for (int i = 0; i < n_mapped; i++)
        be->fns->unmap(be, work->tensor[i].data);
    free(work);
    return st;
}

int one_node_live(const struct erne_backend_fns *fns,
                  const struct erne_backend_opts *opts,
                  void (*look)(struct erne_backend *be, void *user), void *user)
{
    struct erne_error err = { 0 };
    struct erne_backend *be = NULL;
    int st = fns->open(&be, opts, &err);

    if (st < 0) {
        assert_int_equal(err.status, st);
        assert_true(err.text[0] != '\0');
        return st;
    }
    st = use(be);
    if (look)
        look(be, user);
    fns->close(be);
    return st;
}
