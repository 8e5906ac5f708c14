/* harness.h: a kernel's text -> object -> ld -> dlopen -> run with a team of one, beside lp_eval on
 * the same memory. */
#ifndef LLMIR_TESTS_CODEGEN_HARNESS_H
#define LLMIR_TESTS_CODEGEN_HARNESS_H

#include <llmir/module_abi.h>

#include "codegen/codegen.h"

enum { MAX_ARG = 64 };

typedef struct kernel {
    te_graph *g;
    lp_func *f;
    ll_target target;
    cg_job job;
    void *lib;
    llmir_kernel_code code;
    void *scratch;
    void *arg[MAX_ARG], *want[MAX_ARG];
    size_t bytes[MAX_ARG];
    int64_t dim[MAX_ARG];
} kernel;

/* Parses and compiles. False: *err says why (nothing to close). */
bool kernel_compile(kernel *k, const char *text, const char *target, unsigned want, ll_error *err);
/* The same and loads; NULL target: this machine. A failure fails the test. */
void kernel_open(kernel *k, const char *text, const char *target);
void kernel_close(kernel *k);
/* Memory for the parameters under dims given in the order of f->dim: outputs zero, inputs random.
 */
void kernel_fill(kernel *k, const int64_t *dim, uint64_t seed);
void kernel_run(kernel *k);
/* Runs both and compares every parameter: integers equal, floats within tol * (1 + |value|). */
void kernel_check(kernel *k, double tol);
/* The same; false with lp_eval's sentence when lp_eval refuses the inputs. */
bool kernel_try_check(kernel *k, double tol, ll_error *err);
/* All of it on this machine, x86-64-v3 and x86-64-v4. */
void same_as_eval(const char *text, const int64_t *dim, double tol);
/* Compiling for `target` is refused with a sentence that holds `part`. */
void refused(const char *text, const char *target, const char *part);
/* Elements of the parameters against lp_eval's, after a run. */
void kernel_compare(kernel *k, double tol);
/* lp_eval on `want`. */
ll_code kernel_eval(kernel *k, ll_error *err);
int64_t kernel_number(kernel *k, te_ref e); /* a size over dims */

/* ---- ptx.c: the same for kernels of GPUs, on the PTX machine with all checks ---- */
/* Compiles for `target`, runs on a machine of its generation in three orders; any finding, any
 * difference from lp_eval fails the test. `extra`: blocks more than the launch rule says. */
void ptx_same_as_eval(const char *text, const char *target, const int64_t *dim, double tol);
typedef struct ptx_run {
    const char *text, *target;
    const int64_t *dim;
    double tol;
    int extra;                /* blocks more than the launch rule says             */
    void (*fill)(kernel *k);  /* changes what kernel_fill made, or NULL (arg and want) */
} ptx_run;
void ptx_check(const ptx_run *r);
uint32_t random_bits(void);
/* Greatest random u8. Bytes that become f16 stay below NaN (whose bits lp_eval does not keep): 119. */
extern int random_u8_max;

#endif
