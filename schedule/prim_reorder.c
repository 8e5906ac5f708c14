/* prim_reorder.c: `reorder`, `fission` and `merge`: which loops stand round which statements.
 *
 *   reorder y.k.o y.n.i                   for n.i { y[..] = 0; for k.o { y[..] += e } }
 *     ->  for n.i.pre { y[..] = 0 }       # what stands before the loop that moves out gets a
 *         for k.o { for n.i { y[..] += e } }                                    # loop of its own
 *   fission L A B                         for L { S1; S2 }  ->  for A { S1 } for B { S2 }
 *   merge A B                             for A { S1 } for B { S2 }  ->  for A { S1; S2 }
 *
 * A permutation is done by exchanging neighbours. Two loops can be exchanged when whatever meets
 * in memory meets at equal values of one of them, or is a reduce with one operator (sums
 * re-associate). Guards between the loops move inward, lets are replaced by their values.
 *
 * Refused: loops that are not nested, an inner extent that depends on the outer variable,
 * statements that meet across iterations, a buffer that lives from one part of a body to another. */
#include <string.h>

#include "schedule/prim.h"

/* ---- distributing one loop over the parts of its body ---------------------------------------- */

/* Do x (earlier in the body) and y meet only within one iteration? */
static bool meet_at_once(sch *s, lp_stmt *loop, lp_stmt *x, lp_stmt *y, const lp_buf **where)
{
    sch_accesses a = {0}, b = {0};
    te_ref fixed[SCH_MAX_DEPTH], var = loop->u.loop.var;
    int n_fixed = sch_fixed_vars(s, loop, fixed);
    sch_collect_list(s, x, &a);
    sch_collect_list(s, y, &b);
    bool ok = !a.ordered && !b.ordered;
    *where = NULL;
    for (int i = 0; i < a.n && ok; i++)
        for (int j = 0; j < b.n && ok; j++) {
            bool same;
            if (!sch_conflict(&a.v[i], &b.v[j], false)) continue;
            if (!sch_alias(s, &a.v[i], &b.v[j], fixed, n_fixed, &var, 1, &same) || same) continue;
            ok = false;
            *where = a.v[i].buf;
        }
    sch_accesses_finish(&a);
    sch_accesses_finish(&b);
    return ok;
}

static te_ref same_axis(te_graph *g, te_ref v, const char *name)
{
    const te_axis_info *ax = v->u.axis;
    return ax->max ? te_axis_upto(g, name, ax->extent, ax->max) : te_axis(g, name, ax->extent);
}

/* for L { head; tail } -> for NAME { head } for L { tail }: the new loop; L keeps the tail.
 * `keep_head`: the other way round. */
static lp_stmt *cut_body(sch *s, lp_stmt *loop, lp_stmt *tail, const char *name, bool keep_head,
                         ll_error *err)
{
    lp_stmt *head = loop->u.loop.body, *end = head;
    const lp_buf *where;
    while (end->next != tail) end = end->next;
    end->next = NULL;
    if (!meet_at_once(s, loop, head, tail, &where)) {
        ll_fail(err, LL_NOT_LEGAL, "`%.80s` and `%.80s` meet in %s in different iterations of %s",
                sch_text(s, head), sch_text(s, tail), where ? where->t->name : "a barrier",
                loop->u.loop.var->u.axis->name);
        return NULL;
    }
    te_ref var = loop->u.loop.var, fresh = same_axis(s->g, var, name);
    lp_stmt *other = lp_for(s->fn, fresh, loop->u.loop.how, keep_head ? tail : head);
    other->u.loop.rotate = loop->u.loop.rotate;
    other->u.loop.opaque = loop->u.loop.opaque;
    lp_subst(s->fn, other->u.loop.body, &var, &fresh, 1);
    loop->u.loop.body = keep_head ? head : tail;
    if (keep_head) {
        other->next = loop->next;
        loop->next = other;
    } else {
        sch_insert_before(s, loop, other);
    }
    return other;
}

/* ---- exchanging two neighbours --------------------------------------------------------------- */

static const char *part_name(sch *s, const lp_stmt *loop, const char *part)
{
    return lp_fresh_name(s->fn,
                         ll_sprintf(te_arena(s->g), "%s.%s", loop->u.loop.var->u.axis->name, part));
}

/* if c { S; for L { T } } -> if c { S } for L { if c { T } } */
static void sink_guard(sch *s, lp_stmt *guard)
{
    lp_stmt *list = guard->u.guard.then, *out = NULL;
    while (list) {
        lp_stmt *st = list;
        list = st->next;
        st->next = NULL;
        if (st->kind == LP_FOR)
            st->u.loop.body = lp_if(s->fn, guard->u.guard.cond, st->u.loop.body, NULL);
        else
            st = lp_if(s->fn, guard->u.guard.cond, st, NULL);
        out = lp_seq(out, st);
    }
    sch_replace(s, guard, out);
}

static void inline_let(sch *s, lp_stmt *let)
{
    lp_subst(s->fn, let->u.let.body, &let->u.let.var, &let->u.let.value, 1);
    sch_replace(s, let, let->u.let.body);
}

/* Moves the innermost of nested guards into the loop that holds (or is) `inner`. False: something
 * else is in the way. */
static bool sink_innermost(sch *s, lp_stmt *guard, const lp_stmt *inner)
{
    for (;;) {
        lp_stmt *st = guard->u.guard.then;
        if (guard->u.guard.otherwise) return false;
        while (st && !sch_inside(st, inner)) st = st->next;
        if (!st) return false;
        if (st->kind == LP_FOR) break;
        if (st->kind == LP_LET) {
            inline_let(s, st);
            return true;
        }
        if (st->kind != LP_IF) return false;
        guard = st;
    }
    sink_guard(s, guard);
    return true;
}

/* Makes `inner` the only statement of `outer`'s body. */
static ll_code make_perfect(sch *s, lp_stmt *outer, lp_stmt *inner, ll_error *err)
{
    const char *name = outer->u.loop.var->u.axis->name;
    for (;;) {
        lp_stmt *holder = outer->u.loop.body, *before = NULL;
        while (!sch_inside(holder, inner)) before = holder, holder = holder->next;
        if (before) {
            if (!cut_body(s, outer, holder, part_name(s, outer, "pre"), false, err))
                return LL_NOT_LEGAL;
        } else if (holder->next) {
            if (!cut_body(s, outer, holder->next, part_name(s, outer, "post"), true, err))
                return LL_NOT_LEGAL;
        } else if (holder == inner) {
            return LL_OK;
        } else if (holder->kind == LP_LET) {
            inline_let(s, holder);
        } else if (holder->kind != LP_IF || !sink_innermost(s, holder, inner)) {
            return ll_fail(err, LL_NOT_LEGAL,
                           holder->kind == LP_ALLOC
                               ? "`%.80s` lives in one iteration of %s and is used round %s"
                               : "`%.80s` stands between %s and %s",
                           sch_text(s, holder), name, inner->u.loop.var->u.axis->name);
        }
    }
}

static ll_code may_exchange(sch *s, lp_stmt *outer, lp_stmt *inner, ll_error *err)
{
    te_ref var[2] = {outer->u.loop.var, inner->u.loop.var}, fixed[SCH_MAX_DEPTH];
    const char *na = var[0]->u.axis->name, *nb = var[1]->u.axis->name;
    if (te_uses(var[1]->u.axis->extent, var[0]))
        return ll_fail(err, LL_NOT_LEGAL, "the extent of %s, %s, depends on %s", nb,
                       sch_expr_text(s, var[1]->u.axis->extent), na);
    if (outer->u.loop.intrin || inner->u.loop.intrin)
        return ll_fail(err, LL_NOT_LEGAL, "%s is an instruction's nest already",
                       outer->u.loop.intrin ? na : nb);
    sch_accesses a = {0};
    int n_fixed = sch_fixed_vars(s, outer, fixed);
    sch_collect_list(s, inner->u.loop.body, &a);
    ll_code rc = a.ordered
                     ? ll_fail(err, LL_NOT_LEGAL, "%s holds a barrier or asynchronous copy", nb)
                     : LL_OK;
    for (int i = 0; i < a.n && rc == LL_OK; i++)
        for (int j = i; j < a.n && rc == LL_OK; j++) {
            bool same[2];
            const sch_access *x = &a.v[i], *y = &a.v[j];
            if (!sch_conflict(x, y, false) || sch_is_local(&a, x->buf)) continue;
            if (!sch_alias(s, x, y, fixed, n_fixed, var, 2, same) || same[0] || same[1]) continue;
            rc = ll_fail(err, LL_NOT_LEGAL,
                         "`%.80s` and `%.80s` meet in %s in different iterations of both %s and %s",
                         sch_text(s, x->stmt), sch_text(s, y->stmt), x->buf->t->name, na, nb);
        }
    sch_accesses_finish(&a);
    return rc;
}

static ll_code exchange(sch *s, lp_stmt *outer, lp_stmt *inner, ll_error *err)
{
    if (outer->u.loop.how >= LP_PARALLEL || inner->u.loop.how >= LP_PARALLEL)
        return ll_fail(
            err, LL_NOT_LEGAL, "%s is bound already; `reorder` first, then bind",
            (outer->u.loop.how >= LP_PARALLEL ? outer : inner)->u.loop.var->u.axis->name);
    LL_TRY(make_perfect(s, outer, inner, err));
    LL_TRY(may_exchange(s, outer, inner, err));
    lp_stmt *body = inner->u.loop.body;
    lp_stmt tmp = *outer;
    outer->u.loop = inner->u.loop;
    inner->u.loop = tmp.u.loop;
    outer->u.loop.body = inner;
    inner->u.loop.body = body;
    return LL_OK;
}

/* ---- reorder --------------------------------------------------------------------------------- */

static bool among(const char *name, const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(name, list[i])) return true;
    return false;
}

/* Names of the loops on the way from the outermost named loop to the innermost, in order. */
static ll_code chain_of(sch *s, int argc, const char *const *argv, const char **chain, int *n,
                        ll_error *err)
{
    lp_stmt *path[SCH_MAX_DEPTH + 1], *deepest = NULL;
    int best = -1;
    for (int i = 0; i < argc; i++) {
        lp_stmt *loop = sch_find_loop(s, argv[i], err);
        if (!loop) return LL_USAGE;
        if (among(argv[i], argv, i)) return ll_fail(err, LL_USAGE, "%s is named twice", argv[i]);
        int d = sch_path(s, loop, path);
        if (d > best) best = d, deepest = loop;
    }
    int len = sch_path(s, deepest, path);
    path[len++] = deepest;
    *n = 0;
    for (int i = 0; i < len; i++) {
        if (path[i]->kind != LP_FOR) continue;
        const char *name = path[i]->u.loop.var->u.axis->name;
        if (*n || among(name, argv, argc)) chain[(*n)++] = name;
    }
    for (int i = 0; i < argc; i++)
        if (!among(argv[i], chain, *n))
            return ll_fail(err, LL_NOT_LEGAL, "%s and %s are not nested in one another", argv[i],
                           chain[*n - 1]);
    return LL_OK;
}

ll_code sch_reorder(sch *s, int argc, const char *const *argv, ll_error *err)
{
    const char *now[SCH_MAX_DEPTH], *want[SCH_MAX_DEPTH];
    int n = 0, next = 0;
    if (argc < 2) return ll_fail(err, LL_USAGE, "wanted at least two loops");
    LL_TRY(chain_of(s, argc, argv, now, &n, err));
    for (int i = 0; i < n; i++) want[i] = among(now[i], argv, argc) ? argv[next++] : now[i];
    for (int p = 0; p < n; p++) {
        int q = p;
        while (strcmp(now[q], want[p])) q++;
        for (; q > p; q--) {
            LL_TRY(exchange(s, sch_find_loop_quiet(s, now[q - 1]), sch_find_loop_quiet(s, now[q]),
                            err));
            const char *t = now[q];
            now[q] = now[q - 1];
            now[q - 1] = t;
        }
    }
    sch_place_allocs(s);
    return LL_OK;
}

/* ---- fission, merge -------------------------------------------------------------------------- */

ll_code sch_fission(sch *s, int argc, const char *const *argv, ll_error *err)
{
    lp_stmt *loop = argc ? sch_find_loop(s, argv[0], err) : NULL;
    if (!argc)
        return ll_fail(err, LL_USAGE, "wanted LOOP and a name for each statement of its body");
    if (!loop) return LL_USAGE;
    int n = 0;
    for (lp_stmt *st = loop->u.loop.body; st; st = st->next, n++)
        if (st->kind == LP_ALLOC)
            return ll_fail(err, LL_NOT_LEGAL, "`%.80s` lives in one iteration of %s",
                           sch_text(s, st), argv[0]);
    if (n != argc - 1 || n < 2)
        return ll_fail(err, LL_USAGE,
                       "the body of %s has %d statements, wanted that many names (at least 2)",
                       argv[0], n);
    if (loop->u.loop.how >= LP_PARALLEL || loop->u.loop.intrin)
        return ll_fail(err, LL_NOT_LEGAL, "%s is bound already", argv[0]);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], argv[0])) LL_TRY(sch_name_free(s, argv[i], err));
        for (int j = 1; j < i; j++)
            if (!strcmp(argv[i], argv[j]))
                return ll_fail(err, LL_USAGE, "two loops would be called %s", argv[i]);
    }
    for (int i = n; i > 1; i--) { /* the last statement leaves, until the first is alone */
        lp_stmt *last = loop->u.loop.body;
        while (last->next) last = last->next;
        if (!cut_body(s, loop, last, ll_strdup(te_arena(s->g), argv[i]), true, err))
            return LL_NOT_LEGAL;
    }
    sch_replace_var(s, loop, same_axis(s->g, loop->u.loop.var, ll_strdup(te_arena(s->g), argv[1])));
    sch_place_allocs(s);
    return LL_OK;
}

/* Brings b directly behind a: b moves up over what stands between them, or a down. */
static ll_code bring_together(sch *s, lp_stmt *a, lp_stmt *b, ll_error *err)
{
    lp_stmt *block[256];
    int n = sch_block_of(s, a, block, 256), ia = -1, ib = -1;
    for (int i = 0; i < n; i++) {
        if (block[i] == a) ia = i;
        if (block[i] == b) ib = i;
    }
    const char *na = a->u.loop.var->u.axis->name, *nb = b->u.loop.var->u.axis->name;
    if (ia < 0 || ib < ia)
        return ll_fail(err, LL_NOT_LEGAL, "%s does not stand behind %s in one block", nb, na);
    const lp_stmt *stop_b = NULL, *stop_a = NULL;
    for (int i = ib - 1; i > ia && !stop_b; i--)
        if (!sch_commute(s, block[i], b)) stop_b = block[i];
    if (!stop_b) {
        sch_detach(s, b);
        b->next = a->next;
        a->next = b;
        return LL_OK;
    }
    for (int i = ia + 1; i < ib && !stop_a; i++)
        if (!sch_commute(s, a, block[i])) stop_a = block[i];
    if (stop_a)
        return ll_fail(err, LL_NOT_LEGAL, "`%.80s` must stay between %s and %s",
                       sch_text(s, stop_b), na, nb);
    sch_detach(s, a);
    sch_insert_before(s, b, a);
    return LL_OK;
}

static ll_code merge_two(sch *s, lp_stmt *a, lp_stmt *b, ll_error *err)
{
    te_ref va = a->u.loop.var, vb = b->u.loop.var;
    if (a->u.loop.how != b->u.loop.how || a->u.loop.how > LP_VECTOR || a->u.loop.intrin ||
        b->u.loop.intrin)
        return ll_fail(err, LL_NOT_LEGAL, "%s and %s run in different ways, or are bound already",
                       va->u.axis->name, vb->u.axis->name);
    if (va->u.axis->extent != vb->u.axis->extent &&
        !te_prove_eq(va->u.axis->extent, vb->u.axis->extent))
        return ll_fail(err, LL_NOT_LEGAL, "%s has %s values, %s has %s", va->u.axis->name,
                       sch_expr_text(s, va->u.axis->extent), vb->u.axis->name,
                       sch_expr_text(s, vb->u.axis->extent));
    LL_TRY(bring_together(s, a, b, err));
    const lp_buf *where;
    sch_replace_var(s, b, va);
    if (!meet_at_once(s, a, a->u.loop.body, b->u.loop.body, &where))
        return ll_fail(err, LL_NOT_LEGAL, "%s and %s meet in %s in different iterations",
                       va->u.axis->name, vb->u.axis->name, where ? where->t->name : "a barrier");
    sch_detach(s, b);
    a->u.loop.body = lp_seq(a->u.loop.body, b->u.loop.body);
    return LL_OK;
}

ll_code sch_merge(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc < 2) return ll_fail(err, LL_USAGE, "wanted at least two loops");
    for (int i = 1; i < argc; i++) {
        lp_stmt *a = sch_find_loop(s, argv[0], err), *b = a ? sch_find_loop(s, argv[i], err) : NULL;
        if (!b) return LL_USAGE;
        if (a == b) return ll_fail(err, LL_USAGE, "%s is named twice", argv[0]);
        LL_TRY(merge_two(s, a, b, err));
    }
    sch_place_allocs(s);
    return LL_OK;
}
