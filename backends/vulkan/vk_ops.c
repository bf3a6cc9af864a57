/* vk_ops.c -- putting dispatches together, and the operators that go by rows. */
#include "backends/vulkan/vk_ops.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------- a dispatch */

struct vk_op vk_op_begin(struct erne_backend *be, const struct vk_pipeline_key *key)
{
    return (struct vk_op){ .vk = vk_of(be), .d.key = *key };
}

void vk_op_push(struct vk_op *op, uint32_t value)
{
    if (op->n_push < VK_MAX_PUSH)
        op->d.push[op->n_push++] = value;
    else
        op->status = ERNE_EFAIL;
}

void vk_op_push_float(struct vk_op *op, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    vk_op_push(op, bits);
}

void vk_op_skip(struct vk_op *op)
{
    op->n_bindings++;
}

static struct vk_binding *next_binding(struct vk_op *op)
{
    return &op->d.binding[op->n_bindings++];
}

/* A binding of host memory; answers the place of its first word. */
static uint32_t bind(struct vk_op *op, const void *host, uint64_t n_bytes,
                     uint32_t word_bytes, const struct vk_region *region)
{
    struct vk_binding *b = next_binding(op);
    int st = vk_memory_find(&op->vk->mem, &op->vk->dev, host, (size_t)n_bytes, &b->view);

    if (st < 0 && op->status == 0)
        op->status = st;
    if (region)
        b->region = *region;
    return b->view.skip / word_bytes;
}

void vk_op_rows(struct vk_op *op, const struct erne_tensor *t, int64_t first, int64_t n,
                enum vk_access access)
{
    struct vk_region r = { .is_written = access == VK_WRITE, .n_rows = (size_t)n };

    if (!t) {
        vk_op_skip(op);
        vk_op_push(op, 0);
        vk_op_push(op, 0);
        return;
    }
    r.n_bytes = (size_t)erne_tensor_cols(t) * sizeof(float);
    r.stride = (size_t)t->stride * sizeof(float);
    r.first = (uintptr_t)t->data + (size_t)first * r.stride;
    vk_op_push(op, bind(op, (const void *)r.first, (r.n_rows - 1) * r.stride + r.n_bytes,
                        sizeof(float), &r));
    vk_op_push(op, (uint32_t)t->stride);
}

void vk_op_dense(struct vk_op *op, const struct erne_tensor *t, enum vk_access access)
{
    struct vk_region r = { .is_written = access == VK_WRITE, .n_rows = 1 };

    if (!t) {
        vk_op_skip(op);
        vk_op_push(op, 0);
        return;
    }
    r.first = (uintptr_t)t->data;
    r.n_bytes = (size_t)(t->dim[0] * erne_tensor_cols(t)) * erne_type_bytes(t->type);
    if (t->type == ERNE_TYPE_WEIGHT)
        r.n_rows = 0;
    vk_op_push(op, bind(op, t->data, r.n_bytes, sizeof(float), &r));
}

void vk_op_weight(struct vk_op *op, const void *host, uint64_t n_bytes,
                  uint32_t word_bytes)
{
    if (host) {
        vk_op_push(op, bind(op, host, n_bytes, word_bytes, NULL));
    } else {
        vk_op_skip(op);
        vk_op_push(op, 0);
    }
}

void vk_op_scratch(struct vk_op *op, uint64_t offset, uint64_t n_bytes,
                   enum vk_access access)
{
    struct vk_binding *b = next_binding(op);

    b->view = (struct vk_view){ .buffer = op->vk->mem.scratch.buffer,
                                .offset = offset,
                                .n_bytes = n_bytes };
    b->region = (struct vk_region){ .first = (uintptr_t)offset,
                                    .n_bytes = (size_t)n_bytes,
                                    .n_rows = 1,
                                    .is_scratch = true,
                                    .is_written = access == VK_WRITE };
}

void vk_op_scratch_rows(struct vk_op *op, uint64_t offset, int64_t n, int64_t stride,
                        enum vk_access access)
{
    vk_op_scratch(op, offset, (uint64_t)(n * stride) * sizeof(float), access);
    vk_op_push(op, 0);
    vk_op_push(op, (uint32_t)stride);
}

void vk_op_buffer(struct vk_op *op, const struct vk_buffer *buffer)
{
    next_binding(op)->view =
        (struct vk_view){ .buffer = buffer->buffer, .n_bytes = buffer->n_bytes };
}

void vk_op_beside(struct vk_op *op)
{
    for (int i = 0; i < VK_MAX_BINDINGS; i++)
        op->d.binding[i].region.n_rows = 0;
}

int vk_op_dispatch(struct vk_op *op, int64_t x, int64_t y, int64_t z)
{
    struct vk_backend *vk = op->vk;

    if (op->status < 0)
        return op->status;
    if (x > vk->dev.max_groups || y > vk->dev.max_groups || z > vk->dev.max_groups)
        return ERNE_EFAIL; /* `prepare` should have declined */
    op->d.n_groups[0] = (uint32_t)x;
    op->d.n_groups[1] = (uint32_t)y;
    op->d.n_groups[2] = (uint32_t)z;
    return vk_queue_dispatch(&vk->queue, &vk->dev, &vk->pipelines, &op->d);
}

/* -------------------------------------------------------------- preparing */

int vk_need(struct erne_backend *be, const struct vk_pipeline_key *key)
{
    struct vk_backend *vk = vk_of(be);
    VkPipeline pipeline;

    return vk_pipelines_get(&vk->pipelines, &vk->dev, key, &pipeline);
}

static bool fits(const struct vk_device *dev, const struct erne_tensor *t)
{
    if (!t || t->type == ERNE_TYPE_WEIGHT || t->type == ERNE_TYPE_BANK)
        return true;
    return (uint64_t)(t->dim[0] * t->stride) * erne_type_bytes(t->type) +
               dev->bind_align <=
           dev->max_binding;
}

bool vk_fits(struct erne_backend *be, const struct erne_node *node)
{
    const struct vk_device *dev = &vk_of(be)->dev;
    bool all = fits(dev, node->dst) && node->src[ERNE_SRC_X]->dim[0] <= dev->max_groups;

    for (int i = 0; i < ERNE_MAX_SRC; i++)
        all = all && fits(dev, node->src[i]);
    return all;
}

void vk_release(struct erne_backend *be, struct erne_node *node)
{
    struct vk_backend *vk = vk_of(be);

    (void)node;
    vk_queue_forget(&vk->queue, &vk->dev);
}

/* A shader with the number of lanes as its only constant. */
static struct vk_pipeline_key row_key(struct erne_backend *be, enum vk_shader shader)
{
    return (struct vk_pipeline_key){ shader, { vk_of(be)->lanes } };
}

static int need_rows(struct erne_backend *be, const struct erne_node *node,
                     enum vk_shader shader)
{
    const struct vk_pipeline_key key = row_key(be, shader);

    return vk_fits(be, node) ? vk_need(be, &key) : ERNE_EUNSUPPORTED;
}

/* ------------------------------------------------------------------- norms */

static int rms_norm_prepare(struct erne_backend *be, struct erne_node *node)
{
    return need_rows(be, node, VK_SHADER_rms_norm);
}

/* x: [T, K], w: [K], dst: [T, K] */
static int rms_norm_run(struct erne_backend *be, const struct erne_node *node,
                        const struct erne_step *step)
{
    const struct vk_pipeline_key key = row_key(be, VK_SHADER_rms_norm);
    const int64_t n = erne_tensor_rows(node->dst, step);
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_rows(&op, node->src[ERNE_SRC_X], 0, n, VK_READ);
    vk_op_dense(&op, node->src[ERNE_SRC_W], VK_READ);
    vk_op_rows(&op, node->dst, 0, n, VK_WRITE);
    vk_op_push(&op, (uint32_t)node->dst->dim[1]);
    vk_op_push_float(&op, node->params.rms_norm.eps);
    return vk_op_dispatch(&op, n, 1, 1);
}

const struct erne_op_impl vk_rms_norm = { .name = "shader",
                                          .prepare = rms_norm_prepare,
                                          .run = rms_norm_run,
                                          .release = vk_release };

static int layer_norm_prepare(struct erne_backend *be, struct erne_node *node)
{
    return need_rows(be, node, VK_SHADER_layer_norm);
}

/* x: [T, K], w, bias: [K], dst: [T, K] */
static int layer_norm_run(struct erne_backend *be, const struct erne_node *node,
                          const struct erne_step *step)
{
    const struct vk_pipeline_key key = row_key(be, VK_SHADER_layer_norm);
    const int64_t n = erne_tensor_rows(node->dst, step);
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_rows(&op, node->src[ERNE_SRC_X], 0, n, VK_READ);
    vk_op_dense(&op, node->src[ERNE_SRC_W], VK_READ);
    vk_op_dense(&op, node->src[ERNE_SRC_NORM_BIAS], VK_READ);
    vk_op_rows(&op, node->dst, 0, n, VK_WRITE);
    vk_op_push(&op, (uint32_t)node->dst->dim[1]);
    vk_op_push_float(&op, node->params.layer_norm.eps);
    return vk_op_dispatch(&op, n, 1, 1);
}

const struct erne_op_impl vk_layer_norm = { .name = "shader",
                                            .prepare = layer_norm_prepare,
                                            .run = layer_norm_run,
                                            .release = vk_release };

/* ------------------------------------------------------------- moving rows */

static int move_prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct erne_tensor *list =
        node->src[node->op == ERNE_OP_GATHER_ROWS ? ERNE_SRC_ROWS : ERNE_SRC_FROM_ROWS];

    if (list->dim[0] * list->dim[1] > vk_of(be)->dev.max_groups)
        return ERNE_EUNSUPPORTED;
    return need_rows(be, node, VK_SHADER_move_rows);
}

/* Rows `list` of x to dst, n_side of them side by side. */
static int move_rows(struct erne_backend *be, const struct erne_tensor *x,
                     const struct erne_tensor *list, const struct erne_tensor *dst,
                     const struct erne_step *step)
{
    const struct vk_pipeline_key key = row_key(be, VK_SHADER_move_rows);
    const int64_t n = erne_tensor_rows(list, step), n_side = list->dim[1];
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_rows(&op, x, 0, erne_tensor_rows(x, step), VK_READ);
    vk_op_dense(&op, list, VK_READ);
    vk_op_rows(&op, dst, 0, erne_tensor_rows(dst, step), VK_WRITE);
    vk_op_push(&op, (uint32_t)x->dim[1]);
    vk_op_push(&op, (uint32_t)n_side);
    return vk_op_dispatch(&op, n * n_side, 1, 1);
}

/* x: [T, K], rows: i32 [O, m], dst: [O, m * K] */
static int gather_rows_run(struct erne_backend *be, const struct erne_node *node,
                           const struct erne_step *step)
{
    return move_rows(be, node->src[ERNE_SRC_X], node->src[ERNE_SRC_ROWS], node->dst,
                     step);
}

/* x: [T, K] in place, y: [F, K], rows: i32 [T] */
static int scatter_rows_run(struct erne_backend *be, const struct erne_node *node,
                            const struct erne_step *step)
{
    return move_rows(be, node->src[ERNE_SRC_FROM], node->src[ERNE_SRC_FROM_ROWS],
                     node->dst, step);
}

const struct erne_op_impl vk_gather_rows = { .name = "shader",
                                             .prepare = move_prepare,
                                             .run = gather_rows_run,
                                             .release = vk_release };
const struct erne_op_impl vk_scatter_rows = { .name = "shader",
                                              .prepare = move_prepare,
                                              .run = scatter_rows_run,
                                              .release = vk_release };

/* ------------------------------------------------------------------- embed */

static struct vk_pipeline_key embed_key(struct erne_backend *be,
                                        const struct erne_tensor *w)
{
    return (struct vk_pipeline_key){
        VK_SHADER_embed, { w->scheme.codec, w->scheme.asym, vk_of(be)->lanes }
    };
}

static int embed_prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct vk_pipeline_key key = embed_key(be, node->src[ERNE_SRC_W]);

    return vk_fits(be, node) ? vk_need(be, &key) : ERNE_EUNSUPPORTED;
}

/* tokens: i32 [T], w: tile64 [V, K], dst: [T, K] */
static int embed_run(struct erne_backend *be, const struct erne_node *node,
                     const struct erne_step *step)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const struct vk_pipeline_key key = embed_key(be, w);
    const int64_t n = erne_tensor_rows(node->dst, step);
    const int64_t group = w->scheme.group ? w->scheme.group : w->planes.k_pad;
    struct vk_piece p;

    for (int64_t tile = 0; tile * ERNE_TILE_ROWS < w->planes.n_pad; tile += p.n_tiles) {
        struct vk_op op = vk_op_begin(be, &key);

        p = vk_piece_of(vk_of(be), w, tile);
        vk_op_dense(&op, node->src[ERNE_SRC_X], VK_READ);
        vk_op_weight(&op, p.codes, p.codes_bytes, sizeof(uint32_t));
        vk_op_weight(&op, p.scales, p.scales_bytes, sizeof(uint32_t));
        vk_op_weight(&op, p.minima, p.scales_bytes, sizeof(uint32_t));
        vk_op_rows(&op, node->dst, 0, n, VK_WRITE);
        vk_op_push(&op, (uint32_t)tile);
        vk_op_push(&op, (uint32_t)p.n_tiles);
        vk_op_push(&op, (uint32_t)w->dim[1]);
        vk_op_push(&op,
                   (uint32_t)(w->planes.k_pad / erne_codec_cell_inputs(w->scheme.codec)));
        vk_op_push(&op, (uint32_t)group);
        vk_op_push(&op, (uint32_t)w->planes.n_groups);
        ERNE_TRY(vk_op_dispatch(&op, n, 1, 1));
    }
    return 0;
}

const struct erne_op_impl vk_embed = {
    .name = "shader", .prepare = embed_prepare, .run = embed_run, .release = vk_release
};

/* -------------------------------------------------------------------- rope */

static int rope_prepare(struct erne_backend *be, struct erne_node *node)
{
    return need_rows(be, node, VK_SHADER_rope);
}

/* x: [T, H * d] in place, position: i32 [T, A], inv_freq: [A, d / 2] */
static int rope_run(struct erne_backend *be, const struct erne_node *node,
                    const struct erne_step *step)
{
    const struct vk_pipeline_key key = row_key(be, VK_SHADER_rope);
    const int64_t n = erne_tensor_rows(node->dst, step);
    const int64_t n_pairs = node->dst->dim[1] / 2, lanes = vk_of(be)->lanes;
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_rows(&op, node->dst, 0, n, VK_WRITE);
    vk_op_dense(&op, node->src[ERNE_SRC_POSITION], VK_READ);
    vk_op_dense(&op, node->src[ERNE_SRC_INV_FREQ], VK_READ);
    vk_op_push(&op, (uint32_t)node->src[ERNE_SRC_POSITION]->dim[1]);
    vk_op_push(&op, (uint32_t)n_pairs);
    vk_op_push(&op, (uint32_t)node->params.rope.head_dim);
    vk_op_push(&op, node->params.rope.kind == ERNE_ROPE_NEOX);
    return vk_op_dispatch(&op, (n_pairs + lanes - 1) / lanes, n, 1);
}

const struct erne_op_impl vk_rope = {
    .name = "shader", .prepare = rope_prepare, .run = rope_run, .release = vk_release
};

/* --------------------------------------------------------------- kv_append */

float vk_kv_turn(int64_t d)
{
    return 1.0f / sqrtf((float)(d & -d));
}

static struct vk_pipeline_key kv_append_key(struct erne_backend *be,
                                            const struct erne_node *node)
{
    const enum erne_type type = node->dst->type;

    if (erne_kv_is_quantised(type))
        return (struct vk_pipeline_key){ VK_SHADER_kv_encode,
                                         { vk_of(be)->lanes,
                                           type == ERNE_TYPE_Q8 ? VK_KV_Q8 : VK_KV_Q4,
                                           (uint32_t)erne_kv_head_dim(node->dst) } };
    return (struct vk_pipeline_key){
        VK_SHADER_kv_append, { vk_of(be)->lanes, node->dst->type == ERNE_TYPE_F16 }
    };
}

bool vk_kv_takes(enum erne_type type, int64_t d)
{
    if (erne_kv_is_quantised(type))
        return d % 4 == 0 && d <= ERNE_KV_MAX_Q4;
    return type != ERNE_TYPE_F16 || d % 2 == 0;
}

static int kv_append_prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct vk_pipeline_key key = kv_append_key(be, node);

    if (!vk_fits(be, node) || !vk_kv_takes(node->dst->type, erne_kv_head_dim(node->dst)))
        return ERNE_EUNSUPPORTED;
    return vk_need(be, &key);
}

/* x: [T, H_kv * d], slot: i32 [T], cache: [P, H_kv, ERNE_KV_PAGE, row of d] */
static int kv_append_run(struct erne_backend *be, const struct erne_node *node,
                         const struct erne_step *step)
{
    const struct vk_pipeline_key key = kv_append_key(be, node);
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const int64_t n = erne_tensor_rows(x, step);
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_rows(&op, x, 0, n, VK_READ);
    vk_op_dense(&op, node->src[ERNE_SRC_SLOT], VK_READ);
    vk_op_dense(&op, node->dst, VK_WRITE);
    vk_op_push(&op, (uint32_t)node->dst->dim[1]);
    if (key.shader == VK_SHADER_kv_encode) {
        vk_op_push_float(&op, vk_kv_turn(erne_kv_head_dim(node->dst)));
        return vk_op_dispatch(&op, n, node->dst->dim[1], 1);
    }
    vk_op_push(&op, (uint32_t)node->dst->dim[3]);
    return vk_op_dispatch(&op, n, 1, 1);
}

const struct erne_op_impl vk_kv_append = { .name = "shader",
                                           .quantised_kv = true,
                                           .prepare = kv_append_prepare,
                                           .run = kv_append_run,
                                           .release = vk_release };
