/* tok.h -- the inside of an open tokenizer: what the tok_*.c files share, for them alone.
 *
 * tok_section.c reads the section, tok_tables.c builds what is looked up. tokenizer.c
 * cuts text at special tokens, tok_spm.c and tok_bpe.c encode what lies between,
 * tok_merge.c merges for both; detok.c goes back. The bytes are in docs/FORMAT.md.
 */
#ifndef ERNE_TOK_H
#define ERNE_TOK_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "runtime/le.h"
#include "runtime/tokenizer.h"

enum { TOK_VERSION = 1, TOK_HEADER_BYTES = 64, TOK_RECORD_BYTES = 12 };
enum { TOK_MERGES_MAX = 1 << 28 };
enum { TOK_TEXT_MAX = 1 << 28 };   /* bytes to encode at once: positions fit in int32_t */

enum tok_flag {
    TOK_NFC = 1,
    TOK_ADD_SPACE_PREFIX = 2,
    TOK_REMOVE_EXTRA_SPACES = 4,
    TOK_IGNORE_MERGES = 8,
    TOK_ADD_BOS = 16,
    TOK_SPACE_PREFIX_ONCE = 32,
    TOK_UNKNOWN_APART = 64,
    TOK_DROP_GAPS = 128,         /* by the first pattern; shifted for those after it */
    TOK_FLAGS_KNOWN = 2047
};

/* Some bytes of text. Not 0-terminated. */
struct tok_str {
    const uint8_t *p;
    size_t n;
};

struct tok_header {
    uint32_t kind, flags, n_tokens, n_merges, n_patterns;
    int32_t bos, eos, unk;
    uint32_t text_bytes, pattern_bytes, charsmap_bytes;
};

/* A token that is cut out of the text. */
struct tok_cut {
    struct tok_str text;
    uint32_t id;
};

struct erne_tokenizer {
    struct tok_header h;
    const uint8_t *records;      /* [n_tokens] of TOK_RECORD_BYTES, mapped */
    const uint8_t *merges;       /* [n_merges] of left, right, mapped */
    const uint8_t *text;         /* [text_bytes] of all tokens, mapped */
    const uint8_t *trie;         /* charsmap: double array of units, mapped, or NULL */
    uint32_t trie_units;
    struct tok_str rewrites;     /* charsmap: 0-terminated strings */

    /* Built at open, one block at `cut`. Hash tables hold an index + 1, 0 is empty. */
    size_t table_bytes;
    uint32_t *by_text, by_text_mask;
    uint32_t *by_pair, by_pair_mask;
    uint32_t *merged;            /* [n_merges]: the id that a merge gives */
    struct tok_cut *cut;         /* [n_cut]: special and user tokens, sorted by text */
    uint32_t n_cut;
    bool cut_first[256];         /* whether one of them starts with this byte */
    int32_t byte_id[256];        /* the token of one byte, or -1 */
    bool byte_fallback;          /* SPM: byte_id is complete */
    bool user_in_words;          /* SPM by score: user tokens are found there, not cut */
    bool has_unused;             /* SPM by score: merges can give tokens nobody may use */
    bool words_apart;            /* SPM: no token reaches over the start of a word */
    pcre2_code *patterns[ERNE_VOCAB_PATTERNS_MAX];
};

static inline const uint8_t *tok_record(const struct erne_tokenizer *t, uint32_t id)
{
    return t->records + (size_t)id * TOK_RECORD_BYTES;
}

static inline uint8_t tok_type(const struct erne_tokenizer *t, uint32_t id)
{
    return tok_record(t, id)[8];
}

static inline uint8_t tok_flags(const struct erne_tokenizer *t, uint32_t id)
{
    return tok_record(t, id)[9];
}

static inline struct tok_str tok_text(const struct erne_tokenizer *t, uint32_t id)
{
    uint32_t begin = id == 0 ? 0 : erne_le32(tok_record(t, id - 1));

    return (struct tok_str){ t->text + begin, erne_le32(tok_record(t, id)) - begin };
}

/* Reads and checks the section, builds all tables. */
int tok_section_read(struct erne_tokenizer *t, const uint8_t *data, size_t n_bytes,
                     struct erne_error *err);
int tok_tables_init(struct erne_tokenizer *t, struct erne_error *err);
void tok_tables_deinit(struct erne_tokenizer *t);

/* The token of exactly this text, -1 if none. */
int32_t tok_find(const struct erne_tokenizer *t, struct tok_str s);
/* The merge of two ids: its index in merges (lower is better), -1 if none. */
int64_t tok_find_merge(const struct erne_tokenizer *t, int32_t left, int32_t right);

/* The longest special token that s starts with and that ends within n_special bytes, or
 * user token that ends within n_user; -1 if none. */
int32_t tok_cut_match(const struct erne_tokenizer *t, const uint8_t *s, size_t n_special,
                      size_t n_user);

/* ---------------------------------------------------------------- encoding */

/* Ids go out here; n counts on when cap is reached. */
struct tok_ids {
    int32_t *ids;
    size_t cap, n;
};

static inline void tok_emit(struct tok_ids *out, int32_t id)
{
    if (out->n < out->cap)
        out->ids[out->n] = id;
    out->n++;
}

struct tok_symbol {
    uint32_t begin, n_bytes;     /* in the word; n_bytes 0: merged into its left */
    int32_t prev, next;          /* -1: none */
    int32_t id;                  /* -1: not a token (yet) */
    bool frozen;                 /* takes part in no merge */
};

struct tok_candidate;            /* two neighbours that may merge */

/* Memory of one call to encode, reused for each word. All zero to start. */
struct tok_work {
    struct tok_symbol *symbols;
    uint32_t n_symbols, cap_symbols;
    struct tok_candidate *heap;
    uint32_t n_heap, cap_heap;
    uint32_t *unused_split;      /* [n_tokens]: where an unused token was merged */
    uint8_t *text;               /* a normalised segment */
    size_t n_text, cap_text;
    pcre2_match_data *match;
    pcre2_match_context *match_context;
};

void tok_work_deinit(struct tok_work *w);
int tok_work_text(struct tok_work *w, const void *bytes, size_t n_bytes);

/* Starts a word; adds its symbols; merges until nothing merges. ENOMEM. */
void tok_word_begin(struct tok_work *w);
int tok_word_add(struct tok_work *w, uint32_t n_bytes, int32_t id, bool frozen);
int tok_word_merge(const struct erne_tokenizer *t, struct tok_work *w,
                   const uint8_t *word);

/* Text without special tokens to ids. */
int tok_spm_encode(const struct erne_tokenizer *t, struct tok_work *w,
                   struct tok_str segment, struct tok_ids *out);
int tok_bpe_encode(const struct erne_tokenizer *t, struct tok_work *w,
                   struct tok_str segment, struct tok_ids *out, struct erne_error *err);
/* SPM: segment as sentencepiece's normaliser leaves it, into w->text. */
int tok_spm_normalize(const struct erne_tokenizer *t, struct tok_work *w,
                      struct tok_str segment);
/* BPE: valid UTF-8 to NFC, into w->text. */
int tok_nfc(struct tok_work *w, struct tok_str segment);

/* ------------------------------------------------------------------ text */

/* Bytes of the UTF-8 character at s; 0 if it is not one. */
size_t tok_char_len(struct tok_str s);
/* The same, only if the character has the property White_Space. */
size_t tok_space_len(struct tok_str s);

/* The printable alphabet of byte-level BPE (GPT-2): a character below U+0144 a byte. */
uint32_t tok_byte_to_char(uint8_t byte);
int tok_char_to_byte(uint32_t c);   /* -1: not of the alphabet */

/* The byte that a text like "<0x0A>" names, -1 if none. */
int tok_named_byte(struct tok_str s);

#define TOK_SPACE "\xe2\x96\x81"   /* U+2581, SentencePiece's space */
enum { TOK_SPACE_BYTES = 3 };

/* Whether one stands at byte i <= s.n. */
static inline bool tok_space_at(struct tok_str s, size_t i)
{
    return s.n - i >= TOK_SPACE_BYTES && memcmp(s.p + i, TOK_SPACE, TOK_SPACE_BYTES) == 0;
}

#endif
