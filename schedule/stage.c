/* stage.c: see stage.h. */
#include "schedule/stage.h"

#include <string.h>

bool stage_axis_is(te_ref axis, const char *name)
{
    const char *full = axis->u.axis->name, *dot = strrchr(full, '.');
    return !strcmp(full, name) || (dot && !strcmp(dot + 1, name));
}

/* ---- finding the nest --------------------------------------------------------------------------------- */

typedef struct writes { const lp_buf *buf; bool mine, other; } writes;

static bool note_write(lp_stmt *st, void *p)
{
    writes *w = p;
    const lp_buf *b = st->kind == LP_STORE ? st->u.store.buf : st->kind == LP_REDUCE ? st->u.reduce.buf : NULL;
    if (b) *(b == w->buf ? &w->mine : &w->other) = true;
    return true;
}

/* What the statement (not its successors) writes. */
static writes writes_of(lp_stmt *st, const lp_buf *buf)
{
    writes w = {.buf = buf};
    lp_stmt *rest = st->next;
    st->next = NULL;
    lp_walk(st, note_write, &w);
    st->next = rest;
    return w;
}

static lp_stmt *find_top(lp_stmt *list, const lp_buf *buf, bool *several)
{
    lp_stmt *found = NULL;
    for (lp_stmt *st = list; st; st = st->next) {
        writes w = writes_of(st, buf);
        if (!w.mine) continue;
        if (found) *several = true;
        found = st;
    }
    if (!found || (found->kind != LP_ALLOC && !writes_of(found, buf).other)) return found;
    switch (found->kind) { /* it holds other stages too: look inside */
    case LP_FOR: return find_top(found->u.loop.body, buf, several);
    case LP_ALLOC: return find_top(found->u.alloc.body, buf, several);
    case LP_LET: return find_top(found->u.let.body, buf, several);
    default: return NULL;
    }
}

static ll_code not_plain(ll_error *err, const te_tensor *stage, const char *why)
{
    return ll_fail(err, LL_NOT_LEGAL, "%s is not a plain nest any more (%s); do this before it is split, reordered or placed", stage->name, why);
}

static bool plain_loop(const lp_stmt *st)
{
    return st->kind == LP_FOR && st->u.loop.how == LP_SERIAL && !st->u.loop.intrin;
}

static bool index_is_axes(const stage_nest *n, const te_ref *idx, int ndim)
{
    if (ndim != n->n_axis) return false;
    for (int i = 0; i < ndim; i++)
        if (idx[i] != n->axis[i] && !(te_is_int(idx[i], 0) && te_is_int(n->axis[i]->u.axis->extent, 1))) return false;
    return true;
}

ll_code stage_plain_nest(sch *s, te_tensor *stage, stage_nest *out, ll_error *err)
{
    *out = (stage_nest){.stage = stage, .reduce_op = TE_N_OPS};
    out->buf = lp_buf_of(s->fn, stage);
    if (!out->buf) return ll_fail(err, LL_USAGE, "%s has no buffer in this function", stage->name);
    bool several = false;
    lp_stmt *st = out->top = find_top(s->fn->body, out->buf, &several);
    if (!st || several) return not_plain(err, stage, several ? "several statements write it" : "nothing writes it alone");
    while (plain_loop(st) && !st->u.loop.body->next && out->n_axis < TE_MAX_DIM) {
        out->axis[out->n_axis++] = st->u.loop.var;
        st = st->u.loop.body;
    }
    if (plain_loop(st) && st->u.loop.body->next && out->n_axis < TE_MAX_DIM) {
        out->axis[out->n_axis++] = st->u.loop.var;
        st = st->u.loop.body;
    }
    if (st->kind != LP_STORE || !index_is_axes(out, st->u.store.idx, stage->ndim)) return not_plain(err, stage, "its first statement is not a store over its axes");
    out->init = out->value = st->u.store.value;
    lp_stmt *up = st->next;
    if (up) {
        if (up->next) return not_plain(err, stage, "more than an initial value and an update");
        while (plain_loop(up) && !up->u.loop.body->next && out->n_red < TE_MAX_DIM) {
            out->red[out->n_red++] = up->u.loop.var;
            up = up->u.loop.body;
        }
        if (up->kind != LP_REDUCE || !index_is_axes(out, up->u.reduce.idx, stage->ndim)) return not_plain(err, stage, "its update is not a reduction over its axes");
        out->reduce_op = up->u.reduce.op;
        out->value = up->u.reduce.value;
    }
    te_tensor *d = LL_NEW(te_arena(s->g), te_tensor);
    *d = *stage;
    d->n_axis = (uint8_t)out->n_axis;
    memcpy(d->axis, out->axis, sizeof out->axis);
    out->as_def = d;
    return LL_OK;
}

/* ---- making nests -------------------------------------------------------------------------------------- */

lp_stmt *stage_add_nest(sch *s, te_tensor *def, ll_error *err)
{
    lp_buf_add(s->fn, def, LP_THREAD, NULL);
    return lp_nest(s->fn, def, err);
}

lp_stmt *stage_alloc_from(sch *s, int first_buf, lp_stmt *list)
{
    for (int i = s->fn->n_buf - 1; i >= first_buf; i--) list = lp_alloc(s->fn, s->fn->buf[i], list);
    return list;
}

typedef struct find_alloc { const lp_buf *buf; lp_stmt *found; } find_alloc;

static bool is_alloc(lp_stmt *st, void *p)
{
    find_alloc *f = p;
    if (st->kind == LP_ALLOC && st->u.alloc.buf == f->buf) f->found = st;
    return !f->found;
}

void stage_drop_buffer(sch *s, const lp_buf *b)
{
    find_alloc f = {b, NULL};
    lp_walk(s->fn->body, is_alloc, &f);
    lp_stmt **slot = f.found ? sch_slot_of(s, f.found) : NULL;
    if (slot) *slot = lp_seq(f.found->u.alloc.body, f.found->next);
    int n = 0;
    for (int i = 0; i < s->fn->n_buf; i++)
        if (s->fn->buf[i] != b) s->fn->buf[n++] = s->fn->buf[i];
    s->fn->n_buf = n;
}

static lp_stmt *wrap(lp_func *f, const te_ref *axis, int n, lp_stmt *body)
{
    for (int i = n - 1; i >= 0; i--) body = lp_for(f, axis[i], LP_SERIAL, body);
    return body;
}

ll_code stage_replace(sch *s, stage_nest *n, lp_stmt *before, int first_buf, te_ref value, const te_ref *red, int n_red, ll_error *err)
{
    lp_stmt **slot = sch_slot_of(s, n->top);
    if (!slot) return ll_fail(err, LL_FAILED, "%s: its nest is not in the tree", n->stage->name);
    lp_stmt *store, *update = NULL;
    if (n_red) {
        store = lp_store(s->fn, n->buf, n->axis, n->init);
        update = wrap(s->fn, red, n_red, lp_reduce(s->fn, n->reduce_op, n->buf, n->axis, value));
    } else {
        store = lp_store(s->fn, n->buf, n->axis, value);
    }
    lp_stmt *nest = wrap(s->fn, n->axis, n->n_axis, lp_seq(store, update));
    nest->next = n->top->next;
    n->top->next = NULL;
    *slot = stage_alloc_from(s, first_buf, lp_seq(before, nest));
    return LL_OK;
}

/* ---- equal sums ----------------------------------------------------------------------------------------- */

/* Does element [axis[0], ..., axis[n-2], axis[n-1]*parts + j] of d equal sum(r' < e: body with r = j*e + r')? */
static bool equals_slice(sch *s, const te_tensor *d, te_ref body, te_ref r, const te_ref *axis, int n, int64_t parts, int64_t e, int64_t j, te_ref *idx)
{
    te_graph *g = s->g;
    te_ref red = d->body->src[1], at = te_add(te_int(g, j * e), red);
    te_ref mine = te_simplify(g, te_subst(g, body, &r, &at, 1));
    for (int i = 0; i < n; i++) idx[i] = axis[i];
    if (n && parts > 1) idx[n - 1] = te_simplify(g, te_addi(te_muli(axis[n - 1], parts), j));
    te_ref theirs = te_simplify(g, te_subst(g, d->body->src[0], d->axis, idx, n));
    return mine == theirs;
}

te_ref stage_equal_sum(sch *s, te_ref body, te_ref r, const te_ref *axis, int n)
{
    if (r->u.axis->extent->op != TE_INT) return NULL;
    int64_t granule = r->u.axis->extent->u.i;
    for (int b = 0; b < s->fn->n_buf; b++) {
        te_tensor *d = s->fn->buf[b]->t;
        if (d->kind != TE_DEF && !(d->kind == TE_INPUT && d->body)) continue;
        if (!d->body || d->body->op != TE_SUM || d->body->n != 2 || d->init || d->n_axis != n || d->dtype != body->dtype) continue;
        bool whole = true; /* not a part that `at` left of it */
        for (int i = 0; i < n; i++) whole = whole && d->shape[i] == d->axis[i]->u.axis->extent;
        te_ref e = d->body->src[1]->u.axis->extent;
        if (!whole || e->op != TE_INT || granule % e->u.i || granule / e->u.i > 8) continue;
        int64_t parts = granule / e->u.i;
        if (parts > 1 && !n) continue;
        te_ref total = NULL, idx[TE_MAX_DIM];
        bool equal = true;
        for (int64_t j = 0; j < parts && equal; j++) {
            equal = equals_slice(s, d, body, r, axis, n, parts, e->u.i, j, idx);
            if (equal) total = total ? te_add(total, te_load(d, idx, n)) : te_load(d, idx, n);
        }
        if (equal) return total;
    }
    return NULL;
}
