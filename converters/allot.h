/* allot.h -- gives each matrix the scheme that the model needs, under a budget of bits.
 *
 * Matrices of one layer and kind are stored alike: a unit. A sample of each is rounded to
 * every candidate scheme, which tells what the unit would cost by itself (convert_loss).
 * Then, unit by unit, the exact model runs with that one rounded, and the divergence of
 * its predictions tells how much the cost matters. budget.h does the rest.
 */
#ifndef ERNE_ALLOT_H
#define ERNE_ALLOT_H

#include "converters/convert.h"

/* Whether the budget can be kept to and spent, before anything is measured. EINVAL says
 * how many bits it takes at least or at most, that rules leave nothing to choose, or that
 * there is no vision to have one. */
int allot_check(struct convert_plan *plan, const struct erne_convert_opts *opts,
                struct erne_error *err);
/* Decides all schemes of the plan that are not fixed; allot_check found nothing, and
 * plan->calibration is there. */
int allot_schemes(struct convert_plan *plan, const struct erne_convert_opts *opts,
                  struct erne_error *err);

#endif
