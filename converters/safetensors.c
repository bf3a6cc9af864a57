/* safetensors.c -- reads checkpoints in .safetensors files, of PyTorch ("-PT") and of
 * Paddle ("-Paddle"): one file, or shards with an index, beside config.json and tokenizer
 * files (hf_folder.c).
 *
 * A file is: header length (u64), a JSON header, data. The header gives each tensor's
 * type, shape and byte range relative to the start of the data
 * (https://github.com/huggingface/safetensors, README, "Format").
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/json_file.h"
#include "converters/names.h"
#include "converters/paddle_quant.h"
#include "runtime/le.h"

/* A header describes a tensor in some 130 bytes: room for 200,000 of them. */
enum { LENGTH_BYTES = 8, HEADER_MAX = 32 * 1024 * 1024 };

enum { FILE_NAME_MAX = 64 };

struct shard {
    struct source *src;
    const struct source_opts *opts;
    const char *stem;      /* "model": of the file names */
    bool is_adapter;       /* names are left as they are */
    json_t *weight_map;    /* of the index; NULL for a single file */
    json_t *missing;       /* what of it was not found yet */
    const char *file_name; /* as the index calls it */
    size_t file;
    uint64_t data_start;
    uint64_t data_end; /* of the last tensor, behind data_start; 0: there is none */
};

/* ---------------------------------------------------------------- tensors */

/* More dimensions than any tensor of these models has. */
enum { MAX_DIMS = 4 };

struct shape {
    int64_t dim[MAX_DIMS];
    size_t n_dims;
};

static int read_shape(struct shape *shape, const json_t *json, const char *name,
                      const char *path, struct erne_error *err)
{
    if (!json_is_array(json))
        return erne_fail(err, ERNE_EFORMAT, "%s: %s: no shape", path, name);
    shape->n_dims = json_array_size(json);
    if (shape->n_dims > MAX_DIMS)
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s: %zu dimensions", path, name,
                         shape->n_dims);
    for (size_t i = 0; i < shape->n_dims; i++) {
        const json_t *d = json_array_get(json, i);

        if (!json_is_integer(d) || json_integer_value(d) < 1 ||
            json_integer_value(d) > INT32_MAX)
            return erne_fail(err, ERNE_EFORMAT,
                             "%s: %s: dimension %zu is not in 1 .. 2^31 - 1", path, name,
                             i);
        shape->dim[i] = json_integer_value(d);
    }
    return ERNE_OK;
}

static int read_range(struct source_tensor *t, const json_t *range,
                      struct shard *shard, struct erne_error *err)
{
    const struct source_file *f = &shard->src->files[shard->file];
    const json_t *begin = json_array_get(range, 0), *end = json_array_get(range, 1);

    if (json_array_size(range) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return erne_fail(err, ERNE_EFORMAT, "%s: %s: data_offsets are not two integers",
                         f->path, t->stored);
    const int64_t first = json_integer_value(begin), last = json_integer_value(end);

    if (first < 0 || last < first || (uint64_t)last > f->n_bytes - shard->data_start)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %s: data_offsets [%" PRId64 ", %" PRId64
                         "] are not inside the file",
                         f->path, t->stored, first, last);
    t->offset = shard->data_start + (uint64_t)first;
    t->n_bytes = (uint64_t)(last - first);
    if ((uint64_t)last > shard->data_end)
        shard->data_end = (uint64_t)last;
    return ERNE_OK;
}

/* With an index, every tensor must be where the index says. */
static int check_index(const struct shard *shard, const char *name,
                       struct erne_error *err)
{
    const char *want = json_string_value(json_object_get(shard->weight_map, name));

    if (!want || strcmp(want, shard->file_name) != 0)
        return erne_fail(err, ERNE_EFORMAT, "%s: %s is in %s, the index says %s",
                         shard->src->files[shard->file].path, name, shard->file_name,
                         want ? want : "nothing of it");
    json_object_del(shard->missing, name);
    return ERNE_OK;
}

/* Matrices of all experts in one tensor [experts, n, k]: each becomes one of its own. */
static int add_slices(struct source *src, const struct source_tensor *all,
                      const struct shape *shape, struct erne_error *err)
{
    const char *path = src->files[all->file].path;
    const int64_t n_slices = shape->dim[0];
    struct source_tensor t = *all;

    if (src->desc.moe.n_experts == 0 || all->n_bytes % (uint64_t)n_slices != 0 ||
        !tensor_slice_name(t.name, all->name, 0, 0))
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: %s: 3 dimensions", path,
                         all->stored);
    if (n_slices != src->desc.moe.n_experts)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %s holds %" PRId64 " experts, not %" PRId32, path,
                         all->stored, n_slices, src->desc.moe.n_experts);
    t.n = shape->dim[1];
    t.k = shape->dim[2];
    t.n_bytes = all->n_bytes / (uint64_t)n_slices;
    for (int64_t i = 0; i < n_slices; i++) {
        tensor_slice_name(t.name, all->name, i, src->desc.moe.n_experts);
        t.offset = all->offset + (uint64_t)i * t.n_bytes;
        ERNE_TRY(source_add_tensor(src, &t, err));
    }
    return ERNE_OK;
}

static int add_shaped(struct source *src, struct source_tensor *t,
                      const struct shape *shape, struct erne_error *err)
{
    t->n = shape->n_dims > 0 ? shape->dim[0] : 1;
    t->k = 1;
    if (shape->n_dims == 3)
        return add_slices(src, t, shape, err);
    for (size_t i = 1; i < shape->n_dims; i++) { /* the kernel of a convolution: flat */
        t->k *= shape->dim[i];
        if (t->k > INT32_MAX)
            return erne_fail(err, ERNE_EFORMAT, "%s: %s: rows above 2^31 - 1",
                             src->files[t->file].path, t->stored);
    }
    return source_add_tensor(src, t, err);
}

static bool is_skipped(const struct shard *shard, const char *name)
{
    if (shard->is_adapter)
        return false;
    return tensor_is_unused(name) || (tensor_is_mtp(name) && !shard->opts->with_mtp);
}

static int take_name(const struct shard *shard, struct source_tensor *t, const char *name)
{
    strcpy(t->stored, name);
    if (!shard->is_adapter)
        return tensor_canonical_name(t->name, name);
    strcpy(t->name, name);
    return ERNE_OK;
}

static int read_tensor(struct shard *shard, const char *name, const json_t *entry,
                       struct erne_error *err)
{
    const char *path = shard->src->files[shard->file].path;
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    struct source_tensor t = { .file = shard->file };
    struct shape shape = { 0 };

    if (strlen(name) >= sizeof(t.stored) || take_name(shard, &t, name) < 0)
        return erne_fail(err, ERNE_EUNSUPPORTED, "%s: unknown tensor %.60s...", path,
                         name);
    if (shard->weight_map)
        ERNE_TRY(check_index(shard, name, err));
    ERNE_TRY(read_range(&t, json_object_get(entry, "data_offsets"), shard, err));
    if (is_skipped(shard, t.name)) {
        source_note(shard->opts, ERNE_LOG_INFO, "%s is not needed and left out", name);
        return ERNE_OK;
    }
    if (!dtype)
        return erne_fail(err, ERNE_EFORMAT, "%s: %s: no dtype", path, name);
    t.type = block_type_by_name(dtype);
    if (!t.type)
        t.type = paddle_quant_type(dtype, t.name);
    if (!t.type || t.type->n_elems != 1)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "%s: %s: type %s; only F32, F16 and BF16 are read", path, name,
                         dtype);
    if (strncmp(name, "ernie.", 6) == 0)
        shard->src->has_paddle_names = true;
    ERNE_TRY(read_shape(&shape, json_object_get(entry, "shape"), name, path, err));
    return add_shaped(shard->src, &t, &shape, err);
}

/* ------------------------------------------------------------------ files */

static int load_header(struct shard *shard, json_t **header, struct erne_error *err)
{
    const struct source_file *f = &shard->src->files[shard->file];
    uint8_t length[LENGTH_BYTES];
    uint64_t n;
    char *text;
    int st;

    if (f->n_bytes < LENGTH_BYTES)
        return erne_fail(err, ERNE_EFORMAT, "%s: too short for a safetensors file",
                         f->path);
    st = pf_file_read_at(f->file, length, LENGTH_BYTES, 0);
    if (st < 0)
        return erne_fail(err, st, "%s: %s", f->path, pf_last_error());
    n = erne_le64(length);
    if (n > f->n_bytes - LENGTH_BYTES || n > HEADER_MAX)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: a header of %" PRIu64 " bytes in a file of %" PRIu64,
                         f->path, n, f->n_bytes);
    text = malloc((size_t)n + 1);
    if (!text)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", f->path);
    st = pf_file_read_at(f->file, text, (size_t)n, LENGTH_BYTES);
    if (st < 0)
        erne_fail(err, st, "%s: %s", f->path, pf_last_error());
    else
        st = json_object_parse(header, text, (size_t)n, f->path, err);
    free(text);
    shard->data_start = LENGTH_BYTES + n;
    shard->data_end = 0;
    return st;
}

/* The format leaves no bytes unnamed: with more of them the file has another length than
 * its header was written for. */
static int check_end(const struct shard *shard, struct erne_error *err)
{
    const struct source_file *f = &shard->src->files[shard->file];
    const uint64_t n_data = f->n_bytes - shard->data_start;

    if (shard->data_end > 0 && shard->data_end < n_data)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %" PRIu64 " bytes behind the last tensor", f->path,
                         n_data - shard->data_end);
    return ERNE_OK;
}

static int read_shard(struct shard *shard, const char *path, struct erne_error *err)
{
    json_t *header = NULL, *entry;
    const char *name;
    int st = ERNE_OK;

    ERNE_TRY(source_add_file(shard->src, path, err));
    shard->file = shard->src->n_files - 1;
    ERNE_TRY(load_header(shard, &header, err));
    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        st = read_tensor(shard, name, entry, err);
        if (st < 0)
            break;
    }
    json_decref(header);
    return st < 0 ? st : check_end(shard, err);
}

/* ----------------------------------------------------------------- shards */

/* Shards lie beside the index: a name that leads elsewhere is refused. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && !strpbrk(name, "/\\:");
}

static bool is_open(const struct source *src, const char *name)
{
    for (size_t i = 0; i < src->n_files; i++)
        if (strcmp(path_base(src->files[i].path), name) == 0)
            return true;
    return false;
}

static int read_shard_of_index(struct shard *shard, const char *dir,
                               struct erne_error *err)
{
    char *path;
    int st;

    if (!is_plain_name(shard->file_name))
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: the index names \"%s\", which is not a file name", dir,
                         shard->file_name);
    if (is_open(shard->src, shard->file_name))
        return ERNE_OK;
    path = path_join(dir, shard->file_name);
    if (!path)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", dir);
    st = read_shard(shard, path, err);
    free(path);
    return st;
}

static int read_sharded(struct shard *shard, const char *dir, const char *index_path,
                        struct erne_error *err)
{
    json_t *index, *file_name;
    const char *name;
    int st = ERNE_OK;

    ERNE_TRY(json_file_load(&index, index_path, err));
    shard->weight_map = json_object_get(index, "weight_map");
    shard->missing = json_copy(shard->weight_map);
    if (json_object_size(shard->weight_map) == 0)
        st = erne_fail(err, ERNE_EFORMAT, "%s: no weight_map", index_path);
    else if (!shard->missing)
        st = erne_fail(err, ERNE_ENOMEM, "%s: out of memory", index_path);
    json_object_foreach(shard->weight_map, name, file_name)
    {
        if (st < 0)
            break;
        shard->file_name = json_string_value(file_name);
        if (!shard->file_name)
            st = erne_fail(err, ERNE_EFORMAT, "%s: %s: no file name", index_path, name);
        else
            st = read_shard_of_index(shard, dir, err);
    }
    if (st == 0 && json_object_size(shard->missing) != 0)
        st = erne_fail(err, ERNE_EFORMAT, "%s: %s is in none of the shards", index_path,
                       json_object_iter_key(json_object_iter(shard->missing)));
    json_decref(shard->missing);
    json_decref(index);
    return st;
}

/* The two files that a folder may have: all weights, or the index of shards. */
struct places {
    char *single, *index;
};

static int find_places(struct places *places, const char *dir, const char *stem,
                       struct erne_error *err)
{
    char name[FILE_NAME_MAX];

    snprintf(name, sizeof(name), "%s.safetensors", stem);
    places->single = path_join(dir, name);
    snprintf(name, sizeof(name), "%s.safetensors.index.json", stem);
    places->index = path_join(dir, name);
    if (places->single && places->index)
        return ERNE_OK;
    free(places->single);
    free(places->index);
    *places = (struct places){ NULL, NULL };
    return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", dir);
}

/* A folder has either one file or an index; as transformers does, one file wins. */
static int read_folder(struct shard *shard, const char *dir, struct erne_error *err)
{
    struct places places;
    int st;

    ERNE_TRY(find_places(&places, dir, shard->stem, err));
    if (pf_path_exists(places.single))
        st = read_shard(shard, places.single, err);
    else if (pf_path_exists(places.index))
        st = read_sharded(shard, dir, places.index, err);
    else
        st = erne_fail(err, ERNE_EFORMAT,
                       "%s: neither %s.safetensors nor %s.safetensors.index.json", dir,
                       shard->stem, shard->stem);
    free(places.single);
    free(places.index);
    return st;
}

/* Whether any of the shards of an index is there. */
static int find_shards(const char *dir, const char *index_path, bool *found,
                       struct erne_error *err)
{
    json_t *index, *file_name;
    const char *name;

    ERNE_TRY(json_file_load(&index, index_path, err));
    json_object_foreach(json_object_get(index, "weight_map"), name, file_name)
    {
        const char *base = json_string_value(file_name);
        char *path = base && is_plain_name(base) ? path_join(dir, base) : NULL;

        *found = path && pf_path_exists(path);
        free(path);
        if (*found)
            break;
    }
    json_decref(index);
    return ERNE_OK;
}

/* Whether a folder has any of its weights. */
static int find_weights(const char *dir, const char *stem, bool *found,
                        struct erne_error *err)
{
    struct places places;
    int st = ERNE_OK;

    ERNE_TRY(find_places(&places, dir, stem, err));
    *found = pf_path_exists(places.single);
    if (!*found && pf_path_exists(places.index))
        st = find_shards(dir, places.index, found, err);
    free(places.single);
    free(places.index);
    return st;
}

int safetensors_read_adapter(struct source *src, const char *dir, const char *stem,
                             const struct source_opts *opts, struct erne_error *err)
{
    struct shard shard = { .src = src, .opts = opts, .stem = stem, .is_adapter = true };

    src->format = "safetensors";
    ERNE_TRY(read_folder(&shard, dir, err));
    return source_sort_tensors(src, err);
}

static int read_checkpoint(struct shard *shard, const char *path, const char *dir,
                           struct erne_error *err)
{
    const bool is_dir = pf_path_is_dir(path);
    struct source *src = shard->src;
    bool has_weights = true;

    if (is_dir && shard->opts->may_lack_weights)
        ERNE_TRY(find_weights(dir, shard->stem, &has_weights, err));
    src->is_outline = !has_weights;
    ERNE_TRY(hf_folder_read(src, dir, shard->opts, err));
    if (src->is_outline)
        return ERNE_OK;
    return is_dir ? read_folder(shard, dir, err) : read_shard(shard, path, err);
}

int safetensors_read(struct source *src, const char *path, const struct source_opts *opts,
                     struct erne_error *err)
{
    struct shard shard = { .src = src, .opts = opts, .stem = "model" };
    char *dir =
        pf_path_is_dir(path) ? source_copy_text(path, strlen(path)) : path_folder(path);
    int st;

    if (!dir)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    src->format = "safetensors";
    src->may_transpose = true;
    st = read_checkpoint(&shard, path, dir, err);
    free(dir);
    return st;
}
