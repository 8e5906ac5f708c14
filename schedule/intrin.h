/* intrin.h: instructions a loop nest can become. A row of intrin.def states the nest it stands for (extents and
 * operand types), the ranges for which it is exact, what the target must have, and the name that codegen/ emits. */
#ifndef LLMIR_SCHEDULE_INTRIN_H
#define LLMIR_SCHEDULE_INTRIN_H

#include "te/te.h"

typedef struct lp_intrin {
    const char *name;     /* "vpdpbusd.512": what traces and texts say                                            */
    const char *llvm;     /* LLVM intrinsic or asm template: read by codegen/ only                                */
    const char *requires; /* target features, space separated: "avx512vnni" or "sm_80"                            */
    int m, n, k;          /* nest extents: outer parallel axes m (1: none), n, reduction k                        */
    ll_dtype acc, a, b;   /* acc[m, n] += acc(a[..]) * acc(b[..]); a is indexed by (n, k) on the CPU rows         */
    int64_t a_lo, a_hi, b_lo, b_hi; /* operand ranges for which it is exact (whole type when lo == hi == 0)        */
    const char *fragment[3]; /* MMA rows: layouts of acc, a, b over the lanes of a warp; else NULL */
} lp_intrin;

int lp_n_intrins(void);
const lp_intrin *lp_intrin_at(int i);
const lp_intrin *lp_intrin_by_name(const char *name); /* NULL when unknown */

#endif
