/* tok_dump.c -- tokenises lines for tests/oracle/compare_tokenizers.py.
 *
 *     tok_dump FILE [ADDED.json...] < LINES
 *
 * FILE is a tokenizer.model, a tokenizer.json or a GGUF file. A line is "s" (special
 * tokens are parsed) or "p" (plain text), a space and the text in hex. The answer is the
 * ids, a "|" and, in hex, what the ids give when they are decoded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/json_file.h"
#include "converters/source.h"

static int fail(const struct erne_error *err)
{
    fprintf(stderr, "tok_dump: %s\n", err->text);
    return 1;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);

    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static int read_gguf(struct erne_vocab *vocab, const char *path, struct erne_error *err)
{
    struct source_opts opts = { .chat_template = "none" };
    struct source *src;

    ERNE_TRY(source_open(&src, path, &opts, err));
    *vocab = src->vocab;
    memset(&src->vocab, 0, sizeof(src->vocab));
    source_close(&src);
    return 0;
}

static int read_vocab(struct erne_vocab *vocab, char **paths, struct erne_error *err)
{
    char *text;
    size_t n;
    int status;

    if (ends_with(paths[0], ".gguf"))
        return read_gguf(vocab, paths[0], err);
    ERNE_TRY(text_file_load(&text, &n, paths[0], err));
    status = ends_with(paths[0], ".json")
                 ? vocab_from_tokenizer_json(vocab, text, n, err)
                 : vocab_from_spm_model(vocab, (const uint8_t *)text, n, err);
    free(text);
    for (paths++; status == 0 && *paths; paths++) {
        ERNE_TRY(text_file_load(&text, &n, *paths, err));
        status = vocab_add_tokens_json(vocab, text, n, err);
        free(text);
    }
    return status;
}

/* In place; the length in bytes. */
static size_t from_hex(char *hex)
{
    size_t n = 0;
    char two[3] = "", *end;

    for (; hex[2 * n] != '\0'; n++) {
        memcpy(two, hex + 2 * n, 2);
        hex[n] = (char)strtol(two, &end, 16);
        if (end != two + 2)
            break;
    }
    return n;
}

static int decode(const struct erne_tokenizer *tok, const int32_t *ids, size_t n)
{
    struct erne_detok state = { .show_special = true };
    struct erne_error err;
    char buf[4096];
    size_t n_bytes;

    for (size_t i = 0; i <= n; i++) {
        if (i == n)
            erne_detokenize_end(&state, buf, sizeof(buf), &n_bytes);
        else if (erne_tokenizer_stream(tok, &state, ids[i], buf, sizeof(buf), &n_bytes,
                                       &err) < 0)
            return fail(&err);
        for (size_t k = 0; k < n_bytes; k++)
            printf("%02x", (unsigned char)buf[k]);
    }
    printf("\n");
    return 0;
}

static int answer(const struct erne_tokenizer *tok, char *line)
{
    struct erne_text_span all = { 0, SIZE_MAX };
    struct erne_text text = { .bytes = line + 2, .n_bytes = from_hex(line + 2) };
    struct erne_error err;
    size_t cap = 4 * text.n_bytes + 16, n;
    int32_t *ids = malloc(cap * sizeof(*ids));
    int status;

    if (!ids)
        return 1;
    text.plain = &all;
    text.n_plain = line[0] == 'p';
    if (erne_tokenizer_encode(tok, &text, ids, cap, &n, &err) < 0) {
        free(ids);
        return fail(&err);
    }
    for (size_t i = 0; i < n; i++)
        printf("%d ", ids[i]);
    printf("|");
    status = decode(tok, ids, n);
    free(ids);
    return status;
}

int main(int argc, char **argv)
{
    enum { LINE_MAX_BYTES = 1 << 24 };
    struct erne_vocab vocab = { 0 };
    struct erne_tokenizer *tok = NULL;
    struct erne_error err;
    char *line = malloc(LINE_MAX_BYTES);
    uint8_t *section = NULL;
    size_t n;
    int status = 0;

    if (argc < 2 || !line)
        status = 2;
    else if (read_vocab(&vocab, argv + 1, &err) < 0 ||
             erne_vocab_write(&section, &n, &vocab, &err) < 0 ||
             erne_tokenizer_open(&tok, section, n, &err) < 0)
        status = fail(&err);
    while (status == 0 && fgets(line, LINE_MAX_BYTES, stdin))
        status = answer(tok, line);
    erne_tokenizer_close(&tok);
    erne_vocab_deinit(&vocab);
    free(section);
    free(line);
    return status;
}
