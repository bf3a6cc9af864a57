/* vk_matmul.c -- matrix products: how they are cut into dispatches. The work is in
 * shaders/matmul.comp and its other forms. */
#include "backends/vulkan/vk_ops.h"

/* --------------------------------------------------------------- pieces */

static uint64_t tile_codes_bytes(const struct erne_tensor *w)
{
    return w->planes.codes_bytes / (uint64_t)(w->planes.n_pad / ERNE_TILE_ROWS);
}

/* How many of n tiles of a plane lie together in the device's memory. */
static int64_t n_together(const struct vk_backend *vk, const void *plane,
                          uint64_t tile_bytes, int64_t n)
{
    const uint64_t most = vk_memory_room(&vk->mem, plane) / tile_bytes;

    return most < (uint64_t)n ? (int64_t)most : n;
}

struct vk_piece vk_piece_of(const struct vk_backend *vk, const struct erne_tensor *w,
                            int64_t first_tile)
{
    const uint64_t codes = tile_codes_bytes(w);
    const uint64_t scales = (uint64_t)w->planes.n_groups * ERNE_TILE_ROWS * 2;
    const uint64_t most = (vk->dev.max_binding - vk->dev.bind_align) / codes;
    const int64_t n_left = w->planes.n_pad / ERNE_TILE_ROWS - first_tile;
    struct vk_piece p = { .first_tile = first_tile, .n_tiles = n_left };

    if ((uint64_t)n_left > most)
        p.n_tiles = (int64_t)most;
    if (p.n_tiles > vk->dev.max_groups)
        p.n_tiles = vk->dev.max_groups;
    p.codes = (const uint8_t *)w->data + (uint64_t)first_tile * codes;
    p.n_tiles = n_together(vk, p.codes, codes, p.n_tiles);
    if (w->planes.scales_bytes > 0) {
        p.scales = (const uint8_t *)w->data + w->planes.scales_offset +
                   (uint64_t)first_tile * scales;
        p.n_tiles = n_together(vk, p.scales, scales, p.n_tiles);
    }
    if (w->planes.minima_bytes > 0) {
        p.minima = (const uint8_t *)w->data + w->planes.minima_offset +
                   (uint64_t)first_tile * scales;
        p.n_tiles = n_together(vk, p.minima, scales, p.n_tiles);
    }
    if (p.n_tiles < 1)
        p.n_tiles = 1; /* its binding fails, and with it the step */
    p.codes_bytes = (uint64_t)p.n_tiles * codes;
    p.scales_bytes = (uint64_t)p.n_tiles * scales;
    return p;
}

/* ----------------------------------------------------------------- shape */

uint32_t vk_matmul_at_once(int64_t n_tok)
{
    return n_tok <= 1 ? 1 : n_tok == 2 ? 2 : n_tok <= 4 ? 4 : 8;
}

bool vk_matmul_aligned(const void *x, int64_t stride, int64_t k)
{
    return (uintptr_t)x % 16 == 0 && stride % 4 == 0 && k % 4 == 0;
}

/* Weights that matmul_dot.comp is for. Of 8 bits with minima it is not: LLVM 19 cannot
 * compile that for lavapipe, and ends the process. */
static bool by_bytes(const struct vk_backend *vk, struct erne_scheme scheme)
{
    return vk->by_bytes && scheme.codec >= ERNE_CODEC_W8 &&
           (scheme.codec != ERNE_CODEC_W8 || !scheme.asym);
}

/* Teams of a workgroup. Few tokens on a wide device share the inputs of a tile, as there
 * are few tiles; a processor has few cores and likes long loops. */
struct vk_pipeline_key vk_matmul_key(struct erne_backend *be, const struct erne_tensor *w,
                                     int64_t n_tok, bool experts, bool aligned)
{
    const uint32_t narrow = vk_of(be)->narrow;
    const bool is_wide = !vk_of(be)->dev.is_cpu, split = is_wide && n_tok <= 4;
    const uint32_t n_teams = split ? 8 : is_wide || n_tok > 4 ? 4 : 1;

    if (by_bytes(vk_of(be), w->scheme))
        return (struct vk_pipeline_key){ VK_SHADER_matmul_dot,
                                         { w->scheme.codec, w->scheme.asym, n_teams,
                                           split, vk_matmul_at_once(n_tok), experts } };
    if (narrow > 0)
        return (struct vk_pipeline_key){ VK_SHADER_matmul_lanes,
                                         { w->scheme.codec, w->scheme.asym, narrow,
                                           aligned, vk_matmul_at_once(n_tok), experts } };
    return (struct vk_pipeline_key){ VK_SHADER_matmul,
                                     { w->scheme.codec, w->scheme.asym, n_teams, split,
                                       vk_matmul_at_once(n_tok), experts } };
}

int64_t vk_matmul_groups(const struct vk_pipeline_key *key, const struct vk_piece *p)
{
    const bool one = key->shader == VK_SHADER_matmul_lanes || key->spec[3];
    const int64_t n_tiles = one ? 1 : key->spec[2];

    return (p->n_tiles + n_tiles - 1) / n_tiles;
}

void vk_matmul_push(struct vk_op *op, const struct erne_tensor *w,
                    const struct vk_piece *p, int64_t n_tok)
{
    const int64_t k_pad = w->planes.k_pad;

    vk_op_push(op, (uint32_t)n_tok);
    vk_op_push(op, (uint32_t)w->dim[1]);
    vk_op_push(op, (uint32_t)(k_pad / erne_codec_cell_inputs(w->scheme.codec)));
    vk_op_push(op, (uint32_t)(w->scheme.group ? w->scheme.group : k_pad));
    vk_op_push(op, (uint32_t)w->planes.n_groups);
    vk_op_push(op, (uint32_t)p->first_tile);
    vk_op_push(op, (uint32_t)p->n_tiles);
    vk_op_push(op, (uint32_t)w->dim[0]);
}

/* Rows that all of x, dst and residual can show in one binding. */
static int64_t most_rows(const struct vk_backend *vk, const struct erne_node *node)
{
    const struct erne_tensor *tensors[] = { node->src[ERNE_SRC_X], node->dst,
                                            node->src[ERNE_SRC_RESIDUAL] };
    int64_t most = vk->dev.max_groups;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(tensors); i++) {
        const uint64_t room = vk->dev.max_binding - vk->dev.bind_align;

        if (tensors[i] &&
            room / sizeof(float) / (uint64_t)tensors[i]->stride < (uint64_t)most)
            most = (int64_t)(room / sizeof(float) / (uint64_t)tensors[i]->stride);
    }
    return most / 8 * 8;
}

/* The pipeline for n_tok tokens of a node at most. */
static struct vk_pipeline_key key_of(struct erne_backend *be,
                                     const struct erne_node *node, int64_t n_tok)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X], *w = node->src[ERNE_SRC_W];

    return vk_matmul_key(be, w, n_tok, false,
                         vk_matmul_aligned(x->data, x->stride, w->dim[1]));
}

static int prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const struct vk_pipeline_key full = key_of(be, node, node->dst->dim[0]);
    const struct vk_pipeline_key one = key_of(be, node, 1);

    if (most_rows(vk_of(be), node) < 1 ||
        tile_codes_bytes(w) + vk_of(be)->dev.bind_align > vk_of(be)->dev.max_binding)
        return ERNE_EUNSUPPORTED;
    ERNE_TRY(vk_need(be, &full));
    /* Of many rows of logits a step usually wants one. */
    return node->dst->rows_of == ERNE_ROWS_OUTPUTS ? vk_need(be, &one) : 0;
}

/* ------------------------------------------------------------------- run */

/* Rows first .. first + n - 1 of a product by a piece of its weight. */
static int dispatch(struct erne_backend *be, const struct erne_node *node,
                    const struct vk_pipeline_key *key, const struct vk_piece *p,
                    int64_t first, int64_t n)
{
    const struct erne_tensor *bias = node->src[ERNE_SRC_BIAS];
    const struct erne_tensor *residual = node->src[ERNE_SRC_RESIDUAL];
    struct vk_op op = vk_op_begin(be, key);

    vk_op_rows(&op, node->src[ERNE_SRC_X], first, n, VK_READ);
    vk_op_weight(&op, p->codes, p->codes_bytes, 16);
    vk_op_weight(&op, p->scales, p->scales_bytes, 8);
    vk_op_weight(&op, p->minima, p->scales_bytes, 8);
    vk_op_dense(&op, bias, VK_READ);
    vk_op_rows(&op, residual, first, n, VK_READ);
    vk_op_rows(&op, node->dst, first, n, VK_WRITE);
    vk_matmul_push(&op, node->src[ERNE_SRC_W], p, n);
    vk_op_push(&op, (uint32_t)node->dst->dim[1]);
    vk_op_push(&op, node->params.matmul.act);
    vk_op_push(&op, bias != NULL);
    vk_op_push(&op, residual != NULL);
    return vk_op_dispatch(&op, vk_matmul_groups(key, p),
                          (n + key->spec[4] - 1) / key->spec[4], 1);
}

/* x: [T, K], W: tile64 [N, K], bias: [N], residual, dst: [T, N'] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const int64_t n_tok = erne_tensor_rows(node->dst, step);
    const int64_t most = most_rows(vk_of(be), node);
    const bool one = n_tok == 1 && node->dst->rows_of == ERNE_ROWS_OUTPUTS;
    const struct vk_pipeline_key key = key_of(be, node, one ? 1 : node->dst->dim[0]);
    struct vk_piece p;

    for (int64_t tile = 0; tile * ERNE_TILE_ROWS < w->planes.n_pad; tile += p.n_tiles) {
        p = vk_piece_of(vk_of(be), w, tile);
        for (int64_t t = 0; t < n_tok; t += most)
            ERNE_TRY(
                dispatch(be, node, &key, &p, t, n_tok - t < most ? n_tok - t : most));
    }
    return 0;
}

const struct erne_op_impl vk_matmul = {
    .name = "shader", .prepare = prepare, .run = run, .release = vk_release
};
