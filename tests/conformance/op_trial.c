/* op_trial.c -- builds the data of a case, and compares results. See op_trial.h. */
#include "tests/conformance/op_trial.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quantize/tile64.h"

enum { GUARD_BYTES = 256, ALIGN = 256, SPARE_ROWS = 2 };

/* As f32 a NaN, as f16 a NaN and a large number, as an index absurd. */
static const uint32_t guard_word = 0x7fc0dead;

static void *checked_alloc(size_t n_bytes)
{
    void *p = malloc(n_bytes ? n_bytes : 1);

    if (!p) {
        fprintf(stderr, "erne-check: out of memory (%zu bytes)\n", n_bytes);
        exit(EXIT_FAILURE);
    }
    return p;
}

static void paint(uint8_t *p, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        p[i] = (uint8_t)(guard_word >> (i % 4 * 8));
}

/* --------------------------------------------------------------- numbers */

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t op_random(struct op_trial *t)
{
    uint64_t z = t->rng += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* In (0, 1]. */
static double uniform(struct op_trial *t)
{
    return (double)((op_random(t) >> 11) + 1) * 0x1p-53;
}

static double normal(struct op_trial *t)
{
    const double radius = sqrt(-2 * log(uniform(t)));

    return radius * cos(6.283185307179586 * uniform(t));
}

float op_value(struct op_trial *t, enum op_fill fill, int64_t column, int64_t n)
{
    const double x = normal(t);

    switch (fill) {
    case OP_FILL_ZERO: return 0.0f;
    case OP_FILL_DENORMAL: return (float)(x * 1e-40);
    case OP_FILL_LARGE: return (float)(x * 1e15);
    case OP_FILL_OUTLIER: return (float)(column == n / 3 ? 1000.0 : x);
    case OP_FILL_EQUAL: return 0.75f;
    case OP_FILL_ALTERNATE: return column % 2 ? -0.5f : 0.5f;
    default: return (float)x;
    }
}

void op_shuffle(struct op_trial *t, int32_t *values, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        const int32_t j = (int32_t)(op_random(t) % (uint64_t)(i + 1));

        values[i] = values[j];
        values[j] = i;
    }
}

size_t op_schemes(struct erne_scheme schemes[OP_SCHEMES_MAX])
{
    static const uint16_t groups[] = { 0, 32, 64, 128 };
    size_t n = 0;

    for (uint8_t codec = 0; codec < ERNE_CODEC_COUNT; codec++)
        for (size_t g = 0; g < ERNE_ARRAY_LEN(groups); g++)
            for (uint8_t asym = 0; asym <= 1; asym++) {
                const struct erne_scheme s = { codec, ERNE_LAYOUT_TILE64, asym,
                                               groups[g] };

                if (erne_scheme_is_valid(s) && n < OP_SCHEMES_MAX)
                    schemes[n++] = s;
            }
    return n;
}

const char *op_fill_name(enum op_fill fill)
{
    static const char *const names[] = {
#define X(NAME, name) #name,
        OP_FILL_LIST(X)
#undef X
    };

    return names[fill];
}

/* --------------------------------------------------------------- tensors */

static size_t element_bytes(const struct erne_tensor *t)
{
    return erne_type_bytes(t->type);
}

/* Gives tensor and buffer their memory, painted. skip: bytes that data is off alignment.
 */
static void take_memory(struct erne_tensor *x, struct op_buffer *b, size_t skip)
{
    uintptr_t start;

    b->n_bytes = x->n_bytes;
    b->block_bytes = ALIGN + GUARD_BYTES + skip + b->n_bytes + GUARD_BYTES;
    b->block = checked_alloc(b->block_bytes);
    b->before = checked_alloc(b->block_bytes);
    start = (uintptr_t)b->block + GUARD_BYTES + ALIGN - 1;
    start -= start % ALIGN;
    b->start = b->block + (start - (uintptr_t)b->block);
    b->data = b->start + skip;
    paint(b->block, b->block_bytes);
    x->data = b->data;
}

static struct erne_tensor *add(struct op_trial *t, const char *name, enum erne_type type,
                               enum erne_rows_of rows_of)
{
    struct erne_tensor *x = &t->tensors[t->n_tensors++];

    *x = (struct erne_tensor){ .type = type, .rows_of = rows_of, .n_dims = 1 };
    snprintf(x->name, sizeof(x->name), "%s", name);
    for (int i = 0; i < ERNE_MAX_DIMS; i++)
        x->dim[i] = 1;
    x->stride = 1;
    return x;
}

/* Rows a tensor has room for: more than the step uses, unless they are fixed. */
static int64_t capacity(const struct op_trial *t, enum erne_rows_of rows_of, int64_t n)
{
    const struct erne_tensor like = { .rows_of = rows_of };

    return rows_of == ERNE_ROWS_FIXED ? n
                                      : erne_tensor_rows(&like, &t->step) + SPARE_ROWS;
}

static struct op_buffer *buffer_of(struct op_trial *t, const struct erne_tensor *x)
{
    return &t->buffers[x - t->tensors];
}

/* Memory for a tensor whose shape is known: dense, or rows a gap apart. */
static void take_rows(struct op_trial *t, struct erne_tensor *x, int64_t gap)
{
    x->stride = erne_tensor_cols(x) + gap;
    x->n_bytes = (size_t)(x->dim[0] * x->stride) * element_bytes(x);
    take_memory(x, buffer_of(t, x), gap > 0 ? 4 : 0);
}

struct erne_tensor *op_add_rows(struct op_trial *t, const char *name,
                                enum erne_rows_of rows_of, int64_t cols, int64_t gap)
{
    struct erne_tensor *x = add(t, name, ERNE_TYPE_F32, rows_of);

    x->n_dims = 2;
    x->dim[0] = capacity(t, rows_of, 0);
    x->dim[1] = cols;
    take_rows(t, x, gap);
    return x;
}

struct erne_tensor *op_add_index_rows(struct op_trial *t, const char *name,
                                      enum erne_rows_of rows_of, int64_t n, int64_t m)
{
    struct erne_tensor *x = add(t, name, ERNE_TYPE_I32, rows_of);

    x->dim[0] = capacity(t, rows_of, n);
    if (m > 1) {
        x->n_dims = 2;
        x->dim[1] = m;
    }
    take_rows(t, x, 0);
    return x;
}

struct erne_tensor *op_add_indices(struct op_trial *t, const char *name,
                                   enum erne_rows_of rows_of, int64_t n)
{
    return op_add_index_rows(t, name, rows_of, n, 1);
}

struct erne_tensor *op_add_vector(struct op_trial *t, const char *name, int64_t n)
{
    struct erne_tensor *x = add(t, name, ERNE_TYPE_F32, ERNE_ROWS_FIXED);

    x->dim[0] = n;
    take_rows(t, x, 0);
    for (int64_t i = 0; i < n; i++)
        ((float *)x->data)[i] = op_value(t, OP_FILL_NORMAL, i, n);
    return x;
}

/* Magnitudes that no scheme can hold are left to the activations. */
static enum op_fill weight_fill(const struct op_trial *t)
{
    const enum op_fill fill = t->fill;

    return fill == OP_FILL_DENORMAL || fill == OP_FILL_LARGE || fill == OP_FILL_ZERO
               ? OP_FILL_NORMAL
               : fill;
}

/* Where row block `block` of a weight has its planes. */
static struct tile64_block block_of(const struct erne_tensor *w, int64_t block)
{
    const struct erne_planes *p = &w->planes;
    struct tile64_block at = { .scales = NULL };
    size_t codes, scales, minima;
    uint8_t *data = w->data;

    tile64_block_bytes(p, &codes, &scales, &minima);
    at.codes = data + (size_t)block * codes;
    if (p->scales_bytes)
        at.scales = (uint16_t *)(data + p->scales_offset + (size_t)block * scales);
    if (p->minima_bytes)
        at.minima = (uint16_t *)(data + p->minima_offset + (size_t)block * minima);
    return at;
}

static void fill_floats(struct op_trial *t, struct erne_tensor *w,
                        const struct tile64_block *dst, int n_rows)
{
    const int64_t k = w->dim[1];
    float *rows = checked_alloc((size_t)(n_rows * k) * sizeof(float));

    for (int64_t i = 0; i < n_rows * k; i++)
        rows[i] = op_value(t, weight_fill(t), i % k, k);
    if (tile64_encode(dst, w->scheme, &w->planes, rows, n_rows, k) < 0)
        abort();
    free(rows);
}

/* One code, over the whole range of its codec. */
static int8_t random_code(struct op_trial *t, uint8_t codec, int64_t column)
{
    const int n_codes = 1 << erne_codec_bits(codec);
    const int lowest = codec == ERNE_CODEC_W8 ? -128 : 0;
    const enum op_fill fill = weight_fill(t);
    int code = (int)(op_random(t) % (uint64_t)n_codes);

    if (fill == OP_FILL_EQUAL)
        code = n_codes - 1;
    if (fill == OP_FILL_ALTERNATE)
        code = column % 2 ? n_codes - 1 : 0;
    return (int8_t)(lowest + code);
}

/* Random codes rather than rounded numbers: every code of every scheme occurs. */
static void fill_codes(struct op_trial *t, struct erne_tensor *w,
                       const struct tile64_block *dst, int n_rows)
{
    const int64_t k = w->dim[1], group = w->scheme.group ? w->scheme.group : k;
    const int64_t n_groups = (k + group - 1) / group;
    const float unit = 2.0f / (float)(1 << erne_codec_bits(w->scheme.codec));
    /* The code in the middle; minima then put the rows' means near zero, as they are in
     * models. */
    const float middle = w->scheme.codec == ERNE_CODEC_W8 ? 0.0f : 1.0f / unit - 0.5f;
    int8_t *codes = checked_alloc((size_t)(n_rows * k));
    uint16_t *scales = checked_alloc((size_t)(n_rows * n_groups) * sizeof(*scales));
    uint16_t *minima = checked_alloc((size_t)(n_rows * n_groups) * sizeof(*minima));

    for (int64_t i = 0; i < n_rows * k; i++)
        codes[i] = random_code(t, w->scheme.codec, i % k);
    for (int64_t i = 0; i < n_rows * n_groups; i++) {
        const float outlier = op_value(t, OP_FILL_OUTLIER, i % n_groups, n_groups);
        const float size =
            weight_fill(t) == OP_FILL_OUTLIER ? fabsf(outlier) : 0.5f + (float)uniform(t);

        scales[i] = erne_f16_from_f32(unit * size);
        minima[i] = erne_f16_from_f32(size * (0.4f * (float)uniform(t) - 0.2f) -
                                      unit * size * middle);
    }
    tile64_pack(dst, w->scheme, &w->planes, codes, scales, w->scheme.asym ? minima : NULL,
                n_rows, k);
    free(codes);
    free(scales);
    free(minima);
}

static void fill_weight(struct op_trial *t, struct erne_tensor *w)
{
    const int64_t n = w->dim[0];

    for (int64_t first = 0; first < n; first += ERNE_TILE_ROWS) {
        const int64_t n_rows = n - first < ERNE_TILE_ROWS ? n - first : ERNE_TILE_ROWS;
        const struct tile64_block dst = block_of(w, first / ERNE_TILE_ROWS);

        if (erne_codec_is_int(w->scheme.codec))
            fill_codes(t, w, &dst, (int)n_rows);
        else
            fill_floats(t, w, &dst, (int)n_rows);
    }
}

struct erne_tensor *op_add_weight(struct op_trial *t, struct erne_scheme scheme,
                                  int64_t n, int64_t k)
{
    struct erne_tensor *w = add(t, "w", ERNE_TYPE_WEIGHT, ERNE_ROWS_FIXED);

    w->n_dims = 2;
    w->dim[0] = n;
    w->dim[1] = w->stride = k;
    w->scheme = scheme;
    if (erne_planes_init(&w->planes, scheme, n, k) < 0)
        abort();
    w->n_bytes = (size_t)w->planes.total_bytes;
    take_memory(w, buffer_of(t, w), 0);
    fill_weight(t, w);
    return w;
}

struct erne_tensor *op_add_bank(struct op_trial *t, struct erne_scheme scheme,
                                struct erne_scheme other, int64_t n_experts, int64_t n,
                                int64_t k)
{
    struct erne_tensor *bank = add(t, "bank", ERNE_TYPE_BANK, ERNE_ROWS_FIXED);

    bank->n_dims = 3;
    bank->dim[0] = n_experts;
    bank->dim[1] = n;
    bank->dim[2] = k;
    bank->stride = n * k;
    bank->bank = bank + 1;
    take_memory(bank, buffer_of(t, bank), 0);
    for (int64_t e = 0; e < n_experts; e++)
        op_add_weight(t, e % 2 ? other : scheme, n, k);
    return bank;
}

struct erne_tensor *op_add_cache(struct op_trial *t, const char *name,
                                 enum erne_type type, int64_t pages, int64_t heads,
                                 int64_t d)
{
    struct erne_tensor *x = add(t, name, type, ERNE_ROWS_FIXED);

    x->n_dims = 4;
    x->dim[0] = pages;
    x->dim[1] = heads;
    x->dim[2] = ERNE_KV_PAGE;
    x->dim[3] = d;
    take_rows(t, x, 0);
    return x;
}

void op_add_dst(struct op_trial *t, int64_t n_out, int64_t gap)
{
    struct erne_tensor *dst = add(t, "dst", ERNE_TYPE_F32, ERNE_ROWS_FIXED);
    struct erne_error err = { 0 };

    if (erne_op_shape(t->node.op, t->node.src, &t->node.params, n_out, dst, &err) < 0) {
        fprintf(stderr, "erne-check: %s\n", err.text);
        abort();
    }
    take_rows(t, dst, gap);
    t->node.dst = dst;
}

void op_fill_rows(struct op_trial *t, struct erne_tensor *x, float scale)
{
    const int64_t n_rows = erne_tensor_rows(x, &t->step);

    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < x->dim[1]; c++)
            ((float *)x->data)[r * x->stride + c] =
                scale * op_value(t, t->fill, c, x->dim[1]);
}

/* ----------------------------------------------------------------- trials */

const struct op_buffer *op_trial_dst_buffer(const struct op_trial *t)
{
    return &t->buffers[t->node.dst - t->tensors];
}

struct erne_range op_trial_range(const struct op_trial *t, int i)
{
    const struct op_buffer *b = &t->buffers[i];
    const enum erne_type type = t->tensors[i].type;
    const size_t guard = b == op_trial_dst_buffer(t) ? GUARD_BYTES : 0;
    struct erne_range range = { .base = b->start - guard, .mem = ERNE_MEM_STEP };

    if (type == ERNE_TYPE_WEIGHT || type == ERNE_TYPE_BANK)
        range.mem = ERNE_MEM_WEIGHT;
    if (type != ERNE_TYPE_BANK)
        range.n_bytes = (size_t)(b->data - b->start) + b->n_bytes + 2 * guard;
    return range;
}

/* Bytes around an input that may not even be read, where the build can tell. */
static void guard_inputs(struct op_trial *t)
{
    for (int i = 0; i < t->n_tensors; i++) {
        const struct op_buffer *b = &t->buffers[i];
        uint8_t *end = b->data + b->n_bytes;

        if (b == op_trial_dst_buffer(t))
            continue;
        ERNE_POISON(b->block, (size_t)(b->start - b->block));
        ERNE_POISON(end, (size_t)(b->block + b->block_bytes - end));
    }
}

void op_trial_init(struct op_trial *t, const struct op_case_table *table, enum erne_op op,
                   size_t i, enum op_fill fill, uint64_t seed)
{
    struct erne_error err = { 0 };

    *t = (struct op_trial){ .node.op = op, .fill = fill, .rng = seed };
    t->rms_limit = (double)INFINITY;
    table->build(t, i);
    if (erne_op_check(&t->node, &err) < 0) {
        fprintf(stderr, "erne-check: %s\n", err.text);
        abort();
    }
    for (int b = 0; b < t->n_tensors; b++)
        memcpy(t->buffers[b].before, t->buffers[b].block, t->buffers[b].block_bytes);
    guard_inputs(t);
}

void op_trial_deinit(struct op_trial *t)
{
    for (int i = 0; i < t->n_tensors; i++) {
        ERNE_UNPOISON(t->buffers[i].block, t->buffers[i].block_bytes);
        free(t->buffers[i].block);
        free(t->buffers[i].before);
    }
    free(t->want);
    free(t->bound);
}

void op_trial_restore(struct op_trial *t)
{
    for (int i = 0; i < t->n_tensors; i++) {
        const struct op_buffer *b = &t->buffers[i];

        if (b == op_trial_dst_buffer(t))
            memcpy(b->block, b->before, b->block_bytes);
        else
            memcpy(b->data, b->before + (b->data - b->block), b->n_bytes);
    }
}

void op_trial_set_reference(struct op_trial *t, const struct op_case_table *table)
{
    const struct op_buffer *b = op_trial_dst_buffer(t);
    const int64_t n_elements =
        erne_tensor_rows(t->node.dst, &t->step) * erne_tensor_cols(t->node.dst);

    t->want = checked_alloc(b->block_bytes);
    memcpy(t->want, b->block, b->block_bytes);
    t->bound = checked_alloc((size_t)n_elements * sizeof(double));
    for (int64_t i = 0; i < n_elements; i++)
        t->bound[i] = 0;
    op_trial_restore(t);
    if (table->bound)
        table->bound(t);
}

/* -------------------------------------------------------------- comparing */

static size_t element_offset(const struct erne_tensor *x, int64_t row, int64_t column)
{
    return (size_t)(row * x->stride + column) * element_bytes(x);
}

static double element(const struct erne_tensor *x, const uint8_t *data, int64_t row,
                      int64_t column)
{
    const uint8_t *p = data + element_offset(x, row, column);
    uint16_t half;
    float value;

    if (element_bytes(x) == 1)
        return *p;
    if (x->type == ERNE_TYPE_F16) {
        memcpy(&half, p, sizeof(half));
        return (double)erne_f32_from_f16(half);
    }
    memcpy(&value, p, sizeof(value));
    return (double)value;
}

static const uint8_t *want_data(const struct op_trial *t)
{
    const struct op_buffer *b = op_trial_dst_buffer(t);

    return t->want + (b->data - b->block);
}

double op_want(const struct op_trial *t, int64_t row, int64_t column)
{
    return element(t->node.dst, want_data(t), row, column);
}

/* Difference of one element as a part of what is allowed; above 1 is wrong. */
static double excess(const struct op_trial *t, int64_t row, int64_t column, double *error)
{
    const struct erne_tensor *dst = t->node.dst;
    const size_t at = element_offset(dst, row, column);
    const uint8_t *got = op_trial_dst_buffer(t)->data;
    const double bound = t->bound[row * erne_tensor_cols(dst) + column];

    *error = 0;
    if (memcmp(got + at, want_data(t) + at, element_bytes(dst)) == 0)
        return 0;
    *error = fabs(element(dst, got, row, column) - op_want(t, row, column));
    if (!(*error <= bound))
        return (double)INFINITY;
    return *error > 0 ? *error / bound : 0;
}

static void compare_values(const struct op_trial *t, struct op_verdict *v)
{
    const struct erne_tensor *dst = t->node.dst;
    const int64_t n_rows = erne_tensor_rows(dst, &t->step),
                  n_cols = erne_tensor_cols(dst);
    double sum = 0, worst = -1, rms;

    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c++) {
            double error;
            const double part = excess(t, r, c, &error);

            sum += error * error;
            if (part <= worst)
                continue;
            worst = part;
            snprintf(v->text, sizeof(v->text),
                     "row %" PRId64 " column %" PRId64
                     ": got %.9g, want %.9g, off %.3g, allowed %.3g",
                     r, c, element(dst, op_trial_dst_buffer(t)->data, r, c),
                     op_want(t, r, c), error, t->bound[r * n_cols + c]);
        }
    rms = sqrt(sum / (double)(n_rows * n_cols));
    if (rms / t->rms_limit > worst) {
        worst = rms / t->rms_limit;
        snprintf(v->text, sizeof(v->text), "RMS error %.4g, allowed %.4g", rms,
                 t->rms_limit);
    }
    v->worst = worst;
    v->ok = worst <= 1;
}

/* Whether all of dst's block but its elements is as the reference left it. */
static bool is_outside_intact(const struct op_trial *t)
{
    const struct erne_tensor *dst = t->node.dst;
    const struct op_buffer *b = op_trial_dst_buffer(t);
    const int64_t n_rows = erne_tensor_rows(dst, &t->step);
    const size_t row_bytes = element_offset(dst, 0, erne_tensor_cols(dst));
    const size_t base = (size_t)(b->data - b->block);
    size_t from = 0;

    for (int64_t r = 0; r < n_rows; r++) {
        const size_t to = base + element_offset(dst, r, 0);

        if (memcmp(b->block + from, t->want + from, to - from) != 0)
            return false;
        from = to + row_bytes;
    }
    return memcmp(b->block + from, t->want + from, b->block_bytes - from) == 0;
}

static const struct erne_tensor *changed_input(const struct op_trial *t)
{
    for (int i = 0; i < t->n_tensors; i++) {
        const struct op_buffer *b = &t->buffers[i];

        if (b != op_trial_dst_buffer(t) &&
            memcmp(b->data, b->before + (b->data - b->block), b->n_bytes) != 0)
            return &t->tensors[i];
    }
    return NULL;
}

struct op_verdict op_trial_compare(struct op_trial *t)
{
    struct op_verdict v = { .ok = false };
    const struct erne_tensor *changed = changed_input(t);

    if (changed)
        snprintf(v.text, sizeof(v.text), "changed its input %s", changed->name);
    else if (!is_outside_intact(t))
        snprintf(v.text, sizeof(v.text), "wrote outside the elements of dst");
    else
        compare_values(t, &v);
    return v;
}
