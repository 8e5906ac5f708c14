/* span.c: bounds of index expressions while inner loops run, as expressions over the loops
 * outside; from them the box of a buffer that a loop's body reads.
 *
 *     n.o*16 + n.i, n.i < 16 inside   ->   [n.o*16, n.o*16 + 15]
 *     (b*32 + r) / 32,  r inside      ->   [b, b]
 *
 * Monotonic operators map bounds; `%` keeps them when the quotient is one value; anything else
 * takes the constant range of its type, or is not bounded at all (then the caller refuses). */
#include "schedule/prim.h"

typedef struct fixed_ctx {
    const te_ref *fixed;
    int n;
    bool free;
} fixed_ctx;

static bool is_fixed(te_ref axis, const fixed_ctx *c)
{
    for (int i = 0; i < c->n; i++)
        if (c->fixed[i] == axis) return true;
    return false;
}

static bool seek_free(te_ref e, void *p)
{
    fixed_ctx *c = p;
    if (e->op == TE_AXIS && !is_fixed(e, c)) c->free = true;
    return !c->free;
}

static bool depends(te_ref e, const fixed_ctx *c)
{
    fixed_ctx q = *c;
    q.free = false;
    te_walk(e, seek_free, &q);
    return q.free;
}

static bool constant_range(te_graph *g, te_ref e, sch_span *out)
{
    te_range r = te_range_of(e);
    if (r.lo == INT64_MIN || r.hi == INT64_MAX) return false;
    out->lo = te_int(g, r.lo);
    out->hi = te_int(g, r.hi);
    return true;
}

static bool span(te_graph *g, te_ref e, const fixed_ctx *c, sch_span *out);

static bool span_axis(te_graph *g, te_ref e, const fixed_ctx *c, sch_span *out)
{
    const te_axis_info *ax = e->u.axis;
    te_ref extent = ax->extent;
    sch_span s;
    if (depends(extent, c)) {
        if (ax->max)
            extent = ax->max;
        else if (!span(g, extent, c, &s))
            return false;
        else
            extent = s.hi;
    }
    out->lo = te_int(g, 0);
    out->hi = te_simplify(g, te_addi(extent, -1));
    return true;
}

static bool span_mul(te_graph *g, te_ref e, const fixed_ctx *c, sch_span *out)
{
    te_ref a = e->src[0], b = e->src[1];
    if (depends(b, c)) {
        te_ref t = a;
        a = b;
        b = t;
    }
    if (depends(b, c)) return constant_range(g, e, out);
    te_range r = te_range_of(b);
    sch_span s;
    if ((r.lo < 0 && r.hi > 0) || !span(g, a, c, &s)) return constant_range(g, e, out);
    out->lo = te_mul(r.lo >= 0 ? s.lo : s.hi, b);
    out->hi = te_mul(r.lo >= 0 ? s.hi : s.lo, b);
    return true;
}

static bool span_divmod(te_graph *g, te_ref e, const fixed_ctx *c, sch_span *out)
{
    te_ref d = e->src[1];
    sch_span s;
    if (depends(d, c) || te_range_of(d).lo <= 0 || !span(g, e->src[0], c, &s))
        return constant_range(g, e, out);
    te_ref lo = te_simplify(g, te_div(s.lo, d)), hi = te_simplify(g, te_div(s.hi, d));
    if (e->op == TE_DIV) {
        *out = (sch_span){lo, hi};
    } else if (lo == hi || te_prove_eq(lo, hi)) {
        *out = (sch_span){te_mod(s.lo, d), te_mod(s.hi, d)};
    } else {
        *out = (sch_span){te_int(g, 0), te_addi(d, -1)};
    }
    return true;
}

static bool span(te_graph *g, te_ref e, const fixed_ctx *c, sch_span *out)
{
    if (!depends(e, c)) {
        *out = (sch_span){e, e};
        return true;
    }
    sch_span a, b;
    switch (e->op) {
    case TE_AXIS: return span_axis(g, e, c, out);
    case TE_ADD:
        if (!span(g, e->src[0], c, &a) || !span(g, e->src[1], c, &b)) return false;
        *out = (sch_span){te_add(a.lo, b.lo), te_add(a.hi, b.hi)};
        return true;
    case TE_SUB:
        if (!span(g, e->src[0], c, &a) || !span(g, e->src[1], c, &b)) return false;
        *out = (sch_span){te_sub(a.lo, b.hi), te_sub(a.hi, b.lo)};
        return true;
    case TE_MUL: return span_mul(g, e, c, out);
    case TE_DIV:
    case TE_MOD: return span_divmod(g, e, c, out);
    case TE_MIN:
    case TE_MAX:
        if (!span(g, e->src[0], c, &a) || !span(g, e->src[1], c, &b))
            return constant_range(g, e, out);
        *out = (sch_span){te_binary((te_op)e->op, a.lo, b.lo), te_binary((te_op)e->op, a.hi, b.hi)};
        return true;
    case TE_SELECT:
        if (!span(g, e->src[1], c, &a) || !span(g, e->src[2], c, &b))
            return constant_range(g, e, out);
        *out = (sch_span){te_min(a.lo, b.lo), te_max(a.hi, b.hi)};
        return true;
    default: return constant_range(g, e, out);
    }
}

bool sch_span_of(te_graph *g, te_ref e, const te_ref *fixed, int n_fixed, sch_span *out)
{
    fixed_ctx c = {.fixed = fixed, .n = n_fixed};
    if (!span(g, te_simplify(g, e), &c, out)) return false;
    out->lo = te_simplify(g, out->lo);
    out->hi = te_simplify(g, out->hi);
    return true;
}

static bool find_axis(te_ref e, void *p)
{
    if (e->op != TE_AXIS && e->op != TE_LOAD && e->op != TE_VAR) return true;
    *(bool *)p = true;
    return false;
}

static bool closed(te_ref e) /* free of loop variables, lets and loads: a size */
{
    bool open = false;
    te_walk(e, find_axis, &open);
    return !open;
}

/* The smaller (sign < 0) or greater of two expressions, when it is known which. */
static te_ref pick(te_ref a, te_ref b, bool smaller)
{
    if (a == b || te_prove_le(a, b)) return smaller ? a : b;
    if (te_prove_le(b, a)) return smaller ? b : a;
    return NULL;
}

static te_ref extent_of(te_graph *g, te_ref lo, te_ref hi, te_ref full)
{
    te_ref e = te_simplify(g, te_addi(te_sub(hi, lo), 1));
    if (closed(e)) return e;
    te_range r = te_range_of(e);
    if (r.hi != INT64_MAX && r.hi > 0 && !(full->op == TE_INT && full->u.i < r.hi))
        return te_int(g, r.hi);
    return NULL;
}

/* One dimension of the box; refuses when an index is not bounded by expressions of the loops
 * outside. */
static ll_code region_dim(sch *s, const sch_accesses *a, const lp_buf *b, unsigned kinds, int d,
                          const te_ref *fixed, int n_fixed, sch_region *out, ll_error *err)
{
    te_graph *g = s->g;
    te_ref full = b->t->shape[d];
    sch_span all = {0};
    bool ordered = true;
    for (int i = 0; i < a->n; i++) {
        const sch_access *x = &a->v[i];
        sch_span sp;
        if (x->buf != b || !(kinds >> x->kind & 1)) continue;
        if (x->whole || !sch_span_of(g, x->idx[d], fixed, n_fixed, &sp))
            return ll_fail(err, LL_NOT_LEGAL,
                           "dimension %d of %s is read at %s, which has no bounds there", d,
                           b->t->name, x->whole ? "any place" : sch_expr_text(s, x->idx[d]));
        if (all.lo) {
            sp.lo = pick(all.lo, sp.lo, true);
            sp.hi = pick(all.hi, sp.hi, false);
        }
        ordered = ordered && sp.lo && sp.hi;
        if (!ordered) break;
        all = sp;
    }
    if (ordered && !all.lo) return ll_fail(err, LL_NOT_LEGAL, "nothing reads %s there", b->t->name);
    te_ref extent = ordered ? extent_of(g, all.lo, all.hi, full) : full;
    if (!extent)
        return ll_fail(err, LL_NOT_LEGAL,
                       "dimension %d of %s is read from %s to %s: not a box of known size", d,
                       b->t->name, sch_expr_text(s, all.lo), sch_expr_text(s, all.hi));
    bool everything = !ordered || extent == full ||
                      (extent->op == TE_INT && full->op == TE_INT && extent->u.i >= full->u.i);
    out->base[d] = everything ? te_int(g, 0) : all.lo;
    out->extent[d] = everything ? full : extent;
    return LL_OK;
}

ll_code sch_region_of(sch *s, const sch_accesses *a, const lp_buf *b, unsigned kinds,
                      const te_ref *fixed, int n_fixed, sch_region *out, ll_error *err)
{
    *out = (sch_region){.n = b->t->ndim};
    for (int d = 0; d < out->n; d++)
        LL_TRY(region_dim(s, a, b, kinds, d, fixed, n_fixed, out, err));
    return LL_OK;
}
