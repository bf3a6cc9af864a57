/* runner.c -- the program erne-check: conformance tests and benchmark of the operators.
 * The work is done in conf_run.c and conf_bench.c; this file reads options and reports.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "tests/conformance/conf_run.h"

enum { EXIT_USAGE = 2, EXIT_SKIPPED = 77 };

static const char usage[] =
    "usage: erne-check [options]\n"
    "Compares every operator of every backend with the reference.\n"
    "  --op NAME      only this operator\n"
    "  --backend NAME only this backend, or one of its devices: \"vulkan:1\"\n"
    "  --filter TEXT  only where TEXT is part of \"op/backend.isa/impl/case\"\n"
    "  --rounds N     rounds of new random data a case (3)\n"
    "  --seed N       where the random data starts (45)\n"
    "  --list         who takes how many cases, nothing else\n"
    "  --bench        times the cases that are shapes of real models\n"
    "  -t, --threads N  threads of --bench (one a core)\n"
    "  --json         the report as one JSON object\n"
    "Exit status: 0 all right, 1 something differs, 2 usage, 77 nothing to check.\n";

struct options {
    struct conf_options conf;
    bool list, bench, json, help;
};

/* --------------------------------------------------------------- options */

static bool parse_number(const char *text, uint64_t most, uint64_t *value)
{
    char *end;

    if (!text || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *value <= most;
}

/* Takes argv[*i], and its value if it has one. */
static bool parse_option(struct options *o, char **argv, int *i)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        { "--list", &o->list }, { "--bench", &o->bench }, { "--json", &o->json },
        { "--help", &o->help }, { "-h", &o->help },
    };
    const struct {
        const char *name;
        const char **text;
    } texts[] = {
        { "--op", &o->conf.op },
        { "--backend", &o->conf.backend },
        { "--filter", &o->conf.filter },
    };
    const char *arg = argv[*i], *value = argv[*i + 1];
    uint64_t number;

    for (size_t f = 0; f < ERNE_ARRAY_LEN(flags); f++)
        if (strcmp(arg, flags[f].name) == 0)
            return *flags[f].flag = true;
    ++*i;
    for (size_t f = 0; f < ERNE_ARRAY_LEN(texts); f++)
        if (strcmp(arg, texts[f].name) == 0)
            return (*texts[f].text = value) != NULL;
    if (strcmp(arg, "--seed") == 0)
        return parse_number(value, UINT64_MAX, &o->conf.seed);
    if (!parse_number(value, 1000 * 1000, &number) || number == 0)
        return false;
    if (strcmp(arg, "--rounds") == 0)
        o->conf.rounds = (int)number;
    else if (strcmp(arg, "--threads") == 0 || strcmp(arg, "-t") == 0)
        o->conf.n_threads = (int)number;
    else
        return false;
    return true;
}

static bool is_op(const char *name)
{
    for (enum erne_op op = 0; op < ERNE_OP_COUNT; op++)
        if (strcmp(name, erne_op_name(op)) == 0)
            return true;
    return false;
}

static bool parse_options(struct options *o, int argc, char **argv)
{
    *o = (struct options){
        .conf = { .rounds = 3, .seed = 45, .n_threads = pf_cpu_count(), .out = stdout },
    };
    for (int i = 1; i < argc; i++)
        if (!parse_option(o, argv, &i)) {
            fprintf(stderr, "erne-check: cannot use %s\n", argv[i < argc ? i : argc - 1]);
            return false;
        }
    if (o->conf.op && !is_op(o->conf.op)) {
        fprintf(stderr, "erne-check: no operator %s\n", o->conf.op);
        return false;
    }
    if (o->json)
        o->conf.out = stderr;
    return true;
}

/* --------------------------------------------------------------- reports */

static void print_rows(const struct conf_run *run)
{
    printf("%-12s %-16s %-16s %7s %9s %8s %7s  %s\n", "operator", "backend", "impl",
           "cases", "declined", "trials", "failed", "worst/allowed");
    for (int i = 0; i < run->n_rows; i++) {
        const struct conf_row *r = &run->rows[i];

        printf("%-12s %-16s %-16s %7d %9d %8d %7d  %.3f\n", erne_op_name(r->op),
               r->lane->name, r->impl->name, r->n_cases, r->n_declined, r->n_trials,
               r->n_failed, r->worst);
        if (r->worst > 0)
            printf("    worst: %s\n", r->worst_text);
    }
}

static json_t *row_names(const struct conf_row *r)
{
    return json_pack("{s:s, s:s, s:s}", "op", erne_op_name(r->op), "backend",
                     r->lane->name, "impl", r->impl->name);
}

static json_t *json_rows(const struct conf_run *run)
{
    json_t *rows = json_array();

    for (int i = 0; i < run->n_rows; i++) {
        const struct conf_row *r = &run->rows[i];
        json_t *row = row_names(r);

        json_object_set_new(row, "cases", json_integer(r->n_cases));
        json_object_set_new(row, "declined", json_integer(r->n_declined));
        json_object_set_new(row, "trials", json_integer(r->n_trials));
        json_object_set_new(row, "failed", json_integer(r->n_failed));
        json_object_set_new(row, "worst", json_real(r->worst < 1e9 ? r->worst : 1e9));
        json_object_set_new(row, "worst_at", json_string(r->worst_text));
        json_array_append_new(rows, row);
    }
    return rows;
}

static void print_timing(void *user, const struct conf_timing *t)
{
    char place[128];

    (void)user;
    snprintf(place, sizeof(place), "%s/%s/%s", erne_op_name(t->row->op),
             t->row->lane->name, t->row->impl->name);
    printf("%-40s %-36s %12.2f us +-%4.1f%% %8.2f GB/s %9.2f GOP/s\n", place,
           t->case_name, t->median_ns / 1000, 50 * t->spread,
           t->work.n_bytes / t->median_ns, t->work.n_ops / t->median_ns);
    fflush(stdout);
}

/* user: json_t array */
static void collect_timing(void *user, const struct conf_timing *t)
{
    json_t *row = row_names(t->row);

    json_object_set_new(row, "case", json_string(t->case_name));
    json_object_set_new(row, "median_ns", json_real(t->median_ns));
    json_object_set_new(row, "spread", json_real(t->spread));
    json_object_set_new(row, "gb_per_s", json_real(t->work.n_bytes / t->median_ns));
    json_object_set_new(row, "gop_per_s", json_real(t->work.n_ops / t->median_ns));
    json_array_append_new(user, row);
}

static void print_json(const struct options *o, const char *key, json_t *rows)
{
    json_t *root = json_object();

    json_object_set_new(root, "version", json_string(erne_version()));
    json_object_set_new(root, "build", json_string(erne_build_info()));
    json_object_set_new(root, "seed", json_integer((json_int_t)o->conf.seed));
    json_object_set_new(root, key, rows);
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(root);
}

/* ------------------------------------------------------------------ main */

static int bench(const struct options *o, struct conf_run *run)
{
    json_t *timings = o->json ? json_array() : NULL;
    const int n_failed =
        conf_bench(run, o->json ? collect_timing : print_timing, timings);

    if (o->json)
        print_json(o, "timings", timings);
    return n_failed > 0 ? EXIT_FAILURE : run->n_rows > 0 ? EXIT_SUCCESS : EXIT_SKIPPED;
}

static int test(const struct options *o, struct conf_run *run)
{
    int n_cases = 0, n_failed = 0;

    if (o->list)
        conf_list(run);
    else
        n_failed = conf_test(run);
    if (o->json)
        print_json(o, "results", json_rows(run));
    else
        print_rows(run);
    for (int i = 0; i < run->n_rows; i++)
        n_cases += run->rows[i].n_cases;
    return n_failed > 0 ? EXIT_FAILURE : n_cases > 0 ? EXIT_SUCCESS : EXIT_SKIPPED;
}

int main(int argc, char **argv)
{
    struct options o;
    struct conf_run *run;
    int status = EXIT_FAILURE;

    if (!parse_options(&o, argc, argv)) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (o.help) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    run = calloc(1, sizeof(*run));
    if (!run)
        return EXIT_FAILURE;
    if (conf_open(run, erne_backends, &o.conf, o.bench) == 0)
        status = o.bench ? bench(&o, run) : test(&o, run);
    conf_close(run);
    free(run);
    return status;
}
