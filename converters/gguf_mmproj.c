/* gguf_mmproj.c -- the vision tower and projector of PaddleOCR-VL, which llama.cpp keeps
 * in a GGUF file of architecture "clip" (mmproj). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "converters/gguf.h"
#include "converters/hf_config.h"
#include "converters/json_file.h"

/* ---------------------------------------------------------------- finding */

static bool is_mmproj(const char *name)
{
    const size_t n = strlen(name), n_suffix = strlen(".gguf");

    return strstr(name, "mmproj") && n > n_suffix &&
           strcmp(name + n - n_suffix, ".gguf") == 0;
}

/* The one file of the folder that is called so, malloc'ed; with several, none is right.
 */
static int find_in(char **found, const char *folder, char *const *names, size_t n,
                   struct erne_error *err)
{
    const char *name = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!is_mmproj(names[i]))
            continue;
        if (name)
            return erne_fail(err, ERNE_EINVAL,
                             "%s: %s or %s? Name the file of the vision tower (--mmproj)",
                             folder, name, names[i]);
        name = names[i];
    }
    if (!name)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: the vision tower is in a file of its own (mmproj...gguf), "
                         "which is not there: name it (--mmproj)",
                         folder);
    *found = path_join(folder, name);
    return *found ? ERNE_OK : erne_fail(err, ERNE_ENOMEM, "%s: out of memory", folder);
}

static int find_beside(char **found, const char *path, struct erne_error *err)
{
    char *folder = path_folder(path), **names = NULL;
    size_t n_names = 0;
    int st;

    if (!folder)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    st = pf_dir_list(folder, &names, &n_names);
    if (st < 0) {
        erne_fail(err, st, "%s: %s", folder, pf_last_error());
    } else {
        st = find_in(found, folder, names, n_names, err);
        pf_dir_free(names, n_names);
    }
    free(folder);
    return st;
}

/* ---------------------------------------------------------------- reading */

static int read_triple(const struct gguf_meta *meta, const char *key, float triple[3],
                       struct erne_error *err)
{
    const struct gguf_pair *pair;

    ERNE_TRY(gguf_get_array(meta, key, GGUF_F32, &pair, err));
    if (!pair)
        return ERNE_OK;
    if (pair->n != 3)
        return erne_fail(err, ERNE_EFORMAT, "%s: %s: expected 3 numbers", meta->path,
                         key);
    for (uint64_t i = 0; i < 3; i++) {
        const uint32_t bits = gguf_array_u32(meta, pair, i);

        memcpy(&triple[i], &bits, sizeof(bits));
    }
    return ERNE_OK;
}

static int check_projector(const struct gguf_meta *meta, struct erne_error *err)
{
    static const char *const keys[] = { "clip.projector_type",
                                        "clip.vision.projector_type" };
    struct gguf_text arch = { "", 0 }, type = { "", 0 };

    ERNE_TRY(gguf_get_text(meta, "general.architecture", &arch, err));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(keys); i++)
        ERNE_TRY(gguf_get_text(meta, keys[i], &type, err));
    if (gguf_text_is(arch, "clip") && gguf_text_is(type, "paddleocr"))
        return ERNE_OK;
    return erne_fail(
        err, ERNE_EUNSUPPORTED,
        "%s: architecture %.*s with projector \"%.*s\" is no vision tower of "
        "PaddleOCR-VL",
        meta->path, gguf_text_shown(arch), arch.text, gguf_text_shown(type), type.text);
}

static int read_vision(struct erne_vision_desc *v, const struct gguf_meta *meta,
                       struct erne_error *err)
{
    const struct {
        const char *key;
        int32_t *value;
    } sizes[] = {
        { "clip.vision.block_count", &v->n_layers },
        { "clip.vision.embedding_length", &v->n_embd },
        { "clip.vision.attention.head_count", &v->n_heads },
        { "clip.vision.feed_forward_length", &v->n_ff },
        { "clip.vision.patch_size", &v->patch },
        { "clip.vision.spatial_merge_size", &v->merge },
        { "clip.vision.image_min_pixels", &v->min_pixels },
        { "clip.vision.image_max_pixels", &v->max_pixels },
    };
    double eps = 1e-6;

    *v = hf_vision_defaults(ERNE_ARCH_PADDLEOCR_VL);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(sizes); i++)
        ERNE_TRY(gguf_get_size(meta, sizes[i].key, sizes[i].value, err));
    ERNE_TRY(
        gguf_get_number(meta, "clip.vision.attention.layer_norm_epsilon", &eps, err));
    v->eps = (float)eps;
    ERNE_TRY(read_triple(meta, "clip.vision.image_mean", v->mean, err));
    return read_triple(meta, "clip.vision.image_std", v->std, err);
}

/* The file does not say how many positions were learned: the tensor does. */
static int read_side(struct source *src, const struct gguf_meta *meta,
                     struct erne_error *err)
{
    static const char *const name =
        "visual.vision_model.embeddings.position_embedding.weight";

    for (size_t i = 0; i < src->n_tensors; i++)
        if (strcmp(src->tensors[i].name, name) == 0)
            src->desc.vision.n_side = (int32_t)lround(sqrt((double)src->tensors[i].n));
    return src->desc.vision.n_side > 0
               ? ERNE_OK
               : erne_fail(err, ERNE_EFORMAT, "%s: no v.position_embd.weight",
                           meta->path);
}

static int read_file(struct source *src, const char *path, struct erne_error *err)
{
    struct gguf_meta meta = { 0 };
    struct pf_map map;
    int st;

    ERNE_TRY(source_add_file(src, path, err));
    st = pf_map_file(&map, src->files[src->n_files - 1].file);
    if (st < 0)
        return erne_fail(err, st, "%s: %s", path, pf_last_error());
    st = gguf_meta_parse(&meta, map.data, map.n_bytes, path, err);
    if (st == 0)
        st = check_projector(&meta, err);
    if (st == 0)
        st = read_vision(&src->desc.vision, &meta, err);
    if (st == 0)
        st = gguf_add_tensors(src, &meta, err);
    if (st == 0)
        st = read_side(src, &meta, err);
    gguf_meta_deinit(&meta);
    pf_map_close(&map);
    return st;
}

int gguf_mmproj_read(struct source *src, const char *path, const struct source_opts *opts,
                     struct erne_error *err)
{
    char *beside = NULL;
    int st;

    if (opts->mmproj)
        return read_file(src, opts->mmproj, err);
    ERNE_TRY(find_beside(&beside, path, err));
    source_note(opts, ERNE_LOG_INFO, "the vision tower is %s", beside);
    st = read_file(src, beside, err);
    free(beside);
    return st;
}
