/* bench_gate.c -- no figures for a backend that computes wrongly: before anything is
 * timed, each operator of the model runs once on each engine at the shapes that it has,
 * and is compared with the reference. */
#include <stdio.h>

#include "runtime/cli/bench.h"

/* Rounding activations to 8 bits costs about 1 % (docs/MODELS.md); 2-bit weights and long
 * sums add to it. Whatever computes something else is off by about 1. */
static const double most_error = 0.1;

enum { FEW_TOKENS = 16 };

int bench_gate_judge(const struct erne_op_timing *t, char *text, size_t cap)
{
    if (!t->impl || t->error <= most_error)
        return ERNE_OK;
    snprintf(text, cap, "%s %s %s by %s differs from the reference by %.2g", t->phase,
             t->op, t->shape, t->impl, t->error);
    return ERNE_EVERIFY;
}

/* Keeps the first failure. */
static int check(void *user, const struct erne_op_timing *timing)
{
    struct bench_engine *e = user;

    return bench_gate_judge(timing, e->refused, sizeof(e->refused));
}

int bench_gate(struct bench *b, struct erne_error *err)
{
    for (size_t i = 0; i < b->n_engines; i++) {
        struct bench_engine *e = &b->engines[i];
        struct erne_op_bench_opts opts = erne_op_bench_opts_default();
        int st;

        opts.check_only = true;
        opts.n_prefill = opts.n_past = FEW_TOKENS;
        opts.kv_type = b->lists.type_k.data[0];
        st = erne_op_bench(&e->model.engine, 1, &opts, check, e, err);
        if (st < 0 && st != ERNE_EVERIFY)
            return st;
    }
    return ERNE_OK;
}
