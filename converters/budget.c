/* budget.c -- spends bytes where they help most. See budget.h. */
#include "converters/budget.h"

#include <string.h>

/* ------------------------------------------------------------------ target */

/* A decimal number, whatever the locale; NULL if there is none. */
static const char *parse_bits(double *out, const char *text)
{
    double value = 0.0, unit = 1.0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && value < 1e6; at++)
        value = 10.0 * value + (*at - '0');
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++) {
            unit /= 10.0;
            value += unit * (*at - '0');
        }
    *out = value;
    return value >= 1.0 && value <= 32.0 ? at : NULL;
}

int budget_parse(struct budget_target *out, const char *text, struct erne_error *err)
{
    static const char vision[] = ",vision=";
    struct budget_target target = { 0 };
    const char *at = parse_bits(&target.text, text);

    if (at && strncmp(at, vision, strlen(vision)) == 0)
        at = parse_bits(&target.vision, at + strlen(vision));
    if (!at || *at != '\0')
        return erne_fail(err, ERNE_EINVAL,
                         "\"%s\" is not a number of bits a weight, 1 to 32, nor two as "
                         "in 4.25,vision=6",
                         text);
    *out = target;
    return ERNE_OK;
}

/* ------------------------------------------------------------------ choice */

static uint8_t smallest(const struct budget_unit *unit, int n_choices)
{
    int best = 0;

    for (int i = 1; i < n_choices; i++)
        if (unit->bytes[i] < unit->bytes[best] ||
            (unit->bytes[i] == unit->bytes[best] && unit->loss[i] < unit->loss[best]))
            best = i;
    return (uint8_t)best;
}

uint64_t budget_least(const struct budget_unit *unit, int n_choices)
{
    return unit->bytes[smallest(unit, n_choices)];
}

uint64_t budget_most(const struct budget_unit *unit, int n_choices)
{
    uint64_t most = 0;

    for (int i = 0; i < n_choices; i++)
        most = unit->bytes[i] > most ? unit->bytes[i] : most;
    return most;
}

/* The change of one unit that gains most a byte and costs `left` at most. */
struct step {
    size_t unit;
    int to; /* -1: none gains anything */
    uint64_t bytes;
    double gain; /* a byte */
};

static void consider(struct step *best, const struct budget_unit *units, size_t i,
                     int from, int n_choices, uint64_t left)
{
    const struct budget_unit *u = &units[i];

    for (int to = 0; to < n_choices; to++) {
        if (u->bytes[to] <= u->bytes[from] || u->bytes[to] - u->bytes[from] > left ||
            !(u->loss[to] < u->loss[from]))
            continue;
        const uint64_t bytes = u->bytes[to] - u->bytes[from];
        const double gain = (u->loss[from] - u->loss[to]) / (double)bytes;

        if (best->to < 0 || gain > best->gain)
            *best = (struct step){ i, to, bytes, gain };
    }
}

int budget_choose(uint8_t *choice, const struct budget_unit *units, size_t n,
                  int n_choices, uint64_t max_bytes)
{
    struct step step;

    for (size_t i = 0; i < n; i++) {
        choice[i] = smallest(&units[i], n_choices);
        const uint64_t bytes = units[i].bytes[choice[i]];

        if (bytes > max_bytes)
            return ERNE_EINVAL;
        max_bytes -= bytes;
    }
    do {
        step = (struct step){ .to = -1 };
        for (size_t i = 0; i < n; i++)
            consider(&step, units, i, choice[i], n_choices, max_bytes);
        if (step.to >= 0) {
            choice[step.unit] = (uint8_t)step.to;
            max_bytes -= step.bytes;
        }
    } while (step.to >= 0);
    return ERNE_OK;
}
