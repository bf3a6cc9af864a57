/* cpu_limits.c -- how fast this machine can read and multiply at best, measured with the
 * threads and vectors that the kernels use. */
#include <omp.h>
#include <stdlib.h>

#include "backends/cpu/cpu.h"
#include "platforms/platform.h"

enum { READ_BYTES = 128 << 20, STEPS = 200000, ROUNDS = 5 };

enum work { READ, F32, I8, BF16 };

/* Every thread's part of one round. The answer only keeps the work from being left out.
 */
static float do_work(const struct cpu_backend *cpu, enum work work, const float *data)
{
    const int64_t n = READ_BYTES / (int64_t)sizeof(float);
    const struct cpu_range share = cpu_share(n);

    switch (work) {
    case READ: return cpu->kernels.peak_read(data + share.first, share.end - share.first);
    case F32: return cpu->kernels.peak_f32(STEPS);
    case BF16: return cpu->kernels.peak_bf16(STEPS);
    default: return cpu->kernels.peak_i8(STEPS);
    }
}

/* Seconds of the best of several rounds: what disturbs can only slow down. */
static double best_time(const struct cpu_backend *cpu, enum work work, const float *data)
{
    double best = 0;

    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t start = pf_time_ns();
        float sum = 0;
        double seconds;

#pragma omp parallel num_threads(cpu->n_threads) reduction(+ : sum)
        sum += do_work(cpu, work, data);
        seconds = (double)(pf_time_ns() - start) * 1e-9;
        if (sum >= 0 && (round == 0 || seconds < best))
            best = seconds;
    }
    return best;
}

int cpu_limits(struct erne_backend *be, struct erne_limits *limits)
{
    const struct cpu_backend *cpu = cpu_of(be);
    const double steps = (double)STEPS * cpu->n_threads;
    float *data = pf_pages_alloc(READ_BYTES);

    if (!data)
        return ERNE_ENOMEM;
    pf_pages_large(data, READ_BYTES); /* as weights are where the system can */
    for (int64_t i = 0; i < READ_BYTES / (int64_t)sizeof(float); i++)
        data[i] = 1;
    limits->read_bytes = (double)READ_BYTES / best_time(cpu, READ, data);
    limits->f32_ops = steps * cpu->kernels.peak_f32_ops / best_time(cpu, F32, data);
    limits->i8_ops = steps * cpu->kernels.peak_i8_ops / best_time(cpu, I8, data);
    if (cpu->kernels.peak_bf16)
        limits->bf16_ops =
            steps * cpu->kernels.peak_bf16_ops / best_time(cpu, BF16, data);
    pf_pages_free(data, READ_BYTES);
    return ERNE_OK;
}
