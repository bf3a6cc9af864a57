/* test_cpu_quota.c -- how many cores a time quota of a container leaves, by the files of
 * both versions of control groups, which the test puts in place of the kernel's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "platforms/compiler.h"
#include "platforms/platform.h"

struct file {
    const char *path, *line;
};

static const struct file *files; /* up to one without a path; NULL: the kernel's */

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);

/* The functions that the linker puts before the C library's. */
FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (!files || strncmp(path, "/sys/fs/cgroup/", strlen("/sys/fs/cgroup/")) != 0)
        return __real_fopen(path, mode);
    for (const struct file *f = files; f->path; f++)
        if (strcmp(f->path, path) == 0) {
            FILE *out = tmpfile();

            assert_non_null(out);
            fputs(f->line, out);
            rewind(out);
            return out;
        }
    return NULL;
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
    return __wrap_fopen(path, mode);
}

#define V2     "/sys/fs/cgroup/cpu.max"
#define QUOTA  "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"
#define PERIOD "/sys/fs/cgroup/cpu/cpu.cfs_period_us"

static void a_quota_limits_the_cores(void **state)
{
    static const struct {
        struct file files[4];
        int cores; /* 0: all */
    } cases[] = {
        { { { NULL, NULL } }, 0 },
        { { { V2, "max 100000\n" } }, 0 },
        { { { V2, "50000 100000\n" } }, 1 },
        { { { V2, "100000 100000\n" } }, 1 },
        { { { V2, "100001 100000\n" } }, 2 },
        { { { V2, "9000000000 1\n" } }, 0 },
        { { { V2, "100000\n" } }, 0 },
        { { { QUOTA, "-1\n" }, { PERIOD, "100000\n" } }, 0 },
        { { { QUOTA, "50000\n" }, { PERIOD, "100000\n" } }, 1 },
        { { { QUOTA, "150000\n" }, { PERIOD, "100000\n" } }, 2 },
        { { { QUOTA, "50000\n" } }, 0 },
        { { { V2, "max 100000\n" }, { QUOTA, "50000\n" }, { PERIOD, "100000\n" } },
          0 },
    };
    int all;

    (void)state;
    files = cases[0].files;
    all = pf_cpu_count();
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        const int most = cases[i].cores, want = most > 0 && most < all ? most : all;

        files = cases[i].files;
        if (pf_cpu_count() != want)
            fail_msg("case %zu: %d cores of %d, not %d", i, pf_cpu_count(), all, want);
    }
    files = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_quota_limits_the_cores) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
