/* codegen.h: loop IR -> machine code in memory. The only folder that knows LLVM. It runs codegen only: what the
 * code looks like was decided by the schedule. Each kernel NAME gives two functions, NAME.parts and NAME.run, as
 * module_abi.h describes (thread scratch comes from the sum of its LP_THREAD buffers).
 *
 * LLVM may end the process on code it cannot select, so cg_compile runs it in child processes, one job each; a
 * child's death is a status with its last words. */
#ifndef LLMIR_CODEGEN_CODEGEN_H
#define LLMIR_CODEGEN_CODEGEN_H

#include "schedule/loop.h"
#include "target/target.h"

/* How a CUDA kernel is launched (module_abi.h: LLMIR_SEC_LAUNCH). */
typedef struct cg_launch {
    char entry[128];   /* name of the .entry                                                    */
    uint32_t block[3]; /* threads                                                               */
    uint32_t shared;   /* dynamic shared memory, bytes                                          */
    te_ref grid[3];    /* blocks: extents of the @block loops, over dims of the function's graph;
                          NULL: 1 */
} cg_launch;

typedef struct cg_code {
    void *object; size_t object_bytes;  /* relocatable ELF (CPU); PTX text with its NUL (CUDA) */
    cg_launch launch;                   /* CUDA */
    char *llvm_ir, *assembly;           /* when asked for; NUL-ended         */
    size_t scratch_bytes;               /* per thread                        */
    double seconds;                     /* in LLVM and around it             */
} cg_code;
void cg_code_finish(cg_code *c);

enum { CG_WANT_LLVM = 1, CG_WANT_ASM = 2 };

typedef struct cg_job {
    const lp_func *fn;
    const ll_target *target;
    unsigned want;
    const char *note; /* lines for the head of a PTX text (its trace), or NULL */
    cg_code code;   /* result */
    ll_error error; /* per job */
} cg_job;

/* Compiles jobs in `workers` child processes (0: one per core). LL_OK when all succeeded; otherwise each job's
 * error says what went wrong with it. */
ll_code cg_compile(cg_job *job, int n, int workers, ll_error *err);
/* In this process (tests; a child's work). */
ll_code cg_compile_here(cg_job *job, ll_error *err);
/* The object that defines `llmir_module_v1` (module_abi.h): a table of the kernels' two functions each, and the blob. */
ll_code cg_table_object(const ll_target *t, const char *const *kernel_name, int n, const void *blob, size_t blob_bytes,
                        void **object, size_t *object_bytes, ll_error *err);
/* Links objects to a shared library at `path` with ld (no C compiler). */
ll_code cg_link(const char *path, void *const *object, const size_t *bytes, int n, ll_error *err);
const char *cg_llvm_version(void);

#endif
