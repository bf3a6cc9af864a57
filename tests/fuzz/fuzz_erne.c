/* fuzz_erne.c -- any bytes as a .erne file: as they are, and with hashes that fit. What
 * opens is read through every interface that takes an opened file. */
#include <stdlib.h>
#include <string.h>

#include "quantize/tile64.h"
#include "runtime/model_file.h"
#include "tests/support/reseal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { MAX_K = 4096 };

/* First and last row: the ends of all planes. */
static void decode(const struct erne_file_tensor *t, float *row)
{
    const uint8_t *codes = erne_model_file_data(t);
    const void *scales = codes + t->planes.scales_offset;
    const void *minima = codes + t->planes.minima_offset;

    if (t->k > MAX_K)
        return;
    tile64_decode_row(row, t->scheme, &t->planes, codes, scales, minima, 0, t->k);
    tile64_decode_row(row, t->scheme, &t->planes, codes, scales, minima, t->n - 1, t->k);
}

/* Every row and token that the file says it has. */
static void read_golden(const struct erne_model_file *mf)
{
    const struct erne_golden *g = &mf->golden;
    const size_t n = (size_t)g->n_rows * (size_t)mf->desc.n_vocab;
    volatile float last = 0;

    for (int32_t i = 0; i < g->n_tokens; i++)
        if (g->tokens[i] < 0 || g->tokens[i] >= mf->desc.n_vocab)
            abort();
    for (size_t i = 0; i < n; i++)
        last = g->logits[i];
    (void)last;
}

static void open_and_read(const uint8_t *data, size_t n_bytes)
{
    static float row[MAX_K];
    struct erne_model_file mf;
    struct erne_error err;

    if (erne_model_file_open_bytes(&mf, data, n_bytes, &err) < 0)
        return;
    for (size_t i = 0; i < mf.n_tensors; i++) {
        const struct erne_file_tensor *t = &mf.tensors[i];

        if (erne_model_file_find(&mf, t->name) != t)
            abort();
        (void)erne_model_file_check(t, &err);
        decode(t, row);
    }
    (void)erne_model_file_check_padding(&mf, &err);
    read_golden(&mf);
    erne_model_file_close(&mf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    uint8_t *copy = malloc(n_bytes + 1);

    if (!copy)
        return 0;
    memcpy(copy, data, n_bytes);
    open_and_read(copy, n_bytes);
    reseal(copy, n_bytes);
    open_and_read(copy, n_bytes);
    free(copy);
    return 0;
}
