/* tensor.c: inputs, definitions, updates, paged views, loads and reductions, each checked as it
 * is made.
 *
 * A definition's free axes are exactly its own; a reduction binds its axes; an extent may use
 * only axes further out. A paged view has no storage: a load from it becomes at once a load from
 * the pool,
 *     K[seq, j, h, d]  ->  pool[s64(table[seq, j / block]), j % block, h, d]. */
#include <stdio.h>
#include <string.h>

#include "te/internal.h"
#include "te/quant.h"

/* A misuse, with the caller's FILE:LINE in front where it is known. */
static te_ref fail_at(te_graph *g, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static te_ref fail_at(te_graph *g, const char *file, int line, const char *fmt, ...)
{
    char msg[LL_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return file ? te_fail(g, LL_USAGE, "%s:%d: %s", file, line, msg)
                : te_fail(g, LL_USAGE, "%s", msg);
}

/* ---- inputs ------------------------------------------------------------------------------- */

static bool depends_on_axis(te_ref a, void *ctx)
{
    return a->op != TE_AXIS && a->op != TE_LOAD && a->op != TE_VAR;
}

static te_tensor *with_shape(te_tensor *t, const te_ref *shape, int n)
{
    if (t == t->g->poison_tensor) return t;
    for (int i = 0; i < n; i++) {
        if (te_is_poison(shape[i])) return te_poison_tensor(t->g);
        if (shape[i]->dtype != LL_S64 || !te_walk(shape[i], depends_on_axis, NULL)) {
            te_fail(t->g, LL_USAGE, "tensor %s: size %d is no s64 expression of dims and literals",
                    t->name, i);
            return te_poison_tensor(t->g);
        }
        t->shape[i] = shape[i];
    }
    return t;
}

te_tensor *te_input_(te_graph *g, const char *name, ll_dtype t, const te_ref *shape, int n)
{
    return with_shape(te_tensor_new(g, TE_INPUT, name, t, n), shape, n);
}

te_tensor *te_input_index(te_graph *g, const char *name, ll_dtype t, te_ref lo, te_ref hi,
                          const te_ref *shape, int n)
{
    te_tensor *x = te_input_(g, name, t, shape, n);
    if (x == g->poison_tensor) return x;
    if (te_is_poison(lo) || te_is_poison(hi)) return te_poison_tensor(g);
    if (!ll_dtype_is_int(t) || lo->dtype != LL_S64 || hi->dtype != LL_S64) {
        te_fail(g, LL_USAGE, "input %s: bounds are for integer inputs, and are s64 expressions",
                name);
        return te_poison_tensor(g);
    }
    x->lo = lo;
    x->hi = hi;
    return x;
}

te_tensor *te_input_quant(te_graph *g, const char *name, const te_quant *q, te_ref rows,
                          te_ref cols)
{
    bool plain = q && q->block == 1;
    te_tensor *w = te_input(g, name, plain ? q->plane[0].dtype : LL_F32, rows, cols);
    if (w == g->poison_tensor || plain) return w;
    if (!q || (te_cong_of(cols).mod != 0 && te_cong_of(cols).mod % q->block != 0) ||
        te_cong_of(cols).rem % q->block != 0) {
        te_fail(g, LL_USAGE, "input %s: columns are no multiple of the block of %s", name,
                q ? q->name : "no type");
        return te_poison_tensor(g);
    }
    w->quant = q;
    w->n_plane = (uint8_t)q->n_plane;
    for (int i = 0; i < q->n_plane; i++) {
        const te_plane *p = &q->plane[i];
        char full[256];
        snprintf(full, sizeof full, "%s.%s", name, p->name);
        te_tensor *t = te_tensor_new(g, TE_PLANE, full, p->dtype, 2);
        if (t == g->poison_tensor) return t;
        t->base = w;
        t->plane_no = (uint8_t)i;
        t->weight = true;
        t->shape[0] = rows;
        t->shape[1] = te_simplify(g, te_muli(te_divi(cols, q->block), p->count));
        w->plane[i] = t;
    }
    return w;
}

te_tensor *te_paged(te_graph *g, const char *name, te_tensor *pool, te_tensor *table, int64_t block)
{
    if (pool == g->poison_tensor || table == g->poison_tensor) return te_poison_tensor(g);
    if (pool->ndim < 2 || !te_is_int(pool->shape[1], block) || table->ndim != 2 ||
        !ll_dtype_is_int((ll_dtype)table->dtype)) {
        te_fail(
            g, LL_USAGE,
            "paged %s: wanted a pool [pages, %lld, ...] and an integer table [sequences, pages]",
            name, (long long)block);
        return te_poison_tensor(g);
    }
    te_tensor *t = te_tensor_new(g, TE_PAGED, name, (ll_dtype)pool->dtype, pool->ndim);
    if (t == g->poison_tensor) return t;
    t->base = pool;
    t->table = table;
    t->block = block;
    t->shape[0] = table->shape[0];
    t->shape[1] = te_simplify(g, te_muli(table->shape[1], block));
    for (int i = 2; i < pool->ndim; i++) t->shape[i] = pool->shape[i];
    return t;
}

/* ---- loads -------------------------------------------------------------------------------- */

static te_ref load_in(const char *file, int line, te_tensor *t, const te_ref *idx, int n,
                      bool expand)
{
    te_graph *g = t->g;
    if (t == g->poison_tensor) return t->body;
    if (n != t->ndim)
        return fail_at(g, file, line, "%s has %d dimensions, %d indices given", t->name, t->ndim,
                       n);
    for (int i = 0; i < n; i++) {
        if (te_is_poison(idx[i])) return idx[i];
        if (idx[i]->dtype != LL_S64)
            return fail_at(g, file, line, "%s: index %d is %s, wanted s64", t->name, i,
                           ll_dtype_name((ll_dtype)idx[i]->dtype));
        if (te_is_reduce(idx[i]))
            return fail_at(g, file, line, "%s: index %d is a reduction", t->name, i);
        g = te_younger(g, idx[i]->g);
        if (!g)
            return fail_at(t->g, file, line, "%s: index %d is of an unrelated graph", t->name, i);
    }
    if (expand && t->quant) return te_quant_value(t, idx[0], idx[1]);
    if (expand && t->kind == TE_PAGED) {
        te_ref at[TE_MAX_DIM];
        te_ref page = te_load(t->table, (te_ref[]){idx[0], te_divi(idx[1], t->block)}, 2);
        at[0] = te_cast(LL_S64, page);
        at[1] = te_modi(idx[1], t->block);
        for (int i = 2; i < n; i++) at[i] = idx[i];
        return te_load(t->base, at, n);
    }
    if (t->quant || t->kind == TE_PAGED)
        return fail_at(g, file, line, "%s has no storage of its own", t->name);
    return te_intern(te_home(g), TE_LOAD, (ll_dtype)t->dtype, (int64_t)(intptr_t)t, idx, n);
}

te_ref te_at_(const char *file, int line, te_tensor *t, const te_ref *idx, int n)
{
    return load_in(file, line, t, idx, n, true);
}

te_ref te_load(te_tensor *t, const te_ref *idx, int n)
{
    return load_in(NULL, 0, t, idx, n, false);
}

/* ---- reductions and definitions ----------------------------------------------------------- */

te_ref te_reduce_(const char *file, int line, te_op op, te_ref body, const te_ref *axes, int n)
{
    if (te_is_poison(body)) return body;
    te_graph *g = body->g;
    te_ref src[TE_MAX_DIM + 1] = {body};
    if (n < 1 || n > TE_MAX_DIM) return fail_at(g, file, line, "a reduction over %d axes", n);
    if (te_is_reduce(body))
        return fail_at(g, file, line, "a reduction is the root of a definition, not an operand");
    if (body->dtype == LL_BOOL)
        return fail_at(g, file, line, "a reduction of bool: select numbers by it");
    for (int i = 0; i < n; i++) {
        if (te_is_poison(axes[i])) return axes[i];
        if (axes[i]->op != TE_AXIS)
            return fail_at(g, file, line, "reduction: operand %d is no axis", i);
        for (int j = 0; j < i; j++)
            if (axes[j] == axes[i])
                return fail_at(g, file, line, "reduction: axis %s twice", axes[i]->u.axis->name);
        te_graph *y = te_younger(g, axes[i]->g);
        if (!y)
            return fail_at(g, file, line, "reduction: axis %s is of an unrelated graph",
                           axes[i]->u.axis->name);
        g = y;
        src[i + 1] = axes[i];
    }
    return te_intern(te_home(g), op, op == TE_ARGMAX ? LL_S64 : (ll_dtype)body->dtype, 0, src,
                     n + 1);
}

typedef struct scope {
    const te_ref *own, *bound; /* axes of the definition; of its reduction */
    int n_own, n_bound;
    te_ref stray;
} scope;

static bool in_scope(te_ref a, void *ctx)
{
    scope *s = ctx;
    bool ok = a->op != TE_AXIS && a->op != TE_VAR;
    for (int i = 0; i < s->n_own && !ok; i++) ok = s->own[i] == a;
    for (int i = 0; i < s->n_bound && !ok; i++) ok = s->bound[i] == a;
    if (!ok) s->stray = a;
    return ok;
}

static const char *leaf_name(te_ref a) { return a->op == TE_AXIS ? a->u.axis->name : a->u.name; }

/* Axes are AXIS nodes, distinct, and each extent uses axes further out only. */
static bool axes_ok(te_graph *g, const char *file, int line, const char *name, const te_ref *own,
                    int n_own, const te_ref *bound, int n_bound)
{
    for (int i = 0; i < n_own + n_bound; i++) {
        te_ref a = i < n_own ? own[i] : bound[i - n_own];
        if (te_is_poison(a)) return false;
        if (a->op != TE_AXIS) {
            fail_at(g, file, line, "%s: dimension %d is no axis", name, i);
            return false;
        }
        scope s = {own, bound, i < n_own ? i : n_own, i < n_own ? 0 : i - n_own, NULL};
        te_ref dup = NULL;
        for (int j = 0; j < s.n_own; j++) dup = own[j] == a ? a : dup;
        for (int j = 0; j < s.n_bound; j++) dup = bound[j] == a ? a : dup;
        if (dup) {
            fail_at(g, file, line, "%s: axis %s twice", name, a->u.axis->name);
            return false;
        }
        if (!te_walk(a->u.axis->extent, in_scope, &s)) {
            fail_at(g, file, line,
                    "%s: the extent of axis %s uses %s, which is no axis further out", name,
                    a->u.axis->name, leaf_name(s.stray));
            return false;
        }
    }
    return true;
}

static bool body_ok(te_graph *g, const char *file, int line, const char *name, te_ref body,
                    const te_ref *own, int n_own)
{
    scope s = {own, NULL, n_own, 0, NULL};
    if (te_is_poison(body)) return false;
    if (te_is_reduce(body)) {
        s.bound = body->src + 1;
        s.n_bound = body->n - 1;
    }
    if (!axes_ok(g, file, line, name, own, n_own, s.bound, s.n_bound)) return false;
    if (te_walk(body, in_scope, &s)) return true;
    fail_at(g, file, line, "%s: %s is free in its body", name, leaf_name(s.stray));
    return false;
}

static te_tensor *def_in(const char *file, int line, te_graph *g, const char *name, te_ref body,
                         te_ref init, const te_ref *axes, int n)
{
    if (n > TE_MAX_DIM)
        fail_at(g, file, line, "%s: %d dimensions, at most %d", name, n, TE_MAX_DIM);
    if (n > TE_MAX_DIM || !body_ok(g, file, line, name, body, axes, n)) return te_poison_tensor(g);
    if (init && (!body_ok(g, file, line, name, init, axes, n))) return te_poison_tensor(g);
    if (init && (!te_is_reduce(body) || te_is_reduce(init) || init->dtype != body->dtype ||
                 body->op == TE_ARGMAX)) {
        fail_at(g, file, line, "%s: an initial value goes with a sum, max or min of its own type",
                name);
        return te_poison_tensor(g);
    }
    te_tensor *t = te_tensor_new(g, TE_DEF, name, (ll_dtype)body->dtype, n);
    if (t == g->poison_tensor) return t;
    te_ref shape[TE_MAX_DIM];
    for (int i = 0; i < n; i++) {
        const te_axis_info *x = axes[i]->u.axis;
        shape[i] = x->max ? x->max : x->extent;
        t->axis[i] = axes[i];
    }
    t->n_axis = (uint8_t)n;
    t->body = body;
    t->init = init;
    return with_shape(t, shape, n);
}

te_tensor *te_def_(const char *file, int line, te_graph *g, const char *name, te_ref body,
                   const te_ref *axes, int n)
{
    return def_in(file, line, g, name, body, NULL, axes, n);
}

te_tensor *te_def_init(te_graph *g, const char *name, te_ref reduction, te_ref init,
                       const te_ref *axes, int n)
{
    return def_in(NULL, 0, g, name, reduction, init, axes, n);
}

te_tensor *te_update(te_graph *g, const char *name, te_tensor *base, const te_ref *at, int n_at,
                     te_ref body, const te_ref *axes, int n_axes)
{
    if (base == base->g->poison_tensor) return te_poison_tensor(g);
    if (n_at != base->ndim || n_axes > TE_MAX_DIM || base->quant || base->kind == TE_PAGED) {
        te_fail(g, LL_USAGE,
                "update %s: %s has %d dimensions and storage %s, %d indices and %d axes given",
                name, base->name, base->ndim,
                base->quant || base->kind == TE_PAGED ? "elsewhere" : "of its own", n_at, n_axes);
        return te_poison_tensor(g);
    }
    if (te_is_poison(body) || !body_ok(g, NULL, 0, name, body, axes, n_axes))
        return te_poison_tensor(g);
    if (body->dtype != base->dtype || te_is_reduce(body)) {
        te_fail(g, LL_USAGE, "update %s: its value is %s%s, %s holds %s", name,
                te_is_reduce(body) ? "a reduction of " : "", ll_dtype_name((ll_dtype)body->dtype),
                base->name, ll_dtype_name((ll_dtype)base->dtype));
        return te_poison_tensor(g);
    }
    for (int i = 0; i < n_at; i++) {
        if (!body_ok(g, NULL, 0, name, at[i], axes, n_axes)) return te_poison_tensor(g);
        if (at[i]->dtype != LL_S64 || te_is_reduce(at[i])) {
            te_fail(g, LL_USAGE, "update %s: index %d is no s64 value", name, i);
            return te_poison_tensor(g);
        }
    }
    te_tensor *t = te_tensor_new(g, TE_UPDATE, name, (ll_dtype)base->dtype, base->ndim);
    if (t == g->poison_tensor) return t;
    memcpy(t->shape, base->shape, sizeof t->shape);
    memcpy(t->axis, axes, sizeof *axes * (size_t)n_axes);
    memcpy(t->at, at, sizeof *at * (size_t)n_at);
    t->n_axis = (uint8_t)n_axes;
    t->body = body;
    t->base = base;
    return t;
}
