/* verify_race.c: iterations of a parallel loop keep apart. For every buffer that lives outside of
 * the loop and is written in it, each pair of a write and another access must hit different
 * elements in different iterations i != j: in some dimension, or in the row-major element number,
 * the index is c * i + rest in both, and the two rests are proved closer to each other than |c|; a
 * variable of fused loops is taken apart into its two first. What an iteration loads of buffers
 * that the loop writes is another number in i than in j. Codes of less than a byte must lie in
 * different bytes.
 *
 * Exempt: buffers allocated inside the loop; thread and reg buffers of claimed and parallel loops
 * (every thread has its own); accesses under conditions that only one and the same iteration meets;
 * dimensions whose index reaches the loop variable only through loaded values (work items, page
 * tables: distinct by contract, see verify.c). */
#include <string.h>

#include "schedule/guard.h"
#include "schedule/verify.h"

enum { MAX_ACCESS = 4096 };

typedef struct access {
    const lp_stmt *s;
    const lp_buf *b;
    te_ref idx[TE_MAX_DIM];
    bool write;
    te_ref only; /* the one value of the loop's variable with which it is reached, or NULL */
} access;

typedef struct race {
    vf *v;
    const lp_stmt *loop;
    te_ref i;
    access *a; int n, cap;
    const lp_buf **own; int n_own, cap_own; /* allocated inside */
    const lp_buf **wrote; int n_wrote, cap_wrote; /* written inside, own ones too */
    te_ref *inner; int n_inner, cap_inner;  /* loop variables inside */
    te_ref *from, *to;                      /* rename_all's, as long as there are inner loops */
    te_ref let_var[VF_MAX_SCOPE], let_value[VF_MAX_SCOPE]; int n_let;
    bool full;              /* more accesses or lets than there is room for: nothing is proved */
    bool writes;            /* first pass: collect writes; second: reads of what is written */
    lp_values values;       /* of i where the walk stands */
} race;

/* ---- collecting ------------------------------------------------------------------------------ */

static bool is_own(const race *r, const lp_buf *b)
{
    for (int k = 0; k < r->n_own; k++)
        if (r->own[k] == b) return true;
    return false;
}

static bool is_private(const race *r, const lp_buf *b)
{
    lp_how how = r->loop->u.loop.how;
    bool per_thread = b->scope == LP_THREAD || b->scope == LP_REG;
    return is_own(r, b) || (per_thread && (how == LP_CLAIM || how == LP_PARALLEL));
}

static bool is_written(const race *r, const lp_buf *b)
{
    for (int k = 0; k < r->n; k++)
        if (r->a[k].write && r->a[k].b == b) return true;
    return false;
}

static void *grown(vf *v, void *p, int n, int *cap, size_t size)
{
    if (n < *cap) return p;
    int more = *cap ? *cap * 2 : 32;
    void *q = ll_alloc(te_arena(v->g), size * (size_t)more);
    if (n) memcpy(q, p, size * (size_t)n);
    *cap = more;
    return q;
}

static bool note_wrote(lp_stmt *s, void *ctx)
{
    race *r = ctx;
    const lp_buf *b = s->kind == LP_STORE    ? s->u.store.buf
                      : s->kind == LP_REDUCE ? s->u.reduce.buf
                      : s->kind == LP_COPY   ? s->u.copy.dst
                                             : NULL;
    for (int k = 0; b && k < r->n_wrote; k++)
        if (r->wrote[k] == b) return true;
    if (!b) return true;
    r->wrote = grown(r->v, r->wrote, r->n_wrote, &r->cap_wrote, sizeof *r->wrote);
    r->wrote[r->n_wrote++] = b;
    return true;
}

/* A load of what the loop's body writes: a number of its own in every iteration. */
static bool changes(const race *r, te_ref e)
{
    const lp_buf *b = e->op == TE_LOAD ? lp_buf_of(r->v->f, e->u.t) : NULL;
    for (int k = 0; b && k < r->n_wrote; k++)
        if (r->wrote[k] == b) return true;
    return false;
}

static bool lasts(te_ref e, void *ctx) { return !changes(ctx, e); }

/* The value of i with which the walk's place is reached, when it is one and the same whatever the
 * inner loops do. */
static te_ref only_value(race *r)
{
    te_ref v = lp_values_one(r->v->g, &r->values);
    for (int k = 0; v && k < r->n_inner; k++)
        if (te_uses(v, r->inner[k])) return NULL;
    return v && te_walk(v, lasts, r) ? v : NULL;
}

static void narrow(race *r, te_ref cond, bool holds)
{
    cond = te_subst(r->v->g, cond, r->let_var, r->let_value, r->n_let);
    lp_values_narrow(r->v->g, &r->values, r->i, cond, holds);
}

static void add(race *r, const lp_stmt *s, const lp_buf *b, const te_ref *idx, bool write)
{
    if (is_private(r, b) || (r->full = r->full || r->n >= MAX_ACCESS)) return;
    access a = {.s = s, .b = b, .write = write, .only = only_value(r)};
    for (int d = 0; d < b->t->ndim; d++)
        a.idx[d] = te_subst(r->v->g, idx[d], r->let_var, r->let_value, r->n_let);
    for (int k = 0; k < r->n; k++) /* seen before? */
        if (r->a[k].b == b && r->a[k].write == write && r->a[k].only == a.only &&
            !memcmp(r->a[k].idx, a.idx, sizeof a.idx))
            return;
    r->a = grown(r->v, r->a, r->n, &r->cap, sizeof *r->a);
    r->a[r->n++] = a;
}

typedef struct reads { race *r; const lp_stmt *s; } reads;

static bool note_load(te_ref e, void *ctx)
{
    reads *w = ctx;
    if (e->op != TE_LOAD) return true;
    const lp_buf *b = lp_buf_of(w->r->v->f, e->u.t);
    if (b && is_written(w->r, b)) add(w->r, w->s, b, e->src, false);
    return true;
}

static te_ref note_loads(te_ref e, void *ctx)
{
    te_walk(e, note_load, ctx);
    return e;
}

static void collect(race *r, const lp_stmt *s);

static void collect_one(race *r, const lp_stmt *s)
{
    reads w = {r, s};
    if (!r->writes && s->kind != LP_PREFETCH) lp_each_expr((lp_stmt *)(uintptr_t)s, note_loads, &w);
    lp_values values = r->values;
    switch (s->kind) {
    case LP_STORE: if (r->writes) add(r, s, s->u.store.buf, s->u.store.idx, true); break;
    case LP_REDUCE: if (r->writes) add(r, s, s->u.reduce.buf, s->u.reduce.idx, true); break;
    case LP_FOR:
        if (r->writes) {
            r->inner = grown(r->v, r->inner, r->n_inner, &r->cap_inner, sizeof *r->inner);
            r->inner[r->n_inner++] = s->u.loop.var;
        }
        collect(r, s->u.loop.body);
        break;
    case LP_ALLOC:
        if (r->writes) {
            r->own = grown(r->v, r->own, r->n_own, &r->cap_own, sizeof *r->own);
            r->own[r->n_own++] = s->u.alloc.buf;
        }
        collect(r, s->u.alloc.body);
        break;
    case LP_LET:
        r->full = r->full || (r->writes && r->n_let == VF_MAX_SCOPE);
        if (r->writes && !r->full) {
            r->let_var[r->n_let] = s->u.let.var;
            r->let_value[r->n_let] =
                te_subst(r->v->g, s->u.let.value, r->let_var, r->let_value, r->n_let);
            r->n_let++;
        }
        collect(r, s->u.let.body);
        break;
    case LP_IF:
        narrow(r, s->u.guard.cond, true);
        collect(r, s->u.guard.then);
        r->values = values;
        narrow(r, s->u.guard.cond, false);
        collect(r, s->u.guard.otherwise);
        r->values = values;
        break;
    case LP_ROLES:
        for (int k = 0; k < s->u.roles.n; k++) collect(r, s->u.roles.body[k]);
        break;
    default: break; /* copies land in shared memory, which the small runs check */
    }
}

static void collect(race *r, const lp_stmt *s)
{
    for (; s; s = s->next) collect_one(r, s);
}

/* ---- apart? ---------------------------------------------------------------------------------- */

static bool uses_directly(te_ref a, te_ref leaf) /* not counting what stands inside loads */
{
    if (a == leaf) return true;
    if (a->op == TE_LOAD) return false;
    for (int k = 0; k < a->n; k++)
        if (uses_directly(a->src[k], leaf)) return true;
    return false;
}

/* The step of f in i, or NULL when f is not c * i + rest. */
static te_ref step_of(vf *v, te_ref f, te_ref i)
{
    te_ref next = te_addi(i, 1);
    te_ref c = te_simplify(v->g, te_sub(te_subst(v->g, f, &i, &next, 1), f));
    return te_uses(c, i) ? NULL : c;
}

/* d without its multiples of c * n, n the iterations of i: inside a turn of that length i reaches
 * all its elements, so whole turns do not bring two iterations together (i + 128 * k, i < 128).
 * NULL: there are none. */
static te_ref without_turns(vf *v, te_ref d, te_ref c, te_ref i)
{
    te_ref n = i->u.axis->extent, e;
    int64_t turn;
    if (i->op != TE_AXIS || c->op != TE_INT || n->op != TE_INT) return NULL;
    if (__builtin_mul_overflow(c->u.i, n->u.i, &turn) || turn < 1) return NULL;
    te_affine f = te_affine_of(v->g, d);
    bool found = false;
    e = te_int(v->g, f.c);
    for (int k = 0; k < f.n; k++) {
        if (f.coef[k] % turn == 0) found = true;
        else e = te_add(e, te_muli(f.atom[k], f.coef[k]));
    }
    return found ? te_simplify(v->g, e) : NULL;
}

/* Is f(i) != h(j) for all i != j? */
static bool apart_in(vf *v, te_ref f, te_ref i, te_ref h, te_ref j)
{
    te_ref c = step_of(v, f, i), e = step_of(v, h, j), zero = te_int(v->g, 0);
    if (!c || !e || te_is_int(c, 0) || !te_prove_eq(c, e)) return false;
    te_ref x = te_subst(v->g, f, &i, &zero, 1), y = te_subst(v->g, h, &j, &zero, 1);
    if (te_prove_lt(c, zero)) {
        te_ref t = x;
        x = y, y = t;
        c = te_neg(c);
    }
    te_ref d = te_simplify(v->g, te_sub(x, y));
    if (vf_prove(v, d, c, 1) && vf_prove(v, te_neg(d), c, 1)) return true;
    te_ref left = without_turns(v, d, c, i);
    return left && vf_prove(v, left, c, 1) && vf_prove(v, te_neg(left), c, 1);
}

static te_ref row_major(vf *v, const lp_buf *b, const te_ref *idx)
{
    te_ref at = idx[0];
    for (int d = 1; d < b->t->ndim; d++) at = te_add(te_mul(at, b->t->shape[d]), idx[d]);
    return te_simplify(v->g, at);
}

/* In another iteration it is some other number of the same range. */
static te_ref renew(te_ref e, void *ctx)
{
    race *r = ctx;
    if (!changes(r, e)) return e;
    te_range v = te_range_of(e);
    if (!ll_dtype_is_int((ll_dtype)e->dtype) || v.lo <= INT64_MIN / 4 || v.hi >= INT64_MAX / 4)
        return te_var(r->v->g, e->u.t->name, (ll_dtype)e->dtype);
    te_ref any = te_axis(r->v->g, e->u.t->name, te_int(r->v->g, v.hi - v.lo + 1));
    return te_cast((ll_dtype)e->dtype, te_addi(any, v.lo));
}

/* b's index as another iteration sees it: the loop's variable, all inner ones and what the body
 * computes are others. */
static void rename_all(race *r, const access *b, te_ref j, te_ref *out)
{
    te_ref *from = r->from, *to = r->to;
    int n = 1;
    from[0] = r->i;
    to[0] = j;
    for (int k = 0; k < r->n_inner; k++) {
        const te_axis_info *x = r->inner[k]->u.axis;
        te_ref extent = te_subst(r->v->g, x->extent, r->let_var, r->let_value, r->n_let);
        extent = te_subst(r->v->g, extent, from, to, n);
        from[n] = r->inner[k];
        to[n++] = x->max ? te_axis_upto(r->v->g, x->name, extent, x->max)
                         : te_axis(r->v->g, x->name, extent);
    }
    for (int d = 0; d < b->b->t->ndim; d++)
        out[d] = te_rewrite(r->v->g, te_subst(r->v->g, b->idx[d], from, to, n), renew, r);
}

static bool by_contract(const race *r, const access *a)
{
    for (int d = 0; d < a->b->t->ndim; d++) {
        if (uses_directly(a->idx[d], r->i)) return false;
    }
    for (int d = 0; d < a->b->t->ndim; d++)
        if (te_uses(a->idx[d], r->i)) return true;
    return false;
}

/* The number of the byte that an element of less than 8 bits starts in. */
static te_ref byte_number(vf *v, const lp_buf *b, const te_ref *idx)
{
    const lp_layout *l = b->layout;
    if (!l)
        l = lp_layout_dense(v->g, b->t->shape, b->t->ndim, ll_dtype_bits((ll_dtype)b->t->dtype));
    return te_simplify(v->g, te_divi(lp_layout_at(v->g, l, LP_AT_ADDR, idx), 8));
}

/* An access of iteration i and one of iteration j: where they may differ. */
typedef struct where { int n; te_ref f[TE_MAX_DIM + 1], h[TE_MAX_DIM + 1]; } where;

static bool apart_anywhere(vf *v, const where *w, te_ref i, te_ref j)
{
    for (int d = 0; d < w->n; d++)
        if (apart_in(v, w->f[d], i, w->h[d], j)) return true;
    return false;
}

static bool find_divisor(te_ref a, void *ctx)
{
    te_ref *i = ctx; /* i[0]: the variable; i[1]: what it is divided by */
    bool digit = (a->op == TE_DIV || a->op == TE_MOD) && a->src[0] == i[0] &&
                 a->src[1]->op == TE_INT && a->src[1]->u.i > 1;
    if (digit) i[1] = a->src[1];
    return !digit;
}

/* i / c and i % c in w's terms become q and r; false when i is left. */
static bool cut_digits(vf *v, te_ref *f, int n, te_ref i, te_ref c, te_ref q, te_ref r)
{
    te_ref from[] = {te_div(i, c), te_mod(i, c)}, to[] = {q, r};
    for (int d = 0; d < n; d++) {
        f[d] = te_subst(v->g, f[d], from, to, 2);
        if (te_uses(f[d], i)) return false;
    }
    return true;
}

static bool apart_first(vf *v, const where *w, te_ref i, te_ref j, te_ref k, te_ref l)
{
    where same = *w; /* when i = j, k and l must keep them apart */
    for (int d = 0; d < w->n; d++) same.h[d] = te_subst(v->g, w->h[d], &j, &i, 1);
    return apart_anywhere(v, w, i, j) && apart_anywhere(v, &same, k, l);
}

/* A variable that stands for two, as fused loops have it: i = q * c + r. Iterations differ in q or
 * in r. */
static bool apart_by_digits(vf *v, const where *w, te_ref i, te_ref j)
{
    te_ref found[2] = {i, NULL};
    for (int d = 0; d < w->n && !found[1]; d++) te_walk(w->f[d], find_divisor, found);
    if (!found[1]) return false;
    where x = *w;
    te_ref c = found[1], quotients = te_div(te_add(i->u.axis->extent, te_addi(c, -1)), c);
    te_ref q = te_axis(v->g, "q", quotients), r = te_axis(v->g, "r", c),
           t = te_axis(v->g, "q", quotients), u = te_axis(v->g, "r", c);
    if (!cut_digits(v, x.f, x.n, i, c, q, r) || !cut_digits(v, x.h, x.n, j, c, t, u)) return false;
    return apart_first(v, &x, q, t, r, u) || apart_first(v, &x, r, u, q, t);
}

/* Two dimensions together, as after fusing two loops: i / c in one and k * (i % c) in the other give k * i again. */
static bool apart_in_two(vf *v, const access *a, te_ref i, const te_ref *other, te_ref j)
{
    for (int low = 0; low < a->b->t->ndim; low++) {
        te_affine f = te_affine_of(v->g, a->idx[low]);
        for (int t = 0; t < f.n; t++) {
            te_ref m = f.atom[t];
            if (m->op != TE_MOD || m->src[1]->op != TE_INT || !te_uses(m->src[0], i)) continue;
            int64_t c = m->src[1]->u.i * f.coef[t];
            for (int high = 0; c > 0 && high < a->b->t->ndim; high++) {
                if (high == low) continue;
                te_ref x = te_simplify(v->g, te_add(te_muli(a->idx[high], c), a->idx[low]));
                te_ref y = te_simplify(v->g, te_add(te_muli(other[high], c), other[low]));
                if (apart_in(v, x, i, y, j)) return true;
            }
        }
    }
    return false;
}

static bool apart(race *r, const access *a, const access *b)
{
    vf *v = r->v;
    if ((a->only && a->only == b->only) || (by_contract(r, a) && by_contract(r, b))) return true;
    te_ref j = te_axis(v->g, r->i->u.axis->name, r->i->u.axis->extent), other[TE_MAX_DIM];
    rename_all(r, b, j, other);
    where w = {.n = a->b->t->ndim};
    for (int d = 0; d < w.n; d++) w.f[d] = a->idx[d], w.h[d] = other[d];
    bool codes = ll_dtype_bits((ll_dtype)a->b->t->dtype) < 8 && a->write && b->write;
    if (codes && r->loop->u.loop.how != LP_VECTOR) {
        /* a write of less than a byte puts back what it read of the rest: bytes must differ. Lanes
         * are written together */
        w = (where){
            .n = 1, .f = {byte_number(v, a->b, a->idx)}, .h = {byte_number(v, b->b, other)}};
        return apart_anywhere(v, &w, r->i, j) || apart_by_digits(v, &w, r->i, j);
    }
    if (w.n > 1) {
        w.f[w.n] = row_major(v, a->b, a->idx);
        w.h[w.n++] = row_major(v, a->b, other);
    }
    return apart_anywhere(v, &w, r->i, j) || apart_by_digits(v, &w, r->i, j) ||
           apart_in_two(v, a, r->i, other, j);
}

/* Lanes of a vector loop may add to one element: a horizontal reduction. */
static bool lanes_combine(const lp_stmt *loop, const access *a, const access *b)
{
    if (loop->u.loop.how != LP_VECTOR || !a->write || !b->write) return false;
    if (a->s->kind != LP_REDUCE || b->s->kind != LP_REDUCE) return false;
    return a->s->u.reduce.op == b->s->u.reduce.op && a->s->u.reduce.op != TE_ARGMAX;
}

bool vf_races(vf *v, const lp_stmt *loop)
{
    if (te_is_int(loop->u.loop.var->u.axis->extent, 1)) return true;
    race r = {.v = v, .loop = loop, .i = vf_terms(v, loop->u.loop.var), .writes = true};
    for (int i = 0; i < v->n_let; i++)
        r.let_var[i] = v->let_var[i], r.let_value[i] = v->let_value[i];
    r.n_let = v->n_let;
    r.values = lp_values_all(v->g, r.i);
    lp_walk(loop->u.loop.body, note_wrote, &r);
    collect(&r, loop->u.loop.body);
    r.writes = false;
    collect(&r, loop->u.loop.body);
    if (r.full)
        return vf_fail(v, loop, "%s holds more accesses than can be told apart", r.i->u.axis->name);
    r.from = LL_NEW_N(te_arena(v->g), te_ref, r.n_inner + 1);
    r.to = LL_NEW_N(te_arena(v->g), te_ref, r.n_inner + 1);
    for (int i = 0; i < r.n; i++)
        for (int k = i; k < r.n; k++) {
            const access *a = &r.a[i], *b = &r.a[k];
            if (a->b != b->b || (!a->write && !b->write) || lanes_combine(loop, a, b) ||
                apart(&r, a, b))
                continue;
            return vf_fail(v, a->write ? a->s : b->s,
                           "iterations of %s are not proved to keep apart in %s%s",
                           r.i->u.axis->name, a->b->t->name,
                           a->write && b->write ? "" : ", which they also read");
        }
    return true;
}
