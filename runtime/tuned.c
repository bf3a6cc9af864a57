/* tuned.c -- see tuned.h. A placement is a text file, a line each:
 *
 *     erne tune 2
 *     model: 0123456789abcdef
 *     host: 4 threads, isa auto, 0 MiB (its key ends here)
 *     build: 0.1.0 cpu vulkan
 *     samples: 7
 *     disturbed: WHAT DISTURBED THEM   (or nothing)
 *     device: vulkan:0 IDENTITY        (one for each that was looked at)
 *     vision: cpu:0 WHY                (one for each phase)
 *     end: HASH                        (of all that is before)
 *
 * Its name says model and host only, so that what no longer holds is found, and
 * replaced. */
#include "runtime/tuned.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "platforms/platform.h"
#include "runtime/cache_file.h"
#include "runtime/identity.h"

enum {
    MAX_NAME = 64,
    MAX_LINE = 768,
    END_BYTES = 22, /* "end: ", 16 digits, a newline */
    MAX_BYTES = (ERNE_TUNED_DEVICES + ERNE_PHASE_COUNT + 6) * MAX_LINE
};

static const char *const phase_names[] = {
#define X(NAME, name) #name,
    ERNE_PHASE_LIST(X)
#undef X
};

struct erne_tuned_key erne_tuned_key_of(const struct erne_engine_opts *opts,
                                        const struct erne_model_file *file)
{
    const int n_threads = opts->n_threads > 0 ? opts->n_threads : pf_cpu_count();
    struct erne_tuned_key key;

    snprintf(key.text, sizeof(key.text),
             "erne tune 2\nmodel: %016" PRIx64
             "\nhost: %d threads, isa %.16s, %" PRIu64 " MiB\n",
             erne_model_hash(file), n_threads, opts->isa ? opts->isa : "auto",
             opts->ram_bytes >> 20);
    return key;
}

static void name_of(char name[MAX_NAME], const struct erne_tuned_key *key)
{
    snprintf(name, MAX_NAME, "tune-%016" PRIx64 ".txt",
             XXH3_64bits(key->text, strlen(key->text)));
}

static void build_line(char line[MAX_LINE])
{
    char build[ERNE_IDENTITY_MAX];

    erne_build_identity(build);
    snprintf(line, MAX_LINE, "build: %s\n", build);
}

static bool device_line(char line[MAX_LINE], struct erne_choice c)
{
    char identity[ERNE_IDENTITY_MAX];

    if (!erne_device_identity(identity, c.fns, c.device))
        return false;
    snprintf(line, MAX_LINE, "device: %s:%d %s\n", c.fns->name, c.device, identity);
    return true;
}

/* ----------------------------------------------------------------- saving */

struct writer {
    char text[MAX_BYTES];
    size_t n;
};

static void put(struct writer *w, const char *line)
{
    const size_t n = strlen(line);

    if (n < MAX_BYTES - w->n) { /* which lines of MAX_LINE always are */
        memcpy(w->text + w->n, line, n + 1);
        w->n += n;
    }
}

static void put_tuned(struct writer *w, const struct erne_tuned *t,
                      const struct erne_tuned_key *key)
{
    char line[MAX_LINE];

    put(w, key->text);
    build_line(line);
    put(w, line);
    snprintf(line, sizeof(line), "samples: %d\ndisturbed: %s\n", t->n_samples,
             t->disturbed);
    put(w, line);
    for (int i = 0; i < t->n_devices; i++)
        if (device_line(line, t->devices[i]))
            put(w, line);
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        const struct erne_choice c = t->of[kind];

        snprintf(line, sizeof(line), "%s: %s:%d %s\n", phase_names[kind], c.fns->name,
                 c.device, t->why[kind]);
        put(w, line);
    }
    snprintf(line, sizeof(line), "end: %016" PRIx64 "\n", XXH3_64bits(w->text, w->n));
    put(w, line);
}

int erne_tuned_save(const char *dir, const struct erne_tuned *tuned,
                    const struct erne_tuned_key *key, struct erne_error *err)
{
    struct writer *w = calloc(1, sizeof(*w));
    char name[MAX_NAME];
    int st;

    if (!w)
        return erne_fail(err, ERNE_ENOMEM, "no memory for a placement");
    put_tuned(w, tuned, key);
    name_of(name, key);
    st = erne_cache_save(dir, name, w->text, w->n, err);
    free(w);
    return st;
}

/* ---------------------------------------------------------------- loading */

/* Moves *at behind the text if it comes next. */
static bool skip(const char **at, const char *text)
{
    const size_t n = strlen(text);

    if (strncmp(*at, text, n) != 0)
        return false;
    *at += n;
    return true;
}

/* The line that comes next without its newline, which *at moves behind. */
static int cut_line(const char **at, const char **line)
{
    const size_t n = strcspn(*at, "\n");

    *line = *at;
    *at += n + ((*at)[n] == '\n');
    return (int)n;
}

/* NAME:INDEX and a blank. */
static bool read_choice(struct erne_choice *c, const char **at,
                        const struct erne_backend_fns *const *list)
{
    for (size_t i = 0; list[i]; i++) {
        const char *p = *at;
        int index = 0, n = 0;

        if (!skip(&p, list[i]->name) || !skip(&p, ":"))
            continue;
        while (*p >= '0' && *p <= '9' && n++ < 3)
            index = 10 * index + *p++ - '0';
        if (n == 0 || *p != ' ')
            return false;
        *at = p + 1;
        *c = (struct erne_choice){ list[i], index };
        return true;
    }
    return false;
}

static bool refuse(char why_not[ERNE_TUNED_WHY], const char *fmt, ...) ERNE_PRINTF(2, 3);

static bool refuse(char why_not[ERNE_TUNED_WHY], const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why_not, ERNE_TUNED_WHY, fmt, args);
    va_end(args);
    return false;
}

static bool is_chosen(const struct erne_tuned *t, struct erne_choice c)
{
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++)
        if (t->of[kind].fns == c.fns && t->of[kind].device == c.device)
            return true;
    return false;
}

/* The devices that were looked at. check: those that phases are placed on must be there,
 * and be as they were; the others are not asked: that loads a driver, which takes time
 * and much memory. */
static bool read_devices(struct erne_tuned *t, const char **at,
                         const struct erne_backend_fns *const *list, bool check,
                         char why_not[ERNE_TUNED_WHY])
{
    char now[MAX_LINE] = "";

    t->n_devices = 0;
    while (strncmp(*at, "device: ", 8) == 0 && t->n_devices < ERNE_TUNED_DEVICES) {
        struct erne_choice c = { NULL, 0 };
        const char *line = NULL, *name = *at + 8;
        const int n = cut_line(at, &line);

        if (!read_choice(&c, &name, list))
            return refuse(why_not, "the build lacks the backend of: %.*s", n, line);
        if (check && is_chosen(t, c) &&
            (!device_line(now, c) || strlen(now) != (size_t)n + 1 ||
             memcmp(now, line, (size_t)n) != 0))
            return refuse(why_not, "%s:%d is another device or has another driver",
                          c.fns->name, c.device);
        t->devices[t->n_devices++] = c;
    }
    return true;
}

static bool read_phases(struct erne_tuned *t, const char **at,
                        const struct erne_backend_fns *const *list)
{
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        const char *why = NULL;
        int n;

        if (!skip(at, phase_names[kind]) || !skip(at, ": ") ||
            !read_choice(&t->of[kind], at, list))
            return false;
        n = cut_line(at, &why);
        if ((*at)[-1] != '\n')
            return false;
        snprintf(t->why[kind], sizeof(t->why[kind]), "%.*s", n, why);
    }
    return **at == '\0';
}

/* Cuts the last line off, which is a hash of the others. */
static bool is_whole(char *text, int n)
{
    char end[END_BYTES + 1];

    if (n < END_BYTES)
        return false;
    snprintf(end, sizeof(end), "end: %016" PRIx64 "\n",
             XXH3_64bits(text, (size_t)(n - END_BYTES)));
    if (memcmp(text + n - END_BYTES, end, END_BYTES) != 0)
        return false;
    text[n - END_BYTES] = '\0';
    return true;
}

/* Whether phases are on listed devices, or on the host, which needs no listing. */
static bool check_listed(const struct erne_tuned *t, char why_not[ERNE_TUNED_WHY])
{
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        const struct erne_choice c = t->of[kind];
        int i = 0;

        while (c.fns->map && i < t->n_devices &&
               (t->devices[i].fns != c.fns || t->devices[i].device != c.device))
            i++;
        if (c.fns->map && i == t->n_devices)
            return refuse(why_not, "%s:%d was not looked at", c.fns->name, c.device);
    }
    return true;
}

/* How it was measured. */
static bool read_samples(struct erne_tuned *t, const char **at)
{
    const char *line = NULL;
    int n, n_digits = 0;

    if (!skip(at, "samples: "))
        return false;
    for (t->n_samples = 0; **at >= '0' && **at <= '9' && n_digits < 4; n_digits++)
        t->n_samples = 10 * t->n_samples + *(*at)++ - '0';
    if (n_digits == 0 || !skip(at, "\ndisturbed: "))
        return false;
    n = cut_line(at, &line);
    snprintf(t->disturbed, sizeof(t->disturbed), "%.*s", n, line);
    return (*at)[-1] == '\n';
}

static bool read_tuned(struct erne_tuned *t, const char *text,
                       const struct erne_backend_fns *const *list,
                       const struct erne_tuned_key *key, char why_not[ERNE_TUNED_WHY])
{
    const char *devices;
    char line[MAX_LINE];

    if (!skip(&text, key->text))
        return refuse(why_not, "it is of another model, or damaged");
    build_line(line);
    if (!skip(&text, line))
        return refuse(why_not, "another build made it");
    if (!read_samples(t, &text))
        return refuse(why_not, "it does not say how it was measured");
    devices = text;
    if (!read_devices(t, &text, list, false, why_not))
        return false;
    if (!read_phases(t, &text, list))
        return refuse(why_not, "it does not say where phases are placed");
    return check_listed(t, why_not) && read_devices(t, &devices, list, true, why_not);
}

bool erne_tuned_load(struct erne_tuned *tuned, const char *dir,
                     const struct erne_backend_fns *const *list,
                     const struct erne_tuned_key *key, char why_not[ERNE_TUNED_WHY])
{
    struct erne_tuned found = { .n_devices = 0 };
    char name[MAX_NAME], *text = malloc(MAX_BYTES);
    bool holds = false;
    int n;

    why_not[0] = '\0';
    if (!text)
        return refuse(why_not, "no memory for it");
    name_of(name, key);
    n = erne_cache_load(dir, name, text, MAX_BYTES);
    if (n >= 0)
        holds = is_whole(text, n) ? read_tuned(&found, text, list, key, why_not)
                                  : refuse(why_not, "it is damaged");
    free(text);
    if (holds)
        *tuned = found;
    return holds;
}

bool erne_tuned_is_better(const struct erne_tuned *kept, const struct erne_tuned *found,
                          char *why, size_t cap)
{
    why[0] = '\0';
    if (kept->n_samples == 0 || (kept->disturbed[0] && !found->disturbed[0]))
        return false;
    if (!kept->disturbed[0] && found->disturbed[0])
        snprintf(why, cap, "it was measured undisturbed");
    else if (kept->n_samples > found->n_samples)
        snprintf(why, cap, "it is of %d samples, not of %d", kept->n_samples,
                 found->n_samples);
    return why[0] != '\0';
}

void erne_tuned_text(const struct erne_tuned *tuned, unsigned wanted, char *text,
                     size_t cap)
{
    size_t n = 0;

    text[0] = '\0';
    for (int kind = ERNE_PHASE_COUNT - 1; kind >= 0; kind--)
        if (wanted >> kind & 1 && tuned->why[kind][0] && n < cap)
            n += (size_t)snprintf(text + n, cap - n, "%s%s", n > 0 ? "; " : "",
                                  tuned->why[kind]);
    if (n > 0 && n < cap && tuned->disturbed[0])
        snprintf(text + n, cap - n, "; measured on a busy machine: %s", tuned->disturbed);
}
