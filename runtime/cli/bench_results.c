/* bench_results.c -- reads files of results back: what -o json, jsonl or csv wrote.
 *
 * Rows of csv become the JSON objects that they would have been, so that fields are
 * checked in one place. Texts stay in these objects.
 */
#include "runtime/cli/bench_compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* ----------------------------------------------------------------- records */

static int set_field(struct bench_record *r, const struct bench_field *f,
                     const json_t *value)
{
    void *at = (char *)r + f->offset;

    switch (f->kind) {
    case BENCH_TEXT:
        *(const char **)at = json_string_value(value);
        return !value || json_is_null(value) || json_is_string(value);
    case BENCH_INT:
        *(int64_t *)at = (int64_t)json_integer_value(value);
        return !value || json_is_integer(value);
    default:
        *(double *)at = json_is_number(value) ? json_number_value(value) : NAN;
        return !value || json_is_null(value) || json_is_number(value);
    }
}

/* Whether two records are samples of the same thing. The file's path and the program's
 * version may differ: they are what is compared. */
static bool is_same_test(const struct bench_record *a, const struct bench_record *b)
{
    return strcmp(a->test, b->test) == 0 && strcmp(a->backends, b->backends) == 0 &&
           strcmp(a->model_type, b->model_type) == 0 &&
           strcmp(a->type_k, b->type_k) == 0 && strcmp(a->type_v, b->type_v) == 0 &&
           a->model_n_params == b->model_n_params && a->n_threads == b->n_threads &&
           a->n_batch == b->n_batch && a->n_ubatch == b->n_ubatch;
}

struct bench_record *bench_results_find(const struct bench_results *results,
                                        const struct bench_record *like)
{
    for (size_t i = 0; i < results->n; i++)
        if (is_same_test(&results->records[i], like))
            return &results->records[i];
    return NULL;
}

/* A record for the test of `like`: an old one, or a new one. NULL: no memory. */
static struct bench_record *place(struct bench_results *results,
                                  const struct bench_record *like)
{
    struct bench_record *old = bench_results_find(results, like), *records;

    if (old)
        return old;
    records = realloc(results->records, (results->n + 1) * sizeof(*records));
    if (!records)
        return NULL;
    results->records = records;
    records[results->n] = *like;
    return &records[results->n++];
}

static int add_samples(struct bench_record *r, const json_t *samples, const char *path,
                       struct erne_error *err)
{
    const size_t n = json_array_size(samples);
    double *all =
        realloc((void *)(uintptr_t)r->samples_ns, (r->n_samples + n + 1) * sizeof(*all));

    if (!all)
        return cli_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    r->samples_ns = all;
    for (size_t i = 0; i < n; i++) {
        const double ns = json_number_value(json_array_get(samples, i));

        if (!(ns > 0))
            return cli_fail(err, ERNE_EFORMAT, "%s: %s: sample %zu is no time", path,
                            r->test, i);
        all[r->n_samples++] = ns;
    }
    return ERNE_OK;
}

/* What is told of r besides its samples, after n more came with another record. */
static void join(struct bench_record *r, const struct bench_record *other, size_t n)
{
    const double share = (double)n / (double)(r->n_samples + n);

    r->machine_ns += share * (other->machine_ns - r->machine_ns);
    if (other->disturbed)
        r->disturbed = other->disturbed;
    if (other->error)
        r->error = other->error;
}

/* Takes the place of r, whose samples are forgotten. */
static void replace(struct bench_record *r, const struct bench_record *by)
{
    const double *samples = r->samples_ns;

    *r = *by;
    r->samples_ns = samples;
    r->n_samples = 0;
}

/* newest: a record replaces the one before of the same test, instead of joining it. */
static int add_record(struct bench_results *results, const json_t *object, bool newest,
                      const char *path, struct erne_error *err)
{
    const json_t *samples = json_object_get(object, "samples_ns");
    struct bench_record r = { 0 }, *at;

    if (!json_is_object(object))
        return cli_fail(err, ERNE_EFORMAT, "%s: not results of erne bench", path);
    for (size_t i = 0; i < bench_record_layout.n_fields; i++) {
        const struct bench_field *f = &bench_record_layout.fields[i];

        if (!set_field(&r, f, json_object_get(object, f->name)))
            return cli_fail(err, ERNE_EFORMAT, "%s: \"%s\" has the wrong type", path,
                            f->name);
    }
    if (!r.test || !r.backends || !r.model_type || !r.type_k || !r.type_v)
        return cli_fail(err, ERNE_EFORMAT,
                        "%s: not results of erne bench: no test, backend, model or type",
                        path);
    at = place(results, &r);
    if (!at)
        return cli_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    if (at->n_samples > 0 && newest)
        replace(at, &r);
    else if (at->n_samples > 0)
        join(at, &r, json_array_size(samples));
    return add_samples(at, samples, path, err);
}

/* -------------------------------------------------------------------- json */

static int add_value(struct bench_results *results, const json_t *value, const char *path,
                     struct erne_error *err)
{
    int st = ERNE_OK;

    if (!json_is_array(value))
        return add_record(results, value, false, path, err);
    for (size_t i = 0; st == ERNE_OK && i < json_array_size(value); i++)
        st = add_record(results, json_array_get(value, i), false, path, err);
    return st;
}

static int read_json(struct bench_results *results, const char *text, size_t n_bytes,
                     const char *path, struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t at = 0; st == ERNE_OK;) {
        json_error_t why;
        json_t *value;

        at += strspn(text + at, " \t\r\n");
        if (at >= n_bytes)
            break;
        value = json_loadb(text + at, n_bytes - at, JSON_DISABLE_EOF_CHECK, &why);
        if (!value || json_array_append_new(results->json, value) < 0)
            return cli_fail(err, ERNE_EFORMAT, "%s: not JSON: %s", path, why.text);
        at += (size_t)why.position;
        st = add_value(results, value, path, err);
    }
    return st;
}

/* --------------------------------------------------------------------- csv */

/* Where a table is read, by rows and cells. */
struct table {
    const char *at; /* 0-terminated */
    const char *path;
    size_t line;
    struct cli_text cell;
    bool quoted; /* the cell was in quotes: a text, if an empty one */
    bool ends;   /* the cell was the last of its row */
    struct erne_error *err;
};

static int bad_table(const struct table *t, const char *what, const char *cell)
{
    return cli_fail(t->err, ERNE_EFORMAT, "%s: line %zu: %s%s", t->path, t->line, what,
                    cell);
}

/* Behind the opening quote, up to the closing one; two of them are one of the text. */
static int read_quoted(struct table *t)
{
    int st = ERNE_OK;

    for (; st == ERNE_OK && (*t->at != '"' || t->at[1] == '"'); t->at++) {
        if (*t->at == '\0')
            return bad_table(t, "a quote has no end", "");
        t->line += *t->at == '\n';
        t->at += *t->at == '"';
        st = cli_text_append(&t->cell, t->at, 1, t->err);
    }
    t->at += st == ERNE_OK;
    return st;
}

static int read_cell(struct table *t)
{
    size_t n;
    int st;

    t->cell.n = 0;
    t->quoted = *t->at == '"';
    t->at += t->quoted;
    n = t->quoted ? 0 : strcspn(t->at, ",\r\n");
    st = cli_text_append(&t->cell, t->at, n, t->err);
    t->at += n;
    if (st == ERNE_OK && t->quoted)
        st = read_quoted(t);
    if (st < 0)
        return st;
    t->at += *t->at == '\r';
    t->ends = *t->at != ',';
    if (t->ends && *t->at != '\0' && *t->at != '\n')
        return bad_table(t, "no comma behind ", t->cell.data);
    t->at += *t->at != '\0';
    return ERNE_OK;
}

/* The titles: an array of texts. */
static int read_titles(struct table *t, json_t *titles)
{
    int st;

    do {
        st = read_cell(t);
        if (st == ERNE_OK && json_array_append_new(titles, json_string(t->cell.data)) < 0)
            st = bad_table(t, "no title: ", t->cell.data);
    } while (st == ERNE_OK && !t->ends);
    t->line++;
    return st;
}

/* Times with spaces between them. */
static json_t *samples_of(const char *text)
{
    json_t *samples = json_array();

    for (char *end; samples && *text; text = end + strspn(end, " ")) {
        const double ns = strtod(text, &end);

        if (end != text && json_array_append_new(samples, json_real(ns)) == 0)
            continue;
        json_decref(samples);
        return NULL;
    }
    return samples;
}

/* The value that JSON would have had; NULL: it is none. */
static json_t *value_of(const struct table *t, const char *title)
{
    const char *text = t->cell.data;
    char *end;
    json_t *value;

    if (strcmp(title, "samples_ns") == 0)
        return samples_of(text);
    if (t->quoted)
        return json_string(text);
    if (*text == '\0')
        return json_null();
    value = strpbrk(text, ".eE") ? json_real(strtod(text, &end))
                                 : json_integer(strtoll(text, &end, 10));
    if (*end == '\0')
        return value;
    json_decref(value);
    return NULL;
}

/* A row becomes an object. */
static int read_row(struct table *t, const json_t *titles, json_t *object)
{
    const size_t n = json_array_size(titles);
    size_t i = 0;
    int st;

    do {
        const char *title = json_string_value(json_array_get(titles, i++));
        json_t *value;

        if (!title)
            return bad_table(t, "more values than titles", "");
        st = read_cell(t);
        value = st == ERNE_OK ? value_of(t, title) : NULL;
        if (st == ERNE_OK && !value)
            return bad_table(t, "no number: ", t->cell.data);
        if (st == ERNE_OK && json_object_set_new(object, title, value) < 0)
            return cli_fail(t->err, ERNE_ENOMEM, "%s: out of memory", t->path);
    } while (st == ERNE_OK && !t->ends);
    if (st == ERNE_OK && i < n)
        return bad_table(t, "fewer values than titles", "");
    t->line++;
    return st;
}

static int add_rows(struct bench_results *results, struct table *t, const json_t *titles)
{
    int st = ERNE_OK;

    while (st == ERNE_OK && *t->at) {
        json_t *object = json_object();

        if (!object || json_array_append_new(results->json, object) < 0)
            return cli_fail(t->err, ERNE_ENOMEM, "%s: out of memory", t->path);
        st = read_row(t, titles, object);
        if (st == ERNE_OK)
            st = add_record(results, object, true, t->path, t->err);
    }
    return st;
}

static int read_csv(struct bench_results *results, const char *text, const char *path,
                    struct erne_error *err)
{
    struct table t = { .at = text, .path = path, .line = 1, .err = err };
    json_t *titles = json_array();
    int st = ERNE_ENOMEM;

    if (titles)
        st = read_titles(&t, titles);
    else
        cli_fail(err, st, "%s: out of memory", path);
    if (st == ERNE_OK)
        st = add_rows(results, &t, titles);
    json_decref(titles);
    free(t.cell.data);
    return st;
}

/* ------------------------------------------------------------------- files */

/* Tables name a column for samples in their first line. */
static bool is_csv(const char *text)
{
    const char *title = strstr(text, "samples_ns");

    return *text != '{' && *text != '[' && title && title < text + strcspn(text, "\n");
}

int bench_results_read(struct bench_results *results, const char *text, size_t n_bytes,
                       const char *path, struct erne_error *err)
{
    int st;

    results->json = json_array();
    if (!results->json)
        return cli_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    if (strlen(text) != n_bytes)
        return cli_fail(err, ERNE_EFORMAT, "%s: not JSON: a 0 byte is in it", path);
    st = is_csv(text) ? read_csv(results, text, path, err)
                      : read_json(results, text, n_bytes, path, err);
    if (st == ERNE_OK && results->n == 0)
        return cli_fail(err, ERNE_EFORMAT, "%s: no results in it", path);
    return st;
}

void bench_results_deinit(struct bench_results *results)
{
    for (size_t i = 0; i < results->n; i++)
        free((void *)(uintptr_t)results->records[i].samples_ns);
    free(results->records);
    json_decref(results->json);
    *results = (struct bench_results){ 0 };
}
