/* Float arithmetic under every rounding, the half formats and the approximate functions.
 * Independent side: long double (64-bit significand) or exact brackets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>

#include "ptxsim/num.h"

static uint64_t state = 88172645463325252ull;
static uint64_t rnd(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}
static float rnd_f32(void)
{
    for (;;) {
        float f = ptx_f32((uint32_t)(rnd() >> 11));
        if (rnd() & 1)
            f = ptx_f32((ptx_f32_bits(f) & 0x807fffff) | (uint32_t)(110 + rnd() % 30) << 23);
        if (isfinite(f)) return f;
    }
}

/* lo = rm, hi = rp bracket the exact value tightly, rz is the one nearer zero. */
static void bracket(float lo, float hi, float z, long double ex)
{
    if (ex != ex) return;
    assert_true(lo <= ex && ex <= hi);
    assert_true(lo == hi || nextafterf(lo, INFINITY) == hi);
    assert_true(z == (ex < 0 ? hi : lo));
}

static void directed_f32_arithmetic_brackets_the_exact_value(void **s)
{
    for (int n = 0; n < 200000; n++) {
        float a = rnd_f32(), b = rnd_f32();
        long double p = (long double)a * b; /* 48 bits: exact */
        bracket(ptx_mul_f32(a, b, PTX_RM), ptx_mul_f32(a, b, PTX_RP), ptx_mul_f32(a, b, PTX_RZ), p);
        if (fabs(log2(fabs((double)a) + 1e-300) - log2(fabs((double)b) + 1e-300)) <
            38) { /* sum exact in 64 bits */
            long double q = (long double)a + b;
            bracket(ptx_add_f32(a, b, PTX_RM), ptx_add_f32(a, b, PTX_RP), ptx_add_f32(a, b, PTX_RZ),
                    q);
        }
        assert_true(ptx_fma_f32(a, b, 0, PTX_RZ) == ptx_mul_f32(a, b, PTX_RZ));
        if (b != 0) {
            float lo = ptx_div_f32(a, b, PTX_RM), hi = ptx_div_f32(a, b, PTX_RP);
            long double ex = (long double)a / b;
            if (isfinite(lo) && isfinite(hi))
                assert_true((long double)lo <= ex * (ex < 0 ? 1 - 1e-18L : 1 + 1e-18L) &&
                            (lo == hi || nextafterf(lo, INFINITY) == hi));
        }
        float x = fabsf(a), lo = ptx_sqrt_f32(x, PTX_RM), hi = ptx_sqrt_f32(x, PTX_RP);
        assert_true((long double)lo * lo <= x && (long double)hi * hi >= x &&
                    (lo == hi || nextafterf(lo, INFINITY) == hi));
    }
    assert_true(signbit(ptx_add_f32(1, -1, PTX_RM)) && !signbit(ptx_add_f32(1, -1, PTX_RP)));
    /* a fused product whose low bits decide: (1 + 2^-12)^2 - 1 - 2^-11 = 2^-24 */
    assert_true(ptx_fma_f32(1 + 0x1p-12f, 1 + 0x1p-12f, -1 - 0x1p-11f, PTX_RZ) == 0x1p-24f);
    assert_true(ptx_fma_f32(1, 1, 0x1p-60f, PTX_RP) == 1 + 0x1p-23f &&
                ptx_fma_f32(1, 1, -0x1p-60f, PTX_RZ) == 1 - 0x1p-24f);
}

static void directed_f64_arithmetic_brackets(void **s)
{
    for (int n = 0; n < 100000; n++) {
        double a = ptx_f32((uint32_t)rnd() >> 1) * 1.1, b = 1 + (double)rnd() * 0x1p-64;
        if (!isfinite(a)) continue;
        double lo = ptx_add_f64(a, b, PTX_RM), hi = ptx_add_f64(a, b, PTX_RP);
        long double e = (long double)a + b;
        if (fabs(a) < 1e3 && fabs(a) > 1e-3)
            assert_true(lo <= e && e <= hi && (lo == hi || nextafter(lo, INFINITY) == hi));
        lo = ptx_div_f64(a, b, PTX_RM), hi = ptx_div_f64(a, b, PTX_RP);
        assert_true(lo <= hi && (lo == hi || nextafter(lo, INFINITY) == hi));
        assert_true(ptx_mul_f64(a, b, PTX_RN) == a * b &&
                    ptx_fma_f64(a, b, 1, PTX_RN) == fma(a, b, 1));
    }
    assert_true(ptx_mul_f64(1 + 0x1p-52, 1 + 0x1p-52, PTX_RP) >
                ptx_mul_f64(1 + 0x1p-52, 1 + 0x1p-52, PTX_RM));
}

static void min_and_max_prefer_numbers_and_order_zeros(void **s)
{
    uint32_t nan = 0x7fffffff;
    assert_true(ptx_min_f32(NAN, 2, false, false, false) == 2 &&
                ptx_min_f32(2, NAN, true, false, false) == 2);
    assert_int_equal(ptx_f32_bits(ptx_min_f32(NAN, 2, false, true, false)), nan);
    assert_int_equal(ptx_f32_bits(ptx_min_f32(NAN, NAN, true, false, false)), nan);
    assert_true(signbit(ptx_min_f32(0.0f, -0.0f, false, false, false)) &&
                signbit(ptx_min_f32(-0.0f, 0.0f, false, false, false)));
    assert_true(!signbit(ptx_min_f32(0.0f, -0.0f, true, false, false)) &&
                !signbit(ptx_min_f32(-0.0f, 0.0f, true, false, false)));
    assert_true(ptx_min_f32(-3, 2, true, false, true) == -3 &&
                ptx_min_f32(-3, -5, true, false, true) == 5);
    assert_true(ptx_min_f64(-0.0, 0.0, true) == 0 && !signbit(ptx_min_f64(-0.0, 0.0, true)) &&
                ptx_min_f64(NAN, 1, false) == 1);
    for (int n = 0; n < 10000; n++) {
        float a = rnd_f32(), b = rnd_f32();
        assert_true(ptx_min_f32(a, b, false, false, false) == fminf(a, b) &&
                    ptx_min_f32(a, b, true, true, false) == fmaxf(a, b));
    }
}

/* An exact value as an integer times 2^-300 does not fit; compare through exact long double or
 * brackets: r is right when |r - x| <= |n - x| for both neighbours n, and ties go to even. */
static void check_half(ptx_type t, uint32_t got, long double ex)
{
    uint32_t inf = t == PTX_F16 ? 0x7c00 : 0x7f80;
    long double v = ptx_small_to_f32(t, got);
    if ((got & 0x7fff) == inf) {
        long double top = ptx_small_to_f32(t, inf - 1), ulp = top - ptx_small_to_f32(t, inf - 2);
        assert_true(fabsl(ex) >= top + ulp / 2);
        return;
    }
    assert_true((got & 0x7fff) < inf);
    for (int d = -1; d <= 1; d += 2) {
        uint32_t nb = (got & 0x7fff) == 0 && d < 0
                          ? got ^ 0x8001
                          : (got & 0x8000) | ((got + (uint32_t)d) & 0x7fff);
        if ((nb & 0x7fff) >= inf) continue;
        long double e0 = fabsl(v - ex), e1 = fabsl(ptx_small_to_f32(t, nb) - ex);
        assert_true(e0 < e1 || (e0 == e1 && !(got & 1)));
    }
}

static void half_arithmetic_rounds_once(void **s)
{
    static const ptx_type types[2] = {PTX_F16, PTX_BF16};
    for (int n = 0; n < 400000; n++) {
        ptx_type t = types[n & 1];
        uint32_t inf = t == PTX_F16 ? 0x7c00 : 0x7f80, a, b, c;
        do a = rnd() >> 5 & 0xffff;
        while ((a & 0x7fff) >= inf);
        do b = rnd() >> 5 & 0xffff;
        while ((b & 0x7fff) >= inf);
        do c = rnd() >> 5 & 0xffff;
        while ((c & 0x7fff) >= inf);
        long double x = ptx_small_to_f32(t, a), y = ptx_small_to_f32(t, b),
                    z = ptx_small_to_f32(t, c);
        ptx_half_opts o = {0};
        check_half(t, ptx_half_one(PTX_H_MUL, t, o, a, b, 0), x * y);
        if (x * y != 0 && z != 0 && fabsl(log2l(fabsl(x * y)) - log2l(fabsl(z))) < 40)
            check_half(t, ptx_half_one(PTX_H_FMA, t, o, a, b, c), x * y + z);
        if (x != 0 && y != 0 && fabsl(log2l(fabsl(x)) - log2l(fabsl(y))) < 50) {
            check_half(t, ptx_half_one(PTX_H_ADD, t, o, a, b, 0), x + y);
            check_half(t, ptx_half_one(PTX_H_SUB, t, o, a, b, 0), x - y);
        }
        uint32_t mx = ptx_half_one(PTX_H_MAX, t, o, a, b, 0);
        assert_true(ptx_small_to_f32(t, mx) == (x > y ? x : y));
    }
    /* bf16: (1 + 2^-4)^2 = 1 + 2^-3 + 2^-8 is a tie of the 8-bit result; a far smaller addend must
     * decide it */
    uint32_t v = 0x3f88, tiny = 0x0f80,
             up = ptx_half_one(PTX_H_FMA, PTX_BF16, (ptx_half_opts){0}, v, v, tiny),
             down = ptx_half_one(PTX_H_FMA, PTX_BF16, (ptx_half_opts){0}, v, v, tiny | 0x8000);
    assert_int_equal(up, 0x3f91);
    assert_int_equal(down, 0x3f90);
}

static void packed_halves_work_side_by_side(void **s)
{
    for (int n = 0; n < 2000; n++)
        for (int op = PTX_H_ADD; op <= PTX_H_NEG; op++)
            for (int bf = 0; bf < 2; bf++) {
                uint32_t a[32], b[32], c[32], d[32];
                ptx_half_opts o = {.relu = rnd() & 1, .nan = rnd() & 1};
                for (int i = 0; i < 32; i++)
                    a[i] = (uint32_t)(rnd() >> 9), b[i] = (uint32_t)(rnd() >> 9),
                    c[i] = (uint32_t)(rnd() >> 9);
                ptx_half_lanes((ptx_half_op)op, bf ? PTX_BF16X2 : PTX_F16X2, o, d, a, b, c);
                int i = n & 31;
                uint32_t lo = ptx_half_one((ptx_half_op)op, bf ? PTX_BF16 : PTX_F16, o,
                                           a[i] & 0xffff, b[i] & 0xffff, c[i] & 0xffff),
                         hi = ptx_half_one((ptx_half_op)op, bf ? PTX_BF16 : PTX_F16, o, a[i] >> 16,
                                           b[i] >> 16, c[i] >> 16);
                assert_int_equal(d[i], hi << 16 | lo);
            }
    ptx_half_opts relu = {.relu = true}, sat = {.sat = true}, ftz = {.ftz = true}, none = {0};
    assert_int_equal(ptx_half_one(PTX_H_FMA, PTX_F16, relu, 0xbc00, 0x3c00, 0), 0);
    assert_int_equal(ptx_half_one(PTX_H_FMA, PTX_F16, relu, 0x7e00, 0x3c00, 0), 0x7fff);
    assert_int_equal(ptx_half_one(PTX_H_ADD, PTX_F16, sat, 0x3c00, 0x3c00, 0), 0x3c00);
    assert_int_equal(ptx_half_one(PTX_H_ADD, PTX_F16, sat, 0x7e00, 0x3c00, 0), 0);
    assert_int_equal(ptx_half_one(PTX_H_ADD, PTX_F16, ftz, 0x0001, 0x8000, 0), 0);
    assert_int_equal(ptx_half_one(PTX_H_ADD, PTX_F16, none, 0x0001, 0x8000, 0), 1);
    assert_int_equal(ptx_half_one(PTX_H_MUL, PTX_F16, none, 0x8000, 0x3c00, 0), 0x8000);
    assert_int_equal(ptx_half_one(PTX_H_EX2, PTX_F16, none, 0x4000, 0, 0), 0x4400);
    assert_int_equal(ptx_half_one(PTX_H_ADD, PTX_F16, none, 0x7bff, 0x7bff, 0), 0x7c00);
}

static void comparisons_treat_nan_as_unordered(void **s)
{
    for (int op = PTX_EQ; op <= PTX_NAN; op++) {
        bool unordered = op >= PTX_EQU && op != PTX_NUM;
        assert_true(ptx_cmp_f64((ptx_cmp)op, NAN, 1) == unordered);
    }
    assert_true(ptx_cmp_f64(PTX_LT, -0.0, 1) && !ptx_cmp_f64(PTX_LT, -0.0, 0.0) &&
                ptx_cmp_f64(PTX_NUM, 1, 2) && ptx_cmp_f64(PTX_NEU, 1, 2));
}

static void approximations_are_exact_or_inside_the_documented_bound(void **s)
{
    ptx_num_mode wild = {.perturb = true, .seed = 5}, other = {.perturb = true, .seed = 6};
    int moved = 0, differ = 0;
    for (int n = 0; n < 100000; n++)
        for (int op = PTX_A_EX2; op <= PTX_A_DIV_FULL; op++) {
            float a = ptx_f32((ptx_f32_bits(rnd_f32()) & 0x807fffff) | (uint32_t)(117 + rnd() % 15)
                                                                           << 23),
                  b = rnd_f32();
            if (op == PTX_A_LG2 || op == PTX_A_RSQRT || op == PTX_A_SQRT) a = fabsf(a);
            double ex = op == PTX_A_EX2     ? pow(2, a)
                        : op == PTX_A_LG2   ? log((double)a) / M_LN2
                        : op == PTX_A_RCP   ? 1.0 / a
                        : op == PTX_A_RSQRT ? pow(a, -0.5)
                        : op == PTX_A_SQRT  ? pow(a, 0.5)
                        : op == PTX_A_SIN   ? sin(a)
                        : op == PTX_A_COS   ? cos(a)
                        : op == PTX_A_TANH  ? 1 - 2 / (exp(2.0 * a) + 1)
                                            : (double)a / b;
            if (op == PTX_A_DIV && fabsf(b) > 0x1p126f) continue;
            if (fabs(ex) > 0x1p127 || fabs(ex) < 0x1p-120) continue;
            float exact = ptx_approx_f32((ptx_approx_op)op, a, b, false, NULL),
                  p = ptx_approx_f32((ptx_approx_op)op, a, b, false, &wild);
            double ae, re;
            ptx_approx_bound((ptx_approx_op)op, a, ex, &ae, &re);
            double tiny = op == PTX_A_TANH ? 1e-15 : 0; /* of the reference's own cancellation */
            assert_true(fabs(exact - ex) <= 0.5000001 * 0x1p-23 * fabs(ex) + 1e-14 * (1 + tiny));
            assert_true(fabs(p - ex) <= ae + re * fabs(ex) + 1e-14);
            moved += p != exact;
            differ += p != ptx_approx_f32((ptx_approx_op)op, a, b, false, &other);
            assert_true(p == ptx_approx_f32((ptx_approx_op)op, a, b, false, &wild));
        }
    assert_true(moved > 200000 && differ > 200000);
    assert_true(ptx_approx_f32(PTX_A_EX2, -INFINITY, 0, false, &wild) == 0 &&
                ptx_approx_f32(PTX_A_RCP, 0, 0, false, &wild) == INFINITY);
    assert_true(ptx_approx_f32(PTX_A_EX2, 0x1p-130f, 0, true, NULL) == 1 &&
                ptx_approx_f32(PTX_A_DIV, 1, 0x1.8p126f, false, NULL) == 0);
    assert_true(ptx_approx_f32(PTX_A_RCP, 0x1p127f, 0, true, NULL) == 0 &&
                ptx_approx_f32(PTX_A_RCP, 0x1p127f, 0, false, NULL) == 0x1p-127f);
    uint64_t r = ptx_f64_bits(ptx_approx_f64(PTX_A_RCP, 3.0, NULL));
    assert_int_equal((uint32_t)r, 0);
    assert_true(fabs(ptx_f64(r) * 3 - 1) < 0x1p-19);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(directed_f32_arithmetic_brackets_the_exact_value),
        cmocka_unit_test(directed_f64_arithmetic_brackets),
        cmocka_unit_test(min_and_max_prefer_numbers_and_order_zeros),
        cmocka_unit_test(half_arithmetic_rounds_once),
        cmocka_unit_test(packed_halves_work_side_by_side),
        cmocka_unit_test(comparisons_treat_nan_as_unordered),
        cmocka_unit_test(approximations_are_exact_or_inside_the_documented_bound),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
