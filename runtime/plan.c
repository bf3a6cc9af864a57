/* plan.c -- places nodes on backends and step tensors in one arena. See plan.h.
 *
 * The arena is laid out by lifetime: tensors in the order of their making, each at the
 * lowest offset that no tensor still alive occupies. Inputs and outputs are alive for the
 * whole step.
 */
#include "runtime/plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/verdict.h"

enum { ALIGN = 256 };

/* When a tensor's memory is in use: from the node that makes it to its last reader. */
struct span {
    struct erne_tensor *tensor;
    size_t first, last;
    size_t offset, n_bytes;
};

/* Whom a plan is made with, and who is told of it. */
struct planner {
    struct erne_backend *backends[ERNE_MAX_BACKENDS + 1];
    erne_log_fn log;
    void *log_user;
    struct erne_error *err;
    size_t n_no_memory; /* nodes that a device has no memory for */
};

static void debug_line(const struct planner *p, const char *fmt, ...) ERNE_PRINTF(2, 3);

static void debug_line(const struct planner *p, const char *fmt, ...)
{
    char line[256];
    va_list args;

    if (!p->log)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    p->log(p->log_user, ERNE_LOG_DEBUG, line);
}

/* What costs speed that the user counted on is said aloud. */
static void warn_of_memory(const struct planner *p, size_t n_nodes)
{
    char line[128];

    if (!p->log || p->n_no_memory == 0)
        return;
    snprintf(line, sizeof(line),
             "%s has no memory for %zu of %zu operators: others compute them",
             p->backends[0]->fns->name, p->n_no_memory, n_nodes);
    p->log(p->log_user, ERNE_LOG_WARN, line);
}

static void warn_of_step(const struct planner *p, int left_out)
{
    char line[128];

    snprintf(line, sizeof(line), "%s has no memory for a step: others compute it",
             p->backends[left_out]->fns->name);
    if (p->log)
        p->log(p->log_user, ERNE_LOG_WARN, line);
}

int erne_node_offer(struct erne_backend *be, struct erne_node *node)
{
    const struct erne_op_impl *const *impls = be->fns->ops[node->op];

    for (; impls && *impls; impls++) {
        int st;

        node->state = NULL;
        st = erne_op_impl_prepare(*impls, be, node);
        if (st == 0) {
            node->impl = *impls;
            node->backend = be;
            return 0;
        }
        if (st != ERNE_EUNSUPPORTED)
            return st;
    }
    return 1;
}

void erne_node_withdraw(struct erne_node *node)
{
    if (node->impl && node->impl->release)
        node->impl->release(node->backend, node);
    node->impl = NULL;
    node->state = NULL;
}

static const char no_memory[] = ": no memory";

/* The same, and memory for what it takes. */
static int offer_room(struct erne_plan *plan, struct erne_backend *be,
                      struct erne_node *node, const char **why)
{
    int st;

    *why = ": failed verification";
    if (erne_refused_has(&be->refused, node))
        return 1;
    *why = ": experts stream from the file";
    if (be->experts && node->op == ERNE_OP_MOE_FFN && erne_backend_is_device(be))
        return 1;
    *why = "";
    st = erne_node_offer(be, node);
    if (st == 0) {
        st = erne_mappings_add_node(&plan->maps, node);
        if (st < 0)
            erne_node_withdraw(node);
    }
    if (erne_backend_is_device(be) && (st == ERNE_ENOMEM || st == ERNE_EUNSUPPORTED)) {
        *why = no_memory;
        st = 1;
    }
    if (st == ERNE_EDEVICE)
        plan->failed = be;
    return st;
}

static int place_node(struct erne_plan *plan, struct erne_node *node, struct planner *p)
{
    for (size_t i = 0; p->backends[i]; i++) {
        const char *be_name = p->backends[i]->fns->name, *why;
        int st = offer_room(plan, p->backends[i], node, &why);

        if (st < 0)
            return erne_fail(p->err, st, "%s: %s on %s: %s", node->dst->name,
                             erne_op_name(node->op), be_name, erne_status_text(st));
        if (st == 0) {
            debug_line(p, "%s: %s on %s (%s)", node->dst->name, erne_op_name(node->op),
                       be_name, node->impl->name);
            return 0;
        }
        p->n_no_memory += why == no_memory;
        debug_line(p, "%s: %s declined by %s%s", node->dst->name, erne_op_name(node->op),
                   be_name, why);
    }
    return erne_fail(p->err, ERNE_EUNSUPPORTED, "%s: no backend takes %s",
                     node->dst->name, erne_op_name(node->op));
}

static bool is_planned(const struct erne_tensor *t)
{
    return !t->parent && (t->mem == ERNE_MEM_STEP || t->mem == ERNE_MEM_INPUT ||
                          t->mem == ERNE_MEM_OUTPUT);
}

/* spans: [graph->n_tensors], one a planned tensor; answers how many. */
static size_t find_spans(const struct erne_graph *g, struct span *spans)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n_tensors; i++) {
        struct erne_tensor *t = &g->tensors[i];
        const bool whole = t->mem != ERNE_MEM_STEP;

        if (is_planned(t))
            spans[n++] = (struct span){ .tensor = t,
                                        .first = whole ? 0 : SIZE_MAX,
                                        .last = whole ? SIZE_MAX : 0,
                                        .n_bytes = t->n_bytes };
    }
    return n;
}

static void touch(struct span *spans, size_t n_spans, struct erne_tensor *t, size_t when)
{
    if (!t)
        return;
    t = erne_tensor_root(t);
    for (size_t i = 0; i < n_spans; i++)
        if (spans[i].tensor == t) {
            if (when < spans[i].first)
                spans[i].first = when;
            if (when > spans[i].last)
                spans[i].last = when;
            return;
        }
}

static bool overlap(const struct span *a, const struct span *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset for spans[i] that no earlier span alive at the same time covers. */
static size_t find_offset(const struct span *spans, size_t i)
{
    size_t offset = 0;
    bool moved = true;

    while (moved) {
        moved = false;
        for (size_t j = 0; j < i; j++) {
            const size_t end = spans[j].offset + spans[j].n_bytes;

            if (overlap(&spans[i], &spans[j]) && offset < end &&
                spans[j].offset < offset + spans[i].n_bytes) {
                offset = (end + ALIGN - 1) & ~(size_t)(ALIGN - 1);
                moved = true;
            }
        }
    }
    return offset;
}

static int place_memory(struct erne_plan *plan, struct erne_error *err)
{
    struct erne_graph *g = plan->graph;
    struct span *spans = calloc(g->n_tensors + 1, sizeof(*spans));
    size_t n_spans, total = 0;
    int st = ERNE_ENOMEM;

    if (!spans)
        goto fail;
    n_spans = find_spans(g, spans);
    for (size_t i = 0; i < g->n_nodes; i++) {
        for (int s = 0; s < ERNE_MAX_SRC; s++)
            touch(spans, n_spans, g->nodes[i].src[s], i);
        touch(spans, n_spans, g->nodes[i].dst, i);
    }
    for (size_t i = 0; i < n_spans; i++) {
        spans[i].offset = find_offset(spans, i);
        if (spans[i].offset + spans[i].n_bytes > total)
            total = spans[i].offset + spans[i].n_bytes;
    }
    st = erne_arena_init(&plan->step, total);
    if (st < 0)
        goto fail;
    plan->step.used = total;
    for (size_t i = 0; i < n_spans; i++)
        spans[i].tensor->data = plan->step.base + spans[i].offset;
    free(spans);
    return 0;
fail:
    free(spans);
    return erne_fail(err, st, "no memory for a step (%zu bytes)", total);
}

/* Views point into their parents, whose addresses are known now. */
static void place_views(struct erne_graph *g)
{
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct erne_tensor *t = &g->tensors[i];
        const size_t size = t->type == ERNE_TYPE_F16 ? 2 : 4;

        if (t->parent)
            t->data = (uint8_t *)t->parent->data + (size_t)t->parent_offset * size;
    }
}

/* Bytes of scratch that the nodes of a backend need at most; *used: whether it has any.
 */
static size_t scratch_of(const struct erne_graph *g, struct erne_backend *be, bool *used)
{
    size_t most = 0;

    *used = false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct erne_node *node = &g->nodes[i];
        size_t n = 0;

        if (node->backend != be)
            continue;
        *used = true;
        if (node->impl->scratch)
            n = node->impl->scratch(be, node);
        if (n > most)
            most = n;
    }
    return most;
}

/* A backend's memory for a step: scratch, and the arena if it cannot use the host's. */
static int make_room(struct erne_plan *plan, struct erne_backend *be,
                     const struct planner *p)
{
    const struct erne_range arena = { plan->step.base, plan->step.cap, ERNE_MEM_STEP };
    bool used;
    const size_t scratch = scratch_of(plan->graph, be, &used);
    int st = used ? erne_mappings_add(&plan->maps, be, &arena) : 0;

    if (st == 0)
        st = be->fns->reserve_scratch(be, scratch);
    if (st == ERNE_EDEVICE)
        plan->failed = be;
    if (st < 0)
        return erne_fail(p->err, st,
                         "no memory for a step on %s (%zu bytes, %zu of "
                         "scratch)",
                         be->fns->name, arena.n_bytes, scratch);
    plan->scratch_bytes += scratch;
    return 0;
}

static int place_all(struct erne_plan *plan, struct planner *p)
{
    struct erne_graph *g = plan->graph;

    plan->order = calloc(g->n_nodes + 1, sizeof(struct erne_node *));
    if (!plan->order)
        return erne_fail(p->err, ERNE_ENOMEM, "no memory for a plan");
    for (size_t i = 0; i < g->n_nodes; i++) {
        plan->order[i] = &g->nodes[i];
        ERNE_TRY(place_node(plan, &g->nodes[i], p));
    }
    ERNE_TRY(place_memory(plan, p->err));
    place_views(g);
    if (erne_itinerary_init(&plan->route, g) < 0)
        return erne_fail(p->err, ERNE_ENOMEM, "no memory for a plan");
    return 0;
}

/* One try with the planner's backends. *left_out: the place of a device among them that
 * has no room for a step, or -1. */
static int try_plan(struct erne_plan *plan, struct planner *p, int *left_out)
{
    p->n_no_memory = 0;
    *left_out = -1;
    ERNE_TRY(place_all(plan, p));
    for (int i = 0; p->backends[i]; i++) {
        const int st = make_room(plan, p->backends[i], p);

        if ((st == ERNE_ENOMEM || st == ERNE_EUNSUPPORTED) &&
            erne_backend_is_device(p->backends[i]))
            *left_out = i;
        if (st < 0)
            return st;
    }
    return 0;
}

/* "cpu 3, vulkan 178": how many nodes each has. */
static void count_nodes(const struct erne_plan *plan, const struct planner *p,
                        char text[128])
{
    size_t at = 0;

    text[0] = '\0';
    for (int b = 0; p->backends[b] && at < 128; b++) {
        size_t n = 0;

        for (size_t i = 0; i < plan->graph->n_nodes; i++)
            n += plan->graph->nodes[i].backend == p->backends[b];
        if (n > 0)
            at += (size_t)snprintf(text + at, 128 - at, "%s%s %zu", at > 0 ? ", " : "",
                                   p->backends[b]->fns->name, n);
    }
}

int erne_plan_init(struct erne_plan *plan, struct erne_graph *graph,
                   struct erne_backend *const *backends, erne_log_fn log, void *log_user,
                   struct erne_error *err)
{
    struct planner p = { .log = log, .log_user = log_user, .err = err };
    struct erne_backend *failed;
    char nodes[128];
    int left_out, st;

    for (int i = 0; backends[i] && i < ERNE_MAX_BACKENDS; i++)
        p.backends[i] = backends[i];
    for (;;) {
        *plan = (struct erne_plan){ .graph = graph };
        st = try_plan(plan, &p, &left_out);
        if (st == 0)
            break;
        failed = plan->failed;
        erne_plan_deinit(plan);
        plan->failed = failed;
        if (left_out < 0)
            return st;
        warn_of_step(&p, left_out);
        for (int i = left_out; i < ERNE_MAX_BACKENDS; i++)
            p.backends[i] = p.backends[i + 1];
    }
    warn_of_memory(&p, graph->n_nodes);
    count_nodes(plan, &p, nodes);
    debug_line(&p, "plan: %zu nodes (%s) in %zu runs, %zu copies, %zu bytes a step",
               graph->n_nodes, nodes, plan->route.n_legs - 1, plan->route.n_transfers,
               plan->step.cap);
    return 0;
}

void erne_plan_deinit(struct erne_plan *plan)
{
    for (size_t i = 0; plan->graph && i < plan->graph->n_nodes; i++)
        erne_node_withdraw(&plan->graph->nodes[i]);
    if (erne_mappings_deinit(&plan->maps))
        erne_arena_leave(&plan->step);
    else
        erne_arena_deinit(&plan->step);
    erne_itinerary_deinit(&plan->route);
    free(plan->order);
    *plan = (struct erne_plan){ 0 };
}

/* One by one, so that each can be watched, or none be begun any more. */
static int run_singly(const struct erne_plan *plan, const struct erne_leg *leg,
                      const struct erne_step *step)
{
    struct erne_node *const *nodes = plan->order + leg->first;

    for (size_t i = 0; i < leg->n_nodes; i++) {
        if (erne_gives_up(&plan->ask))
            return ERNE_ECANCELLED;
        if (plan->watch)
            plan->watch->see(plan->watch->user, nodes[i], step);
        if (!plan->watch || nodes[i]->dst != plan->idle)
            ERNE_TRY(leg->be->fns->run(leg->be, nodes + i, 1, step));
    }
    return ERNE_OK;
}

static int run_leg(struct erne_plan *plan, const struct erne_leg *leg,
                   const struct erne_step *step)
{
    struct erne_backend *be = leg->be;
    int st;

    ERNE_TRY(erne_leg_bring(&plan->route, leg, plan->order, step, &plan->failed));
    if (leg->n_nodes == 0)
        return 0;
    st = plan->watch || plan->ask.fn
             ? run_singly(plan, leg, step)
             : be->fns->run(be, plan->order + leg->first, leg->n_nodes, step);
    if (st < 0)
        plan->failed = be;
    return st;
}

int erne_plan_run(struct erne_plan *plan, const struct erne_step *step,
                  struct erne_error *err)
{
    plan->failed = NULL;
    for (size_t i = 0; i < plan->route.n_legs; i++) {
        const int st = run_leg(plan, &plan->route.legs[i], step);

        if (st < 0)
            return erne_fail(err, st, "%s: %s",
                             plan->failed ? plan->failed->fns->name : "erne",
                             erne_status_text(st));
    }
    return 0;
}
