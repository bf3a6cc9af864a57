/* vec_c.inc.c -- the vectors of the portable kernels, written in plain C.
 *
 * One of four files with the same functions (vec_avx2, vec_avx512, vec_neon): VL lanes of
 * f32 (vf) or of 32 bits that hold four 8-bit codes or one int32 (vi). A level_<isa>.c
 * includes one of them before the kernels.
 */
/* clang-format off: a table of one-line functions */
enum { VL = 4 };
enum { W8_ZERO = 0 };   /* what i_unpack_w8 added to every code */

typedef struct { float v[VL]; } vf;
typedef struct { int32_t v[VL]; } vi;

/* Defines a function of lanes: `lane` sees index i. */
#define LANES(type, lane)            \
    {                                \
        type r;                      \
        for (int i = 0; i < VL; i++) \
            r.v[i] = (lane);         \
        return r;                    \
    }

static inline vf v_set1(float a) LANES(vf, a)
static inline vf v_load(const float *p) LANES(vf, p[i])
static inline vf v_add(vf a, vf b) LANES(vf, a.v[i] + b.v[i])
static inline vf v_sub(vf a, vf b) LANES(vf, a.v[i] - b.v[i])
static inline vf v_mul(vf a, vf b) LANES(vf, a.v[i] * b.v[i])
static inline vf v_div(vf a, vf b) LANES(vf, a.v[i] / b.v[i])
static inline vf v_max(vf a, vf b) LANES(vf, a.v[i] > b.v[i] ? a.v[i] : b.v[i])
static inline vf v_min(vf a, vf b) LANES(vf, a.v[i] < b.v[i] ? a.v[i] : b.v[i])
static inline vf v_abs(vf a) LANES(vf, fabsf(a.v[i]))
static inline vf v_fma(vf a, vf b, vf c) LANES(vf, a.v[i] * b.v[i] + c.v[i])
static inline vf v_round(vf a) LANES(vf, rintf(a.v[i]))
static inline vf v_pow2(vf n) LANES(vf, ldexpf(1.0f, (int)n.v[i]))

static inline void v_store(float *p, vf a)
{
    memcpy(p, a.v, sizeof a.v);
}

static inline float v_sum(vf a)
{
    return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]);
}

/* The sums of four vectors, one after the other. */
static inline void v_store_sums(float *p, vf a, vf b, vf c, vf d)
{
    p[0] = v_sum(a);
    p[1] = v_sum(b);
    p[2] = v_sum(c);
    p[3] = v_sum(d);
}

static inline float v_hmax(vf a)
{
    return fmaxf(fmaxf(a.v[0], a.v[1]), fmaxf(a.v[2], a.v[3]));
}

static inline vf v_load_f16(const uint16_t *p) LANES(vf, erne_f32_from_f16(p[i]))

/* Bytes as f32: signed, and the four bits of each from `shift` on, unsigned. */
static inline vf v_load_i8(const uint8_t *p) LANES(vf, (float)(int8_t)p[i])
static inline vf v_load_u4(const uint8_t *p, int shift)
    LANES(vf, (float)(p[i] >> shift & 15))

static inline void v_store_f16(uint16_t *p, vf a)
{
    for (int i = 0; i < VL; i++)
        p[i] = erne_f16_from_f32(a.v[i]);
}

/* Integral lanes in -127 .. 127. */
static inline void v_store_i8(int8_t *p, vf a)
{
    for (int i = 0; i < VL; i++)
        p[i] = (int8_t)a.v[i];
}

static inline vi i_load(const uint8_t *p)
{
    vi r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}

static inline void i_store(uint8_t *p, vi a)
{
    memcpy(p, a.v, sizeof a.v);
}

static inline vi i_set1(int32_t a) LANES(vi, a)

/* The four codes at p in every lane. */
static inline vi i_set4(const int8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    LANES(vi, x)
}

/* Halves of each lane as f32: bits 0 .. 15, bits 16 .. 31. */
static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline vf v_bf16_lo(vi a) LANES(vf, float_of((uint32_t)a.v[i] << 16))
static inline vf v_bf16_hi(vi a) LANES(vf, float_of((uint32_t)a.v[i] & 0xffff0000u))
static inline vf v_f16_lo(vi a)
    LANES(vf, erne_f32_from_f16((uint16_t)((uint32_t)a.v[i] & 0xffff)))
static inline vf v_f16_hi(vi a)
    LANES(vf, erne_f32_from_f16((uint16_t)((uint32_t)a.v[i] >> 16)))

static inline vf v_from_i32(vi a) LANES(vf, (float)a.v[i])

/* The bits that `mask` keeps in each byte, after a shift to the right. */
static inline vi i_bits(vi a, int shift, uint8_t mask)
    LANES(vi, (int32_t)(((uint32_t)a.v[i] >> shift) & (mask * 0x01010101u)))

static inline vi i_unpack_w8(vi a)
{
    return a;
}

static inline int32_t dot4(int32_t w, int32_t x, bool is_signed)
{
    int32_t sum = 0;
    for (int byte = 0; byte < 32; byte += 8) {
        uint8_t code = (uint8_t)((uint32_t)w >> byte);
        int32_t value = is_signed ? (int8_t)code : code;
        sum += value * (int8_t)(uint8_t)((uint32_t)x >> byte);
    }
    return sum;
}

/* acc + the dot product of four codes a lane: w 0 .. 15, x -127 .. 127. */
static inline vi i_dot_u4(vi acc, vi w, vi x)
    LANES(vi, acc.v[i] + dot4(w.v[i], x.v[i], false))
/* The same for w from i_unpack_w8. */
static inline vi i_dot_w8(vi acc, vi w, vi x)
    LANES(vi, acc.v[i] + dot4(w.v[i], x.v[i], true))
/* a + 128 b */
static inline vi i_add_high(vi a, vi b) LANES(vi, a.v[i] + b.v[i] * 128)

#undef LANES

/* Tells the compiler to keep four sums in registers, where that helps. */
#define I_PIN(a, b, c, d)

/* How many tokens the inner loops of matrix products hold in registers, and how many
 * those of integer products do for the last few. */
#define VEC_ROWS(X) X(0) X(1)
enum { N_VEC_ROWS = 2 };
#define INT_ROWS(X) X(0) X(1)
enum { N_INT_ROWS = 2, N_RUN = 4 };
/* The same for query heads in attention. */
#define VEC_HEADS(X) X(0) X(1)
enum { N_VEC_HEADS = 2 };
