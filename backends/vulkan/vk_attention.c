/* vk_attention.c -- attention over the cache and inside segments; both are
 * shaders/attention.comp, told apart by where keys and values come from. */
#include "backends/vulkan/vk_ops.h"

enum { MOST_LANES = 64 };
enum { MOST_COLUMNS = 256 }; /* that attention_lanes.comp has registers for */

/* Heads and rows of a node of either operator. */
struct shape {
    enum vk_kv source;
    int64_t d, n_kv_heads, n_group, n_rows;
    bool aligned; /* every row begins at a multiple of 16 bytes */
    float scale;
};

static bool is_aligned(const struct erne_tensor *t)
{
    return (uintptr_t)t->data % 16 == 0 && t->stride % 4 == 0;
}

static enum vk_kv source_of(const struct erne_tensor *cache)
{
    switch (cache->type) {
    case ERNE_TYPE_F16: return VK_KV_F16;
    case ERNE_TYPE_Q8: return VK_KV_Q8;
    case ERNE_TYPE_Q4: return VK_KV_Q4;
    default: return VK_KV_F32;
    }
}

static struct shape shape_of(const struct erne_node *node)
{
    struct shape s = { .n_rows = node->dst->dim[0] };

    if (node->op == ERNE_OP_SEGMENT_ATTENTION) {
        s.source = VK_KV_ROWS;
        s.d = node->params.segment_attention.head_dim;
        s.n_kv_heads = node->params.segment_attention.n_heads;
        s.n_group = 1;
        s.aligned = is_aligned(node->src[ERNE_SRC_K]) &&
                    is_aligned(node->src[ERNE_SRC_V]);
        s.scale = node->params.segment_attention.scale;
    } else {
        s.source = source_of(node->src[ERNE_SRC_K]);
        s.d = node->params.attention.head_dim;
        s.n_kv_heads = node->params.attention.n_kv_heads;
        s.n_group = node->params.attention.n_heads / s.n_kv_heads;
        s.aligned = (uintptr_t)node->src[ERNE_SRC_K]->data % 16 == 0 &&
                    (uintptr_t)node->src[ERNE_SRC_V]->data % 16 == 0;
        s.scale = node->params.attention.scale;
    }
    s.aligned = s.aligned && is_aligned(node->src[ERNE_SRC_X]) &&
                is_aligned(node->dst) && s.d % 8 == 0;
    return s;
}

static bool by_lanes(const struct vk_backend *vk, const struct shape *s)
{
    return vk->narrow > 0 && s->aligned && s->d <= MOST_COLUMNS &&
           (s->source != VK_KV_Q4 || s->d % 16 == 0);
}

/* Whether n queries fit a workgroup: rows, scores, and five numbers of each. */
static bool fits_shared(const struct vk_backend *vk, const struct shape *s, uint32_t n)
{
    return 4 * n * (uint64_t)(s->d + 64 + 5) <= vk->dev.max_shared;
}

/* Queries that share the reading of keys: as many as there are, shared memory holds, and
 * registers hold sums of; narrow subgroups have all they share in registers. */
static uint32_t n_at_once(const struct vk_backend *vk, const struct shape *s)
{
    uint32_t n = by_lanes(vk, s) ? 4 : 8;

    while (n > 1 && (!fits_shared(vk, s, n) || n / 2 >= s->n_rows * s->n_group))
        n /= 2;
    return n;
}

static struct vk_pipeline_key key_of(const struct vk_backend *vk, const struct shape *s)
{
    const bool is_wide = s->source == VK_KV_F32 || s->source == VK_KV_ROWS;
    const int64_t n_units = is_wide ? s->d : s->d / 2;
    uint32_t lanes = MOST_LANES;

    while (lanes > 16 && lanes / 2 >= n_units)
        lanes /= 2;
    return (struct vk_pipeline_key){
        by_lanes(vk, s) ? VK_SHADER_attention_lanes : VK_SHADER_attention,
        { by_lanes(vk, s) ? vk->narrow : lanes, (uint32_t)s->source, (uint32_t)s->d,
          n_at_once(vk, s) }
    };
}

/* Workgroups for all queries of a KV head. */
static int64_t n_blocks(const struct shape *s, int64_t n_rows, int64_t at_once)
{
    return (n_rows * s->n_group + at_once - 1) / at_once;
}

/* Few queries cannot fill a device: then several workgroups share their positions. */
static int64_t n_splits(const struct vk_backend *vk, const struct shape *s)
{
    const int64_t wanted = vk->dev.is_cpu ? 4 : 64;
    const int64_t n =
        wanted / (s->n_kv_heads * n_blocks(s, s->n_rows, n_at_once(vk, s)));

    return s->source == VK_KV_ROWS || n < 2 ? 1 : n < 16 ? n : 16;
}

static struct vk_pipeline_key merge_key(const struct vk_backend *vk)
{
    return (struct vk_pipeline_key){ VK_SHADER_attention_merge, { vk->lanes } };
}

static int prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct vk_backend *vk = vk_of(be);
    const struct shape s = shape_of(node);
    const struct vk_pipeline_key key = key_of(vk, &s), merge = merge_key(vk);

    if (!vk_fits(be, node) || !fits_shared(vk, &s, 1) ||
        n_blocks(&s, s.n_rows, n_at_once(vk, &s)) > vk->dev.max_groups ||
        (s.source != VK_KV_ROWS && !vk_kv_takes(node->src[ERNE_SRC_K]->type, s.d)))
        return ERNE_EUNSUPPORTED;
    ERNE_TRY(vk_need(be, &key));
    return n_splits(vk, &s) > 1 ? vk_need(be, &merge) : 0;
}

/* As PART in attention.glsl has it. */
static uint64_t parts_bytes(const struct shape *s, int64_t splits, int64_t n_rows)
{
    const int64_t part = (s->d + 2 + 3) / 4 * 4;

    return (uint64_t)(n_rows * s->n_kv_heads * s->n_group * splits * part) * 4;
}

static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    const struct shape s = shape_of(node);
    const int64_t splits = n_splits(vk_of(be), &s);

    return splits > 1 ? (size_t)parts_bytes(&s, splits, s.n_rows) : 0;
}

static int merge(struct erne_backend *be, const struct erne_node *node,
                 const struct shape *s, int64_t splits, int64_t n)
{
    const struct vk_pipeline_key key = merge_key(vk_of(be));
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_scratch(&op, 0, parts_bytes(s, splits, n), VK_READ);
    vk_op_push(&op, 0);
    vk_op_rows(&op, node->dst, 0, n, VK_WRITE);
    vk_op_push(&op, (uint32_t)(s->n_kv_heads * s->n_group));
    vk_op_push(&op, (uint32_t)s->d);
    vk_op_push(&op, (uint32_t)splits);
    return vk_op_dispatch(&op, s->n_kv_heads * s->n_group, n, 1);
}

/* Keys and values: a cache is dense, rows have a stride. */
static void bind_kv(struct vk_op *op, const struct shape *s, const struct erne_tensor *t,
                    int64_t n)
{
    if (s->source == VK_KV_ROWS) {
        vk_op_rows(op, t, 0, n, VK_READ);
    } else {
        vk_op_dense(op, t, VK_READ);
        vk_op_push(op, 0);
    }
}

/* q: [T, H * d]; k, v: caches, table: i32 [P], position: i32 [T]; or k, v: [T, H * d],
 * bounds: i32 [T, 2]. dst: [T, H * d] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct vk_backend *vk = vk_of(be);
    const struct shape s = shape_of(node);
    const struct vk_pipeline_key key = key_of(vk, &s);
    const int64_t n = erne_tensor_rows(node->dst, step);
    const int64_t splits = n_splits(vk, &s), at_once = key.spec[3];
    const bool rows = s.source == VK_KV_ROWS;
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_rows(&op, node->src[ERNE_SRC_X], 0, n, VK_READ);
    bind_kv(&op, &s, node->src[ERNE_SRC_K], n);
    bind_kv(&op, &s, node->src[ERNE_SRC_V], n);
    vk_op_dense(&op, rows ? NULL : node->src[ERNE_SRC_TABLE], VK_READ);
    vk_op_dense(&op, node->src[rows ? ERNE_SRC_BOUNDS : ERNE_SRC_QPOS], VK_READ);
    if (splits > 1) {
        vk_op_scratch(&op, 0, parts_bytes(&s, splits, n), VK_WRITE);
        vk_op_push(&op, 0);
        vk_op_push(&op, 0);
    } else {
        vk_op_rows(&op, node->dst, 0, n, VK_WRITE);
    }
    vk_op_push(&op, (uint32_t)n);
    vk_op_push(&op, (uint32_t)s.n_kv_heads);
    vk_op_push(&op, (uint32_t)s.n_group);
    vk_op_push_float(&op, s.scale);
    vk_op_push(&op, (uint32_t)splits);
    vk_op_push_float(&op, vk_kv_turn(s.d));
    ERNE_TRY(vk_op_dispatch(&op, n_blocks(&s, n, at_once), s.n_kv_heads, splits));
    return splits > 1 ? merge(be, node, &s, splits, n) : 0;
}

const struct erne_op_impl vk_attention = { .name = "shader",
                                           .quantised_kv = true,
                                           .prepare = prepare,
                                           .scratch = scratch,
                                           .run = run,
                                           .release = vk_release };
const struct erne_op_impl vk_segment_attention = { .name = "shader",
                                                   .prepare = prepare,
                                                   .scratch = scratch,
                                                   .run = run,
                                                   .release = vk_release };
