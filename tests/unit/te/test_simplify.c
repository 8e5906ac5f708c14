/* Simplification, ranges, congruences and proofs, on index expressions as schedules make them. */
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
    g = te_graph_create();
    te_graph_use(NULL);
    return g ? 0 : -1;
}

static int teardown(void **state)
{
    if (te_error(g)) fail_msg("graph error: %s", te_error(g)->msg);
    te_graph_destroy(g);
    return 0;
}

static te_ref ax(const char *name, int64_t n) { return te_axis(g, name, te_int(g, n)); }

static void shows(te_ref a, const char *want)
{
    te_ref b = te_simplify(g, a);
    assert_string_equal(te_show(b), want);
    assert_ptr_equal(te_simplify(g, b), b); /* a normal form is its own */
}

static void digits_of_mixed_radix_indices_come_out(void **state)
{
    te_ref ko = ax("ko", 18), gg = ax("g", 8), r = ax("r", 4);
    te_ref k = te_add(te_add(te_muli(ko, 32), te_muli(gg, 4)), r);
    shows(te_modi(te_divi(k, 4), 8), "g");
    shows(te_divi(k, 32), "ko");
    shows(te_modi(k, 4), "r");
    shows(te_divi(te_modi(k, 32), 4), "g");
    shows(te_modi(k, 32), "g * 4 + r");
    shows(te_divi(te_addi(k, 32), 32), "ko + 1");
    te_ref no = ax("no", 48), ns = ax("ns", 2), nl = ax("nl", 16);
    te_ref n = te_add(te_add(te_muli(no, 32), te_muli(ns, 16)), nl);
    shows(te_divi(n, 32), "no");
    shows(te_modi(te_divi(n, 16), 2), "ns");
    shows(te_divi(n, 16), "no * 2 + ns");
    shows(te_divi(n, 8), "no * 4 + ns * 2 + nl / 8");
    shows(te_modi(te_divi(n, 8), 4), "ns * 2 + nl / 8");
}

static void digits_join_again(void **state)
{
    te_ref x = ax("x", 1000), y = ax("y", 7);
    shows(te_add(te_muli(te_divi(x, 4), 4), te_modi(x, 4)), "x");
    shows(te_add(te_muli(te_divi(x, 32), 32),
                 te_add(te_muli(te_modi(te_divi(x, 4), 8), 4), te_modi(x, 4))),
          "x");
    shows(te_add(te_muli(te_modi(te_divi(x, 4), 8), 4), te_modi(x, 4)), "x % 32");
    shows(te_sub(x, te_muli(te_divi(x, 8), 8)), "x % 8");
    te_ref z = te_addi(te_muli(x, 3), 5);
    shows(te_sub(te_add(te_muli(te_divi(z, 4), 4), te_modi(z, 4)), te_muli(x, 3)), "5");
    shows(te_add(te_muli(te_divi(te_add(x, y), 16), 48), te_muli(te_modi(te_add(x, y), 16), 3)),
          "x * 3 + y * 3");
    shows(te_divi(te_divi(x, 4), 8), "x / 32");
    shows(te_modi(te_modi(x, 64), 8), "x % 8");
    shows(te_divi(te_modi(x, 64), 8), "x / 8 % 8");
    shows(te_divi(te_addi(te_divi(x, 4), 3), 8), "(x + 12) / 32");
}

static void symbolic_dims_with_multiples(void **state)
{
    te_ref T = te_dim_multiple(g, "T", 4, 4096, 4), U = te_dim(g, "U", 1, 512);
    shows(te_modi(T, 4), "0");
    shows(te_muli(te_divi(T, 4), 4), "T");
    shows(te_modi(te_addi(T, 3), 4), "3");
    shows(te_divi(te_addi(T, 3), 4), "T / 4");
    te_ref to = te_axis(g, "to", te_divi(T, 4)), ti = ax("ti", 4);
    shows(te_min(te_int(g, 4), te_sub(T, te_muli(to, 4))), "4");
    shows(te_lt(te_add(te_muli(to, 4), ti), T), "true");
    te_ref a = te_axis(g, "a", U), b = te_axis(g, "b", T);
    te_ref flat = te_add(te_mul(a, T), b);
    shows(te_div(flat, T), "a");
    shows(te_mod(flat, T), "b");
    shows(te_sub(te_add(flat, T), te_mul(te_addi(a, 1), T)), "b");
    assert_true(te_prove_lt(flat, te_mul(U, T)));
    assert_false(te_prove_lt(te_addi(flat, 1), te_mul(U, T)));
}

static void tails_are_proved_by_their_clamped_extent(void **state)
{
    te_ref T = te_dim(g, "T", 1, 4096);
    te_ref to = te_axis(g, "to", te_divi(te_addi(T, 31), 32));
    te_ref base = te_muli(to, 32);
    te_ref ti = te_axis(g, "ti", te_min(te_int(g, 32), te_sub(T, base)));
    assert_true(te_prove_lt(te_add(base, ti), T));
    assert_true(te_prove_lt(base, te_addi(T, 31)));
    te_ref t = ax("t", 32);
    assert_false(te_prove_lt(te_add(base, t), T));
    assert_true(te_prove_lt(te_add(base, t), te_muli(te_divi(te_addi(T, 31), 32), 32)));
    shows(te_lt(te_add(base, ti), T), "true");
}

static void guards_lose_their_small_digits(void **state)
{
    te_ref i = ax("i", 100), r = ax("r", 4), b = te_dim(g, "B", 1, 64);
    shows(te_lt(te_add(te_muli(i, 4), r), te_int(g, 64)), "i < 16");
    shows(te_lt(te_muli(i, 4), te_int(g, 61)), "i < 16");
    shows(te_le(te_int(g, 3), i), "3 <= i");
    shows(te_lt(te_add(i, b), te_add(b, te_addi(r, 2))), "i < r + 2");
    shows(te_eq(te_muli(i, 4), te_int(g, 2)), "false");
    shows(te_lt(i, te_int(g, 100)), "true");
    shows(te_select(te_lt(r, te_int(g, 4)), i, b), "i");
    shows(te_min(te_muli(i, 2), te_int(g, 300)), "i * 2");
    shows(te_unary(TE_NOT, te_lt(i, r)), "r <= i");
}

static void index_tensors_bring_their_bounds(void **state)
{
    te_ref S = te_dim(g, "S", 1, 64), T = te_dim(g, "T", 1, 512), zero = te_int(g, 0);
    te_tensor *seg = te_input_index(g, "seg", LL_S32, zero, S, &T, 1);
    te_ref t = te_axis(g, "t", T), s = te_cast(LL_S64, te_at(seg, t));
    assert_true(te_prove_lt(s, S));
    assert_true(te_prove_le(zero, s));
    assert_true(te_prove_lt(te_add(te_mul(s, T), t), te_mul(S, T)));
    assert_false(te_prove_lt(te_addi(s, 1), S));
    te_ref C = te_dim(g, "C", 16, 4096);
    te_tensor *len = te_input_index(g, "len", LL_S32, zero, te_addi(C, 1), &S, 1);
    te_ref sx = te_axis(g, "s", S);
    te_ref j = te_axis_upto(g, "j", te_cast(LL_S64, te_at(len, sx)), C);
    assert_true(te_prove_lt(j, C));
    assert_true(te_prove_lt(j, te_cast(LL_S64, te_at(len, sx))));
    assert_true(te_prove_lt(te_divi(j, 16), te_addi(te_divi(C, 16), 1)));
}

static void congruences_prove_alignment(void **state)
{
    te_ref K = te_dim_multiple(g, "K", 64, 8192, 64), n = ax("n", 576), b = ax("b", 100);
    te_cong c = te_cong_of(te_add(te_mul(n, K), te_addi(te_muli(b, 32), 16)));
    assert_int_equal(c.mod, 32);
    assert_int_equal(c.rem, 16);
    c = te_cong_of(te_divi(te_muli(b, 32), 8));
    assert_int_equal(c.mod, 4);
    te_range r = te_range_of(te_sub(te_muli(b, 32), n));
    assert_int_equal(r.lo, -575);
    assert_int_equal(r.hi, 99 * 32);
}

static void floats_only_exact_identities(void **state)
{
    te_tensor *x = te_input(g, "x", LL_F32, te_int(g, 8));
    te_ref v = te_at(x, ax("i", 8));
    shows(te_mul(v, te_fconst(g, LL_F32, 1)), "x[i]");
    shows(te_add(v, te_fconst(g, LL_F32, 0)), "x[i] + 0.0"); /* -0 + 0 is 0 */
    shows(te_mul(v, te_fconst(g, LL_F32, 0)), "x[i] * 0.0"); /* inf * 0 is NaN */
    shows(te_cast(LL_F16, te_cast(LL_F32, te_cast(LL_F16, v))), "f16(x[i])");
    shows(te_cast(LL_F32, te_cast(LL_F16, v)), "f32(f16(x[i]))");
}

static void affine_forms_list_atoms_by_id(void **state)
{
    te_ref a = ax("a", 10), b = ax("b", 10);
    te_affine f =
        te_affine_of(g, te_sub(te_muli(te_add(b, te_muli(a, 2)), 3), te_addi(te_divi(a, 3), 7)));
    assert_int_equal(f.n, 3);
    assert_int_equal(f.c, -7);
    assert_ptr_equal(f.atom[0], a);
    assert_int_equal(f.coef[0], 6);
    assert_int_equal(f.coef[1], 3);
    assert_int_equal(f.coef[2], -1);
    assert_string_equal(te_show(te_affine_expr(g, &f)), "a * 6 + b * 3 - a / 3 - 7");
}

/* Random expressions over small axes: simplified = original on the whole domain. */
static uint64_t seed;
static unsigned rnd(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static te_ref random_expr(te_ref *leaf, int depth)
{
    if (depth == 0 || rnd(6) == 0) return rnd(3) ? leaf[rnd(4)] : te_int(g, (int64_t)rnd(40) - 8);
    te_ref a = random_expr(leaf, depth - 1);
    static const int64_t radix[] = {2, 3, 4, 8, 16, 12};
    te_ref c = te_int(g, radix[rnd(6)]);
    switch (rnd(9)) {
    case 0: case 1: return te_add(a, random_expr(leaf, depth - 1));
    case 2: return te_sub(a, random_expr(leaf, depth - 1));
    case 3: return te_mul(a, c);
    case 4: return te_div(a, c);
    case 5: return te_mod(a, c);
    case 6: return te_min(a, random_expr(leaf, depth - 1));
    case 7: return te_select(te_lt(a, random_expr(leaf, depth - 1)), a, c);
    default: return te_max(a, c);
    }
}

static te_ref fold(te_ref a, te_ref *leaf, const int64_t *v)
{
    te_ref to[4];
    for (int i = 0; i < 4; i++) to[i] = te_int(g, v[i]);
    return te_subst(g, a, leaf, to, 4);
}

static void random_expressions_keep_their_values(void **state)
{
    te_ref leaf[4] = {ax("p", 5), ax("q", 4), ax("r", 16), te_dim_multiple(g, "D", 4, 24, 4)};
    for (int i = 0; i < 3000; i++) {
        seed = (uint64_t)i;
        te_ref a = random_expr(leaf, 5), b = te_simplify(g, a);
        for (int k = 0; k < 40; k++) {
            int64_t v[4] = {rnd(5), rnd(4), rnd(16), 4 + 4 * (int64_t)rnd(6)};
            te_ref x = fold(a, leaf, v), y = fold(b, leaf, v);
            assert_int_equal(x->op, TE_INT);
            if (x != y) {
                char *was = strdup(te_show(a));
                fail_msg("seed %d: %s -> %s at %d %d %d %d", i, was, te_show(b), (int)v[0],
                         (int)v[1], (int)v[2], (int)v[3]);
            }
            te_range r = te_range_of(b);
            assert_true(r.lo <= y->u.i && y->u.i <= r.hi);
            te_cong c = te_cong_of(a);
            assert_true(c.mod ? (y->u.i - c.rem) % c.mod == 0 : y->u.i == c.rem);
        }
        te_ref d = te_simplify(g, b);
        if (d != b) {
            char *was = strdup(te_show(b));
            fail_msg("seed %d: %s is not its own normal form: %s", i, was, te_show(d));
        }
    }
}

static void proofs_hold_on_the_whole_domain(void **state)
{
    te_ref leaf[4] = {ax("p", 5), ax("q", 4), ax("r", 16), te_dim_multiple(g, "D", 4, 24, 4)};
    int proved = 0;
    for (int i = 0; i < 2000; i++) {
        seed = (uint64_t)i + 77777;
        te_ref a = random_expr(leaf, 3), b = random_expr(leaf, 3);
        bool lt = te_prove_lt(a, b), eq = te_prove_eq(a, b);
        proved += lt;
        for (int k = 0; k < 30 && (lt || eq); k++) {
            int64_t v[4] = {rnd(5), rnd(4), rnd(16), 4 + 4 * (int64_t)rnd(6)};
            int64_t x = fold(a, leaf, v)->u.i, y = fold(b, leaf, v)->u.i;
            if (lt) assert_true(x < y);
            if (eq) assert_true(x == y);
        }
    }
    assert_true(proved > 100);
}

static void long_sums_are_not_quadratic_or_deep(void **state)
{
    te_tensor *x = te_input(g, "x", LL_F32, te_int(g, 30000));
    te_ref i = ax("i", 2), sum = te_fconst(g, LL_F32, 0.5);
    for (int k = 0; k < 20000; k++) {
        te_ref at = te_add(te_divi(te_add(te_muli(te_int(g, k), 2), i), 2),
                           te_modi(te_add(i, te_int(g, 2)), 2));
        sum = te_add(sum, te_at(x, at));
    }
    te_ref b = te_simplify(g, sum);
    assert_string_equal(te_show(b->src[1]), "x[i + 19999]");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(digits_of_mixed_radix_indices_come_out),
        T(digits_join_again),
        T(symbolic_dims_with_multiples),
        T(tails_are_proved_by_their_clamped_extent),
        T(guards_lose_their_small_digits),
        T(index_tensors_bring_their_bounds),
        T(congruences_prove_alignment),
        T(floats_only_exact_identities),
        T(affine_forms_list_atoms_by_id),
        T(random_expressions_keep_their_values),
        T(proofs_hold_on_the_whole_domain),
        T(long_sums_are_not_quadratic_or_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
