/* matmul_pairs.inc.c -- eight tokens at a time, for vectors with an instruction that
 * multiplies two rows by two tokens, eight inputs each (NEON's smmla): twice the products
 * of a dot product. Sums are the same integers as elsewhere, and what is made of them
 * comes in the same order. */
enum { N_PAIRED = 8 };
#define PAIRS(X) X(0) X(1) X(2) X(3)

/* Pair p: four vectors of two rows, each with the sums of both tokens. */
#define DECLARE(p) vi a##p, b##p, c##p, d##p;
#define CLEAR(p)   a##p = b##p = c##p = d##p = i_set1(0);
#define PIN(p)     I_PIN(a##p, b##p, c##p, d##p)
#define PRODUCTS(p)                                              \
    {                                                            \
        const vi v = i_pair(q[2 * (p)] + i, q[2 * (p) + 1] + i); \
        a##p = i_products(a##p, w.a, v);                         \
        b##p = i_products(b##p, w.b, v);                         \
        c##p = i_products(c##p, w.c, v);                         \
        d##p = i_products(d##p, w.d, v);                         \
    }
#define PART(p)                              \
    sums[2 * (p)].a = i_even(a##p, b##p);    \
    sums[2 * (p)].b = i_even(c##p, d##p);    \
    sums[2 * (p) + 1].a = i_odd(a##p, b##p); \
    sums[2 * (p) + 1].b = i_odd(c##p, d##p);

/* A token's sums over a block, of 2 VL rows. */
struct vi2 {
    vi a, b;
};

/* Those of tokens q [N_PAIRED] over a block of n inputs: expanded codes at `codes`. */
static inline void sum_pairs(struct vi2 sums[N_PAIRED], const uint8_t *codes,
                             const int8_t *const q[N_PAIRED], int n)
{
    PAIRS(DECLARE)
    PAIRS(CLEAR)
    for (int i = 0; i < n; i += 8) {
        const uint8_t *lines = codes + ERNE_TILE_ROWS * i;
        const vi left0 = i_load(lines), left1 = i_load(lines + 4 * VL);
        const vi right0 = i_load(lines + 256), right1 = i_load(lines + 256 + 4 * VL);
        const struct vi4 w = { i_zip_low(left0, right0), i_zip_high(left0, right0),
                               i_zip_low(left1, right1), i_zip_high(left1, right1) };
        PAIRS(PRODUCTS)
        PAIRS(PIN)
    }
    PAIRS(PART)
}
#undef DECLARE
#undef CLEAR
#undef PIN
#undef PRODUCTS
#undef PART
#undef PAIRS

/* The same of a block's quads with high codes. */
static inline struct vi2 sum_high(const uint8_t *codes, struct quads q, int bits)
{
    struct vi2 sums = { i_set1(0), i_set1(0) };
    for (int e = 0; e < q.n; e++) {
        const uint8_t *line = codes + 256 * q.at[e];
        const vi v = i_set4(q.high + 4 * e);
        sums.a = dot(sums.a, i_load(line), v, bits);
        sums.b = dot(sums.b, i_load(line + 4 * VL), v, bits);
    }
    return sums;
}

/* y [2 VL] += what sums over block `at` of x are worth, for rows `row` and on. */
static inline void add_pair(float *y, struct vi2 sums, const struct run *w,
                            const struct cpu_activations *x, int64_t at, int row,
                            struct kind kind)
{
    const vi start = i_set1(start_of(w, x->sum[at], kind));
    const struct term term = term_of(w, row, x->scale[at], x->sum[at], kind);
    vf a = add_term(v_load(y), i_add(start, sums.a), &term, 0, kind);
    vf b = add_term(v_load(y + VL), i_add(start, sums.b), &term, VL, kind);
    if (has_extra(w)) {
        const int shift = w->sums != NULL ? x->shift[at] : 0;
        const struct extra extra = extra_of(w, row, x->scale[at], x->sum[at], shift);
        a = add_extra(a, &extra, 0, kind);
        b = add_extra(b, &extra, VL, kind);
    }
    v_store(y, a);
    v_store(y + VL, b);
}

/* acc [.., 64] += the expanded run times its blocks, b and on, of tokens from[m]. */
static inline void group_pairs(float *acc, const struct run *w,
                               const struct cpu_activations *x, int64_t b,
                               const int32_t *from, struct kind kind)
{
    for (int row = 0; row < ERNE_TILE_ROWS; row += 2 * VL) {
        for (int r = 0; r < w->n_blocks; r++) {
            const uint8_t *codes = w->codes + ERNE_TILE_ROWS * r * w->n + 4 * row;
            const int8_t *q[N_PAIRED];
            struct vi2 sums[N_PAIRED];
            for (int m = 0; m < N_PAIRED; m++)
                q[m] = x->codes + ((b + r) * x->n_tok + from[m]) * w->n;
            sum_pairs(sums, codes, q, w->n);
            for (int m = 0; m < N_PAIRED; m++) {
                const int64_t at = (b + r) * x->n_tok + from[m];
                if (x->n_high[at] > 0) {
                    const struct vi2 high = sum_high(codes, quads_of(x, at), kind.bits);
                    sums[m].a = i_add_high(sums[m].a, high.a);
                    sums[m].b = i_add_high(sums[m].b, high.b);
                }
                add_pair(acc + ERNE_TILE_ROWS * m + row, sums[m], w, x, at,
                         r * ERNE_TILE_ROWS + row, kind);
            }
        }
    }
}
