/* model_desc.h -- what a model is: shapes, chat description, provenance.
 *
 * The converters fill it, the manifest section of the file carries it as YAML
 * (runtime/manifest.c writes and reads exactly these fields), the runtime builds its
 * graphs from it.
 */
#ifndef ERNE_MODEL_DESC_H
#define ERNE_MODEL_DESC_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/chat_desc.h"
#include "runtime/error.h"

/* Architectures: X(NAME, name in manifests). One file a family in runtime/models. */
#define ERNE_ARCH_LIST(X)               \
    X(ERNIE45, ernie4_5)                \
    X(LLAMA, llama)                     \
    X(ERNIE45_MOE, ernie4_5_moe)        \
    X(ERNIE45_VL, ernie4_5_vl_moe)      \
    X(PADDLEOCR_VL, paddleocr_vl)

enum erne_arch {
#define X(NAME, name) ERNE_ARCH_##NAME,
    ERNE_ARCH_LIST(X)
#undef X
    ERNE_ARCH_COUNT
};

enum { ERNE_MAX_STOP = 8 };

/* Sizes end here, positions as well, so that no product of two of them overflows an
 * int64. */
enum { ERNE_SIZE_MAX = (1 << 24) - 1 };

/* Mixtures of experts. Layer i has experts if first <= i <= last and (i + 1) % interval
 * == 0, or where that does not say it, if letter i of `layers` is an e; the other layers
 * are dense. With n_ff_vision there are two banks of n_experts in each, text first, and a
 * token is routed inside the bank of its kind only. */
struct erne_moe_desc {
    int32_t n_experts;             /* of a bank; 0: a dense model */
    int32_t n_used;                /* experts a token */
    int32_t n_ff, n_ff_vision;     /* widths of an expert; n_ff_vision 0: one bank */
    int32_t n_ff_shared;           /* of the part that every token takes; 0: none */
    int32_t first, last, interval;
    char *layers;                  /* "edde"; NULL: by the three above */
    float norm_min;                /* least divisor of the renormalised weights */
};

/* The vision tower and what goes into it. */
struct erne_vision_desc {
    int32_t n_layers;              /* 0: a text model */
    int32_t n_embd, n_heads, n_ff;
    int32_t patch, merge;          /* sides: pixels of a patch, patches of a token */
    int32_t temporal;              /* frames a token; 1: no video */
    int32_t n_side;                /* learned positions are a square of it; 0: none */
    float eps, rope_theta;
    int32_t min_pixels, max_pixels, video_min_pixels, video_max_pixels;
    float mean[3], std[3];         /* of pixels in 0 .. 1 */
    int32_t image_token, video_token;   /* placeholders in a prompt */
    int32_t image_start, image_end, video_start, video_end; /* -1: unknown */
};

enum { ERNE_ROPE_AXES = 3 };

/* The device a file was made for, and how it is to run there unless the user says
 * otherwise; all zero when it was made for none. */
struct erne_device_desc {
    char *name;
    char *kv_type;                 /* "f16" */
    int32_t n_ctx, n_batch;
    int32_t ram_mib;               /* 0: everything fits; else experts must stream */
};

enum erne_tensor_role {
    ERNE_ROLE_EMBED,     /* [n_vocab, n_embd]; also the logits' weight when tied */
    ERNE_ROLE_NORM,      /* f32 rows [n_embd] */
    ERNE_ROLE_QKV,       /* rows q | k | v */
    ERNE_ROLE_ATTN_OUT,
    ERNE_ROLE_GATE_UP,   /* alternating runs of 16 rows, each padded with zero rows */
    ERNE_ROLE_DOWN,
    ERNE_ROLE_LM_HEAD,
    ERNE_ROLE_ROUTER,    /* tile64 f32 [banks * n_experts, n_embd], text rows first */
    ERNE_ROLE_POSITIONS, /* f32 rows [n_side^2, vision.n_embd] */
    ERNE_ROLE_VISION,    /* a linear layer of tower, resampler or projector */
    ERNE_ROLE_MTP,       /* [n_embd, 2 n_embd]: columns of the embedding first */
    ERNE_ROLE_BIAS,      /* f32 rows, laid out as the rows of its weight */
    ERNE_ROLE_COUNT
};

/* What rounding changed, as measured when the file was made; all zero when nothing was.
 * Means over tokens of the calibration's text that rounding was not guided by. */
struct erne_judged_desc {
    int32_t n_tokens;
    float bits;                    /* a weight, in the file */
    float kld;                     /* divergence from the exact model's predictions */
    float same_top;                /* share of tokens with the same best next one */
    float perplexity, perplexity_exact;
    /* By role, [1] of experts: of what rounding changed the root mean square, over that
     * of the weights. */
    float errors[2][ERNE_ROLE_COUNT];
};

struct erne_model_desc {
    enum erne_arch arch;
    int32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab, n_ctx_train;
    float rms_eps, rope_theta;
    bool tied;                     /* logits use the embedding rows */
    bool use_bias;                 /* biases on all linear layers of the blocks */
    /* Pairs of a head that turn by time, height and width; all 0: by position alone.
     * ERNIE alternates height and width before time, PaddleOCR-VL has time first. */
    int32_t rope_sections[ERNE_ROPE_AXES];
    struct erne_moe_desc moe;
    struct erne_vision_desc vision;
    int32_t n_mtp;                 /* multi-token prediction blocks that are kept */
    struct erne_device_desc device;

    int32_t stop[ERNE_MAX_STOP];   /* generation ends on any of these */
    int n_stop;
    struct erne_chat_desc chat;

    /* provenance: free text for people, may be NULL */
    char *name, *license;
    char *source;                  /* file or folder name, without its path */
    char *source_format;           /* "safetensors ernie4_5", "gguf llama" */
    char *calibration;             /* the text that rounding was guided by */
    int32_t n_calibrated;          /* tokens of it; 0: not known */
    struct erne_judged_desc judged;
    char *scheme;                  /* the scheme asked for, and that of most weights */
};

/* Frees the strings; the struct may be all zero. */
void erne_model_desc_deinit(struct erne_model_desc *desc);

/* Ranges and relations that every model must satisfy (positive sizes below 2^24, heads a
 * multiple of KV heads, head_dim even and <= 256, ...). The text names the field. */
int erne_model_desc_check(const struct erne_model_desc *desc, struct erne_error *err);

const char *erne_arch_name(enum erne_arch arch);
int erne_arch_parse(enum erne_arch *out, const char *name);

/* YAML text of a manifest, 0-terminated, free() it; and back. Parsing never allocates
 * more than a small multiple of n_bytes, refuses aliases, depth > 16, unknown versions
 * and duplicate keys, ignores keys it does not know. EFORMAT names line and column. */
int erne_manifest_write(char **text, size_t *n_bytes, const struct erne_model_desc *desc,
                        struct erne_error *err);
int erne_manifest_read(struct erne_model_desc *desc, const char *text, size_t n_bytes,
                       struct erne_error *err);

/* The tensors that an architecture needs, in file order: the one description that the
 * converter writes by and the runtime loads by. */
enum { ERNE_SPEC_NAME_MAX = 64 };

/* For people: "q, k, v". */
const char *erne_role_label(enum erne_tensor_role role);

/* Roles that are stored as f32 rows, whatever the scheme. */
static inline bool erne_role_is_rows(enum erne_tensor_role role)
{
    return role == ERNE_ROLE_NORM || role == ERNE_ROLE_BIAS ||
           role == ERNE_ROLE_POSITIONS;
}

struct erne_tensor_spec {
    char name[ERNE_SPEC_NAME_MAX];  /* "layers.0.qkv" */
    enum erne_tensor_role role;
    int32_t layer;                  /* -1 outside layers */
    int32_t expert;                 /* its number over both banks; -1: none */
    int64_t n, k;                   /* [out, in]; vectors are [1, k] */
    int64_t n_ff;                   /* GATE_UP and its bias: rows of each, unpadded */
};

/* Whether a layer has experts; how many banks they are in. */
bool erne_layer_is_moe(const struct erne_model_desc *desc, int32_t layer);
int32_t erne_moe_n_banks(const struct erne_model_desc *desc);

/* Calls visit for each tensor in order; a non-zero answer ends it and is returned. */
int erne_model_tensors(const struct erne_model_desc *desc,
                       int (*visit)(void *user, const struct erne_tensor_spec *spec),
                       void *user);

/* Weights of the model, without padding. */
uint64_t erne_model_n_params(const struct erne_model_desc *desc);

#endif
