/* prim_prefetch.c: `prefetch BUF LOOP BYTES [over=LOOP2] [level=0]`: LOOP streams through BUF;
 * each of its iterations also fetches, BYTES ahead, as many cache lines as it moves on by:
 *
 *   for b < 18 { ... W.q[.., b*32 + ..] ... }
 *     ->  for b < 18 { for b.pf < 10 @unroll { prefetch W[b*640 + 4096 + b.pf*64] }  ... }
 *
 * BUF is a buffer, or the bytes that planes lie in: then one walk covers all planes. What is
 * fetched is the run of bytes from the lowest address that the body reads, not the address of one
 * plane. over=LOOP2 spreads the lines of one iteration over the iterations of a loop inside it.
 * Prefetches may point anywhere: no guard at the end.
 *
 * Refused: a loop that does not move through BUF by a constant number of bytes. */
#include <string.h>

#include "schedule/prim.h"

enum { LINE = 64, MAX_LINES = 1024 };

typedef struct walk {
    te_ref lo;
    int64_t step;
} walk; /* byte address of an iteration's first line; bytes per iteration */

static bool belongs(const lp_buf *b, const lp_buf *to) { return b == to || b->within == to; }

/* The lowest byte address that the loop's body touches, over the variables outside and the loop's
 * own. */
static ll_code lowest(sch *s, lp_stmt *loop, const lp_buf *buf, walk *w, ll_error *err)
{
    te_graph *g = s->g;
    te_ref fixed[SCH_MAX_DEPTH + 1], var = loop->u.loop.var;
    int n = sch_fixed_vars(s, loop, fixed);
    fixed[n++] = var;
    sch_accesses a = {0};
    sch_collect_list(s, loop->u.loop.body, &a);
    ll_code rc = LL_OK;
    for (int i = 0; i < a.n && rc == LL_OK; i++) {
        const lp_buf *b = a.v[i].buf;
        sch_span sp;
        if (!belongs(b, buf) || a.v[i].whole) continue;
        const lp_layout *l = b->layout ? b->layout
                                       : lp_layout_dense(g, b->t->shape, b->t->ndim,
                                                         ll_dtype_bits((ll_dtype)b->t->dtype));
        te_ref at = lp_layout_at(g, l, LP_AT_ADDR, a.v[i].idx);
        if (!sch_span_of(g, at, fixed, n, &sp)) {
            rc = ll_fail(err, LL_NOT_LEGAL, "`%s` reads %s at addresses without bounds",
                         sch_text(s, a.v[i].stmt), b->t->name);
            break;
        }
        te_ref lo = te_simplify(g, te_divi(sp.lo, 8));
        if (!w->lo || te_prove_le(lo, w->lo))
            w->lo = lo;
        else if (!te_prove_le(w->lo, lo))
            w->lo = te_simplify(g, te_min(w->lo, lo));
    }
    sch_accesses_finish(&a);
    if (rc == LL_OK && !w->lo)
        rc = ll_fail(err, LL_NOT_LEGAL, "the body of %s reads nothing of %s", var->u.axis->name,
                     buf->t->name);
    if (rc != LL_OK) return rc;
    te_ref next = te_addi(var, 1),
           step = te_simplify(g, te_sub(te_subst(g, w->lo, &var, &next, 1), w->lo));
    if (step->op != TE_INT || step->u.i == 0)
        return ll_fail(err, LL_NOT_LEGAL, "%s moves through %s by %s bytes; wanted a constant",
                       var->u.axis->name, buf->t->name, sch_expr_text(s, step));
    w->step = step->u.i;
    return LL_OK;
}

ll_code sch_prefetch(sch *s, int argc, const char *const *argv_in, ll_error *err)
{
    const char **argv = sch_args(s, argc, argv_in);
    const char *over = sch_arg_key(argv, &argc, "over"),
               *level_text = sch_arg_key(argv, &argc, "level");
    int64_t ahead, level = 0;
    if (argc != 3 || !sch_arg_int(argv[2], &ahead) || ahead < 0 ||
        (level_text && (!sch_arg_int(level_text, &level) || level < 0 || level > 3)))
        return ll_fail(err, LL_USAGE, "wanted BUF LOOP BYTES [over=LOOP2] [level=0..3]");
    lp_buf *buf = sch_find_buf(s, argv[0], err);
    lp_stmt *loop = buf ? sch_find_loop(s, argv[1], err) : NULL, *in = loop;
    if (!loop) return LL_USAGE;
    if (over && !(in = sch_find_loop(s, over, err))) return LL_USAGE;
    if (!sch_inside(loop, in))
        return ll_fail(err, LL_NOT_LEGAL, "%s is not inside %s", over, argv[1]);
    if (buf->scope != LP_GLOBAL)
        return ll_fail(err, LL_NOT_LEGAL, "%s is %s scratch; wanted global memory", argv[0],
                       sch_scope_name(buf->scope));
    walk w = {0};
    LL_TRY(lowest(s, loop, buf, &w, err));
    te_graph *g = s->g;
    int64_t step = w.step < 0 ? -w.step : w.step, lines = (step + LINE - 1) / LINE;
    te_ref at = te_addi(w.lo, w.step < 0 ? -ahead : ahead);
    if (in != loop) {
        te_ref e = in->u.loop.var->u.axis->extent;
        if (e->op != TE_INT)
            return ll_fail(err, LL_NOT_LEGAL, "%s has %s values; wanted a constant", over,
                           sch_expr_text(s, e));
        lines = (lines + e->u.i - 1) / e->u.i;
        at = te_add(at, te_muli(in->u.loop.var, lines * LINE));
    }
    if (lines > MAX_LINES)
        return ll_fail(err, LL_NOT_LEGAL,
                       "one iteration of %s moves on by %lld lines; wanted at most %d", argv[1],
                       (long long)lines, MAX_LINES);
    const char *name = lp_fresh_name(s->fn, ll_sprintf(te_arena(g), "%s.pf", argv[1]));
    te_ref line = te_axis(g, name, te_int(g, lines)), idx[TE_MAX_DIM];
    int bits = ll_dtype_bits((ll_dtype)buf->t->dtype), nd = buf->t->ndim;
    if (buf->layout && nd > 1)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s has a layout of its own: prefetch the bytes that it lies in (`pack`)",
                       argv[0]);
    at = te_add(at, te_muli(line, LINE));
    for (int d = 0; d + 1 < nd; d++) idx[d] = te_int(g, 0);
    idx[nd - 1] = te_simplify(g, bits >= 8 ? te_divi(at, bits / 8) : te_muli(at, 8 / bits));
    lp_stmt *p = LL_NEW(te_arena(g), lp_stmt);
    p->kind = LP_PREFETCH;
    p->u.prefetch.buf = buf;
    p->u.prefetch.level = (int)level;
    memcpy(p->u.prefetch.idx, idx, sizeof(te_ref) * (size_t)nd);
    in->u.loop.body = lp_seq(lp_for(s->fn, line, LP_UNROLL, p), in->u.loop.body);
    return LL_OK;
}
