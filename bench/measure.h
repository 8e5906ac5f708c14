/* measure.h: calls a kernel of loop IR again and again on a team of threads, and times it.
 *
 * A kernel is compiled, loaded and given buffers once (bench_open); bench_round is then one timing,
 * so that a caller may take turns between kernels on a machine whose speed drifts. The largest
 * `weight` parameter is rotated over copies, so it comes from memory; with mb = 0 there is one copy
 * and it stays in the cache. These are programs for people: an error is a sentence and exit 1. */
#ifndef LLMIR_BENCH_MEASURE_H
#define LLMIR_BENCH_MEASURE_H

#include "codegen/codegen.h"

typedef struct bench_call {
    const lp_func *fn;
    const ll_target *target;
    unsigned want; /* CG_WANT_...: printed */
    int mb;        /* MiB that the copies of the weight take at least; 0: one copy */
    int64_t (*dim)(void *user, const char *name);
    /* What a parameter holds; false: bench_open chooses (small numbers, indices in range). */
    bool (*fill)(void *user, const te_tensor *t, void *p, size_t n);
    void *user;
} bench_call;

typedef struct bench_kernel bench_kernel;

_Noreturn void bench_die(const char *msg);
void bench_threads(int n); /* once, before anything else */
bench_kernel *bench_open(const bench_call *c);
double bench_round(bench_kernel *k); /* seconds of a call: the best of what fits into 50 ms */
double bench_read(bench_kernel *k);  /* bytes/s of just reading the copies; 0: one copy */
size_t bench_weight(const bench_kernel *k);  /* bytes of the rotated weight; 0: none  */
size_t bench_bytes(const bench_kernel *k);   /* of all parameters                     */
size_t bench_scratch(const bench_kernel *k); /* of a thread                           */
double bench_compile_seconds(const bench_kernel *k);
void bench_close(bench_kernel *k);

#endif
