/* bench_keep.c -- erne bench --results: appends results to the file of this machine, a
 * table that later ones can be compared with (bench_results.c reads it back). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/cli/bench.h"
#include "runtime/cli/cli_newfile.h"

/* A letter in lower case, a digit, or 0 for anything else. */
static char plain(char c)
{
    return (char)(isalnum((unsigned char)c) ? tolower((unsigned char)c) : 0);
}

/* "AMD EPYC", 2 CPUs: "amd-epyc-2cpu". */
void bench_machine_name(char *name, size_t cap, const char *cpu, int n_cpus)
{
    size_t n = 0;

    for (; *cpu && n + 1 < cap; cpu++) {
        if (plain(*cpu))
            name[n++] = plain(*cpu);
        else if (n > 0 && name[n - 1] != '-')
            name[n++] = '-';
    }
    n -= n > 0 && name[n - 1] == '-';
    snprintf(name + n, cap - n, "%s%dcpu", n > 0 ? "-" : "", n_cpus);
}

/* What is there already, which must have the titles that are appended to. */
static int read_old(struct cli_text *old, const char *path, const struct cli_text *table,
                    struct erne_error *err)
{
    const size_t n_title = strcspn(table->data, "\n") + 1;
    int st;

    if (!pf_path_exists(path))
        return cli_text_append(old, table->data, n_title, err);
    st = cli_text_read(old, path, err);
    if (st < 0)
        return st;
    if (old->n < n_title || strncmp(old->data, table->data, n_title) != 0)
        return cli_fail(err, ERNE_EFORMAT,
                        "%s: its columns are not those of this version: move it away",
                        path);
    return old->data[old->n - 1] == '\n' ? ERNE_OK : cli_text_append(old, "\n", 1, err);
}

/* The rows that are there are read while the file is ours, so that those that another
 * program appends meanwhile stay. */
static int write_both(struct cli_newfile *file, const char *path,
                      const struct cli_text *table, bool is_trial, struct erne_error *err)
{
    const size_t n_title = strcspn(table->data, "\n") + 1;
    struct cli_text old = { 0 };
    int st = read_old(&old, path, table, err);

    if (st == ERNE_OK && !is_trial)
        st = cli_newfile_append(file, old.data, old.n, err);
    if (st == ERNE_OK && !is_trial)
        st = cli_newfile_append(file, table->data + n_title, table->n - n_title, err);
    if (st == ERNE_OK && !is_trial)
        st = cli_newfile_commit(file, err);
    free(old.data);
    return st;
}

/* The table of a machine. path: [CLI_MAX_PATH] */
static int find_table(char *path, const char *folder, const char *cpu,
                      struct erne_error *err)
{
    char machine[96];
    int n;

    if (!pf_path_is_dir(folder))
        return cli_fail(err, ERNE_EINVAL, "option --results: '%s' is no folder", folder);
    bench_machine_name(machine, sizeof(machine), cpu, pf_cpu_count());
    n = snprintf(path, CLI_MAX_PATH, "%s/%s.csv", folder, machine);
    if (n < 0 || n >= CLI_MAX_PATH)
        return cli_fail(err, ERNE_EINVAL, "option --results: the path is too long");
    return ERNE_OK;
}

/* Writes rows behind those of the table, or only tries (records NULL). Rows that are not
 * complete would take the place of older ones that are. */
static int append(const char *folder, const char *cpu, const struct bench_record *records,
                  size_t n, struct erne_error *err)
{
    struct cli_newfile file = { 0 };
    struct cli_text table = { 0 };
    char path[CLI_MAX_PATH];
    int st = find_table(path, folder, cpu, err);

    if (st == ERNE_OK)
        st = bench_write(&table, BENCH_CSV, &bench_record_layout, records, n, err);
    if (st == ERNE_OK)
        st = cli_newfile_wait(&file, path, "--results", err);
    if (st == ERNE_OK)
        st = write_both(&file, path, &table, n == 0, err);
    if (st == ERNE_OK && records)
        fprintf(stderr, "erne bench: %zu results appended to %s\n", n, path);
    cli_newfile_close(&file);
    free(table.data);
    return st;
}

int bench_keep_try(const char *folder, struct erne_error *err)
{
    char cpu[128];

    pf_cpu_name(cpu, sizeof(cpu));
    return append(folder, cpu, NULL, 0, err);
}

int bench_keep(const char *folder, const struct bench_record *records, size_t n,
               struct erne_error *err)
{
    struct bench_record *complete = calloc(n, sizeof(*complete));
    size_t n_complete = 0;
    int st;

    if (!complete)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %zu results", n);
    for (size_t i = 0; i < n; i++)
        if (!records[i].error)
            complete[n_complete++] = records[i];
    st = append(folder, records[0].cpu_info, complete, n_complete, err);
    free(complete);
    return st;
}
