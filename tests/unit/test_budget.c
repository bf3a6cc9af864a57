/* test_budget.c -- reading a budget, and spending one: against the best of all choices.
 */
#include "tests/support/unit.h"

#include <float.h>
#include <string.h>

#include "converters/budget.h"

static void check_parse(const char *text, double bits, double vision)
{
    struct budget_target target;
    struct erne_error err;

    assert_int_equal(budget_parse(&target, text, &err), ERNE_OK);
    assert_true(target.text > bits - 1e-9 && target.text < bits + 1e-9);
    assert_true(target.vision > vision - 1e-9 && target.vision < vision + 1e-9);
}

static void test_parse(void **state)
{
    static const char *const wrong[] = { "",   "x",         "0.5",   "33",
                                         "4,", "4.25 ",     "4,5",   "4.5,vision=",
                                         "-4", "1e1",       "nan",   "4,vision=0",
                                         ".",  "4,image=4", "4.5.1", "99999999999999" };

    (void)state;
    check_parse("4", 4, 0);
    check_parse("4.25", 4.25, 0);
    check_parse("2.5,vision=8", 2.5, 8);
    check_parse("32,vision=1", 32, 1);
    for (size_t i = 0; i < ERNE_ARRAY_LEN(wrong); i++) {
        struct budget_target target;
        struct erne_error err = { 0 };

        assert_int_equal(budget_parse(&target, wrong[i], &err), ERNE_EINVAL);
        assert_non_null(strstr(err.text, "is not a number of bits"));
    }
}

enum { N_UNITS = 5, N_CHOICES = 4 };

/* Sizes that grow, losses that shrink ever more slowly, and one choice that is beaten. */
static void make_units(struct budget_unit units[N_UNITS], uint64_t *seed)
{
    for (int i = 0; i < N_UNITS; i++) {
        const double need = 1.0 + (double)(unit_random(seed) % 1000);

        for (int c = 0; c < N_CHOICES; c++) {
            units[i].bytes[c] = (uint64_t)(c + 1) * (10 + unit_random(seed) % 4);
            units[i].loss[c] = need / (double)(1 << 2 * c);
        }
        units[i].loss[2] += i == 3 ? need : 0.0;
    }
}

struct sum {
    uint64_t bytes;
    double loss;
};

static struct sum add_up(const struct budget_unit units[N_UNITS], const uint8_t *choice)
{
    struct sum sum = { 0, 0.0 };

    for (int i = 0; i < N_UNITS; i++) {
        sum.bytes += units[i].bytes[choice[i]];
        sum.loss += units[i].loss[choice[i]];
    }
    return sum;
}

/* The least loss of all choices that keep to max_bytes; DBL_MAX: none does. */
static double find_best(const struct budget_unit units[N_UNITS], uint64_t max_bytes)
{
    double best = DBL_MAX;
    int n = 1;

    for (int i = 0; i < N_UNITS; i++)
        n *= N_CHOICES;
    for (int number = 0; number < n; number++) {
        uint8_t choice[N_UNITS];

        for (int i = 0, rest = number; i < N_UNITS; i++, rest /= N_CHOICES)
            choice[i] = (uint8_t)(rest % N_CHOICES);
        const struct sum sum = add_up(units, choice);

        if (sum.bytes <= max_bytes && sum.loss < best)
            best = sum.loss;
    }
    return best;
}

static void test_choose(void **state)
{
    double ours = 0.0, best = 0.0;
    uint64_t seed = 1;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct budget_unit units[N_UNITS];
        uint8_t choice[N_UNITS];

        make_units(units, &seed);
        const uint64_t max_bytes = 40 + unit_random(&seed) % 200;
        const double least = find_best(units, max_bytes);
        const int st = budget_choose(choice, units, N_UNITS, N_CHOICES, max_bytes);

        assert_int_equal(st, least < DBL_MAX ? ERNE_OK : ERNE_EINVAL);
        if (st < 0)
            continue;
        const struct sum sum = add_up(units, choice);

        assert_true(sum.bytes <= max_bytes);
        ours += sum.loss;
        best += least;
    }
    /* Greedy, and so not the best; but near. */
    assert_true(ours <= 1.1 * best);
}

static void test_nothing(void **state)
{
    uint8_t choice[1];

    (void)state;
    assert_int_equal(budget_choose(choice, NULL, 0, N_CHOICES, 0), ERNE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_choose),
        cmocka_unit_test(test_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
