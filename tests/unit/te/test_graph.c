/* Graphs: interning, child graphs, types, errors, rewriting and the printed form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "te/te.h"

static te_graph *g;

static int setup(void **state)
{
    te_graph_use(NULL);
    g = te_graph_create();
    return g ? 0 : -1;
}

static int teardown(void **state)
{
    te_graph_destroy(g);
    return 0;
}

static void equal_expressions_are_one_pointer(void **state)
{
    te_ref a = te_axis(g, "a", te_int(g, 4)), b = te_axis(g, "a", te_int(g, 4));
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(te_addi(te_muli(a, 3), 1), te_addi(te_muli(a, 3), 1));
    assert_ptr_not_equal(te_muli(a, 3), te_muli(b, 3));
    assert_ptr_not_equal(te_fconst(g, LL_F32, 0.0), te_fconst(g, LL_F32, -0.0));
    assert_ptr_equal(te_fconst(g, LL_F32, 0.1), te_fconst(g, LL_F32, (double)0.1f));
}

static void a_child_sees_its_parent_and_leaves_it_alone(void **state)
{
    te_ref a = te_axis(g, "a", te_int(g, 4)), sum = te_addi(a, 1);
    te_tensor *x = te_input(g, "x", LL_F32, te_int(g, 4));
    size_t used = te_arena(g)->used;
    te_graph *c = te_graph_child(g);
    assert_ptr_equal(te_addi(a, 1), sum);
    te_ref new = te_muli(a, 9); /* operands of the parent only */
    assert_ptr_equal(new->g, c);
    assert_ptr_equal(te_find(c, "x"), x);
    te_tensor *y = te_def(c, "y", te_at(x, a), a);
    assert_int_equal(te_n_tensors(c), 2);
    assert_ptr_equal(te_tensor_at(c, 1), y);
    assert_null(te_find(g, "y"));
    assert_int_equal(te_arena(g)->used, used);
    te_graph *d = te_graph_child(g);
    te_ref other = te_muli(a, 10);
    assert_ptr_equal(other->g, d);
    assert_true(te_is_poison(te_add(new, other)));
    te_graph_destroy(d);
    te_graph_use(c);
    assert_ptr_equal(te_muli(a, 9), new);
    te_graph_destroy(c);
}

static void literals_fold_with_their_type(void **state)
{
    assert_ptr_equal(te_add(te_iconst(g, LL_U8, 200), te_iconst(g, LL_U8, 100)),
                     te_iconst(g, LL_U8, 44));
    assert_ptr_equal(te_div(te_int(g, -7), te_int(g, 2)), te_int(g, -4));
    assert_ptr_equal(te_mod(te_int(g, -7), te_int(g, 2)), te_int(g, 1));
    assert_int_equal(te_div(te_int(g, 1), te_int(g, 0))->op, TE_DIV); /* has no value: stays */
    assert_ptr_equal(te_add(te_fconst(g, LL_F16, 2048), te_fconst(g, LL_F16, 1)),
                     te_fconst(g, LL_F16, 2048));
    assert_ptr_equal(te_cast(LL_S8, te_fconst(g, LL_F32, 300)), te_iconst(g, LL_S8, 127));
    assert_ptr_equal(te_bits(LL_U32, te_fconst(g, LL_F32, 1)), te_iconst(g, LL_U32, 0x3f800000));
}

static void definition_prints_as_it_is_read(void **state)
{
    te_ref M = te_dim(g, "M", 1, 512), N = te_int(g, 16), K = te_int(g, 64);
    te_ref m = te_axis(g, "m", M), n = te_axis(g, "n", N), k = te_axis(g, "k", K);
    te_tensor *X = te_input(g, "X", LL_F16, M, K), *W = te_weight(te_input(g, "W", LL_F16, N, K));
    te_def(g, "acc",
           te_sum(te_mul(te_cast(LL_F32, te_at(X, m, k)), te_cast(LL_F32, te_at(W, n, k))), k), m,
           n);
    te_ref i = te_axis(g, "i", te_int(g, 4));
    te_def(g, "acc", te_sub(te_muli(te_addi(i, -3), 2), te_sub(i, te_modi(te_divi(i, 2), 2))), i);
    ll_str s = {0};
    te_print(&s, g);
    assert_null(te_error(g));
    assert_string_equal(ll_str_cstr(&s), "dim M in 1..512\n"
                                         "in f16 X[M, 64]\n"
                                         "in f16 W[16, 64] weight\n"
                                         "def f32 acc[m, n] = sum(k: f32(X[m, k]) * f32(W[n, k]))\n"
                                         "def s64 acc.2[i < 4] = (i + -3) * 2 - (i - i / 2 % 2)\n");
    ll_str_finish(&s);
}

static void paged_loads_expand_at_once(void **state)
{
    te_ref S = te_dim(g, "S", 1, 8), P = te_dim(g, "P", 1, 1024);
    te_tensor *pool = te_input(g, "pool", LL_F16, P, te_int(g, 32), te_int(g, 2), te_int(g, 64));
    te_tensor *table =
        te_input_index(g, "table", LL_S32, te_int(g, 0), P, (te_ref[]){S, te_int(g, 128)}, 2);
    te_tensor *K = te_paged(g, "K", pool, table, 32);
    te_ref s = te_axis(g, "s", S), j = te_axis(g, "j", te_int(g, 4096)), z = te_int(g, 0);
    assert_string_equal(te_show(te_at(K, s, j, z, z)), "pool[s64(table[s, j / 32]), j % 32, 0, 0]");
    assert_ptr_equal(K->shape[1], te_int(g, 4096));
    ll_str o = {0};
    te_print_tensor(&o, K);
    assert_string_equal(ll_str_cstr(&o), "paged f16 K = pool by table, block 32");
    ll_str_finish(&o);
    assert_null(te_error(g));
}

static void same_names_are_told_apart_in_print(void **state)
{
    te_ref a = te_axis(g, "k", te_int(g, 4)), b = te_axis(g, "k", te_int(g, 4));
    assert_string_equal(te_show(te_add(a, te_muli(b, 2))), "k + k_2 * 2");
}

static void the_first_error_sticks(void **state)
{
    te_tensor *x = te_input(g, "x", LL_F32, te_int(g, 4));
    te_ref i = te_axis(g, "i", te_int(g, 4));
    te_ref bad = te_add(te_at(x, i), te_int(g, 1));
    assert_true(te_is_poison(bad));
    assert_true(te_is_poison(te_mul(bad, i)));
    te_tensor *t = te_def(g, "t", bad, i);
    assert_true(te_is_poison(te_at(t, i)));
    te_tensor *u = te_input(g, "u", LL_F32, t->shape[0]);
    assert_true(te_is_poison(te_at(u, i)));
    assert_non_null(strstr(te_error(g)->msg, "ADD of f32 and s64"));
    assert_int_equal(te_error(g)->code, LL_USAGE);
}

static void misuse_names_file_line_and_axis(void **state)
{
    te_tensor *x = te_input(g, "x", LL_F32, te_int(g, 4), te_int(g, 5));
    te_ref i = te_axis(g, "i", te_int(g, 4)), j = te_axis(g, "j", te_int(g, 5));
    te_def(g, "y", te_at(x, i, j), i);
    assert_non_null(strstr(te_error(g)->msg, "test_graph.c:"));
    assert_non_null(strstr(te_error(g)->msg, "y: j is free in its body"));
}

static void reductions_are_roots_only(void **state)
{
    te_tensor *x = te_input(g, "x", LL_F32, te_int(g, 4));
    te_ref i = te_axis(g, "i", te_int(g, 4));
    assert_true(te_is_poison(te_neg(te_sum(te_at(x, i), i))));
    assert_non_null(strstr(te_error(g)->msg, "root of a definition"));
}

static void extents_use_axes_further_out_only(void **state)
{
    te_ref T = te_dim(g, "T", 1, 64);
    te_tensor *n = te_input_index(g, "n", LL_S64, te_int(g, 0), te_int(g, 10), &T, 1);
    te_ref t = te_axis(g, "t", T), j = te_axis_upto(g, "j", te_at(n, t), te_int(g, 9));
    te_tensor *a = te_def(g, "a", te_sum(te_cast(LL_F32, j), j), t);
    assert_null(te_error(g));
    ll_str o = {0};
    te_print_tensor(&o, a);
    assert_string_equal(ll_str_cstr(&o), "def f32 a[t < T] = sum(j < n[t] <= 9: f32(j))");
    ll_str_finish(&o);
    te_def(g, "b", te_cast(LL_F32, j), j, t);
    assert_non_null(strstr(te_error(g)->msg, "the extent of axis j uses t"));
}

static te_ref double_ints(te_ref a, void *ctx)
{
    ++*(int *)ctx;
    return a->op == TE_INT ? te_int(a->g, a->u.i * 2) : a;
}

static void rewriting_visits_shared_nodes_once(void **state)
{
    te_ref i = te_axis(g, "i", te_int(g, 4)), a = te_addi(i, 1);
    for (int k = 0; k < 60; k++) a = te_add(a, te_mul(a, i)); /* 2^60 paths */
    int calls = 0;
    te_ref b = te_rewrite(g, a, double_ints, &calls);
    assert_int_equal(calls, 123);
    assert_true(te_uses(b, te_addi(i, 2)));
    assert_false(te_uses(b, te_addi(i, 1)));
    te_ref j = te_axis(g, "j", te_int(g, 4));
    assert_false(te_uses(te_subst(g, a, &i, &j, 1), i));
}

static void many_definitions_of_one_name(void **state)
{
    te_ref i = te_axis(g, "i", te_int(g, 4));
    te_tensor *t = NULL;
    for (int k = 0; k < 20000; k++) t = te_def(g, "y", te_addi(i, k), i);
    assert_string_equal(t->name, "y.20000");
    te_graph *c = te_graph_child(g);
    assert_string_equal(te_def(c, "y", te_addi(i, 1), i)->name, "y.20001");
    te_graph_destroy(c);
    assert_ptr_equal(te_find(g, "y.777"), te_tensor_at(g, 776));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(equal_expressions_are_one_pointer),
        T(a_child_sees_its_parent_and_leaves_it_alone),
        T(literals_fold_with_their_type),
        T(definition_prints_as_it_is_read),
        T(paged_loads_expand_at_once),
        T(same_names_are_told_apart_in_print),
        T(the_first_error_sticks),
        T(misuse_names_file_line_and_axis),
        T(reductions_are_roots_only),
        T(extents_use_axes_further_out_only),
        T(rewriting_visits_shared_nodes_once), T(many_definitions_of_one_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
