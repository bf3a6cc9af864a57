/* cmd_run.c -- erne run: one prompt, one answer. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/cli/cli_generate.h"

/* The text of -p or -f. A file's last newline is its editor's, not the user's. */
static int read_prompt(struct cli_text *text, const struct cli_args *args,
                       struct erne_error *err)
{
    int st;

    if (!args->prompt == !args->prompt_file)
        return cli_fail(err, ERNE_EINVAL,
                        "a prompt is needed, by either -p TEXT or -f FILE");
    st = args->prompt ? cli_text_argument(text, args->prompt, err)
                      : cli_text_read(text, args->prompt_file, err);
    if (st == ERNE_OK && text->n > 0 && text->data[text->n - 1] == '\n')
        text->data[--text->n] = '\0';
    return st;
}

/* What was asked for that only a chat has a place for. */
static const char *needs_chat(const struct cli_args *args)
{
    if (args->system)
        return "-sys";
    if (args->thinking >= 0)
        return "--think";
    return args->media.n > 0 ? args->media.items[0] : NULL;
}

static int make_chat(struct cli_ids *ids, const struct cli_model *model,
                     const struct cli_args *args, const struct cli_text *text,
                     const struct cli_media *media, struct erne_error *err)
{
    struct erne_message messages[2];
    struct erne_part *parts;
    size_t n = 0;
    int st = cli_text_check(text, args->prompt ? "the prompt" : args->prompt_file, err);

    if (st < 0)
        return st;
    parts = cli_media_parts(media, text->data);
    if (!parts)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for the prompt");
    if (args->system)
        messages[n++] = (struct erne_message){ .role = "system", .text = args->system };
    messages[n++] =
        (struct erne_message){ .role = "user", .parts = parts, .n_parts = media->n + 1 };
    st = cli_ids_from_chat(ids, model, messages, n, args->thinking, err);
    free(parts);
    return st;
}

static int make_prompt(struct cli_ids *ids, const struct cli_model *model,
                       const struct cli_args *args, const struct cli_text *text,
                       const struct cli_media *media, struct erne_error *err)
{
    const char *option = needs_chat(args);

    if (!args->raw && model->info->has_chat)
        return make_chat(ids, model, args, text, media, err);
    if (option)
        return cli_fail(err, ERNE_EINVAL, "%s needs a chat, but %s", option,
                        args->raw ? "--raw asks for plain text"
                                  : "the model has no chat description");
    return cli_ids_from_text(ids, model, text->data, text->n, true, err);
}

static int answer(struct cli_generator *g, const struct cli_ids *ids,
                  const struct cli_media *media, struct erne_error *err)
{
    struct cli_text text = { 0 };
    struct erne_error put_err;
    int st;

    cli_interrupt_begin(g->model->session);
    st = cli_prefill(g, ids, media, err);
    if (st == ERNE_OK) {
        st = cli_answer(g, &text, err);
        if (text.n > 0 && text.data[text.n - 1] != '\n')
            cli_put("\n", 1, st == ERNE_OK ? err : &put_err);
        fputc('\n', stderr);
        cli_stats_print(g);
    }
    cli_interrupt_end();
    free(text.data);
    return st;
}

int cmd_run(struct cli_args *args, struct erne_error *err)
{
    struct cli_model model = { 0 };
    struct cli_generator g = { .model = &model, .args = args };
    struct cli_text text = { 0 };
    struct cli_media media = { 0 };
    struct cli_ids ids = { 0 };
    int st;

    st = read_prompt(&text, args, err);
    if (st == ERNE_OK)
        st = cli_media_open_all(&media, &args->media, err);
    if (st == ERNE_OK)
        st = cli_model_open(&model, args, 0, err);
    if (st == ERNE_OK)
        st = make_prompt(&ids, &model, args, &text, &media, err);
    g.is_chat = !args->raw && model.info && model.info->has_chat;
    if (st == ERNE_OK)
        st = cli_model_start(&model, &args->session, err);
    if (st == ERNE_OK)
        st = answer(&g, &ids, &media, err);
    free(ids.data);
    free(g.context.data);
    free(text.data);
    cli_media_close(&media);
    cli_model_close(&model);
    return st;
}
