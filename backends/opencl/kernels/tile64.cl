/* tile64.cl -- reading stored weights (docs/FORMAT.md), and multiplying with them.
 *
 * Before matmul.cl, moe_ffn.cl and embed.cl. Build options:
 *   CODEC   enum erne_codec
 *   ASYM    1: minima beside the scales
 *   WIDTH   neighbouring rows of a tile that a work-item takes, as one vector
 *   TOKENS  rows of x that it multiplies them with
 *   SLICES  parts of K that the work-items of a group take in turn
 * A work-group is 64 / WIDTH lanes by SLICES. Its lanes read a line of 256 bytes side by
 * side; a row of x is read at the same address by all of them.
 */
#define CODEC_F32 0
#define CODEC_BF16 1
#define CODEC_F16 2
#define CODEC_W8 3
#define CODEC_W4 4
#define CODEC_W2 5

#define TILE 64

/* CELL: inputs in the 4 bytes that a row has in a line. */
#if CODEC == CODEC_F32
#define CELL 1
#elif CODEC == CODEC_BF16 || CODEC == CODEC_F16
#define CELL 2
#else
#define IS_INT 1
#define BITS (CODEC == CODEC_W8 ? 8 : CODEC == CODEC_W4 ? 4 : 2)
#define CELL (32 / BITS)
#define ZERO (CODEC == CODEC_W8 ? 128.0f : CODEC == CODEC_W4 ? 8.0f : 1.5f)
#endif

/* What turns codes into weights: w = code * scale + offset. */
struct terms {
    fvec scale, offset;
};

/* A tile of 64 rows: this work-item's part of it. */
struct tile {
    __global const uint *codes;    /* [k_pad / CELL][64] */
    __global const ushort *scales; /* [groups][64], as halves; integers only */
    __global const ushort *minima;
};

/* Tile `tile` of those that begin at the pointers. */
inline struct tile tile_at(__global const uint *codes, __global const ushort *scales,
                           __global const ushort *minima, int tile, int k_pad, int group)
{
    const uint row = get_local_id(0) * WIDTH;
    const uint at = (uint)(tile * (group == 0 ? 1 : k_pad / group) * TILE) + row;
    struct tile t;

    t.codes = codes + (uint)tile * (uint)(k_pad / CELL * TILE) + row;
    t.scales = scales + at;
    t.minima = minima + at;
    return t;
}

#ifdef IS_INT
/* An integer code is not converted but put into the mantissa of 1.0, from the top: that
 * gives 1 + c / 2^BITS in two operations, and the rest goes into scale and offset. int8
 * becomes unsigned first, so that its zero point is 128. */
inline struct terms terms_of(const struct tile *t, int group)
{
    const fvec scale = half_to_float(to_uvec(VLOAD(0, t->scales + group * TILE)));
    struct terms terms;

    terms.scale = scale * (float)(1 << BITS);
#if ASYM
    terms.offset = half_to_float(to_uvec(VLOAD(0, t->minima + group * TILE))) -
                   scale * (float)((1 << BITS) + (CODEC == CODEC_W8 ? 128 : 0));
#else
    terms.offset = scale * -((float)(1 << BITS) + ZERO);
#endif
    return terms;
}
#endif

/* The weights of a cell: w [CELL] */
inline void decode(fvec *w, uvec cell, const struct terms *terms)
{
#if CODEC == CODEC_F32
    w[0] = as_fvec(cell);
#elif CODEC == CODEC_BF16
    w[0] = as_fvec(cell << 16);
    w[1] = as_fvec(cell & 0xffff0000u);
#elif CODEC == CODEC_F16
    w[0] = half_to_float(cell & 0xffffu);
    w[1] = half_to_float(cell >> 16);
#else
    const int top = 23 - BITS;
#if CODEC == CODEC_W8
    cell ^= 0x80808080u;
#endif
#pragma unroll
    for (int i = 0; i < CELL; i++) {
        const int at = i % 4 * 8 + i / 4 * BITS; /* the code's lowest bit */
        const uvec moved = at > top ? cell >> (uint)(at - top) : cell << (uint)(top - at);
        const uvec bits = (moved & (uint)(((1 << BITS) - 1) << top)) | 0x3f800000u;

        w[i] = mad(as_fvec(bits), terms->scale, terms->offset);
    }
#endif
}

/* sums [TOKENS] += w [CELL] times inputs at x + rows[t]. */
inline void add_cell(fvec *sums, const fvec *w, __global const float *x, const uint *rows)
{
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        __global const float *p = x + rows[t];
        float in[CELL];

#if WIDTH >= 8 || CELL < 4
        for (int i = 0; i < CELL; i++)
            in[i] = p[i];
#else
        for (int i = 0; i < CELL; i += 4)
            vstore4(vload4(0, p + i), 0, in + i);
#endif
#if TOKENS == 1
        /* Not one chain through all inputs of a long row. */
        fvec sum = w[0] * in[0];
        for (int i = 1; i < CELL; i++)
            sum = mad(w[i], (fvec)in[i], sum);
        sums[t] += sum;
#else
        for (int i = 0; i < CELL; i++)
            sums[t] = mad(w[i], (fvec)in[i], sums[t]);
#endif
    }
}

/* The cell that K ends in: inputs behind it are not there, and count as 0. */
inline void add_last_cell(fvec *sums, const fvec *w, __global const float *x,
                          const uint *rows, int n)
{
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < n; i++)
            sums[t] = mad(w[i], (fvec)x[rows[t] + (uint)i], sums[t]);
}

/* sums [TOKENS] = this work-item's rows of the tile times k inputs at x + rows[t]; of
 * blocks of inputs those with numbers slice, slice + SLICES, .. */
inline void multiply(fvec *sums, const struct tile *t, __global const float *x,
                     const uint *rows, int k, int group, int slice)
{
    const int block = group == 32 ? 32 : 64; /* K is padded to 64, and groups divide it */
    const int n_blocks = (k + block - 1) / block;

    for (int i = 0; i < TOKENS; i++)
        sums[i] = (fvec)0.0f;
    for (int b = slice; b < n_blocks; b += SLICES) {
        const int end = min(b * block + block, k);
        struct terms terms;
        uint at[TOKENS];
        fvec w[CELL];
        int c = b * block / CELL;

#ifdef IS_INT
        terms = terms_of(t, group == 0 ? 0 : b * block / group);
#endif
        for (int i = 0; i < TOKENS; i++)
            at[i] = rows[i] + (uint)(b * block);
        for (; (c + 1) * CELL <= end; c++) {
            decode(w, VLOAD(0, t->codes + c * TILE), &terms);
            add_cell(sums, w, x, at);
            for (int i = 0; i < TOKENS; i++)
                at[i] += CELL;
        }
        if (c * CELL < end) {
            decode(w, VLOAD(0, t->codes + c * TILE), &terms);
            add_last_cell(sums, w, x, at, end - c * CELL);
        }
    }
}

/* Leaves the sums of all slices in room [SLICES][TOKENS][64], for the whole group. */
inline void share(const fvec *sums, __local float *room, int lane, int slice)
{
    for (int t = 0; t < TOKENS; t++)
        VSTORE(sums[t], lane, room + (slice * TOKENS + t) * TILE);
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Results are taken by all work-items of the group, WIDTH at a time. */
#define RESULT_STEP (SLICES * TILE)
inline int first_result(void)
{
    return (int)(get_local_id(1) * TILE + get_local_id(0) * WIDTH);
}

/* Rows row .. row + WIDTH - 1 of the tile times token t. */
inline fvec collect(const __local float *room, int t, int row)
{
    fvec sum = VLOAD(0, room + t * TILE + row);

    for (int s = 1; s < SLICES; s++)
        sum += VLOAD(0, room + (s * TOKENS + t) * TILE + row);
    return sum;
}

/* The first n of v [WIDTH] to p. */
inline void store_some(fvec v, __global float *p, int n)
{
    float values[WIDTH];

    if (n >= WIDTH) {
        VSTORE(v, 0, p);
        return;
    }
    VSTORE(v, 0, values);
    for (int i = 0; i < n; i++)
        p[i] = values[i];
}

/* The first n numbers at p, and zeros. */
inline fvec load_some(__global const float *p, int n)
{
    float values[WIDTH];

    if (n >= WIDTH)
        return VLOAD(0, p);
    for (int i = 0; i < WIDTH; i++)
        values[i] = i < n ? p[i] : 0.0f;
    return VLOAD(0, values);
}

inline fvec swiglu(fvec gate, fvec up)
{
    return gate / (1.0f + exp(-gate)) * up;
}
