/* bench_suite.c -- turns a mapping in YAML into words of a command line. */
#include "runtime/cli/bench_suite.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "runtime/cli/cli_args.h"

struct reader {
    struct bench_suite *suite;
    yaml_document_t document;
    const char *path;
    struct erne_error *err;
};

static int bad(const struct reader *r, const yaml_mark_t *at, const char *what)
{
    return cli_fail(r->err, ERNE_EFORMAT, "%s: line %zu, column %zu: %s", r->path,
                    at->line + 1, at->column + 1, what);
}

/* "--name", and "=text" where there is one. */
static int add_word(struct reader *r, const yaml_mark_t *at, const char *name,
                    const char *text)
{
    struct bench_suite *s = r->suite;
    const size_t n = strlen("--") + strlen(name) + 1 + strlen(text) + 1;
    char *word;

    if (s->n == BENCH_SUITE_MAX)
        return bad(r, at, "too many options");
    word = malloc(n);
    if (!word)
        return cli_fail(r->err, ERNE_ENOMEM, "%s: out of memory", r->path);
    snprintf(word, n, "--%s%s%s", name, *text ? "=" : "", text);
    s->lines[s->n] = at->line + 1;
    s->words[s->n++] = word;
    return ERNE_OK;
}

/* The node's text, or NULL with an error told. */
static const char *text_of(struct reader *r, int index, const char *what)
{
    const yaml_node_t *node = yaml_document_get_node(&r->document, index);

    assert(node); /* indices come from the document itself */
    if (node->type == YAML_SCALAR_NODE && node->data.scalar.length > 0 &&
        strlen((const char *)node->data.scalar.value) == node->data.scalar.length)
        return (const char *)node->data.scalar.value;
    bad(r, &node->start_mark, what);
    return NULL;
}

/* "true" is a flag that is given, "false" one that is not; anything else a value. */
static int add_option(struct reader *r, const char *name, int value)
{
    const yaml_mark_t *at = &yaml_document_get_node(&r->document, value)->start_mark;
    const char *text = text_of(r, value, "a value is needed here");

    if (!text)
        return ERNE_EFORMAT;
    if (strcmp(text, "false") == 0)
        return ERNE_OK;
    return add_word(r, at, name, strcmp(text, "true") == 0 ? "" : text);
}

/* What would be ignored, or would never end. */
static int check_name(struct reader *r, const yaml_node_t *key, const char *name)
{
    static const char *const others[] = { "suite", "compare", "help" };
    const yaml_node_t *root = yaml_document_get_root_node(&r->document);
    const yaml_node_pair_t *p = root->data.mapping.pairs.start;
    char what[96];

    for (size_t i = 0; i < ERNE_ARRAY_LEN(others); i++)
        if (strcmp(name, others[i]) == 0)
            return bad(r, &key->start_mark, "a suite cannot have this option");
    for (; yaml_document_get_node(&r->document, p->key) != key; p++) {
        const yaml_node_t *other = yaml_document_get_node(&r->document, p->key);

        if (other->type != YAML_SCALAR_NODE ||
            strcmp((const char *)other->data.scalar.value, name) != 0)
            continue;
        snprintf(what, sizeof(what), "this was given in line %zu already",
                 other->start_mark.line + 1);
        return bad(r, &key->start_mark, what);
    }
    return ERNE_OK;
}

static int add_values(struct reader *r, const char *name, const yaml_node_t *list)
{
    const yaml_node_item_t *first = list->data.sequence.items.start;
    const yaml_node_item_t *end = list->data.sequence.items.top;
    int st = ERNE_OK;

    if (first == end)
        return bad(r, &list->start_mark, "a list without a value");
    if (end - first > 1 && cli_args_is_single(name, CLI_BENCH))
        return bad(r, &list->start_mark, "this option takes one value");
    for (const yaml_node_item_t *i = first; st == ERNE_OK && i < end; i++)
        st = add_option(r, name, *i);
    return st;
}

static int add_pair(struct reader *r, const yaml_node_pair_t *pair)
{
    const char *name = text_of(r, pair->key, "the name of an option is needed here");
    const yaml_node_t *value = yaml_document_get_node(&r->document, pair->value);
    int st;

    if (!name)
        return ERNE_EFORMAT;
    st = check_name(r, yaml_document_get_node(&r->document, pair->key), name);
    if (st < 0)
        return st;
    if (strcmp(name, "name") == 0 || strcmp(name, "about") == 0)
        return ERNE_OK;
    return value->type == YAML_SEQUENCE_NODE ? add_values(r, name, value)
                                             : add_option(r, name, pair->value);
}

static int read_document(struct reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->document);
    int st = ERNE_OK;

    if (!root || root->type != YAML_MAPPING_NODE)
        return cli_fail(r->err, ERNE_EFORMAT, "%s: not a mapping of options", r->path);
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start;
         st == ERNE_OK && p < root->data.mapping.pairs.top; p++)
        st = add_pair(r, p);
    return st;
}

static int fail_syntax(const struct reader *r, const yaml_parser_t *parser)
{
    return bad(r, &parser->problem_mark, parser->problem ? parser->problem : "no YAML");
}

/* That nothing comes behind the first document, which is gone. */
static int check_end(struct reader *r, yaml_parser_t *parser)
{
    const yaml_node_t *root;
    int st = ERNE_OK;

    if (!yaml_parser_load(parser, &r->document))
        return fail_syntax(r, parser);
    root = yaml_document_get_root_node(&r->document);
    if (root)
        st = bad(r, &root->start_mark, "a second document begins");
    yaml_document_delete(&r->document);
    return st;
}

int bench_suite_read(struct bench_suite *suite, const char *text, size_t n_bytes,
                     const char *path, struct erne_error *err)
{
    struct reader r = { .suite = suite, .path = path, .err = err };
    yaml_parser_t parser;
    int st;

    if (!yaml_parser_initialize(&parser))
        return cli_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n_bytes);
    if (yaml_parser_load(&parser, &r.document)) {
        st = read_document(&r);
        yaml_document_delete(&r.document);
        if (st == ERNE_OK)
            st = check_end(&r, &parser);
    } else {
        st = fail_syntax(&r, &parser);
    }
    yaml_parser_delete(&parser);
    return st;
}

void bench_suite_deinit(struct bench_suite *suite)
{
    for (int i = 0; i < suite->n; i++)
        free(suite->words[i]);
    *suite = (struct bench_suite){ .n = 0 };
}
