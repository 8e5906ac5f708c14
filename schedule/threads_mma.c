/* threads_mma.c: tiles that a warp multiplies and loads as one.
 *
 *   for i < 16 @mma.m16n8k16.f16 { for j < 8 { for r < 16 {       mma m16n8k16 acc.r[..] a.r[..]
 * b.r[..] acc[m + i, n + j] += f32(a[m + i, r]) * f32(b[n + j, r]) } } }
 *
 * when the three lie in distributed registers as the instruction's row says: for every element of
 * the tile the lane is the one of the fragment and the register the fragment's from a first one on
 * (checked element by element). The loops outside walk over warps and registers.
 *
 * A store of shared 2-byte elements into such registers is ldmatrix when the layout has 8 rows over
 * the lanes in steps of 4 and 2 x 4 columns over a register pair and 4 lanes: each pair of
 * registers is an 8x8 matrix, up to 4 matrices (pairs that follow each other) are loaded at once.
 * Rows of the matrix are rows of 8 neighbours in memory; where the memory's neighbours are the
 * layout's rows, the load transposes. */
#include "schedule/threads_leaf.h"

#include "schedule/intrin.h"

/* ---- matrix products ------------------------------------------------------------------------- */

typedef struct tile { /* an operand: element idx[] of b, tile[0] x tile[1] iterations of var[] */
    const lp_buf *b;
    te_ref idx[TE_MAX_DIM], var[2];
    int64_t n[2];
} tile;

static te_ref at_element(th *t, te_ref e, const tile *o, int64_t i, int64_t j) {
    te_ref to[2] = {te_int(t->g, i), te_int(t->g, j)};
    return te_simplify(t->g, te_subst(t->g, e, o->var, to, 2));
}

static te_ref place_of(th *t, const tile *o, lp_place place, int64_t i, int64_t j) {
    te_ref idx[TE_MAX_DIM];
    for (int d = 0; d < o->b->t->ndim; d++) idx[d] = at_element(t, o->idx[d], o, i, j);
    return te_simplify(t->g, lp_layout_at(t->g, o->b->layout, place, idx));
}

/* Does the operand lie as the fragment's layout says? */
static bool lies_as(th *t, const tile *o, const char *text) {
    ll_error err = {0};
    const lp_layout *l = lp_layout_parse(t->g, text, 2, &err);
    te_ref first = place_of(t, o, LP_AT_REG, 0, 0), warp = place_of(t, o, LP_AT_WARP, 0, 0);
    for (int64_t i = 0; l && i < o->n[0]; i++)
        for (int64_t j = 0; j < o->n[1]; j++) {
            te_ref ij[2] = {te_int(t->g, i), te_int(t->g, j)};
            te_ref lane = lp_layout_at(t->g, l, LP_AT_LANE, ij),
                   reg = lp_layout_at(t->g, l, LP_AT_REG, ij);
            te_ref off = te_sub(place_of(t, o, LP_AT_REG, i, j), first);
            if (place_of(t, o, LP_AT_LANE, i, j) != te_simplify(t->g, lane) ||
                te_simplify(t->g, off) != te_simplify(t->g, reg) ||
                place_of(t, o, LP_AT_WARP, i, j) != warp)
                return false;
        }
    return l != NULL;
}

static te_ref stripped(te_ref e) {
    while (e->op == TE_CAST) e = e->src[0];
    return e;
}

/* The operands of the product in s's nest: acc, a, b. */
static bool operands(th *t, const lp_stmt *s, tile o[3]) {
    const lp_stmt *loop[3] = {s, s->u.loop.body, s->u.loop.body->u.loop.body};
    const lp_stmt *sum = loop[2]->u.loop.body;
    te_ref v[3], x = stripped(sum->u.reduce.value->src[0]),
                 y = stripped(sum->u.reduce.value->src[1]);
    for (int i = 0; i < 3; i++) v[i] = loop[i]->u.loop.var;
    if (!th_distributed_load(t, x) || !th_distributed_load(t, y) ||
        !th_distributed(sum->u.reduce.buf))
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

lp_stmt *th_tile(nest *w, const lp_stmt *s) {
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
        for (int d = 0; d < o[k].b->t->ndim; d++)
            at[k][d] = at_element(t, o[k].idx[d], &o[k], 0, 0);
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

/* ---- loads of matrices ----------------------------------------------------------------------- */

/* The digits of a layout that makes pairs of registers 8x8 matrices: rows over lanes in steps of 4,
 * columns over a pair of registers and 4 lanes. */
typedef struct matrix_digits {
    int row, pair, col;
} matrix_digits; /* numbers of digits; -1: none */

static bool find_digits(const th_digit *d, int n, matrix_digits *m) {
    *m = (matrix_digits){-1, -1, -1};
    for (int i = 0; i < n; i++) {
        if (d[i].size == 1 || d[i].place == LP_AT_WARP) continue;
        bool lane = d[i].place == LP_AT_LANE;
        if (lane && d[i].stride == 4 && d[i].size == 8 && d[i].base == 1 && m->row < 0)
            m->row = i;
        else if (lane && d[i].stride == 1 && d[i].size == 4 && d[i].base == 2 && m->col < 0)
            m->col = i;
        else if (!lane && d[i].stride == 1 && d[i].size == 2 && d[i].base == 1 && m->pair < 0)
            m->pair = i;
        else if (lane || d[i].stride == 1)
            return false;
    }
    return m->row >= 0 && m->pair >= 0 && m->col >= 0 && d[m->pair].dim == d[m->col].dim &&
           d[m->row].dim != d[m->col].dim;
}

te_ref th_matrix_digit(leaf *l, const th_digit *d) {
    th *t = l->t;
    te_ref in_row = te_modi(t->tid, 8);
    if (d->place == LP_AT_WARP) return th_own_digit(t, d);
    if (d->place == LP_AT_LANE && d->stride == 4)
        return l->trans ? te_int(t->g, 0) : te_simplify(t->g, in_row);
    if (d->place == LP_AT_LANE)
        return l->trans ? te_simplify(t->g, te_modi(te_divi(t->tid, 2), 4)) : te_int(t->g, 0);
    if (d->stride == 1) return l->trans ? te_simplify(t->g, te_modi(t->tid, 2)) : te_int(t->g, 0);
    if (d->stride == 2 && l->matrices >= 2)
        return te_simplify(t->g, te_modi(te_divi(t->tid, 8), 2));
    if (d->stride == 4 && l->matrices == 4)
        return te_simplify(t->g, te_modi(te_divi(t->tid, 16), 2));
    return NULL;
}

/* The dimension of b whose neighbours are neighbours in memory, 8 and 8 in 16 aligned bytes; -1. */
static int row_dimension(const lp_buf *b) {
    const lp_layout *l = b->layout;
    if (!l) return b->t->ndim - 1;
    for (int i = 0; i < l->n_swizzle; i++)
        if (l->swizzle[i].to < 7 || l->swizzle[i].from < 7) return -1;
    for (int i = 0; i < l->n_digit; i++) {
        bool first = i == 0 || l->digit[i - 1].dim != l->digit[i].dim;
        if (first && te_is_int(l->digit[i].stride, 16) && l->digit[i].size % 8 == 0)
            return l->digit[i].dim;
    }
    return -1;
}

/* How many matrices are loaded at once: by the digits of register pairs that loops walk over. */
static int at_once(const th_digit *d, int n) {
    bool two = false, four = false;
    for (int i = 0; i < n; i++) {
        if (d[i].place != LP_AT_REG || d[i].size % 2) continue;
        if (d[i].stride == 2) two = true, four = four || d[i].size % 4 == 0;
        if (d[i].stride == 4) four = true;
    }
    return two && four ? 4 : two ? 2 : 1;
}

static bool aligned_rows(th *t, const lp_buf *b, const te_ref *idx) {
    const lp_layout *l = b->layout;
    if (!l) l = lp_layout_dense(t->g, b->t->shape, b->t->ndim, 16);
    te_cong k = te_cong_of(te_simplify(t->g, lp_layout_at(t->g, l, LP_AT_ADDR, idx)));
    return k.mod % 128 == 0 && k.rem % 128 == 0;
}

static lp_stmt *try_matrices(nest *w, const lp_stmt *s, const lp_buf *src, int matrices,
                             bool trans) {
    th *t = w->t;
    leaf *l = th_leaf_begin(w, s);
    l->matrices = matrices;
    l->trans = trans;
    for (int i = 0; i < l->b->t->ndim; i++) l->first[i] = l->idx[i];
    th_bind_loops(l, l->b, l->idx, false);
    if (l->lanes != TH_WARP - 1) return NULL; /* some lanes are walked over by no loop */
    th_free_loops(l);
    if (th_varying(l, true)) return NULL;
    te_ref load = te_simplify(t->g, l->value);
    if (load->op != TE_LOAD || !aligned_rows(t, src, load->src)) return NULL;
    lp_stmt *m = LL_NEW(te_arena(t->g), lp_stmt);
    m->kind = LP_LDMATRIX;
    m->u.ldmatrix.n = matrices;
    m->u.ldmatrix.trans = trans;
    m->u.ldmatrix.dst = th_registers(t, l->b);
    m->u.ldmatrix.dst_at = th_register_of(t, l->b, l->first);
    if (te_uses(m->u.ldmatrix.dst_at, t->tid)) return NULL;
    m->u.ldmatrix.src = (lp_buf *)(uintptr_t)src;
    for (int i = 0; i < load->n; i++) m->u.ldmatrix.src_at[i] = load->src[i];
    return th_wrapped(l, m, false);
}

lp_stmt *th_ldmatrix(nest *w, const lp_stmt *s) {
    th *t = w->t;
    if (s->kind != LP_STORE || !th_distributed(s->u.store.buf)) return NULL;
    const lp_buf *b = s->u.store.buf;
    te_ref load = s->u.store.value;
    const lp_buf *src = load->op == TE_LOAD ? lp_buf_of(t->f, load->u.t) : NULL;
    if (!src || src->scope < LP_SHARED || ll_dtype_bits((ll_dtype)b->t->dtype) != 16) return NULL;
    th_digit d[LP_MAX_DIGIT];
    matrix_digits m;
    int n = th_digits(t, b, d), row = row_dimension(src);
    if (n < 0 || row < 0 || !find_digits(d, n, &m)) return NULL;
    bool rows = false, cols = false;
    for (int i = 0; i < w->n; i++) {
        if (w->path[i].s->kind != LP_FOR) continue;
        te_ref var = w->path[i].s->u.loop.var;
        if (th_coefficient(t, load->src[row], var) != 1) continue;
        cols = cols || th_coefficient(t, s->u.store.idx[d[m.col].dim], var) == 1;
        rows = rows || th_coefficient(t, s->u.store.idx[d[m.row].dim], var) == 1;
    }
    if (rows == cols) return NULL;
    for (int k = at_once(d, n); k >= 1; k /= 2) {
        lp_stmt *r = try_matrices(w, s, src, k, rows);
        if (r || t->code) return r;
    }
    return NULL;
}
