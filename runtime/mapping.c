/* mapping.c -- see mapping.h. Experts lie one behind the other in the file, so that a
 * bank is mapped as a whole. */
#include "runtime/mapping.h"

#include <stdlib.h>

/* Bytes that may be between two experts: a large tensor starts at a multiple of this. */
enum { EXPERT_GAP = 4096 };

int erne_mappings_add(struct erne_mappings *m, struct erne_backend *be,
                      const struct erne_range *range)
{
    const size_t cap = 2 * m->cap + 16;

    if (!erne_backend_is_device(be) || range->n_bytes == 0)
        return 0;
    if (m->n == m->cap) {
        struct erne_mapped *more = realloc(m->items, cap * sizeof(*more));

        if (!more)
            return ERNE_ENOMEM;
        m->items = more;
        m->cap = cap;
    }
    ERNE_TRY(be->fns->map(be, range));
    m->items[m->n++] = (struct erne_mapped){ be, range->base };
    return 0;
}

/* Unmaps the last ones, so that n are left. True: a device keeps some of them. */
static bool cut(struct erne_mappings *m, size_t n)
{
    bool kept = false;

    while (m->n > n) {
        const struct erne_mapped *last = &m->items[--m->n];

        last->be->fns->unmap(last->be, last->base);
        kept = kept || last->be->keeps_memory;
    }
    return kept;
}

bool erne_mappings_deinit(struct erne_mappings *m)
{
    const bool kept = cut(m, 0);

    free(m->items);
    *m = (struct erne_mappings){ 0 };
    return kept;
}

static int by_address(const void *a, const void *b)
{
    const struct erne_range *x = a, *y = b;

    return (x->base > y->base) - (x->base < y->base);
}

/* Maps ranges [n], those that lie next to each other in one. */
static int add_merged(struct erne_mappings *m, struct erne_backend *be,
                      struct erne_range *ranges, size_t n)
{
    qsort(ranges, n, sizeof(*ranges), by_address);
    for (size_t i = 0; i < n;) {
        struct erne_range all = ranges[i++];

        while (i < n && (uintptr_t)ranges[i].base - (uintptr_t)all.base <=
                            all.n_bytes + EXPERT_GAP) {
            all.n_bytes = (size_t)((uintptr_t)ranges[i].base - (uintptr_t)all.base) +
                          ranges[i].n_bytes;
            i++;
        }
        ERNE_TRY(erne_mappings_add(m, be, &all));
    }
    return 0;
}

/* The experts of all banks of a node. */
static int add_banks(struct erne_mappings *m, const struct erne_node *node)
{
    struct erne_range *ranges;
    size_t n = 0, n_experts = 0;
    int st;

    for (int i = 0; i < ERNE_MAX_SRC; i++)
        if (node->src[i] && node->src[i]->type == ERNE_TYPE_BANK)
            n_experts += (size_t)node->src[i]->dim[0];
    if (n_experts == 0)
        return 0;
    ranges = calloc(n_experts, sizeof(*ranges));
    if (!ranges)
        return ERNE_ENOMEM;
    for (int i = 0; i < ERNE_MAX_SRC; i++)
        for (int64_t e = 0; node->src[i] && node->src[i]->type == ERNE_TYPE_BANK &&
                            e < node->src[i]->dim[0];
             e++) {
            const struct erne_tensor *w = &node->src[i]->bank[e];

            ranges[n++] = (struct erne_range){ w->data, w->n_bytes, ERNE_MEM_WEIGHT };
        }
    st = add_merged(m, node->backend, ranges, n);
    free(ranges);
    return st;
}

static int add_tensor(struct erne_mappings *m, struct erne_backend *be,
                      const struct erne_tensor *t)
{
    const struct erne_range weight = { t->data, t->n_bytes, ERNE_MEM_WEIGHT };
    const struct erne_range state = { t->data, t->n_bytes, ERNE_MEM_STATE };

    if (t->mem == ERNE_MEM_WEIGHT && t->type != ERNE_TYPE_BANK)
        return erne_mappings_add(m, be, &weight);
    if (t->mem != ERNE_MEM_STATE)
        return 0;
    if (!t->state)
        return ERNE_EUNSUPPORTED;
    ERNE_TRY(erne_mappings_add(m, be, &state));
    t->state->store->is_mapped = true;
    return 0;
}

int erne_mappings_add_node(struct erne_mappings *m, const struct erne_node *node)
{
    const size_t n_before = m->n;
    int st = 0;

    if (!erne_backend_is_device(node->backend))
        return 0;
    for (int i = 0; st == 0 && i < ERNE_MAX_SRC; i++)
        if (node->src[i])
            st = add_tensor(m, node->backend, node->src[i]);
    if (st == 0)
        st = add_banks(m, node);
    if (st < 0)
        cut(m, n_before);
    return st;
}
