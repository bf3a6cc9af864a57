/* attend.cl -- softmax(scale q K^T) V for a block of query rows that share their keys and
 * values, page by page with a running maximum (Milakov, Gimelshein 2018, 1805.02867; Dao
 * et al. 2022, 2205.14135). Before attention.cl and segment_attention.cl.
 *
 * A work-group of LANES has up to QUERIES rows. Scores: a lane a position, which reads
 * its key once for all rows. Values: a lane WIDTH columns, reading rows side by side.
 * WIDTH divides d, of q4 d / 2. Rows of codes are multiplied as codes; of q4 they are
 * rotated, so queries are rotated before, and results afterwards.
 */
#define PAGE 64     /* = LANES = ERNE_KV_PAGE */
#define QUERIES 8
#define PARTS (LANES / QUERIES)

/* WIDTH numbers of a row from number c on; of codes, before the scale. */
inline fvec kv_load(__global const kv_type *row, int c, int d)
{
#if CACHE == KV_F16
    return half_to_float(to_uvec(VLOAD(0, row + c)));
#elif CACHE == KV_Q8
    return CAT(convert_, fvec)(VLOAD(0, (__global const char *)row + c));
#elif CACHE == KV_Q4
    const uvec pair = to_uvec(VLOAD(0, row + c % (d / 2)));

    return CAT(convert_, fvec)(c < d / 2 ? pair & 15u : pair >> 4) - 7.5f;
#else
    return VLOAD(0, row + c);
#endif
}

inline float kv_scale(__global const kv_type *row, int d)
{
#if CACHE >= KV_Q8
    return half_of(row[KV_CODES(d)] | (uint)row[KV_CODES(d) + 1] << 8);
#else
    return 1.0f;
#endif
}

#if WIDTH == 1
#define ADD_UP(v) (v)
#elif WIDTH == 2
#define ADD_UP(v) ((v).s0 + (v).s1)
#else
inline float add_up(fvec v)
{
#if WIDTH == 16
    const float8 a = v.lo + v.hi;
    const float4 b = a.lo + a.hi;
#elif WIDTH == 8
    const float4 b = v.lo + v.hi;
#else
    const float4 b = v;
#endif
    const float2 c = b.lo + b.hi;

    return c.s0 + c.s1;
}
#define ADD_UP(v) add_up(v)
#endif

/* What a work-group keeps in local memory. */
struct block {
    __local float *q, *acc; /* [QUERIES][d] */
    __local float *scores;  /* [QUERIES][PAGE] */
    __local float *most;    /* [QUERIES]: the largest score so far */
    __local float *sum;     /* [QUERIES]: of exp(score - most) */
    __local float *fade;    /* [QUERIES]: what the sums before this page are worth now */
    __local float *part;    /* [LANES] */
    __local int *end;       /* [QUERIES]: positions that the row sees; 0: no row */
    int n;                  /* rows */
    int d;
    float scale;
};

/* Keys and values of a page: position i has its rows at i * stride. */
struct page {
    __global const kv_type *k, *v;
    uint k_stride, v_stride;
    int first; /* its first position */
    int n;     /* positions in it that some row sees */
};

inline void clear_block(const struct block *b)
{
    const int lane = get_local_id(0);

    for (int i = lane; i < QUERIES * b->d; i += LANES)
        b->acc[i] = 0.0f;
    if (lane < QUERIES) {
        b->most[lane] = -INFINITY;
        b->sum[lane] = 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

inline void score_page(const struct block *b, const struct page *page)
{
    const int lane = get_local_id(0);
    fvec dots[QUERIES];
    float scale = b->scale;

    for (int r = 0; r < QUERIES; r++)
        dots[r] = (fvec)0.0f;
    if (lane < page->n) {
        __global const kv_type *k = page->k + (uint)lane * page->k_stride;

        for (int c = 0; c < b->d; c += WIDTH) {
            const fvec key = kv_load(k, c, b->d);

            for (int r = 0; r < QUERIES; r++)
                dots[r] = mad(VLOAD(0, b->q + r * b->d + c), key, dots[r]);
        }
        scale *= kv_scale(k, b->d);
    }
    for (int r = 0; r < QUERIES; r++)
        b->scores[r * PAGE + lane] =
            page->first + lane < b->end[r] ? ADD_UP(dots[r]) * scale : -INFINITY;
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Scores become weights relative to the largest so far, times the scales of values: PARTS
 * lanes a row. */
inline void weigh_page(const struct block *b, const struct page *page)
{
    const int lane = get_local_id(0), r = lane / PARTS, first = lane % PARTS;
    __local float *scores = b->scores + r * PAGE;
    float most = -INFINITY, sum = 0.0f;

    for (int i = first; i < PAGE; i += PARTS)
        most = fmax(most, scores[i]);
    b->part[lane] = most;
    barrier(CLK_LOCAL_MEM_FENCE);
    most = b->most[r];
    for (int i = 0; i < PARTS; i++)
        most = fmax(most, b->part[r * PARTS + i]);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = first; i < PAGE; i += PARTS) {
        const float w = scores[i] > -INFINITY ? exp(scores[i] - most) : 0.0f;

        scores[i] =
            w > 0.0f ? w * kv_scale(page->v + (uint)i * page->v_stride, b->d) : 0.0f;
        sum += w;
    }
    b->part[lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (first == 0) {
        const float fade = b->most[r] > -INFINITY ? exp(b->most[r] - most) : 0.0f;

        sum = b->sum[r] * fade;
        for (int i = 0; i < PARTS; i++)
            sum += b->part[r * PARTS + i];
        b->sum[r] = sum;
        b->most[r] = most;
        b->fade[r] = fade;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

inline void add_page(const struct block *b, const struct page *page)
{
    for (int c = get_local_id(0) * WIDTH; c < b->d; c += LANES * WIDTH) {
        fvec acc[QUERIES];

        for (int r = 0; r < QUERIES; r++)
            acc[r] = VLOAD(0, b->acc + r * b->d + c) * b->fade[r];
        for (int i = 0; i < page->n; i++) {
            const fvec value = kv_load(page->v + (uint)i * page->v_stride, c, b->d);

            for (int r = 0; r < QUERIES; r++)
                acc[r] = mad(value, (fvec)b->scores[r * PAGE + i], acc[r]);
        }
        for (int r = 0; r < QUERIES; r++)
            VSTORE(acc[r], 0, b->acc + r * b->d + c);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

inline void attend_page(const struct block *b, const struct page *page)
{
    score_page(b, page);
    weigh_page(b, page);
    add_page(b, page);
}
