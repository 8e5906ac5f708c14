/* place.c: from the indices of an access to addresses of its lanes. The layout gives a bit address
 * as an expression; its affine form is cut in three:
 *
 *     bits = constant + sum(coef * run-time atom) + per-lane constant
 *                       |
 *                       grouped by the loop that the atom belongs to: the part of the outer loops
 *                       is computed there, a loop index times its coefficient is an induction
 *                       variable or a pointer that advances
 *
 * A lane's constant is found by putting the lane's numbers into the expression, so div, mod and xor
 * of vector indices are as good as affine ones. What stays run-time per lane (a lookup) is `dyn`.
 */
#include "codegen/cg.h"

#include <stdlib.h>
#include <string.h>

typedef struct terms {
    int n, cap;
    int64_t c;
    int64_t *coef;
    te_ref *atom;
} terms;

static void add_term(cg *c, terms *t, int64_t coef, te_ref atom)
{
    for (int i = 0; i < t->n; i++)
        if (t->atom[i] == atom) {
            t->coef[i] += coef;
            return;
        }
    if (t->n == t->cap) {
        int cap = t->cap ? 2 * t->cap : 8;
        int64_t *k = ll_alloc(&c->arena, sizeof *k * (size_t)cap);
        te_ref *a = ll_alloc(&c->arena, sizeof *a * (size_t)cap);
        if (t->n) {
            memcpy(k, t->coef, sizeof *k * (size_t)t->n);
            memcpy(a, t->atom, sizeof *a * (size_t)t->n);
        }
        t->coef = k;
        t->atom = a;
        t->cap = cap;
    }
    t->coef[t->n] = coef;
    t->atom[t->n++] = atom;
}

static void add_affine(cg *c, terms *t, int64_t coef, const te_affine *f)
{
    t->c += coef * f->c;
    for (int i = 0; i < f->n; i++) add_term(c, t, coef * f->coef[i], f->atom[i]);
}

static int vec_of(const cg *c, te_ref a)
{
    for (int i = 0; i < c->n_vec; i++)
        if (c->vec[i].axis == a) return i;
    return -1;
}

/* The atom with the numbers of one lane in place of the vector axes. */
static te_affine at_lane(cg *c, te_ref a, unsigned axes, int lane)
{
    te_ref from[CG_MAX_VEC], to[CG_MAX_VEC];
    int n = 0;
    for (int i = 0; i < c->n_vec; i++)
        if (axes >> i & 1) {
            from[n] = c->vec[i].axis;
            to[n++] = te_int(c->g, cg_lane_digit(c, axes, lane, i));
        }
    return te_affine_of(c->g, te_simplify(c->g, te_subst(c->g, a, from, to, n)));
}

static bool same_shape(const te_affine *a, const te_affine *b)
{
    if (a->n != b->n) return false;
    for (int i = 0; i < a->n; i++)
        if (a->coef[i] != b->coef[i] || a->atom[i] != b->atom[i]) return false;
    return true;
}

static bool lane_constants(cg *c, te_ref a, int64_t coef, unsigned axes, int64_t *off, terms *rest)
{
    int lanes = cg_lanes(c, axes), v = vec_of(c, a);
    if (v >= 0) {
        for (int l = 0; l < lanes; l++) off[l] += coef * cg_lane_digit(c, axes, l, v);
        return true;
    }
    te_affine first = at_lane(c, a, axes, 0);
    for (int i = 0; i < first.n; i++)
        if (cg_info_of(c, first.atom[i]).axes) return false;
    for (int l = 1; l < lanes; l++) {
        te_affine f = at_lane(c, a, axes, l);
        if (!same_shape(&first, &f)) return false;
        off[l] += coef * (f.c - first.c);
    }
    add_affine(c, rest, coef, &first);
    return true;
}

/* e = rest + off[lane]; false when a lane's part is known at run time only. */
static bool split_lanes(cg *c, te_ref e, unsigned axes, int64_t *off, terms *rest)
{
    te_affine f = te_affine_of(c->g, e);
    memset(off, 0, sizeof *off * (size_t)cg_lanes(c, axes));
    rest->c = f.c;
    for (int i = 0; i < f.n; i++) {
        if (!cg_info_of(c, f.atom[i]).axes)
            add_term(c, rest, f.coef[i], f.atom[i]);
        else if (!lane_constants(c, f.atom[i], f.coef[i], axes, off, rest))
            return false;
    }
    return true;
}

static te_ref sum_of(cg *c, const terms *t, bool constant)
{
    te_ref r = te_int(c->g, constant ? t->c : 0);
    for (int i = 0; i < t->n; i++)
        if (t->coef[i]) r = te_add(r, te_muli(t->atom[i], t->coef[i]));
    return te_simplify(c->g, r);
}

bool cg_lane_split(cg *c, te_ref e, unsigned axes, int64_t *off, te_ref *rest)
{
    terms t = {0};
    if (!split_lanes(c, e, axes, off, &t)) return false;
    *rest = sum_of(c, &t, true);
    return true;
}

/* ---- run-time addresses ---- */

cg_v cg_scaled(cg *c, cg_loop *l, int64_t step)
{
    if (step == 1) return l->iv;
    for (int i = 0; i < l->n_scaled; i++)
        if (l->scaled[i].step == step) return l->scaled[i].phi;
    if (l->n_scaled == CG_MAX_SCALED) return LLVMBuildMul(c->b, l->iv, cg_int(c, c->i64, step), "");
    cg_bb at = LLVMGetInsertBlock(c->b);
    LLVMPositionBuilderBefore(c->b, LLVMGetFirstInstruction(l->head));
    cg_v phi = LLVMBuildPhi(c->b, c->i64, ""), zero = cg_int(c, c->i64, 0);
    LLVMAddIncoming(phi, &zero, &l->pre, 1);
    l->scaled[l->n_scaled].step = step;
    l->scaled[l->n_scaled++].phi = phi;
    cg_return_from(c, (cg_spot){c->cur, at});
    return phi;
}

static cg_v term_value(cg *c, te_ref atom, int64_t bytes)
{
    cg_bind *b = cg_bound(c, atom);
    cg_loop *l = b ? c->scope[b->scope].loop : NULL;
    if (l && l->iv == b->val.v) return cg_scaled(c, l, bytes);
    cg_val v = cg_eval(c, atom);
    return bytes == 1 ? v.v : LLVMBuildMul(c->b, v.v, cg_int(c, c->i64, bytes), "");
}

static cg_v gep(cg *c, cg_v p, cg_v bytes)
{
    return LLVMBuildInBoundsGEP2(c->b, c->i8, p, &bytes, 1, "");
}

/* p advances by `step` bytes each turn of l: a pointer carried round the loop. NULL when there are
 * too many. */
static cg_v cursor(cg *c, cg_loop *l, cg_v p, int64_t step)
{
    if (l->n_cursor == CG_MAX_SCALED) return NULL;
    cg_bb at = LLVMGetInsertBlock(c->b);
    LLVMPositionBuilderBefore(c->b, LLVMGetFirstInstruction(l->head));
    cg_v phi = LLVMBuildPhi(c->b, LLVMTypeOf(p), "");
    LLVMAddIncoming(phi, &p, &l->pre, 1);
    l->cursor[l->n_cursor].step = step;
    l->cursor[l->n_cursor++].phi = phi;
    cg_return_from(c, (cg_spot){c->cur, at});
    return phi;
}

typedef struct ptr_key {
    cg_v base;
    te_ref sum;
    const char *what;
} ptr_key;

/* base + the terms of levels 0..level, each level's part added where that level begins. */
static cg_v ptr_at(cg *c, const cg_buf *b, const terms *t, const int *level, int upto)
{
    terms part = {0};
    int top = -1;
    bool keep_it = true, loads = false;
    for (int i = 0; i < t->n; i++)
        if (level[i] <= upto) {
            loads = loads || cg_info_of(c, t->atom[i]).load;
            keep_it = keep_it && !(c->masked && cg_info_of(c, t->atom[i]).load);
            add_term(c, &part, t->coef[i], t->atom[i]);
            if (level[i] > top) top = level[i];
        }
    if (top < 0) return b->base;
    ptr_key key;
    memset(&key, 0, sizeof key);
    key.base = b->base;
    key.sum = sum_of(c, &part, false);
    key.what = "ptr";
    for (int s = c->cur; s >= 0; s--) {
        cg_v *hit = ll_map_get(&c->scope[s].memo, &key, sizeof key);
        if (hit) return *hit;
    }
    cg_v p = ptr_at(c, b, t, level, top - 1);
    /* a masked load of a GPU is a branch, which needs the end of a block */
    bool stays = c->gpu && loads && c->mask.v, moves = (top < c->cur && !stays) || !c->gpu;
    cg_spot back = cg_goto_scope(c, top < c->cur && !stays ? top : c->cur);
    cg_v sum = NULL, walk = NULL;
    int here = 0, last = 0;
    for (int i = 0; i < t->n; i++)
        if (level[i] == top) here++, last = i;
    cg_loop *l = c->scope[top].loop;
    cg_bind *b2 = cg_bound(c, t->atom[last]);
    if (here == 1 && l && b2 && b2->val.v == l->iv) walk = cursor(c, l, p, t->coef[last] / 8);
    for (int i = 0; i < t->n && !walk; i++) {
        if (level[i] != top) continue;
        cg_v one = term_value(c, t->atom[i], t->coef[i] / 8);
        sum = sum ? LLVMBuildAdd(c->b, sum, one, "") : one;
    }
    p = walk ? walk : gep(c, p, sum);
    cg_v *keep = LL_NEW(&c->arena, cg_v);
    *keep = p;
    if (keep_it) ll_map_set(&c->scope[c->cur].memo, &key, sizeof key, keep);
    if (moves || walk) cg_return_from(c, back);
    return p;
}

static int64_t low_bit(int64_t v) { return v ? v & -v : INT64_C(1) << 30; }

static int proved_align(const cg_buf *b, const terms *t)
{
    int64_t a = low_bit(b->align);
    for (int i = 0; i < t->n; i++) {
        te_cong k = te_cong_of(t->atom[i]);
        int64_t unit = low_bit(k.mod) < low_bit(k.rem) ? low_bit(k.mod) : low_bit(k.rem);
        int64_t here = low_bit(t->coef[i] / 8);
        here = here >= 64 || unit >= 64 ? 64 : here * unit;
        if (here < a) a = here;
    }
    return (int)(a > 64 ? 64 : a);
}

static te_ref bit_address(cg *c, const cg_buf *b, const te_ref *idx)
{
    const te_tensor *t = b->lp->t;
    const lp_layout *l = b->lp->layout;
    if (!l) l = lp_layout_dense(c->g, t->shape, t->ndim, ll_dtype_bits((ll_dtype)t->dtype));
    return te_simplify(c->g, lp_layout_at(c->g, l, LP_AT_ADDR, idx));
}

/* The lanes round the alloc of b, as a number; `lanes`: how many. */
static te_ref own_lane(cg *c, const cg_buf *b, int64_t *lanes)
{
    te_ref r = te_int(c->g, 0);
    *lanes = cg_lanes(c, b->inside);
    for (int i = 0; i < c->n_vec; i++)
        if (b->inside >> i & 1) r = te_add(te_muli(r, c->vec[i].extent), c->vec[i].axis);
    return r;
}

unsigned cg_access_axes(cg *c, const cg_buf *b, const te_ref *idx)
{
    unsigned axes = b->inside;
    for (int i = 0; i < b->lp->t->ndim; i++) axes |= cg_info_of(c, idx[i]).axes;
    return axes;
}

void cg_place_of(cg *c, cg_buf *b, const te_ref *idx, cg_place *p)
{
    te_ref bits = bit_address(c, b, idx);
    int64_t own;
    te_ref lane = own_lane(c, b, &own);
    if (own > 1) { /* lanes side by side in place of each element */
        lane = te_muli(lane, ll_dtype_bits((ll_dtype)b->lp->t->dtype));
        bits = te_simplify(c->g, te_add(te_muli(bits, own), lane));
    }
    terms t = {0};
    memset(p, 0, offsetof(cg_place, off));
    p->dyn = NULL;
    p->buf = b;
    p->bits = ll_dtype_bits((ll_dtype)b->lp->t->dtype);
    p->axes = cg_info_of(c, bits).axes;
    p->lanes = cg_lanes(c, p->axes);
    bool whole = split_lanes(c, bits, p->axes, p->off, &t);
    for (int i = 0; i < t.n; i++) whole = whole && t.coef[i] % 8 == 0;
    if (!whole) {
        p->dyn = cg_eval(c, bits).v;
        p->align = 1;
        return;
    }
    int64_t at = t.c + p->off[0], first = p->off[0];
    for (int l = 0; l < p->lanes; l++) p->off[l] -= first;
    p->byte = at >> 3;
    p->bit = (int)(at & 7);
    int n = 0, *level = ll_alloc(&c->arena, sizeof(int) * (size_t)(t.n + 1));
    for (int i = 0; i < t.n; i++) {
        if (!t.coef[i]) continue;
        t.coef[n] = t.coef[i];
        t.atom[n] = t.atom[i];
        level[n] = cg_info_of(c, t.atom[i]).level;
        if (cg_info_of(c, t.atom[i]).reg || cg_info_of(c, t.atom[i]).mem) level[n] = c->cur;
        if (level[n] > c->cur) level[n] = c->cur;
        n++;
    }
    t.n = n;
    p->key = sum_of(c, &t, false);
    p->align = proved_align(b, &t);
    p->ptr = ptr_at(c, b, &t, level, c->cur);
}

cg_v cg_place_ptr(cg *c, const cg_place *p, int64_t more_bytes)
{
    int64_t at = p->byte + more_bytes;
    return at ? gep(c, p->ptr, cg_int(c, c->i64, at)) : p->ptr;
}

int cg_place_align(const cg_place *p, int64_t more_bytes)
{
    int64_t a = low_bit(p->byte + more_bytes);
    return a < p->align ? (int)a : p->align;
}

/* ---- registers ---- */

void cg_reg_place(cg *c, cg_buf *b, const te_ref *idx, unsigned axes, bool read, int64_t *at)
{
    const te_tensor *t = b->lp->t;
    te_ref flat = te_int(c->g, 0);
    for (int i = 0; i < t->ndim; i++) flat = te_add(te_mul(flat, t->shape[i]), idx[i]);
    int64_t own;
    te_ref lane = own_lane(c, b, &own);
    flat = te_simplify(c->g, te_add(te_muli(flat, own), lane));
    terms rest = {0};
    bool ok = split_lanes(c, flat, axes, at, &rest);
    for (int i = 0; i < rest.n; i++) ok = ok && rest.coef[i] == 0;
    if (!ok)
        cg_fail(c, LL_NOT_LEGAL,
                "codegen: register buffer '%s' is indexed by %s, which is not constant after "
                "unrolling (unroll or "
                "vectorise the loops of its indices, or keep it in thread scratch)",
                t->name, te_show(flat));
    for (int l = 0; l < cg_lanes(c, axes); l++) {
        at[l] += rest.c;
        if (read && b->n && (at[l] < 0 || at[l] >= b->n)) at[l] = 0;
        if (at[l] < 0 || at[l] >= b->n)
            cg_fail(c, LL_NOT_LEGAL,
                    "codegen: register buffer '%s' has %lld elements, element %lld is accessed",
                    t->name, (long long)b->n, (long long)at[l]);
    }
}
