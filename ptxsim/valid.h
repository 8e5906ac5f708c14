/* valid.h: which bytes of which registers hold data that was written. */
#ifndef PTXSIM_VALID_H
#define PTXSIM_VALID_H

#include "ptxsim/launch.h"

/* What `in` does to validity; called in front of its handler, for the lanes it will run for. */
void ptx_val_flow(ptx_warp *w, const ptx_inst *in, ptx_mask m);
/* Reports a branch or exit whose guard is not valid in some active lane. */
void ptx_val_branch(ptx_warp *w, const ptx_inst *in, ptx_mask active);

#endif
