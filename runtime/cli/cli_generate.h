/* cli_generate.h -- evaluates a prompt and streams the answer to stdout: what `run` and
 * `chat` share. */
#ifndef ERNE_CLI_GENERATE_H
#define ERNE_CLI_GENERATE_H

#include "runtime/cli/cli_io.h"
#include "runtime/cli/cli_media.h"
#include "runtime/cli/cli_model.h"

struct cli_stats {
    size_t n_prompt, n_reused, n_generated, n_media;
    double vision_seconds, prompt_seconds, generate_seconds;
};

struct cli_generator {
    struct cli_model *model;
    const struct cli_args *args; /* stops, n_predict, thinking, reasoning */
    bool is_chat;                /* the prompt was laid out: reasoning is told apart */
    struct cli_ids context; /* the tokens that the session holds */
    struct cli_stats stats; /* of the last answer */
};

/* Makes the session hold these tokens, evaluating only those after the common beginning
 * with what it holds already. media: all that the prompt has placeholders for; those of
 * the common beginning must be the same ones as before, see cli_forget. Fails with
 * ECONTEXT, saying both sizes. */
int cli_prefill(struct cli_generator *g, const struct cli_ids *prompt,
                const struct cli_media *media, struct erne_error *err);
/* What the session holds is of no use to the next prompt. */
void cli_forget(struct cli_generator *g);
/* Samples until the model or a stop string ends the answer, prints it as it comes and
 * appends it to answer. Reasoning is printed before it, between marks, but is no part of
 * it. ECANCELLED after Ctrl-C, with all that came before it printed. */
int cli_answer(struct cli_generator *g, struct cli_text *answer, struct erne_error *err);

/* Speed and counts of the last answer, on stderr. */
void cli_stats_print(const struct cli_generator *g);

#endif
