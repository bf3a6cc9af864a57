/* budget.h -- which scheme each matrix gets so that all together keep to a size and
 * the model loses least. What a choice loses is the caller's business: allot.c. */
#ifndef ERNE_BUDGET_H
#define ERNE_BUDGET_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/error.h"

/* Bits a weight, on average. */
struct budget_target {
    double text;
    double vision; /* 0: not given */
};

/* "4.25" or "4.25,vision=6"; a bit at least, 32 at most. EINVAL quotes the text. */
int budget_parse(struct budget_target *out, const char *text, struct erne_error *err);

enum { BUDGET_MAX_CHOICES = 8 };

/* Something that is stored one way or another. */
struct budget_unit {
    uint64_t bytes[BUDGET_MAX_CHOICES];
    double loss[BUDGET_MAX_CHOICES];
};

/* Bytes of its smallest choice, and of its largest. */
uint64_t budget_least(const struct budget_unit *unit, int n_choices);
uint64_t budget_most(const struct budget_unit *unit, int n_choices);

/* choice [n] becomes a number below n_choices for each unit: starting from the smallest,
 * whatever loses most less a byte is taken, as long as the sum of bytes keeps to
 * max_bytes. EINVAL if the smallest do not. */
int budget_choose(uint8_t *choice, const struct budget_unit *units, size_t n,
                  int n_choices, uint64_t max_bytes);

#endif
