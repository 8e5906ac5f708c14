/* lower.c: definitions -> plain loop nests, the form that every schedule starts from.
 *
 *     def f32 acc[m, n] = sum(k: X[m, k] * W[n, k])
 *
 *     for acc.m < M {
 *       for acc.n < N {
 *         acc[acc.m, acc.n] = 0:f32
 *         for acc.k < K {
 *           acc[acc.m, acc.n] += X[acc.m, acc.k] * W[acc.n, acc.k] } } }
 *
 * One nest a definition, in an order where every value is computed before it is read and every
 * reader of storage comes before the update that overwrites what it reads (when no such order
 * exists, lowering refuses). Loops are named "stage.axis". What becomes what:
 *   inputs            parameters; the planes of a quantised input are dense parameters of
 *                     their own until a schedule packs them into one buffer
 *   roots             written parameters
 *   other definitions thread scratch, allocated in front of their nest
 *   updates           stores into the storage of their base: a parameter that is read
 *                     and written. An update that reads its own storage may only read the element
 *                     it writes
 *   argmax            a running maximum beside the index, so that the nest is ordinary stores and
 *                     reductions:
 *                         alloc reg f32 y.top[1]
 *                         y.top[0] = -inf:f32
 *                         y[i] = 0
 *                         for y.k < K {
 *                           y[i] = select(y.top[0] < v, y.k, y[i])
 *                           y.top[0] max= v }
 *                     The strict comparison keeps the first maximum; an empty range leaves 0. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/loop.h"

enum { MAX_AXES = 3 * TE_MAX_DIM };

/* The tensor whose storage t lives in. */
static te_tensor *storage_of(te_tensor *t)
{
    while (t->kind == TE_UPDATE) t = t->base;
    return t;
}

/* ---- one nest -------------------------------------------------------------------------------- */

typedef struct nest {
    lp_func *f;
    te_tensor *def;
    lp_buf *buf;
    te_ref from[MAX_AXES], to[MAX_AXES]; /* the definition's axes -> loop variables */
    int n;
} nest;

static bool used_here(const nest *w, const char *name)
{
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->to[i]->u.axis->name, name) == 0) return true;
    return false;
}

static te_ref to_storage(te_ref a, void *ctx)
{
    if (a->op != TE_LOAD || a->u.t->kind != TE_UPDATE) return a;
    return te_load(storage_of(a->u.t), a->src, a->n);
}

/* An expression of the definition in terms of loop variables and storage. */
static te_ref in_loops(nest *w, te_ref e)
{
    e = te_subst(w->f->g, e, w->from, w->to, w->n);
    return te_rewrite(w->f->g, e, to_storage, w);
}

static ll_code add_axis(nest *w, te_ref axis, ll_error *err)
{
    if (w->n == MAX_AXES)
        return ll_fail(err, LL_UNSUPPORTED, "%s: more than %d axes", w->def->name, MAX_AXES);
    const te_axis_info *a = axis->u.axis;
    ll_arena *arena = te_arena(w->f->g);
    const char *stem = ll_sprintf(arena, "%s.%s", w->def->name, a->name);
    const char *name = lp_fresh_name(w->f, stem);
    for (int i = 2; used_here(w, name); i++)
        name = lp_fresh_name(w->f, ll_sprintf(arena, "%s.%d", stem, i));
    te_ref extent = in_loops(w, a->extent);
    w->from[w->n] = axis;
    w->to[w->n++] =
        a->max ? te_axis_upto(w->f->g, name, extent, a->max) : te_axis(w->f->g, name, extent);
    return LL_OK;
}

te_ref lp_identity(te_graph *g, te_op op, ll_dtype t)
{
    if (ll_dtype_is_float(t))
        return te_fconst(g, t, op == TE_SUM ? 0.0 : op == TE_MINR ? INFINITY : -INFINITY);
    int64_t lo, hi;
    ll_dtype_int_range(t, &lo, &hi);
    return te_iconst(g, t, op == TE_SUM ? 0 : op == TE_MINR ? hi : lo);
}

static lp_stmt *wrap_loops(nest *w, int first, lp_stmt *body)
{
    for (int i = w->n - 1; i >= first; i--) body = lp_for(w->f, w->to[i], LP_SERIAL, body);
    return body;
}

/* The position in the reduction's index space, last axis fastest. */
static te_ref flat_position(nest *w, int first)
{
    te_ref at = w->to[first];
    for (int i = first + 1; i < w->n; i++)
        at = te_add(te_mul(at, w->to[i]->u.axis->extent), w->to[i]);
    return at;
}

static lp_stmt *argmax_nest(nest *w, const te_ref *at, int first, te_ref value)
{
    lp_func *f = w->f;
    te_ref one = te_int(f->g, 1), zero = te_int(f->g, 0);
    const char *name = ll_sprintf(te_arena(f->g), "%s.top", w->def->name);
    lp_buf *top = lp_buf_new(f, name, value->dtype, LP_REG, &one, 1);
    te_ref best = te_load(w->buf->t, at, w->buf->t->ndim);
    te_ref better = te_lt(te_load(top->t, &zero, 1), value);
    lp_stmt *step = lp_store(f, w->buf, at, te_select(better, flat_position(w, first), best));
    step->next = lp_reduce(f, TE_MAXR, top, &zero, value);
    lp_stmt *init = lp_store(f, top, &zero, lp_identity(f->g, TE_MAXR, value->dtype));
    init->next = lp_store(f, w->buf, at, te_int(f->g, 0));
    init->next->next = wrap_loops(w, first, step);
    return lp_alloc(f, top, init);
}

static lp_stmt *reduction_nest(nest *w, const te_ref *at, te_ref body, int first)
{
    te_ref value = in_loops(w, body->src[0]);
    if (body->op == TE_ARGMAX) return argmax_nest(w, at, first, value);
    te_ref start =
        w->def->init ? in_loops(w, w->def->init) : lp_identity(w->f->g, body->op, w->def->dtype);
    lp_stmt *init = lp_store(w->f, w->buf, at, start);
    init->next = wrap_loops(w, first, lp_reduce(w->f, body->op, w->buf, at, value));
    return init;
}

lp_stmt *lp_nest(lp_func *f, te_tensor *def, ll_error *err)
{
    nest w = {.f = f, .def = def, .buf = lp_buf_of(f, def)};
    if ((def->kind != TE_DEF && def->kind != TE_UPDATE) || !w.buf) {
        ll_fail(err, LL_USAGE, "%s has no body or no buffer in %s", def->name, f->name);
        return NULL;
    }
    for (int i = 0; i < def->n_axis; i++)
        if (add_axis(&w, def->axis[i], err)) return NULL;
    int n_outer = w.n;
    bool reduce = te_is_reduce(def->body);
    for (int i = 1; reduce && i < def->body->n; i++)
        if (add_axis(&w, def->body->src[i], err)) return NULL;
    te_ref at[TE_MAX_DIM];
    for (int i = 0; i < def->ndim; i++)
        at[i] = def->kind == TE_DEF ? w.to[i] : in_loops(&w, def->at[i]);
    lp_stmt *inner = reduce ? reduction_nest(&w, at, def->body, n_outer)
                            : lp_store(f, w.buf, at, in_loops(&w, def->body));
    w.n = n_outer;
    return wrap_loops(&w, 0, inner);
}

/* ---- which definitions, in which order ------------------------------------------------------- */

typedef struct needs {
    ll_arena *arena;
    te_tensor **t;
    int n, cap;
    te_tensor *const *given; /* definitions that come from outside */
    int n_given;
} needs;

static bool is_given(const needs *w, const te_tensor *t)
{
    for (int i = 0; i < w->n_given; i++)
        if (w->given[i] == t) return true;
    return false;
}

static void need(needs *w, te_tensor *t);

static bool need_of(te_ref a, void *ctx)
{
    if (a->op == TE_LOAD) need(ctx, a->u.t);
    if (a->op == TE_AXIS) te_walk(a->u.axis->extent, need_of, ctx);
    return true;
}

static bool has(const needs *w, const te_tensor *t)
{
    for (int i = 0; i < w->n; i++)
        if (w->t[i] == t) return true;
    return false;
}

static void need(needs *w, te_tensor *t)
{
    if (has(w, t)) return;
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 32;
        te_tensor **more = LL_NEW_N(w->arena, te_tensor *, w->cap);
        if (w->n) memcpy(more, w->t, sizeof *more * (size_t)w->n);
        w->t = more;
    }
    w->t[w->n++] = t;
    if (t->kind == TE_UPDATE) need(w, t->base);
    if (is_given(w, t)) return;
    for (int i = 0; i < t->n_axis; i++) te_walk(t->axis[i]->u.axis->extent, need_of, w);
    if (t->body) te_walk(t->body, need_of, w);
    if (t->body && te_is_reduce(t->body))
        for (int i = 1; i < t->body->n; i++) te_walk(t->body->src[i]->u.axis->extent, need_of, w);
    if (t->init) te_walk(t->init, need_of, w);
    for (int i = 0; t->kind == TE_UPDATE && i < t->ndim; i++) te_walk(t->at[i], need_of, w);
}

static int by_id(const void *a, const void *b)
{
    const te_tensor *x = *(te_tensor *const *)a, *y = *(te_tensor *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

static bool computed(const needs *w, const te_tensor *t)
{
    return (t->kind == TE_DEF || t->kind == TE_UPDATE) && !is_given(w, t);
}

/* Is t among the direct sources of `user`? */
static bool reads(const needs *w, te_tensor *user, const te_tensor *t)
{
    bool hit = user->kind == TE_UPDATE && user->base == t;
    if (is_given(w, user)) return hit;
    if (user->body) hit = hit || te_loads(user->body, t);
    if (user->init) hit = hit || te_loads(user->init, t);
    for (int i = 0; i < user->n_axis; i++) hit = hit || te_loads(user->axis[i]->u.axis->extent, t);
    if (user->body && te_is_reduce(user->body))
        for (int i = 1; i < user->body->n; i++)
            hit = hit || te_loads(user->body->src[i]->u.axis->extent, t);
    for (int i = 0; user->kind == TE_UPDATE && i < user->ndim; i++)
        hit = hit || te_loads(user->at[i], t);
    return hit;
}

/* Must `a` run before `b`? Because b reads it, or because b overwrites what a reads. */
static bool before(const needs *w, te_tensor *a, te_tensor *b)
{
    if (reads(w, b, a)) return true;
    return b->kind == TE_UPDATE && a != b && !is_given(w, b) && reads(w, a, b->base);
}

static ll_code order(needs *w, ll_error *err)
{
    qsort(w->t, (size_t)w->n, sizeof *w->t, by_id);
    for (int done = 0; done < w->n; done++) {
        int pick = -1;
        for (int i = done; i < w->n && pick < 0; i++) {
            bool free_to_run = true;
            for (int j = done; j < w->n && free_to_run; j++)
                if (j != i && before(w, w->t[j], w->t[i])) free_to_run = false;
            if (free_to_run) pick = i;
        }
        if (pick < 0)
            return ll_fail(
                err, LL_NOT_LEGAL,
                "%s: an earlier version of its storage is read by a definition that also needs it",
                w->t[done]->name);
        te_tensor *t = w->t[pick];
        memmove(&w->t[done + 1], &w->t[done], sizeof *w->t * (size_t)(pick - done));
        w->t[done] = t;
    }
    return LL_OK;
}

/* ---- updates that read what they write ------------------------------------------------------- */

typedef struct own_reads { te_tensor *u; bool ok; } own_reads;

static bool own_read(te_ref a, void *ctx)
{
    own_reads *w = ctx;
    if (a->op != TE_LOAD || storage_of(a->u.t) != storage_of(w->u)) return true;
    for (int i = 0; i < a->n; i++)
        if (!te_prove_eq(a->src[i], w->u->at[i])) w->ok = false;
    return w->ok;
}

static ll_code check_update(te_tensor *u, ll_error *err)
{
    own_reads w = {u, true};
    te_walk(u->body, own_read, &w);
    if (!w.ok || (te_is_reduce(u->body) && te_loads(u->body, u->base)))
        return ll_fail(err, LL_NOT_LEGAL, "%s reads elements of %s that it does not write itself",
                       u->name, u->base->name);
    return LL_OK;
}

/* ---- the function ---------------------------------------------------------------------------- */

typedef struct lowering {
    lp_func *f;
    needs all;
    te_tensor *const *root;
    int n_root;
} lowering;

static bool is_root(const lowering *w, const te_tensor *t)
{
    for (int i = 0; i < w->n_root; i++)
        if (storage_of(w->root[i]) == t) return true;
    return false;
}

static bool is_updated(const lowering *w, const te_tensor *t)
{
    for (int i = 0; i < w->all.n; i++)
        if (w->all.t[i]->kind == TE_UPDATE && computed(&w->all, w->all.t[i]) &&
            storage_of(w->all.t[i]) == t)
            return true;
    return false;
}

static void add_param(lowering *w, te_tensor *t)
{
    t = storage_of(t);
    if (t->kind == TE_PAGED) {
        add_param(w, t->base);
        add_param(w, t->table);
    } else if (t->kind == TE_INPUT && t->quant) {
        for (int i = 0; i < t->n_plane; i++) add_param(w, t->plane[i]);
    } else if (!lp_buf_of(w->f, t)) {
        lp_param_add(w->f, t, (t->kind == TE_DEF && !is_given(&w->all, t)) || is_updated(w, t));
    }
}

static ll_code add_params(lowering *w, te_tensor *const *params, int n, ll_error *err)
{
    for (int i = 0; i < n; i++) add_param(w, params[i]);
    for (int i = 0; i < w->all.n; i++)
        if (!computed(&w->all, w->all.t[i])) add_param(w, w->all.t[i]);
    for (int i = 0; i < w->n_root; i++) add_param(w, w->root[i]);
    return LL_OK;
}

static ll_code check_roots(const lowering *w, ll_error *err)
{
    for (int i = 0; i < w->n_root; i++) {
        if (!computed(&w->all, w->root[i]))
            return ll_fail(err, LL_USAGE, "%s is an input, not a definition", w->root[i]->name);
        if (w->root[i]->kind == TE_DEF && is_updated(w, w->root[i]))
            return ll_fail(err, LL_NOT_LEGAL, "%s is wanted as it was before its update",
                           w->root[i]->name);
    }
    return LL_OK;
}

/* Nests in order; each scratch buffer is allocated in front of the nest that fills it. */
static ll_code add_nests(lowering *w, ll_error *err)
{
    lp_stmt **at = &w->f->body;
    for (int i = 0; i < w->all.n; i++) {
        te_tensor *t = w->all.t[i];
        if (!computed(&w->all, t)) continue;
        if (t->kind == TE_UPDATE) LL_TRY(check_update(t, err));
        lp_buf *b = lp_buf_of(w->f, t);
        if (!b) b = lp_buf_add(w->f, t, LP_THREAD, NULL);
        lp_stmt *s = lp_nest(w->f, t, err);
        if (!s) return err ? err->code : LL_FAILED;
        if (b->param < 0 && t->kind == TE_DEF) {
            *at = lp_alloc(w->f, b, s);
            at = &s->next;
        } else {
            *at = s;
            at = &s->next;
        }
    }
    return LL_OK;
}

static ll_code lower(lowering *w, te_tensor *const *params, int n_params, ll_error *err)
{
    te_tensor **given = LL_NEW_N(w->all.arena, te_tensor *, n_params + 1);
    for (int i = 0; i < n_params; i++) /* a root may be listed to fix the order of parameters */
        if (!is_root(w, params[i])) given[w->all.n_given++] = params[i];
    w->all.given = given;
    for (int i = 0; i < w->n_root; i++) need(&w->all, w->root[i]);
    LL_TRY(order(&w->all, err));
    LL_TRY(check_roots(w, err));
    LL_TRY(add_params(w, params, n_params, err));
    LL_TRY(add_nests(w, err));
    const ll_error *e = te_error(w->f->g);
    if (e) return ll_fail(err, e->code, "%s", e->msg);
    lp_collect_dims(w->f);
    return LL_OK;
}

lp_func *lp_lower(te_graph *g, const char *name, te_tensor *const *roots, int n_roots,
                  te_tensor *const *params, int n_params, ll_error *err)
{
    ll_error own = {0};
    lowering w = {
        .f = lp_func_create(g, name), .all.arena = te_arena(g), .root = roots, .n_root = n_roots};
    ll_code code = lower(&w, params, n_params, err ? err : &own);
    return code ? NULL : w.f;
}
