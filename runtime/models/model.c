/* model.c -- picks the family, makes what all families share: inputs, weights by name. */
#include "runtime/models/model.h"

#include <stdarg.h>
#include <stdio.h>

#include "runtime/rope.h"

/* Room for the largest family: nodes and tensors a layer, and around the layers. */
enum { NODES_A_LAYER = 16, TENSORS_A_LAYER = 48, NODES_AROUND = 8, TENSORS_AROUND = 32 };

typedef void (*build_fn)(struct erne_graph *g, struct erne_model_io *io,
                         const struct erne_model_inputs *in);

static const build_fn families[ERNE_ARCH_COUNT] = {
    [ERNE_ARCH_ERNIE45] = erne_build_decoder,
    [ERNE_ARCH_LLAMA] = erne_build_decoder,
    [ERNE_ARCH_ERNIE45_MOE] = erne_build_decoder,
    [ERNE_ARCH_ERNIE45_VL] = erne_build_decoder,
    [ERNE_ARCH_PADDLEOCR_VL] = erne_build_decoder,
};

static struct erne_tensor *rows_input(struct erne_graph *g, const char *name,
                                      enum erne_rows_of rows_of, int64_t n)
{
    return erne_graph_input(g, name, ERNE_TYPE_I32, rows_of, 1, &n);
}

static void add_inputs(struct erne_graph *g, struct erne_model_io *io,
                       const struct erne_model_inputs *in)
{
    const struct erne_model_desc *desc = &in->file->desc;
    const int64_t n = in->max_tokens;
    const int64_t axes[] = { n, erne_rope_n_axes(desc) };
    const int64_t embd[] = { n, desc->n_embd };

    *io = (struct erne_model_io){ 0 };
    io->tokens = rows_input(g, "tokens", ERNE_ROWS_TOKENS, n);
    io->position = rows_input(g, "position", ERNE_ROWS_TOKENS, n);
    io->slot = rows_input(g, "slot", ERNE_ROWS_TOKENS, n);
    io->table = rows_input(g, "page_table", ERNE_ROWS_FIXED, in->kv->n_pages);
    io->out_rows = rows_input(g, "out_rows", ERNE_ROWS_OUTPUTS, n);
    io->out_position = rows_input(g, "out_position", ERNE_ROWS_OUTPUTS, n);
    io->rope_position =
        erne_graph_input(g, "rope_position", ERNE_TYPE_I32, ERNE_ROWS_TOKENS, 2, axes);
    if (in->mtp) {
        const int64_t pair[] = { n, 2 * (int64_t)desc->n_embd };

        io->hidden =
            erne_graph_input(g, "hidden", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, 2, embd);
        io->pair = erne_graph_input(g, "pair", ERNE_TYPE_F32, ERNE_ROWS_TOKENS, 2, pair);
        io->same_rows = rows_input(g, "same_rows", ERNE_ROWS_TOKENS, n);
        return;
    }
    if (desc->vision.n_layers > 0) {
        io->features =
            erne_graph_input(g, "features", ERNE_TYPE_F32, ERNE_ROWS_FIXED, 2, embd);
        io->feature_rows = rows_input(g, "feature_rows", ERNE_ROWS_TOKENS, n);
    }
    if (erne_moe_n_banks(desc) > 1) {
        io->kind = rows_input(g, "kind", ERNE_ROWS_TOKENS, n);
        io->out_kind = rows_input(g, "out_kind", ERNE_ROWS_OUTPUTS, n);
    }
}

int erne_model_build(struct erne_graph *g, struct erne_model_io *io,
                     const struct erne_model_inputs *in, struct erne_error *err)
{
    const struct erne_model_desc *desc = &in->file->desc;
    const size_t n_layers = (size_t)desc->n_layers;
    const size_t n_experts = (size_t)desc->moe.n_experts * (size_t)erne_moe_n_banks(desc);
    int st;

    if (!families[desc->arch])
        return erne_fail(err, ERNE_EUNSUPPORTED, "no graph of %s yet",
                         erne_arch_name(desc->arch));
    st = erne_graph_init(g, NODES_A_LAYER * n_layers + NODES_AROUND,
                         (TENSORS_A_LAYER + 2 * n_experts) * n_layers + TENSORS_AROUND);
    if (st < 0)
        return erne_fail(err, st, "no memory for the graph of %d layers", desc->n_layers);
    add_inputs(g, io, in);
    if (in->mtp)
        erne_build_mtp(g, io, in);
    else
        families[desc->arch](g, io, in);
    if (g->err.status < 0) {
        if (err)
            *err = g->err;
        st = g->err.status;
        erne_graph_deinit(g);
        return st;
    }
    return 0;
}

struct erne_tensor *erne_model_weight(struct erne_graph *g,
                                      const struct erne_model_file *file, const char *fmt,
                                      ...)
{
    char name[ERNE_SPEC_NAME_MAX];
    const struct erne_file_tensor *t;
    va_list args;

    va_start(args, fmt);
    vsnprintf(name, sizeof(name), fmt, args);
    va_end(args);
    t = erne_model_file_find(file, name);
    return t ? erne_graph_weight(g, name, t->scheme, t->n, t->k, erne_model_file_data(t))
             : NULL;
}

struct check_ctx {
    const struct erne_model_file *file;
    struct erne_error *err;
};

static int check_tensor(void *user, const struct erne_tensor_spec *spec)
{
    const struct check_ctx *ctx = user;
    const struct erne_file_tensor *t = erne_model_file_find(ctx->file, spec->name);
    const bool vector = erne_role_is_rows(spec->role);

    if (!t)
        return erne_fail(ctx->err, ERNE_EFORMAT, "tensor %s is missing", spec->name);
    if (t->n != spec->n || t->k != spec->k)
        return erne_fail(ctx->err, ERNE_EFORMAT,
                         "tensor %s is [%lld, %lld], the model needs [%lld, %lld]",
                         spec->name, (long long)t->n, (long long)t->k, (long long)spec->n,
                         (long long)spec->k);
    if (vector ? t->scheme.layout != ERNE_LAYOUT_ROWS || t->scheme.codec != ERNE_CODEC_F32
               : t->scheme.layout != ERNE_LAYOUT_TILE64)
        return erne_fail(ctx->err, ERNE_EFORMAT, "tensor %s is not stored as %s",
                         spec->name, vector ? "f32 rows" : "tile64");
    return 0;
}

int erne_model_check_tensors(const struct erne_model_file *file, struct erne_error *err)
{
    struct check_ctx ctx = { file, err };

    return erne_model_tensors(&file->desc, check_tensor, &ctx);
}
