/* fuzz_source.c -- see fuzz_source.h. */
#include "tests/fuzz/fuzz_source.h"

#include <stdio.h>
#include <stdlib.h>

#include "converters/layout.h"

enum { MAX_K = 4096 };

void fuzz_put_file(const char *path, const uint8_t *data, size_t n_bytes)
{
    FILE *file;

    /* Cutting off a file that is there makes ext4 write it out at once, which takes a
     * thousand times as long as to parse it. A new file never reaches the disk. */
    (void)remove(path);
    file = fopen(path, "wb");
    if (!file || fwrite(data, 1, n_bytes, file) != n_bytes || fclose(file) != 0)
        abort();
}

static void read_row(const struct source *src, const struct source_tensor *t, int64_t row,
                     float *scratch)
{
    static int8_t codes[MAX_K];
    static uint16_t scales[MAX_K], minima[MAX_K];
    const struct source_codes dst = { codes, scales, minima, scratch };

    (void)source_read_rows(src, t, row, 1, scratch, NULL);
    if (t->type->unpack)
        (void)source_read_codes(src, t, row, 1, &dst, NULL);
}

static void read_ends(const struct source *src)
{
    static float row[MAX_K];

    for (size_t i = 0; i < src->n_tensors; i++) {
        const struct source_tensor *t = &src->tensors[i];

        if (source_find(src, t->name) != t)
            abort();
        if (t->k > MAX_K)
            continue;
        read_row(src, t, 0, row);
        read_row(src, t, t->n - 1, row);
    }
}

enum { BLOCK_ROWS = 64, MAX_FLOATS = 1 << 22 };

/* The first block of every output tensor, as a conversion reads it. */
static void read_blocks(const struct source *src, const struct layout_list *layouts)
{
    for (size_t i = 0; i < layouts->n; i++) {
        const struct layout *layout = &layouts->items[i];
        const int64_t n = layout->n < BLOCK_ROWS ? layout->n : BLOCK_ROWS;
        const uint64_t n_scratch = layout_scratch(layout, n);
        float *rows, *scratch;

        if (layout->k > MAX_K || n_scratch > MAX_FLOATS)
            continue;
        rows = malloc((size_t)(n * layout->k) * sizeof(*rows));
        scratch = malloc((size_t)n_scratch * sizeof(*scratch));
        if (!rows || !scratch)
            abort();
        (void)layout_read_rows(layout, src, 0, n, rows, scratch, NULL);
        free(rows);
        free(scratch);
    }
}

void fuzz_open_with(const char *path, const struct source_opts *opts)
{
    struct layout_list layouts;
    struct source *src;
    struct erne_error err;

    if (source_open(&src, path, opts, &err) < 0)
        return;
    read_ends(src);
    if (layout_list_init(&layouts, src, &err) == 0) {
        read_blocks(src, &layouts);
        layout_list_deinit(&layouts);
    }
    source_close(&src);
}

void fuzz_open_source(const char *path)
{
    fuzz_open_with(path, &(struct source_opts){ 0 });
}
