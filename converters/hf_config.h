/* hf_config.h -- what hf_folder.c reads from the JSON files of a model folder. */
#ifndef ERNE_HF_CONFIG_H
#define ERNE_HF_CONFIG_H

#include "converters/json_file.h"
#include "converters/source.h"

/* The object that a group of settings is in, or the whole file: transformers puts what
 * the released files have at top level under text_config. */
struct hf_object {
    const struct json_file *file;
    const json_t *obj; /* NULL: the root */
};

/* Shapes and constants from config.json. What would change the results and is not
 * implemented is refused by name. */
int hf_config_read(struct source *src, const struct json_file *config,
                   struct erne_error *err);

/* A size that must be there. EFORMAT names the file and the key. */
int hf_check_size(const struct json_file *file, const char *key, int32_t value,
                  struct erne_error *err);

/* Of an error of erne_model_desc_check: the field that it begins with gets the name that
 * it has in config.json. */
void hf_name_key(enum erne_arch arch, struct erne_error *err);

/* Numbers that change the mathematics: only these values are implemented. */
struct hf_number {
    const char *key;
    double value;
};
int hf_refuse_numbers(const struct hf_object *text, const struct hf_number *numbers,
                      size_t n, struct erne_error *err);

/* An id on which generation ends, or a list of them. */
void hf_add_stops(struct source *src, const json_t *ids);

/* Mixture of experts (hf_moe.c). */
int hf_moe_read(struct erne_model_desc *desc, const struct hf_object *text,
                struct erne_error *err);

/* The vision tower, with limits of pictures as the released models have them; ids of
 * special tokens, -1 where config.json has none (hf_vision.c). */
int hf_vision_read(struct erne_model_desc *desc, const struct json_file *config,
                   struct erne_error *err);
/* What the released models have, ids -1 and sizes 0. */
struct erne_vision_desc hf_vision_defaults(enum erne_arch arch);
/* preprocessor_config.json: the limits of this model. */
int hf_preprocessor_read(struct erne_vision_desc *vision, const struct json_file *file,
                         struct erne_error *err);
/* Finds the special tokens by name in the vocabulary, which is right where config.json
 * has other ids: that is refused for the placeholder of images, told for the rest. */
int hf_vision_tokens(struct source *src, const char *dir, const struct source_opts *opts,
                     struct erne_error *err);

#endif
