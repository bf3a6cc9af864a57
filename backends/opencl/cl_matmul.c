/* cl_matmul.c -- matrix products with weights in tile64, and where their tiles are. */
#include "backends/opencl/cl_ops.h"

#include <stdlib.h>

#include "backends/opencl/cl_queue.h"

/* A device whose work-items have vectors needs no help to keep busy; others want a tile's
 * sums spread over more work-items than it has rows. */
enum { MANY_TOKENS = 8, SCALAR_SLICES = 4, SCALAR_MANY_WIDTH = 4 };
/* Up to that many tokens are taken one by one. */
enum { FEW = 2 };

struct cl_options cl_tile_options(const struct cl_backend *cl, struct erne_scheme scheme,
                                  bool many)
{
    const bool vector = cl->dev.vector > 1;
    struct cl_options o = {
        .codec = scheme.codec,
        .asym = scheme.asym,
        .width = vector ? cl->dev.vector
                 : many ? SCALAR_MANY_WIDTH
                        : 1,
        .tokens = many ? MANY_TOKENS : 1,
        .slices = vector ? 1 : SCALAR_SLICES,
    };

    while (cl_tile_lanes(&o) * (size_t)o.slices > cl->dev.max_group)
        o.slices /= 2;
    return o;
}

/* ------------------------------------------------------------- the tiles */

/* Place of tile `first` of a plane; *n becomes how many are whole in the same buffer, if
 * that is less. */
static int find_plane(const struct cl_backend *cl, const void *plane, uint64_t n_bytes,
                      int64_t n_tiles, int64_t first, struct cl_place *place, int64_t *n)
{
    const size_t tile_bytes = (size_t)(n_bytes / (uint64_t)n_tiles);

    *place = (struct cl_place){ 0 };
    if (n_bytes == 0)
        return 0;
    ERNE_TRY(cl_memory_find(&cl->memory,
                            (const uint8_t *)plane + (size_t)first * tile_bytes,
                            tile_bytes, place));
    *n = cl_min(*n, (int64_t)(place->n_bytes / tile_bytes));
    return 0;
}

int cl_tiles_find(const struct cl_backend *cl, const struct erne_tensor *w, int64_t first,
                  struct cl_tiles *tiles)
{
    const struct erne_planes *p = &w->planes;
    const int64_t n_tiles = p->n_pad / ERNE_TILE_ROWS;

    tiles->n = n_tiles - first;
    ERNE_TRY(find_plane(cl, erne_tensor_codes(w), p->codes_bytes, n_tiles, first,
                        &tiles->codes, &tiles->n));
    ERNE_TRY(find_plane(cl, erne_tensor_scales(w), p->scales_bytes, n_tiles, first,
                        &tiles->scales, &tiles->n));
    return find_plane(cl, erne_tensor_minima(w), p->minima_bytes, n_tiles, first,
                      &tiles->minima, &tiles->n);
}

/* ----------------------------------------------------------- the product */

struct product {
    struct cl_options options;
    cl_kernel kernel;
};
struct matmul_state {
    struct product few, many; /* many.kernel is NULL where there never are */
};

static int find_product(struct cl_backend *cl, struct product *p,
                        struct erne_scheme scheme, bool many)
{
    p->options = cl_tile_options(cl, scheme, many);
    return cl_programs_kernel(
        &cl->programs, &cl->dev, CL_SOURCE_matmul, &p->options, "matmul",
        cl_tile_lanes(&p->options) * (size_t)p->options.slices, &p->kernel);
}

static int prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct erne_scheme scheme = node->src[ERNE_SRC_W]->scheme;
    struct matmul_state *state = calloc(1, sizeof(*state));
    int st;

    if (!state)
        return ERNE_ENOMEM;
    st = find_product(cl_of(be), &state->few, scheme, false);
    if (st == 0 && node->dst->dim[0] > FEW)
        st = find_product(cl_of(be), &state->many, scheme, true);
    if (st < 0)
        free(state);
    else
        node->state = state;
    return st;
}

static void release(struct erne_backend *be, struct erne_node *node)
{
    (void)be;
    free(node->state);
}

static int launch(struct cl_backend *cl, const struct erne_node *node,
                  const struct product *p, const struct cl_tiles *tiles, int64_t first,
                  int64_t n_tok)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const struct cl_grid grid = {
        { cl_ceil_div(n_tok, p->options.tokens), (size_t)tiles->n },
        { cl_tile_lanes(&p->options), (size_t)p->options.slices }
    };
    struct cl_launch l = cl_launch_begin(cl, p->kernel);

    cl_arg_rows(&l, node->src[ERNE_SRC_X]);
    cl_arg_place(&l, &tiles->codes, 4);
    cl_arg_place(&l, &tiles->scales, 2);
    cl_arg_place(&l, &tiles->minima, 2);
    cl_arg_tensor(&l, node->src[ERNE_SRC_BIAS]);
    cl_arg_rows(&l, node->src[ERNE_SRC_RESIDUAL]);
    cl_arg_rows(&l, node->dst);
    cl_arg_int(&l, n_tok);
    cl_arg_int(&l, node->dst->dim[1]);
    cl_arg_int(&l, w->dim[1]);
    cl_arg_int(&l, w->planes.k_pad);
    cl_arg_int(&l, w->scheme.group);
    cl_arg_int(&l, first);
    cl_arg_int(&l, node->params.matmul.act);
    cl_arg_int(&l, node->src[ERNE_SRC_BIAS] != NULL);
    cl_arg_int(&l, node->src[ERNE_SRC_RESIDUAL] != NULL);
    return cl_launch(&l, &grid);
}

/* x: [T, K], w: tile64 [N, K], bias: [N], residual, dst: [T, N'] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const struct matmul_state *state = node->state;
    const int64_t n_tok = erne_tensor_rows(node->dst, step);
    const int64_t n_tiles = w->planes.n_pad / ERNE_TILE_ROWS;
    const struct product *p = n_tok > FEW ? &state->many : &state->few;
    struct cl_tiles tiles;

    for (int64_t first = 0; n_tok > 0 && first < n_tiles; first += tiles.n) {
        ERNE_TRY(cl_tiles_find(cl_of(be), w, first, &tiles));
        ERNE_TRY(launch(cl_of(be), node, p, &tiles, first, n_tok));
    }
    return 0;
}

const struct erne_op_impl cl_matmul = {
    .name = "tiles", .prepare = prepare, .run = run, .release = release
};
