/* model_file.h -- the .erne container: mapped and checked for reading, streamed for
 * writing. docs/FORMAT.md describes the bytes; model_format.h, model_file.c and
 * model_writer.c are the only code that knows them.
 *
 * Reading never trusts a count or an offset: everything is checked against the size of
 * the file before it is used, and opening allocates O(n) of the tensor table at most.
 * Opening checks the hashes of all but the tensors, which would read the whole file.
 */
#ifndef ERNE_MODEL_FILE_H
#define ERNE_MODEL_FILE_H

#include "platforms/platform.h"
#include "runtime/dtype.h"
#include "runtime/error.h"
#include "runtime/model_desc.h"

/* Sections: X(NAME, name, number in the file). */
#define ERNE_SECTION_LIST(X)     \
    X(MANIFEST, manifest, 1)     \
    X(TOKENIZER, tokenizer, 2)   \
    X(TENSORS, tensors, 3)       \
    X(DATA, data, 4)             \
    X(GOLDEN, golden, 5) /* may be absent */

enum erne_section {
#define X(NAME, name, number) ERNE_SECTION_##NAME = (number),
    ERNE_SECTION_LIST(X)
#undef X
};

/* What a conversion knows of a tensor that it made; all zero when it told nothing. */
struct erne_tensor_report {
    bool is_known;
    float error;                    /* of what rounding changed: its root mean square over
                                       that of the weights; 0: nothing */
    uint32_t n_tokens;              /* of a calibration's text that an expert got */
};

struct erne_file_tensor {
    char name[ERNE_SPEC_NAME_MAX];
    struct erne_scheme scheme;
    int64_t n, k;
    struct erne_planes planes;
    uint64_t offset;                /* from the start of the file; multiple of 256, of
                                       4096 for tensors of 64 KiB and more */
    uint64_t n_bytes;               /* planes.total_bytes */
    uint64_t xxh3;
    struct erne_tensor_report report;
    const uint8_t *home;            /* first byte of its file, as mapped: a record may be
                                       lent to another file that has the same tensor */
};

/* Tokens, and what the reference computes behind the last of them. */
struct erne_golden {
    const int32_t *tokens;  /* [n_tokens]; NULL: there are none */
    const float *logits;    /* [n_rows, n_vocab] of the last n_rows tokens */
    int32_t n_tokens, n_rows;
    int32_t picture_h, picture_w; /* of media_open_noise, in tokens, which are
                                     placeholders among the others; 0: none */
};

struct erne_model_file {
    struct pf_file *file;           /* NULL for bytes in memory */
    struct pf_map map;
    struct erne_model_desc desc;
    const uint8_t *tokenizer;       /* section as mapped; runtime/tokenizer.h reads it */
    size_t tokenizer_bytes;
    const char *manifest;           /* YAML text as mapped, not 0-terminated */
    size_t manifest_bytes;
    struct erne_golden golden;      /* as mapped */
    struct erne_file_tensor *tensors;   /* in file order */
    const char **by_name;           /* [n_tensors] names in the table above, sorted */
    size_t n_tensors;
    uint32_t version;
};

int erne_model_file_open(struct erne_model_file *mf, const char *path,
                         struct erne_error *err);
/* The same for a file's bytes in memory, which must stay where they are. */
int erne_model_file_open_bytes(struct erne_model_file *mf, const uint8_t *data,
                               size_t n_bytes, struct erne_error *err);
/* A file that its writer has not finished: of what it will hold golden logits and the end
 * are missing. */
int erne_model_file_open_part(struct erne_model_file *mf, const char *path,
                              struct erne_error *err);
void erne_model_file_close(struct erne_model_file *mf);

/* NULL when there is none of that name. */
const struct erne_file_tensor *erne_model_file_find(const struct erne_model_file *mf,
                                                    const char *name);
/* First byte of a tensor in the map of its file. */
const void *erne_model_file_data(const struct erne_file_tensor *tensor);
/* EVERIFY when the stored hash and the bytes disagree. */
int erne_model_file_check(const struct erne_file_tensor *tensor, struct erne_error *err);

/* EFORMAT when a byte between sections or tensors, which no hash covers, is not 0. */
int erne_model_file_check_padding(const struct erne_model_file *mf,
                                  struct erne_error *err);

/* ---------------------------------------------------------------- writing */

struct erne_model_writer;

struct erne_writer_tensor {
    char name[ERNE_SPEC_NAME_MAX];
    struct erne_scheme scheme;
    int64_t n, k;
};

/* What to write, all known before the first byte: then every offset is too, so that
 * tensors may be written in any order and by any thread, and a resumed conversion finds
 * its place. */
struct erne_writer_plan {
    const char *manifest;
    size_t manifest_bytes;
    const uint8_t *tokenizer;
    size_t tokenizer_bytes;
    const struct erne_writer_tensor *tensors;
    size_t n_tensors;
    struct erne_golden golden; /* without logits; no tokens: the file has none */
    int32_t n_vocab;           /* for golden */
    uint64_t sync_bytes;       /* data to write between two syncs; 0: 64 MiB */
    uint64_t sources_changed;  /* pf_file_changed of the newest; parts written before are
                                  not resumed. 0: all are */
};

/* The size of the finished file and, if offsets != NULL ([n_tensors]), where each tensor
 * goes. Nothing is written. */
int erne_writer_layout(const struct erne_writer_plan *plan, uint64_t *file_bytes,
                       uint64_t *offsets, struct erne_error *err);

/* Opens `path`.part for writing. When one with the same plan is there already (its header
 * carries the plan's hash) and was written since the sources changed, *n_resumed says how
 * many tensors it has complete. The end marker is written by erne_writer_finish only: a
 * file without one is refused. */
int erne_writer_open(struct erne_model_writer **out, const char *path,
                     const struct erne_writer_plan *plan, size_t *n_resumed,
                     struct erne_error *err);
bool erne_writer_is_done(const struct erne_model_writer *w, size_t tensor);
/* Bytes of a tensor's data, anywhere, from any thread. */
int erne_writer_write(struct erne_model_writer *w, size_t tensor, uint64_t offset,
                      const void *data, size_t n_bytes, struct erne_error *err);
/* Reads back what was written: blocks are made out of order, hashes go over the planes
 * in order. */
int erne_writer_read(struct erne_model_writer *w, size_t tensor, uint64_t offset,
                     void *dst, size_t n_bytes, struct erne_error *err);
/* The tensor is complete, and xxh3 is the hash of its n_bytes (gaps between planes, which
 * are 0, included). Its record, with the report (NULL: none), follows once its bytes are
 * on disk, which may be some tensors later; a conversion killed before that writes it
 * again. Thread-safe. */
int erne_writer_tensor_done(struct erne_model_writer *w, size_t tensor, uint64_t xxh3,
                            const struct erne_tensor_report *report,
                            struct erne_error *err);
/* Opens what was written, once all tensors are done, to compute golden logits with. */
int erne_writer_open_part(struct erne_model_writer *w, struct erne_model_file *mf,
                          struct erne_error *err);
/* logits: [n_rows, n_vocab] of the plan's golden. Once, before the end. */
int erne_writer_golden(struct erne_model_writer *w, const float *logits,
                       struct erne_error *err);
/* All tensors done: table, end marker, sync, rename to `path`. Frees w in any case. */
int erne_writer_finish(struct erne_model_writer **w, struct erne_error *err);
/* Closes and leaves the .part for a later resume. NULL and NULL in it are allowed. */
void erne_writer_abandon(struct erne_model_writer **w);

#endif
