/* manifest_read.c -- a model description from the YAML text of a manifest.
 *
 * The text comes from a file that anybody may have made. Its size, its depth and the
 * number of its stop tokens are limited, aliases and duplicate keys are refused; libyaml
 * allocates in proportion to the rest. Keys that are not in manifest_fields are skipped.
 */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <yaml.h>

#include "runtime/manifest_fields.h"

enum { MAX_DEPTH = 16, PLACE_MAX = 64 };

static bool parse_float(float *out, const char *text)
{
    char buf[64];
    char *end;

    if (snprintf(buf, sizeof(buf), "%s", text) >= (int)sizeof(buf) ||
        buf[strspn(buf, "+-.0123456789eE")] != '\0')
        return false;
    manifest_swap_point(buf, '.', localeconv()->decimal_point[0]);
    *out = strtof(buf, &end);
    return end != buf && *end == '\0' && isfinite(*out);
}

static bool parse_int(int32_t *out, const char *text)
{
    const char *digits = text + (text[0] == '-');
    long value;

    if (digits[0] == '\0' || digits[strspn(digits, "0123456789")] != '\0')
        return false;
    errno = 0;
    value = strtol(text, NULL, 10);
    if (errno != 0 || value < INT32_MIN || value > INT32_MAX)
        return false;
    *out = (int32_t)value;
    return true;
}

/* A key that was seen: the hash of the key and of the mapping it is in. */
struct seen_key {
    uint64_t hash;
    size_t line;
};

struct input {
    yaml_parser_t parser;
    struct erne_model_desc *desc;
    struct erne_error *err;
    bool seen[MANIFEST_MAX_FIELDS]; /* whether manifest_fields[i] was there */
    struct seen_key *keys;
    size_t n_keys, cap_keys;
    uint64_t n_mappings;
    int depth;
};

static int fail_at(struct input *in, yaml_mark_t mark, int st, const char *what)
{
    return erne_fail(in->err, st, "manifest, line %zu, column %zu: %s", mark.line + 1,
                     mark.column + 1, what);
}

static int next_event(struct input *in, yaml_event_t *event)
{
    if (yaml_parser_parse(&in->parser, event))
        return ERNE_OK;
    if (in->parser.error == YAML_MEMORY_ERROR)
        return erne_fail(in->err, ERNE_ENOMEM, "out of memory for the manifest");
    return fail_at(in, in->parser.problem_mark, ERNE_EFORMAT,
                   in->parser.problem ? in->parser.problem : "not YAML");
}

/* Keeps a key for check_duplicates. */
static int note_key(struct input *in, uint64_t mapping, const yaml_event_t *key)
{
    if (in->n_keys == in->cap_keys) {
        const size_t cap = in->cap_keys ? 2 * in->cap_keys : 64;
        struct seen_key *keys = realloc(in->keys, cap * sizeof(*keys));

        if (!keys)
            return erne_fail(in->err, ERNE_ENOMEM, "out of memory for the manifest");
        in->keys = keys;
        in->cap_keys = cap;
    }
    in->keys[in->n_keys++] = (struct seen_key){
        XXH3_64bits_withSeed(key->data.scalar.value, key->data.scalar.length, mapping),
        key->start_mark.line,
    };
    return ERNE_OK;
}

static int compare_keys(const void *a, const void *b)
{
    const struct seen_key *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

static int check_duplicates(struct input *in)
{
    if (in->n_keys > 0)
        qsort(in->keys, in->n_keys, sizeof(*in->keys), compare_keys);
    for (size_t i = 1; i < in->n_keys; i++)
        if (in->keys[i].hash == in->keys[i - 1].hash)
            return erne_fail(in->err, ERNE_EFORMAT,
                             "manifest, line %zu: a key occurs twice",
                             in->keys[i].line + 1);
    return ERNE_OK;
}

/* An empty plain scalar, ~ or null: the key is as good as absent. */
static bool is_null(const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;

    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (*value == '\0' || strcmp(value, "~") == 0 || strcmp(value, "null") == 0);
}

static int read_stop(struct input *in, const char *text, yaml_mark_t mark)
{
    struct erne_model_desc *desc = in->desc;

    if (desc->n_stop == ERNE_MAX_STOP)
        return fail_at(in, mark, ERNE_EFORMAT, "too many stop tokens");
    if (!parse_int(&desc->stop[desc->n_stop], text))
        return fail_at(in, mark, ERNE_EFORMAT, "a stop token is no integer");
    desc->n_stop++;
    return ERNE_OK;
}

static int read_text(struct input *in, char **out, const yaml_event_t *event)
{
    const size_t n = event->data.scalar.length;

    free(*out); /* a duplicate key, refused later */
    *out = malloc(n + 1);
    if (!*out)
        return erne_fail(in->err, ERNE_ENOMEM, "out of memory for the manifest");
    memcpy(*out, event->data.scalar.value, n + 1);
    return ERNE_OK;
}

static int read_version(struct input *in, const char *text, yaml_mark_t mark)
{
    int32_t version;

    if (!parse_int(&version, text) || version < 1)
        return fail_at(in, mark, ERNE_EFORMAT, "erne_manifest is no version");
    if (version != MANIFEST_VERSION)
        return fail_at(in, mark, ERNE_EUNSUPPORTED, "this manifest needs a newer erne");
    return ERNE_OK;
}

static int read_value(struct input *in, const struct manifest_field *f,
                      const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    void *member = (char *)in->desc + f->offset;
    const yaml_mark_t mark = event->start_mark;

    if (strlen(text) != event->data.scalar.length)
        return fail_at(in, mark, ERNE_EFORMAT, "a value has a zero byte");
    switch (f->type) {
    case VERSION: return read_version(in, text, mark);
    case TEXT: return read_text(in, member, event);
    case STOPS: return read_stop(in, text, mark);
    case ARCH:
        if (erne_arch_parse(member, text) < 0)
            return erne_fail(in->err, ERNE_EUNSUPPORTED,
                             "manifest, line %zu: architecture \"%.64s\" is unknown",
                             mark.line + 1, text);
        return ERNE_OK;
    case INT:
        if (!parse_int(member, text))
            return fail_at(in, mark, ERNE_EFORMAT, "not a 32-bit integer");
        return ERNE_OK;
    case FLOAT:
        if (!parse_float(member, text))
            return fail_at(in, mark, ERNE_EFORMAT, "not a finite number");
        return ERNE_OK;
    case BOOL:
        *(bool *)member = strcmp(text, "true") == 0;
        if (!*(bool *)member && strcmp(text, "false") != 0)
            return fail_at(in, mark, ERNE_EFORMAT, "neither true nor false");
        return ERNE_OK;
    }
    return ERNE_OK;
}

static int read_scalar(struct input *in, const char *place, const yaml_event_t *event)
{
    for (int i = 0; i < manifest_n_fields; i++) {
        const bool is_item =
            manifest_fields[i].type == STOPS; /* its place is that of an item */
        const size_t n = strlen(manifest_fields[i].place);

        if (strncmp(place, manifest_fields[i].place, n) != 0 ||
            strcmp(place + n, is_item ? "[" : "") != 0)
            continue;
        if (is_null(event))
            return ERNE_OK;
        in->seen[i] = true;
        if (manifest_is_chat(&manifest_fields[i]))
            in->desc->chat.present = true;
        return read_value(in, &manifest_fields[i], event);
    }
    return ERNE_OK;
}

static int read_node(struct input *in, const char *place, const yaml_event_t *event);

/* The place of a key of a mapping, or with key NULL of an item of a sequence. */
static void place_below(char child[PLACE_MAX], const char *place, const char *key)
{
    if (!key)
        snprintf(child, PLACE_MAX, "%s[", place);
    else if (key[strcspn(key, ".[")] != '\0')
        snprintf(child, PLACE_MAX, "?"); /* no key of ours, and no way to look like one */
    else
        snprintf(child, PLACE_MAX, "%s%s%s", place, *place ? "." : "", key);
}

/* Key and value of a mapping; event: the key, which stays the caller's. */
static int read_pair(struct input *in, const char *place, uint64_t mapping,
                     const yaml_event_t *key)
{
    yaml_event_t value;
    char child[PLACE_MAX];
    int st;

    if (key->type != YAML_SCALAR_EVENT)
        return fail_at(in, key->start_mark, ERNE_EFORMAT, "a key is not plain text");
    ERNE_TRY(note_key(in, mapping, key));
    place_below(child, place, (const char *)key->data.scalar.value);
    ERNE_TRY(next_event(in, &value));
    st = read_node(in, child, &value);
    yaml_event_delete(&value);
    return st;
}

/* What stands between the start of a mapping or sequence, which was read, and its end. */
static int read_children(struct input *in, const char *place, bool is_mapping)
{
    const yaml_event_type_t end =
        is_mapping ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    const uint64_t mapping = in->n_mappings++;
    char child[PLACE_MAX];
    bool done = false;

    place_below(child, place, NULL);
    while (!done) {
        yaml_event_t event;
        int st;

        ERNE_TRY(next_event(in, &event));
        done = event.type == end;
        if (done)
            st = ERNE_OK;
        else if (is_mapping)
            st = read_pair(in, place, mapping, &event);
        else
            st = read_node(in, child, &event);
        yaml_event_delete(&event);
        ERNE_TRY(st);
    }
    return ERNE_OK;
}

static int read_node(struct input *in, const char *place, const yaml_event_t *event)
{
    int st;

    switch (event->type) {
    case YAML_SCALAR_EVENT: return read_scalar(in, place, event);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        if (in->depth == MAX_DEPTH)
            return fail_at(in, event->start_mark, ERNE_EFORMAT, "too deeply nested");
        in->depth++;
        st = read_children(in, place, event->type == YAML_MAPPING_START_EVENT);
        in->depth--;
        return st;
    case YAML_ALIAS_EVENT:
        return fail_at(in, event->start_mark, ERNE_EFORMAT, "aliases are not allowed");
    default: return fail_at(in, event->start_mark, ERNE_EFORMAT, "unexpected YAML");
    }
}

/* One event that must be of that type. */
static int expect(struct input *in, yaml_event_type_t type, const char *otherwise)
{
    yaml_event_t event;
    int st;

    ERNE_TRY(next_event(in, &event));
    st = event.type == type ? ERNE_OK
                            : fail_at(in, event.start_mark, ERNE_EFORMAT, otherwise);
    yaml_event_delete(&event);
    return st;
}

static int read_document(struct input *in)
{
    ERNE_TRY(expect(in, YAML_STREAM_START_EVENT, "not YAML"));
    ERNE_TRY(expect(in, YAML_DOCUMENT_START_EVENT, "empty"));
    ERNE_TRY(expect(in, YAML_MAPPING_START_EVENT, "not a mapping"));
    ERNE_TRY(read_children(in, "", true));
    ERNE_TRY(expect(in, YAML_DOCUMENT_END_EVENT, "not one document"));
    ERNE_TRY(expect(in, YAML_STREAM_END_EVENT, "more than one document"));
    ERNE_TRY(check_duplicates(in));
    for (int i = 0; i < manifest_n_fields; i++)
        if (manifest_fields[i].required && !in->seen[i])
            return erne_fail(in->err, ERNE_EFORMAT, "manifest: %s is missing",
                             manifest_fields[i].place);
    int st = erne_model_desc_check(in->desc, in->err);

    return st < 0 ? erne_fail_context(in->err, st, "manifest") : ERNE_OK;
}

int erne_manifest_read(struct erne_model_desc *desc, const char *text, size_t n_bytes,
                       struct erne_error *err)
{
    struct input in = { .desc = desc, .err = err };
    int st;

    memset(desc, 0, sizeof(*desc));
    if (n_bytes > MANIFEST_MAX_BYTES)
        return erne_fail(err, ERNE_EFORMAT, "the manifest is larger than 1 MiB");
    if (!yaml_parser_initialize(&in.parser))
        return erne_fail(err, ERNE_ENOMEM, "out of memory for the manifest");
    yaml_parser_set_encoding(&in.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&in.parser, (const unsigned char *)text, n_bytes);
    st = read_document(&in);
    yaml_parser_delete(&in.parser);
    free(in.keys);
    if (st < 0)
        erne_model_desc_deinit(desc);
    return st;
}
