/* convert_plan.c -- decides how every tensor is stored: the scheme asked for, rules by
 * name, and how many threads the memory allows. */
#include "converters/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "converters/json_file.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { DEFAULT_MAX_RAM_MIB = 1024 };

/* Rows that lie in the checkpoint as columns are made this many bytes (as f32) at a time:
 * enough that the pieces of a stored row are long, and a thread's memory small. */
enum { WIDE_BLOCK_BYTES = 16 << 20, WIDE_BLOCK_ROWS = 4096 };

/* ------------------------------------------------------------------ rules */

/* A scheme as it is asked for. */
struct choice {
    bool is_source;  /* whatever holds the source exactly */
    bool is_rule;    /* for this tensor, not for all */
    bool is_profile; /* nobody asked for it, but the device's profile says so */
    struct erne_scheme scheme;
};

struct rule {
    const char *text;
    pcre2_code *regex;
    struct choice choice;
    size_t n_matches;
};

struct rules {
    struct rule *items;
    size_t n;
    pcre2_match_data *match;
    struct choice otherwise;
};

static int parse_choice(struct choice *choice, const char *text, const char *where,
                        struct erne_error *err)
{
    choice->is_source = strcmp(text, "source") == 0;
    if (choice->is_source || erne_scheme_parse(&choice->scheme, text) == 0)
        return ERNE_OK;
    return erne_fail(err, ERNE_EINVAL,
                     "%s: \"%s\" is not a scheme (source, f32, bf16, "
                     "f16, w8, w4, w2, w4-g64, w4-g64a ...)",
                     where, text);
}

/* "REGEX=SCHEME": the last "=" separates, so that an expression may contain one. */
static int parse_rule(struct rule *rule, const char *text, struct erne_error *err)
{
    const char *equals = strrchr(text, '=');
    PCRE2_SIZE at;
    int code;

    if (!equals)
        return erne_fail(err, ERNE_EINVAL, "rule \"%s\" is not REGEX=SCHEME", text);
    rule->text = text;
    ERNE_TRY(parse_choice(&rule->choice, equals + 1, text, err));
    rule->choice.is_rule = true;
    rule->regex =
        pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)(equals - text), 0, &code, &at, NULL);
    if (!rule->regex) {
        char reason[128] = "";

        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof(reason));
        return erne_fail(err, ERNE_EINVAL, "rule \"%s\": %s at %zu", text, reason,
                         (size_t)at);
    }
    return ERNE_OK;
}

static void rules_deinit(struct rules *rules)
{
    for (size_t i = 0; i < rules->n; i++)
        pcre2_code_free(rules->items[i].regex);
    pcre2_match_data_free(rules->match);
    free(rules->items);
    *rules = (struct rules){ 0 };
}

/* What was asked for, else what the device's profile says, else "source". Under a budget
 * what it does not cover, a vision tower, gets 8 bits. */
static const char *asked_scheme(const struct convert_plan *plan,
                                const struct erne_convert_opts *opts)
{
    if (opts->target_bpw)
        return "w8";
    if (opts->scheme)
        return opts->scheme;
    return plan->device.is_given ? plan->device.profile.scheme : "source";
}

static int rules_init(struct rules *rules, const struct convert_plan *plan,
                      const struct erne_convert_opts *opts, struct erne_error *err)
{
    *rules = (struct rules){ 0 };
    ERNE_TRY(parse_choice(&rules->otherwise, asked_scheme(plan, opts), "scheme", err));
    rules->otherwise.is_profile =
        plan->device.is_given && !opts->target_bpw && !opts->scheme;
    rules->items = calloc(opts->n_rules + 1, sizeof(*rules->items));
    rules->match = pcre2_match_data_create(1, NULL);
    if (!rules->items || !rules->match)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    for (; rules->n < opts->n_rules; rules->n++)
        ERNE_TRY(parse_rule(&rules->items[rules->n], opts->rules[rules->n], err));
    return ERNE_OK;
}

static struct choice choose(const struct rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->n; i++) {
        struct rule *rule = &rules->items[i];

        if (pcre2_match(rule->regex, (PCRE2_SPTR)name, strlen(name), 0, 0, rules->match,
                        NULL) >= 0) {
            rule->n_matches++;
            return rule->choice;
        }
    }
    return rules->otherwise;
}

/* A rule without effect is more likely a slip than a wish. */
static void note_idle_rules(const struct rules *rules, const struct source_opts *so)
{
    for (size_t i = 0; i < rules->n; i++)
        if (rules->items[i].n_matches == 0)
            source_note(so, ERNE_LOG_WARN, "rule \"%s\" applies to no tensor",
                        rules->items[i].text);
}

/* ---------------------------------------------------------------- tensors */

static bool is_vector(const struct layout *layout)
{
    return erne_role_is_rows(layout->spec.role);
}

static enum convert_how choose_how(const struct layout *layout, struct erne_scheme scheme)
{
    const struct erne_scheme exact = layout->exact;

    if (is_vector(layout))
        return CONVERT_COPY;
    if (erne_codec_is_int(scheme.codec))
        return erne_scheme_equal(scheme, exact) ? CONVERT_PACK : CONVERT_ROUND;
    if (layout_is_merged(layout) && scheme.codec != ERNE_CODEC_F32)
        return CONVERT_ROUND;
    return scheme.codec == ERNE_CODEC_F32 || scheme.codec == exact.codec ? CONVERT_EXACT
                                                                         : CONVERT_ROUND;
}

/* Vision towers suffer more from few bits than they weigh. */
static struct erne_scheme for_vision(struct erne_scheme scheme)
{
    if (erne_codec_is_int(scheme.codec) && scheme.codec != ERNE_CODEC_W8) {
        scheme.codec = ERNE_CODEC_W8;
        scheme.asym = 0;
    }
    return scheme;
}

/* Whether the source holds integers already that take no more than the scheme's. */
static bool is_no_gain(const struct layout *layout, struct erne_scheme scheme)
{
    const struct erne_tensor_spec *spec = &layout->spec;
    struct erne_planes now, then;

    return erne_codec_is_int(layout->exact.codec) &&
           !erne_scheme_equal(layout->exact, scheme) &&
           erne_planes_init(&now, layout->exact, spec->n, spec->k) == 0 &&
           erne_planes_init(&then, scheme, spec->n, spec->k) == 0 &&
           now.total_bytes <= then.total_bytes;
}

/* *is_fixed: nobody may choose another. *is_kept: what a profile says would not do. */
static struct erne_scheme choose_scheme(const struct layout *layout,
                                        const struct rules *rules, bool *is_fixed,
                                        bool *is_kept)
{
    const enum erne_tensor_role role = layout->spec.role;
    struct erne_scheme scheme;

    *is_fixed = true;
    *is_kept = false;
    if (is_vector(layout))
        return ERNE_ROWS_F32;
    if (role == ERNE_ROLE_ROUTER) /* small, and it decides */
        return ERNE_TILE_F32;
    const struct choice choice = choose(rules, layout->spec.name);

    *is_fixed = choice.is_rule;
    if (choice.is_source)
        return layout->exact;
    scheme = role == ERNE_ROLE_VISION && !choice.is_rule ? for_vision(choice.scheme)
                                                         : choice.scheme;
    *is_kept = choice.is_profile && is_no_gain(layout, scheme);
    return *is_kept ? layout->exact : scheme;
}

static int64_t choose_block_rows(const struct convert_tensor *t, uint64_t max_ram)
{
    const uint64_t row_bytes = (uint64_t)t->layout->k * sizeof(float);
    uint64_t bytes = max_ram / 4 < WIDE_BLOCK_BYTES ? max_ram / 4 : WIDE_BLOCK_BYTES;
    int64_t n_tiles;

    if (t->how == CONVERT_COPY)
        return t->layout->n;
    if (t->how == CONVERT_PACK || !layout_wants_many_rows(t->layout))
        return ERNE_TILE_ROWS;
    if (bytes > WIDE_BLOCK_ROWS * row_bytes)
        bytes = WIDE_BLOCK_ROWS * row_bytes;
    n_tiles = (int64_t)(bytes / row_bytes) / ERNE_TILE_ROWS;
    return (n_tiles > 1 ? n_tiles : 1) * ERNE_TILE_ROWS;
}

static uint64_t max_ram_of(const struct erne_convert_opts *opts)
{
    return opts->max_ram != 0 ? opts->max_ram
                              : (uint64_t)DEFAULT_MAX_RAM_MIB * 1024 * 1024;
}

static int plan_tensor(struct convert_plan *plan, size_t i, struct erne_scheme scheme,
                       bool calibrates, struct erne_error *err)
{
    const struct layout *layout = &plan->layouts.items[i];
    const struct erne_tensor_spec *spec = &layout->spec;
    struct convert_tensor *t = &plan->tensors[i];
    struct erne_writer_tensor *record = &plan->records[i];
    int st;

    t->layout = layout;
    t->scheme = scheme;
    t->how = choose_how(layout, t->scheme);
    t->is_calibrated =
        calibrates && t->how == CONVERT_ROUND && erne_codec_is_int(t->scheme.codec);
    st = erne_planes_init(&t->planes, t->scheme, spec->n, spec->k);
    if (st < 0)
        return erne_fail(err, st, "%s: cannot be stored", spec->name);
    t->block_rows = choose_block_rows(t, plan->max_ram);
    t->n_blocks = (layout->n + t->block_rows - 1) / t->block_rows;
    memcpy(record->name, spec->name, sizeof(record->name));
    record->scheme = t->scheme;
    record->n = spec->n;
    record->k = spec->k;
    plan->data_bytes += t->planes.total_bytes;
    return ERNE_OK;
}

/* The scheme that holds most of the bytes. */
static struct erne_scheme main_scheme(const struct convert_plan *plan)
{
    enum { MAX_SCHEMES = 32 }; /* what is beyond them holds little */
    struct {
        struct erne_scheme scheme;
        uint64_t bytes;
    } sums[MAX_SCHEMES];
    size_t n = 0, best = 0;

    for (size_t i = 0; i < plan->n; i++) {
        const struct convert_tensor *t = &plan->tensors[i];
        size_t at = 0;

        while (at < n && !erne_scheme_equal(sums[at].scheme, t->scheme))
            at++;
        if (at == MAX_SCHEMES)
            continue;
        if (at == n) {
            sums[n].scheme = t->scheme;
            sums[n++].bytes = 0;
        }
        sums[at].bytes += t->planes.total_bytes;
        if (sums[at].bytes > sums[best].bytes)
            best = at;
    }
    return n > 0 ? sums[best].scheme : ERNE_ROWS_F32;
}

/* ------------------------------------------------------------------- plan */

/* The text's name and hash: two conversions that differ in it are two. */
static int describe_calibration(struct erne_model_desc *desc, const char *path,
                                struct erne_error *err)
{
    char *text, line[256];
    size_t n_bytes;

    ERNE_TRY(text_file_load(&text, &n_bytes, path, err));
    snprintf(line, sizeof(line), "%s (hash %016" PRIx64 ")", path_base(path),
             (uint64_t)XXH3_64bits(text, n_bytes));
    free(text);
    desc->calibration = source_copy_text(line, strlen(line));
    return desc->calibration ? ERNE_OK : erne_fail(err, ERNE_ENOMEM, "out of memory");
}

int convert_plan_describe(struct convert_plan *plan, const struct erne_convert_opts *opts,
                          struct erne_error *err)
{
    struct erne_model_desc *desc = &plan->src->desc;
    char name[ERNE_SCHEME_NAME_MAX], text[3 * ERNE_SCHEME_NAME_MAX];
    const char *asked = opts->target_bpw ? opts->target_bpw : asked_scheme(plan, opts);

    erne_scheme_name(main_scheme(plan), name);
    snprintf(text, sizeof(text),
             opts->target_bpw           ? "%.*s bits a weight (%s)"
             : strcmp(asked, name) == 0 ? "%.*s"
                                        : "%.*s (%s)",
             2 * ERNE_SCHEME_NAME_MAX, asked, name);
    free(desc->scheme);
    desc->scheme = source_copy_text(text, strlen(text));
    if (!desc->scheme)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    if (opts->calibrate && !desc->calibration)
        ERNE_TRY(describe_calibration(desc, opts->calibrate, err));
    if (plan->device.is_given)
        ERNE_TRY(convert_device_fit(plan, err));
    free(plan->manifest);
    plan->manifest = NULL;
    return erne_manifest_write(&plan->manifest, &plan->manifest_bytes, desc, err);
}

static int count_threads(struct convert_plan *plan, const struct erne_convert_opts *opts,
                         struct erne_error *err)
{
    const uint64_t mib = 1024 * 1024;
    uint64_t most;

    plan->worker_bytes = convert_worker_bytes(plan->tensors, plan->n);
    most = plan->max_ram / plan->worker_bytes;
    if (most == 0)
        return erne_fail(err, ERNE_EINVAL,
                         "%" PRIu64 " bytes of memory (max-ram): a thread needs %" PRIu64
                         " MiB",
                         plan->max_ram, plan->worker_bytes / mib + 1);
    plan->n_threads = opts->n_threads > 0 ? opts->n_threads : pf_cpu_count();
    if ((uint64_t)plan->n_threads > most)
        plan->n_threads = (int)most;
    return ERNE_OK;
}

/* What follows from the schemes of all tensors. */
static int complete(struct convert_plan *plan, const struct erne_convert_opts *opts,
                    struct erne_error *err)
{
    struct erne_writer_plan wp;

    ERNE_TRY(count_threads(plan, opts, err));
    ERNE_TRY(convert_plan_describe(plan, opts, err));
    ERNE_TRY(convert_golden_plan(plan, opts, err));
    wp = convert_writer_plan(plan);
    return erne_writer_layout(&wp, &plan->file_bytes, NULL, err);
}

int convert_plan_assign(struct convert_plan *plan, const struct erne_convert_opts *opts,
                        const struct erne_scheme *schemes, struct erne_error *err)
{
    plan->data_bytes = 0;
    for (size_t i = 0; i < plan->n; i++)
        ERNE_TRY(plan_tensor(plan, i, schemes[i], opts->calibrate != NULL, err));
    return complete(plan, opts, err);
}

static int plan_all(struct convert_plan *plan, const struct erne_convert_opts *opts,
                    const struct rules *rules, struct erne_error *err)
{
    const struct source_opts so = { .chat_template = opts->chat_template,
                                    .log = opts->log,
                                    .log_user = opts->log_user,
                                    .with_mtp = opts->with_mtp,
                                    .mmproj = opts->mmproj,
                                    .loras = opts->loras,
                                    .n_loras = opts->n_loras,
                                    .may_lack_weights = opts->dry_run };

    plan->max_ram = max_ram_of(opts);
    ERNE_TRY(source_open(&plan->src, opts->src, &so, err));
    ERNE_TRY(layout_list_init(&plan->layouts, plan->src, err));
    plan->tensors = calloc(plan->layouts.n, sizeof(*plan->tensors));
    plan->records = calloc(plan->layouts.n, sizeof(*plan->records));
    if (!plan->tensors || !plan->records)
        return erne_fail(err, ERNE_ENOMEM, "out of memory");
    for (; plan->n < plan->layouts.n; plan->n++) {
        bool *is_fixed = &plan->tensors[plan->n].is_fixed;
        bool is_kept;
        const struct erne_scheme scheme =
            choose_scheme(&plan->layouts.items[plan->n], rules, is_fixed, &is_kept);

        plan->device.n_kept += is_kept;
        ERNE_TRY(plan_tensor(plan, plan->n, scheme, opts->calibrate != NULL, err));
    }
    note_idle_rules(rules, &so);
    plan->n_params = erne_model_n_params(&plan->src->desc);
    if (!plan->src->is_outline || plan->src->vocab.n_tokens > 0)
        ERNE_TRY(erne_vocab_write(&plan->tokenizer, &plan->tokenizer_bytes,
                                  &plan->src->vocab, err));
    return complete(plan, opts, err);
}

int convert_plan_init(struct convert_plan *plan, const struct erne_convert_opts *opts,
                      struct erne_error *err)
{
    struct rules rules = { 0 };
    int st;

    *plan = (struct convert_plan){ 0 };
    st = convert_device_init(&plan->device, opts, err);
    if (st == 0)
        st = rules_init(&rules, plan, opts, err);
    if (st == 0)
        st = plan_all(plan, opts, &rules, err);
    rules_deinit(&rules);
    if (st < 0)
        convert_plan_deinit(plan);
    return st;
}

void convert_plan_deinit(struct convert_plan *plan)
{
    free(plan->manifest);
    free(plan->tokenizer);
    free(plan->tensors);
    free(plan->records);
    layout_list_deinit(&plan->layouts);
    source_close(&plan->src);
    *plan = (struct convert_plan){ 0 };
}

struct erne_writer_plan convert_writer_plan(const struct convert_plan *plan)
{
    struct erne_writer_plan wp = { .manifest = plan->manifest,
                                   .manifest_bytes = plan->manifest_bytes,
                                   .tokenizer = plan->tokenizer,
                                   .tokenizer_bytes = plan->tokenizer_bytes,
                                   .tensors = plan->records,
                                   .n_tensors = plan->n,
                                   .sources_changed = source_changed(plan->src),
                                   .n_vocab = plan->src->desc.n_vocab };

    if (plan->has_golden)
        wp.golden = plan->golden;
    return wp;
}
