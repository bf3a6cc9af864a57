/* cli_main.c -- the erne program: finds the subcommand, reads its options, runs it and
 * turns its status into an exit code. */
#include <stdio.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/cli_args.h"
#include "runtime/cli/cli_io.h"

static const struct cli_command commands[] = {
#define X(NAME, name, usage, help) { #name, usage, help, CLI_##NAME, cmd_##name },
    CLI_COMMAND_LIST(X)
#undef X
};

static void print_help(void)
{
    printf("usage: erne COMMAND [ARGUMENT]...\n\n"
           "Runs ERNIE 4.5 models from one portable file.\n\ncommands:\n");
    for (size_t i = 0; i < ERNE_ARRAY_LEN(commands); i++)
        printf("  %-9s %-22s %s\n", commands[i].name, commands[i].usage,
               commands[i].help);
    printf(
        "\n'erne COMMAND --help' lists a command's options; 'erne --version' says what "
        "was built.\n");
}

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < ERNE_ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown_command(const char *name, struct erne_error *err)
{
    char names[128] = "";

    for (size_t i = 0; i < ERNE_ARRAY_LEN(commands); i++) {
        size_t n = strlen(names);

        snprintf(names + n, sizeof(names) - n, " %s", commands[i].name);
    }
    return cli_fail(err, ERNE_EINVAL, "there is no command '%s'; there are:%s", name,
                    names);
}

static int run_command(int argc, char **argv, struct erne_error *err)
{
    const struct cli_command *command;
    struct cli_args args;
    int st;

    if (argc < 2)
        return cli_fail(err, ERNE_EINVAL,
                        "a command is needed; 'erne --help' lists them");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return ERNE_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("erne %s (%s)\n", erne_version(), erne_build_info());
        return ERNE_OK;
    }
    command = find_command(argv[1]);
    if (!command)
        return unknown_command(argv[1], err);
    st = cli_args_parse(&args, command, argc - 2, argv + 2, err);
    if (st == ERNE_OK && args.help)
        cli_args_help(command);
    else if (st == ERNE_OK)
        st = command->main(&args, err);
    cli_args_deinit(&args);
    return st;
}

int main(int argc, char **argv)
{
    struct erne_error err = { 0 };
    int st;

    pf_console_init();
    cli_interrupt_init();
    st = run_command(argc, argv, &err);
    /* Help and tables are printed with printf: what they could not write shows here. */
    if (st == ERNE_OK)
        st = cli_put("", 0, &err);
    if (st < 0 && st != ERNE_ECANCELLED)
        fprintf(stderr, "erne: %s\n", err.text[0] ? err.text : erne_status_text(st));
    return cli_exit_code(st);
}
