/* cpu_onednn.c -- large float products by oneDNN, on the weights as they are in the file:
 * a tile is a contiguous matrix [K, 64] that oneDNN knows as BA16a64b (f32) or BA16a64b2a
 * (bf16). The only file that knows oneDNN, versions 2.6 and 3.x.
 *
 * oneDNN is handed one tile and a few tokens at a time, inside our own team, where it
 * stays on its thread: so its sums cannot depend on the number of threads. Tokens beyond
 * the last whole chunk go to the own kernels. Where oneDNN has only its reference code
 * for these layouts (2.6 for bf16 without AVX512_BF16), the node is declined.
 */
#include "backends/cpu/cpu.h"

#include <stdio.h>

#ifndef ERNE_HAVE_ONEDNN

const char *cpu_onednn_version(char buf[32])
{
    (void)buf;
    return NULL;
}

#else

#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Tokens a call, which divide the patches of most pictures, and for how many a tile stays
 * in the cache. */
enum { ROWS = 64, PASS_ROWS = 4 * ROWS };

const char *cpu_onednn_version(char buf[32])
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(buf, 32, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return buf;
}

/* --------------------------------------- what differs between 2.6 and 3.x */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t md_handle;
typedef const_dnnl_memory_desc_t md_view;

static dnnl_status_t md_create(md_handle *md, const dnnl_dims_t dims,
                               dnnl_data_type_t type, const dnnl_dims_t strides,
                               dnnl_format_tag_t tag)
{
    if (strides != NULL)
        return dnnl_memory_desc_create_with_strides(md, 2, dims, type, strides);
    return dnnl_memory_desc_create_with_tag(md, 2, dims, type, tag);
}

static md_view md_of(const md_handle *md)
{
    return *md;
}

static void md_destroy(md_handle *md)
{
    if (*md != NULL)
        dnnl_memory_desc_destroy(*md);
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                 const md_handle md[3], dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, engine, md[0], md[1], NULL, md[2], attr);
}
#else
typedef dnnl_memory_desc_t md_handle;
typedef const dnnl_memory_desc_t *md_view;

static dnnl_status_t md_create(md_handle *md, const dnnl_dims_t dims,
                               dnnl_data_type_t type, const dnnl_dims_t strides,
                               dnnl_format_tag_t tag)
{
    if (strides != NULL)
        return dnnl_memory_desc_init_by_strides(md, 2, dims, type, strides);
    return dnnl_memory_desc_init_by_tag(md, 2, dims, type, tag);
}

static md_view md_of(const md_handle *md)
{
    return md;
}

static void md_destroy(md_handle *md)
{
    (void)md;
}

static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                 const md_handle md[3], dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t desc;
    dnnl_status_t st = dnnl_matmul_desc_init(&desc, &md[0], &md[1], NULL, &md[2]);
    return st != dnnl_success ? st
                              : dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}
#endif

/* ----------------------------------------------------------------- state */

enum { SRC, WEIGHTS, DST, N_MD };

/* Handles of one thread; their addresses are set before each call. */
struct lane {
    dnnl_stream_t stream;
    dnnl_memory_t mem[N_MD], pad; /* pad: oneDNN's scratchpad */
};

/* A product of ROWS tokens and one tile. */
struct state {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    md_handle md[N_MD];
    size_t pad_bytes; /* of one thread, in units of 64 */
    int n_lanes;
    struct lane lanes[]; /* one a thread */
};

static void state_destroy(struct state *s)
{
    for (int i = 0; i < s->n_lanes; i++) {
        for (int m = 0; m < N_MD; m++)
            dnnl_memory_destroy(s->lanes[i].mem[m]);
        dnnl_memory_destroy(s->lanes[i].pad);
        dnnl_stream_destroy(s->lanes[i].stream);
    }
    dnnl_primitive_destroy(s->primitive);
    dnnl_primitive_desc_destroy(s->desc);
    dnnl_primitive_attr_destroy(s->attr);
    for (int m = 0; m < N_MD; m++)
        md_destroy(&s->md[m]);
    dnnl_engine_destroy(s->engine);
    free(s);
}

static bool is_bf16(const struct erne_node *node)
{
    return node->src[ERNE_SRC_W]->scheme.codec == ERNE_CODEC_BF16;
}

/* Elements from one token to the next as oneDNN sees them. */
static int64_t src_stride(const struct erne_node *node)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    return is_bf16(node) ? x->dim[1] : x->stride;
}

/* x [ROWS, K] times a tile [K, 64], both of the weights' type, to f32. */
static dnnl_status_t describe(struct state *s, const struct erne_node *node)
{
    const int64_t k = node->src[ERNE_SRC_X]->dim[1];
    const dnnl_data_type_t type = is_bf16(node) ? dnnl_bf16 : dnnl_f32;
    const dnnl_format_tag_t tag = is_bf16(node) ? dnnl_BA16a64b2a : dnnl_BA16a64b;
    const dnnl_dims_t x = { ROWS, k }, x_strides = { src_stride(node), 1 };
    const dnnl_dims_t w = { k, ERNE_TILE_ROWS }, y = { ROWS, ERNE_TILE_ROWS };
    const dnnl_dims_t y_strides = { ERNE_TILE_ROWS, 1 };
    dnnl_status_t st = md_create(&s->md[SRC], x, type, x_strides, dnnl_format_tag_undef);
    if (st == dnnl_success)
        st = md_create(&s->md[WEIGHTS], w, type, NULL, tag);
    if (st == dnnl_success)
        st = md_create(&s->md[DST], y, dnnl_f32, y_strides, dnnl_format_tag_undef);
    if (st == dnnl_success)
        st = dnnl_primitive_attr_create(&s->attr);
    if (st == dnnl_success)
        st = dnnl_primitive_attr_set_scratchpad_mode(s->attr, dnnl_scratchpad_mode_user);
    if (st == dnnl_success)
        st = matmul_desc(&s->desc, s->engine, s->md, s->attr);
    return st;
}

/* Whether oneDNN has more than its reference code for the description. */
static bool is_fast(const struct state *s)
{
    const char *name = "ref";
    dnnl_primitive_desc_query(s->desc, dnnl_query_impl_info_str, 0, (void *)&name);
    return strstr(name, "ref") == NULL;
}

static dnnl_status_t create_lane(struct lane *lane, const struct state *s, md_view pad)
{
    dnnl_status_t st =
        dnnl_stream_create(&lane->stream, s->engine, dnnl_stream_default_flags);
    for (int m = 0; m < N_MD && st == dnnl_success; m++)
        st = dnnl_memory_create(&lane->mem[m], md_of(&s->md[m]), s->engine,
                                DNNL_MEMORY_NONE);
    if (st == dnnl_success)
        st = dnnl_memory_create(&lane->pad, pad, s->engine, DNNL_MEMORY_NONE);
    return st;
}

static int create(struct state *s, const struct erne_node *node)
{
    dnnl_status_t st = dnnl_engine_create(&s->engine, dnnl_cpu, 0);
    if (st == dnnl_success)
        st = describe(s, node);
    if (st == dnnl_unimplemented || (st == dnnl_success && !is_fast(s)))
        return ERNE_EUNSUPPORTED;
    if (st == dnnl_success)
        st = dnnl_primitive_create(&s->primitive, s->desc);
    if (st != dnnl_success)
        return st == dnnl_out_of_memory ? ERNE_ENOMEM : ERNE_EFAIL;
    md_view pad = dnnl_primitive_desc_query_md(s->desc, dnnl_query_scratchpad_md, 0);
    s->pad_bytes = (dnnl_memory_desc_get_size(pad) + 63) / 64 * 64;
    for (int i = 0; i < s->n_lanes && st == dnnl_success; i++)
        st = create_lane(&s->lanes[i], s, pad);
    return st == dnnl_success ? ERNE_OK : ERNE_ENOMEM;
}

/* ------------------------------------------------------------ the operator */

/* Declines what is small, what oneDNN would have to be handed padded, and everything when
 * the user asked for less than the processor has: oneDNN picks its own instructions. */
static bool is_suited(const struct cpu_backend *cpu, const struct erne_node *node)
{
    const struct erne_tensor *w = node->src[ERNE_SRC_W];
    const uint8_t codec = w->scheme.codec;
    return (codec == ERNE_CODEC_F32 || codec == ERNE_CODEC_BF16) &&
           node->dst->dim[0] >= ROWS && w->dim[1] == w->planes.k_pad &&
           cpu->isa == cpu_isa_detect();
}

static int prepare(struct erne_backend *be, struct erne_node *node)
{
    const struct cpu_backend *cpu = cpu_of(be);
    if (!is_suited(cpu, node))
        return ERNE_EUNSUPPORTED;
    struct state *s = calloc(1, sizeof *s + (size_t)cpu->n_threads * sizeof s->lanes[0]);
    if (s == NULL)
        return ERNE_ENOMEM;
    s->n_lanes = cpu->n_threads;
    int st = ERNE_EFAIL;
    /* As in cpu_run: oneDNN plans for the one thread that it will run on. */
#pragma omp parallel num_threads(1)
    {
        omp_set_num_threads(1);
        st = create(s, node);
    }
    if (st < 0)
        state_destroy(s);
    else
        node->state = s;
    return st;
}

static void release(struct erne_backend *be, struct erne_node *node)
{
    (void)be;
    state_destroy(node->state);
    node->state = NULL;
}

/* Scratch: sums of every thread, oneDNN's pads, then bf16 activations [T, K]. */
static size_t scratch(struct erne_backend *be, const struct erne_node *node)
{
    const struct state *s = node->state;
    const int64_t n = node->dst->dim[0] * node->src[ERNE_SRC_X]->dim[1];
    return cpu_acc_bytes(cpu_of(be)) + (size_t)s->n_lanes * s->pad_bytes +
           (is_bf16(node) ? (size_t)n * sizeof(uint16_t) : 0);
}

/* x [n_tok, K] rounded to bf16 at dst, by the whole team. */
static void round_activations(struct cpu_backend *cpu, uint16_t *dst,
                              const struct erne_node *node, int64_t n_tok)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct cpu_range rows = cpu_share(n_tok);
    for (int64_t t = rows.first; t < rows.end; t++)
        cpu->kernels.bf16_from_f32(dst + t * x->dim[1], cpu_row(x, t), 1.0f, x->dim[1]);
    cpu_barrier(cpu);
}

static dnnl_status_t multiply(const struct state *s, void *x, const void *w, float *acc,
                              void *pad)
{
    const struct lane *lane = &s->lanes[cpu_thread()];
    const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, lane->mem[SRC] },
                                     { DNNL_ARG_WEIGHTS, lane->mem[WEIGHTS] },
                                     { DNNL_ARG_DST, lane->mem[DST] },
                                     { DNNL_ARG_SCRATCHPAD, lane->pad } };
    dnnl_memory_set_data_handle(lane->mem[SRC], x);
    dnnl_memory_set_data_handle(lane->mem[WEIGHTS], (void *)(uintptr_t)w);
    dnnl_memory_set_data_handle(lane->mem[DST], acc);
    dnnl_memory_set_data_handle(lane->pad, pad);
    return dnnl_primitive_execute(s->primitive, lane->stream, ERNE_ARRAY_LEN(args), args);
}

/* What the thread multiplies with: src is x, or that rounded to bf16. */
struct work {
    const struct state *s;
    const struct erne_node *node;
    uint8_t *src, *pad;
    int64_t row_bytes; /* of src */
    float *acc;
};

/* Tokens t .. end, whole calls of them, with a tile. */
static dnnl_status_t multiply_tile(struct cpu_backend *cpu, const struct work *k,
                                   int64_t tile, int64_t t, int64_t end)
{
    const struct cpu_tile w = cpu_tile_of(cpu, k->node->src[ERNE_SRC_W], tile);
    dnnl_status_t st = dnnl_success;
    for (; t < end && st == dnnl_success; t += ROWS) {
        st = multiply(k->s, k->src + t * k->row_bytes, w.codes, k->acc, k->pad);
        cpu_finish_tile(cpu, k->node, tile, t, ROWS, k->acc);
    }
    return st;
}

/* x: [T, K], W: tile64 f32 or bf16 [N, K], dst: [T, N'] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct state *s = node->state;
    const int64_t n_tok = erne_tensor_rows(node->dst, step);
    const int64_t whole = n_tok / ROWS * ROWS, n_tiles = cpu_n_tiles(node);
    const int64_t n_passes = (whole + PASS_ROWS - 1) / PASS_ROWS;
    const size_t thread = (size_t)cpu_thread(), team = (size_t)s->n_lanes;
    const size_t acc_bytes = cpu_acc_bytes(cpu);
    uint8_t *pads = cpu->scratch + acc_bytes, *rounded = pads + team * s->pad_bytes;
    struct work k = {
        .s = s,
        .node = node,
        .src = node->src[ERNE_SRC_X]->data,
        .pad = pads + thread * s->pad_bytes,
        .row_bytes = src_stride(node) * (is_bf16(node) ? 2 : 4),
        .acc = (float *)(void *)(cpu->scratch + acc_bytes / team * thread),
    };
    if (is_bf16(node)) {
        round_activations(cpu, (uint16_t *)(void *)rounded, node, whole);
        k.src = rounded;
    }
    for (int64_t u = cpu_take(cpu); u < n_passes * n_tiles; u = cpu_take(cpu)) {
        const int64_t t = u / n_tiles * PASS_ROWS;
        if (multiply_tile(cpu, &k, u % n_tiles, t, cpu_min(t + PASS_ROWS, whole)) !=
            dnnl_success)
            return ERNE_EFAIL;
    }
    cpu_float_rows(cpu, node, whole, n_tok);
    return ERNE_OK;
}

const struct erne_op_impl cpu_matmul_onednn = { .name = "onednn",
                                                .prepare = prepare,
                                                .scratch = scratch,
                                                .run = run,
                                                .release = release };
#endif
