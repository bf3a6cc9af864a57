/* gguf_meta.h -- the head of a GGUF file: key-value pairs and tensor records, indexed
 * where they lie in the mapped file. Nothing is copied but the index, whose size is
 * bounded by the size of the file. Layout: docs/gguf.md of the ggml project. */
#ifndef ERNE_GGUF_META_H
#define ERNE_GGUF_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/error.h"

/* Value types: X(NAME, number in the file, bytes; 0: not of fixed size). */
/* clang-format off */
#define GGUF_TYPE_LIST(X) \
    X(U8, 0, 1)           \
    X(I8, 1, 1)           \
    X(U16, 2, 2)          \
    X(I16, 3, 2)          \
    X(U32, 4, 4)          \
    X(I32, 5, 4)          \
    X(F32, 6, 4)          \
    X(BOOL, 7, 1)         \
    X(STRING, 8, 0)       \
    X(ARRAY, 9, 0)        \
    X(U64, 10, 8)         \
    X(I64, 11, 8)         \
    X(F64, 12, 8)
/* clang-format on */

enum gguf_type {
#define X(NAME, number, bytes) GGUF_##NAME = (number),
    GGUF_TYPE_LIST(X)
#undef X
};

struct gguf_text {
    const char *text; /* in the map, not 0-terminated */
    size_t n_bytes;
};

struct gguf_pair {
    struct gguf_text key;
    uint32_t type; /* enum gguf_type; of the elements if an array */
    bool is_array;
    uint64_t n;      /* elements; 1 if not an array */
    uint64_t offset; /* of the (first) value in the file */
};

enum { GGUF_MAX_DIMS = 4 };

struct gguf_record {
    struct gguf_text name;
    uint32_t n_dims;
    uint64_t dim[GGUF_MAX_DIMS]; /* innermost first; 1 where there is none */
    uint32_t type;               /* enum ggml_type */
    uint64_t offset;             /* from the start of the data */
};

struct gguf_meta {
    const uint8_t *data;
    uint64_t n_bytes;
    const char *path;        /* for messages; the caller's */
    struct gguf_pair *pairs; /* sorted by key, no key twice */
    size_t n_pairs;
    struct gguf_record *records;
    size_t n_records;
    uint64_t data_start; /* aligned */
    uint64_t alignment;
};

/* data must stay mapped while meta is in use. EFORMAT, EUNSUPPORTED, ENOMEM. */
int gguf_meta_parse(struct gguf_meta *meta, const uint8_t *data, uint64_t n_bytes,
                    const char *path, struct erne_error *err);
void gguf_meta_deinit(struct gguf_meta *meta);

/* NULL when there is none. */
const struct gguf_pair *gguf_find(const struct gguf_meta *meta, const char *key);

/* The value of `key`; absent leaves *value alone, a wrong type is EFORMAT. Integers of
 * every width and sign are taken if they fit, numbers also from integers. */
int gguf_get_int(const struct gguf_meta *meta, const char *key, int32_t *value,
                 struct erne_error *err);
/* The same of a size: EFORMAT when it is less than 1 then. */
int gguf_get_size(const struct gguf_meta *meta, const char *key, int32_t *value,
                  struct erne_error *err);
int gguf_get_number(const struct gguf_meta *meta, const char *key, double *value,
                    struct erne_error *err);
int gguf_get_bool(const struct gguf_meta *meta, const char *key, bool *value,
                  struct erne_error *err);
int gguf_get_text(const struct gguf_meta *meta, const char *key, struct gguf_text *value,
                  struct erne_error *err);

/* An array of `type`, NULL in *pair when absent; another type is EFORMAT. */
int gguf_get_array(const struct gguf_meta *meta, const char *key, enum gguf_type type,
                   const struct gguf_pair **pair, struct erne_error *err);
/* Element i of an array of 4-byte values, as its bits. */
uint32_t gguf_array_u32(const struct gguf_meta *meta, const struct gguf_pair *pair,
                        uint64_t i);
/* The text at *offset (start with pair->offset), which moves to the next one. */
struct gguf_text gguf_array_text(const struct gguf_meta *meta, uint64_t *offset);

bool gguf_text_is(struct gguf_text text, const char *want);
/* Bytes to show of a text that is to be named in a message: for "%.*s". */
int gguf_text_shown(struct gguf_text text);

#endif
