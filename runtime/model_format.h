/* model_format.h -- the bytes of a .erne file as C structs, for model_file.c (reading)
 * and model_writer.c (writing) only. docs/FORMAT.md describes them for everybody else.
 *
 * Numbers are little-endian; platforms/compiler.h refuses to build on other machines, so
 * the structs are copied as they are. None has padding.
 */
#ifndef ERNE_MODEL_FORMAT_H
#define ERNE_MODEL_FORMAT_H

#include <assert.h>

#include "runtime/model_file.h"

enum { ERNE_FORMAT_VERSION = 1 };
enum { ERNE_N_SECTIONS = 5 };

#define ERNE_MAGIC_HEAD "\x89" "ERNE\r\n\x1a"
#define ERNE_MAGIC_TAIL "ERNE-END"

struct erne_disk_section {
    uint32_t number;          /* enum erne_section */
    uint32_t reserved;
    uint64_t offset, n_bytes; /* from the start of the file */
    uint64_t xxh3;            /* 0 for the data, whose tensors have their own */
};

/* At 0. The hash comes last and covers the 248 bytes before it. */
struct erne_disk_header {
    uint8_t magic[8];
    uint32_t version;
    uint32_t n_tensors;
    uint64_t file_bytes;
    uint64_t plan_xxh3;       /* of the tensor table while nothing was converted */
    struct erne_disk_section sections[ERNE_N_SECTIONS];   /* by number */
    uint64_t reserved[7];
    uint64_t xxh3;
};

/* One tensor of the table. A record whose check fits was written after its data. */
struct erne_disk_record {
    char name[ERNE_SPEC_NAME_MAX];   /* padded with zeros, the last byte is one */
    uint8_t codec, layout, asym;
    uint8_t has_report;              /* 1: error and n_tokens are known, else 0 */
    uint16_t group, reserved;
    int64_t n, k;
    uint64_t offset, n_bytes;        /* from the start of the file */
    uint64_t xxh3;                   /* of the tensor's n_bytes */
    float error;                     /* as in struct erne_tensor_report */
    uint32_t n_tokens;
    uint64_t check;                  /* XXH3 of the 120 bytes before */
};

/* Starts the section of golden logits: i32 tokens and f32 logits follow. */
struct erne_disk_golden {
    uint32_t version;                /* 1, with a picture 2 */
    uint32_t n_tokens, n_rows, n_vocab;
    uint32_t picture_h, picture_w;   /* of version 2, else 0 */
    uint32_t reserved[10];
};

/* The last bytes of the file, written when all others are on disk. */
struct erne_disk_trailer {
    uint8_t magic[8];
    uint64_t file_bytes;
    uint64_t header_xxh3;            /* as in the header */
    uint64_t check;                  /* XXH3 of the 24 bytes before */
};

static_assert(sizeof(struct erne_disk_header) == 256, "the header is 256 bytes");
static_assert(sizeof(struct erne_disk_record) == 128, "a record is 128 bytes");
static_assert(sizeof(struct erne_disk_trailer) == 32, "the trailer is 32 bytes");
static_assert(sizeof(struct erne_disk_golden) == 64, "golden logits start at 64 bytes");

/* Readers of before pictures do without what has one. */
enum { ERNE_GOLDEN_TEXT = 1, ERNE_GOLDEN_PICTURE = 2, ERNE_GOLDEN_MAX_TOKENS = 64 };

static inline uint64_t erne_golden_bytes(uint64_t n_tokens, uint64_t n_rows,
                                         uint64_t n_vocab)
{
    return sizeof(struct erne_disk_golden) + n_tokens * sizeof(int32_t) +
           n_rows * n_vocab * sizeof(float);
}

/* Small tensors start on 256 bytes, others on 4096: a GPU may import their pages. */
static inline uint64_t erne_tensor_align(uint64_t n_bytes)
{
    return n_bytes >= 64 * 1024 ? 4096 : 256;
}

uint64_t erne_header_hash(const struct erne_disk_header *header);
uint64_t erne_record_hash(const struct erne_disk_record *record);
uint64_t erne_trailer_hash(const struct erne_disk_trailer *trailer);

/* 1 .. 63 printable ASCII characters without space, then zeros. */
bool erne_tensor_name_is_valid(const char name[ERNE_SPEC_NAME_MAX]);

/* Sorts names ([n]) by bytes; EFORMAT names one that occurs twice. */
int erne_names_sort(const char **names, size_t n, struct erne_error *err);

#endif
