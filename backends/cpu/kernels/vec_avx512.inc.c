/* vec_avx512.inc.c -- the vectors of the portable kernels in AVX-512 F, BW, DQ, VL and
 * VNNI: sixteen lanes. What each function means is said in vec_c.inc.c. */
/* clang-format off: a table of one-line functions */
enum { VL = 16 };
enum { W8_ZERO = 128 };   /* VNNI multiplies unsigned by signed: w8 codes are shifted */

typedef __m512 vf;
typedef __m512i vi;

static inline vf v_set1(float a) { return _mm512_set1_ps(a); }
static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf v_abs(vf a) { return _mm512_abs_ps(a); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline float v_sum(vf a) { return _mm512_reduce_add_ps(a); }
static inline float v_hmax(vf a) { return _mm512_reduce_max_ps(a); }

/* Pairs of vectors are folded into each other, so that one add serves four sums. */
static inline void v_store_sums(float *p, vf a, vf b, vf c, vf d)
{
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd);
    __m512 s = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
    _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)));
}

/* For |a| < 2^31, which is all we need. */
static inline vf v_round(vf a)
{
    return _mm512_cvtepi32_ps(_mm512_cvtps_epi32(a));
}

static inline vf v_pow2(vf n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }

static inline vf v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline vf v_load_i8(const uint8_t *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

static inline vf v_load_u4(const uint8_t *p, int shift)
{
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
    __m512i moved = _mm512_srl_epi32(bytes, _mm_cvtsi32_si128(shift));
    return _mm512_cvtepi32_ps(_mm512_and_si512(moved, _mm512_set1_epi32(15)));
}

static inline void v_store_f16(uint16_t *p, vf a)
{
    /* All lanes by a mask: gcc's plain macro warns about its own -1. */
    __m256i h = _mm512_maskz_cvtps_ph((__mmask16)0xffff, a, _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256((__m256i *)p, h);
}

static inline void v_store_i8(int8_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}

static inline vi i_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
static inline void i_store(uint8_t *p, vi a) { _mm512_storeu_si512(p, a); }
static inline vi i_set1(int32_t a) { return _mm512_set1_epi32(a); }

static inline vi i_set4(const int8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

static inline vf v_bf16_lo(vi a) { return _mm512_castsi512_ps(_mm512_slli_epi32(a, 16)); }

static inline vf v_bf16_hi(vi a)
{
    return _mm512_castsi512_ps(_mm512_and_si512(a, _mm512_set1_epi32(-65536)));
}

static inline vf v_f16_lo(vi a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
static inline vf v_f16_hi(vi a) { return v_f16_lo(_mm512_srli_epi32(a, 16)); }
static inline vf v_from_i32(vi a) { return _mm512_cvtepi32_ps(a); }

static inline vi i_bits(vi a, int shift, uint8_t mask)
{
    vi moved = shift == 0 ? a : _mm512_srlv_epi32(a, _mm512_set1_epi32(shift));
    return _mm512_and_si512(moved, _mm512_set1_epi8((char)mask));
}

static inline vi i_unpack_w8(vi a)
{
    return _mm512_xor_si512(a, _mm512_set1_epi8((char)W8_ZERO));
}

static inline vi i_dot_u4(vi acc, vi w, vi x) { return _mm512_dpbusd_epi32(acc, w, x); }
static inline vi i_dot_w8(vi acc, vi w, vi x) { return _mm512_dpbusd_epi32(acc, w, x); }

static inline vi i_add_high(vi a, vi b)
{
    return _mm512_add_epi32(a, _mm512_slli_epi32(b, 7));
}

/* Four sums that stay in registers in a loop: gcc 12 would store them in every turn. */
#define I_PIN(a, b, c, d) __asm__("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d));

#define VEC_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5)
enum { N_VEC_ROWS = 6 };
#define INT_ROWS(X) X(0) X(1) X(2)
enum { N_INT_ROWS = 3, N_RUN = 4 };
#define VEC_HEADS(X) X(0) X(1) X(2) X(3)
enum { N_VEC_HEADS = 4 };
