/* prim_unit.c: `unit LOOP ...`: a loop that runs once goes: its body stands with the variable 0.
 *
 *   for y.t < 1 { for y.n < N { S(y.t, y.n) } }   ->   for y.n < N { S(0, y.n) }
 *
 * Refused: a loop whose extent is not the literal 1, one that is an instruction. */
#include "schedule/prim.h"

ll_code sch_unit(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc < 1) return ll_fail(err, LL_USAGE, "unit wants LOOP ...");
    for (int i = 0; i < argc; i++) {
        lp_stmt *loop = sch_find_loop(s, argv[i], err);
        if (!loop) return LL_USAGE;
        te_ref var = loop->u.loop.var, zero = te_int(s->g, 0);
        if (!te_is_int(var->u.axis->extent, 1) || loop->u.loop.intrin)
            return ll_fail(err, LL_NOT_LEGAL, "unit: %s runs %s times, wanted once", argv[i],
                           sch_expr_text(s, var->u.axis->extent));
        lp_stmt *body = loop->u.loop.body;
        lp_subst(s->fn, body, &var, &zero, 1);
        sch_replace(s, loop, body);
    }
    return LL_OK;
}
