/* prim_sink.c: `sink LOOP`: moves a loop of independent iterations inwards, past every statement below it.
 *
 *   for h { m = lowest                     for h { m = lowest }
 *     for jo { x = f(h, jo)         ->     for jo { for h { x = f(h, jo) }
 *              m = max(m, x) }                      for h { m = max(m, x) } }
 *     y = m }                              for h { y = m }
 *
 * This is how rows come to share what they read: after it each statement has its own loop over h, named after the
 * stage that the statement writes ("m.h", "y.h"). Loops whose extent depends on h, and conditions that do, stay inside
 * a copy of the loop.
 *
 * Legal when every buffer written below the loop has one dimension whose index is the same expression everywhere below
 * it and tells the iterations apart (affine in the loop, the rest constant below it). Refused otherwise, and when a
 * buffer is allocated inside the loop: sink first, then place. */
#include <string.h>

#include "base/map.h"
#include "schedule/sch.h"
#include "schedule/stage.h"

enum { MAX_BUFS = 64 };

typedef struct access {
    const lp_buf *buf;
    bool written, mixed;
    int dim;               /* the dimension that tells iterations apart, -1: none left */
    te_ref at[TE_MAX_DIM]; /* index of the first access                                */
    bool same[TE_MAX_DIM]; /* all accesses use it                                      */
} access;

typedef struct scan {
    sch *s;
    te_ref var;
    te_ref inner[256]; /* loop variables and lets below: indices that tell iterations apart are free of them */
    int n_inner, n;
    access a[MAX_BUFS];
    bool alloc, full;
} scan;

static void note(scan *c, const lp_buf *b, const te_ref *idx, bool write)
{
    access *a = NULL;
    for (int i = 0; i < c->n && !a; i++)
        if (c->a[i].buf == b) a = &c->a[i];
    if (!a) {
        if (c->n == MAX_BUFS) {
            c->full = true;
            return;
        }
        a = &c->a[c->n++];
        *a = (access){.buf = b};
        for (int d = 0; d < b->t->ndim; d++) a->at[d] = idx[d], a->same[d] = true;
    }
    a->written |= write;
    for (int d = 0; d < b->t->ndim; d++) a->same[d] &= a->at[d] == idx[d];
}

static bool note_load(te_ref e, void *p)
{
    scan *c = p;
    if (e->op != TE_LOAD) return true;
    lp_buf *b = lp_buf_of(c->s->fn, e->u.t);
    if (b) note(c, b, e->src, false);
    return true;
}

static te_ref note_expr(te_ref e, void *p)
{
    te_walk(e, note_load, p);
    return e;
}

static bool note_stmt(lp_stmt *st, void *p)
{
    scan *c = p;
    lp_each_expr(st, note_expr, c);
    te_ref bound = st->kind == LP_FOR ? st->u.loop.var : st->kind == LP_LET ? st->u.let.var : NULL;
    if (bound && c->n_inner < 256) c->inner[c->n_inner++] = bound;
    if (st->kind == LP_STORE) note(c, st->u.store.buf, st->u.store.idx, true);
    if (st->kind == LP_REDUCE) note(c, st->u.reduce.buf, st->u.reduce.idx, true);
    c->alloc |= st->kind == LP_ALLOC;
    return true;
}

static bool tells_apart(const scan *c, te_ref idx)
{
    te_affine f = te_affine_of(c->s->g, idx);
    bool coef = false;
    for (int i = 0; i < f.n; i++) {
        if (f.atom[i] == c->var) coef = f.coef[i] != 0;
        else if (te_uses(f.atom[i], c->var)) return false;
        for (int k = 0; k < c->n_inner; k++)
            if (te_uses(f.atom[i], c->inner[k])) return false;
    }
    return coef;
}

static ll_code check(scan *c, lp_stmt *loop, ll_error *err)
{
    const char *name = c->var->u.axis->name;
    lp_walk(loop->u.loop.body, note_stmt, c);
    if (c->alloc) return ll_fail(err, LL_NOT_LEGAL, "sink: a buffer is allocated inside %s; sink it before placing stages", name);
    if (c->full || c->n_inner == 256) return ll_fail(err, LL_NOT_LEGAL, "sink: too many statements below %s", name);
    for (int i = 0; i < c->n; i++) {
        access *a = &c->a[i];
        if (!a->written) continue;
        bool apart = false;
        for (int d = 0; d < a->buf->t->ndim && !apart; d++) apart = a->same[d] && tells_apart(c, a->at[d]);
        if (!apart)
            return ll_fail(err, LL_NOT_LEGAL, "sink: iterations of %s may meet in %s: no dimension of it has one index that tells them apart", name, a->buf->t->name);
    }
    return LL_OK;
}

/* ---- rewriting -------------------------------------------------------------------------------------------- */

typedef struct uses { te_ref var; bool found; } uses;

static te_ref uses_expr(te_ref e, void *p)
{
    uses *u = p;
    u->found |= te_uses(e, u->var);
    return e;
}

static bool uses_stmt(lp_stmt *st, void *p)
{
    lp_each_expr(st, uses_expr, p);
    if (st->kind == LP_FOR) {
        const te_axis_info *a = st->u.loop.var->u.axis;
        ((uses *)p)->found |= te_uses(a->extent, ((uses *)p)->var);
    }
    return true;
}

static const char *stage_written(lp_stmt *st)
{
    switch (st->kind) {
    case LP_STORE: return st->u.store.buf->t->name;
    case LP_REDUCE: return st->u.reduce.buf->t->name;
    case LP_FOR: return stage_written(st->u.loop.body);
    case LP_IF: return stage_written(st->u.guard.then);
    case LP_LET: return stage_written(st->u.let.body);
    default: return "_";
    }
}

typedef struct sinker {
    sch *s;
    te_ref var;
    const lp_stmt *loop;
    const char *last;
    ll_map made; /* names given so far: the copies are not in the tree yet */
} sinker;

/* "m.h", or m.h.2, m.h.3...: the original name may be used again, once. */
static const char *copy_name(sinker *k, const char *want)
{
    for (int i = 1;; i++) {
        const char *name = i == 1 ? want : ll_sprintf(te_arena(k->s->g), "%s.%d", want, i);
        bool own = !strcmp(name, k->var->u.axis->name);
        if (ll_map_has(&k->made, name, strlen(name)) || (!own && lp_fresh_name(k->s->fn, name) != name)) continue;
        ll_map_set_str(&k->made, name, k);
        return name;
    }
}

/* One statement (its `next` cut) inside a fresh copy of the loop. */
static lp_stmt *inside(sinker *k, lp_stmt *st)
{
    const te_axis_info *info = k->var->u.axis;
    const char *want = ll_sprintf(te_arena(k->s->g), "%s.%s", stage_written(st), k->last);
    const char *name = copy_name(k, want);
    te_ref fresh = info->max ? te_axis_upto(k->s->g, name, info->extent, info->max) : te_axis(k->s->g, name, info->extent);
    lp_subst(k->s->fn, st, &k->var, &fresh, 1);
    lp_stmt *f = lp_for(k->s->fn, fresh, k->loop->u.loop.how, st);
    f->u.loop.opaque = k->loop->u.loop.opaque;
    return f;
}

static lp_stmt *sink_list(sinker *k, lp_stmt *list);

static bool head_uses(lp_stmt *st, te_ref var)
{
    uses u = {var, false};
    if (st->kind == LP_FOR) return te_uses(st->u.loop.var->u.axis->extent, var);
    lp_each_expr(st, uses_expr, &u);
    return u.found;
}

static lp_stmt *sink_one(sinker *k, lp_stmt *st)
{
    if ((st->kind == LP_FOR || st->kind == LP_IF) && !head_uses(st, k->var)) {
        if (st->kind == LP_FOR) st->u.loop.body = sink_list(k, st->u.loop.body);
        else {
            st->u.guard.then = sink_list(k, st->u.guard.then);
            st->u.guard.otherwise = sink_list(k, st->u.guard.otherwise);
        }
        return st;
    }
    return inside(k, st);
}

static lp_stmt *sink_list(sinker *k, lp_stmt *list)
{
    lp_stmt *out = NULL;
    for (lp_stmt *st = list, *next; st; st = next) {
        next = st->next;
        st->next = NULL;
        out = lp_seq(out, sink_one(k, st));
    }
    return out;
}

ll_code sch_sink(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc != 1) return ll_fail(err, LL_USAGE, "sink wants LOOP");
    lp_stmt *loop = sch_find_loop(s, argv[0], err);
    if (!loop) return LL_USAGE;
    if (loop->u.loop.intrin) return ll_fail(err, LL_NOT_LEGAL, "sink: %s is one instruction", argv[0]);
    scan *c = LL_NEW(te_arena(s->g), scan);
    c->s = s;
    c->var = loop->u.loop.var;
    LL_TRY(check(c, loop, err));
    uses u = {c->var, false};
    lp_walk(loop->u.loop.body, uses_stmt, &u);
    if (!u.found) return ll_fail(err, LL_NOT_LEGAL, "sink: nothing below %s depends on it", argv[0]);
    const char *dot = strrchr(c->var->u.axis->name, '.');
    sinker k = {.s = s, .var = c->var, .loop = loop, .last = dot ? dot + 1 : c->var->u.axis->name};
    lp_stmt **slot = sch_slot_of(s, loop), *rest = loop->next;
    if (!slot) return ll_fail(err, LL_FAILED, "sink: %s is not in the tree", argv[0]);
    loop->next = NULL;
    *slot = lp_seq(sink_list(&k, loop->u.loop.body), rest);
    ll_map_finish(&k.made);
    return LL_OK;
}
