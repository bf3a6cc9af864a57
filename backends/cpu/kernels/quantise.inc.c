/* quantise.inc.c -- activations to int8 with one scale a block of 32 or 64 inputs.
 *
 * Symmetric int8 keeps a block of like-sized values within about 0.6 % (its step is the
 * largest / 127), but where one outlier dwarfs the others they are left with few steps.
 * So the error is measured while quantising, and if it is above TOLERANCE of the row,
 * the few worst blocks get their remainder quantised too, in a second ("fine") set of
 * codes, until what is left is below REFINED.
 *
 * Inputs of 8-bit weights that lie to one side of zero, as those behind a GELU, are first
 * shifted to where all codes are of use, which halves their error: without, three in four
 * of their blocks were refined, and the product took 1.7 times as long.
 */

/* Relative RMS error of a row of activations; a product with random weights has the same,
 * SwiGLU multiplies it by up to 1.45. Rows of like-sized values (0.59 %) stay as they
 * are: a product takes 36 % longer with 30 % of its blocks refined, and refining the
 * other rows well gains more. KL divergence of SmolLM2 (w8) from itself with everything
 * refined, by both: 6.5e-3, 6.5e-3: 0.00083; 4e-3, 4e-3: 0.00034; these: 0.00020. */
static const float TOLERANCE = 6.5e-3f, REFINED = 3e-3f;

/* codes [n] = round(x / step) and their sum; rest [n] = what they miss. The squares of
 * the rest, summed. */
static float round_block(int8_t *codes, int32_t *sum, float *rest, int n, float step)
{
    vf inv = v_set1(step > 0 ? 1.0f / step : 0.0f), minus = v_set1(-step);
    vf total = v_set1(0.0f), error = v_set1(0.0f);
    for (int i = 0; i < n; i += VL) {
        vf x = v_load(rest + i);
        vf q = v_round(v_mul(x, inv));
        q = v_min(v_max(q, v_set1(-127.0f)), v_set1(127.0f));
        x = v_fma(q, minus, x);
        v_store_i8(codes + i, q);
        v_store(rest + i, x);
        total = v_add(total, q);
        error = v_fma(x, x, error);
    }
    *sum = (int32_t)v_sum(total);
    return v_sum(error);
}

/* The largest magnitude of x [n]; *square: the sum of squares. */
static float block_range(const float *x, int n, float *square)
{
    vf top = v_set1(0.0f), sum = v_set1(0.0f);
    for (int i = 0; i < n; i += VL) {
        vf v = v_load(x + i);
        top = v_max(top, v_abs(v));
        sum = v_fma(v, v, sum);
    }
    *square = v_sum(sum);
    return v_hmax(top);
}

/* Loads block b of src [x->k], zeros after the end. */
static void load_block(float *dst, const struct cpu_activations *x, const float *src,
                       int64_t b)
{
    int64_t left = x->k - b * x->block;
    int64_t n = left < 0 ? 0 : left < x->block ? left : x->block;
    memcpy(dst, src + b * x->block, (size_t)n * sizeof *dst);
    memset(dst + n, 0, (size_t)(x->block - n) * sizeof *dst);
}

/* The error that a block may keep so that those of all blocks that keep theirs sum up to
 * `most`: the few blocks above it are refined. */
static float error_limit(const struct cpu_activations *x, const float *error, float most)
{
    enum { STEPS = 12 };
    float low = 0.0f, high = most;
    for (int i = 0; i < STEPS; i++) {
        const float limit = 0.5f * (low + high);
        float kept = 0.0f;
        for (int64_t b = 0; b < x->n_blocks; b++)
            kept += error[b * x->n_tok] <= limit ? error[b * x->n_tok] : 0.0f;
        if (kept <= most)
            low = limit;
        else
            high = limit;
    }
    return low;
}

/* The step and shift that put all codes of a block to use. A step of 0: that gains little
 * beside the step that the block has. */
struct shift {
    float step, by;
};

static struct shift find_shift(const float *rest, int n, float step)
{
    vf low = v_load(rest), high = low;
    for (int i = VL; i < n; i += VL) {
        low = v_min(low, v_load(rest + i));
        high = v_max(high, v_load(rest + i));
    }
    const float least = -v_hmax(v_sub(v_set1(0.0f), low)), most = v_hmax(high);
    struct shift s = { .step = (most - least) / 254.0f };
    if (s.step > 0 && s.step < 0.65f * step)
        s.by = rintf((most + least) / (2 * s.step));
    if (s.by == 0 || !(fabsf(s.by) <= 127.0f))
        s.step = 0;
    return s;
}

/* Whether three in four of a row's blocks gain by a shift. Some always may: outliers do
 * not make a row one-sided, and are better refined. */
static bool is_one_sided(const struct cpu_activations *x, int64_t t, const float *src)
{
    int64_t n_gain = 0;
    for (int64_t b = 0; b < x->n_blocks; b++) {
        float rest[64];
        load_block(rest, x, src, b);
        n_gain += find_shift(rest, x->block, x->coarse.scale[b * x->n_tok + t]).step > 0;
    }
    return 4 * n_gain >= 3 * x->n_blocks;
}

/* Shifts the blocks that gain by it; answers the row's error. */
static float shift_blocks(const struct cpu_activations *x, int64_t t, const float *src)
{
    float error = 0.0f;
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const int64_t at = b * x->n_tok + t;
        float rest[64];
        load_block(rest, x, src, b);
        const struct shift s = find_shift(rest, x->block, x->coarse.scale[at]);
        if (s.step > 0) {
            for (int i = 0; i < x->block; i++)
                rest[i] -= s.step * s.by;
            x->coarse.scale[at] = s.step;
            x->fine.scale[at] = round_block(x->coarse.codes + at * x->block,
                                            &x->coarse.sum[at], rest, x->block, s.step);
            x->coarse.sum[at] += x->block * (int32_t)s.by;
            x->shift[at] = (int8_t)s.by;
        }
        error += x->fine.scale[at];
    }
    return error;
}

static void quantise(const struct cpu_activations *x, int64_t t, const float *src)
{
    float rest[64];
    float *fine_scale = x->fine.scale + t;
    float error = 0.0f, square = 0.0f;
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const int64_t at = b * x->n_tok + t;
        float s;
        load_block(rest, x, src, b);
        const float scale = block_range(rest, x->block, &s) / 127.0f;
        square += s;
        x->coarse.scale[at] = scale;
        x->fine.scale[at] = round_block(x->coarse.codes + at * x->block,
                                        &x->coarse.sum[at], rest, x->block, scale);
        error += x->fine.scale[at]; /* the error, for the time being */
        if (x->shift != NULL)
            x->shift[at] = 0;
    }
    const float most = TOLERANCE * TOLERANCE * square;
    x->has_shift[t] = error > most && x->shift != NULL && is_one_sided(x, t, src);
    if (x->has_shift[t])
        error = shift_blocks(x, t, src);
    x->has_fine[t] = error > most;
    const float left = REFINED * REFINED * square;
    const float limit = error <= most ? FLT_MAX : error_limit(x, fine_scale, left);
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const int64_t at = b * x->n_tok + t;
        const bool is_fine = x->fine.scale[at] > limit;
        x->fine.scale[at] = is_fine ? x->coarse.scale[at] / 254.0f : 0.0f;
        if (!is_fine)
            continue;
        load_block(rest, x, src, b);
        const int shift = x->shift != NULL ? x->shift[at] : 0;
        for (int i = 0; i < x->block; i++)
            rest[i] -=
                x->coarse.scale[at] * (float)(x->coarse.codes[at * x->block + i] + shift);
        round_block(x->fine.codes + at * x->block, &x->fine.sum[at], rest, x->block,
                    x->fine.scale[at]);
    }
}
