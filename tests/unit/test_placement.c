/* test_placement.c -- what a text says about which backend computes which phase. */
#include "tests/support/unit.h"

#include <string.h>

#include "runtime/placement.h"

static int map(struct erne_backend *be, const struct erne_range *range)
{
    (void)be, (void)range;
    return ERNE_EFAIL;
}

static const struct erne_backend_fns cpu = { .name = "cpu" };
static const struct erne_backend_fns gpu = { .name = "gpu", .map = map };
static const struct erne_backend_fns *const list[] = { &cpu, &gpu, NULL };

struct expected {
    const char *backend, *device;
    struct erne_choice of[ERNE_PHASE_COUNT]; /* vision, prefill, decode */
};

static void reads_what_is_written(void **state)
{
    static const struct expected cases[] = {
        { NULL, NULL, { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } } },
        { "auto", NULL, { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } } },
        { "cpu", NULL, { { &cpu, 0 }, { &cpu, 0 }, { &cpu, 0 } } },
        { "auto", "cpu:0", { { &cpu, 0 }, { &cpu, 0 }, { &cpu, 0 } } },
        { "gpu:1", NULL, { { &gpu, 1 }, { &gpu, 1 }, { &gpu, 1 } } },
        { "auto", "gpu:2", { { &gpu, 2 }, { &gpu, 2 }, { &gpu, 2 } } },
        { NULL, "gpu", { { &gpu, 0 }, { &gpu, 0 }, { &gpu, 0 } } },
        { "gpu", "gpu:3", { { &gpu, 3 }, { &gpu, 3 }, { &gpu, 3 } } },
        { "gpu", "auto", { { &gpu, 0 }, { &gpu, 0 }, { &gpu, 0 } } },
        { "decode=cpu", NULL, { { NULL, 0 }, { NULL, 0 }, { &cpu, 0 } } },
        { "vision=gpu:1,prefill=gpu,decode=auto",
          "gpu:2",
          { { &gpu, 1 }, { &gpu, 2 }, { NULL, 0 } } },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_placement p;
        struct erne_error err = { 0 };

        if (erne_placement_parse(&p, cases[i].backend, cases[i].device, list, &err) < 0)
            fail_msg("case %zu: %s", i, err.text);
        for (int k = 0; k < ERNE_PHASE_COUNT; k++) {
            assert_ptr_equal(p.of[k].fns, cases[i].of[k].fns);
            assert_int_equal(p.of[k].device, cases[i].of[k].device);
        }
    }
}

static void refuses_the_rest(void **state)
{
    static const struct {
        const char *backend, *device;
        int status;
        const char *text;
    } cases[] = {
        { "cuda", NULL, ERNE_EUNSUPPORTED, "cuda is not in this build" },
        { "", NULL, ERNE_EINVAL, "'' names no backend" },
        { ":1", NULL, ERNE_EINVAL, "':1' names no backend" },
        { "gp", NULL, ERNE_EUNSUPPORTED, "gp is not" },
        { "gpu:", NULL, ERNE_EINVAL, "gpu:" },
        { "gpu:x", NULL, ERNE_EINVAL, "gpu:x" },
        { "gpu:-1", NULL, ERNE_EINVAL, "gpu:-1" },
        { "gpu:256", NULL, ERNE_EINVAL, "255" },
        { "gpu:99999999999", NULL, ERNE_EINVAL, "255" },
        { "auto:1", NULL, ERNE_EINVAL, "auto:1: auto has no devices" },
        { "decode=auto:0", NULL, ERNE_EINVAL, "auto:0: auto has no devices" },
        { "gpu", "auto:1", ERNE_EINVAL, "auto:1: auto has no devices" },
        { "gpu,cpu", NULL, ERNE_EINVAL, "'gpu,cpu' names several backends" },
        { "gpu:0,cpu", NULL, ERNE_EINVAL, "'gpu:0,cpu' names several backends" },
        { "auto", "gpu,cpu", ERNE_EINVAL, "'gpu,cpu' names several backends" },
        { "think=gpu", NULL, ERNE_EINVAL, "phase think" },
        { "decode=gpu,cpu", NULL, ERNE_EINVAL, "placement cpu" },
        { "decode=gpu,decode=cpu", NULL, ERNE_EINVAL, "decode is placed twice" },
        { "decode=", NULL, ERNE_EINVAL, "phase decode: no backend is named" },
        { "prefill=cpu,decode=", NULL, ERNE_EINVAL, "phase decode: no backend is named" },
        { "prefill=,decode=cpu", NULL, ERNE_EINVAL, "phase prefill: no backend is" },
        { "decode=:0", NULL, ERNE_EINVAL, "':0' names no backend" },
        { "cpu", "gpu:1", ERNE_EINVAL, "gpu:1: no phase" },
        { "cpu:1", NULL, ERNE_EUNSUPPORTED, "cpu: device 1 of 1" },
        { "auto", "cpu:7", ERNE_EUNSUPPORTED, "cpu: device 7 of 1" },
        { "gpu", "cuda:0", ERNE_EUNSUPPORTED, "cuda" },
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_placement p;
        struct erne_error err = { 0 };

        assert_int_equal(
            erne_placement_parse(&p, cases[i].backend, cases[i].device, list, &err),
            cases[i].status);
        if (!strstr(err.text, cases[i].text))
            fail_msg("case %zu: %s", i, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_written),
        cmocka_unit_test(refuses_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
