/* footprint.c -- see footprint.h. Memory that is only reserved does not count: the rows
 * of logits that nobody asks for are never touched. */
#include "runtime/footprint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/model_format.h"
#include "runtime/session.h"
#include "runtime/tok.h"

/* Of a thread beside the first: what its stack and the libraries hold once it computed,
 * found with 2 and 32 threads of glibc. */
enum { THREAD_BYTES = 72 << 10 };

/* ---------------------------------------------------------------- weights */

struct tally {
    const struct erne_footprint_of *of;
    struct erne_footprint *out;
    size_t at; /* the tensor of the next spec */
};

/* All experts of a bank have one size, so that each stands for its share. */
static uint64_t share_of_token(const struct erne_model_desc *desc, int32_t expert,
                               uint64_t n_bytes)
{
    const struct erne_moe_desc *moe = &desc->moe;

    return expert < moe->n_experts
               ? n_bytes * (uint64_t)moe->n_used / (uint64_t)moe->n_experts
               : 0;
}

static int add_tensor(void *user, const struct erne_tensor_spec *spec)
{
    struct tally *tally = user;
    const struct erne_model_desc *desc = tally->of->desc;
    const struct erne_writer_tensor *t = &tally->of->tensors[tally->at++];
    struct erne_footprint *out = tally->out;
    struct erne_planes planes;

    ERNE_TRY(erne_planes_init(&planes, t->scheme, t->n, t->k));
    out->weights += planes.total_bytes;
    if (spec->expert >= 0) {
        const uint64_t share = share_of_token(desc, spec->expert, planes.total_bytes);

        out->experts += planes.total_bytes;
        out->experts_a_token += share;
        out->read_a_token += share;
    } else if (spec->role == ERNE_ROLE_EMBED ? desc->tied
                                             : spec->role != ERNE_ROLE_VISION &&
                                                   spec->role != ERNE_ROLE_POSITIONS) {
        out->read_a_token += planes.total_bytes;
    }
    return 0;
}

/* ---------------------------------------------------------------- outline */

/* The file as it will be, but for data: every tensor seems to lie at its first byte. */
static int make_outline(struct erne_model_file *file, const struct erne_footprint_of *of,
                        struct erne_error *err)
{
    static const uint8_t nothing[1];

    *file = (struct erne_model_file){ .desc = *of->desc,
                                      .map = { .data = nothing, .n_bytes = 1 },
                                      .tokenizer = of->tokenizer,
                                      .tokenizer_bytes = of->tokenizer_bytes,
                                      .n_tensors = of->n_tensors };
    /* Texts stay the caller's. */
    file->desc.chat = (struct erne_chat_desc){ 0 };
    file->desc.device = (struct erne_device_desc){ 0 };
    file->desc.name = file->desc.license = file->desc.source = NULL;
    file->desc.source_format = file->desc.scheme = NULL;
    file->tensors = calloc(of->n_tensors + 1, sizeof(*file->tensors));
    file->by_name = calloc(of->n_tensors + 1, sizeof(*file->by_name));
    if (!file->tensors || !file->by_name)
        return erne_fail(err, ERNE_ENOMEM, "out of memory for %zu tensors",
                         of->n_tensors);
    for (size_t i = 0; i < of->n_tensors; i++) {
        const struct erne_writer_tensor *from = &of->tensors[i];
        struct erne_file_tensor *t = &file->tensors[i];

        memcpy(t->name, from->name, sizeof(t->name));
        t->scheme = from->scheme;
        t->n = from->n;
        t->k = from->k;
        ERNE_TRY(erne_planes_init(&t->planes, t->scheme, t->n, t->k));
        t->n_bytes = t->planes.total_bytes;
        file->by_name[i] = t->name;
    }
    return erne_names_sort(file->by_name, file->n_tensors, err);
}

static int open_outline(struct erne_engine **engine, const struct erne_footprint_of *of,
                        struct erne_error *err)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_model_file file;
    int st = make_outline(&file, of, err);

    if (st < 0) {
        erne_model_file_close(&file);
        return st;
    }
    opts.backend = erne_backend_find("cpu") ? "cpu" : "reference";
    opts.n_threads = of->n_threads;
    return erne_engine_open_file(engine, &file, &opts, err);
}

/* ------------------------------------------------------------------ steps */

static void add_session(struct erne_footprint *out, const struct erne_session *s)
{
    out->step = erne_session_step_bytes(s);
    out->tables = (uint64_t)s->sampler.n_vocab * sizeof(*s->sampler.candidates);
    out->kv_a_page =
        s->kv.page_bytes * 2 * (uint64_t)s->kv.n_layers +
        (sizeof(*s->tokens) + (s->media.places ? sizeof(*s->media.places) : 0)) *
            ERNE_KV_PAGE;
}

/* The step of a square picture of as many pixels as one may have, and its features. */
static int add_picture(struct erne_footprint *out, struct erne_engine *engine,
                       struct erne_error *err)
{
    const struct erne_model_desc *desc = &engine->file.desc;
    const struct erne_vision_desc *v = &desc->vision;
    const int32_t side = v->patch * v->merge;
    const int32_t n = (int32_t)(sqrt((double)v->max_pixels) / side) * v->merge;
    struct erne_encoder enc;
    int st = erne_encoder_init(&enc, engine, err);

    if (st == 0)
        st = erne_encoder_place(&enc, n, n, 1, err);
    if (st == 0)
        out->picture = enc.plan.step.cap + enc.plan.scratch_bytes +
                       (uint64_t)(n / v->merge) * (uint64_t)(n / v->merge) *
                           (uint64_t)desc->n_embd * sizeof(float);
    erne_encoder_deinit(&enc);
    return st;
}

static int add_steps(struct erne_footprint *out, struct erne_engine *engine,
                     const struct erne_footprint_of *of, struct erne_error *err)
{
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_session *session;

    /* Pages are all alike: the context may be as small as a step. */
    opts.n_ctx =
        of->n_batch < of->desc->n_ctx_train ? of->n_batch : of->desc->n_ctx_train;
    opts.n_batch = of->n_batch;
    opts.kv_type = of->kv_type;
    ERNE_TRY(erne_session_create(&session, engine, &opts, err));
    add_session(out, session);
    erne_session_destroy(&session);
    if (engine->tokenizer)
        out->tables += engine->tokenizer->table_bytes + of->tokenizer_bytes;
    if (of->n_threads > 1)
        out->threads = (uint64_t)(of->n_threads - 1) * THREAD_BYTES;
    return of->desc->vision.n_layers > 0 ? add_picture(out, engine, err) : 0;
}

int erne_footprint(struct erne_footprint *out, const struct erne_footprint_of *of,
                   struct erne_error *err)
{
    struct tally tally = { of, out, 0 };
    struct erne_engine *engine;
    int st;

    *out = (struct erne_footprint){ 0 };
    ERNE_TRY(erne_model_tensors(of->desc, add_tensor, &tally));
    ERNE_TRY(open_outline(&engine, of, err));
    st = add_steps(out, engine, of, err);
    erne_engine_close(&engine);
    return st;
}

uint64_t erne_footprint_kv(const struct erne_footprint *f, int32_t n_ctx)
{
    const int32_t n_pages = (n_ctx + ERNE_KV_PAGE - 1) / ERNE_KV_PAGE;

    return f->kv_a_page * (uint64_t)n_pages;
}
