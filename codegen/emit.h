/* emit.h: LLVM modules to machine code: what x86.c lends to link.c and pool.c. */
#ifndef LLMIR_CODEGEN_EMIT_H
#define LLMIR_CODEGEN_EMIT_H

#include <llvm-c/TargetMachine.h>

#include "codegen/codegen.h"

void cg_init(void); /* options and targets, once per process */
ll_code cg_machine(const ll_target *t, LLVMTargetMachineRef *out, ll_error *err);
/* The extents of the block loops of a kernel; NULL where there is none. */
void cg_grid_of(const lp_func *f, te_ref grid[3]);
/* Verifies and emits; the module is used up. */
ll_code cg_emit(LLVMTargetMachineRef m, LLVMModuleRef mod, unsigned want, cg_code *out,
                ll_error *err);

#endif
