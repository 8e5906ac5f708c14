/* layout_map.c: what follows from a layout. Nothing here is a table: that two elements never share
 * a place, which address bit an index bit becomes, how many words a bank is asked for, whether an
 * accumulator already is the operand of the next product: all computed from the digits.
 *
 * On a tile with power-of-two extents a layout whose digits and strides are powers of two is a
 * matrix over GF(2): bit b of an index goes to one set of place bits, and the place of an element
 * is the XOR of the columns of its index bits. A swizzle is one more such map behind it. */
#include <stdlib.h>
#include <string.h>

#include "schedule/layout.h"

static bool last_of_dim(const lp_layout *l, int i)
{
    return i + 1 == l->n_digit || l->digit[i + 1].dim != l->digit[i].dim;
}

/* ---- apart ----------------------------------------------------------------------------------- */

typedef struct span { te_ref stride, size; uint8_t place; bool done; } span;

/* The digits with the number of steps each takes over `shape`; false when a dimension is not
 * covered. */
static bool spans(te_graph *g, const lp_layout *l, const te_ref *shape, int ndim, span *out, int *n)
{
    bool covered[TE_MAX_DIM] = {false};
    te_ref rest = NULL;
    *n = 0;
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        if (d->dim >= ndim) return false;
        if (i == 0 || l->digit[i - 1].dim != d->dim) rest = shape[d->dim];
        te_ref size = rest;
        if (!last_of_dim(l, i)) {
            size = te_prove_le(te_int(g, d->size), rest) ? te_int(g, d->size)
                                                         : te_min(rest, te_int(g, d->size));
            rest = te_div(te_addi(rest, d->size - 1), te_int(g, d->size));
        } else if (d->size && !te_prove_le(rest, te_int(g, d->size))) {
            return false; /* indices beyond the last digit would run into what lies behind */
        }
        covered[d->dim] = true;
        if (!te_is_int(size, 1)) out[(*n)++] = (span){d->stride, size, d->place, false};
    }
    for (int d = 0; d < ndim; d++)
        if (!covered[d] && !te_prove_le(shape[d], te_int(g, 1))) return false;
    return true;
}

/* The digit of `place` with the least stride among those left, by proof. */
static span *least(span *s, int n, uint8_t place)
{
    for (int i = 0; i < n; i++) {
        bool first = s[i].place == place && !s[i].done;
        for (int k = 0; first && k < n; k++)
            if (s[k].place == place && !s[k].done && k != i &&
                !te_prove_le(s[i].stride, s[k].stride))
                first = false;
        if (first) return &s[i];
    }
    return NULL;
}

static int left(const span *s, int n, uint8_t place)
{
    int k = 0;
    for (int i = 0; i < n; i++) k += s[i].place == place && !s[i].done;
    return k;
}

/* Mixed radix: every stride is at least what the smaller digits reach. */
static bool no_carry(te_graph *g, span *s, int n, uint8_t place, int unit)
{
    te_ref reach = te_int(g, unit);
    while (left(s, n, place)) {
        span *d = least(s, n, place);
        if (!d || !te_prove_le(reach, d->stride)) return false;
        d->done = true;
        reach = te_add(reach, te_mul(te_addi(d->size, -1), d->stride));
    }
    return true;
}

/* An XOR of address bits with other, higher or lower ones is one to one; it must move whole
 * elements. */
static bool swizzles_keep_apart(const lp_layout *l, int elem_bits)
{
    for (int i = 0; i < l->n_swizzle; i++) {
        const lp_swizzle *w = &l->swizzle[i];
        bool overlap = w->from < w->to + w->n && w->to < w->from + w->n;
        bool whole = (elem_bits & (elem_bits - 1)) == 0 && 1 << w->to >= elem_bits &&
                     l->offset % elem_bits == 0;
        if (overlap || !whole) return false;
    }
    return true;
}

static bool is_multiple(te_ref e, int64_t k)
{
    te_cong c = te_cong_of(e); /* mod 0: the number rem itself */
    return c.mod % k == 0 && c.rem % k == 0;
}

static te_graph *youngest(const lp_layout *l, const te_ref *shape, int ndim)
{
    te_ref sum = NULL; /* the builders know which graph of a chain is the younger */
    for (int i = 0; i < l->n_digit; i++)
        sum = sum ? te_add(sum, l->digit[i].stride) : l->digit[i].stride;
    for (int i = 0; i < ndim; i++) sum = sum ? te_add(sum, shape[i]) : shape[i];
    return sum ? sum->g : NULL;
}

bool lp_layout_injective(const lp_layout *l, const te_ref *shape, int ndim, int elem_bits)
{
    te_graph *home = youngest(l, shape, ndim);
    if (!home) return true;
    te_graph *before = te_graph_use(NULL), *g = te_graph_child(home);
    span s[LP_MAX_DIGIT];
    int n;
    bool ok = g && swizzles_keep_apart(l, elem_bits) && spans(g, l, shape, ndim, s, &n);
    for (int i = 0; ok && l->n_swizzle && i < l->n_digit; i++)
        ok = l->digit[i].place != LP_AT_ADDR || is_multiple(l->digit[i].stride, elem_bits);
    for (uint8_t place = LP_AT_ADDR; ok && place <= LP_AT_WARP; place++)
        ok = no_carry(g, s, n, place, place == LP_AT_ADDR ? elem_bits : 1);
    if (g) te_graph_destroy(g);
    te_graph_use(before);
    return ok;
}

/* ---- the matrix ------------------------------------------------------------------------------ */

static int log2_of(int64_t v)
{
    int n = 0;
    while (v > 1 && v % 2 == 0) v /= 2, n++;
    return v == 1 ? n : -1;
}

static const int place_bit[] = {0, LP_REG_BIT, LP_LANE_BIT, LP_WARP_BIT, 64};

/* The place bits of step 2^b of digit d, or 0 when it is no single bit of its field. */
static uint64_t bit_of(const lp_digit *d, int b)
{
    if (d->stride->op != TE_INT) return 0;
    int s = log2_of(d->stride->u.i);
    if (s < 0 || place_bit[d->place] + s + b >= place_bit[d->place + 1]) return 0;
    return UINT64_C(1) << (place_bit[d->place] + s + b);
}

static uint64_t swizzled(const lp_layout *l, uint64_t c)
{
    for (int i = 0; i < l->n_swizzle; i++) {
        const lp_swizzle *w = &l->swizzle[i];
        c ^= ((c & 0xffffffffu) >> w->from & ((UINT64_C(1) << w->n) - 1)) << w->to;
    }
    return c;
}

/* Index bits of dimension `dim`, low first. */
static bool dim_columns(const lp_layout *l, int dim, int bits, uint64_t *column)
{
    int at = 0;
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        if (d->dim != dim) continue;
        int n = last_of_dim(l, i) ? bits - at : log2_of(d->size);
        if (n < 0) return false;
        for (int b = 0; b < n && at < bits; b++, at++)
            if (!(column[at] = bit_of(d, b))) return false;
    }
    for (; at < bits; at++) column[at] = 0; /* a dimension that the place does not depend on */
    return true;
}

bool lp_layout_matrix(const lp_layout *l, const int *log2_extent, int ndim, uint64_t *column,
                      int *n_column)
{
    int n = 0;
    uint64_t seen = 0;
    if (l->offset != 0) return false; /* affine, not linear */
    for (int d = 0; d < ndim; d++) {
        if (n + log2_extent[d] > LP_MAX_COLUMN || !dim_columns(l, d, log2_extent[d], column + n))
            return false;
        n += log2_extent[d];
    }
    for (int i = 0; i < n; i++) { /* two index bits in one place bit would carry */
        if (column[i] & seen) return false;
        seen |= column[i];
        column[i] = swizzled(l, column[i]);
    }
    *n_column = n;
    return true;
}

/* ---- conversions ----------------------------------------------------------------------------- */

static uint64_t field(int place)
{
    uint64_t low = (UINT64_C(1) << place_bit[place]) - 1;
    return (place_bit[place + 1] == 64 ? UINT64_MAX : (UINT64_C(1) << place_bit[place + 1]) - 1) ^
           low;
}

lp_move lp_layout_conversion(const lp_layout *from, const lp_layout *to, const int *log2_extent,
                             int ndim)
{
    uint64_t a[LP_MAX_COLUMN], b[LP_MAX_COLUMN];
    int n, m;
    if (!lp_layout_matrix(from, log2_extent, ndim, a, &n) ||
        !lp_layout_matrix(to, log2_extent, ndim, b, &m))
        return LP_MOVE_SHARED;
    uint64_t differ = 0;
    for (int i = 0; i < n; i++) differ |= a[i] ^ b[i];
    if (differ & (field(LP_AT_WARP) | field(LP_AT_ADDR))) return LP_MOVE_SHARED;
    if (differ & field(LP_AT_LANE)) return LP_MOVE_SHUFFLE;
    return differ ? LP_MOVE_REGS : LP_MOVE_NONE;
}

/* ---- banks ----------------------------------------------------------------------------------- */

enum { LANES = 32, BANKS = 32, MAX_REGS = 4096 };

typedef struct tile {
    int64_t n;
    int64_t addr[MAX_REGS * LANES];
    bool set[MAX_REGS * LANES];
    int regs;
} tile;

static int64_t no_dims(te_ref e, void *ctx) { return 0; }

/* Where warp 0 finds element (reg, lane), in bits. */
static bool fill_tile(tile *t, const lp_layout *mem, const lp_layout *frag, const int *log2_extent,
                      int ndim)
{
    int64_t idx[TE_MAX_DIM] = {0}, count = 1;
    for (int d = 0; d < ndim; d++) count <<= log2_extent[d];
    for (int64_t e = 0; e < count; e++) {
        int64_t rest = e;
        for (int d = ndim - 1; d >= 0; d--) {
            idx[d] = rest & ((INT64_C(1) << log2_extent[d]) - 1);
            rest >>= log2_extent[d];
        }
        if (lp_layout_at_const(frag, LP_AT_WARP, idx, no_dims, NULL) != 0) continue;
        int64_t reg = lp_layout_at_const(frag, LP_AT_REG, idx, no_dims, NULL);
        int64_t lane = lp_layout_at_const(frag, LP_AT_LANE, idx, no_dims, NULL);
        if (reg < 0 || reg >= MAX_REGS || lane < 0 || lane >= LANES) return false;
        t->addr[reg * LANES + lane] = lp_layout_at_const(mem, LP_AT_ADDR, idx, no_dims, NULL);
        t->set[reg * LANES + lane] = true;
        if (reg >= t->regs) t->regs = (int)reg + 1;
    }
    return true;
}

/* Distinct words per bank when `lanes` lanes from `first` on access `words` words each. */
static int phase_conflicts(const tile *t, int reg, int first, int lanes, int words)
{
    int64_t seen[BANKS][LANES * 4];
    int n[BANKS] = {0}, worst = 0;
    for (int lane = first; lane < first + lanes; lane++)
        for (int w = 0; w < words && t->set[reg * LANES + lane]; w++) {
            int64_t word = t->addr[reg * LANES + lane] / 32 + w;
            int bank = (int)(word % BANKS);
            bool known = false;
            for (int k = 0; k < n[bank]; k++) known = known || seen[bank][k] == word;
            if (!known) seen[bank][n[bank]++] = word;
            if (n[bank] > worst) worst = n[bank];
        }
    return worst;
}

int lp_bank_conflicts(const lp_layout *mem, const lp_layout *frag, const int *log2_extent, int ndim,
                      int elem_bits, int vector)
{
    tile *t = calloc(1, sizeof *t);
    int worst = t && fill_tile(t, mem, frag, log2_extent, ndim) ? 1 : 0;
    int words = vector * elem_bits / 32 ? vector * elem_bits / 32 : 1,
        lanes = LANES / words > 0 ? LANES / words : 1;
    for (int reg = 0; worst && reg < t->regs; reg += vector) {
        for (int lane = 0; lane < LANES; lane++)
            for (int v = 1; v < vector; v++)
                if (t->set[reg * LANES + lane] &&
                    t->addr[(reg + v) * LANES + lane] !=
                        t->addr[reg * LANES + lane] + (int64_t)v * elem_bits)
                    worst = 0;
        for (int first = 0; worst && first < LANES; first += lanes) {
            int k = phase_conflicts(t, reg, first, lanes, words);
            if (k > worst) worst = k;
        }
    }
    free(t);
    return worst;
}

static int worst_of(const lp_layout *mem, const lp_layout *const *frag, const int *vector, int n,
                    const int *log2_extent, int ndim, int elem_bits)
{
    int worst = 1;
    for (int i = 0; i < n; i++) {
        int k = lp_bank_conflicts(mem, frag[i], log2_extent, ndim, elem_bits, vector[i]);
        if (k == 0) return 1 << 20; /* not an access at all */
        if (k > worst) worst = k;
    }
    return worst;
}

int lp_layout_swizzle(lp_layout *mem, const lp_layout *const *frag, const int *vector, int n,
                      const int *log2_extent, int ndim, int elem_bits)
{
    enum { CHUNK = 7 }; /* 16 bytes = 2^7 bits: what an asynchronous copy moves whole */
    lp_layout best = *mem;
    int least_conflicts = worst_of(mem, frag, vector, n, log2_extent, ndim, elem_bits),
        base = mem->n_swizzle;
    if (base == LP_MAX_SWIZZLE) return least_conflicts;
    for (int bits = 1; bits <= 3; bits++)
        for (int from = CHUNK + bits; from <= CHUNK + 8; from++) {
            lp_layout l = *mem;
            l.swizzle[base] = (lp_swizzle){(uint8_t)from, CHUNK, (uint8_t)bits};
            l.n_swizzle = base + 1;
            int k = worst_of(&l, frag, vector, n, log2_extent, ndim, elem_bits);
            if (k >= least_conflicts) continue;
            least_conflicts = k;
            best = l;
        }
    *mem = best;
    return least_conflicts;
}

/* ---- landing --------------------------------------------------------------------------------- */

/* How many places of one kind the fragment's sized digits use. */
static int64_t n_places(const lp_layout *l, uint8_t place)
{
    int64_t n = 1;
    for (int i = 0; i < l->n_digit; i++)
        if (l->digit[i].place == place && l->digit[i].size)
            n = n > l->digit[i].stride->u.i * l->digit[i].size
                    ? n
                    : l->digit[i].stride->u.i * l->digit[i].size;
    return n;
}

lp_layout *lp_layout_landing(te_graph *g, const lp_layout *frag, const te_ref *shape, int ndim,
                             int elem_bits)
{
    int64_t regs = n_places(frag, LP_AT_REG), lanes = n_places(frag, LP_AT_LANE),
            warps = n_places(frag, LP_AT_WARP);
    int64_t unit[] = {0, elem_bits, elem_bits * regs, elem_bits * regs * lanes},
            tile_of[TE_MAX_DIM];
    lp_layout *l = LL_NEW(te_arena(g), lp_layout);
    te_ref outer = te_int(g, elem_bits * regs * lanes * warps), stride_of[TE_MAX_DIM];
    for (int d = ndim - 1; d >= 0; d--) {
        tile_of[d] = 1;
        for (int i = 0; i < frag->n_digit; i++)
            if (frag->digit[i].dim == d && frag->digit[i].size) tile_of[d] *= frag->digit[i].size;
        stride_of[d] = outer;
        te_ref tiles = te_div(te_addi(shape[d], tile_of[d] - 1), te_int(g, tile_of[d]));
        outer = te_simplify(g, te_mul(outer, tiles));
    }
    for (int d = 0; d < ndim; d++) {
        for (int i = 0; i < frag->n_digit; i++) {
            const lp_digit *x = &frag->digit[i];
            if (x->dim != d || !x->size) continue;
            l->digit[l->n_digit++] =
                (lp_digit){(uint8_t)d, LP_AT_ADDR, x->size, te_muli(x->stride, unit[x->place])};
        }
        l->digit[l->n_digit++] = (lp_digit){(uint8_t)d, LP_AT_ADDR, 0, stride_of[d]};
    }
    return l;
}
