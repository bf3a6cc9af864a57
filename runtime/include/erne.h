/* erne.h -- the public interface of erne, a runtime for ERNIE 4.5 models.
 *
 * This is the only header a program includes, and the command-line program in
 * runtime/cli uses nothing else; what is about measuring is in erne_measure.h, which
 * comes with it. docs/ARCHITECTURE.md explains what is behind it.
 *
 *     struct erne_error err;
 *     struct erne_engine *engine;
 *     struct erne_session *session;
 *     struct erne_engine_opts eo = erne_engine_opts_default();
 *     struct erne_session_opts so = erne_session_opts_default();
 *
 *     if (erne_engine_open(&engine, "model.erne", &eo, &err) < 0) ...
 *     if (erne_session_create(&session, engine, &so, &err) < 0) ...
 *     erne_tokenize(engine, text, strlen(text), true, ids, cap, &n, &err);
 *     erne_session_eval(session, ids, n, NULL, &err);
 *     while (erne_session_sample(session, &id, &err) == 0 &&
 *            !erne_engine_is_stop(engine, id))
 *         erne_session_eval(session, &id, 1, NULL, &err);
 *     erne_session_destroy(&session);
 *     erne_engine_close(&engine);
 *
 * Conventions. A function that can fail returns 0, or a negative status from
 * ERNE_STATUS_LIST; results go to out-parameters, which are written only on success.
 * `err` may be NULL; otherwise it receives the status and one line of text that names
 * the thing that is wrong. Destroying NULL is allowed. Text is UTF-8.
 *
 * Threads. An engine is immutable after it was opened and may be shared. A session
 * belongs to one caller at a time; only erne_session_cancel may be called from another
 * thread or from a signal handler.
 */
#ifndef ERNE_H
#define ERNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define ERNE_API
#else
#define ERNE_API __attribute__((visibility("default")))
#endif

/* ---------------------------------------------------------------- status */

/* Every status once: X(NAME, value, exit code of the program, text). */
#define ERNE_STATUS_LIST(X)                                 \
    X(OK, 0, 0, "ok")                                       \
    X(EFAIL, -1, 1, "failed")                               \
    X(EINVAL, -2, 2, "invalid argument")                    \
    X(EFORMAT, -3, 3, "invalid or corrupt file")            \
    X(EUNSUPPORTED, -4, 4, "model or device not supported") \
    X(ENOMEM, -5, 5, "out of memory")                       \
    X(EDEVICE, -6, 6, "device lost")                        \
    X(EVERIFY, -7, 7, "verification failed")                \
    X(EIO, -8, 1, "input or output error")                  \
    X(ECONTEXT, -9, 1, "context length exceeded")           \
    X(ECANCELLED, -10, 130, "cancelled")

enum erne_status {
#define X(NAME, value, code, text) ERNE_##NAME = (value),
    ERNE_STATUS_LIST(X)
#undef X
};

/* What went wrong, for a human. The caller owns it. */
struct erne_error {
    int status;
    char text[508];
};

/* The fixed text of a status, and the exit code a program should end with. */
ERNE_API const char *erne_status_text(int status);
ERNE_API int erne_status_exit_code(int status);

/* The version of the library, "major.minor.patch", and what was built in
 * ("cpu onednn-2.6 avx2 avx512"). Static strings. */
ERNE_API const char *erne_version(void);
ERNE_API const char *erne_build_info(void);

/* ------------------------------------------------------------------- log */

enum erne_log_level { ERNE_LOG_ERROR, ERNE_LOG_WARN, ERNE_LOG_INFO, ERNE_LOG_DEBUG };

/* Receives one line without a newline. May be called from the calling thread only. */
typedef void (*erne_log_fn)(void *user, enum erne_log_level level, const char *line);

/* Receives a piece of text that is not a log line (a report, JSON). */
typedef int (*erne_write_fn)(void *user, const char *text, size_t n_bytes);

/* Receives progress: `done` of `total` units of work, `what` names the current one.
 * A non-zero answer cancels the work. */
typedef int (*erne_progress_fn)(void *user, uint64_t done, uint64_t total,
                                const char *what);

/* ---------------------------------------------------------------- engine */

/* The largest n_threads of an engine and n_batch of a session. */
enum { ERNE_THREADS_MAX = 4096, ERNE_BATCH_MAX = 8192 };

struct erne_engine;

struct erne_engine_opts {
    size_t struct_size; /* set by erne_engine_opts_default: tells old callers apart */
    /* Who computes: "auto", or a backend of this build, "cpu", "vulkan", "opencl",
     * "reference"; "vulkan:1" is its second device. One for each phase is written
     * "vision=vulkan,prefill=vulkan,decode=cpu"; phases left out are "auto". What a
     * device declines is computed on the CPU. "auto" is where erne_tune found the model
     * to be fastest, if cache_dir has that, and else the CPU. */
    const char *backend;
    const char *device;    /* "vulkan:1": instead of backend, or of its device; or NULL */
    const char *isa;       /* highest CPU level to use: "auto", "c", "avx2",
                              "avxvnni", "avx512"; "neon", "i8mm" on ARM */
    int n_threads;         /* 0: one a physical core */
    bool check_hashes;     /* verify every tensor's hash before use (reads the file) */
    const char *cache_dir; /* for compiled kernels and what is known of devices; NULL */
    uint64_t ram_bytes;    /* memory to take at most: experts that do not fit are read
                              from the file when they are needed, by the CPU alone;
                              results are the same. 0: as the file was made for, else no
                              limit */
    bool use_tuned;        /* "auto" looks at what erne_tune kept (default) */
    int time_limit_ms;     /* for a device to answer, then it is lost; 0: its default */
    bool fallback;         /* when a device fails, sessions evaluate their tokens again
                              on the CPU and go on (default); false: EDEVICE */
    erne_log_fn log;       /* may be NULL: silent */
    void *log_user;
};

ERNE_API struct erne_engine_opts erne_engine_opts_default(void);

/* Maps the model file and opens the backends that will run it.
 * Owns: nothing of opts' strings is kept. Fails: EIO (cannot open), EFORMAT (corrupt),
 * EUNSUPPORTED (architecture or backend not in this build), ENOMEM. */
ERNE_API int erne_engine_open(struct erne_engine **out, const char *path,
                              const struct erne_engine_opts *opts,
                              struct erne_error *err);
ERNE_API void erne_engine_close(struct erne_engine **engine);

/* What the model is; valid while the engine is open. */
struct erne_model_info {
    const char *arch;   /* "ernie4_5", "llama" */
    const char *name;   /* from the checkpoint; may be empty */
    const char *scheme; /* what was asked for and what holds most of it: "w4-g32",
                           "source (w4-g32a)"; may be empty */
    int n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff;
    int n_vocab;       /* rows of the logits */
    int n_ctx_train;   /* positions the model was trained for */
    int32_t bos;       /* token to put before a text that is not a chat; -1: none */
    uint64_t n_params; /* weights, without padding */
    uint64_t n_bytes;  /* of tensor data in the file */
    bool has_chat;     /* whether erne_chat_tokenize can work */
    bool has_thinking; /* whether it may reason before it answers */
    bool has_vision;   /* whether it takes pictures */
    bool has_video;    /* whether it takes videos, too */
    bool has_mtp;      /* whether it can guess further tokens */
};

ERNE_API const struct erne_model_info *erne_engine_info(const struct erne_engine *engine);

/* How experts came into memory where opts.ram_bytes limits it; else all 0. */
struct erne_expert_stats {
    uint64_t ram_bytes;      /* the limit */
    uint64_t capacity;       /* of these, for experts at the moment */
    uint64_t n_bytes;        /* of all experts */
    uint64_t n_used, n_hits; /* experts used, one a layer and step; found in memory */
    uint64_t bytes_read;     /* of the others */
};

ERNE_API struct erne_expert_stats
erne_engine_expert_stats(const struct erne_engine *engine);

/* Whether generation should end after this token. */
ERNE_API bool erne_engine_is_stop(const struct erne_engine *engine, int32_t token);

/* Whether the token stands for a part of a picture or video. */
ERNE_API bool erne_engine_is_placeholder(const struct erne_engine *engine, int32_t token);

/* ---------------------------------------------------------------- tokens */

/* Turns text into token ids; puts no token before or after them (see bos above).
 * With parse_special, names of special tokens in the text
 * ("<|im_start|>") become those tokens; without, they are ordinary text.
 * ids: [cap]; *n receives the number of ids, also when it is larger than cap, which is
 * then EINVAL, so that a caller can ask with cap 0 first. */
ERNE_API int erne_tokenize(const struct erne_engine *engine, const char *text,
                           size_t n_bytes, bool parse_special, int32_t *ids, size_t cap,
                           size_t *n, struct erne_error *err);

/* Turns ids back into text, one token at a time, holding back an unfinished UTF-8
 * sequence until its last byte arrived. Caller's storage; zero it to start. */
struct erne_detok {
    uint8_t held[4];
    int n_held;
    bool started;      /* text came out: a space at the start is no longer dropped */
    bool show_special; /* print control tokens too */
};

/* Appends the text of `token` to buf ([cap], 0-terminated, *n_bytes its length).
 * 256 bytes suffice for any token of the known vocabularies. Fails: EINVAL when the token
 * is outside the vocabulary or cap too small. */
ERNE_API int erne_detokenize(const struct erne_engine *engine, struct erne_detok *state,
                             int32_t token, char *buf, size_t cap, size_t *n_bytes,
                             struct erne_error *err);

/* Ends the stream: what is still held becomes U+FFFD. */
ERNE_API int erne_detokenize_end(struct erne_detok *state, char *buf, size_t cap,
                                 size_t *n_bytes);

/* A picture or a video; see the section on media. */
struct erne_media;

/* A piece of a message: either text or media, the other is NULL. */
struct erne_part {
    const char *text;
    const struct erne_media *media;
};

struct erne_message {
    const char *role;              /* "system", "user", "assistant" */
    const char *text;              /* or NULL, and parts in order */
    const struct erne_part *parts; /* media are for role "user" */
    size_t n_parts;
    const char *reasoning; /* what led to an assistant's text, or NULL; many
                              layouts leave it out of the conversation */
};

struct erne_chat_opts {
    size_t struct_size;
    bool add_generation; /* end where the assistant's answer starts (default: true) */
    int thinking;        /* let it reason first: 1; not: 0; as the model does: -1 */
};

ERNE_API struct erne_chat_opts erne_chat_opts_default(void);

/* Lays out a conversation with the model's own chat description and tokenises it.
 * Special tokens are recognised in the description's text, never inside a message. Each
 * of the media becomes a run of placeholder tokens.
 * opts: NULL is the default. ids, cap, n: as in erne_tokenize. Fails: EUNSUPPORTED when
 * the model has no chat description, or not what opts or the messages ask of it (it
 * cannot think, takes no pictures); EINVAL for an unknown role. */
ERNE_API int erne_chat_tokenize(const struct erne_engine *engine,
                                const struct erne_message *messages, size_t n_messages,
                                const struct erne_chat_opts *opts, int32_t *ids,
                                size_t cap, size_t *n, struct erne_error *err);

/* Turns the tokens of an answer into text as erne_detokenize does, and tells the
 * reasoning of a model that thinks from the answer itself. The tags around them are left
 * out, and so is white space at both ends of the reasoning. Caller's storage; all zero it
 * takes everything for answer, as is right where no chat was laid out. */
struct erne_reply {
    struct erne_detok detok;
    int state;
    bool trim;
    int n_held;
    char held[128]; /* what may be the beginning of a tag */
};

/* Starts the answer to what was laid out with opts.thinking = thinking. */
ERNE_API void erne_reply_init(struct erne_reply *reply, const struct erne_engine *engine,
                              int thinking);

/* Appends the text of `token` to buf ([cap], 0-terminated): n_reasoning bytes that belong
 * to the reasoning, then n_answer of the answer. 512 bytes suffice for any token of the
 * known vocabularies. Fails: as erne_detokenize. */
ERNE_API int erne_reply_add(struct erne_reply *reply, const struct erne_engine *engine,
                            int32_t token, char *buf, size_t cap, size_t *n_reasoning,
                            size_t *n_answer, struct erne_error *err);

/* Ends the stream: what is still held comes out. */
ERNE_API int erne_reply_end(struct erne_reply *reply, const struct erne_engine *engine,
                            char *buf, size_t cap, size_t *n_reasoning, size_t *n_answer);

/* --------------------------------------------------------------- session */

struct erne_session;

/* How the next token is chosen. temperature 0 is greedy and ignores the filters.
 * The order is: penalties, top-k, softmax at the temperature, top-p, min-p, draw. */
struct erne_sampling {
    float temperature;       /* >= 0 */
    int top_k;               /* 0: off */
    float top_p;             /* 1: off */
    float min_p;             /* 0: off; relative to the best probability */
    float repeat_penalty;    /* 1: off; divides positive, multiplies negative logits */
    float presence_penalty;  /* 0: off */
    float frequency_penalty; /* 0: off; times the count */
    int penalty_last_n;      /* window of the penalties; -1: whole context, 0: off */
    uint64_t seed;
};

ERNE_API struct erne_sampling erne_sampling_default(void);

struct erne_session_opts {
    size_t struct_size;
    /* 0 and NULL: what the file was made for (erne_convert_opts.device), else ... */
    int n_ctx;               /* positions; ... min(n_ctx_train, 4096) */
    int n_batch;             /* tokens a prefill step takes at most; ... 512 */
    const char *kv_type;     /* "f16", "f32", "q8" or "q4"; ... "f16" */
    const char *vision_rule; /* which tokens vision experts take. "from-id": from the
                                image placeholder's on, as in training; "media": those
                                that stand for media and the marks around them;
                                "placeholder": not the marks. NULL: "from-id" */
    int n_draft; /* tokens that a model which predicts further (has_mtp) guesses
                    at a time, 0 or 1: answers stay the same. Default: 1 */
    struct erne_sampling sampling;
};

ERNE_API struct erne_session_opts erne_session_opts_default(void);

/* Creates a session with an empty context. All its memory is taken here: nothing is
 * allocated afterwards but for media. The engine must outlive it. */
ERNE_API int erne_session_create(struct erne_session **out, struct erne_engine *engine,
                                 const struct erne_session_opts *opts,
                                 struct erne_error *err);
ERNE_API void erne_session_destroy(struct erne_session **session);

/* Appends tokens to the context and computes their logits.
 * logits: [n, n_vocab] for all tokens, or NULL: only those of the last token are kept,
 * see erne_session_logits. On failure the context is as before the call.
 * Fails: ECONTEXT (the text says both sizes), EINVAL (token outside the vocabulary, or
 * text where placeholders for the rest of a picture are due), ECANCELLED, EDEVICE. */
ERNE_API int erne_session_eval(struct erne_session *session, const int32_t *tokens,
                               size_t n, float *logits, struct erne_error *err);

/* Logits after the last token of the context: [n_vocab]; NULL before the first eval.
 * Valid until the next eval. */
ERNE_API const float *erne_session_logits(const struct erne_session *session);

/* What logits [n_vocab] say of the token that follows them, and how far that is from what
 * base does; with base NULL only nll. */
struct erne_divergence {
    double nll, nll_base; /* negative log-likelihoods of the token */
    double kld;           /* Kullback-Leibler divergence of the logits' distribution from
                             the base's */
    bool same_top;        /* both like the same token best */
};
ERNE_API void erne_logits_compare(struct erne_divergence *out, const float *logits,
                                  const float *base, size_t n_vocab, int32_t next);

/* Chooses the next token from the last logits; does not append it. */
ERNE_API int erne_session_sample(struct erne_session *session, int32_t *token,
                                 struct erne_error *err);
ERNE_API int erne_session_set_sampling(struct erne_session *session,
                                       const struct erne_sampling *sampling,
                                       struct erne_error *err);

/* Tokens in the context, and the most it can hold. */
ERNE_API int erne_session_n_past(const struct erne_session *session);
ERNE_API int erne_session_n_ctx(const struct erne_session *session);
/* Tokens that a step takes at most. */
ERNE_API int erne_session_n_batch(const struct erne_session *session);

/* How speculative decoding went: of n_drafted guesses n_accepted were what came next, and
 * each of these saved a step. */
struct erne_draft_stats {
    uint64_t n_drafted, n_accepted;
};

ERNE_API struct erne_draft_stats
erne_session_draft_stats(const struct erne_session *session);

/* Forgets all but the first n_keep tokens (0: everything) and frees their KV pages, and
 * media that were added and not used. The last logits are gone afterwards.
 * Fails: EINVAL (more than there are, or a cut inside a picture). */
ERNE_API int erne_session_rewind(struct erne_session *session, int n_keep,
                                 struct erne_error *err);

/* Runs the vision tower on a picture or video, whose tokens then wait: the next
 * placeholders that are evaluated take them, in order, however the prompt is cut. Media
 * can be added one after the other before any of them is used; they may be closed
 * afterwards. On failure nothing was added.
 * Fails: EUNSUPPORTED (the model takes no such media), EINVAL (a shape that it cannot
 * take), EFORMAT (damage that was not seen before), ECANCELLED, ENOMEM, EDEVICE. */
ERNE_API int erne_session_add_media(struct erne_session *session,
                                    const struct erne_media *media,
                                    struct erne_error *err);

/* Makes a running eval or add_media stop at the next operator with ECANCELLED, or the
 * next one if none runs. What a GPU was given it computes to its end, which is a step of
 * at most n_batch tokens. Async-signal-safe. */
ERNE_API void erne_session_cancel(struct erne_session *session);

/* ----------------------------------------------------------------- media */

/* Opens a picture: JPEG, PNG or WebP, recognised by its content. It is turned upright as
 * EXIF says; transparency is dropped. Immutable, and may be shared by threads.
 * Fails: EIO, EFORMAT (no picture, damaged, more than 89 million pixels), EUNSUPPORTED
 * (a format that this build cannot read; the text names it), ENOMEM. */
ERNE_API int erne_media_open_image(struct erne_media **out, const char *path,
                                   struct erne_error *err);
/* The same from data ([n_bytes]), which is not kept. */
ERNE_API int erne_media_image_from_memory(struct erne_media **out, const void *data,
                                          size_t n_bytes, struct erne_error *err);

/* Opens a folder of pictures as the frames of a video, in the order of their names'
 * bytes. All are taken, none is stamped with its time: they count as already sampled.
 * They get the size that suits the first. Names that begin with "." and folders are left
 * out; any other file that is no picture is an error. Frames are read now and decoded
 * when they are used, so that damage inside one may be found then. */
ERNE_API int erne_media_open_frames(struct erne_media **out, const char *dir,
                                    struct erne_error *err);

/* Opens a video file, where the build has FFmpeg ("video" in erne_build_info). Two frames
 * a second are taken, at least 16 and at most 180 evenly, and each is stamped with its
 * time in the upper left corner, as the models were trained.
 * Fails: EUNSUPPORTED (no FFmpeg, no decoder), EFORMAT (no video), EIO, ENOMEM. */
ERNE_API int erne_media_open_video(struct erne_media **out, const char *path,
                                   struct erne_error *err);
ERNE_API void erne_media_close(struct erne_media **media);

struct erne_media_info {
    bool is_video;
    int width, height; /* upright, of the first frame */
    int n_frames;      /* 1 for a picture */
};

ERNE_API struct erne_media_info erne_media_info(const struct erne_media *media);

/* How many placeholders stand for it in a prompt of the model.
 * Fails: EUNSUPPORTED, EINVAL as erne_session_add_media. */
ERNE_API int erne_media_n_tokens(const struct erne_engine *engine,
                                 const struct erne_media *media, int *n_tokens,
                                 struct erne_error *err);

/* --------------------------------------------------------------- devices */

struct erne_device_info {
    const char *backend; /* "cpu" */
    int index;           /* among those of the backend: "vulkan:1" */
    const char *name;    /* "Intel(R) Xeon(R) ..." */
    const char *driver;  /* its name and version, "llvmpipe 22.3.6"; or NULL */
    const char *uuid;    /* tells the device from others, as text; or NULL */
    const char *detail;  /* "2 cores, avx512 vnni, oneDNN 2.6.3" */
    uint64_t memory_bytes;
    bool shares_memory; /* computes in the host's memory: nothing is copied */
    bool is_software;   /* a driver that computes on the CPU: lavapipe, PoCL */
};

/* Calls `visit` for every device that this build can use here. Returns its first
 * non-zero answer, else 0. The strings live during the call. */
ERNE_API int erne_devices(int (*visit)(void *user, const struct erne_device_info *info),
                          void *user, struct erne_error *err);

/* Calls visit for every built-in device profile: its name, as erne_convert_opts.device
 * takes it, and what it is. Returns its first non-zero answer, else 0. */
ERNE_API int erne_device_profiles(int (*visit)(void *user, const char *name,
                                               const char *title),
                                  void *user, struct erne_error *err);

/* Writes a profile of this machine as YAML text; measures the memory for a moment. */
ERNE_API int erne_device_probe(erne_write_fn write, void *user, struct erne_error *err);

/* ----------------------------------------------------------- model files */

struct erne_convert_opts {
    size_t struct_size;
    const char *src;          /* checkpoint folder, .safetensors or .gguf file */
    const char *dst;          /* file to write; written as dst.part until complete */
    const char *scheme;       /* "source", "f32", "bf16", "w8", "w4", "w4-g64a" ... */
    const char *const *rules; /* "REGEX=SCHEME" on tensor names, first match wins */
    size_t n_rules;
    const char *chat_template; /* NULL: the checkpoint's own; else a name or "none" */
    const char *mmproj;        /* GGUF: the file of the vision tower; NULL: beside src */
    int n_threads;             /* 0: one a core; at most 1024 */
    uint64_t max_ram;          /* bytes; 0: 1 GiB */
    bool dry_run;              /* print the plan, write nothing */
    const char *const *loras;  /* "FOLDER" or "FOLDER:SCALE": adapters that are merged */
    size_t n_loras;
    bool with_mtp;          /* keep the block for multi-token prediction */
    const char *device;     /* a built-in profile's name or a file NAME.yaml; NULL */
    const char *calibrate;  /* a text: integer schemes are rounded so that what the
                               layers make of it changes least (GPTQ), and the file
                               says how far its predictions are from exact ones.
                               Takes the disk space of the checkpoint and of the file
                               meanwhile, in the folder dst.work, and starts again
                               after a kill. NULL: every weight is rounded by itself */
    const char *golden;     /* logits of a few tokens, computed by the reference from
                               what was written, for erne_device_verify to compare
                               with: "on", "off"; "auto": where the weights fit into
                               max_ram. NULL: "auto" */
    const char *target_bpw; /* "4.25", "4.25,vision=6": bits a weight, on which each
                               matrix gets the scheme that the model needs, as
                               measured with the text of calibrate; instead of a
                               scheme. The vision tower, its resampler or projector
                               and its experts have a budget of their own; without one
                               the first two are stored as w8, outside the budget, and
                               the experts get the text's. NULL: no budget */
    bool overwrite;         /* replace an existing dst */
    erne_write_fn report;   /* receives the plan and the closing summary */
    void *report_user;
    erne_progress_fn progress; /* may be NULL */
    void *progress_user;
    erne_log_fn log; /* may be NULL */
    void *log_user;
};

ERNE_API struct erne_convert_opts erne_convert_opts_default(void);

/* Converts a checkpoint into one .erne file. A device's profile gives the scheme where
 * none is asked for, and how sessions run by default; the plan says whether its memory
 * is enough, and what takes it. A conversion that was killed goes on where
 * it stopped when called again with the same options; the bytes written do not depend on
 * that, nor on n_threads. Fails: EFORMAT and EUNSUPPORTED name the file and tensor, or
 * the device that cannot hold the model. */
ERNE_API int erne_convert(const struct erne_convert_opts *opts, struct erne_error *err);

enum erne_inspect_form {
    ERNE_INSPECT_TEXT,
    ERNE_INSPECT_JSON,   /* one object */
    ERNE_INSPECT_TENSORS /* text, with a line for each tensor */
};

/* Writes what the file holds: its manifest and what its tensors sum up to, as text; or
 * JSON with "manifest" and "tensors" (name, scheme, shape, offset, bytes, xxh3,
 * relative_error of rounding, calibration_tokens that an expert was given; null: the file
 * does not tell). */
ERNE_API int erne_file_inspect(const char *path, enum erne_inspect_form form,
                               erne_write_fn write, void *user, struct erne_error *err);

/* Reads the whole file, from the disk where the system lets it, and checks every hash.
 * EVERIFY names the first tensor that fails; EFORMAT when the container itself is
 * damaged. */
ERNE_API int erne_file_verify(const char *path, erne_progress_fn progress, void *user,
                              struct erne_error *err);

#ifdef __cplusplus
}
#endif

#include "erne_measure.h" /* how fast models are, and whether devices compute right */
#endif
