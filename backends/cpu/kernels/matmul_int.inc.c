/* matmul_int.inc.c -- int8 activations times w8, w4 or w2 tiles: integer dot products
 * within a block of inputs, f32 sums over the blocks, in order, whatever number of tokens
 * is computed together.
 *
 * With codes c (weights) and q (activations) a block adds, per row,
 *     scale_x * scale_w * (sum c q - zero * sum q) + minimum * scale_x * sum q.
 */

/* Four vectors side by side. Sums that live through a loop are single names instead: gcc
 * 12 stores a struct or an array of them in every turn. */
struct vi4 {
    vi a, b, c, d;
};

static inline struct vi4 load_line(const uint8_t *p)
{
    return (struct vi4){ i_load(p), i_load(p + 4 * VL), i_load(p + 8 * VL),
                         i_load(p + 12 * VL) };
}

/* Four inputs (part 0, 1, ..) of a line as bytes. bits: 8, 4 or 2, a constant. */
static inline vi unpack(vi line, int bits, int part)
{
    if (bits == 8)
        return i_unpack_w8(line);
    return i_bits(line, bits * part, (uint8_t)((1 << bits) - 1));
}

static inline vi dot(vi acc, vi w, vi x, int bits)
{
    return bits == 8 ? i_dot_w8(acc, w, x) : i_dot_u4(acc, w, x);
}

/* A block of weights. */
struct block {
    const uint8_t *codes;         /* packed, or expanded [n / 4][64][4] */
    const float *scales, *minima; /* [64]; minima NULL for symmetric schemes */
    float zero;
    int n; /* inputs */
};

/* Block b of the tile, codes as they are in the file; buf [2][64] takes its scales and
 * minima. */
static inline struct block load_block_of(float *buf, const struct cpu_tile *w,
                                         const struct cpu_activations *x, int64_t b,
                                         int bits)
{
    const int64_t at = b * x->block / w->group * ERNE_TILE_ROWS;
    for (int i = 0; i < ERNE_TILE_ROWS; i += VL) {
        v_store(buf + i, v_load_f16(w->scales + at + i));
        if (w->minima != NULL)
            v_store(buf + ERNE_TILE_ROWS + i, v_load_f16(w->minima + at + i));
    }
    return (struct block){ .codes = w->codes + b * x->block * 8 * bits,
                           .scales = buf,
                           .minima = w->minima != NULL ? buf + ERNE_TILE_ROWS : NULL,
                           .zero = w->zero,
                           .n = x->block };
}

/* The same block of tokens' activations: token i's codes are codes + i * n. */
struct inputs {
    const int8_t *codes;
    const float *scale;
    const int32_t *sum;
};

static inline struct inputs inputs_of(const struct cpu_activations *x,
                                      const struct cpu_q8 *q, int64_t b)
{
    const int64_t at = b * x->n_tok;
    return (struct inputs){ q->codes + at * x->block, q->scale + at, q->sum + at };
}

/* What a sum starts from, so that whole zero points are paid for in integers. */
static inline int32_t start_of(const struct block *w, int32_t sum, int bits)
{
    return bits == 2 ? 0 : -(int32_t)w->zero * sum;
}

/* acc [VL] += scale * scales * (sums - off), the zero point 1.5 of w2. */
static inline void add_sums(float *acc, vi sums, vf scale, vf scales, float off, int bits)
{
    vf y = v_from_i32(sums);
    if (bits == 2)
        y = v_sub(y, v_set1(off));
    v_store(acc, v_fma(y, v_mul(scale, scales), v_load(acc)));
}

/* acc [4 VL] += minima * m */
static inline void add_minima(float *acc, const float *minima, float m)
{
    for (int i = 0; i < 4 * VL; i += VL)
        v_store(acc + i, v_fma(v_set1(m), v_load(minima + i), v_load(acc + i)));
}

/* Token m of a group: where it is among the inputs and in acc, and its four sums. */
#define SUMS(m)                                              \
    const int8_t *q##m = x->codes + (int64_t)from[m] * w->n; \
    float *y##m = acc + ERNE_TILE_ROWS * to[m] + row;        \
    const float scale##m = x->scale[from[m]];                \
    const int32_t sum##m = x->sum[from[m]];                  \
    vi a##m = i_set1(start_of(w, sum##m, bits)), b##m = a##m, c##m = a##m, d##m = a##m;
#define PIN(m) I_PIN(a##m, b##m, c##m, d##m)
#define ADD_SUMS(m)                                                      \
    {                                                                    \
        const vf scale = v_set1(scale##m);                               \
        const float off = w->zero * (float)sum##m;                       \
        add_sums(y##m, a##m, scale, s.a, off, bits);                     \
        add_sums(y##m + VL, b##m, scale, s.b, off, bits);                \
        add_sums(y##m + 2 * VL, c##m, scale, s.c, off, bits);            \
        add_sums(y##m + 3 * VL, d##m, scale, s.d, off, bits);            \
        if (w->minima != NULL)                                           \
            add_minima(y##m, w->minima + row, scale##m * (float)sum##m); \
    }

/* ------------------------------------- one token: unpacked in registers */

static inline void block_one(float *acc, const struct block *w, const struct inputs *x,
                             int bits)
{
    static const int32_t from[1] = { 0 }, to[1] = { 0 };
    for (int row = 0; row < ERNE_TILE_ROWS; row += 4 * VL) {
        const uint8_t *p = w->codes + 4 * row;
        SUMS(0)
        for (int i = 0; i < w->n; i += 32 / bits, p += 256) {
            struct vi4 line = load_line(p);
            for (int part = 0; part < 8 / bits; part++) {
                vi v = i_set4(q0 + i + 4 * part);
                a0 = dot(a0, unpack(line.a, bits, part), v, bits);
                b0 = dot(b0, unpack(line.b, bits, part), v, bits);
                c0 = dot(c0, unpack(line.c, bits, part), v, bits);
                d0 = dot(d0, unpack(line.d, bits, part), v, bits);
            }
            PIN(0)
        }
        const struct vf4 s = load_f32((const uint8_t *)(w->scales + row));
        ADD_SUMS(0)
    }
}

static inline void tile_one(float *acc, const struct cpu_tile *w,
                            const struct cpu_activations *x, int64_t t, int bits)
{
    _Alignas(64) float buf[2 * ERNE_TILE_ROWS];
    for (int64_t b = 0; b < x->n_blocks; b++) {
        const struct block block = load_block_of(buf, w, x, b, bits);
        struct inputs in = inputs_of(x, &x->coarse, b);
        in = (struct inputs){ in.codes + t * x->block, in.scale + t, in.sum + t };
        block_one(acc, &block, &in, bits);
        if (x->fine.scale[b * x->n_tok + t] == 0.0f)
            continue;
        in = inputs_of(x, &x->fine, b);
        in = (struct inputs){ in.codes + t * x->block, in.scale + t, in.sum + t };
        block_one(acc, &block, &in, bits);
    }
}

/* --------------------- many tokens: a block is expanded once for them all */

/* Codes of a block to one byte each: dst [n / 4][64][4]. */
static inline void expand(uint8_t *dst, const uint8_t *codes, int n, int bits)
{
    for (int i = 0; i < n; i += 32 / bits, codes += 256) {
        for (int row = 0; row < 256; row += 4 * VL) {
            vi line = i_load(codes + row);
            for (int part = 0; part < 8 / bits; part++)
                i_store(dst + (i / 4 + part) * 256 + row, unpack(line, bits, part));
        }
    }
}

#define DOTS(m)                            \
    {                                      \
        vi v = i_set4(q##m + 4 * i);       \
        a##m = dot(a##m, line.a, v, bits); \
        b##m = dot(b##m, line.b, v, bits); \
        c##m = dot(c##m, line.c, v, bits); \
        d##m = dot(d##m, line.d, v, bits); \
    }

/* acc [.., 64] += the expanded block times inputs from[m], added to row to[m]. */
#define GROUP_FUNCTION(NAME, ROWS)                                                     \
    static inline void NAME(float *acc, const struct block *w, const struct inputs *x, \
                            const int32_t *from, const int32_t *to, int bits)          \
    {                                                                                  \
        for (int row = 0; row < ERNE_TILE_ROWS; row += 4 * VL) {                       \
            ROWS(SUMS)                                                                 \
            for (int i = 0; i < w->n / 4; i++) {                                       \
                struct vi4 line = load_line(w->codes + 256 * i + 4 * row);             \
                ROWS(DOTS)                                                             \
                ROWS(PIN)                                                              \
            }                                                                          \
            const struct vf4 s = load_f32((const uint8_t *)(w->scales + row));         \
            ROWS(ADD_SUMS)                                                             \
        }                                                                              \
    }
GROUP_FUNCTION(group_many, VEC_ROWS)
GROUP_FUNCTION(group_few, FEW_ROWS)
GROUP_FUNCTION(group_one, ONE_ROW)
#undef SUMS
#undef ADD_SUMS
#undef DOTS
#undef PIN
#undef GROUP_FUNCTION

/* acc [.., 64] += the block times n inputs. */
static inline void add_block(float *acc, const struct block *w, const struct inputs *x,
                             const int32_t *from, const int32_t *to, int64_t n, int bits)
{
    int64_t i = 0;
    for (; i + N_VEC_ROWS <= n; i += N_VEC_ROWS)
        group_many(acc, w, x, from + i, to + i, bits);
    for (; i + N_FEW_ROWS <= n; i += N_FEW_ROWS)
        group_few(acc, w, x, from + i, to + i, bits);
    for (; i < n; i++)
        group_one(acc, w, x, from + i, to + i, bits);
}

/* Which of n tokens have a fine part in the block. */
static inline int64_t find_fine(int32_t *fine_from, int32_t *fine_to, const float *scale,
                                const int32_t *from, int64_t n)
{
    int64_t n_fine = 0;
    for (int32_t i = 0; i < n; i++) {
        fine_from[n_fine] = from[i];
        fine_to[n_fine] = i;
        n_fine += scale[from[i]] != 0.0f;
    }
    return n_fine;
}

static inline void tile_many(float *acc, const struct cpu_tile *w,
                             const struct cpu_activations *x, const int32_t *from,
                             int64_t n, int bits)
{
    _Alignas(64) uint8_t codes[64 * ERNE_TILE_ROWS];
    _Alignas(64) float buf[2 * ERNE_TILE_ROWS];
    int32_t to[CPU_CHUNK], fine_from[CPU_CHUNK], fine_to[CPU_CHUNK];
    bool has_fine = false;
    for (int32_t i = 0; i < n; i++) {
        to[i] = i;
        has_fine |= x->has_fine[from[i]];
    }
    for (int64_t b = 0; b < x->n_blocks; b++) {
        struct block block = load_block_of(buf, w, x, b, bits);
        const struct inputs coarse = inputs_of(x, &x->coarse, b);
        const struct inputs fine = inputs_of(x, &x->fine, b);
        expand(codes, block.codes, x->block, bits);
        block.codes = codes;
        add_block(acc, &block, &coarse, from, to, n, bits);
        if (!has_fine)
            continue;
        const int64_t n_fine = find_fine(fine_from, fine_to, fine.scale, from, n);
        add_block(acc, &block, &fine, fine_from, fine_to, n_fine, bits);
    }
}

#define TILE_FUNCTION(NAME, BITS)                                                     \
    static void NAME(float *acc, const struct cpu_tile *w,                            \
                     const struct cpu_activations *x, const int32_t *from, int64_t n) \
    {                                                                                 \
        if (n == 1)                                                                   \
            tile_one(acc, w, x, from[0], BITS);                                       \
        else                                                                          \
            tile_many(acc, w, x, from, n, BITS);                                      \
    }
TILE_FUNCTION(tile_w8, 8)
TILE_FUNCTION(tile_w4, 4)
TILE_FUNCTION(tile_w2, 2)
#undef TILE_FUNCTION
