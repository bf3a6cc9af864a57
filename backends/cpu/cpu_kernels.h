/* cpu_kernels.h -- the inner loops of the CPU backend: one table of functions, filled for
 * the instruction set in use. Kernels know nothing of nodes, threads or scratch; what
 * calls them is cpu_rows.c, cpu_matmul_*.c and cpu_attention.c.
 *
 * A kernel's result depends on its arguments only, never on how the work was divided.
 */
#ifndef ERNE_CPU_KERNELS_H
#define ERNE_CPU_KERNELS_H

#include "runtime/op.h"

/* Most tokens that a thread multiplies with a tile at a time: the more, the less cost the
 * tile's expansion and its way from memory (8 % of 96 tokens); sums take 96 KiB. */
enum { CPU_CHUNK = 384 };

/* Activations in int8, one scale a block. Where a few outliers would leave too few steps
 * to the other inputs of a block, some of its quads (four inputs, what a dot product
 * takes) have high codes besides, and the scale suits the rest: x ~ scale * (code + 128 *
 * high). Codes of 8-bit weights' inputs may instead be shifted where these lie to
 * one side of zero, as behind a GELU: x ~ scale * (code + shift). Blocks come one after
 * the other, each with all its tokens, since that is how a tile goes through them. */
struct cpu_activations {
    int8_t *codes;    /* [n_blocks, T, block] */
    float *scale;     /* [n_blocks, T] */
    int32_t *sum;     /* [n_blocks, T]: code + 128 high + shift, pays for zero points */
    uint8_t *n_high;  /* [n_blocks, T]: quads that have high codes */
    uint8_t *high_at; /* [n_blocks, T, block / 4]: which */
    int8_t *high;     /* [n_blocks, T, block]: their high codes, quad by quad */
    int8_t *shift;    /* [n_blocks, T], or NULL: none is to be shifted */
    float *error;     /* [n_blocks, T]: what codes miss, squared; while quantising */
    bool *has_high;   /* [T]: whether any block of a token has */
    bool *has_shift;  /* [T], likewise */
    int64_t k, k_pad; /* inputs, and with the zeros up to a whole weight group */
    int64_t n_blocks; /* k_pad / block */
    int64_t n_tok;    /* T, tokens there is room for, at least */
    int block;        /* 32 or 64, divides the weights' group */
};

/* Sixty-four rows of a tile64 weight. */
struct cpu_tile {
    const uint8_t *codes;            /* f32 [K][64], f16 and bf16 [K/2][64][2], ... */
    const uint16_t *scales, *minima; /* f16 [n_groups][64]; NULL where there are none */
    int64_t group;                   /* inputs a scale */
    float zero;                      /* the zero point of the codes */
    const uint8_t *next;             /* codes that are wanted next, or NULL */
};

/* Keys and values of one KV head for a page of positions: rows of d numbers, where d is
 * a multiple of CPU_HEAD_STEP, for q4 of twice that. */
struct cpu_kv_page {
    const uint8_t *k, *v;           /* [ERNE_KV_PAGE, row of d] */
    const float *k_scale, *v_scale; /* [ERNE_KV_PAGE], of rows of codes, or NULL */
    /* What is wanted next, to be fetched meanwhile: so many bytes of each. */
    const uint8_t *next_k, *next_v;
    int64_t next_bytes;
    int64_t row_bytes;
    int64_t d;
};
enum { CPU_HEAD_STEP = 16, CPU_KV_TYPES = ERNE_TYPE_Q4 + 1 };

/* Running softmax of one query head: out = sum of e^(s - max) v, total = sum of the e. */
struct cpu_softmax {
    float max, total;
    float *out; /* [d], divided by total at the end */
    int n;      /* positions of the keys at hand that the head sees */
    float keep; /* what sums so far are multiplied by, for the page at hand */
};

/* Keys and values in bf16 of one head, of which queries see those from `first` on, the
 * one that sees most up to `end`. Pairs of values are read; what is not seen there must
 * be finite. */
struct cpu_bf16_keys {
    const uint16_t *k;              /* [CPU_BF16_KEYS / 64, d / 2, 64, 2] */
    const uint16_t *v;              /* [CPU_BF16_KEYS / 2, d, 2] */
    const uint8_t *next_k, *next_v; /* as of cpu_kv_page */
    int64_t next_bytes;
    int64_t d;      /* a multiple of CPU_HEAD_STEP */
    int first, end; /* 0 <= first < end <= CPU_BF16_KEYS */
};
enum { CPU_BF16_KEYS = 256, CPU_BF16_ROWS = 4 };

/* What happens to one token's 64 sums before they are written. */
struct cpu_epilogue {
    enum erne_act act;
    const float *bias;     /* [64] from the tile's first row on, or NULL */
    const float *residual; /* [n] or NULL */
    float *dst;            /* [n] */
    int n, n_rows;         /* results, and rows of the tile that exist */
};

struct cpu_layer_norm {
    const float *w, *bias; /* [n] */
    float eps;
};

struct cpu_kernels {
    /* dst [n] = x [n] / rms(x) * w [n] */
    void (*rms_norm)(float *dst, const float *x, const float *w, int64_t n, float eps);
    /* dst [n] = (x - mean) / sqrt(var + eps) * w + bias */
    void (*layer_norm)(float *dst, const float *x, const struct cpu_layer_norm *norm,
                       int64_t n);
    void (*f16_from_f32)(uint16_t *dst, const float *src, int64_t n);
    void (*f32_from_f16)(float *dst, const uint16_t *src, int64_t n);
    /* dst [n] = scale * src [n] */
    void (*bf16_from_f32)(uint16_t *dst, const float *src, float scale, int64_t n);
    void (*finish)(const struct cpu_epilogue *e, float acc[ERNE_TILE_ROWS]);
    /* dst [n] += scale * src [n] */
    void (*add_scaled)(float *dst, const float *src, float scale, int64_t n);
    /* Fills token t of x from src [k]. */
    void (*quantise)(const struct cpu_activations *x, int64_t t, const float *src);
    /* acc [n, 64] += x [n, k] (rows ldx apart) times the tile. By float codec. */
    void (*tile_float[ERNE_CODEC_W8])(float *acc, const struct cpu_tile *w,
                                      const float *x, int64_t ldx, int64_t n, int64_t k);
    /* acc [n, 64] = tokens from[0 .. n] of x times the tile; n <= CPU_CHUNK. By integer
     * codec. */
    void (*tile_int[ERNE_CODEC_COUNT])(float *acc, const struct cpu_tile *w,
                                       const struct cpu_activations *x,
                                       const int32_t *from, int64_t n);
    /* Takes a page into the softmaxes of n_heads heads. q [n_heads, d] is scaled already.
     * By type of cache. */
    void (*attend[CPU_KV_TYPES])(struct cpu_softmax *s, const float *q, int64_t n_heads,
                                 const struct cpu_kv_page *kv);
    /* Fills k and v of cpu_bf16_keys with the first n rows of a page, 0 < n <=
     * ERNE_KV_PAGE, by type of cache. NULL: there are no instructions for it, or it is
     * not to be rounded. */
    void (*pack_bf16[CPU_KV_TYPES])(uint16_t *k, uint16_t *v,
                                    const struct cpu_kv_page *kv, int n);
    /* The same as attend for n rows of queries, a multiple of CPU_BF16_ROWS, scaled by
     * log2 e as well: s counts powers of 2. NULL: there are no instructions for it. */
    void (*attend_bf16)(struct cpu_softmax *s, const uint16_t *q, int64_t n,
                        const struct cpu_bf16_keys *kv);
    float w8_zero; /* what tile_int expects in cpu_tile.zero of w8 */
    /* The most a core can do: n steps, each of that many operations; reading [n]. What
     * they answer means nothing. */
    float (*peak_f32)(int64_t n);
    float (*peak_i8)(int64_t n);
    float (*peak_bf16)(int64_t n); /* NULL: there are no instructions for it */
    float (*peak_read)(const float *src, int64_t n);
    int peak_f32_ops, peak_i8_ops, peak_bf16_ops;
};

/* Fills the slots that a level has; plain C has all of them. */
void cpu_kernels_init_c(struct cpu_kernels *k);
void cpu_kernels_init_neon(struct cpu_kernels *k);
void cpu_kernels_init_i8mm(struct cpu_kernels *k);
void cpu_kernels_init_avx2(struct cpu_kernels *k);
void cpu_kernels_init_avxvnni(struct cpu_kernels *k);
void cpu_kernels_init_avx512ymm(struct cpu_kernels *k);
void cpu_kernels_init_avx512(struct cpu_kernels *k);
void cpu_kernels_init_avx512bf16(struct cpu_kernels *k);
void cpu_kernels_init_attend_bf16(struct cpu_kernels *k);
void cpu_kernels_init_pack_bf16(struct cpu_kernels *k);

#if defined(__aarch64__)
#define CPU_ISA_ARM(X) X(NEON, neon) X(I8MM, i8mm)
#else
#define CPU_ISA_ARM(X)
#endif

/* Levels of instruction sets, each with all that is below it: X(NAME, name). On ARM,
 * those of x86 are above what any machine has. */
#define CPU_ISA_LIST(X) \
    X(C, c)             \
    CPU_ISA_ARM(X)      \
    X(AVX2, avx2)       \
    X(AVXVNNI, avxvnni) \
    X(AVX512, avx512)

enum cpu_isa {
#define X(NAME, name) CPU_ISA_##NAME,
    CPU_ISA_LIST(X)
#undef X
        CPU_ISA_COUNT
};

/* The highest level of this processor under this operating system. */
enum cpu_isa cpu_isa_detect(void);
/* Whether avxvnni has the instructions that it is named after. Other processors with
 * avx512 run it in AVX-512's encoding of the same ones. */
bool cpu_isa_has_avx_vnni(void);
/* The highest level with instructions for bf16 besides. */
bool cpu_isa_has_bf16(void);
const char *cpu_isa_name(enum cpu_isa isa);
/* EINVAL for a name that is no level, EUNSUPPORTED for one above the processor's. */
int cpu_isa_parse(enum cpu_isa *isa, const char *name, struct erne_error *err);

void cpu_kernels_init(struct cpu_kernels *k, enum cpu_isa isa);

#endif
