/* session.h -- the inside of struct erne_session, shared by session.c (life cycle, steps)
 * and session_media.c (media and the positions they bring). */
#ifndef ERNE_SESSION_H
#define ERNE_SESSION_H

#include "runtime/encoder.h"
#include "runtime/engine.h"
#include "runtime/kvcache.h"
#include "runtime/models/model.h"
#include "runtime/plan.h"
#include "runtime/positions.h"
#include "runtime/sampler.h"

/* A graph placed for steps of up to max_tokens tokens. */
struct erne_phase {
    int32_t max_tokens;
    struct erne_graph graph;
    struct erne_model_io io;
    struct erne_plan plan;
};

/* Which tokens the vision experts take. */
enum erne_vision_rule {
    ERNE_VISION_FROM_ID,    /* ids from the image placeholder on: the rule of training */
    ERNE_VISION_MEDIA,      /* placeholders and the marks around media */
    ERNE_VISION_PLACEHOLDER /* placeholders */
};

/* A token of the context: its position, what stands for its embedding, and whether more
 * tokens of the same medium must follow. */
struct erne_place {
    int32_t pos[ERNE_ROPE_AXES];
    int32_t feature; /* or -1 */
    bool inside;
};

/* What a session keeps when its model has a vision tower; else all zero. */
struct erne_session_media {
    struct erne_encoder encoder;
    enum erne_vision_rule rule;
    struct erne_span *spans; /* [n_spans]: media that were added */
    size_t n_spans, cap_spans;
    float *features; /* [n_features, n_embd]: of these media */
    int64_t n_features, cap_features;
    int64_t first_feature; /* the number of features[0] among those of all media */
    struct erne_place *places; /* [n_ctx] */
    struct erne_positions at;
};

struct erne_session {
    struct erne_engine *engine;
    struct erne_kvcache kv;
    struct erne_phase prefill, decode;
    struct erne_sampler sampler;
    struct erne_session_media media;
    int32_t *tokens;          /* [kv.n_ctx]: the context, kv.n_past of them */
    const float *last_logits; /* [n_vocab] inside a phase's arena, or NULL */
    atomic_int cancel;
};

/* What follows does nothing for a text model, unless it says so. */
int erne_session_media_init(struct erne_session *s, const char *rule, int32_t n_ctx,
                            struct erne_error *err);
void erne_session_media_deinit(struct erne_session *s);
/* Places n tokens of the context from number `first` on. EINVAL leaves all as it was. */
int erne_session_media_place(struct erne_session *s, int32_t first, const int32_t *tokens,
                             size_t n, struct erne_error *err);
/* Fills the inputs of a step that not all models have; of a text model, too. */
void erne_session_media_fill(const struct erne_session *s,
                             const struct erne_model_io *io,
                             const struct erne_step *step);
/* Whether the context may be cut to n_keep tokens; and what follows once it was: drops
 * what was added and not used. */
int erne_session_media_check_cut(const struct erne_session *s, int32_t n_keep,
                                 struct erne_error *err);
void erne_session_media_cut(struct erne_session *s, int32_t n_keep);

#endif
