/* divergence.c -- what logits say of a token, and how far two models' logits differ. */
#include <math.h>

#include "runtime/include/erne.h"

/* What a row of logits says: log p(i) = logits[i] - log_sum. */
struct row {
    const float *logits; /* [n_vocab] */
    size_t best;
    double log_sum;
};

static struct row read_row(const float *logits, size_t n_vocab)
{
    struct row row = { .logits = logits };
    double sum = 0;

    for (size_t i = 1; i < n_vocab; i++)
        if (logits[i] > logits[row.best])
            row.best = i;
    for (size_t i = 0; i < n_vocab; i++)
        sum += (double)expf(logits[i] - logits[row.best]);
    row.log_sum = (double)logits[row.best] + log(sum);
    return row;
}

static double nll_of(const struct row *row, int32_t token)
{
    return row->log_sum - (double)row->logits[token];
}

void erne_logits_compare(struct erne_divergence *out, const float *logits,
                         const float *base, size_t n_vocab, int32_t next)
{
    const struct row q = read_row(logits, n_vocab);

    *out = (struct erne_divergence){ .nll = nll_of(&q, next) };
    if (!base)
        return;
    const struct row p = read_row(base, n_vocab);

    for (size_t i = 0; i < n_vocab; i++) {
        const double weight = (double)expf((float)((double)base[i] - p.log_sum));

        /* Differences first: a model compared with itself gives exactly 0. */
        if (weight > 0)
            out->kld +=
                weight * ((double)base[i] - (double)logits[i] + (q.log_sum - p.log_sum));
    }
    out->nll_base = nll_of(&p, next);
    out->same_top = p.best == q.best;
}
