/* model.h -- how a model family writes its graph down, and which family builds what.
 *
 * One file a family in this folder. A builder reads from top to bottom as the model does;
 * it names weights as runtime/model_spec.c does and knows nothing of backends or files'
 * bytes.
 */
#ifndef ERNE_MODEL_H
#define ERNE_MODEL_H

#include "runtime/graph.h"
#include "runtime/kvcache.h"
#include "runtime/model_file.h"

/* What a graph is built from. max_tokens: rows of the largest step. */
struct erne_model_inputs {
    const struct erne_model_file *file;
    const float *inv_freq; /* [A, head_dim / 2]: erne_rope_text_freqs */
    const struct erne_kvcache *kv;
    int32_t max_tokens;
    bool mtp;         /* the block for multi-token prediction, not the decoder */
    bool keep_layers; /* what each layer gives is an output, too: for tests */
};

/* What the session fills before a step and reads after it. */
struct erne_model_io {
    struct erne_tensor *tokens;   /* I32 [T] */
    struct erne_tensor *position; /* I32 [T] */
    struct erne_tensor *slot;     /* I32 [T] */
    struct erne_tensor *table;    /* I32 [n_pages] */
    struct erne_tensor *out_rows; /* I32 [O]: rows whose logits are wanted */
    struct erne_tensor *out_position; /* I32 [O]: of those rows, as position */
    struct erne_tensor *rope_position; /* I32 [T, A]: A = erne_rope_n_axes */
    /* NULL: the model has no such thing. */
    struct erne_tensor *features;     /* f32 [T, n_embd]: rows for placeholders */
    struct erne_tensor *feature_rows; /* I32 [T]: which one a token takes, or -1 */
    struct erne_tensor *kind;         /* I32 [T]: the bank of experts of a token */
    struct erne_tensor *out_kind;     /* I32 [O]: that of the rows of out_rows */
    struct erne_tensor *hidden;       /* f32 [T, n_embd] of the last layer: from the
                                         decoder to the block that predicts further */
    /* That block's: */
    struct erne_tensor *pair;      /* f32 [T, 2 n_embd]: left to the graph */
    struct erne_tensor *same_rows; /* I32 [T]: 0, 1, 2 ... */
    struct erne_tensor *logits;   /* f32 [O, n_vocab] */
};

/* Builds the graph of the file's architecture into an uninitialised g. On failure g needs
 * no deinit. */
int erne_model_build(struct erne_graph *g, struct erne_model_io *io,
                     const struct erne_model_inputs *in, struct erne_error *err);

/* Every tensor the architecture needs is in the file, in the right shape and layout, so
 * that builders need not check. EFORMAT names the tensor. */
int erne_model_check_tensors(const struct erne_model_file *file, struct erne_error *err);

/* A weight of the file by its name, printf-like; NULL if the file has none. */
struct erne_tensor *erne_model_weight(struct erne_graph *g,
                                      const struct erne_model_file *file, const char *fmt,
                                      ...) ERNE_PRINTF(3, 4);

/* The families. They append to g and fill io. */
void erne_build_decoder(struct erne_graph *g, struct erne_model_io *io,
                        const struct erne_model_inputs *in);
void erne_build_mtp(struct erne_graph *g, struct erne_model_io *io,
                    const struct erne_model_inputs *in);

#endif
