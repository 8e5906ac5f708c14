/* gen_expr.c: see gen_expr.h. Everything is drawn from one generator in a fixed order; sizes are
 * drawn from a small set of extents per case, so that axes and dimensions meet. Nothing that has
 * no value is generated: divisors and shifts are literals, indices are an axis of that extent, a
 * literal, or something % extent. */
#include "tests/support/gen_expr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "te/quant.h"

typedef struct gen {
    te_graph *g;
    uint64_t s;
    unsigned flags;
    int size;
    te_ref extent[5]; /* of dimensions; extent[0] is a literal below 9 */
    int n_extent, n_dim;
    bool dense; /* no ragged axes now */
    te_tensor *src[16]; /* what may be loaded */
    int n_src;
    te_tensor *len,
        *gather; /* lengths over extent[0]; row numbers below extent[1] over extent[0] */
    te_ref scope[6];
    int n_scope;
    ll_dtype real; /* the float type of arithmetic */
    int64_t work;  /* iterations of the definition being made */
} gen;

enum { MAX_WORK = 20000 };

static uint64_t next(uint64_t *s)
{
    uint64_t z = *s += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static int pick(gen *r, int n) { return (int)(next(&r->s) % (uint64_t)n); }
static bool chance(gen *r, int percent) { return pick(r, 100) < percent; }

/* ---- sizes and inputs --------------------------------------------------------------------- */

static te_ref make_dim(gen *r, int64_t hi, int64_t multiple)
{
    char name[2] = {"STUV"[r->n_dim], 0};
    if (r->n_dim < 2) multiple = 1;
    if (r->n_dim == 2) multiple = 4;
    hi = hi < 4 ? 4 : hi;
    r->n_dim++;
    return te_dim_multiple(r->g, name, multiple, hi * multiple, multiple);
}

static void make_extents(gen *r)
{
    static const int64_t literal[] = {1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 33, 48, 64};
    int most = 3 + r->size / 3;
    r->extent[r->n_extent++] = te_int(r->g, literal[pick(r, 7)]);
    int n = 2 + pick(r, 3);
    while (r->n_extent < n) {
        bool symbol = (r->flags & GEN_SYMBOLIC) && chance(r, 45);
        int64_t hi = literal[pick(r, most > 13 ? 13 : most)], multiple = chance(r, 40) ? 4 : 1;
        te_ref e = te_int(r->g, hi);
        if (symbol) e = make_dim(r, hi, multiple);
        r->extent[r->n_extent++] = e;
    }
}

static te_tensor *add_source(gen *r, te_tensor *t)
{
    if (r->n_src < 16) r->src[r->n_src++] = t;
    return t;
}

static const te_quant *made_up(gen *r)
{
    ll_error err = {0};
    const te_quant *q =
        te_quant_make(te_arena(r->g), "gen3", 24, 12, "f16 d[1]; s8 m[1]; u2 lo[24]; u1 hi[24]",
                      "d = bits.f16(u16(b[0]) | u16(b[1]) << 8:u16); m = bits.s8(b[2]);"
                      "lo = u2(b[3 + i / 4] >> u8(i % 4 * 2)); hi = u1(b[9 + i / 8] >> u8(i % 8))",
                      "f32(d) * (f32(u8(lo) + u8(hi) * 4:u8) + f32(m))", &err);
    if (!q) te_fail(r->g, err.code, "%s", err.msg);
    return q;
}

static void make_quant(gen *r, int n)
{
    static const char *const names[] = {"q4_0", "q4_1", "q5_0", "q8_0", "q6_k", "q4_k"};
    int k = pick(r, r->flags & GEN_F64 ? 6 : 8);
    const te_quant *q = k < 6 ? te_quant_by_name(names[k]) : made_up(r);
    if (!q) return;
    char name[16];
    snprintf(name, sizeof name, "w%d", n);
    te_ref cols = te_int(r->g, q->block * (1 + pick(r, q->block < 100 ? 3 : 1)));
    add_source(r, te_weight(te_input_quant(r->g, name, q, r->extent[pick(r, r->n_extent)], cols)));
    if (r->n_extent < 5) r->extent[r->n_extent++] = cols;
}

static void make_inputs(gen *r)
{
    static const ll_dtype types[] = {LL_F32, LL_F32, LL_F16, LL_S8, LL_S32};
    int n = 1 + pick(r, 2 + r->size / 8);
    if ((r->flags & GEN_QUANT) && r->size > 2 && chance(r, 50)) make_quant(r, 0);
    for (int i = 0; i < n; i++) {
        char name[16];
        te_ref shape[3];
        int rank = 1 + pick(r, r->size > 4 ? 3 : 2);
        for (int d = 0; d < rank; d++) shape[d] = r->extent[pick(r, r->n_extent)];
        snprintf(name, sizeof name, "x%d", i);
        ll_dtype t = types[pick(r, 5)];
        add_source(r, te_input_(r->g, name, t == LL_F32 ? r->real : t, shape, rank));
    }
    te_ref zero = te_int(r->g, 0);
    if ((r->flags & GEN_RAGGED) && r->size > 1)
        r->len =
            te_input_index(r->g, "len", LL_S32, zero, te_addi(r->extent[1], 1), &r->extent[0], 1);
    if (r->size > 2 && chance(r, 40))
        r->gather = te_input_index(r->g, "row", LL_S32, zero, r->extent[1], &r->extent[0], 1);
}

/* ---- expressions -------------------------------------------------------------------------- */

static te_ref axis_of(gen *r, te_ref extent)
{
    te_ref fit[6];
    int n = 0;
    for (int i = 0; i < r->n_scope; i++) {
        const te_axis_info *x = r->scope[i]->u.axis;
        if (x->extent == extent || x->max == extent) fit[n++] = r->scope[i];
    }
    return n ? fit[pick(r, n)] : NULL;
}

/* An index below `extent`. */
static te_ref index_below(gen *r, te_ref extent)
{
    te_ref a = axis_of(r, extent);
    if (a && chance(r, 80)) return a;
    if (extent == r->extent[1] && r->gather && chance(r, 50)) {
        te_ref at = axis_of(r, r->extent[0]);
        return te_cast(LL_S64, te_at(r->gather, at ? at : te_int(r->g, 0)));
    }
    if (r->n_scope == 0 || chance(r, 15)) return te_int(r->g, 0);
    te_ref b = r->scope[pick(r, r->n_scope)];
    switch (pick(r, 4)) {
    case 0: b = te_addi(te_muli(b, 1 + pick(r, 4)), pick(r, 9)); break;
    case 1: b = te_divi(b, 1 + pick(r, 4)); break;
    case 2: b = te_add(b, r->scope[pick(r, r->n_scope)]); break;
    default: return te_min(b, te_addi(extent, -1));
    }
    return te_mod(b, extent);
}

static bool is_def(const te_tensor *t) { return t->kind == TE_DEF; }

/* An element of t that has a value: where t is ragged, an axis of the same extent, or NULL. */
static te_ref load_of(gen *r, te_tensor *t)
{
    te_ref idx[3];
    for (int d = 0; d < t->ndim; d++) {
        bool ragged = is_def(t) && t->axis[d]->u.axis->max;
        te_ref want = ragged ? te_subst(r->g, t->axis[d]->u.axis->extent, t->axis, idx, d) : NULL;
        idx[d] = ragged ? NULL : index_below(r, t->shape[d]);
        for (int i = 0; ragged && i < r->n_scope; i++)
            if (r->scope[i]->u.axis->extent == want) idx[d] = r->scope[i];
        if (!idx[d]) return NULL;
    }
    return te_at_(NULL, 0, t, idx, t->ndim);
}

/* A load as f32; in exact cases results of definitions come back as small integers. */
static te_ref load_f32(gen *r)
{
    te_tensor *t = NULL;
    te_ref v = NULL;
    for (int k = 0; k < 4 && !v; k++) {
        t = r->src[pick(r, r->n_src)];
        v = load_of(r, t);
    }
    if (!v) return te_fconst(r->g, r->real, 0.5);
    bool integer = !ll_dtype_is_float((ll_dtype)v->dtype);
    if (is_def(t) && (r->flags & GEN_EXACT)) {
        te_ref i = te_cast(LL_S32, v), four = te_iconst(r->g, LL_S32, 4);
        return te_cast(r->real, te_max(te_min(i, four), te_neg(four)));
    }
    if (is_def(t)) { /* values of sums stay small enough for exp and friends */
        te_ref two = te_fconst(r->g, r->real, 2);
        return te_max(te_min(te_cast(r->real, v), two), te_neg(two));
    }
    return integer ? te_cast(r->real, te_cast(LL_S8, v)) : te_cast(r->real, v);
}

static te_ref condition(gen *r)
{
    te_ref a = r->n_scope ? r->scope[pick(r, r->n_scope)] : te_int(r->g, 1);
    te_ref b =
        r->n_scope > 1 && chance(r, 50) ? r->scope[pick(r, r->n_scope)] : te_int(r->g, pick(r, 6));
    static const te_op ops[] = {TE_LT, TE_LE, TE_EQ, TE_NE};
    te_ref c = te_binary(ops[pick(r, 4)], a, b);
    return chance(r, 20) ? te_unary(TE_NOT, c) : c;
}

static te_ref expr_f32(gen *r, int depth);

static te_ref inexact(gen *r, int depth)
{
    te_ref a = expr_f32(r, depth - 1), two = te_fconst(r->g, r->real, 2);
    te_ref small = te_max(te_min(a, two), te_neg(two));
    switch (pick(r, 5)) {
    case 0: return te_exp(small);
    case 1: return te_unary(TE_TANH, a);
    case 2: return te_rsqrt(te_add(te_abs(a), te_fconst(r->g, r->real, 0.5)));
    case 3: return te_div(a, te_add(te_abs(small), te_fconst(r->g, r->real, 1)));
    default:
        if (r->flags & GEN_F64) return te_unary(TE_COS, small);
        return te_cast(r->real, te_cast(chance(r, 50) ? LL_F16 : LL_BF16, small));
    }
}

static te_ref expr_f32(gen *r, int depth)
{
    if (depth <= 0 || chance(r, 10)) {
        if (chance(r, 80)) return load_f32(r);
        return te_fconst(r->g, r->real, 0.25 * (pick(r, 17) - 8));
    }
    if (!(r->flags & GEN_EXACT) && chance(r, 25)) return inexact(r, depth);
    te_ref a = expr_f32(r, depth - 1);
    switch (pick(r, 8)) {
    case 0: return te_add(a, expr_f32(r, depth - 1));
    case 1: return te_sub(a, expr_f32(r, depth - 1));
    case 2: return te_max(a, expr_f32(r, depth - 1));
    case 3: return te_min(a, load_f32(r));
    case 4: return te_select(condition(r), a, expr_f32(r, depth - 1));
    case 5: return chance(r, 50) ? te_neg(a) : te_abs(a);
    default: return te_mul(load_f32(r), load_f32(r));
    }
}

/* An s32 expression without undefined parts. */
static te_ref expr_int(gen *r, int depth)
{
    te_tensor *t = r->src[pick(r, r->n_src)];
    if (depth <= 0 || chance(r, 15)) {
        if (!ll_dtype_is_int((ll_dtype)t->dtype) || chance(r, 30))
            return te_cast(LL_S32, r->n_scope ? r->scope[pick(r, r->n_scope)] : te_int(r->g, 3));
        te_ref v = load_of(r, t);
        return v ? te_cast(LL_S32, v) : te_iconst(r->g, LL_S32, 5);
    }
    te_ref a = expr_int(r, depth - 1), b = expr_int(r, depth - 1),
           c = te_iconst(r->g, LL_S32, 1 + pick(r, 6));
    switch (pick(r, 9)) {
    case 0: return te_add(a, b);
    case 1: return te_sub(a, b);
    case 2: return te_mul(te_cast(LL_S32, te_cast(LL_S8, a)), te_cast(LL_S32, te_cast(LL_S8, b)));
    case 3: return te_div(a, c);
    case 4: return te_mod(a, c);
    case 5: return te_binary(chance(r, 50) ? TE_AND : TE_XOR, a, b);
    case 6: return te_binary(chance(r, 50) ? TE_SHR : TE_SHL, a, c);
    case 7: return te_select(condition(r), a, b);
    default: return te_max(a, b);
    }
}

/* ---- definitions -------------------------------------------------------------------------- */

static te_ref fresh_axis(gen *r, const char *name)
{
    bool ragged = r->len && !r->dense && chance(r, 35);
    te_ref s = ragged ? axis_of(r, r->extent[0]) : NULL, e = r->extent[pick(r, r->n_extent)];
    for (int k = 0; k < 4 && r->work * te_range_of(s ? r->extent[1] : e).hi > MAX_WORK; k++) {
        s = NULL;
        e = k < 3 ? r->extent[pick(r, r->n_extent)] : te_int(r->g, 2);
    }
    r->work *= te_range_of(s ? r->extent[1] : e).hi;
    te_ref a = s ? te_axis_upto(r->g, name, te_cast(LL_S64, te_at(r->len, s)), r->extent[1])
                 : te_axis(r->g, name, e);
    r->scope[r->n_scope++] = a;
    return a;
}

static te_tensor *make_def(gen *r, int no, bool last)
{
    static const char *const own[] = {"i", "j", "k"}, *const bound[] = {"p", "q"};
    static const te_op ops[] = {TE_SUM, TE_SUM, TE_SUM, TE_MAXR, TE_MINR, TE_ARGMAX};
    te_ref axes[3], red[2], body, init = NULL;
    int rank = 1 + pick(r, r->size > 3 ? 3 : 2),
        n_red = chance(r, 65) ? 1 + (r->size > 6 && chance(r, 30)) : 0;
    int depth = 1 + pick(r, 1 + (r->size > 16 ? 4 : r->size / 4));
    char name[16];
    snprintf(name, sizeof name, "y%d", no);
    r->n_scope = 0;
    r->work = 1;
    r->dense = (r->flags & GEN_F64) && last;
    for (int i = 0; i < rank; i++) axes[i] = fresh_axis(r, own[i]);
    r->dense = false;
    if (n_red && chance(r, 15)) init = expr_f32(r, 0);
    for (int i = 0; i < n_red; i++) red[i] = fresh_axis(r, bound[i]);
    bool ints = !init && chance(r, 20);
    if (ints) body = expr_int(r, depth);
    else if ((r->flags & GEN_EXACT) || chance(r, 50))
        body = te_mul(load_f32(r), expr_f32(r, depth - 1 < 1 ? depth - 1 : 1));
    else body = expr_f32(r, depth);
    bool half = !ints && n_red == 0 && !(r->flags & GEN_F64) && chance(r, 20);
    if (half) body = te_cast(LL_F16, body);
    if (n_red) body = te_reduce_(NULL, 0, ops[pick(r, init || (!ints && (r->flags & GEN_F64)) ? 5 : 6)], body, red, n_red);
    if (init) return te_def_init(r->g, name, body, init, axes, rank);
    return te_def_(NULL, 0, r->g, name, body, axes, rank);
}

te_tensor *gen_graph(te_graph *g, uint64_t seed, int size, unsigned flags)
{
    gen r = {.g = g,
             .s = seed * 2 + 1,
             .flags = flags,
             .size = size < 1    ? 1
                     : size > 32 ? 32
                                 : size};
    r.real = flags & GEN_F64 ? LL_F64 : LL_F32;
    make_extents(&r);
    make_inputs(&r);
    int n = 1 + pick(&r, 1 + r.size / 8);
    te_tensor *last = NULL;
    for (int i = 0; i < n; i++) last = add_source(&r, make_def(&r, i, i == n - 1));
    return last;
}

/* ---- values ------------------------------------------------------------------------------- */

int64_t gen_dim_value(te_ref dim, uint64_t seed)
{
    const te_dim_info *d = dim->u.dim;
    uint64_t s = seed ^ (uint64_t)(unsigned char)d->name[0] << 40;
    int64_t lo = (d->lo + d->multiple - 1) / d->multiple, hi = d->hi / d->multiple;
    return (lo + (int64_t)(next(&s) % (uint64_t)(hi - lo + 1))) * d->multiple;
}

static bool dim_found(te_ref a, void *ctx)
{
    te_env *e = ((void **)ctx)[0];
    if (a->op == TE_AXIS)
        return te_walk(a->u.axis->extent, dim_found, ctx) &&
               (!a->u.axis->max || te_walk(a->u.axis->max, dim_found, ctx));
    if (a->op != TE_DIM) return true;
    return te_env_dim(e, a->u.dim->name, gen_dim_value(a, *(uint64_t *)((void **)ctx)[1]),
                      ((void **)ctx)[2]) == LL_OK;
}

static int64_t
value_in(te_ref a, uint64_t seed) /* of a dim, a literal, or their sum and product with literals */
{
    if (a->op == TE_INT) return a->u.i;
    if (a->op == TE_DIM) return gen_dim_value(a, seed);
    int64_t x = value_in(a->src[0], seed), y = value_in(a->src[1], seed);
    return a->op == TE_ADD   ? x + y
           : a->op == TE_SUB ? x - y
           : a->op == TE_MUL ? x * y
           : a->op == TE_DIV ? x / y
                             : 0;
}

static te_value any_value(const te_tensor *t, uint64_t *s, int64_t lo, int64_t hi)
{
    ll_dtype d = (ll_dtype)t->dtype;
    uint64_t z = next(s);
    if (t->lo) return (te_value){.i = lo + (int64_t)(z % (uint64_t)(hi - lo))};
    if (ll_dtype_is_float(d) && t->kind == TE_PLANE)
        return (te_value){.f = 0.25 * (double)(1 + z % 3)};
    if (ll_dtype_is_float(d)) return (te_value){.f = 0.25 * ((double)(z % 17) - 8)};
    if (t->kind == TE_PLANE && d == LL_S8) return (te_value){.i = (int64_t)(z % 17) - 8};
    return (te_value){.i =
                          te_wrap_to(d, ll_dtype_bits(d) > 8 ? (int64_t)(z % 13) - 6 : (int64_t)z)};
}

bool gen_bind(te_env *e, te_graph *g, uint64_t seed, unsigned flags, ll_error *err)
{
    void *ctx[3] = {e, &seed, err};
    for (size_t i = 0; i < te_n_tensors(g); i++) {
        const te_tensor *t = te_tensor_at(g, i);
        te_ref all[4 + TE_MAX_DIM] = {t->lo, t->hi, t->body, t->init};
        memcpy(all + 4, t->shape, sizeof t->shape);
        for (int k = 0; k < 4 + TE_MAX_DIM; k++)
            if (all[k] && !te_walk(all[k], dim_found, ctx)) return false;
    }
    for (size_t i = 0; i < te_n_tensors(g); i++) {
        te_tensor *t = te_tensor_at(g, i);
        if (!(t->kind == TE_INPUT && !t->quant) && t->kind != TE_PLANE) continue;
        size_t n = 1;
        uint64_t s = seed * 31 + i;
        for (int d = 0; d < t->ndim; d++) n *= (size_t)value_in(t->shape[d], seed);
        int64_t lo = t->lo ? value_in(t->lo, seed) : 0, hi = t->hi ? value_in(t->hi, seed) : 0;
        te_value *v = malloc((n + 1) * sizeof *v);
        for (size_t k = 0; v && k < n; k++) v[k] = any_value(t, &s, lo, hi);
        bool ok = v && te_env_bind(e, t, v, n, err) == LL_OK;
        free(v);
        if (!ok) return false;
    }
    return true;
}

bool gen_check(uint64_t first, int n, int size, bool (*check)(uint64_t seed, int size, void *ctx),
               void *ctx, uint64_t *bad_seed, int *bad_size)
{
    for (int i = 0; i < n; i++) {
        if (check(first + (uint64_t)i, size, ctx)) continue;
        *bad_seed = first + (uint64_t)i;
        *bad_size = size;
        for (int s = size / 2; s >= 1; s /= 2)
            if (!check(*bad_seed, s, ctx)) *bad_size = s;
        return false;
    }
    return true;
}
