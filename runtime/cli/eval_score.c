/* eval_score.c -- means of perplexity and divergence, and their printing, as llama.cpp's
 * tools/perplexity has them, so that figures compare. */
#include "runtime/cli/eval_score.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/cli/cli_io.h"

/* ------------------------------------------------------------------ means */

void eval_mean_add(struct eval_mean *m, double x)
{
    m->sum += x;
    m->sum2 += x * x;
    m->n++;
}

double eval_mean_value(const struct eval_mean *m)
{
    return m->n > 0 ? m->sum / (double)m->n : 0;
}

double eval_mean_error(const struct eval_mean *m)
{
    const double mean = eval_mean_value(m);
    const double variance = m->n > 1 ? m->sum2 / (double)m->n - mean * mean : 0;

    return variance > 0 ? sqrt(variance / (double)(m->n - 1)) : 0;
}

/* ---------------------------------------------------------------- scoring */

int eval_score_init(struct eval_score *s, size_t n_max, struct erne_error *err)
{
    *s = (struct eval_score){ .n_max = n_max };
    if (n_max == 0)
        return ERNE_OK;
    s->klds = calloc(n_max, sizeof(*s->klds));
    if (!s->klds)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for %zu scores", n_max);
    return ERNE_OK;
}

void eval_score_deinit(struct eval_score *s)
{
    free(s->klds);
    s->klds = NULL;
}

void eval_score_add(struct eval_score *s, const float *logits, size_t n_vocab,
                    int32_t next)
{
    struct erne_divergence d;

    erne_logits_compare(&d, logits, NULL, n_vocab, next);
    eval_mean_add(&s->nll, d.nll);
}

void eval_score_compare(struct eval_score *s, const float *logits, const float *base,
                        size_t n_vocab, int32_t next)
{
    struct erne_divergence d;

    erne_logits_compare(&d, logits, base, n_vocab, next);
    const double p_diff = exp(-d.nll) - exp(-d.nll_base);

    if (s->kld.n < s->n_max)
        s->klds[s->kld.n] = (float)d.kld;
    eval_mean_add(&s->kld, d.kld);
    eval_mean_add(&s->nll, d.nll);
    eval_mean_add(&s->nll_base, d.nll_base);
    eval_mean_add(&s->nll_diff, d.nll - d.nll_base);
    eval_mean_add(&s->p_diff, p_diff);
    s->sum_p_diff2 += p_diff * p_diff;
    s->n_same_top += d.same_top;
}

/* --------------------------------------------------------------- printing */

static void print_line(const char *label, double value, double error)
{
    printf("%-24s: %10.6f +/- %.6f\n", label, value, error);
}

/* exp of a mean, with the error carried over to first order. */
static void print_exp(const char *label, const struct eval_mean *m)
{
    const double value = exp(eval_mean_value(m));

    print_line(label, value, value * eval_mean_error(m));
}

void eval_score_print_perplexity(const struct eval_score *s)
{
    const double ppl = exp(eval_mean_value(&s->nll));

    printf("Final estimate: PPL = %.4f +/- %.5f\n", ppl, ppl * eval_mean_error(&s->nll));
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Linear between neighbours; klds sorted. */
static double percentile(const struct eval_score *s, double fraction)
{
    const double at = fraction * (double)(s->kld.n - 1);
    const size_t i = (size_t)at;
    const double part = at - (double)i;
    const double low = (double)s->klds[i];

    return i + 1 < s->kld.n ? low + part * ((double)s->klds[i + 1] - low) : low;
}

void eval_score_print_kld(struct eval_score *s)
{
    static const struct {
        const char *label;
        double fraction;
    } rows[] = {
        { "Maximum KLD", 1 },    { "99.9%   KLD", 0.999 }, { "99.0%   KLD", 0.99 },
        { "95.0%   KLD", 0.95 }, { "90.0%   KLD", 0.9 },   { "Median  KLD", 0.5 },
        { "10.0%   KLD", 0.1 },  { "Minimum KLD", 0 },
    };
    const double n = (double)s->kld.n, same = (double)s->n_same_top / n;

    if (s->kld.n == 0)
        return;
    qsort(s->klds, s->kld.n, sizeof(*s->klds), by_value);
    print_exp("Mean PPL(model)", &s->nll);
    print_exp("Mean PPL(base)", &s->nll_base);
    print_exp("PPL(model)/PPL(base)", &s->nll_diff);
    print_line("Mean    KLD", eval_mean_value(&s->kld), eval_mean_error(&s->kld));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(rows); i++)
        printf("%-24s: %10.6f\n", rows[i].label, percentile(s, rows[i].fraction));
    print_line("Mean    change of p, %", 100 * eval_mean_value(&s->p_diff),
               100 * eval_mean_error(&s->p_diff));
    printf("%-24s: %10.6f\n", "RMS     change of p, %", 100 * sqrt(s->sum_p_diff2 / n));
    print_line("Same top token, %", 100 * same,
               n > 1 ? 100 * sqrt(same * (1 - same) / (n - 1)) : 0);
}
