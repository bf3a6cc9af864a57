/* golden.c -- see golden.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/models/golden.h"

static FILE *open_in_dir(const char *dir, const char *name)
{
    char path[GOLDEN_MAX_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    return file;
}

/* The header of version 1 ends where bytes 8 and 9 say (numpy, lib/format.py). */
float *golden_npy(const struct golden *g, const char *name, size_t *n_floats)
{
    char path[GOLDEN_MAX_PATH];
    uint8_t head[10];
    snprintf(path, sizeof path, "%s/%s", g->dir, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    assert_int_equal(fread(head, 1, sizeof head, file), sizeof head);
    assert_memory_equal(head, "\x93NUMPY\x01\x00", 8);
    const long start = 10 + head[8] + 256 * head[9];
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const size_t n = (size_t)(ftell(file) - start) / sizeof(float);
    assert_int_equal(fseek(file, start, SEEK_SET), 0);
    float *data = malloc(n * sizeof(float));
    assert_non_null(data);
    assert_int_equal(fread(data, sizeof(float), n, file), n);
    fclose(file);
    *n_floats = n;
    return data;
}

/* What is converted for the case. */
static void find_source(struct golden *g)
{
    char path[GOLDEN_MAX_PATH], home[64] = "";
    snprintf(path, sizeof path, "%s/model.txt", g->dir);
    FILE *file = fopen(path, "rb");
    if (file) {
        assert_int_equal(fscanf(file, "%63s", home), 1);
        fclose(file);
        snprintf(g->src, sizeof g->src, "%s/%s", g->dir, home);
        return;
    }
    snprintf(g->src, sizeof g->src, "%s/model.gguf", g->dir);
    file = fopen(g->src, "rb");
    if (file)
        fclose(file);
    else
        snprintf(g->src, sizeof g->src, "%s", g->dir);
}

/* Opens what media.txt lists, "image FILE" or "video FOLDER" a line, if there is one. */
static void read_media(struct golden *g)
{
    char path[GOLDEN_MAX_PATH], kind[8], name[64];
    struct erne_error err = { 0 };
    snprintf(path, sizeof path, "%s/media.txt", g->dir);
    FILE *file = fopen(path, "rb");
    while (file && fscanf(file, "%7s %63s", kind, name) == 2) {
        assert_true(g->n_media < GOLDEN_MAX_MEDIA);
        struct erne_media **media = &g->media[g->n_media++];
        snprintf(path, sizeof path, "%s/%s", g->dir, name);
        if ((strcmp(kind, "image") == 0 ? erne_media_open_image(media, path, &err)
                                        : erne_media_open_frames(media, path, &err)) != 0)
            fail_msg("%s", err.text);
    }
    if (file)
        fclose(file);
}

void golden_read(struct golden *g)
{
    find_source(g);
    read_media(g);

    FILE *file = open_in_dir(g->dir, "tokens.txt");
    int id;
    while (g->n_tokens < GOLDEN_MAX_TOKENS && fscanf(file, "%d", &id) == 1)
        g->tokens[g->n_tokens++] = id;
    fclose(file);
    assert_true(g->n_tokens > 1);

    size_t n = 0;
    g->logits = golden_npy(g, "logits.npy", &n);
    assert_non_null(g->logits);
    assert_int_equal(n % g->n_tokens, 0);
    g->n_vocab = n / g->n_tokens;
    float low = g->logits[0], high = g->logits[0];
    for (size_t i = 1; i < n; i++) {
        low = fminf(low, g->logits[i]);
        high = fmaxf(high, g->logits[i]);
    }
    g->range = high - low;
    g->is_moe = strstr(g->dir, "/golden/moe") || strstr(g->dir, "/golden/vl") ||
                strstr(g->dir, "/golden/mtp");
    assert_true(g->range > 1);
}

bool golden_begin(struct golden *g, int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s CASE_DIR WORK_DIR\n", argv[0]);
        return false;
    }
    *g = (struct golden){ .dir = argv[1], .work_dir = argv[2] };
    golden_read(g);
    return true;
}

/* Path of the case converted to a scheme. */
void golden_path(char path[GOLDEN_MAX_PATH], const struct golden *g, const char *scheme)
{
    const char *name = strrchr(g->dir, '/') ? strrchr(g->dir, '/') + 1 : g->dir;
    snprintf(path, GOLDEN_MAX_PATH, "%s/%s-%s.erne", g->work_dir, name, scheme);
}

void golden_convert(const struct golden *g, const char *scheme)
{
    char path[GOLDEN_MAX_PATH];
    struct erne_error err = { 0 };
    struct erne_convert_opts opts = erne_convert_opts_default();
    golden_path(path, g, scheme);
    opts.src = g->src;
    opts.dst = path;
    opts.scheme = scheme;
    opts.overwrite = true;
    opts.n_threads = 2;
    opts.with_mtp = strstr(g->dir, "/golden/mtp") != NULL;
    if (erne_convert(&opts, &err) != 0)
        fail_msg("convert %s to %s: %s", g->src, scheme, err.text);
}

struct erne_session *golden_session(struct erne_engine *engine,
                                    struct erne_session_opts opts)
{
    struct erne_error err = { 0 };
    struct erne_session *session = NULL;
    if (opts.n_ctx == 0)
        opts.n_ctx = GOLDEN_MAX_TOKENS;
    if (erne_session_create(&session, engine, &opts, &err) != 0)
        fail_msg("session: %s", err.text);
    return session;
}

void golden_add_media(const struct golden *g, struct erne_session *session)
{
    struct erne_error err = { 0 };
    for (size_t i = 0; i < g->n_media; i++)
        if (erne_session_add_media(session, g->media[i], &err) != 0)
            fail_msg("media %zu: %s", i, err.text);
}

void golden_deinit(struct golden *g)
{
    for (size_t i = 0; i < g->n_media; i++)
        erne_media_close(&g->media[i]);
    free(g->logits);
}

void golden_last_rows(const struct golden *g, struct erne_session *session, size_t chunk,
                      float *logits)
{
    struct erne_error err = { 0 };
    for (size_t i = 0, n; i < g->n_tokens; i += n) {
        n = chunk > 0 && chunk < g->n_tokens - i ? chunk : g->n_tokens - i;
        if (erne_session_eval(session, g->tokens + i, n, NULL, &err) != 0)
            fail_msg("eval at %zu: %s", i, err.text);
        memcpy(logits + (i + n - 1) * g->n_vocab, erne_session_logits(session),
               g->n_vocab * sizeof(float));
    }
}
