/* inspect.h -- the inside of erne_file_inspect: inspect.c writes what a file holds,
 * inspect_rounding.c sums up what its tensors say of their rounding. */
#ifndef ERNE_INSPECT_H
#define ERNE_INSPECT_H

#include "runtime/model_file.h"

/* Where the text goes; nothing is written after the first failure. */
struct inspection {
    erne_write_fn write;
    void *user;
    int status;
};

void inspect_print(struct inspection *out, const char *fmt, ...) ERNE_PRINTF(2, 3);

/* What a tensor of the file is to the model. */
struct inspect_part {
    bool is_known; /* else nothing: the model needs no tensor of its name */
    enum erne_tensor_role role;
    int32_t layer, expert; /* -1: outside */
};

/* [mf->n_tensors], free() it. */
int inspect_parts(struct inspect_part **out, const struct erne_model_file *mf);

/* Whether it is known how many tokens of a text went to the tensor. */
bool inspect_has_tokens(const struct erne_model_file *mf, const struct inspect_part *part,
                        const struct erne_file_tensor *t);

/* Errors by kind of matrix, and which experts the calibration's text reached; nothing for
 * files that do not tell. ENOMEM. */
int inspect_rounding(struct inspection *out, const struct erne_model_file *mf,
                     const struct inspect_part *parts);

#endif
