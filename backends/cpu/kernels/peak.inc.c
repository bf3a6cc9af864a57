/* peak.inc.c -- loops that do nothing but one kind of work, as fast as a core can. */

/* Chains that do not wait for each other; enough to hide the latency of a multiplier. */
enum { PEAK_CHAINS = 12 };
#define PEAK_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

/* Registers are named one by one: gcc keeps arrays of them on the stack. */
static float peak_f32(int64_t n)
{
    const vf a = v_set1(0.999f), b = v_set1(0.001f);
#define X(i) vf c##i = v_set1((float)i);
    PEAK_EACH(X)
#undef X
    for (int64_t k = 0; k < n; k++) {
#define X(i) c##i = v_fma(c##i, a, b);
        PEAK_EACH(X)
#undef X
    }
    vf sum = v_set1(0.0f);
#define X(i) sum = v_add(sum, c##i);
    PEAK_EACH(X)
#undef X
    return v_sum(sum);
}

static float peak_i8(int64_t n)
{
    const int8_t ones[4] = { 1, 1, 1, 1 };
    const vi x = i_set4(ones);
    /* Different ones: equal chains would be computed once. */
#define X(i) vi c##i = i_set1(i);
    PEAK_EACH(X)
#undef X
    for (int64_t k = 0; k < n; k++) {
#define X(i) c##i = i_dot_w8(c##i, x, x);
        PEAK_EACH(X)
#undef X
    }
    vf sum = v_set1(0.0f);
#define X(i) sum = v_add(sum, v_from_i32(c##i));
    PEAK_EACH(X)
#undef X
    return v_sum(sum);
}

static float peak_read(const float *src, int64_t n)
{
    vf a = v_set1(0.0f), b = a, c = a, d = a;

    for (int64_t i = 0; i + 4 * VL <= n; i += 4 * VL) {
        a = v_add(a, v_load(src + i));
        b = v_add(b, v_load(src + i + VL));
        c = v_add(c, v_load(src + i + 2 * VL));
        d = v_add(d, v_load(src + i + 3 * VL));
    }
    return v_sum(v_add(v_add(a, b), v_add(c, d)));
}
