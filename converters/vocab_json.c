/* vocab_json.c -- tokenizer.json of the tokenizers library: its BPE model and its added
 * tokens (the steps around them: vocab_pipeline.c); and the tokens that added_tokens.json
 * and tokenizer_config.json add to a tokenizer.model. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "converters/vocab.h"

/* Ids without a token that a vocabulary may have: bounds memory by the file's size. */
enum { GAPS_MAX = 1 << 16 };

/* ---------------------------------------------------------------- tokens */

int vocab_reserve(struct erne_vocab *vocab, uint32_t n, struct erne_error *err)
{
    struct erne_vocab_token *tokens;

    if (n <= vocab->n_tokens)
        return 0;
    if (n > ERNE_VOCAB_TOKENS_MAX)
        return erne_fail(err, ERNE_EFORMAT, "vocabulary: token id %" PRIu32, n - 1);
    tokens = realloc(vocab->tokens, n * sizeof(*tokens));
    if (!tokens)
        return erne_fail(err, ERNE_ENOMEM, "vocabulary: %" PRIu32 " tokens", n);
    memset(tokens + vocab->n_tokens, 0, (n - vocab->n_tokens) * sizeof(*tokens));
    for (uint32_t i = vocab->n_tokens; i < n; i++)
        tokens[i].type = ERNE_TOKEN_UNUSED;
    vocab->tokens = tokens;
    vocab->n_tokens = n;
    return 0;
}

int vocab_set_token(struct erne_vocab *vocab, uint32_t id, const char *text,
                    enum erne_token_type type, struct erne_error *err)
{
    struct erne_vocab_token *token = &vocab->tokens[id];
    size_t n = strlen(text);
    char *copy;

    if (n == 0 || n > ERNE_TOKEN_BYTES_MAX)
        return erne_fail(err, ERNE_EFORMAT, "vocabulary: token %" PRIu32 " has %zu bytes",
                         id, n);
    copy = source_copy_text(text, n);
    if (!copy)
        return erne_fail(err, ERNE_ENOMEM, "vocabulary: out of memory");
    free(token->text);
    token->text = copy;
    token->n_bytes = (uint32_t)n;
    token->type = (uint8_t)type;
    return 0;
}

int32_t vocab_find(const struct erne_vocab *vocab, const char *text)
{
    size_t n = strlen(text);

    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        if (vocab->tokens[i].n_bytes == n && n > 0 &&
            memcmp(vocab->tokens[i].text, text, n) == 0)
            return (int32_t)i;
    return -1;
}

/* Adds or retypes one token. */
static int set_added(struct erne_vocab *vocab, int64_t id, const char *text,
                     enum erne_token_type type, struct erne_error *err)
{
    if (id < 0 || id > (int64_t)vocab->n_tokens + GAPS_MAX)
        return erne_fail(err, ERNE_EFORMAT,
                         "vocabulary: added token \"%s\" has id %" PRId64 " of %" PRIu32,
                         text, id, vocab->n_tokens);
    if (id == vocab->unk)
        type = ERNE_TOKEN_UNKNOWN;
    ERNE_TRY(vocab_reserve(vocab, (uint32_t)id + 1, err));
    /* One token has one type. */
    if (vocab->tokens[id].type == ERNE_TOKEN_BYTE)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "vocabulary: added token \"%s\" is a byte token", text);
    return vocab_set_token(vocab, (uint32_t)id, text, type, err);
}

/* An entry of added_tokens or added_tokens_decoder. */
static int use_added(struct erne_vocab *vocab, const struct json_file *file, int64_t id,
                     const json_t *entry, struct erne_error *err)
{
    const char *text = NULL;
    bool special = false, lstrip = false, rstrip = false, single_word = false;

    ERNE_TRY(json_get_text(file, entry, "content", &text, err));
    ERNE_TRY(json_get_bool(file, entry, "special", &special, err));
    ERNE_TRY(json_get_bool(file, entry, "lstrip", &lstrip, err));
    ERNE_TRY(json_get_bool(file, entry, "rstrip", &rstrip, err));
    ERNE_TRY(json_get_bool(file, entry, "single_word", &single_word, err));
    if (!text)
        return erne_fail(err, ERNE_EFORMAT, "%s: added token %" PRId64 " has no content",
                         file->path, id);
    if (single_word)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: added token \"%s\": single_word is not supported",
                         file->path, text);
    ERNE_TRY(set_added(vocab, id, text, special ? ERNE_TOKEN_CONTROL : ERNE_TOKEN_USER,
                       err));
    vocab->tokens[id].flags = (uint8_t)((lstrip ? ERNE_TOKEN_LSTRIP : 0) |
                                        (rstrip ? ERNE_TOKEN_RSTRIP : 0));
    return 0;
}

/* ----------------------------------------------------------------- model */

static bool is_byte_token(const char *text)
{
    return strlen(text) == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' &&
           strspn(text + 3, "0123456789ABCDEF") == 2;
}

static int read_tokens(struct erne_vocab *vocab, const struct json_file *file,
                       const json_t *map, struct erne_error *err)
{
    int64_t n = (int64_t)json_object_size(map), n_ids = 0;
    bool bytes = json_is_true(
        json_object_get(json_object_get(file->root, "model"), "byte_fallback"));
    const char *text;
    json_t *value;

    json_object_foreach((json_t *)map, text, value) {
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;

        if (id < 0 || id > n + GAPS_MAX)
            return erne_fail(err, ERNE_EFORMAT, "%s: token \"%s\" has id %" PRId64,
                             file->path, text, id);
        n_ids = id >= n_ids ? id + 1 : n_ids;
    }
    ERNE_TRY(vocab_reserve(vocab, (uint32_t)n_ids, err));
    json_object_foreach((json_t *)map, text, value) {
        uint32_t id = (uint32_t)json_integer_value(value);
        bool byte = bytes && is_byte_token(text);

        if (*text == '\0')
            continue;            /* can never be found: a gap */
        if (vocab->tokens[id].text)
            return erne_fail(err, ERNE_EFORMAT, "%s: two tokens have id %" PRIu32,
                             file->path, id);
        ERNE_TRY(vocab_set_token(vocab, id, text,
                                 byte ? ERNE_TOKEN_BYTE : ERNE_TOKEN_NORMAL, err));
    }
    return 0;
}

/* "left right", or [left, right]. */
static int read_merge(uint64_t *merge, const json_t *map, const json_t *entry)
{
    const char *left = json_string_value(json_array_get(entry, 0));
    const char *right = json_string_value(json_array_get(entry, 1));
    const char *both = json_string_value(entry);
    const char *space = both ? strchr(both, ' ') : NULL;
    char *copy = NULL;
    const json_t *a, *b;

    if (space) {
        copy = source_copy_text(both, (size_t)(space - both));
        if (!copy)
            return ERNE_ENOMEM;
        left = copy;
        right = space + 1;
    }
    a = left ? json_object_get(map, left) : NULL;
    b = right ? json_object_get(map, right) : NULL;
    free(copy);
    if (!a || !b)
        return ERNE_EFORMAT;
    *merge = (uint64_t)json_integer_value(a) << 32 | (uint64_t)json_integer_value(b);
    return 0;
}

static int read_merges(struct erne_vocab *vocab, const struct json_file *file,
                       const json_t *map, const json_t *merges, struct erne_error *err)
{
    size_t n = json_array_size(merges);

    if (!json_is_array(merges) || n > INT32_MAX)
        return erne_fail(err, ERNE_EFORMAT, "%s: model has no merges", file->path);
    vocab->merges = calloc(n + 1, sizeof(*vocab->merges));
    if (!vocab->merges)
        return erne_fail(err, ERNE_ENOMEM, "%s: %zu merges", file->path, n);
    for (size_t i = 0; i < n; i++) {
        int status = read_merge(&vocab->merges[i], map, json_array_get(merges, i));

        if (status < 0)
            return erne_fail(err, status, "%s: merge %zu is not of two tokens",
                             file->path, i);
    }
    vocab->n_merges = (uint32_t)n;
    return 0;
}

/* What a model may ask for that is not implemented. */
static int check_model(const struct json_file *file, const json_t *model,
                       struct erne_error *err)
{
    static const char *const affixes[] = { "continuing_subword_prefix",
                                           "end_of_word_suffix" };
    const char *type = "BPE";
    double dropout = 0;

    if (!json_is_object(model))
        return erne_fail(err, ERNE_EFORMAT, "%s: no model", file->path);
    ERNE_TRY(json_get_text(file, model, "type", &type, err));
    if (strcmp(type, "BPE") != 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: model type \"%s\" is not supported, only BPE", file->path,
                         type);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(affixes); i++) {
        const char *affix = "";

        ERNE_TRY(json_get_text(file, model, affixes[i], &affix, err));
        if (*affix != '\0')
            return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s \"%s\" is not supported",
                             file->path, affixes[i], affix);
    }
    ERNE_TRY(json_get_number(file, model, "dropout", &dropout, err));
    if (dropout > 0)
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: dropout %g is not supported",
                         file->path, dropout);
    return 0;
}

static int read_unknown(struct erne_vocab *vocab, const struct json_file *file,
                        const json_t *model, struct erne_error *err)
{
    const char *unk = NULL;
    bool fuse_unk = false;

    ERNE_TRY(json_get_text(file, model, "unk_token", &unk, err));
    ERNE_TRY(json_get_bool(file, model, "fuse_unk", &fuse_unk, err));
    vocab->unk = unk ? vocab_find(vocab, unk) : -1;
    vocab->unknown_apart = !fuse_unk;
    if (vocab->unk >= 0)
        vocab->tokens[vocab->unk].type = ERNE_TOKEN_UNKNOWN;
    return 0;
}

/* What a SentencePiece vocabulary asks of its model besides. */
static int read_spm_model(struct erne_vocab *vocab, const struct json_file *file,
                          struct erne_error *err)
{
    uint32_t n_bytes = 0;

    if (vocab->ignore_merges)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: ignore_merges is not supported without ByteLevel",
                         file->path);
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        n_bytes += vocab->tokens[i].type == ERNE_TOKEN_BYTE;
    if (n_bytes != 0 && n_bytes != 256)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: byte_fallback with %" PRIu32 " byte tokens is not "
                         "supported",
                         file->path, n_bytes);
    vocab->unknown_apart = vocab->unknown_apart && n_bytes == 0;
    return 0;
}

static int read_tokenizer(struct erne_vocab *vocab, const struct json_file *file,
                          struct erne_error *err)
{
    const json_t *model = json_object_get(file->root, "model");
    const json_t *map = json_object_get(model, "vocab");
    const json_t *added = json_object_get(file->root, "added_tokens"), *entry;
    size_t i;

    ERNE_TRY(check_model(file, model, err));
    ERNE_TRY(json_get_bool(file, model, "ignore_merges", &vocab->ignore_merges, err));
    ERNE_TRY(read_tokens(vocab, file, map, err));
    ERNE_TRY(read_merges(vocab, file, map, json_object_get(model, "merges"), err));
    ERNE_TRY(read_unknown(vocab, file, model, err));
    json_array_foreach(added, i, entry) {
        int32_t id = -1;

        ERNE_TRY(json_get_int(file, entry, "id", &id, err));
        ERNE_TRY(use_added(vocab, file, id, entry, err));
    }
    ERNE_TRY(vocab_read_pipeline(vocab, file, err));
    return vocab->kind == ERNE_VOCAB_SPM ? read_spm_model(vocab, file, err) : 0;
}

int vocab_from_tokenizer_json(struct erne_vocab *vocab, const char *text, size_t n_bytes,
                              struct erne_error *err)
{
    struct json_file file = { .path = "tokenizer.json" };
    int status;

    vocab->bos = vocab->eos = vocab->unk = -1;
    ERNE_TRY(json_object_parse(&file.root, text, n_bytes, file.path, err));
    status = read_tokenizer(vocab, &file, err);
    json_decref(file.root);
    return status;
}

/* ----------------------------------------------- tokens beside the model */

/* added_tokens.json says nothing of types: markup is special, words are not. */
static enum erne_token_type guess_type(const char *text)
{
    size_t n = strlen(text);

    return n > 2 && text[0] == '<' && text[n - 1] == '>' ? ERNE_TOKEN_CONTROL
                                                          : ERNE_TOKEN_USER;
}

static void make_special(struct erne_vocab *vocab, int32_t id)
{
    if (id >= 0 && id != vocab->unk)
        vocab->tokens[id].type = ERNE_TOKEN_CONTROL;
}

/* A token by its text, which tokenizer_config.json gives alone or as "content". */
static int32_t named_token(const struct erne_vocab *vocab, const json_t *value)
{
    const char *text = json_string_value(json_is_object(value)
                                             ? json_object_get(value, "content")
                                             : value);

    return text ? vocab_find(vocab, text) : -1;
}

static int use_tokenizer_config(struct erne_vocab *vocab, const struct json_file *file,
                                struct erne_error *err)
{
    static const char *const names[] = { "cls_token", "sep_token", "pad_token",
                                         "mask_token" };
    const json_t *decoder = json_object_get(file->root, "added_tokens_decoder");
    const json_t *more = json_object_get(file->root, "additional_special_tokens");
    int32_t bos = named_token(vocab, json_object_get(file->root, "bos_token"));
    int32_t eos = named_token(vocab, json_object_get(file->root, "eos_token"));
    const char *key;
    json_t *entry;
    size_t i;

    json_object_foreach((json_t *)decoder, key, entry) {
        char *end;
        long id = strtol(key, &end, 10);

        if (*end != '\0' || end == key)
            id = -1;
        ERNE_TRY(use_added(vocab, file, id, entry, err));
    }
    vocab->bos = bos >= 0 ? bos : vocab->bos;
    vocab->eos = eos >= 0 ? eos : vocab->eos;
    make_special(vocab, bos);
    make_special(vocab, eos);
    for (i = 0; i < ERNE_ARRAY_LEN(names); i++)
        make_special(vocab, named_token(vocab, json_object_get(file->root, names[i])));
    json_array_foreach(more, i, entry)
        make_special(vocab, named_token(vocab, entry));
    return json_get_bool(file, NULL, "add_bos_token", &vocab->add_bos, err);
}

/* added_tokens.json maps texts to ids and nothing else. */
static bool is_plain_map(const json_t *root)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)root, key, value)
        if (!json_is_integer(value))
            return false;
    return true;
}

static int use_plain_map(struct erne_vocab *vocab, const json_t *root,
                         struct erne_error *err)
{
    const char *text;
    json_t *value;

    json_object_foreach((json_t *)root, text, value)
        ERNE_TRY(set_added(vocab, json_integer_value(value), text, guess_type(text),
                           err));
    return 0;
}

int vocab_add_tokens_json(struct erne_vocab *vocab, const char *text, size_t n_bytes,
                          struct erne_error *err)
{
    struct json_file file = { .path = "added tokens" };
    int status;

    ERNE_TRY(json_object_parse(&file.root, text, n_bytes, file.path, err));
    status = is_plain_map(file.root) ? use_plain_map(vocab, file.root, err)
                                     : use_tokenizer_config(vocab, &file, err);
    json_decref(file.root);
    return status;
}
