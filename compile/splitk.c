/* splitk.c: see splitk.h. */
#include "compile/splitk.h"

#include <float.h>
#include <string.h>

#include "base/map.h"

typedef struct splitter {
    te_graph *g;
    int64_t parts, page;
    ll_map done;       /* tensor -> its new version */
    ll_map part;       /* rolled tensor -> its version per part: elementwise members are read by sums only */
    ll_map weight;     /* maximum -> m.w, and -> l.p through `first sum` */
} splitter;

static te_tensor *renew(splitter *s, te_tensor *t);

static const char *named(splitter *s, const te_tensor *t, const char *part)
{
    return ll_sprintf(te_arena(s->g), "%s.%s", t->name, part);
}

/* ---- recognising ------------------------------------------------------------------------------------------ */

static te_ref ragged_axis(const te_tensor *t)
{
    if (!t->body || !te_is_reduce(t->body) || t->body->n != 2 || !t->body->src[1]->u.axis->max) return NULL;
    return t->body->src[1];
}

static bool is_max(const te_tensor *t) { return t->kind == TE_DEF && t->body->op == TE_MAXR && ragged_axis(t); }

typedef struct load_search { te_tensor *found; bool (*is)(const te_tensor *); } load_search;

static bool find_load(te_ref e, void *p)
{
    load_search *l = p;
    if (e->op == TE_LOAD && l->is(e->u.t)) l->found = e->u.t;
    return !l->found;
}

/* The maximum that an elementwise exp(x - m) reads, or NULL. */
static te_tensor *max_of_exp(const te_tensor *t)
{
    if (t->kind != TE_DEF || !t->n_axis || !t->axis[t->n_axis - 1]->u.axis->max || te_is_reduce(t->body)) return NULL;
    load_search l = {NULL, is_max};
    te_walk(t->body, find_load, &l);
    return l.found;
}

static bool is_exp(const te_tensor *t) { return max_of_exp(t) != NULL; }

/* The exp that a sum over a ragged axis reads, or NULL. */
static te_tensor *exp_of_sum(const te_tensor *t)
{
    if (t->kind != TE_DEF || t->body->op != TE_SUM || !ragged_axis(t)) return NULL;
    load_search l = {NULL, is_exp};
    te_walk(t->body->src[0], find_load, &l);
    return l.found;
}

/* ---- rewriting --------------------------------------------------------------------------------------------- */

static te_ref renew_load(te_ref e, void *p)
{
    splitter *s = p;
    if (e->op != TE_LOAD) return e;
    te_tensor *t = renew(s, e->u.t);
    return t == e->u.t ? e : te_load(t, e->src, e->n);
}

typedef struct part_axes {
    int n;                            /* row axes                        */
    te_ref row[TE_MAX_DIM], p, lo, count, most;
} part_axes;

/* Fresh row axes and the part's range of keys; from[]/to[] map the old axes. */
static void part_of(splitter *s, const te_tensor *t, int n_rows, te_ref extent, te_ref most, part_axes *x, te_ref *from, te_ref *to)
{
    te_graph *g = s->g;
    x->n = n_rows;
    for (int i = 0; i < n_rows; i++) {
        x->row[i] = te_axis(g, t->axis[i]->u.axis->name, t->axis[i]->u.axis->extent);
        from[i] = t->axis[i];
        to[i] = x->row[i];
    }
    x->p = te_axis(g, "p", te_int(g, s->parts));
    te_ref len = te_subst(g, extent, from, to, n_rows);
    te_ref pages = te_divi(te_addi(len, s->page - 1), s->page); /* of the range; a part takes step of them */
    te_ref step = te_divi(te_addi(pages, s->parts - 1), s->parts);
    x->lo = te_muli(te_min(te_mul(x->p, step), pages), s->page);
    te_ref end = te_muli(te_min(te_mul(te_addi(x->p, 1), step), pages), s->page);
    x->count = te_max(te_sub(te_min(end, len), x->lo), te_int(g, 0));
    x->most = most;
}

static te_tensor *part_max(splitter *s, te_tensor *m)
{
    te_tensor *known = ll_map_get_ptr(&s->part, m);
    if (known) return known;
    te_ref from[TE_MAX_DIM + 1], to[TE_MAX_DIM + 1], j = ragged_axis(m);
    part_axes x;
    part_of(s, m, m->n_axis, j->u.axis->extent, j->u.axis->max, &x, from, to);
    te_ref jj = te_axis_upto(s->g, "j", x.count, x.most);
    from[x.n] = j;
    to[x.n] = te_add(x.lo, jj);
    te_ref body = te_subst(s->g, te_rewrite(s->g, m->body->src[0], renew_load, s), from, to, x.n + 1);
    te_ref axes[TE_MAX_DIM];
    memcpy(axes, x.row, sizeof axes);
    axes[x.n] = x.p;
    ll_dtype d = (ll_dtype)m->dtype; /* from the least finite number: a part of masked keys alone has sums of 0, not of NaN */
    te_ref least = te_fconst(s->g, d, d == LL_F64 ? -DBL_MAX : d == LL_F16 ? -65504 : -FLT_MAX);
    te_ref most = te_reduce_(__FILE__, __LINE__, TE_MAXR, body, &jj, 1);
    te_tensor *mp = te_def_init(s->g, named(s, m, "p"), most, least, axes, x.n + 1);
    ll_map_set_ptr(&s->part, m, mp);
    ll_map_set_ptr(&s->done, mp, mp);
    return mp;
}

typedef struct swap_load { splitter *s; te_tensor *from, *to; te_ref p, last; } swap_load;

/* from[rows..., j?] -> to[rows..., p, last?] */
static te_ref to_part(te_ref e, void *c)
{
    swap_load *w = c;
    if (e->op != TE_LOAD || e->u.t != w->from) return e;
    te_ref idx[TE_MAX_DIM];
    int n = e->n - (w->last ? 1 : 0);
    for (int i = 0; i < n; i++) idx[i] = e->src[i];
    idx[n++] = w->p;
    if (w->last) idx[n++] = w->last;
    return te_load(w->to, idx, n);
}

static te_tensor *part_exp(splitter *s, te_tensor *e)
{
    te_tensor *known = ll_map_get_ptr(&s->part, e);
    if (known) return known;
    te_tensor *m = max_of_exp(e), *mp = part_max(s, m);
    int rows = e->n_axis - 1;
    te_ref from[TE_MAX_DIM + 1], to[TE_MAX_DIM + 1], j = e->axis[rows];
    part_axes x;
    part_of(s, e, rows, j->u.axis->extent, j->u.axis->max, &x, from, to);
    te_ref jj = te_axis_upto(s->g, "j", x.count, x.most);
    from[rows] = j;
    to[rows] = te_add(x.lo, jj);
    swap_load w = {s, m, mp, x.p, NULL};
    te_ref body = te_rewrite(s->g, te_subst(s->g, e->body, from, to, rows + 1), to_part, &w);
    body = te_rewrite(s->g, body, renew_load, s);
    te_ref axes[TE_MAX_DIM];
    memcpy(axes, x.row, sizeof axes);
    axes[x.n] = x.p;
    axes[x.n + 1] = jj;
    te_tensor *ep = te_def_(__FILE__, __LINE__, s->g, named(s, e, "p"), body, axes, x.n + 2);
    ll_map_set_ptr(&s->part, e, ep);
    ll_map_set_ptr(&s->done, ep, ep);
    return ep;
}

static te_tensor *part_sum(splitter *s, te_tensor *t)
{
    te_tensor *known = ll_map_get_ptr(&s->part, t);
    if (known) return known;
    te_tensor *e = exp_of_sum(t), *ep = part_exp(s, e);
    int rows = max_of_exp(e)->n_axis;
    te_ref from[TE_MAX_DIM + 2], to[TE_MAX_DIM + 2], j = ragged_axis(t), axes[TE_MAX_DIM];
    part_axes x;
    part_of(s, t, rows, j->u.axis->extent, j->u.axis->max, &x, from, to);
    te_ref jj = te_axis_upto(s->g, "j", x.count, x.most);
    int n = rows, na = 0;
    for (int i = 0; i < rows; i++) axes[na++] = x.row[i];
    axes[na++] = x.p;
    for (int i = rows; i < t->n_axis; i++) {
        from[n] = t->axis[i];
        axes[na] = to[n++] = te_axis(s->g, t->axis[i]->u.axis->name, t->axis[i]->u.axis->extent);
        na++;
    }
    from[n] = j;
    to[n++] = te_add(x.lo, jj);
    swap_load w = {s, e, ep, x.p, jj};
    te_ref body = te_rewrite(s->g, te_subst(s->g, t->body->src[0], from, to, n), to_part, &w);
    body = te_rewrite(s->g, body, renew_load, s);
    te_tensor *tp = te_def_(__FILE__, __LINE__, s->g, named(s, t, "p"), te_reduce_(__FILE__, __LINE__, TE_SUM, body, &jj, 1), axes, na);
    ll_map_set_ptr(&s->part, t, tp);
    ll_map_set_ptr(&s->done, tp, tp);
    return tp;
}

/* ---- combining ------------------------------------------------------------------------------------------------ */

static void fresh_axes(splitter *s, const te_tensor *t, int n, te_ref *axis)
{
    for (int i = 0; i < n; i++) axis[i] = te_axis(s->g, t->axis[i]->u.axis->name, t->axis[i]->u.axis->extent);
}

/* The initial value of t (an attention sink), over new row axes; parts start from the identity, the combine from this. */
static te_ref renewed_init(splitter *s, const te_tensor *t, const te_ref *axis)
{
    return t->init ? te_subst(s->g, te_rewrite(s->g, t->init, renew_load, s), t->axis, axis, t->n_axis) : NULL;
}

static te_tensor *combined_max(splitter *s, te_tensor *m)
{
    te_tensor *mp = part_max(s, m);
    te_ref idx[TE_MAX_DIM];
    fresh_axes(s, m, m->n_axis, idx);
    te_ref p = idx[m->n_axis] = te_axis(s->g, "p", te_int(s->g, s->parts));
    te_ref all = te_reduce_(__FILE__, __LINE__, TE_MAXR, te_load(mp, idx, m->n_axis + 1), &p, 1);
    return te_def_init(s->g, named(s, m, "all"), all, renewed_init(s, m, idx), idx, m->n_axis);
}

/* m.w[rows, p]: what a part's sums are worth; `sum` is one of them over the rows alone (0: the part is empty). */
static te_tensor *part_weight(splitter *s, te_tensor *m, te_tensor *sum)
{
    te_tensor *known = ll_map_get_ptr(&s->weight, m);
    if (known) return known;
    te_tensor *mp = part_max(s, m), *all = renew(s, m), *lp = part_sum(s, sum);
    int n = m->n_axis;
    te_ref idx[TE_MAX_DIM], zero = te_fconst(s->g, m->dtype, 0);
    fresh_axes(s, m, n, idx);
    idx[n] = te_axis(s->g, "p", te_int(s->g, s->parts));
    te_ref grown = te_exp(te_sub(te_load(mp, idx, n + 1), te_load(all, idx, n)));
    te_ref empty = te_eq(te_load(lp, idx, n + 1), te_fconst(s->g, lp->dtype, 0));
    te_tensor *w = te_def_(__FILE__, __LINE__, s->g, named(s, m, "w"), te_select(empty, zero, grown), idx, n + 1);
    ll_map_set_ptr(&s->weight, m, w);
    return w;
}

/* Among the sums behind m, one over the rows alone (no further axis). */
static te_tensor *row_sum(splitter *s, const te_tensor *m)
{
    for (size_t i = 0; i < te_n_tensors(s->g); i++) {
        te_tensor *t = te_tensor_at(s->g, i), *e = exp_of_sum(t);
        if (e && max_of_exp(e) == m && t->n_axis == m->n_axis) return t;
    }
    return NULL;
}

static te_tensor *combined_sum(splitter *s, te_tensor *t)
{
    te_tensor *m = max_of_exp(exp_of_sum(t)), *l = row_sum(s, m);
    if (!l) return t;
    te_tensor *w = part_weight(s, m, l), *tp = part_sum(s, t);
    int rows = m->n_axis;
    te_ref axes[TE_MAX_DIM], widx[TE_MAX_DIM], pidx[TE_MAX_DIM];
    fresh_axes(s, t, t->n_axis, axes);
    te_ref p = te_axis(s->g, "p", te_int(s->g, s->parts));
    for (int i = 0; i < rows; i++) widx[i] = pidx[i] = axes[i];
    widx[rows] = pidx[rows] = p;
    for (int i = rows; i < t->n_axis; i++) pidx[i + 1] = axes[i];
    te_ref v = te_mul(te_cast(t->dtype, te_load(w, widx, rows + 1)), te_load(tp, pidx, t->n_axis + 1));
    te_ref all = te_reduce_(__FILE__, __LINE__, TE_SUM, v, &p, 1);
    return te_def_init(s->g, named(s, t, "all"), all, renewed_init(s, t, axes), axes, t->n_axis);
}

static te_tensor *renewed_def(splitter *s, te_tensor *t)
{
    te_ref body = te_rewrite(s->g, t->body, renew_load, s), at[TE_MAX_DIM];
    te_tensor *base = t->base ? renew(s, t->base) : NULL;
    bool same = body == t->body && base == t->base;
    for (int i = 0; t->kind == TE_UPDATE && i < t->ndim; i++) {
        at[i] = te_rewrite(s->g, t->at[i], renew_load, s);
        same &= at[i] == t->at[i];
    }
    if (same) return t;
    if (t->kind == TE_UPDATE) return te_update(s->g, t->name, base, at, t->ndim, body, t->axis, t->n_axis);
    return te_def_init(s->g, t->name, body, t->init, t->axis, t->n_axis);
}

static te_tensor *renew(splitter *s, te_tensor *t)
{
    if (t->kind != TE_DEF && t->kind != TE_UPDATE) return t;
    te_tensor *known = ll_map_get_ptr(&s->done, t);
    if (known) return known;
    te_tensor *out;
    if (is_max(t) && row_sum(s, t)) out = combined_max(s, t);
    else if (exp_of_sum(t)) out = combined_sum(s, t);
    else if (is_exp(t)) out = t; /* read by sums only: each part has its own */
    else out = renewed_def(s, t);
    ll_map_set_ptr(&s->done, t, out);
    return out;
}

ll_code cc_splitk(te_graph *g, te_tensor **tensor, int n, int64_t parts, int64_t page, ll_error *err)
{
    splitter s = {.g = g, .parts = parts, .page = page};
    for (int i = 0; i < n; i++) tensor[i] = renew(&s, tensor[i]);
    ll_map_finish(&s.done);
    ll_map_finish(&s.part);
    ll_map_finish(&s.weight);
    const ll_error *e = te_error(g);
    return e ? ll_fail(err, e->code, "splitting into parts: %s", e->msg) : LL_OK;
}
