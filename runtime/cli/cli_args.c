/* cli_args.c -- reads a command line by the table of cli_options.c, and prints its help.
 */
#include "runtime/cli/cli_args.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench_record.h"
#include "runtime/cli/cli_io.h"
#include "runtime/cli/cli_options.h"

/* One option as it was met. */
struct given {
    const struct cli_option *option;
    const char *name; /* the spelling used, for messages */
    size_t name_bytes;
    const char *value;
};

/* ---------------------------------------------------------------- look-up */

/* Whether name is one of "-n, --n-predict". */
static bool has_name(const char *names, const char *name, size_t n_bytes)
{
    while (*names) {
        size_t n = strcspn(names, ",");

        if (n == n_bytes && memcmp(names, name, n) == 0)
            return true;
        names += n + strspn(names + n, ", ");
    }
    return false;
}

static const struct cli_option *find(const char *name, size_t n_bytes, unsigned command)
{
    for (size_t i = 0; i < cli_n_options; i++)
        if ((cli_options[i].commands & command) &&
            has_name(cli_options[i].names, name, n_bytes))
            return &cli_options[i];
    return NULL;
}

/* ----------------------------------------------------------------- values */

static int bad_value(const struct given *g, const char *wanted, struct erne_error *err)
{
    return cli_fail(err, ERNE_EINVAL, "option %.*s: '%s' is not %s", (int)g->name_bytes,
                    g->name, g->value, wanted);
}

static int out_of_range(const struct given *g, bool low, struct erne_error *err)
{
    return cli_fail(err, ERNE_EINVAL, "option %.*s: %s is %s than %.10g",
                    (int)g->name_bytes, g->name, g->value, low ? "less" : "more",
                    low ? g->option->min : g->option->max);
}

/* Whether text starts as a number does: strtod and strtoll would also take blanks. */
static bool starts_number(const char *text)
{
    text += *text == '-' || *text == '+';
    return isdigit((unsigned char)*text) || *text == '.';
}

static int parse_integer(int64_t *out, const struct given *g, struct erne_error *err)
{
    char *end;
    long long x;

    errno = 0;
    x = strtoll(g->value, &end, 10);
    if (!starts_number(g->value) || *end)
        return bad_value(g, "a whole number", err);
    if (errno || (double)x < g->option->min || (double)x > g->option->max)
        return out_of_range(g, (double)x < g->option->min, err);
    *out = x;
    return ERNE_OK;
}

static int parse_float(float *out, const struct given *g, struct erne_error *err)
{
    char *end;
    double x = strtod(g->value, &end);

    if (!starts_number(g->value) || *end)
        return bad_value(g, "a number", err);
    if (!(x >= g->option->min && x <= g->option->max))
        return out_of_range(g, x < g->option->min, err);
    *out = (float)x;
    return ERNE_OK;
}

static int parse_size(uint64_t *out, const struct given *g, struct erne_error *err)
{
    static const char suffixes[] = "KMGT";
    const char *suffix;
    char *end;
    unsigned long long x;
    int shift = 0;

    errno = 0;
    x = strtoull(g->value, &end, 10);
    if (!isdigit((unsigned char)g->value[0]))
        return bad_value(g, "a size such as 512M or 2G", err);
    suffix = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (suffix) {
        shift = 10 * (int)(suffix - suffixes + 1);
        end++;
    }
    if (*end)
        return bad_value(g, "a size such as 512M or 2G", err);
    if (errno || x == 0 || x > UINT64_MAX >> shift)
        return out_of_range(g, x == 0, err);
    *out = (uint64_t)x << shift;
    return ERNE_OK;
}

static int parse_word(int *out, const struct given *g, struct erne_error *err)
{
    const size_t n = strlen(g->value);
    int which = 0;

    for (const char *word = g->option->value; *word; which++) {
        const size_t n_word = strcspn(word, "|");

        if (n_word == n && memcmp(word, g->value, n) == 0) {
            *out = which;
            return ERNE_OK;
        }
        word += n_word + (word[n_word] == '|');
    }
    return cli_fail(err, ERNE_EINVAL, "option %.*s: '%s' is none of %s",
                    (int)g->name_bytes, g->name, g->value, g->option->value);
}

static int append(struct cli_list *list, const char *item, struct erne_error *err)
{
    const char **items = realloc(list->items, (list->n + 1) * sizeof(*items));

    if (!items)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for options");
    list->items = items;
    items[list->n++] = item;
    return ERNE_OK;
}

static int store(struct cli_args *args, const struct given *g, struct erne_error *err)
{
    void *field = (char *)args + g->option->offset;
    int64_t x = 0;
    int st = ERNE_OK;

    switch (g->option->kind) {
    case CLI_FLAG: *(bool *)field = true; break;
    case CLI_TEXT: *(const char **)field = g->value; break;
    case CLI_LIST: return append(field, g->value, err);
    case CLI_MEDIA:
        st = append(field, g->option->names, err);
        return st == ERNE_OK ? append(field, g->value, err) : st;
    case CLI_INT:
        st = parse_integer(&x, g, err);
        if (st == ERNE_OK)
            *(int *)field = (int)x;
        break;
    case CLI_INT64: return parse_integer(field, g, err);
    case CLI_FLOAT: return parse_float(field, g, err);
    case CLI_WORD: return parse_word(field, g, err);
    case CLI_SIZE: return parse_size(field, g, err);
    }
    return st;
}

/* ---------------------------------------------------------------- parsing */

/* An empty text would match everywhere, or name no file. */
static bool needs_text(const struct cli_option *o)
{
    return o->kind == CLI_LIST || o->kind == CLI_MEDIA ||
           (o->kind == CLI_TEXT && strcmp(o->value, "TEXT") != 0);
}

/* Reads the option at argv[*i] and its value, which may be argv[*i + 1]. */
static int parse_option(struct cli_args *args, const struct cli_command *command,
                        char **argv, int *i, struct erne_error *err)
{
    const char *arg = argv[*i];
    struct given g = { .name = arg, .name_bytes = strcspn(arg, "=") };
    const bool has_value = arg[g.name_bytes] == '=';

    g.option = find(arg, g.name_bytes, (unsigned)command->bit);
    if (!g.option)
        return cli_fail(err, ERNE_EINVAL,
                        "erne %s has no option %.*s (erne %s --help lists them)",
                        command->name, (int)g.name_bytes, arg, command->name);
    if (g.option->kind == CLI_FLAG) {
        if (has_value)
            return cli_fail(err, ERNE_EINVAL, "option %.*s takes no value, got '%s'",
                            (int)g.name_bytes, arg, arg + g.name_bytes + 1);
        return store(args, &g, err);
    }
    g.value = has_value ? arg + g.name_bytes + 1 : argv[*i + 1];
    if (!g.value)
        return cli_fail(err, ERNE_EINVAL, "option %s needs a value: %s", arg,
                        g.option->value);
    if (!has_value)
        ++*i;
    if (*g.value == '\0' && needs_text(g.option))
        return cli_fail(err, ERNE_EINVAL, "option %.*s: the value is empty",
                        (int)g.name_bytes, g.name);
    return store(args, &g, err);
}

static int add_operand(struct cli_args *args, const struct cli_command *command,
                       const char *arg, struct erne_error *err)
{
    if (args->n_operands == CLI_MAX_OPERANDS)
        return cli_fail(err, ERNE_EINVAL, "erne %s: '%s' is one argument too many",
                        command->name, arg);
    args->operands[args->n_operands++] = arg;
    return ERNE_OK;
}

static void set_defaults(struct cli_args *args)
{
    *args = (struct cli_args){
        .engine = erne_engine_opts_default(),
        .session = erne_session_opts_default(),
        .convert = erne_convert_opts_default(),
        .bench = { .n_repeats = 5, .err_format = BENCH_NONE },
        .n_predict = -1,
        .n_chunks = -1,
        .seed = -1,
        .thinking = -1,
        .seconds = 60,
    };
    args->session.kv_type = NULL;
}

/* argv ends in NULL, as that of main does. */
int cli_args_parse(struct cli_args *args, const struct cli_command *command, int argc,
                   char **argv, struct erne_error *err)
{
    bool options_end = false;

    set_defaults(args);
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        int st;

        if (!options_end && strcmp(arg, "--") == 0) {
            options_end = true;
            continue;
        }
        if (options_end || arg[0] != '-' || arg[1] == '\0')
            st = add_operand(args, command, arg, err);
        else
            st = parse_option(args, command, argv, &i, err);
        if (st < 0)
            return st;
    }
    if (args->seed >= 0)
        args->session.sampling.seed = (uint64_t)args->seed;
    return ERNE_OK;
}

void cli_args_deinit(struct cli_args *args)
{
    for (size_t i = 0; i < cli_n_options; i++) {
        struct cli_list *list = (void *)((char *)args + cli_options[i].offset);

        if (cli_options[i].kind != CLI_LIST && cli_options[i].kind != CLI_MEDIA)
            continue;
        free(list->items);
        *list = (struct cli_list){ 0 };
    }
}

/* ------------------------------------------------------------------- fill */

static size_t kind_bytes(enum cli_kind kind)
{
    static const size_t sizes[] = {
        [CLI_FLAG] = sizeof(bool),
        [CLI_TEXT] = sizeof(const char *),
        [CLI_LIST] = sizeof(struct cli_list),
        [CLI_MEDIA] = sizeof(struct cli_list),
        [CLI_INT] = sizeof(int),
        [CLI_INT64] = sizeof(int64_t),
        [CLI_FLOAT] = sizeof(float),
        [CLI_WORD] = sizeof(int),
        [CLI_SIZE] = sizeof(uint64_t),
    };

    return sizes[kind];
}

static bool is_given(const struct cli_args *args, const struct cli_args *defaults,
                     const struct cli_option *o)
{
    return memcmp((const char *)args + o->offset, (const char *)defaults + o->offset,
                  kind_bytes(o->kind)) != 0;
}

int cli_args_only(const struct cli_args *args, enum cli_command_bit command,
                  const char *const *used, const char *what, struct erne_error *err)
{
    struct cli_args defaults;

    set_defaults(&defaults);
    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];
        const size_t n_name = strcspn(o->names, ",");
        size_t k = 0;

        if (!(o->commands & (unsigned)command) || !is_given(args, &defaults, o))
            continue;
        while (used[k] &&
               (strlen(used[k]) != n_name || strncmp(used[k], o->names, n_name) != 0))
            k++;
        if (!used[k])
            return cli_fail(err, ERNE_EINVAL, "option %s: %s has no use for it", o->names,
                            what);
    }
    return ERNE_OK;
}

int cli_args_fill(struct cli_args *args, const struct cli_args *more,
                  const struct cli_command *command, struct erne_error *err)
{
    struct cli_args defaults;
    int st = ERNE_OK;

    set_defaults(&defaults);
    for (size_t i = 0; st == ERNE_OK && i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];
        char *at = (char *)args + o->offset;
        const char *from = (const char *)more + o->offset;
        const struct cli_list *list = (const void *)from;

        if (!(o->commands & (unsigned)command->bit) || is_given(args, &defaults, o))
            continue;
        if (o->kind != CLI_LIST && o->kind != CLI_MEDIA)
            memcpy(at, from, kind_bytes(o->kind));
        else
            for (size_t k = 0; st == ERNE_OK && k < list->n; k++)
                st = append((void *)at, list->items[k], err);
    }
    return st;
}

bool cli_args_is_single(const char *name, enum cli_command_bit command)
{
    char dashed[64];
    const int n = snprintf(dashed, sizeof(dashed), "--%s", name);
    const struct cli_option *o =
        n < (int)sizeof(dashed) ? find(dashed, (size_t)n, (unsigned)command) : NULL;

    return o && o->kind != CLI_LIST && o->kind != CLI_MEDIA;
}

/* ------------------------------------------------------------------- help */

void cli_args_help(const struct cli_command *command)
{
    enum { COLUMN = 34 };

    printf("usage: erne %s %s [OPTION]...\n\n%c%s.\n\noptions:\n", command->name,
           command->usage, toupper((unsigned char)command->help[0]), command->help + 1);
    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];
        int n;

        if (!(o->commands & (unsigned)command->bit))
            continue;
        n = printf("  %s%s%s", o->names, o->value ? " " : "", o->value ? o->value : "");
        if (n >= COLUMN) {
            putchar('\n');
            n = 0;
        }
        printf("%*s%s\n", COLUMN - n, "", o->help);
    }
}
