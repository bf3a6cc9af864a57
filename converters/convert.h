/* convert.h -- the inside of a conversion: its plan, its run, its report.
 *
 * The plan (convert_plan.c) knows every tensor, scheme and size before the first byte is
 * written. The run (convert_run.c) cuts each tensor into row blocks and hands them to
 * threads. The report (convert_report.c) tells people both; what is particular to a
 * target device is in convert_device.c. convert.c is the public call.
 */
#ifndef ERNE_CONVERT_H
#define ERNE_CONVERT_H

#include "converters/layout.h"
#include "converters/pulse.h"
#include "runtime/footprint.h"
#include "runtime/model_check.h"
#include "runtime/model_file.h"
#include "runtime/profile.h"

enum { CONVERT_N_ROLES = ERNE_ROLE_COUNT };

/* How the values of a tensor get into the file. */
enum convert_how {
    CONVERT_COPY,  /* plain f32 rows: norms, biases */
    CONVERT_PACK,  /* codes are taken over exactly */
    CONVERT_EXACT, /* floats whose codec holds them exactly */
    CONVERT_ROUND
};

struct convert_tensor {
    const struct layout *layout;
    struct erne_scheme scheme;
    struct erne_planes planes;
    enum convert_how how;
    int64_t block_rows; /* made at once: tiles, or all rows for CONVERT_COPY */
    int64_t n_blocks;
    bool is_calibrated; /* rounded with its inputs in mind, where they are known */
    bool is_fixed;      /* its scheme follows from its role or from a rule */
};

struct calibration; /* calibrate.h */

enum convert_verdict { CONVERT_FITS, CONVERT_STREAMS, CONVERT_TOO_LARGE };

/* The device that the file is for. */
struct convert_device {
    bool is_given; /* else only program_bytes means anything */
    struct erne_profile profile;
    struct erne_footprint need;
    size_t n_kept;          /* tensors that the profile's scheme would not make smaller */
    uint64_t program_bytes; /* program and libraries, as measured in this one */
    enum convert_verdict verdict;
    int32_t n_ctx;    /* positions that are to be had */
    bool ctx_is_less; /* than profile and model allow, for want of memory */
};

struct convert_plan {
    struct convert_device device;
    struct source *src;
    struct layout_list layouts;
    struct convert_tensor *tensors;     /* [n], in file order */
    struct erne_writer_tensor *records; /* [n], the same for the writer */
    size_t n;
    char *manifest;
    size_t manifest_bytes;
    uint8_t *tokenizer;
    size_t tokenizer_bytes;
    uint64_t file_bytes;   /* of the finished file */
    uint64_t data_bytes;   /* of all tensors */
    uint64_t n_params;     /* weights, without padding */
    uint64_t worker_bytes; /* memory of one thread */
    int n_threads;         /* as many as max_ram allows */
    uint64_t max_ram;      /* bytes */
    int32_t golden_tokens[ERNE_GOLDEN_MOST];
    struct erne_golden golden;       /* without logits; what they are to be of */
    bool has_golden;                 /* they are put into the file */
    struct calibration *calibration; /* NULL unless asked for, and until it is made */
    struct pulse *pulse;             /* of who waits for the work */
};

/* Opens the checkpoint and decides everything. EINVAL names a bad scheme or rule, or says
 * how much memory a thread needs at least. */
int convert_plan_init(struct convert_plan *plan, const struct erne_convert_opts *opts,
                      struct erne_error *err);
void convert_plan_deinit(struct convert_plan *plan);
/* Makes the manifest again, after its description changed. */
int convert_plan_describe(struct convert_plan *plan, const struct erne_convert_opts *opts,
                          struct erne_error *err);
/* Another scheme for every tensor: schemes [plan->n]. Those of is_fixed must stay. */
int convert_plan_assign(struct convert_plan *plan, const struct erne_convert_opts *opts,
                        const struct erne_scheme *schemes, struct erne_error *err);
/* What the writer is to be opened with; points into the plan. */
struct erne_writer_plan convert_writer_plan(const struct convert_plan *plan);

/* Loads the profile that opts name, if any. */
int convert_device_init(struct convert_device *device,
                        const struct erne_convert_opts *opts, struct erne_error *err);
/* Decides whether and how the planned tensors run there; puts it into the description. */
int convert_device_fit(struct convert_plan *plan, struct erne_error *err);
int convert_device_report(const struct convert_device *device,
                          const struct erne_convert_opts *opts);
/* EUNSUPPORTED when the device cannot hold the model. */
int convert_device_check(const struct convert_device *device, struct erne_error *err);

/* Decides whether the file gets golden logits. EINVAL for an unknown word. */
int convert_golden_plan(struct convert_plan *plan, const struct erne_convert_opts *opts,
                        struct erne_error *err);
/* Computes and writes them, if so; all tensors are done. */
int convert_golden_write(const struct convert_plan *plan,
                         struct erne_model_writer *writer, struct erne_error *err);

/* What rounding cost: sums over weights; zero where nothing was rounded. The same for any
 * number of threads. */
struct convert_loss {
    double err2, ref2; /* squares of errors, and of the weights */
    double cost;       /* tr(E H E^T) where the inputs are known (gptq.h), else err2 */
};

/* sum becomes that of more weights. */
void convert_loss_add(struct convert_loss *sum, const struct convert_loss *more);
/* Root mean square of the errors over that of the weights. */
double convert_error(struct convert_loss loss);
/* Files have finite numbers. */
float convert_narrow(double x);

struct convert_stats {
    struct convert_loss *losses; /* [plan->n], in file order */
    uint64_t ns;
    size_t n_resumed; /* tensors that were in the file already, without a loss */
};

int convert_stats_init(struct convert_stats *stats, const struct convert_plan *plan,
                       struct erne_error *err);
void convert_stats_deinit(struct convert_stats *stats);

/* Writes all tensors that the writer does not have yet. ECANCELLED when plan->pulse says
 * so; the writer can go on later. Without a writer (NULL), rounds a sample of every
 * tensor for its losses. */
int convert_run(const struct convert_plan *plan, struct erne_model_writer *writer,
                struct convert_stats *stats, struct erne_error *err);

/* Removes a file that was for the conversion only, finished or not; or only what of it
 * was not finished. */
void convert_drop(const char *path);
void convert_drop_part(const char *path);

/* Makes a file of the plan that is for the conversion only. */
int convert_write_aside(const struct convert_plan *plan, const char *path,
                        struct convert_stats *stats, struct erne_error *err);
/* Makes opts->dst when there is a calibration: what the file loses is measured
 * first, so that its manifest can tell. */
int convert_write_judged(struct convert_plan *plan, const struct erne_convert_opts *opts,
                         struct convert_stats *stats, struct erne_error *err);

/* The buffers of one thread, laid out for the largest block of the plan. */
struct convert_worker;
uint64_t convert_worker_bytes(const struct convert_tensor *tensors, size_t n);

/* printf to opts->report. */
int convert_emit(const struct erne_convert_opts *opts, const char *fmt, ...)
    ERNE_PRINTF(2, 3);
int convert_report_plan(const struct convert_plan *plan,
                        const struct erne_convert_opts *opts, struct erne_error *err);
int convert_report_result(const struct convert_plan *plan,
                          const struct convert_stats *stats,
                          const struct erne_convert_opts *opts, struct erne_error *err);

#endif
