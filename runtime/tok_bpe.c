/* tok_bpe.c -- byte-level BPE: one segment of text to ids.
 *
 * The patterns cut the text into words, as the pre-tokenisers of the tokenizers library
 * do: each pattern sees every piece of the one before it as a text of its own, and both
 * matches and gaps are pieces (gaps not with TOK_DROP_GAPS). A byte whose token the
 * vocabulary lacks becomes the unknown token, one a byte or one a run of them, as there;
 * without an unknown token it is left out, as there and in llama.cpp.
 */
#include <string.h>

#include "runtime/tok.h"

struct bpe_encoder {
    const struct erne_tokenizer *t;
    struct tok_work *w;
    struct tok_ids *out;
    struct erne_error *err;
};

/* The token that is the whole word, -1 if there is none. */
static int32_t whole_word(const struct erne_tokenizer *t, struct tok_str word)
{
    uint8_t text[ERNE_TOKEN_BYTES_MAX];
    size_t n = 0;
    int32_t id;

    for (size_t i = 0; i < word.n; i++) {
        uint32_t c = tok_byte_to_char(word.p[i]);

        if (n + 2 > sizeof(text))
            return -1;
        if (c >= 0x80) {
            text[n++] = (uint8_t)(0xC0 | c >> 6);
            text[n++] = (uint8_t)(0x80 | (c & 0x3F));
        } else {
            text[n++] = (uint8_t)c;
        }
    }
    id = tok_find(t, (struct tok_str){ text, n });
    return id >= 0 && tok_type(t, (uint32_t)id) == ERNE_TOKEN_NORMAL ? id : -1;
}

static int add_bytes(struct bpe_encoder *e, struct tok_str word)
{
    const struct erne_tokenizer *t = e->t;
    const bool apart = t->h.flags & TOK_UNKNOWN_APART;
    bool after_unknown = false;

    tok_word_begin(e->w);
    for (size_t i = 0; i < word.n; i++) {
        int32_t id = t->byte_id[word.p[i]];
        const bool unknown = id < 0;

        if (unknown && (apart || !after_unknown))
            id = t->h.unk;
        after_unknown = unknown;
        if (id >= 0)
            ERNE_TRY(tok_word_add(e->w, 1, id, false));
    }
    return 0;
}

static int encode_word(struct bpe_encoder *e, struct tok_str word)
{
    const struct erne_tokenizer *t = e->t;
    int32_t id = t->h.flags & TOK_IGNORE_MERGES ? whole_word(t, word) : -1;

    if (id >= 0) {
        tok_emit(e->out, id);
        return 0;
    }
    ERNE_TRY(add_bytes(e, word));
    ERNE_TRY(tok_word_merge(t, e->w, word.p));
    for (int32_t i = e->w->n_symbols == 0 ? -1 : 0; i >= 0; i = e->w->symbols[i].next)
        tok_emit(e->out, e->w->symbols[i].id);
    return 0;
}

/* The next match at or behind `from`. Returns false at the end of the piece. */
static int find_match(struct bpe_encoder *e, uint32_t level, struct tok_str piece,
                      size_t from, struct tok_str *match)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(e->w->match);
    int found = pcre2_match(e->t->patterns[level], piece.p, piece.n, from,
                            PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, e->w->match,
                            e->w->match_context);

    *match = (struct tok_str){ piece.p + piece.n, 0 };
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    if (found == PCRE2_ERROR_NOMEMORY)
        return ERNE_ENOMEM;
    /* \K can move the start of a match over its end, or back over the last one. */
    if (found < 0 || at[0] < from || at[1] <= at[0])
        return erne_fail(e->err, ERNE_EUNSUPPORTED,
                         "tokenizer: pattern %u fails on this text (PCRE2 %d)", level,
                         found);
    *match = (struct tok_str){ piece.p + at[0], at[1] - at[0] };
    return 0;
}

/* Splits a piece by pattern `level` and its pieces by the patterns after it. */
static int encode_piece(struct bpe_encoder *e, uint32_t level, struct tok_str piece)
{
    bool drop_gaps = e->t->h.flags & (uint32_t)TOK_DROP_GAPS << level;
    size_t from = 0;

    if (piece.n == 0)
        return 0;
    if (level == e->t->h.n_patterns || level == ERNE_VOCAB_PATTERNS_MAX)
        return encode_word(e, piece);
    while (from < piece.n) {
        struct tok_str match;
        size_t begin;

        ERNE_TRY(find_match(e, level, piece, from, &match));
        begin = (size_t)(match.p - piece.p);
        if (!drop_gaps)
            ERNE_TRY(encode_piece(e, level + 1,
                                  (struct tok_str){ piece.p + from, begin - from }));
        ERNE_TRY(encode_piece(e, level + 1, match));
        from = begin + match.n;
    }
    return 0;
}

/* A limit that no sensible pattern reaches: it takes steps in proportion to the text. */
static int prepare_match(struct tok_work *w, size_t n_bytes)
{
    if (!w->match)
        w->match = pcre2_match_data_create(1, NULL);
    if (!w->match_context)
        w->match_context = pcre2_match_context_create(NULL);
    if (!w->match || !w->match_context)
        return ERNE_ENOMEM;
    pcre2_set_match_limit(w->match_context, 100000 + 16 * (uint32_t)n_bytes);
    return 0;
}

static int encode_valid(struct bpe_encoder *e, struct tok_str text)
{
    if (e->t->h.flags & TOK_NFC) {
        ERNE_TRY(tok_nfc(e->w, text));
        text = (struct tok_str){ e->w->text, e->w->n_text };
    }
    ERNE_TRY(prepare_match(e->w, text.n));
    return encode_piece(e, 0, text);
}

int tok_bpe_encode(const struct erne_tokenizer *t, struct tok_work *w,
                   struct tok_str segment, struct tok_ids *out, struct erne_error *err)
{
    struct bpe_encoder e = { t, w, out, err };
    size_t i = 0;

    while (i < segment.n) {
        size_t begin = i, n;

        for (; (n = tok_char_len((struct tok_str){ segment.p + i, segment.n - i })) > 0;
             i += n)
            ;
        if (i > begin)
            ERNE_TRY(encode_valid(&e, (struct tok_str){ segment.p + begin, i - begin }));
        begin = i;
        while (i < segment.n &&
               tok_char_len((struct tok_str){ segment.p + i, segment.n - i }) == 0)
            i++;
        if (i > begin)
            ERNE_TRY(encode_word(&e, (struct tok_str){ segment.p + begin, i - begin }));
    }
    return 0;
}
