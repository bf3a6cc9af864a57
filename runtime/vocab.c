/* vocab.c -- a vocabulary in memory: its end, and the section it becomes. The section is
 * read back before it is handed out, so that all rules stand in tok_section.c and
 * tok_tables.c alone. */
#include <stdlib.h>
#include <string.h>

#include "runtime/tok.h"

void erne_vocab_deinit(struct erne_vocab *vocab)
{
    for (uint32_t i = 0; vocab->tokens && i < vocab->n_tokens; i++)
        free(vocab->tokens[i].text);
    for (uint32_t i = 0; i < ERNE_VOCAB_PATTERNS_MAX; i++)
        free(vocab->patterns[i]);
    free(vocab->tokens);
    free(vocab->merges);
    free(vocab->charsmap);
    memset(vocab, 0, sizeof(*vocab));
}

struct sizes {
    uint64_t text, patterns, total;
};

static int measure(struct sizes *sizes, const struct erne_vocab *vocab,
                   struct erne_error *err)
{
    *sizes = (struct sizes){ 0 };
    if (vocab->n_tokens > ERNE_VOCAB_TOKENS_MAX ||
        vocab->n_patterns > ERNE_VOCAB_PATTERNS_MAX)
        return erne_fail(err, ERNE_EINVAL, "vocabulary: %u tokens, %u patterns",
                         vocab->n_tokens, vocab->n_patterns);
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        sizes->text += vocab->tokens[i].n_bytes;
    for (uint32_t i = 0; i < vocab->n_patterns; i++)
        sizes->patterns += strlen(vocab->patterns[i]);
    if (sizes->text > UINT32_MAX || sizes->patterns > UINT32_MAX)
        return erne_fail(err, ERNE_EUNSUPPORTED, "vocabulary: %llu bytes of text",
                         (unsigned long long)sizes->text);
    sizes->total = TOK_HEADER_BYTES + (uint64_t)vocab->n_tokens * TOK_RECORD_BYTES +
                   (uint64_t)vocab->n_merges * 8 + (uint64_t)vocab->n_patterns * 4 +
                   vocab->charsmap_bytes + sizes->patterns + sizes->text;
    return 0;
}

static uint32_t flags_of(const struct erne_vocab *vocab)
{
    uint32_t gaps = 0;

    for (uint32_t i = 0; i < ERNE_VOCAB_PATTERNS_MAX; i++)
        gaps |= vocab->drops_gaps[i] ? (uint32_t)TOK_DROP_GAPS << i : 0u;
    return gaps | (vocab->nfc ? TOK_NFC : 0u) |
           (vocab->add_space_prefix ? TOK_ADD_SPACE_PREFIX : 0u) |
           (vocab->remove_extra_spaces ? TOK_REMOVE_EXTRA_SPACES : 0u) |
           (vocab->ignore_merges ? TOK_IGNORE_MERGES : 0u) |
           (vocab->add_bos ? TOK_ADD_BOS : 0u) |
           (vocab->space_prefix_once ? TOK_SPACE_PREFIX_ONCE : 0u) |
           (vocab->unknown_apart ? TOK_UNKNOWN_APART : 0u);
}

static void put_header(uint8_t *p, const struct erne_vocab *vocab,
                       const struct sizes *sizes)
{
    const uint32_t fields[] = {
        TOK_VERSION,           (uint32_t)vocab->kind,    flags_of(vocab),
        vocab->n_tokens,       vocab->n_merges,          vocab->n_patterns,
        (uint32_t)vocab->bos,  (uint32_t)vocab->eos,     (uint32_t)vocab->unk,
        (uint32_t)sizes->text, (uint32_t)sizes->patterns, vocab->charsmap_bytes,
    };

    for (size_t i = 0; i < ERNE_ARRAY_LEN(fields); i++)
        erne_put_le32(p + 4 * i, fields[i]);
}

static uint8_t *put_records(uint8_t *p, const struct erne_vocab *vocab)
{
    uint32_t end = 0;

    for (uint32_t i = 0; i < vocab->n_tokens; i++, p += TOK_RECORD_BYTES) {
        const struct erne_vocab_token *token = &vocab->tokens[i];
        uint32_t score_bits;

        memcpy(&score_bits, &token->score, sizeof(score_bits));
        end += token->n_bytes;
        erne_put_le32(p, end);
        erne_put_le32(p + 4, score_bits);
        p[8] = token->type;
        p[9] = token->flags;
    }
    return p;
}

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(p, bytes, n);
    return p + n;
}

static void put_section(uint8_t *p, const struct erne_vocab *vocab,
                        const struct sizes *sizes)
{
    uint32_t end = 0;

    put_header(p, vocab, sizes);
    p = put_records(p + TOK_HEADER_BYTES, vocab);
    for (uint32_t i = 0; i < vocab->n_merges; i++, p += 8) {
        erne_put_le32(p, (uint32_t)(vocab->merges[i] >> 32));
        erne_put_le32(p + 4, (uint32_t)vocab->merges[i]);
    }
    for (uint32_t i = 0; i < vocab->n_patterns; i++, p += 4) {
        end += (uint32_t)strlen(vocab->patterns[i]);
        erne_put_le32(p, end);
    }
    p = put_bytes(p, vocab->charsmap, vocab->charsmap_bytes);
    for (uint32_t i = 0; i < vocab->n_patterns; i++)
        p = put_bytes(p, vocab->patterns[i], strlen(vocab->patterns[i]));
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        p = put_bytes(p, vocab->tokens[i].text, vocab->tokens[i].n_bytes);
}

int erne_vocab_write(uint8_t **data, size_t *n_bytes, const struct erne_vocab *vocab,
                     struct erne_error *err)
{
    struct erne_tokenizer *check = NULL;
    struct sizes sizes;
    uint8_t *section;
    int status;

    ERNE_TRY(measure(&sizes, vocab, err));
    section = calloc(1, sizes.total);
    if (!section)
        return erne_fail(err, ERNE_ENOMEM, "vocabulary: %llu bytes",
                         (unsigned long long)sizes.total);
    put_section(section, vocab, &sizes);
    status = erne_tokenizer_open(&check, section, sizes.total, err);
    if (status < 0) {
        free(section);
        return status;
    }
    erne_tokenizer_close(&check);
    *data = section;
    *n_bytes = sizes.total;
    return 0;
}
