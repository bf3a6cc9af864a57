/* tiny_model.c -- see tiny_model.h. */
#include "tests/support/tiny_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "quantize/tile64.h"
#include "runtime/model_file.h"

enum { MAX_TENSORS = 64 };

struct plan {
    struct erne_writer_tensor tensors[MAX_TENSORS];
    size_t n;
    struct erne_scheme scheme;
    uint64_t rng;
};

struct erne_model_desc tiny_model_desc(void)
{
    return (struct erne_model_desc){ .arch = ERNE_ARCH_ERNIE45,
                                     .n_layers = 2,
                                     .n_embd = 72,
                                     .n_heads = 6,
                                     .n_kv_heads = 2,
                                     .head_dim = 16,
                                     .n_ff = 88,
                                     .n_vocab = 97,
                                     .n_ctx_train = 512,
                                     .rms_eps = 1e-5f,
                                     .rope_theta = 10000.0f,
                                     .tied = true,
                                     .stop = { 2 },
                                     .n_stop = 1 };
}

/* xorshift64*, uniform in [-1, 1). */
static float next_float(uint64_t *rng)
{
    *rng ^= *rng >> 12;
    *rng ^= *rng << 25;
    *rng ^= *rng >> 27;
    return (float)(int32_t)((*rng * 0x2545F4914F6CDD1DULL) >> 32) * 0x1p-31f;
}

static int add_tensor(void *user, const struct erne_tensor_spec *spec)
{
    struct plan *plan = user;
    struct erne_writer_tensor *t = &plan->tensors[plan->n++];
    const bool vector = erne_role_is_rows(spec->role);

    if (plan->n == MAX_TENSORS)
        return ERNE_EFAIL;
    memcpy(t->name, spec->name, sizeof(t->name));
    t->scheme = vector ? ERNE_ROWS_F32 : plan->scheme;
    t->n = spec->n;
    t->k = spec->k;
    return 0;
}

/* Random values in the tensor's scheme: norms about 1, matrices about 1 / sqrt(k). */
static int fill(uint8_t *dst, const struct erne_writer_tensor *t,
                const struct erne_planes *planes, uint64_t *rng)
{
    const float base = t->n == 1 ? 1.0f : 0.0f;
    const float scale = t->n == 1 ? 0.1f : 1.7f / sqrtf((float)t->k);
    float *rows = calloc((size_t)(ERNE_TILE_ROWS * t->k), sizeof(*rows));
    size_t codes, scales, minima;
    int st = rows ? 0 : ERNE_ENOMEM;

    tile64_block_bytes(planes, &codes, &scales, &minima);
    for (int64_t first = 0; st == 0 && first < t->n; first += ERNE_TILE_ROWS) {
        const int n_rows = (int)(t->n - first < ERNE_TILE_ROWS ? t->n - first : 64);
        const size_t b = (size_t)(first / ERNE_TILE_ROWS);
        const struct tile64_block block = {
            dst + b * codes,
            (uint16_t *)(void *)(dst + planes->scales_offset + b * scales),
            (uint16_t *)(void *)(dst + planes->minima_offset + b * minima)
        };

        for (int64_t i = 0; i < n_rows * t->k; i++)
            rows[i] = base + scale * next_float(rng);
        if (t->scheme.layout == ERNE_LAYOUT_ROWS)
            memcpy(dst, rows, (size_t)t->k * sizeof(*rows));
        else
            st = tile64_encode(&block, t->scheme, planes, rows, n_rows, t->k);
    }
    free(rows);
    return st;
}

static int write_tensor(struct erne_model_writer *w, struct plan *plan, size_t i,
                        struct erne_error *err)
{
    const struct erne_writer_tensor *t = &plan->tensors[i];
    struct erne_planes planes;
    uint8_t *data;
    int st = erne_planes_init(&planes, t->scheme, t->n, t->k);

    if (st < 0)
        return erne_fail(err, st, "%s: bad shape", t->name);
    data = calloc(1, (size_t)planes.total_bytes);
    st = data ? fill(data, t, &planes, &plan->rng) : ERNE_ENOMEM;
    if (st == 0)
        st = erne_writer_write(w, i, 0, data, (size_t)planes.total_bytes, err);
    if (st == 0)
        st = erne_writer_tensor_done(w, i, XXH3_64bits(data, (size_t)planes.total_bytes),
                                     NULL, err);
    free(data);
    return st;
}

int tiny_model_write(const char *path, const struct erne_model_desc *desc,
                     const char *scheme, uint64_t seed, struct erne_error *err)
{
    struct plan plan = { .rng = seed | 1 };
    struct erne_writer_plan wp = { .tensors = plan.tensors };
    struct erne_model_writer *w = NULL;
    char *manifest = NULL;
    size_t n_resumed = 0;
    int st;

    ERNE_TRY(erne_scheme_parse(&plan.scheme, scheme));
    ERNE_TRY(erne_model_tensors(desc, add_tensor, &plan));
    wp.n_tensors = plan.n;
    ERNE_TRY(erne_manifest_write(&manifest, &wp.manifest_bytes, desc, err));
    wp.manifest = manifest;
    st = erne_writer_open(&w, path, &wp, &n_resumed, err);
    for (size_t i = 0; st == 0 && i < plan.n; i++)
        if (!erne_writer_is_done(w, i))
            st = write_tensor(w, &plan, i, err);
    if (st == 0)
        st = erne_writer_finish(&w, err);
    else
        erne_writer_abandon(&w);
    free(manifest);
    return st;
}

int tiny_model_convert(const char *path, const char *src, const char *scheme,
                       struct erne_error *err)
{
    struct erne_convert_opts opts = erne_convert_opts_default();

    opts.src = src;
    opts.dst = path;
    opts.scheme = scheme;
    opts.overwrite = true;
    return erne_convert(&opts, err);
}
