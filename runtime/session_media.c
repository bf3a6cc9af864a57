/* session_media.c -- pictures and videos of a session: their features wait until the
 * placeholders of a prompt take them, one token after the other. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rope.h"
#include "runtime/session.h"

static const struct erne_vision_desc *vision_of(const struct erne_session *s)
{
    return &s->engine->file.desc.vision;
}

static int parse_rule(enum erne_vision_rule *out, const char *name,
                      struct erne_error *err)
{
    static const char *const names[] = {
        [ERNE_VISION_FROM_ID] = "from-id",
        [ERNE_VISION_MEDIA] = "media",
        [ERNE_VISION_PLACEHOLDER] = "placeholder",
    };

    *out = ERNE_VISION_FROM_ID;
    if (!name)
        return 0;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum erne_vision_rule)i;
            return 0;
        }
    return erne_fail(err, ERNE_EINVAL,
                     "vision rule %s: from-id, media or placeholder is known", name);
}

int erne_session_media_init(struct erne_session *s, const char *rule, int32_t n_ctx,
                            struct erne_error *err)
{
    struct erne_session_media *m = &s->media;

    ERNE_TRY(parse_rule(&m->rule, rule, err));
    if (vision_of(s)->n_layers == 0)
        return 0;
    m->keeps = erne_engine_may_fall_back(s->engine);
    m->places = calloc((size_t)n_ctx, sizeof(*m->places));
    if (!m->places)
        return erne_fail(err, ERNE_ENOMEM, "no memory for %d positions", n_ctx);
    return erne_encoder_init(&m->encoder, s->engine, err);
}

void erne_session_media_deinit(struct erne_session *s)
{
    struct erne_session_media *m = &s->media;

    erne_encoder_deinit(&m->encoder);
    free(m->spans);
    free(m->features);
    free(m->places);
    *m = (struct erne_session_media){ 0 };
}

/* ------------------------------------------------------------------- adding */

/* Forgets media whose tokens were all placed, and makes room for one more. */
static int grow_spans(struct erne_session_media *m, struct erne_error *err)
{
    const size_t cap = 2 * m->cap_spans + 4;
    struct erne_span *spans;

    if (m->at.n_done == m->n_spans) {
        m->n_spans = m->at.n_done = 0;
        if (!m->keeps) {
            m->first_feature = m->at.n_features;
            m->n_features = 0;
        }
    }
    if (m->n_spans < m->cap_spans)
        return 0;
    spans = realloc(m->spans, cap * sizeof(*spans));
    if (!spans)
        return erne_fail(err, ERNE_ENOMEM, "no memory for a picture");
    m->spans = spans;
    m->cap_spans = cap;
    return 0;
}

static int grow_features(struct erne_session_media *m, int64_t n, int32_t n_embd,
                         struct erne_error *err)
{
    const int64_t want = m->n_features + n;
    float *features;

    if (want <= m->cap_features)
        return 0;
    features = realloc(m->features, (size_t)want * (size_t)n_embd * sizeof(*features));
    if (!features)
        return erne_fail(err, ERNE_ENOMEM, "no memory for %lld tokens of a picture",
                         (long long)n);
    m->features = features;
    m->cap_features = want;
    return 0;
}

/* What the last of the features are to be; without a device that is lost meanwhile. */
static int encode(struct erne_session *s, const struct erne_media *media,
                  struct erne_error *err)
{
    struct erne_session_media *m = &s->media;
    float *dst = m->features + m->n_features * s->engine->file.desc.n_embd;
    int st;

    for (int i = 0; i < ERNE_MAX_BACKENDS; i++) {
        st = erne_encoder_encode(&m->encoder, media, dst, &s->cancel, err);
        if (st != ERNE_EDEVICE || !s->engine->fallback)
            break;
        erne_encoder_reset(&m->encoder);
    }
    if (st == ERNE_ECANCELLED)
        atomic_store(&s->cancel, 0);
    return st;
}

int erne_session_add_media(struct erne_session *session, const struct erne_media *media,
                           struct erne_error *err)
{
    struct erne_session_media *m = &session->media;
    const struct erne_model_desc *desc = &session->engine->file.desc;
    struct erne_span span;
    int64_t n;

    if (!media)
        return erne_fail(err, ERNE_EINVAL, "erne_session_add_media: no media");
    ERNE_TRY(erne_encoder_span(desc, media, &span, err));
    n = erne_span_tokens(&span);
    if (n > session->kv.n_ctx - session->kv.n_past)
        return erne_fail(err, ERNE_ECONTEXT,
                         "context length exceeded: a picture or video of %lld tokens, "
                         "%d of %d are in use",
                         (long long)n, session->kv.n_past, session->kv.n_ctx);
    ERNE_TRY(grow_spans(m, err));
    ERNE_TRY(grow_features(m, n, desc->n_embd, err));
    ERNE_TRY(encode(session, media, err));
    m->spans[m->n_spans++] = span;
    m->n_features += n;
    return 0;
}

/* ------------------------------------------------------------------ context */

int erne_session_media_place(struct erne_session *s, int32_t first, const int32_t *tokens,
                             size_t n, struct erne_error *err)
{
    struct erne_session_media *m = &s->media;
    struct erne_positions at = m->at;

    if (!m->places)
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct erne_place *place = &m->places[(size_t)first + i];

        ERNE_TRY(erne_positions_place(&at, vision_of(s), m->spans, m->n_spans, tokens[i],
                                      place->pos, &place->feature, err));
        place->inside = at.n_in_span > 0;
    }
    m->at = at;
    return 0;
}

int erne_session_media_check_cut(const struct erne_session *s, int32_t n_keep,
                                 struct erne_error *err)
{
    if (s->media.places && n_keep > 0 && s->media.places[n_keep - 1].inside)
        return erne_fail(err, ERNE_EINVAL,
                         "cannot keep %d tokens: that is inside a picture or video",
                         n_keep);
    return 0;
}

void erne_session_media_cut(struct erne_session *s, int32_t n_keep)
{
    struct erne_session_media *m = &s->media;

    if (!m->places)
        return;
    m->at = (struct erne_positions){ 0 };
    m->n_spans = 0;
    m->n_features = m->first_feature = 0;
    for (int32_t i = 0; i < n_keep; i++) {
        const struct erne_place *place = &m->places[i];

        for (int a = 0; a < ERNE_ROPE_AXES; a++)
            if (place->pos[a] >= m->at.next)
                m->at.next = place->pos[a] + 1;
        if (m->keeps && place->feature >= m->n_features)
            m->n_features = m->at.n_features = place->feature + 1;
    }
}

/* -------------------------------------------------------------------- steps */

static bool is_vision_token(const struct erne_session *s, int32_t id)
{
    const struct erne_vision_desc *v = vision_of(s);

    switch (s->media.rule) {
    case ERNE_VISION_FROM_ID: return v->n_layers > 0 && id >= v->image_token;
    case ERNE_VISION_MEDIA:
        if (id == v->image_start || id == v->image_end || id == v->video_start ||
            id == v->video_end)
            return v->n_layers > 0;
        break;
    case ERNE_VISION_PLACEHOLDER: break;
    }
    return erne_is_placeholder(v, id);
}

/* Features that the step's tokens take, and which token takes which. */
static void fill_features(const struct erne_session *s, const struct erne_model_io *io,
                          const struct erne_step *step)
{
    const struct erne_session_media *m = &s->media;
    const size_t n_embd = (size_t)s->engine->file.desc.n_embd;
    int32_t *rows = io->feature_rows->data, n = 0;
    float *dst = io->features->data;

    assert(m->places); /* as every session whose graphs take features */
    for (int32_t t = 0; t < step->n_tok; t++) {
        const int32_t feature = m->places[step->n_past + t].feature;

        rows[t] = feature < 0 ? -1 : n++;
        if (feature < 0)
            continue;
        memcpy(dst, m->features + (size_t)(feature - m->first_feature) * n_embd,
               n_embd * sizeof(*dst));
        dst += n_embd;
    }
}

void erne_session_media_fill(const struct erne_session *s, const struct erne_model_io *io,
                             const struct erne_step *step)
{
    const int n_axes = erne_rope_n_axes(&s->engine->file.desc);
    int32_t *position = io->rope_position->data;

    for (int32_t t = 0; t < step->n_tok; t++)
        for (int a = 0; a < n_axes; a++)
            *position++ = s->media.places ? s->media.places[step->n_past + t].pos[a]
                                          : step->n_past + t;
    if (io->features)
        fill_features(s, io, step);
    for (int32_t t = 0; io->kind && t < step->n_tok; t++)
        ((int32_t *)io->kind->data)[t] = is_vision_token(s, s->tokens[step->n_past + t]);
}
