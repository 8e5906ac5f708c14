/* matmul.c: kernels round sums over rows of constant matrices, y[t, n] = sum(k: x[t, k] * W[n, k]).
 *
 * One row (gemv): the weights stream once and decide the time. Each part is one tile of columns:
 *
 *   [prologue, per thread: norm, quantisation ...]
 *   for tile @claim {
 *     for panel { acc[2 vectors] = 0
 *       for b { [prefetch];  dot[..] = init;  for 4 columns: integer dot;  acc += scales * dot } }
 *     [local stages: activation, rotation, blockwise quantisation, stores] }
 *
 * Few rows and many rows keep the structure with a tile of rows inside the panel; many rows decode the panel once into
 * thread scratch. */
#include <stdio.h>
#include <string.h>

#include "schedule/intrin.h"
#include "schedule/prim.h"
#include "schedule/rules/rules.h"

typedef struct mm {
    sch *s;
    const rule_kernel *k;
    const rule_knobs *knobs;
    ll_error *err;
    int64_t lanes, rows; /* of a vector; of a row tile */
    int n_made;           /* definitions that factoring made */
    struct { te_tensor *t; const te_tensor *of; bool dot; } made[64]; /* dot: reads the matrix */
} mm;

/* ---- which matrix a contraction reads ---------------------------------------------------------------------------- */

typedef struct find_w { const rule_kernel *k; const rule_weight *found; } find_w;

static bool find_weight(te_ref e, void *p)
{
    find_w *f = p;
    if (e->op != TE_LOAD) return true;
    const te_tensor *t = e->u.t->kind == TE_PLANE ? e->u.t->base : e->u.t;
    for (int i = 0; i < f->k->n_weight && !f->found; i++)
        if (f->k->weight[i].t == t) f->found = &f->k->weight[i];
    return !f->found;
}

static const rule_weight *weight_of(const rule_kernel *k, const te_tensor *t)
{
    find_w f = {k, NULL};
    te_walk(t->body, find_weight, &f);
    return f.found;
}

/* ---- stages that factoring made --------------------------------------------------------------------------------- */

static bool reads_weight(const rule_kernel *k, const te_tensor *t)
{
    return t->body && weight_of(k, t) != NULL;
}

/* The nth sum of products that factoring made of contraction y, or NULL. */
static te_tensor *made_dot(const mm *m, const te_tensor *y, int nth)
{
    for (int i = 0; i < m->n_made; i++)
        if (m->made[i].of == y && m->made[i].dot && nth-- == 0) return m->made[i].t;
    return NULL;
}

/* ---- prologue ------------------------------------------------------------------------------------------------------ */

static ll_code prologue(mm *m)
{
    for (int i = 0; i < m->k->n_stage; i++) {
        const rule_stage *st = &m->k->stage[i];
        if (!st->prologue) continue;
        LL_TRY(rule_vectorize_stage(m->s, st->t, NULL, m->err));
    }
    /* sums of codes and the like that factoring made: free of the weights, shared by all parts */
    for (int i = 0; i < m->n_made; i++)
        if (!m->made[i].dot) LL_TRY(rule_vectorize_stage(m->s, m->made[i].t, NULL, m->err));
    return LL_OK;
}

/* Names of a contraction's axes: loops are called by them. */
static const char *row_name(const te_tensor *y) { return y->axis[0]->u.axis->name; }
static const char *col_name(const te_tensor *y) { return y->axis[1]->u.axis->name; }
static const char *sum_name(const te_tensor *y) { return y->body->src[1]->u.axis->name; }

/* ---- one contraction inside the loop `outer` ------------------------------------------------------------------------ */

static bool tensorize(mm *m, const char *loop)
{
    for (int i = 0; i < lp_n_intrins(); i++) {
        const lp_intrin *r = lp_intrin_at(i);
        if (r->n != m->lanes || r->k != 4 || r->acc != LL_S32) continue;
        if (rule_try(m->s, "tensorize %s %s", loop, r->name)) return true;
    }
    return false;
}

/* The dot products of one block: vectors of rows times 4 columns, in the order of their bytes in memory (a vector of rows
 * keeps its columns together): the hardware's prefetchers follow addresses that only go up. */
static ll_code schedule_dot(mm *m, const te_tensor *of, const char *y, const char *d)
{
    sch *s = m->s;
    const char *t = row_name(of), *n = col_name(of);
    LL_TRY(rule_do(s, m->err, "at %s %s.%s.o reg", d, y, sum_name(of)));
    if (rule_has_loop(s, "%s.b", d)) LL_TRY(rule_do(s, m->err, "unit %s.b", d));
    LL_TRY(rule_do(s, m->err, "split %s.%s %lld %s.n.s %s.n.l", d, n, (long long)m->lanes, d, d));
    int64_t r = rule_const_extent(rule_loop_var(s, "%s.r", d));
    if (r % 4 == 0) {
        LL_TRY(rule_do(s, m->err, "split %s.r 4", d));
        if (rule_has_loop(s, "%s.%s", d, t)) LL_TRY(rule_do(s, m->err, "reorder %s.n.s %s.r.o %s.%s %s.n.l %s.r.i", d, d, d, t, d, d));
        else LL_TRY(rule_do(s, m->err, "reorder %s.n.s %s.r.o %s.n.l %s.r.i", d, d, d, d));
        if (rule_has_loop(s, "%s.n.s.pre", d)) rule_try(s, "unroll %s.n.s.pre", d);
        if (rule_has_loop(s, "%s.n.l.pre", d)) rule_try(s, "vectorize %s.n.l.pre", d);
        if (rule_has_loop(s, "%s.%s.pre", d, t)) rule_try(s, "unroll %s.%s.pre", d, t);
        LL_TRY(rule_do(s, m->err, "vectorize %s.n.l", d));
        if (!tensorize(m, ll_sprintf(te_arena(s->g), "%s.n.l", d))) LL_TRY(rule_do(s, m->err, "unroll %s.r.i", d));
        LL_TRY(rule_do(s, m->err, "unroll %s.r.o", d));
    } else {
        LL_TRY(rule_do(s, m->err, "reorder %s.n.s %s.r %s.n.l", d, d, d));
        if (rule_has_loop(s, "%s.n.s.pre", d)) rule_try(s, "unroll %s.n.s.pre", d);
        if (rule_has_loop(s, "%s.n.l.pre", d)) rule_try(s, "vectorize %s.n.l.pre", d);
        LL_TRY(rule_do(s, m->err, "vectorize %s.n.l", d));
        LL_TRY(rule_do(s, m->err, "unroll %s.r", d));
    }
    LL_TRY(rule_do(s, m->err, "unroll %s.n.s", d));
    if (rule_has_loop(s, "%s.%s", d, t)) LL_TRY(rule_do(s, m->err, "unroll %s.%s", d, t));
    return LL_OK;
}

/* How far ahead to fetch; 0 or less: not at all. One row reads a matrix of one stream at the speed of memory when left to
 * the hardware: a fetch by hand holds one of the core's few buffers for misses as long as a load does. With more streams,
 * or work for more rows between the lines, the hardware does not keep up. */
static long long ahead_of(const mm *m, const rule_weight *w)
{
    if (m->knobs->prefetch) return m->knobs->prefetch;
    return m->k->one_row && w->streams == 1 ? 0 : 6144;
}

/* The loop k of granules as superblocks, units of one, granules of a unit. The granules of a unit share bytes: unrolled,
 * their shifts are constants. Memory moves on evenly from superblock to superblock only, so the fetches of what is ahead
 * are counted out there and done unit by unit. */
static ll_code walk_matrix(mm *m, const rule_weight *w, const char *n, const char *k)
{
    sch *s = m->s;
    int64_t step = w->granule, units = 1;
    if (w->unit > step && w->unit % step == 0) {
        LL_TRY(rule_do(s, m->err, "split %s.%s %lld %s.k.u %s.k.g", n, k, (long long)(w->unit / step), n, n));
        LL_TRY(rule_do(s, m->err, "unroll %s.k.g", n));
        step = w->unit, k = "k.u";
    }
    if (w->super > step && w->super % step == 0) {
        units = w->super / step;
        LL_TRY(rule_do(s, m->err, "split %s.%s %lld %s.k.s %s.k.b", n, k, (long long)units, n, n));
    }
    long long ahead = ahead_of(m, w);
    if (ahead <= 0) return LL_OK;
    if (units > 1) rule_try(s, "prefetch %s.packed %s.k.s %lld over=%s.k.b level=2", w->t->name, n, ahead, n);
    else rule_try(s, "prefetch %s.packed %s.%s %lld level=2", w->t->name, n, k, ahead);
    return LL_OK;
}

/* `n` is the stage that accumulates y: y itself, or its register copy. */
static ll_code contraction(mm *m, te_tensor *y, const char *n, const char *outer, int64_t tile)
{
    sch *s = m->s;
    const rule_weight *w = weight_of(m->k, y);
    if (!w) return ll_fail(m->err, LL_FAILED, "%s: no packing for the matrix of %s", s->fn->name, n);
    bool factored = made_dot(m, y, 0) != NULL;
    const char *k = factored ? ll_sprintf(te_arena(s->g), "%s.o", sum_name(y)) : sum_name(y);
    LL_TRY(rule_do(s, m->err, "at %s %s reg", n, outer));
    if (tile > w->panel) LL_TRY(rule_do(s, m->err, "split %s.%s %lld %s.n.p %s.n.q", n, col_name(y), (long long)w->panel, n, n));
    const char *cols = tile > w->panel ? "n.q" : col_name(y);
    LL_TRY(rule_do(s, m->err, "split %s.%s %lld %s.n.s %s.n.l", n, cols, (long long)m->lanes, n, n));
    const char *t = m->k->one_row ? NULL : row_name(y);
    if (t) LL_TRY(rule_do(s, m->err, "reorder %s.%s %s.n.s %s.%s %s.n.l", n, k, n, n, t, n));
    else LL_TRY(rule_do(s, m->err, "reorder %s.%s %s.n.s %s.n.l", n, k, n, n));
    rule_try(s, "unroll %s.n.s.pre", n);
    rule_try(s, "vectorize %s.n.l.pre", n);
    if (t) rule_try(s, "unroll %s.%s.pre", n, t);
    for (int i = 0; factored; i++) {
        te_tensor *dot = made_dot(m, y, i);
        if (!dot) break;
        LL_TRY(schedule_dot(m, y, n, dot->name));
    }
    LL_TRY(rule_do(s, m->err, "vectorize %s.n.l", n));
    LL_TRY(rule_do(s, m->err, "unroll %s.n.s", n));
    if (t) LL_TRY(rule_do(s, m->err, "unroll %s.%s", n, t));
    if (tile > w->panel) {
        LL_TRY(rule_do(s, m->err, "unroll %s.n.p", n));
        rule_try(s, "unroll %s.n.p.pre", n);
    }
    if (factored && w->granule) LL_TRY(walk_matrix(m, w, n, k));
    else if (ahead_of(m, w) > 0) rule_try(s, "prefetch %s.packed %s.%s %lld level=2", w->t->name, n, k, ahead_of(m, w));
    return LL_OK;
}

/* ---- groups ------------------------------------------------------------------------------------------------------------ */

/* Columns of a stage: its axes behind the row, as one loop; its name. */
static ll_code column_loop(mm *m, te_tensor *t, const char **loop, int64_t *cols)
{
    sch *s = m->s;
    const char *name = rule_axis_loop(s, t, 1);
    *cols = rule_const_extent(t->axis[1]);
    for (int i = 2; i < t->n_axis; i++) {
        const char *flat = ll_sprintf(te_arena(s->g), "%s.c%d", t->name, i);
        LL_TRY(rule_do(s, m->err, "fuse %s %s %s", name, rule_axis_loop(s, t, i), flat));
        *cols *= rule_const_extent(t->axis[i]);
        name = flat;
    }
    *loop = name;
    return LL_OK;
}

/* Many rows: row tiles go inside the tiles of columns, so that a panel of weights serves all of them. Gives the loop over
 * row tiles. */
static ll_code row_tiles(mm *m, const te_tensor *t, const char *to, const char **tiles)
{
    sch *s = m->s;
    const char *rows = rule_axis_loop(s, t, 0);
    LL_TRY(rule_do(s, m->err, "split %s %lld tail=exact", rows, (long long)m->rows));
    *tiles = ll_sprintf(te_arena(s->g), "%s.o", rows);
    return rule_do(s, m->err, "reorder %s %s %s.i", to, *tiles, rows);
}

/* The stages of group g in one loop over tiles; gives its name. */
static ll_code group(mm *m, int g, const char **claimed)
{
    sch *s = m->s;
    const rule_kernel *k = m->k;
    int64_t cols = 0, tile = k->tile[g];
    const char *inner = NULL, **outer = k->one_row ? claimed : &inner; /* where tiles are computed */
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].group == g && k->stage[i].contraction) cols = rule_const_extent(k->stage[i].t->axis[1]);
    int64_t n_tile = (cols + tile - 1) / tile;
    *claimed = NULL;
    for (int i = 0; i < k->n_stage; i++) {
        const rule_stage *st = &k->stage[i];
        if (st->group != g || !st->root) continue;
        te_tensor *t = st->t;
        if (st->contraction) { /* an output that is a sum: accumulated in registers, copied out */
            LL_TRY(rule_do(s, m->err, "cache_write %s reg", t->name));
            if (k->one_row) LL_TRY(rule_do(s, m->err, "unit %s", rule_axis_loop(s, t, 0)));
        }
        const char *loop;
        int64_t c;
        LL_TRY(column_loop(m, t, &loop, &c));
        int64_t per = (c + n_tile - 1) / n_tile;
        if (per > 1) {
            LL_TRY(rule_do(s, m->err, "split %s %lld %s.to %s.ti", loop, (long long)per, t->name, t->name));
            loop = ll_sprintf(te_arena(s->g), "%s.to", t->name);
        }
        const char *tiles = NULL;
        if (!k->one_row) LL_TRY(row_tiles(m, t, loop, &tiles));
        if (!*claimed) {
            *claimed = loop;
            inner = tiles;
        } else {
            LL_TRY(rule_do(s, m->err, "merge %s %s", *claimed, loop));
            if (tiles) LL_TRY(rule_do(s, m->err, "merge %s %s", inner, tiles));
        }
    }
    if (!*claimed) return ll_fail(m->err, LL_FAILED, "%s: group %d has no output", s->fn->name, g);
    for (int i = k->n_stage - 1; i >= 0; i--) {
        const rule_stage *st = &k->stage[i];
        if (st->group != g) continue;
        if (st->contraction) {
            te_tensor *y = st->t;
            LL_TRY(contraction(m, y, st->root ? ll_sprintf(te_arena(s->g), "%s.c", y->name) : y->name, *outer, tile));
        } else if (!st->root) {
            LL_TRY(rule_do(s, m->err, "at %s %s reg", st->t->name, *outer));
        }
    }
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].group == g && (!k->stage[i].contraction || k->stage[i].root)) LL_TRY(rule_vectorize_stage(s, k->stage[i].t, *outer, m->err));
    const char *keep[64];
    int n_keep = 0;
    for (int i = 0; i < k->n_stage && n_keep < 63; i++)
        if (k->stage[i].contraction && k->stage[i].group == g) {
            keep[n_keep++] = k->stage[i].root ? ll_sprintf(te_arena(s->g), "%s.c", k->stage[i].t->name) : k->stage[i].t->name;
        }
    for (int i = 0; i < m->n_made && n_keep < 64; i++) keep[n_keep++] = m->made[i].t->name;
    rule_unroll_inside(s, *outer, keep, n_keep);
    return LL_OK;
}

static bool known(const te_tensor *t, te_tensor *const *old, int n)
{
    for (int i = 0; i < n; i++)
        if (old[i] == t) return true;
    return false;
}

typedef struct order_search { const rule_kernel *k; int n; const rule_stage *found[64]; } order_search;

static bool note_order(lp_stmt *st, void *p)
{
    order_search *o = p;
    for (int i = 0; st->kind == LP_REDUCE && i < o->k->n_stage && o->n < 64; i++)
        if (o->k->stage[i].contraction && o->k->stage[i].t == st->u.reduce.buf->t) o->found[o->n++] = &o->k->stage[i];
    return true;
}

static ll_code factor_all(mm *m)
{
    lp_func *f = m->s->fn;
    order_search o = {.k = m->k};
    lp_walk(f->body, note_order, &o); /* as they stand in the tree: a sum made by one is there for the next */
    for (int i = 0; i < o.n; i++) {
        const rule_stage *st = o.found[i];
        const rule_weight *w = weight_of(m->k, st->t);
        if (!w || w->granule <= 1) continue;
        int n = f->n_buf;
        te_tensor **old = LL_NEW_N(te_arena(m->s->g), te_tensor *, n + 1);
        for (int b = 0; b < n; b++) old[b] = f->buf[b]->t;
        if (!rule_try(m->s, "factor %s %s %lld", st->t->name, sum_name(st->t), (long long)w->granule)) continue;
        for (int b = 0; b < f->n_buf; b++) {
            te_tensor *t = f->buf[b]->t;
            if (known(t, old, n)) continue;
            if (m->n_made == 64) return ll_fail(m->err, LL_UNSUPPORTED, "%s: factoring makes too many definitions", f->name);
            m->made[m->n_made].t = t;
            m->made[m->n_made].of = st->t;
            m->made[m->n_made++].dot = reads_weight(m->k, t);
        }
    }
    return LL_OK;
}

/* One row: the row loops of what the parts compute go. */
static ll_code drop_rows(mm *m)
{
    for (int i = 0; i < m->k->n_stage; i++)
        if (m->k->stage[i].group >= 0) LL_TRY(rule_do(m->s, m->err, "unit %s", rule_axis_loop(m->s, m->k->stage[i].t, 0)));
    for (int i = 0; i < m->n_made; i++) {
        const char *loop = rule_axis_loop(m->s, m->made[i].t, 0);
        if (m->made[i].dot && rule_has_loop(m->s, "%s", loop) && rule_const_extent(m->made[i].t->axis[0]) == 1) LL_TRY(rule_do(m->s, m->err, "unit %s", loop));
    }
    return LL_OK;
}

ll_code rule_matmul(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err)
{
    mm m = {.s = s, .k = k, .knobs = knobs, .err = err, .lanes = rule_lanes(s), .rows = 4};
    for (int i = 0; i < k->n_weight; i++) LL_TRY(rule_pack(s, &k->weight[i], err));
    LL_TRY(factor_all(&m));
    if (k->one_row) LL_TRY(drop_rows(&m));
    const char *outer[64];
    if (k->n_group > 64) return ll_fail(err, LL_UNSUPPORTED, "%s: %d groups", s->fn->name, k->n_group);
    for (int g = 0; g < k->n_group; g++) LL_TRY(group(&m, g, &outer[g]));
    LL_TRY(prologue(&m));
    if (k->n_group == 1) return rule_do(s, err, "claim %s", outer[0]);
    char line[2048];
    int at = snprintf(line, sizeof line, "union");
    for (int g = 0; g < k->n_group; g++) at += snprintf(line + at, sizeof line - (size_t)at, " %s", outer[g]);
    return rule_do(s, err, "%s name=parts", line);
}
