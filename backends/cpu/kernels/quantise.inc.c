/* quantise.inc.c -- activations to int8 with one scale a block of 32 or 64 inputs.
 *
 * Symmetric int8 keeps a block of like-sized values within about 0.6 % (its step is the
 * largest / 127), but where a few outliers dwarf the others these are left with few
 * steps. So the error is measured while quantising, and if it is above TOLERANCE of the
 * row, the quads with the largest inputs of every block, one in four, get high codes, and
 * the others a finer step. That halves the error of normal inputs' products behind a
 * SwiGLU (1.12 to 0.38 %) for a third more products. If it is still above REFINED, all
 * quads of the worst blocks get high codes, which leaves nothing to speak of.
 *
 * Inputs of 8-bit weights that lie to one side of zero, as those behind a GELU, are first
 * shifted to where all codes are of use, which halves their error: without, three in four
 * of their blocks were refined, and the product took 1.7 times as long.
 */

/* Relative RMS error of a row of activations; a product with random weights has the same,
 * SwiGLU multiplies it by up to 1.45. Rows of like-sized values (0.59 %) stay as they
 * are: refining the other rows well gains more. */
static const float TOLERANCE = 6.5e-3f, REFINED = 4.5e-3f;

/* A high code's worth, the largest value, and of how many quads in four of a block. */
static const float HIGH = 128.0f, MOST = 127.0f * 128.0f;
enum { MOST_SPARED = 4 };

/* Block b of src [x->k]: where it is, or at buf with zeros behind the end. */
static const float *block_of(float buf[64], const struct cpu_activations *x,
                             const float *src, int64_t b)
{
    const int64_t left = x->k - b * x->block;
    const int64_t n = left < 0 ? 0 : left < x->block ? left : x->block;
    if (n == x->block)
        return src + b * x->block;
    memset(buf, 0, 64 * sizeof *buf);
    if (n > 0)
        memcpy(buf, src + b * x->block, (size_t)n * sizeof *buf);
    return buf;
}

/* The largest magnitude of x [n]; *square += the squares. */
static inline float block_range(const float *x, int n, vf *square)
{
    vf top = v_set1(0.0f);
    for (int i = 0; i < n; i += VL) {
        vf v = v_load(x + i);
        top = v_max(top, v_abs(v));
        *square = v_fma(v, v, *square);
    }
    return v_hmax(top);
}

/* codes [n] = round(x / step) and their sum; *error += the squares of what they miss. */
static inline int32_t round_block(int8_t *codes, const float *x, int n, float step,
                                  vf *error)
{
    const vf inv = v_set1(step > 0 ? 1.0f / step : 0.0f), minus = v_set1(-step);
    vf total = v_set1(0.0f);
    for (int i = 0; i < n; i += VL) {
        const vf v = v_load(x + i);
        vf q = v_round(v_mul(v, inv));
        q = v_min(v_max(q, v_set1(-127.0f)), v_set1(127.0f));
        const vf rest = v_fma(q, minus, v);
        v_store_i8(codes + i, q);
        total = v_add(total, q);
        *error = v_fma(rest, rest, *error);
    }
    return (int32_t)v_sum(total);
}

/* ------------------------------------------------------------- high codes */

static inline float larger(float a, float b)
{
    return a > b ? a : b;
}

/* The step for x [4 n] when its `spared` quads with the largest magnitudes get high
 * codes; spared <= MOST_SPARED, or all. */
static float step_without(const float *x, int n, int spared)
{
    float sorted[MOST_SPARED + 1] = { 0 }; /* the largest of quads, descending */
    for (int i = 0; i < 4 * n; i += 4) {
        float top = larger(larger(fabsf(x[i]), fabsf(x[i + 1])),
                           larger(fabsf(x[i + 2]), fabsf(x[i + 3])));
        for (int j = 0; j <= MOST_SPARED; j++) {
            const float above = sorted[j];
            sorted[j] = larger(above, top);
            top = above < top ? above : top;
        }
    }
    return larger(sorted[0] / MOST, spared <= MOST_SPARED ? sorted[spared] / 127 : 0.0f);
}

/* Keeps the high codes of quads that have any. all: [block] */
static void pick_high(const struct cpu_activations *x, int64_t at, const int8_t *all)
{
    int8_t *high = x->high + at * x->block;
    uint8_t *high_at = x->high_at + at * (x->block / 4);
    int n = 0;
    for (int i = 0; i < x->block / 4; i++) {
        uint32_t quad;
        memcpy(&quad, all + 4 * i, sizeof quad);
        memcpy(high + 4 * n, &quad, sizeof quad);
        high_at[n] = (uint8_t)i;
        n += quad != 0;
    }
    x->n_high[at] = (uint8_t)n;
}

/* Block `at` with high codes for its `spared` largest quads; what its codes miss,
 * squared. */
static float widen(const struct cpu_activations *x, int64_t at, const float *src,
                   int spared)
{
    const float step = step_without(src, x->block / 4, spared);
    const vf inv = v_set1(step > 0 ? 1.0f / step : 0.0f), minus = v_set1(-step);
    const vf most = v_set1(127.0f), least = v_set1(-127.0f);
    vf total = v_set1(0.0f), error = total;
    int8_t all[64];
    for (int i = 0; i < x->block; i += VL) {
        const vf v = v_load(src + i), q = v_round(v_mul(v, inv));
        const vf excess = v_abs(v_sub(q, v_min(v_max(q, least), most)));
        const vf is_high = v_min(excess, v_set1(1.0f));
        const vf high = v_round(v_mul(v_mul(q, v_set1(1.0f / HIGH)), is_high));
        const vf code = v_fma(high, v_set1(-HIGH), q), rest = v_fma(q, minus, v);
        v_store_i8(x->codes + at * x->block + i, code);
        v_store_i8(all + i, high);
        total = v_add(total, q);
        error = v_fma(rest, rest, error);
    }
    x->scale[at] = step;
    x->sum[at] = (int32_t)v_sum(total);
    pick_high(x, at, all);
    return v_sum(error);
}

/* High codes for one quad in four of every block; the row's error. */
static float widen_row(const struct cpu_activations *x, int64_t t, const float *src)
{
    float buf[64], error = 0.0f;
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const int64_t at = b * x->n_tok + t;
        x->error[at] = widen(x, at, block_of(buf, x, src, b), x->block / 16);
        error += x->error[at];
    }
    return error;
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

/* High codes for all quads of the worst blocks, so that `most` is left in the row. */
static void widen_worst(const struct cpu_activations *x, int64_t t, const float *src,
                        float most)
{
    const float limit = error_limit(x, x->error + t, most);
    float buf[64];
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const int64_t at = b * x->n_tok + t;
        if (x->error[at] <= limit)
            continue;
        widen(x, at, block_of(buf, x, src, b), x->block / 4);
        if (x->shift != NULL)
            x->shift[at] = 0;
    }
}

/* ----------------------------------------------------------------- shifts */

/* The step and shift that put all codes of a block to use. A step of 0: that gains little
 * beside the step that the block has. */
struct shift {
    float step, by;
};

static struct shift find_shift(const float *x, int n, float step)
{
    vf low = v_load(x), high = low;
    for (int i = VL; i < n; i += VL) {
        low = v_min(low, v_load(x + i));
        high = v_max(high, v_load(x + i));
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
    float buf[64];
    int64_t n_gain = 0;
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const float *block = block_of(buf, x, src, b);
        n_gain += find_shift(block, x->block, x->scale[b * x->n_tok + t]).step > 0;
    }
    return 4 * n_gain >= 3 * x->n_blocks;
}

/* Shifts the blocks that gain by it; the row's error. */
static float shift_row(const struct cpu_activations *x, int64_t t, const float *src)
{
    float row_error = 0.0f;
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const int64_t at = b * x->n_tok + t;
        float buf[64], moved[64];
        const float *block = block_of(buf, x, src, b);
        const struct shift s = find_shift(block, x->block, x->scale[at]);
        vf error = v_set1(0.0f);
        if (s.step > 0) {
            x->scale[at] = s.step;
            x->shift[at] = (int8_t)s.by;
        }
        for (int i = 0; i < x->block; i++)
            moved[i] = block[i] - x->scale[at] * x->shift[at];
        x->sum[at] =
            round_block(x->codes + at * x->block, moved, x->block, x->scale[at], &error) +
            x->block * x->shift[at];
        x->error[at] = v_sum(error);
        row_error += x->error[at];
    }
    return row_error;
}

static void quantise(const struct cpu_activations *x, int64_t t, const float *src)
{
    float buf[64];
    vf squares = v_set1(0.0f), errors = squares;
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const int64_t at = b * x->n_tok + t;
        const float *block = block_of(buf, x, src, b);
        x->scale[at] = block_range(block, x->block, &squares) / 127.0f;
        x->sum[at] =
            round_block(x->codes + at * x->block, block, x->block, x->scale[at], &errors);
        x->n_high[at] = 0;
        if (x->shift != NULL)
            x->shift[at] = 0;
    }
    const float square = v_sum(squares);
    float error = v_sum(errors);
    x->has_high[t] = error > TOLERANCE * TOLERANCE * square;
    x->has_shift[t] = x->has_high[t] && x->shift != NULL && is_one_sided(x, t, src);
    if (!x->has_high[t])
        return;
    error = x->has_shift[t] ? shift_row(x, t, src) : widen_row(x, t, src);
    x->has_high[t] = !x->has_shift[t] || error > TOLERANCE * TOLERANCE * square;
    if (x->has_high[t] && error > REFINED * REFINED * square)
        widen_worst(x, t, src, REFINED * REFINED * square);
}
