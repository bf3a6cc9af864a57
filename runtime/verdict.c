/* verdict.c -- see verdict.h. A verdict is a small text file: the key, then a line that
 * begins with "refused:" and names operators, those on KV caches as "attention/q4";
 * "unfinished" instead, until all are known. Its name is a hash of the key. */
#include "runtime/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/cache_file.h"
#include "runtime/identity.h"
#include "runtime/kvcache.h"

enum { MAX_NAME = 64, MAX_BYTES = 4096 };

bool erne_verdict_key_init(struct erne_verdict_key *key,
                           const struct erne_backend_fns *fns, int device,
                           const char *isa, const struct erne_model_file *file)
{
    const size_t cap = sizeof(key->text);
    char identity[ERNE_IDENTITY_MAX], build[ERNE_IDENTITY_MAX];
    int n;

    if (!erne_device_identity(identity, fns, device))
        return false;
    erne_build_identity(build);
    n = snprintf(key->text, cap,
                 "erne verify 1\ndevice: %s\nisa: %s\nbuild: %s\nmodel: %016" PRIx64 "\n",
                 identity, isa, build, erne_model_hash(file));
    return n > 0 && (size_t)n < cap;
}

static void name_of(char name[MAX_NAME], const struct erne_verdict_key *key)
{
    snprintf(name, MAX_NAME, "verify-%016" PRIx64 ".txt",
             XXH3_64bits(key->text, strlen(key->text)));
}

/* ------------------------------------------------------------ what is refused */

/* The operators that are refused as the node's would be: with the KV cache that it works
 * on, where it does. */
static uint32_t *ops_like(struct erne_refused *refused, const struct erne_node *node)
{
    const struct erne_tensor *t = node->dst;

    for (int i = 0; t->mem != ERNE_MEM_STATE; i++) {
        if (i == ERNE_MAX_SRC)
            return &refused->ops;
        if (node->src[i])
            t = node->src[i];
    }
    return &refused->with_kv[t->type];
}

struct erne_refused erne_refused_all(void)
{
    return (struct erne_refused){ .ops = (UINT32_C(1) << ERNE_OP_COUNT) - 1 };
}

void erne_refused_add(struct erne_refused *refused, const struct erne_node *node)
{
    *ops_like(refused, node) |= UINT32_C(1) << node->op;
}

bool erne_refused_has(const struct erne_refused *refused, const struct erne_node *node)
{
    struct erne_refused r = *refused;

    return (r.ops | *ops_like(&r, node)) >> node->op & 1;
}

bool erne_refused_any(const struct erne_refused *refused)
{
    uint32_t ops = refused->ops;

    for (int type = 0; type < ERNE_KV_TYPES; type++)
        ops |= refused->with_kv[type];
    return ops != 0;
}

/* ---------------------------------------------------------------------- words */

/* Number i of what can be refused, an operator each: those of no KV cache first, then
 * those of each type; NULL behind the last. */
static uint32_t *ops_of(struct erne_refused *refused, int i)
{
    return i == 0 ? &refused->ops : i <= ERNE_KV_TYPES ? &refused->with_kv[i - 1] : NULL;
}

/* All names in turn: `between` stands before each but the first, `with` between an
 * operator and the type of cache. Answers the length, which may be more than fits. */
static size_t write_names(const struct erne_refused *refused, const char *between,
                          const char *with, char *text, size_t cap)
{
    struct erne_refused r = *refused;
    size_t n = 0;

    text[0] = '\0';
    for (int i = 0; ops_of(&r, i); i++)
        for (enum erne_op op = 0; op < ERNE_OP_COUNT && n < cap; op++)
            if (*ops_of(&r, i) >> op & 1)
                n += (size_t)snprintf(text + n, cap - n, "%s%s%s%s", n > 0 ? between : "",
                                      erne_op_name(op), i > 0 ? with : "",
                                      i > 0 ? erne_kv_type_name((enum erne_type)(i - 1))
                                            : "");
    return n;
}

/* Adds a name [n] as write_names made it; false: it is none. */
static bool add_name(struct erne_refused *refused, const char *name, size_t n)
{
    char one[MAX_NAME];

    for (int i = 0; ops_of(refused, i); i++)
        for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++) {
            struct erne_refused r = { 0 };

            *ops_of(&r, i) = UINT32_C(1) << op;
            if (write_names(&r, "", "/", one, sizeof(one)) == n &&
                memcmp(one, name, n) == 0) {
                *ops_of(refused, i) |= UINT32_C(1) << op;
                return true;
            }
        }
    return false;
}

void erne_verdict_text(const struct erne_refused *refused, char *text, size_t cap)
{
    write_names(refused, ", ", " with ", text, cap);
}

/* ----------------------------------------------------------------------- file */

int erne_verdict_save(const char *dir, const struct erne_verdict_key *key,
                      const struct erne_refused *refused, struct erne_error *err)
{
    char name[MAX_NAME], words[MAX_BYTES / 4], text[MAX_BYTES];
    size_t n_words = write_names(refused, " ", "/", words, sizeof(words));
    const int n = snprintf(text, sizeof(text), "%srefused:%s%s\n", key->text,
                           n_words > 0 ? " " : "", words);

    name_of(name, key);
    return erne_cache_save(dir, name, text, (size_t)n, err);
}

void erne_verdict_begin(const char *dir, const struct erne_verdict_key *key)
{
    char name[MAX_NAME], text[MAX_BYTES];
    const int n = snprintf(text, sizeof(text), "%sunfinished\n", key->text);

    name_of(name, key);
    erne_cache_save(dir, name, text, (size_t)n, NULL);
}

void erne_verdict_remove(const char *dir, const struct erne_verdict_key *key)
{
    char name[MAX_NAME];

    name_of(name, key);
    erne_cache_remove(dir, name);
}

int erne_verdict_load(const char *dir, const struct erne_verdict_key *key,
                      struct erne_refused *refused)
{
    static const char label[] = "refused:";
    const size_t n_key = strlen(key->text);
    char name[MAX_NAME], text[MAX_BYTES];
    const char *at = text + n_key + strlen(label);
    struct erne_refused found = { 0 };
    int n_bytes;

    name_of(name, key);
    n_bytes = erne_cache_load(dir, name, text, sizeof(text));
    if (n_bytes < 0)
        return erne_cache_has(dir, name) ? ERNE_EFORMAT : 0;
    if ((size_t)n_bytes <= n_key + strlen(label) || memcmp(text, key->text, n_key) != 0 ||
        memcmp(text + n_key, label, strlen(label)) != 0)
        return ERNE_EFORMAT;
    while (*at == ' ') {
        const size_t n = strcspn(++at, " \n");

        if (!add_name(&found, at, n))
            return ERNE_EFORMAT;
        at += n;
    }
    if (*at != '\n')
        return ERNE_EFORMAT;
    *refused = found;
    return 1;
}
