/* threads_mma.c: tiles that a warp multiplies and loads as one.
 *
 *   for i < 16 @mma.m16n8k16.f16 { for j < 8 { for r < 16 {       mma m16n8k16 acc.r[..] a.r[..] b.r[..]
 *     acc[m + i, n + j] += f32(a[m + i, r]) * f32(b[n + j, r]) } } }
 *
 * when the three lie in distributed registers as the instruction's row says: for every element of
 * the tile the lane is the one of the fragment and the register the fragment's from a first one on
 * (checked element by element). The loops outside walk over warps and registers.
 *
 * A store of shared 2-byte elements into such registers is ldmatrix when the layout has 8 rows over
 * the lanes in steps of 4 and 2 x 4 columns over a register pair and 4 lanes: each pair of
 * registers is an 8x8 matrix, up to 4 matrices (pairs that follow each other) are loaded at once. Rows of
 * the matrix are rows of 8 neighbours in memory; where the memory's neighbours are the layout's
 * rows, the load transposes. */
#include "schedule/threads_leaf.h"

#include "schedule/intrin.h"

/* ---- matrix products ------------------------------------------------------------------------- */

typedef struct tile { /* an operand: element idx[] of b, tile[0] x tile[1] iterations of var[] */
    const lp_buf *b;
    te_ref idx[TE_MAX_DIM], var[2];
    int64_t n[2];
} tile;

static te_ref at_element(th *t, te_ref e, const tile *o, int64_t i, int64_t j)
{
    te_ref to[2] = {te_int(t->g, i), te_int(t->g, j)};
    return te_simplify(t->g, te_subst(t->g, e, o->var, to, 2));
}

static te_ref place_of(th *t, const tile *o, lp_place place, int64_t i, int64_t j)
{
    te_ref idx[TE_MAX_DIM];
    for (int d = 0; d < o->b->t->ndim; d++) idx[d] = at_element(t, o->idx[d], o, i, j);
    return te_simplify(t->g, lp_layout_at(t->g, o->b->layout, place, idx));
}

/* Does the operand lie as the fragment's layout says? */
static bool lies_as(th *t, const tile *o, const char *text)
{
    ll_error err = {0};
    const lp_layout *l = lp_layout_parse(t->g, text, 2, &err);
    te_ref first = place_of(t, o, LP_AT_REG, 0, 0), warp = place_of(t, o, LP_AT_WARP, 0, 0);
    for (int64_t i = 0; l && i < o->n[0]; i++)
        for (int64_t j = 0; j < o->n[1]; j++) {
            te_ref ij[2] = {te_int(t->g, i), te_int(t->g, j)};
            te_ref lane = lp_layout_at(t->g, l, LP_AT_LANE, ij), reg = lp_layout_at(t->g, l, LP_AT_REG, ij);
            te_ref off = te_sub(place_of(t, o, LP_AT_REG, i, j), first);
            if (place_of(t, o, LP_AT_LANE, i, j) != te_simplify(t->g, lane) ||
                te_simplify(t->g, off) != te_simplify(t->g, reg) ||
                place_of(t, o, LP_AT_WARP, i, j) != warp)
                return false;
        }
    return l != NULL;
}

static te_ref stripped(te_ref e)
{
    while (e->op == TE_CAST) e = e->src[0];
    return e;
}

/* The operands of the product in s's nest: acc, a, b. */
static bool operands(th *t, const lp_stmt *s, tile o[3])
{
    const lp_stmt *loop[3] = {s, s->u.loop.body, s->u.loop.body->u.loop.body};
    const lp_stmt *sum = loop[2]->u.loop.body;
    te_ref v[3], x = stripped(sum->u.reduce.value->src[0]), y = stripped(sum->u.reduce.value->src[1]);
    for (int i = 0; i < 3; i++) v[i] = loop[i]->u.loop.var;
    if (!th_distributed_load(t, x) || !th_distributed_load(t, y) || !th_distributed(sum->u.reduce.buf))
        return false;
    if (te_uses(x, v[1])) {
        te_ref z = x;
        x = y, y = z;
    }
    te_ref load[3] = {NULL, x, y};
    static const int over[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    for (int k = 0; k < 3; k++) {
        o[k].b = k ? th_distributed_load(t, load[k]) : sum->u.reduce.buf;
        for (int d = 0; d < o[k].b->t->ndim; d++)
            o[k].idx[d] = k ? load[k]->src[d] : sum->u.reduce.idx[d];
        for (int i = 0; i < 2; i++) {
            o[k].var[i] = v[over[k][i]];
            o[k].n[i] = v[over[k][i]]->u.axis->extent->u.i;
        }
    }
    return true;
}

lp_stmt *th_tile(nest *w, const lp_stmt *s)
{
    th *t = w->t;
    const lp_intrin *row = s->u.loop.intrin;
    tile o[3];
    if (!row->fragment[0]) return th_fail(t, s, "@%s is no instruction of a warp", row->name);
    if (!operands(t, s, o))
        return th_fail(t, s, "the tiles of @%s do not lie in distributed registers", row->name);
    for (int k = 0; k < 3; k++)
        if (!lies_as(t, &o[k], row->fragment[k]))
            return th_fail(t, s, "%s does not lie as @%s wants it: %s", o[k].b->t->name, row->name,
                           row->fragment[k]);
    leaf *l = th_leaf_begin(w, s->u.loop.body->u.loop.body->u.loop.body);
    te_ref at[3][TE_MAX_DIM], load[2];
    for (int k = 0; k < 3; k++)
        for (int d = 0; d < o[k].b->t->ndim; d++) at[k][d] = at_element(t, o[k].idx[d], &o[k], 0, 0);
    for (int d = 0; d < l->b->t->ndim; d++) l->idx[d] = at[0][d];
    for (int k = 0; k < 2; k++) load[k] = te_load(o[k + 1].b->t, at[k + 1], o[k + 1].b->t->ndim);
    /* both operands under one node, so that the loops' substitutions reach them */
    l->value = te_sub(te_cast(LL_F64, load[0]), te_cast(LL_F64, load[1]));
    th_bind_loops(l, l->b, l->idx, false);
    th_free_loops(l);
    if (th_varying(l, true))
        return th_fail(t, s, "@%s under a condition that differs between threads", row->name);
    lp_stmt *m = LL_NEW(te_arena(t->g), lp_stmt);
    m->kind = LP_MMA;
    m->u.mma.intrin = row;
    for (int k = 0; k < 3; k++) {
        const te_ref *idx = k ? stripped(l->value->src[k - 1])->src : l->idx;
        th_digit d[LP_MAX_DIGIT];
        int n = th_digits(t, o[k].b, d);
        for (int i = 0; i < n; i++)
            if (d[i].place == LP_AT_WARP && d[i].size > 1 &&
                !th_prove_eq(t, th_index_digit(t, &d[i], idx[d[i].dim]), th_own_digit(t, &d[i])))
                return th_fail(t, s, "a tile of %s lies in another warp", o[k].b->t->name);
        m->u.mma.buf[k] = th_registers(t, o[k].b);
        m->u.mma.at[k] = th_register_of(t, o[k].b, idx);
    }
    return th_wrapped(l, m, false);
}
