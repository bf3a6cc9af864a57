/* gguf_vocab.c -- tokenizer.ggml.* as struct erne_vocab: SentencePiece vocabularies
 * (model "llama": scores) and byte-level BPE (model "gpt2": merges). Defaults of absent
 * keys are those of llama.cpp (src/llama-vocab.cpp). */
#include "converters/gguf_vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(const struct gguf_meta *meta, struct erne_error *err)
{
    return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", meta->path);
}

/* ----------------------------------------------------------------- tokens */

static int read_tokens(struct erne_vocab *vocab, const struct gguf_meta *meta,
                       struct erne_error *err)
{
    const struct gguf_pair *tokens;
    uint64_t offset;

    ERNE_TRY(gguf_get_array(meta, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, err));
    if (!tokens || tokens->n == 0 || tokens->n > INT32_MAX)
        return erne_fail(err, ERNE_EFORMAT, "%s: no tokenizer.ggml.tokens", meta->path);
    vocab->tokens = calloc((size_t)tokens->n, sizeof(*vocab->tokens));
    if (!vocab->tokens)
        return no_memory(meta, err);
    offset = tokens->offset;
    for (; vocab->n_tokens < tokens->n; vocab->n_tokens++) {
        const struct gguf_text text = gguf_array_text(meta, &offset);
        struct erne_vocab_token *token = &vocab->tokens[vocab->n_tokens];

        if (text.n_bytes > UINT16_MAX)
            return erne_fail(err, ERNE_EFORMAT, "%s: token %" PRIu32 " has %zu bytes",
                             meta->path, vocab->n_tokens, text.n_bytes);
        token->text = source_copy_text(text.text, text.n_bytes);
        if (!token->text)
            return no_memory(meta, err);
        token->n_bytes = (uint32_t)text.n_bytes;
        token->type = ERNE_TOKEN_NORMAL;
    }
    return ERNE_OK;
}

/* The array beside the tokens, which must be as long. NULL when absent. */
static int find_beside(const struct erne_vocab *vocab, const struct gguf_meta *meta,
                       const char *key, enum gguf_type type,
                       const struct gguf_pair **pair, struct erne_error *err)
{
    ERNE_TRY(gguf_get_array(meta, key, type, pair, err));
    if (*pair && (*pair)->n != vocab->n_tokens)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %s has %" PRIu64 " elements for %" PRIu32 " tokens",
                         meta->path, key, (*pair)->n, vocab->n_tokens);
    return ERNE_OK;
}

/* GGUF numbers token types as enum erne_token_type does. */
static int read_types(struct erne_vocab *vocab, const struct gguf_meta *meta,
                      struct erne_error *err)
{
    const struct gguf_pair *types;

    ERNE_TRY(
        find_beside(vocab, meta, "tokenizer.ggml.token_type", GGUF_I32, &types, err));
    for (uint32_t i = 0; types && i < vocab->n_tokens; i++) {
        const uint32_t type = gguf_array_u32(meta, types, i);

        if (type < ERNE_TOKEN_NORMAL || type > ERNE_TOKEN_BYTE)
            return erne_fail(err, ERNE_EFORMAT,
                             "%s: token %" PRIu32 " has the unknown type %" PRIu32,
                             meta->path, i, type);
        vocab->tokens[i].type = (uint8_t)type;
    }
    return ERNE_OK;
}

static int read_scores(struct erne_vocab *vocab, const struct gguf_meta *meta,
                       struct erne_error *err)
{
    const struct gguf_pair *scores;

    ERNE_TRY(find_beside(vocab, meta, "tokenizer.ggml.scores", GGUF_F32, &scores, err));
    if (!scores)
        return erne_fail(err, ERNE_EFORMAT, "%s: no tokenizer.ggml.scores", meta->path);
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        const uint32_t bits = gguf_array_u32(meta, scores, i);

        memcpy(&vocab->tokens[i].score, &bits, sizeof(bits));
    }
    return ERNE_OK;
}

/* ----------------------------------------------------------------- merges */

/* A token's text with its id, sorted by text: how merges find their tokens. */
struct indexed_token {
    struct gguf_text text;
    uint32_t id;
};

static int compare_indexed(const void *a, const void *b)
{
    const struct gguf_text *x = &((const struct indexed_token *)a)->text;
    const struct gguf_text *y = &((const struct indexed_token *)b)->text;

    if (x->n_bytes != y->n_bytes)
        return x->n_bytes < y->n_bytes ? -1 : 1;
    return memcmp(x->text, y->text, x->n_bytes);
}

static const struct indexed_token *find_token(const struct indexed_token *index, size_t n,
                                              const char *text, size_t n_bytes)
{
    const struct indexed_token want = { .text = { text, n_bytes } };

    return bsearch(&want, index, n, sizeof(want), compare_indexed);
}

/* "left right" as ids; the space is the first one after a first byte. */
static int read_merge(uint64_t *merge, const struct indexed_token *index, size_t n,
                      struct gguf_text text)
{
    const char *space =
        text.n_bytes > 1 ? memchr(text.text + 1, ' ', text.n_bytes - 1) : NULL;
    const struct indexed_token *left, *right;
    size_t n_left;

    if (!space)
        return ERNE_EFORMAT;
    n_left = (size_t)(space - text.text);
    left = find_token(index, n, text.text, n_left);
    right = find_token(index, n, space + 1, text.n_bytes - n_left - 1);
    if (!left || !right)
        return ERNE_EFORMAT;
    *merge = (uint64_t)left->id << 32 | right->id;
    return ERNE_OK;
}

static int read_merges_of(struct erne_vocab *vocab, const struct gguf_meta *meta,
                          const struct gguf_pair *merges,
                          const struct indexed_token *index, struct erne_error *err)
{
    uint64_t offset = merges->offset;

    for (; vocab->n_merges < merges->n; vocab->n_merges++) {
        const struct gguf_text text = gguf_array_text(meta, &offset);

        if (read_merge(&vocab->merges[vocab->n_merges], index, vocab->n_tokens, text) < 0)
            return erne_fail(
                err, ERNE_EFORMAT, "%s: merge %" PRIu32 " \"%.*s\" is not of two tokens",
                meta->path, vocab->n_merges, gguf_text_shown(text), text.text);
    }
    return ERNE_OK;
}

static int read_merges(struct erne_vocab *vocab, const struct gguf_meta *meta,
                       struct erne_error *err)
{
    const struct gguf_pair *merges;
    struct indexed_token *index;
    int st;

    ERNE_TRY(gguf_get_array(meta, "tokenizer.ggml.merges", GGUF_STRING, &merges, err));
    if (!merges || merges->n > INT32_MAX)
        return erne_fail(err, ERNE_EFORMAT, "%s: no tokenizer.ggml.merges", meta->path);
    vocab->merges = calloc((size_t)merges->n + 1, sizeof(*vocab->merges));
    index = calloc(vocab->n_tokens, sizeof(*index));
    if (!vocab->merges || !index) {
        free(index);
        return no_memory(meta, err);
    }
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        index[i] =
            (struct indexed_token){ { vocab->tokens[i].text, vocab->tokens[i].n_bytes },
                                    i };
    qsort(index, vocab->n_tokens, sizeof(*index), compare_indexed);
    st = read_merges_of(vocab, meta, merges, index, err);
    free(index);
    return st;
}

/* --------------------------------------------------------- special tokens */

/* An id, or -1 when the key is absent or names no token (some files write 2^32 - 1). */
static int read_id(const struct erne_vocab *vocab, const struct gguf_meta *meta,
                   const char *key, int32_t *id, struct erne_error *err)
{
    double value = *id;

    ERNE_TRY(gguf_get_number(meta, key, &value, err));
    *id = value >= 0 && value < vocab->n_tokens ? (int32_t)value : -1;
    return ERNE_OK;
}

static int read_special(struct source *src, const struct gguf_meta *meta,
                        struct erne_error *err)
{
    struct erne_vocab *vocab = &src->vocab;
    const bool spm = vocab->kind == ERNE_VOCAB_SPM;
    int32_t end_of_turn = -1;

    vocab->unk = spm ? 0 : -1;
    vocab->bos = spm ? 1 : -1;
    vocab->eos = spm ? 2 : -1;
    vocab->add_bos = vocab->add_bos || spm;
    vocab->add_space_prefix = spm;
    if (spm) /* llama.cpp leaves bytes out that a byte-level vocabulary lacks */
        ERNE_TRY(
            read_id(vocab, meta, "tokenizer.ggml.unknown_token_id", &vocab->unk, err));
    ERNE_TRY(read_id(vocab, meta, "tokenizer.ggml.bos_token_id", &vocab->bos, err));
    ERNE_TRY(read_id(vocab, meta, "tokenizer.ggml.eos_token_id", &vocab->eos, err));
    ERNE_TRY(read_id(vocab, meta, "tokenizer.ggml.eot_token_id", &end_of_turn, err));
    ERNE_TRY(gguf_get_bool(meta, "tokenizer.ggml.add_bos_token", &vocab->add_bos, err));
    ERNE_TRY(gguf_get_bool(meta, "tokenizer.ggml.add_space_prefix",
                           &vocab->add_space_prefix, err));
    ERNE_TRY(gguf_get_bool(meta, "tokenizer.ggml.remove_extra_whitespaces",
                           &vocab->remove_extra_spaces, err));
    source_add_stop(src, vocab->eos);
    source_add_stop(src, end_of_turn);
    return ERNE_OK;
}

static int read_bpe(struct erne_vocab *vocab, const struct gguf_meta *meta,
                    struct erne_error *err)
{
    struct gguf_text pre = { "default", 7 };
    char name[64];

    vocab->kind = ERNE_VOCAB_BPE;
    ERNE_TRY(gguf_get_text(meta, "tokenizer.ggml.pre", &pre, err));
    if (pre.n_bytes >= sizeof(name))
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: tokenizer.ggml.pre \"%.*s\"",
                         meta->path, gguf_text_shown(pre), pre.text);
    memcpy(name, pre.text, pre.n_bytes);
    name[pre.n_bytes] = '\0';
    const int st = vocab_set_pre_tokenizer(vocab, name, err);

    if (st < 0)
        return erne_fail_context(err, st, "%s", meta->path);
    return read_merges(vocab, meta, err);
}

int gguf_vocab_read(struct source *src, const struct gguf_meta *meta,
                    struct erne_error *err)
{
    struct erne_vocab *vocab = &src->vocab;
    struct gguf_text model = { "", 0 };

    ERNE_TRY(gguf_get_text(meta, "tokenizer.ggml.model", &model, err));
    ERNE_TRY(read_tokens(vocab, meta, err));
    ERNE_TRY(read_types(vocab, meta, err));
    if (gguf_text_is(model, "llama")) {
        vocab->kind = ERNE_VOCAB_SPM;
        ERNE_TRY(read_scores(vocab, meta, err));
    } else if (gguf_text_is(model, "gpt2")) {
        ERNE_TRY(read_bpe(vocab, meta, err));
    } else {
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: tokenizer.ggml.model \"%.*s\"; llama and gpt2 are read",
                         meta->path, gguf_text_shown(model), model.text);
    }
    return read_special(src, meta, err);
}
