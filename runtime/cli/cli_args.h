/* cli_args.h -- the program's subcommands and options, each written down once.
 *
 * CLI_COMMAND_LIST below makes the prototypes, the table of cli_main.c and the help; the
 * table in cli_options.c makes the parsing of every option and its help text.
 */
#ifndef ERNE_CLI_ARGS_H
#define ERNE_CLI_ARGS_H

#include "runtime/include/erne.h"

/* X(NAME, name, what follows the name on the command line, what it does) */
#define CLI_COMMAND_LIST(X)                                                          \
    X(CONVERT, convert, "SRC -o DST", "turn a checkpoint into one .erne file")       \
    X(INSPECT, inspect, "MODEL", "show what a model file holds")                     \
    X(VERIFY, verify, "MODEL", "check every hash of a model file, or a device for it") \
    X(RUN, run, "MODEL -p TEXT", "answer one prompt")                                \
    X(CHAT, chat, "MODEL", "hold a conversation")                                    \
    X(EVAL, eval, "perplexity|kld MODEL", "measure the quality of a model")          \
    X(LOGITS, logits, "MODEL -o OUT.npy", "write the logits of a text or of tokens") \
    X(BENCH, bench, "[ops] MODEL", "measure how fast a model is here")               \
    X(TUNE, tune, "MODEL", "find out which device runs a model fastest, and keep it") \
    X(DEVICES, devices, "", "list what can compute here")

enum cli_command_bit {
#define X(NAME, name, usage, help) CLI_##NAME##_SHIFT,
    CLI_COMMAND_LIST(X)
#undef X
#define X(NAME, name, usage, help) CLI_##NAME = 1 << CLI_##NAME##_SHIFT,
        CLI_COMMAND_LIST(X)
#undef X
};

/* An option that may be given several times. */
struct cli_list {
    const char **items;
    size_t n;
};

/* Options of bench: lists are read by runtime/cli/bench_list.h. */
struct cli_bench {
    struct cli_list models, backends, devices, n_threads, n_batch, n_ubatch;
    struct cli_list type_k, type_v;
    struct cli_list n_prompt, n_gen, n_depth, pairs, whole, images;
    int n_repeats, delay;   /* delay: seconds */
    int format, err_format; /* enum bench_format */
    const char *html, *suite, *results;
    bool progress, no_warmup, no_check, compare;
};

/* What to do with a model's reasoning, in the order of the option's words. */
enum cli_reasoning { CLI_REASONING_SHOW, CLI_REASONING_HIDE };

/* Where "auto" computes, in the order of the option's words. */
enum cli_tune { CLI_TUNE_AUTO, CLI_TUNE_OFF };

enum { CLI_MAX_OPERANDS = 2, CLI_MAX_PATH = 1024 };

/* What the command line said. Strings point into argv. */
struct cli_args {
    const char *operands[CLI_MAX_OPERANDS];
    size_t n_operands;
    const char *model;

    struct erne_engine_opts engine;
    struct erne_session_opts session; /* kv_type NULL, n_ctx 0: not given */
    struct erne_convert_opts convert;
    struct cli_bench bench;

    const char *prompt, *prompt_file, *system, *tokens_file, *output;
    const char *base, *save_base;
    struct cli_list stops, rules, loras, media, devices;
    int n_predict, n_chunks; /* -1: no limit */
    int n_rounds;            /* of verify; 0: not given */
    int thinking;            /* -1: as the model does */
    int reasoning;           /* enum cli_reasoning */
    int tune;                /* enum cli_tune */
    float seconds;           /* of tune */
    int64_t seed;            /* -1: another one every time */
    bool raw, chat, json, profiles, probe, verbose, no_fallback, only_phases, help;
    bool tensors; /* of inspect */
    bool replace; /* of tune */
    char cache_dir[CLI_MAX_PATH]; /* engine.cache_dir when none was given */
};

struct cli_command {
    const char *name, *usage, *help;
    enum cli_command_bit bit;
    int (*main)(struct cli_args *args, struct erne_error *err);
};

#define X(NAME, name, usage, help) \
    int cmd_##name(struct cli_args *args, struct erne_error *err);
CLI_COMMAND_LIST(X)
#undef X

/* argv: what follows the subcommand. EINVAL names the option and its value. On success
 * and on failure, cli_args_deinit. */
int cli_args_parse(struct cli_args *args, const struct cli_command *command, int argc,
                   char **argv, struct erne_error *err);
void cli_args_deinit(struct cli_args *args);

/* Options that args did not give become those of `more`, which keeps its own. What both
 * leave at its default stays so. */
int cli_args_fill(struct cli_args *args, const struct cli_args *more,
                  const struct cli_command *command, struct erne_error *err);

/* EINVAL names the first option that was given, and is not among those (each by its first
 * name, then NULL) that `what` has a use for. */
int cli_args_only(const struct cli_args *args, enum cli_command_bit command,
                  const char *const *used, const char *what, struct erne_error *err);

/* Whether `name`, without its dashes, is an option of the command that is given once. */
bool cli_args_is_single(const char *name, enum cli_command_bit command);

/* Prints the command's options and what they mean on stdout. */
void cli_args_help(const struct cli_command *command);

#endif
