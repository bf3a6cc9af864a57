/* bench_gate.c -- no figures for a backend that computes wrongly: before anything is
 * timed, each one is verified for the model as `erne verify --device` does, unless that
 * was done before. */
#include <stdio.h>

#include "runtime/cli/bench.h"

static int see_nothing(void *user, const struct erne_check *check)
{
    (void)user;
    (void)check;
    return cli_interrupted();
}

int bench_gate(struct bench *b, struct erne_error *err)
{
    for (size_t i = 0; i < b->n_engines; i++) {
        struct bench_engine *e = &b->engines[i];
        struct erne_verify_opts opts = erne_verify_opts_default();
        struct erne_error why = { 0 };
        int st;

        opts.engine = bench_engine_opts(e, b);
        opts.engine.log = NULL; /* all of it is said when the benchmark opens it */
        opts.use_kept = true;
        opts.n_rounds = 1;
        st = erne_device_verify(e->path, &opts, see_nothing, NULL, &why);
        if (st < 0 && st != ERNE_EVERIFY && st != ERNE_EDEVICE)
            return cli_fail(err, st, "%s", why.text);
        e->status = st;
        snprintf(e->why, sizeof(e->why), "%.*s", (int)sizeof(e->why) - 1, why.text);
    }
    return ERNE_OK;
}
