/* prim_plan.c: `plan LOOP ITEMS ROWS [upto=LOOP2]`: a loop over the flat rows of ragged segments becomes one loop over
 * work items that the host (or an earlier kernel) made from the lengths, times ROWS rows of one segment:
 *
 *   for m.t < T { ... seg[t] ... pos[t] ... }
 *
 *   for m.w < W { for m.r < ROWS {                       items[W, 8]: {seg, row0, rows, lo, hi, mask_from, part, parts}
 *     t = row0 + min(r, rows - 1)                       # surplus rows repeat the last one: same values, no guard
 *     ... } }
 *
 * All rows of an item lie in one segment, so `seg[t]` becomes seg[row0], the same for every r: rows of an item may share
 * what they read through it. With upto=LOOP2, the loop LOOP2 below (whose extent depends on the row, such as the keys
 * a row sees) runs to the item's `hi`, the greatest of its rows; elements past a row's own end must already be masked, which
 * `rolling` does. The contract of items (runtime/plan.c, and its property test): they cover every row exactly once, rows of
 * an item are consecutive and of one segment, hi is the maximum over them.
 *
 * Refused: a loop that is not over a whole flat axis; statements that go on from what an iteration before theirs left (sums
 * into a place shared by rows, sums that were started outside of the loop): a repeated row would count twice. */
#include <stdlib.h>
#include <string.h>

#include "schedule/plan.h"
#include "schedule/prim.h"

enum { ITEM_ROW0 = 1, ITEM_ROWS = 2, ITEM_HI = 4, ITEM_WORDS = 8 };

/* ---- items as expressions (plan.h) ------------------------------------------------------------------------------ */

static te_tensor *items_param(sch *s, const char *name)
{
    for (int i = 0; i < s->fn->n_param; i++)
        if (!strcmp(s->fn->param[i]->t->name, name)) return s->fn->param[i]->t;
    te_ref shape[2] = {te_dim(s->g, ll_sprintf(te_arena(s->g), "W.%s", name), 0, 1 << 20), te_int(s->g, ITEM_WORDS)};
    te_tensor *t = te_find(s->g, name); /* a plan that was refused has left its items in the graph */
    bool same = t && t->kind == TE_INPUT && t->dtype == LL_S32 && t->ndim == 2 && t->shape[0] == shape[0] && t->shape[1] == shape[1];
    if (!same) t = te_input_index(s->g, name, LL_S32, te_int(s->g, 0), te_int(s->g, INT32_MAX), shape, 2);
    lp_param_add(s->fn, t, false);
    return t;
}

static te_ref item_word(te_tensor *items, te_ref w, int word)
{
    te_ref idx[2] = {w, te_int(w->g, word)};
    return te_cast(LL_S64, te_load(items, idx, 2));
}

ll_code plan_item_make(sch *s, plan_item *out, te_ref row, const char *items, const char *stage, ll_error *err)
{
    te_ref total = row->u.axis->extent;
    if (total->op != TE_DIM || row->u.axis->max)
        return ll_fail(err, LL_NOT_LEGAL, "plan: %s runs to %s, wanted a whole flat axis (a dim)", row->u.axis->name, sch_expr_text(s, total));
    if (te_range_of(total).lo < 1) return ll_fail(err, LL_NOT_LEGAL, "plan: dim %s may be 0", total->u.dim->name);
    te_tensor *t = items_param(s, items);
    te_ref w = te_axis(s->g, lp_fresh_name(s->fn, ll_sprintf(te_arena(s->g), "%s.w", stage)), t->shape[0]);
    *out = (plan_item){.g = s->g, .w = w, .total = total, .row0 = item_word(t, w, ITEM_ROW0), .hi = item_word(t, w, ITEM_HI)};
    out->surplus = te_addi(item_word(t, w, ITEM_ROWS), -1);
    out->first = te_min(out->row0, te_addi(total, -1));
    return LL_OK;
}

te_ref plan_row(const plan_item *i, te_ref r)
{
    if (!r) return i->first;
    return te_min(te_add(i->row0, te_max(te_min(r, i->surplus), te_int(i->g, 0))), te_addi(i->total, -1));
}

/* Values that are bounded by a dim other than the rows' (seg[t] in 0..S) name the segment. */
static te_ref uniform_load(te_ref e, void *p)
{
    const plan_item *q = p;
    if (e->op != TE_LOAD || e->n != 1 || !te_loads(e->src[0], q->row0->src[0]->u.t) || !e->u.t->hi || e->u.t->hi->op != TE_DIM) return e;
    return te_load(e->u.t, &q->first, 1);
}

te_ref plan_uniform(const plan_item *i, te_ref e)
{
    plan_item copy = *i;
    return te_rewrite(i->g, e, uniform_load, &copy);
}

/* ---- the primitive -------------------------------------------------------------------------------------------------- */

typedef struct plan {
    plan_item item;
    te_ref row, index;   /* the loop variable that goes, and the row of (w, r) */
    const lp_buf **fresh; int n_fresh; /* begun anew in each iteration, as far as the walk has come */
    const lp_buf *repeated;            /* written by an iteration on top of what was there */
} plan;

static bool is_fresh(const plan *q, const lp_buf *b)
{
    for (int i = 0; i < q->n_fresh; i++)
        if (q->fresh[i] == b) return true;
    return false;
}

/* A repeated row does its work twice, so nothing that it writes may start from what an iteration before it left: the
 * first that the body does with such a buffer is to store there, at its row, something that is not read from it. */
static void check_repeatable(plan *q, const lp_stmt *st)
{
    bool reduce = st->kind == LP_REDUCE, own = false;
    if (st->kind == LP_ALLOC && !is_fresh(q, st->u.alloc.buf)) q->fresh[q->n_fresh++] = st->u.alloc.buf;
    if (!reduce && st->kind != LP_STORE) return;
    lp_buf *b = reduce ? st->u.reduce.buf : st->u.store.buf;
    const te_ref *idx = reduce ? st->u.reduce.idx : st->u.store.idx;
    if (is_fresh(q, b)) return;
    for (int d = 0; d < b->t->ndim; d++) own |= te_uses(idx[d], q->row);
    if (reduce || te_loads(st->u.store.value, b->t)) q->repeated = b;
    else if (own) q->fresh[q->n_fresh++] = b;
}

static te_ref to_item(te_ref e, void *p)
{
    plan *q = p;
    return plan_uniform(&q->item, te_subst(q->item.g, e, &q->row, &q->index, 1));
}

static bool retarget(lp_stmt *st, void *p)
{
    plan *q = p;
    check_repeatable(q, st);
    lp_each_expr(st, to_item, q);
    return true;
}

typedef struct swap { te_graph *g; te_ref from, to; } swap;

static te_ref swap_in(te_ref e, void *p)
{
    swap *w = p;
    return te_simplify(w->g, te_subst(w->g, e, &w->from, &w->to, 1));
}

static bool swap_extent(lp_stmt *st, void *p)
{
    if (st->kind == LP_FOR) lp_each_expr(st, swap_in, p);
    return true;
}

static ll_code rows_of(const char *text, long *rows, ll_error *err)
{
    char *end;
    *rows = strtol(text, &end, 10);
    if (*end || *rows < 1 || *rows > 4096) return ll_fail(err, LL_USAGE, "plan: ROWS '%s' is not in 1..4096", text);
    return LL_OK;
}

/* The expression by which a row bounds a loop: `len` in an extent such as (len + 63) / 64 is the greatest
 * subexpression made of loads of the row, casts and constants. */
typedef struct len_search { te_ref row, found; } len_search;

static bool find_len(te_ref e, void *p)
{
    len_search *l = p;
    if (e->dtype != LL_S64 || e == l->row || !te_uses(e, l->row)) return true;
    if (e->op == TE_CAST || e->op == TE_LOAD) l->found = e;
    else if ((e->op == TE_ADD || e->op == TE_SUB) && l->found && e->src[0] == l->found && e->src[1]->op == TE_INT &&
             e->src[1]->u.i <= 1)
        l->found = e;
    return true;
}

/* Loops below that run to the row's length run to the item's. */
static ll_code bound_by_item(sch *s, lp_stmt *loop, const char *upto, te_ref t, te_ref hi, ll_error *err)
{
    lp_stmt *l2 = sch_find_loop(s, upto, err);
    if (!l2) return LL_USAGE;
    len_search ls = {.row = t};
    te_walk(l2->u.loop.var->u.axis->extent, find_len, &ls);
    if (!ls.found || !l2->u.loop.var->u.axis->max)
        return ll_fail(err, LL_NOT_LEGAL, "plan: the extent of %s does not depend on a length of the row", upto);
    swap sw = {s->g, ls.found, hi};
    lp_walk(loop->u.loop.body, swap_extent, &sw);
    return LL_OK;
}

ll_code sch_plan(sch *s, int argc, const char *const *argv, ll_error *err)
{
    const char *upto = NULL;
    if (argc == 4 && !strncmp(argv[3], "upto=", 5)) upto = argv[--argc] + 5;
    if (argc != 3) return ll_fail(err, LL_USAGE, "plan wants LOOP ITEMS ROWS [upto=LOOP2]");
    long rows;
    LL_TRY(rows_of(argv[2], &rows, err));
    lp_stmt *loop = sch_find_loop(s, argv[0], err);
    if (!loop) return LL_USAGE;
    te_ref t = loop->u.loop.var;
    ll_arena *a = te_arena(s->g);
    const char *dot = strrchr(t->u.axis->name, '.');
    const char *stage = ll_strndup(a, t->u.axis->name, dot ? (size_t)(dot - t->u.axis->name) : strlen(t->u.axis->name));
    plan q = {.row = t, .fresh = LL_NEW_N(a, const lp_buf *, s->fn->n_buf + 1)};
    LL_TRY(plan_item_make(s, &q.item, t, argv[1], stage, err));
    te_ref r = rows > 1 ? te_axis(s->g, lp_fresh_name(s->fn, ll_sprintf(a, "%s.r", stage)), te_int(s->g, rows)) : NULL;
    q.index = plan_row(&q.item, r);

    lp_stmt *rest = loop->next;
    loop->next = NULL;
    if (upto) LL_TRY(bound_by_item(s, loop, upto, t, q.item.hi, err));
    lp_walk(loop->u.loop.body, retarget, &q);
    loop->next = rest;
    if (q.repeated && rows > 1)
        return ll_fail(err, LL_NOT_LEGAL, "plan: what %s writes to %s goes on from what was there; a repeated row would count twice", argv[0],
                       q.repeated->t->name);
    lp_stmt *body = r ? lp_for(s->fn, r, LP_SERIAL, loop->u.loop.body) : loop->u.loop.body;
    lp_stmt *outer = lp_for(s->fn, q.item.w, loop->u.loop.how, body);
    sch_replace(s, loop, outer);
    return te_error(s->g) ? ll_fail(err, LL_NOT_LEGAL, "plan: %s", te_error(s->g)->msg) : LL_OK;
}
