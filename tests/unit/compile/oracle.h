/* oracle.h: a scheduled kernel beside te_eval.
 *
 * A kernel's parameters get memory laid out as they say: inputs and definitions of other kernels
 * with the values that the evaluator has for them, weights packed as a module has them, outputs
 * filled with rubbish. The loops are run by lp_eval, and what they wrote is compared with the
 * evaluator, element by element. */
#ifndef LLMIR_TESTS_COMPILE_ORACLE_H
#define LLMIR_TESTS_COMPILE_ORACLE_H

#include "compile/fuse.h"
#include "schedule/sch.h"
#include "te/quant.h"

typedef struct oracle {
    te_graph *g;
    te_env *env; /* inputs are bound */
    int64_t (*dim)(void *user, const char *name);
    void (*packed)(void *user, const te_tensor *w, unsigned char **p, size_t *n); /* malloc'ed */
    void *user;
    const int32_t (*item)[8]; /* work items */
    int64_t n_item;
} oracle;

typedef struct oracle_tolerance {
    double relative; /* of the largest value of the tensor's row */
    int codes;       /* integers may differ by one in this many of a thousand elements */
} oracle_tolerance;

typedef struct oracle_bytes {
    unsigned char *p; /* malloc'ed */
    size_t n;
} oracle_bytes;
/* A packer's sink: appends to the oracle_bytes that `user` is. */
ll_code oracle_collect(void *user, const void *p, size_t n, ll_error *err);

void oracle_ok(ll_code rc, const ll_error *e); /* fails the test */
/* Binds the planes of a quantised weight from its rows as a file has them. */
void oracle_bind_quant(te_env *env, te_tensor *w, const unsigned char *mem, size_t n_bytes);
/* False: *err says which element differs, or why the loops cannot run. */
bool oracle_check(const oracle *o, const cc_kernel *c, const sch *k, const oracle_tolerance *tol,
                  ll_error *err);
/* The same, run by `run` on the parameters' memory. */
typedef bool (*oracle_run_fn)(const oracle *o, const lp_func *f, void **arg, const size_t *bytes,
                              void *user, ll_error *err);
bool oracle_check_by(const oracle *o, const cc_kernel *c, const sch *k, const oracle_tolerance *tol,
                     oracle_run_fn run, void *user, ll_error *err);
int64_t oracle_size(const oracle *o, te_ref e); /* over the dims */
/* An oracle_run_fn, user: the ll_target: as PTX on the PTX machine with all checks; any finding is
 * an error (oracle_ptx.c). */
bool oracle_by_ptx(const oracle *o, const lp_func *f, void **arg, const size_t *bytes, void *target,
                   ll_error *err);

#endif
