/* matrix.h: what matrix.c, wmma.c and wgmma.c share. */
#ifndef PTXSIM_MATRIX_H
#define PTXSIM_MATRIX_H

#include "ptxsim/machine.h"
#include "ptxsim/mma.h"

/* Decoding. Errors are already recorded where a function returns something else than PTXSIM_OK. */
ptxsim_code ptx_wmma_decode(ptx_dec *d, const ptx_stmt *st, ptx_inst *in);
ptxsim_code ptx_wgmma_decode_inst(ptx_dec *d, const ptx_stmt *st, ptx_inst *in);
/* Takes the modifier mMnNkK (mMnN: k = 0). */
ptxsim_code ptx_take_shape(ptx_dec *d, const ptx_stmt *st, uint16_t *m, uint16_t *n, uint16_t *k);
/* Takes the next .row or .col. */
ptxsim_code ptx_take_layout(ptx_dec *d, const ptx_stmt *st, bool *is_col);
/* Takes .sync and .aligned, both required. */
ptxsim_code ptx_take_sync_aligned(ptx_dec *d, const ptx_stmt *st);
/* Refuses unless the statement has exactly n operands. */
ptxsim_code ptx_want_operands(ptx_dec *d, const ptx_stmt *st, uint32_t n);

/* Running. */
ptx_mma_model ptx_model_of(const ptx_warp *w);
/* False where lanes of the warp are missing at an .aligned instruction: reported, the machine goes
 * on. */
bool ptx_whole_warp(ptx_warp *w, const ptx_inst *in, ptx_mask m);
/* All lanes of a slot hold initialised data (true when that is not checked). */
bool ptx_slot_valid(const ptx_warp *w, uint32_t slot);
/* Copies lanes of `m` from a full register image. */
void ptx_put32(ptx_warp *w, uint32_t slot, ptx_mask m, const uint32_t v[PTX_LANES]);

#endif
