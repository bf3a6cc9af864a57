/* vocab_pipeline.c -- the steps around the model of a tokenizer.json: normalizer,
 * pre_tokenizer, post_processor. Steps that the runtime cannot do exactly are refused by
 * name; a vocabulary that is nearly right is worth nothing. */
#include <stdlib.h>
#include <string.h>

#include "converters/vocab.h"

#define SPACE "\xe2\x96\x81"

struct pipeline {
    struct erne_vocab *vocab;
    const struct json_file *file;
    bool byte_level;             /* a ByteLevel pre-tokeniser is there */
    bool escapes_space;          /* " " becomes U+2581 */
    bool normalizes;             /* in other ways than this one as well */
    struct erne_error *err;
};

static int unsupported(const struct pipeline *p, const char *where, const char *what)
{
    return erne_fail(p->err, ERNE_EUNSUPPORTED, "%s: %s \"%s\" is not supported",
                     p->file->path, where, what);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* A string pattern, which the format wraps in an object. */
static const char *pattern_of(const json_t *step, const char *kind)
{
    return json_string_value(json_object_get(json_object_get(step, "pattern"), kind));
}

/* Calls fn for a step, or for each step of a Sequence (whose list is called `list`). */
static int each_step(struct pipeline *p, const char *where, const char *list,
                     int (*fn)(struct pipeline *p, const json_t *step, const char *type))
{
    const json_t *step = json_object_get(p->file->root, where);
    const json_t *steps = json_object_get(step, list);

    if (!step || json_is_null(step))
        return 0;
    if (strcmp(text_of(step, "type"), "Sequence") != 0)
        return fn(p, step, text_of(step, "type"));
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *one = json_array_get(steps, i);

        ERNE_TRY(fn(p, one, text_of(one, "type")));
    }
    return 0;
}

/* ------------------------------------------------------------ normalizer */

static int use_normalizer(struct pipeline *p, const json_t *step, const char *type)
{
    if (strcmp(type, "NFC") == 0) {
        p->vocab->nfc = p->normalizes = true;
        return 0;
    }
    if (strcmp(type, "Prepend") == 0 && strcmp(text_of(step, "prepend"), SPACE) == 0) {
        if (p->vocab->add_space_prefix)
            return unsupported(p, "normalizer", "Prepend behind Prepend");
        p->vocab->add_space_prefix = p->normalizes = true;
        return 0;
    }
    if (strcmp(type, "Replace") == 0 && pattern_of(step, "String") &&
        strcmp(pattern_of(step, "String"), " ") == 0 &&
        strcmp(text_of(step, "content"), SPACE) == 0) {
        p->escapes_space = true;
        return 0;
    }
    return unsupported(p, "normalizer", type);
}

/* ---------------------------------------------------------- added tokens */

/* The library normalises a token that is "normalized" and finds it in normalised text;
 * here it is cut first, which is the same only where the normalizer leaves the token and
 * what stands at its sides alone. */
static int check_added(const struct pipeline *p)
{
    const json_t *added = json_object_get(p->file->root, "added_tokens"), *token;
    size_t i;

    json_array_foreach(added, i, token) {
        const char *text = text_of(token, "content");
        bool strips = json_is_true(json_object_get(token, "lstrip")) ||
                      json_is_true(json_object_get(token, "rstrip"));

        if (!json_is_true(json_object_get(token, "normalized")))
            continue;
        if (p->normalizes || (p->escapes_space &&
                              (strips || strchr(text, ' ') || strstr(text, SPACE))))
            return unsupported(p, "normalizer beside normalized added token", text);
    }
    return 0;
}

/* --------------------------------------------------------- pre_tokenizer */

static int use_digits(struct pipeline *p, const json_t *step)
{
    bool individual = false;

    ERNE_TRY(json_get_bool(p->file, step, "individual_digits", &individual, p->err));
    return vocab_add_pattern(p->vocab, individual ? "\\p{N}" : "\\p{N}+", p->err);
}

static int use_byte_level(struct pipeline *p, const json_t *step)
{
    bool prefix = true, use_regex = true;

    ERNE_TRY(json_get_bool(p->file, step, "add_prefix_space", &prefix, p->err));
    ERNE_TRY(json_get_bool(p->file, step, "use_regex", &use_regex, p->err));
    p->byte_level = true;
    if (prefix)
        return unsupported(p, "pre_tokenizer", "ByteLevel with add_prefix_space");
    return use_regex ? vocab_add_pattern(p->vocab, VOCAB_GPT2_PATTERN, p->err) : 0;
}

static int use_split(struct pipeline *p, const json_t *step)
{
    const char *regex = pattern_of(step, "Regex"), *string = pattern_of(step, "String");
    const char *behavior = text_of(step, "behavior");
    bool invert = false, drops_gaps;

    ERNE_TRY(json_get_bool(p->file, step, "invert", &invert, p->err));
    /* After " " was replaced, splitting at it does nothing. */
    if (string && strcmp(string, " ") == 0 && p->escapes_space && !invert)
        return 0;
    if (!regex)
        return unsupported(p, "pre_tokenizer", "Split by a string");
    drops_gaps = strcmp(behavior, "Removed") == 0 && invert;
    if (!drops_gaps && (strcmp(behavior, "Isolated") != 0 || invert))
        return unsupported(p, "pre_tokenizer Split with behavior", behavior);
    ERNE_TRY(vocab_add_pattern(p->vocab, regex, p->err));
    p->vocab->drops_gaps[p->vocab->n_patterns - 1] = drops_gaps;
    return 0;
}

static int use_metaspace(struct pipeline *p, const json_t *step)
{
    const char *scheme = NULL, *replacement = SPACE;
    bool split = true, prefix = true;

    ERNE_TRY(json_get_bool(p->file, step, "split", &split, p->err));
    ERNE_TRY(json_get_bool(p->file, step, "add_prefix_space", &prefix, p->err));
    ERNE_TRY(json_get_text(p->file, step, "prepend_scheme", &scheme, p->err));
    ERNE_TRY(json_get_text(p->file, step, "replacement", &replacement, p->err));
    if (split)
        return unsupported(p, "pre_tokenizer", "Metaspace with split");
    if (strcmp(replacement, SPACE) != 0)
        return unsupported(p, "pre_tokenizer Metaspace with replacement", replacement);
    if (scheme && strcmp(scheme, "always") != 0 && strcmp(scheme, "never") != 0)
        return unsupported(p, "pre_tokenizer Metaspace with prepend_scheme", scheme);
    /* Behind Prepend the text starts with a space already. */
    if ((scheme ? strcmp(scheme, "always") == 0 : prefix) && !p->vocab->add_space_prefix)
        p->vocab->add_space_prefix = p->vocab->space_prefix_once = true;
    p->escapes_space = true;
    return 0;
}

static int use_pre_tokenizer(struct pipeline *p, const json_t *step, const char *type)
{
    /* It would see the alphabet of bytes, not the text. */
    if (p->byte_level)
        return unsupported(p, "pre_tokenizer behind ByteLevel", type);
    if (strcmp(type, "Digits") == 0)
        return use_digits(p, step);
    if (strcmp(type, "ByteLevel") == 0)
        return use_byte_level(p, step);
    if (strcmp(type, "Split") == 0)
        return use_split(p, step);
    if (strcmp(type, "Metaspace") == 0)
        return use_metaspace(p, step);
    return unsupported(p, "pre_tokenizer", type);
}

/* -------------------------------------------------------- post_processor */

/* A template that starts with a special token puts it before each text. Tokens behind the
 * text are left out: a prompt is there to be continued. */
static int use_post_processor(struct pipeline *p, const json_t *step, const char *type)
{
    const json_t *single, *special;
    const char *name;

    if (strcmp(type, "ByteLevel") == 0)
        return 0;                /* changes offsets only */
    if (strcmp(type, "TemplateProcessing") != 0)
        return unsupported(p, "post_processor", type);
    single = json_object_get(step, "single");
    special = json_object_get(json_array_get(single, 0), "SpecialToken");
    if (!special)
        return 0;
    name = text_of(special, "id");
    if (json_object_get(json_array_get(single, 1), "SpecialToken"))
        return unsupported(p, "post_processor with a second token behind", name);
    p->vocab->bos = vocab_find(p->vocab, name);
    p->vocab->add_bos = true;
    return p->vocab->bos >= 0 ? 0 : unsupported(p, "post_processor with", name);
}

int vocab_read_pipeline(struct erne_vocab *vocab, const struct json_file *file,
                        struct erne_error *err)
{
    struct pipeline p = { .vocab = vocab, .file = file, .err = err };

    ERNE_TRY(each_step(&p, "normalizer", "normalizers", use_normalizer));
    ERNE_TRY(check_added(&p));
    ERNE_TRY(each_step(&p, "pre_tokenizer", "pretokenizers", use_pre_tokenizer));
    ERNE_TRY(each_step(&p, "post_processor", "processors", use_post_processor));
    if (p.byte_level && !p.escapes_space && !vocab->add_space_prefix) {
        vocab->kind = ERNE_VOCAB_BPE;
        return 0;
    }
    if (p.byte_level || !p.escapes_space || vocab->nfc || vocab->n_patterns > 0)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: neither byte-level BPE nor SentencePiece BPE", file->path);
    vocab->kind = ERNE_VOCAB_SPM;
    return 0;
}
