/* convert_device.c -- whether a device can hold the model, and how it is to run there:
 * what a profile (runtime/profile.h) changes about a conversion. */
#include "converters/convert.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/op.h"

/* Below this many positions, experts are rather read from the disk. */
enum { LEAST_CTX = 4096 };

int convert_device_init(struct convert_device *device,
                        const struct erne_convert_opts *opts, struct erne_error *err)
{
    *device = (struct convert_device){ .program_bytes = pf_memory_peak() };
    if (!opts->device)
        return ERNE_OK;
    ERNE_TRY(erne_profile_load(&device->profile, opts->device, err));
    device->is_given = true;
    return ERNE_OK;
}

/* -------------------------------------------------------------------- fit */

/* Everything but keys and values. resident: with the experts of one token only, and with
 * what such a run sets aside. */
static uint64_t base_bytes(const struct convert_device *d, bool resident)
{
    const struct erne_footprint *f = &d->need;
    const uint64_t rest =
        f->step + f->tables + f->threads + f->picture + d->program_bytes;

    if (!resident)
        return rest + f->weights;
    return rest + f->weights - f->experts + f->experts_a_token + ERNE_GROWTH_BYTES;
}

/* The most positions up to `want` that fit beside `base`; 0 when not one page does. */
static int32_t most_positions(const struct convert_device *d, uint64_t base, int32_t want)
{
    const uint64_t budget = d->profile.model_bytes;
    uint64_t n_pages;

    if (base > budget)
        return 0;
    n_pages = (budget - base) / d->need.kv_a_page;
    return n_pages * ERNE_KV_PAGE < (uint64_t)want ? (int32_t)(n_pages * ERNE_KV_PAGE)
                                                   : want;
}

static void decide(struct convert_device *d, int32_t n_ctx_train)
{
    const int32_t want = d->profile.n_ctx < n_ctx_train ? d->profile.n_ctx : n_ctx_train;
    const int32_t least = want < LEAST_CTX ? want : LEAST_CTX;
    const int32_t whole = most_positions(d, base_bytes(d, false), want);
    const int32_t streamed =
        d->need.experts > 0 ? most_positions(d, base_bytes(d, true), want) : 0;

    d->verdict = CONVERT_FITS;
    d->n_ctx = whole;
    if (whole < least) {
        d->verdict = CONVERT_STREAMS;
        d->n_ctx = streamed;
    }
    if (d->n_ctx < least) {
        d->verdict = CONVERT_TOO_LARGE;
        d->n_ctx = want;
    }
    d->ctx_is_less = d->n_ctx < want;
}

int convert_device_fit(struct convert_plan *plan, struct erne_error *err)
{
    struct convert_device *d = &plan->device;
    struct erne_device_desc *desc = &plan->src->desc.device;
    const struct erne_footprint_of of = { .desc = &plan->src->desc,
                                          .tensors = plan->records,
                                          .n_tensors = plan->n,
                                          .tokenizer = plan->tokenizer,
                                          .tokenizer_bytes = plan->tokenizer_bytes,
                                          .n_threads = d->profile.threads,
                                          .n_batch = d->profile.n_batch,
                                          .kv_type = d->profile.kv_type };

    ERNE_TRY(erne_footprint(&d->need, &of, err));
    decide(d, plan->src->desc.n_ctx_train);
    free(desc->name);
    free(desc->kv_type);
    desc->name = source_copy_text(d->profile.name, strlen(d->profile.name));
    desc->kv_type = source_copy_text(d->profile.kv_type, strlen(d->profile.kv_type));
    desc->n_ctx = d->n_ctx;
    desc->n_batch = d->profile.n_batch;
    desc->ram_mib =
        d->verdict == CONVERT_STREAMS ? (int32_t)(d->profile.model_bytes >> 20) : 0;
    return desc->name && desc->kv_type ? ERNE_OK
                                       : erne_fail(err, ERNE_ENOMEM, "out of memory");
}

/* ----------------------------------------------------------------- report */

static int report_sizes(const struct convert_device *d,
                        const struct erne_convert_opts *opts)
{
    const struct erne_profile *p = &d->profile;
    const uint64_t kv = erne_footprint_kv(&d->need, d->n_ctx);
    const uint64_t text = base_bytes(d, false) - d->need.picture + kv;
    int st;

    st = convert_emit(opts, "  device %s (%s): %.1f of %.1f MiB for models\n", p->name,
                      p->title, (double)p->model_bytes / 0x1p20,
                      (double)p->memory_bytes / 0x1p20);
    if (st == 0)
        st = convert_emit(opts,
                          "    %-28s %10.1f MiB\n    %-28s %10.1f MiB  (%d tokens, %s)\n"
                          "    %-28s %10.1f MiB  (%d tokens)\n    %-28s %10.1f MiB\n",
                          "weights", (double)d->need.weights / 0x1p20, "keys and values",
                          (double)kv / 0x1p20, d->n_ctx, p->kv_type, "a step",
                          (double)d->need.step / 0x1p20, p->n_batch,
                          "program and tokenizer",
                          (double)(d->program_bytes + d->need.tables +
                                   d->need.threads) /
                              0x1p20);
    if (st == 0)
        st = convert_emit(opts, "    %-28s %10.1f MiB\n", "together",
                          (double)text / 0x1p20);
    if (st == 0 && d->need.picture > 0)
        st = convert_emit(opts, "    %-28s %10.1f MiB\n", "the largest picture, more",
                          (double)d->need.picture / 0x1p20);
    return st;
}

/* What memory and disk allow at best. */
static int report_speed(const struct convert_device *d,
                        const struct erne_convert_opts *opts)
{
    const struct erne_profile *p = &d->profile;
    int st = 0;

    if (p->memory_rate > 0 && d->need.read_a_token > 0)
        st = convert_emit(opts,
                          "    a token reads %.1f MiB of weights: at %.1f GB/s at most "
                          "%.1f tokens a second\n",
                          (double)d->need.read_a_token / 0x1p20, p->memory_rate / 1e9,
                          p->memory_rate / (double)d->need.read_a_token);
    if (st == 0 && d->verdict == CONVERT_STREAMS && p->disk_rate > 0)
        st = convert_emit(opts,
                          "    one whose experts are all on disk takes %.1f s, at %.2f "
                          "GB/s\n",
                          (double)d->need.experts_a_token / p->disk_rate,
                          p->disk_rate / 1e9);
    return st;
}

static int report_verdict(const struct convert_device *d,
                          const struct erne_convert_opts *opts)
{
    const uint64_t budget = d->profile.model_bytes, experts = d->need.experts;
    const uint64_t rest = base_bytes(d, true) - d->need.experts_a_token +
                          erne_footprint_kv(&d->need, d->n_ctx);
    const char *less = d->ctx_is_less ? ", with a shorter context" : "";

    switch (d->verdict) {
    case CONVERT_FITS: return convert_emit(opts, "    fits%s\n", less);
    case CONVERT_STREAMS:
        return convert_emit(opts,
                            "    fits%s if experts stream: they are read from the file "
                            "when they are needed; of %.1f MiB, %.0f %% stay in memory\n",
                            less, (double)experts / 0x1p20,
                            100.0 * (double)(budget - rest) / (double)experts);
    case CONVERT_TOO_LARGE: break;
    }
    return convert_emit(
        opts, "    does not fit: %.1f MiB are needed%s\n",
        (double)(base_bytes(d, experts > 0) + erne_footprint_kv(&d->need, d->n_ctx)) /
            0x1p20,
        experts > 0 ? " even if experts stream" : "");
}

int convert_device_report(const struct convert_device *device,
                          const struct erne_convert_opts *opts)
{
    int st = 0;

    if (device->n_kept > 0)
        st = convert_emit(opts,
                          "  exact where rounding again to %s would save nothing: %zu "
                          "matri%s\n",
                          device->profile.scheme, device->n_kept,
                          device->n_kept == 1 ? "x" : "ces");
    if (st == 0)
        st = report_sizes(device, opts);

    if (st == 0)
        st = report_verdict(device, opts);
    if (st == 0 && device->verdict != CONVERT_TOO_LARGE)
        st = report_speed(device, opts);
    return st;
}

int convert_device_check(const struct convert_device *device, struct erne_error *err)
{
    if (!device->is_given || device->verdict != CONVERT_TOO_LARGE)
        return ERNE_OK;
    return erne_fail(err, ERNE_EUNSUPPORTED,
                     "%s cannot hold the model: see the plan; fewer bits (--scheme) may "
                     "help, and without --device it is converted all the same",
                     device->profile.name);
}
