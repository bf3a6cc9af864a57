/* golden.h -- a golden case: a checkpoint, a prompt, and what transformers computes.
 * Folders of tests/models/golden, made by tests/oracle/make_*.py. */
#ifndef ERNE_GOLDEN_H
#define ERNE_GOLDEN_H

#include "runtime/include/erne.h"

enum { GOLDEN_MAX_TOKENS = 512, GOLDEN_MAX_MEDIA = 8, GOLDEN_MAX_PATH = 1024 };

/* One golden case as read from its folder. */
struct golden {
    const char *dir, *work_dir;
    char src[GOLDEN_MAX_PATH]; /* what is converted: model.gguf in dir, or the folder that
                           model.txt names, else dir */
    struct erne_media *media[GOLDEN_MAX_MEDIA]; /* fill the placeholders */
    size_t n_media;
    int32_t tokens[GOLDEN_MAX_TOKENS];
    size_t n_tokens, n_vocab;
    float *logits; /* [n_tokens, n_vocab] */
    double range;  /* largest minus smallest golden logit */
    bool is_moe;   /* its tokens choose experts */
};

/* Every failure ends the test. dir and work_dir are set. */
void golden_read(struct golden *g);
/* As that, of a program called with CASE_DIR WORK_DIR; false, and usage told, when it was
 * not. */
bool golden_begin(struct golden *g, int argc, char **argv);
void golden_deinit(struct golden *g);

/* The data of a little-endian float32 .npy file of the folder, to be freed; NULL when
 * there is no such file. */
float *golden_npy(const struct golden *g, const char *name, size_t *n_floats);

/* Path of the case converted to a scheme; converts it there. */
void golden_path(char path[GOLDEN_MAX_PATH], const struct golden *g, const char *scheme);
void golden_convert(const struct golden *g, const char *scheme);

/* A session for the case: n_ctx is GOLDEN_MAX_TOKENS where opts leave it to the model. */
struct erne_session *golden_session(struct erne_engine *engine,
                                    struct erne_session_opts opts);
void golden_add_media(const struct golden *g, struct erne_session *session);
/* The prompt, its media added before, `chunk` tokens at a time (0: all at once), of which
 * only the last one's logits are asked for: they replace its row of logits [n_tokens,
 * n_vocab]. */
void golden_last_rows(const struct golden *g, struct erne_session *session, size_t chunk,
                      float *logits);

#endif
