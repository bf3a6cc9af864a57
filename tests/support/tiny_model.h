/* tiny_model.h -- writes small random .erne files for tests of the runtime.
 * Weights come from a seed and have no meaning; shapes are the caller's. No tokenizer. */
#ifndef ERNE_TINY_MODEL_H
#define ERNE_TINY_MODEL_H

#include "runtime/model_desc.h"

/* A two-layer ERNIE of odd sizes: 3 query heads a KV head, heads x head_dim != n_embd. */
struct erne_model_desc tiny_model_desc(void);

/* Writes `path` with all matrices in `scheme` ("f32", "w4-g32"). */
int tiny_model_write(const char *path, const struct erne_model_desc *desc,
                     const char *scheme, uint64_t seed, struct erne_error *err);

/* Converts the checkpoint in folder `src` to `path`, in `scheme`. */
int tiny_model_convert(const char *path, const char *src, const char *scheme,
                       struct erne_error *err);

#endif
