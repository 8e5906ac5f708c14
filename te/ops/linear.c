/* linear.c: contractions with a weight, from float or from 8-bit activations; the quantisation
 * of activations. */
#include "te/ops/ops.h"

static const char *sub(te_graph *g, const char *name, const char *part)
{
    return ll_sprintf(te_arena(g), "%s.%s", name, part);
}

static te_ref as_f32(te_ref e) { return te_cast(LL_F32, e); }

static te_tensor *add_bias(te_graph *g, const char *name, te_tensor *y, te_tensor *bias)
{
    if (!bias) return y;
    te_ref t = te_axis(g, "t", y->shape[0]), n = te_axis(g, "n", y->shape[1]);
    return te_def(g, sub(g, name, "biased"), te_add(te_at(y, t, n), as_f32(te_at(bias, n))), t, n);
}

te_tensor *op_linear(te_graph *g, const char *name, te_tensor *x, te_tensor *w, te_tensor *bias)
{
    te_ref t = te_axis(g, "t", x->shape[0]), n = te_axis(g, "n", w->shape[0]),
           k = te_axis(g, "k", w->shape[1]);
    te_ref p = te_mul(as_f32(te_at(x, t, k)), as_f32(te_at(w, n, k)));
    return add_bias(g, name, te_def(g, name, te_sum(p, k), t, n), bias);
}

op_q8 op_quantise(te_graph *g, const char *name, te_tensor *x, int64_t block, int64_t granule)
{
    te_ref rows = x->shape[0], cols = x->shape[1], blocks = te_divi(cols, block);
    op_q8 q = {.block = block, .granule = granule};
    te_ref t = te_axis(g, "t", rows), b = te_axis(g, "b", blocks),
           r = te_axis(g, "r", te_int(g, block));
    te_tensor *top = te_def(g, sub(g, name, "top"),
                            te_maxr(te_abs(te_at(x, t, te_add(te_muli(b, block), r))), r), t, b);
    t = te_axis(g, "t", rows), b = te_axis(g, "b", blocks);
    q.d = te_def(g, sub(g, name, "d"), te_mul(te_at(top, t, b), te_fconst(g, LL_F32, 1.0 / 127)), t,
                 b);
    t = te_axis(g, "t", rows), b = te_axis(g, "b", blocks);
    te_ref m = te_at(top, t, b), zero = te_fconst(g, LL_F32, 0);
    te_tensor *inv =
        te_def(g, sub(g, name, "inv"),
               te_select(te_eq(m, zero), zero, te_div(te_fconst(g, LL_F32, 127), m)), t, b);
    t = te_axis(g, "t", rows);
    te_ref k = te_axis(g, "k", cols);
    te_ref code = te_round(te_mul(te_at(x, t, k), te_at(inv, t, te_divi(k, block))));
    q.q = te_def(g, sub(g, name, "q"), te_cast(LL_S8, code), t, k);
    t = te_axis(g, "t", rows);
    te_ref c = te_axis(g, "c", te_divi(cols, granule)), i = te_axis(g, "i", te_int(g, granule));
    te_ref one = te_cast(LL_S32, te_at(q.q, t, te_add(te_muli(c, granule), i)));
    q.sums = te_def(g, sub(g, name, "sums"), te_sum(one, i), t, c);
    return q;
}

te_tensor *op_linear_q8(te_graph *g, const char *name, const op_q8 *x, te_tensor *w,
                        te_tensor *bias)
{
    te_ref t = te_axis(g, "t", x->q->shape[0]), n = te_axis(g, "n", w->shape[0]),
           k = te_axis(g, "k", w->shape[1]);
    te_ref a = te_mul(te_at(x->d, t, te_divi(k, x->block)), as_f32(te_at(x->q, t, k)));
    return add_bias(g, name, te_def(g, name, te_sum(te_mul(a, as_f32(te_at(w, n, k))), k), t, n),
                    bias);
}
