/* matmul.c: kernels round sums over rows of constant matrices, y[t, n] = sum(k: x[t, k] * W[n, k]).
 *
 * One row (gemv): the weights stream once and decide the time. Each part is one tile of columns:
 *
 *   [prologue, per thread: norm, quantisation ...]
 *   for tile @claim {
 *     for panel { acc[2 vectors] = 0
 *       for b { prefetch;  dot[..] = init;  for 4 columns: integer dot;  acc += scales * dot } }
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
    int64_t lanes, rows;  /* rows of a register tile */
    int n_buf;            /* buffers before factoring: later ones are what factoring made */
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

/* The integer products of contraction y (made by `factor`, named y.dot...), or NULL. */
static te_tensor *made_dot(const mm *m, const te_tensor *y, int nth)
{
    size_t n = strlen(y->name);
    for (int i = m->n_buf; i < m->s->fn->n_buf; i++) {
        te_tensor *t = m->s->fn->buf[i]->t;
        if (strncmp(t->name, y->name, n) || t->name[n] != '.' || !reads_weight(m->k, t)) continue;
        if (nth-- == 0) return t;
    }
    return NULL;
}

/* ---- prologue ------------------------------------------------------------------------------------------------------ */

static ll_code prologue(mm *m)
{
    for (int i = 0; i < m->k->n_stage; i++) {
        const rule_stage *st = &m->k->stage[i];
        if (!st->prologue) continue;
        LL_TRY(rule_vectorize_stage(m->s, st->t, false, m->err));
    }
    /* sums of codes and the like that factoring made: free of the weights, shared by all parts */
    for (int i = m->n_buf; i < m->s->fn->n_buf; i++) {
        te_tensor *t = m->s->fn->buf[i]->t;
        if (t->kind != TE_DEF || reads_weight(m->k, t)) continue;
        LL_TRY(rule_vectorize_stage(m->s, t, false, m->err));
    }
    return LL_OK;
}

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

/* The dot products of one block: vectors of rows times 4 columns. */
static ll_code schedule_dot(mm *m, const te_tensor *y, te_tensor *dot)
{
    sch *s = m->s;
    const char *d = dot->name;
    LL_TRY(rule_do(s, m->err, "at %s %s.k.o reg", d, y->name));
    if (rule_has_loop(s, "%s.b", d)) LL_TRY(rule_do(s, m->err, "unit %s.b", d));
    LL_TRY(rule_do(s, m->err, "split %s.n %lld %s.n.s %s.n.l", d, (long long)m->lanes, d, d));
    int64_t r = rule_const_extent(rule_loop_var(s, "%s.r", d));
    if (r % 4 == 0) {
        LL_TRY(rule_do(s, m->err, "split %s.r 4", d));
        if (rule_has_loop(s, "%s.t", d)) LL_TRY(rule_do(s, m->err, "reorder %s.r.o %s.n.s %s.t %s.n.l %s.r.i", d, d, d, d, d));
        else LL_TRY(rule_do(s, m->err, "reorder %s.r.o %s.n.s %s.n.l %s.r.i", d, d, d, d));
        if (rule_has_loop(s, "%s.n.s.pre", d)) rule_try(s, "unroll %s.n.s.pre", d);
        if (rule_has_loop(s, "%s.n.l.pre", d)) rule_try(s, "vectorize %s.n.l.pre", d);
        if (rule_has_loop(s, "%s.t.pre", d)) rule_try(s, "unroll %s.t.pre", d);
        LL_TRY(rule_do(s, m->err, "vectorize %s.n.l", d));
        if (!tensorize(m, ll_sprintf(te_arena(s->g), "%s.n.l", d))) LL_TRY(rule_do(s, m->err, "unroll %s.r.i", d));
        LL_TRY(rule_do(s, m->err, "unroll %s.r.o", d));
    } else {
        LL_TRY(rule_do(s, m->err, "reorder %s.r %s.n.s %s.n.l", d, d, d));
        if (rule_has_loop(s, "%s.n.s.pre", d)) rule_try(s, "unroll %s.n.s.pre", d);
        if (rule_has_loop(s, "%s.n.l.pre", d)) rule_try(s, "vectorize %s.n.l.pre", d);
        LL_TRY(rule_do(s, m->err, "vectorize %s.n.l", d));
        LL_TRY(rule_do(s, m->err, "unroll %s.r", d));
    }
    LL_TRY(rule_do(s, m->err, "unroll %s.n.s", d));
    if (rule_has_loop(s, "%s.t", d)) LL_TRY(rule_do(s, m->err, "unroll %s.t", d));
    return LL_OK;
}

static ll_code contraction(mm *m, te_tensor *y, const char *outer, int64_t tile)
{
    sch *s = m->s;
    const char *n = y->name;
    const rule_weight *w = weight_of(m->k, y);
    if (!w) return ll_fail(m->err, LL_FAILED, "%s: no packing for the matrix of %s", s->fn->name, n);
    bool factored = made_dot(m, y, 0) != NULL;
    const char *k = factored ? "k.o" : "k";
    LL_TRY(rule_do(s, m->err, "at %s %s reg", n, outer));
    if (tile > w->panel) LL_TRY(rule_do(s, m->err, "split %s.n %lld %s.n.p %s.n.q", n, (long long)w->panel, n, n));
    const char *inner = tile > w->panel ? "n.q" : "n";
    LL_TRY(rule_do(s, m->err, "split %s.%s %lld %s.n.s %s.n.l", n, inner, (long long)m->lanes, n, n));
    LL_TRY(rule_do(s, m->err, "reorder %s.%s %s.n.s %s.n.l", n, k, n, n));
    rule_try(s, "unroll %s.n.s.pre", n);
    rule_try(s, "vectorize %s.n.l.pre", n);
    for (int i = 0; factored; i++) {
        te_tensor *dot = made_dot(m, y, i);
        if (!dot) break;
        LL_TRY(schedule_dot(m, y, dot));
    }
    LL_TRY(rule_do(s, m->err, "vectorize %s.n.l", n));
    LL_TRY(rule_do(s, m->err, "unroll %s.n.s", n));
    if (tile > w->panel) LL_TRY(rule_do(s, m->err, "unroll %s.n.p", n));
    int64_t ahead = m->knobs->prefetch ? m->knobs->prefetch : 4096;
    if (ahead > 0) rule_try(s, "prefetch %s.packed %s.%s %lld", w->t->name, n, k, (long long)ahead);
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

/* The stages of group g in one loop over tiles; gives its name. */
static ll_code group(mm *m, int g, const char **outer)
{
    sch *s = m->s;
    const rule_kernel *k = m->k;
    int64_t cols = 0, tile = k->tile[g];
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].group == g && k->stage[i].contraction) cols = rule_const_extent(k->stage[i].t->axis[1]);
    int64_t tiles = (cols + tile - 1) / tile;
    *outer = NULL;
    for (int i = 0; i < k->n_stage; i++) {
        const rule_stage *st = &k->stage[i];
        if (st->group != g || !st->root) continue;
        te_tensor *t = st->t;
        if (st->contraction) { /* an output that is a sum: accumulated in registers, copied out */
            LL_TRY(rule_do(s, m->err, "cache_write %s reg", t->name));
        }
        const char *loop;
        int64_t c;
        LL_TRY(column_loop(m, t, &loop, &c));
        int64_t per = (c + tiles - 1) / tiles;
        if (per > 1) {
            LL_TRY(rule_do(s, m->err, "split %s %lld %s.to %s.ti", loop, (long long)per, t->name, t->name));
            loop = ll_sprintf(te_arena(s->g), "%s.to", t->name);
        }
        if (!*outer) *outer = loop;
        else LL_TRY(rule_do(s, m->err, "merge %s %s", *outer, loop));
    }
    if (!*outer) return ll_fail(m->err, LL_FAILED, "%s: group %d has no output", s->fn->name, g);
    for (int i = k->n_stage - 1; i >= 0; i--) {
        const rule_stage *st = &k->stage[i];
        if (st->group != g) continue;
        if (st->contraction) {
            te_tensor *y = st->t;
            if (st->root) {
                const char *c = ll_sprintf(te_arena(s->g), "%s.c", y->name);
                y = NULL;
                for (int b = 0; b < s->fn->n_buf; b++)
                    if (!strcmp(s->fn->buf[b]->t->name, c)) y = s->fn->buf[b]->t;
                if (!y) return ll_fail(m->err, LL_FAILED, "%s: no stage %s", s->fn->name, c);
            }
            LL_TRY(contraction(m, y, *outer, tile));
        } else if (!st->root) {
            LL_TRY(rule_do(s, m->err, "at %s %s reg", st->t->name, *outer));
        }
    }
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].group == g && (!k->stage[i].contraction || k->stage[i].root)) LL_TRY(rule_vectorize_stage(s, k->stage[i].t, false, m->err));
    return LL_OK;
}

static ll_code factor_all(mm *m)
{
    m->n_buf = m->s->fn->n_buf;
    for (int i = 0; i < m->k->n_stage; i++) {
        const rule_stage *st = &m->k->stage[i];
        if (!st->contraction) continue;
        const rule_weight *w = weight_of(m->k, st->t);
        if (w && w->granule > 1) rule_try(m->s, "factor %s k %lld", st->t->name, (long long)w->granule);
    }
    return LL_OK;
}

ll_code rule_matmul(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err)
{
    mm m = {.s = s, .k = k, .knobs = knobs, .err = err, .lanes = rule_lanes(s)};
    for (int i = 0; i < k->n_weight; i++) LL_TRY(rule_pack(s, &k->weight[i], err));
    LL_TRY(factor_all(&m));
    if (k->one_row)
        for (int i = 0; i < s->fn->n_buf; i++) {
            te_tensor *t = s->fn->buf[i]->t;
            if (t->n_axis && rule_has_loop(s, "%s.%s", t->name, t->axis[0]->u.axis->name) && rule_const_extent(t->axis[0]) == 1)
                LL_TRY(rule_do(s, err, "unit %s", rule_axis_loop(s, t, 0)));
        }
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
