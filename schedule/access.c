/* access.c: what statements touch, and whether two of them can be exchanged.
 *
 * The test behind every reordering: may access A in one iteration and access B in another be the
 * same element? Per dimension the two indices are affine forms over *fixed* variables (loops
 * outside: equal on both sides) and *free* ones (an instance of its own on each side). Equal
 * indices give  sum c_i * (v_i - v_i') + delta = 0. Where one |c_i| is greater than what all the
 * other terms can reach, v_i = v_i' follows; that term leaves the sum and the next one is tried,
 * as one reads the digits of a mixed-radix number:
 *
 *     n.o * 16 + n.i  with n.i < 16:   16 > 15, so n.o is equal; then n.i.
 *
 * v / c and v % c together decide v. What is not decided is taken to meet. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/prim.h"

/* ---- collecting ------------------------------------------------------------------------------ */

typedef struct collector {
    sch *s;
    sch_accesses *out;
    te_ref from[SCH_MAX_DEPTH], to[SCH_MAX_DEPTH]; /* lets round the current statement */
    int n_let;
    lp_stmt *stmt;
} collector;

static sch_access *add(collector *c, lp_buf *b, sch_access_kind kind)
{
    sch_accesses *a = c->out;
    if (a->n == a->cap) {
        int cap = a->cap ? a->cap * 2 : 32;
        sch_access *v = realloc(a->v, (size_t)cap * sizeof *v);
        if (!v) {
            a->ordered = true; /* nothing is proved without memory */
            return NULL;
        }
        a->v = v;
        a->cap = cap;
    }
    sch_access *x = &a->v[a->n++];
    *x = (sch_access){.stmt = c->stmt, .buf = b, .kind = kind, .n = b->t->ndim};
    return x;
}

static te_ref expand(collector *c, te_ref e)
{
    for (int i = c->n_let - 1; i >= 0; i--) e = te_subst(c->s->g, e, &c->from[i], &c->to[i], 1);
    return te_simplify(c->s->g, e);
}

static void indexed(collector *c, lp_buf *b, sch_access_kind kind, const te_ref *idx, te_op op)
{
    sch_access *x = add(c, b, kind);
    if (!x) return;
    x->op = op;
    for (int i = 0; i < x->n; i++) x->idx[i] = expand(c, idx[i]);
}

static bool load_in(te_ref e, void *p)
{
    collector *c = p;
    if (e->op != TE_LOAD) return true;
    lp_buf *b = lp_buf_of(c->s->fn, e->u.t);
    if (b) indexed(c, b, SCH_READ, e->src, TE_N_OPS);
    return true;
}

static te_ref loads_of(te_ref e, void *p)
{
    te_walk(e, load_in, p);
    return e;
}

static void local(sch_accesses *a, lp_buf *b)
{
    if (a->n_local == a->cap_local) {
        int cap = a->cap_local ? a->cap_local * 2 : 8;
        lp_buf **v = realloc(a->local, (size_t)cap * sizeof(lp_buf *));
        if (!v) return;
        a->local = v;
        a->cap_local = cap;
    }
    a->local[a->n_local++] = b;
}

static void collect(collector *c, lp_stmt *st)
{
    c->stmt = st;
    if (st->kind != LP_COPY && st->kind != LP_PREFETCH) lp_each_expr(st, loads_of, c);
    switch (st->kind) {
    case LP_FOR: te_walk(st->u.loop.var->u.axis->extent, load_in, c); break;
    case LP_ALLOC: local(c->out, st->u.alloc.buf); break;
    case LP_STORE: indexed(c, st->u.store.buf, SCH_WRITE, st->u.store.idx, TE_N_OPS); break;
    case LP_REDUCE:
        indexed(c, st->u.reduce.buf, SCH_REDUCE, st->u.reduce.idx, st->u.reduce.op);
        break;
    case LP_COPY: {
        sch_access *x = add(c, st->u.copy.dst, SCH_WRITE);
        if (x) x->whole = true;
        x = add(c, st->u.copy.src, SCH_READ);
        if (x) x->whole = true;
        c->out->ordered = true;
        break;
    }
    case LP_SYNC:
    case LP_COMMIT:
    case LP_WAIT:
    case LP_MBAR:
    case LP_ROLES: c->out->ordered = true; break;
    case LP_MMA:
    case LP_LDMATRIX: c->out->ordered = true; break;
    case LP_SHUFFLE:
        indexed(c, st->u.shuffle.dst, SCH_WRITE, st->u.shuffle.dst_at, TE_N_OPS);
        indexed(c, st->u.shuffle.src, SCH_READ, st->u.shuffle.src_at, TE_N_OPS);
        c->out->ordered = true;
        break;
    case LP_LET:
    case LP_IF:
    case LP_PREFETCH: break;
    }
    int lets = c->n_let;
    if (st->kind == LP_LET) {
        if (c->n_let < SCH_MAX_DEPTH) {
            c->from[c->n_let] = st->u.let.var;
            c->to[c->n_let++] = st->u.let.value;
        } else {
            c->out->ordered = true;
        }
    }
    lp_stmt **below[SCH_MAX_CHILD];
    int n = sch_children(st, below);
    for (int i = 0; i < n; i++)
        for (lp_stmt *b = *below[i]; b; b = b->next) collect(c, b);
    c->n_let = lets;
}

void sch_collect(sch *s, lp_stmt *st, sch_accesses *out)
{
    collector c = {.s = s, .out = out};
    collect(&c, st);
}

void sch_collect_list(sch *s, lp_stmt *list, sch_accesses *out)
{
    for (lp_stmt *st = list; st; st = st->next) sch_collect(s, st, out);
}

void sch_accesses_finish(sch_accesses *a)
{
    free(a->v);
    free(a->local);
    *a = (sch_accesses){0};
}

bool sch_is_local(const sch_accesses *a, const lp_buf *b)
{
    for (int i = 0; i < a->n_local; i++)
        if (a->local[i] == b) return true;
    return false;
}

/* ---- do two accesses meet? ------------------------------------------------------------------- */

bool sch_conflict(const sch_access *a, const sch_access *b, bool strict)
{
    if (a->buf != b->buf || (a->kind == SCH_READ && b->kind == SCH_READ)) return false;
    bool commute =
        a->kind == SCH_REDUCE && b->kind == SCH_REDUCE && a->op == b->op && a->op != TE_ARGMAX;
    return strict || !commute;
}

typedef struct fixed_search {
    const te_ref *fixed;
    int n;
    bool free;
    const sch_access *self;
} fixed_search;

static bool axis_is_fixed(te_ref e, void *p)
{
    fixed_search *q = p;
    if (e->op != TE_AXIS) return true;
    for (int i = 0; i < q->n; i++)
        if (q->fixed[i] == e) return true;
    q->free = true;
    return false;
}

static bool has_free(te_ref e, const te_ref *fixed, int n)
{
    fixed_search q = {.fixed = fixed, .n = n};
    te_walk(e, axis_is_fixed, &q);
    return q.free;
}

/* One term of a difference: coef * atom - other * atom', in [lo, hi]; paired: the coefficients are
 * equal. */
typedef struct term {
    te_ref atom;
    double coef, other, lo, hi;
    bool paired, equal;
} term;

static void width(te_ref atom, double *lo, double *hi)
{
    te_range r = te_range_of(atom);
    *lo = r.lo == INT64_MIN ? -1e300 : (double)r.lo;
    *hi = r.hi == INT64_MAX ? 1e300 : (double)r.hi;
}

static void scaled(double c, double lo, double hi, term *t)
{
    t->lo = c >= 0 ? c * lo : c * hi;
    t->hi = c >= 0 ? c * hi : c * lo;
}

enum { MAX_TERM = 48 };

/* The terms of idx_a - idx_b; -1: nothing can be said. */
static int difference(te_graph *g, te_ref a, te_ref b, const te_ref *fixed, int n_fixed, term *t,
                      double *delta)
{
    te_affine fa = te_affine_of(g, a), fb = te_affine_of(g, b);
    int n = 0;
    *delta = (double)fa.c - (double)fb.c;
    if (fa.n + fb.n > MAX_TERM) return -1;
    for (int i = 0; i < fa.n; i++) {
        int j = 0;
        while (j < fb.n && fb.atom[j] != fa.atom[i]) j++;
        double ca = (double)fa.coef[i], cb = j < fb.n ? (double)fb.coef[j] : 0, lo, hi;
        width(fa.atom[i], &lo, &hi);
        t[n] = (term){.atom = fa.atom[i], .coef = ca, .other = cb};
        if (!has_free(fa.atom[i], fixed, n_fixed)) {
            if (ca == cb) continue;
            scaled(ca - cb, lo, hi, &t[n]);
        } else if (ca == cb) {
            t[n].paired = true;
            scaled(ca, -(hi - lo), hi - lo, &t[n]);
        } else {
            term other = {0};
            scaled(ca, lo, hi, &t[n]);
            scaled(-cb, lo, hi, &other);
            t[n].lo += other.lo;
            t[n].hi += other.hi;
        }
        n++;
    }
    for (int j = 0; j < fb.n; j++) {
        int i = 0;
        while (i < fa.n && fa.atom[i] != fb.atom[j]) i++;
        if (i < fa.n) continue;
        double lo, hi;
        width(fb.atom[j], &lo, &hi);
        t[n] = (term){.atom = fb.atom[j], .coef = (double)fb.coef[j]};
        scaled(-(double)fb.coef[j], lo, hi, &t[n]);
        n++;
    }
    return n;
}

/* Reads off which paired atoms must be equal, one digit at a time. False: the indices are never
 * equal. */
static bool peel_digits(term **t, int n, double delta)
{
    for (bool again = true; again;) {
        again = false;
        double lo = delta, hi = delta;
        for (int i = 0; i < n; i++)
            if (!t[i]->equal) lo += t[i]->lo, hi += t[i]->hi;
        if (lo > 0 || hi < 0) return false;
        for (int i = 0; i < n && !again; i++) {
            if (t[i]->equal || !t[i]->paired) continue;
            double rest_lo = delta, rest_hi = delta, c = fabs(t[i]->coef);
            for (int j = 0; j < n; j++)
                if (!t[j]->equal && j != i) rest_lo += t[j]->lo, rest_hi += t[j]->hi;
            if (c > rest_hi && -c < rest_lo) t[i]->equal = again = true;
        }
    }
    return true;
}

/* Terms that are no multiples of g and stay within (-g, g) together must vanish on their own, when
 * the rest is a multiple of g: the sum falls into two. This reads digits whose higher places have
 * different variables on the two sides. */
static bool peel_list(term **t, int n, double delta)
{
    if (!peel_digits(t, n, delta)) return false;
    for (int k = 0; k < n; k++) {
        double g = fabs(t[k]->coef);
        if (g <= 1 || t[k]->equal || fmod(delta, g) != 0) continue;
        term *small[2 * MAX_TERM], *big[2 * MAX_TERM];
        int n_small = 0, n_big = 0;
        double lo = 0, hi = 0;
        for (int i = 0; i < n; i++) {
            if (t[i]->equal) continue;
            if (fmod(t[i]->coef, g) == 0 && fmod(t[i]->other, g) == 0) {
                big[n_big++] = t[i];
            } else {
                small[n_small++] = t[i];
                lo += t[i]->lo;
                hi += t[i]->hi;
            }
        }
        if (n_small && n_big && lo > -g && hi < g)
            return peel_list(small, n_small, 0) && peel_list(big, n_big, delta);
    }
    return true;
}

static bool peel(term *t, int n, double delta)
{
    term *list[2 * MAX_TERM];
    for (int i = 0; i < n; i++) list[i] = &t[i];
    return peel_list(list, n, delta);
}

enum { MAX_EQUAL = 128 };

typedef struct equals {
    te_ref e[MAX_EQUAL];
    int n;
} equals;

static bool add_equal(equals *q, te_ref e)
{
    for (int i = 0; i < q->n; i++)
        if (q->e[i] == e) return false;
    if (q->n == MAX_EQUAL) return false;
    q->e[q->n++] = e;
    return true;
}

/* e is equal on both sides: so are the atoms that it decides. */
static void add_decided(sch *s, equals *q, te_ref e, const te_ref *fixed, int n_fixed)
{
    term t[2 * MAX_TERM];
    double delta;
    int n = difference(s->g, e, e, fixed, n_fixed, t, &delta);
    if (n < 0 || !peel(t, n, delta)) return;
    for (int i = 0; i < n; i++)
        if (t[i].equal) add_equal(q, t[i].atom);
}

/* e / c and e % c decide e. */
static void close_equals(sch *s, equals *q, const te_ref *fixed, int n_fixed)
{
    for (int i = 0; i < q->n; i++)
        for (int j = 0; j < i; j++) {
            te_ref a = q->e[i], b = q->e[j];
            bool parts =
                (a->op == TE_DIV && b->op == TE_MOD) || (a->op == TE_MOD && b->op == TE_DIV);
            if (parts && a->src[0] == b->src[0] && a->src[1] == b->src[1])
                add_decided(s, q, a->src[0], fixed, n_fixed);
        }
}

bool sch_alias(sch *s, const sch_access *a, const sch_access *b, const te_ref *fixed, int n_fixed,
               const te_ref *var, int n_var, bool *same)
{
    equals q = {.n = 0};
    for (int i = 0; i < n_var; i++) same[i] = false;
    if (a->whole || b->whole) return true;
    for (int d = 0; d < a->n; d++) {
        term t[2 * MAX_TERM];
        double delta;
        int n = difference(s->g, a->idx[d], b->idx[d], fixed, n_fixed, t, &delta);
        if (n < 0) continue;
        if (!peel(t, n, delta)) return false;
        for (int i = 0; i < n; i++)
            if (t[i].equal) add_equal(&q, t[i].atom);
    }
    close_equals(s, &q, fixed, n_fixed);
    for (int i = 0; i < n_var; i++) {
        same[i] = te_is_int(var[i]->u.axis->extent, 1);
        for (int j = 0; j < q.n && !same[i]; j++) same[i] = q.e[j] == var[i];
    }
    return true;
}

int sch_fixed_vars(sch *s, const lp_stmt *st, te_ref out[SCH_MAX_DEPTH])
{
    lp_stmt *path[SCH_MAX_DEPTH];
    int depth = sch_path(s, st, path), n = 0;
    for (int i = 0; i < depth; i++)
        if (path[i]->kind == LP_FOR) out[n++] = path[i]->u.loop.var;
    return n;
}

/* ---- questions about statements -------------------------------------------------------------- */

static bool outside_loads(te_ref e, te_ref var)
{
    if (e == var) return true;
    if (e->op == TE_LOAD) return false;
    for (int i = 0; i < e->n; i++)
        if (outside_loads(e->src[i], var)) return true;
    return false;
}

/* The loop reaches the element only through loaded values (work items, page tables): distinct by contract, see verify.c. */
static bool by_contract(const sch_access *a, te_ref var)
{
    bool reached = false;
    for (int i = 0; i < a->n; i++) {
        if (outside_loads(a->idx[i], var)) return false;
        reached = reached || te_uses(a->idx[i], var);
    }
    return reached;
}

/* Over the registers of a block's threads: one buffer of them all. */
static bool is_distributed(const lp_buf *b)
{
    for (int i = 0; b->layout && i < b->layout->n_digit; i++)
        if (b->layout->digit[i].place != LP_AT_ADDR) return true;
    return false;
}

ll_code sch_independent(sch *s, lp_stmt *loop, bool strict, ll_error *err)
{
    sch_accesses a = {0};
    te_ref fixed[SCH_MAX_DEPTH], var = loop->u.loop.var;
    int n_fixed = sch_fixed_vars(s, loop, fixed);
    sch_collect_list(s, loop->u.loop.body, &a);
    ll_code rc = LL_OK;
    for (int i = 0; i < a.n && rc == LL_OK && strict; i++) {
        const lp_buf *b = a.v[i].buf;
        bool own = b->scope == LP_THREAD || (b->scope == LP_REG && !is_distributed(b));
        if (own && a.v[i].kind != SCH_READ && !sch_is_local(&a, b))
            rc = ll_fail(
                err, LL_NOT_LEGAL,
                "`%s` writes %s, of which every thread has its own, and what follows %s reads it",
                sch_text(s, a.v[i].stmt), b->t->name, var->u.axis->name);
    }
    bool once = te_is_int(var->u.axis->extent, 1);
    for (int i = 0; i < a.n && rc == LL_OK && !once; i++)
        for (int j = i; j < a.n && rc == LL_OK; j++) {
            bool same;
            const sch_access *x = &a.v[i], *y = &a.v[j];
            if (!sch_conflict(x, y, strict) || sch_is_local(&a, x->buf)) continue;
            if (by_contract(x, var) && by_contract(y, var)) continue;
            if (!sch_alias(s, x, y, fixed, n_fixed, &var, 1, &same) || same) continue;
            rc = ll_fail(
                err, LL_NOT_LEGAL, "iterations of %s meet in %s: `%s`%s%s%s", var->u.axis->name,
                x->buf->t->name, sch_text(s, x->stmt), x->stmt == y->stmt ? "" : " and `",
                x->stmt == y->stmt ? "" : sch_text(s, y->stmt), x->stmt == y->stmt ? "" : "`");
        }
    sch_accesses_finish(&a);
    return rc;
}

bool sch_commute(sch *s, lp_stmt *x, lp_stmt *y)
{
    sch_accesses a = {0}, b = {0};
    te_ref fixed[SCH_MAX_DEPTH];
    int n_fixed = sch_fixed_vars(s, x, fixed);
    sch_collect(s, x, &a);
    sch_collect(s, y, &b);
    bool ok = !a.ordered && !b.ordered;
    for (int i = 0; i < a.n && ok; i++)
        for (int j = 0; j < b.n && ok; j++)
            if (sch_conflict(&a.v[i], &b.v[j], false) &&
                sch_alias(s, &a.v[i], &b.v[j], fixed, n_fixed, NULL, 0, NULL))
                ok = false;
    sch_accesses_finish(&a);
    sch_accesses_finish(&b);
    return ok;
}

static bool covers(const sch_region *big, const sch_region *small)
{
    for (int d = 0; d < big->n; d++)
        if (!te_prove_le(big->base[d], small->base[d]) ||
            !te_prove_le(te_add(small->base[d], small->extent[d]),
                         te_add(big->base[d], big->extent[d])))
            return false;
    return true;
}

/* What the body reads or reduces into of a buffer that it writes must have been stored before, in
 * the body. */
ll_code sch_idempotent(sch *s, lp_stmt *loop, ll_error *err)
{
    sch_accesses a = {0};
    te_ref fixed[SCH_MAX_DEPTH + 1];
    int n_fixed = sch_fixed_vars(s, loop, fixed);
    fixed[n_fixed++] = loop->u.loop.var;
    sch_collect_list(s, loop->u.loop.body, &a);
    ll_code rc = a.ordered ? ll_fail(err, LL_NOT_LEGAL,
                                     "the body of %s holds barriers or asynchronous copies",
                                     loop->u.loop.var->u.axis->name)
                           : LL_OK;
    for (int i = 0; i < a.n && rc == LL_OK; i++) {
        const lp_buf *b = a.v[i].buf;
        int first = -1;
        bool written = false, needs = false;
        for (int j = 0; j < a.n; j++) {
            if (a.v[j].buf != b) continue;
            if (first < 0) first = j;
            written = written || a.v[j].kind != SCH_READ;
            needs = needs || a.v[j].kind != SCH_WRITE;
        }
        if (first != i || sch_is_local(&a, b) || !written || !needs) continue;
        sch_region whole, stored;
        sch_accesses head = {.v = &a.v[first], .n = 1};
        bool ok =
            a.v[first].kind == SCH_WRITE &&
            sch_region_of(s, &head, b, 1u << SCH_WRITE, fixed, n_fixed, &stored, NULL) == LL_OK &&
            sch_region_of(s, &a, b, 1u << SCH_READ | 1u << SCH_REDUCE, fixed, n_fixed, &whole,
                          NULL) == LL_OK &&
            covers(&stored, &whole);
        if (!ok)
            rc = ll_fail(
                err, LL_NOT_LEGAL,
                "running an iteration of %s twice changes %s: `%s` builds on an earlier value",
                loop->u.loop.var->u.axis->name, b->t->name, sch_text(s, a.v[first].stmt));
    }
    sch_accesses_finish(&a);
    return rc;
}
