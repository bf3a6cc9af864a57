/* rows.inc.c -- portable kernels over one row of f32: norm, conversions, and the end of
 * a matrix product. Included by level.inc.c after the vectors. */

/* The first n < VL elements, zeros after them. */
static inline vf v_load_n(const float *p, int64_t n)
{
    float tmp[VL] = { 0 };
    memcpy(tmp, p, (size_t)n * sizeof *p);
    return v_load(tmp);
}

static inline void v_store_n(float *p, vf a, int64_t n)
{
    float tmp[VL];
    v_store(tmp, a);
    memcpy(p, tmp, (size_t)n * sizeof *p);
}

/* e^x: x = n ln 2 + r, a polynomial in r times 2^n (Cephes expf; 2 ulp). Arguments are
 * clamped to where the result is a normal number. */
static inline vf v_exp(vf x)
{
    x = v_min(v_max(x, v_set1(-87.3f)), v_set1(88.3f));
    vf n = v_round(v_mul(x, v_set1(1.44269504f)));
    vf r = v_fma(n, v_set1(-0.693359375f), x);
    r = v_fma(n, v_set1(2.12194440e-4f), r);
    vf p = v_set1(1.9875691500e-4f);
    p = v_fma(p, r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    p = v_add(v_fma(v_mul(p, r), r, r), v_set1(1.0f));
    return v_mul(p, v_pow2(n));
}

/* x erfc(-x / sqrt 2) / 2: erfc as the exponential of a polynomial in t = 1 / (1 + z / 2)
 * for z >= 0 (Press et al., Numerical Recipes, erfcc; 1.2e-7 of itself). */
static inline vf v_gelu_erf(vf x)
{
    static const float poly[] = { 0.17087277f, -0.82215223f, 1.48851587f, -1.13520398f,
                                  0.27886807f, -0.18628806f, 0.09678418f, 0.37409196f,
                                  1.00002368f, -1.26551223f };
    vf zero = v_set1(0.0f), one = v_set1(1.0f);
    vf z = v_mul(v_max(x, v_sub(zero, x)), v_set1(0.70710678f));
    vf t = v_div(one, v_fma(v_set1(0.5f), z, one));
    vf p = v_set1(poly[0]);
    for (size_t i = 1; i < sizeof poly / sizeof *poly; i++)
        p = v_fma(p, t, v_set1(poly[i]));
    vf tail = v_mul(t, v_exp(v_sub(p, v_mul(z, z))));
    /* With h = |x| tail / 2 it is -h below zero and x - h above. */
    vf h = v_mul(v_mul(v_max(x, v_sub(zero, x)), v_set1(0.5f)), tail);
    return v_sub(v_max(x, zero), h);
}

/* x / (1 + e^-y) */
static inline vf v_gate(vf x, vf y)
{
    vf one = v_set1(1.0f);
    return v_div(x, v_add(one, v_exp(v_sub(v_set1(0.0f), y))));
}

static inline vf v_gelu_tanh(vf x)
{
    vf cube = v_mul(v_mul(x, x), v_mul(x, v_set1(0.044715f)));
    return v_gate(x, v_mul(v_add(x, cube), v_set1(2 * 0.797884561f)));
}

static inline vf v_gelu_quick(vf x)
{
    return v_gate(x, v_mul(x, v_set1(1.702f)));
}

/* x, w, dst: [n] */
static void rms_norm(float *dst, const float *x, const float *w, int64_t n, float eps)
{
    vf sum = v_set1(0.0f);
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        sum = v_fma(v_load(x + i), v_load(x + i), sum);
    vf tail = v_load_n(x + i, n - i);
    sum = v_fma(tail, tail, sum);
    float inv = 1.0f / sqrtf(v_sum(sum) / (float)n + eps);
    for (int64_t j = 0; j < n; j++)
        dst[j] = x[j] * inv * w[j];
}

/* Two passes, since the mean may be large beside the deviations. x, dst: [n] */
static void layer_norm(float *dst, const float *x, const struct cpu_layer_norm *norm,
                       int64_t n)
{
    vf sum = v_set1(0.0f);
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        sum = v_add(v_load(x + i), sum);
    float mean = v_sum(v_add(sum, v_load_n(x + i, n - i))) / (float)n;
    sum = v_set1(0.0f);
    for (i = 0; i + VL <= n; i += VL) {
        vf diff = v_sub(v_load(x + i), v_set1(mean));
        sum = v_fma(diff, diff, sum);
    }
    float var = v_sum(sum);
    for (; i < n; i++)
        var += (x[i] - mean) * (x[i] - mean);
    float inv = 1.0f / sqrtf(var / (float)n + norm->eps);
    for (int64_t j = 0; j < n; j++)
        dst[j] = (x[j] - mean) * inv * norm->w[j] + norm->bias[j];
}

static void f16_from_f32(uint16_t *dst, const float *src, int64_t n)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store_f16(dst + i, v_load(src + i));
    for (; i < n; i++)
        dst[i] = erne_f16_from_f32(src[i]);
}

static void f32_from_f16(float *dst, const uint16_t *src, int64_t n)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(dst + i, v_load_f16(src + i));
    for (; i < n; i++)
        dst[i] = erne_f32_from_f16(src[i]);
}

static void bf16_from_f32(uint16_t *dst, const float *src, float scale, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = erne_bf16_from_f32(scale * src[i]);
}

/* dst [n] = a [n] */
static inline void copy(float *dst, const float *a, int n)
{
    int i = 0;
    for (; i + VL <= n; i += VL)
        v_store(dst + i, v_load(a + i));
    for (; i < n; i++)
        dst[i] = a[i];
}

/* acc [64] to its 32 results: runs of 16 gates alternate with runs of 16 ups. */
static void swiglu(float acc[ERNE_TILE_ROWS])
{
    for (int i = 0; i < ERNE_TILE_ROWS / 2; i += VL) {
        int run = i / ERNE_SWIGLU_RUN * ERNE_SWIGLU_RUN;
        const float *gate = acc + i + run;
        vf up = v_load(gate + ERNE_SWIGLU_RUN);
        v_store(acc + i, v_mul(v_gate(v_load(gate), v_load(gate)), up));
    }
}

/* acc [64] by an activation that works on each element */
static void activate(enum erne_act act, float acc[ERNE_TILE_ROWS])
{
    for (int i = 0; i < ERNE_TILE_ROWS; i += VL) {
        vf x = v_load(acc + i);
        if (act == ERNE_ACT_GELU_ERF)
            x = v_gelu_erf(x);
        else if (act == ERNE_ACT_GELU_TANH)
            x = v_gelu_tanh(x);
        else
            x = v_gelu_quick(x);
        v_store(acc + i, x);
    }
}

/* dst [n] = a [n] + b [n] */
static inline void add(float *dst, const float *a, const float *b, int n)
{
    int i = 0;
    for (; i + VL <= n; i += VL)
        v_store(dst + i, v_add(v_load(a + i), v_load(b + i)));
    for (; i < n; i++)
        dst[i] = a[i] + b[i];
}

static void finish(const struct cpu_epilogue *e, float acc[ERNE_TILE_ROWS])
{
    if (e->bias != NULL)
        add(acc, acc, e->bias, e->n_rows);
    if (e->act == ERNE_ACT_SWIGLU)
        swiglu(acc);
    else if (e->act != ERNE_ACT_NONE)
        activate(e->act, acc);
    if (e->residual != NULL)
        add(e->dst, acc, e->residual, e->n);
    else
        copy(e->dst, acc, e->n);
}

static void add_scaled(float *dst, const float *src, float scale, int64_t n)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(dst + i, v_fma(v_set1(scale), v_load(src + i), v_load(dst + i)));
    for (; i < n; i++)
        dst[i] += scale * src[i];
}
