/* prim_at.c: `at STAGE LOOP [SCOPE]`: computes what LOOP's body reads of STAGE inside that body,
 * just before its first use. The buffer shrinks to the box that is read, indices count from the
 * box's corner:
 *
 *   for acc.n < 576 { acc[acc.n] = 0; for acc.k ... }
 *   for y.n.o < 36 { for y.n.i < 16 { y[y.n.o*16 + y.n.i] = f(acc[y.n.o*16 + y.n.i]) } }
 *
 *   ->  for y.n.o < 36 {
 *         alloc reg f32 acc[16]
 *         for acc.n < 16 { acc[acc.n] = 0; for acc.k ... }
 *         for y.n.i < 16 { y[y.n.o*16 + y.n.i] = f(acc[y.n.i]) } }
 *
 * Where the box may reach over the edge of the stage's buffer, its loops get a guard. A stage
 * whose own loop ends with data (j < len[s] <= C) is computed for the whole box: elements past its
 * end are read by nobody. With edge=free such a loop gets no guard at all, and the verifier must
 * find its accesses inside their buffers anyway.
 *
 * Refused: an output; a nest that was split, reordered into pieces over its own axes, or shares
 * loops with another stage (place first, then split); a reader outside LOOP; a box whose size is
 * not known; something in between that writes what STAGE reads. */
#include <string.h>

#include "schedule/prim.h"

enum { MAX_GROUP = 32, MAX_BLOCK = 256 };

typedef struct move {
    sch *s;
    lp_buf *buf, *to;
    lp_stmt *group[MAX_GROUP];
    int n_group;
    lp_stmt *loop;     /* where it goes                                              */
    lp_stmt *consumer; /* the statement of the stage's block that holds it           */
    sch_region box;
    bool whole[TE_MAX_DIM]; /* the box is the whole dimension                         */
    bool free_edge;         /* edge=free: ragged loops get no guard                   */
} move;

/* ---- may it move? ---------------------------------------------------------------------------- */

static ll_code readers_are_inside(move *m, lp_stmt **block, int n, ll_error *err)
{
    const char *name = m->buf->t->name;
    int first = -1, last = -1, at = -1;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < m->n_group; j++)
            if (block[i] == m->group[j]) {
                if (first < 0) first = i;
                last = i;
            }
        if (sch_inside(block[i], m->loop)) at = i;
    }
    if (last - first + 1 != m->n_group)
        return ll_fail(err, LL_NOT_LEGAL, "other statements stand between the parts of %s", name);
    if (at <= last)
        return ll_fail(err, LL_NOT_LEGAL, "%s is not behind the nest of %s in its block",
                       m->loop->u.loop.var->u.axis->name, name);
    m->consumer = block[at];
    for (int i = 0; i < n; i++)
        if (i != at && (i < first || i > last) && sch_reads(block[i], m->buf))
            return ll_fail(err, LL_NOT_LEGAL, "`%.120s` reads %s outside %s",
                           sch_text(m->s, block[i]), name, m->loop->u.loop.var->u.axis->name);
    for (int g = 0; g < m->n_group; g++)
        for (int i = last + 1; i < at; i++)
            if (!sch_commute(m->s, m->group[g], block[i]))
                return ll_fail(
                    err, LL_NOT_LEGAL,
                    "`%.120s` stands between %s and its readers and changes what it reads",
                    sch_text(m->s, block[i]), name);
    return LL_OK;
}

/* Every read of the buffer in the consumer is below the loop, and the consumer changes nothing
 * that the stage reads. */
static ll_code consumer_is_clean(move *m, ll_error *err)
{
    sch_accesses all = {0}, in = {0}, own = {0};
    int reads = 0, reads_in = 0;
    sch_collect(m->s, m->consumer, &all);
    sch_collect_list(m->s, m->loop->u.loop.body, &in);
    for (int g = 0; g < m->n_group; g++) sch_collect(m->s, m->group[g], &own);
    for (int i = 0; i < all.n; i++) reads += all.v[i].buf == m->buf;
    for (int i = 0; i < in.n; i++) reads_in += in.v[i].buf == m->buf;
    ll_code rc = LL_OK;
    if (reads != reads_in)
        rc = ll_fail(err, LL_NOT_LEGAL, "`%.120s` reads %s outside the body of %s",
                     sch_text(m->s, m->consumer), m->buf->t->name,
                     m->loop->u.loop.var->u.axis->name);
    for (int i = 0; i < all.n && rc == LL_OK; i++)
        for (int j = 0; j < own.n && rc == LL_OK; j++)
            if (all.v[i].kind != SCH_READ && own.v[j].kind == SCH_READ &&
                own.v[j].buf == all.v[i].buf && own.v[j].buf != m->buf)
                rc = ll_fail(err, LL_NOT_LEGAL, "%s reads %s, which `%.120s` changes",
                             m->buf->t->name, all.v[i].buf->t->name, sch_text(m->s, all.v[i].stmt));
    if (rc == LL_OK) {
        te_ref fixed[SCH_MAX_DEPTH + 1];
        int n = sch_fixed_vars(m->s, m->loop, fixed);
        fixed[n++] = m->loop->u.loop.var;
        rc = sch_region_of(m->s, &in, m->buf, 1u << SCH_READ, fixed, n, &m->box, err);
    }
    sch_accesses_finish(&all);
    sch_accesses_finish(&in);
    sch_accesses_finish(&own);
    return rc;
}

/* ---- the stage's own loops ------------------------------------------------------------------- */

typedef struct own_loops {
    move *m;
    te_ref var[TE_MAX_DIM * MAX_GROUP]; /* loops that walk a dimension of the buffer */
    int dim[TE_MAX_DIM * MAX_GROUP], n;
    const char *bad;
} own_loops;

static void note_index(own_loops *o, const te_ref *idx)
{
    const te_tensor *t = o->m->buf->t;
    for (int d = 0; d < t->ndim; d++) {
        if (te_is_int(t->shape[d], 1) || (te_is_int(idx[d], 0) && o->m->whole[d])) continue;
        if (idx[d]->op != TE_AXIS) {
            o->bad = sch_expr_text(o->m->s, idx[d]);
            return;
        }
        int i = 0;
        while (i < o->n && o->var[i] != idx[d]) i++;
        if (i < o->n && o->dim[i] != d) o->bad = idx[d]->u.axis->name;
        if (i == o->n && o->n < TE_MAX_DIM * MAX_GROUP) {
            o->var[o->n] = idx[d];
            o->dim[o->n++] = d;
        }
    }
}

static te_ref note_reload(te_ref e, void *p)
{
    note_index(p, e->src);
    return e;
}

static bool note_write(lp_stmt *st, void *p)
{
    own_loops *o = p;
    if (st->kind == LP_STORE && st->u.store.buf == o->m->buf) note_index(o, st->u.store.idx);
    if (st->kind == LP_REDUCE && st->u.reduce.buf == o->m->buf) note_index(o, st->u.reduce.idx);
    return true;
}

/* Shrinks one loop over dimension d to the box and shifts its variable by the box's corner. */
static void narrow(own_loops *o, lp_stmt *loop, int d)
{
    sch *s = o->m->s;
    te_graph *g = s->g;
    if (o->m->whole[d]) return;
    te_ref var = loop->u.loop.var, base = o->m->box.base[d], full = o->m->buf->t->shape[d];
    bool ragged = var->u.axis->max != NULL;
    te_ref fresh = te_axis(g, var->u.axis->name, o->m->box.extent[d]);
    te_ref at = te_simplify(g, te_add(base, fresh));
    lp_subst(s->fn, loop->u.loop.body, &var, &at, 1);
    loop->u.loop.var = fresh;
    te_ref cond = te_prove_lt(at, full) ? NULL : te_lt(at, full);
    if (ragged && o->m->free_edge)
        return; /* elements past the row's end are read by nobody; the verifier sees to the rest */
    if (!te_prove_le(te_int(g, 0), base)) {
        te_ref low = te_le(te_int(g, 0), at);
        cond = cond ? te_binary(TE_AND, low, cond) : low;
    }
    if (cond) loop->u.loop.body = lp_if(s->fn, cond, loop->u.loop.body, NULL);
}

typedef struct narrowing {
    own_loops *o;
    bool bound;
    const char *extent;
} narrowing;

static bool narrow_loops(lp_stmt *st, void *p)
{
    narrowing *w = p;
    if (st->kind != LP_FOR) return true;
    te_ref v = st->u.loop.var;
    for (int i = 0; i < w->o->n; i++) {
        if (w->o->var[i] != v) continue;
        int d = w->o->dim[i];
        te_ref full = w->o->m->buf->t->shape[d], most = v->u.axis->max;
        if (most && (most == full || te_prove_eq(most, full)))
            full = v->u.axis->extent; /* ragged: all that may be read */
        if (v->u.axis->extent != full && !te_prove_eq(v->u.axis->extent, full))
            w->extent = v->u.axis->name;
        else if (st->u.loop.how != LP_SERIAL && !w->o->m->whole[d])
            w->bound = true;
        else
            narrow(w->o, st, d);
        w->o->var[i] = NULL; /* done */
        break;
    }
    return true;
}

static ll_code narrow_stage(move *m, ll_error *err)
{
    own_loops o = {.m = m};
    narrowing w = {.o = &o};
    const char *name = m->buf->t->name;
    for (int g = 0; g < m->n_group; g++) {
        lp_stmt *rest = m->group[g]->next;
        m->group[g]->next = NULL;
        o.n = 0;
        lp_walk(m->group[g], note_write, &o);
        sch_map_loads(m->s, m->group[g], m->buf, note_reload, &o);
        if (!o.bad) lp_walk(m->group[g], narrow_loops, &w);
        m->group[g]->next = rest;
        if (o.bad)
            return ll_fail(err, LL_NOT_LEGAL,
                           "%s is indexed by %s in its own nest; wanted its plain loops (place "
                           "first, then split)",
                           name, o.bad);
        if (w.extent)
            return ll_fail(
                err, LL_NOT_LEGAL,
                "%s does not walk all of %s; wanted its plain loops (place first, then split)",
                w.extent, name);
        if (w.bound)
            return ll_fail(err, LL_NOT_LEGAL,
                           "a loop of %s is bound already; place first, then bind", name);
        for (int i = 0; i < o.n; i++)
            if (o.var[i])
                return ll_fail(err, LL_NOT_LEGAL, "%s is not a loop of %s's own nest",
                               o.var[i]->u.axis->name, name);
    }
    return LL_OK;
}

/* ---- the buffer ------------------------------------------------------------------------------ */

static te_ref rebase_load(te_ref e, void *p)
{
    move *m = p;
    te_ref idx[TE_MAX_DIM];
    for (int d = 0; d < e->n; d++)
        idx[d] = m->whole[d] ? e->src[d] : te_simplify(m->s->g, te_sub(e->src[d], m->box.base[d]));
    return te_load(m->to->t, idx, e->n);
}

static void rebase_idx(move *m, te_ref *idx)
{
    for (int d = 0; d < m->box.n; d++)
        if (!m->whole[d]) idx[d] = te_simplify(m->s->g, te_sub(idx[d], m->box.base[d]));
}

static bool rebase_write(lp_stmt *st, void *p)
{
    move *m = p;
    if (st->kind == LP_STORE && st->u.store.buf == m->buf) {
        rebase_idx(m, st->u.store.idx);
        st->u.store.buf = m->to;
    } else if (st->kind == LP_REDUCE && st->u.reduce.buf == m->buf) {
        rebase_idx(m, st->u.reduce.idx);
        st->u.reduce.buf = m->to;
    } else if (st->kind == LP_PREFETCH && st->u.prefetch.buf == m->buf) {
        rebase_idx(m, st->u.prefetch.idx);
        st->u.prefetch.buf = m->to;
    }
    return true;
}

static ll_code shrink_buffer(move *m, lp_scope scope, ll_error *err)
{
    sch *s = m->s;
    for (int d = 0; d < m->box.n && scope == LP_REG; d++)
        if (m->box.extent[d]->op != TE_INT)
            return ll_fail(
                err, LL_NOT_LEGAL,
                "%s needs %s elements in dimension %d there; registers want constant sizes",
                m->buf->t->name, sch_expr_text(s, m->box.extent[d]), d);
    m->to = sch_buf_like(s, m->buf->t, m->buf->t->name, scope, m->box.extent);
    m->to->align = m->buf->align;
    for (int d = 0; d < m->box.n; d++) m->whole[d] = false;
    for (lp_stmt *st = s->fn->body; st; st = st->next) sch_map_loads(s, st, m->buf, rebase_load, m);
    lp_walk(s->fn->body, rebase_write, m);
    return LL_OK;
}

static lp_stmt *first_use(lp_stmt *list, const lp_buf *b)
{
    for (lp_stmt *st = list; st; st = st->next)
        if (sch_reads(st, b)) return st;
    return list;
}

static ll_code relocate(move *m, ll_error *err)
{
    sch *s = m->s;
    lp_stmt *list = NULL, *at = first_use(m->loop->u.loop.body, m->buf);
    while (at->kind == LP_ALLOC ||
           at->kind == LP_LET) { /* into the rest of the list that these hold */
        lp_stmt *body = at->kind == LP_ALLOC ? at->u.alloc.body : at->u.let.body;
        if (at->kind == LP_LET && te_loads(at->u.let.value, m->buf->t)) break;
        at = first_use(body, m->buf);
    }
    for (int g = 0; g < m->n_group; g++) {
        sch_detach(s, m->group[g]);
        list = lp_seq(list, m->group[g]);
    }
    sch_insert_before(s, at, list);
    return LL_OK;
}

static ll_code begin(sch *s, int argc, const char *const *argv, move *m, lp_scope *scope,
                     ll_error *err)
{
    *m = (move){.s = s};
    if (argc > 2 && !strncmp(argv[argc - 1], "edge=", 5)) {
        m->free_edge = !strcmp(argv[argc - 1], "edge=free");
        if (!m->free_edge && strcmp(argv[argc - 1], "edge=guard"))
            return ll_fail(err, LL_USAGE, "'%s': wanted edge=guard or edge=free", argv[argc - 1]);
        argc--;
    }
    if (argc != 2 && argc != 3)
        return ll_fail(err, LL_USAGE, "wanted STAGE LOOP [SCOPE] [edge=guard|free]");
    te_tensor *t = sch_find_stage(s, argv[0], err);
    if (!t) return LL_USAGE;
    m->loop = sch_find_loop(s, argv[1], err);
    if (!m->loop) return LL_USAGE;
    m->buf = lp_buf_of(s->fn, t);
    *scope = m->buf->scope == LP_GLOBAL ? LP_THREAD : m->buf->scope;
    if (argc == 3 && !sch_scope_parse(argv[2], scope))
        return ll_fail(err, LL_USAGE, "scope '%s': wanted reg, thread, shared, warp or global",
                       argv[2]);
    if (m->buf->param >= 0)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s is a parameter of the function; it stays whole (`cache_write` first)",
                       argv[0]);
    if (m->buf->layout)
        return ll_fail(err, LL_NOT_LEGAL, "%s has a layout already; place first, then lay out",
                       argv[0]);
    LL_TRY(sch_stage_group(s, m->buf, m->group, MAX_GROUP, &m->n_group, err));
    for (int g = 0; g < m->n_group; g++)
        if (sch_inside(m->group[g], m->loop))
            return ll_fail(err, LL_NOT_LEGAL, "%s is a loop of %s itself", argv[1], argv[0]);
    return LL_OK;
}

ll_code sch_at(sch *s, int argc, const char *const *argv, ll_error *err)
{
    move m;
    lp_scope scope;
    lp_stmt *block[MAX_BLOCK];
    LL_TRY(begin(s, argc, argv, &m, &scope, err));
    int n = sch_block_of(s, m.group[0], block, MAX_BLOCK);
    LL_TRY(readers_are_inside(&m, block, n, err));
    LL_TRY(consumer_is_clean(&m, err));
    for (int d = 0; d < m.box.n; d++)
        m.whole[d] = te_is_int(m.box.base[d], 0) && m.box.extent[d] == m.buf->t->shape[d];
    LL_TRY(narrow_stage(&m, err));
    LL_TRY(relocate(&m, err));
    LL_TRY(shrink_buffer(&m, scope, err));
    sch_swap_buf(s, m.buf, m.to);
    sch_place_allocs(s);
    return LL_OK;
}
