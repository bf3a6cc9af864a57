/* chat.c -- the public tokenising calls: plain text, and conversations, which
 * chat_layout.c lays out. */
#include "runtime/chat_layout.h"
#include "runtime/engine.h"

static int no_tokenizer(struct erne_error *err)
{
    return erne_fail(err, ERNE_EUNSUPPORTED, "the model has no tokenizer");
}

int erne_tokenize(const struct erne_engine *engine, const char *text, size_t n_bytes,
                  bool parse_special, int32_t *ids, size_t cap, size_t *n,
                  struct erne_error *err)
{
    const struct erne_text_span all = { 0, n_bytes };
    const struct erne_text whole = { text, n_bytes, &all, parse_special ? 0 : 1 };

    if (!engine->tokenizer)
        return no_tokenizer(err);
    return erne_tokenizer_encode(engine->tokenizer, &whole, ids, cap, n, err);
}

struct erne_chat_opts erne_chat_opts_default(void)
{
    return (struct erne_chat_opts){
        .struct_size = sizeof(struct erne_chat_opts),
        .add_generation = true,
        .thinking = -1,
    };
}

/* Videos have a placeholder of their own where the vocabulary has one. */
static int fill_media(const void *user, const struct erne_media *media,
                      struct erne_chat_fill *fill, struct erne_error *err)
{
    const struct erne_engine *engine = user;
    const struct erne_vision_desc *v = &engine->file.desc.vision;
    int n_tokens;

    ERNE_TRY(erne_media_n_tokens(engine, media, &n_tokens, err));
    fill->is_video = erne_media_info(media).is_video;
    fill->token = fill->is_video && v->video_token >= 0 ? v->video_token : v->image_token;
    fill->n_tokens = (size_t)n_tokens;
    return 0;
}

int erne_chat_tokenize(const struct erne_engine *engine,
                       const struct erne_message *messages, size_t n_messages,
                       const struct erne_chat_opts *opts, int32_t *ids, size_t cap,
                       size_t *n, struct erne_error *err)
{
    const struct erne_chat_job job = {
        .chat = &engine->file.desc.chat,
        .tok = engine->tokenizer,
        .messages = messages,
        .n_messages = n_messages,
        .opts = opts ? *opts : erne_chat_opts_default(),
        .fill = fill_media,
        .user = engine,
    };

    if (!engine->tokenizer)
        return no_tokenizer(err);
    if (!job.chat->present)
        return erne_fail(err, ERNE_EUNSUPPORTED, "the model has no chat description");
    if (job.opts.struct_size != sizeof(job.opts))
        return erne_fail(err, ERNE_EINVAL, "chat options of another version");
    return erne_chat_encode(&job, ids, cap, n, err);
}
