/* bench_record.h -- the result of one test as a row of named fields: what the tables and
 * files of `erne bench` are written from. Names are llama-bench's where the meaning is.
 */
#ifndef ERNE_BENCH_RECORD_H
#define ERNE_BENCH_RECORD_H

#include "runtime/cli/cli_io.h"

/* Every field once: X(kind, name). TEXT may be NULL and REAL may be NAN: no value. */
#define BENCH_FIELD_LIST(X)                                               \
    X(TEXT, build_commit) /* the version of erne and what was built in */ \
    X(TEXT, cpu_info)                                                     \
    X(TEXT, gpu_info)                                                     \
    X(TEXT, backends) /* what computed, as --backend names it */          \
    X(TEXT, model_filename)                                               \
    X(TEXT, model_type) /* architecture and scheme */                     \
    X(INT, model_size)  /* bytes of weights */                            \
    X(INT, model_n_params)                                                \
    X(INT, n_batch)  /* tokens given to one call */                       \
    X(INT, n_ubatch) /* tokens a step takes at most */                    \
    X(INT, n_threads)                                                     \
    X(TEXT, type_k)                                                       \
    X(TEXT, type_v)                                                       \
    X(TEXT, test)                                                         \
    X(INT, n_prompt)                                                      \
    X(INT, n_gen)                                                         \
    X(INT, n_depth)                                                       \
    X(INT, n_image)    /* tokens of a picture */                          \
    X(TEXT, test_time) /* of the start, UTC */                            \
    X(REAL, avg_ns)                                                       \
    X(REAL, stddev_ns)                                                    \
    X(REAL, avg_ts) /* tokens a second */                                 \
    X(REAL, stddev_ts)                                                    \
    X(REAL, median_ts)                                                    \
    X(REAL, low_ts) /* interval for the median, see bench_stats.h */      \
    X(REAL, high_ts)                                                      \
    X(REAL, interval) /* how sure it is */                                \
    X(REAL, ttft_p50) /* ms to the first token */                         \
    X(REAL, ttft_p95)                                                     \
    X(REAL, ttft_p99)                                                     \
    X(REAL, itl_p50) /* ms between tokens */                              \
    X(REAL, itl_p95)                                                      \
    X(REAL, itl_p99)                                                      \
    X(REAL, tokenise_ms) /* medians of the stages of a whole request */   \
    X(REAL, vision_ms)                                                    \
    X(REAL, prefill_ms)                                                   \
    X(REAL, first_token_ms)                                               \
    X(REAL, decode_ms)                                                    \
    X(REAL, sample_ms)                                                    \
    X(REAL, peak_memory)  /* bytes that a process holds for this alone */ \
    X(INT, device_memory) /* that devices held of their own */            \
    X(INT, shared_memory) /* of the host's, that devices worked on */     \
    X(INT, n_experts)     /* of a layer */                                \
    X(INT, n_experts_used) /* by each token */                            \
    X(REAL, experts_busiest) /* part of the tokens, in the worst layer */ \
    X(REAL, experts_seen)    /* part of the experts, mean of layers */    \
    X(REAL, experts_entropy) /* of their choice, mean; 1: all alike */    \
    X(REAL, joules_token) /* of the whole machine */                      \
    X(REAL, others_cpu)   /* CPUs that others kept busy, if known */      \
    X(REAL, stolen_cpu)   /* that other virtual machines did */           \
    X(REAL, load)                                                         \
    X(REAL, mhz_low)                                                      \
    X(REAL, mhz_high)                                                     \
    X(REAL, machine_ns) /* median of bench_probe_ns */                    \
    X(TEXT, disturbed)  /* why the figures should not be trusted */       \
    X(TEXT, error)      /* why there are none, or fewer than wanted */

typedef const char *bench_field_text;
typedef int64_t bench_field_int;
typedef double bench_field_real;

enum bench_field_kind { BENCH_TEXT, BENCH_INT, BENCH_REAL };

struct bench_record {
#define BENCH_TYPE_TEXT bench_field_text
#define BENCH_TYPE_INT  bench_field_int
#define BENCH_TYPE_REAL bench_field_real
#define X(KIND, name)   BENCH_TYPE_##KIND name;
    BENCH_FIELD_LIST(X)
#undef X
    const double *samples_ns; /* [n_samples]: in the order they were taken */
    size_t n_samples;
    const struct erne_expert_load *experts; /* [n_loads]: by layers */
    size_t n_loads;
};

struct bench_field {
    const char *name;
    enum bench_field_kind kind;
    size_t offset; /* in a row */
};

/* How a kind of rows is written. */
struct bench_layout {
    const char *name; /* of the SQL table */
    const struct bench_field *fields;
    size_t n_fields, row_bytes;
    bool has_samples; /* rows are struct bench_record: samples and expert loads follow */
    int (*write_md)(struct cli_text *text, const void *rows, size_t n,
                    struct erne_error *err);
};

extern const struct bench_layout bench_record_layout;

/* Fills mean, median and so on from the samples; scratch: [n_samples]. */
void bench_record_summarise(struct bench_record *r, double *scratch);
/* Tokens a second of a sample: those of prompt and answer; of the picture, where it is
 * alone. */
double bench_record_ts(const struct bench_record *r, double ns);

/* In the order of the words of the option -o. */
enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSON, BENCH_JSONL, BENCH_SQL, BENCH_NONE };

/* Appends the rows data [n] as a document. */
int bench_write(struct cli_text *text, enum bench_format format,
                const struct bench_layout *layout, const void *data, size_t n,
                struct erne_error *err);

enum { BENCH_CELL_MAX = 200, BENCH_MD_COLUMNS = 16 };

struct bench_md_column {
    const char *title;
    int width; /* at least. Negative: to the left; 0: not shown */
};

/* A Markdown table. */
struct bench_md {
    struct bench_md_column columns[BENCH_MD_COLUMNS];
    size_t n_columns, n_rows;
    const void *rows;
    /* cell: [BENCH_CELL_MAX] */
    void (*fill)(char *cell, const void *rows, size_t row, size_t column);
};

/* Makes the columns as wide as their cells, and appends all lines. */
int bench_md_put(struct cli_text *text, struct bench_md *table, struct erne_error *err);
/* struct bench_record rows. */
int bench_write_md(struct cli_text *text, const void *rows, size_t n,
                   struct erne_error *err);

/* Text with the format's values in it. */
int bench_printf(struct cli_text *text, struct erne_error *err, const char *fmt, ...)
    ERNE_PRINTF(3, 4);
/* A JSON string, with its quotes. */
int bench_put_json_text(struct cli_text *text, const char *value, struct erne_error *err);

#endif
