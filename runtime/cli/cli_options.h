/* cli_options.h -- the table of all options, between its rows and its parser. */
#ifndef ERNE_CLI_OPTIONS_H
#define ERNE_CLI_OPTIONS_H

#include "runtime/cli/cli_args.h"

enum cli_kind {
    CLI_FLAG,  /* bool */
    CLI_TEXT,  /* const char * */
    CLI_LIST,  /* struct cli_list */
    CLI_MEDIA, /* struct cli_list: the option's name, then its value, each time */
    CLI_INT,   /* int */
    CLI_INT64, /* int64_t */
    CLI_FLOAT, /* float */
    CLI_WORD,  /* int: which of the words of "a|b" that the value is */
    CLI_SIZE   /* uint64_t: bytes, with K, M, G or T for powers of 1024 */
};

struct cli_option {
    const char *names; /* "-n, --n-predict": as help prints them */
    const char *value; /* "N", or all words; NULL for a flag */
    enum cli_kind kind;
    size_t offset;     /* in struct cli_args */
    double min, max;   /* of numbers */
    unsigned commands; /* those that know it: or of CLI_RUN ... */
    const char *help;
};

extern const struct cli_option cli_options[];
extern const size_t cli_n_options;

#endif
