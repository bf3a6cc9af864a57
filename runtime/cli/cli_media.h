/* cli_media.h -- pictures and videos of a command line or a conversation. */
#ifndef ERNE_CLI_MEDIA_H
#define ERNE_CLI_MEDIA_H

#include "runtime/cli/cli_model.h"

/* Zero it to start. */
struct cli_media {
    struct erne_media **items;
    size_t n;
};

/* option: "--image" for a picture; "--video" for a video file or a folder of frames. */
int cli_media_open(struct cli_media *media, const char *option, const char *path,
                   struct erne_error *err);
/* What --image and --video gave, in their order (CLI_MEDIA in cli_options.h). */
int cli_media_open_all(struct cli_media *media, const struct cli_list *list,
                       struct erne_error *err);
/* The last n are closed; all, and what holds them. */
void cli_media_drop(struct cli_media *media, size_t n);
void cli_media_close(struct cli_media *media);
/* Moves all of `from` behind those of media; on failure both are as before. */
int cli_media_take(struct cli_media *media, struct cli_media *from,
                   struct erne_error *err);

/* How many of the media fill the placeholders of ids [n] completely; *left receives how
 * many placeholders are over. */
int cli_media_count(const struct cli_media *media, const struct cli_model *model,
                    const int32_t *ids, size_t n, size_t *n_media, size_t *left,
                    struct erne_error *err);

/* Runs the vision tower on media first and on; their tokens may then be evaluated. */
int cli_media_add(const struct cli_media *media, size_t first,
                  const struct cli_model *model, struct erne_error *err);

/* Parts of a message, media before text, which the last part then points to: [media->n +
 * 1], free() them. NULL: no memory. */
struct erne_part *cli_media_parts(const struct cli_media *media, char *text);

#endif
