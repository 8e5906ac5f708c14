/* layout.h: where the element of a buffer lives. A layout is a linear map over the bits of the
 * index, times affine outer counts: each dimension's index is written in mixed radix (its *digits*,
 * fastest first), every digit is sent to one place (a bit address in memory; or register, lane,
 * warp) with its own stride, and powers of two among the address bits may be XORed together (a
 * *swizzle*). Row-major order, packed weight panels, nibble planes, mma fragments and shared-memory
 * swizzles are all such maps.
 *
 *   example, a 4-bit plane [k, n] in 16-row panels, 4 consecutive k of a lane side by side, k
 *   groups i and i + 4 in the low and the high nibble of one byte:
 *
 *     layout(4@8 4@512 2@4 ...@4096 | 16@32 ...@(K / 32 * 4096))       strides in bits
 *            |   |     |   |          |     |
 *            |   |     |   units of   lane  panels of 16 rows
 *            |   |     |   32 k
 *            |   |     nibble
 *            |   k group of 4
 *            byte
 *
 * A digit without a size ("...") is the rest of its dimension. For powers of two the map is a
 * matrix over GF(2) (lp_layout_matrix); conversions, bank conflicts and the packing that lands in a
 * fragment are computed from it. */
#ifndef LLMIR_SCHEDULE_LAYOUT_H
#define LLMIR_SCHEDULE_LAYOUT_H

#include "te/te.h"

enum { LP_MAX_DIGIT = 24, LP_MAX_SWIZZLE = 4 };

typedef enum lp_place { LP_AT_ADDR, LP_AT_REG, LP_AT_LANE, LP_AT_WARP } lp_place;

typedef struct lp_digit {
    uint8_t dim;
    uint8_t place;  /* lp_place                                                     */
    int64_t size;   /* number of values; 0: the rest of the dimension               */
    te_ref stride;  /* ADDR: bits (s64, over dims); otherwise units of the place    */
} lp_digit;

/* address ^= ((address >> from) & (2^n - 1)) << to, on the bit address, in order. */
typedef struct lp_swizzle { uint8_t from, to, n; } lp_swizzle;

typedef struct lp_layout {
    int n_digit, n_swizzle;
    lp_digit digit[LP_MAX_DIGIT]; /* grouped by dim, fastest digit of a dim first */
    lp_swizzle swizzle[LP_MAX_SWIZZLE];
    int64_t offset;               /* bits */
} lp_layout;

/* Row-major over `shape` with elements of `bits` bits. */
lp_layout *lp_layout_dense(te_graph *g, const te_ref *shape, int ndim, int bits);
/* The bit address (or register, lane, warp number) of element idx[], simplified. */
te_ref lp_layout_at(te_graph *g, const lp_layout *l, lp_place place, const te_ref *idx);
/* The same for plain numbers (dims bound by the caller through `dim`: value of a DIM node). */
int64_t lp_layout_at_const(const lp_layout *l, lp_place place, const int64_t *idx,
                           int64_t (*eval)(te_ref, void *), void *ctx);
/* Number of bits from 0 to the end of the last element (over dims). */
te_ref lp_layout_bits(te_graph *g, const lp_layout *l, const te_ref *shape, int ndim,
                      int elem_bits);
void lp_layout_print(ll_str *out, const lp_layout *l);
lp_layout *lp_layout_parse(te_graph *g, const char *text, int ndim, ll_error *err);

/* ---- facts (layout_map.c) -------------------------------------------------------------------- */
/* True when distinct elements are proved to lie at distinct, non-overlapping places. */
bool lp_layout_injective(const lp_layout *l, const te_ref *shape, int ndim, int elem_bits);
/* A buffer inside a memory that others lie in too. */
typedef struct lp_view { const lp_layout *layout; const te_ref *shape; int ndim, elem_bits; } lp_view;
/* True when it is proved that no element of a shares a bit with one of b (layout_apart.c); false: not proved. */
bool lp_layout_apart(te_graph *g, const lp_view *a, const lp_view *b);
/* The map of the tile given by power-of-two extents as GF(2) columns: column[i] is where index bit
 * i goes (bits of dim 0 first, each dim low bit first). A column holds the bit address in bits
 * 0..31, then register, lane and warp from LP_REG_BIT, LP_LANE_BIT and LP_WARP_BIT on. False when
 * the map is not linear on the tile. */
enum { LP_REG_BIT = 32, LP_LANE_BIT = 44, LP_WARP_BIT = 52, LP_MAX_COLUMN = 40 };
bool lp_layout_matrix(const lp_layout *l, const int *log2_extent, int ndim, uint64_t *column,
                      int *n_column);
/* What it takes to bring a tile from one distributed layout into another. */
typedef enum lp_move {
    LP_MOVE_NONE,    /* every element is where it should be                   */
    LP_MOVE_REGS,    /* other registers of the same lane                      */
    LP_MOVE_SHUFFLE, /* other lanes of the same warp                          */
    LP_MOVE_SHARED,  /* other warps, or a map that is not linear: through memory */
} lp_move;
lp_move lp_layout_conversion(const lp_layout *from, const lp_layout *to, const int *log2_extent,
                             int ndim);
/* A warp accesses shared memory `mem` through the distributed layout `frag`, `vector` consecutive
 * registers at once: the greatest number of distinct 4-byte words that one bank is asked for in one
 * phase (1: no conflict; 0: the registers of a vector are not consecutive in memory). */
int lp_bank_conflicts(const lp_layout *mem, const lp_layout *frag, const int *log2_extent, int ndim,
                      int elem_bits, int vector);
/* Gives `mem` the swizzle, of at most 3 bits of 16-byte chunks, with the fewest conflicts for the
 * worst of the n fragments; returns that number. */
int lp_layout_swizzle(lp_layout *mem, const lp_layout *const *frag, const int *vector, int n,
                      const int *log2_extent, int ndim, int elem_bits);
/* The memory layout in which the registers of each lane lie side by side, lane after lane, warp
 * after warp: what a packed weight looks like when it must land in `frag` by plain vector loads.
 * The rest of each dimension follows, last dimension fastest, over `shape`. */
lp_layout *lp_layout_landing(te_graph *g, const lp_layout *frag, const te_ref *shape, int ndim,
                             int elem_bits);

#endif
