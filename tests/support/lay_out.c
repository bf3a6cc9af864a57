/* lay_out.c -- see lay_out.h. The test that it is built into says where the models are
 * (ERNE_TEST_LAYOUTS) and where copies go (ERNE_TEST_DIR). */
#include "tests/support/lay_out.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/checkpoint.h"

enum { PATH_BYTES = 512, TEXT_BYTES = 16384 };

static const char *const dir = ERNE_TEST_DIR;

void lay_out_copy(const char *folder, const char *name, const char *to_name)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    FILE *src, *dst;
    int c;

    snprintf(from, sizeof(from), "%s/%s/%s", ERNE_TEST_LAYOUTS, folder, name);
    snprintf(to, sizeof(to), "%s/%s", dir, to_name);
    remove(to);
    src = fopen(from, "rb");
    if (!src)
        return;
    dst = fopen(to, "wb");
    assert_non_null(dst);
    while ((c = fgetc(src)) != EOF)
        fputc(c, dst);
    fclose(src);
    assert_int_equal(fclose(dst), 0);
}

static void copy_file(const char *folder, const char *name)
{
    lay_out_copy(folder, name, name);
}

const char *lay_out(const char *model, const char *layout)
{
    static const char *const shared[] = { "config.json", "added_tokens.json",
                                          "preprocessor_config.json", "tokenizer.model" };
    static const char *const weights[] = { "model.safetensors", "model.gguf",
                                           "mmproj.gguf" };
    char folder[PATH_BYTES];

    for (size_t i = 0; i < ERNE_ARRAY_LEN(shared); i++)
        copy_file(model, shared[i]);
    snprintf(folder, sizeof(folder), "%s/%s", model, layout);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(weights); i++)
        copy_file(folder, weights[i]);
    return strcmp(layout, "gguf") == 0 ? ERNE_TEST_DIR "/model.gguf" : dir;
}

void lay_out_edit(const char *name, const char *from, const char *to)
{
    static char text[TEXT_BYTES], edited[TEXT_BYTES];
    char path[PATH_BYTES];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    const char *at = strstr(text, from);

    if (!at)
        fail_msg("%s has no %s", name, from);
    snprintf(edited, sizeof(edited), "%.*s%s%s", (int)(at - text), text, to,
             at + strlen(from));
    assert_int_equal(checkpoint_put(dir, name, edited), 0);
}

void lay_out_patch(const char *name, const char *from, const char *to)
{
    static char data[256 * 1024];
    const size_t n_from = strlen(from);
    char path[PATH_BYTES];
    size_t n, n_found = 0;
    FILE *file;

    assert_int_equal(n_from, strlen(to));
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    n = fread(data, 1, sizeof(data), file);
    fclose(file);
    for (size_t i = 0; i + n_from <= n; i++)
        if (memcmp(data + i, from, n_from) == 0) {
            memcpy(data + i, to, n_from);
            n_found++;
        }
    assert_true(n_found > 0);
    file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(data, 1, n, file);
    assert_int_equal(fclose(file), 0);
}
