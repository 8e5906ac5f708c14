/* Kernels of GPUs in loop IR do on the PTX machine, with all checks on and in several orders, what
 * lp_eval says: loops over threads, distributed registers, sums over lanes and warps, shared
 * memory, copies, gathers; sizes that divide nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

static const char *const targets[] = {"cuda:sm_75", "cuda:sm_80", "cuda:sm_90a"};

static void everywhere(const char *text, const int64_t *dim, double tol)
{
    for (int i = 0; i < 3; i++) ptx_same_as_eval(text, targets[i], dim, tol);
}

static const char elementwise[] =
    "dim T in 1..4096\n"
    "kernel silu(in f32 x[T, 37], in f16 g[T, 37], out f16 y[T, 37]) {\n"
    "  for b < (T * 37 + 95) / 96 @block.x {\n"
    "    for t < 96 @thread.x {\n"
    "      if b * 96 + t < T * 37 {\n"
    "        y[(b * 96 + t) / 37, (b * 96 + t) % 37] = f16(x[(b * 96 + t) / 37, (b * 96 + t) % 37] / "
    "(1.0 + exp(-x[(b * 96 + t) / 37, (b * 96 + t) % 37])) * "
    "f32(g[(b * 96 + t) / 37, (b * 96 + t) % 37])) } } } }\n";

static void elementwise_over_odd_sizes(void **state)
{
    static const int64_t dim[][1] = {{1}, {3}, {17}, {129}};
    for (int i = 0; i < 4; i++) everywhere(elementwise, dim[i], 2e-3);
}

static void vectors_of_16_bytes(void **state)
{
    static const char text[] =
        "dim T in 1..64\n"
        "kernel add(in f32 x[T, 512] align 16, in f32 r[T, 512] align 16, out f32 y[T, 512] align 16) {\n"
        "  for b < T @block.x {\n"
        "    for t < 64 @thread.x {\n"
        "      for k < 2 {\n"
        "        for v < 4 @vector {\n"
        "          y[b, k * 256 + t * 4 + v] = x[b, k * 256 + t * 4 + v] + r[b, k * 256 + t * 4 + v] } } } } }\n";
    kernel k;
    ll_error err = {0};
    everywhere(text, (int64_t[]){5}, 0);
    assert_true(kernel_compile(&k, text, "cuda:sm_80", 0, &err));
    assert_non_null(strstr(k.job.code.object, "ld.global.nc.v4.f32"));
    assert_non_null(strstr(k.job.code.object, "st.global.v4.f32"));
    kernel_close(&k);
}

static const char norm[] =
    "dim T in 1..64\n"
    "kernel norm(in f32 x[T, 645], in f32 w[645], out f32 y[T, 645]) {\n"
    "  for b < T @block.x {\n"
    "    alloc reg f32 p[128] layout(32@lane.1 4@warp.1)\n"
    "    alloc reg f32 s[1]\n"
    "    for t < 128 @thread.x {\n"
    "      p[t] = 0.0\n"
    "      for k < 6 {\n"
    "        if k * 128 + t < 645 {\n"
    "          p[t] += x[b, k * 128 + t] } } }\n"
    "    s[0] = 0.0\n"
    "    for r < 128 {\n"
    "      s[0] += p[r] }\n"
    "    alloc reg f32 v[1]\n"
    "    for t2 < 128 @thread.x {\n"
    "      p[t2] = 0.0\n"
    "      for k2 < 6 {\n"
    "        if k2 * 128 + t2 < 645 {\n"
    "          p[t2] += (x[b, k2 * 128 + t2] - s[0] / 645.0) * (x[b, k2 * 128 + t2] - s[0] / 645.0) } } }\n"
    "    v[0] = 0.0\n"
    "    for r2 < 128 {\n"
    "      v[0] += p[r2] }\n"
    "    for u < 128 @thread.x {\n"
    "      for j < 6 {\n"
    "        if j * 128 + u < 645 {\n"
    "          y[b, j * 128 + u] = (x[b, j * 128 + u] - s[0] / 645.0) * rsqrt(v[0] / 645.0 + 0.00001) * w[j * 128 + u] } } } } }\n";

static void a_norm_with_two_sums_over_the_block(void **state)
{
    everywhere(norm, (int64_t[]){1}, 1e-4);
    everywhere(norm, (int64_t[]){7}, 1e-4);
}

static void sums_again_and_again_through_the_same_memory(void **state)
{
    everywhere("dim T in 1..64\n"
               "kernel rows(in f32 x[T, 64], out f32 y[T], out f32 z[T]) {\n"
               "  for b < 1 @block.x {\n"
               "    alloc reg f32 p[64] layout(32@lane.1 2@warp.1)\n"
               "    alloc reg f32 s[1]\n"
               "    alloc reg f32 m[1]\n"
               "    for r < T @opaque {\n"
               "      for t < 64 @thread.x {\n"
               "        p[t] = x[r, t] }\n"
               "      s[0] = 0.0\n"
               "      m[0] = -inf\n"
               "      for i < 64 {\n"
               "        s[0] += p[i] }\n"
               "      for j < 64 {\n"
               "        m[0] max= p[j] }\n"
               "      y[r] = s[0]\n"
               "      z[r] = m[0] } } }\n",
               (int64_t[]){9}, 1e-5);
}

static void one_sum_after_the_other_waits_for_the_readers_of_the_last(void **state)
{
    everywhere("dim T in 1..64\n"
               "kernel rows(in f32 x[T, 64], out f32 y[T]) {\n"
               "  for b < 1 @block.x {\n"
               "    alloc reg f32 p[64] layout(32@lane.1 2@warp.1)\n"
               "    alloc reg f32 s[1]\n"
               "    for r < T @opaque {\n"
               "      for t < 64 @thread.x {\n"
               "        p[t] = x[r, t] }\n"
               "      s[0] = 0.0\n"
               "      for i < 64 {\n"
               "        s[0] += p[i] }\n"
               "      y[r] = s[0] } } }\n",
               (int64_t[]){9}, 1e-5);
}

static void a_gather_of_rows(void **state)
{
    everywhere("dim T in 1..64\n"
               "kernel gather(in s32 id[T] in 0..50, in f16 E[50, 40], out f32 y[T, 40]) {\n"
               "  for b < T @block.x {\n"
               "    let s64 row = s64(id[b]) @uniform\n"
               "    for t < 40 @thread.x {\n"
               "      y[b, t] = f32(E[row, t]) } } }\n",
               (int64_t[]){11}, 0);
}

static void a_transposed_copy_through_shared_memory(void **state)
{
    everywhere("dim M in 1..200\n"
               "dim N in 1..200\n"
               "kernel transpose(in f32 x[M, N], out f32 y[N, M]) {\n"
               "  for bm < (M + 31) / 32 @block.y {\n"
               "    for bn < (N + 31) / 32 @block.x {\n"
               "      alloc shared f32 s[32, 33]\n"
               "      for t < 256 @thread.x {\n"
               "        for r < 4 {\n"
               "          if (bm * 32 + r * 8 + t / 32 < M) & (bn * 32 + t % 32 < N) {\n"
               "            s[r * 8 + t / 32, t % 32] = x[bm * 32 + r * 8 + t / 32, bn * 32 + t % 32] } } }\n"
               "      sync block\n"
               "      for u < 256 @thread.x {\n"
               "        for q < 4 {\n"
               "          if (bn * 32 + q * 8 + u / 32 < N) & (bm * 32 + u % 32 < M) {\n"
               "            y[bn * 32 + q * 8 + u / 32, bm * 32 + u % 32] = s[u % 32, q * 8 + u / 32] } } } } } }\n",
               (int64_t[]){67, 35}, 0);
}

static void a_gemv_with_sums_over_lanes(void **state)
{
    everywhere("dim K in 8..1024 multiple 8\n"
               "kernel gemv(in f16 W[20, K] align 16, in f16 x[K] align 16, out f32 y[20]) {\n"
               "  for b < 5 @block.x {\n"
               "    alloc reg f32 p[4, 32] layout(4@warp.1 | 32@lane.1)\n"
               "    alloc reg f32 s[4] layout(4@warp.1)\n"
               "    for w < 4 @warp {\n"
               "      for t < 32 @thread.x {\n"
               "        p[w, t] = 0.0\n"
               "        for k < (K + 255) / 256 {\n"
               "          if k * 256 + t * 8 < K {\n"
               "            for v < 8 @vector {\n"
               "              p[w, t] += f32(W[b * 4 + w, k * 256 + t * 8 + v]) * f32(x[k * 256 + t * 8 + v]) } } } } }\n"
               "    for i < 4 {\n"
               "      s[i] = 0.0\n"
               "      for j < 32 {\n"
               "        s[i] += p[i, j] }\n"
               "      y[b * 4 + i] = s[i] } } }\n",
               (int64_t[]){264}, 1e-4);
}

static void tiles_in_fragments_and_their_rows(void **state)
{
    everywhere("kernel rows(in f32 x[16, 32], out f32 y[16, 32], out f32 top[16], out f32 one[1]) {\n"
               "  for b < 1 @block.x {\n"
               "    alloc reg f32 s[16, 32] layout(8@lane.4 2@reg.2 | 2@reg.1 4@lane.1 4@reg.4)\n"
               "    alloc reg f32 m[16] layout(8@lane.4 2@reg.1)\n"
               "    alloc reg f32 plain[16]\n"
               "    for i < 16 {\n"
               "      m[i] = -inf\n"
               "      plain[i] = 0.0\n"
               "      for j < 32 {\n"
               "        s[i, j] = x[i, j]\n"
               "        m[i] max= s[i, j]\n"
               "        plain[i] += s[i, j] }\n"
               "      for k < 32 {\n"
               "        y[i, k] = s[i, k] - m[i] + plain[i] } }\n"
               "    one[0] = m[3] + s[4, 5]\n"
               "    for e < 16 {\n"
               "      top[e] = m[e] } } }\n",
               NULL, 1e-4);
}

static void codes_scales_and_planes(void **state)
{
    random_u8_max = 119;
    everywhere("dim T in 1..64\n"
               "kernel dequant(weight u4 W.q[8, 64] within W.bytes layout(...@768 | 8@4 4@64 2@32; offset 512),\n"
               "    weight f16 W.d[8, 2] within W.bytes layout(...@768 | 2@16),\n"
               "    weight u8 W.bytes[864] align 16, out f32 y[8, 64], out bf16 z[8, 64]) {\n"
               "  for b < 8 @block.x {\n"
               "    for t < 64 @thread.x {\n"
               "      y[b, t] = (f32(W.q[b, t]) - 8.0) * f32(W.d[b, t / 32])\n"
               "      z[b, t] = bf16((f32(W.q[b, t]) - 8.0) * f32(W.d[b, t / 32])) } } }\n",
               NULL, 1e-3);
    random_u8_max = 255;
}

static void functions_of_the_machine(void **state)
{
    everywhere("kernel f(in f32 x[70], out f32 a[70], out f32 b[70], out f32 c[70], out f32 d[70], out f32 e[70], out f32 g[70], out f32 h[70]) {\n"
               "  for q < 1 @block.x {\n"
               "    for t < 70 @thread.x {\n"
               "      a[t] = exp(x[t] * 20.0)\n"
               "      b[t] = exp2(x[t] * 30.0)\n"
               "      c[t] = log(x[t] * x[t] + 0.001)\n"
               "      d[t] = sin(x[t] * 100.0) + cos(x[t] * 100.0)\n"
               "      e[t] = tanh(x[t])\n"
               "      g[t] = rsqrt(x[t] * x[t] + 0.01) + sqrt(x[t] * x[t])\n"
               "      h[t] = round(x[t] * 10.0) / (x[t] + 3.0) + floor(x[t] * 3.0) } } }\n",
               NULL, 4e-6);
}

static void a_warp_copies_into_its_own_memory(void **state)
{
    everywhere("dim T in 1..64\n"
               "kernel warps(in f16 x[T, 3, 64] align 16, out f16 y[T, 3, 64] align 16) {\n"
               "  for b < T @block.x {\n"
               "    for w < 3 @warp {\n"
               "      alloc warpshared f16 z[64] align 16\n"
               "      copy z[0 +: 64] <- x[b, w, 0 +: 64]\n"
               "      commit\n"
               "      wait 0 warp\n"
               "      sync warp\n"
               "      for t < 32 @thread.x {\n"
               "        for v < 2 {\n"
               "          y[b, w, t * 2 + v] = z[63 - t * 2 - v] } } } } }\n",
               (int64_t[]){3}, 0);
}

static void what_has_no_code_is_refused(void **state)
{
    refused("kernel f(out f32 y[2048]) { for b < 1 @block.x { for t < 2048 @thread.x { y[t] = 1.0 } } }",
            "cuda:sm_80", "2048 threads in a block, the target has at most 1024");
    refused("kernel f(out f32 y[64]) { for b < 1 @block.x { alloc shared f32 s[60000] for t < 64 "
            "@thread.x { s[t] = 1.0\n y[t] = s[t] } } }",
            "cuda:sm_80", "needs 240000 bytes of shared memory, cuda:sm_80 has 166912");
    refused("kernel f(in f32 x[64], out f32 y[64]) { for b < 1 @block.x { alloc reg f32 p[64] "
            "layout(32@lane.1 2@warp.1) for t < 64 @thread.x { p[t] = x[t] } for u < 64 @thread.x { "
            "y[u] = p[63 - u] } } }",
            "cuda:sm_80", "an element of p that another thread holds");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise_over_odd_sizes),
        cmocka_unit_test(vectors_of_16_bytes),
        cmocka_unit_test(a_norm_with_two_sums_over_the_block),
        cmocka_unit_test(sums_again_and_again_through_the_same_memory),
        cmocka_unit_test(one_sum_after_the_other_waits_for_the_readers_of_the_last),
        cmocka_unit_test(a_gather_of_rows),
        cmocka_unit_test(a_transposed_copy_through_shared_memory),
        cmocka_unit_test(a_gemv_with_sums_over_lanes),
        cmocka_unit_test(tiles_in_fragments_and_their_rows),
        cmocka_unit_test(codes_scales_and_planes),
        cmocka_unit_test(functions_of_the_machine),
        cmocka_unit_test(a_warp_copies_into_its_own_memory),
        cmocka_unit_test(what_has_no_code_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
