/* poly.c: arithmetic of poly.h, and the proof that a polynomial is not negative.
 *
 * The proof eliminates atoms, youngest first: where p = x * Q + R and the sign of Q is known, x
 * is replaced by a bound of it, which may be symbolic: an axis lies in [0, extent - 1], an index
 * load in [lo, hi - 1], min(a, b) below a and below b, y / c between (y - c + 1) / c and y / c.
 * After each replacement the numeric interval of the rest is tried. So  to * 32 + ti < T  for
 * ti < min(32, T - to * 32)  is proved by ti -> min(32, T - to * 32) - 1, then min -> T - to *
 * 32. */
#include <stdlib.h>
#include <string.h>

#include "te/poly.h"

typedef __int128 wide;

/* ---- scratch memory ----------------------------------------------------------------------- */

void te_polys_init(te_polys *s, te_graph *g)
{
    s->g = g;
    s->of = (te_memo){0};
    s->budget = 0;
    s->block = NULL;
    s->used = 0;
    s->size = sizeof s->few;
}

void te_polys_finish(te_polys *s)
{
    for (void *b = s->block, *next; b; b = next) {
        memcpy(&next, b, sizeof next);
        free(b);
    }
    te_memo_finish(&s->of);
}

static void *get(te_polys *s, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (s->used + n > s->size) { /* blocks are chained through their first word */
        size_t size = n > 32768 ? n + 16 : 32768;
        unsigned char *b = malloc(size);
        if (!b) abort(); /* as an arena without memory does */
        memcpy(b, &s->block, sizeof s->block);
        s->block = b;
        s->used = 16;
        s->size = size;
    }
    unsigned char *base = s->block ? s->block : s->few;
    void *p = base + s->used;
    s->used += n;
    return p;
}

static te_poly *poly_new(te_polys *s, int n, int64_t c)
{
    te_poly *p = get(s, sizeof *p + sizeof(te_mono) * (size_t)n);
    p->c = c;
    p->n = 0;
    return p;
}

/* ---- arithmetic --------------------------------------------------------------------------- */

static int ref_cmp(te_ref a, te_ref b)
{
    if (a == b) return 0;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return (uintptr_t)a < (uintptr_t)b ? -1 : 1;
}

static int mono_cmp(const te_mono *a, const te_mono *b)
{
    int n = a->nf < b->nf ? a->nf : b->nf;
    for (int i = 0; i < n; i++) {
        int c = ref_cmp(a->f[i], b->f[i]);
        if (c) return c;
    }
    return a->nf - b->nf;
}

int64_t te_gcd(int64_t a, int64_t b)
{
    uint64_t x = a < 0 ? 0 - (uint64_t)a : (uint64_t)a, y = b < 0 ? 0 - (uint64_t)b : (uint64_t)b;
    while (y) {
        uint64_t r = x % y;
        x = y;
        y = r;
    }
    return x > INT64_MAX ? 1 : (int64_t)x;
}

const te_poly *te_poly_const(te_polys *s, int64_t c) { return poly_new(s, 0, c); }

const te_poly *te_poly_atom(te_polys *s, te_ref a)
{
    te_poly *p = poly_new(s, 1, 0);
    p->n = 1;
    p->t[0] = (te_mono){.coef = 1, .nf = 1, .f = {a}};
    return p;
}

const te_poly *te_poly_add(te_polys *s, const te_poly *p, const te_poly *q, int64_t k)
{
    if (!p || !q) return NULL;
    int64_t kc, c;
    if (__builtin_mul_overflow(q->c, k, &kc) || __builtin_add_overflow(p->c, kc, &c)) return NULL;
    if (c == INT64_MIN || p->n + q->n > TE_MAX_MONO) return NULL;
    te_poly *r = poly_new(s, p->n + q->n, c);
    int i = 0, j = 0;
    while (i < p->n || j < q->n) {
        int o = i == p->n ? 1 : j == q->n ? -1 : mono_cmp(&p->t[i], &q->t[j]);
        te_mono m = o <= 0 ? p->t[i] : q->t[j];
        int64_t add = 0;
        if (o >= 0 && __builtin_mul_overflow(q->t[j].coef, k, &add)) return NULL;
        if (o > 0) m.coef = add;
        else if (__builtin_add_overflow(m.coef, add, &m.coef)) return NULL;
        i += o <= 0;
        j += o >= 0;
        if (m.coef == INT64_MIN) return NULL; /* so that every coefficient has a negative */
        if (m.coef) r->t[r->n++] = m;
    }
    return r;
}

const te_poly *te_poly_scale(te_polys *s, const te_poly *p, int64_t k)
{
    return te_poly_add(s, te_poly_const(s, 0), p, k);
}

static bool mono_mul(const te_mono *a, const te_mono *b, te_mono *out)
{
    if (a->nf + b->nf > TE_MAX_FACTOR) return false;
    if (__builtin_mul_overflow(a->coef, b->coef, &out->coef)) return false;
    int i = 0, j = 0;
    out->nf = 0;
    while (i < a->nf || j < b->nf) {
        bool left = j == b->nf || (i < a->nf && ref_cmp(a->f[i], b->f[j]) <= 0);
        out->f[out->nf++] = left ? a->f[i++] : b->f[j++];
    }
    return true;
}

const te_poly *te_poly_mul(te_polys *s, const te_poly *p, const te_poly *q)
{
    if (!p || !q) return NULL;
    if (p->n == 0) return te_poly_scale(s, q, p->c);
    if (q->n == 0) return te_poly_scale(s, p, q->c);
    if (p->n * q->n > 24) return NULL;
    const te_poly *r = te_poly_add(s, te_poly_scale(s, p, q->c), te_poly_scale(s, q, p->c), 1);
    int64_t twice;
    if (!r || __builtin_mul_overflow(p->c, q->c, &twice)) return NULL;
    r = te_poly_add(s, r, te_poly_const(s, twice), -1); /* c*c was added by both */
    for (int i = 0; r && i < p->n; i++)
        for (int j = 0; r && j < q->n; j++) {
            te_poly *m = poly_new(s, 1, 0);
            m->n = 1;
            r = mono_mul(&p->t[i], &q->t[j], &m->t[0]) ? te_poly_add(s, r, m, 1) : NULL;
        }
    return r;
}

static const te_poly *poly_make(te_polys *s, te_ref a)
{
    const te_poly *r = NULL;
    if (a->dtype == LL_S64) {
        switch (a->op) {
        case TE_INT: r = a->u.i == INT64_MIN ? NULL : te_poly_const(s, a->u.i); break;
        case TE_ADD:
            r = te_poly_add(s, te_poly_of(s, a->src[0]), te_poly_of(s, a->src[1]), 1);
            break;
        case TE_SUB:
            r = te_poly_add(s, te_poly_of(s, a->src[0]), te_poly_of(s, a->src[1]), -1);
            break;
        case TE_NEG: r = te_poly_scale(s, te_poly_of(s, a->src[0]), -1); break;
        case TE_MUL: r = te_poly_mul(s, te_poly_of(s, a->src[0]), te_poly_of(s, a->src[1])); break;
        case TE_SHL:
            if (a->src[1]->op == TE_INT && a->src[1]->u.i >= 0 && a->src[1]->u.i < 62)
                r = te_poly_scale(s, te_poly_of(s, a->src[0]), (int64_t)1 << a->src[1]->u.i);
            break;
        default: break;
        }
        te_range known = te_range_of(a);
        if (known.lo == known.hi && known.lo != INT64_MIN) r = te_poly_const(s, known.lo);
    }
    return r ? r : te_poly_atom(s, a);
}

const te_poly *te_poly_of(te_polys *s, te_ref a)
{
    const te_poly *p = te_memo_get(&s->of, a);
    if (p) return p;
    p = poly_make(s, a);
    bool found;
    *te_memo_at(&s->of, a, &found) = (void *)(uintptr_t)p;
    return p;
}

bool te_poly_equal(const te_poly *p, const te_poly *q)
{
    if (p->n != q->n || p->c != q->c) return false;
    for (int i = 0; i < p->n; i++)
        if (p->t[i].coef != q->t[i].coef || mono_cmp(&p->t[i], &q->t[i]) != 0) return false;
    return true;
}

/* ---- back to expressions ------------------------------------------------------------------ */

static te_ref mono_expr(const te_polys *s, const te_mono *m, int64_t coef)
{
    te_ref a = m->f[0];
    for (int i = 1; i < m->nf; i++) a = te_mul(a, m->f[i]);
    return coef == 1 ? a : te_mul(a, te_int(s->g, coef));
}

static uint64_t magnitude(int64_t v) { return v < 0 ? 0 - (uint64_t)v : (uint64_t)v; }

static int by_size(const void *a, const void *b)
{
    const te_mono *x = *(const te_mono *const *)a, *y = *(const te_mono *const *)b;
    uint64_t p = magnitude(x->coef), q = magnitude(y->coef);
    return p != q ? (p > q ? -1 : 1) : mono_cmp(x, y);
}

te_ref te_poly_expr(te_polys *s, const te_poly *p)
{
    const te_mono *t[TE_MAX_MONO], *lead = NULL;
    if (p->n == 0) return te_int(s->g, p->c);
    for (int i = 0; i < p->n; i++) t[i] = &p->t[i];
    qsort(t, (size_t)p->n, sizeof *t, by_size);
    for (int i = 0; i < p->n && !lead; i++)
        if (t[i]->coef > 0) lead = t[i];
    te_ref sum = lead ? mono_expr(s, lead, lead->coef) : NULL;
    int64_t c = p->c;
    if (!sum && c > 0) { /* 5 - x */
        sum = te_int(s->g, c);
        c = 0;
    }
    for (int i = 0; i < p->n; i++) {
        int64_t k = t[i]->coef;
        if (t[i] == lead) continue;
        if (!sum) sum = mono_expr(s, t[i], k);
        else if (k < 0 && k != INT64_MIN) sum = te_sub(sum, mono_expr(s, t[i], -k));
        else sum = te_add(sum, mono_expr(s, t[i], k));
    }
    if (c < 0 && c != INT64_MIN) return te_sub(sum, te_int(s->g, -c));
    return c ? te_add(sum, te_int(s->g, c)) : sum;
}

/* ---- intervals and congruences ------------------------------------------------------------ */

static const wide INF = (wide)1 << 100;
static wide ext(int64_t v) { return v == INT64_MAX ? INF : v == INT64_MIN ? -INF : v; }
static int64_t sat(wide v)
{
    return v >= INT64_MAX ? INT64_MAX : v <= INT64_MIN ? INT64_MIN : (int64_t)v;
}

static wide wmul(wide a, wide b)
{
    if (a == 0 || b == 0) return 0;
    bool huge = a > INT64_MAX || a < INT64_MIN || b > INT64_MAX || b < INT64_MIN;
    return huge ? ((a < 0) != (b < 0) ? -INF : INF) : a * b;
}

te_range te_mono_range(const te_mono *m)
{
    wide lo = 1, hi = 1;
    for (int i = 0; i < m->nf; i++) {
        te_range r = te_range_of(m->f[i]);
        wide v[4] = {wmul(lo, ext(r.lo)), wmul(lo, ext(r.hi)), wmul(hi, ext(r.lo)),
                     wmul(hi, ext(r.hi))};
        lo = hi = v[0];
        for (int j = 1; j < 4; j++) {
            lo = v[j] < lo ? v[j] : lo;
            hi = v[j] > hi ? v[j] : hi;
        }
        lo = lo < -INF ? -INF : lo;
        hi = hi > INF ? INF : hi;
    }
    return (te_range){sat(lo), sat(hi)};
}

te_range te_poly_range(const te_poly *p)
{
    wide lo = p->c, hi = p->c;
    for (int i = 0; i < p->n; i++) {
        te_range r = te_mono_range(&p->t[i]);
        wide x = wmul(p->t[i].coef, ext(r.lo)), y = wmul(p->t[i].coef, ext(r.hi));
        lo += x < y ? x : y;
        hi += x < y ? y : x;
    }
    return (te_range){sat(lo), sat(hi)};
}

te_cong te_mono_cong(const te_mono *m)
{
    te_cong c = te_cong_of(m->f[0]);
    for (int i = 1; i < m->nf; i++) {
        te_cong d = te_cong_of(m->f[i]);
        wide big = (wide)1 << 30;
        if (c.mod > big || d.mod > big || c.rem > big || d.rem > big || c.rem < -big ||
            d.rem < -big)
            return (te_cong){1, 0};
        int64_t mod = te_gcd(te_gcd(c.mod * d.mod, c.mod * d.rem), d.mod * c.rem),
                rem = c.rem * d.rem;
        if (mod) rem = (rem % mod + mod) % mod;
        c = (te_cong){mod, rem};
    }
    return c;
}

/* ---- p >= 0 ------------------------------------------------------------------------------- */

static void sort_monos(te_poly *p)
{
    for (int i = 1; i < p->n; i++)
        for (int j = i; j > 0 && mono_cmp(&p->t[j - 1], &p->t[j]) > 0; j--) {
            te_mono m = p->t[j];
            p->t[j] = p->t[j - 1];
            p->t[j - 1] = m;
        }
}

/* p = x * q + r, when every monomial holds x at most once. */
static bool split_by(te_polys *s, const te_poly *p, te_ref x, te_poly **q, te_poly **r)
{
    *q = poly_new(s, p->n, 0);
    *r = poly_new(s, p->n, p->c);
    for (int i = 0; i < p->n; i++) {
        te_mono m = p->t[i];
        int at = -1;
        for (int j = 0; j < m.nf; j++)
            if (m.f[j] == x) {
                if (at >= 0) return false;
                at = j;
            }
        if (at < 0) {
            (*r)->t[(*r)->n++] = m;
            continue;
        }
        for (int j = at; j + 1 < m.nf; j++) m.f[j] = m.f[j + 1];
        m.nf--;
        if (m.nf == 0) (*q)->c = m.coef;
        else (*q)->t[(*q)->n++] = m;
    }
    sort_monos(*q);
    return true;
}

typedef struct bounds { const te_poly *p[3]; int n; } bounds;

static void bound(bounds *b, const te_poly *p)
{
    if (p && b->n < 3) b->p[b->n++] = p;
}

static te_ref through_cast(te_ref x)
{
    while (x->op == TE_CAST && !ll_dtype_is_float((ll_dtype)x->src[0]->dtype)) {
        te_range in = te_range_of(x->src[0]), out = te_range_of(x);
        if (in.lo != out.lo || in.hi != out.hi) break;
        x = x->src[0];
    }
    return x;
}

static bounds upper_of(te_polys *s, te_ref x)
{
    bounds b = {.n = 0};
    const te_poly *one = te_poly_const(s, 1);
    te_ref load = through_cast(x);
    te_range r = te_range_of(x);
    if (x->op == TE_AXIS) {
        bound(&b, te_poly_add(s, te_poly_of(s, x->u.axis->extent), one, -1));
        if (x->u.axis->max) bound(&b, te_poly_add(s, te_poly_of(s, x->u.axis->max), one, -1));
    } else if (load->op == TE_LOAD && load->u.t->hi) {
        bound(&b, te_poly_add(s, te_poly_of(s, load->u.t->hi), one, -1));
    } else if (x->op == TE_MIN) {
        bound(&b, te_poly_of(s, x->src[0]));
        bound(&b, te_poly_of(s, x->src[1]));
    } else if (x->op == TE_MOD && te_range_of(x->src[1]).lo > 0) {
        bound(&b, te_poly_add(s, te_poly_of(s, x->src[1]), one, -1));
        if (te_range_of(x->src[0]).lo >= 0) bound(&b, te_poly_of(s, x->src[0]));
    }
    if (r.hi != INT64_MAX) bound(&b, te_poly_const(s, r.hi));
    return b;
}

static bounds lower_of(te_polys *s, te_ref x)
{
    bounds b = {.n = 0};
    te_ref load = through_cast(x);
    te_range r = te_range_of(x);
    if (load->op == TE_LOAD && load->u.t->lo && !te_is_const(load->u.t->lo))
        bound(&b, te_poly_of(s, load->u.t->lo));
    if (x->op == TE_MAX) {
        bound(&b, te_poly_of(s, x->src[0]));
        bound(&b, te_poly_of(s, x->src[1]));
    }
    if (r.lo != INT64_MIN) bound(&b, te_poly_const(s, r.lo));
    return b;
}

static bool ge0(te_polys *s, const te_poly *p, int depth);

/* x = y / c: c * p >= 0 follows from the bounds of y. */
static bool ge0_through_div(te_polys *s, te_ref x, const te_poly *q, const te_poly *r, bool low,
                            int depth)
{
    if (x->op != TE_DIV || x->src[1]->op != TE_INT || x->src[1]->u.i <= 0) return false;
    int64_t c = x->src[1]->u.i;
    const te_poly *y = te_poly_of(s, x->src[0]);
    if (low) y = te_poly_add(s, y, te_poly_const(s, c - 1), -1);
    const te_poly *whole = te_poly_add(s, te_poly_scale(s, r, c), te_poly_mul(s, q, y), 1);
    return whole && ge0(s, whole, depth);
}

static bool ge0_without(te_polys *s, const te_poly *p, te_ref x, int depth)
{
    te_poly *q, *r;
    if (!split_by(s, p, x, &q, &r)) return false;
    te_range sign = te_poly_range(q);
    if (sign.lo < 0 && sign.hi > 0) return false;
    bool low = sign.lo >= 0;
    if (ge0_through_div(s, x, q, r, low, depth)) return true;
    bounds b = low ? lower_of(s, x) : upper_of(s, x);
    for (int i = 0; i < b.n; i++) {
        const te_poly *whole = te_poly_add(s, r, te_poly_mul(s, q, b.p[i]), 1);
        if (whole && !te_poly_equal(whole, p) && ge0(s, whole, depth)) return true;
    }
    return false;
}

static te_ref next_atom(const te_poly *p, te_ref below)
{
    te_ref best = NULL;
    for (int i = 0; i < p->n; i++)
        for (int j = 0; j < p->t[i].nf; j++) {
            te_ref x = p->t[i].f[j];
            if (below && ref_cmp(x, below) >= 0) continue;
            if (!best || ref_cmp(x, best) > 0) best = x;
        }
    return best;
}

static bool const_quotient(const te_mono *m, int64_t *c, te_ref *y)
{
    if (m->nf != 1 || m->f[0]->op != TE_DIV || m->f[0]->src[1]->op != TE_INT) return false;
    *c = m->f[0]->src[1]->u.i;
    *y = m->f[0]->src[0];
    return *c > 0;
}

/* k * (y / c) - k * (z / c) + k * e >= 0  follows from  y + c * e >= z. */
static bool ge0_monotone(te_polys *s, const te_poly *p, int depth)
{
    int64_t c, c2, e;
    te_ref y, z;
    if (p->n != 2 || p->t[0].coef != -p->t[1].coef) return false;
    int up = p->t[0].coef > 0 ? 0 : 1;
    if (p->c % p->t[up].coef != 0) return false;
    if (!const_quotient(&p->t[up], &c, &y) || !const_quotient(&p->t[1 - up], &c2, &z) || c != c2)
        return false;
    if (__builtin_mul_overflow(p->c / p->t[up].coef, c, &e)) return false;
    const te_poly *d = te_poly_add(s, te_poly_of(s, y), te_poly_of(s, z), -1);
    d = te_poly_add(s, d, te_poly_const(s, e), 1);
    return d && ge0(s, d, depth);
}

static bool ge0(te_polys *s, const te_poly *p, int depth)
{
    if (te_poly_range(p).lo >= 0) return true;
    if (p->n == 0 || depth <= 0 || --s->budget < 0) return false;
    if (ge0_monotone(s, p, depth - 1)) return true;
    for (te_ref x = next_atom(p, NULL); x; x = next_atom(p, x))
        if (ge0_without(s, p, x, depth - 1)) return true;
    return false;
}

bool te_poly_ge0(te_polys *s, const te_poly *p)
{
    if (!p) return false;
    if (te_poly_range(p).lo >= 0) return true;
    if (te_poly_range(p).hi < 0) return false;
    s->budget = 120;
    return ge0(s, p, 12);
}
