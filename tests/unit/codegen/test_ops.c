/* Every operator of te on every dtype, in lanes and one at a time, beside lp_eval: values all over
 * the range, the specials of floats, and what wraps or saturates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

enum { N = 43 }; /* 32 + 8 + 2 + 1 lanes */

static const double special[] = {
    0.0,      -0.0,      1,      -1,           0.5,          -0.5,          1.5,
    2.5,      -2.5,      3.4e38, -3.4e38,      1e-40,        -1e-40,        65504,
    65520,    448,       464,    57344,        61440,        127.5,         128,
    -128.5,   255.5,     256,    2147483647.0, 2147483648.0, -2147483648.0, 4294967296.0,
    9.3e18,   -9.3e18,   1.9e19, 0.0009765625, 6e-8,         3e-8,          1e-7,
    INFINITY, -INFINITY, NAN};

static void put_specials(kernel *k)
{
    for (int p = 0; p < 2; p++) {
        ll_dtype t = (ll_dtype)k->f->param[p]->t->dtype;
        if (!ll_dtype_is_float(t) || k->f->param[p]->written) continue;
        int n = (int)(sizeof special / sizeof *special);
        for (int i = 0; i < n; i++) {
            te_value v = {.f = te_round_to(t, special[p ? (i * 7 + 3) % n : i])};
            te_value_store(t, k->arg[p], (size_t)i, v);
            te_value_store(t, k->want[p], (size_t)i, v);
        }
    }
}

static void run_text(const char *text, double tol)
{
    static const char *const target[] = {NULL, "cpu:x86-64-v3"};
    for (int i = 0; i < 2; i++) {
        kernel k;
        kernel_open(&k, text, target[i]);
        kernel_fill(&k, NULL, (uint64_t)i);
        put_specials(&k);
        kernel_check(&k, tol);
        kernel_close(&k);
    }
}

/* Y[i] = e over A and B of the given types; B's integers in a range. */
static void check(const char *a, const char *b, const char *range, const char *y, const char *e,
                  double tol)
{
    char text[1024];
    for (int scalar = 0; scalar < 2; scalar++) {
        snprintf(text, sizeof text,
                 "kernel k(in %s A[%d], in %s B[%d]%s, out %s Y[%d]) {\n  for i < %d%s {\n    Y[i] "
                 "= %s } }\n",
                 a, N, b, N, range, y, N, N, scalar ? "" : " @vector", e);
        run_text(text, tol);
    }
}

/* Several results over the same operands in one kernel. */
static void check_all(const char *t, const char *range, const char *const *e, size_t n, double tol)
{
    for (int scalar = 0; scalar < 2; scalar++) {
        ll_str s = {0};
        ll_str_addf(&s, "kernel k(in %s A[%d], in %s B[%d]%s", t, N, t, N, range);
        for (size_t i = 0; i < n; i++) ll_str_addf(&s, ", out %s Y%zu[%d]", t, i, N);
        ll_str_addf(&s, ") {\n  for i < %d%s {\n", N, scalar ? "" : " @vector");
        for (size_t i = 0; i < n; i++) ll_str_addf(&s, "    Y%zu[i] = %s\n", i, e[i]);
        ll_str_add(&s, "  } }\n");
        run_text(ll_str_cstr(&s), tol);
        ll_str_finish(&s);
    }
}

static const char *const int_type[] = {"u1", "u2",  "u3",  "u4",  "u5",  "u6",  "u7", "u8",
                                       "s8", "u16", "s16", "u32", "s32", "u64", "s64"};
static const char *const float_type[] = {"f32", "f16", "bf16", "f64", "e4m3", "e5m2"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void integer_arithmetic_wraps_to_its_width(void **state)
{
    static const char *const e[] = {"((A[i] + B[i]) ^ (A[i] - B[i])) | ((A[i] * B[i]) & not(A[i]))",
                                    "min(A[i], B[i]) - max(A[i], neg(B[i])) + abs(A[i])",
                                    ("select((A[i] < B[i]) | (A[i] == B[i]), A[i], "
                                     "select((A[i] <= B[i]) & (A[i] != B[i]), B[i], A[i] + B[i]))")};
    for (size_t i = 0; i < COUNT(int_type); i++) check_all(int_type[i], "", e, COUNT(e), 0);
}

static void integer_division_rounds_down(void **state)
{
    static const struct {
        const char *t, *range;
    } row[] = {{"u4", " in 1..16"},  {"u8", " in 1..256"},  {"s8", " in -128..0"},
               {"s8", " in -5..0"},  {"s16", " in 1..9"},   {"u32", " in 1..100000"},
               {"s32", " in -7..0"}, {"s64", " in -9..-1"}, {"s64", " in 3..8"},
               {"u64", " in 1..7"}};
    for (size_t i = 0; i < COUNT(row); i++) {
        check_all(row[i].t, row[i].range, (const char *[]){"A[i] / B[i]", "A[i] % B[i]"}, 2, 0);
    }
    check("s32", "s32", "", "s32", "A[i] / 8:s32 + A[i] % 8:s32", 0);
    check("s16", "s16", "", "s16", "A[i] / -3:s16 + A[i] % -3:s16", 0);
    check("u16", "u16", "", "u16", "A[i] / 10:u16 + A[i] % 10:u16", 0);
}

static void shifts_stay_in_their_width(void **state)
{
    for (size_t i = 0; i < COUNT(int_type); i++) {
        char range[32];
        ll_dtype t;
        assert_true(ll_dtype_parse(int_type[i], &t));
        snprintf(range, sizeof range, " in 0..%d", ll_dtype_bits(t));
        check(int_type[i], int_type[i], range, int_type[i], "(A[i] << B[i]) ^ (A[i] >> B[i])", 0);
    }
}

/* All casts of one source type in one kernel: Y0.. in lanes, one at a time in the scalar copy. */
static void check_casts(const char *from, const char *const *to, size_t n)
{
    for (int scalar = 0; scalar < 2; scalar++) {
        ll_str s = {0};
        ll_str_addf(&s, "kernel k(in %s A[%d], in u8 B[1]", from, N);
        for (size_t i = 0; i < n; i++) ll_str_addf(&s, ", out %s Y%zu[%d]", to[i], i, N);
        ll_str_addf(&s, ") {\n  for i < %d%s {\n", N, scalar ? "" : " @vector");
        for (size_t i = 0; i < n; i++)
            ll_str_addf(&s,
                        strcmp(from, to[i]) ? "    Y%zu[i] = %s(A[i])\n" : "    Y%zu[i] = A[i]\n",
                        i, to[i]);
        ll_str_add(&s, "  } }\n");
        run_text(ll_str_cstr(&s), 0);
        ll_str_finish(&s);
    }
}

static void integers_convert_to_every_integer(void **state)
{
    for (size_t i = 0; i < COUNT(int_type); i++) {
        check_casts(int_type[i], int_type, 8);
        check_casts(int_type[i], int_type + 8, COUNT(int_type) - 8);
    }
}

static void integers_and_floats_convert_both_ways(void **state)
{
    for (size_t i = 0; i < COUNT(int_type); i++)
        check_casts(int_type[i], float_type, COUNT(float_type));
    for (size_t i = 0; i < COUNT(float_type); i++) {
        check_casts(float_type[i], int_type, 8);
        check_casts(float_type[i], int_type + 8, COUNT(int_type) - 8);
    }
}

static void floats_convert_to_floats_with_one_rounding(void **state)
{
    for (size_t i = 0; i < COUNT(float_type); i++)
        check_casts(float_type[i], float_type, COUNT(float_type));
}

static void float_arithmetic_rounds_every_node(void **state)
{
    static const char *const e[] = {"A[i] + B[i]",
                                    "A[i] - B[i]",
                                    "A[i] * B[i]",
                                    "A[i] / B[i]",
                                    "min(A[i], B[i])",
                                    "max(A[i], B[i])",
                                    "neg(A[i])",
                                    "abs(A[i])",
                                    "sqrt(A[i])",
                                    "round(A[i])",
                                    "floor(A[i])",
                                    "select(A[i] < B[i], A[i], B[i])",
                                    "select(A[i] != B[i], A[i] * A[i], B[i] + A[i])"};
    for (size_t i = 0; i < COUNT(float_type); i++) check_all(float_type[i], "", e, COUNT(e), 0);
    check("f32", "f32", "", "f32", "rsqrt(A[i])", 2e-7);
}

static void bits_are_reread(void **state)
{
    check("f32", "f32", "", "u32", "bits.u32(A[i])", 0);
    check("s16", "s16", "", "f16", "bits.f16(A[i])", 0);
    check("u16", "u16", "", "bf16", "bits.bf16(A[i])", 0);
    check("u8", "u8", "", "s8", "bits.s8(A[i])", 0);
    check("u8", "u8", "", "e4m3", "bits.e4m3(A[i])", 0);
    check("f64", "f64", "", "s64", "bits.s64(A[i])", 0);
}

static void rounding_to_codes_saturates(void **state)
{
    check("f32", "f32", "", "s8", "s8(round(A[i] * 100.0:f32))", 0);
    check("f32", "f32", "", "s8", "s8(round(min(max(A[i] * 100.0:f32, -127.0:f32), 127.0:f32)))",
          0);
    check("f32", "f32", "", "u4", "u4(A[i] * 7.0:f32)", 0);
}

static void bools_are_bits_in_memory(void **state)
{
    run_text("kernel k(in bool A[101], in bool B[101], out bool Y[101]) {\n"
             "  for i < 101 @vector {\n"
             "    Y[i] = (A[i] & B[i]) ^ not(A[i] | (B[i] == A[i])) } }\n",
             0);
}

static void index_values_can_be_results(void **state)
{
    check("s32", "s32", "", "f32", "f32(i * 3 + i % 7 - i / 5)", 0);
    check("s32", "s32", "", "s64", "(i ^ 1) + s64(A[i])", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_arithmetic_wraps_to_its_width),
        cmocka_unit_test(integer_division_rounds_down),
        cmocka_unit_test(shifts_stay_in_their_width),
        cmocka_unit_test(integers_convert_to_every_integer),
        cmocka_unit_test(integers_and_floats_convert_both_ways),
        cmocka_unit_test(floats_convert_to_floats_with_one_rounding),
        cmocka_unit_test(float_arithmetic_rounds_every_node),
        cmocka_unit_test(bits_are_reread),
        cmocka_unit_test(rounding_to_codes_saturates),
        cmocka_unit_test(bools_are_bits_in_memory),
        cmocka_unit_test(index_values_can_be_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
