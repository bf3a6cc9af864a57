/* cmd_devices.c -- erne devices: what can compute here, and profiles of devices. */
#include <stdio.h>

#include "runtime/cli/cli_args.h"
#include "runtime/cli/cli_io.h"

static int print_device(void *user, const struct erne_device_info *d)
{
    char label[32];

    (void)user;
    /* What has a driver may be there more than once, and be asked for by number. */
    if (d->driver)
        snprintf(label, sizeof(label), "%s:%d", d->backend, d->index);
    else
        snprintf(label, sizeof(label), "%s", d->backend);
    printf("%-10s %s (%s%s%s)", label, d->name, d->driver ? d->driver : "",
           d->driver && d->detail ? "; " : "", d->detail ? d->detail : "");
    if (d->memory_bytes > 0)
        printf(", %.1f GiB%s", (double)d->memory_bytes / 0x1p30,
               d->driver && d->shares_memory ? " shared with the CPU" : "");
    putchar('\n');
    return 0;
}

static int print_profile(void *user, const char *name, const char *title)
{
    (void)user;
    printf("%-26s %s\n", name, title);
    return 0;
}

static int probe(struct erne_error *err)
{
    struct erne_error put_err = { 0 };
    int st = erne_device_probe(cli_write, &put_err, err);

    if (put_err.status < 0) /* says more than that it could not be written */
        *err = put_err;
    return st;
}

int cmd_devices(struct cli_args *args, struct erne_error *err)
{
    if (args->n_operands > 0)
        return cli_fail(err, ERNE_EINVAL, "erne devices takes no arguments, got '%s'",
                        args->operands[0]);
    if (args->profiles && args->probe)
        return cli_fail(err, ERNE_EINVAL, "--profiles and --probe do not go together");
    if (args->profiles)
        return erne_device_profiles(print_profile, NULL, err);
    return args->probe ? probe(err) : erne_devices(print_device, NULL, err);
}
