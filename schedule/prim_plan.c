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
 * Refused: a loop that is not over a whole flat axis, statements that reduce into a place shared by rows (a repeated row
 * would count twice). */
#include <stdlib.h>
#include <string.h>

#include "schedule/sch.h"
#include "schedule/stage.h"

enum { ITEM_SEG, ITEM_ROW0, ITEM_ROWS, ITEM_LO, ITEM_HI, ITEM_WORDS = 8 };

typedef struct plan {
    te_graph *g;
    te_ref row;          /* the loop variable that goes                     */
    te_ref index, first; /* the row of (w, r), and the item's first row     */
    bool shared_reduce;
} plan;

/* Loads at [row] of index tensors that name the segment are uniform over the item: every 1-d index load whose values
 * are bounded by a dim other than the rows' (seg[t] in 0..S). */
static te_ref uniform_load(te_ref e, void *p)
{
    plan *q = p;
    if (e->op != TE_LOAD || e->n != 1 || e->src[0] != q->index || !e->u.t->hi || e->u.t->hi->op != TE_DIM) return e;
    return te_load(e->u.t, &q->first, 1);
}

static te_ref to_item(te_ref e, void *p)
{
    plan *q = p;
    return te_rewrite(q->g, te_subst(q->g, e, &q->row, &q->index, 1), uniform_load, q);
}

static bool retarget(lp_stmt *st, void *p)
{
    plan *q = p;
    if (st->kind == LP_REDUCE) {
        bool own = false;
        for (int d = 0; d < st->u.reduce.buf->t->ndim; d++) own |= te_uses(st->u.reduce.idx[d], q->row);
        q->shared_reduce |= !own;
    }
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

static te_tensor *items_param(sch *s, const char *name)
{
    te_tensor *t = te_find(s->g, name);
    if (t) return t;
    te_ref shape[2] = {te_dim(s->g, ll_sprintf(te_arena(s->g), "W.%s", name), 0, 1 << 20), te_int(s->g, ITEM_WORDS)};
    t = te_input_index(s->g, name, LL_S32, te_int(s->g, 0), te_int(s->g, INT32_MAX), shape, 2);
    lp_param_add(s->fn, t, false);
    return t;
}

static te_ref item(sch *s, te_tensor *items, te_ref w, int word)
{
    te_ref idx[2] = {w, te_int(s->g, word)};
    return te_cast(LL_S64, te_load(items, idx, 2));
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
    te_ref t = loop->u.loop.var, total = t->u.axis->extent;
    if (total->op != TE_DIM || t->u.axis->max) return ll_fail(err, LL_NOT_LEGAL, "plan: %s runs to %s, wanted a whole flat axis (a dim)", argv[0], te_show(total));
    if (te_range_of(total).lo < 1) return ll_fail(err, LL_NOT_LEGAL, "plan: dim %s may be 0", total->u.dim->name);
    te_graph *g = s->g;
    ll_arena *a = te_arena(g);
    te_tensor *items = items_param(s, argv[1]);
    const char *dot = strrchr(t->u.axis->name, '.');
    const char *stage = ll_strndup(a, t->u.axis->name, dot ? (size_t)(dot - t->u.axis->name) : strlen(t->u.axis->name));
    te_ref w = te_axis(g, lp_fresh_name(s->fn, ll_sprintf(a, "%s.w", stage)), items->shape[0]);
    te_ref r = te_axis(g, lp_fresh_name(s->fn, ll_sprintf(a, "%s.r", stage)), te_int(g, rows));
    te_ref row0 = item(s, items, w, ITEM_ROW0), surplus = te_addi(item(s, items, w, ITEM_ROWS), -1);
    plan q = {.g = g, .row = t};
    q.first = te_min(row0, te_addi(total, -1));
    q.index = rows == 1 ? q.first : te_min(te_add(row0, te_max(te_min(r, surplus), te_int(g, 0))), te_addi(total, -1));

    lp_stmt *rest = loop->next;
    loop->next = NULL;
    if (upto) LL_TRY(bound_by_item(s, loop, upto, t, item(s, items, w, ITEM_HI), err));
    lp_walk(loop->u.loop.body, retarget, &q);
    loop->next = rest;
    if (q.shared_reduce && rows > 1) return ll_fail(err, LL_NOT_LEGAL, "plan: a reduction below %s is not into a place of its row; a repeated row would count twice", argv[0]);
    lp_stmt *body = rows == 1 ? loop->u.loop.body : lp_for(s->fn, r, LP_SERIAL, loop->u.loop.body);
    lp_stmt *outer = lp_for(s->fn, w, loop->u.loop.how, body), **slot = sch_slot_of(s, loop);
    if (!slot) return ll_fail(err, LL_FAILED, "plan: %s is not in the tree", argv[0]);
    outer->next = rest;
    *slot = outer;
    return te_error(g) ? ll_fail(err, LL_NOT_LEGAL, "plan: %s", te_error(g)->msg) : LL_OK;
}
