/* simplify.c: te_simplify: index arithmetic in normal form.
 *
 * s64 arithmetic is done on polynomials (poly.h), bottom-up, each distinct node once. Division
 * and remainder by a constant c take p apart:
 *
 *     p = c * D + R          R / c adds to D; R % c is what remains
 *     R = g * A + B          with g | c and 0 <= B < g:
 *                            R / c = A / (c / g),  R % c = g * (A % (c / g)) + B
 *     (y / a) / c = y / (a * c)
 *     (y % m) / c = (y / c) % (m / c),  (y % m) % c = y % c    when c | m
 *
 * and sums put digits together again: k * c * (y / c) + k * (y % c) = k * y. So mixed-radix
 * indices reduce to their digits: ((ko * 32 + g * 4 + r) / 4) % 8 = g. By a symbolic d: a * d +
 * b with 0 <= b < d proved. min, max, comparisons and select are decided by te_poly_ge0.
 * Floating expressions: exact identities only. */
#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "te/poly.h"

static const te_poly *div_const(te_polys *s, const te_poly *p, int64_t c);
static const te_poly *mod_const(te_polys *s, const te_poly *p, int64_t c);
static const te_poly *normal(te_polys *s, const te_poly *p);

/* The node of s->g for a polynomial, remembered with it, so that it is not taken apart again. */
static te_ref node_of(te_polys *s, const te_poly *p)
{
    te_ref a = te_poly_expr(s, p);
    bool found;
    void **at = te_memo_at(&s->of, a, &found);
    if (!found) *at = (void *)(uintptr_t)p;
    return a;
}

static const te_poly *atom_of(te_polys *s, te_ref a)
{
    if (te_is_const(a)) return te_poly_const(s, a->u.i);
    return te_poly_atom(s, a);
}

static const te_poly *quotient_atom(te_polys *s, const te_poly *p, int64_t c)
{
    return atom_of(s, te_div(node_of(s, p), te_int(s->g, c)));
}

static const te_poly *remainder_atom(te_polys *s, const te_poly *p, int64_t c)
{
    return atom_of(s, te_mod(node_of(s, p), te_int(s->g, c)));
}

/* One monomial times k, or a constant. */
static const te_poly *mono_poly(te_polys *s, const te_mono *m, int64_t k)
{
    te_poly *one = (te_poly *)(uintptr_t)te_poly_atom(s, m->f[0]);
    one->t[0] = *m;
    one->t[0].coef = k;
    return k ? one : te_poly_const(s, 0);
}

/* The only atom of a polynomial that is one atom with coefficient 1, or NULL. */
static te_ref lone(const te_poly *p)
{
    return p->n == 1 && p->t[0].coef == 1 && p->t[0].nf == 1 ? p->t[0].f[0] : NULL;
}

static bool by_const(te_ref a, te_op op, int64_t *c)
{
    if (!a || a->op != op || a->src[1]->op != TE_INT || a->src[1]->u.i <= 0) return false;
    *c = a->src[1]->u.i;
    return true;
}

/* Is coef * monomial a multiple of c for all values of its atoms? */
static bool divides(int64_t c, const te_mono *m)
{
    if (m->coef % c == 0) return true;
    te_cong k = te_mono_cong(m);
    int64_t step, rest;
    if (__builtin_mul_overflow(m->coef, k.mod, &step) ||
        __builtin_mul_overflow(m->coef, k.rem, &rest))
        return false;
    return step % c == 0 && rest % c == 0;
}

/* R = g * A + B with 0 <= B < g, g | c, g > 1 as large as possible. */
static int64_t radix_split(te_polys *s, const te_poly *r, int64_t c, const te_poly **a,
                           const te_poly **b)
{
    int64_t best = 0;
    for (int i = 0; i < r->n; i++) {
        int64_t g = te_gcd(c, r->t[i].coef);
        if (g <= best || g <= 1) continue;
        const te_poly *high = te_poly_const(s, ll_floordiv(r->c, g)),
                      *low = te_poly_const(s, ll_floormod(r->c, g));
        for (int j = 0; j < r->n; j++) {
            const te_mono *m = &r->t[j];
            bool up = m->coef % g == 0;
            if (up) high = te_poly_add(s, high, mono_poly(s, m, m->coef / g), 1);
            else low = te_poly_add(s, low, mono_poly(s, m, m->coef), 1);
        }
        if (!high || !low) continue;
        te_range x = te_poly_range(low);
        if (x.lo < 0 || x.hi >= g) continue;
        best = g;
        *a = high;
        *b = low;
    }
    return best;
}

static const te_poly *div_rest(te_polys *s, const te_poly *r, int64_t c)
{
    te_range x = te_poly_range(r);
    if (x.lo != INT64_MIN && x.hi != INT64_MAX && ll_floordiv(x.lo, c) == ll_floordiv(x.hi, c))
        return te_poly_const(s, ll_floordiv(x.lo, c));
    const te_poly *a, *b;
    int64_t g = radix_split(s, r, c, &a, &b), m, k;
    if (g) return div_const(s, a, c / g);
    te_ref one = lone(r);
    if (by_const(one, TE_DIV, &m) && !__builtin_mul_overflow(m, c, &k) &&
        !__builtin_mul_overflow(m, r->c, &g)) {
        const te_poly *y = te_poly_add(s, te_poly_of(s, one->src[0]), te_poly_const(s, g), 1);
        if (y) return div_const(s, y, k);
    }
    if (r->c == 0 && by_const(one, TE_MOD, &m) && m % c == 0) {
        const te_poly *y = div_const(s, te_poly_of(s, one->src[0]), c);
        if (y) return mod_const(s, y, m / c);
    }
    return quotient_atom(s, r, c);
}

static const te_poly *div_const(te_polys *s, const te_poly *p, int64_t c)
{
    if (!p || c == 1) return p;
    const te_poly *d = te_poly_const(s, ll_floordiv(p->c, c)),
                  *r = te_poly_const(s, ll_floormod(p->c, c));
    for (int i = 0; i < p->n && d && r; i++) {
        const te_mono *m = &p->t[i];
        d = te_poly_add(s, d, mono_poly(s, m, m->coef / c), 1);
        int64_t rest = m->coef % c, g = te_gcd(rest, c);
        te_mono left = *m;
        left.coef = rest;
        if (rest == 0) continue;
        bool more = p->n > 1 || r->c != 0;
        if (more && divides(c, &left)) /* T / 32 exactly, T a multiple of 32 */
            d = te_poly_add(s, d, div_const(s, mono_poly(s, m, rest / g), c / g), 1);
        else
            r = te_poly_add(s, r, mono_poly(s, m, rest), 1);
    }
    if (!d || !r) return NULL;
    return normal(s, te_poly_add(s, d, div_rest(s, r, c), 1));
}

/* Terms that are multiples of c gone, the others' coefficients below c. */
static const te_poly *reduced(te_polys *s, const te_poly *p, int64_t c)
{
    const te_poly *r = te_poly_const(s, 0);
    int64_t k = ll_floormod(p->c, c);
    for (int i = 0; i < p->n && r; i++) {
        te_mono m = p->t[i];
        int64_t inner, at, rest;
        m.coef %= c;
        if (m.coef == 0) continue;
        te_cong g = te_mono_cong(&m);
        bool fits = !__builtin_mul_overflow(m.coef, g.mod, &at) &&
                    !__builtin_mul_overflow(m.coef, g.rem, &rest);
        if (fits && at % c == 0) { /* always the same remainder */
            k = ll_floormod(k + ll_floormod(rest, c), c);
        } else if (m.nf == 1 && by_const(m.f[0], TE_MOD, &inner) &&
                   !__builtin_mul_overflow(inner, m.coef, &at) &&
                   at % c == 0) { /* (y % m) % c = y % c */
            const te_poly *y =
                reduced(s, te_poly_scale(s, te_poly_of(s, m.f[0]->src[0]), m.coef), c);
            r = te_poly_add(s, r, y, 1);
        } else {
            r = te_poly_add(s, r, mono_poly(s, &m, m.coef), 1);
        }
    }
    if (!r) return NULL;
    k = ll_floormod(k + ll_floormod(r->c, c), c);
    return te_poly_add(s, r, te_poly_const(s, k - r->c), 1);
}

static const te_poly *mod_const(te_polys *s, const te_poly *p, int64_t c)
{
    if (!p) return NULL;
    if (c == 1) return te_poly_const(s, 0);
    const te_poly *r = reduced(s, p, c), *a, *b;
    if (!r) return NULL;
    for (int i = 0; i < r->n; i++) /* merging may have made coefficients grow again */
        if (r->t[i].coef >= c || r->t[i].coef <= -c) return mod_const(s, r, c);
    te_range x = te_poly_range(r);
    if (x.lo != INT64_MIN && x.hi != INT64_MAX && ll_floordiv(x.lo, c) == ll_floordiv(x.hi, c))
        return te_poly_add(s, r, te_poly_const(s, ll_floordiv(x.lo, c) * c), -1);
    int64_t g = radix_split(s, r, c, &a, &b);
    if (g) return normal(s, te_poly_add(s, b, mod_const(s, a, c / g), g));
    return remainder_atom(s, r, c);
}

/* ---- digits back together ----------------------------------------------------------------- */

/* k such that every term of k * f stands in p, or 0. */
static bool holds(const te_poly *p, const te_poly *f, int64_t k)
{
    for (int i = 0; i < f->n; i++) {
        bool found = false;
        for (int j = 0; j < p->n && !found; j++) {
            const te_mono *x = &p->t[j], *y = &f->t[i];
            int64_t want;
            found = x->nf == y->nf && memcmp(x->f, y->f, sizeof *x->f * (size_t)x->nf) == 0 &&
                    !__builtin_mul_overflow(y->coef, k, &want) && x->coef == want;
        }
        if (!found) return false;
    }
    return true;
}

/* p - k * low - k * c * high + k * y, where y = c * high + low. */
static const te_poly *joined(te_polys *s, const te_poly *p, const te_poly *low, const te_poly *high,
                             int64_t c, const te_poly *y, int64_t k)
{
    int64_t kc;
    if (__builtin_mul_overflow(k, c, &kc)) return NULL;
    p = te_poly_add(s, te_poly_add(s, p, low, -k), high, -kc);
    return te_poly_add(s, p, y, k);
}

static const te_poly *join_quotient(te_polys *s, const te_poly *p, const te_mono *m)
{
    int64_t c;
    if (m->nf != 1 || !by_const(m->f[0], TE_DIV, &c) || m->coef % c != 0) return NULL;
    const te_poly *y = te_poly_of(s, m->f[0]->src[0]), *low = mod_const(s, y, c);
    if (!low) return NULL;
    int64_t k = m->coef / c;
    bool whole = k != INT64_MIN && holds(p, y, -k); /* y - c * (y / c) is y % c */
    if (!whole && !holds(p, low, k)) return NULL;
    return joined(s, p, low, te_poly_atom(s, m->f[0]), c, y, k);
}

static const te_poly *join_remainder(te_polys *s, const te_poly *p, const te_mono *m)
{
    int64_t c, a, kc;
    if (m->nf != 1 || !by_const(m->f[0], TE_MOD, &c)) return NULL;
    te_ref z = m->f[0]->src[0];
    const te_poly *y = te_poly_of(s, z), *high = div_const(s, y, c),
                  *low = te_poly_atom(s, m->f[0]);
    if (high && high->n && !__builtin_mul_overflow(m->coef, c, &kc) && holds(p, high, kc))
        return joined(s, p, low, high, c, y, m->coef);
    /* k * a * ((x / a) % c) + k * (x % a) = k * (x % (a * c)) */
    if (!by_const(z, TE_DIV, &a) || m->coef % a != 0 || __builtin_mul_overflow(a, c, &kc))
        return NULL;
    const te_poly *x = te_poly_of(s, z->src[0]), *rest = mod_const(s, x, a);
    if (!rest || rest->n == 0 || !holds(p, rest, m->coef / a)) return NULL;
    return joined(s, p, rest, low, a, remainder_atom(s, x, kc), m->coef / a);
}

static const te_poly *normal(te_polys *s, const te_poly *p)
{
    for (int round = 0; p && round < 8; round++) {
        const te_poly *q = NULL;
        int digits = 0;
        for (int i = 0; i < p->n; i++)
            digits += p->t[i].nf == 1 && (p->t[i].f[0]->op == TE_DIV || p->t[i].f[0]->op == TE_MOD);
        if (!digits) return p;
        for (int i = 0; i < p->n && !q; i++) {
            q = join_remainder(s, p, &p->t[i]);
            if (!q) q = join_quotient(s, p, &p->t[i]);
        }
        if (!q) return p;
        p = q;
    }
    return p;
}

/* ---- symbolic divisors -------------------------------------------------------------------- */

/* m = q * d for single monomials: the cofactor, or false. */
static bool cofactor(const te_mono *m, const te_mono *d, te_mono *q)
{
    if (m->coef % d->coef != 0) return false;
    *q = (te_mono){.coef = m->coef / d->coef};
    int j = 0;
    for (int i = 0; i < m->nf; i++) {
        if (j < d->nf && m->f[i] == d->f[j]) j++;
        else q->f[q->nf++] = m->f[i];
    }
    return j == d->nf;
}

/* p / d or p % d where p = d * D + R and 0 <= R < d is proved; NULL when it is not. */
static const te_poly *by_symbol(te_polys *s, const te_poly *p, const te_poly *d, bool quotient,
                                const te_poly **rest)
{
    const te_poly *q = te_poly_const(s, 0), *r = te_poly_const(s, p->c);
    te_mono m;
    for (int i = 0; i < p->n; i++) {
        bool whole = d->n == 1 && d->c == 0 && cofactor(&p->t[i], &d->t[0], &m);
        if (!whole) r = te_poly_add(s, r, mono_poly(s, &p->t[i], p->t[i].coef), 1);
        else q = te_poly_add(s, q, m.nf ? mono_poly(s, &m, m.coef) : te_poly_const(s, m.coef), 1);
    }
    *rest = r;
    if (!q || !r) return NULL;
    const te_poly *one = te_poly_const(s, 1);
    bool inside =
        te_poly_ge0(s, r) && te_poly_ge0(s, te_poly_add(s, te_poly_add(s, d, r, -1), one, -1));
    if (inside) return quotient ? q : r;
    if (q->n == 0 && q->c == 0) return NULL;
    if (te_poly_range(d).lo <= 0) return NULL;
    if (!quotient) return atom_of(s, te_mod(node_of(s, r), node_of(s, d)));
    return te_poly_add(s, q, atom_of(s, te_div(node_of(s, r), node_of(s, d))), 1);
}

static te_ref divmod(te_polys *s, te_ref a)
{
    const te_poly *p = te_poly_of(s, a->src[0]), *d = te_poly_of(s, a->src[1]), *r = NULL, *rest;
    if (d->n == 0 && d->c > 0) r = a->op == TE_DIV ? div_const(s, p, d->c) : mod_const(s, p, d->c);
    else if (d->n > 0) r = by_symbol(s, p, d, a->op == TE_DIV, &rest);
    return r ? node_of(s, r) : a;
}

/* ---- choices ------------------------------------------------------------------------------ */

static bool proved_le(te_polys *s, te_ref a, te_ref b)
{
    return te_poly_ge0(s, te_poly_add(s, te_poly_of(s, b), te_poly_of(s, a), -1));
}

static bool proved_lt(te_polys *s, te_ref a, te_ref b)
{
    const te_poly *d = te_poly_add(s, te_poly_of(s, b), te_poly_of(s, a), -1);
    return te_poly_ge0(s, te_poly_add(s, d, te_poly_const(s, 1), -1));
}

/* p >= 0 with common factors and small digits divided away: 4 * i + r < 64 with r < 4 is i < 16. */
static const te_poly *tightened(te_polys *s, const te_poly *p)
{
    int64_t best = 0;
    const te_poly *out = p;
    for (int i = 0; i < p->n; i++) {
        int64_t g = p->t[i].coef < 0 ? -p->t[i].coef : p->t[i].coef;
        if (g <= 1 || g <= best) continue;
        const te_poly *a = te_poly_const(s, 0), *b = te_poly_const(s, p->c);
        for (int j = 0; j < p->n; j++) {
            const te_mono *m = &p->t[j];
            bool up = m->coef % g == 0;
            if (up) a = te_poly_add(s, a, mono_poly(s, m, m->coef / g), 1);
            else b = te_poly_add(s, b, mono_poly(s, m, m->coef), 1);
        }
        te_range x = te_poly_range(b);
        if (x.lo == INT64_MIN || x.hi == INT64_MAX || ll_floordiv(x.lo, g) != ll_floordiv(x.hi, g))
            continue;
        best = g;
        out = te_poly_add(s, a, te_poly_const(s, ll_floordiv(x.lo, g)), 1);
    }
    return out;
}

/* A comparison from p >= 0: what is negative in p stands left. */
static te_ref compare_of(te_polys *s, const te_poly *p, te_op op)
{
    const te_poly *left = te_poly_const(s, 0), *right = te_poly_const(s, 0);
    for (int i = 0; i < p->n; i++) {
        const te_mono *m = &p->t[i];
        if (m->coef < 0) left = te_poly_add(s, left, mono_poly(s, m, -m->coef), 1);
        else right = te_poly_add(s, right, mono_poly(s, m, m->coef), 1);
    }
    int64_t c = p->c;
    if (op == TE_LT) c++;
    bool to_left = c < 0 || (left->n == 0 && c != 0);
    if (to_left) left = te_poly_add(s, left, te_poly_const(s, -c), 1);
    else right = te_poly_add(s, right, te_poly_const(s, c), 1);
    return te_binary(op, node_of(s, left), node_of(s, right));
}

static te_ref order(te_polys *s, te_ref a)
{
    te_ref x = a->src[0], y = a->src[1];
    const te_poly *p = te_poly_add(s, te_poly_of(s, y), te_poly_of(s, x), -1);
    if (a->op == TE_LT ? proved_lt(s, x, y) : proved_le(s, x, y))
        return te_iconst(s->g, LL_BOOL, 1);
    if (a->op == TE_LT ? proved_le(s, y, x) : proved_lt(s, y, x))
        return te_iconst(s->g, LL_BOOL, 0);
    if (p && a->op == TE_LT) p = te_poly_add(s, p, te_poly_const(s, 1), -1);
    if (!p) return a;
    const te_poly *q = tightened(s, p);
    int before = te_poly_of(s, x)->n + te_poly_of(s, y)->n;
    return q != p || p->n < before ? compare_of(s, q, (te_op)a->op) : a;
}

static te_ref equality(te_polys *s, te_ref a)
{
    te_ref x = a->src[0], y = a->src[1];
    const te_poly *p = te_poly_add(s, te_poly_of(s, y), te_poly_of(s, x), -1);
    int known = -1;
    if (!p) return a;
    if (p->n == 0) known = p->c == 0;
    else if (proved_lt(s, x, y) || proved_lt(s, y, x)) known = 0;
    int64_t g = 0, rest = p->c, at;
    for (int i = 0; i < p->n; i++) { /* 4 * x == 2 never holds */
        te_cong k = te_mono_cong(&p->t[i]);
        if (__builtin_mul_overflow(k.mod, p->t[i].coef, &at)) return a;
        g = te_gcd(g, at);
        if (__builtin_mul_overflow(k.rem, p->t[i].coef, &at) ||
            __builtin_add_overflow(rest, at, &rest))
            return a;
    }
    if (g > 1 && rest % g != 0) known = 0;
    if (known < 0) return a;
    return te_iconst(s->g, LL_BOOL, a->op == TE_EQ ? known : !known);
}

static te_ref choose(te_polys *s, te_ref a)
{
    te_ref x = a->src[0], y = a->src[1];
    if (proved_le(s, x, y)) return a->op == TE_MIN ? x : y;
    if (proved_le(s, y, x)) return a->op == TE_MIN ? y : x;
    return a;
}

/* ---- other types -------------------------------------------------------------------------- */

static te_ref logic(te_ref a)
{
    te_ref x = a->src[0], y = a->n > 1 ? a->src[1] : NULL;
    switch (a->op) {
    case TE_AND: return te_is_int(x, 1) ? y : te_is_int(y, 1) ? x : a;
    case TE_OR: return te_is_int(x, 1) ? x : te_is_int(y, 1) ? y : a;
    case TE_NOT:
        if (x->op == TE_NOT) return x->src[0];
        if (x->op == TE_EQ) return te_binary(TE_NE, x->src[0], x->src[1]);
        if (x->op == TE_NE) return te_binary(TE_EQ, x->src[0], x->src[1]);
        if (!te_has_facts(x) || x->n != 2 || ll_dtype_is_float((ll_dtype)x->src[0]->dtype))
            return a;
        if (x->op == TE_LT) return te_le(x->src[1], x->src[0]);
        if (x->op == TE_LE) return te_lt(x->src[1], x->src[0]);
        return a;
    default: return a;
    }
}

static bool is_flt(te_ref a, double v)
{
    return a->op == TE_FLT && memcmp(&a->u.f, &v, sizeof v) == 0;
}

static te_ref floating(te_ref a)
{
    te_ref x = a->src[0], y = a->n > 1 ? a->src[1] : NULL;
    switch (a->op) {
    case TE_MUL: return is_flt(y, 1.0) ? x : is_flt(x, 1.0) ? y : a;
    case TE_DIV: return is_flt(y, 1.0) ? x : a;
    case TE_SUB: return is_flt(y, 0.0) ? x : a;
    case TE_ADD: return is_flt(y, -0.0) ? x : is_flt(x, -0.0) ? y : a;
    case TE_MIN: case TE_MAX: return x == y ? x : a;
    case TE_NEG: return x->op == TE_NEG ? x->src[0] : a;
    default: return a;
    }
}

/* Does every value of `from` lie in `to`? */
static bool embeds(ll_dtype from, ll_dtype to)
{
    if (to == LL_F64) return ll_dtype_is_float(from);
    if (to == LL_F32)
        return from == LL_F16 || from == LL_BF16 || from == LL_E4M3 || from == LL_E5M2;
    return to == LL_F16 && (from == LL_E4M3 || from == LL_E5M2);
}

static te_ref recast(te_ref a)
{
    te_ref x = a->src[0];
    if (x->op != TE_CAST) return a;
    te_ref y = x->src[0];
    ll_dtype from = (ll_dtype)y->dtype, mid = (ll_dtype)x->dtype, to = (ll_dtype)a->dtype;
    if (ll_dtype_is_float(from)) return from == to && embeds(from, mid) ? y : a;
    if (ll_dtype_is_float(mid)) return a;
    te_range r = te_range_of(y), m = te_range_of(x);
    bool kept = r.lo == m.lo && r.hi == m.hi && from != LL_U64 && mid != LL_U64;
    return kept ? te_cast(to, y) : a;
}

static te_ref narrow(te_ref a) /* integers other than s64 */
{
    if (a->op == TE_AND && a->src[1]->op == TE_INT) {
        int64_t m = a->src[1]->u.i;
        te_range r = te_range_of(a->src[0]);
        if (m >= 0 && m < INT64_MAX && (m & (m + 1)) == 0 && r.lo >= 0 && r.hi <= m)
            return a->src[0];
    }
    return a;
}

/* An axis of extent 1 is 0 as an index; as the axis that a reduction binds it stays. */
static te_ref at_origin(te_polys *s, te_ref a)
{
    te_ref idx[TE_MAX_DIM];
    for (int i = 0; i < a->n; i++) {
        te_range r = te_range_of(a->src[i]);
        idx[i] = r.lo == r.hi ? te_int(s->g, r.lo) : a->src[i];
    }
    return te_with_src(s->g, a, idx);
}

static te_ref step(te_ref a, void *ctx)
{
    te_polys *s = ctx;
    ll_dtype t = (ll_dtype)a->dtype;
    if (a->n == 0 || a->op == TE_LOAD) {
        te_range r = te_range_of(a);
        bool fixed = te_has_facts(a) && a->op != TE_INT && a->op != TE_AXIS && r.lo == r.hi &&
                     !te_is_poison(a);
        return fixed              ? te_intern(s->g, TE_INT, t, r.lo, NULL, 0)
               : a->op == TE_LOAD ? at_origin(s, a)
                                  : a;
    }
    if (te_is_reduce(a)) return a;
    if (te_has_facts(a) && te_range_of(a).lo == te_range_of(a).hi)
        return te_intern(s->g, TE_INT, t, te_range_of(a).lo, NULL, 0);
    if (a->op == TE_CAST) return recast(a);
    if (t == LL_S64 && a->op >= TE_ADD && a->op <= TE_SHR) {
        switch (a->op) {
        case TE_ADD: case TE_SUB: case TE_MUL: case TE_NEG: case TE_SHL: {
            const te_poly *p = te_poly_of(s, a);
            if (p->n == 1 && p->t[0].nf == 1 && p->t[0].f[0] == a) return a;
            return node_of(s, normal(s, p));
        }
        case TE_DIV: case TE_MOD: return divmod(s, a);
        case TE_MIN: case TE_MAX: return choose(s, a);
        case TE_SHR:
            if (a->src[1]->op == TE_INT && a->src[1]->u.i >= 0 && a->src[1]->u.i < 62)
                return step(te_div(a->src[0], te_int(s->g, (int64_t)1 << a->src[1]->u.i)), s);
            return a;
        default: return narrow(a);
        }
    }
    if (t == LL_BOOL) {
        bool s64 = a->src[0]->dtype == LL_S64;
        if (s64 && (a->op == TE_LT || a->op == TE_LE)) return order(s, a);
        if (s64 && (a->op == TE_EQ || a->op == TE_NE)) return equality(s, a);
        return logic(a);
    }
    if (a->op == TE_SELECT || a->op == TE_BITS) return a;
    return ll_dtype_is_float(t) ? floating(a) : narrow(a);
}

te_ref te_simplify(te_graph *g, te_ref a)
{
    te_polys s;
    if (te_is_poison(a) || (a->n == 0 && a->op == TE_INT)) return a;
    te_polys_init(&s, g);
    a = te_rewrite(g, a, step, &s);
    te_polys_finish(&s);
    return a;
}
