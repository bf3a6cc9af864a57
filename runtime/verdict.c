/* verdict.c -- see verdict.h. A verdict is a small text file: the key, then a line that
 * begins with "refused:" and names operators. Its name is a hash of the key. */
#include "runtime/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/cache_file.h"
#include "runtime/identity.h"

enum { MAX_NAME = 64, MAX_BYTES = 2048 };

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

int erne_verdict_save(const char *dir, const struct erne_verdict_key *key,
                      uint32_t refused, struct erne_error *err)
{
    char name[MAX_NAME], text[MAX_BYTES];
    size_t n = (size_t)snprintf(text, sizeof(text), "%srefused:", key->text);

    for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++)
        if (refused >> op & 1)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " %s", erne_op_name(op));
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\n");
    name_of(name, key);
    return erne_cache_save(dir, name, text, n, err);
}

int erne_verdict_load(const char *dir, const struct erne_verdict_key *key,
                      uint32_t *refused)
{
    static const char label[] = "refused:";
    const size_t n_key = strlen(key->text);
    char name[MAX_NAME], text[MAX_BYTES];
    const char *at = text + n_key + strlen(label);
    uint32_t found = 0;
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
        enum erne_op op = 0;

        while (op < ERNE_OP_COUNT &&
               (strlen(erne_op_name(op)) != n || memcmp(at, erne_op_name(op), n) != 0))
            op++;
        if (op == ERNE_OP_COUNT)
            return ERNE_EFORMAT;
        found |= UINT32_C(1) << op;
        at += n;
    }
    if (*at != '\n')
        return ERNE_EFORMAT;
    *refused = found;
    return 1;
}

void erne_verdict_text(uint32_t refused, char *text, size_t cap)
{
    size_t n = 0;

    text[0] = '\0';
    for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++)
        if (refused >> op & 1 && n < cap)
            n += (size_t)snprintf(text + n, cap - n, "%s%s", n > 0 ? ", " : "",
                                  erne_op_name(op));
}
