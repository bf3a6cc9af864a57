/* attention.inc.c -- one query head over one page of keys and values, with a running
 * softmax (Milakov and Gimelshein 2018, arXiv:1805.02867). */

static inline float dot_f32(const float *a, const float *b, int n)
{
    vf sum = v_set1(0.0f);
    int i = 0;
    for (; i + VL <= n; i += VL)
        sum = v_fma(v_load(a + i), v_load(b + i), sum);
    if (i < n)
        sum = v_fma(v_load_n(a + i, n - i), v_load_n(b + i, n - i), sum);
    return v_sum(sum);
}

/* out [d] = out * keep + p [n] times v [n, d] */
static void add_values(float *out, float keep, const float *p,
                       const struct cpu_kv_page *kv)
{
    const int d = kv->d;
    int c = 0;
    for (; c + 4 * VL <= d; c += 4 * VL) {
        vf k = v_set1(keep);
        vf s0 = v_mul(v_load(out + c), k), s1 = v_mul(v_load(out + c + VL), k);
        vf s2 = v_mul(v_load(out + c + 2 * VL), k);
        vf s3 = v_mul(v_load(out + c + 3 * VL), k);
        for (int i = 0; i < kv->n; i++) {
            const float *v = kv->v + (int64_t)i * d + c;
            vf w = v_set1(p[i]);
            s0 = v_fma(w, v_load(v), s0);
            s1 = v_fma(w, v_load(v + VL), s1);
            s2 = v_fma(w, v_load(v + 2 * VL), s2);
            s3 = v_fma(w, v_load(v + 3 * VL), s3);
        }
        v_store(out + c, s0);
        v_store(out + c + VL, s1);
        v_store(out + c + 2 * VL, s2);
        v_store(out + c + 3 * VL, s3);
    }
    for (; c < d; c++) {
        float s = out[c] * keep;
        for (int i = 0; i < kv->n; i++)
            s += p[i] * kv->v[(int64_t)i * d + c];
        out[c] = s;
    }
}

static void attend(struct cpu_softmax *s, const float *q, const struct cpu_kv_page *kv)
{
    float p[ERNE_KV_PAGE];
    float top = s->max;
    for (int i = 0; i < kv->n; i++) {
        p[i] = dot_f32(q, kv->k + (int64_t)i * kv->d, kv->d);
        top = fmaxf(top, p[i]);
    }
    for (int i = kv->n; i < ERNE_KV_PAGE; i++)
        p[i] = -FLT_MAX;
    float keep = expf(s->max - top);
    vf total = v_set1(0.0f);
    for (int i = 0; i < kv->n; i += VL) {
        vf e = v_exp(v_sub(v_load(p + i), v_set1(top)));
        total = v_add(total, e); /* past the end e is about 1e-38: nothing beside 1 */
        v_store(p + i, e);
    }
    add_values(s->out, keep, p, kv);
    s->total = s->total * keep + v_sum(total);
    s->max = top;
}

static float softmax_tile(struct cpu_softmax *s, float *scores, int first, int end)
{
    float top = s->max;
    for (int i = first; i < end; i++)
        top = fmaxf(top, scores[i] * s->scale);
    float keep = expf(s->max - top);
    vf total = v_set1(0.0f);
    for (int i = 0; i < ERNE_TILE_ROWS; i += VL)
        v_store(scores + i, v_exp(v_sub(v_mul(v_load(scores + i), v_set1(s->scale)),
                                        v_set1(top))));
    for (int i = 0; i < first; i++)
        scores[i] = 0.0f;
    for (int i = end; i < ERNE_TILE_ROWS; i++)
        scores[i] = 0.0f;
    for (int i = 0; i < ERNE_TILE_ROWS; i += VL)
        total = v_add(total, v_load(scores + i));
    s->total = s->total * keep + v_sum(total);
    s->max = top;
    return keep;
}
