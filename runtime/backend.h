/* backend.h -- the contract between the runtime and the devices.
 *
 * A backend is a folder under backends/ with one struct erne_backend_fns, named once in
 * backend_list.h. docs/ADDING_A_BACKEND.md walks through it. Nodes that reach a backend
 * have passed erne_op_check: shapes and types need no second look. What a backend cannot
 * do, or not at this shape, it declines in `prepare`; the planner then takes the next
 * implementation of the list, then the next backend. There is no other "supports".
 */
#ifndef ERNE_BACKEND_H
#define ERNE_BACKEND_H

#include "runtime/op.h"

enum { ERNE_MAX_BACKENDS = 8 };

/* What a device was found to compute wrongly (verdict.h): bits 1 << op, of operators on a
 * KV cache a set for each type that it may have. */
struct erne_refused {
    uint32_t ops, with_kv[ERNE_KV_TYPES];
};

/* Every struct of a backend starts with this. */
struct erne_backend {
    const struct erne_backend_fns *fns;
    struct erne_refused refused; /* the planner offers none of these */
    /* The device was lost in the middle of work that does not end, on the host's memory:
     * what was mapped is the device's for good, neither to be freed nor to be used. Set
     * by `unmap`, at the latest. */
    bool keeps_memory;
    struct erne_expert_cache *experts; /* the engine's; NULL: all are in memory. Only host
                                          memory has one: devices get no experts then */
};

struct erne_backend_opts {
    const char *isa;       /* highest level to use, one of fns->levels; "auto" or
                              NULL: the best there is */
    int n_threads;         /* >= 1 */
    int device;            /* which one of those that `devices` lists */
    const char *cache_dir; /* an existing folder for compiled kernels; NULL: none */
    int time_limit_ms;     /* after which the device counts as lost; 0: own choice */
    void *hook;            /* of tests, for a backend that knows it; else NULL */
    erne_log_fn log;       /* may be NULL */
    void *log_user;
};

/* Host memory that a device is to work on. The same base always comes with the same
 * n_bytes, and two ranges never overlap. */
struct erne_range {
    const void *base;
    size_t n_bytes;
    enum erne_mem mem; /* WEIGHT: read only; STATE: a KV cache; STEP: a plan's arena */
};

/* Bytes that a device works on, for what is mapped and for scratch; the most so far. */
struct erne_memory_use {
    size_t own, most_own;       /* besides the host's */
    size_t shared, most_shared; /* the host's, where it is */
};

static inline void erne_memory_use_take(struct erne_memory_use *use, size_t n_bytes,
                                        bool shared)
{
    size_t *now = shared ? &use->shared : &use->own;
    size_t *most = shared ? &use->most_shared : &use->most_own;

    *now += n_bytes;
    *most = *now > *most ? *now : *most;
}

static inline void erne_memory_use_give(struct erne_memory_use *use, size_t n_bytes,
                                        bool shared)
{
    *(shared ? &use->shared : &use->own) -= n_bytes;
}

/* One implementation of one operator. */
struct erne_op_impl {
    const char *name; /* shown by --verbose: "onednn", "w4_avx512" */
    /* Looks at the node and stores in node->state what run needs, or declines with
     * ERNE_EUNSUPPORTED. Called once a plan. NULL: takes everything. */
    int (*prepare)(struct erne_backend *be, struct erne_node *node);
    /* Whether nodes with a KV cache of q8 or q4 are offered at all. */
    bool quantised_kv;
    /* Bytes of scratch that run needs for this node; NULL: none. Asked after prepare.
     * The planner hands the backend one block as large as the largest. */
    size_t (*scratch)(struct erne_backend *be, const struct erne_node *node);
    /* Computes, or on a GPU records. A CPU backend calls it from every thread of its
     * team at once; the implementation divides the work. */
    int (*run)(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step);
    /* Releases node->state; NULL: nothing to release. Whatever was recorded with the node
     * is void afterwards. Also called after the device was lost. */
    void (*release)(struct erne_backend *be, struct erne_node *node);
};

struct erne_backend_fns {
    const char *name;
    int (*open)(struct erne_backend **out, const struct erne_backend_opts *opts,
                struct erne_error *err);
    void (*close)(struct erne_backend *be);
    /* Calls visit once for each device this backend could use on this machine. */
    int (*devices)(int (*visit)(void *user, const struct erne_device_info *info),
                   void *user);
    /* Runs nodes in order, all of this backend, and returns when their results are there:
     * on the host, or on the device if it has memory of its own. Polls step->cancel
     * between nodes, or before submitting them. nodes points into an array that stays as
     * it is until the nodes are released. */
    int (*run)(struct erne_backend *be, struct erne_node *const *nodes, size_t n_nodes,
               const struct erne_step *step);
    /* Memory for the largest scratch of a plan; called once a plan, before run. */
    int (*reserve_scratch)(struct erne_backend *be, size_t n_bytes);

    /* Measures what the device can do at most; may take a second. NULL: not known. */
    int (*limits)(struct erne_backend *be, struct erne_limits *limits);

    /* What follows is for devices with memory of their own; a backend without `map` works
     * on host memory. Tensors keep their host addresses: run finds what it needs by them.
     * All but unmap return 0, EDEVICE (lost, or over the time limit) or ENOMEM. */

    /* From now on the device knows the range: as it is, where it shares memory with the
     * host, else by a copy. A WEIGHT is also uploaded; what the others hold is undefined.
     * Counted: what was mapped twice is unmapped twice. After ENOMEM or EUNSUPPORTED the
     * node goes to the next backend. */
    int (*map)(struct erne_backend *be, const struct erne_range *range);
    /* base: of a range that is mapped. Also called after the device was lost; sets
     * be->keeps_memory where it may still be at work. */
    void (*unmap)(struct erne_backend *be, const void *base);
    /* Bytes inside a mapped range, from and to the host; nothing to do where both share
     * memory. upload returns when the host may write there again; download when the bytes
     * are on the host. */
    int (*upload)(struct erne_backend *be, const void *host, size_t n_bytes);
    int (*download)(struct erne_backend *be, void *host, size_t n_bytes);
    /* What it holds; NULL: not counted. */
    const struct erne_memory_use *(*memory_use)(const struct erne_backend *be);

    /* Names that open takes as opts->isa, lowest first, ended by NULL, for tests of all
     * of them; NULL: there is only one level. */
    const char *const *levels;
    /* For each operator its implementations, best first, ended by NULL. */
    const struct erne_op_impl *const *ops[ERNE_OP_COUNT];
};

/* Offers a node to an implementation of its operator: 0, EUNSUPPORTED (declined), or what
 * prepare failed with. */
int erne_op_impl_prepare(const struct erne_op_impl *impl, struct erne_backend *be,
                         struct erne_node *node);

/* All backends of this build, in the order the planner prefers them; ends with NULL. */
extern const struct erne_backend_fns *const erne_backends[];

/* NULL when the build has none of that name. */
const struct erne_backend_fns *erne_backend_find(const char *name);

/* Whether the backend computes somewhere else than in host memory. */
static inline bool erne_backend_is_device(const struct erne_backend *be)
{
    return be->fns->map != NULL;
}

#endif
