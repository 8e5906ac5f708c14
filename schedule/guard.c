/* guard.c: see guard.h. */
#include "schedule/guard.h"

lp_values lp_values_all(te_graph *g, te_ref i) {
    return (lp_values){te_int(g, 0), i->u.axis->extent};
}

static void at_least(lp_values *v, te_ref lo) {
    if (te_prove_le(v->lo, lo)) v->lo = lo;
}

static void below(lp_values *v, te_ref hi) {
    if (te_prove_le(hi, v->hi)) v->hi = hi;
}

/* i < x, or x < i; `more` is 1 for the forms with equality. */
static void compared(lp_values *v, te_ref i, te_ref a, te_ref b, int64_t more, bool holds) {
    bool left = a == i;
    te_ref x = left ? b : a;
    if ((left ? b : a) == i || (!left && b != i) || te_uses(x, i) || x->dtype != LL_S64) return;
    if (left && holds)
        below(v, te_addi(x, more));
    else if (left)
        at_least(v, te_addi(x, more));
    else if (holds)
        at_least(v, te_addi(x, 1 - more));
    else
        below(v, te_addi(x, 1 - more));
}

void lp_values_narrow(te_graph *g, lp_values *v, te_ref i, te_ref c, bool holds) {
    if (c->op == TE_NOT) {
        lp_values_narrow(g, v, i, c->src[0], !holds);
    } else if (c->op == (holds ? TE_AND : TE_OR)) {
        lp_values_narrow(g, v, i, c->src[0], holds);
        lp_values_narrow(g, v, i, c->src[1], holds);
    } else if (c->op == TE_LT || c->op == TE_LE) {
        compared(v, i, c->src[0], c->src[1], c->op == TE_LE, holds);
    } else if (c->op == (holds ? TE_EQ : TE_NE)) {
        te_ref x = c->src[0] == i ? c->src[1] : c->src[0];
        if ((c->src[0] == i || c->src[1] == i) && !te_uses(x, i))
            *v = (lp_values){x, te_addi(x, 1)};
    }
}

te_ref lp_values_one(te_graph *g, const lp_values *v) {
    return te_prove_le(v->hi, te_addi(v->lo, 1)) ? te_simplify(g, v->lo) : NULL;
}
