/* session.h -- the inside of struct erne_session, shared by session.c (life cycle and
 * steps), session_media.c (media and the positions they bring) and session_draft.c
 * (guesses by multi-token prediction). */
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
    bool keeps;            /* features of all that is in the context: should its keys and
                              values be lost, they are needed again */
    struct erne_place *places; /* [n_ctx] */
    struct erne_positions at;
};

/* What a session keeps when its model predicts further tokens and this is wanted; else
 * all zero but token. */
struct erne_session_draft {
    bool on;
    struct erne_phase both;      /* the decoder for a token and the guess behind it */
    struct erne_phase few, many; /* the block, for up to 2 and more tokens */
    int32_t n_done;              /* tokens whose keys and values the block has */
    float *hidden;               /* [n_hidden, n_embd]: of the tokens behind these */
    int32_t n_hidden;
    int32_t token;      /* the guess, evaluated behind the context; -1: there is none.
                           Its place in the KV cache counts in kv.n_past */
    const float *ahead; /* [n_vocab]: the logits behind it */
    struct erne_draft_stats stats;
};

struct erne_session {
    struct erne_engine *engine;
    struct erne_kvcache kv;
    struct erne_phase prefill, decode;
    struct erne_sampler sampler;
    struct erne_session_media media;
    struct erne_session_draft draft;
    uint64_t claimed;         /* bytes, of the engine */
    int32_t n_batch;          /* tokens a step takes at most */
    bool is_stale;            /* a device was lost with the context's keys and values */
    int32_t *tokens;          /* [kv.n_ctx]: the context, kv.n_past of them */
    const float *last_logits; /* [n_vocab] inside a phase's arena, or NULL */
    atomic_int cancel;
};

/* ------------------------------------------------------------- session.c */

/* mtp: the block for multi-token prediction instead of the decoder. */
int erne_phase_init(struct erne_phase *phase, const struct erne_session *s,
                    int32_t max_tokens, bool mtp, struct erne_error *err);
void erne_phase_deinit(struct erne_phase *phase);
/* Runs the decoder for tokens [step->n_tok]; those without logits come first. */
int erne_phase_run(struct erne_session *s, struct erne_phase *phase,
                   const int32_t *tokens, const struct erne_step *step,
                   struct erne_error *err);

/* Bytes of activations and scratch that steps touch as long as nobody asks for other
 * logits than those of the last token. */
uint64_t erne_session_step_bytes(const struct erne_session *s);

/* ------------------------------------------------------- session_media.c */

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

/* ------------------------------------------------------- session_draft.c */

/* n_draft: as in struct erne_session_opts. */
int erne_session_draft_init(struct erne_session *s, int n_draft, struct erne_error *err);
void erne_session_draft_deinit(struct erne_session *s);
/* Makes its plans, and drops them; then nothing of the context is known to the block. */
int erne_session_draft_plan(struct erne_session *s, struct erne_error *err);
void erne_session_draft_unplan(struct erne_session *s);
/* After a step of n_tok tokens behind n_past: lets the block catch up. */
int erne_session_draft_step(struct erne_session *s, const struct erne_phase *phase,
                            int32_t n_past, int32_t n_tok, struct erne_error *err);
/* Whether the last token of the context is better evaluated together with a guess; and
 * that evaluation, which sets last_logits. */
bool erne_session_draft_wants(const struct erne_session *s);
int erne_session_draft_eval(struct erne_session *s, struct erne_error *err);
/* If there is a guess and it is this token, it becomes the last of the context, and the
 * logits behind it the last ones. */
bool erne_session_draft_take(struct erne_session *s, int32_t token);
/* Without the guess, if there is one. */
void erne_session_draft_drop(struct erne_session *s);
/* After the context was cut to n_keep tokens. */
void erne_session_draft_cut(struct erne_session *s, int32_t n_keep);

#endif
