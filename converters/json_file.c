/* json_file.c -- see json_file.h. JSON itself is jansson's. */
#include "converters/json_file.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"

/* ------------------------------------------------------------------ paths */

char *path_join(const char *dir, const char *name)
{
    const size_t n_dir = strlen(dir), n_name = strlen(name);
    char *path = malloc(n_dir + n_name + 2);

    if (!path)
        return NULL;
    memcpy(path, dir, n_dir);
    path[n_dir] = '/';
    memcpy(path + n_dir + 1, name, n_name + 1);
    return path;
}

const char *path_base(const char *path)
{
    const char *base = path;

    for (const char *p = path; *p; p++)
        if ((*p == '/' || *p == '\\') && p[1])
            base = p + 1;
    return base;
}

char *path_folder(const char *path)
{
    const size_t n = (size_t)(path_base(path) - path);
    char *folder = malloc(n + 2);

    if (!folder)
        return NULL;
    memcpy(folder, n != 0 ? path : ".", n != 0 ? n : 1);
    folder[n != 0 ? n : 1] = '\0';
    return folder;
}

/* ------------------------------------------------------------------ files */

int text_file_load(char **text, size_t *n_bytes, const char *path, struct erne_error *err)
{
    struct pf_file *file;
    uint64_t size;
    char *data = NULL;
    int st = pf_file_open(&file, path, PF_READ);

    if (st < 0)
        return erne_fail(err, st, "%s: %s", path, pf_last_error());
    st = pf_file_size(file, &size);
    if (st == 0 && size > TEXT_FILE_MAX)
        st = ERNE_EFORMAT;
    if (st == 0 && !(data = malloc((size_t)size + 1)))
        st = ERNE_ENOMEM;
    if (st == 0)
        st = pf_file_read_at(file, data, (size_t)size, 0);
    pf_file_close(&file);
    if (st < 0) {
        free(data);
        return erne_fail(err, st, "%s: cannot read: %s", path,
                         st == ERNE_EFORMAT ? "larger than any text file of a checkpoint"
                         : st == ERNE_EIO   ? pf_last_error()
                                            : erne_status_text(st));
    }
    assert(data);
    data[size] = '\0';
    *text = data;
    *n_bytes = (size_t)size;
    return ERNE_OK;
}

int json_object_parse(json_t **out, const char *text, size_t n_bytes, const char *what,
                      struct erne_error *err)
{
    json_error_t where;
    json_t *root = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &where);

    if (!root)
        return json_error_code(&where) == json_error_out_of_memory
                   ? erne_fail(err, ERNE_ENOMEM, "%s: out of memory", what)
                   : erne_fail(err, ERNE_EFORMAT, "%s:%d:%d: %s", what, where.line,
                               where.column, where.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return erne_fail(err, ERNE_EFORMAT, "%s: not a JSON object", what);
    }
    *out = root;
    return ERNE_OK;
}

int json_file_load(json_t **out, const char *path, struct erne_error *err)
{
    char *text = NULL;
    size_t n_bytes = 0;
    int st;

    ERNE_TRY(text_file_load(&text, &n_bytes, path, err));
    st = json_object_parse(out, text, n_bytes, path, err);
    free(text);
    return st;
}

/* ---------------------------------------------------------------- members */

/* NULL for absent and null members, which mean the same in configurations. */
static const json_t *member(const struct json_file *file, const json_t *obj,
                            const char *key)
{
    const json_t *value = json_object_get(obj ? obj : file->root, key);

    return json_is_null(value) ? NULL : value;
}

static int wrong_type(const struct json_file *file, const char *key, const char *want,
                      struct erne_error *err)
{
    return erne_fail(err, ERNE_EFORMAT, "%s: %s: expected %s", file->path, key, want);
}

int json_get_int(const struct json_file *file, const json_t *obj, const char *key,
                 int32_t *value, struct erne_error *err)
{
    const json_t *json = member(file, obj, key);

    if (!json)
        return ERNE_OK;
    if (!json_is_integer(json) || json_integer_value(json) < INT32_MIN ||
        json_integer_value(json) > INT32_MAX)
        return wrong_type(file, key, "an integer of 32 bits", err);
    *value = (int32_t)json_integer_value(json);
    return ERNE_OK;
}

int json_get_number(const struct json_file *file, const json_t *obj, const char *key,
                    double *value, struct erne_error *err)
{
    const json_t *json = member(file, obj, key);

    if (!json)
        return ERNE_OK;
    if (!json_is_number(json) || !isfinite(json_number_value(json)))
        return wrong_type(file, key, "a number", err);
    *value = json_number_value(json);
    return ERNE_OK;
}

int json_refuse_nulls(const struct json_file *file, const json_t *obj,
                      const char *const *keys, size_t n, struct erne_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (json_is_null(json_object_get(obj ? obj : file->root, keys[i])))
            return wrong_type(file, keys[i], "a value, not null", err);
    return ERNE_OK;
}

int json_get_bool(const struct json_file *file, const json_t *obj, const char *key,
                  bool *value, struct erne_error *err)
{
    const json_t *json = member(file, obj, key);

    if (!json)
        return ERNE_OK;
    if (!json_is_boolean(json))
        return wrong_type(file, key, "true or false", err);
    *value = json_is_true(json);
    return ERNE_OK;
}

int json_get_object(const struct json_file *file, const json_t *obj, const char *key,
                    const json_t **value, struct erne_error *err)
{
    const json_t *json = member(file, obj, key);

    if (!json)
        return ERNE_OK;
    if (!json_is_object(json))
        return wrong_type(file, key, "an object", err);
    *value = json;
    return ERNE_OK;
}

int json_get_text(const struct json_file *file, const json_t *obj, const char *key,
                  const char **value, struct erne_error *err)
{
    const json_t *json = member(file, obj, key);

    if (!json)
        return ERNE_OK;
    if (!json_is_string(json))
        return wrong_type(file, key, "a string", err);
    *value = json_string_value(json);
    return ERNE_OK;
}
