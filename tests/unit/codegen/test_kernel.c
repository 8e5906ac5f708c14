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
    static const char text[] =
        "dim T in 0..64\n"
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
        "      for s2 < 2 @unroll { for l2 < 16 @vector { acc[s2, l2] += X[m, k] * W[k, s2 * 16 + l2] } } }\n"
        "    for s3 < 2 @unroll { for l3 < 16 @vector { Y[m, s3 * 16 + l3] = acc[s3, l3] } } } }\n";
    same_as_eval(text, NULL, 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_loops_with_symbolic_extents),
        cmocka_unit_test(vectors_with_register_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
