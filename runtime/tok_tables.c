/* tok_tables.c -- the tables of an open tokenizer: tokens by text, merges by pair, the
 * tokens that are cut, the token of each byte. All in one block, built in O(section). */
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "runtime/tok.h"

/* ------------------------------------------------------------ hash tables */

/* Slots for n entries: a power of two, at most half full. */
static size_t table_slots(size_t n)
{
    size_t slots = 2;

    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

static bool str_equal(struct tok_str a, struct tok_str b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* The slot that holds s, or the empty one where it belongs. */
static uint32_t *text_slot(const struct erne_tokenizer *t, struct tok_str s)
{
    uint32_t i = (uint32_t)XXH3_64bits(s.p, s.n) & t->by_text_mask;

    while (t->by_text[i] != 0 && !str_equal(tok_text(t, t->by_text[i] - 1), s))
        i = (i + 1) & t->by_text_mask;
    return &t->by_text[i];
}

static uint32_t *pair_slot(const struct erne_tokenizer *t, const uint8_t *pair)
{
    uint32_t i = (uint32_t)XXH3_64bits(pair, 8) & t->by_pair_mask;

    while (t->by_pair[i] != 0 &&
           memcmp(t->merges + (size_t)(t->by_pair[i] - 1) * 8, pair, 8) != 0)
        i = (i + 1) & t->by_pair_mask;
    return &t->by_pair[i];
}

int32_t tok_find(const struct erne_tokenizer *t, struct tok_str s)
{
    if (s.n == 0 || s.n > ERNE_TOKEN_BYTES_MAX)
        return -1;
    return (int32_t)*text_slot(t, s) - 1;
}

int64_t tok_find_merge(const struct erne_tokenizer *t, int32_t left, int32_t right)
{
    uint8_t pair[8];

    erne_put_le32(pair, (uint32_t)left);
    erne_put_le32(pair + 4, (uint32_t)right);
    return (int64_t)*pair_slot(t, pair) - 1;
}

/* Tokens of the same text: the first one is found. */
static void index_tokens(struct erne_tokenizer *t)
{
    for (uint32_t id = 0; id < t->h.n_tokens; id++) {
        struct tok_str s = tok_text(t, id);
        uint32_t *slot = s.n > 0 ? text_slot(t, s) : NULL;

        if (slot && *slot == 0)
            *slot = id + 1;
    }
}

/* Two tokens side by side must be the text of a third. */
static int index_merge(struct erne_tokenizer *t, uint32_t i, struct erne_error *err)
{
    const uint8_t *pair = t->merges + (size_t)i * 8;
    uint32_t left = erne_le32(pair), right = erne_le32(pair + 4), *slot;
    uint8_t text[ERNE_TOKEN_BYTES_MAX];
    struct tok_str a, b;
    int32_t merged;

    if (left >= t->h.n_tokens || right >= t->h.n_tokens)
        return erne_fail(err, ERNE_EFORMAT, "tokenizer: merge %u of tokens %u and %u", i,
                         left, right);
    a = tok_text(t, left);
    b = tok_text(t, right);
    if (a.n == 0 || b.n == 0 || a.n + b.n > sizeof(text))
        return erne_fail(err, ERNE_EFORMAT, "tokenizer: merge %u of %zu and %zu bytes", i,
                         a.n, b.n);
    memcpy(text, a.p, a.n);
    memcpy(text + a.n, b.p, b.n);
    merged = tok_find(t, (struct tok_str){ text, a.n + b.n });
    if (merged < 0)
        return erne_fail(err, ERNE_EFORMAT, "tokenizer: merge %u gives no token: %.*s", i,
                         (int)(a.n + b.n), (const char *)text);
    t->merged[i] = (uint32_t)merged;
    slot = pair_slot(t, pair);
    if (*slot == 0)
        *slot = i + 1;
    return 0;
}

/* ------------------------------------------------------------- cut tokens */

static bool is_cut(const struct erne_tokenizer *t, uint32_t id)
{
    uint8_t type = tok_type(t, id);

    return tok_text(t, id).n > 0 &&
           (type == ERNE_TOKEN_CONTROL || type == ERNE_TOKEN_USER ||
            type == ERNE_TOKEN_UNKNOWN);
}

static int compare_cuts(const void *a, const void *b)
{
    const struct tok_cut *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int order = memcmp(x->text.p, y->text.p, n);

    if (order != 0)
        return order;
    if (x->text.n != y->text.n)
        return x->text.n < y->text.n ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void index_cuts(struct erne_tokenizer *t)
{
    uint32_t n = 0;

    for (uint32_t id = 0; id < t->h.n_tokens; id++) {
        if (!is_cut(t, id))
            continue;
        t->cut[n] = (struct tok_cut){ tok_text(t, id), id };
        t->cut_first[t->cut[n].text.p[0]] = true;
        n++;
    }
    if (n > 0)
        qsort(t->cut, n, sizeof(*t->cut), compare_cuts);
}

/* The first of cut[from..to) whose byte i is at least `byte`; all of them are longer
 * than i and agree before it. */
static uint32_t lower_bound(const struct tok_cut *cut, uint32_t from, uint32_t to,
                            size_t i, unsigned byte)
{
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;

        if (cut[mid].text.p[i] < byte)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* Narrows the sorted tokens to those that share one more byte with the text each time;
 * tokens that end there come first in the range. */
int32_t tok_cut_match(const struct erne_tokenizer *t, const uint8_t *s, size_t n_special,
                      size_t n_user)
{
    size_t n = n_special > n_user ? n_special : n_user;
    uint32_t from = 0, to = t->n_cut;
    int32_t best = -1;

    if (n == 0 || !t->cut_first[s[0]])
        return -1;
    for (size_t i = 0; i < n && from < to; i++) {
        from = lower_bound(t->cut, from, to, i, s[i]);
        to = lower_bound(t->cut, from, to, i, s[i] + 1u);
        for (; from < to && t->cut[from].text.n == i + 1; from++) {
            uint32_t id = t->cut[from].id;

            if (i < (tok_type(t, id) == ERNE_TOKEN_USER ? n_user : n_special))
                best = (int32_t)id;
        }
    }
    return best;
}

/* ----------------------------------------------------------------- bytes */

static int index_spm_byte(struct erne_tokenizer *t, uint32_t id, struct erne_error *err)
{
    struct tok_str s = tok_text(t, id);
    int byte = tok_named_byte(s);

    if (byte < 0)
        return erne_fail(err, ERNE_EFORMAT, "tokenizer: byte token %u is \"%.*s\"", id,
                         (int)s.n, (const char *)s.p);
    t->byte_id[byte] = (int32_t)id;
    return 0;
}

static int index_bytes(struct erne_tokenizer *t, struct erne_error *err)
{
    for (int b = 0; b < 256; b++) {
        uint32_t c = tok_byte_to_char((uint8_t)b);
        uint8_t text[2] = { (uint8_t)c, 0 };
        size_t n = 1;

        if (c >= 0x80) {
            text[0] = (uint8_t)(0xC0 | c >> 6);
            text[1] = (uint8_t)(0x80 | (c & 0x3F));
            n = 2;
        }
        t->byte_id[b] = t->h.kind == ERNE_VOCAB_SPM
                            ? -1
                            : tok_find(t, (struct tok_str){ text, n });
    }
    if (t->h.kind != ERNE_VOCAB_SPM)
        return 0;
    for (uint32_t id = 0; id < t->h.n_tokens; id++)
        if (tok_type(t, id) == ERNE_TOKEN_BYTE)
            ERNE_TRY(index_spm_byte(t, id, err));
    t->byte_fallback = true;
    for (int b = 0; b < 256; b++)
        t->byte_fallback = t->byte_fallback && t->byte_id[b] >= 0;
    if (!t->byte_fallback && t->h.unk < 0)
        return erne_fail(err, ERNE_EFORMAT,
                         "tokenizer: neither 256 byte tokens nor an unknown token");
    return 0;
}

/* Whether U+2581 stands behind another character somewhere in s. */
static bool reaches_over_space(struct tok_str s)
{
    bool in_word = false;

    for (size_t i = 0; i < s.n; i++) {
        bool space = tok_space_at(s, i);

        if (space && in_word)
            return true;
        in_word = !space;
        i += space ? TOK_SPACE_BYTES - 1 : 0;
    }
    return false;
}

static void find_traits(struct erne_tokenizer *t)
{
    bool by_score = t->h.kind == ERNE_VOCAB_SPM && t->h.n_merges == 0;

    t->words_apart = true;
    for (uint32_t id = 0; id < t->h.n_tokens; id++) {
        uint8_t type = tok_type(t, id);
        struct tok_str s = tok_text(t, id);

        t->user_in_words = t->user_in_words || (by_score && type == ERNE_TOKEN_USER);
        t->has_unused = t->has_unused ||
                        (by_score && type == ERNE_TOKEN_UNUSED && s.n > 0);
        t->words_apart = t->words_apart && !reaches_over_space(s);
    }
    /* How an unused token splits depends on the whole text (tok_spm.c). */
    t->words_apart = t->words_apart && !t->has_unused;
}

int tok_tables_init(struct erne_tokenizer *t, struct erne_error *err)
{
    size_t text_slots = table_slots(t->h.n_tokens);
    size_t pair_slots = table_slots(t->h.n_merges);
    uint8_t *block;

    for (uint32_t id = 0; id < t->h.n_tokens; id++)
        t->n_cut += is_cut(t, id);
    t->table_bytes = t->n_cut * sizeof(*t->cut) +
                     (text_slots + pair_slots + t->h.n_merges) * sizeof(uint32_t);
    block = calloc(1, t->table_bytes);
    if (!block)
        return erne_fail(err, ERNE_ENOMEM, "tokenizer: tables of %u tokens",
                         t->h.n_tokens);
    t->cut = (struct tok_cut *)(void *)block;
    t->by_text = (uint32_t *)(void *)(t->cut + t->n_cut);
    t->by_text_mask = (uint32_t)text_slots - 1;
    t->by_pair = t->by_text + text_slots;
    t->by_pair_mask = (uint32_t)pair_slots - 1;
    t->merged = t->by_pair + pair_slots;
    index_tokens(t);
    for (uint32_t i = 0; i < t->h.n_merges; i++)
        ERNE_TRY(index_merge(t, i, err));
    index_cuts(t);
    find_traits(t);
    return index_bytes(t, err);
}

void tok_tables_deinit(struct erne_tokenizer *t)
{
    free(t->cut);
    for (uint32_t i = 0; i < ERNE_VOCAB_PATTERNS_MAX; i++)
        pcre2_code_free(t->patterns[i]);
}
