/* expert_load.c -- erne_session_expert_load: counts what a mixture's routers choose while
 * a session evaluates tokens. The choice is what each bank of experts is given; it is
 * looked at before the bank computes (watch.h). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"
#include "runtime/watch.h"

/* The tokens that each expert of a bank took. */
struct tally {
    const char *bank; /* the name of its first weight: the same in every graph */
    struct erne_expert_load load;
    uint64_t *n_taken; /* [load.n_experts] */
};

struct tallies {
    struct tally *items; /* [n]: in the order of the graph */
    size_t n;
    int status;
};

/* ---------------------------------------------------------------- counting */

static const char *bank_of(const struct erne_node *node)
{
    return node->src[ERNE_SRC_GATE_UP]->bank[0].name;
}

static struct tally *find(const struct tallies *t, const struct erne_node *node)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->items[i].bank, bank_of(node)) == 0)
            return &t->items[i];
    return NULL;
}

/* The weights of all banks, which a device may have written. */
static int bring(const struct erne_node *node, int64_t n_rows)
{
    const struct erne_backend *be = node->backend;
    struct erne_tensor *root = erne_tensor_root(node->src[ERNE_SRC_WEIGHTS]);

    if (!erne_backend_is_device(be))
        return 0;
    return be->fns->download(node->backend, root->data,
                             (size_t)(n_rows * root->stride) * sizeof(float));
}

static void see(void *user, const struct erne_node *node, const struct erne_step *step)
{
    struct tallies *all = user;
    const struct erne_tensor *weights = node->src[ERNE_SRC_WEIGHTS];
    struct tally *t;
    int64_t n_rows;

    if (node->op != ERNE_OP_MOE_FFN || all->status < 0)
        return;
    t = find(all, node);
    n_rows = erne_tensor_rows(weights, step);
    all->status = bring(node, n_rows);
    for (int64_t i = 0; all->status == 0 && t && i < n_rows; i++) {
        const float *row = (const float *)weights->data + i * weights->stride;
        bool any = false;

        for (int e = 0; e < t->load.n_experts; e++) {
            t->n_taken[e] += row[e] != 0.0f;
            any |= row[e] != 0.0f;
        }
        t->load.n_tokens += any;
    }
}

/* ----------------------------------------------------------------- tallies */

static int tally_init(struct tally *t, const struct erne_node *node)
{
    const struct erne_tensor *weights = node->src[ERNE_SRC_WEIGHTS];

    *t = (struct tally){ .bank = bank_of(node) };
    t->load.n_experts = (int)weights->dim[1];
    t->load.n_used = node->params.moe_ffn.n_used;
    t->load.bank = (int)(weights->parent ? weights->parent_offset / weights->dim[1] : 0);
    if (sscanf(t->bank, "layers.%d.", &t->load.layer) != 1)
        return ERNE_EFORMAT;
    t->n_taken = calloc((size_t)t->load.n_experts, sizeof(*t->n_taken));
    return t->n_taken ? 0 : ERNE_ENOMEM;
}

static int tallies_init(struct tallies *all, const struct erne_graph *g)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n_nodes; i++)
        n += g->nodes[i].op == ERNE_OP_MOE_FFN;
    all->items = calloc(n ? n : 1, sizeof(*all->items));
    if (!all->items)
        return ERNE_ENOMEM;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == ERNE_OP_MOE_FFN)
            ERNE_TRY(tally_init(&all->items[all->n++], &g->nodes[i]));
    return 0;
}

static void tallies_deinit(struct tallies *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->items[i].n_taken);
    free(all->items);
}

static void sum_up(struct tally *t)
{
    uint64_t most = 0, all = 0;
    double entropy = 0;

    for (int e = 0; e < t->load.n_experts; e++) {
        all += t->n_taken[e];
        most = t->n_taken[e] > most ? t->n_taken[e] : most;
        t->load.n_seen += t->n_taken[e] > 0;
    }
    for (int e = 0; e < t->load.n_experts; e++) {
        const double p = (double)t->n_taken[e] / (double)all;

        entropy -= p > 0 ? p * log(p) : 0;
    }
    t->load.busiest = (double)most / (double)t->load.n_tokens;
    t->load.entropy =
        t->load.n_experts > 1 ? entropy / log((double)t->load.n_experts) : 1;
}

/* -------------------------------------------------------------------- call */

static void set_watch(struct erne_session *session, const struct erne_watch *watch)
{
    session->prefill.plan.watch = watch;
    session->decode.plan.watch = watch;
}

int erne_session_expert_load(struct erne_session *session, const int32_t *tokens,
                             size_t n,
                             int (*visit)(void *user,
                                          const struct erne_expert_load *load),
                             void *user, struct erne_error *err)
{
    struct tallies all = { 0 };
    const struct erne_watch watch = { see, &all };
    int st = tallies_init(&all, &session->decode.graph);

    if (st < 0) {
        tallies_deinit(&all);
        return erne_fail(err, st, "counting what experts take: %s", erne_status_text(st));
    }
    if (all.n > 0) {
        set_watch(session, &watch);
        st = erne_session_eval(session, tokens, n, NULL, err);
        set_watch(session, NULL);
    }
    if (st == 0 && all.status < 0)
        st = erne_fail(err, all.status, "reading what experts take: %s",
                       erne_status_text(all.status));
    for (size_t i = 0; st == 0 && i < all.n; i++) {
        if (all.items[i].load.n_tokens == 0)
            continue;
        sum_up(&all.items[i]);
        st = visit(user, &all.items[i].load);
    }
    tallies_deinit(&all);
    return st;
}
