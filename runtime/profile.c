/* profile.c -- reads device profiles. What is not in the schema is refused by line and
 * column: a key with a slip in it would silently leave the device without that figure. */
#include "runtime/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "platforms/platform.h"
#include "runtime/kvcache.h"
#include "runtime/model_desc.h"

enum { PROFILE_VERSION = 1, PROFILE_MAX_BYTES = 64 * 1024 };

/* ----------------------------------------------------------------- schema */

enum kind {
    VERSION,
    NAME,
    TEXT,
    THREADS,
    CONTEXT,
    BATCH,
    SIZE,
    RATE,
    SCHEME,
    KV_TYPE,
    API
};

/* Place "memory.total" is key `total` of mapping `memory`. n_bytes: of a text. */
struct field {
    const char *place;
    enum kind kind;
    bool required;
    size_t offset, n_bytes;
};

#define AT(member) \
    offsetof(struct erne_profile, member), sizeof(((struct erne_profile *)0)->member)

static const struct field fields[] = {
    { "erne_profile", VERSION, true, 0, 0 },
    { "name", NAME, true, AT(name) },
    { "title", TEXT, true, AT(title) },
    { "source", TEXT, true, AT(source) },
    { "cpu.name", TEXT, true, AT(cpu_name) },
    { "cpu.threads", THREADS, true, AT(threads) },
    { "memory.total", SIZE, true, AT(memory_bytes) },
    { "memory.for_models", SIZE, true, AT(model_bytes) },
    { "memory.bandwidth", RATE, false, AT(memory_rate) },
    { "disk.read", RATE, false, AT(disk_rate) },
    { "gpu.name", TEXT, false, AT(gpu_name) },
    { "gpu.api", API, false, AT(gpu_api) },
    { "run.scheme", SCHEME, true, AT(scheme) },
    { "run.kv_type", KV_TYPE, true, AT(kv_type) },
    { "run.context", CONTEXT, true, AT(n_ctx) },
    { "run.batch", BATCH, true, AT(n_batch) },
};

enum { N_FIELDS = ERNE_ARRAY_LEN(fields), PLACE_MAX = 64 };

/* ----------------------------------------------------------------- values */

/* "12.5 GiB": a number, and what the unit stands for. Locales do not matter. */
static bool parse_amount(double *out, const char *text, bool rate)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = { { "B", 1 },        { "kB", 1e3 },     { "MB", 1e6 },
                  { "GB", 1e9 },     { "TB", 1e12 },    { "KiB", 0x1p10 },
                  { "MiB", 0x1p20 }, { "GiB", 0x1p30 }, { "TiB", 0x1p40 } };
    double value = 0, part = 1;
    const char *c = text;

    for (; *c >= '0' && *c <= '9'; c++)
        value = 10 * value + (*c - '0');
    if (c == text)
        return false;
    if (*c == '.')
        for (c++; *c >= '0' && *c <= '9'; c++)
            value += (*c - '0') * (part /= 10);
    c += strspn(c, " ");
    for (size_t i = 0; i < ERNE_ARRAY_LEN(units); i++) {
        const size_t n = strlen(units[i].name);

        if (strncmp(c, units[i].name, n) == 0 && strcmp(c + n, rate ? "/s" : "") == 0) {
            *out = value * units[i].bytes;
            return *out >= 1 && *out < 0x1p60;
        }
    }
    return false;
}

static int32_t most_of(enum kind kind)
{
    switch (kind) {
    case THREADS: return ERNE_THREADS_MAX;
    case CONTEXT: return ERNE_SIZE_MAX;
    case BATCH: return ERNE_BATCH_MAX;
    default: return 0; /* no count */
    }
}

static bool parse_count(int32_t *out, const char *text, int32_t most)
{
    const size_t n = strspn(text, "0123456789");

    if (n == 0 || n > 9 || text[n] != '\0')
        return false;
    *out = (int32_t)strtol(text, NULL, 10);
    return *out >= 1 && *out <= most;
}

static bool is_name(const char *text)
{
    return *text != '\0' &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.")] == '\0';
}

enum { RANGE_MAX = 40 };

/* What a value must be, when it is not; range ([RANGE_MAX]) is room to say it. */
static const char *parse_value(struct erne_profile *p, const struct field *f,
                               const char *text, char *range)
{
    char *member = (char *)p + f->offset;
    struct erne_scheme scheme;
    enum erne_type type;
    double amount = 0;

    switch (f->kind) {
    case VERSION: return strcmp(text, "1") == 0 ? NULL : "1, the version of the schema";
    case THREADS:
    case CONTEXT:
    case BATCH:
        if (parse_count((int32_t *)(void *)member, text, most_of(f->kind)))
            return NULL;
        snprintf(range, RANGE_MAX, "a number from 1 to %d", most_of(f->kind));
        return range;
    case SIZE:
        if (!parse_amount(&amount, text, false))
            return "a size such as 8 GiB or 512 MiB";
        *(uint64_t *)(void *)member = (uint64_t)amount;
        return NULL;
    case RATE:
        return parse_amount((double *)(void *)member, text, true)
                   ? NULL
                   : "a speed such as 17.1 GB/s";
    case NAME:
        if (!is_name(text))
            return "a name of small letters, digits, dots and hyphens";
        break;
    case SCHEME:
        if (strcmp(text, "source") != 0 && erne_scheme_parse(&scheme, text) < 0)
            return "a scheme such as w4-g32a, w8 or source";
        break;
    case KV_TYPE:
        if (erne_kv_type_parse(&type, text) < 0)
            return "a type of keys and values: f16, f32, q8 or q4";
        break;
    case API:
        if (strcmp(text, "vulkan") != 0 && strcmp(text, "opencl") != 0)
            return "vulkan or opencl";
        break;
    case TEXT: break;
    }
    if (*text == '\0')
        return "there";
    if (strlen(text) >= f->n_bytes)
        return "shorter";
    strcpy(member, text);
    return NULL;
}

/* ------------------------------------------------------------------- YAML */

struct input {
    yaml_document_t doc;
    struct erne_profile *profile;
    const char *where;
    struct erne_error *err;
    bool seen[N_FIELDS];
    yaml_mark_t at[N_FIELDS]; /* of the values that were seen */
};

static int fail_at(const struct input *in, yaml_mark_t mark, const char *what,
                   const char *which)
{
    return erne_fail(in->err, ERNE_EFORMAT, "%s, line %zu, column %zu: %s%s", in->where,
                     mark.line + 1, mark.column + 1, which, what);
}

/* Whether some field's place begins with this mapping's. */
static bool is_section(const char *place)
{
    const size_t n = strlen(place);

    for (size_t i = 0; i < N_FIELDS; i++)
        if (strncmp(fields[i].place, place, n) == 0 && fields[i].place[n] == '.')
            return true;
    return false;
}

static int read_scalar(struct input *in, const char *place, const yaml_node_t *key,
                       const yaml_node_t *value)
{
    const char *text = (const char *)value->data.scalar.value, *wanted;
    char message[160], range[RANGE_MAX];

    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strcmp(fields[i].place, place) != 0)
            continue;
        if (in->seen[i])
            return fail_at(in, key->start_mark, " is there twice", place);
        in->seen[i] = true;
        if (strlen(text) != value->data.scalar.length)
            return fail_at(in, value->start_mark, " has a zero byte", place);
        in->at[i] = value->start_mark;
        wanted = parse_value(in->profile, &fields[i], text, range);
        if (!wanted)
            return ERNE_OK;
        snprintf(message, sizeof(message), ": \"%.40s\" is not %s", text, wanted);
        return fail_at(in, value->start_mark, message, place);
    }
    return fail_at(in, key->start_mark, " is no key of a device profile", place);
}

/* depth 0: the document; 1: a section. There is nothing below. */
static int read_mapping(struct input *in, const yaml_node_t *node, const char *section,
                        int depth);

static int read_pair(struct input *in, const yaml_node_pair_t *pair, const char *section,
                     int depth)
{
    const yaml_node_t *key = yaml_document_get_node(&in->doc, pair->key);
    const yaml_node_t *value = yaml_document_get_node(&in->doc, pair->value);
    char place[PLACE_MAX];

    if (!key || !value || key->type != YAML_SCALAR_NODE)
        return fail_at(in, key ? key->start_mark : (yaml_mark_t){ 0 },
                       "a key is not plain text", "");
    snprintf(place, sizeof(place), "%s%s%.40s", section, *section ? "." : "",
             (const char *)key->data.scalar.value);
    if (value->type == YAML_SCALAR_NODE)
        return read_scalar(in, place, key, value);
    if (value->type == YAML_MAPPING_NODE && depth == 0 && is_section(place))
        return read_mapping(in, value, place, 1);
    return fail_at(in, value->start_mark, ": a text is expected here", place);
}

static int read_mapping(struct input *in, const yaml_node_t *node, const char *section,
                        int depth)
{
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;

    for (; pair < node->data.mapping.pairs.top; pair++)
        ERNE_TRY(read_pair(in, pair, section, depth));
    return ERNE_OK;
}

/* Where the mapping begins that a field belongs to, or the document if it has none. */
static yaml_mark_t home_of(struct input *in, const char *place)
{
    const yaml_node_t *root = yaml_document_get_root_node(&in->doc);
    const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
    const size_t n = strcspn(place, ".");

    for (; place[n] && pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&in->doc, pair->key);

        if (key->data.scalar.length == n &&
            memcmp(key->data.scalar.value, place, n) == 0)
            return key->start_mark;
    }
    return root->start_mark;
}

static int check_whole(struct input *in)
{
    const struct erne_profile *p = in->profile;

    for (size_t i = 0; i < N_FIELDS; i++)
        if (fields[i].required && !in->seen[i])
            return fail_at(in, home_of(in, fields[i].place), " is missing",
                           fields[i].place);
    for (size_t i = 0; p->model_bytes > p->memory_bytes; i++)
        if (fields[i].offset == offsetof(struct erne_profile, model_bytes))
            return fail_at(in, in->at[i], " is more than memory.total", fields[i].place);
    return ERNE_OK;
}

static int read_document(struct input *in)
{
    const yaml_node_t *root = yaml_document_get_root_node(&in->doc);

    if (!root || root->type != YAML_MAPPING_NODE)
        return fail_at(in, root ? root->start_mark : (yaml_mark_t){ 0 },
                       "a device profile is a mapping", "");
    ERNE_TRY(read_mapping(in, root, "", 0));
    return check_whole(in);
}

/* Line and column of a byte, counted as libyaml does: in characters, not bytes. */
static yaml_mark_t mark_of(const char *text, size_t n_bytes)
{
    yaml_mark_t mark = { 0 };

    for (size_t i = 0; i < n_bytes; i++)
        if (text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    return mark;
}

static int fail_syntax(const struct input *in, const yaml_parser_t *parser,
                       const char *text, size_t n_bytes)
{
    const char *problem = parser->problem ? parser->problem : "no YAML";
    size_t at = parser->problem_offset;

    if (parser->error == YAML_MEMORY_ERROR)
        return erne_fail(in->err, ERNE_ENOMEM, "out of memory for %s", in->where);
    if (parser->error == YAML_READER_ERROR) /* which has no mark */
        return fail_at(in, mark_of(text, at < n_bytes ? at : n_bytes), problem, "");
    return fail_at(in, parser->problem_mark, problem, "");
}

/* That nothing comes behind the first document. */
static int check_end(struct input *in, yaml_parser_t *parser, const char *text,
                     size_t n_bytes)
{
    const yaml_node_t *root;
    int st = ERNE_OK;

    if (!yaml_parser_load(parser, &in->doc))
        return fail_syntax(in, parser, text, n_bytes);
    root = yaml_document_get_root_node(&in->doc);
    if (root)
        st = fail_at(in, root->start_mark, "a second document begins", "");
    yaml_document_delete(&in->doc);
    return st;
}

int erne_profile_read(struct erne_profile *profile, const char *text, size_t n_bytes,
                      const char *where, struct erne_error *err)
{
    struct input in = { .profile = profile, .where = where, .err = err };
    yaml_parser_t parser;
    int st;

    *profile = (struct erne_profile){ 0 };
    if (n_bytes > PROFILE_MAX_BYTES)
        return fail_at(&in, mark_of(text, PROFILE_MAX_BYTES),
                       "here it gets larger than 64 KiB", "");
    if (!yaml_parser_initialize(&parser))
        return erne_fail(err, ERNE_ENOMEM, "out of memory for %s", where);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n_bytes);
    if (yaml_parser_load(&parser, &in.doc)) {
        st = read_document(&in);
        yaml_document_delete(&in.doc);
        if (st == ERNE_OK)
            st = check_end(&in, &parser, text, n_bytes);
    } else {
        st = fail_syntax(&in, &parser, text, n_bytes);
    }
    yaml_parser_delete(&parser);
    return st;
}

/* ---------------------------------------------------------------- loading */

static int read_file(struct erne_profile *profile, const char *path,
                     struct erne_error *err)
{
    struct pf_file *file;
    uint64_t n_bytes = 0;
    char *text = NULL;
    int st = pf_file_open(&file, path, PF_READ);

    if (st < 0)
        return erne_fail(err, st, "%s: %s", path, pf_last_error());
    st = pf_file_size(file, &n_bytes);
    if (n_bytes > PROFILE_MAX_BYTES)
        n_bytes = PROFILE_MAX_BYTES + 1; /* is told to be too much */
    if (st == 0)
        text = malloc((size_t)n_bytes + 1);
    if (text)
        st = pf_file_read_at(file, text, (size_t)n_bytes, 0);
    if (st < 0)
        erne_fail(err, st, "%s: %s", path, pf_last_error());
    else if (!text)
        st = erne_fail(err, ERNE_ENOMEM, "out of memory for %s", path);
    else
        st = erne_profile_read(profile, text, (size_t)n_bytes, path, err);
    free(text);
    pf_file_close(&file);
    return st;
}

static bool is_path(const char *name)
{
    const size_t n = strlen(name);

    return strpbrk(name, "/\\") || (n >= 5 && strcmp(name + n - 5, ".yaml") == 0) ||
           (n >= 4 && strcmp(name + n - 4, ".yml") == 0);
}

int erne_profile_load(struct erne_profile *profile, const char *name_or_path,
                      struct erne_error *err)
{
    const struct erne_profile_text *t = erne_profile_texts;
    char names[400] = "";
    size_t n = 0;

    if (is_path(name_or_path))
        return read_file(profile, name_or_path, err);
    for (; t->name; t++)
        if (strcmp(t->name, name_or_path) == 0)
            return erne_profile_read(profile, (const char *)t->text, *t->n_bytes, t->name,
                                     err);
    for (t = erne_profile_texts; t->name && n < sizeof(names); t++)
        n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n > 0 ? ", " : "",
                              t->name);
    return erne_fail(err, ERNE_EINVAL,
                     "device %.60s: neither a file (NAME.yaml) nor one of %s",
                     name_or_path, names);
}
