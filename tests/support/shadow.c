/* shadow.c -- see shadow.h. */
#include "tests/support/shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/reference/ref_backend.h"
#include "platforms/platform.h"

enum { MAX_RANGES = 4096, N_DEVICES = 2 };

struct range {
    const uint8_t *base;
    size_t n_bytes;
    int count;
    uint8_t *copy;
};

struct shadow {
    struct erne_backend base;
    struct erne_backend *inner; /* the reference */
    struct shadow_config *config;
    struct shadow_config own; /* when none was given */
    struct range ranges[MAX_RANGES];
    struct erne_memory_use use;
};

static struct shadow *shadow_of(struct erne_backend *be)
{
    return (struct shadow *)be;
}

static void note_breach(struct shadow *s, const char *text)
{
    if (s->config->breach[0] == '\0')
        snprintf(s->config->breach, sizeof s->config->breach, "%s", text);
}

/* Counts a call, which fails if the test wants it to. */
static int count_call(struct shadow *s, enum shadow_call call)
{
    struct shadow_config *c = s->config;
    const uint64_t n = ++c->n_calls[call];

    if (c->is_lost)
        return ERNE_EDEVICE;
    if (c->fail_at == 0 || call != c->fail_call || n != c->fail_at)
        return 0;
    c->is_lost = c->fail_status == ERNE_EDEVICE;
    return c->fail_status;
}

/* ----------------------------------------------------------------- memory */

/* The range that all of these bytes are in, or NULL. */
static struct range *find(struct shadow *s, const void *host, size_t n_bytes)
{
    const uintptr_t at = (uintptr_t)host;

    for (size_t i = 0; i < MAX_RANGES; i++) {
        const struct range *r = &s->ranges[i];

        if (r->count > 0 && at >= (uintptr_t)r->base &&
            at + n_bytes <= (uintptr_t)r->base + r->n_bytes)
            return &s->ranges[i];
    }
    return NULL;
}

static bool overlaps(const struct range *r, const struct erne_range *with)
{
    const uintptr_t a = (uintptr_t)r->base, b = (uintptr_t)with->base;

    return r->count > 0 && a < b + with->n_bytes && b < a + r->n_bytes;
}

static int shadow_map(struct erne_backend *be, const struct erne_range *range)
{
    struct shadow *s = shadow_of(be);
    struct range *slot = NULL;

    ERNE_TRY(count_call(s, SHADOW_MAP));
    for (size_t i = 0; i < MAX_RANGES; i++) {
        struct range *r = &s->ranges[i];

        if (r->count > 0 && r->base == range->base && r->n_bytes == range->n_bytes)
            return ++r->count, 0;
        if (overlaps(r, range))
            note_breach(s, "ranges overlap");
        if (r->count == 0 && !slot)
            slot = r;
    }
    if (!slot || (s->config->max_bytes > 0 &&
                  range->n_bytes > s->config->max_bytes - s->config->n_bytes))
        return ERNE_ENOMEM;
    *slot = (struct range){ range->base, range->n_bytes, 1, malloc(range->n_bytes) };
    if (!slot->copy)
        return slot->count = 0, ERNE_ENOMEM;
    if (range->mem == ERNE_MEM_WEIGHT)
        memcpy(slot->copy, range->base, range->n_bytes);
    else
        memset(slot->copy, 0xff, range->n_bytes); /* NaN */
    s->config->n_ranges++;
    s->config->n_bytes += range->n_bytes;
    erne_memory_use_take(&s->use, range->n_bytes, false);
    return 0;
}

static void shadow_unmap(struct erne_backend *be, const void *base)
{
    struct shadow *s = shadow_of(be);
    struct range *r = find(s, base, 1);

    if (!r || r->base != base) {
        note_breach(s, "unmaps what is not mapped");
        return;
    }
    if (--r->count > 0)
        return;
    free(r->copy);
    s->config->n_ranges--;
    s->config->n_bytes -= r->n_bytes;
    erne_memory_use_give(&s->use, r->n_bytes, false);
    *r = (struct range){ 0 };
}

/* Where the device has these bytes. */
static uint8_t *copy_of(struct shadow *s, const void *host, size_t n_bytes)
{
    const struct range *r = find(s, host, n_bytes);

    if (!r)
        note_breach(s, "uses memory that is not mapped");
    return r ? r->copy + ((const uint8_t *)host - r->base) : NULL;
}

static int shadow_upload(struct erne_backend *be, const void *host, size_t n_bytes)
{
    struct shadow *s = shadow_of(be);
    uint8_t *copy;

    ERNE_TRY(count_call(s, SHADOW_UPLOAD));
    copy = copy_of(s, host, n_bytes);
    if (!copy)
        return ERNE_EFAIL;
    memcpy(copy, host, n_bytes);
    s->config->n_bytes_up += n_bytes;
    return 0;
}

static int shadow_download(struct erne_backend *be, void *host, size_t n_bytes)
{
    struct shadow *s = shadow_of(be);
    const uint8_t *copy;

    ERNE_TRY(count_call(s, SHADOW_DOWNLOAD));
    copy = copy_of(s, host, n_bytes);
    if (!copy)
        return ERNE_EFAIL;
    memcpy(host, copy, n_bytes);
    s->config->n_bytes_down += n_bytes;
    return 0;
}

/* ------------------------------------------------------------------ nodes */

static const struct erne_op_impl *const references[ERNE_OP_COUNT] = {
#define X(NAME, name, least, most) [ERNE_OP_##NAME] = &erne_ref_##name,
    ERNE_OP_LIST(X)
#undef X
};

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t roll(struct shadow_config *c)
{
    uint64_t z = c->rng += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static int shadow_prepare(struct erne_backend *be, struct erne_node *node)
{
    struct shadow *s = shadow_of(be);
    struct shadow_config *c = s->config;
    const struct erne_op_impl *ref = references[node->op];

    ERNE_TRY(count_call(s, SHADOW_PREPARE));
    if (c->declined_ops >> node->op & 1)
        return ERNE_EUNSUPPORTED;
    if (c->declines_one_in > 0 && roll(c) % (uint64_t)c->declines_one_in == 0)
        return ERNE_EUNSUPPORTED;
    if (ref->prepare)
        ERNE_TRY(ref->prepare(s->inner, node));
    c->n_nodes++;
    return 0;
}

static size_t shadow_scratch(struct erne_backend *be, const struct erne_node *node)
{
    const struct erne_op_impl *ref = references[node->op];

    return ref->scratch ? ref->scratch(shadow_of(be)->inner, node) : 0;
}

static void shadow_release(struct erne_backend *be, struct erne_node *node)
{
    const struct erne_op_impl *ref = references[node->op];

    if (ref->release)
        ref->release(shadow_of(be)->inner, node);
    shadow_of(be)->config->n_nodes--;
}

/* Bytes from a tensor's first to its last. */
static size_t extent(const struct erne_tensor *t, const struct erne_step *step)
{
    if (t->type == ERNE_TYPE_WEIGHT)
        return t->n_bytes;
    return (size_t)((erne_tensor_rows(t, step) - 1) * t->stride + erne_tensor_cols(t)) *
           erne_type_bytes(t->type);
}

/* The experts of a bank on the device; to be freed. */
static struct erne_tensor *move_bank(struct shadow *s, const struct erne_tensor *bank)
{
    struct erne_tensor *moved = calloc((size_t)bank->dim[0], sizeof *moved);

    for (int64_t e = 0; moved && e < bank->dim[0]; e++) {
        moved[e] = bank->bank[e];
        moved[e].data = copy_of(s, moved[e].data, moved[e].n_bytes);
        if (!moved[e].data) {
            free(moved);
            return NULL;
        }
    }
    return moved;
}

/* Row after row of dst on the host becomes NaN; of a cache, the places written. */
static void spoil_host(const struct erne_node *node, const int32_t *slots,
                       const struct erne_step *step)
{
    const struct erne_tensor *dst = node->dst;
    const size_t size = erne_type_bytes(dst->type);
    uint8_t *data = dst->data;

    if (node->op != ERNE_OP_KV_APPEND) {
        for (int64_t r = 0; r < erne_tensor_rows(dst, step); r++)
            memset(data + (size_t)(r * dst->stride) * size, 0xff,
                   (size_t)erne_tensor_cols(dst) * size);
        return;
    }
    for (int32_t t = 0; t < step->n_tok; t++)
        for (int64_t h = 0; h < dst->dim[1]; h++) {
            const int64_t row =
                (slots[t] / ERNE_KV_PAGE * dst->dim[1] + h) * ERNE_KV_PAGE +
                slots[t] % ERNE_KV_PAGE;

            memset(data + (size_t)(row * dst->dim[3]) * size, 0xff,
                   (size_t)dst->dim[3] * size);
        }
}

/* The first element, on the device, becomes another one. */
static void spoil_result(const struct erne_tensor *dst)
{
    if (dst->type == ERNE_TYPE_F16)
        ((uint16_t *)dst->data)[0] ^= 0x4000;
    else
        ((uint32_t *)dst->data)[0] ^= 0x40000000;
}

/* A node on the device's memory. */
struct moved {
    struct erne_node node;
    struct erne_tensor tensors[ERNE_MAX_SRC + 1];
    struct erne_tensor *banks[ERNE_MAX_SRC];
};

static int move(struct shadow *s, struct moved *m, const struct erne_node *node,
                const struct erne_step *step)
{
    *m = (struct moved){ .node = *node };
    for (int i = 0; i <= ERNE_MAX_SRC; i++) {
        const struct erne_tensor *t = i < ERNE_MAX_SRC ? node->src[i] : node->dst;
        struct erne_tensor *to = &m->tensors[i];

        if (!t)
            continue;
        *to = *t;
        if (t->type == ERNE_TYPE_BANK)
            to->bank = m->banks[i] = move_bank(s, t);
        else
            to->data = copy_of(s, t->data, extent(t, step));
        if (t->type == ERNE_TYPE_BANK ? !to->bank : !to->data)
            return ERNE_EFAIL;
        if (i < ERNE_MAX_SRC)
            m->node.src[i] = to;
        else
            m->node.dst = to;
    }
    return 0;
}

static bool is_wrong(const struct shadow_config *config, const struct erne_node *node)
{
    const struct erne_tensor *cache =
        node->op == ERNE_OP_KV_APPEND ? node->dst : node->src[ERNE_SRC_K];

    return config->wrong_ops >> node->op & 1 &&
           (!config->wrong_f32_only || cache->type == ERNE_TYPE_F32);
}

static int shadow_run_node(struct erne_backend *be, const struct erne_node *node,
                           const struct erne_step *step)
{
    struct shadow *s = shadow_of(be);
    struct moved m;
    int st = move(s, &m, node, step);

    if (st == 0)
        st = references[node->op]->run(s->inner, &m.node, step);
    if (st == 0) {
        spoil_host(node,
                   node->op == ERNE_OP_KV_APPEND ? m.node.src[ERNE_SRC_SLOT]->data : NULL,
                   step);
        if (is_wrong(s->config, node))
            spoil_result(m.node.dst);
    }
    for (int i = 0; i < ERNE_MAX_SRC; i++)
        free(m.banks[i]);
    return st;
}

static int shadow_run(struct erne_backend *be, struct erne_node *const *nodes,
                      size_t n_nodes, const struct erne_step *step)
{
    const uint64_t start = pf_time_ns();

    ERNE_TRY(count_call(shadow_of(be), SHADOW_RUN));
    for (size_t i = 0; i < n_nodes; i++) {
        if (step->cancel && atomic_load(step->cancel) != 0)
            return ERNE_ECANCELLED;
        ERNE_TRY(nodes[i]->impl->run(be, nodes[i], step));
    }
    pf_sleep_us((pf_time_ns() - start) / 1000 * shadow_of(be)->config->slowness);
    return 0;
}

/* ------------------------------------------------------------- life cycle */

/* What devices are without a hook. */
static const struct shadow_config doubles[N_DEVICES] = {
    { .slowness = 4 },
    { .wrong_ops = 1u << ERNE_OP_MATMUL },
};

static int shadow_open(struct erne_backend **out, const struct erne_backend_opts *opts,
                       struct erne_error *err)
{
    struct shadow *s;

    if (opts->device >= N_DEVICES)
        return erne_fail(err, ERNE_EUNSUPPORTED, "shadow: there is no device %d",
                         opts->device);
    s = calloc(1, sizeof *s);
    if (!s)
        return erne_fail(err, ERNE_ENOMEM, "no memory for the shadow");
    if (erne_backend_reference.open(&s->inner, opts, err) < 0) {
        free(s);
        return ERNE_ENOMEM;
    }
    s->base.fns = &erne_backend_shadow;
    s->own = doubles[opts->device];
    s->config = opts->hook ? opts->hook : &s->own;
    if (s->config->refuses_open) {
        erne_backend_reference.close(s->inner);
        free(s);
        return erne_fail(err, ERNE_EDEVICE, "shadow: does not open");
    }
    s->config->n_open++;
    *out = &s->base;
    return 0;
}

static void shadow_close(struct erne_backend *be)
{
    struct shadow *s = shadow_of(be);

    for (size_t i = 0; i < MAX_RANGES; i++)
        if (s->ranges[i].count > 0)
            note_breach(s, "is closed with memory mapped");
    erne_backend_reference.close(s->inner);
    s->config->n_open--;
    free(s);
}

static int shadow_devices(int (*visit)(void *user, const struct erne_device_info *info),
                          void *user)
{
    struct erne_device_info info = { .backend = "shadow",
                                     .name = "stand-in",
                                     .driver = "shadow 1",
                                     .detail = "memory of its own",
                                     .memory_bytes = 1 << 20 };
    static const char *const uuids[N_DEVICES] = { "shadow-0", "shadow-1" };

    for (info.index = 0; info.index < N_DEVICES; info.index++) {
        int st;

        info.uuid = uuids[info.index];
        st = visit(user, &info);
        if (st != 0)
            return st;
    }
    return 0;
}

static const struct erne_memory_use *shadow_memory_use(const struct erne_backend *be)
{
    return &((const struct shadow *)be)->use;
}

static int shadow_reserve(struct erne_backend *be, size_t n_bytes)
{
    ERNE_TRY(count_call(shadow_of(be), SHADOW_SCRATCH));
    return erne_backend_reference.reserve_scratch(shadow_of(be)->inner, n_bytes);
}

static const struct erne_op_impl impl = { .name = "shadow",
                                          .prepare = shadow_prepare,
                                          .scratch = shadow_scratch,
                                          .run = shadow_run_node,
                                          .release = shadow_release };
static const struct erne_op_impl *const impls[] = { &impl, NULL };

const struct erne_backend_fns erne_backend_shadow = {
    .name = "shadow",
    .open = shadow_open,
    .close = shadow_close,
    .devices = shadow_devices,
    .run = shadow_run,
    .reserve_scratch = shadow_reserve,
    .map = shadow_map,
    .unmap = shadow_unmap,
    .upload = shadow_upload,
    .download = shadow_download,
    .memory_use = shadow_memory_use,
    .ops = {
#define X(NAME, name, least, most) [ERNE_OP_##NAME] = impls,
        ERNE_OP_LIST(X)
#undef X
    },
};

const struct erne_backend_fns *const shadow_backends[] = { &erne_backend_shadow,
                                                           &erne_backend_reference,
                                                           NULL };
