/* prim_union.c: `union A B ... [name=NAME] [how=claim|block.x]`: the parts of several loops become
 * the parts of one claimed loop, so one kernel has several roots and no barrier between them. With
 * how=block.x its parts are the blocks of a GPU, and it may stand inside others.
 *
 *   for q.n.o < 36 { S(q.n.o) }               for parts < 48 @claim {
 *   for k.n.o < 12 { T(k.n.o) }       ->        if @uniform parts < 36 { S(parts) }
 *                                               else { T(parts - 36) } }
 *
 * What stands between the loops (thread scratch that later ones read) moves in front of them.
 *
 * Refused: loops that are not at the top, that touch what another one writes, or whose iterations
 * are not independent; an output written in front of them. */
#include <string.h>

#include "schedule/prim.h"

enum { MAX_PART = 32, MAX_BLOCK = 256 };

static ll_code gather(sch *s, int argc, const char *const *argv, bool top, lp_stmt **loop,
                      ll_error *err)
{
    lp_stmt *path[SCH_MAX_DEPTH], *block[MAX_BLOCK];
    for (int i = 0; i < argc; i++) {
        loop[i] = sch_find_loop(s, argv[i], err);
        if (!loop[i]) return LL_USAGE;
        for (int j = 0; j < i; j++)
            if (loop[j] == loop[i]) return ll_fail(err, LL_USAGE, "%s is named twice", argv[i]);
        if (loop[i]->u.loop.how != LP_SERIAL && loop[i]->u.loop.how != LP_CLAIM)
            return ll_fail(err, LL_NOT_LEGAL, "%s is bound already; wanted a plain or claimed loop",
                           argv[i]);
        if (loop[i]->u.loop.var->u.axis->max)
            return ll_fail(err, LL_NOT_LEGAL, "%s has an extent read from memory", argv[i]);
        int depth = sch_path(s, loop[i], path);
        for (int d = 0; top && d < depth; d++)
            if (path[d]->kind != LP_ALLOC && path[d]->kind != LP_LET)
                return ll_fail(err, LL_NOT_LEGAL, "%s is inside `%.80s`; wanted a loop at the top",
                               argv[i], sch_text(s, path[d]));
        LL_TRY(sch_independent(s, loop[i], true, err));
    }
    /* In the order of the program. */
    int n = sch_block_of(s, loop[0], block, MAX_BLOCK), k = 0;
    lp_stmt *sorted[MAX_PART];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < argc; j++)
            if (block[i] == loop[j]) sorted[k++] = loop[j];
    if (k != argc) return ll_fail(err, LL_FAILED, "a loop is not in the block of the first");
    /* loops that run once go last: what is not one of them is known to be below them */
    k = 0;
    for (int once = 0; once < 2; once++)
        for (int j = 0; j < argc; j++)
            if (te_is_int(sorted[j]->u.loop.var->u.axis->extent, 1) == once) loop[k++] = sorted[j];
    return LL_OK;
}

/* Statements between the first and the last loop move in front of the first. */
static ll_code clear_between(sch *s, lp_stmt **loop, int n_loop, ll_error *err)
{
    lp_stmt *block[MAX_BLOCK];
    int n = sch_block_of(s, loop[0], block, MAX_BLOCK), next = 0;
    for (int i = 0; i < n && next < n_loop; i++) {
        if (block[i] == loop[next]) {
            next++;
            continue;
        }
        if (!next) continue;
        for (int j = 0; j < next; j++)
            if (!sch_commute(s, loop[j], block[i]))
                return ll_fail(err, LL_NOT_LEGAL, "`%.120s` must stay behind %s",
                               sch_text(s, block[i]), loop[j]->u.loop.var->u.axis->name);
        sch_detach(s, block[i]);
        sch_insert_before(s, loop[0], block[i]);
    }
    return LL_OK;
}

ll_code sch_union(sch *s, int argc, const char *const *argv_in, ll_error *err)
{
    const char **argv = sch_args(s, argc, argv_in), *name = sch_arg_key(argv, &argc, "name"),
               *how = sch_arg_key(argv, &argc, "how");
    lp_stmt *loop[MAX_PART];
    if (argc < 2 || argc > MAX_PART)
        return ll_fail(err, LL_USAGE, "wanted 2 to %d loops", MAX_PART);
    bool claim = !how || !strcmp(how, "claim");
    if (!claim && strcmp(how, "block.x"))
        return ll_fail(err, LL_USAGE, "how=%s: wanted claim or block.x", how);
    LL_TRY(gather(s, argc, argv, claim, loop, err));
    lp_stmt *in_order[MAX_PART], *block[MAX_BLOCK];
    int n_block = sch_block_of(s, loop[0], block, MAX_BLOCK), k = 0;
    for (int i = 0; i < n_block; i++)
        for (int j = 0; j < argc; j++)
            if (block[i] == loop[j]) in_order[k++] = loop[j];
    LL_TRY(clear_between(s, in_order, argc, err));
    for (int i = 0; i < argc; i++)
        for (int j = i + 1; j < argc; j++)
            if (!sch_commute(s, loop[i], loop[j]))
                return ll_fail(err, LL_NOT_LEGAL,
                               "%s and %s touch the same elements: a part of one would have to "
                               "wait for the other",
                               loop[i]->u.loop.var->u.axis->name,
                               loop[j]->u.loop.var->u.axis->name);
    name = name ? ll_strdup(te_arena(s->g), name) : "parts";
    LL_TRY(sch_name_free(s, name, err));
    te_graph *g = s->g;
    te_ref total = te_int(g, 0);
    for (int i = 0; i < argc; i++) total = te_add(total, loop[i]->u.loop.var->u.axis->extent);
    te_ref parts = te_axis(g, name, te_simplify(g, total)), start = te_int(g, 0);
    lp_stmt *all = NULL, **at = &all;
    for (int i = 0; i < argc; i++) {
        te_ref var = loop[i]->u.loop.var, index = te_simplify(g, te_sub(parts, start));
        lp_stmt *body = loop[i]->u.loop.body;
        lp_subst(s->fn, body, &var, &index, 1);
        start = te_simplify(g, te_add(start, var->u.axis->extent));
        if (i == argc - 1 && !te_is_int(var->u.axis->extent, 1)) {
            *at = body;
            break;
        }
        /* a loop that runs once is told by its one number: the verifier sees that no other part runs it */
        te_ref mine = te_is_int(var->u.axis->extent, 1) ? te_eq(parts, te_addi(start, -1)) : te_lt(parts, start);
        *at = lp_if(s->fn, mine, body, NULL);
        (*at)->u.guard.uniform = true;
        at = &(*at)->u.guard.otherwise;
    }
    for (int i = 1; i < argc; i++) sch_detach(s, in_order[i]);
    lp_stmt *one = lp_for(s->fn, parts, LP_SERIAL, all);
    sch_replace(s, in_order[0], one);
    sch_place_allocs(s);
    /* each loop was independent, and none touches what another does */
    if (claim) return sch_claim_independent(s, one, err);
    one->u.loop.how = LP_BLOCK_X;
    return LL_OK;
}
