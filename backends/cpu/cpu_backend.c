/* cpu_backend.c -- the CPU as a backend: opening, the team of threads, the lists of
 * implementations. What the operators do is in cpu_rows.c, cpu_matmul.c, cpu_onednn.c and
 * cpu_attention.c; which instructions they use in cpu_isa.c and cpu_kernels.c. */
#include "backends/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

extern const struct erne_backend_fns erne_backend_cpu;

/* ------------------------------------------------------------------ team */

int cpu_thread(void)
{
    return omp_get_thread_num();
}

int cpu_team(void)
{
    return omp_get_num_threads();
}

/* Not OpenMP's: that one spins for milliseconds while the thread it waits for may need
 * this very core, which costs a busy machine most of its speed. A short spin serves a
 * machine that is ours alone; after it the core is offered to whoever can use it. */
void cpu_barrier(struct cpu_backend *cpu)
{
    enum { SPINS = 2000 }; /* about 0.1 ms */
    const unsigned round = atomic_load(&cpu->round);

    if (atomic_fetch_add(&cpu->n_arrived, 1) + 1 == cpu_team()) {
        atomic_store(&cpu->n_arrived, 0);
        atomic_store(&cpu->n_taken, 0);
        atomic_fetch_add(&cpu->round, 1);
        return;
    }
    for (int i = 0; atomic_load(&cpu->round) == round; i++) {
        if (i < SPINS)
            ERNE_PAUSE();
        else
            pf_thread_yield();
    }
}

struct cpu_range cpu_share(int64_t n)
{
    const int64_t thread = cpu_thread(), team = cpu_team();
    return (struct cpu_range){ n * thread / team, n * (thread + 1) / team };
}

int64_t cpu_take(struct cpu_backend *cpu)
{
    return atomic_fetch_add(&cpu->n_taken, 1);
}

/* A step as the whole team sees it. Two statuses in turn: a thread that is a node ahead
 * must not change what a slower one has yet to read after the barrier. */
struct team_step {
    atomic_int status[2];
};

/* One thread's way through the list. All threads leave at the same node. */
static int run_nodes(struct erne_backend *be, struct erne_node *const *nodes, size_t n,
                     const struct erne_step *step, struct team_step *team)
{
    for (size_t i = 0; i < n; i++) {
        atomic_int *status = &team->status[i % 2];
        int st = nodes[i]->impl->run(be, nodes[i], step);
        if (cpu_thread() == 0 && step->cancel != NULL && atomic_load(step->cancel) != 0)
            st = ERNE_ECANCELLED;
        if (st < 0)
            atomic_store(status, st);
        cpu_barrier(cpu_of(be));
        st = atomic_load(status);
        if (st < 0)
            return st;
    }
    return ERNE_OK;
}

/* A thread alone, in no region of the caller's: gcc's OpenMP allocates a team of one anew
 * for every region. The caller's number of threads is as it was afterwards. */
static int run_alone(struct erne_backend *be, struct erne_node *const *nodes, size_t n,
                     const struct erne_step *step, struct team_step *team)
{
    const int n_callers = omp_get_max_threads();
    omp_set_num_threads(1);
    int st = run_nodes(be, nodes, n, step, team);
    omp_set_num_threads(n_callers);
    return st;
}

static int cpu_run(struct erne_backend *be, struct erne_node *const *nodes,
                   size_t n_nodes, const struct erne_step *step)
{
    struct cpu_backend *cpu = cpu_of(be);
    struct team_step team;
    int result = ERNE_OK;
    if (step->cancel != NULL && atomic_load(step->cancel) != 0)
        return ERNE_ECANCELLED;
    atomic_init(&team.status[0], ERNE_OK);
    atomic_init(&team.status[1], ERNE_OK);
    atomic_store(&cpu->n_taken, 0);
    if (cpu->n_threads == 1 && omp_get_level() == 0)
        return run_alone(be, nodes, n_nodes, step, &team);
#pragma omp parallel num_threads(cpu->n_threads)
    {
        /* For this thread and region only: oneDNN must neither nest a team in ours nor
         * divide its work by one. */
        omp_set_num_threads(1);
        int st = run_nodes(be, nodes, n_nodes, step, &team);
        if (cpu_thread() == 0)
            result = st;
    }
    return result;
}

/* ----------------------------------------------------------- life cycle */

static void cpu_close(struct erne_backend *be)
{
    struct cpu_backend *cpu = cpu_of(be);
    if (cpu == NULL)
        return;
    pf_pages_free(cpu->scratch, cpu->scratch_bytes);
    free(cpu);
}

/* Who computes, for people: one line when an engine opens. */
static void log_opening(const struct cpu_backend *cpu,
                        const struct erne_backend_opts *opts)
{
    char line[96], version[32];
    const char *onednn = cpu_onednn_version(version);

    if (!opts->log)
        return;
    snprintf(line, sizeof line, "cpu: %s, %d thread%s, %s", cpu_isa_name(cpu->isa),
             cpu->n_threads, cpu->n_threads == 1 ? "" : "s",
             onednn != NULL ? onednn : "no oneDNN");
    opts->log(opts->log_user, ERNE_LOG_INFO, line);
    if (cpu->n_threads <= pf_cpu_count())
        return;
    snprintf(line, sizeof line,
             "cpu: %d threads on %d processors wait for each other: this is slow",
             cpu->n_threads, pf_cpu_count());
    opts->log(opts->log_user, ERNE_LOG_WARN, line);
}

static int cpu_open(struct erne_backend **out, const struct erne_backend_opts *opts,
                    struct erne_error *err)
{
    enum cpu_isa isa;
    ERNE_TRY(cpu_isa_parse(&isa, opts->isa, err));
    struct cpu_backend *cpu = calloc(1, sizeof *cpu);
    if (cpu == NULL)
        return erne_fail(err, ERNE_ENOMEM, "no memory for the CPU backend");
    cpu->base.fns = &erne_backend_cpu;
    cpu->isa = isa;
    cpu->n_threads = opts->n_threads > 0 ? opts->n_threads : 1;
    cpu_kernels_init(&cpu->kernels, isa);
    log_opening(cpu, opts);
    *out = &cpu->base;
    return ERNE_OK;
}

static int cpu_devices(int (*visit)(void *user, const struct erne_device_info *info),
                       void *user)
{
    char name[128], detail[128], version[32];
    const char *onednn = cpu_onednn_version(version);
    pf_cpu_name(name, sizeof name);
    snprintf(detail, sizeof detail, "%d cores, %s, %s", pf_cpu_count(),
             cpu_isa_name(cpu_isa_detect()), onednn != NULL ? onednn : "no oneDNN");
    const struct erne_device_info info = { .backend = "cpu",
                                           .name = name,
                                           .detail = detail,
                                           .memory_bytes = pf_memory_total(),
                                           .shares_memory = true };
    return visit(user, &info);
}

/* Several plans share a backend, so the block only grows. */
static int cpu_reserve_scratch(struct erne_backend *be, size_t n_bytes)
{
    struct cpu_backend *cpu = cpu_of(be);
    if (n_bytes <= cpu->scratch_bytes)
        return ERNE_OK;
    uint8_t *scratch = pf_pages_alloc(n_bytes);
    if (scratch == NULL)
        return ERNE_ENOMEM;
    pf_pages_free(cpu->scratch, cpu->scratch_bytes);
    cpu->scratch = scratch;
    cpu->scratch_bytes = n_bytes;
    return ERNE_OK;
}

/* --------------------------------------------------------------- tables */

static const struct erne_op_impl *const embed[] = { &cpu_embed, NULL };
static const struct erne_op_impl *const rms_norm[] = { &cpu_rms_norm, NULL };
static const struct erne_op_impl *const layer_norm[] = { &cpu_layer_norm, NULL };
static const struct erne_op_impl *const matmul[] = {
#ifdef ERNE_HAVE_ONEDNN
    &cpu_matmul_onednn,
#endif
    &cpu_matmul_float, &cpu_matmul_int, NULL
};
static const struct erne_op_impl *const rope[] = { &cpu_rope, NULL };
static const struct erne_op_impl *const kv_append[] = { &cpu_kv_append, NULL };
static const struct erne_op_impl *const attention[] = { &cpu_attention, NULL };
static const struct erne_op_impl *const segment_attention[] = { &cpu_segment_bf16,
                                                                &cpu_segment_f32,
                                                                NULL };
static const struct erne_op_impl *const gather_rows[] = { &cpu_gather_rows, NULL };
static const struct erne_op_impl *const scatter_rows[] = { &cpu_scatter_rows, NULL };
static const struct erne_op_impl *const moe_route[] = { &cpu_moe_route, NULL };
static const struct erne_op_impl *const moe_ffn[] = { &cpu_moe_ffn, NULL };

static const char *const levels[] = {
#define X(NAME, name) #name,
    CPU_ISA_LIST(X)
#undef X
        NULL
};

const struct erne_backend_fns erne_backend_cpu = {
    .name = "cpu",
    .levels = levels,
    .open = cpu_open,
    .close = cpu_close,
    .devices = cpu_devices,
    .run = cpu_run,
    .reserve_scratch = cpu_reserve_scratch,
    .limits = cpu_limits,
    .ops = {
#define X(NAME, name, least, most) [ERNE_OP_##NAME] = name,
        ERNE_OP_LIST(X)
#undef X
    },
};
