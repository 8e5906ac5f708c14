/* Kernels from loop text: what a statement means is what lp_eval says, on three targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

static void scalar_loops_with_symbolic_extents(void **state)
{
    static const char text[] = "dim T in 0..64\n"
                               "kernel k(in f32 X[T, 5], in f32 W[6, 5], out f32 Y[T, 6]) {\n"
                               "  for m < T @claim {\n"
                               "    for n < 6 {\n"
                               "      Y[m, n] = 0.0\n"
                               "      for k < 5 {\n"
                               "        Y[m, n] += X[m, k] * W[n, k] } } } }\n";
    same_as_eval(text, (int64_t[]){7}, 1e-6);
    same_as_eval(text, (int64_t[]){1}, 1e-6);
    same_as_eval(text, (int64_t[]){0}, 1e-6);
}

static void vectors_with_register_tiles(void **state)
{
    static const char text[] =
        "kernel k(in f32 X[3, 40], in f32 W[40, 32], out f32 Y[3, 32]) {\n"
        "  for m < 3 @claim {\n"
        "    alloc reg f32 acc[2, 16]\n"
        "    for s < 2 @unroll { for l < 16 @vector { acc[s, l] = 0.0 } }\n"
        "    for k < 40 {\n"
        "      for s2 < 2 @unroll { for l2 < 16 @vector { acc[s2, l2] += X[m, k] * W[k, s2 * 16 + "
        "l2] } } }\n"
        "    for s3 < 2 @unroll { for l3 < 16 @vector { Y[m, s3 * 16 + l3] = acc[s3, l3] } } } }\n";
    same_as_eval(text, NULL, 1e-5);
}

/* Rows of intrin.def over nibble planes of 16-row panels, u8 codes and signed activations. */
static void dot(const char *name, int lanes, const char *target, bool narrow)
{
    char text[2000];
    snprintf(text, sizeof text,
             "kernel k(in u8 W[%d] align 64, in %s q[%d, 64] within W layout(%d@32 ...@%d | 4@8 "
             "4@%d %s...@%d),\n"
             "    in s8 x[64], out s32 y[%d]) {\n"
             "  for p < 3 @claim {\n"
             "    alloc reg s32 acc[%d]\n"
             "    for l < %d @vector { acc[l] = 7:s32 }\n"
             "    for b < %d {\n"
             "      for g < %d @unroll {\n"
             "        for l2 < %d @vector @%s { for r < 4 { acc[l2] += s32(q[p * %d + l2, b * %d + "
             "g * 4 + r]) * s32(x[b * %d + g * 4 + r]) } } } }\n"
             "    for l3 < %d @vector { y[p * %d + l3] = acc[l3] } } }\n",
             3 * lanes * (narrow ? 32 : 64), narrow ? "u4" : "u8", 3 * lanes, lanes,
             lanes * 64 * (narrow ? 4 : 8), lanes * 32, narrow ? "2@4 " : "", lanes * 128,
             3 * lanes, lanes, lanes, narrow ? 2 : 4, narrow ? 8 : 4, lanes, name, lanes,
             narrow ? 32 : 16, narrow ? 32 : 16, lanes, lanes);
    kernel k;
    ll_target t, here;
    const char *missing;
    ll_target_native(&here);
    assert_int_equal(ll_target_parse(target, &t, NULL), LL_OK);
    if (!ll_target_runs(&t, &here, &missing)) return;
    kernel_open(&k, text, target);
    kernel_fill(&k, NULL, 3);
    kernel_check(&k, 0);
    kernel_close(&k);
}

static void nests_become_their_instruction(void **state)
{
    for (int narrow = 0; narrow < 2; narrow++) {
        dot("vpdpbusd.512", 16, "cpu:x86-64-v4+avx512vnni+gfni", narrow);
        dot("vpdpbusd.512", 16, "cpu:x86-64-v4+avx512vnni", narrow);
        dot("vpdpbusd.256", 8, "cpu:x86-64-v4+avx512vnni", narrow);
        dot("vpdpbusd.128", 4, "cpu:x86-64-v4+avx512vnni", narrow);
        dot("vpmaddwd.512", 16, "cpu:x86-64-v4", narrow);
        dot("vpmaddwd.256", 8, "cpu:x86-64-v3", narrow);
    }
    dot("vpmaddubsw.512", 16, "cpu:x86-64-v4", true);
    dot("vpmaddubsw.256", 8, "cpu:x86-64-v3", true);
}

/* Signed codes, and codes whose offset is part of the expression, in 32 bits and in 8. */
static void signed_codes_have_their_instructions(void **state)
{
    static const char *const row[][3] = {{"vpdpbusd.s8.512", "16", "cpu:x86-64-v4+avx512vnni"},
                                         {"vpdpbusd.s8.256", "8", "cpu:x86-64-v4+avx512vnni"},
                                         {"vpmaddwd.s8.512", "16", "cpu:x86-64-v4"},
                                         {"vpmaddwd.s8.256", "8", "cpu:x86-64-v3"}};
    static const char *const code[] = {"s32(W[l2, r])", "s32(s8(Q[l2, r]) - 8:s8)",
                                       "(s32(Q[l2, r]) - 8:s32)"};
    ll_target here;
    ll_target_native(&here);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++) {
            char text[1000];
            ll_target t;
            const char *missing;
            snprintf(text, sizeof text,
                     "kernel k(in s8 W[16, 4], in u4 Q[16, 4], in s8 x[4], out s32 y[16]) {\n"
                     "  alloc reg s32 acc[16]\n  for l < 16 @vector { acc[l] = 5:s32 }\n"
                     "  for l2 < %s @vector @%s { for r < 4 { acc[l2] += s32(x[r]) * %s } }\n"
                     "  for l3 < 16 @vector { y[l3] = acc[l3] } }\n",
                     row[i][1], row[i][0], code[k]);
            assert_int_equal(ll_target_parse(row[i][2], &t, NULL), LL_OK);
            if (!ll_target_runs(&t, &here, &missing)) continue;
            kernel kn;
            kernel_open(&kn, text, row[i][2]);
            kernel_fill(&kn, NULL, 3);
            kernel_check(&kn, 0);
            kernel_close(&kn);
        }
}

static void bf16_pairs_are_one_instruction(void **state)
{
    static const char text[] = "kernel k(in bf16 W[16, 8], in bf16 x[8], out f32 y[16]) {\n"
                               "  alloc reg f32 acc[16]\n"
                               "  for l < 16 @vector { acc[l] = 0.0 }\n"
                               "  for g < 4 { for l2 < 16 @vector @vdpbf16ps.512 { for r < 2 { "
                               "acc[l2] += f32(W[l2, g * 2 + r]) * f32(x[g * 2 + r]) } } }\n"
                               "  for l3 < 16 @vector { y[l3] = acc[l3] } }\n";
    kernel k;
    ll_target here;
    ll_target_native(&here);
    if (!ll_target_has(&here, LL_FEAT_AVX512BF16)) skip();
    kernel_open(&k, text, NULL);
    kernel_fill(&k, NULL, 3);
    kernel_check(&k, 1e-5);
    kernel_close(&k);
}

static void what_an_instruction_cannot_do_is_refused(void **state)
{
    static const char text[] =
        "kernel k(in u8 W[16, 4], in s8 x[4], out s32 y[16]) {\n"
        "  alloc reg s32 acc[16]\n"
        "  for l < 16 @vector { acc[l] = 0:s32 }\n"
        "  for l2 < %s @vector @%s { for r < 4 { acc[l2] += s32(%s) * s32(x[r]) } }\n"
        "  for l3 < 16 @vector { y[l3] = acc[l3] } }\n";
    char s[1000];
    snprintf(s, sizeof s, text, "16", "vpdpbusd.512", "W[l2, r]");
    refused(s, "cpu:x86-64-v4", "needs avx512vnni");
    snprintf(s, sizeof s, text, "16", "vpmaddubsw.512", "W[l2, r]");
    refused(s, "cpu:x86-64-v4", "within its ranges");
    snprintf(s, sizeof s, text, "16", "vpdpbusd.512", "x[r]");
    refused(s, "cpu:x86-64-v4+avx512vnni", "within its ranges");
    snprintf(s, sizeof s, text, "8", "vpdpbusd.512", "W[l2, r]");
    refused(s, "cpu:x86-64-v4+avx512vnni", "wants a nest of 16 x 4");
}

static void tails_of_any_length(void **state)
{
    static const char text[] =
        "dim T in 0..100\n"
        "kernel k(in f32 X[T, 13], out f32 Y[T, 13]) {\n"
        "  for m < T { for n < 13 @vector { Y[m, n] = X[m, n] * 2.0 + f32(n) } } }\n";
    static const char along[] = "dim T in 0..100\n"
                                "kernel k(in f32 X[T], out f32 Y[T]) {\n"
                                "  for m < T @vector { Y[m] = X[m] * X[m] - f32(m) } }\n";
    for (int64_t T = 0; T < 40; T += 13) {
        same_as_eval(text, &T, 0);
        same_as_eval(along, &T, 0);
    }
}

static void guarded_tails_touch_nothing_outside(void **state)
{
    static const char text[] =
        "dim T in 1..100\n"
        "kernel k(in f32 X[T], in u4 C[T], in f16 H[T], out f32 Y[T], out u4 Z[T]) {\n"
        "  for o < (T + 15) / 16 {\n"
        "    for l < 16 @vector {\n"
        "      if o * 16 + l < T {\n"
        "        Y[o * 16 + l] = X[o * 16 + l] + f32(H[o * 16 + l])\n"
        "        Z[o * 16 + l] = C[o * 16 + l] + 3:u4 } } } }\n";
    for (int64_t T = 1; T < 40; T += 7) same_as_eval(text, &T, 0);
}

static void selects_guard_their_loads(void **state)
{
    static const char text[] =
        "dim T in 1..100\n"
        "kernel k(in f32 X[T], in s32 D[T] in 0..3, out f32 Y[48], out f32 S[48], out s32 Q[T]) {\n"
        "  for l < 48 @vector { Y[l] = select(l < T, X[l], -1.0) }\n"
        "  for i < 48 { S[i] = select(T <= i, 0.5, X[i] * 2.0) }\n"
        "  for q < T @vector { Q[q] = select(D[q] == 0:s32, 100:s32, 7:s32 / D[q]) } }\n";
    for (int64_t T = 1; T < 48; T += 11) same_as_eval(text, &T, 0);
}

static void lanes_in_any_order(void **state)
{
    static const char text[] =
        "kernel k(in f32 X[256], in s32 P[64] in 0..256, in u8 C[512], out f32 A[64], out f32 "
        "B[64], out f32 D[64], out f32 E[64], out f32 F[64],\n"
        "    out f32 G[64], out u8 H[64], out f32 I[64]) {\n"
        "  for i < 64 @vector {\n"
        "    A[i] = X[i * 2 + 1]\n"          /* stride */
        "    B[i] = X[i ^ 1]\n"              /* pairs swapped */
        "    D[i] = X[i / 4]\n"              /* repeats */
        "    E[i] = X[i % 4 * 64 + i / 4]\n" /* a transpose */
        "    F[i] = X[s64(P[i])]\n"          /* a lookup */
        "    G[i ^ 3] = X[63 - i]\n"         /* reversed, stored out of order */
        "    H[i] = C[i / 4 * 16 + i % 4]\n" /* runs of four */
        "    I[i % 8 * 8 + i / 8] = X[i * 3] } }\n";
    same_as_eval(text, NULL, 0);
}

static void vectors_inside_vectors(void **state)
{
    static const char text[] =
        "kernel k(in f32 X[4], in f32 Z[8], in u8 C[4, 8], out f32 Y[4, 8], out f32 S[4], out s32 "
        "N[8]) {\n"
        "  for i < 4 @vector { for j < 8 @vector { Y[i, j] = X[i] * Z[j] + f32(C[i, j]) } }\n"
        "  for a < 4 @vector { S[a] = 1.0\n for b < 8 @vector { S[a] += X[a] * Z[b] } }\n"
        "  for c < 8 @vector { N[c] = 0:s32 }\n"
        "  for d < 4 @vector { for e < 8 @vector { N[e] += s32(C[d, e]) } } }\n";
    same_as_eval(text, NULL, 1e-5);
}

static void sums_over_lanes(void **state)
{
    static const char text[] =
        "dim T in 0..100\n"
        "kernel k(in f32 X[T, 80], in s32 I[T, 80], out f32 S[T], out f32 M[T], out s32 A[T], out "
        "f32 U[1]) {\n"
        "  alloc reg f32 u[1]\n"
        "  u[0] = 1.0\n"
        "  for t < T {\n"
        "    alloc reg f32 s[1]\n"
        "    alloc reg f32 m[1]\n"
        "    alloc reg s32 a[1]\n"
        "    s[0] = 0.25\n"
        "    m[0] = -1.0e9\n"
        "    a[0] = 1000:s32\n"
        "    for o < 5 { for l < 16 @vector { s[0] += X[t, o * 16 + l] * X[t, o * 16 + l]\n m[0] "
        "max= X[t, o * 16 + l]\n a[0] min= I[t, o * 16 + l] } }\n"
        "    for w < 80 @vector { u[0] += X[t, w] }\n"
        "    S[t] = s[0]\n"
        "    M[t] = m[0]\n"
        "    A[t] = a[0] }\n"
        "  U[0] = u[0] }\n";
    same_as_eval(text, (int64_t[]){0}, 1e-5);
    same_as_eval(text, (int64_t[]){5}, 1e-4);
}

static void sums_stop_where_lanes_are_masked(void **state)
{
    static const char text[] = "dim T in 1..100\n"
                               "kernel k(in f32 X[T], out f32 S[2]) {\n"
                               "  alloc reg f32 s[2]\n"
                               "  s[0] = 0.0\n"
                               "  s[1] = -100.0\n"
                               "  for o < (T + 15) / 16 { for l < 16 @vector { if o * 16 + l < T { "
                               "s[0] += X[o * 16 + l] * 3.0\n s[1] max= X[o * 16 + l] } } }\n"
                               "  S[0] = s[0]\n"
                               "  S[1] = s[1] }\n";
    for (int64_t T = 1; T < 60; T += 9) same_as_eval(text, &T, 1e-5);
}

static void registers_cross_branches(void **state)
{
    static const char text[] =
        "dim T in 1..100\n"
        "kernel k(in f32 X[T, 16], in s32 F[T] in 0..3, out f32 Y[T, 16], out f32 Z[T]) {\n"
        "  alloc reg f32 r[16]\n"
        "  alloc reg f32 z[1]\n"
        "  z[0] = 0.0\n"
        "  for l < 16 @vector { r[l] = 0.0 }\n"
        "  for t < T {\n"
        "    if F[t] == 0:s32 { for a < 16 @vector { r[a] = X[t, a] } z[0] = 1.0 }\n"
        "    else { if F[t] == 1:s32 { for b < 16 @vector { r[b] += X[t, b]\n z[0] += X[t, b] } } "
        "}\n"
        "    for c < 16 @vector { Y[t, c] = r[c] }\n"
        "    Z[t] = z[0] } }\n";
    same_as_eval(text, (int64_t[]){23}, 1e-5);
}

static void lets_bind_values(void **state)
{
    static const char text[] =
        "dim T in 1..100\n"
        "kernel k(in f32 X[T, 16], in s32 P[T] in 0..T, out f32 Y[T, 16]) {\n"
        "  for t < T @claim {\n"
        "    let s64 row = s64(P[t]) @uniform\n"
        "    let s64 next = (row + 1) % T\n"
        "    let f32 scale = X[row, 3] * 2.0\n"
        "    for l < 16 @vector {\n"
        "      let f32 v = X[next, l] * scale\n"
        "      Y[t, l] = v * v + v } } }\n";
    same_as_eval(text, (int64_t[]){9}, 1e-6);
}

static void a_prologue_runs_before_the_parts(void **state)
{
    static const char text[] =
        "dim T in 0..100\n"
        "kernel k(in f32 X[40], in f32 W[T, 40], out f32 Y[T]) {\n"
        "  alloc thread f16 h[40]\n"
        "  alloc thread s8 q[3, 40]\n"
        "  for i < 40 @vector { h[i] = f16(X[i] * 0.5) }\n"
        "  for j < 3 { for i2 < 40 @vector { q[j, i2] = s8(round(X[i2] * 10.0)) } }\n"
        "  for t < T @claim {\n"
        "    alloc reg f32 s[1]\n"
        "    s[0] = 0.0\n"
        "    for k < 40 @vector { s[0] += W[t, k] * (f32(h[k]) + f32(q[2, k])) }\n"
        "    Y[t] = s[0] } }\n";
    same_as_eval(text, (int64_t[]){0}, 1e-4);
    same_as_eval(text, (int64_t[]){11}, 1e-4);
}

static void layouts_decide_where_elements_are(void **state)
{
    static const char text[] =
        "kernel k(in u3 A[12, 40], in u6 B[12, 40] layout(4@8 ...@1280 | ...@32), in f16 S[12, 5] "
        "align 2,\n"
        "    out f32 Y[12, 40] layout(4@32 ...@5120 | ...@128), out u5 Z[12, 40]) {\n"
        "  for n < 12 { for k < 40 @vector {\n"
        "    Y[n, k] = f32(A[n, k]) * f32(S[n, k / 8]) - f32(B[n, k])\n"
        "    Z[n, k] = u5(A[n, k]) + u5(B[n, k]) } } }\n";
    same_as_eval(text, NULL, 1e-6);
}

static void codes_are_packed_in_rows(void **state)
{
    static const char text[] =
        "kernel k(in u8 X[32, 64], out u4 A[32, 64] layout(16@32 ...@8192 | 4@8 4@512 2@4 "
        "...@2048), out u4 D[32, 64], out u2 C[32, 64],\n"
        "    out u1 P[32, 64] layout(...@512 | 8@8 8@1 ...@64), out bool Q[32, 64]) {\n"
        "  for n < 2 { for b < 2 { for h < 2 @unroll { for g < 4 @unroll { for l < 16 @vector { "
        "for r < 4 @vector {\n"
        "    A[n * 16 + l, b * 32 + h * 16 + g * 4 + r] = u4(X[n * 16 + l, b * 32 + h * 16 + g * 4 "
        "+ r]) } } } } } }\n"
        "  for m < 32 { for i < 64 @vector { D[m, i] = u4(X[m, i] >> 2:u8)\n C[m, i] = u2(X[m, "
        "i])\n P[m, i] = u1(X[m, i] >> 5:u8)\n Q[m, i] = X[m, i] < 100:u8 } } }\n";
    same_as_eval(text, NULL, 0);
}

static void swizzled_layouts(void **state)
{
    static const char text[] = "kernel k(in f32 X[16, 32], out f32 Y[16, 32] layout(...@1024 | "
                               "...@32; xor 3 bits 10 -> 7)) {\n"
                               "  for n < 16 { for k < 32 @vector { Y[n, k] = X[n, k] } } }\n";
    same_as_eval(text, NULL, 0);
}

static void rotated_loops_have_constant_rings(void **state)
{
    static const char text[] = "dim T in 0..100\n"
                               "kernel k(in f32 X[T], out f32 Y[T]) {\n"
                               "  alloc reg f32 ring[3]\n"
                               "  for z < 3 @unroll { ring[z] = 0.0 }\n"
                               "  for t < T @rotate(3) {\n"
                               "    Y[t] = ring[t % 3] + ring[(t + 1) % 3] * 2.0\n"
                               "    ring[t % 3] = X[t] } }\n";
    for (int64_t T = 0; T < 12; T++) same_as_eval(text, &T, 1e-6);
}

static void buffers_inside_vector_loops_belong_to_a_lane(void **state)
{
    static const char text[] =
        "kernel k(in f32 X[24, 6], in u4 C[24, 6], out f32 Y[24, 6], out f32 Z[24]) {\n"
        "  for i < 24 @vector {\n"
        "    alloc thread f32 a[6]\n    alloc reg f32 r[2]\n    alloc thread u4 n[6]\n"
        "    r[0] = 0.0\n    r[1] = X[i, 0]\n"
        "    for k < 6 { a[k] = X[i, k] * 2.0\n n[k] = C[i, k] + 1:u4\n r[0] += a[k]\n r[1] max= a[k] }\n"
        "    for j < 6 { Y[i, j] = a[5 - j] + f32(n[j]) }\n"
        "    Z[i] = r[0] * r[1] } }\n";
    same_as_eval(text, NULL, 1e-5);
}

static void lanes_that_select_leaves_out_may_name_no_element(void **state)
{
    static const char text[] =
        "kernel k(in f32 X[8], out f32 Y[8]) {\n"
        "  alloc reg f32 s[8]\n  for i < 8 @vector { s[i] = X[i] }\n"
        "  for j < 8 @vector { Y[j] = select(j < 1, 0.5, s[j - 1]) } }\n";
    same_as_eval(text, NULL, 0);
}

static void lanes_may_run_loops_of_their_own_length(void **state)
{
    static const char text[] =
        "kernel k(in f32 X[16, 5], in s32 N[16] in 0..6, out f32 Y[16], out s32 C[16]) {\n"
        "  for i < 16 @vector {\n"
        "    alloc reg f32 m[16]\n    m[i] = -9.0\n    Y[i] = 0.5\n    C[i] = 0:s32\n"
        "    for k < s64(N[i]) max 5 { Y[i] += X[i, k]\n C[i] = C[i] + 2:s32\n m[i] max= X[i, k] }\n"
        "    Y[i] = Y[i] * m[i] } }\n";
    same_as_eval(text, NULL, 1e-5);
}

static void products_inside_sums_may_be_reordered(void **state)
{
    static const char text[] =
        "kernel k(in f32 X[8, 16], in f32 c[8], out f32 Y[16], out f32 Z[16]) {\n"
        "  alloc reg f32 a[16]\n  alloc reg f32 b[16]\n"
        "  for l < 16 @vector { a[l] = 0.0\n b[l] = 0.0 }\n"
        "  for i < 8 {\n"
        "    for m < 16 @vector {\n"
        "      a[m] += X[i, m] * c[i] * X[i, m] * c[i] - c[i] * (c[7] * X[i, m])\n"
        "      b[m] += (a[m] * c[0]) * (a[m] * X[i, m]) * 0.125 } }\n"
        "  for o < 16 @vector { Y[o] = a[o]\n Z[o] = b[o] } }\n";
    same_as_eval(text, NULL, 1e-5);
}

static void thread_buffers_are_registers_round_sums(void **state)
{
    static const char text[] =
        "dim T in 0..20\n"
        "kernel k(in f32 X[T, 64], in f32 q[T, 3], out f32 Y[3, 64], out s32 C[5]) {\n"
        "  alloc thread f32 s[3, 64]\n  alloc thread s32 n[5]\n"
        "  for z < 3 { for i < 64 @vector { s[z, i] = f32(z) } }\n"
        "  for y < 5 { n[y] = 7:s32 }\n"
        "  for j < 4 @unroll {\n"
        "    for d < T {\n"
        "      for g < 3 @unroll { for l < 16 @vector { s[g, j * 16 + l] += X[d, j * 16 + l] * q[d, g] } }\n"
        "      n[j] += 2:s32\n"
        "      if d % 3 == 1 { n[4] max= s32(d) + n[j] } } }\n"
        "  for o < 3 { for h < 64 @vector { Y[o, h] = s[o, h] } }\n"
        "  for p < 5 { C[p] = n[p] } }\n";
    same_as_eval(text, (int64_t[]){0}, 1e-5);
    same_as_eval(text, (int64_t[]){11}, 1e-5);
}

static void prefetch_changes_nothing(void **state)
{
    static const char text[] = "kernel k(in f32 X[64], out f32 Y[64]) {\n"
                               "  for o < 4 { prefetch X[o * 16 + 100000]\n for l < 16 @vector { "
                               "Y[o * 16 + l] = X[o * 16 + l] } } }\n";
    same_as_eval(text, NULL, 0);
}

static void run_time_register_indices_are_refused(void **state)
{
    refused("kernel k(in f32 X[8], out f32 Y[8]) {\n  alloc reg f32 r[8]\n  for i < 8 { r[i] = "
            "X[i] }\n  for j < 8 { Y[j] = r[j] } }\n",
            NULL, "register buffer 'r' is indexed by");
    refused("kernel k(in f32 X[8], out f32 Y[8]) {\n  for i < 8 @claim { Y[i] = X[i] }\n  Y[0] = "
            "0.0 }\n",
            NULL, "after its claimed loop");
    refused("kernel k(in f32 X[8], out f32 Y[1]) {\n  for i < 8 @vector { Y[0] = X[i] } }\n", NULL,
            "several vector lanes store");
    refused("kernel k(in f32 X[8], out f32 Y[8]) {\n  for i < 8 @thread.x { Y[i] = X[i] } }\n",
            NULL, "bound to a GPU");
    refused("kernel k(in f64 X[8], out f64 Y[8]) {\n  for i < 8 { Y[i] = log(X[i]) } }\n", NULL,
            "no code for f64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_loops_with_symbolic_extents),
        cmocka_unit_test(vectors_with_register_tiles),
        cmocka_unit_test(nests_become_their_instruction),
        cmocka_unit_test(signed_codes_have_their_instructions),
        cmocka_unit_test(bf16_pairs_are_one_instruction),
        cmocka_unit_test(what_an_instruction_cannot_do_is_refused),
        cmocka_unit_test(tails_of_any_length),
        cmocka_unit_test(guarded_tails_touch_nothing_outside),
        cmocka_unit_test(selects_guard_their_loads),
        cmocka_unit_test(lanes_in_any_order),
        cmocka_unit_test(vectors_inside_vectors),
        cmocka_unit_test(sums_over_lanes),
        cmocka_unit_test(sums_stop_where_lanes_are_masked),
        cmocka_unit_test(registers_cross_branches),
        cmocka_unit_test(lets_bind_values),
        cmocka_unit_test(a_prologue_runs_before_the_parts),
        cmocka_unit_test(layouts_decide_where_elements_are),
        cmocka_unit_test(codes_are_packed_in_rows),
        cmocka_unit_test(swizzled_layouts),
        cmocka_unit_test(rotated_loops_have_constant_rings),
        cmocka_unit_test(buffers_inside_vector_loops_belong_to_a_lane),
        cmocka_unit_test(lanes_that_select_leaves_out_may_name_no_element),
        cmocka_unit_test(lanes_may_run_loops_of_their_own_length),
        cmocka_unit_test(products_inside_sums_may_be_reordered),
        cmocka_unit_test(thread_buffers_are_registers_round_sums),
        cmocka_unit_test(prefetch_changes_nothing),
        cmocka_unit_test(run_time_register_indices_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
