/* gpu.c: what the rules for GPUs share, and kernels of light definitions.
 *
 *   for rows @block.x {
 *     stage after stage, in shared memory:
 *       elements over the threads, or, for the few sums of a row, the terms over the threads:
 *         alloc reg p[128] layout(32@lane.1 4@warp.1)
 *         for 128 { p[..] = partial sum }  for 128 { s += p[..] } }
 *   barriers (`sync`) last
 *
 * Refused: a kernel whose shared buffers are more than the target has, with both figures. */
#include <stdio.h>
#include <string.h>

#include "schedule/prim.h"
#include "schedule/rules/rules.h"

enum { MAX_ROOT = 64, MAX_CHAIN = 16, FEW = 4 };

static const char *name_of(const lp_stmt *loop) { return loop->u.loop.var->u.axis->name; }

/* ---- the nests of a stage ----------------------------------------------------------------------
 */

typedef struct roots {
    sch *s;
    const char *stage;
    const lp_buf *buf;
    const char *name[MAX_ROOT];
    int n;
} roots;

static bool of_stage(const lp_stmt *loop, const char *stage) {
    size_t n = strlen(stage);
    return !strncmp(name_of(loop), stage, n) && name_of(loop)[n] == '.';
}

static void find_roots(roots *r, lp_stmt *list) {
    for (lp_stmt *st = list; st; st = st->next) {
        bool mine = st->kind == LP_FOR && st->u.loop.how == LP_SERIAL && of_stage(st, r->stage) &&
                    sch_writes(st, r->buf);
        if (mine && r->n < MAX_ROOT) {
            r->name[r->n++] = name_of(st);
            continue;
        }
        lp_stmt **below[SCH_MAX_CHILD];
        int n = sch_children(st, below);
        for (int i = 0; i < n; i++) find_roots(r, *below[i]);
    }
}

static const lp_buf *target_of(sch *s, const char *stage) {
    te_tensor *t = te_find(s->g, stage);
    while (t && t->kind == TE_UPDATE) t = t->base;
    if (t && lp_buf_of(s->fn, t)) return lp_buf_of(s->fn, t);
    for (int i = 0; i < s->fn->n_buf; i++)
        if (!strcmp(s->fn->buf[i]->t->name, stage)) return s->fn->buf[i];
    return NULL;
}

/* Loops in one another with nothing between them but conditions: those over elements, then those of
 * a sum. */
typedef struct chain {
    const char *name[MAX_CHAIN];
    int64_t extent[MAX_CHAIN]; /* 0: not constant */
    bool guarded[MAX_CHAIN];   /* a condition between the loop and the one round it */
    int n;
    lp_stmt *body; /* of the last */
} chain;

typedef struct leaf_index {
    const lp_buf *b;
    te_ref var;
    bool yes;
} leaf_index;

static bool note_index(lp_stmt *st, void *p) {
    leaf_index *l = p;
    const lp_buf *b = st->kind == LP_STORE    ? st->u.store.buf
                      : st->kind == LP_REDUCE ? st->u.reduce.buf
                                              : NULL;
    const te_ref *idx = st->kind == LP_STORE ? st->u.store.idx : st->u.reduce.idx;
    for (int i = 0; b == l->b && b && i < b->t->ndim; i++)
        l->yes = l->yes || te_uses(idx[i], l->var);
    return true;
}

static bool is_element_loop(const lp_stmt *loop, const lp_buf *b) {
    leaf_index l = {b, loop->u.loop.var, false};
    lp_walk(loop->u.loop.body, note_index, &l);
    return l.yes;
}

static chain chain_of(lp_stmt *root, const lp_buf *b) {
    chain c = {0};
    bool guard = false;
    for (lp_stmt *st = root; st && c.n < MAX_CHAIN;) {
        if (st->kind == LP_IF && !st->u.guard.otherwise) {
            guard = true;
            st = st->u.guard.then;
        } else if (st->kind == LP_FOR &&
                   (is_element_loop(st, b) || te_is_int(st->u.loop.var->u.axis->extent, 1))) {
            te_ref e = st->u.loop.var->u.axis->extent;
            c.name[c.n] = name_of(st);
            c.guarded[c.n] = guard;
            c.extent[c.n++] = e->op == TE_INT ? e->u.i : 0;
            guard = false;
            c.body = st->u.loop.body;
            st = st->u.loop.body;
        } else {
            break;
        }
        if (st && st->next) break;
    }
    return c;
}

static bool note_once(lp_stmt *st, void *p) {
    roots *r = p;
    bool once = st->kind == LP_FOR && st->u.loop.how == LP_SERIAL &&
                te_is_int(st->u.loop.var->u.axis->extent, 1);
    if (once && r->n < MAX_ROOT) r->name[r->n++] = name_of(st);
    return true;
}

/* Plain loops that run once go. */
static void drop_once(gpu *u, lp_stmt *list) {
    roots once = {0};
    lp_walk(list, note_once, &once);
    for (int i = 0; i < once.n; i++) rule_try(u->s, "unit %s", once.name[i]);
}

/* ---- sums whose terms are shared out
 * ------------------------------------------------------------- */

typedef struct sum_loop {
    const lp_buf *b;
    const char *name;
    int64_t extent;
    int n;
} sum_loop;

static bool note_sum_loop(lp_stmt *st, void *p) {
    sum_loop *l = p;
    if (st->kind != LP_FOR) return true;
    te_ref e = st->u.loop.var->u.axis->extent;
    l->n++;
    l->name = name_of(st);
    l->extent = e->op == TE_INT ? e->u.i : 0;
    return true;
}

/* Few elements, long sums: partial sums in the registers of all threads. False: not such a nest. */
static bool share_terms(gpu *u, const char *stage, const chain *c, lp_stmt *root) {
    sch *s = u->s;
    int64_t elements = 1;
    sum_loop l = {0};
    for (int i = 0; i < c->n; i++) elements *= c->extent[i] ? c->extent[i] : FEW + 1;
    if (elements > FEW) return false;
    if (c->n)
        lp_walk(c->body, note_sum_loop, &l);
    else
        note_sum_loop(root, &l);
    if (l.n != 1 || l.extent < 2 * GPU_WARP) return false;
    int64_t threads = u->threads;
    while (threads > GPU_WARP && threads > l.extent) threads /= 2;
    const char *red = l.name, *rf = ll_sprintf(te_arena(s->g), "%s.rf", stage);
    if (!rule_try(s, "split %s %lld", red, (long long)threads)) return false;
    if (!rule_try(s, "reorder %s.i %s.o", red, red) || !rule_try(s, "rfactor %s.i", red))
        return false;
    if (!rule_try(s, "scope %s reg", rf)) return true;
    const lp_buf *b = target_of(s, rf);
    char rest[128] = "";
    for (int i = 1; b && i < b->t->ndim; i++) strcat(rest, " | ...@reg.1");
    if (b && b->t->ndim > 2) return true; /* several axes of registers: memory of the block */
    rule_try(s, "layout %s layout(%d@lane.1 ...@warp.1%s)", rf, GPU_WARP, rest);
    rule_try(s, "scope %s reg", stage); /* all threads come to hold it */
    return true;
}

/* ---- elements over threads --------------------------------------------------------------------
 */

static bool independent(sch *s, const char *loop) {
    ll_error ignored = {0};
    lp_stmt *l = sch_find_loop_quiet(s, loop);
    return l && sch_independent(s, l, true, &ignored) == LL_OK;
}

/* The loops of a chain over elements become threads, the innermost first. */
static void map_elements(gpu *u, const char *stage, const chain *of) {
    sch *s = u->s;
    chain c = *of;
    while (c.n > 1 && c.extent[c.n - 1] == 1) c.n--;
    const char *inner = c.name[c.n - 1];
    int64_t extent = c.extent[c.n - 1];
    int i = c.n - 2;
    while (i >= 0 && c.extent[i] == 1)
        i--; /* two loops in one, not more: its iterations are told apart by two digits */
    if (i >= 0 && extent && extent < u->threads && c.extent[i] && !c.guarded[i + 1] &&
        independent(s, c.name[i])) {
        const char *flat = ll_sprintf(te_arena(s->g), "%s.f%d", stage, u->n_flat++);
        if (rule_try(s, "fuse %s %s %s", c.name[i], inner, flat))
            extent *= c.extent[i], inner = flat;
    }
    if (!extent || !independent(s, inner)) return;
    if (extent > u->threads) {
        if (!rule_try(s, "split %s %d", inner, u->threads)) return;
        inner = ll_sprintf(te_arena(s->g), "%s.i", inner);
    }
    rule_try(s, "bind %s thread.x", inner);
}

static void map_root(gpu *u, const char *stage, const char *root) {
    lp_stmt *loop = sch_find_loop_quiet(u->s, root);
    const lp_buf *b = target_of(u->s, stage);
    if (!loop || !b) return;
    chain c = chain_of(loop, b);
    if (!share_terms(u, stage, &c, loop) && c.n) map_elements(u, stage, &c);
}

void gpu_stage(gpu *u, const char *stage, const char *inside) {
    lp_stmt *at = inside ? sch_find_loop_quiet(u->s, inside) : NULL;
    roots r = {.s = u->s, .stage = stage, .buf = target_of(u->s, stage)};
    if (!r.buf) return;
    find_roots(&r, at ? at->u.loop.body : u->s->fn->body);
    for (int i = 0; i < r.n; i++) map_root(u, stage, r.name[i]);
}

typedef struct written {
    const lp_buf *b;
    bool several;
} written;

static bool note_written(lp_stmt *st, void *p) {
    written *w = p;
    const lp_buf *b = st->kind == LP_STORE    ? st->u.store.buf
                      : st->kind == LP_REDUCE ? st->u.reduce.buf
                                              : NULL;
    w->several = w->several || (b && w->b && w->b != b);
    if (b) w->b = b;
    return true;
}

static void find_nests(roots *r, lp_stmt *list) {
    for (lp_stmt *st = list; st; st = st->next) {
        written w = {0};
        if (st->kind == LP_FOR) lp_walk(st->u.loop.body, note_written, &w);
        if (st->kind == LP_FOR && st->u.loop.how == LP_SERIAL && w.b && !w.several) {
            if (r->n < MAX_ROOT) r->name[r->n++] = name_of(st);
            continue;
        }
        lp_stmt **below[SCH_MAX_CHILD];
        int n = sch_children(st, below);
        for (int i = 0; i < n; i++) find_nests(r, *below[i]);
    }
}

void gpu_nests(gpu *u, const char *inside) {
    lp_stmt *at = sch_find_loop_quiet(u->s, inside);
    roots r = {.s = u->s};
    if (at) find_nests(&r, at->u.loop.body);
    for (int i = 0; i < r.n; i++) {
        written w = {0};
        at = sch_find_loop_quiet(u->s, r.name[i]);
        if (at) lp_walk(at->u.loop.body, note_written, &w);
        chain c = {0};
        if (w.b) c = chain_of(at, w.b);
        if (c.n) map_elements(u, r.name[i], &c);
    }
}

/* ---- limits ------------------------------------------------------------------------------------
 */

typedef struct shared_sum {
    sch *s;
    int64_t bytes;
    bool unknown;
    const char *which;
} shared_sum;

static bool add_shared(lp_stmt *st, void *p) {
    shared_sum *q = p;
    if (st->kind != LP_ALLOC || st->u.alloc.buf->scope != LP_SHARED) return true;
    const lp_buf *b = st->u.alloc.buf;
    int bits = ll_dtype_bits((ll_dtype)b->t->dtype);
    const lp_layout *l =
        b->layout ? b->layout : lp_layout_dense(q->s->g, b->t->shape, b->t->ndim, bits);
    te_ref n = te_simplify(q->s->g, lp_layout_bits(q->s->g, l, b->t->shape, b->t->ndim, bits));
    if (n->op != TE_INT)
        q->unknown = true, q->which = b->t->name;
    else
        q->bytes += (n->u.i / 8 + 15) / 16 * 16;
    return true;
}

static ll_code check_limits(gpu *u) {
    shared_sum q = {.s = u->s};
    lp_walk(u->s->fn->body, add_shared, &q);
    if (q.unknown)
        return ll_fail(u->err, LL_UNSUPPORTED,
                       "%s: the size of %s in shared memory is not constant", u->s->fn->name,
                       q.which);
    if (q.bytes > u->s->target->max_shared)
        return ll_fail(u->err, LL_UNSUPPORTED,
                       "%s: %lld bytes of shared memory, %s has %lld a block", u->s->fn->name,
                       (long long)q.bytes, u->s->target->name, (long long)u->s->target->max_shared);
    return LL_OK;
}

/* Scratch of threads has no place on a GPU: what is left of it belongs to the block. */
ll_code gpu_settle(gpu *u) {
    sch *s = u->s;
    for (int i = 0; i < s->fn->n_buf; i++)
        if (s->fn->buf[i]->scope == LP_THREAD)
            LL_TRY(rule_do(s, u->err, "scope %s shared", s->fn->buf[i]->t->name));
    return LL_OK;
}

typedef struct by_threads {
    const lp_buf *b;
    bool yes;
} by_threads;

static bool note_thread_write(lp_stmt *st, void *p) {
    by_threads *w = p;
    if (st->kind == LP_FOR && st->u.loop.how == LP_THREAD_X && sch_writes(st, w->b)) w->yes = true;
    return !w->yes;
}

/* A few values that no loop over threads writes: every thread computes and holds them. */
static void hold_few(gpu *u) {
    sch *s = u->s;
    for (int i = 0; i < s->fn->n_buf; i++) {
        const lp_buf *b = s->fn->buf[i];
        int64_t n = 1;
        for (int d = 0; d < b->t->ndim; d++)
            n *= b->t->shape[d]->op == TE_INT ? b->t->shape[d]->u.i : FEW + 1;
        by_threads w = {.b = b};
        if (b->param >= 0 || n > FEW || (b->scope != LP_SHARED && b->scope != LP_THREAD)) continue;
        lp_walk(s->fn->body, note_thread_write, &w);
        if (!w.yes) rule_try(s, "scope %s reg", b->t->name);
    }
}

static ll_code gpu_finish(gpu *u) {
    drop_once(u, u->s->fn->body);
    hold_few(u);
    LL_TRY(gpu_settle(u));
    LL_TRY(check_limits(u));
    return rule_do(u->s, u->err, "sync");
}

/* ---- kernels of light definitions
 * ---------------------------------------------------------------- */

/* The row loop of each output becomes one loop, over blocks; everything else moves into it. */
static ll_code gpu_rows(gpu *u) {
    sch *s = u->s;
    const rule_kernel *k = u->k;
    const char *outer = NULL;
    for (int i = 0; i < k->n_stage; i++) {
        if (!k->stage[i].root) continue;
        const char *loop = rule_axis_loop(s, k->stage[i].t, 0);
        if (!outer)
            outer = loop;
        else
            LL_TRY(rule_do(s, u->err, "merge %s %s", outer, loop));
    }
    if (!outer) return ll_fail(u->err, LL_FAILED, "%s: a kernel without outputs", s->fn->name);
    for (int i = k->n_stage - 1; i >= 0; i--)
        if (!k->stage[i].root)
            LL_TRY(rule_do(s, u->err, "at %s %s shared", k->stage[i].t->name, outer));
    for (int i = 0; i < k->n_stage; i++) gpu_stage(u, k->stage[i].t->name, outer);
    LL_TRY(gpu_settle(u));
    return rule_do(s, u->err, "bind %s block.x", outer);
}

ll_code rule_gpu(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err) {
    gpu u = {.s = s, .k = k, .knobs = knobs, .err = err, .threads = 4 * GPU_WARP};
    for (int i = 0; i < k->n_weight; i++) LL_TRY(rule_pack(s, &k->weight[i], err));
    switch (k->class) {
    case RULE_MATMUL:
        LL_TRY(gpu_matmul(&u));
        break;
    case RULE_RAGGED:
        LL_TRY(gpu_ragged(&u));
        break;
    case RULE_ROWS:
        LL_TRY(gpu_rows(&u));
        break;
    }
    return gpu_finish(&u);
}
