/* rows.c: gathers, norms, rotary positions, gates: what maps rows to rows without a weight
 * matrix. */
#include "te/ops/ops.h"

static const char *sub(te_graph *g, const char *name, const char *part)
{
    return ll_sprintf(te_arena(g), "%s.%s", name, part);
}

te_tensor *op_embedding(te_graph *g, const char *name, te_tensor *table, te_tensor *token)
{
    te_ref t = te_axis(g, "t", token->shape[0]), k = te_axis(g, "k", table->shape[1]);
    te_ref row = te_cast(LL_S64, te_at(token, t));
    return te_def(g, name, te_cast(LL_F32, te_at(table, row, k)), t, k);
}

te_tensor *op_gather_rows(te_graph *g, const char *name, te_tensor *x, te_tensor *row)
{
    te_ref r = te_axis(g, "r", row->shape[0]), k = te_axis(g, "k", x->shape[1]);
    return te_def(g, name, te_at(x, te_cast(LL_S64, te_at(row, r)), k), r, k);
}

te_tensor *op_rmsnorm(te_graph *g, const char *name, te_tensor *x, te_tensor *weight, double eps)
{
    te_ref t = te_axis(g, "t", x->shape[0]), k = te_axis(g, "k", x->shape[1]);
    te_ref v = te_at(x, t, k);
    te_tensor *square = te_def(g, sub(g, name, "square"), te_sum(te_mul(v, v), k), t);
    t = te_axis(g, "t", x->shape[0]);
    te_ref mean = te_div(te_at(square, t), te_cast(LL_F32, x->shape[1]));
    te_tensor *scale =
        te_def(g, sub(g, name, "scale"), te_rsqrt(te_add(mean, te_fconst(g, LL_F32, eps))), t);
    t = te_axis(g, "t", x->shape[0]), k = te_axis(g, "k", x->shape[1]);
    te_ref y = te_mul(te_mul(te_at(x, t, k), te_at(scale, t)), te_cast(LL_F32, te_at(weight, k)));
    return te_def(g, name, y, t, k);
}

op_angles op_rope_angles(te_graph *g, const char *name, te_tensor *pos, te_tensor *inv_freq,
                         double scale)
{
    op_angles a;
    for (int i = 0; i < 2; i++) {
        te_ref t = te_axis(g, "t", pos->shape[0]), f = te_axis(g, "f", inv_freq->shape[0]);
        te_ref angle = te_mul(te_cast(LL_F32, te_at(pos, t)), te_at(inv_freq, f));
        te_ref v = te_unary(i ? TE_SIN : TE_COS, angle);
        if (scale != 1) v = te_mul(v, te_fconst(g, LL_F32, scale));
        *(i ? &a.sin : &a.cos) = te_def(g, sub(g, name, i ? "sin" : "cos"), v, t, f);
    }
    return a;
}

te_tensor *op_rope(te_graph *g, const char *name, te_tensor *x, const op_angles *a,
                   int64_t head_dim, int64_t n_rot, op_rope_pairs pairs)
{
    te_ref t = te_axis(g, "t", x->shape[0]), n = te_axis(g, "n", x->shape[1]), one = te_int(g, 1);
    te_ref d = te_modi(n, head_dim), half = te_int(g, n_rot / 2), i, second, partner;
    /* partners are start + position % length: analysis sees that they stay in their block */
    if (pairs == OP_ROPE_INTERLEAVED) {
        i = te_divi(d, 2);
        second = te_eq(te_modi(n, 2), one);
        partner = te_add(te_muli(te_divi(n, 2), 2), te_modi(te_addi(te_modi(n, 2), 1), 2));
    } else {
        i = te_mod(d, half);
        second = te_le(half, d);
        partner = te_add(te_muli(te_divi(n, head_dim), head_dim), te_modi(te_add(d, half), n_rot));
    }
    te_ref c = te_at(a->cos, t, i), s = te_at(a->sin, t, i), other = te_at(x, t, partner);
    te_ref rotated =
        te_add(te_mul(te_at(x, t, n), c), te_mul(te_select(second, other, te_neg(other)), s));
    if (n_rot < head_dim) rotated = te_select(te_lt(d, te_int(g, n_rot)), rotated, te_at(x, t, n));
    return te_def(g, name, rotated, t, n);
}

te_tensor *op_silu_mul(te_graph *g, const char *name, te_tensor *gate, te_tensor *up)
{
    te_ref t = te_axis(g, "t", gate->shape[0]), n = te_axis(g, "n", gate->shape[1]);
    te_ref v = te_at(gate, t, n), one = te_fconst(g, LL_F32, 1);
    return te_def(g, name, te_mul(te_div(v, te_add(one, te_exp(te_neg(v)))), te_at(up, t, n)), t,
                  n);
}

te_tensor *op_add(te_graph *g, const char *name, te_tensor *a, te_tensor *b)
{
    te_ref t = te_axis(g, "t", a->shape[0]), n = te_axis(g, "n", a->shape[1]);
    return te_def(g, name, te_add(te_at(a, t, n), te_at(b, t, n)), t, n);
}
