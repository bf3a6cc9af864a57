/* model_writer.c -- writes a .erne file that survives being killed at any moment.
 *
 * The plan fixes every byte but the tensors, their hashes and reports, so a file of the
 * final size can be laid out at once, as X.part, and filled in any order. Four rules make
 * a resumed file the same as one written in a single run:
 *   - a record of the tensor table gets its hash and check only after a sync that covers
 *     its data, so a record that checks out vouches for bytes that are on disk. One sync
 *     serves all tensors since the last (sync_bytes), as a sync a norm would be slow;
 *   - a .part is taken up only if its header is that of the same plan, and all it keeps
 *     of it are tensors with such a record: the rest is written again;
 *   - golden logits, whose hash is in the header, are made anew;
 *   - the end marker, which alone makes the file readable, is written after a sync of
 *     everything else.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/model_format.h"
#include "runtime/round.h"

enum tensor_state { STATE_TODO, STATE_WRITTEN, STATE_RECORDED };

struct erne_model_writer {
    char *path, *part_path;
    struct pf_file *file;
    struct pf_mutex *mutex; /* over the three arrays and the counts below */
    struct erne_disk_header header;
    struct erne_disk_record *records; /* [n_tensors] */
    uint8_t *states;                  /* [n_tensors] enum tensor_state */
    uint32_t *pending;                /* [n_tensors] those in STATE_WRITTEN */
    size_t n_tensors, n_pending;
    uint8_t *golden;      /* the section as it is to be, without logits; or NULL */
    size_t n_logit_bytes; /* at its end */
    bool has_golden;      /* it was written */
    uint64_t pending_bytes, sync_bytes;
};

/* ----------------------------------------------------------------- layout */

/* No file is as large; below it no sum of offsets overflows. */
static const uint64_t max_file_bytes = (uint64_t)1 << 62;

static int check_names(const struct erne_disk_record *records, size_t n,
                       struct erne_error *err)
{
    const char **names = calloc(n + 1, sizeof(*names));
    int st;

    if (!names)
        return erne_fail(err, ERNE_ENOMEM, "out of memory for %zu tensor names", n);
    for (size_t i = 0; i < n; i++)
        names[i] = records[i].name;
    st = erne_names_sort(names, n, err);
    free(names);
    return st < 0 ? erne_fail_context(err, ERNE_EINVAL, "plan") : ERNE_OK;
}

/* end: where the thing before ends; moves on. */
static int place_tensor(struct erne_disk_record *r, const struct erne_writer_tensor *t,
                        uint64_t *end, struct erne_error *err)
{
    const char *nul = memchr(t->name, '\0', sizeof(t->name));
    struct erne_planes planes;

    memset(r, 0, sizeof(*r));
    memcpy(r->name, t->name, nul ? (size_t)(nul - t->name) : sizeof(t->name));
    if (!erne_tensor_name_is_valid(r->name))
        return erne_fail(err, ERNE_EINVAL,
                         "a tensor's name is empty, longer than %d bytes "
                         "or not printable",
                         ERNE_SPEC_NAME_MAX - 1);
    if (erne_planes_init(&planes, t->scheme, t->n, t->k) < 0)
        return erne_fail(err, ERNE_EINVAL,
                         "tensor %s: %" PRId64 " x %" PRId64 " is no size for its scheme",
                         r->name, t->n, t->k);
    r->codec = t->scheme.codec;
    r->layout = t->scheme.layout;
    r->asym = t->scheme.asym;
    r->group = t->scheme.group;
    r->n = t->n;
    r->k = t->k;
    r->n_bytes = planes.total_bytes;
    r->offset = erne_align_up(*end, erne_tensor_align(r->n_bytes));
    *end = r->offset + r->n_bytes;
    if (*end > max_file_bytes)
        return erne_fail(err, ERNE_EINVAL, "the file would be too large");
    return ERNE_OK;
}

static void place_section(struct erne_disk_header *h, enum erne_section number,
                          uint64_t offset, uint64_t n_bytes)
{
    struct erne_disk_section *s = &h->sections[number - 1];

    s->number = (uint32_t)number;
    s->offset = offset;
    s->n_bytes = n_bytes;
}

/* Behind the data, if there is to be any; answers where it ends. */
static uint64_t place_golden(struct erne_disk_header *h,
                             const struct erne_writer_plan *plan, uint64_t at)
{
    const struct erne_golden *g = &plan->golden;
    const uint64_t n_bytes = erne_golden_bytes((uint64_t)g->n_tokens, (uint64_t)g->n_rows,
                                               (uint64_t)plan->n_vocab);

    if (!g->tokens)
        return at;
    place_section(h, ERNE_SECTION_GOLDEN, at, n_bytes);
    return at + n_bytes;
}

/* Fills the header and the records ([plan->n_tensors]) but for the tensors' hashes. */
static int make_layout(struct erne_disk_header *h, struct erne_disk_record *records,
                       const struct erne_writer_plan *plan, struct erne_error *err)
{
    enum { SECTION_ALIGN = 64, TABLE_ALIGN = sizeof(*records), DATA_ALIGN = 4096 };
    const uint64_t table_bytes = plan->n_tensors * sizeof(*records);
    uint64_t at = sizeof(*h);
    uint64_t data;

    memset(h, 0, sizeof(*h));
    memcpy(h->magic, ERNE_MAGIC_HEAD, sizeof(h->magic));
    h->version = ERNE_FORMAT_VERSION;
    h->n_tensors = (uint32_t)plan->n_tensors;
    place_section(h, ERNE_SECTION_MANIFEST, at, plan->manifest_bytes);
    at = erne_align_up(at + plan->manifest_bytes, SECTION_ALIGN);
    place_section(h, ERNE_SECTION_TOKENIZER, at, plan->tokenizer_bytes);
    at = erne_align_up(at + plan->tokenizer_bytes, TABLE_ALIGN);
    place_section(h, ERNE_SECTION_TENSORS, at, table_bytes);
    at = data = erne_align_up(at + table_bytes, DATA_ALIGN);
    for (size_t i = 0; i < plan->n_tensors; i++)
        ERNE_TRY(place_tensor(&records[i], &plan->tensors[i], &at, err));
    ERNE_TRY(check_names(records, plan->n_tensors, err));
    at = erne_align_up(at, SECTION_ALIGN);
    place_section(h, ERNE_SECTION_DATA, data, at - data);
    at = erne_align_up(place_golden(h, plan, at), SECTION_ALIGN);
    h->file_bytes = at + sizeof(struct erne_disk_trailer);
    h->sections[ERNE_SECTION_MANIFEST - 1].xxh3 =
        XXH3_64bits(plan->manifest, plan->manifest_bytes);
    h->sections[ERNE_SECTION_TOKENIZER - 1].xxh3 =
        XXH3_64bits(plan->tokenizer, plan->tokenizer_bytes);
    h->plan_xxh3 = XXH3_64bits(records, (size_t)table_bytes);
    h->xxh3 = erne_header_hash(h);
    return ERNE_OK;
}

static int alloc_records(struct erne_disk_record **records,
                         const struct erne_writer_plan *plan, struct erne_error *err)
{
    if (plan->n_tensors > UINT32_MAX)
        return erne_fail(err, ERNE_EINVAL, "%zu tensors are too many", plan->n_tensors);
    *records = calloc(plan->n_tensors + 1, sizeof(**records));
    if (!*records)
        return erne_fail(err, ERNE_ENOMEM, "out of memory for %zu tensors",
                         plan->n_tensors);
    return ERNE_OK;
}

int erne_writer_layout(const struct erne_writer_plan *plan, uint64_t *file_bytes,
                       uint64_t *offsets, struct erne_error *err)
{
    struct erne_disk_record *records = NULL;
    struct erne_disk_header header;
    int st;

    ERNE_TRY(alloc_records(&records, plan, err));
    assert(records);
    st = make_layout(&header, records, plan, err);
    if (st == ERNE_OK) {
        *file_bytes = header.file_bytes;
        for (size_t i = 0; offsets && i < plan->n_tensors; i++)
            offsets[i] = records[i].offset;
    }
    free(records);
    return st;
}

/* ----------------------------------------------------------- opening, resuming */

static int fail_io(const struct erne_model_writer *w, int st, struct erne_error *err)
{
    return erne_fail(err, st, "%s: %s", w->part_path, pf_last_error());
}

static uint64_t section_offset(const struct erne_model_writer *w,
                               enum erne_section number)
{
    return w->header.sections[number - 1].offset;
}

/* Whether a header on disk is ours, at whichever stage: the table's hash is set last. */
static bool is_same_plan(const struct erne_disk_header *ours,
                         struct erne_disk_header theirs)
{
    if (theirs.xxh3 != erne_header_hash(&theirs))
        return false;
    theirs.sections[ERNE_SECTION_TENSORS - 1].xxh3 = 0;
    theirs.sections[ERNE_SECTION_GOLDEN - 1].xxh3 = 0;
    theirs.xxh3 = erne_header_hash(&theirs);
    return memcmp(ours, &theirs, sizeof(theirs)) == 0;
}

static void set_report(struct erne_disk_record *r,
                       const struct erne_tensor_report *report)
{
    const bool is_known = report && report->is_known;

    r->has_report = is_known;
    r->error = is_known ? report->error : 0.0f;
    r->n_tokens = is_known ? report->n_tokens : 0;
}

/* Takes over a record from disk if it is complete. */
static bool resume_record(struct erne_disk_record *ours,
                          const struct erne_disk_record *theirs, uint64_t file_bytes)
{
    struct erne_disk_record planned = *theirs;

    planned.xxh3 = planned.check = 0;
    set_report(&planned, NULL);
    if (theirs->check != erne_record_hash(theirs) ||
        memcmp(ours, &planned, sizeof(planned)) != 0 ||
        ours->offset + ours->n_bytes > file_bytes)
        return false;
    *ours = *theirs;
    return true;
}

/* Looks what the opened .part has of this plan. Whatever cannot be read counts as absent.
 */
static size_t resume_records(struct erne_model_writer *w)
{
    const uint64_t table = section_offset(w, ERNE_SECTION_TENSORS);
    struct erne_disk_header header;
    uint64_t file_bytes;
    size_t n = 0;

    if (pf_file_size(w->file, &file_bytes) < 0 ||
        pf_file_read_at(w->file, &header, sizeof(header), 0) < 0 ||
        !is_same_plan(&w->header, header))
        return 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        struct erne_disk_record record;

        if (pf_file_read_at(w->file, &record, sizeof(record),
                            table + i * sizeof(record)) == ERNE_OK &&
            resume_record(&w->records[i], &record, file_bytes)) {
            w->states[i] = STATE_RECORDED;
            n++;
        }
    }
    return n;
}

/* Everything before the data. A .part that is taken up gets it again: a kill may have
 * come while it was written. */
static int write_prologue(struct erne_model_writer *w,
                          const struct erne_writer_plan *plan)
{
    ERNE_TRY(pf_file_resize(w->file, w->header.file_bytes));
    ERNE_TRY(pf_file_write_at(w->file, &w->header, sizeof(w->header), 0));
    ERNE_TRY(pf_file_write_at(w->file, plan->manifest, plan->manifest_bytes,
                              section_offset(w, ERNE_SECTION_MANIFEST)));
    ERNE_TRY(pf_file_write_at(w->file, plan->tokenizer, plan->tokenizer_bytes,
                              section_offset(w, ERNE_SECTION_TOKENIZER)));
    ERNE_TRY(pf_file_write_at(w->file, w->records, w->n_tensors * sizeof(*w->records),
                              section_offset(w, ERNE_SECTION_TENSORS)));
    return pf_file_sync(w->file);
}

static void destroy(struct erne_model_writer *w)
{
    pf_file_close(&w->file);
    pf_mutex_destroy(&w->mutex);
    free(w->records);
    free(w->states);
    free(w->pending);
    free(w->golden);
    free(w->path);
    free(w->part_path);
    free(w);
}

static int prepare_golden(struct erne_model_writer *w,
                          const struct erne_writer_plan *plan)
{
    const struct erne_golden *g = &plan->golden;
    const struct erne_disk_golden head = {
        .version = g->picture_h > 0 ? ERNE_GOLDEN_PICTURE : ERNE_GOLDEN_TEXT,
        .n_tokens = (uint32_t)g->n_tokens,
        .n_rows = (uint32_t)g->n_rows,
        .n_vocab = (uint32_t)plan->n_vocab,
        .picture_h = (uint32_t)g->picture_h,
        .picture_w = (uint32_t)g->picture_w,
    };
    const size_t n_token_bytes = head.n_tokens * sizeof(*g->tokens);

    w->n_logit_bytes = (size_t)head.n_rows * head.n_vocab * sizeof(*g->logits);
    w->golden = malloc(sizeof(head) + n_token_bytes + w->n_logit_bytes);
    if (!w->golden)
        return ERNE_ENOMEM;
    memcpy(w->golden, &head, sizeof(head));
    memcpy(w->golden + sizeof(head), g->tokens, n_token_bytes);
    return ERNE_OK;
}

/* The parts of a writer that need only memory. */
static int create(struct erne_model_writer **out, const char *path,
                  const struct erne_writer_plan *plan, struct erne_error *err)
{
    const size_t n_path = strlen(path) + 1, n = plan->n_tensors;
    struct erne_model_writer *w = calloc(1, sizeof(*w));
    int st = ERNE_ENOMEM;

    if (!w || (st = alloc_records(&w->records, plan, err)) < 0)
        goto fail;
    st = ERNE_ENOMEM;
    w->n_tensors = n;
    w->sync_bytes = plan->sync_bytes != 0 ? plan->sync_bytes : (uint64_t)64 << 20;
    w->path = malloc(n_path);
    w->part_path = malloc(n_path + strlen(".part"));
    w->states = calloc(n + 1, sizeof(*w->states));
    w->pending = calloc(n + 1, sizeof(*w->pending));
    if (!w->path || !w->part_path || !w->states || !w->pending ||
        pf_mutex_create(&w->mutex) < 0)
        goto fail;
    snprintf(w->path, n_path, "%s", path);
    snprintf(w->part_path, n_path + strlen(".part"), "%s.part", path);
    st = make_layout(&w->header, w->records, plan, err);
    if (st == ERNE_OK && plan->golden.tokens)
        st = prepare_golden(w, plan);
    if (st < 0)
        goto fail;
    *out = w;
    return ERNE_OK;

fail:
    if (st == ERNE_ENOMEM)
        erne_fail(err, st, "out of memory for writing %zu tensors", n);
    if (w)
        destroy(w);
    return st;
}

/* Whether a part was last written before what it is made of changed: the plan alone does
 * not tell sources apart that differ in a few weights. */
static bool is_outdated(struct pf_file *part, uint64_t sources_changed)
{
    uint64_t written;

    return pf_file_changed(part, &written) < 0 || written < sources_changed;
}

int erne_writer_open(struct erne_model_writer **out, const char *path,
                     const struct erne_writer_plan *plan, size_t *n_resumed,
                     struct erne_error *err)
{
    struct erne_model_writer *w;
    size_t n = 0;
    int st;

    ERNE_TRY(create(&w, path, plan, err));
    if (pf_path_exists(w->part_path) &&
        pf_file_open(&w->file, w->part_path, PF_WRITE_EXISTING) == ERNE_OK) {
        if (!is_outdated(w->file, plan->sources_changed))
            n = resume_records(w);
        if (n == 0)
            pf_file_close(&w->file);
    }
    st = w->file ? ERNE_OK : pf_file_open(&w->file, w->part_path, PF_WRITE_NEW);
    if (st == ERNE_OK)
        st = write_prologue(w, plan);
    if (st < 0) {
        fail_io(w, st, err);
        destroy(w);
        return st;
    }
    *n_resumed = n;
    *out = w;
    return ERNE_OK;
}

/* ---------------------------------------------------------------- tensors */

bool erne_writer_is_done(const struct erne_model_writer *w, size_t tensor)
{
    bool is_done;

    pf_mutex_lock(w->mutex);
    is_done = w->states[tensor] != STATE_TODO;
    pf_mutex_unlock(w->mutex);
    return is_done;
}

static int check_range(const struct erne_disk_record *r, uint64_t offset, size_t n_bytes,
                       struct erne_error *err)
{
    if (offset <= r->n_bytes && n_bytes <= r->n_bytes - offset)
        return ERNE_OK;
    return erne_fail(err, ERNE_EINVAL,
                     "tensor %s: %zu bytes at %" PRIu64 " are outside its %" PRIu64,
                     r->name, n_bytes, offset, r->n_bytes);
}

int erne_writer_write(struct erne_model_writer *w, size_t tensor, uint64_t offset,
                      const void *data, size_t n_bytes, struct erne_error *err)
{
    const struct erne_disk_record *r = &w->records[tensor];
    int st;

    ERNE_TRY(check_range(r, offset, n_bytes, err));
    st = pf_file_write_at(w->file, data, n_bytes, r->offset + offset);
    return st < 0 ? fail_io(w, st, err) : ERNE_OK;
}

int erne_writer_read(struct erne_model_writer *w, size_t tensor, uint64_t offset,
                     void *dst, size_t n_bytes, struct erne_error *err)
{
    const struct erne_disk_record *r = &w->records[tensor];
    int st;

    ERNE_TRY(check_range(r, offset, n_bytes, err));
    st = pf_file_read_at(w->file, dst, n_bytes, r->offset + offset);
    return st < 0 ? fail_io(w, st, err) : ERNE_OK;
}

/* Syncs, then writes the records of all tensors that were waiting for that. */
static int record_pending(struct erne_model_writer *w)
{
    const uint64_t table = section_offset(w, ERNE_SECTION_TENSORS);

    if (w->n_pending == 0)
        return ERNE_OK;
    ERNE_TRY(pf_file_sync(w->file));
    while (w->n_pending > 0) {
        const uint32_t i = w->pending[w->n_pending - 1];
        struct erne_disk_record *r = &w->records[i];

        r->check = erne_record_hash(r);
        ERNE_TRY(pf_file_write_at(w->file, r, sizeof(*r), table + i * sizeof(*r)));
        pf_file_drop_cache(w->file, r->offset, r->n_bytes);
        w->states[i] = STATE_RECORDED;
        w->n_pending--;
    }
    w->pending_bytes = 0;
    return ERNE_OK;
}

int erne_writer_tensor_done(struct erne_model_writer *w, size_t tensor, uint64_t xxh3,
                            const struct erne_tensor_report *report,
                            struct erne_error *err)
{
    int st = ERNE_OK;

    pf_mutex_lock(w->mutex);
    if (w->states[tensor] == STATE_TODO) {
        w->states[tensor] = STATE_WRITTEN;
        w->records[tensor].xxh3 = xxh3;
        set_report(&w->records[tensor], report);
        w->pending[w->n_pending++] = (uint32_t)tensor;
        w->pending_bytes += w->records[tensor].n_bytes;
        if (w->pending_bytes >= w->sync_bytes)
            st = record_pending(w);
    }
    pf_mutex_unlock(w->mutex);
    return st < 0 ? fail_io(w, st, err) : ERNE_OK;
}

/* ----------------------------------------------------------------- golden */

int erne_writer_open_part(struct erne_model_writer *w, struct erne_model_file *mf,
                          struct erne_error *err)
{
    const int st = record_pending(w);

    return st < 0 ? fail_io(w, st, err)
                  : erne_model_file_open_part(mf, w->part_path, err);
}

int erne_writer_golden(struct erne_model_writer *w, const float *logits,
                       struct erne_error *err)
{
    struct erne_disk_section *s = &w->header.sections[ERNE_SECTION_GOLDEN - 1];
    const size_t n_bytes = (size_t)s->n_bytes;
    int st;

    assert(w->golden);
    memcpy(w->golden + n_bytes - w->n_logit_bytes, logits, w->n_logit_bytes);
    s->xxh3 = XXH3_64bits(w->golden, n_bytes);
    st = pf_file_write_at(w->file, w->golden, n_bytes, s->offset);
    w->has_golden = st == ERNE_OK;
    return st < 0 ? fail_io(w, st, err) : ERNE_OK;
}

/* ----------------------------------------------------------------- ending */

static int write_end(struct erne_model_writer *w)
{
    struct erne_disk_trailer trailer = { .file_bytes = w->header.file_bytes };

    w->header.sections[ERNE_SECTION_TENSORS - 1].xxh3 =
        XXH3_64bits(w->records, w->n_tensors * sizeof(*w->records));
    w->header.xxh3 = erne_header_hash(&w->header);
    memcpy(trailer.magic, ERNE_MAGIC_TAIL, sizeof(trailer.magic));
    trailer.header_xxh3 = w->header.xxh3;
    trailer.check = erne_trailer_hash(&trailer);
    ERNE_TRY(pf_file_write_at(w->file, &w->header, sizeof(w->header), 0));
    ERNE_TRY(pf_file_sync(w->file));
    ERNE_TRY(pf_file_write_at(w->file, &trailer, sizeof(trailer),
                              w->header.file_bytes - sizeof(trailer)));
    return pf_file_sync(w->file);
}

int erne_writer_finish(struct erne_model_writer **writer, struct erne_error *err)
{
    struct erne_model_writer *w = *writer;
    int st = record_pending(w);

    *writer = NULL;
    for (size_t i = 0; st == ERNE_OK && i < w->n_tensors; i++)
        if (w->states[i] != STATE_RECORDED) {
            st = erne_fail(err, ERNE_EINVAL, "tensor %s was not written",
                           w->records[i].name);
            goto done;
        }
    if (st == ERNE_OK && w->golden && !w->has_golden) {
        st = erne_fail(err, ERNE_EINVAL, "golden logits were not written");
        goto done;
    }
    if (st == ERNE_OK)
        st = write_end(w);
    if (st == ERNE_OK) /* while it is ours: nobody else may write into it */
        st = pf_path_rename(w->part_path, w->path);
    if (st == ERNE_OK) /* pages that came one by one; pf_map_file asks for large ones */
        pf_file_drop_cache(w->file, 0, w->header.file_bytes);
    if (st < 0)
        fail_io(w, st, err);
done:
    destroy(w);
    return st;
}

void erne_writer_abandon(struct erne_model_writer **writer)
{
    struct erne_model_writer *w = writer ? *writer : NULL;

    if (!w)
        return;
    *writer = NULL;
    record_pending(w); /* a failure only costs the resumed run some tensors */
    destroy(w);
}
