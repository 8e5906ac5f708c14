/* prim_inline.c: `inline STAGE`: its readers compute its value themselves; the buffer and the nest
 * go.
 *
 *   for a.i { a[a.i] = f(x[a.i]) }
 *   for y.i { y[y.i] = g(a[y.i]) }      ->      for y.i { y[y.i] = g(f(x[y.i])) }
 *
 * Refused: an output, a reduction, a nest that was split or guarded, a stage that reads itself or
 * something that is written between its nest and a reader. */
#include "schedule/prim.h"

typedef struct inlining {
    sch *s;
    te_ref var[TE_MAX_DIM]; /* the variable of each dimension, NULL: extent 1 */
    te_ref value;
    int n;
} inlining;

static te_ref inline_load(te_ref e, void *p)
{
    inlining *w = p;
    te_ref from[TE_MAX_DIM], to[TE_MAX_DIM];
    int n = 0;
    for (int d = 0; d < w->n; d++)
        if (w->var[d]) from[n] = w->var[d], to[n++] = e->src[d];
    return te_subst(w->s->g, w->value, from, to, n);
}

/* for axes { b[axes] = value }, lets replaced. */
static ll_code single_store(sch *s, lp_stmt *st, const lp_buf *b, inlining *w, ll_error *err)
{
    const char *name = b->t->name;
    int loops = 0;
    te_ref let[SCH_MAX_DEPTH], val[SCH_MAX_DEPTH];
    int n_let = 0;
    for (;;) {
        if (st->kind == LP_FOR && st->u.loop.how == LP_SERIAL && !st->u.loop.body->next) {
            loops += !te_is_int(st->u.loop.var->u.axis->extent, 1);
            st = st->u.loop.body;
        } else if (st->kind == LP_LET && !st->u.let.body->next && n_let < SCH_MAX_DEPTH) {
            let[n_let] = st->u.let.var;
            val[n_let++] = st->u.let.value;
            st = st->u.let.body;
        } else {
            break;
        }
    }
    if (st->kind != LP_STORE || st->u.store.buf != b)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s is computed by `%.120s`; wanted one store in plain loops", name,
                       sch_text(s, st));
    w->value = st->u.store.value;
    for (int i = n_let - 1; i >= 0; i--) w->value = te_subst(s->g, w->value, &let[i], &val[i], 1);
    w->n = b->t->ndim;
    for (int d = 0; d < w->n; d++) {
        te_ref v = st->u.store.idx[d], full = b->t->shape[d];
        bool one = te_is_int(full, 1);
        w->var[d] = v->op == TE_AXIS ? v : NULL;
        /* a ragged loop stores what may be read; elements past its end are nobody's */
        te_ref most = v->op == TE_AXIS ? v->u.axis->max ? v->u.axis->max : v->u.axis->extent : NULL;
        if (most && (most == full || te_prove_eq(most, full)))
            loops -= !te_is_int(v->u.axis->extent, 1);
        else if (v->op == TE_AXIS || !one)
            return ll_fail(err, LL_NOT_LEGAL, "%s is stored at %s; wanted its plain loops", name,
                           sch_expr_text(s, v));
        for (int e = 0; e < d; e++)
            if (w->var[d] && w->var[e] == w->var[d])
                return ll_fail(err, LL_NOT_LEGAL, "%s is stored on a diagonal", name);
    }
    if (loops)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s is stored several times: its nest has loops that it is not indexed by",
                       name);
    if (te_loads(w->value, b->t)) return ll_fail(err, LL_NOT_LEGAL, "%s reads itself", name);
    return LL_OK;
}

/* Nothing that the value reads is written behind the nest, up to and including the readers. */
static ll_code sources_stay(sch *s, lp_stmt *nest, const lp_buf *b, ll_error *err)
{
    lp_stmt *block[256];
    int n = sch_block_of(s, nest, block, 256), at = 0, last = -1;
    while (at < n && block[at] != nest) at++;
    for (int i = 0; i < n; i++)
        if (i != at && sch_reads(block[i], b)) last = i;
    for (int i = at + 1; i <= last; i++) {
        sch_accesses w = {0}, r = {0};
        const lp_buf *hit = NULL;
        sch_collect(s, block[i], &w);
        sch_collect(s, nest, &r);
        for (int x = 0; x < w.n; x++)
            for (int y = 0; y < r.n; y++)
                if (w.v[x].kind != SCH_READ && r.v[y].kind == SCH_READ && w.v[x].buf == r.v[y].buf)
                    hit = w.v[x].buf;
        sch_accesses_finish(&w);
        sch_accesses_finish(&r);
        if (hit)
            return ll_fail(err, LL_NOT_LEGAL,
                           "%s reads %s, which `%.120s` changes before the readers of %s are done",
                           b->t->name, hit->t->name, sch_text(s, block[i]), b->t->name);
    }
    return LL_OK;
}

ll_code sch_inline(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc != 1) return ll_fail(err, LL_USAGE, "wanted STAGE");
    te_tensor *t = sch_find_stage(s, argv[0], err);
    if (!t) return LL_USAGE;
    lp_buf *b = lp_buf_of(s->fn, t);
    lp_stmt *group[2];
    int n;
    if (b->param >= 0)
        return ll_fail(err, LL_NOT_LEGAL, "%s is an output of the function", argv[0]);
    LL_TRY(sch_stage_group(s, b, group, 2, &n, err));
    if (n != 1)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s is computed by several nests; wanted one store in plain loops", argv[0]);
    inlining w = {.s = s};
    LL_TRY(single_store(s, group[0], b, &w, err));
    LL_TRY(sources_stay(s, group[0], b, err));
    sch_detach(s, group[0]);
    for (lp_stmt *st = s->fn->body; st; st = st->next) sch_map_loads(s, st, b, inline_load, &w);
    sch_place_allocs(s);
    sch_drop_buf(s, b);
    return LL_OK;
}
