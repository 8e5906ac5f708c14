/* prim_unswitch.c: `unswitch LOOP`: a loop without its guards, and what is left of it with them.
 *
 *   for n.o < 3 { for n.i < 16 { if n.o*16 + n.i < 40 { S } } }
 *     ->  for n.o < 2 { for n.i < 16 { S } }
 *         for n.o.tail < 1 { for n.i.tail < 16 { if n.o.tail*16 + n.i.tail + 32 < 40 { S } } }
 *
 * Every guard `e < N` or `e <= N` below LOOP whose e grows with LOOP's variable holds for a first
 * range of iterations whatever the inner loops do; the clean loop runs over what all of them
 * share. A loop that is claimed, parallel or bound stays one loop with two versions of its body
 * under a uniform `if`. A guard that does not depend on LOOP or on what is inside it moves out:
 *     for L { if c { S } }  ->  if c { for L { S } }.
 *
 * Refused: no such guard; e is not affine in the variable, or inner loops have no bounds. */
#include <string.h>

#include "schedule/prim.h"

/* ---- copies ---------------------------------------------------------------------------------- */

static bool freshen(lp_stmt *st, void *p)
{
    sch *s = p;
    ll_arena *a = te_arena(s->g);
    if (st->kind == LP_FOR) {
        const te_axis_info *ax = st->u.loop.var->u.axis;
        const char *name = lp_fresh_name(s->fn, ll_sprintf(a, "%s.tail", ax->name));
        sch_replace_var(s, st,
                        ax->max ? te_axis_upto(s->g, name, ax->extent, ax->max)
                                : te_axis(s->g, name, ax->extent));
    } else if (st->kind == LP_LET) {
        te_ref v = st->u.let.var,
               to = te_var(s->g, lp_fresh_name(s->fn, ll_sprintf(a, "%s.tail", v->u.name)),
                           (ll_dtype)v->dtype);
        lp_subst(s->fn, st->u.let.body, &v, &to, 1);
        st->u.let.var = to;
    } else if (st->kind == LP_ALLOC) {
        lp_buf *old = st->u.alloc.buf;
        const char *name = lp_fresh_name(s->fn, ll_sprintf(a, "%s.tail", old->t->name));
        lp_buf *b =
            sch_buf_new(s, name, (ll_dtype)old->t->dtype, old->scope, old->t->shape, old->t->ndim);
        b->layout = old->layout;
        b->align = old->align;
        b->t->lo = old->t->lo;
        b->t->hi = old->t->hi;
        lp_rebuf(s->fn, st->u.alloc.body, old, b);
        st->u.alloc.buf = b;
    }
    return true;
}

/* ---- how far every guard holds --------------------------------------------------------------- */

typedef struct guards {
    sch *s;
    te_ref var, fixed[SCH_MAX_DEPTH + 1];
    int n_fixed;
    te_ref clean; /* iterations in which all that are handled hold */
    int n;
    bool strip; /* second pass: remove them                      */
} guards;

static te_ref lesser(te_ref a, te_ref b)
{
    return te_prove_le(a, b) ? a : te_prove_le(b, a) ? b : te_min(a, b);
}
static te_ref greater(te_ref a, te_ref b)
{
    return te_prove_le(a, b) ? b : te_prove_le(b, a) ? a : te_max(a, b);
}

/* The least v for which `cond` may fail, for every value of the inner loops; NULL: not such a
 * guard. */
static te_ref holds_below(guards *q, te_ref cond)
{
    te_graph *g = q->s->g;
    sch_span hi, lo;
    if (cond->op == TE_AND) {
        te_ref a = holds_below(q, cond->src[0]), b = holds_below(q, cond->src[1]);
        return a && b ? lesser(a, b) : NULL;
    }
    if ((cond->op != TE_LT && cond->op != TE_LE) || cond->src[0]->dtype != LL_S64) return NULL;
    if (!sch_span_of(g, cond->src[0], q->fixed, q->n_fixed, &hi) ||
        !sch_span_of(g, cond->src[1], q->fixed, q->n_fixed, &lo))
        return NULL;
    te_ref e = te_simplify(g, te_sub(hi.hi, lo.lo)); /* cond is e < 0 or e <= 0, at worst */
    if (cond->op == TE_LE) e = te_addi(e, -1);
    te_ref next = te_addi(q->var, 1), zero = te_int(g, 0);
    te_ref step = te_simplify(g, te_sub(te_subst(g, e, &q->var, &next, 1), e));
    if (step->op != TE_INT || step->u.i <= 0) return NULL;
    te_ref at0 =
        te_subst(g, e, &q->var, &zero, 1); /* step * v + at0 < 0  <=>  v < ceil(-at0 / step) */
    return te_simplify(g, te_divi(te_addi(te_sub(zero, at0), step->u.i - 1), step->u.i));
}

static bool look(lp_stmt *st, void *p)
{
    guards *q = p;
    if (st->kind != LP_IF || st->u.guard.otherwise) return true;
    te_ref v = holds_below(q, st->u.guard.cond);
    if (!v) return true;
    if (q->strip) {
        st->u.guard.cond = te_iconst(q->s->g, LL_BOOL, 1); /* lp_simplify drops it */
        return true;
    }
    q->clean = q->clean ? lesser(q->clean, v) : v;
    q->n++;
    return true;
}

typedef struct inner {
    te_ref cond;
    bool yes;
} inner;

static bool defines(lp_stmt *st, void *p)
{
    inner *q = p;
    if (st->kind == LP_FOR && te_uses(q->cond, st->u.loop.var)) q->yes = true;
    if (st->kind == LP_LET && te_uses(q->cond, st->u.let.var)) q->yes = true;
    if (st->kind == LP_STORE && te_loads(q->cond, st->u.store.buf->t)) q->yes = true;
    if (st->kind == LP_REDUCE && te_loads(q->cond, st->u.reduce.buf->t)) q->yes = true;
    return true;
}

static bool uses_inner(lp_stmt *loop, te_ref cond)
{
    inner q = {.cond = cond, .yes = te_uses(cond, loop->u.loop.var)};
    lp_walk(loop->u.loop.body, defines, &q);
    return q.yes;
}

/* for L { if c { S } else { T } } -> if c { for L { S } } else { for L.tail { T } } */
static bool hoist_invariant(sch *s, lp_stmt *loop)
{
    lp_stmt *in = loop->u.loop.body;
    if (in->kind != LP_IF || in->next || uses_inner(loop, in->u.guard.cond)) return false;
    lp_stmt *other = NULL, *otherwise = in->u.guard.otherwise;
    loop->u.loop.body = in->u.guard.then;
    if (otherwise) {
        lp_stmt *whole = lp_for(s->fn, loop->u.loop.var, loop->u.loop.how, otherwise);
        whole->u.loop.opaque = loop->u.loop.opaque;
        other = whole;
    }
    lp_stmt *guard = lp_if(s->fn, in->u.guard.cond, NULL, NULL), *rest = loop->next;
    guard->u.guard.uniform = in->u.guard.uniform;
    lp_stmt **slot = sch_slot_of(s, loop);
    loop->next = NULL;
    guard->u.guard.then = loop;
    guard->u.guard.otherwise = other;
    guard->next = rest;
    *slot = guard;
    if (other) lp_walk(other, freshen, s);
    return true;
}

ll_code sch_unswitch(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc != 1) return ll_fail(err, LL_USAGE, "wanted LOOP");
    lp_stmt *loop = sch_find_loop(s, argv[0], err);
    if (!loop) return LL_USAGE;
    bool serial = loop->u.loop.how == LP_SERIAL;
    if (loop->u.loop.intrin || loop->u.loop.how == LP_UNROLL || loop->u.loop.how == LP_VECTOR ||
        loop->u.loop.how == LP_ROTATE)
        return ll_fail(err, LL_NOT_LEGAL, "%s is copied, made vectors or an instruction already",
                       argv[0]);
    if (serial && hoist_invariant(s, loop)) return LL_OK;
    te_graph *g = s->g;
    te_ref var = loop->u.loop.var, extent = var->u.axis->extent;
    guards q = {.s = s, .var = var};
    q.n_fixed = sch_fixed_vars(s, loop, q.fixed);
    q.fixed[q.n_fixed++] = var;
    lp_walk(loop->u.loop.body, look, &q);
    if (!q.n)
        return ll_fail(err, LL_NOT_LEGAL, "%s holds no guard `e < N` with e growing by a constant",
                       argv[0]);
    if (var->u.axis->max)
        return ll_fail(err, LL_NOT_LEGAL, "%s has an extent read from memory", argv[0]);
    te_ref clean = te_simplify(g, greater(te_int(g, 0), lesser(extent, q.clean)));
    lp_stmt *tail_body = lp_clone(s->fn, loop->u.loop.body);
    q.strip = true;
    lp_walk(loop->u.loop.body, look, &q);
    if (!serial) {
        lp_stmt *both = lp_if(s->fn, te_lt(var, clean), loop->u.loop.body, NULL);
        both->u.guard.uniform = true;
        loop->u.loop.body = both;
        both->u.guard.otherwise = tail_body;
        lp_walk(tail_body, freshen, s);
        return LL_OK;
    }
    const char *name = lp_fresh_name(s->fn, ll_sprintf(te_arena(g), "%s.tail", argv[0]));
    te_ref v = te_axis(g, name, te_simplify(g, te_sub(extent, clean))), at = te_add(v, clean);
    lp_subst(s->fn, tail_body, &var, &at, 1);
    lp_stmt *tail = lp_for(s->fn, v, LP_SERIAL, tail_body);
    tail->u.loop.opaque = loop->u.loop.opaque;
    sch_replace_var(s, loop, te_axis(g, var->u.axis->name, clean));
    tail->next = loop->next;
    loop->next = tail;
    lp_walk(tail_body, freshen, s);
    return LL_OK;
}
