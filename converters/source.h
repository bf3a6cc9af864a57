/* source.h -- what a checkpoint looks like to the converter, whatever its format.
 *
 * A reader (safetensors.c, gguf.c) opens a checkpoint and lists its matrices under
 * canonical names, those of the PyTorch layout
 * ("model.layers.0.self_attn.q_proj.weight", see names.h), with where their bytes lie and
 * how they are coded (block_types.h). From then on nothing depends on the format:
 * source_read_rows serves every reader, and the writing side (convert.c) never sees a
 * file. That Paddle stores linear layers as [in, out], and some of them fused, is settled
 * by whoever asks for rows (layout.c): the shapes tell.
 */
#ifndef ERNE_SOURCE_H
#define ERNE_SOURCE_H

#include "converters/block_types.h"
#include "platforms/platform.h"
#include "runtime/model_desc.h"
#include "runtime/tokenizer.h"

enum { SOURCE_NAME_MAX = 128 };

struct source_tensor {
    char name[SOURCE_NAME_MAX];   /* canonical */
    char stored[SOURCE_NAME_MAX]; /* as the file has it: for messages */
    int64_t n, k;                 /* rows, columns; vectors are [n, 1] */
    uint64_t n_bytes;             /* as stored */
    const struct block_type *type;
    size_t file;     /* index in source->files */
    uint64_t offset; /* from the start of that file */
};

struct source_file {
    struct pf_file *file;
    char *path;
    uint64_t n_bytes;
};

struct source_lora; /* lora.h */

struct source_adapter {
    struct source *from;
};

struct source {
    const char *format; /* "safetensors", "gguf" */
    struct source_file *files;
    size_t n_files;
    struct source_tensor *tensors; /* sorted by name, no name twice */
    size_t n_tensors, cap_tensors;
    struct erne_model_desc desc;
    struct erne_vocab vocab;
    char *jinja;    /* the checkpoint's chat template, or NULL */
    bool says_tied; /* what the configuration says; the tensors decide */
    bool is_silent; /* about that: GGUF has no word for it */
    /* [in, out] matrices may be among them: a square one is if `ernie.` names are. */
    bool may_transpose, has_paddle_names;
    /* Only the configuration is there: tensors have the shapes that it implies, matrices
     * the type that it names. */
    bool is_outline;
    struct source_tensor outline_matrix, outline_f32;
    /* Adapters to be merged, and what they change, sorted by name. */
    struct source_adapter *adapters;
    size_t n_adapters;
    struct source_lora *loras;
    size_t n_loras;
};

struct source_opts {
    const char *chat_template; /* NULL: the checkpoint's own; else a name or "none" */
    erne_log_fn log;           /* may be NULL; receives what a reader decided */
    void *log_user;
    bool with_mtp;            /* keep the block for multi-token prediction */
    const char *mmproj;       /* GGUF: the file of the vision tower; NULL: find it */
    const char *const *loras; /* "FOLDER" or "FOLDER:SCALE": adapters to be merged */
    size_t n_loras;
    bool may_lack_weights; /* a configuration alone will do: see is_outline */
};

/* Recognises the format by what is there: a .gguf file, a .safetensors file (with
 * config.json beside it), or a folder with config.json. EUNSUPPORTED and EFORMAT name the
 * file and what in it. */
int source_open(struct source **out, const char *path, const struct source_opts *opts,
                struct erne_error *err);
void source_close(struct source **src);

/* NULL when there is none. */
const struct source_tensor *source_find(const struct source *src, const char *name);

/* Rows first .. first + n_rows of t [n, k] as f32 dst [n_rows, k]. Thread-safe. */
int source_read_rows(const struct source *src, const struct source_tensor *t,
                     int64_t first, int64_t n_rows, float *dst, struct erne_error *err);

/* Where rows go that are read together: row i to row i / run * stride + i % run. */
struct source_spread {
    int64_t run, stride;
};

/* Floats of `scratch` that source_read_columns needs. */
enum { SOURCE_SCRATCH = 64 * 1024 };

/* Columns first .. first + n of t, whose type is a float, as rows of t->n elements, to
 * f32 dst by `spread`. n is SOURCE_SCRATCH at most. Every stored row is touched once, in
 * pieces of n elements: the more columns at a time, the faster. Thread-safe. */
struct source_columns {
    int64_t first, n;
    struct source_spread spread;
    float *dst, *scratch;
};

int source_read_columns(const struct source *src, const struct source_tensor *t,
                        const struct source_columns *columns, struct erne_error *err);

struct source_codes {
    int8_t *codes;             /* [n_rows, k] */
    uint16_t *scales, *minima; /* f16 bits [n_rows, k / BLOCK_CODES] */
    float *scratch;            /* [n_rows, k], for reading */
};

/* The same rows as codes of t->type->exact, which is an integer scheme; minima are left
 * alone if it has none. */
int source_read_codes(const struct source *src, const struct source_tensor *t,
                      int64_t first, int64_t n_rows, const struct source_codes *dst,
                      struct erne_error *err);

/* ---------------------------------------------------------- for the readers */

/* The readers, called by source_open with an all-zero source; what they leave in it after
 * a failure is released by source_close. */
int safetensors_read(struct source *src, const char *path, const struct source_opts *opts,
                     struct erne_error *err);
int gguf_read(struct source *src, const char *path, const struct source_opts *opts,
              struct erne_error *err);

/* Weights of an adapter, under the names they have: `stem`.safetensors, or shards. Leaves
 * them sorted. */
int safetensors_read_adapter(struct source *src, const char *dir, const char *stem,
                             const struct source_opts *opts, struct erne_error *err);
/* To be called when all are listed: refuses overlaps and names that are there twice,
 * sorts. */
int source_sort_tensors(struct source *src, struct erne_error *err);

/* Shapes, tokens and chat template from the files of a folder (hf_folder.c). */
int hf_folder_read(struct source *src, const char *dir, const struct source_opts *opts,
                   struct erne_error *err);

/* Takes the shapes from the configuration, the type of matrices by its name. */
void source_make_outline(struct source *src, const struct block_type *type);
/* Opens one more file; its index is n_files - 1 afterwards. */
int source_add_file(struct source *src, const char *path, struct erne_error *err);
/* pf_file_changed of the newest of its files. */
uint64_t source_changed(const struct source *src);
/* Whether it reads the file of that name, however it is spelt. */
bool source_has_file(const struct source *src, const char *path);
/* Appends a tensor; shape and bytes must agree, and lie inside the file. */
int source_add_tensor(struct source *src, const struct source_tensor *t,
                      struct erne_error *err);
/* n_bytes of text, malloc'ed and 0-terminated; NULL without memory. */
char *source_copy_text(const char *text, size_t n_bytes);
/* Notes an id on which generation ends; ignores what is there already and what is
 * negative. */
void source_add_stop(struct source *src, int64_t id);
void source_note(const struct source_opts *opts, enum erne_log_level level,
                 const char *fmt, ...) ERNE_PRINTF(3, 4);

/* Vocabularies (vocab_*.c). Each fills an all-zero vocab. */
int vocab_from_spm_model(struct erne_vocab *vocab, const uint8_t *data, size_t n_bytes,
                         struct erne_error *err);
int vocab_from_tokenizer_json(struct erne_vocab *vocab, const char *text, size_t n_bytes,
                              struct erne_error *err);
/* Adds or retypes tokens from added_tokens.json / tokenizer_config.json text. */
int vocab_add_tokens_json(struct erne_vocab *vocab, const char *text, size_t n_bytes,
                          struct erne_error *err);
/* The pre-tokeniser of GGUF's tokenizer.ggml.pre ("default", "smollm", "llama-bpe" ...):
 * sets patterns, ignore_merges, add_bos. EUNSUPPORTED names it. */
int vocab_set_pre_tokenizer(struct erne_vocab *vocab, const char *name,
                            struct erne_error *err);

/* Chat descriptions (chat_template.c): from a Jinja template that is one of the known
 * ones, or by name. Unknown templates give present = false and 0. */
int chat_from_jinja(struct erne_chat_desc *chat, const char *jinja,
                    struct erne_error *err);
int chat_from_name(struct erne_chat_desc *chat, const char *name, struct erne_error *err);

#endif
