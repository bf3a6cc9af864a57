/* tok_spm.c -- SentencePiece BPE: one segment of text to ids.
 *
 * Follows sentencepiece's normalizer.cc and bpe_model.cc; with merges (tokenizer.json)
 * the tokenizers library, which looks a character up before it merges, not after. The
 * differences are in add_char and emit_symbol.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/tok.h"

/* ----------------------------------------------------------- normalising */

/* Units of darts-clone's double array (include/darts.h). */
static uint32_t unit_offset(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The longest rule of the charsmap that s starts with: *n_bytes of s become the text that
 * is returned; *n_bytes 0 if there is none. */
static struct tok_str find_rewrite(const struct erne_tokenizer *t, struct tok_str s,
                                   size_t *n_bytes)
{
    struct tok_str found = { 0 };
    uint32_t at = t->trie_units == 0 ? 0 : unit_offset(erne_le32(t->trie));

    *n_bytes = 0;
    for (size_t i = 0; t->trie_units > 0 && i < s.n; i++) {
        uint32_t unit, value;

        at ^= s.p[i];
        if (at >= t->trie_units)
            break;
        unit = erne_le32(t->trie + (size_t)at * 4);
        if ((unit & (1u << 31 | 0xFF)) != s.p[i])
            break;
        at ^= unit_offset(unit);
        if (!(unit >> 8 & 1) || at >= t->trie_units)
            continue;
        value = erne_le32(t->trie + (size_t)at * 4) & ~(1u << 31);
        if (value < t->rewrites.n) {
            found.p = t->rewrites.p + value;
            found.n = strlen((const char *)found.p);
            *n_bytes = i + 1;
        }
    }
    return found;
}

/* What the start of s becomes: *n_bytes of it are used up. */
static struct tok_str normal_prefix(const struct erne_tokenizer *t, struct tok_str s,
                                    size_t *n_bytes)
{
    static const uint8_t replacement[] = { 0xEF, 0xBF, 0xBD };
    int32_t user = t->user_in_words ? tok_cut_match(t, s.p, 0, s.n) : -1;
    struct tok_str found;

    if (user >= 0) {
        *n_bytes = tok_text(t, (uint32_t)user).n;
        return (struct tok_str){ s.p, *n_bytes };
    }
    found = find_rewrite(t, s, n_bytes);
    if (*n_bytes > 0)
        return found;
    *n_bytes = tok_char_len(s);
    if (*n_bytes > 0)
        return (struct tok_str){ s.p, *n_bytes };
    *n_bytes = 1;
    return (struct tok_str){ replacement, sizeof(replacement) };
}

/* Appends s with its spaces as U+2581. */
static int append_escaped(struct tok_work *w, struct tok_str s)
{
    while (s.n > 0) {
        const uint8_t *space = memchr(s.p, ' ', s.n);
        size_t n = space ? (size_t)(space - s.p) : s.n;

        ERNE_TRY(tok_work_text(w, s.p, n));
        if (space)
            ERNE_TRY(tok_work_text(w, TOK_SPACE, TOK_SPACE_BYTES));
        n += space != NULL;
        s = (struct tok_str){ s.p + n, s.n - n };
    }
    return 0;
}

static bool gets_prefix(const struct erne_tokenizer *t, struct tok_str s)
{
    if (s.n == 0 || !(t->h.flags & TOK_ADD_SPACE_PREFIX))
        return false;
    return !(t->h.flags & TOK_SPACE_PREFIX_ONCE) ||
           (s.p[0] != ' ' && !tok_space_at(s, 0));
}

int tok_spm_normalize(const struct erne_tokenizer *t, struct tok_work *w,
                      struct tok_str segment)
{
    bool trim = t->h.flags & TOK_REMOVE_EXTRA_SPACES, after_space = trim;
    struct tok_str s;
    size_t n_used;

    w->n_text = 0;
    for (; trim && segment.n > 0; segment.p += n_used, segment.n -= n_used) {
        s = normal_prefix(t, segment, &n_used);
        if (s.n != 1 || s.p[0] != ' ')
            break;
    }
    if (gets_prefix(t, segment))
        ERNE_TRY(tok_work_text(w, TOK_SPACE, TOK_SPACE_BYTES));
    for (; segment.n > 0; segment.p += n_used, segment.n -= n_used) {
        s = normal_prefix(t, segment, &n_used);
        for (; after_space && s.n > 0 && s.p[0] == ' '; s.n--)
            s.p++;
        ERNE_TRY(append_escaped(w, s));
        if (s.n > 0)
            after_space = trim && s.p[s.n - 1] == ' ';
    }
    while (trim && w->n_text >= TOK_SPACE_BYTES &&
           memcmp(w->text + w->n_text - TOK_SPACE_BYTES, TOK_SPACE, TOK_SPACE_BYTES) == 0)
        w->n_text -= TOK_SPACE_BYTES;
    return 0;
}

/* -------------------------------------------------------------- encoding */

struct spm_encoder {
    const struct erne_tokenizer *t;
    struct tok_work *w;
    struct tok_ids *out;
    bool after_unknown;          /* a run of unknown characters is mostly one token */
};

static void emit_unknown(struct spm_encoder *e, struct tok_str s)
{
    if (e->t->byte_fallback) {
        for (size_t i = 0; i < s.n; i++)
            tok_emit(e->out, e->t->byte_id[s.p[i]]);
        return;
    }
    if (!e->after_unknown || (e->t->h.flags & TOK_UNKNOWN_APART))
        tok_emit(e->out, e->t->h.unk);
    e->after_unknown = true;
}

/* An unused token falls apart where it was last put together. Depth: a token's length. */
static void emit_symbol(struct spm_encoder *e, struct tok_str s, int32_t id)
{
    const struct erne_tokenizer *t = e->t;

    if (id < 0)
        id = tok_find(t, s);
    if (id >= 0 && e->w->unused_split && tok_type(t, (uint32_t)id) == ERNE_TOKEN_UNUSED &&
        e->w->unused_split[id] > 0) {
        uint32_t n = e->w->unused_split[id];

        emit_symbol(e, (struct tok_str){ s.p, n }, -1);
        emit_symbol(e, (struct tok_str){ s.p + n, s.n - n }, -1);
        return;
    }
    if (id < 0 || tok_type(t, (uint32_t)id) == ERNE_TOKEN_UNKNOWN) {
        emit_unknown(e, s);
        return;
    }
    e->after_unknown = false;
    tok_emit(e->out, id);
}

/* With merges a character that is no token becomes its bytes before anything merges. */
static int add_char(struct spm_encoder *e, struct tok_str s)
{
    int32_t id = e->t->h.n_merges > 0 ? tok_find(e->t, s) : -1;

    if (e->t->h.n_merges == 0 || id >= 0 || !e->t->byte_fallback)
        return tok_word_add(e->w, (uint32_t)s.n, id, false);
    for (size_t i = 0; i < s.n; i++)
        ERNE_TRY(tok_word_add(e->w, 1, e->t->byte_id[s.p[i]], false));
    return 0;
}

static int encode_word(struct spm_encoder *e, struct tok_str word)
{
    struct tok_str rest = word;

    tok_word_begin(e->w);
    while (rest.n > 0) {
        int32_t user = e->t->user_in_words ? tok_cut_match(e->t, rest.p, 0, rest.n) : -1;
        size_t n = user < 0 ? tok_char_len(rest) : tok_text(e->t, (uint32_t)user).n;

        n = n == 0 ? 1 : n;      /* half a character, from a charsmap */
        if (user >= 0)
            ERNE_TRY(tok_word_add(e->w, (uint32_t)n, user, true));
        else
            ERNE_TRY(add_char(e, (struct tok_str){ rest.p, n }));
        rest = (struct tok_str){ rest.p + n, rest.n - n };
    }
    ERNE_TRY(tok_word_merge(e->t, e->w, word.p));
    for (int32_t i = word.n == 0 ? -1 : 0; i >= 0; i = e->w->symbols[i].next) {
        const struct tok_symbol *symbol = &e->w->symbols[i];

        emit_symbol(e, (struct tok_str){ word.p + symbol->begin, symbol->n_bytes },
                    symbol->id);
    }
    return 0;
}

/* Up to the next U+2581 behind another character. */
static size_t word_len(struct tok_str s)
{
    bool in_word = false;

    for (size_t i = 0; i < s.n; i++) {
        bool space = tok_space_at(s, i);

        if (space && in_word)
            return i;
        in_word = !space;
        i += space ? TOK_SPACE_BYTES - 1 : 0;
    }
    return s.n;
}

int tok_spm_encode(const struct erne_tokenizer *t, struct tok_work *w,
                   struct tok_str segment, struct tok_ids *out)
{
    struct spm_encoder e = { t, w, out, false };
    struct tok_str rest;

    ERNE_TRY(tok_spm_normalize(t, w, segment));
    if (t->has_unused) {
        free(w->unused_split);
        w->unused_split = calloc(t->h.n_tokens, sizeof(*w->unused_split));
        if (!w->unused_split)
            return ERNE_ENOMEM;
    }
    rest = (struct tok_str){ w->text, w->n_text };
    while (rest.n > 0) {
        size_t n = t->words_apart ? word_len(rest) : rest.n;

        ERNE_TRY(encode_word(&e, (struct tok_str){ rest.p, n }));
        rest = (struct tok_str){ rest.p + n, rest.n - n };
    }
    return 0;
}
