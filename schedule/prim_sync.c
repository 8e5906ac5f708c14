/* prim_sync.c: `sync`: barriers of the block where one thread reads or overwrites what another has
 * written or read since the last barrier.
 *
 *   for b < T @block.x {                         for b < T @block.x {
 *     alloc shared f32 s[64]                       alloc shared f32 s[64]
 *     for t < 64 @thread.x { s[t] = x[b, t] }      for t < 64 @thread.x { s[t] = x[b, t] }
 *     for u < 64 @thread.x {                ->     sync block
 *       y[b, u] = s[63 - u] } }                    for u < 64 @thread.x { ... } }
 *
 * The statements of a block run one after the other; a nest without a loop over threads in it and a
 * loop over threads are one statement each. A statement starts behind a barrier when it reads a
 * buffer of shared memory (or one of global memory that the function writes) that was written since
 * the last one, or writes one that was read or written. Loops round statements are walked until
 * their end meets their beginning. An `if` that comes to hold a barrier becomes @uniform.
 *
 * Which elements they touch is not looked at: a barrier too many costs time, one too few would be a
 * wrong result. Refused: CPU targets, a function without a loop over blocks, asynchronous copies,
 * mbarriers and roles (their waits decide), loops over warps, a condition round a barrier that
 * reads what the function writes. */
#include <string.h>

#include "schedule/prim.h"

enum { MAX_BUF = 256 };

typedef struct since { /* the last barrier */
    const lp_buf *wrote[MAX_BUF], *read[MAX_BUF];
    int n_wrote, n_read;
} since;

typedef struct walk {
    sch *s;
    ll_error *err;
    ll_code rc;
    int placed;
} walk;

static bool holds(const lp_buf *const *list, int n, const lp_buf *b) {
    for (int i = 0; i < n; i++)
        if (list[i] == b) return true;
    return false;
}

static void note(walk *w, const lp_buf **list, int *n, const lp_buf *b) {
    if (holds(list, *n, b)) return;
    if (*n == MAX_BUF)
        w->rc = ll_fail(w->err, LL_UNSUPPORTED, "more than %d buffers", MAX_BUF);
    else
        list[(*n)++] = b;
}

static void join(walk *w, since *to, const since *from) {
    for (int i = 0; i < from->n_wrote; i++) note(w, to->wrote, &to->n_wrote, from->wrote[i]);
    for (int i = 0; i < from->n_read; i++) note(w, to->read, &to->n_read, from->read[i]);
}

static bool is_seen_by_others(const lp_buf *b) {
    return b->scope == LP_SHARED || (b->scope == LP_GLOBAL && b->written);
}

static void barrier_before(walk *w, lp_stmt *st, since *now) {
    lp_stmt *sync = LL_NEW(te_arena(w->s->g), lp_stmt);
    sync->kind = LP_SYNC;
    sync->u.sync.scope = LP_SHARED;
    sch_insert_before(w->s, st, sync);
    *now = (since){0};
    w->placed++;
}

/* One statement: a barrier in front of it where it needs one; then what it touched. */
static void statement(walk *w, lp_stmt *st, since *now) {
    sch_accesses a = {0};
    bool meets = false;
    sch_collect(w->s, st, &a);
    for (int i = 0; i < a.n; i++) {
        const lp_buf *b = a.v[i].buf;
        if (!is_seen_by_others(b) || sch_is_local(&a, b)) continue;
        meets = meets || holds(now->wrote, now->n_wrote, b) ||
                (a.v[i].kind != SCH_READ && holds(now->read, now->n_read, b));
    }
    if (meets) barrier_before(w, st, now);
    for (int i = 0; i < a.n; i++) {
        const lp_buf *b = a.v[i].buf;
        if (!is_seen_by_others(b) || sch_is_local(&a, b)) continue;
        if (a.v[i].kind == SCH_READ)
            note(w, now->read, &now->n_read, b);
        else
            note(w, now->wrote, &now->n_wrote, b);
    }
    sch_accesses_finish(&a);
}

static bool is_shared_out(lp_stmt *st, void *p) {
    if (st->kind == LP_FOR && st->u.loop.how >= LP_BLOCK_X) *(bool *)p = true;
    return !*(bool *)p;
}

/* Is there a loop over threads below? Then its statements run one after the other. */
static bool is_of_statements(lp_stmt *st) {
    bool yes = false;
    lp_stmt *next = st->next;
    st->next = NULL;
    lp_walk(st, is_shared_out, &yes);
    st->next = next;
    return yes && !(st->kind == LP_FOR && st->u.loop.how >= LP_THREAD_X);
}

static bool is_free(te_ref e, void *p) {
    walk *w = p;
    const lp_buf *b = e->op == TE_LOAD ? lp_buf_of(w->s->fn, e->u.t) : NULL;
    return !b || (b->param >= 0 && !b->written);
}

/* A buffer that e reads was written since the last barrier. */
typedef struct stale {
    walk *w;
    since *now;
    bool yes;
} stale;

static bool is_stale(te_ref e, void *p) {
    stale *q = p;
    const lp_buf *b = e->op == TE_LOAD ? lp_buf_of(q->w->s->fn, e->u.t) : NULL;
    if (b && is_seen_by_others(b)) {
        q->yes = q->yes || holds(q->now->wrote, q->now->n_wrote, b);
        note(q->w, q->now->read, &q->now->n_read, b);
    }
    return true;
}

static void value(walk *w, lp_stmt *st, te_ref e, since *now) {
    stale q = {w, now, false};
    te_walk(e, is_stale, &q);
    if (!q.yes) return;
    barrier_before(w, st, now);
    te_walk(e, is_stale, &q);
}

static void list(walk *w, lp_stmt *st, since *now);

static void branches(walk *w, lp_stmt *st, since *now) {
    int before = w->placed;
    value(w, st, st->u.guard.cond, now);
    since other = *now;
    list(w, st->u.guard.then, now);
    list(w, st->u.guard.otherwise, &other);
    join(w, now, &other);
    if (w->placed == before || st->u.guard.uniform || w->rc) return;
    if (te_walk(st->u.guard.cond, is_free, w))
        st->u.guard.uniform = true;
    else
        w->rc = ll_fail(w->err, LL_NOT_LEGAL,
                        "a barrier is wanted inside `%.80s`, whose condition reads what the "
                        "function computes",
                        sch_text(w->s, st));
}

static void loop(walk *w, lp_stmt *st, since *now) {
    if (st->u.loop.how >= LP_BLOCK_X && st->u.loop.how <= LP_BLOCK_Z) { /* blocks share nothing */
        since none = {0};
        list(w, st->u.loop.body, &none);
        return;
    }
    value(w, st, st->u.loop.var->u.axis->extent, now);
    for (int before = -1; before != w->placed && !w->rc;) {
        before = w->placed;
        since at = *now;
        list(w, st->u.loop.body, &at);
        join(w, now, &at); /* as the next iteration, and what follows, find it */
    }
}

static void one(walk *w, lp_stmt *st, since *now) {
    if (st->kind == LP_SYNC) {
        if (st->u.sync.scope == LP_SHARED) *now = (since){0};
    } else if (st->kind == LP_COPY || st->kind == LP_COMMIT || st->kind == LP_WAIT ||
               st->kind == LP_MBAR || st->kind == LP_ROLES ||
               (st->kind == LP_FOR && st->u.loop.how == LP_WARP)) {
        w->rc = ll_fail(w->err, LL_NOT_LEGAL,
                        "`%.60s`: wanted loops over threads; asynchronous copies, roles and warps "
                        "wait for each other by themselves",
                        sch_text(w->s, st));
    } else if (is_of_statements(st) && st->kind == LP_FOR) {
        loop(w, st, now);
    } else if (is_of_statements(st) && st->kind == LP_IF) {
        branches(w, st, now);
    } else {
        statement(w, st, now);
    }
}

static void list(walk *w, lp_stmt *st, since *now) {
    while (st && !w->rc) {
        lp_stmt *next = st->next;
        if (st->kind == LP_ALLOC) {
            list(w, st->u.alloc.body, now);
        } else if (st->kind == LP_LET) {
            value(w, st, st->u.let.value, now);
            list(w, st->u.let.body, now);
        } else {
            one(w, st, now);
        }
        st = next;
    }
}

ll_code sch_sync(sch *s, int argc, const char *const *argv, ll_error *err) {
    walk w = {.s = s, .err = err};
    since now = {0};
    bool blocks = false;
    if (argc) return ll_fail(err, LL_USAGE, "'%s': wanted nothing", argv[0]);
    if (s->target->kind != LL_CUDA)
        return ll_fail(err, LL_NOT_LEGAL, "%s has no blocks of threads", s->target->name);
    lp_walk(s->fn->body, is_shared_out, &blocks);
    if (!blocks)
        return ll_fail(err, LL_NOT_LEGAL, "no loop is bound; barriers come last (`bind` first)");
    list(&w, s->fn->body, &now);
    return w.rc;
}
