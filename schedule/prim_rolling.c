/* prim_rolling.c: `rolling MAX [MEMBER...] LOOP TILE [parts=P]`: a maximum and the sums that depend on it in one pass
 * over tiles of their reduction axis (and, with parts, over P ranges of tiles side by side, with a combine).
 *
 *   m[t, h] = max(j: x[t, h, j]);  e[t, h, j] = exp(x[t, h, j] - m[t, h])
 *   l[t, h] = sum(j: e[t, h, j]);  o[t, h, d] = sum(j: e[t, h, j] * v[t, j, h, d])
 *
 * `rolling m e l o j 64` gives
 *
 *   for m.t, m.h { m = lowest; l = 0; o[d] = 0
 *     for m.j.o < ceil(len / 64) {
 *       m.new = max(m, max(j.i: x[j.o*64 + j.i]))          # elements past the end count as -inf
 *       m.fix = exp(m - m.new);  m = m.new
 *       l = l * m.fix;  o[d] = o[d] * m.fix
 *       e[j.i] = past the end ? 0 : exp(x - m)               # one tile of e is kept
 *       l += e[j.i];  o[d] += e[j.i] * v } }
 *
 * which equals the definitions by exp(a - m_old) * exp(m_old - m_new) = exp(a - m_new). The maximum starts at the
 * least finite number, so no difference of infinities arises; a row without elements leaves every sum 0.
 *
 * With parts=P a loop m.p stands inside the rows; part p takes tiles [n*p/P, n*(p+1)/P) into m.p, l.p, o.p, and the
 * stages m, l, o become combines: m = max(p: m.p), m.w = exp(m.p - m) (0 for an empty part), l = sum(p: m.w * l.p).
 *
 * Legal when every member's summand is exp(a - m) * b with a and b free of m (looking through rounding casts: then the
 * schedule is approximate), sums start at 0, and all nests are plain. What is produced by other stages (x here) stays
 * where it is; place it with `at`. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/sch.h"
#include "schedule/stage.h"

enum { MAX_MEMBER = 8 };

typedef struct member {
    stage_nest nest;
    bool sum;               /* a reduction over j; else the elementwise stage e           */
    te_ref j;               /* its j axis                                                 */
    int n_extra;            /* axes beyond the rows (without j)                           */
    te_ref extra[TE_MAX_DIM];
    lp_buf *out;            /* where it accumulates: own buffer, or the .p / tile buffer  */
} member;

typedef struct roll {
    sch *s;
    te_graph *g;
    ll_error *err;
    stage_nest max;
    te_ref j, extent, bound;     /* reduction axis of the maximum, its extent, a bound free of loads */
    int64_t tile, parts;
    int n_rows;
    te_ref row[TE_MAX_DIM];
    te_ref p;                    /* part axis or NULL */
    int n_member;
    member m[MAX_MEMBER];
    bool exact_tiles;            /* the extent is a multiple of the tile: no element is past the end */
    bool approx;
    te_ref jo;
    te_op exp_op;
    te_ref exp_scale;            /* exp2((a - m) * scale): scale, or NULL */
} roll;

static te_ref named_axis(roll *r, const char *stage, const char *axis, te_ref extent, te_ref max)
{
    const char *name = ll_sprintf(te_arena(r->g), "%s.%s", stage, axis);
    return max ? te_axis_upto(r->g, name, extent, max) : te_axis(r->g, name, extent);
}

static const char *last_part(te_ref axis)
{
    const char *dot = strrchr(axis->u.axis->name, '.');
    return dot ? dot + 1 : axis->u.axis->name;
}

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

static ll_code read_member(roll *r, const char *name)
{
    member *m = &r->m[r->n_member];
    te_tensor *stage = sch_find_stage(r->s, name, r->err);
    if (!stage) return LL_USAGE;
    LL_TRY(stage_plain_nest(r->s, stage, &m->nest, r->err));
    const stage_nest *n = &m->nest;
    m->sum = n->reduce_op == TE_SUM && n->n_red == 1;
    if (!m->sum && n->n_red) return ll_fail(r->err, LL_NOT_LEGAL, "rolling: %s is neither a sum over one loop nor elementwise", name);
    if (m->sum && !(n->init->op == TE_FLT && n->init->u.f == 0))
        return ll_fail(r->err, LL_NOT_LEGAL, "rolling: the sum %s does not start at 0", name);
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
        return ll_fail(r->err, LL_NOT_LEGAL, "rolling: %s runs over %s, the maximum over %s", name, te_show(mine), ll_sprintf(te_arena(r->g), "%s", te_show(r->extent)));
    m->nest.value = te_subst(r->g, n->value, from, to, n_sub);
    if (!scales(r, m->nest.value))
        return ll_fail(r->err, LL_NOT_LEGAL, "rolling: %s is not exp(a - %s) * b with a and b free of it: %s", name, r->max.stage->name, te_show(m->nest.value));
    r->n_member++;
    return LL_OK;
}

/* ---- building ---------------------------------------------------------------------------------------------- */

static int index_of(const roll *r, te_ref *idx)
{
    int n = 0;
    for (int i = 0; i < r->n_rows; i++) idx[n++] = r->row[i];
    if (r->p) idx[n++] = r->p;
    return n;
}

static lp_buf *row_buffer(roll *r, const char *suffix, ll_dtype t, const te_ref *extra, int n_extra)
{
    te_ref shape[TE_MAX_DIM];
    int n = 0;
    for (int i = 0; i < r->n_rows; i++) shape[n++] = r->max.stage->shape[i];
    if (r->p) shape[n++] = r->p->u.axis->extent;
    for (int i = 0; i < n_extra; i++) shape[n++] = extra[i];
    return lp_buf_new(r->s->fn, suffix, t, LP_THREAD, shape, n);
}

static lp_stmt *loops(roll *r, const te_ref *axis, int n, lp_stmt *body)
{
    for (int i = n - 1; i >= 0; i--) body = lp_for(r->s->fn, axis[i], LP_SERIAL, body);
    return body;
}

static te_ref exp_of_difference(roll *r, te_ref a, te_ref b)
{
    te_ref d = te_sub(a, b);
    if (r->exp_scale) d = te_mul(d, r->exp_scale);
    return te_unary(r->exp_op, d);
}

/* jo*tile + ji (from the part's first tile on), and whether it is an element. */
static te_ref element(const roll *r, te_ref ji) { return te_add(te_muli(r->jo, r->tile), ji); }

static te_ref tiles_before(roll *r, te_ref part)
{
    te_ref n = te_divi(te_addi(r->extent, r->tile - 1), r->tile);
    return te_divi(te_mul(n, part), r->parts);
}

typedef struct reload { te_graph *g; const te_tensor *from; lp_buf *to; te_ref at[TE_MAX_DIM]; int n_rows, n_at; te_ref last; } reload;

static te_ref reload_node(te_ref e, void *p)
{
    reload *l = p;
    if (e->op != TE_LOAD || e->u.t != l->from) return e;
    te_ref idx[TE_MAX_DIM];
    int n = 0;
    for (int i = 0; i < l->n_at; i++) idx[n++] = l->at[i];
    if (l->last) idx[n++] = l->last;
    return te_load(l->to->t, idx, n);
}

/* Loads of the rolled stages become loads of their running buffers; j becomes the element of (jo, ji). */
static te_ref running(roll *r, te_ref e, lp_buf *max_buf, te_ref ji)
{
    te_ref at = element(r, ji);
    e = te_subst(r->g, e, &r->j, &at, 1);
    reload l = {.g = r->g, .from = r->max.stage, .to = max_buf};
    l.n_at = index_of(r, l.at);
    e = te_rewrite(r->g, e, reload_node, &l);
    for (int i = 0; i < r->n_member; i++) {
        if (r->m[i].sum) continue;
        l.from = r->m[i].nest.stage;
        l.to = r->m[i].out;
        l.last = ji;
        e = te_rewrite(r->g, e, reload_node, &l);
    }
    return te_simplify(r->g, e);
}

static lp_stmt *max_step(roll *r, lp_buf *m, lp_buf *m_new, lp_buf *m_fix)
{
    lp_func *f = r->s->fn;
    te_ref at[TE_MAX_DIM];
    int n = index_of(r, at);
    te_ref ji = named_axis(r, r->max.stage->name, ll_sprintf(te_arena(r->g), "%s.i", last_part(r->j)), te_int(r->g, r->tile), NULL);
    te_ref el = element(r, ji), v = te_subst(r->g, r->max.value, &r->j, &el, 1);
    if (!r->exact_tiles) v = te_select(te_lt(el, r->extent), v, te_fconst(r->g, r->max.stage->dtype, -INFINITY));
    te_ref old = te_load(m->t, at, n), fresh = te_load(m_new->t, at, n);
    lp_stmt *s = lp_store(f, m_new, at, old);
    s = lp_seq(s, lp_for(f, ji, LP_SERIAL, lp_reduce(f, TE_MAXR, m_new, at, te_simplify(r->g, v))));
    s = lp_seq(s, lp_store(f, m_fix, at, exp_of_difference(r, old, fresh)));
    return lp_seq(s, lp_store(f, m, at, fresh));
}

static lp_stmt *member_step(roll *r, member *m, lp_buf *max_buf)
{
    lp_func *f = r->s->fn;
    const char *stage = m->nest.stage->name, *jn = ll_sprintf(te_arena(r->g), "%s.i", last_part(r->j));
    te_ref at[TE_MAX_DIM];
    int n = index_of(r, at);
    te_ref tile = te_int(r->g, r->tile);
    if (!m->sum) {
        te_ref ji = named_axis(r, stage, jn, tile, NULL);
        te_ref v = running(r, m->nest.value, max_buf, ji);
        if (!r->exact_tiles) v = te_select(te_lt(element(r, ji), r->extent), v, te_fconst(r->g, m->nest.stage->dtype, 0));
        at[n] = ji;
        return lp_for(f, ji, LP_SERIAL, lp_store(f, m->out, at, v));
    }
    for (int i = 0; i < m->n_extra; i++) at[n++] = m->extra[i];
    /* when the summand reads more than the tile of e (values of keys past the end may be anything, 0 * NaN is NaN),
     * the loop ends with the elements; otherwise the zeros of e end it */
    bool plain = m->nest.value->op == TE_LOAD && is_exp_factor(r, m->nest.value);
    te_ref rest = te_sub(r->extent, te_muli(r->jo, r->tile));
    te_ref ji = r->exact_tiles || plain ? named_axis(r, stage, jn, tile, NULL)
                                        : named_axis(r, stage, jn, te_simplify(r->g, te_min(rest, tile)), tile);
    lp_stmt *body = lp_reduce(f, TE_SUM, m->out, at, running(r, m->nest.value, max_buf, ji));
    return loops(r, m->extra, m->n_extra, lp_for(f, ji, LP_SERIAL, body));
}

/* Fresh axes for one more nest over a member's extra axes: loop names are unique. */
static int fresh_extra(roll *r, const member *m, const char *what, te_ref *out)
{
    for (int i = 0; i < m->n_extra; i++)
        out[i] = named_axis(r, ll_sprintf(te_arena(r->g), "%s.%s", m->nest.stage->name, what), last_part(m->extra[i]), m->extra[i]->u.axis->extent, m->extra[i]->u.axis->max);
    return m->n_extra;
}

static lp_stmt *store_over(roll *r, const member *m, const char *what, te_ref scale)
{
    te_ref at[TE_MAX_DIM], extra[TE_MAX_DIM];
    int n = index_of(r, at), k = fresh_extra(r, m, what, extra);
    for (int i = 0; i < k; i++) at[n + i] = extra[i];
    te_ref v = scale ? te_mul(te_load(m->out->t, at, n + k), scale) : m->nest.init;
    return loops(r, extra, k, lp_store(r->s->fn, m->out, at, v));
}

static lp_stmt *rolled_nest(roll *r, lp_buf *m)
{
    lp_func *f = r->s->fn;
    te_graph *g = r->g;
    const char *name = r->max.stage->name;
    ll_dtype t = r->max.stage->dtype;
    te_ref at[TE_MAX_DIM];
    int n = index_of(r, at);
    lp_buf *m_new = row_buffer(r, ll_sprintf(te_arena(g), "%s.new", name), t, NULL, 0);
    lp_buf *m_fix = row_buffer(r, ll_sprintf(te_arena(g), "%s.fix", name), t, NULL, 0);
    te_ref tiles = te_simplify(g, te_divi(te_addi(r->extent, r->tile - 1), r->tile));
    te_ref most = te_simplify(g, te_divi(te_addi(r->bound, r->tile - 1), r->tile)), first = NULL;
    if (r->p) {
        first = tiles_before(r, r->p);
        tiles = te_sub(tiles_before(r, te_addi(r->p, 1)), first);
    }
    bool ragged = r->j->u.axis->max != NULL || r->p;
    te_ref jo = named_axis(r, name, ll_sprintf(te_arena(g), "%s.o", last_part(r->j)), te_simplify(g, tiles), ragged ? most : NULL);
    r->jo = first ? te_add(first, jo) : jo;

    lp_stmt *init = lp_store(f, m, at, te_fconst(g, t, t == LL_F64 ? -DBL_MAX : -FLT_MAX));
    lp_stmt *body = max_step(r, m, m_new, m_fix);
    te_ref fix = te_load(m_fix->t, at, n);
    for (int i = 0; i < r->n_member; i++) {
        if (!r->m[i].sum) continue;
        init = lp_seq(init, store_over(r, &r->m[i], "init", NULL));
        body = lp_seq(body, store_over(r, &r->m[i], "fix", fix));
    }
    for (int i = 0; i < r->n_member; i++) body = lp_seq(body, member_step(r, &r->m[i], m));
    lp_stmt *nest = lp_seq(init, lp_for(f, jo, LP_SERIAL, body));
    if (r->p) nest = lp_for(f, r->p, LP_SERIAL, nest);
    return loops(r, r->row, r->n_rows, nest);
}

/* ---- combining parts ------------------------------------------------------------------------------------------ */

/* Fresh row axes for a nest of its own: "stage.axis". */
static void fresh_rows(roll *r, const char *stage, te_ref *row)
{
    for (int i = 0; i < r->n_rows; i++)
        row[i] = named_axis(r, stage, last_part(r->row[i]), r->row[i]->u.axis->extent, r->row[i]->u.axis->max);
}

static lp_stmt *combine_max(roll *r, lp_buf *part, lp_buf *weight)
{
    te_graph *g = r->g;
    lp_func *f = r->s->fn;
    const char *name = r->max.stage->name, *wname = weight->t->name;
    ll_dtype t = r->max.stage->dtype;
    te_ref lowest = te_fconst(g, t, t == LL_F64 ? -DBL_MAX : -FLT_MAX), row[TE_MAX_DIM + 1];
    int n = r->n_rows;
    fresh_rows(r, ll_sprintf(te_arena(g), "%s.all", name), row);
    row[n] = named_axis(r, ll_sprintf(te_arena(g), "%s.all", name), "p", te_int(g, r->parts), NULL);
    lp_stmt *s = lp_store(f, r->max.buf, row, lowest);
    s = lp_seq(s, lp_for(f, row[n], LP_SERIAL, lp_reduce(f, TE_MAXR, r->max.buf, row, te_load(part->t, row, n + 1))));
    s = loops(r, row, n, s);
    fresh_rows(r, wname, row);
    row[n] = named_axis(r, wname, "p", te_int(g, r->parts), NULL);
    te_ref pm = te_load(part->t, row, n + 1), all = te_load(r->max.buf->t, row, n);
    te_ref w = te_select(te_eq(pm, lowest), te_fconst(g, t, 0), exp_of_difference(r, pm, all));
    return lp_seq(s, loops(r, row, n + 1, lp_store(f, weight, row, w)));
}

static lp_stmt *combine_sum(roll *r, member *m, lp_buf *weight)
{
    te_graph *g = r->g;
    lp_func *f = r->s->fn;
    const char *stage = m->nest.stage->name;
    te_ref at[TE_MAX_DIM], pat[TE_MAX_DIM], row[TE_MAX_DIM];
    int n = r->n_rows, k = m->n_extra;
    fresh_rows(r, ll_sprintf(te_arena(g), "%s.all", stage), row);
    te_ref extra[TE_MAX_DIM], p = named_axis(r, ll_sprintf(te_arena(g), "%s.all", stage), "p", te_int(g, r->parts), NULL);
    fresh_extra(r, m, "all", extra);
    memcpy(at, row, sizeof row);
    memcpy(pat, row, sizeof row);
    pat[n] = p;
    for (int i = 0; i < k; i++) at[n + i] = extra[i], pat[n + 1 + i] = extra[i];
    te_ref w = te_load(weight->t, pat, n + 1), v = te_load(m->out->t, pat, n + 1 + k);
    if (w->dtype != v->dtype) w = te_cast(v->dtype, w);
    lp_stmt *s = lp_store(f, m->nest.buf, at, m->nest.init);
    s = lp_seq(s, lp_for(f, p, LP_SERIAL, lp_reduce(f, TE_SUM, m->nest.buf, at, te_mul(w, v))));
    return loops(r, row, n, loops(r, extra, k, s));
}

/* ---- the primitive ---------------------------------------------------------------------------------------------- */

static void take_out(sch *s, lp_stmt *top)
{
    lp_stmt **slot = sch_slot_of(s, top);
    if (slot) *slot = top->next;
    top->next = NULL;
}

static lp_buf *make_outputs(roll *r)
{
    te_graph *g = r->g;
    lp_buf *m = r->max.buf;
    if (r->p) m = row_buffer(r, ll_sprintf(te_arena(g), "%s.p", r->max.stage->name), r->max.stage->dtype, NULL, 0);
    for (int i = 0; i < r->n_member; i++) {
        member *mm = &r->m[i];
        te_ref shape[TE_MAX_DIM];
        if (!mm->sum) {
            shape[0] = te_int(g, r->tile);
            mm->out = row_buffer(r, mm->nest.stage->name, mm->nest.stage->dtype, shape, 1);
        } else if (r->p) {
            for (int k = 0; k < mm->n_extra; k++) shape[k] = mm->nest.stage->shape[r->n_rows + k];
            mm->out = row_buffer(r, ll_sprintf(te_arena(g), "%s.p", mm->nest.stage->name), mm->nest.stage->dtype, shape, mm->n_extra);
        } else {
            mm->out = mm->nest.buf;
        }
    }
    return m;
}

static ll_code parse_args(roll *r, int *argc, const char *const *argv)
{
    while (*argc > 0 && strchr(argv[*argc - 1], '=')) {
        const char *o = argv[--*argc];
        char *end = NULL;
        if (!strncmp(o, "parts=", 6)) r->parts = strtol(o + 6, &end, 10);
        if (!end || *end || r->parts < 2 || r->parts > 256) return ll_fail(r->err, LL_USAGE, "rolling: '%s' is not parts=2..256", o);
    }
    if (*argc < 3) return ll_fail(r->err, LL_USAGE, "rolling wants MAX [MEMBER...] LOOP TILE");
    char *end;
    r->tile = strtol(argv[*argc - 1], &end, 10);
    if (*end || r->tile < 1) return ll_fail(r->err, LL_USAGE, "rolling: TILE '%s' is not a positive number", argv[*argc - 1]);
    return LL_OK;
}

ll_code sch_rolling(sch *s, int argc, const char *const *argv, ll_error *err)
{
    roll *r = LL_NEW(te_arena(s->g), roll);
    *r = (roll){.s = s, .g = s->g, .err = err, .exp_op = TE_N_OPS};
    LL_TRY(parse_args(r, &argc, argv));
    te_tensor *stage = sch_find_stage(s, argv[0], err);
    if (!stage) return LL_USAGE;
    LL_TRY(stage_plain_nest(s, stage, &r->max, err));
    if (r->max.reduce_op != TE_MAXR || r->max.n_red != 1)
        return ll_fail(err, LL_NOT_LEGAL, "rolling: %s is not a maximum over one loop", stage->name);
    r->j = r->max.red[0];
    if (!stage_axis_is(r->j, argv[argc - 2]))
        return ll_fail(err, LL_USAGE, "rolling: %s is reduced over %s, not %s", stage->name, r->j->u.axis->name, argv[argc - 2]);
    r->extent = r->j->u.axis->extent;
    r->bound = r->j->u.axis->max ? r->j->u.axis->max : r->extent;
    te_cong cg = te_cong_of(r->extent);
    r->exact_tiles = (cg.mod == 0 ? cg.rem : cg.rem % r->tile ? cg.rem : cg.mod) % r->tile == 0 && (cg.mod == 0 || cg.rem % r->tile == 0);
    r->n_rows = r->max.n_axis;
    memcpy(r->row, r->max.axis, sizeof r->row);
    for (int i = 1; i < argc - 2; i++) {
        if (r->n_member == MAX_MEMBER) return ll_fail(err, LL_NOT_LEGAL, "rolling: more than %d members", MAX_MEMBER);
        LL_TRY(read_member(r, argv[i]));
    }
    if (!r->n_member || !r->m[r->n_member - 1].sum)
        return ll_fail(err, LL_NOT_LEGAL, "rolling: the last member must be a sum that depends on %s", stage->name);

    if (r->parts) r->p = named_axis(r, stage->name, "p", te_int(s->g, r->parts), NULL);
    for (int i = 0; i < r->n_member; i++)
        if (!r->m[i].sum) take_out(s, r->m[i].nest.top), stage_drop_buffer(s, r->m[i].nest.buf);
    int first_buf = s->fn->n_buf;
    lp_buf *m = make_outputs(r);
    lp_stmt *nest = rolled_nest(r, m);
    if (r->p) {
        lp_buf *weight = row_buffer(r, ll_sprintf(te_arena(s->g), "%s.w", stage->name), stage->dtype, NULL, 0);
        nest = lp_seq(nest, combine_max(r, m, weight));
        for (int i = 0; i < r->n_member; i++)
            if (r->m[i].sum) nest = lp_seq(nest, combine_sum(r, &r->m[i], weight));
    }
    lp_stmt *last = r->m[r->n_member - 1].nest.top;
    take_out(s, r->max.top);
    for (int i = 0; i + 1 < r->n_member; i++)
        if (r->m[i].sum) take_out(s, r->m[i].nest.top);
    lp_stmt **slot = sch_slot_of(s, last);
    if (!slot) return ll_fail(err, LL_FAILED, "rolling: the nest of %s is not in the tree", r->m[r->n_member - 1].nest.stage->name);
    lp_stmt *rest = last->next;
    last->next = NULL;
    *slot = stage_alloc_from(s, first_buf, lp_seq(nest, rest));
    if (te_error(s->g)) return ll_fail(err, LL_NOT_LEGAL, "rolling: %s", te_error(s->g)->msg);
    if (r->approx) s->approx = "rolling looks through a rounding cast";
    return LL_OK;
}
