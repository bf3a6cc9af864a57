/* footprint.h -- the memory that a model takes when it runs, known before its file is
 * written: the graphs of a session are built and placed as they will be, over an outline
 * of the file. */
#ifndef ERNE_FOOTPRINT_H
#define ERNE_FOOTPRINT_H

#include "runtime/model_file.h"

/* What a program whose memory is limited keeps free for itself while experts stream: it
 * grows when it computes, by pages of code and of libraries. */
enum { ERNE_GROWTH_BYTES = 8 << 20 };

struct erne_footprint {
    uint64_t weights;         /* all that the file holds of them */
    uint64_t experts;         /* the part of it that experts are */
    uint64_t experts_a_token; /* of these, what one token of text reads */
    uint64_t read_a_token;    /* of all weights, what a token of text reads */
    uint64_t kv_a_page;       /* keys and values of ERNE_KV_PAGE positions */
    uint64_t step;            /* activations and scratch of the largest step of text */
    uint64_t tables;          /* of the tokenizer, with its part of the file, and of the
                                 sampler */
    uint64_t threads;         /* stacks, and what libraries keep for each */
    uint64_t picture;         /* more, while the largest picture is looked at */
};

/* What is to be written, and how it is to run. */
struct erne_footprint_of {
    const struct erne_model_desc *desc;
    const struct erne_writer_tensor *tensors; /* [n_tensors], in file order */
    size_t n_tensors;
    const uint8_t *tokenizer;
    size_t tokenizer_bytes; /* 0: there is none */
    int32_t n_threads, n_batch;
    const char *kv_type;
};

/* The kernels are those of this build's first backend for host memory; on another
 * processor their scratch may differ by some MiB. */
int erne_footprint(struct erne_footprint *out, const struct erne_footprint_of *of,
                   struct erne_error *err);

/* Keys and values of n_ctx positions, with what is kept about each token. */
uint64_t erne_footprint_kv(const struct erne_footprint *f, int32_t n_ctx);

#endif
