/* bench.h -- the inside of `erne bench`: which tests are taken, and what runs them.
 *
 * A benchmark is a cross product: models x backends x threads x batches x KV types give
 * lanes, each with a session of its own; prompts, generations and depths give the tests
 * that every lane takes. Repeats are interleaved: each round takes every test once, so
 * that what the machine does meanwhile falls on all of them alike.
 */
#ifndef ERNE_BENCH_H
#define ERNE_BENCH_H

#include "platforms/platform.h"
#include "runtime/cli/bench_list.h"
#include "runtime/cli/bench_ops.h"
#include "runtime/cli/bench_record.h"
#include "runtime/cli/cli_model.h"

/* What the options asked for. */
struct bench_lists {
    struct bench_words models, backends, devices, type_k, type_v;
    bool is_auto; /* no backend was named */
    struct bench_ints n_threads, n_batch, n_ubatch;
    struct bench_ints n_prompt, n_gen, n_depth, pairs;
    struct bench_ints whole, images; /* pairs */
};

/* How its mixtures of experts share tokens: of each layer that has one. */
struct bench_experts {
    struct erne_expert_load *loads; /* [n] */
    size_t n;
};

/* An open model on a backend, and the tokens that tests evaluate: those of a real text,
 * since random tokens do not choose experts as texts do. */
struct bench_engine {
    const char *path, *backend, *device; /* device: or NULL */
    int n_threads;
    struct cli_model model; /* without a session */
    struct cli_ids trace;
    size_t n_text_tokens; /* of the text itself, before it is repeated */
    char type[64];
    struct bench_experts experts; /* of one of the engines of the same model */
    int status;                   /* not OK: it gets no figures from now on */
    char why[256];                /* of the status */
};

struct bench_lane {
    struct bench_engine *engine;
    int n_batch, n_ubatch;
    const char *type_k, *type_v;
    struct erne_session *session; /* holds the beginning of the trace. NULL: no test */
};

/* What a test evaluates. */
enum bench_kind {
    BENCH_TOKENS, /* tokens of the trace: pp, tg, pp+tg */
    BENCH_VISION, /* the vision tower on a picture */
    BENCH_WHOLE   /* a request from its text to the last token of the answer */
};

/* The parts of a whole request, in order: X(name). */
#define BENCH_STAGE_LIST(X) \
    X(tokenise) X(vision) X(prefill) X(first_token) X(decode) X(sample)

enum bench_stage {
#define X(name) BENCH_STAGE_##name,
    BENCH_STAGE_LIST(X)
#undef X
        BENCH_N_STAGES
};

/* Numbers that come one by one. */
struct bench_series {
    double *data; /* [cap] */
    size_t n, cap;
};

/* What the machine did while a test's samples were taken, all of them together. */
struct bench_guard {
    uint64_t elapsed_ns, busy_ns, own_ns, stolen_ns, n_throttled;
    int n_times, n_cpus;                    /* how often it was looked at */
    double joules, load, mhz_low, mhz_high; /* mhz 0: unknown */
};

struct bench_case {
    struct bench_lane *lane;
    enum bench_kind kind;
    int n_prompt, n_gen, n_depth;
    int width, height, n_image; /* of the picture, if there is one, and its tokens */
    struct erne_media *media;
    size_t n_text;       /* bytes of the text that make up the prompt */
    uint64_t peak_bytes; /* that a process holds at most in which it runs; 0: unknown */
    int skipped;         /* not OK: it does not fit the model */
    char name[64], time[32], disturbed[160];
    char why[256]; /* there are no samples, or fewer than wanted; or empty */
    struct bench_series samples; /* ns a run, in the order they were taken */
    struct bench_series first;   /* ns to the first token, where prompt and answer are */
    struct bench_series tokens;  /* ns of each token of an answer */
    struct bench_series stages[BENCH_N_STAGES]; /* ns */
    struct bench_series machine;                /* ns of bench_probe_ns */
    struct bench_guard guard;
};

/* Something that is always the same amount of work. */
struct bench_probe {
    uint64_t *data; /* [n] */
    size_t n;
    uint64_t sum; /* so that the work has a result */
};

struct bench {
    struct cli_args *args;
    struct bench_lists lists;
    struct cli_text text; /* what is evaluated */
    struct bench_engine *engines;
    size_t n_engines;
    struct bench_lane *lanes;
    size_t n_lanes;
    struct bench_case *cases;
    size_t n_cases;
    bool is_quiet; /* engines log nothing */
    struct bench_probe probe;
    struct bench_guard guard; /* of all rounds */
    char *devices;            /* names of what is no CPU, or empty */
    char cpu[128], build[256];
};

/* ------------------------------------------------------------ bench_grid.c */

/* What options ask for, but for models. EINVAL. Zero it to start; deinit in any case. */
int bench_lists_parse(struct bench_lists *l, const struct cli_args *args,
                      struct erne_error *err);
void bench_lists_deinit(struct bench_lists *l);

/* Reads the options and lays out engines, lanes and cases; nothing is opened. EINVAL. */
int bench_grid_init(struct bench *b, struct erne_error *err);
void bench_grid_deinit(struct bench *b);

/* ------------------------------------------------------------ bench_open.c */

/* How an engine is opened. */
struct erne_engine_opts bench_engine_opts(const struct bench_engine *e,
                                          const struct bench *b);
/* Whether a backend of this name has no device of its own. */
bool bench_is_host(const char *backend);
/* Reads the text; opens the models, or everything the cases need. Cases that do not fit
 * their model are skipped, unless that is all of them. */
int bench_open_engines(struct bench *b, struct erne_error *err);
int bench_open(struct bench *b, struct erne_error *err);
int bench_open_engine(struct bench_engine *e, const struct bench *b, size_t n_tokens,
                      struct erne_error *err);
int bench_open_lane(struct bench_lane *lane, const struct bench *b,
                    struct erne_error *err);
/* Most tokens that a test of the lane (NULL: of all) has in its context. */
int bench_most_tokens(const struct bench *b, const struct bench_lane *lane);
void bench_close(struct bench *b);

/* ------------------------------------------------------------- bench_run.c */

/* Takes all samples, in rounds. What fails on an engine ends its figures only. ECANCELLED
 * after Ctrl-C, with what was measured until then. */
int bench_run(struct bench *b, struct erne_error *err);

/* ---------------------------------------------------------- bench_memory.c */

/* Fills in the cases' peak_bytes: each runs in a copy of this process, in which
 * nothing else does. Before anything is opened. */
void bench_measure_memory(struct bench *b);

/* ------------------------------------------------------------- cmd_bench.c */

/* Rows in the formats that the options ask for, on stdout and stderr. */
int bench_print(const struct cli_args *args, const struct bench_layout *layout,
                const void *rows, size_t n, struct erne_error *err);

/* ------------------------------------------------------------ bench_gate.c */

/* Looks at what each engine computes, and fills in its status where that is wrong or its
 * device is lost. Fails where it cannot be found out. */
int bench_gate(struct bench *b, struct erne_error *err);

/* -------------------------------------------------------- bench_experts.c */

/* Counts for the lane's model, unless that was done. */
int bench_experts_measure(struct bench_lane *lane, const struct bench *b,
                          struct erne_error *err);
/* The fields of a record, whose model_filename is filled in. */
void bench_experts_fill(struct bench_record *r, const struct bench *b);
/* Every layer, on stderr. */
void bench_experts_tell(const struct bench *b);

/* ----------------------------------------------------------- bench_keep.c */

/* Appends those that are complete to FOLDER/MACHINE.csv; or only tries whether that is
 * possible. */
int bench_keep_try(const char *folder, struct erne_error *err);
int bench_keep(const char *folder, const struct bench_record *records, size_t n,
               struct erne_error *err);
/* What the file is called after. name: [cap] */
void bench_machine_name(char *name, size_t cap, const char *cpu, int n_cpus);

/* --------------------------------------------------------- cmd_bench_ops.c */

/* Times the operators of all models that are open, but for engines that failed. Zero rows
 * to start. EDEVICE, ECANCELLED: rows are what was timed until then. */
int bench_ops_measure(struct bench *b, struct bench_op_rows *rows,
                      struct erne_error *err);
void bench_op_rows_deinit(struct bench_op_rows *rows);
/* erne bench ops: whether its options are those that it has a use for; all of it. */
int bench_ops_check(const struct cli_args *args, struct erne_error *err);
int bench_ops(struct bench *b, struct erne_error *err);

/* ------------------------------------------------------------ bench_html.c */

/* The page that shows the results; to a file. */
int bench_html_text(struct cli_text *text, const struct bench_record *records, size_t n,
                    const struct bench_op_rows *ops, struct erne_error *err);
/* Says before the work whether the file can be written. */
int bench_html_try(const char *path, struct erne_error *err);
int bench_html_write(const char *path, const struct bench_record *records, size_t n,
                     const struct bench_op_rows *ops, struct erne_error *err);

/* ---------------------------------------------------------- bench_sample.c */

/* Makes the picture and finds the text of a case that needs them. */
int bench_case_prepare(struct bench_case *c, const struct bench *b,
                       struct erne_error *err);
/* Evaluates what a case is about once, and notes the times. Tokens: n_prompt in calls of
 * n_batch, then n_gen one by one, behind n_depth, which are not timed. */
int bench_case_run(struct bench_case *c, const struct bench *b, struct erne_error *err);
/* Appends x while there is room. */
void bench_note(struct bench_series *s, double x);
/* The same, only to warm up: generates one token, notes nothing. */
int bench_case_warm_up(struct bench_case *c, const struct bench *b,
                       struct erne_error *err);

/* ----------------------------------------------------------- bench_guard.c */

int bench_probe_init(struct bench_probe *p, struct erne_error *err);
void bench_probe_deinit(struct bench_probe *p);
/* Time of a fixed piece of work: of memory and of arithmetic, a few milliseconds each. It
 * says how fast the machine is at the moment, whatever erne does. */
double bench_probe_ns(struct bench_probe *p);

/* Adds what happened between two readings. */
void bench_guard_add(struct bench_guard *g, const struct pf_usage *before,
                     const struct pf_usage *after);
/* CPUs that others kept busy, at most all there are. NAN: systems count in ticks of
 * 10 ms, and what was looked at is shorter. */
double bench_guard_others(const struct bench_guard *g);
double bench_guard_stolen(const struct bench_guard *g);
/* Why the figures should not be trusted, in words; "" if nothing is known. What a test is
 * too short for is judged by `whole`, which may be g. text: [cap] */
void bench_guard_judge(const struct bench_guard *g, const struct bench_guard *whole,
                       char *text, size_t cap);

/* The same for erne_tune, as struct erne_tune_opts' watch; user is a bench_watch. What is
 * too little to be seen in one round adds up. */
struct bench_watch {
    struct pf_usage before;
    struct bench_guard quiet; /* of rounds that nothing was seen in */
};

void bench_watch_round(void *user, char *text, size_t cap);

/* --------------------------------------------------------- bench_picture.c */

/* A picture of this size, not all of one colour. */
int bench_picture(struct erne_media **out, int width, int height, struct erne_error *err);

#endif
