/* inspect.c -- erne_file_inspect and erne_file_verify: what a model file holds, as text
 * or as JSON, and whether its bytes are those that were written. */
#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/inspect.h"
#include "runtime/manifest_fields.h"

static void put(struct inspection *r, const char *text, size_t n_bytes)
{
    if (r->status == ERNE_OK) {
        const int answer = r->write(r->user, text, n_bytes);

        r->status = answer > 0 ? ERNE_EIO : answer;
    }
}

void inspect_print(struct inspection *r, const char *fmt, ...)
{
    char line[256];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (n > 0)
        put(r, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static const char *layout_name(const struct erne_file_tensor *t)
{
    return t->scheme.layout == ERNE_LAYOUT_ROWS ? "rows" : "tile64";
}

static bool is_vector(const struct erne_file_tensor *t)
{
    return t->scheme.layout == ERNE_LAYOUT_ROWS && t->n == 1;
}

/* ------------------------------------------------------------------- text */

/* What the tensors of one scheme amount to. */
struct total {
    struct erne_scheme scheme;
    size_t n_tensors;
    uint64_t n_elements, n_bytes;
};

/* The valid schemes: three float codecs in two layouts; three integer codecs with four
 * groups, with or without minima. */
enum { MAX_TOTALS = 3 * 2 + 3 * 4 * 2 };

static void add_to_total(struct total *total, const struct erne_file_tensor *t)
{
    total->scheme = t->scheme;
    total->n_tensors++;
    total->n_elements += (uint64_t)t->n * (uint64_t)t->k;
    total->n_bytes += t->n_bytes;
}

/* In the order in which schemes first occur. */
static size_t sum_schemes(struct total totals[MAX_TOTALS],
                          const struct erne_model_file *mf)
{
    size_t n = 0;

    for (size_t i = 0; i < mf->n_tensors; i++) {
        size_t at = 0;

        while (at < n && !erne_scheme_equal(totals[at].scheme, mf->tensors[i].scheme))
            at++;
        if (at == n) {
            assert(n < MAX_TOTALS);
            n++;
        }
        add_to_total(&totals[at], &mf->tensors[i]);
    }
    return n;
}

static void print_totals(struct inspection *r, const struct erne_model_file *mf)
{
    struct total totals[MAX_TOTALS] = { 0 };
    const size_t n = sum_schemes(totals, mf);

    inspect_print(r, "%-10s %-7s %8s %14s %16s  %s\n", "scheme", "layout", "tensors",
                  "elements", "bytes", "bits each");
    for (size_t i = 0; i < n; i++) {
        const struct erne_file_tensor as_tensor = { .scheme = totals[i].scheme };
        char name[ERNE_SCHEME_NAME_MAX];

        erne_scheme_name(totals[i].scheme, name);
        inspect_print(r, "%-10s %-7s %8zu %14" PRIu64 " %16" PRIu64 "  %.2f\n", name,
                      layout_name(&as_tensor), totals[i].n_tensors, totals[i].n_elements,
                      totals[i].n_bytes,
                      8.0 * (double)totals[i].n_bytes / (double)totals[i].n_elements);
    }
}

/* "-": not known. */
static void print_report(struct inspection *r, const struct erne_model_file *mf,
                         const struct inspect_part *part,
                         const struct erne_file_tensor *t)
{
    if (!t->report.is_known)
        inspect_print(r, "%10s", "-");
    else if (t->report.error > 0.0f)
        inspect_print(r, "%8.3f %%", 100 * (double)t->report.error);
    else
        inspect_print(r, "%10s", "exact");
    if (inspect_has_tokens(mf, part, t))
        inspect_print(r, " %8" PRIu32 "\n", t->report.n_tokens);
    else
        inspect_print(r, " %8s\n", "-");
}

static void print_tensors(struct inspection *r, const struct erne_model_file *mf,
                          const struct inspect_part *parts)
{
    int width = 6;

    for (size_t i = 0; i < mf->n_tensors; i++)
        if ((int)strlen(mf->tensors[i].name) > width)
            width = (int)strlen(mf->tensors[i].name);
    inspect_print(r, "%-*s  %-10s %-7s %-17s %14s %12s  %-16s %10s %8s\n", width,
                  "tensor", "scheme", "layout", "shape", "offset", "bytes", "xxh3",
                  "error", "tokens");
    for (size_t i = 0; i < mf->n_tensors; i++) {
        const struct erne_file_tensor *t = &mf->tensors[i];
        char scheme[ERNE_SCHEME_NAME_MAX], shape[48];

        erne_scheme_name(t->scheme, scheme);
        if (is_vector(t))
            snprintf(shape, sizeof(shape), "[%" PRId64 "]", t->k);
        else
            snprintf(shape, sizeof(shape), "[%" PRId64 ", %" PRId64 "]", t->n, t->k);
        inspect_print(
            r, "%-*s  %-10s %-7s %-17s %14" PRIu64 " %12" PRIu64 "  %016" PRIx64 " ",
            width, t->name, scheme, layout_name(t), shape, t->offset, t->n_bytes,
            t->xxh3);
        print_report(r, mf, &parts[i], t);
    }
}

/* The likeliest token behind row `row` of golden logits. */
static int32_t golden_best(const struct erne_model_file *mf, int32_t row)
{
    const float *logits = mf->golden.logits + (size_t)row * (size_t)mf->desc.n_vocab;
    int32_t best = 0;

    for (int32_t i = 1; i < mf->desc.n_vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static void print_golden(struct inspection *r, const struct erne_model_file *mf)
{
    const struct erne_golden *g = &mf->golden;

    if (!g->tokens)
        return;
    inspect_print(r, "golden logits of tokens");
    for (int32_t i = 0; i < g->n_tokens; i++)
        inspect_print(r, " %" PRId32, g->tokens[i]);
    if (g->picture_h > 0)
        inspect_print(r, ", a picture of %" PRId32 " x %" PRId32 " tokens among them",
                      g->picture_h, g->picture_w);
    inspect_print(r, ", likeliest next");
    for (int32_t row = 0; row < g->n_rows; row++)
        inspect_print(r, " %" PRId32, golden_best(mf, row));
    inspect_print(r, "\n");
}

/* The manifest is readable as it is; libyaml let no control characters pass. */
static int inspect_text(struct inspection *r, const struct erne_model_file *mf,
                        const struct inspect_part *parts, const char *path, bool lists)
{
    put(r, path, strlen(path));
    inspect_print(
        r, "\nformat %" PRIu32 ", %zu bytes, %zu tensors, tokenizer of %zu bytes\n",
        mf->version, mf->map.n_bytes, mf->n_tensors, mf->tokenizer_bytes);
    print_golden(r, mf);
    inspect_print(r, "\n");
    put(r, mf->manifest, mf->manifest_bytes);
    inspect_print(r, "\n");
    print_totals(r, mf);
    ERNE_TRY(inspect_rounding(r, mf, parts));
    if (!lists)
        return ERNE_OK;
    inspect_print(r, "\n");
    print_tensors(r, mf, parts);
    return ERNE_OK;
}

/* ------------------------------------------------------------------- JSON */

/* jansson's containers refuse a NULL value and release one they refuse, so that a failure
 * anywhere shows as a failed set or append and nothing leaks. */
static json_t *unless_failed(json_t *value, int failed)
{
    if (failed == 0)
        return value;
    json_decref(value);
    return NULL;
}

static json_t *json_stops(const struct erne_model_desc *desc)
{
    json_t *array = json_array();
    int failed = 0;

    for (int i = 0; i < desc->n_stop; i++)
        failed |= json_array_append_new(array, json_integer(desc->stop[i]));
    return unless_failed(array, failed);
}

static json_t *json_field(const struct erne_model_desc *desc,
                          const struct manifest_field *f)
{
    const void *member = (const char *)desc + f->offset;

    switch (f->type) {
    case VERSION: return json_integer(MANIFEST_VERSION);
    case ARCH: return json_string(erne_arch_name(desc->arch));
    case INT: return json_integer(*(const int32_t *)member);
    case FLOAT: return json_real(manifest_tidy(*(const float *)member));
    case BOOL: return json_boolean(*(const bool *)member);
    case STOPS: return json_stops(desc);
    case TEXT: return json_string(*(char *const *)member);
    }
    return NULL;
}

/* Puts value (stolen) where place says, making the objects on the way. */
static int json_set_at(json_t *object, const char *place, json_t *value)
{
    for (size_t n = strcspn(place, "."); place[n] == '.'; n = strcspn(place, ".")) {
        char key[64];
        json_t *child;

        snprintf(key, sizeof(key), "%.*s", (int)n, place);
        child = json_object_get(object, key);
        if (!child) {
            child = json_object(); /* borrowed from its container after the next line */
            if (json_object_set_new(object, key, child) < 0)
                child = NULL;
        }
        object = child;
        place += n + 1;
    }
    return json_object_set_new(object, place, value);
}

static json_t *json_manifest(const struct erne_model_desc *desc)
{
    json_t *object = json_object();
    int failed = 0;

    for (int i = 0; i < manifest_n_fields; i++) {
        const struct manifest_field *f = &manifest_fields[i];

        if (manifest_has(desc, f))
            failed |= json_set_at(object, f->place, json_field(desc, f));
    }
    return unless_failed(object, failed);
}

static json_t *json_shape(const struct erne_file_tensor *t)
{
    json_t *array = json_array();
    int failed = 0;

    if (!is_vector(t))
        failed |= json_array_append_new(array, json_integer(t->n));
    failed |= json_array_append_new(array, json_integer(t->k));
    return unless_failed(array, failed);
}

static json_t *json_tensor(const struct erne_model_file *mf,
                           const struct inspect_part *part,
                           const struct erne_file_tensor *t)
{
    const struct erne_tensor_report *report = &t->report;
    char scheme[ERNE_SCHEME_NAME_MAX], xxh3[17];
    json_t *o = json_object();
    int failed = 0;

    erne_scheme_name(t->scheme, scheme);
    snprintf(xxh3, sizeof(xxh3), "%016" PRIx64, t->xxh3);
    failed |= json_object_set_new(o, "name", json_string(t->name));
    failed |= json_object_set_new(o, "scheme", json_string(scheme));
    failed |= json_object_set_new(o, "layout", json_string(layout_name(t)));
    failed |= json_object_set_new(o, "shape", json_shape(t));
    failed |= json_object_set_new(o, "offset", json_integer((json_int_t)t->offset));
    failed |= json_object_set_new(o, "bytes", json_integer((json_int_t)t->n_bytes));
    failed |= json_object_set_new(o, "xxh3", json_string(xxh3));
    failed |= json_object_set_new(
        o, "relative_error",
        report->is_known ? json_real(manifest_tidy(report->error)) : json_null());
    failed |= json_object_set_new(o, "calibration_tokens",
                                  inspect_has_tokens(mf, part, t)
                                      ? json_integer((json_int_t)report->n_tokens)
                                      : json_null());
    return unless_failed(o, failed);
}

static json_t *json_tensors(const struct erne_model_file *mf,
                            const struct inspect_part *parts)
{
    json_t *array = json_array();
    int failed = 0;

    for (size_t i = 0; i < mf->n_tensors; i++)
        failed |=
            json_array_append_new(array, json_tensor(mf, &parts[i], &mf->tensors[i]));
    return unless_failed(array, failed);
}

static json_t *json_golden(const struct erne_model_file *mf)
{
    json_t *o = json_object(), *tokens = json_array(), *next = json_array();
    int failed = 0;

    for (int32_t i = 0; i < mf->golden.n_tokens; i++)
        failed |= json_array_append_new(tokens, json_integer(mf->golden.tokens[i]));
    for (int32_t row = 0; row < mf->golden.n_rows; row++)
        failed |= json_array_append_new(next, json_integer(golden_best(mf, row)));
    failed |= json_object_set_new(o, "tokens", tokens);
    failed |= json_object_set_new(
        o, "picture",
        mf->golden.picture_h > 0
            ? json_pack("[i, i]", mf->golden.picture_h, mf->golden.picture_w)
            : json_null());
    failed |= json_object_set_new(o, "likeliest_next", next);
    return unless_failed(o, failed);
}

/* A path that is not UTF-8 has no JSON form; the file's name is null then. */
static json_t *json_file(const struct erne_model_file *mf,
                         const struct inspect_part *parts, const char *path)
{
    const json_int_t n_bytes = (json_int_t)mf->map.n_bytes;
    json_t *name = json_string(path);
    json_t *o = json_object();
    int failed = 0;

    failed |= json_object_set_new(o, "file", name ? name : json_null());
    failed |= json_object_set_new(o, "version", json_integer((json_int_t)mf->version));
    failed |= json_object_set_new(o, "bytes", json_integer(n_bytes));
    failed |= json_object_set_new(o, "manifest", json_manifest(&mf->desc));
    failed |= json_object_set_new(o, "golden",
                                  mf->golden.tokens ? json_golden(mf) : json_null());
    failed |= json_object_set_new(o, "tensors", json_tensors(mf, parts));
    return unless_failed(o, failed);
}

static int dump(const char *text, size_t n_bytes, void *user)
{
    struct inspection *r = user;

    put(r, text, n_bytes);
    return r->status < 0 ? -1 : 0;
}

static int inspect_json(struct inspection *r, const struct erne_model_file *mf,
                        const struct inspect_part *parts, const char *path)
{
    const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    json_t *root = json_file(mf, parts, path);
    const int failed = json_dump_callback(root, dump, r, flags);

    json_decref(root);
    if (failed < 0)
        return ERNE_ENOMEM; /* unless r->status says what else */
    put(r, "\n", 1);
    return ERNE_OK;
}

/* ----------------------------------------------------------------- public */

static int inspect(struct inspection *r, const struct erne_model_file *mf,
                   const char *path, enum erne_inspect_form form)
{
    struct inspect_part *parts;
    int st;

    ERNE_TRY(inspect_parts(&parts, mf));
    st = form == ERNE_INSPECT_JSON
             ? inspect_json(r, mf, parts, path)
             : inspect_text(r, mf, parts, path, form == ERNE_INSPECT_TENSORS);
    free(parts);
    return st;
}

int erne_file_inspect(const char *path, enum erne_inspect_form form, erne_write_fn write,
                      void *user, struct erne_error *err)
{
    struct inspection r = { .write = write, .user = user };
    struct erne_model_file mf;
    int st;

    ERNE_TRY(erne_model_file_open(&mf, path, err));
    st = inspect(&r, &mf, path, form);
    erne_model_file_close(&mf);
    if (r.status < 0)
        st = r.status;
    return st < 0 ? erne_fail(err, st, "%s: the report was not written: %s", path,
                              erne_status_text(st))
                  : ERNE_OK;
}

static int verify(const struct erne_model_file *mf, erne_progress_fn progress, void *user,
                  struct erne_error *err)
{
    uint64_t done = 0, total = 0;

    for (size_t i = 0; i < mf->n_tensors; i++)
        total += mf->tensors[i].n_bytes;
    for (size_t i = 0; i < mf->n_tensors; i++) {
        const struct erne_file_tensor *t = &mf->tensors[i];

        if (progress && progress(user, done, total, t->name) != 0)
            return erne_fail(err, ERNE_ECANCELLED, "cancelled at tensor %s", t->name);
        ERNE_TRY(erne_model_file_check(t, err));
        done += t->n_bytes;
    }
    if (progress && progress(user, done, total, "padding") != 0)
        return erne_fail(err, ERNE_ECANCELLED, "cancelled");
    return erne_model_file_check_padding(mf, err);
}

int erne_file_verify(const char *path, erne_progress_fn progress, void *user,
                     struct erne_error *err)
{
    struct erne_model_file mf;
    int st;

    ERNE_TRY(erne_model_file_open(&mf, path, err));
    /* The disk's bytes are meant, not what memory holds of them. Read by a mapping they
     * come in large pages (pf_map_file), other than those of a copy or a download. */
    (void)pf_file_sync(mf.file);
    pf_map_forget(&mf.map, mf.file, 0, mf.map.n_bytes);
    st = verify(&mf, progress, user, err);
    if (st < 0)
        erne_fail_context(err, st, "%s", path);
    erne_model_file_close(&mf);
    return st;
}
