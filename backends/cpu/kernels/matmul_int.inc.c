/* matmul_int.inc.c -- int8 activations times w8, w4 or w2 tiles: integer dot products
 * within a block of inputs, f32 sums over the blocks, in order, whatever number of tokens
 * is computed together.
 *
 * With codes c (weights) and q (activations, high codes included) a block adds, per row,
 *     scale_x * scale_w * (sum c q - zero * sum q) + minimum * scale_x * sum q.
 * Where a row has a single scale_w and no minimum, it is multiplied by at the end: with
 * the others that takes the units of the dot products for one turn in nine.
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

static inline struct vi4 unpack_line(struct vi4 line, int bits, int part)
{
    return (struct vi4){ unpack(line.a, bits, part), unpack(line.b, bits, part),
                         unpack(line.c, bits, part), unpack(line.d, bits, part) };
}

static inline vi dot(vi acc, vi w, vi x, int bits)
{
    return bits == 8 ? i_dot_w8(acc, w, x) : i_dot_u4(acc, w, x);
}

/* What weights are: constants wherever they are handed on. */
struct kind {
    int bits;
    bool per_row; /* one scale a row and no minimum */
};

/* Blocks of weights that follow each other. */
struct run {
    const uint8_t *codes;         /* packed, or expanded [n_blocks, n / 4, 64, 4] */
    const float *scales, *minima; /* [n_blocks, 64], or NULL: per_row, symmetric */
    const float *sums; /* [n_blocks, 64] of codes, or NULL: no token is shifted */
    float zero;
    int n, n_blocks; /* inputs a block, blocks */
};

/* Where a run's scales and minima are widened to. */
struct run_scales {
    _Alignas(64) float scales[N_RUN * ERNE_TILE_ROWS], minima[N_RUN * ERNE_TILE_ROWS];
};

/* Blocks b .. b + n of the tile, codes as they are in the file. */
static inline struct run load_run(struct run_scales *buf, const struct cpu_tile *w,
                                  const struct cpu_activations *x, int64_t b, int n,
                                  struct kind kind)
{
    for (int i = 0; i < n && !kind.per_row; i++) {
        const int64_t at = (b + i) * x->block / w->group * ERNE_TILE_ROWS;
        for (int row = 0; row < ERNE_TILE_ROWS; row += VL) {
            const int to = i * ERNE_TILE_ROWS + row;
            v_store(buf->scales + to, v_load_f16(w->scales + at + row));
            if (w->minima != NULL)
                v_store(buf->minima + to, v_load_f16(w->minima + at + row));
        }
    }
    return (struct run){ .codes = w->codes + b * x->block * 8 * kind.bits,
                         .scales = kind.per_row ? NULL : buf->scales,
                         .minima = w->minima != NULL ? buf->minima : NULL,
                         .zero = w->zero,
                         .n = x->block,
                         .n_blocks = n };
}

/* What a sum starts from, so that whole zero points are paid for in integers. */
static inline int32_t start_of(const struct run *w, int32_t sum, struct kind kind)
{
    return kind.bits == 2 ? 0 : -(int32_t)w->zero * sum;
}

/* A block of one token's activations times the block's 4 VL rows at hand. */
struct term {
    vf scale;  /* of the activations */
    float off; /* what w2, whose zero point is 1.5, has too much */
    const float *scales;
};

static inline struct term term_of(const struct run *w, int at, float scale, int32_t sum,
                                  struct kind kind)
{
    return (struct term){ .scale = v_set1(scale),
                          .off = w->zero * (float)sum,
                          .scales = kind.per_row ? NULL : w->scales + at };
}

/* acc + what `sums` are worth, for rows i .. i + VL of the term's. */
static inline vf add_term(vf acc, vi sums, const struct term *t, int i, struct kind kind)
{
    vf y = v_from_i32(sums), scale = t->scale;
    if (kind.bits == 2)
        y = v_sub(y, v_set1(t->off));
    if (!kind.per_row)
        scale = v_mul(scale, v_load(t->scales + i));
    return v_fma(y, scale, acc);
}

/* What else a block adds where weights have minima or the activations' codes are shifted:
 * apart, so that the others need not ask for every vector. */
struct extra {
    vf sum, shift; /* the codes' sum and shift, times the activations' scale */
    const float *scales, *minima, *sums;
};

static inline bool has_extra(const struct run *w)
{
    return w->minima != NULL || w->sums != NULL;
}

/* x from `at` on, if there is any: an offset to NULL is undefined. */
static inline const float *from_at(const float *x, int at)
{
    return x != NULL ? x + at : NULL;
}

static inline struct extra extra_of(const struct run *w, int at, float scale, int32_t sum,
                                    int shift)
{
    return (struct extra){ .sum = v_set1(scale * (float)sum),
                           .shift = v_set1(scale * (float)shift),
                           .scales = from_at(w->scales, at),
                           .minima = from_at(w->minima, at),
                           .sums = from_at(w->sums, at) };
}

static inline vf add_extra(vf acc, const struct extra *x, int i, struct kind kind)
{
    if (!kind.per_row && x->minima != NULL)
        acc = v_fma(x->sum, v_load(x->minima + i), acc);
    if (kind.bits == 8 && x->sums != NULL) {
        const vf sums = v_load(x->sums + i);
        acc = v_fma(kind.per_row ? sums : v_mul(sums, v_load(x->scales + i)), x->shift,
                    acc);
    }
    return acc;
}

/* Token m of a group: four integer sums over a block, and four results. */
#define DECLARE(m)             \
    vi a##m, b##m, c##m, d##m; \
    vf e##m, f##m, g##m, h##m; \
    float *const y##m = acc + ERNE_TILE_ROWS * (m) + row;
#define CLEAR(m) a##m = b##m = c##m = d##m = i_set1(0);
/* Behind the high codes' products, in front of the others. */
#define START(m, SUM)                                    \
    {                                                    \
        const vi start = i_set1(start_of(w, SUM, kind)); \
        a##m = i_add_high(start, a##m);                  \
        b##m = i_add_high(start, b##m);                  \
        c##m = i_add_high(start, c##m);                  \
        d##m = i_add_high(start, d##m);                  \
    }
/* The quad at CODES times `line`, its unpacked weights. */
#define DOTS(m, CODES)                     \
    {                                      \
        const vi v = i_set4(CODES);        \
        a##m = dot(a##m, line.a, v, bits); \
        b##m = dot(b##m, line.b, v, bits); \
        c##m = dot(c##m, line.c, v, bits); \
        d##m = dot(d##m, line.d, v, bits); \
    }
#define PIN(m) I_PIN(a##m, b##m, c##m, d##m)
#define LOAD(m)                   \
    e##m = v_load(y##m);          \
    f##m = v_load(y##m + VL);     \
    g##m = v_load(y##m + 2 * VL); \
    h##m = v_load(y##m + 3 * VL);
#define STORE(m)                  \
    v_store(y##m, e##m);          \
    v_store(y##m + VL, f##m);     \
    v_store(y##m + 2 * VL, g##m); \
    v_store(y##m + 3 * VL, h##m);
#define ADD(m, SCALE, SUM, AT)                                             \
    {                                                                      \
        const struct term term = term_of(w, (AT) + row, SCALE, SUM, kind); \
        e##m = add_term(e##m, a##m, &term, 0, kind);                       \
        f##m = add_term(f##m, b##m, &term, VL, kind);                      \
        g##m = add_term(g##m, c##m, &term, 2 * VL, kind);                  \
        h##m = add_term(h##m, d##m, &term, 3 * VL, kind);                  \
    }
#define ADD_EXTRA(m, SCALE, SUM, SHIFT, AT)                                    \
    {                                                                          \
        const struct extra extra = extra_of(w, (AT) + row, SCALE, SUM, SHIFT); \
        e##m = add_extra(e##m, &extra, 0, kind);                               \
        f##m = add_extra(f##m, &extra, VL, kind);                              \
        g##m = add_extra(g##m, &extra, 2 * VL, kind);                          \
        h##m = add_extra(h##m, &extra, 3 * VL, kind);                          \
    }

/* -------------------------------------------------------------- expanded */

/* Codes of n inputs to one byte each: dst [n / 4][64][4]. */
static inline void expand(uint8_t *dst, const uint8_t *codes, int64_t n, int bits)
{
    for (int64_t i = 0; i < n; i += 32 / bits, codes += 256) {
        for (int row = 0; row < 256; row += 4 * VL) {
            vi line = i_load(codes + row);
            for (int part = 0; part < 8 / bits; part++)
                i_store(dst + (i / 4 + part) * 256 + row, unpack(line, bits, part));
        }
    }
}

/* sums [n_blocks, 64] of expanded codes */
static inline void sum_codes(float *sums, const struct run *w, struct kind kind)
{
    const int8_t ones[4] = { 1, 1, 1, 1 };
    const int bits = kind.bits;
    const vi one = i_set4(ones);
    for (int r = 0; r < w->n_blocks; r++) {
        for (int row = 0; row < ERNE_TILE_ROWS; row += 4 * VL) {
            const uint8_t *codes = w->codes + ERNE_TILE_ROWS * r * w->n + 4 * row;
            float *dst = sums + ERNE_TILE_ROWS * r + row;
            vi a = i_set1(0), b = a, c = a, d = a;
            for (int i = 0; i < w->n / 4; i++) {
                const struct vi4 line = load_line(codes + 256 * i);
                a = dot(a, line.a, one, bits);
                b = dot(b, line.b, one, bits);
                c = dot(c, line.c, one, bits);
                d = dot(d, line.d, one, bits);
            }
            v_store(dst, v_from_i32(a));
            v_store(dst + VL, v_from_i32(b));
            v_store(dst + 2 * VL, v_from_i32(c));
            v_store(dst + 3 * VL, v_from_i32(d));
        }
    }
}

/* ------------------------------------- one token: unpacked in registers */

/* A token's block: its codes, and quads with high codes. */
struct quads {
    const int8_t *codes, *high;
    const uint8_t *at; /* [n]: where the quads of `high` are */
    int n;
};

static inline struct quads quads_of(const struct cpu_activations *x, int64_t at)
{
    return (struct quads){ .codes = x->codes + at * x->block,
                           .high = x->high + at * x->block,
                           .at = x->high_at + at * (x->block / 4),
                           .n = x->n_high[at] };
}

/* acc [64] += the run's only block times block `at` of x. */
static inline void block_one(float *acc, const struct run *w,
                             const struct cpu_activations *x, int64_t at, int shift,
                             struct kind kind)
{
    const int bits = kind.bits, parts = 8 / bits;
    const struct quads q = quads_of(x, at);
    for (int row = 0; row < ERNE_TILE_ROWS; row += 4 * VL) {
        const uint8_t *p = w->codes + 4 * row;
        DECLARE(0)
        CLEAR(0)
        for (int e = 0; e < q.n; e++) {
            const struct vi4 packed = load_line(p + q.at[e] / parts * 256);
            const struct vi4 line = unpack_line(packed, bits, q.at[e] % parts);
            DOTS(0, q.high + 4 * e)
            PIN(0)
        }
        START(0, x->sum[at])
        for (int i = 0; i < w->n; i += 32 / bits, p += 256) {
            const struct vi4 packed = load_line(p);
            for (int part = 0; part < parts; part++) {
                const struct vi4 line = unpack_line(packed, bits, part);
                DOTS(0, q.codes + i + 4 * part)
            }
            PIN(0)
        }
        LOAD(0)
        ADD(0, x->scale[at], x->sum[at], 0)
        if (has_extra(w))
            ADD_EXTRA(0, x->scale[at], x->sum[at], shift, 0)
        STORE(0)
    }
}

static inline void tile_one(float *acc, const struct cpu_tile *w,
                            const struct cpu_activations *x, int64_t t, struct kind kind)
{
    _Alignas(64) uint8_t codes[64 * ERNE_TILE_ROWS];
    _Alignas(64) float sums[ERNE_TILE_ROWS];
    struct run_scales buf;
    for (int64_t b = 0; b < x->n_blocks; b++) {
        struct run run = load_run(&buf, w, x, b, 1, kind);
        const int64_t at = b * x->n_tok + t;
        const int shift = kind.bits == 8 && x->has_shift[t] ? x->shift[at] : 0;
        if (shift != 0) {
            struct run expanded = run;
            expand(codes, run.codes, run.n, kind.bits);
            expanded.codes = codes;
            sum_codes(sums, &expanded, kind);
            run.sums = sums;
        }
        block_one(acc, &run, x, at, shift, kind);
    }
}

/* -------------------- many tokens: a run is expanded once for them all */

#define BLOCK(m)                                      \
    const int64_t at##m = block * x->n_tok + from[m]; \
    const int8_t *q##m = x->codes + at##m * w->n;
#define DOTS_OF_QUAD(m) DOTS(m, q##m + 4 * i)
#define START_BLOCK(m)                                                   \
    CLEAR(m)                                                             \
    if (has_high) {                                                      \
        const struct quads high = quads_of(x, at##m);                    \
        for (int e = 0; e < high.n; e++) {                               \
            const struct vi4 line = load_line(codes + 256 * high.at[e]); \
            DOTS(m, high.high + 4 * e)                                   \
            PIN(m)                                                       \
        }                                                                \
    }                                                                    \
    START(m, x->sum[at##m])
#define ADD_BLOCK(m) ADD(m, x->scale[at##m], x->sum[at##m], ERNE_TILE_ROWS * r)
#define ADD_BLOCK_EXTRA(m)                                                              \
    ADD_EXTRA(m, x->scale[at##m], x->sum[at##m], w->sums != NULL ? x->shift[at##m] : 0, \
              r * ERNE_TILE_ROWS)

/* acc [.., 64] += the expanded run times its blocks, b and on, of tokens from[m]. Results
 * stay in registers for the run where there are enough of them: storing them after every
 * block takes as long as one in nine of the products. Lines are pinned, or gcc 12 loads
 * them again for every token, and loads take longer than products. */
#define GROUP_FUNCTION(NAME, ROWS)                                                     \
    static ERNE_ALWAYS_INLINE void NAME(                                               \
        float *acc, const struct run *w, const struct cpu_activations *x, int64_t b,   \
        const int32_t *from, bool has_high, struct kind kind)                          \
    {                                                                                  \
        const int bits = kind.bits;                                                    \
        for (int row = 0; row < ERNE_TILE_ROWS; row += 4 * VL) {                       \
            ROWS(DECLARE)                                                              \
            ROWS(LOAD)                                                                 \
            for (int r = 0; r < w->n_blocks; r++) {                                    \
                const uint8_t *codes = w->codes + ERNE_TILE_ROWS * r * w->n + 4 * row; \
                const int64_t block = b + r;                                           \
                ROWS(BLOCK)                                                            \
                ROWS(START_BLOCK)                                                      \
                for (int i = 0; i < w->n / 4; i++) {                                   \
                    struct vi4 line = load_line(codes + 256 * i);                      \
                    I_PIN(line.a, line.b, line.c, line.d)                              \
                    ROWS(DOTS_OF_QUAD)                                                 \
                    ROWS(PIN)                                                          \
                }                                                                      \
                ROWS(ADD_BLOCK)                                                        \
                if (has_extra(w)) {                                                    \
                    ROWS(ADD_BLOCK_EXTRA)                                              \
                }                                                                      \
            }                                                                          \
            ROWS(STORE)                                                                \
        }                                                                              \
    }
GROUP_FUNCTION(group_many, INT_ROWS)
GROUP_FUNCTION(group_one, ONE_ROW)
#undef DECLARE
#undef START
#undef PIN
#undef LOAD
#undef STORE
#undef ADD
#undef CLEAR
#undef BLOCK
#undef DOTS
#undef DOTS_OF_QUAD
#undef START_BLOCK
#undef ADD_EXTRA
#undef ADD_BLOCK
#undef ADD_BLOCK_EXTRA
#undef GROUP_FUNCTION

#ifdef HAS_PAIRS
#include "backends/cpu/kernels/matmul_pairs.inc.c"
#endif

/* What is expanded next, fetched in equal parts beside the products of all groups. */
struct ahead {
    const uint8_t *at;
    int64_t left, part; /* bytes, whole lines */
};
enum { LINE = 64 };

/* Behind the run from block b on, for n tokens. */
static inline struct ahead ahead_of(const struct cpu_tile *w,
                                    const struct cpu_activations *x, int64_t b, int64_t n,
                                    struct kind kind)
{
    const bool is_last = b + N_RUN >= x->n_blocks;
    const uint8_t *tile = is_last ? w->next : w->codes;
    const int64_t next = is_last ? 0 : b + N_RUN, left = x->n_blocks - next;
    const int64_t block_bytes = (int64_t)x->block * 8 * kind.bits;
    const int64_t bytes = (left < N_RUN ? left : N_RUN) * block_bytes;
    const int64_t n_groups = (n + N_INT_ROWS - 1) / N_INT_ROWS;
    if (tile == NULL)
        return (struct ahead){ NULL, 0, 0 };
    return (struct ahead){ tile + next * block_bytes, bytes,
                           (bytes / n_groups + LINE) / LINE * LINE };
}

static inline void fetch(struct ahead *a)
{
    const int64_t n = a->left < a->part ? a->left : a->part;
    for (int64_t i = 0; i < n; i += LINE, a->at += LINE)
        ERNE_PREFETCH_L2(a->at);
    a->left -= n;
}

static inline bool any_of(const bool *has, const int32_t *from, int64_t n)
{
    bool any = false;
    for (int64_t i = 0; i < n; i++)
        any |= has[from[i]];
    return any;
}

static ERNE_ALWAYS_INLINE void tile_many(float *acc, const struct cpu_tile *w,
                                         const struct cpu_activations *x,
                                         const int32_t *from, int64_t n, struct kind kind)
{
    _Alignas(64) uint8_t codes[N_RUN * 64 * ERNE_TILE_ROWS];
    _Alignas(64) float sums[N_RUN * ERNE_TILE_ROWS];
    struct run_scales buf;
    const bool has_shift = any_of(x->has_shift, from, n);
    for (int64_t b = 0; b < x->n_blocks; b += N_RUN) {
        const int64_t left = x->n_blocks - b;
        struct run run = load_run(&buf, w, x, b, left < N_RUN ? (int)left : N_RUN, kind);
        struct ahead ahead = ahead_of(w, x, b, n, kind);
        int64_t i = 0;
        expand(codes, run.codes, (int64_t)run.n_blocks * run.n, kind.bits);
        run.codes = codes;
        if (kind.bits == 8 && has_shift) {
            sum_codes(sums, &run, kind);
            run.sums = sums;
        }
#ifdef HAS_PAIRS
        for (; i + N_PAIRED <= n; i += N_PAIRED) {
            fetch(&ahead);
            group_pairs(acc + i * ERNE_TILE_ROWS, &run, x, b, from + i, kind);
        }
#endif
        for (; i + N_INT_ROWS <= n; i += N_INT_ROWS) {
            fetch(&ahead);
            if (any_of(x->has_high, from + i, N_INT_ROWS))
                group_many(acc + i * ERNE_TILE_ROWS, &run, x, b, from + i, true, kind);
            else
                group_many(acc + i * ERNE_TILE_ROWS, &run, x, b, from + i, false, kind);
        }
        fetch(&ahead);
        for (; i < n; i++)
            group_one(acc + i * ERNE_TILE_ROWS, &run, x, b, from + i, true, kind);
    }
}

/* acc [n, 64] times the rows' scales. */
static inline void scale_rows(float *acc, const uint16_t *scales, int64_t n)
{
    for (int i = 0; i < ERNE_TILE_ROWS; i += VL) {
        const vf scale = v_load_f16(scales + i);
        for (float *p = acc + i; p < acc + n * ERNE_TILE_ROWS; p += ERNE_TILE_ROWS)
            v_store(p, v_mul(v_load(p), scale));
    }
}

static ERNE_ALWAYS_INLINE void tile_int(float *acc, const struct cpu_tile *w,
                                        const struct cpu_activations *x,
                                        const int32_t *from, int64_t n, struct kind kind)
{
    memset(acc, 0, (size_t)n * ERNE_TILE_ROWS * sizeof *acc);
    if (n == 1)
        tile_one(acc, w, x, from[0], kind);
    else
        tile_many(acc, w, x, from, n, kind);
    if (kind.per_row)
        scale_rows(acc, w->scales, n);
}

#define TILE_FUNCTION(NAME, BITS)                                                     \
    static void NAME(float *acc, const struct cpu_tile *w,                            \
                     const struct cpu_activations *x, const int32_t *from, int64_t n) \
    {                                                                                 \
        if (w->group >= x->k_pad && w->minima == NULL)                                \
            tile_int(acc, w, x, from, n, (struct kind){ BITS, true });                \
        else                                                                          \
            tile_int(acc, w, x, from, n, (struct kind){ BITS, false });               \
    }
TILE_FUNCTION(tile_w8, 8)
TILE_FUNCTION(tile_w4, 4)
TILE_FUNCTION(tile_w2, 2)
#undef TILE_FUNCTION
