/* attention.c: the paged cache and attention over it, written plainly; what makes it fast is the
 * schedule's business. */
#include "te/ops/ops.h"

static const char *sub(te_graph *g, const char *name, const char *part)
{
    return ll_sprintf(te_arena(g), "%s.%s", name, part);
}

static te_ref index_of(te_tensor *t, te_ref i) { return te_cast(LL_S64, te_at(t, i)); }

te_tensor *op_kv_append(te_graph *g, const char *name, const op_cache *c, te_tensor *x,
                        te_tensor *seg, te_tensor *pos)
{
    te_ref t = te_axis(g, "t", x->shape[0]), h = te_axis(g, "h", c->pool->shape[2]),
           d = te_axis(g, "d", c->pool->shape[3]);
    te_ref p = index_of(pos, t);
    te_ref page = te_cast(LL_S64, te_at(c->table, index_of(seg, t), te_divi(p, c->block)));
    te_ref at[4] = {page, te_modi(p, c->block), h, d}, axes[3] = {t, h, d};
    te_ref v = te_at(x, t, te_add(te_mul(h, c->pool->shape[3]), d));
    return te_update(g, name, c->pool, at, 4, te_cast(c->pool->dtype, v), axes, 3);
}

te_tensor *op_attention(te_graph *g, const char *name, te_tensor *q, const op_cache *k,
                        const op_cache *v, te_tensor *seg, te_tensor *pos, double scale)
{
    te_ref rows = q->shape[0], heads = k->pool->shape[2], dim = k->pool->shape[3];
    te_ref group = te_simplify(g, te_div(q->shape[1], te_mul(heads, dim)));
    te_ref most = te_muli(k->table->shape[1], k->block);
    te_tensor *keys = te_paged(g, sub(g, name, "keys"), k->pool, k->table, k->block);
    te_tensor *values = te_paged(g, sub(g, name, "values"), v->pool, v->table, v->block);
#define ROWS                                                                                       \
    te_ref t = te_axis(g, "t", rows), h = te_axis(g, "h", heads), u = te_axis(g, "g", group)
#define KEYS te_axis_upto(g, "j", te_addi(index_of(pos, t), 1), most)
    te_tensor *x, *m, *e, *l, *o;
    {
        ROWS;
        te_ref j = KEYS, d = te_axis(g, "d", dim),
               n = te_add(te_mul(te_add(te_mul(h, group), u), dim), d);
        te_ref dot =
            te_mul(te_at(q, t, n), te_cast(LL_F32, te_at(keys, index_of(seg, t), j, h, d)));
        te_tensor *raw = te_def(g, sub(g, name, "dot"), te_sum(dot, d), t, h, u, j);
        te_ref t2 = te_axis(g, "t", rows), h2 = te_axis(g, "h", heads), u2 = te_axis(g, "g", group);
        te_ref j2 = te_axis_upto(g, "j", te_addi(index_of(pos, t2), 1), most);
        x = te_def(g, sub(g, name, "x"),
                   te_mul(te_at(raw, t2, h2, u2, j2), te_fconst(g, LL_F32, scale)), t2, h2, u2, j2);
    }
    {
        ROWS;
        te_ref j = KEYS;
        m = te_def(g, sub(g, name, "m"), te_maxr(te_at(x, t, h, u, j), j), t, h, u);
    }
    {
        ROWS;
        te_ref j = KEYS;
        e = te_def(g, sub(g, name, "e"), te_exp(te_sub(te_at(x, t, h, u, j), te_at(m, t, h, u))), t,
                   h, u, j);
    }
    {
        ROWS;
        te_ref j = KEYS;
        l = te_def(g, sub(g, name, "l"), te_sum(te_at(e, t, h, u, j), j), t, h, u);
    }
    {
        ROWS;
        te_ref j = KEYS, d = te_axis(g, "d", dim);
        te_ref p =
            te_mul(te_at(e, t, h, u, j), te_cast(LL_F32, te_at(values, index_of(seg, t), j, h, d)));
        o = te_def(g, sub(g, name, "o"), te_sum(p, j), t, h, u, d);
    }
    te_ref t = te_axis(g, "t", rows), n = te_axis(g, "n", q->shape[1]);
    te_ref head = te_div(n, dim), h = te_div(head, group), u = te_mod(head, group);
    te_ref sum = te_at(l, t, h, u), zero = te_fconst(g, LL_F32, 0);
    te_ref out = te_select(te_eq(sum, zero), zero, te_div(te_at(o, t, h, u, te_mod(n, dim)), sum));
    return te_def(g, name, out, t, n);
#undef ROWS
#undef KEYS
}

op_row_stats op_sample_stats(te_graph *g, const char *name, te_tensor *logits)
{
    op_row_stats s;
    te_ref r = te_axis(g, "r", logits->shape[0]), n = te_axis(g, "n", logits->shape[1]);
    s.max = te_def(g, sub(g, name, "max"), te_maxr(te_at(logits, r, n), n), r);
    r = te_axis(g, "r", logits->shape[0]), n = te_axis(g, "n", logits->shape[1]);
    te_ref e = te_exp(te_sub(te_at(logits, r, n), te_at(s.max, r)));
    te_tensor *sum = te_def(g, sub(g, name, "sum"), te_sum(e, n), r);
    r = te_axis(g, "r", logits->shape[0]);
    s.lse =
        te_def(g, sub(g, name, "lse"), te_add(te_unary(TE_LOG, te_at(sum, r)), te_at(s.max, r)), r);
    return s;
}
