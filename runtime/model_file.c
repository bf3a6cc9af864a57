/* model_file.c -- opens a .erne file: maps it, checks it, and lists its tensors.
 *
 * The order of the checks matters: nothing is used before what vouches for it. Size and
 * magic, the header's hash, the end marker, the places of the sections, their hashes, and
 * only then the records of the table and the manifest's text.
 */
#include "runtime/model_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/model_format.h"

/* ----------------------------------------------------------------- header */

static int check_end(const struct erne_disk_header *header, const struct pf_map *map,
                     struct erne_error *err)
{
    struct erne_disk_trailer trailer;

    if (map->n_bytes < header->file_bytes)
        return erne_fail(err, ERNE_EFORMAT,
                         "truncated or incomplete: %zu of %" PRIu64 " bytes",
                         map->n_bytes, header->file_bytes);
    if (map->n_bytes > header->file_bytes)
        return erne_fail(err, ERNE_EFORMAT, "%" PRIu64 " bytes after the end",
                         map->n_bytes - header->file_bytes);
    memcpy(&trailer, map->data + map->n_bytes - sizeof(trailer), sizeof(trailer));
    if (memcmp(trailer.magic, ERNE_MAGIC_TAIL, sizeof(trailer.magic)) != 0 ||
        trailer.check != erne_trailer_hash(&trailer) ||
        trailer.file_bytes != header->file_bytes || trailer.header_xxh3 != header->xxh3)
        return erne_fail(err, ERNE_EFORMAT,
                         "truncated or incomplete: the end marker is missing");
    return ERNE_OK;
}

/* is_part: the writer has not got to the end yet. */
static int read_header(struct erne_disk_header *header, const struct pf_map *map,
                       bool is_part, struct erne_error *err)
{
    if (map->n_bytes < sizeof(header->magic) ||
        memcmp(map->data, ERNE_MAGIC_HEAD, sizeof(header->magic)) != 0)
        return erne_fail(err, ERNE_EFORMAT, "not an erne model file");
    if (map->n_bytes < sizeof(*header) + sizeof(struct erne_disk_trailer))
        return erne_fail(err, ERNE_EFORMAT, "truncated or incomplete: only %zu bytes",
                         map->n_bytes);
    memcpy(header, map->data, sizeof(*header));
    if (header->xxh3 != erne_header_hash(header))
        return erne_fail(err, ERNE_EFORMAT, "the header is damaged");
    if (header->version != ERNE_FORMAT_VERSION)
        return erne_fail(err, ERNE_EUNSUPPORTED,
                         "format version %" PRIu32 ", this build reads %d",
                         header->version, ERNE_FORMAT_VERSION);
    if (is_part && map->n_bytes == header->file_bytes)
        return ERNE_OK;
    return check_end(header, map, err);
}

/* --------------------------------------------------------------- sections */

static const char *const section_names[] = {
#define X(NAME, name, number) [(number)-1] = #name,
    ERNE_SECTION_LIST(X)
#undef X
};

static const struct erne_disk_section *section_of(const struct erne_disk_header *header,
                                                  enum erne_section number)
{
    return &header->sections[number - 1];
}

/* Files of before golden logits have nothing where their section is listed. */
static bool is_absent(const struct erne_disk_section *s, uint32_t number)
{
    return number == ERNE_SECTION_GOLDEN && s->number == 0 && s->offset == 0 &&
           s->n_bytes == 0 && s->xxh3 == 0;
}

/* What a writer fills in last. */
static bool comes_late(uint32_t number)
{
    return number == ERNE_SECTION_TENSORS || number == ERNE_SECTION_GOLDEN;
}

/* Sections are all there, in order, apart, and inside the file; the hashes fit. */
static int check_sections(const struct erne_disk_header *header, const struct pf_map *map,
                          bool is_part, struct erne_error *err)
{
    const uint64_t limit = map->n_bytes - sizeof(struct erne_disk_trailer);
    uint64_t end = sizeof(*header);

    for (uint32_t i = 0; i < ERNE_N_SECTIONS; i++) {
        const struct erne_disk_section *s = &header->sections[i];

        if (s->reserved == 0 && is_absent(s, i + 1))
            continue;
        if (s->number != i + 1 || s->reserved != 0)
            return erne_fail(err, ERNE_EFORMAT, "section %" PRIu32 " is unknown",
                             s->number);
        if (s->offset < end || s->offset > limit || s->n_bytes > limit - s->offset)
            return erne_fail(err, ERNE_EFORMAT,
                             "section %s is outside the file or overlaps another",
                             section_names[i]);
        end = s->offset + s->n_bytes;
        if (s->number != ERNE_SECTION_DATA && !(is_part && comes_late(s->number)) &&
            s->xxh3 != XXH3_64bits(map->data + s->offset, (size_t)s->n_bytes))
            return erne_fail(err, ERNE_EFORMAT, "section %s is damaged",
                             section_names[i]);
    }
    return ERNE_OK;
}

/* ----------------------------------------------------------- tensor table */

static int read_report(struct erne_file_tensor *t, const struct erne_disk_record *r,
                       struct erne_error *err)
{
    if (r->has_report > 1)
        return erne_fail(err, ERNE_EFORMAT, "tensor %s has a report of an unknown kind",
                         t->name);
    if (r->has_report == 0 && (r->n_tokens != 0 || !(r->error >= 0.0f && r->error <= 0)))
        return erne_fail(err, ERNE_EFORMAT, "tensor %s has numbers but no report",
                         t->name);
    if (!isfinite(r->error) || r->error < 0.0f)
        return erne_fail(err, ERNE_EFORMAT,
                         "tensor %s: its error is %g, not a number from 0 on", t->name,
                         (double)r->error);
    t->report =
        (struct erne_tensor_report){ r->has_report == 1, r->error, r->n_tokens };
    return ERNE_OK;
}

/* end: where the tensor before ends; moves on. */
static int read_record(struct erne_file_tensor *t, const struct erne_disk_record *r,
                       uint64_t *end, uint64_t limit, struct erne_error *err)
{
    if (r->check != erne_record_hash(r) || !erne_tensor_name_is_valid(r->name))
        return erne_fail(err, ERNE_EFORMAT, "a record is damaged or was never written");
    memcpy(t->name, r->name, sizeof(t->name));
    t->scheme = (struct erne_scheme){ r->codec, r->layout, r->asym, r->group };
    t->n = r->n;
    t->k = r->k;
    t->offset = r->offset;
    t->n_bytes = r->n_bytes;
    t->xxh3 = r->xxh3;
    if (r->reserved != 0 || erne_planes_init(&t->planes, t->scheme, t->n, t->k) < 0)
        return erne_fail(err, ERNE_EFORMAT, "tensor %s has an unknown scheme or shape",
                         t->name);
    ERNE_TRY(read_report(t, r, err));
    if (t->n_bytes != t->planes.total_bytes)
        return erne_fail(err, ERNE_EFORMAT,
                         "tensor %s has %" PRIu64 " bytes, its shape needs %" PRIu64,
                         t->name, t->n_bytes, t->planes.total_bytes);
    if (t->offset < *end || t->offset > limit || t->n_bytes > limit - t->offset ||
        t->offset % erne_tensor_align(t->n_bytes) != 0)
        return erne_fail(
            err, ERNE_EFORMAT,
            "tensor %s is outside the data, overlaps another or is not aligned", t->name);
    *end = t->offset + t->n_bytes;
    return ERNE_OK;
}

static int read_table(struct erne_model_file *mf, const struct erne_disk_header *header,
                      struct erne_error *err)
{
    const struct erne_disk_section *table = section_of(header, ERNE_SECTION_TENSORS);
    const struct erne_disk_section *data = section_of(header, ERNE_SECTION_DATA);
    uint64_t end = data->offset;

    if (table->n_bytes != header->n_tensors * sizeof(struct erne_disk_record))
        return erne_fail(err, ERNE_EFORMAT, "the table has not the size of its tensors");
    if (header->n_tensors == 0)
        return ERNE_OK;
    mf->tensors = calloc(header->n_tensors, sizeof(*mf->tensors));
    mf->by_name = calloc(header->n_tensors, sizeof(*mf->by_name));
    if (!mf->tensors || !mf->by_name)
        return erne_fail(err, ERNE_ENOMEM, "out of memory for %" PRIu32 " tensors",
                         header->n_tensors);
    mf->n_tensors = header->n_tensors;
    for (size_t i = 0; i < mf->n_tensors; i++) {
        struct erne_disk_record record;
        const uint8_t *at = mf->map.data + table->offset + i * sizeof(record);

        memcpy(&record, at, sizeof(record));
        int st = read_record(&mf->tensors[i], &record, &end, data->offset + data->n_bytes,
                             err);

        if (st < 0)
            return erne_fail_context(err, st, "tensor table, record %zu", i);
        mf->tensors[i].home = mf->map.data;
        mf->by_name[i] = mf->tensors[i].name;
    }
    return erne_names_sort(mf->by_name, mf->n_tensors, err);
}

/* ----------------------------------------------------------------- golden */

/* The tokens are of the vocabulary, and the placeholders among them as many as the
 * picture has tokens. */
static int check_golden(const struct erne_model_file *mf, struct erne_error *err)
{
    const struct erne_golden *g = &mf->golden;
    const struct erne_vision_desc *vision = &mf->desc.vision;
    const int64_t n_picture = (int64_t)g->picture_h * g->picture_w;
    int64_t n = 0;

    for (int32_t i = 0; i < g->n_tokens; i++) {
        if (g->tokens[i] < 0 || g->tokens[i] >= mf->desc.n_vocab)
            return erne_fail(err, ERNE_EFORMAT,
                             "golden logits: token %" PRId32 " is not in the vocabulary",
                             g->tokens[i]);
        n += vision->n_layers > 0 && g->tokens[i] == vision->image_token;
    }
    if (g->picture_h < 0 || g->picture_w < 0 || n != n_picture)
        return erne_fail(err, ERNE_EFORMAT,
                         "golden logits: %" PRId64
                         " tokens stand for a picture of %" PRId32 " x %" PRId32,
                         n, g->picture_h, g->picture_w);
    return ERNE_OK;
}

/* Behind the manifest, which tells the vocabulary. */
static int read_golden(struct erne_model_file *mf, const struct erne_disk_section *s,
                       struct erne_error *err)
{
    const uint8_t *at = mf->map.data + s->offset;
    const uint32_t n_vocab = (uint32_t)mf->desc.n_vocab;
    struct erne_disk_golden g;

    if (s->number == 0)
        return ERNE_OK;
    if (s->n_bytes < sizeof(g) || s->offset % sizeof(g) != 0)
        return erne_fail(err, ERNE_EFORMAT, "golden logits are cut off or not aligned");
    memcpy(&g, at, sizeof(g));
    if (g.version != ERNE_GOLDEN_TEXT && g.version != ERNE_GOLDEN_PICTURE)
        return ERNE_OK; /* of a newer writer: done without */
    if (g.n_tokens > ERNE_GOLDEN_MAX_TOKENS || g.n_rows == 0 || g.n_rows > g.n_tokens ||
        g.n_vocab != n_vocab ||
        s->n_bytes != erne_golden_bytes(g.n_tokens, g.n_rows, g.n_vocab))
        return erne_fail(err, ERNE_EFORMAT,
                         "golden logits: %" PRIu32 " rows of %" PRIu32 " for %" PRIu32
                         " tokens do not fit the model or their section",
                         g.n_rows, g.n_vocab, g.n_tokens);
    mf->golden = (struct erne_golden){
        .tokens = (const int32_t *)(const void *)(at + sizeof(g)),
        .logits = (const float *)(const void *)(at + sizeof(g)) + g.n_tokens,
        .n_tokens = (int32_t)g.n_tokens,
        .n_rows = (int32_t)g.n_rows,
    };
    if (g.version == ERNE_GOLDEN_PICTURE) {
        mf->golden.picture_h = (int32_t)g.picture_h;
        mf->golden.picture_w = (int32_t)g.picture_w;
    }
    return check_golden(mf, err);
}

/* ------------------------------------------------------------------- open */

static int read_container(struct erne_model_file *mf, bool is_part,
                          struct erne_error *err)
{
    const struct erne_disk_section *section;
    struct erne_disk_header header = { 0 };

    ERNE_TRY(read_header(&header, &mf->map, is_part, err));
    ERNE_TRY(check_sections(&header, &mf->map, is_part, err));
    mf->version = header.version;
    section = section_of(&header, ERNE_SECTION_MANIFEST);
    mf->manifest = (const char *)mf->map.data + section->offset;
    mf->manifest_bytes = (size_t)section->n_bytes;
    section = section_of(&header, ERNE_SECTION_TOKENIZER);
    mf->tokenizer = mf->map.data + section->offset;
    mf->tokenizer_bytes = (size_t)section->n_bytes;
    ERNE_TRY(read_table(mf, &header, err));
    ERNE_TRY(erne_manifest_read(&mf->desc, mf->manifest, mf->manifest_bytes, err));
    return is_part ? ERNE_OK
                   : read_golden(mf, section_of(&header, ERNE_SECTION_GOLDEN), err);
}

static int open_path(struct erne_model_file *mf, const char *path, bool is_part,
                     struct erne_error *err)
{
    int st;

    memset(mf, 0, sizeof(*mf));
    st = pf_file_open(&mf->file, path, PF_READ);
    if (st == ERNE_OK)
        st = pf_map_file(&mf->map, mf->file);
    if (st < 0)
        erne_fail(err, st, "%s", pf_last_error());
    else
        st = read_container(mf, is_part, err);
    if (st < 0) {
        erne_fail_context(err, st, "%s", path);
        erne_model_file_close(mf);
    }
    return st;
}

int erne_model_file_open(struct erne_model_file *mf, const char *path,
                         struct erne_error *err)
{
    return open_path(mf, path, false, err);
}

int erne_model_file_open_part(struct erne_model_file *mf, const char *path,
                              struct erne_error *err)
{
    return open_path(mf, path, true, err);
}

int erne_model_file_open_bytes(struct erne_model_file *mf, const uint8_t *data,
                               size_t n_bytes, struct erne_error *err)
{
    int st;

    memset(mf, 0, sizeof(*mf));
    mf->map = (struct pf_map){ .data = data, .n_bytes = n_bytes };
    st = read_container(mf, false, err);
    if (st < 0)
        erne_model_file_close(mf);
    return st;
}

void erne_model_file_close(struct erne_model_file *mf)
{
    erne_model_desc_deinit(&mf->desc);
    free(mf->tensors);
    free(mf->by_name);
    if (mf->file)
        pf_map_close(&mf->map);
    pf_file_close(&mf->file);
    memset(mf, 0, sizeof(*mf));
}

/* ---------------------------------------------------------------- tensors */

static_assert(offsetof(struct erne_file_tensor, name) == 0, "by_name points to tensors");

const struct erne_file_tensor *erne_model_file_find(const struct erne_model_file *mf,
                                                    const char *name)
{
    size_t lo = 0, hi = mf->n_tensors;

    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = strcmp(mf->by_name[mid], name);

        if (order == 0)
            return (const struct erne_file_tensor *)(const void *)mf->by_name[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const void *erne_model_file_data(const struct erne_file_tensor *tensor)
{
    /* Of a file that is only planned, which has no memory, this is the offset: places
     * differ, and nobody reads there. */
    return (const void *)((uintptr_t)tensor->home + (uintptr_t)tensor->offset);
}

int erne_model_file_check(const struct erne_file_tensor *tensor, struct erne_error *err)
{
    const uint64_t xxh3 =
        XXH3_64bits(erne_model_file_data(tensor), (size_t)tensor->n_bytes);

    if (xxh3 != tensor->xxh3)
        return erne_fail(err, ERNE_EVERIFY,
                         "tensor %s is damaged: its hash is %016" PRIx64
                         ", the table says %016" PRIx64,
                         tensor->name, xxh3, tensor->xxh3);
    return ERNE_OK;
}

static int check_zeros(const struct erne_model_file *mf, uint64_t begin, uint64_t end,
                       struct erne_error *err)
{
    for (uint64_t i = begin; i < end; i++)
        if (mf->map.data[i] != 0)
            return erne_fail(err, ERNE_EFORMAT, "padding at byte %" PRIu64 " is not 0",
                             i);
    return ERNE_OK;
}

int erne_model_file_check_padding(const struct erne_model_file *mf,
                                  struct erne_error *err)
{
    uint64_t end = sizeof(struct erne_disk_header);
    struct erne_disk_header header;

    memcpy(&header, mf->map.data, sizeof(header));
    for (size_t i = 0; i < ERNE_SECTION_DATA - 1; i++) {
        ERNE_TRY(check_zeros(mf, end, header.sections[i].offset, err));
        end = header.sections[i].offset + header.sections[i].n_bytes;
    }
    for (size_t i = 0; i < mf->n_tensors; i++) {
        ERNE_TRY(check_zeros(mf, end, mf->tensors[i].offset, err));
        end = mf->tensors[i].offset + mf->tensors[i].n_bytes;
    }
    if (header.sections[ERNE_SECTION_GOLDEN - 1].number != 0) {
        const struct erne_disk_section *s = &header.sections[ERNE_SECTION_GOLDEN - 1];

        ERNE_TRY(check_zeros(mf, end, s->offset, err));
        end = s->offset + s->n_bytes;
    }
    return check_zeros(mf, end, mf->map.n_bytes - sizeof(struct erne_disk_trailer), err);
}
