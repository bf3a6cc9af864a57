/* double.glsl -- numbers of about 48 bits as the sum of two floats, for devices without
 * doubles (Dekker 1971; Knuth, TAOCP 4.2.2). `precise` keeps compilers from undoing it.
 */

/* hi + lo with |lo| at most half a unit of hi. */
struct Pair {
    float hi, lo;
};

Pair pair_sum(float a, float b)
{
    precise float s = a + b;
    precise float t = s - a;
    precise float e = (a - (s - t)) + (b - t);

    return Pair(s, e);
}

/* The same where |a| >= |b|. */
Pair pair_fast_sum(float a, float b)
{
    precise float s = a + b;
    precise float e = b - (s - a);

    return Pair(s, e);
}

Pair pair_product(float a, float b)
{
    precise float p = a * b;
    precise float ta = 4097.0 * a, tb = 4097.0 * b;
    precise float ah = ta - (ta - a), bh = tb - (tb - b);
    precise float al = a - ah, bl = b - bh;
    precise float e = ((ah * bh - p) + ah * bl + al * bh) + al * bl;

    return Pair(p, e);
}

Pair pair_add(Pair a, Pair b)
{
    const Pair s = pair_sum(a.hi, b.hi), t = pair_sum(a.lo, b.lo);
    precise float c = s.lo + t.hi;
    const Pair u = pair_fast_sum(s.hi, c);
    precise float d = t.lo + u.lo;

    return pair_fast_sum(u.hi, d);
}

Pair pair_mul(Pair a, Pair b)
{
    const Pair p = pair_product(a.hi, b.hi);
    precise float e = p.lo + (a.hi * b.lo + a.lo * b.hi);

    return pair_fast_sum(p.hi, e);
}

Pair pair_minus(Pair a)
{
    return Pair(-a.hi, -a.lo);
}

Pair pair_div(Pair a, Pair b)
{
    precise float q = a.hi / b.hi;
    const Pair r = pair_add(a, pair_minus(pair_mul(b, Pair(q, 0.0))));
    precise float q2 = r.hi / b.hi;
    const Pair r2 = pair_add(r, pair_minus(pair_mul(b, Pair(q2, 0.0))));
    precise float q3 = r2.hi / b.hi;
    const Pair s = pair_fast_sum(q, q2);

    return pair_add(s, Pair(q3, 0.0));
}

bool pair_less(Pair a, Pair b)
{
    return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo);
}

/* A power of two that f32 holds as a normal number, else 0. */
float power_of_two(int n)
{
    return n < -126 ? 0.0 : intBitsToFloat((min(n, 127) + 127) << 23);
}

/* 1 / i! as pairs. */
const int N_TERMS = 17;
const Pair factorials[N_TERMS] = Pair[N_TERMS](
    Pair(1.0, 0.0),
    Pair(1.0, 0.0),
    Pair(0.5, 0.0),
    Pair(0.16666667, -4.967054e-09),
    Pair(0.041666668, -1.2417635e-09),
    Pair(0.008333334, -4.346172e-10),
    Pair(0.0013888889, -3.3631094e-11),
    Pair(0.0001984127, -2.7255969e-12),
    Pair(2.4801588e-05, -3.406996e-13),
    Pair(2.7557319e-06, 3.7935712e-14),
    Pair(2.755732e-07, -7.575112e-15),
    Pair(2.5052108e-08, 4.417623e-16),
    Pair(2.0876756e-09, 1.1082839e-16),
    Pair(1.6059044e-10, -5.3525265e-18),
    Pair(1.1470745e-11, 2.3722077e-19),
    Pair(7.6471636e-13, 1.22007105e-20),
    Pair(4.7794773e-14, 7.625444e-22)
);

/* exp(y) for y <= 0 is m * 2^n, m in about 0.7 .. 1.5. */
Pair pair_exp(Pair y, out int n)
{
    const float turns = round(max(y.hi, -2000.0) * 1.44269504);
    Pair r = y, m = factorials[N_TERMS - 1];

    n = int(turns);
    /* ln 2 in three parts; with up to 12 bits the first two products are exact. */
    r = pair_add(r, Pair(-turns * 0.69287109375, 0.0));
    r = pair_add(r, Pair(-turns * 0.0002759695053100586, 0.0));
    r = pair_add(r, pair_mul(Pair(-turns, 0.0), Pair(1.1730464e-07, -1.8641887e-15)));
    for (int i = N_TERMS - 2; i >= 0; i--)
        m = pair_add(pair_mul(m, r), factorials[i]);
    return m;
}
