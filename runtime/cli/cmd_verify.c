/* cmd_verify.c -- erne verify: every hash of a model file, or a device for a model. */
#include <stdio.h>

#include "runtime/cli/cli_io.h"
#include "runtime/cli/cli_model.h"

static int print_check(void *user, const struct erne_check *c)
{
    (void)user;
    printf("%-8s %-18s %-56s %5d", c->phase, c->op, c->shape, c->n_nodes);
    if (c->status == ERNE_EUNSUPPORTED)
        printf("  %9s %9s  left to the CPU\n", "", "");
    else if (c->status == ERNE_EDEVICE)
        printf("  %9s %9s  LOST, or over the time limit\n", "", "");
    else
        printf("  %9.2e %9.2e  %s\n", c->error, c->limit,
               c->status == ERNE_OK ? "ok" : "WRONG");
    fflush(stdout);
    return 0;
}

static int verify_device(struct cli_args *args, const char *path, struct erne_error *err)
{
    struct erne_verify_opts opts = erne_verify_opts_default();
    int st;

    cli_set_cache_dir(args);
    opts.engine = args->engine;
    opts.engine.log = cli_log;
    opts.engine.log_user = &args->verbose;
    if (args->n_rounds > 0)
        opts.n_rounds = args->n_rounds;
    printf("%-8s %-18s %-56s %5s  %9s %9s\n", "phase", "operator", "shapes", "nodes",
           "error", "allowed");
    st = erne_device_verify(path, &opts, print_check, NULL, err);
    if (st == ERNE_OK)
        printf("%s computes %s right\n", args->engine.device, path);
    return st;
}

int cmd_verify(struct cli_args *args, struct erne_error *err)
{
    const char *path = NULL;
    int st = cli_model_path(&path, args, 0, err);

    if (st < 0)
        return st;
    if (args->engine.device)
        return verify_device(args, path, err);
    cli_interrupt_begin(NULL);
    st = erne_file_verify(path, cli_progress, NULL, err);
    cli_interrupt_end();
    if (st == ERNE_OK)
        printf("%s: every hash matches\n", path);
    return st;
}
