/* vec_neon.inc.c -- the vectors of the portable kernels in NEON with the dot product
 * instructions of ARMv8.2: four lanes. What each function means is said in
 * vec_c.inc.c. */
/* clang-format off: a table of one-line functions */
enum { VL = 4 };
enum { W8_ZERO = 0 };

typedef float32x4_t vf;
typedef uint32x4_t vi;

static inline vf v_set1(float a) { return vdupq_n_f32(a); }
static inline vf v_load(const float *p) { return vld1q_f32(p); }
static inline vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf v_max(vf a, vf b) { return vmaxq_f32(a, b); }
static inline vf v_min(vf a, vf b) { return vminq_f32(a, b); }
static inline vf v_abs(vf a) { return vabsq_f32(a); }
static inline vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf v_round(vf a) { return vrndnq_f32(a); }
static inline void v_store(float *p, vf a) { vst1q_f32(p, a); }
static inline float v_sum(vf a) { return vaddvq_f32(a); }
static inline float v_hmax(vf a) { return vmaxvq_f32(a); }

static inline vf v_pow2(vf n)
{
    int32x4_t e = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(e, 23));
}

static inline void v_store_sums(float *p, vf a, vf b, vf c, vf d)
{
    vst1q_f32(p, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}

static inline vf v_f32_of(uint16x4_t a) { return vcvt_f32_f16(vreinterpret_f16_u16(a)); }
static inline vf v_load_f16(const uint16_t *p) { return v_f32_of(vld1_u16(p)); }

/* Four bytes, twice. */
static inline uint8x8_t load_4(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return vreinterpret_u8_u32(vdup_n_u32(x));
}

static inline vf v_load_i8(const uint8_t *p)
{
    int16x8_t h = vmovl_s8(vreinterpret_s8_u8(load_4(p)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(h)));
}

static inline vf v_load_u4(const uint8_t *p, int shift)
{
    uint16x4_t h = vget_low_u16(vmovl_u8(load_4(p)));
    uint16x4_t moved = vshl_u16(h, vdup_n_s16((int16_t)-shift));
    return vcvtq_f32_u32(vmovl_u16(vand_u16(moved, vdup_n_u16(15))));
}

static inline void v_store_f16(uint16_t *p, vf a)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}

static inline void v_store_i8(int8_t *p, vf a)
{
    int16x4_t h = vmovn_s32(vcvtnq_s32_f32(a));
    int8x8_t b = vmovn_s16(vcombine_s16(h, h));
    int32_t x = vget_lane_s32(vreinterpret_s32_s8(b), 0);
    memcpy(p, &x, sizeof x);
}

static inline vi i_load(const uint8_t *p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }
static inline void i_store(uint8_t *p, vi a) { vst1q_u8(p, vreinterpretq_u8_u32(a)); }
static inline vi i_set1(int32_t a) { return vdupq_n_u32((uint32_t)a); }

static inline vi i_set4(const int8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return vdupq_n_u32(x);
}

static inline vf v_bf16_lo(vi a) { return vreinterpretq_f32_u32(vshlq_n_u32(a, 16)); }

static inline vf v_bf16_hi(vi a)
{
    return vreinterpretq_f32_u32(vandq_u32(a, vdupq_n_u32(0xffff0000u)));
}

static inline vf v_f16_lo(vi a) { return v_f32_of(vmovn_u32(a)); }
static inline vf v_f16_hi(vi a) { return v_f32_of(vshrn_n_u32(a, 16)); }
static inline vf v_from_i32(vi a) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a)); }

static inline vi i_bits(vi a, int shift, uint8_t mask)
{
    return vandq_u32(vshlq_u32(a, vdupq_n_s32(-shift)),
                     vreinterpretq_u32_u8(vdupq_n_u8(mask)));
}

static inline vi i_unpack_w8(vi a) { return a; }

static inline vi i_dot_w8(vi acc, vi w, vi x)
{
    return vreinterpretq_u32_s32(vdotq_s32(vreinterpretq_s32_u32(acc),
                                           vreinterpretq_s8_u32(w),
                                           vreinterpretq_s8_u32(x)));
}

static inline vi i_dot_u4(vi acc, vi w, vi x) { return i_dot_w8(acc, w, x); }

/* What matmul_pairs.inc.c is written on. */
#ifdef __ARM_FEATURE_MATMUL_INT8
#define HAS_PAIRS

static inline vi i_add(vi a, vi b) { return vaddq_u32(a, b); }
static inline vi i_zip_low(vi a, vi b) { return vzip1q_u32(a, b); }
static inline vi i_zip_high(vi a, vi b) { return vzip2q_u32(a, b); }
static inline vi i_even(vi a, vi b) { return vuzp1q_u32(a, b); }
static inline vi i_odd(vi a, vi b) { return vuzp2q_u32(a, b); }

/* Eight inputs of two tokens. */
static inline vi i_pair(const int8_t *p, const int8_t *q)
{
    return vreinterpretq_u32_s8(vcombine_s8(vld1_s8(p), vld1_s8(q)));
}

/* acc [2][2] += w [2][8] times x [2][8], row by row. */
static inline vi i_products(vi acc, vi w, vi x)
{
    return vreinterpretq_u32_s32(vmmlaq_s32(vreinterpretq_s32_u32(acc),
                                            vreinterpretq_s8_u32(w),
                                            vreinterpretq_s8_u32(x)));
}
#endif

static inline vi i_add_high(vi a, vi b)
{
    return vaddq_u32(a, vshlq_n_u32(b, 7));
}

/* Four sums that stay in registers in a loop: gcc 12 would store them in every turn. */
#define I_PIN(a, b, c, d) __asm__("" : "+w"(a), "+w"(b), "+w"(c), "+w"(d));

#define VEC_ROWS(X) X(0) X(1) X(2) X(3)
enum { N_VEC_ROWS = 4 };
#define INT_ROWS(X) X(0) X(1) X(2) X(3)
enum { N_INT_ROWS = 4, N_RUN = 4 };
#define VEC_HEADS(X) X(0) X(1) X(2) X(3)
enum { N_VEC_HEADS = 4 };
