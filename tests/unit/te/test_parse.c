/* The text form: what prints parses back to the identical nodes; refusals name their place; the
 * canonical text forgets names and the order of creation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "te/quant.h"
#include "te/te.h"

static void round_trip(const char *text)
{
    te_graph *g = te_graph_create(), *h = te_graph_create();
    ll_error err = {0};
    ll_str a = {0}, b = {0};
    if (te_parse(g, text, "text", &err) != LL_OK) fail_msg("%s", err.msg);
    te_print(&a, g);
    if (te_parse(h, ll_str_cstr(&a), "printed", &err) != LL_OK)
        fail_msg("%s\n%s", err.msg, ll_str_cstr(&a));
    te_print(&b, h);
    assert_string_equal(ll_str_cstr(&b), ll_str_cstr(&a));
    assert_string_equal(ll_str_cstr(&a), text);
    ll_str_finish(&a);
    ll_str_finish(&b);
    te_graph_destroy(h);
    te_graph_destroy(g);
    te_graph_use(NULL);
}

static void every_statement_prints_as_it_was_written(void **state)
{
    round_trip("dim T in 1..512\n"
               "dim K in 64..4096 multiple 64\n"
               "dim S in 1..8\n"
               "dim P in 1..1024\n"
               "in f32 x[T, K]\n"
               "in q4_1 W[576, K] weight\n"
               "in s32 seg[T] in 0..S\n"
               "in s64 pos[T] in 0..4096\n"
               "in s32 table[S, 128] in 0..P\n"
               "in f16 pool[P, 32, 64]\n"
               "in f32 one[]\n"
               "def f32 acc[t, n] = sum(k: x[t, k] * (f32(W.d[n, k / 32]) * f32(W.q[n, k]) + "
               "f32(W.m[n, k / 32])))\n"
               "def f32 acc2[t] = max(k: x[t, k]) from one[]\n"
               "update f16 pool2[t, d < 64] = f16(x[t, d]) into pool[s64(table[s64(seg[t]), pos[t] "
               "/ 32]), "
               "pos[t] % 32, d]\n"
               "paged f16 V = pool2 by table, block 32\n"
               "def f32 l[t] = sum(j < pos[t] + 1 <= 4096: f32(pool2[s64(table[s64(seg[t]), j / "
               "32]), j % 32, 0]))\n"
               "def s64 best[t] = argmax(k: x[t, k])\n"
               "def f32 both[] = sum(t, k: x[t, k])\n");
}

static void parentheses_are_the_least_that_keep_the_nodes(void **state)
{
    static const char *const same[] = {
        "i * 4 + j",
        "(i + 4) * j",
        "i - (j - 1)",
        "i - j - 1",
        "i / (j / 2)",
        "i / 4 % 8",
        "i * (j % 3)",
        "(i < j) == (j < 3)",
        "(i < j) & (j < 3) | (i == 2)",
        "(i & 3) + 1",
        "(i >> 2) & 7",
        "(i << 2) | j",
        "(i + 1) >> 2",
        "select(i <= j, i, -3)",
        "neg(i)",
        "-1 - i",
        "i + -1",
        "min(i, max(j, 2))",
        "f16(i) * 1.5:f16",
        "f32(i) + 1e-05",
        "bits.u32(f32(i)) & 255:u32",
        "f32(i) * -0.0",
        "f32(i) == inf",
        "max(f32(i), -inf)",
        "f64(i) / 3.0:f64",
        "true",
        "u8(i) + 7:u8",
        "(i & 1) & j",
        "i & (1 & j)",
        "i ^ (j | 1)",
        "not(i < 3)",
        "exp(rsqrt(f32(i)))",
        "f32(i) == nan",
        "u64(i) ^ 18446744073709551615:u64",
    };
    te_graph *g = te_graph_create();
    te_scope scope[2] = {{"i", te_axis(g, "i", te_int(g, 9))},
                         {"j", te_axis(g, "j", te_int(g, 9))}};
    for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
        ll_error err = {0};
        te_ref a = te_parse_expr(g, same[k], scope, 2, &err);
        if (!a) fail_msg("%s: %s", same[k], err.msg);
        if (strcmp(same[k], "(i & 1) & j") == 0) { /* left-associative: prints without */
            assert_string_equal(te_show(a), "i & 1 & j");
            continue;
        }
        if (strcmp(same[k], "(i < j) & (j < 3) | (i == 2)") == 0) {
            assert_string_equal(te_show(a), "((i < j) & (j < 3)) | (i == 2)");
            continue;
        }
        assert_string_equal(te_show(a), same[k]);
        assert_ptr_equal(te_parse_expr(g, te_show(a), scope, 2, &err), a);
    }
    te_graph_destroy(g);
}

static uint64_t seed;
static unsigned rnd(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static te_ref any(te_graph *g, te_ref i, te_ref j, ll_dtype t, int depth)
{
    te_ref c = te_lt(i, te_addi(j, (int64_t)rnd(5)));
    bool f = ll_dtype_is_float(t);
    if (depth == 0) {
        if (rnd(2)) return te_cast(t, rnd(2) ? i : j);
        return f ? te_fconst(g, t, ((double)rnd(2000) - 1000) * (rnd(3) ? 0.37 : 1e-9))
                 : te_iconst(g, t, rnd(100));
    }
    te_ref a = any(g, i, j, t, depth - 1), b = any(g, i, j, t, depth - 1);
    static const te_op ints[] = {TE_ADD, TE_SUB, TE_MUL, TE_DIV, TE_MOD, TE_AND,
                                 TE_OR,  TE_XOR, TE_SHL, TE_SHR, TE_MIN, TE_MAX};
    static const te_op floats[] = {TE_ADD, TE_SUB, TE_MUL, TE_DIV, TE_MIN, TE_MAX};
    static const te_op one[] = {TE_NEG,  TE_ABS,   TE_EXP,   TE_SQRT,
                                TE_TANH, TE_FLOOR, TE_ROUND, TE_COS};
    switch (rnd(8)) {
    case 0: return te_select(te_binary(rnd(2) ? TE_AND : TE_OR, c, te_binary(TE_NE, a, b)), a, b);
    case 1: return te_unary(one[rnd(f ? 8 : 2)], a);
    case 2: return te_cast(t, te_cast(LL_S16, a));
    case 3: return f ? a : te_unary(TE_NOT, a);
    default: return te_binary(f ? floats[rnd(6)] : ints[rnd(12)], a, b);
    }
}

static void random_expressions_parse_back_to_one_pointer(void **state)
{
    te_graph *g = te_graph_create();
    te_scope scope[2] = {{"i", te_axis(g, "i", te_int(g, 9))},
                         {"j", te_axis(g, "j", te_int(g, 9))}};
    static const ll_dtype types[] = {LL_F32, LL_F16, LL_S32, LL_U8, LL_S64, LL_BF16, LL_F64};
    for (int k = 0; k < 3000; k++) {
        seed = (uint64_t)k;
        te_ref a = any(g, scope[0].value, scope[1].value, types[rnd(7)], (int)rnd(6));
        ll_str s = {0};
        ll_error err = {0};
        te_print_expr(&s, a);
        te_ref b = te_parse_expr(g, ll_str_cstr(&s), scope, 2, &err);
        if (b != a) fail_msg("seed %d: %s: %s", k, ll_str_cstr(&s), err.msg);
        ll_str_finish(&s);
    }
    assert_null(te_error(g));
    te_graph_destroy(g);
}

static void refusals_name_their_place_and_leave_the_graph_usable(void **state)
{
    static const struct { const char *text, *want; } bad[] = {
        {"dim T in 1..", "text:1:13: wanted an expression"},
        {"dim T in 5..1", "text:1:5: dim T: bounds 5..1"},
        {"in f32 x[4]\ndef f32 y[i] = x[i] + 1", "text:2:21: ADD of f32 and s64"},
        {"in f32 x[4]\ndef f16 y[i] = x[i]", "text:2:5: y is declared f16, its body is f32"},
        {"in f32 x[4]\ndef f32 y[i] = x[i, i]", "text:2:16: x has 1 dimensions, 2 indices given"},
        {"in f32 x[4]\ndef f32 y[i] = x[i] + x[j]", "text:2:25: no axis, variable or dim j"},
        {"in f32 x[4]\ndef f32 y[i] = x[0]", "text:2:11: the extent of axis i"},
        {"in f32 x[4]\ndef f32 y[i] = exp(sum(k: x[k]))", "a reduction is the root"},
        {"in f32 x[4]\ndef f32 y[i] = exp(x[i], x[i])", "exp of 2 operands, wanted 1"},
        {"in f32 x[4]\nin f32 x[4]", "text:2:4: input x: the graph has a tensor of that name"},
        {"in q9_9 x[4, 32]", "text:1:4: no type q9_9"},
        {"in q4_1 x[4, 33]", "columns are no multiple of the block of q4_1"},
        {"in f32 sum[4]", "`sum` cannot name a tensor"},
        {"in f32 x[18446744073709551616]", "an integer beyond 64 bits"},
        {"in f32 x[9223372036854775808]", "does not fit s64"},
        {"in u8 x[300:u8]", "300 does not fit u8"},
        {"in f32 x[4] @", "text:1:13: `@` has no meaning here"},
        {"in f32 x[4]\ndef bool y[i] = x[i] < 1.0 < 2.0", "comparisons do not chain"},
        {"plane", "wanted dim, in, paged, def or update"},
        {"def f32 y[i < 3] = zap(f32(i))", "no operator zap"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        te_graph *g = te_graph_create();
        ll_error err = {0};
        assert_int_equal(te_parse(g, bad[k].text, "text", &err), LL_BAD_INPUT);
        if (!strstr(err.msg, bad[k].want))
            fail_msg("%s\n  gave: %s\n  want: %s", bad[k].text, err.msg, bad[k].want);
        assert_null(te_error(g));
        te_graph_destroy(g);
    }
}

static void nesting_and_depth_are_bounded(void **state)
{
    enum { N = 100000 };
    char *deep = malloc(2 * N + 100);
    te_graph *g = te_graph_create();
    ll_error err = {0};
    memset(deep, '(', N);
    strcpy(deep + N, "1");
    assert_null(te_parse_expr(g, deep, NULL, 0, &err));
    assert_non_null(strstr(err.msg, "nested deeper"));
    size_t n = 0;
    for (int i = 0; i < N; i++) n += (size_t)sprintf(deep + n, "1%s", i + 1 < N ? "+" : "");
    err = (ll_error){0};
    assert_null(te_parse_expr(g, deep, NULL, 0, &err));
    assert_non_null(strstr(err.msg, "deeper than"));
    deep[2 * 10000 - 1] = 0;
    err = (ll_error){0};
    assert_ptr_equal(te_parse_expr(g, deep, NULL, 0, &err), te_int(g, 10000));
    te_graph_destroy(g);
    free(deep);
}

static ll_str canonical(const char *text, const char *root)
{
    te_graph *g = te_graph_create();
    ll_error err = {0};
    ll_str s = {0};
    if (te_parse(g, text, "text", &err) != LL_OK) fail_msg("%s", err.msg);
    te_tensor *t = te_find(g, root);
    te_canonical(&s, &t, 1);
    te_graph_destroy(g);
    return s;
}

static void canonical_text_forgets_names_and_order(void **state)
{
    ll_str a = canonical(
        "dim T in 1..512\nin f32 blk.0.x[T, 64]\nin q8_0 blk.0.w[32, 64] weight\nin f32 other[3]\n"
        "def f32 unused[i] = other[i]\n"
        "def f32 blk.0.y[t, n < 32] = sum(k: blk.0.x[t, k] * blk.0.w[n, k])\n",
        "blk.0.y");
    ll_str b =
        canonical("in q8_0 w[32, 64] weight\ndim U in 1..9\ndim T in 1..512\nin f32 x[T, 64]\n"
                  "def f32 z[a, b < 32] = sum(c: x[a, c] * w[b, c])\n",
                  "z");
    ll_str c = canonical("in q8_0 w[32, 64] weight\ndim T in 1..512\nin f32 x[T, 64]\n"
                         "def f32 z[a, b < 32] = sum(c: w[b, c] * x[a, c])\n", "z");
    assert_string_equal(ll_str_cstr(&a), ll_str_cstr(&b));
    assert_string_not_equal(ll_str_cstr(&a), ll_str_cstr(&c));
    assert_string_equal(ll_str_cstr(&a),
                        "dim T in 1..512\n"
                        "in f32 b0[T, 64]\n"
                        "in q8_0 b1[32, 64] weight\n"
                        "def f32 b2[i0, i1] = sum(i2: b0[i0, i2] * (f32(b1.d[i1, i2 / 32]) * "
                        "f32(s16(b1.q[i1, i2]) - 128:s16)))\n"
                        "out b2\n");
    ll_str_finish(&a);
    ll_str_finish(&b);
    ll_str_finish(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_statement_prints_as_it_was_written),
        cmocka_unit_test(parentheses_are_the_least_that_keep_the_nodes),
        cmocka_unit_test(random_expressions_parse_back_to_one_pointer),
        cmocka_unit_test(refusals_name_their_place_and_leave_the_graph_usable),
        cmocka_unit_test(nesting_and_depth_are_bounded),
        cmocka_unit_test(canonical_text_forgets_names_and_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
