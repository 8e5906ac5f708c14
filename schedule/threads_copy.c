/* threads_copy.c: a copy of a box, shared out: pieces of at most 16 bytes along the last walked
 * dimension, piece after piece to the threads of the group.
 *
 *     copy s[0 +: 4, 0 +: 64] <- x[r, 0 +: 4, 0 +: 64] valid v         f16, 32 pieces, a warp
 *  -> copy s[tid / 8, tid % 8 * 8 +: 8] <- x[r, tid / 8, tid % 8 * 8 +: 8] valid select(tid / 8 <
 * v, 8, 0)
 *
 * Refused: copies that complete on an mbarrier. */
#include "schedule/threads.h"

enum { PIECE_BYTES = 16 };

/* Elements of a piece: the greatest power of two that divides the row and fits 16 bytes. */
static int64_t piece_of(const lp_stmt *s, int last) {
    int bits = ll_dtype_bits((ll_dtype)s->u.copy.dst->t->dtype);
    int64_t n = 1, row = s->u.copy.extent[last];
    while (row % (2 * n) == 0 && 2 * n * bits <= 8 * PIECE_BYTES) n *= 2;
    return n;
}

/* How many elements of the piece that starts at `row` of the first walked dimension are copied. */
static te_ref valid_of(th *t, const lp_stmt *s, te_ref row, bool along, int64_t n) {
    te_ref v = s->u.copy.valid, zero = te_int(t->g, 0), all = te_int(t->g, n);
    if (!along) return te_simplify(t->g, te_select(te_lt(row, v), all, zero));
    return te_simplify(t->g, te_min(te_max(te_sub(v, row), zero), all));
}

lp_stmt *th_copy(th *t, const lp_stmt *s) {
    const lp_buf *dst = s->u.copy.dst;
    int first = -1, last = -1;
    int64_t total = 1;
    if (s->u.copy.mbar) return th_fail(t, s, "copies onto mbarriers have no thread-level form yet");
    for (int i = 0; i < dst->t->ndim; i++) {
        if (s->u.copy.src_dim[i] < 0) continue;
        if (first < 0) first = i;
        last = i;
        total *= s->u.copy.extent[i];
    }
    lp_stmt *c = LL_NEW(te_arena(t->g), lp_stmt);
    *c = *s;
    c->next = NULL;
    if (last < 0) return th_fail(t, s, "a copy of nothing");
    int64_t n = piece_of(s, last), pieces = total / n;
    int64_t turns = (pieces + t->group - 1) / t->group;
    te_ref turn = turns > 1 ? th_axis(t, "piece", te_int(t->g, turns)) : NULL;
    te_ref at = turn ? te_add(te_muli(turn, t->group), t->me) : t->me, rest = at, row = NULL;
    for (int i = last; i >= first; i--) {
        int k = s->u.copy.src_dim[i];
        if (k < 0) continue;
        int64_t step = i == last ? n : 1, count = s->u.copy.extent[i] / step;
        te_ref j = i == first ? rest : te_modi(rest, count);
        rest = te_divi(rest, count);
        j = te_muli(j, step);
        c->u.copy.dst_at[i] = te_simplify(t->g, te_add(s->u.copy.dst_at[i], j));
        c->u.copy.src_at[k] = te_simplify(t->g, te_add(s->u.copy.src_at[k], j));
        c->u.copy.extent[i] = i == last ? n : 1;
        if (i != last) c->u.copy.src_dim[i] = -1;
        row = j;
    }
    if (s->u.copy.valid) c->u.copy.valid = valid_of(t, s, row, first == last, n);
    if (pieces % t->group)
        c = lp_if(t->f, te_simplify(t->g, te_lt(at, te_int(t->g, pieces))), c, NULL);
    return turn ? lp_for(t->f, turn, LP_UNROLL, c) : c;
}
