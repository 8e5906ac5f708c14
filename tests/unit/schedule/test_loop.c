/* Lowering, printing, editing and evaluating the loop IR. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

#include "schedule/loop.h"

static void assert_text(const lp_func *f, const char *want)
{
    ll_str s = {0};
    lp_print(&s, f);
    assert_string_equal(ll_str_cstr(&s), want);
    ll_str_finish(&s);
}

static int64_t dim_T(void *ctx, const char *name) { return *(int64_t *)ctx; }

typedef struct gemm { te_graph *g; te_tensor *x, *w, *acc; } gemm;

static gemm make_gemm(void)
{
    gemm v = {.g = te_graph_create()};
    te_graph *g = v.g;
    te_ref T = te_dim(g, "T", 1, 64), N = te_int(g, 6), K = te_int(g, 5);
    v.x = te_input(g, "X", LL_F32, T, K);
    v.w = te_weight(te_input(g, "W", LL_F32, N, K));
    te_ref m = te_axis(g, "m", T), n = te_axis(g, "n", N), k = te_axis(g, "k", K);
    v.acc = te_def(g, "acc", te_sum(te_mul(te_at(v.x, m, k), te_at(v.w, n, k)), k), m, n);
    return v;
}

static void a_contraction_lowers_to_one_nest(void **state)
{
    gemm v = make_gemm();
    ll_error err = {0};
    lp_func *f = lp_lower(v.g, "gemm", &v.acc, 1, NULL, 0, &err);
    assert_non_null(f);
    assert_text(f, "dim T in 1..64\n"
                   "kernel gemm(in f32 X[T, 5], weight f32 W[6, 5], out f32 acc[T, 6]) {\n"
                   "  for acc.m < T {\n"
                   "    for acc.n < 6 {\n"
                   "      acc[acc.m, acc.n] = 0.0\n"
                   "      for acc.k < 5 {\n"
                   "        acc[acc.m, acc.n] += X[acc.m, acc.k] * W[acc.n, acc.k] } } } }\n");
    te_graph_destroy(v.g);
}

static void the_nest_computes_the_contraction_for_every_seed(void **state)
{
    gemm v = make_gemm();
    ll_error err = {0};
    lp_func *f = lp_lower(v.g, "gemm", &v.acc, 1, NULL, 0, &err);
    float x[7 * 5], w[6 * 5], y[7 * 6];
    for (int i = 0; i < 35; i++) x[i] = (float)(i % 11) - 4;
    for (int i = 0; i < 30; i++) w[i] = (float)(i * 7 % 13) - 6;
    int64_t T = 7;
    f->body->u.loop.how = LP_CLAIM;
    for (uint64_t seed = 0; seed < 5; seed++) {
        memset(y, 0xff, sizeof y);
        lp_run run = {(void *[]){x, w, y}, (size_t[]){sizeof x, sizeof w, sizeof y}, dim_T, &T, seed};
        assert_int_equal(lp_eval(f, &run, &err), LL_OK);
        for (int i = 0; i < 42; i++) {
            float s = 0;
            for (int k = 0; k < 5; k++) s += x[i / 6 * 5 + k] * w[i % 6 * 5 + k];
            assert_true(y[i] == s);
        }
    }
    te_graph_destroy(v.g);
}

static void expect_failure(const lp_func *f, const lp_run *run, const char *part)
{
    ll_error err = {0};
    assert_int_not_equal(lp_eval(f, run, &err), LL_OK);
    if (!strstr(err.msg, part)) fail_msg("\"%s\" lacks \"%s\"", err.msg, part);
}

static void the_evaluator_refuses_what_has_no_meaning(void **state)
{
    gemm v = make_gemm();
    ll_error err = {0};
    lp_func *f = lp_lower(v.g, "gemm", &v.acc, 1, NULL, 0, &err);
    float x[7 * 5] = {0}, w[6 * 5] = {0}, y[7 * 6];
    int64_t T = 7;
    lp_run run = {(void *[]){x, w, y}, (size_t[]){sizeof x, sizeof w, sizeof y}, dim_T, &T, 1};
    int64_t big = 65;
    lp_run out_of_range = run, too_small = run;
    out_of_range.ctx = &big;
    expect_failure(f, &out_of_range, "dim T is 65, wanted 1..64");
    size_t bytes[] = {sizeof x, sizeof w, sizeof y - 1};
    too_small.arg_bytes = bytes;
    expect_failure(f, &too_small, "parameter acc has 167 bytes, its elements reach 168");
    lp_stmt *inner = f->body->u.loop.body->u.loop.body;
    lp_stmt *init = inner, *loop = inner->next;
    f->body->u.loop.body->u.loop.body = loop; /* without the initialisation */
    expect_failure(f, &run, "acc[0, 0] is read and was never written");
    f->body->u.loop.body->u.loop.body = init;
    loop->u.loop.body->u.reduce.idx[1] = te_addi(loop->u.loop.body->u.reduce.idx[1], 6);
    expect_failure(f, &run, "is outside 0..6");
    te_graph_destroy(v.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_contraction_lowers_to_one_nest),
        cmocka_unit_test(the_nest_computes_the_contraction_for_every_seed),
        cmocka_unit_test(the_evaluator_refuses_what_has_no_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
