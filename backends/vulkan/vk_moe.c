/* vk_moe.c -- mixtures of experts, all of it on the device: routing, laying out which
 * tokens each expert has, both products, the weighted sum. Nothing is read back. */
#include "backends/vulkan/vk_ops.h"

#include <stdlib.h>

#include "runtime/round.h"

enum { MOST_EXPERTS = 512 }; /* as the shaders' arrays have */

/* ------------------------------------------------------------------- route */

static int moe_route_prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct vk_pipeline_key key = { VK_SHADER_moe_route, { vk_of(be)->lanes } };

    if (!vk_fits(be, node) ||
        node->dst->dim[1] / node->params.moe_route.n_banks > MOST_EXPERTS)
        return ERNE_EUNSUPPORTED;
    return vk_need(be, &key);
}

/* logits: [T, B * E], bias: [B * E], kind: i32 [T], dst: [T, B * E] */
static int moe_route_run(struct erne_backend *be, const struct erne_node *node,
                         const struct erne_step *step)
{
    const struct vk_pipeline_key key = { VK_SHADER_moe_route, { vk_of(be)->lanes } };
    const struct erne_tensor *bias = node->src[ERNE_SRC_ROUTE_BIAS];
    const struct erne_tensor *kind = node->src[ERNE_SRC_KIND];
    const int64_t n = erne_tensor_rows(node->dst, step);
    const int32_t n_banks = node->params.moe_route.n_banks;
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_rows(&op, node->src[ERNE_SRC_X], 0, n, VK_READ);
    vk_op_dense(&op, bias, VK_READ);
    vk_op_dense(&op, kind, VK_READ);
    vk_op_rows(&op, node->dst, 0, n, VK_WRITE);
    vk_op_push(&op, (uint32_t)(node->dst->dim[1] / n_banks));
    vk_op_push(&op, (uint32_t)n_banks);
    vk_op_push(&op, (uint32_t)node->params.moe_route.n_used);
    vk_op_push_float(&op, node->params.moe_route.norm_min);
    vk_op_push(&op, bias != NULL);
    vk_op_push(&op, kind != NULL);
    return vk_op_dispatch(&op, n, 1, 1);
}

const struct erne_op_impl vk_moe_route = { .name = "shader",
                                           .prepare = moe_route_prepare,
                                           .run = moe_route_run,
                                           .release = vk_release };

/* ------------------------------------------------------------ the scratch */

/* Sizes of a moe_ffn node's parts. */
struct sizes {
    int64_t n_tok, n_experts, n_used, n_slots, n_out, n_ff;
    int64_t block, n_blocks; /* slots of a block; blocks there can be */
    uint64_t plan_bytes, hidden_bytes, given_bytes;
    uint64_t hidden_at, given_at, total; /* in the scratch block; the plan is at 0 */
};

enum { PART_ALIGN = 256 }; /* of the parts of the scratch block */

/* Of n_tok tokens; what is laid out and compiled depends on the most there can be. */
static struct sizes sizes_of(const struct erne_node *node, int64_t n_tok)
{
    const struct erne_tensor *down = node->src[ERNE_SRC_DOWN];
    const int64_t n_experts = down->dim[0], n_used = node->params.moe_ffn.n_used;
    const int64_t share = (node->dst->dim[0] * n_used + n_experts - 1) / n_experts;
    struct sizes s = { .n_tok = n_tok,
                       .n_experts = n_experts,
                       .n_used = n_used,
                       .n_slots = n_tok * n_used,
                       .n_out = down->dim[1],
                       .n_ff = down->dim[2],
                       .block = vk_matmul_at_once(share) };

    s.n_blocks = n_experts + s.n_slots / s.block;
    if (s.n_blocks > s.n_slots)
        s.n_blocks = s.n_slots;
    s.plan_bytes = 4 * (uint64_t)(3 * s.n_blocks + 3 * s.n_slots + n_tok * n_experts);
    s.hidden_bytes = 4 * (uint64_t)(s.n_slots * s.n_ff);
    s.given_bytes = 4 * (uint64_t)(s.n_slots * s.n_out);
    s.hidden_at = erne_align_up(s.plan_bytes, PART_ALIGN);
    s.given_at = s.hidden_at + erne_align_up(s.hidden_bytes, PART_ALIGN);
    s.total = s.given_at + erne_align_up(s.given_bytes, PART_ALIGN);
    return s;
}

static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    (void)be;
    return (size_t)sizes_of(node, node->dst->dim[0]).total;
}

/* ----------------------------------------------------------- where experts are */

/* Experts that one binding shows, all stored alike. */
struct window {
    const uint8_t *base, *end;
    const struct erne_tensor *like; /* one of them */
};

/* Of a node: for both banks four words an expert, as matmul.comp reads them. */
struct moe_state {
    struct vk_buffer table;
};

static const uint8_t *end_of(const struct erne_tensor *w)
{
    return (const uint8_t *)w->data + w->planes.total_bytes;
}

/* Whether the window can be widened to show w. */
static bool takes(const struct vk_backend *vk, const struct window *win,
                  const struct erne_tensor *w)
{
    const uint8_t *data = w->data;
    const uint8_t *base = data < win->base ? data : win->base;
    const uint8_t *end = end_of(w) > win->end ? end_of(w) : win->end;

    return erne_scheme_equal(win->like->scheme, w->scheme) &&
           (uint64_t)(end - base) + vk->dev.bind_align <= vk->dev.max_binding &&
           vk_memory_range(&vk->mem, base, (size_t)(end - base)) != NULL;
}

/* Puts every expert of a bank into a window, and the windows' numbers into which. */
static int make_windows(const struct vk_backend *vk, const struct erne_tensor *bank,
                        struct window *windows, uint32_t *which)
{
    int n = 0;

    for (int64_t e = 0; e < bank->dim[0]; e++) {
        const struct erne_tensor *w = &bank->bank[e];
        int i = 0;

        while (i < n && !takes(vk, &windows[i], w))
            i++;
        if (i == n)
            windows[n++] = (struct window){ w->data, end_of(w), w };
        if ((const uint8_t *)w->data < windows[i].base)
            windows[i].base = w->data;
        if (end_of(w) > windows[i].end)
            windows[i].end = end_of(w);
        which[e] = (uint32_t)i;
    }
    return n;
}

/* Fills a bank's part of the table. */
static void fill_table(uint32_t *table, const struct erne_tensor *bank,
                       const struct window *windows, const uint32_t *which)
{
    for (int64_t e = 0; e < bank->dim[0]; e++) {
        const struct erne_tensor *w = &bank->bank[e];
        const uint64_t at = (uint64_t)((const uint8_t *)w->data - windows[which[e]].base);

        table[4 * e] = which[e];
        table[4 * e + 1] = (uint32_t)(at / 16);
        table[4 * e + 2] = (uint32_t)((at + w->planes.scales_offset) / 8);
        table[4 * e + 3] = (uint32_t)((at + w->planes.minima_offset) / 8);
    }
}

/* -------------------------------------------------------------------- ffn */

static struct vk_pipeline_key lanes_key(struct erne_backend *be, enum vk_shader shader)
{
    return (struct vk_pipeline_key){ shader, { vk_of(be)->lanes } };
}

/* Inputs of the second product lie in the scratch block. */
static bool is_aligned(const struct erne_node *node, const struct sizes *s, bool is_down)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];

    return is_down ? vk_matmul_aligned(NULL, s->n_ff, s->n_ff)
                   : vk_matmul_aligned(x->data, x->stride, x->dim[1]);
}

static int need_bank(struct erne_backend *be, const struct erne_node *node,
                     const struct sizes *s, bool is_down)
{
    const struct erne_tensor *bank =
        node->src[is_down ? ERNE_SRC_DOWN : ERNE_SRC_GATE_UP];

    for (int64_t e = 0; e < bank->dim[0]; e++) {
        const struct vk_pipeline_key key =
            vk_matmul_key(
            be, &bank->bank[e], s->block, true, is_aligned(node, s, is_down));

        if (bank->bank[e].planes.total_bytes + vk_of(be)->dev.bind_align >
            vk_of(be)->dev.max_binding)
            return ERNE_EUNSUPPORTED;
        ERNE_TRY(vk_need(be, &key));
    }
    return 0;
}

static int moe_ffn_prepare(struct erne_backend *be, struct erne_node *node)
{
    struct vk_device *dev = &vk_of(be)->dev;
    const struct sizes s = sizes_of(node, node->dst->dim[0]);
    const struct vk_pipeline_key group = lanes_key(be, VK_SHADER_moe_group);
    const struct vk_pipeline_key sum = lanes_key(be, VK_SHADER_moe_sum);
    struct moe_state *state;
    int st;

    if (!vk_fits(be, node) || s.n_experts > MOST_EXPERTS ||
        s.hidden_bytes > dev->max_binding || s.given_bytes > dev->max_binding ||
        s.n_blocks > dev->max_groups)
        return ERNE_EUNSUPPORTED;
    ERNE_TRY(vk_need(be, &group));
    ERNE_TRY(vk_need(be, &sum));
    ERNE_TRY(need_bank(be, node, &s, false));
    ERNE_TRY(need_bank(be, node, &s, true));
    state = calloc(1, sizeof(*state));
    if (!state)
        return ERNE_ENOMEM;
    st = vk_buffer_create(&state->table, dev, (VkDeviceSize)s.n_experts * 2 * 16, true);
    if (st < 0)
        free(state);
    else
        node->state = state;
    return st;
}

static void moe_ffn_release(struct erne_backend *be, struct erne_node *node)
{
    struct moe_state *state = node->state;

    vk_release(be, node);
    if (state)
        vk_buffer_destroy(&state->table, &vk_of(be)->dev);
    free(state);
    node->state = NULL;
}

/* weights: [T, E] -> the plan */
static int group_tokens(struct erne_backend *be, const struct erne_node *node,
                        const struct sizes *s)
{
    const struct vk_pipeline_key key = lanes_key(be, VK_SHADER_moe_group);
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_rows(&op, node->src[ERNE_SRC_WEIGHTS], 0, s->n_tok, VK_READ);
    vk_op_scratch(&op, 0, s->plan_bytes, VK_WRITE);
    vk_op_push(&op, 0);
    vk_op_push(&op, (uint32_t)s->n_tok);
    vk_op_push(&op, (uint32_t)s->n_experts);
    vk_op_push(&op, (uint32_t)s->n_used);
    vk_op_push(&op, (uint32_t)s->n_blocks);
    vk_op_push(&op, (uint32_t)s->block);
    return vk_op_dispatch(&op, 1, 1, 1);
}

/* One of the two products, by the experts of one window. */
static int multiply(struct erne_backend *be, const struct erne_node *node,
                    const struct sizes *s, const struct window *win, uint32_t number,
                    bool is_down)
{
    const struct moe_state *state = node->state;
    const struct vk_pipeline_key key = vk_matmul_key(be, win->like, s->block, true,
                                                     is_aligned(node, s, is_down));
    const struct vk_piece p = { .n_tiles = win->like->planes.n_pad / ERNE_TILE_ROWS };
    const uint64_t n_bytes = (uint64_t)(win->end - win->base);
    struct vk_op op = vk_op_begin(be, &key);

    if (is_down)
        vk_op_scratch_rows(&op, s->hidden_at, s->n_slots, s->n_ff, VK_READ);
    else
        vk_op_rows(&op, node->src[ERNE_SRC_X], 0, s->n_tok, VK_READ);
    vk_op_weight(&op, win->base, n_bytes, 16);
    vk_op_weight(&op, win->base, n_bytes, 8);
    vk_op_weight(&op, win->base, n_bytes, 8);
    vk_op_buffer(&op, &state->table);
    vk_op_push(&op, is_down ? 4 * (uint32_t)s->n_experts : 0);
    vk_op_scratch(&op, 0, s->plan_bytes, VK_READ);
    vk_op_push(&op, 0);
    vk_op_push(&op, 0);
    if (is_down)
        vk_op_scratch_rows(&op, s->given_at, s->n_slots, s->n_out, VK_WRITE);
    else
        vk_op_scratch_rows(&op, s->hidden_at, s->n_slots, s->n_ff, VK_WRITE);
    vk_matmul_push(&op, win->like, &p, s->n_slots);
    vk_op_push(&op, (uint32_t)(is_down ? s->n_out : s->n_ff));
    vk_op_push(&op, is_down ? ERNE_ACT_NONE : ERNE_ACT_SWIGLU);
    vk_op_push(&op, 0);
    vk_op_push(&op, 0);
    vk_op_push(&op, number);
    vk_op_push(&op, 0);
    vk_op_push(&op, is_down ? UINT32_MAX : 3 * (uint32_t)s->n_blocks);
    if (number > 0)
        vk_op_beside(&op);
    return vk_op_dispatch(&op, vk_matmul_groups(&key, &p), s->n_blocks, 1);
}

/* One of the two products of all experts. */
static int multiply_all(struct erne_backend *be, const struct erne_node *node,
                        const struct sizes *s, bool is_down)
{
    const struct erne_tensor *bank =
        node->src[is_down ? ERNE_SRC_DOWN : ERNE_SRC_GATE_UP];
    const struct moe_state *state = node->state;
    struct window windows[MOST_EXPERTS];
    uint32_t which[MOST_EXPERTS];
    const int n = make_windows(vk_of(be), bank, windows, which);

    fill_table((uint32_t *)(void *)state->table.mapped + (is_down ? 4 * s->n_experts : 0),
               bank, windows, which);
    for (int i = 0; i < n; i++)
        ERNE_TRY(multiply(be, node, s, &windows[i], (uint32_t)i, is_down));
    return 0;
}

/* dst = residual + the weighted sum of what the experts gave */
static int sum_up(struct erne_backend *be, const struct erne_node *node,
                  const struct sizes *s)
{
    const struct vk_pipeline_key key = lanes_key(be, VK_SHADER_moe_sum);
    const struct erne_tensor *residual = node->src[ERNE_SRC_FFN_RESIDUAL];
    struct vk_op op = vk_op_begin(be, &key);

    vk_op_scratch(&op, 0, s->plan_bytes, VK_READ);
    vk_op_push(&op, (uint32_t)(3 * s->n_blocks + s->n_slots));
    vk_op_scratch_rows(&op, s->given_at, s->n_slots, s->n_out, VK_READ);
    vk_op_rows(&op, residual, 0, s->n_tok, VK_READ);
    vk_op_rows(&op, node->dst, 0, s->n_tok, VK_WRITE);
    vk_op_push(&op, (uint32_t)s->n_used);
    vk_op_push(&op, (uint32_t)s->n_out);
    vk_op_push(&op, residual != NULL);
    return vk_op_dispatch(&op, s->n_tok, 1, 1);
}

/* x: [T, K], weights: [T, E], gate_up, down: banks, residual, dst: [T, K'] */
static int moe_ffn_run(struct erne_backend *be, const struct erne_node *node,
                       const struct erne_step *step)
{
    const struct sizes s = sizes_of(node, erne_tensor_rows(node->dst, step));

    ERNE_TRY(group_tokens(be, node, &s));
    ERNE_TRY(multiply_all(be, node, &s, false));
    ERNE_TRY(multiply_all(be, node, &s, true));
    return sum_up(be, node, &s);
}

const struct erne_op_impl vk_moe_ffn = { .name = "shaders",
                                         .prepare = moe_ffn_prepare,
                                         .scratch = scratch,
                                         .run = moe_ffn_run,
                                         .release = moe_ffn_release };
