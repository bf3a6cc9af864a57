/* source.c -- what all checkpoint readers share: recognising the format, the list of
 * files and tensors with its checks, reading rows, and the decisions that need the whole
 * checkpoint (tied logits, chat description, stop tokens). */
#include "converters/source.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "converters/hf_config.h"
#include "converters/json_file.h"
#include "converters/lora.h"

static const char *const embed_name = "model.embed_tokens.weight";
static const char *const head_name = "lm_head.weight";

void source_note(const struct source_opts *opts, enum erne_log_level level,
                 const char *fmt, ...)
{
    char line[512];
    va_list args;

    if (!opts->log)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    erne_text_one_line(line);
    opts->log(opts->log_user, level, line);
}

char *source_copy_text(const char *text, size_t n_bytes)
{
    char *copy = malloc(n_bytes + 1);

    if (!copy)
        return NULL;
    memcpy(copy, text, n_bytes);
    copy[n_bytes] = '\0';
    return copy;
}

/* ------------------------------------------------------ files and tensors */

int source_add_file(struct source *src, const char *path, struct erne_error *err)
{
    struct source_file *files =
        realloc(src->files, (src->n_files + 1) * sizeof(*src->files));
    struct source_file *f;
    int st;

    if (!files)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    src->files = files;
    f = &files[src->n_files];
    *f = (struct source_file){ 0 };
    st = pf_file_open(&f->file, path, PF_READ);
    if (st < 0)
        return erne_fail(err, st, "%s: %s", path, pf_last_error());
    src->n_files++; /* source_close closes it from here on */
    f->path = source_copy_text(path, strlen(path));
    if (!f->path)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    st = pf_file_size(f->file, &f->n_bytes);
    return st < 0 ? erne_fail(err, st, "%s: %s", path, pf_last_error()) : ERNE_OK;
}

int source_add_tensor(struct source *src, const struct source_tensor *t,
                      struct erne_error *err)
{
    const struct source_file *f = &src->files[t->file];
    uint64_t n_blocks;

    if (t->n < 1 || t->k < 1 || t->n > INT32_MAX || t->k > INT32_MAX)
        return erne_fail(err, ERNE_EFORMAT, "%s: %s: shape [%" PRId64 ", %" PRId64 "]",
                         f->path, t->stored, t->n, t->k);
    if (t->k % t->type->n_elems != 0)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %s: rows of %" PRId64 " are not whole blocks of %s",
                         f->path, t->stored, t->k, t->type->name);
    /* Blocks have more than one byte: more blocks than bytes cannot be, and fewer times
     * the size of one do not overflow. */
    n_blocks = (uint64_t)t->n * (uint64_t)(t->k / t->type->n_elems);
    if (n_blocks > f->n_bytes || t->n_bytes != n_blocks * t->type->n_bytes)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %s: %" PRIu64 " bytes do not hold [%" PRId64 ", %" PRId64
                         "] %s",
                         f->path, t->stored, t->n_bytes, t->n, t->k, t->type->name);
    if (t->offset > f->n_bytes || t->n_bytes > f->n_bytes - t->offset)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: %s: data reach beyond the end of the file", f->path,
                         t->stored);
    if (src->n_tensors == src->cap_tensors) {
        const size_t cap = src->cap_tensors != 0 ? 2 * src->cap_tensors : 64;
        struct source_tensor *tensors = realloc(src->tensors, cap * sizeof(*tensors));

        if (!tensors)
            return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", f->path);
        src->tensors = tensors;
        src->cap_tensors = cap;
    }
    src->tensors[src->n_tensors++] = *t;
    return ERNE_OK;
}

void source_make_outline(struct source *src, const struct block_type *type)
{
    src->is_outline = true;
    src->outline_matrix.type = type;
    src->outline_f32.type = block_type_by_name("F32");
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct source_tensor *)a)->name,
                  ((const struct source_tensor *)b)->name);
}

static int compare_places(const void *a, const void *b)
{
    const struct source_tensor *x = a, *y = b;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Two tensors that share bytes are a damaged or a hostile file. */
static int check_overlaps(struct source *src, struct erne_error *err)
{
    qsort(src->tensors, src->n_tensors, sizeof(*src->tensors), compare_places);
    for (size_t i = 1; i < src->n_tensors; i++) {
        const struct source_tensor *a = &src->tensors[i - 1], *b = a + 1;

        if (a->file == b->file && b->offset < a->offset + a->n_bytes)
            return erne_fail(err, ERNE_EFORMAT, "%s: the data of %s and %s overlap",
                             src->files[a->file].path, a->stored, b->stored);
    }
    return ERNE_OK;
}

int source_sort_tensors(struct source *src, struct erne_error *err)
{
    assert(src->files); /* every reader adds one before it succeeds */
    if (src->n_tensors == 0)
        return erne_fail(err, ERNE_EFORMAT, "%s: no tensors", src->files[0].path);
    ERNE_TRY(check_overlaps(src, err));
    qsort(src->tensors, src->n_tensors, sizeof(*src->tensors), compare_names);
    for (size_t i = 1; i < src->n_tensors; i++)
        if (strcmp(src->tensors[i - 1].name, src->tensors[i].name) == 0)
            return erne_fail(err, ERNE_EFORMAT, "%s: %s is there twice",
                             src->files[src->tensors[i].file].path,
                             src->tensors[i].stored);
    return ERNE_OK;
}

const struct source_tensor *source_find(const struct source *src, const char *name)
{
    struct source_tensor key;

    if (strlen(name) >= sizeof(key.name) || src->n_tensors == 0)
        return NULL;
    strcpy(key.name, name);
    return bsearch(&key, src->tensors, src->n_tensors, sizeof(key), compare_names);
}

/* ----------------------------------------------------------- reading rows */

static int read_raw(const struct source *src, const struct source_tensor *t,
                    int64_t first, size_t n_bytes, uint8_t *dst, struct erne_error *err)
{
    const struct source_file *f = &src->files[t->file];
    const uint64_t row_bytes = t->n_bytes / (uint64_t)t->n;
    const int st =
        pf_file_read_at(f->file, dst, n_bytes, t->offset + (uint64_t)first * row_bytes);

    if (st < 0)
        return erne_fail(err, st, "%s: %s: %s", f->path, t->stored, pf_last_error());
    return ERNE_OK;
}

/* Reads the stored bytes into the tail of dst and decodes them towards its front: no type
 * takes more than 4 bytes an element, so that no other memory is needed. */
int source_read_rows(const struct source *src, const struct source_tensor *t,
                     int64_t first, int64_t n_rows, float *dst, struct erne_error *err)
{
    const size_t n_blocks = (size_t)(n_rows * (t->k / t->type->n_elems));
    const size_t n_raw = n_blocks * t->type->n_bytes;
    uint8_t *raw = (uint8_t *)(dst + n_rows * t->k) - n_raw;

    assert(first >= 0 && n_rows >= 1 && first + n_rows <= t->n);
    ERNE_TRY(read_raw(src, t, first, n_raw, raw, err));
    t->type->decode(t->type, raw, n_blocks, dst);
    return ERNE_OK;
}

/* n_rows pieces of the columns, as f32 scratch [n_rows, columns->n]. */
static int read_pieces(const struct source *src, const struct source_tensor *t,
                       const struct source_columns *columns, int64_t row, int64_t n_rows,
                       struct erne_error *err)
{
    const struct source_file *f = &src->files[t->file];
    const size_t size = t->type->n_bytes, n_raw = (size_t)columns->n * size;

    for (int64_t i = 0; i < n_rows; i++) {
        float *at = columns->scratch + i * columns->n;
        uint8_t *raw = (uint8_t *)(at + columns->n) - n_raw;
        const uint64_t place = (uint64_t)((row + i) * t->k + columns->first) * size;
        const int st = pf_file_read_at(f->file, raw, n_raw, t->offset + place);

        if (st < 0)
            return erne_fail(err, st, "%s: %s: %s", f->path, t->stored, pf_last_error());
        t->type->decode(t->type, raw, (size_t)columns->n, at);
    }
    return ERNE_OK;
}

int source_read_columns(const struct source *src, const struct source_tensor *t,
                        const struct source_columns *columns, struct erne_error *err)
{
    const struct source_spread spread = columns->spread;
    const int64_t n = columns->n, step = SOURCE_SCRATCH / n;

    assert(columns->first >= 0 && n >= 1 && columns->first + n <= t->k && step >= 1);
    assert(t->type->n_elems == 1 && t->type->n_bytes <= sizeof(float));
    for (int64_t row = 0; row < t->n; row += step) {
        const int64_t n_rows = t->n - row < step ? t->n - row : step;

        ERNE_TRY(read_pieces(src, t, columns, row, n_rows, err));
        for (int64_t c = 0; c < n; c++) {
            const int64_t to = c / spread.run * spread.stride + c % spread.run;
            float *dst = columns->dst + to * t->n + row;

            for (int64_t i = 0; i < n_rows; i++)
                dst[i] = columns->scratch[i * n + c];
        }
    }
    return ERNE_OK;
}

int source_read_codes(const struct source *src, const struct source_tensor *t,
                      int64_t first, int64_t n_rows, const struct source_codes *dst,
                      struct erne_error *err)
{
    const size_t n_blocks = (size_t)(n_rows * (t->k / BLOCK_CODES));
    uint8_t *raw = (uint8_t *)dst->scratch;
    uint16_t unused;

    assert(first >= 0 && n_rows >= 1 && first + n_rows <= t->n && t->type->unpack);
    ERNE_TRY(read_raw(src, t, first, n_blocks * t->type->n_bytes, raw, err));
    for (size_t b = 0; b < n_blocks; b++)
        t->type->unpack(raw + b * t->type->n_bytes, dst->codes + b * BLOCK_CODES,
                        &dst->scales[b], t->type->exact.asym ? &dst->minima[b] : &unused);
    return ERNE_OK;
}

/* ------------------------------------------------------------- provenance */

enum { SAMPLE_BYTES = 4096 };

/* A hash of all names, shapes and types, and of the middle of each tensor's data. */
static int sample_hash(const struct source *src, uint64_t *hash, struct erne_error *err)
{
    XXH3_state_t *state = XXH3_createState();
    uint8_t sample[SAMPLE_BYTES];
    int st = ERNE_OK;

    if (!state)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    XXH3_64bits_reset(state);
    for (size_t i = 0; i < src->n_tensors && st == 0; i++) {
        const struct source_tensor *t = &src->tensors[i];
        const size_t n = t->n_bytes < SAMPLE_BYTES ? (size_t)t->n_bytes : SAMPLE_BYTES;
        const uint64_t middle = t->offset + (t->n_bytes - n) / 2;
        const bool is_vector = t->k == 1; /* counts as a row */
        const int64_t shape[2] = { is_vector ? 1 : t->n, is_vector ? t->n : t->k };

        st = pf_file_read_at(src->files[t->file].file, sample, n, middle);
        if (st < 0)
            erne_fail(err, st, "%s: %s: %s", src->files[t->file].path, t->stored,
                      pf_last_error());
        XXH3_64bits_update(state, t->name, strlen(t->name));
        XXH3_64bits_update(state, shape, sizeof(shape));
        XXH3_64bits_update(state, t->type->name, strlen(t->type->name));
        XXH3_64bits_update(state, sample, n);
    }
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return st;
}

/* Of the checkpoint and of what is merged into it. */
static int hash_all(const struct source *src, uint64_t *hash, struct erne_error *err)
{
    ERNE_TRY(sample_hash(src, hash, err));
    for (size_t i = 0; i < src->n_adapters; i++) {
        uint64_t other;

        ERNE_TRY(sample_hash(src->adapters[i].from, &other, err));
        *hash = XXH3_64bits_withSeed(&other, sizeof(other), *hash);
    }
    for (size_t i = 0; i < src->n_loras; i++)
        *hash = XXH3_64bits_withSeed(&src->loras[i].scale, sizeof(src->loras[i].scale),
                                     *hash);
    return ERNE_OK;
}

uint64_t source_changed(const struct source *src)
{
    uint64_t newest = 0, ns;

    for (size_t i = 0; i < src->n_files; i++)
        if (pf_file_changed(src->files[i].file, &ns) == ERNE_OK && ns > newest)
            newest = ns;
    for (size_t i = 0; i < src->n_adapters; i++) {
        ns = source_changed(src->adapters[i].from);
        newest = ns > newest ? ns : newest;
    }
    return newest;
}

bool source_has_file(const struct source *src, const char *path)
{
    for (size_t i = 0; i < src->n_files; i++)
        if (pf_path_is_same(src->files[i].path, path))
            return true;
    for (size_t i = 0; i < src->n_adapters; i++)
        if (source_has_file(src->adapters[i].from, path))
            return true;
    return false;
}

/* Names the checkpoint together with its sample hash. That tells most of the same name
 * apart, and as it is part of the manifest, a conversion of one is not resumed with the
 * weights of another; what the samples do not see, source_changed does. */
static int name_source(struct source *src, const char *path, struct erne_error *err)
{
    const char *base = path_base(path);
    const size_t n_base = strcspn(base, "/\\"), cap = n_base + 80;
    char adapters[32] = "";
    uint64_t hash = 0;

    if (src->is_outline) {
        src->desc.source = source_copy_text(base, n_base);
        return src->desc.source ? ERNE_OK
                                : erne_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    }
    ERNE_TRY(hash_all(src, &hash, err));
    src->desc.source = malloc(cap);
    if (!src->desc.source)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    if (src->n_adapters > 0)
        snprintf(adapters, sizeof(adapters), " with %zu LoRA", src->n_adapters);
    snprintf(src->desc.source, cap, "%.*s%s (sample hash %016" PRIx64 ")", (int)n_base,
             base, adapters, hash);
    return ERNE_OK;
}

/* -------------------------------------------------------- tied or not tied */

enum { COMPARE_BYTES = 1 << 20 };

/* Whether two tensors of one type and shape hold the same bytes. */
static int same_bytes(const struct source *src, const struct source_tensor *a,
                      const struct source_tensor *b, bool *same, struct erne_error *err)
{
    uint8_t *buf = malloc(2 * COMPARE_BYTES);
    int st = ERNE_OK;

    if (!buf)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    *same = true;
    for (uint64_t at = 0; at < a->n_bytes && *same && st == 0; at += COMPARE_BYTES) {
        const uint64_t left = a->n_bytes - at;
        const size_t n = left < COMPARE_BYTES ? (size_t)left : COMPARE_BYTES;

        st = pf_file_read_at(src->files[a->file].file, buf, n, a->offset + at);
        if (st == 0)
            st = pf_file_read_at(src->files[b->file].file, buf + n, n, b->offset + at);
        if (st < 0)
            erne_fail(err, st, "%s: %s", src->files[a->file].path, pf_last_error());
        else
            *same = memcmp(buf, buf + n, n) == 0;
    }
    free(buf);
    return st;
}

/* The tensors decide whether the logits have a matrix of their own, not the flag, which
 * is wrong in some published configurations. An equal copy of the embedding is dropped.
 */
static int settle_tied(struct source *src, const struct source_opts *opts,
                       struct erne_error *err)
{
    const struct source_tensor *embed = source_find(src, embed_name);
    const struct source_tensor *head = source_find(src, head_name);
    bool same = false;

    src->desc.tied = !head;
    if (!head && !src->says_tied)
        source_note(opts, ERNE_LOG_INFO,
                    "there is no %s: logits use the embedding, although the "
                    "configuration says otherwise",
                    head_name);
    if (!head || !embed || !src->says_tied)
        return ERNE_OK;
    if (head->type == embed->type && head->n == embed->n && head->k == embed->k)
        ERNE_TRY(same_bytes(src, embed, head, &same, err));
    src->desc.tied = same;
    if (!same) {
        if (!src->is_silent)
            source_note(opts, ERNE_LOG_INFO,
                        "%s differs from the embedding: it is used, although the "
                        "configuration says that they are one",
                        head_name);
        return ERNE_OK;
    }
    source_note(opts, ERNE_LOG_INFO, "%s equals the embedding and is left out",
                head_name);
    const size_t i = (size_t)(head - src->tensors);

    memmove(&src->tensors[i], &src->tensors[i + 1],
            (src->n_tensors - i - 1) * sizeof(*src->tensors));
    src->n_tensors--;
    return ERNE_OK;
}

/* --------------------------------------------------------- tokens and chat */

void source_add_stop(struct source *src, int64_t id)
{
    struct erne_model_desc *desc = &src->desc;

    if (id < 0 || id > INT32_MAX || desc->n_stop == ERNE_MAX_STOP)
        return;
    for (int i = 0; i < desc->n_stop; i++)
        if (desc->stop[i] == (int32_t)id)
            return;
    desc->stop[desc->n_stop++] = (int32_t)id;
}

/* Besides what the configuration names, a model ends its answer with any of these that
 * its vocabulary has as a special token. ERNIE 4.5 needs two: it was trained to stop with
 * </s>, while a conversation's past answers end with <|end_of_sentence|>. */
static void add_known_stops(struct source *src)
{
    static const char *const names[] = { "</s>", "<|end_of_sentence|>", "<|im_end|>",
                                         "<|eot_id|>", "<|endoftext|>" };
    const struct erne_vocab *vocab = &src->vocab;

    source_add_stop(src, vocab->eos);
    for (uint32_t id = 0; id < vocab->n_tokens; id++) {
        const struct erne_vocab_token *token = &vocab->tokens[id];

        if (token->type != ERNE_TOKEN_CONTROL && token->type != ERNE_TOKEN_USER)
            continue;
        for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++)
            if (strlen(names[i]) == token->n_bytes &&
                memcmp(names[i], token->text, token->n_bytes) == 0)
                source_add_stop(src, id);
    }
}

static int check_tokens(const struct source *src, const char *path,
                        struct erne_error *err)
{
    const struct erne_model_desc *desc = &src->desc;

    if (src->vocab.n_tokens > (uint32_t)desc->n_vocab)
        return erne_fail(err, ERNE_EFORMAT,
                         "%s: the tokenizer has %" PRIu32 " tokens, the model %" PRId32,
                         path, src->vocab.n_tokens, desc->n_vocab);
    for (int i = 0; i < desc->n_stop; i++)
        if (desc->stop[i] >= desc->n_vocab)
            return erne_fail(err, ERNE_EFORMAT,
                             "%s: end token %" PRId32 " is outside the vocabulary", path,
                             desc->stop[i]);
    return ERNE_OK;
}

/* The layout that most models of an architecture have. */
static const char *usual_chat(enum erne_arch arch)
{
    if (arch == ERNE_ARCH_ERNIE45_VL)
        return "ernie-vl";
    if (arch == ERNE_ARCH_PADDLEOCR_VL)
        return "paddleocr-vl";
    return arch == ERNE_ARCH_LLAMA ? "chatml" : "ernie";
}

static int settle_chat(struct source *src, const struct source_opts *opts,
                       struct erne_error *err)
{
    struct erne_chat_desc *chat = &src->desc.chat;

    if (opts->chat_template)
        return strcmp(opts->chat_template, "none") == 0
                   ? ERNE_OK
                   : chat_from_name(chat, opts->chat_template, err);
    if (src->jinja)
        ERNE_TRY(chat_from_jinja(chat, src->jinja, err));
    if (!chat->present)
        source_note(opts, ERNE_LOG_WARN,
                    "%s: choose one by name (for such models often %s) if it is to chat",
                    src->jinja ? "the chat template is not a known one"
                               : "the checkpoint has no chat template",
                    usual_chat(src->desc.arch));
    return ERNE_OK;
}

/* ---------------------------------------------------------- open and close */

static bool has_suffix(const char *path, const char *suffix)
{
    const size_t n = strlen(path), n_suffix = strlen(suffix);

    return n > n_suffix && strcmp(path + n - n_suffix, suffix) == 0;
}

static int read_any(struct source *src, const char *path, const struct source_opts *opts,
                    struct erne_error *err)
{
    if (has_suffix(path, ".gguf"))
        return gguf_read(src, path, opts, err);
    if (has_suffix(path, ".safetensors") || pf_path_is_dir(path))
        return safetensors_read(src, path, opts, err);
    if (!pf_path_exists(path))
        return erne_fail(err, ERNE_EIO, "%s: no such file or folder", path);
    return erne_fail(err, ERNE_EUNSUPPORTED,
                     "%s: neither a .gguf nor a .safetensors file, nor a folder", path);
}

int source_open(struct source **out, const char *path, const struct source_opts *opts,
                struct erne_error *err)
{
    struct source *src = calloc(1, sizeof(*src));
    int st;

    if (!src)
        return erne_fail(err, ERNE_ENOMEM, "%s: out of memory", path);
    st = read_any(src, path, opts, err);
    if (st == 0 && !src->is_outline)
        st = source_sort_tensors(src, err);
    for (size_t i = 0; i < opts->n_loras && st == 0; i++)
        st = lora_open(src, opts->loras[i], opts, err);
    if (st == 0)
        st = name_source(src, path, err);
    if (st == 0 && !src->is_outline)
        st = settle_tied(src, opts, err);
    if (st == 0)
        st = settle_chat(src, opts, err);
    if (st == 0) {
        add_known_stops(src);
        st = check_tokens(src, path, err);
    }
    if (st == 0 && (st = erne_model_desc_check(&src->desc, err)) < 0) {
        if (strcmp(src->format, "gguf") != 0)
            hf_name_key(src->desc.arch, err);
        erne_fail_context(err, st, "%s", path);
    }
    if (st < 0) {
        source_close(&src);
        return st;
    }
    *out = src;
    return ERNE_OK;
}

void source_close(struct source **src)
{
    struct source *s = *src;

    if (!s)
        return;
    for (size_t i = 0; i < s->n_files; i++) {
        pf_file_close(&s->files[i].file);
        free(s->files[i].path);
    }
    for (size_t i = 0; i < s->n_adapters; i++)
        source_close(&s->adapters[i].from);
    free(s->adapters);
    free(s->loras);
    free(s->files);
    free(s->tensors);
    free(s->jinja);
    erne_model_desc_deinit(&s->desc);
    erne_vocab_deinit(&s->vocab);
    free(s);
    *src = NULL;
}
