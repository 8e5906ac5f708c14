/* ragged.c: kernels of reductions over data-dependent ranges: a maximum, and sums weighted by exp(x - maximum).
 *
 *   parts: (work item or part) x shared heads @claim {
 *     for tile of the range {
 *       scores of the tile: lanes over its elements, the inner rows share what is read
 *       maximum, weights, running sums: lanes over the tile or over the sums' last axis } }
 *
 * Row axes by which what is read over the range does not differ (heads of one group) become inner loops of `rolling`; so do
 * the rows of a work item. One row: the parts of the range are an axis of the definitions already (see splitk). */
#include <stdio.h>
#include <string.h>

#include "schedule/prim.h"
#include "schedule/rules/rules.h"

typedef struct rg {
    sch *s;
    const rule_kernel *k;
    ll_error *err;
    int64_t lanes, tile;
    te_tensor *max, *exp;
    int n_sum, n_score;
    te_tensor *sum[8];
    te_tensor *score[8]; /* what the members read over the range: placed in the pass */
    bool inner[TE_MAX_DIM];
    char inner_text[256];
} rg;

static bool is_ragged_reduce(const te_tensor *t, te_op op)
{
    return t->body && t->body->op == op && t->body->n == 2 && t->body->src[1]->u.axis->max;
}

static ll_code roles(rg *r)
{
    for (int i = 0; i < r->k->n_stage; i++) {
        te_tensor *t = r->k->stage[i].t;
        if (is_ragged_reduce(t, TE_MAXR) && !r->max) r->max = t;
    }
    if (!r->max) return ll_fail(r->err, LL_UNSUPPORTED, "%s: no maximum over the data-dependent range", r->s->fn->name);
    for (int i = 0; i < r->k->n_stage; i++) {
        te_tensor *t = r->k->stage[i].t;
        if (t == r->max) continue;
        if (is_ragged_reduce(t, TE_SUM) && r->n_sum < 8) r->sum[r->n_sum++] = t;
        else if (t->body && !te_is_reduce(t->body) && te_loads(t->body, r->max) && !r->exp) r->exp = t;
        else if (r->n_score < 8) r->score[r->n_score++] = t;
    }
    if (!r->n_sum || !r->exp) return ll_fail(r->err, LL_UNSUPPORTED, "%s: no sums behind the maximum", r->s->fn->name);
    return LL_OK;
}

/* A row axis is shared when what the longest sum reads along the range does not depend on it. */
typedef struct shared { te_ref axis, j; const rg *r; bool differs; } shared;

static bool note_differs(te_ref e, void *p)
{
    shared *q = p;
    if (e->op != TE_LOAD || !te_uses(e, q->j) || !te_uses(e, q->axis)) return true;
    if (e->u.t == q->r->exp) return true; /* the weights are per row anyway */
    q->differs = true;
    return false;
}

static void find_inner(rg *r)
{
    te_tensor *longest = r->sum[0];
    for (int i = 1; i < r->n_sum; i++)
        if (r->sum[i]->n_axis > longest->n_axis) longest = r->sum[i];
    for (int i = 1; i < r->max->n_axis; i++) {
        te_ref ext = longest->axis[i]->u.axis->extent;
        if (ext->op != TE_INT || ext->u.i > 16) continue;
        shared q = {longest->axis[i], longest->body->src[1], r, false};
        te_walk(longest->body->src[0], note_differs, &q);
        bool bounds = te_uses(longest->body->src[1]->u.axis->extent, longest->axis[i]);
        if (q.differs || bounds) continue;
        r->inner[i] = true;
        size_t n = strlen(r->inner_text);
        snprintf(r->inner_text + n, sizeof r->inner_text - n, "%s%s", n ? "," : "", r->max->axis[i]->u.axis->name);
    }
}

/* A score with the rows of the maximum is computed by `rolling` itself; one with fewer (parts are an axis of the maximum
 * only) is placed in the pass afterwards. */
static bool in_pass(const rg *r, const te_tensor *t) { return te_is_reduce(t->body) && t->n_axis == r->max->n_axis + 1; }

static ll_code roll(rg *r, const rule_knobs *knobs, int64_t rows)
{
    char line[2048];
    int n = snprintf(line, sizeof line, "rolling %s %s", r->max->name, r->exp->name);
    for (int i = 0; i < r->n_sum; i++) n += snprintf(line + n, sizeof line - (size_t)n, " %s", r->sum[i]->name);
    n += snprintf(line + n, sizeof line - (size_t)n, " %s %lld", r->max->body->src[1]->u.axis->name, (long long)r->tile);
    int scores = 0;
    for (int i = 0; i < r->n_score; i++)
        if (in_pass(r, r->score[i])) n += snprintf(line + n, sizeof line - (size_t)n, "%s%s", scores++ ? "," : " score=", r->score[i]->name);
    if (*r->inner_text) n += snprintf(line + n, sizeof line - (size_t)n, " inner=%s", r->inner_text);
    if (!r->k->one_row && r->k->items) n += snprintf(line + n, sizeof line - (size_t)n, " plan=%s rows=%lld", r->k->items, (long long)rows);
    (void)knobs;
    return rule_do(r->s, r->err, "%s", line);
}

/* Loops of statements that `rolling` made for stage `name`: the lane loop is split off, rows and vectors unrolled. */
static void lanes_over(rg *r, const char *name, const char *axis, bool reduce)
{
    sch *s = r->s;
    te_ref v = rule_loop_var(s, "%s.%s", name, axis);
    int64_t e = rule_const_extent(v);
    if (!e || e % r->lanes) return;
    if (e == r->lanes) {
        rule_try(s, "vectorize %s.%s", name, axis);
        return;
    }
    if (!rule_try(s, "split %s.%s %lld %s.%s.v %s.%s.l", name, axis, (long long)r->lanes, name, axis, name, axis)) return;
    (void)reduce;
    rule_try(s, "vectorize %s.%s.l", name, axis);
    rule_try(s, "unroll %s.%s.v", name, axis);
}

static void unroll_rows(rg *r, const char *name)
{
    for (int i = 0; i < r->max->n_axis; i++)
        if (r->inner[i]) rule_try(r->s, "unroll %s.%s", name, r->max->axis[i]->u.axis->name);
    rule_try(r->s, "unroll %s.r", name);
}

static void statement(rg *r, const char *name, const char *axis, bool reduce)
{
    if (axis) lanes_over(r, name, axis, reduce);
    unroll_rows(r, name);
}

static const char *part(rg *r, const te_tensor *t, const char *what) { return ll_sprintf(te_arena(r->s->g), "%s.%s", t->name, what); }

static ll_code place_score(rg *r, te_tensor *t)
{
    sch *s = r->s;
    const char *pass = ll_sprintf(te_arena(s->g), "%s.%s.o", r->max->name, r->max->body->src[1]->u.axis->name);
    s->verify_later = false; /* whether the pass may run over the edge is the verifier's to say */
    bool free_edge = rule_try(s, "at %s %s reg edge=free", t->name, pass);
    s->verify_later = true;
    if (!free_edge) LL_TRY(rule_do(s, r->err, "at %s %s reg", t->name, pass));
    for (int a = 0; a + 1 < t->n_axis; a++) {
        te_ref v = rule_loop_var(s, "%s.%s", t->name, t->axis[a]->u.axis->name);
        if (v && te_is_int(v->u.axis->extent, 1)) LL_TRY(rule_do(s, r->err, "unit %s", v->u.axis->name));
    }
    return LL_OK;
}

/* Scores: made in the pass over tiles; lanes over the elements, what is read once serves all inner rows. */
static ll_code scores(rg *r)
{
    sch *s = r->s;
    for (int i = r->n_score - 1; i >= 0; i--) {
        te_tensor *t = r->score[i];
        if (!te_is_reduce(t->body)) continue;
        const char *n = t->name, *lane = t->axis[t->n_axis - 1]->u.axis->name;
        if (!in_pass(r, t)) LL_TRY(place_score(r, t));
        int64_t tile = rule_const_extent(rule_loop_var(s, "%s.%s", n, lane));
        if (!tile || tile % r->lanes) continue;
        const char *red = t->body->src[1]->u.axis->name;
        char rows[512] = "";
        size_t at = 0;
        if (rule_has_loop(s, "%s.r", n)) at += (size_t)snprintf(rows + at, sizeof rows - at, " %s.r", n);
        for (int a = 0; a + 1 < t->n_axis; a++)
            if (rule_has_loop(s, "%s.%s", n, t->axis[a]->u.axis->name))
                at += (size_t)snprintf(rows + at, sizeof rows - at, " %s.%s", n, t->axis[a]->u.axis->name);
        if (tile > r->lanes) {
            LL_TRY(rule_do(s, r->err, "split %s.%s %lld %s.jv %s.jl", n, lane, (long long)r->lanes, n, n));
            LL_TRY(rule_do(s, r->err, "reorder %s.jv %s.%s%s %s.jl", n, n, red, rows, n));
            lane = "jl";
        } else {
            LL_TRY(rule_do(s, r->err, "reorder %s.%s%s %s.%s", n, red, rows, n, lane));
        }
        rule_try(s, "vectorize %s.%s", n, lane);
        rule_try(s, "vectorize %s.%s.pre", n, lane);
        for (int a = 0; a + 1 < t->n_axis; a++) {
            rule_try(s, "unroll %s.%s", n, t->axis[a]->u.axis->name);
            rule_try(s, "unroll %s.%s.pre", n, t->axis[a]->u.axis->name);
        }
        rule_try(s, "unroll %s.r", n);
        rule_try(s, "unroll %s.r.pre", n);
        rule_try(s, "unroll %s.jv", n);
        rule_try(s, "scope %s reg", n);
        if (rule_try(s, "split %s.%s 16", n, red)) rule_try(s, "unroll %s.%s.i", n, red);
    }
    return LL_OK;
}

/* A running sum with its own axes: elements outside, lanes over its last axis. */
static void weighted_sum(rg *r, const te_tensor *t)
{
    sch *s = r->s;
    const char *n = t->name, *j = t->body->src[1]->u.axis->name;
    int extra = t->n_axis - r->max->n_axis;
    if (extra <= 0) {
        statement(r, n, ll_sprintf(te_arena(s->g), "%s.i", j), true);
        return;
    }
    const char *d = t->axis[t->n_axis - 1]->u.axis->name;
    lanes_over(r, n, d, false);
    char rows[512] = "";
    size_t at = 0;
    if (rule_has_loop(s, "%s.r", n)) at += (size_t)snprintf(rows + at, sizeof rows - at, " %s.r", n);
    for (int a = 0; a < r->max->n_axis; a++)
        if (r->inner[a]) at += (size_t)snprintf(rows + at, sizeof rows - at, " %s.%s", n, r->max->axis[a]->u.axis->name);
    bool split = rule_has_loop(s, "%s.%s.v", n, d);
    if (split) rule_try(s, "reorder %s.%s.i %s.%s.v%s %s.%s.l", n, j, n, d, rows, n, d);
    else rule_try(s, "reorder %s.%s.i%s %s.%s", n, j, rows, n, d);
    unroll_rows(r, n);
}

/* The pass over tiles, every statement of it still plain: what rules for all kinds of targets begin with. */
static ll_code begin(rg *r, const rule_knobs *knobs)
{
    int64_t rows = knobs->row_tile ? knobs->row_tile : 4;
    LL_TRY(roles(r));
    find_inner(r);
    for (int i = r->n_score - 1; i >= 0; i--)
        if (!te_is_reduce(r->score[i]->body)) LL_TRY(rule_do(r->s, r->err, "inline %s", r->score[i]->name));
    return roll(r, knobs, rows);
}

static rg *ragged_new(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err)
{
    rg *r = LL_NEW(te_arena(s->g), rg);
    *r = (rg){.s = s, .k = k, .err = err, .lanes = rule_lanes(s), .tile = knobs->keys ? knobs->keys : k->page && k->page < 64 ? k->page : 64};
    return r;
}

ll_code rule_ragged_pass(sch *s, const rule_kernel *k, const rule_knobs *knobs, const char **outer, int *n_outer, ll_error *err)
{
    rg *r = ragged_new(s, k, knobs, err);
    LL_TRY(begin(r, knobs));
    for (int i = r->n_score - 1; i >= 0; i--)
        if (te_is_reduce(r->score[i]->body) && !in_pass(r, r->score[i])) LL_TRY(place_score(r, r->score[i]));
    *n_outer = 0;
    for (int i = 0; i < r->max->n_axis; i++) {
        bool items = i == 0 && !k->one_row && k->items;
        if (!r->inner[i])
            outer[(*n_outer)++] = part(r, r->max, items ? "w" : r->max->axis[i]->u.axis->name);
    }
    return LL_OK;
}

ll_code rule_ragged(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err)
{
    rg *r = ragged_new(s, k, knobs, err);
    LL_TRY(begin(r, knobs));
    LL_TRY(scores(r));
    const char *m = r->max->name, *j = ll_sprintf(te_arena(s->g), "%s.i", r->max->body->src[1]->u.axis->name);
    statement(r, part(r, r->max, "init"), NULL, false);
    statement(r, part(r, r->max, "new"), j, true);
    statement(r, part(r, r->max, "fix"), NULL, false);
    statement(r, part(r, r->max, "run"), NULL, false);
    statement(r, ll_sprintf(te_arena(s->g), "%s.out", m), NULL, false);
    statement(r, r->exp->name, j, false);
    for (int i = 0; i < r->n_sum; i++) {
        te_tensor *t = r->sum[i];
        const char *d = t->n_axis > r->max->n_axis ? t->axis[t->n_axis - 1]->u.axis->name : NULL;
        statement(r, part(r, t, "init"), d, false);
        statement(r, part(r, t, "fix"), d, false);
        statement(r, part(r, t, "out"), d, false);
        weighted_sum(r, t);
    }
    /* running values live in registers, the tile of weights in scratch (its elements are read one by one) */
    const char *const kinds[] = {"run", "new", "fix"};
    for (int i = 0; i < 3; i++) rule_try(s, "scope %s reg", part(r, r->max, kinds[i]));
    for (int i = 0; i < r->n_sum; i++) rule_try(s, "scope %s reg", part(r, r->sum[i], "run"));
    /* parts: all outer rows */
    char outer[512] = "", first[256] = "";
    int n_outer = 0;
    for (int i = 0; i < r->max->n_axis; i++) {
        if (r->inner[i]) continue;
        char name[256];
        if (i == 0 && !k->one_row && k->items) snprintf(name, sizeof name, "%s.w", m);
        else snprintf(name, sizeof name, "%s.%s", m, r->max->axis[i]->u.axis->name);
        te_ref v = rule_loop_var(s, "%s", name);
        if (!v) continue;
        if (te_is_int(v->u.axis->extent, 1)) {
            LL_TRY(rule_do(s, err, "unit %s", name));
            continue;
        }
        if (n_outer == 0) snprintf(first, sizeof first, "%s", name);
        else if (!k->one_row && k->items) continue; /* items are distinct by contract: they are the parts */
        else {
            snprintf(outer, sizeof outer, "%s.parts%d", m, n_outer);
            LL_TRY(rule_do(s, err, "fuse %s %s %s", first, name, outer));
            snprintf(first, sizeof first, "%s", outer);
        }
        n_outer++;
    }
    return n_outer ? rule_do(s, err, "claim %s", first) : LL_OK;
}
