/* The evaluator: rounding, laziness, ragged extents, updates, points against whole tensors,
 * errors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "te/te.h"

static te_graph *g;
static te_env *e;
static ll_error err;

static int setup(void **state)
{
    te_graph_use(NULL);
    g = te_graph_create();
    e = te_env_create(g);
    err = (ll_error){0};
    return 0;
}

static int teardown(void **state)
{
    te_env_destroy(e);
    te_graph_destroy(g);
    return 0;
}

static void parse(const char *text)
{
    if (te_parse(g, text, "text", &err) != LL_OK) fail_msg("%s", err.msg);
}

static void dim(const char *name, int64_t v)
{
    if (te_env_dim(e, name, v, &err) != LL_OK) fail_msg("%s", err.msg);
}

static void bind_f(const char *name, const double *v, size_t n)
{
    te_value *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i].f = v[i];
    if (te_env_bind(e, te_find(g, name), x, n, &err) != LL_OK) fail_msg("%s", err.msg);
    free(x);
}

static void bind_i(const char *name, const int64_t *v, size_t n)
{
    te_value *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i].i = v[i];
    if (te_env_bind(e, te_find(g, name), x, n, &err) != LL_OK) fail_msg("%s", err.msg);
    free(x);
}

static const te_value *eval(const char *name, size_t want)
{
    const te_value *v = NULL;
    size_t n;
    if (te_eval(e, te_find(g, name), &v, &n, &err) != LL_OK) fail_msg("%s", err.msg);
    assert_int_equal(n, want);
    return v;
}

static void sums_round_once_and_other_nodes_each_time(void **state)
{
    parse("in f32 x[4]\n"
          "def f32 s[] = sum(i: x[i])\n"
          "def f32 t[] = x[0] + x[1] + x[2] + x[3]\n"
          "def f16 h[i] = f16(x[i]) + 1.0:f16\n");
    bind_f("x", (double[]){16777216, 1, 1, 1}, 4);
    assert_true(eval("s", 1)[0].f == 16777220); /* 16777219 rounded once */
    assert_true(eval("t", 1)[0].f == 16777216); /* ties to even, three times */
    const te_value *h = eval("h", 4);
    assert_true(isinf(h[0].f) && h[1].f == 2);
}

static void integers_wrap_and_divide_toward_minus_infinity(void **state)
{
    parse("in s8 a[3]\nin s8 b[3]\n"
          "def s8 c[i] = a[i] + b[i]\ndef s8 q[i] = a[i] / b[i]\ndef s8 r[i] = a[i] % b[i]\n"
          "def s32 dot[] = sum(i: s32(a[i]) * s32(b[i]))\n"
          "def u8 u[i] = u8(a[i]) >> 1:u8\ndef s8 s[i] = a[i] >> 1:s8\n");
    bind_i("a", (int64_t[]){100, -7, 7}, 3);
    bind_i("b", (int64_t[]){100, 2, -2}, 3);
    const te_value *v = eval("c", 3);
    assert_true(v[0].i == -56 && v[1].i == -5 && v[2].i == 5);
    v = eval("q", 3);
    assert_true(v[1].i == -4 && v[2].i == -4);
    v = eval("r", 3);
    assert_true(v[1].i == 1 && v[2].i == -1);
    assert_true(eval("dot", 1)[0].i == 10000 - 14 - 14);
    assert_true(eval("u", 3)[1].i == 124 && eval("s", 3)[1].i == -4);
}

static void select_does_not_evaluate_the_other_branch(void **state)
{
    parse("in f32 x[3]\n"
          "def f32 shifted[i < 3] = select(0 < i, x[i - 1], 0.0)\n"
          "def s64 d[i < 3] = select(i == 0, -1, 12 / i)\n");
    bind_f("x", (double[]){1, 2, 3}, 3);
    const te_value *v = eval("shifted", 3);
    assert_true(v[0].f == 0 && v[1].f == 1 && v[2].f == 2);
    v = eval("d", 3);
    assert_true(v[0].i == -1 && v[1].i == 12 && v[2].i == 6);
}

static void reductions_have_identities_and_initial_values(void **state)
{
    parse("dim N in 0..8\nin f32 x[N]\nin s32 k[N]\nin f32 w[]\n"
          "def f32 s[] = sum(i: x[i])\ndef f32 m[] = max(i: x[i])\ndef f32 lo[] = min(i: x[i])\n"
          "def s32 ki[] = max(i: k[i])\ndef s64 a[] = argmax(i: x[i])\ndef s64 b[] = argmax(i, j < "
          "2: x[i])\n"
          "def f32 mi[] = max(i: x[i]) from w[]\ndef f32 si[] = sum(i: x[i]) from w[]\n");
    te_env *empty = te_env_create(g);
    te_env_dim(empty, "N", 0, &err);
    te_env_bind(empty, te_find(g, "x"), NULL, 0, &err);
    te_env_bind(empty, te_find(g, "k"), NULL, 0, &err);
    te_env_bind(empty, te_find(g, "w"), &(te_value){.f = -3}, 1, &err);
    te_env *full = e;
    e = empty;
    assert_true(eval("s", 1)[0].f == 0 && eval("m", 1)[0].f == (double)-INFINITY &&
                eval("lo", 1)[0].f == (double)INFINITY);
    assert_true(eval("ki", 1)[0].i == INT32_MIN && eval("a", 1)[0].i == 0 &&
                eval("mi", 1)[0].f == -3);
    te_env_destroy(empty);
    e = full;
    dim("N", 4);
    bind_f("x", (double[]){-9, 5, (double)NAN, 5}, 4);
    bind_f("w", (double[]){7}, 1);
    assert_true(eval("m", 1)[0].f == 5 && eval("a", 1)[0].i == 1 && eval("b", 1)[0].i == 2);
    assert_true(eval("mi", 1)[0].f == 7 && eval("lo", 1)[0].f == -9);
    assert_true(isnan(eval("si", 1)[0].f));
}

static const char ragged[] = "dim S in 1..4\ndim C in 1..16\n"
                             "in s32 len[S] in 0..C + 1\nin f32 x[S, C]\n"
                             "def f32 total[s] = sum(j < s64(len[s]) <= C: x[s, j])\n"
                             "def f32 twice[s, j < s64(len[s]) <= C] = x[s, j] * 2.0\n"
                             "def f32 top[s] = max(j < s64(len[s]) <= C: twice[s, j])\n";

static void ragged_extents_follow_their_index_tensor(void **state)
{
    parse(ragged);
    dim("S", 3);
    dim("C", 4);
    bind_i("len", (int64_t[]){0, 3, 4}, 3);
    double x[12];
    for (int i = 0; i < 12; i++) x[i] = i;
    bind_f("x", x, 12);
    const te_value *v = eval("total", 3);
    assert_true(v[0].f == 0 && v[1].f == 4 + 5 + 6 && v[2].f == 8 + 9 + 10 + 11);
    v = eval("twice", 12);
    assert_true(v[0].f == 0 && v[6].f == 12 && v[7].f == 0);
    v = eval("top", 3);
    assert_true(v[0].f == (double)-INFINITY && v[1].f == 12 && v[2].f == 22);
}

static void an_element_out_of_reach_has_no_value(void **state)
{
    parse("in s32 len[2] in 0..5\n"
          "def s64 a[s < 2, j < s64(len[s]) <= 4] = s * 10 + j\n"
          "def s64 b[s < 2] = a[s, 2]\n");
    bind_i("len", (int64_t[]){3, 2}, 2);
    const te_value *v;
    size_t n;
    te_value p;
    int64_t s = 0;
    assert_int_equal(te_eval_point(e, te_find(g, "b"), &s, &p, &err), LL_OK);
    assert_true(p.i == 2);
    s = 1;
    assert_int_equal(te_eval_point(e, te_find(g, "b"), &s, &p, &err), LL_FAILED);
    err = (ll_error){0};
    assert_int_equal(te_eval(e, te_find(g, "b"), &v, &n, &err), LL_FAILED);
    assert_non_null(strstr(err.msg, "b: reads element 6 of a, which its axes do not reach"));
    int64_t at[2] = {1, 2}; /* asked for itself it is 0, whole or not */
    err = (ll_error){0};
    assert_int_equal(te_eval_point(e, te_find(g, "a"), at, &p, &err), LL_OK);
    assert_true(p.i == 0 && eval("a", 8)[6].i == 0 && eval("a", 8)[5].i == 11);
}

static void points_equal_whole_tensors(void **state)
{
    parse(ragged);
    te_env *other = te_env_create(g);
    for (int k = 0; k < 2; k++) {
        dim("S", 3);
        dim("C", 16);
        bind_i("len", (int64_t[]){5, 16, 1}, 3);
        double x[48];
        for (int i = 0; i < 48; i++) x[i] = (i * 37) % 11 - 5;
        bind_f("x", x, 48);
        te_env *t = e;
        e = other;
        other = t;
    }
    const te_value *all = eval("top", 3);
    for (int64_t s = 0; s < 3; s++) {
        te_value p;
        assert_int_equal(te_eval_point(other, te_find(g, "top"), &s, &p, &err), LL_OK);
        assert_true(p.f == all[s].f);
        double sum;
        int64_t n;
        assert_int_equal(te_eval_bound(other, te_find(g, "total"), &s, &p, &sum, &n, &err), LL_OK);
        assert_int_equal(n, s == 0 ? 5 : s == 1 ? 16 : 1);
        assert_true(sum >= fabs(p.f));
    }
    te_env_destroy(other);
}

static void updates_make_new_versions(void **state)
{
    parse("in f32 pool[6, 2]\nin s32 at[3] in 0..6\nin f32 x[3, 2]\n"
          "update f32 next[t, d] = x[t, d] + 1.0 into pool[s64(at[t]), d]\n"
          "def f32 all[] = sum(r, d: next[r, d])\n");
    bind_f("pool", (double[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 12);
    bind_i("at", (int64_t[]){5, 0, 2}, 3);
    bind_f("x", (double[]){50, 51, 52, 53, 54, 55}, 6);
    te_value p;
    int64_t rows[2][2] = {{5, 1}, {4, 1}};
    assert_int_equal(te_eval_point(e, te_find(g, "next"), rows[0], &p, &err), LL_OK);
    assert_true(p.f == 52);
    assert_int_equal(te_eval_point(e, te_find(g, "next"), rows[1], &p, &err), LL_OK);
    assert_true(p.f == 9);
    const te_value *v = eval("next", 12);
    assert_true(v[0].f == 53 && v[3].f == 3 && v[4].f == 55 && v[11].f == 52);
    assert_true(eval("all", 1)[0].f == 53 + 54 + 2 + 3 + 55 + 56 + 6 + 7 + 8 + 9 + 51 + 52);
    te_env *again = te_env_create(g); /* two tokens in one place */
    te_env *first = e;
    e = again;
    bind_f("pool", (double[12]){0}, 12);
    bind_i("at", (int64_t[]){5, 0, 5}, 3);
    bind_f("x", (double[6]){0}, 6);
    const te_value *out;
    size_t n;
    assert_int_equal(te_eval(e, te_find(g, "next"), &out, &n, &err), LL_FAILED);
    assert_non_null(strstr(err.msg, "two iterations write element 10"));
    te_env_destroy(again);
    e = first;
}

static void what_has_no_value_is_an_error_that_names_it(void **state)
{
    parse(
        "in f32 x[4]\nin s32 i[2]\ndim N in 1..9\nin f32 z[N]\n"
        "def f32 a[k] = x[s64(i[k])]\ndef s32 b[k] = 7:s32 / i[k]\ndef s32 c[k] = 1:s32 << i[k]\n");
    const te_value *v;
    size_t n;
    assert_int_equal(te_eval(e, te_find(g, "a"), &v, &n, &err), LL_USAGE);
    assert_non_null(strstr(err.msg, "i is not bound"));
    bind_f("x", (double[4]){0}, 4);
    bind_i("i", (int64_t[]){3, 4}, 2);
    err = (ll_error){0};
    assert_int_equal(te_eval(e, te_find(g, "a"), &v, &n, &err), LL_FAILED);
    assert_non_null(strstr(err.msg, "index 0 of x is 4, its size is 4"));
    te_value p;
    err = (ll_error){0};
    int64_t k = 0;
    assert_int_equal(te_eval_point(e, te_find(g, "a"), &k, &p, &err), LL_OK); /* still usable */
    k = 1;
    assert_int_equal(te_eval_point(e, te_find(g, "a"), &k, &p, &err), LL_FAILED);
    err = (ll_error){0};
    assert_int_equal(te_env_bind(e, te_find(g, "z"), &p, 1, &err), LL_USAGE);
    assert_non_null(strstr(err.msg, "dim N is not bound"));
    err = (ll_error){0};
    assert_int_equal(te_env_dim(e, "N", 10, &err), LL_USAGE);
    te_env *o = te_env_create(g);
    te_env_bind(o, te_find(g, "i"), (te_value[]){{.i = 0}, {.i = 32}}, 2, &err);
    err = (ll_error){0};
    assert_int_equal(te_eval(o, te_find(g, "b"), &v, &n, &err), LL_FAILED);
    assert_non_null(strstr(err.msg, "DIV of 7 and 0 has no value"));
    err = (ll_error){0};
    assert_int_equal(te_eval(o, te_find(g, "c"), &v, &n, &err), LL_FAILED);
    te_env_destroy(o);
}

static void bounds_of_index_inputs_are_checked(void **state)
{
    parse("dim S in 1..4\nin s32 seg[3] in 0..S\n");
    dim("S", 2);
    te_value v[3] = {{.i = 0}, {.i = 1}, {.i = 2}};
    assert_int_equal(te_env_bind(e, te_find(g, "seg"), v, 3, &err), LL_BAD_INPUT);
    assert_non_null(strstr(err.msg, "seg: element 2 is 2, wanted 0 <= value < 2"));
    v[2].i = 0;
    assert_int_equal(te_env_bind(e, te_find(g, "seg"), v, 3, &err), LL_OK);
}

static void packed_memory_of_every_width(void **state)
{
    for (int t = 0; t < LL_N_DTYPES; t++) {
        unsigned char mem[8 * 40] = {0};
        for (size_t i = 0; i < 40; i++) {
            te_value v = {.i = te_wrap_to((ll_dtype)t, (int64_t)i * 0x9E3779B97F4A7C15)};
            if (ll_dtype_is_float((ll_dtype)t))
                v.f = te_round_to((ll_dtype)t, (double)i * 0.37 - 3);
            te_value_store((ll_dtype)t, mem, i, v);
        }
        for (size_t i = 0; i < 40; i++) {
            te_value v = {.i = te_wrap_to((ll_dtype)t, (int64_t)i * 0x9E3779B97F4A7C15)},
                     w = {.i = 0};
            if (ll_dtype_is_float((ll_dtype)t))
                v.f = te_round_to((ll_dtype)t, (double)i * 0.37 - 3);
            te_value_load((ll_dtype)t, mem, i, &w);
            if (v.i != w.i) fail_msg("%s element %zu", ll_dtype_name((ll_dtype)t), i);
        }
    }
}

static void casts_round_saturate_and_wrap(void **state)
{
    static const struct {
        ll_dtype to, from;
        double f;
        int64_t i;
        double want_f;
        int64_t want_i;
    } c[] = {
        {LL_S8, LL_F32, 127.9, 0, 0, 127},
        {LL_S8, LL_F32, 300, 0, 0, 127},
        {LL_S8, LL_F32, -300, 0, 0, -128},
        {LL_U8, LL_F32, -1, 0, 0, 0},
        {LL_U4, LL_F32, 99, 0, 0, 15},
        {LL_S64, LL_F64, 1e30, 0, 0, INT64_MAX},
        {LL_U64, LL_F64, 1e30, 0, 0, -1},
        {LL_S32, LL_F32, -2.9, 0, 0, -2},
        {LL_U8, LL_S32, 0, 257, 0, 1},
        {LL_S8, LL_S32, 0, 200, 0, -56},
        {LL_F32, LL_S64, 0, 16777217, 16777216, 0},
        {LL_F32, LL_S64, 0, (INT64_C(1) << 60) + (INT64_C(1) << 36) + 1, 0x1p60 + 0x1p37,
         0}, /* not through double */
        {LL_F32, LL_U64, 0, -1, 0x1p64, 0},
        {LL_F16, LL_F32, 65520, 0, HUGE_VAL, 0},
        {LL_E4M3, LL_F32, 1000, 0, 448, 0},
    };
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        te_value v = {.i = c[k].i}, r = {.i = 0};
        if (ll_dtype_is_float(c[k].from)) v.f = c[k].f;
        assert_true(te_apply(TE_CAST, c[k].to, c[k].from, &v, &r));
        if (ll_dtype_is_float(c[k].to) ? r.f != c[k].want_f : r.i != c[k].want_i)
            fail_msg("case %zu: %g %lld", k, r.f, (long long)r.i);
    }
}

static void deep_expressions_and_many_definitions(void **state)
{
    parse("in f32 x[4]\n");
    te_tensor *t = te_find(g, "x");
    for (int k = 0; k < 500; k++) {
        te_ref i = te_axis(g, "i", te_int(g, 4)), v = te_at(t, i);
        for (int d = 0; d < 20; d++) v = te_add(v, te_fconst(g, LL_F32, 0.5));
        t = te_def(g, "y", v, i);
    }
    bind_f("x", (double[]){0, 1, 2, 3}, 4);
    assert_true(eval("y.500", 4)[3].f == 3 + 500 * 10);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(sums_round_once_and_other_nodes_each_time),
        T(integers_wrap_and_divide_toward_minus_infinity),
        T(select_does_not_evaluate_the_other_branch),
        T(reductions_have_identities_and_initial_values),
        T(ragged_extents_follow_their_index_tensor),
        T(an_element_out_of_reach_has_no_value),
        T(points_equal_whole_tensors),
        T(updates_make_new_versions),
        T(what_has_no_value_is_an_error_that_names_it),
        T(bounds_of_index_inputs_are_checked),
        T(packed_memory_of_every_width),
        T(casts_round_saturate_and_wrap),
        T(deep_expressions_and_many_definitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
