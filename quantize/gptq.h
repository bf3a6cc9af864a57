/* gptq.h -- rounding the rows of a matrix so that its products change least.
 *
 * What rounding costs a product is tr(E H E^T), with E the errors of the weights and
 * H = X^T X of the inputs X that the matrix meets. Columns are rounded in order, each to
 * make up for what the ones before it lost. This is GPTQ (Frantar et al., arXiv
 * 2210.17323) in the form of LDLQ (Chee et al., arXiv 2307.13304), which gives the same
 * codes and needs no inverse: H = (U + I) D (U + I)^T, U strictly upper triangular,
 *     code_k = round(w_k + sum over j < k of e_j U[j][k])
 *     cost = sum of D_k residue_k^2
 *
 * A factor is U and D in one matrix of floats [k, k]: row c has U[j][c] at j < c, D_c at
 * j = c, and zeros behind.
 */
#ifndef ERNE_GPTQ_H
#define ERNE_GPTQ_H

#include "quantize/tile64.h"
#include "runtime/ask.h"

/* Makes the factor of h: [k, k], symmetric, of which the upper triangle is read. Inputs
 * that were never seen count little; a tenth of the mean diagonal is added to all, ten
 * times as much as GPTQ does: what was learnt from one text shall hold for others.
 * n_few: of how many inputs h is the sum, if they may be few; else 0. They tell too
 * little of k directions, so k / 3 inputs of which nothing is known are added, as large
 * in every direction: the fewer there are, the more it is plain rounding.
 * work: [k, k] doubles. ask: whether to give up, as a wide one takes minutes; may be
 * NULL. EINVAL when h is not finite; ECANCELLED. */
int gptq_factor(float *factor, const float *h, int64_t n_few, double *work, int64_t k,
                const struct erne_ask *ask);

/* Bytes of `work` that gptq_encode needs. */
size_t gptq_work_bytes(struct erne_scheme scheme, int64_t k);

/* As tile64_encode, for an integer scheme, with the factor of the inputs. *cost grows by
 * tr(E H E^T) of the rows; it may be NULL. */
struct gptq_call {
    struct erne_scheme scheme;
    const struct erne_planes *planes;
    const float *factor; /* [k, k] */
    void *work;
    double *cost;
};
int gptq_encode(const struct tile64_block *dst, const struct gptq_call *call,
                const float *src, int n_rows, int64_t k);

#endif
