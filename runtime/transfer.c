/* transfer.c -- see transfer.h. A copy is made late, before the leg that needs it: until
 * then the tensor is alive, so that nothing else has its memory on either side. */
#include "runtime/transfer.h"

#include <stdlib.h>

/* Where the contents of each tensor are: bit 0 for the host, others for devices. */
struct survey {
    const struct erne_graph *g;
    struct erne_backend *devices[ERNE_MAX_BACKENDS];
    int n_devices;
    uint32_t *where; /* [g->n_tensors] */
};

enum { ON_HOST = 1 };

static uint32_t bit_of(struct survey *s, struct erne_backend *be)
{
    int i = 0;

    if (!be || !erne_backend_is_device(be))
        return ON_HOST;
    while (i < s->n_devices && s->devices[i] != be)
        i++;
    if (i == s->n_devices)
        s->devices[s->n_devices++] = be;
    return UINT32_C(2) << i;
}

/* Whether a tensor lives in the step arena, and so moves by itself. */
static bool is_step(const struct erne_tensor *root)
{
    return root->mem == ERNE_MEM_STEP || root->mem == ERNE_MEM_INPUT ||
           root->mem == ERNE_MEM_OUTPUT;
}

static int add_transfer(struct erne_itinerary *it, struct erne_tensor *tensor,
                        struct erne_backend *be, bool up)
{
    const size_t cap = 2 * it->cap_transfers + 16;

    if (it->n_transfers == it->cap_transfers) {
        struct erne_transfer *more = realloc(it->transfers, cap * sizeof(*more));

        if (!more)
            return ERNE_ENOMEM;
        it->transfers = more;
        it->cap_transfers = cap;
    }
    it->transfers[it->n_transfers++] = (struct erne_transfer){ tensor, be, up };
    return 0;
}

/* Sees to it that be (NULL: the session) has the tensor. From one device to another
 * everything goes by way of the host. */
static int need(struct survey *s, struct erne_itinerary *it, struct erne_tensor *t,
                struct erne_backend *be)
{
    struct erne_tensor *root = erne_tensor_root(t);
    const uint32_t bit = bit_of(s, be);
    uint32_t *where;

    if (!is_step(root)) /* and may be none of the graph's */
        return 0;
    where = &s->where[root - s->g->tensors];
    if (*where & bit)
        return 0;
    for (int i = 0; !(*where & ON_HOST) && i < s->n_devices; i++)
        if (*where & (UINT32_C(2) << i)) {
            ERNE_TRY(add_transfer(it, root, s->devices[i], false));
            *where |= ON_HOST;
        }
    if (bit != ON_HOST)
        ERNE_TRY(add_transfer(it, root, be, true));
    *where |= bit;
    return 0;
}

static int survey_leg(struct survey *s, struct erne_itinerary *it, struct erne_leg *leg)
{
    leg->first_transfer = it->n_transfers;
    for (size_t i = leg->first; i < leg->first + leg->n_nodes; i++) {
        const struct erne_node *node = &s->g->nodes[i];

        for (int n = 0; n < ERNE_MAX_SRC; n++)
            if (node->src[n])
                ERNE_TRY(need(s, it, node->src[n], leg->be));
        if (node->dst->parent) /* a part is written, the rest must be there, too */
            ERNE_TRY(need(s, it, node->dst, leg->be));
        s->where[erne_tensor_root(node->dst) - s->g->tensors] = bit_of(s, leg->be);
    }
    leg->n_transfers = it->n_transfers - leg->first_transfer;
    return 0;
}

/* The last leg has no nodes: the outputs come to the host. */
static int survey_outputs(struct survey *s, struct erne_itinerary *it,
                          struct erne_leg *leg)
{
    leg->first_transfer = it->n_transfers;
    for (size_t i = 0; i < s->g->n_tensors; i++)
        if (s->g->tensors[i].mem == ERNE_MEM_OUTPUT)
            ERNE_TRY(need(s, it, &s->g->tensors[i], NULL));
    leg->n_transfers = it->n_transfers - leg->first_transfer;
    return 0;
}

static void cut_legs(struct erne_itinerary *it, const struct erne_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct erne_leg *leg = &it->legs[it->n_legs];

        if (i > 0 && g->nodes[i].backend == g->nodes[i - 1].backend) {
            leg[-1].n_nodes++;
            continue;
        }
        *leg = (struct erne_leg){ .be = g->nodes[i].backend, .first = i, .n_nodes = 1 };
        it->n_legs++;
    }
    it->legs[it->n_legs++] = (struct erne_leg){ .first = g->n_nodes };
}

int erne_itinerary_init(struct erne_itinerary *it, const struct erne_graph *g)
{
    struct survey s = { .g = g };
    int st = ERNE_ENOMEM;

    *it = (struct erne_itinerary){ 0 };
    it->legs = calloc(g->n_nodes + 1, sizeof(*it->legs));
    s.where = calloc(g->n_tensors + 1, sizeof(*s.where));
    if (!it->legs || !s.where)
        goto fail;
    for (size_t i = 0; i < g->n_tensors; i++)
        s.where[i] = ON_HOST;
    cut_legs(it, g);
    st = 0;
    for (size_t i = 0; st == 0 && i < it->n_legs; i++)
        st = it->legs[i].be ? survey_leg(&s, it, &it->legs[i])
                            : survey_outputs(&s, it, &it->legs[i]);
    if (st < 0)
        goto fail;
    free(s.where);
    return 0;
fail:
    free(s.where);
    erne_itinerary_deinit(it);
    return st;
}

void erne_itinerary_deinit(struct erne_itinerary *it)
{
    free(it->legs);
    free(it->transfers);
    *it = (struct erne_itinerary){ 0 };
}

/* ------------------------------------------------------------------- copies */

static int copy(struct erne_backend *be, void *host, size_t n_bytes, bool up,
                struct erne_backend **failed)
{
    const int st =
        up ? be->fns->upload(be, host, n_bytes) : be->fns->download(be, host, n_bytes);

    if (st < 0)
        *failed = be;
    return st;
}

static int copy_rows(const struct erne_transfer *t, const struct erne_step *step,
                     struct erne_backend **failed)
{
    const size_t n_bytes =
        (size_t)(erne_tensor_rows(t->tensor, step) * t->tensor->stride) *
        erne_type_bytes(t->tensor->type);

    return n_bytes > 0 ? copy(t->be, t->tensor->data, n_bytes, t->up, failed) : 0;
}

/* The pages of a state tensor that are in use, neighbours in one go. */
static int copy_pages(const struct erne_tensor *t, struct erne_backend *be, bool up,
                      struct erne_backend **failed)
{
    const struct erne_store *store = t->state->store;
    const size_t page_bytes = t->n_bytes / (size_t)t->dim[0];

    for (int32_t i = 0, n; i < *store->n_pages; i += n) {
        uint8_t *page = (uint8_t *)t->data + page_bytes * (size_t)store->pages[i];

        n = 1;
        while (i + n < *store->n_pages && store->pages[i + n] == store->pages[i] + n)
            n++;
        ERNE_TRY(copy(be, page, page_bytes * (size_t)n, up, failed));
    }
    return 0;
}

/* Sees to it that be, or the host if it works there, has the state. */
static int bring_state(const struct erne_tensor *t, struct erne_backend *be,
                       struct erne_backend **failed)
{
    struct erne_state *state = t->state;
    const bool to_device = erne_backend_is_device(be);

    if (to_device ? state->at == be : state->on_host)
        return 0;
    if (!state->on_host)
        ERNE_TRY(copy_pages(t, state->at, false, failed));
    state->on_host = true;
    if (!to_device)
        return 0;
    ERNE_TRY(copy_pages(t, be, true, failed));
    state->at = be;
    return 0;
}

int erne_leg_bring(const struct erne_itinerary *it, const struct erne_leg *leg,
                   struct erne_node *const *order, const struct erne_step *step,
                   struct erne_backend **failed)
{
    for (size_t i = 0; i < leg->n_transfers; i++)
        ERNE_TRY(copy_rows(&it->transfers[leg->first_transfer + i], step, failed));
    for (size_t i = leg->first; i < leg->first + leg->n_nodes; i++) {
        struct erne_tensor *dst = order[i]->dst;

        for (int n = 0; n < ERNE_MAX_SRC; n++)
            if (order[i]->src[n] && order[i]->src[n]->state)
                ERNE_TRY(bring_state(order[i]->src[n], leg->be, failed));
        if (dst->state) {
            const bool on_device = erne_backend_is_device(leg->be);

            dst->state->at = on_device ? leg->be : NULL;
            dst->state->on_host = !on_device;
        }
    }
    return 0;
}
