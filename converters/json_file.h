/* json_file.h -- small text and JSON files of a checkpoint folder, and typed reading of
 * JSON members with errors that name the file and the key. */
#ifndef ERNE_JSON_FILE_H
#define ERNE_JSON_FILE_H

#include <jansson.h>

#include "runtime/error.h"

/* No text file of a checkpoint is larger; tokenizer.json of a 100,000-token vocabulary
 * has about 10 MB. */
enum { TEXT_FILE_MAX = 256 * 1024 * 1024 };

/* `dir`/`name`, malloc'ed; NULL without memory. */
char *path_join(const char *dir, const char *name);
/* What follows the last separator; the path itself if there is none. */
const char *path_base(const char *path);
/* The folder that holds `path` ("." for a bare name), malloc'ed; NULL without memory. */
char *path_folder(const char *path);

/* The whole file, 0-terminated, malloc'ed. EIO, EFORMAT above TEXT_FILE_MAX, ENOMEM. */
int text_file_load(char **text, size_t *n_bytes, const char *path,
                   struct erne_error *err);

/* One JSON object; duplicate keys are refused. `what` names the text in errors. */
int json_object_parse(json_t **out, const char *text, size_t n_bytes, const char *what,
                      struct erne_error *err);
int json_file_load(json_t **out, const char *path, struct erne_error *err);

/* A file whose members are being read. */
struct json_file {
    json_t *root;
    const char *path;
};

/* Member `key` (of object `obj` where given, else of the root). Absent and null members
 * leave *value alone; another type, or a number outside the range, is EFORMAT. */
int json_get_int(const struct json_file *file, const json_t *obj, const char *key,
                 int32_t *value, struct erne_error *err);
int json_get_number(const struct json_file *file, const json_t *obj, const char *key,
                    double *value, struct erne_error *err);
/* EFORMAT when one of keys [n] is there but null: for members whose default stands for
 * their absence alone. */
int json_refuse_nulls(const struct json_file *file, const json_t *obj,
                      const char *const *keys, size_t n, struct erne_error *err);
int json_get_bool(const struct json_file *file, const json_t *obj, const char *key,
                  bool *value, struct erne_error *err);
/* *value points into the JSON tree. */
int json_get_object(const struct json_file *file, const json_t *obj, const char *key,
                    const json_t **value, struct erne_error *err);
int json_get_text(const struct json_file *file, const json_t *obj, const char *key,
                  const char **value, struct erne_error *err);

#endif
