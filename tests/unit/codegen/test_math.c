/* The functions of f32 beside libm in double, over all exponents: the bounds that codegen/math.c
 * states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

enum { N = 65536 };

static double ulp(double v)
{
    int e;
    frexp(v, &e);
    return ldexp(1, (e < -125 ? -125 : e) - 24);
}

/* Worst |got - f(x)| in ulp of f(x) (abs: in units of 1) over x in [lo, hi], half of them spread by
 * exponent. */
static double worst(const char *fn, double (*f)(double), double lo, double hi, bool abs,
                    const char *target, int width)
{
    char text[400];
    snprintf(text, sizeof text,
             "kernel k(in f32 X[%d], out f32 Y[%d]) {\n  for o < %d { for l < %d @vector { Y[o * "
             "%d + l] = %s(X[o * %d + l]) } } }\n",
             N, N, N / width, width, width, fn, width);
    kernel k;
    kernel_open(&k, text, target);
    kernel_fill(&k, NULL, 1);
    float *x = k.arg[0], *y = k.arg[1];
    for (int i = 0; i < N; i++) {
        double u = (random_bits() >> 8) / 16777216.0;
        x[i] = (float)(lo + (hi - lo) * u);
        if (i & 1) x[i] = (float)ldexp(x[i], -(int)(random_bits() % 40));
        if (x[i] < lo) x[i] = (float)lo;
    }
    kernel_run(&k);
    double w = 0, at = 0;
    for (int i = 0; i < N; i++) {
        double want = f(x[i]), e = fabs(y[i] - want) / (abs ? 1 : ulp(want));
        if (isinf((float)want) && y[i] == (float)want) e = 0;
        if (!(e <= w)) w = e, at = x[i];
    }
    kernel_close(&k);
    if (getenv("SHOW"))
        print_message("%s, %d lanes: %.3g %s at %g\n", fn, width, w, abs ? "absolute" : "ulp", at);
    return w;
}

static void within(const char *fn, double (*f)(double), double lo, double hi, bool abs,
                   double bound)
{
    static const char *const target[] = {NULL, "cpu:x86-64-v3"};
    static const int width[] = {1, 4, 16, 64};
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < 4; i++)
            assert_true(worst(fn, f, lo, hi, abs, target[t], width[i]) <= bound);
}

static void exponentials(void **state)
{
    within("exp", exp, -110, 95, false, 1.5);
    within("exp2", exp2, -155, 130, false, 1.5);
}

static void logarithms(void **state)
{
    within("log", log, 1e-45, 3.4e38, false, 1.5);
    within("log", log, 0.5, 2, false, 1.5);
}

static void sines(void **state)
{
    within("sin", sin, -1e5, 1e5, true, 1.2e-7);
    within("cos", cos, -1e5, 1e5, true, 1.2e-7);
    within("sin", sin, -1073741824.0, 1073741824.0, true, 1.2e-7);
}

static void tangents(void **state) { within("tanh", tanh, -20, 20, false, 2); }

static void extremes(void **state)
{
    static const float x[8] = {-INFINITY, INFINITY, NAN, 0, -0.0f, -1, 3.4e38f, -3.4e38f};
    static const char text[] = "kernel k(in f32 X[8], out f32 A[8], out f32 B[8], out f32 C[8], "
                               "out f32 D[8], out f32 E[8], out f32 F[8]) {\n"
                               "  for l < 8 @vector {\n    A[l] = exp(X[l])\n    B[l] = "
                               "exp2(X[l])\n    C[l] = log(X[l])\n    D[l] = tanh(X[l])\n"
                               "    E[l] = rsqrt(X[l])\n    F[l] = sqrt(X[l]) } }\n";
    static const char *const target[] = {NULL, "cpu:x86-64-v3"};
    for (int t = 0; t < 2; t++) {
        kernel k;
        kernel_open(&k, text, target[t]);
        kernel_fill(&k, NULL, 1);
        memcpy(k.arg[0], x, sizeof x);
        memcpy(k.want[0], x, sizeof x);
        kernel_check(&k, 1e-6);
        kernel_close(&k);
    }
}

static void small_types_go_through_f32(void **state)
{
    static const char text[] =
        "kernel k(in f16 X[64], in bf16 Z[64], out f16 A[64], out bf16 B[64], out f16 C[64]) {\n"
        "  for l < 64 @vector {\n    A[l] = exp(X[l])\n    B[l] = tanh(Z[l])\n    C[l] = X[l] * "
        "sin(X[l]) } }\n";
    same_as_eval(text, NULL, 1e-3);
}

static void doubles_have_exponentials(void **state)
{
    static const char text[] =
        "kernel k(in f64 X[1024], out f64 A[1024], out f64 B[1024]) {\n"
        "  for l < 1024 @vector {\n    A[l] = exp(X[l])\n    B[l] = exp2(X[l]) } }\n";
    static const char *const target[] = {NULL, "cpu:x86-64-v3"};
    for (int t = 0; t < 2; t++) {
        kernel k;
        kernel_open(&k, text, target[t]);
        kernel_fill(&k, NULL, 1);
        double *x = k.arg[0], *a = k.arg[1], *b = k.arg[2];
        for (int i = 0; i < 1024; i++)
            x[i] = (random_bits() / 4294967296.0 - 0.5) * (i & 1 ? 20 : 1400);
        x[0] = -INFINITY;
        x[1] = INFINITY;
        x[2] = -745;
        kernel_run(&k);
        for (int i = 0; i < 1024; i++) {
            double e = exp(x[i]), e2 = exp2(x[i]);
            assert_true(a[i] == e || fabs(a[i] - e) <= 4.5e-16 * e + 5e-324);
            assert_true(b[i] == e2 || fabs(b[i] - e2) <= 4.5e-16 * e2 + 5e-324);
        }
        kernel_close(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponentials),
        cmocka_unit_test(logarithms),
        cmocka_unit_test(sines),
        cmocka_unit_test(tangents),
        cmocka_unit_test(doubles_have_exponentials),
        cmocka_unit_test(extremes),
        cmocka_unit_test(small_types_go_through_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
