/* node_check.c -- see node_check.h. Backend and reference start from the same bytes
 * (node_trial.h), and all but the elements of the result must be the same afterwards. */
#include "runtime/node_check.h"

#include <stdio.h>
#include <xxhash.h>

#include "runtime/kvcache.h"
#include "runtime/node_fill.h"
#include "runtime/node_trial.h"

/* ------------------------------------------------------------ telling apart */

static void hash_scheme(XXH3_state_t *h, struct erne_scheme s)
{
    const int32_t key[] = { s.codec, s.layout, s.asym, s.group }; /* without padding */

    XXH3_64bits_update(h, key, sizeof(key));
}

static void hash_tensor(XXH3_state_t *h, const struct erne_tensor *t)
{
    const struct {
        int64_t dim[ERNE_MAX_DIMS], stride, offset, parent_stride, type, rows_of,
            is_weight;
    } key = {
        { t->dim[0], t->dim[1], t->dim[2], t->dim[3] },
        t->stride,
        t->parent ? t->parent_offset : 0,
        t->parent ? t->parent->stride : 0,
        (int64_t)t->type,
        (int64_t)t->rows_of,
        t->mem == ERNE_MEM_WEIGHT,
    };

    XXH3_64bits_update(h, &key, sizeof(key));
    hash_scheme(h, t->scheme);
    if (t->type == ERNE_TYPE_BANK)
        for (int64_t e = 0; e < t->dim[0]; e++)
            hash_scheme(h, t->bank[e].scheme);
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
    const char *kv = t->mem == ERNE_MEM_STATE ? erne_kv_type_name(t->type) : "";
    size_t n = (size_t)snprintf(text, cap, "%lld", (long long)erne_tensor_rows(t, step));

    for (int i = 1; i < t->n_dims && n < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "x%lld", (long long)t->dim[i]);
    if (t->type == ERNE_TYPE_WEIGHT && t->scheme.layout == ERNE_LAYOUT_TILE64)
        erne_scheme_name(t->scheme, scheme);
    if (t->type == ERNE_TYPE_BANK)
        erne_scheme_name(t->bank[0].scheme, scheme);
    if ((scheme[0] || kv[0]) && n < cap)
        n += (size_t)snprintf(text + n, cap - n, " %s%s", scheme, kv);
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
    const bool rounds = node->op == ERNE_OP_ATTENTION ? node->params.attention.rounds
                        : node->op == ERNE_OP_SEGMENT_ATTENTION
                            ? node->params.segment_attention.rounds
                            : false;

    if (rounds)
        return 1e-2; /* as a product of three roundings to bf16, 0.3 % */
    return w && erne_codec_is_int(w->scheme.codec) ? 3e-2 : limit;
}

/* ---------------------------------------------------------------- checking */

static int check_rounds(struct erne_node_trial *got, struct erne_node_trial *want,
                        const struct erne_node_task *task, double *error)
{
    uint64_t rng = task->seed;

    for (int i = 0; i < task->n_rounds; i++) {
        const uint64_t seed = task->seed + (uint64_t)i;
        double e;

        got->step.n_past = want->step.n_past =
            erne_node_any_past(&got->node, got->step.n_tok, &rng);
        erne_node_trial_fill(got, seed);
        erne_node_trial_fill(want, seed);
        ERNE_TRY(erne_node_trial_run(want));
        ERNE_TRY(erne_node_trial_run(got));
        e = erne_node_trial_error(got, want);
        if (e > *error)
            *error = e;
    }
    return 0;
}

int erne_node_check(const struct erne_node *node, const struct erne_node_task *task,
                    double *error, struct erne_error *err)
{
    struct erne_node_trial got, want;
    int st;

    *error = 0;
    ERNE_TRY(erne_node_trial_init(&got, node, task->be, task->step, err));
    st = erne_node_trial_init(&want, node, task->reference, task->step, err);
    if (st == 0) {
        st = check_rounds(&got, &want, task, error);
        if (st < 0)
            erne_fail(err, st, "%s on %s: %s", erne_op_name(node->op),
                      task->be->fns->name, erne_status_text(st));
        erne_node_trial_deinit(&want);
    }
    erne_node_trial_deinit(&got);
    return st;
}
