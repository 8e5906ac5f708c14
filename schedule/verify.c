/* verify.c: lp_verify: is a loop function legal? It walks the tree once with the facts that hold at
 * each statement (conditions of enclosing ifs, extents of loops, let values) and refuses at the
 * first violation:
 *
 *   here              scopes and types: every variable and buffer stands in its scope and has one
 *                     definition; indices are s64; values have the buffer's type; loop names are
 *                     unique
 *                     memory: buffers inside one parameter are proved to share no bit
 *                     claim: one claimed loop, at top level; outside of it only thread and reg
 *                     buffers are written
 *                     barriers: not inside loops over threads; ifs around them are uniform
 *                     roles: what one writes, others see through shared memory only
 *   verify_bounds.c   every index is proved inside its dimension; values stored into a buffer with
 *                     a range are proved inside it
 *   verify_race.c     iterations of parallel, claimed, vector, block, thread and warp loops write
 *                     apart, and read nothing that another writes
 *   verify_intrin.c   annotated nests are what their row of intrin.def says, operands in range
 *   verify_run.c      initialisation, waits, ring reuse, missing barriers, deadlocks of roles: the
 *                     function is run for a few small dims on made-up values
 *
 * A function in which a loop @spmd stands (thread level, made by threads.c from a function that was
 * verified) is held to scopes, types, structure and bounds only.
 *
 * What is taken on trust: a store whose index is read from an index tensor hits distinct elements
 * for distinct iterations (te_update demands it), and index tensors keep their declared ranges (the
 * evaluator checks that). */
#include "schedule/verify.h"

#include <stdio.h>
#include <string.h>

bool vf_fail(vf *v, const lp_stmt *s, const char *fmt, ...)
{
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (v->code) return false;
    v->code = LL_NOT_LEGAL;
    const char *text = s ? lp_show(s) : "";
    int line = (int)strcspn(text, "\n");
    if (s)
        ll_fail(v->err, LL_NOT_LEGAL, "%s: %s; in: %.*s", v->f->name, what, line > 240 ? 240 : line,
                text);
    else ll_fail(v->err, LL_NOT_LEGAL, "%s: %s", v->f->name, what);
    return false;
}

/* ---- scopes ---------------------------------------------------------------------------------- */

static bool known_buf(const vf *v, const lp_buf *b)
{
    if (!b) return false;
    if (b->param >= 0 || (b->within && b->scope == LP_GLOBAL)) return true;
    for (int i = v->n_buf - 1; i >= 0; i--)
        if (v->buf[i] == b) return true;
    return false;
}

typedef struct leaves { vf *v; const lp_stmt *s; } leaves;

static bool check_leaf(te_ref a, void *ctx)
{
    leaves *w = ctx;
    vf *v = w->v;
    if (te_is_poison(a)) return vf_fail(v, w->s, "an expression that could not be built");
    if (te_is_reduce(a)) return vf_fail(v, w->s, "a reduction inside a statement");
    if (a->op == TE_LOAD && !known_buf(v, lp_buf_of(v->f, a->u.t)))
        return vf_fail(v, w->s, "%s is not in scope", a->u.t->name);
    if (a->op != TE_AXIS && a->op != TE_VAR) return true;
    for (int i = v->n_leaf - 1; i >= 0; i--)
        if (v->leaf[i] == a) return true;
    return vf_fail(v, w->s, "%s is not in scope", a->op == TE_AXIS ? a->u.axis->name : a->u.name);
}

static te_ref check_expr(te_ref e, void *ctx)
{
    te_walk(e, check_leaf, ctx);
    return e;
}

static bool check_scopes(vf *v, const lp_stmt *s)
{
    leaves w = {v, s};
    lp_each_expr((lp_stmt *)(uintptr_t)s, check_expr, &w); /* changes nothing */
    return v->code == LL_OK;
}

static bool push_leaf(vf *v, const lp_stmt *s, te_ref leaf)
{
    if (v->n_leaf == VF_MAX_SCOPE) return vf_fail(v, s, "nested too deep");
    v->leaf[v->n_leaf++] = leaf;
    return true;
}

/* ---- types ----------------------------------------------------------------------------------- */

static bool check_indices(vf *v, const lp_stmt *s, const lp_buf *b, const te_ref *idx)
{
    if (!known_buf(v, b)) return vf_fail(v, s, "%s is not in scope", b ? b->t->name : "a buffer");
    for (int i = 0; i < b->t->ndim; i++)
        if (!idx[i] || idx[i]->dtype != LL_S64)
            return vf_fail(v, s, "index %d of %s is no s64", i, b->t->name);
    return true;
}

static bool check_write(vf *v, const lp_stmt *s, const lp_buf *b)
{
    if (b->param >= 0 && !b->written) return vf_fail(v, s, "%s is an input", b->t->name);
    bool own = b->scope == LP_THREAD || b->scope == LP_REG;
    if (v->has_claim && !v->in_claim && !own)
        return vf_fail(v, s, "%s is written outside of the claimed loop, by every thread",
                       b->t->name);
    return true;
}

static bool check_value(vf *v, const lp_stmt *s, const lp_buf *b, te_ref value)
{
    if (value->dtype == b->t->dtype) return true;
    return vf_fail(v, s, "%s is %s, the value is %s", b->t->name,
                   ll_dtype_name((ll_dtype)b->t->dtype), ll_dtype_name((ll_dtype)value->dtype));
}

static bool check_copy(vf *v, const lp_stmt *s)
{
    const lp_buf *dst = s->u.copy.dst, *src = s->u.copy.src;
    if (!check_indices(v, s, dst, s->u.copy.dst_at) || !check_indices(v, s, src, s->u.copy.src_at))
        return false;
    if (!check_write(v, s, dst)) return false;
    if (dst->scope != LP_SHARED && dst->scope != LP_WARPSH)
        return vf_fail(v, s, "%s is not shared", dst->t->name);
    if (dst->t->dtype != src->t->dtype) return vf_fail(v, s, "a copy does not convert");
    int last = -1;
    for (int i = 0; i < dst->t->ndim; i++) {
        int k = s->u.copy.src_dim[i];
        if (s->u.copy.extent[i] < 1 || k >= src->t->ndim || (k < 0 && s->u.copy.extent[i] != 1))
            return vf_fail(v, s, "dimension %d of the box is wrong", i);
        if (k >= 0 && k <= last)
            return vf_fail(v, s, "the box does not keep the order of dimensions");
        if (k >= 0) last = k;
    }
    if (s->u.copy.mbar && !known_buf(v, s->u.copy.mbar))
        return vf_fail(v, s, "the mbarrier is not in scope");
    return true;
}

static bool check_shuffle(vf *v, const lp_stmt *s)
{
    const lp_buf *dst = s->u.shuffle.dst, *src = s->u.shuffle.src;
    if (!check_indices(v, s, dst, s->u.shuffle.dst_at) ||
        !check_indices(v, s, src, s->u.shuffle.src_at))
        return false;
    if (!v->spmd) return vf_fail(v, s, "a shuffle outside of a loop @spmd");
    if (dst->scope != LP_REG || src->scope != LP_REG || dst->layout || src->layout)
        return vf_fail(v, s, "a shuffle is between registers of threads");
    return dst->t->dtype == src->t->dtype || vf_fail(v, s, "a shuffle does not convert");
}

static bool check_types(vf *v, const lp_stmt *s)
{
    switch (s->kind) {
    case LP_STORE:
        return check_indices(v, s, s->u.store.buf, s->u.store.idx) &&
               check_write(v, s, s->u.store.buf) &&
               check_value(v, s, s->u.store.buf, s->u.store.value);
    case LP_REDUCE:
        if (s->u.reduce.op != TE_SUM && s->u.reduce.op != TE_MAXR && s->u.reduce.op != TE_MINR)
            return vf_fail(v, s, "no such reduction");
        return check_indices(v, s, s->u.reduce.buf, s->u.reduce.idx) &&
               check_write(v, s, s->u.reduce.buf) &&
               check_value(v, s, s->u.reduce.buf, s->u.reduce.value);
    case LP_COPY: return check_copy(v, s);
    case LP_IF:
        return s->u.guard.cond->dtype == LL_BOOL || vf_fail(v, s, "the condition is no bool");
    case LP_LET:
        return s->u.let.var->dtype == s->u.let.value->dtype ||
               vf_fail(v, s, "the value has another type");
    case LP_PREFETCH: return check_indices(v, s, s->u.prefetch.buf, s->u.prefetch.idx);
    case LP_SHUFFLE: return check_shuffle(v, s);
    case LP_MMA:
        for (int i = 0; i < 3; i++)
            if (!check_indices(v, s, s->u.mma.buf[i], &s->u.mma.at[i])) return false;
        return v->spmd || vf_fail(v, s, "a matrix instruction outside of a loop @spmd");
    case LP_LDMATRIX:
        return check_indices(v, s, s->u.ldmatrix.dst, &s->u.ldmatrix.dst_at) &&
               check_indices(v, s, s->u.ldmatrix.src, s->u.ldmatrix.src_at) &&
               (v->spmd || vf_fail(v, s, "a matrix instruction outside of a loop @spmd"));
    case LP_MBAR:
        return known_buf(v, s->u.mbar.buf) || vf_fail(v, s, "the mbarrier is not in scope");
    default: return true;
    }
}

/* ---- structure ------------------------------------------------------------------------------- */

static bool is_sync(const lp_stmt *s)
{
    return s->kind == LP_SYNC || s->kind == LP_WAIT || s->kind == LP_MBAR || s->kind == LP_ROLES ||
           s->kind == LP_COMMIT;
}

static bool note_sync(lp_stmt *s, void *ctx)
{
    if (is_sync(s)) *(bool *)ctx = true;
    return !*(bool *)ctx;
}

static bool holds_sync(const lp_stmt *s)
{
    bool yes = false;
    lp_walk((lp_stmt *)(uintptr_t)s, note_sync, &yes);
    return yes;
}

/* Uniform: the same for all threads of the block (or warp): made of dims, loop variables outside of
 * thread loops and loads of memory that all of them share. */
static bool varies(te_ref a, void *ctx)
{
    vf *v = ctx;
    if (a->op == TE_AXIS)
        for (int i = 0; i < v->n_loop; i++)
            if (v->loop[i]->u.loop.var == a && lp_is_thread(v->loop[i]->u.loop.how)) return false;
    return true;
}

static bool check_guard(vf *v, const lp_stmt *s)
{
    bool barrier = holds_sync(s->u.guard.then) || holds_sync(s->u.guard.otherwise);
    if (barrier && !s->u.guard.uniform)
        return vf_fail(v, s, "a barrier under a condition that is not @uniform");
    if (s->u.guard.uniform && !te_walk(s->u.guard.cond, varies, v))
        return vf_fail(v, s, "@uniform, but the condition differs between threads");
    return true;
}

static bool check_barrier(vf *v, const lp_stmt *s)
{
    for (int i = 0; i < v->n_loop; i++) {
        lp_how how = v->loop[i]->u.loop.how;
        if (lp_is_thread(how) && (s->kind == LP_SYNC || s->kind == LP_ROLES))
            return vf_fail(v, s, "a barrier inside a loop over threads");
        if (how == LP_WARP && s->kind == LP_SYNC && s->u.sync.scope != LP_WARPSH)
            return vf_fail(v, s, "a block barrier inside a loop over warps");
        if (how == LP_CLAIM || how == LP_VECTOR || how == LP_PARALLEL)
            return vf_fail(v, s, "barriers and asynchronous copies do not exist in CPU loops");
    }
    return true;
}

static bool check_loop(vf *v, const lp_stmt *s)
{
    te_ref extent = s->u.loop.var->u.axis->extent;
    if (extent->dtype != LL_S64) return vf_fail(v, s, "the extent is no s64");
    lp_how how = s->u.loop.how;
    if (how == LP_CLAIM && (v->n_loop || v->in_claim))
        return vf_fail(v, s, "the claimed loop is not at top level");
    if (how == LP_ROTATE && s->u.loop.rotate < 2) return vf_fail(v, s, "rotated by less than 2");
    if ((how == LP_UNROLL || how == LP_VECTOR) && extent->op != TE_INT)
        return vf_fail(v, s, "the extent of an unrolled or vector loop is not constant");
    return true;
}

/* ---- the walk -------------------------------------------------------------------------------- */

static bool list(vf *v, const lp_stmt *s);

/* Does a statement below write what e loads? Then a condition on e does not last. */
typedef struct lasting { const lp_func *f; const te_tensor *t; bool written; } lasting;

static bool note_write(lp_stmt *s, void *ctx)
{
    lasting *w = ctx;
    const lp_buf *b = lp_buf_of(w->f, w->t);
    w->written = w->written || (s->kind == LP_STORE && s->u.store.buf == b) ||
                 (s->kind == LP_REDUCE && s->u.reduce.buf == b) ||
                 (s->kind == LP_COPY && s->u.copy.dst == b);
    return !w->written;
}

typedef struct changes { vf *v; const lp_stmt *body; } changes;

static bool load_lasts(te_ref a, void *ctx)
{
    changes *w = ctx;
    if (a->op != TE_LOAD) return true;
    lasting x = {w->v->f, a->u.t, false};
    lp_walk((lp_stmt *)(uintptr_t)w->body, note_write, &x);
    return !x.written;
}

static bool lasts(vf *v, te_ref e, const lp_stmt *body)
{
    changes w = {v, body};
    return te_walk(e, load_lasts, &w);
}

static bool enter_loop(vf *v, const lp_stmt *s)
{
    if (v->n_loop == VF_MAX_SCOPE) return vf_fail(v, s, "nested too deep");
    int facts = v->n_fact, leaf = v->n_leaf, let = v->n_let;
    bool claim = s->u.loop.how == LP_CLAIM;
    if (!check_loop(v, s) || !push_leaf(v, s, s->u.loop.var)) return false;
    v->loop[v->n_loop++] = s;
    v->in_claim = v->in_claim || claim;
    te_ref var = s->u.loop.var, extent = var->u.axis->extent, max = var->u.axis->max,
           terms = vf_terms(v, extent);
    if (terms != extent) {
        v->let_var[v->n_let] = var;
        v->let_value[v->n_let] = max ? te_axis_upto(v->g, var->u.axis->name, terms, max)
                                     : te_axis(v->g, var->u.axis->name, terms);
        v->n_let++;
    }
    if (extent->op != TE_INT && lasts(v, extent, s->u.loop.body)) vf_assume_le(v, var, extent, 1);
    if (s->u.loop.how == LP_SPMD) v->spmd = true; /* apart by its barriers: proved at block level */
    bool ok = list(v, s->u.loop.body) && (!s->u.loop.intrin || vf_intrin(v, s)) &&
              (!lp_is_parallel(s->u.loop.how) || v->spmd || vf_races(v, s));
    if (claim) v->in_claim = false;
    v->n_loop--;
    v->n_let = let;
    v->n_fact = facts;
    v->n_leaf = leaf;
    return ok;
}

static bool enter_guard(vf *v, const lp_stmt *s)
{
    int facts = v->n_fact;
    if (lasts(v, s->u.guard.cond, s->u.guard.then)) vf_assume(v, s->u.guard.cond, true);
    bool ok = list(v, s->u.guard.then);
    v->n_fact = facts;
    if (lasts(v, s->u.guard.cond, s->u.guard.otherwise)) vf_assume(v, s->u.guard.cond, false);
    ok = ok && list(v, s->u.guard.otherwise);
    v->n_fact = facts;
    return ok;
}

/* Roles run at once: what one writes, the others may see only through shared memory. */
static bool check_roles(vf *v, const lp_stmt *s)
{
    for (int i = 0; i < v->f->n_buf; i++) {
        const lp_buf *b = v->f->buf[i];
        lasting w = {v->f, b->t, false};
        int writer = -1;
        if (b->scope == LP_SHARED || b->scope == LP_WARPSH) continue;
        for (int k = 0; k < s->u.roles.n; k++) {
            w.written = false;
            lp_walk(s->u.roles.body[k], note_write, &w);
            if (w.written && writer >= 0)
                return vf_fail(v, s, "%s and %s both write %s", s->u.roles.name[writer],
                               s->u.roles.name[k], b->t->name);
            if (w.written) writer = k;
        }
    }
    return true;
}

static bool is_pure(te_ref a, void *ctx) { return a->op != TE_LOAD; }

/* A number of r's range: an axis that takes all of its values. */
static te_ref stand_in(vf *v, const char *name, te_range r)
{
    te_ref x = te_axis(v->g, name, te_int(v->g, r.hi - r.lo + 1));
    return r.lo ? te_addi(x, r.lo) : x;
}

/* A loaded s64 (or the s64 of a loaded number) as some number of its range. */
static te_ref replace_load(te_ref a, void *ctx)
{
    vf *v = ctx;
    te_ref load = a->op == TE_CAST ? a->src[0] : a;
    if (a->dtype != LL_S64 || load->op != TE_LOAD) return a;
    te_range r = te_range_of(a);
    if (r.lo <= INT64_MIN / 4 || r.hi >= INT64_MAX / 4) return a;
    te_ref x = stand_in(v, load->u.t->name, r);
    if (load->u.t->lo) vf_assume_le(v, load->u.t->lo, x, 0);
    if (load->u.t->hi) vf_assume_le(v, x, load->u.t->hi, 1);
    return x;
}

/* In proofs a let's variable is its value; what the value loads may change behind its back, so in
 * place of a load stands any number of its range. */
static bool enter_let(vf *v, const lp_stmt *s)
{
    int facts = v->n_fact, leaf = v->n_leaf, let = v->n_let;
    te_ref var = s->u.let.var;
    if (!push_leaf(v, s, var)) return false;
    if (var->dtype == LL_S64) {
        te_ref value = te_rewrite(v->g, vf_terms(v, s->u.let.value), replace_load, v);
        te_range r = te_range_of(value);
        bool known = te_walk(value, is_pure, NULL),
             bounded = r.lo > INT64_MIN / 4 && r.hi < INT64_MAX / 4;
        if (!known && bounded) value = stand_in(v, var->u.name, r);
        if (known || bounded) {
            v->let_var[v->n_let] = var;
            v->let_value[v->n_let++] = value;
        }
    }
    bool ok = list(v, s->u.let.body);
    v->n_let = let;
    v->n_fact = facts;
    v->n_leaf = leaf;
    return ok;
}

/* Elements that are written must not share a place. */
static bool check_layout(vf *v, const lp_stmt *s, const lp_buf *b)
{
    if (!b->layout || lp_layout_injective(b->layout, b->t->shape, b->t->ndim,
                                          ll_dtype_bits((ll_dtype)b->t->dtype)))
        return true;
    return vf_fail(v, s, "the layout of %s is not proved to keep its elements apart", b->t->name);
}

/* Buffers inside one memory must not share a bit: each is written by someone as if it were alone. */
static bool check_within(vf *v, int i)
{
    const lp_buf *a = v->f->buf[i];
    for (int k = 0; a->within && k < i; k++) {
        const lp_buf *b = v->f->buf[k];
        if (b->within != a->within || lp_bufs_apart(v->f, a, b)) continue;
        return vf_fail(v, NULL, "%s and %s are not proved to lie apart in %s", b->t->name, a->t->name,
                       a->within->t->name);
    }
    return true;
}

static bool check_params(vf *v)
{
    for (int i = 0; i < v->f->n_param; i++)
        if (v->f->param[i]->written && !check_layout(v, NULL, v->f->param[i])) return false;
    for (int i = 0; i < v->f->n_buf; i++)
        if (!check_within(v, i)) return false;
    return true;
}

static bool enter_alloc(vf *v, const lp_stmt *s)
{
    const lp_buf *b = s->u.alloc.buf;
    if (known_buf(v, b)) return vf_fail(v, s, "%s is allocated twice", b->t->name);
    if (b->param >= 0 || b->within)
        return vf_fail(v, s, "%s has memory of its own already", b->t->name);
    if (v->n_buf == VF_MAX_SCOPE) return vf_fail(v, s, "too many buffers in scope");
    if (!check_layout(v, s, b)) return false;
    v->buf[v->n_buf++] = b;
    bool ok = list(v, s->u.alloc.body);
    v->n_buf--;
    return ok;
}

static bool one(vf *v, const lp_stmt *s)
{
    if (!check_scopes(v, s) || !check_types(v, s) || !vf_bounds(v, s)) return false;
    if ((is_sync(s) || s->kind == LP_COPY) && !check_barrier(v, s)) return false;
    v->has_sync = v->has_sync || is_sync(s) || s->kind == LP_COPY;
    switch (s->kind) {
    case LP_FOR:
        v->has_threads = v->has_threads || s->u.loop.how == LP_WARP || lp_is_thread(s->u.loop.how);
        return enter_loop(v, s);
    case LP_IF: return check_guard(v, s) && enter_guard(v, s);
    case LP_LET: return enter_let(v, s);
    case LP_ALLOC:
        v->has_sync = v->has_sync || s->u.alloc.buf->scope >= LP_SHARED;
        return enter_alloc(v, s);
    case LP_ROLES:
        if (v->n_roles++) return vf_fail(v, s, "a second roles statement");
        for (int i = 0; i < s->u.roles.n; i++)
            if (!list(v, s->u.roles.body[i])) return false;
        return check_roles(v, s);
    default: return true;
    }
}

static bool list(vf *v, const lp_stmt *s)
{
    for (; s; s = s->next)
        if (!one(v, s)) return false;
    return true;
}

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct names { vf *v; const lp_stmt *claim; const char **name; int n, cap; } names;

static bool note_loop(lp_stmt *s, void *ctx)
{
    names *w = ctx;
    if (s->kind != LP_FOR) return true;
    if (s->u.loop.how == LP_CLAIM) {
        if (w->claim) vf_fail(w->v, s, "a second claimed loop");
        w->claim = s;
    }
    const char *name = s->u.loop.var->u.axis->name;
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->name[i], name) == 0) vf_fail(w->v, s, "a second loop called %s", name);
    if (w->n == w->cap) {
        int cap = w->cap ? w->cap * 2 : 64;
        const char **more = LL_NEW_N(te_arena(w->v->g), const char *, cap);
        if (w->n) memcpy(more, w->name, sizeof *more * (size_t)w->n);
        w->name = more;
        w->cap = cap;
    }
    w->name[w->n++] = name;
    return true;
}

ll_code lp_verify(const lp_func *f, ll_error *err)
{
    ll_error own = {0};
    vf *v = LL_NEW(te_arena(f->g), vf);
    te_graph *before = te_graph_use(NULL);
    *v = (vf){.f = f, .g = te_graph_child(f->g), .err = err ? err : &own};
    if (!v->g) {
        te_graph_use(before);
        return ll_fail(err, LL_NO_SPACE, "%s: no memory", f->name);
    }
    names n = {.v = v};
    lp_walk(f->body, note_loop, &n);
    v->has_claim = n.claim != NULL;
    if (v->code == LL_OK && check_params(v) && list(v, f->body) && !v->spmd)
        vf_small_runs(v);
    te_graph_destroy(v->g);
    te_graph_use(before);
    return v->code;
}
