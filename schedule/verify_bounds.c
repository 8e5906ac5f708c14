/* verify_bounds.c: every index of every access is proved inside its dimension, from the facts that
 * hold at the statement. A fact is an inequality lo + gap <= hi; a goal a + gap <= b follows from
 * facts f when (a - b) + gap <= sum m_f * (lo_f - hi_f + gap_f) is provable without them; one and
 * two facts are tried, each as often as makes an atom of the goal vanish. Inside the branch of a
 * select its condition is a fact; a minimum or maximum is proved by its parts, a quotient by its
 * dividend. */
#include <string.h>

#include "schedule/verify.h"

te_ref vf_terms(vf *v, te_ref e) { return te_subst(v->g, e, v->let_var, v->let_value, v->n_let); }

/* A difference that is known modulo m leaps from one multiple to the next: K - 32 i > 0 and 32 | K
 * give >= 32. */
static int64_t leap(te_ref lo, te_ref hi, int64_t gap)
{
    te_cong c = te_cong_of(te_sub(hi, lo));
    if (c.mod <= 1) return gap;
    int64_t rest = ((c.rem - gap) % c.mod + c.mod) % c.mod;
    return gap + rest;
}

void vf_assume_le(vf *v, te_ref lo, te_ref hi, int64_t gap)
{
    if (v->n_fact == VF_MAX_FACT || lo->dtype != LL_S64)
        return; /* fewer facts prove less, never wrongly */
    lo = vf_terms(v, lo);
    hi = vf_terms(v, hi);
    const te_node *both = hi->op == TE_MIN ? hi : lo->op == TE_MAX ? lo : NULL;
    for (int i = 0; both && i < 2; i++)
        vf_assume_le(v, both == lo ? lo->src[i] : lo, both == lo ? hi : hi->src[i], gap);
    if (both || v->n_fact == VF_MAX_FACT) return;
    v->fact[v->n_fact++] = (vf_fact){lo, hi, leap(lo, hi, gap), te_affine_of(v->g, te_sub(lo, hi))};
}

void vf_assume(vf *v, te_ref c, bool holds)
{
    if (c->op == TE_NOT) {
        vf_assume(v, c->src[0], !holds);
        return;
    }
    if ((c->op == TE_AND && holds) || (c->op == TE_OR && !holds)) {
        vf_assume(v, c->src[0], holds);
        vf_assume(v, c->src[1], holds);
        return;
    }
    if (c->n != 2 || c->src[0]->dtype != LL_S64) return;
    te_ref a = c->src[0], b = c->src[1];
    if (c->op == TE_LT && holds) vf_assume_le(v, a, b, 1);
    if (c->op == TE_LT && !holds) vf_assume_le(v, b, a, 0);
    if (c->op == TE_LE && holds) vf_assume_le(v, a, b, 0);
    if (c->op == TE_LE && !holds) vf_assume_le(v, b, a, 1);
    if ((c->op == TE_EQ && holds) || (c->op == TE_NE && !holds)) {
        vf_assume_le(v, a, b, 0);
        vf_assume_le(v, b, a, 0);
    }
}

/* ---- one attempt ----------------------------------------------------------------------------- */

enum {
    WORK = 600
}; /* attempts a goal: legal accesses need a few, the rest bounds what a refusal costs */

static vf_tried *slot_of(vf_tried *t, size_t cap, te_ref lo, te_ref hi, int64_t gap)
{
    size_t h =
        ((size_t)lo->id * 0x9E3779B1u ^ (size_t)hi->id * 0x85EBCA77u ^ (size_t)gap * 0xC2B2AE3Du) &
        (cap - 1);
    while (t[h].lo && (t[h].lo != lo || t[h].hi != hi || t[h].gap != gap)) h = (h + 1) & (cap - 1);
    return &t[h];
}

static void grow_tried(vf *v)
{
    size_t cap = v->cap_tried ? v->cap_tried * 2 : 256;
    vf_tried *more = LL_NEW_N(te_arena(v->g), vf_tried, cap);
    for (size_t i = 0; i < v->cap_tried; i++)
        if (v->tried[i].lo)
            *slot_of(more, cap, v->tried[i].lo, v->tried[i].hi, v->tried[i].gap) = v->tried[i];
    v->tried = more;
    v->cap_tried = cap;
}

/* Without facts; remembered, because deepening and neighbouring accesses ask again. */
static bool plain(vf *v, te_ref lo, te_ref hi, int64_t gap)
{
    if (v->n_tried * 2 >= v->cap_tried) grow_tried(v);
    vf_tried *t = slot_of(v->tried, v->cap_tried, lo, hi, gap);
    if (t->lo) return t->yes;
    if (v->work-- <= 0) return false;
    bool yes = te_prove_le(gap ? te_addi(lo, gap) : lo, hi);
    v->n_tried++;
    *t = (vf_tried){lo, hi, gap, yes};
    return yes;
}

/* How often fact f (lo + gap <= hi) helps: so that an atom of the goal vanishes; 1 as soon as they
 * share an atom. */
static int factors(const te_affine *a, const vf_fact *f, int64_t *out, int max)
{
    const te_affine *b = &f->f;
    int n = 0;
    bool shared = false;
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n && n < max; j++) {
            if (a->atom[i] != b->atom[j] || b->coef[j] == 0) continue;
            if (!shared) out[n++] = 1;
            shared = true;
            int64_t m = a->coef[i] % b->coef[j] ? 0 : a->coef[i] / b->coef[j];
            bool known = m < 1;
            for (int k = 0; k < n; k++) known = known || out[k] == m;
            if (!known && n < max) out[n++] = m;
        }
    return n;
}

enum { MAX_FACTOR = 4, MAX_DEPTH = 5 };

/* lo + gap <= hi from m times fact f: (lo - m * f.lo) + gap - m * f.gap <= hi - m * f.hi. */
static bool with_one(vf *v, te_ref lo, te_ref hi, int64_t gap, const vf_fact *f, int64_t m,
                     te_ref *lo2, te_ref *hi2, int64_t *gap2)
{
    *lo2 = te_add(lo, te_muli(f->hi, m));
    *hi2 = te_add(hi, te_muli(f->lo, m));
    *gap2 = gap - m * f->gap;
    return plain(v, *lo2, *hi2, *gap2);
}

static bool by_choice(vf *v, te_ref lo, te_ref hi, int64_t gap, int depth);

static bool with_facts(vf *v, te_ref lo, te_ref hi, int64_t gap, int depth)
{
    te_affine goal = te_affine_of(v->g, te_sub(lo, hi));
    for (int i = v->n_fact - 1; i >= 0; i--) {
        int64_t m[MAX_FACTOR];
        int n = factors(&goal, &v->fact[i], m, MAX_FACTOR);
        for (int j = 0; j < n; j++) {
            te_ref a, b;
            int64_t g;
            if (with_one(v, lo, hi, gap, &v->fact[i], m[j], &a, &b, &g)) return true;
            if (depth > 1 && by_choice(v, a, b, g, depth - 1))
                return true; /* the fact brought in a minimum */
        }
    }
    for (int i = v->n_fact - 1; i >= 0; i--) {
        int64_t m[MAX_FACTOR], w[MAX_FACTOR];
        int n = factors(&goal, &v->fact[i], m, MAX_FACTOR);
        for (int j = 0; j < n; j++) {
            te_ref a = te_add(lo, te_muli(v->fact[i].hi, m[j])),
                   b = te_add(hi, te_muli(v->fact[i].lo, m[j])), c, d;
            int64_t g = gap - m[j] * v->fact[i].gap;
            te_affine left = te_affine_of(v->g, te_sub(a, b));
            for (int k = v->n_fact - 1; k >= 0; k--) {
                int nw = k == i ? 0 : factors(&left, &v->fact[k], w, MAX_FACTOR);
                for (int x = 0; x < nw; x++) {
                    int64_t h;
                    if (with_one(v, a, b, g, &v->fact[k], w[x], &c, &d, &h)) return true;
                }
            }
        }
    }
    return false;
}

static bool prove(vf *v, te_ref lo, te_ref hi, int64_t gap, int depth);

static bool is_choice(te_ref a) { return a->op == TE_MIN || a->op == TE_MAX || a->op == TE_SELECT; }

static bool find_choice(te_ref a, void *ctx)
{
    if (!is_choice(a) || a->dtype != LL_S64) return true;
    *(te_ref *)ctx = a;
    return false;
}

static bool prove_as(vf *v, te_ref lo, te_ref hi, int64_t gap, int depth, te_ref c, te_ref as)
{
    return prove(v, te_subst(v->g, lo, &c, &as, 1), te_subst(v->g, hi, &c, &as, 1), gap, depth - 1);
}

/* With c replaced by its parts. Either part of a minimum bounds it from above; from below both must
 * do. */
static bool by_parts(vf *v, te_ref lo, te_ref hi, int64_t gap, int depth, te_ref c, bool either)
{
    if (c->op != TE_SELECT) {
        bool first = prove_as(v, lo, hi, gap, depth, c, c->src[0]);
        return first == either ? first : prove_as(v, lo, hi, gap, depth, c, c->src[1]);
    }
    int facts = v->n_fact;
    vf_assume(v, c->src[0], true);
    bool ok = prove_as(v, lo, hi, gap, depth, c, c->src[1]);
    v->n_fact = facts;
    vf_assume(v, c->src[0], false);
    ok = ok && prove_as(v, lo, hi, gap, depth, c, c->src[2]);
    v->n_fact = facts;
    return ok;
}

/* By the parts of a minimum, maximum or select among the terms of lo - hi, or inside a quotient
 * there. */
static bool by_choice(vf *v, te_ref lo, te_ref hi, int64_t gap, int depth)
{
    te_affine a = te_affine_of(v->g, te_sub(lo, hi));
    for (int i = 0; i < a.n; i++) {
        te_ref c = NULL, atom = a.atom[i];
        if (is_choice(atom) && atom->dtype == LL_S64) c = atom;
        else if (atom->op == TE_DIV && te_range_of(atom->src[1]).lo > 0)
            te_walk(atom->src[0], find_choice, &c); /* monotonic */
        if (c && by_parts(v, lo, hi, gap, depth, c, (c->op == TE_MIN) == (a.coef[i] > 0)))
            return true;
    }
    return false;
}

/* The goal is sum + gap <= 0 with sum = lo - hi. One of its terms is a quotient, the others are r:
 *     e / c + r + gap <= 0  <=>  e < c * (1 - gap - r)
 *     r + gap <= e / c      <=>  c * (r + gap) <= e */
static bool by_quotient(vf *v, te_ref lo, te_ref hi, int64_t gap, int depth)
{
    te_affine a = te_affine_of(v->g, te_sub(lo, hi));
    for (int i = 0; i < a.n; i++) {
        te_ref q = a.atom[i];
        int64_t k = a.coef[i];
        if (q->op != TE_DIV || (k != 1 && k != -1) || te_range_of(q->src[1]).lo < 1) continue;
        te_affine rest = a;
        rest.coef = LL_NEW_N(te_arena(v->g), int64_t, a.n + 1);
        memcpy(rest.coef, a.coef, sizeof *a.coef * (size_t)a.n);
        rest.coef[i] = 0;
        te_ref r = te_affine_expr(v->g, &rest);
        if (k == 1 ? prove(v, q->src[0], te_mul(q->src[1], te_sub(te_int(v->g, 1 - gap), r)), 1,
                           depth - 1)
                   : prove(v, te_mul(q->src[1], te_addi(r, gap)), q->src[0], 0, depth - 1))
            return true;
    }
    return false;
}

static bool prove(vf *v, te_ref lo, te_ref hi, int64_t gap, int depth)
{
    if (plain(v, lo, hi, gap)) return true;
    if (depth == 0 || v->work <= 0) return false;
    return with_facts(v, lo, hi, gap, depth) || by_quotient(v, lo, hi, gap, depth) ||
           by_choice(v, lo, hi, gap, depth);
}

bool vf_prove(vf *v, te_ref lo, te_ref hi, int64_t gap)
{
    lo = vf_terms(v, lo);
    hi = vf_terms(v, hi);
    v->work = WORK;
    for (int depth = 1; depth <= MAX_DEPTH;
         depth++) /* most goals need little; the work grows fast with depth */
        if (prove(v, lo, hi, gap, depth)) return true;
    return false;
}

/* ---- accesses -------------------------------------------------------------------------------- */

static bool inside(vf *v, const lp_stmt *s, const te_tensor *t, const te_ref *idx,
                   const int64_t *count)
{
    for (int i = 0; i < t->ndim; i++) {
        te_ref last = count && count[i] > 1 ? te_addi(idx[i], count[i] - 1) : idx[i];
        if (!vf_prove(v, te_int(v->g, 0), idx[i], 0) || !vf_prove(v, last, t->shape[i], 1)) {
            ll_str at = {0}, size = {0};
            te_print_expr(&at, last);
            te_print_expr(&size, t->shape[i]);
            vf_fail(v, s, "index %d of %s, %.100s, is not proved inside 0..%.60s", i, t->name,
                    ll_str_cstr(&at), ll_str_cstr(&size));
            ll_str_finish(&at);
            ll_str_finish(&size);
            return false;
        }
    }
    return true;
}

typedef struct search { vf *v; const lp_stmt *s; } search;

static bool loads_inside(vf *v, const lp_stmt *s, te_ref e);

static bool no_load(te_ref a, void *ctx) { return a->op != TE_LOAD; }

/* Walks by hand, so that a select's condition is known in its branches. */
static bool loads_inside(vf *v, const lp_stmt *s, te_ref e)
{
    if (te_walk(e, no_load, NULL)) return true;
    if (e->op == TE_SELECT) {
        int facts = v->n_fact;
        bool ok = loads_inside(v, s, e->src[0]);
        vf_assume(v, e->src[0], true);
        ok = ok && loads_inside(v, s, e->src[1]);
        v->n_fact = facts;
        vf_assume(v, e->src[0], false);
        ok = ok && loads_inside(v, s, e->src[2]);
        v->n_fact = facts;
        return ok;
    }
    for (int i = 0; i < e->n; i++)
        if (!loads_inside(v, s, e->src[i])) return false;
    return e->op != TE_LOAD || inside(v, s, lp_buf_of(v->f, e->u.t)->t, e->src, NULL);
}

static te_ref expr_inside(te_ref e, void *ctx)
{
    search *w = ctx;
    loads_inside(w->v, w->s, e);
    return e;
}

/* What is stored into a buffer with a range stays inside it. */
static bool value_inside(vf *v, const lp_stmt *s, const lp_buf *b, te_ref value)
{
    if (!b->t->lo || !b->t->hi || ll_dtype_is_float((ll_dtype)b->t->dtype)) return true;
    te_range r = te_range_of(value), lo = te_range_of(b->t->lo), hi = te_range_of(b->t->hi);
    if (r.lo >= lo.hi && r.hi < hi.lo) return true;
    te_ref wide = value->dtype == LL_S64 ? value : value->op == TE_CAST ? value->src[0] : NULL;
    if (wide && wide->dtype == LL_S64 && vf_prove(v, b->t->lo, wide, 0) &&
        vf_prove(v, wide, b->t->hi, 1))
        return true;
    while (value->op == TE_CAST) value = value->src[0];
    if (value->op == TE_LOAD && value->u.t->lo == b->t->lo && value->u.t->hi == b->t->hi)
        return true;
    return vf_fail(v, s, "the value is not proved inside the range of %s", b->t->name);
}

static bool copy_inside(vf *v, const lp_stmt *s)
{
    int64_t from[TE_MAX_DIM] = {0};
    int first = -1;
    for (int i = 0; i < s->u.copy.dst->t->ndim; i++) {
        int k = s->u.copy.src_dim[i];
        if (k < 0) continue;
        from[k] = s->u.copy.extent[i];
        if (first < 0) first = k;
    }
    if (!inside(v, s, s->u.copy.dst->t, s->u.copy.dst_at, s->u.copy.extent)) return false;
    if (!s->u.copy.valid || first < 0)
        return inside(v, s, s->u.copy.src->t, s->u.copy.src_at, from);
    /* rows behind `valid` are not read: at + valid <= size, or all of the box fits */
    te_ref size = s->u.copy.src->t->shape[first], at = s->u.copy.src_at[first];
    if (!vf_prove(v, te_int(v->g, 0), s->u.copy.valid, 0))
        return vf_fail(v, s, "`valid` may be negative");
    te_ref rows = te_min(s->u.copy.valid, te_int(v->g, from[first]));
    bool ok =
        vf_prove(v, te_int(v->g, 0), at, 0) &&
        (vf_prove(v, te_add(at, s->u.copy.valid), size, 0) ||
         vf_prove(v, te_add(at, rows), size, 0) || vf_prove(v, te_addi(at, from[first]), size, 0));
    if (!ok)
        return vf_fail(v, s, "the valid rows are not proved inside %s", s->u.copy.src->t->name);
    te_ref idx[TE_MAX_DIM];
    memcpy(idx, s->u.copy.src_at, sizeof idx);
    idx[first] = te_int(v->g, 0);
    from[first] = 0;
    return inside(v, s, s->u.copy.src->t, idx, from);
}

bool vf_bounds(vf *v, const lp_stmt *s)
{
    search w = {v, s};
    if (s->kind == LP_PREFETCH) return true; /* any index is legal */
    lp_each_expr((lp_stmt *)(uintptr_t)s, expr_inside, &w);
    if (v->code) return false;
    switch (s->kind) {
    case LP_STORE:
        return inside(v, s, s->u.store.buf->t, s->u.store.idx, NULL) &&
               value_inside(v, s, s->u.store.buf, s->u.store.value);
    case LP_REDUCE:
        if (s->u.reduce.buf->t->hi)
            return vf_fail(v, s, "a reduction into %s, which has a range",
                           s->u.reduce.buf->t->name);
        return inside(v, s, s->u.reduce.buf->t, s->u.reduce.idx, NULL);
    case LP_MBAR: return inside(v, s, s->u.mbar.buf->t, &s->u.mbar.at, NULL);
    case LP_LDMATRIX:
        return inside(v, s, s->u.ldmatrix.src->t, s->u.ldmatrix.src_at, NULL);
    case LP_SHUFFLE:
        return inside(v, s, s->u.shuffle.dst->t, s->u.shuffle.dst_at, NULL) &&
               inside(v, s, s->u.shuffle.src->t, s->u.shuffle.src_at, NULL);
    case LP_COPY:
        if (s->u.copy.mbar && !inside(v, s, s->u.copy.mbar->t, &s->u.copy.mbar_at, NULL))
            return false;
        return copy_inside(v, s);
    default: return true;
    }
}
