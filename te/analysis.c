/* analysis.c: proofs over s64 expressions and affine forms, on top of poly.c and simplify.c.
 *
 * A proof first works on the expressions as they stand; when that does not do, on their
 * simplified forms, which live in a child graph that is dropped afterwards, so that asking never
 * grows a graph. */
#include "te/poly.h"

/* b - a >= gap ? */
static bool proved_in(te_polys *s, te_ref a, te_ref b, int64_t gap)
{
    const te_poly *d = te_poly_add(s, te_poly_of(s, b), te_poly_of(s, a), -1);
    return te_poly_ge0(s, te_poly_add(s, d, te_poly_const(s, gap), -1));
}

static bool has_digits(te_ref a, void *ctx)
{
    return a->op != TE_DIV && a->op != TE_MOD && a->op != TE_MIN && a->op != TE_MAX;
}

static bool proved(te_ref a, te_ref b, int64_t gap)
{
    if (te_is_poison(a) || te_is_poison(b) || a->dtype != b->dtype || !te_has_facts(a))
        return false;
    te_range x = te_range_of(a), y = te_range_of(b);
    if (a->dtype != LL_S64)
        return (a == b && gap <= 0) || (a->dtype != LL_U64 && (gap ? x.hi < y.lo : x.hi <= y.lo));
    if (x.hi != INT64_MAX && y.lo != INT64_MIN && (gap ? x.hi < y.lo : x.hi <= y.lo)) return true;
    te_polys s;
    te_polys_init(&s, NULL);
    bool yes = proved_in(&s, a, b, gap);
    te_polys_finish(&s);
    if (yes || (te_walk(a, has_digits, NULL) && te_walk(b, has_digits, NULL))) return yes;
    te_graph *base = te_younger(a->g, b->g), *before = te_graph_use(NULL), *tmp;
    tmp = base ? te_graph_child(base) : NULL;
    if (tmp) {
        te_ref p = te_simplify(tmp, a), q = te_simplify(tmp, b);
        te_polys_init(&s, tmp);
        yes = proved_in(&s, p, q, gap);
        te_polys_finish(&s);
        if (!yes) { /* the difference, where digits may meet */
            te_ref d = te_simplify(tmp, te_sub(q, p));
            te_range r = te_range_of(d);
            yes = r.lo != INT64_MIN && r.lo >= gap;
        }
        te_graph_destroy(tmp);
    }
    te_graph_use(before);
    return yes;
}

bool te_prove_lt(te_ref a, te_ref b) { return proved(a, b, 1); }
bool te_prove_le(te_ref a, te_ref b) { return proved(a, b, 0); }

bool te_prove_eq(te_ref a, te_ref b)
{
    if (te_is_poison(a) || te_is_poison(b)) return false;
    if (a == b) return true;
    if (a->dtype != LL_S64 || b->dtype != LL_S64) {
        if (a->dtype != b->dtype || !te_has_facts(a)) return false;
        te_range x = te_range_of(a), y = te_range_of(b);
        return x.lo == x.hi && y.lo == y.hi && x.lo == y.lo;
    }
    te_polys s;
    te_polys_init(&s, NULL);
    bool yes = te_poly_equal(te_poly_of(&s, a), te_poly_of(&s, b));
    te_polys_finish(&s);
    if (yes) return true;
    te_graph *base = te_younger(a->g, b->g), *before = te_graph_use(NULL), *tmp;
    tmp = base ? te_graph_child(base) : NULL;
    if (tmp) {
        yes = te_is_int(te_simplify(tmp, te_sub(a, b)), 0);
        te_graph_destroy(tmp);
    }
    te_graph_use(before);
    return yes || (te_prove_le(a, b) && te_prove_le(b, a));
}

te_affine te_affine_of(te_graph *g, te_ref a)
{
    te_polys s;
    te_polys_init(&s, g);
    te_graph *before = te_graph_use(g);
    const te_poly *p = te_poly_of(&s, a);
    te_affine f = {p->n, p->c, LL_NEW_N(&g->arena, int64_t, p->n),
                   LL_NEW_N(&g->arena, te_ref, p->n)};
    for (int i = 0; i < p->n; i++) {
        te_ref x = p->t[i].f[0];
        for (int j = 1; j < p->t[i].nf; j++) x = te_mul(x, p->t[i].f[j]);
        int at = i;
        for (; at > 0 && f.atom[at - 1]->id > x->id; at--) {
            f.atom[at] = f.atom[at - 1];
            f.coef[at] = f.coef[at - 1];
        }
        f.atom[at] = x;
        f.coef[at] = p->t[i].coef;
    }
    te_graph_use(before);
    te_polys_finish(&s);
    return f;
}

te_ref te_affine_expr(te_graph *g, const te_affine *f)
{
    te_polys s;
    te_polys_init(&s, g);
    te_graph *before = te_graph_use(g);
    const te_poly *p = te_poly_const(&s, f->c);
    for (int i = 0; i < f->n && p; i++)
        p = te_poly_add(&s, p, te_poly_of(&s, f->atom[i]), f->coef[i]);
    te_ref a = p ? te_poly_expr(&s, p)
                 : te_fail(g, LL_USAGE, "an affine form of %d terms is too large", f->n);
    te_graph_use(before);
    te_polys_finish(&s);
    return a;
}
