/* layout.c: layouts as maps: where an element lives, how far a buffer reaches, what a layout says
 * in text. Facts computed from layouts (are elements apart? which bit goes where? bank conflicts,
 * conversions) are in layout_map.c.
 *
 * Text:
 *   layout(16@32 ...@(K / 32 * 4096) | 4@8 4@512 2@4 ...@4096; offset 64; xor 3 bits 10 -> 7)
 * One list of digits per dimension, dimension 0 first, `|` between them, fastest digit first:
 * size@stride. A stride in bits is bare, an expression in parentheses; `4@lane.1`, `2@reg.1`,
 * `2@warp.1` are digits of other places; `...` is the rest of its dimension; `-` a dimension that
 * the place does not depend on. `xor n bits FROM -> TO` is one swizzle. */
#include "schedule/layout.h"

#include "base/ckd.h"

static const char *const place_name[] = {"", "reg.", "lane.", "warp."};

lp_layout *lp_layout_dense(te_graph *g, const te_ref *shape, int ndim, int bits)
{
    lp_layout *l = LL_NEW(te_arena(g), lp_layout);
    te_ref stride = te_int(g, bits);
    l->n_digit = ndim;
    for (int i = ndim - 1; i >= 0; i--) {
        l->digit[i] = (lp_digit){.dim = (uint8_t)i, .stride = stride};
        if (i) stride = te_simplify(g, te_mul(stride, shape[i]));
    }
    return l;
}

/* Is digit i the last of its dimension? It then takes all that is left of the index. */
static bool last_of_dim(const lp_layout *l, int i)
{
    return i + 1 == l->n_digit || l->digit[i + 1].dim != l->digit[i].dim;
}

/* What lies below the bits that a swizzle changes, and what lies above those that it looks at, is
 * added outside of it: (high + (unit ^ piece)) * size + rest. So elements of one unit are seen to
 * follow each other, and steps of whole periods are constants. NULL: the rest may reach into the
 * unit. */
static te_ref swizzled_units(te_graph *g, const lp_swizzle *w, te_ref at)
{
    if (w->from < w->to) return NULL;
    int64_t size = INT64_C(1) << w->to;
    te_affine f = te_affine_of(g, at);
    int64_t period = INT64_C(1) << (w->from - w->to + w->n), c = ll_floordiv(f.c, size);
    te_ref high = te_int(g, ll_floordiv(c, period) * period), unit = te_int(g, ll_floormod(c, period));
    te_ref rest = te_int(g, ll_floormod(f.c, size));
    for (int i = 0; i < f.n; i++) {
        te_ref *to = f.coef[i] % (size * period) == 0 ? &high : f.coef[i] % size == 0 ? &unit : &rest;
        *to = te_add(*to, te_muli(f.atom[i], to == &rest ? f.coef[i] : f.coef[i] / size));
    }
    te_range r = te_range_of(te_simplify(g, rest));
    if (r.lo < 0 || r.hi >= size) return NULL;
    unit = te_simplify(g, unit);
    te_ref piece = te_modi(te_divi(unit, INT64_C(1) << (w->from - w->to)), INT64_C(1) << w->n);
    unit = te_binary(TE_XOR, unit, te_simplify(g, piece));
    return te_add(te_muli(te_add(high, unit), size), te_simplify(g, rest));
}

static te_ref swizzled(te_graph *g, const lp_layout *l, te_ref at)
{
    for (int i = 0; i < l->n_swizzle; i++) {
        const lp_swizzle *w = &l->swizzle[i];
        te_ref units = swizzled_units(g, w, at);
        if (units) {
            at = units;
            continue;
        }
        te_ref piece = te_binary(TE_AND, te_binary(TE_SHR, at, te_int(g, w->from)),
                                 te_int(g, (INT64_C(1) << w->n) - 1));
        at = te_binary(TE_XOR, at, te_binary(TE_SHL, piece, te_int(g, w->to)));
    }
    return at;
}

te_ref lp_layout_at(te_graph *g, const lp_layout *l, lp_place place, const te_ref *idx)
{
    te_ref at = te_int(g, place == LP_AT_ADDR ? l->offset : 0), rest = NULL;
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        if (i == 0 || l->digit[i - 1].dim != d->dim) rest = idx[d->dim];
        bool last = last_of_dim(l, i);
        te_ref value = last ? rest : te_mod(rest, te_int(g, d->size));
        if (!last) rest = te_div(rest, te_int(g, d->size));
        if (d->place == (uint8_t)place) at = te_add(at, te_mul(value, d->stride));
    }
    at = te_simplify(g, at);
    return place == LP_AT_ADDR ? swizzled(g, l, at) : at;
}

int64_t lp_layout_at_const(const lp_layout *l, lp_place place, const int64_t *idx,
                           int64_t (*eval)(te_ref, void *), void *ctx)
{
    int64_t at = place == LP_AT_ADDR ? l->offset : 0, rest = 0;
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        if (i == 0 || l->digit[i - 1].dim != d->dim) rest = idx[d->dim];
        bool last = last_of_dim(l, i);
        int64_t value = last ? rest : ll_floormod(rest, d->size);
        if (!last) rest = ll_floordiv(rest, d->size);
        if (d->place != (uint8_t)place) continue;
        at += value * (d->stride->op == TE_INT ? d->stride->u.i : eval(d->stride, ctx));
    }
    for (int i = 0; place == LP_AT_ADDR && i < l->n_swizzle; i++) {
        const lp_swizzle *w = &l->swizzle[i];
        at ^= ((at >> w->from) & ((INT64_C(1) << w->n) - 1)) << w->to;
    }
    return at;
}

te_ref lp_layout_bits(te_graph *g, const lp_layout *l, const te_ref *shape, int ndim, int elem_bits)
{
    te_ref end = te_int(g, l->offset + elem_bits);
    te_ref rest = NULL; /* steps of the dimension that are not covered yet */
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        if (d->dim >= ndim) continue;
        if (i == 0 || l->digit[i - 1].dim != d->dim) rest = shape[d->dim];
        te_ref size = rest;
        if (!last_of_dim(l, i)) {
            size = te_min(rest, te_int(g, d->size));
            rest = te_div(te_addi(rest, d->size - 1), te_int(g, d->size));
        }
        if (d->place == LP_AT_ADDR) end = te_add(end, te_mul(te_addi(size, -1), d->stride));
    }
    for (int i = 0; i < l->n_swizzle; i++) { /* a swizzle moves elements inside its aligned block */
        const lp_swizzle *w = &l->swizzle[i];
        int top = (w->from > w->to ? w->from : w->to) + w->n;
        te_ref block = te_int(g, INT64_C(1) << top);
        end = te_mul(te_div(te_addi(end, (INT64_C(1) << top) - 1), block), block);
    }
    return te_simplify(g, end);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void print_digit(ll_str *out, const lp_digit *d)
{
    if (d->size) ll_str_addf(out, "%lld@%s", (long long)d->size, place_name[d->place]);
    else ll_str_addf(out, "...@%s", place_name[d->place]);
    bool leaf = d->stride->n == 0;
    if (!leaf) ll_str_addc(out, '(');
    te_print_expr(out, d->stride);
    if (!leaf) ll_str_addc(out, ')');
}

void lp_layout_print(ll_str *out, const lp_layout *l)
{
    ll_str_add(out, "layout(");
    int dim = 0, in_dim = 0;
    for (int i = 0; i < l->n_digit; i++, in_dim++) {
        for (; dim < l->digit[i].dim; dim++, in_dim = 0) ll_str_add(out, in_dim ? " | " : "- | ");
        if (in_dim) ll_str_addc(out, ' ');
        print_digit(out, &l->digit[i]);
    }
    if (l->offset) ll_str_addf(out, "; offset %lld", (long long)l->offset);
    for (int i = 0; i < l->n_swizzle; i++)
        ll_str_addf(out, "; xor %d bits %d -> %d", l->swizzle[i].n, l->swizzle[i].from,
                    l->swizzle[i].to);
    ll_str_addc(out, ')');
}
