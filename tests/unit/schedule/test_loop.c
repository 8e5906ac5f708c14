/* Lowering, printing, editing and evaluating the loop IR. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

#include "base/file.h"
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
        lp_run run = {(void *[]){x, w, y}, (size_t[]){sizeof x, sizeof w, sizeof y}, dim_T, &T,
                      seed};
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

/* ---- lowering means what te_eval says -------------------------------------------------------- */

typedef struct dims { const char *name[4]; int64_t value[4]; int n; } dims;

static int64_t dim_of(void *ctx, const char *name)
{
    const dims *d = ctx;
    for (int i = 0; i < d->n; i++)
        if (strcmp(d->name[i], name) == 0) return d->value[i];
    return 0;
}

typedef struct world {
    te_graph *g;
    te_env *env;
    const dims *d;
    void *mem[16], *kept[16];
    size_t bytes[16];
    te_tensor *t[16];
    int n;
} world;

static size_t count_of(const world *w, const te_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= (size_t)(t->shape[i]->op == TE_DIM
                          ? dim_of((void *)(uintptr_t)w->d, t->shape[i]->u.dim->name)
                          : t->shape[i]->u.i);
    return n;
}

/* Gives input `name` the values of f(i), in memory and to te_eval. */
static void bind(world *w, const char *name, double (*f)(int i))
{
    ll_error err = {0};
    te_tensor *t = te_find(w->g, name);
    size_t n = count_of(w, t), bytes = n * (size_t)ll_dtype_bits((ll_dtype)t->dtype) / 8;
    char *mem = malloc(bytes + 8),
         *copy = malloc(bytes + 8); /* updates write mem; te_eval keeps what was there */
    for (size_t i = 0; i < n; i++) {
        te_value v;
        if (ll_dtype_is_float((ll_dtype)t->dtype)) v.f = f((int)i);
        else v.i = (int64_t)f((int)i);
        te_value_store((ll_dtype)t->dtype, mem, i, v);
        te_value_store((ll_dtype)t->dtype, copy, i, v);
    }
    if (te_env_bind_mem(w->env, t, copy, bytes, &err)) fail_msg("%s", err.msg);
    w->t[w->n] = t;
    w->mem[w->n] = mem;
    w->kept[w->n] = copy;
    w->bytes[w->n++] = bytes;
}

static world open_world(const char *text, const dims *d)
{
    world w = {.g = te_graph_create(), .d = d};
    ll_error err = {0};
    if (te_parse(w.g, text, "text", &err)) fail_msg("%s", err.msg);
    w.env = te_env_create(w.g);
    for (int i = 0; i < d->n; i++)
        assert_int_equal(te_env_dim(w.env, d->name[i], d->value[i], &err), LL_OK);
    return w;
}

static void check_root(world *w, const char *root)
{
    ll_error err = {0};
    te_tensor *r = te_find(w->g, root), *base = r;
    while (base->kind == TE_UPDATE) base = base->base;
    lp_func *f = lp_lower(w->g, "f", &r, 1, NULL, 0, &err);
    if (!f) fail_msg("%s", err.msg);
    if (lp_verify(f, &err)) fail_msg("%s", err.msg);
    const te_value *want;
    size_t n;
    if (te_eval(w->env, r, &want, &n, &err)) fail_msg("%s", err.msg);
    void *arg[16], *out = malloc(n * 8 + 8), *got = out;
    size_t bytes[16];
    for (int i = 0; i < f->n_param; i++) {
        arg[i] = out;
        bytes[i] = n * 8;
        for (int k = 0; k < w->n; k++)
            if (w->t[k] == f->param[i]->t) arg[i] = w->mem[k], bytes[i] = w->bytes[k];
        if (f->param[i]->t == base) got = arg[i];
    }
    lp_run run = {arg, bytes, dim_of, (void *)(uintptr_t)w->d, 7};
    if (lp_eval(f, &run, &err)) fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        te_value v;
        te_value_load((ll_dtype)r->dtype, got, i, &v);
        bool same = ll_dtype_is_float((ll_dtype)r->dtype)
                        ? v.f == want[i].f || fabs(v.f - want[i].f) < 1e-5
                        : v.i == want[i].i;
        if (!same) fail_msg("%s: element %zu is %g (%lld)", root, i, v.f, (long long)v.i);
    }
    free(out);
}

static void close_world(world *w)
{
    te_env_destroy(w->env);
    te_graph_destroy(w->g);
    for (int i = 0; i < w->n; i++) {
        free(w->mem[i]);
        free(w->kept[i]);
    }
}

static double some(int i) { return (double)(i * 7 % 23 - 11) / 4; }
static double few(int i) { return i % 5 == 3 ? (double)NAN : (double)(i * 3 % 4); }
static double low(int i) { return -(double)INFINITY; }
static double permuted(int i) { return (double)(i * 5 % 7); }
static double lengths(int i) { return (double)(int[]){0, 1, 5, 3}[i % 4]; }

static void an_argmax_is_the_first_maximum(void **state)
{
    const dims d = {{"T"}, {9}, 1};
    const char text[] = "dim T in 0..64\nin f32 x[T, 4, 5]\nin f32 z[T, 3]\ndef s64 a[t] = "
                        "argmax(i, j: x[t, i, j])\n"
                        "def s64 b[t] = argmax(i: z[t, i])\n";
    world w = open_world(text, &d);
    bind(&w, "x", few); /* ties and NaN */
    bind(&w, "z", low); /* nothing is greater than the start */
    check_root(&w, "a");
    check_root(&w, "b");
    close_world(&w);
}

static void ragged_and_empty_reductions(void **state)
{
    const dims d = {{"S"}, {4}, 1};
    world w = open_world("dim S in 1..8\nin s32 len[S] in 0..6\nin f32 x[S, 5]\n"
                         "def f32 a[s] = max(j < s64(len[s]) <= 5: x[s, j])\ndef f32 b[s] = sum(j "
                         "< s64(len[s]) <= 5: x[s, j]) from 2.5\n"
                         "def s64 c[s] = argmax(j < s64(len[s]) <= 5: x[s, j])\n",
                         &d);
    bind(&w, "len", lengths);
    bind(&w, "x", some);
    check_root(&w, "a");
    check_root(&w, "b");
    check_root(&w, "c");
    close_world(&w);
}

static void updates_store_into_what_they_are_based_on(void **state)
{
    const dims d = {{"T"}, {7}, 1};
    world w = open_world(
        "dim T in 1..7\nin f32 x[T, 4]\nin f16 pool[7, 4]\nin s32 page[T] in 0..7\n"
        "def f32 before[t] = sum(k: f32(pool[t, k]))\n" /* reads the old version */
        "update f16 one[t, k] = f16(x[t, k] + before[t]) into pool[s64(page[t]), k]\n"
        "update f16 two[t, k] = one[t, k] * 2.0:f16 into one[t, k]\n", /* only what it writes */
        &d);
    bind(&w, "x", some);
    bind(&w, "pool", some);
    bind(&w, "page", permuted);
    check_root(&w, "two");
    close_world(&w);
}

static void expect_no_lowering(const char *text, const char *const *root, int n, ll_code code,
                               const char *part)
{
    te_graph *g = te_graph_create();
    ll_error err = {0};
    te_tensor *r[4];
    if (te_parse(g, text, "text", &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < n; i++) r[i] = te_find(g, root[i]);
    assert_null(lp_lower(g, "f", r, n, NULL, 0, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, part)) fail_msg("\"%s\" lacks \"%s\"", err.msg, part);
    te_graph_destroy(g);
}

static void orders_that_do_not_exist_are_refused(void **state)
{
    const char text[] =
        "in f32 pool[8]\nupdate f32 one[i < 4] = 1.0 into pool[i]\n"
        "def f32 mix[i < 4] = one[i] + pool[i]\n" /* needs the storage before and after */
        "update f32 shift[i < 4] = pool[i + 1] into pool[i]\nin f32 x[4]\ndef f32 y[i] = x[i]\n";
    expect_no_lowering(text, (const char *[]){"mix"}, 1, LL_NOT_LEGAL,
                       "an earlier version of its storage");
    expect_no_lowering(text, (const char *[]){"shift"}, 1, LL_NOT_LEGAL,
                       "reads elements of pool that it does not write");
    expect_no_lowering(text, (const char *[]){"x"}, 1, LL_USAGE, "x is an input, not a definition");
}

/* ---- text ------------------------------------------------------------------------------------ */

static void bad_texts_are_refused_with_their_place(void **state)
{
    static const struct { const char *text, *part;
    } bad[] = {
        {"", "t:1:1: wanted \"kernel\""},
        {"kernel k(in f32 x[4]) {", "wanted \"}\""},
        {"kernel k(in f33 x[4]) { }", "t:1:13: no type is called \"f33\""},
        {"kernel k(into f32 x[4]) { }", "wanted in, out, inout or weight"},
        {"kernel k(in f32 x[4], in f32 x[5]) { }", "a second buffer called x"},
        {"kernel k(in f32 x[n]) { }", "is no expression"},
        {"kernel k(out f32 y[4]) {\n  y[5, 1] = 0.0 }", "t:2:"},
        {"kernel k(out f32 y[4]) {\n  y[0] = 0 }", "y is f32, the value is s64"},
        {"kernel k(out f32 y[4]) {\n  z[0] = 0.0 }", "t:2:3: no buffer is called \"z\""},
        {"kernel k(out f32 y[4]) { for i < 4 @turbo { y[i] = 0.0 } }",
         "no annotation or instruction is called \"turbo\""},
        {"kernel k(out f32 y[4]) { for i < 4 @rotate(1) { y[i] = 0.0 } }", "a number in 2..64"},
        {"kernel k(out f32 y[4]) { if y[0] { y[0] = 0.0 } }", "the condition is no bool"},
        {"kernel k(out f32 y[4]) { let s32 v = 1\ny[0] = 0.0 }", "v is s32, its value is s64"},
        {"kernel k(out f32 y[4]) { alloc heap f32 s[1]\ny[0] = 0.0 }",
         "no kind of memory is called \"heap\""},
        {"kernel k(out f32 y[4]) { sync world }", "no barrier is called \"world\""},
        {"kernel k(in f32 x[4], out f32 y[4]) { copy y[0 +: 4] <- x[0 +: 3] }",
         "the boxes of a copy differ"},
        {"kernel k(in f32 x[4] within x) { }", "within itself"},
        {"kernel k(in f32 x[4] within w) { }", "no buffer is called \"w\""},
        {"kernel k(out f32 y[4]) { { y[0] = 0.0 } }", "a block of its own"},
        {"kernel k(out f32 y[4]) { } more", "text behind the kernel"},
        {"kernel k(in f32 x[4] layout(4@)) { }", "layout"},
        {"kernel k(in f32 x[1, 2, 3, 4, 5, 6, 7, 8, 9]) { }", "more than 8 dimensions"},
        {"dim T in 5..2\nkernel k(in f32 x[T]) { }", "t:1:"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        te_graph *g = te_graph_create();
        ll_error err = {0};
        if (lp_parse(g, bad[i].text, "t", &err)) fail_msg("read: %s", bad[i].text);
        assert_int_equal(err.code, LL_BAD_INPUT);
        if (!strstr(err.msg, bad[i].part)) fail_msg("\"%s\" lacks \"%s\"", err.msg, bad[i].part);
        te_graph_destroy(g);
    }
}

/* Every prefix of a text, and the text with any one character changed, is read or refused, never
 * worse. */
static void damaged_texts_do_no_harm(void **state)
{
    const char text[] =
        "dim T in 1..64 multiple 2\nkernel k(in f32 x[T, 4] align 16 layout(...@128 | ...@32), "
        "inout s32 p[T] in 0..T, out f32 y[T]) minctas 2 {\n"
        "  alloc shared f32 s[2, 4]\n  for i < T @parallel {\n    let s64 r = s64(p[i]) @uniform\n "
        "   if r < T @uniform {\n      y[r] = select(r < 3, x[r, 0], 1.5)\n    } else {\n"
        "      y[i] max= -inf } }\n  copy s[0, 0 +: 4] <- x[0, 0 +: 4] valid min(4, T)\n  commit\n "
        " wait 0\n  sync block 1\n  prefetch x[T, 0] level 2 }\n";
    int ok = 0;
    for (size_t i = 0; i + 1 < sizeof text; i++) /* its NUL stays */
        for (int way = 0; way < 4; way++) {
            char s[sizeof text];
            memcpy(s, text, sizeof text);
            if (way == 0) s[i] = 0;
            else s[i] = "{(@"[way - 1];
            te_graph *g = te_graph_create();
            ll_error err = {0};
            lp_func *f = lp_parse(g, s, "t", &err);
            assert_true((f != NULL) == (err.code == LL_OK));
            ok += f != NULL;
            te_graph_destroy(g);
        }
    assert_true(ok >= 1 && ok < 40);
    char deep[8192] = "kernel k(out f32 y[4]) { ";
    for (int i = 0; i < 300; i++) strcat(deep, "if y[0] < 1.0 {");
    te_graph *g = te_graph_create();
    ll_error err = {0};
    assert_null(lp_parse(g, deep, "t", &err));
    assert_non_null(strstr(err.msg, "nested deeper"));
    te_graph_destroy(g);
}

/* ---- editing --------------------------------------------------------------------------------- */

static lp_func *read_text(te_graph *g, const char *text)
{
    ll_error err = {0};
    lp_func *f = lp_parse(g, text, "t", &err);
    if (!f) fail_msg("%s", err.msg);
    return f;
}

static void a_fresh_clone_shares_no_name(void **state)
{
    te_graph *g = te_graph_create();
    lp_func *f = read_text(g, "kernel k(out f32 y[8]) {\n  for i < 4 {\n    alloc reg f32 s[1]\n   "
                              " let s64 v = i * 2\n    s[0] = f32(v)\n"
                              "    for j < 4 - i {\n      y[v] = s[0] } } }\n");
    lp_seq(f->body, lp_clone_fresh(f, f->body));
    assert_text(f, "kernel k(out f32 y[8]) {\n  for i < 4 {\n    alloc reg f32 s[1]\n    let s64 v "
                   "= i * 2\n    s[0] = f32(v)\n"
                   "    for j < 4 - i {\n      y[v] = s[0] } }\n"
                   "  for i.2 < 4 {\n    alloc reg f32 s.2[1]\n    let s64 v.2 = i.2 * 2\n    "
                   "s.2[0] = f32(v.2)\n"
                   "    for j.2 < 4 - i.2 {\n      y[v.2] = s.2[0] } } }\n");
    te_graph_destroy(g);
}

static void substitution_renews_loops_whose_extent_changes(void **state)
{
    te_graph *g = te_graph_create();
    lp_func *f = read_text(g, "kernel k(out f32 y[8]) {\n  for i < 4 {\n    for j < i + 1 {\n      "
                              "y[i + j] = 0.0 } } }\n");
    te_ref from = f->body->u.loop.var, to = te_int(g, 3);
    lp_subst(f, f->body->u.loop.body, &from, &to, 1);
    f->body = f->body->u.loop.body;
    lp_simplify(f);
    assert_text(f, "kernel k(out f32 y[8]) {\n  for j < 4 {\n    y[j + 3] = 0.0 } }\n");
    te_graph_destroy(g);
}

static void simplification_drops_what_never_runs(void **state)
{
    te_graph *g = te_graph_create();
    lp_func *f =
        read_text(g, "kernel k(out f32 y[8]) {\n  for i < 8 {\n    if i < 8 {\n      y[i] = 1.0\n  "
                     "  } else {\n      y[i] = 2.0 } }\n"
                     "  for j < 0 {\n    y[j] = 3.0 }\n  if 2 < 1 {\n    y[0] = 4.0 } }\n");
    lp_simplify(f);
    assert_text(f, "kernel k(out f32 y[8]) {\n  for i < 8 {\n    y[i] = 1.0 } }\n");
    te_graph_destroy(g);
}

/* ---- the evaluator's own --------------------------------------------------------------------- */

static void codes_inside_bytes_and_strides(void **state)
{
    te_graph *g = te_graph_create();
    lp_func *f =
        read_text(g, "kernel k(in u8 w[64] align 64, in u3 c[5, 4] within w layout(...@3 | ...@15; "
                     "offset 5), out u4 n[5, 4] layout(...@4 | ...@24), out s32 y[5, 4]) {\n"
                     "  for i < 5 {\n    for j < 4 {\n      n[i, j] = u4(c[i, j])\n      y[i, j] = "
                     "s32(n[i, j]) } } }\n");
    uint8_t w[64] = {0}, n[12] = {0};
    int32_t y[20];
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 4; j++)
            for (int b = 0; b < 3; b++) {
                int at = 5 + i * 3 + j * 15 + b;
                if ((i * 4 + j) % 8 >> b & 1) w[at / 8] |= (uint8_t)(1 << at % 8);
            }
    ll_error err = {0};
    lp_run run = {(void *[]){w, NULL, n, y}, (size_t[]){64, 0, 12, sizeof y}, NULL, NULL, 2};
    if (lp_eval(f, &run, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < 20; i++) assert_int_equal(y[i], i % 8);
    te_graph_destroy(g);
}

static void roles_that_wait_for_each_other_are_a_deadlock(void **state)
{
    const char *text =
        "kernel k(in f32 x[8], out f32 y[8]) {\n  alloc shared f32 s[8]\n  alloc shared u64 "
        "full[1]\n  alloc shared u64 empty[1]\n  mbar init full[0] 1\n"
        "  mbar init empty[0] 1\n  sync block\n  roles {\n    a warps 1 {\n      mbar wait "
        "empty[0] %d\n      mbar expect full[0] 32\n"
        "      copy s[0 +: 8] <- x[0 +: 8] -> full[0] }\n    b warps 4 {\n      mbar wait full[0] "
        "0\n      for i < 8 {\n        y[i] = s[7 - i] }\n      mbar arrive empty[0] } } }\n";
    for (int parity = 0; parity < 2; parity++) {
        char s[1000];
        te_graph *g = te_graph_create();
        snprintf(s, sizeof s, text, parity);
        lp_func *f = read_text(g, s);
        float x[8] = {0, 1, 2, 3, 4, 5, 6, 7}, y[8];
        for (uint64_t seed = 0; seed < 6; seed++) {
            ll_error err = {0};
            lp_run run = {(void *[]){x, y}, (size_t[]){32, 32}, NULL, NULL, seed};
            ll_code code = lp_eval(f, &run, &err);
            if (parity == 1) assert_int_equal(code, LL_OK);
            else assert_non_null(strstr(err.msg, "deadlock"));
            for (int i = 0; i < 8 && parity; i++) assert_true(y[i] == x[7 - i]);
        }
        te_graph_destroy(g);
    }
}

/* ---- the page -------------------------------------------------------------------------------- */

static void blocks_of_the_page_print_back_and_verify(void **state)
{
    void *page;
    size_t size;
    ll_error err = {0};
    if (ll_file_read(LOOP_PAGE, 1 << 20, &page, &size, &err)) fail_msg("%s", err.msg);
    int n = 0;
    for (char *at = page; (at = strstr(at, "```loop\n")); n++) {
        char *end = strstr(at += 8, "```\n");
        char *text = strndup(at, (size_t)(end - at));
        te_graph *g = te_graph_create();
        lp_func *f = read_text(g, text);
        assert_text(f, text);
        if (lp_verify(f, &err)) fail_msg("%s", err.msg);
        te_graph_destroy(g);
        free(text);
    }
    assert_int_equal(n, 5);
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_contraction_lowers_to_one_nest),
        cmocka_unit_test(the_nest_computes_the_contraction_for_every_seed),
        cmocka_unit_test(the_evaluator_refuses_what_has_no_meaning),
        cmocka_unit_test(an_argmax_is_the_first_maximum),
        cmocka_unit_test(ragged_and_empty_reductions),
        cmocka_unit_test(updates_store_into_what_they_are_based_on),
        cmocka_unit_test(orders_that_do_not_exist_are_refused),
        cmocka_unit_test(bad_texts_are_refused_with_their_place),
        cmocka_unit_test(damaged_texts_do_no_harm),
        cmocka_unit_test(a_fresh_clone_shares_no_name),
        cmocka_unit_test(substitution_renews_loops_whose_extent_changes),
        cmocka_unit_test(simplification_drops_what_never_runs),
        cmocka_unit_test(codes_inside_bytes_and_strides),
        cmocka_unit_test(blocks_of_the_page_print_back_and_verify),
        cmocka_unit_test(roles_that_wait_for_each_other_are_a_deadlock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
