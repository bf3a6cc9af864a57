/* gguf_meta.c -- see gguf_meta.h. One cursor walks over the head once; every length is
 * compared with what is left of the file before it is used. */
#include "converters/gguf_meta.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NESTING = 4,            /* of arrays in arrays, none of which is used */
    PAIR_MIN_BYTES = 8 + 4 + 1, /* empty key, type, one byte */
    RECORD_MIN_BYTES = 8 + 4 + 8 + 4 + 8,
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 20
};

static size_t type_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {
#define X(NAME, number, bytes) [(number)] = (bytes),
        GGUF_TYPE_LIST(X)
#undef X
    };

    return type < sizeof(bytes) ? bytes[type] : 0;
}

static uint64_t load_le(const uint8_t *p, size_t n_bytes)
{
    uint64_t value = 0;

    for (size_t i = n_bytes; i > 0; i--)
        value = value << 8 | p[i - 1];
    return value;
}

/* ----------------------------------------------------------------- cursor */

struct cursor {
    const uint8_t *data;
    uint64_t n_bytes, pos;
    bool failed; /* something reached beyond the end */
};

static bool take(struct cursor *c, uint64_t n_bytes)
{
    if (c->failed || n_bytes > c->n_bytes - c->pos) {
        c->failed = true;
        return false;
    }
    c->pos += n_bytes;
    return true;
}

static uint64_t take_int(struct cursor *c, size_t n_bytes)
{
    return take(c, n_bytes) ? load_le(c->data + c->pos - n_bytes, n_bytes) : 0;
}

static struct gguf_text take_text(struct cursor *c)
{
    const uint64_t n = take_int(c, 8);
    const uint64_t start = c->pos;

    if (!take(c, n))
        return (struct gguf_text){ "", 0 };
    return (struct gguf_text){ (const char *)c->data + start, (size_t)n };
}

/* Moves over n values of one type. */
static void skip_values(struct cursor *c, uint32_t type, uint64_t n, int nesting)
{
    const size_t bytes = type_bytes(type);

    if (bytes != 0) {
        if (n > c->n_bytes / bytes)
            c->failed = true;
        else
            take(c, n * bytes);
        return;
    }
    if ((type != GGUF_STRING && type != GGUF_ARRAY) || nesting > MAX_NESTING)
        c->failed = true;
    for (uint64_t i = 0; i < n && !c->failed; i++) {
        if (type == GGUF_STRING) {
            take_text(c);
        } else {
            const uint32_t inner = (uint32_t)take_int(c, 4);

            skip_values(c, inner, take_int(c, 8), nesting + 1);
        }
    }
}

static struct gguf_pair take_pair(struct cursor *c)
{
    struct gguf_pair pair = { .n = 1 };

    pair.key = take_text(c);
    pair.type = (uint32_t)take_int(c, 4);
    pair.is_array = pair.type == GGUF_ARRAY;
    if (pair.is_array) {
        pair.type = (uint32_t)take_int(c, 4);
        pair.n = take_int(c, 8);
    }
    pair.offset = c->pos;
    skip_values(c, pair.type, pair.n, 0);
    return pair;
}

static struct gguf_record take_record(struct cursor *c)
{
    struct gguf_record r = { .dim = { 1, 1, 1, 1 } };

    r.name = take_text(c);
    r.n_dims = (uint32_t)take_int(c, 4);
    if (r.n_dims > GGUF_MAX_DIMS) {
        c->failed = true;
        return r;
    }
    for (uint32_t i = 0; i < r.n_dims; i++)
        r.dim[i] = take_int(c, 8);
    r.type = (uint32_t)take_int(c, 4);
    r.offset = take_int(c, 8);
    return r;
}

/* ------------------------------------------------------------------ parse */

static int compare_text(struct gguf_text a, struct gguf_text b)
{
    const size_t n = a.n_bytes < b.n_bytes ? a.n_bytes : b.n_bytes;
    const int order = memcmp(a.text, b.text, n);

    return order != 0 ? order : (a.n_bytes > b.n_bytes) - (a.n_bytes < b.n_bytes);
}

static int compare_pairs(const void *a, const void *b)
{
    return compare_text(((const struct gguf_pair *)a)->key,
                        ((const struct gguf_pair *)b)->key);
}

static int truncated(const struct gguf_meta *meta, const struct cursor *c,
                     const char *what, uint64_t i, struct erne_error *err)
{
    return erne_fail(err, ERNE_EFORMAT,
                     "%s: damaged near byte %" PRIu64 " (%s %" PRIu64 ")", meta->path,
                     c->pos, what, i);
}

static int parse_pairs(struct gguf_meta *meta, struct cursor *c, uint64_t n,
                       struct erne_error *err)
{
    if (n > (c->n_bytes - c->pos) / PAIR_MIN_BYTES)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %" PRIu64 " metadata pairs in a file of %" PRIu64 " bytes",
                         meta->path, n, meta->n_bytes);
    meta->pairs = calloc((size_t)n + 1, sizeof(*meta->pairs));
    if (!meta->pairs)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", meta->path);
    for (; meta->n_pairs < n; meta->n_pairs++) {
        meta->pairs[meta->n_pairs] = take_pair(c);
        if (c->failed)
            return truncated(meta, c, "metadata pair", meta->n_pairs, err);
    }
    qsort(meta->pairs, meta->n_pairs, sizeof(*meta->pairs), compare_pairs);
    for (size_t i = 1; i < meta->n_pairs; i++)
        if (compare_pairs(&meta->pairs[i - 1], &meta->pairs[i]) == 0)
            return erne_fail(err, ERNE_EFORMAT, "%s: key %.*s is there twice", meta->path,
                             gguf_text_shown(meta->pairs[i].key),
                             meta->pairs[i].key.text);
    return ERNE_OK;
}

static int parse_records(struct gguf_meta *meta, struct cursor *c, uint64_t n,
                         struct erne_error *err)
{
    if (n > (c->n_bytes - c->pos) / RECORD_MIN_BYTES)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %" PRIu64 " tensors in a file of %" PRIu64 " bytes",
                         meta->path, n, meta->n_bytes);
    meta->records = calloc((size_t)n + 1, sizeof(*meta->records));
    if (!meta->records)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", meta->path);
    for (; meta->n_records < n; meta->n_records++) {
        meta->records[meta->n_records] = take_record(c);
        if (c->failed)
            return truncated(meta, c, "tensor", meta->n_records, err);
    }
    return ERNE_OK;
}

/* Data start at the next multiple of the alignment after the head. */
static int find_data(struct gguf_meta *meta, uint64_t head_end, struct erne_error *err)
{
    int32_t alignment = DEFAULT_ALIGNMENT;

    ERNE_TRY(gguf_get_int(meta, "general.alignment", &alignment, err));
    if (alignment < 1 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)) != 0)
        return erne_fail(err, ERNE_EFORMAT, "%s: general.alignment is %" PRId32,
                         meta->path, alignment);
    meta->alignment = (uint64_t)alignment;
    meta->data_start = (head_end + meta->alignment - 1) & ~(meta->alignment - 1);
    if (meta->data_start > meta->n_bytes)
        return erne_fail(err, ERNE_EFORMAT, "%s: ends before its data", meta->path);
    return ERNE_OK;
}

int gguf_meta_parse(struct gguf_meta *meta, const uint8_t *data, uint64_t n_bytes,
                    const char *path, struct erne_error *err)
{
    struct cursor c = { .data = data, .n_bytes = n_bytes };
    uint64_t magic, version, n_records, n_pairs;

    *meta = (struct gguf_meta){ .data = data, .n_bytes = n_bytes, .path = path };
    magic = take_int(&c, 4);
    version = take_int(&c, 4);
    n_records = take_int(&c, 8);
    n_pairs = take_int(&c, 8);
    if (c.failed || magic != 0x46554747) /* "GGUF" */
        return erne_fail(err, ERNE_EFORMAT, "%s: not a GGUF file", path);
    if (version != 0 && (version & 0xffff) == 0)
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: a big-endian GGUF file", path);
    if (version != 2 && version != 3)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: GGUF version %" PRIu64 "; 2 and 3 are read", path, version);
    ERNE_TRY(parse_pairs(meta, &c, n_pairs, err));
    ERNE_TRY(parse_records(meta, &c, n_records, err));
    return find_data(meta, c.pos, err);
}

void gguf_meta_deinit(struct gguf_meta *meta)
{
    free(meta->pairs);
    free(meta->records);
    *meta = (struct gguf_meta){ 0 };
}

/* ----------------------------------------------------------------- values */

const struct gguf_pair *gguf_find(const struct gguf_meta *meta, const char *key)
{
    const struct gguf_pair want = { .key = { key, strlen(key) } };

    return bsearch(&want, meta->pairs, meta->n_pairs, sizeof(want), compare_pairs);
}

static int wrong_type(const struct gguf_meta *meta, const char *key, const char *want,
                      struct erne_error *err)
{
    return erne_fail(err, ERNE_EFORMAT, "%s: %s: expected %s", meta->path, key, want);
}

/* Whether the pair is one integer, and its value. */
static bool load_int(const struct gguf_meta *meta, const struct gguf_pair *pair,
                     int64_t *value)
{
    const size_t bytes = type_bytes(pair->type);
    const uint64_t bits =
        bytes != 0 && !pair->is_array ? load_le(meta->data + pair->offset, bytes) : 0;

    if (pair->is_array)
        return false;
    switch (pair->type) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32: *value = (int64_t)bits; return true;
    case GGUF_I8: *value = (int8_t)bits; return true;
    case GGUF_I16: *value = (int16_t)bits; return true;
    case GGUF_I32: *value = (int32_t)bits; return true;
    case GGUF_I64: *value = (int64_t)bits; return true;
    case GGUF_U64: *value = (int64_t)bits; return bits <= INT64_MAX;
    default: return false;
    }
}

int gguf_get_int(const struct gguf_meta *meta, const char *key, int32_t *value,
                 struct erne_error *err)
{
    const struct gguf_pair *pair = gguf_find(meta, key);
    int64_t wide;

    if (!pair)
        return ERNE_OK;
    if (!load_int(meta, pair, &wide) || wide < INT32_MIN || wide > INT32_MAX)
        return wrong_type(meta, key, "an integer of 32 bits", err);
    *value = (int32_t)wide;
    return ERNE_OK;
}

int gguf_get_size(const struct gguf_meta *meta, const char *key, int32_t *value,
                  struct erne_error *err)
{
    ERNE_TRY(gguf_get_int(meta, key, value, err));
    return *value >= 1 ? ERNE_OK
                       : erne_fail(err, ERNE_EFORMAT, "%s: %s is missing or not positive",
                                   meta->path, key);
}

int gguf_get_number(const struct gguf_meta *meta, const char *key, double *value,
                    struct erne_error *err)
{
    const struct gguf_pair *pair = gguf_find(meta, key);
    double number = NAN;
    int64_t wide;

    if (!pair)
        return ERNE_OK;
    if (load_int(meta, pair, &wide)) {
        number = (double)wide;
    } else if (!pair->is_array && pair->type == GGUF_F32) {
        float f;

        memcpy(&f, meta->data + pair->offset, sizeof(f));
        number = (double)f;
    } else if (!pair->is_array && pair->type == GGUF_F64) {
        memcpy(&number, meta->data + pair->offset, sizeof(number));
    }
    if (!isfinite(number))
        return wrong_type(meta, key, "a number", err);
    *value = number;
    return ERNE_OK;
}

int gguf_get_bool(const struct gguf_meta *meta, const char *key, bool *value,
                  struct erne_error *err)
{
    const struct gguf_pair *pair = gguf_find(meta, key);

    if (!pair)
        return ERNE_OK;
    if (pair->is_array || pair->type != GGUF_BOOL)
        return wrong_type(meta, key, "true or false", err);
    *value = meta->data[pair->offset] != 0;
    return ERNE_OK;
}

int gguf_get_text(const struct gguf_meta *meta, const char *key, struct gguf_text *value,
                  struct erne_error *err)
{
    const struct gguf_pair *pair = gguf_find(meta, key);
    uint64_t offset;

    if (!pair)
        return ERNE_OK;
    if (pair->is_array || pair->type != GGUF_STRING)
        return wrong_type(meta, key, "a string", err);
    offset = pair->offset;
    *value = gguf_array_text(meta, &offset);
    return ERNE_OK;
}

/* ----------------------------------------------------------------- arrays */

int gguf_get_array(const struct gguf_meta *meta, const char *key, enum gguf_type type,
                   const struct gguf_pair **pair, struct erne_error *err)
{
    *pair = gguf_find(meta, key);
    if (*pair && (!(*pair)->is_array || (*pair)->type != (uint32_t)type))
        return wrong_type(meta, key, "an array of another type", err);
    return ERNE_OK;
}

uint32_t gguf_array_u32(const struct gguf_meta *meta, const struct gguf_pair *pair,
                        uint64_t i)
{
    return (uint32_t)load_le(meta->data + pair->offset + 4 * i, 4);
}

struct gguf_text gguf_array_text(const struct gguf_meta *meta, uint64_t *offset)
{
    struct cursor c = { .data = meta->data, .n_bytes = meta->n_bytes, .pos = *offset };
    const struct gguf_text text = take_text(&c);

    *offset = c.pos;
    return text;
}

bool gguf_text_is(struct gguf_text text, const char *want)
{
    return text.n_bytes == strlen(want) && memcmp(text.text, want, text.n_bytes) == 0;
}

int gguf_text_shown(struct gguf_text text)
{
    return text.n_bytes < 80 ? (int)text.n_bytes : 80;
}
