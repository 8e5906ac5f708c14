/* threads_nest.c: the elements of a nest to the threads that hold them. A nest is taken apart into
 * its stores and sums, each with the loops, conditions and lets round it; for each is decided who
 * executes which iterations:
 *
 *   target in distributed registers   its holder. A loop that walks over lanes or warps of the
 *                                     layout becomes this thread's own digit, what is left of it
 *                                     runs over registers; what no loop decides becomes a guard
 *   plain registers                   all threads, all iterations
 *   memory                            the holder of what is read (the first of equal holders), else
 *                                     the first thread of the group
 *   sum over lanes or warps           each thread sums its own elements; then butterfly shuffles
 *                                     over the lanes, then through shared memory over the warps
 *
 *     for m < 16 {                              acc: layout(8@lane.4 2@reg.1 | ...)
 *       for n < 8 {                       ->    for m.t0 < 2 @unroll {      m = tid % 32 / 4 + m.t0
 * * 8 acc[m, n] = ... } }                     ...
 *
 * An element that is read and held by another lane of the warp comes by a shuffle, in front of all
 * conditions that differ between lanes.
 *
 * Refused: elements that another warp holds, or whose register differs between the lanes that ask
 * for it; nests that cannot be taken apart (a later store uses what an earlier iteration wrote, a
 * condition or let reads what the nest writes); buffers allocated inside. */
#include "schedule/threads_leaf.h"

/* ---- taking nests apart ---------------------------------------------------------------------- */

typedef struct use { /* of one buffer below a statement */
    const lp_func *f;
    const lp_buf *b;
    te_ref var, at[TE_MAX_DIM]; /* the index of dimension i, when all agree and it is var's alone */
    int uses, writes, leaves;
    bool any;
} use;

static void note_index(use *u, const te_ref *idx) {
    for (int i = 0; i < u->b->t->ndim; i++) {
        if (u->uses == 0)
            u->at[i] = idx[i];
        else if (u->at[i] != idx[i])
            u->at[i] = NULL;
    }
    u->uses++;
}

static bool note_load_of(te_ref a, void *ctx) {
    use *u = ctx;
    if (a->op == TE_LOAD && lp_buf_of(u->f, a->u.t) == u->b) note_index(u, a->src);
    return true;
}

static te_ref note_loads_of(te_ref e, void *ctx) {
    te_walk(e, note_load_of, ctx);
    return e;
}

static bool note_use(lp_stmt *s, void *ctx) {
    use *u = ctx;
    int before = u->uses;
    lp_each_expr(s, note_loads_of, u);
    if (s->kind == LP_STORE && s->u.store.buf == u->b) note_index(u, s->u.store.idx), u->writes++;
    if (s->kind == LP_REDUCE && s->u.reduce.buf == u->b)
        note_index(u, s->u.reduce.idx), u->writes++;
    if (u->uses > before) u->leaves++;
    return true;
}

static use uses_of(th *t, const lp_buf *b, lp_stmt *s) {
    use u = {.f = t->f, .b = b};
    lp_stmt *next = s->next;
    s->next = NULL;
    lp_walk(s, note_use, &u);
    s->next = next;
    return u;
}

static bool count_leaf(lp_stmt *s, void *ctx) {
    if (s->kind == LP_STORE || s->kind == LP_REDUCE) ++*(int *)ctx;
    return true;
}

static int leaves_below(lp_stmt *s) {
    int n = 0;
    lp_walk(s, count_leaf, &n);
    return n;
}

/* May the stores below loop s be run one after the other, each for all iterations? Yes when what
 * one writes and another uses is, in some dimension, numbered by the loop in the same way. */
static bool may_part(th *t, lp_stmt *s) {
    te_ref var = s->u.loop.var;
    if (leaves_below(s->u.loop.body) < 2) return true;
    for (int i = 0; i < t->f->n_buf; i++) {
        use u = uses_of(t, t->f->buf[i], s);
        if (!u.writes || u.leaves < 2) continue;
        bool apart = false;
        for (int k = 0; k < u.b->t->ndim; k++)
            apart = apart || (u.at[k] && th_coefficient(t, u.at[k], var) != 0 &&
                              te_affine_of(t->g, u.at[k]).n == 1);
        if (!apart) {
            th_fail(t, s, "%s is used by several stores of the nest in different iterations",
                    u.b->t->name);
            return false;
        }
    }
    return true;
}

static bool reads_written(th *t, te_ref e, lp_stmt *root) {
    for (int i = 0; i < t->f->n_buf; i++)
        if (te_loads(e, t->f->buf[i]->t) && uses_of(t, t->f->buf[i], root).writes) return true;
    return false;
}

static lp_stmt *parts(nest *w, lp_stmt *s);

static lp_stmt *below(nest *w, const lp_stmt *s, bool negate, lp_stmt *body) {
    if (w->n == MAX_PATH) return th_fail(w->t, s, "nested too deep");
    w->path[w->n++] = (step){s, negate};
    lp_stmt *r = parts(w, body);
    w->n--;
    return r;
}

static lp_stmt *part(nest *w, lp_stmt *s) {
    th *t = w->t;
    lp_stmt *root = (lp_stmt *)(uintptr_t)w->root;
    switch (s->kind) {
    case LP_FOR:
        if (s->u.loop.intrin) return th_tile(w, s);
        if (!may_part(t, s)) return NULL;
        return below(w, s, false, s->u.loop.body);
    case LP_LET:
        if (reads_written(t, s->u.let.value, root))
            return th_fail(t, s, "a let reads what its nest writes");
        return below(w, s, false, s->u.let.body);
    case LP_IF:
        if (leaves_below(s) > 1 && reads_written(t, s->u.guard.cond, root))
            return th_fail(t, s, "a condition reads what its nest writes");
        return lp_seq(below(w, s, false, s->u.guard.then), below(w, s, true, s->u.guard.otherwise));
    case LP_STORE:
    case LP_REDUCE:
        return th_leaf(w, s);
    case LP_ALLOC:
        return th_fail(t, s, "a buffer inside a nest of the whole block");
    default:
        return th_fail(t, s, "a statement that nests of the whole block do not have");
    }
}

static lp_stmt *parts(nest *w, lp_stmt *s) {
    lp_stmt *all = NULL;
    for (; s && !w->t->code; s = s->next) all = lp_seq(all, part(w, s));
    return all;
}

typedef struct touched {
    th *t;
    bool held, memory, regs;
} touched;

static bool note_touched(te_ref a, void *ctx) {
    touched *w = ctx;
    w->held = w->held || th_distributed_load(w->t, a);
    return true;
}

static te_ref note_touched_in(te_ref e, void *ctx) {
    te_walk(e, note_touched, ctx);
    return e;
}

static bool note_targets(lp_stmt *s, void *ctx) {
    touched *w = ctx;
    const lp_buf *b = s->kind == LP_STORE    ? s->u.store.buf
                      : s->kind == LP_REDUCE ? s->u.reduce.buf
                                             : NULL;
    lp_each_expr(s, note_touched_in, w);
    if (b && th_distributed(b))
        w->held = true;
    else if (b && b->scope == LP_REG)
        w->regs = true;
    else if (b)
        w->memory = true;
    return true;
}

lp_stmt *th_nest(th *t, lp_stmt *s) {
    nest w = {.t = t, .root = s};
    touched u = {.t = t};
    lp_stmt *next = s->next;
    s->next = NULL;
    lp_walk(s, note_targets, &u);
    lp_stmt *whole = lp_clone(t->f, s);
    s->next = next;
    if (!u.held && !u.memory) return whole; /* every thread, for its copies */
    if (!u.held && !u.regs) return lp_if(t->f, te_eq(t->me, te_int(t->g, 0)), whole, NULL);
    return part(&w, s);
}
