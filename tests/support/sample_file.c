/* sample_file.c -- see sample_file.h. */
#include "tests/support/sample_file.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tests/support/unit.h"

static const struct {
    const char *name, *scheme; /* scheme NULL: f32 rows */
    int64_t n, k;
} sample_tensors[SAMPLE_N_TENSORS] = {
    { "embed", "bf16", 70, 33 },   { "norm", NULL, 1, 33 },
    { "zeta", "w4-g32a", 65, 40 }, { "alpha", "w8", 1100, 33 },
    { "alpha.bias", NULL, 1, 65 }, { "w2", "w2-g128", 3, 129 },
};

int sample_init(struct sample_file *s, struct erne_error *err)
{
    memset(s, 0, sizeof(*s));
    s->desc = (struct erne_model_desc){
        .arch = ERNE_ARCH_ERNIE45,
        .n_layers = 1,
        .n_embd = 32,
        .n_heads = 4,
        .n_kv_heads = 2,
        .head_dim = 8,
        .n_ff = 48,
        .n_vocab = 70,
        .n_ctx_train = 64,
        .rms_eps = 1e-5f,
        .rope_theta = 10000.0f,
        .tied = true,
        .stop = { 2 },
        .n_stop = 1,
        .name = "sample",
        .scheme = "w4-g32a",
    };
    for (size_t i = 0; i < sizeof(s->tokenizer); i++)
        s->tokenizer[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < SAMPLE_N_TENSORS; i++) {
        struct erne_writer_tensor *t = &s->tensors[i];

        strcpy(t->name, sample_tensors[i].name);
        t->n = sample_tensors[i].n;
        t->k = sample_tensors[i].k;
        t->scheme = ERNE_ROWS_F32;
        if (sample_tensors[i].scheme)
            ERNE_TRY(erne_scheme_parse(&t->scheme, sample_tensors[i].scheme));
    }
    s->plan = (struct erne_writer_plan){
        .tokenizer = s->tokenizer,
        .tokenizer_bytes = sizeof(s->tokenizer),
        .tensors = s->tensors,
        .n_tensors = SAMPLE_N_TENSORS,
        .golden = { .tokens = s->tokens,
                    .n_tokens = SAMPLE_N_TOKENS,
                    .n_rows = SAMPLE_N_ROWS },
        .n_vocab = s->desc.n_vocab,
    };
    for (int32_t i = 0; i < SAMPLE_N_TOKENS; i++)
        s->tokens[i] = 5 + 7 * i;
    ERNE_TRY(erne_manifest_write(&s->manifest, &s->plan.manifest_bytes, &s->desc, err));
    s->plan.manifest = s->manifest;
    return ERNE_OK;
}

void sample_deinit(struct sample_file *s)
{
    free(s->manifest);
    memset(s, 0, sizeof(*s));
}

/* The first two tensors say nothing. */
struct erne_tensor_report sample_report(size_t i)
{
    return i < 2 ? (struct erne_tensor_report){ 0 }
                 : (struct erne_tensor_report){ true, 0.125f * (float)(i - 2),
                                                (uint32_t)(100 * i) };
}

int sample_write_tensor(const struct sample_file *s, struct erne_model_writer *w,
                        size_t i, struct erne_error *err)
{
    const struct erne_writer_tensor *t = &s->tensors[i];
    const struct erne_tensor_report report = sample_report(i);
    struct erne_planes planes;
    uint64_t rng = i;
    uint8_t *data;
    size_t n, half;
    int st;

    ERNE_TRY(erne_planes_init(&planes, t->scheme, t->n, t->k));
    n = (size_t)planes.total_bytes;
    half = n / 2;
    data = malloc(n);
    if (!data)
        return ERNE_ENOMEM;
    for (size_t at = 0; at < n; at++)
        data[at] = (uint8_t)unit_random(&rng);
    /* In two pieces, the last one first. */
    st = erne_writer_write(w, i, half, data + half, n - half, err);
    if (st == ERNE_OK)
        st = erne_writer_write(w, i, 0, data, half, err);
    if (st == ERNE_OK)
        st = erne_writer_tensor_done(w, i, XXH3_64bits(data, n), &report, err);
    free(data);
    return st;
}

float sample_logit(size_t i)
{
    return (float)(i * 37 % 101) - 50.0f;
}

static int write_golden(const struct sample_file *s, struct erne_model_writer *w,
                        struct erne_error *err)
{
    const size_t n = SAMPLE_N_ROWS * (size_t)s->desc.n_vocab;
    float *logits = malloc(n * sizeof(*logits));
    int st;

    if (!logits)
        return ERNE_ENOMEM;
    for (size_t i = 0; i < n; i++)
        logits[i] = sample_logit(i);
    st = erne_writer_golden(w, logits, err);
    free(logits);
    return st;
}

int sample_complete(const struct sample_file *s, struct erne_model_writer **w,
                    struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < SAMPLE_N_TENSORS; i++)
        if (!erne_writer_is_done(*w, i))
            st = sample_write_tensor(s, *w, i, err);
    if (st == ERNE_OK && s->plan.golden.tokens)
        st = write_golden(s, *w, err);
    if (st < 0) {
        erne_writer_abandon(w);
        return st;
    }
    return erne_writer_finish(w, err);
}

int sample_write(const struct sample_file *s, const char *path, struct erne_error *err)
{
    struct erne_model_writer *w;
    size_t n_resumed;

    ERNE_TRY(erne_writer_open(&w, path, &s->plan, &n_resumed, err));
    return sample_complete(s, &w, err);
}

uint8_t *sample_load(const char *path, size_t *n_bytes)
{
    struct pf_file *file;
    uint8_t *data = NULL;
    uint64_t size;

    if (pf_file_open(&file, path, PF_READ) < 0)
        return NULL;
    if (pf_file_size(file, &size) == ERNE_OK &&
        (data = malloc((size_t)size + 1)) != NULL &&
        pf_file_read_at(file, data, (size_t)size, 0) < 0) {
        free(data);
        data = NULL;
    }
    pf_file_close(&file);
    *n_bytes = (size_t)size;
    return data;
}

int sample_store(const char *path, const uint8_t *data, size_t n_bytes)
{
    struct pf_file *file;
    int st;

    ERNE_TRY(pf_file_open(&file, path, PF_WRITE_NEW));
    st = pf_file_write_at(file, data, n_bytes, 0);
    pf_file_close(&file);
    return st;
}

int sample_golden_init(struct sample_golden *g, const char *path, struct erne_error *err)
{
    ERNE_TRY(sample_init(&g->sample, err));
    ERNE_TRY(sample_write(&g->sample, path, err));
    g->bytes = sample_load(path, &g->n_bytes);
    return g->bytes ? ERNE_OK : erne_fail(err, ERNE_EIO, "%s cannot be read", path);
}

void sample_golden_deinit(struct sample_golden *g)
{
    sample_deinit(&g->sample);
    free(g->bytes);
}
