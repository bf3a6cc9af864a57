/* test_gptq.c -- sums of inputs, factors of them, and rounding against them: each against
 * its definition, computed plainly in double. */
#include "tests/support/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantize/gptq.h"
#include "quantize/gram.h"

enum { N_TOKENS = 300, FEW = 5 };

/* Inputs of a layer: n_tokens rows of k, neighbours alike, scales uneven, and one column
 * that is never used. */
static float *make_inputs(int64_t k, uint64_t *seed)
{
    float *x = malloc((size_t)(N_TOKENS * k) * sizeof(*x));

    assert_non_null(x);
    for (int64_t t = 0; t < N_TOKENS; t++) {
        float before = 0.0f;

        for (int64_t i = 0; i < k; i++) {
            before = 0.8f * before + 0.6f * unit_random_normal(seed);
            x[t * k + i] = i == 3 ? 0.0f : before * (i % 7 == 0 ? 4.0f : 1.0f);
        }
    }
    return x;
}

/* Both triangles of x^T x, in double. */
static double *true_gram(const float *x, int64_t k, int64_t n_tokens)
{
    double *h = calloc((size_t)(k * k), sizeof(*h));

    assert_non_null(h);
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < k; j++)
                h[i * k + j] += (double)x[t * k + i] * (double)x[t * k + j];
    return h;
}

static float *sum_inputs(const float *x, int64_t k, int64_t n_tokens, int n_threads)
{
    float *h = calloc((size_t)(k * k), sizeof(*h));

    assert_non_null(h);
    for (int i = 0; i < n_threads; i++)
        gram_add(h, k, x, k, n_tokens, (struct gram_share){ i, n_threads });
    return h;
}

static void test_gram(void **state)
{
    enum { K = 70 };
    uint64_t seed = 1;
    float *x = make_inputs(K, &seed), *h = sum_inputs(x, K, N_TOKENS, 1), *three;
    double *want = true_gram(x, K, N_TOKENS);

    (void)state;
    for (int64_t i = 0; i < K; i++)
        for (int64_t j = i; j < K; j++) {
            const double size =
                sqrt(want[i * K + i] * want[j * K + j]) + 1.0; /* Cauchy-Schwarz */

            assert_true(fabs((double)h[i * K + j] - want[i * K + j]) < 1e-5 * size);
        }
    three = sum_inputs(x, K, N_TOKENS, 3);
    assert_memory_equal(h, three, K * K * sizeof(*h));
    free(three);
    free(want);
    free(h);
    free(x);
}

/* (U + I) D (U + I)^T is H with a tenth of its mean diagonal added, and as much as K / 3
 * inputs have. */
static void check_factor(int64_t n_tokens)
{
    enum { K = 45 };
    uint64_t seed = 2;
    float *x = make_inputs(K, &seed), *h = sum_inputs(x, K, n_tokens, 1);
    float factor[K * K];
    double work[K * K], mean = 0.0;

    assert_int_equal(gptq_factor(factor, h, n_tokens, work, K, NULL), ERNE_OK);
    for (int i = 0; i < K; i++)
        mean += (double)h[i * K + i] / (double)K;
    const double damp = mean * (0.1 + (double)K / 3.0 / (double)n_tokens);

    for (int i = 0; i < K; i++)
        for (int j = i; j < K; j++) {
            const double want = (double)h[i * K + j] + (i == j ? damp : 0.0);
            double sum = 0.0;

            for (int c = j; c < K; c++) {
                const double a = c == i ? 1.0 : (double)factor[c * K + i];
                const double b = c == j ? 1.0 : (double)factor[c * K + j];

                sum += a * b * (double)factor[c * K + c];
            }
            assert_true(fabs(sum - want) <
                        1e-5 * sqrt((double)h[i * K + i] * (double)h[j * K + j]) + 1e-3);
        }
    free(h);
    free(x);
}

static void test_factor(void **state)
{
    (void)state;
    check_factor(N_TOKENS);
    check_factor(FEW);
    check_factor(1);
}

static bool give_up_at_once(void *user)
{
    ++*(int *)user;
    return true;
}

static void test_factor_gives_up(void **state)
{
    const float h[4] = { 1.0f, 0.5f, 0.5f, 1.0f };
    float factor[4];
    double work[4];
    int n_asked = 0;
    const struct erne_ask ask = { give_up_at_once, &n_asked };

    (void)state;
    assert_int_equal(gptq_factor(factor, h, 0, work, 2, &ask), ERNE_ECANCELLED);
    assert_int_equal(n_asked, 1);
}

static void test_factor_of_nothing(void **state)
{
    float h[4] = { 0 }, factor[4];
    double work[4];

    (void)state;
    assert_int_equal(gptq_factor(factor, h, 0, work, 2, NULL), ERNE_OK);
    assert_true(factor[0] > 0.0f && factor[3] > 0.0f && factor[2] == 0.0f);
    h[3] = INFINITY;
    assert_int_equal(gptq_factor(factor, h, 0, work, 2, NULL), ERNE_EINVAL);
    h[3] = NAN;
    assert_int_equal(gptq_factor(factor, h, 0, work, 2, NULL), ERNE_EINVAL);
}

/* A stored matrix of up to 64 rows. */
struct stored {
    struct erne_scheme scheme;
    struct erne_planes planes;
    struct tile64_block block;
    uint8_t *data;
};

static void stored_init(struct stored *s, const char *scheme, int64_t n, int64_t k)
{
    assert_int_equal(erne_scheme_parse(&s->scheme, scheme), ERNE_OK);
    assert_int_equal(erne_planes_init(&s->planes, s->scheme, n, k), ERNE_OK);
    s->data = calloc(1, s->planes.total_bytes);
    assert_non_null(s->data);
    s->block = (struct tile64_block){
        .codes = s->data,
        .scales = (uint16_t *)(void *)(s->data + s->planes.scales_offset),
        .minima = s->scheme.asym ? (uint16_t *)(void *)(s->data + s->planes.minima_offset)
                                 : NULL,
    };
}

/* tr(E H E^T), H with both triangles. */
static double cost_of(const struct stored *s, const float *w, int64_t n, int64_t k,
                      const double *h)
{
    double cost = 0.0;
    float *row = malloc((size_t)k * sizeof(*row));

    assert_non_null(row);
    for (int64_t r = 0; r < n; r++) {
        tile64_decode_row(row, s->scheme, &s->planes, s->block.codes, s->block.scales,
                          s->block.minima, r, k);
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < k; j++)
                cost += (double)(w[r * k + i] - row[i]) * h[i * k + j] *
                        (double)(w[r * k + j] - row[j]);
    }
    free(row);
    return cost;
}

/* Rounds a matrix both ways; what GPTQ says it costs is what it costs, and less. */
static void check_scheme(const char *scheme, int64_t n, int64_t k, double at_most)
{
    uint64_t seed = 3;
    float *x = make_inputs(k, &seed), *h = sum_inputs(x, k, N_TOKENS, 1);
    float *w = malloc((size_t)(n * k) * sizeof(*w)), *factor;
    double *all = true_gram(x, k, N_TOKENS), *work;
    double claimed = 0.0, plain, clever, damp = 0.0;
    struct stored s;

    factor = malloc((size_t)(k * k) * sizeof(*factor));
    work = malloc((size_t)(k * k) * sizeof(*work));
    assert_true(w && factor && work);
    for (int64_t i = 0; i < n * k; i++)
        w[i] = unit_random_normal(&seed);
    assert_int_equal(gptq_factor(factor, h, 0, work, k, NULL), ERNE_OK);
    for (int64_t i = 0; i < k; i++)
        damp += 0.1 * all[i * k + i] / (double)k;
    for (int64_t i = 0; i < k; i++)
        all[i * k + i] += damp;
    stored_init(&s, scheme, n, k);
    assert_int_equal(tile64_encode(&s.block, s.scheme, &s.planes, w, (int)n, k), 0);
    plain = cost_of(&s, w, n, k, all);
    {
        struct gptq_call call = { s.scheme, &s.planes, factor, NULL, &claimed };

        call.work = calloc(1, gptq_work_bytes(s.scheme, k) + 64);
        assert_non_null(call.work);
        assert_int_equal(gptq_encode(&s.block, &call, w, (int)n, k), 0);
        clever = cost_of(&s, w, n, k, all);
        call.cost = NULL;
        w[n * k / 2] = NAN;
        assert_int_equal(gptq_encode(&s.block, &call, w, (int)n, k), ERNE_EINVAL);
        free(call.work);
    }
    assert_true(fabs(claimed / clever - 1.0) < 1e-3);
    assert_true(clever < at_most * plain);
    free(s.data);
    free(work);
    free(factor);
    free(all);
    free(w);
    free(h);
    free(x);
}

static void test_encode(void **state)
{
    (void)state;
    check_scheme("w4-g32", 64, 128, 0.7);
    check_scheme("w4-g64a", 64, 200, 0.7);
    check_scheme("w4-g0", 5, 100, 0.7);
    check_scheme("w2-g32a", 33, 96, 0.8);
    check_scheme("w2-g128", 1, 129, 0.9);
}

/* Rounds w as the factor of h says. */
static void round_by(struct stored *s, const float *h, int64_t n_few, const float *w,
                     int64_t n, int64_t k)
{
    float *factor = malloc((size_t)(k * k) * sizeof(*factor));
    double *work = malloc((size_t)(k * k) * sizeof(*work));
    struct gptq_call call = { .planes = &s->planes, .factor = factor };

    stored_init(s, "w4-g32a", n, k);
    call.scheme = s->scheme;
    call.work = calloc(1, gptq_work_bytes(s->scheme, k) + 64);
    assert_true(factor && work && call.work);
    assert_int_equal(gptq_factor(factor, h, n_few, work, k, NULL), ERNE_OK);
    assert_int_equal(gptq_encode(&s->block, &call, w, (int)n, k), 0);
    free(call.work);
    free(work);
    free(factor);
}

/* No inputs: plain rounding. Few: their products gain by it, and those of others lose
 * less than where nobody says that they are few. */
static void test_few_inputs(void **state)
{
    enum { N = 64, K = 96 };
    uint64_t seed = 4;
    float *x = make_inputs(K, &seed), *h = sum_inputs(x, K, FEW, 1);
    float *none = calloc(K * K, sizeof(*none)), *w = malloc(N * K * sizeof(*w));
    double *of_few = true_gram(x, K, FEW), *of_all = true_gram(x, K, N_TOKENS);
    double few[3], all[3];
    struct stored plain, s[3];

    (void)state;
    assert_true(none && w);
    for (int i = 0; i < N * K; i++)
        w[i] = unit_random_normal(&seed);
    stored_init(&plain, "w4-g32a", N, K);
    assert_int_equal(tile64_encode(&plain.block, plain.scheme, &plain.planes, w, N, K),
                     0);
    round_by(&s[0], none, 0, w, N, K);
    round_by(&s[1], h, FEW, w, N, K);
    round_by(&s[2], h, 0, w, N, K);
    assert_memory_equal(plain.data, s[0].data, plain.planes.total_bytes);
    for (int i = 0; i < 3; i++) {
        few[i] = cost_of(&s[i], w, N, K, of_few);
        all[i] = cost_of(&s[i], w, N, K, of_all);
        free(s[i].data);
    }
    assert_true(few[0] > few[1] && few[1] > few[2]);
    assert_true(all[1] < all[2]);
    free(plain.data);
    free(of_all);
    free(of_few);
    free(w);
    free(none);
    free(h);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gram),
        cmocka_unit_test(test_factor),
        cmocka_unit_test(test_factor_of_nothing),
        cmocka_unit_test(test_factor_gives_up),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_few_inputs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
