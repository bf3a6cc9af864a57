/* vec_avx2.inc.c -- the vectors of the portable kernels in AVX2, FMA and F16C: eight
 * lanes, with the dot products of AVX-VNNI or AVX-512 where the file is built for either.
 * What each function means is said in vec_c.inc.c. */
/* clang-format off: a table of one-line functions */
enum { VL = 8 };
#if defined(__AVXVNNI__)
#define DOT_U8_I8 _mm256_dpbusd_avx_epi32
#elif defined(__AVX512VNNI__)
#define DOT_U8_I8 _mm256_dpbusd_epi32
#endif
#ifdef DOT_U8_I8
enum { W8_ZERO = 128 };   /* it multiplies unsigned by signed: w8 codes are shifted */
#else
enum { W8_ZERO = 0 };
#endif

typedef __m256 vf;
typedef __m256i vi;

static inline vf v_set1(float a) { return _mm256_set1_ps(a); }
static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }

static inline vf v_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vf v_pow2(vf n)
{
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

static inline float v_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static inline void v_store_sums(float *p, vf a, vf b, vf c, vf d)
{
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

static inline float v_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static inline vf v_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline vf v_load_i8(const uint8_t *p)
{
    __m128i bytes = _mm_loadl_epi64((const __m128i *)p);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

static inline vf v_load_u4(const uint8_t *p, int shift)
{
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    __m256i moved = _mm256_srl_epi32(bytes, _mm_cvtsi32_si128(shift));
    return _mm256_cvtepi32_ps(_mm256_and_si256(moved, _mm256_set1_epi32(15)));
}

static inline void v_store_f16(uint16_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

static inline void v_store_i8(int8_t *p, vf a)
{
    __m256i i = _mm256_cvtps_epi32(a);
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(i),
                                _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(h, h));
}

static inline vi i_load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline void i_store(uint8_t *p, vi a) { _mm256_storeu_si256((__m256i *)p, a); }
static inline vi i_set1(int32_t a) { return _mm256_set1_epi32(a); }

static inline vi i_set4(const int8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
}

static inline vf v_bf16_lo(vi a) { return _mm256_castsi256_ps(_mm256_slli_epi32(a, 16)); }

static inline vf v_bf16_hi(vi a)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_srli_epi32(a, 16), 16));
}

static inline vf v_f16_hi(vi a)
{
    __m256i h = _mm256_srli_epi32(a, 16);
    h = _mm256_permute4x64_epi64(_mm256_packus_epi32(h, h), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(h));
}

static inline vf v_f16_lo(vi a) { return v_f16_hi(_mm256_slli_epi32(a, 16)); }
static inline vf v_from_i32(vi a) { return _mm256_cvtepi32_ps(a); }

static inline vi i_bits(vi a, int shift, uint8_t mask)
{
    return _mm256_and_si256(_mm256_srli_epi32(a, shift), _mm256_set1_epi8((char)mask));
}

#ifdef DOT_U8_I8
static inline vi i_unpack_w8(vi a)
{
    return _mm256_xor_si256(a, _mm256_set1_epi8((char)W8_ZERO));
}

static inline vi i_dot_u4(vi acc, vi w, vi x) { return DOT_U8_I8(acc, w, x); }
static inline vi i_dot_w8(vi acc, vi w, vi x) { return DOT_U8_I8(acc, w, x); }
#else
static inline vi i_unpack_w8(vi a) { return a; }

/* Pairs are summed in 16 bits first: at most 2 x 15 x 127, no saturation. */
static inline vi i_dot_u4(vi acc, vi w, vi x)
{
    __m256i pairs = _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* |w| times x with w's sign: at most 2 x 128 x 127 = 32512, no saturation either. */
static inline vi i_dot_w8(vi acc, vi w, vi x)
{
    return i_dot_u4(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}
#endif

static inline vi i_add_high(vi a, vi b)
{
    return _mm256_add_epi32(a, _mm256_slli_epi32(b, 7));
}

/* Four sums that stay in registers in a loop: gcc 12 would store them in every turn. */
#define I_PIN(a, b, c, d) __asm__("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));

#define VEC_ROWS(X) X(0) X(1)
enum { N_VEC_ROWS = 2 };
#define INT_ROWS(X) X(0) X(1)
enum { N_INT_ROWS = 2, N_RUN = 4 };
#define VEC_HEADS(X) X(0) X(1)
enum { N_VEC_HEADS = 2 };
