#!/usr/bin/env python3
"""Writes tests/unit/data/bench_stats.txt: samples, and what numpy and scipy say of them.

usage: make_bench_stats.py > tests/unit/data/bench_stats.txt

Lines "one N x.. mean stddev median low high coverage p95" and
"two N x.. M y.. shift low high coverage" (as ratios minus 1).
"""
import numpy as np
from scipy import stats

RNG = np.random.default_rng(7)


def sample(n):
    """Times with the tail that interrupted runs have."""
    x = 1e6 * (1 + 0.02 * RNG.standard_normal(n))
    return x + RNG.random(n).__lt__(0.2) * RNG.exponential(2e5, n)


def interval(n):
    """Order statistics (from 0) nearest the middle that hold the median in 95 %, or the
    outermost; and how sure they are."""
    best = None
    for k in range((n + 1) // 2):
        cover = 1 - 2 * stats.binom.cdf(k, n, 0.5)
        if best is None or cover >= 0.95:
            best = (k, cover)
    return best


def one(n):
    x = sample(n)
    k, cover = interval(n)
    y = np.sort(x)
    print("one", n, *map(repr, map(float, x)), repr(float(x.mean())),
          repr(float(x.std(ddof=1))), repr(float(np.median(x))), repr(float(y[k])),
          repr(float(y[n - 1 - k])), repr(float(cover)),
          repr(float(np.quantile(x, 0.95))))


def mann_whitney_cdf(n, m):
    """P(U <= u), from scipy's exact p-values of untied samples."""
    counts = np.zeros(n * m + 1)
    # The exact one-sided p-value of a sample whose U is u is P(U <= u).
    for u in range(n * m + 1):
        a, b = arrange(n, m, u)
        counts[u] = stats.mannwhitneyu(a, b, alternative="less", method="exact").pvalue
    return counts


def arrange(n, m, u):
    """Two untied samples in which u pairs have the first the larger."""
    above = [0] * n  # how many of b each of a exceeds
    for i in range(n):
        above[i] = min(m, u)
        u -= above[i]
    b = np.arange(m) + 1.0
    a = np.array([v + 0.5 + 1e-3 * i for i, v in enumerate(above)])
    return a, b


def two(n, m, factor):
    x, y = sample(n), sample(m) * factor
    diff = np.sort(np.log(y[None, :] / x[:, None]).ravel())
    cdf = mann_whitney_cdf(n, m)
    cut = 0
    while 2 * (cut + 1) < n * m and cdf[cut + 1] <= 0.025:
        cut += 1
    print("two", n, *map(repr, map(float, x)), m, *map(repr, map(float, y)),
          repr(float(np.expm1(np.median(diff)))), repr(float(np.expm1(diff[cut]))),
          repr(float(np.expm1(diff[n * m - 1 - cut]))), repr(float(1 - 2 * cdf[cut])))


for size in (2, 3, 5, 6, 7, 10, 25, 60):
    one(size)
for sizes in ((2, 2, 1.1), (3, 3, 1.1), (5, 5, 1.0), (5, 5, 1.1), (4, 7, 0.9),
              (10, 10, 1.05), (20, 12, 1.0)):
    two(*sizes)
