/* prim_factor.c: `factor STAGE LOOP GRANULE` and `bias PLANE OFFSET`: from a sum over dequantised values to integer
 * dot products with block scales and minima, by algebra alone.
 *
 *   y[t, n] = sum(k: xd[t, k/32] * f32(xq[t, k]) * (f32(d[n, k/32]) * f32(q[n, k]) + f32(m[n, k/32])))
 *
 * `factor y k 32` writes k = b*32 + r, expands the summand into a sum of products, pulls every factor without r
 * out of the inner sum, and turns inner products of integers into integer sums:
 *
 *   def s32 y.dot[t, n, b] = sum(r: s32(xq[t, b*32 + r]) * s32(q[n, b*32 + r]))
 *   def s32 y.sum[t, b]    = sum(r: s32(xq[t, b*32 + r]))               # free of n: a definition of its own
 *   y[t, n] = sum(b: xd[t, b]*f32(d[n, b])*f32(y.dot[t, n, b]) + xd[t, b]*f32(m[n, b])*f32(y.sum[t, b]))
 *
 * Terms with the same outer factors merge in the integers: d*(q - 8) gives d * f32(dot - 8*sum), and the second
 * sum becomes the initial value of the first (exact, and free: the accumulator starts there). A sum that a
 * definition of the graph already holds (the activation's sums, made when it was quantised) is used, not made again.
 *
 * `bias PLANE OFFSET` stores a signed code unsigned, code + OFFSET: loads of the plane become
 * s32(plane) - OFFSET, which `factor` then moves into the initial value.
 *
 * Refused: a stage that is not a sum or was already scheduled, a granule that does not divide the loop, an integer
 * sum that may leave 31 bits, a summand with more than 64 products. */
#include <stdlib.h>
#include <string.h>

#include "schedule/sch.h"
#include "schedule/stage.h"

enum { MAX_TERM = 64, MAX_FACTOR = 16 };

/* A product: coef * product of factors. Integer factors stand as s32 (or narrower) integer nodes under f32(). */
typedef struct term {
    double coef;
    int n;
    te_ref f[MAX_FACTOR];
} term;

typedef struct sum_of_products {
    int n;
    term t[MAX_TERM];
    bool overflow;
} sop;

static bool is_zero_float(te_ref e) { return e->op == TE_FLT && e->u.f == 0; }

static void sop_add(sop *s, const term *t)
{
    if (s->n == MAX_TERM) s->overflow = true;
    else s->t[s->n++] = *t;
}

static int by_id(const void *a, const void *b)
{
    te_ref x = *(te_ref const *)a, y = *(te_ref const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void sop_mul(const sop *a, const sop *b, sop *out)
{
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n; j++) {
            term t = a->t[i];
            if (t.n + b->t[j].n > MAX_FACTOR) {
                out->overflow = true;
                return;
            }
            t.coef *= b->t[j].coef;
            memcpy(t.f + t.n, b->t[j].f, sizeof(te_ref) * (size_t)b->t[j].n);
            t.n += b->t[j].n;
            sop_add(out, &t);
        }
    out->overflow |= a->overflow || b->overflow;
}

/* e = code + offset; NULL when e is a literal. Widening casts round the whole are the same number. */
static te_ref without_offset(te_ref e, int64_t *offset)
{
    if (e->op == TE_INT) return *offset += e->u.i, NULL;
    if (e->op == TE_CAST && ll_dtype_is_int(e->src[0]->dtype) && ll_dtype_bits(e->dtype) > ll_dtype_bits(e->src[0]->dtype))
        return without_offset(e->src[0], offset);
    if ((e->op == TE_ADD || e->op == TE_SUB) && e->src[1]->op == TE_INT) {
        *offset += e->op == TE_ADD ? e->src[1]->u.i : -e->src[1]->u.i;
        return without_offset(e->src[0], offset);
    }
    if (e->op == TE_ADD && e->src[0]->op == TE_INT) {
        *offset += e->src[0]->u.i;
        return without_offset(e->src[1], offset);
    }
    return e;
}

/* Expands e (float, or integer when under f32()) into products. `wrap` is the float type that integer atoms are
 * converted to, so that an atom of the result is always a float expression. */
static void expand(te_ref e, ll_dtype wrap, sop *out)
{
    bool integer = ll_dtype_is_int(e->dtype);
    switch (e->op) {
    case TE_INT:
    case TE_FLT: {
        term t = {.coef = e->op == TE_INT ? (double)e->u.i : e->u.f};
        sop_add(out, &t);
        return;
    }
    case TE_ADD:
    case TE_SUB: {
        int first = out->n;
        expand(e->src[0], wrap, out);
        int second = out->n;
        expand(e->src[1], wrap, out);
        if (e->op == TE_SUB)
            for (int i = second; i < out->n; i++) out->t[i].coef = -out->t[i].coef;
        (void)first;
        return;
    }
    case TE_NEG: {
        int first = out->n;
        expand(e->src[0], wrap, out);
        for (int i = first; i < out->n; i++) out->t[i].coef = -out->t[i].coef;
        return;
    }
    case TE_MUL: {
        sop *ab = calloc(2, sizeof *ab);
        if (!ab) {
            out->overflow = true;
            return;
        }
        expand(e->src[0], wrap, &ab[0]);
        expand(e->src[1], wrap, &ab[1]);
        sop_mul(&ab[0], &ab[1], out);
        free(ab);
        return;
    }
    case TE_CAST:
        /* f32(code + offset): a code that is put together from planes stays one factor, its offset is another term */
        if (ll_dtype_is_int(e->src[0]->dtype) && !integer) {
            int64_t offset = 0;
            te_ref code = without_offset(e->src[0], &offset);
            if (code) {
                term t = {.coef = 1, .n = 1};
                t.f[0] = te_cast(wrap, code);
                sop_add(out, &t);
            }
            if (offset || !code) sop_add(out, &(term){.coef = (double)offset});
            return;
        }
        break;
    default:
        break;
    }
    term t = {.coef = 1, .n = 1};
    t.f[0] = integer ? te_cast(wrap, e) : e;
    sop_add(out, &t);
}

/* An atom of the form f32(integer) gives the integer, widened to s32; else NULL. */
static te_ref integer_of(te_ref f)
{
    if (f->op != TE_CAST || !ll_dtype_is_int(f->src[0]->dtype)) return NULL;
    te_ref i = f->src[0];
    if (ll_dtype_bits(i->dtype) > 32 || i->dtype == LL_U32) return NULL;
    return te_cast(LL_S32, i);
}

/* ---- one term, split at the inner axis ---------------------------------------------------------------- */

typedef struct split_term {
    double coef;             /* what is left for the float side                                */
    int64_t icoef;           /* integer coefficient of the inner sum (integer terms)           */
    bool integer;            /* inner sum is over integers                                     */
    int n_outer, n_inner;
    te_ref outer[MAX_FACTOR], inner[MAX_FACTOR];
} split_term;

static void split_at(const term *t, te_ref r, split_term *s)
{
    *s = (split_term){.coef = t->coef, .icoef = 1, .integer = true};
    for (int i = 0; i < t->n; i++) {
        if (!te_uses(t->f[i], r)) {
            s->outer[s->n_outer++] = t->f[i];
            continue;
        }
        if (!integer_of(t->f[i])) s->integer = false;
        s->inner[s->n_inner++] = t->f[i];
    }
    if (s->integer)
        for (int i = 0; i < s->n_inner; i++) s->inner[i] = integer_of(s->inner[i]);
    /* an integral constant belongs to the integers: it may become an initial value */
    if (s->integer && t->coef == (double)(int64_t)t->coef && t->coef >= -65536 && t->coef <= 65536) {
        s->icoef = (int64_t)t->coef;
        s->coef = 1;
    }
    qsort(s->outer, (size_t)s->n_outer, sizeof *s->outer, by_id);
    qsort(s->inner, (size_t)s->n_inner, sizeof *s->inner, by_id);
}

static bool same_outer(const split_term *a, const split_term *b)
{
    return a->integer && b->integer && a->coef == b->coef && a->n_outer == b->n_outer &&
           !memcmp(a->outer, b->outer, sizeof(te_ref) * (size_t)a->n_outer);
}

static te_ref product(te_graph *g, const te_ref *f, int n, ll_dtype t)
{
    if (!n) return ll_dtype_is_float(t) ? te_fconst(g, t, 1) : te_iconst(g, t, 1);
    te_ref p = f[0];
    for (int i = 1; i < n; i++) p = te_mul(p, f[i]);
    return p;
}

/* ---- building the result ------------------------------------------------------------------------------ */

typedef struct ctx {
    sch *s;
    te_tensor *stage;
    te_ref block, inner;     /* the axes b and r */
    int64_t granule;
    int made;                /* inner definitions so far, for their names */
    lp_stmt *nests;          /* nests of new definitions, in order */
    ll_error *err;
} ctx;

/* Which of the stage's axes (then the block axis) does `e` use? */
static int axes_used(const ctx *c, te_ref e, te_ref *out)
{
    int n = 0;
    for (int i = 0; i < c->stage->n_axis; i++)
        if (te_uses(e, c->stage->axis[i])) out[n++] = c->stage->axis[i];
    if (te_uses(e, c->block)) out[n++] = c->block;
    return n;
}

/* sum(r: body) as an expression over the outer axes: a load of an existing equal definition, or of a new one. */
static te_ref inner_sum(ctx *c, te_ref body, te_ref init, const char *kind)
{
    te_graph *g = c->s->g;
    te_ref axis[TE_MAX_DIM];
    int n = axes_used(c, init ? te_add(body, init) : body, axis);
    te_ref sum = te_reduce_(__FILE__, __LINE__, TE_SUM, body, &c->inner, 1);
    te_ref known = init ? NULL : stage_equal_sum(c->s, body, c->inner, axis, n);
    if (known) return known;
    const char *name = ll_sprintf(te_arena(g), c->made ? "%s.%s%d" : "%s.%s", c->stage->name, kind, c->made);
    c->made++;
    te_ref fresh[TE_MAX_DIM], use[TE_MAX_DIM], from[TE_MAX_DIM + 1], to[TE_MAX_DIM + 1];
    for (int i = 0; i < n; i++) {
        const char *full = axis[i]->u.axis->name, *dot = strrchr(full, '.');
        fresh[i] = te_axis(g, axis[i] == c->block ? "b" : dot ? dot + 1 : full, axis[i]->u.axis->extent);
        use[i] = from[i] = axis[i];
        to[i] = fresh[i];
    }
    from[n] = c->inner;
    to[n] = te_axis(g, "r", c->inner->u.axis->extent);
    te_ref moved = te_reduce_(__FILE__, __LINE__, TE_SUM, te_subst(g, sum->src[0], from, to, n + 1), &to[n], 1);
    te_tensor *d;
    if (n == 0) {
        te_ref one = te_axis(g, "one", te_int(g, 1));
        fresh[0] = one;
        use[0] = te_int(g, 0);
        n = 1;
    }
    d = te_def_init(g, name, moved, init ? te_subst(g, init, from, to, n) : NULL, fresh, n);
    ll_error none = {0};
    lp_stmt *nest = te_error(g) ? NULL : stage_add_nest(c->s, d, &none);
    if (!nest) {
        ll_fail(c->err, LL_NOT_LEGAL, "factor: cannot make %s: %s", name, te_error(g) ? te_error(g)->msg : none.msg);
        return NULL;
    }
    c->nests = lp_seq(c->nests, nest);
    return te_load(d, use, n);
}

static bool fits(const ctx *c, te_ref body)
{
    te_range r = te_range_of(body);
    double m = -(double)r.lo > (double)r.hi ? -(double)r.lo : (double)r.hi;
    return r.lo != INT64_MIN && r.hi != INT64_MAX && m * (double)c->granule < 2147483648.0;
}

/* coef * outer factors * v. What is free of the stage's last axis (its vector axis, mostly) is multiplied first: it is one
 * scalar for all lanes then, xd*f32(sum) before it meets m[n]. */
static te_ref scaled_value(const ctx *c, const te_ref *outer, int n_outer, te_ref v, double coef)
{
    te_graph *g = c->s->g;
    ll_dtype ft = c->stage->dtype;
    te_ref last = c->stage->n_axis ? c->stage->axis[c->stage->n_axis - 1] : NULL, scalar = NULL, lanes = NULL;
    for (int i = 0; i <= n_outer; i++) {
        te_ref f = i < n_outer ? outer[i] : v;
        te_ref *to = last && te_uses(f, last) ? &lanes : &scalar;
        *to = *to ? te_mul(*to, f) : f;
    }
    te_ref p = scalar && lanes ? te_mul(scalar, lanes) : scalar ? scalar : lanes;
    return coef == 1 ? p : te_mul(te_fconst(g, ft, coef), p);
}

/* One group of integer terms with equal outer factors: outer * f32(sum_r main + init). */
static te_ref integer_group(ctx *c, const split_term *t, const int *member, int n)
{
    te_graph *g = c->s->g;
    int main_at = 0, best = -1;
    for (int i = 0; i < n; i++) { /* the product of most axes is what an instruction will do */
        te_ref axis[TE_MAX_DIM];
        te_ref p = product(g, t[member[i]].inner, t[member[i]].n_inner, LL_S32);
        int used = axes_used(c, p, axis) + 16 * (t[member[i]].icoef == 1) + (t[member[i]].n_inner ? 64 : 0);
        if (used > best) best = used, main_at = i;
    }
    te_ref init = NULL;
    for (int i = 0; i < n; i++) {
        const split_term *m = &t[member[i]];
        if (i == main_at) continue;
        te_ref p = product(g, m->inner, m->n_inner, LL_S32);
        te_ref sum = m->n_inner ? inner_sum(c, p, NULL, "sum") : te_iconst(g, LL_S32, c->granule);
        if (!sum) return NULL;
        if (m->icoef != 1) sum = te_mul(sum, te_iconst(g, LL_S32, m->icoef));
        init = init ? te_add(init, sum) : sum;
    }
    const split_term *m = &t[member[main_at]];
    te_ref value;
    if (!m->n_inner) {
        value = te_iconst(g, LL_S32, c->granule * m->icoef);
    } else {
        te_ref p = product(g, m->inner, m->n_inner, LL_S32);
        if (m->icoef != 1) p = te_mul(p, te_iconst(g, LL_S32, m->icoef));
        if (!fits(c, p)) {
            ll_str text = {0};
            te_print_expr(&text, p);
            ll_fail(c->err, LL_NOT_LEGAL, "factor: the integer sum of %s over %lld elements may leave 31 bits", ll_str_cstr(&text), (long long)c->granule);
            ll_str_finish(&text);
            return NULL;
        }
        value = inner_sum(c, p, init, m->n_inner > 1 ? "dot" : "sum");
        init = NULL;
    }
    if (!value) return NULL;
    if (init) value = te_add(value, init);
    return scaled_value(c, m->outer, m->n_outer, te_cast(c->stage->dtype, value), m->coef);
}

static te_ref float_term(ctx *c, const split_term *t)
{
    te_graph *g = c->s->g;
    ll_dtype ft = c->stage->dtype;
    te_ref v = inner_sum(c, product(g, t->inner, t->n_inner, ft), NULL, "part");
    return v ? scaled_value(c, t->outer, t->n_outer, v, t->coef) : NULL;
}

static te_ref assemble(ctx *c, const split_term *t, int n)
{
    te_ref total = NULL;
    bool done[MAX_TERM] = {0};
    for (int i = 0; i < n; i++) {
        if (done[i]) continue;
        te_ref v;
        if (t[i].integer) {
            int member[MAX_TERM], m = 0;
            for (int j = i; j < n; j++)
                if (!done[j] && same_outer(&t[i], &t[j])) member[m++] = j, done[j] = true;
            v = integer_group(c, t, member, m);
        } else {
            v = float_term(c, &t[i]);
        }
        if (!v) return NULL;
        total = total ? te_add(total, v) : v;
    }
    return total;
}

ll_code sch_factor(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc != 3) return ll_fail(err, LL_USAGE, "factor wants STAGE LOOP GRANULE");
    char *end;
    long granule = strtol(argv[2], &end, 10);
    if (*end || granule < 1) return ll_fail(err, LL_USAGE, "factor: GRANULE '%s' is not a positive number", argv[2]);
    te_tensor *stage = sch_find_stage(s, argv[0], err);
    if (!stage) return LL_USAGE;
    te_graph *g = s->g;
    stage_nest nest;
    LL_TRY(stage_plain_nest(s, stage, &nest, err));
    if (nest.reduce_op != TE_SUM || nest.n_red != 1 || !ll_dtype_is_float(stage->dtype))
        return ll_fail(err, LL_NOT_LEGAL, "factor: %s is not a float sum over one loop", stage->name);
    if (strcmp(nest.red[0]->u.axis->name, argv[1]) && !stage_axis_is(nest.red[0], argv[1]))
        return ll_fail(err, LL_USAGE, "factor: %s sums over %s, not %s", stage->name, nest.red[0]->u.axis->name, argv[1]);
    te_ref k = nest.red[0], extent = k->u.axis->extent;
    te_cong cg = te_cong_of(extent);
    bool divides = cg.mod == 0 ? cg.rem % granule == 0 : cg.mod % granule == 0 && cg.rem % granule == 0;
    if (!divides || k->u.axis->max)
        return ll_fail(err, LL_NOT_LEGAL, "factor: %ld does not divide the extent of %s (%s)", granule, k->u.axis->name, te_show(extent));

    int first_buf = s->fn->n_buf;
    ctx c = {.s = s, .stage = nest.as_def, .granule = granule, .err = err};
    ll_arena *a = te_arena(g);
    c.block = te_axis(g, ll_sprintf(a, "%s.o", k->u.axis->name), te_simplify(g, te_divi(extent, granule)));
    c.inner = te_axis(g, ll_sprintf(a, "%s.i", k->u.axis->name), te_int(g, granule));
    te_ref index = te_add(te_muli(c.block, granule), c.inner);
    te_ref body = te_simplify(g, te_subst(g, nest.value, &k, &index, 1));

    sop *p = calloc(1, sizeof *p);
    split_term *t = calloc(MAX_TERM, sizeof *t);
    ll_code rc = LL_OK;
    if (!p || !t) rc = ll_fail(err, LL_NO_SPACE, "factor: no memory");
    if (rc == LL_OK) {
        expand(body, stage->dtype, p);
        if (p->overflow) rc = ll_fail(err, LL_NOT_LEGAL, "factor: the summand of %s has more than %d products", stage->name, MAX_TERM);
    }
    te_ref total = NULL;
    if (rc == LL_OK) {
        for (int i = 0; i < p->n; i++) split_at(&p->t[i], c.inner, &t[i]);
        total = assemble(&c, t, p->n);
        if (!total || is_zero_float(total))
            rc = ll_fail(err, LL_NOT_LEGAL, "factor: nothing of %s can be pulled out", stage->name);
    }
    if (rc == LL_OK) rc = stage_replace(s, &nest, c.nests, first_buf, total, &c.block, 1, err);
    free(p);
    free(t);
    return rc;
}

/* ---- bias ------------------------------------------------------------------------------------------------ */

typedef struct bias_ctx { te_graph *g; const te_tensor *from; te_tensor *to; int64_t offset; } bias_ctx;

static te_ref bias_load(te_ref e, void *p)
{
    bias_ctx *b = p;
    if (e->op != TE_LOAD || e->u.t != b->from) return e;
    te_ref code = te_cast(LL_S32, te_load(b->to, e->src, e->n));
    return te_cast(b->from->dtype, te_sub(code, te_iconst(b->g, LL_S32, b->offset)));
}

static te_ref bias_expr(te_ref e, void *p) { return te_rewrite(((bias_ctx *)p)->g, e, bias_load, p); }

static bool bias_stmt(lp_stmt *st, void *p)
{
    lp_each_expr(st, bias_expr, p);
    return true;
}

ll_code sch_bias(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc != 2) return ll_fail(err, LL_USAGE, "bias wants PLANE OFFSET");
    char *end;
    long offset = strtol(argv[1], &end, 10);
    if (*end) return ll_fail(err, LL_USAGE, "bias: OFFSET '%s' is not a number", argv[1]);
    lp_buf *b = NULL;
    for (int i = 0; i < s->fn->n_buf; i++)
        if (!strcmp(s->fn->buf[i]->t->name, argv[0])) b = s->fn->buf[i];
    if (!b) return ll_fail(err, LL_USAGE, "bias: there is no buffer %s", argv[0]);
    int64_t lo, hi;
    ll_dtype_int_range(b->t->dtype, &lo, &hi);
    if (!ll_dtype_is_int(b->t->dtype) || !ll_dtype_is_signed(b->t->dtype) || !b->t->weight || b->written)
        return ll_fail(err, LL_NOT_LEGAL, "bias: %s is %s%s, wanted a constant of signed integers", argv[0], ll_dtype_name(b->t->dtype), b->t->weight ? "" : ", not a weight");
    ll_dtype unsigned_type = b->t->dtype == LL_S8 ? LL_U8 : b->t->dtype == LL_S16 ? LL_U16 : LL_U32;
    int64_t ulo, uhi;
    ll_dtype_int_range(unsigned_type, &ulo, &uhi);
    if (lo + offset < ulo || hi + offset > uhi)
        return ll_fail(err, LL_NOT_LEGAL, "bias: %s ranges over %lld..%lld; plus %ld it does not fit %s", argv[0], (long long)lo, (long long)hi, offset, ll_dtype_name(unsigned_type));
    te_tensor *t = LL_NEW(te_arena(s->g), te_tensor); /* of the same name: it takes the place of the signed one */
    *t = *b->t;
    t->dtype = (uint8_t)unsigned_type;
    t->lo = t->hi = NULL;
    bias_ctx c = {s->g, b->t, t, offset};
    lp_walk(s->fn->body, bias_stmt, &c);
    b->t = t;
    return LL_OK;
}
