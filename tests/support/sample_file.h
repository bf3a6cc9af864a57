/* sample_file.h -- a small .erne file of known content for tests of the container: a
 * tensor of each kind of layout, filled with bytes that depend on their place only.
 * It is no model that could run; see tiny_model.h for one. */
#ifndef ERNE_TEST_SAMPLE_FILE_H
#define ERNE_TEST_SAMPLE_FILE_H

#include "runtime/model_file.h"

enum { SAMPLE_N_TENSORS = 6, SAMPLE_N_TOKENS = 3, SAMPLE_N_ROWS = 2 };

struct sample_file {
    struct erne_model_desc desc; /* texts are literals */
    char *manifest;
    uint8_t tokenizer[37];
    struct erne_writer_tensor tensors[SAMPLE_N_TENSORS];
    int32_t tokens[SAMPLE_N_TOKENS]; /* of golden logits */
    struct erne_writer_plan plan;    /* of the above; sync_bytes is 0 */
};

int sample_init(struct sample_file *s, struct erne_error *err);
void sample_deinit(struct sample_file *s);

/* Writes tensor i and reports it as done. */
int sample_write_tensor(const struct sample_file *s, struct erne_model_writer *w,
                        size_t i, struct erne_error *err);
/* What is known of tensor i. */
struct erne_tensor_report sample_report(size_t i);
/* Golden logit i of all rows. */
float sample_logit(size_t i);

/* Writes what is not done yet and finishes; w is freed in any case. */
int sample_complete(const struct sample_file *s, struct erne_model_writer **w,
                    struct erne_error *err);
/* The whole file. */
int sample_write(const struct sample_file *s, const char *path, struct erne_error *err);

/* A file's bytes, malloc'ed; NULL if that is impossible. And the way back. */
uint8_t *sample_load(const char *path, size_t *n_bytes);
int sample_store(const char *path, const uint8_t *data, size_t n_bytes);

/* The sample and its bytes as written in one go. init leaves the file at `path`. */
struct sample_golden {
    struct sample_file sample;
    uint8_t *bytes;
    size_t n_bytes;
};

int sample_golden_init(struct sample_golden *g, const char *path, struct erne_error *err);
void sample_golden_deinit(struct sample_golden *g);

#endif
