/* test_platform.c -- platforms/platform.h on the system the tests run on. */
#include "platforms/compiler.h"
#include "platforms/platform.h"
#include "runtime/include/erne.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/stat.h>
#include <unistd.h>
#endif

#include <cmocka.h>

/* Names of files in the working directory, the build folder of this test. */
static const char file_a[] = "test_platform.a.tmp";
static const char file_b[] = "test_platform.b.tmp";
static const char missing[] = "test_platform.missing/no.such";

static void test_file_offsets(void **state)
{
    struct pf_file *file = NULL;
    uint64_t n_bytes = 0;
    char text[8] = { 0 };

    (void)state;
    assert_int_equal(pf_file_open(&file, file_a, PF_WRITE_NEW), 0);
    assert_int_equal(pf_file_resize(file, 100), 0);
    assert_int_equal(pf_file_write_at(file, "eagle", 5, 95), 0);
    assert_int_equal(pf_file_write_at(file, "sea", 3, 0), 0);
    pf_file_drop_cache(file, 0, 100);
    assert_int_equal(pf_file_sync(file), 0);
    pf_file_close(&file);
    assert_null(file);

    assert_int_equal(pf_file_open(&file, file_a, PF_READ), 0);
    assert_int_equal(pf_file_size(file, &n_bytes), 0);
    assert_int_equal(n_bytes, 100);
    assert_int_equal(pf_file_read_at(file, text, 5, 95), 0);
    assert_string_equal(text, "eagle");
    /* A range that the file ends inside of, begins after, or that overflows. */
    assert_int_equal(pf_file_read_at(file, text, 6, 95), ERNE_EIO);
    assert_int_equal(pf_file_read_at(file, text, 1, 100), ERNE_EIO);
    assert_int_equal(pf_file_read_at(file, text, 1, UINT64_MAX), ERNE_EIO);
    assert_int_equal(pf_file_write_at(file, text, 1, 0), ERNE_EIO); /* opened to read */
    pf_file_close(&file);

    assert_int_equal(pf_file_open(&file, file_a, PF_WRITE_EXISTING), 0);
    assert_int_equal(pf_file_read_at(file, text, 3, 0), 0);
    assert_memory_equal(text, "sea", 3);
    pf_file_close(&file);
    assert_int_equal(pf_path_remove(file_a), 0);
}

/* One writer at a time; a second one leaves the file as it is. */
static void test_file_has_one_writer(void **state)
{
    struct pf_file *file = NULL, *other = NULL;
    uint64_t n_bytes = 0;

    (void)state;
    assert_int_equal(pf_file_open(&file, file_a, PF_WRITE_NEW), 0);
    assert_int_equal(pf_file_write_at(file, "eagle", 5, 0), 0);
    assert_int_equal(pf_file_open(&other, file_a, PF_WRITE_NEW), ERNE_EIO);
    assert_int_equal(pf_file_open(&other, file_a, PF_WRITE_EXISTING), ERNE_EIO);
    assert_true(strlen(pf_last_error()) > 0);
    assert_int_equal(pf_file_size(file, &n_bytes), 0);
    assert_int_equal(n_bytes, 5);
    pf_file_close(&file);
    assert_int_equal(pf_file_open(&other, file_a, PF_WRITE_NEW), 0);
    assert_int_equal(pf_file_size(other, &n_bytes), 0);
    assert_int_equal(n_bytes, 0);
    pf_file_close(&other);
    assert_int_equal(pf_path_remove(file_a), 0);
}

static void test_file_failures(void **state)
{
    struct pf_file *file = NULL;

    (void)state;
    assert_int_equal(pf_file_open(&file, missing, PF_READ), ERNE_EIO);
    assert_true(strlen(pf_last_error()) > 0);
    assert_int_equal(pf_file_open(&file, missing, PF_WRITE_NEW), ERNE_EIO);
    assert_int_equal(pf_file_open(&file, file_b, PF_WRITE_EXISTING), ERNE_EIO);
    assert_false(pf_path_exists(file_b)); /* the failed open did not create it */
    assert_int_equal(pf_file_open(&file, ".", PF_READ), ERNE_EIO);
    assert_null(file);
    pf_file_close(&file);
}

static void write_file(const char *path, const char *text)
{
    struct pf_file *file = NULL;

    assert_int_equal(pf_file_open(&file, path, PF_WRITE_NEW), 0);
    assert_int_equal(pf_file_write_at(file, text, strlen(text), 0), 0);
    pf_file_close(&file);
}

static void test_folders(void **state)
{
    char cache[1024];

    (void)state;
    assert_int_equal(pf_dir_create("test_platform.dir/a//b"), 0);
    assert_int_equal(pf_dir_create("test_platform.dir/a/b/"), 0);
    assert_true(pf_path_is_dir("test_platform.dir/a/b"));
    assert_int_equal(pf_dir_remove("test_platform.dir/a"), ERNE_EIO); /* b is in it */
    assert_int_equal(pf_dir_remove("test_platform.dir/a/b"), 0);
    assert_int_equal(pf_dir_remove("test_platform.dir/a/b"), ERNE_EIO);
    assert_true(pf_path_is_dir("test_platform.dir/a"));
    write_file(file_a, "no folder");
    assert_int_equal(pf_dir_create(file_a), ERNE_EIO);
    assert_int_equal(pf_path_remove(file_a), 0);
    assert_int_equal(pf_cache_dir(cache, 1), ERNE_EFAIL);
    if (pf_cache_dir(cache, sizeof(cache)) == 0)
        assert_true(strlen(cache) > 1);
    assert_int_equal(pf_program_path(cache, 4), ERNE_EFAIL);
    if (pf_program_path(cache, sizeof(cache)) == 0)
        assert_non_null(strstr(cache, "test_platform"));
}

static void test_paths(void **state)
{
    char **names = NULL;
    size_t n_names = 0;
    bool seen = false;

    (void)state;
    write_file(file_a, "new");
    write_file(file_b, "old");
    assert_true(pf_path_exists(file_a));
    assert_false(pf_path_is_dir(file_a));
    assert_true(pf_path_is_dir("."));
    assert_true(pf_path_is_file(file_a));
    assert_false(pf_path_is_file("."));
    assert_false(pf_path_is_file(missing));
    assert_int_equal(pf_path_rename(file_a, file_b), 0);
    assert_false(pf_path_exists(file_a));
    assert_int_equal(pf_path_rename(file_a, file_b), ERNE_EIO);

    assert_int_equal(pf_dir_list(".", &names, &n_names), 0);
    for (size_t i = 0; i < n_names; i++) {
        assert_string_not_equal(names[i], ".");
        assert_string_not_equal(names[i], "..");
        if (i > 0)
            assert_true(strcmp(names[i - 1], names[i]) < 0);
        seen = seen || strcmp(names[i], file_b) == 0;
    }
    assert_true(seen);
    pf_dir_free(names, n_names);
    assert_int_equal(pf_dir_list(missing, &names, &n_names), ERNE_EIO);
    assert_int_equal(pf_path_remove(file_b), 0);
    assert_int_equal(pf_path_remove(file_b), ERNE_EIO);
}

static void test_map(void **state)
{
    struct pf_file *file = NULL;
    struct pf_map map;

    (void)state;
    write_file(file_a, "mapped");
    assert_int_equal(pf_file_open(&file, file_a, PF_READ), 0);
    assert_int_equal(pf_map_file(&map, file), 0);
    pf_file_close(&file); /* a map outlives its file */
    assert_int_equal(map.n_bytes, 6);
    assert_memory_equal(map.data, "mapped", 6);
    pf_map_close(&map);
    assert_null(map.data);

    write_file(file_a, "");
    assert_int_equal(pf_file_open(&file, file_a, PF_READ), 0);
    assert_int_equal(pf_map_file(&map, file), 0);
    assert_null(map.data);
    assert_int_equal(map.n_bytes, 0);
    pf_map_close(&map);
    pf_file_close(&file);
    assert_int_equal(pf_path_remove(file_a), 0);
}

/* Hints change nothing that is read. */
static void test_map_hints(void **state)
{
    enum { N = 300000 };
    char *text = malloc(N + 1);
    struct pf_file *file = NULL;
    struct pf_map map;

    (void)state;
    assert_non_null(text);
    for (int i = 0; i < N; i++)
        text[i] = (char)('a' + i / 7 % 26);
    text[N] = '\0';
    write_file(file_a, text);
    assert_int_equal(pf_file_open(&file, file_a, PF_READ), 0);
    assert_int_equal(pf_map_file(&map, file), 0);
    for (size_t at = 1; at + 100000 < N; at += 70000) {
        pf_map_sparse(&map, at, 100000, at / 70000 % 2 != 0);
        pf_map_ahead(&map, at, 100000);
        assert_memory_equal(map.data, text, N);
        pf_map_forget(&map, file, at, 100000);
        assert_memory_equal(map.data, text, N);
    }
    pf_map_close(&map);
    pf_file_close(&file);
    assert_int_equal(pf_path_remove(file_a), 0);
    free(text);
}

/* The emulator that other processors are tested in does not pass this advice on. */
#if defined(__linux__) && defined(__x86_64__) && defined(ERNE_TEST_COUNTS_PAGES)
#define SHOWS_SPARSELY
#endif

#ifdef SHOWS_SPARSELY
/* Of small ranges side by side, reading every second shows little of the others. */
static void test_map_sparse(void **state)
{
    enum { N = 32 << 20 };
    const size_t step = 5 * pf_page_size();
    char *bytes = calloc(1, N);
    struct pf_file *file = NULL;
    struct pf_map map;
    uint64_t before, more;
    unsigned sum = 0;

    (void)state;
    assert_non_null(bytes);
    assert_int_equal(pf_file_open(&file, file_a, PF_WRITE_NEW), 0);
    assert_int_equal(pf_file_write_at(file, bytes, N, 0), 0);
    pf_file_close(&file);
    assert_int_equal(pf_file_open(&file, file_a, PF_READ), 0);
    assert_int_equal(pf_map_file(&map, file), 0);
    for (size_t at = 0; at + step <= N; at += step)
        pf_map_sparse(&map, at, step, at / step % 2 != 0);
    before = pf_memory_now();
    for (size_t at = 0; at + step <= N; at += 2 * step)
        for (size_t i = 0; i < step; i++)
            sum += map.data[at + i];
    more = pf_memory_now() - before;
    assert_int_equal(sum, 0);
    print_message("%d bytes read, %llu more held\n", N / 2, (unsigned long long)more);
    assert_true(more < N / 4 * 3);
    pf_map_close(&map);
    pf_file_close(&file);
    assert_int_equal(pf_path_remove(file_a), 0);
    free(bytes);
}
#endif

static void test_pages(void **state)
{
    size_t page = pf_page_size(), n_bytes = 4 * page;
    uint8_t *pages = pf_pages_alloc(n_bytes);

    (void)state;
    assert_non_null(pages);
    pf_pages_large(pages, n_bytes);
    for (size_t i = 0; i < n_bytes; i++)
        assert_int_equal(pages[i], 0);
    memset(pages, 0xee, n_bytes);
    /* The first and the last page are covered in part, and stay. */
    pf_pages_discard(pages + 1, n_bytes - 2);
    assert_int_equal(pages[page - 1], 0xee);
    assert_int_equal(pages[page], 0);
    assert_int_equal(pages[3 * page - 1], 0);
    assert_int_equal(pages[3 * page], 0xee);
    pf_pages_discard(pages, page - 1);
    assert_int_equal(pages[0], 0xee);
    pf_pages_free(pages, n_bytes);
    assert_null(pf_pages_alloc(SIZE_MAX - page));

    assert_true(pf_memory_total() > pf_memory_peak());
    assert_true(pf_memory_peak() >= pf_memory_now());
    assert_true(pf_memory_now() > 0);
}

static void write_twice(void *arg, void *out)
{
    int *n = arg;

    *n *= 2;
    *(int *)out = *n;
}

static void die(void *arg, void *out)
{
    (void)arg;
    (void)out;
    _exit(0);
}

/* What a copy does stays there but for its answer. */
static void test_process_copy(void **state)
{
    int n = 21, out = 0;
    const int st = pf_process_copy(write_twice, &n, &out, sizeof(out));

    (void)state;
    if (st == ERNE_EUNSUPPORTED)
        skip();
    assert_int_equal(st, ERNE_OK);
    assert_int_equal(out, 42);
    assert_int_equal(n, 21);
    assert_int_equal(pf_process_copy(die, &n, &out, sizeof(out)), ERNE_EFAIL);
}

struct relay {
    struct pf_mutex *mutex;
    struct pf_cond *cond;
    int turn, n_laps;
};

enum { RELAY_RUNNERS = 4, RELAY_LAPS = 50 };

struct runner {
    struct relay *relay;
    int number;
};

/* Each runner waits for its turn and hands over to the next. */
static void run_relay(void *arg)
{
    const struct runner *self = arg;
    struct relay *relay = self->relay;

    for (int lap = 0; lap < RELAY_LAPS; lap++) {
        pf_mutex_lock(relay->mutex);
        while (relay->turn != self->number)
            pf_cond_wait(relay->cond, relay->mutex);
        relay->turn = (relay->turn + 1) % RELAY_RUNNERS;
        relay->n_laps++;
        pf_cond_broadcast(relay->cond);
        pf_mutex_unlock(relay->mutex);
    }
}

static void test_threads(void **state)
{
    struct relay relay = { 0 };
    struct runner runners[RELAY_RUNNERS];
    struct pf_thread *threads[RELAY_RUNNERS] = { 0 };

    (void)state;
    assert_int_equal(pf_mutex_create(&relay.mutex), 0);
    assert_int_equal(pf_cond_create(&relay.cond), 0);
    for (int i = 0; i < RELAY_RUNNERS; i++) {
        runners[i] = (struct runner){ &relay, i };
        assert_int_equal(pf_thread_create(&threads[i], run_relay, &runners[i]), 0);
    }
    for (int i = 0; i < RELAY_RUNNERS; i++) {
        pf_thread_join(&threads[i]);
        assert_null(threads[i]);
    }
    assert_int_equal(relay.n_laps, RELAY_RUNNERS * RELAY_LAPS);
    assert_int_equal(relay.turn, 0);
    pf_cond_destroy(&relay.cond);
    pf_mutex_destroy(&relay.mutex);
    pf_mutex_destroy(&relay.mutex); /* NULL by now: allowed */
}

static void test_cpu_and_clock(void **state)
{
    char name[64] = "", tiny[4];
    uint64_t start = pf_time_ns();

    (void)state;
    assert_true(pf_cpu_count() >= 1);
    pf_cpu_name(name, sizeof(name));
    assert_true(strlen(name) > 0);
    pf_cpu_name(tiny, sizeof(tiny));
    assert_true(strlen(tiny) < sizeof(tiny));
    while (pf_time_ns() == start)
        ;
    assert_true(pf_time_ns() > start);
    assert_true(pf_random_seed() != pf_random_seed());
}

static void test_console(void **state)
{
    FILE *file = fopen(file_a, "w");

    (void)state;
    assert_non_null(file);
    assert_false(pf_is_terminal(file));
    fclose(file);
    assert_int_equal(pf_path_remove(file_a), 0);
    pf_console_init();
}

static void test_lib(void **state)
{
    struct pf_lib *lib = NULL;

    (void)state;
    assert_int_equal(pf_lib_open(&lib, "no_such_library.so.1"), ERNE_EIO);
    assert_null(lib);
    pf_lib_close(&lib);
#ifdef __linux__
    assert_int_equal(pf_lib_open(&lib, "libm.so.6"), 0);
    assert_non_null(pf_lib_symbol(lib, "cosf"));
    assert_null(pf_lib_symbol(lib, "no_such_function"));
    pf_lib_close(&lib);
    assert_null(lib);
#endif
}

static void test_usage(void **state)
{
    struct pf_usage a, b;

    (void)state;
    pf_usage_read(&a, NULL);
    for (const uint64_t start = pf_time_ns(); pf_time_ns() < start + 30000000;)
        ;
    pf_usage_read(&b, NULL);
    assert_true(b.time_ns - a.time_ns >= 30000000);
    assert_true(b.own_ns > a.own_ns && b.own_ns - a.own_ns < 10000000000u);
    assert_true(b.busy_ns >= a.busy_ns && b.n_cpus >= 1);
    assert_true(pf_usage_joules(&a, &b) >= 0);
}

#ifdef __linux__
/* A file of a machine that is not there. */
static void put(const char *folder, const char *name, const char *text)
{
    char path[256] = "test_platform.root";
    FILE *file;

    mkdir(path, 0700);
    for (const char *part = folder; *part;) { /* each folder on the way */
        const size_t n = strcspn(part, "/");

        snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%.*s", (int)n, part);
        mkdir(path, 0700);
        part += n + (part[n] == '/');
    }
    snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_usage_of_files(void **state)
{
    static const char root[] = "test_platform.root";
    static const char zone[] = "sys/class/powercap/intel-rapl:0";
    static const char clock[] = "sys/devices/system/cpu/cpu0/cpufreq";
    struct pf_usage a, b;

    (void)state;
    pf_path_remove("test_platform.root/sys/class/powercap/intel-rapl:0/energy_uj");
    put("proc", "stat", "cpu  100 20 30 1000 5 1 2 7 50 0\ncpu0 1 2 3\n");
    put("proc", "loadavg", "1.50 0.70 0.30 2/345 678\n");
    put(clock, "scaling_cur_freq", "2500000\n");
    put("sys/devices/system/cpu/cpu0/thermal_throttle", "core_throttle_count", "3\n");
    put("sys/class/hwmon/hwmon0", "power1_input", "12500000\n");
    pf_usage_read(&a, root);
    assert_int_equal(a.busy_ns, 153 * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK)));
    assert_int_equal(a.stolen_ns, 7 * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK)));
    assert_true(a.load == 1.5 && a.mhz == 2500 && a.watts == 12.5);
    assert_int_equal(a.n_throttled, 3);
    assert_int_equal(a.n_packages, 0);
    b = a;
    b.time_ns += 2000000000u;
    assert_true(pf_usage_joules(&a, &b) == 25);

    put(zone, "energy_uj", "9000000\n");
    put(zone, "max_energy_range_uj", "10000000\n");
    pf_usage_read(&a, root);
    assert_int_equal(a.n_packages, 1);
    assert_true(a.watts == 0);
    put(zone, "energy_uj", "500000\n"); /* the counter started again */
    pf_usage_read(&b, root);
    assert_true(pf_usage_joules(&a, &b) == 1.5);
    pf_usage_read(&a, "test_platform.no.such.root");
    assert_true(a.busy_ns == 0 && a.mhz == 0 && a.watts == 0 && a.own_ns > 0);
}
#endif

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_offsets),
        cmocka_unit_test(test_file_failures),
        cmocka_unit_test(test_file_has_one_writer),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_hints),
#ifdef SHOWS_SPARSELY
        cmocka_unit_test(test_map_sparse),
#endif
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_process_copy),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_cpu_and_clock),
        cmocka_unit_test(test_usage),
#ifdef __linux__
        cmocka_unit_test(test_usage_of_files),
#endif
        cmocka_unit_test(test_console),
        cmocka_unit_test(test_lib),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
