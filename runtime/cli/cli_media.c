/* cli_media.c -- see cli_media.h. */
#include "runtime/cli/cli_media.h"

#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/cli_io.h"

int cli_media_open(struct cli_media *media, const char *option, const char *path,
                   struct erne_error *err)
{
    struct erne_media **items =
        realloc(media->items, (media->n + 1) * sizeof(struct erne_media *));
    int st;

    if (!items)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %s", path);
    media->items = items;
    if (strcmp(option, "--image") == 0)
        st = erne_media_open_image(&items[media->n], path, err);
    else if (pf_path_is_dir(path))
        st = erne_media_open_frames(&items[media->n], path, err);
    else
        st = erne_media_open_video(&items[media->n], path, err);
    media->n += st == ERNE_OK;
    return st;
}

int cli_media_open_all(struct cli_media *media, const struct cli_list *list,
                       struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = 0; st == ERNE_OK && i + 1 < list->n; i += 2)
        st = cli_media_open(media, list->items[i], list->items[i + 1], err);
    return st;
}

void cli_media_drop(struct cli_media *media, size_t n)
{
    for (; n > 0; n--)
        erne_media_close(&media->items[--media->n]);
}

void cli_media_close(struct cli_media *media)
{
    cli_media_drop(media, media->n);
    free(media->items);
    *media = (struct cli_media){ 0 };
}

int cli_media_take(struct cli_media *media, struct cli_media *from,
                   struct erne_error *err)
{
    struct erne_media **items;

    if (from->n == 0)
        return ERNE_OK;
    items = realloc(media->items, (media->n + from->n) * sizeof(struct erne_media *));
    if (!items)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for the conversation");
    media->items = items;
    for (size_t i = 0; i < from->n; i++)
        items[media->n++] = from->items[i];
    from->n = 0;
    return ERNE_OK;
}

int cli_media_count(const struct cli_media *media, const struct cli_model *model,
                    const int32_t *ids, size_t n, size_t *n_media, size_t *left,
                    struct erne_error *err)
{
    size_t n_places = 0, i = 0;

    for (size_t t = 0; t < n; t++)
        n_places += erne_engine_is_placeholder(model->engine, ids[t]);
    for (; i < media->n; i++) {
        int n_tokens = 0,
            st = erne_media_n_tokens(model->engine, media->items[i], &n_tokens, err);

        if (st < 0)
            return st;
        if ((size_t)n_tokens > n_places)
            break;
        n_places -= (size_t)n_tokens;
    }
    *n_media = i;
    *left = n_places;
    return ERNE_OK;
}

int cli_media_add(const struct cli_media *media, size_t first,
                  const struct cli_model *model, struct erne_error *err)
{
    int st = ERNE_OK;

    for (size_t i = first; st == ERNE_OK && i < media->n; i++)
        st = erne_session_add_media(model->session, media->items[i], err);
    return st;
}

struct erne_part *cli_media_parts(const struct cli_media *media, char *text)
{
    struct erne_part *parts = calloc(media->n + 1, sizeof(*parts));

    for (size_t i = 0; parts && i < media->n; i++)
        parts[i].media = media->items[i];
    if (parts)
        parts[media->n].text = text;
    return parts;
}
