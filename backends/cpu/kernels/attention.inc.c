/* attention.inc.c -- query heads over a page of keys and values, with a running softmax
 * (Milakov and Gimelshein 2018, arXiv:1805.02867).
 *
 * Several heads share each load of a key or value, which is widened to f32 in a register;
 * a head's sums do not depend on how many are computed together.
 */

#include "backends/cpu/kernels/kv_load.inc.c"
#include "backends/cpu/kernels/kv_prefetch.inc.c"

#define SUMS(m)                                       \
    vf a##m = v_set1(0.0f), b##m = a##m, c##m = a##m; \
    vf d##m = a##m;
#define DOT(m)                                   \
    {                                            \
        vf v = v_load(q + (int64_t)m * n_c + c); \
        a##m = v_fma(v, k.a, a##m);              \
        b##m = v_fma(v, k.b, b##m);              \
        c##m = v_fma(v, k.c, c##m);              \
        d##m = v_fma(v, k.d, d##m);              \
    }
#define STORE_SCORES(m) v_store_sums(p + m * ERNE_KV_PAGE + i, a##m, b##m, c##m, d##m);

/* p [heads, ERNE_KV_PAGE] = q [heads, d] times the first n keys, rounded up to whole
 * fours: what lies behind the last key is computed from whatever the page holds. */
#define SCORES_FUNCTION(NAME, HEADS, LOAD)                                          \
    static void NAME(float *p, const float *q, const struct cpu_kv_page *kv, int n) \
    {                                                                               \
        const int64_t n_c = kv->d, step = kv->row_bytes;                            \
        const int64_t part = kv->next_bytes / (ERNE_KV_PAGE / 4);                   \
        for (int i = 0; i < n; i += 4) {                                            \
            const uint8_t *row = kv->k + i * step;                                  \
            prefetch(kv->next_k, i / 4, part);                                      \
            HEADS(SUMS)                                                             \
            for (int64_t c = 0; c < n_c; c += VL) {                                 \
                const struct vf4 k = { LOAD(row, c, n_c), LOAD(row + step, c, n_c), \
                                       LOAD(row + 2 * step, c, n_c),                \
                                       LOAD(row + 3 * step, c, n_c) };              \
                HEADS(DOT)                                                          \
            }                                                                       \
            HEADS(STORE_SCORES)                                                     \
        }                                                                           \
    }

#define OUT_LOAD(m)                                  \
    float *o##m = s[m].out + c;                      \
    const vf keep##m = v_set1(s[m].keep);            \
    vf a##m = v_mul(v_load(o##m), keep##m);          \
    vf b##m = v_mul(v_load(o##m + VL), keep##m);     \
    vf c##m = v_mul(v_load(o##m + 2 * VL), keep##m); \
    vf d##m = v_mul(v_load(o##m + 3 * VL), keep##m);
#define OUT_ADD(m)                              \
    {                                           \
        vf w = v_set1(p[m * ERNE_KV_PAGE + i]); \
        a##m = v_fma(w, v.a, a##m);             \
        b##m = v_fma(w, v.b, b##m);             \
        c##m = v_fma(w, v.c, c##m);             \
        d##m = v_fma(w, v.d, d##m);             \
    }
#define OUT_STORE(m)              \
    v_store(o##m, a##m);          \
    v_store(o##m + VL, b##m);     \
    v_store(o##m + 2 * VL, c##m); \
    v_store(o##m + 3 * VL, d##m);
#define OUT_LOAD_1(m)           \
    float *o##m = s[m].out + c; \
    vf a##m = v_mul(v_load(o##m), v_set1(s[m].keep));
#define OUT_ADD_1(m)   a##m = v_fma(v_set1(p[m * ERNE_KV_PAGE + i]), v, a##m);
#define OUT_STORE_1(m) v_store(o##m, a##m);

/* out [heads, d] = out * keep + p [heads, n] times v [n, d] */
#define VALUES_FUNCTION(NAME, HEADS, LOAD)                                            \
    static void NAME(const struct cpu_softmax *s, const float *p,                     \
                     const struct cpu_kv_page *kv, int n)                             \
    {                                                                                 \
        const int64_t n_parts = kv->d / (4 * VL) * (ERNE_KV_PAGE / 4);                \
        int64_t c = 0, at = 0;                                                        \
        for (; c + 4 * VL <= kv->d; c += 4 * VL) {                                    \
            const uint8_t *row = kv->v;                                               \
            HEADS(OUT_LOAD)                                                           \
            for (int i = 0; i < n; i++, row += kv->row_bytes) {                       \
                const struct vf4 v = { LOAD(row, c, kv->d), LOAD(row, c + VL, kv->d), \
                                       LOAD(row, c + 2 * VL, kv->d),                  \
                                       LOAD(row, c + 3 * VL, kv->d) };                \
                if (i % 4 == 0)                                                       \
                    prefetch(kv->next_v, at++, kv->next_bytes / n_parts);             \
                HEADS(OUT_ADD)                                                        \
            }                                                                         \
            HEADS(OUT_STORE)                                                          \
        }                                                                             \
        for (; c < kv->d; c += VL) {                                                  \
            const uint8_t *row = kv->v;                                               \
            HEADS(OUT_LOAD_1)                                                         \
            for (int i = 0; i < n; i++, row += kv->row_bytes) {                       \
                const vf v = LOAD(row, c, kv->d);                                     \
                HEADS(OUT_ADD_1)                                                      \
            }                                                                         \
            HEADS(OUT_STORE_1)                                                        \
        }                                                                             \
    }

#define PAGE_FUNCTIONS(TYPE)                                         \
    SCORES_FUNCTION(scores_##TYPE##_many, VEC_HEADS, kv_load_##TYPE) \
    SCORES_FUNCTION(scores_##TYPE##_one, ONE_ROW, kv_load_##TYPE)    \
    VALUES_FUNCTION(values_##TYPE##_many, VEC_HEADS, kv_load_##TYPE) \
    VALUES_FUNCTION(values_##TYPE##_one, ONE_ROW, kv_load_##TYPE)
PAGE_FUNCTIONS(f32)
PAGE_FUNCTIONS(f16)
PAGE_FUNCTIONS(q8)
PAGE_FUNCTIONS(q4)

#undef SUMS
#undef DOT
#undef STORE_SCORES
#undef SCORES_FUNCTION
#undef OUT_LOAD
#undef OUT_ADD
#undef OUT_STORE
#undef OUT_LOAD_1
#undef OUT_ADD_1
#undef OUT_STORE_1
#undef VALUES_FUNCTION
#undef PAGE_FUNCTIONS

typedef void scores_fn(float *p, const float *q, const struct cpu_kv_page *kv, int n);
typedef void values_fn(const struct cpu_softmax *s, const float *p,
                       const struct cpu_kv_page *kv, int n);

/* p [ERNE_KV_PAGE] times the scales of rows, if they have some. */
static inline void scale_page(float *p, const float *scale)
{
    for (int i = 0; scale != NULL && i < ERNE_KV_PAGE; i += VL)
        v_store(p + i, v_mul(v_load(p + i), v_load(scale + i)));
}

/* Takes s->n scores of a page into a head's softmax; p [ERNE_KV_PAGE] becomes their
 * exponentials. */
static inline void softmax_page(struct cpu_softmax *s, float *p)
{
    s->keep = 1.0f;
    if (s->n == 0) {
        memset(p, 0, ERNE_KV_PAGE * sizeof *p);
        return;
    }
    const bool full = s->n == ERNE_KV_PAGE;
    for (int i = s->n; !full && i < ERNE_KV_PAGE; i++)
        p[i] = -FLT_MAX;
    vf top = v_set1(s->max), total = v_set1(0.0f);
    for (int i = 0; i < ERNE_KV_PAGE; i += VL)
        top = v_max(v_load(p + i), top);
    const float max = v_hmax(top);
    top = v_set1(max);
    for (int i = 0; i < ERNE_KV_PAGE; i += VL) {
        vf e = v_exp(v_sub(v_load(p + i), top));
        total = v_add(total, e); /* past the end e is about 1e-38: nothing beside 1 */
        v_store(p + i, e);
    }
    /* But the values there may belong to later tokens. */
    if (!full)
        memset(p + s->n, 0, (size_t)(ERNE_KV_PAGE - s->n) * sizeof *p);
    if (max > s->max)
        s->keep = expf(s->max - max);
    s->total = s->total * s->keep + v_sum(total);
    s->max = max;
}

/* n_heads heads, N_VEC_HEADS or 1. */
static inline void attend_heads(struct cpu_softmax *s, const float *q, int n_heads,
                                const struct cpu_kv_page *kv, scores_fn *scores,
                                values_fn *values)
{
    float p[N_VEC_HEADS * ERNE_KV_PAGE];
    int n = 0;
    for (int h = 0; h < n_heads; h++)
        n = s[h].n > n ? s[h].n : n;
    scores(p, q, kv, n);
    for (int h = 0; h < n_heads; h++) {
        scale_page(p + h * ERNE_KV_PAGE, kv->k_scale);
        softmax_page(&s[h], p + h * ERNE_KV_PAGE);
        scale_page(p + h * ERNE_KV_PAGE, kv->v_scale);
    }
    values(s, p, kv, n);
}

#define ATTEND_FUNCTION(TYPE)                                                         \
    static void attend_##TYPE(struct cpu_softmax *s, const float *q, int64_t n_heads, \
                              const struct cpu_kv_page *kv)                           \
    {                                                                                 \
        struct cpu_kv_page part = *kv; /* of what comes next, each group's */         \
        part.next_bytes /= n_heads / N_VEC_HEADS + n_heads % N_VEC_HEADS;             \
        for (int64_t h = 0, n; h < n_heads; h += n) {                                 \
            n = h + N_VEC_HEADS <= n_heads ? N_VEC_HEADS : 1;                         \
            if (n == N_VEC_HEADS)                                                     \
                attend_heads(s + h, q + h * kv->d, N_VEC_HEADS, &part,                \
                             scores_##TYPE##_many, values_##TYPE##_many);             \
            else                                                                      \
                attend_heads(s + h, q + h * kv->d, 1, &part, scores_##TYPE##_one,     \
                             values_##TYPE##_one);                                    \
            part.next_k += part.next_bytes;                                           \
            part.next_v += part.next_bytes;                                           \
        }                                                                             \
    }
ATTEND_FUNCTION(f32)
ATTEND_FUNCTION(f16)
ATTEND_FUNCTION(q8)
ATTEND_FUNCTION(q4)
#undef ATTEND_FUNCTION
