/* node_trial.c -- copies a node, gives it memory, runs it. See node_trial.h. */
#include "runtime/node_trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/kv_row.h"
#include "runtime/node_fill.h"

enum { ALIGN = 256 };

/* ------------------------------------------------------------------- copy */

/* Tensors with the same root share it here, too. */
static struct erne_tensor *root_in(struct erne_node_trial *t,
                                   struct erne_tensor *original)
{
    struct erne_tensor *root = erne_tensor_root(original);
    int i = 0;

    while (i < t->n_roots && t->of[i] != root)
        i++;
    if (i == t->n_roots) {
        t->of[t->n_roots++] = root;
        t->roots[i] = *root;
        t->roots[i].state = NULL;
        if (root->mem != ERNE_MEM_WEIGHT)
            t->roots[i].mem = ERNE_MEM_STEP;
    }
    return &t->roots[i];
}

static void copy_node(struct erne_node_trial *t, const struct erne_node *like)
{
    t->node = *like;
    t->node.impl = NULL;
    t->node.state = NULL;
    for (int i = 0; i < ERNE_TRIAL_TENSORS; i++) {
        struct erne_tensor *x = i < ERNE_MAX_SRC ? like->src[i] : like->dst, *mine;

        if (!x)
            continue;
        mine = root_in(t, x);
        if (x->parent) {
            t->views[i] = *x;
            t->views[i].parent = mine;
            mine = &t->views[i];
        }
        if (i < ERNE_MAX_SRC)
            t->node.src[i] = mine;
        else
            t->node.dst = mine;
    }
}

/* Numbers in a row, which are not its elements where the type is quantised. */
static int64_t n_numbers(const struct erne_tensor *x)
{
    return erne_kv_is_quantised(x->type)
               ? erne_tensor_cols(x) / x->dim[3] * erne_kv_head_dim(x)
               : erne_tensor_cols(x);
}

static int take_memory(struct erne_node_trial *t)
{
    size_t at[ERNE_TRIAL_TENSORS];

    for (int i = 0; i < t->n_roots; i++) {
        at[i] = t->n_bytes;
        if (t->roots[i].mem != ERNE_MEM_WEIGHT)
            t->n_bytes += (t->roots[i].n_bytes + ALIGN) / ALIGN * ALIGN;
    }
    t->memory = pf_pages_alloc(t->n_bytes);
    t->row = malloc((size_t)n_numbers(t->node.dst) * sizeof(*t->row));
    if (!t->memory || !t->row)
        return ERNE_ENOMEM;
    for (int i = 0; i < t->n_roots; i++)
        if (t->roots[i].mem != ERNE_MEM_WEIGHT)
            t->roots[i].data = t->memory + at[i];
    for (int i = 0; i < ERNE_TRIAL_TENSORS; i++) {
        struct erne_tensor *view = &t->views[i];

        if (view->parent)
            view->data = (uint8_t *)view->parent->data +
                         (size_t)view->parent_offset * erne_type_bytes(view->type);
    }
    return 0;
}

/* ------------------------------------------------------------- life cycle */

/* Scratch and mappings of a node that was taken. */
static int make_room(struct erne_node_trial *t)
{
    const struct erne_node *node = &t->node;
    struct erne_backend *be = node->backend;
    const struct erne_range arena = { t->memory, t->n_bytes, ERNE_MEM_STEP };

    ERNE_TRY(erne_mappings_add_node(&t->maps, node));
    ERNE_TRY(erne_mappings_add(&t->maps, be, &arena));
    return be->fns->reserve_scratch(
        be, node->impl->scratch ? node->impl->scratch(be, node) : 0);
}

int erne_node_trial_init(struct erne_node_trial *t, const struct erne_node *like,
                         struct erne_backend *be, const struct erne_step *step,
                         struct erne_error *err)
{
    int st;

    *t = (struct erne_node_trial){ .step = *step };
    copy_node(t, like);
    st = take_memory(t);
    if (st == 0) {
        st = erne_node_offer(be, &t->node);
        if (st > 0)
            st = ERNE_EUNSUPPORTED;
    }
    if (st == 0) {
        st = make_room(t);
        if (st == ERNE_ENOMEM && erne_backend_is_device(be))
            st = ERNE_EUNSUPPORTED; /* as the planner takes it */
    }
    if (st == 0)
        return 0;
    erne_node_trial_deinit(t);
    return erne_fail(err, st, "%s on %s: %s", erne_op_name(like->op), be->fns->name,
                     erne_status_text(st));
}

void erne_node_trial_deinit(struct erne_node_trial *t)
{
    erne_node_withdraw(&t->node);
    if (!erne_mappings_deinit(&t->maps) && t->memory)
        pf_pages_free(t->memory, t->n_bytes);
    free(t->row);
}

/* -------------------------------------------------------------------- run */

void erne_node_trial_fill(struct erne_node_trial *t, uint64_t seed)
{
    erne_node_fill(&t->node, &t->step, &seed);
}

int erne_node_trial_repeat(struct erne_node_trial *t, uint64_t n)
{
    struct erne_backend *be = t->node.backend;
    struct erne_node *const nodes[] = { &t->node };

    for (uint64_t i = 0; i < n; i++)
        ERNE_TRY(be->fns->run(be, nodes, 1, &t->step));
    return 0;
}

int erne_node_trial_run(struct erne_node_trial *t)
{
    struct erne_backend *be = t->node.backend;
    const bool is_device = erne_backend_is_device(be);

    if (is_device)
        ERNE_TRY(be->fns->upload(be, t->memory, t->n_bytes));
    ERNE_TRY(erne_node_trial_repeat(t, 1));
    return is_device ? be->fns->download(be, t->memory, t->n_bytes) : 0;
}

/* --------------------------------------------------------------- comparing */

static uint8_t *row_at(const struct erne_tensor *x, int64_t row)
{
    return (uint8_t *)x->data + (size_t)(row * x->stride) * erne_type_bytes(x->type);
}

/* A row of the result, as numbers in t->row. */
static const float *read_row(const struct erne_node_trial *t, int64_t row)
{
    const struct erne_tensor *dst = t->node.dst;
    const void *from = row_at(dst, row);
    const int64_t n = n_numbers(dst);

    if (dst->type == ERNE_TYPE_F32)
        memcpy(t->row, from, (size_t)n * sizeof(*t->row));
    else if (dst->type == ERNE_TYPE_F16)
        for (int64_t i = 0; i < n; i++)
            t->row[i] = erne_f32_from_f16(((const uint16_t *)from)[i]);
    else
        for (int64_t i = 0, d = erne_kv_head_dim(dst); i < n; i += d)
            erne_kv_decode(dst->type, t->row + i,
                           (const uint8_t *)from + i / d * dst->dim[3], d);
    return t->row;
}

static double mean_square(const struct erne_node_trial *t, int64_t n_rows)
{
    const int64_t n = n_numbers(t->node.dst);
    double sum = 0;

    for (int64_t r = 0; r < n_rows; r++) {
        const float *x = read_row(t, r);

        for (int64_t i = 0; i < n; i++)
            sum += (double)x[i] * (double)x[i];
    }
    return sum / (double)(n_rows * n);
}

static double error_of_rows(const struct erne_node_trial *got,
                            const struct erne_node_trial *want, int64_t n_rows)
{
    const int64_t n = n_numbers(want->node.dst);
    const double size = sqrt(mean_square(want, n_rows));
    double squares = 0, worst = 0;

    for (int64_t r = 0; r < n_rows; r++) {
        const float *x = read_row(got, r), *y = read_row(want, r);

        for (int64_t i = 0; i < n; i++) {
            const double off = fabs((double)x[i] - (double)y[i]);
            const double part = off / (10 * (size + fabs((double)y[i])) + 1e-30);

            squares += off * off;
            if (!(part <= worst))
                worst = part;
        }
    }
    squares = sqrt(squares / (double)(n_rows * n)) / (size + 1e-30);
    if (isnan(worst) || isnan(squares))
        return (double)INFINITY;
    return squares > worst ? squares : worst;
}

double erne_node_trial_error(struct erne_node_trial *got,
                             const struct erne_node_trial *want)
{
    const struct erne_tensor *dst = got->node.dst;
    const int64_t n_got = erne_tensor_rows(dst, &got->step);
    const int64_t n_want = erne_tensor_rows(want->node.dst, &want->step);
    const double error = error_of_rows(got, want, n_got < n_want ? n_got : n_want);

    for (int64_t r = 0; r < n_got; r++) /* what is left must be the same */
        memcpy(row_at(dst, r), row_at(want->node.dst, r),
               (size_t)erne_tensor_cols(dst) * erne_type_bytes(dst->type));
    return memcmp(got->memory, want->memory, got->n_bytes) == 0 ? error
                                                                : (double)INFINITY;
}
