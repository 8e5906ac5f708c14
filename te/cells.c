/* cells.c: an expression as a graph of cells (eval.h): one small function per operator, with
 * direct ones for f32, f64 and s64 and te_apply for the rest. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/ckd.h"
#include "te/eval.h"

#define A te_cell_get(c->src[0])
#define B te_cell_get(c->src[1])
#define DIRECT(name, expr) \
    static void name(te_cell *c) { expr; }

/* clang-format off */
DIRECT(f32_add, c->v.f = (double)(float)(A.f + B.f))
DIRECT(f32_sub, c->v.f = (double)(float)(A.f - B.f))
DIRECT(f32_mul, c->v.f = (double)(float)(A.f * B.f))
DIRECT(f32_div, c->v.f = (double)(float)(A.f / B.f))
DIRECT(f32_exp, c->v.f = (double)(float)exp(A.f))
DIRECT(f64_add, c->v.f = A.f + B.f)
DIRECT(f64_sub, c->v.f = A.f - B.f)
DIRECT(f64_mul, c->v.f = A.f * B.f)
DIRECT(s64_add, c->v.i = (int64_t)((uint64_t)A.i + (uint64_t)B.i))
DIRECT(s64_sub, c->v.i = (int64_t)((uint64_t)A.i - (uint64_t)B.i))
DIRECT(s64_mul, c->v.i = (int64_t)((uint64_t)A.i * (uint64_t)B.i))
DIRECT(s64_lt, c->v.i = A.i < B.i)
DIRECT(f32_from_float, c->v.f = (double)(float)A.f)
DIRECT(same, c->v = A)
DIRECT(f32_from_int, c->v.f = (double)(float)A.i)
DIRECT(choose, c->v = te_cell_get(c->src[A.i ? 1 : 2]))
/* clang-format on */
#undef A
#undef B

static void undefined(te_cell *c, te_value a, te_value b)
{
    char text[200];
    if (c->r->e->failed) return;
    snprintf(text, sizeof text, "%s", te_show(c->a));
    te_env_fail(c->r->e, LL_FAILED, "%s: %s: %s of %lld and %lld has no value",
                c->r->t ? c->r->t->name : "expression", text, te_op_name((te_op)c->a->op),
                (long long)a.i, (long long)b.i);
}

static void general(te_cell *c)
{
    te_value s[3] = {{.i = 0}};
    for (int i = 0; i < c->a->n; i++) s[i] = te_cell_get(c->src[i]);
    if (!te_apply((te_op)c->a->op, (ll_dtype)c->a->dtype, (ll_dtype)c->a->src[0]->dtype, s,
                  &c->v)) {
        c->v.i = 0;
        undefined(c, s[0], s[1]);
    }
}

static void s64_div(te_cell *c)
{
    int64_t a = te_cell_get(c->src[0]).i, b = te_cell_get(c->src[1]).i;
    if (b == 0) undefined(c, (te_value){.i = a}, (te_value){.i = b});
    c->v.i = b > 0 ? ll_floordiv(a, b) : b < 0 ? ll_floordiv(a, b) : 0;
}

static void s64_mod(te_cell *c)
{
    int64_t a = te_cell_get(c->src[0]).i, b = te_cell_get(c->src[1]).i;
    if (b == 0) undefined(c, (te_value){.i = a}, (te_value){.i = b});
    c->v.i = b != 0 ? ll_floormod(a, b) : 0;
}

static void outside(te_cell *c, int d, int64_t at)
{
    te_store *st = c->st;
    char text[200];
    if (c->r->e->failed) return;
    snprintf(text, sizeof text, "%s", te_show(c->a));
    te_env_fail(c->r->e, LL_FAILED, "%s: %s: index %d of %s is %lld, its size is %lld",
                c->r->t ? c->r->t->name : "expression", text, d, st->t->name, (long long)at,
                (long long)st->shape[d]);
}

static void unreached(te_cell *c, size_t lin)
{
    if (c->r->e->failed) return;
    te_env_fail(c->r->e, LL_FAILED, "%s: reads element %zu of %s, which its axes do not reach",
                c->r->t ? c->r->t->name : "expression", lin, c->st->t->name);
}

static void load(te_cell *c)
{
    te_store *st = c->st;
    int64_t at[TE_MAX_DIM];
    size_t lin = 0;
    for (int d = 0; d < c->a->n; d++) {
        at[d] = te_cell_get(c->src[d]).i;
        if ((uint64_t)at[d] >= (uint64_t)st->shape[d]) {
            outside(c, d, at[d]);
            c->v.i = 0;
            return;
        }
        lin = lin * (size_t)st->shape[d] + (size_t)at[d];
    }
    if (st->reached && !st->reached[lin]) unreached(c, lin);
    if (st->whole) c->v = st->v[lin];
    else if (st->mem) te_value_load((ll_dtype)st->t->dtype, st->mem, lin, &c->v);
    else c->v = te_point_value(c->r->e, st, at, lin);
}

typedef void (*cell_fn)(te_cell *c);

static cell_fn cast_fn(ll_dtype to, ll_dtype from)
{
    bool small = from != LL_U64;
    if (to == LL_F32 && ll_dtype_is_float(from)) return f32_from_float;
    if (to == LL_F64 && ll_dtype_is_float(from)) return same;
    if (to == LL_F32 && ll_dtype_is_int(from) && small) return f32_from_int;
    if (to == LL_S64 && ll_dtype_is_int(from)) return same;
    return general;
}

static cell_fn fn_of(te_ref a)
{
    ll_dtype t = (ll_dtype)a->dtype;
    switch (a->op) {
    case TE_LOAD: return load;
    case TE_SELECT: return choose;
    case TE_CAST: return cast_fn(t, (ll_dtype)a->src[0]->dtype);
    case TE_ADD:
        return t == LL_F32 ? f32_add : t == LL_F64 ? f64_add : t == LL_S64 ? s64_add : general;
    case TE_SUB:
        return t == LL_F32 ? f32_sub : t == LL_F64 ? f64_sub : t == LL_S64 ? s64_sub : general;
    case TE_MUL:
        return t == LL_F32 ? f32_mul : t == LL_F64 ? f64_mul : t == LL_S64 ? s64_mul : general;
    case TE_DIV: return t == LL_F32 ? f32_div : t == LL_S64 ? s64_div : general;
    case TE_MOD: return t == LL_S64 ? s64_mod : general;
    case TE_EXP: return t == LL_F32 ? f32_exp : general;
    case TE_LT: return a->src[0]->dtype == LL_S64 ? s64_lt : general;
    default: return general;
    }
}

/* ---- programs ----------------------------------------------------------------------------- */

static te_cell *cell_new(te_run *r, te_ref a, int level)
{
    te_cell *c = ll_alloc(&r->e->arena, sizeof *c + sizeof(te_cell *) * a->n);
    c->a = a;
    c->r = r;
    c->level = level;
    c->clock = &r->clock[level];
    return c;
}

static te_cell *fixed(te_cell *c, te_value v)
{
    c->v = v;
    c->clock = &c->r->clock[0];
    c->stamp = c->r->clock[0];
    return c;
}

static te_cell *leaf(te_run *r, te_ref a)
{
    te_cell *c = cell_new(r, a, 0);
    if (a->op == TE_INT) return fixed(c, (te_value){.i = a->u.i});
    if (a->op == TE_FLT) return fixed(c, (te_value){.f = a->u.f});
    if (a->op == TE_DIM) {
        int64_t *v = ll_map_get_str(&r->e->dims, a->u.dim->name);
        if (v) return fixed(c, (te_value){.i = *v});
        te_env_fail(r->e, LL_USAGE, "dim %s is not bound", a->u.dim->name);
        return NULL;
    }
    te_env_fail(r->e, LL_USAGE, "%s: %s is free", r->t ? r->t->name : "expression",
                a->op == TE_AXIS ? a->u.axis->name : a->u.name);
    return NULL;
}

static bool make(te_ref a, void *ctx) /* sources first */
{
    te_run *r = ctx;
    bool found;
    int level = 0;
    if (te_memo_get(&r->cells, a)) return true;
    te_cell *c;
    if (a->n == 0 && a->op != TE_LOAD) {
        c = leaf(r, a);
        if (!c) return false;
    } else {
        for (int i = 0; i < a->n; i++) {
            te_cell *s = te_memo_get(&r->cells, a->src[i]);
            level = s->level > level ? s->level : level;
        }
        c = cell_new(r, a, level);
        for (int i = 0; i < a->n; i++) c->src[i] = te_memo_get(&r->cells, a->src[i]);
        c->fn = fn_of(a);
        if (a->op == TE_LOAD && !(c->st = te_store_of(r->e, a->u.t))) return false;
    }
    *te_memo_at(&r->cells, a, &found) = c;
    return true;
}

static te_cell *cell_of(te_run *r, te_ref a)
{
    return te_walk(a, make, r) ? te_memo_get(&r->cells, a) : NULL;
}

static bool add_axis(te_run *r, te_ref a)
{
    bool found;
    int i = r->n_axis;
    if (!(r->extent[i] = cell_of(r, a->u.axis->extent))) return false;
    te_cell *c = cell_new(r, a, i + 1);
    fixed(c, (te_value){.i = 0});
    c->level = i + 1;
    *te_memo_at(&r->cells, a, &found) = c;
    r->axis[i] = c;
    r->n_axis++;
    return true;
}

static te_run *run_new(te_env *e, te_tensor *t)
{
    te_run *r = LL_NEW(&e->arena, te_run);
    r->e = e;
    r->t = t;
    for (int l = 0; l <= TE_MAX_LEVEL; l++) r->clock[l] = 1;
    r->tick = 1;
    return r;
}

te_run *te_run_make(te_env *e, te_tensor *t)
{
    te_run *r = run_new(e, t);
    te_ref body = t->body;
    bool ok = true;
    r->reduce = te_is_reduce(body) ? (te_op)body->op : TE_INT;
    r->n_own = t->n_axis;
    for (int i = 0; i < t->n_axis && ok; i++) ok = add_axis(r, t->axis[i]);
    for (int i = 0; i < t->ndim && ok && t->kind == TE_UPDATE; i++)
        ok = (r->at[i] = cell_of(r, t->at[i])) != NULL;
    if (ok && t->init) ok = (r->init = cell_of(r, t->init)) != NULL;
    for (int i = 1; i < body->n && ok && r->reduce != TE_INT; i++) ok = add_axis(r, body->src[i]);
    if (ok) ok = (r->body = cell_of(r, r->reduce != TE_INT ? body->src[0] : body)) != NULL;
    te_memo_finish(&r->cells);
    for (int l = 1; l <= r->n_axis; l++) r->clock[l] = ++r->tick;
    return ok ? r : NULL;
}

bool te_run_scalar(te_env *e, te_ref a, int64_t *out)
{
    if (a->op == TE_INT) {
        *out = a->u.i;
        return true;
    }
    te_run *r = run_new(e, NULL);
    te_cell *c = cell_of(r, a);
    te_memo_finish(&r->cells);
    if (!c) return false;
    *out = te_cell_get(c).i;
    return !e->failed;
}
