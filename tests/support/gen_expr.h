/* gen_expr.h: random tensor expressions for property tests: valid graphs of 1 to 4 definitions
 * with 1 to 3 axes, reductions over one or two axes, quantised inputs (one of them of a type no
 * file has), symbolic dims, ragged extents, gathers, casts. One seed and size give one graph on
 * every machine; a smaller size gives a smaller graph of the same kind, so a failure shrinks by
 * halving the size. */
#ifndef LLMIR_TESTS_GEN_EXPR_H
#define LLMIR_TESTS_GEN_EXPR_H

#include "te/te.h"

enum {
    GEN_EXACT = 1,    /* sums are exact in f32 in any order, with the values of gen_bind: results are
                         bit-equal under re-association                                          */
    GEN_QUANT = 2,    /* quantised inputs            */
    GEN_RAGGED = 4,   /* extents from index tensors  */
    GEN_SYMBOLIC = 8, /* dims: S, T in 1..4 or more, U a multiple of 4, V anything */
    GEN_ALL = 15,
    GEN_F64 = 16,     /* floats are f64 and no sum is rounded to an integer or a small format: results
                         under re-association differ in the last bits of f64 for any values; only types
                         of the table; every element of the last definition is reached           */
};

/* Adds the graph to g; the last definition (it may use the others). `size` 1..32. */
te_tensor *gen_graph(te_graph *g, uint64_t seed, int size, unsigned flags);
/* The value of a dim in a case. */
int64_t gen_dim_value(te_ref dim, uint64_t seed);
/* Binds every dim and every input of g. False with the sentence in err. */
bool gen_bind(te_env *e, te_graph *g, uint64_t seed, unsigned flags, ll_error *err);
/* Calls check for n seeds from `first` on; after a failure with smaller and smaller sizes. True
 * when none failed. */
bool gen_check(uint64_t first, int n, int size, bool (*check)(uint64_t seed, int size, void *ctx),
               void *ctx, uint64_t *bad_seed, int *bad_size);

#endif
