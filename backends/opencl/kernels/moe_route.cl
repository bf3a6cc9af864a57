/* moe_route.cl -- the experts of a token and their weights; a work-group a token.
 *
 * The choice must be that of runtime/route.h, which computes in double, and few GPUs can.
 * So a number here is the sum of two floats, hi + lo, as good as 48 bits (Dekker 1971;
 * Joldes, Muller, Popescu 2017, TOMS 44.2), where an exponential errs by 1e-13. Nothing
 * may be contracted, or the errors that are kept would not be those made.
 */
#pragma OPENCL FP_CONTRACT OFF

typedef float2 two;

/* hi + lo = a + b, if |a| >= |b|. */
inline two quick_sum(float a, float b)
{
    const float s = a + b;

    return (two)(s, b - (s - a));
}

inline two sum_of(float a, float b)
{
    const float s = a + b, t = s - a;

    return (two)(s, (a - (s - t)) + (b - t));
}

inline two product_of(float a, float b)
{
    const float p = a * b;

    return (two)(p, fma(a, b, -p));
}

inline two add(two a, two b)
{
    const two s = sum_of(a.s0, b.s0), t = sum_of(a.s1, b.s1);
    const two u = quick_sum(s.s0, s.s1 + t.s0);

    return quick_sum(u.s0, u.s1 + t.s1);
}

inline two mul(two a, two b)
{
    const two p = product_of(a.s0, b.s0);

    return quick_sum(p.s0, p.s1 + (a.s0 * b.s1 + a.s1 * b.s0));
}

inline two divide(two a, two b)
{
    const float q = a.s0 / b.s0;
    const two r = add(a, -mul(b, (two)(q, 0.0f)));
    const float q2 = r.s0 / b.s0;
    const two r2 = add(r, -mul(b, (two)(q2, 0.0f)));

    return add(quick_sum(q, q2), (two)(r2.s0 / b.s0, 0.0f));
}

inline bool is_greater(two a, two b)
{
    return a.s0 > b.s0 || (a.s0 == b.s0 && a.s1 > b.s1);
}

/* e^x, x <= 0; what is below 1e-26 counts as 0, which no weight can show. */
inline two exp_of(two x)
{
    const float n = rint(x.s0 * 1.44269504f);
    two r, y = (two)(1.0f, 0.0f);

    if (x.s0 < -60.0f)
        return (two)(0.0f, 0.0f);
    /* n ln 2, in three parts of which the first two are exact products. */
    r = add(x, (two)(-n * 0.693145752f, 0.0f));
    r = add(r, -product_of(n, 1.42860677e-6f));
    r = add(r, -product_of(n, 5.49792315e-14f));
    for (int i = 16; i > 0; i--) /* Taylor, by Horner: |r| <= 0.35 */
        y = add((two)(1.0f, 0.0f), divide(mul(y, r), (two)((float)i, 0.0f)));
    return (two)(ldexp(y.s0, (int)n), ldexp(y.s1, (int)n));
}

/* x [T, B * E], bias [B * E], kind [T], dst [T, B * E]; p: [E] */
__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
moe_route(__global const float *x, uint x_at, int x_stride, __global const float *bias,
          uint bias_at, __global const int *kind, uint kind_at, __global float *dst,
          uint dst_at, int dst_stride, int n_columns, int n_experts, int n_used,
          float norm_min, int has_bias, int has_kind, __local two *p)
{
    __local two best_key[LANES], total;
    __local int best[LANES];
    __local float most;
    const int lane = get_local_id(0);
    const uint token = get_group_id(0);
    const int first = has_kind ? kind[kind_at + token] * n_experts : 0;
    __global const float *logits = x + x_at + token * (uint)x_stride + (uint)first;
    __global float *weights = dst + dst_at + token * (uint)dst_stride;

    for (int e = lane; e < n_columns; e += LANES)
        weights[e] = 0.0f;
    weights += first;
    if (lane == 0) {
        most = logits[0];
        for (int e = 1; e < n_experts; e++)
            most = fmax(most, logits[e]);
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    for (int e = lane; e < n_experts; e += LANES)
        p[e] = exp_of(sum_of(logits[e], -most));
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane == 0) {
        two sum = (two)(0.0f, 0.0f);

        for (int e = 0; e < n_experts; e++)
            sum = add(sum, p[e]);
        total = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = lane; e < n_experts; e += LANES)
        p[e] = divide(p[e], total);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 0; i < n_used; i++) {
        best[lane] = -1;
        for (int e = lane; e < n_experts; e += LANES) {
            const float more = has_bias ? bias[bias_at + (uint)(first + e)] : 0.0f;
            const two key = add(p[e], (two)(more, 0.0f));
            const bool is_better = best[lane] < 0 || is_greater(key, best_key[lane]);

            if (weights[e] > 0.0f || !is_better)
                continue;
            best[lane] = e;
            best_key[lane] = key;
        }
        barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* weights were read */
        if (lane == 0) {
            int winner = 0;

            for (int l = 1; l < LANES; l++)
                if (best[l] >= 0 &&
                    (best[winner] < 0 || is_greater(best_key[l], best_key[winner]) ||
                     (!is_greater(best_key[winner], best_key[l]) &&
                      best[l] < best[winner])))
                    winner = l;
            winner = best[winner];
            total = i == 0 ? p[winner] : add(total, p[winner]);
            weights[winner] = 1.0f; /* taken */
        }
        barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    }
    for (int e = lane; e < n_experts; e += LANES)
        if (weights[e] > 0.0f) {
            two sum = total;

            if (is_greater((two)(norm_min, 0.0f), sum))
                sum = (two)(norm_min, 0.0f);
            weights[e] = divide(p[e], sum).s0;
        }
}
