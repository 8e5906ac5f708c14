/* prim_rfactor.c: `rfactor LOOP`: a reduction loop becomes an axis of partial results, and their
 * reduction.
 *
 *   for y.n { y[y.n] = 0; for y.ko { for y.ki { y[y.n] += e } } }
 *
 *   ->  for y.rf.n { for y.rf.ko { y.rf[y.rf.ko, y.rf.n] = 0
 *                                  for y.rf.ki { y.rf[y.rf.ko, y.rf.n] += e } } }
 *       for y.n { y[y.n] = 0; for y.ko { y[y.n] += y.rf[y.ko, y.n] } }
 *
 * The partial results are independent: their loop can be vector, parallel or bound; the initial
 * value is added once, by the second nest.
 *
 * Refused: a loop that is no reduction loop, one with loops over the stage's own axes inside it,
 * an argmax. */
#include <string.h>

#include "schedule/prim.h"

typedef struct found {
    lp_stmt *reduce;
    int n, others;
    const lp_stmt *target;
    int at, seen;
    lp_stmt *nth;
} found;

static bool note_leaf(lp_stmt *st, void *p)
{
    found *f = p;
    if (st->kind == LP_REDUCE) {
        f->reduce = st;
        f->n++;
    } else if (st->kind != LP_FOR && st->kind != LP_IF && st->kind != LP_LET) {
        f->others++;
    }
    return true;
}

/* The position of a statement in pre-order, and the statement at a position. */
static bool count_to(lp_stmt *st, void *p)
{
    found *f = p;
    if (st == f->target) f->at = f->seen;
    if (f->seen++ == f->at && !f->target) f->nth = st;
    return true;
}

static lp_stmt *counterpart(lp_stmt *root, const lp_stmt *of, lp_stmt *copy)
{
    found f = {.target = of, .at = -1};
    lp_walk(root, count_to, &f);
    found c = {.at = f.at};
    lp_walk(copy, count_to, &c);
    return c.nth;
}

static bool fresh_loops(lp_stmt *st, void *p)
{
    sch *s = ((void **)p)[0];
    const char *from = ((void **)p)[1], *to = ((void **)p)[2];
    if (st->kind != LP_FOR) return true;
    const te_axis_info *ax = st->u.loop.var->u.axis;
    size_t n = strlen(from);
    const char *part =
        !strncmp(ax->name, from, n) && ax->name[n] == '.' ? ax->name + n + 1 : ax->name;
    const char *name = lp_fresh_name(s->fn, ll_sprintf(te_arena(s->g), "%s.%s", to, part));
    sch_replace_var(s, st,
                    ax->max ? te_axis_upto(s->g, name, ax->extent, ax->max)
                            : te_axis(s->g, name, ax->extent));
    return true;
}

/* The reduction below the loop when rfactor can take it. */
static ll_code plain_reduction(sch *s, lp_stmt *loop, lp_stmt **init, lp_stmt **reduce,
                               ll_error *err)
{
    const char *name = loop->u.loop.var->u.axis->name;
    found f = {0};
    lp_walk(loop->u.loop.body, note_leaf, &f);
    if (f.n != 1 || f.others)
        return ll_fail(err, LL_NOT_LEGAL, "the body of %s is `%.120s`; wanted one reduction", name,
                       sch_text(s, loop->u.loop.body));
    lp_stmt *block[8], *r = f.reduce;
    if (r->u.reduce.op == TE_ARGMAX)
        return ll_fail(err, LL_NOT_LEGAL, "%s is an argmax: its partial results do not combine",
                       name);
    int n = sch_block_of(s, loop, block, 8);
    if (n != 2 || block[1] != loop || block[0]->kind != LP_STORE ||
        block[0]->u.store.buf != r->u.reduce.buf)
        return ll_fail(err, LL_NOT_LEGAL, "%s does not follow the initial value of %s directly",
                       name, r->u.reduce.buf->t->name);
    for (int d = 0; d < r->u.reduce.buf->t->ndim; d++)
        if (r->u.reduce.idx[d] != block[0]->u.store.idx[d])
            return ll_fail(err, LL_NOT_LEGAL,
                           "%s holds loops over the axes of %s; wanted them outside", name,
                           r->u.reduce.buf->t->name);
    *init = block[0];
    *reduce = r;
    return LL_OK;
}

typedef struct walking { te_ref idx; bool yes; } walking;

static bool note_walk(lp_stmt *st, void *p)
{
    walking *w = p;
    if (st->kind == LP_FOR && te_uses(w->idx, st->u.loop.var)) w->yes = true;
    if (st->kind == LP_LET && te_uses(w->idx, st->u.let.var)) w->yes = true;
    return true;
}

/* Does a loop of the nest move the index? */
static bool walks(lp_stmt *nest, te_ref idx)
{
    walking w = {idx, false};
    lp_stmt *rest = nest->next;
    nest->next = NULL;
    lp_walk(nest, note_walk, &w);
    nest->next = rest;
    return w.yes;
}

ll_code sch_rfactor(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc != 1) return ll_fail(err, LL_USAGE, "wanted LOOP");
    lp_stmt *loop = sch_find_loop(s, argv[0], err), *init = NULL, *reduce = NULL, *group[4];
    int n;
    if (!loop) return LL_USAGE;
    if (loop->u.loop.how != LP_SERIAL || loop->u.loop.intrin || loop->u.loop.var->u.axis->max)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s is bound already or has an extent read from memory; wanted a plain loop",
                       argv[0]);
    LL_TRY(plain_reduction(s, loop, &init, &reduce, err));
    lp_buf *b = reduce->u.reduce.buf;
    te_op op = reduce->u.reduce.op;
    LL_TRY(sch_stage_group(s, b, group, 4, &n, err));
    if (n != 1)
        return ll_fail(err, LL_NOT_LEGAL, "%s is computed by %d nests; wanted one", b->t->name, n);
    te_ref var = loop->u.loop.var;
    lp_stmt *path[SCH_MAX_DEPTH];
    int depth = sch_path(s, loop, path);
    for (int i = 0; i < depth; i++)
        if (path[i]->kind == LP_FOR && te_uses(var->u.axis->extent, path[i]->u.loop.var))
            return ll_fail(err, LL_NOT_LEGAL, "the extent of %s, %s, depends on %s", argv[0],
                           sch_expr_text(s, var->u.axis->extent),
                           path[i]->u.loop.var->u.axis->name);
    int nd = b->t->ndim;
    if (nd == TE_MAX_DIM)
        return ll_fail(err, LL_NOT_LEGAL, "%s has %d dimensions already", b->t->name, nd);
    te_ref shape[TE_MAX_DIM];
    bool fixed[TE_MAX_DIM]; /* the same all over the nest: loops outside of it walk this dimension */
    shape[0] = var->u.axis->extent;
    for (int d = 0; d < nd; d++) {
        fixed[d] = !walks(group[0], reduce->u.reduce.idx[d]);
        shape[d + 1] = fixed[d] ? te_int(s->g, 1) : b->t->shape[d];
    }
    const char *name = lp_fresh_name(s->fn, ll_sprintf(te_arena(s->g), "%s.rf", b->t->name));
    lp_buf *part = sch_buf_new(s, name, (ll_dtype)b->t->dtype, b->param >= 0 ? LP_THREAD : b->scope,
                               shape, nd + 1);

    lp_stmt *root = group[0], *rest = root->next;
    root->next = NULL;
    lp_stmt *copy = lp_clone(s->fn, root);
    lp_stmt *c_init = counterpart(root, init, copy), *c_loop = counterpart(root, loop, copy),
            *c_red = counterpart(root, reduce, copy);
    root->next = rest;
    te_ref idx[TE_MAX_DIM];
    idx[0] = c_loop->u.loop.var;
    for (int d = 0; d < nd; d++) idx[d + 1] = fixed[d] ? te_int(s->g, 0) : c_red->u.reduce.idx[d];
    c_init->u.store.buf = part;
    memcpy(c_init->u.store.idx, idx, sizeof idx);
    c_init->u.store.value = lp_identity(s->g, op, (ll_dtype)b->t->dtype);
    c_red->u.reduce.buf = part;
    memcpy(c_red->u.reduce.idx, idx, sizeof idx);
    sch_insert_before(s, root, copy);
    sch_detach(s, c_init);
    c_loop->u.loop.body = lp_seq(c_init, c_loop->u.loop.body);
    void *ctx[] = {s, (void *)(uintptr_t)b->t->name, (void *)(uintptr_t)name};
    lp_stmt *after = copy->next;
    copy->next = NULL;
    lp_walk(copy, fresh_loops, ctx);
    copy->next = after;

    idx[0] = var;
    for (int d = 0; d < nd; d++) idx[d + 1] = fixed[d] ? te_int(s->g, 0) : reduce->u.reduce.idx[d];
    loop->u.loop.body = lp_reduce(s->fn, op, b, reduce->u.reduce.idx, te_load(part->t, idx, nd + 1));
    sch_place_allocs(s);
    return LL_OK;
}
