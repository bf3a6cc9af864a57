/* bench_guard.c -- whether the machine was left alone while samples were taken. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench.h"

enum { PROBE_BYTES = 32 << 20, PROBE_STEPS = 2000000 };

/* Accounts tick every 10 ms on most systems: of shorter times they say nothing, of all
 * times together a tick must be little, and a few ticks are no reason for suspicion. */
static const double tick_ns = 1e7, least_ns = 1e8, least_ticks = 4;
static const double most_share = 0.05, most_clock_change = 0.1;

/* ------------------------------------------------------------------ probe */

int bench_probe_init(struct bench_probe *p, struct erne_error *err)
{
    p->n = PROBE_BYTES / sizeof(*p->data);
    p->data = malloc(PROBE_BYTES);
    if (!p->data)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for a probe of the machine");
    for (size_t i = 0; i < p->n; i++)
        p->data[i] = i * 0x9e3779b97f4a7c15u;
    return ERNE_OK;
}

void bench_probe_deinit(struct bench_probe *p)
{
    free(p->data);
    *p = (struct bench_probe){ 0 };
}

double bench_probe_ns(struct bench_probe *p)
{
    const uint64_t start = pf_time_ns();
    uint64_t x = p->sum | 1;

    for (size_t i = 0; i < p->n; i++)
        p->sum += p->data[i];
    for (int i = 0; i < PROBE_STEPS; i++) /* each step waits for the one before */
        x = x * 0x5851f42d4c957f2du + 1;
    p->sum += x;
    return (double)(pf_time_ns() - start);
}

/* ------------------------------------------------------------------ guard */

void bench_guard_add(struct bench_guard *g, const struct pf_usage *before,
                     const struct pf_usage *after)
{
    const double mhz = (before->mhz + after->mhz) / 2;

    g->n_times++;
    g->n_cpus = after->n_cpus;
    g->elapsed_ns += after->time_ns - before->time_ns;
    g->busy_ns += after->busy_ns - before->busy_ns;
    g->own_ns += after->own_ns - before->own_ns;
    g->stolen_ns += after->stolen_ns - before->stolen_ns;
    g->n_throttled += after->n_throttled - before->n_throttled;
    g->joules += pf_usage_joules(before, after);
    if (after->load > g->load)
        g->load = after->load;
    if (mhz > 0 && (g->mhz_low <= 0 || mhz < g->mhz_low))
        g->mhz_low = mhz;
    if (mhz > g->mhz_high)
        g->mhz_high = mhz;
}

static bool is_long(const struct bench_guard *g)
{
    const double elapsed = (double)g->elapsed_ns;

    return elapsed >= least_ns && elapsed >= tick_ns * g->n_times;
}

static double cpus(const struct bench_guard *g, uint64_t ns)
{
    return is_long(g) ? fmin((double)ns / (double)g->elapsed_ns, g->n_cpus) : NAN;
}

double bench_guard_others(const struct bench_guard *g)
{
    return cpus(g, g->busy_ns > g->own_ns ? g->busy_ns - g->own_ns : 0);
}

double bench_guard_stolen(const struct bench_guard *g)
{
    return cpus(g, g->stolen_ns);
}

/* Appends a reason, and a number of CPUs if there is one. */
static void add_reason(char *text, size_t cap, const char *reason, double n_cpus)
{
    const size_t n = strlen(text);

    snprintf(text + n, cap - n, "%s%s", n ? "; " : "", reason);
    if (!isnan(n_cpus))
        snprintf(text + strlen(text), cap - strlen(text), " %.2f CPUs", n_cpus);
}

void bench_guard_judge(const struct bench_guard *g, const struct bench_guard *whole,
                       char *text, size_t cap)
{
    const struct bench_guard *seen = is_long(g) ? g : whole;
    const double others = bench_guard_others(seen), stolen = bench_guard_stolen(seen);
    const double least =
        fmax(most_share, least_ticks * tick_ns / (double)seen->elapsed_ns);
    char line[96];

    text[0] = '\0';
    if (others > least)
        add_reason(text, cap, "other processes used", others);
    if (stolen > least)
        add_reason(text, cap, "other virtual machines took", stolen);
    if (g->n_throttled > 0)
        add_reason(text, cap, "cores were slowed down for their heat", NAN);
    if (g->mhz_high - g->mhz_low > most_clock_change * g->mhz_high) {
        snprintf(line, sizeof(line), "the clock was between %.0f and %.0f MHz",
                 g->mhz_low, g->mhz_high);
        add_reason(text, cap, line, NAN);
    }
}

void bench_watch_round(void *user, char *text, size_t cap)
{
    struct bench_watch *w = user;
    struct bench_guard round = { 0 };
    struct pf_usage after;

    pf_usage_read(text ? &after : &w->before, NULL);
    if (!text)
        return;
    bench_guard_add(&round, &w->before, &after);
    bench_guard_judge(&round, &round, text, cap);
    if (text[0])
        return;
    bench_guard_add(&w->quiet, &w->before, &after);
    bench_guard_judge(&w->quiet, &w->quiet, text, cap);
    if (text[0])
        w->quiet = (struct bench_guard){ 0 };
}
