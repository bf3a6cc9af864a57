/* placement.c -- reads "vulkan", "vulkan:1" and "vision=vulkan,decode=cpu". */
#include "runtime/placement.h"

#include <string.h>

enum { MAX_DEVICE = 255, ANY_DEVICE = -1 };

/* A part of a text that is not ended by a 0. */
struct piece {
    const char *text;
    int n;
};

static bool is_text(struct piece p, const char *text)
{
    return strlen(text) == (size_t)p.n && memcmp(p.text, text, (size_t)p.n) == 0;
}

/* What is before the first `end` in *text, which moves behind it. */
static struct piece cut(const char **text, char end)
{
    const char *at = strchr(*text, end);
    const struct piece p = { *text, at ? (int)(at - *text) : (int)strlen(*text) };

    *text = at ? at + 1 : *text + p.n;
    return p;
}

static int parse_index(int *index, struct piece p)
{
    *index = 0;
    if (p.n == 0)
        return ERNE_EINVAL;
    for (int i = 0; i < p.n; i++) {
        if (p.text[i] < '0' || p.text[i] > '9')
            return ERNE_EINVAL;
        *index = 10 * *index + p.text[i] - '0';
        if (*index > MAX_DEVICE)
            return ERNE_EINVAL;
    }
    return 0;
}

/* How many devices there are is only known to those that open them; the host is one. */
static int check_device(const struct erne_choice *choice, struct erne_error *err)
{
    if (choice->fns->map || choice->device <= 0)
        return 0;
    return erne_fail(err, ERNE_EUNSUPPORTED, "%s: device %d of 1", choice->fns->name,
                     choice->device);
}

/* The backend of that name. */
static int find_backend(struct erne_choice *choice, struct piece name,
                        const struct erne_backend_fns *const *list,
                        struct erne_error *err)
{
    for (size_t i = 0; list[i]; i++)
        if (is_text(name, list[i]->name)) {
            choice->fns = list[i];
            return check_device(choice, err);
        }
    return erne_fail(err, ERNE_EUNSUPPORTED, "backend %.*s is not in this build (%s)",
                     name.n, name.text, erne_build_info());
}

/* NAME or NAME:INDEX; without an index ANY_DEVICE. */
static int parse_choice(struct erne_choice *choice, struct piece p,
                        const struct erne_backend_fns *const *list,
                        struct erne_error *err)
{
    const char *colon = memchr(p.text, ':', (size_t)p.n);
    const struct piece name = { p.text, colon ? (int)(colon - p.text) : p.n };

    *choice = (struct erne_choice){ .device = ANY_DEVICE };
    if (memchr(p.text, ',', (size_t)p.n))
        return erne_fail(err, ERNE_EINVAL,
                         "'%.*s' names several backends: one, or PHASE=BACKEND of "
                         "each phase",
                         p.n, p.text);
    if (colon) {
        const struct piece index = { colon + 1, p.n - name.n - 1 };

        if (parse_index(&choice->device, index) < 0)
            return erne_fail(err, ERNE_EINVAL,
                             "device %.*s: a number from 0 to %d must "
                             "be behind the colon",
                             p.n, p.text, MAX_DEVICE);
    }
    if (name.n == 0)
        return erne_fail(err, ERNE_EINVAL, "'%.*s' names no backend", p.n, p.text);
    if (!is_text(name, "auto"))
        return find_backend(choice, name, list, err);
    if (colon)
        return erne_fail(err, ERNE_EINVAL,
                         "%.*s: auto has no devices of its own: name a backend", p.n,
                         p.text);
    return 0;
}

static int parse_phase(enum erne_phase_kind *kind, struct piece p, struct erne_error *err)
{
    static const char *const names[] = {
#define X(NAME, name) #name,
        ERNE_PHASE_LIST(X)
#undef X
    };

    for (int i = 0; i < ERNE_PHASE_COUNT; i++)
        if (is_text(p, names[i])) {
            *kind = (enum erne_phase_kind)i;
            return 0;
        }
    return erne_fail(err, ERNE_EINVAL, "phase %.*s: vision, prefill and decode are known",
                     p.n, p.text);
}

/* PHASE=NAME, one after the other. */
static int parse_phases(struct erne_placement *p, const char *text,
                        const struct erne_backend_fns *const *list,
                        struct erne_error *err)
{
    bool is_set[ERNE_PHASE_COUNT] = { false };

    while (*text) {
        struct piece entry = cut(&text, ','), name;
        const char *equals = memchr(entry.text, '=', (size_t)entry.n);
        enum erne_phase_kind kind = ERNE_PHASE_COUNT;

        if (!equals)
            return erne_fail(err, ERNE_EINVAL, "placement %.*s: must be PHASE=BACKEND",
                             entry.n, entry.text);
        name = (struct piece){ equals + 1, entry.n - (int)(equals + 1 - entry.text) };
        entry.n = (int)(equals - entry.text);
        ERNE_TRY(parse_phase(&kind, entry, err));
        if (is_set[kind])
            return erne_fail(err, ERNE_EINVAL, "phase %.*s is placed twice", entry.n,
                             entry.text);
        is_set[kind] = true;
        if (name.n == 0)
            return erne_fail(err, ERNE_EINVAL, "phase %.*s: no backend is named",
                             entry.n, entry.text);
        ERNE_TRY(parse_choice(&p->of[kind], name, list, err));
    }
    return 0;
}

/* A device stands for its backend where none is named, else for which device is meant. */
static int apply_device(struct erne_placement *p, const char *device, bool is_auto,
                        const struct erne_backend_fns *const *list,
                        struct erne_error *err)
{
    const struct piece whole = { device, (int)strlen(device) };
    struct erne_choice choice;
    bool used = false;

    ERNE_TRY(parse_choice(&choice, whole, list, err));
    if (!choice.fns)
        return 0;
    for (int i = 0; i < ERNE_PHASE_COUNT; i++) {
        if (is_auto)
            p->of[i] = choice;
        else if (p->of[i].fns == choice.fns && p->of[i].device == ANY_DEVICE)
            p->of[i].device = choice.device;
        used = used || p->of[i].fns == choice.fns;
    }
    return used ? 0
                : erne_fail(err, ERNE_EINVAL, "device %s: no phase is placed on %s",
                            device, choice.fns->name);
}

int erne_placement_parse(struct erne_placement *p, const char *backend,
                         const char *device, const struct erne_backend_fns *const *list,
                         struct erne_error *err)
{
    const char *text = backend ? backend : "auto";
    const struct piece whole = { text, (int)strlen(text) };

    for (int i = 0; i < ERNE_PHASE_COUNT; i++)
        p->of[i] = (struct erne_choice){ .device = ANY_DEVICE };
    if (strchr(text, '='))
        ERNE_TRY(parse_phases(p, text, list, err));
    else
        for (int i = 0; i < ERNE_PHASE_COUNT; i++)
            ERNE_TRY(parse_choice(&p->of[i], whole, list, err));
    if (device)
        ERNE_TRY(apply_device(p, device, is_text(whole, "auto"), list, err));
    for (int i = 0; i < ERNE_PHASE_COUNT; i++)
        if (p->of[i].device == ANY_DEVICE)
            p->of[i].device = 0;
    return 0;
}
