/* cmd_logits.c -- erne logits: float32 [n_tokens, n_vocab] as .npy, to compare a whole
 * model with a reference. Keys and values are kept in f32 unless -ctk says otherwise. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/cli_io.h"
#include "runtime/cli/cli_media.h"
#include "runtime/cli/cli_newfile.h"
#include "runtime/cli/cli_rows.h"

/* ----------------------------------------------------------------- tokens */

/* Reads white-space separated ids; messages name the line. */
static int parse_ids(struct cli_ids *ids, const char *text, int32_t n_vocab,
                     const char *path, struct erne_error *err)
{
    int line = 1, st = ERNE_OK;

    for (const char *c = text; st == ERNE_OK;) {
        const size_t n = strcspn(c, " \t\r\n\v\f");
        char *end;
        long id;

        if (n == 0) {
            if (*c == '\0')
                break;
            line += *c++ == '\n';
            continue;
        }
        errno = 0;
        id = strtol(c, &end, 10);
        if (end != c + n || (!isdigit((unsigned char)*c) && *c != '-'))
            return cli_fail(err, ERNE_EINVAL, "%s: line %d: '%.*s' is not a token id",
                            path, line, n < 40 ? (int)n : 40, c);
        if (errno || id < 0 || id >= n_vocab)
            return cli_fail(err, ERNE_EINVAL,
                            "%s: line %d: token %.*s is outside the vocabulary of %d",
                            path, line, n < 40 ? (int)n : 40, c, n_vocab);
        st = cli_ids_append(ids, (int32_t)id, err);
        c += n;
    }
    if (st == ERNE_OK && ids->n == 0)
        return cli_fail(err, ERNE_EINVAL, "%s: no token ids", path);
    return st;
}

static int read_ids(struct cli_ids *ids, const struct cli_model *model, const char *path,
                    struct erne_error *err)
{
    struct cli_text text = { 0 };
    int st = cli_text_read(&text, path, err);

    if (st == ERNE_OK)
        st = cli_text_check(&text, path, err);
    if (st == ERNE_OK)
        st = parse_ids(ids, text.data, model->info->n_vocab, path, err);
    free(text.data);
    return st;
}

static int read_chat(struct cli_ids *ids, const struct cli_model *model,
                     const struct cli_text *text, const struct cli_media *media,
                     struct erne_error *err)
{
    struct erne_part *parts = cli_media_parts(media, text->data);
    const struct erne_message message = { .role = "user",
                                          .parts = parts,
                                          .n_parts = media->n + 1 };
    int st = cli_text_check(text, "the prompt", err);

    if (st == ERNE_OK && !parts)
        st = cli_fail(err, ERNE_ENOMEM, "out of memory for the prompt");
    if (st == ERNE_OK)
        st = cli_ids_from_chat(ids, model, &message, 1, -1, err);
    free(parts);
    return st;
}

/* Each picture must have its tokens, and they a picture. */
static int check_media(const struct cli_ids *ids, const struct cli_model *model,
                       const struct cli_media *media, struct erne_error *err)
{
    size_t n_media = 0, left = 0;
    int st = cli_media_count(media, model, ids->data, ids->n, &n_media, &left, err);

    if (st == ERNE_OK && (n_media < media->n || left > 0))
        st = cli_fail(err, ERNE_EINVAL,
                      "the placeholders of the tokens are enough for %zu of %zu pictures "
                      "and videos, and %zu are left over",
                      n_media, media->n, left);
    return st;
}

static int get_ids(struct cli_ids *ids, const struct cli_model *model,
                   const struct cli_args *args, const struct cli_media *media,
                   struct erne_error *err)
{
    struct cli_text text = { 0 };
    int st;

    if (args->tokens_file) {
        st = read_ids(ids, model, args->tokens_file, err);
        return st == ERNE_OK ? check_media(ids, model, media, err) : st;
    }
    st = cli_text_argument(&text, args->prompt, err);
    if (st == ERNE_OK)
        st = args->chat ? read_chat(ids, model, &text, media, err)
                        : cli_ids_from_text(ids, model, text.data, text.n, true, err);
    if (st == ERNE_OK && ids->n == 0)
        st = cli_fail(err, ERNE_EINVAL, "the prompt is empty");
    free(text.data);
    return st;
}

/* ---------------------------------------------------------------- writing */

static int write_rows(const struct cli_rows *r, const float *rows, size_t first, size_t n,
                      struct erne_error *err)
{
    (void)first;
    return cli_newfile_append(r->user, rows, n * r->n_vocab * sizeof(*rows), err);
}

static int write_logits(const struct cli_model *model, const struct cli_args *args,
                        const struct cli_ids *ids, const struct cli_media *media,
                        struct erne_error *err)
{
    struct cli_newfile file = { 0 };
    struct cli_rows rows = { .visit = write_rows, .user = &file };
    int st = cli_rows_init(&rows, model, args->session.n_batch, err);

    if (st == ERNE_OK)
        st = cli_newfile_check(args, args->output, err);
    if (st == ERNE_OK)
        st = cli_newfile_create(&file, args->output, err);
    if (st == ERNE_OK)
        st = cli_npy_header(&file, ids->n, rows.n_vocab, err);
    cli_interrupt_begin(model->session);
    if (st == ERNE_OK)
        st = cli_media_add(media, 0, model, err);
    if (st == ERNE_OK)
        st = cli_rows_eval(&rows, ids->data, ids->n, 0, err);
    cli_interrupt_end();
    if (st == ERNE_OK)
        st = cli_newfile_commit(&file, err);
    cli_newfile_close(&file);
    cli_rows_deinit(&rows);
    return st;
}

int cmd_logits(struct cli_args *args, struct erne_error *err)
{
    struct cli_model model = { 0 };
    struct cli_media media = { 0 };
    struct cli_ids ids = { 0 };
    int st = ERNE_OK;

    if (!args->prompt == !args->tokens_file)
        return cli_fail(
            err, ERNE_EINVAL,
            "what to evaluate is needed, by either --prompt or --tokens-file");
    if (args->chat && !args->prompt)
        return cli_fail(err, ERNE_EINVAL, "--chat needs --prompt");
    if (args->media.n > 0 && args->prompt && !args->chat)
        return cli_fail(err, ERNE_EINVAL, "%s needs --chat or --tokens-file",
                        args->media.items[0]);
    if (!args->output)
        return cli_fail(err, ERNE_EINVAL, "the file to write is needed: -o OUT.npy");
    args->engine.use_tuned = false; /* figures must not depend on what was measured */
    st = cli_media_open_all(&media, &args->media, err);
    if (st == ERNE_OK)
        st = cli_model_open(&model, args, 0, err);
    if (st == ERNE_OK)
        st = get_ids(&ids, &model, args, &media, err);
    if (st == ERNE_OK && ids.n > (size_t)model.info->n_ctx_train)
        st = cli_fail(err, ERNE_ECONTEXT,
                      "context length exceeded: %zu tokens, the model "
                      "was trained for %d",
                      ids.n, model.info->n_ctx_train);
    if (st == ERNE_OK) {
        args->session.n_ctx = (int)ids.n;
        if (!args->session.n_batch)
            args->session.n_batch = CLI_ROWS_STEP;
        if (!args->session.kv_type)
            args->session.kv_type = "f32";
        st = cli_model_start(&model, &args->session, err);
    }
    if (st == ERNE_OK)
        st = write_logits(&model, args, &ids, &media, err);
    if (st == ERNE_OK)
        cli_model_print_experts(&model);
    free(ids.data);
    cli_media_close(&media);
    cli_model_close(&model);
    return st;
}
