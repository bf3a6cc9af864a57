/* limits.c -- what this machine can do at best, to compare measured speeds with: bytes
 * read a second from memory, and int8 operations a second.
 *
 * usage: limits [THREADS [MIB [SECONDS]]]     (2, 1024, 1)
 *
 * Every thread reads its part of a buffer much larger than the caches, again and again,
 * as plainly as a compiler can, in large pages where the system has them (Linux). The
 * int8 figure is that of vpdpbusd on registers alone; it is left out where the compiler's
 * target lacks it. Prints the median of the passes and their spread:
 * read 36.1 GB/s (34.0 .. 37.2) int8 930.2 GOP/s (928.0 .. 931.1)
 * Build: cc -O3 -march=native -fopenmp limits.c limits_avx512.c -o limits
 */
#define _GNU_SOURCE /* madvise */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_PASSES = 1000, LIMITS_TURN_OPS = 24 * 128, LARGE_PAGE = 2 << 20 };

/* limits_avx512.c: turns of LIMITS_TURN_OPS operations; below 0 where it cannot. */
int64_t limits_dots(int64_t turns);

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *what, const char *unit, double *rate, int n)
{
    qsort(rate, (size_t)n, sizeof *rate, by_value);
    printf("%s %.1f %s (%.1f .. %.1f)\n", what, rate[n / 2], unit, rate[0], rate[n - 1]);
}

/* The sum of n (a multiple of 64) words: eight independent vectors. */
static uint64_t read_words(const uint64_t *p, size_t n)
{
    uint64_t sum[64] = { 0 }, total = 0;
    for (size_t i = 0; i < n; i += 64)
        for (int j = 0; j < 64; j++)
            sum[j] += p[i + (size_t)j];
    for (int j = 0; j < 64; j++)
        total += sum[j];
    return total;
}

static double read_pass(const uint64_t *buf, size_t n_words, int n_threads)
{
    const size_t part = n_words / (size_t)n_threads / 64 * 64;
    volatile uint64_t sink = 0;
    const double start = omp_get_wtime();
#pragma omp parallel num_threads(n_threads)
    {
        uint64_t sum = read_words(buf + (size_t)omp_get_thread_num() * part, part);
#pragma omp atomic
        sink += sum;
    }
    return (double)(part * (size_t)n_threads * 8) / (omp_get_wtime() - start) * 1e-9;
}

static int measure_read(int n_threads, size_t n_bytes, double seconds)
{
    static double rate[MAX_PASSES];
    uint64_t *buf = aligned_alloc(LARGE_PAGE, n_bytes);
    int n = 0;
    if (buf == NULL) {
        fprintf(stderr, "limits: no memory\n");
        return 1;
    }
    madvise(buf, n_bytes, MADV_HUGEPAGE);
    memset(buf, 1, n_bytes);
    const double end = omp_get_wtime() + seconds;
    while (n < MAX_PASSES && (n < 3 || omp_get_wtime() < end))
        rate[n++] = read_pass(buf, n_bytes / 8, n_threads);
    print("read", "GB/s", rate, n);
    free(buf);
    return 0;
}

static void measure_int8(int n_threads, double seconds)
{
    enum { TURNS = 1000000 };
    static double rate[MAX_PASSES];
    int n = 0;
    if (limits_dots(0) < 0)
        return;
    const double end = omp_get_wtime() + seconds;
    while (n < MAX_PASSES && (n < 3 || omp_get_wtime() < end)) {
        volatile int64_t sink = 0;
        const double start = omp_get_wtime();
#pragma omp parallel num_threads(n_threads)
        {
            int64_t sum = limits_dots(TURNS);
#pragma omp atomic
            sink += sum;
        }
        rate[n++] = (double)LIMITS_TURN_OPS * TURNS * n_threads /
                    (omp_get_wtime() - start) * 1e-9;
    }
    print("int8", "GOP/s", rate, n);
}
int main(int argc, char **argv)
{
    const int n_threads = argc > 1 ? atoi(argv[1]) : 2;
    const size_t mib = argc > 2 ? (size_t)atoi(argv[2]) : 1024;
    const double seconds = argc > 3 ? atof(argv[3]) : 1.0;
    if (n_threads < 1 || mib < 1) {
        fprintf(stderr, "usage: limits [THREADS [MIB [SECONDS]]]\n");
        return 2;
    }
    if (measure_read(n_threads, mib << 20, seconds) != 0)
        return 1;
    measure_int8(n_threads, seconds);
    return 0;
}
