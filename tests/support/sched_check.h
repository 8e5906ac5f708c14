/* sched_check.h: does a schedule mean what its definitions mean? Runs the scheduled function and
 * the plain one on the same random inputs and compares every written parameter. */
#ifndef LLMIR_TESTS_SCHED_CHECK_H
#define LLMIR_TESTS_SCHED_CHECK_H

#include "schedule/sch.h"

typedef struct chk_dim {
    const char *name;
    int64_t value;
} chk_dim;

/* LL_OK when equal: integers exactly, floats to `tol` relative to the greatest magnitude of the
 * output. The sentence names the parameter, the element, both values. */
ll_code chk_equal(const lp_func *got, const lp_func *want, const chk_dim *dim, int n_dim,
                  uint64_t seed, double tol, ll_error *err);

/* The same against te_eval of the outputs' definitions: `plain` gives the parameters (the function
 * as lowered). */
ll_code chk_oracle(const lp_func *got, const lp_func *plain, te_tensor *const *root, int n_root,
                   const chk_dim *dim, int n_dim, uint64_t seed, double tol, ll_error *err);

/* Elements of all parameters. */
int64_t chk_elements(const lp_func *f, const chk_dim *dim, int n_dim);

typedef struct chk_rng {
    uint64_t s;
} chk_rng;
uint64_t chk_next(chk_rng *r);
static inline int64_t chk_below(chk_rng *r, int64_t n)
{
    return (int64_t)(chk_next(r) % (uint64_t)n);
}

#endif
