/* prim_split.c: `split` and `fuse`: one loop as two, two as one.
 *
 *   split y.n 16                      for y.n < N { S(y.n) }
 *     ->  for y.n.o < ceil(N / 16) { for y.n.i < 16 { S(y.n.o*16 + y.n.i) } }
 *   where 16 does not divide N, by tail=
 *     guard (default)  if y.n.o*16 + y.n.i < N { S }
 *     clamp            S(min(y.n.o*16, N - 16) + y.n.i): the last tile starts earlier and computes
 *                      some values again; wants N >= 16 proved and an S that may run twice
 *     exact            refused: it must be proved that 16 divides N
 *
 *   fuse y.t y.n                      for y.t < T { for y.n < N { S } }
 *     ->  for y.t_n < T*N { S(y.t_n / N, y.t_n % N) }
 *
 * Refused: loops that are already mapped (vector, parallel, ...) or an instruction; `fuse` of
 * loops with statements between them or with an inner extent that depends on the outer variable. */
#include <string.h>

#include "schedule/prim.h"

static ll_code plain(const lp_stmt *loop, ll_error *err)
{
    if (loop->u.loop.how != LP_SERIAL || loop->u.loop.intrin)
        return ll_fail(
            err, LL_NOT_LEGAL,
            "%s is mapped already (vector, parallel, instruction...); wanted a plain loop",
            loop->u.loop.var->u.axis->name);
    return LL_OK;
}

static te_ref ceil_div(te_graph *g, te_ref e, int64_t f)
{
    return te_simplify(g, te_divi(te_addi(e, f - 1), f));
}

static bool divides(te_ref e, int64_t f)
{
    te_cong c = te_cong_of(e);
    return c.mod == 0 ? c.rem % f == 0 : c.mod % f == 0 && c.rem % f == 0;
}

enum tail { TAIL_GUARD, TAIL_CLAMP, TAIL_EXACT };

static ll_code tail_of(const char *text, enum tail *out, ll_error *err)
{
    static const char *const names[] = {"guard", "clamp", "exact"};
    *out = TAIL_GUARD;
    for (int i = 0; text && i < 3; i++)
        if (!strcmp(text, names[i])) {
            *out = (enum tail)i;
            return LL_OK;
        }
    return text ? ll_fail(err, LL_USAGE, "tail=%s: wanted guard, clamp or exact", text) : LL_OK;
}

ll_code sch_split(sch *s, int argc, const char *const *argv_in, ll_error *err)
{
    const char **argv = sch_args(s, argc, argv_in);
    enum tail tail;
    int64_t f;
    LL_TRY(tail_of(sch_arg_key(argv, &argc, "tail"), &tail, err));
    if (argc != 2 && argc != 4)
        return ll_fail(err, LL_USAGE, "wanted LOOP F [OUTER INNER] [tail=guard|clamp|exact]");
    if (!sch_arg_int(argv[1], &f) || f < 1)
        return ll_fail(err, LL_USAGE, "factor '%s': wanted a whole number of at least 1", argv[1]);
    lp_stmt *loop = sch_find_loop(s, argv[0], err);
    if (!loop) return LL_USAGE;
    LL_TRY(plain(loop, err));
    te_graph *g = s->g;
    te_ref var = loop->u.loop.var, extent = var->u.axis->extent, max = var->u.axis->max;
    const char *outer =
        argc == 4 ? ll_strdup(te_arena(g), argv[2]) : ll_sprintf(te_arena(g), "%s.o", argv[0]);
    const char *inner =
        argc == 4 ? ll_strdup(te_arena(g), argv[3]) : ll_sprintf(te_arena(g), "%s.i", argv[0]);
    if (strcmp(outer, argv[0])) LL_TRY(sch_name_free(s, outer, err));
    if (strcmp(inner, argv[0])) LL_TRY(sch_name_free(s, inner, err));
    if (!strcmp(inner, outer))
        return ll_fail(err, LL_USAGE, "both loops would be called %s", inner);
    bool even = divides(extent, f);
    if (!even && tail == TAIL_EXACT)
        return ll_fail(err, LL_NOT_LEGAL, "%lld is not proved to divide the extent of %s, %s",
                       (long long)f, argv[0], sch_expr_text(s, extent));
    if (!even && tail == TAIL_CLAMP) {
        if (!te_prove_le(te_int(g, f), extent))
            return ll_fail(err, LL_NOT_LEGAL, "tail=clamp wants at least %lld values, %s has %s",
                           (long long)f, argv[0], sch_expr_text(s, extent));
        LL_TRY(sch_idempotent(s, loop, err));
    }
    te_ref n_outer = even ? te_simplify(g, te_divi(extent, f)) : ceil_div(g, extent, f);
    te_ref vo =
        max ? te_axis_upto(g, outer, n_outer, ceil_div(g, max, f)) : te_axis(g, outer, n_outer);
    te_ref vi = te_axis(g, inner, te_int(g, f));
    te_ref start = te_muli(vo, f), value;
    if (!even && tail == TAIL_CLAMP) start = te_min(start, te_simplify(g, te_addi(extent, -f)));
    value = te_add(start, vi);
    lp_stmt *body = loop->u.loop.body;
    lp_subst(s->fn, body, &var, &value, 1);
    if (!even && tail == TAIL_GUARD) body = lp_if(s->fn, te_lt(value, extent), body, NULL);
    loop->u.loop.var = vo;
    loop->u.loop.body = lp_for(s->fn, vi, LP_SERIAL, body);
    return LL_OK;
}

ll_code sch_fuse(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc != 2 && argc != 3) return ll_fail(err, LL_USAGE, "wanted OUTER INNER [NAME]");
    lp_stmt *a = sch_find_loop(s, argv[0], err);
    lp_stmt *b = a ? sch_find_loop(s, argv[1], err) : NULL;
    if (!b) return LL_USAGE;
    LL_TRY(plain(a, err));
    LL_TRY(plain(b, err));
    if (a->u.loop.body != b || b->next)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s does not hold %s alone; wanted two loops with nothing between them",
                       argv[0], argv[1]);
    te_graph *g = s->g;
    te_ref va = a->u.loop.var, vb = b->u.loop.var, ea = va->u.axis->extent, eb = vb->u.axis->extent;
    if (te_uses(eb, va))
        return ll_fail(err, LL_NOT_LEGAL, "the extent of %s, %s, depends on %s", argv[1],
                       sch_expr_text(s, eb), argv[0]);
    if (va->u.axis->max || vb->u.axis->max)
        return ll_fail(err, LL_NOT_LEGAL, "%s has an extent read from memory",
                       va->u.axis->max ? argv[0] : argv[1]);
    size_t common = 0; /* y.m and y.n.o -> y.m_n.o */
    for (size_t i = 0; argv[0][i] && argv[0][i] == argv[1][i]; i++)
        if (argv[0][i] == '.') common = i + 1;
    const char *name = argc == 3 ? ll_strdup(te_arena(g), argv[2])
                                 : ll_sprintf(te_arena(g), "%s_%s", argv[0], argv[1] + common);
    if (strcmp(name, argv[0]) && strcmp(name, argv[1])) LL_TRY(sch_name_free(s, name, err));
    te_ref v = te_axis(g, name, te_simplify(g, te_mul(ea, eb)));
    te_ref from[2] = {va, vb}, to[2] = {te_div(v, eb), te_mod(v, eb)};
    lp_subst(s->fn, b->u.loop.body, from, to, 2);
    a->u.loop.var = v;
    a->u.loop.body = b->u.loop.body;
    return LL_OK;
}
