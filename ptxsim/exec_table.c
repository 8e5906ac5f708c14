/* exec_table.c: the handlers of one instruction-set level, by number. */
#include "ptxsim/exec.h"

ptx_handler *const PTX_JOIN2(ptx, table, PTX_ISA)[PTX_H_COUNT] = {
#define PTX_H(name) [PTX_H_##name] = H(name),
#include "ptxsim/handlers.def"
#undef PTX_H
};
