/* bench_list.h -- comma lists and ranges of an option, as llama-bench spells them. */
#ifndef ERNE_BENCH_LIST_H
#define ERNE_BENCH_LIST_H

#include "runtime/cli/cli_args.h"

enum { BENCH_LIST_MAX = 256 }; /* values of one option */

/* Zero it to start, bench_ints_deinit at the end. */
struct bench_ints {
    int *data;
    size_t n;
};

/* What is in a list again does not count, in any of these.
 *
 * Reads "A", "A-B", "A-B+STEP" and "A-B*FACTOR", separated by commas, from each item of
 * the list; without items, `fallback` is the only value. EINVAL names option and item. */
int bench_ints_parse(struct bench_ints *ints, const struct cli_list *list,
                     const char *option, int least, int most, int fallback,
                     struct erne_error *err);
/* Pairs "A<separator>B": data[2 i] and data[2 i + 1]. One an item, or separated by commas
 * where the separator is none. */
int bench_pairs_parse(struct bench_ints *ints, const struct cli_list *list,
                      const char *option, char separator, int most,
                      struct erne_error *err);
void bench_ints_deinit(struct bench_ints *ints);

/* Words separated by commas; they live in `text`. */
struct bench_words {
    char **data;
    size_t n;
    char *text;
};

/* list: not empty. is_whole: whether an item is one word, whatever its commas; NULL: none
 * is. */
int bench_words_parse(struct bench_words *words, const struct cli_list *list,
                      const char *option, bool (*is_whole)(const char *item),
                      struct erne_error *err);
void bench_words_deinit(struct bench_words *words);

#endif
