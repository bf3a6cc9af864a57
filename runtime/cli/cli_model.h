/* cli_model.h -- an open model with one session, and texts turned into its tokens. */
#ifndef ERNE_CLI_MODEL_H
#define ERNE_CLI_MODEL_H

#include "runtime/cli/cli_args.h"

struct cli_model {
    struct erne_engine *engine;
    struct erne_session *session;
    const struct erne_model_info *info;
    double load_seconds;
};

/* The path given as -m or as operand i, which must be the last one. EINVAL. */
int cli_model_path(const char **path, const struct cli_args *args, size_t i,
                   struct erne_error *err);
/* args->engine.cache_dir: the user's, unless another was named; it may stay NULL. */
void cli_set_cache_dir(struct cli_args *args);
/* Opens the engine that args ask for; then, once its options are known, a session. */
int cli_model_open(struct cli_model *model, struct cli_args *args, size_t operand,
                   struct erne_error *err);
int cli_model_start(struct cli_model *model, const struct erne_session_opts *opts,
                    struct erne_error *err);
/* To stderr, which experts were in memory, where it is limited and there are some. */
void cli_model_print_experts(const struct cli_model *model);
void cli_model_close(struct cli_model *model);

/* Token ids that grow; zero it to start, free(data) at the end. */
struct cli_ids {
    int32_t *data;
    size_t n, cap;
};

int cli_ids_append(struct cli_ids *ids, int32_t id, struct erne_error *err);
/* ids become those of a text; bos is put before it if the model wants one and it does not
 * start with it. */
int cli_ids_from_text(struct cli_ids *ids, const struct cli_model *model,
                      const char *text, size_t n_bytes, bool parse_special,
                      struct erne_error *err);
/* ids become those of a conversation, up to where the assistant answers. thinking: as in
 * struct erne_chat_opts. */
int cli_ids_from_chat(struct cli_ids *ids, const struct cli_model *model,
                      const struct erne_message *messages, size_t n_messages,
                      int thinking, struct erne_error *err);

/* Whether the model can be asked for that. EUNSUPPORTED. */
int cli_thinking_check(const struct cli_model *model, int thinking,
                       struct erne_error *err);

#endif
