/* node_check.c -- see node_check.h.
 *
 * A node's inputs get memory of their own, side by side as in a plan's arena; weights are
 * those of the model. Backend and reference start from the same bytes, and all but the
 * elements of the result must be the same afterwards, too.
 */
#include "runtime/node_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "platforms/platform.h"
#include "runtime/node_fill.h"

enum { ALIGN = 256, N_TENSORS = ERNE_MAX_SRC + 1 };

/* ------------------------------------------------------------ telling apart */

static void hash_tensor(XXH3_state_t *h, const struct erne_tensor *t)
{
    const struct {
        int64_t dim[ERNE_MAX_DIMS], stride, offset, parent_stride;
        int32_t type, rows_of, codec, group, asym, is_weight;
    } key = {
        { t->dim[0], t->dim[1], t->dim[2], t->dim[3] },
        t->stride,
        t->parent ? t->parent_offset : 0,
        t->parent ? t->parent->stride : 0,
        (int32_t)t->type,
        (int32_t)t->rows_of,
        t->scheme.codec,
        t->scheme.group,
        t->scheme.asym,
        t->mem == ERNE_MEM_WEIGHT,
    };

    XXH3_64bits_update(h, &key, sizeof(key));
    if (t->type == ERNE_TYPE_BANK)
        for (int64_t e = 0; e < t->dim[0]; e++)
            XXH3_64bits_update(h, &t->bank[e].scheme, sizeof(t->bank[e].scheme));
}

uint64_t erne_node_key(const struct erne_node *node)
{
    XXH3_state_t *h = XXH3_createState();
    const int32_t op = (int32_t)node->op;
    uint64_t key;

    if (!h)
        return 0;
    XXH3_64bits_reset(h);
    XXH3_64bits_update(h, &op, sizeof(op));
    XXH3_64bits_update(h, &node->params, sizeof(node->params));
    for (int i = 0; i < ERNE_MAX_SRC; i++) {
        XXH3_64bits_update(h, &i, sizeof(i));
        if (node->src[i])
            hash_tensor(h, node->src[i]);
    }
    hash_tensor(h, node->dst);
    key = XXH3_64bits_digest(h);
    XXH3_freeState(h);
    return key;
}

static size_t put_dims(char *text, size_t cap, const struct erne_tensor *t,
                       const struct erne_step *step)
{
    char scheme[ERNE_SCHEME_NAME_MAX] = "";
    size_t n = (size_t)snprintf(text, cap, "%lld", (long long)erne_tensor_rows(t, step));

    for (int i = 1; i < t->n_dims && n < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "x%lld", (long long)t->dim[i]);
    if (t->type == ERNE_TYPE_WEIGHT && t->scheme.layout == ERNE_LAYOUT_TILE64)
        erne_scheme_name(t->scheme, scheme);
    if (t->type == ERNE_TYPE_BANK)
        erne_scheme_name(t->bank[0].scheme, scheme);
    if (scheme[0] && n < cap)
        n += (size_t)snprintf(text + n, cap - n, " %s", scheme);
    return n;
}

void erne_node_text(const struct erne_node *node, const struct erne_step *step,
                    char text[ERNE_NODE_TEXT_MAX])
{
    size_t n = 0;

    for (int i = 0; i < ERNE_MAX_SRC; i++) {
        const struct erne_tensor *t = node->src[i];

        if (!t || (t->type == ERNE_TYPE_I32 && i > 0) || n + 4 >= ERNE_NODE_TEXT_MAX)
            continue;
        if (n > 0)
            n += (size_t)snprintf(text + n, ERNE_NODE_TEXT_MAX - n, ", ");
        n += put_dims(text + n, ERNE_NODE_TEXT_MAX - n, t, step);
    }
}

/* Floats may be summed in another order, halves rounded; codes may be multiplied by
 * activations that were rounded to 8 bits, which costs 1 % of a product at most
 * (docs/ADDING_A_BACKEND.md), and what follows some more. */
double erne_node_limit(const struct erne_node *node)
{
    static const double limits[ERNE_OP_COUNT] = {
        [ERNE_OP_EMBED] = 1e-5,      [ERNE_OP_RMS_NORM] = 1e-4,
        [ERNE_OP_LAYER_NORM] = 1e-4, [ERNE_OP_MATMUL] = 5e-3,
        [ERNE_OP_ROPE] = 1e-4,       [ERNE_OP_KV_APPEND] = 1e-3,
        [ERNE_OP_ATTENTION] = 5e-3,  [ERNE_OP_SEGMENT_ATTENTION] = 5e-3,
        [ERNE_OP_MOE_ROUTE] = 1e-4,  [ERNE_OP_MOE_FFN] = 1e-2,
    };
    const struct erne_tensor *w = node->op == ERNE_OP_MATMUL ? node->src[ERNE_SRC_W]
                                  : node->op == ERNE_OP_MOE_FFN
                                      ? node->src[ERNE_SRC_GATE_UP]->bank
                                      : NULL;
    const double limit = limits[node->op];

    return w && erne_codec_is_int(w->scheme.codec) ? 3e-2 : limit;
}

/* ---------------------------------------------------------------- the copy */

/* A node on memory of its own. Sources with the same root share it here, too. */
struct copy {
    struct erne_node node;
    struct erne_tensor tensors[N_TENSORS]; /* sources, then dst */
    struct erne_tensor roots[N_TENSORS];
    const struct erne_tensor *of[N_TENSORS]; /* the original of each root */
    int n_roots;
    size_t n_bytes;
    uint8_t *memory, *start, *want; /* [n_bytes]: now, before a run, by the reference */
};

static struct erne_tensor *root_in(struct copy *c, struct erne_tensor *original)
{
    struct erne_tensor *root = erne_tensor_root(original);
    int i = 0;

    while (i < c->n_roots && c->of[i] != root)
        i++;
    if (i == c->n_roots) {
        c->of[c->n_roots++] = root;
        c->roots[i] = *root;
        c->roots[i].state = NULL;
        if (root->mem != ERNE_MEM_WEIGHT)
            c->roots[i].mem = ERNE_MEM_STEP;
    }
    return &c->roots[i];
}

static void copy_node(struct copy *c, const struct erne_node *node)
{
    *c = (struct copy){ .node = *node };
    c->node.impl = NULL;
    c->node.state = NULL;
    for (int i = 0; i < N_TENSORS; i++) {
        struct erne_tensor *t = i < ERNE_MAX_SRC ? node->src[i] : node->dst, *mine;

        if (!t)
            continue;
        mine = root_in(c, t);
        if (t->parent) {
            c->tensors[i] = *t;
            c->tensors[i].parent = mine;
            mine = &c->tensors[i];
        }
        if (i < ERNE_MAX_SRC)
            c->node.src[i] = mine;
        else
            c->node.dst = mine;
    }
}

static void copy_deinit(struct copy *c)
{
    if (c->memory)
        pf_pages_free(c->memory, c->n_bytes);
    free(c->start);
    free(c->want);
}

static int take_memory(struct copy *c)
{
    size_t at[N_TENSORS];

    for (int i = 0; i < c->n_roots; i++) {
        at[i] = c->n_bytes;
        if (c->roots[i].mem != ERNE_MEM_WEIGHT)
            c->n_bytes += (c->roots[i].n_bytes + ALIGN) / ALIGN * ALIGN;
    }
    c->memory = pf_pages_alloc(c->n_bytes);
    c->start = malloc(c->n_bytes);
    c->want = malloc(c->n_bytes);
    if (!c->memory || !c->start || !c->want)
        return ERNE_ENOMEM;
    for (int i = 0; i < c->n_roots; i++)
        if (c->roots[i].mem != ERNE_MEM_WEIGHT)
            c->roots[i].data = c->memory + at[i];
    for (int i = 0; i < N_TENSORS; i++)
        if (c->tensors[i].parent)
            c->tensors[i].data =
                (uint8_t *)c->tensors[i].parent->data +
                (size_t)c->tensors[i].parent_offset * erne_type_bytes(c->tensors[i].type);
    return 0;
}

/* ----------------------------------------------------------------- running */

/* Scratch and mappings of a node that was taken. */
static int make_room(const struct copy *c, struct erne_backend *be,
                     struct erne_mappings *maps)
{
    const struct erne_node *node = &c->node;
    const struct erne_range arena = { c->memory, c->n_bytes, ERNE_MEM_STEP };

    ERNE_TRY(erne_mappings_add_node(maps, node));
    ERNE_TRY(erne_mappings_add(maps, be, &arena));
    return be->fns->reserve_scratch(
        be, node->impl->scratch ? node->impl->scratch(be, node) : 0);
}

static int run_there(const struct copy *c, struct erne_node *node,
                     const struct erne_step *step)
{
    struct erne_backend *be = node->backend;
    struct erne_node *nodes[] = { node };
    const bool is_device = erne_backend_is_device(be);

    memcpy(c->memory, c->start, c->n_bytes);
    if (is_device)
        ERNE_TRY(be->fns->upload(be, c->memory, c->n_bytes));
    ERNE_TRY(be->fns->run(be, nodes, 1, step));
    return is_device ? be->fns->download(be, c->memory, c->n_bytes) : 0;
}

/* The reference's result, into c->want. */
static int run_reference(struct copy *c, struct erne_backend *reference,
                         const struct erne_step *step)
{
    struct erne_node node = c->node;
    int st = erne_node_offer(reference, &node);

    if (st != 0)
        return st < 0 ? st : ERNE_EUNSUPPORTED;
    if (node.impl->scratch)
        st = reference->fns->reserve_scratch(reference,
                                             node.impl->scratch(reference, &node));
    if (st == 0)
        st = run_there(c, &node, step);
    memcpy(c->want, c->memory, c->n_bytes);
    erne_node_withdraw(&node);
    return st;
}

/* --------------------------------------------------------------- comparing */

static double element(const struct erne_tensor *t, const uint8_t *base, size_t at)
{
    if (t->type == ERNE_TYPE_F16)
        return (double)erne_f32_from_f16(((const uint16_t *)(const void *)base)[at]);
    return (double)((const float *)(const void *)base)[at];
}

/* The worst difference of the elements of dst, which become the same; see the header. */
static double compare_result(const struct copy *c, const struct erne_step *step)
{
    const struct erne_tensor *dst = c->node.dst;
    const uint8_t *got = dst->data;
    uint8_t *want = c->want + ((uint8_t *)dst->data - c->memory);
    const int64_t n_rows = erne_tensor_rows(dst, step), n_cols = erne_tensor_cols(dst);
    double diff2 = 0, want2 = 0, worst = 0;

    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = r * dst->stride; i < r * dst->stride + n_cols; i++) {
            const double w = element(dst, want, (size_t)i);

            want2 += w * w;
        }
    want2 = sqrt(want2 / (double)(n_rows * n_cols));
    for (int64_t r = 0; r < n_rows; r++) {
        const size_t size = erne_type_bytes(dst->type);

        for (int64_t i = r * dst->stride; i < r * dst->stride + n_cols; i++) {
            const double w = element(dst, want, (size_t)i);
            const double d = fabs(element(dst, got, (size_t)i) - w);

            diff2 += d * d;
            if (!(d / (10 * (want2 + fabs(w)) + 1e-30) <= worst))
                worst = d / (10 * (want2 + fabs(w)) + 1e-30);
        }
        memcpy(want + (size_t)(r * dst->stride) * size,
               got + (size_t)(r * dst->stride) * size, (size_t)n_cols * size);
    }
    diff2 = sqrt(diff2 / (double)(n_rows * n_cols)) / (want2 + 1e-30);
    worst = diff2 > worst ? diff2 : worst;
    return isnan(worst) || isnan(diff2) ? (double)INFINITY : worst;
}

static double compare(const struct copy *c, const struct erne_step *step)
{
    const double error = compare_result(c, step);

    return memcmp(c->memory, c->want, c->n_bytes) == 0 ? error : (double)INFINITY;
}

static int check_rounds(struct copy *c, const struct erne_node_task *trial, double *error)
{
    uint64_t rng = trial->seed;

    for (int i = 0; i < trial->n_rounds; i++) {
        double e;

        erne_node_fill(&c->node, trial->step, &rng);
        memcpy(c->start, c->memory, c->n_bytes);
        ERNE_TRY(run_reference(c, trial->reference, trial->step));
        ERNE_TRY(run_there(c, &c->node, trial->step));
        e = compare(c, trial->step);
        if (e > *error)
            *error = e;
    }
    return 0;
}

int erne_node_check(const struct erne_node *node, const struct erne_node_task *trial,
                    double *error, struct erne_error *err)
{
    struct erne_mappings maps = { 0 };
    struct copy c;
    int st;

    *error = 0;
    copy_node(&c, node);
    st = take_memory(&c);
    if (st == 0) {
        st = erne_node_offer(trial->be, &c.node);
        if (st > 0)
            st = ERNE_EUNSUPPORTED;
    }
    if (st == 0)
        st = make_room(&c, trial->be, &maps);
    if (st == 0)
        st = check_rounds(&c, trial, error);
    erne_node_withdraw(&c.node);
    erne_mappings_deinit(&maps);
    copy_deinit(&c);
    return st < 0 ? erne_fail(err, st, "%s on %s: %s", erne_op_name(node->op),
                              trial->be->fns->name, erne_status_text(st))
                  : 0;
}
