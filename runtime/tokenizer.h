/* tokenizer.h -- text to ids and back, for both kinds of vocabulary.
 *
 * The converter builds a vocabulary (struct erne_vocab) from tokenizer.model,
 * tokenizer.json or GGUF keys and stores it as one section of the model file; the runtime
 * opens that section. Two algorithms:
 *   SPM  SentencePiece BPE: merges by piece score (by rank where there are merges), byte
 *        fallback, space as U+2581, no dummy prefix unless add_space_prefix.
 *   BPE  byte-level BPE: pre-tokeniser patterns (PCRE2), merges by rank.
 * Special tokens are cut out of the text first (longest match at each place).
 */
#ifndef ERNE_TOKENIZER_H
#define ERNE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/error.h"

/* Numbers are part of the file format. */
enum erne_vocab_kind { ERNE_VOCAB_SPM = 1, ERNE_VOCAB_BPE = 2 };

enum erne_token_type {
    ERNE_TOKEN_NORMAL = 1,
    ERNE_TOKEN_UNKNOWN = 2,        /* like CONTROL, and what unknown characters become */
    ERNE_TOKEN_CONTROL = 3,        /* special: cut first, printed only on request */
    ERNE_TOKEN_USER = 4,           /* text that is always one token: cut first, printed */
    ERNE_TOKEN_UNUSED = 5,
    ERNE_TOKEN_BYTE = 6            /* "<0x0A>" of an SPM vocabulary */
};

/* A special token that swallows the white space at its side when it is cut. */
enum erne_token_flag { ERNE_TOKEN_LSTRIP = 1, ERNE_TOKEN_RSTRIP = 2 };

enum { ERNE_TOKEN_BYTES_MAX = 4096, ERNE_VOCAB_TOKENS_MAX = 1 << 24 };
enum { ERNE_VOCAB_PATTERNS_MAX = 4 };

struct erne_vocab_token {
    char *text;                    /* bytes as in the checkpoint (SPM: U+2581 for space;
                                      BPE: the printable byte alphabet); empty: a gap */
    uint32_t n_bytes;
    float score;                   /* SPM without merges */
    uint8_t type;
    uint8_t flags;
};

/* A vocabulary in memory, as converters build it. */
struct erne_vocab {
    enum erne_vocab_kind kind;
    struct erne_vocab_token *tokens;
    uint32_t n_tokens;
    uint64_t *merges;              /* left id << 32 | right id, best first; SPM from
                                      tokenizer.model and GGUF has none */
    uint32_t n_merges;
    /* BPE: PCRE2 syntax, UTF mode, applied one after the other: matches and what lies
     * between them are the words that merges do not leave. */
    char *patterns[ERNE_VOCAB_PATTERNS_MAX];
    uint32_t n_patterns;
    uint8_t *charsmap;             /* SPM: precompiled normalisation rules, or NULL */
    uint32_t charsmap_bytes;
    bool nfc;                      /* BPE: normalise to NFC first */
    bool drops_gaps[ERNE_VOCAB_PATTERNS_MAX]; /* what a pattern does not match is lost */
    bool add_space_prefix;         /* SPM: put a space before the text */
    bool space_prefix_once;        /* ... unless it starts with one */
    bool unknown_apart;            /* each unknown character (BPE: byte) is a token, not a
                                      run of them */
    bool remove_extra_spaces;      /* SPM: trim the text, one space between words */
    bool ignore_merges;            /* BPE: a whole word that is a token needs no merges */
    int32_t bos, eos, unk;         /* -1: none; without unk BPE drops unknown bytes */
    bool add_bos;                  /* put bos before a prompt that is not a chat */
};

/* Frees everything; the struct may be all zero. */
void erne_vocab_deinit(struct erne_vocab *vocab);

/* The section's bytes (malloc'ed), and the check and the reading of one. */
int erne_vocab_write(uint8_t **data, size_t *n_bytes, const struct erne_vocab *vocab,
                     struct erne_error *err);

struct erne_tokenizer;

/* data must stay mapped while the tokenizer is open. EFORMAT for anything inconsistent;
 * memory is O(n_bytes). */
int erne_tokenizer_open(struct erne_tokenizer **out, const uint8_t *data, size_t n_bytes,
                        struct erne_error *err);
void erne_tokenizer_close(struct erne_tokenizer **tok);

/* A range of the text in which names of special tokens (CONTROL, UNKNOWN) are ordinary
 * text. USER tokens are ordinary text already, and are found everywhere. */
struct erne_text_span {
    size_t begin, end;
};

/* Text to encode; plain spans in ascending order, plain may be NULL. */
struct erne_text {
    const char *bytes;
    size_t n_bytes;
    const struct erne_text_span *plain;
    size_t n_plain;
};

/* Appends nothing before or after (no bos). ids: [cap]; *n is the full count even when it
 * is above cap, which is EINVAL. Invalid UTF-8: SPM reads each such byte as U+FFFD, as
 * sentencepiece does; BPE encodes it as the byte it is. Thread-safe. */
int erne_tokenizer_encode(const struct erne_tokenizer *tok, const struct erne_text *text,
                          int32_t *ids, size_t cap, size_t *n, struct erne_error *err);

/* Bytes of one token: *n_bytes of it into buf. EINVAL when id or cap is out of range. */
int erne_tokenizer_bytes(const struct erne_tokenizer *tok, int32_t id, bool show_special,
                         uint8_t *buf, size_t cap, size_t *n_bytes);

/* The same as a stream of whole UTF-8 characters; see erne_detokenize. */
int erne_tokenizer_stream(const struct erne_tokenizer *tok, struct erne_detok *state,
                          int32_t id, char *buf, size_t cap, size_t *n_bytes,
                          struct erne_error *err);

uint32_t erne_tokenizer_n_tokens(const struct erne_tokenizer *tok);
/* -1 when there is no such token. */
int32_t erne_tokenizer_find(const struct erne_tokenizer *tok, const char *text);
int32_t erne_tokenizer_bos(const struct erne_tokenizer *tok);
bool erne_tokenizer_adds_bos(const struct erne_tokenizer *tok);

#endif
