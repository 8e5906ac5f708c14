/* pack_program.h: the packing program of a weight type, as scheduled loop IR.
 *
 *   parameters   file   u8 [PANELS * P, blocks, bytes of a block]   rows as they lie in the file
 *                one per plane, all at the start of the packed panels: u8 cells (codes), or the
 * plane's own type dims         PANELS in this call, SUPERS (superblocks of a row), ROWS (rows that
 * the matrix has; the others become zero bytes)
 *
 * The definition of a plane is made from its layout (packing.h) and from the type's `from_file`.
 * Digits of the layout that reach whole bytes are its axes; digits inside a byte are OR'ed
 * together, so a byte is written once:
 *
 *   out.q[panel, super, vec, slot, lane, byte] = u8(code of column 4 * slot + byte) | u8(code of
 * column ... + 16) << 4
 *
 * Parts are panels. Shapes are dims: one program serves every matrix of the type. */
#ifndef LLMIR_COMPILE_PACK_PROGRAM_H
#define LLMIR_COMPILE_PACK_PROGRAM_H

#include "compile/packing.h"
#include "schedule/sch.h"

/* The scheduled program (destroy it with sch_destroy, then *g), or NULL. file: the row of the type
 * in the file. */
sch *cc_pack_program(const cc_packing *p, const te_quant *file, const ll_target *host, te_graph **g,
                     ll_error *err);

#endif
