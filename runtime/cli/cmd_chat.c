/* cmd_chat.c -- erne chat: a conversation of many turns, typed or scripted.
 *
 * The whole conversation is laid out and tokenised again for every turn; only what comes
 * after the tokens that the session holds already is evaluated (cli_prefill). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/cli_generate.h"

struct chat {
    struct cli_args *args;
    struct cli_model model;
    struct cli_generator gen;
    struct erne_message *messages; /* [n]; texts and parts are owned, roles are not */
    size_t n;
    struct cli_media media;   /* of all messages, in order */
    struct cli_media waiting; /* for the next question */
    bool answered;            /* whether there are statistics to show */
    bool quit;
};

/* ----------------------------------------------------------- conversation */

/* Another picture may stand where one of these did: the session's context is of no use
 * once a message with media is gone. */
static void drop_from(struct chat *c, size_t n_keep)
{
    while (c->n > n_keep) {
        const struct erne_message *m = &c->messages[--c->n];

        free((void *)m->parts[m->n_parts - 1].text);
        free((void *)m->parts);
        if (m->n_parts > 1)
            cli_forget(&c->gen);
        cli_media_drop(&c->media, m->n_parts - 1);
    }
}

/* Takes text, and frees it when it fails; takes media when it succeeds. */
static int add_message(struct chat *c, const char *role, char *text,
                       struct cli_media *media, struct erne_error *err)
{
    const size_t n_media = media->n;
    struct erne_message *messages =
        text ? realloc(c->messages, (c->n + 1) * sizeof(*messages)) : NULL;
    struct erne_part *parts = NULL;
    int st = ERNE_OK;

    if (messages) {
        c->messages = messages;
        parts = cli_media_parts(media, text);
    }
    if (!parts)
        st = cli_fail(err, ERNE_ENOMEM, "out of memory for the conversation");
    if (st == ERNE_OK)
        st = cli_media_take(&c->media, media, err);
    if (st < 0) {
        free(parts);
        free(text);
        return st;
    }
    messages[c->n++] =
        (struct erne_message){ .role = role, .parts = parts, .n_parts = n_media + 1 };
    return ERNE_OK;
}

static int add_text(struct chat *c, const char *role, char *text, struct erne_error *err)
{
    struct cli_media none = { 0 };

    return add_message(c, role, text, &none, err);
}

static char *copy(const char *text)
{
    const size_t n = strlen(text) + 1;
    char *out = malloc(n);

    return out ? memcpy(out, text, n) : NULL;
}

/* Starts again, with the system message if there is one. */
static int restart(struct chat *c, const char *system, struct erne_error *err)
{
    drop_from(c, 0);
    return system && *system ? add_text(c, "system", copy(system), err) : ERNE_OK;
}

/* ------------------------------------------------------------------ turns */

/* What leaves the conversation usable is told, and the question is taken back: two in a
 * row, or an empty answer, are nothing that a model has seen. */
static int recover(struct chat *c, size_t n_before, int st, const struct erne_error *err)
{
    if (st == ERNE_ECANCELLED) {
        fprintf(stderr, "\n(stopped before the answer; the message was not kept)\n");
    } else if (st == ERNE_ECONTEXT) {
        fprintf(stderr, "\nerne: %s\n", err->text);
        fprintf(stderr, "The last message was not kept. /clear starts again; "
                        "-c N at the start makes room for more.\n");
    } else {
        return st;
    }
    drop_from(c, n_before);
    return ERNE_OK;
}

static int answer(struct chat *c, struct cli_text *text, struct erne_error *err)
{
    struct cli_ids ids = { 0 };
    struct erne_error put_err;
    int st =
        cli_ids_from_chat(&ids, &c->model, c->messages, c->n, c->gen.args->thinking, err);

    cli_interrupt_begin(c->model.session);
    if (st == ERNE_OK)
        st = cli_prefill(&c->gen, &ids, &c->media, err);
    if (st == ERNE_OK) {
        st = cli_answer(&c->gen, text, err);
        c->answered = true;
        if (text->n > 0 && cli_put("\n", 1, &put_err) < 0 && st == ERNE_OK) {
            *err = put_err;
            st = put_err.status;
        }
    }
    cli_interrupt_end();
    free(ids.data);
    return st;
}

/* A question and its answer. Cut short by Ctrl-C, what there is of the answer is kept. */
static int take_turn(struct chat *c, const char *question, struct erne_error *err)
{
    const size_t n_before = c->n;
    struct cli_text text = { 0 };
    int st = add_message(c, "user", copy(question), &c->waiting, err);

    if (st == ERNE_OK)
        st = cli_text_append(&text, "", 0, err);
    if (st == ERNE_OK)
        st = answer(c, &text, err);
    if (st == ERNE_ECANCELLED && text.n > 0) {
        fprintf(stderr, "\n(stopped)\n");
        st = ERNE_OK;
    }
    if (st == ERNE_OK)
        return add_text(c, "assistant", text.data, err);
    free(text.data);
    return recover(c, n_before, st, err);
}

/* --------------------------------------------------------------- commands */

static int show_help(struct chat *c, const char *rest, struct erne_error *err);

static int clear(struct chat *c, const char *rest, struct erne_error *err)
{
    const bool has_system = c->n > 0 && strcmp(c->messages[0].role, "system") == 0;

    (void)rest;
    (void)err;
    drop_from(c, has_system ? 1 : 0);
    fprintf(stderr, "The conversation starts again.\n");
    return ERNE_OK;
}

/* Opens what the next question is about. A bad file is told, and nothing lost. */
static void add_waiting(struct chat *c, const char *option, const char *path)
{
    struct erne_error why;
    int n_tokens = 0;
    int st = cli_media_open(&c->waiting, option, path, &why);

    if (st == ERNE_OK) {
        st = erne_media_n_tokens(c->model.engine, c->waiting.items[c->waiting.n - 1],
                                 &n_tokens, &why);
        if (st < 0)
            cli_media_drop(&c->waiting, 1);
    }
    if (st < 0)
        fprintf(stderr, "erne: %s\n", why.text);
    else
        fprintf(stderr, "%s: %d tokens, in front of the next message.\n", path, n_tokens);
}

static int add_image(struct chat *c, const char *rest, struct erne_error *err)
{
    (void)err;
    add_waiting(c, "--image", rest);
    return ERNE_OK;
}

static int add_video(struct chat *c, const char *rest, struct erne_error *err)
{
    (void)err;
    add_waiting(c, "--video", rest);
    return ERNE_OK;
}

static int show_stats(struct chat *c, const char *rest, struct erne_error *err)
{
    (void)rest;
    (void)err;
    if (c->answered)
        cli_stats_print(&c->gen);
    fprintf(stderr, "  context: %d of %d tokens\n", erne_session_n_past(c->model.session),
            erne_session_n_ctx(c->model.session));
    return ERNE_OK;
}

static int set_system(struct chat *c, const char *rest, struct erne_error *err)
{
    int st = restart(c, rest, err);

    if (st == ERNE_OK)
        fprintf(stderr, "The conversation starts again%s.\n",
                *rest ? " with this system message" : ", without a system message");
    return st;
}

/* Counts from the next answer on. */
static int set_think(struct chat *c, const char *rest, struct erne_error *err)
{
    struct erne_error why;
    const int on = strcmp(rest, "on") == 0;

    (void)err;
    if (!on && strcmp(rest, "off") != 0)
        fprintf(stderr, "/think on: reason before the answer; /think off: do not.\n");
    else if (cli_thinking_check(&c->model, on, &why) < 0)
        fprintf(stderr, "erne: %s\n", why.text);
    else
        c->args->thinking = on;
    return ERNE_OK;
}

static int quit(struct chat *c, const char *rest, struct erne_error *err)
{
    (void)rest;
    (void)err;
    c->quit = true;
    return ERNE_OK;
}

static const struct {
    const char *name, *arg, *help;
    int (*run)(struct chat *c, const char *rest, struct erne_error *err);
} commands[] = {
    { "/help", "", "this list", show_help },
    { "/clear", "", "forget the conversation", clear },
    { "/system", " TEXT", "tell the model TEXT first, and start again", set_system },
    { "/image", " FILE", "put a picture in front of the next message", add_image },
    { "/video", " FILE", "the same with a video, or with a folder of frames", add_video },
    { "/think", " on|off", "whether to reason before answers", set_think },
    { "/stats", "", "speed of the last answer and use of the context", show_stats },
    { "/quit", "", "end the program; so do Ctrl-D, and Ctrl-C at the prompt", quit },
    { "/exit", "", "the same", quit },
};

static int show_help(struct chat *c, const char *rest, struct erne_error *err)
{
    (void)c;
    (void)rest;
    (void)err;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(commands); i++)
        fprintf(stderr, "  %-7s%-7s  %s\n", commands[i].name, commands[i].arg,
                commands[i].help);
    fprintf(stderr, "Ctrl-C stops an answer. A \\ at the end of a line continues the "
                    "message on the next one.\n");
    return ERNE_OK;
}

static int obey(struct chat *c, const char *line, struct erne_error *err)
{
    const size_t n = strcspn(line, " \t");
    const char *rest = line + n + strspn(line + n, " \t");

    for (size_t i = 0; i < ERNE_ARRAY_LEN(commands); i++)
        if (strlen(commands[i].name) == n && memcmp(commands[i].name, line, n) == 0)
            return commands[i].run(c, rest, err);
    fprintf(stderr, "There is no command %.*s; /help lists them.\n", (int)n, line);
    return ERNE_OK;
}

/* ------------------------------------------------------------------- loop */

/* One message, which may span lines that end in a backslash. */
static int read_message(struct cli_text *text, bool *more, struct erne_error *err)
{
    const bool typed = pf_is_terminal(stdin);
    int st = ERNE_OK;

    text->n = 0;
    for (const char *mark = "> "; st == ERNE_OK; mark = ". ") {
        if (typed)
            fputs(mark, stderr);
        st = cli_text_read_line(text, more, err);
        if (st < 0 || text->n == 0 || text->data[text->n - 1] != '\\' || !*more)
            break;
        text->data[text->n - 1] = '\n';
    }
    if (typed && !*more)
        fputc('\n', stderr);
    return st;
}

static int converse(struct chat *c, struct erne_error *err)
{
    struct cli_text text = { 0 };
    bool more = true;
    int st = ERNE_OK;

    while (st == ERNE_OK && more && !c->quit && !cli_ended()) {
        st = read_message(&text, &more, err);
        if (st == ERNE_OK)
            st = cli_text_check(&text, "the message", err);
        if (st < 0 || text.n == 0)
            continue;
        st = text.data[0] == '/' ? obey(c, text.data, err) : take_turn(c, text.data, err);
    }
    free(text.data);
    return st == ERNE_OK && cli_ended() ? ERNE_ECANCELLED : st;
}

int cmd_chat(struct cli_args *args, struct erne_error *err)
{
    struct chat c = { .args = args,
                      .gen = { .model = &c.model, .args = args, .is_chat = true } };
    int st = cli_model_open(&c.model, args, 0, err);

    if (st == ERNE_OK && !c.model.info->has_chat)
        st = cli_fail(err, ERNE_EUNSUPPORTED,
                      "the model has no chat description; erne run continues plain text");
    if (st == ERNE_OK)
        st = cli_thinking_check(&c.model, args->thinking, err);
    if (st == ERNE_OK)
        st = cli_media_open_all(&c.waiting, &args->media, err);
    if (st == ERNE_OK)
        st = cli_model_start(&c.model, &args->session, err);
    if (st == ERNE_OK)
        st = restart(&c, args->system, err);
    if (st == ERNE_OK && pf_is_terminal(stdin))
        fprintf(stderr, "%s, %d tokens of context. /help lists the commands.\n",
                c.model.info->name[0] ? c.model.info->name : c.model.info->arch,
                erne_session_n_ctx(c.model.session));
    if (st == ERNE_OK)
        st = converse(&c, err);
    drop_from(&c, 0);
    free(c.messages);
    cli_media_close(&c.media);
    cli_media_close(&c.waiting);
    free(c.gen.context.data);
    cli_model_close(&c.model);
    return st;
}
