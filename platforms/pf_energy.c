/* pf_energy.c -- energy from two readings of its counters, on any system. */
#include "platforms/platform.h"

double pf_usage_joules(const struct pf_usage *before, const struct pf_usage *after)
{
    const double seconds = (double)(after->time_ns - before->time_ns) * 1e-9;
    uint64_t uj = 0;

    for (int i = 0; i < after->n_packages && i < before->n_packages; i++) {
        uj += after->energy_uj[i] - before->energy_uj[i];
        if (after->energy_uj[i] < before->energy_uj[i])
            uj += after->range_uj[i]; /* it started again, once */
    }
    return uj > 0 ? (double)uj * 1e-6 : (before->watts + after->watts) / 2 * seconds;
}
