/* common.c: what rules share: issuing lines, packing, and vectorising one plain stage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/prim.h"
#include "schedule/rules/rules.h"

static ll_code issue(sch *s, ll_error *err, const char *line)
{
    ll_code rc = sch_do(s, line);
    if (rc != LL_OK && err) {
        err->code = LL_OK; /* the first refusal that matters is the last line's: tries before it were allowed to fail */
        ll_fail(err, rc, "%s: %s: %s", s->fn->name, line, s->error.msg);
    }
    return rc;
}

ll_code rule_do(sch *s, ll_error *err, const char *fmt, ...)
{
    char line[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof line) return ll_fail(err, LL_FAILED, "%s: a schedule line is too long", s->fn->name);
    return issue(s, err, line);
}

bool rule_try(sch *s, const char *fmt, ...)
{
    char line[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return n > 0 && n < (int)sizeof line && sch_do(s, line) == LL_OK;
}

static lp_stmt *loop_named(sch *s, const char *fmt, va_list ap)
{
    char name[512];
    vsnprintf(name, sizeof name, fmt, ap);
    return sch_find_loop_quiet(s, name);
}

te_ref rule_loop_var(sch *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    lp_stmt *l = loop_named(s, fmt, ap);
    va_end(ap);
    return l ? l->u.loop.var : NULL;
}

bool rule_has_loop(sch *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool has = loop_named(s, fmt, ap) != NULL;
    va_end(ap);
    return has;
}

bool rule_has_stage(sch *s, const char *name)
{
    for (int i = 0; i < s->fn->n_buf; i++)
        if (!strcmp(s->fn->buf[i]->t->name, name)) return true;
    return false;
}

int64_t rule_const_extent(te_ref axis)
{
    te_ref e = axis ? axis->u.axis->extent : NULL;
    return e && e->op == TE_INT ? e->u.i : 0;
}

int64_t rule_lanes(const sch *s) { return s->target->vector_bytes >= 64 ? 16 : s->target->vector_bytes >= 32 ? 8 : 4; }

ll_code rule_pack(sch *s, const rule_weight *w, ll_error *err)
{
    int planes = w->t->quant ? w->t->n_plane : 1;
    for (int i = 0; i < planes; i++) {
        const char *name = w->t->quant ? w->t->plane[i]->name : w->t->name;
        if (!rule_has_stage(s, name)) continue; /* this kernel does not read the plane */
        LL_TRY(rule_do(s, err, "pack %s %s.packed %s", name, w->t->name, w->layout[i]));
    }
    return LL_OK;
}

const char *rule_axis_loop(sch *s, const te_tensor *t, int axis)
{
    return ll_sprintf(te_arena(s->g), "%s.%s", t->name, t->axis[axis]->u.axis->name);
}

/* ---- one plain stage -------------------------------------------------------------------------------------------- */

/* All loads of e walk forward with the axis by at most one element (or do not move): a vector of it is a load or two. */
typedef struct stride_scan { te_graph *g; te_ref axis; bool ok, moves; } stride_scan;

static bool scan_load(te_ref e, void *p)
{
    stride_scan *c = p;
    if (e->op != TE_LOAD) return true;
    for (int i = 0; i < e->n; i++) {
        if (!te_uses(e->src[i], c->axis)) continue;
        te_affine f = te_affine_of(c->g, e->src[i]);
        int64_t coef = 0;
        for (int k = 0; k < f.n; k++) {
            if (f.atom[k] == c->axis) coef = f.coef[k];
            else if (te_uses(f.atom[k], c->axis)) continue; /* k / 32 and the like: constant over a vector */
        }
        if (coef == 0) continue;
        if (i != e->n - 1 || coef != 1) c->ok = false;
        c->moves = true;
    }
    return c->ok;
}

static bool unit_stride(sch *s, te_ref value, te_ref axis)
{
    stride_scan c = {s->g, axis, true, false};
    te_walk(value, scan_load, &c);
    return c.ok && c.moves;
}

/* The loops round the stage's update, outermost first, and the update's value. */
typedef struct nest_view { int n; te_ref var[16]; te_ref value; lp_stmt *leaf; } nest_view;

typedef struct leaf_search { const char *stage; lp_stmt *leaf; } leaf_search;

static bool find_leaf(lp_stmt *st, void *p)
{
    leaf_search *l = p;
    if (st->kind == LP_REDUCE && !strcmp(st->u.reduce.buf->t->name, l->stage)) l->leaf = st;
    else if (st->kind == LP_STORE && !l->leaf && !strcmp(st->u.store.buf->t->name, l->stage)) l->leaf = st;
    return true;
}

static bool of_stage(te_ref var, const char *stage);

typedef struct loop_leaf { const char *stage; lp_stmt *leaf; } loop_leaf;

static bool leaf_below(lp_stmt *st, void *p)
{
    loop_leaf *l = p;
    if (st->kind != LP_FOR || !of_stage(st->u.loop.var, l->stage) || l->leaf) return true;
    lp_stmt *b = st->u.loop.body;
    while (b && b->kind == LP_FOR) b = b->u.loop.body;
    if (b && (b->kind == LP_STORE || b->kind == LP_REDUCE)) l->leaf = b;
    return true;
}

static lp_stmt *leaf_of_loops(sch *s, const char *stage)
{
    loop_leaf l = {stage, NULL};
    lp_walk(s->fn->body, leaf_below, &l);
    return l.leaf;
}

static bool view(sch *s, const char *stage, nest_view *v)
{
    leaf_search l = {stage, NULL};
    *v = (nest_view){0};
    lp_walk(s->fn->body, find_leaf, &l);
    if (!l.leaf) l.leaf = leaf_of_loops(s, stage); /* an update stores into its base */
    if (!l.leaf) return false;
    lp_stmt *path[SCH_MAX_DEPTH];
    int n = sch_path(s, l.leaf, path);
    for (int i = 0; i < n && v->n < 16; i++)
        if (path[i]->kind == LP_FOR) v->var[v->n++] = path[i]->u.loop.var;
    v->leaf = l.leaf;
    v->value = l.leaf->kind == LP_STORE ? l.leaf->u.store.value : l.leaf->u.reduce.value;
    return true;
}

static bool of_stage(te_ref var, const char *stage)
{
    size_t n = strlen(stage);
    return !strncmp(var->u.axis->name, stage, n) && var->u.axis->name[n] == '.';
}

/* Splits `loop` by the lanes and makes the inner part a vector. A rest is guarded when it pays. */
static ll_code vector_loop(sch *s, const char *loop, int64_t extent, int64_t lanes, bool unroll)
{
    if (extent < lanes / 2) return LL_OK;
    if (extent <= lanes) {
        rule_try(s, "vectorize %s", loop);
        return LL_OK;
    }
    if (extent % lanes && extent < 2 * lanes) return LL_OK;
    if (!rule_try(s, "split %s %lld", loop, (long long)lanes)) return LL_OK;
    rule_try(s, "vectorize %s.i", loop);
    if (unroll && extent <= 16 * lanes) rule_try(s, "unroll %s.o", loop); /* its values are registers */
    return LL_OK;
}

/* A reduction whose innermost loop walks memory: partial results per lane, then across the lanes. */
static ll_code vector_reduction(sch *s, const te_tensor *t, const char *red, int64_t extent, int64_t lanes, bool in_place, ll_error *err)
{
    if (extent == lanes || (extent < lanes && extent >= 4 && !(extent & (extent - 1)))) {
        rule_try(s, "vectorize %s", red);
        return LL_OK;
    }
    if (extent < 2 * lanes || extent % lanes) return LL_OK;
    LL_TRY(rule_do(s, err, "split %s %lld", red, (long long)lanes));
    if (in_place) { /* its loops are shared with other stages: sum over the lanes of each vector */
        rule_try(s, "vectorize %s.i", red);
        rule_try(s, "unroll %s.o", red);
        return LL_OK;
    }
    rule_try(s, "reorder %s.i %s.o", red, red);
    if (!rule_try(s, "rfactor %s.i", red)) return LL_OK;
    const char *rf = ll_sprintf(te_arena(s->g), "%s.rf", t->name);
    nest_view v;
    if (!view(s, rf, &v)) return LL_OK;
    /* lanes are the stage's loop that came from the inner part: innermost */
    for (int i = v.n - 1; i >= 0; i--) {
        const char *name = v.var[i]->u.axis->name;
        size_t n = strlen(name);
        if (n > 2 && !strcmp(name + n - 2, ".i")) {
            if (i != v.n - 1) {
                char order[1024];
                int at = 0;
                for (int k = i + 1; k < v.n; k++) at += snprintf(order + at, sizeof order - (size_t)at, " %s", v.var[k]->u.axis->name);
                rule_try(s, "reorder%s %s", order, name);
            }
            rule_try(s, "vectorize %s", name);
            rule_try(s, "vectorize %s.pre", name);
            break;
        }
    }
    nest_view f;
    if (!view(s, t->name, &f) || !f.n) return LL_OK;
    rule_try(s, "vectorize %s", f.var[f.n - 1]->u.axis->name);
    /* the lanes' results live in one register where the sum over lanes follows */
    if (f.n >= 2 && of_stage(f.var[f.n - 2], t->name) && rule_try(s, "at %s %s reg", rf, f.var[f.n - 2]->u.axis->name)) {
        if (view(s, rf, &v))
            for (int i = 0; i < v.n; i++)
                if (of_stage(v.var[i], rf) && te_is_int(v.var[i]->u.axis->extent, 1)) rule_try(s, "unit %s", v.var[i]->u.axis->name);
    } else {
        rule_try(s, "scope %s reg", rf);
    }
    return LL_OK;
}

static bool is_param(sch *s, const te_tensor *t)
{
    const lp_buf *b = lp_buf_of(s->fn, t);
    return b && b->param >= 0;
}

ll_code rule_vectorize_stage(sch *s, te_tensor *t, const char *inside, ll_error *err)
{
    int64_t lanes = rule_lanes(s);
    nest_view v;
    if (!view(s, t->name, &v) || !v.n) return LL_OK;
    bool reduce = v.leaf->kind == LP_REDUCE;
    if (t->kind == TE_UPDATE) { /* scattered by data: lanes are stored one by one, but computed together */
        te_ref last = v.var[v.n - 1];
        int64_t e = rule_const_extent(last);
        return e && of_stage(last, t->name) ? vector_loop(s, last->u.axis->name, e, lanes, inside != NULL) : LL_OK;
    }
    int first = 0;
    for (int i = 0; inside && i < v.n; i++)
        if (!strcmp(v.var[i]->u.axis->name, inside)) first = i + 1;
    while (first < v.n && !of_stage(v.var[first], t->name)) first++;
    if (first >= v.n) return LL_OK;
    int n_red = reduce ? t->body->n - 1 : 0;
    int last_axis = v.n - n_red - 1;
    te_ref inner = v.var[v.n - 1];
    if (!reduce) {
        int64_t e = rule_const_extent(inner);
        /* small inner axes: one flat loop over all of them */
        while (e && e < lanes && v.n - first >= 2) {
            te_ref outer = v.var[v.n - 2];
            int64_t o = rule_const_extent(outer);
            if (!o || !of_stage(outer, t->name) || t->kind == TE_UPDATE) break;
            if (!rule_try(s, "fuse %s %s %s.f%d", outer->u.axis->name, inner->u.axis->name, t->name, v.n)) break;
            if (!view(s, t->name, &v)) return LL_OK;
            inner = v.var[v.n - 1];
            e = rule_const_extent(inner);
        }
        return e ? vector_loop(s, inner->u.axis->name, e, lanes, inside != NULL) : LL_OK;
    }
    if (last_axis >= first) { /* lanes over the last axis, when memory runs along it and not along the reduction */
        te_ref a = v.var[last_axis];
        int64_t e = rule_const_extent(a);
        if (e >= lanes && e % lanes == 0 && unit_stride(s, v.value, a) && n_red == 1 && last_axis == v.n - 2) {
            const char *an = a->u.axis->name, *rn = v.var[v.n - 1]->u.axis->name;
            if (e > lanes) {
                LL_TRY(rule_do(s, err, "split %s %lld", an, (long long)lanes));
                an = ll_sprintf(te_arena(s->g), "%s.i", an);
            }
            if (rule_try(s, "reorder %s %s", rn, an)) {
                rule_try(s, "vectorize %s", an);
                rule_try(s, "vectorize %s.pre", an);
            }
            return LL_OK;
        }
    }
    int64_t e = rule_const_extent(inner);
    return e && unit_stride(s, v.value, inner) ? vector_reduction(s, t, inner->u.axis->name, e, lanes, inside && !of_stage(v.var[0], t->name) && is_param(s, t), err) : LL_OK;
}

/* ---- register tiles -------------------------------------------------------------------------------------------- */

typedef struct small_loops { const char *name[128]; int n; const char *const *keep; int n_keep; } small_loops;

typedef struct reduces_into { const char *const *name; int n; bool yes; } reduces_into;

static bool note_reduce(lp_stmt *st, void *p)
{
    reduces_into *r = p;
    for (int i = 0; st->kind == LP_REDUCE && i < r->n; i++)
        if (!strcmp(st->u.reduce.buf->t->name, r->name[i])) r->yes = true;
    return !r->yes;
}

static bool note_small(lp_stmt *st, void *p)
{
    small_loops *l = p;
    if (st->kind != LP_FOR || st->u.loop.how != LP_SERIAL || l->n == 128) return true;
    te_ref v = st->u.loop.var;
    int64_t e = rule_const_extent(v);
    reduces_into r = {l->keep, l->n_keep, false};
    lp_walk(st->u.loop.body, note_reduce, &r);
    if (!r.yes && e >= 1 && e <= 16) l->name[l->n++] = v->u.axis->name;
    return true;
}

void rule_unroll_inside(sch *s, const char *loop, const char *const *keep, int n_keep)
{
    lp_stmt *outer = sch_find_loop_quiet(s, loop);
    if (!outer) return;
    small_loops l = {.keep = keep, .n_keep = n_keep};
    lp_walk(outer->u.loop.body, note_small, &l);
    for (int i = 0; i < l.n; i++) rule_try(s, "unroll %s", l.name[i]);
}

/* ---- what cannot be registers -------------------------------------------------------------------------------------- */

typedef struct settle { te_ref moving[256]; int n; const lp_buf *bad[64]; int n_bad; sch *s; } settle;

static void check_index(settle *w, const lp_buf *b, const te_ref *idx)
{
    if (b->scope != LP_REG) return;
    for (int d = 0; d < b->t->ndim; d++)
        for (int i = 0; i < w->n; i++) {
            if (!te_uses(idx[d], w->moving[i])) continue;
            for (int k = 0; k < w->n_bad; k++)
                if (w->bad[k] == b) return;
            if (w->n_bad < 64) w->bad[w->n_bad++] = b;
            return;
        }
}

static bool check_load(te_ref e, void *p)
{
    settle *w = p;
    const lp_buf *b = e->op == TE_LOAD ? lp_buf_of(w->s->fn, e->u.t) : NULL;
    if (b) check_index(w, b, e->src);
    return true;
}

static te_ref check_expr(te_ref e, void *p)
{
    te_walk(e, check_load, p);
    return e;
}

static bool check_stmt(lp_stmt *st, void *p)
{
    settle *w = p;
    if (st->kind == LP_FOR && st->u.loop.how != LP_UNROLL && st->u.loop.how != LP_VECTOR && !te_is_int(st->u.loop.var->u.axis->extent, 1) && w->n < 256)
        w->moving[w->n++] = st->u.loop.var;
    if (st->kind == LP_STORE) check_index(w, st->u.store.buf, st->u.store.idx);
    if (st->kind == LP_REDUCE) check_index(w, st->u.reduce.buf, st->u.reduce.idx);
    lp_each_expr(st, check_expr, w);
    return true;
}

ll_code rule_settle_registers(sch *s, ll_error *err)
{
    settle *w = LL_NEW(te_arena(s->g), settle);
    w->s = s;
    lp_walk(s->fn->body, check_stmt, w);
    for (int i = 0; i < w->n_bad; i++) LL_TRY(rule_do(s, err, "scope %s thread", w->bad[i]->t->name));
    return LL_OK;
}
