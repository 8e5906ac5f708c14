/* loop.c: building and editing the loop IR: statements, buffers, cloning, substitution, walking,
 * and the simplification that every schedule step ends with. Nothing here judges legality
 * (verify.c) and nothing fails: memory comes from the function's graph, wrong use of expressions
 * sticks in the graph (te_error). */
#include "schedule/loop.h"

#include <stdio.h>
#include <string.h>

/* ---- functions and buffers ------------------------------------------------------------------- */

lp_func *lp_func_create(te_graph *g, const char *name)
{
    lp_func *f = LL_NEW(te_arena(g), lp_func);
    f->g = g;
    f->name = ll_strdup(te_arena(g), name);
    return f;
}

static void push_buf(lp_func *f, lp_buf *b)
{
    if (f->n_buf == f->cap_buf) {
        int cap = f->cap_buf ? f->cap_buf * 2 : 16;
        lp_buf **more = LL_NEW_N(te_arena(f->g), lp_buf *, cap);
        if (f->n_buf) memcpy(more, f->buf, sizeof *more * (size_t)f->n_buf);
        f->buf = more;
        f->cap_buf = cap;
    }
    f->buf[f->n_buf++] = b;
}

lp_buf *lp_buf_add(lp_func *f, te_tensor *t, lp_scope scope, const lp_layout *layout)
{
    lp_buf *b = LL_NEW(te_arena(f->g), lp_buf);
    b->t = t;
    b->scope = scope;
    b->layout = layout;
    b->param = -1;
    push_buf(f, b);
    return b;
}

lp_buf *lp_buf_new(lp_func *f, const char *name, ll_dtype t, lp_scope scope, const te_ref *shape,
                   int ndim)
{
    return lp_buf_add(f, te_input_(f->g, lp_fresh_name(f, name), t, shape, ndim), scope, NULL);
}

lp_buf *lp_buf_of(const lp_func *f, const te_tensor *t)
{
    for (; t;
         t = t->kind == TE_UPDATE ? t->base : NULL) /* versions share the storage of their base */
        for (int i = 0; i < f->n_buf; i++)
            if (f->buf[i]->t == t) return f->buf[i];
    return NULL;
}

bool lp_bufs_apart(const lp_func *f, const lp_buf *a, const lp_buf *b)
{
    const lp_buf *both[2] = {a, b};
    lp_view v[2];
    te_graph *before = te_graph_use(NULL), *g = te_graph_child(f->g);
    for (int i = 0; i < 2; i++) {
        const te_tensor *t = both[i]->t;
        int bits = ll_dtype_bits((ll_dtype)t->dtype);
        const lp_layout *l = both[i]->layout;
        if (!l) l = lp_layout_dense(g, t->shape, t->ndim, bits);
        v[i] = (lp_view){l, t->shape, t->ndim, bits};
    }
    bool apart = lp_layout_apart(g, &v[0], &v[1]);
    te_graph_destroy(g);
    te_graph_use(before);
    return apart;
}

lp_buf *lp_param_add(lp_func *f, te_tensor *t, bool written)
{
    lp_buf *b = LL_NEW(te_arena(f->g), lp_buf);
    b->t = t;
    b->scope = LP_GLOBAL;
    b->param = f->n_param;
    b->written = written;
    b->given = !written || t->kind == TE_INPUT || t->kind == TE_PLANE;
    lp_buf **more = LL_NEW_N(te_arena(f->g), lp_buf *, f->n_param + 1);
    if (f->n_param) memcpy(more, f->param, sizeof *more * (size_t)f->n_param);
    more[f->n_param] = b;
    f->param = more;
    push_buf(f, b);
    /* parameters stand first in buf[] */
    for (int i = f->n_buf - 1; i > f->n_param; i--) f->buf[i] = f->buf[i - 1];
    f->buf[f->n_param++] = b;
    return b;
}

/* ---- statements ------------------------------------------------------------------------------ */

static lp_stmt *new_stmt(lp_func *f, lp_kind kind)
{
    lp_stmt *s = LL_NEW(te_arena(f->g), lp_stmt);
    s->kind = kind;
    return s;
}

lp_stmt *lp_for(lp_func *f, te_ref var, lp_how how, lp_stmt *body)
{
    lp_stmt *s = new_stmt(f, LP_FOR);
    s->u.loop.var = var;
    s->u.loop.how = how;
    s->u.loop.body = body;
    return s;
}

lp_stmt *lp_alloc(lp_func *f, lp_buf *b, lp_stmt *body)
{
    lp_stmt *s = new_stmt(f, LP_ALLOC);
    s->u.alloc.buf = b;
    s->u.alloc.body = body;
    return s;
}

lp_stmt *lp_store(lp_func *f, lp_buf *b, const te_ref *idx, te_ref value)
{
    lp_stmt *s = new_stmt(f, LP_STORE);
    s->u.store.buf = b;
    for (int i = 0; i < b->t->ndim; i++) s->u.store.idx[i] = idx[i];
    s->u.store.value = value;
    return s;
}

lp_stmt *lp_reduce(lp_func *f, te_op op, lp_buf *b, const te_ref *idx, te_ref value)
{
    lp_stmt *s = new_stmt(f, LP_REDUCE);
    s->u.reduce.buf = b;
    for (int i = 0; i < b->t->ndim; i++) s->u.reduce.idx[i] = idx[i];
    s->u.reduce.value = value;
    s->u.reduce.op = op;
    return s;
}

lp_stmt *lp_if(lp_func *f, te_ref cond, lp_stmt *then, lp_stmt *otherwise)
{
    lp_stmt *s = new_stmt(f, LP_IF);
    s->u.guard.cond = cond;
    s->u.guard.then = then;
    s->u.guard.otherwise = otherwise;
    return s;
}

lp_stmt *lp_let(lp_func *f, te_ref var, te_ref value, lp_stmt *body)
{
    lp_stmt *s = new_stmt(f, LP_LET);
    s->u.let.var = var;
    s->u.let.value = value;
    s->u.let.body = body;
    return s;
}

lp_stmt *lp_seq(lp_stmt *a, lp_stmt *b)
{
    if (!a) return b;
    lp_stmt *end = a;
    while (end->next) end = end->next;
    end->next = b;
    return a;
}

/* The statement lists directly below s: how many, and where they are held. */
static int below(lp_stmt *s, lp_stmt **list[4])
{
    switch (s->kind) {
    case LP_FOR: list[0] = &s->u.loop.body; return 1;
    case LP_ALLOC: list[0] = &s->u.alloc.body; return 1;
    case LP_LET: list[0] = &s->u.let.body; return 1;
    case LP_IF: list[0] = &s->u.guard.then; list[1] = &s->u.guard.otherwise; return 2;
    case LP_ROLES:
        for (int i = 0; i < s->u.roles.n; i++) list[i] = &s->u.roles.body[i];
        return s->u.roles.n;
    default: return 0;
    }
}

lp_stmt *lp_clone(lp_func *f, const lp_stmt *s)
{
    lp_stmt *head = NULL, **at = &head;
    for (; s; s = s->next) {
        lp_stmt *c = LL_NEW(te_arena(f->g), lp_stmt);
        *c = *s;
        c->next = NULL;
        lp_stmt **list[4];
        int n = below(c, list);
        for (int i = 0; i < n; i++) *list[i] = lp_clone(f, *list[i]);
        *at = c;
        at = &c->next;
    }
    return head;
}

/* ---- walking --------------------------------------------------------------------------------- */

void lp_walk(lp_stmt *s, bool (*fn)(lp_stmt *s, void *ctx), void *ctx)
{
    while (s) {
        lp_stmt *next = s->next; /* fn may unlink s */
        if (fn(s, ctx)) {
            lp_stmt **list[4];
            int n = below(s, list);
            for (int i = 0; i < n; i++) lp_walk(*list[i], fn, ctx);
        }
        s = next;
    }
}

static te_ref renewed_axis(te_ref var, te_ref extent, te_ref max)
{
    const char *name = var->u.axis->name;
    return max ? te_axis_upto(extent->g, name, extent, max) : te_axis(extent->g, name, extent);
}

typedef struct swap { te_ref from, to; } swap;

static te_ref swap_expr(te_ref e, void *ctx)
{
    swap *w = ctx;
    return te_subst(w->to->g, e, &w->from, &w->to, 1);
}

static bool swap_stmt(lp_stmt *s, void *ctx)
{
    lp_each_expr(s, swap_expr, ctx);
    return true;
}

static void each_idx(te_ref *idx, const lp_buf *b, te_ref (*fn)(te_ref, void *), void *ctx)
{
    for (int i = 0; i < b->t->ndim; i++) idx[i] = fn(idx[i], ctx);
}

static void each_of_loop(lp_stmt *s, te_ref (*fn)(te_ref, void *), void *ctx)
{
    te_ref var = s->u.loop.var;
    te_ref extent = fn(var->u.axis->extent, ctx);
    te_ref max = var->u.axis->max ? fn(var->u.axis->max, ctx) : NULL;
    if (extent == var->u.axis->extent && max == var->u.axis->max) return;
    if (extent == max || te_is_const(extent)) max = NULL;
    swap w = {var, renewed_axis(var, extent, max)};
    s->u.loop.var = w.to;
    lp_walk(s->u.loop.body, swap_stmt, &w);
}

void lp_each_expr(lp_stmt *s, te_ref (*fn)(te_ref e, void *ctx), void *ctx)
{
    switch (s->kind) {
    case LP_FOR: each_of_loop(s, fn, ctx); break;
    case LP_STORE:
        each_idx(s->u.store.idx, s->u.store.buf, fn, ctx);
        s->u.store.value = fn(s->u.store.value, ctx);
        break;
    case LP_REDUCE:
        each_idx(s->u.reduce.idx, s->u.reduce.buf, fn, ctx);
        s->u.reduce.value = fn(s->u.reduce.value, ctx);
        break;
    case LP_IF: s->u.guard.cond = fn(s->u.guard.cond, ctx); break;
    case LP_LET: s->u.let.value = fn(s->u.let.value, ctx); break;
    case LP_COPY:
        each_idx(s->u.copy.dst_at, s->u.copy.dst, fn, ctx);
        each_idx(s->u.copy.src_at, s->u.copy.src, fn, ctx);
        if (s->u.copy.mbar) s->u.copy.mbar_at = fn(s->u.copy.mbar_at, ctx);
        if (s->u.copy.valid) s->u.copy.valid = fn(s->u.copy.valid, ctx);
        break;
    case LP_MBAR:
        s->u.mbar.at = fn(s->u.mbar.at, ctx);
        if (s->u.mbar.arg) s->u.mbar.arg = fn(s->u.mbar.arg, ctx);
        break;
    case LP_PREFETCH: each_idx(s->u.prefetch.idx, s->u.prefetch.buf, fn, ctx); break;
    case LP_SHUFFLE:
        each_idx(s->u.shuffle.dst_at, s->u.shuffle.dst, fn, ctx);
        each_idx(s->u.shuffle.src_at, s->u.shuffle.src, fn, ctx);
        if (s->u.shuffle.lane) s->u.shuffle.lane = fn(s->u.shuffle.lane, ctx);
        break;
    case LP_MMA:
        for (int i = 0; i < 3; i++) s->u.mma.at[i] = fn(s->u.mma.at[i], ctx);
        break;
    case LP_LDMATRIX:
        s->u.ldmatrix.dst_at = fn(s->u.ldmatrix.dst_at, ctx);
        each_idx(s->u.ldmatrix.src_at, s->u.ldmatrix.src, fn, ctx);
        break;
    case LP_ALLOC: case LP_SYNC: case LP_COMMIT: case LP_WAIT: case LP_ROLES: break;
    }
}

typedef struct subst { te_graph *g; const te_ref *from, *to; int n; } subst;

static te_ref subst_expr(te_ref e, void *ctx)
{
    const subst *w = ctx;
    return te_subst(w->g, e, w->from, w->to, w->n);
}

static bool subst_stmt(lp_stmt *s, void *ctx)
{
    lp_each_expr(s, subst_expr, ctx);
    return true;
}

void lp_subst(lp_func *f, lp_stmt *s, const te_ref *from, const te_ref *to, int n)
{
    subst w = {f->g, from, to, n};
    lp_walk(s, subst_stmt, &w);
}

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct lookup { const char *name; bool found; } lookup;

static bool has_name(lp_stmt *s, void *ctx)
{
    lookup *k = ctx;
    const char *n = s->kind == LP_FOR ? s->u.loop.var->u.axis->name
                    : s->kind == LP_LET ? s->u.let.var->u.name : NULL;
    if (n && strcmp(n, k->name) == 0) k->found = true;
    return !k->found;
}

static bool name_taken(const lp_func *f, const char *name)
{
    for (int i = 0; i < f->n_buf; i++)
        if (strcmp(f->buf[i]->t->name, name) == 0) return true;
    lookup k = {name, false};
    lp_walk(f->body, has_name, &k);
    return k.found || te_find(f->g, name) != NULL;
}

/* The length of `name` without a number that an earlier call gave it: "acc.k.2" -> 5. */
static int stem_of(const char *name)
{
    size_t n = strlen(name), digits = n;
    while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9') digits--;
    return digits < n && digits > 1 && name[digits - 1] == '.' ? (int)digits - 1 : (int)n;
}

const char *lp_fresh_name(lp_func *f, const char *want)
{
    if (!name_taken(f, want)) return want;
    int stem = stem_of(want);
    for (int i = 2;; i++) {
        const char *name = ll_sprintf(te_arena(f->g), "%.*s.%d", stem, want, i);
        if (!name_taken(f, name)) return name;
    }
}

/* ---- fresh copies ---------------------------------------------------------------------------- */

typedef struct renames { lp_func *f; lp_stmt *all; lp_buf *from, *to; } renames;

static te_ref load_of(te_ref e, void *ctx)
{
    renames *w = ctx;
    return e->op == TE_LOAD && e->u.t == w->from->t ? te_load(w->to->t, e->src, e->n) : e;
}

static te_ref reload_expr(te_ref e, void *ctx)
{
    renames *w = ctx;
    return te_rewrite(w->f->g, e, load_of, w);
}

static void rename_buf(lp_buf **slot, const renames *w)
{
    if (*slot == w->from) *slot = w->to;
}

static bool rebuf_stmt(lp_stmt *s, void *ctx)
{
    renames *w = ctx;
    lp_each_expr(s, reload_expr, w);
    switch (s->kind) {
    case LP_ALLOC: rename_buf(&s->u.alloc.buf, w); break;
    case LP_STORE: rename_buf(&s->u.store.buf, w); break;
    case LP_REDUCE: rename_buf(&s->u.reduce.buf, w); break;
    case LP_MBAR: rename_buf(&s->u.mbar.buf, w); break;
    case LP_PREFETCH: rename_buf(&s->u.prefetch.buf, w); break;
    case LP_MMA:
        for (int i = 0; i < 3; i++) rename_buf(&s->u.mma.buf[i], w);
        break;
    case LP_LDMATRIX:
        rename_buf(&s->u.ldmatrix.dst, w);
        rename_buf(&s->u.ldmatrix.src, w);
        break;
    case LP_SHUFFLE:
        rename_buf(&s->u.shuffle.dst, w);
        rename_buf(&s->u.shuffle.src, w);
        break;
    case LP_COPY:
        rename_buf(&s->u.copy.dst, w);
        rename_buf(&s->u.copy.src, w);
        if (s->u.copy.mbar) rename_buf(&s->u.copy.mbar, w);
        break;
    default: break;
    }
    return true;
}

void lp_rebuf(lp_func *f, lp_stmt *s, lp_buf *from, lp_buf *to)
{
    renames w = {f, s, from, to};
    lp_walk(s, rebuf_stmt, &w);
}

static bool freshen(lp_stmt *s, void *ctx)
{
    lp_func *f = ((renames *)ctx)->f;
    if (s->kind == LP_FOR) {
        te_ref v = s->u.loop.var;
        const char *name = lp_fresh_name(f, v->u.axis->name);
        te_ref to = v->u.axis->max ? te_axis_upto(f->g, name, v->u.axis->extent, v->u.axis->max)
                                   : te_axis(f->g, name, v->u.axis->extent);
        s->u.loop.var = to;
        lp_subst(f, s->u.loop.body, &v, &to, 1);
    } else if (s->kind == LP_LET) {
        te_ref v = s->u.let.var;
        te_ref to = te_var(f->g, lp_fresh_name(f, v->u.name), v->dtype);
        s->u.let.var = to;
        lp_subst(f, s->u.let.body, &v, &to, 1);
    } else if (s->kind == LP_ALLOC) {
        lp_buf *old = s->u.alloc.buf;
        lp_buf *b =
            lp_buf_new(f, old->t->name, old->t->dtype, old->scope, old->t->shape, old->t->ndim);
        b->layout = old->layout;
        b->align = old->align;
        s->u.alloc.buf = b;
        lp_rebuf(f, s->u.alloc.body, old, b);
    }
    return true;
}

lp_stmt *lp_clone_fresh(lp_func *f, const lp_stmt *s)
{
    lp_stmt *c = lp_clone(f, s);
    renames w = {.f = f};
    /* Names given so far must be seen by lp_fresh_name: hang the copy behind the body while
     * renaming. */
    lp_stmt *hook = f->body, *end = hook;
    while (end && end->next) end = end->next;
    if (end) end->next = c;
    else f->body = c;
    lp_walk(c, freshen, &w);
    if (end) end->next = NULL;
    else f->body = hook;
    return c;
}

/* ---- dims ------------------------------------------------------------------------------------ */

static bool note_dim(te_ref a, void *ctx)
{
    lp_func *f = ctx;
    if (a->op != TE_DIM) return true;
    for (int i = 0; i < f->n_dim; i++)
        if (f->dim[i] == a) return true;
    te_ref *more = LL_NEW_N(te_arena(f->g), te_ref, f->n_dim + 1);
    if (f->n_dim) memcpy(more, f->dim, sizeof *more * (size_t)f->n_dim);
    more[f->n_dim++] = a;
    f->dim = more;
    return true;
}

static te_ref note_dims_of(te_ref e, void *ctx)
{
    te_walk(e, note_dim, ctx);
    return e;
}

static void note_buf(lp_func *f, const lp_buf *b)
{
    for (int i = 0; i < b->t->ndim; i++) note_dims_of(b->t->shape[i], f);
    if (b->t->lo) note_dims_of(b->t->lo, f);
    if (b->t->hi) note_dims_of(b->t->hi, f);
    if (b->layout)
        for (int i = 0; i < b->layout->n_digit; i++) note_dims_of(b->layout->digit[i].stride, f);
}

static bool note_stmt(lp_stmt *s, void *ctx)
{
    if (s->kind == LP_ALLOC) note_buf(ctx, s->u.alloc.buf);
    lp_each_expr(s, note_dims_of, ctx);
    return true;
}

void lp_collect_dims(lp_func *f)
{
    f->n_dim = 0;
    for (int i = 0; i < f->n_param; i++) note_buf(f, f->param[i]);
    lp_walk(f->body, note_stmt, f);
    f->dim_slot = LL_NEW_N(te_arena(f->g), int, f->n_dim + 1);
    for (int i = 0; i < f->n_dim; i++) f->dim_slot[i] = i;
}

/* ---- simplification -------------------------------------------------------------------------- */

static te_ref simplify_expr(te_ref e, void *ctx) { return te_simplify(ctx, e); }

static lp_stmt *simplify_list(te_graph *g, lp_stmt *s);

/* What s becomes: itself, what is left of it, or NULL. */
static lp_stmt *simplify_stmt(te_graph *g, lp_stmt *s)
{
    lp_each_expr(s, simplify_expr, g);
    lp_stmt **list[4];
    int n = below(s, list);
    for (int i = 0; i < n; i++) *list[i] = simplify_list(g, *list[i]);
    switch (s->kind) {
    case LP_FOR: return s->u.loop.body && !te_is_int(s->u.loop.var->u.axis->extent, 0) ? s : NULL;
    case LP_ALLOC: return s->u.alloc.body ? s : NULL;
    case LP_LET: return s->u.let.body ? s : NULL;
    case LP_IF:
        if (te_is_const(s->u.guard.cond))
            return s->u.guard.cond->u.i ? s->u.guard.then : s->u.guard.otherwise;
        return s->u.guard.then || s->u.guard.otherwise ? s : NULL;
    default: return s;
    }
}

static lp_stmt *simplify_list(te_graph *g, lp_stmt *s)
{
    lp_stmt *head = NULL, **at = &head;
    while (s) {
        lp_stmt *next = s->next;
        s->next = NULL;
        *at = simplify_stmt(g, s);
        while (*at) at = &(*at)->next;
        s = next;
    }
    return head;
}

void lp_simplify(lp_func *f)
{
    f->body = simplify_list(f->g, f->body);
}
