/* What lp_verify refuses, one misuse each, beside the nearest thing that it accepts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schedule/loop.h"

static ll_code verify(const char *text, ll_error *err)
{
    te_graph *g = te_graph_create();
    ll_error parse = {0};
    lp_func *f = lp_parse(g, text, "text", &parse);
    if (!f) fail_msg("%s\nin\n%s", parse.msg, text);
    ll_code code = lp_verify(f, err);
    te_graph_destroy(g);
    return code;
}

static void accepts(const char *text)
{
    ll_error err = {0};
    if (verify(text, &err) != LL_OK) fail_msg("%s\nin\n%s", err.msg, text);
}

static void refuses(const char *text, const char *why)
{
    ll_error err = {0};
    if (verify(text, &err) == LL_OK) fail_msg("accepted, although %s:\n%s", why, text);
    assert_int_equal(err.code, LL_NOT_LEGAL);
    if (!strstr(err.msg, why)) fail_msg("\"%s\" lacks \"%s\"", err.msg, why);
}

/* A kernel over small buffers; `body` is its statements. */
static const char *kernel(const char *body)
{
    static char text[4096];
    snprintf(text, sizeof text,
             "dim T in 1..100\ndim K in 32..4096 multiple 32\n"
             "kernel k(in f32 x[T, 64], in f32 a[64], in f16 h[64, K], in u8 c[64, 4], "
             "in u4 q[64, 4], in s8 e[4], in s32 id[T] in 0..T, in s32 raw[T], out f32 y[T, 64], out u4 n[64], inout f32 pool[T, 64]) {\n%s }\n",
             body);
    return text;
}

static void indices_outside_of_their_dimension(void **state)
{
    accepts(kernel("for i < T { y[i, 0] = 0.0 }"));
    refuses(kernel("for i < T { y[i + 1, 0] = 0.0 }"),
            "index 0 of y, i + 1, is not proved inside 0..T");
    refuses(kernel("for i < T { y[i - 1, 0] = 0.0 }"), "not proved inside");
    accepts(kernel("for i < T { if i + 1 < T { y[i + 1, 0] = 0.0 } }"));
    refuses(kernel("for i < T { if i < T { y[i + 1, 0] = 0.0 } }"), "not proved inside");
    refuses(kernel("for i < T { if i + 1 < T { y[i, 0] = 0.0 } else { y[i + 1, 0] = 0.0 } }"),
            "not proved inside");
    accepts(kernel("for i < T { y[i, 0] = x[min(i + 1, T - 1), 0] }"));
    accepts(kernel("for i < T { y[i, 0] = select(i + 1 < T, x[i + 1, 0], 0.0) }"));
    refuses(kernel("for i < T { y[i, 0] = select(i + 1 < T, 0.0, x[i + 1, 0]) }"),
            "not proved inside");
    accepts(kernel(
        "for i < (T + 15) / 16 { for j < 16 { if i * 16 + j < T { y[i * 16 + j, 3] = 1.0 } } }"));
    refuses(
        kernel("for i < (T + 15) / 16 { for j < 16 { if i * 16 < T { y[i * 16 + j, 3] = 1.0 } } }"),
        "not proved inside");
}

static void facts_that_must_be_combined_or_scaled(void **state)
{
    accepts(kernel("for i < 100 { if i * 32 < K { for j < 32 { y[0, j] = f32(h[j, i * 32 + j]) } } "
                   "}")); /* 32 divides K */
    refuses(
        kernel("for i < 200 { if i * 31 < K { for j < 31 { y[0, j] = f32(h[j, i * 31 + j]) } } }"),
        "not proved inside");
    accepts(kernel("for i < 100 { let s64 p = i + 1\nif p < T { y[p, 0] = 0.0 } }"));
    accepts(kernel("for i < 50 { for j < 50 { if i < 32 { if j < 32 { y[0, i + j] = 0.0 } } } }"));
    refuses(kernel("for i < 50 { for j < 50 { if i < 33 { if j < 33 { y[0, i + j] = 0.0 } } } }"),
            "not proved inside");
}

static void indices_that_are_loaded(void **state)
{
    accepts(kernel("for i < T { y[i, 0] = x[s64(id[i]), 0] }"));
    refuses(kernel("for i < T { y[i, 0] = x[s64(raw[i]), 0] }"), "not proved inside");
    accepts(kernel("for i < T { let s64 r = s64(id[i])\ny[i, 0] = x[r, 0] }"));
    accepts(kernel("alloc reg s32 ids[2] in 0..T\nids[0] = id[0]\ny[0, 0] = x[s64(ids[0]), 0]"));
    refuses(kernel("alloc reg s32 ids[2] in 0..T\nids[0] = raw[0]\ny[0, 0] = x[s64(ids[0]), 0]"),
            "inside the range of ids");
}

static void conditions_that_do_not_last(void **state)
{
    const char *body = "alloc reg s32 v[1]\nv[0] = raw[0]\nif s64(v[0]) < T {\nif 0 <= s64(v[0]) "
                       "{\n%s y[s64(v[0]), 0] = 1.0 } }";
    char s[400];
    snprintf(s, sizeof s, body, "");
    accepts(kernel(s));
    snprintf(s, sizeof s, body, "v[0] = raw[T - 1]\n");
    refuses(kernel(s), "not proved inside");
}

static void roles_that_share_a_buffer(void **state)
{
    accepts(kernel("for b < 1 @block.x { roles { p warps 1 { y[b, 0] = 0.0 } q warps 1 { pool[b, "
                   "0] = 0.0 } } }"));
    refuses(kernel("for b < 1 @block.x { roles { p warps 1 { y[b, 0] = 0.0 } q warps 1 { y[b, 1] = "
                   "0.0 } } }"),
            "p and q both write y");
}

static void iterations_that_meet(void **state)
{
    accepts(kernel("for i < T @parallel { for j < 64 { y[i, j] = 0.0 } }"));
    refuses(kernel("for i < T @parallel { y[0, 0] = 0.0 }"),
            "iterations of i are not proved to keep apart in y");
    refuses(kernel("y[0, 0] = 0.0\nfor i < T @parallel { y[0, 0] += 1.0 }"), "keep apart");
    accepts(kernel("for i < 4 @parallel { for j < 16 { y[0, i * 16 + j] = 0.0 } }"));
    accepts(kernel("for i < 16 @parallel { for j < 4 { y[0, j * 16 + i] = 0.0 } }"));
    accepts(kernel("for i < 8 @parallel { for j < 4 { for v < 2 { y[0, j * 16 + i * 2 + v] = 0.0 } } }"));
    refuses(kernel("for i < 16 @parallel { for j < 4 { y[0, j * 8 + i] = 0.0 } }"), "keep apart");
    refuses(kernel("for i < 8 @parallel { for j < 4 { for v < 3 { y[0, j * 16 + i * 2 + v] = 0.0 } } }"), "");
    refuses(kernel("for i < 3 @parallel { for j < 17 { y[0, i * 16 + j] = 0.0 } }"), "keep apart");
    accepts(kernel("for f < 64 @parallel { y[0, f % 4 * 16 + f / 4] = 0.0 }"));
    refuses(kernel("for f < 64 @parallel { y[0, f / 2] = 0.0 }"), "keep apart");
    accepts(kernel("for f < (T + 15) / 16 * 4 @parallel { for j < 16 { for i < 16 { if f / 4 * 16 "
                   "+ i < T { y[f / 4 * 16 + i, f % 4 * 16 + j] = 0.0 } } } }"));
    refuses(kernel("for f < (T + 15) / 16 * 4 @parallel { for j < 17 { if f % 4 * 16 + j < 64 { if "
                   "f / 4 < T { y[f / 4, f % 4 * 16 + j] = 0.0 } } } }"),
            "keep apart");
    refuses(kernel("for i < 63 @vector { pool[0, i + 1] = pool[0, i] }"), "which they also read");
    accepts(kernel("for i < 64 @vector { pool[0, i] = pool[0, i] + 1.0 }"));
    accepts(kernel("for i < T @parallel { alloc reg f32 s[1]\ns[0] = 0.0\nfor j < 64 { s[0] += "
                   "x[i, j] }\ny[i, 0] = s[0] }"));
    accepts(kernel("for i < 64 @parallel { if i == 3 { y[0, 0] = 1.0 } }"));
    accepts(kernel("for i < 64 @parallel { if i < 1 { y[0, 0] = 1.0 } else { if not(2 <= i) { "
                   "pool[0, 0] = 3.0 } } }"));
    refuses(kernel("for i < 64 @parallel { if i < 2 { y[0, 0] = 1.0 } }"), "keep apart");
    refuses(
        kernel("for i < 64 @parallel { if i == 3 { y[0, 0] = 1.0 }\nif i == 4 { y[0, 0] = 2.0 } }"),
        "keep apart");
    refuses(kernel("for i < 64 @parallel { for j < 64 { if i == j { y[0, 0] = 1.0 } } }"),
            "keep apart");
    accepts(kernel("for i < T @parallel { pool[s64(id[i]), 0] = 1.0 }")); /* distinct by contract */
}

/* What an iteration computes itself is another number in every iteration, in an index and in a condition. */
static void iterations_that_meet_through_values_of_their_own(void **state)
{
    refuses(kernel("for i < 32 @parallel { alloc thread s32 p[1] in 0..32\np[0] = s32(31 - i)\n"
                   "y[0, s64(p[0]) + i] = 1.0 }"),
            "keep apart in y");
    refuses(kernel("for i < 32 @parallel { alloc thread s32 p[1] in 0..32\np[0] = s32(31 - i)\n"
                   "let s64 v = s64(p[0])\ny[0, v + i] = 1.0 }"),
            "keep apart in y");
    refuses(kernel("for i < 32 @parallel { alloc thread s64 p[1]\np[0] = i\n"
                   "if i == p[0] { y[0, 0] = 1.0 } }"),
            "keep apart in y");
    accepts(kernel("alloc thread s32 p[1] in 0..32\np[0] = 31:s32\n"
                   "for i < 32 @parallel { y[0, s64(p[0]) + i] = 1.0 }"));
}

static void iterations_that_meet_behind_many_loops(void **state)
{
    char s[3600];
    int at = snprintf(s, sizeof s, "for i < 2 @parallel {\n");
    for (int k = 0; k < 70; k++) at += snprintf(s + at, sizeof s - (size_t)at, "for j%d < 16 { pool[0, i * 16 + j%d] = 0.0 }\n", k, k);
    snprintf(s + at, sizeof s - (size_t)at, "for z < 16 { y[0, i * 16 + z] = 0.0 } }");
    accepts(kernel(s));
    snprintf(s + at, sizeof s - (size_t)at, "for z < 17 { y[0, i * 16 + z] = 0.0 } }");
    refuses(kernel(s), "keep apart in y");
}

static void writes_that_share_a_byte(void **state)
{
    refuses(kernel("for i < 64 @parallel { n[i] = 3:u4 }"), "keep apart in n");
    accepts(kernel("for i < 32 @parallel { for j < 2 { n[i * 2 + j] = 3:u4 } }"));
    accepts(kernel("for i < 64 @vector { n[i] = 3:u4 }"));
}

static void claimed_loops(void **state)
{
    accepts(kernel("alloc thread f32 s[64]\nfor j < 64 { s[j] = a[j] }\nfor i < T @claim { for k < "
                   "64 { y[i, k] = s[k] } }"));
    refuses(
        kernel(
            "for j < 64 { y[0, j] = a[j] }\nfor i < T @claim { for k < 64 { pool[i, k] = a[k] } }"),
        "y is written outside of the claimed loop");
    refuses(kernel("for i < T @claim { y[i, 0] = 0.0 }\nfor j < T @claim { y[j, 1] = 0.0 }"),
            "a second claimed loop");
    refuses(kernel("for j < 2 { for i < T @claim { y[i, j] = 0.0 } }"), "not at top level");
}

static void scratch_that_nothing_wrote(void **state)
{
    accepts(kernel("alloc reg f32 s[4]\nfor i < 4 { s[i] = 0.0 }\nfor j < 4 { y[0, j] = s[j] }"));
    refuses(kernel("alloc reg f32 s[4]\nfor i < 3 { s[i] = 0.0 }\nfor j < 4 { y[0, j] = s[j] }"),
            "s[3] is read and was never written");
    refuses(kernel("for i < 2 { alloc reg f32 s[1]\nif i == 0 { s[0] = 0.0 }\ny[0, i] = s[0] }"),
            "never written");
    refuses(kernel("alloc reg f32 s[1]\ns[0] += 1.0\ny[0, 0] = s[0]"), "never written");
}

static void names_types_and_scopes(void **state)
{
    refuses(kernel("for i < 4 { y[0, i] = 0.0 }\nfor i < 4 { y[0, i] = 0.0 }"),
            "a second loop called i");
    refuses(kernel("for i < T { a[0] = 0.0 }"), "a is an input");
    te_graph *g = te_graph_create();
    ll_error err = {0};
    lp_func *f = lp_parse(
        g, kernel("for i < 4 { y[0, i] = 0.0 }\nalloc reg f32 s[4]\ns[0] = 0.0\ny[0, 5] = s[0]"),
        "text", &err);
    lp_stmt *loop = f->body, *alloc = loop->next;
    alloc->u.alloc.body->next->u.store.idx[1] = loop->u.loop.var; /* no text can say this */
    assert_int_equal(lp_verify(f, &err), LL_NOT_LEGAL);
    assert_non_null(strstr(err.msg, "i is not in scope"));
    err = (ll_error){0};
    alloc->u.alloc.body->next->u.store.idx[1] = te_iconst(g, LL_S32, 1);
    assert_int_equal(lp_verify(f, &err), LL_NOT_LEGAL);
    assert_non_null(strstr(err.msg, "index 1 of y is no s64"));
    err = (ll_error){0};
    loop->next = alloc->u.alloc.body; /* the uses stay, the alloc goes */
    assert_int_equal(lp_verify(f, &err), LL_NOT_LEGAL);
    assert_non_null(strstr(err.msg, "s is not in scope"));
    te_graph_destroy(g);
}

static void instructions_that_are_not_their_nest(void **state)
{
    const char *dot = "alloc reg s32 acc[16]\nfor z < 16 { acc[z] = 0:s32 }\nfor l < %s @vector "
                      "@%s { for r < %s { acc[l] %s s32(%s[l, r]) * s32(e[r]) } }\n"
                      "for w < 16 { y[0, w] = f32(acc[w]) }";
    char body[600];
#define DOT(l, name, r, op, a) (snprintf(body, sizeof body, dot, l, name, r, op, a), kernel(body))
    accepts(DOT("16", "vpdpbusd.512", "4", "+=", "c"));
    accepts(DOT("16", "vpdpbusd.512", "4", "+=", "q"));
    refuses(DOT("8", "vpdpbusd.512", "4", "+=", "c"),
            "loop 0 of the nest does not have 16 iterations");
    refuses(DOT("16", "vpdpbusd.512", "2", "+=", "c"),
            "loop 1 of the nest does not have 4 iterations");
    refuses(DOT("16", "vpdpbusd.512", "4", "max=", "c"), "does not end in one sum");
    refuses(DOT("16", "vpmaddubsw.512", "4", "+=", "c"),
            "operands u8 and s8 inside its ranges"); /* 255 saturates */
    accepts(DOT("16", "vpmaddubsw.512", "4", "+=", "q"));
    refuses(kernel("alloc reg f32 acc[16]\nfor z < 16 { acc[z] = 0.0 }\nfor l < 16 @vector "
                   "@vpdpbusd.512 { for r < 4 { acc[l] += f32(c[l, r]) * f32(e[r]) } }\n"
                   "for w < 16 { y[0, w] = acc[w] }"),
            "accumulates in s32");
}

static void barriers_in_the_wrong_place(void **state)
{
    const char *ok = "for b < 4 @block.x { alloc shared f32 s[32]\nfor t < 32 @thread.x { s[t] = "
                     "a[t] }\nsync block\n"
                     "for u < 32 @thread.x { if b == 0 { y[0, u] = s[31 - u] } } }";
    accepts(kernel(ok));
    refuses(
        kernel("for b < 4 @block.x { alloc shared f32 s[32]\nfor t < 32 @thread.x { s[t] = a[t] }\n"
               "for u < 32 @thread.x { if b == 0 { y[0, u] = s[31 - u] } } }"),
        "read with no barrier after the write");
    refuses(kernel("for b < 4 @block.x { alloc shared f32 s[32]\nfor t < 32 @thread.x { s[t] = "
                   "a[t]\nsync block\nif b == 0 { y[0, t] = s[31 - t] } } }"),
            "a barrier inside a loop over threads");
    refuses(kernel("for b < 4 @block.x { if b == 0 { sync block } }"), "not @uniform");
    accepts(kernel("for b < 4 @block.x { if b == 0 @uniform { sync block } }"));
    refuses(kernel("for b < 4 @block.x { for w < 4 @warp { sync block } }"),
            "a block barrier inside a loop over warps");
    accepts(kernel("for b < 4 @block.x { for w < 4 @warp { sync warp } }"));
    refuses(kernel("for i < 4 @parallel { sync block }"), "do not exist in CPU loops");
}

/* One loop over threads writes what another reads or writes in other threads. */
static void threads_that_meet_in_global_memory(void **state)
{
#define TWO(BETWEEN, SECOND)                                                                       \
    kernel("for b < 1 @block.x { for t < 32 @thread.x { y[0, t] = a[t] }\n" BETWEEN               \
           "for u < 32 @thread.x { " SECOND " } }")
    accepts(TWO("sync block\n", "pool[0, u] = y[0, 31 - u]"));
    refuses(TWO("", "pool[0, u] = y[0, 31 - u]"), "of y is read with no barrier after the write");
    accepts(TWO("", "pool[0, u] = y[0, u]")); /* each its own */
    refuses(TWO("", "y[0, 31 - u] = a[u]"), "of y is written twice with no barrier between");
    refuses(kernel("for b < 1 @block.x { for t < 32 @thread.x { y[0, t] = a[t] }\nsync block\n"
                   "for u < 32 @thread.x { pool[0, u] = y[0, 31 - u] }\n"
                   "for w < 32 @thread.x { y[0, w] = a[w] } }"),
            "of y is overwritten with no barrier after the last read");
#undef TWO
}

static void slots_that_are_reused_too_early(void **state)
{
    const char *ring =
        "for b < 1 @block.x { alloc shared f32 s[2, 8]\nalloc reg f32 t[8]\nfor z < 8 { t[z] = 0.0 "
        "}\n"
        "copy s[0, 0 +: 8] <- x[0, 0 +: 8]\ncommit\nfor i < T { if i + 1 < T @uniform { copy s[(i "
        "+ 1) %% %d, 0 +: 8] <- x[i + 1, 0 +: 8] }\ncommit\n"
        "wait %d\n%s for j < 8 { t[j] += s[i %% %d, 7 - j] }\n%s }\nfor k < 8 { y[b, k] = t[k] } }";
    char body[900];
#define RING(slots, pending, after, before)                                                        \
    (snprintf(body, sizeof body, ring, slots, pending, after, slots, before), kernel(body))
    accepts(RING(2, 1, "sync block\n", "sync block\n"));
    refuses(RING(2, 2, "sync block\n", "sync block\n"), "while a copy to it is in flight");
    refuses(RING(2, 1, "", "sync block\n"), "no barrier after the write");
    refuses(RING(2, 1, "sync block\n", ""), "overwritten with no barrier after the last read");
    refuses(RING(1, 1, "sync block\n", "sync block\n"), "");
}

static void layouts_that_fold(void **state)
{
    accepts(
        kernel("alloc reg f32 s[4, 8] layout(...@256 | ...@32)\ns[0, 0] = 0.0\ny[0, 0] = s[0, 0]"));
    refuses(
        kernel("alloc reg f32 s[4, 8] layout(...@128 | ...@32)\ns[0, 0] = 0.0\ny[0, 0] = s[0, 0]"),
        "keep its elements apart");
}

/* b lies behind the first 40 elements of a: which of a's 64 meet it is not seen near their start. */
static void planes_that_share_a_bit(void **state)
{
#define PLANES(B)                                                                                  \
    "kernel k(in f64 a[64] within w layout(...@64), in f64 b[4] within w layout(" B "), "          \
    "out f64 y[4], in u8 w[8192]) {\n  for i < 4 {\n    y[i] = a[i] + b[i] } }\n"
    accepts(PLANES("...@64; offset 4096"));
    refuses(PLANES("...@64; offset 2560"), "not proved to lie apart in w");
    refuses(PLANES("...@4096; offset 32"), "not proved to lie apart in w");
#undef PLANES
}

static void data_dependent_loops_are_bounded(void **state)
{
    accepts(kernel("for j < s64(id[0]) max T { y[j, 0] = 0.0 }"));
    refuses(kernel("for j < s64(raw[0]) max 4096 { y[j, 0] = 0.0 }"), "not proved inside");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(indices_outside_of_their_dimension),
        cmocka_unit_test(facts_that_must_be_combined_or_scaled),
        cmocka_unit_test(indices_that_are_loaded),
        cmocka_unit_test(conditions_that_do_not_last),
        cmocka_unit_test(roles_that_share_a_buffer),
        cmocka_unit_test(iterations_that_meet),
        cmocka_unit_test(iterations_that_meet_through_values_of_their_own),
        cmocka_unit_test(iterations_that_meet_behind_many_loops),
        cmocka_unit_test(writes_that_share_a_byte),
        cmocka_unit_test(claimed_loops),
        cmocka_unit_test(scratch_that_nothing_wrote),
        cmocka_unit_test(names_types_and_scopes),
        cmocka_unit_test(instructions_that_are_not_their_nest),
        cmocka_unit_test(barriers_in_the_wrong_place),
        cmocka_unit_test(threads_that_meet_in_global_memory),
        cmocka_unit_test(slots_that_are_reused_too_early),
        cmocka_unit_test(layouts_that_fold),
        cmocka_unit_test(planes_that_share_a_bit),
        cmocka_unit_test(data_dependent_loops_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
