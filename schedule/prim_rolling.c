/* prim_rolling.c: `rolling MAX MEMBER ... LOOP TILE [score=STAGE,..] [inner=AXIS,AXIS] [plan=ITEMS rows=R]`: a maximum and the sums that
 * depend on it in one pass over tiles of their reduction axis.
 *
 *   m[t, h] = max(j: x[t, h, j]);  e[t, h, j] = exp(x[t, h, j] - m[t, h])
 *   l[t, h] = sum(j: e[t, h, j]);  o[t, h, d] = sum(j: e[t, h, j] * v[t, j, h, d])
 *
 * `rolling m e l o j 64` gives
 *
 *   for m.t, m.h { alloc m.run, m.new, m.fix, l.run, e, o.run[d]
 *     m.run = lowest; l.run = 0; o.run[d] = 0
 *     for m.j.o < ceil(len / 64) {
 *       m.new = max(m.run, max(j.i: x[j.o*64 + j.i]))        # elements past the end count as -inf
 *       m.fix = exp(m.run - m.new);  m.run = m.new
 *       l.run = l.run * m.fix;  o.run[d] = o.run[d] * m.fix
 *       e[j.i] = past the end ? 0 : exp(x - m.run)             # one tile of e is kept
 *       l.run += e[j.i];  o.run[d] += e[j.i] * v }
 *     m = m.run; l = l.run; o[d] = o.run[d] }
 *
 * which equals the definitions by exp(a - m_old) * exp(m_old - m_new) = exp(a - m_new). The maximum starts at the
 * least finite number, so no difference of infinities arises; a row without elements leaves every
 * sum at its start.
 *
 * Starts: a maximum `from s` runs from the larger of s and the least finite number. A sum from
 * exp(s - m) * c runs from 0 and gets its start behind the pass, when the
 * maximum is final: l = l.run + exp(s - m.run) * c.
 *
 * inner=h: the row axis h becomes a loop of each statement instead of a loop round all of them, so that rows share what a
 * tile reads; the running buffers get a dimension for it.
 *
 * plan=ITEMS rows=R: the first row axis (flat rows of ragged segments) becomes work items of R rows, made from the lengths
 * (see prim_plan.c): for m.w < W { ... } with an inner loop over the item's rows. The pass runs to the item's last
 * element; each row masks what is past its own end.
 *
 * score=x: a reduction over axes of its own that members read element by element (x[t, h, j]) is computed in the pass, for
 * one tile at a time, whole tiles: elements past the end are computed from whatever lies there and masked by who reads them.
 *
 * Legal when every member's summand is exp(a - m) * b with a and b free of m (looking through rounding casts: then the
 * schedule is approximate), sums start at 0 or at such a product that reads no member, the maximum
 * and the members are read at the reader's own row and element, and all nests are plain. What is
 * produced by other stages (x here) stays where it is; place it with `at`. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/plan.h"
#include "schedule/prim.h"
#include "schedule/stage.h"

enum { MAX_MEMBER = 8, MAX_SCORE = 4 };

typedef struct member {
    stage_nest nest;
    bool sum;               /* a reduction over j; else the elementwise stage e */
    te_ref j;               /* its j axis                                        */
    int n_extra;            /* axes beyond the rows (without j)                  */
    te_ref extra[TE_MAX_DIM];
    te_ref at[TE_MAX_DIM];  /* where its results go, over rows and extra axes    */
    te_ref start;           /* what a sum starts at, added behind the pass; NULL: 0 */
    lp_buf *run;            /* running sum, or the tile of e                     */
} member;

typedef struct roll {
    sch *s;
    te_graph *g;
    ll_error *err;
    stage_nest max;
    te_ref j, extent, bound; /* reduction axis of the maximum, its extent, a bound free of loads */
    int64_t tile;
    int n_rows;
    te_ref row[TE_MAX_DIM];      /* the maximum's own axes: expressions are written over these */
    bool inner[TE_MAX_DIM];      /* a loop of each statement                                   */
    const char *items;
    int64_t plan_rows;
    plan_item item;
    int n_member, n_score;
    member m[MAX_MEMBER];
    member score[MAX_SCORE];     /* nest.red are its own reduction axes */
    bool exact_tiles;            /* the extent is a multiple of the tile: no element is past the end */
    bool approx;
    te_ref jo;
    lp_buf *max_run;
    te_op exp_op;
    te_ref exp_scale;            /* exp2((a - m) * scale): scale, or NULL */
} roll;

static const char *last_part(te_ref axis)
{
    const char *dot = strrchr(axis->u.axis->name, '.');
    return dot ? dot + 1 : axis->u.axis->name;
}

static te_ref named_axis(roll *r, const char *stage, const char *axis, te_ref extent, te_ref max)
{
    const char *name = lp_fresh_name(r->s->fn, ll_sprintf(te_arena(r->g), "%s.%s", stage, axis));
    return max ? te_axis_upto(r->g, name, extent, max) : te_axis(r->g, name, extent);
}

static const char *sub(roll *r, const char *stage, const char *part) { return ll_sprintf(te_arena(r->g), "%s.%s", stage, part); }

/* ---- legality ------------------------------------------------------------------------------------------- */

static bool uses_max(const roll *r, te_ref e) { return te_loads(e, r->max.stage); }

static bool uses_rolled(const roll *r, te_ref e)
{
    if (uses_max(r, e)) return true;
    for (int i = 0; i < r->n_member; i++)
        if (te_loads(e, r->m[i].nest.stage)) return true;
    return false;
}

/* exp(a - m), exp2((a - m) * c) or a load of a member that is one. */
static bool is_exp_factor(roll *r, te_ref e)
{
    if (e->op == TE_LOAD) {
        for (int i = 0; i < r->n_member; i++)
            if (!r->m[i].sum && e->u.t == r->m[i].nest.stage) return true;
        return false;
    }
    if (e->op != TE_EXP && e->op != TE_EXP2) return false;
    te_ref a = e->src[0], scale = NULL;
    if (e->op == TE_EXP2 && a->op == TE_MUL) {
        scale = uses_max(r, a->src[0]) ? a->src[1] : a->src[0];
        a = uses_max(r, a->src[0]) ? a->src[0] : a->src[1];
    }
    if (a->op != TE_SUB || a->src[1]->op != TE_LOAD || a->src[1]->u.t != r->max.stage) return false;
    if (uses_rolled(r, a->src[0]) || (scale && uses_rolled(r, scale))) return false;
    if (r->exp_op != TE_N_OPS && (r->exp_op != (te_op)e->op || r->exp_scale != scale)) return false;
    r->exp_op = e->op;
    r->exp_scale = scale;
    return true;
}

/* Is e = exp-factor * b with b free of m? Through casts it is approximate. */
static bool scales(roll *r, te_ref e)
{
    if (is_exp_factor(r, e)) return true;
    switch (e->op) {
    case TE_MUL:
        if (!uses_rolled(r, e->src[1])) return scales(r, e->src[0]);
        return !uses_rolled(r, e->src[0]) && scales(r, e->src[1]);
    case TE_NEG: return scales(r, e->src[0]);
    case TE_CAST:
        if (!ll_dtype_is_float(e->dtype) || !scales(r, e->src[0])) return false;
        if (ll_dtype_bits(e->dtype) < ll_dtype_bits(e->src[0]->dtype)) r->approx = true;
        return true;
    case TE_SELECT:
        return !uses_rolled(r, e->src[0]) && scales(r, e->src[1]) && e->src[2]->op == TE_FLT && e->src[2]->u.f == 0;
    default: return false;
    }
}

static bool is_zero(te_ref e) { return e->op == TE_FLT && e->u.f == 0; }

/* A sum's start over the rows and its own axes: 0, or exp(s - m) * c. It is added when the tiles of
 * the members are gone. */
static ll_code read_start(roll *r, member *m, te_ref init, const char *name)
{
    if (is_zero(init)) return LL_OK;
    for (int i = 0; i < r->n_member; i++)
        if (te_loads(init, r->m[i].nest.stage))
            return ll_fail(r->err, LL_NOT_LEGAL, "rolling: the start of %s reads the member %s",
                           name, r->m[i].nest.stage->name);
    if (!scales(r, init))
        return ll_fail(r->err, LL_NOT_LEGAL,
                       "rolling: the sum %s starts neither at 0 nor at exp(a - %s) * b with a and b "
                       "free of it: %s",
                       name, r->max.stage->name, sch_expr_text(r->s, init));
    m->start = init;
    return LL_OK;
}

static ll_code read_member(roll *r, const char *name)
{
    member *m = &r->m[r->n_member];
    *m = (member){0};
    te_tensor *stage = sch_find_stage(r->s, name, r->err);
    if (!stage) return LL_USAGE;
    LL_TRY(stage_plain_nest(r->s, stage, &m->nest, r->err));
    const stage_nest *n = &m->nest;
    m->sum = n->reduce_op == TE_SUM && n->n_red == 1;
    if (!m->sum && n->n_red) return ll_fail(r->err, LL_NOT_LEGAL, "rolling: %s is neither a sum over one loop nor elementwise", name);
    int rows = r->n_rows, extra = n->n_axis - rows - !m->sum;
    if (extra < 0) return ll_fail(r->err, LL_NOT_LEGAL, "rolling: %s has fewer axes than %s", name, r->max.stage->name);
    te_ref from[TE_MAX_DIM + 1], to[TE_MAX_DIM + 1];
    int n_sub = 0;
    for (int i = 0; i < rows; i++) {
        if (!te_prove_eq(n->axis[i]->u.axis->extent, r->row[i]->u.axis->extent))
            return ll_fail(r->err, LL_NOT_LEGAL, "rolling: axis %s of %s does not match %s", n->axis[i]->u.axis->name, name, r->row[i]->u.axis->name);
        from[n_sub] = n->axis[i];
        to[n_sub++] = r->row[i];
    }
    m->j = m->sum ? n->red[0] : n->axis[n->n_axis - 1];
    m->n_extra = extra;
    for (int i = 0; i < extra; i++) m->extra[i] = n->axis[rows + i];
    from[n_sub] = m->j;
    to[n_sub++] = r->j;
    te_ref mine = te_simplify(r->g, te_subst(r->g, m->j->u.axis->extent, from, to, n_sub - 1));
    if (mine != te_simplify(r->g, r->extent) && !te_prove_eq(mine, r->extent))
        return ll_fail(r->err, LL_NOT_LEGAL, "rolling: %s runs over %s, the maximum over %s", name, sch_expr_text(r->s, mine), sch_expr_text(r->s, r->extent));
    m->nest.value = te_subst(r->g, n->value, from, to, n_sub);
    for (int i = 0; i < stage->ndim; i++) m->at[i] = te_subst(r->g, n->axis[i], from, to, n_sub);
    if (!scales(r, m->nest.value))
        return ll_fail(r->err, LL_NOT_LEGAL, "rolling: %s is not exp(a - %s) * b with a and b free of it: %s", name, r->max.stage->name, sch_expr_text(r->s, m->nest.value));
    if (m->sum) LL_TRY(read_start(r, m, te_subst(r->g, n->init, from, to, n_sub - 1), name));
    r->n_member++;
    return LL_OK;
}

/* A stage over (rows, j) with its own reduction, read at exactly (rows, j) by the members. */
static ll_code read_score(roll *r, const char *name)
{
    if (r->n_score == MAX_SCORE) return ll_fail(r->err, LL_NOT_LEGAL, "rolling: more than %d scores", MAX_SCORE);
    member *m = &r->score[r->n_score];
    *m = (member){0};
    te_tensor *stage = sch_find_stage(r->s, name, r->err);
    if (!stage) return LL_USAGE;
    LL_TRY(stage_plain_nest(r->s, stage, &m->nest, r->err));
    stage_nest *n = &m->nest;
    if (!n->n_red || n->n_axis != r->n_rows + 1 || n->buf->param >= 0)
        return ll_fail(r->err, LL_NOT_LEGAL, "rolling: %s is no reduction over the rows of %s and its range", name, r->max.stage->name);
    te_ref from[TE_MAX_DIM + 1], to[TE_MAX_DIM + 1];
    for (int i = 0; i <= r->n_rows; i++) {
        te_ref mine = i < r->n_rows ? r->row[i] : r->j;
        if (i < r->n_rows && !te_prove_eq(n->axis[i]->u.axis->extent, mine->u.axis->extent))
            return ll_fail(r->err, LL_NOT_LEGAL, "rolling: axis %s of %s does not match %s", n->axis[i]->u.axis->name, name, mine->u.axis->name);
        from[i] = n->axis[i];
        to[i] = mine;
    }
    m->j = n->axis[r->n_rows];
    n->value = te_subst(r->g, n->value, from, to, r->n_rows + 1);
    n->init = te_subst(r->g, n->init, from, to, r->n_rows + 1);
    r->n_score++;
    return LL_OK;
}

/* What the pass keeps for one row and one tile (the maximum, members, scores) is read at the
 * reader's own row and element. */
typedef struct reads_at { const roll *r; const char *wrong; } reads_at;

static const char *kept_stage(const roll *r, const te_tensor *t, bool *elements)
{
    *elements = t != r->max.stage;
    if (t == r->max.stage) return t->name;
    for (int i = 0; i < r->n_member; i++)
        if (!r->m[i].sum && t == r->m[i].nest.stage) return t->name;
    for (int i = 0; i < r->n_score; i++)
        if (t == r->score[i].nest.stage) return t->name;
    return NULL;
}

static bool note_read(te_ref e, void *p)
{
    reads_at *w = p;
    bool elements;
    const char *name = e->op == TE_LOAD ? kept_stage(w->r, e->u.t, &elements) : NULL;
    int rows = w->r->n_rows;
    for (int d = 0; name && d < e->n; d++) {
        te_ref want = d < rows ? w->r->row[d] : elements ? w->r->j : NULL;
        bool unit = want && te_is_int(want->u.axis->extent, 1) && te_is_int(e->src[d], 0);
        if (want && e->src[d] != want && !unit) w->wrong = name;
    }
    return !w->wrong;
}

static ll_code check_reads(roll *r)
{
    reads_at w = {.r = r};
    te_walk(r->max.value, note_read, &w);
    for (int i = 0; i < r->n_member && !w.wrong; i++) {
        te_walk(r->m[i].nest.value, note_read, &w);
        if (r->m[i].start && !w.wrong) te_walk(r->m[i].start, note_read, &w);
    }
    if (!w.wrong) return LL_OK;
    return ll_fail(r->err, LL_NOT_LEGAL,
                   "rolling: %s is read elsewhere than at its reader's own row and element",
                   w.wrong);
}

/* ---- one statement: its own loops over the inner rows ------------------------------------------------------ */

typedef struct inst {
    int n;
    te_ref axis[TE_MAX_DIM + 1];              /* fresh inner loops: the index of running buffers */
    te_ref from[TE_MAX_DIM + 1], to[TE_MAX_DIM + 1];
    int n_sub;
} inst;

static inst instance(roll *r, const char *stage)
{
    inst q = {0};
    for (int i = 0; i < r->n_rows; i++) {
        te_ref v = r->row[i];
        if (i == 0 && r->items) {
            te_ref rr = r->plan_rows > 1 ? named_axis(r, stage, "r", te_int(r->g, r->plan_rows), NULL) : NULL;
            if (rr) q.axis[q.n++] = rr;
            v = plan_row(&r->item, rr);
        } else if (r->inner[i]) {
            v = q.axis[q.n++] = named_axis(r, stage, last_part(r->row[i]), r->row[i]->u.axis->extent, r->row[i]->u.axis->max);
        }
        q.from[q.n_sub] = r->row[i];
        q.to[q.n_sub++] = v;
    }
    return q;
}

static te_ref in_rows(roll *r, const inst *q, te_ref e)
{
    e = te_subst(r->g, e, q->from, q->to, q->n_sub);
    return r->items ? plan_uniform(&r->item, e) : e;
}

static lp_stmt *loops(roll *r, const te_ref *axis, int n, lp_stmt *body)
{
    for (int i = n - 1; i >= 0; i--) body = lp_for(r->s->fn, axis[i], LP_SERIAL, body);
    return body;
}

static lp_buf *run_buffer(roll *r, const char *name, ll_dtype t, const te_ref *extra, int n_extra)
{
    te_ref shape[TE_MAX_DIM];
    int n = 0;
    if (r->items && r->plan_rows > 1) shape[n++] = te_int(r->g, r->plan_rows);
    for (int i = 0; i < r->n_rows; i++)
        if (r->inner[i]) shape[n++] = r->row[i]->u.axis->extent;
    for (int i = 0; i < n_extra; i++) shape[n++] = extra[i];
    if (!n) shape[n++] = te_int(r->g, 1);
    return lp_buf_new(r->s->fn, lp_fresh_name(r->s->fn, name), t, LP_THREAD, shape, n);
}

/* Index of a running buffer: inner rows, then `extra`. */
static int run_index(roll *r, const inst *q, const te_ref *extra, int n_extra, te_ref *at)
{
    int n = 0;
    for (int i = 0; i < q->n; i++) at[n++] = q->axis[i];
    for (int i = 0; i < n_extra; i++) at[n++] = extra[i];
    if (!n) at[n++] = te_int(r->g, 0);
    return n;
}

static te_ref lowest(roll *r)
{
    ll_dtype t = r->max.stage->dtype;
    return te_fconst(r->g, t, t == LL_F64 ? -DBL_MAX : t == LL_F16 ? -65504 : -FLT_MAX);
}

/* Where the running maximum starts: no infinity, so that differences of two of them are numbers. */
static te_ref max_start(roll *r)
{
    te_ref init = r->max.init;
    return init->op == TE_FLT && init->u.f == -INFINITY ? lowest(r) : te_max(init, lowest(r));
}

static te_ref exp_of_difference(roll *r, te_ref a, te_ref b)
{
    te_ref d = te_sub(a, b);
    if (r->exp_scale) d = te_mul(d, r->exp_scale);
    return te_unary(r->exp_op, d);
}

static te_ref element(const roll *r, te_ref ji) { return te_add(te_muli(r->jo, r->tile), ji); }

/* Loads of the rolled stages become loads of what runs; j becomes the element of (jo, ji). */
typedef struct reload { roll *r; const inst *q; te_ref ji; } reload;

static te_ref reload_node(te_ref e, void *p)
{
    reload *l = p;
    if (e->op != TE_LOAD) return e;
    te_ref at[TE_MAX_DIM];
    if (e->u.t == l->r->max.stage) return te_load(l->r->max_run->t, at, run_index(l->r, l->q, NULL, 0, at));
    for (int i = 0; i < l->r->n_member; i++)
        if (!l->r->m[i].sum && e->u.t == l->r->m[i].nest.stage)
            return te_load(l->r->m[i].run->t, at, run_index(l->r, l->q, &l->ji, 1, at));
    for (int i = 0; i < l->r->n_score; i++)
        if (e->u.t == l->r->score[i].nest.stage) return te_load(l->r->score[i].run->t, at, run_index(l->r, l->q, &l->ji, 1, at));
    return e;
}

static te_ref running(roll *r, const inst *q, te_ref e, te_ref ji)
{
    reload l = {r, q, ji};
    e = te_rewrite(r->g, e, reload_node, &l);
    te_ref at = element(r, ji);
    e = te_subst(r->g, e, &r->j, &at, 1);
    return te_simplify(r->g, in_rows(r, q, e));
}

/* A value that counts only for elements before the row's own end. */
static te_ref masked(roll *r, const inst *q, te_ref v, te_ref ji, double otherwise)
{
    if (r->exact_tiles) return v;
    te_ref in = te_lt(element(r, ji), in_rows(r, q, r->extent));
    return te_select(in, v, te_fconst(r->g, (ll_dtype)v->dtype, otherwise));
}

static const char *ji_name(roll *r) { return ll_sprintf(te_arena(r->g), "%s.i", last_part(r->j)); }

static lp_stmt *max_step(roll *r, lp_buf *m_new, lp_buf *m_fix)
{
    lp_func *f = r->s->fn;
    const char *stage = r->max.stage->name;
    te_ref at[TE_MAX_DIM];
    inst q = instance(r, m_new->t->name);
    int n = run_index(r, &q, NULL, 0, at);
    te_ref ji = named_axis(r, m_new->t->name, ji_name(r), te_int(r->g, r->tile), NULL);
    te_ref v = masked(r, &q, running(r, &q, r->max.value, ji), ji, -INFINITY);
    lp_stmt *s = lp_store(f, m_new, at, te_load(r->max_run->t, at, n));
    s = lp_seq(s, lp_for(f, ji, LP_SERIAL, lp_reduce(f, TE_MAXR, m_new, at, te_simplify(r->g, v))));
    lp_stmt *out = loops(r, q.axis, q.n, s);
    q = instance(r, m_fix->t->name);
    n = run_index(r, &q, NULL, 0, at);
    te_ref fix = exp_of_difference(r, te_load(r->max_run->t, at, n), te_load(m_new->t, at, n));
    out = lp_seq(out, loops(r, q.axis, q.n, lp_store(f, m_fix, at, fix)));
    q = instance(r, sub(r, stage, "run"));
    n = run_index(r, &q, NULL, 0, at);
    return lp_seq(out, loops(r, q.axis, q.n, lp_store(f, r->max_run, at, te_load(m_new->t, at, n))));
}

/* One tile of a score. */
static lp_stmt *score_step(roll *r, member *m)
{
    lp_func *f = r->s->fn;
    const char *stage = m->nest.stage->name;
    te_ref at[TE_MAX_DIM], from[TE_MAX_DIM], red[TE_MAX_DIM];
    inst q = instance(r, stage);
    te_ref ji = named_axis(r, stage, last_part(m->j), te_int(r->g, r->tile), NULL);
    run_index(r, &q, &ji, 1, at);
    for (int i = 0; i < m->nest.n_red; i++) {
        from[i] = m->nest.red[i];
        red[i] = named_axis(r, stage, last_part(from[i]), from[i]->u.axis->extent, from[i]->u.axis->max);
    }
    te_ref v = te_subst(r->g, running(r, &q, m->nest.value, ji), from, red, m->nest.n_red);
    lp_stmt *s = lp_store(f, m->run, at, running(r, &q, m->nest.init, ji));
    s = lp_seq(s, loops(r, red, m->nest.n_red, lp_reduce(f, m->nest.reduce_op, m->run, at, v)));
    return loops(r, q.axis, q.n, lp_for(f, ji, LP_SERIAL, s));
}

static int fresh_extra(roll *r, const member *m, const char *stage, te_ref *out)
{
    for (int i = 0; i < m->n_extra; i++) out[i] = named_axis(r, stage, last_part(m->extra[i]), m->extra[i]->u.axis->extent, m->extra[i]->u.axis->max);
    return m->n_extra;
}

/* run[..] = 0 (fix NULL), or run[..] * fix. */
static lp_stmt *reset_or_fix(roll *r, const member *m, lp_buf *fix)
{
    te_ref at[TE_MAX_DIM], rows[TE_MAX_DIM], extra[TE_MAX_DIM];
    const char *stage = sub(r, m->nest.stage->name, fix ? "fix" : "init");
    inst q = instance(r, stage);
    int k = fresh_extra(r, m, stage, extra), n = run_index(r, &q, extra, k, at);
    int nr = run_index(r, &q, NULL, 0, rows);
    ll_dtype t = (ll_dtype)m->run->t->dtype;
    te_ref v = fix ? te_mul(te_load(m->run->t, at, n), te_cast(t, te_load(fix->t, rows, nr)))
                   : te_fconst(r->g, t, 0);
    return loops(r, q.axis, q.n, loops(r, extra, k, lp_store(r->s->fn, m->run, at, v)));
}

static lp_stmt *member_step(roll *r, member *m, te_ref end)
{
    lp_func *f = r->s->fn;
    const char *stage = m->nest.stage->name;
    te_ref at[TE_MAX_DIM], extra[TE_MAX_DIM], tile = te_int(r->g, r->tile);
    inst q = instance(r, stage);
    if (!m->sum) {
        te_ref ji = named_axis(r, stage, ji_name(r), tile, NULL);
        te_ref v = masked(r, &q, running(r, &q, m->nest.value, ji), ji, 0);
        run_index(r, &q, &ji, 1, at);
        return loops(r, q.axis, q.n, lp_for(f, ji, LP_SERIAL, lp_store(f, m->run, at, te_simplify(r->g, v))));
    }
    int k = fresh_extra(r, m, stage, extra);
    /* when the summand reads more than the tile of e (elements past the end may be anything, and 0 * NaN is NaN), the
     * loop ends with the elements; otherwise the zeros of e end it */
    bool plain = m->nest.value->op == TE_LOAD && is_exp_factor(r, m->nest.value);
    te_ref left = te_min(te_sub(end, te_muli(r->jo, r->tile)), tile);
    te_ref ji = r->exact_tiles || plain ? named_axis(r, stage, ji_name(r), tile, NULL)
                                        : named_axis(r, stage, ji_name(r), te_simplify(r->g, left), tile);
    te_ref own[TE_MAX_DIM];
    for (int i = 0; i < m->n_extra; i++) own[i] = m->extra[i];
    te_ref v = te_subst(r->g, running(r, &q, m->nest.value, ji), own, extra, k);
    run_index(r, &q, extra, k, at);
    lp_stmt *body = lp_reduce(f, TE_SUM, m->run, at, v);
    return loops(r, q.axis, q.n, loops(r, extra, k, lp_for(f, ji, LP_SERIAL, body)));
}

/* stage[rows, extra] = run[..], plus `start` (NULL: nothing). */
static lp_stmt *copy_out(roll *r, lp_buf *buf, const te_ref *at_rows, lp_buf *run,
                         const te_ref *own, int k, te_ref start)
{
    te_ref at[TE_MAX_DIM], from[TE_MAX_DIM], extra[TE_MAX_DIM];
    const char *stage = sub(r, buf->t->name, "out");
    inst q = instance(r, stage);
    for (int i = 0; i < k; i++) extra[i] = named_axis(r, stage, last_part(own[i]), own[i]->u.axis->extent, own[i]->u.axis->max);
    int n = run_index(r, &q, extra, k, from);
    for (int i = 0; i < buf->t->ndim; i++) at[i] = in_rows(r, &q, te_subst(r->g, at_rows[i], own, extra, k));
    te_ref v = te_load(run->t, from, n);
    if (start) {
        reload l = {.r = r, .q = &q}; /* reads no element: ji is of no use */
        start = te_subst(r->g, te_rewrite(r->g, start, reload_node, &l), own, extra, k);
        v = te_add(v, te_simplify(r->g, in_rows(r, &q, start)));
    }
    return loops(r, q.axis, q.n, loops(r, extra, k, lp_store(r->s->fn, buf, at, v)));
}

static bool wanted(roll *r, const lp_buf *b)
{
    if (b->param >= 0) return true;
    for (lp_stmt *st = r->s->fn->body; st; st = st->next)
        if (sch_reads(st, b)) return true;
    return false;
}

static lp_stmt *rolled_nest(roll *r)
{
    lp_func *f = r->s->fn;
    te_graph *g = r->g;
    const char *name = r->max.stage->name;
    ll_dtype t = r->max.stage->dtype;
    int first_buf = f->n_buf;
    r->max_run = run_buffer(r, sub(r, name, "run"), t, NULL, 0);
    lp_buf *m_new = run_buffer(r, sub(r, name, "new"), t, NULL, 0), *m_fix = run_buffer(r, sub(r, name, "fix"), t, NULL, 0);
    for (int i = 0; i < r->n_member; i++) {
        member *m = &r->m[i];
        te_ref shape[TE_MAX_DIM] = {te_int(g, r->tile)};
        for (int k = 0; m->sum && k < m->n_extra; k++) shape[k] = m->extra[k]->u.axis->extent;
        m->run = run_buffer(r, m->sum ? sub(r, m->nest.stage->name, "run") : m->nest.stage->name, (ll_dtype)m->nest.stage->dtype, shape, m->sum ? m->n_extra : 1);
    }
    for (int i = 0; i < r->n_score; i++) {
        te_ref tile = te_int(g, r->tile);
        r->score[i].run = run_buffer(r, r->score[i].nest.stage->name, (ll_dtype)r->score[i].nest.stage->dtype, &tile, 1);
    }
    /* the pass: to the end of the row, or of the item */
    inst outer = instance(r, "_");
    te_ref end = r->items ? te_min(r->item.hi, r->bound) : te_subst(g, r->extent, outer.from, outer.to, outer.n_sub);
    te_ref tiles = te_divi(te_addi(end, r->tile - 1), r->tile);
    te_ref most = te_simplify(g, te_divi(te_addi(r->bound, r->tile - 1), r->tile));
    bool ragged = r->j->u.axis->max != NULL;
    r->jo = named_axis(r, name, ll_sprintf(te_arena(g), "%s.o", last_part(r->j)), te_simplify(g, tiles), ragged ? most : NULL);

    te_ref at[TE_MAX_DIM];
    inst q = instance(r, sub(r, name, "init"));
    run_index(r, &q, NULL, 0, at);
    te_ref from = te_simplify(g, in_rows(r, &q, max_start(r)));
    lp_stmt *nest = loops(r, q.axis, q.n, lp_store(f, r->max_run, at, from));
    lp_stmt *body = NULL;
    for (int i = 0; i < r->n_score; i++) body = lp_seq(body, score_step(r, &r->score[i]));
    body = lp_seq(body, max_step(r, m_new, m_fix));
    for (int i = 0; i < r->n_member; i++) {
        if (!r->m[i].sum) continue;
        nest = lp_seq(nest, reset_or_fix(r, &r->m[i], NULL));
        body = lp_seq(body, reset_or_fix(r, &r->m[i], m_fix));
    }
    for (int i = 0; i < r->n_member; i++) body = lp_seq(body, member_step(r, &r->m[i], end));
    nest = lp_seq(nest, lp_for(f, r->jo, LP_SERIAL, body));
    if (wanted(r, r->max.buf))
        nest = lp_seq(nest, copy_out(r, r->max.buf, r->max.axis, r->max_run, NULL, 0, NULL));
    for (int i = 0; i < r->n_member; i++) {
        const member *m = &r->m[i];
        if (!m->sum || !wanted(r, m->nest.buf)) continue;
        nest = lp_seq(nest,
                      copy_out(r, m->nest.buf, m->at, m->run, m->extra, m->n_extra, m->start));
    }
    nest = stage_alloc_from(r->s, first_buf, nest);
    for (int i = r->n_rows - 1; i >= 0; i--) {
        if (r->inner[i]) continue;
        if (i == 0 && r->items) nest = lp_for(f, r->item.w, LP_SERIAL, nest);
        else nest = lp_for(f, r->row[i], LP_SERIAL, nest);
    }
    return nest;
}

/* ---- the primitive ---------------------------------------------------------------------------------------------- */

static ll_code parse_inner(roll *r, const char *list)
{
    char copy[256];
    if (strlen(list) >= sizeof copy) return ll_fail(r->err, LL_USAGE, "rolling: inner= is too long");
    strcpy(copy, list);
    for (char *save, *a = strtok_r(copy, ",", &save); a; a = strtok_r(NULL, ",", &save)) {
        bool found = false;
        for (int i = 0; i < r->n_rows; i++)
            if (stage_axis_is(r->row[i], a)) found = r->inner[i] = true;
        if (!found) return ll_fail(r->err, LL_USAGE, "rolling: %s has no row axis '%s'", r->max.stage->name, a);
    }
    return LL_OK;
}

static ll_code check_extent(roll *r)
{
    for (int i = 0; i < r->n_rows; i++)
        if (r->inner[i] && te_uses(r->extent, r->row[i]))
            return ll_fail(r->err, LL_NOT_LEGAL, "rolling: the range %s depends on the inner axis %s", sch_expr_text(r->s, r->extent), r->row[i]->u.axis->name);
    te_cong cg = te_cong_of(r->extent);
    r->exact_tiles = !r->items && (cg.mod ? cg.mod % r->tile == 0 && cg.rem % r->tile == 0 : cg.rem % r->tile == 0);
    return LL_OK;
}

ll_code sch_rolling(sch *s, int argc0, const char *const *argv0, ll_error *err)
{
    roll *r = LL_NEW(te_arena(s->g), roll);
    *r = (roll){.s = s, .g = s->g, .err = err, .exp_op = TE_N_OPS, .plan_rows = 1};
    int argc = argc0;
    const char **argv = sch_args(s, argc0, argv0);
    const char *inner = sch_arg_key(argv, &argc, "inner"), *rows = sch_arg_key(argv, &argc, "rows");
    const char *score = sch_arg_key(argv, &argc, "score");
    r->items = sch_arg_key(argv, &argc, "plan");
    if (argc < 4 || !sch_arg_int(argv[argc - 1], &r->tile) || r->tile < 1)
        return ll_fail(err, LL_USAGE, "rolling wants MAX MEMBER ... LOOP TILE [inner=AXIS,...] [plan=ITEMS rows=R]");
    if (rows && (!sch_arg_int(rows, &r->plan_rows) || r->plan_rows < 1 || r->plan_rows > 256 || !r->items))
        return ll_fail(err, LL_USAGE, "rolling: rows=%s is not in 1..256, or there is no plan=", rows);
    te_tensor *stage = sch_find_stage(s, argv[0], err);
    if (!stage) return LL_USAGE;
    LL_TRY(stage_plain_nest(s, stage, &r->max, err));
    if (r->max.reduce_op != TE_MAXR || r->max.n_red != 1) return ll_fail(err, LL_NOT_LEGAL, "rolling: %s is not a maximum over one loop", stage->name);
    r->j = r->max.red[0];
    if (!stage_axis_is(r->j, argv[argc - 2])) return ll_fail(err, LL_USAGE, "rolling: %s is reduced over %s, not %s", stage->name, r->j->u.axis->name, argv[argc - 2]);
    r->extent = r->j->u.axis->extent;
    r->bound = r->j->u.axis->max ? r->j->u.axis->max : r->extent;
    r->n_rows = r->max.n_axis;
    memcpy(r->row, r->max.axis, sizeof r->row);
    if (inner) LL_TRY(parse_inner(r, inner));
    LL_TRY(check_extent(r));
    if (r->items) LL_TRY(plan_item_make(s, &r->item, r->row[0], r->items, stage->name, err));
    for (int i = 1; i < argc - 2; i++) {
        if (r->n_member == MAX_MEMBER) return ll_fail(err, LL_NOT_LEGAL, "rolling: more than %d members", MAX_MEMBER);
        LL_TRY(read_member(r, argv[i]));
    }
    if (score) {
        char *copy = ll_strdup(te_arena(s->g), score);
        for (char *save, *a = strtok_r(copy, ",", &save); a; a = strtok_r(NULL, ",", &save)) LL_TRY(read_score(r, a));
    }
    LL_TRY(check_reads(r));
    if (!r->n_member || !r->m[r->n_member - 1].sum) return ll_fail(err, LL_NOT_LEGAL, "rolling: the last member must be a sum that depends on %s", stage->name);

    lp_stmt *last = r->m[r->n_member - 1].nest.top;
    sch_detach(s, r->max.top);
    for (int i = 0; i + 1 < r->n_member; i++) {
        sch_detach(s, r->m[i].nest.top);
        if (!r->m[i].sum) stage_drop_buffer(s, r->m[i].nest.buf);
    }
    for (int i = 0; i < r->n_score; i++) {
        sch_detach(s, r->score[i].nest.top);
        stage_drop_buffer(s, r->score[i].nest.buf);
    }
    lp_stmt *mark = lp_if(s->fn, te_iconst(s->g, LL_BOOL, 1), NULL, NULL); /* where the last member stood */
    sch_replace(s, last, mark);
    sch_replace(s, mark, rolled_nest(r));
    if (!wanted(r, r->max.buf)) stage_drop_buffer(s, r->max.buf);
    if (te_error(s->g)) return ll_fail(err, LL_NOT_LEGAL, "rolling: %s", te_error(s->g)->msg);
    if (r->approx) s->approx = "rolling looks through a rounding cast";
    return LL_OK;
}
