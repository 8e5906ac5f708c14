/* print.c: expressions and tensors as text that parses back to the identical nodes.
 *
 * Parentheses stand where precedence needs them, tightest first:
 *     calls, loads, literals      * / %      + -      << >>      &      ^      |      < <= == !=
 * An operand of a shift or of a bit operator that is itself another infix keeps its parentheses,
 * and comparisons do not chain. Two axes of one name in one text are told apart by a suffix: k,
 * k_2.
 *
 * An axis prints its extent (`k < 64`, `j < len[s] <= C`) unless the parser can infer it: the
 * first place, in reading order, where the axis stands alone as an index is a dimension of
 * exactly that size. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "te/internal.h"
#include "te/print.h"
#include "te/quant.h"

/* ---- names -------------------------------------------------------------------------------- */

typedef struct names {
    te_memo of;   /* AXIS or VAR -> const char * (arena)          */
    ll_map taken; /* name -> leaf                                 */
    ll_arena arena;
    const te_print_style *style;
    const te_graph *g;
} names;

static bool add_name(te_ref a, void *ctx)
{
    names *ns = ctx;
    bool found;
    if (a->op != TE_AXIS && a->op != TE_VAR) return true;
    void **at = te_memo_at(&ns->of, a, &found);
    if (found) return true;
    const char *base = a->op == TE_AXIS ? a->u.axis->name : a->u.name, *name = base;
    if (ns->style && ns->style->axis_prefix && a->op == TE_AXIS)
        base = name = ll_sprintf(&ns->arena, "%s%zu", ns->style->axis_prefix, ns->of.n - 1);
    for (int i = 2; ll_map_has(&ns->taken, name, strlen(name)) || te_find_dim(ns->g, name); i++)
        name = ll_sprintf(&ns->arena, "%s_%d", base, i);
    ll_map_set_str(&ns->taken, name, (void *)(uintptr_t)a);
    *at = (void *)(uintptr_t)name;
    return true;
}

static void names_init(names *ns, const te_graph *g, const te_print_style *style)
{
    *ns = (names){.style = style, .g = g};
    ll_arena_init(&ns->arena);
}

static void names_finish(names *ns)
{
    te_memo_finish(&ns->of);
    ll_map_finish(&ns->taken);
    ll_arena_finish(&ns->arena);
}

/* All axes of a tensor: its own, then in reading order those of its body and their extents. */
static void name_axis(names *ns, te_ref axis)
{
    add_name(axis, ns);
    te_walk(axis->u.axis->extent, add_name, ns);
}

static const char *tensor_name(const names *ns, const te_tensor *t)
{
    const char *s = ns->style && ns->style->tensor ? ns->style->tensor(t, ns->style->ctx) : NULL;
    return s ? s : t->name;
}

/* ---- expressions -------------------------------------------------------------------------- */

enum { P_COMPARE = 1, P_OR, P_XOR, P_AND, P_SHIFT, P_ADD, P_MUL, P_ATOM };

static int precedence(te_ref a)
{
    switch (a->op) {
    case TE_MUL: case TE_DIV: case TE_MOD: return P_MUL;
    case TE_ADD: case TE_SUB: return P_ADD;
    case TE_SHL: case TE_SHR: return P_SHIFT;
    case TE_AND: return P_AND;
    case TE_XOR: return P_XOR;
    case TE_OR: return P_OR;
    case TE_LT: case TE_LE: case TE_EQ: case TE_NE: return P_COMPARE;
    default: return P_ATOM;
    }
}

/* May source i of infix `a` stand without parentheses? */
static bool bare(te_ref a, int i)
{
    int p = precedence(a), q = precedence(a->src[i]);
    if (q == P_ATOM) return true;
    if (p >= P_OR && p <= P_SHIFT) return i == 0 && a->src[0]->op == a->op && p != P_SHIFT;
    return i == 0 && p != P_COMPARE ? q >= p : q > p;
}

static void put_float(ll_str *out, te_ref a)
{
    char s[40];
    double v = a->u.f;
    if (isnan(v)) snprintf(s, sizeof s, "nan");
    else if (isinf(v)) snprintf(s, sizeof s, v < 0 ? "-inf" : "inf");
    else
        for (int digits = 1; digits <= 17; digits++) { /* the shortest that reads back */
            snprintf(s, sizeof s, "%.*g", digits, v);
            if (te_round_to((ll_dtype)a->dtype, strtod(s, NULL)) == v) break;
        }
    if (!strpbrk(s, ".en")) strcat(s, ".0");
    ll_str_add(out, s);
    if (a->dtype != LL_F32) ll_str_addf(out, ":%s", ll_dtype_name((ll_dtype)a->dtype));
}

static void put_int(ll_str *out, te_ref a)
{
    if (a->dtype == LL_BOOL) ll_str_add(out, a->u.i ? "true" : "false");
    else if (a->dtype == LL_U64) ll_str_addf(out, "%" PRIu64, (uint64_t)a->u.i);
    else ll_str_addf(out, "%" PRId64, a->u.i);
    if (a->dtype != LL_BOOL && a->dtype != LL_S64)
        ll_str_addf(out, ":%s", ll_dtype_name((ll_dtype)a->dtype));
}

static void put(ll_str *out, names *ns, te_ref a);

static void put_list(ll_str *out, names *ns, const te_ref *v, int n)
{
    for (int i = 0; i < n; i++) {
        if (i) ll_str_add(out, ", ");
        put(out, ns, v[i]);
    }
}

static void put_operand(ll_str *out, names *ns, te_ref a, int i)
{
    bool b = bare(a, i);
    if (!b) ll_str_addc(out, '(');
    put(out, ns, a->src[i]);
    if (!b) ll_str_addc(out, ')');
}

/* Where, in reading order, `axis` first stands alone as an index: that dimension's size, or
 * NULL. */
static te_ref first_use(te_memo *seen, te_ref a, te_ref axis)
{
    bool found;
    if (a->n == 0) return NULL;
    te_memo_at(seen, a, &found);
    if (found) return NULL;
    bool load = a->op == TE_LOAD;
    int n = te_is_reduce(a) ? 1 : a->n;
    for (int i = 0; i < n; i++) {
        if (load && a->src[i] == axis) return a->u.t->shape[i];
        te_ref r = first_use(seen, a->src[i], axis);
        if (r) return r;
    }
    return NULL;
}

static bool inferable(te_ref axis, const te_ref *where, int n)
{
    te_memo seen = {0};
    te_ref size = NULL;
    for (int i = 0; i < n && !size; i++) size = first_use(&seen, where[i], axis);
    te_memo_finish(&seen);
    return size && size == axis->u.axis->extent && !axis->u.axis->max;
}

/* `where`: the expressions, in reading order, in which the parser looks for the extent. */
static void put_axis(ll_str *out, names *ns, te_ref axis, const te_ref *where, int n_where)
{
    const te_axis_info *x = axis->u.axis;
    put(out, ns, axis);
    if (inferable(axis, where, n_where)) return;
    ll_str_add(out, " < ");
    put(out, ns, x->extent);
    if (!x->max) return;
    ll_str_add(out, " <= ");
    put(out, ns, x->max);
}

static void put_reduce(ll_str *out, names *ns, te_ref a, const te_ref *where, int n_where)
{
    ll_str_addf(out, "%s(", te_op_spelling((te_op)a->op));
    for (int i = 1; i < a->n; i++) name_axis(ns, a->src[i]);
    for (int i = 1; i < a->n; i++) {
        if (i > 1) ll_str_add(out, ", ");
        put_axis(out, ns, a->src[i], where, n_where);
    }
    ll_str_add(out, ": ");
    put(out, ns, a->src[0]);
    ll_str_addc(out, ')');
}

static void put_call(ll_str *out, names *ns, const char *name, te_ref a)
{
    ll_str_addf(out, "%s(", name);
    put_list(out, ns, a->src, a->n);
    ll_str_addc(out, ')');
}

static void put(ll_str *out, names *ns, te_ref a)
{
    const char *name;
    switch (a->op) {
    case TE_INT: put_int(out, a); return;
    case TE_FLT: put_float(out, a); return;
    case TE_DIM: ll_str_add(out, a->u.dim->name); return;
    case TE_AXIS: case TE_VAR:
        add_name(a, ns);
        name = te_memo_get(&ns->of, a);
        ll_str_add(out, name);
        return;
    case TE_LOAD:
        ll_str_addf(out, "%s[", tensor_name(ns, a->u.t));
        put_list(out, ns, a->src, a->n);
        ll_str_addc(out, ']');
        return;
    case TE_SUM: case TE_MAXR: case TE_MINR: case TE_ARGMAX: put_reduce(out, ns, a, &a, 1); return;
    case TE_CAST: put_call(out, ns, ll_dtype_name((ll_dtype)a->dtype), a); return;
    case TE_BITS:
        ll_str_add(out, "bits.");
        put_call(out, ns, ll_dtype_name((ll_dtype)a->dtype), a);
        return;
    default: break;
    }
    name = te_op_spelling((te_op)a->op);
    if (!te_op_infix((te_op)a->op)) {
        put_call(out, ns, name, a);
        return;
    }
    put_operand(out, ns, a, 0);
    ll_str_addf(out, " %s ", name);
    put_operand(out, ns, a, 1);
}

void te_print_expr(ll_str *out, te_ref a)
{
    names ns;
    if (!a) {
        ll_str_add(out, "null");
        return;
    }
    names_init(&ns, a->g, NULL);
    put(out, &ns, a);
    names_finish(&ns);
}

const char *te_show(te_ref a)
{
    static _Thread_local char text[4096];
    ll_str s = {0};
    te_print_expr(&s, a);
    snprintf(text, sizeof text, "%s", ll_str_cstr(&s));
    ll_str_finish(&s);
    return text;
}

/* ---- tensors ------------------------------------------------------------------------------ */

static void put_input(ll_str *out, names *ns, const te_tensor *t)
{
    ll_str_addf(out, "in %s %s[", t->quant ? t->quant->name : ll_dtype_name((ll_dtype)t->dtype),
                tensor_name(ns, t));
    put_list(out, ns, t->shape, t->ndim);
    ll_str_addc(out, ']');
    if (t->lo) {
        ll_str_add(out, " in ");
        put(out, ns, t->lo);
        ll_str_add(out, "..");
        put(out, ns, t->hi);
    }
    if (t->weight) ll_str_add(out, " weight");
}

static void put_def(ll_str *out, names *ns, const te_tensor *t)
{
    te_ref where[2 + TE_MAX_DIM] = {t->body};
    int n = 1;
    bool update = t->kind == TE_UPDATE;
    if (t->init) where[n++] = t->init;
    for (int i = 0; update && i < t->ndim; i++) where[n++] = t->at[i];
    ll_str_addf(out, "%s %s %s[", update ? "update" : "def", ll_dtype_name((ll_dtype)t->dtype),
                tensor_name(ns, t));
    for (int i = 0; i < t->n_axis; i++) name_axis(ns, t->axis[i]);
    for (int i = 0; i < t->n_axis; i++) {
        if (i) ll_str_add(out, ", ");
        put_axis(out, ns, t->axis[i], where, n);
    }
    ll_str_add(out, "] = ");
    if (te_is_reduce(t->body)) put_reduce(out, ns, t->body, where, n);
    else put(out, ns, t->body);
    if (t->init) {
        ll_str_add(out, " from ");
        put(out, ns, t->init);
    }
    if (!update) return;
    ll_str_addf(out, " into %s[", tensor_name(ns, t->base));
    put_list(out, ns, t->at, t->ndim);
    ll_str_addc(out, ']');
}

void te_print_tensor_as(ll_str *out, const te_tensor *t, const te_print_style *style)
{
    names ns;
    names_init(&ns, t->g, style);
    switch (t->kind) {
    case TE_INPUT: put_input(out, &ns, t); break;
    case TE_DEF: case TE_UPDATE: put_def(out, &ns, t); break;
    case TE_PLANE:
        ll_str_addf(out, "plane %s %s[", ll_dtype_name((ll_dtype)t->dtype), tensor_name(&ns, t));
        put_list(out, &ns, t->shape, t->ndim);
        ll_str_addf(out, "] of %s", tensor_name(&ns, t->base));
        break;
    case TE_PAGED:
        ll_str_addf(out, "paged %s %s = %s by %s, block %" PRId64,
                    ll_dtype_name((ll_dtype)t->dtype), tensor_name(&ns, t),
                    tensor_name(&ns, t->base), tensor_name(&ns, t->table), t->block);
        break;
    }
    names_finish(&ns);
}

void te_print_input_as(ll_str *out, const te_tensor *t, const te_print_style *style)
{
    names ns;
    names_init(&ns, t->g, style);
    put_input(out, &ns, t);
    names_finish(&ns);
}

void te_print_tensor(ll_str *out, const te_tensor *t) { te_print_tensor_as(out, t, NULL); }

void te_print_dim(ll_str *out, te_ref dim)
{
    const te_dim_info *d = dim->u.dim;
    ll_str_addf(out, "dim %s in %" PRId64 "..%" PRId64, d->name, d->lo, d->hi);
    if (d->multiple != 1) ll_str_addf(out, " multiple %" PRId64, d->multiple);
}

static void print_dims(ll_str *out, const te_graph *g)
{
    if (g->parent) print_dims(out, g->parent);
    for (size_t i = 0; i < g->dims.n; i++) {
        if (g->dims.entry[i].dead) continue;
        te_print_dim(out, g->dims.entry[i].value);
        ll_str_addc(out, '\n');
    }
}

void te_print(ll_str *out, const te_graph *g)
{
    print_dims(out, g);
    for (size_t i = 0; i < te_n_tensors(g); i++) {
        const te_tensor *t = te_tensor_at(g, i);
        if (t->kind == TE_PLANE) continue; /* said by its whole */
        te_print_tensor(out, t);
        ll_str_addc(out, '\n');
    }
}
