/* packing.h: how a weight matrix lies in a module for one class of targets. The packing belongs to the weight, not to a
 * kernel: decode, low batch, prefill and the embedding gather of a tied weight all read this one. It is solved from the
 * planes of the type (their widths and how many elements a value covers) and the target's vector width; no type is named.
 *
 *   panel of P rows (P = 2 vectors of lanes), superblock of S columns after superblock, inside one:
 *
 *     | planes that cover S   | per unit of U columns: planes that cover less | per unit: codes                  |
 *     | d[P]  m[P]            | sc[h][P] mn[h][P]  ...                        | for each vector: slot 0, slot 1.. |
 *
 *   a slot is one vector: lane = row, the 4 bytes of a lane = 4 consecutive columns, so that one 4-way integer dot
 *   instruction takes it as it is. A byte holds 8/w codes of width w, of column groups `slot`, `slot + slots`, ...:
 *
 *          byte of lane r:  bits [w*i, w*i + w) = code of column 4*(slot + slots*i) + byte number
 *
 * On a GPU a lane takes 16 bytes of one row, and the lanes beside it the pieces that follow: a panel is one row (P = 1)
 * and the superblock the whole of it, each plane a run of its own that starts at a piece's edge:
 *
 *     | d of all columns | m of all columns | codes of unit 0, unit 1, ... |     32 4-bit codes are one piece
 *
 * Rows beyond the matrix (the last panel) are zero bytes. Unpacking gives back what was packed, bit for bit. */
#ifndef LLMIR_COMPILE_PACKING_H
#define LLMIR_COMPILE_PACKING_H

#include "schedule/layout.h"
#include "target/target.h"
#include "te/quant.h"

typedef struct cc_plane_place {
    int64_t cover;           /* columns that one element covers: 1 for codes */
    int bits;                /* of an element in memory                      */
    int64_t offset;          /* first bit inside the superblock              */
    int64_t unit_stride;     /* bits from unit to unit                       */
    int slots, per_byte;     /* codes                                        */
} cc_plane_place;

typedef struct cc_packing {
    char name[64];           /* "rows32 lanes16 unit32 super256"             */
    int n_plane;
    ll_dtype dtype[TE_MAX_PLANE];
    cc_plane_place plane[TE_MAX_PLANE];
    int rows, lanes, unit, super, group; /* P, vector lanes, U, S, columns of a lane's cell */
    int piece;               /* rows of planes: bytes that a lane takes; 0: panels */
    int64_t n_rows, n_cols, super_bytes, panel_bytes, bytes;
} cc_packing;

enum { CC_PANEL_VECTORS = 2 };
int cc_lanes(const ll_target *t); /* of a vector of 32-bit numbers, as packings use it */
/* The packing of a [rows, cols] weight: of a quantised type, or (q NULL) of plain elements. */
ll_code cc_packing_make(const te_quant *q, ll_dtype plain, int64_t rows, int64_t cols, const ll_target *t,
                        cc_packing *out, ll_error *err);
/* The layout of one plane, over (row, plane element along the row), in bits from the start of the packed weight. */
lp_layout *cc_packing_layout(const cc_packing *p, te_graph *g, int plane);

#endif
