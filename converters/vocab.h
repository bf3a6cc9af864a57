/* vocab.h -- what the readers of vocabularies (vocab_*.c) share. The functions that the
 * readers of checkpoints call are in source.h. */
#ifndef ERNE_CONVERTERS_VOCAB_H
#define ERNE_CONVERTERS_VOCAB_H

#include "converters/json_file.h"
#include "converters/source.h"

/* How GPT-2 splits text into words; the tokenizers library's ByteLevel. */
#define VOCAB_GPT2_PATTERN                                    \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|"            \
    " ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Appends a pre-tokeniser pattern. Takes the dialect of the tokenizers library
 * (Oniguruma) and stores what PCRE2 understands in the same way; EUNSUPPORTED for what it
 * might not (vocab_regex.c). */
int vocab_add_pattern(struct erne_vocab *vocab, const char *regex,
                      struct erne_error *err);

/* Makes room for ids below n; new ones are gaps. */
int vocab_reserve(struct erne_vocab *vocab, uint32_t n, struct erne_error *err);
/* Gives token `id`, which has room, its text. */
int vocab_set_token(struct erne_vocab *vocab, uint32_t id, const char *text,
                    enum erne_token_type type, struct erne_error *err);
/* The least id with this text, -1 if none. Takes the time of a scan. */
int32_t vocab_find(const struct erne_vocab *vocab, const char *text);

/* tokenizer.json but for its model and tokens: normalizer, pre_tokenizer, post_processor.
 * Sets kind, patterns, nfc, add_space_prefix, bos and add_bos. */
int vocab_read_pipeline(struct erne_vocab *vocab, const struct json_file *file,
                        struct erne_error *err);

#endif
