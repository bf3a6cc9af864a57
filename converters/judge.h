/* judge.h -- how far the predictions of a rounded model are from the exact model's, on
 * the same tokens. The exact model's logits are kept in a file. */
#ifndef ERNE_JUDGE_H
#define ERNE_JUDGE_H

#include "platforms/platform.h"
#include "runtime/error.h"

struct judge {
    const int32_t *tokens;  /* [n_chunks, chunk]; not owned */
    size_t chunk, n_chunks; /* chunks are read one by one, each on its own */
    size_t n_vocab;
    char *path; /* of the logits */
    struct pf_file *file;
    struct pf_map map;
    float *rows; /* [step, n_vocab] */
};

/* Means over the tokens that have a next one in their chunk. */
struct judge_score {
    double kld;           /* from the exact model's distribution */
    double same_top;      /* share of tokens */
    double nll, nll_base; /* of the next token; base: in the exact model */
    int64_t n_tokens;
};

/* Lets the exact model read the tokens. path: written, removed by judge_deinit. After a
 * failure that is to be called, too. */
int judge_init(struct judge *judge, struct erne_engine *exact, const int32_t *tokens,
               size_t n_chunks, size_t chunk, const char *path, struct erne_error *err);
void judge_deinit(struct judge *judge);

/* Lets a model read the first n_chunks. */
int judge_score(struct judge_score *score, const struct judge *judge,
                struct erne_engine *engine, size_t n_chunks, struct erne_error *err);

#endif
