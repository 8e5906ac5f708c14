/* build.c: the operators of te.h: type rules, literal folding and the few exact identities of
 * integers (x + 0, x * 1, x / 1 ...) that keep index arithmetic short as it is written.
 * Everything that needs an argument about ranges belongs to te_simplify. */
#include "base/ckd.h"
#include "te/internal.h"

static te_ref mistyped(te_graph *g, te_op op, te_ref a, te_ref b)
{
    if (!b)
        return te_fail(g, LL_USAGE, "%s of %s", te_op_name(op), ll_dtype_name((ll_dtype)a->dtype));
    return te_fail(
        g, LL_USAGE, "%s of %s and %s: operands have one type, there are no implicit casts",
        te_op_name(op), ll_dtype_name((ll_dtype)a->dtype), ll_dtype_name((ll_dtype)b->dtype));
}

static te_ref literal(te_graph *g, ll_dtype t, te_value v)
{
    return ll_dtype_is_float(t) ? te_fconst(g, t, v.f) : te_intern(g, TE_INT, t, v.i, NULL, 0);
}

static te_value value_of(te_ref a)
{
    return a->op == TE_FLT ? (te_value){.f = a->u.f} : (te_value){.i = a->u.i};
}

/* The node, or a literal when all sources are. */
static te_ref finish(te_graph *g, te_op op, ll_dtype t, const te_ref *src, int n)
{
    te_value v[3], r;
    bool constant = true;
    for (int i = 0; i < n && constant; i++) {
        constant = te_is_const(src[i]);
        if (constant) v[i] = value_of(src[i]);
    }
    ll_dtype from = (ll_dtype)src[op == TE_SELECT ? 1 : 0]->dtype;
    if (constant && te_apply(op, t, from, v, &r)) return literal(g, t, r);
    return te_intern(g, op, t, 0, src, n);
}

static te_ref unary_in(te_graph *g, te_op op, te_ref a)
{
    ll_dtype t = (ll_dtype)a->dtype;
    bool f = ll_dtype_is_float(t), ok;
    if (te_is_reduce(a))
        return te_fail(g, LL_USAGE, "a reduction is the root of a definition, not an operand");
    switch (op) {
    case TE_NEG: case TE_ABS: ok = t != LL_BOOL; break;
    case TE_NOT: ok = !f; break;
    case TE_SQRT: case TE_RSQRT: case TE_EXP: case TE_EXP2: case TE_LOG: case TE_SIN: case TE_COS:
    case TE_TANH: case TE_ROUND: case TE_FLOOR: ok = f; break;
    default: return te_fail(g, LL_USAGE, "%s is not a unary operator", te_op_name(op));
    }
    return ok ? finish(g, op, t, &a, 1) : mistyped(g, op, a, NULL);
}

/* x op literal, or literal op x: what folds for every x. NULL: nothing does. */
static te_ref int_identity(te_graph *g, te_op op, te_ref a, te_ref b)
{
    bool a0 = te_is_int(a, 0), b0 = te_is_int(b, 0), b1 = te_is_int(b, 1);
    switch (op) {
    case TE_ADD: return b0 ? a : a0 ? b : NULL;
    case TE_SUB:
        return b0 ? a : a == b ? te_intern(g, TE_INT, (ll_dtype)a->dtype, 0, NULL, 0) : NULL;
    case TE_MUL: return b1 || a0 ? a : te_is_int(a, 1) || b0 ? b : NULL;
    case TE_DIV: return b1 ? a : NULL;
    case TE_MOD: return b1 ? te_intern(g, TE_INT, (ll_dtype)a->dtype, 0, NULL, 0) : NULL;
    case TE_SHL: case TE_SHR: return b0 ? a : NULL;
    case TE_AND: return a == b || a0 ? a : b0 ? b : NULL;
    case TE_OR: return a == b || b0 ? a : a0 ? b : NULL;
    case TE_XOR: return b0 ? a : a0 ? b : NULL;
    case TE_MIN: case TE_MAX: return a == b ? a : NULL;
    default: return NULL;
    }
}

static te_ref binary_in(te_graph *g, te_op op, te_ref a, te_ref b)
{
    ll_dtype t = (ll_dtype)a->dtype, r = t;
    bool f = ll_dtype_is_float(t), ok;
    if (te_is_reduce(a) || te_is_reduce(b))
        return te_fail(g, LL_USAGE, "a reduction is the root of a definition, not an operand");
    if (a->dtype != b->dtype) return mistyped(g, op, a, b);
    switch (op) {
    case TE_ADD:
    case TE_SUB:
    case TE_MUL:
    case TE_DIV:
    case TE_MIN:
    case TE_MAX:
        ok = t != LL_BOOL;
        break;
    case TE_MOD: case TE_SHL: case TE_SHR: ok = ll_dtype_is_int(t); break;
    case TE_AND: case TE_OR: case TE_XOR: ok = !f; break;
    case TE_LT: case TE_LE: ok = t != LL_BOOL; r = LL_BOOL; break;
    case TE_EQ: case TE_NE: ok = true; r = LL_BOOL; break;
    default: return te_fail(g, LL_USAGE, "%s is not a binary operator", te_op_name(op));
    }
    if (!ok) return mistyped(g, op, a, b);
    te_ref same = f ? NULL : int_identity(g, op, a, b);
    return same ? same : finish(g, op, r, (te_ref[]){a, b}, 2);
}

static te_ref select_in(te_graph *g, te_ref c, te_ref a, te_ref b)
{
    if (te_is_reduce(a) || te_is_reduce(b) || te_is_reduce(c))
        return te_fail(g, LL_USAGE, "a reduction is the root of a definition, not an operand");
    if (c->dtype != LL_BOOL)
        return te_fail(g, LL_USAGE, "select: its condition is %s, wanted bool",
                       ll_dtype_name((ll_dtype)c->dtype));
    if (a->dtype != b->dtype) return mistyped(g, TE_SELECT, a, b);
    if (c->op == TE_INT) return c->u.i ? a : b;
    if (a == b) return a;
    return te_intern(g, TE_SELECT, (ll_dtype)a->dtype, 0, (te_ref[]){c, a, b}, 3);
}

static te_ref cast_in(te_graph *g, ll_dtype t, te_ref a)
{
    if ((unsigned)t >= LL_N_DTYPES) return te_fail(g, LL_USAGE, "cast to type number %d", (int)t);
    if (te_is_reduce(a))
        return te_fail(g, LL_USAGE, "a reduction is the root of a definition, not an operand");
    if (a->dtype == t) return a;
    if (t == LL_BOOL) return te_fail(g, LL_USAGE, "cast to bool: compare with zero instead");
    return finish(g, TE_CAST, t, &a, 1);
}

static te_ref bits_in(te_graph *g, ll_dtype t, te_ref a)
{
    if ((unsigned)t >= LL_N_DTYPES) return te_fail(g, LL_USAGE, "bits of type number %d", (int)t);
    if (te_is_reduce(a))
        return te_fail(g, LL_USAGE, "a reduction is the root of a definition, not an operand");
    if (a->dtype == t) return a;
    if (ll_dtype_bits(t) != ll_dtype_bits((ll_dtype)a->dtype))
        return te_fail(g, LL_USAGE, "bits.%s of %s: the widths differ", ll_dtype_name(t),
                       ll_dtype_name((ll_dtype)a->dtype));
    return finish(g, TE_BITS, t, &a, 1);
}

te_ref te_unary(te_op op, te_ref a) { return te_is_poison(a) ? a : unary_in(te_home(a->g), op, a); }

static te_graph *graph_of(te_ref a, te_ref b)
{
    te_graph *g = te_younger(a->g, b->g);
    return g ? te_home(g) : NULL;
}

static te_ref strangers(te_ref a)
{
    return te_fail(a->g, LL_USAGE,
                   "operands of unrelated graphs: neither graph descends from the other");
}

te_ref te_binary(te_op op, te_ref a, te_ref b)
{
    if (te_is_poison(a)) return a;
    if (te_is_poison(b)) return b;
    te_graph *g = graph_of(a, b);
    return g ? binary_in(g, op, a, b) : strangers(a);
}

te_ref te_select(te_ref c, te_ref a, te_ref b)
{
    if (te_is_poison(c)) return c;
    if (te_is_poison(a)) return a;
    if (te_is_poison(b)) return b;
    te_graph *g = te_younger(a->g, b->g);
    g = g ? te_younger(g, c->g) : NULL;
    return g ? select_in(te_home(g), c, a, b) : strangers(a);
}

te_ref te_cast(ll_dtype t, te_ref a) { return te_is_poison(a) ? a : cast_in(te_home(a->g), t, a); }
te_ref te_bits(ll_dtype t, te_ref a) { return te_is_poison(a) ? a : bits_in(te_home(a->g), t, a); }

te_ref te_with_src(te_graph *g, te_ref a, const te_ref *src)
{
    bool same = true;
    for (int i = 0; i < a->n; i++) {
        if (te_is_poison(src[i])) return src[i];
        same = same && src[i] == a->src[i];
    }
    if (same) return a;
    switch (a->op) {
    case TE_LOAD: return te_intern(g, TE_LOAD, (ll_dtype)a->dtype, a->u.i, src, a->n);
    case TE_SUM: case TE_MAXR: case TE_MINR: case TE_ARGMAX:
        for (int i = 1; i < a->n; i++)
            if (src[i]->op != TE_AXIS)
                return te_fail(g, LL_USAGE, "a reduction's axis replaced by a value");
        return te_intern(g, (te_op)a->op, a->op == TE_ARGMAX ? LL_S64 : (ll_dtype)src[0]->dtype, 0,
                         src, a->n);
    case TE_SELECT: return select_in(g, src[0], src[1], src[2]);
    case TE_CAST: return cast_in(g, (ll_dtype)a->dtype, src[0]);
    case TE_BITS: return bits_in(g, (ll_dtype)a->dtype, src[0]);
    default:
        return a->n == 1 ? unary_in(g, (te_op)a->op, src[0])
                         : binary_in(g, (te_op)a->op, src[0], src[1]);
    }
}
