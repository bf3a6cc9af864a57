/* detok.c -- ids to text: the bytes of a token, and a stream of whole characters. */
#include <string.h>

#include <utf8proc.h>

#include "runtime/engine.h"
#include "runtime/tok.h"

enum { REPLACEMENT_BYTES = 3 };

static const char replacement[] = "\xEF\xBF\xBD";   /* U+FFFD */

/* U+2581 is a space again. dst: [s.n]. */
static size_t spm_bytes(struct tok_str s, uint8_t *dst)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n;) {
        bool space = tok_space_at(s, i);

        dst[n++] = space ? ' ' : s.p[i];
        i += space ? TOK_SPACE_BYTES : 1;
    }
    return n;
}

/* Letters of the byte alphabet are bytes; a text with other letters is what it is. */
static size_t bpe_bytes(struct tok_str s, uint8_t *dst)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n;) {
        int32_t c;
        utf8proc_ssize_t len = utf8proc_iterate(s.p + i, (utf8proc_ssize_t)(s.n - i), &c);
        int byte = len > 0 ? tok_char_to_byte((uint32_t)c) : -1;

        if (byte < 0) {
            memcpy(dst, s.p, s.n);
            return s.n;
        }
        dst[n++] = (uint8_t)byte;
        i += (size_t)len;
    }
    return n;
}

/* dst: [ERNE_TOKEN_BYTES_MAX]. */
static size_t token_bytes(const struct erne_tokenizer *t, uint32_t id, bool show_special,
                          uint8_t *dst)
{
    struct tok_str s = tok_text(t, id);
    uint8_t type = tok_type(t, id);
    bool special = type == ERNE_TOKEN_CONTROL || type == ERNE_TOKEN_UNKNOWN;

    if (special && !show_special)
        return 0;
    if (type == ERNE_TOKEN_BYTE && t->h.kind == ERNE_VOCAB_SPM) {
        dst[0] = (uint8_t)tok_named_byte(s);
        return 1;
    }
    if (!special && t->h.kind == ERNE_VOCAB_SPM)
        return spm_bytes(s, dst);
    if (!special && type != ERNE_TOKEN_USER)
        return bpe_bytes(s, dst);
    memcpy(dst, s.p, s.n);
    return s.n;
}

int erne_tokenizer_bytes(const struct erne_tokenizer *tok, int32_t id, bool show_special,
                         uint8_t *buf, size_t cap, size_t *n_bytes)
{
    uint8_t bytes[ERNE_TOKEN_BYTES_MAX] = { 0 };
    size_t n;

    if (id < 0 || (uint32_t)id >= tok->h.n_tokens)
        return ERNE_EINVAL;
    n = token_bytes(tok, (uint32_t)id, show_special, bytes);
    if (n > cap)
        return ERNE_EINVAL;
    memcpy(buf, bytes, n);
    *n_bytes = n;
    return 0;
}

/* --------------------------------------------------------------- streaming */

/* The character at s [n]: its length; 0 when it is cut short; or -k when the first k
 * bytes can start none (the Unicode standard's maximal subpart, 3.9). */
static int scan_char(const uint8_t *s, size_t n)
{
    int len = s[0] < 0x80                       ? 1
              : s[0] >= 0xC2 && s[0] <= 0xDF    ? 2
              : s[0] >= 0xE0 && s[0] <= 0xEF    ? 3
              : s[0] >= 0xF0 && s[0] <= 0xF4    ? 4
                                                : 0;

    if (len == 0)
        return -1;
    for (int i = 1; i < len; i++) {
        uint8_t low = 0x80, high = 0xBF;

        if ((size_t)i == n)
            return 0;
        if (i == 1) {
            low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : low;
            high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : high;
        }
        if (s[i] < low || s[i] > high)
            return -i;
    }
    return len;
}

/* Whole characters of s [n] to buf (cap, without the final 0); the rest is held back.
 * Returns the bytes written, or EINVAL when there is no room. */
static int64_t put_chars(struct erne_detok *state, const uint8_t *s, size_t n, char *buf,
                         size_t cap)
{
    size_t n_out = 0;

    state->n_held = 0;
    for (size_t i = 0; i < n;) {
        int len = scan_char(s + i, n - i);
        const void *piece = len > 0 ? (const void *)(s + i) : replacement;
        size_t piece_bytes = len > 0 ? (size_t)len : REPLACEMENT_BYTES;

        if (len == 0) {
            state->n_held = (int)(n - i);
            memcpy(state->held, s + i, n - i);
            break;
        }
        if (piece_bytes > cap - n_out)
            return ERNE_EINVAL;
        memcpy(buf + n_out, piece, piece_bytes);
        n_out += piece_bytes;
        i += (size_t)(len > 0 ? len : -len);
    }
    return (int64_t)n_out;
}

/* The dummy prefix is not text: sentencepiece drops one space of the first token, and of
 * those after it while nothing came out if it trims. True: drop one from s [n]. */
static bool drops_space(const struct erne_tokenizer *t, struct erne_detok *state,
                        int32_t id, const uint8_t *s, size_t n)
{
    bool trim = t->h.flags & TOK_REMOVE_EXTRA_SPACES;
    uint8_t type = tok_type(t, (uint32_t)id);
    bool drop;

    if (type == ERNE_TOKEN_CONTROL || type == ERNE_TOKEN_UNKNOWN || state->started)
        return false;
    drop = (trim || (t->h.flags & TOK_ADD_SPACE_PREFIX)) && n > 0 && s[0] == ' ';
    state->started = !trim || n > drop;
    return drop;
}

int erne_tokenizer_stream(const struct erne_tokenizer *tok, struct erne_detok *state,
                          int32_t id, char *buf, size_t cap, size_t *n_bytes,
                          struct erne_error *err)
{
    struct erne_detok next = *state;
    uint8_t bytes[sizeof(next.held) + ERNE_TOKEN_BYTES_MAX], *token;
    size_t n_held, n;
    int64_t n_out;

    if (id < 0 || (uint32_t)id >= tok->h.n_tokens)
        return erne_fail(err, ERNE_EINVAL, "token %d of a vocabulary of %u", id,
                         tok->h.n_tokens);
    if (state->n_held < 0 || (size_t)state->n_held >= sizeof(state->held) || cap == 0)
        return erne_fail(err, ERNE_EINVAL, "detokenize: %d bytes held, room for %zu",
                         state->n_held, cap);
    n_held = (size_t)state->n_held;
    token = bytes + n_held;
    memcpy(bytes, state->held, n_held);
    n = token_bytes(tok, (uint32_t)id, state->show_special, token);
    if (drops_space(tok, &next, id, token, n))
        memmove(token, token + 1, --n);
    n_out = put_chars(&next, bytes, n_held + n, buf, cap - 1);
    if (n_out < 0)
        return erne_fail(err, ERNE_EINVAL, "token %d does not fit in %zu bytes", id, cap);
    buf[n_out] = '\0';
    *n_bytes = (size_t)n_out;
    *state = next;
    return 0;
}

int erne_detokenize(const struct erne_engine *engine, struct erne_detok *state,
                    int32_t token, char *buf, size_t cap, size_t *n_bytes,
                    struct erne_error *err)
{
    if (!engine->tokenizer)
        return erne_fail(err, ERNE_EUNSUPPORTED, "the model has no tokenizer");
    return erne_tokenizer_stream(engine->tokenizer, state, token, buf, cap, n_bytes, err);
}

int erne_detokenize_end(struct erne_detok *state, char *buf, size_t cap, size_t *n_bytes)
{
    size_t n = state->n_held > 0 ? REPLACEMENT_BYTES : 0;

    if (cap <= n)
        return ERNE_EINVAL;
    memcpy(buf, replacement, n);
    buf[n] = '\0';
    *n_bytes = n;
    state->n_held = 0;
    return 0;
}
