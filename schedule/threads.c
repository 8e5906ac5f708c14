/* threads.c: lp_threads: block level to thread level. What a block does together becomes what each
 * of its threads does, in one loop @spmd inside the block loops:
 *
 *     for b < T @block.x {                        for b < T @block.x {
 *       alloc reg f32 p[64] layout(32@lane.1        for tid < 64 @spmd {
 *                                 2@warp.1)           alloc reg f32 p[1]
 *       alloc reg f32 all[1]                           alloc reg f32 all[1]
 *       for t < 64 @thread.x {                         p[0] = x[b, tid]
 *         p[t] = x[b, t] }                             ...
 *       all[0] = 0.0                                   shuffle peer[0] <- part[0] xor 16
 *       for r < 64 {                                   part[0] += peer[0]
 *         all[0] += p[r] }                             ...
 *
 *   distributed reg buffers   registers of each thread; a nest over one is executed by the holders
 *                             of its elements (threads_nest.c)
 *   plain reg buffers         every thread has a copy with the same value, so all compute it
 *   shared, global            an element is stored by one thread
 *   for @thread.x             the iteration of the thread's number, guarded where threads are left
 *                             over; several where the loop is longer
 *   for @warp                 the iteration of the warp's number; inside it the 32 lanes are the
 *                             group that shares the work
 *   copies                    pieces of up to 16 bytes, spread over the group (threads_copy.c)
 *
 * The number of threads is what the widest loop over threads or warps and the layouts ask for, in
 * whole warps.
 *
 * Refused: roles and mbarriers, block loops that are not the outermost statements, loops over
 * threads or warps without a constant extent, thread scratch, and what threads_nest.c refuses. */
#include "schedule/threads.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

lp_stmt *th_fail(th *t, const lp_stmt *s, const char *fmt, ...) {
    char what[300];
    if (t->code) return NULL;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    const char *text = s ? lp_show(s) : "";
    int line = (int)strcspn(text, "\n");
    t->code = LL_UNSUPPORTED;
    ll_fail(t->err, LL_UNSUPPORTED, "threads: %s: %s%s%.*s", t->f->name, what, s ? "; in: " : "",
            line > 200 ? 200 : line, text);
    return NULL;
}

/* ---- layouts --------------------------------------------------------------------------------- */

bool th_distributed(const lp_buf *b) {
    if (b->scope != LP_REG || !b->layout) return false;
    for (int i = 0; i < b->layout->n_digit; i++)
        if (b->layout->digit[i].place != LP_AT_ADDR) return true;
    return false;
}

int th_digits(th *t, const lp_buf *b, th_digit *out) {
    const lp_layout *l = b->layout;
    int64_t base = 1;
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        bool first = i == 0 || l->digit[i - 1].dim != d->dim;
        bool last = i + 1 == l->n_digit || l->digit[i + 1].dim != d->dim;
        te_ref extent = te_simplify(t->g, b->t->shape[d->dim]);
        if (first) base = 1;
        int64_t size = d->size;
        if (extent->op != TE_INT || d->stride->op != TE_INT || d->place == LP_AT_ADDR) return -1;
        if (last) size = (extent->u.i + base - 1) / base;
        if (size < 1) size = 1;
        out[i] = (th_digit){d->dim, d->place, size, d->stride->u.i, base, last};
        base *= size;
    }
    return l->n_digit;
}

te_ref th_own_digit(th *t, const th_digit *d) {
    te_ref at = d->place == LP_AT_LANE ? te_modi(t->tid, TH_WARP) : te_divi(t->tid, TH_WARP);
    return te_simplify(t->g, te_modi(te_divi(at, d->stride), d->size));
}

te_ref th_index_digit(th *t, const th_digit *d, te_ref idx) {
    te_ref v = te_divi(idx, d->base);
    return te_simplify(t->g, d->last ? v : te_modi(v, d->size));
}

bool th_prove_eq(th *t, te_ref a, te_ref b) {
    a = te_simplify(t->g, a);
    b = te_simplify(t->g, b);
    if (a == b || te_prove_eq(a, b)) return true;
    for (int i = 0; i < t->threads; i++) {
        te_ref n = te_int(t->g, i);
        te_ref x = te_simplify(t->g, te_subst(t->g, a, &t->tid, &n, 1));
        te_ref y = te_simplify(t->g, te_subst(t->g, b, &t->tid, &n, 1));
        if (x != y && !te_prove_eq(x, y)) return false;
    }
    return true;
}

lp_buf *th_registers(th *t, const lp_buf *b) {
    for (int i = t->n_buf - 1; i >= 0; i--)
        if (t->buf[i].from == b) return t->buf[i].to;
    return NULL;
}

te_ref th_axis(th *t, const char *stem, te_ref extent) {
    const char *name = ll_sprintf(te_arena(t->g), "%s.t%d", stem, t->n_name++);
    return te_axis(t->g, lp_fresh_name(t->f, name), extent);
}

lp_buf *th_temp(th *t, const char *stem, ll_dtype type, lp_scope scope, const te_ref *shape,
                int ndim) {
    const char *name = ll_sprintf(te_arena(t->g), "%s.t%d", stem, t->n_name++);
    return lp_buf_new(t->f, name, type, scope, shape, ndim);
}

/* ---- how many threads ------------------------------------------------------------------------ */

static void need(th *t, int64_t threads) {
    if (threads > t->threads) t->threads = threads > 1 << 20 ? 1 << 20 : (int)threads;
}

static bool count_threads(lp_stmt *s, void *ctx) {
    th *t = ctx;
    if (s->kind == LP_FOR) {
        lp_how how = s->u.loop.how;
        te_ref n = s->u.loop.var->u.axis->extent;
        bool over = how == LP_WARP || (how >= LP_THREAD_X && how <= LP_THREAD_Z);
        if (!over) return true;
        if (how == LP_THREAD_Y || how == LP_THREAD_Z)
            th_fail(t, s, "loops over threads are @thread.x only");
        else if (n->op != TE_INT)
            th_fail(t, s, "the extent of a loop over threads or warps is not constant");
        else
            need(t, how == LP_WARP ? n->u.i * TH_WARP : n->u.i);
        return how == LP_WARP; /* threads inside of a warp's loop are its lanes */
    }
    if (s->kind != LP_ALLOC || !th_distributed(s->u.alloc.buf)) return true;
    th_digit d[LP_MAX_DIGIT];
    int n = th_digits(t, s->u.alloc.buf, d);
    if (n < 0) th_fail(t, s, "the layout has sizes or strides that are not constant");
    int64_t warps = 1;
    for (int i = 0; i < n; i++) {
        if (d[i].place == LP_AT_LANE && d[i].size > 1 && (d[i].size - 1) * d[i].stride >= TH_WARP)
            th_fail(t, s, "the layout reaches lane %lld of a warp of 32",
                    (long long)((d[i].size - 1) * d[i].stride));
        if (d[i].place == LP_AT_WARP) warps += (d[i].size - 1) * d[i].stride;
    }
    need(t, warps * TH_WARP);
    return true;
}

/* ---- statements ------------------------------------------------------------------------------ */

static lp_stmt *list(th *t, lp_stmt *s);

static bool is_collective(lp_stmt *s, void *ctx) {
    bool over = s->kind == LP_FOR && s->u.loop.how >= LP_BLOCK_X;
    bool *yes = ctx;
    switch (s->kind) {
    case LP_SYNC:
    case LP_COPY:
    case LP_COMMIT:
    case LP_WAIT:
    case LP_MBAR:
    case LP_ROLES:
    case LP_ALLOC: /* nests hold no buffers */
        *yes = true;
        break;
    default:
        *yes = *yes || over;
        break;
    }
    return !*yes;
}

/* Does the whole group take part in something below s? */
static bool collective(lp_stmt *s) {
    bool yes = false;
    lp_stmt *next = s->next;
    s->next = NULL;
    lp_walk(s, is_collective, &yes);
    s->next = next;
    return yes;
}

/* `body` with value in place of var, for this thread: iterations value, value + group... */
static lp_stmt *spread(th *t, te_ref var, lp_stmt *body, int64_t extent) {
    int64_t turns = (extent + t->group - 1) / t->group;
    te_ref at = t->me, turn = NULL;
    if (turns > 1) {
        turn = th_axis(t, var->u.axis->name, te_int(t->g, turns));
        at = te_add(te_muli(turn, t->group), t->me);
    }
    at = te_simplify(t->g, at);
    lp_subst(t->f, body, &var, &at, 1);
    if (extent % t->group) body = lp_if(t->f, te_lt(at, te_int(t->g, extent)), body, NULL);
    return turn ? lp_for(t->f, turn, LP_SERIAL, body) : body;
}

static lp_stmt *thread_loop(th *t, lp_stmt *s) {
    te_ref var = s->u.loop.var, n = var->u.axis->extent;
    if (n->op != TE_INT) return th_fail(t, s, "the extent of a loop over threads is not constant");
    if (t->group == 1) return th_fail(t, s, "a loop over threads inside another");
    lp_stmt *body = spread(t, var, lp_clone(t->f, s->u.loop.body), n->u.i);
    int group = t->group;
    te_ref me = t->me;
    t->group = 1;
    t->me = te_int(t->g, 0);
    body = th_private(t, body);
    t->group = group;
    t->me = me;
    return body;
}

static lp_stmt *warp_loop(th *t, lp_stmt *s) {
    if (t->group != t->threads) return th_fail(t, s, "a loop over warps inside another");
    te_ref var = s->u.loop.var, warp = te_simplify(t->g, te_divi(t->tid, TH_WARP));
    int64_t n = var->u.axis->extent->u.i;
    lp_stmt *body = lp_clone(t->f, s->u.loop.body);
    lp_subst(t->f, body, &var, &warp, 1);
    te_ref me = t->me;
    t->group = TH_WARP;
    t->me = te_simplify(t->g, te_modi(t->tid, TH_WARP));
    body = list(t, body);
    t->group = t->threads;
    t->me = me;
    if (n * TH_WARP == t->threads || !body) return body;
    lp_stmt *guard = lp_if(t->f, te_lt(warp, te_int(t->g, n)), body, NULL);
    return guard;
}

static lp_stmt *alloc(th *t, lp_stmt *s) {
    lp_buf *b = s->u.alloc.buf;
    if (b->scope == LP_THREAD)
        return th_fail(t, s, "thread scratch has no place in a GPU's threads");
    int n_buf = t->n_buf;
    if (th_distributed(b)) {
        th_digit d[LP_MAX_DIGIT];
        int n = th_digits(t, b, d);
        int64_t regs = 1;
        for (int i = 0; i < n; i++)
            if (d[i].place == LP_AT_REG) regs += (d[i].size - 1) * d[i].stride;
        if (n < 0 || t->n_buf == TH_MAX_BUF) return th_fail(t, s, "too many distributed buffers");
        te_ref size = te_int(t->g, regs);
        const char *name = ll_sprintf(te_arena(t->g), "%s.r", b->t->name);
        t->buf[t->n_buf++] =
            (th_buf){b, lp_buf_new(t->f, name, (ll_dtype)b->t->dtype, LP_REG, &size, 1)};
        b = t->buf[t->n_buf - 1].to;
    }
    lp_stmt *body = list(t, s->u.alloc.body);
    t->n_buf = n_buf;
    return body ? lp_alloc(t->f, b, body) : NULL;
}

static bool reads_distributed(te_ref a, void *ctx) {
    th *t = ctx;
    const lp_buf *b = a->op == TE_LOAD ? lp_buf_of(t->f, a->u.t) : NULL;
    return !b || !th_distributed(b);
}

static lp_stmt *shared_loop(th *t, lp_stmt *s) {
    bool before = t->in_loop;
    lp_stmt *c = LL_NEW(te_arena(t->g), lp_stmt);
    *c = *s;
    c->next = NULL;
    t->in_loop = true;
    c->u.loop.body = list(t, s->u.loop.body);
    t->in_loop = before;
    return c->u.loop.body ? c : NULL;
}

static lp_stmt *shared_guard(th *t, lp_stmt *s) {
    if (!te_walk(s->u.guard.cond, reads_distributed, t))
        return th_fail(t, s, "a condition of the whole block reads a distributed buffer");
    lp_stmt *c = LL_NEW(te_arena(t->g), lp_stmt);
    *c = *s;
    c->next = NULL;
    c->u.guard.then = list(t, s->u.guard.then);
    c->u.guard.otherwise = list(t, s->u.guard.otherwise);
    return c->u.guard.then || c->u.guard.otherwise ? c : NULL;
}

static lp_stmt *let(th *t, lp_stmt *s) {
    if (!te_walk(s->u.let.value, reads_distributed, t))
        return th_fail(t, s, "a let of the whole block reads a distributed buffer");
    lp_stmt *body = list(t, s->u.let.body);
    if (!body) return NULL;
    lp_stmt *c = lp_let(t->f, s->u.let.var, s->u.let.value, body);
    c->u.let.uniform = s->u.let.uniform;
    return c;
}

static lp_stmt *alone(th *t, const lp_stmt *s) {
    lp_stmt *c = LL_NEW(te_arena(t->g), lp_stmt);
    *c = *s;
    c->next = NULL;
    return c;
}

static lp_stmt *one(th *t, lp_stmt *s) {
    switch (s->kind) {
    case LP_ALLOC:
        return alloc(t, s);
    case LP_LET:
        return let(t, s);
    case LP_COPY:
        return th_copy(t, s);
    case LP_SYNC:
    case LP_COMMIT:
    case LP_WAIT:
    case LP_PREFETCH:
        return alone(t, s);
    case LP_MBAR:
    case LP_ROLES:
        return th_fail(t, s, "roles and mbarriers have no thread-level form yet");
    case LP_FOR:
        if (s->u.loop.how == LP_THREAD_X) return thread_loop(t, s);
        if (s->u.loop.how == LP_WARP) return warp_loop(t, s);
        if (s->u.loop.how >= LP_BLOCK_X)
            return th_fail(t, s, "a loop over blocks that is not outermost");
        return collective(s) ? shared_loop(t, s) : th_nest(t, s);
    case LP_IF:
        return collective(s) ? shared_guard(t, s) : th_nest(t, s);
    default:
        return th_nest(t, s);
    }
}

static lp_stmt *list(th *t, lp_stmt *s) {
    lp_stmt *all = NULL;
    for (; s && !t->code; s = s->next) all = lp_seq(all, one(t, s));
    return t->code ? NULL : all;
}

/* ---- registers have no addresses ------------------------------------------------------------- */

typedef struct numbering {
    const lp_func *f;
    te_ref var;
    bool yes;
} numbering;

static void note_register(numbering *w, const lp_buf *b, const te_ref *idx) {
    for (int i = 0; b && b->scope == LP_REG && i < b->t->ndim; i++)
        w->yes = w->yes || te_uses(idx[i], w->var);
}

static bool note_register_load(te_ref a, void *ctx) {
    numbering *w = ctx;
    if (a->op == TE_LOAD) note_register(w, lp_buf_of(w->f, a->u.t), a->src);
    return !w->yes;
}

static te_ref note_registers_in(te_ref e, void *ctx) {
    te_walk(e, note_register_load, ctx);
    return e;
}

static bool note_registers(lp_stmt *s, void *ctx) {
    numbering *w = ctx;
    lp_each_expr(s, note_registers_in, w);
    if (s->kind == LP_STORE) note_register(w, s->u.store.buf, s->u.store.idx);
    if (s->kind == LP_REDUCE) note_register(w, s->u.reduce.buf, s->u.reduce.idx);
    for (int i = 0; s->kind == LP_MMA && i < 3; i++)
        note_register(w, s->u.mma.buf[i], &s->u.mma.at[i]);
    if (s->kind == LP_LDMATRIX) note_register(w, s->u.ldmatrix.dst, &s->u.ldmatrix.dst_at);
    if (s->kind == LP_SHUFFLE) {
        note_register(w, s->u.shuffle.src, s->u.shuffle.src_at);
        note_register(w, s->u.shuffle.dst, s->u.shuffle.dst_at);
    }
    return !w->yes;
}

/* A loop that numbers registers is unrolled. */
static bool unroll_numbering(lp_stmt *s, void *ctx) {
    enum { MOST = 256 };
    if (s->kind != LP_FOR || s->u.loop.how != LP_SERIAL) return true;
    te_ref var = s->u.loop.var, n = var->u.axis->extent;
    numbering w = {ctx, var, false};
    if (n->op != TE_INT || n->u.i > MOST || s->u.loop.opaque) return true;
    lp_walk(s->u.loop.body, note_registers, &w);
    if (w.yes) s->u.loop.how = LP_UNROLL;
    return true;
}

/* The block loops (with the lets between them) stay; what is inside becomes the loop @spmd. */
static lp_stmt *blocks(th *t, lp_stmt *s) {
    if (s && s->kind == LP_FOR && s->u.loop.how >= LP_BLOCK_X && s->u.loop.how <= LP_BLOCK_Z) {
        if (s->next) return th_fail(t, s->next, "a statement beside a loop over blocks");
        lp_stmt *body = blocks(t, s->u.loop.body);
        return body ? lp_for(t->f, s->u.loop.var, s->u.loop.how, body) : NULL;
    }
    lp_stmt *body = list(t, s);
    return body ? lp_for(t->f, t->tid, LP_SPMD, body) : NULL;
}

ll_code lp_threads(lp_func *f, int max_threads, ll_error *err) {
    th t = {.f = f, .g = f->g, .err = err};
    lp_walk(f->body, count_threads, &t);
    need(&t, 1);
    t.threads = (t.threads + TH_WARP - 1) / TH_WARP * TH_WARP;
    if (t.threads > max_threads)
        th_fail(&t, NULL, "%d threads in a block, the target has at most %d", t.threads,
                max_threads);
    if (t.code) return t.code;
    t.tid = te_axis(t.g, lp_fresh_name(f, "tid"), te_int(t.g, t.threads));
    t.me = t.tid;
    t.group = t.threads;
    lp_stmt *body = blocks(&t, f->body);
    if (!t.code && !body) th_fail(&t, NULL, "there is nothing to do");
    if (t.code) return t.code;
    f->body = body;
    lp_simplify(f);
    lp_walk(f->body, unroll_numbering, f);
    const ll_error *e = te_error(t.g);
    return e ? ll_fail(err, e->code, "threads: %s: %s", f->name, e->msg) : LL_OK;
}
