/* bench_list.c -- "512", "1,2,4", "1-8", "64-1024*2": values of options of a cross
 * product. */
#include "runtime/cli/bench_list.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli_io.h"

/* Where a list is read from, for messages. */
struct source {
    const char *option;
    const char *item; /* up to the next comma or the end */
    int least, most;
};

/* ---------------------------------------------------------------- numbers */

static int bad_item(const struct source *s, const char *wanted, struct erne_error *err)
{
    return cli_fail(err, ERNE_EINVAL, "option %s: '%.*s' is not %s", s->option,
                    (int)strcspn(s->item, ","), s->item, wanted);
}

/* Whether a is there, followed by b where the list is one of pairs. */
static bool has(const struct bench_ints *ints, int a, const int *b)
{
    const size_t step = b ? 2 : 1;

    for (size_t i = 0; i + step <= ints->n; i += step)
        if (ints->data[i] == a && (!b || ints->data[i + 1] == *b))
            return true;
    return false;
}

static int add(struct bench_ints *ints, const struct source *s, int value,
               struct erne_error *err)
{
    int *data;

    if (value < s->least || value > s->most)
        return cli_fail(err, ERNE_EINVAL, "option %s: %d is %s than %d", s->option, value,
                        value < s->least ? "less" : "more",
                        value < s->least ? s->least : s->most);
    if (ints->n == BENCH_LIST_MAX)
        return cli_fail(err, ERNE_EINVAL, "option %s: more than %d values", s->option,
                        BENCH_LIST_MAX);
    data = realloc(ints->data, (ints->n + 1) * sizeof(*data));
    if (!data)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for option %s", s->option);
    ints->data = data;
    data[ints->n++] = value;
    return ERNE_OK;
}

/* Digits at *text, which moves behind them; at most 9 of them, so that it is an int. */
static bool read_number(const char **text, int *value)
{
    const char *start = *text;
    int x = 0;

    while (isdigit((unsigned char)**text) && *text - start < 9)
        x = 10 * x + (*(*text)++ - '0');
    *value = x;
    return *text > start && !isdigit((unsigned char)**text);
}

static int add_range(struct bench_ints *ints, const struct source *s,
                     struct erne_error *err)
{
    static const char wanted[] =
        "a number or a range such as 1-8, 0-512+128 or 64-1024*2";
    const char *at = s->item;
    int first, last, step = 1, st = ERNE_OK;
    char how = '+';

    if (!read_number(&at, &first))
        return bad_item(s, wanted, err);
    last = first;
    if (*at == '-') {
        at++;
        if (!read_number(&at, &last))
            return bad_item(s, wanted, err);
        if (*at == '+' || *at == '*') {
            how = *at++;
            if (!read_number(&at, &step))
                return bad_item(s, wanted, err);
        }
    }
    if ((*at != '\0' && *at != ',') || last < first)
        return bad_item(s, wanted, err);
    if (first < last && (step < 1 || (how == '*' && (step < 2 || first == 0))))
        return bad_item(s, "a range that advances", err);
    for (int64_t x = first; st == ERNE_OK && x <= last;
         x = how == '+' ? x + step : x * step) {
        if (!has(ints, (int)x, NULL))
            st = add(ints, s, (int)x, err);
        if (first == last)
            break;
    }
    return st;
}

int bench_ints_parse(struct bench_ints *ints, const struct cli_list *list,
                     const char *option, int least, int most, int fallback,
                     struct erne_error *err)
{
    struct source s = { option, "", least, most };
    int st = ERNE_OK;

    if (list->n == 0)
        return add(ints, &s, fallback, err);
    for (size_t i = 0; st == ERNE_OK && i < list->n; i++) {
        s.item = list->items[i];
        while (st == ERNE_OK) {
            st = add_range(ints, &s, err);
            if (!strchr(s.item, ','))
                break;
            s.item = strchr(s.item, ',') + 1;
        }
    }
    return st;
}

static int add_pair(struct bench_ints *ints, const struct source *s, char separator,
                    struct erne_error *err)
{
    const char *at = s->item;
    int a = 0, b = 0, st;

    if (!read_number(&at, &a) || *at++ != separator || !read_number(&at, &b) ||
        (*at && (*at != ',' || separator == ',')))
        return cli_fail(err, ERNE_EINVAL,
                        "option %s: '%s' is not a pair such as 512%c128", s->option,
                        s->item, separator);
    if (has(ints, a, &b))
        return ERNE_OK;
    st = add(ints, s, a, err);
    return st == ERNE_OK ? add(ints, s, b, err) : st;
}

int bench_pairs_parse(struct bench_ints *ints, const struct cli_list *list,
                      const char *option, char separator, int most,
                      struct erne_error *err)
{
    struct source s = { option, "", 1, most };
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < list->n; i++)
        for (s.item = list->items[i]; st == ERNE_OK;) {
            st = add_pair(ints, &s, separator, err);
            if (separator == ',' || !strchr(s.item, ','))
                break;
            s.item = strchr(s.item, ',') + 1;
        }
    return st;
}

void bench_ints_deinit(struct bench_ints *ints)
{
    free(ints->data);
    *ints = (struct bench_ints){ 0 };
}

/* ------------------------------------------------------------------ words */

/* All items, a newline between values, in memory of words. */
static int join(struct bench_words *words, const struct cli_list *list,
                bool (*is_whole)(const char *item), struct erne_error *err)
{
    struct cli_text text = { 0 };
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i < list->n; i++) {
        const size_t first = text.n + (i > 0);

        if (i > 0)
            st = cli_text_append(&text, "\n", 1, err);
        if (st == ERNE_OK)
            st = cli_text_append(&text, list->items[i], strlen(list->items[i]), err);
        if (st < 0 || (is_whole && is_whole(list->items[i])))
            continue;
        for (size_t k = first; k < text.n; k++)
            if (text.data[k] == ',')
                text.data[k] = '\n';
    }
    words->text = text.data;
    return st;
}

static bool has_word(const struct bench_words *words, const char *word)
{
    for (size_t i = 0; i < words->n; i++)
        if (strcmp(words->data[i], word) == 0)
            return true;
    return false;
}

int bench_words_parse(struct bench_words *words, const struct cli_list *list,
                      const char *option, bool (*is_whole)(const char *item),
                      struct erne_error *err)
{
    size_t n = 1;
    int st = join(words, list, is_whole, err);

    if (st < 0 || !words->text) /* no item, no word */
        return st;
    for (const char *c = words->text; *c; c++)
        n += *c == '\n';
    if (n > BENCH_LIST_MAX)
        return cli_fail(err, ERNE_EINVAL, "option %s: more than %d values", option,
                        BENCH_LIST_MAX);
    words->data = calloc(n, sizeof(*words->data));
    if (!words->data)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for option %s", option);
    words->n = 0;
    for (char *at = words->text; n > 0; n--, at += strlen(at) + 1) {
        at[strcspn(at, "\n")] = '\0';
        if (*at == '\0')
            return cli_fail(err, ERNE_EINVAL, "option %s: a value is empty", option);
        if (!has_word(words, at))
            words->data[words->n++] = at;
    }
    return ERNE_OK;
}

void bench_words_deinit(struct bench_words *words)
{
    free(words->data);
    free(words->text);
    *words = (struct bench_words){ 0 };
}
