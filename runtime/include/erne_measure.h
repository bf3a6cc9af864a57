/* erne_measure.h -- a part of the public interface, included by erne.h: what a machine
 * can do, how long operators and phases of a model take, where they are placed by that,
 * and whether devices compute right.
 */
#ifndef ERNE_MEASURE_H
#define ERNE_MEASURE_H

#include "erne.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a backend can do at most, measured by loops that do nothing else; a second, and 0
 * where it is not known. Multiplication and addition are two operations. */
struct erne_limits {
    double read_bytes;     /* from memory */
    double f32_ops, i8_ops;
    double bf16_ops;       /* 0 also where there are no instructions for it */
};

/* Of the backend that decodes. May take a second. */
ERNE_API int erne_engine_limits(struct erne_engine *engine, struct erne_limits *limits,
                                struct erne_error *err);

/* The most memory that the engine's devices held at once for weights, caches, steps and
 * scratch. */
struct erne_device_memory {
    uint64_t own_bytes;    /* of their own, besides that of the host */
    uint64_t shared_bytes; /* of the host, used where it is */
};

ERNE_API void erne_engine_device_memory(const struct erne_engine *engine,
                                        struct erne_device_memory *memory);

/* How the router of a layer shares tokens among the experts of a bank. */
struct erne_expert_load {
    int layer;
    int bank;              /* 0; of models with experts for pictures, those are bank 1 */
    int n_experts, n_used; /* that there are, and that each token takes */
    int n_seen;            /* that any of the tokens took */
    uint64_t n_tokens;
    double busiest;        /* part of the tokens that took the most taken expert */
    double entropy;        /* of the choices: 1 all experts alike, 0 always the same */
};

/* Evaluates tokens [n] behind those of the session, and calls visit for every bank that
 * took any of them; nothing is done for a model without experts. There are no logits
 * afterwards. Its first non-zero answer, or 0; fails as erne_session_eval. */
ERNE_API int erne_session_expert_load(struct erne_session *session, const int32_t *tokens,
                                      size_t n,
                                      int (*visit)(void *user,
                                                   const struct erne_expert_load *load),
                                      void *user, struct erne_error *err);

/* An operator of a model at one shape, alone, on one of the engines compared. */
struct erne_op_timing {
    const char *phase;     /* "prefill", "decode", "vision" */
    const char *op;        /* "matmul" */
    const char *shape;     /* "[512, 1024] x w4-g64 [3072, 1024]" */
    const char *impl;      /* whose code ran; NULL: this backend declines the operator */
    size_t engine;         /* which of the engines */
    int n_uses;            /* how often the phase has it */
    double n_bytes;        /* weights read, activations read and written */
    double n_ops;          /* multiplications and additions; 0: nothing worth counting */
    bool is_int;           /* by integers, if the backend so chooses */
    bool is_bf16;          /* in bf16, if there are instructions for it */
    double median_ns, low_ns, high_ns; /* of a run; a quarter is below low, above high */
    double error;          /* from the reference, over the root mean square of its values:
                              that of the differences, or a tenth of the worst one */
};

struct erne_op_bench_opts {
    size_t struct_size;
    int n_prefill;         /* tokens of a prefill step (default: 512) */
    int n_past;            /* tokens in the context (default: 512) */
    const char *kv_type;   /* as in struct erne_session_opts */
    double seconds;        /* to spend on an operator on each engine (default: 0.05) */
    bool check_only;       /* nothing is timed, times are 0 */
};

ERNE_API struct erne_op_bench_opts erne_op_bench_opts_default(void);

/* Times each operator that the model has, once a shape, on all engines in turns;
 * all must have the same model open. The first of a shape's timings comes with a new
 * shape; strings live during the call. Data are random but for the weights. Returns the
 * first non-zero answer of visit, else 0. */
ERNE_API int erne_op_bench(struct erne_engine *const *engines, size_t n_engines,
                           const struct erne_op_bench_opts *opts,
                           int (*visit)(void *user, const struct erne_op_timing *timing),
                           void *user, struct erne_error *err);

/* A phase of a model on a device, as erne_tune measured it. */
struct erne_phase_timing {
    const char *phase, *device; /* "vision", "prefill", "decode"; "cpu", "vulkan:0" */
    int n_samples;         /* 0: not measured */
    double median_ns, low_ns, high_ns; /* of a token or a picture; quartiles */
    bool is_chosen;
    const char *why;       /* or why not */
};

/* What came of erne_tune. */
struct erne_tune_outcome {
    bool is_told;          /* all, whether it could be kept or not */
    bool is_kept;
    int n_again;           /* rounds of samples that were disturbed and taken again */
    char disturbed[160];   /* what disturbed those that count; "" if nothing is known */
    char not_kept[256];    /* what was kept before is better: why; or "" */
};

struct erne_tune_opts {
    size_t struct_size;
    struct erne_engine_opts engine; /* how to compute, and by cache_dir where to keep the
                              placement; backend and device do not count */
    const char *const *devices; /* [n_devices]: "vulkan" (all its devices), "opencl:1": */
    size_t n_devices;      /* beside the CPU; 0: all there is */
    const char *text;      /* whose tokens are evaluated; NULL: any tokens */
    int n_repeats;         /* samples of a phase on a device, at most 99 (default: 5) */
    double seconds;        /* nothing new is begun after that long (default: 60) */
    bool only_phases;      /* operators are not measured */
    bool at_start;         /* keeps "the CPU" before a driver that may crash is tried, and
                              tries only if there is a device that is no software */
    bool replace;          /* keeps it even where what was kept is better */
    /* Called before each round of samples (text NULL) and after it, to put into text
     * ([cap]) what disturbed the machine meanwhile, or ""; such a round is taken again,
     * at most n_repeats of them. NULL: nobody looks. */
    void (*watch)(void *user, char *text, size_t cap);
    void *watch_user;
    struct erne_tune_outcome *outcome; /* is filled in; may be NULL */
    /* Receive phases, once they are kept, then operators; not 0 ends it. May be NULL. */
    int (*phase)(void *user, const struct erne_phase_timing *timing);
    int (*op)(void *user, const char *device, const struct erne_op_timing *timing);
    erne_progress_fn progress; /* in milliseconds; may be NULL */
    void *user, *progress_user;
};
ERNE_API struct erne_tune_opts erne_tune_opts_default(void);

/* Verifies devices that were not verified before, measures each phase of a model on them
 * in turns, and keeps where it is fastest for this model, build, devices and drivers, and
 * for the threads, instruction set and memory of `engine`. What computes wrongly, fails,
 * or is not clearly faster than the CPU is avoided. What was kept stays where it is
 * better: of more devices, of an undisturbed machine, of more samples.
 * Fails: as erne_engine_open, ECANCELLED; EIO also when all was told but could not be
 * kept. */
ERNE_API int erne_tune(const char *path, const struct erne_tune_opts *opts,
                       struct erne_error *err);

/* Where that put phases left to "auto": "decode on cpu: 88.0 t/s, ..."; or NULL. */
ERNE_API const char *erne_engine_placement(const struct erne_engine *engine);

/* What computes, whoever chose it: "cpu", "vulkan:1", or of each phase that the model has
 * "prefill=vulkan,decode=cpu"; as in struct erne_engine_opts' backend. A device of number
 * 0 has no number. */
ERNE_API const char *erne_engine_backend(const struct erne_engine *engine);

/* One check of a device. */
struct erne_check {
    const char *phase;     /* "decode", "prefill", "vision", "video", "guess", "whole" */
    const char *op;        /* "matmul"; of the whole "model" */
    const char *shape;     /* "67x1024, 3072x1024 w4-g32" */
    int n_nodes;           /* of the model that are like this */
    double error, limit;   /* of the result's root mean square, in the worst round */
    int status;            /* 0; EVERIFY: wrong; EUNSUPPORTED: left to the CPU;
                              EDEVICE: lost, or over the time limit: the last check */
};

struct erne_verify_opts {
    size_t struct_size;
    struct erne_engine_opts engine; /* its backend or device is what is checked */
    int n_rounds;                   /* of fresh random data a check (default: 3) */
    uint64_t seed;
    bool use_kept; /* a verdict kept in cache_dir will do: nothing is computed then */
};

ERNE_API struct erne_verify_opts erne_verify_opts_default(void);

/* Computes every operator of a model, in every shape and scheme that it will use, then
 * the logits of a few tokens, on a device and by the reference, and calls `visit` with
 * each result; another answer than 0 ends it. With a cache_dir the verdict is kept there
 * for this device, driver, build and model: engines with the same folder then compute
 * elsewhere what failed, and log it; not if phases begin on several devices. A device
 * that is lost in a check computes nothing of the model from then on, nor does one whose
 * verification never ended, as when its driver ends the process.
 * Fails: EVERIFY (a check failed), ENOMEM, ECANCELLED; as erne_engine_open. */
ERNE_API int erne_device_verify(const char *path, const struct erne_verify_opts *opts,
                                int (*visit)(void *user, const struct erne_check *check),
                                void *user, struct erne_error *err);

#ifdef __cplusplus
}
#endif
#endif
